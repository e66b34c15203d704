"""What pooling folds and seeds promises: every case by its own model, and a patient drawn in all of them at once."""

from __future__ import annotations

import numpy as np
import pytest

from medmm.judge.comparison import Comparison, pooled
from medmm.judge.metrics import auroc, score_systems


def judged(seed: int, patients: int = 40, *, lift: float = 0.0, system: str = "fused") -> Comparison:
    """What a model says of `patients` with two cases each; `lift` is added to all it says."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((2 * patients, 1)) < 0.4).astype(float)
    said = {system: lift + targets + rng.normal(size=targets.shape)}
    ids = tuple(f"c{seed}-{i}" for i in range(len(targets)))
    people = tuple(f"p{i // 2}" for i in range(len(targets)))
    return Comparison(said, targets, ids, people, np.ones((len(targets), 3), dtype=bool))


def test_folds_are_judged_as_well_as_they_are_one_by_one_however_far_apart_their_scales() -> None:
    folds = [judged(0), judged(1, lift=50.0)]

    whole = pooled(folds)

    pairs = [float((fold.targets == 1).sum() * (fold.targets == 0).sum()) for fold in folds]
    each = [auroc(fold.targets[:, 0], fold.systems["fused"][:, 0]) for fold in folds]
    found = auroc(whole.targets[:, 0], whole.systems["fused"][:, 0], whole.strata)
    assert found == pytest.approx(np.average(each, weights=pairs))


def test_seeds_of_folds_keep_their_folds_apart() -> None:
    seeds = [pooled([judged(0), judged(1)]), pooled([judged(2), judged(3), judged(4)])]

    strata = pooled(seeds).strata

    assert strata is not None
    np.testing.assert_array_equal(strata, np.repeat(np.arange(5), 80))


def test_several_seeds_are_no_more_patients() -> None:
    """The same answers twice: the estimate and its interval are those of one seed."""
    one = judged(0)

    def macro(comparison: Comparison) -> tuple[float, float, float]:
        systems, people = comparison.systems, comparison.patients
        (score,) = score_systems(
            systems, comparison.targets, people, ["x"], reference="fused", resamples=200, strata=comparison.strata
        )
        return score.macro.value, score.macro.low, score.macro.high

    assert macro(pooled([one, one])) == pytest.approx(macro(one))


def test_only_the_same_systems_can_be_pooled() -> None:
    with pytest.raises(ValueError, match="same systems"):
        pooled([judged(0), judged(1, system="other")])
