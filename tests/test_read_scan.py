"""Whatever a folder, an archive or a medium looks like, each study becomes one case, and no file is lost in silence."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydicom import config
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.fileset import FileSet
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, MediaStorageDirectoryStorage, generate_uid

from medmm.case import Case
from medmm.errors import CohortError, ConfigError, DataError
from medmm.read.cohort import Cohort, read_case
from medmm.read.sources import folder
from medmm.read.sources import scan as scanning
from medmm.read.sources.folder import check_apart, read_folder
from medmm.read.sources.peek import Header
from medmm.read.sources.scan import Found, Scan, hashed, scan
from medmm.read.sources.source import Source, forget_archives
from tests.dicom_files import CANARIES, ramp, write, write_bomb

ONE, TWO, THREE = "1.2.826.1", "1.2.826.2", "1.2.826.3"


def film(path: Path, study: str = ONE, number: int = 1, syntax: UID = ExplicitVRLittleEndian, **elements: Any) -> Path:
    """One film of a study, unlike every other."""
    known = {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1", "InstanceNumber": number}
    return write(path, ramp() + number, syntax, **(known | elements))


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def files(found: Scan) -> dict[str, int]:
    return {one.case_id: one.files for one in found.studies}


def outcomes(cohort: Cohort) -> dict[str, str]:
    """Case id -> 'read', or the code with which it is refused."""
    found: dict[str, str] = {}
    for row in cohort.rows:
        try:
            read_case(cohort, row)
            found[row.case_id] = "read"
        except DataError as problem:
            found[row.case_id] = problem.code.value
    return found


def test_a_flat_dump_is_grouped_by_study(tmp_path: Path) -> None:
    for number in range(6):
        film(tmp_path / f"IM{number}", (ONE, TWO)[number % 2], number)

    found = scan(tmp_path, workers=1)

    assert files(found) == {f"study-{hashed(ONE)}": 3, f"study-{hashed(TWO)}": 3}
    assert found.remarks == ("several studies in one folder or archive, each a case of its own: 1 such places",)
    assert outcomes(read_folder(tmp_path, workers=1)) == dict.fromkeys(files(found), "read")


def test_a_study_says_what_it_is_and_whose_but_not_aloud(tmp_path: Path) -> None:
    film(tmp_path / "a" / "1.dcm", StudyDate="20260102")
    film(tmp_path / "a" / "2.dcm", number=2, Modality="DX")

    (found,) = scan(tmp_path, workers=1).studies

    assert found == Found("a", Source(tmp_path / "a"), ONE, "CANARYID", ("CR", "DX"), "20260102", 2)
    assert not any(word in repr(found) for word in (*CANARIES, ONE, "20260102"))


def test_folders_of_one_study_keep_their_names_and_others_are_taken_apart(tmp_path: Path) -> None:
    film(tmp_path / "one" / "deep" / "1.dcm", ONE)
    film(tmp_path / "two" / "x" / "1.dcm", TWO)
    film(tmp_path / "two" / "y" / "1.dcm", THREE)
    film(tmp_path / "single.dcm", "1.2.826.4")

    cohort = read_folder(tmp_path, workers=1)

    assert outcomes(cohort) == {
        "one": "read",
        f"two-{hashed(TWO)}": "read",
        f"two-{hashed(THREE)}": "read",
        "single.dcm": "read",
    }


def test_a_study_with_a_folder_for_each_series_is_one_case(tmp_path: Path) -> None:
    for number, name in enumerate(("SE1", "SE2", "SE2/deeper")):
        film(tmp_path / name / "1.dcm", number=number, SOPInstanceUID=f"{ONE}.1.{number}")
    film(tmp_path / "other" / "1.dcm", TWO)
    (tmp_path / "SE1" / "note.txt").write_text("Cough.", encoding="utf-8")

    cohort = read_folder(tmp_path, workers=1)

    assert outcomes(cohort) == {f"study-{hashed(ONE)}": "read", "other": "read"}
    whole = next(read_case(cohort, row) for row in cohort.rows if row.case_id != "other")
    assert whole.study is not None
    assert len(whole.study.images) == 3
    assert whole.note is not None
    assert whole.note.text == "Cough."
    assert "studies that lie in more than one folder, each one case: 1" in cohort.remarks


def test_parts_of_a_study_that_archives_keep_apart_are_told(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        film(tmp_path / "in" / name / "1.dcm", number=number)
        zipped(tmp_path / "in" / name, tmp_path / f"{name}.zip")
    shutil.rmtree(tmp_path / "in")

    found = scan(tmp_path, workers=1)

    assert set(files(found)) == {"a.zip", "b.zip"}
    assert "check: studies of which archives hold parts, each part a case of its own: 1" in found.remarks


def test_a_link_that_leads_nowhere_refuses_its_study_and_no_other(tmp_path: Path) -> None:
    film(tmp_path / "year" / "one" / "1.dcm", ONE)
    film(tmp_path / "year" / "two" / "1.dcm", TWO)
    (tmp_path / "year" / "one" / "2.dcm").symlink_to(tmp_path / "gone.dcm")

    found = outcomes(read_folder(tmp_path, workers=1))

    assert found == {f"year-{hashed(ONE)}": "missing-study", f"year-{hashed(TWO)}": "read"}


@pytest.mark.parametrize("name", ["NOTE.TXT", "series/note.txt"])
def test_a_note_counts_however_it_is_written_and_wherever_it_lies(tmp_path: Path, name: str) -> None:
    film(tmp_path / "a" / "series" / "1.dcm")
    (tmp_path / "a" / name).write_text("Cough.", encoding="utf-8")

    (row,) = read_folder(tmp_path, workers=1).rows

    assert row.note_file == tmp_path / "a" / name


def test_two_notes_beside_one_study_are_left_out_and_told(tmp_path: Path) -> None:
    film(tmp_path / "a" / "series" / "1.dcm")
    for name in ("series/note.txt", "other/note.txt"):
        (tmp_path / "a" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "a" / name).write_text("Cough.", encoding="utf-8")

    cohort = read_folder(tmp_path, workers=1)

    assert cohort.rows[0].note_file is None
    assert "notes beside a study that has several left out: 2" in cohort.remarks


def test_photographs_are_cases_as_they_lie(tmp_path: Path) -> None:
    import numpy as np
    import PIL.Image

    for name in ("a/1.png", "a/2.png", "loose.png", "other.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(np.full((9, 9), len(name), np.uint8)).save(tmp_path / name)

    assert files(scan(tmp_path, workers=1)) == {"a": 2, "loose.png": 1, "other.jpg": 1}


def test_archives_are_read_like_folders(tmp_path: Path) -> None:
    film(tmp_path / "in" / "p1" / "1.dcm", ONE)
    film(tmp_path / "in" / "p2" / "1.dcm", TWO)
    (tmp_path / "in" / "p1" / "note.txt").write_text("Cough.\n")
    both = zipped(tmp_path / "in", tmp_path / "both.zip")
    alone = zipped(tmp_path / "in" / "p1", tmp_path / "alone.zip")
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    shutil.copy(both, root / "deep")
    shutil.copy(alone, root)

    cohort = read_folder(both, workers=1)
    mixed = read_folder(root, workers=1)

    assert outcomes(cohort) == {"p1": "read", "p2": "read"}
    assert [notes(cohort, row) for row in ("p1", "p2")] == ["Cough.", ""]
    assert outcomes(mixed) == {
        "alone.zip": "read",
        f"deep-both.zip-{hashed(ONE)}": "read",
        f"deep-both.zip-{hashed(TWO)}": "read",
    }
    assert notes(mixed, "alone.zip") == "Cough."


def notes(cohort: Cohort, case_id: str) -> str:
    (row,) = (row for row in cohort.rows if row.case_id == case_id)
    case: Case = read_case(cohort, row)
    return case.note.text if case.note else ""


def test_a_note_belongs_to_the_one_study_beside_it(tmp_path: Path) -> None:
    for study in (ONE, TWO):
        film(tmp_path / "s" / study / "1.dcm", study)
    (tmp_path / "s" / ONE / "note.txt").write_text("Cough.")
    (tmp_path / "s" / "note.txt").write_text("Of whom?")

    cohort = read_folder(tmp_path, workers=1)

    assert {row.case_id: notes(cohort, row.case_id) for row in cohort.rows} == {
        f"s-{hashed(ONE)}": "Cough.",
        f"s-{hashed(TWO)}": "",
    }
    assert "files beside the studies left out: 1" in cohort.remarks


def test_a_note_in_an_archive_that_is_no_text_refuses_its_case(tmp_path: Path) -> None:
    film(tmp_path / "in" / "1.dcm")
    (tmp_path / "in" / "note.txt").write_bytes(b"\xff\xfe\xff")
    zipped(tmp_path / "in", tmp_path / "a.zip")
    shutil.rmtree(tmp_path / "in")

    assert outcomes(read_folder(tmp_path, workers=1)) == {"a.zip": "corrupt"}


def test_an_archive_that_cannot_be_trusted_is_one_case_that_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../x.dcm", b"x")
    film(tmp_path / "b.dcm")

    assert outcomes(read_folder(tmp_path, workers=1)) == {"a.zip": "outside", "b.dcm": "read"}
    assert outcomes(read_folder(tmp_path / "a.zip", workers=1)) == {"a.zip": "outside"}


def broken(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write(path, ramp()).read_bytes()[:138])
    return path


def test_a_broken_file_refuses_the_study_around_it_and_is_never_lost(tmp_path: Path) -> None:
    for study in (ONE, TWO):
        for number in range(2):
            film(tmp_path / "s" / study / f"{number}.dcm", study, number)
    broken(tmp_path / "s" / ONE / "x" / "9.dcm")
    stray = broken(tmp_path / "s" / "9.dcm").relative_to(tmp_path).as_posix()

    assert outcomes(read_folder(tmp_path, workers=1)) == {
        f"s-{hashed(ONE)}": "corrupt",
        f"s-{hashed(TWO)}": "read",
        f"s-file-{hashed(stray)}": "corrupt",
    }


def test_a_broken_file_in_a_flat_dump_is_a_case_of_its_own(tmp_path: Path) -> None:
    for number, study in enumerate((ONE, ONE, TWO, TWO)):
        film(tmp_path / f"{number}.dcm", study, number)
    broken(tmp_path / "9.dcm")

    assert outcomes(read_folder(tmp_path, workers=1)) == {
        f"study-{hashed(ONE)}": "read",
        f"study-{hashed(TWO)}": "read",
        "9.dcm": "corrupt",
    }


def test_a_bomb_among_the_files_costs_itself_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "_MEMORY_BYTES", 2**28)
    for number in range(4):
        film(tmp_path / f"{number}.dcm", (ONE, TWO)[number % 2], number)
    write_bomb(tmp_path / "bomb.dcm", 2**28)

    assert files(scan(tmp_path, workers=1)) == {f"study-{hashed(ONE)}": 2, f"study-{hashed(TWO)}": 2, "bomb.dcm": 1}


def deadly(sources: list[Source]) -> list[Header]:
    """As read_headers, but one file ends the process and one never ends."""
    from medmm.read.sources.peek import read_headers

    for source in sources:
        if "deadly.dcm" in source.members:
            os.abort()
        if "endless.dcm" in source.members:
            import time

            time.sleep(600)
    return read_headers(sources)


def test_a_file_that_kills_or_holds_its_child_costs_itself_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "read_headers", deadly)
    monkeypatch.setattr(scanning, "_TIMEOUT_S", 5.0)
    monkeypatch.setattr(scanning, "_TIMEOUT_ALONE_S", 5.0)
    for name in ("1.dcm", "2.dcm", "deadly.dcm", "endless.dcm"):
        film(tmp_path / name, number=len(name))
    film(tmp_path / "3.dcm", TWO)

    found = files(scan(tmp_path, workers=2))

    assert found == {f"study-{hashed(ONE)}": 2, f"study-{hashed(TWO)}": 1, "deadly.dcm": 1, "endless.dcm": 1}


def test_a_header_is_read_without_its_pixels(tmp_path: Path) -> None:
    path = film(tmp_path / "1.dcm", StudyDate="20260102")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\x28\x00\x02\x00")])  # nothing from Samples per Pixel on

    (found,) = scan(tmp_path, workers=1).studies

    assert (found.study_uid, found.date) == (ONE, "20260102")


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """A medium with two studies of a patient, as pydicom writes it, and a viewer beside them."""
    made = FileSet()
    for number, study in enumerate((ONE, ONE, TWO)):
        path = film(
            tmp_path / "made" / f"{number}.dcm", study, number, StudyDate="20260102", StudyTime="120000",
            StudyID="1", SeriesNumber="1", FrameOfReferenceUID=generate_uid(), PatientName="CANARYNAME",
        )  # fmt: skip
        made.add(path)
    made.write(tmp_path / "cd")
    (tmp_path / "cd" / "VIEWER").mkdir()
    (tmp_path / "cd" / "VIEWER" / "VIEWER.EXE").write_bytes(b"MZ")
    return tmp_path / "cd"


@pytest.mark.parametrize("how", ["folder", "DICOMDIR", "zip", "folder among folders"])
def test_a_dicomdir_says_which_files_count(medium: Path, tmp_path: Path, how: str) -> None:
    paths = {
        "folder": lambda: medium,
        "DICOMDIR": lambda: medium / "DICOMDIR",
        "zip": lambda: zipped(medium, tmp_path / "cd.zip"),
        "folder among folders": lambda: Path(shutil.move(medium, tmp_path / "root" / "cd")).parent,
    }
    (tmp_path / "root").mkdir()

    cohort = read_folder(paths[how](), workers=1)

    place = "cd" if how == "folder among folders" else "study"
    assert outcomes(cohort) == {f"{place}-{hashed(ONE)}": "read", f"{place}-{hashed(TWO)}": "read"}
    assert "files that a DICOMDIR does not list left out: 1" in cohort.remarks
    assert "a DICOMDIR says what belongs to a study: 3 files" in cohort.remarks


def test_studies_beside_a_medium_are_not_lost_with_it(medium: Path) -> None:
    film(medium / "another" / "1.dcm", f"{TWO}.9")

    found = outcomes(read_folder(medium, workers=1))

    assert found == {f"study-{hashed(ONE)}": "read", f"study-{hashed(TWO)}": "read", "another": "read"}


def test_a_study_of_which_a_listed_file_is_not_there_is_refused(medium: Path) -> None:
    first, *_ = (Path(found.path) for found in FileSet(medium / "DICOMDIR") if found.StudyInstanceUID == ONE)
    first.unlink()

    cohort = read_folder(medium, workers=1)

    assert outcomes(cohort) == {f"study-{hashed(ONE)}": "missing-study", f"study-{hashed(TWO)}": "read"}
    with pytest.raises(DataError, match=r"its DICOMDIR lists 1 files that are not there\. Copy the whole medium again"):
        read_case(cohort, next(row for row in cohort.rows if row.case_id == f"study-{hashed(ONE)}"))


def write_dicomdir(path: Path, *file_ids: list[str]) -> None:
    """A DICOMDIR whose records hang on nothing, or on one another in a ring."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    directory.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 400
    records = []
    for file_id in file_ids:
        record = Dataset()
        record.OffsetOfTheNextDirectoryRecord = 400
        record.OffsetOfReferencedLowerLevelDirectoryEntity = 400
        with config.disable_value_validation():
            record.ReferencedFileID = file_id
        records.append(record)
    directory.DirectoryRecordSequence = records
    with config.disable_value_validation():
        directory.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("file_id", [["..", "CANARYNAME"], ["/etc", "passwd"], ["..\\x"], ["C:", "x"], ["a/../../x"]])
