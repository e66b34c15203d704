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
import torch
from torch import Tensor

from medmm.config import TrainingConfig
from medmm.learn.auxiliary import Auxiliary
from medmm.learn.calibrate import by_pattern, calibrate
from medmm.learn.conjunction import choose_joint
from medmm.learn.fit import Epoch, Examples, infer, losses_of, stated
from medmm.learn.heads import fit_heads
from medmm.learn.pays import by_patient, shown
from medmm.learn.split import folds_by_patient
from medmm.learn.stack import choose_ridge, fit_matrix, fit_shares, fit_weights
from medmm.learn.stage import Stage
from medmm.model.fusion import Corrected, CrossAttention, Fusion, Network, WeightedSum, pattern_of
from medmm.model.heads import Textbook

Tell = Callable[[str, Epoch], None]

_GATES = (0.0, 0.25, 0.5, 0.75, 1.0)
_STACK_RIDGE = 2.0
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


def fit_stack(body: Fusion, heard: Tensor, train: Examples) -> None:
    """For each pattern of modalities, weigh what the heads said of held-out cases that have at least these.

    Among classes all patterns share a ridge: where sides are often missing, some are fitted to few cases.
    """
    ridge = _STACK_RIDGE
    if body.multi_class:
        fold_of = folds_by_patient(train.patients, _INNER_FOLDS, 0)
        apart = {tuple(keep.tolist()): (keep, rows) for _, keep, rows in by_pattern(body.keep, train) if keep.any()}
        ridge = choose_ridge(
            (heard[rows][:, keep], train.targets[rows], fold_of[rows.numpy()]) for keep, rows in apart.values()
        )
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
