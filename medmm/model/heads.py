"""One head for each modality, and the textbook's baseline: linear models that can be fitted exactly.

B cases, P patches or word pieces, C channels, R record columns, Q numbers a column, F pooled features, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn

from medmm.case import MODALITIES
from medmm.config import FusionConfig
from medmm.model.batch import DEPTH, KIND, PRIOR, VIEW, Batch
from medmm.model.dropout import Dropout
from medmm.model.terms import TermProbe

_POOLS = 3
_MOST_SHOWN = 0.9
"""Share of one case's tokens from which on it is quicker to ask what changes where few are hidden."""


Channels: TypeAlias = tuple[int, int]
"""The first one, and the one behind the last."""


@dataclass(frozen=True, slots=True)
class Widths:
    """Sizes that the data and the encoders dictate."""

    image: int
    """Channels of a patch."""
    note: int
    """Channels of a word piece."""
    layer: int
    """Those of one layer of the text network: the middle one's come first, then those of the last, see TextEncoder."""
    columns: int
    """Record columns."""
    bins: int
    """Numbers a record column."""
    prior: bool = False
    """Whether cases may have a prior study, which is pooled apart."""
    image_copies: Channels = (0, 0)
    """The channels of a patch in which taught copies of the encoder speak, see Taught; none of a frozen encoder."""
    note_copies: Channels = (0, 0)
    """Those of a word piece."""
    steps: tuple[tuple[float, ...], ...] = ()
    """See RecordBins; of a network that will learn."""

    def copies(self, modality: str) -> Channels:
        """The channels of one of MODALITIES in which taught copies speak."""
        return {"image": self.image_copies, "note": self.note_copies, "record": (0, 0)}[modality]

    def pooled(self, modality: str, *, frozen: bool = False) -> int:
        """Length of `Pool`'s vector for one of MODALITIES; of the frozen channels alone if told."""
        first, behind = self.copies(modality) if frozen else (0, 0)
        record = self.columns * (self.bins + 1)
        image, note = _POOLS * (self.image - behind + first), _POOLS * (self.note - behind + first)
        return {"image": (1 + self.prior) * image, "note": note, "record": record}[modality]

    def plain(self, modality: str) -> scipy.sparse.csr_matrix:
        """From `Pool`'s vector of the frozen channels (F,) to the few that are plain (K,): F x K.

        Of tokens the mean; of a number the number itself and not its bins; all else of a record as it is.
        """
        eye = scipy.sparse.eye
        if modality == "record":
            steps = self.steps or ((),) * self.columns
            whole = [np.pad(one, (0, self.bins - len(one)))[:, None] if one else eye(self.bins) for one in steps]
            return scipy.sparse.block_diag([*whole, eye(self.columns)], format="csr")
        parts = 1 + (modality == "image" and self.prior)
        channels = self.pooled(modality, frozen=True) // (_POOLS * parts)
        means = scipy.sparse.vstack([eye(channels), scipy.sparse.csr_matrix(((_POOLS - 1) * channels, channels))])
        return scipy.sparse.block_diag([means] * parts, format="csr")


class Pool(nn.Module):
    """One vector a case: mean, largest and smallest of a modality's tokens; of the record, all its values.

    One patch or one word can decide, so the extremes stand beside the mean. What is missing is zeros. The prior study
    is pooled on its own and stands behind the study of now, or is left out.
    """

    def __init__(self, modality: str, prior: bool, without: Channels = (0, 0)) -> None:
        super().__init__()
        self.modality = modality
        self.prior = prior and modality == "image"
        self.without = without

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, F)."""
        if self.modality == "record":
            taken = batch.record_mask.float()
            return torch.cat([(batch.record * taken[..., None]).flatten(1), taken], dim=1)
        if self.modality == "note":
            return _pooled(self._frozen(batch.note), batch.note_mask)
        image = self._frozen(batch.image)
        now = _pooled(image, batch.image_mask & ~batch.prior)
        return torch.cat([now, _pooled(image, batch.prior)], dim=1) if self.prior else now

    def _frozen(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, C) without the channels that are left out."""
        first, behind = self.without
        if not behind:
            return tokens
        before, after = tokens[..., :first], tokens[..., behind:]
        return torch.cat([before, after], dim=-1) if after.shape[-1] else before  # a view costs nothing


