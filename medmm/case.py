"""What is known of a patient before any tensor exists: Image, Volume, Study, Note, Record, Case.

All of them are frozen and checked when they are made: a value of these types that exists is valid.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from types import MappingProxyType

import numpy as np

from medmm.errors import DataError, Reason

MODALITIES = ("image", "note", "record")
"""The three sides of a case, in the order in which every table and every tensor names them."""

MAX_CASE_ID = 255
"""Letters of a case id, by which tables, files and rows of a database name the case."""

RecordValue = float | str
"""One value of a record: a number in the unit that the cohort states, or a category."""


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One film or photograph as a viewer would show it: windowed, upright in polarity.

    Nothing is resampled, but for a picture whose pixels are not square, and for one that was read at a part of its
    resolution since no more was asked for; its remarks say so.
    """

    pixels: np.ndarray = field(repr=False)
    """(rows, columns) or (rows, columns, 3) float32 in [0, 1]; 0 is black, and air is dark on a radiograph."""
    digest: str
    """SHA-256 of the file that it came from, hexadecimal: the identity under which features are cached."""
    series_uid: str = ""
    """Series Instance UID (0020,000E); empty for PNG and JPEG."""
    instance_uid: str = ""
    """SOP Instance UID (0008,0018); empty for PNG and JPEG."""
    sop_class: str = ""
    """SOP Class UID (0008,0016); empty for PNG and JPEG."""
    modality: str = "OT"
    """Modality (0008,0060): CR, DX, MG, XC, ...; OT for PNG and JPEG."""
    view: str = ""
    """View Position (0018,5101): PA, AP, LL, ...; empty where it is not stated."""
    spacing_mm: tuple[float, float] | None = None
    """Distance between rows and between columns of its grid; None where the file does not say."""
    remarks: tuple[str, ...] = ()
    """What the reader did to get here, in plain words: 'MONOCHROME1 inverted', 'VOI window 2048/4096'."""
    acquisition: Mapping[str, str] = field(default_factory=dict, repr=False)
    """How the picture was taken and stored, by DICOM keyword: device, technique, size. For the leak audit, never an
    input; names of places and serial numbers are in it as digests."""
    grid: tuple[int, int] = (0, 0)
    """Rows and columns of the whole picture, on which all that is found in it lies; as its pixels if not given."""

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)) or 0 in shape:
            raise ValueError(f"pixels must be (rows, columns) or (rows, columns, 3), not {shape}")
        if self.pixels.dtype != np.float32:
            raise ValueError(f"pixels must be float32, not {self.pixels.dtype}")
        if self.grid == (0, 0):
            object.__setattr__(self, "grid", (shape[0], shape[1]))
        self.pixels.setflags(write=False)
        object.__setattr__(self, "acquisition", MappingProxyType(dict(self.acquisition)))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt(self)

    @property
    def rows(self) -> int:
        """Height of the whole picture in pixels."""
        return self.grid[0]

    @property
    def columns(self) -> int:
        """Width of the whole picture in pixels."""
        return self.grid[1]


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A stack of slices in space, or the frames of a cine in time: one series, or one phase of it."""

    voxels: np.ndarray = field(repr=False)
    """(slices, rows, columns) int16 or float32 in the unit of the modality: Hounsfield units for CT, Gy for dose. A
    colour cine is (slices, rows, columns, 3) float32 in [0, 1]. Slices ascend along the normal, frames along time;
    nothing is resampled and nothing is windowed."""
    digest: str
    """SHA-256 over the digests of its files, in the order of the slices, hexadecimal."""
    affine: np.ndarray | None = field(default=None, repr=False)
    """(4, 4) float64: (column, row, slice, 1) to millimetres in the patient, x to the left, y to the back, z to the
    head (LPS, PS3.3 C.7.6.2.1.1); None for a cine and where the file does not say. The step from slice to slice is the
    mean one, or the median where steps differ; then `offsets_mm` is right."""
    offsets_mm: tuple[float, ...] = ()
    """Of each slice, its place along the normal, ascending, 0 for the first; empty without affine."""
    window: tuple[float, float] | None = None
    """Centre and width of the window that the file states, in the unit of the voxels."""
    inverted: bool = False
    """True if low values are to be shown white: MONOCHROME1 or Presentation LUT Shape INVERSE."""
    series_uid: str = ""
    """Series Instance UID (0020,000E)."""
    instance_uids: tuple[str, ...] = field(default=(), repr=False)
    """SOP Instance UID of the object that holds each slice; a multi-frame object holds several."""
    sop_class: str = ""
    """SOP Class UID (0008,0016)."""
    modality: str = "OT"
    """Modality (0008,0060): CT, MR, PT, US, ..."""
    remarks: tuple[str, ...] = ()
    """What the reader did and found: 'gap of 5 mm after slice 3 of 9 (2.5 mm elsewhere)'."""
    acquisition: Mapping[str, str] = field(default_factory=dict, repr=False)
    """As Image.acquisition."""

    def __post_init__(self) -> None:
        shape = self.voxels.shape
        if not (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)) or 0 in shape:
            raise ValueError(f"voxels must be (slices, rows, columns) or (slices, rows, columns, 3), not {shape}")
        if self.voxels.dtype not in (np.int16, np.float32):
            raise ValueError(f"voxels must be int16 or float32, not {self.voxels.dtype}")
        if (self.affine is None) != (not self.offsets_mm) or (self.offsets_mm and len(self.offsets_mm) != shape[0]):
            raise ValueError("a volume has an affine and the offset of every slice, or neither")
        self.voxels.setflags(write=False)
        if self.affine is not None:
            self.affine.setflags(write=False)
        object.__setattr__(self, "acquisition", MappingProxyType(dict(self.acquisition)))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt(self)

    @property
    def slices(self) -> int:
        """How many slices or frames there are."""
        return int(self.voxels.shape[0])


def _rebuilt(value: object) -> tuple[object, ...]:
    """How an Image or a Volume travels between processes: made anew over there, so that it is read-only there too."""
    parts = [getattr(value, part.name) for part in fields(value)]  # type: ignore[arg-type]
    return type(value), tuple(dict(part) if isinstance(part, MappingProxyType) else part for part in parts)


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """One imaging examination: at least one image or volume, sorted by series, and nothing of any other study."""

    images: tuple[Image, ...]
    uid: str = ""
    """Study Instance UID (0020,000D); empty for PNG and JPEG."""
    remarks: tuple[str, ...] = ()
    """What was left out and why: 'report object without pixels left out'."""
    volumes: tuple[Volume, ...] = ()
    time: datetime | None = None
    """Study Date and Study Time (0008,0020 and 0008,0030), naive, as the hospital's clock showed it; None where the
    study does not say. A date without a time is the end of that day."""
    patient_id: str = field(default="", repr=False)
    """Patient ID (0010,0020) as the files state it; empty where they do not. Compared, never shown."""
    header: str = field(default="", repr=False)
    """Who was examined and when, as DICOM JSON (PS3.18 F): what a report of this study repeats. Empty for PNG and
    JPEG."""
    digest: bytes = field(default=b"", repr=False)
    """Of the files as they were read, see Source.digest."""

    def __post_init__(self) -> None:
        if not self.images and not self.volumes:
            raise ValueError("a study has at least one image or volume")


@dataclass(frozen=True, slots=True)
class Note:
    """What was written about the patient before the study was read."""

    text: str = field(repr=False)
    remarks: tuple[str, ...] = ()
    """What was left out and why: 'sections left out, since they state the answer: IMPRESSION'."""

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("a note has text; a case without one has note=None")


@dataclass(frozen=True, slots=True)
class Record:
    """Typed values that were known before the study was read. A value that was not taken is not in it."""

    values: Mapping[str, RecordValue] = field(repr=False)
    times: Mapping[str, datetime] = field(default_factory=dict, repr=False)
    """When a value was taken, for those of which it is known; never later than the study."""
    remarks: tuple[str, ...] = ()
    """What was left out and why: 'crp left out: taken after the study'."""

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a record has at least one value; a case without one has record=None")
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))
        object.__setattr__(self, "times", MappingProxyType(dict(self.times)))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (dict(self.values), dict(self.times), self.remarks)  # a MappingProxyType does not travel


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One question to the model: what was seen, written and measured of one patient at one time."""

    case_id: str
    patient_id: str = field(repr=False)
    """Never shown, logged or sent; it is what keeps a patient's cases on one side of a split."""
    study: Study | None = None
    note: Note | None = None
    record: Record | None = None
    prior: Study | None = None
    """An earlier study of the same patient; nothing without a study of now."""
    remarks: tuple[str, ...] = ()
    """What was left out of the case as a whole: 'note left out: written after the study'."""

    def __post_init__(self) -> None:
        if not self.present:
            raise DataError(
                self.case_id,
                Reason.NOTHING_TO_READ,
                "has no image, no note and no record value",
                "Give its row at least one of the three",
            )

    @property
    def present(self) -> tuple[str, ...]:
        """The modalities that this case has, in the order of MODALITIES."""
        sides = {"image": self.study, "note": self.note, "record": self.record}
        return tuple(name for name in MODALITIES if sides[name] is not None)
