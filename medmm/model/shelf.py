"""Where what encoders made is kept: files in a folder, named by content. No torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from medmm.files import remove_unfinished

_IDLE_S = 86_400.0
"""What nobody has written to for a day is not going to be finished."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder that several models may share: each finds what its own encoders made."""

    folder: Path
    encoders: str
    """Digest of what made it, see Encoders.digest and Encoders.frozen_digest."""

    def key(self, content: bytes) -> str:
        """Name of what the encoders make of `content` (the bytes of a note, or the digest of a study's files)."""
        return hashlib.sha256(self.encoders.encode() + content).hexdigest()

    def path(self, key: str) -> Path:
        """Where it lies."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def has(self, key: str) -> bool:
        """Whether something is kept under `key`, and was not cut short."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path(key), framework="np"):
                return True
        except (OSError, SafetensorError):
            return False


def sweep(folder: Path) -> None:
    """Remove from a cache what writers that were killed left unfinished; others may be writing."""
    for below in folder.glob("[0-9a-f][0-9a-f]"):
        remove_unfinished(below, "*.safetensors", _IDLE_S)
