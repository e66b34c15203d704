"""What a night's run promises whatever becomes of it: killed, out of room, started twice, files that come and go."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from errno import ENOSPC
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from sqlalchemy import Engine, event
from typer.testing import CliRunner, Result

from medmm import files
from medmm.case import Case
from medmm.config import CohortConfig
from medmm.errors import ConfigError, DataError, Reason
from medmm.explain.similar import Memory
from medmm.model.folder import Model
from medmm.read.cohort import CaseRow, Cohort, read_case
from medmm.read.sources.folder import read_folder
from medmm.read.sources.source import Source
from medmm.result import Refusal, ScoredCase
from medmm.score import case, reading
from medmm.score.case import Waiting
from medmm.score.cohort import Scored
from medmm.score.content import Beside
from medmm.score.engine import Plan
from medmm.score.here import in_process
from medmm.score.reading import read_rows
from medmm.score.shard import Shard
from medmm.score.watch import watch
from medmm.store.store import Store
from pipelines.cli import app
from pipelines.score import Manner, find_cases, memory_of, score_cases
from pipelines.watch import _watch_folder
from tests import dicom_files
from tests.cohorts import Run, copy_cohort, table
from tests.readers import unlucky

OUTPUTS = ("predictions.parquet", "predictions.csv", "quarantine.csv", "manifest.json")
HOLDER = """
import sys
from pathlib import Path
from medmm.score.lock import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
"""A process that holds a folder until it is killed."""
DIES = """
import os, signal, sys
from pathlib import Path
out, put = Path(sys.argv[sys.argv.index("--out") + 1]), os.replace
def replace(source, target):
    there = sum(len(list(out.glob(names))) for names in ("films/[!.]*.png", "[!.]*.parquet", "[!.]*.csv"))
    if Path(target).is_relative_to(out.absolute()) and there + 1 >= int(sys.argv[1]):
        os.killpg(0, signal.SIGKILL)
    put(source, target)
os.replace = replace
if __name__ == "__main__":
    os.setpgid(0, 0)
    from pipelines.cli import app
    app(sys.argv[2:])
"""
"""The command, killed with all its processes as one of them puts the nth file in place."""


