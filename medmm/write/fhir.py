"""A scored case as FHIR: a report, an Observation for each label, the patient and the model, in one Bundle.

Where HL7's mapping of DICOM SR to FHIR (hl7.org/fhir/uv/dicom-sr, 1.0.0) says how, this follows it: a measurement is
an Observation with valueQuantity and a device, part of the study by its Study Instance UID, based on the order by its
accession number. docs/fhir.md says what is what, and where the guide is silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal
from uuid import UUID, uuid5

from medmm.result import Call, Finding, Refusal, Review, ScoredCase
from medmm.write.examined import Examined, PersonName, examined
from medmm.write.words import SUPPORT, decision, heard, is_settled, name, printable, stands

Release = Literal["R4", "R5"]
Json = dict[str, Any]

_ROOT = UUID("00bb80f5-4986-475e-919c-d6b953bc7702")
"""Every id of a resource and both code systems are version 5 UUIDs in this namespace."""
CODES = f"urn:uuid:{uuid5(_ROOT, 'codes')}"
"""Code system of what medmm says of every label, with the codes of its DICOM SR; docs/fhir.md lists them."""
LABELS = f"urn:uuid:{uuid5(_ROOT, 'labels')}"
"""Code system of the labels: a code is the label's name in the model."""

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_UCUM = "http://unitsofmeasure.org"
_HL7 = "http://terminology.hl7.org/CodeSystem"
_THRESHOLD = ("122411", "Threshold Value")
_STANDARD: dict[Call, tuple[str, str]] = {
    "flagged": ("POS", "Positive"),
    "not flagged": ("NEG", "Negative"),
    "uncertain": ("IND", "Indeterminate"),
}
"""What is said -> code and display of v3-ObservationInterpretation."""
_GENDERS = {"M": "male", "F": "female", "O": "other"}
_GROUPS = {"Alphabetic": "ABC", "Ideographic": "IDE", "Phonetic": "SYL"}


def bundle_of(said: ScoredCase, scored_at: datetime, reviews: Sequence[Review], release: Release) -> Json:
    """A scored case and what people said of it as a Bundle of type collection, ready for json.dumps.

    The same arguments give the same value: ids are UUIDs of content, case and model. The text of the note is not in it.

    Args:
        said: the case.
        scored_at: when it was scored; with a time zone.
        reviews: every word on this case; those before `scored_at` are of an earlier scoring and are left out.
        release: R4 is 4.0.1, R5 is 5.0.0. They differ in how the device is named and where a report names its study.
    """
    words = heard(said.prediction, reviews, scored_at)
    told = _Told(said, examined(said.evidence.study), words, scored_at, release)
    observations = [_observation(told, finding) for finding in said.prediction.findings]
    resources = [_report(told), *observations, _device(told)]
    if told.subject is not None:
        resources.append(_patient(told))
    entries = [{"fullUrl": f"urn:uuid:{one['id']}", "resource": one} for one in resources]
    bundle: Json = _kept(
        {
            "resourceType": "Bundle",
            "id": told.uuid("Bundle"),
            "type": "collection",
            "timestamp": told.issued(words),
            "entry": entries,
        }
    )
    return bundle


def batch_of(answers: Sequence[ScoredCase | Refusal], scored_at: datetime, release: Release) -> Json:
    """Several cases that were sent together as a Bundle of type batch-response, one entry for each, in their order.

    A case with an answer is the Bundle of `bundle_of`; one that was refused is an OperationOutcome.
    """
    entries = [
        {"response": {"status": "422", "outcome": _outcome(one)}}
        if isinstance(one, Refusal)
        else {"resource": bundle_of(one, scored_at, (), release), "response": {"status": "200"}}
        for one in answers
    ]
    return {"resourceType": "Bundle", "type": "batch-response", "timestamp": _instant(scored_at), "entry": entries}


def _outcome(refused: Refusal) -> Json:
    said = f"case {refused.case_id}: {refused.problem}. {refused.remedy}."
    issue = {"severity": "error", "code": "processing", "details": {"text": said}, "diagnostics": refused.code.value}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


