"""A DICOM header by the Basic Application Level Confidentiality Profile (PS3.15 Table E.1-1), and stricter than it.

The table is that of dicom-anonymizer, edition 2026c. The walk through the header is ours, since the library does not go
into sequences, makes random UIDs, and writes the year 1 for dates that are to be removed. What the table does not name
is kept only where it is known to be harmless: numbers, codes, and the few texts of KEPT_TEXT.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any

from pydicom import DataElement, Dataset, Sequence
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import UID
from pydicom.valuerep import PersonName

from medmm.privacy.key import Key
from medmm.privacy.note import fold, is_telling, looks_identifying, mentions, name_parts
from medmm.read.dicom.header import sop_class

KEPT_TEXT = frozenset({
    "AttenuationCorrectionMethod", "CodeMeaning", "CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion",
    "ConvolutionKernel", "DimensionDescriptionLabel", "FilterMaterial", "ImagedNucleus", "LUTExplanation",
    "Manufacturer", "ManufacturerModelName", "PositionReferenceIndicator", "Radiopharmaceutical",
    "ReconstructionMethod", "RescaleType", "ScatterCorrectionMethod", "SequenceName", "StackID",
    "WindowCenterWidthExplanation",
})  # fmt: skip
"""Free text that says how a picture was made or is to be shown."""
PICTURES = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
"""Elements that hold a picture: an object has one of them (PS3.3 C.7.6.3)."""
KEPT_BYTES = frozenset({
    *PICTURES, "LUTData", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
})  # fmt: skip
"""Elements of bytes that make the picture."""
SHIFTED = frozenset({
    "StudyDate", "StudyTime", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime",
    "ContentDate", "ContentTime", "FrameAcquisitionDateTime", "FrameReferenceDateTime",
    "RadiopharmaceuticalStartTime", "RadiopharmaceuticalStartDateTime",
})  # fmt: skip
"""Dates that move with the patient's shift, and times that stay; every other date is removed."""
METHOD = "medmm: PS3.15 Table E.1-1 (2026c), Basic Profile and stricter"
_CODES = {
    "113100": "Basic Application Confidentiality Profile",
    "113101": "Clean Pixel Data Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
}
"""De-identification methods (PS3.16 CID 7050)."""
_TEXT = ("LO", "LT", "SH", "ST", "UT", "UC", "UR", "AE")
_BYTES = ("OB", "OW", "OD", "OF", "OL", "OV", "UN")
_DATES = ("DA", "DT", "TM")
_FORM = {
    "CS": re.compile(r"[A-Z0-9 _]{0,16}"),
    "IS": re.compile(r" *[+-]?\d{1,12} *|"),
    "DS": re.compile(r" *[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)? *|"),
    "DA": re.compile(r"\d{8}|"),
    "TM": re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)? *|"),
    "DT": re.compile(r"\d{8}(\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?)?([+-]\d{4})? *|"),
}
"""What a value of a kind looks like (PS3.5 6.2); anything else in its place may be words."""
_STRONG = re.compile(
    r"Physician|Operators?Name|Institution|Station|Patient(?!Orientation|Position)|Accession|IssuerOf|Requesting|Order"
    r"|Person|Address|Telephone|Responsible|Admission|SerialNumber|StudyID|Location|Insurance|Guardian|Observer"
)
"""Attributes that name a person, a place, a device or a record."""


class Action(StrEnum):
    """What the Basic Profile does with an element (PS3.15 Table E.1-1a), options resolved to the stricter one."""

    REMOVE = "X"
    EMPTY = "Z"
    REPLACE = "D"
    MAP = "U"
    KEEP = "K"


