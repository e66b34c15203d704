"""Score studies as they come into a folder, until somebody says stop.

medmm score INCOMING --model RUN --out OUT --watch 30
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType

from medmm.errors import CohortError, ConfigError
from medmm.read.cohort import Cohort
from medmm.read.sources.folder import check_apart
from medmm.read.sources.source import Source
from medmm.score.case import Beside
from medmm.score.lock import alone_in
from medmm.score.reading import Stamp, stamps
from medmm.score.shard import Shard
from medmm.score.watch import watch
from pipelines import terminal
from pipelines.score import Query, check_asked, find_cases, load, memory_of, score_cases, without_table


def watch_studies(
    studies: str,
    model: Path,
    out: Path,
    query: Query,
    every_s: float,
    *,
    workers: int | None = None,
    deletions: bool = False,
    shard: Shard | None = None,
) -> None:
    """Score what is in a folder, and what comes, until Ctrl+C or SIGTERM; the case in hand is finished.

    Args:
        studies: a folder, with or without a table.
        model: a run or a model folder.
        out: where predictions go.
        query: nothing; only a server can be asked.
        every_s: seconds from one look to the next. A study is left alone until nothing of it changes for so long.
        workers: processes that decode; one a core if None.
        deletions: see Beside.
        shard: the part of what comes that is scored here.

    Raises:
        ConfigError: if there is no such folder, or `out` lies in it; and as check_asked.
    """
    check_asked(studies, query, shard)
    folder = Path(studies)
    if not folder.is_dir():
        raise ConfigError(f"{studies} is no folder, and nothing else can be watched", "Give a folder")
    check_apart(folder, out)
    with _stopped() as stopped, alone_in(out):
        loaded, beside = load(model), Beside(memory_of(model), deletions)
        listing: Stamp | None = None
        cohort = Cohort(folder, without_table(loaded), ())
        terminal.console.print(f"Watching {folder}; stop with Ctrl+C")

        def look() -> Cohort:
            nonlocal listing, cohort
            now = tuple(stamps(Source(folder)))
            if now != listing:
                try:
                    found = find_cases(folder, loaded, out, workers)
                    cohort = shard.part(found) if shard else found
                except CohortError as problem:  # nothing yet, or half a table
                    terminal.console.print(f"Waiting: {problem}")
            listing = now
            return cohort

        def score(part: Cohort) -> None:
            score_cases(loaded, part, out, workers=workers, beside=beside, stop=stopped.is_set)

        watch(look, score, lambda: stopped.wait(every_s))


@contextmanager
def _stopped() -> Iterator[Event]:
    """An event that Ctrl+C and SIGTERM set; after the first of them they do what they always do."""
    stopped = Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()
        restore()

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        restore()
