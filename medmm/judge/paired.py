"""Two models on the same cases: what the second gains over the first, and whose call it changes. N cases, L labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from medmm.files import write_whole
from medmm.judge import words
from medmm.judge.metrics import (
    Estimate,
    brier,
    estimate,
    resample_patients,
    score_systems,
    weighted_means,
    with_sample,
)
from medmm.judge.page import render
from medmm.judge.report import numbers_of
from medmm.judge.statistics import DeLong, McNemar, delong, mcnemar
from medmm.result import Call, Finding, Prediction

_SHOWN = 200
"""Changed calls that the page shows; the table has all of them."""
_VERDICTS = {
    words.BETTER: "ranks better than",
    words.WORSE: "ranks worse than",
    words.NOT_SHOWN: "is not shown to rank better than",
    words.TOO_FEW: "cannot be told apart, by so few patients, from",
}


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """What two models said of the same cases, none of which either of them learnt from."""

    first: tuple[Prediction, ...]
    second: tuple[Prediction, ...]
    """Of the same cases, in the same order."""
    labels: tuple[str, ...]
    """Those that both models know."""
    targets: np.ndarray
    """(N, L)."""
    patients: tuple[str, ...]
    left_out: int
    """Cases of patients that one of the models learnt from."""
    unlabelled: int
    refused: int
    """Cases that could not be read."""
    made_on: date
    resamples: int = 1000
    seed: int = 0

    def probabilities(self, which: Sequence[Prediction]) -> np.ndarray:
        """(N, L) of one of the models."""
        return np.array([[finding_of(case, label).probability for label in self.labels] for case in which])

    def flagged(self, which: Sequence[Prediction]) -> np.ndarray:
        """(N, L) bool of one of the models."""
        return np.array([[finding_of(case, label).flagged for label in self.labels] for case in which])


@dataclass(frozen=True, slots=True)
class PairRow:
    """One label; every difference is the second model's figure less the first's."""

    label: str
    present: int
    absent: int
    first_auroc: float
    second_auroc: float
    gain: Estimate
    """Difference of AUROC, on the same resamples of patients."""
    delong: DeLong
    """The same difference, cases taken for independent."""
    first_brier: float
    second_brier: float
    brier: Estimate
    """Difference of the Brier scores; below 0 where the second model is better."""
    mcnemar: McNemar
    """Each model at its own threshold."""
    changed: int
    """Cases whose call is another."""


@dataclass(frozen=True, slots=True)
class Change:
    """One call that changed; a case is named by its case id and nothing else."""

    case_id: str
    label: str
    answer: float
    """1 present, 0 absent, NaN not stated."""
    first_probability: float
    second_probability: float
    first_call: Call
    second_call: Call


@dataclass(frozen=True, slots=True)
class PairFound:
    """Every number of a comparison of two models; compare.json is this."""

    headline: str
    first: str
    """Id of the model."""
    second: str
    cases: int
    patients: int
    left_out: int
    unlabelled: int
    refused: int
    resamples: int
    seed: int
    first_macro: Estimate
    second_macro: Estimate
    gain: Estimate
    labels: tuple[PairRow, ...]
    changes: tuple[Change, ...]


def finding_of(case: Prediction, label: str) -> Finding:
    """The finding of one label, which the model must know."""
    return next(one for one in case.findings if one.label == label)


def compare_pair(pair: Pair) -> PairFound:
    """Compute every difference between two models."""
    first, second = pair.probabilities(pair.first), pair.probabilities(pair.second)
    own, other = score_systems(
        {"second": second, "first": first},
        pair.targets,
        pair.patients,
        pair.labels,
        reference="second",
        resamples=pair.resamples,
        seed=pair.seed,
    )
    changes, names = tuple(_changes(pair)), (pair.first[0].model_id, pair.second[0].model_id)
    cases = f"{words.counted(len(pair.targets), 'case')} of {words.counted(len(set(pair.patients)), 'patient')}"
    return PairFound(
        headline=f"On {cases} that neither model learnt from, model {names[1]} "
        f"{_VERDICTS[words.verdict(other.gain)]} model {names[0]}: macro AUROC {words.minus(own.macro.value)} against "
        f"{words.minus(other.macro.value)}, difference {words.interval(other.gain)}. It changes the call of "
        f"{words.counted(len({one.case_id for one in changes}), 'case')}.",
        first=names[0],
        second=names[1],
        cases=len(pair.targets),
        patients=len(set(pair.patients)),
        left_out=pair.left_out,
        unlabelled=pair.unlabelled,
        refused=pair.refused,
        resamples=pair.resamples,
        seed=pair.seed,
        first_macro=other.macro,
        second_macro=own.macro,
        gain=other.gain,
        labels=tuple(_row(pair, i, changes) for i in range(len(pair.labels))),
        changes=changes,
    )


def _row(pair: Pair, i: int, changes: Sequence[Change]) -> PairRow:
    y, label = pair.targets[:, i], pair.labels[i]
    first, second = (pair.probabilities(which)[:, i] for which in (pair.first, pair.second))
    flags = [pair.flagged(which)[:, i] for which in (pair.first, pair.second)]
    known = np.isfinite(y)
    draws = resample_patients(pair.patients, pair.resamples, pair.seed)
    errors = (second[known] - y[known]) ** 2 - (first[known] - y[known]) ** 2
    (_, other) = score_systems(
        {"second": second[:, None], "first": first[:, None]},
        y[:, None],
        pair.patients,
        [label],
        reference="second",
        resamples=pair.resamples,
        seed=pair.seed,
    )
    test = delong(y, second, first)
    return PairRow(
        label=label,
        present=int((y == 1).sum()),
        absent=int((y == 0).sum()),
        first_auroc=test.second,
        second_auroc=test.first,
        gain=other.gain,
        delong=test,
        first_brier=brier(y, first),
        second_brier=brier(y, second),
        brier=estimate(weighted_means(errors, with_sample(draws)[:, known])),
        mcnemar=mcnemar(y, *flags),
        changed=sum(one.label == label for one in changes),
    )


def _changes(pair: Pair) -> list[Change]:
    """Calls that are not the same, in the order of cases and labels."""
    changes = []
    for n, (before, after) in enumerate(zip(pair.first, pair.second, strict=True)):
        for i, label in enumerate(pair.labels):
            one, other = finding_of(before, label), finding_of(after, label)
            if one.call != other.call:
                answer = float(pair.targets[n, i])
                changes.append(
                    Change(before.case_id, label, answer, one.probability, other.probability, one.call, other.call)
                )
    return changes


def write_pair(folder: Path, pair: Pair) -> PairFound:
    """Write compare.html, compare.json and compare.csv; the same answers give the same numbers."""
    found = compare_pair(pair)
    page = render("compare.html", found=found, made_on=pair.made_on.isoformat(), shown=_SHOWN)
    for name, text in (
        ("compare.json", numbers_of(found)),
        ("compare.csv", _table(found.changes)),
        ("compare.html", page),
    ):
        write_whole(folder / name, lambda path, text=text: path.write_text(text, encoding="utf-8"))  # type: ignore[misc]
    return found


def _table(changes: Sequence[Change]) -> str:
    """One row a call that changed; an answer that is not stated is an empty cell."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(
        ["case_id", "label", "answer", "first_probability", "second_probability", "first_call", "second_call"]
    )
    for one in changes:
        answer = "" if np.isnan(one.answer) else int(one.answer)
        chances = (f"{one.first_probability:.6f}", f"{one.second_probability:.6f}")
        writer.writerow([one.case_id, one.label, answer, *chances, one.first_call, one.second_call])
    return target.getvalue()
