"""What every object has in common that medmm adds to a study: its UIDs, whose it is, its dates and its private codes.

The same prediction gives the same UIDs and the same bytes: no clock and no chance are asked.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from medmm.errors import DataError, Reason
from medmm.files import write_whole
from medmm.result import Film, Finding, Origin, Overlay, ScoredCase
from medmm.write.examined import examined
from medmm.write.paint import reach
from medmm.write.words import name, printable

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.sr.coding import Code

NAME = "medmm"
RESEARCH = "Decision support for research, not for diagnosis"
SCHEME = "99MEDMM"
"""Designator of our private codes (PS3.16 8.2)."""
LOG_ODDS = ("{log-odds}", "UCUM", "natural log-odds")
"""Unit of log-odds: an annotation of UCUM, which makes it a number without dimension."""
_NAMESPACE = UUID("4b1d3c52-5a0f-4b83-9f61-6d65646d6d00")
_SNOMED = {
    "atelectasis": ("46621007", "Atelectasis"),
    "consolidation": ("95436008", "Lung consolidation"),
    "heart_failure": ("84114007", "Heart failure"),
    "lung_cancer": ("93880001", "Lung cancer"),
    "pleural_effusion": ("60046008", "Pleural effusion"),
    "pneumonia": ("233604007", "Pneumonia"),
    "pneumothorax": ("36118008", "Pneumothorax"),
    "pulmonary_edema": ("19242006", "Pulmonary edema"),
}
"""Label -> its code in SNOMED CT; of labels whose name leaves no doubt."""
_CLOCK = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
"""A time of day (PS3.5 6.2, TM)."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which prediction an object is made from, and when that was."""

    said: ScoredCase
    at: datetime
    """When the case was scored, or a person spoke after that; of every date in the object, in UTC."""

    def uid(self, *parts: str) -> str:
        """A UID that belongs to this prediction and these parts."""
        said = self.said.prediction
        return uid(said.case_id, said.model_id, self.said.content, *parts)


def uid(*parts: str) -> str:
    """2.25 and a name-based UUID of the parts as a decimal number (PS3.5 B.2): the same parts, the same UID."""
    return f"2.25.{uuid5(_NAMESPACE, json.dumps(parts)).int}"


def study_of(case_id: str, origin: Origin | None) -> Dataset:
    """The patient and general study modules (PS3.3 C.7.1.1, C.7.2.1) of the study that a case was read from.

    A date or a sex that is none is left empty, and text is in UTF-8; everything else is as the study's files state it.

    Raises:
        DataError: if there is no study, or it is not DICOM, or does not say which it is.
    """
    from pydicom import Dataset, config

    remedy = "Use --as fhir or --as pdf, which need no study"
    if origin is None:
        raise DataError(case_id, Reason.MISSING_STUDY, "the case has no images, and so no study to lie in", remedy)
    if not origin.header:
        raise DataError(case_id, Reason.NOT_DICOM, "the images are PNG or JPEG, and so no study to lie in", remedy)
    who, study = examined(origin), Dataset()
    with config.disable_value_validation():  # which would quote what it finds
        stated = Dataset.from_json(origin.header)
        for keyword in _REQUIRED:
            setattr(study, keyword, "")
        study.update(stated)
        study.PatientBirthDate, study.StudyDate = _day(who.born), _day(who.study_date)
        study.StudyTime = study.StudyTime if _CLOCK.fullmatch(str(study.StudyTime)) else ""
        study.PatientSex = who.sex
        study.SpecificCharacterSet = "ISO_IR 192"
    if not study.StudyInstanceUID:
        problem, remedy = "the study has no Study Instance UID", "Mend the study's headers and score it again"
        raise DataError(case_id, Reason.CORRUPT, problem, remedy)
    return study


_REQUIRED = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyInstanceUID",
    "StudyTime",
)
"""Elements that an object has even where nothing is known (type 1 and 2)."""


def _day(day: date | None) -> str:
    """A date as DICOM writes it (PS3.5 6.2, DA); empty where none is known."""
    return "" if day is None else day.isoformat().replace("-", "")


def source_of(film: Film, study_uid: str, rows: int = 0, columns: int = 0) -> Dataset:
    """What highdicom asks of an image that an object refers to; of the patient it is told nothing, as it may log it.

    Args:
        film: with its UIDs.
        study_uid: Study Instance UID (0020,000D) of the study that it is of.
        rows: of its pixels, where that matters.
        columns: likewise.
    """
    from pydicom import Dataset

    source = Dataset()
    for keyword in _REQUIRED:
        setattr(source, keyword, "")
    source.StudyInstanceUID = study_uid
    source.SeriesInstanceUID = film.series_uid
    source.SOPInstanceUID = film.instance_uid
    source.SOPClassUID = film.sop_class
    source.Rows, source.Columns = rows, columns
    return source


