"""What the tables promise: one row a case and finding, by case id, the same bytes each time, nothing made up."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from medmm.errors import Reason
from medmm.result import Contribution, Limits, Prediction, Refusal
from medmm.write.tables import write_predictions, write_quarantine
from tests.cohorts import table
from tests.scored import LABELS, MODEL, scored_case

SCHEMA = {
    "case_id": "string",
    "model_id": "string",
    "label": "string",
    "probability": "double",
    "threshold": "double",
    "flagged": "bool",
    "call": "string",
    "present_from": "double",
    "absent_to": "double",
    "base_log_odds": "double",
    "image_log_odds": "double",
    "note_log_odds": "double",
    "record_log_odds": "double",
    "interaction_log_odds": "double",
    "present": "string",
    "absent": "string",
    "remarks": "string",
    "doubts": "string",
}
ODD = "VOI \"soft\"; 2048/4096,\nfrom line two\t€ Å 肺 'x'"
"""A remark that a careless writer of CSV breaks on."""


def said(case_id: str, *remarks: str) -> Prediction:
    return replace(scored_case(case_id).prediction, remarks=remarks)


def rows(folder: Path) -> list[dict[str, object]]:
    return list(pq.read_table(folder / "predictions.parquet").to_pylist())


def test_the_columns_and_their_types_are_fixed(tmp_path: Path) -> None:
    write_predictions(tmp_path, [said("c1")])

    schema = pq.read_schema(tmp_path / "predictions.parquet")
    assert {field.name: str(field.type) for field in schema} == SCHEMA
    assert list(table(tmp_path / "predictions.csv")[0]) == list(SCHEMA)


def test_a_row_says_when_the_model_would_not_say_and_why_it_doubts(tmp_path: Path) -> None:
    one = said("c1")
    limits = Limits(present_from=0.0, absent_to=1.0, error=0.1)
    findings = tuple(replace(finding, limits=limits) for finding in one.findings)
    write_predictions(tmp_path, [replace(one, findings=findings, doubts=("unlike the others",))])

    for row in rows(tmp_path):
        assert (row["call"], row["present_from"], row["absent_to"]) == ("uncertain", 0.0, 1.0)
        assert row["doubts"] == "unlike the others"


def test_a_row_holds_what_was_said(tmp_path: Path) -> None:
    one = said("c1", "MONOCHROME1 inverted", "note cut")
    write_predictions(tmp_path, [one])

    row = rows(tmp_path)[2]

    finding = one.findings[2]
    assert (row["label"], row["probability"], row["flagged"]) == (finding.label, finding.probability, True)
    assert [row[f"{part.modality}_log_odds"] for part in finding.contributions] == [
        part.log_odds for part in finding.contributions
    ]
    assert (row["present"], row["absent"]) == ("image; note; record", "")
    assert (row["model_id"], row["remarks"]) == (MODEL, "MONOCHROME1 inverted; note cut")


def test_rows_stand_by_case_id_and_then_in_the_order_of_the_model(tmp_path: Path) -> None:
    write_predictions(tmp_path, [said("c10"), said("c2"), said("a")])

    assert [(row["case_id"], row["label"]) for row in rows(tmp_path)] == [
        (case_id, label) for case_id in ("a", "c10", "c2") for label in LABELS
    ]


def test_a_side_that_the_model_does_not_know_is_null_and_one_that_the_case_lacks_is_zero(tmp_path: Path) -> None:
    one = said("c1")
    findings = tuple(
        replace(finding, contributions=(Contribution("image", 0.5), Contribution("note", 0.0)))
        for finding in one.findings
    )

    write_predictions(tmp_path, [replace(one, findings=findings)])

    row, cells = rows(tmp_path)[0], table(tmp_path / "predictions.csv")[0]
    assert (row["note_log_odds"], row["record_log_odds"]) == (0.0, None)
    assert (cells["note_log_odds"], cells["record_log_odds"]) == ("0", "")


def test_the_same_predictions_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    given = [said(f"c{n}", ODD) for n in range(20)]

    write_predictions(tmp_path / "one", given)
    write_predictions(tmp_path / "two", given[::-1])

    for name in ("predictions.parquet", "predictions.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_odd_characters_come_back_as_they_were_said(tmp_path: Path) -> None:
    write_predictions(tmp_path, [said('Fall, "Ä"; 1', ODD)])

    assert rows(tmp_path)[0]["remarks"] == ODD
    assert table(tmp_path / "predictions.csv")[0]["remarks"] == ODD
    assert table(tmp_path / "predictions.csv")[0]["case_id"] == 'Fall, "Ä"; 1'


def test_csv_loses_no_digit(tmp_path: Path) -> None:
    one = said("c1")
    findings = tuple(replace(finding, probability=0.1 + 0.2 / (n + 3)) for n, finding in enumerate(one.findings))

    write_predictions(tmp_path, [replace(one, findings=findings)])

    kept = [float(cells["probability"]) for cells in table(tmp_path / "predictions.csv")]
    assert kept == [finding.probability for finding in findings]


def test_no_predictions_make_a_table_with_its_columns(tmp_path: Path) -> None:
    write_predictions(tmp_path, [])

    assert rows(tmp_path) == []
    with (tmp_path / "predictions.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [list(SCHEMA)]


def test_older_tables_are_replaced(tmp_path: Path) -> None:
    write_predictions(tmp_path, [said("old")])

    write_predictions(tmp_path, [said("new")])

    assert {row["case_id"] for row in rows(tmp_path)} == {"new"}
    assert {path.name for path in tmp_path.iterdir()} == {"predictions.parquet", "predictions.csv"}


@pytest.mark.parametrize("case_id", ["c1", "007", "NA", "null", "Fall, 'Ä' \"1\"", "1e5"])
def test_a_refusal_is_a_row_with_its_code_and_its_remedy(tmp_path: Path, case_id: str) -> None:
    write_quarantine(tmp_path, [Refusal(case_id, Reason.CORRUPT, "the pixels, they end early", "Send it again")])

    assert table(tmp_path / "quarantine.csv") == [
        {"case_id": case_id, "code": "corrupt", "problem": "the pixels, they end early", "remedy": "Send it again"}
    ]


def test_nothing_refused_is_a_header_alone(tmp_path: Path) -> None:
    write_quarantine(tmp_path, [])

    assert (tmp_path / "quarantine.csv").read_bytes() == b"case_id,code,problem,remedy\n"
