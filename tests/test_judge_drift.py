"""Drift over a history: what stays is called steady, what changes is found, and few cases are not judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from medmm.case import RecordValue
from medmm.judge.calibration import wilson
from medmm.judge.drift import (
    ENOUGH,
    MOST_WINDOWS,
    RATE,
    REFERENCE,
    Drift,
    Item,
    Scoring,
    judge_drift,
    plain,
    stability,
)
from medmm.result import Finding, Limits, Prediction, Verdict

START = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday."""
LABELS = ("pneumonia", "lung_cancer")
Share = Callable[[int], float]
"""From the number of the week to a share, or to an age."""
USUAL: Mapping[str, float] = {
    "prevalence": 0.25,
    "no_note": 0.1,
    "remarked": 0.2,
    "doubted": 0.05,
    "overridden": 0.1,
    "age": 60,
}


def history(
    seed: int = 0,
    *,
    weeks: int = 7,
    cases: int = 120,
    every: timedelta = timedelta(weeks=1),
    limits: Limits | None = None,
    changes: Mapping[str, Share] = MappingProxyType({}),
) -> list[Scoring]:
    """Cases of a model that ranks well, in `weeks` stretches of time, six in ten reviewed; all but `changes` stays."""
    rng = np.random.default_rng(seed)
    said = []
    for week in range(weeks):
        now = {**USUAL, **{name: change(week) for name, change in changes.items()}}
        for case in range(cases):
            log_odds = rng.normal(np.where(rng.random(2) < now["prevalence"], 1.0, -2.0))
            probabilities = 1 / (1 + np.exp(-log_odds))
            absent = ("note",) if rng.random() < now["no_note"] else ()
            reviewed = LABELS if rng.random() < 0.6 else ()
            verdicts: dict[str, Verdict] = {
                label: "override" if rng.random() < now["overridden"] else "accept" for label in reviewed
            }
            prediction = Prediction(
                case_id=f"case-{week}-{case}",
                model_id="0123456789ab",
                findings=tuple(
                    Finding(label, float(p), 0.4, -1.5, limits=limits)
                    for label, p in zip(LABELS, probabilities, strict=True)
                ),
                present=tuple(name for name in ("image", "note", "record") if name not in absent),
                absent=absent,
                remarks=(f"check: gap of {case} mm",) if rng.random() < now["remarked"] else (),
                doubts=("unlike the training cases",) if rng.random() < now["doubted"] else (),
            )
            at = START + every * (week + case / cases)
            record: dict[str, RecordValue] = {
                "age": float(rng.normal(now["age"], 15)),
                "sex": str(rng.choice(["F", "M"])),
            }
            said.append(Scoring(prediction, at, record, verdicts))
    return said


def judged(said: list[Scoring]) -> Drift:
    return judge_drift("0123456789ab", said)


def item(drift: Drift, name: str) -> Item:
    return next(one for one in drift.items if one.name == name)


def later(share: float, before: float, week: int = 4) -> Share:
    return lambda now: share if now >= week else before


def test_a_history_in_which_nothing_changes_is_called_steady() -> None:
    found = [judged(history(seed, weeks=5)) for seed in range(12)]

    assert sum(drift.judgement == "steady" for drift in found) >= 11
    assert sum(len(drift.attention) for drift in found) <= 2  # of 12 times 17 items


def test_a_doubled_prevalence_is_found_in_probabilities_and_calls() -> None:
    drift = judged(history(cases=200, weeks=6, changes={"prevalence": later(0.5, 0.25)}))

    for label in LABELS:
        assert item(drift, f"{label} flagged").judgement == "drifted"
        assert item(drift, label).judgement in ("watch", "drifted")
    assert item(drift, "no note").judgement == "steady"
    assert drift.judgement == "drifted"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"no_note": later(0.9, 0.1)}, "no note"),
        ({"remarked": later(0.6, 0.2)}, "check: gap of n mm"),
        ({"doubted": later(0.4, 0.05)}, "any doubt"),
        ({"age": later(45, 60)}, "age"),
        ({"overridden": lambda week: 0.05 + 0.06 * week}, "any finding overridden"),
        ({"overridden": lambda week: 0.05 + 0.06 * week}, "pneumonia overridden"),
    ],
)
def test_what_changes_is_found_and_named_with_the_rule_that_found_it(change: dict[str, Share], name: str) -> None:
    drift = judged(history(changes=change))

    assert item(drift, name).judgement == "drifted"
    assert item(drift, name) in drift.attention
    assert "q < 0.001" in drift.reason(item(drift, name))
    assert f"{len(drift.attention)} drifted" in drift.headline


def test_a_model_that_says_uncertain_more_often_is_found() -> None:
    limits = Limits(present_from=0.2, absent_to=0.6, error=0.1)
    sure = history(weeks=4, limits=limits)
    unsure = history(1, weeks=4, limits=Limits(present_from=0.02, absent_to=0.9, error=0.01))
    drift = judged([*sure, *(moved(said, timedelta(weeks=4)) for said in unsure)])

    assert item(drift, "pneumonia uncertain").judgement == "drifted"
    assert not any("uncertain" in one.name for one in judged(history(weeks=4)).items)


def moved(said: Scoring, by: timedelta) -> Scoring:
    return Scoring(said.prediction, said.at + by, said.record, said.verdicts)


def test_a_window_with_few_cases_is_marked_and_not_judged() -> None:
    whole = history(weeks=5)
    few = history(1, weeks=6, changes={"no_note": lambda week: 1})[-ENOUGH + 1 :]

    drift = judged(whole + few)

    assert [window.small for window in drift.windows] == [False] * 5 + [True]
    assert item(drift, "no note").points[-1].judgement == "not judged"
    assert item(drift, "no note").judgement == "steady"


