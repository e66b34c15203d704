"""A row of a cohort without identity: ids, paths, times and ages; columns that nobody has named are left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from medmm.config import CohortConfig, NumberColumn
from medmm.privacy.header import Patient
from medmm.read.chart.record import read_values
from medmm.read.chart.times import read_time
from medmm.read.cohort import CaseRow

OLDEST = 90
"""Ages from here on are one (45 CFR 164.514(b)(2)(i)(C))."""
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
    kept = read_values(case, row.cells, config.record, row.time or study_time).values
    cells = {config.case_id: case, config.patient_id: patient.pseudonym}
    for name, column in config.record.items():
        if name not in row.cells or (shift is None and name not in kept):
            continue
        cells[name] = row.cells[name].strip()
        if isinstance(column, NumberColumn) and column.unit == "a" and cells[name] and float(cells[name]) >= OLDEST:
            cells[name] = str(OLDEST)
        if column.taken:
            cells[column.taken] = move_time(row.cells[column.taken], shift)
    if config.time:
        cells[config.time] = move_time(row.time.isoformat() if row.time else "", shift)
    return cells | _label_cells(config, row.targets)


def clean_config(config: CohortConfig, rows: Iterable[CaseRow], dates: str) -> CohortConfig:
    """Return the configuration of the output: no FHIR, only record columns that the table has, no times if removed."""
    there = {name for row in rows for name in row.cells}
    record = {name: column for name, column in config.record.items() if name in there}
    changes: dict[str, object] = {"fhir": None}
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


def move_time(cell: str, shift_days: int | None) -> str:
    """Move a time (ISO 8601) by whole days; what has no day gets the last one that it may be."""
    cell = cell.strip()
    time = read_time(cell) if cell else None
    if time is None or shift_days is None:
        return ""
    day = (time + timedelta(days=shift_days)).date().isoformat()
    return day + cell[match.end() :] if (match := _DAY.match(cell)) else day


def _label_cells(config: CohortConfig, targets: Mapping[str, float]) -> dict[str, str]:
    """Return the answers as the table stated them: 1, 0 or nothing, or the name of the class."""
    if config.labels is None:
        return {}
    stated = {name: "" if value != value else str(int(value)) for name, value in targets.items()}
    if config.labels.multi_class:
        return {config.labels.class_column: next((name for name, value in stated.items() if value == "1"), "")}
    return stated
