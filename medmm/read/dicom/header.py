"""What a DICOM header says, taken as text that anyone may have written: codes, numbers, times, how it was acquired."""

import hashlib
import json
import re
from contextlib import suppress
from datetime import date, datetime, time

import numpy as np
from pydicom import Dataset, uid
from pydicom.sequence import Sequence

from medmm.config import ImageRule

_SAID = (
    "BitsAllocated",
    "BitsStored",
    "BodyPartExamined",
    "BurnedInAnnotation",
    "Columns",
    "ConversionType",
    "ConvolutionKernel",
    "DetectorType",
    "Exposure",
    "ExposureTime",
    "ImageLaterality",
    "ImageType",
    "ImagerPixelSpacing",
    "KVP",
    "LossyImageCompression",
    "MagneticFieldStrength",
    "Manufacturer",
    "ManufacturerModelName",
    "Modality",
    "NumberOfFrames",
    "PatientPosition",
    "PhotometricInterpretation",
    "PixelRepresentation",
    "PixelSpacing",
    "PresentationIntentType",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SamplesPerPixel",
    "SliceThickness",
    "SoftwareVersions",
    "Units",
    "XRayTubeCurrent",
)
"""Elements that tell how a picture was taken and stored."""
_EXAMINED = (
    "AccessionNumber",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyDescription",
    "StudyID",
    "StudyInstanceUID",
    "StudyTime",
)
"""Elements of the patient and general study modules (PS3.3 C.7.1.1, C.7.2.1) that an object of the study repeats."""
_VIEWS = {
    "AP": "AnteroPosterior",
    "PA": "PosteroAnterior",
    "LL": "LeftLateral",
    "RL": "RightLateral",
    "LAO": "LeftAnteriorOblique",
    "RAO": "RightAnteriorOblique",
    "LPO": "LeftPosteriorOblique",
    "RPO": "RightPosteriorOblique",
    "CC": "CranioCaudal",
    "FB": "CaudoCranial",
    "ISO": "InferomedialToSuperolateralOblique",
    "LM": "LateroMedial",
    "LMO": "LateroMedialOblique",
    "ML": "MedioLateralProjection",
    "MLO": "MedioLateralObliqueProjection",
    "SIO": "SuperolateralToInferomedialOblique",
    "XCCL": "CranioCaudalExaggeratedLaterally",
    "XCCM": "CranioCaudalExaggeratedMedially",
}
"""What View Position (0018,5101) calls a view of CID 4010 or 4014 (PS3.16), by pydicom's name of its code."""
_SNOMED_RT = ("SRT", "SNM3", "99SDM")
"""Coding schemes with the older codes of SNOMED (PS3.16 8)."""
_DIGESTED = ("DeviceSerialNumber", "InstitutionName", "StationName")
"""Elements that tell where; their digests are compared, their texts are not kept."""
_LONGEST = 64
"""Characters that DICOM allows in a long string (PS3.5 6.2, LO)."""


def acquisition(dataset: Dataset) -> dict[str, str]:
    """How a picture was taken and stored, by keyword; places and serial numbers as the first 12 digits of SHA-256."""
    said = {keyword: _text(dataset, keyword)[:_LONGEST] for keyword in _SAID}
    digested = {keyword: _text(dataset, keyword) for keyword in _DIGESTED}
    said["ViewPosition"] = view_of(dataset)
    said |= {keyword: hashlib.sha256(text.encode()).hexdigest()[:12] for keyword, text in digested.items() if text}
    meta = getattr(dataset, "file_meta", Dataset())
    syntax = uid.UID(_text(meta, "TransferSyntaxUID"))
    return {keyword: text for keyword, text in said.items() if text} | (
        {"TransferSyntaxUID": str(syntax)} if syntax and syntax.is_valid else {}
    )


def matches(rule: ImageRule, dataset: Dataset) -> bool:
    """Whether all that a rule states holds for a header."""
    description = _text(dataset, "SeriesDescription")
    return (
        (not rule.modality or code(dataset, "Modality") in rule.modality)
        and (not rule.view or view_of(dataset) in rule.view)
        and (not rule.description or re.search(rule.description, description, re.IGNORECASE) is not None)
    )


