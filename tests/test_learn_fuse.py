"""What fusion promises: it starts as the late ensemble, and departs from it only where held-out cases pay for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medmm.config import TrainingConfig
from medmm.learn import fuse, probe
from medmm.learn.calibrate import calibrate
from medmm.learn.fit import Epoch, Examples, infer, loss_of
from medmm.learn.fuse import choose_gates, fit_stack, stacked_ensemble
from medmm.learn.heads import fit_heads
from medmm.learn.stack import choose_ridge, fit_matrix, fit_shares, fit_weights
from medmm.learn.stage import Stage
from medmm.learn.systems import LATE, systems_of
from medmm.model.batch import Batch
from medmm.model.fusion import PATTERNS, Fusion, Network, modalities_of
from tests.cohorts import planted_cases
from tests.models import LABELS, WIDTHS, fusion

QUICK = TrainingConfig(folds=3, epochs=3, patience=3, batch_size=32)
IMAGE_ONLY, ALL = 1, 7


class Answer(nn.Module):
    """Stands for an interaction: `size` x the answer that is planted in the image, or nothing but noise."""

    def __init__(self, size: float, noise: float = 0.0) -> None:
        super().__init__()
        self.size, self.noise = size, noise

    def forward(self, batch: Batch, said: Tensor) -> Tensor:
        """-> (B, L)."""
        signal = batch.image[:, :, : said.shape[2]].mean(dim=1)
        return self.size * signal + self.noise * torch.randn(signal.shape, generator=torch.Generator().manual_seed(1))


def body(*, multi_class: bool = False, **dials: Any) -> Fusion:
    torch.manual_seed(0)
    return Fusion(WIDTHS, len(LABELS), multi_class, fusion(**dials))


def network(*, multi_class: bool = False, **dials: Any) -> Network:
    torch.manual_seed(0)
    return Network(WIDTHS, len(LABELS), multi_class, fusion(**dials))


def silent(stage: str, epoch: Epoch) -> None:
    """Nobody listens."""


def trained(work: Path, train: Examples, validation: Examples, *, multi_class: bool = False, **dials: Any) -> Network:
    made = network(multi_class=multi_class, **dials)
    fuse.train_network(made, train, validation, QUICK, work, silent)
    return made


def of_itself(made: Fusion) -> Tensor:
    """How much each side's word on a label counts for that label: (PATTERNS, M, L)."""
    return made.rule.stack_weight.diagonal(dim1=-2, dim2=-1)


def fusion_of(made: Network) -> Fusion:
    assert isinstance(made.body, Fusion)
    return made.body


def gate_of(made: Fusion) -> Tensor:
    assert made.gate is not None
    return made.gate


def test_no_side_is_ever_weighed_against_what_it_says() -> None:
    answers = planted_cases(80).targets
    contrary = torch.stack([-3 * (2 * answers - 1), 2 * answers - 1], dim=1)  # the first side is wrong every time

    weight, _ = fit_weights(contrary, answers, multi_class=False, ridge=2.0)

    assert (weight[0] == 0).all()
    assert (weight[1] > 0).all()


@pytest.mark.parametrize("multi_class", [False, True])
def test_every_weight_of_a_stack_is_at_least_zero_for_every_pattern(multi_class: bool) -> None:
    cases = planted_cases(60, loudness=(1, 0, 0), missing=0.3, multi_class=multi_class)
    made = body(multi_class=multi_class)

    fit_stack(made, fit_heads(made, cases, QUICK), cases)

    own = of_itself(made)
    assert (own >= 0).all()
    assert (own[ALL, 0] > own[ALL, 2]).all()
    if not multi_class:
        assert torch.equal(made.rule.stack_weight, torch.diag_embed(own))  # labels that may hold together


def test_a_side_that_takes_one_class_for_another_is_understood() -> None:
    cases = planted_cases(300, multi_class=True)
    draw = torch.Generator().manual_seed(0)
    sharp, dull = (size * cases.targets + torch.randn(300, 3, generator=draw) for size in (3.0, 0.3))
    taken = sharp[:, [1, 0, 2]]  # what it says of the first class it means of the second

    weight, _ = fit_matrix(torch.stack([taken, dull], dim=1), cases.targets, ridge=1.0)

    assert weight[0, 0, 1] > 2 * weight[0, 0, 0]
    assert weight[0, 1, 0] > 2 * weight[0, 1, 1]
    assert (weight.diagonal(dim1=-2, dim2=-1) >= 0).all()


