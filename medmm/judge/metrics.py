"""Discrimination and calibration, with intervals by patient. N cases, L labels; targets are NaN where not stated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; NaN where it cannot be computed."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return "n/a" if np.isnan(self.value) else f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, slots=True)
class Score:
    """How well one system ranks the test cases."""

    system: str
    macro: Estimate
    """Mean AUROC over the labels that have both answers among the test cases."""
    by_label: Mapping[str, Estimate]
    gain: Estimate
    """Macro AUROC of the reference system less this one's, on the same resamples of patients."""


class Ranking:
    """AUROC of one label for any weights of the cases: the Mann-Whitney statistic, ties counted half."""

    def __init__(self, targets: np.ndarray, scores: np.ndarray) -> None:
        """Targets (N,) 1, 0 or NaN; scores (N,)."""
        self.positive = np.flatnonzero(targets == 1)
        self.negative = np.flatnonzero(targets == 0)
        up, down = scores[self.positive][:, None], scores[self.negative][None, :]
        self.wins = (up > down) + 0.5 * (up == down)

    def auroc(self, weights: np.ndarray) -> np.ndarray:
        """Weights (K, N) -> (K,); NaN where one of the answers has no weight."""
        up, down = weights[:, self.positive], weights[:, self.negative]
        pairs = up.sum(axis=1) * down.sum(axis=1)
        wins = np.einsum("kp,pn,kn->k", up, self.wins, down, optimize=True)
        return np.where(pairs > 0, wins / np.maximum(pairs, 1e-12), np.nan)


def auroc(targets: np.ndarray, scores: np.ndarray) -> float:
    """AUROC of one label; NaN unless both answers are there."""
    return float(Ranking(targets, scores).auroc(np.ones((1, len(targets))))[0])


def resample_patients(patients: Sequence[str], times: int, seed: int) -> np.ndarray:
    """How often each case is drawn when patients are drawn with replacement: (times, N)."""
    unique, index = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    draws = np.random.default_rng(seed).multinomial(len(unique), np.full(len(unique), 1 / len(unique)), size=times)
    return draws[:, index].astype(np.float64)


def score_systems(
    systems: Mapping[str, np.ndarray],
    targets: np.ndarray,
    patients: Sequence[str],
    labels: Sequence[str],
    *,
    reference: str,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[Score, ...]:
    """Compare systems on the same cases and the same resamples of patients.

    Args:
        systems: name -> (N, L) scores, higher is more likely.
        targets: (N, L).
        patients: the patient of each case.
        labels: names of the L columns.
        reference: the system that the others are compared with.
        resamples: bootstrap samples; percentile intervals.
        seed: of the bootstrap.
    """
    weights = np.vstack([np.ones(len(patients)), resample_patients(patients, resamples, seed)])
    values = {
        name: np.stack([Ranking(targets[:, i], scores[:, i]).auroc(weights) for i in range(len(labels))], axis=1)
        for name, scores in systems.items()
    }  # (1 + resamples, L); row 0 is the sample itself
    macro = {name: _mean(value, values[reference][0]) for name, value in values.items()}
    return tuple(
        Score(
            system=name,
            macro=_estimate(macro[name]),
            by_label={label: _estimate(values[name][:, i]) for i, label in enumerate(labels)},
            gain=_estimate(macro[reference] - macro[name]),
        )
        for name in systems
    )


def _mean(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Mean over the labels that can be judged at all; NaN in a resample that lost one of them."""
    judged = np.isfinite(first)
    return values[:, judged].mean(axis=1) if judged.any() else np.full(len(values), np.nan)


def _estimate(values: np.ndarray) -> Estimate:
    """Row 0 is the value, the rest its resamples."""
    resamples = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not len(resamples):
        return Estimate(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(resamples, [0.025, 0.975])
    return Estimate(float(values[0]), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Reliability:
    """Stated probabilities against what happened, in bins of equal count."""

    stated: tuple[float, ...]
    """Mean probability of each bin."""
    happened: tuple[float, ...]
    """Share of cases with the finding in each bin."""
    ece: float
    """Expected calibration error: mean distance of the two, weighted by cases."""


def reliability(targets: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> Reliability:
    """Reliability of one label's probabilities (N,), over the cases where it is stated."""
    known = np.isfinite(targets)
    order = np.argsort(probabilities[known], kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    stated = [float(probabilities[known][part].mean()) for part in parts]
    happened = [float(targets[known][part].mean()) for part in parts]
    sizes = [len(part) for part in parts]
    ece = sum(n * abs(s - h) for n, s, h in zip(sizes, stated, happened, strict=True)) / max(sum(sizes), 1)
    return Reliability(tuple(stated), tuple(happened), float(ece))


def youden_threshold(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """The probability at which sensitivity + specificity is highest (Youden 1950); 0.5 without both answers."""
    known = np.isfinite(targets)
    y, p = targets[known], probabilities[known]
    if not (y == 1).any() or not (y == 0).any():
        return 0.5
    levels = np.unique(p)
    middles = np.concatenate([[levels[0]], (levels[1:] + levels[:-1]) / 2])
    sensitivity = (p[y == 1][None, :] >= middles[:, None]).mean(axis=1)
    specificity = (p[y == 0][None, :] < middles[:, None]).mean(axis=1)
    return float(middles[int(np.argmax(sensitivity + specificity))])


@dataclass(frozen=True, slots=True)
class Operation:
    """What the threshold does to the test cases of one label."""

    threshold: float
    sensitivity: float
    specificity: float
    present: int
    """Cases in which the label is stated to be present."""
    absent: int


def operate(targets: np.ndarray, probabilities: np.ndarray, threshold: float) -> Operation:
    """Sensitivity and specificity of one label (N,) at a threshold; NaN where nobody has, or everybody."""
    yes, no = targets == 1, targets == 0
    return Operation(
        threshold=threshold,
        sensitivity=float((probabilities[yes] >= threshold).mean()) if yes.any() else float("nan"),
        specificity=float((probabilities[no] < threshold).mean()) if no.any() else float("nan"),
        present=int(yes.sum()),
        absent=int(no.sum()),
    )
