"""Heads: what each modality says on its own, fitted exactly, and in folds what it says of cases that it has not seen.

A head is two probes of pooled tokens, of a note its words too, and what taught copies of the encoder say, mixed label
by label as held-out cases prefer. N cases, M modalities, L labels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from medmm.case import MODALITIES
from medmm.config import TrainingConfig
from medmm.learn.fit import Examples, infer, losses_of
from medmm.learn.probe import fit_probe, fit_terms
from medmm.learn.split import folds_by_patient
from medmm.learn.stack import fit_temperature, fit_weights
from medmm.model.batch import Batch
from medmm.model.fusion import Fusion, centred
from medmm.model.heads import Copies, Head, Probe
from medmm.model.terms import TermProbe

_MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)
_COPIES_RIDGE = 2.0
_SCALE_RIDGE = 1.0


def fit_heads(body: Fusion, train: Examples, config: TrainingConfig, held_back: np.ndarray | None = None) -> Tensor:
    """Fit the head of each modality; what it said of cases that it had not seen, see `fit_probe`: (N, M, L)."""
    heard = torch.zeros(len(train), len(MODALITIES), train.targets.shape[1])
    fold_of = folds_by_patient(train.patients, config.folds, config.seed)
    apart = np.zeros(len(train), dtype=bool) if held_back is None else held_back
    for m, modality in enumerate(MODALITIES):
        has = np.flatnonzero(train.present[:, m].numpy())
        if modality not in body.heads or not len(has):
            continue
        cases, head = train.take(has), cast("Head", body.heads[modality])
        held_out = fit_head(head, cases, fold_of[has], apart[has], body.multi_class)
        heard[has, m] = centred(held_out) if body.multi_class else held_out
    return heard


def fit_head(head: Head, cases: Examples, fold_of: np.ndarray, held_back: np.ndarray, multi_class: bool) -> Tensor:
    """Fit the parts of a head, and their mix on what they said of cases that they had not seen: (N, L)."""
    said = fit_pooled(head.probe, cases, fold_of, held_back, multi_class)
    if head.terms is not None:
        stand = fit_words(head.terms, cases, fold_of, held_back, multi_class)
        said = _mixed(head.mix, stand, said, cases.targets, multi_class, losses_of)
    if head.copies is not None:
        copies = fit_copies(head.copies, cases, multi_class)
        said = _mixed(head.trust, said, copies, cases.targets, multi_class, _scaled_losses)
    return said


def _mixed(
    mix: Tensor,
    first: Tensor,
    second: Tensor,
    targets: Tensor,
    multi_class: bool,
    judged: Callable[[Tensor, Tensor, bool], Tensor],
) -> Tensor:
    """Choose each label's share of the second part, of classes the same for all; what they say mixed: (N, L)."""
    losses = torch.stack([judged(first.lerp(second, one), targets, multi_class).sum(dim=0) for one in _MIXES])
    mix.copy_(torch.tensor(_MIXES)[losses.argmin(dim=0)])
    return first.lerp(second, mix.cpu())


def fit_pooled(head: Probe, cases: Examples, fold_of: np.ndarray, held_back: np.ndarray, multi_class: bool) -> Tensor:
    """Fit a probe of pooled tokens; what it said of cases that it had not seen: (N, L).

    It is two, of all features and of the few that are plain, mixed as far as held-out cases, of those that are not held
    back, pay for it by more than a standard error. Both are linear, and so is their mix. Where cases are few, extremes
    over patches, or bins of a number, may cost more than they tell.
    """
    features, targets = infer(head.pool, cases).numpy(), cases.targets.numpy()
    whole, few = (
        fit_probe(x, targets, fold_of, multi_class=multi_class, held_back=held_back)
        for x in (features, np.asarray(features @ head.plain))
    )
    first, second = (torch.from_numpy(probe.held_out).float() for probe in (few, whole))
    teach = torch.from_numpy(~held_back) if not held_back.all() else slice(None)
    mix = _worth(first[teach], second[teach], cases.targets[teach], multi_class)
    weight, bias = few.on(head.plain, whole.centre, whole.spread)
    share = mix.double().numpy()
    head.centre.copy_(torch.from_numpy(whole.centre))
    head.spread.copy_(torch.from_numpy(whole.spread))
    head.weight.copy_(torch.from_numpy(share[:, None] * whole.weight + (1 - share[:, None]) * weight))
    head.bias.copy_(torch.from_numpy(share * whole.bias + (1 - share) * bias))
    return first.lerp(second, mix)


def _worth(first: Tensor, second: Tensor, targets: Tensor, multi_class: bool) -> Tensor:
    """Each label's share of the second part (L,): all, unless another gains more than a standard error.

    Each mix is judged at the scale that suits it best, as the stack will hear it: a head that knows little would
    otherwise be chosen for saying less.
    """
    losses = torch.stack([_scaled_losses(first.lerp(second, one), targets, multi_class) for one in _MIXES])
    best = losses.sum(dim=1).argmin(dim=0)
    gain = losses[-1] - losses.gather(0, best.expand(1, *losses.shape[1:]))[0]
    pays = gain.mean(dim=0) > gain.std(dim=0, correction=0) / len(gain) ** 0.5
    return torch.where(pays, torch.tensor(_MIXES)[best], 1.0)


def _scaled_losses(logits: Tensor, targets: Tensor, multi_class: bool) -> Tensor:
    """See losses_of, with a scale for each label, of classes one for all."""
    if multi_class:
        return losses_of(fit_temperature(logits, targets, _SCALE_RIDGE, multi_class=True) * logits, targets, True)
    weight, bias = fit_weights(logits[:, None], targets, False, _SCALE_RIDGE)
    return losses_of(weight * logits + bias, targets, False)


def fit_copies(copies: Copies, cases: Examples, multi_class: bool) -> Tensor:
    """Weigh the mean and the largest of what taught copies say, each of cases that it has not met: (N, L).

    Taught in company they say too much alone, so that their scale is fitted too; the largest counts as far as it pays.
    """
    readings = infer(copies.cells, cases)
    weight, bias = fit_weights(readings, cases.targets, multi_class, _COPIES_RIDGE, towards=(1, 0))
    copies.weight.copy_(weight)
    copies.bias.copy_(bias)
    return (weight * readings).sum(dim=1) + bias


def fit_words(
    terms: TermProbe, cases: Examples, fold_of: np.ndarray, held_back: np.ndarray, multi_class: bool
) -> Tensor:
    """Fit a probe of the words as they stand; what it said of cases that it had not seen: (N, L)."""
    stands = _sparse(terms.stand, cases)
    terms.learn(torch.from_numpy(np.asarray(stands.sum(axis=0)).ravel()))
    shares, targets = _sparse(terms.shares, cases), cases.targets.numpy()
    weight, bias, held_out = fit_terms(shares, targets, fold_of, multi_class=multi_class, held_back=held_back)
    terms.weight.copy_(torch.from_numpy(weight))
    terms.bias.copy_(torch.from_numpy(bias))
    return torch.from_numpy(held_out).float()


@torch.inference_mode()
def _sparse(terms: Callable[[Batch], Tensor], cases: Examples, batch_size: int = 64) -> scipy.sparse.csr_matrix:
    """The terms of cases, of which each has few: (N, BUCKETS)."""
    batches = [range(i, min(i + batch_size, len(cases))) for i in range(0, len(cases), batch_size)]
    return scipy.sparse.vstack([scipy.sparse.csr_matrix(terms(cases.batch(which)[0]).numpy()) for which in batches])
