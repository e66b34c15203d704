"""DICOM files for the tests of reading: sound ones, broken ones, and words in them that no one may repeat."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from pydicom import config
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from medmm.errors import Reason

SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
)
COMPRESSED = (RLELossless, JPEGLSLossless, JPEG2000Lossless)
CANARIES = ("CANARYNAME", "CANARYID", "19010203", "CANARYACCESSION", "CANARYNOTE")
"""Name, id, birth date, accession number and note of every made-up patient; none may turn up in what medmm says."""
TOP = 4095


def ramp(rows: int = 48, columns: int = 40) -> np.ndarray:
    """(rows, columns) uint16, 12 bits, no two pixels alike near one another, so that a shift or a flip shows."""
    down, across = np.mgrid[:rows, :columns]
    return np.asarray((down * 149 + across * 37) % (TOP + 1), dtype="<u2")


def make_dicom(pixels: np.ndarray | None, **elements: Any) -> FileDataset:
    """A Computed Radiography object, explicit little endian; an element given as None is left out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPInstanceUID = UID(elements.get("SOPInstanceUID", generate_uid()))
    meta.MediaStorageSOPClassUID = UID(elements.get("SOPClassUID", ComputedRadiographyImageStorage))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    known = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "PatientName": "CANARYNAME^CANARYNAME",
        "PatientID": "CANARYID",
        "PatientBirthDate": "19010203",
        "AccessionNumber": "CANARYACCESSION",
        "Modality": "CR",
    }
    stored = {} if pixels is None else _stored(pixels)
    with config.disable_value_validation():  # some tests ask for nonsense
        for keyword, value in (known | stored | elements).items():
            if value is not None:
                setattr(dataset, keyword, value)
    return dataset


def _stored(pixels: np.ndarray) -> dict[str, Any]:
    """How the pixels are stored; 16 bits hold 12."""
    bits = {1: 8, 2: 12, 4: 32}[pixels.dtype.itemsize]
    colour = pixels.ndim == 3
    return {
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 8 * pixels.dtype.itemsize,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes(),
    } | ({"PlanarConfiguration": 0} if colour else {})


