"""A study as pictures: its films, and slices of its volumes in a window. What people are shown and the encoder sees.

A volume is never shown whole. Which of its slices are taken follows from where they lie, not from how many there are
in a place: a series with a gap is spread over its length in millimetres like any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import cast

import numpy as np

from medmm.case import Image, Study, Volume

_SOFT_TISSUE = (40.0, 400.0)
"""Centre and width in Hounsfield units in which a CT without a window is shown."""
_SHARE = (0.5, 99.5)
"""Percentiles between which any other volume without a window is shown."""
_LOOKED_AT = 2**22
"""Voxels, evenly spread, from which percentiles are taken."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Which picture of a study: a film, or one slice of one volume."""

    index: int
    """Place in Study.images, or the slice in its volume."""
    volume: int | None = None
    """Place in Study.volumes; None for a film."""


def pictures_of(study: Study, pictures: Sequence[Picture]) -> Iterator[Image]:
    """The pictures themselves, one at a time; a slice is cut and shown in the window of its volume."""
    for volume, group in groupby(pictures, key=lambda picture: picture.volume):
        if volume is None:
            yield from (study.images[picture.index] for picture in group)
        else:
            yield from slice_images(study.volumes[volume], [picture.index for picture in group])


def part_of(study: Study, picture: Picture) -> str:
    """What a slice is called: 'slice 12 of 300', or 'frame 12 of 60' where the volume has no place in space."""
    return "" if picture.volume is None else _part(study.volumes[picture.volume], picture.index)


def spread_slices(volume: Volume, most: int) -> tuple[int, ...]:
    """At most `most` slices, ascending: those nearest to the middles of as many equal parts of the volume's length."""
    if volume.slices <= most:
        return tuple(range(volume.slices))
    return tuple(sorted({nearest_slice(volume, (part + 0.5) / most) for part in range(most)}))


def nearest_slice(volume: Volume, share: float) -> int:
    """The slice that lies nearest to a share of the volume's length, 0 at its first face and 1 at its last."""
    return int(np.abs(depths(volume) - share).argmin())


def depths(volume: Volume) -> np.ndarray:
    """Where the middle of each slice lies along the volume: (slices,) float64, 0 at its first face and 1 at its last.

    By `offsets_mm`, else by number. The outer slices reach half a step beyond their middle.
    """
    step = slice_step_mm(volume) if volume.offsets_mm else 1.0
    at = np.array(volume.offsets_mm or range(volume.slices), dtype=np.float64)
    return cast("np.ndarray", (at - at[0] + step / 2) / (at[-1] - at[0] + step))


def slice_step_mm(volume: Volume) -> float:
    """The median step between slices along the normal; of a single slice, what its affine says."""
    if volume.affine is None:
        raise ValueError("a volume without affine has no steps in millimetres")
    if volume.slices > 1:
        return float(np.median(np.diff(volume.offsets_mm))) or 1.0
    return float(np.linalg.norm(volume.affine[:3, 2])) or 1.0


def slice_images(volume: Volume, indices: Sequence[int]) -> Iterator[Image]:
    """Slices as a viewer would show them: the window applied, low values white where the file says so.

    The digest names the slice and how it is shown, so that the same slice in another window is another picture.
    """
    shown = Shown.of(volume)
    spacing, uids = None, volume.instance_uids
    if volume.affine is not None:
        spacing = (float(np.linalg.norm(volume.affine[:3, 1])), float(np.linalg.norm(volume.affine[:3, 0])))
    for index in indices:
        content = repr((volume.digest, index, shown))
        yield Image(
            pixels=shown.apply(volume.voxels[index]),
            digest=hashlib.sha256(content.encode()).hexdigest(),
            series_uid=volume.series_uid,
            instance_uid=uids[index] if uids else "",
            sop_class=volume.sop_class,
            modality=volume.modality,
            spacing_mm=spacing,
            remarks=(_part(volume, index), *((shown.remark,) if shown.remark else ())),
            acquisition=volume.acquisition,
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """How the voxels of a volume become brightness."""

    low: float
    """The value that is shown black, or white if inverted."""
    high: float
    """The value that is shown white, or black if inverted."""
    inverted: bool
    remark: str = ""
    """What was decided because the file does not say."""

    @classmethod
    def of(cls, volume: Volume) -> Shown:
        """The file's window; for CT without one a window for soft tissue, else between two percentiles.

        A window is LINEAR, PS3.3 C.11.2.1.2.1, or LINEAR_EXACT where a width of at most 1 leaves no other way.
        """
        if volume.voxels.ndim == 4:
            return cls(0.0, 1.0, False)
        if volume.window is None and volume.modality != "CT":
            step = max(1, round((volume.voxels.size / _LOOKED_AT) ** 0.5))
            low, high = np.percentile(volume.voxels[:, ::step, ::step], _SHARE)
            remark = f"no window stated: {_SHARE[0]:g} to {_SHARE[1]:g} percentile of the volume"
            return cls(float(low), float(high), volume.inverted, remark)
        centre, width = volume.window or _SOFT_TISSUE
        remark = "" if volume.window else f"no window stated: {centre:g}/{width:g}"
        if width > 1:
            centre, width = centre - 0.5, width - 1
        return cls(centre - width / 2, centre + width / 2, volume.inverted, remark)

    def apply(self, voxels: np.ndarray) -> np.ndarray:
        """Voxels of any shape -> float32 in [0, 1] of the same shape."""
        ramp = (voxels.astype(np.float32) - np.float32(self.low)) / np.float32((self.high - self.low) or 1.0)
        np.clip(ramp, 0.0, 1.0, out=ramp)
        return np.float32(1) - ramp if self.inverted else ramp


def _part(volume: Volume, index: int) -> str:
    kind = "slice" if volume.affine is not None else "frame"
    return f"{kind} {index + 1} of {volume.slices}"
