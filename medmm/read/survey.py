"""A case boiled down in the child that read it: enough to check and to audit it, and none of its pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import PIL.Image

from medmm.case import Case, Image, RecordValue, Study, Volume
from medmm.errors import DataError
from medmm.read.cohort import CaseRow, Cohort, read_case
from medmm.read.pool import in_children
from medmm.read.remark import concern
from medmm.slices import nearest_slice, slice_images

THUMBNAIL = 96
"""Longer side of a thumbnail, in pixels."""


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
    """Every column of the table but ids, study, note and labels -> text, whether it is an input or not. An input is as
    the model would see it, from whatever source: empty if it was left out; of a prior study, 'given' or nothing."""
    targets: Mapping[str, float]
    """Label -> 1, 0, or NaN where it is not stated."""
    remarks: tuple[str, ...]
    """Of the case, its study, its note and its record."""


def survey(
    cohort: Cohort, workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[CaseRow, Surveyed | DataError]]:
    """Read every case of a cohort side by side and boil it down; in the order of the rows.

    Args:
        cohort: what to read.
        workers: processes that decode; one a core if None.
        progress: told after each case how many are done, and how many there are.
    """
    jobs = ((row.case_id, (cohort.without_rows(), row)) for row in cohort.rows)
    answers = in_children(survey_case, jobs, workers)
    for number, (row, (_, answer)) in enumerate(zip(cohort.rows, answers, strict=True), start=1):
        yield row, answer
        if progress is not None:
            progress(number, len(cohort.rows))


def survey_case(cohort: Cohort, row: CaseRow) -> Surveyed:
    """Read one case and keep what is small. Runs in a child, so that no pixels travel.

    Raises:
        DataError: as `read_case` does.
    """
    case = read_case(cohort, row)
    study = case.study
    return Surveyed(
        case_id=case.case_id,
        patient_id=case.patient_id,
        study_patient_id=study.patient_id if study else "",
        study_uid=study.uid if study else "",
        present=case.present,
        looks=tuple(_look(picture) for picture in _pictures(study)),
        note=case.note.text if case.note else "",
        record=dict(case.record.values) if case.record else {},
        cells=_cells(cohort, row, dict(case.record.values) if case.record else {}),
        targets=dict(row.targets),
        remarks=_remarks(case),
    )


def of_table(cohort: Cohort, row: CaseRow) -> Surveyed:
    """A case of which there is nothing but its row: what it lacks may still tell the answer."""
    return Surveyed(
        case_id=row.case_id,
        patient_id=row.patient_id,
        study_patient_id="",
        study_uid="",
        present=(),
        looks=(),
        note="",
        record={},
        cells=_cells(cohort, row, {}),
        targets=dict(row.targets),
        remarks=(),
    )


def _cells(cohort: Cohort, row: CaseRow, record: Mapping[str, RecordValue]) -> dict[str, str]:
    """The columns of the table, the inputs among them as the model would see them."""
    inputs = {name: str(record.get(name, "")) for name in cohort.config.record}
    prior = {cohort.config.prior: "given" if row.prior else ""} if cohort.config.prior else {}
    return {**row.cells, **row.other, **prior, **inputs}


def _pictures(study: Study | None) -> tuple[Image | Volume, ...]:
    """Return the images of a study, then its volumes."""
    return (*study.images, *study.volumes) if study else ()


def _remarks(case: Case) -> tuple[str, ...]:
    """Return what was said of the case and its parts, and of the prior study, whose pictures are not looked at."""
    said = [*case.remarks]
    said += case.study.remarks if case.study else ()
    said += case.note.remarks if case.note else ()
    said += case.record.remarks if case.record else ()
    said += case.prior.remarks if case.prior else ()
    said += (remark for picture in _pictures(case.prior) for remark in picture.remarks)
    return tuple(dict.fromkeys(said))


def _look(picture: Image | Volume) -> Look:
    """Boil down one image or volume."""
    import imagehash

    shown, remarks = _shown(picture), picture.remarks
    eight_bits = np.rint(shown.pixels * np.float32(255)).astype(np.uint8)
    whole = picture.voxels if isinstance(picture, Volume) else eight_bits
    if whole.min() == whole.max():
        remarks += (concern("every pixel that is shown has the same value"),)
    digest = hashlib.sha256(repr(whole.shape).encode())
    digest.update(np.ascontiguousarray(whole).data)
    small = PIL.Image.fromarray(eight_bits)
    perceived = imagehash.phash(small)
    small.thumbnail((THUMBNAIL, THUMBNAIL), PIL.Image.Resampling.BOX)
    return Look(
        modality=picture.modality,
        pixels=digest.hexdigest(),
        hashes=(int(str(perceived), 16),),
        thumbnail=np.asarray(small),
        acquisition=_size(picture, shown) | dict(picture.acquisition),
        remarks=remarks,
    )


def _shown(picture: Image | Volume) -> Image:
    """Return what a viewer would show first: of a volume, its middle slice."""
    if isinstance(picture, Image):
        return picture
    (middle,) = slice_images(picture, [nearest_slice(picture, 0.5)])
    return middle


def _size(picture: Image | Volume, shown: Image) -> dict[str, str]:
    """Return size and shape of a picture by DICOM keyword, as it is shown."""
    samples = 3 if shown.pixels.ndim == 3 else 1
    size = {"Rows": shown.rows, "Columns": shown.columns, "SamplesPerPixel": samples}
    if isinstance(picture, Volume):
        size["NumberOfSlices"] = picture.slices
    return {keyword: str(number) for keyword, number in size.items()}
