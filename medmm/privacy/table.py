"""A row of a cohort without identity: ids, paths, times and ages; columns that nobody has named are left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, tzinfo
from pathlib import PurePath
from typing import TypeGuard

from medmm.config import CohortConfig, NumberColumn
from medmm.privacy.header import Patient
from medmm.privacy.note import fold, is_telling, name_parts
from medmm.privacy.patterns import COMMON
from medmm.read.chart.record import read_values
from medmm.read.chart.times import has_offset, read_time
from medmm.read.cohort import CaseRow, Cohort
from medmm.read.sources.source import Source

OLDEST = 90
"""Ages from here on are one (45 CFR 164.514(b)(2)(i)(C))."""
_OLDEST = {
    ("a", "year", "years", "yr", "yrs", "y"): OLDEST,
    ("mo", "month", "months"): 12 * OLDEST,
    ("wk", "week", "weeks"): round(OLDEST * 365.25 / 7),
    ("d", "day", "days"): round(OLDEST * 365.25),
}
"""Units of ages -> OLDEST in them."""
_OF_NAMES = re.compile(
    r"(?i:name|nom\b|physician|doctor|arzt|ärzt|operator|referr|überweis|radiolog|technol|nurse|contact|relative)"
)
_OF_THINGS = re.compile(r"(?i:file|protocol|study|series|device|model|hospital|software|class|drug|test)")
_OF_VALUES = re.compile(
    r"(?i:mrn|accession|nummer|insurance|ssn|phone|telefon|mail|address|adress|street|birth|(?<![a-zäöü])geb|dob)"
)
"""Columns that hold names of persons, names of something else, and other things that identify."""
_NO_NAMES = frozenset(
    """
    abdomen anon anonymous axial brain case cases cohort data derived dicom doctor exam example film films
    folder foot frontal hand head image images information knee lateral mammo mrt neck none one original pelvis
    physician primary prior scan secondary series shoulder skull studies study subject test thorax three two
    unknown
    """.split()  # noqa: SIM905  # a list of so many strings would not be read
)
_DAY = re.compile(r"\d{4}-?\d{2}-?\d{2}")


def clean_row(
    config: CohortConfig, row: CaseRow, case: str, patient: Patient, study_time: datetime | None
) -> dict[str, str]:
    """Return column -> cell of one row, without its paths and its note.

    Args:
        config: what the columns are.
        row: as it was read; its cells are what their columns say.
        case: pseudonym of the case.
        patient: who it is from here on.
        study_time: when the study was made, by its header.
    """
    shift = patient.shift_days
    kept = read_values(case, row.cells, config.record, row.time or study_time, config.zone).values
    cells = {config.case_id: case, config.patient_id: patient.pseudonym}
    for name, column in config.record.items():
        if name not in row.cells or (shift is None and name not in kept):
            continue
        cells[name] = row.cells[name].strip()
        if isinstance(column, NumberColumn) and cells[name]:
            cells[name] = _no_older(name, column.unit, cells[name])
        if column.taken:
            cells[column.taken] = move_time(row.cells[column.taken], shift, config.zone)
    if config.time:
        cells[config.time] = move_time(row.time.isoformat() if row.time else "", shift)
    return cells | _label_cells(config, row.targets)


def clean_config(config: CohortConfig, rows: Iterable[CaseRow], dates: str) -> CohortConfig:
    """Return the configuration of the output.

    It has no FHIR, only record columns that the table has, no times if they are removed, and no rule by a description,
    which no file has any more.
    """
    there = {name for row in rows for name in row.cells}
    record = {name: column for name, column in config.record.items() if name in there}
    images = tuple(rule.model_copy(update={"description": ""}) for rule in config.images)
    changes: dict[str, object] = {"fhir": None, "images": images}
    if dates == "remove":
        record = {name: column.model_copy(update={"taken": ""}) for name, column in record.items()}
        changes["time"] = ""
    return config.model_copy(update={**changes, "record": record})


def columns_of(config: CohortConfig) -> list[str]:
    """Return the names of the columns of the output, in order, each once."""
    labels = config.labels
    answers = (labels.columns or (labels.class_column,)) if labels else ()
    roles = (config.case_id, config.patient_id, config.study, config.prior, config.time, config.note)
    taken = (column.taken for column in config.record.values())
    return [name for name in dict.fromkeys((*roles, *config.record, *taken, *answers)) if name]


def move_time(cell: str, shift_days: int | None, zone: tzinfo | None = None) -> str:
    """Move a time (ISO 8601) by whole days; what has no day gets the last one that it may be.

    A time with an offset from UTC is written as the hospital's clock showed it, if its zone is known.
    """
    cell = cell.strip()
    read = read_time(cell, zone) if cell else None
    if read is None or shift_days is None:
        return ""
    if zone is not None and has_offset(cell):
        cell = read.isoformat()
    match = _DAY.match(cell)
    day = read_time(match[0]) if match else None
    moved = ((day or read) + timedelta(days=shift_days)).date().isoformat()
    return moved + cell[match.end() :] if match else moved


def _no_older(name: str, unit: str, cell: str) -> str:
    """Return an age, but none above OLDEST years; any other number as it is."""
    is_age = unit.strip() in ("", "1") and {"age", "alter", "edad", "leeftijd"} & set(
        re.split(r"[\W\d_]+", name.lower())
    )
    most = OLDEST if is_age else next((top for units, top in _OLDEST.items() if unit.strip().lower() in units), None)
    return str(most) if most is not None and float(cell) >= most else cell


def said_in(other: Mapping[str, str]) -> tuple[set[str], set[str]]:
    """Return parts of names, and ids, addresses and birth dates, from the columns that are left out.

    Args:
        other: column -> cell; what a column holds is told by its name.
    """
    names, values = set[str](), set[str]()
    for column, cell in other.items():
        if _OF_VALUES.search(column):
            values |= {cell.strip()} if re.search(r"\d", cell) or len(fold(cell)) > len("false") else set()
            values |= {day.strftime("%Y%m%d") for day in [read_time(cell.strip()[:10])] if day}
        elif _OF_NAMES.search(column) and not _OF_THINGS.search(column):
            names |= _telling(name_parts(cell))
    return names, values


def words_in_paths(cohort: Cohort) -> dict[str, set[str]]:
    """Return case id -> words in it and in its paths that may be names: 'Doe' of 'Doe_Jane/chest'.

    What stands in many of them is none.
    """
    found: dict[str, set[str]] = {}
    for row in cohort.rows:
        paths = [
            source.path.relative_to(cohort.folder) for source in (row.study, row.prior) if _is_below(source, cohort)
        ]
        texts = [row.case_id, *(PurePath(part).stem for path in paths for part in path.parts)]
        found[row.case_id] = _telling(word for text in texts for word in re.split(r"[\W\d_]+", text))
    counts = Counter(fold(word) for words in found.values() for word in words)
    many = {word for word, count in counts.items() if count > max(2, len(found) / 10)}
    return {case_id: {word for word in words if fold(word) not in many} for case_id, words in found.items()}


def _is_below(source: Source | None, cohort: Cohort) -> TypeGuard[Source]:
    return source is not None and source.path.is_relative_to(cohort.folder)


def _telling(words: Iterable[str]) -> set[str]:
    return {word for word in words if is_telling(word) and word.casefold() not in COMMON | _NO_NAMES}


def _label_cells(config: CohortConfig, targets: Mapping[str, float]) -> dict[str, str]:
    """Return the answers as the table stated them: 1, 0 or nothing, or the name of the class."""
    if config.labels is None:
        return {}
    stated = {name: "" if value != value else str(int(value)) for name, value in targets.items()}
    if config.labels.multi_class:
        return {config.labels.class_column: next((name for name, value in stated.items() if value == "1"), "")}
    return stated
