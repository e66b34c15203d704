"""PNG and JPEG become what a person would see: upright, grey or RGB, 8 or 16 bits, transparent parts black."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from medmm.case import Image, Study
from medmm.errors import DataError, Reason
from medmm.read import photograph
from medmm.read.dicom.study import read_study
from tests.dicom_files import jpeg, ramp, write

GREY = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)


def read(path: Path) -> Image:
    return read_study(path, "c1").images[0]


def save(picture: PIL.Image.Image, path: Path, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def refusal(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read_study(path, "c1")
    return caught.value


@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_png_is_read_exactly(tmp_path: Path, pixels: np.ndarray) -> None:
    image = read(save(PIL.Image.fromarray(pixels), tmp_path / "a.png"))

    np.testing.assert_allclose(image.pixels, pixels / 255, atol=1e-6)
    assert (image.modality, image.series_uid, image.spacing_mm, image.remarks) == ("OT", "", None, ())


@pytest.mark.parametrize("flat", [100, (200, 100, 50)], ids=["grey", "colour"])
def test_a_jpeg_is_read_closely(tmp_path: Path, flat: Any) -> None:
    pixels = np.full((16, 16, 3) if isinstance(flat, tuple) else (16, 16), flat, np.uint8)
    (tmp_path / "a.jpg").write_bytes(jpeg(pixels))

    image = read(tmp_path / "a.jpg")

    assert image.pixels.shape == pixels.shape
    np.testing.assert_allclose(image.pixels, pixels / 255, atol=3 / 255)


def test_a_photograph_says_how_it_is_stored(tmp_path: Path) -> None:
    image = read(save(PIL.Image.fromarray(COLOUR), tmp_path / "a.png"))

    assert image.acquisition == {"Columns": "6", "Format": "PNG", "Mode": "RGB", "Rows": "4"}


def test_sixteen_bits_of_grey_are_kept(tmp_path: Path) -> None:
    pixels = np.array([[0, 1], [32768, 65535]], np.uint16)

    image = read(save(PIL.Image.fromarray(pixels), tmp_path / "a.png"))

    np.testing.assert_allclose(image.pixels, pixels / 65535, atol=1e-7)
    assert 0 < image.pixels[0, 1] < 1 / 255


def test_a_transparent_value_among_sixteen_bits_is_black(tmp_path: Path) -> None:
    pixels = np.array([[5, 1000], [32768, 65535]], np.uint16)

    image = read(save(PIL.Image.fromarray(pixels), tmp_path / "a.png", transparency=65535))

    np.testing.assert_allclose(image.pixels, np.array([[5, 1000], [32768, 0]]) / 65535, atol=1e-7)
    assert image.remarks == ("transparent parts laid on black",)


def test_colour_of_sixteen_bits_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png16(np.array([[[0, 32768, 65535]]], ">u2")))

    np.testing.assert_allclose(read(tmp_path / "a.png").pixels, [[[0, 0.5, 1]]], atol=1 / 255)


def png16(pixels: np.ndarray) -> bytes:
    """A PNG of 16-bit colour, which Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))

    rows, columns, _ = pixels.shape
    header = struct.pack(">2L5B", columns, rows, 16, 2, 0, 0, 0)
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["P", "1"])
def test_palettes_and_bits_are_read(tmp_path: Path, mode: str) -> None:
    picture = PIL.Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert(mode)

    image = read(save(picture, tmp_path / "a.png"))

    values = image.pixels if mode == "1" else image.pixels[..., 0]
    np.testing.assert_array_equal(values, [[0, 1], [1, 0]])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path, orientation: int) -> None:
    turn = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud}
    turn |= {5: lambda a: a.T, 6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a, 2).T, 8: lambda a: np.rot90(a, 3)}
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    held = np.ascontiguousarray(turn[orientation](GREY))

    image = read(save(PIL.Image.fromarray(held), tmp_path / "a.png", exif=exif))

    np.testing.assert_allclose(image.pixels, GREY / 255, atol=1e-6)
    assert image.remarks == (() if orientation == 1 else ("turned as its EXIF orientation says",))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_parts_are_black(tmp_path: Path, mode: str) -> None:
    picture = PIL.Image.fromarray(np.full((2, 2), 200, np.uint8)).convert(mode)
    picture.putalpha(PIL.Image.fromarray(np.array([[255, 0], [255, 255]], np.uint8)))

    image = read(save(picture, tmp_path / "a.png"))

    seen = image.pixels if mode == "LA" else image.pixels[..., 1]
    np.testing.assert_allclose(seen, np.array([[200, 0], [200, 200]]) / 255, atol=1e-6)
    assert image.pixels.ndim == (2 if mode == "LA" else 3)
    assert image.remarks == ("transparent parts laid on black",)


