"""One case without its identity: its files, its note, and what was done, written to a pending folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import lru_cache
from importlib.metadata import version
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import PIL.Image
import pydicom
from pydicom import Dataset
from pydicom.uid import UID

from medmm.errors import DataError, Reason
from medmm.privacy.header import (
    METHOD,
    Identities,
    Patient,
    clean_header,
    collect,
    mark_pixels_cleaned,
    new_file_meta,
)
from medmm.privacy.key import Key
from medmm.privacy.note import Known, clean_note, identifying_words, known_words
from medmm.privacy.pixels import BurnedIn, clean_pixels, without_text
from medmm.read.chart.note import read_text
from medmm.read.dicom.instance import EXPORT, PIXELS, is_dicom, open_instance
from medmm.read.dicom.study import SIDE_FILES
from medmm.read.guard import RefusedError, guarded
from medmm.read.photograph import MAGIC, read_photograph
from medmm.read.sources.source import Source

Dates = Literal["shift", "remove"]
"""Whether dates move by a number of days that is the patient's own, or are removed."""
STUDY, PRIOR = "study", "prior"
COUNTS = ("images", "elements_removed", "elements_replaced", "regions_masked", "words_replaced")
"""What is counted of each case."""
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
"""Bytes of a word, by the VR of what holds nothing else (PS3.5 6.2)."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a child needs to treat one case."""

    case: str
    """The case's pseudonym, by which it is known from here on."""
    case_id: str = field(repr=False)
    patient_id: str = field(repr=False)
    """As the table states it; of a bare folder as the header does, else the case id."""
    sources: dict[str, Source] = field(repr=False)
    """STUDY and PRIOR -> files, those that there are."""
    folders: dict[str, Path] = field(repr=False)
    """STUDY and PRIOR -> where they go at last."""
    note: str | Path = field(repr=False)
    note_in_folder: bool
    """Whether the note goes to note.txt beside the images; else into the table."""
    names: tuple[str, ...] = field(repr=False)
    """Parts of names that stand in the row or in the names of its folders."""
    values: tuple[str, ...] = field(repr=False)
    """Ids and the like that stand in the row."""
    key: Key
    dates: Dates
    burned_in: BurnedIn
    everyone: Path = field(repr=False)
    """JSON file with the names and ids of all patients, folded."""
    known: Path = field(repr=False)
    """Where the outcome of this case is kept, outside the output."""
    unverified: Path = field(repr=False)
    """Folder of files that are not verified yet, outside the output."""

    @property
    def patient(self) -> Patient:
        """Who the patient is from here on."""
        shift = self.key.shift_days(self.patient_id) if self.dates == "shift" else None
        return Patient(self.key.pseudonym("patient", self.patient_id), shift)

    def pending(self, side: str) -> Path:
        """Where the files of a study are until they are verified."""
        return self.unverified / self.folders[side].name


