"""What the whole session shares: one small cohort, one model trained on it; torch keeps to one thread.

Two threads on a busy machine wait for each other, which costs far more than the second one brings.
"""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

os.environ["OMP_NUM_THREADS"] = "1"  # before anyone imports torch; inherited by every process that a test starts

import pytest
from filelock import FileLock

from medmm.errors import DataError
from medmm.judge.comparison import Comparison
from medmm.learn.train import Trained
from medmm.model.folder import Model
from medmm.read.cohort import read_cohort
from medmm.read.pool import READERS, preload
from medmm.score.cores import LIBRARIES
from tests.cohorts import PATIENTS, SEED, Diary, Run, train_small

T = TypeVar("T")
Kept = tuple[Comparison, tuple[DataError, ...], Diary]
"""What a run is beside its folder."""
_FEW = 12
"""Tests of a file that is mostly long ones."""
preload((*READERS, *LIBRARIES))  # once for all children of a process of tests


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: tests of the screen and of other programs wait for them half of the time."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of few tests come first: theirs are the long ones, and none should be left for one core at the end.

    The very first makes what the session shares, and those beside it need nothing of that, or all would wait for it.
    """
    tests = Counter(item.path for item in items)
    shared = {item.path for item in items if "shared" in getattr(item, "fixturenames", ())}
    maker = min(shared, key=lambda path: (tests[path], path), default=None)

    def place(item: pytest.Item) -> tuple[object, ...]:
        path = item.path
        return path != maker, tests[path] > _FEW, path in shared, tests[path], path

    items.sort(key=place)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of what all processes of the session share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def sample(shared: Path) -> Path:
    """A sample cohort of PATIENTS patients; nobody may write into it."""
    from sample_data.cohort import write_cohort

    def make() -> Path:
        write_cohort(shared / "cohort", PATIENTS, SEED, workers=1)
        return shared / "cohort"

    return _once(shared / "sample", make)


@pytest.fixture(scope="session")
def features(shared: Path) -> Path:
    """The folder of encoded studies that every run of the session shares."""
    folder = shared / "features"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def run(sample: Path, features: Path, shared: Path) -> Run:
    """A finished training run on the sample cohort; nobody may write into it."""
    out = shared / "run"

    def make() -> Kept:
        made = train_small(sample, out, features)
        return made.trained.comparison, made.trained.refused, made.diary

    comparison, refused, diary = _once(shared / "trained", make)
    trained = Trained(Model.load(out / "model"), comparison, refused)
    return Run(out, read_cohort(sample), trained, diary)


def _once(path: Path, make: Callable[[], T]) -> T:
    """What the first process of the session that asks for it makes; the others wait for it, and read it."""
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            path.write_bytes(pickle.dumps(make()))
        kept: T = pickle.loads(path.read_bytes())
        return kept
