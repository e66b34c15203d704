"""Burned-in text is found and masked; what is no text keeps every value; compressed frames lose their comments."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pydicom
import pytest
from PIL import ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
)

from medmm.errors import ConfigError, Reason
from medmm.privacy import pixels
from medmm.privacy.codestream import NotPlainError, without_comments
from medmm.privacy.pixels import clean_pixels, find_text
from medmm.read.guard import RefusedError
from tests.dicom_files import make_dicom, save
from tests.identities import MARK, film

TEXT = "DOE JANE 12.03.1901"


def rgb(picture: np.ndarray) -> np.ndarray:
    """A film as the recogniser sees it."""
    return np.repeat((picture // 16).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("size", [16, 24, 48])
@pytest.mark.parametrize("dark", [False, True])
def test_a_name_and_a_date_are_found_light_and_dark(size: int, dark: bool) -> None:
    plain, burned = (rgb(film(400, 600, text=text, size=size)) for text in ("", TEXT))
    plain, burned = (255 - plain, 255 - burned) if dark else (plain, burned)
    ink = (plain != burned).any(axis=2)

    mask = np.zeros_like(ink)
    for box in find_text(burned):
        mask[box.top : box.bottom, box.left : box.right] = True

    assert mask[ink].mean() > 0.99
    assert mask.mean() < 0.3


@pytest.mark.parametrize("marker", ["R", "L", "PA", "SUPINE"])
def test_a_radiographers_marker_stays(marker: str) -> None:
    assert find_text(rgb(film(text=marker, size=40))) == []


@pytest.mark.parametrize("length", [50, 192, 193, 1024, 1025, 1760, 2048, 4000])
def test_a_large_film_is_searched_everywhere_in_parts_that_overlap(length: int) -> None:
    parts = pixels._parts(length)

    assert parts[0].start == 0
    assert parts[-1].stop >= length
    assert all(right.start + 100 < left.stop for left, right in itertools.pairwise(parts))
    assert all(part.stop - part.start <= 1024 for part in parts)


def test_small_text_on_a_large_film_is_found() -> None:
    assert find_text(rgb(film(1700, 740, text=TEXT, size=16)))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_text_is_masked_in_the_stored_values_of_every_syntax(syntax: UID, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(save(make_dicom(film(text=TEXT)), tmp_path / "a.dcm", syntax))

    new, boxes = clean_pixels(dataset, "mask")

    dataset.file_meta.TransferSyntaxUID = new
    stored = dataset.pixel_array
    assert boxes >= 1
    assert new == ExplicitVRLittleEndian
    assert find_text(rgb(stored)) == []
    np.testing.assert_array_equal(stored[120:], film()[120:])


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_a_film_without_text_keeps_its_encoding(syntax: UID, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(save(make_dicom(film()), tmp_path / "a.dcm", syntax))

    assert clean_pixels(dataset, "mask") == (syntax, 0)
    np.testing.assert_array_equal(dataset.pixel_array, film())


def test_text_can_be_refused_instead() -> None:
    with pytest.raises(RefusedError, match="text burned into its pixels") as raised:
        clean_pixels(make_dicom(film(text=TEXT)), "refuse")
    assert raised.value.code is Reason.UNSUPPORTED


def test_what_is_black_depends_on_the_photometric_interpretation() -> None:
    dataset = make_dicom(film(text=TEXT), PhotometricInterpretation="MONOCHROME1")

    clean_pixels(dataset, "mask")

    assert (dataset.pixel_array[12:28, 10:60] == film(text=TEXT).max()).all()


def test_text_in_one_frame_is_masked_in_all() -> None:
    frames = np.stack([film(), film(text=TEXT), film()])
    dataset = make_dicom(frames[0], SOPClassUID=UltrasoundMultiFrameImageStorage, Modality="US", NumberOfFrames=3)
    dataset.PixelData = frames.tobytes()

    _, boxes = clean_pixels(dataset, "mask")

    assert boxes >= 1
    assert np.ptp(dataset.pixel_array[:, 12:28, 10:60]) == 0


def soft_tissue(text: str) -> np.ndarray:
    """(512, 512) stored values of a CT: air, a body of 40 HU, a bone, and words 100 HU brighter than the body."""
    down, across = np.mgrid[:512, :512]
    hounsfield = np.where((down - 256) ** 2 + (across - 256) ** 2 < 220**2, 40.0, -1000.0)
    hounsfield[300:330, 240:270] = 2500
    ink = PIL.Image.new("L", (512, 512), 0)
    ImageDraw.Draw(ink).text((120, 200), text, fill=255, font=ImageFont.load_default(20))
    return np.round(hounsfield + np.asarray(ink) / 255 * 100 + 1024).astype("<u2")


@pytest.mark.parametrize("where", ["header", "frame"])
def test_text_that_only_the_files_own_window_shows_is_masked(where: str) -> None:
    dataset, plain = make_dicom(soft_tissue(TEXT)), soft_tissue("")
    window, rescale = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = [300, 40], [3000, 400]
    rescale.RescaleSlope, rescale.RescaleIntercept = 1, -1024
    if where == "header":
        dataset.update(window)
        dataset.update(rescale)
    else:
        frame, shared = Dataset(), Dataset()
        frame.FrameVOILUTSequence, shared.PixelValueTransformationSequence = [window], [rescale]
        dataset.PerFrameFunctionalGroupsSequence, dataset.SharedFunctionalGroupsSequence = [frame], [shared]

    _, boxes = clean_pixels(dataset, "mask")

    stored = dataset.pixel_array
    assert boxes >= 1
    assert (stored[soft_tissue(TEXT) > plain + 50] == 24).mean() > 0.95
    np.testing.assert_array_equal(stored[300:], plain[300:])


def test_an_overlay_in_unused_bits_and_words_behind_the_pixels_are_gone() -> None:
    dataset = make_dicom(film())
    dataset.PixelData = (film() | 0x8000).tobytes() + MARK.encode()

    clean_pixels(dataset, "mask")

    assert dataset.PixelData == film().tobytes()


def test_comments_and_exif_of_a_jpeg_are_removed_and_its_picture_stays() -> None:
    file = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x010E] = f"{MARK} description"
    grey = PIL.Image.fromarray((film() // 16).astype(np.uint8))
    grey.save(file, "JPEG", comment=f"{MARK} comment", exif=exif)
    dataset = make_dicom((film() // 16).astype(np.uint8))
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate([file.getvalue() + MARK.encode()])
    before = dataset.pixel_array.copy()

    syntax, _ = clean_pixels(dataset, "mask")

    assert syntax == JPEGBaseline8Bit
    assert MARK.encode() not in dataset.PixelData
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(frame))), before)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff\xd8",
        b"\x00\x01\x02\xff\xd9",
        b"\xff\xd8\xff\xfe\x00\x01\xff\xd9",
        b"\xff\xd8\xff\xfe\xff\xff\xff\xd9",
    ],
)
def test_a_frame_that_is_no_codestream_is_told(frame: bytes) -> None:
    with pytest.raises(NotPlainError):
        without_comments(frame)


SAID = f"{MARK} 03.02.1961".encode()


def compressed(kind: str, **how: Any) -> bytes:
    """A film as a codestream."""
    file = io.BytesIO()
    PIL.Image.fromarray((film() // 16).astype(np.uint8)).save(file, kind, **how)
    return file.getvalue()


def decoded(frame: bytes) -> np.ndarray:
    """The picture of a codestream."""
    return np.asarray(PIL.Image.open(io.BytesIO(frame)))


def comment(marker: int, said: bytes) -> bytes:
    """A segment of a codestream."""
    return bytes([0xFF, marker]) + (len(said) + 2).to_bytes(2, "big") + said


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"restart_marker_rows": 1}),
        ("JPEG2000", {"no_jp2": True}),
        ("JPEG2000", {"no_jp2": True, "tile_size": (64, 64)}),
    ],
)
@pytest.mark.parametrize("tail", [SAID, SAID + b"\xff\xd9", compressed("JPEG", comment=SAID)])
def test_what_is_appended_to_a_codestream_is_gone(kind: str, how: dict[str, Any], tail: bytes) -> None:
    frame = compressed(kind, **how)

    clean = without_comments(frame + tail)

    assert SAID not in clean
    assert len(clean) <= len(frame)
    np.testing.assert_array_equal(decoded(clean), decoded(frame))


@pytest.mark.parametrize("marker", [0xFE, 0xE1, 0xE0])
def test_words_between_the_scans_of_a_jpeg_have_it_stored_as_values(marker: int) -> None:
    frame = compressed("JPEG", progressive=True)
    second = frame.find(b"\xff\xda", frame.find(b"\xff\xda") + 2)

    for place in (second, len(frame) - 2):
        with pytest.raises(NotPlainError):
            without_comments(frame[:place] + comment(marker, SAID) + frame[place:])


def test_words_in_the_header_of_a_tile_have_it_stored_as_values() -> None:
    frame, said = compressed("JPEG2000", no_jp2=True), comment(0x64, b"\0\1" + SAID)
    tile, data = frame.find(b"\xff\x90"), frame.find(b"\xff\x93")
    length = int.from_bytes(frame[tile + 6 : tile + 10], "big") + len(said)

    with pytest.raises(NotPlainError):
        without_comments(frame[: tile + 6] + length.to_bytes(4, "big") + frame[tile + 10 : data] + said + frame[data:])


def test_words_in_a_segment_about_colours_are_gone() -> None:
    frame = compressed("JPEG")

    clean = without_comments(frame[:2] + comment(0xE0, b"JFIF\0" + SAID) + frame[2:])

    assert SAID not in clean
    np.testing.assert_array_equal(decoded(clean), decoded(frame))


def test_a_recogniser_that_does_not_load_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels._recogniser.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "rapidocr_onnxruntime", None)

    with pytest.raises(ConfigError, match="libgl1"):
        find_text(rgb(film()))
