"""Which groups a case belongs to, for judging who the model holds for; nothing here is an input."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import numpy as np

from medmm.case import MODALITIES
from medmm.config import CohortConfig, NumberColumn
from medmm.learn.encode import EncodedRow
from medmm.model.batch import KIND, VIEW
from medmm.model.encode import EncodedStudy

SEX = ("sex", "gender")
AGE = ("age", "age_years")
PLACES = ("site", "hospital", "centre", "center", "device", "scanner", "manufacturer")
"""Columns of the table that name where or on what a study was made, whether or not the model is given them."""
_AGES = (18, 40, 65, 80)
_VIEWS = ("view not stated", "frontal", "lateral")
_MOST_VALUES = 12
"""A column with more values names no groups."""


def groups_of(
    cases: Sequence[EncodedRow], config: CohortConfig, modalities: Sequence[str]
) -> Mapping[str, tuple[str, ...]]:
    """Attribute -> the group of each case, '' where it is not known; an attribute with one group is left out.

    Sex and age come from record columns of those names, else from columns of the table that are no input; the view from
    the films, as far as the encoders tell views apart.

    Args:
        cases: that could be read.
        config: of their table.
        modalities: those that the model uses.
    """
    found = {"sex": _column(cases, SEX), "age": tuple(_band(age) for age in _column(cases, AGE, _years(config)))}
    for name in sorted({column for case in cases for column in (*case.case.record, *case.row.other)}):
        if name.lower() in PLACES:
            found[name] = _column(cases, (name.lower(),))
    found["view"] = tuple(_view(case.case.study) for case in cases)
    found["modalities"] = tuple(_pattern(case, modalities) for case in cases)
    return {name: values for name, values in found.items() if 1 < len(set(values)) <= _MOST_VALUES}


def _years(config: CohortConfig) -> set[str]:
    """Record columns that cannot be an age in years, since their unit is another."""
    return {
        name for name, column in config.record.items() if not isinstance(column, NumberColumn) or column.unit != "a"
    }


def _column(cases: Sequence[EncodedRow], names: Sequence[str], but: Collection[str] = ()) -> tuple[str, ...]:
    """The cell of each case in the first column of one of these names; '' without."""
    return tuple(
        next(
            (
                str(value).strip()
                for cells in (case.case.record, case.row.other)
                for name, value in cells.items()
                if name.lower() in names and name not in but and str(value).strip()
            ),
            "",
        )
        for case in cases
    )


def _band(age: str) -> str:
    """An age in years as a band of ages; '' for what is no number."""
    try:
        years = float(age)
    except ValueError:
        return ""
    bands = [f"under {_AGES[0]}", *(f"{a} to {b - 1}" for a, b in pairwise(_AGES))]
    return [*bands, f"{_AGES[-1]} and over"][int(np.searchsorted(_AGES, years, side="right"))]


def _view(study: EncodedStudy | None) -> str:
    """The views of a study's films; '' without a study, and for slices and frames."""
    if study is None:
        return ""
    films = study.place[:, KIND] == 0
    return " + ".join(_VIEWS[int(view)] for view in sorted(set(study.place[films, VIEW].tolist())))


def _pattern(case: EncodedRow, modalities: Sequence[str]) -> str:
    """What the case has of what the model uses."""
    there = {"image": case.case.study, "note": case.case.note, "record": case.case.record}
    return " + ".join(name for name in MODALITIES if name in modalities and there[name]) or "nothing"
