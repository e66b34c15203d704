"""What the accuracy benchmark promises: honest floors, one division for all, and figures that can be trusted."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from torch import Tensor, nn

from benchmarks import missing
from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy import autogluon, floors, measures, transchex
from benchmarks.accuracy.command import publish
from benchmarks.accuracy.fold import Fold, NotRunError, Said, folds_of, has_side
from benchmarks.accuracy.results import Results, run_all
from benchmarks.accuracy.table import Judged, as_json, lines_of, markdown
from medmm.config import CohortConfig, LabelColumns, RunConfig
from medmm.errors import ConfigError
from medmm.judge import metrics
from medmm.judge.calibration import reliability
from medmm.learn.encode import EncodedRow
from medmm.learn.split import folds_by_patient
from medmm.learn.train import Learned, Prepared
from medmm.model.batch import Batch
from medmm.model.cache import FeatureCache
from medmm.model.encode import EncodedCase, EncodedNote, EncodedStudy, Encoders
from medmm.read.cohort import CaseRow, Cohort
from medmm.tensors import RecordBins
from tests.cohorts import planted_cases, write_table
from tests.models import cases_of_every_pattern, fusion, random_network
from tests.pretraining import dials, write_run

CASES, CLASSES = 240, ("a", "b", "c")


def patients(count: int = CASES) -> list[str]:
    """Two cases a patient."""
    return [f"p{i // 2}" for i in range(count)]


def classes(seed: int = 0) -> np.ndarray:
    return np.eye(len(CLASSES))[np.random.default_rng(seed).integers(len(CLASSES), size=CASES)]


def labels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(2, size=(CASES, len(CLASSES))).astype(float)


def side_of(targets: np.ndarray, loudness: float, seed: int, width: int = 8) -> np.ndarray:
    """Features that say the answers in noise of their own."""
    noise = np.random.default_rng([seed, 1]).normal(size=(len(targets), width))
    noise[:, : targets.shape[1]] += loudness * targets
    return noise


def problem(targets: np.ndarray, *, multi_class: bool) -> floors.Problem:
    learn = folds_by_patient(patients(), 4, 0) != 0
    return floors.Problem.of(targets, patients(), learn, multi_class, seed=0)


def area(of: floors.Problem, said: floors.Said) -> float:
    """Macro AUROC of all cases, each as a model says it that has not seen it."""
    return float(np.mean([metrics.auroc(of.targets[:, i], said.logits[:, i]) for i in range(len(CLASSES))]))


KINDS = [pytest.param(True, classes, id="classes"), pytest.param(False, labels, id="labels")]
Draw = Callable[[], np.ndarray]


@pytest.mark.parametrize(("multi_class", "draw"), KINDS)
def test_what_test_cases_are_changes_nothing_of_what_a_floor_says(multi_class: bool, draw: Draw) -> None:
    targets = draw()
    of = problem(targets, multi_class=multi_class)
    sides = [side_of(targets, 1.0, seed) for seed in (1, 2)]
    other = np.where(of.learn[:, None], targets, np.roll(targets, 1, axis=1))

    before = floors.late_stack([floors.probe(side, of) for side in sides], of)
    changed = problem(other, multi_class=multi_class)
    after = floors.late_stack([floors.probe(side, changed) for side in sides], changed)

    np.testing.assert_array_equal(before.logits, after.logits)


def test_a_floor_says_of_a_case_that_teaches_what_other_cases_taught() -> None:
    noise = np.random.default_rng(5).normal(size=(CASES, 400))  # enough to learn every answer by heart
    of = problem(labels(), multi_class=False)

    said = floors.probe(noise, of).logits[of.learn]

    areas = [metrics.auroc(of.targets[of.learn, i], said[:, i]) for i in range(len(CLASSES))]
    assert max(areas) < 0.65


@pytest.mark.parametrize(("multi_class", "draw"), KINDS)
def test_every_late_floor_passes_its_best_side_when_both_know_something(multi_class: bool, draw: Draw) -> None:
    targets = draw()
    of = problem(targets, multi_class=multi_class)
    sides = [side_of(targets, 1.2, seed) for seed in (1, 2)]
    probes = [floors.probe(side, of) for side in sides]
    best = max(area(of, probe) for probe in probes)

    assert area(of, floors.late_mean(probes, of)) > best
    assert area(of, floors.late_product(probes, of)) > best
    assert area(of, floors.late_stack(probes, of)) > best
    assert area(of, floors.concatenation(sides, of)) > best


def test_the_stack_hears_the_side_that_knows_over_the_one_that_is_sure_and_wrong() -> None:
    targets = classes()
    of = problem(targets, multi_class=True)
    knows = floors.probe(side_of(targets, 2.0, 1), of)
    shouts = floors.Said(20 * np.random.default_rng(3).normal(size=targets.shape), np.ones(CASES, dtype=bool))

    assert area(of, floors.late_stack([knows, shouts], of)) > area(of, floors.late_mean([knows, shouts], of)) + 0.05
    assert area(of, floors.late_stack([knows, shouts], of)) > area(of, knows) - 0.03


@pytest.mark.parametrize("join", [floors.late_mean, floors.late_product])
@pytest.mark.parametrize(("multi_class", "draw"), KINDS)
def test_a_side_that_a_case_lacks_is_left_out(join: Callable[..., floors.Said], multi_class: bool, draw: Draw) -> None:
    targets = draw()
    of = problem(targets, multi_class=multi_class)
    first, second = side_of(targets, 1.0, 1), side_of(targets, 1.0, 2)
    second[::3] = np.nan
    probes = [floors.probe(side, of) for side in (first, second)]

    said = join(probes, of)

    p, alone = (floors.probabilities(one.logits, multi_class) for one in (said, probes[0]))
    np.testing.assert_allclose(p[::3], alone[::3], atol=1e-9)
    assert not np.allclose(p[1::3], alone[1::3])


def test_a_case_without_the_side_of_a_probe_gets_the_shares_of_the_training_cases() -> None:
    targets = labels()
    of = problem(targets, multi_class=False)
    features = side_of(targets, 1.0, 1)
    features[:9] = np.nan

    said = floors.probabilities(floors.probe(features, of).logits, multi_class=False)

    np.testing.assert_allclose(said[:9], np.tile(targets[of.learn].mean(axis=0), (9, 1)), atol=0.01)


def test_words_that_tell_the_answer_are_found_and_no_note_says_nothing() -> None:
    targets = classes()
    texts = [f"lesion of {('nose', 'ear', 'hand')[answer]}" for answer in targets.argmax(axis=1)]
    texts[:5] = [""] * 5
    of = problem(targets, multi_class=True)

    said = floors.words(texts, of)

    assert area(of, said) > 0.95
    assert np.ptp(said.logits[:5], axis=0).max() == 0


def test_a_class_that_no_training_case_has_is_unlikely_and_answers_still_sum_to_1() -> None:
    targets = classes()
    of = problem(targets, multi_class=True)
    targets[of.learn & (targets[:, 2] == 1)] = [1.0, 0.0, 0.0]
    of = problem(targets, multi_class=True)

    p = floors.probabilities(floors.probe(side_of(targets, 1.0, 1), of).logits, multi_class=True)

    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert p[~of.learn, 2].max() < 0.05


def test_answers_that_are_not_stated_teach_nothing() -> None:
    targets = labels()
    of = problem(targets, multi_class=False)
    silent = targets.copy()
    silent[:40] = np.nan
    features = side_of(targets, 1.5, 1)
    features[:40] *= -50  # would mislead, if they taught

    said = floors.probe(features, problem(silent, multi_class=False))

    assert np.isfinite(said.logits).all()
    assert area(of, said) > 0.5


# measures


def sample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers, some not stated; probabilities with ties; two strata."""
    rng = np.random.default_rng(3)
    answers = rng.integers(2, size=90).astype(float)
    p = (0.3 * answers + 0.6 * rng.random(90)).round(2).clip(0.01, 0.99)
    answers[::11] = np.nan
    return answers, p, np.repeat([0, 1], 45)


