"""The faithfulness benchmark: whoever points at what counts wins, and whoever ignores the weights is found out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import explanations, faithfulness
from benchmarks.faithfulness import CENTRE, EDGES, RANDOM, cascade, similarity
from medmm.explain.overlay import DEFAULT, GRADIENT, PATCHES, WINDOWS
from medmm.model.folder import Model
from medmm.model.taught import Taught
from medmm.placement import Placement
from medmm.result import Overlay
from tests.cohorts import Run


@pytest.fixture(scope="module")
def judged(run: Run, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("faithfulness")
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(faithfulness, "SHARES", (0.0, 0.2))
    few = ["--most", "1", "--randomised", "2", "--resamples", "50", "--without", WINDOWS]
    faithfulness.main([str(sample), "--run", str(run.out), "--other", str(run.out), "--out", str(out), *few])
    monkeypatch.undo()
    return out


def test_every_map_is_judged_beside_those_that_look_at_no_model(judged: Path) -> None:
    content = json.loads((judged / "faithfulness.json").read_text())

    methods = {line["method"] for line in content["lines"]}
    assert {GRADIENT, PATCHES, RANDOM, CENTRE, EDGES} <= methods
    assert WINDOWS not in methods
    assert {line["points"] for line in content["lines"]} <= {0.0, 1.0}
    assert "95 % intervals by patient" in (judged / "faithfulness.md").read_text()


def test_the_same_run_twice_has_the_same_maps(judged: Path) -> None:
    content = json.loads((judged / "faithfulness.json").read_text())

    again = [one for one in content["changes"] if one["step"] == "another seed"]
    assert {one["method"] for one in again} >= {GRADIENT, PATCHES}
    for one in again:
        assert one["ssim"] == pytest.approx(1, abs=1e-6)


def test_weights_are_shuffled_from_the_answer_down_and_the_model_itself_is_left_alone(run: Run) -> None:
    model = Model.load(run.out / "model")
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    trunk = [value.clone() for value in model.encoders.image.trunk.state_dict().values()]

    steps = dict(cascade(model, seed=0))

    assert list(steps) == ["heads and fusion", "and the last stages", "and all of the tail", "and the trunk"]
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(model.encoders.image.trunk.state_dict().values(), trunk, strict=True))
    heads = steps["heads and fusion"].network.state_dict()
    name = "body.heads.image.probe.weight"
    assert torch.equal(heads[name].flatten().sort().values, before[name].flatten().sort().values)
    assert not torch.equal(heads[name], before[name])


def test_taught_copies_lose_what_they_learnt_too(run: Run) -> None:
    model = Model.load(run.out / "model")
    image = model.encoders.image
    copy = Taught(image.new_tail(), nn.Linear(image.frozen_width, 5))
    taught = replace(model, encoders=model.encoders.taught([copy], []))

    *_, (_, last) = cascade(taught, seed=0)

    after = cast("Taught", last.encoders.image.taught[0])
    for name, value in copy.part.state_dict().items():
        if value.is_floating_point() and value.unique().numel() > 1:
            assert not torch.equal(after.part.state_dict()[name], value), name


def test_maps_are_compared_by_what_they_show_and_not_by_their_scale() -> None:
    placed = Placement.fit(60, 40, 64)
    cells = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    one = Overlay(cells, placed)

    assert similarity(one, replace(one, cells=3 * cells))[0] == pytest.approx(1)
    assert similarity(one, replace(one, cells=cells[::-1].copy()))[0] < 0.9


def test_contributions_and_words_are_judged_on_what_was_planted(run: Run, sample: Path, tmp_path: Path) -> None:
    few = ["--most", "12", "--timed", "2", "--repeats", "1"]

    assert explanations.main([str(sample), "--run", str(run.out), "--out", str(tmp_path), *few]) == 0

    content = json.loads((tmp_path / "explanations.json").read_text())
    assert content["worst"] < 1e-6
    assert [one["what"].split(":")[0] for one in content["shares"]][:2] == ["pneumothorax", "pulmonary_embolism"]
    assert list(content["ms"]) == ["answer", "answer and contributions", "answer and all beside it"]
    assert DEFAULT == GRADIENT
