"""Which words of a note belong together because one of them denies the others: 'no fever' says nothing of a fever.

A small rule set after NegEx (Chapman et al. 2001, "A simple algorithm for identifying negated findings and diseases in
discharge summaries") and ConText (Harkema et al. 2009), for English, German and French (Chapman et al. 2013, "Extending
the NegEx lexicon for multiple languages"). A cue denies what follows it, or what stands before it where nothing
follows; its scope ends at a stop, a term that turns the sentence, the next cue, or after a few words.

It groups words and judges nothing else: that a fever was years ago, or a sister's, it does not know.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Gap = Literal["", ",", ":", "."]
"""What lies between two words: nothing that counts, a comma, a sign or line that announces or sets apart, a stop."""

_FORWARD = 6
"""Words with a meaning of their own that a cue denies, as in NegEx."""
_FORWARD_SAID = 12
"""The same for who denies a list: 'denies a, b, c and d'."""
_BACKWARD = 6
_LONGEST_CUE = 3
_AHEAD = 40
"""Words that are looked at for the end of a clause or a list, so that the work grows with the note and no faster."""

_PSEUDO = re.compile(
    r"no (significant |interval |definite |suspicious |relevant )?(change|increase|decrease)|no doubt"
    r"|not (only|necessarily|certain)|without (difficulty|change)|(gram|false) negatives?|be (ruled out|excluded)"
    r"|nicht (nur|unbedingt|zwingend)|keine (anderung|zunahme|befundanderung)|(kein|ohne) zweifel|ohne probleme"
    r"|zum ausschluss|pas (seulement|forcement)|sans (difficulte|changement)|pas de changement"
)
"""What looks like a denial and is none."""
_SAID = re.compile(
    r"den(y|ies|ied|ying)|(neg|negative?|negatif) (for|fur|pour)|free of|frei von|verneint|nie (la|les?)"
    r"|weder|neither"
)
"""Cues that govern a list, over commas and 'and'."""
_VERB = re.compile(r"not|\w+n't|cannot|nicht|pas")
"""Cues that deny a verb: its subject belongs to them."""
_BACK = re.compile(
    r"(was|were|is|are|been) (ruled out|excluded)|absent(e?s)?|absente|negative?|negativ|neg|negatifs?|negatives"
    r"|excluded|ausgeschlossen|exclu(e?s)?|exclue|resolved|settled|subsided|recovered|abgeklungen|resolue?s?"
)
"""Cues that deny what stands before them, or what follows where nothing does."""
_FRONT = re.compile(
    r"no|without|w/o|nil|never|non|none|nobody|no-one|nothing|nor|absence|lack(s|ing)?|excludes|rules out|ruled out"
    r"|kein(e[mnrs]?|erlei)?|nein|ohne|nie|niemals|nichts|fehlend(e[mnrs]?)?|ausschluss"
    r"|sans|aucune?|ni|nie|jamais|rien|exclut"
)


def _terms(words: str) -> frozenset[str]:
    """Words that are written side by side."""
    return frozenset(words.split())


_TURN = _terms("""
    but however although though nevertheless yet except still because since who which whose reports complains presents
    shows has positive also today apart aside secondary due
    aber jedoch doch allerdings obwohl sondern ausser wegen seit weil klagt berichtet zeigt dafur
    mais cependant toutefois pourtant sauf hormis depuis car presente montre
""")
"""Terms that end a scope."""
_OR = _terms("or nor oder noch ou ni")
_AND = _terms("and plus und sowie et")
_EMPTY = _terms("""
    a an the of for to in on at any other evidence sign signs suggestion indication symptoms history complaints known
    is was were are be been has have had
    ein eine einen einer der die das den dem des fur auf von zu anhalt hinweis hinweise zeichen ist war wird wurde
    de du des la le les un une d en pour signe signes argument faveur est ete
""")
"""Words that are not counted."""
_SEEN = _terms("""
    seen found identified visible detected noted present evident demonstrated visualised visualized appreciated shown
    nachweisbar erkennbar abgrenzbar sichtbar nachgewiesen gesehen vorhanden nachzuweisen abzugrenzen
    vu vue visible retrouve retrouvee observe observee
