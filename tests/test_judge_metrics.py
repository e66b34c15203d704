"""Figures agree with scikit-learn and with sums done by hand; intervals come from patients, not from cases."""

import numpy as np
import pytest
from sklearn import metrics as reference

from medmm.judge.calibration import ece_if_calibrated, reliability, wilson
from medmm.judge.metrics import (
    Estimate,
    Ranking,
    auroc,
    average_precision,
    balanced_accuracy,
    brier,
    log_loss,
    operate,
    placements,
    resample_patients,
    score_systems,
    share,
    youden_threshold,
)

NAN = float("nan")


def answers_and_scores(seed: int, cases: int = 300, levels: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Targets (N,) with some not stated, and scores (N,) in (0, 1) with many ties."""
    rng = np.random.default_rng(seed)
    targets = (rng.random(cases) < 0.3).astype(float)
    scores = np.round(np.clip(0.3 * targets + 0.6 * rng.random(cases), 0.02, 0.98) * levels) / (levels + 1) + 0.01
    targets[rng.random(cases) < 0.2] = NAN
    return targets, scores


@pytest.mark.parametrize("seed", range(3))
def test_figures_agree_with_scikit_learn_on_ties_and_on_the_stated_cases_only(seed: int) -> None:
    targets, scores = answers_and_scores(seed)
    known = np.isfinite(targets)
    y, p = targets[known], scores[known]

    assert auroc(targets, scores) == pytest.approx(reference.roc_auc_score(y, p))
    assert average_precision(targets, scores) == pytest.approx(reference.average_precision_score(y, p))
    assert brier(targets, scores) == pytest.approx(np.mean((y - p) ** 2))
    assert log_loss(targets, scores) == pytest.approx(-np.mean(np.log(np.where(y == 1, p, 1 - p))))


@pytest.mark.parametrize("seed", range(3))
def test_auroc_of_a_resample_is_that_of_the_cases_drawn(seed: int) -> None:
    targets, scores = answers_and_scores(seed)
    draws = resample_patients([str(i // 2) for i in range(len(targets))], 70, seed)  # more than one block

    found = Ranking(targets, scores).auroc(draws)

    known = np.isfinite(targets)
    expected = [reference.roc_auc_score(targets[known], scores[known], sample_weight=row[known]) for row in draws]
    np.testing.assert_allclose(found, expected)


def test_auroc_by_hand_counts_a_tie_half() -> None:
    targets = np.array([1, 1, 0, 0, NAN])
    scores = np.array([0.9, 0.4, 0.4, 0.1, 0.95])

    assert auroc(targets, scores) == pytest.approx((1 + 1 + 0.5 + 1) / 4)


def counted_by_pairs(targets: np.ndarray, scores: np.ndarray, strata: np.ndarray, weights: np.ndarray) -> float:
    """Wins over pairs, pair by pair, of cases that the same model judged."""
    won = pairs = 0.0
    for i in np.flatnonzero(targets == 1):
        for j in np.flatnonzero((targets == 0) & (strata == strata[i])):
            pairs += weights[i] * weights[j]
            won += weights[i] * weights[j] * (0.5 if scores[i] == scores[j] else float(scores[i] > scores[j]))
    return won / pairs


@pytest.mark.parametrize("seed", range(3))
def test_only_cases_of_one_stratum_are_compared_in_the_sample_and_in_every_resample(seed: int) -> None:
    targets, scores = answers_and_scores(seed, cases=120)
    strata = np.random.default_rng(seed).integers(0, 4, len(targets)) * 7
    draws = resample_patients([str(i // 2) for i in range(len(targets))], 70, seed)

    found = Ranking(targets, scores, strata).auroc(draws)

    np.testing.assert_allclose(found, [counted_by_pairs(targets, scores, strata, row) for row in draws])
    ones = np.ones(len(targets))
    assert auroc(targets, scores, strata) == pytest.approx(counted_by_pairs(targets, scores, strata, ones))


def test_moving_all_scores_of_one_stratum_moves_nothing() -> None:
    targets, scores = answers_and_scores(0)
    strata = np.arange(len(targets)) % 3
    moved = np.where(strata == 1, 0.01 * scores + 5, scores)

    assert auroc(targets, moved, strata) == auroc(targets, scores, strata)
    assert auroc(targets, moved) != pytest.approx(auroc(targets, scores), abs=0.01)
    assert average_precision(targets, moved, strata) == pytest.approx(average_precision(targets, scores, strata))
    np.testing.assert_array_equal(placements(targets, moved, strata), placements(targets, scores, strata))


def test_one_stratum_for_all_is_no_stratum() -> None:
    targets, scores = answers_and_scores(1)
    same = np.full(len(targets), 3)
    weights = resample_patients([str(i) for i in range(len(targets))], 20, 0)

    np.testing.assert_array_equal(
        Ranking(targets, scores, same).auroc(weights), Ranking(targets, scores).auroc(weights)
    )
    assert average_precision(targets, scores, same) == average_precision(targets, scores)
    assert auroc(targets, placements(targets, scores, same)) == pytest.approx(auroc(targets, scores))


def test_a_stratum_with_one_answer_only_has_no_pairs_and_no_say() -> None:
    targets = np.array([1, 0, 0, 1, 1.0])
    scores = np.array([0.6, 0.5, 0.9, 0.1, 0.2])
    strata = np.array([0, 0, 0, 1, 1])

    assert auroc(targets, scores, strata) == 0.5
    assert np.isnan(auroc(targets[3:], scores[3:], strata[3:]))
    assert np.isnan(placements(targets, scores, strata)[3:]).all()


@pytest.mark.parametrize("targets", [[NAN, NAN, NAN], [1, 1, NAN], [0, 0, 0]])
def test_without_both_answers_nothing_is_ranked(targets: list[float]) -> None:
    y, p = np.array(targets), np.array([0.1, 0.5, 0.9])

    assert np.isnan(auroc(y, p))
    assert np.isnan(average_precision(y, p))
    assert youden_threshold(y, p) == 0.5


def test_figures_of_a_label_that_is_never_stated_are_nan() -> None:
    y, p = np.full(3, NAN), np.array([0.1, 0.5, 0.9])

    assert np.isnan([brier(y, p), log_loss(y, p), reliability(y, p).ece, ece_if_calibrated(p[:0])]).all()


def test_all_cases_of_a_patient_are_drawn_together() -> None:
    patients = ["a", "b", "a", "c", "b", "a"]

    draws = resample_patients(patients, 200, seed=1)

    assert (draws[:, 0] == draws[:, 2]).all()
    assert (draws[:, 0] == draws[:, 5]).all()
    assert (draws[:, 1] == draws[:, 4]).all()
    assert (draws[:, 0] + draws[:, 1] + draws[:, 3] == 3).all()


def test_the_same_case_twice_does_not_narrow_the_interval_but_a_new_patient_does() -> None:
    targets, scores = answers_and_scores(5, cases=80)
    twice = np.concatenate([targets, targets])[:, None]
    doubled = np.concatenate([scores, scores])[:, None]

    alone = width(scores[:, None], targets[:, None], [str(i) for i in range(80)])
    same_patients = width(doubled, twice, [str(i % 80) for i in range(160)])
    other_patients = width(doubled, twice, [str(i) for i in range(160)])

    assert same_patients == pytest.approx(alone)
    assert other_patients < 0.85 * alone


def width(scores: np.ndarray, targets: np.ndarray, patients: list[str]) -> float:
    """Width of the interval of the macro AUROC."""
    (score,) = score_systems({"it": scores}, targets, patients, ["label"], reference="it")
    return score.macro.high - score.macro.low


def test_a_system_gains_nothing_over_itself_and_differences_are_paired() -> None:
    targets, scores = answers_and_scores(7)
    noisy = scores + 1e-3 * np.random.default_rng(0).random(len(scores))
    systems = {"it": scores[:, None], "again": scores[:, None].copy(), "noisy": noisy[:, None]}

    own, again, near = score_systems(systems, targets[:, None], list(map(str, range(300))), ["a"], reference="it")

    assert (again.gain.low, again.gain.value, again.gain.high) == (0, 0, 0)
    assert near.gain.high - near.gain.low < 0.3 * (own.macro.high - own.macro.low)


def test_macro_is_the_mean_over_the_labels_that_can_be_judged() -> None:
    first, scores = answers_and_scores(1)
    second, others = answers_and_scores(2)
    targets = np.stack([first, np.full(300, NAN), second], axis=1)
    systems = {"it": np.stack([scores, scores, others], axis=1)}

    (score,) = score_systems(systems, targets, list(map(str, range(300))), ["a", "b", "c"], reference="it")

    assert score.macro.value == pytest.approx((auroc(first, scores) + auroc(second, others)) / 2)
    assert np.isnan(score.by_label["b"].value)


@pytest.mark.parametrize(("patients_with_it", "has_interval"), [(1, False), (5, True)])
def test_a_label_that_one_patient_has_gets_no_interval_however_many_cases(
    patients_with_it: int, has_interval: bool
) -> None:
    targets = np.repeat([1.0, 0.0], [20, 80])[:, None]
    patients = [f"yes {i % patients_with_it}" for i in range(20)] + [f"no {i}" for i in range(80)]
    scores = np.random.default_rng(0).random((100, 1))

    (score,) = score_systems({"it": scores}, targets, patients, ["x"], reference="it")

    assert np.isfinite(score.macro.value)
    assert np.isfinite(score.macro.low) == has_interval
    assert np.isfinite(score.by_label["x"].low) == has_interval


def test_one_rare_label_does_not_take_the_interval_from_the_mean_of_many() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((200, 6)) < 0.5).astype(float)
    targets[:, 0] = np.arange(200) == 0
    scores, patients, labels = rng.random((200, 6)), [str(i) for i in range(200)], list("abcdef")

    (score,) = score_systems({"it": scores}, targets, patients, labels, reference="it")

    assert np.isnan(score.by_label["a"].low)
    assert score.macro.low < score.macro.value < score.macro.high


def test_a_score_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        score_systems({"it": np.array([[NAN], [0.2]])}, np.array([[1.0], [0.0]]), ["a", "b"], ["x"], reference="it")


def test_scoring_again_gives_the_same_intervals_and_another_seed_gives_others() -> None:
    targets, scores = answers_and_scores(3)
    arguments = {"it": scores[:, None]}, targets[:, None], [str(i) for i in range(300)], ["x"]

    first, again, other = (score_systems(*arguments, reference="it", seed=seed)[0] for seed in (4, 4, 5))

    assert first == again
    assert first.macro.low != other.macro.low


def test_reliability_by_hand() -> None:
    probabilities = np.array([0.9, 0.1, 0.7, 0.3, 0.5])
    targets = np.array([1, 0, 0, 1, NAN])

    found = reliability(targets, probabilities, bins=2)

    assert found.stated == pytest.approx((0.2, 0.8))
    assert found.happened == pytest.approx((0.5, 0.5))
    assert found.cases == (2, 2)
    assert found.ece == pytest.approx(0.3)


def test_a_calibrated_forecaster_has_the_ece_that_luck_gives_and_a_boastful_one_has_more() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(400)
    targets = (rng.random(400) < p).astype(float)
    boastful = np.where(p > 0.5, 0.99, 0.01)

    assert reliability(targets, p).ece == pytest.approx(ece_if_calibrated(p), abs=0.02)
    assert reliability(targets, boastful).ece > 5 * ece_if_calibrated(boastful)


def test_wilson_interval_of_a_published_example() -> None:
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
    assert wilson(0, 20)[0] == 0


def test_threshold_by_hand_lies_between_the_cases_that_it_separates() -> None:
    probabilities = np.array([0.1, 0.2, 0.6, 0.4, 0.8, 0.9])
    targets = np.array([0, 0, 0, 1, 1, 1])

    # above 0.3: all 3 present and 2 of 3 absent are right; above 0.7: 2 of 3 and 3 of 3; the lower one comes first
    assert youden_threshold(targets, probabilities) == pytest.approx(0.3)


@pytest.mark.parametrize("seed", range(3))
def test_no_threshold_beats_the_one_chosen(seed: int) -> None:
    targets, scores = answers_and_scores(seed)
    known = np.isfinite(targets)

    at = operate(targets, scores, youden_threshold(targets, scores))

    false_alarms, found, _ = reference.roc_curve(targets[known], scores[known])
    assert at.sensitivity.value + at.specificity.value - 1 == pytest.approx((found - false_alarms).max())


def test_operating_point_by_hand() -> None:
    targets = np.array([1, 1, 1, 0, 0, NAN])
    probabilities = np.array([0.5, 0.6, 0.4, 0.5, 0.1, 0.9])

    at = operate(targets, probabilities, threshold=0.5)

    assert at.sensitivity.value == pytest.approx(2 / 3)  # at the threshold is flagged
    assert at.specificity.value == pytest.approx(1 / 2)
    assert (at.present, at.absent) == (3, 2)
    assert np.isnan(at.sensitivity.low)


def test_each_case_may_have_a_threshold_of_its_own() -> None:
    targets, probabilities = np.array([1, 1, 0, 0]), np.array([0.5, 0.5, 0.5, 0.5])

    at = operate(targets, probabilities, np.array([0.4, 0.6, 0.6, 0.6]))

    assert (at.sensitivity.value, at.specificity.value) == (0.5, 1)


def test_the_interval_of_a_share_holds_it_and_is_as_wide_as_theory_says() -> None:
    hit = np.arange(400) < 100
    draws = resample_patients([str(i) for i in range(400)], 2000, seed=0)

    found = share(hit, np.ones(400, dtype=bool), draws)

    error = (0.25 * 0.75 / 400) ** 0.5
    assert found.value == 0.25
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_balanced_accuracy_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    truth = rng.choice(3, size=200, p=[0.7, 0.2, 0.1])
    probabilities = rng.dirichlet([1, 1, 1], size=200) + 0.4 * np.eye(3)[truth]
    targets = np.eye(3)[truth]
    targets[:10] = NAN

    found = balanced_accuracy(targets, probabilities, resample_patients([str(i) for i in range(200)], 200, 0))

    said = probabilities.argmax(axis=1)
    assert found.value == pytest.approx(reference.balanced_accuracy_score(truth[10:], said[10:]))
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.8, 0.7, 0.9), "0.800 (0.700 to 0.900)"),
        (Estimate(0.8, NAN, NAN), "0.800 (no interval)"),
        (Estimate(NAN, NAN, NAN), "n/a"),
    ],
)
def test_an_estimate_says_what_it_does_not_know(estimate: Estimate, text: str) -> None:
    assert str(estimate) == text
