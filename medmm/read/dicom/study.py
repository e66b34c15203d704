"""A folder or a file to one Study: one unreadable file refuses all of it, since a part must not pass for the whole."""

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pydicom import Dataset

from medmm.case import Image, Study, Volume
from medmm.config import ImageRule
from medmm.errors import DataError, Reason
from medmm.read.dicom.choice import Wanted, choose, no_match, rule_of
from medmm.read.dicom.film import read_film
from medmm.read.dicom.header import matches, study_header
from medmm.read.dicom.instance import EXPORT, SENSELESS, Instance, is_dicom, open_instance
from medmm.read.dicom.series import Part, parts_of
from medmm.read.dicom.volume import read_volume
from medmm.read.guard import RefusedError, guarded, silence
from medmm.read.photograph import MAGIC, read_photograph
from medmm.read.remark import concern
from medmm.read.sources.source import Reader, Source

SIDE_FILES = frozenset(
    {".csv", ".db", ".html", ".inf", ".ini", ".json", ".log", ".md", ".pdf", ".toml", ".tsv", ".txt", ".xml", ".yaml"}
)
"""Suffixes of files that may lie beside images. They are left out unless they begin as DICOM, PNG or JPEG do."""


@dataclass(slots=True)
class _Opened:
    """What the files of a study hold, before any DICOM pixel is decoded."""

    instances: list[Instance] = field(default_factory=list)
    photographs: list[Image] = field(default_factory=list)
    side_files: int = 0
    remarks: list[str] = field(default_factory=list)
    digest: bytes = b""
    """As Source.digest, of what was read."""


def read_study(
    source: Source | Path, case_id: str, rules: Sequence[ImageRule] = (), enough: int | None = None
) -> Study:
    """Read the images of one study, in order of series and instance; photographs come last, in order of their names.

    Slices that lie in space become volumes, one for each series, turn and phase; so do the frames of a cine. A film is
    an image, and so is a slice that is alone. Localizers are left out where a stack is read.

    Files that are hidden, are named DICOMDIR or have a suffix in SIDE_FILES are left out; so are DICOM objects that are
    no images (reports, presentation states, segmentations). The study's remarks say so.

    Args:
        source: a folder, searched through all its levels, one file, or members of an archive.
        case_id: for messages.
        rules: which images are read; all of them without a rule. They judge DICOM headers: with rules, PNG and JPEG
            files count as modality OT, without description and view.
        enough: pixels of a film's shorter side that are enough, see `read_film`; all of them if None.

    Raises:
        DataError: MISSING_STUDY, EMPTY_STUDY, NOT_DICOM, NO_PIXELS, UNSUPPORTED, CORRUPT, TOO_LARGE, MIXED, NO_MATCH.
    """
    source = Source(source) if isinstance(source, Path) else source
    try:
        with silence():
            with source.opened() as reader:
                opened = _open_all(source.names(), reader, rules)
            _check_one_study(opened.instances)
            return _decode_all(opened, rules, enough)
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


def _open_all(names: list[str], reader: Reader, rules: Sequence[ImageRule]) -> _Opened:
    """Read every file once, so that digest and content agree. Pixels that no rule asks for are let go at once."""
    opened, seen, whole = _Opened(), set[str](), hashlib.sha256()
    for number, name in enumerate(names, start=1):
        where = f"file {number} of {len(names)} in its study" if len(names) > 1 else "its file"
        path = PurePosixPath(name or reader.source.path.name)
        try:
            content = reader.read(name)
            of_file = hashlib.sha256(content)
            whole.update(of_file.digest())
            digest = of_file.hexdigest()
            if digest in seen:
                opened.remarks.append("second copy of a file left out")
            elif is_dicom(content):
                opened.instances.append(_open_dicom(content, digest, where, rules))
            elif content.startswith(MAGIC):
                opened.photographs.append(read_photograph(content, digest))
            else:
                opened.side_files += _is_side_file(path)
                continue
        except RefusedError as refused:
            raise refused.of_file(where) from None
        seen.add(digest)
    opened.digest = whole.digest()
    if any(instance.is_bare for instance in opened.instances):
        opened.remarks.append(concern("DICOM without preamble (PS3.10) read all the same"))
    if opened.side_files:
        opened.remarks.append(f"files beside the images left out: {opened.side_files}")
    if not opened.instances and not opened.photographs:
        raise RefusedError(Reason.EMPTY_STUDY, "its study holds no image file", "Put DICOM, PNG or JPEG files into it")
    return opened


def _open_dicom(content: bytes, digest: str, where: str, rules: Sequence[ImageRule]) -> Instance:
    """Parse one file, and let go of pixels that are not asked for."""
    instance = open_instance(content, digest, where)
    with guarded(SENSELESS, EXPORT):
        if instance.no_image or (rules and rule_of(instance, rules) is None):
            instance.let_go()
    return instance


