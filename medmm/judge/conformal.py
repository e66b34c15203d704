"""When not to say: limits that keep a promised error for each answer, and what is won by not speaking.

N cases of one label. Split conformal prediction, class by class (Vovk 2012, "Conditional validity of inductive
conformal predictors"): limits are order statistics of cases that the model did not learn from, and the promise holds
for any model, as far as new cases are like those. With too few cases a limit lies where nothing is ever said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ROUNDING = 1e-5
"""By how much, of itself, a probability may differ when it is computed in another batch: a tie must stay a tie."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often one answer of one label was not contradicted."""

    cases: int
    """Cases with that answer."""
    covered: int
    """Those of them that were not called the opposite."""
    uncertain: int
    """Those of them of which nothing was said."""


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """The calls of one label as more and more cases are spoken of, the surest first. K degrees of being sure."""

    cases: np.ndarray
    """(K,) cases spoken of; those that are equally sure are spoken of together."""
    missed: np.ndarray
    """(K,) cases with the label among them that are put below the threshold."""
    alarms: np.ndarray
    """(K,) cases without it among them that are put at or above it."""

    @property
    def error(self) -> np.ndarray:
        """(K,) share of the calls that is wrong."""
        return np.asarray((self.missed + self.alarms) / self.cases)

    def at(self, share: float) -> int:
        """Index where at least this share of the cases, in (0, 1], is spoken of for the first time."""
        return int(np.searchsorted(self.cases, share * self.cases[-1] - 1e-9))


@dataclass(frozen=True, slots=True)
class Triage:
    """What can be left unread of one label, the least likely cases first, at a rate of missed cases."""

    at_most: float
    """Largest share of the cases with the label that may be among those left unread."""
    below: float
    """Cases with a lower probability are left unread; NaN where no case has the label."""
    cases: int
    """Cases that state the label."""
    present: int
    """Those of them that have it."""
    allowed: int
    """Cases with the label that may be missed: `at_most` of them, rounded down."""
    unread: int
    missed: int
    """Cases with the label among the unread; fewer than `allowed` only where probabilities are tied."""


def limits_of(targets: np.ndarray, probabilities: np.ndarray, error: float) -> tuple[float, float]:
    """`present_from` and `absent_to` of medmm.result.Limits, from probabilities (N,) of held-out cases.

    Args:
        targets: (N,) 1, 0 or NaN.
        probabilities: (N,).
        error: promised for each answer, in (0, 1).
    """
    present, absent = (np.sort(probabilities[targets == answer]) for answer in (1, 0))
    misses, alarms = (int(error * (len(answer) + 1) + 1e-9) for answer in (present, absent))
    return (
        float(present[misses - 1]) * (1 - _ROUNDING) if misses else 0.0,
        1 - (1 - float(absent[len(absent) - alarms])) * (1 - _ROUNDING) if alarms else 1.0,
    )


def calls(probabilities: np.ndarray, thresholds: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """What is said of each case (N,): 1 flagged, 0 not flagged, NaN uncertain; as medmm.result.Finding.call.

    Args:
        probabilities: (N,).
        thresholds: (N,), or one for all.
        limits: (N, 2) or (2,): present_from and absent_to.
    """
    flagged = probabilities >= thresholds
    sure = np.where(flagged, probabilities > limits[..., 1], probabilities < limits[..., 0])
    return np.where(sure, flagged, np.nan)


def coverage(targets: np.ndarray, said: np.ndarray, answer: int) -> Coverage:
    """How often `answer` (1 present, 0 absent) was not contradicted by what was said (N,), see `calls`."""
    own = said[targets == answer]
    return Coverage(len(own), int((own != 1 - answer).sum()), int(np.isnan(own).sum()))


def risk_coverage(targets: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray) -> RiskCoverage:
    """How often calls are wrong as more and more cases are spoken of; over the stated cases.

    The surest come first: those whose log-odds lie furthest from the threshold's (El-Yaniv and Wiener 2010).
    """
    known = np.isfinite(targets)
    y, p = targets[known] == 1, probabilities[known]
    at = np.broadcast_to(thresholds, probabilities.shape)[known]
    margin = np.round(np.abs(_log_odds(p) - _log_odds(at)) / _ROUNDING)
    order = np.argsort(-margin, kind="stable")
    last = np.flatnonzero(np.diff(margin[order], append=-1.0))  # of those that are equally sure
    missed, alarms = (np.cumsum(wrong[order])[last] for wrong in (y & (p < at), ~y & (p >= at)))
    return RiskCoverage(last + 1, missed, alarms)


def triage(targets: np.ndarray, probabilities: np.ndarray, at_most: float) -> Triage:
    """Leave unread as many cases as can be so that at most a share of those with the label is missed.

    Args:
        targets: (N,) 1, 0 or NaN.
        probabilities: (N,), or anything above 0 that orders the cases.
        at_most: the share, in [0, 1).
    """
    known = np.isfinite(targets)
    y, p = targets[known] == 1, probabilities[known]
    present = np.sort(p[y])
    if not len(present):
        return Triage(at_most, float("nan"), len(p), 0, 0, 0, 0)
    allowed = int(at_most * len(present) + 1e-9)
    below = float(present[allowed])
    unread = p < below * (1 - _ROUNDING)
    return Triage(at_most, below, len(p), len(present), allowed, int(unread.sum()), int((unread & y).sum()))


def missed_of_new(present: int, allowed: int) -> tuple[float, float, float]:
    """Share of new cases with a label that a limit of `triage` misses: its mean, and 95 % of what it may be.

    The limit is an order statistic of `present` cases, so the share has a beta distribution whatever the model (Wilks
    1941); ties make it smaller. New cases are taken to be like those, and cases to be independent.
    """
    from scipy.stats import beta

    low, high = beta.ppf([0.025, 0.975], allowed + 1, present - allowed)
    return (allowed + 1) / (present + 1), float(low), float(high)


def _log_odds(p: np.ndarray) -> np.ndarray:
    kept = np.clip(p, 1e-12, 1 - 1e-12)
    return np.asarray(np.log(kept / (1 - kept)))
