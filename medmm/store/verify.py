"""Whether the audit trail is as it was written: nothing changed, deleted, inserted, moved or cut off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from medmm.store import desk
from medmm.store import events as log
from medmm.store.events import START, Event, Head, seal
from medmm.store.schema import DESK, EVENT, HEAD, PREDICTION

_MOST = 100
"""Faults that are told; where there are more, the trail is lost anyway."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found."""

    events: int
    """How many there are."""
    head: Head | None
    """The last one, to be noted elsewhere; None for a trail without events."""
    faults: tuple[str, ...]
    """What is wrong, one sentence each; empty if nothing is. At most 100."""


def verify(connection: Connection, expect: Head | None) -> Verified:
    """Walk the trail from its start.

    Args:
        connection: to read from.
        expect: a head that was noted earlier, elsewhere; None where there is none.
    """
    walk = _Walk(expect)
    for row in connection.execute(select(EVENT).order_by(EVENT.c.number).execution_options(yield_per=1000)).mappings():
        walk.step(row)
    walk.end(connection.execute(select(HEAD.c.number, HEAD.c.digest)).all())
    faults = walk.faults or list(_desk_faults(connection))
    return Verified(walk.count, walk.head, tuple(faults[:_MOST]))


class _Walk:
    """From one event to the next, with what was wrong on the way."""

    def __init__(self, expect: Head | None) -> None:
        self.count = 0
        self.head: Head | None = None
        self.faults: list[str] = []
        self._expect = expect

    def step(self, row: Any) -> None:
        """Look at one row."""
        at, before = (self.head.number, self.head.digest) if self.head else (0, START)
        number, digest = row["number"], seal(row)
        if number != at + 1:
            self.faults.append(f"{_missing(at + 1, number - 1)} before event {number}")
        if digest != row["digest"]:
            self.faults.append(f"event {number} was changed: it does not have its own hash")
        if row["previous"] != before:
            self.faults.append(f"event {number} does not follow on the event that stands before it")
        if self._expect and self._expect.number == number:
            if self._expect.digest != digest:
                self.faults.append(f"event {number} is not the one whose hash was noted")
            self._expect = None
        self.count += 1
        self.head = Head(number, row["digest"])

    def end(self, kept: Sequence[Any]) -> None:
        """Look at where the trail ends."""
        heads = [Head(row.number, row.digest) for row in kept]
        if heads != ([self.head] if self.head else []):
            last = f"event {self.head.number}" if self.head else "its start"
            self.faults.append(f"events after {last} are missing, or that one does not belong there")
        if self._expect:
            self.faults.append(f"event {self._expect.number}, whose hash was noted, is missing")


def _missing(first: int, last: int) -> str:
    return f"event {first} is missing" if first == last else f"events {first} to {last} are missing"


def _desk_faults(connection: Connection) -> Iterator[str]:
    """Cases of which the worklist says something else than the trail, which is sound."""
    kept = {(row["model_id"], row["case_id"]): dict(row) for row in connection.execute(select(DESK)).mappings()}
    done: dict[tuple[str, str], list[Event]] = {case: [] for case in kept}
    for event in log.read(connection, select(EVENT).where(EVENT.c.kind.in_(desk.KINDS))):
        done.setdefault((event.shown.model_id, event.shown.case_id), []).append(event)
    made = {
        tuple(row) for row in connection.execute(select(PREDICTION.c.model_id, PREDICTION.c.case_id, PREDICTION.c.id))
    }
    wrong = 0
    for case, said in done.items():
        about = kept.get(case, {}).get("prediction_id")
        right = about is None or (*case, about) in made
        latest = max((event.shown.prediction or 0 for event in said), default=0)
        wrong += not right or (about or 0) < latest or kept.get(case) != desk.row(*case, said, about)
    if wrong:
        yield f"of {wrong} cases the worklist says something else than the trail"
