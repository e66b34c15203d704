"""The promises of `medmm deidentify` about reruns, places, keys and what a table or a folder's name would give away."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from medmm.errors import CohortError, ConfigError
from medmm.privacy.deidentify import deidentify
from medmm.privacy.key import open_key
from medmm.read.cohort import read_cohort
from tests.cohorts import table, write_table
from tests.dicom_files import make_dicom, save
from tests.identities import film


def write_small(folder: Path, **elements: str) -> Path:
    """A cohort of one film, with what its header says."""
    (folder / "s").mkdir(parents=True)
    dataset = make_dicom(film(64, 64), **{"PatientName": "Quigley^Bo", "PatientID": "Q-4711"} | elements)
    save(dataset, folder / "s" / "a.dcm")
    write_table(folder / "cases.csv", [{"case_id": "c", "patient_id": "Q-4711", "study": "s", "sick": "1"}])
    (folder / "cohort.toml").write_text('[labels]\ncolumns = ["sick"]\n', encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["000001.dcm", ".000002.dcm"])
def test_a_file_that_changed_in_the_output_is_made_anew(name: str, tmp_path: Path) -> None:
    source = write_small(tmp_path / "in")
    deidentify(source, tmp_path / "out", tmp_path / "key", workers=1)
    (folder,) = (tmp_path / "out" / "studies").iterdir()
    (folder / name).write_bytes((source / "s" / "a.dcm").read_bytes())

    again = deidentify(source, tmp_path / "out", tmp_path / "key", workers=1)

    assert (again.done, again.known) == (1, 0)
    assert [path.name for path in folder.iterdir()] == ["000001.dcm"]
    assert b"Quigley" not in (folder / "000001.dcm").read_bytes()


def test_an_interrupted_run_leaves_nothing_unverified(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    source, private = write_small(tmp_path / "in"), tmp_path / "key.out"
    (private / "unverified" / "C1").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        deidentify(source, tmp_path / "out", tmp_path / "key", progress=interrupt, workers=1)

    assert not (private / "unverified").exists()
    assert not [path for path in (tmp_path / "out").rglob("*") if "pending" in path.name]


def test_two_outputs_of_one_name_do_not_share_a_map(tmp_path: Path) -> None:
    source = write_small(tmp_path / "in")
    deidentify(source, tmp_path / "out", tmp_path / "key", workers=1)

    with pytest.raises(ConfigError, match="another output of the same name"):
        deidentify(source, tmp_path / "b" / "out", tmp_path / "key", workers=1)
    assert not (tmp_path / "b" / "out").exists()


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    open_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)

    with pytest.raises(ConfigError, match="chmod 600"):
        open_key(tmp_path / "key")


def test_the_map_lies_beside_the_key_and_not_beside_a_link_to_it(tmp_path: Path) -> None:
    source = write_small(tmp_path / "in")
    (tmp_path / "safe").mkdir()
    open_key(tmp_path / "safe" / "key")
    (tmp_path / "link").symlink_to(tmp_path / "safe" / "key")

    result = deidentify(source, tmp_path / "out", tmp_path / "link", workers=1)

    assert result.private == tmp_path / "safe" / "key.out"


def test_a_row_that_cannot_be_used_is_not_named(tmp_path: Path) -> None:
    source = write_small(tmp_path / "in")
    rows = [{"case_id": "Quigley", "patient_id": "Q-4711", "study": "s", "sick": "perhaps"}]
    write_table(source / "cases.csv", rows)

    with pytest.raises(CohortError, match=r"a row of cases.csv cannot be used") as raised:
        deidentify(source, tmp_path / "out", tmp_path / "key", workers=1)
    assert "Quigley" not in str(raised.value)


def test_a_table_without_a_configuration_is_not_guessed_at(tmp_path: Path) -> None:
    source = write_small(tmp_path / "in")
    (source / "cohort.toml").unlink()

    with pytest.raises(ConfigError, match="Run medmm check, correct the first"):
        deidentify(source, tmp_path / "out", tmp_path / "key", workers=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("categories", ['["Bo Quigley", "other"]', '["QUIGLEYS", "other"]', '["Q 4711", "other"]'])
def test_a_configuration_that_names_a_patient_is_refused(categories: str, tmp_path: Path) -> None:
    source = write_small(tmp_path / "in")
    rows = [{"case_id": "c", "patient_id": "Q-4711", "study": "s", "sick": "1", "seen_by": "other"}]
    write_table(source / "cases.csv", rows)
    with (source / "cohort.toml").open("a", encoding="utf-8") as file:
        file.write(f"[record.seen_by]\ncategories = {categories}\n")

    with pytest.raises(CohortError, match="would name a patient") as raised:
        deidentify(source, tmp_path / "out", tmp_path / "key", workers=1)
    assert "uigley" not in str(raised.value).lower()


def test_a_rule_by_description_is_written_without_it(tmp_path: Path) -> None:
    source = write_small(tmp_path / "in")
    with (source / "cohort.toml").open("a", encoding="utf-8") as file:
        file.write('[[images]]\ndescription = "Quigley"\nmodality = ["DX", "CR"]\n')

    result = deidentify(source, tmp_path / "out", tmp_path / "key", workers=1)

    assert "Quigley" not in (tmp_path / "out" / "cohort.toml").read_text(encoding="utf-8")
    assert read_cohort(tmp_path / "out").config.images[0].modality == ("DX", "CR")
    assert any("match nothing any more" in remark for remark in result.remarks)


def test_names_in_the_row_and_in_folder_names_are_taken_out_of_the_note_and_the_header(tmp_path: Path) -> None:
    source = write_small(tmp_path / "in", ConvolutionKernel="Zeitler standard")
    (source / "s").rename(source / "Mustermann_chest")
    row = {"case_id": "Huber-1", "patient_id": "Q-4711", "study": "Mustermann_chest", "sick": "1"}
    note = "Huber coughs; mustermann, her chest, saw Zeitler and called 4711-Q9; born in 1961."
    others = {"patient_name": "Zeitler, Vera", "MRN": "4711Q9", "file_name": "coughs", "note": note}
    write_table(source / "cases.csv", [row | others])

    deidentify(source, tmp_path / "out", tmp_path / "key", workers=1)

    (cells,) = table(tmp_path / "out" / "cases.csv")
    assert cells["note"] == "[NAME] coughs; [NAME], her chest, saw [NAME] and called [ID]; born in 1961."
    (file,) = (tmp_path / "out").rglob("*.dcm")
    assert "ConvolutionKernel" not in pydicom.dcmread(file)


def test_the_name_of_a_bare_folder_is_taken_out_of_its_note(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "Mustermann_Anna"
    folder.mkdir(parents=True)
    save(make_dicom(film(64, 64), PatientName="ANON", PatientID="X1Y2Z"), folder / "a.dcm")
    (folder / "note.txt").write_text("Mustermann coughs. Known: Anna is deaf.", encoding="utf-8")

    deidentify(tmp_path / "in", tmp_path / "out", tmp_path / "key", workers=1)

    (note,) = (tmp_path / "out").rglob("note.txt")
    assert note.read_text(encoding="utf-8") == "[NAME] coughs. Known: [NAME] is deaf."
