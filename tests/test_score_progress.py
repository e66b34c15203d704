"""How far a scoring run is: told while it goes on, left behind if it is cut short, gone when all is done."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from medmm.score.cohort import score_cohort
from medmm.score.here import in_process
from medmm.score.lock import alone_in
from medmm.score.progress import PROGRESS, is_running, tally_of, telling
from pipelines.score import find_cases
from tests import dicom_files
from tests.cohorts import Run

RUNS = """
import sys
from pathlib import Path
from medmm.score.lock import alone_in
from medmm.score.progress import telling
out = Path(sys.argv[1])
with alone_in(out), telling(out, "m", 5) as tell:
    tell(2, 1)
    print("told", flush=True)
    sys.stdin.read()
"""
"""A run that has done two cases of five, until it is killed."""


def said(out: Path) -> tuple[int, int, int, bool]:
    """Done, total, refused, and whether it goes on."""
    tally = tally_of(out)
    assert tally is not None
    return tally.done, tally.total, tally.refused, is_running(out, tally)


def test_while_a_run_goes_on_everybody_can_see_how_far_it_is_and_after_all_is_done_nothing_is_left(
    tmp_path: Path,
) -> None:
    with alone_in(tmp_path), telling(tmp_path, "m", 2) as tell:
        began = said(tmp_path)
        tell(1, 1)
        halfway = said(tmp_path)
        tell(2, 1)

    assert (began, halfway) == ((0, 2, 0, True), (1, 2, 1, True))
    assert not (tmp_path / PROGRESS).exists()
    assert tally_of(tmp_path) is None


def test_of_a_run_that_was_killed_stays_how_far_it_came_and_that_it_goes_on_no_more(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", RUNS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout
    assert run.stdout.readline() == "told\n"
    before = said(tmp_path)
    run.send_signal(signal.SIGKILL)
    run.wait()

    assert before == (2, 5, 1, True)
    assert said(tmp_path) == (2, 5, 1, False)


def test_another_process_at_the_folder_is_not_taken_for_the_run_that_was_cut_short(tmp_path: Path) -> None:
    with alone_in(tmp_path), telling(tmp_path, "m", 2):
        pass
    lines = (tmp_path / PROGRESS).read_text()
    (tmp_path / PROGRESS).write_text(lines.replace('"process": ', '"process": 1'))

    with alone_in(tmp_path):
        assert said(tmp_path) == (0, 2, 0, False)


def test_a_line_that_is_half_there_is_not_read(tmp_path: Path) -> None:
    with alone_in(tmp_path), telling(tmp_path, "m", 3) as tell:
        tell(1, 0)
        whole = (tmp_path / PROGRESS).read_bytes()
        for torn in (b"", b"\0" * 40 + b"\n", whole.splitlines()[-1], whole.splitlines()[-1][:30] + b"\n"):
            (tmp_path / PROGRESS).write_bytes(whole + torn.replace(b'"done": 1', b'"done": 9'))
            assert said(tmp_path)[0] == 1


def test_where_it_cannot_be_written_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / PROGRESS).mkdir()

    with alone_in(tmp_path), telling(tmp_path, "m", 3) as tell:
        tell(1, 0)

    assert tally_of(tmp_path) is None


def test_whoever_looks_on_keeps_no_run_out(tmp_path: Path) -> None:
    with alone_in(tmp_path), telling(tmp_path, "m", 3):
        pass
    done = threading.Event()
    looks = []

    def look() -> None:
        while not done.is_set():
            looks.append(said(tmp_path))

    onlookers = [threading.Thread(target=look) for _ in range(2)]
    for one in onlookers:
        one.start()
    for _ in range(50):
        with alone_in(tmp_path):
            pass
    done.set()
    for one in onlookers:
        one.join()

    assert len(looks) > 2


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    for number in range(3):
        folder = tmp_path / "in" / f"canary-{number}"
        dicom_files.write(folder / "CANARYNAME.dcm", dicom_files.ramp(), StudyInstanceUID=f"1.2.3.{number}")
    return tmp_path / "in"


def test_scoring_tells_how_far_it_is_without_a_word_of_the_cases_and_the_next_run_clears_it_away(
    studies: Path, run: Run, tmp_path: Path
) -> None:
    model, out, whole = run.trained.model, tmp_path / "out", tmp_path / "whole"
    cohort = find_cases(studies, model.card, out, workers=1)
    seen = []

    def look(done: int, total: int) -> None:
        seen.append((done, total, said(out)))

    score_cohort(model.info, cohort, out, look, in_process(model), 1, stop=lambda: True)
    left = (out / PROGRESS).read_text()
    cut_short = said(out)
    score_cohort(model.info, cohort, out, look, in_process(model), 1)
    score_cohort(model.info, cohort, whole, lambda done, total: None, in_process(model), 1)

    assert seen == [(n, 3, (n, 3, 0, True)) for n in (1, 2, 3)]
    assert cut_short == (1, 3, 0, False)
    assert "canary" not in left.lower()
    assert model.model_id in left
    names = sorted(path.name for path in whole.iterdir())
    assert names == sorted(path.name for path in out.iterdir())
    assert PROGRESS not in names
    for name in ("predictions.parquet", "predictions.csv", "quarantine.csv", "manifest.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
