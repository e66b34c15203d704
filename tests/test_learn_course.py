"""What a course of teaching promises: it ends the same if it is killed, stops early, and holds out by patient."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from medmm.errors import CohortError, ConfigError
from medmm.learn.course import Course, Material, claim, pursue
from medmm.learn.fit import Epoch
from tests.pretraining import Diary

COURSE = Course(epochs=4, learning_rate=0.05, batch_size=4, patience=4, seed=3)
OWNERS = tuple(f"patient-{i // 2}" for i in range(24))


class Killed(BaseException):
    """Stands for whatever ends a process between two lines."""


class Line(nn.Module):
    """A line to be fitted, with dropout, and a weight that must not learn."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.frozen = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean squared error."""
        off: Tensor = self.layers(x)[:, 0] * self.frozen - y
        return off.square().mean()


def material(owners: Sequence[str] = OWNERS, seen: list[list[int]] | None = None, spoilt: bool = False) -> Material:
    """Noisy examples of a line; the noise of an epoch is drawn anew."""
    x = torch.randn(len(owners), 3, generator=torch.Generator().manual_seed(1))

    def batch(which: Sequence[int]) -> Mapping[str, Tensor]:
        if seen is not None:
            seen.append(list(which))
        chosen = x[list(which)]
        return {"x": chosen + 0.1 * torch.randn(chosen.shape), "y": chosen.sum(dim=1) / (0.0 if spoilt else 1.0)}

    return Material(tuple(owners), batch, "digest")


class Stop(Diary):
    """A listener that ends the process after an epoch."""

    def __init__(self, after: int, end: object = None) -> None:
        super().__init__()
        self.after, self.end = after, end

    def epoch(self, epoch: Epoch) -> None:
        """End at the one."""
        if epoch.number == self.after:
            if self.end is not None:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Killed


def assert_same(one: Path, other: Path) -> None:
    """Bit for bit: the weights that are left, and every loss on the way."""
    first, second = Line(), Line()
    assert pursue(first, material(), COURSE, one, Diary()) == pursue(second, material(), COURSE, other, Diary())
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    assert (one / "best.safetensors").read_bytes() == (other / "best.safetensors").read_bytes()


@pytest.mark.parametrize("after", [0, 2, 3])
def test_a_course_that_is_stopped_ends_as_one_that_is_not(tmp_path: Path, after: int) -> None:
    with pytest.raises(Killed):
        pursue(Line(), material(), COURSE, tmp_path / "stopped", Stop(after))
    torch.manual_seed(99)  # a new process has drawn other numbers

    assert_same(tmp_path / "stopped", tmp_path / "whole")


def test_a_process_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        pursue(Line(), material(), COURSE, tmp_path / "killed", Stop(1, "at once"))
        os._exit(1)
    diary = Diary()

    _, status = os.waitpid(child, 0)
    pursue(Line(), material(), COURSE, tmp_path / "killed", diary)

    assert os.WTERMSIG(status) == signal.SIGKILL
    assert [epoch.number for epoch in diary.epochs] == [2, 3]
    assert_same(tmp_path / "killed", tmp_path / "whole")


def test_a_course_whose_learning_rate_decays_runs_to_its_end_and_holds_nobody_out(tmp_path: Path) -> None:
    seen: list[list[int]] = []
    decaying = replace(COURSE, decays=True, patience=1, learning_rate=0.5)  # too high to get better all the time

    epochs = pursue(Line(), material(seen=seen), decaying, tmp_path, Diary())

    assert len(epochs) == decaying.epochs
    assert all(math.isnan(epoch.held_out_loss) for epoch in epochs)
    assert sorted(i for which in seen for i in which) == sorted(list(range(len(OWNERS))) * decaying.epochs)


def test_a_state_that_the_disk_has_only_half_of_is_made_anew(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        pursue(Line(), material(), COURSE, tmp_path / "half", Stop(1))
    last = tmp_path / "half" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:100])

    assert_same(tmp_path / "half", tmp_path / "whole")


