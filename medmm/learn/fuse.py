"""The stages that make a fusion: heads in folds, what their rule needs, the calibration.

Heads learn from the training and the validation patients, in folds, and all that follows is fitted on what they say of
cases that they have not seen: rules on both parts; gates, calibration and thresholds on those that validate. A rule
that learns by gradient starts as the stack of its own heads and departs from it only as far as held-out cases pay for
that. N cases, M modalities, L labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from medmm.case import MODALITIES
from medmm.config import TrainingConfig
from medmm.learn.auxiliary import Auxiliary
from medmm.learn.calibrate import by_pattern, calibrate
from medmm.learn.conjunction import choose_joint
from medmm.learn.fit import Epoch, Examples, infer, losses_of, stated
from medmm.learn.pays import by_patient, shown
from medmm.learn.probe import fit_probe, fit_terms
from medmm.learn.split import folds_by_patient
from medmm.learn.stack import choose_ridge, fit_matrix, fit_shares, fit_temperature, fit_weights
from medmm.learn.stage import Stage
from medmm.model.batch import Batch
from medmm.model.fusion import Corrected, CrossAttention, Fusion, Network, WeightedSum, centred, pattern_of
from medmm.model.heads import Copies, Head, Probe, Textbook
from medmm.model.terms import TermProbe

Tell = Callable[[str, Epoch], None]

_GATES = (0.0, 0.25, 0.5, 0.75, 1.0)
_MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)
_STACK_RIDGE = 2.0
_SCALE_RIDGE = 1.0
_INNER_FOLDS = 5


def train_network(
    network: Network, train: Examples, validation: Examples, config: TrainingConfig, work: Path, tell: Tell
) -> tuple[Examples, Examples]:
    """Run every stage that the network's body needs, then calibrate on validation.

    Returns:
        The training cases and the validation cases, with what heads said of them that had not seen the case, or none of
        those that validate: whatever else is chosen on them must be chosen with it.
    """
    if isinstance(network.body, Textbook):
        Stage("concat", work / "concat", tell).run(network.body, train, validation, config, network.multi_class)
    else:
        train, validation = train_fusion(network.body, train, validation, config, work, tell)
    calibrate(network, validation)
    return train, validation


def train_fusion(
    body: Fusion, train: Examples, validation: Examples, config: TrainingConfig, work: Path, tell: Tell
) -> tuple[Examples, Examples]:
    """Heads in folds; stack and shares on what they say of the fold they did not see; a correction on top.

    Returns:
        As `train_network`.
    """
    both = train.and_also(validation)
    heard = fit_heads(body, both, config, held_back=np.arange(len(both)) >= len(train))
    fit_stack(body, heard, both)
    if isinstance(body.rule, WeightedSum):
        fit_mixture(body, heard, both)
    train, validation = replace(train, heard=heard[: len(train)]), replace(validation, heard=heard[len(train) :])
    if isinstance(body.rule, Corrected):
        fit_conjunction(body, heard, both)
        learner = Auxiliary(body) if isinstance(body.rule, CrossAttention) else body
        Stage("interaction", work / "interaction", tell).run(learner, train, validation, config, body.multi_class)
        choose_gates(body, validation)
    return train, validation


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
    weight, bias = fit_weights(readings, cases.targets, multi_class, _STACK_RIDGE, towards=(1, 0))
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


def fit_stack(body: Fusion, heard: Tensor, train: Examples) -> None:
    """For each pattern of modalities, weigh what the heads said of held-out cases that have at least these."""
    ridge = _STACK_RIDGE
    if body.multi_class:
        fold_of = folds_by_patient(train.patients, _INNER_FOLDS, 0)
        ridge = choose_ridge(heard[:, torch.tensor(body.keep)], train.targets, fold_of)
    for pattern, keep, rows in by_pattern(body.keep, train):
        sources, targets = heard[rows][:, keep], train.targets[rows]
        if body.multi_class:
            weight, bias = fit_matrix(sources, targets, ridge)
        else:
            diagonal, bias = fit_weights(sources, targets, body.multi_class, ridge)
            weight = torch.diag_embed(diagonal)
        body.rule.stack_weight[pattern] = 0
        body.rule.stack_weight[pattern, keep] = weight
        body.rule.stack_bias[pattern] = bias


def fit_conjunction(body: Fusion, heard: Tensor, train: Examples) -> None:
    """Fit for each pattern what labels need of two parties of its sides, where held-out patients show that it pays.

    It is compared with the stack, each fitted to the other folds; classes that exclude each other keep the stack.
    """
    conjunction = cast("Corrected", body.rule).conjunction
    if body.multi_class:
        return
    for pattern, keep, rows in by_pattern(body.keep, train):
        if int(keep.sum()) < 2:
            continue
        cases = train.take(torch.nonzero(rows).flatten().tolist())
        fold_of = folds_by_patient(cases.patients, _INNER_FOLDS, 0)
        sources, targets = (one.double().numpy() for one in (heard[rows][:, keep], cases.targets))
        for label in range(body.labels):
            joint = choose_joint(sources[..., label], targets[:, label], fold_of, cases.patients, body.labels)
            if joint is not None:
                conjunction.party_weight[pattern, ..., label][:, keep] = torch.from_numpy(joint.party_weight).float()
                conjunction.party_bias[pattern, :, label] = torch.from_numpy(joint.bias)
                conjunction.table[pattern, :, label] = torch.from_numpy(joint.table)
                conjunction.pays[pattern, label] = True


def fit_mixture(body: Fusion, heard: Tensor, train: Examples) -> None:
    """The share of each side in a weighted sum, for each pattern, from the same held-out answers as the stack."""
    rule = cast("WeightedSum", body.rule)
    for pattern, keep, rows in by_pattern(body.keep, train):
        rule.share[pattern] = 0
        rule.share[pattern, keep] = fit_shares(heard[rows][:, keep], train.targets[rows], body.multi_class)


def choose_gates(body: Fusion, held_out: Examples) -> None:
    """How much of the correction each pattern gets: none, unless held-out patients show that it pays."""
    rule = cast("Corrected", body.rule)
    rule.gate.fill_(1)
    for pattern, keep, rows in by_pattern(body.keep, held_out):
        if int(keep.sum()) < 2 or int(rows.sum()) < 2:
            rule.gate[pattern] = 0
            continue
        cases = held_out.take(torch.nonzero(rows).flatten().tolist())
        full = infer(body, cases, keep=keep)
        floor = rule.joined(_heard(cases) * keep[None, :, None], torch.full((len(cases),), pattern))
        rule.gate[pattern] = _pays(floor, full - floor, cases, body.multi_class)


def _pays(floor: Tensor, correction: Tensor, cases: Examples, multi_class: bool) -> float:
    """The gate with the lowest loss, or 0 if patients do not show a gain."""
    asked = stated(cases.targets, multi_class).any(dim=1).numpy()
    patients = [patient for patient, one in zip(cases.patients, asked, strict=True) if one]
    before = losses_of(floor, cases.targets, multi_class).sum(dim=1)

    def gains(gate: float) -> np.ndarray:
        """What each patient's cases gain."""
        after = losses_of(floor + gate * correction, cases.targets, multi_class).sum(dim=1)
        return by_patient((before - after).numpy()[asked], patients)

    gain_of = {gate: gains(gate) for gate in _GATES}
    best = max(_GATES, key=lambda gate: float(gain_of[gate].sum()))
    return best if shown(gain_of[best]) else 0.0


def stacked_ensemble(body: Fusion, examples: Examples) -> Tensor:
    """Logits of the stack alone, whatever the rule: (N, L)."""
    present = examples.present & torch.tensor(body.keep)
    with torch.inference_mode():
        return body.rule.stacked(_said(body, examples), pattern_of(present))


def _said(body: Fusion, examples: Examples, batch_size: int = 64) -> Tensor:
    """What the heads say: (N, M, L)."""
    body.eval()
    batches = [range(i, min(i + batch_size, len(examples))) for i in range(0, len(examples), batch_size)]
    device = body.rule.stack_bias.device
    return torch.cat([body.said(examples.batch(which)[0].to(device)).cpu() for which in batches])


def _heard(examples: Examples) -> Tensor:
    """The cases' `heard`, which this stage cannot do without."""
    if examples.heard is None:
        raise ValueError("choosing gates needs what the heads said")
    return examples.heard
