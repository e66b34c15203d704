"""Fit a trained model to another place, without training it: its calibration, thresholds and limits, or its prevalence.

medmm calibrate RUN LOCAL_COHORT --out LOCAL
medmm calibrate RUN --out LOCAL --prevalence pneumonia=0.08
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medmm.config import CohortConfig, read_toml
from medmm.errors import ConfigError
from medmm.judge.words import counted
from medmm.learn.evaluate import unmet
from medmm.learn.local import Local, at_prevalence, estimated, refitted
from medmm.learn.split import read_split, write_split
from medmm.model.folder import Model
from medmm.read.cohort import read_cohort
from pipelines import terminal
from pipelines.score import as_taught, labelled, load, model_folder

_SLACK = 1e-6


def calibrate_model(
    run: Path,
    cohort: Path | None,
    out: Path,
    *,
    prevalence: Sequence[str] = (),
    external: bool = False,
    cache: Path | None = None,
    workers: int | None = None,
) -> Model:
    """Leave in `out`/model a copy of the model of `run` that fits a cohort, or a prevalence that is known.

    With labels the cohort's patients choose calibration, thresholds and limits anew. Without labels the prevalence is
    estimated from what the model says of them, as where `prevalence` names it. Patients that the model has met are left
    out: it is surer of them than of new ones.

    Raises:
        CohortError: if no other patient is left, or the run does not say whom it has met.
        ConfigError: if neither a cohort nor a prevalence is given, or a prevalence is no share of a label.
    """
    if (out / "model").resolve() == model_folder(run).resolve():
        raise ConfigError("the model would be written over", "Name another --out folder")
    model = load(run)
    if prevalence:
        if cohort is not None:
            raise ConfigError("both a cohort and a prevalence were given", "Give one of them")
        local = at_prevalence(model, _shares(model, prevalence))
    elif cohort is None:
        raise ConfigError("neither a cohort nor a prevalence was given", "Give a cohort, or --prevalence LABEL=SHARE")
    else:
        path = cohort / "cohort.toml"
        unanswered = path.is_file() and read_toml(path, CohortConfig).labels is None
        read = read_cohort(cohort, as_taught(model.card, path)) if unanswered else labelled(model.card, cohort)
        new = unmet(read, run, external=external)
        if met := len(read.rows) - len(new.rows):
            terminal.console.print(f"{counted(met, 'case')} of patients that the model has met: left out")
        with terminal.counting("Encoding") as progress:
            fit = estimated if unanswered else refitted
            local = fit(model, new, cache or out / "features", progress, workers)
    _say(model, local)
    saved = Model.save(out / "model", local.card, local.network, model.encoders, model.likeness, model.typical)
    _write_split(out / "split.csv", run / "split.csv", local.case_ids)
    terminal.console.print(f"Model {saved.model_id} in {out / 'model'}; what it learnt is as before")
    return saved


def _shares(model: Model, given: Sequence[str]) -> dict[str, float]:
    """LABEL=SHARE, for some labels."""
    shares = {}
    for one in given:
        name, _, value = one.partition("=")
        try:
            shares[name] = float(value)
        except ValueError:
            shares[name] = float("nan")
        if name not in model.labels or not 0 < shares[name] < 1:
            raise ConfigError(
                f"'{one}' is no prevalence of a label of the model",
                f"Write it as {model.labels[0]}=0.1; known here: {', '.join(model.labels)}",
            )
    if model.network.multi_class and sum(shares.values()) > 1 + _SLACK:
        raise ConfigError(
            f"of classes that exclude each other {sum(shares.values()):.2f} of the patients are named",
            "Give shares whose sum is 1 at most",
        )
    return shares


def _write_split(path: Path, before: Path, case_ids: Sequence[str]) -> None:
    """Whom the model has met, so that `medmm evaluate` leaves them out: those of the run, and the local ones.

    Where the model does not say whom it learnt from, neither does this one.
    """
    if before.is_file():
        write_split(path, read_split(before) | dict.fromkeys(case_ids, "validation"))
    else:
        path.unlink(missing_ok=True)


def _say(model: Model, local: Local) -> None:
    """The prevalence that the model knew, and the one that it knows now; of how many cases."""
    for label in model.labels:
        before, after = model.card.prevalence[label], local.card.prevalence[label]
        at = f"flagged from {model.card.thresholds[label]:.3f}, now from {local.card.thresholds[label]:.3f}"
        terminal.console.print(f"{label}: prevalence {before:.1%}, now {after:.1%}; {at}")
    if model.card.limits and not local.card.limits:
        terminal.console.print(
            "Of three or more classes, thresholds are an estimate at another prevalence, and no error is promised any "
            "more: 'medmm calibrate' with a cohort that has answers chooses both anew"
        )
    if local.case_ids:
        terminal.console.print(f"Fitted to {len(local.case_ids)} cases")
