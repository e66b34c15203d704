"""A film of which the model needs less is halved, JPEG 2000 in decoding: quicker, and the same in every syntax."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import torch
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from medmm.case import Case, Image
from medmm.config import EncoderConfig, RunConfig
from medmm.errors import DataError
from medmm.read.cohort import read_case, read_cohort
from medmm.read.dicom import pixels as decoding
from medmm.read.dicom.lowpass import halved
from medmm.read.dicom.study import read_study
from medmm.read.pool import read_cases
from medmm.tensors import image_tensor, pixels_for
from sample_data.film import make_film
from tests.dicom_files import compressed_frame, make_dicom, save, write
from tests.models import fusion, random_model

ROWS, COLUMNS = 320, 400
WINDOW: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}
TOLERANCE = 0.03
"""Of a probability that random weights make of real features; `benchmarks.speed` says what trained ones make of it."""


def picture(rows: int = ROWS, columns: int = COLUMNS, bits: int = 12) -> np.ndarray:
    """Smooth hills with a sharp square among them: (rows, columns) uint16, 0 to 2**bits - 1."""
    y, x = np.mgrid[: 2 * np.pi : rows * 1j, : 3 * np.pi : columns * 1j]
    hills = 0.45 + 0.25 * np.sin(y) * np.cos(x) + 0.1 * np.sin(3 * x + y)
    hills[rows // 2 : rows // 2 + 40, columns // 4 : columns // 4 + 40] = 0.95
    return np.asarray(np.rint(hills * (2**bits - 1)), np.uint16 if bits > 8 else np.uint8)


def codestream(pixels: np.ndarray, bits: int = 12, *, lossy: bool = False, **options: Any) -> bytes:
    level = 50 if lossy else None
    return bytes(
        imagecodecs.jpeg2k_encode(
            pixels, codecformat="j2k", bitspersample=bits, reversible=not lossy, level=level, **options
        )
    )


def write_j2k(path: Path, pixels: np.ndarray, frame: bytes | None = None, **elements: Any) -> Path:
    """One film as JPEG 2000."""
    frame = codestream(pixels, elements.get("BitsStored", 12)) if frame is None else frame
    return save(make_dicom(pixels, **(WINDOW | elements)), path, uid.JPEG2000Lossless, frame)


def film(path: Path, enough: int | None = None) -> Image:
    return read_study(path, "c1", enough=enough).images[0]


def remark(image: Image) -> str:
    """What is said of the resolution, if anything."""
    return next((one for one in image.remarks if "resolution" in one), "")


SYNTAXES = [
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLSLossless,
]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("rows", [320, 321, 323])
def test_the_smaller_film_is_the_same_in_every_lossless_syntax(
    tmp_path: Path, rows: int, bits: int, syntax: UID
) -> None:
    """To the last bit: what JPEG 2000 holds of itself is what others are brought to, at odd sizes too."""
    stored = noisy(picture(rows, 402 - rows % 2, bits), bits)
    shown: dict[str, Any] = {"BitsStored": bits, "HighBit": bits - 1, "WindowWidth": 2**bits}
    frame = None if syntax in SYNTAXES[:3] else compressed_frame(stored, syntax, **shown)
    other = save(make_dicom(stored, **(WINDOW | shown)), tmp_path / "other.dcm", syntax, frame)
    j2k = write_j2k(tmp_path / "j2k.dcm", stored, **shown)

    for enough in (160, 80, 40):
        np.testing.assert_array_equal(film(other, enough).pixels, film(j2k, enough).pixels)
        assert film(other, enough).pixels.shape[0] == -(-rows // (320 // enough))


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEG2000Lossless])
def test_a_header_that_states_too_few_bits_does_not_blacken_the_smaller_film(tmp_path: Path, syntax: UID) -> None:
    stored = picture(bits=16)
    right: dict[str, Any] = {"WindowCenter": 32768, "WindowWidth": 65536}
    frame = compressed_frame(stored, syntax, BitsStored=16, HighBit=15)
    wrong = save(make_dicom(stored, BitsStored=12, HighBit=11, **right), tmp_path / "wrong.dcm", syntax, frame)
    raw = write(tmp_path / "raw.dcm", stored, BitsStored=16, HighBit=15, **right)

    np.testing.assert_array_equal(film(wrong, 80).pixels, film(raw, 80).pixels)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("bits", [8, 11, 12, 14, 16])
def test_no_film_is_so_wild_that_numbers_run_over(bits: int, times: int) -> None:
    """Black and white set so that each step adds to the one before, against the same in numbers without an end."""
    worst = np.array([[1]])
    for _ in range(times):
        worst = np.kron(worst, _WILD)
    wild = np.where(worst > 0, 2**bits - 1, 0).astype(np.uint16)

    np.testing.assert_array_equal(halved(wild, times, bits), _halved_exactly(wild, times, bits))


_WILD = np.outer([1, -1, 1, 1, 1, -1], [1, -1, 1, 1, 1, -1])
"""Signs of the low-pass, (-1, 2, 6, 2, -1) / 8, among its neighbours."""


def _halved_exactly(values: np.ndarray, times: int, bits: int) -> np.ndarray:
    """As ISO/IEC 15444-1 F.4.8.1 writes it, value by value."""

    def low(line: list[int]) -> list[int]:
        def at(place: int) -> int:
            end = 2 * (len(line) - 1)
            place = abs(place) % end if end else 0
            return line[min(place, end - place)]

        def high(place: int) -> int:
            return at(place) - (at(place - 1) + at(place + 1)) // 2

        return [at(n) + (high(n - 1) + high(n + 1) + 2) // 4 for n in range(0, len(line), 2)]

    rows: list[list[int]] = values.tolist()
    for _ in range(times):
        columns = [low(list(column)) for column in zip(*rows, strict=True)]
        rows = [low(list(row)) for row in zip(*columns, strict=True)]
    return np.clip(rows, 0, 2**bits - 1).astype(values.dtype)


def noisy(stored: np.ndarray, bits: int) -> np.ndarray:
    """With a grain in which rounding shows, and black and white that a low-pass goes beyond."""
    grain = np.random.default_rng(0).normal(0, 2 ** (bits - 4), stored.shape)
    return np.asarray(np.clip(stored + grain, 0, 2**bits - 1), stored.dtype)


def test_negative_values_are_the_same_smaller_in_every_syntax(tmp_path: Path) -> None:
    stored = noisy(picture(), 12).astype(np.int16) - np.int16(2048)
    j2k = write_j2k(tmp_path / "a.dcm", stored, compressed_frame(stored, uid.JPEG2000Lossless), WindowCenter=0)
    raw = write(tmp_path / "b.dcm", stored, **(WINDOW | {"WindowCenter": 0}))
    unsigned = _negative_in_a_stream_without_sign(tmp_path / "c.dcm", stored)

    for other in (raw, unsigned):
        np.testing.assert_array_equal(film(other, 80).pixels, film(j2k, 80).pixels)


def mean(pixels: np.ndarray, side: int) -> np.ndarray:
    """The mean of each square of pixels."""
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    whole = pixels[: rows * side, : columns * side]
    return np.asarray(whole.reshape(rows, side, columns, side, *pixels.shape[2:]).mean((1, 3)))


@pytest.mark.parametrize(("enough", "side"), [(None, 1), (321, 1), (161, 1), (160, 2), (81, 2), (80, 4), (40, 8)])
def test_a_film_is_halved_while_what_is_left_is_enough(tmp_path: Path, enough: int | None, side: int) -> None:
    read = film(write_j2k(tmp_path / "a.dcm", picture(), PixelSpacing=[0.2, 0.2]), enough)

    assert read.pixels.shape == (ROWS // side, COLUMNS // side)
    assert (read.rows, read.columns, read.spacing_mm) == (ROWS, COLUMNS, (0.2, 0.2))
    assert remark(read) == ("" if side == 1 else f"read at 1/{side} of its resolution")


@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_film_read_in_part_is_the_whole_one_made_smaller(
    tmp_path: Path, bits: int, photometric: str, lossy: bool
) -> None:
    stored = picture(bits=bits)
    shown = {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits, "PhotometricInterpretation": photometric}
    frame = codestream(stored, bits, lossy=lossy)
    path = write_j2k(tmp_path / "a.dcm", stored, frame, BitsStored=bits, HighBit=bits - 1, **shown)

    whole, part = film(path), film(path, 80)

    assert part.pixels.shape == (80, 100)
    assert np.abs(part.pixels - mean(whole.pixels, 4)).mean() < 0.004
    assert part.remarks[1:] == whole.remarks


def test_negative_values_stay_negative(tmp_path: Path) -> None:
    stored = picture().astype(np.int16) - np.int16(2048)
    path = write_j2k(tmp_path / "a.dcm", stored, compressed_frame(stored, uid.JPEG2000Lossless), WindowCenter=0)

    whole, part = film(path), film(path, 80)

    assert part.pixels.shape == (80, 100)
    assert np.abs(part.pixels - mean(whole.pixels, 4)).mean() < 0.004


def test_colours_are_read_in_part_too(tmp_path: Path) -> None:
    grey = picture(bits=8)
    stored = np.stack([grey, grey[::-1], 255 - grey], axis=-1)
    path = write_j2k(tmp_path / "a.dcm", stored, BitsStored=8, HighBit=7, PhotometricInterpretation="YBR_RCT")

    whole, part = film(path), film(path, 80)

    assert part.pixels.shape == (80, 100, 3)
    assert np.abs(part.pixels - mean(whole.pixels, 4)).mean() < 0.006


def test_pixels_that_are_not_square_are_stretched_in_part_as_in_whole(tmp_path: Path) -> None:
    path = write_j2k(tmp_path / "a.dcm", picture(), PixelSpacing=[0.4, 0.2])

    whole, part = film(path), film(path, 80)

    assert part.pixels.shape == (160, 100)
    assert (part.rows, part.columns, part.spacing_mm) == (whole.rows, whole.columns, whole.spacing_mm)


def _padded(path: Path) -> Path:
    return write_j2k(path, picture(), PixelPaddingValue=0)


def _without_window(path: Path) -> Path:
    return write_j2k(path, picture(), WindowCenter=None, WindowWidth=None)


def _of_one_bit(path: Path) -> Path:
    dots = np.asarray(np.indices((ROWS, COLUMNS)).sum(axis=0) % 2, np.uint8)
    return write(path, dots, BitsAllocated=8, BitsStored=1, HighBit=0, WindowCenter=0.5, WindowWidth=1)


def _palette(path: Path) -> Path:
    table = np.arange(256, dtype=np.uint16)[::-1] * np.uint16(257)
    colours: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        colours[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        colours[f"{colour}PaletteColorLookupTableData"] = table.astype("<u2").tobytes()
    colours |= {"BitsStored": 8, "HighBit": 7, "PhotometricInterpretation": "PALETTE COLOR"}
    return write_j2k(path, picture(bits=8), **colours)


def _negative_in_a_stream_without_sign(path: Path, stored: np.ndarray) -> Path:
    return write_j2k(path, stored, codestream(stored.view(np.uint16) & np.uint16(0xFFF)), WindowCenter=0)


def _frames(path: Path) -> Path:
    dataset = make_dicom(picture(), NumberOfFrames=2, **WINDOW)
    dataset.PixelData = encapsulate([codestream(picture()), codestream(picture()[::-1].copy())])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = UID(uid.JPEG2000Lossless)
    dataset.save_as(path, enforce_file_format=True)
    return path


WHOLE = [_padded, _without_window, _of_one_bit, _palette, _frames]
"""Pictures of which a smaller one would be shown otherwise."""


@pytest.mark.parametrize("make", WHOLE, ids=lambda make: make.__name__.strip("_"))
def test_what_would_look_otherwise_is_read_whole(tmp_path: Path, make: Any) -> None:
    path = make(tmp_path / "a.dcm")
    whole, asked = read_study(path, "c1"), read_study(path, "c1", enough=40)

    for one, other in zip(whole.images, asked.images, strict=True):
        np.testing.assert_array_equal(other.pixels, one.pixels)
        assert other.remarks == one.remarks
    for volume, other_volume in zip(whole.volumes, asked.volumes, strict=True):
        np.testing.assert_array_equal(other_volume.voxels, volume.voxels)


@pytest.mark.parametrize("resolutions", [1, 2, 3])
def test_what_holds_too_few_smaller_pictures_of_itself_is_halved_when_it_is_decoded(
    tmp_path: Path, resolutions: int
) -> None:
    few = write_j2k(tmp_path / "few.dcm", picture(), codestream(picture(), resolutions=resolutions))
    many = write_j2k(tmp_path / "many.dcm", picture())

    np.testing.assert_array_equal(film(few, 40).pixels, film(many, 40).pixels)
    assert film(few, 40).remarks == film(many, 40).remarks


def test_what_does_not_decode_in_part_is_decoded_whole_and_halved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A codestream may say less of itself at its beginning than its tiles hold."""
    path = write_j2k(tmp_path / "a.dcm", picture(), codestream(picture(), resolutions=2))
    right = film(path, 40)
    monkeypatch.setattr(decoding, "halvings", lambda frame: 5)

    asked = film(path, 40)

    np.testing.assert_array_equal(asked.pixels, right.pixels)


