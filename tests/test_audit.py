"""`medmm audit`: a trail that says whether it was touched, and what people decided as tables and as a cohort."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import sqlite3
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medmm.config import CategoryColumn, NumberColumn
from medmm.read.cohort import read_case, read_cohort
from medmm.result import Limits, Origin, Outline, ScoredCase
from medmm.store.decisions import Decision
from medmm.store.events import Reader
from medmm.store.store import STORE, Store
from pipelines.cli import app
from tests.dicom_files import ramp, write
from tests.scored import HEADER, LABELS, MODEL, NOTE, ORIGIN, scored_case

ADA, BO, CY = Reader("Ada"), Reader("Bo"), Reader("Cy", "lead")
PNEUMONIA, FAILURE, CANCER = LABELS


def run(*arguments: str | Path) -> tuple[int, str]:
    """The command's exit code and what it printed."""
    done = CliRunner().invoke(app, ["audit", *map(str, arguments)])
    return done.exit_code, " ".join(done.output.split())


def say(store: Store, who: Reader, case_id: str, label: str, verdict: str = "accept", comment: str = "") -> None:
    decision = Decision(label, verdict, comment)  # type: ignore[arg-type]
    store.trail.decide(who, store.trail.desk(MODEL, case_id), decision)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with two cases of which one is decided."""
    folder = tmp_path / "scored"
    folder.mkdir()
    with Store(folder / STORE) as store:
        store.keep([scored_case("c1"), scored_case("c2")])
        say(store, ADA, "c1", CANCER, "override", 'A nipple shadow,\n"round".')
    return folder


def test_a_trail_that_nobody_touched_is_said_to_be_whole_with_the_head_to_note(out: Path) -> None:
    code, said = run("verify", out)

    assert code == 0
    assert "The trail of 1 events is whole and as it was written." in said
    head = said.split("Head: ")[1].split()[0]
    assert head.startswith("1:")
    assert run("verify", out, "--expect", head)[0] == 0


def test_a_changed_row_is_named_and_the_exit_code_is_2(out: Path) -> None:
    with sqlite3.connect(out / STORE) as raw:
        raw.execute("UPDATE event SET payload = replace(payload, 'override', 'accept')")

    code, said = run("verify", out)

    assert code == 2
    assert "Fault: event 1 was changed" in said
    assert "Head:" not in said


def test_an_end_that_was_cut_off_is_found_by_a_head_that_was_noted(out: Path) -> None:
    head = run("verify", out)[1].split("Head: ")[1].split()[0]
    with sqlite3.connect(out / STORE) as raw:
        for table in ("event", "trail_head", "desk"):
            raw.execute(f"DELETE FROM {table}")

    assert run("verify", out)[0] == 0
    code, said = run("verify", out, "--expect", head)

    assert code == 2
    assert "event 1, whose hash was noted, is missing" in said


@pytest.mark.parametrize("arguments", [("verify",), ("export", "--as", "csv", "--to", "elsewhere")])
def test_a_folder_that_was_not_scored_is_one_line_and_exit_code_3(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, said = run(arguments[0], tmp_path, *arguments[1:])

    assert code == 3
    assert said.startswith("medmm: there is no store.sqlite in the folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("verify",), ("export", "--as", "csv", "--to", "elsewhere")])
def test_a_database_without_a_store_is_exit_code_3_and_gets_none(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with sqlite3.connect(tmp_path / "another.sqlite") as raw:
        raw.execute("CREATE TABLE mine (x INTEGER)")

    code, said = run(arguments[0], f"sqlite:///{tmp_path / 'another.sqlite'}", *arguments[1:])

    assert code == 3
    assert "holds nothing of medmm" in said
    with sqlite3.connect(tmp_path / "another.sqlite") as raw:
        assert raw.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]


def test_a_head_that_is_none_is_one_line_and_exit_code_3(out: Path) -> None:
    assert run("verify", out, "--expect", "7")[0] == 3


def test_every_event_is_exported_so_that_anybody_can_check_the_hashes(out: Path, tmp_path: Path) -> None:
    assert run("export", out, "--as", "csv", "--to", tmp_path / "csv")[0] == 0

    previous = "0" * 64
    events = rows(tmp_path / "csv" / "events.csv")
    for event in events:
        values: dict[str, object] = {name: cell for name, cell in event.items() if name != "digest"}
        values["number"] = int(event["number"])
        values["prediction_id"] = int(event["prediction_id"]) if event["prediction_id"] else None
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        assert event["previous"] == previous
        assert event["digest"] == hashlib.sha256(text.encode()).hexdigest()
        previous = event["digest"]
    assert [event["kind"] for event in events] == ["decided", "exported"]


def test_every_word_that_stands_is_exported_beside_what_the_model_said(out: Path, tmp_path: Path) -> None:
    with Store(out / STORE) as store:
        say(store, BO, "c1", CANCER)
        outline = Outline("a" * 64, ((1.0, 2.0), (3.0, 2.0), (3.0, 4.5)))
        store.trail.decide(
            CY, store.trail.desk(MODEL, "c2"), Decision(PNEUMONIA, "accept", outline=outline, blind=True)
        )
        taken = store.trail.desk(MODEL, "c2")
        store.trail.retract(BO, store.trail.decide(BO, taken, Decision(FAILURE, "override")))

    run("export", out, "--as", "csv", "--to", tmp_path / "csv")
    first, second, third = rows(tmp_path / "csv" / "decisions.csv")

    assert (first["case_id"], first["label"], first["call"], first["probability"]) == ("c1", CANCER, "flagged", "0.87")
    assert (first["reviewer"], first["verdict"], first["present"]) == ("Ada", "override", "0")
    assert first["comment"] == 'A nipple shadow,\n"round".'
    assert (second["reviewer"], second["present"], second["reading"]) == ("Bo", "1", "second reader")
    assert {(row["state"], row["stands"]) for row in (first, second)} == {("disagreed", "")}
    assert (third["reviewer"], third["role"], third["state"], third["stands"], third["blind"]) == (
        *("Cy", "lead", "decided", "0", "1"),
    )
    assert json.loads(third["outline"]) == {"film": "a" * 64, "points": [[1.0, 2.0], [3.0, 2.0], [3.0, 4.5]]}


def film(folder: Path, name: str, uid: str = "1.2.3") -> Origin:
    """A study of one film on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / name, ramp(), StudyInstanceUID=uid)
    return Origin(str(folder), (), HEADER)


