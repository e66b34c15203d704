"""A table of cases to rows that are checked and cheap; then a row to its Case."""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType

from medmm.case import Case, Study
from medmm.config import CohortConfig, LabelColumns, read_toml
from medmm.errors import CohortError
from medmm.read.guess import guess_config
from medmm.read.note import read_note
from medmm.read.record import read_record
from medmm.read.source import Source

Table = Mapping[str, Sequence[str]]
"""Column -> its cells, all as text; an empty cell is ''."""


@dataclass(frozen=True, slots=True, eq=False)
class CaseRow:
    """One row of a cohort: where the case's files are and what its cells say; nothing is opened yet."""

    case_id: str
    patient_id: str = field(repr=False)
    """Empty for a bare folder of studies."""
    study: Source | None = field(repr=False)
    """The files of the study, below the cohort's folder; None if the case has none."""
    note: str = field(default="", repr=False)
    cells: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Record column -> text. No other column is here: what the configuration does not name is never an input."""
    targets: Mapping[str, float] = field(default_factory=dict)
    """Label -> 1 present, 0 absent, NaN not stated; empty if the cohort has no labels."""
    note_file: Path | None = field(default=None, repr=False)
    """note.txt beside the images, in a bare folder of studies."""
    prior: Source | None = field(default=None, repr=False)
    """The files of an earlier study of the same patient."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", MappingProxyType(dict(self.cells)))
        object.__setattr__(self, "targets", MappingProxyType(dict(self.targets)))

    def __reduce__(self) -> tuple[object, ...]:
        mappings = dict(self.cells), dict(self.targets)
        return type(self), (self.case_id, self.patient_id, self.study, self.note, *mappings, self.note_file, self.prior)


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """Cases that belong together, in the order of their table."""

    folder: Path
    config: CohortConfig
    rows: tuple[CaseRow, ...]
    remarks: tuple[str, ...] = ()
    """What was guessed or left out, in plain words."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in order; empty for a folder that is only scored."""
        return self.config.labels.names if self.config.labels else ()

    @property
    def patients(self) -> int:
        """How many different patients there are; 0 for a bare folder of studies, which does not say."""
        return len({row.patient_id for row in self.rows if row.patient_id})

    def without_rows(self) -> Cohort:
        """The same cohort to send to another process with one row at a time."""
        return replace(self, rows=())

    def require_both_answers(self) -> None:
        """Check that there is something to learn.

        Raises:
            CohortError: if there are no labels, or a label is never stated to be present, or never absent.
        """
        if not self.labels:
            raise CohortError("the cohort has no labels", "Name them in [labels] of cohort.toml")
        for label in self.labels:
            answers = {row.targets[label] for row in self.rows if not math.isnan(row.targets[label])}
            if answers != {0.0, 1.0}:
                missing = "present" if 1.0 not in answers else "absent"
                raise CohortError(
                    f"label '{label}' is never stated to be {missing}", "Add such cases, or take the label out"
                )


def read_cohort(folder: Path, config: CohortConfig | None = None) -> Cohort:
    """Read folder/cases.csv. Studies are not opened.

    To score a table without answers, give a config with labels=None.

    Args:
        folder: with cases.csv, and cohort.toml unless `config` is given; without either, the columns are guessed.
        config: what the columns are.

    Raises:
        ConfigError: if cohort.toml does not read.
        CohortError: if the table cannot be used as a whole.
    """
    table = _read_table(folder / "cases.csv")
    remarks: tuple[str, ...] = ()
    if config is None and (folder / "cohort.toml").is_file():
        config = read_toml(folder / "cohort.toml", CohortConfig)
    elif config is None:
        guess = guess_config(table)
        config, remarks = guess.config, ("no cohort.toml: columns were guessed from their names", *guess.remarks)
    absent = _check_columns(table, config)
    remarks += tuple(f"no column '{name}': no case has one from the table" for name in absent)
    case_ids = _case_ids(table, config)
    rows = tuple(_row(folder, config, table, number, case_id) for number, case_id in enumerate(case_ids))
    return Cohort(folder, config, rows, remarks)


def read_case(cohort: Cohort, row: CaseRow) -> Case:
    """Open everything that a row names. This is the heavy part: files are read and pixels decoded.

    Raises:
        DataError: if the study, the note or the record cannot be used, or there is none of them.
    """
    study = None
    if row.study is not None:
        from medmm.read.dicom import read_study

        study = read_study(row.study, row.case_id, cohort.config.images)
    return join_case(cohort, row, study)


def join_case(cohort: Cohort, row: CaseRow, study: Study | None) -> Case:
    """Put the note and the record of a row beside its study, which was read elsewhere.

    Raises:
        DataError: if the note or the record cannot be used, or there is nothing at all.
    """
    note = read_note(row.case_id, row.note_file or row.note)
    record = read_record(row.case_id, row.cells, cohort.config.record)
    return Case(row.case_id, row.patient_id, study, note, record)


