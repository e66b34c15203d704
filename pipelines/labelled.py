"""A cohort to train on, made of scored cases and of what people decided: cases.csv, cohort.toml, links to studies."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medmm.config import CategoryColumn, CohortConfig, LabelColumns, NumberColumn, RecordColumn
from medmm.files import write_whole
from medmm.read.guard import RefusedError
from medmm.read.guess import write_config
from medmm.read.sources.source import Source, is_archive
from medmm.result import Evidence, Origin, ScoredCase

CASES, CONFIG, STUDIES = "cases.csv", "cohort.toml", "studies"
_PRIOR = "prior"
_PATIENT_ID = "00100020"
"""Patient ID (0010,0020) in DICOM JSON."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """What was written."""

    cases: int
    without_patient: int
    """Cases whose files do not say whose they are; each counts as a patient of its own."""
    without_study: int
    """Cases whose study or prior study is not where it was read, and is left out."""
    left_out: tuple[str, ...]
    """Columns of the record with one word only, which are no input."""


def write_labelled(cases: Iterable[tuple[ScoredCase, Mapping[str, bool]]], labels: Sequence[str], to: Path) -> Labelled:
    """Write what `medmm train` takes.

    Studies below `to` are named where they are; others are linked from `to`/studies, since a cohort lies in one folder.
    Links are named by digests of where they lead: no name of a file passes on, and a run that was stopped is taken up
    by the next.

    Args:
        cases: each with label -> whether it holds; a label that is absent is not stated.
        labels: all of them, in order.
        to: a folder without a cohort.

    Raises:
        ConfigError: if there is a cohort.toml.
        OSError: if a study cannot be linked.
    """
    rows: list[dict[str, str]] = []
    units: dict[str, str] = {}
    words: dict[str, set[str]] = {}
    without_patient = without_study = 0
    for case, answers in cases:
        evidence = case.evidence
        units |= evidence.units
        for column, value in evidence.record.items():
            if isinstance(value, str):
                words.setdefault(column, set()).add(value)
        study, prior = _below(evidence.study, to), _below(evidence.prior, to)
        patient = _patient(evidence)
        without_patient += not patient
        without_study += (evidence.study is not None and not study) or (evidence.prior is not None and not prior)
        case_id = case.prediction.case_id
        row = {
            "case_id": case_id,
            "patient_id": patient or case_id,
            "study": study,
            _PRIOR: prior,
            "note": evidence.note,
        }
        row |= {column: str(value) for column, value in evidence.record.items()}
        rows.append(row | {label: str(int(answer)) for label, answer in answers.items()})
    record: dict[str, RecordColumn] = {column: NumberColumn(unit=unit) for column, unit in units.items()}
    record |= {name: CategoryColumn(categories=tuple(sorted(said))) for name, said in words.items() if len(said) > 1}
    write_table(to / CASES, ["case_id", "patient_id", "study", _PRIOR, "note", *units, *words, *labels], rows)
    write_config(CohortConfig(labels=LabelColumns(columns=tuple(labels)), prior=_PRIOR, record=record), to / CONFIG)
    return Labelled(len(rows), without_patient, without_study, tuple(sorted(words.keys() - record)))


def _patient(evidence: Evidence) -> str:
    """Patient ID, by the header of the study; empty where it does not say."""
    header = json.loads(evidence.study.header) if evidence.study and evidence.study.header else {}
    return str(next(iter(header.get(_PATIENT_ID, {}).get("Value", [])), "")).strip()


def _below(origin: Origin | None, to: Path) -> str:
    """A study as a cell of the table: its path below `to`, linked there if it lies elsewhere; empty if it is gone."""
    if origin is None:
        return ""
    source = Source(Path(origin.path), origin.members)
    if not source.exists():
        return ""
    if not source.members and source.path.is_relative_to(to.absolute()):
        return source.path.relative_to(to.absolute()).as_posix()
    name = hashlib.sha256(repr((origin.path, origin.members)).encode()).hexdigest()[:16]
    link = to / STUDIES / (f"{name}.zip" if is_archive(source.path) and not source.members else name)
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        _link(source, link)
    except RefusedError:
        return ""
    return link.relative_to(to).as_posix()


def _link(source: Source, link: Path) -> None:
    """Link a study, or each of its files; members of an archive, which cannot be linked, are copied."""
    if not source.members:
        _point(link, source.path)
        return
    link.mkdir(exist_ok=True)
    with source.opened() as reader:
        for number, name in enumerate(source.names(), start=1):
            file = link / f"{number:06d}"
            if is_archive(source.path):
                content = reader.read(name)
                write_whole(file, lambda path, content=content: path.write_bytes(content))  # type: ignore[misc]
            else:
                _point(file, source.path / name)


def _point(link: Path, to: Path) -> None:
    """Make a link, unless it is there."""
    if not link.is_symlink():
        link.symlink_to(to)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV, whole or not at all; a cell that a row does not have is empty."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            table.writeheader()
            table.writerows(rows)

    write_whole(path, write)