@dataclass(frozen=True, slots=True)
class _Told:
    """What every resource of a bundle draws on."""

    said: ScoredCase
    who: Examined
    words: Sequence[Review]
    """Since the case was scored, oldest first."""
    scored_at: datetime
    release: Release

    def uuid(self, kind: str, *about: str) -> str:
        """The id of a resource. A patient's is of this case alone: one patient id may mean two people."""
        prediction = self.said.prediction
        return str(uuid5(_ROOT, "\n".join((self.said.content, prediction.case_id, prediction.model_id, kind, *about))))

    @property
    def device(self) -> str:
        """The id of the model, the same in every case."""
        return str(uuid5(_ROOT, f"{version('medmm')}\n{self.said.prediction.model_id}"))

    @property
    def subject(self) -> Json | None:
        """None where no file names a patient."""
        named = self.who.patient_id or self.who.names
        return {"reference": f"urn:uuid:{self.uuid('Patient')}"} if named else None

    @property
    def study(self) -> Json | None:
        """The study as the guide refers to it: by its UID, wherever its resource is kept."""
        if not self.who.study_uid:
            return None
        kind = _concept(_DCM, "110180", "Study Instance UID")
        uid = {"type": kind, "system": "urn:dicom:uid", "value": f"urn:oid:{self.who.study_uid}"}
        return {"type": "ImagingStudy", "identifier": uid}

    def issued(self, words: Sequence[Review]) -> str:
        """When this became what it is: with the newest of the words, or when the case was scored."""
        return _instant(words[-1].at if words else self.scored_at)

    def shared(self, words: Sequence[Review]) -> Json:
        """What an Observation and a report say alike; `words` are those that bear on it."""
        accession = {"type": _concept(f"{_HL7}/v2-0203", "ACSN", "Accession ID"), "value": self.who.accession}
        return {
            "basedOn": [{"type": "ServiceRequest", "identifier": accession}] if self.who.accession else None,
            "subject": self.subject,
            "effectiveDateTime": self.who.study_date and self.who.study_date.isoformat(),
            "issued": self.issued(words),
            "performer": _people(words),
        }


def _report(told: _Told) -> Json:
    """The DiagnosticReport: what was found, in one sentence and by reference."""
    prediction = told.said.prediction
    imaging = "image" in prediction.present
    measured = _coding(_DCM, "126000", "Imaging Measurement Report")
    return {
        "resourceType": "DiagnosticReport",
        "id": told.uuid("DiagnosticReport"),
        "identifier": [{"type": {"text": "medmm case"}, "value": prediction.case_id}],
        "status": _report_status(prediction.findings, told.words),
        "category": [_concept(f"{_HL7}/v2-0074", "RAD", "Radiology")] if imaging else None,
        "code": {"coding": [measured] if imaging else None, "text": "medmm: findings of a model"},
        **told.shared(told.words),
        "resultsInterpreter": _people(told.words),
        "imagingStudy" if told.release == "R4" else "study": [told.study] if told.study else None,
        "result": [{"reference": f"urn:uuid:{told.uuid('Observation', f.label)}"} for f in prediction.findings],
        "conclusion": _conclusion(told),
    }


def _conclusion(told: _Told) -> str:
    """What holds of which label, what makes the case doubtful, and what the reader did."""
    prediction = told.said.prediction
    held = [(name(f.label), stands(f, told.words)) for f in prediction.findings]
    calls = [(call, ", ".join(label for label, one in held if one == call)) for call in _STANDARD]
    parts = [f"{call.capitalize()}: {labels}." for call, labels in calls if labels]
    parts += [f"Not given: {', '.join(prediction.absent)}."] if prediction.absent else []
    parts += [f"Doubt: {doubt}." for doubt in prediction.doubts]
    parts += [f"Remark: {remark}." for remark in prediction.remarks]
    return " ".join([*parts, SUPPORT])


def _status(findings: Sequence[Finding], words: Sequence[Review]) -> str:
    """The status of a resource on these findings, as R4 and R5 define the codes.

    Preliminary until people have settled all of them ("data may be incomplete or unverified"), final with the word that
    does, and amended with any word after it, also with one that opens it again.
    """
    for heard_so_far in range(1, len(words) + 1):
        if all(is_settled(finding, words[:heard_so_far]) for finding in findings):
            return "final" if heard_so_far == len(words) else "amended"
    return "preliminary"


def _report_status(findings: Sequence[Finding], words: Sequence[Review]) -> str:
    """As `_status`, but a report of which nothing is verified is partial: its preliminary has verified results."""
    settled = any(is_settled(finding, words) for finding in findings)
    return _status(findings, words) if settled else "partial"


def _observation(told: _Told, finding: Finding) -> Json:
    """One label: how probable, what holds of it, and what each side added."""
    prediction = told.said.prediction
    words = [word for word in told.words if word.label == finding.label]
    label = " ".join(finding.label.split())
    return {
        "resourceType": "Observation",
        "id": told.uuid("Observation", finding.label),
        "partOf": [told.study] if told.study else None,
        "status": _status([finding], words),
        "category": [_concept(f"{_HL7}/observation-category", "imaging", "Imaging")]
        if "image" in prediction.present
        else None,
        "code": {
            "coding": [_coding(LABELS, label, name(label))],
            "text": f"Probability of {name(label)}",
        },
        **told.shared(words),
        "valueQuantity": _probability(finding.probability),
        "interpretation": [_call(stands(finding, words))],
        "note": [
            {
                "authorString": word.reviewer,
                "time": _instant(word.at),
                "text": f"{decision(finding, word)} {word.comment}",
            }
            for word in words
        ],
        "device": {"reference": f"urn:uuid:{told.device}"},
        "component": list(_components(finding, prediction.absent)),
    }


