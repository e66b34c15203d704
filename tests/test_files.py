"""What writing a file promises: it is whole or it is the old one, and nothing else lies beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medmm.files import remove_unfinished, write_whole


class DiskFullError(OSError):
    """Stands for whatever goes wrong while a file is written."""


def half(path: Path) -> None:
    """Write half a file, and fail."""
    path.write_text("half of the n")
    raise DiskFullError


def test_a_file_is_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "deep" / "a.txt", lambda path: path.write_text("new"))

    assert [path.name for path in (tmp_path / "new" / "deep").iterdir()] == ["a.txt"]
    assert (tmp_path / "new" / "deep" / "a.txt").read_text() == "new"


def test_a_writer_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    with pytest.raises(DiskFullError):
        write_whole(tmp_path / "a.txt", half)

    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_disk_that_is_full_says_which_file_could_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as full:
        write_whole(tmp_path / "a.txt", lambda path: os.write(os.open("/dev/full", os.O_WRONLY), b"x"))

    assert full.value.filename == str(tmp_path / "a.txt")


def test_a_writer_that_fails_before_it_begins_hides_no_error(tmp_path: Path) -> None:
    def nothing(path: Path) -> None:
        raise DiskFullError

    with pytest.raises(DiskFullError):
        write_whole(tmp_path / "a.txt", nothing)

    assert list(tmp_path.iterdir()) == []


def test_the_old_file_can_be_read_until_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def write(path: Path) -> None:
        path.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"

    write_whole(tmp_path / "a.txt", write)

    assert (tmp_path / "a.txt").read_text() == "new"


def test_the_writer_gets_a_name_with_the_same_ending(tmp_path: Path) -> None:
    given: list[str] = []

    def write(path: Path) -> None:
        given.append(path.suffix)
        path.touch()

    write_whole(tmp_path / "film.png", write)

    assert given == [".png"]  # Pillow and safetensors look at it


def test_a_process_killed_while_it_writes_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    code = (
        "import os, signal, sys; from pathlib import Path; from medmm.files import write_whole\n"
        "write_whole(Path(sys.argv[1]), lambda path: (path.write_text('half'), os.kill(os.getpid(), signal.SIGKILL)))"
    )

    process = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.txt")], check=False)

    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "a.txt").read_text() == "old"


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from medmm.files import write_whole\n"
        "write_whole(Path(sys.argv[1]), lambda path: (path.write_text('half'), os.kill(os.getpid(), signal.SIGKILL)))"
    )
    for name in ("a.png", "b.png", "other.png", "a.csv"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=False)
    (tmp_path / "a.png").touch()
    (tmp_path / ".hidden.png").touch()

    remove_unfinished(tmp_path, "a.png")
    after_one = len(list(tmp_path.iterdir()))
    remove_unfinished(tmp_path, "*.png")
    remove_unfinished(tmp_path / "nowhere", "*.png")

    assert after_one == 5
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".png") == [".hidden.png", "a.png"]
    assert [path.suffix for path in tmp_path.iterdir() if path.suffix != ".png"] == [".csv"]