def _pooled(tokens: Tensor, mask: Tensor) -> Tensor:
    """Tokens (B, N, C) and mask (B, N) -> mean, largest and smallest: (B, 3C); zeros where nothing is."""
    if len(tokens) > 1 and tokens.stride(0) == 0 and mask.float().mean() > _MOST_SHOWN:
        parts = _pooled_alike(tokens[0], mask)
    else:
        away = torch.zeros_like(mask, dtype=tokens.dtype).masked_fill(~mask, torch.inf)[
            ..., None
        ]  # cheaper than a fill
        mean = (mask[:, None].to(tokens.dtype) @ tokens)[:, 0] / mask.sum(dim=1, keepdim=True).clamp(min=1)
        parts = [mean, (tokens - away).amax(dim=1), (tokens + away).amin(dim=1)]
    return torch.cat(parts, dim=1).masked_fill(~mask.any(dim=1, keepdim=True), 0)


def _pooled_alike(tokens: Tensor, mask: Tensor) -> list[Tensor]:
    """The same of one case (N, C) that is asked B times with other tokens shown (B, N), see Batch.repeat.

    Only where the token is hidden that holds the extreme of a channel, the others are looked at.
    """
    parts = [(mask.to(tokens.dtype) @ tokens) / mask.sum(dim=1, keepdim=True).clamp(min=1)]
    channels = tokens.T.contiguous()
    for sign in (1, -1):
        largest, holder = (sign * channels).max(dim=1)  # (C,)
        found = largest.repeat(len(mask), 1)
        row, channel = torch.nonzero(~mask[:, holder], as_tuple=True)
        others = (sign * channels)[channel].masked_fill(~mask[row], -torch.inf)
        found[row, channel] = others.amax(dim=1)
        parts.append(sign * found)
    return parts


class Probe(nn.Module):
    """A linear probe of a modality's pooled features, as the frozen encoder made them; fitted by learn."""

    centre: Tensor
    spread: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, modality: str, widths: Widths, labels: int) -> None:
        super().__init__()
        self.pool = Pool(modality, widths.prior, widths.copies(modality))
        self.plain = widths.plain(modality)
        features = widths.pooled(modality, frozen=True)
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.register_buffer("weight", torch.zeros(labels, features))
        self.register_buffer("bias", torch.zeros(labels))

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, L); a case without this modality gets a finite answer that nothing may use."""
        features = (self.pool(batch) - self.centre) / self.spread
        return torch.as_tensor(features @ self.weight.T + self.bias)


class Cells(nn.Module):
    """What taught copies of an encoder say of a case's patches or word pieces, see Taught: the mean, and the largest.

    What is small, a nodule, moves the mean of a film's cells less than the film's other cells do, and is still where
    the copy says most. A Student is taught by both.
    """

    def __init__(self, modality: str, channels: Channels) -> None:
        super().__init__()
        self.modality, self.channels = modality, channels

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, 2, L); a plane of a volume encoder, of which no copy speaks, does not count."""
        tokens, mask = (
            (batch.note, batch.note_mask) if self.modality == "note" else (batch.image, batch.image_mask & ~batch.prior)
        )
        said = tokens[..., slice(*self.channels)]
        counts = (mask & (said != 0).any(dim=-1))[..., None]
        mean = (said * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)
        if not said.shape[1]:
            return torch.stack([mean, mean], dim=1)
        largest = said.masked_fill(~counts, -torch.inf).amax(dim=1)
        return torch.stack([mean, largest.masked_fill(~counts.any(dim=1), 0)], dim=1)


