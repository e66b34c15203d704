"""What could tell a label without being evidence of it.

Which cells and modalities are there, how a picture was taken, one column alone, the words of a note. N cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np

from medmm.case import MODALITIES
from medmm.read.survey import Surveyed

SuspectKind = Literal["missing", "acquisition", "value", "note"]

_BINS = 10
_EXACT = 12
"""A number of no more different values than this is also looked at value by value, otherwise by tenths."""
_SHOWN = 20
"""Of a tag of words, the commonest so many go into the model of all tags together."""


@dataclass(frozen=True, slots=True, eq=False)
class Suspect:
    """One thing that a label is tried against."""

    kind: SuspectKind
    name: str
    """Column, modality or DICOM keyword; what is meant, where several are tried together."""
    says: str
    """The name in a sentence: "whether 'sex' is empty"."""
    is_input: bool
    """Whether a model would see it: an input column, a modality, the pictures."""
    among: np.ndarray = field(repr=False)
    """(N,) bool: the cases that can be asked."""
    views: tuple[Any, ...] = field(repr=False)
    """The ways in which it is looked at: (N,) float ranks a case higher or lower, (N,) int stands for itself, a matrix
    (N, F), dense or sparse, is put into one linear model."""


def suspects(cases: Sequence[Surveyed], inputs: Collection[str]) -> list[Suspect]:
    """Everything to try a label against; what is the same in all cases is left out, since it tells nothing."""
    return [*_missing(cases, inputs), *_acquisition(cases), *_values(cases, inputs), *_note(cases)]


def _missing(cases: Sequence[Surveyed], inputs: Collection[str]) -> Iterator[Suspect]:
    """Whether each modality and each cell is there; and all that a model would see of that, together."""
    everyone = np.ones(len(cases), dtype=bool)
    seen: list[np.ndarray] = []
    for modality in MODALITIES:
        there = np.array([modality in case.present for case in cases], dtype=float)
        if np.ptp(there):
            seen.append(there)
            yield Suspect("missing", modality, f"whether there is a {modality}", True, everyone, (there,))
    for name in _names(case.cells for case in cases):
        there = np.array([bool(case.cells.get(name, "").strip()) for case in cases], dtype=float)
        if np.ptp(there):
            if name in inputs:
                seen.append(there)
            yield Suspect("missing", name, f"whether '{name}' is empty", name in inputs, everyone, (there,))
    if len(seen) > 1:
        says = "what is missing among all inputs"
        yield Suspect("missing", "all inputs together", says, True, everyone, (np.stack(seen, axis=1),))


def _acquisition(cases: Sequence[Surveyed]) -> Iterator[Suspect]:
    """Each tag of how the picture was taken, of the first picture of a case; and all of them together."""
    pictured = np.array([bool(case.looks) for case in cases], dtype=bool)
    tags = [_tags(case) for case in cases]
    parts: list[np.ndarray] = []
    for name in _names(tags):
        cells = [tag.get(name, "") for tag in tags]
        if len({cell for cell, has in zip(cells, pictured, strict=True) if has}) < 2:
            continue
        views = _views(cells)
        parts.append(_commonest(views[-1]))
        yield Suspect("acquisition", name, f"'{name}' of the picture", True, pictured, views)
    if len(parts) > 1:
        says = "size, shape, device and technique of the picture"
        yield Suspect("acquisition", "all tags together", says, True, pictured, (np.concatenate(parts, axis=1),))


def _tags(case: Surveyed) -> dict[str, str]:
    """How the first picture of a case was taken, and how many there are."""
    if not case.looks:
        return {}
    first = case.looks[0]
    tags = {name: value.strip() for name, value in first.acquisition.items()}
    tags |= {"Modality": first.modality, "number of pictures": str(len(case.looks))}
    rows, columns = _number(tags.get("Rows", "")), _number(tags.get("Columns", ""))
    if rows > 0 and columns > 0:
        tags["shape (columns / rows)"] = f"{columns / rows:.3f}"
    return tags


def _values(cases: Sequence[Surveyed], inputs: Collection[str]) -> Iterator[Suspect]:
    """What each column says where it is not empty, whether it is an input or not."""
    for name in _names(case.cells for case in cases):
        cells = [case.cells.get(name, "").strip() for case in cases]
        if len(set(cells) - {""}) > 1:
            stated = np.array([bool(cell) for cell in cells], dtype=bool)
            yield Suspect("value", name, f"'{name}'", name in inputs, stated, _views(cells))


def _note(cases: Sequence[Surveyed]) -> Iterator[Suspect]:
    """The words of the note, all together."""
    from medmm.judge.leak.giveaway import words_of

    words = words_of(cases, longest=1)
    if words is not None:
        noted = np.array([bool(case.note.strip()) for case in cases], dtype=bool)
        yield Suspect("note", "all words together", "the words of the note", True, noted, (words[0],))


def _names(mappings: Iterable[Mapping[str, str]]) -> list[str]:
    """Every key, in the order of its first appearance."""
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _views(cells: Sequence[str]) -> tuple[np.ndarray, ...]:
    """A column of numbers or dates as ranks and as bins; one of words as codes."""
    numbers = _numbers(cells, _number)
    if numbers is None:
        numbers = _numbers(cells, _day)
    if numbers is None:
        code = {cell: number for number, cell in enumerate(sorted(set(cells)))}
        return (np.array([code[cell] for cell in cells], dtype=np.int64),)
    known = numbers[np.isfinite(numbers)]
    levels = np.unique(known)
    if len(levels) > _EXACT:
        levels = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1]))
    codes = np.searchsorted(levels, numbers, side="left" if len(levels) <= _EXACT else "right")
    codes = np.where(np.isfinite(numbers), codes, len(levels) + 1)
    return numbers, codes.astype(np.int64)


def _numbers(cells: Sequence[str], read: Callable[[str], float]) -> np.ndarray | None:
    """All cells as numbers, NaN for what is none; None if that is more than a tenth of what is stated."""
    numbers = np.array([read(cell) for cell in cells], dtype=float)
    stated = sum(bool(cell) for cell in cells)
    return numbers if stated and np.isfinite(numbers).sum() >= 0.9 * stated else None


def _number(cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _day(cell: str) -> float:
    """A date or a time (ISO 8601) as days."""
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        return math.nan
    return moment.toordinal() + (moment.hour * 60 + moment.minute) / 1440


def _commonest(codes: np.ndarray) -> np.ndarray:
    """A tag for the model of all tags together, its commonest values, or bins, as 0 and 1: (N, values)."""
    values, counts = np.unique(codes, return_counts=True)
    shown = values[np.argsort(-counts, kind="stable")][:_SHOWN]
    return np.asarray(codes[:, None] == shown[None], dtype=float)
