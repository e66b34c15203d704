"""What scoring promises: every case is answered or refused with a reason, once, and alike whoever comes beside it."""

from __future__ import annotations

import csv
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from medmm.case import Case
from medmm.errors import CohortError, Reason
from medmm.model.folder import Model
from medmm.read.cohort import read_cohort
from medmm.read.pool import read_cases
from medmm.score.cohort import Scored, score_cohort
from medmm.score.here import in_process
from medmm.store.store import Store
from medmm.tensors import pixels_for
from pipelines.cli import app
from pipelines.score import Manner, score_folder
from tests import dicom_files
from tests.cohorts import Run, table, write_table

TABLES = ("predictions.parquet", "predictions.csv", "quarantine.csv", "manifest.json")
BROKEN = {
    "cut": ("pixels cut short", Reason.CORRUPT),
    "text": ("text that calls itself DICOM", Reason.NOT_DICOM),
    "report": ("a report and nothing else", Reason.NO_PIXELS),
    "gone": ("a folder that is not there", Reason.MISSING_STUDY),
}
"""Case id -> how its study is broken, and the code that this must get."""


@dataclass(frozen=True)
class Night:
    """A folder of studies, some of them broken, that `medmm score` has been through."""

    studies: Path
    model: Path
    out: Path
    exit_code: int
    printed: str
    """Standard output and standard error."""

    def again(self, tmp_path: Path) -> Path:
        """A copy of what was scored, to be scored into again."""
        return Path(shutil.copytree(self.out, tmp_path / "again"))


