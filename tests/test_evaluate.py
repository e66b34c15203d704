"""`medmm evaluate`: one page that stands alone, numbers that are the same twice, and nobody who taught the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medmm.errors import CohortError
from pipelines.evaluate import audit_of, evaluate_run
from tests.cohorts import Run, copy_cohort, table, write_table


@pytest.fixture(scope="module")
def out(run: Run, sample: Path, features: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    evaluate_run(run.out, sample, folder, cache=features, workers=1)
    return folder


def case_ids(run: Run, *parts: str) -> set[str]:
    return {row["case_id"] for row in table(run.out / "split.csv") if row["part"] in parts}


def test_it_leaves_a_page_a_card_and_numbers(out: Path) -> None:
    assert {path.name for path in out.iterdir()} == {"report.html", "model_card.html", "metrics.json", "quarantine.csv"}


def test_only_test_patients_are_judged_and_named(out: Path, run: Run) -> None:
    numbers = json.loads((out / "metrics.json").read_text())
    page = (out / "report.html").read_text()

    assert numbers["summary"]["test_cases"] == len(case_ids(run, "test"))
    assert numbers["left_out"] == len(case_ids(run, "train", "validation"))
    assert not numbers["external"]
    assert any(case_id in page for case_id in case_ids(run, "test"))
    assert not any(case_id in page for case_id in case_ids(run, "train", "validation"))


def test_no_patient_and_no_word_of_a_note_is_in_it(out: Path, sample: Path) -> None:
    said = "".join((out / name).read_text() for name in ("report.html", "metrics.json", "model_card.html"))

    for row in table(sample / "cases.csv"):
        assert row["patient_id"] not in said
        assert not row["note"] or row["note"][:40] not in said


def test_the_same_command_gives_the_same_numbers(
    out: Path, run: Run, sample: Path, features: Path, tmp_path: Path
) -> None:
    evaluate_run(run.out, sample, tmp_path, cache=features, workers=1)

    assert (tmp_path / "metrics.json").read_bytes() == (out / "metrics.json").read_bytes()


def test_a_run_that_was_not_checked_for_leaks_says_so(out: Path) -> None:
    assert json.loads((out / "metrics.json").read_text())["audit"] == ""
    assert "Not run" in (out / "report.html").read_text()


def test_a_run_that_was_checked_says_what_was_found(tmp_path: Path) -> None:
    rows = [{"case_id": f"c{n}", "status": status} for n, status in enumerate(("ok", "ok", "warning", "refused"))]
    (tmp_path / "check").mkdir()
    write_table(tmp_path / "check" / "check.csv", rows)

    assert audit_of(tmp_path).startswith("Run on 4 cases: 2 ok, 1 warning, 1 refused")
    assert audit_of(tmp_path / "elsewhere") == ""


def test_another_cohort_is_judged_whole_by_the_labels_that_it_states(
    run: Run, sample: Path, features: Path, tmp_path: Path
) -> None:
    def moved(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        kept = [{name: cell for name, cell in row.items() if name != "pneumothorax"} for row in rows]
        return [row | {"case_id": f"x{row['case_id']}", "patient_id": f"x{row['patient_id']}"} for row in kept]

    elsewhere = copy_cohort(sample, tmp_path / "elsewhere", moved)
    config = (elsewhere / "cohort.toml").read_text().replace('"pneumothorax", ', "")
    (elsewhere / "cohort.toml").write_text(config)

    found = evaluate_run(run.out, elsewhere, tmp_path / "out", cache=features, workers=1)

    stated = {row.label: row.present + row.absent for row in found.summary.labels}
    assert found.external
    assert found.summary.test_cases == len(table(elsewhere / "cases.csv"))
    assert "of another cohort than the one it learnt from" in found.summary.headline
    assert stated["pneumothorax"] == 0
    assert stated["pneumonia"] > 0


def test_a_cohort_that_states_nothing_the_model_knows_is_refused(run: Run, sample: Path, tmp_path: Path) -> None:
    other = copy_cohort(sample, tmp_path / "other", lambda rows: [row | {"gout": "1"} for row in rows])
    config = (other / "cohort.toml").read_text()
    start = config.index("columns = [")
    (other / "cohort.toml").write_text(config[:start] + 'columns = ["gout"]' + config[config.index("]", start) + 1 :])

    with pytest.raises(CohortError, match="states no label that the model knows"):
        evaluate_run(run.out, other, tmp_path / "out", workers=1)
