"""What a note says of who and where: found by the header's own names, the patient list and patterns, and replaced.

No model is used. What that misses is said in docs/deidentification.md: names that stand in no header, in no list and
behind no title; rare places; nicknames; what only a reader would understand.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise

from medmm.privacy.patterns import BIRTH, COMMON, MONTHS, PATTERNS, Kind


@dataclass(frozen=True, slots=True)
class Replacement:
    """One place in a note that was replaced. Offsets count characters, ends excluded."""

    kind: Kind
    start: int
    end: int
    new_start: int
    new_end: int


@dataclass(frozen=True, slots=True)
class Known:
    """What is known to identify: of the patient of this note, and of everyone else in the cohort."""

    names: frozenset[str] = field(default=frozenset(), repr=False)
    """Parts of names in the patient's own headers and row, of two letters or more."""
    values: frozenset[str] = field(default=frozenset(), repr=False)
    """Ids, institutions, addresses and other whole values of the patient's own headers and row."""
    everyone: frozenset[str] = field(default=frozenset(), repr=False)
    """Folded parts of the names, and ids, of all patients of the cohort; see `fold`."""


def clean_note(text: str, known: Known, shift_days: int | None) -> tuple[str, tuple[Replacement, ...]]:
    """Replace what identifies in a note.

    Args:
        text: in Unicode NFC.
        known: names and values that are known beforehand.
        shift_days: a date that can be read in one way only is moved by so many days and written with its own
            separators, or as '3 Dec 2023'; birth dates, all others, and all dates if None become '[DATE]'.

    Returns:
        The new text, and each place that changed, in order.
    """
    parts: list[str] = []
    done: list[Replacement] = []
    place = new = 0
    for start, end, kind in _spans(text, known):
        born = BIRTH.search(text[max(0, start - 24) : start])
        instead = _instead(text[start:end], kind, None if born else shift_days)
        parts += [text[place:start], instead]
        new += start - place
        done.append(Replacement(kind, start, end, new, new + len(instead)))
        new, place = new + len(instead), end
    return "".join([*parts, text[place:]]), tuple(done)


def fold(word: str) -> str:
    """Return a word without capitals and accents, for comparison."""
    letters = unicodedata.normalize("NFKD", word.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def name_parts(name: str) -> set[str]:
    """Return the parts of a person's name in DICOM form (PS3.5 6.2.1.2) or as a table writes it."""
    return {part for part in re.split(r"[\^=\s,.;/()_]+", name) if len(part) >= 2 and not part.isdigit()}


_TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def _spans(text: str, known: Known) -> list[tuple[int, int, Kind]]:
    """Return the places to replace, in order; where two meet, both go, as what begins first or else is longer."""
    found = sorted([*_by_pattern(text), *_by_knowledge(text, known)], key=lambda span: (span[0], -span[1]))
    merged: list[tuple[int, int, Kind]] = []
    for start, end, kind in found:
        if merged and start < merged[-1][1]:
            first, last, first_kind = merged[-1]
            merged[-1] = (first, max(last, end), first_kind)
        else:
            merged.append((start, end, kind))
    return merged


def _by_pattern(text: str) -> Iterator[tuple[int, int, Kind]]:
    """What looks like a date, a number, a place or a name; a pattern's group is what is replaced, if it has one."""
    for kind, pattern in PATTERNS:
        for match in pattern.finditer(text):
            numbered = pattern.groups - len(pattern.groupindex)
            start, end = match.span(1) if numbered and match.group(1) else match.span()
            words = [word.casefold() for word in _TOKEN.findall(text[start:end])]
            if kind in (Kind.NAME, Kind.PLACE) and all(word in COMMON for word in words):
                continue
            if kind is Kind.PLACE and start == match.start() and text[start:end].split(" ")[0] in ("The", "In", "At"):
                start += len(text[start:end].split(" ")[0]) + 1
            yield start, end, kind


def _by_knowledge(text: str, known: Known) -> Iterator[tuple[int, int, Kind]]:
    """What the patient's headers, row, and the list of all patients name."""
    own = {fold(name) for name in known.names}
    for match in _TOKEN.finditer(text):
        for start, end in _pieces(match):
            word = text[start:end]
            folded = fold(word)
            if folded in own and (len(folded) >= 3 or word[:1].isupper()):
                yield start, end, Kind.NAME
            elif folded in known.everyone and (word[:1].isupper() or any(letter.isdigit() for letter in word)):
                yield start, end, Kind.ID if any(letter.isdigit() for letter in word) else Kind.NAME
    for value in known.values:
        if is_telling(value):
            pattern = r"\s+".join(re.escape(part) for part in value.split())
            for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE):
                digits = any(letter.isdigit() for letter in value)
                yield match.start(), match.end(), Kind.ID if digits else Kind.PLACE


