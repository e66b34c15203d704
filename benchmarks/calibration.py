"""Do the probabilities mean what they say, and are the promised errors kept, on patients that a model never saw?

python -m benchmarks.calibration COHORT --runs RUN --out FOLDER
python -m benchmarks.calibration COHORT --runs RUN/fold-1 RUN/fold-2 ... --out FOLDER

Each run is judged on the test part of its own split.csv. A pattern of modalities is judged on all test cases that have
these, whatever else they have, with the rest hidden: few cases lack a side. At another prevalence test cases are left
out at random until the label has it; the model is told the prevalence, or estimates it from the cases without answers.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import torch

from benchmarks.accuracy.command import code_of, publish
from benchmarks.accuracy.table import machine
from medmm.case import MODALITIES
from medmm.errors import CohortError
from medmm.judge.calibration import ece_if_calibrated, reliability
from medmm.judge.conformal import calls, coverage, risk_coverage
from medmm.learn.calibrate import by_pattern
from medmm.learn.examples import encode, examples_of
from medmm.learn.fit import Examples, infer
from medmm.learn.local import at_prevalence, estimate_prevalence
from medmm.learn.split import read_split
from medmm.model.folder import Model, named
from medmm.model.fusion import Network, pattern_of
from medmm.read.cohort import read_cohort
from pipelines.terminal import counting

_FACTORS = (0.5, 2.0)
_FEW = 10
"""Cases with an answer below which its coverage is not judged; the table says how many there are."""
_SPOKEN = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Tested:
    """A model, and the cases that it is judged on."""

    model: Model
    cases: Examples
    logits: torch.Tensor
    """(N, L) of the network's body, before calibration."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """One label, as it is said where these modalities are given."""

    label: str
    pattern: str
    cases: int
    before: float
    """ECE of what was not calibrated."""
    after: float
    by_luck: float
    """ECE that a perfectly calibrated model would have with so many cases, in the mean."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One answer of one label where these modalities are given: the promise, and what came of it."""

    label: str
    answer: str
    pattern: str
    cases: int
    covered: float
    """Share that was not called the opposite."""
    promised: float
    uncertain: float


@dataclass(frozen=True, slots=True)
class Moved:
    """One label where its prevalence is another: ECE."""

    label: str
    factor: float
    cases: int
    unmoved: float
    """At the prevalence that the model was calibrated on."""
    as_it_was: float
    told: float
    estimated: float


