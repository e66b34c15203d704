"""What the diagnosis of balance promises: it says which side is drowned, and of nothing that it cannot tell."""

from __future__ import annotations

import numpy as np
import pytest

from medmm.judge.balance import SideBalance, balance

PATIENTS = [f"p{i // 2}" for i in range(200)]
EVERYONE = {"image": np.ones(200, dtype=bool), "note": np.ones(200, dtype=bool)}


def answers(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(2, size=(200, 2)).astype(np.float64)


def said(targets: np.ndarray, loudness: float, seed: int) -> np.ndarray:
    """Probabilities that follow the answers as closely as `loudness` says."""
    logits = loudness * (2 * targets - 1) + np.random.default_rng(seed).normal(size=targets.shape)
    return np.asarray(1 / (1 + np.exp(-logits)))


def judged(inside: float, alone: float, cases: int = 200) -> tuple[SideBalance, ...]:
    """An image that is as loud as told, and a note that is the same inside and alone."""
    targets = answers()[:cases]
    note = said(targets, 1, 3)
    return balance(
        {"image": said(targets, inside, 1), "note": note},
        {"image": said(targets, alone, 1), "note": note},
        targets,
        PATIENTS[:cases],
        {side: has[:cases] for side, has in EVERYONE.items()},
        resamples=200,
    )


def test_a_side_that_says_less_inside_than_alone_is_called_drowned() -> None:
    image, note = judged(inside=0.1, alone=1.5)

    assert image.gain.high < 0
    assert "drowns it" in str(image)
    assert str(image).startswith("The image says less inside")
    assert "is not shown to say less" in str(note)


def test_a_side_that_says_more_inside_than_alone_is_called_so() -> None:
    image, _ = judged(inside=1.5, alone=0.1)

    assert "says more inside" in str(image)


def test_the_same_answers_differ_by_exactly_nothing() -> None:
    _, note = judged(inside=1, alone=1)

    assert (note.gain.value, note.gain.low, note.gain.high) == (0, 0, 0)


def test_of_too_few_patients_nothing_is_said() -> None:
    image, _ = judged(inside=0.1, alone=1.5, cases=4)

    assert "too few patients" in str(image)


def test_only_cases_that_have_the_side_are_judged() -> None:
    targets, has = answers(), np.arange(200) < 120
    inside, alone = said(targets, 1, 1), said(targets, 1, 2)
    garbled = np.where(has[:, None], inside, 1 - targets)

    (whole,) = balance({"image": inside}, {"image": alone}, targets, PATIENTS, {"image": has}, resamples=50)
    (same,) = balance({"image": garbled}, {"image": alone}, targets, PATIENTS, {"image": has}, resamples=50)

    assert whole == same
    assert whole.cases == 120


def test_a_side_without_its_twin_is_refused() -> None:
    targets = answers()

    with pytest.raises(ValueError, match="every side needs"):
        balance({"image": targets}, {}, targets, PATIENTS, EVERYONE)
