"""The loop: it only learns. Whoever iterates prints, saves and stops.

N cases, L labels. The order of cases and every dropout of an epoch follow from the seed and the epoch's number, so
a run that was killed and resumed ends with the numbers of one that was not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medmm.config import TrainingConfig
from medmm.learn.auxiliary import Auxiliary
from medmm.learn.processes import accelerator, from_main, share, summed
from medmm.model.batch import Batch, Features, collate
from medmm.model.dropout import share_of_batch

_KINDS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SCALE = 2.0**12
"""Of a loss in float16 as an epoch begins; anew in each, so that an epoch does not depend on those before a stop."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Encoded cases with their answers."""

    features: tuple[Features, ...]
    patients: tuple[str, ...]
    targets: Tensor
    """(N, L) float32: 1 present, 0 absent, NaN not stated."""
    heard: Tensor | None = None
    """(N, M, L), see Batch.heard."""

    def __len__(self) -> int:
        return len(self.features)

    @property
    def present(self) -> Tensor:
        """(N, M) bool."""
        return torch.tensor([case.present for case in self.features], dtype=torch.bool).reshape(-1, 3)

    def take(self, which: Sequence[int] | np.ndarray) -> Examples:
        """Some of the cases, in the order of `which`."""
        index = [int(i) for i in which]
        return replace(
            self,
            features=tuple(self.features[i] for i in index),
            patients=tuple(self.patients[i] for i in index),
            targets=self.targets[index],
            heard=None if self.heard is None else self.heard[index],
        )

    def and_also(self, others: Examples) -> Examples:
        """These cases and behind them others, without what heads said."""
        targets = torch.cat([self.targets, others.targets])
        return Examples(self.features + others.features, self.patients + others.patients, targets)

    def batch(self, which: Sequence[int]) -> tuple[Batch, Tensor]:
        """Collate some of the cases."""
        heard = None if self.heard is None else self.heard[list(which)]
        return collate([self.features[i] for i in which], heard), self.targets[list(which)]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the training cases came to."""

    number: int
    train_loss: float
    held_out_loss: float
    at_most: int = 0
    """Epochs that the stage may have; it may stop early. 0 if that is not known."""


def loss_of(logits: Tensor, targets: Tensor, multi_class: bool) -> Tensor:
    """Mean cross-entropy over the stated labels (multi-label) or the stated cases (multi-class)."""
    return (losses_of(logits, targets, multi_class)).sum() / stated(targets, multi_class).sum().clamp(min=1)


def losses_of(logits: Tensor, targets: Tensor, multi_class: bool) -> Tensor:
    """Cross-entropy of each stated label (N, ..., L), or of each stated case (N, ..., 1); 0 where it is not stated."""
    known = targets.nan_to_num()
    if multi_class:
        return -(logits.log_softmax(-1) * known).sum(-1, keepdim=True)
    losses = functional.binary_cross_entropy_with_logits(logits, known, reduction="none")
    return losses * stated(targets, multi_class)


def stated(targets: Tensor, multi_class: bool) -> Tensor:
    """Where an answer is: (N, ..., L) bool, or (N, ..., 1) for classes."""
    known = ~targets.isnan()
    return known.any(dim=-1, keepdim=True) if multi_class else known


def fit(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Examples,
    held_out: Examples,
    config: TrainingConfig,
    *,
    multi_class: bool,
    first_epoch: int = 0,
) -> Iterator[Epoch]:
    """Train the parameters that `optimizer` holds, one epoch a step; never ends by itself before config.epochs.

    Several processes share each batch and end with the numbers of one: each collates the whole batch, so that padding
    and every random number are those of the whole, and computes its own rows.
    """
    here = accelerator()
    learner = here.prepare_model(network)
    kind = _KINDS[config.precision]
    for number in range(first_epoch, config.epochs):
        torch.manual_seed(config.seed * 100_003 + number)
        order = np.random.default_rng([config.seed, number]).permutation(len(train))
        scaler = torch.amp.GradScaler(here.device.type, init_scale=_SCALE, enabled=kind == torch.float16)
        network.train()
        total = 0.0
        for start in range(0, len(order), config.batch_size):
            which = order[start : start + config.batch_size].tolist()
            batch, targets = train.batch(which)
            targets = network.asked(batch, targets) if isinstance(network, Auxiliary) else targets
            own = share(range(len(which)))
            rows = own or [0]  # a process that has no row computes one that counts for nothing
            with share_of_batch(rows, len(which)), torch.autocast(here.device.type, kind, kind != torch.float32):
                logits = learner(_rows(batch, rows).to(here.device))
            losses = losses_of(logits.float(), targets[rows].to(here.device), multi_class)[: len(own)]
            loss = losses.sum() / stated(targets, multi_class).sum().clamp(min=1).to(here.device)
            optimizer.zero_grad()
            scaler.scale(loss * here.num_processes).backward()  # the mean of the processes' gradients is the whole's
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            total += float(loss.detach()) * len(which)
        logits = infer(network, held_out, config.batch_size)
        held_out_loss = from_main(float(loss_of(logits, held_out.targets, multi_class)))
        yield Epoch(number, summed(total) / max(len(train), 1), held_out_loss, config.epochs)


def _rows(batch: Batch, rows: list[int]) -> Batch:
    """Some rows of a batch, padded as the whole is."""
    if len(rows) == len(batch.image):
        return batch
    named = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(batch, **{name: value[rows] for name, value in named.items() if value is not None})


@torch.inference_mode()
def infer(network: nn.Module, examples: Examples, batch_size: int = 64, keep: Tensor | None = None) -> Tensor:
    """What `network` says of each case, in eval mode: (N, L) on the CPU; (N, ..., L) of one that says more.

    Args:
        network: Batch -> (B, L).
        examples: the cases; their `heard`, if any, is used.
        batch_size: cases at a time; it changes nothing but the memory.
        keep: (M,) bool, the modalities that the network may use; all if None.
    """
    network.eval()
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    out = []
    for start in range(0, len(examples), batch_size):
        batch, _ = examples.batch(range(start, min(start + batch_size, len(examples))))
        batch = batch if keep is None else batch.only(keep)
        out.append(network(batch.to(device)).float().cpu())
    return torch.cat(out) if out else torch.zeros(0, examples.targets.shape[1])
