"""A prediction as a DICOM SR document in the study that it was made from: TID 1500 (PS3.16), through highdicom."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from medmm.result import Film, Finding, Review, ScoredCase
from medmm.write.dicom.study import (
    LOG_ODDS,
    NAME,
    RESEARCH,
    Stamp,
    described,
    films_of,
    finish,
    label_code,
    own_code,
    source_of,
    study_of,
    uid,
)
from medmm.write.examined import examined
from medmm.write.words import SUPPORT, heard, is_settled, printable, standing

if TYPE_CHECKING:
    from highdicom.sr import ComprehensiveSR, ContentItem, Measurement, MeasurementsAndQualitativeEvaluations
    from pydicom import Dataset
    from pydicom.sr.coding import Code

SERIES = 9901
"""Series Number (0020,0011) of reports."""
_NOT_STATED = "not stated"


def report_of(said: ScoredCase, scored_at: datetime, reviews: Sequence[Review] = ()) -> ComprehensiveSR:
    """Make the report of one case: an Imaging Measurement Report with a measurement group for each finding.

    The newest word of each person on each label adds a group whose observer is that person. The document is VERIFIED
    and final only if people decided on every finding; otherwise it is UNVERIFIED and preliminary. Nothing of the note
    is in it. Images of the prior study are named as other evidence, never as evidence of this study.

    Args:
        said: a case that was read from DICOM.
        scored_at: when; with the newest review, of all dates.
        reviews: of this case and model, oldest first.

    Raises:
        DataError: if the case was not read from a DICOM study.
    """
    from highdicom.sr import ComprehensiveSR

    spoken = heard(said.prediction, reviews, scored_at)
    words = [word for finding in said.prediction.findings for word in standing(finding, spoken).words]
    stamp = Stamp(said, max([scored_at, *(word.at for word in words)]))
    study = study_of(said.prediction.case_id, said.evidence.study)
    films = films_of(stamp)
    final = all(is_settled(finding, words) for finding in said.prediction.findings)
    made = ComprehensiveSR(
        evidence=[*(source_of(film, study.StudyInstanceUID) for film in films), *_of_the_prior_study(said)],
        content=_content(stamp, films, words)[0],
        series_instance_uid=uid(study.StudyInstanceUID, said.prediction.model_id, "report"),
        series_number=SERIES,
        sop_instance_uid=stamp.uid("report", *_spoken(words)),
        instance_number=1 + len(words),
        is_complete=True,
        is_final=final,
        series_description=described(f"{NAME} report. {RESEARCH}"),
        specific_character_set="ISO_IR 192",
    )
    if final:
        _verify(made, words)
    finish(made, study, stamp)
    made.ObservationDateTime = _time(scored_at)
    return made


def _spoken(words: Sequence[Review]) -> list[str]:
    """What tells this report from one with other reviews."""
    return [part for word in words for part in (word.label, word.verdict, word.reviewer, word.comment, _time(word.at))]


def _time(at: datetime) -> str:
    """Date and time with its offset from UTC (PS3.5 6.2, DT)."""
    return at.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")


def _of_the_prior_study(said: ScoredCase) -> list[Dataset]:
    """Images of the prior study that was looked at, if it is DICOM."""
    earlier = examined(said.evidence.prior).study_uid
    films = [film for film in said.evidence.films if film.prior and film.instance_uid and earlier]
    return [source_of(film, earlier) for film in films]


def _verify(made: ComprehensiveSR, words: Sequence[Review]) -> None:
    """Name everyone who could judge (PS3.3 C.17.2)."""
    from pydicom import Dataset

    people = []
    judging = sorted((word for word in words if word.verdict != "cannot judge"), key=lambda word: word.at)
    for name, at in {word.reviewer: word.at for word in judging}.items():
        person = Dataset()
        person.VerifyingObserverName = _person(name)
        person.VerifyingOrganization = _NOT_STATED
        person.VerificationDateTime = _time(at)
        person.VerifyingObserverIdentificationCodeSequence = []
        people.append(person)
    made.VerificationFlag = "VERIFIED"
    made.VerifyingObserverSequence = people


def _person(name: str) -> str:
    """A reviewer's name as the first component of a person name (PS3.5 6.2, PN)."""
    return f"{described(name.translate(str.maketrans('^=', '  ')), most=63) or _NOT_STATED}^"


def _content(stamp: Stamp, films: Sequence[Film], words: Sequence[Review]) -> Sequence[Dataset]:
    """The tree of the document: TID 1500, with what is said of the case as a whole."""
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes

    said = stamp.said.prediction
    device = DeviceObserverIdentifyingAttributes(
        uid=uid(NAME, version(NAME), said.model_id), name=NAME, manufacturer_name=NAME, model_name=said.model_id
    )
    groups = [
        *(_said_of(finding, stamp, films) for finding in said.findings),
        *(_word_on(word, stamp) for word in words),
    ]
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device)),
        procedure_reported=codes.cid100.ImagingProcedure,
        imaging_measurements=groups,
    )
    report[0].ContentSequence.append(_of_the_whole(stamp))
    return report