@pytest.mark.parametrize("share", [0.95, 0.5, 0.1])
def test_a_film_that_was_cut_short_is_refused_in_part_as_in_whole(tmp_path: Path, share: float) -> None:
    frame = codestream(picture())
    path = write_j2k(tmp_path / "a.dcm", picture(), frame[: int(share * len(frame))])

    with pytest.raises(DataError) as whole:
        film(path)
    with pytest.raises(DataError) as part:
        film(path, 80)

    assert str(part.value) == str(whole.value)


@pytest.mark.parametrize("elements", [{}, {"PixelSpacing": [0.4, 0.2]}, {"PixelSpacing": [0.2, 0.5]}])
def test_a_lesion_is_pointed_at_in_the_pixels_of_the_whole_film(tmp_path: Path, elements: dict[str, Any]) -> None:
    """The brightest cell of the square is the lesion: its place on the original is the same, read whole or in part."""
    stored = np.full((800, 1000), 800, np.uint16)
    stored[520:600, 210:290] = 4000
    path = write_j2k(tmp_path / "a.dcm", stored, **elements)
    whole, part = film(path), film(path, pixels_for(96))

    assert part.pixels.shape < whole.pixels.shape
    for read in (whole, part):
        square, placement = image_tensor(read, 96, (0.0,) * 3, (1.0,) * 3)
        heat = placement.to_original(torch.nn.functional.avg_pool2d(square, 4)[0].numpy())
        row, column = np.unravel_index(np.nanargmax(heat), heat.shape)
        assert heat.shape == whole.pixels.shape
        assert whole.pixels[row, column] > 0.9


