"""The audit trail: everything that people do is an event, and each event holds the hash of the one before it.

An event is added and never changed. Its hash is SHA-256 over the JSON of all its other columns, the hash before it
among them, so that a row cannot be changed, deleted, inserted or moved without breaking the chain.
What this cannot show without a head that was noted elsewhere stands in docs/audit.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self, get_args

from sqlalchemy import Connection, Select, insert, select, update

from medmm.errors import StoreError
from medmm.result import Role
from medmm.store.schema import EVENT, HEAD

Kind = Literal["opened", "closed", "claimed", "released", "read as", "decided", "retracted", "exported"]
COLUMNS = tuple(column.name for column in EVENT.c)
START = "0" * 64
"""The hash before the first event."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A person at the screen."""

    name: str
    """By which colleagues know them; stored with all they do. One name is one person."""
    role: Role = "reader"

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise StoreError("nobody is named who does this", "Give your name first")
        if self.role not in get_args(Role):
            raise StoreError("the role is not known", f"Known: {', '.join(get_args(Role))}")

    @property
    def leads(self) -> bool:
        """Whether they may adjudicate and take claims away."""
        return self.role != "reader"


@dataclass(frozen=True, slots=True)
class Shown:
    """What was on the screen: one prediction of one case."""

    model_id: str
    case_id: str
    prediction: int | None = None
    """Its number in the store; None where no prediction was known."""
    content: str = ""
    """ScoredCase.content: the digest of the files, note and record that it was made from."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last event of a trail, as it can be written down elsewhere: '1000:' and 64 hexadecimal digits."""

    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote.

        Raises:
            StoreError: if it is not that.
        """
        if not re.fullmatch(r"\d{1,15}:[0-9a-f]{64}", text.strip()):
            raise StoreError("this is no head of an audit trail", "Give what 'medmm audit verify' printed: NUMBER:HASH")
        number, digest = text.strip().split(":")
        return cls(int(number), digest)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that one person did."""

    number: int
    """From 1, without gaps."""
    at: datetime
    """UTC."""
    who: str
    role: Role
    kind: Kind
    shown: Shown
    payload: Mapping[str, Any] = field(repr=False)
    """What else belongs to it, by kind; see docs/audit.md."""
    previous: str
    digest: str


def seal(row: Any) -> str:
    """SHA-256, hexadecimal, over canonical JSON of every column but the hash itself."""
    values = {name: row[name] for name in COLUMNS if name != "digest"}
    return hashlib.sha256(_canonical(values, default=repr).encode()).hexdigest()  # bytes are there if somebody put them


def _canonical(values: Mapping[str, Any], default: Callable[[object], str] | None = None) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False, default=default)


def append(
    connection: Connection, at: datetime, reader: Reader, kind: Kind, shown: Shown, payload: Mapping[str, Any]
) -> int:
    """Add an event and return its number; within a transaction that has its turn.

    Args:
        connection: of `Database.transaction(writes=True)`.
        at: UTC, without a zone.
        reader: who did it.
        kind: what was done.
        shown: on what.
        payload: plain values.

    Raises:
        StoreError: if a text holds what a database does not keep.
    """
    head = connection.execute(select(HEAD)).one_or_none()
    row: dict[str, Any] = {
        "number": head.number + 1 if head else 1,
        "at": at.isoformat(timespec="microseconds") + "Z",
        "who": reader.name,
        "role": reader.role,
        "kind": kind,
        "case_id": shown.case_id,
        "model_id": shown.model_id,
        "prediction_id": shown.prediction,
        "content": shown.content,
        "payload": _canonical(payload),
        "previous": head.digest if head else START,
    }
    _check_text(row["who"], row["case_id"])
    row["digest"] = seal(row)
    connection.execute(insert(EVENT).values(**row))
    last = {"number": row["number"], "digest": row["digest"]}
    connection.execute(update(HEAD).values(**last) if head else insert(HEAD).values(**last))
    return int(row["number"])


def _check_text(*texts: str) -> None:
    """Refuse NUL, which PostgreSQL does not keep, and halves of characters, which nobody does."""
    for text in texts:
        if re.search("[\0\ud800-\udfff]", text):
            raise StoreError("a name or a case id holds a character that cannot be kept", "Take it out")


def read(connection: Connection, query: Select[Any] | None = None) -> Iterator[Event]:
    """Events in their order; all of them, or those of a query over the table."""
    ordered = (select(EVENT) if query is None else query).order_by(EVENT.c.number)
    for row in connection.execute(ordered.execution_options(yield_per=1000)).mappings():
        yield _event(row)


def of_case(connection: Connection, model_id: str, case_id: str) -> list[Event]:
    """Every event of one case, in their order."""
    query = select(EVENT).where(EVENT.c.model_id == model_id, EVENT.c.case_id == case_id)
    return list(read(connection, query))


def _event(row: Any) -> Event:
    shown = Shown(row["model_id"], row["case_id"], row["prediction_id"], row["content"])
    at, payload = datetime.fromisoformat(row["at"]), json.loads(row["payload"])
    return Event(
        row["number"], at, row["who"], row["role"], row["kind"], shown, payload, row["previous"], row["digest"]
    )
