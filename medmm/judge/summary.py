"""From what the systems said to the numbers that a report shows: the page and metrics.json are two views of this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medmm.case import MODALITIES
from medmm.judge import words
from medmm.judge.balance import SideBalance, balance
from medmm.judge.calibration import Reliability, ece_if_calibrated, reliability
from medmm.judge.comparison import Need, Report
from medmm.judge.metrics import (
    Estimate,
    Score,
    average_precision,
    balanced_accuracy,
    brier,
    classes_of,
    log_loss,
    operate,
    resample_patients,
    score_systems,
)

FEW = 10
"""A label with fewer test patients of either answer is marked: its interval is not to be relied on."""
TOO_FEW = 5
"""Within a pattern of present modalities, a label with fewer cases of either answer is not judged."""
_CASES_A_BIN = 20


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One label of the saved model on the test cases."""

    label: str
    auroc: Estimate
    average_precision: float
    """Area under the precision-recall curve; a model that knows nothing has the prevalence."""
    threshold: float
    """Of the model that was saved. Sensitivity and specificity are each test case's at that of its own model."""
    sensitivity: Estimate
    specificity: Estimate
    present: int
    absent: int
    not_stated: int
    prevalence: float
    """Share of `present` among the stated."""
    few: bool
    """Fewer than FEW patients with one of the answers."""
    brier: float
    log_loss: float
    reliability: Reliability
    ece_by_luck: float
    """Mean ECE that a perfectly calibrated model would have with so many cases."""


@dataclass(frozen=True, slots=True)
class PatternRow:
    """The test cases that have the same modalities."""

    present: tuple[str, ...]
    cases: int
    patients: int
    judged: tuple[str, ...]
    """Labels with at least TOO_FEW cases of each answer; the AUROCs are means over these."""
    macro: Mapping[str, Estimate]
    """System -> macro AUROC, for the model and for each present modality alone; empty if no label is judged."""


@dataclass(frozen=True, slots=True)
class GateRow:
    """How much of the interaction the model kept for one pattern of present modalities."""

    present: tuple[str, ...]
    gate: float
    """Mean over labels, in [0, 1]."""
    in_words: str


@dataclass(frozen=True, slots=True)
class Classes:
    """What a multi-class model does when it has to name one class."""

    balanced_accuracy: Estimate
    confusion: tuple[tuple[int, ...], ...]
    """Row: true class; column: most probable class; in the order of the labels."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Every number of a report."""

    headline: str
    model_id: str
    version: str
    seed: int
    folds: int | None
    """See Report.folds."""
    resamples: int
    parts: Mapping[str, int]
    test_cases: int
    test_patients: int
    tally: Mapping[str, int]
    """Verdict -> rivals."""
    systems: tuple[Score, ...]
    labels: tuple[LabelRow, ...]
    classes: Classes | None
    patterns: tuple[PatternRow, ...]
    balance: tuple[SideBalance, ...]
    """What being trained together does to each side of the textbook's concatenation; empty if it was not trained."""
    gates: tuple[GateRow, ...] | None
    needs: tuple[Need, ...]
    refused: Mapping[str, int]
    ceilings: Mapping[str, float]


def summarise(report: Report) -> Summary:
    """Compute everything that the report shows."""
    comparison = report.comparison
    draws = resample_patients(comparison.patients, report.resamples, report.seed)
    return Summary(
        headline=words.headline(report),
        model_id=report.model_id,
        version=report.version,
        seed=report.seed,
        folds=report.folds,
        resamples=report.resamples,
        parts=dict(report.parts),
        test_cases=len(set(comparison.case_ids)),
        test_patients=len(set(comparison.patients)),
        tally=words.tally(report.scores),
        systems=report.scores,
        labels=tuple(_label(report, i, draws) for i in range(len(report.labels))),
        classes=_classes(report, draws) if report.multi_class else None,
        patterns=tuple(_patterns(report)),
        balance=_balance(report),
        gates=None if report.gates is None else tuple(_gates(report, report.gates)),
        needs=report.needs,
        refused=dict(sorted(report.refused.items())),
        ceilings=dict(report.ceilings),
    )


def _label(report: Report, i: int, draws: np.ndarray) -> LabelRow:
    comparison, label = report.comparison, report.labels[i]
    y, p = comparison.targets[:, i], comparison.systems[comparison.reference][:, i]
    known = np.isfinite(y)
    own = comparison.thresholds
    at = operate(y, p, report.thresholds[label] if own is None else own[:, i], draws)
    bins = bins_for(int(known.sum()))
    return LabelRow(
        label=label,
        auroc=report.scores[0].by_label[label],
        average_precision=average_precision(y, p, comparison.strata),
        threshold=report.thresholds[label],
        sensitivity=at.sensitivity,
        specificity=at.specificity,
        present=at.present,
        absent=at.absent,
        not_stated=int((~known).sum()),
        prevalence=at.present / int(known.sum()) if known.any() else float("nan"),
        few=min(patients_among(report, y == answer) for answer in (0, 1)) < FEW,
        brier=brier(y, p),
        log_loss=log_loss(y, p),
        reliability=reliability(y, p, bins),
        ece_by_luck=ece_if_calibrated(p[known], bins, seed=report.seed),
    )