@dataclass(frozen=True, slots=True)
class Treated:
    """What was done to one case."""

    case: str
    digest: str
    """SHA-256 over the files, the note and the choices."""
    note: str = field(repr=False)
    """Without identities; empty if there was none."""
    counts: dict[str, int]
    remarks: tuple[str, ...]
    time: str = field(repr=False)
    """When the study was made by its header (ISO 8601), unshifted; empty if it does not say. Kept beside the key."""
    uids: dict[str, str] = field(repr=False)
    """Original UID -> the one that stands for it."""
    replacements: tuple[tuple[str, int, int, int, int], ...] = field(repr=False)
    """Kind, start and end in the original note, start and end in the new one."""
    files: dict[str, str] = field(default_factory=dict, repr=False)
    """STUDY and PRIOR -> SHA-256 over the files as they were verified."""
    named: frozenset[str] = field(default=frozenset(), repr=False)
    """What the note must not say; like `hidden` empty once the case is verified."""
    hidden: frozenset[str] = field(default=frozenset(), repr=False)
    """What no file must say."""
    from_earlier_run: bool = False

    def to_json(self) -> str:
        """All of it that is kept beside the key."""
        return json.dumps(
            {
                name: value
                for name, value in asdict(self).items()
                if name not in ("named", "hidden", "from_earlier_run")
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> Treated:
        """Read what `to_json` wrote."""
        said = json.loads(text)
        said["remarks"], said["replacements"] = tuple(said["remarks"]), tuple(map(tuple, said["replacements"]))
        return cls(**said, from_earlier_run=True)


def treat_case(job: Job) -> Treated:
    """Remove the identity of one case; its files are then in pending folders, not verified yet.

    Raises:
        DataError: as read_study and read_note do; UNSUPPORTED if there is text in the pixels and it is to be refused.
    """
    try:
        text = read_text(job.case, job.note)
        digest = _digest(job, text)
        if (known := _known(job, digest)) is not None:
            return known
        return _treat(job, text, digest)
    except RefusedError as refused:
        problem = refused.of_case(job.case)
    except zipfile.BadZipFile:
        problem = DataError(job.case, Reason.CORRUPT, "its archive is damaged", "Pack the archive again")
    except OSError as thrown:
        name = type(thrown).__name__
        remedy = "Check permissions and the room on the disk"
        problem = DataError(job.case, Reason.MISSING_STUDY, f"a file cannot be read or written ({name})", remedy)
    except MemoryError:
        problem = DataError(job.case, Reason.TOO_LARGE, "its study needs more memory than it may have", "Reduce it")
    discard(job)
    raise problem


def discard(job: Job) -> None:
    """Delete what is pending of a case."""
    for side in job.folders:
        shutil.rmtree(job.pending(side), ignore_errors=True)


def digest_of(folder: Path) -> str:
    """Return the SHA-256 over everything that lies in a folder, hidden files too; '' if it is not there."""
    if not folder.is_dir():
        return ""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.relative_to(folder)}\0{path.is_symlink()}\0".encode("utf-8", "surrogateescape"))
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def names_of(source: Source) -> tuple[str, frozenset[str]]:
    """Return Patient ID and the parts of the patient's names and ids, of the first DICOM file; nothing is decoded.

    Returns:
        The id, '' if there is none, and folded words for `Known.everyone`.
    """
    try:
        with source.opened() as reader:
            for name in source.names():
                content = reader.read(name)
                if is_dicom(content):
                    return _names_of(content)
    except (OSError, RefusedError, zipfile.BadZipFile):
        pass  # reading the study will say so
    return "", frozenset()


def _names_of(content: bytes) -> tuple[str, frozenset[str]]:
    tags = ["PatientName", "PatientID", "OtherPatientNames", "OtherPatientIDs", "PatientBirthName"]
    with guarded("does not parse as DICOM", EXPORT):
        header = pydicom.dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=list(tags), force=True)
        words = identifying_words([str(header.get(tag) or "") for tag in tags])
        return str(header.get("PatientID") or "").strip(), words


@dataclass(slots=True)
class _Work:
    """A case in the making."""

    job: Job
    found: Identities = field(default_factory=Identities)
    counts: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)


def _treat(job: Job, text: str, digest: str) -> Treated:
    """Treat files, then the note, which must not say what any header said."""
    work = _Work(job)
    found, counts = work.found, work.counts
    found.names.update(job.names)
    found.values.update((job.patient_id, *job.values))
    if any(letter.isdigit() for letter in job.case_id):  # else it may be a word: 'chest'
        found.values.add(job.case_id)
    for side in job.sources:
        shutil.rmtree(job.pending(side), ignore_errors=True)
        job.pending(side).mkdir(parents=True)
        _treat_study(work, side)
    known = Known(frozenset(found.names), frozenset(found.values), names_in(job.everyone))
    note, replacements = clean_note(text, known, job.patient.shift_days)
    if job.note_in_folder and note:
        (job.pending(STUDY) / "note.txt").write_text(note, encoding="utf-8")
    counts.update(elements_removed=found.removed, elements_replaced=found.replaced, words_replaced=len(replacements))
    return Treated(
        case=job.case,
        digest=digest,
        note=note,
        counts={name: counts[name] for name in COUNTS},
        remarks=tuple(dict.fromkeys(work.remarks)),
        time=min(work.times).isoformat() if work.times else "",
        uids=found.uids,
        replacements=tuple((str(r.kind), r.start, r.end, r.new_start, r.new_end) for r in replacements),
        named=found.named(),
        hidden=found.hidden(),
    )


def _treat_study(work: _Work, side: str) -> None:
    """Write every image of a study anew, named by its place among the files; say what was left out."""
    source = work.job.sources[side]
    names, objects, left_out, ids = source.names(), 0, 0, set[str]()
    with source.opened() as reader:
        for number, name in enumerate(names, start=1):
            where = f"file {number} of {len(names)} in its study" if len(names) > 1 else "its file"
            try:
                written = _treat_file(work, side, reader.read(name), number, ids)
            except RefusedError as refused:
                raise refused.of_file(where) from None
            if not written and PurePosixPath(name or source.path.name).suffix.lower() not in SIDE_FILES:
                remedy = "Take it out of the study, or store it as DICOM (PS3.10), PNG or JPEG"
                raise RefusedError(Reason.NOT_DICOM, f"{where} is neither DICOM nor PNG nor JPEG", remedy)
            objects += written
            left_out += not written and PurePosixPath(name).name != "note.txt"
    if len(ids) > 1:
        problem = f"its study holds files with {len(ids)} different Patient IDs"
        raise RefusedError(Reason.MIXED, problem, "Find out whose study it is; give each patient a folder of their own")
    if not any(work.job.pending(side).iterdir()):
        if objects:
            raise RefusedError(
                Reason.NO_PIXELS, "its study holds no image, only other objects", "Export its images too"
            )
        remedy = "Put DICOM, PNG or JPEG files into it"
        raise RefusedError(Reason.EMPTY_STUDY, "its study holds no image file", remedy)
    if left_out:
        work.remarks.append(f"files beside the images left out: {left_out}")


