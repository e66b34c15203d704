"""A bare folder, archive or medium of studies, without a table, to the rows of a cohort."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medmm.config import CohortConfig
from medmm.errors import CohortError, ConfigError, Reason
from medmm.read.chart import note
from medmm.read.cohort import CaseRow, Cohort
from medmm.read.guard import RefusedError
from medmm.read.sources.scan import Found, root_of, scan
from medmm.read.sources.source import Source, is_directory


def read_folder(path: Path, config: CohortConfig | None = None, workers: int | None = None) -> Cohort:
    """Read a bare folder of studies, a zip archive of them, or a medium with a DICOMDIR; see `medmm.read.sources.scan`.

    The note of a case is the file note.txt beside its images, and no other text: a report would give the answer away.

    Args:
        path: hidden files below it are left out.
        config: kept for the cohort; no label and no record is read.
        workers: processes that read headers; one a core if None.

    Raises:
        CohortError: if there is no study.
    """
    check_there(path)
    found = scan(path, workers)
    if not found.studies:
        raise CohortError(f"empty cohort: {path} holds no study", "Put each study into a folder of its own")
    remarks = tuple(f"{what} left out: {count}" for what, count in found.left_out.items())
    folder = path if path.is_dir() else path.parent
    rows = tuple(map(_row, found.studies))
    return Cohort(folder, config or CohortConfig(study="", note=""), rows, (*remarks, *found.remarks))


def check_there(path: Path) -> None:
    """Check that a path may hold studies, before anything is begun that costs.

    Raises:
        CohortError: if it is neither a folder nor an archive nor a DICOMDIR.
    """
    try:
        root_of(path)
    except RefusedError as refused:
        raise CohortError(f"{path} {refused.problem}", refused.remedy) from None


def check_apart(studies: Path, out: Path) -> None:
    """Check that what is written does not lie among the studies: the next run would take it for one.

    Args:
        studies: as for `read_folder`; beside an archive there is room.
        out: a folder that need not be there yet.

    Raises:
        ConfigError: if it does.
    """
    folder = studies.parent if is_directory(studies.name) else studies
    if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise ConfigError("the output would lie among the studies", "Name a folder elsewhere with --out")


def _row(found: Found) -> CaseRow:
    """A study and its note; the text of a note in an archive is read now, since a row names files only on disk."""
    if found.note is None:
        return CaseRow(found.case_id, "", found.source)
    (name,) = found.note.members
    if found.note.path.is_dir():
        return CaseRow(found.case_id, "", found.source, note_file=found.note.path / name)
    try:
        return CaseRow(found.case_id, "", found.source, note=_text(found.note, name))
    except RefusedError as refused:
        reason = refused.code, refused.problem, refused.remedy
    except OSError as thrown:
        problem = f"its archive cannot be read any more ({type(thrown).__name__})"
        reason = Reason.MISSING_STUDY, problem, "Run the same command again when it is there"
    return CaseRow(found.case_id, "", replace(found.source, refused=reason))


def _text(source: Source, name: str) -> str:
    """Return the text of a note in an archive."""
    with source.opened() as reader:
        content = reader.read(name, note.MAX_BYTES)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RefusedError(Reason.CORRUPT, "its note is not UTF-8 text", "Save the note as UTF-8") from None
