"""Adding to the trail what changes how a case stands, and keeping the table from which the worklist reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from medmm.errors import StoreError
from medmm.result import Reading
from medmm.store import events as log
from medmm.store.decisions import Claim, Decision, claim_of, reading_of, standings, word_out
from medmm.store.events import Event, Kind, Reader, Shown
from medmm.store.schema import DESK, EVENT, FINDING, PREDICTION
from medmm.store.values import utc

KINDS: tuple[Kind, ...] = ("claimed", "released", "decided", "retracted")
"""What changes how a case stands."""


def newest(connection: Connection, model_id: str, case_id: str) -> tuple[Shown, datetime]:
    """The newest prediction of a case, and when it was made, UTC.

    Raises:
        StoreError: if this model has not scored it.
    """
    kept = PREDICTION.c
    query = select(kept.id, kept.content, kept.scored_at).where(kept.model_id == model_id, kept.case_id == case_id)
    found = connection.execute(query.order_by(kept.id.desc()).limit(1)).first()
    if found is None:
        raise StoreError("the model has not scored this case", "Choose one from the worklist")
    return Shown(model_id, case_id, found.id, found.content), utc(found.scored_at)


def claimed(connection: Connection, shown: Shown) -> Claim | None:
    """Who holds a case; the claim may be stale."""
    case = EVENT.c.model_id == shown.model_id, EVENT.c.case_id == shown.case_id
    query = select(EVENT).where(*case, EVENT.c.kind.in_(("claimed", "released"))).order_by(EVENT.c.number.desc())
    return claim_of(log.read(connection, query.limit(1)))


def decide(
    connection: Connection,
    at: datetime,
    reader: Reader,
    shown: Shown,
    decision: Decision,
    done: Sequence[Event],
) -> int:
    """Add a decision.

    Args:
        connection: in a transaction that has its turn.
        at: UTC, without a zone.
        reader: whose word it is.
        shown: on what.
        decision: what is said.
        done: the events of the case so far.

    Raises:
        StoreError: if somebody adjudicates who does not lead.
    """
    reading = reading_of(done, shown.prediction, reader.name)
    may_read_as(reader, reading)
    payload = word_out(decision, reading, _finding(connection, shown, decision.label))
    return append(connection, at, reader, "decided", shown, payload)


def append(
    connection: Connection, at: datetime, reader: Reader, kind: Kind, shown: Shown, payload: Mapping[str, Any]
) -> int:
    """As events.append, for what changes how a case stands."""
    number = log.append(connection, at, reader, kind, shown, payload)
    done = log.of_case(connection, shown.model_id, shown.case_id)
    connection.execute(delete(DESK).where(DESK.c.model_id == shown.model_id, DESK.c.case_id == shown.case_id))
    case = PREDICTION.c.model_id == shown.model_id, PREDICTION.c.case_id == shown.case_id
    latest = connection.execute(select(func.max(PREDICTION.c.id)).where(*case)).scalar()
    connection.execute(insert(DESK).values(**row(shown.model_id, shown.case_id, done, latest)))
    return number


def row(model_id: str, case_id: str, done: Sequence[Event], prediction: int | None) -> dict[str, Any]:
    """What the events of one case come to, as a row of its table; `prediction` is the one it speaks of."""
    said = standings(done, prediction)
    claim = claim_of(done)
    return {
        "model_id": model_id,
        "case_id": case_id,
        "prediction_id": prediction,
        "decided": sum(standing.state != "undecided" for standing in said.values()),
        "disagreed": sum(standing.state == "disagreed" for standing in said.values()),
        "claimed_by": claim and claim.who,
        "claimed_at": claim and claim.at.replace(tzinfo=None),
    }


def may_read_as(reader: Reader, reading: Reading) -> None:
    """Check that a person may read in this capacity.

    Raises:
        StoreError: if somebody adjudicates who does not lead.
    """
    if reading == "adjudicator" and not reader.leads:
        raise StoreError("a reader does not adjudicate", "Ask a lead")


def _finding(connection: Connection, shown: Shown, label: str) -> dict[str, Any]:
    """What the model said of a label; nothing where that is not known."""
    kept = FINDING.c
    query = select(kept.called, kept.probability, kept.threshold)
    said = connection.execute(query.where(kept.prediction_id == shown.prediction, kept.label == label)).first()
    return {"call": said.called, "probability": said.probability, "threshold": said.threshold} if said else {}
