"""`medmm check`: one command that says what is on the disk, writes nothing into the cohort, and trains nothing."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from medmm.config import CohortConfig, read_toml
from medmm.read.cohort import read_cohort
from pipelines.cli import app
from tests.cohorts import table, write_table
from tests.dicom_files import CANARIES, write

PATIENTS = 24
BLANK, CUT, ABSENT = "case-20", "case-21", "case-22"


@dataclass(frozen=True)
class Done:
    """A check that was made of a cohort, and what the command said."""

    cohort: Path
    out: Path
    said: Result

    @property
    def page(self) -> str:
        return (self.out / "check.html").read_text(encoding="utf-8")


def medmm(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write_cohort(folder: Path) -> Path:
    """24 cases of as many patients. BLANK is a film of one value, CUT a file cut short, ABSENT a study that is gone;
    the C-reactive protein is missing for all who are well, and nothing else tells the sick.
    """
    rng = np.random.default_rng(0)
    rows = []
    for n in range(PATIENTS):
        case_id, sick = f"case-{n}", n % 2
        pixels = rng.integers(4096, size=(48, 40)).astype("<u2")
        pixels = np.full_like(pixels, 7) if case_id == BLANK else pixels
        path = folder / "studies" / case_id / "CANARYNAME.dcm"
        write(path, pixels, StudyInstanceUID=f"1.2.3.{n}", SOPInstanceUID=f"1.2.3.{n}.1", PatientID=f"CANARYID{n}")
        if case_id == CUT:
            path.write_bytes(path.read_bytes()[:-100])
        if case_id == ABSENT:
            shutil.rmtree(path.parent)
        rows.append(
            {
                "case_id": case_id,
                "patient_id": f"CANARYID{n}",
                "study": f"studies/{case_id}",
                "note": "CANARYNOTE, coughing." if n % 3 else "",
                "age": str(40 + n // 2),  # one who is sick and one who is well at each age
                "crp_mg_l": str(int(rng.integers(5, 90))) if sick else "",
                "pneumonia": "" if n in (0, 1, 2) else str(sick),
                "ward": "CANARYWARD",
            }
        )
    write_table(folder / "cases.csv", rows)
    return folder


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """A check of the cohort; nobody may write into it."""
    cohort = write_cohort(tmp_path_factory.mktemp("checked") / "cohort")
    before = listing(cohort)
    out = cohort.parent / "out"
    said = medmm("check", cohort, "--out", out, "--workers", 1)
    yield Done(cohort, out, said)
    assert listing(cohort) == before, "the check wrote into the cohort"


def test_every_case_has_a_row_with_its_status_and_code(done: Done) -> None:
    rows = {row["case_id"]: row for row in table(done.out / "check.csv")}

    assert list(rows) == [f"case-{n}" for n in range(PATIENTS)]
    assert (rows["case-0"]["status"], rows["case-0"]["code"], rows["case-0"]["present"]) == ("ok", "", "image; record")
    assert rows[BLANK]["status"] == "warning"
    assert "same value" in rows[BLANK]["problem"]
    assert (rows[CUT]["status"], rows[CUT]["code"]) == ("refused", "corrupt")
    assert (rows[ABSENT]["status"], rows[ABSENT]["code"]) == ("refused", "missing-study")
    assert all(row["remedy"] for row in rows.values() if row["status"] != "ok")


def test_refused_cases_and_a_leak_are_said_and_are_exit_code_2(done: Done) -> None:
    assert done.said.exit_code == 2, done.said.output
    said = done.said.stdout
    assert "2 cases could not be used:" in said
    assert f"case {CUT}: corrupt: " in said
    assert f"case {ABSENT}: missing-study: " in said
    assert "Leak: 'pneumonia' can be told from" in said
    assert "24 cases of 24 patients: 21 ok, 1 warning, 2 refused." in said
    assert "check.html" in said


def test_the_page_has_the_counts_the_sheet_and_the_audit(done: Done) -> None:
    assert "24 cases of 24 patients: 21 ok, 1 warning, 2 refused." in done.page
    readable = PATIENTS - 2
    assert done.page.count("<img ") == readable + 1  # the warned one is shown twice
    assert '<th scope="row">crp_mg_l</th>' in done.page
    assert "Training with seed 0" in done.page
    assert 'class="leak">leak</th>' in done.page


def test_nothing_of_a_patient_is_in_what_is_written_or_said(done: Done) -> None:
    told = done.said.output + done.page + (done.out / "check.csv").read_text() + (done.out / "cohort.toml").read_text()

    assert [canary for canary in (*CANARIES, "CANARYWARD") if canary in told] == []


def test_a_first_configuration_is_written_beside_the_page_and_says_what_was_guessed(done: Done) -> None:
    assert read_toml(done.out / "cohort.toml", CohortConfig) == read_cohort(done.cohort).config
    assert "A first cohort.toml is in" in done.said.stdout


def test_a_configuration_that_the_user_wrote_is_never_overwritten(done: Done, tmp_path: Path) -> None:
    (tmp_path / "cohort.toml").write_text("mine")

    said = medmm("check", done.cohort, "--out", tmp_path, "--workers", 1)

    assert (tmp_path / "cohort.toml").read_text() == "mine"
    assert "was left alone" in said.stdout


def test_without_bad_cases_and_leaks_the_exit_code_is_0(done: Done, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    shutil.copytree(done.cohort, cohort)
    rows = [row for row in table(cohort / "cases.csv") if row["case_id"] not in (CUT, ABSENT)]
    write_table(cohort / "cases.csv", rows)
    guessed = (done.out / "cohort.toml").read_text().splitlines()
    (cohort / "cohort.toml").write_text("\n".join(line for line in guessed if "crp_mg_l" not in line))

    said = medmm("check", cohort, "--out", tmp_path / "out", "--workers", 1)

    assert said.exit_code == 0, said.output
    assert "22 cases of 22 patients: 21 ok, 1 warning, 0 refused." in said.stdout
    assert not (tmp_path / "out" / "cohort.toml").exists(), "the cohort has one"


def test_a_bare_folder_is_read_without_a_table(done: Done, tmp_path: Path) -> None:
    out = tmp_path / "out"

    said = medmm("check", done.cohort / "studies", "--out", out, "--workers", 1)

    assert said.exit_code == 2, said.output
    statuses = [row["status"] for row in table(out / "check.csv")]
    assert sorted(set(statuses)) == ["ok", "refused", "warning"]
    assert len(statuses) == PATIENTS - 1
    assert not (out / "cohort.toml").exists()
    told = said.output + (out / "check.html").read_text() + (out / "check.csv").read_text()
    assert [canary for canary in CANARIES if canary in told] == []


def test_a_cohort_of_which_nothing_can_be_read_is_exit_code_3_and_still_a_report(tmp_path: Path) -> None:
    (tmp_path / "studies" / "a").mkdir(parents=True)
    row = {"case_id": "a", "patient_id": "p", "study": "studies/a", "sick": "1"}
    write_table(tmp_path / "cases.csv", [row, row | {"case_id": "b", "sick": "0"}])

    said = medmm("check", tmp_path, "--out", tmp_path / "out", "--workers", 1)

    assert said.exit_code == 3, said.output
    with (tmp_path / "out" / "check.csv").open() as file:
        assert [line["code"] for line in csv.DictReader(file)] == ["empty-study", "empty-study"]


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    said = medmm("check", tmp_path / "nothing", "--out", tmp_path / "out")

    assert said.exit_code == 3
    assert said.stderr.count("\n") == 1
    assert said.stderr.startswith("medmm: ")
    assert not (tmp_path / "out").exists()


def test_a_column_that_is_empty_for_the_well_is_a_leak_even_where_nothing_else_is_there(tmp_path: Path) -> None:
    rows = [
        {
            "case_id": f"case-{n}",
            "patient_id": f"p{n}",
            "sex": ("female", "male")[n // 2 % 2] if n % 2 else "",
            "pneumonia": str(n % 2),
        }
        for n in range(60)
    ]
    (tmp_path / "cohort").mkdir()
    write_table(tmp_path / "cohort" / "cases.csv", rows)

    said = medmm("check", tmp_path / "cohort", "--out", tmp_path / "out", "--workers", 1)

    assert "30 cases could not be used:" in said.stdout
    assert "Leak: 'pneumonia' can be told from whether 'sex' is empty alone: AUROC 1.00" in said.stdout
    assert "in 60 cases" in said.stdout
