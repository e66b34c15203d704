"""The steps that bring an older store up to date."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column, Connection, MetaData, Table, inspect, select, update

from medmm.store import desk
from medmm.store import events as log
from medmm.store.decisions import Decision
from medmm.store.events import Reader, Shown
from medmm.store.schema import FINDING, PREDICTION, TABLES
from medmm.store.values import absent_out, finding_in, prediction_in


def _add_limits(connection: Connection) -> None:
    """A finding knows the limits of its model; those of older predictions have none."""
    _add_columns(connection, FINDING.c.limits)


def _add_what_the_worklist_asks_for(connection: Connection) -> None:
    """A prediction says what is missing and how many doubts there are, a finding how it was called."""
    added = _add_columns(connection, PREDICTION.c.absent, PREDICTION.c.doubts, FINDING.c.called)
    TABLES.create_all(connection)
    for table in (PREDICTION, FINDING):
        for index in table.indexes:
            index.create(connection, checkfirst=True)
    if added:
        _fill(connection)


def _fill(connection: Connection) -> None:
    for row in connection.execute(select(PREDICTION.c.id, PREDICTION.c.case_id, PREDICTION.c.said)).all():
        said = prediction_in(row, "", ())
        values = {"absent": absent_out(said), "doubts": len(said.doubts)}
        connection.execute(update(PREDICTION).where(PREDICTION.c.id == row.id).values(**values))
    for row in connection.execute(select(FINDING)).all():
        one = (FINDING.c.prediction_id == row.prediction_id) & (FINDING.c.place == row.place)
        connection.execute(update(FINDING).where(one).values(called=finding_in(row).call))


def _turn_reviews_into_events(connection: Connection) -> None:
    """What stood in a table of reviews is said in events, in the same order, and the table goes."""
    if not inspect(connection).has_table("review"):
        return
    review = Table("review", MetaData(), autoload_with=connection)
    for row in connection.execute(select(review).order_by(review.c.id)).all():
        shown = _shown_at(connection, row)
        done = log.of_case(connection, row.model_id, row.case_id)
        decision = Decision(row.label, row.verdict, row.comment)
        desk.decide(connection, row.at, Reader(row.reviewer.strip() or "unknown"), shown, decision, done)
    review.drop(connection)


def _shown_at(connection: Connection, review: Any) -> Shown:
    """The newest prediction that was there when a review was written."""
    kept = PREDICTION.c
    case = kept.model_id == review.model_id, kept.case_id == review.case_id, kept.scored_at <= review.at
    row = connection.execute(select(kept.id, kept.content).where(*case).order_by(kept.id.desc()).limit(1)).first()
    return (
        Shown(review.model_id, review.case_id, row.id, row.content) if row else Shown(review.model_id, review.case_id)
    )


def _add_columns(connection: Connection, *columns: Column[Any]) -> bool:
    """Add what is not there yet; a new store has them all."""
    missing = [
        c for c in columns if c.name not in {had["name"] for had in inspect(connection).get_columns(c.table.name)}
    ]
    for column in missing:
        kind = column.type.compile(connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {column.table.name} ADD COLUMN {column.name} {kind}")
    return bool(missing)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    TABLES.create_all,
    _add_limits,
    _add_what_the_worklist_asks_for,
    _turn_reviews_into_events,
)
"""Step n brings a store of version n to version n + 1. Steps are added, never changed."""