def _components(finding: Finding, absent: Sequence[str]) -> list[Json]:
    """What the model said and why. Base and contributions sum to the log-odds of the probability."""
    parts = [
        {"code": _code("CALL", "Call of the model"), "valueCodeableConcept": _call(finding.call)},
        {"code": _concept(_DCM, *_THRESHOLD), "valueQuantity": _probability(finding.threshold)},
    ]
    if finding.limits is not None:
        low, high = finding.limits.present_from, finding.limits.absent_to
        parts += [
            {
                "code": _code("PRESENT_FROM", "Not flagged only below this probability"),
                "valueQuantity": _probability(low),
            },
            {"code": _code("ABSENT_TO", "Flagged only above this probability"), "valueQuantity": _probability(high)},
        ]
    base = _code("BASE", "Log-odds of a case of which nothing is known")
    parts.append({"code": base, "valueQuantity": _log_odds(finding.base_log_odds)})
    for part in finding.contributions:
        code = _code(f"FROM_{part.modality.upper()}", f"Log-odds that the {part.modality} adds")
        not_given = {"dataAbsentReason": _concept(f"{_HL7}/data-absent-reason", "not-performed", "Not Performed")}
        parts.append(
            {"code": code, **(not_given if part.modality in absent else {"valueQuantity": _log_odds(part.log_odds)})}
        )
    together = _code("INTERACTION", "Log-odds that no modality adds alone")
    return [*parts, {"code": together, "valueQuantity": _log_odds(finding.interaction)}]


def _device(told: _Told) -> Json:
    """The model (TID 4019, algorithm identification): its name, the version of medmm, and which model it is."""
    model = told.said.prediction.model_id
    named: Json = (
        {"deviceName": [{"name": "medmm", "type": "model-name"}]} if told.release == "R4" else {"displayName": "medmm"}
    )
    return {
        "resourceType": "Device",
        "id": told.device,
        "identifier": [{"type": {"text": "medmm model"}, "value": model}],
        **named,
        "version": [
            {"type": {"text": "medmm"}, "value": version("medmm")},
            {"type": {"text": "model"}, "value": model},
        ],
    }


def _patient(told: _Told) -> Json:
    """Whom the files of the study name; a medical record number without a system, since none is known."""
    who = told.who
    number = _concept(f"{_HL7}/v2-0203", "MR", "Medical record number")
    identifier = {"type": number, "value": who.patient_id, "assigner": {"display": who.issuer} if who.issuer else None}
    return {
        "resourceType": "Patient",
        "id": told.uuid("Patient"),
        "identifier": [identifier] if who.patient_id else None,
        "name": [_human_name(one) for one in who.names],
        "gender": _GENDERS.get(who.sex),
        "birthDate": who.born and who.born.isoformat(),
    }


def _human_name(one: PersonName) -> Json:
    """One group of a person name, with the script that it is in."""
    script = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
    return {
        "extension": [{"url": script, "valueCode": _GROUPS[one.group]}] if one.group in _GROUPS else None,
        "family": one.family,
        "given": [one.given, one.middle],
        "prefix": [one.prefix],
        "suffix": [one.suffix],
    }


def _people(words: Sequence[Review]) -> list[Json]:
    """Who spoke, once each, in the order in which they first did."""
    return [{"type": "Practitioner", "display": who} for who in dict.fromkeys(word.reviewer for word in words)]


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


def _call(call: Call) -> Json:
    """What is said, in medmm's word and in HL7's."""
    code, display = _STANDARD[call]
    own = _coding(CODES, call.upper().replace(" ", "_"), call.capitalize())
    return {"coding": [own, _coding(f"{_HL7}/v3-ObservationInterpretation", code, display)], "text": call}


def _probability(value: float) -> Json:
    return {"value": value, "unit": "1", "system": _UCUM, "code": "1"}


def _log_odds(value: float) -> Json:
    return {"value": value, "unit": "log-odds", "system": _UCUM, "code": "{log-odds}"}


def _code(code: str, display: str) -> Json:
    return _concept(CODES, code, display)


def _concept(system: str, code: str, display: str) -> Json:
    return {"coding": [_coding(system, code, display)]}


def _coding(system: str, code: str, display: str) -> Json:
    return {"system": system, "code": code, "display": display}


def _kept(value: Any) -> Any:
    """The same without what is empty, which FHIR forbids, and with clean strings."""
    if isinstance(value, dict):
        pairs = ((key, _kept(one)) for key, one in value.items())
        return {key: one for key, one in pairs if one not in (None, "", [], {})}
    if isinstance(value, list):
        return [one for one in map(_kept, value) if one not in (None, "", [], {})]
    return printable(value) if isinstance(value, str) else value