ONCE = np.ones((1, 90), dtype=np.uint16)


def test_in_one_stratum_the_measures_are_those_of_the_reports() -> None:
    answers, p, _ = sample()
    one = np.zeros(90)

    assert measures.auroc(answers, p, one)(ONCE)[0] == pytest.approx(metrics.auroc(answers, p))
    assert measures.average_precision(answers, p, one)(ONCE)[0] == pytest.approx(metrics.average_precision(answers, p))
    assert measures.calibration_error(answers, p, one)(ONCE)[0] == pytest.approx(reliability(answers, p).ece)
    loss = measures.log_loss(answers[:, None], p[:, None], multi_class=False)
    assert loss(ONCE)[0] == pytest.approx(metrics.log_loss(answers, p))


def test_a_case_that_is_drawn_twice_counts_as_two_cases() -> None:
    answers, p, strata = sample()
    twice = np.r_[np.arange(90), np.arange(30)]
    weights = np.ones((1, 90), dtype=np.uint16)
    weights[0, :30] = 2

    for measure in (measures.auroc, measures.average_precision):
        drawn = measure(answers, p, strata)(weights)[0]
        assert drawn == pytest.approx(measure(answers[twice], p[twice], strata[twice])(np.ones((1, 120)))[0])


def test_scores_of_two_folds_are_never_ranked_against_each_other() -> None:
    answers, p, strata = sample()
    shifted = p + 10 * strata

    for measure in (measures.auroc, measures.average_precision):
        assert measure(answers, shifted, strata)(ONCE)[0] == pytest.approx(measure(answers, p, strata)(ONCE)[0])


