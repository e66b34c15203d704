"""Films as DICOM files: Digital X-Ray for the stand, Computed Radiography for the bed, every one lossless.

The same film and the same names give the same bytes: no clock and no chance are asked.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from sample_data.film import TOP, Film

TRANSFER_SYNTAXES: tuple[str, ...] = (
    str(ExplicitVRLittleEndian),
    str(ImplicitVRLittleEndian),
    str(DeflatedExplicitVRLittleEndian),
    str(RLELossless),
    str(JPEGLSLossless),
    str(JPEG2000Lossless),
)
"""UIDs of the six transfer syntaxes in which films are written, in rotation. All are lossless."""

_COMPRESSED = (str(RLELossless), str(JPEGLSLossless), str(JPEG2000Lossless))


@dataclass(frozen=True, slots=True)
class Identity:
    """Who and which: everything about a file that is not its pixels. All of it is made up."""

    key: str = "film"
    """Every UID is derived from this word and the parts below."""
    patient_id: str = "SAMPLE-00001"
    """(0010,0020)."""
    patient_name: str = "SAMPLE^00001"
    """(0010,0010)."""
    sex: str = "O"
    """(0010,0040): F, M or O."""
    age: int = 0
    """(0010,1010), years; 0 leaves it empty."""
    study: int = 1
    """Number of the study among the patient's."""
    date: str = "20200101"
    """(0008,0020), YYYYMMDD."""
    number: int = 1
    """Instance Number (0020,0013); each film is a series of its own."""

    def uid(self, kind: str) -> str:
        """A UID that depends on nothing but this identity and the kind: study, series or instance."""
        parts = [self.key, self.patient_id, str(self.study)]
        if kind != "study":
            parts += [str(self.number), kind]
        return str(generate_uid(entropy_srcs=["medmm sample", *parts]))


def write_film(
    path: Path, film: Film, *, monochrome1: bool, transfer_syntax: str, identity: Identity | None = None
) -> None:
    """Write one film as a DICOM file (PS3.10).

    Args:
        path: the file; its folder exists.
        film: the film; a MONOCHROME1 file stores its complement, and so looks the same.
        monochrome1: whether the file is MONOCHROME1 rather than MONOCHROME2.
        transfer_syntax: a UID of TRANSFER_SYNTAXES.
        identity: whose film; None for a made-up one.

    Raises:
        ValueError: if the transfer syntax is not one of the six.
    """
    if transfer_syntax not in TRANSFER_SYNTAXES:
        raise ValueError(f"transfer syntax {transfer_syntax} is not one of {', '.join(TRANSFER_SYNTAXES)}")
    identity = identity or Identity(key=path.name)
    dataset = _header(film, identity)
    pixels, centre = film.pixels, film.window[0]
    if monochrome1:
        pixels, centre = TOP - pixels, TOP + 1 - centre
    dataset.PhotometricInterpretation = "MONOCHROME1" if monochrome1 else "MONOCHROME2"
    dataset.PresentationLUTShape = "INVERSE" if monochrome1 else "IDENTITY"
    dataset.WindowCenter, dataset.WindowWidth = f"{centre:.1f}", f"{film.window[1]:.1f}"
    dataset.PixelData = np.ascontiguousarray(pixels, dtype="<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    if transfer_syntax in _COMPRESSED:
        dataset.compress(transfer_syntax, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())


def _header(film: Film, identity: Identity) -> FileDataset:
    """Everything but the pixels and what follows from the photometric interpretation."""
    bed = film.view == "AP"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage if bed else DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = UID(identity.uid("instance"))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID("1.2.826.0.1.3680043.8.498.1")
    meta.ImplementationVersionName = "MEDMM_SAMPLE"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for keyword, value in (*_whose(identity), *_how(film), *_stored(film)):
        setattr(dataset, keyword, value)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Modality = "CR" if bed else "DX"
    if not bed:
        for keyword, value in _digital(film):
            setattr(dataset, keyword, value)
    return dataset


def _whose(identity: Identity) -> Iterator[tuple[str, object]]:
    """Patient, study and series."""
    yield from (
        ("SpecificCharacterSet", "ISO_IR 192"),
        ("PatientName", identity.patient_name),
        ("PatientID", identity.patient_id),
        ("PatientBirthDate", ""),
        ("PatientSex", identity.sex),
        ("PatientAge", f"{identity.age:03d}Y" if identity.age else ""),
        ("StudyInstanceUID", identity.uid("study")),
        ("SeriesInstanceUID", identity.uid("series")),
        ("StudyID", str(identity.study)),
        ("StudyDate", identity.date),
        ("StudyTime", "120000"),
        ("SeriesDate", identity.date),
        ("ContentDate", identity.date),
        ("ContentTime", "120000"),
        ("AcquisitionDate", identity.date),
        ("AcquisitionTime", "120000"),
        ("AccessionNumber", ""),
        ("ReferringPhysicianName", ""),
        ("StudyDescription", "Chest radiograph (synthetic)"),
        ("SeriesNumber", identity.number),
        ("InstanceNumber", identity.number),
        ("Manufacturer", "medmm sample data"),
        ("ManufacturerModelName", "synthetic chest"),
        ("SoftwareVersions", "1"),
        ("DeviceSerialNumber", "0"),
    )


def _how(film: Film) -> Iterator[tuple[str, object]]:
    """Body part, view and geometry."""
    spacing = [f"{film.spacing_mm:.5f}"] * 2
    orientation = {"PA": ["L", "F"], "AP": ["L", "F"], "LL": ["A", "F"]}[film.view]
    yield from (
        ("BodyPartExamined", "CHEST"),
        ("ViewPosition", film.view),
        ("PatientOrientation", orientation),
        ("ImageType", ["ORIGINAL", "PRIMARY", ""]),
        ("ImagerPixelSpacing", spacing),
        ("PixelSpacing", spacing),
        ("ImageLaterality", "U"),
        ("BurnedInAnnotation", "NO"),
        ("LossyImageCompression", "00"),
    )


def _stored(film: Film) -> Iterator[tuple[str, object]]:
    """How the pixels are stored."""
    rows, columns = film.pixels.shape
    yield from (
        ("SamplesPerPixel", 1),
        ("Rows", rows),
        ("Columns", columns),
        ("BitsAllocated", 16),
        ("BitsStored", 12),
        ("HighBit", 11),
        ("PixelRepresentation", 0),
        ("RescaleIntercept", "0"),
        ("RescaleSlope", "1"),
        ("RescaleType", "US"),
    )


def _digital(film: Film) -> Iterator[tuple[str, object]]:
    """What Digital X-Ray (PS3.3 A.26) asks for beyond Computed Radiography."""
    yield "PresentationIntentType", "FOR PRESENTATION"
    yield "PixelIntensityRelationship", "LOG"
    yield "PixelIntensityRelationshipSign", -1
    yield "DetectorType", "DIRECT"
    yield "PositionerType", "NONE"
    yield "AcquisitionContextSequence", Sequence([])
    region = _code("51185008", "SCT", "Chest")
    yield "AnatomicRegionSequence", Sequence([region])
    codes = {"PA": ("399148003", "postero-anterior"), "LL": ("399173006", "left lateral")}
    view = _code(codes[film.view][0], "SCT", codes[film.view][1])
    yield "ViewCodeSequence", Sequence([view])


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    """One item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