def reference_to(film: Film) -> Dataset:
    """The image that another one was made from (PS3.3 C.7.6.1, Source Image Sequence)."""
    from highdicom.sr import CodedConcept
    from pydicom import Dataset
    from pydicom.sr.codedict import codes

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = film.sop_class, film.instance_uid
    purpose = CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item


def films_of(stamp: Stamp) -> tuple[Film, ...]:
    """The films of the study of now that are instances of it.

    Raises:
        DataError: if there are none.
    """
    films = tuple(film for film in stamp.said.evidence.films if film.instance_uid and not film.prior)
    if not films:
        problem, remedy = "the store does not say of which DICOM images the case was read", "Score the case again"
        raise DataError(stamp.said.prediction.case_id, Reason.NO_PIXELS, problem, remedy)
    return films


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """One overlay on one film of the study, and what it is of."""

    number: int
    """Among the overlays of the prediction, from 1: Instance Number (0020,0013)."""
    film: Film
    finding: Finding
    method: str
    overlay: Overlay
    end: float
    """Log-odds that are drawn at full strength, the same on every film of the finding."""

    @property
    def title(self) -> str:
        """What and how, in one line: 'lung cancer, integrated gradients'."""
        return _plain(f"{name(self.finding.label)}, {self.method}")


def drawn_on(stamp: Stamp) -> list[Drawn]:
    """Every overlay of a prediction on a film of the study, finding by finding.

    Raises:
        DataError: as study_of and films_of.
    """
    evidence = stamp.said.evidence
    study_of(stamp.said.prediction.case_id, evidence.study)
    films = films_of(stamp)
    findings = {finding.label: finding for finding in stamp.said.prediction.findings}
    overlays = [
        (film, explanation, overlay)
        for explanation in evidence.explanations
        for film, overlay in zip(evidence.films, explanation.overlays, strict=True)
        if film in films
    ]
    return [
        Drawn(number, film, findings[explanation.label], explanation.method, overlay, reach(explanation))
        for number, (film, explanation, overlay) in enumerate(overlays, start=1)
    ]


def label_code(label: str) -> Code:
    """The code of a label: of SNOMED CT if its name is known there, else our own."""
    from pydicom.sr.coding import Code

    known = _SNOMED.get(label.lower().replace(" ", "_"))
    return Code(known[0], "SCT", known[1]) if known else own_code(label, name(label))


def own_code(value: str, meaning: str) -> Code:
    """A code of our private scheme; letters that are not ASCII are written as XML refers to characters."""
    from pydicom.sr.coding import Code

    return Code(_plain(value).encode("ascii", "xmlcharrefreplace").decode(), SCHEME, described(meaning))


def described(text: str, most: int = 64) -> str:
    """Text as a long string (PS3.5 6.2, LO), cut off after so many bytes, which are as many characters or fewer."""
    return _plain(text).encode()[:most].decode(errors="ignore")


def _plain(text: str) -> str:
    """Text of one line, without the character that separates values."""
    return printable(" ".join(text.split())).replace("\\", "/")


def finish(made: Dataset, study: Dataset, stamp: Stamp) -> None:
    """Say whose an object is, and put the time of the prediction in the place of every time of the clock."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from pydicom import config

    at = stamp.at.astimezone(UTC)
    day, clock = at.strftime("%Y%m%d"), at.strftime("%H%M%S")
    with config.disable_value_validation():
        made.update(study)
        for prefix in ("InstanceCreation", "Content"):
            setattr(made, f"{prefix}Date", day)
            setattr(made, f"{prefix}Time", clock)
        for item in made.get("ContributingEquipmentSequence", ()):
            item.ContributionDateTime = f"{day}{clock}+0000"
    made.Manufacturer, made.ManufacturerModelName = NAME, NAME
    made.SoftwareVersions = [version(NAME), stamp.said.prediction.model_id]
    made.CodingSchemeIdentificationSequence = [
        CodingSchemeIdentificationItem(SCHEME, name="medmm private codes", responsible_organization=NAME)
    ]


def write_dicom(path: Path, made: Dataset) -> None:
    """Write an object as a DICOM file (PS3.10), whole or not at all."""
    from pydicom import config

    with config.disable_value_validation():
        write_whole(path, lambda target: made.save_as(target, enforce_file_format=True))
