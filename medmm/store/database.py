"""One database, SQLite or another: how it is opened, brought up to date and written to in turns."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, delete, event, insert, inspect, make_url, select
from sqlalchemy.exc import SQLAlchemyError

from medmm.errors import StoreError
from medmm.store.migrations import MIGRATIONS
from medmm.store.schema import SCHEMA

_BUSY_MS = 30_000
"""How long a writer of SQLite waits for another one, milliseconds."""
_TURN = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "SELECT pg_advisory_xact_lock(7236838)"}
"""How a writer takes its turn until its transaction ends; the number stands for medmm in that database."""
_POSTGRESQL = ("postgresql", "postgres")
"""Schemes of its own URLs, which name no driver."""


class Database:
    """An open database of the newest version."""

    def __init__(self, where: Path | str, make: bool) -> None:
        """Open a SQLite file or a database by URL; with `make`, tables that are not there are made.

        Raises:
            StoreError: if it cannot be opened, is no database, comes from a newer medmm, or holds no store and none is
                to be made.
        """
        self._name = where.name if isinstance(where, Path) else "the store"
        self._engine = _engine(where)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _sqlite_manners)
        try:
            with self.transaction(writes=True) as connection:
                self._migrate(connection, make)
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()

    @contextmanager
    def transaction(self, writes: bool = False) -> Iterator[Connection]:
        """Everything or nothing; what the database throws becomes one line without its values.

        Whoever `writes` takes its turn before the first word, so that what it reads still holds when it writes.
        """
        problem: StoreError
        try:
            with self._engine.begin() as connection:
                if writes and self._engine.dialect.name in _TURN:
                    connection.exec_driver_sql(_TURN[self._engine.dialect.name])
                yield connection
            return
        except SQLAlchemyError as thrown:
            cause = type(getattr(thrown, "orig", None) or thrown).__name__
            remedy = "Check that it is a store of medmm, that it may be written, and that its disk has room"
            problem = StoreError(f"{self._name} cannot be used ({cause})", remedy)
        raise problem from None

    def _migrate(self, connection: Connection, make: bool) -> None:
        """Bring the database to the newest version, one step after the other."""
        version = 0
        if inspect(connection).has_table(SCHEMA.name):
            version = connection.execute(select(SCHEMA.c.version)).scalar_one()
        elif not make:
            raise StoreError(f"{self._name} holds nothing of medmm", "Give the folder or the database of a store")
        if version > len(MIGRATIONS):
            raise StoreError(f"{self._name} was written by a newer medmm", "Use that version to open it")
        for step in MIGRATIONS[version:]:
            step(connection)
        if version < len(MIGRATIONS):
            connection.execute(delete(SCHEMA))
            connection.execute(insert(SCHEMA).values(version=len(MIGRATIONS)))


def _engine(where: Path | str) -> Engine:
    """The way to a database; the URL may hold a password, so no error repeats it."""
    try:
        url = URL.create("sqlite", database=str(where)) if isinstance(where, Path) else make_url(where)
        if url.drivername in _POSTGRESQL:
            url = url.set(drivername="postgresql+psycopg")
        return create_engine(url, hide_parameters=True, pool_pre_ping=True)
    except (SQLAlchemyError, ModuleNotFoundError, ValueError) as thrown:
        cause = type(thrown).__name__
    remedy = "Give a path, or a URL of SQLAlchemy for a database whose driver is installed"
    raise StoreError(f"the address of the store cannot be used ({cause})", remedy)


def _sqlite_manners(connection: Any, _record: Any) -> None:
    """Readers do not wait for a writer, and a writer waits for another one instead of failing."""
    connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    connection.execute("PRAGMA foreign_keys=ON")
    until = time.monotonic() + _BUSY_MS / 1000
    while not _writes_ahead(connection) and time.monotonic() < until:
        time.sleep(0.02)


def _writes_ahead(connection: Any) -> bool:
    """Switch to a write-ahead log; False while another process has the file, for which SQLite does not wait here."""
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as thrown:
        if thrown.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return False
        raise
    return True
