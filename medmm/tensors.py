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
from medmm.placement import Placement

if TYPE_CHECKING:
    from torch import Tensor

BINS = 8
"""Bins of a numeric record column."""

_FRONTAL = frozenset({"PA", "AP"})
_LATERAL = frozenset({"LL", "RL", "LATERAL", "LAT", "LLO", "RLO"})


def view_index(image: Image) -> int:
    """0 where the view is not stated, 1 for a frontal film, 2 for a lateral one; see View Position (0018,5101)."""
    view = image.view.upper()
    return 1 if view in _FRONTAL else 2 if view in _LATERAL else 0


def image_tensor(
    image: Image, size: int, mean: Sequence[float], deviation: Sequence[float]
) -> tuple[Tensor, Placement]:
    """Fit an image into a square of `size`, its shape kept: (3, size, size) float32, normalised by channel."""
    from monai.utils import convert_to_tensor

    channels = 3 if image.pixels.ndim == 3 else 1
    placement = Placement.fit(image.rows, image.columns, size)
    square = _square(placement, channels, tuple(mean), tuple(deviation))(np.array(image.pixels))
    return cast("Tensor", convert_to_tensor(square, track_meta=False)), placement


@lru_cache(maxsize=64)
def _square(
    placement: Placement, channels: int, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> Callable[..., Any]:
    """MONAI's chain for one kind and shape of image; padding is black before it is normalised."""
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
            Resize((placement.height, placement.width), mode="area"),
            SpatialPad((placement.size, placement.size), method="symmetric"),
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
        numbers = {name for name, column in columns.items() if not isinstance(column, CategoryColumn)}
        taken: dict[str, list[float]] = {name: [] for name in columns}
        for values in records:
            for name in numbers & values.keys():
                taken[name].append(float(values[name]))
        edges = {name: _edges(taken[name]) for name in columns if name in numbers}
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
        reach = max(1.0, abs(middle) * 1e-6)  # one that a float can still tell apart
        values = [middle - reach, middle + reach]
    edges = np.quantile(values, np.linspace(0, 1, BINS + 1))
    step = max((edges[-1] - edges[0]) * 1e-6, np.abs(edges).max() * 1e-12, 1e-9)
    for i in range(1, len(edges)):
        edges[i] = max(edges[i], edges[i - 1] + step)
    return tuple(float(edge) for edge in edges)
