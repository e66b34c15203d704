"""Is a side drowned while attention is learnt, and what helps? Counter-measures on one set of encoded cases, by folds.

python -m benchmarks.balance COHORT --features FOLDER --measures none auxiliary teachers

Each fold fits heads and stack as training does, then learns the cross-attention with one measure: `none`; `auxiliary`,
a loss on what each side's summary token says when it is alone, as training does; `teachers`, the same drawn towards
what the side's head said of cases that it had not seen (Du et al. 2023); `alternating`, one loss at a time (Zhang et
al. 2024); `pareto`, gradients of the joint and the one-sided losses combined by least norm where they conflict (Wei and
Hu 2024); `blending`, sides weighed by how little they overfit (Wang et al. 2020). Figures are macro AUROC of held-out
patients: the stack, the stack and the whole correction, the gate's choice, and each side's summary token alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn

from medmm.case import MODALITIES
from medmm.config import RunConfig, TrainingConfig
from medmm.judge.metrics import auroc
from medmm.learn.encode import encode_cohort
from medmm.learn.fit import Examples, infer, loss_of
from medmm.learn.fuse import choose_gates, fit_stack, stacked_ensemble
from medmm.learn.heads import fit_heads
from medmm.learn.split import folds_by_patient
from medmm.model.batch import Batch
from medmm.model.encode import Encoders
from medmm.model.folder import build_network
from medmm.model.fusion import CrossAttention, Fusion
from medmm.model.interaction import Interaction
from medmm.read.cohort import read_cohort
from medmm.tensors import RecordBins
from pipelines.terminal import console

MEASURES = ("none", "auxiliary", "teachers", "alternating", "pareto", "blending")


def main() -> int:
    """Print one row a measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.balance", description=__doc__)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--features", type=Path, required=True, help="cache of encoded studies and notes")
    parser.add_argument("--measures", nargs="+", choices=MEASURES, default=MEASURES)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    examples, fresh = encoded(arguments.cohort, arguments.features)
    config = TrainingConfig(seed=arguments.seed)
    fold_of = folds_by_patient(examples.patients, arguments.folds, arguments.seed)
    table = Table("measure", "stack", "in full", "gated", *(f"{m} inside" for m in MODALITIES))
    for measure in arguments.measures:
        rows = [measured(measure, examples, fresh, fold_of == fold, config) for fold in range(arguments.folds)]
        table.add_row(measure, *(f"{value:.4f}" for value in np.mean(rows, axis=0)))
        console.print(measure, *(f"{value:.4f}" for value in np.mean(rows, axis=0)))
    console.print(table)
    return 0


def encoded(folder: Path, features: Path) -> tuple[Examples, Callable[[], Fusion]]:
    """All readable cases of a cohort, and what makes a fresh network for them."""
    cohort, run = read_cohort(folder), RunConfig()
    encoders = Encoders(run.encoders)
    cases = encode_cohort(cohort, encoders, features, lambda done, total: None).cases
    bins = RecordBins.learn(cohort.config.record, (case.case.record for case in cases))
    targets = torch.tensor([list(case.row.targets.values()) for case in cases], dtype=torch.float32)
    patients = tuple(case.row.patient_id for case in cases)

    def fresh() -> Fusion:
        body = build_network(cohort.config, run, encoders, bins).body
        assert isinstance(body, Fusion)
        return body

    return Examples(tuple(case.features(encoders, bins) for case in cases), patients, targets), fresh


def measured(
    measure: str, examples: Examples, fresh: Callable[[], Fusion], outside: np.ndarray, config: TrainingConfig
) -> list[float]:
    """Macro AUROC of the cases `outside` (N,): stack, correction in full, correction gated, each side alone."""
    torch.manual_seed(config.seed)
    body, test, inside = fresh(), examples.take(np.flatnonzero(outside)), np.flatnonzero(~outside)
    chooses = folds_by_patient([examples.patients[i] for i in inside], 6, config.seed) == 0
    train, validation = examples.take(inside[~chooses]), examples.take(inside[chooses])
    heard = fit_heads(body, train, config)
    fit_stack(body, heard, train)
    readouts = learn(measure, body, replace(train, heard=heard), _told(body, validation), config)
    answers = [stacked_ensemble(body, test), infer(body, test)]
    choose_gates(body, _told(body, validation))
    with torch.inference_mode():
        batch, _ = test.batch(range(len(test)))
        sides = side_logits(body, readouts, batch)
    return [macro(test.targets, said, body.multi_class) for said in (*answers, infer(body, test), *sides)]


