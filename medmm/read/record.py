"""Cells of a table to a Record: numbers within their bounds, words among their categories; nothing is clipped."""

import math
from collections.abc import Mapping

from medmm.case import Record, RecordValue
from medmm.config import CategoryColumn, NumberColumn, RecordColumn
from medmm.errors import DataError, Reason


def read_record(case_id: str, cells: Mapping[str, str], columns: Mapping[str, RecordColumn]) -> Record | None:
    """Read what was measured of one case; None if nothing was.

    Args:
        case_id: for messages.
        cells: column -> text; an empty or missing cell means that the value was not taken.
        columns: which columns are read, and as what.

    Raises:
        DataError: BAD_RECORD with the column, its unit and its bounds, or its categories.
    """
    values: dict[str, RecordValue] = {}
    for name, column in columns.items():
        cell = cells.get(name, "").strip()
        if not cell:
            continue
        if isinstance(column, NumberColumn):
            values[name] = _number(case_id, name, cell, column)
        else:
            values[name] = _category(case_id, name, cell, column)
    return Record(values) if values else None


def _number(case_id: str, name: str, cell: str, column: NumberColumn) -> float:
    """Return the cell as a finite number within the column's bounds."""
    low = -math.inf if column.low is None else column.low
    high = math.inf if column.high is None else column.high
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and "_" not in cell and low <= value <= high:
        return value
    bounds = "a number" if math.isinf(low) and math.isinf(high) else f"a number from {low:g} to {high:g}"
    problem = f"'{name}' is not {bounds} {column.unit}".rstrip()
    raise DataError(
        case_id, Reason.BAD_RECORD, problem, "Correct the cell, empty it, or correct [record] in cohort.toml"
    )


def _category(case_id: str, name: str, cell: str, column: CategoryColumn) -> str:
    """Return the category in the spelling of the configuration; capitals do not matter unless they tell two apart."""
    if cell in column.categories:
        return cell
    same = [category for category in column.categories if category.casefold() == cell.casefold()]
    if len(same) == 1:
        return same[0]
    problem = f"'{name}' is not one of {', '.join(column.categories)}"
    raise DataError(case_id, Reason.BAD_RECORD, problem, "Correct the cell, or empty it if the value is not known")
