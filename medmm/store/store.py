"""What was predicted, refused and decided: SQLite by default, PostgreSQL by URL.

Predictions are kept whole and once; a case that is scored again because its content changed becomes a new prediction
beside the old one, and the newest counts. What people do with them is in the audit trail, `Store.trail`. Opens with
SQLAlchemy Core; no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from sqlalchemy import Table, delete, func, insert, select

from medmm.case import RecordValue
from medmm.errors import Reason, StoreError
from medmm.result import Prediction, Refusal, Review, ScoredCase
from medmm.store import events, worklist
from medmm.store.database import Database
from medmm.store.decisions import words
from medmm.store.schema import EVENT, FINDING, PREDICTION, REFUSAL
from medmm.store.trail import Trail
from medmm.store.values import absent_out, evidence_in, evidence_out, finding_in, finding_out, prediction_in, utc
from medmm.store.values import now as _now
from medmm.store.worklist import Counts, Filters, Moment, Order, WorklistRow

STORE = "store.sqlite"
"""Name of the store in a folder that was scored."""
CLAIM_LASTS = timedelta(minutes=30)
"""After this long a claim is stale, and anybody may claim the case."""
_SAID = ("present", "absent", "remarks", "doubts")
"""What is said of a case as a whole: fields of a Prediction."""
_AT_ONCE = 1000
"""Case ids that one statement names."""
_ALL = Filters()
_ALIKE: Mapping[str, float] = MappingProxyType({})


class Store:
    """Predictions, refusals and the audit trail. Use it as a context manager, or call `close`."""

    def __init__(self, where: Path | str, claim_lasts: timedelta = CLAIM_LASTS, *, make: bool = True) -> None:
        """Open a SQLite file, or a database by URL.

        Args:
            where: a path, or a URL of SQLAlchemy: 'postgresql://user@host/name', 'sqlite:///store.sqlite'.
            claim_lasts: how long a claim holds.
            make: whether a store is made where none is.

        Raises:
            StoreError: if it cannot be opened, is no database, comes from a newer medmm, or holds no store and none is
                to be made.
        """
        self._database = Database(where, make)
        self._claim_lasts = claim_lasts
        self.trail = Trail(self._database, claim_lasts)

    @classmethod
    def existing(cls, where: Path | str) -> Self:
        """Open the store of a folder that was scored, or of a database by URL; none is made.

        Raises:
            StoreError: if there is none, or as `Store`.
        """
        if isinstance(where, str):
            return cls(where, make=False)
        if not (where / STORE).is_file():
            raise StoreError(f"there is no {STORE} in the folder", "Give the folder that 'medmm score' wrote")
        return cls(where / STORE, make=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every connection."""
        self._database.close()

    def keep(self, cases: Sequence[ScoredCase]) -> None:
        """Keep scored cases, all or none of them; one whose newest prediction says the same already is left alone."""
        with self._database.transaction(writes=True) as connection:
            for case in cases:
                said = case.prediction
                connection.execute(_of(delete(REFUSAL), REFUSAL, said.case_id, said.model_id))
                if worklist.contents(connection, said.model_id, [said.case_id]).get(said.case_id) == case.content:
                    continue  # another run was first
                row = insert(PREDICTION).values(
                    case_id=said.case_id,
                    model_id=said.model_id,
                    content=case.content,
                    scored_at=_now(),
                    said=json.dumps({name: getattr(said, name) for name in _SAID}),
                    evidence=evidence_out(case.evidence),
                    absent=absent_out(said),
                    doubts=len(said.doubts),
                )
                (number,) = connection.execute(row).inserted_primary_key or (None,)
                connection.execute(insert(FINDING), [finding_out(number, n, f) for n, f in enumerate(said.findings)])

    def refuse(self, model_id: str, refusal: Refusal) -> None:
        """Keep why a case could not be scored; a newer reason takes the place of an older one."""
        with self._database.transaction(writes=True) as connection:
            connection.execute(_of(delete(REFUSAL), REFUSAL, refusal.case_id, model_id))
            connection.execute(insert(REFUSAL).values(model_id=model_id, **asdict(refusal)))

    def contents(self, model_id: str, cases: Sequence[str] | None = None) -> dict[str, str]:
        """Case id -> the content that its newest prediction was made from; of these cases only, if they are given."""
        with self._database.transaction() as connection:
            found = [worklist.contents(connection, model_id, some) for some in _parts(cases)]
        return {case_id: content for part in found for case_id, content in part.items()}

    def predictions(self, model_id: str, cases: Sequence[str] | None = None) -> tuple[Prediction, ...]:
        """The newest prediction of each case; of these cases only, if they are given."""
        with self._database.transaction() as connection:
            return tuple(said for some in _parts(cases) for said in worklist.predictions(connection, model_id, some))

    def refusals(self, model_id: str, cases: Sequence[str] | None = None) -> tuple[Refusal, ...]:
        """What could not be scored, by case id; of these cases only, if they are given."""
        query = select(REFUSAL).where(REFUSAL.c.model_id == model_id)
        with self._database.transaction() as connection:
            asked = [query if some is None else query.where(REFUSAL.c.case_id.in_(some)) for some in _parts(cases)]
            rows = [row for one in asked for row in connection.execute(one)]
        found = (Refusal(row.case_id, Reason(row.code), row.problem, row.remedy) for row in rows)
        return tuple(sorted(found, key=lambda one: one.case_id))

    def models(self) -> tuple[str, ...]:
        """Ids of the models that scored here, the latest first."""
        newest = func.max(PREDICTION.c.id)
        query = select(PREDICTION.c.model_id).group_by(PREDICTION.c.model_id).order_by(newest.desc())
        with self._database.transaction() as connection:
            return tuple(connection.execute(query).scalars())

    def latest_model(self) -> str:
        """Id of the model that scored last.

        Raises:
            StoreError: if nothing was scored.
        """
        models = self.models()
        if not models:
            raise StoreError("nothing was scored here yet", "Score studies with 'medmm score'")
        return models[0]

    def worklist(
        self,
        model_id: str,
        filters: Filters = _ALL,
        order: Order = "urgent",
        *,
        priorities: Mapping[str, float] = _ALIKE,
        limit: int | None = None,
        offset: int = 0,
    ) -> tuple[WorklistRow, ...]:
        """A page of the worklist: the newest prediction of each case, without its evidence.

        The most urgent first: cases that nobody decided, by the highest product, over their labels, of the label's
        priority, its probability over its threshold, and 1 + the days since the case was scored.

        Args:
            model_id: whose predictions.
            filters: which cases; all of them if not given.
            order: urgent, oldest, newest, or by case id.
            priorities: label -> weight above 0; 1 for one that is not named.
            limit: at most so many rows; all of them if None.
            offset: rows that are left out before the first one.
        """
        with self._database.transaction() as connection:
            return worklist.page(connection, model_id, filters, order, priorities, self._moment(), limit, offset)

    def matching(self, model_id: str, filters: Filters) -> int:
        """How many cases the filters leave, on all pages."""
        with self._database.transaction() as connection:
            return worklist.matching(connection, model_id, filters, self._moment())

    def counts(self, model_id: str, who: str = "") -> Counts:
        """How many cases each filter leaves, each for itself; `who` asks for 'mine'."""
        with self._database.transaction() as connection:
            return worklist.counts(connection, model_id, who, self._moment())

    def case(self, model_id: str, case_id: str) -> ScoredCase:
        """The newest prediction of one case, with its evidence.

        Raises:
            StoreError: if this model has not scored it.
        """
        query = _of(select(PREDICTION), PREDICTION, case_id, model_id).order_by(PREDICTION.c.id.desc()).limit(1)
        with self._database.transaction() as connection:
            row = connection.execute(query).first()
            if row is None:
                raise StoreError("the model has not scored this case", "Choose one from the worklist")
            findings = select(FINDING).where(FINDING.c.prediction_id == row.id).order_by(FINDING.c.place)
            found = [finding_in(finding) for finding in connection.execute(findings)]
        evidence = evidence_in(json.loads(row.evidence))
        return ScoredCase(prediction_in(row, model_id, found), evidence, row.content)

    def reviews(self, model_id: str, case_id: str) -> tuple[Review, ...]:
        """Every word on one case that was not taken back, oldest first."""
        return self.trail.reviews(model_id, case_id)

    def history(
        self, model_id: str
    ) -> tuple[tuple[Prediction, datetime, dict[str, RecordValue], tuple[Review, ...]], ...]:
        """Every prediction that a model ever made here, oldest first, also where a newer one of the case counts now.

        Each with when it was made (UTC), the record that it was made from, and the words on it, oldest first.
        """
        kept = PREDICTION.c
        findings = select(FINDING, kept.case_id, kept.scored_at, kept.said).join_from(FINDING, PREDICTION)
        findings = findings.where(kept.model_id == model_id).order_by(FINDING.c.prediction_id, FINDING.c.place)
        evidence = select(kept.id, kept.evidence).where(kept.model_id == model_id)
        with self._database.transaction() as connection:
            found = groupby(connection.execute(findings), key=lambda row: int(row.prediction_id))
            cases = {number: list(case) for number, case in found}
            records = {row.id: json.loads(row.evidence)["record"] for row in connection.execute(evidence)}
            done = list(events.read(connection, select(EVENT).where(EVENT.c.model_id == model_id)))
        on = {event.number: event.shown.prediction for event in done}
        said: dict[int | None, list[Review]] = {}
        for word in words(done):
            said.setdefault(on[word.event], []).append(word)
        return tuple(
            (
                prediction_in(case[0], model_id, [finding_in(row) for row in case]),
                utc(case[0].scored_at),
                records[number],
                tuple(said.get(number, ())),
            )
            for number, case in cases.items()
        )

    def _moment(self) -> Moment:
        return Moment(_now(), self._claim_lasts)


def _parts(cases: Sequence[str] | None) -> Iterator[Sequence[str] | None]:
    """Case ids as many at a time as a statement may name; None, for all cases, as it is."""
    if cases is None:
        yield None
        return
    for start in range(0, len(cases), _AT_ONCE):
        yield cases[start : start + _AT_ONCE]


def _of(statement: Any, table: Table, case_id: str, model_id: str) -> Any:
    """`statement` for one case and one model."""
    return statement.where(table.c.case_id == case_id, table.c.model_id == model_id)
