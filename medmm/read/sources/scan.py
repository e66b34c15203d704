"""What lies in a folder or an archive that no table describes: studies, found by reading headers and nothing more.

Every subfolder, every archive, and the files beside them are looked at as a place of their own:

* a place with one study, or with no DICOM object, is one case, all of it, named as the place is;
* a study that lies in several of these places is one case, named `study-<digits>`, unless archives keep it apart;
* a place with several studies is a case for each, named `<place>-<10 hexadecimal digits>`, the digits being those of
  the SHA-256 of Study Instance UID; files beside the subfolders are the place `study`;
* a DICOMDIR at the top says which files count (PS3.10 8.6), in its place and in the subfolders that it speaks of;
* a file that is no object of a study belongs to the study of the nearest folder around it that has just one: a part
  must not pass for the whole. Where there is none it is a case of its own, so that it is refused and not lost.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from medmm.case import MAX_CASE_ID
from medmm.errors import DataError, Reason
from medmm.read.guard import RefusedError
from medmm.read.pool import in_children
from medmm.read.remark import concern
from medmm.read.sources.peek import Header, Listed, read_directory, read_headers
from medmm.read.sources.source import Source, archive_names, files_below, is_archive, is_directory, is_wanted

NOTE = "note.txt"
_UNLISTED = "files that a DICOMDIR does not list"
_AT_ONCE = 200
"""Files whose headers one child reads in one go."""
_TIMEOUT_S, _TIMEOUT_ALONE_S = 60.0, 10.0
_MEMORY_BYTES = 2**29


@dataclass(frozen=True, slots=True)
class Found:
    """One case to be: a study, or what is refused in its stead."""

    case_id: str
    """Does not identify anyone, unless a name of a file or folder does."""
    source: Source
    study_uid: str = field(default="", repr=False)
    """Study Instance UID (0020,000D); empty for photographs, and where no file says."""
    patient_id: str = field(default="", repr=False)
    """Patient ID (0010,0020) of its first object."""
    modalities: tuple[str, ...] = ()
    """Modality (0008,0060) of its objects, each once."""
    date: str = field(default="", repr=False)
    """Study Date (0008,0020) of its first object."""
    files: int = 0
    note: Source | None = field(default=None, repr=False)
    """note.txt beside its images: one member of a folder or an archive."""


@dataclass(frozen=True, slots=True)
class Scan:
    """All that a folder or an archive holds."""

    studies: tuple[Found, ...]
    """In the order of their places, then of their case ids."""
    left_out: Mapping[str, int]
    """What was left out -> how many files."""
    remarks: tuple[str, ...]
    """How files became cases, in plain words."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A subfolder, an archive, or the files beside them."""

    name: str
    """As it is; empty for the files beside the subfolders."""
    path: Path
    """The folder or archive below which the names are."""
    names: tuple[str, ...]
    """Names of all its files, or of those that its DICOMDIR lists, each beginning with `prefix`."""
    whole: Source | None
    """All of it as one study; None where only `names` are."""
    prefix: str = ""
    studies: Mapping[str, str] = field(default_factory=dict)
    """File -> Study Instance UID that a DICOMDIR states."""
    refused: Mapping[str, tuple[Reason, str, str]] = field(default_factory=dict)
    """Study Instance UID -> why a DICOMDIR makes it unreadable."""
    beside_medium: bool = False
    """Whether it lies beside a DICOMDIR that does not speak of it: without a DICOM object, it is part of the medium."""

    @property
    def directory(self) -> str:
        """Name of the DICOMDIR at its top; empty without one."""
        tops = (name for name in self.names if "/" not in name[len(self.prefix) :])
        return next((name for name in tops if is_directory(name)), "")


