"""Train on a cohort: read, encode, fit, compare, report.

medmm train COHORT --out RUN
accelerate launch --multi_gpu --num_processes 2 -m pipelines.cli train COHORT --out RUN
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from medmm.config import CohortConfig, RunConfig, read_toml
from medmm.judge.comparison import Report
from medmm.judge.report import write_report
from medmm.learn.processes import is_main, wait
from medmm.learn.report import report_of
from medmm.learn.train import train
from medmm.read.cohort import read_cohort
from medmm.result import Refusal
from medmm.write.tables import write_quarantine
from pipelines import terminal
from pipelines.tracking import tracking


def train_cohort(
    folder: Path,
    out: Path,
    *,
    config: Path | None = None,
    columns: Path | None = None,
    seed: int | None = None,
    folds: int | None = None,
    epochs: int | None = None,
    cache: Path | None = None,
    workers: int | None = None,
    ceilings: Mapping[str, float] | None = None,
) -> Report:
    """Leave in `out` the model, its report, the split, and the cases that could not be read.

    Of several processes one prints and writes. `seed`, `folds` and `epochs` stand for those of `config`.
    """
    terminal.speak(is_main())
    cohort = read_cohort(folder, read_toml(columns, CohortConfig) if columns else None)
    run = _with(read_toml(config, RunConfig) if config else RunConfig(), seed=seed, folds=folds, epochs=epochs)
    terminal.remarks(cohort.remarks)
    terminal.console.print(
        f"{len(cohort.rows)} cases of {cohort.patients} patients; labels: {', '.join(cohort.labels)}"
    )
    with terminal.training() as progress, tracking(run, out, progress) as listener:
        trained = train(cohort, run, out, cache or out / "features", listener, workers)
        report = report_of(trained, datetime.now(UTC).date(), ceilings)
        listener.judged(report.scores)
    refused = [Refusal.of(error) for error in trained.refused]
    if is_main():
        write_quarantine(out, refused)
        write_report(out, report)
    wait()
    terminal.refusals(refused, f"{out / 'quarantine.csv'}")
    terminal.comparison(report.scores, run.split.folds)
    terminal.console.print(f"Model {trained.model.model_id} in {out / 'model'}; report in {out / 'report.html'}")
    return report


def _with(run: RunConfig, *, seed: int | None, folds: int | None, epochs: int | None) -> RunConfig:
    """The same run with the dials that the command line gives."""
    training = {name: value for name, value in (("seed", seed), ("epochs", epochs)) if value is not None}
    split = {} if folds is None else {"folds": folds}
    return run.model_copy(
        update={
            "training": run.training.model_copy(update=training),
            "split": run.split.model_copy(update=split),
        }
    )