def tested(folder: Path, run: Path, cache: Path) -> Tested:
    """The model of a run and its test cases.

    Raises:
        CohortError: if the run names no test cases of this cohort.
    """
    model = Model.load(run / "model")
    part, cohort = read_split(run / "split.csv"), read_cohort(folder, model.card.cohort)
    rows = tuple(row for row in cohort.rows if part.get(row.case_id) == "test")
    if not rows:
        raise CohortError("the run was not tested on cases of this cohort", "Give the cohort that it learnt from")
    with counting("Encoding") as progress:
        encoded = encode(model, replace(cohort, rows=rows), cache, progress)
    cases = examples_of(encoded.cases, model.labels, model.encoders, model.bins)
    return Tested(model, cases, infer(model.network.body, cases, keep=torch.tensor(model.network.keep)))


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What models say of the test cases that have the sides of a pattern."""

    pattern: str
    targets: np.ndarray
    raw: np.ndarray
    """(N, L) not calibrated."""
    calibrated: np.ndarray
    thresholds: np.ndarray
    """(N, L)."""
    limits: np.ndarray
    """(N, L, 2)."""


def said(runs: Sequence[Tested]) -> Iterator[Said]:
    """Every pattern with at least one modality, over the test cases of all runs."""
    known = runs[0].model.network.keep
    for pattern in range(1, 2 ** len(MODALITIES)):
        parts = [one for run in runs if (one := _said(run, pattern)) is not None]
        if not parts or not all(known[m] for m in range(len(MODALITIES)) if pattern >> m & 1):
            continue
        arrays = ("targets", "raw", "calibrated", "thresholds", "limits")
        yield Said(parts[0].pattern, *(np.concatenate([getattr(part, name) for part in parts]) for name in arrays))


def _said(run: Tested, pattern: int) -> Said | None:
    network, model = run.model.network, run.model
    _, keep, rows = list(by_pattern(network.keep, run.cases))[pattern]
    cases = run.cases.take(torch.nonzero(rows).flatten().tolist())
    if not len(cases):
        return None
    present = [m for m, there in zip(MODALITIES, keep.tolist(), strict=True) if there]
    logits, seen = infer(network.body, cases, keep=keep), torch.full((len(cases),), pattern)
    raw, calibrated = (
        each.calibrated(logits, seen).sigmoid().double().numpy() for each in (network.uncalibrated(), network)
    )
    limits = [model.limits(label, present) for label in model.labels]
    pairs = [(0.0, 1.0) if one is None else (one.present_from, one.absent_to) for one in limits]
    thresholds = [model.card.thresholds[label] for label in model.labels]
    shape = (len(cases), 1)
    return Said(
        named(present),
        cases.targets.numpy(),
        raw,
        calibrated,
        np.tile(thresholds, shape),
        np.tile(np.array(pairs)[None], (*shape, 1)),
    )


def calibration(parts: Sequence[Said], labels: Sequence[str]) -> list[Calibrated]:
    """ECE of each label and pattern, in ten bins of equal count."""
    rows = []
    for part in parts:
        for i, label in enumerate(labels):
            known = np.isfinite(part.targets[:, i])
            y, p = part.targets[known, i], part.calibrated[known, i]
            before, after = reliability(y, part.raw[known, i]).ece, reliability(y, p).ece
            rows.append(Calibrated(label, part.pattern, int(known.sum()), before, after, ece_if_calibrated(p)))
    return rows


def promises(parts: Sequence[Said], labels: Sequence[str], error: float) -> list[Kept]:
    """How the promised error was kept, for each answer of each label and pattern."""
    rows = []
    for part in parts:
        for i, label in enumerate(labels):
            spoken = calls(part.calibrated[:, i], part.thresholds[:, i], part.limits[:, i])
            for answer, name in ((1, "present"), (0, "absent")):
                one = coverage(part.targets[:, i], spoken, answer)
                share = [count / one.cases if one.cases else float("nan") for count in (one.covered, one.uncertain)]
                rows.append(Kept(label, name, part.pattern, one.cases, share[0], 1 - error, share[1]))
    return rows


def moved(runs: Sequence[Tested], labels: Sequence[str], seed: int) -> list[Moved]:
    """ECE at other prevalences, over all cases of all runs with what they have."""
    return [_moved(runs, i, label, factor, seed) for i, label in enumerate(labels) for factor in _FACTORS]


def _moved(runs: Sequence[Tested], i: int, label: str, factor: float, seed: int) -> Moved:
    targets: list[np.ndarray] = []
    unmoved: list[np.ndarray] = []
    answers: dict[str, list[np.ndarray]] = {name: [] for name in ("unmoved", "as it was", "told", "estimated")}
    for run in runs:
        y, model = run.cases.targets[:, i].numpy(), run.model
        rows = _at(y, factor, np.random.default_rng([seed, i]))
        p = _probabilities(model.network, run)
        taught = np.clip([model.card.prevalence[name] for name in model.labels], 1e-3, 1 - 1e-3)
        guess = float(estimate_prevalence(p[rows], taught, multi_class=model.network.multi_class)[i])
        targets.append(y[rows])
        unmoved.append(y)
        answers["unmoved"].append(p[:, i])
        answers["as it was"].append(p[rows, i])
        for name, known in (("told", float(y[rows].mean())), ("estimated", guess)):
            answers[name].append(_probabilities(at_prevalence(model, {label: known}).network, run)[rows, i])
    truth = np.concatenate(targets)
    ece = {
        name: reliability(np.concatenate(unmoved) if name == "unmoved" else truth, np.concatenate(p)).ece
        for name, p in answers.items()
    }
    return Moved(label, factor, len(truth), ece["unmoved"], ece["as it was"], ece["told"], ece["estimated"])


@torch.inference_mode()
def _probabilities(network: Network, run: Tested) -> np.ndarray:
    """What a network with the body of a run's says of its test cases with all that they have: (N, L)."""
    known = run.cases.present & torch.tensor(network.keep)
    said = network.calibrated(run.logits, pattern_of(known)).sigmoid().double().numpy()
    return np.asarray(said)


