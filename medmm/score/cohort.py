"""Cases to predictions in a folder: a bad study is a row with a reason, and a rerun does only what is left.

The folder holds

* `store.sqlite`: predictions with their evidence, refusals, reviews;
* `films/<digest>.png`: the films and slices that the model was given, as the screen shows them;
* `predictions.parquet` and `predictions.csv`: one row a case and finding;
* `quarantine.csv`: what could not be scored, and why;
* `manifest.json`: what it was made with, and the digests of the tables;
* `progress.jsonl`: how far the run is, until it is done.

The store may be a database elsewhere, into which several runs write, each with a folder of its own for the rest: what
one of them has scored is known to the others, and the tables of each have the cases that it was given.

Each case is kept, on the disk, as soon as it is answered: a run that is killed has lost the case in hand and no other.
An answer depends on the case and the model alone, so that the tables come out the same, byte for byte, whether a run
was killed or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medmm.files import remove_unfinished
from medmm.model.card import ModelInfo
from medmm.model.shelf import sweep
from medmm.read.cohort import CaseRow, Cohort
from medmm.result import Refusal
from medmm.score.content import Beside, content_of
from medmm.score.engine import Engine, Plan
from medmm.score.lock import alone_in
from medmm.score.manifest import MANIFEST, write_manifest
from medmm.score.progress import telling
from medmm.store.store import STORE, Store
from medmm.write.picture import FILMS
from medmm.write.tables import CSV, PARQUET, QUARANTINE, cases_in, write_predictions, write_quarantine

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
    model: ModelInfo,
    cohort: Cohort,
    out: Path,
    progress: Progress,
    engine: Engine,
    workers: int | None = None,
    beside: Beside = Beside(),  # noqa: B008  # frozen
    stop: Callable[[], bool] = lambda: False,
    store_url: str | None = None,
    cache: Path | None = None,
) -> Scored:
    """Score every case that is not in the store yet, then write the tables of all that are.

    Args:
        model: the one that the engine answers with.
        cohort: read with the record columns of the model.
        out: made if it is not there. A run that was stopped goes on where it was.
        progress: told after each case.
        engine: who reads and answers, and where.
        workers: processes at a time; one a core if None.
        beside: what else is given with each.
        stop: asked after each case; if true, the others are left for the next run.
        store_url: of a database instead of the store in `out`. The tables then have the cases that runs into `out` were
            given, and no others that are in it.
        cache: folder in which encoded cases are kept for the next model or run; None to keep none.

    Raises:
        StoreError: if another process is scoring into `out`, or the store cannot be written.
        OSError: if the disk is full or cannot be written. What was kept before stays.
    """
    total = len(cohort.rows)
    with alone_in(out), Store(store_url or out / STORE) as store, telling(out, model.model_id, total) as tell:
        _sweep(out)
        if cache:
            sweep(cache)
        ours = _ours(out, cohort) if store_url else None
        done = store.contents(model.model_id, ours)
        known: list[str] = []
        refused: list[Refusal] = []
        scored = 0

        def left() -> Iterator[CaseRow]:
            for row in cohort.rows:
                if row.case_id in done and done[row.case_id] == content_of(row, cohort.config, beside):
                    known.append(row.case_id)
                else:
                    yield row

        plan = Plan(model.model_id, cohort.without_rows(), beside, out / FILMS, cache)
        for _, answer in engine(plan, left(), workers):
            if isinstance(answer, Refusal):
                refused.append(answer)
                store.refuse(model.model_id, answer)
            else:
                store.keep([answer])
                scored += 1
            tell(len(known) + scored + len(refused), len(refused))
            progress(len(known) + scored + len(refused), total)
            if stop():
                break
        tell(len(known) + scored + len(refused), len(refused))
        remove_unfinished(out / FILMS, "*.png")  # of processes that hung or died over a case
        _write_tables(out, store, ours, model, cohort, beside)
    return Scored(scored, len(known), tuple(refused))


def _sweep(out: Path) -> None:
    """Remove what a killed run left of its files."""
    for name in (PARQUET, CSV, QUARANTINE, MANIFEST):
        remove_unfinished(out, name)
    remove_unfinished(out / FILMS, "*.png")


def _ours(out: Path, cohort: Cohort) -> list[str]:
    """Ids of the cases that runs into a folder were given: of this cohort, and those in its tables."""
    return sorted(cases_in(out) | {row.case_id for row in cohort.rows})


def _write_tables(
    out: Path, store: Store, ours: Sequence[str] | None, model: ModelInfo, cohort: Cohort, beside: Beside
) -> None:
    """Everything that the store says of a model, or of some cases, for others to read."""
    predictions = store.predictions(model.model_id, ours)
    refusals = store.refusals(model.model_id, ours)
    write_predictions(out, predictions)
    write_quarantine(out, refusals)
    write_manifest(out, model, cohort.config, beside, scored=len(predictions), refused=len(refusals))
