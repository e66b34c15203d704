"""Score a folder of studies: predictions as tables and in the store, what was refused in quarantine.csv.

medmm score STUDIES --model RUN --out OUT
"""

from __future__ import annotations

from pathlib import Path

from medmm.model.folder import Model
from medmm.read.cohort import Cohort, read_cohort
from medmm.read.folder import read_folder
from medmm.score.cohort import Scored, score_cohort
from pipelines import terminal


def score_folder(studies: Path, model: Path, out: Path, *, workers: int | None = None) -> Scored:
    """Score a cohort with a table, or a bare folder of studies, with a trained model."""
    loaded = Model.load(model / "model" if (model / "model").is_dir() else model)
    config = loaded.card.cohort.model_copy(update={"labels": None})
    table = (studies / "cases.csv").is_file()
    cohort = read_cohort(studies, config) if table else read_folder(studies)
    return score_cases(loaded, cohort, out, workers=workers)


def score_cases(model: Model, cohort: Cohort, out: Path, *, workers: int | None = None) -> Scored:
    """Score the cases of a cohort and say what came of it."""
    terminal.remarks(cohort.remarks)
    with terminal.counting("Scoring") as progress:
        done = score_cohort(model, cohort, out, progress, workers)
    terminal.refusals(done.refused, f"{out / 'quarantine.csv'}")
    known = f", {done.known} known from an earlier run" if done.known else ""
    terminal.console.print(f"{done.scored} cases scored{known}, {len(done.refused)} refused; results in {out}")
    return done
