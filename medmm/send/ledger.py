"""Which objects a PACS has acknowledged: a file that is only ever added to, one JSON object a line.

A line is on the disk before the next objects are sent. One that was cut short by a kill is not counted; its objects are
sent again, and a PACS takes the same SOP Instance UID once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from medmm.send.status import Answer


class Ledger:
    """The acknowledgements of one target."""

    def __init__(self, path: Path, target: str) -> None:
        """Read what is known.

        Args:
            path: of the file; it may hold other targets, and need not be there.
            target: as Target.name.
        """
        self._path, self._target = path, target
        content = path.read_bytes() if path.is_file() else b""
        self._begin = b"" if content.endswith(b"\n") or not content else b"\n"
        self.acknowledged = frozenset(_known(content, target))
        """SOP Instance UIDs, as they were when the ledger was opened."""

    def add(self, answers: Iterable[Answer]) -> None:
        """Keep answers whose verdict is 'stored'; they are on the disk when this returns."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        lines = [
            json.dumps({"target": self._target, "instance": one.uid, "status": f"{one.status:04X}", "at": at})
            for one in answers
            if one.verdict == "stored"
        ]
        if not lines:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(self._begin + "".join(f"{line}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())
        self._begin = b""


def _known(content: bytes, target: str) -> Iterator[str]:
    """SOP Instance UIDs of the whole lines that speak of a target."""
    for line in content.splitlines():
        try:
            said = json.loads(line)
        except ValueError:  # cut short
            continue
        if said["target"] == target:
            yield said["instance"]