def test_balanced_accuracy_of_labels_is_that_of_each_answer_at_the_models_own_threshold() -> None:
    answers, p, _ = sample()
    yes, no = answers == 1, answers == 0

    said = measures.balanced_accuracy(answers[:, None], p[:, None], np.full((90, 1), 0.4), multi_class=False)(ONCE)

    assert said[0] == pytest.approx(((p[yes] >= 0.4).mean() + (p[no] < 0.4).mean()) / 2)


def test_balanced_accuracy_and_log_loss_of_classes_are_scikit_learns() -> None:
    from sklearn.metrics import balanced_accuracy_score, log_loss

    targets = classes()
    p = floors.probabilities(side_of(targets, 1.0, 1, width=3), multi_class=True)
    once, truth = np.ones((1, CASES)), targets.argmax(axis=1)

    accuracy = measures.balanced_accuracy(targets, p, np.zeros_like(p), multi_class=True)(once)[0]

    assert accuracy == pytest.approx(balanced_accuracy_score(truth, p.argmax(axis=1)))
    assert measures.log_loss(targets, p, multi_class=True)(once)[0] == pytest.approx(log_loss(truth, p))


# folds, results, table


def prepared(targets: np.ndarray, *, multi_class: bool = True) -> Prepared:
    """A cohort with answers and sides of one number each, for what reads no pixels and no words."""
    study = EncodedStudy(torch.ones(1, 2).half(), torch.zeros(1, 6), (), ())
    note = EncodedNote(torch.ones(1, 2).half(), torch.ones(1).short(), (), (), ())
    rows = [
        CaseRow(f"c{i}", patient, None, targets=dict(zip(CLASSES, map(float, answer), strict=True)))
        for i, (patient, answer) in enumerate(zip(patients(len(targets)), targets, strict=True))
    ]
    cases = [EncodedRow(row, EncodedCase(row.case_id, study, None, note, {"age": 40.0})) for row in rows]
    described = LabelColumns(class_column="answer", classes=CLASSES) if multi_class else LabelColumns(columns=CLASSES)
    encoders = cast("Encoders", _Digest())
    cohort = Cohort(Path(), CohortConfig(labels=described), tuple(rows))
    return Prepared(cohort, encoders, cast("FeatureCache", None), tuple(cases), ())


class _Digest:
    """Stands for encoders that nobody asks to encode."""

    digest = "0"


def speaker(loudness: float, seed: int = 0) -> Callable[[Prepared, Fold, Path], Said]:
    """A system that knows the answers, more or less."""

    def system(data: Prepared, fold: Fold, work: Path) -> Said:
        (work / "left").touch()
        targets = np.array([list(case.row.targets.values()) for case in data.cases])
        p = floors.probabilities(side_of(targets, loudness, seed, width=3), multi_class=True)
        return Said(p[fold.test], np.full(3, 0.5))

    return system


def test_every_patient_is_tested_once_a_seed_in_the_fold_that_medmm_deals_and_never_teaches_there() -> None:
    names = patients()
    folds = folds_of(names, 4, 2)

    for seed in range(2):
        dealt = [fold for fold in folds if fold.seed == seed]
        assert (np.sum([fold.test for fold in dealt], axis=0) == 1).all()
        for fold in dealt:
            np.testing.assert_array_equal(fold.test, folds_by_patient(names, 4, seed) == fold.number)
            of_patient = {(name, part) for name, part in zip(names, fold.parts, strict=True)}
            assert len(of_patient) == len(set(names))
            assert {"train", "validation", "test"} == set(fold.parts)


