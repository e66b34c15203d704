"""Figures of one system, each for a thousand resamples of patients at once. N answers, L labels, K resamples.

An answer is a case in one seed; its stratum is the seed and fold whose model gave it. Ranks are compared within a
stratum only, since two models need not share a scale. Every measure is (K, N) weights -> (K,), NaN where it cannot be
computed, and row 0 of the weights is the sample itself. Targets are 1, 0 or NaN, and only stated ones count.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medmm.judge.metrics import Ranking, classes_of

Measure = Callable[[np.ndarray], np.ndarray]

_BINS = 10
_LEAST = 1e-7
"""A probability of 0 counts as this, or one mistake would cost infinitely much."""


def auroc(targets: np.ndarray, scores: np.ndarray, strata: np.ndarray) -> Measure:
    """AUROC of one label (N,): the share of its pairs, each within a stratum, that are ranked right."""
    return Ranking(targets, scores, strata).auroc


def average_precision(targets: np.ndarray, scores: np.ndarray, strata: np.ndarray) -> Measure:
    """Area under the precision-recall curve of one label (N,), as scikit-learn has it; mean of strata by positives."""
    stated = np.isfinite(targets)
    groups = [np.flatnonzero((strata == stratum) & stated) for stratum in np.unique(strata)]
    parts = [(rows, _average_precision(targets[rows], scores[rows])) for rows in groups if len(rows)]

    def value(weights: np.ndarray) -> np.ndarray:
        total, mass = np.zeros(len(weights)), np.zeros(len(weights))
        for rows, part in parts:
            drawn = weights[:, rows].astype(np.float64)
            yes, no = drawn @ (targets[rows] == 1), drawn @ (targets[rows] == 0)
            counts = np.where(no > 0, yes, 0)
            total += counts * part(drawn)
            mass += counts
        return np.where(mass > 0, total / np.maximum(mass, 1e-12), np.nan)

    return value


def _average_precision(targets: np.ndarray, scores: np.ndarray) -> Measure:
    """Of one stratum in which all answers are stated; 0 where nothing is present."""
    order = np.argsort(-scores, kind="stable")
    ranked, positive = scores[order], targets[order] == 1
    ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])

    def value(weights: np.ndarray) -> np.ndarray:
        drawn = weights[:, order].astype(np.float64)
        found = np.cumsum(drawn * positive, axis=1)[:, ends]
        flagged = np.cumsum(drawn, axis=1)[:, ends]
        precision = found / np.maximum(flagged, 1e-12)
        gained = np.diff(found, axis=1, prepend=0)
        return np.asarray((gained * precision).sum(axis=1) / np.maximum(found[:, -1], 1e-12))

    return value


def macro(measure: Callable[..., Measure], targets: np.ndarray, scores: np.ndarray, strata: np.ndarray) -> Measure:
    """Mean over the labels that have both answers; NaN in a resample that lost one of them."""
    judged = [i for i in range(targets.shape[1]) if {0.0, 1.0} <= set(targets[:, i])]
    parts = [measure(targets[:, i], scores[:, i], strata) for i in judged]
    return lambda weights: (
        np.mean([part(weights) for part in parts], axis=0) if parts else np.full(len(weights), np.nan)
    )


def balanced_accuracy(
    targets: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, multi_class: bool
) -> Measure:
    """Mean recall of the classes, the most probable one being said; or of labels, their two answers' mean recall.

    Args:
        targets: (N, L).
        probabilities: (N, L).
        thresholds: (N, L), those of the model that answered; not used for classes.
        multi_class: whether the labels are classes.
    """
    if multi_class:
        truth, said = classes_of(targets), probabilities.argmax(axis=1)
        answers = [(said == truth, truth == c) for c in range(targets.shape[1])]
    else:
        flagged = probabilities >= thresholds
        answers = [(flagged[:, i] == y, targets[:, i] == y) for i in range(targets.shape[1]) for y in (1, 0)]
    parts = [_share(hit, among) for hit, among in answers if among.any()]
    return lambda weights: np.mean([part(weights) for part in parts], axis=0)


def _share(hit: np.ndarray, among: np.ndarray) -> Measure:
    def value(weights: np.ndarray) -> np.ndarray:
        total = weights @ among.astype(np.float64)
        return np.where(total > 0, weights @ (hit & among).astype(np.float64) / np.maximum(total, 1e-12), np.nan)

    return value


def log_loss(targets: np.ndarray, probabilities: np.ndarray, multi_class: bool) -> Measure:
    """Mean negative log-likelihood, natural, of the stated classes or of the stated labels."""
    p = probabilities.clip(_LEAST, 1 - _LEAST)
    if multi_class:
        stated = np.isfinite(targets).all(axis=1)
        losses, counts = -(np.log(p) * np.nan_to_num(targets)).sum(axis=1), stated.astype(np.float64)
    else:
        known = np.isfinite(targets)
        losses = -np.where(targets == 1, np.log(p), np.where(known, np.log1p(-p), 0)).sum(axis=1)
        counts = known.sum(axis=1).astype(np.float64)
    losses = losses * (counts > 0)
    return lambda weights: np.asarray((weights @ losses) / np.maximum(weights @ counts, 1e-12))


def calibration_error(targets: np.ndarray, probabilities: np.ndarray, strata: np.ndarray) -> Measure:
    """Expected calibration error of one label (N,): mean distance of stated and true share in 10 bins of equal count.

    The bins are those of the sample. It is never negative, so its interval lies a little high.
    """
    known = np.flatnonzero(np.isfinite(targets))
    order = known[np.argsort(probabilities[known], kind="stable")]
    gap = np.nan_to_num(targets - probabilities)
    bins = [part for part in np.array_split(order, _BINS) if len(part)]

    def value(weights: np.ndarray) -> np.ndarray:
        gaps = [np.abs(weights[:, part].astype(np.float64) @ gap[part]) for part in bins]
        return np.asarray(np.sum(gaps, axis=0) / np.maximum(weights[:, known].sum(axis=1), 1e-12))

    return value