def _at(targets: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Cases (K,) among which the label has `factor` times its prevalence; one of the answers is thinned out.

    All cases where no prevalence is `factor` times theirs.
    """
    present, absent = (rng.permutation(np.flatnonzero(targets == answer)) for answer in (1, 0))
    wanted = factor * len(present) / max(len(present) + len(absent), 1)
    if not 0 < wanted < 1:
        return np.sort(np.concatenate([present, absent]))
    if factor < 1:
        present = present[: round(len(absent) * wanted / (1 - wanted))]
    else:
        absent = absent[: round(len(present) * (1 - wanted) / wanted)]
    return np.sort(np.concatenate([present, absent]))


def _markdown(
    curves: Sequence[Calibrated],
    kept: Sequence[Kept],
    shifts: Sequence[Moved],
    risks: dict[str, list[float]],
    about: str,
) -> str:
    lines = ["| label | modalities | cases | ECE before | after | by luck |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {c.label} | {c.pattern} | {c.cases} | {c.before:.3f} | {c.after:.3f} | {c.by_luck:.3f} |" for c in curves
    ]
    lines += ["", "| label | answer | modalities | cases | not called the opposite | promised | uncertain |"]
    lines += ["|---|---|---|---|---|---|---|"]
    lines += [
        f"| {k.label} | {k.answer} | {k.pattern} | {k.cases} | {'too few' if k.cases < _FEW else f'{k.covered:.3f}'} | "
        f"{k.promised:.2f} | {k.uncertain:.2f} |"
        for k in kept
    ]
    lines += ["", "| label | error if a share is spoken of: " + " | ".join(f"{s:.0%}" for s in _SPOKEN) + " |"]
    lines += ["|---|" + "---|" * len(_SPOKEN)]
    lines += [f"| {name} | " + " | ".join(f"{error:.3f}" for error in errors) + " |" for name, errors in risks.items()]
    lines += [
        "",
        "| label | prevalence x | cases | ECE unmoved | as it was | told | estimated |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {m.label} | {m.factor:g} | {m.cases} | "
        + " | ".join(f"{ece:.3f}" for ece in (m.unmoved, m.as_it_was, m.told, m.estimated))
        + " |"
        for m in shifts
    ]
    return "\n".join([*lines, "", about, ""])


def main(arguments: list[str] | None = None) -> int:
    """Print the tables and write calibration.md and calibration.json."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="what `medmm train` wrote; or its folds")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="encoded studies and notes; below --out without it")
    parser.add_argument("--seed", type=int, default=0, help="of the cases that are left out for another prevalence")
    return code_of(_run, parser.parse_args(arguments))


def _run(asked: argparse.Namespace) -> int:
    runs = [tested(asked.cohort, run, asked.cache or asked.out / "features") for run in asked.runs]
    labels, error = runs[0].model.labels, runs[0].model.card.run.decision.error
    parts = list(said(runs))
    curves, kept, shifts = calibration(parts, labels), promises(parts, labels, error), moved(runs, labels, asked.seed)
    whole = parts[-1]
    risks = {}
    for i, label in enumerate(labels):
        curve = risk_coverage(whole.targets[:, i], whole.calibrated[:, i], whole.thresholds[:, i])
        risks[label] = [float(curve.error[curve.at(share)]) for share in _SPOKEN]
    about = (
        f"{sum(len(run.cases) for run in runs)} test cases of {len(runs)} run(s), error {error:g}; calibration, "
        f"thresholds and limits chosen on validation patients. {date.today().isoformat()}, {machine()}"
    )
    content = {
        "about": about,
        "calibration": [asdict(c) for c in curves],
        "promises": [asdict(k) for k in kept],
        "risk": {"spoken": list(_SPOKEN), "error": risks},
        "prevalence": [asdict(m) for m in shifts],
    }
    publish(asked.out, "calibration", _markdown(curves, kept, shifts, risks, about), content)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
