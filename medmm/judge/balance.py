"""Is a side drowned by another? Each side of the joint model, all else hidden, beside the same side trained alone.

A joint model is dominated by one side where the others' branches rank worse inside it than they would have on their
own (Wang et al. 2020; Peng et al. 2022). N cases, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medmm.judge.metrics import Estimate, score_systems
from medmm.judge.words import BETTER, NOT_SHOWN, TOO_FEW, WORSE, verdict

_SAID = {
    WORSE: "says less inside the joint model than on its own: another side drowns it",
    BETTER: "says more inside the joint model than on its own",
    NOT_SHOWN: "is not shown to say less inside the joint model than on its own",
    TOO_FEW: "has too few patients to tell whether the joint model drowns it",
}


@dataclass(frozen=True, slots=True)
class SideBalance:
    """What being trained together did to one side."""

    side: str
    inside: Estimate
    """Macro AUROC of the joint model when it is shown this side only."""
    alone: Estimate
    """Macro AUROC of the same branch, trained on this side only."""
    gain: Estimate
    """`inside` less `alone`, paired by patient; below 0 where the side is drowned."""
    cases: int
    """Cases that have this side."""

    def __str__(self) -> str:
        return (
            f"The {self.side} {_SAID[verdict(self.gain)]}: AUROC {self.inside.value:.3f} inside, "
            f"{self.alone.value:.3f} alone, difference {self.gain}, {self.cases} cases."
        )


def balance(
    inside: Mapping[str, np.ndarray],
    alone: Mapping[str, np.ndarray],
    targets: np.ndarray,
    patients: Sequence[str],
    present: Mapping[str, np.ndarray],
    *,
    resamples: int = 1000,
    seed: int = 0,
    strata: np.ndarray | None = None,
) -> tuple[SideBalance, ...]:
    """Compare each side's branch inside the joint model with the same branch alone, on the cases that have the side.

    Args:
        inside: side -> (N, L) probabilities of the joint model, every other side hidden.
        alone: side -> (N, L) probabilities of the branch that was trained on this side only; the same sides.
        targets: (N, L), NaN where not stated.
        patients: the patient of each case.
        present: side -> (N,) bool, which cases have it.
        resamples: bootstrap samples of the interval.
        seed: of the bootstrap.
        strata: (N,) which model judged each case, if several did.

    Raises:
        ValueError: if the two do not speak of the same sides.
    """
    if set(inside) != set(alone):
        raise ValueError("every side needs its branch inside the joint model and the one that was trained alone")
    labels = [str(i) for i in range(targets.shape[1])]
    found = []
    for side, answers in inside.items():
        has = np.flatnonzero(present[side])
        within, own = score_systems(
            {"inside": answers[has], "alone": alone[side][has]},
            targets[has],
            [patients[int(i)] for i in has],
            labels,
            reference="inside",
            resamples=resamples,
            seed=seed,
            strata=None if strata is None else strata[has],
        )
        found.append(SideBalance(side, within.macro, own.macro, own.gain, len(has)))
    return tuple(found)
