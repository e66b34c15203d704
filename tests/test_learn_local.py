"""A model that comes to another place: how many have the disease there is known, estimated or counted."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from medmm.config import RunConfig
from medmm.errors import CohortError, ConfigError
from medmm.judge.conformal import calls
from medmm.learn.local import Local, at_prevalence, estimate_prevalence, refitted
from medmm.learn.split import read_split
from medmm.model.card import digest_of
from medmm.model.folder import Model
from medmm.read.cohort import Cohort, read_cohort
from pipelines.calibrate import calibrate_model
from tests.cohorts import Diary, Run, copy_cohort, strangers, table
from tests.models import random_model


def place(prevalence: float, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers, and what a model says that is calibrated where half of the patients have the disease."""
    rng = np.random.default_rng(seed)
    answers = rng.random(count) < prevalence
    signal = 2 * (answers - 0.5) + rng.standard_normal(count)
    return answers.astype(float), 1 / (1 + np.exp(-2 * signal))


@pytest.mark.parametrize("prevalence", [0.05, 0.25, 0.8])
def test_a_prevalence_is_estimated_from_what_the_model_says(prevalence: float) -> None:
    said = place(prevalence, 8000, 0)[1][:, None]
    assert estimate_prevalence(said, np.array([0.5]), multi_class=False)[0] == pytest.approx(prevalence, abs=0.02)


def test_shares_of_classes_are_estimated_and_sum_to_one() -> None:
    rng, local = np.random.default_rng(0), np.array([0.6, 0.3, 0.1])
    answers = rng.choice(3, 8000, p=local)
    signal = 2 * np.eye(3)[answers] + rng.standard_normal((8000, 3))
    said = np.exp(2 * signal) / np.exp(2 * signal).sum(axis=1, keepdims=True)  # unit noise around a mean of 2
    shares = estimate_prevalence(said, np.full(3, 1 / 3), multi_class=True)
    assert shares.sum() == pytest.approx(1)
    assert shares == pytest.approx(local, abs=0.03)


def test_at_another_prevalence_probabilities_move_as_bayes_says_and_calls_stay(run: Run) -> None:
    model = run.trained.model
    label = min(model.labels, key=lambda name: abs(model.card.prevalence[name] - 0.5))
    column = model.labels.index(label)
    before = model.card.prevalence[label]
    local = at_prevalence(model, {label: before / 3})
    moved = Model(local.card, local.network, model.encoders, "")
    logits, pattern = torch.linspace(-4, 4, 41)[:, None].expand(-1, len(model.labels)), torch.full((41,), 3)
    networks = (model.network, local.network)
    p, q = (network.calibrated(logits, pattern).sigmoid().numpy()[:, column] for network in networks)

    odds = (before / 3 / (1 - before / 3)) / (before / (1 - before))
    np.testing.assert_allclose(q / (1 - q), p / (1 - p) * odds, rtol=1e-4)
    said = []
    for probabilities, one in ((p, model), (q, moved)):
        limits = one.limits(label, ("image", "note"))
        assert limits is not None
        pair = np.array([limits.present_from, limits.absent_to])
        said.append(calls(probabilities, np.array(one.card.thresholds[label]), pair))
    np.testing.assert_array_equal(said[0], said[1])
    for other in set(model.labels) - {label}:
        assert local.card.thresholds[other] == pytest.approx(model.card.thresholds[other])


def test_local_answers_choose_anew_and_what_was_learnt_stays(run: Run, features: Path) -> None:
    model = run.trained.model
    local = refitted(model, run.cohort, features, Diary().encoded, workers=1)
    assert local.card.limits.keys() == model.card.limits.keys()
    assert len(local.case_ids) == len(run.cohort.rows) - len(run.trained.refused)
    stated = [row.targets[model.labels[0]] for row in run.cohort.rows]
    assert local.card.prevalence[model.labels[0]] == pytest.approx(np.nanmean(stated), abs=0.02)
    assert not torch.equal(local.network.shift, model.network.shift)
    for name, value in model.network.body.state_dict().items():
        assert torch.equal(local.network.body.state_dict()[name], value)


def test_of_three_classes_no_error_is_promised_at_another_prevalence() -> None:
    model = random_model(RunConfig(), multi_class=True)
    limits = {name: {"image": (0.1, 0.9)} for name in model.labels}
    model = replace_card(model, limits=limits, prevalence=dict(zip(model.labels, (0.7, 0.2, 0.1), strict=True)))

    local = at_prevalence(model, {model.labels[0]: 0.4})

    assert local.card.limits == {}
    assert sum(local.card.prevalence.values()) == pytest.approx(1)


def test_classes_that_are_more_than_all_patients_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(RunConfig(), multi_class=True)
    monkeypatch.setattr("pipelines.calibrate.load", lambda run: model)

    with pytest.raises(ConfigError, match=r"1\.50 of the patients"):
        calibrate_model(tmp_path, None, tmp_path, prevalence=[f"{name}=0.75" for name in model.labels[:2]])


def replace_card(model: Model, **fields: object) -> Model:
    return Model(model.card.model_copy(update=fields), model.network, model.encoders, model.digest)


def test_overlays_of_a_model_that_was_moved_start_from_the_same_typical_picture(run: Run, tmp_path: Path) -> None:
    label = run.trained.model.labels[0]

    calibrate_model(run.out, None, tmp_path, prevalence=[f"{label}=0.02"])

    before, after = (Model.load(folder / "model").typical for folder in (run.out, tmp_path))
    assert before is not None
    assert after is not None
    assert torch.equal(before.maps, after.maps)