def test_an_alpha_channel_that_hides_nothing_is_no_remark(tmp_path: Path) -> None:
    image = read(save(PIL.Image.fromarray(COLOUR).convert("RGBA"), tmp_path / "a.png"))

    np.testing.assert_allclose(image.pixels, COLOUR / 255, atol=1e-6)
    assert image.remarks == ()


def test_of_several_pictures_the_first_is_read(tmp_path: Path) -> None:
    pictures = [PIL.Image.fromarray(pixels) for pixels in (GREY, 255 - GREY)]

    image = read(save(pictures[0], tmp_path / "a.png", save_all=True, append_images=pictures[1:]))

    np.testing.assert_allclose(image.pixels, GREY / 255, atol=1e-6)
    assert image.remarks == ("check: first of several pictures in the file",)


def test_photographs_come_in_the_order_of_their_names_and_after_the_films(tmp_path: Path) -> None:
    for name, value in (("b.png", 20), ("a.png", 10)):
        save(PIL.Image.fromarray(np.full((2, 2), value, np.uint8)), tmp_path / name)
    write(tmp_path / "z.dcm", ramp())

    study = read_study(tmp_path, "c1")

    assert [image.modality for image in study.images] == ["CR", "OT", "OT"]
    assert [round(float(image.pixels[0, 0]) * 255) for image in study.images[1:]] == [10, 20]
    assert study.remarks == ("photographs beside the DICOM images: 2",)


def test_photographs_alone_are_a_study_without_uid(tmp_path: Path) -> None:
    save(PIL.Image.fromarray(GREY), tmp_path / "a.png")

    study = read_study(tmp_path, "c1")

    assert isinstance(study, Study)
    assert study.uid == ""


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_picture_cut_short_is_refused(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    path = save(PIL.Image.fromarray(noise), tmp_path / f"a.{suffix}")
    path.write_bytes(path.read_bytes()[:-800])

    problem = refusal(path)

    assert problem.code == Reason.CORRUPT
    assert str(problem).startswith("case c1: its file does not decode (")
    assert problem.remedy == "Export it again as PNG or JPEG"


def test_a_picture_that_is_only_a_beginning_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nCANARYNAME")

    problem = refusal(tmp_path)

    assert problem.code == Reason.CORRUPT
    assert "CANARYNAME" not in str(problem)


def test_a_picture_of_more_pixels_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photograph, "MAX_PIXELS", 71)

    problem = refusal(save(PIL.Image.fromarray(COLOUR), tmp_path / "a.png"))

    assert problem.code == Reason.TOO_LARGE
    assert "declares more than 71 values" in str(problem)


def test_a_picture_that_declares_a_bomb_is_refused(tmp_path: Path) -> None:
    content = bytearray(png16(np.zeros((1, 1, 3), ">u2")))
    content[16:24] = struct.pack(">2L", 60_000, 60_000)
    content[29:33] = struct.pack(">L", zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)

    assert refusal(tmp_path).code == Reason.TOO_LARGE
