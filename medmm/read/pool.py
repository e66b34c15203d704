"""Studies are decoded in child processes that may hang or die without taking the run with them."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import chain, islice
from multiprocessing.context import BaseContext
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self, TypeVar

from medmm.case import Case, Study
from medmm.config import ImageRule
from medmm.errors import DataError, Reason
from medmm.read.cohort import CaseRow, Cohort, read_case
from medmm.read.guard import hush
from medmm.read.handover import Parcel
from medmm.read.sources.source import Source

Answer = TypeVar("Answer")

TIMEOUT_S = 60.0
"""Seconds after which a study that is still being decoded is given up."""
MEMORY_BYTES = 2**32
"""What one child may allocate: several times the largest film, and less than a header can make it ask for."""
_shared: set[str] = set()
"""Modules that the process has loaded of which children are forks, if there is one."""
READERS = ("medmm.read.cohort", "medmm.read.dicom.study")
"""What a child needs that reads."""
_VIEWER = "Check the study with a DICOM viewer"
_AGAIN = "Run the same command again, with fewer --workers or a higher `ulimit -n`"
_TRIES = 3
"""How often a study is read anew whose reader died before it was heard."""


def in_children(
    work: Callable[..., Answer],
    jobs: Iterable[tuple[str, tuple[Any, ...]]],
    workers: int | None = None,
    timeout_s: float = TIMEOUT_S,
    memory_bytes: int = MEMORY_BYTES,
    preloaded: Sequence[str] = READERS,
) -> Iterator[tuple[str, Answer | DataError]]:
    """Do work side by side, answers in the order of `jobs`; what goes wrong with one job is its answer.

    Args:
        work: a function of a module, called in a child; the DataError that it raises is its answer, and anything else
            that it throws becomes one: TOO_LARGE for want of memory, else CRASH.
        jobs: case id and arguments of each job.
        workers: child processes, at the most; the number of cores if None.
        timeout_s: limit for one job, in seconds; its child is then killed and replaced.
        memory_bytes: limit for one child, beside what it begins with; on Linux only.
        preloaded: modules that children need and that take long to load; they then share them, where the system can
            and the first of this process to be started, or `preload`, asked for them too.
    """
    waiting: deque[Callable[[], tuple[str, Any]]] = deque()
    workers, left = workers or os.cpu_count() or 1, iter(jobs)
    first = tuple(islice(left, workers))
    if not first:
        return
    with Children(len(first), timeout_s, memory_bytes, preloaded) as children:
        for case_id, arguments in chain(first, left):
            waiting.append(children.start(case_id, work, arguments))
            if len(waiting) > 2 * workers:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()


class Children:
    """Child processes that stay for one job after another, for as long as the `with` lasts; threads may share them."""

    def __init__(
        self,
        workers: int | None = None,
        timeout_s: float = TIMEOUT_S,
        memory_bytes: int = MEMORY_BYTES,
        preloaded: Sequence[str] = READERS,
    ) -> None:
        """Start none yet; arguments as `in_children`."""
        from pebble import ProcessPool

        workers, start = workers or os.cpu_count() or 1, _start(preloaded)
        self._begin = partial(ProcessPool, workers, initializer=_prepare, initargs=(memory_bytes,), context=start)
        self._pool, self._lock = self._begin(), Lock()
        self._timeout_s = timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, thrown: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._pool.stop()  # type: ignore[no-untyped-call]  # pebble is not annotated
        self._pool.close()  # type: ignore[no-untyped-call]
        self._pool.join()

    def start(
        self, case_id: str, work: Callable[..., Answer], arguments: tuple[Any, ...]
    ) -> Callable[[], tuple[str, Answer | DataError]]:
        """Begin a job, as `in_children` does; what is returned waits for its answer."""
        begin = partial(self._schedule, case_id, work, arguments)
        return partial(_answer, case_id, begin, begin())

    def _schedule(self, *job: Any) -> Any:
        """Begin a job; where a child died that had nothing to do, and all others with it, among new ones."""
        with self._lock:
            try:
                return self._pool.schedule(_answered, args=job, timeout=self._timeout_s)
            except RuntimeError:
                if self._pool.active:  # or closed
                    raise
                self._pool.stop()  # type: ignore[no-untyped-call]
                self._pool.join()
                self._pool = self._begin()
                return self._pool.schedule(_answered, args=job, timeout=self._timeout_s)


def read_studies(
    jobs: Iterable[tuple[str, Source]], rules: Sequence[ImageRule] = (), workers: int | None = None, **limits: Any
) -> Iterator[tuple[str, Study | DataError]]:
    """Read studies side by side, in the order of `jobs`, as `in_children` does, with its limits.

    Args:
        jobs: case id and files of each study.
        rules: which images of a study are read.
        workers: child processes; the number of cores if None.
        limits: timeout_s and memory_bytes.
    """
    from medmm.read.dicom.study import read_study

    work = ((case_id, (source, case_id, rules)) for case_id, source in jobs)
    return in_children(read_study, work, workers, **limits)


def read_cases(
    cohort: Cohort, rows: Sequence[CaseRow], workers: int | None = None, enough: int | None = None
) -> Iterator[tuple[CaseRow, Case | DataError]]:
    """Read whole cases in the order of `rows`, their studies side by side as `read_studies` does.

    Args:
        cohort: for its configuration.
        rows: of the cohort.
        workers: child processes; the number of cores if None.
        enough: as of `read_case`.
    """
    work = ((row.case_id, (cohort.without_rows(), row, enough)) for row in rows)
    answers = in_children(read_case, work, workers)
    return ((row, case) for row, (_, case) in zip(rows, answers, strict=True))


def preload(modules: Sequence[str]) -> None:
    """Begin to load what `preloaded` will name, out of the way of what is done meanwhile."""
    if _can_share():
        from multiprocessing.forkserver import ensure_running

        _start(modules)
        ensure_running()


def _start(preloaded: Sequence[str]) -> BaseContext:
    """How children begin: out of a process that has loaded modules and does nothing else, or each anew.

    There is one such process. Who wants other modules does not wait for those that it loads.
    """
    if _can_share():
        server = multiprocessing.get_context("forkserver")
        if not _shared:
            _shared.update(preloaded)
            server.set_forkserver_preload(list(preloaded))
        if _shared.issuperset(preloaded):
            return server
    return multiprocessing.get_context("spawn")


def _can_share() -> bool:
    return "forkserver" in multiprocessing.get_all_start_methods()


def _prepare(memory_bytes: int) -> None:
    """Runs first in the child: Ctrl-C is for the parent to answer, and memory beyond the limit is not given."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hush()
    if sys.platform == "linux":
        import resource

        hard, most = resource.getrlimit(resource.RLIMIT_DATA)[1], _data_bytes() + memory_bytes
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_bytes() -> int:
    """What this process has allocated, as RLIMIT_DATA counts it; on Linux."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"^VmData:\s+(\d+) kB$", status, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def _answered(case_id: str, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Parcel:
    """Runs in the child; whatever is thrown travels back as a value, and nothing of its text does."""
    try:
        return Parcel.give(work(*arguments))
    except DataError as problem:
        parcel = Parcel.give(problem)
    except MemoryError:
        parcel = Parcel.give(_too_large(case_id))
    except BaseException as thrown:  # the panic of a Rust codec is no Exception
        failed = f"made its reader fail ({type(thrown).__name__})"
        parcel = Parcel.give(DataError(case_id, Reason.CRASH, failed, _VIEWER))
    gc.collect()  # what was thrown and the frame that threw it hold each other, and all that had been read
    return parcel


def _too_large(case_id: str) -> DataError:
    return DataError(case_id, Reason.TOO_LARGE, "needs more memory than one study may have", "Reduce it")


def _answer(case_id: str, start: Callable[[], Any], job: Any) -> tuple[str, Any]:
    """Wait for one child; its death becomes a reason.

    An answer is lost if its child dies of the next job before the answer was taken from it, and a job if a child dies
    that had nothing to do: then it starts again.
    """
    from pebble import ProcessExpired

    try:
        for again in range(_TRIES):
            try:
                parcel: Parcel = start().result() if again else job.result()
            except BrokenProcessPool:
                continue
            if not parcel.is_lost:
                return case_id, parcel.open()
        return case_id, DataError(case_id, Reason.CRASH, "was read, and its reader could not hand it over", _AGAIN)
    except TimeoutError:
        return case_id, DataError(case_id, Reason.TIMEOUT, "took too long to decode", _VIEWER)
    except MemoryError:
        return case_id, _too_large(case_id)
    except (ProcessExpired, OSError, EOFError):
        return case_id, DataError(case_id, Reason.CRASH, "killed the process that read it", _VIEWER)
