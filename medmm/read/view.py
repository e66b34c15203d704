"""The pixels of a study for a viewer: values in the unit of their modality, and how they are meant to be seen.

Nothing is windowed, resampled or reduced to 8 bits here. Which slices belong together, their order and their values
are those of the reader that scored; a digest says whether a frame is the one that was scored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from pydicom import Dataset

from medmm.case import Volume
from medmm.errors import Reason
from medmm.read.dicom.display import modality_values, padding_in, show_colour, why_inverted
from medmm.read.dicom.film import LONGEST, UNDECODED, ratio_of, spacing_of
from medmm.read.dicom.frame import Frame
from medmm.read.dicom.geometry import offsets_of
from medmm.read.dicom.header import code, codes, numbers, view_of
from medmm.read.dicom.instance import EXPORT, SENSELESS, Instance, is_dicom, open_instance
from medmm.read.dicom.pixels import decode
from medmm.read.dicom.series import Part, parts_of
from medmm.read.dicom.voi import Window, volume_windows, windows_of
from medmm.read.dicom.volume import read_volume
from medmm.read.guard import RefusedError, guarded, silence
from medmm.read.photograph import MAGIC, read_photograph
from medmm.read.sources.source import Source
from medmm.slices import slice_images

MAX_VIEWED_BYTES = 2**30
"""Size of the files of one study that are held at once to be looked at."""
_OPPOSITE = dict(zip("LRAPHF", "RLPAFH", strict=True))
_OBLIQUE = 0.35
"""A direction is named by every axis of the patient on which it moves more than this for each mm."""


@dataclass(frozen=True, slots=True)
class FrameOrigin:
    """Where one frame of a display set lies."""

    name: str = field(repr=False)
    """Of its file, as the source calls it."""
    digest: str
    """SHA-256 of its file, hexadecimal."""
    instance_uid: str
    """SOP Instance UID (0008,0018); empty for PNG and JPEG."""
    number: int
    """Of the frame in its object, from 1."""
    siblings: int
    """How many frames the object has."""

    @property
    def identity(self) -> str:
        """As Frame.identity."""
        return self.digest if self.siblings == 1 else f"{self.digest}:{self.number - 1}"


@dataclass(frozen=True, slots=True)
class DisplaySet:
    """Frames that are looked at together: a film, a photograph, a stack of slices, a cine."""

    frames: tuple[FrameOrigin, ...]
    """In the order of slices or of time."""
    rows: int
    columns: int
    modality: str
    """Modality (0008,0060); OT for PNG and JPEG."""
    series_uid: str = ""
    view: str = ""
    """View Position (0018,5101)."""
    description: str = field(default="", repr=False)
    """Series Description (0008,103E)."""
    is_stack: bool = False
    """Whether its frames lie side by side in the patient, and not at one place in time."""
    step_mm: float | None = None
    """From slice to slice, the median; None unless it is a stack."""
    unit: str = ""
    """Of the values: HU, Bq/ml, ...; empty for stored values."""
    ratio: float = 1.0
    """Height by width of a pixel."""
    spacing_mm: tuple[float, float] | None = None
    """Between rows and between columns; None where it is not known."""
    at_detector: bool = False
    """Whether the spacing is that at the detector, where things are as large as their shadow."""
    edges: tuple[str, str, str, str] | None = None
    """Which way the patient lies at the left, right, top and bottom edge (PS3.3 C.7.6.1.1.1); None where not known."""


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """What the frames of a display set hold."""

    values: np.ndarray = field(repr=False)
    """(frames, rows, columns) uint8, uint16, int16 or float32 in the unit of the modality, NaN where a film is padding;
    (frames, rows, columns, 3) uint8 for colour."""
    windows: tuple[Window, ...]
    """Ways to show grey values, first the one that the model was given; empty for colour."""
    inverted: bool
    """True if low values are to be shown white: MONOCHROME1 or Presentation LUT Shape INVERSE."""
    volume: Volume | None = None
    """The same as the model was given it, if there is more than one frame."""


def open_study(source: Source) -> tuple[tuple[DisplaySet, Callable[[], Pixels]], ...]:
    """What of a study can be looked at, series by series as the reader sorts them, photographs last.

    Each display set comes with what decodes it, which holds its files until then and is called once.

    Raises:
        RefusedError: as read_study, and TOO_LARGE beyond MAX_VIEWED_BYTES; when it is decoded too.
        OSError: if a file cannot be read.
    """
    with silence():
        instances = list[Instance]()
        photographs = list[tuple[DisplaySet, Callable[[], Pixels]]]()
        names: dict[str, str] = {}
        for name, content, digest in _files(source):
            if digest in names:
                continue
            names[digest] = name
            if is_dicom(content):
                instances.append(open_instance(content, digest, "a file of its study"))
            elif content.startswith(MAGIC):
                photographs.append(_photograph(name, content, digest))
        parts = _parts(instances)
        for frame in (frame for part in parts for frame in part.frames):
            frame.instance.wanted.add(frame.index)
        return (*((_describe(part, names), partial(_decode, part)) for part in parts), *photographs)


def read_pixels(source: Source, shown: DisplaySet) -> Pixels:
    """Decode a display set; its files are read again, and must be what they were.

    Raises:
        RefusedError: as open_study; CORRUPT if a file has changed.
        OSError: if a file cannot be read.
    """
    names = dict.fromkeys(frame.name for frame in shown.frames)
    for display, decode_it in open_study(replace(source, members=tuple(names))):
        if display.frames == shown.frames:
            return decode_it()
    raise RefusedError(Reason.CORRUPT, "has changed since it was opened", "Reload the page")


def frame_of(
    shown: DisplaySet, pixels: Pixels, digest: str, instance_uid: str, asked: Sequence[tuple[float, float]] = ()
) -> int | None:
    """Which frame, from 0, is the film or slice that has this digest; None if none is, or if its file has changed.

    Args:
        shown: the display set.
        pixels: of it.
        digest: of the film, which names its file, and of a slice how it was shown.
        instance_uid: of the film.
        asked: centre and width of windows that a cohort asked for instead of what files say.
    """
    volumes = (
        [replace(pixels.volume, window=window) for window in (pixels.volume.window, *asked)] if pixels.volume else []
    )
    for place, frame in enumerate(shown.frames):
        if frame.instance_uid != instance_uid:
            continue
        known = {image.digest for volume in volumes for image in slice_images(volume, [place])} or _digests(
            frame, asked
        )
        if digest in known:
            return place
    return None


def _digests(frame: FrameOrigin, asked: Sequence[tuple[float, float]]) -> Iterator[str]:
    """What the film's reader calls a frame that is shown by itself."""
    yield frame.identity
    for text in (frame.identity, *(f"{frame.identity}:{window}" for window in asked)):
        yield hashlib.sha256(text.encode()).hexdigest()


