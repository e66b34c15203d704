"""What reading a DICOM study promises: the same film however stored, one study at a time, refusals that tell no one."""

import logging
import os
import shutil
import traceback
import warnings
from datetime import date, datetime
from datetime import time as clock_time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
)

from medmm.case import Study
from medmm.errors import DataError, Reason
from medmm.read import guard
from medmm.read.dicom import film, instance
from medmm.read.dicom.study import read_study
from medmm.read.sources.source import Reader
from tests.dicom_files import (
    BROKEN,
    CANARIES,
    SYNTAXES,
    TOP,
    compressed_frame,
    jpeg,
    make_dicom,
    ramp,
    save,
    write,
    write_bomb,
    write_report,
)


def refusal(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read_study(path, "c1")
    return caught.value


def places(study: Study) -> list[str]:
    return [image.instance_uid for image in study.images]


@pytest.mark.parametrize("monochrome1", [False, True], ids=["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_a_film_looks_the_same_however_it_is_stored(tmp_path: Path, syntax: UID, monochrome1: bool) -> None:
    stored, centre = (TOP - ramp(), TOP + 1 - 1500) if monochrome1 else (ramp(), 1500)
    photometric = "MONOCHROME1" if monochrome1 else "MONOCHROME2"
    elements: dict[str, Any] = {"PhotometricInterpretation": photometric, "WindowCenter": centre, "WindowWidth": 2001}

    image = read_study(write(tmp_path / "film.dcm", stored, syntax, **elements), "c1").images[0]

    shown = np.clip((ramp().astype(float) - 1499.5) / 2000 + 0.5, 0, 1)
    np.testing.assert_allclose(image.pixels, shown, atol=1e-6)
    assert ("MONOCHROME1 inverted" in image.remarks) == monochrome1


@pytest.mark.parametrize("syntax", [*SYNTAXES[1:], ExplicitVRBigEndian], ids=lambda syntax: syntax.keyword)
def test_a_transfer_syntax_changes_no_pixel(tmp_path: Path, syntax: UID) -> None:
    plain = read_study(write(tmp_path / "plain.dcm", ramp()), "c1").images[0]
    other = read_study(write(tmp_path / "other.dcm", ramp(), syntax), "c1").images[0]

    np.testing.assert_array_equal(other.pixels, plain.pixels)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_negative_values_stay_negative_in_every_transfer_syntax(tmp_path: Path, syntax: UID) -> None:
    signed = ramp().astype("<i2") - 2048

    image = read_study(write(tmp_path / "film.dcm", signed, syntax), "c1").images[0]

    np.testing.assert_allclose(image.pixels, (signed - signed.min()) / float(np.ptp(signed)), atol=1e-6)


@pytest.mark.parametrize("syntax", SYNTAXES[:4], ids=lambda syntax: syntax.keyword)
def test_bits_above_those_stored_are_no_picture(tmp_path: Path, syntax: UID) -> None:
    overlay = np.where(ramp() % 3, 0x8000, 0).astype("<u2")  # where old machines keep their graphics

    plain = read_study(write(tmp_path / "plain.dcm", ramp(), syntax), "c1").images[0]
    overlaid = read_study(write(tmp_path / "overlaid.dcm", ramp() | overlay, syntax), "c1").images[0]

    np.testing.assert_array_equal(overlaid.pixels, plain.pixels)


def test_an_image_says_what_it_is_and_where_it_came_from(tmp_path: Path) -> None:
    elements: dict[str, Any] = {"ViewPosition": "PA", "PixelSpacing": [0.2, 0.2], "SOPInstanceUID": "1.2.9"}

    study = read_study(write(tmp_path / "film.dcm", ramp(), **elements), "c1")

    image = study.images[0]
    assert (study.uid, image.series_uid, image.instance_uid) == ("1.2.3", "1.2.3.4", "1.2.9")
    assert (image.modality, image.view, image.spacing_mm) == ("CR", "PA", (0.2, 0.2))
    assert (image.rows, image.columns, len(image.digest)) == (48, 40, 64)


def test_spacing_at_the_detector_is_said_to_be_that(tmp_path: Path) -> None:
    image = read_study(write(tmp_path / "film.dcm", ramp(), ImagerPixelSpacing=[0.1, 0.1]), "c1").images[0]

    assert image.spacing_mm == (0.1, 0.1)
    assert "spacing is that at the detector" in image.remarks


@pytest.mark.parametrize(
    ("elements", "shape", "spacing", "sides"),
    [
        ({"PixelAspectRatio": [2, 1]}, (96, 40), None, "2:1"),
        ({"PixelAspectRatio": [1, 2]}, (48, 80), None, "1:2"),
        ({"PixelSpacing": [0.4, 0.2]}, (96, 40), (0.2, 0.2), "2:1"),
        ({"PixelSpacing": [0.2, 0.3]}, (48, 60), (0.2, 0.2), "1:1.5"),
    ],
)
def test_pixels_that_are_not_square_are_stretched_and_said_to_be(
    tmp_path: Path, elements: dict[str, Any], shape: tuple[int, int], spacing: Any, sides: str
) -> None:
    plain = read_study(write(tmp_path / "plain.dcm", ramp()), "c1").images[0]

    image = read_study(write(tmp_path / "film.dcm", ramp(), **elements), "c1").images[0]

    assert (image.pixels.shape, image.spacing_mm) == (shape, spacing)
    assert f"pixels are not square ({sides}): shown stretched" in image.remarks
    assert abs(float(image.pixels.mean()) - float(plain.pixels.mean())) < 0.01


@pytest.mark.parametrize("ratio", [[1, 1], [1000, 1001], [0, 1], [5]])
def test_pixels_that_are_square_or_senseless_stay_as_they_are(tmp_path: Path, ratio: list[int]) -> None:
    image = read_study(write(tmp_path / "film.dcm", ramp(), PixelAspectRatio=ratio), "c1").images[0]

    assert image.pixels.shape == (48, 40)


def test_a_ratio_beyond_belief_is_not_followed(tmp_path: Path) -> None:
    image = read_study(write(tmp_path / "film.dcm", ramp(), PixelAspectRatio=[60_000, 1]), "c1").images[0]

    assert image.pixels.shape == (48, 40)
    assert "check: pixels are not square (6e+04:1) and were kept as they are" in image.remarks


def test_an_overlay_is_left_out_and_said_to_be(tmp_path: Path) -> None:
    dataset = make_dicom(ramp())
    dataset.add_new(0x60003000, "OW", bytes(240))

    assert "overlay not shown" in read_study(save(dataset, tmp_path / "film.dcm"), "c1").images[0].remarks


def test_how_a_film_was_taken_is_kept_and_places_are_digests(tmp_path: Path) -> None:
    where: dict[str, Any] = {
        "InstitutionName": "CANARYNAME",
        "StationName": "CANARYID",
        "DeviceSerialNumber": "CANARYNOTE",
    }
    how: dict[str, Any] = {
        "Manufacturer": "Maker",
        "KVP": 120,
        "BurnedInAnnotation": "NO",
        "ImageType": ["ORIGINAL", "PRIMARY"],
    }

    taken = read_study(write(tmp_path / "film.dcm", ramp(), **where, **how), "c1").images[0].acquisition

    assert {key: taken[key] for key in how} == {**how, "KVP": "120.0", "ImageType": "ORIGINAL\\PRIMARY"}
    assert (taken["Rows"], taken["BitsStored"], taken["TransferSyntaxUID"]) == ("48", "12", "1.2.840.10008.1.2.1")
    assert all(len(taken[key]) == 12 for key in where)
    assert not any(canary in str(dict(taken)) for canary in CANARIES)


@pytest.mark.parametrize(
    ("day", "clock", "time"),
    [
        ("20240229", "143005.25", datetime(2024, 2, 29, 14, 30, 5, 250_000)),
        ("20240229", "1430", datetime(2024, 2, 29, 14, 30)),
        ("2024.02.29", "14", datetime(2024, 2, 29, 14)),
        ("20240229", None, datetime.combine(date(2024, 2, 29), clock_time.max)),
        ("20240229", "990000", datetime.combine(date(2024, 2, 29), clock_time.max)),
        ("20230229", "143005", None),
        ("CANARYNAME", "143005", None),
        (None, "143005", None),
    ],
)
def test_a_study_has_the_time_that_its_header_states(
    tmp_path: Path, day: str | None, clock: str | None, time: datetime | None
) -> None:
    path = write(tmp_path / "film.dcm", ramp(), StudyDate=day, StudyTime=clock)

    assert read_study(path, "c1").time == time


def test_an_empty_patient_id_is_not_another_patient(tmp_path: Path) -> None:
    write(tmp_path / "a.dcm", ramp(), PatientID="")
    write(tmp_path / "b.dcm", ramp())

    study = read_study(tmp_path, "c1")

    assert (len(study.images), study.patient_id) == (2, "CANARYID")


def test_a_file_without_preamble_is_read_with_a_remark(tmp_path: Path) -> None:
    path = write(tmp_path / "film.dcm", ramp())
    plain = read_study(path, "c1").images[0]
    path.write_bytes(path.read_bytes()[132:])

    study = read_study(path, "c1")

    np.testing.assert_array_equal(study.images[0].pixels, plain.pixels)
    assert study.remarks == ("check: DICOM without preamble (PS3.10) read all the same",)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_bare_data_set_is_read_in_the_byte_order_that_it_has(tmp_path: Path, syntax: UID) -> None:
    path = write(tmp_path / "film.dcm", ramp(), syntax)
    plain = read_study(path, "c1").images[0]
    content = path.read_bytes()
    first = b"\x00\x08\x00\x16" if syntax == ExplicitVRBigEndian else b"\x08\x00\x16\x00"
    path.write_bytes(content[content.index(first) :])

    np.testing.assert_array_equal(read_study(path, "c1").images[0].pixels, plain.pixels)


def test_a_view_that_is_no_code_is_not_repeated(tmp_path: Path) -> None:
    image = read_study(write(tmp_path / "film.dcm", ramp(), ViewPosition="CanaryName^x"), "c1").images[0]

    assert image.view == ""


def test_images_are_ordered_by_series_then_instance(tmp_path: Path) -> None:
    order = [(1, 2), (1, 10), (2, 1), (2, 3)]
    for name, (series, number) in zip("dacb", order, strict=True):
        uids: dict[str, Any] = {"SeriesInstanceUID": f"1.2.{9 - series}", "SOPInstanceUID": f"1.2.{series}.{number}"}
        write(tmp_path / name / "x.dcm", ramp(), SeriesNumber=series, InstanceNumber=number, **uids)

    study = read_study(tmp_path, "c1")

    assert places(study) == [f"1.2.{series}.{number}" for series, number in order]
    assert [image.series_uid for image in study.images] == ["1.2.8", "1.2.8", "1.2.7", "1.2.7"]


def test_two_series_with_one_number_are_not_interleaved(tmp_path: Path) -> None:
    for series, number in (("1.5", 1), ("1.6", 1), ("1.5", 2), ("1.6", 2)):
        uids: dict[str, Any] = {"SeriesInstanceUID": series, "SOPInstanceUID": f"{series}.{number}"}
        write(tmp_path / f"{number}-{series}", ramp(), SeriesNumber=3, InstanceNumber=number, **uids)

    assert places(read_study(tmp_path, "c1")) == ["1.5.1", "1.5.2", "1.6.1", "1.6.2"]


def test_an_image_without_a_number_comes_last(tmp_path: Path) -> None:
    write(tmp_path / "a", ramp(), SOPInstanceUID="1.1")
    write(tmp_path / "b", ramp(), SOPInstanceUID="1.2", InstanceNumber=7)

    assert places(read_study(tmp_path, "c1")) == ["1.2", "1.1"]


@pytest.mark.parametrize(
    ("element", "words"), [("StudyInstanceUID", "holds 2 studies"), ("PatientID", "2 different Patient IDs")]
)
def test_two_studies_or_two_patients_in_one_folder_are_refused(tmp_path: Path, element: str, words: str) -> None:
    write(tmp_path / "a.dcm", ramp())
    write_report(tmp_path / "b.dcm", **{element: "1.9.9"})

    problem = refusal(tmp_path)

    assert problem.code == Reason.MIXED
    assert words in str(problem)
    assert "1.9.9" not in str(problem)


def test_two_different_files_with_one_identity_are_refused(tmp_path: Path) -> None:
    for name, rows in (("a", 48), ("b", 40)):
        write(tmp_path / name, ramp(rows), SOPInstanceUID="1.2.3.4.5")

    problem = refusal(tmp_path)

    assert problem.code == Reason.CORRUPT
    assert "one SOP Instance UID" in str(problem)


def test_a_report_without_pixels_is_left_out_with_a_remark(tmp_path: Path) -> None:
    write(tmp_path / "film.dcm", ramp())
    write_report(tmp_path / "report.dcm")

    study = read_study(tmp_path, "c1")

    assert len(study.images) == 1
    assert study.remarks == ("Basic Text SR left out: it is no image",)


def test_a_second_copy_is_left_out_with_a_remark(tmp_path: Path) -> None:
    shutil.copy(write(tmp_path / "a" / "film.dcm", ramp()), tmp_path / "copy.dcm")

    study = read_study(tmp_path, "c1")

    assert len(study.images) == 1
    assert study.remarks == ("second copy of a file left out",)


@pytest.mark.parametrize("name", ["DICOMDIR", "dicomdir", ".hidden", ".cache/film.dcm", "note.txt"])
def test_directories_hidden_files_and_the_note_are_ignored(tmp_path: Path, name: str) -> None:
    write(tmp_path / "film.dcm", ramp())
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"CANARYNOTE")

    study = read_study(tmp_path, "c1")

    assert (len(study.images), study.remarks) == (1, ())


def test_files_beside_the_images_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "film.dcm", ramp())
    for name in ("report.pdf", "CANARYNAME.xml"):
        (tmp_path / name).write_bytes(b"CANARYNOTE")

    assert read_study(tmp_path, "c1").remarks == ("files beside the images left out: 2",)


def test_an_image_is_read_whatever_its_suffix(tmp_path: Path) -> None:
    assert read_study(write(tmp_path / "film.txt", ramp()), "c1").images[0].rows == 48


def test_one_unreadable_file_refuses_the_whole_study_and_is_told_by_number(tmp_path: Path) -> None:
    write(tmp_path / "a.dcm", ramp())
    (tmp_path / "canaryname.dcm").write_bytes(b"nothing")

    problem = refusal(tmp_path)

    assert problem.code == Reason.NOT_DICOM
    assert "file 2 of 2 in its study" in str(problem)
    assert "canaryname" not in str(problem)


@pytest.mark.parametrize("wrong", BROKEN)
def test_a_broken_study_is_refused_with_its_reason_and_a_remedy(tmp_path: Path, wrong: str) -> None:
    code, words, make = BROKEN[wrong]

    problem = refusal(make(tmp_path / "study"))

    assert problem.code == code
    assert str(problem).startswith("case c1: its ")
    assert str(problem).endswith(f". {problem.remedy}.")
    assert "\n" not in str(problem)
    with pytest.raises(DataError, match=words):
        raise problem


@pytest.mark.parametrize("wrong", BROKEN)
def test_a_refusal_tells_nothing_of_the_patient(
    tmp_path: Path, wrong: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = BROKEN[wrong][2](tmp_path / "study")
    caplog.clear()

    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        problem = refusal(path)

    told = (repr(problem), "".join(traceback.format_exception(problem)), caplog.text, *capfd.readouterr())
    assert not any(canary in text for canary in CANARIES for text in told)
    assert problem.__cause__ is None
    assert problem.__context__ is None
    assert not warned


def test_a_study_that_reads_tells_nothing_of_the_patient(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    junk: dict[str, Any] = {"StudyDate": "CANARYID", "ViewPosition": "Canaryname", "SpecificCharacterSet": "ISO_IR 100"}
    path = write(tmp_path / "CANARYNAME" / "a.dcm", ramp(), WindowCenter=1, WindowWidth=0, **junk)
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"CANARYNAME"))  # pydicom quotes a set it does not know
    write_report(tmp_path / "CANARYNAME" / "b.dcm")
    caplog.clear()

    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        study = read_study(path.parent, "c1")

    told = (repr(study), *study.remarks, *study.images[0].remarks, caplog.text, *capfd.readouterr())
    assert not any(canary.lower() in text.lower() for canary in CANARIES for text in told)
    assert not warned


def test_reading_leaves_the_libraries_loggers_as_they_were(tmp_path: Path) -> None:
    before = logging.getLogger("pydicom").level

    refusal(write_report(tmp_path / "report.dcm"))

    assert logging.getLogger("pydicom").level == before


def test_a_deflate_bomb_is_refused_before_it_inflates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "MAX_BYTES", 2**20)

    problem = refusal(write_bomb(tmp_path / "bomb.dcm", 2**20))

    assert problem.code == Reason.TOO_LARGE
    assert "inflates to more than 1 MiB" in str(problem)


