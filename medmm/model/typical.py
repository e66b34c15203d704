"""The typical picture: what the image encoder's trunk makes of the training cases' pictures, in the mean.

What an overlay is held against: where a picture is as it usually is, a finding owes it nothing. A mean over a hundred
pictures shows nobody. C channels, N cells a side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from medmm.config import Flips
from medmm.tensors import turnings

VIEWS = 3
"""See `view_index`."""
_FEWEST = 10
"""Pictures of a view below which it is taken for one of all."""


@dataclass(frozen=True, slots=True, eq=False)
class Typical:
    """One mean map for each view of a picture."""

    maps: Tensor
    """(VIEWS, C, N, N) float32."""

    @classmethod
    def of(cls, seen: Iterable[tuple[int, Tensor]]) -> Typical | None:
        """The mean of maps (C, N, N), each with the view of its picture; None of none."""
        total: Tensor | None = None
        count = torch.zeros(VIEWS)
        for view, one in seen:
            total = torch.zeros(VIEWS, *one.shape) if total is None else total
            total[view] += one.float().cpu()
            count[view] += 1
        if total is None:
            return None
        whole = total.sum(dim=0) / count.sum()
        return cls(torch.stack([total[v] / count[v] if count[v] >= _FEWEST else whole for v in range(VIEWS)]))

    def laid(self, view: int, flips: Flips) -> Tensor:
        """The mean of a view for each turning of a picture that may be laid any of these ways: (turnings, C, N, N)."""
        turned = turnings(flips)
        even = torch.stack([turn.there(self.maps[view]) for turn in turned]).mean(dim=0)  # as likely any way round
        return even.expand(len(turned), *even.shape)

    def save(self, path: Path) -> None:
        """Write it for `load`."""
        save_file({"maps": self.maps.contiguous()}, path)

    @classmethod
    def load(cls, path: Path) -> Typical:
        """Read what `save` wrote."""
        return cls(load_file(path)["maps"])
