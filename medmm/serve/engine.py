"""The one model that the service holds, and who works for it: children that read, and one thread that answers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Self

from medmm.case import Case
from medmm.config import CohortConfig
from medmm.errors import DataError
from medmm.model.folder import Model
from medmm.read.cohort import CaseRow, Cohort, read_case
from medmm.read.pool import MEMORY_BYTES, TIMEOUT_S, Children
from medmm.read.sources.source import forget_archives
from medmm.result import ScoredCase
from medmm.score.case import answer_case, encode_case
from medmm.score.content import Beside, content_of
from medmm.serve.bundle import read_bundle
from medmm.serve.problem import RequestError
from medmm.tensors import pixels_for


class Engine:
    """Scores cases for as long as the `with` lasts; of requests beyond its bound it refuses all at once."""

    def __init__(
        self,
        model: Model,
        *,
        waiting: int = 16,
        workers: int | None = None,
        timeout_s: float = TIMEOUT_S,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """Start nothing that costs.

        Args:
            model: ready to answer.
            waiting: requests that are served or wait at a time, uploads included.
            workers: child processes that read; one a core if None.
            timeout_s: seconds that reading one case may take.
            memory_bytes: what one child may allocate.
        """
        self.model = model
        self.waiting = waiting
        self.config = _as_taught(model)
        self.admitted = 0
        """Requests that hold a place now."""
        self._cohort = Cohort(Path(), self.config, ())
        self._enough = pixels_for(model.encoders.image.size)
        self._children = Children(workers, timeout_s, memory_bytes)
        at_once = 1 + (workers or os.cpu_count() or 1)  # decoded cases that are held: one is answered meanwhile
        self._readers = ThreadPoolExecutor(at_once, "medmm-reader")
        self._answerer = ThreadPoolExecutor(1, "medmm-answerer")
        self._last_s = 1.0

    def __enter__(self) -> Self:
        self._children.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, thrown: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._readers.shutdown(cancel_futures=True)
        self._answerer.shutdown(cancel_futures=True)
        self._children.__exit__(kind, thrown, trace)

    def require_place(self) -> None:
        """Check that a place is free; called in the thread of the event loop only, as `place` is.

        Raises:
            RequestError: 503, with Retry-After as long as the last case took.
        """
        if self.admitted < self.waiting:
            return
        problem, remedy = f"the service is busy with {self.waiting} requests", "Send it again after Retry-After seconds"
        headers = {"Retry-After": str(ceil(self._last_s)), "Connection": "close"}
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "busy", problem, remedy, headers)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places; raises as `require_place`."""
        self.require_place()
        self.admitted += 1
        began = time.monotonic()
        try:
            yield
            self._last_s = time.monotonic() - began
        finally:
            self.admitted -= 1
            forget_archives()

    async def score(self, row: CaseRow, *, explained: bool) -> ScoredCase:
        """Read, encode and answer one case, and explain the answer if that is asked for.

        Raises:
            DataError: if it cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._score, row, explained)

    async def read_bundle(self, folder: Path, most: int) -> Cohort:
        """Find the cases of a bundle that was received; see `read_bundle`."""
        config = self.model.card.cohort.model_dump(exclude_defaults=True, exclude={"labels", "fhir"})
        taught = CohortConfig.model_validate(config)  # a column that was not named then may be absent now
        return await asyncio.get_running_loop().run_in_executor(self._readers, read_bundle, folder, taught, most)

    def _score(self, row: CaseRow, explained: bool) -> ScoredCase:
        """Runs in a thread of its own, which mostly waits: for a child, then for the one thread that answers."""
        _, case = self._children.start(row.case_id, _read, (self._cohort, row, self._enough))()
        if isinstance(case, DataError):
            raise case
        beside = Beside(explained=explained)
        content = content_of(row, self.config, beside)

        def answered() -> ScoredCase:
            waiting = encode_case(self.model, row, case, content, None, self.config)
            return answer_case(self.model, None, waiting, beside)

        return self._answerer.submit(answered).result()


def _read(cohort: Cohort, row: CaseRow, enough: int) -> Case:
    """Runs in a child, which keeps nothing open of an upload that is soon gone."""
    try:
        return read_case(cohort, row, enough)
    finally:
        forget_archives()


def _as_taught(model: Model) -> CohortConfig:
    """How the model was taught to read a case, without a table and without answers."""
    return model.card.cohort.model_copy(update={"study": "", "note": "", "labels": None, "fhir": None})
