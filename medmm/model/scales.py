"""Where an image network is cut, and what is read of it; several networks as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from medmm.errors import ModelError


class Scales(NamedTuple):
    """Where a network is cut."""

    trunk: int
    """How many of its stages are the trunk."""
    reads: tuple[int, ...]
    """Stages of the tail that are the last of their scale."""
    channels: tuple[int, ...]
    """Of all maps that are read, that of the trunk first."""
    sides: tuple[int, ...]
    """Of the same maps."""


@torch.inference_mode()
def scales_of(stages: nn.Sequential, size: int) -> Scales:
    """Where a network in eval mode is cut, for pictures of `size` pixels.

    The trunk ends with the last map whose side is at least an eighth of the picture's; what is read is that map, and
    behind it the last one of each size.
    """
    features, shapes = torch.zeros(1, 3, size, size), []
    for stage in stages:
        features = stage(features)
        shapes.append(features.shape)
    trunk = max((number for number, shape in enumerate(shapes, start=1) if shape[-1] * 8 >= size), default=1)
    last = {shape[-1]: number for number, shape in enumerate(shapes) if number >= trunk}  # of each scale
    read = [shapes[number] for number in (trunk - 1, *last.values())]
    return Scales(
        trunk,
        tuple(number - trunk for number in last.values()),
        tuple(int(shape[1]) for shape in read),
        tuple(int(shape[-1]) for shape in read),
    )


def side_by_side(networks: Sequence[nn.Sequential], size: int) -> nn.Sequential:
    """Networks as one, whose stages are scales: each goes on with its own channels, and they stand in their order.

    Raises:
        ModelError: if their maps of a scale differ in size.
    """
    cuts = [scales_of(network, size) for network in networks]
    if len({cut.sides for cut in cuts}) > 1:
        raise ModelError(
            f"image networks side by side disagree on the size of their maps of {size} pixels", "Set image_size to 224"
        )
    ends = [[cut.trunk, *(cut.trunk + read + 1 for read in cut.reads)] for cut in cuts]
    channels: list[Sequence[int]] = [(), *zip(*(cut.channels for cut in cuts), strict=True)]
    stages = []
    for scale, widths in enumerate(channels[:-1]):
        bounds = [(end[scale - 1] if scale else 0, end[scale]) for end in ends]
        parts = [network[first:last] for network, (first, last) in zip(networks, bounds, strict=True)]
        stages.append(_Abreast(parts, widths))
    return nn.Sequential(*stages)


class _Abreast(nn.Module):
    """A stage of several networks."""

    def __init__(self, parts: Iterable[nn.Module], widths: Sequence[int]) -> None:
        super().__init__()
        self.parts, self.widths = nn.ModuleList(parts), tuple(widths)

    def forward(self, features: Tensor) -> Tensor:
        """Each takes its own channels; the first stages, whose `widths` are empty, all take the picture."""
        given = torch.split(features, list(self.widths), dim=1) if self.widths else [features] * len(self.parts)
        return torch.cat([part(given[number]) for number, part in enumerate(self.parts)], dim=1)
