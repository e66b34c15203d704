"""The model promises an error for each answer and keeps it; where it cannot, it does not speak."""

import numpy as np
import pytest

from medmm.judge.conformal import calls, coverage, limits_of, missed_of_new, risk_coverage, triage
from medmm.result import Finding, Limits


def cases(count: int, seed: int, prevalence: float = 0.3, apart: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Answers of one label, and probabilities of a model that is sometimes wrong."""
    rng = np.random.default_rng(seed)
    targets = (rng.random(count) < prevalence).astype(float)
    return targets, 1 / (1 + np.exp(-(apart * (targets - 0.5) + rng.standard_normal(count))))


@pytest.mark.parametrize("error", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("prevalence", [0.5, 0.1])
def test_either_answer_is_called_the_opposite_no_more_often_than_promised(error: float, prevalence: float) -> None:
    wrong: dict[int, list[float]] = {1: [], 0: []}
    for seed in range(60):
        limits = np.array(limits_of(*cases(200, seed, prevalence), error))
        targets, p = cases(2000, 1000 + seed, prevalence)
        said = calls(p, np.array(0.5), limits)
        for answer, found in wrong.items():
            one = coverage(targets, said, answer)
            found.append(1 - one.covered / one.cases)
    assert all(np.mean(found) <= error + 0.01 for found in wrong.values())


def test_a_model_that_knows_nothing_does_not_speak() -> None:
    targets, p = cases(400, 0, apart=0.0)
    limits = np.array(limits_of(targets, p, 0.1))
    assert np.isnan(calls(*cases(400, 1, apart=0.0)[1:], np.array(0.5), limits)).mean() > 0.75


def test_with_too_few_cases_of_an_answer_nobody_is_called_the_opposite() -> None:
    targets, p = np.array([1.0] * 5 + [0.0] * 100), np.linspace(1, 0, 105)
    low, high = limits_of(targets, p, 0.1)
    assert low == 0
    assert high < 1
    assert set(calls(p[-50:], np.array(0.5), np.array([low, high])).tolist()) != {0.0}


def test_a_model_that_says_the_same_of_everybody_calls_nobody_the_opposite() -> None:
    targets = np.array([1.0, 0.0] * 100)
    limits = np.array(limits_of(targets, np.full(200, 0.3), 0.1))
    rounded = np.full(200, np.float64(0.3)) + np.linspace(-1e-7, 1e-7, 200)
    assert np.isnan(calls(rounded, np.array(0.5), limits)).all()
    assert np.isnan(calls(rounded, np.array(0.1), limits)).all()


def test_limits_are_those_that_mapie_finds() -> None:
    from mapie.conformity_scores import LACConformityScore

    targets, p = cases(300, 3)
    low, high = limits_of(targets, p, 0.1)
    for answer, limit in ((1, low), (0, 1 - high)):
        own = (p if answer else 1 - p)[targets == answer]
        y = np.full(len(own), answer)
        scores = LACConformityScore().get_conformity_scores(y, np.stack([1 - p, p], axis=1)[targets == answer], y)
        count = len(own)
        quantile = np.sort(np.asarray(scores).ravel())[int(np.ceil((count + 1) * 0.9)) - 1]
        assert limit == pytest.approx(1 - quantile, rel=1e-4)


@pytest.mark.parametrize(
    ("probability", "call"), [(0.9, "flagged"), (0.55, "uncertain"), (0.45, "uncertain"), (0.1, "not flagged")]
)
def test_a_finding_says_the_same_as_the_table(probability: float, call: str) -> None:
    finding = Finding("a", probability, 0.5, 0.0, limits=Limits(0.4, 0.6, 0.1))
    said = calls(np.array([probability]), np.array(0.5), np.array([0.4, 0.6]))[0]
    assert finding.call == call
    assert {"flagged": said == 1, "not flagged": said == 0, "uncertain": np.isnan(said)}[call]


def test_a_finding_without_limits_is_called_by_its_threshold() -> None:
    assert Finding("a", 0.5, 0.5, 0.0).call == "flagged"
    assert Finding("a", 0.49, 0.5, 0.0).call == "not flagged"


def test_speaking_of_fewer_cases_is_wrong_less_often() -> None:
    curve = risk_coverage(*cases(4000, 5, 0.5), np.array(0.5))
    at = [curve.error[curve.at(share)] for share in (0.25, 0.5, 0.75, 1.0)]
    assert at == sorted(at)
    assert at[0] < 0.3 * at[-1]


def test_the_surest_are_spoken_of_first_and_wrong_calls_are_told_apart() -> None:
    targets = np.array([1.0, 0.0, 1.0, np.nan, 0.0])
    curve = risk_coverage(targets, np.array([0.99, 0.9, 0.2, 0.999, 0.45]), np.array(0.5))

    assert curve.cases.tolist() == [1, 2, 3, 4]
    assert curve.missed.tolist() == [0, 0, 1, 1]
    assert curve.alarms.tolist() == [0, 1, 1, 1]
    assert curve.error.tolist() == pytest.approx([0, 1 / 2, 2 / 3, 1 / 2])
    assert [curve.at(share) for share in (0.25, 0.26, 1.0)] == [0, 1, 3]


def test_cases_that_are_equally_sure_are_spoken_of_together_whatever_their_order() -> None:
    targets = np.array([1.0] * 30 + [0.0] * 70)
    rounded = 0.3 + np.linspace(-1e-8, 1e-8, 100)

    curve = risk_coverage(targets, rounded, np.array(0.5))

    assert curve.cases.tolist() == [100]
    assert curve.error.tolist() == [0.3]


def test_triage_leaves_unread_what_it_says_and_misses_no_more() -> None:
    targets, p = cases(1000, 6)
    one = triage(targets, p, 0.02)
    unread = np.argsort(p)[: one.unread]
    assert targets[unread].sum() == one.missed <= 0.02 * targets.sum()
    assert targets[np.argsort(p)[one.unread]] == 1  # one case more, and one more is missed
    assert p[unread].max() < one.below
    assert (one.cases, one.present) == (1000, targets.sum())
    assert one.unread > 100
    assert triage(targets, p, 0.0).unread < one.unread
    assert triage(targets, p, 0.0).missed == 0


def test_triage_of_a_model_that_says_the_same_of_everybody_leaves_nothing_unread() -> None:
    rounded = 0.3 + np.linspace(-1e-8, 1e-8, 200)

    assert triage(np.array([0.0] * 100 + [1.0] * 100), rounded, 0.05).unread == 0


def test_triage_without_a_case_that_has_the_label_leaves_nothing_unread() -> None:
    one = triage(np.array([0.0, 0.0, np.nan]), np.array([0.1, 0.2, 0.3]), 0.05)

    assert (one.cases, one.present, one.unread) == (2, 0, 0)
    assert np.isnan(one.below)


def test_a_limit_of_triage_misses_as_many_new_cases_as_is_said() -> None:
    missed = []
    for seed in range(400):
        one = triage(*cases(200, seed), 0.05)
        targets, p = cases(2000, 10_000 + seed)
        mean, low, high = missed_of_new(one.present, one.allowed)
        found = (p[targets == 1] < one.below).mean()
        missed.append((found - mean, low <= found <= high))
    off, inside = np.mean(missed, axis=0)
    assert abs(off) < 0.005
    assert inside == pytest.approx(0.95, abs=0.03)


def test_that_nobody_of_few_was_missed_says_little() -> None:
    assert missed_of_new(9, 0)[0] == pytest.approx(0.1)
    assert missed_of_new(9, 0)[2] == pytest.approx(1 - 0.025 ** (1 / 9))  # 0.34