_ACTIONS = {
    "delete": Action.REMOVE,
    "delete_or_replace": Action.REMOVE,
    "empty": Action.EMPTY,
    "empty_or_replace": Action.EMPTY,
    "delete_or_empty": Action.EMPTY,
    "delete_or_empty_or_replace": Action.EMPTY,
    "replace": Action.REPLACE,
    "replace_UID": Action.MAP,
    "delete_or_empty_or_replace_UID": Action.KEEP,  # sequences of references: kept, with the UIDs in them mapped
}


@dataclass(frozen=True, slots=True)
class Patient:
    """Who a patient is to the outside: a pseudonym, and by how many days the dates move."""

    pseudonym: str
    shift_days: int | None = field(repr=False)
    """None if dates are removed."""


@dataclass(slots=True)
class Identities:
    """What a case must not say any more, collected from its headers and its row."""

    names: set[str] = field(default_factory=set, repr=False)
    """Parts of the names of persons."""
    values: set[str] = field(default_factory=set, repr=False)
    """Whole values that name a person, a place, a device or a record: ids, institutions, the birth date."""
    uids: dict[str, str] = field(default_factory=dict, repr=False)
    """UID -> the one that stands for it."""
    texts: set[str] = field(default_factory=set, repr=False)
    """Other texts that were removed, less those that also stand where they may: a description 'MONOCHROME2'."""
    allowed: set[str] = field(default_factory=set, repr=False)
    """Values of elements that are kept, folded."""
    removed: int = 0
    replaced: int = 0

    def named(self) -> frozenset[str]:
        """What names someone or something, and can be looked for."""
        return frozenset(value for value in self.names | self.values if _may_be_sought(value))

    def hidden(self) -> frozenset[str]:
        """Everything that no file of the output may hold."""
        allowed = "\n".join(self.allowed)
        texts = {text for text in self.texts if fold(text) not in allowed}
        return self.named() | {value for value in texts | set(self.uids) if _may_be_sought(value)}


_WRITTEN = (
    f"{METHOD}|{'|'.join(f'{code}|{name}' for code, name in _CODES.items())}|ANONYMIZED|http://anonymized.invalid"
    "|MODIFIED|REMOVED|MONOCHROME1|MONOCHROME2|PALETTE COLOR|ISO_IR 192|MEDMM"
)
"""What cleaned files say themselves, and so do the originals if they were cleaned before."""


def _may_be_sought(value: str) -> bool:
    return is_telling(value) and fold(value) not in fold(_WRITTEN)


def clean_header(dataset: Dataset, patient: Patient, key: Key, found: Identities) -> None:
    """Remove, empty, replace or map every element of a dataset and of all its sequences, in place.

    Args:
        dataset: parsed; its pixel data are left as they are.
        patient: to whom it will belong.
        key: for UIDs.
        found: what `collect` took from the case's headers; gains UIDs, counts and what was kept.
    """
    _remove_other_pixels(dataset, found)
    _clean(dataset, patient, key, found)
    _scrub(dataset, found)
    for keyword in ("PatientName", "PatientID"):
        setattr(dataset, keyword, patient.pseudonym)
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    codes = ["113100"] if patient.shift_days is None else ["113100", "113107"]
    dataset.DeidentificationMethodCodeSequence = Sequence(_code(code) for code in codes)
    dataset.LongitudinalTemporalInformationModified = "REMOVED" if patient.shift_days is None else "MODIFIED"
    dataset.SpecificCharacterSet = "ISO_IR 192"


def mark_pixels_cleaned(dataset: Dataset) -> None:
    """Say that no text is left in the pixels (PS3.15 E.3.1)."""
    dataset.BurnedInAnnotation = "NO"
    dataset.DeidentificationMethodCodeSequence.append(_code("113101"))


