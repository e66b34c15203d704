"""One case to its scored case: encode it, answer, explain.

Every case goes through the model alone. Together they would be answered a little sooner, and a little otherwise: a
matrix product rounds by the size of the batch, and then the last digits of a case would depend on who came with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medmm.case import Case, RecordValue, Study
from medmm.config import CohortConfig, NumberColumn
from medmm.explain.contribution import predict
from medmm.explain.explanation import explain, worth_a_look
from medmm.explain.similar import Memory
from medmm.model.batch import Features, ImageLayout
from medmm.model.folder import Model
from medmm.model.quality import quality_doubts
from medmm.read import READING
from medmm.read.cohort import CaseRow
from medmm.read.sources.source import Source
from medmm.result import Evidence, Film, Origin, ScoredCase, Span
from medmm.score.reading import inputs_of
from medmm.slices import part_of, pictures_of
from medmm.write.picture import write_picture


@dataclass(frozen=True, slots=True)
class Beside:
    """What is given beside every prediction."""

    memory: Memory | None = None
    """Training cases to compare with."""
    deletions: bool = False
    """Whether it is said of flagged findings without what they would not be."""
    explained: bool = True
    """Whether findings have overlays and the worth of words and record values."""


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A case that went through the encoders and waits for its answer; its pixels are let go."""

    features: Features
    patient_id: str = field(repr=False)
    films: tuple[Film, ...]
    note: str = field(repr=False)
    record: dict[str, RecordValue] = field(repr=False)
    content: str
    doubts: tuple[str, ...]
    """Of the quality of what was read."""
    study: Origin | None
    prior: Origin | None
    usual: Mapping[str, Span]


def content_of(row: CaseRow, config: CohortConfig, beside: Beside) -> str:
    """SHA-256 over everything that the prediction is made from but the model, and over what is asked of it.

    What cannot be read is refused later, by its reader.
    """
    return content_from(inputs_of(row), config, beside)


def content_from(inputs: str, config: CohortConfig, beside: Beside) -> str:
    """The same of a row whose `inputs_of` are known."""
    asked = {"deletions": beside.deletions, "similar": beside.memory is not None}
    return hashlib.sha256(repr((inputs, settings_of(config), asked)).encode()).hexdigest()


def settings_of(config: CohortConfig) -> str:
    """SHA-256 over how files and cells are read; not over what the columns of a table are called."""
    read = config.model_dump_json(include={"images", "sections_left_out", "timezone", "record", "fhir"})
    return hashlib.sha256(repr((READING, read)).encode()).hexdigest()


def encode_case(
    model: Model, row: CaseRow, case: Case, content: str, films: Path | None, config: CohortConfig
) -> Waiting:
    """Encode a case that was read, and write the pictures that the model was given.

    Args:
        model: the one that will answer.
        row: where the case came from.
        case: read from it.
        content: from `content_of`.
        films: folder of the pictures; None to write none.
        config: by which the case was read.
    """
    features = model.encode(case, keep_trunks=True)
    shown = list(_films(case.study, features.layout.images, films, prior=False))
    shown += _films(case.prior, features.layout.prior, films, prior=True)
    note, record = case.note.text if case.note else "", dict(case.record.values) if case.record else {}
    taught = model.card.cohort
    origins = _origin(row.study, case.study, taught), _origin(row.prior, case.prior, taught)
    usual = _usual(taught) | _usual(config)
    doubts = quality_doubts(case)
    return Waiting(features, case.patient_id, tuple(shown), note, record, content, doubts, *origins, usual)


def _usual(config: CohortConfig) -> dict[str, Span]:
    """The usual ranges that a cohort states."""
    columns = config.record.items()
    return {name: column.usual for name, column in columns if isinstance(column, NumberColumn) and column.usual}


def _films(study: Study | None, layouts: Sequence[ImageLayout], films: Path | None, *, prior: bool) -> Iterator[Film]:
    """Write the pictures of one study, in the order in which the model was given them."""
    if study is None or not layouts:
        return
    pictures = [layout.picture for layout in layouts]
    for picture, image in zip(pictures, pictures_of(study, pictures), strict=True):
        if films is not None:
            write_picture(films, image)
        yield Film(
            image.digest,
            image.modality,
            image.view,
            image.remarks,
            prior,
            part_of(study, picture),
            image.series_uid,
            image.instance_uid,
            image.sop_class,
        )


def _origin(source: Source | None, study: Study | None, config: CohortConfig) -> Origin | None:
    """Where a study that was read came from."""
    if source is None or study is None:
        return None
    windows = tuple(rule.window for rule in config.images if rule.window is not None)
    return Origin(str(source.path.absolute()), source.members, study.header, windows)


def answer_case(model: Model, case: Waiting, beside: Beside) -> ScoredCase:
    """Answer an encoded case, and explain the answer."""
    (answer,) = predict(model, [case.features])
    columns = model.card.cohort.record.items()
    units = {name: column.unit for name, column in columns if isinstance(column, NumberColumn)}
    flips = [finding.label for finding in answer.flagged] if beside.deletions else []
    look = worth_a_look(answer)
    explanations = explain(model, case.features, case.note, look, flips) if beside.explained else ()
    similar = beside.memory.nearest(model, case.features, case.patient_id) if beside.memory else ()
    evidence = Evidence(
        case.films, case.note, case.record, units, explanations, similar, case.study, case.prior, case.usual
    )
    return ScoredCase(replace(answer, doubts=case.doubts + answer.doubts), evidence, case.content)
