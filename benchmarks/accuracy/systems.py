"""The systems that are compared, by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import get_args

from benchmarks.accuracy import floors
from benchmarks.accuracy.fold import Fold, Said, System, is_multi_class, sides_of, targets_of, thresholds_of
from benchmarks.accuracy.inputs import plain, pooled, texts
from medmm.config import FusionConfig, RunConfig
from medmm.learn.fit import Epoch
from medmm.learn.train import Prepared, learn_parts

MEDMM = "medmm"
CONFIG = "medmm (config)"
Join = Callable[[Sequence[floors.Said], floors.Problem], floors.Said]
LATE: dict[str, Join] = {
    "late mean": floors.late_mean,
    "late product": floors.late_product,
    "late stack": floors.late_stack,
}


def systems_of(prepared: Prepared, run: RunConfig, config: RunConfig | None) -> dict[str, System]:
    """Every system that can be asked of this cohort, in the order of the table.

    Args:
        prepared: the cohort.
        run: medmm's defaults, with the encoders of `prepared`.
        config: further dials to try, as MEDMM (CONFIG).
    """
    from benchmarks.accuracy.autogluon import autogluon
    from benchmarks.accuracy.transchex import transchex

    sides = sides_of(prepared, run)
    systems: dict[str, System] = {MEDMM: ours(run)}
    if config is not None:
        systems[CONFIG] = ours(config)
    for kind in get_args(FusionConfig.model_fields["kind"].annotation):
        if kind != run.fusion.kind:
            systems[f"medmm, {kind}"] = ours(fused(run, kind=kind))
    if len(sides) > 1:
        systems |= {f"medmm, {side} only": ours(fused(run, modalities=(side,))) for side in sides}
    if "note" in sides:
        systems["TF-IDF"] = _floor(_words)
    systems |= {f"{side} probe": _floor(partial(_probe, side)) for side in sides}
    if len(sides) > 1:
        systems |= {name: _floor(partial(_late, join, sides)) for name, join in LATE.items()}
        systems["concatenation probe"] = _floor(partial(_concatenation, sides))
    systems |= {f"plain {side} probe": _floor(partial(_plain, side)) for side in sides if side != "record"}
    if len(sides) > 1:
        systems["plain late stack"] = _floor(partial(_late, floors.late_stack, sides, probe=_plain))
    systems["Transchex"] = transchex
    systems["AutoGluon"] = autogluon
    return systems


def ours(run: RunConfig) -> System:
    """medmm, trained with these dials and the seed of the fold."""

    def answer(prepared: Prepared, fold: Fold, work: Path) -> Said:
        learned = learn_parts(prepared, fold.parts, with_seed(run, fold.seed), work, Silent())
        return Said(learned.probabilities("test"), learned.decisions.thresholds)

    return answer


class Silent:
    """Whom training tells of its progress here: nobody, since a fold takes seconds."""

    def encoded(self, done: int, total: int) -> None:
        """A case went through the encoders."""

    def epoch(self, stage: str, epoch: Epoch) -> None:
        """An epoch is over."""


def with_seed(run: RunConfig, seed: int) -> RunConfig:
    """The same dials with the seed of a fold."""
    return run.model_copy(update={"training": run.training.model_copy(update={"seed": seed})})


def fused(run: RunConfig, **dials: object) -> RunConfig:
    """The same dials with others for [fusion]."""
    fusion = FusionConfig.model_validate(run.fusion.model_dump() | dials)
    return run.model_copy(update={"fusion": fusion})


Timed = tuple[floors.Said, float]
"""What a floor says, and the seconds that it took to learn it."""


def _floor(model: Callable[[Prepared, Fold], Timed]) -> System:
    """A floor: it needs no validation patients, and learns from all cases outside the test fold."""

    def answer(prepared: Prepared, fold: Fold, work: Path) -> Said:
        said, seconds = model(prepared, fold)
        p, learn = floors.probabilities(said.logits, is_multi_class(prepared)), ~fold.test
        return Said(p[fold.test], thresholds_of(targets_of(prepared)[learn], p[learn]), seconds)

    return answer


def _words(prepared: Prepared, fold: Fold) -> Timed:
    return _timed(lambda: floors.words(texts(prepared), problem_of(prepared, fold)))


@cache
def _probe(side: str, prepared: Prepared, fold: Fold) -> Timed:
    """A side's probe, which the late ensembles share."""
    return _timed(lambda: floors.probe(pooled(prepared, side), problem_of(prepared, fold)))


@cache
def _plain(side: str, prepared: Prepared, fold: Fold) -> Timed:
    """A probe of the usual features, see `plain`."""
    return _timed(lambda: floors.probe(plain(prepared, side), problem_of(prepared, fold)))


def _concatenation(sides: Sequence[str], prepared: Prepared, fold: Fold) -> Timed:
    features = [pooled(prepared, side) for side in sides]
    return _timed(lambda: floors.concatenation(features, problem_of(prepared, fold)))


def _late(
    join: Join, sides: Sequence[str], prepared: Prepared, fold: Fold, probe: Callable[..., Timed] = _probe
) -> Timed:
    """A late ensemble of the probes; its time is theirs and its own."""
    probes = [probe(side, prepared, fold) for side in sides]
    said, seconds = _timed(lambda: join([probe for probe, _ in probes], problem_of(prepared, fold)))
    return said, seconds + sum(of_probe for _, of_probe in probes)


def _timed(learn: Callable[[], floors.Said]) -> Timed:
    start = time.perf_counter()
    said = learn()
    return said, time.perf_counter() - start


def problem_of(prepared: Prepared, fold: Fold) -> floors.Problem:
    """What a floor may learn from in a fold."""
    targets, multi_class = targets_of(prepared), is_multi_class(prepared)
    return floors.Problem.of(targets, prepared.patients, ~fold.test, multi_class, fold.seed)