def test_a_dicomdir_never_leads_out_of_its_folder(tmp_path: Path, file_id: list[str]) -> None:
    root = tmp_path / "cd"
    film(root / "A")
    film(tmp_path / "CANARYNAME", TWO)
    write_dicomdir(root / "DICOMDIR", ["A"], file_id, ["A"])

    cohort = read_folder(root, workers=1)

    assert sorted(outcomes(cohort).values()) == ["outside", "read"]
    assert not any(row.study and row.study.path.name == "CANARYNAME" for row in cohort.rows)
    assert not any(word in str(cohort.remarks) for word in CANARIES)


def test_a_dicomdir_that_does_not_parse_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    film(tmp_path / "a" / "1.dcm")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + b"\x02\x00\x00\x00XX\xff\xff" * 9)

    cohort = read_folder(tmp_path, workers=1)

    assert [row.case_id for row in cohort.rows] == ["a"]
    assert cohort.remarks == ("a DICOMDIR that does not parse was left out; the files beside it were searched",)


@pytest.mark.parametrize("what", ["nothing", "file.txt"])
def test_what_is_neither_folder_nor_archive_nor_medium_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "file.txt").write_text("x")

    with pytest.raises(CohortError, match="is not a folder, a zip archive or a DICOMDIR"):
        read_folder(tmp_path / what)


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    film(tmp_path / "a.dcm")
    os.mkfifo(tmp_path / "pipe")

    assert outcomes(read_folder(tmp_path, workers=1)) == {"a.dcm": "read", "pipe": "missing-study"}


