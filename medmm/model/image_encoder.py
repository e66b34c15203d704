"""A frozen convolutional network: pixels to patch features."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from medmm.case import Image
from medmm.config import Flips
from medmm.model.fold import fold
from medmm.model.half import to_half
from medmm.model.scales import scales_of
from medmm.model.taught import Part, Taught, labels_of
from medmm.placement import Placement
from medmm.tensors import image_tensor, image_views, turnings


@dataclass(frozen=True, slots=True, eq=False)
class Trunk:
    """What the image encoder's trunk made of one image: all that explaining needs of it."""

    maps: Tensor
    """(turnings, C, N, N) float32, on the encoder's device."""
    flips: Flips
    """Which turnings they are, see `turnings`."""

    def even(self, made: Tensor) -> Tensor:
        """What was made of each turning (turnings, F, G, G), laid back, in the mean: (1, F, G, G)."""
        turned = zip(turnings(self.flips), made, strict=True)
        return torch.stack([turn.back(one) for turn, one in turned]).mean(dim=0, keepdim=True)


@dataclass(frozen=True, slots=True)
class Patches:
    """What the image encoder made of one image."""

    tokens: Tensor
    """(P, C) float16, only the cells that lie on the image."""
    cells: np.ndarray
    """(P,) index of each token's cell in the flattened grid."""
    grid: tuple[int, int]
    """Cells down and across the square."""
    placement: Placement
    trunk: Trunk | None = None
    """What they were made from, where it was asked for."""


class Tail(Part):
    """The last stages of an image network, and what is read of them: the last map of each scale, side by side."""

    def __init__(self, stages: nn.Sequential, reads: Sequence[int]) -> None:
        super().__init__()
        self.stages, self.reads = stages, tuple(reads)
        self.checkpointing = False
        """Whether what lies between stages is computed again on the way back, which saves memory and costs time."""

    @property
    def learns(self) -> nn.Module:
        """The part that can be taught."""
        return self.stages

    def folded(self) -> Tail:
        """A tail that says the same in less time, see `fold`."""
        return Tail(fold(self.stages), self.reads)

    def forward(self, trunk_map: Tensor) -> Tensor:
        """What the trunk made (B, C, N, N) -> maps of the last scale (B, F, G, G), the trunk's own channels first."""
        maps, features = [trunk_map], trunk_map
        for number, stage in enumerate(self.stages):
            again = self.checkpointing and self.training
            features = checkpoint(stage, features, use_reentrant=False) if again else stage(features)
            if number in self.reads:
                maps.append(features)
        side = (int(features.shape[-2]), int(features.shape[-1]))
        return torch.cat([functional.adaptive_avg_pool2d(one, side) for one in maps], dim=1)

    def said(self, head: nn.Linear, *given: Tensor) -> Tensor:
        """What a head says of each cell: (B, L, G, G)."""
        return functional.conv2d(self(*given), head.weight[:, :, None, None], head.bias)


