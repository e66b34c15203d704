"""Judge a trained model on cases that it never saw: the test part of its own cohort, or all of another one.

medmm evaluate RUN COHORT --out OUT
"""

from __future__ import annotations

import csv
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from medmm.judge.check import TABLE
from medmm.judge.evaluation import Found
from medmm.judge.report import write_evaluation
from medmm.judge.words import counted
from medmm.learn.evaluate import evaluate, unseen
from medmm.learn.examples import encode
from medmm.result import Refusal
from medmm.write.tables import write_quarantine
from pipelines import terminal
from pipelines.score import labelled, load

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
    cohort = labelled(model.card, folder)
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
    refused = [Refusal.of(error) for error in encoded.refused]
    write_quarantine(out, refused)
    terminal.refusals(refused, f"{out / 'quarantine.csv'}")
    terminal.comparison(done.report.scores)
    terminal.console.print(f"{told.summary.headline} Report in {out / 'report.html'}")
    return told


def audit_of(run: Path) -> str:
    """What `medmm check` found for the run, in a sentence; empty if it was not asked."""
    path = run / CHECK / TABLE
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", newline="") as file:
        status = Counter(row["status"] for row in csv.DictReader(file))
    cases = f"{counted(sum(status.values()), 'case')}: {status['ok']:,} ok, {counted(status['warning'], 'warning')}"
    return f"Run on {cases}, {status['refused']:,} refused; its verdict is in {CHECK}/check.html of the run."
