"""What people do with a case, one event each: open, claim, decide, take back; and whether nobody touched the trail."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from medmm.errors import StoreError
from medmm.result import Reading, Review, Standing
from medmm.store import desk as table
from medmm.store import events as log
from medmm.store.database import Database
from medmm.store.decisions import (
    Claim,
    ConflictError,
    Decision,
    Desk,
    claim_of,
    in_force,
    standings,
    words,
)
from medmm.store.events import Event, Head, Kind, Reader, Shown
from medmm.store.schema import EVENT, FINDING, PREDICTION
from medmm.store.values import now, utc
from medmm.store.verify import Verified, verify

_AGAIN = "Open the case again"


class Trail:
    """The audit trail of a store. Every method that changes something is one event, whole or not at all."""

    def __init__(self, database: Database, claim_lasts: timedelta) -> None:
        self._database = database
        self._claim_lasts = claim_lasts

    def desk(self, model_id: str, case_id: str) -> Desk:
        """One case as people left it.

        Raises:
            StoreError: if this model has not scored it.
        """
        with self._database.transaction() as connection:
            shown, scored_at = table.newest(connection, model_id, case_id)
            labels = select(FINDING.c.label).where(FINDING.c.prediction_id == shown.prediction)
            named = connection.execute(labels.order_by(FINDING.c.place)).scalars().all()
            done = log.of_case(connection, model_id, case_id)
        last = done[-1].number if done else 0
        claim = in_force(claim_of(done), utc(now()), self._claim_lasts)
        return Desk(shown, scored_at, last, standings(done, shown.prediction, named), claim, tuple(done))

    def reviews(self, model_id: str, case_id: str) -> tuple[Review, ...]:
        """Every word on one case that was not taken back, also on earlier predictions, oldest first."""
        with self._database.transaction() as connection:
            return words(log.of_case(connection, model_id, case_id))

    def open(self, reader: Reader, shown: Shown, *, blind: bool = False) -> int:
        """A person opened a case; returns the number of the event, for `close`.

        Args:
            reader: who.
            shown: what.
            blind: whether what the model says is hidden until they have decided every finding.
        """
        with self._database.transaction(writes=True) as connection:
            return log.append(connection, now(), reader, "opened", shown, {"blind": blind})

    def close(self, reader: Reader, opened: int, seconds: float | None = None) -> int:
        """A person left a case.

        Args:
            reader: who opened it.
            opened: number of that event.
            seconds: time on task, if the screen measured it; otherwise the time since it was opened.

        Raises:
            StoreError: if `opened` is no such event of this person.
        """
        with self._database.transaction(writes=True) as connection:
            begun = _own(connection, reader, opened, "opened")
            at = now()
            spent = (utc(at) - begun.at).total_seconds() if seconds is None else seconds
            payload = {"event": opened, "seconds": round(spent, 3)}
            return log.append(connection, at, reader, "closed", begun.shown, payload)

    def claim(self, reader: Reader, shown: Shown) -> Claim:
        """Claim a case; returns who holds it now, which is somebody else if they were first and are not stale."""
        with self._database.transaction(writes=True) as connection:
            at = now()
            held = in_force(table.claimed(connection, shown), utc(at), self._claim_lasts)
            if held is None:
                table.append(connection, at, reader, "claimed", shown, {})
                held = Claim(reader.name, utc(at))
            return held

    def release(self, reader: Reader, shown: Shown) -> int | None:
        """Let go of a case; returns the number of the event, None if nobody held it.

        Raises:
            StoreError: if another person holds it and the reader does not lead.
        """
        with self._database.transaction(writes=True) as connection:
            at = now()
            held = in_force(table.claimed(connection, shown), utc(at), self._claim_lasts)
            if held is None:
                return None
            if held.who != reader.name and not reader.leads:
                raise StoreError(f"the case is claimed by {held.who}", "Ask them, or a lead, to release it")
            return table.append(connection, at, reader, "released", shown, {"held": held.who})

    def read_as(self, reader: Reader, shown: Shown, reading: Reading) -> int:
        """Say in which capacity a person reads a case; decisions from now on carry it.

        Raises:
            StoreError: if somebody adjudicates who does not lead.
        """
        table.may_read_as(reader, reading)
        with self._database.transaction(writes=True) as connection:
            return log.append(connection, now(), reader, "read as", shown, {"reading": reading})

    def decide(self, reader: Reader, desk: Desk, decision: Decision) -> int:
        """Store what a person says of one label; returns the number of the event.

        Args:
            reader: who says it.
            desk: the case as they have seen it.
            decision: what they say.

        Raises:
            ConflictError: if somebody else decided the same label since the desk was read. Nothing was stored; with
                a newer desk the same decision is taken.
            StoreError: if the case was scored again since, or has no such label.
        """
        shown = desk.shown
        if decision.label not in desk.standings:
            raise StoreError("the model has no such finding", "Choose one of its own")
        with self._database.transaction(writes=True) as connection:
            newest, _ = table.newest(connection, shown.model_id, shown.case_id)
            if newest != shown:
                raise StoreError("the case was scored again while it was open", _AGAIN)
            done = log.of_case(connection, shown.model_id, shown.case_id)
            others = [
                word
                for word in words(done)
                if word.event > desk.last and word.label == decision.label and word.reviewer != reader.name
            ]
            if others:
                raise ConflictError(others)
            return table.decide(connection, now(), reader, shown, decision, done)

    def add(self, review: Review) -> int:
        """Store a word that was said elsewhere, on the newest prediction, without looking for a conflict."""
        decision = Decision(review.label, review.verdict, review.comment, review.outline, review.blind, review.present)
        at = review.at.astimezone(UTC).replace(tzinfo=None)
        with self._database.transaction(writes=True) as connection:
            try:
                shown, _ = table.newest(connection, review.model_id, review.case_id)
            except StoreError:
                shown = Shown(review.model_id, review.case_id)
            done = log.of_case(connection, review.model_id, review.case_id)
            return table.decide(connection, at, Reader(review.reviewer, review.role), shown, decision, done)

    def retract(self, reader: Reader, event: int, comment: str = "") -> int:
        """Take a decision of one's own back; it stays in the trail, and this event names it.

        Raises:
            StoreError: if it is no decision of this person, or was taken back before.
        """
        with self._database.transaction(writes=True) as connection:
            decided = _own(connection, reader, event, "decided")
            done = log.of_case(connection, decided.shown.model_id, decided.shown.case_id)
            if event not in {word.event for word in words(done)}:
                raise StoreError("this decision was taken back before", _AGAIN)
            payload = {"event": event, "label": decided.payload["label"], "comment": comment}
            return table.append(connection, now(), reader, "retracted", decided.shown, payload)

    def exported(self, reader: Reader, kind: str, shown: Shown, cases: int = 1) -> int:
        """Somebody took something out of the store.

        Args:
            reader: who.
            kind: as what: 'csv', 'cohort', 'pdf', 'sr'.
            shown: which case; with case_id '' all cases of a model, and with model_id '' all there are.
            cases: how many.
        """
        with self._database.transaction(writes=True) as connection:
            return log.append(connection, now(), reader, "exported", shown, {"as": kind, "cases": cases})

    def events(self) -> tuple[Event, ...]:
        """The whole trail, oldest first."""
        with self._database.transaction() as connection:
            return tuple(log.read(connection))

    def rows(self) -> tuple[dict[str, Any], ...]:
        """The whole trail as it is kept, oldest first: what was hashed, column by column, whether it reads or not."""
        with self._database.transaction() as connection:
            return tuple(dict(row) for row in connection.execute(select(EVENT).order_by(EVENT.c.number)).mappings())

    def standings(self, model_id: str) -> dict[str, dict[str, Standing]]:
        """Case id -> label -> how people stand to it, of the newest prediction of every case that anybody decided."""
        kept = PREDICTION.c
        query = select(kept.case_id, func.max(kept.id).label("newest")).where(kept.model_id == model_id)
        about = select(EVENT).where(EVENT.c.model_id == model_id, EVENT.c.kind.in_(("decided", "retracted")))
        with self._database.transaction() as connection:
            newest = {row.case_id: row.newest for row in connection.execute(query.group_by(kept.case_id))}
            done: dict[str, list[Event]] = {}
            for event in log.read(connection, about):
                done.setdefault(event.shown.case_id, []).append(event)
        return {case_id: standings(said, newest.get(case_id)) for case_id, said in done.items()}

    def verify(self, expect: Head | None = None) -> Verified:
        """Whether every event is as it was written, where it was written, and none is missing. Writers wait for it.

        Args:
            expect: a head that was noted earlier, elsewhere; the trail must have grown out of it.
        """
        with self._database.transaction(writes=True) as connection:  # so that all it reads is of one moment
            return verify(connection, expect)


def _own(connection: Connection, reader: Reader, number: int, kind: Kind) -> Event:
    """An event of this kind that this person made."""
    found = next(log.read(connection, select(EVENT).where(EVENT.c.number == number)), None)
    if found is None or found.kind != kind or found.who != reader.name:
        raise StoreError(f"event {number} is nothing that {reader.name} {kind}", _AGAIN)
    return found