class Copies(nn.Module):
    """What taught copies say of a case, their mean and their largest weighed label by label."""

    weight: Tensor
    bias: Tensor

    def __init__(self, modality: str, channels: Channels, labels: int) -> None:
        super().__init__()
        self.cells = Cells(modality, channels)
        self.register_buffer("weight", torch.tensor([1.0, 0.0])[:, None].repeat(1, labels))
        self.register_buffer("bias", torch.zeros(labels))

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, L)."""
        return torch.as_tensor((self.weight * self.cells(batch)).sum(dim=1) + self.bias)


class Head(nn.Module):
    """What one modality says on its own: a probe, of a note its words as they stand, and taught copies if any.

    They are mixed, label by label, as held-out cases say. What copies say is not one feature among a thousand, or a
    ridge would shrink it like the others.
    """

    mix: Tensor
    trust: Tensor

    def __init__(self, modality: str, widths: Widths, labels: int) -> None:
        super().__init__()
        self.probe = Probe(modality, widths, labels)
        self.terms = TermProbe(labels) if modality == "note" else None
        channels = widths.copies(modality)
        self.copies = Copies(modality, channels, labels) if channels[1] else None
        if self.terms is not None:
            self.register_buffer("mix", torch.full((labels,), 0.5))
        if self.copies is not None:
            self.register_buffer("trust", torch.full((labels,), 0.5))

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, L); a case without this modality gets a finite answer that nothing may use."""
        said: Tensor = self.probe(batch)
        if self.terms is not None:
            said = self.terms(batch).lerp(said, self.mix)
        if self.copies is not None:
            said = said.lerp(self.copies(batch), self.trust)
        return said


class Places(nn.Module):
    """Where a patch lies, as a vector: sines of its position, its view, and of a slice its depth; whether it is prior.

    What a film of now does not need begins as zeros and draws no random number: without volumes and priors nothing
    differs from a network that does not know of them.
    """

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.pi * 2.0 ** torch.arange(4), persistent=False)
        self.position = nn.Linear(16, width)
        self.view = nn.Embedding(3, width)
        self.further = nn.Parameter(torch.zeros(11, width))  # 8 waves of the depth, slice, frame, prior

    def forward(self, place: Tensor) -> Tensor:
        """(B, P, PLACE) -> (B, P, D)."""
        waves = self._waves(place[..., :VIEW])
        kind, prior = place[..., KIND : KIND + 1], place[..., PRIOR : PRIOR + 1]
        deep = self._waves(place[..., DEPTH : DEPTH + 1]) * (kind > 0)
        further = torch.cat([deep, kind == 1, kind == 2, prior > 0], dim=-1)
        return torch.as_tensor(self.position(waves) + self.view(place[..., VIEW].long()) + further @ self.further)

    def _waves(self, at: Tensor) -> Tensor:
        """(B, P, K) from 0 to 1 -> sines and cosines (B, P, 8K)."""
        angles = (at[..., None] * self.frequencies).flatten(2)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class Textbook(nn.Module):
    """The baseline of the textbooks: BERT's [CLS], the pooled image and the record, concatenated, one linear layer.

    With a 768-wide BERT and ResNet-50 that is 768 + 2048 numbers; a prior study, pooled likewise, is 2048 more. What is
    missing is zeros.
    """

    def __init__(self, widths: Widths, labels: int, config: FusionConfig) -> None:
        super().__init__()
        self.keep = [name in config.modalities for name in MODALITIES]
        self.layer = widths.layer
        self.record = Pool("record", prior=False)
        self.prior = widths.prior
        self.width = widths.image * (1 + widths.prior) + self.layer + widths.pooled("record")
        self.classify = nn.Sequential(Dropout(config.dropout), nn.Linear(self.width, labels))

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, L)."""
        batch = batch.only(torch.tensor(self.keep, device=batch.image.device))
        masks = [batch.image_mask & ~batch.prior, *([batch.prior] if self.prior else [])]
        images = [(batch.image * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1) for mask in masks]
        cls = batch.note[:, 0, self.layer : 2 * self.layer] * batch.note_mask[:, 0:1]
        return torch.as_tensor(self.classify(torch.cat([*images, cls, self.record(batch)], dim=1)))
