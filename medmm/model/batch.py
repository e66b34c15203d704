"""What the model eats: Features of one case, a Batch of many.

B cases, P patches, T word pieces, R record columns, Q numbers a column, M modalities, L labels.
A mask is True where there is something to look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from medmm.case import MODALITIES
from medmm.model.image_encoder import Trunk
from medmm.placement import Placement
from medmm.slices import Picture

PLACE = 6
"""Numbers that say where a patch lies: its row and column in its picture from 0 to 1, the index of the view, how deep
the picture lies in its volume from 0 to 1 (0.5 for a film), the kind of picture (0 a film, 1 a slice in space, 2 a
frame in time), and 1 for a patch of the prior study."""
ROW, COLUMN, VIEW, DEPTH, KIND, PRIOR = range(PLACE)


@dataclass(frozen=True, slots=True)
class Features:
    """One case as its encoders left it; what is missing has no tokens."""

    case_id: str
    image: Tensor
    """(P, C) float16, the patches of all pictures one after the other, those of the prior study behind."""
    place: Tensor
    """(P, PLACE) float32, see PLACE."""
    note: Tensor
    """(T, W) float16."""
    terms: Tensor
    """(T,) int16, see terms_of."""
    record: Tensor
    """(R, Q) float32, see RecordBins."""
    taken: Tensor
    """(R,) bool."""
    layout: Layout
    remarks: tuple[str, ...] = ()
    trunks: tuple[Trunk | None, ...] = ()
    """One for each of `layout.pictures` if the case is to be explained, see EncodedStudy.trunks."""

    @property
    def present(self) -> tuple[bool, bool, bool]:
        """Which modalities the case has, in the order of MODALITIES; a prior study alone is no image."""
        current = bool((self.place[:, PRIOR] == 0).any())
        return current, len(self.note) > 0, bool(self.taken.any())


@dataclass(frozen=True, slots=True)
class Layout:
    """How tokens lie in the originals: what an explanation needs to come back to pixels and characters."""

    images: tuple[ImageLayout, ...] = ()
    word_of: tuple[int, ...] = ()
    """For each word piece, the index of its whole word in `spans`, or -1."""
    spans: tuple[tuple[int, int], ...] = ()
    prior: tuple[ImageLayout, ...] = ()
    """Of the prior study."""

    @property
    def pictures(self) -> tuple[ImageLayout, ...]:
        """All of them in the order of their patches: the study's, then the prior's."""
        return self.images + self.prior

    @property
    def patches(self) -> tuple[slice, ...]:
        """Which patches of the case are those of each of `pictures`."""
        ends = list(accumulate((len(picture.cells) for picture in self.pictures), initial=0))
        return tuple(slice(start, end) for start, end in pairwise(ends))


@dataclass(frozen=True, slots=True)
class ImageLayout:
    """How the patches of one picture lie in its square: a film, a slice, or a plane of a volume at its slice."""

    cells: tuple[int, ...]
    """Index of each patch's cell in the flattened grid."""
    grid: tuple[int, int]
    placement: Placement
    picture: Picture
    """Which picture of its study it is."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Cases side by side, padded; padding is masked everywhere and changes nothing."""

    image: Tensor
    """(B, P, C)."""
    place: Tensor
    """(B, P, PLACE)."""
    image_mask: Tensor
    """(B, P)."""
    note: Tensor
    """(B, T, W)."""
    note_mask: Tensor
    """(B, T)."""
    terms: Tensor
    """(B, T) long, see terms_of."""
    record: Tensor
    """(B, R, Q)."""
    record_mask: Tensor
    """(B, R)."""
    heard: Tensor | None = None
    """(B, M, L) what the heads say, where they need not be asked: in training out-of-fold logits, so that nothing
    learns from a head that has seen the case."""

    @property
    def present(self) -> Tensor:
        """(B, M) bool; a prior study alone is no image."""
        masks = (self.image_mask & ~self.prior, self.note_mask, self.record_mask)
        return torch.stack([mask.any(dim=1) for mask in masks], dim=1)

    @property
    def prior(self) -> Tensor:
        """Which patches are of the prior study: (B, P) bool, within image_mask."""
        return self.image_mask & (self.place[..., PRIOR] > 0)

    def only(self, keep: Tensor) -> Batch:
        """The same cases with modalities hidden: `keep` is (B, M) or (M,) bool.

        The prior study belongs to the image, and is hidden where no patch of the study of now is left.
        """
        keep = keep.expand(len(self.image), len(MODALITIES))
        return replace(
            self,
            image_mask=self.image_mask & (keep & self.present)[:, 0:1],
            note_mask=self.note_mask & keep[:, 1:2],
            record_mask=self.record_mask & keep[:, 2:3],
        )

    def repeat(self, times: int) -> Batch:
        """One case many times over, without copying its tokens."""
        return replace(self, **{name: value.expand(times, *value.shape[1:]) for name, value in self._tensors()})

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return replace(self, **{name: value.to(device, non_blocking=True) for name, value in self._tensors()})

    def _tensors(self) -> list[tuple[str, Tensor]]:
        named = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return [(name, value) for name, value in named if value is not None]


def collate(cases: Sequence[Features], heard: Tensor | None = None) -> Batch:
    """Features side by side; a modality that no case of the batch has keeps one masked place."""
    image, image_mask = _pad([case.image for case in cases])
    place, _ = _pad([case.place for case in cases])
    note, note_mask = _pad([case.note for case in cases])
    terms, _ = _pad([case.terms[:, None] for case in cases])
    return Batch(
        image=image,
        place=place,
        image_mask=image_mask,
        note=note,
        note_mask=note_mask,
        terms=terms[..., 0].long(),
        record=torch.stack([case.record for case in cases]),
        record_mask=torch.stack([case.taken for case in cases]),
        heard=heard,
    )


def _pad(tokens: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Tokens of different lengths -> (B, N, C) float32 and (B, N) mask; N is at least 1."""
    longest = max(1, *(len(t) for t in tokens))
    padded = torch.zeros(len(tokens), longest, tokens[0].shape[1])
    mask = torch.zeros(len(tokens), longest, dtype=torch.bool)
    for row, t in enumerate(tokens):
        padded[row, : len(t)] = t
        mask[row, : len(t)] = True
    return padded, mask
