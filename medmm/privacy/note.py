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
from functools import lru_cache
from itertools import pairwise, permutations

from medmm.privacy.patterns import BIRTH, BIRTH_BEHIND, COMMON, MONTHS, PATTERNS, Kind


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
        instead = _instead(text[start:end], kind, None if _is_birth(text, start, end, known) else shift_days)
        if any(mentions(instead, name) for name in known.names):  # '3 Jan 2024', of Jan
            instead = f"[{kind}]"
        parts += [text[place:start], instead]
        new += start - place
        done.append(Replacement(kind, start, end, new, new + len(instead)))
        new, place = new + len(instead), end
    return "".join([*parts, text[place:]]), tuple(done)


_SAME = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "a", "œ": "o", "ı": "i", "þ": "th"})
_LONG = 6
"""Letters and digits from which a name or an id is recognised across separators, and within a longer word."""
_LONG_ID = 5
_APART = 3
"""So many characters that are neither letters nor digits part two words for good."""


def fold(word: str) -> str:
    """Return the key by which names and ids are compared, here, in headers and in verification.

    It has no capitals, accents, separators and apostrophes; Mueller is Müller, Sorensen is Sørensen.
    """
    return _keys(word)[0]


@lru_cache(maxsize=2**14)
def _keys(value: str) -> tuple[str, ...]:
    """The key of a name or an id, and if parts of it are far apart, what a text says that has it so."""
    letters = _with_places(value).letters
    return tuple(dict.fromkeys((letters.replace("\n", ""), letters)))


@dataclass(frozen=True, slots=True)
class _Folded:
    """A text as a key, and where each of its characters comes from."""

    letters: str
    """Line feeds are where words are far apart."""
    places: tuple[int, ...]
    """For each of `letters` its place in the text, and the text's length."""
    borders: frozenset[int]
    """Places in `letters` before which a word ends or begins."""


@lru_cache(maxsize=8)
def _folded(text: str) -> _Folded:
    """Fold a text that is searched for many values."""
    return _with_places(text)


def _with_places(text: str) -> _Folded:
    letters: list[str] = []
    places: list[int] = []
    borders, apart = {0}, 0
    for place, character in enumerate(text):
        plain = unicodedata.normalize("NFKD", character.casefold().translate(_SAME))
        known = [one for one in plain if one.isalnum()]
        if not known:
            apart += not unicodedata.combining(character)
            continue
        if apart:
            if apart >= _APART:
                borders.add(len(letters))
                letters.append("\n")
                places.append(place)
            borders.add(len(letters))
            apart = 0
        for one in known:
            if not (one == "e" and len(letters) not in borders and letters[-1] in "aou"):  # ue is ü
                letters.append(one)
                places.append(place)
    return _Folded("".join(letters), (*places, len(text)), frozenset(borders | {len(letters)}))


def _places(text: str, value: str) -> Iterator[tuple[int, int]]:
    """Where a text says a value as words of their own, however it is spelt, with a genitive's s or without."""
    for key in _keys(value):
        yield from _places_of(text, value, key)


def _places_of(text: str, value: str, key: str) -> Iterator[tuple[int, int]]:
    folded = _folded(text)
    place = folded.letters.find(key) if key else -1
    while place >= 0:
        behind = place + len(key)
        ends = behind in folded.borders
        if not ends and key.isalpha() and folded.letters[behind] == "s" and behind + 1 in folded.borders:
            behind, ends = behind + 1, True
        if (place in folded.borders and ends) or _has_no_capitals(key):
            start, end = folded.places[place], folded.places[behind - 1] + 1
            while end < len(text) and unicodedata.combining(text[end]):
                end += 1
            said = text[start:end]
            if len(key) >= _LONG or not re.search(r"[\s/_.,;:]", said) or said.casefold() == value.casefold():
                yield start, end
        place = folded.letters.find(key, place + 1)


def _has_no_capitals(key: str) -> bool:
    """Whether a word is of a script without capitals, and often without spaces."""
    return key.isalpha() and not key.isascii() and key.lower() == key.upper()


def name_parts(name: str) -> set[str]:
    """Return the parts of a person's name in DICOM form (PS3.5 6.2.1.2) or as a table writes it.

    Of a double name also its halves; a name of a script without capitals also as a whole.
    """
    parts = {part for part in re.split(r"[\^=\s,.;/()_]+", name) if len(part) >= 2 and not part.isdigit()}
    parts |= {half for part in parts for half in re.split(r"['’-]", part) if len(half) >= 3 and not half.isdigit()}
    parts |= {joined for one in re.split(r"[\^=,]", name) if " " in one.strip() and len(joined := fold(one)) >= _LONG}
    return parts | {one for group in name.split("=") if _has_no_capitals(one := re.sub(r"[\^\s]", "", group))}


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
    for name in known.names:
        for start, end in _places(text, name):
            if is_telling(name) or not text[start].islower():
                yield start, end, Kind.NAME
    for value in known.values:
        if is_telling(value):
            kind = Kind.ID if any(letter.isdigit() for letter in value) else Kind.PLACE
            yield from ((*span, kind) for span in _places(text, value))
    for start, end in _words(text):
        word = text[start:end]
        numbered = any(letter.isdigit() for letter in word)
        if (numbered or not word[:1].islower()) and {fold(word), fold(word).removesuffix("s")} & known.everyone:
            yield start, end, Kind.ID if numbered else Kind.NAME
    for key in _without_capitals(known.everyone):
        yield from ((*span, Kind.NAME) for span in _places(text, key))


