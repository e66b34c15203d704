"""A first cohort.toml: what could hold the answer is never guessed to be an input, and nothing corrected is lost."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from medmm.config import (
    CategoryColumn,
    CohortConfig,
    FhirConfig,
    ImageRule,
    LabelColumns,
    NumberColumn,
    read_toml,
)
from medmm.errors import ConfigError
from medmm.read.guess import VOCABULARY, guess_config, write_config

IDS = {"case_id": ["c1", "c2", "c3"], "patient_id": ["p1", "p1", "p2"]}
CHEST = IDS | {
    "study": ["studies/c1", "studies/c2", ""],
    "note": ["Intubated.", "", "Fever."],
    "survived": ["1", "", "0"],
    "intubated": ["1", "0", ""],
    "icu": ["1", "1", ""],
    "finding": ["covid19", "other", "covid19"],
    "age": ["54.0", "", "70"],
    "sex": ["M", "F", ""],
    "temperature_c": ["38.1", "", ""],
    "view": ["PA", "AP", "AP"],
    "source": ["https://x/1", "https://x/2", "https://x/3"],
}
SKIN = IDS | {
    "study": ["studies/c1", "studies/c2", "studies/c3"],
    "note": ["Lesion on the ear.", "Lesion on the arm.", ""],
    "label": ["SEK", "ACK", "NEV"],
    "label_name": ["seborrheic keratosis", "actinic keratosis", "nevus"],
    "malignant": ["0", "0", "1"],
    "age": ["65", "63", ""],
    "region": ["EAR", "FOREARM", "FACE"],
}


def test_a_table_of_films_with_several_answers_is_understood() -> None:
    config = guess_config(CHEST).config

    assert config.labels == LabelColumns(columns=("survived", "intubated"))
    assert (config.case_id, config.patient_id, config.study, config.note) == ("case_id", "patient_id", "study", "note")
    assert config.record == {
        "age": NumberColumn(unit="a", low=0, high=120),
        "sex": CategoryColumn(categories=("F", "M")),
        "temperature_c": NumberColumn(unit="Cel", low=20, high=45),
    }


def test_a_table_of_photographs_with_one_class_is_understood() -> None:
    config = guess_config(SKIN).config

    assert config.labels == LabelColumns(class_column="label", classes=("ACK", "NEV", "SEK"))
    assert set(config.record) == {"age"}


@pytest.mark.parametrize("table", [CHEST, SKIN], ids=["films", "photographs"])
def test_what_is_left_out_is_said_and_is_nothing_else(table: Mapping[str, Sequence[str]]) -> None:
    guess = guess_config(table)

    labels = guess.config.labels
    assert labels is not None
    taken = {"case_id", "patient_id", "study", "note", *guess.config.record, *labels.columns, labels.class_column}
    left_out = guess.remarks[-1].removeprefix("left out, not known to be an honest input: ").split(", ")
    assert set(left_out) == set(table) - taken


def test_a_column_that_was_never_answered_both_ways_is_no_label() -> None:
    assert guess_config(IDS | {"flu": ["1", "", "1"]}).config.labels is None


def test_a_table_without_labels_says_so() -> None:
    assert "no labels found: name them in [labels] before training" in guess_config(IDS).remarks


def test_answers_are_never_inputs_even_if_they_look_like_one() -> None:
    config = guess_config(IDS | {"outcome_score": ["3", "4", "5"], "report": ["pneumonia", "", "no"]}).config

    assert config.record == {}


def test_implausible_values_are_no_input_and_are_counted_without_being_shown() -> None:
    guess = guess_config(IDS | {"age": ["54", "1999", "CANARYNAME"]})

    assert guess.config.record == {}
    assert guess.remarks[0] == "'age' looks like no input: 2 of 3 values are not from 0 to 120 a"
    assert "CANARYNAME" not in str(guess)


def test_a_plausible_name_that_holds_answers_is_neither_input_nor_label() -> None:
    config = guess_config(IDS | {"temperature_c": ["0", "1", "0"]}).config

    assert config.record == {}
    assert config.labels is None


def test_sexes_are_few_words_and_their_spelling_is_kept() -> None:
    config = guess_config(IDS | {"Sex": ["female", "Male", "female"]}).config
    odd = guess_config(IDS | {"Sex": ["female", "CANARYNAME", "male"]}).config

    assert config.record == {"Sex": CategoryColumn(categories=("Male", "female"))}
    assert odd.record == {}


@pytest.mark.parametrize(
    ("column", "role"),
    [("Case ID", "case_id"), ("subject_id", "patient_id"), ("Image-Path", "study"), ("INDICATION", "note")],
)
def test_roles_are_known_by_several_names(column: str, role: str) -> None:
    assert getattr(guess_config({column: ["x", "y"]}).config, role) == column


@pytest.mark.parametrize("role", ["study", "note"])
def test_a_role_without_a_column_has_none(role: str) -> None:
    assert getattr(guess_config(IDS).config, role) == ""


def test_every_known_value_has_a_unit_and_sensible_bounds() -> None:
    for name, (unit, low, high) in VOCABULARY.items():
        assert unit, name
        assert 0 <= low < high, name


def test_a_guess_is_written_and_reads_back_the_same(tmp_path: Path) -> None:
    for name, table in (("chest", CHEST), ("skin", SKIN), ("bare", IDS)):
        config = guess_config(table).config

        write_config(config, tmp_path / f"{name}.toml")

        assert read_toml(tmp_path / f"{name}.toml", CohortConfig) == config


def test_names_with_dots_quotes_and_umlauts_read_back_the_same(tmp_path: Path) -> None:
    config = CohortConfig(
        labels=LabelColumns(class_column='a "b"', classes=("größer, 3 cm", "x\\y")),
        note="",
        record={"crp (mg/L).1": NumberColumn(unit="mg/L"), "Größe": CategoryColumn(categories=("ä", "#"))},
    )

    write_config(config, tmp_path / "cohort.toml")

    assert read_toml(tmp_path / "cohort.toml", CohortConfig) == config


def test_what_a_user_corrected_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "cohort.toml"
    path.write_text("mine")

    with pytest.raises(ConfigError, match=r"cohort\.toml is there already"):
        write_config(CohortConfig(), path)

    assert path.read_text() == "mine"


def test_every_setting_that_differs_from_the_default_is_written_and_no_other(tmp_path: Path) -> None:
    config = CohortConfig(
        labels=LabelColumns(columns=("sick",)),
        prior="prior_study",
        time="acquired",
        sections_left_out=("impression",),
        images=(ImageRule(modality=("CR", "DX"), view=("PA",)), ImageRule(description="axial", window=(40, 400))),
        record={"crp": NumberColumn(unit="mg/L", low=0, taken="crp_taken", code="1988-5")},
        fhir=FhirConfig(note_types=("18842-5",)),
    )

    write_config(config, tmp_path / "cohort.toml")
    write_config(CohortConfig(), tmp_path / "plain.toml")

    assert read_toml(tmp_path / "cohort.toml", CohortConfig) == config
    said = tomllib.loads((tmp_path / "cohort.toml").read_text())
    assert said["record"] == {"crp": {"unit": "mg/L", "low": 0.0, "taken": "crp_taken", "code": "1988-5"}}
    assert said["fhir"] == {"note_types": ["18842-5"]}
    assert said["images"][0] == {"modality": ["CR", "DX"], "view": ["PA"]}
    plain = tomllib.loads((tmp_path / "plain.toml").read_text())
    assert set(plain) == {"case_id", "patient_id", "study", "note", "record"}


@pytest.mark.parametrize("codes", [["00", "01", "01"], ["1.00", "0.00", "1.00"]])
def test_what_is_not_written_as_an_answer_is_no_label(codes: list[str]) -> None:
    guess = guess_config(IDS | {"study": ["a", "b", "c"], "site": codes, "sick": ["1", "0", "1.0"]})

    assert guess.config.labels == LabelColumns(columns=("sick",))
    assert "left out, not known to be an honest input: site" in guess.remarks
