"""Every case of a cohort through the frozen encoders, once; what cannot be read is set aside with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medmm.case import Case, RecordValue, Study
from medmm.config import ImageRule
from medmm.errors import DataError
from medmm.model.batch import Features
from medmm.model.encode import EncodedNote, EncodedStudy, Encoders, FeatureCache
from medmm.read.cohort import CaseRow, Cohort
from medmm.read.note import read_note
from medmm.read.pool import read_studies
from medmm.read.record import read_record
from medmm.tensors import RecordBins

Progress = Callable[[int, int], None]
"""Called with cases done and cases in all."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedCase:
    """A row of the cohort whose study and note have been through their encoders."""

    row: CaseRow
    study: EncodedStudy | None
    note: EncodedNote | None
    record: dict[str, RecordValue]

    def features(self, encoders: Encoders, bins: RecordBins) -> Features:
        """What the model eats; the record needs the bins of the training cases."""
        return encoders.features(self.row.case_id, bins, self.study, self.note, self.record)


@dataclass(frozen=True, slots=True, eq=False)
class EncodedCohort:
    """The cases that could be read, in the order of their rows, and those that could not."""

    cases: tuple[EncodedCase, ...]
    refused: tuple[DataError, ...]


def encode_cohort(
    cohort: Cohort, encoders: Encoders, cache_folder: Path, progress: Progress, workers: int | None = None
) -> EncodedCohort:
    """Encode all rows of a cohort; a row that was encoded before costs a file read."""
    cache = FeatureCache(cache_folder, encoders)
    done = 0
    studies: dict[str, EncodedStudy | DataError] = {}
    for case_id, study in _studies(cohort.rows, cohort.config.images, encoders, cache, workers):
        studies[case_id] = study
        done += 1
        progress(done, len(cohort.rows))
    cases: list[EncodedCase] = []
    refused: list[DataError] = []
    for row in cohort.rows:
        try:
            cases.append(_case(cohort, row, studies.get(row.case_id), encoders, cache))
        except DataError as problem:
            refused.append(problem)
        if row.study is None:
            done += 1
            progress(done, len(cohort.rows))
    return EncodedCohort(tuple(cases), tuple(refused))


def _studies(
    rows: tuple[CaseRow, ...],
    rules: tuple[ImageRule, ...],
    encoders: Encoders,
    cache: FeatureCache,
    workers: int | None,
) -> Iterator[tuple[str, EncodedStudy | DataError]]:
    """What is in the cache first, then what must be decoded."""
    keys: dict[str, str] = {}
    for row in rows:
        if row.study is None:
            continue
        keys[row.case_id] = cache.key(row.study.digest() + repr(rules).encode()) if row.study.exists() else ""
        kept = cache.study(keys[row.case_id])
        if kept is not None:
            yield row.case_id, kept
            del keys[row.case_id]
    jobs = [(row.case_id, row.study) for row in rows if row.study is not None and row.case_id in keys]
    if not jobs:
        return
    for case_id, study in read_studies(jobs, rules, workers):
        if isinstance(study, Study):
            encoded = encoders.encode_study(study)
            cache.keep_study(keys[case_id], encoded)
            yield case_id, encoded
        else:
            yield case_id, study


def _case(
    cohort: Cohort, row: CaseRow, study: EncodedStudy | DataError | None, encoders: Encoders, cache: FeatureCache
) -> EncodedCase:
    """Join the sides of one row; raises DataError if one of them is bad or none is there."""
    if isinstance(study, DataError):
        raise study
    note = read_note(row.case_id, row.note_file or row.note)
    record = read_record(row.case_id, row.cells, cohort.config.record)
    if study is None:
        Case(row.case_id, row.patient_id, note=note, record=record)  # refuses a row with nothing in it
    encoded = None
    if note is not None:
        key = cache.key(note.text.encode())
        encoded = cache.note(key)
        if encoded is None:
            encoded = encoders.encode_note(note)
            cache.keep_note(key, encoded)
    return EncodedCase(row, study, encoded, dict(record.values) if record else {})
