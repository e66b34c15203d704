"""What does a killable child cost? The same films read in this process and in one child, in turns; the best of each.

By the clock a second core hides what the way between the two processes costs; --processor counts that too.

python -m benchmarks.pool [COHORT] --repeats 5 [--processor]
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

from medmm.case import Study
from medmm.errors import DataError
from medmm.read.dicom.study import read_study
from medmm.read.pool import read_studies
from medmm.read.sources.folder import read_folder
from medmm.read.sources.source import Source
from sample_data.cohort import write_cohort

_MOST = 0.05


def main() -> int:
    """Print the figures; 1 if a child costs more than five per cent of a study, its start left aside."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pool", description=__doc__)
    parser.add_argument("cohort", type=Path, nargs="?", help="folder with studies/; without one, films are made")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--films", type=int, default=150, help="how many to read, or to make")
    parser.add_argument("--processor", action="store_true", help="processor time of both, not the clock")
    arguments = parser.parse_args()
    spent = _processor if arguments.processor else time.perf_counter
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.cohort or _make(Path(made), arguments.films)
        rows = read_folder(folder / "studies").rows[: arguments.films]
        jobs = [(row.case_id, row.study) for row in rows if row.study is not None]
        turns = [
            (_here(jobs, spent), _in_a_child(jobs, spent), _in_a_child(jobs[:1], spent))
            for _ in range(arguments.repeats)
        ]
    here, child, start = (min(column) for column in zip(*turns, strict=True))
    first = here / len(jobs)
    cost = (child - start + first) / here - 1
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    how = "processor time" if arguments.processor else "by the clock"
    print(f"{len(jobs)} studies, {how}, best of {arguments.repeats}")
    print(f"in this process: {1000 * first:.2f} ms a study")
    print(f"in one child:    {1000 * first * (1 + cost):.2f} ms a study ({100 * cost:+.1f} %)")
    print(f"start of a child, once: {start - first:.1f} s")
    return 0 if cost < _MOST else 1


def _make(folder: Path, films: int) -> Path:
    """The sample cohort; about every patient has one study."""
    write_cohort(folder, patients=films, seed=0)
    return folder


def _here(jobs: Sequence[tuple[str, Source]], spent: Callable[[], float]) -> float:
    """Seconds for all studies, one after the other."""
    begin = spent()
    for case_id, source in jobs:
        _checked(read_study(source, case_id))
    return spent() - begin


def _in_a_child(jobs: Sequence[tuple[str, Source]], spent: Callable[[], float]) -> float:
    """Seconds for all studies in one child, its start among them."""
    begin = spent()
    for _, answer in read_studies(jobs, workers=1):
        _checked(answer)
    return spent() - begin


def _processor() -> float:
    """Processor time of this process and of the children that have ended, in seconds."""
    return sum(os.times()[:4])


def _checked(answer: Study | DataError) -> None:
    if isinstance(answer, DataError):
        raise answer


if __name__ == "__main__":
    raise SystemExit(main())