def test_case_ids_are_the_same_wherever_the_folder_lies(tmp_path: Path) -> None:
    for number, study in enumerate((ONE, ONE, TWO)):
        film(tmp_path / "here" / "s" / f"{number}.dcm", study, number, syntax=JPEG2000Lossless)
    before = files(scan(tmp_path / "here", workers=1))
    shutil.move(tmp_path / "here", tmp_path / "there")

    assert files(scan(tmp_path / "there", workers=1)) == before


def test_an_output_among_the_studies_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    film(tmp_path / "studies" / "1.dcm")
    check_apart(tmp_path / "studies", tmp_path / "out")

    for studies in (tmp_path / "studies", tmp_path / "studies" / "DICOMDIR"):
        with pytest.raises(ConfigError, match="among the studies"):
            check_apart(studies, tmp_path / "studies" / "deep" / "out")


def test_an_output_beside_an_archive_or_of_nothing_is_none_of_our_business(tmp_path: Path) -> None:
    film(tmp_path / "in" / "1.dcm")
    zipped(tmp_path / "in", tmp_path / "studies.zip")

    check_apart(tmp_path / "studies.zip", tmp_path / "out")
    check_apart(tmp_path / "nothing", tmp_path / "out")

    with pytest.raises(CohortError, match="is not a folder, a zip archive or a DICOMDIR"):
        read_folder(tmp_path / "nothing", workers=1)


