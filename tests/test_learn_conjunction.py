"""Where a label needs two things and each side shows one, the model knows it; where sides only add up, it stays out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from medmm.learn.conjunction import choose_joint, fit_joint
from medmm.learn.fit import Examples
from medmm.learn.fuse import fit_conjunction, fit_stack
from medmm.learn.pays import by_patient, shown
from medmm.model.fusion import PATTERNS, Corrected, Fusion, modalities_of
from tests.cohorts import planted_cases
from tests.models import LABELS, WIDTHS, fusion

IMAGE, NOTE, ALL = 1, 2, 7
BOTH = (0.01, 0.03, 0.03, 0.95)
"""Chance of a label that needs both of two things: with neither, the first, the second, both."""


def told(count: int, table: tuple[float, ...] = BOTH, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """What three sides say (N, 3) and the answers (N,): the film shows one thing, note and record the other."""
    rng = np.random.default_rng(seed)
    finding, history = rng.random((2, count)) < 0.35
    shown_by = np.stack([finding, history, history], axis=1)
    sources = np.where(shown_by, 1.5, -1.5) + rng.normal(size=(count, 3)) * [1.0, 1.2, 1.6]
    return sources, (rng.random(count) < np.array(table)[finding + 2 * history]).astype(np.float64)


def patients(count: int) -> list[str]:
    return [f"p{n}" for n in range(count)]


def chosen(sources: np.ndarray, answers: np.ndarray) -> object:
    return choose_joint(sources, answers, np.arange(len(answers)) % 5, patients(len(answers)))


def test_what_needs_a_finding_and_a_history_ranks_better_than_any_sum_of_what_sides_say() -> None:
    sources, answers = told(3000)
    asked, truth = told(3000, seed=1)

    joint = choose_joint(sources, answers, np.arange(3000) % 5, patients(3000))

    assert joint is not None
    assert set(map(tuple, joint.parties.tolist())) == {(1, 0, 0), (0, 1, 1)}  # the film, and what speaks of histories
    sums = max(roc_auc_score(truth, asked @ [a, b, 1]) for a in np.linspace(0, 4, 9) for b in np.linspace(0, 4, 9))
    assert roc_auc_score(truth, joint.say(asked)) > sums + 0.005


def test_sides_that_only_add_up_are_left_to_the_stack() -> None:
    sources, _ = told(2000)
    answers = np.random.default_rng(2).random(2000) < expit(sources.sum(axis=1) - 2)

    assert chosen(sources, answers.astype(float)) is None


def test_a_side_that_never_can_be_sure_is_not_taken_for_two_parties() -> None:
    rng = np.random.default_rng(3)
    sources, _ = told(2000)
    answers = rng.random(2000) < 0.02 + 0.6 * expit(3 * sources[:, 0])  # the film decides, between two bounds

    assert chosen(sources, answers.astype(float)) is None


def test_few_patients_do_not_show_that_two_things_are_needed() -> None:
    sources, answers = told(12)
    assert 0 < answers.sum() < 12

    assert chosen(sources, answers) is None


def test_many_cases_of_one_patient_show_nothing() -> None:
    sources, answers = told(1500)
    folds = np.arange(1500) % 2

    assert choose_joint(sources, answers, folds, patients(1500)) is not None
    assert choose_joint(sources, answers, folds, ["one"] * 1500) is None


def test_answers_that_are_not_stated_change_nothing() -> None:
    sources, answers = told(1500)
    gaps = np.where(np.arange(1500) % 3 == 0, np.nan, answers)
    kept = np.isfinite(gaps)
    folds, who = np.arange(1500) % 5, np.array(patients(1500))

    some = choose_joint(sources, gaps, folds, list(who))
    only = choose_joint(sources[kept], answers[kept], folds[kept], list(who[kept]))

    assert some is not None
    assert only is not None
    np.testing.assert_array_equal(some.say(sources), only.say(sources))


@pytest.mark.parametrize("answers", [np.ones(50), np.full(50, np.nan)], ids=["always", "never stated"])
def test_a_label_with_one_answer_needs_nothing(answers: np.ndarray) -> None:
    assert chosen(told(50)[0], answers) is None


def test_more_evidence_of_a_side_for_what_needs_both_never_speaks_against_it() -> None:
    sources, answers = told(1500)
    joint = fit_joint(sources, answers, (True, False, False))

    assert (joint.weight >= 0).all()
    for side in range(3):
        rising = np.zeros((50, 3))
        rising[:, side] = np.linspace(-4, 4, 50)
        assert (np.diff(joint.say(rising)) >= 0).all()


def examples(sources: np.ndarray, answers: np.ndarray) -> Examples:
    """Cases with what their sides say of each label."""
    cases = planted_cases(len(answers), missing=0.2)
    heard = torch.from_numpy(sources)[..., None].expand(-1, -1, len(LABELS)).float() * cases.present[..., None]
    targets = torch.from_numpy(answers)[:, None].repeat(1, len(LABELS)).float()
    return replace(cases, heard=heard, targets=targets)


def body_of(kind: str, *, multi_class: bool = False) -> tuple[Fusion, Corrected]:
    torch.manual_seed(0)
    body = Fusion(WIDTHS, len(LABELS), multi_class, fusion(kind))
    assert isinstance(body.rule, Corrected)
    return body, body.rule


@pytest.mark.parametrize("kind", ["gated", "cross_attention"])
def test_a_pattern_of_sides_that_do_not_make_two_parties_keeps_its_stack(kind: str) -> None:
    sources, answers = told(1500)
    cases = examples(sources, answers)
    body, rule = body_of(kind)
    assert cases.heard is not None

    fit_stack(body, cases.heard, cases)
    fit_conjunction(body, cases.heard, cases)

    pays = rule.conjunction.pays.all(dim=1)
    assert pays[[3, 5, ALL]].all()  # those with the film and something else
    assert not rule.conjunction.pays[[0, IMAGE, NOTE, 4, 6]].any()  # note and record speak of the same history


def test_the_network_says_what_was_fitted_and_without_two_sides_what_the_stack_says() -> None:
    sources, answers = told(1500)
    cases = examples(sources, answers)
    body, rule = body_of("cross_attention")
    assert cases.heard is not None
    fit_stack(body, cases.heard, cases)
    fit_conjunction(body, cases.heard, cases)
    whole = cases.present.all(dim=1).numpy()
    joint = choose_joint(sources[whole], answers[whole], np.arange(whole.sum()) % 5, patients(int(whole.sum())))
    assert joint is not None

    said = torch.from_numpy(sources).float()[..., None].expand(-1, -1, len(LABELS))
    for pattern in range(PATTERNS):
        shown_sides = said * modalities_of(pattern)[None, :, None]
        each = torch.full((len(said),), pattern)
        if pattern == ALL:
            np.testing.assert_allclose(
                rule.joined(shown_sides, each)[:, 0].numpy(), logit(joint.say(sources)), atol=1e-3
            )
        elif int(modalities_of(pattern).sum()) < 2:
            assert torch.equal(rule.joined(shown_sides, each), rule.stacked(shown_sides, each))


def test_classes_that_exclude_each_other_keep_their_stack() -> None:
    cases = examples(*told(300))
    body, rule = body_of("cross_attention", multi_class=True)
    assert cases.heard is not None

    fit_conjunction(body, cases.heard, cases)

    assert not rule.conjunction.pays.any()


def test_a_gain_is_shown_by_patients_and_not_by_one_of_them() -> None:
    steady, lucky = np.full(20, 0.1) + 0.01 * np.arange(20), np.eye(20)[0]

    assert shown(by_patient(steady, patients(20)))
    assert not shown(by_patient(lucky, patients(20)))
    assert not shown(by_patient(steady, ["the same"] * 20))
    assert not shown(np.zeros(0))


def test_the_best_of_many_tries_must_gain_more() -> None:
    gain = 0.2 + np.tile([-1.0, 1.0], 50)

    assert shown(gain)
    assert not shown(gain, tries=60)
