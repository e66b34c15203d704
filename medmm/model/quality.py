"""What may be wrong with a case before any network sees it: an empty picture, swapped polarity, a note cut short.

Each check is a doubt in plain words. None is learnt: the limits hold for every model.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medmm.case import Case, Image

_EMPTY = 0.02
"""Standard deviation of a picture, of 1 between black and white, below which nothing is on it."""
_RADIOGRAPHS = frozenset({"CR", "DX", "RG"})
"""Modality (0008,0060) of films."""
_CHEST = frozenset({"CHEST", "THORAX"})
"""Body Part Examined (0018,0015)."""
_ROUND = frozenset({250, 255, 256, 300, 400, 500, 511, 512, 1000, 1023, 1024, 2000, 2047, 2048, 4000, 4095, 4096})
"""Letters at which forms and databases cut a text."""
_ENDS = ".!?:;)]}\"'»”"


def quality_doubts(case: Case) -> tuple[str, ...]:
    """What looks wrong with the case's own images and note; empty if nothing does."""
    found = [doubt for image in (case.study.images if case.study else ()) for doubt in _of_image(image)]
    if case.note is not None and _is_cut(case.note.text):
        found.append(f"the note may be cut short: it ends within a sentence after {len(case.note.text)} letters")
    return tuple(dict.fromkeys(found))


def _of_image(image: Image) -> Iterator[str]:
    grey = image.pixels if image.pixels.ndim == 2 else image.pixels.mean(axis=2)
    if float(grey.std()) < _EMPTY:
        yield "an image is empty: all of it is nearly the same brightness"
    elif _is_chest_film(image) and is_negative(grey):
        yield "a chest film may be inverted: the lungs and the air around the patient are bright, the middle dark"


def _is_chest_film(image: Image) -> bool:
    part = image.acquisition.get("BodyPartExamined", "").upper()
    return image.modality in _RADIOGRAPHS and part in _CHEST


def is_negative(grey: np.ndarray) -> bool:
    """Whether a chest film (rows, columns) has its polarity the wrong way round.

    The mediastinum is brighter than the lungs, and the middle of the film brighter than its upper corners, where air
    is; where both together are the other way round the film is a negative.
    """
    middle, spine = _mean(grey, 8, 24, 8, 24), _mean(grey, 10, 26, 14, 18)
    lungs = (_mean(grey, 8, 18, 5, 11) + _mean(grey, 8, 18, 21, 27)) / 2
    corners = (_mean(grey, 0, 4, 0, 6) + _mean(grey, 0, 4, 26, 32)) / 2
    return spine - lungs + middle - corners < 0


def _mean(grey: np.ndarray, top: int, bottom: int, left: int, right: int) -> float:
    """Mean brightness of a rectangle that is given in 32nds of the height and of the width."""
    rows, columns = grey.shape
    part = grey[rows * top // 32 : max(rows * bottom // 32, rows * top // 32 + 1)]
    part = part[:, columns * left // 32 : max(columns * right // 32, columns * left // 32 + 1)]
    return float(part.mean())


def _is_cut(text: str) -> bool:
    """Whether a text ends within a sentence at a length at which texts are cut."""
    return len(text) in _ROUND and text.rstrip()[-1] not in _ENDS
