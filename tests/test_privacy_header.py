"""The Basic Profile, element by element: what goes, what stays, what is mapped and what moves."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pydicom
import pytest
from pydicom import Dataset, Sequence, config
from pydicom.uid import ComputedRadiographyImageStorage

from medmm.config import CohortConfig, NumberColumn
from medmm.errors import ConfigError, DataError, Reason
from medmm.privacy.header import (
    KEPT_TEXT,
    METHOD,
    Action,
    Identities,
    Patient,
    clean_header,
    collect,
    elements,
    profile,
    shifted,
    strings,
)
from medmm.privacy.key import Key, open_key
from medmm.privacy.table import clean_row, move_time
from medmm.privacy.verify import verify_case
from medmm.read.cohort import CaseRow
from tests.dicom_files import make_dicom, save
from tests.identities import MARK, film, identifying

KEY = Key(bytes(range(32)))
SHIFTED, REMOVED = Patient("P0", -10), Patient("P0", None)


def clean(dataset: Dataset, patient: Patient = SHIFTED) -> Identities:
    """Clean a header as a case does."""
    found = Identities()
    collect(dataset, found)
    clean_header(dataset, patient, KEY, found)
    return found


def test_the_table_is_the_whole_of_a_current_edition() -> None:
    table = profile()

    assert len(table) >= 652
    assert table[0x00100010] is Action.EMPTY
    assert table[0x00081030] is table[0x0008103E] is Action.REMOVE
    assert table[0x00080018] is Action.MAP


@pytest.mark.parametrize("patient", [SHIFTED, REMOVED])
def test_no_canary_of_any_attribute_survives(patient: Patient) -> None:
    dataset = make_dicom(film())
    kinds = identifying(dataset)

    found = clean(dataset, patient)

    assert len(kinds) > 630
    assert not [element.keyword for _, element in elements(dataset) if MARK in str(element.value)]
    assert not {text for _, element in elements(dataset) for text in strings(element)} & found.hidden()
    assert len(found.hidden()) > 300


def test_what_the_table_does_not_know_is_removed_unless_it_is_known_to_be_harmless() -> None:
    dataset = make_dicom(film(), DetectorDescription=f"{MARK} room", EvaluatorName=MARK, ExpiryDate="20240101")
    dataset.add_new(0x00091001, "LO", MARK)
    dataset.add_new(0x00080002, "UN", MARK.encode())
    with config.disable_value_validation():
        dataset.BodyPartExamined = f"{MARK.lower()} no code"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.Manufacturer = "Maker"

    clean(dataset)

    assert MARK.lower() not in str(dataset).lower()
    assert "ExpiryDate" not in dataset
    assert dataset.Manufacturer == "Maker"
    assert "Manufacturer" in KEPT_TEXT
    assert dataset.ImageType == ["ORIGINAL", "PRIMARY"]


def test_what_a_reader_needs_is_kept() -> None:
    needed = {
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [-1.5, 2, 3],
        "PixelSpacing": [0.5, 0.5],
        "RescaleSlope": "2",
        "RescaleIntercept": "-1024",
        "WindowCenter": "40",
        "WindowWidth": "400",
        "SeriesNumber": "3",
        "InstanceNumber": "7",
        "ViewPosition": "PA",
        "BodyPartExamined": "CHEST",
        "PatientOrientation": ["L", "F"],
        "LossyImageCompression": "01",
    }
    dataset = make_dicom(film(), **needed)
    before = {keyword: str(dataset[keyword].value) for keyword in needed}

    clean(dataset)

    assert {keyword: str(dataset[keyword].value) for keyword in needed} == before
    assert (dataset.Rows, dataset.Columns) == film().shape


def test_a_kept_text_that_holds_a_name_is_removed_after_all() -> None:
    dataset = make_dicom(
        film(),
        PatientName="Quigley^Lee",
        PatientID="4711-Q9",
        ManufacturerModelName="Camera of Quigley",
        ConvolutionKernel="QUIGLEYSON",
        StackID="PAT4711Q9x",
        Manufacturer="Leeds",
    )
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "39607008", "SCT", "Lung, call 617-555-0199"
    dataset.AnatomicRegionSequence = Sequence([code])

    clean(dataset)

    assert not {"ManufacturerModelName", "ConvolutionKernel", "StackID"} & set(dataset.dir())
    assert "CodeMeaning" not in dataset.AnatomicRegionSequence[0]
    assert dataset.AnatomicRegionSequence[0].CodeValue == "39607008"
    assert dataset.Manufacturer == "Leeds"


def test_a_second_picture_beside_or_below_the_picture_is_removed() -> None:
    dataset, nested = make_dicom(film(), FloatPixelData=b"Quigley!"), Dataset()
    nested.PixelData, nested.Rows, nested.BitsAllocated = b"Quigley!", 1, 8
    nested["PixelData"].VR = "OW"
    dataset.AnatomicRegionSequence = Sequence([nested])

    clean(dataset)

    assert "PixelData" in dataset
    assert "FloatPixelData" not in dataset
    assert "PixelData" not in dataset.AnatomicRegionSequence[0]


def test_uids_are_mapped_alike_wherever_they_stand_and_those_of_the_standard_stay() -> None:
    dataset = make_dicom(film(), SOPInstanceUID="1.2.3.4.5", FrameOfReferenceUID="1.2.3.9")
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = ComputedRadiographyImageStorage, "1.2.3.4.5"
    dataset.SourceImageSequence = Sequence([reference])

    found = clean(dataset)

    assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID == dataset.SOPInstanceUID == KEY.uid("1.2.3.4.5")
    assert dataset.SourceImageSequence[0].ReferencedSOPClassUID == ComputedRadiographyImageStorage
    assert found.uids["1.2.3.9"] == dataset.FrameOfReferenceUID


def test_a_uid_that_only_looks_like_the_standards_is_mapped() -> None:
    dataset, reference = make_dicom(film(), ReferencedFrameOfReferenceUID="1.2.840.10008.19610203.4711"), Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2.276.0.4711.19610203", "1.2.3.4"
    dataset.ReferencedImageSequence = Sequence([reference])

    clean(dataset)

    assert "19610203" not in str(dataset)
    assert dataset.SOPClassUID == ComputedRadiographyImageStorage


def test_a_number_that_is_the_patients_id_is_removed_and_so_is_text_in_the_place_of_a_sequence() -> None:
    dataset = make_dicom(film(), PatientID="123456", AcquisitionNumber="123456", SeriesNumber="3", KVP="19610203")
    dataset.PatientBirthDate = "19610203"
    dataset.add_new(0x00081140, "LO", "Anna Huber")

    found = clean(dataset)

    assert not {"AcquisitionNumber", "KVP", "ReferencedImageSequence"} & set(dataset.dir())
    assert dataset.SeriesNumber == 3
    assert "123456" in found.hidden()


@pytest.mark.parametrize(
    ("name", "unit", "cell", "after"),
    [
        ("x", "a", "97", "90"),
        ("x", "years", "97", "90"),
        ("x", "yr", "89", "89"),
        ("x", "mo", "1100", "1080"),
        ("x", "d", "36000", "32872"),
        ("x", "wk", "5000", "4696"),
        ("patient_age", "", "97", "90"),
        ("dosage", "", "97", "97"),
        ("x", "mg/L", "97", "97"),
    ],
)
def test_ages_from_90_on_are_one(name: str, unit: str, cell: str, after: str) -> None:
    config = CohortConfig(record={name: NumberColumn(unit=unit)})
    row = CaseRow("c", "p", None, cells={name: cell})

    assert clean_row(config, row, "C", SHIFTED, None)[name] == after


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("DA", "20240315", "20240305"),
        ("DA", "2024.03.15", "20240305"),
        ("DA", "20240101", "20231222"),
        ("DA", f"{MARK}", ""),
        ("DA", "20240231", ""),
        ("DT", "20240315101500.5+0100", "20240305101500.5+0100"),
        ("TM", "101500.123", "101500.123"),
        ("TM", f"{MARK}", ""),
        ("DA", "", ""),
    ],
)
def test_dates_move_by_whole_days_and_nonsense_is_emptied(kind: str, before: str, after: str) -> None:
    assert shifted(kind, before, -10) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2024-03-15", "2024-03-05"),
        ("2024-03-15T08:30:00+01:00", "2024-03-05T08:30:00+01:00"),
        ("20240315T0830", "2024-03-05T0830"),
        ("2024-02", "2024-02-19"),
        ("", ""),
        ("whenever", ""),
    ],
)
def test_times_of_a_table_move_like_dates_of_a_header(before: str, after: str) -> None:
    assert move_time(before, -10) == after
    assert move_time(before, None) == ""


def test_a_time_with_an_offset_moves_by_the_hospitals_clock() -> None:
    assert move_time("2024-05-31T23:30:00Z", -10, ZoneInfo("Europe/Vienna")) == "2024-05-22T01:30:00"


def test_a_file_that_was_deidentified_before_can_be_so_again() -> None:
    dataset = make_dicom(film(), PatientName="ANONYMIZED")
    clean(dataset)

    found = clean(dataset)

    assert dataset.DeidentificationMethod == METHOD
    assert not {value for value in found.hidden() if value in METHOD or value == "ANONYMIZED"}


def test_a_patient_named_like_a_word_of_the_method_does_not_break_it() -> None:
    dataset = make_dicom(film(), PatientName="Basic^Data")

    found = clean(dataset)

    assert dataset.DeidentificationMethodCodeSequence[0].CodeMeaning.startswith("Basic")
    assert not found.named() & {"Basic", "Data"}


def test_a_key_file_without_a_key_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret", encoding="ascii")

    with pytest.raises(ConfigError, match="holds no key"):
        open_key(tmp_path / "key")


def test_a_key_says_nothing_of_its_secret() -> None:
    assert KEY.secret.hex() not in repr(KEY) + KEY.fingerprint
    assert -3650 <= KEY.shift_days("a") <= -1


@pytest.mark.parametrize(
    ("keyword", "value", "hidden"),
    [
        ("ManufacturerModelName", f"of {MARK}", MARK),
        ("ManufacturerModelName", "of Lee", "Lee"),
        ("InstanceCreatorUID", "1.2.3.77", "1.2.3.77"),
        ("PatientIdentityRemoved", "NO", "nothing"),
    ],
)
def test_verification_finds_what_cleaning_would_have_left(
    keyword: str, value: str, hidden: str, tmp_path: Path
) -> None:
    dataset = make_dicom(film())
    clean(dataset)
    save(dataset, tmp_path / "1.dcm")
    verify_case("C1", [tmp_path], "", frozenset(), frozenset({hidden, "Quigley"}))
    setattr(dataset, keyword, value)
    save(dataset, tmp_path / "1.dcm")

    with pytest.raises(DataError, match="something identifying is left") as raised:
        verify_case("C1", [tmp_path], "", frozenset(), frozenset({hidden}))
    assert raised.value.code is Reason.CORRUPT
    assert hidden not in str(raised.value)


def test_verification_finds_words_in_pixels_and_names_in_notes(tmp_path: Path) -> None:
    dataset = make_dicom(film())
    clean(dataset)
    dataset.PixelData = MARK.encode() + dataset.PixelData[len(MARK) :]
    save(dataset, tmp_path / "1.dcm")

    with pytest.raises(DataError, match="file in which something identifying is left"):
        verify_case("C1", [tmp_path], "", frozenset(), frozenset({MARK}))
    with pytest.raises(DataError, match="note in which something identifying is left"):
        verify_case("C1", [], "seen by quigley.", frozenset({"Quigley"}), frozenset())


def test_verification_does_not_take_a_maker_for_a_patient(tmp_path: Path) -> None:
    dataset = make_dicom(film(), Manufacturer="Leeds", PatientName="Lee^Bo")
    found = clean(dataset)
    save(dataset, tmp_path / "1.dcm")

    verify_case("C1", [tmp_path], "", found.named(), found.hidden())

    assert pydicom.dcmread(tmp_path / "1.dcm").Manufacturer == "Leeds"
