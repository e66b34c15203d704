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
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    MPEG2MPML,
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    VLWholeSlideMicroscopyImageStorage,
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


AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def slices(count: int = 5, rows: int = 12, columns: int = 10) -> np.ndarray:
    """(count, rows, columns) uint16, 12 bits: slices that differ from one another and from their mirror images."""
    return np.stack([np.roll(ramp(rows, columns), 3 * place, axis=1) + np.uint16(place) for place in range(count)])


def make_slice(pixels: np.ndarray, position: Any, orientation: Any = AXIAL, **elements: Any) -> FileDataset:
    """A CT Image object that lies somewhere; an element given as None is left out."""
    known: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "Modality": "CT",
        "ImagePositionPatient": None if position is None else [float(number) for number in position],
        "ImageOrientationPatient": [float(number) for number in orientation],
        "PixelSpacing": [0.8, 0.8],
        "FrameOfReferenceUID": "1.2.3.9",
    }
    return make_dicom(pixels, **(known | elements))


def write_stack(
    folder: Path,
    voxels: np.ndarray,
    positions: Any = None,
    *,
    names: Any = None,
    each: Callable[[int], dict[str, Any]] = lambda place: {},
    series: str = "1.2.3.4",
    **elements: Any,
) -> Path:
    """A series of single slices.

    Args:
        folder: where to write them.
        voxels: (slices, rows, columns) stored values.
        positions: of each slice; axial and 2.5 mm apart by default.
        names: of the files, in the order of the slices.
        each: what only the slice at a place of `voxels` has.
        series: its Series Instance UID; the instances' begin with it.
        elements: what all slices have.
    """
    for place, pixels in enumerate(voxels):
        position = (-10, 20, 2.5 * place) if positions is None else positions[place]
        own = {"SeriesInstanceUID": series, "SOPInstanceUID": f"{series}.{place + 1}", "InstanceNumber": place + 1}
        name = f"{place:03}.dcm" if names is None else names[place]
        save(make_slice(pixels, position, **(own | elements | each(place))), folder / name)
    return folder


def make_enhanced(voxels: np.ndarray, positions: Any, orientation: Any = AXIAL, **elements: Any) -> FileDataset:
    """An Enhanced CT object: what its frames share, and where each lies, in functional groups."""
    shared, frames = Dataset(), []
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=[float(number) for number in orientation])]
    shared.PixelMeasuresSequence = [_item(PixelSpacing=[0.8, 0.8], SliceThickness=2.5)]
    shared.PixelValueTransformationSequence = [_item(RescaleSlope=1, RescaleIntercept=-1024)]
    shared.FrameVOILUTSequence = [_item(WindowCenter=40, WindowWidth=400)]
    for place, position in enumerate(positions):
        frame = Dataset()
        frame.PlanePositionSequence = [_item(ImagePositionPatient=[float(number) for number in position])]
        frame.FrameContentSequence = [_item(TemporalPositionIndex=1, StackID="1", InStackPositionNumber=place + 1)]
        frames.append(frame)
    known: dict[str, Any] = {
        "SOPClassUID": EnhancedCTImageStorage,
        "Modality": "CT",
        "FrameOfReferenceUID": "1.2.3.9",
        "NumberOfFrames": len(voxels),
        "Rows": voxels.shape[1],
        "Columns": voxels.shape[2],
        "PixelData": voxels.tobytes(),
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": frames,
    }
    return make_dicom(voxels[0], **(known | elements))


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


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


def compressed_frame(pixels: np.ndarray, syntax: UID, **elements: Any) -> bytes:
    """One frame as a lossless encoder writes it."""
    dataset = make_dicom(pixels, **elements)
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


def write_nested(path: Path, depth: int = 5000) -> Path:
    """A file with sequences of undefined length, one within the other."""
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    start = struct.pack("<2H2s2xL", 0x0040, 0xA730, b"SQ", 0xFFFFFFFF)
    ends = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return _raw(path, write(path, None).read_bytes() + (start + item) * depth + ends * depth)


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
    "a report and nothing else": (Reason.NO_PIXELS, "no image", write_report),
    "an image object without pixels": (Reason.NO_PIXELS, "without pixel data", lambda path: write(path, None)),
    "a file cut within its first element": (
        Reason.CORRUPT,
        "may have been cut short",
        lambda path: _raw(path, write(path, ramp()).read_bytes()[:138]),
    ),
    "pixels cut short": (Reason.CORRUPT, "may have been cut short", lambda path: _shortened(path, 100)),
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
    "a frame that is not there": (
        Reason.CORRUPT,
        "holds 3840 bytes of pixels, and declares at least 7680",
        lambda path: write(path, ramp(), NumberOfFrames=2),
    ),
    "more frames than can be": (
        Reason.TOO_LARGE,
        "in 2147483647 frames",
        lambda path: write(path, ramp(), NumberOfFrames=2**31 - 1),
    ),
    "a whole slide": (
        Reason.UNSUPPORTED,
        "is a whole slide",
        lambda path: write(path, ramp(), SOPClassUID=VLWholeSlideMicroscopyImageStorage),
    ),
    "sequences in sequences": (Reason.CORRUPT, "nests its sequences", write_nested),
    "a beginning without preamble and nothing more": (
        Reason.NOT_DICOM,
        "does not say what it holds",
        lambda path: _raw(path, b"\x08\x00\x05\x00CS\x0a\x00CANARYNAME"),
    ),
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
    "a film in the ordinary sense": (
        Reason.UNSUPPORTED,
        "transfer syntax that is not read here: MPEG2",
        lambda path: save(make_dicom(ramp()), path, MPEG2MPML, b"\0\0\1\xb3"),
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
