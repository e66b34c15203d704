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

    def forward(self, batch: Batch, said: Tensor) -> Tensor:
        """Batch and what each head said (B, M, L), 0 where the modality is absent -> (B, L)."""
        together = batch.present.sum(dim=1, keepdim=True) >= 2
        return torch.as_tensor(self.classify(self.read(self.summaries(batch, said).flatten(1))) * together)

    def summaries(self, batch: Batch, said: Tensor) -> Tensor:
        """What is left of each side after all blocks: (B, M, D)."""
        tokens = {
            "image": self.image(batch.image) + self.places(batch.place),
            "note": self.note(batch.note),
            "record": torch.einsum("brq,rqd->brd", batch.record, self.record) + self.column,
        }
        masks = {"image": batch.image_mask, "note": batch.note_mask, "record": batch.record_mask}
        summary = self.summary + self.said(said)  # (B, M, D): each side begins with what its head made of it
        for i, m in enumerate(MODALITIES):
            tokens[m] = torch.cat([summary[:, i : i + 1], tokens[m]], dim=1)
            masks[m] = nn.functional.pad(masks[m], (1, 0), value=True)
        for block in self.blocks:
            tokens = block(tokens, masks)
        return torch.stack([tokens[m][:, 0] for m in MODALITIES], dim=1)


def _project(channels: int, config: FusionConfig) -> nn.Module:
    """An encoder's channels to the width of the fusion."""
    return nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, config.width), Dropout(config.dropout))
