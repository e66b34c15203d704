"""A cell or a text file to a Note."""

import unicodedata
from pathlib import Path

from medmm.case import Note
from medmm.errors import DataError, Reason

MAX_BYTES = 2**20
"""Size of a text file that can still be a note."""


def read_note(case_id: str, source: str | Path) -> Note | None:
    """Read what was written about a patient; None if it is nothing but white space.

    The text is brought to Unicode NFC and every line or page end to a newline; control characters other than tab are
    taken out.

    Args:
        case_id: for messages.
        source: the text, or a UTF-8 file with it.

    Raises:
        DataError: MISSING_STUDY if the file cannot be opened, CORRUPT if it is not UTF-8, TOO_LARGE if it is a book.
    """
    text = _read_file(case_id, source) if isinstance(source, Path) else source
    text = unicodedata.normalize("NFC", "\n".join(text.splitlines()))
    text = "".join(letter for letter in text if letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cs"))
    return Note(text.strip()) if text.strip() else None


def _read_file(case_id: str, path: Path) -> str:
    """Return the text of a UTF-8 file, with or without byte order mark."""
    problem: DataError
    try:
        if path.stat().st_size <= MAX_BYTES:
            return path.read_bytes().decode("utf-8-sig")
        problem = DataError(case_id, Reason.TOO_LARGE, "its note has more than 1 MiB", "Shorten the note")
    except UnicodeDecodeError:
        problem = DataError(case_id, Reason.CORRUPT, "its note is not UTF-8 text", "Save the note as UTF-8")
    except OSError as thrown:
        name = type(thrown).__name__
        problem = DataError(case_id, Reason.MISSING_STUDY, f"its note cannot be read ({name})", "Check its permissions")
    raise problem
