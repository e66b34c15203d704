"""Probabilities that mean what they say, where to flag, and when not to say: all chosen on validation patients.

For each pattern of present modalities validation cases that have these, and maybe others, are looked at as if they had
no others. N cases, M modalities, L labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor
from torch.nn import functional

from medmm.config import DecisionConfig
from medmm.judge.conformal import limits_of
from medmm.judge.metrics import sensitivity_threshold, youden_threshold
from medmm.learn.fit import Examples, infer, losses_of
from medmm.learn.pays import by_patient, shown
from medmm.learn.split import folds_by_patient
from medmm.learn.stack import fit_temperature, fit_weights
from medmm.model.fusion import PATTERNS, Network, bent, modalities_of

_FOLDS = 5
_RIDGE = 4.0
"""In cases: how much speaks for leaving a probability as it is."""

_SUREST = 1e-9
"""How near to 0 or 1 a probability may come while a curve is fitted."""

Curve = tuple[Tensor, Tensor, Tensor]
"""Scale (2, K), shift (K,) and bounds (2, K) of K labels, see `bent`."""


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """Where a model flags, and when it does not say."""

    thresholds: np.ndarray
    """(L,)."""
    limits: np.ndarray
    """(PATTERNS, L, 2), see medmm.judge.conformal.limits_of."""


def calibrate(network: Network, validation: Examples) -> None:
    """Choose for each label and pattern the curve that turns logits into log-odds, and fit it.

    Of none, temperature (Guo 2017), Platt's (1999), beta (Kull 2017) and Platt's between two bounds it is the one with
    the lowest loss on held-out folds of the validation patients. Classes that exclude each other have one temperature
    or none, since a curve for each would change which of them is the likeliest, and all patterns have the same.
    """
    if network.multi_class:
        parts = [(cases, infer(network.body, cases, keep=keep)) for _, keep, cases in _asked(network, validation)]
        targets, logits = torch.cat([cases.targets for cases, _ in parts]), torch.cat([said for _, said in parts])
        patients = [patient for cases, _ in parts for patient in cases.patients]
        network.scale.fill_(_one_scale(logits, targets, patients))
        return
    for pattern, keep, cases in _asked(network, validation):
        logits, fold_of = infer(network.body, cases, keep=keep), folds_by_patient(cases.patients, _FOLDS, 0)
        for label in range(logits.shape[1]):
            curve = _choose(logits[:, [label]], cases.targets[:, [label]], fold_of, knows=bool(keep.any()))
            network.scale[pattern, :, label], network.shift[pattern, label] = curve[0][:, 0], curve[1][0]
            network.bounds[pattern, :, label] = curve[2][:, 0]


def decide(network: Network, validation: Examples, config: DecisionConfig) -> Decisions:
    """Thresholds for the aim of `config`, and limits for its error."""
    limits = np.tile([0.0, 1.0], (PATTERNS, validation.targets.shape[1], 1))
    targets = validation.targets.numpy()
    for pattern, keep, cases in _asked(network, validation):
        said, answers = _probabilities(network, cases, keep), cases.targets.numpy()
        limits[pattern] = [limits_of(answers[:, i], said[:, i], config.error) for i in range(targets.shape[1])]
    said = _probabilities(network, validation)
    return Decisions(np.array([_threshold(config, targets[:, i], said[:, i]) for i in range(targets.shape[1])]), limits)


def _probabilities(network: Network, cases: Examples, keep: Tensor | None = None) -> np.ndarray:
    return np.asarray(infer(network, cases, keep=keep).sigmoid().numpy().astype(np.float64))


def _threshold(config: DecisionConfig, targets: np.ndarray, probabilities: np.ndarray) -> float:
    match config.aim:
        case "sensitivity":
            return sensitivity_threshold(targets, probabilities, config.sensitivity)
        case "net_benefit":
            return config.risk
        case _:
            return youden_threshold(targets, probabilities)


def by_pattern(known: Sequence[bool], examples: Examples) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Each pattern, which modalities it shows to a model that knows some (M,), and the cases that have them (N,)."""
    for pattern in range(PATTERNS):
        keep = modalities_of(pattern) & torch.tensor(known)
        yield pattern, keep, (examples.present | ~keep).all(dim=1)


def _asked(network: Network, validation: Examples) -> Iterator[tuple[int, Tensor, Examples]]:
    """Each pattern, which modalities it shows (M,), and the cases that have them, where there are any."""
    for pattern, keep, rows in by_pattern(network.keep, validation):
        if rows.any():
            yield pattern, keep, validation.take(torch.nonzero(rows).flatten().tolist())


def _one_scale(logits: Tensor, targets: Tensor, patients: Sequence[str]) -> float:
    """The temperature of classes (N, L) that exclude each other; 1 unless patients show that another gains.

    The rule before it was fitted to the same kind of answers, of more cases.
    """
    gains, fold_of = torch.zeros(len(targets), dtype=torch.float64), folds_by_patient(patients, _FOLDS, 0)
    for fold in np.unique(fold_of):
        outside = torch.from_numpy(fold_of == fold)
        scale = fit_temperature(logits[~outside], targets[~outside], _RIDGE, multi_class=True)
        before, after = (losses_of(one * logits[outside], targets[outside], True).sum(dim=1) for one in (1.0, scale))
        gains[outside] = (before - after).double()
    if not shown(by_patient(gains.numpy(), patients)):
        return 1.0
    return fit_temperature(logits, targets, _RIDGE, multi_class=True)


