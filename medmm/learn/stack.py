"""Few numbers, fitted exactly: how much each modality's answer weighs, and how logits become calibrated.

Both are one problem: logits = bias + sum over sources of weight x logit, convex, with weights that are never
negative and are drawn towards 1. N cases, S sources, L labels.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from medmm.learn.fit import losses_of


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
