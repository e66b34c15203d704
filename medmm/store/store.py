"""What was predicted, refused and decided: SQLite by default, any other database by URL.

Predictions are kept whole and once; a review is added and never changed; a case that is scored again because its
content changed becomes a new prediction beside the old one, and the newest counts. Opens with SQLAlchemy Core;
No torch.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Table,
    create_engine,
    delete,
    event,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import SQLAlchemyError

from medmm.case import RecordValue
from medmm.errors import Reason, StoreError
from medmm.result import (
    Prediction,
    Refusal,
    Review,
    ScoredCase,
)
from medmm.store.schema import FINDING, MIGRATIONS, PREDICTION, REFUSAL, REVIEW, SCHEMA
from medmm.store.values import evidence_in, evidence_out, finding_in, finding_out, prediction_in

STORE = "store.sqlite"
"""Name of the store in a folder that was scored."""
_SAID = ("present", "absent", "remarks", "doubts")
"""What is said of a case as a whole: fields of a Prediction."""
_BUSY_MS = 30_000
"""How long a writer of SQLite waits for another one, milliseconds."""


@dataclass(frozen=True, slots=True)
class WorklistRow:
    """One case of the worklist: its newest prediction, and how much of it a person has looked at."""

    prediction: Prediction
    scored_at: datetime
    """UTC."""
    reviewed: int
    """Findings with a review since that prediction was made; a word on an earlier one does not count."""


class Store:
    """Predictions, refusals and reviews. Use it as a context manager, or call `close`."""

    def __init__(self, where: Path | str) -> None:
        """Open a SQLite file, made if it is not there, or a database by URL.

        Raises:
            StoreError: if it cannot be opened, is no database, or comes from a newer medmm.
        """
        self._name = where.name if isinstance(where, Path) else "the store"
        self._engine = _engine(where)
        self._sqlite = self._engine.dialect.name == "sqlite"
        if self._sqlite:
            event.listen(self._engine, "connect", _sqlite_manners)
        with self._transaction(writes=True) as connection:
            self._migrate(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()

    def keep(self, cases: Sequence[ScoredCase]) -> None:
        """Keep scored cases, all or none of them."""
        with self._transaction(writes=True) as connection:
            for case in cases:
                said = case.prediction
                row = insert(PREDICTION).values(
                    case_id=said.case_id,
                    model_id=said.model_id,
                    content=case.content,
                    scored_at=_now(),
                    said=json.dumps({name: getattr(said, name) for name in _SAID}),
                    evidence=json.dumps(evidence_out(case.evidence), allow_nan=False),
                )
                (number,) = connection.execute(row).inserted_primary_key or (None,)
                connection.execute(insert(FINDING), [finding_out(number, n, f) for n, f in enumerate(said.findings)])
                connection.execute(_of(delete(REFUSAL), REFUSAL, said.case_id, said.model_id))

    def refuse(self, model_id: str, refusal: Refusal) -> None:
        """Keep why a case could not be scored; a newer reason takes the place of an older one."""
        with self._transaction(writes=True) as connection:
            connection.execute(_of(delete(REFUSAL), REFUSAL, refusal.case_id, model_id))
            connection.execute(insert(REFUSAL).values(model_id=model_id, **asdict(refusal)))

    def contents(self, model_id: str) -> dict[str, str]:
        """Case id -> the content that its newest prediction was made from."""
        query = select(PREDICTION.c.case_id, PREDICTION.c.content).where(PREDICTION.c.id.in_(_newest(model_id)))
        with self._transaction() as connection:
            return {row.case_id: row.content for row in connection.execute(query)}

    def refusals(self, model_id: str) -> tuple[Refusal, ...]:
        """What could not be scored, by case id."""
        query = select(REFUSAL).where(REFUSAL.c.model_id == model_id).order_by(REFUSAL.c.case_id)
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        return tuple(Refusal(row.case_id, Reason(row.code), row.problem, row.remedy) for row in rows)

    def models(self) -> tuple[str, ...]:
        """Ids of the models that scored here, the latest first."""
        newest = func.max(PREDICTION.c.id)
        query = select(PREDICTION.c.model_id).group_by(PREDICTION.c.model_id).order_by(newest.desc())
        with self._transaction() as connection:
            return tuple(connection.execute(query).scalars())

    def worklist(self, model_id: str) -> tuple[WorklistRow, ...]:
        """The newest prediction of each case: unreviewed ones first, then by how far a finding passes its threshold."""
        kept, words = PREDICTION.c, REVIEW.c
        newest = kept.id.in_(_newest(model_id))
        findings = select(FINDING, kept.case_id, kept.scored_at, kept.said).join_from(FINDING, PREDICTION)
        findings = findings.where(newest).order_by(FINDING.c.prediction_id, FINDING.c.place)
        same = (words.case_id == kept.case_id) & (words.model_id == kept.model_id) & (words.at >= kept.scored_at)
        reviews = select(kept.case_id, func.count(words.label.distinct()).label("labels"))
        reviews = reviews.join_from(PREDICTION, REVIEW, same).where(newest).group_by(kept.case_id)
        with self._transaction() as connection:
            found = groupby(connection.execute(findings), key=lambda row: int(row.prediction_id))
            cases = [list(case) for _, case in found]
            reviewed = {row.case_id: row.labels for row in connection.execute(reviews)}
        rows = [
            WorklistRow(
                prediction_in(case[0], model_id, [finding_in(row) for row in case]),
                _utc(case[0].scored_at),
                reviewed.get(case[0].case_id, 0),
            )
            for case in cases
        ]
        return tuple(sorted(rows, key=lambda row: (row.reviewed > 0, -row.prediction.leading.margin)))

    def case(self, model_id: str, case_id: str) -> ScoredCase:
        """The newest prediction of one case, with its evidence.

        Raises:
            StoreError: if this model has not scored it.
        """
        query = _of(select(PREDICTION), PREDICTION, case_id, model_id).order_by(PREDICTION.c.id.desc()).limit(1)
        with self._transaction() as connection:
            row = connection.execute(query).first()
            if row is None:
                raise StoreError("the model has not scored this case", "Choose one from the worklist")
            findings = select(FINDING).where(FINDING.c.prediction_id == row.id).order_by(FINDING.c.place)
            found = [finding_in(finding) for finding in connection.execute(findings)]
        evidence = evidence_in(json.loads(row.evidence))
        return ScoredCase(prediction_in(row, model_id, found), evidence, row.content)

    def add_review(self, review: Review) -> None:
        """Add a person's word; nothing that was said before is lost."""
        values = asdict(review) | {"at": review.at.astimezone(UTC).replace(tzinfo=None)}
        with self._transaction(writes=True) as connection:
            connection.execute(insert(REVIEW).values(**values))

    def reviews(self, model_id: str, case_id: str) -> tuple[Review, ...]:
        """Every word on one case, oldest first."""
        query = _of(select(REVIEW), REVIEW, case_id, model_id).order_by(REVIEW.c.id)
        with self._transaction() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(Review(**{k: v for k, v in row.items() if k != "id"} | {"at": _utc(row["at"])}) for row in rows)

    def history(
        self, model_id: str
    ) -> tuple[tuple[Prediction, datetime, dict[str, RecordValue], tuple[Review, ...]], ...]:
        """Every prediction that a model ever made here, oldest first, also where a newer one of the case counts now.

        Each with when it was made (UTC), the record that it was made from, and the reviews that came after it and
        before the next prediction of the same case, oldest first.
        """
        kept, words = PREDICTION.c, REVIEW.c
        findings = select(FINDING, kept.case_id, kept.scored_at, kept.said).join_from(FINDING, PREDICTION)
        findings = findings.where(kept.model_id == model_id).order_by(FINDING.c.prediction_id, FINDING.c.place)
        evidence = select(kept.id, kept.evidence).where(kept.model_id == model_id)
        same = (words.case_id == kept.case_id) & (words.model_id == kept.model_id) & (words.at >= kept.scored_at)
        heard = select(*words, func.max(kept.id).label("prediction_id")).join_from(REVIEW, PREDICTION, same)
        heard = heard.where(words.model_id == model_id).group_by(*words).order_by(words.id)
        said: dict[int, list[Review]] = {}
        with self._transaction() as connection:
            found = groupby(connection.execute(findings), key=lambda row: int(row.prediction_id))
            cases = {number: list(case) for number, case in found}
            records = {row.id: json.loads(row.evidence)["record"] for row in connection.execute(evidence)}
            for word in connection.execute(heard).mappings():
                values = {column.name: word[column.name] for column in words if column.name != "id"}
                said.setdefault(word["prediction_id"], []).append(Review(**values | {"at": _utc(word["at"])}))
        return tuple(
            (
                prediction_in(case[0], model_id, [finding_in(row) for row in case]),
                _utc(case[0].scored_at),
                records[number],
                tuple(said.get(number, ())),
            )
            for number, case in cases.items()
        )

    @contextmanager
    def _transaction(self, writes: bool = False) -> Iterator[Connection]:
        """Everything or nothing; what the database throws becomes one line without its values.

        Whoever `writes` to SQLite takes its turn before the first word, so that what it reads still holds.
        """
        problem: StoreError
        try:
            with self._engine.begin() as connection:
                if writes and self._sqlite:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
            return
        except SQLAlchemyError as thrown:
            cause = type(getattr(thrown, "orig", None) or thrown).__name__
            remedy = "Check that the file is a store of medmm, that it may be written, and that the disk has room"
            problem = StoreError(f"{self._name} cannot be used ({cause})", remedy)
        raise problem from None

    def _migrate(self, connection: Connection) -> None:
        """Bring the database to the newest version, one step after the other."""
        version = 0
        if inspect(connection).has_table("schema_version"):
            version = connection.execute(select(SCHEMA.c.version)).scalar_one()
        if version > len(MIGRATIONS):
            raise StoreError(f"{self._name} was written by a newer medmm", "Use that version to open it")
        for step in MIGRATIONS[version:]:
            step(connection)
        if version < len(MIGRATIONS):
            connection.execute(delete(SCHEMA))
            connection.execute(insert(SCHEMA).values(version=len(MIGRATIONS)))


