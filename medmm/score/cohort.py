"""Cases to predictions in a folder: a bad study is a row with a reason, and a rerun does only what is left.

The folder holds

* `store.sqlite`: predictions with their evidence, refusals, reviews;
* `films/<digest>.png`: the images as the screen shows them;
* `predictions.parquet` and `predictions.csv`: one row a case and finding;
* `quarantine.csv`: what could not be scored, and why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medmm.case import Case
from medmm.config import NumberColumn
from medmm.errors import DataError
from medmm.explain.contribution import predict
from medmm.explain.occlusion import explain
from medmm.model.folder import Model
from medmm.read.cohort import CaseRow, Cohort
from medmm.read.pool import read_cases
from medmm.read.source import Source
from medmm.result import Evidence, Film, Refusal, ScoredCase
from medmm.store import STORE, Store
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


def score_cohort(model: Model, cohort: Cohort, out: Path, progress: Progress, workers: int | None = None) -> Scored:
    """Score every case that is not in `out` yet, then write the tables of all that is.

    Args:
        model: ready to answer.
        cohort: read with the record columns of the model.
        out: made if it is not there. A run that was stopped goes on where it was.
        progress: told after each case.
        workers: processes that decode; one a core if None.
    """
    out.mkdir(parents=True, exist_ok=True)
    with Store(out / STORE) as store:
        done = store.contents(model.model_id)
        contents = {row.case_id: _content(row) for row in cohort.rows}
        left = [row for row in cohort.rows if contents[row.case_id] != done.get(row.case_id)]
        known = len(cohort.rows) - len(left)
        refused: list[Refusal] = []
        waiting: list[tuple[Case, str]] = []
        for number, (row, case) in enumerate(read_cases(cohort, left, workers), start=known + 1):
            if isinstance(case, DataError):
                refused.append(Refusal(case.case_id, case.code, case.problem, case.remedy))
                store.refuse(model.model_id, refused[-1])
            else:
                waiting.append((case, contents[row.case_id]))
            if len(waiting) == _AT_ONCE:
                store.keep(_score(model, waiting, out / FILMS))
                waiting = []
            progress(number, len(cohort.rows))
        store.keep(_score(model, waiting, out / FILMS))
        write_predictions(out, (row.prediction for row in store.worklist(model.model_id)))
        write_quarantine(out, store.refusals(model.model_id))
    return Scored(len(left) - len(refused), known, tuple(refused))


def _content(row: CaseRow) -> str:
    """SHA-256 over everything that the prediction is made from; what cannot be read is refused later, by its reader."""
    digest = hashlib.sha256(repr((row.note, sorted(row.cells.items()))).encode())
    for source in (row.study, row.prior, Source(row.note_file) if row.note_file else None):
        digest.update(source.digest() if source else b"none")
    return digest.hexdigest()


def _score(model: Model, cases: list[tuple[Case, str]], films: Path) -> list[ScoredCase]:
    """Encode once; answer, explain, and keep the pictures that go with it."""
    features = [model.encode(case) for case, _ in cases]
    scored = []
    for (case, content), encoded, prediction in zip(cases, features, predict(model, features), strict=True):
        images = case.study.images if case.study else ()
        for image in images:
            write_picture(films, image)
        columns = model.card.cohort.record.items()
        evidence = Evidence(
            films=tuple(Film(i.digest, i.modality, i.view, i.remarks) for i in images),
            note=case.note.text if case.note else "",
            record=dict(case.record.values) if case.record else {},
            units={name: column.unit for name, column in columns if isinstance(column, NumberColumn)},
            explanations=explain(model, encoded),
        )
        scored.append(ScoredCase(prediction, evidence, content))
    return scored