def view_of(dataset: Dataset) -> str:
    """Return View Position (0018,5101), else the view that View Code Sequence (0054,0220) names; empty for none."""
    stated, items = code(dataset, "ViewPosition"), dataset.get("ViewCodeSequence")
    if stated or not isinstance(items, Sequence) or not items:
        return stated
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    value, scheme = _text(items[0], "CodeValue"), _text(items[0], "CodingSchemeDesignator")
    if scheme in _SNOMED_RT and value == "R-10214":  # unknown to pydicom
        return "PA"
    said = Code(value, "SRT" if scheme in _SNOMED_RT else scheme, "")
    known = codes.CID4010.concepts | codes.CID4014.concepts
    return next((view for view, name in _VIEWS.items() if known[name] == said), "")


def sop_class(dataset: Dataset) -> uid.UID:
    """Return SOP Class UID (0008,0016), or what the file's own header says of it (0002,0002)."""
    meta = getattr(dataset, "file_meta", Dataset())
    return uid.UID(_text(dataset, "SOPClassUID") or _text(meta, "MediaStorageSOPClassUID"))


def is_encoded_in(dataset: Dataset) -> uid.UID:
    """Return Transfer Syntax UID (0002,0010); empty where the file does not say."""
    return uid.UID(_text(getattr(dataset, "file_meta", Dataset()), "TransferSyntaxUID"))


def study_time(dataset: Dataset) -> datetime | None:
    """Return Study Date and Study Time (0008,0020 and 0008,0030) as Study.time; None if the date is no date."""
    day = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})", _text(dataset, "StudyDate"))
    clock = re.fullmatch(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?", _text(dataset, "StudyTime"))
    try:
        taken = date(*(int(part) for part in day.groups())) if day else None
    except ValueError:
        taken = None
    if taken is None:
        return None
    if clock is not None:
        hours, minutes, seconds, rest = clock.groups(default="0")
        with suppress(ValueError):
            return datetime.combine(taken, time(int(hours), int(minutes), int(seconds), int(rest.ljust(6, "0"))))
    return datetime.combine(taken, time.max)


def code(dataset: Dataset, keyword: str) -> str:
    """Return a code string (PS3.5 6.2, CS) if it is one; a header may hold anything."""
    value = _text(dataset, keyword)
    return value if re.fullmatch(r"[A-Z0-9 _]{1,16}", value) else ""


def codes(dataset: Dataset, keyword: str) -> list[str]:
    """Return the values of an element that may have several, as text."""
    value = dataset.get(keyword)
    if value is None or isinstance(value, (str, bytes)):
        return [value] if value and isinstance(value, str) else []
    return [str(part) for part in value] if hasattr(value, "__iter__") else [str(value)]


def number(dataset: Dataset, keyword: str) -> float:
    """Return a number to sort by; what has none, or nonsense, comes last."""
    try:
        found = float(str(dataset.get(keyword)))
    except (ValueError, OverflowError):
        return np.inf
    return np.inf if np.isnan(found) else found


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Return the values of an element that may have none, one or several.

    Raises:
        ValueError: if one of them is no number.
    """
    return [float(part) for part in codes(dataset, keyword)]


def _text(dataset: Dataset, keyword: str) -> str:
    """Return a value as text, several values as DICOM writes them; empty for none."""
    return "\\".join(codes(dataset, keyword)).strip()


def study_header(dataset: Dataset) -> str:
    """Who was examined and when, as DICOM JSON (PS3.18 F); an element that does not make sense is left out."""
    said: dict[str, object] = {}
    for keyword in _EXAMINED:
        with suppress(Exception):  # a header is anyone's text, and a report can do without one element of it
            if keyword in dataset:
                said |= _alone(dataset, keyword).to_json_dict()
    return json.dumps(said, sort_keys=True)


def _alone(dataset: Dataset, keyword: str) -> Dataset:
    """A dataset of one element; its text is decoded as the whole one says."""
    alone = Dataset()
    alone.add(dataset[keyword])
    return alone
