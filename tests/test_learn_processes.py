"""What several processes promise: the numbers of one, files from one, and an end if one of them dies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from medmm.model.dropout import Dropout, chance, share_of_batch
from tests import together

LAUNCH = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
"""Of CPU processes too: accelerate has no other way to start several on one machine without MPI."""


def two_processes(folder: Path, dies: int = -1) -> subprocess.CompletedProcess[str]:
    """Run tests.together in two processes that accelerate launches."""
    command = [sys.executable, "-m", *LAUNCH, "-m", "tests.together", str(folder), str(dies)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The same stage by one process and by two."""
    made = {count: tmp_path_factory.mktemp(f"by-{count}") for count in (1, 2)}
    together.main(made[1])
    done = two_processes(made[2])
    assert done.returncode == 0, done.stderr
    return made


def test_two_processes_have_the_losses_of_one_with_the_same_batch_dropout_included(folders: dict[int, Path]) -> None:
    one, two = (json.loads((folders[count] / "done.json").read_text()) for count in (1, 2))

    assert [epoch["number"] for epoch in two] == [0, 1, 2]
    for name in ("train_loss", "held_out_loss"):
        np.testing.assert_allclose([e[name] for e in two], [e[name] for e in one], atol=1e-4)
    assert one[0]["train_loss"] != pytest.approx(one[2]["train_loss"], abs=1e-3)


def test_two_processes_end_with_the_weights_of_one(folders: dict[int, Path]) -> None:
    one, two = (load_file(folders[count] / "best.safetensors") for count in (1, 2))

    for name, weights in one.items():
        torch.testing.assert_close(two[name], weights, atol=1e-3, rtol=0)


def test_several_processes_leave_the_files_of_one(folders: dict[int, Path]) -> None:
    for folder in folders.values():
        assert {path.name for path in folder.iterdir()} == {"best.safetensors", "done.json"}


def test_a_process_that_dies_ends_the_run_with_an_error(tmp_path: Path) -> None:
    done = two_processes(tmp_path, dies=1)

    assert done.returncode != 0
    assert "exitcode  : 9" in done.stderr
    assert not (tmp_path / "done.json").exists()


def test_rows_computed_apart_are_dropped_as_they_are_together() -> None:
    layer, x = Dropout(0.4).train(), torch.ones(7, 3, 5)

    torch.manual_seed(0)
    whole = layer(x)
    parts = []
    for rows in ([0, 1, 2], [3, 4, 5, 6]):
        torch.manual_seed(0)
        with share_of_batch(rows, 7):
            parts.append(layer(x[rows]))

    assert torch.equal(torch.cat(parts), whole)
    assert 0 < float((whole == 0).float().mean()) < 1


def test_alone_it_is_the_dropout_of_torch() -> None:
    x = torch.randn(6, 4)
    torch.manual_seed(0)
    expected = nn.Dropout(0.3).train()(x)
    torch.manual_seed(0)

    assert torch.equal(Dropout(0.3).train()(x), expected)
    assert torch.equal(Dropout(0.3).eval()(x), x)


def test_chance_is_a_row_s_own_and_ends_with_its_block() -> None:
    torch.manual_seed(0)
    whole = chance((5, 2), torch.device("cpu"))
    torch.manual_seed(0)
    with share_of_batch([4, 1], 5):
        assert torch.equal(chance((2, 2), torch.device("cpu")), whole[[4, 1]])

    assert chance((5, 2), torch.device("cpu")).shape == (5, 2)
