"""What a training run promises: floors beside the model, nobody on two sides, and the same seed the same model."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medmm.errors import CohortError, ConfigError, Reason
from medmm.explain.similar import Memory
from medmm.judge.metrics import youden_threshold
from medmm.learn.encode import encode_cohort
from medmm.learn.fit import Epoch, Examples, infer
from medmm.learn.split import split_patients
from medmm.learn.train import learn_parts, prepare, train
from medmm.learn.typical import typical_of
from medmm.model.card import SIMILAR
from medmm.model.folder import Model
from medmm.model.fusion import Fusion
from medmm.read.cohort import read_cohort
from tests.cohorts import Diary, Run, copy_cohort, dials, in_folds, table, train_small

Rows = list[dict[str, str]]
LABELS = ("pneumonia", "heart_failure", "lung_cancer", "pneumothorax", "pulmonary_embolism")
SYSTEMS = [
    "fused",
    "image only",
    "note only",
    "record only",
    "image + note only",
    "image + record only",
    "note + record only",
    "late ensemble (mean)",
    "late ensemble (stack)",
    "textbook (concatenation)",
]


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def case_ids(run: Run, part: str) -> set[str]:
    return {row["case_id"] for row in table(run.out / "split.csv") if row["part"] == part}


def test_the_model_stands_beside_all_of_its_floors(run: Run) -> None:
    comparison = run.trained.comparison

    assert list(comparison.systems) == SYSTEMS
    for chance in comparison.systems.values():
        assert chance.shape == comparison.targets.shape
        assert ((chance >= 0) & (chance <= 1)).all()
    assert set(comparison.case_ids) == case_ids(run, "test")


def test_no_patient_is_in_two_parts_and_every_case_is_in_one(run: Run) -> None:
    patient_of = {row.case_id: row.patient_id for row in run.cohort.rows}
    split = table(run.out / "split.csv")

    parts = {(patient_of[row["case_id"]], row["part"]) for row in split}

    assert sorted(row["case_id"] for row in split) == sorted(patient_of)
    assert len(parts) == len(set(patient_of.values()))
    assert {part for _, part in parts} == {"train", "validation", "test"}


def test_the_model_folder_loads_and_says_the_same(run: Run, features: Path) -> None:
    model = Model.load(run.out / "model")
    comparison = run.trained.comparison

    encoded = encode_cohort(run.cohort, model.encoders, features, lambda done, total: None, workers=1)
    by_id = {case.row.case_id: case.features(model.encoders, model.bins) for case in encoded.cases}
    said = model.log_odds([by_id[case_id] for case_id in comparison.case_ids]).sigmoid()

    assert model.model_id == run.trained.model.model_id
    assert model.labels == LABELS
    np.testing.assert_allclose(said.numpy(), comparison.systems["fused"], atol=1e-6)


def test_thresholds_are_chosen_on_what_heads_without_them_said_of_validation_cases(
    run: Run, sample: Path, features: Path, tmp_path: Path
) -> None:
    prepared = prepare(read_cohort(sample), dials(), features, Diary(), workers=1)
    parts = split_patients(prepared.patients, dials().split, dials().training.seed)
    learned = learn_parts(prepared, parts, dials(), tmp_path, Diary())
    validation = learned.sets["validation"]
    assert validation.heard is not None

    held_out, met = (infer(learned.network, cases).sigmoid() for cases in (validation, replace(validation, heard=None)))

    assert not torch.allclose(held_out, met, atol=0.02)
    assert {case.case_id for case in validation.features} == case_ids(run, "validation")
    for i, label in enumerate(LABELS):
        chosen = youden_threshold(validation.targets[:, i].numpy(), held_out[:, i].numpy())
        assert run.trained.model.card.thresholds[label] == pytest.approx(chosen, abs=1e-6)


def test_prevalence_is_that_of_the_stated_training_cases(run: Run) -> None:
    rows = [row for row in run.cohort.rows if row.case_id in case_ids(run, "train")]

    for label, share in run.trained.model.card.prevalence.items():
        stated = [row.targets[label] for row in rows if not np.isnan(row.targets[label])]
        assert share == pytest.approx(np.mean(stated), abs=1e-6)


def test_the_same_seed_is_the_same_model_and_another_seed_another(
    run: Run, sample: Path, features: Path, tmp_path: Path
) -> None:
    same = train_small(sample, tmp_path / "same", features)
    other = train_small(sample, tmp_path / "other", features, seed=1)

    assert same.trained.model.model_id == run.trained.model.model_id
    assert other.trained.model.model_id != run.trained.model.model_id
    for name, chance in same.trained.comparison.systems.items():
        np.testing.assert_array_equal(chance, run.trained.comparison.systems[name])


def test_the_answers_of_test_patients_move_nothing(run: Run, sample: Path, features: Path, tmp_path: Path) -> None:
    test = case_ids(run, "test")
    other = {"1": "0", "0": "1", "": ""}

    def flip(rows: Rows) -> Rows:
        turned = [row | {label: other[row[label]] for label in LABELS} for row in rows]
        return [new if new["case_id"] in test else old for old, new in zip(rows, turned, strict=True)]

    flipped = train_small(copy_cohort(sample, tmp_path / "cohort", flip), tmp_path / "run", features)

    assert flipped.trained.model.model_id == run.trained.model.model_id
    np.testing.assert_array_equal(
        np.nan_to_num(flipped.trained.comparison.targets, nan=0.5),
        1 - np.nan_to_num(run.trained.comparison.targets, nan=0.5),
    )


def spoil(rows: Rows) -> Rows:
    """Two cases that cannot be read, and one with nothing to read."""
    nothing = dict.fromkeys(("study", "note", "age", "sex", "temperature_c", "spo2_percent", "crp_mg_l"), "")
    spoiled = [
        rows[0] | {"study": "studies/no-such-folder"},
        rows[1] | {"age": "old"},
        rows[2] | nothing | {"white_cells_10e9_l": ""},
    ]
    return [*spoiled, *rows[3:]]


def test_a_case_that_cannot_be_used_is_named_with_its_reason_and_training_goes_on(
    sample: Path, features: Path, tmp_path: Path
) -> None:
    done = train_small(copy_cohort(sample, tmp_path / "cohort", spoil), tmp_path / "run", features)

    assert [(error.case_id, error.code) for error in done.trained.refused] == [
        (row.case_id, code)
        for row, code in zip(
            done.cohort.rows, (Reason.MISSING_STUDY, Reason.BAD_RECORD, Reason.NOTHING_TO_READ), strict=False
        )
    ]
    assert all(error.remedy for error in done.trained.refused)
    assert len(table(tmp_path / "run" / "split.csv")) == len(done.cohort.rows) - 3
    assert sum(done.trained.model.card.cases.values()) == len(done.cohort.rows) - 3
    assert done.diary.cases[-1] == (len(done.cohort.rows), len(done.cohort.rows))


def test_the_listener_hears_of_every_case_and_every_epoch(run: Run) -> None:
    total = len(run.cohort.rows)

    assert run.diary.cases == [(n, total) for n in range(1, total + 1)]
    assert run.diary.epochs == [("interaction", 0), ("interaction", 1), ("concat", 0), ("concat", 1)]


@pytest.fixture
def finished(sample: Path, features: Path, tmp_path: Path) -> Run:
    """A finished run that the test may spoil."""
    return train_small(sample, tmp_path / "run", features)


def test_a_folder_that_holds_another_run_is_refused_and_left_alone(finished: Run, features: Path) -> None:
    before = files_in(finished.out)

    with pytest.raises(ConfigError, match="holds another run"):
        train(finished.cohort, dials(seed=1), finished.out, features, Diary(), workers=1)

    assert files_in(finished.out) == before


def test_a_folder_of_a_run_on_other_cases_is_refused_and_left_alone(
    finished: Run, sample: Path, features: Path, tmp_path: Path
) -> None:
    fewer = read_cohort(copy_cohort(sample, tmp_path / "fewer", lambda rows: rows[:-2]))
    before = files_in(finished.out)

    with pytest.raises(ConfigError, match="other cases"):
        train(fewer, dials(), finished.out, features, Diary(), workers=1)

    assert files_in(finished.out) == before


def test_the_same_command_again_trains_nothing_and_ends_with_the_same(finished: Run, features: Path) -> None:
    before, diary = files_in(finished.out), Diary()

    again = train(finished.cohort, dials(), finished.out, features, diary, workers=1)

    assert diary.epochs == []
    assert files_in(finished.out) == before
    for name, chance in again.comparison.systems.items():
        np.testing.assert_array_equal(chance, finished.trained.comparison.systems[name])


class Killed(BaseException):
    """Stands for whatever ends a process between two lines."""


@pytest.mark.parametrize("at", [("interaction", 1), ("concat", 0)])
def test_a_run_that_was_stopped_ends_with_the_numbers_of_one_that_was_not(
    run: Run, features: Path, tmp_path: Path, at: tuple[str, int]
) -> None:
    class Stopped(Diary):
        def epoch(self, stage: str, epoch: Epoch) -> None:
            if (stage, epoch.number) == at:
                raise Killed

    with pytest.raises(Killed):
        train(run.cohort, dials(), tmp_path, features, Stopped(), workers=1)

    resumed = train(run.cohort, dials(), tmp_path, features, Diary(), workers=1)

    assert resumed.model.model_id == run.trained.model.model_id
    for name, chance in run.trained.comparison.systems.items():
        np.testing.assert_array_equal(resumed.comparison.systems[name], chance)


def test_a_second_run_encodes_nothing(
    run: Run, sample: Path, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr("medmm.model.encode.Encoders.encode_study", never)
    monkeypatch.setattr("medmm.model.encode.Encoders.encode_note", never)

    assert train_small(sample, tmp_path, features).trained.model.model_id == run.trained.model.model_id


def test_the_gate_of_a_pattern_with_one_side_is_shut(run: Run) -> None:
    body = run.trained.model.network.body
    assert isinstance(body, Fusion)
    assert body.gate is not None
    assert body.gate.shape == (8, len(LABELS))
    assert (body.gate[[0, 1, 2, 4]] == 0).all()


def test_a_model_of_two_sides_is_compared_with_those_two(run: Run, features: Path, tmp_path: Path) -> None:
    small = dials()
    two = small.model_copy(update={"fusion": small.fusion.model_copy(update={"modalities": ("image", "note")})})

    done = train(run.cohort, two, tmp_path, features, Diary(), workers=1)

    assert list(done.comparison.systems) == ["fused", "image only", "note only", *SYSTEMS[-3:]]


def test_the_textbook_model_can_be_the_model(run: Run, features: Path, tmp_path: Path) -> None:
    small = dials()
    textbook = small.model_copy(update={"fusion": small.fusion.model_copy(update={"kind": "concat"})})

    done = train(run.cohort, textbook, tmp_path, features, Diary(), workers=1)

    assert list(done.comparison.systems) == ["fused"]
    assert Model.load(tmp_path / "model").model_id == done.model.model_id


def classes(rows: Rows) -> Rows:
    """One column that names a class, where one of two labels holds alone; the others are not stated."""
    names = {("1", "0"): "pneumonia", ("0", "1"): "heart_failure", ("0", "0"): "neither"}
    return [row | {"class": names.get((row["pneumonia"], row["heart_failure"]), "")} for row in rows]


def test_classes_are_learnt_as_labels_are(sample: Path, features: Path, tmp_path: Path) -> None:
    folder = copy_cohort(sample, tmp_path / "cohort", classes)
    named = 'class_column = "class"\nclasses = ["pneumonia", "heart_failure", "neither"]'
    toml = (folder / "cohort.toml").read_text()
    (folder / "cohort.toml").write_text(re.sub(r"^columns = .*$", named, toml, flags=re.MULTILINE))

    done = train_small(folder, tmp_path / "run", features)

    assert list(done.trained.comparison.systems) == SYSTEMS
    for name, chance in done.trained.comparison.systems.items():
        if not name.startswith("late ensemble (mean)"):
            np.testing.assert_allclose(chance.sum(axis=1), 1, atol=1e-5)


def test_too_few_patients_for_three_parts_is_one_line_and_no_run(sample: Path, features: Path, tmp_path: Path) -> None:
    def three(rows: Rows) -> Rows:
        answers = [dict.fromkeys(LABELS, answer) for answer in ("1", "0", "1")]
        return [row | answer for row, answer in zip(rows[:3], answers, strict=True)]

    with pytest.raises(CohortError, match="too few to split by patient"):
        train_small(copy_cohort(sample, tmp_path / "cohort", three), tmp_path / "run", features)

    assert not (tmp_path / "run").exists()


def test_a_label_that_no_training_patient_has_stated_is_one_line_and_no_run(
    run: Run, sample: Path, features: Path, tmp_path: Path
) -> None:
    train_ids = case_ids(run, "train")
    answers = iter("10" * 40)

    def hush(rows: Rows) -> Rows:
        return [row | {"lung_cancer": "" if row["case_id"] in train_ids else next(answers)} for row in rows]

    with pytest.raises(CohortError, match="no training case states 'lung_cancer'"):
        train_small(copy_cohort(sample, tmp_path / "cohort", hush), tmp_path / "run", features)

    assert not (tmp_path / "run").exists()


def test_a_cohort_without_labels_is_refused_before_anything_is_encoded(sample: Path, tmp_path: Path) -> None:
    config = read_cohort(sample).config.model_copy(update={"labels": None})

    with pytest.raises(CohortError, match="has no labels"):
        train(read_cohort(sample, config), dials(), tmp_path / "run", tmp_path / "features", Diary())

    assert not (tmp_path / "features").exists()


@pytest.fixture(scope="module")
def folded(sample: Path, features: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of two folds; nobody may write into it."""
    return train_small(sample, tmp_path_factory.mktemp("folded"), features, run=in_folds())