def scan(path: Path, workers: int | None = None) -> Scan:
    """Find the studies of a folder, a zip archive, or the folder of a DICOMDIR; headers are read in children.

    Args:
        path: the folder, the archive (.zip), or the DICOMDIR itself.
        workers: child processes; the number of cores if None.

    Raises:
        RefusedError: MISSING_STUDY if `path` is none of the three.
    """
    root = root_of(path)
    left_out: Counter[str] = Counter()
    remarks: list[str] = []
    places = _obeyed(_places(root), left_out, remarks, workers)
    headers = _all_headers(places, workers)
    found: list[Found] = []
    several = 0
    for place in places:
        if place.beside_medium and not any(headers[place.path][name].kind == "object" for name in _wanted(place)):
            left_out[_UNLISTED] += len(_wanted(place))
            continue
        here = _studies(place, headers[place.path], left_out)
        several += len({one.study_uid for one in here if one.study_uid}) > 1
        found += sorted(here, key=lambda one: one.case_id)
    if several:
        remarks.append(f"several studies in one folder or archive, each a case of its own: {several} such places")
    found = _joined(root, found, left_out, remarks)
    return Scan(tuple(_unique(found)), MappingProxyType(dict(left_out)), tuple(remarks))


def root_of(path: Path) -> Path:
    """The folder or archive that a path names, of a DICOMDIR its folder; raises as `scan`."""
    root = path.parent if path.is_file() and is_directory(path.name) else path
    if not root.is_dir() and not (root.is_file() and is_archive(root)):
        raise RefusedError(Reason.MISSING_STUDY, "is not a folder, a zip archive or a DICOMDIR", "Check the path")
    return root


def hashed(text: str) -> str:
    """Ten hexadecimal digits that stand for a text, the same every time: the first ones of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:10]


def printable(name: str) -> str:
    """A file's name as a case id: what cannot be printed, or is not UTF-8, is written as an escape."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def _places(root: Path) -> list[_Place]:
    """Return everything that may hold studies; nothing but names is read."""
    if root.is_file():
        return _places_of_archive(root)
    places: list[_Place] = []
    loose: list[str] = []
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            places += _places_of_folder(root, entry.name)
        elif is_archive(entry):
            places.append(_archive_as_place(entry.name, entry))
        else:
            loose.append(entry.name)
    return [*places, _Place("", root, tuple(loose), None)] if loose else places


def _places_of_folder(root: Path, folder: str) -> Iterator[_Place]:
    """The subfolder, and each archive below it."""
    try:
        names = files_below(root / folder)
    except OSError:  # reading the study will say so
        names = []
    archives = [name for name in names if is_archive(Path(name))]
    others = tuple(f"{folder}/{name}" for name in names if name not in set(archives))
    wanted = tuple(filter(is_wanted, others))
    if wanted or not archives:
        whole = Source(root, wanted) if archives else Source(root / folder)
        yield _Place(folder, root, others, whole, f"{folder}/")
    for name in archives:
        yield _archive_as_place(f"{folder}-{name.replace('/', '-')}", root / folder / name)


def _archive_as_place(name: str, path: Path) -> _Place:
    """An archive among other things; one that cannot be trusted has no names, and is refused when it is read."""
    try:
        return _Place(name, path, tuple(archive_names(path)), Source(path))
    except (RefusedError, OSError):
        return _Place(name, path, (), Source(path))


def _places_of_archive(root: Path) -> list[_Place]:
    """The folders in an archive, and the files beside them."""
    place = _archive_as_place(root.name, root)
    if not place.names:
        return [place]
    below: defaultdict[str, list[str]] = defaultdict(list)
    for name in place.names:
        below[name.split("/")[0] if "/" in name else ""].append(name)
    loose = below.pop("", [])
    folders = [
        _Place(folder, root, tuple(names), Source(root, tuple(filter(is_wanted, names))), f"{folder}/")
        for folder, names in below.items()
        if any(map(is_wanted, names))
    ]
    return [*folders, _Place("", root, tuple(loose), None)] if loose else folders


