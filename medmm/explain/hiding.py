"""The same fused model asked again with some of a case's tokens hidden, as if the case had come without them.

The encoders run once; only the fusion head answers again, so a question costs about as much as the tokens it looks at.
What is left still knows its surroundings: a patch was encoded beside its neighbours, a word beside the others.
K questions, P patches, T word pieces, R record columns, L labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from medmm.case import MODALITIES
from medmm.model.batch import Batch, Features, ImageLayout
from medmm.model.folder import Model
from medmm.model.fusion import Fusion

_WORK = 2**18
"""Tokens that the model looks at for the explanation of one side, over all questions: some seconds of one core."""
_FEWEST = 32
"""Questions that are asked of one side in any case."""
_TOKENS = 16_384
"""Patches and word pieces that the model looks at at once."""
_MOST_AT_ONCE = 64


@torch.inference_mode()
def without(
    model: Model,
    batch: Batch,
    *,
    image: Tensor | None = None,
    note: Tensor | None = None,
    record: Tensor | None = None,
) -> Tensor:
    """Log-odds of one case, once for each row of what is hidden: (K, L) float64.

    Args:
        model: whose network is asked.
        batch: the case alone.
        image: which patches are hidden (K, P) bool; none where it is not given, and likewise for the others, of which
            at least one is given and all have the same K.
        note: which word pieces (K, T).
        record: which values (K, R).
    """
    given = {"image": image, "note": note, "record": record}
    hidden = {side: rows for side, rows in given.items() if rows is not None}
    count = len(next(iter(hidden.values())))
    at_once = max(1, min(_MOST_AT_ONCE, _TOKENS // (batch.image.shape[1] + batch.note.shape[1])))
    said = _said(model, batch)
    answers = [torch.zeros(0, len(model.labels), dtype=torch.float64)]
    for start in range(0, count, at_once):
        rows = slice(start, min(start + at_once, count))
        shown = {f"{side}_mask": getattr(batch, f"{side}_mask") & ~which[rows] for side, which in hidden.items()}
        asked = replace(batch.repeat(rows.stop - rows.start), **shown)
        answers.append(model.network(_heard(model, said, asked, hidden)))
    return torch.cat(answers)


def _said(model: Model, batch: Batch) -> Tensor | None:
    """What the heads say of the whole case (1, M, L); None of a network without heads."""
    body = model.network.body
    return body.said(batch.only(torch.tensor(body.keep))) if isinstance(body, Fusion) else None


def _heard(model: Model, said: Tensor | None, asked: Batch, hidden: Iterable[str]) -> Batch:
    """Questions whose heads need not be asked of sides of which nothing is hidden."""
    body = model.network.body
    if said is None or not isinstance(body, Fusion):
        return asked
    heard, shown = said.repeat(len(asked.image), 1, 1), asked.only(torch.tensor(body.keep))
    for side in hidden:
        heard[:, MODALITIES.index(side)] = body.said_of(side, shown)
    return replace(asked, heard=heard)


def affordable(case: Features) -> int:
    """How many questions may be asked of one side of a case; each looks at all its patches and word pieces."""
    return max(_FEWEST, _WORK // (len(case.image) + len(case.note) + 1))


def blocks(pictures: Sequence[ImageLayout], most: int) -> Tensor:
    """The block that each patch is hidden in: (P,) from 0; the smallest square blocks of which there are few enough."""
    largest = max((max(picture.grid) for picture in pictures), default=1)
    for side in range(1, largest + 1):
        names = [
            (number, cell // picture.grid[1] // side, cell % picture.grid[1] // side)
            for number, picture in enumerate(pictures)
            for cell in picture.cells
        ]
        number_of = {name: number for number, name in enumerate(dict.fromkeys(names))}
        if len(number_of) <= most:
            break
    return torch.tensor([number_of[name] for name in names], dtype=torch.long)


def members(unit: Tensor) -> Tensor:
    """The unit of each token (N,) long, -1 for none -> which tokens make up each unit: (units, N) bool."""
    units = int(unit.max()) + 1 if len(unit) else 0
    return torch.arange(units)[:, None] == unit[None, :]


def pieces(case: Features, units: Sequence[Sequence[int]]) -> Tensor:
    """Units of whole words -> which word pieces make up each: (units, T) bool."""
    unit_of = {word: number for number, unit in enumerate(units) for word in unit}
    owner = torch.tensor([unit_of.get(word, -1) for word in case.layout.word_of], dtype=torch.long)
    return owner[None, :] == torch.arange(len(units))[:, None]
