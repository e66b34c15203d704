"""The worklist: which cases, in which order, a page at a time; all of it asked of the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Literal, get_args

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Select,
    and_,
    case,
    cast,
    extract,
    func,
    literal,
    or_,
    select,
    true,
)

from medmm.case import MODALITIES
from medmm.result import Prediction
from medmm.store.decisions import Claim
from medmm.store.events import Shown
from medmm.store.schema import DESK, EVENT, FINDING, PREDICTION, REFUSAL
from medmm.store.values import finding_in, prediction_in, utc

Status = Literal["all", "not reviewed", "reviewed", "mine", "claimed", "disagreed"]
"""mine: held or decided by the one who asks; claimed: held by anybody; disagreed: waits for an adjudicator."""
Order = Literal["urgent", "oldest", "newest", "case"]
"""urgent: cases that nobody decided first, then by `urgency`."""
_DAY_S = 86_400.0
_LEAST = 1e-6
"""A threshold below it counts as this."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which cases are shown: all that is stated must hold."""

    status: Status = "all"
    who: str = ""
    """Whose cases are 'mine'."""
    uncertain: bool = False
    """Only cases with a label that the model calls uncertain."""
    unlike: bool = False
    """Only cases with a doubt: unlike what the model learnt from, or not what they seem."""
    missing: tuple[str, ...] = ()
    """Only cases without each of these modalities."""
    flagged: str = ""
    """Only cases flagged for this label."""
    search: str = ""
    """Only cases with this in their id, capitals ignored."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many cases of a model each filter leaves, each for itself."""

    status: Mapping[Status, int]
    uncertain: int
    unlike: int
    missing: Mapping[str, int]
    """Modality -> cases without it."""
    flagged: Mapping[str, int]
    """Label -> cases flagged for it, in the order of the labels' names."""


@dataclass(frozen=True, slots=True)
class WorklistRow:
    """One case of the worklist: its newest prediction, without evidence, and what people did with it."""

    prediction: Prediction
    scored_at: datetime
    """UTC."""
    reviewed: int
    """Findings with a word on that prediction; a word on an earlier one does not count."""
    disagreed: int
    """Findings on which people disagree, so that they wait for an adjudicator."""
    claim: Claim | None
    """Who holds the case; None where nobody does, or whoever did let the time run out."""
    shown: Shown = field(repr=False)
    """What a person sees who opens it: for the trail."""

    @property
    def claimed_by(self) -> str:
        """Who holds the case; empty if nobody does."""
        return self.claim.who if self.claim else ""


@dataclass(frozen=True, slots=True)
class Moment:
    """When the worklist is asked for, and how long a claim lasts."""

    at: datetime
    """UTC, without a zone."""
    claim_lasts: timedelta


def newest(model_id: str, cases: Sequence[str] | None = None) -> Select[Any]:
    """Numbers of the newest prediction of each case, or of these cases; one that was refused since then has none."""
    refused = select(REFUSAL.c.case_id).where(REFUSAL.c.model_id == model_id)
    query = select(func.max(PREDICTION.c.id)).where(PREDICTION.c.model_id == model_id)
    if cases is not None:
        query = query.where(PREDICTION.c.case_id.in_(cases))
    return query.where(PREDICTION.c.case_id.not_in(refused)).group_by(PREDICTION.c.case_id)


def contents(connection: Connection, model_id: str, cases: Sequence[str] | None) -> dict[str, str]:
    """Case id -> the content that its newest prediction was made from; of these cases only, if they are given."""
    query = select(PREDICTION.c.case_id, PREDICTION.c.content).where(PREDICTION.c.id.in_(newest(model_id, cases)))
    return {row.case_id: row.content for row in connection.execute(query)}


def predictions(connection: Connection, model_id: str, cases: Sequence[str] | None) -> list[Prediction]:
    """The newest prediction of each case, by case id; of these cases only, if they are given."""
    kept = PREDICTION.c
    query = select(kept.id, kept.case_id, kept.said).where(kept.id.in_(newest(model_id, cases)))
    rows = connection.execute(query.order_by(kept.case_id)).all()
    found = _findings(connection, None if cases is None else [row.id for row in rows], model_id)
    return [prediction_in(row, model_id, found[row.id]) for row in rows]


def page(
    connection: Connection,
    model_id: str,
    filters: Filters,
    order: Order,
    priorities: Mapping[str, float],
    moment: Moment,
    limit: int | None,
    offset: int,
) -> tuple[WorklistRow, ...]:
    """Some rows of the worklist, in order; see Store.worklist."""
    kept, desk = PREDICTION.c, DESK.c
    columns = (kept.id, kept.case_id, kept.content, kept.scored_at, kept.said, desk.claimed_by, desk.claimed_at)
    query = _cases(model_id, *columns, _decided().label("decided"), _disagreed().label("disagreed"))
    if order == "urgent":
        urgency = _urgency(model_id, priorities)
        query = query.join(urgency, urgency.c.prediction_id == kept.id)
        days = cast(extract("epoch", literal(moment.at)) - extract("epoch", kept.scored_at), Float) / _DAY_S
        query = query.order_by(_decided() > 0, (urgency.c.urgency * (1 + days)).desc())
    if order in ("oldest", "newest"):
        query = query.order_by(kept.scored_at if order == "oldest" else kept.scored_at.desc())
    query = query.where(*_conditions(model_id, filters, moment)).order_by(kept.case_id).limit(limit).offset(offset)
    rows = connection.execute(query).all()
    found = _findings(connection, None if limit is None else [row.id for row in rows], model_id)
    return tuple(_row(model_id, row, found[row.id], moment) for row in rows)


