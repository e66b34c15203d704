"""Few numbers, fitted exactly: how much each modality's answer weighs, and how logits become calibrated.

Both are one problem: logits = bias + sum over sources of weight x logit, convex, with weights that are never
negative and are drawn towards 1. Among classes that exclude each other what is said of one may count for another: there
the weights are a matrix that is drawn towards the identity. N cases, S sources, L labels.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor

from medmm.learn.fit import losses_of, stated

_RIDGES = (1.0, 3.0, 10.0, 30.0, 100.0)
_EVEN = 4.0
_STEPS = 200


def fit_weights(sources: Tensor, targets: Tensor, multi_class: bool, ridge: float) -> tuple[Tensor, Tensor]:
    """Fit weight (S, L) and bias (L,) by penalised maximum likelihood (L-BFGS-B).

    Args:
        sources: (N, S, L) logits.
        targets: (N, L), NaN where not stated.
        multi_class: softmax over L instead of L separate sigmoids.
        ridge: penalty on (weight - 1)^2, in cases.
    """
    x, y = sources.double(), targets.double()
    count, labels = x.shape[1], x.shape[2]
    start = np.concatenate([np.ones(count * labels), np.zeros(labels)])

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        theta = torch.tensor(flat, requires_grad=True)
        weight, bias = theta[: count * labels].reshape(count, labels), theta[count * labels :]
        logits = bias + (weight * x).sum(dim=1)
        penalty = ridge * ((weight - 1) ** 2).sum() + 0.05 * (bias**2).sum()
        value = losses_of(logits, y, multi_class).sum() + penalty
        (gradient,) = torch.autograd.grad(value, theta)
        return float(value.detach()), gradient.numpy()

    bounds = [(0.0, None)] * (count * labels) + [(None, None)] * labels
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    theta = torch.tensor(found.x, dtype=torch.float32)
    return theta[: count * labels].reshape(count, labels), theta[count * labels :]


def fit_matrix(sources: Tensor, targets: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Fit weight (S, L, L), from class to class, and bias (L,) by penalised maximum likelihood (L-BFGS-B).

    A class is never weighed against itself: the diagonals are at least 0.

    Args:
        sources: (N, S, L) logits.
        targets: (N, L), one 1 a row; a row of NaN is not stated.
        ridge: penalty on the squared distance from the identity, in cases.
    """
    x, y = sources.double().flatten(1), targets.double()
    count, labels = sources.shape[1], sources.shape[2]
    identity = torch.eye(labels, dtype=torch.float64).repeat(count, 1)  # (S L, L)
    start = np.concatenate([identity.numpy().ravel(), np.zeros(labels)])

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        theta = torch.tensor(flat, requires_grad=True)
        weight, bias = theta[:-labels].reshape(count * labels, labels), theta[-labels:]
        penalty = ridge * ((weight - identity) ** 2).sum() + 0.05 * (bias**2).sum()
        value = losses_of(x @ weight + bias, y, multi_class=True).sum() + penalty
        (gradient,) = torch.autograd.grad(value, theta)
        return float(value.detach()), gradient.numpy()

    bounds = [(0.0 if own else None, None) for own in identity.numpy().ravel()] + [(None, None)] * labels
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    theta = torch.tensor(found.x, dtype=torch.float32)
    return theta[:-labels].reshape(count, labels, labels), theta[-labels:]


def choose_ridge(sources: Tensor, targets: Tensor, fold_of: np.ndarray) -> float:
    """The largest ridge of `fit_matrix` whose loss in held-out folds (N,) is within a standard error of the lowest."""
    losses = torch.zeros(len(_RIDGES), len(targets))
    for fold in np.unique(fold_of):
        outside = torch.from_numpy(fold_of == fold)
        for number, ridge in enumerate(_RIDGES):
            weight, bias = fit_matrix(sources[~outside], targets[~outside], ridge)
            said = torch.einsum("nsl,slk->nk", sources[outside], weight) + bias
            losses[number, outside] = losses_of(said, targets[outside], multi_class=True)[:, 0]
    more = losses - losses[losses.mean(dim=1).argmin()]
    close = more.mean(dim=1) <= more.std(dim=1) / len(targets) ** 0.5
    return max(ridge for ridge, near in zip(_RIDGES, close.tolist(), strict=True) if near)


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