def _read_table(path: Path) -> Table:
    """Read a CSV of text cells: UTF-8, the first line names the columns, every line has them all."""
    if not path.is_file():
        raise CohortError(f"{path} is not there", "Check the folder; a cohort is a folder with cases.csv")
    problem, lines = "", list[list[str]]()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [cells for cells in csv.reader(file, strict=True) if cells]
    except UnicodeDecodeError:
        problem = "is not UTF-8 text"
    except csv.Error as thrown:
        problem = f"is not CSV ({thrown})"
    uneven = [row for row, cells in enumerate(lines) if len(cells) != len(lines[0])]
    if uneven:
        problem = f"has another number of cells in row {uneven[0]} than in its header"
    if problem:
        raise CohortError(f"cases.csv {problem}", "Save it again as CSV in UTF-8")
    if len(lines) < 2:
        raise CohortError("empty cohort: cases.csv has no rows", "Give it a header and a row for each case")
    header = [name.strip() for name in lines[0]]
    if len(set(header)) < len(header):
        second = next(place for place, name in enumerate(header) if name in header[:place])
        problem = f"columns {header.index(header[second]) + 1} and {second + 1} of cases.csv have one name"
        raise CohortError(problem, "Rename or remove one of them")
    return dict(zip(header, zip(*lines[1:], strict=True), strict=True))


def _check_columns(table: Table, config: CohortConfig) -> list[str]:
    """Check that every column named is there, and is one thing only; return optional ones that are absent.

    study and note may be absent where the configuration did not name them itself, or names them ''.
    """
    labels = config.labels
    answers = (labels.columns or (labels.class_column,)) if labels else ()
    named = [*dict.fromkeys((config.case_id, config.patient_id)), *config.record, *answers]  # the two ids may be one
    optional = {"study": config.study, "note": config.note}
    absent = [name for role, name in optional.items() if name not in table and role not in config.model_fields_set]
    named += [name for name in optional.values() if name and name not in absent]
    for name in named:
        if name not in table:
            raise CohortError(f"cases.csv has no column '{name}'", _columns_there(name, table, config))
        if named.count(name) > 1:
            raise CohortError(f"column '{name}' is named for two things", "An answer is never an input: name it once")
    return absent


def _columns_there(name: str, table: Table, config: CohortConfig) -> str:
    """Return the remedy for a missing column; without either id column, the first line may be a patient's own."""
    if config.case_id not in table and config.patient_id not in table:
        return "Name the columns in the first line, and say in cohort.toml what they are"
    near = difflib.get_close_matches(name, list(table), n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return f"{hint}Columns there: {', '.join(table)}"


def _case_ids(table: Table, config: CohortConfig) -> list[str]:
    """Return the case ids, each stated and unique; every patient id must be stated too."""
    case_ids = [cell.strip() for cell in table[config.case_id]]
    seen: dict[str, int] = {}
    for number, case_id in enumerate(case_ids, start=1):
        if not case_id or not case_id.isprintable():
            problem = f"row {number} of cases.csv has no '{config.case_id}' that can be printed"
            raise CohortError(problem, "Give every case an id without line breaks")
        if case_id in seen:
            problem = f"case {case_id} is in cases.csv twice, in rows {seen[case_id]} and {number}"
            raise CohortError(problem, f"Make '{config.case_id}' unique")
        seen[case_id] = number
    for case_id, cell in zip(case_ids, table[config.patient_id], strict=True):
        if not cell.strip():
            remedy = "Give every case one; it keeps a patient's cases on one side of a split"
            raise CohortError(f"case {case_id} has no '{config.patient_id}'", remedy)
    return case_ids


def _row(folder: Path, config: CohortConfig, table: Table, number: int, case_id: str) -> CaseRow:
    """Return one row of the table."""
    cells = {name: column[number] for name, column in table.items()} | {"": ""}  # the column of a role that has none
    return CaseRow(
        case_id=case_id,
        patient_id=cells[config.patient_id].strip(),
        study=_study(folder, cells.get(config.study, "").strip(), case_id),
        note=cells.get(config.note, ""),
        cells={name: cells[name] for name in config.record},
        targets=_targets(config.labels, cells, case_id) if config.labels else {},
    )


def _study(folder: Path, cell: str, case_id: str) -> Source | None:
    """Return the study's path, which must lie below the folder; links below it are the owner's affair."""
    if not cell:
        return None
    posix, windows = PurePosixPath(cell), PureWindowsPath(cell)
    if posix.is_absolute() or windows.drive or windows.root or ".." in (*posix.parts, *windows.parts):
        remedy = "Write it relative to the cohort's folder, without '..'"
        raise CohortError(f"the study of case {case_id} lies outside the cohort", remedy)
    return Source(folder / cell)


def _targets(labels: LabelColumns, cells: Mapping[str, str], case_id: str) -> dict[str, float]:
    """Return label -> 1, 0 or NaN."""
    if labels.multi_class:
        stated = cells[labels.class_column].strip()
        if stated and stated not in labels.classes:
            problem = f"case {case_id}: '{labels.class_column}' is not one of {', '.join(labels.classes)}"
            raise CohortError(problem, "Correct the cell, empty it, or add the class to [labels]")
        return {name: float(name == stated) if stated else math.nan for name in labels.classes}
    answers = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "": math.nan}
    for name in labels.columns:
        if cells[name].strip() not in answers:
            problem = f"case {case_id}: '{name}' is not 1, 0 or empty"
            raise CohortError(problem, "Write 1 for present, 0 for absent, and nothing for not stated")
    return {name: answers[cells[name].strip()] for name in labels.columns}
