"""Where slices lie in the patient: their order along the normal, the affine, and what is irregular about them.

Coordinates are millimetres in the patient, x to the left, y to the back, z to the head (LPS, PS3.3 C.7.6.2.1.1).
"""

from dataclasses import dataclass, field
from typing import cast

import numpy as np

from medmm.read.remark import concern

SAME_PLACE_MM = 0.01
"""Slices nearer to each other than this along the normal lie at one position."""
_ROUNDED_MM = 0.11
"""Positions are written with as few as one decimal place, and two of them make a step."""
_FARTHEST_MM = 1e6
"""Nothing in a patient lies farther away."""
_NAMED = 3
"""So many gaps are named one by one; of the others their number."""


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """Position and Orientation (Patient) and Pixel Spacing of one slice."""

    position: np.ndarray = field(repr=False)
    """(3,) float64: the middle of the first pixel, Image Position (Patient) (0020,0032)."""
    orientation: np.ndarray = field(repr=False)
    """(2, 3) float64: unit vectors along a row and down a column, Image Orientation (Patient) (0020,0037)."""
    spacing: tuple[float, float]
    """Between rows and between columns, Pixel Spacing (0028,0030)."""

    @property
    def normal(self) -> np.ndarray:
        """(3,) float64: the unit vector from slice to slice."""
        return cast("np.ndarray", np.cross(self.orientation[0], self.orientation[1]))

    def is_parallel(self, other: "Plane") -> bool:
        """Whether another slice may be of the same stack: turned alike, with pixels of the same size."""
        turned = np.abs(self.orientation - other.orientation).max()
        return bool(turned < 1e-3 and np.allclose(self.spacing, other.spacing, rtol=1e-3, atol=0))


def make_plane(position: list[float], orientation: list[float], spacing: list[float]) -> Plane | None:
    """Return a plane from what a header says; None unless it says all of it and it makes sense."""
    if (len(position), len(orientation), len(spacing)) != (3, 6, 2):
        return None
    place, vectors = np.array(position), np.array(orientation).reshape(2, 3)
    lengths = np.linalg.norm(vectors, axis=1)
    sound = np.abs([*position, *orientation, *spacing]).max() < _FARTHEST_MM and min(spacing) > 0  # NaN is not
    if not sound or np.abs(lengths - 1).max() > 0.05 or abs(float(vectors[0] @ vectors[1])) > 0.05:
        return None
    return Plane(place, vectors / lengths[:, None], (spacing[0], spacing[1]))


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Slices at places of their own, ascending along the normal."""

    affine: np.ndarray = field(repr=False)
    """As Volume.affine."""
    offsets_mm: tuple[float, ...]
    """As Volume.offsets_mm."""
    remarks: tuple[str, ...]


def offsets_of(planes: list[Plane]) -> np.ndarray:
    """Place of each slice along the normal of the first, in mm from the patient's origin: (slices,) float64."""
    return cast("np.ndarray", np.array([plane.position for plane in planes]) @ planes[0].normal)


def grid_of(planes: list[Plane]) -> Grid:
    """Return the grid of two or more slices.

    Args:
        planes: parallel, ascending along the normal, no two at one place.
    """
    positions = np.array([plane.position for plane in planes])
    offsets = offsets_of(planes) - offsets_of(planes[:1])[0]
    step, step_remarks = _step(offsets)
    direction = (positions[-1] - positions[0]) / offsets[-1]  # 1 mm along the normal; leans where the gantry did
    (along_row, down_column), (row_mm, column_mm) = planes[0].orientation, planes[0].spacing
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along_row * column_mm, down_column * row_mm
    affine[:3, 2], affine[:3, 3] = direction * step, positions[0]
    remarks = (*step_remarks, *_lean(positions, offsets, direction, planes[0].normal))
    return Grid(affine, tuple(float(offset) for offset in offsets), remarks)


def _step(offsets: np.ndarray) -> tuple[float, tuple[str, ...]]:
    """Return the step from slice to slice: the mean one where only rounding differs, else the median; and remarks."""
    steps, mean = np.diff(offsets), float(offsets[-1]) / (len(offsets) - 1)
    if np.abs(offsets - mean * np.arange(len(offsets))).max() <= _tolerance(mean):
        return mean, ()
    median = float(np.median(steps))
    odd = np.flatnonzero(np.abs(steps - median) > _tolerance(median))
    if len(odd) != 1 and len(odd) > len(steps) / 3:
        return median, (concern(f"spacing of slices varies from {steps.min():.4g} to {steps.max():.4g} mm"),)
    remarks = [
        concern(
            f"{'gap of' if steps[place] > median else 'only'} {steps[place]:.4g} mm after slice {place + 1} of"
            f" {len(offsets)} ({median:.4g} mm elsewhere)"
        )
        for place in odd[:_NAMED]
    ]
    if len(odd) > _NAMED:
        remarks.append(concern(f"{len(odd) - _NAMED} more steps between slices are not {median:.4g} mm"))
    return median, tuple(remarks)


def _tolerance(step: float) -> float:
    """How far a slice may be from where it should be, in mm; far less than the half step that a missing one makes."""
    return max(0.02 * step, min(_ROUNDED_MM, 0.2 * step))


def _lean(positions: np.ndarray, offsets: np.ndarray, direction: np.ndarray, normal: np.ndarray) -> tuple[str, ...]:
    """Say that slices lie aslant over one another (gantry tilt), or not on one line at all."""
    astray = np.linalg.norm(positions - positions[0] - offsets[:, None] * direction, axis=1).max()
    if astray > 0.5:
        return (concern(f"slices lie up to {astray:.2g} mm beside one line"),)
    aslant = float(np.degrees(np.arctan(np.linalg.norm(direction - normal))))
    return (f"slices lie aslant by {aslant:.1f} degrees (gantry tilt): the affine is sheared",) if aslant > 0.1 else ()
