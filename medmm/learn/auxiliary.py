"""What each side would say alone is asked too while attention is learnt, so that no side is drowned by another.

The correction starts beside heads that already rank well, and the loss of all sides together soon falls with one of
them heard. A loss for each side by itself keeps every side's tokens telling (auxiliary unimodal losses, as in Wang et
al. 2020, "What Makes Training Multi-Modal Classification Networks Hard?"; others were measured, see docs/accuracy.md).
B cases, M modalities, L labels, D width.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from medmm.case import MODALITIES
from medmm.model.batch import Batch
from medmm.model.fusion import CrossAttention, Fusion, pattern_of


class Auxiliary(nn.Module):
    """A fusion by attention while it learns. What reads each side is left behind when learning is over."""

    def __init__(self, body: Fusion) -> None:
        super().__init__()
        self.body = body
        width = self._rule.interaction.summary.shape[1]
        self.read = nn.ModuleDict({m: nn.Linear(width, body.labels) for m in MODALITIES})
        for parameter in self.read.parameters():
            nn.init.zeros_(parameter)  # says nothing at first, and the same in every process

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, L) logits; while learning (B, 1 + M, L), behind all sides together each one alone."""
        if not self.training:
            return torch.as_tensor(self.body(batch))
        shown, interaction = self.body.shown(batch), self._rule.interaction
        said, tokens = self.body.said(shown), interaction.tokens(batch)  # which cost the most, and serve twice
        together = self._rule.joined(said, pattern_of(shown.present)) + interaction(shown, said, tokens)
        alone = interaction.alone(batch, tokens)  # (B, M, D)
        sides = [self.read[m](alone[:, i]) for i, m in enumerate(MODALITIES)]
        return torch.stack([together, *sides], dim=1)

    def asked(self, batch: Batch, targets: Tensor) -> Tensor:
        """What the answers of `forward` should be (B, 1 + M, L): of a side that is absent or not used, nothing."""
        there = batch.present & torch.tensor(self.body.keep)
        alone = targets[:, None].masked_fill(~there[..., None], torch.nan)  # (B, M, L)
        return torch.cat([targets[:, None], alone], dim=1)

    @property
    def _rule(self) -> CrossAttention:
        return cast("CrossAttention", self.body.rule)
