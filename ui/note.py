"""The note, with the words that moved the chosen finding marked; a note is untrusted, so all of it is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medmm.result import WordWeight
from medmm.write.paint import COOL, FULL, WARM
from ui.say import escape, signed
from ui.words import NOT_READ, WORTH

_STRONGEST = 0.55
"""Opacity of the strongest mark; text on it keeps a contrast of 4.5 to 1 in the light and in the dark."""
_FAINTEST = 0.1
"""Share of the strongest below which a word is left plain."""


def marked_note(text: str, words: Sequence[WordWeight]) -> str:
    """HTML of the note. Every character of it is kept; a word outside it or across another one is left plain."""
    strongest = max([FULL, *(abs(word.log_odds) for word in words)])
    parts, done = [], 0
    for word in sorted(words, key=lambda word: word.start):
        if not done <= word.start < word.end <= len(text):
            continue
        parts += [escape(text[done : word.start]), _marked(text[word.start : word.end], word.log_odds, strongest)]
        done = word.end
    return f'<div class="mm-note">{"".join(parts)}{_rest(text[done:], bool(words))}</div>'


def _marked(text: str, log_odds: float, strongest: float) -> str:
    """One word: the sign is the hue and the line below, the size the opacity."""
    share = abs(log_odds) / strongest
    if share < _FAINTEST:
        return escape(text)
    red, green, blue = WARM if log_odds > 0 else COOL
    sign = "for" if log_odds > 0 else "against"
    style = f"background-color: rgba({red}, {green}, {blue}, {share * _STRONGEST:.2f})"
    worth = escape(WORTH.format(signed(log_odds)))
    return f'<mark class="mm-{sign}" style="{style}" title="{worth}">{escape(text)}</mark>'


def _rest(text: str, read: bool) -> str:
    """What stands behind the last word that the model read, set apart if there are words in it."""
    if read and re.search(r"\w", text):
        return f'<span class="mm-unread" title="{escape(NOT_READ)}">{escape(text)}</span>'
    return escape(text)
