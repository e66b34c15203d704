"""Does it pay? Whatever departs from what is simpler must be shown to gain by patients who did not teach it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.stats

_DOUBT = 0.05
"""Chance that what gains nothing is let in."""


def by_patient(gain: np.ndarray, patients: Sequence[str]) -> np.ndarray:
    """The sum of what the cases (N,) of each patient gain, in the order of their ids."""
    _, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    return np.bincount(patient, weights=gain)


def shown(gain: np.ndarray, tries: int = 1) -> bool:
    """Whether what each patient gains shows that patients gain: Student's t, one-sided, 5 %. Two are needed.

    Args:
        gain: one number a patient.
        tries: how many things were tried, of which this is the best; the 5 % are shared out among them (Bonferroni).
    """
    if len(gain) < 2:
        return False
    error = gain.std(ddof=1) / len(gain) ** 0.5
    return bool(gain.mean() > scipy.stats.t.ppf(1 - _DOUBT / tries, len(gain) - 1) * error)
