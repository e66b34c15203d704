"""What each word of the note and each record value was worth: it is hidden, and the same fused model asked again.

Occlusion of whole words (after Li, Monroe & Jurafsky 2016, "Understanding neural networks through representation
erasure"). What is denied is hidden with what denies it, see read.chart.negation: 'no fever' has one worth, and 'fever'
alone has none.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from medmm.explain.hiding import Questions, affordable, pieces
from medmm.model.batch import Features
from medmm.read.chart.negation import phrases
from medmm.result import WordWeight

Unit = tuple[int, ...]
"""Numbers of whole words that are hidden together, in the order of Layout.spans."""


def words(asked: Questions, text: str) -> tuple[tuple[WordWeight, ...], ...]:
    """What each label's log-odds lose without each unit of words, by label and in the order of the note.

    Args:
        asked: about an encoded case.
        text: the note that was encoded.
    """
    case = asked.case
    units = word_units(case, text, affordable(case))
    lost = asked.whole - asked.without(note=pieces(case, units))  # (units, L)
    spans = [span_of(case, unit) for unit in units]
    return tuple(
        tuple(WordWeight(start, end, float(worth)) for (start, end), worth in zip(spans, column, strict=True))
        for column in lost.T
    )


def record_values(asked: Questions) -> tuple[Mapping[str, float], ...]:
    """What each label's log-odds lose without each value that was taken, by label: column name -> log-odds."""
    names, held = list(asked.model.card.cohort.record), asked.case.taken
    taken = held.nonzero()[:, 0].tolist()
    lost = asked.whole - asked.without(record=torch.eye(len(held), dtype=torch.bool)[taken])  # (taken, L)
    return tuple({names[k]: float(worth) for k, worth in zip(taken, column, strict=True)} for column in lost.T)


def word_units(case: Features, text: str, most: int) -> list[Unit]:
    """The units of which a word was read: single words and what is denied, or runs of them that are few enough.

    No run reaches over words that were not read.
    """
    read = set(case.layout.word_of) - {-1}
    units = [unit for unit in phrases(text, case.layout.spans) if not read.isdisjoint(unit)]
    length = max(1, -(-len(units) // most))
    runs: list[Unit] = []
    held = 0
    for unit in units:
        if runs and held < length and runs[-1][-1] == unit[0] - 1:
            runs[-1], held = runs[-1] + unit, held + 1
        else:
            runs.append(unit)
            held = 1
    return runs


def span_of(case: Features, unit: Unit) -> tuple[int, int]:
    """Where a unit begins and ends in the note."""
    return case.layout.spans[unit[0]][0], case.layout.spans[unit[-1]][1]
