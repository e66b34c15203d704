"""Cross-modal attention in every direction: what the modalities say together and none says alone.

B cases, N tokens of one side, D width, L labels. Each side starts with a summary token that is never masked: it is
what the last layer reads, and all that is left of a side that is missing, so no special case follows below.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medmm.case import MODALITIES
from medmm.config import FusionConfig
from medmm.model.batch import Batch
from medmm.model.dropout import Dropout
from medmm.model.heads import Places, Widths


class CrossBlock(nn.Module):
    """Every token looks at the tokens of the other sides, then at those of its own; then it thinks alone.

    The last block leaves out what nothing reads: it gives back the summaries only.
    """

    def __init__(self, config: FusionConfig, last: bool) -> None:
        super().__init__()
        d = config.width
        self.last = last
        self.across = nn.ModuleDict({m: nn.MultiheadAttention(d, config.heads, batch_first=True) for m in MODALITIES})
        self.within = nn.ModuleDict({m: nn.MultiheadAttention(d, config.heads, batch_first=True) for m in MODALITIES})
        self.think = nn.ModuleDict(
            {m: nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d)) for m in MODALITIES}
        )
        self.norm = nn.ModuleDict({f"{m}_{at}": nn.LayerNorm(d) for m in MODALITIES for at in ("across", "within")})
        self.drop = Dropout(config.dropout)

    def forward(self, sides: dict[str, Tensor], masks: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sides (B, N, D) and masks (B, N), the same names -> sides of the same shapes, or (B, 1, D) of the last."""
        normed = {m: self.norm[f"{m}_across"](sides[m]) for m in MODALITIES}
        out = {}
        for m in MODALITIES:
            others = [other for other in MODALITIES if other != m]
            keys = torch.cat([normed[other] for other in others], dim=1)
            hidden = ~torch.cat([masks[other] for other in others], dim=1)
            heard, _ = self.across[m](normed[m], keys, keys, key_padding_mask=hidden, need_weights=False)
            crossed = sides[m] + self.drop(heard)
            own = self.norm[f"{m}_within"](crossed)
            asks = slice(0, 1) if self.last else slice(None)
            heard, _ = self.within[m](own[:, asks], own, own, key_padding_mask=~masks[m], need_weights=False)
            side = crossed[:, asks] + self.drop(heard)
            out[m] = side + self.drop(self.think[m](side))
        return out


class Interaction(nn.Module):
    """What the modalities add together, in log-odds; exactly 0 for a case that has fewer than two of them."""

    def __init__(self, widths: Widths, labels: int, config: FusionConfig) -> None:
        super().__init__()
        d = config.width
        self.image = _project(widths.image, config)
        self.note = _project(widths.note, config)
        self.record = nn.Parameter(torch.randn(widths.columns, widths.bins, d) * 0.1)
        self.column = nn.Parameter(torch.randn(widths.columns, d) * 0.1)
        self.places = Places(d)
        self.summary = nn.Parameter(torch.randn(len(MODALITIES), d) * 0.1)
        self.said = nn.Linear(labels, d)
        self.blocks = nn.ModuleList(CrossBlock(config, last=i + 1 == config.blocks) for i in range(config.blocks))
        self.read = nn.Sequential(nn.LayerNorm(len(MODALITIES) * d), Dropout(config.dropout))
        self.classify = nn.Linear(len(MODALITIES) * d, labels)
        nn.init.zeros_(self.classify.weight)
        nn.init.zeros_(self.classify.bias)

    def forward(self, batch: Batch, said: Tensor, tokens: dict[str, Tensor] | None = None) -> Tensor:
        """Batch and what each head said (B, M, L), 0 where the modality is absent -> (B, L).

        What `tokens` makes of the batch need not be made again if it is given.
        """
        together = batch.present.sum(dim=1, keepdim=True) >= 2
        sides = self._left(batch, self.tokens(batch) if tokens is None else tokens, said)
        left = torch.cat([sides[m] for m in MODALITIES], dim=1)  # (B, M x D)
        return torch.as_tensor(self.classify(self.read(left)) * together)

    def alone(self, batch: Batch, tokens: dict[str, Tensor]) -> Tensor:
        """What is left of each side when no other is there and no head has spoken: (B, M, D)."""
        silence = batch.image.new_zeros(len(batch.image), len(MODALITIES), self.said.in_features)
        left = []
        for m in MODALITIES:  # of a side that is missing its summary is there all the same
            only = {n: of if n == m else of[:, :0] for n, of in tokens.items()}
            left.append(self._left(batch, only, silence)[m])
        return torch.stack(left, dim=1)

    def tokens(self, batch: Batch) -> dict[str, Tensor]:
        """Each side's tokens before they have met, whether they are there or not: (B, N, D)."""
        return {
            "image": self.image(batch.image) + self.places(batch.place),
            "note": self.note(batch.note),
            "record": torch.einsum("brq,rqd->brd", batch.record, self.record) + self.column,
        }

    def _left(self, batch: Batch, tokens: dict[str, Tensor], said: Tensor) -> dict[str, Tensor]:
        """What is left of each side after all blocks: (B, D)."""
        there = {"image": batch.image_mask, "note": batch.note_mask, "record": batch.record_mask}
        summary = self.summary + self.said(said)  # (B, M, D): each side begins with what its head made of it
        sides = {m: torch.cat([summary[:, i : i + 1], tokens[m]], dim=1) for i, m in enumerate(MODALITIES)}
        masks = {m: nn.functional.pad(there[m][:, : tokens[m].shape[1]], (1, 0), value=True) for m in MODALITIES}
        for block in self.blocks:
            sides = block(sides, masks)
        return {m: sides[m][:, 0] for m in MODALITIES}


def _project(channels: int, config: FusionConfig) -> nn.Module:
    """An encoder's channels to the width of the fusion."""
    return nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, config.width), Dropout(config.dropout))
