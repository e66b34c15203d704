"""Discrimination at all thresholds and at one, with intervals by patient. N cases, L labels, K resamples.

Targets are 1, 0 or NaN (not stated), and only stated ones count. An interval is a percentile bootstrap over patients
(Efron 1979), so cases of one patient are drawn together. scikit-learn computes what needs no interval; the weighted
AUROC is our own because it is computed for a thousand resamples at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_BLOCK = 64
"""Resamples that are weighed at once: bounds memory, and keeps a block in the processor's cache."""
_MOST_LOST = 0.1
"""No interval for a label that loses one of its answers in more of the resamples: fewer than 3 patients have it."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; each is NaN where it cannot be computed."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "n/a"
        return f"{self.value:.3f} ({'no interval' if np.isnan(self.low) else f'{self.low:.3f} to {self.high:.3f}'})"


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
    """AUROC of one label for any weights of the cases: the Mann-Whitney statistic, ties counted half.

    With strata only cases of one stratum are compared: wins and pairs are summed over the strata before they are
    divided, so each stratum counts by its pairs.
    """

    def __init__(self, targets: np.ndarray, scores: np.ndarray, strata: np.ndarray | None = None) -> None:
        """Targets (N,) 1, 0 or NaN; scores (N,); strata (N,), one for all if None."""
        known = np.flatnonzero(np.isfinite(targets))
        stratum = np.zeros(len(targets), dtype=np.int64) if strata is None else strata
        self.order = known[np.lexsort((scores[known], stratum[known]))]  # by stratum, then from the lowest score up
        self.positive = (targets[self.order] == 1)[:, None]
        of = stratum[self.order]
        self.tie_starts = _starts(scores[self.order], of)
        self.stratum_starts = _starts(of[self.tie_starts])

    def auroc(self, weights: np.ndarray) -> np.ndarray:
        """Weights (K, N) -> (K,); NaN where no stratum has weight on both answers."""
        if not len(self.order):
            return np.full(len(weights), np.nan)
        blocks = (weights[first : first + _BLOCK] for first in range(0, len(weights), _BLOCK))
        return np.concatenate([self._auroc(block) for block in blocks])

    def _auroc(self, weights: np.ndarray) -> np.ndarray:
        drawn = weights[:, self.order].T.astype(np.float64)  # (stated cases, K)
        up = np.add.reduceat(drawn * self.positive, self.tie_starts, axis=0)  # (different scores, K)
        down = np.add.reduceat(drawn * ~self.positive, self.tie_starts, axis=0)
        ups, downs = (np.add.reduceat(each, self.stratum_starts, axis=0) for each in (up, down))  # (strata, K)
        elsewhere = np.cumsum(downs, axis=0) - downs
        won = (up * (np.cumsum(down, axis=0) - 0.5 * down)).sum(axis=0) - (ups * elsewhere).sum(axis=0)
        pairs = (ups * downs).sum(axis=0)
        return np.where(pairs > 0, won / np.maximum(pairs, 1e-12), np.nan)


def _starts(*keys: np.ndarray) -> np.ndarray:
    """Where a run of equal keys begins."""
    changed = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.flatnonzero(np.r_[len(keys[0]) > 0, changed])


def auroc(targets: np.ndarray, scores: np.ndarray, strata: np.ndarray | None = None) -> float:
    """AUROC of one label; NaN unless both answers are there."""
    return float(Ranking(targets, scores, strata).auroc(np.ones((1, len(targets))))[0])


def placements(targets: np.ndarray, scores: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Scores of one label that can be ranked across strata (Pepe and Cai 2004): (N,).

    Each is the share of the absent cases of its own stratum that it beats, ties counted half; NaN without any.
    """
    placed = np.full(len(scores), np.nan)
    for stratum in np.unique(strata):
        rows = strata == stratum
        absent = np.sort(scores[rows & (targets == 0)])
        if len(absent):
            beaten = [np.searchsorted(absent, scores[rows], side=side) for side in ("left", "right")]
            placed[rows] = np.mean(beaten, axis=0) / len(absent)
    return placed


