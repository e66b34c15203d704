"""A frame that is a picture by itself to Image: shown as a viewer would, with pixels that are square."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import PIL.Image
from pydicom import Dataset

from medmm.case import Image
from medmm.read.dicom.display import show_colour, show_grey, window_in
from medmm.read.dicom.frame import Frame
from medmm.read.dicom.header import acquisition, code, codes, numbers, sop_class, view_of
from medmm.read.dicom.instance import EXPORT, SENSELESS
from medmm.read.dicom.lowpass import centred, halved
from medmm.read.dicom.pixels import decode, halvings_in, halvings_to
from medmm.read.guard import RefusedError, guarded
from medmm.read.remark import concern

UNDECODED = "does not decode"
_OVERLAYS = range(0x6000, 0x6020, 2)
"""Groups of overlays (PS3.3 C.9.2)."""
_SQUARE = 1.01
"""Pixels whose sides differ by a smaller factor count as square."""
_BILINEAR = PIL.Image.Resampling.BILINEAR
LONGEST = 10.0
"""Pixels whose sides differ by a larger factor are a mistake of the header, and are kept as they are."""


def read_film(
    frame: Frame,
    remarks: Sequence[str] = (),
    window: tuple[float, float] | None = None,
    enough: int | None = None,
) -> Image:
    """Decode one frame and show it.

    Args:
        frame: of an object whose header was checked.
        remarks: what was found when it was chosen among others.
        window: centre and width in which it is shown, instead of what its file says.
        enough: pixels of its shorter side that are enough; all of them if None. It is then made 1/2, 1/4, ... of its
            size, in decoding if it holds smaller pictures of itself; the pixels are the same.

    Raises:
        RefusedError: UNSUPPORTED, TOO_LARGE or CORRUPT.
    """
    dataset, header = frame.instance.dataset, frame.header
    with guarded(SENSELESS, EXPORT):
        shown = _in_window(header, window) if frame.is_grey and window else header
        halve = halvings_to(dataset, enough) if enough and (not frame.is_grey or _states_window(shown)) else 0
    array, bits = _decode(frame, halve)
    frame.instance.done([frame.index])
    with guarded("has a window, LUT or palette that cannot be applied", EXPORT):
        pixels, shown_remarks = show_grey(shown, array) if frame.is_grey else show_colour(dataset, array, bits)
    with guarded(SENSELESS, EXPORT):
        spacing, spacing_remarks = spacing_of(dataset, header)
        grid = int(dataset.Rows), int(dataset.Columns)
        read_remarks: tuple[str, ...] = ()
        if pixels.shape[:2] != grid:
            pixels, read_remarks = centred(pixels, halve), (f"read at 1/{2**halve} of its resolution",)
        pixels, grid, spacing, square_remarks = _squared(pixels, grid, spacing, ratio_of(dataset, spacing))
        asked = f"{frame.identity}:{window}" if frame.is_grey and window else frame.identity
        return Image(
            pixels=np.ascontiguousarray(pixels),
            digest=asked if asked == frame.instance.digest else hashlib.sha256(asked.encode()).hexdigest(),
            series_uid=frame.instance.series_uid,
            instance_uid=frame.instance.uid,
            sop_class=str(sop_class(dataset)),
            modality=frame.instance.modality,
            view=view_of(dataset),
            spacing_mm=spacing,
            remarks=(*remarks, *read_remarks, *shown_remarks, *spacing_remarks, *square_remarks, *remarks_on(dataset)),
            acquisition=acquisition(dataset),
            grid=grid,
        )


def _decode(frame: Frame, halve: int) -> tuple[np.ndarray, int]:
    """Return stored values, their size halved so often, and Bits Stored.

    What does not decode in part is decoded whole, and refused if need be.
    """
    dataset, encoded = frame.instance.dataset, frame.instance.encoded
    with suppress(RefusedError), guarded(UNDECODED, EXPORT):
        if 0 < halve <= halvings_in(dataset):
            ((array, bits),) = decode(dataset, [frame.index], encoded, halve)
            return array, bits
    with guarded(UNDECODED, EXPORT):
        ((array, bits),) = decode(dataset, [frame.index], encoded)
    return halved(array, halve, bits), bits


def _states_window(header: Dataset) -> bool:
    """Whether a window or LUT says how a film is shown; else its extremes do, which a smaller picture has not."""
    return bool(header.get("VOILUTSequence")) or window_in(header, []) is not None


def remarks_on(dataset: Dataset) -> tuple[str, ...]:
    """Say what of an object is not shown, or is not meant to be."""
    remarks = []
    if code(dataset, "PresentationIntentType") == "FOR PROCESSING":  # (0008,0068)
        remarks.append(concern("raw film, for processing and not for viewing"))
    if any(tag >> 16 in _OVERLAYS and tag & 0xFFFF == 0x3000 for tag in map(int, dataset.keys())):
        remarks.append("overlay not shown")
    if "MOSAIC" in codes(dataset, "ImageType"):
        remarks.append(concern("mosaic of slices, shown as one picture"))
    if code(dataset, "BurnedInAnnotation") == "YES":
        remarks.append(concern("text is burned into the pixels"))
    return tuple(remarks)


def _in_window(header: Dataset, window: tuple[float, float]) -> Dataset:
    """The same header with another window."""
    shown = Dataset()
    shown.update({element.tag: element for element in header if element.tag.group == 0x0028})
    shown.pop("VOILUTSequence", None)
    for keyword, vr, value in zip(
        ("WindowCenter", "WindowWidth", "VOILUTFunction"), ("DS", "DS", "CS"), (*window, "LINEAR"), strict=True
    ):
        shown.add_new(keyword, vr, value)  # an element of its own: the other header keeps its window
    return shown


def spacing_of(dataset: Dataset, header: Dataset) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Return Pixel Spacing (0028,0030), else Imager Pixel Spacing (0018,1164), in mm, and remarks."""
    for keyword, remark in (("PixelSpacing", ""), ("ImagerPixelSpacing", "spacing is that at the detector")):
        try:
            value = numbers(header, keyword) or numbers(dataset, keyword)
        except ValueError:
            continue
        if len(value) == 2 and min(value) > 0 and max(value) < np.inf:
            return (value[0], value[1]), ((remark,) if remark else ())
    return None, ()