def test_a_course_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    first, diary = pursue(Line(), material(), COURSE, tmp_path, Diary()), Diary()

    assert pursue(Line(), material(), COURSE, tmp_path, diary) == first
    assert diary.steps == []
    assert {path.name for path in tmp_path.iterdir()} == {"best.safetensors", "done.json"}


def test_the_weights_of_the_best_epoch_are_left(tmp_path: Path) -> None:
    network, steep = Line(), replace(COURSE, learning_rate=3.0, epochs=5, patience=5)

    epochs = pursue(network, material(), steep, tmp_path, Diary())

    best = min(epochs, key=lambda epoch: epoch.held_out_loss)
    short = Line()
    pursue(short, material(), replace(steep, epochs=best.number + 1), tmp_path / "short", Diary())
    assert best.number < 4
    assert all(torch.equal(value, short.state_dict()[name]) for name, value in network.state_dict().items())


def test_what_is_frozen_stays_and_is_not_kept(tmp_path: Path) -> None:
    network = Line()

    pursue(network, material(), COURSE, tmp_path, Diary())

    assert network.frozen == 1
    assert b"frozen" not in (tmp_path / "best.safetensors").read_bytes()


def test_a_course_stops_when_nothing_gets_better(tmp_path: Path) -> None:
    idle = replace(COURSE, learning_rate=1e-12, epochs=50, patience=2)

    assert len(pursue(Line(), material(), idle, tmp_path, Diary())) < 10


def test_no_epoch_begins_when_the_time_is_up(tmp_path: Path) -> None:
    assert len(pursue(Line(), material(), replace(COURSE, budget_s=1e-9), tmp_path, Diary())) == 1


def test_the_number_of_batches_is_told_from_the_beginning(tmp_path: Path) -> None:
    diary = Diary()

    pursue(Line(), material(), COURSE, tmp_path, diary)

    total = diary.steps[0][1]
    assert diary.steps == [(done, total) for done in range(1, total + 1)]


def test_no_patient_is_both_learnt_and_held_out(tmp_path: Path) -> None:
    seen: list[list[int]] = []

    pursue(Line(), material(seen=seen), replace(COURSE, epochs=1), tmp_path, Diary())

    learnt = {i for which in seen[:-1] for i in which}
    held_out = set(seen[-1])
    assert learnt | held_out == set(range(24))
    assert not {OWNERS[i] for i in learnt} & {OWNERS[i] for i in held_out}


def test_one_patient_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="two patients"):
        pursue(Line(), material(["patient-0"] * 8), COURSE, tmp_path, Diary())


def test_a_loss_that_is_never_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="never had a finite loss"):
        pursue(Line(), material(spoilt=True), replace(COURSE, epochs=2), tmp_path, Diary())


@pytest.mark.parametrize("change", [{"seed": 4}, {"epochs": 5}, {"budget_s": 60.0}])
def test_a_folder_is_not_gone_on_with_by_another_course(tmp_path: Path, change: dict[str, float]) -> None:
    claim(tmp_path, "method", ("encoder",), COURSE, material())
    claim(tmp_path, "method", ("encoder",), COURSE, material())

    with pytest.raises(ConfigError, match="holds another run"):
        claim(tmp_path, "method", ("encoder",), replace(COURSE, **change), material())  # type: ignore[arg-type]


def test_a_folder_is_not_gone_on_with_for_other_data_or_from_another_encoder(tmp_path: Path) -> None:
    claim(tmp_path, "method", ("encoder",), COURSE, material())

    for encoder, digest in (("other", "digest"), ("encoder", "other")):
        with pytest.raises(ConfigError, match="other data"):
            claim(tmp_path, "method", (encoder,), COURSE, replace(material(), digest=digest))
    assert "patient-" not in json.dumps(json.loads((tmp_path / "run.json").read_text()))
