"""Drift: whether what comes in, what the model says of it and what people make of that are still as they were at first.

The history of one model is cut into windows of a day, a week or a month (UTC; a week begins on Monday). The first
windows are the reference, and every later window that holds enough cases is compared with it:

* a share by Fisher's exact test, shown with its Wilson interval;
* values (probabilities of a label, numbers of the record) by the two-sample Kolmogorov-Smirnov test, and their size by
  the population stability index, PSI.

All p-values of a history are corrected together (Benjamini and Hochberg 1995). Where q is 0.05 or more the difference
may be luck, and the window is steady. Where it is less, size decides:

                    watch                        drifted
    values          PSI from 0.1                 PSI from 0.25
    share           changed by 1 point           changed by 10 points, or by 1 point and twofold

An item is what the worst of its three newest judged windows is; one that drifted before them and came back is to watch.
Windows with few cases are shown and not judged. No torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Literal

import numpy as np
import pandas as pd

from medmm.case import MODALITIES, RecordValue
from medmm.judge.calibration import wilson
from medmm.judge.inventory import MIN_PATIENTS, remarks
from medmm.judge.words import counted, minus
from medmm.result import Prediction, Review, Verdict

Unit = Literal["day", "week", "month"]
Judgement = Literal["steady", "watch", "drifted", "not judged"]
Group = Literal["missing", "probability", "call", "doubt", "remark", "record", "review"]
Measure = Literal["share", "values"]

ENOUGH, REFERENCE = 50, 200
"""Cases of a window, and of the reference, from which they are judged."""
ENOUGH_REVIEWED, REFERENCE_REVIEWED = 25, 100
"""The same of cases that a person has reviewed."""
MOST_WINDOWS = 40
"""Days or weeks into which a history is cut at most; a longer one is cut into the next longer unit."""
RATE = 0.05
"""False discoveries among the differences that are called real."""
PSI_WATCH, PSI_DRIFTED = 0.1, 0.25
"""The usual bands of the population stability index (Siddiqi 2006, "Credit Risk Scorecards")."""
POINT, TEN_POINTS = 0.01, 0.10
RECENT = 3
"""Newest judged windows that say how an item is now: one that may be luck does not show that a drift is over."""
MOST_KINDS = 20
"""Kinds of remarks, and of doubts, that are followed one by one."""
_DAYS_OF_REFERENCE = 7
"""The days of a week differ by themselves: a reference of days holds each of them."""
_MOST = 0.9
"""Share of the cases that must lie in windows of at least ENOUGH."""
_FREQUENCY: Mapping[Unit, Literal["D", "W", "M"]] = {"day": "D", "week": "W", "month": "M"}
RANK: Mapping[Judgement, int] = {"drifted": 0, "watch": 1, "steady": 2, "not judged": 3}
"""The worst first."""


@dataclass(frozen=True, slots=True, eq=False)
class Scoring:
    """One prediction of the history, and what people made of it. It holds no note and no reviewer's name."""

    prediction: Prediction
    at: datetime
    """When it was made, UTC."""
    record: Mapping[str, RecordValue]
    verdicts: Mapping[str, Verdict]
    """Label -> the newest verdict on it; a label that nobody reviewed is absent."""


def scorings(
    history: Iterable[tuple[Prediction, datetime, Mapping[str, RecordValue], Sequence[Review]]],
) -> list[Scoring]:
    """What `Store.history` holds, as drift is judged on it; who cannot judge neither accepts nor overrides."""
    return [
        Scoring(said, at, record, {word.label: word.verdict for word in words if word.verdict != "cannot judge"})
        for said, at, record, words in history
    ]


@dataclass(frozen=True, slots=True)
class Window:
    """A day, a week or a month of the history."""

    start: date
    cases: int
    findings: int
    reviewed: int
    """Findings with a person's verdict."""
    reference: bool
    """Whether the later windows are compared with it."""

    @property
    def small(self) -> bool:
        """Whether it holds too few cases to be judged."""
        return self.cases < ENOUGH