class ImageEncoder(nn.Module):
    """A convolutional network without its classifier, in two parts; frozen, and folded to answer, see `fold`.

    The trunk ends with the last map whose side is at least an eighth of the image's; behind it begins the tail, which
    `medmm.learn.adapt` may teach for a third of what the whole would cost. A patch is the last map of each scale, side
    by side: what tells most of small lesions is seldom at the top (Evci et al. 2022, "Head2Toe"). An image without an
    up, see `sides_of`, is read in all its turnings, and a patch is the mean of what the network, or what a taught copy
    says, makes of them.
    """

    def __init__(
        self, whole: nn.Module, stages: nn.Sequential, size: int, normalisation: Any, digest: str, architecture: str
    ) -> None:
        super().__init__()
        self.whole = whole
        self.stages = stages.to(memory_format=torch.channels_last).eval().requires_grad_(False)
        """The network as it was loaded: what is saved and taught, see `new_tail`."""
        scales, quick = scales_of(stages, size), fold(stages)
        self.trunk, self.tail = quick[: scales.trunk], Tail(quick[scales.trunk :], scales.reads)
        self.taught = nn.ModuleList()
        self.frozen_width = sum(scales.channels)
        self.size, self.digest, self.architecture = size, digest, architecture
        self.mean, self.deviation = normalisation
        self.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.trunk.parameters()).device

    @property
    def width(self) -> int:
        """Channels of a patch: those of the frozen network, and behind them what its taught copies say, if any."""
        return self.frozen_width + labels_of(self.taught)

    @torch.inference_mode()
    def encode(self, image: Image, flips: Flips = "none", *, keep_trunk: bool = False) -> Patches:
        """One image -> its patches; `flips` says which mirrorings leave it as likely as it was."""
        square, placement = image_tensor(image, self.size, self.mean, self.deviation)
        trunk = Trunk(self.trunk_maps([turn.there(square) for turn in turnings(flips)]), flips)
        return replace(_patches(self.top(trunk), placement), trunk=trunk if keep_trunk else None)

    def top(self, trunk: Trunk, copies: int | None = None) -> Tensor:
        """The last maps of one image (1, width, G, G), as `encode` cuts them into patches; gradients flow through.

        Args:
            trunk: what the trunk made of it.
            copies: how many of the taught copies speak for all of them; every one if None.
        """
        frozen = trunk.even(self.tail(trunk.maps))
        return torch.cat([frozen, _beside(trunk, self.taught[:copies])], dim=1) if self.taught else frozen

    @torch.inference_mode()
    def views(self, image: Image, count: int, flips: Flips) -> Tensor:
        """What the trunk makes of an image as it is, and of `count` views of it: (1 + count, C, N, N) float16.

        The same image has the same views, see `image_views`.
        """
        squares = image_views(image, self.size, self.mean, self.deviation, count, flips)
        return to_half(self.trunk_maps(list(squares)).cpu())

    @torch.inference_mode()
    def beside(self, trunk: Trunk, placement: Placement, taught: Iterable[Taught]) -> Tensor:
        """What stands beside the frozen patches of one image: what taught copies say of each, in the mean.

        Args:
            trunk: what the trunk made of it.
            placement: where it lies in its square.
            taught: copies of `tail` with other weights, and their heads.

        Returns:
            (P, L) float16.
        """
        return _patches(_beside(trunk, taught), placement).tokens

    def new_tail(self) -> Tail:
        """A copy of the tail that may be taught."""
        return copy.deepcopy(self.own_tail())

    def own_tail(self) -> Tail:
        """The tail of the network that is saved; what is taught to it the encoder does not answer with."""
        return Tail(self.stages[len(self.trunk) :], self.tail.reads)

    def trunk_maps(self, squares: Sequence[Tensor]) -> Tensor:
        """Squares (3, S, S) of one image -> what the trunk makes of them: (B, C, N, N), on the encoder's device."""
        features: Tensor = self.trunk(
            torch.stack(list(squares)).to(self.device).contiguous(memory_format=torch.channels_last)
        )
        return features

    def save(self, path: Path) -> None:
        """Write the weights of the whole network, so that a model folder needs no other file."""
        from safetensors.torch import save_file

        state = {name: value.cpu().contiguous() for name, value in self.whole.state_dict().items()}
        save_file(state, path, metadata={"architecture": self.architecture})


def _beside(trunk: Trunk, taught: Iterable[nn.Module]) -> Tensor:
    """What taught copies say of each cell of an image, in the mean over them and its turnings: (1, L, G, G)."""
    return trunk.even(torch.stack([copy(trunk.maps) for copy in taught]).mean(dim=0))


def _patches(features: Tensor, placement: Placement) -> Patches:
    """The last maps of one image (1, C, G, G) -> the patches that lie on it."""
    features = features[0].float().cpu()
    grid = (features.shape[1], features.shape[2])
    cells = np.flatnonzero(placement.covered(grid))
    return Patches(to_half(features.flatten(1).T[torch.from_numpy(cells)]), cells, grid, placement)
