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


@dataclass(frozen=True, slots=True)
class Triage:
    """What can be left unread, the least likely cases first, at a rate of missed cases."""

    missed: float
    """Largest share of the cases with the label that may be among those left unread."""
    unread: float
    """Share of all cases that is left unread."""


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


def risk_coverage(targets: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share spoken of and share of them that is wrong, as more and more cases are spoken of: (K, 2).

    The surest come first: those whose log-odds lie furthest from the threshold's (El-Yaniv and Wiener 2010).
    """
    known = np.isfinite(targets)
    y, p = targets[known], probabilities[known]
    at = np.broadcast_to(thresholds, probabilities.shape)[known]
    margin = np.abs(_log_odds(p) - _log_odds(at))
    order = np.argsort(-margin, kind="stable")
    wrong = ((p >= at) != (y == 1))[order]
    spoken = np.arange(1, len(order) + 1)
    return np.stack([spoken / max(len(order), 1), np.cumsum(wrong) / spoken], axis=1)


def triage(targets: np.ndarray, probabilities: np.ndarray, missed: float) -> Triage:
    """The largest share that can be left unread so that at most `missed` of the cases with the label are among it."""
    known = np.isfinite(targets)
    y, p = targets[known] == 1, probabilities[known]
    allowed = int(missed * y.sum() + 1e-9)
    present = np.sort(p[y])
    below = p < present[allowed] if allowed < len(present) else np.ones(len(p), dtype=bool)
    return Triage(missed, float(below.mean()) if len(p) else float("nan"))


def _log_odds(p: np.ndarray) -> np.ndarray:
    kept = np.clip(p, 1e-12, 1 - 1e-12)
    return np.asarray(np.log(kept / (1 - kept)))
