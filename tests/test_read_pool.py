"""Studies read side by side: one that hangs, dies or swallows all memory is one answer, and the others still come."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import PIL.Image
import psutil  # type: ignore[import-untyped]
import pytest

from medmm.case import Study
from medmm.errors import DataError, Reason
from medmm.read import pool
from medmm.read.dicom.study import read_study
from medmm.read.pool import READERS, Children, _start, in_children, read_studies
from medmm.read.sources.source import Source
from tests.dicom_files import CANARIES, ramp, write


class HangingPath(PosixPath):
    """A study on a server that does not answer."""

    def is_file(self) -> bool:
        time.sleep(600)
        return True


class DeadlyPath(PosixPath):
    """A study whose decoding ends the process, as a codec's abort or the kernel's want of memory does."""

    def is_file(self) -> bool:
        os.kill(os.getpid(), signal.SIGKILL)
        return True


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write(tmp_path / "film.dcm", ramp())


def codes(answers: list[tuple[str, Study | DataError]]) -> dict[str, str]:
    """Case id -> 'read', or why not; in the order of the answers."""
    return {case: answer.code.value if isinstance(answer, DataError) else "read" for case, answer in answers}


def test_a_child_that_hangs_or_dies_costs_its_own_study_only(tmp_path: Path, film: Path) -> None:
    jobs: list[tuple[str, Source]] = [("c1", Source(film)), ("c2", Source(HangingPath(film)))]
    jobs += [("c3", Source(film)), ("c4", Source(DeadlyPath(film))), ("c5", Source(film))]
    jobs += [("c6", Source(tmp_path / "nothing")), ("c7", Source(film))]

    answers = list(read_studies(jobs, workers=2, timeout_s=8))

    found = codes(answers)
    assert list(found) == [case for case, _ in jobs]
    assert found == {
        "c1": "read",
        "c2": "timeout",
        "c3": "read",
        "c4": "crash",
        "c5": "read",
        "c6": "missing-study",
        "c7": "read",
    }
    told = [str(answer) for _, answer in answers if isinstance(answer, DataError)]
    assert told[0] == "case c2: took too long to decode. Check the study with a DICOM viewer."
    assert told[1] == "case c4: killed the process that read it. Check the study with a DICOM viewer."
    assert not any(canary in text for canary in CANARIES for text in told)


def test_a_study_reads_to_the_same_pixels_in_a_child(film: Path) -> None:
    from medmm.read.dicom.study import read_study

    (answer,) = (study for _, study in read_studies([("c1", Source(film))], workers=1))

    assert isinstance(answer, Study)
    np.testing.assert_array_equal(answer.images[0].pixels, read_study(film, "c1").images[0].pixels)
    assert not answer.images[0].pixels.flags.writeable


def test_a_picture_that_swallows_all_memory_is_refused_and_the_next_is_read(tmp_path: Path, film: Path) -> None:
    bomb = tmp_path / "bomb.png"
    PIL.Image.new("L", (10_000, 10_000)).save(bomb)  # 100 kB, and 500 MB as it is decoded

    answers = list(read_studies([("c1", Source(bomb)), ("c2", Source(film))], workers=1, memory_bytes=2**28))

    assert codes(answers) == {"c1": "too-large", "c2": "read"}


def test_a_child_keeps_nothing_of_a_study_that_was_too_large(tmp_path: Path, film: Path) -> None:
    bomb = tmp_path / "bomb.png"
    PIL.Image.new("L", (12_000, 12_000)).save(bomb)

    with Children(1, memory_bytes=2**29) as children:
        children.start("c1", read_study, (film, "c1"))()
        before: Any = children.start("", held_bytes, ())()[1]
        _, refused = children.start("c2", read_study, (bomb, "c2"))()
        after: Any = children.start("", held_bytes, ())()[1]

    assert isinstance(refused, DataError)
    assert refused.code is Reason.TOO_LARGE
    assert after < before + 2**25


def held_bytes() -> int:
    """What this process has allocated."""
    return int(psutil.Process().memory_info().data)


def test_jobs_are_asked_for_only_as_they_are_needed(film: Path) -> None:
    asked: list[str] = []

    def jobs() -> Iterator[tuple[str, Source]]:
        for number in range(100):
            asked.append(f"c{number}")
            yield asked[-1], Source(film)

    answers = read_studies(jobs(), workers=1)
    first = next(answers)
    answers.close()  # type: ignore[attr-defined]  # it is a generator

    assert codes([first]) == {"c0": "read"}
    assert len(asked) < 5


class PanicException(BaseException):
    """What a Rust codec throws when it panics: no Exception."""


def throw(kind: type[BaseException]) -> None:
    """A reader that fails in a way that no one foresaw."""
    raise kind("CANARYNAME")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (ValueError, Reason.CRASH),
        (RecursionError, Reason.CRASH),
        (PanicException, Reason.CRASH),
        (MemoryError, Reason.TOO_LARGE),
    ],
)
def test_whatever_a_reader_throws_is_an_answer_without_its_text(kind: type[BaseException], code: Reason) -> None:
    ((case_id, answer),) = in_children(throw, [("c1", (kind,))], workers=1)

    assert isinstance(answer, DataError)
    assert (case_id, answer.code) == ("c1", code)
    assert not any(canary in str(answer) for canary in CANARIES)


def test_innocent_studies_are_read_however_many_guilty_ones_are_among_them(film: Path) -> None:
    jobs = [(f"c{n}", Source(DeadlyPath(film) if n % 3 == 1 else film)) for n in range(9)]

    found = codes(list(read_studies(jobs, workers=2)))

    assert found == {f"c{n}": "crash" if n % 3 == 1 else "read" for n in range(9)}


def test_children_that_stay_answer_threads_and_outlive_a_death(film: Path) -> None:
    from medmm.read.dicom.study import read_study

    def ask(number: int) -> tuple[str, Study | DataError]:
        path = DeadlyPath(film) if number == 1 else film
        return children.start(f"c{number}", read_study, (Source(path), f"c{number}"))()

    with Children(1) as children, ThreadPoolExecutor(4) as threads:
        found = codes(list(threads.map(ask, range(4))))

    assert found == {"c0": "read", "c1": "crash", "c2": "read", "c3": "read"}


def test_readers_do_not_wait_for_what_others_load(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _start(READERS).get_start_method() == "forkserver"  # that of the tests has them
    monkeypatch.setattr(pool, "_shared", {"torch"})

    assert _start(READERS).get_start_method() == "spawn"
    assert codes(list(read_studies([("c0", Source(film))], workers=1))) == {"c0": "read"}


def test_no_jobs_are_no_answers() -> None:
    assert list(read_studies([], workers=1)) == []


def test_children_of_which_an_idle_one_died_go_on() -> None:
    with Children(1) as children:
        _, pid = children.start("c1", os.getpid, ())()
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)
        time.sleep(1)  # pebble notices it in a tenth of that

        after = [children.start(f"c{n}", abs, (-n,))() for n in (2, 3)]

    assert after == [("c2", 2), ("c3", 3)]
