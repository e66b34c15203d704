"""What a cohort holds, counted: sides, labels, record columns, how pictures were taken, remarks. No patient in it."""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from medmm.case import MODALITIES
from medmm.config import NumberColumn, RecordColumn
from medmm.read.survey import Surveyed

FEW = 20
"""Patients with one of the answers below which a label is too rare: the test part gets about three of them."""
MIN_PATIENTS = 5
"""A word of a header is shown if so many patients share it; a rarer one could point at a person."""
MOST_VALUES = 6
"""Values of one header element that are listed."""
_FIRST = ("Modality", "TransferSyntaxUID", "Manufacturer", "ManufacturerModelName", "PhotometricInterpretation")
_NUMBER = re.compile(r"(?<![A-Za-z\d])[-+]?\d+(\.\d+)?(e[-+]?\d+)?")
_DIGEST = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True)
class PatternRow:
    """Cases that have the same modalities."""

    present: tuple[str, ...]
    cases: int
    patients: int
    """0 where patients are not stated."""


@dataclass(frozen=True, slots=True)
class LabelRow:
    """Answers to one label."""

    label: str
    present: int
    absent: int
    not_stated: int
    patients_present: int
    patients_absent: int

    @property
    def one_sided(self) -> bool:
        """True if nothing can be learnt: one of the answers never occurs."""
        return not self.present or not self.absent

    @property
    def few(self) -> bool:
        """True if one of the answers is known of too few patients."""
        return min(self.patients_present, self.patients_absent) < FEW


@dataclass(frozen=True, slots=True)
class ColumnRow:
    """Values of one record column."""

    column: str
    kind: str
    """Unit and bounds, or that it holds categories."""
    stated: int
    missing: int
    values: str
    """Smallest, middle and greatest value, or each category with its count."""


@dataclass(frozen=True, slots=True)
class HeaderRow:
    """What the pictures say of one header element."""

    name: str
    stated: int
    missing: int
    values: str


@dataclass(frozen=True, slots=True)
class RemarkRow:
    """Remarks that differ in their numbers only."""

    text: str
    """With n for every number."""
    cases: int


def patterns(cases: Sequence[Surveyed]) -> tuple[PatternRow, ...]:
    """Count the patterns of present modalities, from the fullest to the emptiest."""
    found: dict[tuple[str, ...], list[Surveyed]] = defaultdict(list)
    for case in cases:
        found[case.present].append(case)
    order = sorted(found, key=lambda present: (-len(present), [MODALITIES.index(name) for name in present]))
    return tuple(PatternRow(present, len(found[present]), _patients(found[present])) for present in order)


def labels(cases: Sequence[Surveyed], names: Sequence[str]) -> tuple[LabelRow, ...]:
    """Count the answers to each label."""
    return tuple(_label(cases, name) for name in names)


def _label(cases: Sequence[Surveyed], name: str) -> LabelRow:
    present = [case for case in cases if case.targets[name] == 1]
    absent = [case for case in cases if case.targets[name] == 0]
    not_stated = len(cases) - len(present) - len(absent)
    return LabelRow(name, len(present), len(absent), not_stated, _patients(present), _patients(absent))


def columns(cases: Sequence[Surveyed], record: Mapping[str, RecordColumn]) -> tuple[ColumnRow, ...]:
    """Describe the values of each record column."""
    return tuple(_column(cases, name, column) for name, column in record.items())


def _column(cases: Sequence[Surveyed], name: str, column: RecordColumn) -> ColumnRow:
    values = [case.record[name] for case in cases if name in case.record]
    if isinstance(column, NumberColumn):
        bounds = [
            f"{word} {bound:g}" for word, bound in (("from", column.low), ("to", column.high)) if bound is not None
        ]
        kind, said = (
            ", ".join([column.unit, " ".join(bounds) or "any number"]),
            _spread([float(value) for value in values]),
        )
    else:
        counts = Counter(str(value) for value in values)
        kind, said = "categories", ", ".join(f"{word}: {counts[word]:,}" for word in column.categories)
    return ColumnRow(name, kind, len(values), len(cases) - len(values), said)


def header(cases: Sequence[Surveyed]) -> tuple[HeaderRow, ...]:
    """Count what the pictures say of how they were taken and stored.

    What fewer than MIN_PATIENTS patients share is counted and not shown; of patients that are not stated, each case
    counts as one.
    """
    pictures = [(case, {"Modality": look.modality} | dict(look.acquisition)) for case in cases for look in case.looks]
    keywords = {keyword for _, elements in pictures for keyword in elements}
    order = [keyword for keyword in _FIRST if keyword in keywords] + sorted(keywords.difference(_FIRST))
    return tuple(_header(keyword, pictures) for keyword in order)


def _header(keyword: str, pictures: Sequence[tuple[Surveyed, Mapping[str, str]]]) -> HeaderRow:
    from pydicom.datadict import dictionary_description, tag_for_keyword

    stated = [
        (case.patient_id or case.case_id, elements[keyword]) for case, elements in pictures if elements.get(keyword)
    ]
    tag = tag_for_keyword(keyword)
    name = keyword if tag is None else dictionary_description(tag)
    return HeaderRow(name, len(stated), len(pictures) - len(stated), _header_values(keyword, stated))


def _header_values(keyword: str, stated: Sequence[tuple[str, str]]) -> str:
    """Say which values there are: a few, or the spread of many numbers, or how many different ones."""
    counts = Counter(value for _, value in stated)
    if len(counts) > MOST_VALUES:
        numbers = [_number(value) for _, value in stated]
        known = [number for number in numbers if number is not None]
        if len(known) == len(numbers):
            return _spread(known)
    sharing: dict[str, set[str]] = defaultdict(set)
    for patient, value in stated:
        sharing[value].add(patient)
    shown = [
        value
        for value, _ in counts.most_common()
        if len(sharing[value]) >= MIN_PATIENTS and not _DIGEST.fullmatch(value)
    ][:MOST_VALUES]
    said = [f"{_in_words(keyword, value)}: {counts[value]:,}" for value in shown]
    if len(counts) > len(shown):
        others = len(counts) - len(shown)
        said.append(f"{others:,} {'other' if shown else 'different'} value{'s' if others > 1 else ''}")
    return ", ".join(said)


def _in_words(keyword: str, value: str) -> str:
    """Return a value as a person reads it; a UID by its name."""
    from pydicom.uid import UID

    return UID(value).name if keyword.endswith("UID") else value


def remarks(said: Iterable[tuple[str, ...]]) -> tuple[RemarkRow, ...]:
    """Count in how many cases each kind of remark was made, the most frequent first.

    Args:
        said: the remarks of each case.
    """
    counts = Counter(kind for case in said for kind in {_NUMBER.sub("n", remark) for remark in case})
    return tuple(RemarkRow(text, cases) for text, cases in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _patients(cases: Iterable[Surveyed]) -> int:
    return len({case.patient_id for case in cases if case.patient_id})


def _spread(numbers: Sequence[float]) -> str:
    """Say where numbers lie."""
    if not numbers:
        return ""
    return f"{min(numbers):.4g} to {max(numbers):.4g}, median {statistics.median(numbers):.4g}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
