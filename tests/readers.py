"""Readers of cases that come to grief, for tests of what becomes of the others; children import them by name."""

from __future__ import annotations

import os
import signal

from medmm.read.cohort import CaseRow, Cohort, read_case
from medmm.read.pool import MEMORY_BYTES
from medmm.score.reading import Read, inputs_of


def unlucky(cohort: Cohort, row: CaseRow, enough: int | None) -> Read:
    """Read a case; of those called 'killed' and 'greedy' the child dies, or wants more memory than it may have."""
    if row.case_id == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if row.case_id == "greedy":
        bytearray(2 * MEMORY_BYTES)
    return Read(read_case(cohort, row, enough), inputs_of(row))
