"""Which notes of two patients are the same for a reason other than that notes are alike."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

_ODDS = 0.01
"""Chance, over the whole cohort, that some two patients have one note by coincidence, below which it is none."""
_FEW = 5
"""A text that more patients share, and more than one in a hundred of them, is boilerplate."""
_START = ""


def coincidences(notes: Sequence[str], patients: Sequence[str]) -> tuple[list[list[int]], int]:
    """Find notes that two or more patients share and that are too rare for chance.

    How likely a note is by chance is what a model of word pairs (add-a-little bigrams, backed by single words) says
    that was counted on the notes of all *other* patients: 'male, 63 years, cough' is as likely as its words, so a
    template's coincidences are expected; a sentence that somebody thought of is not. A note is a finding where the
    expected number of coinciding pairs of patients, the note's probability times the number of pairs, is below 0.01.

    Args:
        notes: of each case; '' for none.
        patients: of each case.

    Returns:
        For each such note the places of one case a patient, and how many texts were left out as boilerplate.
    """
    words = [tuple(re.findall(r"\w+", note.casefold())) for note in notes]
    holders: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for place, (text, patient) in enumerate(zip(words, patients, strict=True)):
        if text:
            holders[text].setdefault(patient, place)
    shared = {text: those for text, those in holders.items() if len(those) > 1}
    everyone = {patient for those in holders.values() for patient in those}
    many = max(_FEW, len(everyone) / 100)
    boilerplate = [text for text, those in shared.items() if len(those) > many]
    singles, pairs = Counter[str](), Counter[tuple[str, str]]()
    for text, those in holders.items():
        for word in (_START, *text):
            singles[word] += len(those)
        for pair in pairwise((_START, *text)):
            pairs[pair] += len(those)
    limit = math.log(_ODDS) - math.log(max(len(everyone) * (len(everyone) - 1) / 2, 1))
    found = [
        sorted(those.values())
        for text, those in shared.items()
        if len(those) <= many and _chance(text, len(those), singles, pairs) < limit
    ]
    return sorted(found), len(boilerplate)


def _chance(text: tuple[str, ...], holders: int, singles: Counter[str], pairs: Counter[tuple[str, str]]) -> float:
    """Natural logarithm of the probability of a note, its `holders` own copies not counted."""
    own_singles, own_pairs = Counter((_START, *text)), Counter(pairwise((_START, *text)))
    total = sum(singles.values()) - holders * sum(own_singles.values())
    different = len(singles)
    chance = 0.0
    for before, word in pairwise((_START, *text)):
        alone = (singles[word] - holders * own_singles[word] + 1) / (total + different)
        after = singles[before] - holders * own_singles[before]
        together = pairs[before, word] - holders * own_pairs[before, word]
        chance += math.log((together + alone) / (after + 1))
    return chance
