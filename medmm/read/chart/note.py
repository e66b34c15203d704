"""A cell or a text file to a Note: one form for every text, without the sections that state the answer."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from medmm.case import Note
from medmm.errors import DataError, Reason
from medmm.read.chart.sections import leave_out
from medmm.read.remark import concern

MAX_BYTES = 2**20
"""Size of a text, in UTF-8, that can still be a note."""

_TOO_LONG = ("its note has more than 1 MiB", "Shorten the note")


def read_note(case_id: str, source: str | Path, left_out: Sequence[str] = ()) -> Note | None:
    """Read what was written about a patient; None if it is nothing but white space, or nothing but what is left out.

    The text is brought to Unicode NFC and every line or page end to a newline; control characters other than tab are
    taken out.

    Args:
        case_id: for messages.
        source: the text, or a UTF-8 file with it.
        left_out: names of sections that are not read, see `read.sections`; the note's remarks name those found.

    Raises:
        DataError: MISSING_STUDY if the file cannot be opened, CORRUPT if it is not UTF-8, TOO_LARGE if it is a book.
    """
    text, remarks = cut_note(read_text(case_id, source), left_out)
    return Note(text, remarks) if text else None


def read_text(case_id: str, source: str | Path) -> str:
    """Return the whole text in its one form, sections that state the answer among it; raises as `read_note` does."""
    text = _read_file(case_id, source) if isinstance(source, Path) else source
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise DataError(case_id, Reason.TOO_LARGE, *_TOO_LONG)
    text = unicodedata.normalize("NFC", "\n".join(text.splitlines()))
    return "".join(one for one in text if one in "\n\t" or unicodedata.category(one) not in ("Cc", "Cs")).strip()


def cut_note(text: str, left_out: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return a text in its one form without some sections, and the remark that says so; a concern if none is left."""
    kept, found = leave_out(text, left_out)
    if not found:
        return text, ()
    names = ", ".join(name.upper() for name in found)
    if not kept:
        return "", (concern(f"nothing is left without the sections that state the answer: {names}"),)
    return kept, (f"sections left out, since they state the answer: {names}",)


def _read_file(case_id: str, path: Path) -> str:
    """Return the text of a UTF-8 file, with or without byte order mark."""
    problem: DataError
    try:
        if path.stat().st_size <= MAX_BYTES:
            return path.read_bytes().decode("utf-8-sig")
        problem = DataError(case_id, Reason.TOO_LARGE, *_TOO_LONG)
    except UnicodeDecodeError:
        problem = DataError(case_id, Reason.CORRUPT, "its note is not UTF-8 text", "Save the note as UTF-8")
    except OSError as thrown:
        name = type(thrown).__name__
        problem = DataError(
            case_id, Reason.MISSING_STUDY, f"its note cannot be read ({name})", "Check the note column and permissions"
        )
    raise problem