""")
"""What is denied with its subject: 'effusion is not seen'."""
_LIGHT = _SEEN | _terms("""
    now since currently today long longer more ever either fully settled resolved recovered gone none not clearly
    the patient he she has have had is was does did been be to
    jetzt aktuell mehr seither derzeit hat zu maintenant actuellement depuis ete
""")
"""Of such words alone a clause says nothing, and denies the clause before it: 'a fever last year, none now'."""


def phrases(text: str, words: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Group the whole words of a note: what is denied with its cue, every other word alone.

    Args:
        text: the note.
        words: where each whole word begins and ends, in order.

    Returns:
        Numbers of words, each in exactly one group, in order; a group is a run of neighbours.
    """
    note = _Words(
        [_plain(text[start:end]) for start, end in words],
        [_gap(text, words, number) for number in range(len(words))],
    )
    groups: list[tuple[int, ...]] = []
    for start, end in note.denied():
        done = groups[-1][-1] + 1 if groups else 0
        groups += [(number,) for number in range(done, start)] + [tuple(range(start, end))]
    done = groups[-1][-1] + 1 if groups else 0
    return groups + [(number,) for number in range(done, len(words))]


def _plain(word: str) -> str:
    """A word in small letters without accents."""
    letters = unicodedata.normalize("NFKD", word.replace("’", "'").casefold())
    return "".join(one for one in letters if not unicodedata.combining(one))