def test_a_file_that_inflates_beyond_belief_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "_SMALL", 2**20)

    problem = refusal(write_bomb(tmp_path / "bomb.dcm", 2**22))  # a thousandfold

    assert problem.code == Reason.TOO_LARGE


def test_a_file_of_more_bytes_than_the_limit_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge.dcm").open("wb") as file:
        file.truncate(guard.MAX_BYTES + 1)  # a hole: it takes no room

    problem = refusal(tmp_path)

    assert problem.code == Reason.TOO_LARGE
    assert "more than 1024 MiB" in str(problem)


def test_pixels_that_need_more_memory_than_there_is_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starve(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(film, "show_grey", starve)

    assert refusal(write(tmp_path / "film.dcm", ramp())).code == Reason.TOO_LARGE


def test_a_codec_that_panics_costs_one_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):  # the name that pyo3 gives it
        pass

    def panic(*_: object) -> None:
        raise PanicException("CANARYNAME")

    monkeypatch.setattr(film, "decode", panic)

    assert str(refusal(write(tmp_path / "film.dcm", ramp()))).startswith(
        "case c1: its file does not decode (PanicException)"
    )


def test_someone_who_interrupts_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(film, "decode", interrupt)

    with pytest.raises(KeyboardInterrupt):
        read_study(write(tmp_path / "film.dcm", ramp()), "c1")


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless], ids=lambda s: s.keyword)
def test_a_frame_of_another_shape_is_never_shown_as_a_scrambled_picture(tmp_path: Path, syntax: UID) -> None:
    pixels = (ramp(60, 40) >> 4).astype(np.uint8)
    frame = jpeg(pixels) if syntax == JPEGBaseline8Bit else compressed_frame(pixels, syntax)
    right = save(make_dicom(pixels), tmp_path / "right.dcm", syntax, frame)
    turned = save(make_dicom(pixels, Rows=40, Columns=60), tmp_path / "turned.dcm", syntax, frame)

    assert read_study(right, "c1").images[0].rows == 60
    assert refusal(turned).code == Reason.CORRUPT


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object) -> bytes:
        raise PermissionError(13, "CANARYNAME", "CANARYID")

    write(tmp_path / "film.dcm", ramp())
    monkeypatch.setattr(Reader, "read", forbid)

    problem = refusal(tmp_path)

    assert problem.code == Reason.MISSING_STUDY
    assert str(problem) == "case c1: a file of its study cannot be read (PermissionError). Check its permissions."


def test_a_pipe_or_a_device_is_no_file_of_a_study(tmp_path: Path) -> None:
    write(tmp_path / "film.dcm", ramp())
    os.mkfifo(tmp_path / "pipe.dcm")

    assert len(read_study(tmp_path, "c1").images) == 1
    assert refusal(tmp_path / "pipe.dcm").code == Reason.MISSING_STUDY


def test_a_study_says_whom_its_reports_are_about_whatever_alphabet_its_files_use(tmp_path: Path) -> None:
    study = tmp_path / "study"
    named = {"PatientName": "Müller^Ada", "StudyDate": "20261101"}
    save(make_dicom(ramp(), SpecificCharacterSet="ISO_IR 100", **named), study / "a.dcm")

    read = read_study(study, "c1")

    header = Dataset.from_json(read.header)
    assert (str(header.PatientName), header.StudyDate) == ("Müller^Ada", "20261101")
    assert header.StudyInstanceUID == read.uid
    assert "PixelData" not in header
    assert read.images[0].sop_class
    assert "Müller" not in repr(read)
