"""A folder into which studies come: what is new is scored once it is all there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from medmm.read.cohort import CaseRow, Cohort
from medmm.score.reading import Stamp, stamp_of

Seen = dict[str, tuple[bytes, Stamp]]
"""Case id -> its cells, and how its files stood when it was looked at."""


def watch(look: Callable[[], Cohort], score: Callable[[Cohort], object], wait: Callable[[], bool]) -> None:
    """Look again and again, and score cases that stand as they stood one look before: nobody copies them any more.

    A case that was handed over is handed over again when its files or its cells change.

    Args:
        look: the cases that are there now.
        score: takes those that are ready.
        wait: returns after the time between two looks, or before; True if that was the last look.
    """
    before: Seen = {}
    handled: Seen = {}
    while True:
        cohort = look()
        now = {row.case_id: _as_it_is(row) for row in cohort.rows}
        ready = {name: one for name, one in now.items() if one == before.get(name) and one != handled.get(name)}
        if ready:
            score(replace(cohort, rows=tuple(row for row in cohort.rows if row.case_id in ready)))
        handled |= ready
        before = now
        if wait():
            return


def _as_it_is(row: CaseRow) -> tuple[bytes, Stamp]:
    return row.digest(), stamp_of(row)