def test_a_second_call_makes_only_what_is_missing(tmp_path: Path) -> None:
    data, results, told = prepared(classes()), Results(tmp_path), list[str]()
    folds = folds_of(data.patients, 3, 1)
    run_all(results, {"one": speaker(1.0)}, data, folds[:2], told.append)

    run_all(results, {"one": speaker(9.0), "two": speaker(1.0)}, data, folds, told.append)

    assert [line.split(":")[0] for line in told] == ["one", "one", "one", "two", "two", "two"]
    assert not list(tmp_path.rglob("left"))
    kept = results.get("one", folds[0])
    assert kept is not None
    np.testing.assert_array_equal(kept.said.probabilities, speaker(1.0)(data, folds[0], tmp_path).probabilities)
    assert kept.seconds > 0
    assert kept.megabytes > 10


def test_results_of_other_cases_or_folds_are_not_mixed(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.claim(prepared(classes()), 5, RunConfig())
    results.claim(prepared(classes()), 5, RunConfig())

    with pytest.raises(ConfigError, match="other cases, folds or dials"):
        results.claim(prepared(classes()), 4, RunConfig())
    with pytest.raises(ConfigError, match="other cases, folds or dials"):
        results.claim(prepared(classes(seed=1)), 5, RunConfig())


def test_an_answer_that_is_no_number_is_refused(tmp_path: Path) -> None:
    data = prepared(classes())

    def broken(data: Prepared, fold: Fold, work: Path) -> Said:
        return Said(np.full((int(fold.test.sum()), 3), np.nan), np.full(3, 0.5))

    with pytest.raises(ValueError, match="broken must say"):
        run_all(Results(tmp_path), {"broken": broken}, data, folds_of(data.patients, 3, 1), print)


def test_a_system_that_cannot_run_stands_in_the_table_with_its_reason(tmp_path: Path) -> None:
    data, results, told = prepared(classes()), Results(tmp_path), list[str]()
    folds = folds_of(data.patients, 3, 1)

    def absent(data: Prepared, fold: Fold, work: Path) -> Said:
        raise NotRunError("its hub is not reachable")

    run_all(results, {"good": speaker(1.0), "absent": absent}, data, folds, told.append)
    lines = lines_of(results, ["good", "absent"], folds, Judged.of(data, folds, 20, 0), "good", {})

    assert sum("absent" in line and "not run" in line for line in told) == 1
    assert "absent: not run: its hub is not reachable" in markdown(lines, about())
    assert "\n| absent" not in markdown(lines, about())
    publish(tmp_path, "table", "", as_json(lines, about()))
    assert json.loads((tmp_path / "table.json").read_text())["systems"][1]["seconds"] is None


def about() -> dict[str, Any]:
    words = dict.fromkeys(("cases", "patients", "folds", "seeds", "resamples", "date", "machine"), "1")
    return words | {"reference": "good", "versions": {"medmm": "0"}}


def test_the_table_tells_better_from_worse_and_shows_no_difference_where_there_is_none(tmp_path: Path) -> None:
    data, results = prepared(classes()), Results(tmp_path)
    folds = folds_of(data.patients, 3, 2)
    systems = {"good": speaker(2.0), "same": speaker(2.0), "worse": speaker(0.3), "half": speaker(1.0)}
    run_all(results, {name: systems[name] for name in ("good", "same", "worse")}, data, folds, lambda line: None)
    run_all(results, {"half": systems["half"]}, data, folds[:3], lambda line: None)

    lines = lines_of(results, list(systems), folds, Judged.of(data, folds, 200, 0), "good", {"ab": ["a", "b"]})

    gains = {line.system: line.gain for line in lines}
    assert list(gains) == ["good", "same", "worse"]
    assert gains["good"] is None
    assert gains["same"] is not None
    assert gains["worse"] is not None
    assert (gains["same"].value, gains["same"].low, gains["same"].high) == (0, 0, 0)
    assert gains["worse"].low > 0


def test_a_group_is_judged_by_the_sum_of_its_classes(tmp_path: Path) -> None:
    data, results = prepared(classes()), Results(tmp_path)
    folds = folds_of(data.patients, 2, 1)
    run_all(results, {"good": speaker(1.0)}, data, folds, lambda line: None)

    (line,) = lines_of(results, ["good"], folds, Judged.of(data, folds, 20, 0), "good", {"ab": ["a", "b"]})

    answers = classes()
    p = floors.probabilities(side_of(answers, 1.0, 0, width=3), multi_class=True)
    strata = folds_by_patient(data.patients, 2, 0)
    wanted = measures.auroc(answers[:, :2].sum(axis=1), p[:, :2].sum(axis=1), strata)(np.ones((1, CASES)))[0]
    assert line.figures["AUROC ab"].value == pytest.approx(wanted)


def test_more_seeds_do_not_pass_for_more_patients(tmp_path: Path) -> None:
    data, results = prepared(classes()), Results(tmp_path)
    folds = folds_of(data.patients, 2, 4)
    run_all(results, {"good": speaker(1.0)}, data, folds, lambda line: None)

    widths = []
    for chosen in (folds[:2], folds):
        (line,) = lines_of(results, ["good"], chosen, Judged.of(data, chosen, 400, 0), "good", {})
        widths.append(line.figures["AUROC"].high - line.figures["AUROC"].low)

    assert widths[1] > 0.8 * widths[0]  # the same answers four times over tell nothing new


# the whole command, and the peers

COHORT_TOML = """
[labels]
columns = ["ill"]

[record.age]
unit = "a"
"""
SHORT = """
[fusion]
width = 16

[training]
epochs = 1
folds = 2
"""
TAUGHT = """
[adapt]
image = "last_blocks"
folds = 2
views = 1
epochs = 1
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments of both commands, up to --config: two folds of 40 patients with one film, note and age each."""
    folder = tmp_path_factory.mktemp("benchmark")
    draw, rows = np.random.default_rng(0), []
    for i in range(40):
        ill = i % 2
        (folder / f"study{i}").mkdir()
        pixels = draw.integers(60 * ill, 180 + 60 * ill, (36, 32), dtype=np.uint8)
        Picture.fromarray(pixels).save(folder / f"study{i}" / "1.png")
        note = f"{('no cough', 'fever')[ill]} since {i % 5} days"
        cells = (f"c{i}", f"p{i}", f"study{i}", note, str(30 + i), str(ill))
        rows.append(dict(zip(("case_id", "patient_id", "study", "note", "age", "ill"), cells, strict=True)))
    write_table(folder / "cases.csv", rows)
    (folder / "cohort.toml").write_text(COHORT_TOML)
    run = write_run(folder / "run.toml", dials(folder / "encoders"), SHORT)
    counts = ["--folds", "2", "--seeds", "1", "--resamples", "20"]
    return [str(folder), "--cache", str(folder / "cache"), *counts, "--config", str(run)]


def taught(asked: list[str], folder: Path) -> list[str]:
    """The same for two sides, with an image encoder that is taught."""
    path, sides = folder / "taught.toml", '[fusion]\nmodalities = ["image", "note"]'
    path.write_text(Path(asked[-1]).read_text().replace("[fusion]", sides) + TAUGHT)
    return [*asked[:-1], str(path)]


def systems_in(out: Path) -> list[str]:
    return [line["system"] for line in json.loads((out / "table.json").read_text())["systems"]]


def test_the_command_scores_medmm_and_floors_and_goes_on_where_it_was(asked: list[str], tmp_path: Path) -> None:
    asked = [*asked, "--out", str(tmp_path), "--systems"]

    assert command.main([*asked, "TF-IDF", "medmm (config)"]) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert command.main([*asked, "TF-IDF", "medmm (config)", "late stack"]) == 0

    assert len(before) == 4
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    assert systems_in(tmp_path) == ["medmm (config)", "TF-IDF", "late stack"]
    assert "| late stack |" in (tmp_path / "table.md").read_text()
    assert not list((tmp_path / "work").rglob("*.safetensors"))


def test_encoders_that_are_taught_are_tried_beside_floors_of_frozen_ones(asked: list[str], tmp_path: Path) -> None:
    chosen = ["--systems", "medmm, product", "medmm (config)", "image probe"]

    assert command.main([*asked, "--out", str(tmp_path / "frozen"), *chosen]) == 0
    reference = ["--reference", "medmm (config)"]
    assert command.main([*taught(asked, tmp_path), "--out", str(tmp_path / "taught"), *chosen, *reference]) == 0

    assert "| medmm (config) gains |" in (tmp_path / "taught" / "table.md").read_text()

    def said(kind: str, system: str) -> np.ndarray:
        return np.asarray(np.load(tmp_path / kind / "said" / system / "0-0.npz")["probabilities"])

    np.testing.assert_array_equal(said("frozen", "medmm-product"), said("taught", "medmm-product"))
    np.testing.assert_array_equal(said("frozen", "image-probe"), said("taught", "image-probe"))
    assert not np.allclose(said("frozen", "medmm-config"), said("taught", "medmm-config"))


@pytest.mark.parametrize("role", ["--systems", "--reference"])
def test_a_system_that_nobody_knows_is_refused_by_name(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], role: str
) -> None:
    assert command.main([*asked, "--out", str(tmp_path), role, "crystal ball"]) == 3

    assert "crystal ball" in capsys.readouterr().out
    assert not (tmp_path / "table.md").exists()