def ratio_of(dataset: Dataset, spacing: tuple[float, float] | None) -> float:
    """Return height by width of a pixel, of the spacing or else Pixel Aspect Ratio (0028,0034); 1 if neither says."""
    sides = spacing or numbers(dataset, "PixelAspectRatio")
    return sides[0] / sides[1] if len(sides) == 2 and min(sides) > 0 else 1.0


def kept_oblong(ratio: float) -> tuple[str, ...]:
    """Say that pixels are not square, if they are not, and were not made so."""
    if 1 / _SQUARE < ratio < _SQUARE:
        return ()
    return (concern(f"pixels are not square ({_sides(ratio)}) and were kept as they are"),)


def _sides(ratio: float) -> str:
    return f"{ratio:.3g}:1" if ratio > 1 else f"1:{1 / ratio:.3g}"


def _squared(
    pixels: np.ndarray, grid: tuple[int, int], spacing: tuple[float, float] | None, ratio: float
) -> tuple[np.ndarray, tuple[int, int], tuple[float, float] | None, tuple[str, ...]]:
    """Stretch a picture, and the grid that it was taken on, along the longer side of its pixels until they are square.

    Pixels between others are interpolated bilinearly.
    """
    if 1 / _SQUARE < ratio < _SQUARE:
        return pixels, grid, spacing, ()
    if not 1 / LONGEST <= ratio <= LONGEST:
        return pixels, grid, spacing, kept_oblong(ratio)
    down, across = max(1.0, ratio), max(1.0, 1 / ratio)
    size = (round(pixels.shape[1] * across), round(pixels.shape[0] * down))
    planes = [np.ascontiguousarray(plane) for plane in np.moveaxis(np.atleast_3d(pixels), 2, 0)]
    stretched = [np.asarray(PIL.Image.fromarray(plane).resize(size, _BILINEAR)) for plane in planes]
    square = np.stack(stretched, axis=2).reshape(size[1], size[0], *pixels.shape[2:]).clip(0.0, 1.0)
    finer = None if spacing is None else (min(spacing), min(spacing))
    finer_grid = round(grid[0] * down), round(grid[1] * across)
    return square, finer_grid, finer, (f"pixels are not square ({_sides(ratio)}): shown stretched",)
