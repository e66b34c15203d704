"""Predictions and refusals as tables: Parquet and CSV, one row a case and finding, in the order of case ids."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from medmm.case import MODALITIES
from medmm.files import write_whole
from medmm.result import Prediction, Refusal

PARQUET, CSV, QUARANTINE = "predictions.parquet", "predictions.csv", "quarantine.csv"
"""Names of the tables in a folder that was scored."""
_AT_ONCE = 1_000
"""Cases of one row group."""


def write_predictions(folder: Path, predictions: Iterable[Prediction]) -> None:
    """Write predictions.parquet and predictions.csv; the same predictions give the same bytes."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    text, number = pa.string(), pa.float64()
    contributions = [(f"{name}_log_odds", number) for name in MODALITIES]
    schema = pa.schema(
        [
            ("case_id", text),
            ("model_id", text),
            ("label", text),
            ("probability", number),
            ("threshold", number),
            ("flagged", pa.bool_()),
            ("call", text),
            ("present_from", number),
            ("absent_to", number),
            ("base_log_odds", number),
            *contributions,
            ("interaction_log_odds", number),
            ("present", text),
            ("absent", text),
            ("remarks", text),
            ("doubts", text),
        ]
    )
    cases = iter(sorted(predictions, key=lambda said: said.case_id))

    def write_parquet(path: Path) -> None:
        with parquet.ParquetWriter(path, schema) as writer:
            while group := list(islice(cases, _AT_ONCE)):
                rows = [row for said in group for row in _rows(said)]
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))

    def write_csv(path: Path) -> None:
        with csv.CSVWriter(path, schema) as writer, parquet.ParquetFile(folder / PARQUET) as written:
            for number in range(written.num_row_groups):
                writer.write_table(written.read_row_group(number))

    write_whole(folder / PARQUET, write_parquet)
    write_whole(folder / CSV, write_csv)


def cases_in(folder: Path) -> set[str]:
    """Ids of the cases in the tables of a folder; none where there are no tables yet."""
    import pandas as pd
    from pyarrow import parquet

    cases = set[str]()
    if (folder / PARQUET).is_file():
        cases |= set(parquet.read_table(folder / PARQUET, columns=["case_id"])["case_id"].to_pylist())
    if (folder / QUARANTINE).is_file():
        table = pd.read_csv(folder / QUARANTINE, usecols=["case_id"], dtype=str, keep_default_na=False)
        cases |= set(table["case_id"])
    return cases


def _rows(said: Prediction) -> list[dict[str, object]]:
    """One row a finding; the log-odds of a modality that the model does not know is null."""
    lists = {"present": said.present, "absent": said.absent, "remarks": said.remarks, "doubts": said.doubts}
    shared = {name: "; ".join(values) for name, values in lists.items()}
    return [
        {
            "case_id": said.case_id,
            "model_id": said.model_id,
            "label": finding.label,
            "probability": finding.probability,
            "threshold": finding.threshold,
            "flagged": finding.flagged,
            "call": finding.call,
            "present_from": finding.limits.present_from if finding.limits else None,
            "absent_to": finding.limits.absent_to if finding.limits else None,
            "base_log_odds": finding.base_log_odds,
            **{f"{part.modality}_log_odds": part.log_odds for part in finding.contributions},
            "interaction_log_odds": finding.interaction,
            **shared,
        }
        for finding in said.findings
    ]


def write_quarantine(folder: Path, refusals: Iterable[Refusal]) -> None:
    """Write quarantine.csv: what could not be scored, why, and what to do about it."""
    import pandas as pd

    columns = ["case_id", "code", "problem", "remedy"]
    rows = [[refusal.case_id, refusal.code.value, refusal.problem, refusal.remedy] for refusal in refusals]
    table = pd.DataFrame(rows, columns=columns)
    write_whole(folder / QUARANTINE, lambda path: table.to_csv(path, index=False, lineterminator="\n"))
