"""What pretraining reads: rows without answers, and without the patients that a run keeps for its test."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from medmm.case import Note
from medmm.config import CohortConfig, read_toml
from medmm.errors import CohortError, ConfigError, DataError
from medmm.read.chart.note import read_note
from medmm.read.cohort import CaseRow, Cohort, join_sides, read_cohort
from medmm.read.sources.folder import read_folder


def read_unlabelled(source: Path, leave_out: Path | None = None, workers: int | None = None) -> Cohort:
    """Read a cohort, or a bare folder of studies, as rows without labels.

    Args:
        source: as for `medmm train` or `medmm score`; label columns are not looked at.
        leave_out: folder of a training run of this cohort; all cases of its test patients are left out.
        workers: processes that read headers of a bare folder.

    Raises:
        CohortError: if there is nothing to read, or nothing is left.
        ConfigError: if `leave_out` is not a run, or names cases that are not here.
    """
    cohort = _without_labels(source, workers)
    if leave_out is None:
        return cohort
    test = _test_cases(leave_out)
    patients = {owner(row) for row in cohort.rows if row.case_id in test}
    if not test <= {row.case_id for row in cohort.rows}:
        raise ConfigError(f"{leave_out} was made from other cases", "Give the run that was trained on this cohort")
    rows = tuple(row for row in cohort.rows if owner(row) not in patients)
    if not rows:
        raise CohortError("no patient is left without the test patients", "Give a run with one hold-out")
    return replace(cohort, rows=rows)


def owner(row: CaseRow) -> str:
    """Whose a case is: its patient, or where nobody says, a patient of its own."""
    return row.patient_id or row.case_id


def notes_of(cohort: Cohort) -> Iterator[tuple[str, Note | DataError]]:
    """Each row's owner and note, without the sections that state the answer; rows without a note are passed over."""
    for row in cohort.rows:
        try:
            note, _, _ = join_sides(cohort, row, row.time)
        except DataError as problem:
            yield owner(row), problem
            continue
        if note is not None:
            yield owner(row), note


def notes_in_files(folder: Path) -> Iterator[tuple[str, Note | DataError]]:
    """Each .txt file below a folder, read whole: texts of other patients hold no answer of this cohort.

    Files are named by number in messages, since their names may be patients'.
    """
    for number, path in enumerate(sorted(folder.rglob("*.txt")), start=1):
        try:
            note = read_note(f"file-{number}", path)
        except DataError as problem:
            yield str(number), problem
            continue
        if note is not None:
            yield str(number), note


def _without_labels(source: Path, workers: int | None) -> Cohort:
    """Rows whose label columns were never read as such."""
    if not (source / "cases.csv").is_file():
        return read_folder(source, workers=workers)
    said = source / "cohort.toml"
    config = read_toml(said, CohortConfig) if said.is_file() else read_cohort(source).config
    return read_cohort(source, config.model_copy(update={"labels": None}))


def _test_cases(run: Path) -> set[str]:
    """The case ids that a run keeps for its test."""
    path = run / "split.csv"
    if not path.is_file():
        raise ConfigError(f"{run} holds no split.csv", "Give the folder that `medmm train --out` wrote")
    with path.open(encoding="utf-8", newline="") as file:
        test = {line["case_id"] for line in csv.DictReader(file) if line.get("part") == "test"}
    if not test:
        raise ConfigError(f"{run} keeps no patients for its test", "Give a run with one hold-out")
    return test
