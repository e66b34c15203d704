"""Is the store quick and safe? A worklist of many cases, several writers at once, and a trail touched row by row.

python -m benchmarks.store --cases 10000 --seed 0 [--postgresql]
"""

from __future__ import annotations

import argparse
import multiprocessing
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from medmm.placement import Placement
from medmm.result import Contribution, Evidence, Explanation, Film, Finding, Overlay, Prediction, ScoredCase, WordWeight
from medmm.store.decisions import ConflictError, Decision
from medmm.store.events import Reader
from medmm.store.store import Store
from medmm.store.worklist import Filters
from tests.postgres import running

MODEL = "0123456789ab"
LABELS = ("pneumonia", "heart_failure", "lung_cancer", "pneumothorax", "fracture")
WRITERS, EVENTS, ROWS = 4, 500, 1000
_TIMES = 7


def main() -> int:
    """1 if an event was lost or doubled, a writer failed, or a touch was not found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the findings")
    parser.add_argument("--postgresql", action="store_true", help="start one and measure it too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running() if arguments.postgresql else nullcontext() as url:
        places: dict[str, Path | str] = {"SQLite": Path(folder) / "store.sqlite"}
        if url:
            places["PostgreSQL"] = url
        wrong = 0
        for name, where in places.items():
            wrong += written_at_once(name, where)
            read(name, where, arguments.cases, arguments.seed)
        wrong += touched(Path(folder))
    return int(wrong > 0)


def read(name: str, where: Path | str, cases: int, seed: int) -> None:
    """Fill a store and time what the screen asks of it."""
    rng = np.random.default_rng(seed)
    with Store(where) as store:
        model = MODEL[::-1]
        for start in range(0, cases, 200):
            store.keep([made(f"case-{n:06d}", rng, model) for n in range(start, min(start + 200, cases))])
        for row in store.worklist(model, order="case", limit=cases // 20):
            decide(store, Reader("Ada"), model, row.prediction.case_id, LABELS[0], "")
        middle = f"case-{cases // 2:06d}"
        timed = {
            "first page, the most urgent first": lambda: store.worklist(model, limit=50),
            "with priorities": lambda: store.worklist(model, priorities={"lung_cancer": 3.0}, limit=50),
            "last page": lambda: store.worklist(model, limit=50, offset=cases - 50),
            "not reviewed and flagged": lambda: store.worklist(
                model, Filters("not reviewed", flagged=LABELS[2]), limit=50
            ),
            "mine": lambda: store.worklist(model, Filters("mine", "Ada"), limit=50),
            "search": lambda: store.worklist(model, Filters(search=middle[-5:]), limit=50),
            "how many a filter leaves": lambda: store.matching(model, Filters("not reviewed")),
            "every count": lambda: store.counts(model, "Ada"),
            "one case with its evidence": lambda: store.case(model, middle),
            "one case as people left it": lambda: store.trail.desk(model, middle),
            "the trail verified": store.trail.verify,
        }
        print(f"{name}, {cases} cases of {len(LABELS)} findings, median of {_TIMES}:")
        for what, ask in timed.items():
            print(f"  {what}: {1000 * seconds(ask):.0f} ms", flush=True)


def seconds(ask: Callable[[], object]) -> float:
    """Median time of an answer."""

    def once() -> float:
        started = time.perf_counter()
        ask()
        return time.perf_counter() - started

    return statistics.median(once() for _ in range(_TIMES))


def made(case_id: str, rng: np.random.Generator, model: str = MODEL) -> ScoredCase:
    """A case with evidence as large as that of a film: a map of 14 by 14 and sixty words for each finding."""
    sides = ("image", "note", "record")
    parts = tuple(Contribution(side, float(rng.normal())) for side in sides)
    findings = tuple(Finding(label, float(rng.beta(0.5, 3)), 0.4, -1.5, parts) for label in LABELS)
    placement = Placement.fit(2500, 2048, 224)
    note = "opacity " * 60
    explanations = tuple(
        Explanation(
            label,
            "integrated gradients",
            (Overlay(rng.normal(size=(14, 14)).astype(np.float32), placement),),
            tuple(WordWeight(8 * n, 8 * n + 7, float(rng.normal())) for n in range(60)),
        )
        for label in LABELS
    )
    evidence = Evidence((Film("a" * 64, "DX", "PA"),), note, {"age_years": 70.0}, {"age_years": "a"}, explanations)
    return ScoredCase(Prediction(case_id, model, findings, sides, ()), evidence, "c" * 64)


def decide(store: Store, who: Reader, model: str, case_id: str, label: str, comment: str) -> int:
    """Decide until nobody else did meanwhile; returns how often somebody had."""
    conflicts = 0
    while True:
        try:
            store.trail.decide(who, store.trail.desk(model, case_id), Decision(label, "accept", comment))
        except ConflictError:
            conflicts += 1
        else:
            return conflicts


def write(where: Path | str, person: int) -> None:
    """Write EVENTS decisions on fifty cases."""
    with Store(where) as store:
        for n in range(EVENTS):
            decide(store, Reader(f"reader {person}"), MODEL, f"c{n % 50}", LABELS[n % 5], f"{person}-{n}")


def written_at_once(name: str, where: Path | str) -> int:
    """Let writers meet in the same cases; returns how many events are lost or doubled, and how many writers failed."""
    rng = np.random.default_rng(0)
    with Store(where) as store:
        store.keep([made(f"c{n}", rng) for n in range(50)])
    context = multiprocessing.get_context("fork")
    crowd = [context.Process(target=write, args=(where, person)) for person in range(WRITERS)]
    started = time.perf_counter()
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    spent = time.perf_counter() - started
    failed = sum(one.exitcode != 0 for one in crowd)  # a database that is locked would be a StoreError
    with Store(where) as store:
        said = [event.payload["comment"] for event in store.trail.events()]
        faults = store.trail.verify().faults
    lost, doubled = WRITERS * EVENTS - len(set(said)), len(said) - len(set(said))
    print(
        f"{name}, {WRITERS} writers x {EVENTS} decisions: {lost} lost, {doubled} doubled, {failed} writers failed, "
        f"{len(faults)} faults of the trail; {spent:.1f} s",
        flush=True,
    )
    return lost + doubled + failed + len(faults)


def touched(folder: Path) -> int:
    """Change, delete and swap every row of a trail, one at a time; returns how many touches were not found."""
    path, missed = folder / "touched.sqlite", 0
    with Store(path) as store:
        store.keep([made("c0", np.random.default_rng(0))])
        shown = store.trail.desk(MODEL, "c0").shown
        for n in range(ROWS):
            store.trail.open(Reader(f"reader {n % 7}"), shown)
        with sqlite3.connect(path, isolation_level=None) as raw:
            for number in range(1, ROWS + 1):
                other = number % ROWS + 1
                for sql in (
                    (f"UPDATE event SET who = 'somebody' WHERE number = {number}",),
                    (f"DELETE FROM event WHERE number = {number}",),
                    (
                        f"UPDATE event SET number = -1 WHERE number = {number}",
                        f"UPDATE event SET number = {number} WHERE number = {other}",
                        f"UPDATE event SET number = {other} WHERE number = -1",
                    ),
                ):
                    missed += not found(store, raw, sql, number)
        whole = not store.trail.verify().faults
    print(f"Each of {ROWS} rows changed, deleted and swapped with the next: {missed} of {3 * ROWS} touches not found")
    return missed + (not whole)


def found(store: Store, raw: sqlite3.Connection, sql: Sequence[str], number: int) -> bool:
    """Whether a verification finds what somebody does to the rows; they are put back afterwards."""
    rows = raw.execute("SELECT * FROM event WHERE number IN (?, ?)", (number, number % ROWS + 1)).fetchall()
    for statement in sql:
        raw.execute(statement)
    faults = store.trail.verify().faults
    raw.execute("DELETE FROM event WHERE number IN (?, ?)", (number, number % ROWS + 1))
    raw.executemany(f"INSERT INTO event VALUES ({','.join('?' * len(rows[0]))})", rows)
    return bool(faults)


if __name__ == "__main__":
    raise SystemExit(main())
