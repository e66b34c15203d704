"""What was compared, and what else the report of a training run is made of. N cases, L labels, M modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    strata: np.ndarray | None = None
    """(N,) which model judged each case, where several did; probabilities of two models are not on one scale."""
    thresholds: np.ndarray | None = None
    """(N, L) at which the model that judged a case flags it; None if all cases share those of the report."""

    inside: dict[str, np.ndarray] = field(default_factory=dict)
    """Side -> (N, L) probabilities of the textbook's concatenation that is shown this side only; see judge.balance."""

    @property
    def reference(self) -> str:
        """The system that the others are compared with: the model that was saved."""
        return next(iter(self.systems))


def pooled(comparisons: Sequence[Comparison]) -> Comparison:
    """Folds, or folds of several seeds, as one comparison; each keeps strata of its own.

    A patient may be in several of them: a bootstrap that draws patients draws one in all of them at once.

    Raises:
        ValueError: if they do not compare the same systems, or only some of them know their thresholds.
    """
    first, size = comparisons[0], [len(one.case_ids) for one in comparisons]
    if any(tuple(one.systems) != tuple(first.systems) for one in comparisons):
        raise ValueError("only comparisons of the same systems can be pooled")
    if len({one.thresholds is None for one in comparisons}) > 1:
        raise ValueError("either all comparisons state their thresholds, or none")
    strata: list[np.ndarray] = []
    for one, cases in zip(comparisons, size, strict=True):
        own = np.zeros(cases, dtype=np.int64) if one.strata is None else np.unique(one.strata, return_inverse=True)[1]
        strata.append(own + (int(strata[-1].max(initial=-1)) + 1 if strata else 0))
    return Comparison(
        systems={name: np.concatenate([one.systems[name] for one in comparisons]) for name in first.systems},
        targets=np.concatenate([one.targets for one in comparisons]),
        case_ids=tuple(case_id for one in comparisons for case_id in one.case_ids),
        patients=tuple(patient for one in comparisons for patient in one.patients),
        present=np.concatenate([one.present for one in comparisons]),
        strata=np.concatenate(strata),
        inside={side: np.concatenate([one.inside[side] for one in comparisons]) for side in first.inside},
        thresholds=None
        if first.thresholds is None
        else np.concatenate([one.thresholds for one in comparisons if one.thresholds is not None]),
    )


@dataclass(frozen=True, slots=True)
class Need:
    """A label of which the model has found that it needs two things together, and who tells of each."""

    label: str
    present: tuple[str, ...]
    """The modalities of the cases that are answered so."""
    first: tuple[str, ...]
    """Those that tell of the first thing."""
    second: tuple[str, ...]
    chances: tuple[float, float, float, float]
    """Of the label with neither, the first alone, the second alone, both; before calibration."""


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
    needs: tuple[Need, ...]
    """Where a conjunction stands in place of the late ensemble."""
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
    folds: int | None = None
    """K-fold: how many models judged the test cases, each those patients that it never saw; the model that was saved
    learnt by the same recipe from all patients. None for one hold-out, which the saved model itself was judged on."""
    external: bool = False
    """Whether the test cases come from another cohort than the one that the model learnt from."""

    def __post_init__(self) -> None:
        shape = self.comparison.targets.shape
        if len(shape) != 2 or shape[1] != len(self.labels):
            raise ValueError(f"targets must be (cases, {len(self.labels)} labels), not {shape}")
        if tuple(score.system for score in self.scores) != tuple(self.comparison.systems):
            raise ValueError("there must be one score for each system, in the same order")
        if set(self.thresholds) != set(self.labels):
            raise ValueError("there must be one threshold for each label")
