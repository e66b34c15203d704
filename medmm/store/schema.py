"""The tables of the store, and the steps that bring an older store up to date."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Column, Connection, DateTime, Float, ForeignKey, Integer, MetaData, String, Table, Text, inspect

TABLES = MetaData()
SCHEMA = Table("schema_version", TABLES, Column("version", Integer, nullable=False))
PREDICTION = Table(
    "prediction",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("case_id", String(255), nullable=False, index=True),
    Column("model_id", String(12), nullable=False),
    Column("content", String(64), nullable=False),
    Column("scored_at", DateTime, nullable=False),
    Column("said", Text, nullable=False),
    Column("evidence", Text, nullable=False),
)
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
)
REFUSAL = Table(
    "refusal",
    TABLES,
    Column("case_id", String(255), primary_key=True),
    Column("model_id", String(12), primary_key=True),
    Column("code", String(40), nullable=False),
    Column("problem", Text, nullable=False),
    Column("remedy", Text, nullable=False),
)
REVIEW = Table(
    "review",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("case_id", String(255), nullable=False, index=True),
    Column("model_id", String(12), nullable=False),
    Column("label", String(255), nullable=False),
    Column("verdict", String(20), nullable=False),
    Column("comment", Text, nullable=False),
    Column("reviewer", String(255), nullable=False),
    Column("at", DateTime, nullable=False),
)


def _add_limits(connection: Connection) -> None:
    """A finding knows the limits of its model; those of older predictions have none."""
    if "limits" not in {column["name"] for column in inspect(connection).get_columns(FINDING.name)}:
        connection.exec_driver_sql(f"ALTER TABLE {FINDING.name} ADD COLUMN limits TEXT")


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (TABLES.create_all, _add_limits)
"""Step n brings a store of version n to version n + 1. Steps are added, never changed."""
