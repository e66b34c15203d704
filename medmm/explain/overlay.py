"""Where a model looks: for each picture of a case one map a label, by several methods behind one function.

`benchmarks.faithfulness` sets the methods side by side; DEFAULT is the one that it chose. L labels, P patches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from medmm.case import Image
from medmm.explain.attention import attention_to, relevance_to
from medmm.explain.gradient import gradient_maps
from medmm.explain.hiding import Questions
from medmm.explain.occlusion import hidden_patches, hidden_windows
from medmm.model.batch import Features
from medmm.placement import Placement
from medmm.result import Overlay

Maps = Sequence[Tensor]
"""Of each picture (L, down, across), in the order of its case's layout."""

GRADIENT, PATCHES, WINDOWS = "integrated gradients", "hidden patches", "hidden windows"
RELEVANCE, ATTENTION = "relevance propagation", "attention"


Method = Callable[[Questions, Sequence[int], Sequence[Image]], Maps]
"""Of a case the maps of some labels, by number; the pictures are for who hides parts of them."""


def _gradient(asked: Questions, labels: Sequence[int], images: Sequence[Image]) -> Maps:
    return gradient_maps(asked, labels)


def _patches(asked: Questions, labels: Sequence[int], images: Sequence[Image]) -> Maps:
    return _in_grids(asked.case, hidden_patches(asked)[list(labels)])


def _windows(asked: Questions, labels: Sequence[int], images: Sequence[Image]) -> Maps:
    return [hidden_windows(asked, number, image)[list(labels)] for number, image in enumerate(images)]


def _relevance(asked: Questions, labels: Sequence[int], images: Sequence[Image]) -> Maps:
    return _in_grids(asked.case, relevance_to(asked.model, asked.case)[0][list(labels)])


def _attention(asked: Questions, labels: Sequence[int], images: Sequence[Image]) -> Maps:
    return _in_grids(asked.case, attention_to(asked.model, asked.case)[0].expand(len(labels), -1))


METHODS: Mapping[str, Method] = {
    GRADIENT: _gradient,
    PATCHES: _patches,
    WINDOWS: _windows,
    RELEVANCE: _relevance,
    ATTENTION: _attention,
}
DEFAULT = GRADIENT


def overlays(
    asked: Questions,
    method: str = DEFAULT,
    images: Sequence[Image] = (),
    labels: Sequence[int] | None = None,
) -> tuple[tuple[Overlay, ...], ...]:
    """One overlay for each picture, by label.

    Args:
        asked: about an encoded case; with its trunks for GRADIENT.
        method: one of METHODS.
        images: the pictures in the order of its layout; WINDOWS needs them.
        labels: numbers of the labels; all of them if None.

    Raises:
        ValueError: if the method cannot say anything of this model or case.
    """
    of = range(len(asked.model.labels)) if labels is None else labels
    pictures = asked.case.layout.pictures
    maps = METHODS[method](asked, of, images) if pictures else ()
    placed = list(zip(maps, pictures, strict=True))
    return tuple(
        tuple(_overlay(one[place].numpy(), layout.placement) for one, layout in placed) for place in range(len(of))
    )


def _in_grids(case: Features, worth: Tensor) -> Maps:
    """Worth of all patches (L, P) -> of each picture in its grid, 0 where it has no patch."""
    maps = []
    for layout, patches in zip(case.layout.pictures, case.layout.patches, strict=True):
        down, across = layout.grid
        one = torch.zeros(len(worth), down * across)
        one[:, list(layout.cells)] = worth[:, patches]
        maps.append(one.reshape(len(worth), down, across))
    return maps


def _overlay(cells: np.ndarray, placement: Placement) -> Overlay:
    """A map on its picture; NaN on the padding."""
    covered = placement.covered((cells.shape[0], cells.shape[1])).reshape(cells.shape)
    return Overlay(np.where(covered, cells, np.nan).astype(np.float32), placement)
