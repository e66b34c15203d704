"""From what every system said to the table: figures with intervals by patient, paired differences, time and memory."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.accuracy import measures
from benchmarks.accuracy.fold import Fold, is_multi_class, targets_of
from benchmarks.accuracy.results import Result, Results
from medmm.judge.metrics import Estimate, estimate, resample_patients, with_sample
from medmm.learn.train import Prepared

FIGURES = ("AUROC", "AUPRC", "balanced accuracy", "log loss", "ECE")
Groups = Mapping[str, Sequence[str]]
"""Name -> classes that count as one."""


@dataclass(frozen=True, slots=True)
class Line:
    """One system; without figures where it was not run."""

    system: str
    figures: Mapping[str, Estimate]
    """FIGURES, each a macro mean over labels where it is of a label, and the AUROC of each group."""
    gain: Estimate | None
    """Macro AUROC of the reference less this one's, on the same resamples of patients; None without a reference."""
    seconds: float
    """Mean of the folds."""
    megabytes: float
    """Largest of the folds."""
    why_not: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The test cases of all folds and seeds, one behind the other, and how often each resample draws them."""

    targets: np.ndarray
    """(N, L)."""
    strata: np.ndarray
    """(N,) the fold of a seed that each answer comes from: only answers of one model are ranked together."""
    weights: np.ndarray
    """(1 + K, N), the sample itself first; a patient is drawn in all seeds at once."""
    labels: tuple[str, ...]
    multi_class: bool

    @classmethod
    def of(cls, prepared: Prepared, folds: Sequence[Fold], resamples: int, seed: int) -> Judged:
        """Line up the folds."""
        rows = np.concatenate([np.flatnonzero(fold.test) for fold in folds])
        strata = np.concatenate([np.full(int(fold.test.sum()), number) for number, fold in enumerate(folds)])
        patients = np.array(prepared.patients)[rows].tolist()
        weights = with_sample(resample_patients(patients, resamples, seed))
        return cls(targets_of(prepared)[rows], strata, weights, prepared.cohort.labels, is_multi_class(prepared))


def lines_of(
    results: Results, names: Sequence[str], folds: Sequence[Fold], judged: Judged, reference: str, groups: Groups
) -> list[Line]:
    """The table, in the order of `names`; a system that nobody asked is left out."""
    said: dict[str, list[Result]] = {}
    for name in names:
        found = [results.get(name, fold) for fold in folds]
        whole = [result for result in found if result is not None]
        if len(whole) == len(folds):
            said[name] = whole
    auroc = {name: _macro_auroc(judged, _joined(whole)) for name, whole in said.items()}
    lines = []
    for name in names:
        if name in said:
            gain = None if name == reference or reference not in said else auroc[reference] - auroc[name]
            lines.append(_line(name, said[name], judged, auroc[name], gain, groups))
        elif results.why_not(name):
            nothing = float("nan")
            lines.append(Line(name, {}, None, nothing, nothing, results.why_not(name)))
    return lines


def _line(
    name: str, results: Sequence[Result], judged: Judged, auroc: np.ndarray, gain: np.ndarray | None, groups: Groups
) -> Line:
    p, targets, strata, count = _joined(results), judged.targets, judged.strata, len(judged.labels)
    thresholds = np.concatenate([np.tile(one.said.thresholds, (len(one.said.probabilities), 1)) for one in results])
    measured = {
        "AUPRC": measures.macro(measures.average_precision, targets, p, strata),
        "balanced accuracy": measures.balanced_accuracy(targets, p, thresholds, judged.multi_class),
        "log loss": measures.log_loss(targets, p, judged.multi_class),
        "ECE": measures.macro(measures.calibration_error, targets, p, strata),
    }
    figures = {"AUROC": estimate(auroc, count)}
    figures |= {figure: estimate(measure(judged.weights), count) for figure, measure in measured.items()}
    for group, classes in groups.items():
        where = [judged.labels.index(label) for label in classes]
        truth = np.where(np.isfinite(targets).all(axis=1), targets[:, where].sum(axis=1), np.nan)
        figures[f"AUROC {group}"] = estimate(measures.auroc(truth, p[:, where].sum(axis=1), strata)(judged.weights))
    return Line(
        system=name,
        figures=figures,
        gain=None if gain is None else estimate(gain, count),
        seconds=float(np.mean([one.seconds for one in results])),
        megabytes=float(np.max([one.megabytes for one in results])),
    )


def _macro_auroc(judged: Judged, probabilities: np.ndarray) -> np.ndarray:
    return measures.macro(measures.auroc, judged.targets, probabilities, judged.strata)(judged.weights)


def _joined(results: Sequence[Result]) -> np.ndarray:
    return np.concatenate([one.said.probabilities for one in results])


def markdown(lines: Sequence[Line], about: Mapping[str, Any]) -> str:
    """The table, and below it what was not run and how it was measured."""
    run = [line for line in lines if not line.why_not]
    columns = list(run[0].figures) if run else []
    gains = f"{about['reference']} gains"
    head = ["system", *columns, gains, "s / fold", "peak MB"]
    rows = [head, ["---"] * len(head)]
    for line in run:
        figures = [str(line.figures[column]) for column in columns]
        gain = "" if line.gain is None else f"{line.gain.value:+.3f} ({line.gain.low:+.3f} to {line.gain.high:+.3f})"
        rows.append([line.system, *figures, gain, f"{line.seconds:.1f}", f"{line.megabytes:.0f}"])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    missing = "".join(f"\n\n{line.system}: not run: {line.why_not}" for line in lines if line.why_not)
    return f"{table}{missing}\n\n{_sentence(about)}\n"


def _sentence(about: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return (
        f"{about['cases']} cases of {about['patients']} patients, {about['folds']} folds by patient, "
        f"{about['seeds']} seeds; 95 % intervals by patient, {about['resamples']} resamples; ranks are compared within "
        f"a fold of a seed. {about['date']}, {about['machine']}; {versions}. Seconds are of learning and answering, "
        "without the encoding, which all share; peak memory is of the whole process, AutoGluon's own apart."
    )


def as_json(lines: Sequence[Line], about: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a machine."""
    return {"about": dict(about), "systems": [asdict(line) for line in lines]}


def machine() -> str:
    """What it ran on, without its name."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def versions() -> dict[str, str]:
    """Of what the figures depend on most."""
    return {name: version(name) for name in ("medmm", "torch", "scikit-learn", "monai", "transformers")}