def save(dataset: FileDataset, path: Path, syntax: UID = ExplicitVRLittleEndian, frame: bytes | None = None) -> Path:
    """Write an object: compressed if the syntax asks for it, or with `frame` as it stands for its only frame."""
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OW"
    if frame is not None:
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
    elif syntax in COMPRESSED:
        dataset.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        dataset.set_original_encoding(False, False)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = io.BytesIO()
    with config.disable_value_validation():
        dataset.save_as(buffer, enforce_file_format=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return path


def write(path: Path, pixels: np.ndarray | None, syntax: UID = ExplicitVRLittleEndian, **elements: Any) -> Path:
    """Make an object and write it."""
    return save(make_dicom(pixels, **elements), path, syntax)


def compressed_frame(pixels: np.ndarray, syntax: UID) -> bytes:
    """One frame as a lossless encoder writes it."""
    dataset = make_dicom(pixels)
    dataset.compress(syntax)
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


def jpeg(pixels: np.ndarray, **options: Any) -> bytes:
    """A JPEG (baseline, 8 bits) as Pillow writes it."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "JPEG", quality=100, **options)
    return buffer.getvalue()


def write_report(path: Path, **elements: Any) -> Path:
    """A Basic Text SR: an object of the study that is no image."""
    return write(path, None, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR", **elements)


def write_bomb(path: Path, size: int) -> Path:
    """A deflated file of a few bytes that inflates to more than `size`, its group length saying 0."""
    content = bytearray(write(path, None, DeflatedExplicitVRLittleEndian).read_bytes())
    (length,) = struct.unpack_from("<L", content, 140)
    squeeze = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    tail = squeeze.compress(bytes(size + 1)) + squeeze.flush()
    path.write_bytes(content[:140] + bytes(4) + content[144 : 144 + length] + tail)
    return path


def _cut(path: Path, left: float, syntax: UID) -> Path:
    frame = compressed_frame(ramp(), syntax)
    return save(make_dicom(ramp()), path, syntax, frame[: int(len(frame) * left)])


def _raw(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _empty(path: Path) -> Path:
    path.mkdir()
    return path


def _shortened(path: Path, by: int) -> Path:
    return _raw(path, write(path, ramp()).read_bytes()[:-by])


BROKEN: dict[str, tuple[Reason, str, Callable[[Path], Path]]] = {
    "a folder that is not there": (Reason.MISSING_STUDY, "not there", lambda path: path),
    "an empty folder": (Reason.EMPTY_STUDY, "no image file", _empty),
    "text that calls itself DICOM": (Reason.NOT_DICOM, "neither DICOM", lambda p: _raw(p, b"CANARYNAME CANARYID")),
    "an empty file": (Reason.NOT_DICOM, "neither DICOM", lambda path: _raw(path, b"")),
    "a file without preamble": (
        Reason.NOT_DICOM,
        "neither DICOM",
        lambda path: _raw(path, write(path, ramp()).read_bytes()[132:]),
    ),
    "a report and nothing else": (Reason.NO_PIXELS, "no image", write_report),
    "an image object without pixels": (Reason.NO_PIXELS, "without pixel data", lambda path: write(path, None)),
    "a file cut within its first element": (
        Reason.CORRUPT,
        "may have been cut short",
        lambda path: _raw(path, write(path, ramp()).read_bytes()[:138]),
    ),
    "pixels cut short": (Reason.CORRUPT, "does not decode", lambda path: _shortened(path, 100)),
    "pixels cut off": (Reason.CORRUPT, "holds no pixels", lambda path: _shortened(path, ramp().nbytes + 12)),
    "JPEG 2000 cut short": (Reason.CORRUPT, "does not decode", lambda path: _cut(path, 0.7, JPEG2000Lossless)),
    "JPEG-LS cut short": (Reason.CORRUPT, "does not decode", lambda path: _cut(path, 0.7, JPEGLSLossless)),
    "RLE cut short": (Reason.CORRUPT, "does not decode", lambda path: _cut(path, 0.7, RLELossless)),
    "JPEG 2000 that is none": (
        Reason.CORRUPT,
        "does not decode",
        lambda path: save(make_dicom(ramp()), path, JPEG2000Lossless, b"CANARYNAME" * 9),
    ),
    "JPEG-LS that is none": (
        Reason.CORRUPT,
        "does not decode",
        lambda path: save(make_dicom(ramp()), path, JPEGLSLossless, b"\xff\xd8\xff\xf7"),
    ),
    "RLE that is none": (
        Reason.CORRUPT,
        "does not decode",
        lambda path: save(make_dicom(ramp()), path, RLELossless, b"CANARYNAME" * 9),
    ),
    "a window that is a name": (
        Reason.CORRUPT,
        "window, LUT or palette",
        lambda path: _raw(
            path,
            write(path, ramp(), WindowCenter="1234567890", WindowWidth="9")
            .read_bytes()
            .replace(b"1234567890", b"CANARYNAME"),
        ),
    ),
    "no rows": (Reason.CORRUPT, "declares 0 x 40 pixels", lambda path: write(path, ramp(), Rows=0)),
    "two samples a pixel": (Reason.CORRUPT, "2 samples", lambda path: write(path, ramp(), SamplesPerPixel=2)),
    "a huge declared size": (
        Reason.TOO_LARGE,
        "declares 65535 x 65535",
        lambda path: write(path, ramp(), Rows=65535, Columns=65535),
    ),
    "a slice of CT": (
        Reason.UNSUPPORTED,
        r"slice of a volume \(CT\)",
        lambda path: write(path, ramp(), Modality="CT", SOPClassUID=CTImageStorage),
    ),
    "a slice of MR that hides its modality": (
        Reason.UNSUPPORTED,
        "slice of a volume",
        lambda path: write(path, ramp(), Modality="CANARYNAME", SOPClassUID=MRImageStorage),
    ),
    "a screenshot of CT": (
        Reason.UNSUPPORTED,
        r"slice of a volume \(CT\)",
        lambda path: write(path, ramp(), Modality="CT", SOPClassUID=SecondaryCaptureImageStorage),
    ),
    "several frames": (Reason.UNSUPPORTED, "has 2 frames", lambda path: write(path, ramp(), NumberOfFrames=2)),
    "a photometric interpretation of no kind": (
        Reason.UNSUPPORTED,
        "of no known kind",
        lambda path: write(path, ramp(), PhotometricInterpretation="CANARYNAME"),
    ),
    "a retired photometric interpretation": (
        Reason.UNSUPPORTED,
        "photometric interpretation ARGB",
        lambda path: write(path, ramp(), PhotometricInterpretation="ARGB"),
    ),
    "a codec that is not installed": (
        Reason.UNSUPPORTED,
        "transfer syntax that is not read here: JPEG Lossless",
        lambda path: save(make_dicom(ramp()), path, JPEGLosslessSV1, b"\xff\xd8\xff\xd9"),
    ),
    "a transfer syntax that no one knows": (
        Reason.UNSUPPORTED,
        "transfer syntax that is not read here",
        lambda path: save(make_dicom(ramp()), path, UID("1.2.3.4.5.6"), b"\xff\xd8\xff\xd9"),
    ),
    "a JPEG of another size": (
        Reason.CORRUPT,
        "another size",
        lambda path: save(
            make_dicom(np.zeros((30, 20), np.uint8)), path, JPEGBaseline8Bit, jpeg(np.zeros((20, 30), np.uint8))
        ),
    ),
}
"""What is wrong -> its reason code, words of its message, and what writes such a study at a path."""
