"""Cases to predictions in a folder: a bad study is a row with a reason, and a rerun does only what is left.

The folder holds

* `store.sqlite`: predictions with their evidence, refusals, reviews;
* `films/<digest>.png`: the films and slices that the model was given, as the screen shows them;
* `predictions.parquet` and `predictions.csv`: one row a case and finding;
* `quarantine.csv`: what could not be scored, and why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
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
from medmm.read import READING
from medmm.read.cohort import CaseRow, Cohort
from medmm.read.pool import read_cases
from medmm.read.sources.source import Source
from medmm.result import Evidence, Film, Origin, Prediction, Refusal, ScoredCase
from medmm.slices import part_of, pictures_of
from medmm.store.store import STORE, Store
from medmm.write.picture import FILMS, write_picture
from medmm.write.tables import write_predictions, write_quarantine

_AT_ONCE = 16
"""Cases kept in one transaction: the most that a killed run does again."""

Progress = Callable[[int, int], None]
"""Called with cases done and cases in all."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a scoring run did."""

    scored: int
    """Cases scored now."""
    known: int
    """Cases that were scored before, with the same content, and were not touched."""
    refused: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Beside:
    """What is given beside every prediction, more than its explanation."""

    memory: Memory | None = None
    """Training cases to compare with."""
    deletions: bool = False
    """Whether it is said of flagged findings without what they would not be."""


def score_cohort(
    model: Model,
    cohort: Cohort,
    out: Path,
    progress: Progress,
    workers: int | None = None,
    beside: Beside = Beside(),  # frozen
) -> Scored:
    """Score every case that is not in `out` yet, then write the tables of all that is.

    Args:
        model: ready to answer.
        cohort: read with the record columns of the model.
        out: made if it is not there. A run that was stopped goes on where it was.
        progress: told after each case.
        workers: processes that decode; one a core if None.
        beside: what else is given with each.
    """
    out.mkdir(parents=True, exist_ok=True)
    with Store(out / STORE) as store:
        done = store.contents(model.model_id)
        contents = {row.case_id: _content(row, cohort.config, beside) for row in cohort.rows}
        left = [row for row in cohort.rows if contents[row.case_id] != done.get(row.case_id)]
        known = len(cohort.rows) - len(left)
        refused: list[Refusal] = []
        waiting: list[_Waiting] = []
        for number, (row, case) in enumerate(read_cases(cohort, left, workers), start=known + 1):
            if isinstance(case, DataError):
                refused.append(Refusal(case.case_id, case.code, case.problem, case.remedy))
                store.refuse(model.model_id, refused[-1])
            else:
                waiting.append(_encode(model, row, case, contents[row.case_id], out / FILMS))
            if len(waiting) == _AT_ONCE:
                store.keep(_score(model, waiting, beside))
                waiting = []
            progress(number, len(cohort.rows))
        store.keep(_score(model, waiting, beside))
        write_predictions(out, (row.prediction for row in store.worklist(model.model_id)))
        write_quarantine(out, store.refusals(model.model_id))
    return Scored(len(left) - len(refused), known, tuple(refused))


def _content(row: CaseRow, config: CohortConfig, beside: Beside) -> str:
    """SHA-256 over everything that the prediction is made from, and over what is asked of it.

    What cannot be read is refused later, by its reader.
    """
    digest = hashlib.sha256(row.digest())
    if beside.deletions:
        digest.update(b"deletions")
    digest.update(repr((READING, config.images, config.sections_left_out, config.timezone)).encode())
    for source in (row.study, row.prior):
        digest.update(source.digest() if source else b"none")
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A case that went through the encoders and waits for the others of its transaction; its pixels are let go."""

    features: Features
    patient_id: str = field(repr=False)
    films: tuple[Film, ...]
    note: str
    record: dict[str, RecordValue]
    content: str
    doubts: tuple[str, ...]
    """Of the quality of what was read."""
    study: Origin | None
    prior: Origin | None


def _encode(model: Model, row: CaseRow, case: Case, content: str, films: Path) -> _Waiting:
    """Encode a case and write the pictures that the model was given."""
    features = model.encode(case, keep_trunks=True)
    shown = list(_films(case.study, features.layout.images, films, prior=False))
    shown += _films(case.prior, features.layout.prior, films, prior=True)
    note, record = case.note.text if case.note else "", dict(case.record.values) if case.record else {}
    origins = _origin(row.study, case.study), _origin(row.prior, case.prior)
    return _Waiting(features, case.patient_id, tuple(shown), note, record, content, quality_doubts(case), *origins)


def _films(study: Study | None, layouts: Sequence[ImageLayout], films: Path, *, prior: bool) -> Iterator[Film]:
    """Write the pictures of one study, in the order in which the model was given them."""
    if study is None or not layouts:
        return
    pictures = [layout.picture for layout in layouts]
    for picture, image in zip(pictures, pictures_of(study, pictures), strict=True):
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


def _origin(source: Source | None, study: Study | None) -> Origin | None:
    """Where a study that was read came from."""
    if source is None or study is None:
        return None
    return Origin(str(source.path.absolute()), source.members, study.header)


def _score(model: Model, cases: list[_Waiting], beside: Beside) -> list[ScoredCase]:
    """Answer and explain."""
    answers = predict(model, [case.features for case in cases])
    return [_scored(model, case, answer, beside) for case, answer in zip(cases, answers, strict=True)]


def _scored(model: Model, case: _Waiting, answer: Prediction, beside: Beside) -> ScoredCase:
    """One answer with its evidence."""
    columns = model.card.cohort.record.items()
    units = {name: column.unit for name, column in columns if isinstance(column, NumberColumn)}
    flips = [finding.label for finding in answer.flagged] if beside.deletions else []
    explanations = explain(model, case.features, case.note, worth_a_look(answer), flips)
    similar = beside.memory.nearest(model, case.features, case.patient_id) if beside.memory else ()
    return ScoredCase(
        replace(answer, doubts=case.doubts + answer.doubts),
        Evidence(case.films, case.note, case.record, units, explanations, similar, case.study, case.prior),
        case.content,
    )
