"""What the whole session shares: one small cohort, one model trained on it; torch keeps to one thread.

Two threads on a busy machine wait for each other, which costs far more than the second one brings.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before anyone imports torch; inherited by every process that a test starts

import pytest

from tests.cohorts import PATIENTS, SEED, Run, train_small


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: tests of the screen and of other programs wait for them half of the time."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of few tests come first: theirs are the long ones, and none should be left for one core at the end."""
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (tests[item.path], item.path))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample cohort of PATIENTS patients; nobody may write into it."""
    from sample_data.cohort import write_cohort

    folder = tmp_path_factory.mktemp("sample") / "cohort"
    write_cohort(folder, PATIENTS, SEED, workers=1)
    return folder


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of encoded studies that every run of the session shares."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="session")
def run(sample: Path, features: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished training run on the sample cohort; nobody may write into it."""
    return train_small(sample, tmp_path_factory.mktemp("run"), features)