def test_the_ridge_is_the_one_that_held_out_folds_ask_for() -> None:
    cases, folds = planted_cases(120, multi_class=True), np.arange(120) % 4
    seen = cases.targets[:, None] + torch.randn(120, 3, 3, generator=torch.Generator().manual_seed(0))
    log_odds = seen  # of normal densities that are one standard deviation apart: three sides to be added as they are

    as_they_are = (log_odds, cases.targets, folds)
    turned_round = (log_odds[..., [1, 2, 0]], cases.targets, folds)

    assert choose_ridge([turned_round]) < choose_ridge([as_they_are])
    assert choose_ridge([turned_round]) <= choose_ridge([turned_round, as_they_are]) <= choose_ridge([as_they_are])


def test_the_ridge_of_classes_is_asked_of_each_pattern_and_of_the_cases_that_have_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cases = planted_cases(60, missing=0.3, multi_class=True)
    made, asked = body(multi_class=True), list[tuple[int, ...]]()

    def watched(parts: Iterable[tuple[Tensor, Tensor, np.ndarray]]) -> float:
        known = list(parts)
        asked.extend(
            (sources.shape[1], len(sources), len(targets), len(fold_of)) for sources, targets, fold_of in known
        )
        return choose_ridge(known)

    monkeypatch.setattr(fuse, "choose_ridge", watched)

    fit_stack(made, fit_heads(made, cases, QUICK), cases)

    shown = [modalities_of(pattern) for pattern in range(1, PATTERNS)]
    having = [int((cases.present | ~keep).all(dim=1).sum()) for keep in shown]
    assert asked == [(int(keep.sum()), n, n, n) for keep, n in zip(shown, having, strict=True)]
    assert len(set(having)) > 1


def test_without_cases_the_weights_are_neutral() -> None:
    weight, bias = fit_weights(torch.zeros(0, 2, 3), torch.zeros(0, 3), multi_class=False, ridge=2.0)

    torch.testing.assert_close(weight, torch.ones(2, 3))
    torch.testing.assert_close(bias, torch.zeros(3))


