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
from medmm.model.batch import Batch, Features, ImageLayout, collate
from medmm.model.folder import Model
from medmm.model.fusion import Fusion

_WORK = 2**18
"""Tokens that the model looks at for the explanation of one side, over all questions: some seconds of one core."""
_FEWEST = 32
"""Questions that are asked of one side in any case."""
_TOKENS = 16_384
"""Patches and word pieces that the model looks at at once."""
_MOST_AT_ONCE = 64


class Questions:
    """Questions to a model about one encoded case; what it says of the whole is found out once."""

    @torch.no_grad()  # and not inference_mode: gradients may be asked for of what is made of these tensors
    def __init__(self, model: Model, case: Features) -> None:
        self.model, self.case = model, case
        self.batch = collate([case])
        body = model.network.body
        self._fusion = body if isinstance(body, Fusion) else None
        self._said = self._fusion.said(self._shown(self.batch)) if self._fusion else None  # (1, M, L)
        self.whole: Tensor = model.network(replace(self.batch, heard=self._said))[0]
        """Log-odds of each label (L,) float64, nothing hidden."""

    @torch.inference_mode()
    def without(
        self, *, image: Tensor | None = None, note: Tensor | None = None, record: Tensor | None = None
    ) -> Tensor:
        """Log-odds of each label, once for each row of what is hidden: (K, L) float64.

        Args:
            image: which patches are hidden (K, P) bool; none where it is not given, and likewise for the others, of
                which at least one is given and all have the same K.
            note: which word pieces (K, T).
            record: which values (K, R).
        """
        given = {"image": image, "note": note, "record": record}
        hidden = {side: rows for side, rows in given.items() if rows is not None}
        count = len(next(iter(hidden.values())))
        tokens = self.batch.image.shape[1] + self.batch.note.shape[1]
        at_once = max(1, min(_MOST_AT_ONCE, _TOKENS // tokens))
        answers = [torch.zeros(0, len(self.model.labels), dtype=torch.float64)]
        for start in range(0, count, at_once):
            rows = slice(start, min(start + at_once, count))
            masks = {
                f"{side}_mask": getattr(self.batch, f"{side}_mask") & ~which[rows] for side, which in hidden.items()
            }
            asked = replace(self.batch.repeat(rows.stop - rows.start), **masks)
            answers.append(self.model.network(self.heard(asked, hidden)))
        return torch.cat(answers)

    def heard(self, asked: Batch, changed: Iterable[str]) -> Batch:
        """The case with something changed about some sides, asked K times: the heads of the others are not asked again.

        Args:
            asked: K times the case.
            changed: those of MODALITIES that are not as they were.
        """
        if self._fusion is None or self._said is None:
            return asked
        heard, shown = self._said.repeat(len(asked.image), 1, 1), self._shown(asked)
        for side in changed:
            heard[:, MODALITIES.index(side)] = self._fusion.said_of(side, shown)
        return replace(asked, heard=heard)

    def _shown(self, batch: Batch) -> Batch:
        """A batch as the body of the network sees it."""
        return batch.only(torch.tensor(self.model.network.keep))


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
