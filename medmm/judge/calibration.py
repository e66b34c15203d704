"""Do the probabilities mean what they say: stated probability against what happened. N cases of one label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Reliability:
    """Stated probabilities against what happened, in bins of equal count."""

    stated: tuple[float, ...]
    """Mean probability of each bin."""
    happened: tuple[float, ...]
    """Share of cases with the finding in each bin."""
    cases: tuple[int, ...]
    """Cases in each bin."""
    ece: float
    """Expected calibration error: mean distance of the two, weighted by cases; NaN without a case."""


def reliability(targets: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> Reliability:
    """Reliability of one label's probabilities (N,), over the cases where it is stated."""
    known = np.isfinite(targets)
    parts = _bins(probabilities[known], bins)
    stated = [float(probabilities[known][part].mean()) for part in parts]
    happened = [float(targets[known][part].mean()) for part in parts]
    sizes = [len(part) for part in parts]
    ece = np.average(np.abs(np.subtract(stated, happened)), weights=sizes) if parts else float("nan")
    return Reliability(tuple(stated), tuple(happened), tuple(sizes), float(ece))


def ece_if_calibrated(probabilities: np.ndarray, bins: int = 10, *, times: int = 200, seed: int = 0) -> float:
    """Mean ECE of answers drawn from the probabilities (N,) themselves: what so few cases give by luck alone.

    ECE is never negative, so it is above 0 even for a perfect forecaster (Bröcker and Smith 2007 draw answers alike).
    """
    parts = _bins(probabilities, bins)
    if not parts:
        return float("nan")
    luck = np.random.default_rng(seed).random((times, len(probabilities))) < probabilities
    gaps = [np.abs(luck[:, part].mean(axis=1) - probabilities[part].mean()) * len(part) for part in parts]
    return float(np.sum(gaps, axis=0).mean() / len(probabilities))


def wilson(share: float, cases: int) -> tuple[float, float]:
    """95 % interval of a share of independent cases (Wilson 1927)."""
    z = 1.959964
    middle = (share + z * z / (2 * cases)) / (1 + z * z / cases)
    half = z / (1 + z * z / cases) * np.sqrt(share * (1 - share) / cases + z * z / (4 * cases * cases))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def _bins(probabilities: np.ndarray, bins: int) -> list[np.ndarray]:
    """Indices of the cases in each bin, from the lowest probability up; bins differ by one case at most."""
    order = np.argsort(probabilities, kind="stable")
    return [part for part in np.array_split(order, bins) if len(part)]
