"""A table of cases to rows that are checked and cheap; then a row to its Case."""

from __future__ import annotations

import codecs
import csv
import difflib
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType

from medmm.case import MAX_CASE_ID, Case, Note, Record, Study
from medmm.config import CohortConfig, LabelColumns, RecordColumn, read_toml
from medmm.errors import CohortError, ConfigError, DataError, Reason
from medmm.read.chart.extract import Chart, add_readings, chart_texts
from medmm.read.chart.note import cut_note, read_text
from medmm.read.chart.record import read_values
from medmm.read.chart.sections import SECTIONS
from medmm.read.chart.times import has_offset, is_before, read_time
from medmm.read.guess import ANSWERS, guess_config
from medmm.read.remark import about, concern
from medmm.read.sources.source import Source

Table = Mapping[str, Sequence[str]]
"""Column -> its cells, all as text; an empty cell is ''."""


MAX_CELL = 2**26
"""Letters of a cell; a longer one refuses the whole table, where a note that is too long refuses its own case."""
csv.field_size_limit(MAX_CELL)  # of all threads: there is one limit


@dataclass(frozen=True, slots=True, eq=False)
class CaseRow:
    """One row of a cohort: where the case's files are and what its cells say; nothing is opened yet."""

    case_id: str
    patient_id: str = field(repr=False)
    """Empty for a bare folder of studies."""
    study: Source | None = field(repr=False)
    """The files of the study, below the cohort's folder; None if the case has none."""
    note: str = field(default="", repr=False)
    """The note's text; empty where it is in `note_file`."""
    cells: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Record column, and column of its time -> text. What the configuration does not name is never an input."""
    targets: Mapping[str, float] = field(default_factory=dict)
    """Label -> 1 present, 0 absent, NaN not stated; empty if the cohort has no labels."""
    note_file: Path | None = field(default=None, repr=False)
    """The text file that the table names, or note.txt beside the images in a bare folder of studies."""
    prior: Source | None = field(default=None, repr=False)
    """The files of an earlier study of the same patient."""
    time: datetime | None = field(default=None, repr=False)
    """When the study was made, where the table says so; otherwise its own header may."""
    chart: Chart | None = field(default=None, repr=False)
    """What FHIR resources say of the patient, whenever it was; None if none are read."""
    other: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Every other column but ids, study, prior, note and labels -> text. For checks and audits; never an input."""

    def __post_init__(self) -> None:
        for name in ("cells", "targets", "other"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __reduce__(self) -> tuple[object, ...]:
        parts = [getattr(self, part.name) for part in fields(self)]  # a MappingProxyType does not travel
        return type(self), tuple(dict(part) if isinstance(part, MappingProxyType) else part for part in parts)

    def digest(self) -> bytes:
        """SHA-256 over the row's inputs other than pixels: the note, the record and the times; reads a note's file."""
        digest = hashlib.sha256(repr((self.note, sorted(self.cells.items()), self.time)).encode())
        digest.update(Source(self.note_file).digest() if self.note_file else b"none")
        digest.update(self.chart.digest() if self.chart else b"none")
        return digest.digest()


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


def read_cohort(folder: Path, config: CohortConfig | None = None, first: int | None = None) -> Cohort:
    """Read folder/cases.csv. Studies are not opened.

    To score a table without answers, give a config with labels=None.

    Args:
        folder: with cases.csv, and cohort.toml unless `config` is given; without either, the columns are guessed.
        config: what the columns are.
        first: rows that are read, the others being left; all if None.

    Raises:
        ConfigError: if cohort.toml does not read.
        CohortError: if the table cannot be used as a whole.
    """
    table = _read_table(folder / "cases.csv", first)
    remarks: tuple[str, ...] = ()
    if config is None and (folder / "cohort.toml").is_file():
        config = read_toml(folder / "cohort.toml", CohortConfig)
    elif config is None:
        guess = guess_config(table)
        config, remarks = guess.config, ("no cohort.toml: columns were guessed from their names", *guess.remarks)
    _check_sections(config)
    absent = _check_columns(table, config)
    remarks += tuple(f"no column '{name}': no case has one from the table" for name in absent)
    case_ids = _case_ids(table, config)
    rows = [_row(folder, config, table, number, case_id) for number, case_id in enumerate(case_ids)]
    if config.fhir is not None:
        from medmm.read.chart.fhir import read_charts

        charts, told = read_charts(folder / config.fhir.folder, [row.patient_id for row in rows], config)
        rows = [replace(row, chart=charts.get(row.patient_id, Chart())) for row in rows]
        remarks += told
    return Cohort(folder, config, tuple(rows), remarks)


def read_case(cohort: Cohort, row: CaseRow, enough: int | None = None) -> Case:
    """Open everything that a row names. This is the heavy part: files are read and pixels decoded.

    Args:
        cohort: for its configuration.
        row: of the cohort.
        enough: pixels of a film's shorter side that are enough; all of them if None. See `tensors.pixels_for`.

    Raises:
        DataError: if the study, its prior, the note or the record cannot be used, or there is none of them.
    """
    study = prior = None
    if row.study is not None:
        from medmm.read.dicom.study import read_study

        study = read_study(row.study, row.case_id, cohort.config.images, enough)
        if row.prior is not None:
            prior = read_study(row.prior, row.case_id, cohort.config.images, enough)
    return join_case(cohort, row, study, prior)


def join_case(cohort: Cohort, row: CaseRow, study: Study | None, prior: Study | None = None) -> Case:
    """Put the note and the record of a row beside its studies, which were read elsewhere.

    Raises:
        DataError: if the note, the record or the prior study cannot be used, or there is nothing at all.
    """
    time = row.time or (study.time if study else None)
    note, record, remarks = join_sides(cohort, row, time)
    if study is not None and prior is not None:
        remarks += check_prior(row.case_id, study, prior, time)
    return Case(row.case_id, row.patient_id, study, note, record, prior if study else None, remarks)


def join_sides(
    cohort: Cohort, row: CaseRow, time: datetime | None
) -> tuple[Note | None, Record | None, tuple[str, ...]]:
    """Read the note and the record of a row, from the table and from FHIR.

    Args:
        cohort: for its configuration.
        row: of the cohort.
        time: when the study was made: row.time, else Study.time, else None. What has a time and is not shown to be
            earlier is left out.

    Returns:
        The note, the record, and what was left out so that there is no note or record to say it.

    Raises:
        DataError: if one of them cannot be used.
    """
    note, told = _join_note(cohort.config, row, time)
    values = read_values(row.case_id, row.cells, cohort.config.record, time, cohort.config.zone)
    if row.chart is not None:
        told = (*row.chart.remarks, *told)
        add_readings(row.case_id, row.chart, cohort.config.record, time, values)
    record = values.record()
    if row.study is None and row.prior is not None:
        told = (*told, "prior study left out: the case has no study to compare with it")
    return note, record, told if record else (*told, *values.remarks)


def check_prior(case_id: str, study: Study, prior: Study, time: datetime | None) -> tuple[str, ...]:
    """Check that a prior study is an earlier one of the same patient; return remarks on what cannot be checked.

    Args:
        case_id: for messages.
        study: the study of now.
        prior: the study that is said to be earlier.
        time: when the study of now was made.

    Raises:
        DataError: WRONG_PRIOR.
    """
    remedy = "Correct the prior column, or empty the cell"
    if study.uid and study.uid == prior.uid:
        raise DataError(case_id, Reason.WRONG_PRIOR, "its prior study is the study itself", remedy)
    if study.patient_id and prior.patient_id and study.patient_id != prior.patient_id:
        raise DataError(case_id, Reason.WRONG_PRIOR, "its prior study is another patient's", remedy)
    if time and prior.time and not (is_before(prior.time, time) and prior.time < time):
        raise DataError(
            case_id, Reason.WRONG_PRIOR, "its prior study is not shown to be earlier than its study", remedy
        )
    remarks = []
    if not (study.patient_id and prior.patient_id):
        remarks.append(
            concern("prior study not checked to be the same patient's, since a file does not state whose it is")
        )
    if not (time and prior.time):
        remarks.append(concern("prior study not checked to be earlier, since its time or the study's is not known"))
    return tuple(remarks)


def _join_note(config: CohortConfig, row: CaseRow, time: datetime | None) -> tuple[Note | None, tuple[str, ...]]:
    """Return the note, or None and why there is none: what the chart says in order of time, then the table's note."""
    text, remarks = cut_note(read_text(row.case_id, row.note_file or row.note), config.sections_left_out)
    texts, told = [text], list(remarks)
    if row.chart is not None:
        earlier, left_out = chart_texts(row.chart, time, config.sections_left_out)
        texts, told = [*earlier, text], [*left_out, *remarks]
    whole, told = "\n\n".join(part for part in texts if part), list(dict.fromkeys(told))
    if whole:
        return Note(whole, tuple(told)), ()
    return None, tuple(about("no note", remark) for remark in told)


def _read_table(path: Path, first: int | None) -> Table:
    """Read a CSV of text cells: UTF-8, commas, the first line names the columns, every line has them all."""
    if not path.is_file():
        raise CohortError(f"{path} is not there", "Check the folder; a cohort is a folder with cases.csv")
    lines = _lines(path, None if first is None else 1 + first)
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if lines and len(lines[0]) == 1 and sign in lines[0][0]:
            remedy = "Save it again as CSV with commas between the cells, and points in numbers"
            raise CohortError(f"cases.csv has {name} between its cells", remedy)
    uneven = [row for row, cells in enumerate(lines) if len(cells) != len(lines[0])]
    if uneven:
        problem = f"has another number of cells in row {uneven[0]} than in its header"
        raise CohortError(f"cases.csv {problem}", "Save it again as CSV in UTF-8")
    if len(lines) < 2:
        raise CohortError("empty cohort: cases.csv has no rows", "Give it a header and a row for each case")
    header = [name.strip() for name in lines[0]]
    if len(set(header)) < len(header):
        second = next(place for place, name in enumerate(header) if name in header[:place])
        problem = f"columns {header.index(header[second]) + 1} and {second + 1} of cases.csv have one name"
        raise CohortError(problem, "Rename or remove one of them")
    return dict(zip(header, zip(*lines[1:], strict=True), strict=True))


def _lines(path: Path, first: int | None) -> list[list[str]]:
    """Return the lines of a CSV that have cells, or the first of them."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(islice((cells for cells in csv.reader(file, strict=True) if cells), first))
    except UnicodeDecodeError as thrown:
        wide = bytes(thrown.object[:2]) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        problem = "is UTF-16 text, not UTF-8" if wide else "is not UTF-8 text"
    except csv.Error as thrown:
        problem = f"is not CSV ({thrown})"
    raise CohortError(f"cases.csv {problem}", "Save it again as CSV in UTF-8")


def _check_sections(config: CohortConfig) -> None:
    """Check that the sections to leave out are ones that can be found: a misspelt name would let the answer in."""
    for name in config.sections_left_out:
        if name not in SECTIONS:
            problem = f"cohort.toml: no section '{name}' is known in 'sections_left_out'"
            raise ConfigError(problem, f"Known: {', '.join(SECTIONS)}")


def _check_columns(table: Table, config: CohortConfig) -> list[str]:
    """Check that every column named is there, and is one thing only; return optional ones that are absent.

    study and note may be absent where the configuration did not name them itself, or names them ''; so may a record
    column that FHIR can fill.
    """
    labels = config.labels
    answers = (labels.columns or (labels.class_column,)) if labels else ()
    record = _columns_read(table, config)
    named = [*dict.fromkeys((config.case_id, config.patient_id)), *record, *answers]  # the two ids may be one
    named += dict.fromkeys(column.taken for column in record.values() if column.taken)  # one may serve several
    optional = {"study": config.study, "note": config.note}
    absent = [name for role, name in optional.items() if name not in table and role not in config.model_fields_set]
    named += [name for name in optional.values() if name and name not in absent]
    named += [name for name in (config.prior, config.time) if name]
    for name in named:
        if name not in table:
            raise CohortError(f"cases.csv has no column '{name}'", _columns_there(name, table, config))
        if named.count(name) > 1:
            raise CohortError(f"column '{name}' is named for two things", "An answer is never an input: name it once")
    return absent


def _columns_read(table: Table, config: CohortConfig) -> dict[str, RecordColumn]:
    """Return the record columns that the table must have: all but those that come from FHIR alone."""
    return {
        name: column
        for name, column in config.record.items()
        if name in table or config.fhir is None or not column.code
    }


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
        if len(case_id) > MAX_CASE_ID:
            problem = f"row {number} of cases.csv has a '{config.case_id}' of more than {MAX_CASE_ID} letters"
            raise CohortError(problem, "Give every case a shorter one")
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
    labels = config.labels
    record = _columns_read(table, config)
    inputs = {*record, *(column.taken for column in record.values())} - {""}
    roles = {"", config.case_id, config.patient_id, config.study, config.note, config.prior}
    roles |= {*labels.columns, labels.class_column} if labels else set()
    text = cells.get(config.note, "")
    note_file = _path(folder, text.strip(), "note", case_id) if _names_file(text) else None
    return CaseRow(
        case_id=case_id,
        patient_id=cells[config.patient_id].strip(),
        study=_study(folder, cells.get(config.study, ""), "study", case_id),
        note="" if note_file else text,
        cells={name: cells[name] for name in cells if name in inputs},
        targets=_targets(labels, cells, case_id) if labels else {},
        note_file=note_file,
        prior=_study(folder, cells[config.prior], "prior study", case_id),
        time=_time(cells[config.time], config, case_id),
        other={name: cell for name, cell in cells.items() if name not in inputs | roles},
    )


def _names_file(text: str) -> bool:
    """Whether a note's cell is the path of a text file: one line that ends as such a name does."""
    text = text.strip()
    return text.lower().endswith(".txt") and len(text.splitlines()) == 1


def _study(folder: Path, cell: str, what: str, case_id: str) -> Source | None:
    """Return where a study is; None for an empty cell."""
    return Source(_path(folder, cell.strip(), what, case_id)) if cell.strip() else None


def _path(folder: Path, cell: str, what: str, case_id: str) -> Path:
    """Return a path, which must lie below the folder; links below it are the owner's affair."""
    posix, windows = PurePosixPath(cell), PureWindowsPath(cell)
    outside = posix.is_absolute() or windows.drive or windows.root or ".." in (*posix.parts, *windows.parts)
    if outside or "\0" in cell:
        remedy = "Write it relative to the cohort's folder, without '..'"
        raise CohortError(f"the {what} of case {case_id} lies outside the cohort", remedy)
    return folder / cell


def _time(cell: str, config: CohortConfig, case_id: str) -> datetime | None:
    """Return when the study was made, by the table; None for an empty cell.

    What is known of it must be known by the hospital's clock: a study that is taken for later than it was lets in what
    came after it.
    """
    if not cell.strip():
        return None
    time = read_time(cell, config.zone)
    if time is None or len(cell.strip()) < len("20240531"):  # a month is no time of a study
        raise CohortError(f"case {case_id}: '{config.time}' is not a time", "Write it as 2024-05-31T14:30 (ISO 8601)")
    if config.zone is None and has_offset(cell):
        problem = f"case {case_id}: '{config.time}' has an offset from UTC, and the hospital's time zone is not stated"
        raise CohortError(
            problem, "Give cohort.toml a timezone, as 'Europe/Vienna', or write it by the hospital's clock"
        )
    return time


def _targets(labels: LabelColumns, cells: Mapping[str, str], case_id: str) -> dict[str, float]:
    """Return label -> 1, 0 or NaN."""
    if labels.multi_class:
        stated = cells[labels.class_column].strip()
        if stated and stated not in labels.classes:
            problem = f"case {case_id}: '{labels.class_column}' is not one of {', '.join(labels.classes)}"
            raise CohortError(problem, "Correct the cell, empty it, or add the class to [labels]")
        return {name: float(name == stated) if stated else math.nan for name in labels.classes}
    answers = {**ANSWERS, "": math.nan}
    for name in labels.columns:
        if cells[name].strip() not in answers:
            problem = f"case {case_id}: '{name}' is not 1, 0 or empty"
            raise CohortError(problem, "Write 1 for present, 0 for absent, and nothing for not stated")
    return {name: answers[cells[name].strip()] for name in labels.columns}
