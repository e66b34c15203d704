"""From a finished training to its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date

from medmm.errors import ModelError
from medmm.judge.comparison import Report
from medmm.judge.metrics import score_systems
from medmm.learn.train import Trained


def report_of(
    trained: Trained, made_on: date, ceilings: Mapping[str, float] | None = None, resamples: int = 1000
) -> Report:
    """Score what training compared, on the same resamples of patients, and put what is known beside it.

    Args:
        trained: what `train` gave back.
        made_on: the day that the report bears.
        ceilings: name -> macro AUROC that no model can expect to pass, for a cohort whose truth is known.
        resamples: of the bootstrap by patient.

    Raises:
        ModelError: if the model has no labels.
    """
    card, comparison = trained.model.card, trained.comparison
    if card.cohort.labels is None:
        raise ModelError("the model has no labels", "Train it on a cohort that names them")
    labels, seed = card.cohort.labels.names, card.run.training.seed
    return Report(
        comparison=comparison,
        scores=score_systems(
            comparison.systems,
            comparison.targets,
            comparison.patients,
            labels,
            reference=comparison.reference,
            resamples=resamples,
            seed=seed,
            strata=comparison.strata,
        ),
        labels=labels,
        multi_class=card.cohort.labels.multi_class,
        thresholds=card.thresholds,
        gates=trained.gates,
        refused=Counter(error.code.value for error in trained.refused),
        parts=card.cases,
        model_id=trained.model.model_id,
        version=card.medmm,
        seed=seed,
        made_on=made_on,
        resamples=resamples,
        modalities=card.run.fusion.modalities,
        ceilings=ceilings or {},
        folds=card.run.split.folds,
    )
