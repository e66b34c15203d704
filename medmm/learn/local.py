"""A trained model made to fit another place: its probabilities, thresholds and limits, and nothing that it learnt.

With local answers calibration and decisions are chosen on them as they were on validation patients. Without, only the
prevalence is moved (Elkan 2001, "The Foundations of Cost-Sensitive Learning"), known or estimated (Saerens 2002). That
holds where the same disease looks the same in both places, and only how many have it differs. L labels, P patterns.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit, logit

from medmm.errors import CohortError
from medmm.learn.calibrate import Decisions, calibrate, decide
from medmm.learn.encode import Progress
from medmm.learn.examples import encode, examples_of
from medmm.learn.fit import Examples, infer
from medmm.model.card import Card
from medmm.model.folder import Model, limits_by_name
from medmm.model.fusion import PATTERNS, Network
from medmm.read.cohort import Cohort

_STEPS = 1000
_STILL = 1e-7
_LEAST = 1e-3
"""Prevalence of a label that no case of training had; likewise of one that all had."""
_FEWEST = 20
"""Cases below which nothing is fitted."""


@dataclass(frozen=True, slots=True, eq=False)
class Local:
    """What is saved: the card and the network of a model that fits a place."""

    card: Card
    network: Network
    case_ids: tuple[str, ...] = ()
    """Local cases that it was fitted to."""


def refitted(model: Model, cohort: Cohort, cache: Path, progress: Progress, workers: int | None = None) -> Local:
    """Calibration, thresholds, limits and prevalence, chosen on the cases of a labelled cohort.

    Raises:
        CohortError: if its labels are not the model's, a label has not both answers, or it is too small.
    """
    if cohort.labels != model.labels:
        raise CohortError(
            f"the cohort's labels are not the model's: {', '.join(model.labels)}", "Name these in [labels]"
        )
    cohort.require_both_answers()
    cases = _examples(model, cohort, cache, progress, workers)
    network = model.network.uncalibrated()
    calibrate(network, cases)
    decisions = decide(network, cases, model.card.run.decision)
    shares = np.nanmean(cases.targets.numpy(), axis=0)
    return Local(_card(model, dict(zip(model.labels, shares.tolist(), strict=True)), decisions), network, _ids(cases))


def estimated(model: Model, cohort: Cohort, cache: Path, progress: Progress, workers: int | None = None) -> Local:
    """The prevalence that explains best what the model says of a cohort without labels.

    Raises:
        CohortError: if it is too small.
    """
    cases = _examples(model, cohort, cache, progress, workers)
    said = infer(model.network, cases).sigmoid().numpy().astype(np.float64)
    taught = np.clip([model.card.prevalence[label] for label in model.labels], _LEAST, 1 - _LEAST)
    shares = estimate_prevalence(said, taught, multi_class=model.network.multi_class)
    local = at_prevalence(model, dict(zip(model.labels, shares.tolist(), strict=True)))
    return Local(local.card, local.network, _ids(cases))


def at_prevalence(model: Model, shares: Mapping[str, float]) -> Local:
    """Probabilities as they are where some labels have another prevalence; those not named keep theirs.

    Thresholds and limits move with the probabilities, so that the same cases are called as before; only a threshold
    that was stated as a probability stays where it is. Of classes the shares are made to sum to one; where there are
    three or more, how far a probability moves is decided by what is said of the others too: thresholds move as if they
    shared it as before, and no limit is left, since none could keep its promise.
    """
    labels, multi_class = model.labels, model.network.multi_class
    before = np.clip([model.card.prevalence[label] for label in labels], _LEAST, 1 - _LEAST)
    after = np.array([shares.get(label, before[i]) for i, label in enumerate(labels)])
    if multi_class:
        named = np.array([label in shares for label in labels])
        rest = max(1 - after[named].sum(), 1e-6) if not named.all() else 0.0
        after[~named] *= rest / max(after[~named].sum(), 1e-12)
        after = after / after.sum()
    network = copy.deepcopy(model.network)
    moved = np.log(after / before) if multi_class else logit(after) - logit(before)
    network.moved += torch.from_numpy(moved).float()
    odds = logit(after) - logit(before)
    thresholds = np.array([model.card.thresholds[label] for label in labels])
    if model.card.run.decision.aim != "net_benefit":
        thresholds = _moved(thresholds, odds)
    limits = _limits(model)
    decisions = Decisions(thresholds, _moved(limits, odds[None, :, None]))
    card = _card(model, dict(zip(labels, after.tolist(), strict=True)), decisions)
    if multi_class and len(labels) > 2:
        card = card.model_copy(update={"limits": {}})
    return Local(card, network)


def estimate_prevalence(probabilities: np.ndarray, taught: np.ndarray, *, multi_class: bool) -> np.ndarray:
    """The shares (L,) under which calibrated probabilities (N, L) are most likely: expectation-maximisation.

    Args:
        probabilities: (N, L), calibrated where the shares were `taught`.
        taught: (L,).
        multi_class: one share for each of the classes, which sum to one; instead of one for each label.
    """
    shares = taught.copy()
    for _ in range(_STEPS):
        yes = probabilities * (shares / taught)
        no = (1 - probabilities) * ((1 - shares) / (1 - taught))
        following = (yes / yes.sum(axis=1, keepdims=True) if multi_class else yes / (yes + no)).mean(axis=0)
        still = np.abs(following - shares).max() < _STILL
        shares = np.clip(following, 1e-6, 1 - 1e-6)
        if still:
            break
    return shares


def _examples(model: Model, cohort: Cohort, cache: Path, progress: Progress, workers: int | None) -> Examples:
    cases = encode(model, cohort, cache, progress, workers).cases
    if len(cases) < _FEWEST:
        raise CohortError(f"{len(cases)} readable cases are too few to fit a model to", f"Give {_FEWEST} at least")
    return examples_of(cases, model.labels, model.encoders, model.bins)


def _ids(cases: Examples) -> tuple[str, ...]:
    return tuple(case.case_id for case in cases.features)


def _card(model: Model, shares: Mapping[str, float], decisions: Decisions) -> Card:
    return model.card.model_copy(
        update={
            "prevalence": dict(shares),
            "thresholds": dict(zip(model.labels, decisions.thresholds.tolist(), strict=True)),
            "limits": limits_by_name(model.labels, decisions.limits),
        }
    )


def _limits(model: Model) -> np.ndarray:
    """Limits (PATTERNS, L, 2) of a model; where it has none nothing is said."""
    limits = np.tile([0.0, 1.0], (PATTERNS, len(model.labels), 1))
    for label, name in enumerate(model.labels):
        for pattern, found in enumerate(model.card.limits.get(name, {}).values()):  # in the order of patterns
            limits[pattern, label] = found
    return limits


def _moved(probabilities: np.ndarray, odds: np.ndarray) -> np.ndarray:
    """Probabilities with log-odds added; 0 and 1, which promise nothing, stay."""
    inside = (probabilities > 0) & (probabilities < 1)
    moved = expit(logit(np.clip(probabilities, 1e-12, 1 - 1e-12)) + odds)
    return np.where(inside, moved, probabilities)