@pytest.fixture(scope="module")
def night(sample: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Night:
    folder = tmp_path_factory.mktemp("night")
    studies, out = folder / "studies", folder / "out"
    write_night(sample, studies)
    done = CliRunner().invoke(app, ["score", str(studies), "--model", str(run.out), "--out", str(out)])
    return Night(studies, run.out, out, done.exit_code, done.output)


def write_night(sample: Path, folder: Path) -> None:
    """The sample cohort with four broken studies among its cases, and a patient whose every word is a canary."""
    shutil.copytree(sample / "studies", folder / "studies")
    rows = table(sample / "cases.csv")
    blank = dict.fromkeys(rows[0], "")
    for case_id, (how, _) in BROKEN.items():
        dicom_files.BROKEN[how][2](folder / "studies" / case_id)
    dicom_files.write(folder / "studies" / "canary" / "CANARYNAME.dcm", dicom_files.ramp())
    canary = blank | {"case_id": "canary", "patient_id": "CANARYID", "note": "CANARYNOTE: cough.", "age": "61"}
    odd = [blank | {"case_id": case_id, "patient_id": "CANARYID", "note": "CANARYNOTE: cough."} for case_id in BROKEN]
    rows = [row | {"study": row["study"] or f"studies/{row['case_id']}"} for row in (*odd, canary)] + rows
    write_table(folder / "cases.csv", rows)


def change(night: Night, folder: Path, cells: dict[str, dict[str, str]]) -> Path:
    """The same studies with other cells in the table: case id -> column -> cell."""
    folder.mkdir()
    (folder / "studies").symlink_to(night.studies / "studies", target_is_directory=True)
    rows = [row | cells.get(row["case_id"], {}) for row in table(night.studies / "cases.csv")]
    write_table(folder / "cases.csv", rows)
    return folder


def only(night: Night, folder: Path, *case_ids: str) -> Path:
    """The same studies with a table of these cases alone."""
    change(night, folder, {})
    rows = [row for row in table(folder / "cases.csv") if row["case_id"] in case_ids]
    write_table(folder / "cases.csv", rows)
    return folder


def score(night: Night, studies: Path, out: Path) -> Scored:
    return score_folder(studies, night.model, out, manner=Manner(workers=1))


def kept_in(out: Path) -> list[str]:
    """The case of each prediction in the store, in the order in which they were kept."""
    with closing(sqlite3.connect(out / "store.sqlite")) as store:
        return [case_id for (case_id,) in store.execute("SELECT case_id FROM prediction ORDER BY id")]


def digits(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in TABLES}


def cells_of(out: Path, case_id: str) -> list[dict[str, str]]:
    return [row for row in table(out / "predictions.csv") if row["case_id"] == case_id]


def numbers(rows: list[dict[str, str]]) -> np.ndarray:
    names = [name for name in rows[0] if name.endswith("log_odds")]
    return np.array([[float(row[name]) for name in ("probability", *names)] for row in rows])


def test_every_case_is_answered_or_refused(night: Night) -> None:
    answered = {row["case_id"] for row in table(night.out / "predictions.csv")}
    refused = {row["case_id"] for row in table(night.out / "quarantine.csv")}

    assert answered | refused == {row["case_id"] for row in table(night.studies / "cases.csv")}
    assert refused == set(BROKEN)
    assert not answered & refused
    assert night.exit_code == 2


@pytest.mark.parametrize("case_id", BROKEN)
def test_a_broken_study_is_a_row_with_the_right_code_and_a_remedy(night: Night, case_id: str) -> None:
    (row,) = [row for row in table(night.out / "quarantine.csv") if row["case_id"] == case_id]

    assert row["code"] == BROKEN[case_id][1]
    assert row["problem"]
    assert row["remedy"]


def test_each_case_has_one_row_for_each_label_in_the_order_of_the_model(night: Night, run: Run) -> None:
    rows = table(night.out / "predictions.csv")
    labels = list(run.trained.model.labels)

    ids = sorted({row["case_id"] for row in rows})
    assert [(row["case_id"], row["label"]) for row in rows] == [(name, label) for name in ids for label in labels]
    assert {row["model_id"] for row in rows} == {run.trained.model.model_id}


def test_base_and_contributions_sum_to_the_log_odds_of_the_probability(night: Night) -> None:
    for row in table(night.out / "predictions.csv"):
        p = float(row["probability"])
        parts = [float(row[f"{name}_log_odds"]) for name in ("base", "image", "note", "record")]
        assert sum(parts) == pytest.approx(np.log(p / (1 - p)), abs=1e-6)
        assert (row["flagged"] == "true") == (p >= float(row["threshold"]))


def test_a_side_that_a_case_lacks_is_named_and_adds_nothing(night: Night) -> None:
    sides = {"study": "image", "note": "note"}
    given = {row["case_id"]: row for row in table(night.studies / "cases.csv")}

    rows = [(row, column) for row in table(night.out / "predictions.csv") for column in sides]
    lacking = [(row, sides[column]) for row, column in rows if not given[row["case_id"]][column]]

    assert {side for _, side in lacking} == {"image", "note"}
    for row, side in lacking:
        assert side in row["absent"]
        assert float(row[f"{side}_log_odds"]) == 0


def test_the_two_tables_of_predictions_hold_the_same_rows(night: Night) -> None:
    kept = pq.read_table(night.out / "predictions.parquet").to_pylist()
    read = table(night.out / "predictions.csv")

    assert len(kept) == len(read)
    for row, cells in zip(kept, read, strict=True):
        assert list(row) == list(cells)
        for name, value in row.items():
            said = float(cells[name]) if isinstance(value, float) else cells[name]
            assert said == (str(value).lower() if isinstance(value, bool) else value)


def test_every_film_is_kept_as_a_picture_of_its_own_shape_as_large_as_the_model_needs(night: Night, run: Run) -> None:
    with Store(night.out / "store.sqlite") as store:
        model_id = run.trained.model.model_id
        cases = [store.case(model_id, case_id) for case_id in store.contents(model_id)]
    films = {film.digest for case in cases for film in case.evidence.films}
    broken = {night.studies / "studies" / case_id for case_id in BROKEN}
    files = [path for path in (night.studies / "studies").rglob("*.dcm") if not broken & {path, *path.parents}]

    stored = [dcmread(path).pixel_array.shape for path in files]
    enough = pixels_for(run.trained.model.encoders.image.size)
    halved = [2 ** max(0, (min(shape) // enough).bit_length() - 1) for shape in stored]
    shapes = sorted((-(-rows // by), -(-columns // by)) for (rows, columns), by in zip(stored, halved, strict=True))

    pictures = {path.stem: PIL.Image.open(path) for path in (night.out / "films").iterdir()}
    assert set(pictures) == films
    assert sorted((picture.height, picture.width) for picture in pictures.values()) == shapes


def test_a_picture_shows_what_a_viewer_shows(night: Night, run: Run, sample: Path) -> None:
    cohort = read_cohort(sample)
    row = next(row for row in cohort.rows if row.study)
    ((_, case),) = read_cases(cohort, [row], workers=1, enough=pixels_for(run.trained.model.encoders.image.size))

    assert isinstance(case, Case)
    assert case.study is not None
    for image in case.study.images:
        shown = np.asarray(PIL.Image.open(night.out / "films" / f"{image.digest}.png")) / 255
        np.testing.assert_allclose(shown, image.pixels, atol=0.5 / 255 + 1e-6)


def test_nothing_that_is_written_or_printed_names_a_patient_or_quotes_a_note(night: Night) -> None:
    told = [night.printed.encode(), *digits(night.out).values()]
    told += [str(path.relative_to(night.out)).encode() for path in night.out.rglob("*")]
    notes = [row["note"] for row in table(night.studies / "cases.csv") if row["note"]]

    for canary in (*dicom_files.CANARIES, *notes, "SAMPLE-", "SAMPLE^"):
        assert not any(canary.encode() in text for text in told), canary


def test_what_was_done_is_said_on_the_way_out(night: Night) -> None:
    cases = len(table(night.studies / "cases.csv"))

    assert f"{cases - 4} cases scored, 4 refused" in night.printed
    for case_id, (_, code) in BROKEN.items():
        assert f"case {case_id}: {code}: " in night.printed


def test_a_rerun_scores_nothing_and_leaves_the_tables_byte_for_byte(night: Night, tmp_path: Path) -> None:
    out = night.again(tmp_path)

    done = score(night, night.studies, out)

    assert (done.scored, done.known, len(done.refused)) == (0, len(table(night.studies / "cases.csv")) - 4, 4)
    assert digits(out) == digits(night.out)


def test_a_case_whose_note_changed_is_scored_again_and_only_it(night: Night, tmp_path: Path) -> None:
    out = night.again(tmp_path)
    kept = len(kept_in(out))
    studies = change(night, tmp_path / "studies", {"canary": {"note": "No cough. Never smoked. Fever of 40 degrees."}})

    done = score(night, studies, out)

    assert (kept_in(out)[kept:], done.scored) == (["canary"], 1)
    before, after = (table(folder / "predictions.csv") for folder in (night.out, out))
    assert [row for row in after if row["case_id"] != "canary"] == [row for row in before if row["case_id"] != "canary"]
    assert (numbers(cells_of(out, "canary")) != numbers(cells_of(night.out, "canary"))).any()


@pytest.mark.parametrize("cell", [{"age": "62"}, {"study": ""}, {"study": "studies/case-00001a"}])
def test_any_other_content_is_scored_again_too(night: Night, tmp_path: Path, cell: dict[str, str]) -> None:
    studies = change(night, tmp_path / "studies", {"canary": cell})

    assert score(night, studies, night.again(tmp_path)).scored == 1


def test_a_broken_study_that_was_repaired_is_scored_and_leaves_the_quarantine(night: Night, tmp_path: Path) -> None:
    out = night.again(tmp_path)
    studies = change(night, tmp_path / "studies", {"cut": {"study": "studies/canary"}})

    done = score(night, studies, out)

    assert done.scored == 1
    assert {row["case_id"] for row in table(out / "quarantine.csv")} == set(BROKEN) - {"cut"}
    assert cells_of(out, "cut")


def test_a_case_that_can_no_longer_be_read_is_refused_and_has_no_answer_any_more(night: Night, tmp_path: Path) -> None:
    out = night.again(tmp_path)
    broken = change(night, tmp_path / "broken", {"canary": {"study": "studies/text"}})

    score(night, broken, out)

    assert cells_of(out, "canary") == []
    assert "canary" in {row["case_id"] for row in table(out / "quarantine.csv")}
    assert score(night, night.studies, out).scored == 1  # and has one again when the study is back
    assert digits(out) == digits(night.out)


def test_a_case_is_scored_the_same_alone_or_among_others(night: Night, tmp_path: Path) -> None:
    for case_id in ("canary", "case-00001a", "case-00020a"):
        out = tmp_path / f"out-{case_id}"

        score(night, only(night, tmp_path / case_id, case_id), out)

        assert cells_of(out, case_id) == cells_of(night.out, case_id)


def test_a_bare_folder_is_scored_with_the_notes_beside_its_images(night: Night, tmp_path: Path) -> None:
    bare, out = tmp_path / "bare", tmp_path / "out"
    for case_id in ("with", "without"):
        shutil.copytree(night.studies / "studies" / "canary", bare / case_id)
    for path in (bare / "with").rglob("*.dcm"):
        film = dcmread(path)
        film.StudyInstanceUID += ".1"  # another study, or the two were one
        film.save_as(path)
    (bare / "with" / "note.txt").write_text("CANARYNOTE: cough.")

    done = score(night, bare, out)

    assert (done.scored, done.refused) == (2, ())
    assert cells_of(out, "with")[0]["present"] == "image; note"
    assert cells_of(out, "without")[0]["present"] == "image"
    (bare / "without" / "note.txt").write_text("CANARYNOTE: fever.")
    assert score(night, bare, out).scored == 1


def test_a_bare_folder_says_what_the_table_says_of_the_same_study(night: Night, tmp_path: Path) -> None:
    shutil.copytree(night.studies / "studies" / "canary", tmp_path / "bare" / "canary")
    studies = change(night, tmp_path / "studies", {"canary": {"note": "", "age": ""}})

    score(night, tmp_path / "bare", tmp_path / "one")
    score(night, only(replace(night, studies=studies), tmp_path / "table", "canary"), tmp_path / "two")

    np.testing.assert_array_equal(
        numbers(cells_of(tmp_path / "one", "canary")), numbers(cells_of(tmp_path / "two", "canary"))
    )


@pytest.mark.parametrize("content", ["", "case_id,patient_id,study,note\n"], ids=["no files", "no rows"])
def test_an_empty_folder_is_one_line_and_nothing_is_written(night: Night, tmp_path: Path, content: str) -> None:
    (tmp_path / "empty").mkdir()
    if content:
        (tmp_path / "empty" / "cases.csv").write_text(content)

    with pytest.raises(CohortError, match="empty cohort"):
        score(night, tmp_path / "empty", tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_a_cohort_of_nothing_but_broken_studies_is_a_table_of_reasons(night: Night, tmp_path: Path) -> None:
    done = score(night, only(night, tmp_path / "studies", "cut", "gone"), tmp_path / "out")

    assert (done.scored, len(done.refused)) == (0, 2)
    assert table(tmp_path / "out" / "predictions.csv") == []
    assert [row["case_id"] for row in table(tmp_path / "out" / "quarantine.csv")] == ["cut", "gone"]


def test_answers_in_the_table_are_not_needed_and_not_looked_at(night: Night, tmp_path: Path, run: Run) -> None:
    rows = table(only(night, tmp_path / "studies", "case-00001a", "case-00002a") / "cases.csv")
    bare = [{name: cell for name, cell in row.items() if name not in run.trained.model.labels} for row in rows]
    write_table(tmp_path / "studies" / "cases.csv", bare)

    score(night, tmp_path / "studies", tmp_path / "out")

    for case_id in ("case-00001a", "case-00002a"):
        assert cells_of(tmp_path / "out", case_id) == cells_of(night.out, case_id)


def test_progress_is_told_case_by_case(night: Night, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    model = Model.load(night.model / "model")
    config = model.card.cohort.model_copy(update={"labels": None})
    cohort = read_cohort(only(night, tmp_path / "studies", "canary", "cut", "case-00001a"), config)

    engine = in_process(model)
    score_cohort(
        model.info, cohort, tmp_path / "out", lambda done, total: told.append((done, total)), engine, workers=1
    )

    assert told == [(1, 3), (2, 3), (3, 3)]


def test_two_models_in_one_folder_do_not_hide_each_others_work(night: Night, tmp_path: Path) -> None:
    model = Model.load(night.model / "model")
    other = replace(model, digest="b" * 64)
    config = model.card.cohort.model_copy(update={"labels": None})
    cohort = read_cohort(only(night, tmp_path / "studies", "canary", "cut"), config)
    for one in (model, other, model):
        done = score_cohort(one.info, cohort, tmp_path / "out", lambda done, total: None, in_process(one), workers=1)

    assert (done.scored, done.known) == (0, 1)
    with Store(tmp_path / "out" / "store.sqlite") as store:
        assert set(store.models()) == {model.model_id, "b" * 12}


def test_the_tables_can_be_read_by_a_plain_csv_reader(night: Night) -> None:
    for name in ("predictions.csv", "quarantine.csv"):
        with (night.out / name).open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file, strict=True))

        assert {len(line) for line in lines} == {len(lines[0])}
