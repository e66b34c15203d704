"""Stored values to what a viewer would show: modality LUT, VOI, polarity, palette (PS3.4 N.2.1, PS3.3 C.11).

A grey picture ends with 0 as black and 1 as white, and is the same whether it was stored as MONOCHROME1 or MONOCHROME2.
"""

import numpy as np
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_windowing

from medmm.errors import Reason
from medmm.read.dicom.header import numbers
from medmm.read.guard import RefusedError
from medmm.read.remark import concern


def show_grey(dataset: Dataset, stored: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the pixels as float32 in [0, 1], and remarks on how they came about.

    Pixels of one stored value look alike: of up to 16 bits, each value that occurs is worked out once.

    Args:
        dataset: the header of a MONOCHROME1 or MONOCHROME2 image.
        stored: (rows, columns) numbers, as decoded.
    """
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize > 2:
        return _show_values(dataset, stored)
    lowest = stored.min()
    place = (stored - lowest).view(f"u{stored.dtype.itemsize}")  # may wrap, and is right all the same
    occurs = np.zeros(int(place.max()) + 1, bool)
    occurs[place] = True
    shown = np.zeros(len(occurs), np.float32)
    shown[occurs], remarks = _show_values(dataset, (np.flatnonzero(occurs) + int(lowest)).astype(stored.dtype))
    return shown[place], remarks


def _show_values(dataset: Dataset, stored: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return any number of stored values as float32 in [0, 1], and remarks."""
    remarks: list[str] = []
    padding = padding_in(dataset, stored)
    if padding is not None and padding.all():
        raise RefusedError(Reason.CORRUPT, "is pixel padding and nothing else", "Export it again")
    values = modality_values(dataset, stored, remarks)
    shown = _values_of_interest(dataset, values, padding, remarks)
    if inverted := why_inverted(dataset):
        remarks.append(f"{inverted} inverted")
        shown = 1.0 - shown
    if padding is not None:
        shown[padding] = 0.0
        remarks.append("pixel padding shown black")
    if not np.isfinite(shown).all():
        raise RefusedError(Reason.CORRUPT, "has a window or a rescale that is not a number", "Export it again")
    return shown.astype(np.float32), tuple(remarks)


def show_colour(dataset: Dataset, array: np.ndarray, bits: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return RGB as float32 in [0, 1], and remarks.

    Args:
        dataset: the header of a colour image.
        array: (rows, columns, 3) RGB, or (rows, columns) indices of PALETTE COLOR.
        bits: Bits Stored (0028,0101) of `array`.
    """
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return _through_palette(dataset, array), ("palette applied",)
    if array.dtype.kind != "u":
        raise RefusedError(Reason.UNSUPPORTED, "has signed colours", "Export it as unsigned RGB")
    return np.clip(array / np.float32(2**bits - 1), 0.0, 1.0).astype(np.float32), ()


def padding_in(dataset: Dataset, stored: np.ndarray) -> np.ndarray | None:
    """Return where there is no picture: Pixel Padding Value and Range Limit (0028,0120-0121), PS3.3 C.7.5.1.1.2.

    Among floating-point pixels that is Float Pixel Padding Value (0028,0122), and what is no number.
    """
    if stored.dtype.kind == "f":
        value = dataset.get("FloatPixelPaddingValue")
        mask: np.ndarray = ~np.isfinite(stored) | (False if value is None else stored == np.float32(value))
        return mask if mask.any() else None
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    # 63536 over signed pixels is -2000: US and SS hold the same 16 bits
    ends = np.array([int(value), int(value if limit is None else limit)])
    ends = ends.astype(np.int16 if stored.dtype.kind == "i" else np.uint16)
    low, high = ends.min(), ends.max()
    mask = (stored >= low) & (stored <= high)
    return mask if mask.any() else None


def modality_values(dataset: Dataset, stored: np.ndarray, remarks: list[str]) -> np.ndarray:
    """Apply the modality LUT or the rescale (0028,1052-1053), PS3.3 C.11.1; integers stay integers where they can."""
    if dataset.get("ModalityLUTSequence"):
        remarks.append("modality LUT applied")
        return _look_up(dataset, dataset.ModalityLUTSequence[0], stored)[0]
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None or (slope == 1 and intercept == 0):
        return stored
    slope, intercept = float(slope), float(intercept)
    if slope == 0:
        raise RefusedError(Reason.CORRUPT, "has a Rescale Slope of 0", "Export it again")
    remarks.append(f"rescaled by {slope:g} and {intercept:+g}")
    whole = slope.is_integer() and intercept.is_integer() and stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2
    if whole and abs(slope) < 2**14 and abs(intercept) < 2**24:  # fits 32 bits
        return stored.astype(np.int32) * np.int32(slope) + np.int32(intercept)
    return stored.astype(np.float64) * slope + intercept


def window_in(dataset: Dataset, remarks: list[str]) -> tuple[float, float, str] | None:
    """Return centre, width and VOI LUT Function of the first window (PS3.3 C.11.2); None without a valid one."""
    centres, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    if not centres or not widths:
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise RefusedError(Reason.UNSUPPORTED, "has a VOI LUT Function that DICOM does not define", "Export it again")
    if not is_window(centres[0], widths[0], function):
        remarks.append(concern(f"VOI window of width {widths[0]:g} is not valid and was left out"))
        return None
    several = f" (first of {len(centres)})" if len(centres) > 1 else ""
    kind = "" if function == "LINEAR" else f" {function}"
    remarks.append(f"VOI window {centres[0]:g}/{widths[0]:g}{kind}{several}")
    return centres[0], widths[0], function


def is_window(centre: float, width: float, function: str) -> bool:
    """Whether a window is one: numbers, and a width of at least 1, or above 0 where it is not LINEAR (PS3.3 C.11.2)."""
    return bool(np.isfinite([centre, width]).all()) and width >= (1 if function == "LINEAR" else np.nextafter(0, 1))


def why_inverted(dataset: Dataset) -> str:
    """Say why low values are white: MONOCHROME1, or Presentation LUT Shape (2050,0020) INVERSE; empty if not."""
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        return "MONOCHROME1"
    return "Presentation LUT Shape INVERSE" if dataset.get("PresentationLUTShape") == "INVERSE" else ""


def _values_of_interest(
    dataset: Dataset, values: np.ndarray, padding: np.ndarray | None, remarks: list[str]
) -> np.ndarray:
    """Map values to [0, 1] by the first VOI LUT, else the first window, else smallest to largest."""
    pictured = values if padding is None else values[~padding]
    low, high = float(pictured.min()), float(pictured.max())
    if low == high:
        remarks.append("every pixel has the same value")
    shown = _through_voi(dataset, values, remarks)
    if shown is not None:
        seen = shown if padding is None else shown[~padding]
        if low == high or seen.min() < seen.max():
            return shown
        remarks[-1] = concern(f"{remarks[-1]} shows nothing of the picture: smallest to largest value instead")
    else:
        remarks.append("no VOI stated: smallest to largest value")
    return np.clip((values.astype(np.float64) - low) / ((high - low) or 1.0), 0.0, 1.0)


def _through_voi(dataset: Dataset, values: np.ndarray, remarks: list[str]) -> np.ndarray | None:
    """Apply VOI LUT or window (PS3.3 C.11.2) and scale to [0, 1]; None where the header states neither."""
    tables = dataset.get("VOILUTSequence")
    if tables:
        shown, top = _look_up(dataset, tables[0], values)
        remarks.append("VOI LUT" + (f" (first of {len(tables)})" if len(tables) > 1 else ""))
        return shown / top
    window = window_in(dataset, remarks)
    return None if window is None else _window(values, *window)


def _window(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Apply a window with pydicom, which maps to the range that the header's bits allow: here one bit, so [0, 1]."""
    window = Dataset()
    window.PhotometricInterpretation = "MONOCHROME2"
    window.BitsStored, window.PixelRepresentation = 1, 0
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = centre, width, function
    return apply_windowing(values, window)


def _look_up(dataset: Dataset, item: Dataset, values: np.ndarray) -> tuple[np.ndarray, float]:
    """Map values through a modality or VOI LUT (PS3.3 C.11.1.1, C.11.2.1.1), and return the largest possible output.

    pydicom's own look-up holds the index in the type of the output, so that a table from 12 to 8 bits overflows.
    """
    descriptor = [int(number) for number in item.LUTDescriptor]
    entries, first, bits = descriptor[0] & 0xFFFF or 2**16, descriptor[1], descriptor[2] & 0xFFFF
    data = item.LUTData
    if isinstance(data, bytes):
        order = ">" if dataset.original_encoding[1] is False else "<"
        table = np.frombuffer(data, np.uint8 if len(data) < 2 * entries else f"{order}u2")
    else:
        table = np.atleast_1d(np.asarray(data)).astype(np.int64) & 0xFFFF
    if len(table) < entries or not 1 <= bits <= 16:
        raise RefusedError(Reason.CORRUPT, "has a LUT that is shorter than its descriptor says", "Export it again")
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, entries - 1)
    top = max(2**bits - 1, int(table[:entries].max()))  # some devices declare fewer bits than they use
    return table[index].astype(np.float64), float(top)


def _through_palette(dataset: Dataset, indices: np.ndarray) -> np.ndarray:
    """Apply the palette (PS3.3 C.7.6.3.1.5-6) and scale by the bits that its descriptor states.

    Indices are first clipped into the table: pydicom's look-up wraps an index that does not fit the output's type.
    """
    entries, first, bits = (int(number) for number in dataset.RedPaletteColorLookupTableDescriptor)
    last = first + (entries & 0xFFFF or 2**16) - 1
    colours = apply_color_lut(np.clip(indices.astype(np.int64), first, last), dataset)[..., :3]
    top = max(2**bits - 1, int(colours.max()))
    return (colours / np.float32(top)).astype(np.float32)
