"""Stored values become what a viewer would show: modality LUT, VOI, polarity, padding, colour (PS3.3 C.7.6.3, C.11)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, JPEGBaseline8Bit, UltrasoundImageStorage

from medmm.case import Image
from medmm.errors import DataError, Reason
from medmm.read.dicom.study import read_study
from tests.dicom_files import jpeg, make_dicom, ramp, save, write

GREY = np.array([[0, 1000], [2000, 4000]], dtype="<u2")


def show(path: Path, pixels: np.ndarray, **elements: Any) -> Image:
    return read_study(write(path / "film.dcm", pixels, **elements), "c1").images[0]


def refusal(path: Path, pixels: np.ndarray, **elements: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        show(path, pixels, **elements)
    return caught.value


def table(first: int, bits: int, entries: list[int], **more: Any) -> Sequence:
    """A modality or VOI LUT sequence; entries are words."""
    item = Dataset()
    item.add_new(0x00283002, "US", [len(entries), first, bits])
    item.add_new(0x00283006, "OW", np.array(entries, "<u2").tobytes())
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return Sequence([item])


def test_without_a_window_the_smallest_value_is_black_and_the_largest_white(tmp_path: Path) -> None:
    image = show(tmp_path, GREY)

    np.testing.assert_allclose(image.pixels, GREY / 4000, atol=1e-6)
    assert image.remarks == ("no VOI stated: smallest to largest value",)


def test_a_linear_window_follows_the_standard(tmp_path: Path) -> None:
    image = show(tmp_path, GREY, WindowCenter=2000, WindowWidth=3001)

    expected = np.clip((GREY.astype(float) - 1999.5) / 3000 + 0.5, 0, 1)
    np.testing.assert_allclose(image.pixels, expected, atol=1e-6)
    assert image.remarks == ("VOI window 2000/3001",)


def test_an_exact_linear_window_follows_the_standard(tmp_path: Path) -> None:
    image = show(tmp_path, GREY, WindowCenter=2000, WindowWidth=2000, VOILUTFunction="LINEAR_EXACT")

    np.testing.assert_allclose(image.pixels, np.array([[0, 0], [0.5, 1]]), atol=1e-6)
    assert image.remarks == ("VOI window 2000/2000 LINEAR_EXACT",)


def test_a_sigmoid_window_follows_the_standard(tmp_path: Path) -> None:
    image = show(tmp_path, GREY, WindowCenter=2000, WindowWidth=1000, VOILUTFunction="SIGMOID")

    expected = 1 / (1 + np.exp(-4 * (GREY.astype(float) - 2000) / 1000))
    np.testing.assert_allclose(image.pixels, expected, atol=1e-6)


def test_of_several_windows_the_first_is_shown(tmp_path: Path) -> None:
    several = show(tmp_path, GREY, WindowCenter=[2000, 500], WindowWidth=[3001, 10])
    one = show(tmp_path, GREY, WindowCenter=2000, WindowWidth=3001)

    np.testing.assert_array_equal(several.pixels, one.pixels)
    assert several.remarks == ("VOI window 2000/3001 (first of 2)",)


def test_a_window_is_in_rescaled_values(tmp_path: Path) -> None:
    image = show(tmp_path, GREY, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=3000, WindowWidth=4001)

    expected = np.clip((GREY * 2.0 - 1000 - 2999.5) / 4000 + 0.5, 0, 1)
    np.testing.assert_allclose(image.pixels, expected, atol=1e-6)
    assert image.remarks == ("rescaled by 2 and -1000", "VOI window 3000/4001")


def test_a_falling_rescale_turns_the_picture(tmp_path: Path) -> None:
    image = show(tmp_path, GREY, RescaleSlope=-1, RescaleIntercept=4000)

    np.testing.assert_allclose(image.pixels, 1 - GREY / 4000, atol=1e-6)


def test_a_modality_lut_comes_before_the_window(tmp_path: Path) -> None:
    lut = table(1, 12, [100, 200, 300], ModalityLUTType="OD")
    elements = {"WindowCenter": 200, "WindowWidth": 200, "VOILUTFunction": "LINEAR_EXACT"}

    image = show(tmp_path, np.array([[0, 1], [2, 9]], "<u2"), ModalityLUTSequence=lut, **elements)

    np.testing.assert_allclose(image.pixels, np.array([[0, 0], [0.5, 1]]), atol=1e-6)
    assert image.remarks[0] == "modality LUT applied"


@pytest.mark.parametrize(("bits", "top"), [(8, 255), (12, 4095), (16, 65535)])
def test_a_voi_lut_takes_precedence_over_a_window(tmp_path: Path, bits: int, top: int) -> None:
    lut = table(1000, bits, [0] * 1000 + [top // 3] * 2000 + [top])
    elements = {"WindowCenter": 5, "WindowWidth": 5}

    image = show(tmp_path, GREY, VOILUTSequence=lut, **elements)

    np.testing.assert_allclose(image.pixels, np.array([[0, 0], [(top // 3) / top, 1]]), atol=1e-6)
    assert image.remarks == ("VOI LUT",)


def test_a_voi_lut_of_bytes_is_read_too(tmp_path: Path) -> None:
    lut = table(0, 8, [0])
    lut[0].LUTDescriptor = [4, 0, 8]
    lut[0].LUTData = bytes([0, 51, 102, 255])

    image = show(tmp_path, np.array([[0, 1], [2, 3]], "<u2"), VOILUTSequence=lut)

    np.testing.assert_allclose(image.pixels, [[0, 0.2], [0.4, 1]], atol=1e-6)


def test_a_lut_that_is_shorter_than_it_says_is_refused(tmp_path: Path) -> None:
    lut = table(0, 12, [1, 2, 3])
    lut[0].LUTDescriptor = [500, 0, 12]

    problem = refusal(tmp_path, GREY, VOILUTSequence=lut)

    assert problem.code == Reason.CORRUPT
    assert "LUT that is shorter than its descriptor says" in str(problem)


@pytest.mark.parametrize("width", [0, 0.5, -3])
def test_a_window_without_width_is_left_out_with_a_remark(tmp_path: Path, width: float) -> None:
    image = show(tmp_path, GREY, WindowCenter=40, WindowWidth=width)

    np.testing.assert_allclose(image.pixels, GREY / 4000, atol=1e-6)
    assert image.remarks[0] == f"check: VOI window of width {width:g} is not valid and was left out"


def test_a_window_that_shows_nothing_is_left_out_with_a_remark(tmp_path: Path) -> None:
    image = show(tmp_path, GREY, WindowCenter=30000, WindowWidth=10)

    np.testing.assert_allclose(image.pixels, GREY / 4000, atol=1e-6)
    said = "check: VOI window 30000/10 shows nothing of the picture: smallest to largest value instead"
    assert image.remarks == (said,)


def test_a_window_of_width_one_is_a_threshold(tmp_path: Path) -> None:
    image = show(tmp_path, GREY, WindowCenter=1500, WindowWidth=1)

    np.testing.assert_array_equal(image.pixels, [[0, 0], [1, 1]])


def test_a_window_function_that_no_standard_knows_is_refused(tmp_path: Path) -> None:
    problem = refusal(tmp_path, GREY, WindowCenter=1, WindowWidth=9, VOILUTFunction="CANARYNAME")

    assert problem.code == Reason.UNSUPPORTED


def test_a_rescale_by_nothing_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, GREY, RescaleSlope=0, RescaleIntercept=1).code == Reason.CORRUPT


def test_a_film_of_one_value_is_said_to_be_that(tmp_path: Path) -> None:
    image = show(tmp_path, np.full((8, 8), 7, "<u2"))

    assert image.remarks[0] == "every pixel has the same value"
    np.testing.assert_array_equal(image.pixels, 0)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_stretch_the_picture(tmp_path: Path, photometric: str) -> None:
    pixels = np.array([[65535, 100], [200, 300]], "<u2")
    elements = {"BitsStored": 16, "HighBit": 15, "PhotometricInterpretation": photometric}

    image = show(tmp_path, pixels, PixelPaddingValue=65535, **elements)

    falling = photometric == "MONOCHROME1"
    np.testing.assert_allclose(image.pixels, np.array([[0, falling], [0.5, not falling]]), atol=1e-6)
    assert image.remarks[-1] == "pixel padding shown black"


def test_a_range_of_padding_is_black(tmp_path: Path) -> None:
    pixels = np.array([[-2000, -1990], [0, 100]], "<i2")

    image = show(tmp_path, pixels, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1500)

    np.testing.assert_array_equal(image.pixels, [[0, 0], [0, 1]])


def test_padding_with_the_wrong_sign_is_black(tmp_path: Path) -> None:
    pixels = ramp().astype("<i2")
    pixels[:8] = -2000
    dataset = make_dicom(pixels, BitsStored=16, HighBit=15, PhotometricInterpretation="MONOCHROME1")
    dataset.add_new("PixelPaddingValue", "US", 2**16 - 2000)

    (image,) = read_study(save(dataset, tmp_path / "a.dcm"), "c1").images

    assert (image.pixels[:8] == 0).all()
    np.testing.assert_allclose(image.pixels[8:], 1 - (ramp()[8:] - ramp()[8:].min()) / np.ptp(ramp()[8:]), atol=1e-6)


@pytest.mark.parametrize("padding", [4095, 2**16 - 1])
def test_padding_that_eight_bits_cannot_hold_blackens_nothing(tmp_path: Path, padding: int) -> None:
    pixels = (ramp() >> 4).astype(np.uint8)

    image = show(tmp_path / "a.dcm", pixels, PixelPaddingValue=padding)

    assert image.pixels.max() == 1
    assert not any("padding" in remark for remark in image.remarks)


def test_a_film_of_padding_only_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, np.zeros((4, 4), "<u2"), PixelPaddingValue=0).code == Reason.CORRUPT


def test_an_inverse_presentation_is_inverted_once(tmp_path: Path) -> None:
    plain = show(tmp_path, GREY)
    inverse = show(tmp_path, GREY, PresentationLUTShape="INVERSE")
    both = show(tmp_path, GREY, PresentationLUTShape="INVERSE", PhotometricInterpretation="MONOCHROME1")

    np.testing.assert_allclose(inverse.pixels, 1 - plain.pixels, atol=1e-6)
    np.testing.assert_array_equal(both.pixels, inverse.pixels)


def colours() -> np.ndarray:
    """(16, 16, 3) uint8 of four flat squares: red, green, blue and grey."""
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:8, :8], picture[:8, 8:], picture[8:, :8], picture[8:, 8:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), 128
    return picture


def ybr(rgb: np.ndarray) -> np.ndarray:
    """RGB to YBR_FULL (PS3.3 C.7.6.3.1.2)."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    return np.asarray(np.clip(np.rint(rgb @ matrix.T + [0, 128, 128]), 0, 255), dtype=np.uint8)


