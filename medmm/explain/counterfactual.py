"""What would have to be missing for the model to say the opposite: a small set of regions, words and values.

A counterfactual by deletion, the SEDC of Martens & Provost (2014, "Explaining data-driven document classifications"):
units are hidden one after the other, each time the one that moves the answer furthest towards the threshold, until it
is crossed; then units are given back as long as one is not needed. Each that is left is needed beside the others; that
no smaller set would do, is not promised. That a deletion flips an answer says what the model leans on, not what the
patient has.

The cost is bounded: one question for each block of patches, unit of words and value; then at most 24 rounds among the
units that did the most alone, of which there are few where a question is costly; then at most 300 questions to give
units back. All in all about twice the work of an explanation by occlusion at most.
P patches, T word pieces, R record columns, U units, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medmm.explain.hiding import Questions, affordable, blocks, members, pieces
from medmm.explain.words import Unit, span_of, word_units
from medmm.result import Deletion, Region

_MOST = 24
"""Units that are hidden at most."""
_CONSIDERED = 48
"""Blocks of patches that the pictures are cut into, where they are not more than that, and units of any kind that are
tried in every round, at most."""
_FEWEST_CONSIDERED = 8


def deletion(asked: Questions, text: str, label: int) -> Deletion | None:
    """A small set of regions, words and values without which a label is called otherwise; None if none was found.

    Args:
        asked: about an encoded case.
        text: the note that was encoded.
        label: number of the label.
    """
    ask = _Ask(asked, text, label)
    hidden = ask.pruned(ask.flipping())
    if not hidden:
        return None
    after = float(ask.answers([hidden])[0])
    return ask.deletion(hidden, after) if ask.flips(after) else None


class _Ask:
    """One label of one case, and all units that may be hidden: blocks of patches, then words, then record values."""

    def __init__(self, asked: Questions, text: str, label: int) -> None:
        self.asked, self.label = asked, label
        model, case = asked.model, asked.case
        most = affordable(case)
        self.block = blocks(case.layout.pictures, min(most, _CONSIDERED))
        self.words: list[Unit] = word_units(case, text, most)
        self.columns: list[int] = case.taken.nonzero()[:, 0].tolist()
        parts = [members(self.block), pieces(case, self.words), torch.eye(len(case.taken))[self.columns].bool()]
        self.sizes = [len(part) for part in parts]
        self.parts = [self._among_all(side, part) for side, part in enumerate(parts)]
        self.considered = max(_FEWEST_CONSIDERED, min(_CONSIDERED, most // _MOST))
        self.before = float(asked.whole[label])
        self.threshold = model.card.thresholds[model.labels[label]]
        self.sign = -1 if self._flagged(self.before) else 1

    def _among_all(self, side: int, part: Tensor) -> Tensor:
        """Tokens of one side's units (units, tokens) -> of all units (U, tokens) float32: 0 for other sides' units."""
        batch = self.asked.batch
        masks = (batch.image_mask, batch.note_mask, batch.record_mask)
        rows = torch.zeros(sum(self.sizes), masks[side].shape[1])
        start = sum(self.sizes[:side])
        if len(part):
            rows[start : start + len(part)] = part.float()
        return rows

    def answers(self, sets: Sequence[Sequence[int]]) -> np.ndarray:
        """Log-odds without each set of units: (K,)."""
        chosen = torch.zeros(len(sets), sum(self.sizes))
        for row, units in enumerate(sets):
            chosen[row, list(units)] = 1
        image, note, record = (chosen @ part > 0 for part in self.parts)
        return self.asked.without(image=image, note=note, record=record)[:, self.label].numpy()

    def flips(self, log_odds: float) -> bool:
        """Whether the label is called otherwise than of the whole case."""
        return self._flagged(log_odds) == (self.sign > 0)

    def _flagged(self, log_odds: float) -> bool:
        return float(np.exp(-np.logaddexp(0, -log_odds))) >= self.threshold

    def flipping(self) -> list[int]:
        """Units without which the label is called otherwise, found by going forward; empty if it never is."""
        alone = self.answers([[unit] for unit in range(sum(self.sizes))])
        considered = np.argsort(-self.sign * alone, kind="stable")[: self.considered].tolist()
        hidden: list[int] = []
        for _ in range(min(_MOST, len(considered))):
            left = [unit for unit in considered if unit not in hidden]
            tried = self.answers([[*hidden, unit] for unit in left]) if hidden else alone[left]
            best = int(np.argmax(self.sign * tried))
            hidden.append(left[best])
            if self.flips(float(tried[best])):
                return hidden
        return []

    def pruned(self, hidden: list[int]) -> list[int]:
        """The same without units that are not needed, one after the other."""
        while len(hidden) > 1:
            fewer = [[unit for unit in hidden if unit != back] for back in hidden]
            tried = self.answers(fewer)
            flipped = [number for number, log_odds in enumerate(tried) if self.flips(float(log_odds))]
            if not flipped:
                break
            hidden = fewer[max(flipped, key=lambda number: self.sign * tried[number])]
        return hidden

    def deletion(self, hidden: list[int], after: float) -> Deletion:
        """Dress units in places and names."""
        first_word, first_column = self.sizes[0], self.sizes[0] + self.sizes[1]
        gone = torch.isin(self.block, torch.tensor([unit for unit in hidden if unit < first_word], dtype=torch.long))
        model, case, regions = self.asked.model, self.asked.case, []
        layout = case.layout
        for number, (picture, patches) in enumerate(zip(layout.pictures, layout.patches, strict=True)):
            cells = [cell for cell, one in zip(picture.cells, gone[patches], strict=True) if one]
            regions += [Region(number, tuple(sorted(cells)))] if cells else []
        names = list(model.card.cohort.record)
        words = sorted(self.words[unit - first_word] for unit in hidden if first_word <= unit < first_column)
        columns = sorted(self.columns[unit - first_column] for unit in hidden if unit >= first_column)
        return Deletion(
            label=model.labels[self.label],
            flagged=self.sign < 0,
            before=self.before,
            after=after,
            regions=tuple(regions),
            words=tuple(span_of(case, unit) for unit in words),
            columns=tuple(names[column] for column in columns),
        )