def _pieces(match: re.Match[str]) -> Iterator[tuple[int, int]]:
    """A word, and the parts of one with hyphens or an apostrophe."""
    yield match.span()
    parts = list(re.finditer(r"[^\W_]+", match.group()))
    if len(parts) > 1:
        yield from ((match.start() + part.start(), match.start() + part.end()) for part in parts)


def _instead(found: str, kind: Kind, shift_days: int | None) -> str:
    """Return what stands there from now on."""
    if kind is Kind.AGE:
        return "90"
    if kind is Kind.DATE and shift_days is not None:
        return _shifted(found, shift_days) or "[DATE]"
    return f"[{kind}]"


def _shifted(found: str, days: int) -> str:
    """Move a full date and write it as it was; '' if it is not full or may be read in two ways."""
    numbers = list(re.finditer(r"\d+", found))
    month = next((word for word in re.findall(r"[^\W\d_]+", found) if fold(word) in MONTHS), "")
    if month and len(numbers) == 2 and len(numbers[1].group()) == 4:
        day, year = int(numbers[0].group()), int(numbers[1].group())
        moved = _moved(year, MONTHS[fold(month)], day, days)
        return f"{moved.day} {moved:%b} {moved.year}" if moved else ""
    if len(numbers) == 1 and len(found) == 8 and found.isdigit():
        moved = _moved(int(found[:4]), int(found[4:6]), int(found[6:]), days)
        return moved.strftime("%Y%m%d") if moved else ""
    if month or len(numbers) != 3:
        return ""
    order = _order([one.group() for one in numbers], found)
    if not order:
        return ""
    values = dict(zip(order, (int(one.group()) for one in numbers), strict=True))
    moved = _moved(values["y"], values["m"], values["d"], days)
    if not moved:
        return ""
    new = {"y": moved.year, "m": moved.month, "d": moved.day}
    padded = all(len(one.group()) >= 2 for one in numbers)
    parts = [f"{new[part]:02d}" if padded else str(new[part]) for part in order]
    between = [found[a.end() : b.start()] for a, b in pairwise(numbers)]
    return parts[0] + between[0] + parts[1] + between[1] + parts[2]


def _order(numbers: list[str], found: str) -> str:
    """Return 'ymd', 'dmy' or 'mdy'; '' if it cannot be told."""
    if len(numbers[0]) == 4:
        return "ymd"
    if len(numbers[2]) != 4:
        return ""
    if "." in found or int(numbers[0]) > 12:
        return "dmy"
    return "mdy" if int(numbers[1]) > 12 else ""


def _moved(year: int, month: int, day: int, days: int) -> date | None:
    """Return the day so many days later; None if there is no such day."""
    try:
        return date(year, month, day) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None


def identifying_words(values: Collection[str]) -> frozenset[str]:
    """Return the folded words of many names and ids, for `Known.everyone`."""
    return frozenset(fold(part) for value in values for part in (*name_parts(value), value) if is_telling(part))


def is_telling(value: str) -> bool:
    """Whether a value can be looked for: '103' would be found in every second note, 'Lee' and 'P103' would not."""
    return len(value) >= (5 if value.isdigit() else 3)


def mentions(text: str, value: str) -> bool:
    """Whether a text says a value as words of their own, whatever the capitals."""
    text, value = text.casefold(), value.casefold()
    return value in text and re.search(rf"(?<![^\W_]){re.escape(value)}(?![^\W_])", text) is not None


def words_of(text: str) -> set[str]:
    """Return the folded words of a note, as they are compared with `Known.everyone`."""
    pieces = (piece for match in _TOKEN.finditer(text) for piece in _pieces(match))
    return {fold(text[start:end]) for start, end in pieces}