def _treat_file(work: _Work, side: str, content: bytes, number: int, ids: set[str]) -> bool:
    """Write an image anew, or leave out an object that is none; False if it is neither DICOM nor a photograph."""
    if is_dicom(content):
        instance = open_instance(content, "", "")
        ids.add(instance.patient_id)
        with guarded("has a header that cannot be read", EXPORT):
            collect(instance.dataset, work.found)
            collect(instance.dataset.file_meta, work.found)
        if instance.no_image:
            work.remarks.append(f"{instance.no_image} left out: only images are kept")
            return True
        if side == STUDY and instance.time is not None:
            work.times.append(instance.time)
        written, suffix = _treat_dicom(work, instance.dataset), "dcm"
    elif content.startswith(MAGIC):
        written, suffix = _treat_photograph(work, content), "png"
    else:
        return False
    (work.job.pending(side) / f"{number:06d}.{suffix}").write_bytes(written)
    work.counts["images"] += 1
    return True


def _treat_dicom(work: _Work, dataset: Dataset) -> bytes:
    """Return a DICOM file without identity."""
    syntax, boxes = clean_pixels(dataset, work.job.burned_in)
    work.counts["regions_masked"] += boxes
    with guarded("has a header that cannot be cleaned", EXPORT):
        if not dataset.original_encoding[1]:
            _to_little_endian(dataset)
        clean_header(dataset, work.job.patient, work.job.key, work.found)
        if boxes:
            mark_pixels_cleaned(dataset)
        return _encoded(dataset, syntax)


def _to_little_endian(dataset: Dataset) -> None:
    """Turn the bytes of words round, which pydicom writes as they were read; those of the pixels are stored anew."""
    for element in dataset.iterall():
        if element.VR in _WORDS and element.keyword not in PIXELS and element.value:
            element.value = np.frombuffer(element.value, f"u{_WORDS[element.VR]}").byteswap().tobytes()


def _encoded(dataset: Dataset, syntax: UID) -> bytes:
    """Return the bytes of a new file with a new file meta group and an empty preamble."""
    clean = pydicom.FileDataset("", dataset, preamble=b"\0" * 128, file_meta=new_file_meta(dataset, syntax))
    file = BytesIO()
    clean.save_as(file, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return file.getvalue()


def _treat_photograph(work: _Work, content: bytes) -> bytes:
    """Return a PNG with the same pixels, upright, and nothing else."""
    pixels = read_photograph(content, "").pixels
    with guarded("cannot be written as PNG", "Convert it to PNG"):
        bytewise = np.round(pixels * 255).astype(np.uint8)
        deep = bool((bytewise / np.float32(255) != pixels).any())
        values = np.round(pixels * 65535).astype(np.uint16) if deep else bytewise
    photometric = "RGB" if values.ndim == 3 else "MONOCHROME2"
    frames, boxes = without_text(Dataset(), values[None], photometric, work.job.burned_in)
    work.counts["regions_masked"] += boxes
    with guarded("cannot be written as PNG", "Convert it to PNG"):
        file = BytesIO()
        PIL.Image.fromarray(frames[0]).save(file, "PNG")
        return file.getvalue()


def _digest(job: Job, text: str) -> str:
    """SHA-256 over everything that the outcome depends on."""
    ways = f"{METHOD} {version('medmm')} {job.key.fingerprint} {job.dates} {job.burned_in}"
    digest = hashlib.sha256(
        f"{ways}\0{job.patient_id}\0{job.names}{job.values}\0{text}".encode("utf-8", "surrogateescape")
    )
    for side, source in sorted(job.sources.items()):
        digest.update(f"{side} {job.folders[side].resolve()}".encode("utf-8", "surrogateescape"))
        digest.update(source.digest())
    digest.update(repr(known_words(text, names_in(job.everyone))).encode())
    return digest.hexdigest()


def _known(job: Job, digest: str) -> Treated | None:
    """Return the outcome of an earlier run, if nothing has changed and its files are those that were verified."""
    try:
        known = Treated.from_json(job.known.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if known.digest != digest or set(known.files) != set(job.sources):
        return None
    same = all(digest_of(job.folders[side]) == verified for side, verified in known.files.items())
    return known if same else None


@lru_cache(maxsize=1)
def names_in(everyone: Path) -> frozenset[str]:
    """Read the names and ids of all patients, folded."""
    return frozenset(json.loads(everyone.read_text(encoding="utf-8")))