def new_file_meta(dataset: Dataset, syntax: UID) -> FileMetaDataset:
    """Return a file meta group (PS3.10 7.1) that says nothing of where the file came from."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class(dataset)
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = UID("2.25.329800735698586629295641978511506172918")  # pydicom's root is not ours
    meta.ImplementationVersionName = "MEDMM"
    return meta


def collect(dataset: Dataset, found: Identities) -> None:
    """Take what names a person, a place or a record from a header as it stands, private and nested elements too."""
    for _, element in elements(dataset):
        _collect(element, found)


def elements(dataset: Dataset) -> Iterator[tuple[Dataset, DataElement]]:
    """Every element of a dataset and of its sequences, with the dataset that holds it."""
    for element in list(dataset):
        yield dataset, element
        if element.VR == "SQ":
            for item in element.value or ():
                yield from elements(item)


APART = "\n\n\n"
"""Between texts that are searched together, so that no name is found across them."""
_CODED = ("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion")
"""Texts in which numbers are codes."""
OURS = frozenset({
    "PatientName", "PatientID", "PatientIdentityRemoved", "DeidentificationMethod", "SpecificCharacterSet",
    "LongitudinalTemporalInformationModified", "Modality", "PhotometricInterpretation",
})  # fmt: skip
"""What this module writes itself, and what a picture is nothing without."""


def _code(value: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", _CODES[value]
    return item


@cache
def profile() -> dict[int, Action]:
    """Tag -> action of the Basic Profile; curves, overlays and private elements are removed besides."""
    from dicomanonymizer.simpledicomanonymizer import initialize_actions

    rules = initialize_actions("dicomfields_2026c").items()
    return {tag[0] << 16 | tag[1]: _ACTIONS[rule.__name__] for tag, rule in rules if len(tag) == 2}


def _clean(dataset: Dataset, patient: Patient, key: Key, found: Identities) -> None:
    """Clean one level; sequences that stay are cleaned in turn."""
    for element in list(dataset):
        action = _action(element, patient)
        if action is Action.KEEP:
            if element.VR == "SQ":
                for item in element.value or ():
                    _clean(item, patient, key, found)
            else:
                found.allowed.update(_keys(element))
            continue
        if action is Action.MAP:
            element.value = _mapped(element.value, key, found)
        elif element.VR in _DATES and element.keyword in SHIFTED and patient.shift_days is not None:
            element.value = shifted(element.VR, str(element.value or ""), patient.shift_days)
            found.allowed.update(_keys(element))
        else:
            _drop(dataset, element, action)
        found.replaced += action is not Action.REMOVE
        found.removed += action is Action.REMOVE


def _remove_other_pixels(dataset: Dataset, found: Identities) -> None:
    """Leave the one element that holds the picture, and of the bytes in sequences only tables for its values."""
    picture = next((keyword for keyword in PICTURES if keyword in dataset), "")
    for inner, element in list(elements(dataset)):
        other = element.keyword in PICTURES and element.keyword != picture
        if other or (inner is not dataset and element.keyword in KEPT_BYTES and element.keyword != "LUTData"):
            del inner[element.tag]
            found.removed += 1


def _action(element: DataElement, patient: Patient) -> Action:
    """Say what becomes of an element: by the table, or by its kind where the table is silent."""
    group = element.tag.group
    if element.tag.is_private or group & 0xFF00 in (0x5000, 0x6000) or group < 8 or not element.keyword:
        return Action.REMOVE
    if element.VR in _DATES and element.keyword in SHIFTED and patient.shift_days is not None:
        return Action.REPLACE
    if action := profile().get(int(element.tag)):
        return Action.REMOVE if action is Action.KEEP and element.VR != "SQ" else action
    if element.VR == "UI":
        of_standard = all(_is_of_standard(str(value)) for value in _values(element))
        return Action.KEEP if of_standard or element.keyword == "SOPClassUID" else Action.MAP
    if element.VR in _TEXT:
        return Action.KEEP if element.keyword in KEPT_TEXT else Action.REMOVE
    if element.VR in _BYTES:
        return Action.KEEP if element.keyword in KEPT_BYTES else Action.REMOVE
    if element.VR in ("PN", "AS", *_DATES):
        return Action.REMOVE
    form = _FORM.get(element.VR)
    good = form is None or all(form.fullmatch(str(value)) for value in _values(element))
    return Action.KEEP if good else Action.REMOVE


def _scrub(dataset: Dataset, found: Identities) -> None:
    """Remove kept texts and codes that hold a name, an id or a place after all, or look as if they did."""
    hidden = [word for word in found.names | found.values if is_telling(word)]
    numbers = {float(word) for word in hidden if re.fullmatch(r"\d+", word)}
    for inner, element in list(elements(dataset)):
        if element.VR in ("IS", "DS") and numbers & {float(value) for value in _values(element) if str(value).strip()}:
            del inner[element.tag]
            found.removed += 1
        elif element.VR in (*_TEXT, "CS") and element.keyword not in OURS:
            text = APART.join(strings(element))
            free = element.VR in _TEXT and element.keyword not in _CODED
            if any(mentions(text, word, inside=True) for word in hidden) or (free and looks_identifying(text)):
                del inner[element.tag]
                found.removed += 1


def _keys(element: DataElement) -> Iterator[str]:
    """The values of an element that are no bytes, folded."""
    return (fold(str(value)) for value in _values(element) if not isinstance(value, bytes))


def _drop(dataset: Dataset, element: DataElement, action: Action) -> None:
    """Remove, empty or replace an element."""
    if action is Action.REMOVE or (action is Action.REPLACE and element.VR == "SQ"):
        del dataset[element.tag]
    elif action is Action.EMPTY:
        element.value = Sequence() if element.VR == "SQ" else b"" if element.VR in _BYTES else None
    else:
        from dicomanonymizer.simpledicomanonymizer import replace_element

        replace_element(element)


def _is_of_standard(uid: str) -> bool:
    """Whether PS3.6 Annex A registers a UID: one that only begins like those may hold anything."""
    return bool(UID(uid).type)


def _mapped(value: Any, key: Key, found: Identities) -> Any:
    """Return the UIDs that stand for one or several; what is of the standard itself stays."""
    if isinstance(value, MultiValue):
        return [_mapped(one, key, found) for one in value]
    original = str(value or "").strip()
    if not original or _is_of_standard(original):
        return original
    return found.uids.setdefault(original, key.uid(original))


def shifted(kind: str, value: str, days: int) -> str:
    """Move a DA or DT (PS3.5 6.2) by whole days; a TM stays; what is not of its form becomes empty."""
    value = value.strip().replace(".", "") if kind == "DA" else value.strip()
    if not _FORM[kind].fullmatch(value) or not value:
        return ""
    if kind == "TM":
        return value
    try:
        moved = datetime.strptime(value[:8], "%Y%m%d") + timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return moved.strftime("%Y%m%d").zfill(8) + value[8:]


def _collect(element: DataElement, found: Identities) -> None:
    """Remember what an element said."""
    strong = bool(_STRONG.search(element.keyword)) and element.VR not in ("CS", "DS", "IS", "AS")
    for text in strings(element):
        if element.VR == "PN":
            found.names.update(name_parts(text))
        elif element.keyword == "PatientBirthDate" or (strong and element.VR in _TEXT):
            found.values.add(text)
        elif element.VR in _TEXT or element.tag.is_private:
            found.texts.add(text)


def _values(element: DataElement) -> list[Any]:
    """The values of an element, none for an empty one."""
    if element.value is None:
        return []
    return list(element.value) if isinstance(element.value, MultiValue | list | tuple) else [element.value]


def strings(element: DataElement) -> list[str]:
    """The values of an element that are words; private bytes are tried as words."""
    texts = []
    for value in _values(element):
        if isinstance(value, str | PersonName):
            texts.append(str(value).strip())
        elif isinstance(value, bytes) and element.tag.is_private and len(value) <= 1024:
            texts.append(value.decode("latin-1").strip("\0 "))
    return [text for text in texts if text]
