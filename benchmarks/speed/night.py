"""A night in a process of its own: how long until a model answers, how much memory a run takes, and what a rerun costs.

python -m benchmarks.speed.night RUN STUDIES OUT

Prints one line of JSON, which `benchmarks.speed` reads.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path


def night(run: Path, studies: Path, out: Path) -> dict[str, float]:
    """What a night says of itself, see `main`."""
    command = [sys.executable, "-m", "benchmarks.speed.night", str(run), str(studies), str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> int:
    """Load the model, score, score again with nothing left to do; print seconds and MiB."""
    begin = time.perf_counter()
    run, studies, out = map(Path, sys.argv[1:])
    from benchmarks.speed.rounds import Subject, score

    subject = Subject.of(run)
    loaded = time.perf_counter()
    cohort = subject.cohort(studies)
    score(subject, cohort, out)
    scored = time.perf_counter()
    score(subject, cohort, out)
    again = time.perf_counter()
    mine, child = (
        resource.getrusage(who).ru_maxrss / 2**10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    figures = {
        "start_s": loaded - begin,
        "run_s": scored - loaded,
        "rerun_s": again - scored,
        "parent_mib": mine,
        "largest_child_mib": child,
        "at_most_mib": mine + (os.cpu_count() or 1) * child,
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