def part_of(out: Path) -> dict[str, str]:
    return {row["case_id"]: row["part"] for row in table(out / "split.csv")}


def test_folds_judge_every_case_by_the_model_that_never_saw_its_patient(folded: Run, features: Path) -> None:
    comparison, patient_of = folded.trained.comparison, {row.case_id: row.patient_id for row in folded.cohort.rows}
    encoded = {case.row.case_id: case for case in prepare(folded.cohort, in_folds(), features, Diary(), 1).cases}
    assert sorted(comparison.case_ids) == sorted(patient_of)
    assert comparison.strata is not None
    assert comparison.thresholds is not None

    for fold in range(2):
        rows = np.flatnonzero(comparison.strata == fold)
        parts, model = part_of(folded.out / f"fold-{fold + 1}"), Model.load(folded.out / f"fold-{fold + 1}" / "model")
        judged = [comparison.case_ids[row] for row in rows]
        seen = {patient_of[case_id] for case_id, part in parts.items() if part != "test"}
        assert seen.isdisjoint(patient_of[case_id] for case_id in judged)
        cases = [encoded[case_id].features(model.encoders, model.bins) for case_id in judged]
        said = model.log_odds(cases).sigmoid().numpy()
        np.testing.assert_allclose(said, comparison.systems["fused"][rows], atol=1e-6)
        np.testing.assert_allclose(comparison.thresholds[rows], [list(model.card.thresholds.values())] * len(rows))


