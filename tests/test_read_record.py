"""Cells become typed values: what is out of bounds is refused, never clipped; what was not taken is not there."""

import pytest

from medmm.case import Record
from medmm.config import CategoryColumn, NumberColumn, RecordColumn
from medmm.errors import DataError, Reason
from medmm.read.record import read_record

COLUMNS: dict[str, RecordColumn] = {
    "temperature_c": NumberColumn(unit="Cel", low=20, high=45),
    "score": NumberColumn(unit=""),
    "sex": CategoryColumn(categories=("F", "M")),
}


def read(**cells: str) -> Record | None:
    return read_record("c1", cells, COLUMNS)


def refusal(**cells: str) -> DataError:
    with pytest.raises(DataError) as caught:
        read(**cells)
    return caught.value


def test_numbers_and_words_are_read() -> None:
    record = read(temperature_c=" 38.4 ", score="-1e3", sex="F")

    assert record is not None
    assert dict(record.values) == {"temperature_c": 38.4, "score": -1000.0, "sex": "F"}


def test_a_value_that_was_not_taken_is_not_there() -> None:
    record = read(temperature_c="", sex="M")

    assert record is not None
    assert dict(record.values) == {"sex": "M"}


@pytest.mark.parametrize("cells", [{}, {"temperature_c": " ", "sex": ""}, {"other": "5"}])
def test_a_row_without_values_has_no_record(cells: dict[str, str]) -> None:
    assert read(**cells) is None


@pytest.mark.parametrize("cell", ["20", "45"])
def test_bounds_belong_to_what_is_allowed(cell: str) -> None:
    record = read(temperature_c=cell)

    assert record is not None
    assert record.values["temperature_c"] == float(cell)


@pytest.mark.parametrize("cell", ["19.9", "101.3", "warm", "38,4", "nan", "inf", "3_8", "0x26"])
def test_what_is_no_plausible_number_is_refused_without_repeating_it(cell: str) -> None:
    problem = refusal(temperature_c=cell)

    assert problem.code == Reason.BAD_RECORD
    assert str(problem) == (
        "case c1: 'temperature_c' is not a number from 20 to 45 Cel. "
        "Correct the cell, empty it, or correct [record] in cohort.toml."
    )


def test_a_column_without_bounds_takes_any_number_and_only_numbers() -> None:
    assert read(score="1e9") is not None
    assert str(refusal(score="inf")).startswith("case c1: 'score' is not a number. ")


@pytest.mark.parametrize(("cell", "category"), [("f", "F"), (" M ", "M")])
def test_a_category_is_read_in_the_spelling_of_the_configuration(cell: str, category: str) -> None:
    record = read(sex=cell)

    assert record is not None
    assert record.values["sex"] == category


def test_capitals_matter_where_they_tell_two_categories_apart() -> None:
    columns: dict[str, RecordColumn] = {"stage": CategoryColumn(categories=("a", "A"))}

    record = read_record("c1", {"stage": "A"}, columns)

    assert record is not None
    assert record.values["stage"] == "A"


def test_a_word_that_is_no_category_is_refused_without_repeating_it() -> None:
    problem = refusal(sex="CANARYNAME")

    assert problem.code == Reason.BAD_RECORD
    assert "'sex' is not one of F, M" in str(problem)
    assert "CANARYNAME" not in str(problem)