def _is_side_file(path: PurePosixPath) -> bool:
    """Whether a file that is no image counts as left out; refuse one that may be an image."""
    if path.suffix.lower() not in SIDE_FILES:
        remedy = "Take it out of the study, or store it as DICOM with preamble (PS3.10), PNG or JPEG"
        raise RefusedError(Reason.NOT_DICOM, "is neither DICOM nor PNG nor JPEG", remedy)
    return path.suffix.lower() != ".txt" or path.stem.lower() != "note"


def _check_one_study(instances: list[Instance]) -> None:
    """Refuse a folder with DICOM objects of several studies or several patients; ids are compared, never shown.

    An id that is empty is not stated; it is not another one.
    """
    patients = len({instance.patient_id for instance in instances if instance.patient_id})
    if patients > 1:
        problem = f"its study holds files with {patients} different Patient IDs"
        raise RefusedError(Reason.MIXED, problem, "Find out whose study it is; give each patient a folder of their own")
    studies = len({instance.study_uid for instance in instances if instance.study_uid})
    if studies > 1:
        problem = f"its folder holds {studies} studies"
        raise RefusedError(Reason.MIXED, problem, "Give each study a folder and a case of its own")


def _decode_all(opened: _Opened, rules: Sequence[ImageRule], enough: int | None) -> Study:
    """Choose among the images on their headers, then decode what was chosen."""
    images: list[Image] = []
    volumes: list[Volume] = []
    wanted = _choose(opened, rules)
    for frame in (frame for one in wanted for frame in one.part.frames):
        frame.instance.wanted.add(frame.index)
    for instance in opened.instances:
        instance.done(())  # those that nobody wants are let go
    for one in wanted:
        window = rules[one.rule - 1].window if one.rule else None
        if len(one.part.frames) == 1:
            images.append(_film(one.part, window, enough))
        else:
            volumes.append(read_volume(one.part.frames, one.part.remarks, window))
    photographs = _photographs(opened.photographs, rules, wanted)
    if not images and not volumes and not photographs:
        if rules:
            raise no_match(opened.instances, len(opened.photographs))
        raise RefusedError(Reason.NO_PIXELS, "its study holds no image, only other objects", "Export its images too")
    if (images or volumes) and photographs:
        opened.remarks.append(f"photographs beside the DICOM images: {len(photographs)}")
    times = [instance.time for instance in opened.instances if instance.time]
    return Study(
        images=(*images, *photographs),
        uid=next((instance.study_uid for instance in opened.instances if instance.study_uid), ""),
        remarks=tuple(dict.fromkeys(opened.remarks)),
        volumes=tuple(volumes),
        time=min(times, default=None),
        patient_id=next((instance.patient_id for instance in opened.instances if instance.patient_id), ""),
        header=next((study_header(instance.dataset) for instance in opened.instances), ""),
        digest=opened.digest,
    )


def _choose(opened: _Opened, rules: Sequence[ImageRule]) -> list[Wanted]:
    """Put the DICOM images of a study in parts, series by series, and choose among them."""
    opened.remarks += [f"{one.no_image} left out: it is no image" for one in opened.instances if one.no_image]
    instances = [instance for instance in opened.instances if not instance.no_image]
    uids = [instance.uid for instance in instances if instance.uid]
    if len(set(uids)) < len(uids):
        problem = "its study holds two different files with one SOP Instance UID"
        raise RefusedError(Reason.CORRUPT, problem, EXPORT)
    series: dict[str, list[Instance]] = {}
    for instance in sorted(instances, key=lambda instance: instance.place):
        series.setdefault(instance.series_uid, []).append(instance)
    parts: list[tuple[int, Part]] = []
    for number, members in enumerate(series.values(), start=1):
        asked = [instance for instance in members if not rules or rule_of(instance, rules) is not None]
        parts += [(number, part) for part in parts_of(asked)]
    wanted, remarks = choose(parts, len(series), rules)
    opened.remarks += remarks
    return wanted


def _film(part: Part, window: tuple[float, float] | None, enough: int | None) -> Image:
    """Decode the only frame of a part."""
    (frame,) = part.frames
    try:
        return read_film(frame, part.remarks, window, enough)
    except RefusedError as refused:
        raise refused.of_file(frame.instance.where) from None


def _photographs(found: list[Image], rules: Sequence[ImageRule], wanted: list[Wanted]) -> list[Image]:
    """Choose among PNG and JPEG files, which are of modality OT and say nothing else."""
    if not rules:
        return found
    header = Dataset()
    header.Modality = "OT"
    place = next((place for place, rule in enumerate(rules, start=1) if matches(rule, header)), None)
    if place is None:
        return []
    most, taken = rules[place - 1].at_most, sum(one.rule == place for one in wanted)
    return found if most is None else found[: max(0, most - taken)]