@pytest.fixture
def elsewhere(sample: Path, tmp_path: Path) -> Path:
    """A cohort of patients whom no model has met."""
    return strangers(sample, tmp_path / "elsewhere")


def test_what_local_patients_chose_is_not_judged_on_them(
    run: Run, elsewhere: Path, features: Path, tmp_path: Path
) -> None:
    calibrate_model(run.out, elsewhere, tmp_path / "local", cache=features, workers=1)

    before, after = table(run.out / "split.csv"), table(tmp_path / "local" / "split.csv")
    assert after[: len(before)] == before
    local = after[len(before) :]
    assert {row["part"] for row in local} == {"validation"}
    assert len(local) == len(run.cohort.rows) - len(run.trained.refused)


def test_a_moved_model_does_not_say_whom_it_met_if_the_model_that_was_moved_does_not(run: Run, tmp_path: Path) -> None:
    label, bare, out = run.trained.model.labels[0], tmp_path / "bare", tmp_path / "local"
    shutil.copytree(run.out / "model", bare)
    calibrate_model(run.out, None, out, prevalence=[f"{label}=0.02"])
    assert read_split(out / "split.csv") == read_split(run.out / "split.csv")

    calibrate_model(bare, None, out, prevalence=[f"{label}=0.03"])

    with pytest.raises(CohortError, match="does not say which cases it learnt from"):
        read_split(out / "split.csv")


@pytest.mark.parametrize("named", ["", "model"])
def test_a_model_is_not_written_over_itself(run: Run, named: str) -> None:
    before = digest_of(run.out / "model")

    with pytest.raises(ConfigError, match="written over"):
        calibrate_model(run.out / named, None, run.out, prevalence=[f"{run.trained.model.labels[0]}=0.02"])

    assert digest_of(run.out / "model") == before


def test_ids_that_hold_commas_and_quotes_are_those_that_evaluation_leaves_out(
    run: Run, elsewhere: Path, features: Path, tmp_path: Path
) -> None:
    odd = {"Doe, J", '"odd', 'a "b"'}
    cases = pd.read_csv(elsewhere / "cases.csv", dtype=str, keep_default_na=False)
    cases.loc[: len(odd) - 1, "case_id"] = sorted(odd)
    cases.to_csv(elsewhere / "cases.csv", index=False)

    calibrate_model(run.out, elsewhere, tmp_path / "local", cache=features, workers=1)

    assert odd <= {row["case_id"] for row in table(tmp_path / "local" / "split.csv")}


@pytest.mark.parametrize("external", [False, True])
def test_patients_who_taught_the_model_do_not_calibrate_it_unless_they_are_known_to_be_others(
    run: Run, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, external: bool
) -> None:
    asked: list[str] = []

    def watched(model: Model, cohort: Cohort, *_: object) -> Local:
        asked.extend(row.case_id for row in cohort.rows)
        return at_prevalence(model, {})

    monkeypatch.setattr("pipelines.calibrate.refitted", watched)

    calibrate_model(run.out, sample, tmp_path, external=external)

    new = [row["case_id"] for row in table(run.out / "split.csv") if row["part"] == "test"]
    assert set(asked) == ({row.case_id for row in run.cohort.rows} if external else set(new))


def test_a_model_that_does_not_say_whom_it_learnt_from_is_not_calibrated_unasked(
    run: Run, elsewhere: Path, features: Path, tmp_path: Path
) -> None:
    with pytest.raises(CohortError, match="does not say which cases it learnt from"):
        calibrate_model(run.out / "model", elsewhere, tmp_path / "local", cache=features, workers=1)


def test_a_cohort_without_labels_moves_the_prevalence_only(
    run: Run, elsewhere: Path, features: Path, tmp_path: Path
) -> None:
    def unanswered(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [{name: cell for name, cell in row.items() if name not in run.cohort.labels} for row in rows]

    bare = copy_cohort(elsewhere, tmp_path / "bare", unanswered)
    settings = (bare / "cohort.toml").read_text().split("\n")
    kept = [line for line in settings if not line.startswith(("columns", "[labels]"))]
    (bare / "cohort.toml").write_text("\n".join(kept))
    moved = calibrate_model(run.out, bare, tmp_path / "local", cache=features, workers=1)
    assert moved.card.prevalence != run.trained.model.card.prevalence
    assert torch.equal(moved.network.scale, run.trained.model.network.scale)


def test_a_prevalence_that_is_none_of_a_label_is_refused(run: Run, tmp_path: Path) -> None:
    for given in ("gout=0.1", f"{run.cohort.labels[0]}=1.2", run.cohort.labels[0]):
        with pytest.raises(ConfigError, match="no prevalence of a label"):
            calibrate_model(run.out, None, tmp_path, prevalence=[given])


def test_neither_cohort_nor_prevalence_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither"):
        calibrate_model(run.out, None, tmp_path)


def test_a_model_moved_to_a_prevalence_is_a_model_folder_that_knows_it(run: Run, tmp_path: Path) -> None:
    label = run.cohort.labels[0]
    calibrate_model(run.out, None, tmp_path, prevalence=[f"{label}=0.02"])
    assert Model.load(tmp_path / "model").card.prevalence[label] == pytest.approx(0.02)


def test_a_cohort_with_other_labels_is_refused(run: Run, sample: Path, tmp_path: Path) -> None:
    labels = run.cohort.config.labels
    assert labels is not None
    fewer = labels.model_copy(update={"columns": labels.columns[:2]})
    other = read_cohort(sample, run.cohort.config.model_copy(update={"labels": fewer}))
    with pytest.raises(CohortError, match="not the model's"):
        refitted(run.trained.model, other, tmp_path, Diary().encoded, workers=1)
