"""What was predicted, refused and decided: SQLite by default, any other database by URL.

Predictions are kept whole and once; a review is added and never changed; a case that is scored again because its
content changed becomes a new prediction beside the old one, and the newest counts. Opens with SQLAlchemy Core;
`MIGRATIONS` is append-only. No torch.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from sqlalchemy import (
    URL,
    Column,
    Connection,
    DateTime,
    Engine,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
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
from medmm.placement import Placement
from medmm.result import (
    Contribution,
    Deletion,
    Evidence,
    Explanation,
    Film,
    Finding,
    Limits,
    Overlay,
    Prediction,
    Refusal,
    Region,
    Review,
    ScoredCase,
    SimilarCase,
    WordWeight,
)

STORE = "store.sqlite"
"""Name of the store in a folder that was scored."""
_SAID = ("present", "absent", "remarks", "doubts")
"""What is said of a case as a whole: fields of a Prediction."""
_BUSY_MS = 30_000
"""How long a writer of SQLite waits for another one, milliseconds."""

_tables = MetaData()
_schema = Table("schema_version", _tables, Column("version", Integer, nullable=False))
_prediction = Table(
    "prediction",
    _tables,
    Column("id", Integer, primary_key=True),
    Column("case_id", String(255), nullable=False, index=True),
    Column("model_id", String(12), nullable=False),
    Column("content", String(64), nullable=False),
    Column("scored_at", DateTime, nullable=False),
    Column("said", Text, nullable=False),
    Column("evidence", Text, nullable=False),
)
_finding = Table(
    "finding",
    _tables,
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
_refusal = Table(
    "refusal",
    _tables,
    Column("case_id", String(255), primary_key=True),
    Column("model_id", String(12), primary_key=True),
    Column("code", String(40), nullable=False),
    Column("problem", Text, nullable=False),
    Column("remedy", Text, nullable=False),
)
_review = Table(
    "review",
    _tables,
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
    if "limits" not in {column["name"] for column in inspect(connection).get_columns(_finding.name)}:
        connection.exec_driver_sql(f"ALTER TABLE {_finding.name} ADD COLUMN limits TEXT")


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_tables.create_all, _add_limits)
"""Step n brings a store of version n to version n + 1. Steps are added, never changed."""


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
                row = insert(_prediction).values(
                    case_id=said.case_id,
                    model_id=said.model_id,
                    content=case.content,
                    scored_at=_now(),
                    said=json.dumps({name: getattr(said, name) for name in _SAID}),
                    evidence=json.dumps(_evidence_out(case.evidence), allow_nan=False),
                )
                (number,) = connection.execute(row).inserted_primary_key or (None,)
                connection.execute(insert(_finding), [_finding_out(number, n, f) for n, f in enumerate(said.findings)])
                connection.execute(_of(delete(_refusal), _refusal, said.case_id, said.model_id))

    def refuse(self, model_id: str, refusal: Refusal) -> None:
        """Keep why a case could not be scored; a newer reason takes the place of an older one."""
        with self._transaction(writes=True) as connection:
            connection.execute(_of(delete(_refusal), _refusal, refusal.case_id, model_id))
            connection.execute(insert(_refusal).values(model_id=model_id, **asdict(refusal)))

    def contents(self, model_id: str) -> dict[str, str]:
        """Case id -> the content that its newest prediction was made from."""
        query = select(_prediction.c.case_id, _prediction.c.content).where(_prediction.c.id.in_(_newest(model_id)))
        with self._transaction() as connection:
            return {row.case_id: row.content for row in connection.execute(query)}

    def refusals(self, model_id: str) -> tuple[Refusal, ...]:
        """What could not be scored, by case id."""
        query = select(_refusal).where(_refusal.c.model_id == model_id).order_by(_refusal.c.case_id)
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        return tuple(Refusal(row.case_id, Reason(row.code), row.problem, row.remedy) for row in rows)

    def models(self) -> tuple[str, ...]:
        """Ids of the models that scored here, the latest first."""
        newest = func.max(_prediction.c.id)
        query = select(_prediction.c.model_id).group_by(_prediction.c.model_id).order_by(newest.desc())
        with self._transaction() as connection:
            return tuple(connection.execute(query).scalars())

    def worklist(self, model_id: str) -> tuple[WorklistRow, ...]:
        """The newest prediction of each case: unreviewed ones first, then by how far a finding passes its threshold."""
        kept, words = _prediction.c, _review.c
        newest = kept.id.in_(_newest(model_id))
        findings = select(_finding, kept.case_id, kept.scored_at, kept.said).join_from(_finding, _prediction)
        findings = findings.where(newest).order_by(_finding.c.prediction_id, _finding.c.place)
        same = (words.case_id == kept.case_id) & (words.model_id == kept.model_id) & (words.at >= kept.scored_at)
        reviews = select(kept.case_id, func.count(words.label.distinct()).label("labels"))
        reviews = reviews.join_from(_prediction, _review, same).where(newest).group_by(kept.case_id)
        with self._transaction() as connection:
            found = groupby(connection.execute(findings), key=lambda row: int(row.prediction_id))
            cases = [list(case) for _, case in found]
            reviewed = {row.case_id: row.labels for row in connection.execute(reviews)}
        rows = [
            WorklistRow(
                _prediction_in(case[0], model_id, [_finding_in(row) for row in case]),
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
        query = _of(select(_prediction), _prediction, case_id, model_id).order_by(_prediction.c.id.desc()).limit(1)
        with self._transaction() as connection:
            row = connection.execute(query).first()
            if row is None:
                raise StoreError("the model has not scored this case", "Choose one from the worklist")
            findings = select(_finding).where(_finding.c.prediction_id == row.id).order_by(_finding.c.place)
            found = [_finding_in(finding) for finding in connection.execute(findings)]
        evidence = _evidence_in(json.loads(row.evidence))
        return ScoredCase(_prediction_in(row, model_id, found), evidence, row.content)

    def add_review(self, review: Review) -> None:
        """Add a person's word; nothing that was said before is lost."""
        values = asdict(review) | {"at": review.at.astimezone(UTC).replace(tzinfo=None)}
        with self._transaction(writes=True) as connection:
            connection.execute(insert(_review).values(**values))

    def reviews(self, model_id: str, case_id: str) -> tuple[Review, ...]:
        """Every word on one case, oldest first."""
        query = _of(select(_review), _review, case_id, model_id).order_by(_review.c.id)
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
        kept, words = _prediction.c, _review.c
        findings = select(_finding, kept.case_id, kept.scored_at, kept.said).join_from(_finding, _prediction)
        findings = findings.where(kept.model_id == model_id).order_by(_finding.c.prediction_id, _finding.c.place)
        evidence = select(kept.id, kept.evidence).where(kept.model_id == model_id)
        same = (words.case_id == kept.case_id) & (words.model_id == kept.model_id) & (words.at >= kept.scored_at)
        heard = select(*words, func.max(kept.id).label("prediction_id")).join_from(_review, _prediction, same)
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
                _prediction_in(case[0], model_id, [_finding_in(row) for row in case]),
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
            version = connection.execute(select(_schema.c.version)).scalar_one()
        if version > len(MIGRATIONS):
            raise StoreError(f"{self._name} was written by a newer medmm", "Use that version to open it")
        for step in MIGRATIONS[version:]:
            step(connection)
        if version < len(MIGRATIONS):
            connection.execute(delete(_schema))
            connection.execute(insert(_schema).values(version=len(MIGRATIONS)))


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
    refused = select(_refusal.c.case_id).where(_refusal.c.model_id == model_id)
    query = select(func.max(_prediction.c.id)).where(_prediction.c.model_id == model_id)
    return query.where(_prediction.c.case_id.not_in(refused)).group_by(_prediction.c.case_id)


