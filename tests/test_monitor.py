"""`medmm monitor`: from the store of a scored folder to a page and numbers, without a note and without a name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medmm.errors import StoreError
from medmm.judge.drift import Drift, Scoring, scorings
from medmm.result import Review, ScoredCase, Verdict
from medmm.store.store import Store
from pipelines.monitor import NUMBERS, PAGE, monitor_folder
from pipelines.terminal import console
from tests.scored import LABELS, MODEL, SCRIPT, scored_case

START = datetime(2026, 3, 2, tzinfo=UTC)
NOTE = f"CANARYNOTE {SCRIPT}"
LATER = "ba9876543210"
REVIEWER, COMMENT = "CANARYREVIEWER", "CANARYCOMMENT"


@pytest.fixture(scope="module")
def clock() -> Iterator[list[datetime]]:
    """What time the store takes it to be: the last one of the list."""
    times = [START]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medmm.store.store._now", lambda: times[-1].replace(tzinfo=None))
        yield times


@dataclass(frozen=True)
class Monitored:
    """A scored folder, what was said of it and what was printed."""

    out: Path
    drifts: tuple[Drift, ...]
    printed: str

    @property
    def page(self) -> str:
        return (self.out / PAGE).read_text(encoding="utf-8")

    @property
    def models(self) -> list[dict[str, Any]]:
        return list(json.loads((self.out / NUMBERS).read_text(encoding="utf-8"))["models"])


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory, clock: list[datetime]) -> Monitored:
    """Two models; of the later one the notes stop coming in the last week."""
    out = tmp_path_factory.mktemp("scored")
    write(out, clock, [0.1] * 4)
    write(out, clock, [0.1, 0.1, 0.1, 1.0], model=LATER)
    with console.capture() as printed:
        drifts = monitor_folder(out)
    return Monitored(out, drifts, printed.get())


def of_model(case: ScoredCase, model: str) -> ScoredCase:
    return replace(case, prediction=replace(case.prediction, model_id=model))


def word(case_id: str, at: datetime, verdict: Verdict = "accept", label: str = LABELS[0], model: str = MODEL) -> Review:
    return Review(case_id, model, label, verdict, COMMENT, REVIEWER, at)


def write(out: Path, clock: list[datetime], no_note: Sequence[float], model: str = MODEL) -> None:
    """Score 14 cases on each of five days a week, of which a share comes without a note; half of them are reviewed."""
    rng = np.random.default_rng(1)
    with Store(out / "store.sqlite") as store:
        for day in range(5 * len(no_note)):
            week = day // 5
            clock.append(START + timedelta(weeks=week, days=day % 5))
            ids = [f"case-{day}-{number}" for number in range(14)]
            scored = [
                scored_case(
                    case_id,
                    rng.uniform(0.02, 0.98, 3).tolist(),
                    note="" if rng.random() < no_note[week] else NOTE,
                    views=(),
                )
                for case_id in ids
            ]
            store.keep([of_model(case, model) for case in scored])
            for case_id in ids[:7]:
                store.trail.add(word(case_id, clock[-1] + timedelta(hours=1), model=model))


def test_models_of_one_store_are_judged_each_on_its_own(monitored: Monitored) -> None:
    later, earlier = monitored.drifts

    assert (later.model_id, later.judgement) == (LATER, "drifted")
    assert [item.name for item in later.attention] == ["no note"]
    assert (earlier.model_id, earlier.judgement) == (MODEL, "steady")


def test_what_was_found_stands_on_the_page_in_the_numbers_and_on_the_terminal(monitored: Monitored) -> None:
    for text in (monitored.page, monitored.printed):
        assert "280 cases in 4 weeks" in text
        assert all(model in text for model in (MODEL, LATER))
        assert "100 % of 70 cases" in " ".join(text.split())
    assert "Nothing: every item that could be judged is steady." in monitored.page
    assert [model["judgement"] for model in monitored.models] == ["drifted", "steady"]


def test_the_numbers_hold_every_item_in_every_window_with_its_rule(monitored: Monitored) -> None:
    model = monitored.models[0]

    assert [window["cases"] for window in model["windows"]] == [70] * 4
    assert [window["reviewed"] for window in model["windows"]] == [35] * 4
    assert all(len(item["points"]) == 4 and item["rule"] for item in model["items"])
    assert {item["group"] for item in model["items"]} == {
        "missing",
        "probability",
        "call",
        "doubt",
        "remark",
        "record",
        "review",
    }


def test_the_same_store_gives_the_same_files(monitored: Monitored, tmp_path: Path) -> None:
    monitor_folder(monitored.out, tmp_path / "again")

    for name in (PAGE, NUMBERS):
        assert (tmp_path / "again" / name).read_bytes() == (monitored.out / name).read_bytes()


def test_no_note_no_case_and_no_reviewer_is_in_what_is_written_or_printed(monitored: Monitored) -> None:
    said = monitored.page + json.dumps(monitored.models) + monitored.printed

    assert "CANARY" not in said
    assert "case-0-" not in said


def test_the_page_needs_no_other_file_and_no_other_machine(monitored: Monitored) -> None:
    page = monitored.page

    assert "default-src 'none'" in page
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=|url\(", re.sub(r'href="#[^"]*"|url\(#[^)]*\)', "", page))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_a_folder_in_which_nothing_was_scored_is_said_to_be_unusable(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        monitor_folder(tmp_path)
    assert not list(tmp_path.iterdir())

    Store(tmp_path / "store.sqlite").close()
    with pytest.raises(StoreError, match="nothing was scored"):
        monitor_folder(tmp_path)


def heard(store: Store) -> list[tuple[str, Mapping[str, Verdict]]]:
    return [(said.prediction.case_id, said.verdicts) for said in scorings(store.history(MODEL))]


def test_the_history_holds_every_prediction_and_the_newest_word_on_each(tmp_path: Path, clock: list[datetime]) -> None:
    clock.append(START)
    with Store(tmp_path / "store.sqlite") as store:
        store.keep([scored_case("a"), scored_case("b")])
        store.trail.add(word("a", START + timedelta(hours=1)))
        store.trail.add(word("a", START + timedelta(hours=2), "override"))
        clock.append(START + timedelta(days=9))
        store.keep([scored_case("a", note="", content="d" * 64)])
        store.trail.add(word("a", START + timedelta(days=10)))

        found = scorings(store.history(MODEL))

        assert heard(store) == [("a", {LABELS[0]: "override"}), ("b", {}), ("a", {LABELS[0]: "accept"})]
    assert [said.at for said in found] == [START, START, START + timedelta(days=9)]
    assert [said.prediction.absent for said in found] == [(), (), ("note",)]
    assert all(said.record["age_years"] == 74.0 for said in found)
    assert all(isinstance(said, Scoring) for said in found)
