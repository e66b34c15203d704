"""The promises of `medmm deidentify`, on a cohort with a canary in every place where an identity can stand."""

from __future__ import annotations

import csv
import json
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
import pytest
import tomlkit
from pydicom import Dataset, FileDataset, Sequence
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian

from medmm.case import Study
from medmm.errors import ConfigError, Reason
from medmm.privacy.deidentify import Deidentified, deidentify
from medmm.privacy.header import SHIFTED, profile
from medmm.privacy.key import open_key
from medmm.read.cohort import read_case, read_cohort
from medmm.read.dicom.study import read_study
from tests.cohorts import table, write_table
from tests.dicom_files import make_dicom, save
from tests.identities import BORN, BURNED_IN, MARK, film, identified_film, report, write_photograph
from tests.models import LABELS, random_model

PATIENT = f"{MARK}-PAT-1"
STUDIES = ("1.2.826.9.100.1", "1.2.826.9.100.2")
NOTE = (
    f"Mr {MARK}0001G {MARK}S, from Springfield, was seen on 2024-03-15 by Dr. Jane Roe. MRN: 84848484. "
    f"Fever since 3 days, SpO2 91 %. Prior film of 2024-02-14. {PATIENT} called 617-555-0199. He is 93 years old."
)
TOML = """
[labels]
columns = ["sick"]
[record.age_years]
unit = "a"
[record.crp]
unit = "mg/L"
taken = "crp_time"
"""


@dataclass(frozen=True)
class Cleaned:
    """A cohort, what came of it, and all that was said meanwhile."""

    source: Path
    out: Path
    key: Path
    result: Deidentified
    said: str

    @property
    def rows(self) -> dict[str, dict[str, str]]:
        """Original case id -> row of the output."""
        names = {row["new"]: row["original"] for row in table(self.result.private / "map.csv") if row["kind"] == "case"}
        return {names[row["case_id"]]: row for row in table(self.out / "cases.csv")}

    def study(self, case_id: str) -> Path:
        """Folder of a study in the output."""
        return self.out / self.rows[case_id]["study"]


def write_cohort(folder: Path) -> Path:
    """Four cases of two patients: films with a report beside them, burned-in text, a photograph, a broken file."""
    studies = [folder / f"{MARK}-STUDIES" / f"{MARK} {name}" for name in ("one", "two", "three", "four")]
    for path in studies:
        path.mkdir(parents=True)
    first = identified_film(
        film(), StudyInstanceUID=STUDIES[0], SOPInstanceUID="1.2.826.9.200.1", PatientID=PATIENT, StudyDate="20240315"
    )
    save(first, studies[0] / f"{MARK}-a.dcm")
    second = identified_film(
        film(text="R", size=40), 2000, StudyInstanceUID=STUDIES[0], PatientID=PATIENT, StudyDate="20240315"
    )
    second.SOPInstanceUID, second.SeriesInstanceUID, second.InstanceNumber = "1.2.826.9.200.2", "1.2.3.4", 2
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = first.SOPClassUID, first.SOPInstanceUID
    second.ReferencedImageSequence = Sequence([reference])
    save(second, studies[0] / f"{MARK}-b.dcm")
    save(report(PatientID=PATIENT, StudyInstanceUID=STUDIES[0]), studies[0] / "sr.dcm")
    third = identified_film(film(text=BURNED_IN), 4000, StudyInstanceUID=STUDIES[1], PatientID=PATIENT)
    third.StudyDate = "20240214"
    save(third, studies[1] / "c.dcm")
    write_photograph(studies[2] / f"{MARK}.png")
    broken = identified_film(film(), 6000, PatientID=f"{MARK}-PAT-4")
    broken.PixelData = broken.PixelData[:100]
    save(broken, studies[3] / "d.dcm")
    names = (f"{MARK}-c1", f"{MARK}-c2", f"{MARK}-c3", f"{MARK}-c4")
    patients = (PATIENT, PATIENT, f"{MARK}-PAT-2", f"{MARK}-PAT-4")
    write_table(
        folder / "cases.csv",
        [
            {
                "case_id": name,
                "patient_id": patient,
                "study": study.relative_to(folder).as_posix(),
                "note": NOTE,
                "age_years": "93",
                "crp": "12.5",
                "crp_time": "2024-03-14T08:00",
                "sick": "1",
                "family_doctor": f"{MARK} doctor",
            }
            for name, patient, study in zip(names, patients, studies, strict=True)
        ],
    )
    (folder / "cohort.toml").write_text(TOML, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory: pytest.TempPathFactory) -> Cleaned:
    """The cohort above, de-identified once."""
    place = tmp_path_factory.mktemp("privacy")
    source, out, key = write_cohort(place / "in"), place / "out", place / "keys" / "hospital.key"
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("sys.stdout.write", lines.append, raising=False)
        result = deidentify(source, out, key, workers=1)
    return Cleaned(source, out, key, result, "".join([*lines, *map(str, result.refused), *result.remarks]))


