"""Cells of a table to a Record: numbers within their bounds, words among their categories; nothing is clipped.

What cannot be shown to be there when the study was made is left out, and that is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, tzinfo

from medmm.case import Record, RecordValue
from medmm.config import CategoryColumn, NumberColumn, RecordColumn
from medmm.errors import DataError, Reason
from medmm.read.chart.times import is_before, read_time

_WRONG = "Correct the cell, empty it, or correct [record] in cohort.toml"
_UNKNOWN = "Correct the cell, or empty it if the value is not known"


@dataclass(slots=True)
class Values:
    """A record in the making."""

    values: dict[str, RecordValue] = field(default_factory=dict, repr=False)
    times: dict[str, datetime] = field(default_factory=dict, repr=False)
    remarks: list[str] = field(default_factory=list)

    def record(self) -> Record | None:
        """Return what was known; None if nothing was, whatever the remarks are."""
        return Record(self.values, self.times, tuple(self.remarks)) if self.values else None


def read_record(
    case_id: str,
    cells: Mapping[str, str],
    columns: Mapping[str, RecordColumn],
    study_time: datetime | None = None,
    zone: tzinfo | None = None,
) -> Record | None:
    """Read what was measured of one case before its study was made; None if nothing was.

    Args:
        case_id: for messages.
        cells: column -> text; an empty or missing cell means that the value was not taken.
        columns: which columns are read, and as what.
        study_time: when the study was made, by the hospital's clock. A value whose column has a `taken` is left out
            unless its time is shown not to be later; what it says is then not looked at. Without the time of the
            study, no value with a `taken` is kept, and all of them are checked.
        zone: of the hospital's clock, for times with an offset from UTC.

    Raises:
        DataError: BAD_RECORD with the column, its unit and its bounds, or its categories; or with the time column.
    """
    return read_values(case_id, cells, columns, study_time, zone).record()


def read_values(
    case_id: str,
    cells: Mapping[str, str],
    columns: Mapping[str, RecordColumn],
    study_time: datetime | None,
    zone: tzinfo | None = None,
) -> Values:
    """Read as `read_record` does; its remarks are there even if no value is."""
    known = Values()
    for name, column in columns.items():
        cell = cells.get(name, "").strip()
        if not cell:
            continue
        taken = _taken(case_id, cells.get(column.taken, ""), column.taken, zone) if column.taken else None
        why = why_left_out(taken, study_time) if column.taken else ""
        if why:
            known.remarks.append(f"{name} left out: {why}")
        if why and study_time is not None:
            continue
        value: RecordValue
        if isinstance(column, NumberColumn):
            value = check_number(case_id, name, cell, column)
        else:
            value = check_category(case_id, name, (cell,), column)
        if why:
            continue
        known.values[name] = value
        if taken is not None:
            known.times[name] = taken
    return known


def why_left_out(moment: datetime | None, study_time: datetime | None, done: str = "taken") -> str:
    """Return why something may not be an input, as the end of a remark; '' if it may."""
    if moment is None:
        return f"it is not known when it was {done}"
    if study_time is None:
        return "the study has no date to compare with"
    if is_before(moment, study_time):
        return ""
    later = moment.date() > study_time.date() and moment.time() != time.max  # which a day, month or year has
    return f"{done} after the study" if later else f"not shown to be {done} before the study"


def check_number(case_id: str, name: str, cell: str | float, column: NumberColumn, remedy: str = _WRONG) -> float:
    """Return a value as a finite number within the column's bounds.

    Raises:
        DataError: BAD_RECORD.
    """
    low = -math.inf if column.low is None else column.low
    high = math.inf if column.high is None else column.high
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and "_" not in str(cell) and low <= value <= high:
        return value
    bounds = "a number" if math.isinf(low) and math.isinf(high) else f"a number from {low:g} to {high:g}"
    raise DataError(case_id, Reason.BAD_RECORD, f"'{name}' is not {bounds} {column.unit}".rstrip(), remedy)


def check_category(
    case_id: str, name: str, words: tuple[str, ...], column: CategoryColumn, remedy: str = _UNKNOWN
) -> str:
    """Return the category that one of some words for a value names, in the spelling of the configuration.

    Capitals do not matter unless they tell two categories apart.

    Raises:
        DataError: BAD_RECORD.
    """
    for word in words:
        if word in column.categories:
            return word
        same = [category for category in column.categories if category.casefold() == word.casefold()]
        if len(same) == 1:
            return same[0]
    problem = f"'{name}' is not one of {', '.join(column.categories)}"
    raise DataError(case_id, Reason.BAD_RECORD, problem, remedy)


def _taken(case_id: str, cell: str, name: str, zone: tzinfo | None) -> datetime | None:
    """Return the time in a cell; None if it is empty."""
    if not cell.strip():
        return None
    taken = read_time(cell, zone)
    if taken is None:
        remedy = "Write it as 2024-05-31T14:30 (ISO 8601), or empty the cell"
        raise DataError(case_id, Reason.BAD_RECORD, f"'{name}' is not a time", remedy)
    return taken
