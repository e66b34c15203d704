"""What a stage of training promises: the best epoch is left, and a run that was killed ends as one that was not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from medmm.config import TrainingConfig
from medmm.errors import ConfigError
from medmm.learn import stage
from medmm.learn.auxiliary import Auxiliary
from medmm.learn.fit import Epoch
from medmm.learn.stage import Stage
from medmm.model.fusion import Fusion
from tests.cohorts import planted_cases
from tests.models import LABELS, WIDTHS, fusion

CONFIG = TrainingConfig(epochs=4, patience=4, batch_size=16, seed=7)


class Killed(BaseException):
    """Stands for whatever ends a process between two lines."""


def fresh() -> Auxiliary:
    torch.manual_seed(CONFIG.seed)
    return Auxiliary(Fusion(WIDTHS, len(LABELS), False, fusion()))


def silent(name: str, epoch: Epoch) -> None:
    """Nobody listens."""


def train_stage(folder: Path, tell: object = silent) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """The weights that a stage leaves, and what each of its epochs came to."""
    network = fresh()
    train, held_out = (planted_cases(48, seed=s, missing=0.2) for s in (1, 2))
    Stage("interaction", folder, tell).run(network, train, held_out, CONFIG, multi_class=False)  # type: ignore[arg-type]
    return network.state_dict(), json.loads((folder / "done.json").read_text())


def assert_same(one: Path, other: Path) -> None:
    """Bit for bit: weights in memory and on disk, and every loss on the way."""
    (weights, epochs), (expected, expected_epochs) = train_stage(one), train_stage(other)
    assert epochs == expected_epochs
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert (one / "best.safetensors").read_bytes() == (other / "best.safetensors").read_bytes()


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_run_that_is_stopped_after_any_epoch_ends_as_one_that_is_not(tmp_path: Path, after: int) -> None:
    def stop(name: str, epoch: Epoch) -> None:
        if epoch.number == after:
            raise Killed

    with pytest.raises(Killed):
        train_stage(tmp_path / "stopped", stop)
    assert not (tmp_path / "stopped" / "done.json").exists()

    assert_same(tmp_path / "stopped", tmp_path / "whole")


def test_a_stage_goes_on_behind_the_last_epoch_that_it_kept(tmp_path: Path) -> None:
    first, second = list[int](), list[int]()

    def stop(name: str, epoch: Epoch) -> None:
        first.append(epoch.number)
        if epoch.number == 2:
            raise Killed

    with pytest.raises(Killed):
        train_stage(tmp_path, stop)
    train_stage(tmp_path, lambda name, epoch: second.append(epoch.number))

    assert (first, second) == ([0, 1, 2], [2, 3])  # the epoch that was being told of had not been kept


SCRIPT = """
import os, signal, sys
from pathlib import Path
from medmm import files
from tests.test_learn_stage import train_stage

left = [int(sys.argv[2])]
replace = os.replace

def replace_or_die(source, target):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    replace(source, target)

os.replace = replace_or_die
train_stage(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("writes", [3, 4])
def test_a_process_killed_while_it_writes_leaves_nothing_that_is_half_read(tmp_path: Path, writes: int) -> None:
    """With `best` of an epoch in place and `last` not yet, or with neither; what was being written is left behind."""
    folder = tmp_path / "killed"

    process = subprocess.run([sys.executable, "-c", SCRIPT, str(folder), str(writes)], check=False)

    assert process.returncode == -signal.SIGKILL
    assert list(folder.glob(".*"))
    assert not (folder / "done.json").exists()
    assert_same(folder, tmp_path / "whole")


def test_a_stage_that_is_done_is_not_run_again(tmp_path: Path) -> None:
    weights, _ = train_stage(tmp_path)
    told: list[int] = []

    again, _ = train_stage(tmp_path, lambda name, epoch: told.append(epoch.number))

    assert told == []
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_a_stage_that_is_done_keeps_its_best_weights_and_its_story_only(tmp_path: Path) -> None:
    train_stage(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"best.safetensors", "done.json"}


@pytest.mark.parametrize("left", [0, 4, 200])
def test_a_state_that_the_disk_has_only_half_of_is_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, left: int
) -> None:
    def stop(name: str, epoch: Epoch) -> None:
        if epoch.number == 2:
            raise Killed

    with pytest.raises(Killed):
        train_stage(tmp_path / "cut", stop)
    last = tmp_path / "cut" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:left])

    assert_same(tmp_path / "cut", tmp_path / "whole")
    assert "interaction begins again" in caplog.text


class OneNumber(nn.Module):
    """A network whose weight says how many epochs have passed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


def run_with_losses(
    monkeypatch: pytest.MonkeyPatch, folder: Path, losses: list[float], patience: int
) -> tuple[float, list[int]]:
    """Pretend that epochs came to these held-out losses; which epoch's weight is left, and which were run."""

    def fit(network: OneNumber, *rest: object, first_epoch: int, **options: object) -> Iterator[Epoch]:
        for number, loss in enumerate(losses[first_epoch:], start=first_epoch):
            network.weight.data.fill_(number)
            yield Epoch(number, 0.0, loss)

    monkeypatch.setattr(stage, "fit", fit)
    network, told = OneNumber(), list[int]()
    config = TrainingConfig(epochs=len(losses), patience=patience)
    cases = planted_cases(2)
    Stage("one", folder, lambda name, epoch: told.append(epoch.number)).run(network, cases, cases, config, False)
    return network.weight.item(), told


def test_a_stage_stops_when_epochs_bring_nothing_better_and_leaves_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, run = run_with_losses(monkeypatch, tmp_path, [0.9, 0.5, 0.7, 0.6, 0.1], patience=2)

    assert (left, run) == (1, [0, 1, 2, 3])


def test_a_stage_whose_epochs_get_better_runs_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, run = run_with_losses(monkeypatch, tmp_path, [0.9, 0.8, 0.7, 0.6], patience=1)

    assert (left, run) == (3, [0, 1, 2, 3])


def test_an_epoch_without_a_finite_loss_is_never_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, _ = run_with_losses(monkeypatch, tmp_path, [0.9, 0.5, float("nan"), float("nan")], patience=3)

    assert left == 1


def test_a_stage_that_diverges_from_the_start_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"never had a finite held-out loss\. Lower learning_rate"):
        run_with_losses(monkeypatch, tmp_path, [float("nan")] * 2, patience=1)

    assert not (tmp_path / "done.json").exists()


def test_only_what_can_learn_is_kept(tmp_path: Path) -> None:
    train_stage(tmp_path)

    learning = {name for name, p in fresh().named_parameters() if p.requires_grad}
    assert set(load_file(tmp_path / "best.safetensors")) == learning
