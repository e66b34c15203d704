"""Studies as they come: each is scored once it is all there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from medmm.config import CohortConfig
from medmm.read.cohort import CaseRow, Cohort
from medmm.score.reading import Stamp, stamp_of


def watch(look: Callable[[], Cohort], score: Callable[[Cohort], object], wait: Callable[[], bool]) -> None:
    """Look again and again, and score cases that stand as they stood one look before: nobody copies them any more.

    A case that was handed over is handed over again when its files or its cells change.

    Args:
        look: the cases that are there now.
        score: takes those that are ready.
        wait: returns after the time between two looks, or before; True if that was the last look.
    """
    cohort = Cohort(Path(), CohortConfig(), ())

    def states() -> Mapping[str, object]:
        nonlocal cohort
        cohort = look()
        return {row.case_id: _as_it_is(row) for row in cohort.rows}

    for ready in settled(states, wait):
        score(replace(cohort, rows=tuple(row for row in cohort.rows if row.case_id in ready)))


def settled(look: Callable[[], Mapping[str, object]], wait: Callable[[], bool]) -> Iterator[set[str]]:
    """After each look, the names of what stands as it stood one look before; each once, until it stands otherwise.

    Args:
        look: what is there now, by its name -> how it stands.
        wait: as of `watch`.
    """
    before: Mapping[str, object] = {}
    handled: dict[str, object] = {}
    while True:
        now = look()
        ready = {name: one for name, one in now.items() if before.get(name) == one != handled.get(name)}
        if ready:
            yield set(ready)
        handled |= ready
        before = now
        if wait():
            return


def _as_it_is(row: CaseRow) -> tuple[bytes, Stamp]:
    return row.digest(), stamp_of(row)