def test_answers_that_are_not_stated_weigh_nothing() -> None:
    cases = planted_cases(60)
    sources = torch.randn(60, 2, 3, generator=torch.Generator().manual_seed(0))
    unstated = torch.cat([cases.targets, torch.full((20, 3), torch.nan)])
    more = torch.cat([sources, 5 * torch.ones(20, 2, 3)])

    for one, other in zip(
        fit_weights(sources, cases.targets, False, 2.0), fit_weights(more, unstated, False, 2.0), strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("multi_class", [False, True])
def test_shares_of_a_weighted_sum_are_those_of_the_lowest_loss_and_sum_to_one(multi_class: bool) -> None:
    cases = planted_cases(200, multi_class=multi_class)
    draw = torch.Generator().manual_seed(0)
    loudness = torch.tensor([0.5, 1.5])[:, None]
    sources = loudness * (2 * cases.targets[:, None] - 1) + torch.randn(200, 2, 3, generator=draw)
    chance = sources.softmax(-1) if multi_class else sources.sigmoid()

    share = fit_shares(sources, cases.targets, multi_class)

    def loss(first: float) -> float:
        mixed = (torch.tensor([first, 1 - first])[:, None] * chance).sum(dim=1)
        return float(loss_of(mixed.log() if multi_class else mixed.logit(), cases.targets, multi_class))

    best = min((i / 50 for i in range(1, 50)), key=loss)
    torch.testing.assert_close(share.sum(dim=0), torch.ones(3))
    assert abs(float(share[0].mean()) - best) < 0.05
    assert (share[0] < share[1]).all()


def test_without_cases_or_stated_answers_the_shares_are_even() -> None:
    sources, silent = torch.randn(5, 2, 3), torch.full((5, 3), torch.nan)

    torch.testing.assert_close(fit_shares(sources, silent, multi_class=False), torch.full((2, 3), 0.5))
    torch.testing.assert_close(fit_shares(sources[:0], silent[:0], multi_class=True), torch.full((2, 3), 0.5))


def test_a_missing_side_has_a_stack_of_its_own() -> None:
    cases = planted_cases(200)
    heard = (2 * cases.targets - 1)[:, None] + torch.randn(200, 1, 3, generator=torch.Generator().manual_seed(0))
    made = body()

    fit_stack(made, heard.expand(-1, 3, -1), cases)  # three sides that say one thing

    alone, together = of_itself(made)[IMAGE_ONLY, 0], of_itself(made)[ALL, 0]
    assert (alone > 2 * together).all()
    assert (made.rule.stack_weight[IMAGE_ONLY, 1:] == 0).all()
    assert (made.rule.stack_weight[0] == 0).all()


def test_a_pattern_is_weighed_on_cases_that_have_all_of_its_sides() -> None:
    cases = planted_cases(200, missing=0.3)
    heard = torch.randn(200, 3, 3, generator=torch.Generator().manual_seed(0)) * cases.present[..., None]
    blind = ~cases.present[:, 0]
    turned = replace(cases, targets=torch.where(blind[:, None], 1 - cases.targets, cases.targets))
    one, other = body(), body()

    fit_stack(one, heard, cases)
    fit_stack(other, heard, turned)  # other answers where there is no image

    same = (one.rule.stack_weight == other.rule.stack_weight).flatten(1).all(dim=1)
    same &= (one.rule.stack_bias == other.rule.stack_bias).all(dim=1)
    assert same.tolist() == [bool(modalities_of(pattern)[0]) for pattern in range(PATTERNS)]


def test_of_a_case_with_nothing_the_stack_says_how_frequent_each_label_is() -> None:
    cases = planted_cases(400)
    targets = cases.targets.clone()
    targets[:, 0] = (torch.arange(400) % 10 == 0).float()
    made = body()

    fit_stack(made, torch.zeros(400, 3, 3), replace(cases, targets=targets))

    assert made.rule.stack_bias[0, 0].sigmoid().item() == pytest.approx(0.1, abs=0.01)


def test_an_interaction_that_does_not_pay_has_no_gate_and_the_model_is_its_stack_to_the_last_digit() -> None:
    train, validation = planted_cases(90, seed=1), planted_cases(60, seed=2, missing=0.2)
    made = body()
    fit_stack(made, fit_heads(made, train, QUICK), train)
    made.rule.interaction = Answer(0.0, noise=2.0)  # anything that speaks

    choose_gates(made, replace(validation, heard=fuse._said(made, validation).detach()))

    assert (gate_of(made) == 0).all()
    assert torch.equal(infer(made, validation), stacked_ensemble(made, validation))


def test_an_interaction_that_pays_is_let_in_and_only_where_sides_can_interact() -> None:
    validation = planted_cases(80, seed=2)
    made = body()
    made.rule.interaction = Answer(1.0)  # the heads know nothing, and it knows the answer

    choose_gates(made, replace(validation, heard=torch.zeros(80, 3, 3)))

    alone = [pattern for pattern in range(PATTERNS) if int(modalities_of(pattern).sum()) < 2]
    assert (gate_of(made)[alone] == 0).all()
    assert (gate_of(made)[[3, 5, ALL]] == 1).all()  # every pattern with an image


def of_patients(answers: list[float], cases_each: int = 1) -> Examples:
    """Cases with one answer each, and nothing else that counts."""
    count = len(answers)
    cases = planted_cases(count)
    patients = tuple(str(n // cases_each) for n in range(count))
    return replace(cases, targets=torch.tensor(answers)[:, None], patients=patients)


def test_a_gain_that_patients_do_not_show_is_no_gain() -> None:
    cases = of_patients([1.0] * 10)
    lucky = torch.zeros(10, 1)
    lucky[0] = 4.0  # one case of ten gains, and the others nothing

    assert fuse._pays(torch.zeros(10, 1), lucky, cases, multi_class=False) == 0
    assert fuse._pays(torch.zeros(10, 1), torch.ones(10, 1), cases, multi_class=False) == 1


def test_many_cases_of_two_patients_show_no_more_than_two_patients_can() -> None:
    draw = np.random.default_rng(0)
    gains = torch.from_numpy(0.5 + 0.3 * draw.normal(size=(20, 1))).float()
    gains[10:] *= 0.2

    shown = [fuse._pays(torch.zeros(20, 1), gains, of_patients([1.0] * 20, n), multi_class=False) for n in (1, 10)]

    assert shown[0] > 0
    assert shown[1] == 0


def test_few_patients_must_gain_more_and_those_without_an_answer_do_not_count() -> None:
    cases = of_patients([1.0] * 4 + [float("nan")] * 30)
    wavering = torch.cat([torch.tensor([[1.0], [0.4], [-0.1], [0.1]]), torch.ones(30, 1)])
    steady = torch.cat([torch.tensor([[1.0], [0.8], [0.9], [0.7]]), torch.ones(30, 1)])

    gates = [fuse._pays(torch.zeros(34, 1), one, cases, multi_class=False) for one in (wavering, steady)]

    assert gates == [0, 1]


def test_a_correction_that_overshoots_is_let_in_by_as_much_as_pays() -> None:
    cases = of_patients([1.0] * 60 + [0.0] * 20)  # best said with log 3

    gate = fuse._pays(torch.zeros(80, 1), torch.full((80, 1), 4.4), cases, multi_class=False)

    assert gate == 0.25


@pytest.mark.parametrize("multi_class", [False, True])
def test_calibration_lowers_the_held_out_loss_of_a_model_that_is_too_sure(multi_class: bool) -> None:
    validation, test = (planted_cases(150, seed=s, loudness=(0.4, 0, 0), multi_class=multi_class) for s in (3, 4))
    made = network(multi_class=multi_class)
    inside = fusion_of(made)
    train = planted_cases(150, seed=5, loudness=(0.4, 0, 0), multi_class=multi_class)
    fit_stack(inside, fit_heads(inside, train, QUICK), train)
    inside.rule.stack_weight *= 8
    before = loss_of(infer(inside, test), test.targets, multi_class)

    calibrate(made, validation)

    said = infer(made, test)
    after = loss_of(said.sigmoid().log() if multi_class else said, test.targets, multi_class)
    assert after < 0.8 * before


def test_a_network_is_calibrated_on_what_heads_without_them_said_of_validation_cases(
    tmp_path: Path,
) -> None:
    train, validation = (planted_cases(60, seed=s, loudness=(0.4, 0.2, 0)) for s in (1, 2))
    made = network()
    _, told = fuse.train_network(made, train, validation, QUICK, tmp_path, silent)
    scale, shift = made.scale.clone(), made.shift.clone()

    calibrate(made, told)
    assert torch.equal(made.scale, scale)
    assert torch.equal(made.shift, shift)

    calibrate(made, train)
    assert not torch.allclose(made.scale, scale, atol=0.05)


def test_calibration_never_changes_which_class_is_the_likeliest(tmp_path: Path) -> None:
    train, validation, test = (planted_cases(60, seed=s, loudness=(0.4, 0.2, 0), multi_class=True) for s in (1, 2, 3))
    made = trained(tmp_path, train, validation, multi_class=True)
    fusion_of(made).rule.stack_weight *= 4  # now it says too much

    calibrate(made, validation)

    assert (made.scale < 0.5).all()
    assert torch.equal(infer(made, test).argmax(dim=1), infer(made.body, test).argmax(dim=1))


@pytest.mark.parametrize("multi_class", [False, True])
@pytest.mark.parametrize("kind", ["weighted_sum", "product", "gated", "cross_attention"])
def test_a_small_fusion_learns_what_its_sides_say(tmp_path: Path, kind: str, multi_class: bool) -> None:
    train, validation, test = (planted_cases(90, seed=s, missing=0.1, multi_class=multi_class) for s in (1, 2, 3))

    made = trained(tmp_path, train, validation, multi_class=multi_class, kind=kind)
    chance = infer(made, test).sigmoid()

    said, truth = (chance.argmax(1), test.targets.argmax(1)) if multi_class else (chance.round(), test.targets)
    assert said.eq(truth).float().mean() > 0.9
    if multi_class:
        torch.testing.assert_close(chance.sum(dim=1), torch.ones(90))


def test_answers_that_are_partly_not_stated_are_enough(tmp_path: Path) -> None:
    train, validation = (planted_cases(90, seed=s, not_stated=0.4) for s in (1, 2))
    test = planted_cases(60, seed=3)

    chance = infer(trained(tmp_path, train, validation), test).sigmoid()

    assert ((chance > 0.5) == (test.targets == 1)).float().mean() > 0.9


def test_a_side_that_nobody_has_is_never_heard(tmp_path: Path) -> None:
    train, validation = (planted_cases(60, seed=s) for s in (1, 2))
    blind = [
        replace(cases, features=tuple(replace(c, image=c.image[:0], place=c.place[:0]) for c in cases.features))
        for cases in (train, validation)
    ]

    made = trained(tmp_path, blind[0], blind[1])

    assert not fusion_of(made).state_dict()["heads.image.probe.weight"].any()
    assert torch.isfinite(infer(made, validation)).all()


def test_what_heads_say_of_validation_cases_does_not_depend_on_their_answers_and_in_use_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_STRENGTHS", (1.5,))  # which is chosen by all cases together
    train, validation = planted_cases(60, seed=1), planted_cases(60, seed=2)
    turned = validation.targets.clone()
    turned[7] = 1 - turned[7]

    def heard(name: str, cases: Examples) -> tuple[Tensor, Tensor]:
        made = network()
        said = fuse.train_network(made, train, cases, QUICK, tmp_path / name, silent)[1].heard
        assert said is not None
        return said, infer(made, cases)

    honest, misled = heard("honest", validation), heard("misled", replace(validation, targets=turned))

    torch.testing.assert_close(honest[0], misled[0])
    assert not torch.allclose(honest[1], misled[1])  # the heads that are used learn from all cases


def test_the_interaction_takes_no_step_on_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation = planted_cases(60, seed=1), planted_cases(60, seed=2)
    taught: set[str] = set()

    def watch(examples: Examples, which: list[int]) -> tuple[Batch, Tensor]:
        if torch.is_grad_enabled():
            taught.update(examples.features[i].case_id for i in which)
        return real(examples, which)

    real = Examples.batch
    validation = replace(validation, features=tuple(replace(c, case_id=f"v{c.case_id}") for c in validation.features))
    monkeypatch.setattr(Examples, "batch", watch)

    trained(tmp_path, train, validation)

    assert {case.case_id for case in train.features} == taught


def test_the_interaction_hears_the_heads_as_they_speak_of_cases_that_they_have_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Tensor | None] = []
    train, validation = planted_cases(60, seed=1), planted_cases(40, seed=2)

    class Watched(Stage):
        def run(self, network: nn.Module, train: Examples, *rest: object) -> None:
            heard.append(train.heard)

    monkeypatch.setattr(fuse, "Stage", Watched)
    made = trained(tmp_path, train, validation)

    assert heard[0] is not None
    both = train.and_also(validation)
    again = fit_heads(fusion_of(made), both, QUICK, held_back=np.arange(len(both)) >= len(train))
    torch.testing.assert_close(heard[0], again[:60])
    assert not torch.allclose(heard[0], fuse._said(fusion_of(made), train), atol=0.1)


def test_the_late_ensemble_is_the_mean_of_the_sides_that_a_case_has(tmp_path: Path) -> None:
    cases = planted_cases(40, seed=1, missing=0.4)
    made = trained(tmp_path, planted_cases(60, seed=2, missing=0.2), cases)

    late = systems_of(made, cases, fusion())[LATE]

    sides = [infer(made, cases, keep=torch.eye(3, dtype=torch.bool)[m]).sigmoid() for m in range(3)]
    for i, there in enumerate(cases.present):
        expected = torch.stack([sides[m][i] for m in range(3) if there[m]]).mean(dim=0)
        torch.testing.assert_close(late[i], expected)


def test_a_fusion_of_two_sides_ignores_the_third(tmp_path: Path) -> None:
    train, validation = planted_cases(60, seed=1), planted_cases(40, seed=2)
    made = trained(tmp_path, train, validation, modalities=("image", "note"))

    without = tuple(replace(c, record=0 * c.record, taken=c.taken & False) for c in validation.features)

    torch.testing.assert_close(infer(made, replace(validation, features=without)), infer(made, validation))


def test_the_textbook_baseline_learns_too(tmp_path: Path) -> None:
    train, validation = planted_cases(90, seed=1), planted_cases(60, seed=2)
    made = network(kind="concat", dropout=0.0)
    long = QUICK.model_copy(update={"epochs": 40, "learning_rate": 0.02})

    fuse.train_network(made, train, validation, long, tmp_path, silent)

    assert loss_of(infer(made, validation), validation.targets, False) < 0.3
