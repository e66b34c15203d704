"""Probabilities that mean what they say, chosen on validation patients; thresholds for the aim that was stated."""

import numpy as np
import pytest
import torch
from torch import Tensor

from medmm.config import DecisionConfig
from medmm.judge.calibration import reliability
from medmm.judge.conformal import calls, coverage
from medmm.judge.metrics import sensitivity_threshold
from medmm.learn.calibrate import _choose, _one_scale, calibrate, decide
from medmm.learn.fit import Examples, infer
from medmm.model.fusion import bent
from tests.cohorts import planted_cases
from tests.models import fusion, random_network


def told(count: int, seed: int, bend: str) -> tuple[Tensor, Tensor]:
    """Logits of one label that are off by a known bend, and its answers: (N, 1) each."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-0.5, 1.6, count)
    answers = rng.random(count) < 1 / (1 + np.exp(-truth))
    said = {"none": truth, "sharp": 3 * truth, "shifted": truth + 1.5, "skewed": np.where(truth > 0, 4 * truth, truth)}
    return torch.tensor(said[bend], dtype=torch.float32)[:, None], torch.tensor(answers, dtype=torch.float32)[:, None]


def ece(logits: Tensor, answers: Tensor) -> float:
    return reliability(answers[:, 0].numpy(), logits[:, 0].sigmoid().numpy()).ece


@pytest.mark.parametrize("bend", ["none", "sharp", "shifted", "skewed"])
def test_a_probability_that_was_off_means_what_it_says(bend: str) -> None:
    logits, answers = told(600, 1, bend)
    curve = _choose(logits, answers, np.arange(600) % 5, knows=True)
    asked, truth = told(20_000, 2, bend)
    assert ece(bent(asked, *curve), truth) < 0.04


def test_what_can_never_be_sure_is_not_called_sure() -> None:
    """One of two needed things is seen: however clear, the answer is yes in a third of the cases."""
    rng = np.random.default_rng(4)
    seen = rng.random(1200) < 0.4
    said = torch.tensor(np.where(seen, 2.5, -2.5) + rng.normal(0, 1.2, 1200), dtype=torch.float32)[:, None]
    answers = torch.tensor(seen & (rng.random(1200) < 0.35), dtype=torch.float32)[:, None]

    curve = _choose(said[:600], answers[:600], np.arange(600) % 5, knows=True)

    clear = said[600:, 0] > 3
    given = bent(said[600:][clear], *curve).sigmoid()
    assert given.max() < 0.5
    assert float(given.mean()) == pytest.approx(float(answers[600:][clear].mean()), abs=0.08)


@pytest.mark.parametrize(("sharpness", "changed"), [(1.0, False), (3.0, True)])
def test_classes_have_a_temperature_only_where_patients_show_that_they_gain(sharpness: float, changed: bool) -> None:
    rng = np.random.default_rng(8)
    truth = torch.tensor(rng.normal(0, 1.5, (150, 3)))
    answers = torch.stack([torch.from_numpy(rng.multinomial(1, one)) for one in truth.softmax(dim=1).numpy()]).float()

    scale = _one_scale(sharpness * truth, answers, [f"p{number}" for number in range(150)])

    assert scale == pytest.approx(1 / sharpness, rel=0.25)
    assert (scale != 1) == changed


@pytest.mark.parametrize("present", [1.0, 0.0])
def test_a_label_that_all_of_few_cases_have_is_not_called_certain(present: float) -> None:
    logits, _ = told(20, 5, "sharp")

    curve = _choose(logits, torch.full((20, 1), present), np.arange(20) % 5, knows=True)

    sure = (bent(logits, *curve).sigmoid() - (1 - present)).abs()
    assert 0.8 < float(sure.mean()) < 0.99
    assert float(sure.max()) < 0.999


def test_labels_that_are_told_apart_by_few_cases_are_not_called_certain() -> None:
    logits = torch.linspace(-3, 3, 20)[:, None]

    curve = _choose(logits, (logits > 0).float(), np.arange(20) % 5, knows=True)

    assert float(bent(logits, *curve).sigmoid().max()) < 0.999


def test_a_curve_never_changes_who_comes_first() -> None:
    logits, answers = told(300, 3, "skewed")
    curve = _choose(logits, answers, np.arange(300) % 5, knows=True)
    asked = torch.linspace(-8, 8, 200)[:, None]
    assert (bent(asked, *curve).diff(dim=0) >= 0).all()


def test_a_model_that_saw_nothing_says_the_prevalence() -> None:
    logits, answers = torch.full((400, 1), 1.3), (torch.arange(400) < 80).float()[:, None]
    curve = _choose(logits, answers, np.arange(400) % 5, knows=False)
    assert bent(logits[:1], *curve).sigmoid().item() == pytest.approx(0.2, abs=0.02)


@pytest.fixture(scope="module")
def calibrated() -> tuple[object, Examples]:
    network, validation = random_network(fusion()), planted_cases(120, seed=2, missing=0.2)
    calibrate(network, validation)
    return network, validation


def test_a_threshold_for_sensitivity_keeps_it_on_new_cases() -> None:
    shares = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        threshold = sensitivity_threshold(np.ones(80), rng.random(80), 0.9)
        shares.append((rng.random(2000) >= threshold).mean())
    assert np.mean(shares) >= 0.895


def test_too_few_cases_for_a_sensitivity_flag_everybody() -> None:
    assert sensitivity_threshold(np.ones(5), np.full(5, 0.9), 0.95) == 0


def test_net_benefit_flags_at_the_risk_that_was_stated(calibrated: tuple[object, Examples]) -> None:
    network, validation = calibrated
    decisions = decide(network, validation, DecisionConfig(aim="net_benefit", risk=0.17))  # type: ignore[arg-type]
    assert decisions.thresholds.tolist() == [0.17] * 3


def test_limits_of_each_pattern_keep_their_promise_on_the_cases_that_chose_them(
    calibrated: tuple[object, Examples],
) -> None:
    network, validation = calibrated
    decisions = decide(network, validation, DecisionConfig(error=0.2))  # type: ignore[arg-type]
    whole = validation.present.all(dim=1)
    cases = validation.take(torch.nonzero(whole).flatten().tolist())
    p, answers = infer(network, cases).sigmoid().numpy(), cases.targets.numpy()  # type: ignore[arg-type]
    for label in range(3):
        said = calls(p[:, label], decisions.thresholds[[label]], decisions.limits[7, label])
        for answer in (0, 1):
            one = coverage(answers[:, label], said, answer)
            assert one.covered >= 0.8 * one.cases