@pytest.fixture(scope="module")
def few(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases of the sample, and one that cannot be read."""
    broken = {"case_id": "broken", "patient_id": "nobody", "study": "studies/nowhere"}

    def some(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        chosen = [row for row in rows if row["study"]][:6]
        return [*chosen, dict.fromkeys(rows[0], "") | broken]

    return copy_cohort(sample, tmp_path_factory.mktemp("few") / "cohort", some)


@pytest.fixture(scope="module")
def whole(few: Path, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves to which nothing happened."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert scored(few, run, out).exit_code == 2
    return out


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A bare folder of two small studies."""
    for case_id in ("a", "b"):
        write_study(tmp_path / "in", case_id)
    return tmp_path / "in"


def write_study(folder: Path, case_id: str) -> None:
    dicom_files.write(folder / case_id / "film.dcm", dicom_files.ramp(), StudyInstanceUID=f"1.2.3.{ord(case_id)}")


def scored(studies: Path, run: Run, out: Path, *more: str) -> Result:
    arguments = ["score", str(studies), "--model", str(run.out), "--out", str(out), "--workers", "1", *more]
    return CliRunner().invoke(app, arguments)


def score(studies: Path, run: Run, out: Path) -> Scored:
    """The same without the command."""
    model = run.trained.model
    cohort = find_cases(studies, model.card, out, workers=1)
    engine = in_process(model, memory_of(run.out))
    return score_cases(model.info, cohort, out, engine, manner=Manner(workers=1), beside=Beside(similar=True))


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a scored folder but the store and the lock."""
    names = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    return {name: (out / name).read_bytes() for name in names if name not in ("store.sqlite", ".lock")}


def rows_kept(out: Path) -> list[tuple[str, str]]:
    """Case and content of each prediction in the store, in the order in which they were kept."""
    with sqlite3.connect(out / "store.sqlite") as store:
        return store.execute("SELECT case_id, content FROM prediction ORDER BY id").fetchall()


def answered(out: Path) -> set[str]:
    return {row["case_id"] for row in table(out / "predictions.csv")}


def test_a_rerun_adds_no_prediction_and_leaves_every_file_as_it_was(
    few: Path, run: Run, whole: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))

    done = score(few, run, out)

    assert (done.scored, done.known, len(done.refused)) == (0, 6, 1)
    assert contents(out) == contents(whole)
    assert rows_kept(out) == rows_kept(whole)


def test_runs_killed_while_they_write_end_as_one_that_was_not(few: Path, run: Run, whole: Path, tmp_path: Path) -> None:
    out, command = tmp_path / "out", tmp_path / "dies.py"
    command.write_text(DIES)
    films = len(list((whole / "films").iterdir()))
    leftovers = []
    for nth in (3, films + 1):  # a film, and then a table
        arguments = ["score", str(few), "--model", str(run.out), "--out", str(out), "--workers", "1"]
        called = [sys.executable, str(command), str(nth), *arguments]
        done = subprocess.run(called, check=False, capture_output=True)
        assert done.returncode == -signal.SIGKILL
        leftovers.append({path.suffix for path in out.rglob(".*") if path.name != ".lock"})

    score(few, run, out)

    assert leftovers == [{".png"}, {".parquet"}]
    assert contents(out) == contents(whole)
    assert rows_kept(out) == rows_kept(whole)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())


def test_a_second_run_on_the_same_folder_is_refused_until_the_first_is_gone(
    few: Path, run: Run, whole: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"

    refused = scored(few, run, out)
    with Store(out / "store.sqlite") as store:  # as `medmm review` opens it
        seen = {row.prediction.case_id for row in store.worklist(run.trained.model.model_id)}
    holder.kill()
    holder.wait()
    taken = scored(few, run, out)

    assert refused.exit_code == 3
    assert f"another run is writing into {out} (process {holder.pid})" in refused.stderr
    assert seen == answered(whole)
    assert taken.exit_code == 2
    assert contents(out) == contents(whole)


def test_a_full_disk_is_one_line_and_the_next_run_with_room_finishes(
    few: Path, run: Run, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, to_disk, room = tmp_path / "out", files._to_disk, 1

    def full(path: Path) -> None:
        nonlocal room
        if path.is_file():
            room -= 1
            if room < 0:
                raise OSError(ENOSPC, os.strerror(ENOSPC), str(path))
        to_disk(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_to_disk", full)
        for written, room in enumerate((1, len(list((whole / "films").iterdir())) - 1, 1, 2)):  # noqa: B007
            with pytest.raises(OSError, match="No space left"):
                score(few, run, out)
            assert [name for name in OUTPUTS if (out / name).exists()] == list(OUTPUTS[: max(0, written - 1)])
        room = 3
        stopped = scored(few, run, out)

    assert stopped.exit_code == 3
    assert "No space left on device. Check the path, its permissions and the room on its disk." in stopped.stderr
    score(few, run, out)
    assert contents(out) == contents(whole)
    assert rows_kept(out) == rows_kept(whole)


def test_a_store_without_room_keeps_what_it_has_and_the_next_run_with_room_finishes(
    few: Path, run: Run, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pages = (whole / "store.sqlite").stat().st_size // 4096

    def small(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages - 20}")

    event.listen(Engine, "connect", small)
    try:
        stopped = scored(few, run, out)
    finally:
        event.remove(Engine, "connect", small)
    before = rows_kept(out)

    assert stopped.exit_code == 3
    assert "store.sqlite cannot be used" in stopped.stderr
    assert "disk has room" in stopped.stderr
    assert 0 < len(before) < 6
    score(few, run, out)
    assert rows_kept(out) == rows_kept(whole)
    assert contents(out) == contents(whole)


def test_a_study_that_goes_between_listing_and_reading_is_a_row_and_is_scored_when_it_is_back(
    two: Path, run: Run, tmp_path: Path
) -> None:
    model, out, whole = run.trained.model, tmp_path / "out", tmp_path / "whole"
    cohort = read_folder(two)
    shutil.move(two / "a", tmp_path / "aside")

    gone = score_cases(model.info, cohort, out, in_process(model), manner=Manner(workers=1))
    quarantine = table(out / "quarantine.csv")
    shutil.move(tmp_path / "aside", two / "a")
    back = score_cases(model.info, cohort, out, in_process(model), manner=Manner(workers=1))
    score_cases(model.info, cohort, whole, in_process(model), manner=Manner(workers=1))

    assert (gone.scored, [one.case_id for one in gone.refused]) == (1, ["a"])
    assert [(row["case_id"], row["code"]) for row in quarantine] == [("a", Reason.MISSING_STUDY)]
    assert (back.scored, back.known, back.refused) == (1, 1, ())
    assert contents(out) == contents(whole)


def test_a_study_that_changes_while_it_is_read_is_refused(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (row, _) = read_folder(two).rows

    def disturbed(cohort: Cohort, row: CaseRow, enough: int | None) -> Case:
        case = read_case(cohort, row, enough)
        os.utime(two / "a" / "film.dcm", ns=(1, 1))
        return case

    monkeypatch.setattr(reading, "read_case", disturbed)

    with pytest.raises(DataError, match="changed while they were read") as refused:
        reading.read_row(read_folder(two), row, None)

    assert refused.value.code == Reason.CORRUPT


def test_a_reader_that_dies_and_one_that_wants_all_memory_are_rows_and_the_others_are_scored(
    two: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = read_folder(two)
    rows = (*(replace(cohort.rows[0], case_id=case_id) for case_id in ("killed", "greedy")), *cohort.rows)
    monkeypatch.setattr(reading, "read_row", unlucky)

    model = run.trained.model
    done = score_cases(
        model.info, replace(cohort, rows=rows), tmp_path / "out", in_process(model), manner=Manner(workers=1)
    )

    refused = {row["case_id"]: row for row in table(tmp_path / "out" / "quarantine.csv")}
    assert done.scored == 2
    assert {name: row["code"] for name, row in refused.items()} == {"killed": Reason.CRASH, "greedy": Reason.TOO_LARGE}
    assert all(row["problem"] and row["remedy"] for row in refused.values())


@pytest.mark.parametrize(
    "thrown",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_a_case_for_whose_answer_there_is_no_memory_is_refused_and_the_next_is_scored(
    two: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thrown: Exception
) -> None:
    answer_case = case.answer_case

    def hungry(model: Model, memory: Memory | None, waiting: Waiting, beside: Beside) -> ScoredCase:
        if waiting.features.case_id == "a":
            raise thrown
        return answer_case(model, memory, waiting, beside)

    monkeypatch.setattr(case, "answer_case", hungry)
    model, out = run.trained.model, tmp_path / "out"

    done = score_cases(model.info, read_folder(two), out, in_process(model), manner=Manner(workers=1))

    assert (done.scored, [(one.case_id, one.code) for one in done.refused]) == (1, [("a", Reason.TOO_LARGE)])


def test_another_error_of_an_answer_is_no_want_of_memory(
    two: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: object) -> ScoredCase:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(case, "answer_case", fails)
    model = run.trained.model

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        score_cases(model.info, read_folder(two), tmp_path / "out", in_process(model), manner=Manner(workers=1))


def test_what_a_process_left_of_a_picture_when_it_was_stopped_is_gone_when_the_run_ends(
    two: Path, run: Run, tmp_path: Path
) -> None:
    left = tmp_path / "out" / "films" / f".{'d' * 40}.{'0' * 32}.png"

    def stopped(plan: Plan, rows: Iterable[CaseRow], workers: int | None) -> Iterator[tuple[CaseRow, Refusal]]:
        for row in rows:
            left.parent.mkdir(parents=True, exist_ok=True)
            left.write_bytes(b"half")
            yield row, Refusal(row.case_id, Reason.TIMEOUT, "took too long", "Look at it")

    score_cases(run.trained.model.info, read_folder(two), tmp_path / "out", stopped, manner=Manner(workers=1))

    assert not left.exists()


@pytest.mark.parametrize("thrown", [FileNotFoundError("CANARYNAME"), ConfigError("half a cohort.toml", "Wait")])
def test_a_watched_folder_that_cannot_be_read_for_once_is_looked_at_again(
    two: Path, capsys: pytest.CaptureFixture[str], thrown: Exception
) -> None:
    looks, seen = iter([thrown, None]), list[int]()

    def find() -> Cohort:
        problem = next(looks)
        if problem is not None:
            if isinstance(problem, ConfigError):
                write_study(two, "c")  # as a cohort.toml that is whole at the next look is another listing
            raise problem
        return read_folder(two)

    ends = iter([False, False, True])
    _watch_folder(
        two, find, replace(read_folder(two), rows=()), None, lambda new: seen.append(len(new.rows)), ends.__next__
    )

    told = capsys.readouterr().out
    assert "Waiting:" in told
    assert "CANARYNAME" not in told
    assert seen == [3 if isinstance(thrown, ConfigError) else 2]


def test_rows_are_asked_for_as_children_are_free_and_not_all_at_once(two: Path) -> None:
    cohort, asked = read_folder(two), list[int]()

    def rows() -> Iterator[CaseRow]:
        for number in range(20):
            asked.append(number)
            yield cohort.rows[number % 2]

    answers = read_rows(cohort, rows(), workers=1)
    next(answers)

    assert len(asked) < 6
    assert len(list(answers)) == 19


def test_the_manifest_says_with_what_the_tables_were_made(run: Run, whole: Path) -> None:
    said = json.loads((whole / "manifest.json").read_text())

    assert said["cases"] == {"scored": 6, "refused": 1}
    assert said["model"]["id"] == run.trained.model.model_id
    assert set(said["versions"]) >= {"medmm", "python", "torch", "pydicom"}
    assert said["sha256"] == {name: sha256((whole / name).read_bytes()).hexdigest() for name in OUTPUTS[:3]}


def test_shards_are_the_whole_and_each_case_is_in_one_of_them(few: Path, run: Run, whole: Path, tmp_path: Path) -> None:
    parts = [tmp_path / f"part-{number}" for number in (1, 2)]

    for number, out in enumerate(parts, start=1):
        scored(few, run, out, "--shard", f"{number}/2")

    for name in ("predictions.csv", "quarantine.csv"):
        header, *lines = csv_lines(whole / name)
        assert [csv_lines(out / name)[0] for out in parts] == [header, header]
        assert sorted(line for out in parts for line in csv_lines(out / name)[1:]) == sorted(lines)
    assert answered(parts[0])
    assert answered(parts[1])
    assert not answered(parts[0]) & answered(parts[1])


def csv_lines(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_a_case_stays_in_its_shard_when_others_come() -> None:
    ids = [f"case-{number}" for number in range(300)]
    counts = [sum(Shard(number, 3).has(case_id) for case_id in ids) for number in (1, 2, 3)]

    assert sum(counts) == 300
    assert min(counts) > 70
    assert Shard.parse("2/3") == Shard(2, 3)
    assert [case_id for case_id in ids[:20] if Shard(1, 3).has(case_id)] == FIRST_OF_THREE


FIRST_OF_THREE = ["case-1", "case-11", "case-12", "case-13", "case-17", "case-19"]
"""Written down once: another hash would score cases twice or not at all where machines differ in version."""


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "-1/2", "1/2/3"])
def test_a_shard_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="not a part of a cohort"):
        Shard.parse(text)


def looks(*rounds: dict[str, str]) -> list[list[str]]:
    """What `watch` hands over at each look; a round says which cases are there and what their note is."""
    given: list[list[str]] = []
    left = iter(rounds)

    def look() -> Cohort:
        given.append([])
        rows = tuple(CaseRow(case_id, "", None, note=note) for case_id, note in next(left).items())
        return Cohort(Path(), CohortConfig(), rows)

    watch(look, lambda part: given[-1].extend(row.case_id for row in part.rows), lambda: len(given) == len(rounds))
    return given


def test_a_study_is_left_until_it_has_not_changed_from_one_look_to_the_next() -> None:
    given = looks({"a": "1"}, {"a": "2", "b": "1"}, {"a": "3", "b": "1"}, {"a": "3", "b": "1"})

    assert given == [[], [], ["b"], ["a"]]


def test_a_study_is_handed_over_once_and_again_only_when_it_has_changed() -> None:
    given = looks({"a": "1"}, {"a": "1"}, {"a": "1"}, {"a": "2"}, {"a": "2"}, {}, {"a": "2"}, {"a": "2"})

    assert given == [[], ["a"], [], [], ["a"], [], [], []]


def test_a_file_that_grows_is_a_change(two: Path) -> None:
    row, _ = read_folder(two).rows
    before = reading.stamp_of(row)

    with (two / "a" / "film.dcm").open("ab") as file:
        file.write(b"more")

    assert reading.stamp_of(row) != before
    assert reading.stamp_of(replace(row, study=Source(two / "nowhere"))) == (("", -1, -1),)


def test_a_watched_folder_is_scored_as_studies_come_until_it_is_stopped(two: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def bring_then_stop() -> None:
        until(lambda: (out / "predictions.csv").exists() and answered(out) == {"a", "b"})
        write_study(two, "c")
        until(lambda: answered(out) == {"a", "b", "c"})
        os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=bring_then_stop)
    other.start()
    done = scored(two, run, out, "--watch", "0.1")
    other.join()

    assert done.exit_code == 0
    assert [case_id for case_id, _ in rows_kept(out)] == ["a", "b", "c"]
    score(two, run, tmp_path / "once")
    assert contents(out) == contents(tmp_path / "once")


def until(done: Callable[[], bool]) -> None:
    while not done():
        time.sleep(0.05)


def test_what_cannot_be_watched_is_an_error_and_nothing_is_written(two: Path, run: Run, tmp_path: Path) -> None:
    archive, out = tmp_path / "in.zip", tmp_path / "out"
    archive.touch()

    for studies, where, more in ((archive, out, ()), (two, two / "out", ()), (two, out, ("--date", "20261101"))):
        assert scored(studies, run, where, "--watch", "1", *more).exit_code == 3
        assert not where.exists()
