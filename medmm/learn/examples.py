"""The cases of a cohort as a network eats them, with the answers to its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from medmm.errors import CohortError
from medmm.learn.encode import EncodedCohort, EncodedRow, Progress, encode_cohort
from medmm.learn.fit import Examples
from medmm.model.encode import Encoders
from medmm.model.folder import Model
from medmm.read.cohort import Cohort
from medmm.tensors import RecordBins


def encode(model: Model, cohort: Cohort, cache: Path, progress: Progress, workers: int | None = None) -> EncodedCohort:
    """Every case through the encoders of a model; without a prior study, if the model knows none.

    Raises:
        CohortError: if none can be read.
    """
    if not model.knows_prior:
        cohort = replace(cohort, rows=tuple(replace(row, prior=None) for row in cohort.rows))
    encoded = encode_cohort(cohort, model.encoders, cache, progress, workers)
    if not encoded.cases:
        raise CohortError("no case of the cohort can be read", "`medmm check` says why, case by case")
    return encoded


def examples_of(cases: Sequence[EncodedRow], labels: Sequence[str], encoders: Encoders, bins: RecordBins) -> Examples:
    """Encoded cases with the answers to some labels; one that their cohort does not know is NaN."""
    features = tuple(case.features(encoders, bins) for case in cases)
    targets = [[case.row.targets.get(label, float("nan")) for label in labels] for case in cases]
    patients = tuple(case.row.patient_id for case in cases)
    return Examples(features, patients, torch.tensor(targets, dtype=torch.float32).reshape(len(cases), -1))
