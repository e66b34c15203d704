"""Cells become typed values: what is out of bounds is refused, never clipped; what was not taken is not there."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from medmm.case import Record
from medmm.config import CategoryColumn, NumberColumn, RecordColumn
from medmm.errors import DataError, Reason
from medmm.read.chart.record import read_record, read_values
from medmm.read.chart.times import is_before, read_time

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


DATED: dict[str, RecordColumn] = {
    "crp": NumberColumn(unit="mg/L", taken="labs_at"),
    "lactate": NumberColumn(unit="mmol/L", taken="labs_at"),
    "sex": CategoryColumn(categories=("F", "M")),
}
STUDY = datetime(2024, 5, 31, 14, 30)


def dated(taken: str, study: datetime | None = STUDY) -> tuple[dict[str, object], list[str]]:
    known = read_values("c1", {"crp": "12", "sex": "F", "labs_at": taken}, DATED, study)
    return dict(known.values), known.remarks


@pytest.mark.parametrize(
    "taken",
    [
        "2024-05-31T14:30",
        "2024-05-31 14:30:00",
        " 2024-05-31T14:29:59.9 ",
        "20240531T1400",
        "2024-05-30T11:59+02:00",
        "2024-05-30",
        "20240530",
        "2024-04",
        "2023",
    ],
)
def test_a_value_that_was_taken_before_the_study_is_kept_with_its_time(taken: str) -> None:
    record = read_record("c1", {"crp": "12", "labs_at": taken}, DATED, STUDY)

    assert record is not None
    assert dict(record.values) == {"crp": 12.0}
    assert record.times["crp"] <= STUDY
    assert record.times["crp"].tzinfo is None
    assert record.remarks == ()


@pytest.mark.parametrize(
    ("taken", "why"),
    [
        ("2024-05-31T14:30:01", "not shown to be taken before the study"),
        ("2024-05-31", "not shown to be taken before the study"),
        ("2024-05-31T02:00+02:00", "not shown to be taken before the study"),
        ("2024-05", "not shown to be taken before the study"),
        ("2024", "not shown to be taken before the study"),
        ("2024-06-01", "not shown to be taken before the study"),
        ("2024-06-01T00:00", "taken after the study"),
        ("", "it is not known when it was taken"),
    ],
)
def test_a_value_that_is_not_shown_to_be_earlier_than_the_study_is_left_out_and_named(taken: str, why: str) -> None:
    assert dated(taken) == ({"sex": "F"}, [f"crp left out: {why}"])


def test_without_the_time_of_the_study_a_dated_value_is_left_out() -> None:
    assert dated("2024-05-30", None) == ({"sex": "F"}, ["crp left out: the study has no date to compare with"])


def test_a_study_without_a_time_of_day_may_have_been_made_at_its_beginning() -> None:
    end_of_day = datetime(2024, 5, 31, 23, 59, 59, 999999)

    assert dated("2024-05-31T00:01", end_of_day)[0] == dated("2024-05-31", end_of_day)[0] == {"sex": "F"}
    assert dated("2024-05-30T23:59", end_of_day)[0] == {"crp": 12.0, "sex": "F"}


TOO_WIDE = ["2024-W22", "2024-W22-5", "2024-05-31T10", "20240531T10"]


@pytest.mark.parametrize(
    "taken", ["CANARYNAME", "31.05.2024", "2024-13-01", "2024-05-31T25:00", "0", "yesterday", *TOO_WIDE]
)
def test_a_time_that_is_none_is_refused_without_repeating_it(taken: str) -> None:
    with pytest.raises(DataError) as caught:
        dated(taken)

    assert caught.value.code == Reason.BAD_RECORD
    assert str(caught.value) == (
        "case c1: 'labs_at' is not a time. Write it as 2024-05-31T14:30 (ISO 8601), or empty the cell."
    )


def test_a_value_that_was_not_taken_needs_no_time() -> None:
    assert read_record("c1", {"labs_at": "CANARYNAME"}, DATED, STUDY) is None


@pytest.mark.parametrize("crp", ["high", "9999"])
def test_a_value_that_is_too_late_refuses_nothing(crp: str) -> None:
    columns: dict[str, RecordColumn] = {"crp": NumberColumn(unit="mg/L", low=0, high=500, taken="labs_at")}

    known = read_values("c1", {"crp": crp, "labs_at": "2025-01-01T10:00"}, columns, STUDY)

    assert known.values == {}
    assert known.remarks == ["crp left out: taken after the study"]


def test_without_the_time_of_the_study_every_value_is_checked() -> None:
    with pytest.raises(DataError, match="'crp' is not a number"):
        read_values("c1", {"crp": "high", "labs_at": "2025-01-01"}, DATED, None)


@pytest.mark.parametrize(("taken", "kept"), [("2024-05-31T12:30Z", True), ("2024-05-31T12:31Z", False)])
def test_a_time_with_an_offset_is_brought_to_the_hospitals_clock(taken: str, kept: bool) -> None:
    known = read_values("c1", {"crp": "12", "labs_at": taken}, DATED, STUDY, ZoneInfo("Europe/Vienna"))

    assert ("crp" in known.values) is kept


def test_a_record_of_which_everything_is_left_out_is_none_and_still_says_why() -> None:
    known = read_values("c1", {"crp": "12", "lactate": "2", "labs_at": "2025-01-01T10:00"}, DATED, STUDY)

    assert known.record() is None
    assert known.remarks == ["crp left out: taken after the study", "lactate left out: taken after the study"]


def test_a_time_is_the_last_moment_that_it_can_mean() -> None:
    assert read_time("2024-02") == datetime(2024, 2, 29, 23, 59, 59, 999999)
    assert read_time("2024") == datetime(2024, 12, 31, 23, 59, 59, 999999)
    assert read_time("2024-02-03T04:05:06Z") == read_time("2024-02-03")
    assert read_time("2024-02-03T10:00:00Z") == read_time("2024-02-04")
    assert read_time("2024-02-03T04:05:06Z", ZoneInfo("Europe/Vienna")) == datetime(2024, 2, 3, 5, 5, 6)
    assert read_time("9999-12-31T23:00Z") is read_time("0001-01-01T00:00Z", ZoneInfo("America/Lima")) is None
    assert read_time("0000") is read_time("") is read_time("2024-02-03T") is None


def test_nothing_is_before_itself_on_a_day_without_hours() -> None:
    day = datetime(2024, 5, 31, 23, 59, 59)

    assert is_before(STUDY, STUDY)
    assert not is_before(day, day)
