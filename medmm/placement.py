"""Where an image lies in the square that its encoder sees, and the way back to the original pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image lies in the square that the encoder sees; all that is needed to draw a map on the original."""

    rows: int
    """Height of the original in pixels."""
    columns: int
    """Width of the original in pixels."""
    size: int
    """Side of the square in pixels."""
    top: int
    left: int
    height: int
    """Height of the image inside the square."""
    width: int
    """Width of the image inside the square."""

    @classmethod
    def fit(cls, rows: int, columns: int, size: int) -> Placement:
        """Place an image of (rows, columns) in the middle of a square, its longer side filling it."""
        scale = size / max(rows, columns)
        height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
        return cls(rows, columns, size, (size - height) // 2, (size - width) // 2, height, width)

    def cell_centres(self, grid: tuple[int, int]) -> np.ndarray:
        """Centres of the encoder's cells in the image: (cells, 2), 0 at its top or left edge and 1 at the other."""
        down, across = grid
        y = ((np.arange(down) + 0.5) * self.size / down - self.top) / self.height
        x = ((np.arange(across) + 0.5) * self.size / across - self.left) / self.width
        return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)

    def covered(self, grid: tuple[int, int]) -> np.ndarray:
        """Which cells lie at least half on the image and not on the padding: (cells,) bool.

        Of an image that is narrower than a cell, the cells nearest to its middle: none would be a missing image.
        """
        centres = self.cell_centres(grid)
        off = np.abs(centres - 0.5)
        return cast("np.ndarray", (off <= np.maximum(0.5, off.min(axis=0))).all(axis=1))

    def window(self, grid: tuple[int, int], row: int, column: int, cells: int = 1) -> tuple[slice, slice]:
        """The original's pixels under a square of cells that begins at this row and column, cut off at the edges."""
        sides = (
            (row, grid[0], self.top, self.height, self.rows),
            (column, grid[1], self.left, self.width, self.columns),
        )
        ends = [
            [round(((at * self.size / count) - before) / length * pixels) for at in (first, first + cells)]
            for first, count, before, length, pixels in sides
        ]
        (top, bottom), (left, right) = ends
        return slice(max(0, top), max(0, bottom)), slice(max(0, left), max(0, right))

    def to_original(self, cells: np.ndarray) -> np.ndarray:
        """Map values of cells (down, across) to the original's pixels (rows, columns), bilinear, NaN kept apart.

        A pixel whose nearest cell is NaN is NaN: the model did not look there.
        """
        down, across = cells.shape
        y = ((np.arange(self.rows) + 0.5) / self.rows * self.height + self.top) / self.size * down - 0.5
        x = ((np.arange(self.columns) + 0.5) / self.columns * self.width + self.left) / self.size * across - 0.5
        known = np.isfinite(cells)
        weight = _bilinear(known.astype(np.float32), y, x)
        value = _bilinear(np.where(known, cells, 0).astype(np.float32), y, x)
        nearest = known[
            np.ix_(np.clip(np.rint(y).astype(int), 0, down - 1), np.clip(np.rint(x).astype(int), 0, across - 1))
        ]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(nearest, value / weight, np.nan).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Extent:
    """Where one axis of a volume lies in the cube that its encoder sees."""

    length: int
    """Slices at even steps, rows or columns."""
    axis: int
    """The axis of the cube: 0 to the right, 1 to the front, 2 to the head (RAS)."""
    flipped: bool
    """True if the original counts the other way."""
    start: int
    """First voxel of the cube that the volume fills; as many are free behind it, so a flip changes nothing."""
    filled: int
    """Voxels of the cube that the volume fills."""


@dataclass(frozen=True, slots=True)
class VolumePlacement:
    """Where a volume lies in the cube that the encoder sees, its shape in millimetres kept, and the way back."""

    size: int
    """Side of the cube in voxels."""
    slices: Extent
    rows: Extent
    columns: Extent

    @classmethod
    def fit(cls, shape: tuple[int, int, int], affine: np.ndarray, size: int) -> VolumePlacement:
        """Place a volume of (slices, rows, columns) in the middle of a cube, its longest side in mm filling it.

        Axes are put the way that is nearest to right, front and head; nothing is turned by less than a right angle.

        Args:
            shape: of the voxels.
            affine: (4, 4), (column, row, slice, 1) to LPS in mm, see Volume.affine.
            size: side of the cube.
        """
        from scipy.optimize import linear_sum_assignment

        steps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3, 2::-1]  # (RAS, (slice, row, column))
        spacing = np.maximum(np.linalg.norm(steps, axis=0), 1e-6)
        order, original = linear_sum_assignment(-np.abs(steps / spacing))
        axis_of = {int(o): int(a) for a, o in zip(order, original, strict=True)}
        lengths = spacing * shape
        extents = []
        for o in range(3):
            filled = _of_parity(size * lengths[o] / lengths.max(), size)
            flipped = bool(steps[axis_of[o], o] < 0)
            extents.append(Extent(shape[o], axis_of[o], flipped, (size - filled) // 2, filled))
        return cls(size, *extents)

    @property
    def axes(self) -> tuple[int, int, int]:
        """For each axis of the original, the axis of the cube."""
        return self.slices.axis, self.rows.axis, self.columns.axis

    @property
    def filled(self) -> tuple[int, int, int]:
        """For each axis of the cube, how many of its voxels the volume fills."""
        by_axis = {extent.axis: extent.filled for extent in (self.slices, self.rows, self.columns)}
        return by_axis[0], by_axis[1], by_axis[2]

    def to_cube(self, voxels: np.ndarray) -> np.ndarray:
        """(slices, rows, columns) -> the same voxels, turned the way of the cube; a view."""
        return np.flip(voxels, self._flips()).transpose(np.argsort(self.axes))

    def from_cube(self, cells: np.ndarray) -> np.ndarray:
        """Cells in the way of the cube (..., 3 axes) -> turned the way of the original; a view."""
        lead = cells.ndim - 3
        turned = cells.transpose(*range(lead), *(lead + axis for axis in self.axes))
        return np.flip(turned, tuple(lead + o for o in self._flips()))

    def _flips(self) -> tuple[int, ...]:
        """Axes of the original that count the other way than the cube."""
        extents = (self.slices, self.rows, self.columns)
        return tuple(o for o, extent in enumerate(extents) if extent.flipped)

    def plane(self) -> Placement:
        """Where rows and columns of any slice lie in a plane of the cube."""
        down, across = self.rows, self.columns
        return Placement(down.length, across.length, self.size, down.start, across.start, down.filled, across.filled)

    def depths(self, planes: int) -> np.ndarray:
        """Centres of the encoder's planes along the slices: (planes,), 0 at the volume's first face, 1 at its last."""
        at = (np.arange(planes) + 0.5) * self.size / planes
        return cast("np.ndarray", (at - self.slices.start) / self.slices.filled)


def _of_parity(length: float, size: int) -> int:
    """The whole number nearest to `length` that leaves the same on both sides of `size`: a flip moves nothing."""
    return max(2 - size % 2, size - 2 * round((size - length) / 2))


def _bilinear(cells: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Sample `cells` at the outer product of fractional rows `y` and columns `x`, edges repeated."""
    for axis, at in ((0, y), (1, x)):
        at = np.clip(at, 0, cells.shape[axis] - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, cells.shape[axis] - 1)
        share = (at - low).astype(np.float32)
        share = share[:, None] if axis == 0 else share[None, :]
        cells = np.take(cells, low, axis) * (1 - share) + np.take(cells, high, axis) * share
    return cells
