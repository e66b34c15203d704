"""Does medmm keep working when a side is missing, and does it listen to both? Folds by patient; nothing tuned on tests.

python -m benchmarks.missing COHORT --out FOLDER --folds 5 --seeds 3

One side absent in test: the fused model beside the specialist that was trained without it. Half of all sides missing,
and the sides that are missing exchanged between training and test: the fused model beside logistic regressions of the
same pooled features with zeros, or the training cases' means, where a side is missing. Sides of other patients: what
they do to the fused model.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.accuracy import floors, measures
from benchmarks.accuracy.command import code_of, parser_of, prepared_by, publish
from benchmarks.accuracy.fold import Fold, Said, folds_of, has_side, sides_of
from benchmarks.accuracy.results import Result, Results
from benchmarks.accuracy.systems import Silent, fused, problem_of, with_seed
from benchmarks.accuracy.table import Judged, machine, versions
from medmm.case import MODALITIES
from medmm.config import RunConfig, read_toml
from medmm.errors import CohortError
from medmm.judge.metrics import Estimate, estimate
from medmm.learn.encode import EncodedRow
from medmm.learn.fit import Examples, infer
from medmm.learn.train import Learned, Prepared, learn_parts
from medmm.model.batch import Features, collate
from medmm.model.heads import Pool
from pipelines.terminal import console

_EXCHANGED = (0.8, 0.2, 0.5)
"""Chance that a training case lacks the note, the image, the record; test cases lack the first two the other way."""
_FILLS = ("zeros", "means")
_SAME = 1e-5
"""Largest difference of log-odds between a case alone and in a batch."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One training, and what is asked of it."""

    names: tuple[str, ...]
    """Of what is said."""
    ask: Callable[[Prepared, Fold, Path], dict[str, np.ndarray]]
    """Each name -> (N, L) probabilities of the test cases."""


@dataclass(frozen=True, slots=True)
class Question:
    """A difference of macro AUROC that must not fall short."""

    text: str
    first: str
    second: str
    at_least: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The question and what was found."""

    question: Question
    first: Estimate
    second: Estimate
    difference: Estimate

    @property
    def holds(self) -> bool:
        """Whether the difference itself, not its interval, is as large as it must be."""
        return self.difference.value >= self.question.at_least


def scenarios(run: RunConfig, sides: Sequence[str]) -> list[Scenario]:
    """What is trained and asked, fold by fold."""
    complete = ("fused", *(f"{how}{side}" for side in sides for how in ("without ", "another's ")))
    return [
        Scenario(complete, partial(_complete, run, sides)),
        *(Scenario((f"specialist without {side}",), partial(_specialist, run, sides, side)) for side in sides),
        *(
            Scenario(tuple(f"{name}: {how}" for how in ("fused", *_FILLS)), partial(_hidden, name, run, sides))
            for name in _LOSSES
        ),
    ]


def questions(sides: Sequence[str]) -> list[Question]:
    """What the answers must show."""
    absent = [
        Question(f"{side} absent: fused beside the specialist", f"without {side}", f"specialist without {side}", -0.01)
        for side in sides
    ]
    filled = [
        Question(f"{name}: fused beside {fill}", f"{name}: fused", f"{name}: {fill}", 0.0)
        for name in _LOSSES
        for fill in _FILLS
    ]
    strange = [
        Question(f"{side} of another patient: not above its absence", f"without {side}", f"another's {side}", 0.0)
        for side in sides
    ]
    return absent + filled + strange


def _complete(
    run: RunConfig, sides: Sequence[str], prepared: Prepared, fold: Fold, work: Path
) -> dict[str, np.ndarray]:
    """Trained on everything; asked with everything, without each side, and with each side of another patient."""
    learned = learn_parts(prepared, fold.parts, with_seed(run, fold.seed), work, Silent())
    test = learned.sets["test"]
    said = {"fused": learned.probabilities("test")}
    for side in sides:
        keep = torch.tensor([name != side for name in MODALITIES])
        said[f"without {side}"] = _asked(learned, test, keep)
        said[f"another's {side}"] = _asked(learned, with_strange(test, side, fold.seed))
    return said


def _specialist(
    run: RunConfig, sides: Sequence[str], absent: str, prepared: Prepared, fold: Fold, work: Path
) -> dict[str, np.ndarray]:
    """Trained without a side, and asked without it."""
    alone = fused(run, modalities=tuple(side for side in sides if side != absent))
    learned = learn_parts(prepared, fold.parts, with_seed(alone, fold.seed), work, Silent())
    return {f"specialist without {absent}": learned.probabilities("test")}


def _hidden(
    name: str, run: RunConfig, sides: Sequence[str], prepared: Prepared, fold: Fold, work: Path
) -> dict[str, np.ndarray]:
    """Trained and asked with sides missing; beside it what fills them up."""
    prepared = _LOSSES[name](prepared, sides, fold)
    learned = learn_parts(prepared, fold.parts, with_seed(run, fold.seed), work, Silent())
    check_alone(learned, learned.sets["test"])
    problem = problem_of(prepared, fold)
    features = [_pooled(learned, fold, side, bool(prepared.cohort.config.prior)) for side in sides]
    said = {f"{name}: fused": learned.probabilities("test")}
    for fill in _FILLS:
        filled = [_filled(side, fill, ~fold.test) for side in features]
        logits = floors.concatenation(filled, problem).logits[fold.test]
        said[f"{name}: {fill}"] = floors.probabilities(logits, problem.multi_class)
    return said


def _asked(learned: Learned, cases: Examples, keep: Tensor | None = None) -> np.ndarray:
    return infer(learned.network, cases, keep=keep).sigmoid().numpy().astype(np.float64)


def _pooled(learned: Learned, fold: Fold, side: str, prior: bool) -> np.ndarray:
    """What medmm's head of a side is fitted to, of all cases in their order: (N, F), NaN where the side is missing."""
    pool, column = Pool(side, prior), MODALITIES.index(side)
    features: np.ndarray | None = None
    for part, cases in learned.sets.items():
        values = infer(pool, cases).numpy().astype(np.float64)
        values[~cases.present[:, column].numpy()] = np.nan
        if features is None:
            features = np.full((len(fold.parts), values.shape[1]), np.nan)
        features[[where == part for where in fold.parts]] = values
    if features is None:
        raise ValueError("a fold has no cases")
    return features


