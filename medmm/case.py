"""What is known of a patient before any tensor exists: Image, Study, Note, Record, Case.

All of them are frozen and checked when they are made: a value of these types that exists is valid.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType

import numpy as np

from medmm.errors import DataError, Reason

MODALITIES = ("image", "note", "record")
"""The three sides of a case, in the order in which every table and every tensor names them."""

RecordValue = float | str
"""One value of a record: a number in the unit that the cohort states, or a category."""


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One film or photograph as a viewer would show it: windowed, upright in polarity, nothing resampled."""

    pixels: np.ndarray = field(repr=False)
    """(rows, columns) or (rows, columns, 3) float32 in [0, 1]; 0 is black, and air is dark on a radiograph."""
    digest: str
    """SHA-256 of the file that it came from, hexadecimal: the identity under which features are cached."""
    series_uid: str = ""
    """Series Instance UID (0020,000E); empty for PNG and JPEG."""
    instance_uid: str = ""
    """SOP Instance UID (0008,0018); empty for PNG and JPEG."""
    modality: str = "OT"
    """Modality (0008,0060): CR, DX, MG, XC, ...; OT for PNG and JPEG."""
    view: str = ""
    """View Position (0018,5101): PA, AP, LL, ...; empty where it is not stated."""
    spacing_mm: tuple[float, float] | None = None
    """Distance between rows and between columns; None where the file does not say."""
    remarks: tuple[str, ...] = ()
    """What the reader did to get here, in plain words: 'MONOCHROME1 inverted', 'VOI window 2048/4096'."""

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)) or 0 in shape:
            raise ValueError(f"pixels must be (rows, columns) or (rows, columns, 3), not {shape}")
        if self.pixels.dtype != np.float32:
            raise ValueError(f"pixels must be float32, not {self.pixels.dtype}")
        self.pixels.setflags(write=False)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), tuple(getattr(self, part.name) for part in fields(self))  # read-only over there too

    @property
    def rows(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def columns(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """One imaging examination: at least one image, sorted by series and instance, and nothing of any other study."""

    images: tuple[Image, ...]
    uid: str = ""
    """Study Instance UID (0020,000D); empty for PNG and JPEG."""
    remarks: tuple[str, ...] = ()
    """What was left out and why: 'report object without pixels left out'."""

    def __post_init__(self) -> None:
        if not self.images:
            raise ValueError("a study has at least one image")


@dataclass(frozen=True, slots=True)
class Note:
    """What was written about the patient before the study was read."""

    text: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("a note has text; a case without one has note=None")


@dataclass(frozen=True, slots=True)
class Record:
    """Typed values that were known before the study was read. A value that was not taken is not in it."""

    values: Mapping[str, RecordValue] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a record has at least one value; a case without one has record=None")
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (dict(self.values),)  # a MappingProxyType does not travel


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One question to the model: what was seen, written and measured of one patient at one time."""

    case_id: str
    patient_id: str = field(repr=False)
    """Never shown, logged or sent; it is what keeps a patient's cases on one side of a split."""
    study: Study | None = None
    note: Note | None = None
    record: Record | None = None

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
