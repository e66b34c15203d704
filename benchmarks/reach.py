"""How much of what is possible do runs of the sample cohort reach, as their own test patients allow?

python -m benchmarks.reach SAMPLE --runs RUN --out FOLDER

Best possible is what the cohort's truth/cases.csv says: the exact chance of each label given the film, the note and the
record, or everything that a case really has. The way is from the best single side to everything; model and ceilings are
judged on the same stated answers and the same resamples of patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.accuracy import measures
from benchmarks.accuracy.command import code_of, publish
from benchmarks.accuracy.table import machine
from benchmarks.calibration import Tested, tested
from medmm.errors import CohortError
from medmm.judge.metrics import Estimate, estimate, resample_patients, with_sample
from medmm.learn.fit import infer
from sample_data.truth import SIDES

_EVERYTHING = "all"
_ROWS = {"image": "best possible: image", "note_record": "note and record", _EVERYTHING: "everything"}


@dataclass(frozen=True, slots=True)
class Reached:
    """One run. AUROC is the mean over labels."""

    seed: int
    cases: int
    by_label: Mapping[str, Mapping[str, float]]
    """System or ceiling -> label -> AUROC."""
    macro: Mapping[str, Estimate]
    """System or ceiling -> mean over labels."""
    share: Estimate
    """Of the way from the best single side to everything."""
    bar: Estimate
    """AUROC at the share that was asked for."""
    above: Estimate
    """What the model has more than that; negative if it falls short."""


def reached(run: Tested, truth: pd.DataFrame, wanted: float, resamples: int, seed: int) -> Reached:
    """Model and ceilings on the run's test cases.

    Args:
        run: a model and its test cases.
        truth: what was planted in each case, by case id, see sample_data.truth.
        wanted: share of the way.
        resamples: of patients.
        seed: of these.
    """
    labels, cases = run.model.labels, run.cases
    ids, targets = [case.case_id for case in cases.features], cases.targets.double().numpy()
    said = {"fused": infer(run.model.network, cases).double().numpy()}
    said |= {side: truth.loc[ids, [f"{side}_{label}" for label in labels]].to_numpy() for side in SIDES}
    weights, strata = with_sample(resample_patients(cases.patients, resamples, seed)), np.zeros(len(ids), dtype=int)
    area = {name: measures.macro(measures.auroc, targets, p, strata)(weights) for name, p in said.items()}
    single = max((side for side in SIDES if side != _EVERYTHING), key=lambda side: area[side][0])
    low, high = area[single], area[_EVERYTHING]
    bar = low + wanted * (high - low)
    way = np.divide(area["fused"] - low, high - low, out=np.full_like(low, np.nan), where=high > low)
    return Reached(
        seed=run.model.card.run.training.seed,
        cases=len(ids),
        by_label={
            name: {
                label: float(measures.auroc(targets[:, i], p[:, i], strata)(weights[:1])[0])
                for i, label in enumerate(labels)
            }
            for name, p in said.items()
        },
        macro={name: estimate(values, len(labels)) for name, values in area.items()},
        share=estimate(way, len(labels)),
        bar=estimate(bar, len(labels)),
        above=estimate(area["fused"] - bar, len(labels)),
    )


def _markdown(runs: Sequence[Reached], wanted: float, about: str) -> str:
    labels = list(runs[0].by_label["fused"])
    lines = ["| seed | AUROC | " + " | ".join(["macro", *labels]) + " |", "|---|---|" + "---|" * (1 + len(labels))]
    for run in runs:
        for name, text in {"fused": "**fused**", **_ROWS}.items():
            by_label = " | ".join(f"{run.by_label[name][label]:.3f}" for label in labels)
            lines.append(f"| {run.seed} | {text} | {run.macro[name]} | {by_label} |")
    lines += ["", f"| seed | test cases | share of the way | AUROC at {wanted:.0%} of it | fused less that |"]
    lines += ["|---|---|---|---|---|"]
    lines += [
        f"| {run.seed} | {run.cases:,} | {run.share} | {run.bar.value:.4f} | {_finely(run.above)} |" for run in runs
    ]
    return "\n".join([*lines, "", about, ""])


def _finely(difference: Estimate) -> str:
    between = f"{difference.low:+.4f} to {difference.high:+.4f}" if np.isfinite(difference.low) else "no interval"
    return f"{difference.value:+.4f} ({between})"


def main(arguments: list[str] | None = None) -> int:
    """Print the tables and write reach.md and reach.json; 1 if a run falls short."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reach", description=__doc__)
    parser.add_argument("cohort", type=Path, help="what `python -m sample_data` wrote")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="what `medmm train` wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.95, help="of the way that must be gone")
    parser.add_argument("--cache", type=Path, help="encoded studies and notes; below --out without it")
    parser.add_argument("--resamples", type=int, default=1000)
    return code_of(_run, parser.parse_args(arguments))


def _run(asked: argparse.Namespace) -> int:
    path = asked.cohort / "truth" / "cases.csv"
    if not path.is_file():
        raise CohortError("the cohort does not say what is true", "Give one that `python -m sample_data` wrote")
    truth = pd.read_csv(path, index_col="case_id")
    cache = asked.cache or asked.out / "features"
    runs = [
        reached(tested(asked.cohort, run, cache), truth, asked.share, asked.resamples, seed=0) for run in asked.runs
    ]
    about = f"95 % intervals by patient, {asked.resamples} resamples. {date.today().isoformat()}, {machine()}"
    content = {"about": about, "share": asked.share, "runs": [asdict(run) for run in runs]}
    publish(asked.out, "reach", _markdown(runs, asked.share, about), content)
    return 0 if all(run.above.value >= 0 for run in runs) else 1


if __name__ == "__main__":
    raise SystemExit(main())
