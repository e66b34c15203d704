"""What the worklist promises, on SQLite and on PostgreSQL: the right cases, the most urgent first, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest

from medmm.errors import Reason
from medmm.result import Limits, Refusal, ScoredCase
from medmm.store.decisions import Decision
from medmm.store.events import Reader
from medmm.store.store import Store
from medmm.store.worklist import Filters, Order, Status
from tests import postgres
from tests.scored import LABELS, MODEL, scored_case

ADA, BO = Reader("Ada"), Reader("Bo")
ALL = Filters()
START = datetime(2026, 3, 2, 8)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.running() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        with Store(tmp_path / "store.sqlite") as opened:
            yield opened
        return
    with postgres.database(request.getfixturevalue("server")) as url, Store(url) as opened:
        yield opened


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """What time the store takes it to be: the last one of the list."""
    times = [START]
    monkeypatch.setattr("medmm.store.store._now", lambda: times[-1])
    return times


def ids(
    store: Store,
    filters: Filters = ALL,
    order: Order = "urgent",
    priorities: dict[str, float] | None = None,
) -> list[str]:
    rows = store.worklist(MODEL, filters, order, priorities=priorities or {})
    return [row.prediction.case_id for row in rows]


def say(store: Store, who: Reader, case_id: str, accept: bool = True, label: str = LABELS[2]) -> int:
    decision = Decision(label, "accept" if accept else "override")
    return store.trail.decide(who, store.trail.desk(MODEL, case_id), decision)


def uncertain(case: ScoredCase) -> ScoredCase:
    findings = tuple(replace(f, limits=Limits(0.01, 0.99, 0.05)) for f in case.prediction.findings)
    return replace(case, prediction=replace(case.prediction, findings=findings))


def unlike(case: ScoredCase) -> ScoredCase:
    return replace(case, prediction=replace(case.prediction, doubts=("unlike the others",)))


def test_urgency_is_the_labels_priority_times_how_far_its_probability_lies_over_its_threshold(store: Store) -> None:
    store.keep(
        [scored_case("a", (0.7, 0.1, 0.1)), scored_case("b", (0.1, 0.1, 0.6)), scored_case("c", (0.1, 0.2, 0.2))]
    )

    assert ids(store) == ["a", "b", "c"]
    assert ids(store, priorities={LABELS[2]: 3}) == ["b", "a", "c"]
    assert ids(store, priorities={LABELS[1]: 10, LABELS[2]: 3}) == ["c", "b", "a"]


def test_a_threshold_of_its_own_makes_a_rare_finding_as_urgent_as_a_common_one(store: Store) -> None:
    rare = scored_case("rare", (0.01, 0.01, 0.2))
    findings = (*rare.prediction.findings[:2], replace(rare.prediction.findings[2], threshold=0.05))
    store.keep([scored_case("common", (0.6, 0.1, 0.1))])
    store.keep([replace(rare, prediction=replace(rare.prediction, findings=findings))])

    assert ids(store) == ["rare", "common"]


def test_a_case_grows_more_urgent_as_it_waits(store: Store, clock: list[datetime]) -> None:
    store.keep([scored_case("waits", (0.3, 0.01, 0.01))])
    clock.append(START + timedelta(days=2))
    store.keep([scored_case("new", (0.8, 0.01, 0.01))])
    assert ids(store) == ["waits", "new"]  # 0.3 times 3 days, and 0.8 times 1

    assert ids(store, order="newest") == ["new", "waits"]
    assert ids(store, order="oldest") == ["waits", "new"]
    assert ids(store, order="case") == ["new", "waits"]


def test_of_cases_that_were_scored_within_a_minute_the_more_probable_comes_first(
    store: Store, clock: list[datetime]
) -> None:
    store.keep([scored_case("first", (0.5, 0.01, 0.01))])
    clock.append(START + timedelta(seconds=50))
    store.keep([scored_case("second", (0.6, 0.01, 0.01))])

    assert ids(store) == ["second", "first"]


def test_what_somebody_decided_comes_last(store: Store) -> None:
    store.keep([scored_case("a", (0.9, 0.1, 0.1)), scored_case("b", (0.2, 0.1, 0.1))])

    say(store, ADA, "a")

    assert ids(store) == ["b", "a"]


@pytest.fixture
def crowd(store: Store) -> Store:
    """A case for every filter."""
    store.keep([scored_case("plain"), scored_case("done", (0.9, 0.1, 0.1)), scored_case("split"), scored_case("held")])
    store.keep([uncertain(scored_case("unsure")), unlike(scored_case("odd"))])
    store.keep([scored_case("no-note", note=""), scored_case("bare", note="", record={})])
    say(store, ADA, "done")
    say(store, ADA, "split")
    say(store, BO, "split", accept=False)
    store.trail.claim(BO, store.trail.desk(MODEL, "held").shown)
    return store


EVERY = ["bare", "done", "held", "no-note", "odd", "plain", "split", "unsure"]
FOUND = [
    (Filters(), EVERY),
    (Filters(status="not reviewed"), ["bare", "held", "no-note", "odd", "plain", "unsure"]),
    (Filters(status="reviewed"), ["done", "split"]),
    (Filters(status="mine", who="Ada"), ["done", "split"]),
    (Filters(status="mine", who="Bo"), ["held", "split"]),
    (Filters(status="mine"), []),
    (Filters(status="claimed"), ["held"]),
    (Filters(status="disagreed"), ["split"]),
    (Filters(uncertain=True), ["unsure"]),
    (Filters(unlike=True), ["odd"]),
    (Filters(missing=("note",)), ["bare", "no-note"]),
    (Filters(missing=("note", "record")), ["bare"]),
    (Filters(flagged=LABELS[0]), ["done"]),
    (Filters(search=" NO-"), ["no-note"]),
    (Filters(search="o"), ["done", "no-note", "odd"]),
    (Filters(search="%"), []),
    (Filters(status="reviewed", flagged=LABELS[0], search="d"), ["done"]),
]


def test_a_filter_leaves_the_cases_that_it_names(crowd: Store) -> None:
    for filters, expected in FOUND:
        assert ids(crowd, filters, "case") == expected, filters
        assert crowd.matching(MODEL, filters) == len(expected), filters


def test_the_counts_are_those_of_the_filters(crowd: Store) -> None:
    counts = crowd.counts(MODEL, "Bo")

    assert counts.status == {one: crowd.matching(MODEL, Filters(status=one, who="Bo")) for one in get_args(Status)}
    assert (counts.uncertain, counts.unlike) == (1, 1)
    assert counts.missing == {"image": 0, "note": 2, "record": 1}
    assert counts.flagged == {LABELS[0]: 1, LABELS[1]: 0, LABELS[2]: 6}


def test_the_counts_of_a_model_that_scored_nothing_are_nought(store: Store) -> None:
    counts = store.counts("f" * 12)

    assert set(counts.status.values()) == {0}
    assert counts.flagged == {}
    assert store.worklist("f" * 12, limit=10) == ()


@pytest.mark.parametrize("order", get_args(Order))
def test_pages_hold_every_case_once_in_the_order_of_the_whole(crowd: Store, order: Order) -> None:
    whole = crowd.worklist(MODEL, order=order)

    pages = [crowd.worklist(MODEL, order=order, limit=3, offset=offset) for offset in (0, 3, 6, 9)]

    assert [len(page) for page in pages] == [3, 3, 2, 0]
    assert tuple(row.prediction.case_id for page in pages for row in page) == tuple(r.prediction.case_id for r in whole)
    assert [row.prediction for page in pages for row in page] == [row.prediction for row in whole]


def test_a_row_says_who_holds_the_case_and_what_is_open(crowd: Store) -> None:
    rows = {row.prediction.case_id: row for row in crowd.worklist(MODEL)}

    assert rows["held"].claimed_by == "Bo"
    assert rows["plain"].claimed_by == ""
    assert (rows["split"].reviewed, rows["split"].disagreed) == (1, 1)
    assert (rows["done"].reviewed, rows["done"].disagreed) == (1, 0)
    assert rows["plain"].shown == crowd.trail.desk(MODEL, "plain").shown
    assert abs(rows["plain"].scored_at - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_case_that_was_scored_again_is_not_reviewed_and_no_longer_disagreed_on(crowd: Store) -> None:
    crowd.keep([scored_case("split", content="d" * 64)])

    assert "split" in ids(crowd, Filters(status="not reviewed"))
    assert ids(crowd, Filters(status="disagreed")) == []
    assert ids(crowd, order="case") == EVERY


def test_a_case_that_was_refused_since_is_on_no_page_and_in_no_count(crowd: Store) -> None:
    crowd.refuse(MODEL, Refusal("bare", Reason.CORRUPT, "the pixel data do not decode", "Send the study again"))

    assert ids(crowd, Filters(missing=("record",))) == []
    assert crowd.counts(MODEL).missing["record"] == 0
    assert crowd.counts(MODEL).status["all"] == len(EVERY) - 1