def read(folder: Path) -> Study:
    """Read a study."""
    return read_study(folder, "c")


def test_no_canary_survives_in_any_file_or_name(cleaned: Cleaned) -> None:
    hidden = [MARK, "QxCnry", BORN, "1.2.826.9.", "Jane Roe", "Springfield", "84848484", "555-0199", PATIENT]
    files = [path for path in cleaned.out.rglob("*") if path.is_file()]

    assert len(files) >= 8  # two films, one film, one photograph, table, configuration, report twice
    for path in files:
        content = path.read_bytes()
        for word in hidden:
            for encoding in ("utf-8", "utf-16-le"):
                assert word.lower().encode(encoding) not in content.lower(), (path.suffix, word)
        assert MARK not in str(path.relative_to(cleaned.out))


def test_no_canary_stands_in_what_is_said_of_a_refused_case(cleaned: Cleaned) -> None:
    (refused,) = cleaned.result.refused

    assert refused.code is Reason.CORRUPT
    assert MARK not in cleaned.said
    assert f"{MARK}-c4" not in cleaned.rows


def test_every_identifying_element_is_gone_at_every_depth(cleaned: Cleaned) -> None:
    folders = (cleaned.source, cleaned.out)
    before, after = (
        [e for path in folder.rglob("*.dcm") for e in pydicom.dcmread(path).iterall()] for folder in folders
    )
    kinds = ("SQ", "CS", "DA", "DT", "TM", "US", "AT")  # dates below; the others have no room for a canary
    originals = {str(e.value) for e in before if int(e.tag) in profile() and e.VR not in kinds}
    left = {str(e.value) for e in after if e.VR not in kinds}
    dates = {e.value for e in after if e.VR in ("DA", "DT", "TM") and e.keyword not in SHIFTED}

    assert len(originals) > 1500
    assert not {value for value in originals & left if len(value) > 5}
    assert dates <= {"", "00010101", "00010101010101.000000+0000", "000000.00"}


def test_private_elements_curves_overlays_and_the_preamble_are_gone(cleaned: Cleaned) -> None:
    for path in cleaned.out.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)

        assert not any(e.tag.is_private or e.tag.group & 0xFF00 in (0x5000, 0x6000) for e in dataset.iterall())
        assert dataset.preamble == b"\0" * 128
        assert {e.keyword for e in dataset.file_meta} == {
            "FileMetaInformationGroupLength",
            "FileMetaInformationVersion",
            "MediaStorageSOPClassUID",
            "MediaStorageSOPInstanceUID",
            "TransferSyntaxUID",
            "ImplementationClassUID",
            "ImplementationVersionName",
        }


def test_every_file_says_that_and_how_it_was_deidentified(cleaned: Cleaned) -> None:
    for path in cleaned.study(f"{MARK}-c1").glob("*.dcm"):
        dataset = pydicom.dcmread(path)

        assert dataset.PatientIdentityRemoved == "YES"
        assert "E.1-1" in dataset.DeidentificationMethod
        assert [code.CodeValue for code in dataset.DeidentificationMethodCodeSequence] == ["113100", "113107"]
        assert dataset.LongitudinalTemporalInformationModified == "MODIFIED"
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.SOPInstanceUID.is_valid


def test_references_point_to_the_new_file(cleaned: Cleaned) -> None:
    datasets = [pydicom.dcmread(path) for path in sorted(cleaned.study(f"{MARK}-c1").glob("*.dcm"))]
    first, second = sorted(datasets, key=lambda dataset: "InstanceNumber" in dataset)

    assert second.ReferencedImageSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert first.StudyInstanceUID == second.StudyInstanceUID


