"""Every transfer syntax that is read gives the pixels that went in; every other one is refused by its name."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.uid import UID

from medmm.errors import DataError, Reason
from medmm.read.dicom.codecs import CODECS, NATIVE
from medmm.read.dicom.pixels import decode
from medmm.read.dicom.study import read_study
from tests.dicom_files import compressed_frame, jpeg, make_dicom, ramp, save, write

WHEEL = Path(pydicom.__file__).parent / "data"
GREY = (ramp() >> 4).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)
UNREAD = (
    UID("1.2.840.10008.1.2.4.94"),  # JPIP Referenced
    UID("1.2.840.10008.1.2.4.204"),  # JPIP HTJ2K Referenced
    uid.MPEG2MPML,
    uid.MPEG2MPHL,
    uid.MPEG4HP41,
    uid.HEVCMP51,
    uid.SMPTEST211020UncompressedProgressiveActiveVideo,
    UID("1.2.840.10008.1.2.8.1"),  # Deflated Image Frame Compression
    UID("1.2.840.10008.1.2.4.110"),  # JPEG XL Lossless
    UID("1.2.840.10008.1.2.4.53"),  # JPEG Spectral Selection, retired
)


def lossless_jpeg(pixels: np.ndarray) -> bytes:
    bits = {1: 8, 2: 12}[pixels.dtype.itemsize]
    colours = "RGB" if pixels.ndim == 3 else None
    return bytes(
        imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=bits, colorspace=colours, outcolorspace=colours)
    )


def twelve_bit_jpeg(pixels: np.ndarray) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, level=100, bitspersample=12))


def jpeg_2000(pixels: np.ndarray) -> bytes:
    return compressed_frame(pixels, uid.JPEG2000Lossless)


LOSSLESS: dict[UID, Callable[[np.ndarray], bytes]] = {
    uid.JPEGLossless: lossless_jpeg,
    uid.JPEGLosslessSV1: lossless_jpeg,
    uid.JPEGLSLossless: lambda pixels: compressed_frame(pixels, uid.JPEGLSLossless),
    uid.JPEGLSNearLossless: lambda pixels: compressed_frame(pixels, uid.JPEGLSLossless),
    uid.JPEG2000Lossless: jpeg_2000,
    uid.JPEG2000: jpeg_2000,
}


def pixels_of(path: Path) -> np.ndarray:
    return read_study(path, "c1").images[0].pixels


def test_every_syntax_that_is_read_has_a_test_here() -> None:
    tested = {*NATIVE, uid.RLELossless, *LOSSLESS, uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, *HTJ2K}

    assert tested == {*NATIVE, *CODECS}
    assert not tested & {*UNREAD}


@pytest.mark.parametrize("syntax", [*NATIVE, uid.RLELossless], ids=lambda syntax: syntax.keyword)
def test_plain_and_run_length_pixels_are_exact(tmp_path: Path, syntax: UID) -> None:
    np.testing.assert_allclose(
        pixels_of(write(tmp_path / "a.dcm", ramp(), syntax)), ramp() / float(ramp().max()), atol=1e-6
    )


@pytest.mark.parametrize("pixels", [ramp(), GREY, COLOUR], ids=["12 bits", "8 bits", "colour"])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_lossless_pixels_are_exact(tmp_path: Path, syntax: UID, pixels: np.ndarray) -> None:
    plain = pixels_of(write(tmp_path / "plain.dcm", pixels))
    elements: dict[str, Any] = {}
    if pixels.ndim == 3 and LOSSLESS[syntax] is jpeg_2000:
        elements = {"PhotometricInterpretation": "YBR_RCT"}
    path = save(make_dicom(pixels, **elements), tmp_path / "a.dcm", syntax, LOSSLESS[syntax](pixels))

    np.testing.assert_array_equal(pixels_of(path), plain)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", [uid.JPEGLossless, uid.JPEGLosslessSV1], ids=lambda syntax: syntax.keyword)
def test_sixteen_bits_of_lossless_jpeg_are_exact(tmp_path: Path, syntax: UID, signed: bool) -> None:
    stored = (ramp() * np.uint16(16)).astype("<u2")
    frame = bytes(imagecodecs.jpeg8_encode(stored, lossless=True, bitspersample=16))
    pixels = stored.view("<i2") if signed else stored
    wide: dict[str, Any] = {"BitsStored": 16, "HighBit": 15}
    plain = pixels_of(write(tmp_path / "plain.dcm", pixels, **wide))

    np.testing.assert_array_equal(pixels_of(save(make_dicom(pixels, **wide), tmp_path / "a.dcm", syntax, frame)), plain)


@pytest.mark.parametrize(
    "syntax",
    [uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless],
    ids=lambda one: one.keyword,
)
def test_negative_values_of_twelve_bits_stay_negative(tmp_path: Path, syntax: UID) -> None:
    pixels = ramp().astype("<i2") - np.int16(2048)
    stored = pixels.view("<u2") & np.uint16(0xFFF)
    encoded = {
        uid.JPEGLSLossless: lambda: compressed_frame(pixels, syntax),
        uid.JPEG2000Lossless: lambda: compressed_frame(pixels, syntax),
    }.get(syntax, lambda: lossless_jpeg(stored))()
    dataset = pydicom.dcmread(save(make_dicom(pixels), tmp_path / "a.dcm", syntax, encoded))

    ((array, _),) = decode(dataset, [0])

    np.testing.assert_array_equal(array, pixels)


def test_baseline_jpeg_is_close(tmp_path: Path) -> None:
    smooth = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[None], 16, axis=0)
    path = save(make_dicom(smooth), tmp_path / "a.dcm", uid.JPEGBaseline8Bit, jpeg(smooth))

    np.testing.assert_allclose(pixels_of(path), smooth / smooth.max(), atol=0.02)


def test_extended_jpeg_of_twelve_bits_is_close(tmp_path: Path) -> None:
    smooth = np.repeat(np.arange(0, 4096, 128, dtype="<u2")[None], 16, axis=0)
    path = save(make_dicom(smooth), tmp_path / "a.dcm", uid.JPEGExtended12Bit, twelve_bit_jpeg(smooth))

    np.testing.assert_allclose(pixels_of(path), smooth / smooth.max(), atol=0.01)


def test_extended_jpeg_of_eight_bits_is_close(tmp_path: Path) -> None:
    smooth = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[None], 16, axis=0)
    path = save(make_dicom(smooth), tmp_path / "a.dcm", uid.JPEGExtended12Bit, jpeg(smooth))

    np.testing.assert_allclose(pixels_of(path), smooth / smooth.max(), atol=0.02)


HTJ2K = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)


@pytest.mark.parametrize("syntax", HTJ2K, ids=lambda syntax: syntax.keyword)
def test_high_throughput_jpeg_2000_is_exact(tmp_path: Path, syntax: UID) -> None:
    frame = bytes(imagecodecs.htj2k_encode(ramp(), reversible=True))  # OpenJPH writes, OpenJPEG reads
    wide: dict[str, Any] = {"BitsStored": 16, "HighBit": 15}

    pixels = pixels_of(save(make_dicom(ramp(), **wide), tmp_path / "a.dcm", syntax, frame))

    np.testing.assert_allclose(pixels, ramp() / float(ramp().max()), atol=1e-6)


@pytest.mark.parametrize("syntax", UNREAD, ids=str)
def test_any_other_syntax_is_refused_by_its_name(tmp_path: Path, syntax: UID) -> None:
    stand_in = UID("9" * len(syntax))  # pydicom writes no syntax that it does not know
    path = save(make_dicom(ramp()), tmp_path / "a.dcm", stand_in, b"\0" * 64)
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), syntax.encode()))

    with pytest.raises(DataError, match=r"transfer syntax that is not read here: \w.+\. Convert it") as caught:
        read_study(path, "c1")

    assert caught.value.code == Reason.UNSUPPORTED


def test_every_ct_and_mr_of_pydicoms_wheel_is_read() -> None:
    whole = [
        path
        for pattern in ("CT_small.dcm", "693_*.dcm", "MR_small*.dcm", "J2K_*.dcm", "examples_overlay.dcm")
        for path in (WHEEL / "test_files").glob(pattern)
    ]

    assert len(whole) >= 12
    for path in whole:
        study = read_study(path, "c1")
        assert study.images[0].modality in ("CT", "MR"), path.name


def test_every_file_of_pydicoms_wheels_is_a_study_or_a_refusal() -> None:
    extra = find_spec("data_store")
    more = (extra.submodule_search_locations or []) if extra else []
    folders = [WHEEL, *(Path(place) / "data" for place in more)]
    counts = dict.fromkeys(("read", "refused"), 0)

    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        if path.stat().st_size > 2**21:
            continue  # large ones decode alike
        try:
            images = read_study(path, "c1").images
        except DataError:
            counts["refused"] += 1
            continue
        counts["read"] += 1
        assert all(0 <= image.pixels.min() <= image.pixels.max() <= 1 for image in images), path.name

    assert counts["read"] >= 130
    assert counts["refused"] >= 90
