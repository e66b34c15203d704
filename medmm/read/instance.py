"""One DICOM object to one Image: what it is, whether its header is sound, how its pixels decode."""

import re
import zlib
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
import pydicom
from pydicom import Dataset, uid
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder

from medmm.case import Image
from medmm.errors import Reason
from medmm.read.codestream import coded_size
from medmm.read.display import show_colour, show_grey
from medmm.read.guard import MAX_BYTES, MAX_PIXELS, RefusedError, guarded

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
RETIRED = ("HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420")
"""Photometric interpretations that are named when they are refused; any other word may be anything."""
VOLUMES = ("CT", "MR", "PT")
CODECS = {
    uid.RLELossless: "pydicom",
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "pillow",
    uid.JPEGLossless: "pylibjpeg",
    uid.JPEGLosslessSV1: "pylibjpeg",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
}
"""pydicom's plugin for each compressed syntax. Never gdcm, even if installed: it ends the process on a corrupt JPEG."""
NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
_EXPORT = "Export the study again from the archive"


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One parsed DICOM object, its pixels still encoded, and what says where it belongs."""

    dataset: Dataset = field(repr=False)
    study_uid: str
    patient_id: str = field(repr=False)
    place: tuple[float, str, float, str]
    """Series Number (0020,0011), series, Instance Number (0020,0013), SOP Instance UID: sorts as a reader would."""
    no_image: str
    """Why the object is no image, in words for a remark; empty if it is one."""


def open_instance(content: bytes) -> Instance:
    """Parse a DICOM file (PS3.10, with preamble).

    Raises:
        RefusedError: CORRUPT if it does not parse, TOO_LARGE if it inflates beyond MAX_BYTES.
    """
    with guarded("does not parse as DICOM", _EXPORT):
        _check_deflated(content)
        dataset = pydicom.dcmread(BytesIO(content))
        series, instance = str(dataset.get("SeriesInstanceUID", "")), str(dataset.get("SOPInstanceUID", ""))
        return Instance(
            dataset=dataset,
            study_uid=str(dataset.get("StudyInstanceUID", "")),
            patient_id=str(dataset.get("PatientID", "")).strip(),
            place=(_number(dataset, "SeriesNumber"), series, _number(dataset, "InstanceNumber"), instance),
            no_image=_why_no_image(dataset),
        )


def _check_deflated(content: bytes) -> None:
    """Refuse a deflated file that inflates to more than MAX_BYTES; pydicom would inflate all of it at once.

    The group's own length (0002,0000) may be wrong or missing: like pydicom, read on to the first other group.
    """
    file = BytesIO(content)
    file.seek(132)
    meta = read_dataset(
        file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, vr, length: tag >> 16 != 2
    )
    if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        return
    inflate, size, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, content[file.tell() :]
    while rest and not inflate.eof:
        size += len(inflate.decompress(rest, 2**24))
        rest = inflate.unconsumed_tail
        if size > MAX_BYTES:
            raise RefusedError(Reason.TOO_LARGE, f"inflates to more than {MAX_BYTES >> 20} MiB", "Reduce it")


def _why_no_image(dataset: Dataset) -> str:
    """Say why the object is no image; empty if it is one, or should be one.

    An object of an image class whose pixels are gone is NOT left out: the file may have been cut short.
    """
    kind = _sop_class(dataset)
    if kind.is_private or kind.name == str(kind):
        return "" if "PixelData" in dataset or "Rows" in dataset or not kind else "object of a private class"
    return "" if "Image Storage" in kind.name else kind.name.removesuffix(" Storage")


def read_image(instance: Instance, digest: str) -> Image:
    """Decode the pixels of an image object and show them as a viewer would.

    Args:
        instance: from open_instance, with `no_image` empty.
        digest: SHA-256 of the file.

    Raises:
        RefusedError: UNSUPPORTED, TOO_LARGE, NO_PIXELS or CORRUPT.
    """
    dataset = instance.dataset
    with guarded("has a header that does not make sense", _EXPORT):
        _check_class(dataset)
        _check_shape(dataset)
    with guarded("does not decode", _EXPORT):
        array, bits = _decode(dataset)
    with guarded("has a window, LUT or palette that cannot be applied", _EXPORT):
        grey = dataset.PhotometricInterpretation in GREY
        pixels, remarks = show_grey(dataset, array) if grey else show_colour(dataset, array, bits)
        spacing, spacing_remarks = _spacing(dataset)
        return Image(
            pixels=np.ascontiguousarray(pixels),
            digest=digest,
            series_uid=str(dataset.get("SeriesInstanceUID", "")),
            instance_uid=str(dataset.get("SOPInstanceUID", "")),
            modality=_code(dataset, "Modality") or "OT",
            view=_code(dataset, "ViewPosition"),
            spacing_mm=spacing,
            remarks=remarks + spacing_remarks + _intent_remarks(dataset),
        )


def _sop_class(dataset: Dataset) -> uid.UID:
    """Return SOP Class UID (0008,0016), or what the file's own header says of it (0002,0002)."""
    stated = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or ""
    return uid.UID(str(stated))