def test_transchex_is_built_without_a_hub_and_hears_words_and_pixels(tmp_path: Path) -> None:
    network = transchex.build(3, 100, tmp_path).eval()
    words, pixels = torch.randint(5, 100, (2, 7)), torch.randn(2, 3, 128, 128)

    with torch.inference_mode():
        said = network(words, vision_feats=pixels)
        assert said.shape == (2, 3)
        assert not torch.allclose(said, network(words.flip(0), vision_feats=pixels))
        assert not torch.allclose(said, network(words, vision_feats=pixels.flip(0)))


def test_a_peer_that_fails_says_why() -> None:
    with pytest.raises(NotRunError, match="no such model"):
        autogluon.call([sys.executable, "-c", "raise OSError('no such model')"], 60)


# missing sides


def test_half_of_the_sides_are_hidden_and_no_case_loses_all() -> None:
    data = prepared(classes())

    hidden = missing.hide(data, {side: np.full(CASES, 0.5) for side in ("image", "note", "record")}, seed=0)

    there = np.array([[has_side(case, side) for side in ("image", "note", "record")] for case in hidden.cases])
    assert there.any(axis=1).all()
    assert there.mean(axis=0) == pytest.approx([0.54, 0.54, 0.54], abs=0.08)  # a half, and one of each eighth is kept
    assert len({tuple(row) for row in there.tolist()}) == 7


