"""Files that are whole or absent, whatever kills the process that writes them, or the power."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

_STEM = 40
"""Letters of a file's name that are in the name of its temporary file."""


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step, on the disk when this returns.

    What a process that is killed leaves behind, `remove_unfinished` finds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem[:_STEM]}.{uuid4().hex}{path.suffix}")
    try:
        write(temporary)
        _to_disk(temporary)
        os.replace(temporary, path)
    except BaseException as problem:
        temporary.unlink(missing_ok=True)
        if isinstance(problem, OSError) and problem.errno and problem.filename is None:
            problem.filename = str(path)  # a full disk does not say where it is full
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _to_disk(path.parent)


def remove_unfinished(folder: Path, names: str, idle_s: float = 0.0) -> None:
    """Remove temporary files of processes that were killed while they wrote into a folder.

    Args:
        folder: need not be there.
        names: of the files that they were to become: one name, or a pattern such as '*.png'.
        idle_s: for how long nobody has written to them; 0 where nobody may be writing.
    """
    wanted = Path(names)
    for path in folder.glob(f".{wanted.stem[:_STEM]}.{'[0-9a-f]' * 32}{wanted.suffix}"):
        with suppress(FileNotFoundError):  # another process may sweep too
            if time.time() - path.stat().st_mtime >= idle_s:
                path.unlink()


def _to_disk(path: Path) -> None:
    """Wait until the disk has the content of a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
