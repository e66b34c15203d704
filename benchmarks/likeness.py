"""Does a model notice cases that are unlike those it learnt from? Its own test patients beside strange ones.

python -m benchmarks.likeness RUN COHORT --out FOLDER --strange skin=FOLDER

RUN is what `medmm train COHORT --out RUN` wrote. Test patients as they are give the false alarms; strange are their
pictures turned, mirrored, inverted or replaced by noise, pictures of other cohorts, and sides of other patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from itertools import cycle
from pathlib import Path

import numpy as np
import torch

from benchmarks.accuracy.command import code_of, publish
from benchmarks.accuracy.table import machine, versions
from benchmarks.missing import with_strange
from medmm.case import MODALITIES, Case, Image, Study
from medmm.errors import CohortError, DataError, ModelError
from medmm.learn.fit import Examples
from medmm.learn.split import read_split
from medmm.model.batch import Features
from medmm.model.folder import Model
from medmm.model.likeness import Likeness
from medmm.model.quality import quality_doubts
from medmm.read.cohort import Cohort, read_cohort
from medmm.read.pool import read_cases
from medmm.tensors import view_index

TARGET = 0.95
"""Share of a strange kind that should be doubted."""
OWN = "test patients as they are"
_LATERAL = 2
_Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
CHANGES: Mapping[str, _Change] = {
    "noise": lambda pixels, rng: rng.random(pixels.shape),
    "upside down": lambda pixels, rng: pixels[::-1],
    "on its side": lambda pixels, rng: np.rot90(pixels),
    "mirrored": lambda pixels, rng: pixels[:, ::-1],
    "inverted polarity": lambda pixels, rng: 1 - pixels,
    "overexposed": lambda pixels, rng: np.clip(3 * pixels, 0, 1),
    "upper half only": lambda pixels, rng: pixels[: max(1, len(pixels) // 2)],
}


@dataclass(frozen=True, slots=True)
class Line:
    """What was noticed of one kind of cases."""

    kind: str
    cases: int
    doubted: float
    """Share with any doubt."""
    checks: Mapping[str, float]
    """Share of the cases that each check doubts; 'pixels and text' are the checks of quality_doubts."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One case as the model gets it, and what its pixels and its text say already."""

    features: Features
    quality: tuple[str, ...] = ()


def changed(case: Case, change: _Change, rng: np.random.Generator) -> Case:
    """The case with every film changed."""
    if case.study is None:
        return case
    images = tuple(_with_pixels(image, change(image.pixels, rng)) for image in case.study.images)
    return replace(case, study=replace(case.study, images=images))


def _with_pixels(image: Image, pixels: np.ndarray) -> Image:
    return replace(image, pixels=np.ascontiguousarray(pixels, dtype=np.float32))


def laterals(study: Study) -> Study | None:
    """The lateral films of a study alone; None if it has none."""
    films = tuple(image for image in study.images if view_index(image) == _LATERAL)
    return replace(study, images=films, volumes=()) if films else None


def line_of(kind: str, asked: Sequence[Asked], likeness: Likeness) -> Line:
    """Count the doubts of one kind of cases."""
    found = [{n for n, score in likeness.scores(one.features).items() if score > likeness.limit} for one in asked]
    quality = [bool(one.quality) for one in asked]
    shares = {name: float(np.mean([name in names for names in found])) for name in likeness.checks}
    any_doubt = float(np.mean([bool(names) or bad for names, bad in zip(found, quality, strict=True)]))
    return Line(kind, len(asked), any_doubt, shares | {"pixels and text": float(np.mean(quality))})