def test_a_strange_side_is_another_patients_and_the_others_stay() -> None:
    cases = planted_cases(20, missing=0.2)

    strange = missing.with_strange(cases, "note", seed=0)

    owner = {case.note.numpy().tobytes(): patient for case, patient in zip(cases.features, cases.patients, strict=True)}
    for before, after, patient in zip(cases.features, strange.features, cases.patients, strict=True):
        assert before.present == after.present
        assert torch.equal(before.image, after.image)
        assert not len(after.note) or owner[after.note.numpy().tobytes()] != patient


def learned(network: nn.Module) -> Learned:
    return Learned(cast("Any", network), cast("Encoders", None), RecordBins({}, {}), {}, cast("Any", None))


def test_a_case_alone_is_a_case_in_a_batch_of_all_patterns() -> None:
    every = replace(planted_cases(8), features=tuple(cases_of_every_pattern()))

    missing.check_alone(learned(random_network(fusion())), every)


def test_a_network_whose_patients_attend_to_one_another_is_found_out() -> None:
    class Mixing(nn.Module):
        def forward(self, batch: Batch) -> Tensor:
            return batch.note.sum(dim=(1, 2))[:, None] - batch.note.sum()

    with pytest.raises(ValueError, match="alone and in a batch differ"):
        missing.check_alone(learned(Mixing()), planted_cases(6))


def test_questions_are_answered_by_paired_differences(tmp_path: Path) -> None:
    data, results = prepared(classes()), Results(tmp_path)
    folds = folds_of(data.patients, 2, 1)
    run_all(results, {"loud": speaker(2.0), "low": speaker(0.2)}, data, folds, lambda line: None)
    judged = Judged.of(data, folds, 50, 0)
    asked = [missing.Question("better", "loud", "low", 0.0), missing.Question("worse", "low", "loud", -0.01)]

    better, worse = missing.answers_of(results, asked, folds, judged)

    assert better.holds
    assert better.difference.low > 0
    assert not worse.holds
    assert worse.difference.value == -better.difference.value


@pytest.mark.parametrize(("how", "sides"), [("frozen", 3), ("taught", 2)])
def test_the_command_for_missing_sides_asks_every_question(
    how: str, sides: int, asked: list[str], tmp_path: Path
) -> None:
    code = missing.main([*(taught(asked, tmp_path) if how == "taught" else asked), "--out", str(tmp_path)])

    answers = json.loads((tmp_path / "missing.json").read_text())["answers"]
    assert len(answers) == sides + 4 + sides
    assert code == (0 if all(one["difference"]["value"] >= one["question"]["at_least"] for one in answers) else 1)