def test_rgb_is_shown_as_it_is(tmp_path: Path) -> None:
    image = show(tmp_path, colours(), SOPClassUID=UltrasoundImageStorage, Modality="US")

    np.testing.assert_allclose(image.pixels, colours() / 255, atol=1e-6)


def test_colour_by_plane_is_colour_by_pixel(tmp_path: Path) -> None:
    planes = np.ascontiguousarray(colours().transpose(2, 0, 1)).tobytes()

    image = show(tmp_path, colours(), PixelData=planes, PlanarConfiguration=1)

    np.testing.assert_allclose(image.pixels, colours() / 255, atol=1e-6)


def test_ybr_full_becomes_rgb(tmp_path: Path) -> None:
    image = show(tmp_path, ybr(colours()), PhotometricInterpretation="YBR_FULL")

    np.testing.assert_allclose(image.pixels, colours() / 255, atol=2.1 / 255)


def test_ybr_full_422_becomes_rgb(tmp_path: Path) -> None:
    full = ybr(colours()).reshape(-1, 2, 3)  # pairs of pixels share their colour: Y Y B R
    halved = np.concatenate([full[..., 0], full[:, 0, 1:]], axis=1).tobytes()

    image = show(tmp_path, colours(), PixelData=halved, PhotometricInterpretation="YBR_FULL_422")

    np.testing.assert_allclose(image.pixels, colours() / 255, atol=2.1 / 255)


