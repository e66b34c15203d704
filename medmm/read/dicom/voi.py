"""Ways to show grey values: the VOI LUTs and windows that a header states, and the field's presets (PS3.3 C.11.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from pydicom import Dataset

from medmm.case import Volume
from medmm.errors import Reason
from medmm.read.dicom.display import is_window, show_grey, window_in
from medmm.read.dicom.header import codes, numbers
from medmm.read.dicom.instance import EXPORT, SENSELESS
from medmm.read.guard import RefusedError, guarded
from medmm.slices import Shown

_SIGMOID_STEPS = 4096
_SIGMOID_REACH = 2.0
"""Widths to either side of the centre at which a sigmoid is drawn as black or white; it is within 0.04 % of that."""


@dataclass(frozen=True, slots=True)
class Window:
    """A map from values to brightness."""

    name: str
    low: float
    """At and below it black."""
    high: float
    """At and above it white; not below `low`."""
    curve: bytes = field(default=b"", repr=False)
    """Brightness, 0 to 255, of equal steps from `low` to `high`; empty for a straight line."""
    exact: bool = False
    """Whether its width is `high` less `low`, as for LINEAR_EXACT; that of LINEAR is one more (PS3.3 C.11.2.1.2)."""

    @classmethod
    def linear(cls, name: str, centre: float, width: float) -> Window:
        """A window of VOI LUT Function LINEAR, 1 wide or more."""
        return cls(name, centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2)


PRESETS = {
    "CT": tuple(
        Window.linear(name, centre, width)
        for name, centre, width in (
            ("Soft tissue", 40, 400),
            ("Lung", -600, 1500),
            ("Bone", 480, 2500),
            ("Brain", 40, 80),
        )
    )
}
"""Modality -> the windows that readers know by name, in the order of the keys 1 to 4 of the OHIF viewer."""


def windows_of(header: Dataset, modality: str, values: np.ndarray) -> tuple[Window, ...]:
    """All ways to show one film, first the one in which it is shown to the model: VOI LUT, window, whole range.

    Args:
        header: of the frame.
        modality: for its presets.
        values: of the frame, in the unit of the modality; NaN is padding.

    Raises:
        RefusedError: CORRUPT if there is nothing but padding, or if a value is not a number.
    """
    seen = values[~np.isnan(values)]
    if not seen.size or not np.isfinite(seen).all():
        raise RefusedError(Reason.CORRUPT, "holds padding alone, or values that are not numbers", "Export it again")
    low, high = float(seen.min()), float(seen.max())
    whole = Window("Whole range", low, high, exact=True)
    tables, others = list(_tables(header)), list(_stated(header))
    stated = [*tables, *others]
    is_first = bool(tables or (others and window_in(header, []) is not None))
    if is_first and stated[0].low < high and low < stated[0].high:  # else it would show nothing of the picture
        return (*stated, whole, *PRESETS.get(modality, ()))
    return (whole, *stated, *PRESETS.get(modality, ()))


def asked_first(windows: Sequence[Window], asked: tuple[float, float]) -> tuple[Window, ...]:
    """The same ways to show a picture, first the centre and width that a cohort asked for, as `slices.Shown` has it."""
    (centre, width), name = asked, "As cohort.toml says"
    exact = Window(name, centre - width / 2, centre + width / 2, exact=True)
    first = Window.linear(name, centre, width) if width > 1 else exact
    first = next((one for one in windows if _ends(one) == _ends(first)), first)
    return (first, *(one for one in windows if one != first))


def volume_windows(volume: Volume, header: Dataset, modality: str) -> tuple[Window, ...]:
    """All ways to show a volume, first the one in which it is shown to the model.

    Args:
        volume: with grey voxels.
        header: of its first frame.
        modality: for its presets.
    """
    shown = Shown.of(volume)
    others = [*PRESETS.get(modality, ()), *_stated(header)]
    name = next((one.name for one in others if _ends(one) == (shown.low, shown.high)), "Default")
    first = Window(name, shown.low, shown.high, exact=volume.window is not None and volume.window[1] <= 1)
    whole = Window("Whole range", float(volume.voxels.min()), float(volume.voxels.max()), exact=True)
    return (first, *(one for one in others if _ends(one) != _ends(first)), whole)


def _ends(window: Window) -> tuple[float, float]:
    return window.low, window.high


def _stated(header: Dataset) -> Iterator[Window]:
    """The windows of a header that are valid, with what it calls them (0028,1055)."""
    function = str(header.get("VOILUTFunction") or "LINEAR").upper()
    names = codes(header, "WindowCenterWidthExplanation")
    pairs = list(zip(numbers(header, "WindowCenter"), numbers(header, "WindowWidth"), strict=False))
    for place, (centre, width) in enumerate(pairs):
        name = names[place][:32] if place < len(names) and names[place] else f"Window {place + 1}"
        if not is_window(centre, width, function):
            continue
        if function == "LINEAR":
            yield Window.linear(name, centre, width)
        elif function == "LINEAR_EXACT":
            yield Window(name, centre - width / 2, centre + width / 2, exact=True)
        elif function == "SIGMOID":
            reach = _SIGMOID_REACH * width
            at = np.linspace(-reach, reach, _SIGMOID_STEPS)
            curve = np.rint(255 / (1 + np.exp(-4 * at / width))).astype(np.uint8)
            yield Window(name, centre - reach, centre + reach, curve.tobytes(), exact=True)


def _tables(header: Dataset) -> Iterator[Window]:
    """The VOI LUTs of a header; the first is the one that is applied, others are left out if they cannot be."""
    for place, item in enumerate(header.get("VOILUTSequence") or (), start=1):
        try:
            with guarded(SENSELESS, EXPORT):
                window = _table(header, item, place)
        except RefusedError:
            if place == 1:
                raise
            continue
        yield window


def _table(header: Dataset, item: Dataset, place: int) -> Window:
    """One VOI LUT, with what it calls itself (0028,3003)."""
    entries, first = int(item.LUTDescriptor[0]) & 0xFFFF or 2**16, int(item.LUTDescriptor[1])
    alone = Dataset()
    alone.PhotometricInterpretation, alone.VOILUTSequence = "MONOCHROME2", [item]
    alone.set_original_encoding(*header.original_encoding)
    brightness, _ = show_grey(alone, np.arange(first, first + entries))
    name = str(item.get("LUTExplanation") or f"VOI LUT {place}")[:32]
    curve = np.rint(brightness * 255).astype(np.uint8).tobytes()
    return Window(name, float(first), first + entries - 1.0, curve, exact=True)
