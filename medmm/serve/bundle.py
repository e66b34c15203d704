"""Several studies in one upload: their cases, found as `medmm score` finds those of a folder, a table or an archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path, PurePosixPath

from medmm.config import CohortConfig
from medmm.errors import CohortError, Reason
from medmm.read.chart import note
from medmm.read.cohort import CaseRow, Cohort, read_cohort
from medmm.read.guard import RefusedError
from medmm.read.sources.folder import read_folder
from medmm.read.sources.source import Source, archive_names, is_archive
from medmm.serve.problem import RequestError
from medmm.serve.upload import FILES, NOTE, named

TABLE = "cases.csv"
"""File that makes an archive a cohort, at its top or in the folder that was packed."""
MAX_TABLE_BYTES = 2**23


def read_bundle(folder: Path, config: CohortConfig, most: int) -> Cohort:
    """Find the cases of a bundle. Of images, headers are read and no more; archives are not unpacked.

    Args:
        folder: with FILES as `receive` wrote them; the table and the notes that an archive holds are put beside them.
        config: how the model was taught to read a table.
        most: cases that there may be.

    Raises:
        RequestError: 422 if there is no study, there are too many, or the table cannot be used.
    """
    paths = [named(path) for path in sorted((folder / FILES).glob("*"))]
    whole = paths[0] if len(paths) == 1 and is_archive(paths[0]) else folder / FILES
    table = _table_in(whole)
    if not table:
        cohort = _read_without_table(whole, config)
        _check_count(cohort, most)
        return cohort
    cohort = _read_with_table(whole, table, folder, config, most)
    _check_count(cohort, most)
    names, top = archive_names(whole), table.removesuffix(TABLE)
    rows = (_in_archive(row, number, whole, names, top, folder) for number, row in enumerate(cohort.rows))
    return replace(cohort, rows=tuple(rows))


def _table_in(whole: Path) -> str:
    """Name of the one table in an archive; empty if there is none."""
    try:
        names = archive_names(whole) if is_archive(whole) else []
    except RefusedError:  # reading its study will say so
        return ""
    tables = [name for name in names if PurePosixPath(name).name == TABLE and name.count("/") <= 1]
    return tables[0] if len(tables) == 1 else ""


def _read_without_table(whole: Path, config: CohortConfig) -> Cohort:
    bare = config.model_copy(update={"study": "", "note": ""})
    try:
        return read_folder(whole, bare, workers=1)
    except CohortError:  # its text says where the upload lies
        problem, remedy = "the bundle holds no study", "Send DICOM, PNG or JPEG files, or archives of them"
        raise _unusable(Reason.NOTHING_TO_READ.value, problem, remedy) from None


def _read_with_table(whole: Path, table: str, folder: Path, config: CohortConfig, most: int) -> Cohort:
    """The table, or of one that is too long a row more than there may be."""
    try:
        _take(whole, table, folder / TABLE, MAX_TABLE_BYTES)
        return read_cohort(folder, config, first=most + 1)
    except RefusedError as refused:
        raise _unusable("bad-table", f"{TABLE} {refused.problem}", refused.remedy) from None
    except CohortError as problem:
        raise _unusable("bad-table", problem.problem, problem.remedy) from None


def _unusable(code: str, problem: str, remedy: str) -> RequestError:
    return RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, code, problem, remedy)


def _check_count(cohort: Cohort, most: int) -> None:
    if len(cohort.rows) > most:
        problem = f"the bundle has more than {most} studies"
        raise _unusable("too-many-studies", problem, "Send it in parts")


def _in_archive(row: CaseRow, number: int, whole: Path, names: Sequence[str], top: str, folder: Path) -> CaseRow:
    """A row of the table with its studies and its note where the archive has them.

    Args:
        row: its paths lie below `folder`, where the table was put.
        number: of the row.
        whole: the archive.
        names: of its files.
        top: what the names of files beside the table begin with.
        folder: the note is put below it.
    """

    def study(source: Source | None) -> Source | None:
        if source is None:
            return None
        name = top + source.path.relative_to(folder).as_posix()
        members = tuple(one for one in names if one == name or one.startswith(f"{name}/"))
        absent = Reason.MISSING_STUDY, "its study is not in the archive", "Check the columns study and prior"
        return Source(whole, members, None if members else absent)

    row = replace(row, study=study(row.study), prior=study(row.prior))
    if row.note_file is None:
        return row
    name = top + row.note_file.relative_to(folder).as_posix()
    text = folder / NOTE / f"{number:06}"
    try:
        if name in names:
            _take(whole, name, text, note.MAX_BYTES)
    except RefusedError as refused:
        return replace(row, study=Source(whole, (), (refused.code, f"its note {refused.problem}", refused.remedy)))
    return replace(row, note_file=text)


def _take(whole: Path, name: str, path: Path, most: int) -> None:
    """Put one file of an archive where it can be read.

    Raises:
        RefusedError: if it cannot be taken out, or has more bytes than `most`.
    """
    with Source(whole).opened() as reader:
        content = reader.read(name, most)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
