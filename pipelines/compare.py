"""Set two trained models side by side on cases that neither of them learnt from.

medmm compare RUN_A RUN_B COHORT --out OUT
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from medmm.errors import CohortError
from medmm.judge.paired import PairFound, write_pair
from medmm.learn.evaluate import Answers, answer, pair_up, unseen
from medmm.learn.examples import encode
from medmm.model.folder import Model
from medmm.read.cohort import Cohort
from pipelines import terminal
from pipelines.score import labelled, load


def compare_runs(
    first: Path,
    second: Path,
    folder: Path,
    out: Path,
    *,
    external: bool = False,
    cache: Path | None = None,
    workers: int | None = None,
) -> PairFound:
    """Leave in `out` compare.html, compare.json and compare.csv, the cases whose call changed.

    Args:
        first: folder that `medmm train` wrote.
        second: another one; differences are this one less the first.
        folder: a cohort with labels.
        out: made if it is not there.
        external: that neither run learnt from the cohort is known, although case ids are the same.
        cache: of encoded studies; that of each run if None.
        workers: processes that decode; one a core if None.

    Raises:
        CohortError: if the models have no label in common, or no case is left that neither has seen.
    """
    models = (load(first), load(second))
    labels = [label for label in models[0].labels if label in models[1].labels]
    cohorts = [labelled(model.card, folder) for model in models]
    able = [unseen(cohort, run, external=external) for cohort, run in zip(cohorts, (first, second), strict=True)]
    both = {row.case_id for row in able[0].cohort.rows} & {row.case_id for row in able[1].cohort.rows}
    if not labels or not both:
        raise CohortError(
            "the models have no label, or no case that neither has seen, in common", "Give a cohort that is new to both"
        )
    answers = [
        _answers(
            model, replace(one.cohort, rows=tuple(row for row in one.cohort.rows if row.case_id in both)), at, workers
        )
        for model, one, at in zip(
            models, able, (cache or first / "features", cache or second / "features"), strict=True
        )
    ]
    met = len(cohorts[0].rows) - len(both) - able[0].unlabelled
    pair = pair_up(
        answers[0],
        answers[1],
        labels,
        datetime.now(UTC).date(),
        left_out=met,
        unlabelled=able[0].unlabelled,
        cases=len(both),
    )
    found = write_pair(out, pair)
    terminal.console.print(f"{found.headline} Report in {out / 'compare.html'}; changed calls in {out / 'compare.csv'}")
    return found


def _answers(model: Model, cohort: Cohort, cache: Path, workers: int | None) -> Answers:
    """What a model says of the cases of a cohort."""
    with terminal.counting("Reading") as progress:
        encoded = encode(model, cohort, cache, progress, workers)
    return answer(model, encoded.cases)
