"""Tests that an overlay must pass, on maps and answers alone: does it point at what is there, and at what is used?

A heat map is (rows, columns) in the grid of the original pixels, NaN where the method says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def points_at(heat: np.ndarray, mask: np.ndarray, tolerance: float = 0.0) -> bool:
    """Pointing game (Zhang et al. 2018): whether the map's highest pixel lies in the mask.

    Args:
        heat: the map.
        mask: (rows, columns) bool, where the lesion is.
        tolerance: share of the longer side by which the highest pixel may miss the mask, in rows and in columns.

    Raises:
        ValueError: if the map says nothing anywhere, or the shapes differ.
    """
    row, column = peak(heat)
    if heat.shape != mask.shape:
        raise ValueError(f"a map of {heat.shape} and a mask of {mask.shape} are not of one picture")
    reach = int(tolerance * max(mask.shape))
    near = mask[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
    return bool(near.any())


def peak(heat: np.ndarray) -> tuple[int, int]:
    """Row and column of the highest pixel, the first of equals.

    Raises:
        ValueError: if the map says nothing anywhere.
    """
    if not np.isfinite(heat).any():
        raise ValueError("the map says nothing anywhere")
    row, column = np.unravel_index(np.nanargmax(heat), heat.shape)
    return int(row), int(column)


def mass_inside(heat: np.ndarray, mask: np.ndarray) -> float:
    """Share of the map's positive part that lies in the mask, over the mask's share of the picture: 1 is chance.

    0 for a map without a positive part (Arun et al. 2021 compare saliency with masks likewise).
    """
    positive = np.where(np.isfinite(heat) & (heat > 0), heat, 0.0)
    total = positive.sum()
    return float(positive[mask].sum() / total / mask.mean()) if total > 0 else 0.0


def highest(heat: np.ndarray, share: float) -> np.ndarray:
    """The given share of a map's pixels, the highest first: (rows, columns) bool. Pixels without a value come last."""
    order = np.argsort(-np.where(np.isfinite(heat), heat, -np.inf), axis=None, kind="stable")
    chosen = np.zeros(heat.size, dtype=bool)
    chosen[order[: round(share * heat.size)]] = True
    return chosen.reshape(heat.shape)


def area_under(shares: Sequence[float], values: Sequence[float]) -> float:
    """Mean height of a deletion or insertion curve (Petsiuk et al. 2018) from its first share to its last."""
    width = shares[-1] - shares[0]
    return float(np.trapezoid(values, shares) / width)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Rank correlation (Spearman) of two maps where both say something; 0 if one of them never varies."""
    from scipy.stats import spearmanr

    known = np.isfinite(first) & np.isfinite(second)
    one, other = first[known], second[known]
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)
