"""Who is tested when, and what every system of the benchmark looks like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medmm.config import RunConfig, SplitConfig
from medmm.judge.metrics import youden_threshold
from medmm.learn.encode import EncodedRow
from medmm.learn.split import Part, split_fold
from medmm.learn.train import Prepared


@dataclass(frozen=True, slots=True)
class Fold:
    """One division of the patients: every system is tested on the same ones, and learns from the others."""

    seed: int
    number: int
    parts: tuple[Part, ...]
    """The part of each case. Who needs no validation learns from train and validation."""

    @property
    def test(self) -> np.ndarray:
        """(N,) bool."""
        return np.array([part == "test" for part in self.parts])


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What one system says of the test cases of a fold, in the order of the cohort."""

    probabilities: np.ndarray
    """(N, L)."""
    thresholds: np.ndarray
    """(L,) the probability at which a label is flagged, chosen on cases outside the test fold."""
    seconds: float | None = None
    """What it costs by itself; None where that is what the clock says, since nothing is shared with other systems."""


System = Callable[[Prepared, Fold, Path], Said]
"""Learns from the cases outside the test fold and answers for those in it; the folder is its own, for what it keeps."""


class NotRunError(Exception):
    """A system that cannot run here; the reason stands in the table."""


def folds_of(patients: Sequence[str], folds: int, seeds: int) -> list[Fold]:
    """Every fold of every seed, as `medmm train` deals them."""
    config = SplitConfig(folds=folds)
    return [
        Fold(seed, number, tuple(split_fold(patients, config, seed, number)))
        for seed in range(seeds)
        for number in range(folds)
    ]


def targets_of(prepared: Prepared) -> np.ndarray:
    """(N, L) 1, 0 or NaN."""
    return np.array([list(case.row.targets.values()) for case in prepared.cases])


def is_multi_class(prepared: Prepared) -> bool:
    """True if exactly one label holds for a case."""
    return prepared.cohort.config.labels is not None and prepared.cohort.config.labels.multi_class


def has_side(case: EncodedRow, side: str) -> bool:
    """Whether a case has one of MODALITIES."""
    there = {"image": case.case.study is not None, "note": case.case.note is not None}
    return there.get(side, bool(case.case.record))


def sides_of(prepared: Prepared, run: RunConfig) -> list[str]:
    """Those of MODALITIES that the dials name and a case has."""
    return [side for side in run.fusion.modalities if any(has_side(case, side) for case in prepared.cases)]


def thresholds_of(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Youden's threshold of each label: (N, L) and (N, L) -> (L,)."""
    return np.array([youden_threshold(targets[:, i], probabilities[:, i]) for i in range(targets.shape[1])])