def test_an_archive_that_vanishes_before_its_note_is_read_is_one_refused_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film(tmp_path / "in" / "stays" / "a.dcm")
    film(tmp_path / "packed" / "a.dcm", study=TWO)
    (tmp_path / "packed" / "note.txt").write_text("cough")
    gone = zipped(tmp_path / "packed", tmp_path / "in" / "gone.zip")

    def scan_and_lose(*given: Any) -> Scan:
        found = scan(*given)
        forget_archives()
        gone.unlink()
        return found

    monkeypatch.setattr(folder, "scan", scan_and_lose)

    assert outcomes(read_folder(tmp_path / "in")) == {"gone.zip": "missing-study", "stays": "read"}


def test_a_folder_of_which_only_an_index_lies_beside_an_archive_is_no_case(tmp_path: Path) -> None:
    film(tmp_path / "packed" / "a.dcm")
    (tmp_path / "in" / "x").mkdir(parents=True)
    (tmp_path / "in" / "x" / "DICOMDIR").write_bytes(b"junk")
    zipped(tmp_path / "packed", tmp_path / "in" / "x" / "a.zip")
    film(tmp_path / "in" / "y" / "b.dcm", study=TWO)

    assert set(files(scan(tmp_path / "in"))) == {"x-a.zip", "y"}


def test_a_name_that_is_longer_than_a_case_id_may_be_is_cut_and_stays_one_of_its_own(tmp_path: Path) -> None:
    place = tmp_path / "in" / ("n" * 200)
    place.mkdir(parents=True)
    for number, end in enumerate("ab"):
        film(tmp_path / "made" / end / "a.dcm", study=f"1.2.{number}")
        zipped(tmp_path / "made" / end, place / f"{'m' * 100}{end}.zip")

    names = [one.case_id for one in scan(tmp_path / "in").studies]

    assert [len(name) for name in names] == [255, 255]
    assert len(set(names)) == 2
