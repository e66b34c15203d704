"""What teaching the encoders promises: who met a case never speaks of it; a model keeps what was taught."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from medmm.config import AdaptConfig, RunConfig
from medmm.learn.adapt import adapt
from medmm.learn.encode import EncodedRow
from medmm.learn.evaluate import answer, unseen
from medmm.learn.examples import encode
from medmm.learn.fit import Epoch
from medmm.learn.split import Part, folds_by_patient, split_patients
from medmm.learn.systems import FUSED
from medmm.learn.train import Prepared, prepare
from medmm.model.encode import Encoders
from medmm.model.folder import Model
from medmm.model.taught import Taught
from medmm.read.cohort import read_cohort
from medmm.tensors import pixels_for
from tests.cohorts import Diary, Run, dials, train_small

Chosen = dict[Part, list[EncodedRow]]
FROZEN = dials()


def taught(**choice: object) -> RunConfig:
    config = AdaptConfig.model_validate({"folds": 2, "views": 1, "epochs": 1, "batch_size": 8} | choice)
    return FROZEN.model_copy(update={"adapt": config})


BOTH = taught(image="last_blocks", note="last_blocks")


@pytest.fixture(scope="module")
def prepared(sample: Path, features: Path) -> Prepared:
    return prepare(read_cohort(sample), BOTH, features, Diary(), workers=1)


def adapted(prepared: Prepared, run: RunConfig, work: Path) -> tuple[Encoders, Chosen]:
    parts = split_patients(prepared.patients, run.split, run.training.seed)
    chosen = prepared.by_part(parts)

    def silent(stage: str, epoch: Epoch) -> None:
        """Nobody listens."""

    return adapt(prepared.encoders, prepared.cache, chosen, prepared.cohort.config, run, work=work, tell=silent)


@pytest.fixture(scope="module")
def done(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoders, Chosen]:
    return adapted(prepared, BOTH, tmp_path_factory.mktemp("adapt"))


def copy_of(encoders: Encoders, fold: int) -> Taught:
    return cast("Taught", encoders.image.taught[fold])


def image_of(row: EncodedRow) -> torch.Tensor:
    assert row.case.study is not None
    return row.case.study.tokens.float()


def test_what_is_taught_stands_beside_what_was_frozen_and_changes_nothing_of_it(
    prepared: Prepared, done: tuple[Encoders, Chosen]
) -> None:
    encoders, chosen = done
    before = {row.row.case_id: row for row in prepared.cases}

    for row in (row for rows in chosen.values() for row in rows):
        old = before[row.row.case_id]
        if row.case.study is not None:
            tokens, frozen = image_of(row), prepared.encoders.image_width
            assert tokens.shape[1] == encoders.image_width == frozen + 5  # a number for each label
            assert torch.equal(tokens[:, :frozen], image_of(old))
            assert (tokens[:, frozen:] != 0).any()
        if row.case.note is not None and old.case.note is not None:
            frozen = prepared.encoders.text.width
            assert row.case.note.tokens.shape[1] == encoders.text.width == frozen + 5
            assert torch.equal(row.case.note.tokens[:, :frozen], old.case.note.tokens)


def test_a_case_that_taught_is_seen_by_the_copy_that_never_met_its_patient_and_by_no_other(
    prepared: Prepared, done: tuple[Encoders, Chosen]
) -> None:
    encoders, chosen = done
    pupils = chosen["train"]
    folds = folds_by_patient([row.row.patient_id for row in pupils], 2, BOTH.training.seed)
    frozen = prepared.encoders.image_width

    for row, fold in list(zip(pupils, folds, strict=True))[:12]:
        study = row.case.study
        if study is None:
            continue
        trunks = prepared.cache.trunks(study.maps)
        old = next(case.case.study for case in prepared.cases if case.row.case_id == row.row.case_id)
        assert old is not None
        by_copy = [
            prepared.encoders.beside(old, trunks, [copy_of(encoders, fold)]).tokens[:, frozen:] for fold in range(2)
        ]
        assert torch.equal(study.tokens[:, frozen:], by_copy[fold])
        assert not torch.equal(study.tokens[:, frozen:], by_copy[1 - fold])


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_case_that_nobody_met_is_encoded_as_the_model_will_encode_it(
    prepared: Prepared, done: tuple[Encoders, Chosen], part: Part
) -> None:
    from medmm.read.pool import read_cases

    encoders, chosen = done
    row = next(row for row in chosen[part] if row.case.study is not None and row.case.note is not None)
    ((_, case),) = list(read_cases(prepared.cohort, [row.row], 1, pixels_for(encoders.image.size)))
    assert not isinstance(case, Exception)

    fresh = encoders.encode(case, prior=False)

    assert fresh.study is not None
    assert fresh.note is not None
    assert row.case.note is not None
    torch.testing.assert_close(fresh.study.tokens.float(), image_of(row), rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(fresh.note.tokens.float(), row.case.note.tokens.float(), rtol=2e-2, atol=2e-2)


def test_cases_that_validate_or_test_teach_nothing(
    prepared: Prepared, done: tuple[Encoders, Chosen], tmp_path: Path
) -> None:
    parts = split_patients(prepared.patients, BOTH.split, BOTH.training.seed)
    chosen = prepared.by_part(parts)
    without: Chosen = {"train": chosen["train"]}

    again, _ = adapt(
        prepared.encoders,
        prepared.cache,
        without,
        prepared.cohort.config,
        BOTH,
        work=tmp_path,
        tell=lambda stage, epoch: None,
    )

    assert again.digest == done[0].digest


def test_last_blocks_learn_and_what_they_look_at_around_a_cell_stays(
    prepared: Prepared, done: tuple[Encoders, Chosen]
) -> None:
    taught = copy_of(done[0], 0).learnt["part"].state_dict()
    frozen = prepared.encoders.image.new_tail().learns.state_dict()

    weights = {name for name, value in frozen.items() if value.ndim == 4}
    changed = {name for name in weights if not torch.equal(taught[name], frozen[name])}

    assert changed == {name for name in weights if "_depthwise" not in name}


def test_adapters_change_what_is_taught_and_leave_plain_weights(prepared: Prepared, tmp_path: Path) -> None:
    encoders, _ = adapted(prepared, taught(image="lora", note="lora"), tmp_path)

    tail = copy_of(encoders, 0).learnt["part"].state_dict()
    frozen = prepared.encoders.image.new_tail().learns.state_dict()
    assert set(tail) == set(frozen)
    changed = {name for name, value in tail.items() if not torch.equal(value, frozen[name])}
    assert changed
    assert not any("_depthwise" in name or "_bn" in name for name in changed)
    upper, words = (
        cast("Taught", encoders.text.taught[0]).part.state_dict(),
        prepared.encoders.text.new_upper().state_dict(),
    )
    assert set(upper) == set(words)
    assert any(not torch.equal(value, words[name]) for name, value in upper.items())


def test_computing_again_what_was_not_kept_teaches_the_same(
    prepared: Prepared, done: tuple[Encoders, Chosen], tmp_path: Path
) -> None:
    kept, _ = done
    again, _ = adapted(prepared, taught(image="last_blocks", checkpointing=True), tmp_path)

    for one, other in zip(kept.image.taught[0].parameters(), again.image.taught[0].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def two(sample: Path, features: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """Runs whose encoders were taught otherwise, with one cache."""
    folder = tmp_path_factory.mktemp("two")
    run = taught(image="last_blocks", note="lora")
    other = run.model_copy(update={"training": run.training.model_copy(update={"seed": 1})})
    one, two = (train_small(sample, folder / name, features, run=dials) for name, dials in (("a", run), ("b", other)))
    return one, two


def test_a_model_keeps_what_its_encoders_were_taught(two: tuple[Run, Run]) -> None:
    for run in two:
        loaded = Model.load(run.out / "model")

        assert loaded.encoders.digest == run.trained.model.encoders.digest == loaded.card.encoders
        assert loaded.encoders.image.width == run.trained.model.encoders.image.width
        assert len(loaded.encoders.text.taught) == 2


def test_a_taught_model_says_what_it_said_in_training_whoever_else_has_used_the_cache(
    two: tuple[Run, Run], sample: Path, features: Path
) -> None:
    for run in two:
        model, found = Model.load(run.out / "model"), unseen(read_cohort(sample), run.out)

        said = answer(model, encode(model, found.cohort, features, lambda done, total: None, workers=1).cases)

        trained = run.trained.comparison
        asked = [case.row.case_id for case in said.cases]
        then = trained.systems[FUSED][[trained.case_ids.index(case_id) for case_id in asked]]
        np.testing.assert_allclose(said.probabilities, then, atol=1e-3)