def _obeyed(places: list[_Place], left_out: Counter[str], remarks: list[str], workers: int | None) -> list[_Place]:
    """Narrow every place that has a DICOMDIR to what that lists; one at the very top rules over all subfolders."""
    asked = [place for place in places if place.directory]
    jobs = [(place.name, (Source(place.path, (place.directory,)), place.name)) for place in asked]
    answers = in_children(read_directory, jobs, workers, timeout_s=_TIMEOUT_S, memory_bytes=_MEMORY_BYTES)
    for place, (_, answer) in zip(asked, answers, strict=True):
        if isinstance(answer, DataError):
            if answer.code != Reason.NOT_DICOM:
                remarks.append("a DICOMDIR that does not parse was left out; the files beside it were searched")
            continue
        ruled = [place]
        if not place.name:
            spoken_of = {one.name.split("/")[0].upper() for one in answer}
            others = [other for other in places if other.path == place.path and other is not place]
            ruled += [other for other in others if other.name.upper() in spoken_of]
            beside = [other for other in others if other.name.upper() not in spoken_of]
            places = [replace(one, beside_medium=True) if one in beside else one for one in places]
        names = [name for one in ruled for name in one.names if is_wanted(name)]
        narrowed, ignored = _narrowed(place, names, answer)
        if ignored:
            left_out[_UNLISTED] += ignored
        places = [narrowed, *(other for other in places if other not in ruled)]
        remarks.append(f"a DICOMDIR says what belongs to a study: {len(narrowed.names)} files")
    return places


def _narrowed(place: _Place, names: Sequence[str], listed: Sequence[Listed]) -> tuple[_Place, int]:
    """Return the place with the files that are listed, and how many are not."""
    there = {name.upper(): name for name in names}  # media are read with capitals or without
    studies: dict[str, str] = {}
    absent, outside = Counter[str](), set[str]()
    for one in listed:
        name = there.get((place.prefix + one.name).upper())
        if not one.name:
            outside.add(one.study_uid)
        elif name is None:
            absent[one.study_uid] += 1
        else:
            studies[name] = one.study_uid
    remedy = "Copy the whole medium again"
    refused = {
        uid: (Reason.MISSING_STUDY, f"its DICOMDIR lists {n} files that are not there", remedy)
        for uid, n in absent.items()
    }
    refused |= dict.fromkeys(outside, (Reason.OUTSIDE, "its DICOMDIR lists a file outside its folder", remedy))
    narrowed = replace(place, names=tuple(sorted(studies)), whole=None, studies=studies, refused=refused)
    return narrowed, len(names) - len(studies)


def _wanted(place: _Place) -> list[str]:
    return [name for name in place.names if is_wanted(name)]


def _all_headers(places: Sequence[_Place], workers: int | None) -> Mapping[Path, Mapping[str, Header]]:
    """Read the headers of all files, many at a time; a file that takes its child with it is found among its batch."""
    wanted = sorted((place.path, name) for place in places for name in _wanted(place))
    batches = [wanted[start : start + _AT_ONCE] for start in range(0, len(wanted), _AT_ONCE)]
    headers: defaultdict[Path, dict[str, Header]] = defaultdict(dict)
    failed: list[tuple[Path, str]] = []
    for batch, answer in _read(batches, workers, _TIMEOUT_S):
        if isinstance(answer, DataError):
            failed += batch
            continue
        for (path, name), header in zip(batch, answer, strict=True):
            headers[path][name] = header
    for ((path, name),), answer in _read([[one] for one in failed], workers, _TIMEOUT_ALONE_S):
        headers[path][name] = Header("unread") if isinstance(answer, DataError) else answer[0]
    return headers


def _read(
    batches: Sequence[Sequence[tuple[Path, str]]], workers: int | None, timeout_s: float
) -> Iterator[tuple[Sequence[tuple[Path, str]], list[Header] | DataError]]:
    jobs = (("", (_sources(batch),)) for batch in batches)
    answers = in_children(read_headers, jobs, workers, timeout_s=timeout_s, memory_bytes=_MEMORY_BYTES)
    return ((batch, answer) for batch, (_, answer) in zip(batches, answers, strict=True))