def matching(connection: Connection, model_id: str, filters: Filters, moment: Moment) -> int:
    """How many cases the filters leave."""
    query = _cases(model_id, func.count()).where(*_conditions(model_id, filters, moment))
    return int(connection.execute(query).scalar_one())


def counts(connection: Connection, model_id: str, who: str, moment: Moment) -> Counts:
    """How many cases each filter leaves."""
    asked = {("status", status): Filters(status=status, who=who) for status in get_args(Status)}
    asked |= {("missing", modality): Filters(missing=(modality,)) for modality in MODALITIES}
    asked |= {("uncertain", ""): Filters(uncertain=True), ("unlike", ""): Filters(unlike=True)}
    sums = [func.count().filter(and_(true(), *_conditions(model_id, one, moment))) for one in asked.values()]
    found = dict(zip(asked, connection.execute(_cases(model_id, *sums)).one(), strict=True))
    labels = select(FINDING.c.label, func.count().filter(_flagged()).label("cases"))
    labels = labels.where(FINDING.c.prediction_id.in_(newest(model_id))).group_by(FINDING.c.label)
    flagged = {row.label: row.cases for row in connection.execute(labels.order_by(FINDING.c.label))}

    def of(kind: str) -> dict[Any, int]:
        return {name: count for (group, name), count in found.items() if group == kind}

    return Counts(of("status"), found["uncertain", ""], found["unlike", ""], of("missing"), flagged)


def _cases(model_id: str, *columns: Any) -> Select[Any]:
    """Columns of the newest prediction of each case, and of what people did with it."""
    kept = PREDICTION.c
    same = (DESK.c.model_id == kept.model_id) & (DESK.c.case_id == kept.case_id)
    return select(*columns).select_from(PREDICTION).outerjoin(DESK, same).where(kept.id.in_(newest(model_id)))


def _decided() -> ColumnElement[int]:
    """Findings decided on the newest prediction; the desk may still speak of an earlier one."""
    return case((DESK.c.prediction_id == PREDICTION.c.id, DESK.c.decided), else_=0)


def _disagreed() -> ColumnElement[int]:
    return case((DESK.c.prediction_id == PREDICTION.c.id, DESK.c.disagreed), else_=0)


def _urgency(model_id: str, priorities: Mapping[str, float]) -> Any:
    """Of each newest prediction, its label with the highest product of priority and probability over threshold."""
    threshold = case((FINDING.c.threshold > _LEAST, FINDING.c.threshold), else_=_LEAST)
    priority = case(dict(priorities), value=FINDING.c.label, else_=1.0) if priorities else 1.0
    query = select(FINDING.c.prediction_id, func.max(priority * FINDING.c.probability / threshold).label("urgency"))
    return query.where(FINDING.c.prediction_id.in_(newest(model_id))).group_by(FINDING.c.prediction_id).subquery()


def _flagged() -> ColumnElement[bool]:
    """As it was called: what is uncertain is not flagged, at whatever probability."""
    return FINDING.c.called == "flagged"


def _conditions(model_id: str, filters: Filters, moment: Moment) -> list[ColumnElement[bool]]:
    """What must hold of a case."""
    kept = PREDICTION.c
    asked = [_status(model_id, filters, moment)] if filters.status != "all" else []
    if filters.uncertain:
        asked.append(kept.id.in_(select(FINDING.c.prediction_id).where(FINDING.c.called == "uncertain")))
    if filters.unlike:
        asked.append(kept.doubts > 0)
    asked += [kept.absent.contains(f",{modality},", autoescape=True) for modality in filters.missing]
    if filters.flagged:
        flagged = select(FINDING.c.prediction_id).where(FINDING.c.label == filters.flagged, _flagged())
        asked.append(kept.id.in_(flagged))
    if filters.search.strip():
        asked.append(kept.case_id.icontains(filters.search.strip(), autoescape=True))
    return asked


def _status(model_id: str, filters: Filters, moment: Moment) -> ColumnElement[bool]:
    held = and_(DESK.c.claimed_by.is_not(None), DESK.c.claimed_at > moment.at - moment.claim_lasts)
    if filters.status == "claimed":
        return held
    if filters.status == "disagreed":
        return _disagreed() > 0
    if filters.status == "mine":
        decided = select(EVENT.c.case_id).where(
            EVENT.c.who == filters.who, EVENT.c.kind == "decided", EVENT.c.model_id == model_id
        )
        return or_(and_(held, DESK.c.claimed_by == filters.who), PREDICTION.c.case_id.in_(decided))
    return _decided() > 0 if filters.status == "reviewed" else _decided() == 0


def _findings(connection: Connection, predictions: list[int] | None, model_id: str) -> dict[int, list[Any]]:
    """The findings of these predictions, or of the newest ones of all cases, in the model's order."""
    query = select(FINDING).order_by(FINDING.c.prediction_id, FINDING.c.place)
    query = query.where(FINDING.c.prediction_id.in_(newest(model_id) if predictions is None else predictions))
    rows = groupby(connection.execute(query), key=lambda row: int(row.prediction_id))
    return {number: [finding_in(row) for row in found] for number, found in rows}


def _row(model_id: str, row: Any, found: list[Any], moment: Moment) -> WorklistRow:
    fresh = row.claimed_by is not None and row.claimed_at > moment.at - moment.claim_lasts
    return WorklistRow(
        prediction_in(row, model_id, found),
        utc(row.scored_at),
        row.decided,
        row.disagreed,
        Claim(row.claimed_by, utc(row.claimed_at)) if fresh else None,
        Shown(model_id, row.case_id, row.id, row.content),
    )