def lines(
    model: Model, likeness: Likeness, cases: Sequence[Case], strangers: Mapping[str, Sequence[Study]], seed: int
) -> Iterator[Line]:
    """Ask the test patients as they are, then made strange in every way that they allow."""
    own = [_asked(model, case) for case in cases]
    yield line_of(OWN, own, likeness)
    films = [case for case in cases if case.study is not None and case.study.images]
    rng = np.random.default_rng(seed)
    for kind, change in CHANGES.items() if films else ():
        yield line_of(kind, [_asked(model, changed(case, change, rng)) for case in films], likeness)
    sides = [(case, laterals(case.study)) for case in films if case.study is not None]
    lateral = [_asked(model, replace(case, study=study)) for case, study in sides if study is not None]
    if lateral:
        yield line_of("lateral film only", lateral, likeness)
    for name, studies in strangers.items():
        foreign = [
            _asked(model, replace(case, study=study, prior=None))
            for case, study in zip(cases, cycle(studies), strict=False)
        ]
        yield line_of(f"picture of {name}", foreign, likeness)
    whole = Examples(
        tuple(one.features for one in own), tuple(case.patient_id for case in cases), torch.zeros(len(own), 0)
    )
    for side in MODALITIES:
        has = [i for i, case in enumerate(whole.features) if case.present[MODALITIES.index(side)]]
        has = [i for i in has if sum(whole.features[i].present) > 1]
        if len({whole.patients[i] for i in has}) > 1:
            exchanged = with_strange(whole.take(has), side, seed).features
            yield line_of(f"{side} of another patient", [Asked(case) for case in exchanged], likeness)


def _asked(model: Model, case: Case) -> Asked:
    return Asked(model.encode(case), quality_doubts(case))


def read(cohort: Cohort, most: int, wanted: Callable[[str], bool] = lambda _: True) -> list[Case]:
    """The first readable cases of a cohort, with their pixels."""
    rows = [row for row in cohort.rows if wanted(row.case_id)][:most]
    return [case for _, case in read_cases(cohort, rows) if not isinstance(case, DataError)]


def markdown(found: Sequence[Line], about: str) -> str:
    """The table; a kind below TARGET is marked."""
    checks = list(found[0].checks)
    head = f"| kind | cases | doubted | {' | '.join(checks)} |\n|---|---|---|{'---|' * len(checks)}"
    rows = [
        f"| {one.kind} | {one.cases} | {one.doubted:.2f}{_mark(one)} | "
        + " | ".join(f"{one.checks[name]:.2f}" for name in checks)
        + " |"
        for one in found
    ]
    return "\n".join([head, *rows, "", about, ""])


def _mark(line: Line) -> str:
    return "" if line.kind == OWN or line.doubted >= TARGET else " (missed)"


def main(arguments: list[str] | None = None) -> int:
    """Print the table and write likeness.md and likeness.json; 1 if a kind is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.likeness", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--strange", action="append", default=[], metavar="NAME=FOLDER", help="another cohort")
    parser.add_argument("--most", type=int, default=100, help="test cases, and pictures of each other cohort")
    parser.add_argument("--seed", type=int, default=0)
    return code_of(_run, parser.parse_args(arguments))


def _run(asked: argparse.Namespace) -> int:
    model = Model.load(asked.run / "model")
    cohort = read_cohort(asked.cohort, model.card.cohort)
    parts = read_split(asked.run / "split.csv")
    cases = read(cohort, asked.most, lambda case_id: parts.get(case_id) == "test")
    if not cases:
        raise CohortError("no test case of the run can be read", "Give the cohort that the run was trained on")
    if model.likeness is None:
        raise ModelError("the model never learnt what its cases look like", "Train it again with this version")
    strangers = {}
    for name, _, path in (one.partition("=") for one in asked.strange):
        strangers[name] = [case.study for case in read(read_cohort(Path(path)), asked.most) if case.study is not None]
    found = list(lines(model, model.likeness, cases, strangers, asked.seed))
    about = (
        f"{len(cases)} test cases of {len({case.patient_id for case in cases})} patients; share of the cases that any "
        f"check, and each, doubts; 'missed' is below {TARGET:.0%}. Seed {asked.seed}. {date.today().isoformat()}, "
        f"{machine()}; " + ", ".join(f"{name} {number}" for name, number in versions().items())
    )
    publish(asked.out, "likeness", markdown(found, about), {"about": about, "lines": [asdict(one) for one in found]})
    return int(any(_mark(one) for one in found))


if __name__ == "__main__":
    raise SystemExit(main())