def _files(source: Source) -> Iterator[tuple[str, bytes, str]]:
    """Name, content and digest of each file, one at a time."""
    with source.opened() as reader:
        reader.left = MAX_VIEWED_BYTES
        for name in source.names():
            content = reader.read(name)
            yield name, content, hashlib.sha256(content).hexdigest()


def _parts(instances: list[Instance]) -> list[Part]:
    """Images of a study in the parts and in the order in which they are read to be scored."""
    series: dict[str, list[Instance]] = {}
    for instance in sorted(instances, key=lambda instance: instance.place):
        if not instance.no_image:
            series.setdefault(instance.series_uid, []).append(instance)
    return [part for members in series.values() for part in parts_of(members)]


def _describe(part: Part, names: dict[str, str]) -> DisplaySet:
    """All that can be said before anything is decoded."""
    first = part.frames[0]
    dataset, header = first.instance.dataset, first.header
    with guarded(SENSELESS, EXPORT):
        spacing, remarks = spacing_of(dataset, header)
        ratio = ratio_of(dataset, spacing)
        return DisplaySet(
            frames=tuple(_origin(frame, names) for frame in part.frames),
            rows=int(header.Rows),
            columns=int(header.Columns),
            modality=first.instance.modality,
            series_uid=first.instance.series_uid,
            view=view_of(dataset),
            description=str(dataset.get("SeriesDescription") or "")[:64],
            is_stack=part.is_stack,
            step_mm=_step(part),
            unit=_unit(dataset, header, first.instance.modality),
            ratio=ratio if 1 / LONGEST <= ratio <= LONGEST else 1.0,
            spacing_mm=spacing,
            at_detector=bool(remarks) or _is_uncorrected(dataset, spacing),
            edges=_edges(first),
        )


def _origin(frame: Frame, names: dict[str, str]) -> FrameOrigin:
    instance = frame.instance
    return FrameOrigin(names[instance.digest], instance.digest, instance.uid, frame.index + 1, frame.siblings)


def _step(part: Part) -> float | None:
    planes = [frame.plane for frame in part.frames if frame.plane is not None]
    return float(np.median(np.diff(offsets_of(planes)))) if part.is_stack else None


