"""A frame that is a picture by itself to Image: shown as a viewer would, with pixels that are square."""

import hashlib
from collections.abc import Sequence

import numpy as np
import PIL.Image
from pydicom import Dataset

from medmm.case import Image
from medmm.read.dicom.display import show_colour, show_grey
from medmm.read.dicom.frame import Frame
from medmm.read.dicom.header import acquisition, code, codes, numbers, sop_class, view_of
from medmm.read.dicom.instance import EXPORT, SENSELESS
from medmm.read.dicom.pixels import decode
from medmm.read.guard import guarded
from medmm.read.remark import concern

UNDECODED = "does not decode"
_OVERLAYS = range(0x6000, 0x6020, 2)
"""Groups of overlays (PS3.3 C.9.2)."""
_SQUARE = 1.01
"""Pixels whose sides differ by a smaller factor count as square."""
_LONGEST = 10.0
"""Pixels whose sides differ by a larger factor are a mistake of the header, and are kept as they are."""


def read_film(frame: Frame, remarks: Sequence[str] = (), window: tuple[float, float] | None = None) -> Image:
    """Decode one frame and show it.

    Args:
        frame: of an object whose header was checked.
        remarks: what was found when it was chosen among others.
        window: centre and width in which it is shown, instead of what its file says.

    Raises:
        RefusedError: UNSUPPORTED, TOO_LARGE or CORRUPT.
    """
    dataset, header = frame.instance.dataset, frame.header
    with guarded(UNDECODED, EXPORT):
        ((array, bits),) = decode(dataset, [frame.index], frame.instance.encoded)
    frame.instance.done([frame.index])
    with guarded("has a window, LUT or palette that cannot be applied", EXPORT):
        shown = _in_window(header, window) if frame.is_grey and window else header
        pixels, shown_remarks = show_grey(shown, array) if frame.is_grey else show_colour(dataset, array, bits)
    with guarded(SENSELESS, EXPORT):
        spacing, spacing_remarks = spacing_of(dataset, header)
        pixels, spacing, square_remarks = _squared(pixels, spacing, ratio_of(dataset, spacing))
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
            remarks=(*remarks, *shown_remarks, *spacing_remarks, *square_remarks, *remarks_on(dataset)),
            acquisition=acquisition(dataset),
        )


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
    pixels: np.ndarray, spacing: tuple[float, float] | None, ratio: float
) -> tuple[np.ndarray, tuple[float, float] | None, tuple[str, ...]]:
    """Stretch a picture along the longer side of its pixels, bilinearly, until they are square."""
    if 1 / _SQUARE < ratio < _SQUARE:
        return pixels, spacing, ()
    if not 1 / _LONGEST <= ratio <= _LONGEST:
        return pixels, spacing, kept_oblong(ratio)
    rows, columns = pixels.shape[:2]
    size = (round(columns * max(1.0, 1 / ratio)), round(rows * max(1.0, ratio)))
    planes = [pixels] if pixels.ndim == 2 else list(np.moveaxis(pixels, 2, 0))
    stretched = [
        np.asarray(PIL.Image.fromarray(np.ascontiguousarray(plane)).resize(size, PIL.Image.Resampling.BILINEAR))
        for plane in planes
    ]
    square = stretched[0] if pixels.ndim == 2 else np.stack(stretched, axis=2)
    finer = None if spacing is None else (min(spacing), min(spacing))
    return np.clip(square, 0.0, 1.0), finer, (f"pixels are not square ({_sides(ratio)}): shown stretched",)