def _filled(features: np.ndarray, fill: str, learn: np.ndarray) -> np.ndarray:
    """The features with zeros, or with the means of the cases that teach, where the side is missing."""
    means = np.nanmean(features[learn], axis=0)
    return np.where(np.isfinite(features), features, means if fill == "means" else 0.0)


def with_strange(cases: Examples, side: str, seed: int) -> Examples:
    """Each case that has a side gets that of another patient's case."""
    has = np.flatnonzero(cases.present[:, MODALITIES.index(side)].numpy())
    order = np.random.default_rng(seed).permutation(has)
    features = list(cases.features)
    for place, case in enumerate(order):
        following = (order[(place + step) % len(order)] for step in range(1, len(order)))
        other = next((o for o in following if cases.patients[o] != cases.patients[case]), None)
        if other is not None:
            features[case] = _with_side(cases.features[case], cases.features[other], side)
    return replace(cases, features=tuple(features))


def _with_side(case: Features, other: Features, side: str) -> Features:
    if side == "image":
        return replace(case, image=other.image, place=other.place)
    if side == "note":
        return replace(case, note=other.note, terms=other.terms)
    return replace(case, record=other.record, taken=other.taken)


def _half(prepared: Prepared, sides: Sequence[str], fold: Fold) -> Prepared:
    """Every side of every case is dropped with a chance of one half, never all."""
    return hide(prepared, {side: np.full(len(prepared.cases), 0.5) for side in sides}, fold.seed)


def _exchanged(prepared: Prepared, sides: Sequence[str], fold: Fold) -> Prepared:
    """What training cases lack often test cases lack seldom, and the reverse."""
    often, seldom, other = _EXCHANGED
    first, second, *rest = sorted(sides, key=("note", "image", "record").index)
    chances = {first: np.where(fold.test, seldom, often), second: np.where(fold.test, often, seldom)}
    return hide(prepared, chances | {side: np.full(len(fold.parts), other) for side in rest}, fold.seed)


_LOSSES = {"half missing": _half, "exchanged": _exchanged}


def hide(prepared: Prepared, chances: Mapping[str, np.ndarray], seed: int) -> Prepared:
    """The cohort with sides hidden, each of a case by its own chance (N,); one that would lose all keeps one."""
    rng = np.random.default_rng(seed)
    cases = []
    for number, case in enumerate(prepared.cases):
        has = [side for side in chances if has_side(case, side)]
        kept = [side for side in has if rng.random() >= chances[side][number]]
        if has and not kept:
            kept = [has[int(rng.integers(len(has)))]]
        cases.append(_only(case, kept))
    return replace(prepared, cases=tuple(cases))


