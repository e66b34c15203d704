"""What the demo promises: from nothing to a review screen that answers, beside the ceilings that nobody can beat.

The dials are those of the other tests, not the default ones, which take minutes; the cohort is the session's. All
else is what `medmm demo` runs.
"""

from __future__ import annotations

import functools
import http.client
import os
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from medmm.errors import ConfigError
from pipelines import demo, terminal
from pipelines.train import train_cohort
from sample_data.cohort import write_cohort
from tests.cohorts import PATIENTS, RUN_TOML, SEED, table
from tests.ports import free_port
from ui.serve import HOST


@dataclass(frozen=True)
class Shown:
    """What a demo printed, where it did its work, and its second run."""

    folder: Path
    port: int
    printed: str
    again: str


@pytest.fixture(scope="module")
def shown(sample: Path, features: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(sample, folder / "cohort")
    shutil.copytree(features, folder / "features")
    (folder / "run.toml").write_text(RUN_TOML)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "train_cohort", functools.partial(train_cohort, config=folder / "run.toml", workers=1))
        said, pids = list[str](), list[int]()
        try:
            for _ in range(2):
                with terminal.console.capture() as capture:
                    demo.run_demo(folder, PATIENTS, SEED, port=free_port(), browser=False)
                said.append(capture.get())
                pids.append(int(re.search(r"kill (\d+)\)", said[-1]).group(1)))  # type: ignore[union-attr]
            yield Shown(folder, _port(said[0]), said[0], said[1])
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGTERM)
                os.waitpid(pid, 0)


def _port(printed: str) -> int:
    return int(re.search(r"Review screen: http://127\.0\.0\.1:(\d+) ", printed).group(1))  # type: ignore[union-attr]


def test_the_screen_answers_where_the_demo_says_and_is_left_running(shown: Shown) -> None:
    connection = http.client.HTTPConnection(HOST, shown.port, timeout=10)
    connection.request("GET", "/_stcore/health")

    assert connection.getresponse().status == 200


def test_the_summary_names_the_three_ceilings(shown: Shown) -> None:
    for side in ("film alone", "note and record alone", "everything"):
        assert re.search(rf"(above|below) the best possible, {side}: 0\.\d{{3}}", shown.printed)


def test_the_demo_scores_the_test_patients_and_nobody_else(shown: Shown) -> None:
    test = {row["case_id"] for row in table(shown.folder / "run" / "split.csv") if row["part"] == "test"}

    scored = {row["case_id"] for row in table(shown.folder / "scored" / "predictions.csv")}

    assert scored == test
    assert table(shown.folder / "scored" / "quarantine.csv") == []
    assert f"{len(test)} cases scored, 0 refused" in shown.printed


def test_the_same_command_again_does_nothing_twice_and_shows_the_same(shown: Shown) -> None:
    model = re.compile(r"Model ([0-9a-f]{12})")

    assert "0 cases scored, " in shown.again
    assert model.findall(shown.again) == model.findall(shown.printed)
    assert _port(shown.again) != shown.port  # the first screen is still there


def test_a_demo_with_other_patients_is_refused_before_any_film_is_made_anew(tmp_path: Path) -> None:
    write_cohort(tmp_path / "cohort", 4, SEED)
    (tmp_path / "run").mkdir()
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))

    with pytest.raises(ConfigError, match="holds a demo with other patients"):
        demo.learn_sample(tmp_path, 4, SEED + 1)

    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