def _gap(text: str, words: Sequence[tuple[int, int]], number: int) -> Gap:
    """What lies before a word."""
    if not number:
        return "."
    before, start = words[number - 1], words[number][0]
    between = text[before[1] : start]
    if re.search(r"[.;!]|\n[^\S\n]*\n", between) and _plain(text[slice(*before)]) != "neg":
        return "."
    if re.search(r"[:?=()\[\]–—]|\s-\s", between) or ("\n" in between and not text[start].islower()):
        return ":"
    return "," if "," in between else ""


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of a note, plain, and what lies before each."""

    plain: list[str]
    gaps: list[Gap]

    def denied(self) -> list[tuple[int, int]]:
        """First word of each denial and the word behind its last, in order."""
        found: list[tuple[int, int]] = []
        at = 0
        while at < len(self.plain):
            if pseudo := self._match(_PSEUDO, at):
                at = pseudo
                continue
            floor = found[-1][1] if found else 0
            start, end = self._scope(at, floor)
            if end - start > 1:
                found.append((start, end))
            at = max(at + 1, end)
        return found

    def _scope(self, at: int, floor: int) -> tuple[int, int]:
        """What the cue at a word denies, with the cue; nothing where there is no cue."""
        if cue := self._match(_SAID, at):
            end = self._forward(cue, _FORWARD_SAID, said=True)
            return (at, end) if end > cue else (self._backward(at, floor, crosses=True), end)
        if cue := self._match(_BACK, at):
            start = self._backward(at, floor, crosses=self._is_light(cue, self._clause_end(cue)))
            if start < at:
                return start, self._light_clauses(self._light_end(cue))
            return at, self._forward(cue, _FORWARD, said=False)
        verb = self._match(_VERB, at)
        cue = verb or self._match(_FRONT, at)
        if not cue:
            return at, at
        end, clause = self._forward(cue, _FORWARD, said=False), self._clause_end(cue)
        if self._is_light(cue, clause) and (cue < clause or cue == end):
            return self._backward(at, floor, crosses=True), clause
        light = self._light_end(cue)
        if verb and not _SEEN.isdisjoint(self.plain[cue:light]):
            return self._backward(at, floor, crosses=False), light
        noun = cue < len(self.plain) and re.match(r"de\b|d'|des\b", self.plain[cue])  # pas de fièvre
        if verb and not noun and self._count(cue, clause) <= 2:
            return self._backward(at, floor, crosses=False), end
        return at, end

    def _match(self, pattern: re.Pattern[str], at: int) -> int:
        """The word behind the longest cue that begins at a word; 0 if none does."""
        for end in range(min(at + _LONGEST_CUE, len(self.plain)), at, -1):
            whole = not any(self.gaps[at + 1 : end])
            if whole and pattern.fullmatch(" ".join(self.plain[at:end])):
                return end
        return 0

    def _is_cue(self, at: int) -> bool:
        return self.plain[at] not in _OR and any(
            self._match(pattern, at) for pattern in (_PSEUDO, _SAID, _VERB, _BACK, _FRONT)
        )

    def _forward(self, first: int, most: int, *, said: bool) -> int:
        """The word behind the last that is denied, of those from `first`."""
        at, counted = first, 0
        while at < len(self.plain) and counted < most:
            gap, word = self.gaps[at], self.plain[at]
            if gap == "." or (gap == ":" and at > first) or word in _TURN or (at > first and self._is_cue(at)):
                break
            if gap == "," and (at == first or not (said or self._is_list(at))):
                break
            if word in _AND and not said and not self._ends_soon(at + 1):
                break
            counted += word not in _EMPTY
            at += 1
        while at > first and self.plain[at - 1] in _OR | _AND:
            at -= 1
        return at

    def _is_list(self, at: int) -> bool:
        """Whether a comma goes on with a list: its items are few words and 'or' closes it, or are bare words."""
        first, items = at, [0]
        while at < min(first + _AHEAD, len(self.plain)) and (at == first or self.gaps[at] not in (".", ":")):
            item_begins = self.gaps[at] == "," or self.plain[at - 1] in _AND
            if self.plain[at] in _OR:
                return max(items) <= 3
            if self._is_cue(at):
                return item_begins and max(items) <= 1
            if self.plain[at] in _TURN:
                return False
            if self.plain[at] in _AND or (self.gaps[at] == "," and at > first):
                items.append(0)
            items[-1] += self.plain[at] not in _AND
            at += 1
        return (at == len(self.plain) or self.gaps[at] == ".") and max(items) <= 1

    def _ends_soon(self, at: int) -> bool:
        """Whether one or two words are left of a sentence, as in 'no fever and chills'."""
        end = min(at + 3, len(self.plain))
        left = next((k for k in range(at, end) if self.gaps[k] == "."), end) - at
        turned = any(self.gaps[k] or self.plain[k] in _TURN or self._is_cue(k) for k in range(at, at + left))
        return 0 < left <= 2 and not turned

    def _clause_end(self, at: int) -> int:
        """The first word from `at` that a sign stands before, or an 'and'."""
        end = min(at + _AHEAD, len(self.plain))
        return next((k for k in range(at, end) if self.gaps[k] or self.plain[k] in _AND), end)

    def _is_light(self, start: int, end: int) -> bool:
        return all(word in _LIGHT for word in self.plain[start:end])

    def _light_end(self, at: int) -> int:
        """The word behind those from `at` that only say that something is seen, or when."""
        end = self._clause_end(at)
        return next((k for k in range(at, end) if self.plain[k] not in _LIGHT), end)

    def _light_clauses(self, at: int) -> int:
        """The word behind the clauses from `at` that say nothing of their own."""
        while at < len(self.plain) and self.gaps[at] == "," and self._is_light(at, self._clause_end(at + 1)):
            at = self._clause_end(at + 1)
        return at

    def _count(self, start: int, end: int) -> int:
        return sum(word not in _EMPTY for word in self.plain[start:end])

    def _backward(self, cue: int, floor: int, *, crosses: bool) -> int:
        """The first word that is denied, of those before a cue; `crosses`: nothing but light words follows the cue."""
        at, counted = cue, 0
        answers = self.gaps[cue] == ":"  # 'fever and cough: no'
        while at > floor and counted < _BACKWARD:
            gap, word = self.gaps[at], self.plain[at - 1]
            if gap == "." or (gap == ":" and at < cue):
                break
            if gap == "," and not (crosses and self._is_light(at, cue)):
                break
            if (word in _TURN and word not in _LIGHT) or (word in _AND and not answers):
                break
            counted += word not in _EMPTY | _LIGHT
            at -= 1
        while at < cue and self.plain[at] in _OR | _AND:
            at += 1
        return at
