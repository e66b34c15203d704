"""Where the bytes of a study lie: a file, a folder, or members of a zip archive. Nothing is ever unpacked to disk."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from medmm.errors import Reason
from medmm.read.guard import MAX_BYTES, RefusedError

_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one study; opened only when they are read."""

    path: Path = field(repr=False)
    """A file, a folder, or a zip archive if `members` says so."""
    members: tuple[str, ...] = field(default=(), repr=False)
    """Names of files below the folder or in the archive, with forward slashes; empty: all that there are."""

    def exists(self) -> bool:
        """Whether the file, folder or archive is there."""
        return self.path.exists()

    def names(self) -> list[str]:
        """Names of the files, sorted; '' for a single file. Hidden ones and DICOMDIR are left out.

        Raises:
            RefusedError: MISSING_STUDY if nothing is there.
        """
        if self.members:
            return sorted(self.members)
        if self.path.is_dir():
            found = (file.relative_to(self.path) for file in self.path.rglob("*") if file.is_file())
            return sorted(name.as_posix() for name in found if is_wanted(name.as_posix()))
        if not self.path.is_file():
            raise RefusedError(
                Reason.MISSING_STUDY, "its study is not there", "Check the study column and the cohort's folder"
            )
        return [""]

    @contextmanager
    def opened(self) -> Iterator[Reader]:
        """Open the archive, if it is one, for as long as its files are read."""
        if self.members and self.path.is_file():
            with zipfile.ZipFile(self.path) as archive:
                yield Reader(self, archive)
        else:
            yield Reader(self, None)

    def digest(self) -> bytes:
        """SHA-256 over the files, in the order of their names; reads them, decodes nothing.

        What cannot be read counts as that: reading the study will say so.
        """
        digest = hashlib.sha256()
        try:
            with self.opened() as reader:
                for name in self.names():
                    digest.update(hashlib.sha256(reader.read(name)).digest())
        except (OSError, RefusedError, zipfile.BadZipFile):
            digest.update(b"unreadable")
        return digest.digest()


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the files of a source, each within MAX_BYTES."""

    source: Source
    archive: zipfile.ZipFile | None

    def read(self, name: str, limit: int = MAX_BYTES) -> bytes:
        """Return the bytes of one file.

        Raises:
            RefusedError: TOO_LARGE beyond `limit`, whatever an archive declares; CORRUPT if it does not inflate.
            OSError: if it cannot be opened.
        """
        if self.archive is None:
            path = self.source.path / name if name else self.source.path
            if path.stat().st_size > limit:
                raise RefusedError(Reason.TOO_LARGE, f"has more than {limit >> 20} MiB", "Reduce it")
            return path.read_bytes()
        content = bytearray()
        try:
            with self.archive.open(name) as member:
                while block := member.read(_BLOCK):
                    content += block
                    if len(content) > limit:
                        raise RefusedError(Reason.TOO_LARGE, f"inflates to more than {limit >> 20} MiB", "Reduce it")
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, KeyError):
            raise RefusedError(Reason.CORRUPT, "cannot be taken from its archive", "Pack the archive again") from None
        return bytes(content)


def is_wanted(name: str) -> bool:
    """Whether a file may be part of a study: not hidden, and not a DICOMDIR."""
    parts = PurePosixPath(name).parts
    return not any(part.startswith(".") for part in parts) and parts[-1].upper() != "DICOMDIR"
