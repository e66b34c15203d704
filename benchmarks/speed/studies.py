"""Studies to measure with: films of the sample cohort made as large, and stored as archives store them."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import pydicom
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate

from sample_data.cohort import write_cohort

_NOISE = 8.0
"""Standard deviation of a detector's noise in stored values of 12 bits: films that were only scaled would pack well."""
_TOP = 4095
_LOSSY = 55
"""Peak signal to noise of lossy JPEG 2000 in dB."""
FILM = "film.dcm"
"""Name of the only file of a study."""
_SPARE = 1.5
"""Patients of the sample cohort for each study: some have no film."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How the films of a cohort are stored: 12 of 16 bits, MONOCHROME as they were."""

    name: str
    rows: int
    columns: int
    syntax: uid.UID


KINDS = (
    Kind("raw 1024", 1024, 1024, uid.ExplicitVRLittleEndian),
    Kind("RLE 1024", 1024, 1024, uid.RLELossless),
    Kind("JPEG 2000 2048 x 2496", 2048, 2496, uid.JPEG2000Lossless),
)
"""Cohorts that are scored."""
STORED = (
    uid.ExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLSLossless,
    uid.JPEGLosslessSV1,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
)
"""Transfer syntaxes of which one film is decoded again and again."""


def make_cohorts(folder: Path, studies: int, seed: int) -> dict[Kind, Path]:
    """Write one cohort of each of KINDS, the same cases in all: a frontal film, a note and a record each."""
    base = folder / "sample"
    write_cohort(base, patients=round(_SPARE * studies) + 4, seed=seed)
    with (base / "cases.csv").open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    at = header.index("study")
    lines = [line for line in lines if line[at]][:studies]
    made = {}
    for number, kind in enumerate(KINDS):
        made[kind] = folder / f"kind{number}"
        made[kind].mkdir()
        shutil.copy(base / "cohort.toml", made[kind])
        with (made[kind] / "cases.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *lines])
        for place, line in enumerate(lines):
            study = line[at]
            (made[kind] / study).mkdir(parents=True)
            film = pydicom.dcmread(next(iter(sorted((base / study).glob("[pa]*.dcm")))))
            stored = enlarged(film, kind.rows, kind.columns, seed + place)
            write_stored(made[kind] / study / FILM, film, stored, kind.syntax)
    return made


def write_films(folder: Path, sample: Path, seed: int) -> Iterator[tuple[str, str, Path]]:
    """Write one film in each size and each of STORED; yield the size, the syntax and the file."""
    folder.mkdir()
    film = pydicom.dcmread(next(iter(sorted(sample.glob("studies/*/[pa]*.dcm")))))
    for rows, columns in sorted({(kind.rows, kind.columns) for kind in KINDS}):
        stored = enlarged(film, rows, columns, seed)
        for syntax in STORED:
            path = folder / f"{rows}-{syntax.keyword}.dcm"
            write_stored(path, film, stored, syntax)
            yield f"{rows} x {columns}", syntax.keyword, path


def write_small(folder: Path, studies: int, seed: int) -> None:
    """Write a flat folder of raw films of about 150 pixels a side, a study each."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for number in range(studies):
        side = int(rng.integers(100, 200))
        film = Dataset()
        film.file_meta = pydicom.dataset.FileMetaDataset()
        film.SOPClassUID = uid.ComputedRadiographyImageStorage
        film.SOPInstanceUID = f"1.2.826.{number}.1.1"
        film.SeriesInstanceUID = f"1.2.826.{number}.1"
        film.StudyInstanceUID = f"1.2.826.{number}"
        film.PatientID, film.Modality = f"{number}", "CR"
        film.PhotometricInterpretation, film.SamplesPerPixel = "MONOCHROME2", 1
        film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 16, 12, 11, 0
        pixels = rng.integers(0, _TOP + 1, (side, side), dtype=np.uint16)
        write_stored(folder / f"IM{number:06d}", film, pixels, uid.ExplicitVRLittleEndian)


def enlarged(film: Dataset, rows: int, columns: int, seed: int) -> np.ndarray:
    """The pixels of a film in another size, with noise: (rows, columns) uint16 of 12 bits."""
    smooth = PIL.Image.fromarray(film.pixel_array.astype(np.float32))
    larger = np.asarray(smooth.resize((columns, rows), PIL.Image.Resampling.BICUBIC))
    noise = np.random.default_rng(seed).normal(0, _NOISE, larger.shape)
    return np.clip(np.rint(larger + noise), 0, _TOP).astype(np.uint16)


def write_stored(path: Path, film: Dataset, pixels: np.ndarray, syntax: uid.UID) -> None:
    """Write a film with these pixels instead of its own."""
    film.Rows, film.Columns = pixels.shape
    film.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    film.PixelData = pixels.astype("<u2").tobytes()
    film["PixelData"].VR = "OW"
    film["PixelData"].is_undefined_length = False
    if syntax == uid.RLELossless:
        film.compress(syntax, generate_instance_uid=False)
    elif syntax != uid.ExplicitVRLittleEndian:
        film.PixelData = encapsulate([_encoded(pixels, syntax)])
        film["PixelData"].VR = "OB"
        film["PixelData"].is_undefined_length = True
        film.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    film.save_as(buffer, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())


def _encoded(pixels: np.ndarray, syntax: uid.UID) -> bytes:
    """One frame of 12 bits as an encoder writes it."""
    if syntax == uid.JPEGLSLossless:
        return bytes(imagecodecs.jpegls_encode(pixels))
    if syntax == uid.JPEGLosslessSV1:
        return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=12))
    lossy = syntax == uid.JPEG2000
    return bytes(
        imagecodecs.jpeg2k_encode(
            pixels, codecformat="j2k", bitspersample=12, reversible=not lossy, level=_LOSSY if lossy else None
        )
    )