def learn(measure: str, body: Fusion, train: Examples, validation: Examples, config: TrainingConfig) -> nn.ModuleList:
    """Train the correction and a linear readout of each side's summary; the weights of the best epoch stay."""
    interaction = interaction_of(body)
    labels = train.targets.shape[1]
    readouts = nn.ModuleList(nn.Linear(interaction.summary.shape[1], labels) for _ in MODALITIES)
    parameters = [*interaction.parameters(), *readouts.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    best, weights, waited = float("inf"), body.state_dict(), 0
    share, first = torch.ones(len(MODALITIES)), None
    for epoch in range(config.epochs):
        torch.manual_seed(config.seed * 100_003 + epoch)
        body.train()
        seen = torch.zeros(len(MODALITIES))
        order = np.random.default_rng([config.seed, epoch]).permutation(len(train))
        batches = [order[i : i + config.batch_size].tolist() for i in range(0, len(order), config.batch_size)]
        for turn, which in enumerate(batches):
            batch, targets = train.batch(which)
            joint = loss_of(body(batch), targets, body.multi_class)
            sides = torch.stack(side_losses(measure, body, readouts, batch, targets))
            seen += sides.detach() / len(batches)
            optimizer.zero_grad()
            if measure == "pareto":
                least_norm(joint, sides.sum(), parameters)
            elif measure == "alternating":
                [joint, *sides][turn % (1 + len(MODALITIES))].backward()
            else:
                total = joint + (0 if measure == "none" else 1) * (share * sides).sum()
                total.backward()  # type: ignore[no-untyped-call]  # torch's own
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        loss = float(loss_of(infer(body, validation), validation.targets, body.multi_class))
        if measure == "blending":
            batch, targets = validation.batch(range(len(validation)))
            with torch.no_grad():
                held_out = torch.stack(side_losses(measure, body, readouts, batch, targets))
            first = first or (seen, held_out)
            share = blended(first, (seen, held_out))
        waited = 0 if loss < best else waited + 1
        if loss < best:
            best, weights = loss, {name: value.clone() for name, value in body.state_dict().items()}
        if waited >= config.patience:
            break
    body.load_state_dict(weights)
    body.eval()
    return readouts.eval()


def side_logits(body: Fusion, readouts: nn.ModuleList, batch: Batch) -> list[Tensor]:
    """What the summary token of each side says when it is alone, without its head: M times (B, L)."""
    interaction = interaction_of(body)
    alone = interaction.alone(batch, interaction.tokens(batch))
    return [readout(alone[:, m]) for m, readout in enumerate(readouts)]


def side_losses(measure: str, body: Fusion, readouts: nn.ModuleList, batch: Batch, targets: Tensor) -> list[Tensor]:
    """The loss of each side alone, over the cases that have it; towards its teacher if that is the measure."""
    losses = []
    for m, logits in enumerate(side_logits(body, readouts, batch)):
        wanted = targets.masked_fill(~batch.present[:, m : m + 1], torch.nan)
        if measure == "teachers" and batch.heard is not None:
            heard = batch.heard[:, m]
            taught = heard.softmax(-1) if body.multi_class else heard.sigmoid()
            wanted = torch.where(wanted.isnan(), wanted, taught)
        losses.append(loss_of(logits, wanted, body.multi_class))
    return losses


def least_norm(joint: Tensor, sides: Tensor, parameters: list[nn.Parameter]) -> None:
    """Leave in `parameters` the sum of both gradients, or where they conflict twice their point of least norm."""
    pairs = [torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True) for loss in (joint, sides)]
    one, other = (
        torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(grads, parameters, strict=True)])
        for grads in pairs
    )
    weight = 0.5
    if float(one @ other) < 0:
        weight = float((((other - one) @ other) / (one - other).square().sum().clamp(min=1e-12)).clamp(0, 1))
    start = 0
    for parameter in parameters:
        end = start + parameter.numel()
        parameter.grad = 2 * (weight * one[start:end] + (1 - weight) * other[start:end]).reshape(parameter.shape)
        start = end


def blended(first: tuple[Tensor, Tensor], now: tuple[Tensor, Tensor]) -> Tensor:
    """(M,) weights of the sides, mean 1: what they gained on validation over the square of what they overfitted."""
    gained = (first[1] - now[1]).clamp(min=1e-3)
    overfitted = ((now[1] - now[0]) - (first[1] - first[0])).abs().clamp(min=1e-2)
    worth = gained / overfitted**2
    return worth / worth.mean()


def interaction_of(body: Fusion) -> Interaction:
    """The part that is learnt by gradient."""
    assert isinstance(body.rule, CrossAttention)
    return body.rule.interaction


def _told(body: Fusion, examples: Examples) -> Examples:
    """The same cases with what the heads say of them."""
    body.eval()
    with torch.no_grad():
        return replace(examples, heard=body.said(examples.batch(range(len(examples)))[0]))


def macro(targets: Tensor, logits: Tensor, multi_class: bool) -> float:
    """Mean AUROC over the labels."""
    chance = (logits.softmax(-1) if multi_class else logits.sigmoid()).numpy()
    return float(np.nanmean([auroc(targets[:, i].numpy(), chance[:, i]) for i in range(targets.shape[1])]))


if __name__ == "__main__":
    raise SystemExit(main())