def _sources(batch: Sequence[tuple[Path, str]]) -> list[Source]:
    """A batch as sources, in its order: files of one folder or archive lie side by side in it."""
    by_path = groupby(batch, key=lambda one: one[0])
    return [Source(path, tuple(name for _, name in ones)) for path, ones in by_path]


def _studies(place: _Place, headers: Mapping[str, Header], left_out: Counter[str]) -> list[Found]:
    """Group the files of one place."""
    objects: defaultdict[str, list[str]] = defaultdict(list)
    others: list[str] = []
    sides: list[str] = []
    for name in _wanted(place):
        header = headers[name]
        if header.kind == "object":
            objects[header.study_uid].append(name)
        else:
            (sides if header.kind == "side" else others).append(name)
    for uid in place.refused:
        objects[uid] += []
    if place.whole and len(objects) <= 1:
        return [_whole(place, place.whole, objects, others, headers, left_out)]
    alone = _attach(place, objects, others, headers)
    notes = _notes(sides, objects)
    if left := len(sides) - len(notes):
        left_out["files beside the studies"] += left
    named = place.name and printable(place.name)
    found = [
        Found(f"{named}-file-{hashed(name)}" if named else printable(name), _files(place, [name]), files=1)
        for name in alone
    ]
    for uid, names in objects.items():
        case_id = f"{named or 'study'}-{hashed(uid)}"
        if len(objects) == 1 and (named or (len(names) == 1 and not place.studies)):
            case_id = named or printable(names[0])
        source = replace(_files(place, names), refused=place.refused.get(uid))
        note = Source(place.path, (notes[uid],)) if uid in notes else None
        found.append(_described(Found(case_id, source, uid, files=len(names), note=note), names, headers))
    return found


def _whole(
    place: _Place,
    source: Source,
    objects: Mapping[str, list[str]],
    others: Sequence[str],
    headers: Mapping[str, Header],
    left_out: Counter[str],
) -> Found:
    """All of a place as one case."""
    uid, names = next(iter(objects.items()), ("", []))
    notes = [name for name in place.names if _is_note(name)]
    top = [name for name in notes if "/" not in name[len(place.prefix) :]]
    if len(top) != 1:
        top = notes
    if left := len(notes) - (len(top) == 1):
        left_out["notes beside a study that has several"] += left
    found = Found(
        printable(place.name),
        source,
        uid,
        files=len(names) + len(others),
        note=Source(place.path, (top[0],)) if len(top) == 1 else None,
    )
    return _described(found, names, headers)


def _is_note(name: str) -> bool:
    return PurePosixPath(name).name.lower() == NOTE


def _described(found: Found, names: Sequence[str], headers: Mapping[str, Header]) -> Found:
    """Add what the headers say."""
    known = [headers[name] for name in names if headers[name].kind == "object"]
    if not known:
        return found
    modalities = tuple(sorted({header.modality for header in known if header.modality}))
    return replace(found, patient_id=known[0].patient_id, modalities=modalities, date=known[0].date)


def _files(place: _Place, names: Sequence[str]) -> Source:
    """Some files of a place; one in a folder as a file of its own."""
    if len(names) == 1 and place.path.is_dir():
        return Source(place.path / names[0])
    return Source(place.path, tuple(sorted(names)))


