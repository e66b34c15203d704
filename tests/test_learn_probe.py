"""What a modality's head promises: it is a logistic regression, and what it says held-out it has not been told."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from medmm.learn import probe
from medmm.learn.probe import FittedProbe, fit_probe, fit_terms

STRENGTH = 1.5
FOLDS = 3


@pytest.fixture
def one_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    """No choice of the ridge, so that one fold's answers cannot move the model of another through it."""
    monkeypatch.setattr(probe, "_STRENGTHS", (STRENGTH,))


def draw(cases: int, width: int, labels: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, F) that say something of the answers (N, L), and the fold of each case."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(2, size=(cases, labels)).astype(np.float32)
    features = rng.normal(size=(cases, width)) * 3 + 1
    features[:, :labels] += 2 * answers
    return features.astype(np.float32), answers, np.arange(cases) % FOLDS


def draw_classes(cases: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same with one of three classes for each case."""
    features, _, fold_of = draw(cases, width, 3, seed)
    answers = np.eye(3, dtype=np.float32)[np.random.default_rng(seed).integers(3, size=cases)]
    features[:, :3] += 4 * answers
    return features, answers, fold_of


def standard(features: np.ndarray, fitted: FittedProbe) -> np.ndarray:
    return np.asarray((features - fitted.centre) / fitted.spread, dtype=np.float64)


def regression(features: np.ndarray, answers: np.ndarray, strength: float = STRENGTH) -> LogisticRegression:
    """scikit-learn's own, to the last digit."""
    model = LogisticRegression(C=strength / features.shape[1], tol=1e-10, max_iter=10_000)
    return model.fit(features, answers)


def loss(logits: np.ndarray, answers: np.ndarray) -> float:
    """Log loss over the stated answers."""
    stated = np.isfinite(answers)
    return float(np.logaddexp(0, np.where(answers == 1, -logits, logits))[stated].sum())


def test_a_model_of_made_features_says_the_same_of_those_they_were_made_from() -> None:
    features, answers, fold_of = draw(60, 7)
    made = scipy.sparse.csr_matrix(np.array([[1, 0], [0.5, 0], [0, 2], [0, 1], [0, 0], [1, 1], [0, 0]], dtype=float))
    few = fit_probe(features @ made, answers, fold_of, multi_class=False)
    centre, spread = features.mean(axis=0), features.std(axis=0)

    weight, bias = few.on(made, centre, spread)

    said = (features - centre) / spread @ weight.T + bias
    np.testing.assert_allclose(said, standard(features @ made, few) @ few.weight.T + few.bias, atol=1e-6)


@pytest.mark.usefixtures("one_strength")
@pytest.mark.parametrize(("cases", "width"), [(90, 6), (40, 120)], ids=["more cases", "more features"])
def test_held_out_answers_are_those_of_scikit_learn_trained_on_the_other_folds(cases: int, width: int) -> None:
    features, answers, fold_of = draw(cases, width)

    fitted = fit_probe(features, answers, fold_of, multi_class=False)

    x = standard(features, fitted)
    for fold in range(FOLDS):
        inside, outside = fold_of != fold, fold_of == fold
        for label in range(2):
            expected = regression(x[inside], answers[inside, label]).decision_function(x[outside])
            np.testing.assert_allclose(fitted.held_out[outside, label], expected, atol=5e-3)


@pytest.mark.usefixtures("one_strength")
def test_classes_are_those_of_scikit_learn_trained_on_the_other_folds() -> None:
    features, answers, fold_of = draw_classes(90, 120)

    fitted = fit_probe(features, answers, fold_of, multi_class=True)

    x = standard(features, fitted)
    inside, outside = fold_of != 0, fold_of == 0
    expected = regression(x[inside], answers[inside].argmax(axis=1)).decision_function(x[outside])
    np.testing.assert_allclose(fitted.held_out[outside], expected, atol=5e-3)


@pytest.mark.usefixtures("one_strength")
def test_the_answers_of_a_fold_do_not_move_what_is_said_of_that_fold() -> None:
    features, answers, fold_of = draw(60, 20)
    leaked = answers.copy()
    leaked[fold_of == 0] = 1 - leaked[fold_of == 0]

    before = fit_probe(features, answers, fold_of, multi_class=False).held_out
    after = fit_probe(features, leaked, fold_of, multi_class=False).held_out

    np.testing.assert_array_equal(after[fold_of == 0], before[fold_of == 0])
    assert np.abs(after[fold_of != 0] - before[fold_of != 0]).min() > 0


def test_what_only_a_case_itself_could_tell_is_learnt_by_the_head_and_not_heard_held_out() -> None:
    rng = np.random.default_rng(0)
    features = np.eye(60, dtype=np.float32)  # a feature for each case, and nothing that another one shares
    answers = rng.integers(2, size=(60, 1)).astype(np.float32)

    fitted = fit_probe(features, answers, np.arange(60) % FOLDS, multi_class=False)

    told = standard(features, fitted) @ fitted.weight.T + fitted.bias
    assert ((told > told.mean()) == (answers == 1)).all()
    assert loss(fitted.held_out, answers) > 0.98 * 60 * np.log(2)


@pytest.mark.usefixtures("one_strength")
def test_an_answer_that_is_not_stated_does_not_teach() -> None:
    features, answers, fold_of = draw(90, 6)
    silent = np.random.default_rng(1).random(90) < 0.3
    answers[silent, 0] = np.nan

    fitted = fit_probe(features, answers, fold_of, multi_class=False)

    x, outside = standard(features, fitted), fold_of == 0
    expected = regression(x[~outside & ~silent], answers[~outside & ~silent, 0]).decision_function(x[outside])
    np.testing.assert_allclose(fitted.held_out[outside, 0], expected, atol=5e-3)


@pytest.mark.parametrize("seed", range(4))
def test_the_strength_is_the_one_with_the_lowest_held_out_loss_over_stated_answers(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    features, answers, fold_of = draw(60, 30, seed=seed)
    answers[np.random.default_rng(seed).random(answers.shape) < 0.5] = np.nan
    strengths = probe._STRENGTHS

    chosen = fit_probe(features, answers, fold_of, multi_class=False)
    alone = []
    for strength in strengths:
        monkeypatch.setattr(probe, "_STRENGTHS", (strength,))
        alone.append(fit_probe(features, answers, fold_of, multi_class=False))

    best = min(alone, key=lambda fitted: loss(fitted.held_out, answers))
    np.testing.assert_array_equal(chosen.weight, best.weight)


@pytest.mark.usefixtures("one_strength")
@pytest.mark.parametrize("multi_class", [False, True])
def test_the_head_is_the_mean_of_the_models_of_its_folds(multi_class: bool) -> None:
    features, answers, fold_of = draw_classes(60, 100)

    whole = fit_probe(features, answers, fold_of, multi_class=multi_class)
    x = standard(features, whole)
    models = []
    for fold in range(FOLDS):
        inside = fold_of != fold
        answer = answers[inside].argmax(axis=1) if multi_class else answers[inside, 0]
        models.append(np.atleast_2d(regression(x[inside], answer).decision_function(x).T)[0])

    said = x @ whole.weight.T + whole.bias
    np.testing.assert_allclose(said[:, 0], np.mean(models, axis=0), atol=5e-3)


def test_a_rotation_of_the_features_does_not_change_what_is_said() -> None:
    features, answers, fold_of = draw(40, 90)
    x = standard(features, fit_probe(features, answers, fold_of, multi_class=False))
    turned, turn = probe._turn(x)

    assert turned.shape == (40, 40)
    np.testing.assert_allclose(turned @ turn, x, atol=1e-9)
    direct = probe._fit(x, answers, STRENGTH / 90, multi_class=False)
    small = probe._fit(turned, answers, STRENGTH / 90, multi_class=False)
    np.testing.assert_allclose(turned @ small[0].T + small[1], x @ direct[0].T + direct[1], atol=5e-3)


def test_a_label_with_one_answer_in_the_other_folds_gets_its_share_and_no_features() -> None:
    features, answers, fold_of = draw(60, 6)
    answers[:, 1] = fold_of == 0  # present in fold 0 only: its model never sees it

    held_out = fit_probe(features, answers, fold_of, multi_class=False).held_out

    np.testing.assert_allclose(held_out[fold_of == 0, 1], np.log(0.5 / 40.5))
    assert np.isfinite(held_out).all()


def test_a_label_that_nobody_states_is_even_odds() -> None:
    features, answers, fold_of = draw(30, 6)
    answers[:, 1] = np.nan

    fitted = fit_probe(features, answers, fold_of, multi_class=False)

    np.testing.assert_array_equal(fitted.held_out[:, 1], 0)
    assert (fitted.weight[1] == 0).all()


@pytest.mark.parametrize("only", [(0, 2), (1,)])
def test_a_class_that_the_other_folds_lack_is_unlikely_and_not_impossible(only: tuple[int, ...]) -> None:
    features, answers, fold_of = draw_classes(90, 6)
    answers = np.where((fold_of == 0)[:, None], answers, np.eye(3, dtype=np.float32)[np.resize(only, 90)])

    held_out = fit_probe(features, answers, fold_of, multi_class=True).held_out[fold_of == 0]

    chance = np.exp(held_out) / np.exp(held_out).sum(axis=1, keepdims=True)
    absent = [c for c in range(3) if c not in only]
    assert np.isfinite(held_out).all()
    assert (chance[:, absent] > 0).all()
    assert (chance[:, absent].sum(axis=1) < 0.1).all()


def test_two_classes_mean_the_same_as_one_label() -> None:
    features, answers, fold_of = draw(60, 6, labels=1)
    classes = np.concatenate([1 - answers, answers], axis=1)

    as_label = fit_probe(features, answers, fold_of, multi_class=False).held_out
    as_classes = fit_probe(features, classes, fold_of, multi_class=True).held_out

    np.testing.assert_allclose(as_classes[:, 1] - as_classes[:, 0], as_label[:, 0], atol=1e-6)


def test_a_side_that_one_fold_alone_has_is_answered_without_learning() -> None:
    features, answers, _ = draw(8, 6)

    fitted = fit_probe(features, answers, np.zeros(8, dtype=int), multi_class=False)

    np.testing.assert_array_equal(fitted.held_out, 0)


@pytest.mark.parametrize("multi_class", [False, True])
def test_cases_that_are_held_back_are_answered_where_one_fold_alone_has_the_side(*, multi_class: bool) -> None:
    features, answers, _ = draw_classes(8, 6) if multi_class else draw(8, 6)

    fitted = fit_probe(features, answers, np.zeros(8, dtype=int), multi_class=multi_class, held_back=np.arange(8) >= 6)

    assert np.isfinite(fitted.held_out).all()
    assert np.ptp(fitted.held_out, axis=1).max() == 0


@pytest.mark.parametrize("multi_class", [False, True])
def test_notes_without_a_word_say_nothing(*, multi_class: bool) -> None:
    _, answers, fold_of = draw_classes(30, 6) if multi_class else draw(30, 6)

    weight, bias, held_out = fit_terms(scipy.sparse.csr_matrix((30, 50)), answers, fold_of, multi_class=multi_class)

    assert not weight.any()
    assert np.isfinite(bias).all()
    assert np.isfinite(held_out).all()


def test_features_that_never_vary_say_nothing() -> None:
    _, answers, fold_of = draw(30, 6)

    fitted = fit_probe(np.ones((30, 6), dtype=np.float32), answers, fold_of, multi_class=False)

    assert np.isfinite(fitted.weight).all()
    assert np.ptp(fitted.held_out[fold_of == 0], axis=0).max() < 1e-9


@pytest.mark.usefixtures("one_strength")
def test_answers_of_cases_that_are_held_back_change_nothing_that_is_said_of_them() -> None:
    features, answers, fold_of = draw(120, 40)
    held_back = np.arange(120) >= 90
    turned_round = np.where(held_back[:, None], 1 - answers, answers)

    said, otherwise = (
        fit_probe(features, told, fold_of, multi_class=False, held_back=held_back).held_out[held_back]
        for told in (answers, turned_round)
    )

    np.testing.assert_array_equal(otherwise, said)


@pytest.mark.usefixtures("one_strength")
def test_cases_that_are_held_back_are_answered_as_new_ones_by_the_mean_of_all_folds() -> None:
    features, answers, fold_of = draw(120, 40)
    held_back = np.arange(120) >= 90

    fitted = fit_probe(features, answers, fold_of, multi_class=False, held_back=held_back)

    x = standard(features, fitted)
    seen = [~held_back & (fold_of != fold) for fold in range(FOLDS)]
    for label in range(2):
        said = [regression(x[rows], answers[rows, label]).decision_function(x[held_back]) for rows in seen]
        np.testing.assert_allclose(fitted.held_out[held_back, label], np.mean(said, axis=0), atol=5e-3)


@pytest.mark.parametrize("held_back", [np.zeros(30, dtype=bool), np.ones(30, dtype=bool)], ids=["none", "all"])
def test_holding_back_none_or_all_leaves_what_the_folds_said(held_back: np.ndarray) -> None:
    features, answers, fold_of = draw(30, 6)

    usual = fit_probe(features, answers, fold_of, multi_class=False)
    fitted = fit_probe(features, answers, fold_of, multi_class=False, held_back=held_back)

    np.testing.assert_array_equal(fitted.held_out, usual.held_out)
    np.testing.assert_array_equal(fitted.weight, usual.weight)


def notes(count: int, seed: int = 0) -> tuple[scipy.sparse.csr_matrix, np.ndarray, np.ndarray]:
    """Words of notes as vectors of length 1 (N, 600), of which the first six tell, the answers (N, 2) and the folds."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(2, size=(count, 2)).astype(np.float64)
    rate = np.full((count, 600), 0.08)
    rate[:, :3] = np.where(answers[:, [0]] == 1, 0.2, 0.02)
    rate[:, 3:6] = np.where(answers[:, [0]] == 1, 0.02, 0.2)
    stands = (rng.random(rate.shape) < rate).astype(np.float64)
    length = np.sqrt(stands.sum(axis=1, keepdims=True)).clip(min=1)
    return scipy.sparse.csr_matrix(stands / length), answers, np.arange(count) % FOLDS


@pytest.mark.parametrize("multi_class", [False, True])
def test_few_words_that_tell_are_heard_among_many_that_do_not(multi_class: bool) -> None:
    terms, answers, fold_of = notes(400)
    if multi_class:
        answers = np.stack([answers[:, 0], 1 - answers[:, 0]], axis=1)

    _, _, held_out = fit_terms(terms, answers, fold_of, multi_class=multi_class)
    _, _, alike = probe._choose(terms, answers, fold_of, probe._TERM_STRENGTHS, multi_class, None)

    ranks, before = (roc_auc_score(answers[:, 0], said[:, 0]) for said in (held_out, alike))
    assert ranks > before + 0.02


def test_what_a_word_tells_is_its_log_ratio_with_a_case_of_each_kind_added() -> None:
    terms = scipy.sparse.csr_matrix(np.array([[0.6, 0, 1], [0.3, 0, 0], [0, 0, 1], [0, 0, 1.0]]))
    answers = np.array([[1, 0], [1, 0], [0, 1], [0, 0]])

    got = probe.telling(terms, answers)

    first = max(np.log((3 / 4) / (1 / 4)), np.log((3 / 5) / (1 / 3)))  # of the first answer, of the second
    np.testing.assert_allclose(got, [first, np.log((1 / 3) / (1 / 5)), np.log((3 / 4) / (2 / 4))])


@pytest.mark.parametrize("multi_class", [False, True])
def test_what_words_say_of_a_fold_does_not_depend_on_its_answers(
    multi_class: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_TERM_STRENGTHS", (1.0,))
    terms, answers, fold_of = notes(90)
    if multi_class:
        answers = np.stack([answers[:, 0], 1 - answers[:, 0]], axis=1)
    contrary = np.where((fold_of == 0)[:, None], 1 - answers, answers)

    one, other = (fit_terms(terms, each, fold_of, multi_class=multi_class)[2] for each in (answers, contrary))

    np.testing.assert_array_equal(one[fold_of == 0], other[fold_of == 0])
    assert not np.allclose(one[fold_of != 0], other[fold_of != 0])
