"""Where the bytes of a study lie: a file, a folder, or members of a zip archive. Nothing is ever unpacked to disk."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO

from medmm.errors import Reason
from medmm.read.guard import MAX_BYTES, RefusedError

MAX_STUDY_BYTES = 2**33
"""Size of all files of one study together, as they are read."""
MAX_MEMBERS = 200_000
"""Files in one archive."""
MAX_INDEX_BYTES = 2**26
"""Size of an archive's index (its central directory), which is held in memory."""
MAX_RATIO = 200
"""How often a large member, or an archive as a whole, may be larger than it is packed; DEFLATE reaches 1032, and a
film or a slice reaches it only where it is empty."""
_SMALL = 2**26
"""What is not larger than this may be packed as tightly as it will."""
_BLOCK = 2**20
_PACK_AGAIN = "Pack the archive again"
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    KeyError,
    ValueError,
)
"""What zipfile throws at a damaged archive, besides OSError."""


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one study; opened only when they are read."""

    path: Path = field(repr=False)
    """A file, a folder, or a zip archive, known by its suffix."""
    members: tuple[str, ...] = field(default=(), repr=False)
    """Names of files below the folder or in the archive, with forward slashes; empty: all that there are."""
    refused: tuple[Reason, str, str] | None = field(default=None, repr=False)
    """Why the study cannot be read, where that was known before: its code, the problem and the remedy."""

    def exists(self) -> bool:
        """Whether the file, folder or archive is there."""
        return self.path.exists()

    def names(self) -> list[str]:
        """Names of the files, sorted; '' for a single file. Hidden ones and DICOMDIR are left out.

        Raises:
            RefusedError: MISSING_STUDY if nothing is there; what `refused` says; and as `opened`.
            OSError: if a folder below cannot be listed.
        """
        if self.refused:
            raise RefusedError(*self.refused)
        if self.members:
            return sorted(self.members)
        if self.path.is_dir():
            return [name for name in files_below(self.path) if is_wanted(name)]
        if not self.path.is_file():
            raise RefusedError(
                Reason.MISSING_STUDY, "its study is not there", "Check the study column and the cohort's folder"
            )
        if is_archive(self.path):
            return [name for name in archive_names(self.path) if is_wanted(name)]
        return [""]

    @contextmanager
    def opened(self) -> Iterator[Reader]:
        """Open the archive, if it is one, for as long as its files are read.

        Raises:
            RefusedError: OUTSIDE, CORRUPT or TOO_LARGE if the archive cannot be trusted.
        """
        if is_archive(self.path) and self.path.is_file():
            yield Reader(self, _archive(self.path)[0])
        else:
            yield Reader(self, None)

    def digest(self) -> bytes:
        """SHA-256 over the files, in the order of their names; reads them, decodes nothing, holds none.

        The same files have the same digest in a folder and in an archive. What cannot be read counts as that: reading
        the study will say so.
        """
        digest = hashlib.sha256()
        try:
            with self.opened() as reader:
                for name in self.names():
                    one = hashlib.sha256()
                    for block in reader.blocks(name):
                        one.update(block)
                    digest.update(one.digest())
        except (OSError, RefusedError):
            digest.update(b"unreadable")
        return digest.digest()


@dataclass(slots=True)
class Reader:
    """Reads the files of a source, each within MAX_BYTES, all of them within MAX_STUDY_BYTES."""

    source: Source
    archive: zipfile.ZipFile | None
    left: int = MAX_STUDY_BYTES
    """Bytes that may still be read."""

    def read(self, name: str, limit: int = MAX_BYTES) -> bytes:
        """Return the bytes of one file; errors as `blocks`."""
        return b"".join(self.blocks(name, limit))

    def blocks(self, name: str, limit: int = MAX_BYTES) -> Iterator[bytes]:
        """Return the bytes of one file, a MiB at a time.

        Raises:
            RefusedError: TOO_LARGE beyond `limit`, whatever an archive declares; CORRUPT if it does not inflate;
                OUTSIDE if the name leads out of the folder.
            OSError: if it cannot be opened.
        """
        size = 0
        with self.file(name) as file:
            while block := file.read(_BLOCK):
                size += len(block)
                self.left -= len(block)
                if size > limit:
                    raise RefusedError(Reason.TOO_LARGE, f"has more than {limit >> 20} MiB", "Reduce it")
                if self.left < 0:
                    problem = f"is the one with which its study has more than {MAX_STUDY_BYTES >> 20} MiB"
                    raise RefusedError(Reason.TOO_LARGE, problem, "Reduce it")
                yield block

    @contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        """Open one file to be read in parts; errors as `blocks`, from whatever is done with it."""
        if name and not is_inside(name):
            raise RefusedError(Reason.OUTSIDE, "leads out of its folder", "Take it out of the study")
        if self.archive is None:
            path = self.source.path / name if name else self.source.path
            if not path.is_file():  # nor may it be a pipe, which would be waited for
                raise FileNotFoundError
            with path.open("rb") as file:
                yield file
            return
        try:
            with self.archive.open(name) as member:
                yield member
        except _DAMAGED:
            raise RefusedError(Reason.CORRUPT, "cannot be taken from its archive", _PACK_AGAIN) from None


def is_wanted(name: str) -> bool:
    """Whether a file may be part of a study: not hidden, and not a DICOMDIR."""
    parts = PurePosixPath(name).parts
    return not any(part.startswith(".") for part in parts) and not is_directory(name)


def is_directory(name: str) -> bool:
    """Whether a file is called as the index of a DICOM medium is (PS3.10 8.6)."""
    return PurePosixPath(name).name.upper() == "DICOMDIR"


def is_archive(path: Path) -> bool:
    """Whether a file is called as a zip archive is."""
    return path.suffix.lower() == ".zip"


def is_inside(name: str) -> bool:
    """Whether a name with forward slashes stays below its folder, on any system."""
    return not (name.startswith("/") or "\\" in name or re.match("[A-Za-z]:", name) or ".." in name.split("/"))


def files_below(folder: Path) -> list[str]:
    """Names of all files below a folder, sorted, with forward slashes; hidden ones are left out, links are followed.

    A file that cannot be looked at, such as a link that leads nowhere, is one of them: reading it will say so.

    Raises:
        OSError: if a folder cannot be listed: nothing is lost in silence.
    """
    names: list[str] = []
    seen: set[tuple[int, int]] = set()

    def fail(problem: OSError) -> None:
        raise problem

    for where, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        this = os.stat(where)
        if (this.st_dev, this.st_ino) in seen:  # a link to a folder that was listed: around and around
            folders.clear()
            continue
        seen.add((this.st_dev, this.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = PurePosixPath(Path(where).relative_to(folder))
        paths = ((name, os.path.join(where, name)) for name in files if not name.startswith("."))
        names += [(below / name).as_posix() for name, path in paths if _may_be_file(path)]
    return sorted(names)


def _may_be_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True


def archive_names(path: Path) -> list[str]:
    """Names of all files in a zip archive, sorted; hidden ones are left out.

    Raises:
        RefusedError: OUTSIDE, CORRUPT or TOO_LARGE if the archive cannot be trusted.
    """
    return list(_archive(path)[1])


def forget_archives() -> None:
    """Close the archives that stay open: one that was removed is on the disk until then."""
    _checked_archive.cache_clear()


def _archive(path: Path) -> tuple[zipfile.ZipFile, tuple[str, ...]]:
    """Return an archive that was checked, and its names; the last few stay open, since studies come one by one."""
    state = path.stat()
    return _checked_archive(path, state.st_ino, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _checked_archive(path: Path, inode: int, changed: int, size: int) -> tuple[zipfile.ZipFile, tuple[str, ...]]:
    try:
        with path.open("rb") as file:
            _check_index(file)
        archive = zipfile.ZipFile(path)
    except _DAMAGED:
        raise RefusedError(Reason.CORRUPT, "its archive is damaged", _PACK_AGAIN) from None
    members = archive.infolist()
    _check_names(members)
    _check_sizes(members, size)
    names = (member.filename for member in members if not member.is_dir())
    return archive, tuple(sorted(name for name in names if not any(part[:1] == "." for part in name.split("/"))))


def _check_index(file: IO[bytes]) -> None:
    """Refuse an index that is too large before zipfile holds all of it."""
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # the very reader whose answer ZipFile takes
    if not end:
        raise RefusedError(Reason.CORRUPT, "its archive is no zip archive, or was cut short", _PACK_AGAIN)
    if end[zipfile._ECD_SIZE] > MAX_INDEX_BYTES or end[zipfile._ECD_ENTRIES_TOTAL] > MAX_MEMBERS:  # type: ignore[attr-defined]
        raise RefusedError(Reason.TOO_LARGE, f"its archive has more than {MAX_MEMBERS} files", "Pack it in parts")


def _check_names(members: list[zipfile.ZipInfo]) -> None:
    """Refuse an archive with a name that leads elsewhere or is there twice, with a link, or with a password."""
    names = [name for member in members for name in (member.filename, member.orig_filename)]
    if not all(is_inside(name) and "\0" not in name for name in names):
        raise RefusedError(Reason.OUTSIDE, "its archive has a name that leads out of it", _PACK_AGAIN)
    if any(stat.S_ISLNK(member.external_attr >> 16) for member in members):
        raise RefusedError(Reason.OUTSIDE, "its archive holds a link", "Pack the file itself")
    if any(member.flag_bits & 1 for member in members):
        raise RefusedError(Reason.CORRUPT, "its archive is encrypted", "Pack it without a password")
    if len({member.filename for member in members}) < len(members):
        raise RefusedError(Reason.CORRUPT, "its archive holds two files of one name", _PACK_AGAIN)


def _check_sizes(members: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse what would inflate to more than anyone packs, and files that lie over one another."""
    for member in members:
        bomb = member.file_size > _SMALL and member.file_size > MAX_RATIO * member.compress_size
        if member.file_size > MAX_BYTES or bomb:
            problem = f"its archive holds a file that inflates to {member.file_size >> 20} MiB"
            raise RefusedError(Reason.TOO_LARGE, problem, "Take it out of the archive")
    packed, whole = (sum(getattr(one, name) for one in members) for name in ("compress_size", "file_size"))
    if packed > size:
        raise RefusedError(Reason.CORRUPT, "its archive holds files that lie over one another", _PACK_AGAIN)
    if whole > 16 * _SMALL and whole > MAX_RATIO * size:
        problem = f"its archive inflates to {whole >> 20} MiB, {whole // size} times its size"
        raise RefusedError(Reason.TOO_LARGE, problem, "Pack it in parts")
