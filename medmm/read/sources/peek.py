"""The first bytes of many files: which study each belongs to. Nothing here decodes a pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO, Literal, cast

from pydicom.dataset import Dataset
from pydicom.filereader import dcmread, read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import MediaStorageDirectoryStorage

from medmm.errors import Reason
from medmm.read.dicom.instance import has_preamble, is_dicom
from medmm.read.dicom.study import SIDE_FILES
from medmm.read.guard import RefusedError, guarded
from medmm.read.photograph import MAGIC
from medmm.read.sources.source import Reader, Source, is_inside

Kind = Literal["object", "picture", "side", "unread"]
"""A DICOM object of a study; PNG or JPEG; a file that may lie beside images; anything else."""

_LAST = Tag("StudyInstanceUID")
_WANTED = ["StudyDate", "Modality", "PatientID", "StudyInstanceUID"]
_RECORDS = 200_000
"""Records of one DICOMDIR."""
_REMEDY = "Remove it, so that the files beside it are searched"


@dataclass(frozen=True, slots=True)
class Header:
    """What one file says of itself."""

    kind: Kind
    study_uid: str = field(default="", repr=False)
    patient_id: str = field(default="", repr=False)
    modality: str = field(default="", repr=False)
    date: str = field(default="", repr=False)
    """Study Date (0008,0020): YYYYMMDD."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One file that a DICOMDIR lists."""

    name: str = field(repr=False)
    """Below the folder of the DICOMDIR, with forward slashes; '' if it leads out of it."""
    study_uid: str = field(repr=False)
    """Of the record above it; '' for a record that hangs on nothing."""


def read_headers(sources: Sequence[Source]) -> list[Header]:
    """Read the headers of all members of some sources, in their order. For a child: headers are not to be trusted."""
    headers: list[Header] = []
    for source in sources:
        with source.opened() as reader:
            headers += [_read_header(reader, name) for name in source.members]
    return headers


def _read_header(reader: Reader, name: str) -> Header:
    try:
        with reader.file(name) as file:
            begin = file.read(132)
            if is_dicom(begin):
                file.seek(0)
                with guarded("does not parse as DICOM", ""):
                    return _parse(cast("BinaryIO", file), bare=not has_preamble(begin))
    except (OSError, RefusedError):
        return Header("unread")
    if begin.startswith(MAGIC):
        return Header("picture")
    return Header("side" if PurePosixPath(name).suffix.lower() in SIDE_FILES else "unread")


def _parse(file: BinaryIO, bare: bool) -> Header:
    """Read up to Study Instance UID (0020,000D); elements come in the order of their tags (PS3.5 7.1)."""

    def is_past(tag: BaseTag, vr: str | None, length: int) -> bool:
        return bool(tag > _LAST)

    dataset = read_partial(file, stop_when=is_past, force=bare, specific_tags=[Tag(name) for name in _WANTED])
    date, modality, patient_id, study_uid = (str(dataset.get(name) or "").strip() for name in _WANTED)
    return Header("object" if study_uid else "unread", study_uid, patient_id, modality, date)


def read_directory(source: Source, case_id: str) -> list[Listed]:
    """Read the one member of a source as a DICOMDIR (PS3.3 F.3). For a child, as `read_headers`.

    pydicom's FileSet opens what orphaned records name, wherever that is, and follows a ring of records for ever; this
    opens nothing else and sees every record once.

    Raises:
        DataError: NOT_DICOM if it is none, CORRUPT if it does not parse, TOO_LARGE.
    """
    (name,) = source.members
    try:
        with source.opened() as reader, reader.file(name) as file, guarded("does not parse as a DICOMDIR", _REMEDY):
            if not has_preamble(file.read(132)):
                raise RefusedError(Reason.NOT_DICOM, "is no DICOMDIR", _REMEDY)
            file.seek(0)
            dataset = dcmread(cast("BinaryIO", file))
            if dataset.file_meta.get("MediaStorageSOPClassUID") != MediaStorageDirectoryStorage:
                raise RefusedError(Reason.NOT_DICOM, "is no DICOMDIR", _REMEDY)
            return list(_walk(dataset))
    except RefusedError as refused:
        problem = refused.of_case(case_id)
    except OSError:
        problem = RefusedError(Reason.CORRUPT, "cannot be read", "Check its permissions").of_case(case_id)
    raise problem


def _walk(directory: Dataset) -> Iterator[Listed]:
    """Every record that refers to a file, from the root down; then those that hang on nothing."""
    records = {int(record.seq_item_tell or 0): record for record in directory.get("DirectoryRecordSequence") or ()}
    if len(records) > _RECORDS:
        raise RefusedError(Reason.TOO_LARGE, f"has more than {_RECORDS} records", _REMEDY)
    root = int(directory.get("OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity") or 0)
    waiting = [(offset, "") for offset in (*reversed(records), root)]  # the last comes first
    while waiting:
        offset, study_uid = waiting.pop()
        record = records.pop(offset, None)
        if record is None:
            continue
        own = str(record.get("StudyInstanceUID") or study_uid)
        waiting.append((int(record.get("OffsetOfTheNextDirectoryRecord") or 0), study_uid))
        waiting.append((int(record.get("OffsetOfReferencedLowerLevelDirectoryEntity") or 0), own))
        if record.get("ReferencedFileID"):
            yield Listed(_file_name(record), own)


def _file_name(record: Dataset) -> str:
    """Referenced File ID (0004,1500), its components joined; '' if it leads elsewhere."""
    value = record.ReferencedFileID
    parts = [value] if isinstance(value, str) else [str(part) for part in value]
    name = "/".join(parts)
    return name if all(parts) and not any("/" in part for part in parts) and is_inside(name) else ""