def _is_uncorrected(dataset: Dataset, spacing: tuple[float, float] | None) -> bool:
    """Whether Pixel Spacing repeats Imager Pixel Spacing: not corrected for magnification (PS3.3 10.7.1.3)."""
    detector = numbers(dataset, "ImagerPixelSpacing")
    return spacing is not None and len(detector) == 2 and bool(np.allclose(detector, spacing))


def _unit(dataset: Dataset, header: Dataset, modality: str) -> str:
    """Rescale Type (0028,1054), Units (0054,1001) of PET or Dose Units (3004,0002); Hounsfield units for CT."""
    stated = code(header, "RescaleType") or code(dataset, "RescaleType") or code(dataset, "Units")
    stated = stated or code(dataset, "DoseUnits") or ("HU" if modality == "CT" else "")
    return {"US": "", "BQML": "Bq/ml", "GML": "g/ml", "CNTS": "counts", "GY": "Gy"}.get(stated, stated)


def _edges(frame: Frame) -> tuple[str, str, str, str] | None:
    """From where the frame lies, else from Patient Orientation (0020,0020): which way the row and the column go."""
    if frame.plane is not None:
        right, bottom = (_letters(direction) for direction in frame.plane.orientation)
    else:
        stated = [word.upper() for word in codes(frame.instance.dataset, "PatientOrientation")]
        if len(stated) != 2 or not all(re.fullmatch("[LRAPHF]{1,3}", word) for word in stated):
            return None
        right, bottom = stated
    left, top = ("".join(_OPPOSITE[letter] for letter in word) for word in (right, bottom))
    return left, right, top, bottom


def _letters(direction: np.ndarray) -> str:
    """The patient's axes along a unit vector in LPS coordinates, the nearest first: 'L', 'PH'."""
    pairs = zip(direction, ("LR", "PA", "HF"), strict=True)
    along = sorted(((abs(float(part)), ends[int(part < 0)]) for part, ends in pairs), reverse=True)
    return "".join(letter for part, letter in along if part > _OBLIQUE)


def _decode(part: Part) -> Pixels:
    return _film(part.frames[0]) if len(part.frames) == 1 else _volume(part)


def _film(frame: Frame) -> Pixels:
    """Decode one frame."""
    with guarded(UNDECODED, EXPORT):
        ((stored, bits),) = decode(frame.instance.dataset, [frame.index], frame.instance.encoded)
    with guarded("has a rescale, window, LUT or palette that cannot be applied", EXPORT):
        if not frame.is_grey:
            colour = np.rint(show_colour(frame.instance.dataset, stored, bits)[0] * 255).astype(np.uint8)
            return Pixels(colour[None], (), False)
        padding = padding_in(frame.header, stored)
        values = modality_values(frame.header, stored, [])
        if padding is not None:
            values = np.where(padding, np.nan, values)
        windows = windows_of(frame.header, frame.instance.modality, values)
        return Pixels(_narrow(values)[None], windows, bool(why_inverted(frame.header)))


def _volume(part: Part) -> Pixels:
    """Decode a stack or a cine as it is decoded to be scored."""
    header, modality = part.frames[0].header, part.frames[0].instance.modality
    volume = read_volume(part.frames, part.remarks)
    if volume.voxels.ndim == 4:
        return Pixels(np.rint(volume.voxels * 255).astype(np.uint8), (), False, volume)
    with guarded("has a window that cannot be applied", EXPORT):
        return Pixels(volume.voxels, volume_windows(volume, header, modality), volume.inverted, volume)


def _photograph(name: str, content: bytes, digest: str) -> tuple[DisplaySet, Callable[[], Pixels]]:
    """A PNG or JPEG, which has to be decoded to be described."""
    image = read_photograph(content, digest)
    display = DisplaySet((FrameOrigin(name, digest, "", 1, 1),), image.rows, image.columns, image.modality)
    if image.pixels.ndim == 3:
        return display, partial(Pixels, np.rint(image.pixels * 255).astype(np.uint8)[None], (), False)
    values = np.rint(image.pixels * 65535).astype(np.uint16)
    if not (values % 257).any():
        values = (values // 257).astype(np.uint8)
    whole = Window("Whole range", 0.0, float(np.iinfo(values.dtype).max), exact=True)
    return display, partial(Pixels, values[None], (whole,), False)


def _narrow(values: np.ndarray) -> np.ndarray:
    """The same values in 16 bits where those hold them exactly, else as float32."""
    if values.dtype.kind in "iu":
        for kind in (np.uint16, np.int16):
            if values.min() >= np.iinfo(kind).min and values.max() <= np.iinfo(kind).max:
                return values.astype(kind)
    return values.astype(np.float32)
