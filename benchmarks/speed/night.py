"""A night in a process of its own: how long until the first answer, how much memory a run takes, what a rerun costs.

python -m benchmarks.speed.night RUN STUDIES OUT

STUDIES is a cohort or a bare folder. Prints one line of JSON, which `benchmarks.speed` reads.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread


def night(run: Path, studies: Path, out: Path) -> dict[str, float]:
    """What a night says of itself, see `main`."""
    command = [sys.executable, "-m", "benchmarks.speed.night", str(run), str(studies), str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


@contextmanager
def watched() -> Iterator[list[float]]:
    """MiB that this process and all below it hold, twice a second; what they share counts once (PSS of Linux)."""
    import psutil  # type: ignore[import-untyped]

    me, done, seen = psutil.Process(), Event(), list[float]()

    def held(process: psutil.Process) -> float:
        try:
            return float(process.memory_full_info().pss)
        except psutil.Error:  # it is gone
            return 0.0

    def watch() -> None:
        while not done.is_set():
            seen.append(sum(held(one) for one in (me, *me.children(recursive=True))) / 2**20)
            done.wait(0.5)

    thread = Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def main() -> int:
    """Score, score again with nothing left to do; print seconds and MiB."""
    run, studies, out = map(Path, sys.argv[1:])
    begin = time.perf_counter()
    with watched() as seen:
        done = _scored(run, studies, out)
    scored = time.perf_counter()
    _scored(run, studies, out)
    again = time.perf_counter()
    half = len(seen) // 2
    figures = {
        "studies": float(len(done)),
        "start_s": done[0] - begin,
        "run_s": scored - begin,
        "rerun_s": again - scored,
        "most_mib": max(seen),
        "most_in_first_half_mib": max(seen[: half + 1]),
    }
    print(json.dumps(figures))
    return 0


def _scored(run: Path, studies: Path, out: Path) -> list[float]:
    """Score as `medmm score` does; when each case was done."""
    from medmm.score.cohort import score_cohort
    from pipelines.score import engine_on, find_cases, known_of

    done: list[float] = []
    with engine_on(None, run) as engine:
        info, beside = known_of(run)
        cohort = find_cases(studies, info.card, out, None)
        score_cohort(info, cohort, out, lambda *_: done.append(time.perf_counter()), engine, beside=beside)
    return done


if __name__ == "__main__":
    raise SystemExit(main())
