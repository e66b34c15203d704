"""How cases teach an encoder: the tail of the image network, the upper layers of the text network.

B cases, F pictures or notes, K cells of a picture or T word pieces of a note, C channels of a trunk's map, N a side of
it, W numbers of a word piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn

from medmm.config import AdaptConfig
from medmm.model.cache import FeatureCache
from medmm.model.encode import EncodedCase, EncodedStudy, Encoders
from medmm.model.image_encoder import Tail
from medmm.model.taught import Taught
from medmm.model.text_encoder import UpperLayers

_MOST_PICTURES = 4
"""Pictures of a case that are looked at in one step; others of it in other epochs."""


class Lesson(Protocol):
    """What it takes to teach one encoder: how cases become batches, and how they are seen afterwards."""

    @property
    def name(self) -> str:
        """The modality."""

    @property
    def how(self) -> str:
        """As AdaptConfig says."""

    @property
    def width(self) -> int:
        """Length of what `cells` makes of each."""

    def has(self, case: EncodedCase) -> bool:
        """Whether a case can teach."""

    def copy(self) -> Tail | UpperLayers:
        """A copy of what is taught."""

    def batch(self, cases: Sequence[EncodedCase]) -> dict[str, Tensor]:
        """The inputs of `cells`, as random views."""

    def cells(self, taught: nn.Module, **inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is made of each of K cells of F pictures or notes.

        Returns:
            Features (F, K, width); 1 where a cell counts (F, K), one at least; whose they are (F,), from 0 to B - 1.
        """

    def seen(self, case: EncodedCase, taught: Sequence[Taught]) -> EncodedCase:
        """A case of the frozen encoders, and beside it what the taught copies say of it."""


class ImageLesson:
    """The tail of the image network."""

    name = "image"

    def __init__(self, encoders: Encoders, cache: FeatureCache, config: AdaptConfig) -> None:
        self.encoders, self.cache, self.config, self.how = encoders, cache, config, config.image
        self.width = encoders.image.frozen_width

    def has(self, case: EncodedCase) -> bool:
        """Whether it has a film or a slice."""
        return case.study is not None and len(case.study.flat) > 0

    def copy(self) -> Tail:
        """A copy of the tail, whose stages learn, all but what they look at around a cell in each channel.

        Depthwise filters are a twentieth of its weights, and their gradients took a third of the time.
        """
        tail = self.encoders.image.new_tail().requires_grad_(True)
        for part in tail.modules():
            if isinstance(part, nn.Conv2d) and 1 < part.groups == part.in_channels:
                part.requires_grad_(False)
        tail.checkpointing = self.config.checkpointing
        return tail

    def batch(self, cases: Sequence[EncodedCase]) -> dict[str, Tensor]:
        """Maps (F, C, N, N), which cells lie on the picture (F, K), and whose it is (F,), from 0 to B - 1."""
        maps, inside, owner = [], [], []
        for number, case in enumerate(cases):
            study = case.study
            if study is None:
                raise ValueError("a case without image cannot teach the image network")
            count = len(study.flat)
            shown = torch.randperm(count)[:_MOST_PICTURES].tolist()
            views = [int(torch.randint(1 + self.config.views, ())) for _ in shown]
            maps.append(self.cache.maps(study.maps, views, shown))
            for place in shown:
                layout = study.images[study.flat[place]]
                inside.append(torch.from_numpy(layout.placement.covered(layout.grid)).float())
                owner.append(number)
        return {"maps": torch.cat(maps).float(), "inside": torch.stack(inside), "owner": torch.tensor(owner)}

    def cells(self, taught: nn.Module, **inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Those that lie on a picture count."""
        made = taught(inputs["maps"].contiguous(memory_format=torch.channels_last))
        return made.flatten(2).transpose(1, 2), inputs["inside"], inputs["owner"]

    def seen(self, case: EncodedCase, taught: Sequence[Taught]) -> EncodedCase:
        """Study and prior, each flat picture in all its turnings and not as a view."""
        return replace(case, study=self._seen(case.study, taught), prior=self._seen(case.prior, taught))

    def _seen(self, study: EncodedStudy | None, taught: Sequence[Taught]) -> EncodedStudy | None:
        if study is None:
            return None
        return self.encoders.beside(study, self.cache.trunks(study.maps), taught)


class NoteLesson:
    """The upper layers of the text network."""

    name = "note"

    def __init__(self, encoders: Encoders, config: AdaptConfig) -> None:
        self.text, self.config, self.how = encoders.text, config, config.note
        self.width = encoders.text.frozen_width

    def has(self, case: EncodedCase) -> bool:
        """Whether it has a note."""
        return case.note is not None

    def copy(self) -> UpperLayers:
        """A copy of the upper layers, which learn; what the network embeds words with is not used."""
        upper = self.text.new_upper().requires_grad_(False)
        upper.learns.requires_grad_(True)
        if self.config.checkpointing:
            upper.network.gradient_checkpointing_enable()  # type: ignore[operator]  # of Hugging Face
        return upper

    def batch(self, cases: Sequence[EncodedCase]) -> dict[str, Tensor]:
        """States (B, T, W) of the frozen network and which of them are words (B, T).

        Of a note that is longer than the network reads at once, its beginning teaches.
        """
        notes = [case.note.tokens[: self.text.max_words].float() for case in cases if case.note is not None]
        states = nn.utils.rnn.pad_sequence(notes, batch_first=True)
        lengths = torch.tensor([len(note) for note in notes])
        return {"states": states, "words": torch.arange(states.shape[1]) < lengths[:, None]}

    def cells(self, taught: nn.Module, **inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each word piece the state halfway up and the last one, side by side."""
        states, words = inputs["states"], inputs["words"]
        middle = states[..., : self.width // 2]
        made = torch.cat([middle, taught(middle, words)], dim=-1)
        return made, words.float(), torch.arange(len(made), device=made.device)

    def seen(self, case: EncodedCase, taught: Sequence[Taught]) -> EncodedCase:
        """The note's word pieces."""
        if case.note is None:
            return case
        tokens = torch.cat([case.note.tokens, self.text.beside(case.note.tokens, taught)], dim=1)
        return replace(case, note=replace(case.note, tokens=tokens))
