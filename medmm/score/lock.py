"""One run at a time in a folder: a second one is refused. Who only reads is not asked, and may ask who is at it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medmm.errors import StoreError

LOCK = ".lock"
"""File of a scored folder that the run holds, with its process id. It stays; what counts is who holds it."""
_PATIENCE_S = 0.5
"""How long a run waits for somebody who only asks, which takes no time."""


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Hold a folder, made if it is not there, against every other process; the kernel lets go when this one dies.

    Whoever holds it may hold it again.

    Raises:
        StoreError: if another process holds it.
    """
    from filelock import FileLock, Timeout

    out.mkdir(parents=True, exist_ok=True)
    path = (out / LOCK).resolve()
    lock = FileLock(path, timeout=_PATIENCE_S, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        who = path.read_text(encoding="ascii").strip()
        process = f" (process {who})" if who else ""
        problem = f"another run is writing into {out}{process}"
        raise StoreError(problem, "Wait until it is done, or name another folder with --out") from None
    try:
        path.write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    finally:
        lock.release()


def holder(out: Path) -> int | None:
    """The process that holds a folder; None if nobody does."""
    from filelock import FileLock, Timeout

    path = (out / LOCK).resolve()
    if not path.is_file():
        return None
    try:
        with FileLock(path, blocking=False):
            return None
    except Timeout:
        who = path.read_text(encoding="ascii").strip()
        return int(who) if who.isdigit() else None
