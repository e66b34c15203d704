"""What a finding's log-odds lose when part of a picture is hidden: on encoded patches, or on the picture itself.

Occlusion after Zeiler & Fergus 2014. Hidden patches cost a question to the fusion head each, but what is left was
encoded beside them and still knows them. A hidden part of the picture is encoded anew: hundreds of times the price of
an answer, and the reference for what is faster. L labels, P patches.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.ndimage
import torch
from torch import Tensor

from medmm.case import Image
from medmm.explain.hiding import Questions, affordable, blocks, members
from medmm.model.batch import Features, collate
from medmm.model.folder import Model

_CELLS = 14
"""Cells of the picture's longer side; a window that is hidden is two cells wide and high, and begins at each cell."""


def hidden_patches(asked: Questions) -> Tensor:
    """What each label loses without each patch (L, P); in a case of many patches, without its square block of them."""
    block = blocks(asked.case.layout.pictures, affordable(asked.case))
    lost = asked.whole - asked.without(image=members(block))  # (blocks, L)
    return lost[block].T.float()


@torch.inference_mode()
def hidden_windows(asked: Questions, number: int, image: Image) -> Tensor:
    """What each label loses without each window of one picture of a case: (L, cells, cells), of the encoder's square.

    A window is not blackened, which would be news of its own, but blurred beyond recognition.

    Args:
        asked: about an encoded case.
        number: of the picture among its pictures, not a plane of a volume encoder.
        image: that picture, whole or read in part.
    """
    model, case = asked.model, asked.case
    rows, columns = image.pixels.shape[:2]
    placed = replace(case.layout.pictures[number].placement, rows=rows, columns=columns)
    blurred = blur(image.pixels, max(rows, columns) / _CELLS)
    lost, times = torch.zeros(len(model.labels), _CELLS, _CELLS), torch.zeros(_CELLS, _CELLS)
    for y, x in np.argwhere(placed.covered((_CELLS, _CELLS)).reshape(_CELLS, _CELLS)):
        shown, place = image.pixels.copy(), placed.window((_CELLS, _CELLS), y, x, 2)
        shown[place] = blurred[place]
        without_it = model.network(collate([shown_as(model, case, number, replace(image, pixels=shown))]))[0]
        lost[:, y : y + 2, x : x + 2] += (asked.whole - without_it).float()[:, None, None]
        times[y : y + 2, x : x + 2] += 1
    return lost / times.clamp(min=1)


def blur(pixels: np.ndarray, width: float) -> np.ndarray:
    """A picture in which nothing narrower than `width` pixels is left."""
    across = (width, width, *([0] * (pixels.ndim - 2)))
    return np.asarray(scipy.ndimage.gaussian_filter(pixels, across), dtype=np.float32)


def shown_as(model: Model, case: Features, number: int, image: Image) -> Features:
    """The same case with one of its pictures changed and encoded anew, trunk and all."""
    patches = model.encoders.encode_picture(image, keep_trunk=bool(case.trunks))
    changed, trunks = case.image.clone(), list(case.trunks)
    changed[case.layout.patches[number]] = patches.tokens
    if trunks:
        trunks[number] = patches.trunk
    return replace(case, image=changed, trunks=tuple(trunks))
