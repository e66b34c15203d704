"""A bare folder of studies, without a table, to the rows of a cohort."""

from __future__ import annotations

from pathlib import Path

from medmm.config import CohortConfig
from medmm.errors import CohortError
from medmm.read.cohort import CaseRow, Cohort
from medmm.read.dicom import SIDE_FILES
from medmm.read.source import Source


def read_folder(folder: Path, config: CohortConfig | None = None) -> Cohort:
    """Read a bare folder of studies: each subfolder, and each file that may be an image, is a case named as it is.

    The note of a case is the file note.txt in its folder, and no other text: a report would give the answer away.

    Args:
        folder: hidden entries and DICOMDIR in it are left out.
        config: kept for the cohort; no label and no record is read.

    Raises:
        CohortError: if there is no study.
    """
    if not folder.is_dir():
        raise CohortError(f"{folder} is not a folder", "Check the path")
    entries = [path for path in sorted(folder.iterdir()) if path.name[0] != "." and path.name.upper() != "DICOMDIR"]
    studies = [entry for entry in entries if entry.is_dir() or entry.suffix.lower() not in SIDE_FILES]
    if not studies:
        raise CohortError(f"empty cohort: {folder} holds no study", "Put each study into a folder of its own")
    rows = tuple(CaseRow(_printable(study.name), "", Source(study), note_file=_note_file(study)) for study in studies)
    left_out = len(entries) - len(studies)
    remarks = (f"files beside the studies left out: {left_out}",) if left_out else ()
    return Cohort(folder, config or CohortConfig(study="", note=""), rows, remarks)


def _printable(name: str) -> str:
    """A file's name as a case id: what cannot be printed, or is not UTF-8, is written as an escape."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def _note_file(study: Path) -> Path | None:
    """Return note.txt of a study's folder, if there is one."""
    path = study / "note.txt"
    return path if path.is_file() else None
