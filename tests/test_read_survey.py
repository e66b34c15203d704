"""What is kept of a case that was read: enough to check and to audit it, and none of its pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medmm.case import Case, Image, Note, Record, Study, Volume
from medmm.config import CohortConfig, LabelColumns, NumberColumn
from medmm.errors import DataError, Reason
from medmm.read import survey as module
from medmm.read.cohort import CaseRow, Cohort, read_cohort
from medmm.read.remark import CONCERN, concern, is_concern
from medmm.read.sources.source import Source
from medmm.read.survey import Surveyed, survey, survey_case
from tests.cohorts import write_table
from tests.dicom_files import ramp, write

EMPTY = Cohort(Path(), CohortConfig(study="", note=""), ())


def surveyed(case: Case, monkeypatch: pytest.MonkeyPatch) -> Surveyed:
    """What is kept of a case that is given and not read."""
    monkeypatch.setattr(module, "read_case", lambda cohort, row: case)
    return survey_case(EMPTY, CaseRow(case.case_id, case.patient_id, None))


def film(pixels: np.ndarray, **more: object) -> Image:
    return Image(pixels=pixels.astype(np.float32), digest="d", **more)  # type: ignore[arg-type]


def of_images(*images: Image) -> Case:
    return Case("c", "p", Study(images=images))


def noise(seed: int, shape: tuple[int, ...] = (300, 200)) -> np.ndarray:
    """A smooth picture, so that a perceptual hash has something to hold on to."""
    small = (np.random.default_rng(seed).random((8, 8)) * 255).astype(np.uint8)
    smooth = PIL.Image.fromarray(small).resize((shape[1], shape[0]), PIL.Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float32) / 255


def test_a_film_becomes_a_thumbnail_that_keeps_its_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    (look,) = surveyed(of_images(film(noise(0), modality="CR", remarks=("said",))), monkeypatch).looks

    assert look.thumbnail.shape == (96, 64)
    assert look.thumbnail.dtype == np.uint8
    assert (look.modality, look.remarks) == ("CR", ("said",))
    assert dict(look.acquisition) == {"Rows": "300", "Columns": "200", "SamplesPerPixel": "1"}


def test_what_the_header_says_of_size_is_not_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    (look,) = surveyed(of_images(film(noise(0), acquisition={"Rows": "600", "KVP": "80"})), monkeypatch).looks

    assert dict(look.acquisition) == {"Rows": "600", "KVP": "80", "Columns": "200", "SamplesPerPixel": "1"}


def test_one_picture_in_two_files_is_known_again_and_another_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    images = (film(noise(0)), film(noise(0) + 1e-4), film(noise(1)), film(noise(0)[:, ::-1]))

    same, again, other, mirrored = surveyed(of_images(*images), monkeypatch).looks

    assert same.pixels == again.pixels
    assert len({same.pixels, other.pixels, mirrored.pixels}) == 3


def test_a_darker_copy_has_nearly_the_same_hash_and_another_picture_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = surveyed(of_images(film(noise(0)), film(noise(0) * 0.8), film(noise(1))), monkeypatch).looks
    (first,), (darker,), (other,) = (look.hashes for look in looks)

    assert 0 <= first < 2**64
    assert (first ^ darker).bit_count() <= 4
    assert (first ^ other).bit_count() > 12


def test_colour_stays_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    red = np.zeros((40, 60, 3))
    red[..., 0] = noise(0, (40, 60))

    (look,) = surveyed(of_images(film(red)), monkeypatch).looks

    assert look.thumbnail.shape == (40, 60, 3)
    assert look.thumbnail[..., 0].any()
    assert not look.thumbnail[..., 1:].any()
    assert look.acquisition["SamplesPerPixel"] == "3"


def test_of_a_volume_the_middle_slice_is_kept_as_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = np.full((5, 40, 30), -1000, dtype=np.int16)
    voxels[2, 10:30, 5:25] = 1000
    volume = Volume(voxels, "d", np.eye(4), (0.0, 1.0, 2.0, 3.0, 4.0), window=(0, 2000), modality="CT")

    (look,) = surveyed(Case("c", "p", Study(images=(), volumes=(volume,))), monkeypatch).looks

    assert look.thumbnail.shape == (40, 30)
    assert look.thumbnail[20, 15] == 255
    assert look.thumbnail[0, 0] == 0
    assert look.acquisition["NumberOfSlices"] == "5"
    assert not any(is_concern(remark) for remark in look.remarks)


def test_a_picture_of_one_value_is_to_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    (look,) = surveyed(of_images(film(np.full((20, 20), 0.5))), monkeypatch).looks

    assert look.remarks == ("check: every pixel that is shown has the same value",)


def test_remarks_of_every_part_are_kept_once_those_of_the_prior_too(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = Study(images=(film(noise(1), remarks=("of the prior film",)),), remarks=("of the prior",))
    case = Case(
        "c",
        "p",
        Study(images=(film(noise(0), remarks=("of the film",)),), remarks=("of the study",)),
        Note("text", remarks=("of the note", "of the study")),
        Record({"age": 1.0}, remarks=("of the record",)),
        prior,
        remarks=("of the case",),
    )

    found = surveyed(case, monkeypatch)

    expected = ("of the case", "of the study", "of the note", "of the record", "of the prior", "of the prior film")
    assert found.remarks == expected
    assert [look.remarks for look in found.looks] == [("of the film",)]
    assert found.present == ("image", "note", "record")


def test_a_concern_is_told_from_a_remark_by_how_it_begins() -> None:
    assert concern("gap of 5 mm").startswith(CONCERN)
    assert is_concern(concern("gap of 5 mm"))
    assert not is_concern("MONOCHROME1 inverted")


def cohort(folder: Path) -> Cohort:
    """A sound case, one whose file is cut short, and one without pictures."""
    write(folder / "studies" / "a" / "1.dcm", ramp(), StudyInstanceUID="1.2.1")
    whole = write(folder / "studies" / "b" / "1.dcm", ramp(), StudyInstanceUID="1.2.2").read_bytes()
    (folder / "studies" / "b" / "1.dcm").write_bytes(whole[:-200])
    shared = {"patient_id": "p", "note": "", "age": "", "sick": "", "ward": ""}
    rows = [
        shared | {"case_id": "a", "study": "studies/a", "note": "Cough.", "age": "50", "sick": "1", "ward": "W1"},
        shared | {"case_id": "b", "study": "studies/b"},
        shared | {"case_id": "c", "study": "", "age": "60", "sick": "0"},
    ]
    write_table(folder / "cases.csv", rows)
    columns = CohortConfig(labels=LabelColumns(columns=("sick",)), record={"age": NumberColumn(unit="a")})
    return read_cohort(folder, columns)


def test_cases_are_read_in_order_and_a_bad_one_is_its_reason(tmp_path: Path) -> None:
    given, told = cohort(tmp_path), list[tuple[int, int]]()

    answers = list(survey(given, 1, lambda done, total: told.append((done, total))))

    assert [row.case_id for row, _ in answers] == ["a", "b", "c"]
    assert told == [(1, 3), (2, 3), (3, 3)]
    first, bad, last = (answer for _, answer in answers)
    assert isinstance(bad, DataError)
    assert bad.code == Reason.CORRUPT
    assert isinstance(first, Surveyed)
    assert isinstance(last, Surveyed)
    assert first.present == ("image", "note", "record")
    assert (first.note, dict(first.record), dict(first.targets)) == ("Cough.", {"age": 50.0}, {"sick": 1.0})
    assert last.present == ("record",)
    assert last.looks == ()


def test_columns_that_are_no_input_are_kept_for_the_audit_and_roles_are_not(tmp_path: Path) -> None:
    given = cohort(tmp_path)

    found = survey_case(given, given.rows[0])

    assert dict(found.cells) == {"age": "50.0", "ward": "W1"}


def test_the_audit_is_given_what_the_model_would_see_of_an_input(tmp_path: Path) -> None:
    """A value that was left out as too late is missing, and that there is a prior study is a column like others."""
    write(tmp_path / "now.dcm", ramp(), StudyDate="20260315", StudyTime="101500")
    write(tmp_path / "then.dcm", ramp(), StudyDate="20250315", StudyTime="101500", StudyInstanceUID="1.2.9")
    shared = {"patient_id": "p", "study": "now.dcm", "note": "", "crp": "12", "ward": "W1"}
    rows = [
        shared | {"case_id": "early", "at": "2026-03-15T09:00", "before": "then.dcm"},
        shared | {"case_id": "late", "at": "2026-03-15T11:00", "before": ""},
    ]
    write_table(tmp_path / "cases.csv", rows)
    columns = CohortConfig(prior="before", record={"crp": NumberColumn(unit="mg/L", taken="at")})
    given = read_cohort(tmp_path, columns)

    early, late = (survey_case(given, row) for row in given.rows)

    assert (early.cells["crp"], early.cells["before"]) == ("12.0", "given")
    assert (late.cells["crp"], late.cells["before"]) == ("", "")
    assert late.cells["ward"] == "W1"


def test_what_is_printed_of_a_case_holds_nothing_of_the_patient(tmp_path: Path) -> None:
    write(tmp_path / "1.dcm", ramp())
    row = CaseRow("c", "CANARYPATIENT", Source(tmp_path / "1.dcm"), note="CANARYNOTE")

    found = survey_case(EMPTY, row)

    assert found.note == "CANARYNOTE"
    assert "CANARY" not in repr(found)
