"""The one place where a case becomes tensors: MONAI transforms for pixels, bins for record values.

Words become tensors in the text encoder, which owns its tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from medmm.case import Image, RecordValue
from medmm.config import CategoryColumn, RecordColumn

if TYPE_CHECKING:
    from torch import Tensor

BINS = 8
"""Bins of a numeric record column."""

_FRONTAL = frozenset({"PA", "AP"})
_LATERAL = frozenset({"LL", "RL", "LATERAL", "LLO"})


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
        """Which cells lie at least half on the image and not on the padding: (cells,) bool."""
        centres = self.cell_centres(grid)
        return cast("np.ndarray", ((centres >= 0) & (centres <= 1)).all(axis=1))

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


def view_index(image: Image) -> int:
    """0 where the view is not stated, 1 for a frontal film, 2 for a lateral one; see View Position (0018,5101)."""
    view = image.view.upper()
    return 1 if view in _FRONTAL else 2 if view in _LATERAL else 0


def image_tensor(
    image: Image, size: int, mean: Sequence[float], deviation: Sequence[float]
) -> tuple[Tensor, Placement]:
    """Fit an image into a square of `size`, its shape kept: (3, size, size) float32, normalised by channel."""
    channels = 3 if image.pixels.ndim == 3 else 1
    square = _square(size, channels, tuple(mean), tuple(deviation))(np.array(image.pixels))
    placement = Placement.fit(image.rows, image.columns, size)
    return cast("Tensor", square.as_tensor()), placement


@lru_cache(maxsize=8)
def _square(size: int, channels: int, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Callable[..., Any]:
    """MONAI's chain for one kind of image; padding is black before it is normalised."""
    from monai.transforms import (
        Compose,
        EnsureChannelFirst,
        NormalizeIntensity,
        RepeatChannel,
        Resize,
        SpatialPad,
    )

    chain: Callable[..., Any] = Compose(
        [
            EnsureChannelFirst(channel_dim=-1 if channels == 3 else "no_channel"),
            Resize(size, size_mode="longest", mode="area"),
            SpatialPad((size, size), method="symmetric"),
            RepeatChannel(3 // channels),
            NormalizeIntensity(subtrahend=mean, divisor=deviation, channel_wise=True),
        ]
    )
    return chain


@dataclass(frozen=True, slots=True)
class RecordBins:
    """How record values become vectors: piecewise-linear bins for numbers, one place a category.

    The encoding is that of Gorishniy et al. 2022, "On Embeddings for Numerical Features in Tabular Deep Learning":
    entry q of a number is how far it has come through bin q, from 0 to 1.
    """

    columns: Mapping[str, RecordColumn]
    edges: Mapping[str, tuple[float, ...]]
    """For a numeric column, BINS + 1 ascending edges: quantiles of the training cases."""

    @classmethod
    def learn(cls, columns: Mapping[str, RecordColumn], records: Iterable[Mapping[str, RecordValue]]) -> RecordBins:
        """Take the edges from training records; a column without two different values gets one wide bin."""
        taken: dict[str, list[float]] = {name: [] for name in columns}
        for values in records:
            for name, value in values.items():
                if isinstance(value, float):
                    taken[name].append(value)
        edges = {
            name: _edges(taken[name]) for name, column in columns.items() if not isinstance(column, CategoryColumn)
        }
        return cls(dict(columns), edges)

    @property
    def width(self) -> int:
        """Length of the vector of one column."""
        categories = (len(c.categories) for c in self.columns.values() if isinstance(c, CategoryColumn))
        return max(BINS, *categories, 0) if self.columns else BINS

    def encode(self, values: Mapping[str, RecordValue]) -> tuple[np.ndarray, np.ndarray]:
        """Record values -> ((columns, width) float32 in [0, 1], (columns,) bool True where a value was taken)."""
        vectors = np.zeros((len(self.columns), self.width), dtype=np.float32)
        taken = np.zeros(len(self.columns), dtype=bool)
        for row, (name, column) in enumerate(self.columns.items()):
            if name not in values:
                continue
            taken[row] = True
            if isinstance(column, CategoryColumn):
                vectors[row, column.categories.index(str(values[name]))] = 1
            else:
                low, high = np.array(self.edges[name][:-1]), np.array(self.edges[name][1:])
                vectors[row, :BINS] = np.clip((float(values[name]) - low) / (high - low), 0, 1)
        return vectors, taken


def _edges(values: list[float]) -> tuple[float, ...]:
    """BINS + 1 strictly ascending edges at the quantiles of `values`."""
    if len(set(values)) < 2:
        middle = values[0] if values else 0.0
        values = [middle - 1, middle + 1]
    edges = np.quantile(values, np.linspace(0, 1, BINS + 1))
    step = max((edges[-1] - edges[0]) * 1e-6, 1e-9)
    for i in range(1, len(edges)):
        edges[i] = max(edges[i], edges[i - 1] + step)
    return tuple(float(edge) for edge in edges)
