"""A case boiled down in the child that read it: enough to check and to audit it, and none of its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from medmm.case import RecordValue


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One image or volume of a case, boiled down."""

    modality: str
    pixels: str
    """SHA-256 over shape and shown pixels: two files with one picture have the same."""
    hashes: tuple[int, ...]
    """Perceptual hash, 64 bits: nearly the same for nearly the same picture, see imagehash.phash. Of a volume, that of
    its middle slice."""
    thumbnail: np.ndarray = field(repr=False)
    """(rows, columns) or (rows, columns, 3) uint8, the longer side 96 pixels; of a volume, its middle slice."""
    acquisition: Mapping[str, str] = field(repr=False)
    """See Image.acquisition; what the picture's size and shape are is in it."""
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Surveyed:
    """One case that could be read."""

    case_id: str
    patient_id: str = field(repr=False)
    study_patient_id: str = field(repr=False)
    """Patient ID as the files state it; empty where they do not."""
    study_uid: str = field(repr=False)
    present: tuple[str, ...]
    """Modalities that the case has."""
    looks: tuple[Look, ...]
    note: str = field(repr=False)
    """Text that the model would read; empty without a note."""
    record: Mapping[str, RecordValue] = field(repr=False)
    cells: Mapping[str, str] = field(repr=False)
    """Every column of the table but ids, study, prior, note and labels -> text, whether it is an input or not."""
    targets: Mapping[str, float]
    """Label -> 1, 0, or NaN where it is not stated."""
    remarks: tuple[str, ...]
    """Of the case, its study, its note and its record."""
