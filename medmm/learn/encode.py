"""Every case of a cohort through the frozen encoders, once; what cannot be read is set aside with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from medmm.case import Case, Note, Record, Study
from medmm.config import AdaptConfig
from medmm.errors import DataError
from medmm.model.batch import Features
from medmm.model.cache import FeatureCache
from medmm.model.encode import EncodedCase, EncodedNote, EncodedStudy, Encoders, remarks_of
from medmm.model.shelf import sweep
from medmm.read import READING
from medmm.read.cohort import CaseRow, Cohort, join_sides
from medmm.read.pool import read_cases
from medmm.tensors import RecordBins, pixels_for

Progress = Callable[[int, int], None]
"""Called with cases done and cases in all."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedRow:
    """A row of the cohort whose sides have been through their encoders."""

    row: CaseRow
    case: EncodedCase

    def features(self, encoders: Encoders, bins: RecordBins) -> Features:
        """What the model eats; the record needs the bins of the training cases."""
        return encoders.features(self.case, bins)


@dataclass(frozen=True, slots=True, eq=False)
class EncodedCohort:
    """The cases that could be read, in the order of their rows, and those that could not."""

    cases: tuple[EncodedRow, ...]
    refused: tuple[DataError, ...]


def encode_cohort(
    cohort: Cohort,
    encoders: Encoders,
    cache_folder: Path,
    progress: Progress,
    workers: int | None = None,
    adapt: AdaptConfig = AdaptConfig(),  # noqa: B008  # frozen
) -> EncodedCohort:
    """Encode all rows of a cohort; a row that was encoded before costs a file read.

    Where `adapt` teaches the image encoder, the views of every picture are kept beside what was made of it.
    """
    sweep(cache_folder)
    reader = _Reader(cohort, encoders, FeatureCache(cache_folder, encoders), adapt)
    found: dict[str, EncodedCase | DataError] = {}
    left = []
    for row in cohort.rows:
        known = reader.known(row, reader.keys(row))
        if known is None:
            left.append(row)
        else:
            found[row.case_id] = known
            progress(len(found), len(cohort.rows))
    for row, case in read_cases(cohort, left, workers, pixels_for(encoders.image.size)):
        found[row.case_id] = case if isinstance(case, DataError) else reader.encoded(row, case)
        progress(len(found), len(cohort.rows))
    answers = [(row, found[row.case_id]) for row in cohort.rows]
    return EncodedCohort(
        tuple(EncodedRow(row, case) for row, case in answers if isinstance(case, EncodedCase)),
        tuple(case for _, case in answers if isinstance(case, DataError)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Reader:
    """Rows to encoded cases, with what is in the cache or with what was read from files."""

    cohort: Cohort
    encoders: Encoders
    cache: FeatureCache
    adapt: AdaptConfig

    def keys(self, row: CaseRow) -> tuple[str, str]:
        """Names of study and prior in the cache, by their files as they are now; '' for what the row has not."""
        if row.study is None or not row.study.exists():
            return "", ""
        prior = row.prior.digest() if row.prior is not None and row.prior.exists() else None
        return self._named(row, row.study.digest(), prior)

    def _named(self, row: CaseRow, study: bytes, prior: bytes | None) -> tuple[str, str]:
        """Names of study and prior in the cache, by the digests of their files.

        A prior is kept beside its study and not for itself: that it is the same patient's, and earlier, was checked
        when both were read.
        """
        content = study + repr((READING, self.cohort.config.images)).encode()
        beside = b"" if prior is None else content + prior + repr(row.time).encode()
        return self.cache.key(content), self.cache.key(beside) if beside else ""

    def known(self, row: CaseRow, keys: tuple[str, str]) -> EncodedCase | DataError | None:
        """A row whose studies are in the cache, or that has none; None if files must be decoded."""
        study, prior = (self._kept(key) for key in keys)
        if row.study is not None and (study is None or (row.prior is not None and prior is None)):
            return None
        try:
            note, record, remarks = join_sides(self.cohort, row, row.time or (study.time if study else None))
            if study is None:
                Case(row.case_id, row.patient_id, note=note, record=record)  # refuses a row with nothing in it
            return self._joined(row, study, prior, note, record, remarks)
        except DataError as problem:
            return problem

    def encoded(self, row: CaseRow, case: Case) -> EncodedCase:
        """A case that was read from files; its studies are kept by what was read, which may be newer than its name."""
        earlier = case.prior.digest if case.prior else None
        keys = self._named(row, case.study.digest, earlier) if case.study else ("", "")
        study, prior = (self._study(key, study) for key, study in zip(keys, (case.study, case.prior), strict=True))
        return self._joined(row, study, prior, case.note, case.record, case.remarks)

    def _kept(self, key: str) -> EncodedStudy | None:
        """A study from the cache, with its views if they are wanted; None if something of it is not there."""
        study = self.cache.study(key)
        if study is None or self.adapt.image == "frozen":
            return study
        maps = self._maps(key)
        return replace(study, maps=maps) if self.cache.has(maps) else None

    def _study(self, key: str, study: Study | None) -> EncodedStudy | None:
        """A study, encoded and kept."""
        if study is None:
            return None
        encoded = self.encoders.encode_study(study, keep_trunks=self.adapt.image != "frozen")
        self.cache.keep_study(key, encoded)
        if self.adapt.image == "frozen":
            return encoded
        maps = self._maps(key)
        views = self.encoders.encode_views(study, encoded, self.adapt)
        self.cache.keep_maps(maps, views, [encoded.trunks[number] for number in encoded.flat])
        return replace(encoded, trunks=(), maps=maps)

    def _maps(self, key: str) -> str:
        """Name in the cache of a study's views."""
        return self.cache.key(key.encode() + f"turnings and {self.adapt.views} views".encode())

    def _joined(
        self,
        row: CaseRow,
        study: EncodedStudy | None,
        prior: EncodedStudy | None,
        note: Note | None,
        record: Record | None,
        remarks: tuple[str, ...],
    ) -> EncodedCase:
        """Put the sides of one row together."""
        values = record.values if record else {}
        said = remarks_of(note, record, remarks)
        return EncodedCase(row.case_id, study, prior, self._note(note), values, said)

    def _note(self, note: Note | None) -> EncodedNote | None:
        """The note, encoded once."""
        if note is None:
            return None
        key = self.cache.key(note.text.encode())
        encoded = self.cache.note(key)
        if encoded is None:
            encoded = self.encoders.encode_note(note)
            self.cache.keep_note(key, encoded)
        return encoded