def _engine(where: Path | str) -> Engine:
    """The way to a database; the URL may hold a password, so no error repeats it."""
    url = URL.create("sqlite", database=str(where)) if isinstance(where, Path) else where
    try:
        return create_engine(url, hide_parameters=True)
    except (SQLAlchemyError, ModuleNotFoundError) as thrown:
        cause = type(thrown).__name__
    remedy = "Give a path, or a URL of SQLAlchemy for a database whose driver is installed"
    raise StoreError(f"The address of the store cannot be used ({cause})", remedy)


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


def _of(statement: Any, table: Table, case_id: str, model_id: str) -> Any:
    """`statement` for one case and one model."""
    return statement.where(table.c.case_id == case_id, table.c.model_id == model_id)


def _newest(model_id: str) -> Any:
    """Row numbers of the newest prediction of each case; a case that was refused since then has none."""
    refused = select(REFUSAL.c.case_id).where(REFUSAL.c.model_id == model_id)
    query = select(func.max(PREDICTION.c.id)).where(PREDICTION.c.model_id == model_id)
    return query.where(PREDICTION.c.case_id.not_in(refused)).group_by(PREDICTION.c.case_id)


def _now() -> datetime:
    """UTC without a zone, as databases keep it."""
    return datetime.now(UTC).replace(tzinfo=None)


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC)
