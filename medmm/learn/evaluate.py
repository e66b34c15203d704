"""A saved model on cases that it never saw: which those are, and what the model and its own sides say of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np

from medmm.errors import CohortError
from medmm.explain.contribution import predictions
from medmm.judge.comparison import Comparison
from medmm.judge.evaluation import Cost, Evaluation
from medmm.judge.paired import Pair
from medmm.learn.encode import EncodedCohort, EncodedRow
from medmm.learn.examples import examples_of
from medmm.learn.fit import Examples
from medmm.learn.groups import groups_of
from medmm.learn.report import report_on
from medmm.learn.split import read_split
from medmm.learn.systems import Heard, systems_of
from medmm.model.folder import Model
from medmm.read.cohort import CaseRow, Cohort
from medmm.result import Prediction


@dataclass(frozen=True, slots=True, eq=False)
class Unseen:
    """The cases of a cohort that a model may be judged on."""

    cohort: Cohort
    """With those cases only."""
    external: bool
    """Whether it is another cohort than the one that the model learnt from."""
    left_out: int
    """Cases of patients that the model learnt from."""
    unlabelled: int
    """Cases without a stated label."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a model says of labelled cases. N cases, L labels."""

    cases: tuple[EncodedRow, ...]
    examples: Examples
    predictions: tuple[Prediction, ...]
    heard: Heard
    """What the network said as `predictions` were made."""

    @property
    def probabilities(self) -> np.ndarray:
        """(N, L)."""
        return np.array([[one.probability for one in case.findings] for case in self.predictions])

    @property
    def thresholds(self) -> np.ndarray:
        """(N, L)."""
        return np.array([[one.threshold for one in case.findings] for case in self.predictions])


def unseen(cohort: Cohort, run: Path, *, external: bool = False) -> Unseen:
    """Leave out every patient of whom the model of `run` has seen a case, and every case without a stated label.

    A cohort of which split.csv names no case is another one, and judged whole.

    Args:
        cohort: read as the model was taught.
        run: folder that `medmm train` wrote.
        external: that the cohort is another one is known, although case ids may be the same.

    Raises:
        CohortError: if nothing is left to judge, or the run does not say whom it has seen.
    """
    split = {} if external else read_split(run / "split.csv")
    rows = _unmet(cohort, split)
    stated = [row for row in rows if any(np.isfinite(answer) for answer in row.targets.values())]
    if not stated:
        met = len(rows) < len(cohort.rows)
        remedy = "Give cases of other patients, with labels" if met else "State the labels of its cases"
        raise CohortError("no labelled case is left that the model has not seen", remedy)
    return Unseen(
        replace(cohort, rows=tuple(stated)),
        external=not any(row.case_id in split for row in cohort.rows),
        left_out=len(cohort.rows) - len(rows),
        unlabelled=len(rows) - len(stated),
    )


def unmet(cohort: Cohort, run: Path, *, external: bool = False) -> Cohort:
    """Leave out every patient of whom the model of `run` has seen a case; labels may be missing.

    Args:
        cohort: read as the model was taught.
        run: folder that `medmm train` wrote.
        external: see `unseen`.

    Raises:
        CohortError: if nobody is left, or the run does not say whom it has seen.
    """
    rows = _unmet(cohort, {} if external else read_split(run / "split.csv"))
    if not rows:
        raise CohortError("the model has met every patient of the cohort", "Give cases of other patients")
    return replace(cohort, rows=rows)


def _unmet(cohort: Cohort, split: Mapping[str, str]) -> tuple[CaseRow, ...]:
    """The cases of patients none of whose cases taught or validated."""
    met = {row.patient_id for row in cohort.rows if split.get(row.case_id, "test") != "test"}
    return tuple(row for row in cohort.rows if row.patient_id not in met)


def answer(model: Model, cases: Sequence[EncodedRow]) -> Answers:
    """Everything that a model says of encoded cases; a label of the model that the cohort does not know is NaN."""
    examples = examples_of(cases, model.labels, model.encoders, model.bins)
    heard = Heard.of(model.network, examples)
    return Answers(tuple(cases), examples, predictions(model, examples.features, heard.logits), heard)


def evaluate(
    model: Model,
    found: Unseen,
    encoded: EncodedCohort,
    made_on: date,
    *,
    audit: str = "",
    reading_s: float = 0.0,
    resamples: int = 1000,
) -> Evaluation:
    """Judge a model on cases that it has not seen.

    Args:
        model: ready to answer.
        found: the cases, as `unseen` chose them.
        encoded: the same cases, encoded.
        made_on: the day that the page bears.
        audit: what a leak audit said, in a sentence.
        reading_s: seconds that encoding took.
        resamples: of the bootstrap by patient.

    Raises:
        ModelError: if the model has no labels.
    """
    start = time.perf_counter()
    said = answer(model, encoded.cases)
    comparison = _comparison(model, said)
    network = model.network
    before = said.heard.shown()
    answering_s = time.perf_counter() - start
    cases = len(said.cases)
    return Evaluation(
        report=report_on(
            model,
            comparison,
            encoded.refused,
            made_on,
            resamples,
            external=found.external,
        ),
        predictions=said.predictions,
        uncalibrated=(before.softmax(-1) if network.multi_class else before.sigmoid()).double().numpy(),
        groups=groups_of(said.cases, found.cohort.config, model.card.run.fusion.modalities),
        cohort=model.card.cohort,
        run=model.card.run,
        prevalence=model.card.prevalence,
        left_out=found.left_out,
        unlabelled=found.unlabelled,
        audit=audit,
        cost=Cost(reading_s / cases, answering_s / cases, _peak_mib()),
    )


def pair_up(
    first: Answers, second: Answers, labels: Sequence[str], made_on: date, *, left_out: int, unlabelled: int, cases: int
) -> Pair:
    """Two models side by side on the cases that both could read.

    Args:
        first: what one model says.
        second: what the other says.
        labels: those that both know.
        made_on: the day that the page bears.
        left_out: cases of patients that one of them learnt from.
        unlabelled: cases without a stated label.
        cases: those that were left, before any was read.
    """
    after = {case.case_id: case for case in second.predictions}
    both = [n for n, case in enumerate(first.predictions) if case.case_id in after]
    rows = [first.cases[n].row for n in both]
    return Pair(
        first=tuple(first.predictions[n] for n in both),
        second=tuple(after[first.predictions[n].case_id] for n in both),
        labels=tuple(labels),
        targets=np.array([[row.targets.get(label, np.nan) for label in labels] for row in rows]),
        patients=tuple(row.patient_id for row in rows),
        left_out=left_out,
        unlabelled=unlabelled,
        refused=cases - len(both),
        made_on=made_on,
    )


def _comparison(model: Model, said: Answers) -> Comparison:
    """The model, its own sides alone and its late ensembles."""
    systems = systems_of(model.network, said.examples, model.card.run.fusion, said.heard)
    own = next(iter(systems))
    return Comparison(
        systems={name: value.double().numpy() for name, value in systems.items()} | {own: said.probabilities},
        targets=said.examples.targets.double().numpy(),
        case_ids=tuple(case.row.case_id for case in said.cases),
        patients=said.examples.patients,
        present=said.examples.present.numpy(),
        thresholds=said.thresholds,
    )


def _peak_mib() -> float:
    """Largest resident memory that this process had so far."""
    import resource
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most / (2**20 if sys.platform == "darwin" else 2**10))
