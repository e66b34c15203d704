"""Cases to predictions in a folder: a bad study is a row with a reason, and a rerun does only what is left.

The folder holds

* `store.sqlite`: predictions with their evidence, refusals, reviews;
* `films/<digest>.png`: the films and slices that the model was given, as the screen shows them;
* `predictions.parquet` and `predictions.csv`: one row a case and finding;
* `quarantine.csv`: what could not be scored, and why;
* `manifest.json`: what it was made with, and the digests of the tables.

Each case is kept, on the disk, as soon as it is answered: a run that is killed has lost the case in hand and no other.
An answer depends on the case and the model alone, so that the tables come out the same, byte for byte, whether a run
was killed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medmm.errors import DataError
from medmm.files import remove_unfinished
from medmm.model.folder import Model
from medmm.read.cohort import CaseRow, Cohort
from medmm.result import Refusal
from medmm.score.case import Beside, answer_case, content_from, content_of, encode_case
from medmm.score.lock import alone_in
from medmm.score.manifest import MANIFEST, write_manifest
from medmm.score.reading import read_rows
from medmm.store.store import STORE, Store
from medmm.tensors import pixels_for
from medmm.write.picture import FILMS
from medmm.write.tables import CSV, PARQUET, QUARANTINE, write_predictions, write_quarantine

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


def score_cohort(
    model: Model,
    cohort: Cohort,
    out: Path,
    progress: Progress,
    workers: int | None = None,
    beside: Beside = Beside(),  # noqa: B008  # frozen
    stop: Callable[[], bool] = lambda: False,
) -> Scored:
    """Score every case that is not in `out` yet, then write the tables of all that is.

    Args:
        model: ready to answer.
        cohort: read with the record columns of the model.
        out: made if it is not there. A run that was stopped goes on where it was.
        progress: told after each case.
        workers: processes that decode; one a core if None.
        beside: what else is given with each.
        stop: asked after each case; if true, the others are left for the next run.

    Raises:
        StoreError: if another process is scoring into `out`, or the store cannot be written.
        OSError: if the disk is full or cannot be written. What was kept before stays.
    """
    with alone_in(out), Store(out / STORE) as store:
        _sweep(out)
        done = store.contents(model.model_id)
        known: list[str] = []
        refused: list[Refusal] = []
        scored = 0

        def left() -> Iterator[CaseRow]:
            for row in cohort.rows:
                if row.case_id in done and done[row.case_id] == content_of(row, cohort.config, beside):
                    known.append(row.case_id)
                else:
                    yield row

        for row, read in read_rows(cohort, left(), workers, pixels_for(model.encoders.image.size)):
            if isinstance(read, DataError):
                refused.append(Refusal(read.case_id, read.code, read.problem, read.remedy))
                store.refuse(model.model_id, refused[-1])
            else:
                content = content_from(read.inputs, cohort.config, beside)
                waiting = encode_case(model, row, read.case, content, out / FILMS)
                store.keep([answer_case(model, waiting, beside)])
                scored += 1
            progress(len(known) + scored + len(refused), len(cohort.rows))
            if stop():
                break
        _write_tables(out, store, model, cohort, beside)
    return Scored(scored, len(known), tuple(refused))


def _sweep(out: Path) -> None:
    """Remove what a killed run left of its files."""
    for name in (PARQUET, CSV, QUARANTINE, MANIFEST):
        remove_unfinished(out, name)
    remove_unfinished(out / FILMS, "*.png")


def _write_tables(out: Path, store: Store, model: Model, cohort: Cohort, beside: Beside) -> None:
    """Everything that the store says of a model, for others to read."""
    predictions = [row.prediction for row in store.worklist(model.model_id)]
    refusals = store.refusals(model.model_id)
    write_predictions(out, predictions)
    write_quarantine(out, refusals)
    write_manifest(out, model, cohort.config, beside, scored=len(predictions), refused=len(refusals))
