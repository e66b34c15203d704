"""The tables of the store."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

from medmm.case import MAX_CASE_ID

TABLES = MetaData()
SCHEMA = Table("schema_version", TABLES, Column("version", Integer, nullable=False))
PREDICTION = Table(
    "prediction",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("case_id", String(MAX_CASE_ID), nullable=False, index=True),
    Column("model_id", String(12), nullable=False),
    Column("content", String(64), nullable=False),
    Column("scored_at", DateTime, nullable=False),
    Column("said", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("absent", String(60)),
    Column("doubts", Integer),
    Index("ix_prediction_newest", "model_id", "case_id", "id"),
)
"""`absent`, between commas, and the number of `doubts` are in `said` as well; the worklist asks for them."""
FINDING = Table(
    "finding",
    TABLES,
    Column("prediction_id", ForeignKey("prediction.id"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("label", String(255), nullable=False, index=True),
    Column("probability", Float(53), nullable=False),
    Column("threshold", Float(53), nullable=False),
    Column("base_log_odds", Float(53), nullable=False),
    Column("interaction", Float(53), nullable=False),
    Column("contributions", Text, nullable=False),
    Column("limits", Text),
    Column("called", String(12)),
    Index("ix_finding_called", "prediction_id", "label", "probability", "threshold", "called"),
)
REFUSAL = Table(
    "refusal",
    TABLES,
    Column("case_id", String(MAX_CASE_ID), primary_key=True),
    Column("model_id", String(12), primary_key=True),
    Column("code", String(40), nullable=False),
    Column("problem", Text, nullable=False),
    Column("remedy", Text, nullable=False),
)
EVENT = Table(
    "event",
    TABLES,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", String(27), nullable=False),
    Column("who", String(255), nullable=False),
    Column("role", String(20), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("case_id", String(MAX_CASE_ID), nullable=False),
    Column("model_id", String(12), nullable=False),
    Column("prediction_id", Integer),
    Column("content", String(64), nullable=False),
    Column("payload", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Index("ix_event_case", "model_id", "case_id", "number"),
    Index("ix_event_who", "who", "kind", "model_id", "case_id"),
)
"""The audit trail: rows are added, never changed; see medmm/store/events.py. `at` is text, as it was hashed."""
HEAD = Table(
    "trail_head",
    TABLES,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
)
"""One row: the last event. Without it nothing would show that the last rows are gone."""
DESK = Table(
    "desk",
    TABLES,
    Column("model_id", String(12), primary_key=True),
    Column("case_id", String(MAX_CASE_ID), primary_key=True),
    Column("prediction_id", Integer),
    Column("decided", Integer, nullable=False),
    Column("disagreed", Integer, nullable=False),
    Column("claimed_by", String(255)),
    Column("claimed_at", DateTime),
)
"""What the events of a case come to, for the worklist: written with each of them, and computed anew by a
verification."""
