"""What a plan promises: it fits the time, it follows from facts alone, and every line says why."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from medmm.config import RunConfig
from medmm.learn.plan import Facts, Plan, plan

SKIN = Facts(
    cases=1200,
    patients=1000,
    rarest=60,
    rarest_label="melanoma",
    has={"image": 1200, "note": 1100, "record": 0},
    volumes=False,
    gpu=False,
    bfloat16=False,
    cores=2,
    read_s=0.02,
    image_s=0.05,
    once_s=0.05,
    note_s=0.01,
    step_s=0.001,
    budget_s=3600,
)


def reason(of: Plan, group: str, key: str) -> str:
    return next(choice.reason for choice in of.choices if (choice.group, choice.key) == (group, key))


@pytest.mark.parametrize("budget", [300, 900, 3600, 36000])
@pytest.mark.parametrize("image_s", [0.005, 0.05, 0.5])
def test_a_plan_fits_its_time_or_says_that_nothing_does(budget: float, image_s: float) -> None:
    chosen = plan(replace(SKIN, budget_s=budget, image_s=image_s, once_s=image_s))

    assert chosen.expected_s <= budget or any("not enough" in remark for remark in chosen.remarks)


def test_more_time_never_buys_less() -> None:
    runs = [plan(replace(SKIN, budget_s=budget)).run for budget in (200, 400, 800, 1600, 3200, 6400, 12800)]

    for less, more in pairwise(runs):
        assert more.training.epochs >= less.training.epochs
        assert (more.split.folds or 0) >= (less.split.folds or 0)
    assert runs[-1].adapt.image == "last_blocks"
    assert runs[0].adapt.image == "frozen"


def test_a_photograph_that_is_read_in_all_turnings_is_taught_as_it_lies() -> None:
    turned = replace(SKIN, image_s=8 * SKIN.image_s)
    slow = replace(turned, once_s=turned.image_s)

    def enough(facts: Facts) -> int:
        return next(s for s in range(300, 100_000, 300) if plan(replace(facts, budget_s=s)).run.adapt.image != "frozen")

    assert enough(SKIN) < enough(turned) < enough(slow) / 2


def test_too_little_time_is_said_aloud_and_still_makes_a_run() -> None:
    chosen = plan(replace(SKIN, budget_s=5))

    assert chosen.remarks[0].startswith("5 s are not enough")
    assert chosen.run.training.epochs == 10
    assert chosen.run.split.folds is None


def test_few_patients_with_the_rarer_answer_are_judged_in_folds_and_many_in_a_hold_out() -> None:
    few, many = plan(SKIN), plan(replace(SKIN, cases=9000, patients=8000, rarest=900))

    assert few.run.split.folds == 5
    assert "9 patients with the rarer answer of 'melanoma'" in reason(few, "split", "folds")
    assert many.run.split.folds is None
    assert reason(many, "split", "test").startswith("a hold-out would test 135 patients")


def test_encoders_are_not_taught_by_a_handful_of_patients_however_much_time_there_is() -> None:
    chosen = plan(replace(SKIN, rarest=20, budget_s=1e6))

    assert (chosen.run.adapt.image, chosen.run.adapt.note) == ("frozen", "frozen")
    assert "learnt by heart" in reason(chosen, "adapt", "image")


def test_volumes_are_encoded_once() -> None:
    assert plan(replace(SKIN, volumes=True, budget_s=1e6)).run.adapt.image == "frozen"


def test_only_what_the_cohort_has_is_fused() -> None:
    assert plan(SKIN).run.fusion.modalities == ("image", "note")
    alone = plan(replace(SKIN, has={"note": 1200}))
    assert alone.run.fusion.modalities == ("note",)
    assert "nothing is fused" in reason(alone, "fusion", "kind")


def test_half_precision_only_where_a_gpu_has_it() -> None:
    assert plan(SKIN).run.training.precision == "float32"
    assert plan(replace(SKIN, gpu=True)).run.training.precision == "float32"
    assert plan(replace(SKIN, gpu=True, bfloat16=True)).run.training.precision == "bfloat16"


@pytest.mark.parametrize(("cases", "batch"), [(30, 8), (200, 16), (500, 32), (5000, 64)])
def test_a_small_cohort_still_takes_several_steps_an_epoch(cases: int, batch: int) -> None:
    assert plan(replace(SKIN, cases=cases, patients=cases, rarest=cases // 4)).run.training.batch_size == batch


def test_the_same_facts_give_the_same_plan_and_every_choice_has_a_reason() -> None:
    assert plan(SKIN) == plan(SKIN)
    assert all(choice.reason for choice in plan(SKIN).choices)
    assert isinstance(plan(SKIN).run, RunConfig)
