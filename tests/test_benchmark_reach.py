"""The benchmark of what is possible: ceilings are those of the run's own test patients, and what is short is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.reach import main
from tests.cohorts import Run, table

Row = dict[str, Any]


def asked(run: Run, sample: Path, features: Path, out: Path, *more: str) -> tuple[int, Row]:
    folders = [str(sample), "--runs", str(run.out), "--out", str(out), "--cache", str(features)]
    code = main([*folders, "--resamples", "50", *more])
    (row,) = json.loads((out / "reach.json").read_text("utf-8"))["runs"]
    return code, row


def best(sample: Path, case_ids: set[str], side: str, label: str) -> float:
    """AUROC of what the truth says of a label, on cases of which it is stated."""
    stated = {row["case_id"]: row[label] for row in table(sample / "cases.csv") if row["case_id"] in case_ids}
    truth = {row["case_id"]: float(row[f"{side}_{label}"]) for row in table(sample / "truth" / "cases.csv")}
    pairs = [(int(answer), truth[case_id]) for case_id, answer in stated.items() if answer]
    answers, chances = zip(*pairs, strict=True)
    return float(roc_auc_score(answers, chances)) if len(set(answers)) == 2 else float("nan")


def test_what_is_possible_is_asked_of_the_run_s_own_test_patients(
    run: Run, sample: Path, features: Path, tmp_path: Path
) -> None:
    _, row = asked(run, sample, features, tmp_path)

    tested = {case["case_id"] for case in table(run.out / "split.csv") if case["part"] == "test"}
    assert row["cases"] == len(tested)
    for side in ("image", "note_record", "all"):
        expected = {label: best(sample, tested, side, label) for label in run.cohort.labels}
        found = {label: np.nan if value is None else value for label, value in row["by_label"][side].items()}
        assert found == pytest.approx(expected, nan_ok=True)
        assert row["macro"][side]["value"] == pytest.approx(np.nanmean(list(expected.values())))


def test_a_run_that_falls_short_of_the_share_is_told_by_the_exit_code(
    run: Run, sample: Path, features: Path, tmp_path: Path
) -> None:
    for share, code in (("0.95", 1), ("-100", 0)):
        done, row = asked(run, sample, features, tmp_path, "--share", share)

        macro = {name: one["value"] for name, one in row["macro"].items()}
        low = max(macro["image"], macro["note_record"])
        assert row["bar"]["value"] == pytest.approx(low + float(share) * (macro["all"] - low))
        assert row["above"]["value"] == pytest.approx(macro["fused"] - row["bar"]["value"])
        assert done == code


def test_a_cohort_whose_truth_is_not_known_is_refused_in_a_line(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--runs", str(run.out), "--out", str(tmp_path / "out")]) == 3
    assert "does not say what is true" in capsys.readouterr().out