def bins_for(cases: int) -> int:
    """Bins of a reliability diagram."""
    return int(np.clip(cases // _CASES_A_BIN, 2, 10))


def patients_among(report: Report, rows: np.ndarray) -> int:
    """How many different patients the rows (N,) bool have."""
    return len(set(np.asarray(report.comparison.patients, dtype=str)[rows]))


def _classes(report: Report, draws: np.ndarray) -> Classes:
    comparison, size = report.comparison, len(report.labels)
    probabilities = comparison.systems[comparison.reference]
    truth, said = classes_of(comparison.targets), probabilities.argmax(axis=1)
    confusion = np.zeros((size, size), dtype=int)
    np.add.at(confusion, (truth[truth >= 0], said[truth >= 0]), 1)
    return Classes(
        balanced_accuracy(comparison.targets, probabilities, draws),
        tuple(tuple(int(count) for count in row) for row in confusion),
    )


def _patterns(report: Report) -> list[PatternRow]:
    """The patterns that test cases have, from the fullest to the emptiest."""
    present = present_of(report)
    bits = present @ (1 << np.arange(len(MODALITIES)))
    found = sorted({int(bit) for bit in bits}, key=lambda bit: (-bit.bit_count(), bit))
    return [_pattern(report, _names(bit), bits == bit) for bit in found]


def _pattern(report: Report, present: tuple[str, ...], rows: np.ndarray) -> PatternRow:
    alone = [name for m in present if (name := f"{m} only") in report.comparison.systems]
    scores = scores_among(report, rows, [report.comparison.reference, *alone])
    return PatternRow(
        present=present,
        cases=int(rows.sum()),
        patients=patients_among(report, rows),
        judged=tuple(scores[0].by_label) if scores else (),
        macro={score.system: score.macro for score in scores},
    )


def scores_among(report: Report, rows: np.ndarray, systems: Sequence[str]) -> tuple[Score, ...]:
    """Compare systems on some of the cases, (N,) bool, by the labels with TOO_FEW of each answer; () if none has."""
    comparison = report.comparison
    targets = comparison.targets[rows]
    judged = np.minimum((targets == 1).sum(axis=0), (targets == 0).sum(axis=0)) >= TOO_FEW  # (L,)
    if not judged.any():
        return ()
    return score_systems(
        {name: comparison.systems[name][rows][:, judged] for name in systems},
        targets[:, judged],
        [patient for patient, row in zip(comparison.patients, rows, strict=True) if row],
        [label for label, yes in zip(report.labels, judged, strict=True) if yes],
        reference=comparison.reference,
        resamples=report.resamples,
        seed=report.seed,
        strata=None if comparison.strata is None else comparison.strata[rows],
    )


def _balance(report: Report) -> tuple[SideBalance, ...]:
    """Each side inside the textbook's model, beside the side's own head."""
    comparison = report.comparison
    return balance(
        comparison.inside,
        {side: comparison.systems[f"{side} only"] for side in comparison.inside},
        comparison.targets,
        comparison.patients,
        {side: comparison.present[:, MODALITIES.index(side)] for side in comparison.inside},
        resamples=report.resamples,
        seed=report.seed,
        strata=comparison.strata,
    )


def _gates(report: Report, gates: np.ndarray) -> list[GateRow]:
    """Patterns in which two modalities or more are there to interact, from the fullest down."""
    used = sum(1 << MODALITIES.index(m) for m in report.modalities)
    rows = [bit for bit in range(len(gates)) if bit.bit_count() >= 2 and bit & used == bit]
    rows.sort(key=lambda bit: (-bit.bit_count(), bit))
    means = {bit: float(gates[bit].mean()) for bit in rows}
    return [GateRow(_names(bit), means[bit], words.kept(means[bit])) for bit in rows]


def present_of(report: Report) -> np.ndarray:
    """(N, M) bool: what each test case has, of what the model uses."""
    used = np.array([m in report.modalities for m in MODALITIES])
    has: np.ndarray = np.logical_and(report.comparison.present, used)
    return has


def _names(bits: int) -> tuple[str, ...]:
    return tuple(m for i, m in enumerate(MODALITIES) if bits >> i & 1)
