"""What was written is read again, in another process, and searched for everything that it must not say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import pydicom

from medmm.errors import Reason
from medmm.privacy.header import APART, OURS, elements, strings
from medmm.privacy.note import mentions
from medmm.read.dicom.study import read_study
from medmm.read.guard import RefusedError, guarded
from medmm.read.sources.source import Source

_SHORTEST = 6
"""Bytes of a value that is looked for in raw bytes: a shorter one turns up in pixels by chance."""
_NUMBERS = ("UI", "DS", "IS", "CS")
"""Kinds of values in which digits or a word may agree by chance."""
_REMEDY = "It was deleted; please report what kind of file it was"


def verify_case(
    case_id: str, folders: Iterable[Path], note: str, named: frozenset[str], hidden: frozenset[str]
) -> None:
    """Read all that was written of a case again.

    Args:
        case_id: the pseudonym.
        folders: of the study and of the prior study.
        note: as it will be written.
        named: names and values that the note must not say.
        hidden: every name, value, UID and text that no file must hold.

    Raises:
        DataError: CORRUPT if something is left, or the study cannot be read any more.
    """
    try:
        for folder in folders:
            for path in sorted(folder.iterdir()):
                if path.suffix == ".txt":
                    continue  # the note, once more
                if _is_left(path.read_bytes(), hidden):
                    raise RefusedError(Reason.CORRUPT, "has a file in which something identifying is left", _REMEDY)
            read_study(Source(folder), case_id)
        note = re.sub(r"\[[A-Z]+\]", APART, note)  # a patient may be named Place
        if any(mentions(note, value) for value in named):
            raise RefusedError(Reason.CORRUPT, "has a note in which something identifying is left", _REMEDY)
    except RefusedError as refused:
        raise refused.of_case(case_id) from None


def _is_left(content: bytes, hidden: frozenset[str]) -> bool:
    """Search one file: elements word by word; what is not pixels without regard to capitals; pixels byte by byte."""
    if content[128:132] != b"DICM":
        return any(_in_bytes(value, content, content.lower()) for value in hidden)
    with guarded("does not parse after it was written", _REMEDY):
        dataset = pydicom.dcmread(BytesIO(content))
        pixels = bytes(dataset.get("PixelData") or b"")
        said = [(element, APART.join(strings(element))) for _, element in elements(dataset)]
    if any(content[:128]) or dataset.get("PatientIdentityRemoved") != "YES":
        return True
    if any(element.tag.is_private or (element.VR == "UI" and text in hidden) for element, text in said):
        return True
    prose = [text for element, text in said if element.VR not in _NUMBERS and element.keyword not in OURS]
    texts = APART.join(prose)
    header = content.replace(pixels, b"") if pixels else content
    lower, lower_pixels = header.lower(), pixels.lower()
    return any(
        mentions(texts, value, inside=True) or _in_bytes(value, pixels, lower_pixels) or _in_bytes(value, header, lower)
        for value in hidden
    )


def _in_bytes(value: str, content: bytes, lower: bytes | None = None) -> bool:
    """Whether bytes hold a value in one of the usual encodings; a number only where it stands alone."""
    if len(value) < _SHORTEST:
        return False
    for encoding in ("utf-8", "latin-1", "utf-16-le"):
        try:
            wanted = value.encode(encoding)
        except UnicodeEncodeError:
            continue
        found = wanted in content or (lower is not None and wanted.lower() in lower)
        if found and (not re.fullmatch(r"[\d.]+", value) or _alone(wanted, content)):
            return True
    return False


def _alone(wanted: bytes, content: bytes) -> bool:
    return re.search(rb"(?<![\d.])" + re.escape(wanted) + rb"(?![\d.]?\d)", content) is not None
