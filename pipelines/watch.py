"""Score studies as they come, into a folder or to a DICOMweb server, until somebody says stop.

medmm score INCOMING --model RUN --out OUT --watch 30
medmm score https://pacs.example.org/dicom-web --model RUN --out OUT --modality CR --watch 60
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from types import FrameType

from medmm.config import CohortConfig
from medmm.errors import CohortError, ConfigError, Reason
from medmm.read.cohort import Cohort
from medmm.read.sources.dicomweb import Match, Server, retrieve_cohort
from medmm.read.sources.folder import check_apart
from medmm.read.sources.source import Source
from medmm.score.lock import alone_in
from medmm.score.reading import Stamp, stamps
from medmm.score.shard import Shard
from medmm.score.watch import settled, watch
from pipelines import terminal
from pipelines.score import (
    RETRIEVED,
    Manner,
    Query,
    check_asked,
    engine_on,
    find_cases,
    is_server,
    known_of,
    score_cases,
    sweep_retrieved,
    without_table,
)

_AT_ONCE = 16
"""Studies that are retrieved before they are scored."""


def watch_studies(
    studies: str,
    model: Path,
    out: Path,
    query: Query,
    every_s: float,
    manner: Manner,
) -> None:
    """Score what is in a folder or on a server, and what comes, until Ctrl+C or SIGTERM; the case in hand is finished.

    Args:
        studies: a folder, with or without a table, or the URL of a DICOMweb server.
        model: a run or a model folder.
        out: where predictions go.
        query: which studies of a server; see Query.
        every_s: seconds from one look to the next. A study is left alone until nothing of it changes for so long: its
            files in a folder, its number of instances on a server.
        manner: without a cluster.

    Raises:
        ConfigError: if there is no such folder, or `out` lies in it; as Server and Server.find; and as check_asked.
    """
    check_asked(studies, query)
    if not is_server(studies):
        if not Path(studies).is_dir():
            raise ConfigError(
                f"{studies} is neither a folder nor a server, and nothing else can be watched", "Give one"
            )
        check_apart(Path(studies), out)
    info, beside = known_of(model, manner)
    with _stopped() as stopped, alone_in(out), engine_on(None, model) as engine:
        config = without_table(info.card)
        what = "the server" if is_server(studies) else studies  # no password in a URL that is yet to be refused
        terminal.console.print(f"Watching {what}; stop with Ctrl+C")

        def score(part: Cohort) -> None:
            score_cases(info, part, out, engine, beside, manner, stopped.is_set)

        wait = partial(stopped.wait, every_s)
        if is_server(studies):
            _watch_server(studies, query, config, out, manner, score, stopped, wait)
        else:
            find = partial(find_cases, Path(studies), info.card, out, manner.workers)
            _watch_folder(Path(studies), find, Cohort(Path(studies), config, ()), manner.shard, score, wait)


def _watch_folder(
    folder: Path,
    find: Callable[[], Cohort],
    cohort: Cohort,
    shard: Shard | None,
    score: Callable[[Cohort], None],
    wait: Callable[[], bool],
) -> None:
    """Watch a folder; `cohort`, without rows, is what is known before the first look."""
    listing: Stamp | None = None

    def look() -> Cohort:
        nonlocal listing, cohort
        now = tuple(stamps(Source(folder)))
        if now != listing:
            try:
                found = find()
                cohort = shard.part(found) if shard else found
            except (CohortError, ConfigError) as problem:  # nothing yet, or half a table
                terminal.console.print(f"Waiting: {problem}")
            except OSError as thrown:
                terminal.console.print(f"Waiting: the folder cannot be read ({type(thrown).__name__})")
                return cohort
        listing = now
        return cohort

    watch(look, score, wait)


def _watch_server(
    url: str,
    query: Query,
    config: CohortConfig,
    out: Path,
    manner: Manner,
    score: Callable[[Cohort], None],
    stopped: Event,
    wait: Callable[[], bool],
) -> None:
    """Watch a server; what it did not give is asked for again, as soon as two looks agree anew."""
    found: dict[str, Match] = {}
    failed = Counter[str]()
    told = ""
    sweep_retrieved(out)
    with Server(url) as server:

        def look() -> Mapping[str, object]:
            nonlocal found, told
            try:
                matches = server.find(patient=query.patient, date=query.date, modality=query.modality)
            except CohortError as problem:
                if str(problem) != told:
                    terminal.console.print(f"Waiting: {problem}")
                told = str(problem)
                return {}
            told = ""
            found = {one.case_id: one for one in matches if manner.shard is None or manner.shard.has(one.uid)}
            return {name: (one.instances, failed[name]) for name, one in found.items()}

        for ready in settled(look, wait):
            new = [one for name, one in found.items() if name in ready]
            for start in range(0, len(new), _AT_ONCE):
                if stopped.is_set():
                    break
                part = new[start : start + _AT_ONCE]
                cohort = retrieve_cohort(server, part, out / RETRIEVED, config, workers=manner.workers)
                refused = {row.case_id: row.study.refused for row in cohort.rows if row.study and row.study.refused}
                failed.update(name for name, why in refused.items() if why[0] is Reason.NOT_RETRIEVED)
                score(cohort)


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
