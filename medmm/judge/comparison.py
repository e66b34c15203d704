"""What was compared, and what else the report of a training run is made of. N cases, L labels, M modalities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from medmm.case import MODALITIES
from medmm.judge.metrics import Score


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What the trained systems say of the test cases, side by side."""

    systems: dict[str, np.ndarray]
    """Name of the system -> (N, L) probabilities. The first is the model that was saved."""
    targets: np.ndarray
    """(N, L), NaN where not stated."""
    case_ids: tuple[str, ...]
    patients: tuple[str, ...]
    present: np.ndarray
    """(N, M) bool."""

    @property
    def reference(self) -> str:
        """The system that the others are compared with: the model that was saved."""
        return next(iter(self.systems))


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """One training run, as its report tells it. It holds no name of a patient that is ever written."""

    comparison: Comparison
    scores: tuple[Score, ...]
    """From `score_systems`, one a system, the reference being the model that was saved."""
    labels: tuple[str, ...]
    multi_class: bool
    """True if exactly one label holds for a case."""
    thresholds: Mapping[str, float]
    """Label -> probability at which it is flagged; chosen on validation cases."""
    gates: np.ndarray | None
    """(2 ** M, L) share of the interaction that validation paid for; bit m of the row says that modality m is there."""
    refused: Mapping[str, int]
    """Reason code -> cases of the cohort that could not be read."""
    parts: Mapping[str, int]
    """Part of the split -> cases."""
    model_id: str
    version: str
    """Of medmm."""
    seed: int
    """Of the split, of training and of the bootstrap."""
    made_on: date
    resamples: int = 1000
    """Of the bootstrap; `scores` has as many."""
    modalities: tuple[str, ...] = MODALITIES
    """Those that the model uses."""
    ceilings: Mapping[str, float] = field(default_factory=dict)
    """Name -> macro AUROC that no model can expect to pass; known only of made-up cohorts."""

    def __post_init__(self) -> None:
        shape = self.comparison.targets.shape
        if len(shape) != 2 or shape[1] != len(self.labels):
            raise ValueError(f"targets must be (cases, {len(self.labels)} labels), not {shape}")
        if tuple(score.system for score in self.scores) != tuple(self.comparison.systems):
            raise ValueError("there must be one score for each system, in the same order")
        if set(self.thresholds) != set(self.labels):
            raise ValueError("there must be one threshold for each label")
