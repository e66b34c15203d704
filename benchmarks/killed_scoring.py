"""Does a scoring run that is killed again and again end as one that was not? Real processes, kill -9.

python -m benchmarks.killed_scoring RUN STUDIES --times 200 --seed 0

Every run is a fork that scores on all cores as `medmm score` does, and is killed at a random moment; the processes that
answer for it, which are not in its group, find that out by themselves, and may finish what they have in hand. Where one
finishes, its folder is compared with that of an uninterrupted run, and another begins, until so many were killed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from medmm.model.card import ModelInfo
    from medmm.read.cohort import Cohort
    from medmm.score.content import Beside

STORE, LOCK, MANIFEST = "store.sqlite", ".lock", "manifest.json"
_TIMES = ("scored_at", "at")
"""Columns of the store that say when."""


def main() -> int:
    """1 if a folder ended otherwise than that of the uninterrupted run."""
    from pipelines.score import find_cases, known_of

    parser = argparse.ArgumentParser(prog="python -m benchmarks.killed_scoring", description=__doc__)
    parser.add_argument("run", type=Path, help="what `medmm train` wrote")
    parser.add_argument("studies", type=Path, help="a cohort, or a bare folder of studies")
    parser.add_argument("--times", type=int, default=200, help="kills")
    parser.add_argument("--most", type=int, default=300, help="studies; the first ones are taken")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--workers", type=int, default=1, help="processes that read and answer")
    arguments = parser.parse_args()
    model, beside = known_of(arguments.run)
    with tempfile.TemporaryDirectory() as folder:
        whole, out = Path(folder) / "whole", Path(folder) / "killed"
        cohort = find_cases(arguments.studies, model.card, whole, arguments.workers)
        cohort = replace(cohort, rows=cohort.rows[: arguments.most])
        begin = partial(started, arguments.run, model, cohort, beside, arguments.workers)
        begun = time.perf_counter()
        process = begin(whole)
        while not kept(whole) and process.is_alive():
            time.sleep(0.01)
        first = time.perf_counter() - begun
        process.join()
        took = time.perf_counter() - begun
        if process.exitcode:
            parser.error("these studies cannot be scored: `medmm score` says why")
        print(f"Uninterrupted: {took:.1f} s for {len(cohort.rows)} cases, the first after {first:.1f} s", flush=True)
        longest = 2 * (first + (took - first) / arguments.times)
        lives = np.random.default_rng(arguments.seed).random(arguments.times) * longest
        return told(begin, lives.tolist(), whole, out)


def told(begin: Any, lives: list[float], whole: Path, out: Path) -> int:
    """Kill runs after so many seconds each, say what came of it, and return the exit code."""
    expected, stages, ended, differ = contents(whole), Counter[str](), 0, 0
    while lives:
        process = begin(out)
        process.join(timeout=lives[-1])
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
            stages[where := stage(out, len(expected[STORE]))] += 1
            print(f"Kill {sum(stages.values())} after {lives.pop():.1f} s, {where}, {kept(out)} kept", flush=True)
            if lives:
                continue
            process = begin(out)
            process.join()
        else:
            lives[-1] *= 0.9  # it was done before
        ended += 1
        found = contents(out)
        others = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        differ += bool(others)
        verdict = f"OTHER {', '.join(others)}" if others else "same files and store"
        print(f"Folder {ended} is finished: {verdict}", flush=True)
        shutil.rmtree(out)
    print("Killed " + ", ".join(f"{count} times {name}" for name, count in stages.most_common()))
    print("Every folder ended as the uninterrupted one" if not differ else f"{differ} folders ended otherwise")
    return 1 if differ else 0


def started(run: Path, model: ModelInfo, cohort: Cohort, beside: Beside, workers: int, out: Path) -> BaseProcess:
    """A run in a process group of its own."""
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=_scored, args=(run, model, cohort, beside, workers, out))
    process.start()
    os.setpgid(process.pid or 0, process.pid or 0)
    return process


def _scored(run: Path, model: ModelInfo, cohort: Cohort, beside: Beside, workers: int, out: Path) -> None:
    from medmm.score.cohort import score_cohort
    from pipelines.score import engine_on

    with engine_on(None, run) as engine:
        score_cohort(model, cohort, out, lambda done, total: None, engine, workers, beside)


def stage(out: Path, all_rows: int) -> str:
    """How far a run had come that was killed."""
    if (out / MANIFEST).exists():
        return "when all was written"
    if not kept(out):
        return "before the first case"
    return "while scoring" if len(contents(out)[STORE]) < all_rows else "while writing tables"


def kept(out: Path) -> int:
    """Cases in the store; 0 as long as there is none."""
    try:
        with closing(sqlite3.connect(f"file:{out / STORE}?mode=ro", uri=True)) as store:
            return int(store.execute("SELECT count(*) FROM prediction").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def contents(out: Path) -> dict[str, Any]:
    """Every file of a scored folder; of the store all rows of all tables, but when they were written."""
    files = [path for path in out.rglob("*") if path.is_file() and path.name != LOCK]
    return {path.relative_to(out).as_posix(): rows(path) if path.name == STORE else path.read_bytes() for path in files}


def rows(path: Path) -> list[tuple[object, ...]]:
    """All rows of a database, each behind the name of its table."""
    found: list[tuple[object, ...]] = []
    with closing(sqlite3.connect(path)) as store:
        names = store.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        for (name,) in names:
            table = store.execute(f'SELECT * FROM "{name}"')
            chosen = [number for number, column in enumerate(table.description) if column[0] not in _TIMES]
            found += sorted((name, *(row[number] for number in chosen)) for row in table)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