def _only(case: EncodedRow, kept: Sequence[str]) -> EncodedRow:
    encoded = case.case
    return replace(
        case,
        case=replace(
            encoded,
            study=encoded.study if "image" in kept else None,
            prior=encoded.prior if "image" in kept else None,
            note=encoded.note if "note" in kept else None,
            record=encoded.record if "record" in kept else {},
        ),
    )


def check_alone(learned: Learned, cases: Examples) -> None:
    """Check that each case gets the answer alone that it gets in a batch of all patterns.

    Raises:
        ValueError: if one does not.
    """
    with torch.inference_mode():
        together = learned.network(collate(cases.features))
        alone = torch.cat([learned.network(collate([case])) for case in cases.features])
    apart = float((together - alone).abs().max())
    if apart > _SAME:
        raise ValueError(f"a case alone and in a batch differ by {apart:.1e} in log-odds")


def answers_of(results: Results, asked: Sequence[Question], folds: Sequence[Fold], judged: Judged) -> list[Answer]:
    """The questions, answered on the same resamples of patients."""
    areas = {name: _area(results, name, folds, judged) for one in asked for name in (one.first, one.second)}
    count = len(judged.labels)
    return [
        Answer(
            one,
            estimate(areas[one.first], count),
            estimate(areas[one.second], count),
            estimate(areas[one.first] - areas[one.second], count),
        )
        for one in asked
    ]


def _area(results: Results, name: str, folds: Sequence[Fold], judged: Judged) -> np.ndarray:
    found = [results.get(name, fold) for fold in folds]
    p = np.concatenate([result.said.probabilities for result in found if result is not None])
    return measures.macro(measures.auroc, judged.targets, p, judged.strata)(judged.weights)


def _make(results: Results, run: RunConfig, prepared: Prepared, folds: Sequence[Fold], sides: Sequence[str]) -> None:
    """Train and ask what is missing; a training that was stopped goes on."""
    nothing = np.full(len(prepared.cohort.labels), np.nan)  # no threshold is needed to rank
    for scenario in scenarios(run, sides):
        for fold in folds:
            if all(results.get(name, fold) for name in scenario.names):
                continue
            console.print(f"{scenario.names[0]}: seed {fold.seed}, fold {fold.number}")
            work = results.work(scenario.names[0], fold)
            for name, said in scenario.ask(prepared, fold, work).items():
                results.keep(name, fold, Result(Said(said, nothing), float("nan"), float("nan")))
            shutil.rmtree(work, ignore_errors=True)


def _markdown(answers: Sequence[Answer], about: str) -> str:
    rows = [
        f"| {one.question.text} | {one.first} | {one.second} | {one.difference} | {one.question.at_least:+.2f} | "
        f"{'yes' if one.holds else 'NO'} |"
        for one in answers
    ]
    head = "| macro AUROC | fused | beside it | difference | at least | holds |\n|---|---|---|---|---|---|"
    return "\n".join([head, *rows, "", about, ""])


def main(arguments: list[str] | None = None) -> int:
    """Print the table and write missing.md and missing.json; 1 if a difference falls short."""
    parser = parser_of("benchmarks.missing", __doc__, "run.toml; medmm's defaults without it")
    return code_of(_run, parser.parse_args(arguments))


def _run(asked: argparse.Namespace) -> int:
    run = read_toml(asked.config, RunConfig) if asked.config else RunConfig()
    prepared = prepared_by(asked, run)
    sides = sides_of(prepared, run)
    if len(sides) < 2:
        raise CohortError("the cohort has one side only", "Nothing can be missing from it")
    folds = folds_of(prepared.patients, asked.folds, asked.seeds)
    results = Results(asked.out)
    results.claim(prepared, asked.folds, run)
    _make(results, run, prepared, folds, sides)
    answers = answers_of(results, questions(sides), folds, Judged.of(prepared, folds, asked.resamples, seed=0))
    about = (
        f"{len(prepared.cases)} cases, {asked.folds} folds by patient, {asked.seeds} seeds; 95 % intervals by patient, "
        f"{asked.resamples} resamples. Every case alone gets what it gets in a batch of all patterns, to {_SAME}. "
        f"{date.today().isoformat()}, {machine()}; "
        + ", ".join(f"{name} {number}" for name, number in versions().items())
    )
    content = {"about": about, "answers": [asdict(one) for one in answers]}
    publish(asked.out, "missing", _markdown(answers, about), content)
    return 0 if all(one.holds for one in answers) else 1


if __name__ == "__main__":
    raise SystemExit(main())