def average_precision(targets: np.ndarray, probabilities: np.ndarray, strata: np.ndarray | None = None) -> float:
    """Area under the precision-recall curve of one label (N,), not interpolated; NaN unless both answers are there.

    It is the mean over present cases of the precision at their rank; with strata, of that within their own stratum.
    """
    from sklearn.metrics import average_precision_score

    total, present = 0.0, 0
    for rows in [np.ones(len(targets), dtype=bool)] if strata is None else [strata == one for one in np.unique(strata)]:
        y, p = _stated(targets[rows], probabilities[rows])
        if _both(y):
            total += float(average_precision_score(y, p)) * int(y.sum())
            present += int(y.sum())
    return total / present if present else float("nan")


def brier(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean squared distance of one label's probabilities (N,) from its answers; NaN if none is stated."""
    from sklearn.metrics import brier_score_loss

    y, p = _stated(targets, probabilities)
    return float(brier_score_loss(y, p, pos_label=1, labels=[0, 1])) if len(y) else float("nan")


def log_loss(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative log-likelihood, natural, of one label's answers (N,); NaN if none is stated."""
    from sklearn.metrics import log_loss as loss

    y, p = _stated(targets, probabilities)
    return float(loss(y, p, labels=[0, 1])) if len(y) else float("nan")


def resample_patients(patients: Sequence[str], times: int, seed: int) -> np.ndarray:
    """How often each case is drawn when patients are drawn with replacement: (times, N) whole numbers."""
    unique, patient_of = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    rng, count = np.random.default_rng(seed), len(unique)
    draws = np.empty((times, len(patients)), dtype=np.uint16)
    for row in draws:
        row[:] = np.bincount(rng.integers(count, size=count), minlength=count)[patient_of]
    return draws


def with_sample(draws: np.ndarray) -> np.ndarray:
    """Put the sample itself, each case once, before its resamples: (K, N) -> (1 + K, N)."""
    return np.concatenate([np.ones((1, draws.shape[1]), dtype=draws.dtype), draws])


def score_systems(
    systems: Mapping[str, np.ndarray],
    targets: np.ndarray,
    patients: Sequence[str],
    labels: Sequence[str],
    *,
    reference: str,
    resamples: int = 1000,
    seed: int = 0,
    strata: np.ndarray | None = None,
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
        strata: (N,) which model judged each case; only cases that the same model judged are ranked together.

    Raises:
        ValueError: if a score is not a finite number: it could not be ranked.
    """
    if not all(np.isfinite(scores).all() for scores in systems.values()):
        raise ValueError("every score must be a finite number")
    weights = with_sample(resample_patients(patients, resamples, seed))
    values = {
        name: np.stack(
            [Ranking(targets[:, i], scores[:, i], strata).auroc(weights) for i in range(len(labels))], axis=1
        )
        for name, scores in systems.items()
    }  # (1 + resamples, L); row 0 is the sample itself
    macro = {name: _mean(value, values[reference][0]) for name, value in values.items()}
    judged = int(np.isfinite(values[reference][0]).sum())
    return tuple(
        Score(
            system=name,
            macro=estimate(macro[name], judged),
            by_label={label: estimate(values[name][:, i]) for i, label in enumerate(labels)},
            gain=estimate(macro[reference] - macro[name], judged),
        )
        for name in systems
    )


def _mean(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Mean over the labels that can be judged at all; NaN in a resample that lost one of them."""
    judged = np.isfinite(first)
    return np.asarray(values[:, judged].mean(axis=1)) if judged.any() else np.full(len(values), np.nan)


def estimate(values: np.ndarray, labels: int = 1) -> Estimate:
    """The value and its interval; no interval where too many resamples lost what they should show.

    Args:
        values: (1 + K,), NaN where not computable; the first is from the sample itself.
        labels: how many labels or classes each value is a mean of; each may lose its share of the resamples.
    """
    resamples = values[1:][np.isfinite(values[1:])]
    lost = 1 - len(resamples) / max(len(values) - 1, 1)
    if not np.isfinite(values[0]) or not len(resamples) or lost > 1 - (1 - _MOST_LOST) ** labels:
        return Estimate(float(values[0]), float("nan"), float("nan"))
    low, high = np.quantile(resamples, [0.025, 0.975])
    return Estimate(float(values[0]), float(low), float(high))


def youden_threshold(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """The probability at which sensitivity + specificity is highest (Youden 1950); 0.5 without both answers.

    It lies midway between two cases; of several that are as good, it is the lowest.
    """
    y, p = _stated(targets, probabilities)
    if not _both(y):
        return 0.5
    levels = np.unique(p)
    middles = np.concatenate([levels[:1], (levels[1:] + levels[:-1]) / 2])
    yes, no = np.sort(p[y == 1]), np.sort(p[y == 0])
    missed = np.searchsorted(yes, middles, side="left")
    spared = np.searchsorted(no, middles, side="left")
    youden = spared * len(yes) - missed * len(no)  # whole numbers, so that a tie is a tie
    return float(middles[int(np.argmax(youden))])


def sensitivity_threshold(targets: np.ndarray, probabilities: np.ndarray, least: float) -> float:
    """The highest probability at which at least a share `least` of new cases with the label is flagged, in the mean.

    An order statistic of the cases with the label, as in conformal prediction; 0 if they are too few to promise it.
    """
    present = np.sort(probabilities[targets == 1])
    below = int((1 - least) * (len(present) + 1) + 1e-9)
    return float(present[below - 1]) if below else 0.0


@dataclass(frozen=True, slots=True)
class Operation:
    """What the threshold does to the test cases of one label."""

    sensitivity: Estimate
    specificity: Estimate
    present: int
    """Cases in which the label is stated to be present."""
    absent: int


def operate(
    targets: np.ndarray, probabilities: np.ndarray, threshold: float | np.ndarray, draws: np.ndarray | None = None
) -> Operation:
    """Sensitivity and specificity of one label (N,) at a threshold; NaN where nobody has it, or everybody.

    Args:
        targets: (N,).
        probabilities: (N,); a case is flagged at or above the threshold.
        threshold: in [0, 1]; or (N,), each case's own.
        draws: (K, N) from `resample_patients`; without it there is no interval.
    """
    flagged, yes, no = probabilities >= threshold, targets == 1, targets == 0
    return Operation(
        sensitivity=share(flagged, yes, draws),
        specificity=share(~flagged, no, draws),
        present=int(yes.sum()),
        absent=int(no.sum()),
    )


def share(hit: np.ndarray, among: np.ndarray, draws: np.ndarray | None = None) -> Estimate:
    """Share of the cases `among` (N,) bool that are `hit` (N,) bool, with its interval over draws (K, N)."""
    return estimate(_shares(hit, among, with_sample(_draws(draws, len(hit)))))


def weighted_means(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values (N,) and weights (K, N) -> (K,) means; NaN where nothing has weight."""
    total = weights.sum(axis=1, dtype=np.float64)
    return np.where(total > 0, weights @ values / np.maximum(total, 1e-12), np.nan)


def balanced_accuracy(targets: np.ndarray, probabilities: np.ndarray, draws: np.ndarray | None = None) -> Estimate:
    """Multi-class: mean over the classes that occur of the share of their cases in which they are the most probable.

    Args:
        targets: (N, L), one 1 a row; a row of NaN is not stated.
        probabilities: (N, L).
        draws: (K, N) from `resample_patients`; without it there is no interval.
    """
    truth, said = classes_of(targets), probabilities.argmax(axis=1)
    weights = with_sample(_draws(draws, len(truth)))
    recalls = [_shares(said == truth, truth == c, weights) for c in range(targets.shape[1]) if (truth == c).any()]
    return estimate(np.mean(recalls, axis=0) if recalls else np.full(len(weights), np.nan), len(recalls))


def classes_of(targets: np.ndarray) -> np.ndarray:
    """The class of each case: (N, L) with one 1 a row -> (N,) index, -1 where not stated."""
    return np.where((targets == 1).any(axis=1), (targets == 1).argmax(axis=1), -1)


def _shares(hit: np.ndarray, among: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weights (K, N) -> (K,) weighted shares; NaN where none of `among` has weight."""
    total = weights @ among.astype(np.float64)
    return np.where(total > 0, weights @ (hit & among).astype(np.float64) / np.maximum(total, 1e-12), np.nan)


def _draws(draws: np.ndarray | None, cases: int) -> np.ndarray:
    return np.empty((0, cases), dtype=np.uint16) if draws is None else draws


def _stated(targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(targets)
    return targets[known].astype(np.int64), probabilities[known]


def _both(answers: np.ndarray) -> bool:
    return len(np.unique(answers)) == 2
