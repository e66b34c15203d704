"""From a model and what was compared on its test cases to a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np

from medmm.errors import DataError, ModelError
from medmm.judge.comparison import Comparison, Report
from medmm.judge.metrics import score_systems
from medmm.learn.train import Trained
from medmm.model.folder import Model


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
    return report_on(
        trained.model,
        trained.comparison,
        trained.refused,
        trained.gates,
        made_on,
        resamples,
        ceilings=ceilings,
        folds=trained.model.card.run.split.folds,
    )


def report_on(
    model: Model,
    comparison: Comparison,
    refused: Sequence[DataError],
    gates: np.ndarray | None,
    made_on: date,
    resamples: int,
    *,
    ceilings: Mapping[str, float] | None = None,
    folds: int | None = None,
    external: bool = False,
) -> Report:
    """The report of a model on any cases; see Report for what the arguments are.

    Raises:
        ModelError: if the model has no labels.
    """
    card = model.card
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
        gates=gates,
        refused=Counter(error.code.value for error in refused),
        parts=card.cases,
        model_id=model.model_id,
        version=card.medmm,
        seed=seed,
        made_on=made_on,
        resamples=resamples,
        modalities=card.run.fusion.modalities,
        ceilings=ceilings or {},
        folds=folds,
        external=external,
    )
