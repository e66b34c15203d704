"""One DICOM file, parsed and not yet decoded: what it is and where it belongs."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO

import pydicom
from pydicom import Dataset, uid
from pydicom.filereader import read_dataset

from medmm.errors import Reason
from medmm.read.dicom.header import code, is_encoded_in, number, sop_class, study_time
from medmm.read.guard import MAX_BYTES, RefusedError, guarded
from medmm.read.sources.source import MAX_RATIO

EXPORT = "Export the study again from the archive"
SENSELESS = "has a header that does not make sense"
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
IMAGES = ("Image Storage", "RT Dose Storage", "Parametric Map Storage", "Enhanced US Volume Storage")
"""Part of the name of every SOP class (PS3.6 A) whose objects are read."""
_PREAMBLE = 128
_BLOCK = 2**20
_SMALL = 2**26
"""What inflates to no more than this may be packed as tightly as it will."""
_BARE = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""How a file begins that lacks preamble: group 0002, or group 0008 in either byte order."""


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One parsed DICOM object, its pixels still encoded."""

    dataset: Dataset = field(repr=False)
    digest: str
    """SHA-256 of the file, hexadecimal."""
    where: str
    """Its place in the study, for messages; a file's name may hold a patient's."""
    study_uid: str
    series_uid: str
    uid: str
    """SOP Instance UID (0008,0018)."""
    patient_id: str = field(repr=False)
    time: datetime | None
    """As Study.time."""
    modality: str
    """Modality (0008,0060); OT where it is not stated."""
    place: tuple[float, str, float, str]
    """Series Number (0020,0011), series, Instance Number (0020,0013), instance: sorts as a reader would."""
    no_image: str
    """Why the object is no image, in words for a remark; empty if it is one."""
    is_bare: bool
    """Whether the file lacks its preamble (PS3.10 7.1)."""
    wanted: set[int] = field(default_factory=set, repr=False)
    """Frames that are to be decoded, counted from 0."""
    encoded: list[bytes] = field(default_factory=list, repr=False)
    """Every frame by itself, once some of many were decoded."""

    def done(self, frames: Iterable[int]) -> None:
        """Note that frames were decoded; the last ones that are wanted let the encoded pixels go."""
        self.wanted.difference_update(frames)
        if not self.wanted:
            self.let_go()

    def let_go(self) -> None:
        """Free the encoded pixels: they were decoded, or are not needed."""
        self.encoded.clear()
        for keyword in PIXELS:
            if keyword in self.dataset:
                del self.dataset[keyword]


def is_dicom(content: bytes) -> bool:
    """Whether a file begins as DICOM does, with preamble (PS3.10 7.1) or without."""
    return has_preamble(content) or content.startswith(_BARE)


def has_preamble(content: bytes) -> bool:
    """Whether a file begins as PS3.10 7.1 asks."""
    return content[_PREAMBLE : _PREAMBLE + 4] == b"DICM"


def open_instance(content: bytes, digest: str, where: str) -> Instance:
    """Parse a DICOM file; elements are converted only when they are asked for.

    A file without preamble counts as DICOM if it says its SOP class.

    Raises:
        RefusedError: CORRUPT if it does not parse, TOO_LARGE if it inflates beyond MAX_BYTES, NOT_DICOM.
    """
    bare = not has_preamble(content)
    try:
        with guarded("does not parse as DICOM", EXPORT):
            _check_deflated(content)
            dataset = pydicom.dcmread(BytesIO(content), force=bare)
            dataset.buffer = None  # pydicom would keep the whole file beside its elements
            _name_syntax(dataset)
            clear = not bare or sop_class(dataset).is_valid
    except RefusedError as refused:
        if not bare or refused.code != Reason.CORRUPT:
            raise
        clear = False
    if not clear:
        problem = "begins as DICOM without preamble and does not say what it holds"
        raise RefusedError(Reason.NOT_DICOM, problem, "Take it out of the study, or store it as DICOM (PS3.10)")
    with guarded(SENSELESS, EXPORT):
        series, instance = str(dataset.get("SeriesInstanceUID", "")), str(dataset.get("SOPInstanceUID", ""))
        return Instance(
            dataset=dataset,
            digest=digest,
            where=where,
            study_uid=str(dataset.get("StudyInstanceUID", "")),
            series_uid=series,
            uid=instance,
            patient_id=str(dataset.get("PatientID", "") or "").strip(),
            time=study_time(dataset),
            modality=code(dataset, "Modality") or "OT",
            place=(number(dataset, "SeriesNumber"), series, number(dataset, "InstanceNumber"), instance),
            no_image=_why_no_image(dataset),
            is_bare=bare,
        )


def _check_deflated(content: bytes) -> None:
    """Refuse a deflated file that inflates to too much, or beyond belief; pydicom would inflate all of it at once.

    The group's own length (0002,0000) may be wrong or missing: like pydicom, read on to the first other group.
    """
    if uid.DeflatedExplicitVRLittleEndian.encode() not in content:
        return
    file = BytesIO(content)
    file.seek(_PREAMBLE + 4 if has_preamble(content) else 0)
    meta = read_dataset(
        file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, vr, length: tag >> 16 != 2
    )
    if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        return
    inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while block := inflate.unconsumed_tail or file.read(_BLOCK):
        size += len(inflate.decompress(block, 16 * _BLOCK))
        if size > MAX_BYTES or size > max(_SMALL, MAX_RATIO * file.tell()):
            raise RefusedError(Reason.TOO_LARGE, f"inflates to more than {size >> 20} MiB", "Reduce it")


def _name_syntax(dataset: pydicom.FileDataset) -> None:
    """Note the native transfer syntax that pydicom found out, in a file that does not state it."""
    if is_encoded_in(dataset) or bytes(dataset.get("PixelData") or b"")[:4] == b"\xfe\xff\x00\xe0":
        return  # what is encapsulated may be encoded in any way
    implicit, little = dataset.original_encoding
    native = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else native


def _why_no_image(dataset: Dataset) -> str:
    """Say why the object is no image; empty if it is one, or should be one.

    An object of an image class whose pixels are gone is NOT left out: the file may have been cut short.
    """
    kind = sop_class(dataset)
    if kind.is_private or kind.name == str(kind):
        has_pixels = any(keyword in dataset for keyword in (*PIXELS, "Rows"))
        return "" if has_pixels or not kind else "object of a private class"
    return "" if any(name in kind.name for name in IMAGES) else kind.name.removesuffix(" Storage")