def _check_class(dataset: Dataset) -> None:
    """Refuse volumes, several frames, and objects without pixels."""
    name = _sop_class(dataset).name
    modality = _code(dataset, "Modality")
    volume = ("CT Image", "MR Image", "Positron Emission Tomography", "PET Image")
    if modality in VOLUMES or any(word in name for word in volume):
        problem = f"is a slice of a volume ({modality if modality in VOLUMES else 'CT, MR or PT'})"
        raise RefusedError(Reason.UNSUPPORTED, problem, "medmm reads films and photographs; volumes come later")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        problem = f"has {frames} frames"
        raise RefusedError(
            Reason.UNSUPPORTED, problem, "medmm reads single films; give the frame that matters as its own"
        )
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise RefusedError(Reason.UNSUPPORTED, "has floating-point pixels", "Export it with integer pixels")
    if "PixelData" not in dataset and "Rows" not in dataset:
        if not name:
            raise RefusedError(Reason.CORRUPT, "does not say what it holds: it may have been cut short", _EXPORT)
        raise RefusedError(Reason.NO_PIXELS, "is an image object without pixel data", _EXPORT)
    if "PixelData" not in dataset or not dataset.PixelData:
        raise RefusedError(Reason.CORRUPT, "declares an image and holds no pixels: it may have been cut short", _EXPORT)


def _check_shape(dataset: Dataset) -> None:
    """Refuse a header that cannot be right or that declares too much, before anything is allocated."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if rows < 1 or columns < 1:
        raise RefusedError(Reason.CORRUPT, f"declares {rows} x {columns} pixels", _EXPORT)
    if rows * columns * samples > MAX_PIXELS:
        problem = f"declares {rows} x {columns} x {samples} values, more than {MAX_PIXELS}"
        raise RefusedError(Reason.TOO_LARGE, problem, "Reduce it, or check its header")
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if photometric not in GREY + COLOUR:
        known = photometric if photometric in RETIRED else "of no known kind"
        problem = f"has the photometric interpretation {known}"
        raise RefusedError(Reason.UNSUPPORTED, problem, f"Export it as one of {', '.join(GREY + COLOUR)}")
    if samples != (1 if photometric in (*GREY, "PALETTE COLOR") else 3):
        raise RefusedError(Reason.CORRUPT, f"declares {photometric} with {samples} samples a pixel", _EXPORT)


def _decode(dataset: Dataset) -> tuple[np.ndarray, int]:
    """Return stored grey values or palette indices (rows, columns), or RGB (rows, columns, 3), with the bits stored."""
    syntax = uid.UID(str(dataset.file_meta.get("TransferSyntaxUID", "")))
    _check_codec(dataset, syntax)
    if syntax in CODECS and syntax != uid.RLELossless:
        _check_coded_size(dataset)
    array, properties = get_decoder(syntax).as_array(
        dataset,
        index=0,
        decoding_plugin=CODECS.get(syntax, ""),
        # What lies above the bits stored is no picture: PS3.5 8.1.1. (pydicom types each option as all options.)
        correct_unused_bits=syntax in NATIVE or syntax == uid.RLELossless,  # type: ignore[arg-type]
    )
    grey = dataset.PhotometricInterpretation in (*GREY, "PALETTE COLOR")
    if not grey and properties["photometric_interpretation"] != "RGB":
        raise RefusedError(Reason.UNSUPPORTED, "has colours that do not become RGB", "Export it as RGB")
    return array, int(properties["bits_stored"])


def _check_codec(dataset: Dataset, syntax: uid.UID) -> None:
    """Refuse a transfer syntax for which there is no codec."""
    codec = CODECS.get(syntax, "")
    twelve_bits = syntax == uid.JPEGExtended12Bit and dataset.get("BitsStored") != 8  # Pillow decodes 8 only
    readable = syntax in NATIVE or (codec and codec in get_decoder(syntax).available_plugins and not twelve_bits)
    if not readable:
        name = syntax.name if syntax and syntax.is_valid else "one that is not stated"
        problem = f"is encoded in a transfer syntax that is not read here: {name}"
        remedy = "Convert it to Explicit VR Little Endian, for instance with dcmdjpeg or gdcmconv --raw"
        raise RefusedError(Reason.UNSUPPORTED, problem, remedy)


def _check_coded_size(dataset: Dataset) -> None:
    """Refuse a frame of another size than the header's: a decoder would allocate it, and 20 x 30 look like 30 x 20."""
    if coded_size(get_frame(dataset.PixelData, 0, number_of_frames=1)) != (dataset.Rows, dataset.Columns):
        raise RefusedError(Reason.CORRUPT, "holds a picture of another size than its header declares", _EXPORT)


def _spacing(dataset: Dataset) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Return Pixel Spacing (0028,0030), else Imager Pixel Spacing (0018,1164), in mm, and remarks."""
    for keyword, remark in (("PixelSpacing", ""), ("ImagerPixelSpacing", "spacing is that at the detector")):
        value = dataset.get(keyword)
        if value is not None and not isinstance(value, str) and len(value) == 2:
            rows, columns = float(value[0]), float(value[1])
            if 0 < rows < np.inf and 0 < columns < np.inf:
                return (rows, columns), ((remark,) if remark else ())
    aspect = [int(number) for number in dataset.get("PixelAspectRatio") or ()]
    if len(aspect) == 2 and aspect[0] != aspect[1]:
        return None, (f"pixels are not square ({aspect[0]}:{aspect[1]}) and were kept as they are",)
    return None, ()


def _intent_remarks(dataset: Dataset) -> tuple[str, ...]:
    """Say that a film is as the detector gave it: Presentation Intent Type (0008,0068)."""
    raw = _code(dataset, "PresentationIntentType") == "FOR PROCESSING"
    return ("raw film, for processing and not for viewing",) if raw else ()


def _code(dataset: Dataset, keyword: str) -> str:
    """Return a code string (PS3.5 6.2, CS) if it is one; a header may hold anything."""
    value = str(dataset.get(keyword) or "").strip()
    return value if re.fullmatch(r"[A-Z0-9 _]{1,16}", value) else ""


def _number(dataset: Dataset, keyword: str) -> float:
    """Return a number to sort by; what has none, or nonsense, comes last."""
    try:
        return float(str(dataset.get(keyword)))
    except (ValueError, OverflowError):
        return np.inf