def test_a_patient_has_one_pseudonym_and_one_shift_of_dates(cleaned: Cleaned) -> None:
    one, two = (pydicom.dcmread(next(cleaned.study(f"{MARK}-{c}").glob("*.dcm"))) for c in ("c1", "c2"))
    rows = cleaned.rows
    days = [datetime.strptime(dataset.StudyDate, "%Y%m%d") for dataset in (one, two)]

    assert one.PatientID == two.PatientID == rows[f"{MARK}-c1"]["patient_id"] != rows[f"{MARK}-c3"]["patient_id"]
    assert (days[0] - days[1]).days == 30
    assert days[0] != datetime(2024, 3, 15)
    assert f"on {days[0]:%Y-%m-%d} by" in rows[f"{MARK}-c1"]["note"]
    assert f"film of {days[1]:%Y-%m-%d}" in rows[f"{MARK}-c1"]["note"]
    assert (days[0] - datetime.fromisoformat(rows[f"{MARK}-c1"]["crp_time"])).days == 0


def test_the_record_keeps_what_is_configured_and_old_ages_become_90(cleaned: Cleaned) -> None:
    row = cleaned.rows[f"{MARK}-c1"]

    assert row["age_years"] == "90"
    assert row["crp"] == "12.5"
    assert row["sick"] == "1"
    assert "family_doctor" not in row
    assert "He is 90 years old" in row["note"]
    assert "columns left out, since cohort.toml does not name them: 1" in cleaned.result.remarks


def test_the_output_reads_with_the_same_pixels_where_no_text_was_masked(cleaned: Cleaned) -> None:
    before = read(cleaned.source / f"{MARK}-STUDIES" / f"{MARK} one")
    after = read(cleaned.study(f"{MARK}-c1"))
    uids = {row["original"]: row["new"] for row in table(cleaned.result.private / "map.csv") if row["kind"] == "uid"}
    images = {image.instance_uid: image for image in after.images}

    assert len(before.images) == 2
    for image in before.images:
        np.testing.assert_array_equal(images[uids[image.instance_uid]].pixels, image.pixels)
        assert images[uids[image.instance_uid]].view == image.view


def test_burned_in_text_is_masked_and_said_and_the_rest_stays(cleaned: Cleaned) -> None:
    (path,) = cleaned.study(f"{MARK}-c2").glob("*.dcm")
    dataset = pydicom.dcmread(path)
    stored, plain = dataset.pixel_array, film()

    assert (stored[12:28, 10:60] == stored.min()).all()
    np.testing.assert_array_equal(stored[120:], plain[120:])
    assert dataset.BurnedInAnnotation == "NO"
    assert "113101" in [code.CodeValue for code in dataset.DeidentificationMethodCodeSequence]


def test_the_cohort_reads_as_before(cleaned: Cleaned) -> None:
    before, after = read_cohort(cleaned.source), read_cohort(cleaned.out)

    for old, new in zip(before.rows[:3], after.rows, strict=True):
        records = [read_case(cohort, row).record for cohort, row in ((before, old), (after, new))]
        values = [dict(record.values) if record else {} for record in records]
        assert values[1] == values[0] | {"age_years": 90.0}
        assert new.targets == old.targets == {"sick": 1.0}


def test_key_and_map_can_be_read_by_their_owner_only(cleaned: Cleaned) -> None:
    private = [cleaned.key, *(path for path in cleaned.result.private.rglob("*") if path.is_file())]

    assert len(private) >= 4
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in private)


def test_the_places_that_changed_in_a_note_can_be_reviewed(cleaned: Cleaned) -> None:
    rows = cleaned.rows
    new = rows[f"{MARK}-c1"]["note"]
    places = [p for p in table(cleaned.result.private / "notes.csv") if p["case"] == rows[f"{MARK}-c1"]["case_id"]]

    said = {
        (p["kind"], NOTE[int(p["start"]) : int(p["end"])], new[int(p["new_start"]) : int(p["new_end"])]) for p in places
    }
    assert ("PLACE", "Springfield", "[PLACE]") in said
    assert ("ID", "84848484", "[ID]") in said
    assert ("PHONE", "617-555-0199", "[PHONE]") in said


def test_the_report_counts_and_names_no_one(cleaned: Cleaned) -> None:
    said = json.loads((cleaned.out / "deidentification.json").read_text(encoding="utf-8"))
    rows = table(cleaned.out / "deidentification.csv")

    assert (said["cases"], said["refused"], said["state"]) == (3, 1, "finished")
    assert said["elements_removed"] > 500
    assert said["regions_masked"] >= 1
    assert said["words_replaced"] >= 15
    assert [row["state"] for row in rows].count("refused") == 1
    assert any("left out: only images are kept" in row["remarks"] for row in rows)