def test_a_lossy_colour_jpeg_becomes_rgb(tmp_path: Path) -> None:
    dataset = make_dicom(colours(), PhotometricInterpretation="YBR_FULL_422")
    path = save(dataset, tmp_path / "film.dcm", JPEGBaseline8Bit, jpeg(colours(), subsampling="4:2:2"))

    image = read_study(path, "c1").images[0]

    inside = np.r_[0:6, 10:16]  # neighbours share their colour, so it runs at an edge
    np.testing.assert_allclose(image.pixels[:, inside], colours()[:, inside] / 255, atol=6 / 255)


def test_a_lossy_grey_jpeg_is_read(tmp_path: Path) -> None:
    grey = np.repeat(np.linspace(0, 255, 16).astype(np.uint8)[None], 16, axis=0)
    path = save(make_dicom(grey), tmp_path / "film.dcm", JPEGBaseline8Bit, jpeg(grey))

    np.testing.assert_allclose(read_study(path, "c1").images[0].pixels, grey / 255, atol=3 / 255)


@pytest.mark.parametrize(("bits", "scale"), [(16, 257), (8, 1)])
def test_a_palette_becomes_rgb(tmp_path: Path, bits: int, scale: int) -> None:
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, column in (("Red", [255, 0, 0]), ("Green", [0, 255, 0]), ("Blue", [0, 51, 255])):
        data = (np.array([*column, 0]) * scale).astype("<u2" if bits == 16 else np.uint8)
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [4, 10, bits]
        elements[f"{name}PaletteColorLookupTableData"] = data.tobytes()

    image = show(tmp_path, np.array([[0, 10], [11, 12]], np.uint8), **elements)

    expected = [[[255, 0, 0], [255, 0, 0]], [[0, 255, 51], [0, 0, 255]]]
    np.testing.assert_allclose(image.pixels, np.array(expected) / 255, atol=1e-6)
    assert image.remarks == ("palette applied",)


