"""One head for each modality, and the textbook's baseline: linear models that can be fitted exactly.

B cases, P patches or word pieces, C channels, R record columns, Q numbers a column, F pooled features, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medmm.case import MODALITIES
from medmm.config import FusionConfig
from medmm.model.batch import Batch

_POOLS = 3


@dataclass(frozen=True, slots=True)
class Widths:
    """Sizes that the data and the encoders dictate."""

    image: int
    """Channels of a patch."""
    note: int
    """Channels of a word piece; the second half is BERT's last layer."""
    columns: int
    """Record columns."""
    bins: int
    """Numbers a record column."""

    def pooled(self, modality: str) -> int:
        """Length of `Pool`'s vector for one of MODALITIES."""
        record = self.columns * (self.bins + 1)
        return {"image": _POOLS * self.image, "note": _POOLS * self.note, "record": record}[modality]


class Pool(nn.Module):
    """One vector a case: mean, largest and smallest of a modality's tokens; of the record, all its values.

    One patch or one word can decide, so the extremes stand beside the mean. What is missing is zeros.
    """

    def __init__(self, modality: str) -> None:
        super().__init__()
        self.modality = modality

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, F)."""
        if self.modality == "record":
            taken = batch.record_mask.float()
            return torch.cat([(batch.record * taken[..., None]).flatten(1), taken], dim=1)
        image = self.modality == "image"
        tokens, mask = (batch.image, batch.image_mask) if image else (batch.note, batch.note_mask)
        hidden, some = ~mask[..., None], mask.any(dim=1, keepdim=True)
        parts = [
            tokens.masked_fill(hidden, 0).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1),
            tokens.masked_fill(hidden, -torch.inf).amax(dim=1),
            tokens.masked_fill(hidden, torch.inf).amin(dim=1),
        ]
        return torch.cat(parts, dim=1).masked_fill(~some, 0)


class Probe(nn.Module):
    """What one modality says on its own: a linear probe of its pooled features; fitted by learn, never by gradient."""

    centre: Tensor
    spread: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, modality: str, widths: Widths, labels: int) -> None:
        super().__init__()
        self.pool = Pool(modality)
        features = widths.pooled(modality)
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.register_buffer("weight", torch.zeros(labels, features))
        self.register_buffer("bias", torch.zeros(labels))

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, L); a case without this modality gets a finite answer that nothing may use."""
        features = (self.pool(batch) - self.centre) / self.spread
        return torch.as_tensor(features @ self.weight.T + self.bias)


class Places(nn.Module):
    """Where a patch lies and in which view, as a vector: sines of the position and an embedding of the view."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.pi * 2.0 ** torch.arange(4), persistent=False)
        self.position = nn.Linear(16, width)
        self.view = nn.Embedding(3, width)

    def forward(self, place: Tensor) -> Tensor:
        """(B, P, 3) -> (B, P, D)."""
        angles = (place[..., :2, None] * self.frequencies).flatten(2)  # (B, P, 8)
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1)
        return torch.as_tensor(self.position(waves) + self.view(place[..., 2].long()))


class Textbook(nn.Module):
    """The baseline of the textbooks: BERT's [CLS], the pooled image and the record, concatenated, one linear layer.

    With a 768-wide BERT and ResNet-50 that is 768 + 2048 numbers. What is missing is zeros.
    """

    def __init__(self, widths: Widths, labels: int, config: FusionConfig) -> None:
        super().__init__()
        self.keep = [name in config.modalities for name in MODALITIES]
        self.cls_width = widths.note // 2
        self.record = Pool("record")
        self.width = widths.image + self.cls_width + widths.pooled("record")
        self.classify = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(self.width, labels))

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, L)."""
        batch = batch.only(torch.tensor(self.keep, device=batch.image.device))
        image_mask = batch.image_mask[..., None]
        image = (batch.image * image_mask).sum(1) / image_mask.sum(1).clamp(min=1)
        cls = batch.note[:, 0, -self.cls_width :] * batch.note_mask[:, 0:1]
        return torch.as_tensor(self.classify(torch.cat([image, cls, self.record(batch)], dim=1)))