def test_each_fold_has_validation_patients_and_the_last_model_tests_nobody(folded: Run) -> None:
    for fold in (1, 2):
        assert set(part_of(folded.out / f"fold-{fold}").values()) == {"train", "validation", "test"}

    last = part_of(folded.out)

    assert set(last.values()) == {"train", "validation"}
    assert len(last) == len(folded.cohort.rows)
    assert Model.load(folded.out / "model").model_id == folded.trained.model.model_id
    assert sum(folded.trained.model.card.cases.values()) == len(folded.cohort.rows)


def test_folds_that_were_stopped_go_on_where_they_were(folded: Run, features: Path, tmp_path: Path) -> None:
    class Stopped(Diary):
        def epoch(self, stage: str, epoch: Epoch) -> None:
            super().epoch(stage, epoch)
            if (stage, epoch.number) == ("fold 2 of 2: interaction", 1):
                raise Killed

    again = Diary()
    with pytest.raises(Killed):
        train(folded.cohort, in_folds(), tmp_path, features, Stopped(), workers=1)

    resumed = train(folded.cohort, in_folds(), tmp_path, features, again, workers=1)

    assert not any(stage.startswith("fold 1") for stage, _ in again.epochs)
    assert resumed.model.model_id == folded.trained.model.model_id
    for name, chance in folded.trained.comparison.systems.items():
        np.testing.assert_array_equal(resumed.comparison.systems[name], chance)


