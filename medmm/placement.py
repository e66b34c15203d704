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
