"""Judge a trained model on cases that it never saw: the test part of its own cohort, or all of another one.

medmm evaluate RUN COHORT --out OUT
"""

from __future__ import annotations

import csv
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from medmm.config import CohortConfig, LabelColumns, read_toml
from medmm.errors import CohortError
from medmm.judge.check import TABLE
from medmm.judge.evaluation import Found
from medmm.judge.report import write_evaluation
from medmm.judge.words import counted
from medmm.learn.evaluate import encode, evaluate, unseen
from medmm.model.folder import Model
from medmm.read.cohort import Cohort, read_cohort
from medmm.result import Refusal
from medmm.write.tables import write_quarantine
from pipelines import terminal
from pipelines.score import as_taught, load

CHECK = "check"
"""Below RUN, where `medmm check` may have left what it found."""


def evaluate_run(
    run: Path,
    folder: Path,
    out: Path,
    *,
    external: bool = False,
    cache: Path | None = None,
    workers: int | None = None,
) -> Found:
    """Leave in `out` report.html, model_card.html, metrics.json and quarantine.csv.

    Args:
        run: folder that `medmm train` wrote.
        folder: a cohort with labels.
        out: made if it is not there.
        external: that the cohort is another than the run's is known, although case ids are the same.
        cache: of encoded studies; that of the run if None.
        workers: processes that decode; one a core if None.
    """
    model = load(run)
    cohort = labelled(model, folder)
    terminal.remarks(cohort.remarks)
    found = unseen(cohort, run, external=external)
    start = time.perf_counter()
    with terminal.counting("Reading") as progress:
        encoded = encode(model, found.cohort, cache or run / "features", progress, workers)
    reading_s = time.perf_counter() - start
    with terminal.waiting("Judging"):
        made_on = datetime.now(UTC).date()
        done = evaluate(model, found, encoded, made_on, audit=audit_of(run), reading_s=reading_s)
        told = write_evaluation(out, done)
    refused = [Refusal(error.case_id, error.code, error.problem, error.remedy) for error in encoded.refused]
    write_quarantine(out, refused)
    terminal.refusals(refused, f"{out / 'quarantine.csv'}")
    terminal.comparison(done.report.scores)
    terminal.console.print(f"{told.summary.headline} Report in {out / 'report.html'}")
    return told


def labelled(model: Model, folder: Path) -> Cohort:
    """Read a cohort as a model was taught, with the answers that its own cohort.toml names, or else the model's.

    Raises:
        CohortError: if they have no label in common.
    """
    config = as_taught(model, folder / "cohort.toml")
    return read_cohort(folder, config.model_copy(update={"labels": _labels(model, folder / "cohort.toml")}))


def _labels(model: Model, path: Path) -> LabelColumns | None:
    """Where the answers of a cohort are, of labels that the model knows; all its classes, if one holds for a case."""
    known = model.card.cohort.labels
    theirs = read_toml(path, CohortConfig).labels if path.is_file() else known
    if known is None or theirs is None:
        raise CohortError("the cohort has no labels", "Name them in [labels] of cohort.toml")
    common = [name for name in known.names if name in theirs.names]
    if not common or known.multi_class != theirs.multi_class:
        raise CohortError("the cohort states no label that the model knows", f"It knows: {', '.join(known.names)}")
    if known.multi_class:
        return LabelColumns(class_column=theirs.class_column, classes=known.classes)
    return LabelColumns(columns=tuple(common))


def audit_of(run: Path) -> str:
    """What `medmm check` found for the run, in a sentence; empty if it was not asked."""
    path = run / CHECK / TABLE
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", newline="") as file:
        status = Counter(row["status"] for row in csv.DictReader(file))
    cases = f"{counted(sum(status.values()), 'case')}: {status['ok']:,} ok, {counted(status['warning'], 'warning')}"
    return f"Run on {cases}, {status['refused']:,} refused; its verdict is in {CHECK}/check.html of the run."