def test_a_second_run_does_only_what_is_left(cleaned: Cleaned) -> None:
    before = {path: path.stat().st_mtime_ns for path in cleaned.out.rglob("*.dcm")}

    again = deidentify(cleaned.source, cleaned.out, cleaned.key, workers=1)

    assert (again.done, again.known, len(again.refused)) == (3, 3, 1)
    assert {path: path.stat().st_mtime_ns for path in cleaned.out.rglob("*.dcm")} == before


def test_the_output_of_one_key_is_not_gone_on_with_another(cleaned: Cleaned, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another key"):
        deidentify(cleaned.source, cleaned.out, tmp_path / "other.key", workers=1)


def test_the_same_key_makes_the_same_uids_elsewhere_and_another_key_others(cleaned: Cleaned, tmp_path: Path) -> None:
    same, other = open_key(cleaned.key), open_key(tmp_path / "other.key")
    new = pydicom.dcmread(next(cleaned.study(f"{MARK}-c1").glob("*.dcm"))).StudyInstanceUID

    assert same.uid(STUDIES[0]) == new != other.uid(STUDIES[0])
    assert new.startswith("2.25.")
    assert len(new) <= 64


@pytest.mark.parametrize("place", ["out/key", "in/key"])
def test_a_key_in_the_output_or_the_source_is_refused(place: str, cleaned: Cleaned, tmp_path: Path) -> None:
    (tmp_path / "in").symlink_to(cleaned.source)

    with pytest.raises(ConfigError, match="the key lies in"):
        deidentify(tmp_path / "in", tmp_path / "out", tmp_path / place)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_holds_something_else_is_refused(cleaned: Cleaned, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("chapter one", encoding="utf-8")

    with pytest.raises(ConfigError, match="something else"):
        deidentify(cleaned.source, tmp_path, cleaned.key)


def test_dates_can_be_removed_and_text_refused_in_a_bare_folder(cleaned: Cleaned, tmp_path: Path) -> None:
    source = cleaned.source / f"{MARK}-STUDIES"
    (source / f"{MARK} one" / "note.txt").write_text(NOTE, encoding="utf-8")

    result = deidentify(source, tmp_path / "out", tmp_path / "key", dates="remove", burned_in="refuse", workers=1)

    assert result.done == 2
    assert {problem.code for problem in result.refused} == {Reason.UNSUPPORTED, Reason.CORRUPT}
    notes = [path.read_text(encoding="utf-8") for path in (tmp_path / "out").rglob("note.txt")]
    assert len(notes) == 1
    assert "on [DATE] by" in notes[0]
    assert MARK not in notes[0]
    for path in (tmp_path / "out").rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        assert dataset.StudyDate == ""
        assert "SeriesDate" not in dataset
        assert dataset.LongitudinalTemporalInformationModified == "REMOVED"
    (source / f"{MARK} one" / "note.txt").unlink()


def test_rows_of_the_tables_have_all_their_cells(cleaned: Cleaned) -> None:
    for path in cleaned.out.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
        assert {len(line) for line in lines} == {len(lines[0])}


def test_a_study_without_an_image_is_refused_by_its_pseudonym(tmp_path: Path) -> None:
    for name, dataset in ((f"{MARK}-a", report(StudyInstanceUID="1.2.3.77")), (f"{MARK}-b", make_dicom(film()))):
        (tmp_path / "in" / name).mkdir(parents=True)
        save(dataset, tmp_path / "in" / name / "1.dcm")

    result = deidentify(tmp_path / "in", tmp_path / "out", tmp_path / "key", workers=1)

    assert [problem.code for problem in result.refused] == [Reason.NO_PIXELS]
    assert result.done == 1
    assert MARK not in str(result.refused[0])


def test_a_film_and_a_volume_are_scored_as_before(tmp_path: Path) -> None:
    from medmm.config import RunConfig
    from medmm.explain.contribution import predict

    film_dataset = identified_film(film(), PatientID=PATIENT, StudyDate="20240315")
    film_dataset.SeriesInstanceUID, film_dataset.StudyInstanceUID = "1.2.3.4", STUDIES[0]
    (tmp_path / "in" / "a").mkdir(parents=True)
    save(film_dataset, tmp_path / "in" / "a" / "1.dcm")
    (tmp_path / "in" / "b").mkdir()
    for slice_ in range(4):
        save(ct_slice(slice_), tmp_path / "in" / "b" / f"{slice_}.dcm")
    rows = [
        {"case_id": c, "patient_id": f"{MARK}-{c}", "study": c, "note": "no fever", "age_years": "61", "sex": "male"}
        | {"crp_mg_l": "5"}
        | dict.fromkeys(LABELS, "1")
        for c in ("a", "b")
    ]
    write_table(tmp_path / "in" / "cases.csv", rows)
    model = random_model(RunConfig())
    dials = model.card.cohort.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    (tmp_path / "in" / "cohort.toml").write_text(tomlkit.dumps(dials), encoding="utf-8")

    result = deidentify(tmp_path / "in", tmp_path / "out", tmp_path / "key", workers=1)

    assert (result.done, result.refused) == (2, ())
    cohorts = [read_cohort(tmp_path / name, model.card.cohort) for name in ("in", "out")]
    encoded = [[model.encode(read_case(cohort, row)) for row in cohort.rows] for cohort in cohorts]
    before, after = (predict(model, cases) for cases in encoded)
    assert [prediction.findings for prediction in after] == [prediction.findings for prediction in before]
    volumes = [read_study(cohort.rows[1].study or Path(), "c").volumes[0] for cohort in cohorts]
    np.testing.assert_array_equal(volumes[0].voxels, volumes[1].voxels)
    np.testing.assert_array_equal(volumes[0].affine, volumes[1].affine)


def ct_slice(number: int) -> FileDataset:
    """One of some slices, 2.5 mm apart."""
    return make_dicom(
        film(96, 96) + number,
        SOPClassUID=CTImageStorage,
        SOPInstanceUID=f"1.2.826.9.300.{number}",
        Modality="CT",
        PatientID=f"{MARK}-b",
        InstanceNumber=str(number),
        ImagePositionPatient=[0, 0, 2.5 * number],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[0.7, 0.7],
        RescaleSlope="1",
        RescaleIntercept="-1024",
    )


@pytest.mark.parametrize("stored", [np.uint8, np.uint16])
def test_words_in_a_photograph_are_masked_however_dark_its_values_are(stored: type, tmp_path: Path) -> None:
    values = film(text=BURNED_IN)  # 12 bits, of which a PNG of 16 shows next to nothing
    (tmp_path / "in" / "one").mkdir(parents=True)
    picture = (values // 16).astype(stored) if stored is np.uint8 else values.astype(stored)
    PIL.Image.fromarray(picture).save(tmp_path / "in" / "one" / "a.png")

    deidentify(tmp_path / "in", tmp_path / "out", tmp_path / "key", workers=1)

    (written,) = (tmp_path / "out").rglob("*.png")
    assert np.ptp(picture[12:28, 10:60]) > 0
    assert np.ptp(np.asarray(PIL.Image.open(written))[12:28, 10:60]) == 0


def test_a_photograph_with_words_is_refused_where_they_are_to_be_refused(tmp_path: Path) -> None:
    (tmp_path / "in" / "one").mkdir(parents=True)
    PIL.Image.fromarray(film(text=BURNED_IN).astype(np.uint16)).save(tmp_path / "in" / "one" / "a.png")

    deidentify(tmp_path / "in", tmp_path / "out", tmp_path / "key", burned_in="refuse", workers=1)

    assert not list((tmp_path / "out").rglob("*.png"))


def test_big_endian_tables_of_words_show_the_same_picture_afterwards(tmp_path: Path) -> None:
    item = Dataset()
    item.add_new(0x00283002, "US", [2, 0, 16])
    item.add_new(0x00283006, "OW", np.array([0x0102, 0xFFFF], ">u2").tobytes())
    pixels = np.zeros((20, 20), "<u2")
    pixels[:, 10:] = 1
    (tmp_path / "in" / "one").mkdir(parents=True)
    dataset = make_dicom(pixels, VOILUTSequence=Sequence([item]))
    before = save(dataset, tmp_path / "in" / "one" / "a.dcm", ExplicitVRBigEndian)

    deidentify(tmp_path / "in", tmp_path / "out", tmp_path / "key", workers=1)

    (after,) = (tmp_path / "out").rglob("*.dcm")
    first, second = (read_study(path, "c").images[0].pixels for path in (before, after))
    np.testing.assert_array_equal(first, second)
