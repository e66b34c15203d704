"""The model: heads for each modality, the stack that weighs them, and the interaction that may correct it.

    logits = stack(heads) + gate * interaction        then, by pattern of present modalities, calibration

A pattern is the set of modalities that a case has, as a number from 0 to 7; each has its own stack, gate and
calibration, so a missing side is not a special case of a complete one. B cases, M modalities, L labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medmm.case import MODALITIES
from medmm.config import FusionConfig
from medmm.model.batch import Batch
from medmm.model.heads import Probe, Textbook, Widths
from medmm.model.interaction import Interaction

PATTERNS = 2 ** len(MODALITIES)


def pattern_of(present: Tensor) -> Tensor:
    """(B, M) bool -> (B,) from 0 (nothing) to 7 (image, note and record)."""
    return (present.long() * torch.tensor([1, 2, 4], device=present.device)).sum(dim=1)


def modalities_of(pattern: int) -> Tensor:
    """The inverse: (M,) bool."""
    return torch.tensor([bool(pattern & bit) for bit in (1, 2, 4)])


class Fusion(nn.Module):
    """Late fusion by a stack in log-odds (a product of experts with weights), plus cross-modal attention."""

    stack_weight: Tensor
    stack_bias: Tensor
    gate: Tensor

    def __init__(self, widths: Widths, labels: int, multi_class: bool, config: FusionConfig) -> None:
        super().__init__()
        self.multi_class = multi_class
        self.keep = [name in config.modalities for name in MODALITIES]
        self.modality_dropout = config.modality_dropout
        self.heads = nn.ModuleDict({m: Probe(m, widths, labels) for m in config.modalities})
        self.interaction = Interaction(widths, labels, config)
        self.register_buffer("stack_weight", torch.ones(PATTERNS, len(MODALITIES), labels))
        self.register_buffer("stack_bias", torch.zeros(PATTERNS, labels))
        self.register_buffer("gate", torch.ones(PATTERNS, labels))

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, L) logits before calibration."""
        keep = torch.tensor(self.keep, device=batch.image.device).expand(len(batch.image), -1)
        if self.training:
            keep = keep & (torch.rand(keep.shape, device=keep.device) >= self.modality_dropout)
        batch = batch.only(keep)
        said = self.said(batch)
        at = pattern_of(batch.present)
        correction: Tensor = self.interaction(batch, said)
        return self.stacked(said, at) + self.gate[at] * correction

    def said(self, batch: Batch) -> Tensor:
        """What each head says: (B, M, L); 0 where the modality is absent."""
        if batch.heard is not None:
            said = batch.heard
        else:
            zero = torch.zeros(len(batch.image), self.gate.shape[1], device=batch.image.device)
            said = torch.stack([self.heads[m](batch) if m in self.heads else zero for m in MODALITIES], dim=1)
            said = centred(said) if self.multi_class else said
        return said * batch.present[..., None]

    def stacked(self, said: Tensor, pattern: Tensor) -> Tensor:
        """The stack alone: (B, M, L) and patterns (B,) -> (B, L). This is the late ensemble."""
        return self.stack_bias[pattern] + (self.stack_weight[pattern] * said).sum(dim=1)


def centred(logits: Tensor) -> Tensor:
    """Logits of classes with mean 0, since a softmax does not see their mean and a stack would."""
    return logits - logits.mean(dim=-1, keepdim=True)


class Network(nn.Module):
    """A body that gives logits, and the calibration that turns them into log-odds that mean what they say."""

    scale: Tensor
    shift: Tensor

    def __init__(self, widths: Widths, labels: int, multi_class: bool, config: FusionConfig) -> None:
        super().__init__()
        self.multi_class = multi_class
        self.body: Fusion | Textbook = (
            Textbook(widths, labels, config) if config.kind == "concat" else Fusion(widths, labels, multi_class, config)
        )
        self.keep = [name in config.modalities for name in MODALITIES]
        self.register_buffer("scale", torch.ones(PATTERNS, labels))
        self.register_buffer("shift", torch.zeros(PATTERNS, labels))

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, L) calibrated log-odds of each label."""
        batch = batch.only(torch.tensor(self.keep, device=batch.image.device))
        return self.calibrated(self.body(batch), pattern_of(batch.present))

    def calibrated(self, logits: Tensor, pattern: Tensor) -> Tensor:
        """Logits (B, L) of cases with these patterns (B,) -> log-odds (B, L)."""
        logits = (self.scale[pattern] * logits + self.shift[pattern]).double()
        if not self.multi_class:
            return logits
        log_p = logits.log_softmax(dim=-1)
        others = torch.stack(
            [
                logits.masked_fill(torch.eye(logits.shape[1], device=logits.device)[c].bool(), -torch.inf).logsumexp(-1)
                for c in range(logits.shape[1])
            ],
            dim=1,
        ) - logits.logsumexp(dim=-1, keepdim=True)
        return log_p - others
