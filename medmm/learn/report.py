"""From a model and what was compared on its test cases to a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date

from torch import Tensor

from medmm.case import MODALITIES
from medmm.errors import DataError, ModelError
from medmm.judge.comparison import Comparison, Need, Report
from medmm.judge.metrics import score_systems
from medmm.learn.train import Trained
from medmm.model.folder import Model
from medmm.model.fusion import PATTERNS, Corrected, Fusion, modalities_of


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
        made_on,
        resamples,
        ceilings=ceilings,
        folds=trained.model.card.run.split.folds,
    )


def report_on(
    model: Model,
    comparison: Comparison,
    refused: Sequence[DataError],
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
    body = model.network.body
    gate = body.gate if isinstance(body, Fusion) else None
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
        gates=None if gate is None else gate.numpy(),
        needs=tuple(_needs(body, labels)) if isinstance(body, Fusion) else (),
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


def _needs(body: Fusion, labels: Sequence[str]) -> Iterator[Need]:
    """Label by label what is answered by a conjunction, of the fullest cases first."""
    if not isinstance(body.rule, Corrected):
        return
    conjunction = body.rule.conjunction
    for i, label in enumerate(labels):
        for pattern in sorted(range(PATTERNS), key=lambda bits: (-bits.bit_count(), bits)):
            if conjunction.pays[pattern, i]:
                parties = [_names(heard > 0) for heard in conjunction.party_weight[pattern, ..., i]]
                chances = conjunction.table[pattern, :, i].sigmoid().tolist()
                yield Need(label, _names(modalities_of(pattern)), parties[0], parties[1], tuple(chances))


def _names(which: Tensor) -> tuple[str, ...]:
    """Modalities (M,) bool by name."""
    return tuple(m for m, one in zip(MODALITIES, which.tolist(), strict=True) if one)
