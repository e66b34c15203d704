"""One case to its scored case: encode it, answer, explain.

Every case goes through the model alone. Together they would be answered a little sooner, and a little otherwise: a
matrix product rounds by the size of the batch, and then the last digits of a case would depend on who came with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medmm.case import Case, RecordValue, Study
from medmm.config import CohortConfig, NumberColumn
from medmm.errors import DataError
from medmm.explain.contribution import predict
from medmm.explain.explanation import explain, worth_a_look
from medmm.explain.similar import Memory
from medmm.model.batch import Features, ImageLayout
from medmm.model.folder import Model
from medmm.model.quality import quality_doubts
from medmm.read.cohort import CaseRow
from medmm.read.sources.source import Source
from medmm.result import Evidence, Film, Origin, Refusal, ScoredCase, Span
from medmm.score.content import Beside, content_from
from medmm.score.engine import Plan
from medmm.score.reading import Read
from medmm.slices import part_of, pictures_of
from medmm.tensors import pixels_for
from medmm.write.picture import write_picture


@dataclass(frozen=True, slots=True, eq=False)
class Answerer:
    """Who answers."""

    model: Model
    memory: Memory | None
    """Training cases to compare with, if that is asked for."""

    @property
    def enough(self) -> int:
        """Pixels of a film's shorter side that the model asks for."""
        return pixels_for(self.model.encoders.image.size)

    def answered(self, plan: Plan, row: CaseRow, read: Read | DataError) -> ScoredCase | Refusal:
        """What is kept of a row that was read, or could not be."""
        if isinstance(read, DataError):
            return Refusal.of(read)
        content = content_from(read.inputs, plan.cohort.config, plan.beside)
        waiting = encode_case(self.model, row, read.case, content, plan.films, plan.cohort.config)
        return answer_case(self.model, self.memory, waiting, plan.beside)


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


def encode_case(
    model: Model, row: CaseRow, case: Case, content: str, films: Path | None, config: CohortConfig
) -> Waiting:
    """Encode a case that was read, and write the pictures that the model was given.

    Args:
        model: the one that will answer.
        row: where the case came from.
        case: read from it.
        content: see medmm.score.content.
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


def answer_case(model: Model, memory: Memory | None, case: Waiting, beside: Beside) -> ScoredCase:
    """Answer an encoded case, and explain the answer; `memory` has the training cases to compare with."""
    (answer,) = predict(model, [case.features])
    columns = model.card.cohort.record.items()
    units = {name: column.unit for name, column in columns if isinstance(column, NumberColumn)}
    flips = [finding.label for finding in answer.flagged] if beside.deletions else []
    look = worth_a_look(answer)
    explanations = explain(model, case.features, case.note, look, flips) if beside.explained else ()
    similar = memory.nearest(model, case.features, case.patient_id) if memory and beside.similar else ()
    evidence = Evidence(
        case.films, case.note, case.record, units, explanations, similar, case.study, case.prior, case.usual
    )
    return ScoredCase(replace(answer, doubts=case.doubts + answer.doubts), evidence, case.content)