def of(case: ScoredCase, study: Origin | None, prior: Origin | None = None) -> ScoredCase:
    return replace(case, evidence=replace(case.evidence, study=study, prior=prior))


def unsure(case: ScoredCase) -> ScoredCase:
    findings = tuple(replace(f, limits=Limits(0.01, 0.99, 0.05)) for f in case.prediction.findings)
    return replace(case, prediction=replace(case.prediction, findings=findings))


def test_what_people_decided_is_a_cohort_that_reads(tmp_path: Path) -> None:
    out, to = tmp_path / "scored", tmp_path / "new"
    out.mkdir()
    studies = tmp_path / "pacs"
    with Store(out / STORE) as store:
        store.keep(
            [
                of(scored_case("accepted"), film(studies / "a", "1.dcm"), film(studies / "old", "1.dcm", "1.2.9")),
                of(scored_case("other", record={"age_years": 51.0, "sex": "male"}), film(studies / "b", "1.dcm")),
                unsure(scored_case("unsure", views=())),
                *(scored_case(name, views=()) for name in ("split", "hard", "taken-back", "nobody")),
            ]
        )
        for label in LABELS:
            say(store, ADA, "accepted", label)
        say(store, ADA, "other", PNEUMONIA, "override")
        say(store, ADA, "other", CANCER, "override")
        say(store, ADA, "unsure", PNEUMONIA, "override")
        uncertain = store.trail.desk(MODEL, "unsure")
        store.trail.decide(ADA, uncertain, Decision(CANCER, "override", present=False))
        say(store, ADA, "split", CANCER)
        say(store, BO, "split", CANCER, "override")
        say(store, ADA, "hard", CANCER, "cannot judge")
        said = store.trail.decide(ADA, store.trail.desk(MODEL, "taken-back"), Decision(CANCER, "accept"))
        store.trail.retract(ADA, said)

    code, printed = run("export", out, "--as", "cohort", "--to", to)
    cohort = read_cohort(to)

    assert code == 0
    assert "3 cases in" in printed
    assert "1 cases do not say whose they are" in printed
    assert cohort.labels == LABELS
    targets = {row.case_id: ["" if math.isnan(x) else int(x) for x in row.targets.values()] for row in cohort.rows}
    assert targets == {"accepted": [0, 0, 1], "other": [1, "", 0], "unsure": ["", "", 0]}
    assert [row.patient_id for row in cohort.rows] == ["P-0001", "P-0001", "unsure"]
    assert cohort.config.record == {
        "age_years": NumberColumn(unit="a"),
        "crp_mg_l": NumberColumn(unit="mg/L"),
        "sex": CategoryColumn(categories=("female", "male")),
    }
    case = read_case(cohort, cohort.rows[0])
    assert case.study is not None
    assert len(case.study.images) == 1
    assert case.note is not None
    assert case.note.text == NOTE
    assert case.record is not None
    assert case.record.values == {"age_years": 74.0, "sex": "female", "crp_mg_l": 12.5}
    assert [row.prior is not None for row in cohort.rows] == [True, False, False]


def one_decided(folder: Path, study: Origin | None) -> Path:
    folder.mkdir()
    with Store(folder / STORE) as store:
        store.keep([of(scored_case("c1"), study)])
        say(store, ADA, "c1", CANCER)
    return folder