def test_a_folder_of_folds_is_no_place_for_a_hold_out(folded: Run, features: Path) -> None:
    before = files_in(folded.out)

    with pytest.raises(ConfigError, match="holds another run"):
        train(folded.cohort, dials(), folded.out, features, Diary(), workers=1)

    assert files_in(folded.out) == before


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_learns_and_leaves_a_model_that_says_the_same_when_loaded(
    run: Run, features: Path, tmp_path: Path, precision: str
) -> None:
    small = dials()
    mixed = small.model_copy(update={"training": small.training.model_copy(update={"precision": precision})})

    done = train(run.cohort, mixed, tmp_path, features, Diary(), workers=1)
    exact, coarse = (json.loads((out / "work/model/interaction/done.json").read_text()) for out in (run.out, tmp_path))

    losses = [[epoch["train_loss"] for epoch in epochs] for epochs in (exact, coarse)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.05)
    assert losses[0] != losses[1]
    weights = Model.load(tmp_path / "model").network.state_dict().values()
    assert {one.dtype for one in weights if one.is_floating_point()} == {torch.float32}
    assert np.isfinite(done.comparison.systems["fused"]).all()


def test_what_is_kept_of_a_run_names_no_patient_and_quotes_no_note(run: Run) -> None:
    secrets = {row.patient_id for row in run.cohort.rows} | {row.note for row in run.cohort.rows if row.note}

    for path, content in files_in(run.out).items():
        assert not any(secret.encode() in content for secret in secrets), path.name


