"""Cases are read in children, each with the digest of the very files that it was read from. No torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import tee

from medmm.case import Case
from medmm.errors import DataError, Reason
from medmm.read.cohort import CaseRow, Cohort, read_case
from medmm.read.guard import RefusedError
from medmm.read.pool import in_children
from medmm.read.sources.source import Source, is_archive
from medmm.score.kept import Kept

Stamp = tuple[tuple[str, int, int], ...]
"""Name, size in bytes and time of change in ns of each file of a case."""


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """A case and what it was read from."""

    case: Case | None
    """None if it is kept as it was encoded, so that nothing was decoded."""
    inputs: str
    """See `inputs_of`."""


def inputs_of(row: CaseRow, case: Case | None = None) -> str:
    """SHA-256 over a row's note, record, times and files; what cannot be read counts as that.

    Args:
        row: of the cohort.
        case: read from it, if it was: the files of its studies are not read again.
    """
    digest = hashlib.sha256(row.digest())
    for source, study in ((row.study, case and case.study), (row.prior, case and case.prior)):
        digest.update(study.digest if study else source.digest() if source else b"none")
    return digest.hexdigest()


def stamp_of(row: CaseRow) -> Stamp:
    """How the files of a row stand on the disk now, without reading them; they have not changed while it has not."""
    sources = [source for source in (row.study, row.prior) if source]
    sources += [Source(row.note_file)] if row.note_file else []
    return tuple(one for source in sources for one in stamps(source))


def stamps(source: Source) -> Iterator[tuple[str, int, int]]:
    """Every file of a source, as Stamp; of an archive, the archive."""
    try:
        names = [""] if is_archive(source.path) else source.names()
    except (OSError, RefusedError):
        names = [""]
    for name in names:
        try:
            state = os.stat(source.path / name)
        except OSError:
            yield name, -1, -1
        else:
            yield name, state.st_size, state.st_mtime_ns


def read_rows(
    cohort: Cohort,
    rows: Iterable[CaseRow],
    workers: int | None = None,
    enough: int | None = None,
    kept: Kept | None = None,
) -> Iterator[tuple[CaseRow, Read | DataError]]:
    """Read cases in the order of `rows`, side by side as `read_cases`; a row is asked for when a child is free."""
    bare = cohort.without_rows()
    sent, after = tee(rows)
    answers = in_children(read_row, ((row.case_id, (bare, row, enough, kept)) for row in sent), workers)
    return ((row, read) for row, (_, read) in zip(after, answers, strict=True))


def read_row(cohort: Cohort, row: CaseRow, enough: int | None, kept: Kept | None = None) -> Read:
    """Read one case, in the child; one that is kept is only looked for.

    Raises:
        DataError: as `read_case`; CORRUPT if a file changed meanwhile: what was read is neither the old nor the new.
    """
    before = stamp_of(row)
    if kept is not None and kept.has(inputs := inputs_of(row)):
        return Read(None, inputs)
    case = read_case(cohort, row, enough)
    inputs = inputs_of(row, case)
    if stamp_of(row) != before:
        problem = "has files that changed while they were read"
        raise DataError(row.case_id, Reason.CORRUPT, problem, "Run the same command again when they are all there")
    return Read(case, inputs)
