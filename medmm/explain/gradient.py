"""Integrated gradients at the trunk: what a finding's log-odds owe to each place where a picture is unlike the typical.

Integrated gradients (Sundararajan, Taly & Yan 2017) at the last map whose side is an eighth of the picture's, on the
way from what the trunk makes of the typical training picture to what it makes of this one, through the tail, the heads
and the fusion at once. With many steps the cells of a map sum to the log-odds that the picture has beyond the typical
one. Nothing below the tail is asked, and of taught copies of it one for all, so a label costs a few passes through a
third of the encoder. L labels, N cells a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from medmm.explain.hiding import Questions
from medmm.model.batch import VIEW, Features
from medmm.model.folder import Model
from medmm.model.image_encoder import Trunk
from medmm.tensors import turnings

_STEPS = 1
"""On the way, in the middle of it; two pointed no better and lost less when deleted, see docs/explanations.md."""
_COPIES = 1
"""Taught copies that are asked; the mean of three pointed no better."""


def gradient_maps(asked: Questions, labels: Sequence[int] | None = None, steps: int = _STEPS) -> tuple[Tensor, ...]:
    """Of each picture a map for each of some labels (L, N, N), in the order of its layout.

    Args:
        asked: about an encoded case, with its trunks.
        labels: numbers of the labels; all of them if None.
        steps: on the way from the typical picture.

    Raises:
        ValueError: if the case was encoded without its trunks, or a picture has none: a plane of a volume encoder.
    """
    model, case = asked.model, asked.case
    trunks = [trunk for trunk in case.trunks if trunk is not None]
    if not trunks or len(trunks) != len(case.layout.pictures):
        raise ValueError("integrated gradients need the trunk of every picture")
    with torch.inference_mode(False), torch.enable_grad():
        ends = [trunk.maps.clone() for trunk in trunks]
        starts = _starts(model, case, trunks)
        of = range(len(model.labels)) if labels is None else labels
        slopes = [torch.zeros(len(of), *end.shape) for end in ends]
        for step in range(steps):
            share = (step + 0.5) / steps
            leaves = [start.lerp(end, share).requires_grad_() for start, end in zip(starts, ends, strict=True)]
            log_odds = _answer(asked, trunks, leaves)
            for place, label in enumerate(of):
                found = torch.autograd.grad(log_odds[label], leaves, retain_graph=True, allow_unused=True)
                for total, slope in zip(slopes, found, strict=True):
                    if slope is not None:
                        total[place] += slope.float().cpu() / steps
    moved = [(end - start).float().cpu() for start, end in zip(starts, ends, strict=True)]
    worth = [(slope * by).sum(dim=2) for slope, by in zip(slopes, moved, strict=True)]  # (L, turnings, N, N)
    return tuple(_laid_back(trunk, one) for trunk, one in zip(trunks, worth, strict=True))


def _starts(model: Model, case: Features, trunks: Sequence[Trunk]) -> list[Tensor]:
    """The typical picture for each picture, in its turnings; of a model that knows none, the mean of its own cells."""
    if model.typical is None:
        return [trunk.maps.mean(dim=(2, 3), keepdim=True).expand_as(trunk.maps).clone() for trunk in trunks]
    views = case.place[[patches.start for patches in case.layout.patches], VIEW].long().tolist()
    typical = [model.typical.laid(view, trunk.flips) for view, trunk in zip(views, trunks, strict=True)]
    return [one.to(trunk.maps.device) for one, trunk in zip(typical, trunks, strict=True)]


def _answer(asked: Questions, trunks: Sequence[Trunk], maps: Sequence[Tensor]) -> Tensor:
    """Log-odds (L,) if the trunk had made these maps of the pictures."""
    encoder = asked.model.encoders.image
    tokens = []
    for trunk, one, layout in zip(trunks, maps, asked.case.layout.pictures, strict=True):
        features = encoder.top(replace(trunk, maps=one), _COPIES)[0].flatten(1).T
        tokens.append(features[list(layout.cells)].float().cpu())
    image = functional.pad(torch.cat(tokens), (0, asked.batch.image.shape[2] - encoder.width))
    log_odds: Tensor = asked.model.network(asked.heard(replace(asked.batch, image=image[None]), ["image"]))[0]
    return log_odds


def _laid_back(trunk: Trunk, worth: Tensor) -> Tensor:
    """Worth in each turning (L, turnings, N, N) -> (L, N, N), as the picture lies."""
    turned = zip(turnings(trunk.flips), worth.unbind(dim=1), strict=True)
    return torch.stack([turn.back(one) for turn, one in turned]).sum(dim=0)
