"""A request's body to files, as it comes: multipart/form-data (RFC 7578), within limits, never whole in memory.

What a client calls its files is not looked at: they are named by number.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO

from pydantic import StrictFloat, StrictInt, StrictStr, TypeAdapter, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from medmm.config import CohortConfig
from medmm.errors import DataError, Reason
from medmm.read.chart import note
from medmm.read.cohort import CaseRow
from medmm.read.sources.source import Source, is_archive
from medmm.serve.problem import RequestError

FILES, PRIOR, NOTE, RECORD = "files", "prior", "note", "record"
"""Names of the parts: images of the study, of an earlier one, text, JSON."""
PARTS = (FILES, PRIOR, NOTE, RECORD)
"""Of a request with one case; a bundle has FILES alone."""
_TEXTS = (NOTE, RECORD)
_ZIP = b"PK"
_Values = TypeAdapter(dict[StrictStr, StrictInt | StrictFloat | StrictStr | None])


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may bring."""

    upload_bytes: int = 2**30
    """Of the whole body."""
    files: int = 10_000
    upload_s: float = 300.0
    """Seconds until all of it is here."""
    cases: int = 100
    """Of a bundle."""


async def receive(
    chunks: AsyncIterator[bytes],
    headers: Mapping[str, str],
    folder: Path,
    limits: Limits,
    parts: Sequence[str] = PARTS,
) -> None:
    """Write the parts of a body below a folder, as <name of the part>/<number>.

    Args:
        chunks: the body.
        headers: of the request.
        folder: empty.
        limits: what the body may be.
        parts: names that a part may have.

    Raises:
        RequestError: 413, before anything beyond a limit is kept; 415 or 400 if it is no such form; 408.
    """
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.upload_bytes:
        raise too_large(f"the request declares more than {limits.upload_bytes >> 20} MiB")
    kind, options = parse_options_header(headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        problem = "the body is not multipart/form-data"
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not-a-form", problem, "Send the parts as a form")
    size = 0
    form = _Form(options[b"boundary"], folder, limits.files, parts)
    try:
        async with asyncio.timeout(limits.upload_s):
            async for chunk in chunks:
                size += len(chunk)
                if size > limits.upload_bytes:
                    raise too_large(f"the request has more than {limits.upload_bytes >> 20} MiB")
                form.parser.write(chunk)
        form.parser.finalize()
    except TimeoutError:
        problem = f"the body did not come within {limits.upload_s:g} seconds"
        raise RequestError(HTTPStatus.REQUEST_TIMEOUT, "upload-timeout", problem, "Send it again") from None
    except FormParserError:
        raise _malformed() from None
    finally:
        form.close()
    if not form.ended:
        raise _malformed()


def too_large(problem: str) -> RequestError:
    """Return the answer to more than the service takes; the connection ends, since what follows is not read."""
    remedy = "Send less, or raise the limit where the service is started"
    return RequestError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "upload-too-large", problem, remedy, {"Connection": "close"}
    )


def _malformed() -> RequestError:
    problem = "the body does not parse as multipart/form-data, or was cut short"
    return RequestError(HTTPStatus.BAD_REQUEST, "malformed-form", problem, "Send it again")


class _Form:
    """Writes the parts of a form to files."""

    def __init__(self, boundary: bytes, folder: Path, most: int, parts: Sequence[str]) -> None:
        self.ended = False
        self._folder, self._most, self._parts = folder, most, parts
        self._field, self._value, self._disposition = b"", b"", b""
        self._file: IO[bytes] | None = None
        self._counts = Counter[str]()
        self._left = 0
        """Bytes that the part may still have, where it is a text."""
        self._is_text = False
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._open,
                "on_part_data": self._data,
                "on_part_end": self.close,
                "on_end": self._end,
            },
        )

    def _begin(self) -> None:
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field = self._value = b""

    def _open(self) -> None:
        options = parse_options_header(self._disposition)[1]
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name not in self._parts:
            problem, known = "the form has a part that the service does not know", ", ".join(self._parts)
            raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, "unknown-part", problem, f"Known: {known}")
        self._counts[name] += 1
        self._is_text, self._left = name in _TEXTS, note.MAX_BYTES
        if not self._is_text and b"filename" not in options:
            problem, remedy = f"a part '{name}' is a text and no file", f"Send a file: with curl, -F {name}=@FILE"
            raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, "not-a-file", problem, remedy)
        if self._is_text and self._counts[name] > 1:
            problem = f"the form has several parts '{name}'"
            raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, "several-parts", problem, "Send one")
        if self._counts.total() > self._most:
            raise too_large(f"the form has more than {self._most} parts")
        path = self._folder / name / f"{self._counts[name]:06}"
        path.parent.mkdir(exist_ok=True)
        self._file = path.open("wb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._left -= end - start
        if self._is_text and self._left < 0:
            raise too_large(f"a note or record has more than {note.MAX_BYTES >> 20} MiB")
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])

    def close(self) -> None:
        """End the part that is being written, if one is."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _end(self) -> None:
        self.ended = True


def row_of(folder: Path, case_id: str, config: CohortConfig) -> CaseRow:
    """Make a row of a cohort of what was received.

    Args:
        folder: as `receive` wrote it.
        case_id: for the row.
        config: with the columns of the record.

    Raises:
        DataError: BAD_RECORD, NOTHING_TO_READ.
    """
    study, prior = (_images(folder / name) for name in (FILES, PRIOR))
    text, record = (next((folder / name).glob("*"), None) for name in _TEXTS)
    if not (study or text or record):
        problem = "the request has no image, no note and no record"
        raise DataError(case_id, Reason.NOTHING_TO_READ, problem, f"Send at least one of {FILES}, {NOTE}, {RECORD}")
    cells = _cells(case_id, record.read_bytes(), config) if record else {}
    return CaseRow(case_id, "", study, cells=cells, note_file=text, prior=prior)


def _images(folder: Path) -> Source | None:
    """The files of a study; one that is a zip archive is named as one."""
    paths = sorted(folder.glob("*"))
    if len(paths) != 1:
        return Source(folder) if paths else None
    path = named(paths[0])
    return Source(path if is_archive(path) else folder)


def named(path: Path) -> Path:
    """Name a file that was received as a zip archive, if it is one."""
    with path.open("rb") as file:
        is_zip = file.read(len(_ZIP)) == _ZIP
    return path.rename(path.with_suffix(".zip")) if is_zip else path


def _cells(case_id: str, content: bytes, config: CohortConfig) -> dict[str, str]:
    """Column -> text, of a JSON object; null is a value that was not taken."""
    try:
        values = _Values.validate_json(content)
    except ValidationError:  # it quotes what was sent
        problem = "its record is not a JSON object of numbers and texts"
        raise DataError(case_id, Reason.BAD_RECORD, problem, 'Write it as {"age": 61, "sex": "female"}') from None
    known = {*config.record, *(column.taken for column in config.record.values() if column.taken)}
    if not values.keys() <= known:
        remedy = f"Known: {', '.join(sorted(known)) or 'none; leave the record out'}"
        raise DataError(case_id, Reason.BAD_RECORD, "its record has a column that the model does not know", remedy)
    return {name: str(value) for name, value in values.items() if value is not None}