def test_what_is_planted_lies_in_the_middle_of_where_it_was_planted(tmp_path: Path) -> None:
    """A smaller picture is not shifted: the centre of gravity of a spot is the same to a twentieth of a small pixel."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    spot = np.exp(-((y - 161.5) ** 2 + (x - 203.5) ** 2) / (2 * 20**2))
    path = write_j2k(tmp_path / "a.dcm", np.rint(4000 * spot).astype(np.uint16))

    for read in (film(path), film(path, 80)):
        side = ROWS // read.pixels.shape[0]
        down, across = np.mgrid[: read.pixels.shape[0], : read.pixels.shape[1]]
        centre = [float((side * (axis + 0.5) * read.pixels).sum() / read.pixels.sum()) for axis in (down, across)]
        assert centre == pytest.approx([162, 204], abs=0.05 * side)


@pytest.mark.parametrize("lossy", [False, True])
def test_probabilities_are_the_same_within_the_stated_tolerance(tmp_path: Path, lossy: bool) -> None:
    model = random_model(RunConfig(encoders=EncoderConfig(image_size=64), fusion=fusion()))
    for seed in range(3):
        made = make_film(np.random.default_rng(seed), ["nodule"])
        smooth = PIL.Image.fromarray(made.pixels.astype(np.float32)).resize((832, 640), PIL.Image.Resampling.BICUBIC)
        stored = np.clip(np.rint(np.asarray(smooth)), 0, 4095).astype(np.uint16)
        shown = {"WindowCenter": made.window[0], "WindowWidth": made.window[1]}
        path = write_j2k(tmp_path / "a.dcm", stored, codestream(stored, lossy=lossy), **shown)
        whole, part = read_study(path, "c1"), read_study(path, "c1", enough=pixels_for(64))

        said = model.log_odds([model.encode(Case("c1", "p1", study)) for study in (whole, part)]).sigmoid()

        assert part.images[0].pixels.shape == (160, 208)
        assert float(said[0].min()) > 0.01
        assert float(said[0].max()) < 0.99
        assert float((said[0] - said[1]).abs().max()) < TOLERANCE


def test_whoever_reads_cases_says_how_much_is_enough(tmp_path: Path) -> None:
    write_j2k(tmp_path / "studies" / "s1" / "a.dcm", picture())
    write_j2k(tmp_path / "studies" / "s0" / "a.dcm", picture(), StudyInstanceUID="1.2.2")
    table = "case_id,patient_id,study,before\nc1,p1,studies/s1,studies/s0\n"
    (tmp_path / "cases.csv").write_text(table)
    (tmp_path / "cohort.toml").write_text('note = ""\nprior = "before"\n')
    cohort = read_cohort(tmp_path)

    ((_, asked),) = read_cases(cohort, cohort.rows, 1, enough=80)
    whole = read_case(cohort, cohort.rows[0])

    assert isinstance(asked, Case)
    assert [remark(study.images[0]) for study in (asked.study, asked.prior) if study] == [
        "read at 1/4 of its resolution"
    ] * 2
    assert [remark(study.images[0]) for study in (whole.study, whole.prior) if study] == ["", ""]
