"""Tests of a difference between two models on the same cases, and what a decision at a threshold is worth. N cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True, slots=True)
class DeLong:
    """Two AUROCs of one label on the same cases, compared."""

    first: float
    second: float
    difference: float
    """`first` less `second`."""
    error: float
    """Standard error of the difference."""
    p_value: float
    """Two-sided, of no difference; NaN without two cases of each answer; 1 if both rank alike."""


@dataclass(frozen=True, slots=True)
class McNemar:
    """Two models' calls of one label on the same cases, compared where one is right and the other wrong."""

    only_first: int
    """Cases in which only the first is right."""
    only_second: int
    p_value: float
    """Two-sided and exact, of both being right as often; 1 if they never differ."""


@dataclass(frozen=True, slots=True, eq=False)
class DecisionCurve:
    """Net benefit of acting on a label at each threshold probability, per case; doing nothing is worth 0."""

    thresholds: np.ndarray
    """(K,) probabilities at which a miss and the false alarms that avoid it weigh the same."""
    model: np.ndarray
    """(K,) of acting on the cases at or above the threshold."""
    treat_all: np.ndarray
    """(K,) of acting on every case."""


def delong(targets: np.ndarray, first: np.ndarray, second: np.ndarray) -> DeLong:
    """Compare two correlated AUROCs (DeLong 1988), by midranks (Sun and Xu 2014).

    It takes cases for independent; where patients have several, the bootstrap by patient is to be believed.

    Args:
        targets: (N,) 1, 0 or NaN.
        first: (N,) scores, higher is more likely.
        second: (N,) scores of the other model.
    """
    present, absent = targets == 1, targets == 0
    m, n = int(present.sum()), int(absent.sum())
    if min(m, n) < 2:
        nan = float("nan")
        return DeLong(nan, nan, nan, nan, nan)
    scores = np.stack([first, second])
    yes, no = scores[:, present], scores[:, absent]
    together = stats.rankdata(np.concatenate([yes, no], axis=1), axis=1)
    beats = (together[:, :m] - stats.rankdata(yes, axis=1)) / n  # (2, m) share of the absent that each present beats
    beaten = 1 - (together[:, m:] - stats.rankdata(no, axis=1)) / m  # (2, n) share of the present that beat each absent
    areas = beats.mean(axis=1)
    covariance = np.cov(beats) / m + np.cov(beaten) / n
    difference = float(areas[0] - areas[1])
    error = float(np.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0)))
    same = error < 1e-12
    p_value = float(abs(difference) < 1e-12) if same else float(2 * stats.norm.sf(abs(difference) / error))
    return DeLong(float(areas[0]), float(areas[1]), difference, error, p_value)


def mcnemar(targets: np.ndarray, first: np.ndarray, second: np.ndarray) -> McNemar:
    """Exact test (McNemar 1947) of two models' calls of one label; only stated cases count.

    Args:
        targets: (N,) 1, 0 or NaN.
        first: (N,) bool, flagged by the first model.
        second: (N,) bool, flagged by the second.
    """
    known = np.isfinite(targets)
    right, also = first[known] == (targets[known] == 1), second[known] == (targets[known] == 1)
    only_first, only_second = int((right & ~also).sum()), int((also & ~right).sum())
    differ = only_first + only_second
    p_value = float(stats.binomtest(only_first, differ).pvalue) if differ else 1.0
    return McNemar(only_first, only_second, p_value)


def decision_curve(targets: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray) -> DecisionCurve:
    """Net benefit (Vickers and Elkin 2006): true positives less false ones at the odds of the threshold, per case.

    Args:
        targets: (N,) 1, 0 or NaN.
        probabilities: (N,).
        thresholds: (K,) in (0, 1).
    """
    known = np.isfinite(targets)
    y, p = targets[known] == 1, probabilities[known]
    if not len(y):
        nothing = np.full(len(thresholds), np.nan)
        return DecisionCurve(thresholds, nothing, nothing)
    odds = thresholds / (1 - thresholds)
    flagged = p[None, :] >= thresholds[:, None]  # (K, N)
    model = (flagged & y).mean(axis=1) - odds * (flagged & ~y).mean(axis=1)
    return DecisionCurve(thresholds, model, y.mean() - odds * (~y).mean())
