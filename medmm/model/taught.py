"""Taught copies of an encoder's upper part, which speak beside the frozen one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self, cast

from torch import Tensor, nn


class Part(nn.Module, ABC):
    """The upper part of an encoder, which may be taught: the tail of an image network, upper layers of a BERT."""

    @property
    @abstractmethod
    def learns(self) -> nn.Module:
        """What of it can be taught."""

    def folded(self) -> Self:
        """What says the same in less time, for who only answers."""
        return self

    @abstractmethod
    def said(self, head: nn.Linear, *given: Tensor) -> Tensor:
        """What a head says of each cell (B, L, G, G) or word piece (B, T, L), for what the part takes."""


class Taught(nn.Module):
    """A taught copy of an encoder's upper part with its own head: what it says of each patch or word piece.

    Copies that were taught on other cases drift apart, and their features mean other things; what their heads say of a
    label means the same, so that it can be averaged. The head is linear: the mean over a picture's cells is what the
    copy says of the picture.
    """

    def __init__(self, part: Part, head: nn.Linear) -> None:
        super().__init__()
        self.learnt = learnt_of(part, head)
        """What was taught of it, by name."""
        self.part = part.folded()
        self.head = head

    def forward(self, *given: Tensor) -> Tensor:
        """See Part.said."""
        return self.part.said(self.head, *given)


def learnt_of(part: Part, head: nn.Linear) -> nn.ModuleDict:
    """What can be taught of a part and its head, by name."""
    return nn.ModuleDict({"part": part.learns, "head": head})


def labels_of(taught: nn.ModuleList) -> int:
    """How many labels taught copies speak of; 0 of none."""
    return cast("Taught", taught[0]).head.out_features if len(taught) else 0