def test_run_json_says_what_the_run_is_made_of(run: Run) -> None:
    made_of = json.loads((run.out / "run.json").read_text())

    assert made_of["run"] == dials().model_dump(mode="json")
    assert made_of["cases"]["train"] == run.trained.model.card.trained_on


def test_the_model_of_a_run_answers_in_eval_mode(run: Run) -> None:
    network = run.trained.model.network

    assert not network.training
    assert torch.isfinite(infer(network, _no_cases())).all()


def _no_cases() -> Examples:
    return Examples((), (), torch.zeros(0, len(LABELS)))


def test_the_typical_picture_is_of_training_cases_and_is_read_once(
    run: Run, features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(run.cohort, dials(), features, Diary(), workers=1)
    chosen = prepared.by_part(split_patients(prepared.patients, dials().split, dials().training.seed))

    def never(*given: object, **dials: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("medmm.learn.typical.read_cases", never)
    again = typical_of(prepared.cohort, chosen["train"], prepared.encoders, prepared.cache, dials().training.seed)

    kept = Model.load(run.out / "model").typical
    assert again is not None
    assert kept is not None
    assert torch.equal(kept.maps, again.maps)
    with pytest.raises(AssertionError, match="read again"):
        typical_of(prepared.cohort, chosen["test"], prepared.encoders, prepared.cache, 0)


def test_the_memory_of_training_cases_lies_beside_the_model_and_knows_no_other_case(run: Run) -> None:
    memory = Memory.load(run.out / SIMILAR)

    assert set(memory.case_ids) == case_ids(run, "train")
    assert not list((run.out / "model").rglob(SIMILAR))
    patients = {row.patient_id for row in run.cohort.rows}
    assert not any(patient.encode() in (run.out / SIMILAR).read_bytes() for patient in patients if len(patient) > 3)