@dataclass(frozen=True, slots=True)
class Point:
    """One item in one window, or in the reference."""

    cases: int
    value: float
    """A share in [0, 1], or the median of values; NaN without a case."""
    low: float
    """Wilson 95 % interval of a share from here; of values the lower quartile."""
    high: float
    """And to here; of values the upper quartile."""
    change: float = float("nan")
    """From the reference: difference of the shares, or PSI of values. NaN where it was not compared, as all below."""
    distance: float = float("nan")
    """Kolmogorov-Smirnov statistic in [0, 1]; NaN of a share."""
    p: float = float("nan")
    q: float = float("nan")
    """p corrected for everything that was compared."""
    judgement: Judgement = "not judged"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that is followed over the windows."""

    group: Group
    name: str
    measure: Measure
    reference: Point
    of_reference: int
    """How many windows from the first make its reference."""
    points: tuple[Point, ...]
    """One for each window."""

    @property
    def constant(self) -> bool:
        """Whether it is the same in every window with a case."""
        return len({point.value for point in self.points if point.cases}) < 2

    @property
    def telling(self) -> int | None:
        """Place of the window that gave the item its judgement; None if none was judged."""
        judged = [place for place, point in enumerate(self.points) if point.judgement != "not judged"]
        drifted = [place for place in judged if self.points[place].judgement == "drifted"]
        worst = min(reversed(judged[-RECENT:]), key=lambda place: RANK[self.points[place].judgement], default=None)
        if worst is not None and drifted and self.points[worst].judgement == "steady":
            return drifted[-1]
        return worst

    @property
    def came_back(self) -> bool:
        """Whether it drifted once, and its newest judged windows are steady."""
        recent = [point.judgement for point in self.points if point.judgement != "not judged"][-RECENT:]
        drifted = any(point.judgement == "drifted" for point in self.points)
        return drifted and all(judgement == "steady" for judgement in recent)

    @property
    def judgement(self) -> Judgement:
        """What its telling window is; watch if it came back."""
        if self.telling is None:
            return "not judged"
        return "watch" if self.came_back else self.points[self.telling].judgement


@dataclass(frozen=True, slots=True)
class Drift:
    """The history of one model, judged."""

    model_id: str
    unit: Unit
    windows: tuple[Window, ...]
    """Every one from the first prediction to the last, also those without a case."""
    items: tuple[Item, ...]

    @property
    def judgement(self) -> Judgement:
        """The worst of its items."""
        return min((item.judgement for item in self.items), key=RANK.__getitem__, default="not judged")

    @property
    def attention(self) -> tuple[Item, ...]:
        """What drifted, then what is to watch."""
        found = [item for item in self.items if item.judgement in ("drifted", "watch")]
        return tuple(sorted(found, key=lambda item: RANK[item.judgement]))

    @property
    def headline(self) -> str:
        """How much was looked at, and what came of it."""
        span = f"{counted(sum(window.cases for window in self.windows), 'case')} in {self._span}"
        if self.judgement == "not judged":
            return f"{span}: too few to say whether anything changed."
        counts = Counter(item.judgement for item in self.items)
        said = [f"{counts[word]} {text}" for word, text in _COUNTED if counts[word]]
        return f"{span}: of {counted(len(self.items), 'item')}, {', '.join(said)}."

    @property
    def _span(self) -> str:
        return counted(len(self.windows), self.unit)

    def named(self, place: int) -> str:
        """A window in words."""
        start = self.windows[place].start
        return {"day": f"{start}", "week": f"week of {start}", "month": f"{start:%Y-%m}"}[self.unit]

    def reason(self, item: Item) -> str:
        """The rule that gave an item its judgement, with the numbers that it was applied to."""
        if item.telling is None:
            need, whole = _needed(item.group)
            what = "reviewed cases" if item.group == "review" else "cases"
            return f"too few: it takes a reference of {whole} {what}, and a window after it with {need}"
        point, before = item.points[item.telling], item.reference
        where, rule = self.named(item.telling), _rule(item.measure, before.value, point)
        back = "; steady since" if item.came_back else ""
        if item.measure == "values":
            sizes = f"PSI {minus(point.change, 2)}, Kolmogorov-Smirnov {minus(point.distance, 2)}"
            return f"{where}, {counted(point.cases, 'case')}: {sizes}, {_q(point.q)}: {rule}{back}"
        now = f"{percent(point.value)} of {counted(point.cases, 'case')}"
        then = f"{percent(before.value)} of {before.cases:,} in the reference"
        return f"{where}: {now}, {then}, {_q(point.q)}: {rule}{back}"


_COUNTED: tuple[tuple[Judgement, str], ...] = (
    ("drifted", "drifted"),
    ("watch", "to watch"),
    ("steady", "steady"),
    ("not judged", "not judged"),
)


def judge_drift(model_id: str, history: Sequence[Scoring]) -> Drift:
    """Judge the history of one model.

    Within one window the newest prediction of a case counts; in another window the same case counts again.

    Args:
        model_id: of the model that made every prediction.
        history: at least one, oldest first.
    """
    unit = _unit(history)
    places = _places(history, unit)
    newest = {(place, said.prediction.case_id): said for place, said in zip(places, history, strict=True)}
    rows = _Rows(list(newest.values()), np.array([place for place, _ in newest]), unit)
    items = _corrected([*_missing(rows), *_said(rows), *_noticed(rows), *_record(rows), *_reviewed(rows)])
    return Drift(model_id, unit, _windows(rows), items)


def stability(reference: np.ndarray, values: np.ndarray) -> float:
    """Population stability index of values (N,) against a reference (M,), less what luck alone gives; at least 0.

    Bins are the reference's tenths, and a value that fills several of them has a bin of its own. Half a case is added
    to every bin. Without any drift PSI is (1/N + 1/M) times a chi-square of bins - 1 degrees of freedom (Yurdakul and
    Naranjo 2020, "Statistical properties of the population stability index"); its mean is taken off, since the usual
    bands are meant for samples so large that it does not matter.
    """
    tenths, times = np.unique(np.quantile(reference, np.arange(1, 10) / 10), return_counts=True)
    cuts = np.sort(np.concatenate([tenths, np.nextafter(tenths[times > 1], np.inf)]))
    bins = [np.searchsorted(cuts, part, side="right") for part in (reference, values)]
    tally = np.stack([np.bincount(part, minlength=len(cuts) + 1) for part in bins])
    counts = tally[:, tally.any(axis=0)] + 0.5
    before, now = counts / counts.sum(axis=1, keepdims=True)
    luck = (counts.shape[1] - 1) * (1 / len(reference) + 1 / len(values))
    return max(0.0, float(((now - before) * np.log(now / before)).sum() - luck))


def plain(drift: Drift) -> dict[str, Any]:
    """The history as JSON says it: numbers to six decimals, null for what was not computed; the same on every run."""
    items = [asdict(item) | {"judgement": item.judgement, "rule": drift.reason(item)} for item in drift.items]
    return {
        "model_id": drift.model_id,
        "judgement": drift.judgement,
        "unit": drift.unit,
        "windows": [
            asdict(window) | {"start": window.start.isoformat(), "small": window.small} for window in drift.windows
        ],
        "items": [_rounded(item) for item in items],
    }


def percent(share: float) -> str:
    """'12 %', '0.4 %'; n/a for NaN."""
    if np.isnan(share):
        return "n/a"
    whole = share in (0, 1) or 0.0995 <= share < 0.9905
    return f"{100 * share:.0f} %" if whole else f"{100 * share:.1f} %"


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """N predictions that count, with the place of the window of each."""

    scorings: Sequence[Scoring]
    place: np.ndarray
    """(N,) from 0."""
    unit: Unit

    @property
    def windows(self) -> int:
        return int(self.place.max()) + 1

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(finding.label for finding in self.scorings[0].prediction.findings)

    def which(self, holds: Callable[[Scoring], bool]) -> np.ndarray:
        """(N,) bool."""
        return np.array([holds(said) for said in self.scorings])

    def count(self, known: np.ndarray) -> np.ndarray:
        """Cases of each window (W,) among those that are `known` (N,)."""
        return np.bincount(self.place[known], minlength=self.windows)

    def share(self, group: Group, name: str, hit: np.ndarray, known: np.ndarray | None = None) -> Item:
        """Follow the share of `hit` (N,) among `known` (N,), or among all."""
        from scipy.stats import fisher_exact

        known = np.ones(len(hit), dtype=bool) if known is None else known
        cases, hits = self.count(known), self.count(known & hit)
        before = self.reference(group, cases)
        whole, found = int(cases[:before].sum()), int(hits[:before].sum())
        points = [_share(int(n), int(k)) for n, k in zip(cases, hits, strict=True)]
        for place in self._judged(group, cases, before):
            point = points[place]
            table = [[hits[place], cases[place] - hits[place]], [found, whole - found]]
            p = float(fisher_exact(table).pvalue)
            points[place] = replace(point, change=point.value - found / whole, p=p)
        return Item(group, name, "share", _share(whole, found), before, tuple(points))

    def values(self, group: Group, name: str, values: np.ndarray) -> Item:
        """Follow the spread of `values` (N,), NaN where there is none."""
        from scipy.stats import ks_2samp

        known = np.isfinite(values)
        cases = self.count(known)
        before = self.reference(group, cases)
        parts = [values[known & (self.place == place)] for place in range(self.windows)]
        reference = values[known & (self.place < before)]
        points = [_spread(part) for part in parts]
        for place in self._judged(group, cases, before):
            found = ks_2samp(parts[place], reference, method="asymp")
            points[place] = replace(
                points[place],
                change=stability(reference, parts[place]),
                distance=float(found.statistic),
                p=float(found.pvalue),
            )
        return Item(group, name, "values", _spread(reference), before, tuple(points))

    def reference(self, group: Group, cases: np.ndarray) -> int:
        """How many windows from the first make the reference of a group; all of them if they hold too few."""
        _, whole = _needed(group)
        enough = np.flatnonzero(np.cumsum(cases) >= whole)
        windows = int(enough[0]) + 1 if len(enough) else len(cases)
        return min(len(cases), max(windows, _DAYS_OF_REFERENCE) if self.unit == "day" else windows)

    def _judged(self, group: Group, cases: np.ndarray, before: int) -> Iterator[int]:
        """Places of the windows that are compared."""
        need, _ = _needed(group)
        return (place for place in range(before, len(cases)) if cases[place] >= need)


def _unit(history: Sequence[Scoring]) -> Unit:
    """The shortest unit of which the windows are not too many and most cases lie in windows of ENOUGH; else a month."""
    units: tuple[Unit, ...] = ("day", "week")
    for unit in units:
        places = _places(history, unit)
        newest = {(place, said.prediction.case_id) for place, said in zip(places, history, strict=True)}
        sizes = np.bincount([place for place, _ in newest])
        if len(sizes) <= MOST_WINDOWS and sizes[sizes >= ENOUGH].sum() >= _MOST * sizes.sum():
            return unit
    return "month"


def _periods(history: Sequence[Scoring], unit: Unit) -> pd.PeriodIndex:
    times = [said.at.astimezone(UTC).replace(tzinfo=None) for said in history]
    return pd.PeriodIndex(times, freq=_FREQUENCY[unit])


def _places(history: Sequence[Scoring], unit: Unit) -> list[int]:
    """The window of each prediction, the first being 0."""
    ordinals = _periods(history, unit).astype("int64").to_numpy()
    return [int(ordinal) for ordinal in ordinals - ordinals.min()]


def _windows(rows: _Rows) -> tuple[Window, ...]:
    cases = rows.count(np.ones(len(rows.place), dtype=bool))
    before = rows.reference("call", cases)
    reviewed = np.bincount(rows.place, [len(said.verdicts) for said in rows.scorings], minlength=rows.windows)
    first = _periods(rows.scorings, rows.unit).min()
    return tuple(
        Window(
            start=(first + place).start_time.date(),
            cases=int(cases[place]),
            findings=int(cases[place]) * len(rows.labels),
            reviewed=int(reviewed[place]),
            reference=place < before,
        )
        for place in range(rows.windows)
    )


def _missing(rows: _Rows) -> Iterator[Item]:
    """Each modality that the model knows and was not given."""
    for name in MODALITIES:
        absent = rows.which(lambda said, name=name: name in said.prediction.absent)  # type: ignore[misc]
        if absent.any() or any(name in said.prediction.present for said in rows.scorings):
            yield rows.share("missing", f"no {name}", absent)


def _said(rows: _Rows) -> Iterator[Item]:
    """What the model said of each label: probabilities, and calls."""
    findings = [said.prediction.findings for said in rows.scorings]
    for i, label in enumerate(rows.labels):
        yield rows.values("probability", label, np.array([found[i].probability for found in findings]))
    for i, label in enumerate(rows.labels):
        calls = np.array([found[i].call for found in findings])
        yield rows.share("call", f"{label} flagged", calls == "flagged")
        if any(found[i].limits is not None for found in findings):
            yield rows.share("call", f"{label} uncertain", calls == "uncertain")


def _noticed(rows: _Rows) -> Iterator[Item]:
    """Doubts, and remarks: of any kind, and kind by kind."""
    yield from _kinds(rows, "doubt", "any doubt", [said.prediction.doubts for said in rows.scorings])
    yield from _kinds(rows, "remark", "any remark", [said.prediction.remarks for said in rows.scorings])


def _kinds(rows: _Rows, group: Group, whole: str, said: Sequence[tuple[str, ...]]) -> Iterator[Item]:
    """Follow the cases of which anything is `said` (N,), then each kind that is frequent enough to point at nobody."""
    yield rows.share(group, whole, np.array([len(case) > 0 for case in said]))
    kinds_of = {case: {row.text for row in remarks([case])} for case in set(said)}
    kinds = [kinds_of[case] for case in said]
    named = [row.text for row in remarks(said) if row.cases >= MIN_PATIENTS][:MOST_KINDS]
    for kind in named:
        yield rows.share(group, kind, np.array([kind in case for case in kinds]))
    others = np.array([not case.issubset(named) for case in kinds])
    if others.any():
        yield rows.share(group, "any other kind", others)


def _record(rows: _Rows) -> Iterator[Item]:
    """Each column of the record: how often it is not stated, its numbers, and each of its categories."""
    given = rows.which(lambda said: bool(said.record))
    for column in sorted({column for said in rows.scorings for column in said.record}):
        values = [said.record.get(column) for said in rows.scorings]
        stated = np.array([value is not None for value in values])
        yield rows.share("record", f"{column} not stated", ~stated, given)
        words = Counter(value for value in values if isinstance(value, str))
        for word in sorted(word for word, cases in words.items() if cases >= MIN_PATIENTS):
            yield rows.share("record", f"{column} is {word}", np.array([value == word for value in values]), stated)
        if not words:
            numbers = [float("nan") if value is None else float(value) for value in values]
            yield rows.values("record", column, np.array(numbers))


def _reviewed(rows: _Rows) -> Iterator[Item]:
    """Reviewed cases whose findings were overridden: any of them, and label by label."""
    reviewed = rows.which(lambda said: bool(said.verdicts))
    if not reviewed.any():
        return
    yield rows.share(
        "review", "any finding overridden", rows.which(lambda said: "override" in said.verdicts.values()), reviewed
    )
    for label in rows.labels:
        verdicts = np.array([said.verdicts.get(label, "") for said in rows.scorings])
        yield rows.share("review", f"{label} overridden", verdicts == "override", verdicts != "")


def _needed(group: Group) -> tuple[int, int]:
    """Cases of a window, and of the reference, from which a group is judged."""
    return (ENOUGH_REVIEWED, REFERENCE_REVIEWED) if group == "review" else (ENOUGH, REFERENCE)


def _share(cases: int, hits: int) -> Point:
    if not cases:
        return Point(0, float("nan"), float("nan"), float("nan"))
    return Point(cases, hits / cases, *wilson(hits / cases, cases))


def _spread(values: np.ndarray) -> Point:
    if not len(values):
        return Point(0, float("nan"), float("nan"), float("nan"))
    low, middle, high = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
    return Point(len(values), middle, low, high)


def _corrected(items: Sequence[Item]) -> tuple[Item, ...]:
    """Correct every p-value for all the others, and judge by what is left."""
    from scipy.stats import false_discovery_control

    p = np.array([point.p for item in items for point in item.points])
    q = np.full(len(p), np.nan)
    q[np.isfinite(p)] = false_discovery_control(p[np.isfinite(p)]) if np.isfinite(p).any() else ()
    left = iter(q.tolist())
    return tuple(
        replace(item, points=tuple(_judged(item, replace(point, q=next(left))) for point in item.points))
        for item in items
    )


def _judged(item: Item, point: Point) -> Point:
    """Give a corrected point its judgement; see the rules above."""
    judgement: Judgement
    if np.isnan(point.q):
        judgement = "not judged"
    elif point.q >= RATE:
        judgement = "steady"
    elif item.measure == "values":
        judgement = "drifted" if point.change >= PSI_DRIFTED else "watch" if point.change >= PSI_WATCH else "steady"
    elif abs(point.change) < POINT:
        judgement = "steady"
    else:
        far = abs(point.change) >= TEN_POINTS or _twofold(item.reference.value, point.value)
        judgement = "drifted" if far else "watch"
    return replace(point, judgement=judgement)


def _twofold(before: float, now: float) -> bool:
    return max(before, now) >= 2 * min(before, now)


def _rule(measure: Measure, before: float, point: Point) -> str:
    """The rule that a judged point fell under, in words."""
    if point.q >= RATE:
        return "may be luck"
    if measure == "values":
        if point.judgement == "drifted":
            return f"PSI of {PSI_DRIFTED} or more"
        return f"PSI from {PSI_WATCH} to {PSI_DRIFTED}" if point.judgement == "watch" else f"PSI below {PSI_WATCH}"
    if point.judgement == "steady":
        return "changed by less than 1 point"
    if abs(point.change) >= TEN_POINTS:
        return "changed by 10 points or more"
    return "doubled or halved" if _twofold(before, point.value) else "changed by less than 10 points"


def _q(q: float) -> str:
    return "q < 0.001" if q < 0.001 else f"q {q:.3f}"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) + 0.0 if np.isfinite(value) else None
    return value
