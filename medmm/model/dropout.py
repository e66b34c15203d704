"""Dropout that several processes draw as one would: every mask is that of the whole batch, and each keeps its rows.

Without `share_of_batch` a process has the whole batch, and this is the usual dropout (Srivastava 2014).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class _Share:
    """Which rows of a batch this process has, and how many rows all processes have."""

    rows: list[int]
    of: int


_share: ContextVar[_Share | None] = ContextVar("share", default=None)


@contextmanager
def share_of_batch(rows: Sequence[int], of: int) -> Iterator[None]:
    """Within this block tensors hold these rows of a batch of `of` rows."""
    token = _share.set(_Share(list(rows), of) if len(rows) < of else None)
    try:
        yield
    finally:
        _share.reset(token)


def chance(shape: Sequence[int], device: torch.device) -> Tensor:
    """Numbers from 0 to 1, (B, ...): a row gets the same wherever it is computed."""
    of, rows = _whole(shape)
    return torch.rand(*of, device=device)[rows]


class Dropout(nn.Module):
    """In training, each number is 0 with chance `p` and 1 / (1 - p) times itself otherwise."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        if not self.training or self.p == 0:
            return x
        of, rows = _whole(x.shape)
        return x * x.new_empty(of).bernoulli_(1 - self.p).div_(1 - self.p)[rows]


def _whole(shape: Sequence[int]) -> tuple[tuple[int, ...], list[int] | slice]:
    """The shape of the whole batch, and which of its rows are here."""
    share = _share.get()
    return (tuple(shape), slice(None)) if share is None else ((share.of, *shape[1:]), share.rows)