def _now() -> datetime:
    """UTC without a zone, as databases keep it."""
    return datetime.now(UTC).replace(tzinfo=None)


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC)


def _finding_out(prediction_id: int | None, place: int, finding: Finding) -> dict[str, object]:
    values = asdict(finding) | {
        "contributions": json.dumps([asdict(c) for c in finding.contributions]),
        "limits": None if finding.limits is None else json.dumps(asdict(finding.limits)),
    }
    return {"prediction_id": prediction_id, "place": place, **values}


def _finding_in(row: Any) -> Finding:
    contributions = tuple(Contribution(**item) for item in json.loads(row.contributions))
    limits = None if row.limits is None else Limits(**json.loads(row.limits))
    return Finding(row.label, row.probability, row.threshold, row.base_log_odds, contributions, row.interaction, limits)


def _prediction_in(row: Any, model_id: str, findings: Sequence[Finding]) -> Prediction:
    said = {name: tuple(value) for name, value in json.loads(row.said).items()}
    return Prediction(row.case_id, model_id, tuple(findings), **said)


def _evidence_out(evidence: Evidence) -> dict[str, Any]:
    """Plain values; a cell where the model did not look is null."""
    explanations = [
        {
            "label": e.label,
            "method": e.method,
            "overlays": [{"cells": _cells_out(o.cells), "placement": asdict(o.placement)} for o in e.overlays],
            "words": [[w.start, w.end, w.log_odds] for w in e.words],
            "record": dict(e.record),
            "deletion": None if e.deletion is None else asdict(e.deletion),
        }
        for e in evidence.explanations
    ]
    return {
        "films": [asdict(film) for film in evidence.films],
        "note": evidence.note,
        "record": dict(evidence.record),
        "units": dict(evidence.units),
        "explanations": explanations,
        "similar": [asdict(one) for one in evidence.similar],
    }


def _cells_out(cells: np.ndarray) -> list[list[float | None]]:
    return [[None if math.isnan(value) else float(f"{value:.4g}") for value in row] for row in cells.tolist()]


def _evidence_in(kept: dict[str, Any]) -> Evidence:
    explanations = tuple(
        Explanation(
            e["label"],
            e["method"],
            tuple(Overlay(np.array(o["cells"], dtype=np.float32), Placement(**o["placement"])) for o in e["overlays"]),
            tuple(WordWeight(start, end, worth) for start, end, worth in e["words"]),
            e.get("record", {}),  # older predictions did not say, and likewise below
            _deletion_in(e.get("deletion")),
        )
        for e in kept["explanations"]
    )
    films = tuple(Film(**film | {"remarks": tuple(film["remarks"])}) for film in kept["films"])
    similar = tuple(SimilarCase(**one) for one in kept.get("similar", ()))
    return Evidence(films, kept["note"], kept["record"], kept["units"], explanations, similar)


def _deletion_in(kept: dict[str, Any] | None) -> Deletion | None:
    if kept is None:
        return None
    regions = tuple(Region(one["picture"], tuple(one["cells"])) for one in kept["regions"])
    words = tuple((start, end) for start, end in kept["words"])
    return Deletion(**kept | {"regions": regions, "words": words, "columns": tuple(kept["columns"])})
