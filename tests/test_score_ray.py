"""What scoring on Ray promises: the bytes that one machine writes, whatever becomes of a node."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.killed_scoring import contents
from medmm.errors import ConfigError, ModelError, Reason
from medmm.read.cohort import CaseRow
from medmm.result import Refusal, ScoredCase
from medmm.score import ray as engine
from medmm.score.cohort import score_cohort
from medmm.score.content import Beside
from medmm.score.engine import Plan
from medmm.score.ray import on_ray
from medmm.score.worker import Held, answerer
from pipelines.cli import app
from pipelines.score import Manner, find_cases, score_folder
from tests import dicom_files
from tests.cohorts import Run, copy_cohort, table
from tests.readers import die, disagree, linger, unlucky

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'medmm[ray]'")
CASES, CUT = 10, "cut-short"


@pytest.fixture(scope="module")
def few(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten cases of the sample, and one that does not decode, among them."""
    folder = tmp_path_factory.mktemp("few") / "cohort"
    broken = {"case_id": CUT, "patient_id": "CANARYID", "study": CUT, "note": "CANARYNOTE: cough."}

    def some(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        chosen = [row for row in rows if row["study"]][:CASES]
        return [*chosen[:4], dict.fromkeys(rows[0], "") | broken, *chosen[4:]]

    copy_cohort(sample, folder, some)
    dicom_files.BROKEN["pixels cut short"][2](folder / CUT)
    return folder


@pytest.fixture(scope="module")
def whole(few: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the engine of one machine leaves."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert len(score_folder(few, run.out, out, manner=Manner(workers=1)).refused) == 1
    return out


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and another node, of one core each; its processes are as patient as those of the other tests.

    By itself Ray gives way to everything else on the machine, and a film then takes longer to read than it may.
    """
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        started = Cluster(initialize_head=True, head_node_args=head)
        started.add_node(num_cpus=1)
    yield started
    started.shutdown()  # type: ignore[no-untyped-call]  # Ray does not annotate it


def until(done: Callable[[], bool]) -> None:
    while not done():
        time.sleep(0.05)


def cores() -> list[float]:
    """Of every node that is there and works."""
    return [node["Resources"]["CPU"] for node in ray.nodes() if node["Alive"] and "CPU" in node["Resources"]]


def test_a_cluster_writes_what_one_machine_writes_wherever_it_was_started_and_is_gone_on_with_here(
    few: Path, run: Run, whole: Path, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(few.parent)
    model, out, cache = (Path(os.path.relpath(path)) for path in (run.out, tmp_path / "out", tmp_path / "cache"))

    there = score_folder(Path(few.name), model, out, Manner(cluster=cluster.address, cache=cache))
    connected, written = ray.is_initialized(), contents(out)
    here = score_folder(Path(few.name), model, out, Manner(workers=1))
    recalled = score_folder(Path(few.name), model, tmp_path / "recalled", Manner(cluster=cluster.address, cache=cache))

    assert not connected
    assert len(list(cache.rglob("*.safetensors"))) == recalled.scored == CASES
    assert contents(tmp_path / "recalled") == contents(whole)
    assert (there.scored, [one.case_id for one in there.refused]) == (CASES, [CUT])
    assert (here.scored, here.known) == (0, CASES)
    assert written == contents(whole)


def test_a_case_that_takes_its_process_with_it_every_time_is_refused_and_what_is_thrown_is_thrown_here(
    cluster: Any,
) -> None:
    row = CaseRow("fatal", "p", None)
    with on_ray(Path(), None, cluster.address):
        begun = deque((row, ray.remote(max_retries=0)(work).remote()) for work in (die, disagree, lambda: "answer"))

        _, refused = engine._next(begun)
        with pytest.raises(ModelError, match="one model") as thrown:
            engine._next(begun)
        _, answered = engine._next(begun)

    assert isinstance(refused, Refusal)
    assert (refused.case_id, refused.code) == ("fatal", Reason.CRASH)
    assert str(thrown.value) == "one model. Another."
    assert str(answered) == "answer"


def test_a_case_for_which_its_node_has_no_memory_is_refused_and_not_begun_for_ever(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.01")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    poor = cluster.add_node(num_cpus=1, resources={"poor": 1})
    row = CaseRow("greedy", "p", None)

    with on_ray(Path(), None, cluster.address):
        task = ray.remote(resources={"poor": 1}, max_retries=1)(linger).remote()
        _, refused = engine._next(deque([(row, task)]))
    cluster.remove_node(poor)

    assert isinstance(refused, Refusal)
    assert (refused.case_id, refused.code) == ("greedy", Reason.TOO_LARGE)
    assert "memory" in refused.remedy


def test_a_run_that_loses_one_of_two_nodes_ends_with_the_same_bytes(
    few: Path, run: Run, whole: Path, cluster: Any, tmp_path: Path
) -> None:
    out, model = tmp_path / "out", run.trained.model
    cohort = find_cases(few, model.card, out, workers=1)
    lost = next(iter(cluster.worker_nodes))

    def lose_one() -> None:
        until(lambda: ray.available_resources().get("CPU", 0) == 0)  # both have a case
        cluster.remove_node(lost, allow_graceful=False)

    with on_ray(run.out / "model", run.out / "similar.safetensors", cluster.address) as score_there:
        assert cores() == [1, 1]
        with ThreadPoolExecutor(1) as thread:
            losing = thread.submit(lose_one)
            beside = Beside(similar=True)
            score_cohort(model.info, cohort, out, lambda done, total: None, score_there, beside=beside)
        losing.result()
        until(lambda: cores() == [1])

    assert contents(out) == contents(whole)


def test_nothing_of_a_patient_and_no_case_is_named_in_what_ray_keeps(few: Path, cluster: Any) -> None:
    rows = table(few / "cases.csv")
    said = [row[name] for row in rows for name in ("case_id", "patient_id", "note") if len(row[name]) > 5]
    canaries = [*dicom_files.CANARIES, "CANARYID", "CANARYNOTE", "SAMPLE-", "SAMPLE^", *said]
    logs = [path for path in Path(cluster.head_node.get_session_dir_path()).rglob("*") if path.is_file()]

    assert any("worker" in path.name for path in logs)
    for path in logs:
        content = path.read_bytes()
        assert not [canary for canary in canaries if canary.encode() in content], path.name


@pytest.fixture
def given(few: Path, run: Run, tmp_path: Path) -> Iterator[tuple[Held, Plan]]:
    """What a process of a node is given, here."""
    model = run.trained.model
    cohort = find_cases(few, model.card, tmp_path, workers=1).without_rows()
    yield Held(run.out / "model", None), Plan(model.model_id, cohort, Beside(), tmp_path / "films")
    with engine._child():
        engine._child.cache_clear()


def test_a_process_that_finds_another_model_than_the_run_says_so(given: tuple[Held, Plan]) -> None:
    held, _ = given

    with pytest.raises(ModelError, match="another model than when the run began"):
        answerer(held, "b" * 12)


def test_a_reader_that_dies_on_a_node_is_the_row_that_it_is_here_and_the_process_goes_on(
    few: Path, run: Run, given: tuple[Held, Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "read_row", unlucky)
    first = find_cases(few, run.trained.model.card, tmp_path, workers=1).rows[0]

    killed, greedy, well = (
        engine._work(given, replace(first, case_id=case_id)) for case_id in ("killed", "greedy", first.case_id)
    )

    assert isinstance(killed, Refusal)
    assert isinstance(greedy, Refusal)
    assert (killed.code, killed.problem) == (Reason.CRASH, "killed the process that read it")
    assert greedy.code == Reason.TOO_LARGE
    assert isinstance(well, ScoredCase)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nobody_listens_is_told_before_ray_asks_there_for_minutes(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(**given: object) -> None:
        raise AssertionError("Ray was asked")

    monkeypatch.setattr(ray, "init", ask)
    with socket.socket() as taken:  # by nobody who listens
        taken.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(ConfigError, match="no Ray answers") as told, on_ray(Path(), None, address):
            pass

    assert address in str(told.value)
    assert "ray start --head" in told.value.remedy


def test_without_ray_the_command_says_how_to_install_it_and_writes_nothing(
    few: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    out = tmp_path / "out"

    done = CliRunner().invoke(app, ["score", str(few), "--model", str(run.out), "--out", str(out), "--engine", "ray"])

    assert done.exit_code == 3
    assert done.stderr == "medmm: Ray is not installed. Install it with: pip install 'medmm[ray]'.\n"
    assert not out.exists()


def test_a_folder_is_not_watched_by_a_cluster(few: Path, run: Run, tmp_path: Path) -> None:
    arguments = ["score", str(few), "--model", str(run.out), "--out", str(tmp_path / "out"), "--engine", "ray"]

    done = CliRunner().invoke(app, [*arguments, "--watch", "1"])

    assert done.exit_code == 3
    assert "watched by one machine" in done.stderr