def _attach(
    place: _Place, objects: dict[str, list[str]], others: Sequence[str], headers: Mapping[str, Header]
) -> list[str]:
    """Add files that are no objects to the study around them; return those around which there is none, or several.

    Among the files beside the subfolders, a photograph, and whatever lies beside one single object, is by itself.
    """
    around: defaultdict[PurePosixPath, set[str]] = defaultdict(set)
    for uid, names in objects.items():
        for name in names:
            for folder in PurePosixPath(name).parents:
                around[folder].add(uid)
    loose = not place.name and not place.studies
    by_itself = loose and sum(map(len, objects.values())) == 1
    alone: list[str] = []
    for name in others:
        nearest = next((around[folder] for folder in PurePosixPath(name).parents if folder in around), set[str]())
        uid = place.studies.get(name) or (next(iter(nearest)) if len(nearest) == 1 else "")
        if not uid or by_itself or (loose and headers[name].kind == "picture"):
            alone.append(name)
        else:
            objects[uid].append(name)
    return alone


def _notes(sides: Sequence[str], objects: Mapping[str, list[str]]) -> dict[str, str]:
    """Study Instance UID -> note.txt in a folder with objects of that study alone; the first, if there are several."""
    beside: defaultdict[PurePosixPath, set[str]] = defaultdict(set)
    for uid, names in objects.items():
        for name in names:
            beside[PurePosixPath(name).parent].add(uid)
    notes: dict[str, str] = {}
    for name in sides:
        uids = beside.get(PurePosixPath(name).parent, set()) if _is_note(name) else set()
        if len(uids) == 1:
            notes.setdefault(next(iter(uids)), name)
    return notes


def _joined(root: Path, found: Sequence[Found], left_out: Counter[str], remarks: list[str]) -> list[Found]:
    """Make one case of the parts of a study that lie in several places; what archives keep apart is told."""
    parts: defaultdict[str, list[Found]] = defaultdict(list)
    for one in found:
        if one.study_uid:
            parts[one.study_uid].append(one)
    joined: dict[str, Found] = {}
    apart = 0
    for uid, group in parts.items():
        if len(group) == 1:
            continue
        if all(one.source.path == root or (root.is_dir() and not is_archive(one.source.path)) for one in group):
            joined[uid] = _join(root, uid, group, left_out)
        else:
            apart += 1
    if joined:
        remarks.append(f"studies that lie in more than one folder, each one case: {len(joined)}")
    if apart:
        remarks.append(concern(f"studies of which archives hold parts, each part a case of its own: {apart}"))
    kept = [one for one in found if one.study_uid not in joined]
    return [*kept, *sorted(joined.values(), key=lambda one: one.case_id)]


def _join(root: Path, uid: str, group: Sequence[Found], left_out: Counter[str]) -> Found:
    """One case of several parts: all their files; the note of the only part that has one."""
    names: list[str] = []
    for one in group:
        if one.source.members or one.source.path == root:
            names += one.source.members
            continue
        below = one.source.path.relative_to(root).as_posix()
        names += [f"{below}/{name}" if name else below for name in _names(one.source)]
    notes = [one.note for one in group if one.note]
    if len(notes) > 1:
        left_out["notes beside a study that has several"] += len(notes)
    refused = next((one.source.refused for one in group if one.source.refused), None)
    return replace(
        group[0],
        case_id=f"study-{hashed(uid)}",
        source=Source(root, tuple(sorted(set(names))), refused),
        modalities=tuple(sorted({modality for one in group for modality in one.modalities})),
        files=sum(one.files for one in group),
        note=notes[0] if len(notes) == 1 else None,
    )


def _names(source: Source) -> list[str]:
    """Names of the files of a source; of one that cannot be listed, itself, so that reading it says so."""
    try:
        return source.names()
    except (OSError, RefusedError):
        return [""]


def _unique(found: Sequence[Found]) -> Iterator[Found]:
    """Case ids that are there once, and not too long: names may differ only in what cannot be printed."""
    seen: set[str] = set()
    for one in found:
        if len(one.case_id) > MAX_CASE_ID:
            one = replace(one, case_id=f"{one.case_id[: MAX_CASE_ID - 11]}-{hashed(one.case_id)}")
        if one.case_id in seen:
            one = replace(one, case_id=f"{one.case_id}-{hashed(repr(one.source.members) + str(one.source.path.name))}")
        seen.add(one.case_id)
        yield one
