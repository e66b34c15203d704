"""One DICOM file that is to be sent, and what must be known of it before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from medmm.errors import StoreError
from medmm.read.guard import silence
from medmm.send.status import Answer


@dataclass(frozen=True, slots=True)
class Item:
    """A file, by what its header says."""

    path: Path
    uid: str = field(repr=False)
    """SOP Instance UID (0008,0018)."""
    sop_class: str
    """SOP Class UID (0008,0016)."""
    syntax: str
    """Transfer Syntax UID (0002,0010)."""
    study: str = field(repr=False)
    """Study Instance UID (0020,000D)."""
    size: int
    """Bytes."""


class Target(Protocol):
    """A PACS."""

    name: str
    """Stands for it in the ledger: its address, without what is secret."""

    def send(self, items: list[Item]) -> Iterator[Answer]:
        """Send objects of one study; an answer for each that the PACS speaks of, as soon as it does.

        Raises:
            UnavailableError: if it takes nothing now.
            CohortError, ConfigError: if waiting will not help.
        """
        ...


def items_in(folders: Iterable[Path]) -> list[Item]:
    """All DICOM files of some folders, study by study; folders that are not there have none.

    Hidden files are left out: they are being written, or were when their writer was killed.

    Raises:
        StoreError: if a file is not whole.
    """
    items = [_item(path) for folder in folders for path in sorted(folder.glob("[!.]*.dcm"))]
    return sorted(items, key=lambda one: one.study)


def _item(path: Path) -> Item:
    names = ["SOPInstanceUID", "SOPClassUID", "StudyInstanceUID"]
    try:
        with silence():
            header = dcmread(path, stop_before_pixels=True, specific_tags=names)
            uid, sop_class, study = (str(header[name].value) for name in names)
        return Item(path, uid, sop_class, str(header.file_meta.TransferSyntaxUID), study, path.stat().st_size)
    except (InvalidDicomError, KeyError, AttributeError, EOFError) as thrown:
        problem = f"{path.name} is not a whole DICOM file ({type(thrown).__name__})"
        raise StoreError(problem, "Delete it and run 'medmm export' again") from None
