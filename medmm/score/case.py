"""One case to its scored case: encode it, or recall it as it was encoded, answer, explain.

Every case goes through the model alone. Together they would be answered a little sooner, and a little otherwise: a
matrix product rounds by the size of the batch, and then the last digits of a case would depend on who came with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from medmm.case import Case, RecordValue, Study
from medmm.config import CohortConfig, NumberColumn
from medmm.errors import DataError, Reason
from medmm.explain.contribution import predict
from medmm.explain.explanation import explain, worth_a_look
from medmm.explain.similar import Memory
from medmm.model.batch import Features, ImageLayout
from medmm.model.encode import EncodedCase
from medmm.model.folder import Model
from medmm.model.quality import quality_doubts
from medmm.model.shelf import Shelf
from medmm.read.cohort import CaseRow
from medmm.read.sources.source import Source
from medmm.result import Evidence, Film, Origin, Refusal, ScoredCase, Span
from medmm.score.content import Beside, content_from, settings_of
from medmm.score.engine import Plan
from medmm.score.kept import Kept
from medmm.score.reading import Read
from medmm.score.recall import keep, recall
from medmm.score.seen import Seen
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

    def kept(self, plan: Plan) -> Kept | None:
        """Where the encoded cases of a run are kept, if they are."""
        if plan.cache is None:
            return None
        shelf = Shelf(plan.cache, self.model.encoders.frozen_digest)
        return Kept(shelf, settings_of(plan.cohort.config), self.model.knows_prior)

    def answered(self, plan: Plan, row: CaseRow, read: Read | DataError) -> ScoredCase | Refusal:
        """What is kept of a row that was read, or could not be."""
        if isinstance(read, DataError):
            return Refusal.of(read)
        try:
            encoded, seen = self._encoded(plan, row, read)
            content = content_from(read.inputs, plan.cohort.config, plan.beside)
            waiting = _waiting(self.model, row, encoded, seen, content, plan.cohort.config)
            return answer_case(self.model, self.memory, waiting, plan.beside)
        except DataError as problem:
            return Refusal.of(problem)
        except (MemoryError, RuntimeError) as problem:
            if not _wants_memory(problem):
                raise
        return Refusal(row.case_id, Reason.TOO_LARGE, "needs more memory to be answered than there is", "Reduce it")

    def _encoded(self, plan: Plan, row: CaseRow, read: Read) -> tuple[EncodedCase, Seen]:
        kept, encoders = self.kept(plan), self.model.encoders
        if read.case is not None:
            encoded, seen = _encode(self.model, read.case, plan.films)
            if kept is not None:
                keep(kept, read.inputs, encoders, encoded, seen, plan.films)
            return encoded, seen
        if kept is None:
            raise ValueError("a case that was not read is kept somewhere")
        return recall(kept, read.inputs, row.case_id, encoders, plan.films)


def _wants_memory(problem: Exception) -> bool:
    """Whether memory ran out, by what Python, a GPU and torch's allocator on a CPU say of it."""
    said = isinstance(problem, MemoryError | torch.OutOfMemoryError)
    return said or "DefaultCPUAllocator: can't allocate memory" in str(problem)


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A case that went through the encoders and waits for its answer; its pixels are let go."""

    features: Features
    patient_id: str = field(repr=False)
    record: Mapping[str, RecordValue] = field(repr=False)
    seen: Seen
    content: str
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
    return _waiting(model, row, *_encode(model, case, films), content, config)


def _encode(model: Model, case: Case, films: Path | None) -> tuple[EncodedCase, Seen]:
    """A case through the encoders, and what is shown of it."""
    encoded = model.encoded(case, keep_trunks=True)
    shown = list(_films(case.study, encoded.study.images if encoded.study else (), films, prior=False))
    shown += _films(case.prior, encoded.prior.images if encoded.prior else (), films, prior=True)
    return encoded, Seen(
        films=tuple(shown),
        note=case.note.text if case.note else "",
        doubts=quality_doubts(case),
        study=case.study.header if case.study else None,
        prior=case.prior.header if case.prior else None,
    )


def _waiting(
    model: Model, row: CaseRow, encoded: EncodedCase, seen: Seen, content: str, config: CohortConfig
) -> Waiting:
    """A case, encoded, for a model to answer."""
    taught = model.card.cohort
    origins = _origin(row.study, seen.study, taught), _origin(row.prior, seen.prior, taught)
    usual = _usual(taught) | _usual(config)
    return Waiting(model.features(encoded), row.patient_id, encoded.record, seen, content, *origins, usual)


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


def _origin(source: Source | None, header: str | None, config: CohortConfig) -> Origin | None:
    """Where a study that was read came from."""
    if source is None or header is None:
        return None
    windows = tuple(rule.window for rule in config.images if rule.window is not None)
    return Origin(str(source.path.absolute()), source.members, header, windows)


def answer_case(model: Model, memory: Memory | None, case: Waiting, beside: Beside) -> ScoredCase:
    """Answer an encoded case, and explain the answer; `memory` has the training cases to compare with."""
    (answer,) = predict(model, [case.features])
    seen = case.seen
    columns = model.card.cohort.record.items()
    units = {name: column.unit for name, column in columns if isinstance(column, NumberColumn)}
    flips = [finding.label for finding in answer.flagged] if beside.deletions else []
    look = worth_a_look(answer)
    explanations = explain(model, case.features, seen.note, look, flips) if beside.explained else ()
    similar = memory.nearest(model, case.features, case.patient_id) if memory and beside.similar else ()
    evidence = Evidence(
        seen.films, seen.note, dict(case.record), units, explanations, similar, case.study, case.prior, case.usual
    )
    return ScoredCase(replace(answer, doubts=seen.doubts + answer.doubts), evidence, case.content)
