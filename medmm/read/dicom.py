"""A folder or a file to one Study: one unreadable file refuses all of it, since a part must not pass for the whole."""

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medmm.case import Image, Study
from medmm.config import ImageRule
from medmm.errors import DataError, Reason
from medmm.read.guard import RefusedError
from medmm.read.instance import Instance, open_instance, read_image
from medmm.read.photograph import MAGIC, read_photograph
from medmm.read.source import Reader, Source

SIDE_FILES = frozenset(
    {".csv", ".db", ".html", ".inf", ".ini", ".json", ".log", ".md", ".pdf", ".toml", ".tsv", ".txt", ".xml", ".yaml"}
)
"""Suffixes of files that may lie beside images. They are left out unless they begin as DICOM, PNG or JPEG do."""


@dataclass(frozen=True, slots=True, eq=False)
class _File:
    """One file of a study: exactly one of `instance` and `photograph` is set."""

    where: str
    """Its place in the study, for messages; a file's name may hold a patient's."""
    digest: str
    instance: Instance | None
    photograph: Image | None


def read_study(source: Source | Path, case_id: str, rules: Sequence[ImageRule] = ()) -> Study:
    """Read every image of one study, in order of series and instance; photographs come last, in order of their names.

    Files that are hidden, are named DICOMDIR or have a suffix in SIDE_FILES are left out; so are DICOM objects that are
    no images (reports, presentation states, segmentations). The study's remarks say so.

    Args:
        source: a folder, searched through all its levels, one file, or members of an archive.
        case_id: for messages.
        rules: which images are read; all of them without a rule.

    Raises:
        DataError: MISSING_STUDY, EMPTY_STUDY, NOT_DICOM, NO_PIXELS, UNSUPPORTED, CORRUPT or TOO_LARGE.
    """
    source = Source(source) if isinstance(source, Path) else source
    try:
        with source.opened() as reader:
            files, remarks = _open_all(source.names(), reader)
        _check_one_study(files)
        return _decode_all(files, remarks)
    except RefusedError as refused:
        problem = refused.of_case(case_id)
    except zipfile.BadZipFile:
        problem = DataError(case_id, Reason.CORRUPT, "its archive is damaged", "Pack the archive again")
    except OSError as thrown:
        name = type(thrown).__name__
        problem = DataError(
            case_id, Reason.MISSING_STUDY, f"a file of its study cannot be read ({name})", "Check its permissions"
        )
    except MemoryError:
        problem = DataError(case_id, Reason.TOO_LARGE, "its study needs more memory than it may have", "Reduce it")
    raise problem


def _open_all(names: list[str], reader: Reader) -> tuple[list[_File], list[str]]:
    """Read every file once, so that digest and content agree; return images to be and remarks on what was left out."""
    files: list[_File] = []
    remarks: list[str] = []
    side_files, seen = 0, set[str]()
    for number, name in enumerate(names, start=1):
        where = f"file {number} of {len(names)} in its study" if len(names) > 1 else "its file"
        path = PurePosixPath(name or reader.source.path.name)
        try:
            file = _open(reader.read(name), path.suffix.lower(), where)
        except RefusedError as refused:
            raise refused.of_file(where) from None
        if file is None:
            side_files += path.suffix.lower() != ".txt" or path.stem.lower() != "note"
        elif file.digest in seen:
            remarks.append("second copy of a file left out")
        else:
            files.append(file)
            seen.add(file.digest)
    if side_files:
        remarks.append(f"files beside the images left out: {side_files}")
    if not files:
        raise RefusedError(Reason.EMPTY_STUDY, "its study holds no image file", "Put DICOM, PNG or JPEG files into it")
    return files, remarks


def _open(content: bytes, suffix: str, where: str) -> _File | None:
    """Open one file; None for a side file."""
    digest = hashlib.sha256(content).hexdigest()
    if content[128:132] == b"DICM":
        return _File(where, digest, open_instance(content), None)
    if content.startswith(MAGIC):
        return _File(where, digest, None, read_photograph(content, digest))
    if suffix in SIDE_FILES:
        return None
    remedy = "Take it out of the study, or store it as DICOM with preamble (PS3.10), PNG or JPEG"
    raise RefusedError(Reason.NOT_DICOM, "is neither DICOM nor PNG nor JPEG", remedy)


def _check_one_study(files: list[_File]) -> None:
    """Refuse a folder with DICOM objects of several studies or several patients; ids are compared, never shown."""
    instances = [file.instance for file in files if file.instance is not None]
    patients = len({instance.patient_id for instance in instances})
    if patients > 1:
        problem = f"its study holds files with {patients} different Patient IDs"
        raise RefusedError(Reason.MIXED, problem, "Find out whose study it is; give each patient a folder of their own")
    studies = len({instance.study_uid for instance in instances})
    if studies > 1:
        problem = f"its folder holds {studies} studies"
        raise RefusedError(Reason.MIXED, problem, "Give each study a folder and a case of its own")


def _decode_all(files: list[_File], remarks: list[str]) -> Study:
    """Decode what is an image, in the order of series and instance."""
    images: list[Image] = []
    instances = [(file.instance, file) for file in files if file.instance is not None]
    for instance, file in sorted(instances, key=lambda pair: pair[0].place):
        if instance.no_image:
            remarks.append(f"{instance.no_image} left out: it is no image")
            continue
        try:
            images.append(read_image(instance, file.digest))
        except RefusedError as refused:
            raise refused.of_file(file.where) from None
    photographs = [file.photograph for file in files if file.photograph is not None]
    if not images and not photographs:
        raise RefusedError(Reason.NO_PIXELS, "its study holds no image, only other objects", "Export its images too")
    if len({image.instance_uid for image in images}) < len(images):
        problem = "its study holds two different files with one SOP Instance UID"
        raise RefusedError(Reason.CORRUPT, problem, "Export the study again from the archive")
    if images and photographs:
        remarks.append(f"photographs beside the DICOM images: {len(photographs)}")
    uid = instances[0][0].study_uid if instances else ""
    return Study(images=(*images, *photographs), uid=uid, remarks=tuple(dict.fromkeys(remarks)))
