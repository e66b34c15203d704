"""Few numbers, fitted exactly: how much each modality's answer weighs, and how logits become calibrated.

Both are one problem: logits = bias + sum over sources of weight x logit, convex, with weights that are never
negative and are drawn towards 1. Among classes that exclude each other what is said of one may count for another: there
the weights are a matrix that is drawn towards the identity. N cases, S sources, L labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax
from torch import Tensor

from medmm.learn.fit import losses_of, stated

_RIDGES = (1.0, 3.0, 10.0, 30.0, 100.0)
_EVEN = 4.0
_BIAS = 0.05
"""Penalty on the square of a bias, in cases."""
_STEPS = 200


def fit_weights(
    sources: Tensor, targets: Tensor, multi_class: bool, ridge: float, towards: Sequence[float] | None = None
) -> tuple[Tensor, Tensor]:
    """Fit weight (S, L) and bias (L,) by penalised maximum likelihood (L-BFGS-B).

    Args:
        sources: (N, S, L) logits.
        targets: (N, L), NaN where not stated.
        multi_class: softmax over L instead of L separate sigmoids.
        ridge: penalty on (weight - towards)^2, in cases.
        towards: weight of each source that is drawn to; 1 if None.
    """
    x, y = sources.double().numpy(), targets.double().numpy()
    count, labels = x.shape[1], x.shape[2]
    rest = np.ones((count, labels)) if towards is None else np.tile(np.array(towards)[:, None], (1, labels))
    start = np.concatenate([rest.ravel(), np.zeros(labels)])

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = flat[:-labels].reshape(count, labels), flat[-labels:]
        value, slope = _loss(bias + (weight * x).sum(axis=1), y, multi_class)
        value += ridge * ((weight - rest) ** 2).sum() + _BIAS * (bias**2).sum()
        by_weight = (slope[:, None] * x).sum(axis=0) + 2 * ridge * (weight - rest)
        return value, np.concatenate([by_weight.ravel(), slope.sum(axis=0) + 2 * _BIAS * bias])

    bounds = [(0.0, None)] * (count * labels) + [(None, None)] * labels
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    theta = torch.tensor(found.x, dtype=torch.float32)
    return theta[:-labels].reshape(count, labels), theta[-labels:]


def fit_matrix(sources: Tensor, targets: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Fit weight (S, L, L), from class to class, and bias (L,) by penalised maximum likelihood (L-BFGS-B).

    A class is never weighed against itself: the diagonals are at least 0.

    Args:
        sources: (N, S, L) logits.
        targets: (N, L), one 1 a row; a row of NaN is not stated.
        ridge: penalty on the squared distance from the identity, in cases.
    """
    x, y = sources.double().flatten(1).numpy(), targets.double().numpy()
    count, labels = sources.shape[1], sources.shape[2]
    identity = np.tile(np.eye(labels), (count, 1))  # (S L, L)
    start = np.concatenate([identity.ravel(), np.zeros(labels)])

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = flat[:-labels].reshape(count * labels, labels), flat[-labels:]
        value, slope = _loss(x @ weight + bias, y, multi_class=True)
        value += ridge * ((weight - identity) ** 2).sum() + _BIAS * (bias**2).sum()
        by_weight = x.T @ slope + 2 * ridge * (weight - identity)
        return value, np.concatenate([by_weight.ravel(), slope.sum(axis=0) + 2 * _BIAS * bias])

    bounds = [(0.0 if own else None, None) for own in identity.ravel()] + [(None, None)] * labels
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    theta = torch.tensor(found.x, dtype=torch.float32)
    return theta[:-labels].reshape(count, labels, labels), theta[-labels:]


def _loss(logits: np.ndarray, targets: np.ndarray, multi_class: bool) -> tuple[float, np.ndarray]:
    """The sum of `losses_of` over (N, L), and its slope by the logits."""
    known = np.nan_to_num(targets)
    if multi_class:
        said = log_softmax(logits, axis=1)
        return float(-(said * known).sum()), np.exp(said) * known.sum(axis=1, keepdims=True) - known
    told = ~np.isnan(targets)
    losses = np.logaddexp(0, logits) - logits * known
    return float(losses[told].sum()), np.where(told, expit(logits) - known, 0.0)


def choose_ridge(parts: Iterable[tuple[Tensor, Tensor, np.ndarray]]) -> float:
    """The ridge of `fit_matrix` with the lowest loss in held-out folds, all parts together.

    Args:
        parts: what is weighed apart, with one ridge: sources (N, S, L), targets (N, L) and the fold of each case (N,).
    """
    losses = dict.fromkeys(_RIDGES, 0.0)
    for sources, targets, fold_of in parts:
        for fold in np.unique(fold_of):
            outside = torch.from_numpy(fold_of == fold)
            for ridge in _RIDGES:
                weight, bias = fit_matrix(sources[~outside], targets[~outside], ridge)
                said = torch.einsum("nsl,slk->nk", sources[outside], weight) + bias
                losses[ridge] += float(losses_of(said, targets[outside], multi_class=True).sum())
    return min(_RIDGES, key=losses.__getitem__)


def fit_temperature(logits: Tensor, targets: Tensor, ridge: float, *, multi_class: bool) -> float:
    """One scale for all logits (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    Args:
        logits: (N, L).
        targets: (N, L), NaN where not stated.
        ridge: penalty on (scale - 1)^2, in cases.
        multi_class: softmax over L instead of L separate sigmoids.
    """

    def objective(scale: float) -> float:
        return float(losses_of(scale * logits.double(), targets.double(), multi_class).sum()) + ridge * (scale - 1) ** 2

    return float(minimize_scalar(objective, bounds=(0.05, 20.0), method="bounded").x)


def fit_shares(sources: Tensor, targets: Tensor, multi_class: bool) -> Tensor:
    """Shares (S, L) of a weighted sum of probabilities that make the answers most likely; each label's sum to one.

    A concave problem, solved by expectation-maximisation (Dempster 1977) from even shares, which weigh as much as
    `_EVEN` cases. Classes have one set of shares, or their probabilities would not sum to one.

    Args:
        sources: (N, S, L) logits.
        targets: (N, L), NaN where not stated.
        multi_class: softmax over L instead of L separate sigmoids.
    """
    sides = sources.shape[1]
    each = losses_of(sources.flatten(0, 1).double(), targets.double().repeat_interleave(sides, dim=0), multi_class)
    likelihood = (-each).exp().clamp(min=1e-300).reshape(len(targets), sides, each.shape[1])
    known = stated(targets, multi_class)[:, None].double()
    share = torch.full(likelihood.shape[1:], 1 / max(sides, 1), dtype=torch.float64)
    for _ in range(_STEPS):
        part = share * likelihood
        owed = (known * part / part.sum(dim=1, keepdim=True)).sum(dim=0) + _EVEN / max(sides, 1)
        share = owed / owed.sum(dim=0)
    return share.float().expand(-1, targets.shape[1])
