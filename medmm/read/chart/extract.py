"""What FHIR resources say of one patient, boiled down to dated values and texts, from which a case takes its share."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import date, datetime

from medmm.config import CategoryColumn, NumberColumn, RecordColumn
from medmm.errors import DataError, Reason
from medmm.read.chart.note import cut_note
from medmm.read.chart.record import Values, check_category, check_number, why_left_out
from medmm.read.chart.units import UnitError, convert

AGE, GENDER = "Patient.age", "Patient.gender"
"""Codes of record columns that come from the Patient resource: age at the study, and administrative gender."""
REMEDY = "Correct the resource, or the column's unit, bounds or categories in [record] of cohort.toml"


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one record column."""

    column: str
    time: datetime | None
    """The latest moment at which it can have been taken; None if that is not known."""
    number: float | None = field(default=None, repr=False)
    """In the unit of the column; for a column of numbers."""
    words: tuple[str, ...] = field(default=(), repr=False)
    """What the value is called, by code, name and text; for a column of categories."""
    problem: str = ""
    """Why it cannot be used, which is an error if it is the one that counts."""
    remark: str = ""
    """What was done to it."""
    issued: datetime | None = None
    """When it was released: of two readings of one time, the later one counts."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One text, or one condition that was known."""

    kind: str
    """'note', 'report' or 'condition'."""
    text: str = field(repr=False)
    time: datetime | None
    """The latest moment at which it can have been written; None if that is not known."""


@dataclass(frozen=True, slots=True)
class Chart:
    """What is known of one patient, whenever it became known."""

    readings: tuple[Reading, ...] = ()
    passages: tuple[Passage, ...] = ()
    birth: date | None = field(default=None, repr=False)
    """Date of birth; None where it is not stated to the day."""
    gender: str = field(default="", repr=False)
    """Administrative gender: male, female, other, unknown; empty where it is not stated."""
    remarks: tuple[str, ...] = ()
    """What of the resources could not be used."""

    def digest(self) -> bytes:
        """SHA-256 over all of it."""
        return hashlib.sha256(repr(astuple(self)).encode()).digest()


def add_readings(
    case_id: str, chart: Chart, columns: Mapping[str, RecordColumn], study_time: datetime | None, known: Values
) -> None:
    """Give each column that has no value the last one that was taken before the study.

    Args:
        case_id: for messages.
        chart: of the patient.
        columns: those with a `code` are filled.
        study_time: when the study was made; without it no dated value can be used.
        known: values of the table, which come first; added to.

    Raises:
        DataError: BAD_RECORD if that value is out of bounds, no category, or in a unit that cannot be converted.
    """
    for name, column in columns.items():
        if not column.code or name in known.values:
            continue
        if column.code == AGE and isinstance(column, NumberColumn):
            reading = _age(name, column, chart.birth, study_time, known.remarks)
        elif column.code == GENDER and isinstance(column, CategoryColumn):
            reading = _gender(name, column, chart.gender)
        else:
            reading = _last(name, [one for one in chart.readings if one.column == name], study_time, known.remarks)
        if reading is None:
            continue
        if reading.problem:
            raise DataError(case_id, Reason.BAD_RECORD, f"'{name}' {reading.problem}", REMEDY)
        if isinstance(column, NumberColumn):
            number = float("nan") if reading.number is None else reading.number
            known.values[name] = check_number(case_id, name, number, column, REMEDY)
        else:
            known.values[name] = check_category(case_id, name, reading.words, column, REMEDY)
        if reading.time is not None:
            known.times[name] = reading.time
        if reading.remark:
            known.remarks.append(f"{name}: {reading.remark}")


def chart_texts(chart: Chart, study_time: datetime | None, left_out: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what was written before the study, in order of time and without some sections; and remarks."""
    texts: list[tuple[datetime, str]] = []
    remarks: list[str] = []
    late: Counter[tuple[str, str]] = Counter()
    for passage in chart.passages:
        why = why_left_out(passage.time, study_time, "written")
        if passage.time is None or why or (passage.kind == "report" and passage.time == study_time):
            late[passage.kind, why or "not shown to be written before the study"] += 1
            continue
        text, told = cut_note(passage.text, left_out)
        texts.append((passage.time, text))
        remarks += told
    remarks += [f"{_count(number, kind)} left out: {why}" for (kind, why), number in late.items()]
    in_order = (text for _, text in sorted(texts, key=lambda pair: pair[0]) if text)
    return list(dict.fromkeys(in_order)), remarks


def _last(name: str, readings: Sequence[Reading], study_time: datetime | None, remarks: list[str]) -> Reading | None:
    """Return the last reading before the study, and say how many are not."""
    late: Counter[str] = Counter()
    last: list[Reading] = []
    for reading in readings:
        if why := why_left_out(reading.time, study_time):
            late[why] += 1
        elif not last or _order(reading) > _order(last[0]):
            last = [reading]
        elif _order(reading) == _order(last[0]):
            last.append(reading)
    remarks += [f"{_count(number, 'value')} of {name} left out: {why}" for why, number in late.items()]
    if len({(one.number, one.words) for one in last}) > 1:
        remarks.append(f"{name}: of {len(last)} values of one time, the last in the files is used")
    return last[-1] if last else None


def _order(reading: Reading) -> tuple[datetime, datetime]:
    """Later taken, or of one time later released, comes later."""
    taken = reading.time or datetime.min
    return taken, reading.issued or taken


def _age(
    name: str, column: NumberColumn, birth: date | None, study_time: datetime | None, remarks: list[str]
) -> Reading | None:
    """Return the age at the study in the column's unit of time; UCUM's year has 365.25 days."""
    if birth is None or study_time is None:
        missing = "the date of birth, to the day" if birth is None else "the date of the study"
        remarks.append(f"{name} left out: {missing}, is not known")
        return None
    try:
        return Reading(name, None, convert((study_time.date() - birth).days, "d", column.unit))
    except UnitError:
        return Reading(name, None, problem=f"is an age, which cannot be told in '{column.unit}'")


def _gender(name: str, column: CategoryColumn, gender: str) -> Reading | None:
    """Return the gender by its word or its first letter; unknown is no value where it is no category."""
    known = {category.casefold() for category in column.categories}
    words = tuple(word for word in (gender, gender[:1]) if word in known)
    if not gender or (gender == "unknown" and not words):
        return None
    return Reading(name, None, words=words)


def _count(number: int, what: str) -> str:
    """'1 value', '3 values'."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
