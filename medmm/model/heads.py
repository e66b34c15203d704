"""One head for each modality: what the picture, the note or the record says on its own.

B cases, P patches or word pieces, C channels, R record columns, Q numbers a column, D width, L labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medmm.case import MODALITIES
from medmm.config import FusionConfig
from medmm.model.batch import Batch


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


class TokenHead(nn.Module):
    """Tokens -> labels: a linear probe of their mean, and attention of each label over the tokens.

    The attention is that of multiple-instance learning (Ilse et al. 2018): one patch or one word can decide.
    """

    def __init__(self, modality: str, channels: int, labels: int, config: FusionConfig) -> None:
        super().__init__()
        self.modality = modality
        self.norm = nn.LayerNorm(channels)
        self.drop = nn.Dropout(config.dropout)
        self.probe = nn.Linear(channels, labels)
        self.project = nn.Linear(channels, config.width)
        self.places = Places(config.width) if modality == "image" else None
        self.score = nn.Linear(config.width, labels)
        self.read = nn.Parameter(torch.zeros(labels, config.width))

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, L); a case without this modality gets a finite answer that nothing may use."""
        tokens = batch.image if self.modality == "image" else batch.note
        mask = batch.image_mask if self.modality == "image" else batch.note_mask
        tokens = self.norm(tokens)
        mean = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)  # (B, C)
        hidden = self.project(self.drop(tokens))
        if self.places is not None:
            hidden = hidden + self.places(batch.place)
        hidden = nn.functional.gelu(hidden)  # (B, P, D)
        scores = self.score(torch.tanh(hidden)).masked_fill(~mask[..., None], -1e4)  # (B, P, L)
        pooled = torch.einsum("bpl,bpd->bld", scores.softmax(dim=1), self.drop(hidden))
        return torch.as_tensor(self.probe(self.drop(mean)) + (pooled * self.read).sum(-1))


class RecordHead(nn.Module):
    """Record values -> labels: a sum of one curve a value and label (a generalised additive model)."""

    def __init__(self, columns: int, bins: int, labels: int) -> None:
        super().__init__()
        self.curve = nn.Parameter(torch.zeros(columns, bins, labels))
        self.level = nn.Parameter(torch.zeros(columns, labels))
        self.bias = nn.Parameter(torch.zeros(labels))

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, L); a value that was not taken adds nothing."""
        added = torch.einsum("brq,rql->brl", batch.record, self.curve) + self.level  # (B, R, L)
        return self.bias + (added * batch.record_mask[..., None]).sum(1)


class Widths(tuple[int, int, int, int]):
    """Sizes that the data and the encoders dictate: image channels, note channels, record columns, numbers a column."""


def make_head(modality: str, widths: Widths, labels: int, config: FusionConfig) -> nn.Module:
    """A fresh head for one of MODALITIES."""
    image, note, columns, bins = widths
    if modality == "record":
        return RecordHead(columns, bins, labels)
    return TokenHead(modality, {"image": image, "note": note}[modality], labels, config)


class Textbook(nn.Module):
    """The baseline of the textbooks: BERT's [CLS], the pooled image and the record, concatenated, one linear layer.

    With a 768-wide BERT and ResNet-50 that is 768 + 2048 numbers. What is missing is zeros.
    """

    def __init__(self, widths: Widths, labels: int, config: FusionConfig) -> None:
        super().__init__()
        image, note, columns, bins = widths
        self.keep = [name in config.modalities for name in MODALITIES]
        self.width = image + note + columns * (bins + 1)
        self.classify = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(self.width, labels))

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, L)."""
        batch = batch.only(torch.tensor(self.keep, device=batch.image.device))
        image_mask = batch.image_mask[..., None]
        image = (batch.image * image_mask).sum(1) / image_mask.sum(1).clamp(min=1)
        cls = batch.note[:, 0] * batch.note_mask[:, 0:1]
        record = (batch.record * batch.record_mask[..., None]).flatten(1)
        return torch.as_tensor(self.classify(torch.cat([image, cls, record, batch.record_mask.float()], dim=1)))
