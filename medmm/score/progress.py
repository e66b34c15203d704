"""How far a scoring run is, for people who look on: a file in the folder while one is going on, or was cut short.

It says counts, times and the model, and nothing of a case. A run that has done everything takes it away, so that what
it leaves is the same bytes whether it was interrupted or not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from medmm.score.lock import holder

PROGRESS = "progress.jsonl"
"""Name of the file: a line for each case, of which the last whole one counts."""
_LAST_BYTES = 4096
"""More than two lines."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How far a scoring run has come."""

    model_id: str
    process: int
    """The one that scores."""
    total: int
    """Cases that it was given."""
    done: int
    """Of those, answered or refused, now or by an earlier run."""
    refused: int
    started: datetime
    """UTC."""
    moved: datetime
    """When the last case was done, UTC."""


@contextmanager
def telling(out: Path, model_id: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """Tell of a run, which holds the folder: give what comes out the cases that are done and those refused.

    The file goes if the last that was told is that all cases are done, and nothing was raised. That it cannot be
    written, as on a full disk, stops nobody.
    """
    now = datetime.now(UTC)
    tally = Tally(model_id, os.getpid(), total, 0, 0, now, now)

    def tell(done: int, refused: int) -> None:
        nonlocal tally
        tally = replace(tally, done=done, refused=refused, moved=datetime.now(UTC))
        _append(out / PROGRESS, tally)

    _append(out / PROGRESS, tally)
    yield tell
    if tally.done == total:
        (out / PROGRESS).unlink(missing_ok=True)


def _append(path: Path, tally: Tally) -> None:
    """Add a line, in one call, so that nobody reads half of it."""
    said = asdict(tally) | {"started": tally.started.isoformat(), "moved": tally.moved.isoformat()}
    with suppress(OSError), path.open("ab", buffering=0) as file:
        file.write(json.dumps(said).encode() + b"\n")


def tally_of(out: Path) -> Tally | None:
    """What was told last of a run that is going on, or was cut short; None if there is none."""
    try:
        with (out / PROGRESS).open("rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - _LAST_BYTES, 0))
            *lines, _ = file.read().split(b"\n")  # behind the last end of a line nothing is whole
    except OSError:
        return None
    for line in reversed(lines):
        with suppress(ValueError, TypeError, KeyError):  # of a disk that was full, or lost its power
            said = json.loads(line)
            times = {name: datetime.fromisoformat(said[name]) for name in ("started", "moved")}
            return Tally(**said | times)
    return None


def is_running(out: Path, tally: Tally) -> bool:
    """Whether the run that told this is still going on."""
    return holder(out) == tally.process
