"""Train on a cohort: read, encode, fit, compare, report.

medmm train COHORT --out RUN
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from medmm.config import CohortConfig, RunConfig, read_toml
from medmm.judge.comparison import Report
from medmm.judge.report import write_report
from medmm.learn.report import report_of
from medmm.learn.train import train
from medmm.read.cohort import read_cohort
from medmm.result import Refusal
from medmm.write.tables import write_quarantine
from pipelines import terminal


def train_cohort(
    folder: Path,
    out: Path,
    *,
    config: Path | None = None,
    columns: Path | None = None,
    seed: int | None = None,
    cache: Path | None = None,
    workers: int | None = None,
    ceilings: Mapping[str, float] | None = None,
) -> Report:
    """Leave in `out` the model, its report, the split, and the cases that could not be read."""
    cohort = read_cohort(folder, read_toml(columns, CohortConfig) if columns else None)
    run = read_toml(config, RunConfig) if config else RunConfig()
    if seed is not None:
        run = run.model_copy(update={"training": run.training.model_copy(update={"seed": seed})})
    terminal.remarks(cohort.remarks)
    terminal.console.print(
        f"{len(cohort.rows)} cases of {cohort.patients} patients; labels: {', '.join(cohort.labels)}"
    )
    with terminal.training() as progress:
        trained = train(cohort, run, out, cache or out / "features", progress, workers)
    refused = [Refusal(error.case_id, error.code, error.problem, error.remedy) for error in trained.refused]
    write_quarantine(out, refused)
    report = report_of(trained, datetime.now(UTC).date(), ceilings)
    write_report(out, report)
    terminal.refusals(refused, f"{out / 'quarantine.csv'}")
    terminal.comparison(report.scores)
    terminal.console.print(f"Model {trained.model.model_id} in {out / 'model'}; report in {out / 'report.html'}")
    return report