def _said_of(finding: Finding, stamp: Stamp, films: Sequence[Film]) -> MeasurementsAndQualitativeEvaluations:
    """What the model says of one label: TID 1501."""
    from highdicom.sr import (
        AlgorithmIdentification,
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )

    algorithm = AlgorithmIdentification(
        name=NAME, version=version(NAME), parameters=[f"model {stamp.said.prediction.model_id}"], manufacturer=NAME
    )
    call = QualitativeEvaluation(own_code("CALL", "Call of the model"), _word(finding.call))
    instances = {film.instance_uid: film.sop_class for film in films}
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(stamp.uid("finding", finding.label), finding.label),
        finding_type=label_code(finding.label),
        algorithm_id=algorithm,
        measurements=_numbers(finding),
        qualitative_evaluations=[call],
        source_images=[SourceImageForMeasurementGroup(kind, instance) for instance, kind in instances.items()],
    )


def _word(said: str) -> Code:
    """One of a few words as a code of ours: 'not flagged' is NOT_FLAGGED."""
    return own_code(said.upper().replace(" ", "_"), said)


def _numbers(finding: Finding) -> list[Measurement]:
    """Every number of a finding, to its last digit in Floating Point Value (0040,A161)."""
    from highdicom.sr import Measurement
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    def share(name: Code, value: float) -> Measurement:
        return Measurement(name=name, value=float(value), unit=codes.UCUM.NoUnits)

    def log_odds(name: Code, value: float) -> Measurement:
        return Measurement(name=name, value=float(value), unit=Code(*LOG_ODDS))

    limits = finding.limits
    promised = (
        []
        if limits is None
        else [
            share(own_code("PRESENT_FROM", "Not flagged only below this probability"), limits.present_from),
            share(own_code("ABSENT_TO", "Flagged only above this probability"), limits.absent_to),
        ]
    )
    return [
        share(codes.DCM.Probability, finding.probability),
        share(codes.DCM.ThresholdValue, finding.threshold),
        *promised,
        log_odds(own_code("BASE", "Log-odds of a case of which nothing is known"), finding.base_log_odds),
        *(
            log_odds(
                own_code(f"FROM_{part.modality.upper()}", f"Log-odds that the {part.modality} adds"), part.log_odds
            )
            for part in finding.contributions
        ),
        log_odds(own_code("INTERACTION", "Of these, log-odds that no modality adds alone"), finding.interaction),
    ]


def _word_on(word: Review, stamp: Stamp) -> MeasurementsAndQualitativeEvaluations:
    """A person's word on one label: a group of its own whose observer is that person (TID 1002)."""
    from highdicom.sr import (
        MeasurementsAndQualitativeEvaluations,
        ObserverContext,
        PersonObserverIdentifyingAttributes,
        QualitativeEvaluation,
        RelationshipTypeValues,
        TextContentItem,
        TrackingIdentifier,
    )
    from pydicom.sr.codedict import codes

    evaluations = [
        (own_code("VERDICT", "Verdict of a person"), _word(word.verdict)),
        (own_code("READING", "In which capacity"), _word(word.reading)),
    ]
    if word.present is not None:
        holds = codes.SCT.Present if word.present else codes.SCT.Absent
        evaluations.append((own_code("HOLDS", "Whether it is there, by this word"), holds))
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            stamp.uid("word", word.label, word.reviewer), f"{word.label}: a person's word"
        ),
        finding_type=label_code(word.label),
        qualitative_evaluations=[QualitativeEvaluation(*evaluation) for evaluation in evaluations],
    )
    person = PersonObserverIdentifyingAttributes(name=_person(word.reviewer))
    content = group[0].ContentSequence
    content.extend(ObserverContext(codes.DCM.Person, person))
    if comment := printable(word.comment):
        content.append(TextContentItem(codes.DCM.Comment, comment, RelationshipTypeValues.CONTAINS))
    if word.blind:
        before = "said before the model's answer was shown"
        content.append(TextContentItem(own_code("BLIND", "Blind"), before, RelationshipTypeValues.CONTAINS))
    return group


def _of_the_whole(stamp: Stamp) -> ContentItem:
    """What is said of the case and not of one finding, as text: rows 14 to 16 of TID 1500."""
    from highdicom.sr import ContainerContentItem, ContentSequence, RelationshipTypeValues, TextContentItem
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    said = stamp.said.prediction
    lines = [
        (codes.DCM.Comment, SUPPORT),
        (own_code("GIVEN", "Given to the model"), ", ".join(said.present)),
        (own_code("NOT_GIVEN", "Not given to the model"), ", ".join(said.absent)),
        *((own_code("DOUBT", "Doubt about this case"), doubt) for doubt in said.doubts),
        *((own_code("REMARK", "Remark of the reader"), remark) for remark in said.remarks),
    ]
    whole = ContainerContentItem(
        Code("C0034375", "UMLS", "Qualitative Evaluations"), relationship_type=RelationshipTypeValues.CONTAINS
    )
    whole.ContentSequence = ContentSequence(
        [
            TextContentItem(name, text, RelationshipTypeValues.CONTAINS)
            for name, stated in lines
            if (text := printable(stated))
        ]
    )
    return whole
