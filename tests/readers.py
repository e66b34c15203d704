"""Readers of cases that come to grief, for tests of what becomes of the others; children import them by name."""

from __future__ import annotations

import os
import signal
import time
from errno import ENOSPC

from medmm.errors import DataError, ModelError, Reason
from medmm.read.cohort import CaseRow, Cohort, read_case
from medmm.read.pool import MEMORY_BYTES
from medmm.result import Refusal, ScoredCase
from medmm.score.cores import answer
from medmm.score.engine import Plan
from medmm.score.kept import Kept
from medmm.score.reading import Read, inputs_of
from medmm.score.worker import Held


def blind(cohort: Cohort, row: CaseRow, enough: int | None, kept: Kept | None) -> Read:
    """Find a case that is kept, and decode none."""
    inputs = inputs_of(row)
    if kept is None or not kept.has(inputs):
        raise DataError(row.case_id, Reason.CRASH, "would have to be decoded", "Keep it")
    return Read(None, inputs)


def unlucky(cohort: Cohort, row: CaseRow, enough: int | None, kept: Kept | None = None) -> Read:
    """Read a case; of those called 'killed' and 'greedy' the child dies, or wants more memory than it may have."""
    if row.case_id == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if row.case_id == "greedy":
        bytearray(3 * MEMORY_BYTES)  # one that also answers may have twice as much, and what it has freed since
    return Read(read_case(cohort, row, enough), inputs_of(row))


def die() -> None:
    """Take the process with it."""
    os.kill(os.getpid(), signal.SIGKILL)


def linger() -> None:
    """Never answer."""
    time.sleep(3600)


def disagree() -> None:
    """Find another model than the run's."""
    raise ModelError("one model", "Another")


def unlucky_worker(held: Held, plan: Plan, row: CaseRow) -> ScoredCase | Refusal | Exception:
    """Read and answer a case; those called 'killed' and 'greedy' come to the same end, and at 'full' the disk is."""
    if row.case_id == "full":
        return OSError(ENOSPC, os.strerror(ENOSPC))
    unlucky(plan.cohort, row, None)
    return answer(held, plan, row)
