"""`medmm compare`: two models on the same new cases, what differs, and the cases whose call is another."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from medmm.errors import CohortError
from medmm.judge.paired import Pair, compare_pair, write_pair
from medmm.judge.statistics import delong, mcnemar
from medmm.model.folder import Model
from medmm.read.cohort import Cohort
from medmm.result import Finding, Limits, Prediction
from pipelines import compare
from pipelines.compare import compare_runs
from tests.cohorts import Run, table


def said(model: str, chances: np.ndarray, limits: Limits | None = None) -> tuple[Prediction, ...]:
    """What a model says of cases c0, c1, ... of one label with the threshold 0.5."""
    return tuple(
        Prediction(f"c{n}", model, (Finding("effusion", float(p), 0.5, 0.0, limits=limits),), ("image",), ())
        for n, p in enumerate(chances)
    )


def pair(cases: int = 80) -> Pair:
    rng = np.random.default_rng(0)
    targets = (rng.random(cases) < 0.4).astype(float)
    chances = [1 / (1 + np.exp(-(spread * (targets - 0.5) + rng.normal(size=cases)))) for spread in (1, 4)]
    return Pair(
        said("a" * 12, chances[0]),
        said("b" * 12, chances[1]),
        ("effusion",),
        targets[:, None],
        tuple(f"p{i // 2}" for i in range(cases)),
        left_out=3,
        unlabelled=0,
        refused=0,
        made_on=date(2031, 5, 4),
        resamples=200,
    )


def test_differences_are_of_the_second_model_less_the_first() -> None:
    two = pair()
    y = two.targets[:, 0]
    first, second = (two.probabilities(which)[:, 0] for which in (two.first, two.second))

    (row,) = compare_pair(two).labels

    assert row.gain.value == pytest.approx(roc_auc_score(y, second) - roc_auc_score(y, first))
    assert row.gain.low > 0
    assert row.delong == delong(y, second, first)
    assert row.brier.value == pytest.approx(brier_score_loss(y, second) - brier_score_loss(y, first))
    assert row.brier.high < 0
    assert row.mcnemar == mcnemar(y, first >= 0.5, second >= 0.5)


def test_a_headline_claims_no_more_than_the_interval_allows() -> None:
    two = pair()

    assert f"model {'b' * 12} ranks better than model {'a' * 12}" in compare_pair(two).headline
    assert "is not shown to rank better than" in compare_pair(replace(two, second=two.first)).headline


def test_a_model_changes_nothing_beside_itself() -> None:
    two = pair()

    found = compare_pair(replace(two, second=two.first))

    assert found.changes == ()
    assert found.labels[0].delong.p_value == found.labels[0].mcnemar.p_value == 1
    assert found.gain.low == found.gain.high == 0


def test_a_call_that_becomes_uncertain_has_changed_although_no_side_of_a_threshold_has(tmp_path: Path) -> None:
    two = pair()
    first = two.probabilities(two.first)[:, 0]
    unsure = replace(two, second=said("b" * 12, first, Limits(0.2, 0.8, 0.1)))

    found = write_pair(tmp_path, unsure)

    changed = {f"c{n}" for n, p in enumerate(first) if 0.2 <= p <= 0.8}
    rows = table(tmp_path / "compare.csv")
    assert {one.case_id for one in found.changes} == {row["case_id"] for row in rows} == changed
    assert {row["second_call"] for row in rows} == {"uncertain"}
    assert found.labels[0].mcnemar.only_first == found.labels[0].mcnemar.only_second == 0


@pytest.fixture(scope="module")
def eager(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with another model: it flags everything."""
    folder = tmp_path_factory.mktemp("eager") / "run"
    shutil.copytree(run.out / "model", folder / "model")
    shutil.copy(run.out / "split.csv", folder)
    card = json.loads((folder / "model" / "model.json").read_text())
    card["thresholds"] = dict.fromkeys(card["thresholds"], 0.0)
    card["limits"] = {}
    (folder / "model" / "model.json").write_text(json.dumps(card))
    return folder


def test_runs_are_compared_on_cases_that_neither_has_met(
    run: Run, eager: Path, sample: Path, features: Path, tmp_path: Path
) -> None:
    split = table(run.out / "split.csv")
    patient_of = {row.case_id: row.patient_id for row in run.cohort.rows}
    test = [row["case_id"] for row in split if row["part"] == "test"]
    met = {patient_of[test[0]]}  # the other run learnt from one of them
    lines = [f"{row['case_id']},{'train' if patient_of[row['case_id']] in met else row['part']}" for row in split]
    other = shutil.copytree(eager, tmp_path / "other")
    (other / "split.csv").write_text("case_id,part\n" + "\n".join(lines) + "\n")

    found = compare_runs(run.out, other, sample, tmp_path / "out", cache=features, workers=1)

    left = {case_id for case_id in test if patient_of[case_id] not in met}
    assert found.cases == len(left)
    assert found.left_out == len(split) - len(left)
    assert {one.case_id for one in found.changes} <= left


def test_as_many_processes_decode_as_were_asked_for(
    run: Run, eager: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []

    def encode(model: Model, cohort: Cohort, cache: Path, progress: object, workers: int | None) -> None:
        asked.append(workers)
        raise CohortError("nothing is read here", "Go on")

    monkeypatch.setattr(compare, "encode", encode)

    with pytest.raises(CohortError, match="nothing is read"):
        compare_runs(run.out, eager, sample, tmp_path / "out", workers=3)

    assert asked == [3]


def test_the_cases_whose_call_changed_are_a_table_and_the_numbers_are_the_same_twice(
    run: Run, eager: Path, sample: Path, features: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        found = compare_runs(run.out, eager, sample, tmp_path / name, cache=features, workers=1)

    rows = table(tmp_path / "one" / "compare.csv")
    numbers = json.loads((tmp_path / "one" / "compare.json").read_text())
    assert (tmp_path / "one" / "compare.json").read_bytes() == (tmp_path / "two" / "compare.json").read_bytes()
    assert len(rows) == len(found.changes) == sum(label["changed"] for label in numbers["labels"]) > 0
    assert {row["second_call"] for row in rows} == {"flagged"}
    assert all(row["first_probability"] == row["second_probability"] for row in rows)
    assert "://" not in (tmp_path / "one" / "compare.html").read_text()


def test_a_cohort_that_one_of_them_learnt_from_whole_cannot_decide(
    run: Run, eager: Path, sample: Path, tmp_path: Path
) -> None:
    all_taught = shutil.copytree(eager, tmp_path / "taught")
    split = (all_taught / "split.csv").read_text()
    (all_taught / "split.csv").write_text(split.replace(",test", ",train"))

    with pytest.raises(CohortError):
        compare_runs(run.out, all_taught, sample, tmp_path / "out", workers=1)