def _none(logits: Tensor, targets: Tensor) -> Curve:
    return torch.ones(2, logits.shape[1]), torch.zeros(logits.shape[1]), _free(logits)


def _temperature(logits: Tensor, targets: Tensor) -> Curve:
    scale = fit_temperature(logits, targets, _RIDGE, multi_class=False)
    return torch.full((2, logits.shape[1]), scale), torch.zeros(logits.shape[1]), _free(logits)


def _platt(logits: Tensor, targets: Tensor) -> Curve:
    scale, shift = fit_weights(logits[:, None], targets, False, _RIDGE)
    return scale.expand(2, -1), shift, _free(logits)


def _beta(logits: Tensor, targets: Tensor) -> Curve:
    sources = torch.stack([functional.logsigmoid(logits), functional.softplus(logits)], dim=1)
    scale, shift = fit_weights(sources, targets, False, _RIDGE)
    return scale, shift, _free(logits)


def _bounded(logits: Tensor, targets: Tensor, platt: Curve) -> Curve:
    """Platt's line between two bounds (N, 1): the four-parameter logistic curve, from Platt's on.

    A film alone may show one of two things that a label needs: however clear it is, the label is never sure.
    """
    from scipy.optimize import minimize

    stated = torch.isfinite(targets[:, 0])
    z, y = logits[stated, 0].double().numpy(), targets[stated, 0].double().numpy()
    scale, shift, _ = platt

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        slope, level, low, high = at
        rise, reach = expit(slope * z + level), max(high - low, 0.0)
        said = np.clip(low + reach * rise, _SUREST, 1 - _SUREST)
        by_p = (1 - y) / (1 - said) - y / said
        by_level = by_p * reach * rise * (1 - rise)
        by_slope = by_level @ z + 2 * _RIDGE * (slope - 1)
        gradient = [by_slope, by_level.sum(), by_p @ (1 - rise) + _RIDGE, by_p @ rise - _RIDGE]
        penalty = _RIDGE * ((slope - 1) ** 2 + low + 1 - high)
        return float(-(y * np.log(said) + (1 - y) * np.log(1 - said)).sum() + penalty), np.array(gradient)

    bounds = [(0.05, 20.0), (-20.0, 20.0), (0.0, 0.45), (0.05, 1.0)]
    start = np.array([max(float(scale[0, 0]), 0.05), float(shift[0]), 0.01, 0.99])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    slope, level, low, high = found.x
    high = max(high, low + 0.01)
    return torch.full((2, 1), slope).float(), torch.tensor([level]).float(), torch.tensor([[low], [high]]).float()


def _free(logits: Tensor) -> Tensor:
    """No bounds."""
    return torch.tensor([0.0, 1.0])[:, None].repeat(1, logits.shape[1])


def _curves(logits: Tensor, targets: Tensor) -> Iterator[Curve]:
    """All that are tried, fitted to logits and targets (N, 1), from the plainest."""
    yield _none(logits, targets)
    yield _temperature(logits, targets)
    platt = _platt(logits, targets)
    yield platt
    yield _beta(logits, targets)
    yield _bounded(logits, targets, platt)


def _choose(logits: Tensor, targets: Tensor, fold_of: np.ndarray, *, knows: bool) -> Curve:
    """The best curve of one label, fitted to all cases; of two that are as good the plainer.

    Args:
        logits: (N, 1).
        targets: (N, 1).
        fold_of: (N,).
        knows: whether the model saw anything of the cases; if not, all logits are one, and only a shift can help.
    """
    if not knows:
        scale, shift = fit_weights(logits[:, None], _softened(targets), False, _RIDGE)
        return torch.ones(2, 1), shift + (scale[0] - 1) * logits[:1].mean(dim=0), _free(logits)
    losses = []
    for fold in np.unique(fold_of):
        outside = torch.from_numpy(fold_of == fold)
        curves = _curves(logits[~outside], _softened(targets[~outside]))
        said = [bent(logits[outside], *curve) for curve in curves]
        losses.append([float(losses_of(one, targets[outside], False).sum()) for one in said])
    best = int(np.argmin(np.sum(losses, axis=0)))
    return next(islice(_curves(logits, _softened(targets)), best, None))


def _softened(targets: Tensor) -> Tensor:
    """Answers as sure as so many can make one (Platt 1999): 1 becomes (n + 1) / (n + 2), 0 becomes 1 / (n + 2).

    Where all of a few cases have a label, or none has, no curve ends in certainty.
    """
    ones, zeros = (targets == 1).sum(), (targets == 0).sum()
    return torch.where(targets == 1, (ones + 1) / (ones + 2), torch.where(targets == 0, 1 / (zeros + 2), targets))