def _words(text: str) -> Iterator[tuple[int, int]]:
    """Words, their pieces, and with digits two or three together, as an id may be written."""
    matches = list(_TOKEN.finditer(text))
    for number, match in enumerate(matches):
        yield from _pieces(match)
        for last, following in enumerate(matches[number + 1 : number + 3], start=number):
            if following.start() - matches[last].end() >= _APART:
                break
            if re.search(r"\d", text[match.start() : following.end()]):
                yield match.start(), following.end()


@lru_cache(maxsize=1)
def _without_capitals(everyone: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(key for key in everyone if _has_no_capitals(key)))


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


def _is_birth(text: str, start: int, end: int, known: Known) -> bool:
    """Whether a date is said to be one of birth, or may be read as that of the header."""
    if BIRTH.search(text[max(0, start - 32) : start]) or BIRTH_BEHIND.match(text[end : end + 16]):
        return True
    found = text[start:end]
    month = next((MONTHS[_month(word)] for word in re.findall(r"[^\W\d_]+", found) if _month(word) in MONTHS), 0)
    groups = re.findall(r"\d+", found)
    if len(groups) == 1 and len(groups[0]) == 8:
        groups = [groups[0][:4], groups[0][4:6], groups[0][6:]]
    numbers = [int(group) for group in groups] + ([month] if month else [])
    dates = {(y + century, m, d) for y, m, d in permutations(numbers, 3) for century in (0, 1900, 2000)}
    days = [value for value in known.values if re.fullmatch(r"\d{8}", value)]
    return any((int(day[:4]), int(day[4:6]), int(day[6:])) in dates for day in days)


def _shifted(found: str, days: int) -> str:
    """Move a full date and write it as it was; '' if it is not full or may be read in two ways."""
    numbers = list(re.finditer(r"\d+", found))
    month = next((word for word in re.findall(r"[^\W\d_]+", found) if _month(word) in MONTHS), "")
    if month and len(numbers) == 2 and len(numbers[1].group()) == 4:
        day, year = int(numbers[0].group()), int(numbers[1].group())
        moved = _moved(year, MONTHS[_month(month)], day, days)
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


def _month(word: str) -> str:
    """Return a word without capitals and accents."""
    letters = unicodedata.normalize("NFKD", word.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


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
    key = fold(value)
    return len(key) >= (5 if key.isdigit() else 2 if _has_no_capitals(key) else 3)


def mentions(text: str, value: str, inside: bool = False) -> bool:
    """Whether a text says a value as words of their own, however it is spelt.

    Args:
        text: a note, or what a header says.
        value: a name, an id, ...
        inside: a long one also within a longer word.
    """
    key = fold(value)
    long = len(key) >= (_LONG_ID if any(letter.isdigit() for letter in key) else _LONG)
    if inside and long:
        return any(one in _folded(text).letters for one in _keys(value))
    return next(_places(text, value), None) is not None


def looks_identifying(text: str) -> bool:
    """Whether a short text of a header holds what looks like a date, a person, a telephone or an address."""
    kinds = (Kind.DATE, Kind.PHONE, Kind.EMAIL, Kind.URL, Kind.NAME)
    return any(kind in kinds for _, _, kind in _by_pattern(text))


def names_someone(text: str, everyone: frozenset[str], sentence: bool = False) -> bool:
    """Whether a text that is to be written names one of `Known.everyone`; what stands in brackets is ours.

    Args:
        text: a name of a column, a cell, a note without identities, a sentence of a report.
        everyone: folded names and ids.
        sentence: whether its first word, and one behind a full stop, has a capital anyway.
    """
    text = re.sub(r"\[[A-Z]+\]", "\n" * _APART, text)
    for start, end in _words(text):
        key, before = fold(text[start:end]), text[:start].rstrip()
        ours = key.isdigit() or key in COMMON or key in MONTHS or (sentence and (not before or before[-1] in ".;:"))
        said = not text[start].islower() or any(letter.isdigit() for letter in key)
        if said and not ours and {key, key.removesuffix("s")} & everyone:
            return True
    return any(key in _folded(text).letters for key in _without_capitals(everyone))


def known_words(text: str, everyone: frozenset[str]) -> list[str]:
    """Return which of `Known.everyone` a note may name, sorted."""
    keys = {fold(text[start:end]) for start, end in _words(text)}
    keys |= {key.removesuffix("s") for key in keys}
    letters = _folded(text).letters
    return sorted((keys & everyone) | {key for key in _without_capitals(everyone) if key in letters})
