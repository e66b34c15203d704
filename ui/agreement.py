"""What people's words say of a model over time: in numbers, with the measures of `medmm.judge`. No Streamlit.

N predictions of one model, L labels. A word on a prediction counts as the answer where those who could judge agree, or
somebody adjudicated. People review what they choose to, the most urgent first, so none of this is the whole cohort.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from medmm.case import RecordValue
from medmm.judge.calibration import Reliability, ece_if_calibrated, reliability
from medmm.judge.drift import ENOUGH_REVIEWED
from medmm.judge.metrics import resample_patients
from medmm.judge.subgroups import GroupRow, by_group
from medmm.result import Finding, Prediction, Review
from ui.words import AGES, GIVEN

Row = tuple[Prediction, datetime, Mapping[str, RecordValue], tuple[Review, ...]]
"""One row of Store.history."""
AGE, OLD = ("age", "age_years"), 65
"""Record columns with an age in years, and where its two groups meet."""
_MOST_VALUES = 8
"""A column with more values names no groups."""
_RESAMPLES = 200


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """One label: stated probabilities, and what people said."""

    label: str
    read: int
    """Predictions with a word on it."""
    agreed: int
    """Of those that the model called and people answered, where the answer is what it had called."""
    called: int
    """How many those are: of what is uncertain the model calls nothing."""
    answered: int
    """Predictions with one answer of people."""
    twice: int
    """Predictions that two or more could judge."""
    alike: int
    """Of those, where they said the same."""
    older: Reliability | None
    """Of the first half of the answers; None if a half would hold fewer than ENOUGH_REVIEWED."""
    newer: Reliability
    """Of the second half, or of all of them."""
    by_luck: float
    """The calibration error of the newer that so few answers give by luck alone."""


def groups(history: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Attribute -> the group of each prediction, '' where it is not known; an attribute with one group is left out."""
    columns = sorted({column for _, _, record, _ in history for column in record})
    found = {column: tuple(_group(column, record.get(column)) for _, _, record, _ in history) for column in columns}
    found[GIVEN] = tuple(", ".join(said.present) for said, *_ in history)
    return {name: values for name, values in found.items() if 1 < len(set(values) - {""}) <= _MOST_VALUES}


def _group(column: str, value: RecordValue | None) -> str:
    if isinstance(value, str):
        return value
    if column.lower() in AGE and value is not None:
        return AGES[value >= OLD].format(OLD)
    return ""


def told(history: Sequence[Row]) -> list[Told]:
    """Every label, as people and the model agree on it."""
    labels = [one.label for one in history[0][0].findings] if history else []
    return [_told(label, history) for label in labels]


def _told(label: str, history: Sequence[Row]) -> Told:
    on = [(_finding(said, label), _judging(words, label)) for said, _, _, words in history]
    answers, stated = np.array([_answer(words) for _, words in on]), np.array([one.probability for one, _ in on])
    calls = np.array([one.call for one, _ in on])
    known = np.flatnonzero(np.isfinite(answers))
    called = known[calls[known] != "uncertain"]
    half = len(known) // 2 if len(known) >= 2 * ENOUGH_REVIEWED else 0
    older, newer = known[:half], known[half:]
    twice = [words for _, words in on if len(words) > 1]
    return Told(
        label,
        read=sum(any(word.label == label for word in words) for *_, words in history),
        agreed=int((answers[called] == (calls[called] == "flagged")).sum()),
        called=len(called),
        answered=len(known),
        twice=len(twice),
        alike=sum(len({word.present for word in words}) == 1 for words in twice),
        older=reliability(answers[older], stated[older], _bins(older)) if half else None,
        newer=reliability(answers[newer], stated[newer], _bins(newer)),
        by_luck=ece_if_calibrated(stated[newer], _bins(newer)),
    )


def by_groups(history: Sequence[Row]) -> tuple[GroupRow, ...]:
    """Every label in every group, against what people said; each case counts as a patient of its own."""
    answered = [row for row in history if any(word.present is not None for word in row[3])]
    if not answered:
        return ()
    labels = [one.label for one in answered[0][0].findings]
    cases = [said.case_id for said, *_ in answered]
    findings = [[_finding(said, label) for label in labels] for said, *_ in answered]
    return by_group(
        np.array([[_answer(_judging(words, label)) for label in labels] for *_, words in answered]),
        np.array([[one.probability for one in row] for row in findings]),
        np.array([[one.threshold for one in row] for row in findings]),
        labels,
        cases,
        groups(answered),
        resample_patients(cases, _RESAMPLES, seed=0),
    )


def _finding(said: Prediction, label: str) -> Finding:
    return next(one for one in said.findings if one.label == label)


def _judging(words: Iterable[Review], label: str) -> list[Review]:
    """The newest word of each person who could say whether the label holds; the adjudicator's alone if there is one."""
    newest = {word.reviewer: word for word in words if word.label == label}
    said = [word for word in newest.values() if word.present is not None]
    return [word for word in said if word.reading == "adjudicator"][-1:] or said


def _answer(words: Sequence[Review]) -> float:
    """1 present, 0 absent, NaN where nobody said or people disagree."""
    said = {word.present for word in words}
    return float(said.pop() or 0) if len(said) == 1 else float("nan")


def _bins(places: np.ndarray) -> int:
    """So many that a bin holds about ten answers."""
    return max(1, min(10, len(places) // 10))