def test_files_of_a_study_among_others_come_without_the_others(tmp_path: Path) -> None:
    origin = film(tmp_path / "dump", "mine.dcm")
    write(tmp_path / "dump" / "another-patient.dcm", ramp())
    out, to = one_decided(tmp_path / "scored", replace(origin, members=("mine.dcm",))), tmp_path / "new"

    run("export", out, "--as", "cohort", "--to", to)

    (row,) = read_cohort(to).rows
    assert row.study is not None
    assert len(row.study.names()) == 1
    assert read_case(read_cohort(to), row).study is not None


def test_members_of_an_archive_come_as_files(tmp_path: Path) -> None:
    film(tmp_path / "loose", "1.dcm")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "loose" / "1.dcm", "a/1.dcm")
        archive.write(tmp_path / "loose" / "1.dcm", "b/1.dcm")
    origin = Origin(str(tmp_path / "all.zip"), ("a/1.dcm",), HEADER)
    out, to = one_decided(tmp_path / "scored", origin), tmp_path / "new"

    run("export", out, "--as", "cohort", "--to", to)

    (row,) = read_cohort(to).rows
    assert row.study is not None
    assert len(row.study.names()) == 1
    assert read_case(read_cohort(to), row).study is not None


@pytest.mark.parametrize("members", [(), ("1.2.Jane",)])
def test_names_of_files_do_not_come_along(tmp_path: Path, members: tuple[str, ...]) -> None:
    origin = replace(film(tmp_path / "Doe.Jane", "1.2.Jane"), members=members)
    out, to = one_decided(tmp_path / "scored", origin), tmp_path / "new"

    run("export", out, "--as", "cohort", "--to", to)

    assert not [path for path in to.rglob("*") if "Jane" in path.name]
    assert "Jane" not in rows(to / "cases.csv")[0]["study"]
    assert read_case(read_cohort(to), read_cohort(to).rows[0]).study is not None


def test_a_study_below_the_new_cohort_is_named_where_it_is(tmp_path: Path) -> None:
    to = tmp_path / "new"
    out = one_decided(tmp_path / "scored", film(to / "mine" / "c1", "1.dcm"))

    run("export", out, "--as", "cohort", "--to", to)

    assert rows(to / "cases.csv")[0]["study"] == "mine/c1"
    assert not (to / "studies").exists()


def test_a_study_that_is_gone_is_said_and_left_out(tmp_path: Path) -> None:
    out, to = one_decided(tmp_path / "scored", ORIGIN), tmp_path / "new"

    code, said = run("export", out, "--as", "cohort", "--to", to)

    assert code == 0
    assert "1 cases lack a study that is not where it was read" in said
    assert [row.study for row in read_cohort(to).rows] == [None]


@pytest.mark.parametrize("archived", [True, False])
def test_a_run_that_was_stopped_while_it_linked_studies_goes_on(tmp_path: Path, *, archived: bool) -> None:
    origin = replace(film(tmp_path / "loose", "1.dcm"), members=("1.dcm",))
    if archived:
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            archive.write(tmp_path / "loose" / "1.dcm", "1.dcm")
        origin = replace(origin, path=str(tmp_path / "all.zip"))
    out, to = one_decided(tmp_path / "scored", origin), tmp_path / "new"
    run("export", out, "--as", "cohort", "--to", to)
    for name in ("cases.csv", "cohort.toml"):
        (to / name).unlink()

    code, _ = run("export", out, "--as", "cohort", "--to", to)

    assert code == 0
    (row,) = read_cohort(to).rows
    assert read_case(read_cohort(to), row).study is not None


@pytest.mark.parametrize("name", ["cases.csv", "cohort.toml"])
def test_a_cohort_that_is_there_is_left_alone(out: Path, tmp_path: Path, name: str) -> None:
    to = tmp_path / "new"
    to.mkdir()
    (to / name).write_text("mine")

    code, said = run("export", out, "--as", "cohort", "--to", to)

    assert code == 3
    assert "there is a cohort in that folder already" in said
    assert [(path.name, path.read_text()) for path in to.iterdir()] == [(name, "mine")]


def test_a_store_in_which_nothing_is_decided_makes_no_cohort(tmp_path: Path) -> None:
    out = tmp_path / "scored"
    out.mkdir()
    with Store(out / STORE) as store:
        store.keep([scored_case("c1")])

    code, said = run("export", out, "--as", "cohort", "--to", tmp_path / "new")

    assert code == 3
    assert "no label of any case stands decided" in said
    assert not (tmp_path / "new").exists()


def test_an_export_is_an_event_that_says_how_much_was_taken(out: Path, tmp_path: Path) -> None:
    run("export", out, "--as", "cohort", "--to", tmp_path / "new")

    with Store(out / STORE) as store:
        event = store.trail.events()[-1]
        assert (event.kind, dict(event.payload)) == ("exported", {"as": "cohort", "cases": 1})
        assert event.who
