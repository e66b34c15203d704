"""Tests of differences say what their definitions say, and a decision curve what can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from medmm.judge.metrics import Ranking, resample_patients
from medmm.judge.statistics import decision_curve, delong, mcnemar

NAN = float("nan")


def two_models(cases: int = 200, seed: int = 0, ties: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers, and what two models say that partly agree; scores are coarse, so that many are equal."""
    rng = np.random.default_rng(seed)
    targets = (rng.random(cases) < 0.4).astype(float)
    shared = targets + rng.normal(size=cases)
    first, second = shared + rng.normal(size=cases), shared + 0.3 * rng.normal(size=cases)
    digits = 1 if ties else 9
    return targets, np.round(first, digits), np.round(second, digits)


def by_definition(targets: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Difference of AUROC and its variance from every pair of cases (DeLong 1988, equations 3 to 6)."""
    wins = []
    for score in (first, second):
        yes, no = score[targets == 1][:, None], score[targets == 0][None, :]
        wins.append((yes > no) + 0.5 * (yes == no))
    difference = wins[0].mean() - wins[1].mean()
    of_present = wins[0].mean(axis=1) - wins[1].mean(axis=1)
    of_absent = wins[0].mean(axis=0) - wins[1].mean(axis=0)
    variance = of_present.var(ddof=1) / len(of_present) + of_absent.var(ddof=1) / len(of_absent)
    return float(difference), float(variance)


def test_delong_is_its_definition_over_all_pairs_of_cases() -> None:
    targets, first, second = two_models()

    found = delong(targets, first, second)

    difference, variance = by_definition(targets, first, second)
    assert found.first == pytest.approx(roc_auc_score(targets, first))
    assert found.second == pytest.approx(roc_auc_score(targets, second))
    assert found.difference == pytest.approx(difference)
    assert found.error == pytest.approx(variance**0.5)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(difference) / variance**0.5))


def test_delong_of_four_cases_by_hand() -> None:
    """Present 3 and 1 against absent 2 and 0 win 3 of 4 pairs; present 3 and 2 against 1 and 0 win all."""
    targets = np.array([1, 1, 0, 0.0])

    found = delong(targets, np.array([3, 1, 2, 0.0]), np.array([3, 2, 1, 0.0]))

    assert (found.first, found.second, found.difference) == (0.75, 1.0, -0.25)
    assert found.error == pytest.approx((0.125 / 2 + 0.125 / 2) ** 0.5)  # shares 1, 1/2 and 1/2, 1: variance 1/8 each


def test_delong_s_error_is_that_of_a_bootstrap_by_case() -> None:
    targets, first, second = two_models(ties=False)
    draws = resample_patients([f"p{i}" for i in range(len(targets))], 2000, seed=1)

    spread = (Ranking(targets, first).auroc(draws) - Ranking(targets, second).auroc(draws)).std()

    assert delong(targets, first, second).error == pytest.approx(spread, rel=0.1)


def test_what_is_not_stated_counts_in_no_test() -> None:
    targets, first, second = two_models()
    more = [np.append(values, [other] * 5) for values, other in ((targets, NAN), (first, 9.0), (second, -9.0))]

    assert delong(*more) == delong(targets, first, second)
    assert mcnemar(more[0], more[1] > 0.5, more[2] > 0.5) == mcnemar(targets, first > 0.5, second > 0.5)


def test_a_model_does_not_differ_from_itself() -> None:
    targets, first, _ = two_models()

    assert delong(targets, first, first).p_value == 1
    assert mcnemar(targets, first > 0.5, first > 0.5).p_value == 1


def test_one_case_of_an_answer_is_too_few_to_tell() -> None:
    found = delong(np.array([1, 0, 0.0]), np.array([1, 2, 3.0]), np.array([3, 2, 1.0]))

    assert np.isnan([found.difference, found.error, found.p_value]).all()


def test_mcnemar_is_a_fair_coin_over_the_cases_where_one_is_right_and_the_other_wrong() -> None:
    """Eight of such cases for the first model, one for the second: 2 x (1 + 9) / 2^9."""
    targets = np.ones(12)
    first = np.array([True] * 8 + [False] + [True] * 3)
    second = np.array([False] * 8 + [True] + [True] * 3)

    found = mcnemar(targets, first, second)

    assert (found.only_first, found.only_second) == (8, 1)
    assert found.p_value == pytest.approx(20 / 512)


def test_net_benefit_of_ten_cases_by_hand() -> None:
    """At 0.2 six are flagged, three of them rightly: 3/10 - 3/10 x 0.2/0.8. Everybody: 4/10 - 6/10 x 0.25."""
    targets = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0.0])
    said = np.array([0.9, 0.5, 0.2, 0.1, 0.6, 0.3, 0.2, 0.1, 0.05, 0.0])

    found = decision_curve(targets, said, np.array([0.2, 0.5]))

    assert found.model.tolist() == pytest.approx([0.3 - 0.3 * 0.25, 0.2 - 0.1])
    assert found.treat_all.tolist() == pytest.approx([0.4 - 0.6 * 0.25, 0.4 - 0.6])


def test_acting_on_everybody_is_worth_nothing_at_the_prevalence() -> None:
    targets, first, _ = two_models()
    prevalence = targets.mean()

    found = decision_curve(targets, 1 / (1 + np.exp(-first)), np.array([prevalence]))

    assert found.treat_all[0] == pytest.approx(0)


def test_a_label_that_is_never_stated_has_no_curve() -> None:
    assert np.isnan(decision_curve(np.array([NAN]), np.array([0.5]), np.array([0.1, 0.2])).model).all()