def test_a_palette_in_segments_becomes_rgb(tmp_path: Path) -> None:
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, last in (("Red", 255), ("Green", 0), ("Blue", 51)):
        segments = [0, 1, 0, 1, 3, last * 257]  # one entry of 0, then three on a line to the last: PS3.3 C.7.9.2
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        elements[f"Segmented{name}PaletteColorLookupTableData"] = np.array(segments, "<u2").tobytes()

    image = show(tmp_path, np.array([[0, 3]], np.uint8), **elements)

    np.testing.assert_allclose(image.pixels, np.array([[[0, 0, 0], [1, 0, 0.2]]]), atol=1e-6)


def test_pixels_of_one_bit_are_black_and_white(tmp_path: Path) -> None:
    bits = np.array([[1, 0, 0, 1, 1, 0, 1, 0]] * 2, np.uint8)
    packed: dict[str, Any] = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}

    image = show(tmp_path, bits, PixelData=np.packbits(bits, bitorder="little").tobytes(), **packed)

    np.testing.assert_array_equal(image.pixels, bits)


def test_signed_colours_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, colours(), PixelRepresentation=1).code == Reason.UNSUPPORTED


def test_big_endian_tables_are_read_in_their_own_order(tmp_path: Path) -> None:
    item = Dataset()
    item.add_new(0x00283002, "US", [2, 0, 16])
    item.add_new(0x00283006, "OW", np.array([0x0102, 0xFFFF], ">u2").tobytes())
    dataset = make_dicom(np.array([[0, 1]], "<u2"), VOILUTSequence=Sequence([item]))

    image = read_study(save(dataset, tmp_path / "film.dcm", ExplicitVRBigEndian), "c1").images[0]

    np.testing.assert_allclose(image.pixels, [[0x0102 / 0xFFFF, 1]], atol=1e-6)


def test_a_raw_film_is_said_to_be_raw(tmp_path: Path) -> None:
    raw = show(tmp_path, GREY, PresentationIntentType="FOR PROCESSING")
    ready = show(tmp_path, GREY, PresentationIntentType="FOR PRESENTATION")

    assert raw.remarks[-1] == "check: raw film, for processing and not for viewing"
    assert not any("raw" in remark for remark in ready.remarks)


def test_pixels_cannot_be_changed_by_whoever_looks_at_them(tmp_path: Path) -> None:
    image = show(tmp_path, ramp())

    assert image.pixels.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        image.pixels[0, 0] = 1