def test_a_history_too_short_to_have_a_reference_is_not_judged() -> None:
    for said in (history(weeks=1, cases=30), history(weeks=1, cases=1000), history(weeks=3, cases=60)):
        drift = judged(said)

        assert drift.judgement == "not judged"
        assert "too few" in drift.headline
        assert "too few" in drift.reason(drift.items[0])


def test_what_drifted_and_came_back_is_to_watch() -> None:
    drift = judged(history(weeks=8, changes={"no_note": lambda week: 0.9 if week in (3, 4) else 0.1}))

    assert item(drift, "no note").judgement == "watch"
    assert "steady since" in drift.reason(item(drift, "no note"))


def test_a_drift_is_not_over_because_one_window_may_be_luck() -> None:
    drift = judged(history(weeks=8, changes={"no_note": lambda week: 0.9 if week in (5, 6) else 0.1}))

    assert item(drift, "no note").judgement == "drifted"


def test_a_change_too_small_to_matter_is_steady_however_sure_it_is() -> None:
    every = timedelta(days=9)
    said = history(weeks=2, cases=2500, every=every, changes={"no_note": lambda week: 0.008 * week})
    drift = judged([moved(one, START + every * (place // 2500) - one.at) for place, one in enumerate(said)])

    assert item(drift, "no note").points[-1].q < RATE
    assert item(drift, "no note").judgement == "steady"
    assert "less than 1 point" in drift.reason(item(drift, "no note"))


@pytest.mark.parametrize(
    ("weeks", "cases", "every", "unit"),
    [
        (14, 60, timedelta(days=1), "day"),
        (6, 100, timedelta(weeks=1), "week"),
        (MOST_WINDOWS + 5, 60, timedelta(days=1), "week"),
        (5, 60, timedelta(days=30), "month"),
    ],
)
def test_windows_are_the_shortest_that_hold_enough_cases(weeks: int, cases: int, every: timedelta, unit: str) -> None:
    drift = judged(history(weeks=weeks, cases=cases, every=every))

    assert drift.unit == unit
    assert sum(window.cases for window in drift.windows) == weeks * cases


def test_the_reference_holds_enough_cases_and_every_day_of_the_week() -> None:
    by_week = judged(history(weeks=6, cases=110))
    by_day = judged(history(weeks=14, cases=60, every=timedelta(days=1)))

    assert [window.reference for window in by_week.windows] == [True, True, False, False, False, False]
    assert sum(window.cases for window in by_week.windows if window.reference) >= REFERENCE
    assert sum(window.reference for window in by_day.windows) == 7


def test_a_week_without_a_case_is_a_window_all_the_same() -> None:
    drift = judged([*history(weeks=4), *(moved(said, timedelta(weeks=6)) for said in history(1, weeks=3))])

    assert [window.cases for window in drift.windows] == [120] * 4 + [0, 0] + [120] * 3


def test_a_case_that_is_scored_again_counts_once_in_a_window_and_again_in_another() -> None:
    said = history(weeks=5)
    again = [Scoring(said[0].prediction, START + timedelta(hours=hours), {}, {}) for hours in (1, 7 * 24 + 1)]

    drift = judged(sorted([*said, *again], key=lambda one: one.at))

    assert [window.cases for window in drift.windows] == [120, 121, 120, 120, 120]


def test_shares_bear_wilson_intervals_and_q_is_corrected_for_everything_that_was_compared() -> None:
    drift = judged(history(weeks=5, cases=150, changes={"no_note": later(0.2, 0.1)}))
    points = [point for one in drift.items for point in one.points if np.isfinite(point.p)]
    share = item(drift, "no note").points[2]

    assert (share.low, share.high) == wilson(share.value, share.cases)
    np.testing.assert_allclose([point.q for point in points], false_discovery_control([point.p for point in points]))


def test_the_stability_index_is_near_nothing_for_luck_and_is_the_textbooks_for_large_samples() -> None:
    rng = np.random.default_rng(0)
    luck = [stability(rng.random(200), rng.random(50)) for _ in range(100)]
    reference, moved = rng.normal(0, 1, 100_000), rng.normal(0.5, 1, 100_000)
    cuts = np.quantile(reference, np.arange(1, 10) / 10)
    before, now = (np.bincount(np.searchsorted(cuts, part)) / len(part) for part in (reference, moved))

    assert np.mean(luck) < 0.05
    assert stability(reference, moved) == pytest.approx(float(((now - before) * np.log(now / before)).sum()), abs=1e-3)
    assert 0.2 < stability(reference, moved) < 0.3  # of two normals half a deviation apart: a quarter


def test_the_stability_index_sees_a_value_that_was_always_the_same_move_either_way() -> None:
    same = np.zeros(300)

    assert stability(same, np.zeros(100)) == 0
    assert stability(same, np.ones(100)) > 1
    assert stability(same, -np.ones(100)) > 1


def test_a_kind_of_remark_that_only_a_few_cases_have_is_counted_and_not_shown() -> None:
    said = history(weeks=4, changes={"remarked": lambda week: 0})
    rare = Prediction(
        **{
            name: getattr(said[0].prediction, name) for name in ("case_id", "model_id", "findings", "present", "absent")
        },
        remarks=("check: CANARYNAME stands in the picture",),
    )

    drift = judged([Scoring(rare, said[0].at, {}, {}), *said[1:]])

    assert "CANARYNAME" not in str(plain(drift))
    assert item(drift, "any other kind").reference.value > 0


def test_the_same_history_gives_the_same_numbers() -> None:
    assert plain(judged(history(3, weeks=4))) == plain(judged(history(3, weeks=4)))
