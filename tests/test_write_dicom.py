"""DICOM objects of a prediction: valid, in the original study, the same numbers, and nothing that is not theirs."""

from __future__ import annotations

import io
import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom.pm import ParametricMap
from highdicom.sr import srread
from pydicom import Dataset

from medmm.errors import DataError, Reason
from medmm.result import Finding, Limits, Review, ScoredCase
from medmm.write.dicom.capture import capture_of
from medmm.write.dicom.parametric import NOT_LOOKED, map_of
from medmm.write.dicom.report import report_of
from medmm.write.dicom.study import Drawn, Stamp, drawn_on, study_of, write_dicom
from medmm.write.paint import COOL, WARM
from medmm.write.picture import picture_path
from tests.dicom_files import CANARIES, ramp, write
from tests.exported import AT, complaints, content, read_case, word, written
from tests.scored import BASE, LABELS, NOTE

ODD: dict[str, dict[str, Any]] = {
    "nothing odd": {"StudyDate": "20261101", "StudyTime": "101500.5", "PatientSex": "F", "StudyID": "7"},
    "no birth date": {"PatientBirthDate": None, "PatientSex": None},
    "empty birth date, accession and physician": {
        "PatientBirthDate": "",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
    },
    "a name that is not ASCII": {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller-Østergård^Ægir"},
    "a name of Latin-1": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jürg"},
    "a name in three scripts": {
        "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    },
    "no name and no id": {"PatientName": None, "PatientID": None},
    "dates of ACR-NEMA": {"PatientBirthDate": "1952.03.04", "StudyDate": "2026.11.01", "StudyTime": "10:15:00"},
    "a birth date, a time and a sex that are none": {
        "PatientBirthDate": "19520399",
        "StudyTime": "996100",
        "PatientSex": "X",
    },
}
"""What is odd about a header -> its elements."""


@pytest.fixture
def films(tmp_path: Path) -> Path:
    return tmp_path / "films"


@pytest.fixture
def said(tmp_path: Path, films: Path) -> ScoredCase:
    """A case of two films of one study, and of one film of a prior study."""
    known: dict[str, Any] = {"StudyDate": "20261101", "StudyTime": "101500", "PatientSex": "F"}
    write(tmp_path / "study" / "a.dcm", ramp(), SOPInstanceUID="1.2.3.4.1", **known)
    write(tmp_path / "study" / "b.dcm", ramp() + np.uint16(1), SOPInstanceUID="1.2.3.4.2", **known)
    earlier: dict[str, Any] = {
        "StudyInstanceUID": "1.2.9",
        "SeriesInstanceUID": "1.2.9.4",
        "SOPInstanceUID": "1.2.9.4.1",
    }
    write(tmp_path / "prior" / "c.dcm", ramp() + np.uint16(2), StudyDate="20250101", **earlier)
    return read_case("c1", tmp_path / "study", films, tmp_path / "prior")


def objects(said: ScoredCase, films: Path) -> dict[str, Dataset]:
    """One object of each kind."""
    stamp = Stamp(said, AT)
    drawn = drawn_on(stamp)[0]
    return {
        "report": report_of(said, AT),
        "report with a word": report_of(said, AT, [word("pneumonia", comment="Grüße,\nno infiltrate", blind=True)]),
        "verified report": report_of(said, AT, [word(label, present=True) for label in LABELS]),
        "capture": capture_of(drawn, stamp, films),
        "map": map_of(drawn, stamp),
    }


# valid


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_every_object_is_valid_dicom_whatever_the_header_of_the_study(odd: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path / "study" / "a.dcm", ramp(), **odd)
    said = read_case("c1", tmp_path / "study", tmp_path / "films")

    made = objects(said, tmp_path / "films")

    assert {kind: complaints(written(tmp_path, one)) for kind, one in made.items()} == {kind: [] for kind in made}


def test_dciodvfy_finds_what_is_wrong_so_that_its_silence_says_something(said: ScoredCase, tmp_path: Path) -> None:
    made = report_of(said, AT)
    del made.CompletionFlag

    assert any(line.startswith("Error") and "CompletionFlag" in line for line in complaints(written(tmp_path, made)))


@pytest.mark.parametrize(
    "label",
    ["a" * 70, "肺" * 70, "Lungenödem \\ 肺", "x=^y"],
    ids=["long", "long and wide", "a backslash", "marks of names"],
)
def test_labels_of_any_length_and_script_are_valid_codes_of_our_own(
    label: str, said: ScoredCase, films: Path, tmp_path: Path
) -> None:
    named = labelled(said, label)

    made = objects(named, films)

    assert {kind: complaints(written(tmp_path, one)) for kind, one in made.items()} == {kind: [] for kind in made}
    assert content(made["report"], "121071")[0].ConceptCodeSequence[0].CodingSchemeDesignator == "99MEDMM"


@pytest.mark.parametrize("letters", [63, 64, 90])
@pytest.mark.parametrize("letter", ["a", "肺"])
def test_people_with_names_of_any_length_verify_a_valid_report(
    letter: str, letters: int, said: ScoredCase, tmp_path: Path
) -> None:
    made = report_of(said, AT, [word(label, present=True, reviewer=letter * letters) for label in LABELS])

    assert complaints(written(tmp_path, made)) == []


def labelled(said: ScoredCase, label: str) -> ScoredCase:
    """The same case with another name for its first label."""
    (finding, *others), (explanation, *rest) = said.prediction.findings, said.evidence.explanations
    prediction = replace(said.prediction, findings=(replace(finding, label=label), *others))
    evidence = replace(said.evidence, explanations=(replace(explanation, label=label), *rest))
    return replace(said, prediction=prediction, evidence=evidence)


# in the study that the case was read from


def test_every_object_lies_in_the_original_study(said: ScoredCase, films: Path, tmp_path: Path) -> None:
    film = pydicom.dcmread(tmp_path / "study" / "a.dcm")

    for made in objects(said, films).values():
        again = pydicom.dcmread(written(tmp_path, made))
        for keyword in (
            *("StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber"),
            *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
        ):
            assert again[keyword].value == film[keyword].value, keyword
        assert again.SeriesInstanceUID != film.SeriesInstanceUID


@pytest.mark.parametrize("odd", ["a name of Latin-1", "a name in three scripts", "a name that is not ASCII"])
def test_a_name_is_the_same_name_in_any_character_set(odd: str, tmp_path: Path) -> None:
    write(tmp_path / "study" / "a.dcm", ramp(), **ODD[odd])
    said = read_case("c1", tmp_path / "study", tmp_path / "films")

    again = pydicom.dcmread(written(tmp_path, report_of(said, AT)))

    assert str(again.PatientName) == ODD[odd]["PatientName"]


def test_a_report_refers_to_the_films_and_calls_those_of_the_prior_study_other_evidence(said: ScoredCase) -> None:
    made = report_of(said, AT)

    images = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in content(made, "121112")}
    assert images == {"1.2.3.4.1", "1.2.3.4.2"}
    assert instances(made.CurrentRequestedProcedureEvidenceSequence) == {"1.2.3": {"1.2.3.4.1", "1.2.3.4.2"}}
    assert instances(made.PertinentOtherEvidenceSequence) == {"1.2.9": {"1.2.9.4.1"}}


def test_a_prior_study_that_does_not_say_which_it_is_keeps_nothing_from_being_reported(said: ScoredCase) -> None:
    assert said.evidence.prior is not None
    prior = replace(said.evidence.prior, header="")

    made = report_of(replace(said, evidence=replace(said.evidence, prior=prior)), AT)

    assert "PertinentOtherEvidenceSequence" not in made
    assert instances(made.CurrentRequestedProcedureEvidenceSequence) == {"1.2.3": {"1.2.3.4.1", "1.2.3.4.2"}}


def test_frames_of_one_instance_are_one_reference(said: ScoredCase, tmp_path: Path) -> None:
    first, *_ = said.evidence.films
    frames = tuple(replace(first, part=f"frame {number} of 3") for number in (1, 2, 3))

    made = report_of(replace(said, evidence=replace(said.evidence, films=frames)), AT)

    assert len(content(made, "121112")) == len(LABELS)
    assert complaints(written(tmp_path, made)) == []


def instances(evidence: Any) -> dict[str, set[str]]:
    """Study -> its instances."""
    return {
        str(study.StudyInstanceUID): {
            str(item.ReferencedSOPInstanceUID)
            for series in study.ReferencedSeriesSequence
            for item in series.ReferencedSOPSequence
        }
        for study in evidence
    }


def test_captures_and_maps_are_made_of_the_films_of_now_and_name_their_source(said: ScoredCase, films: Path) -> None:
    stamp = Stamp(said, AT)

    drawn = drawn_on(stamp)

    assert [(one.finding.label, one.film.instance_uid) for one in drawn] == [
        (label, instance) for label in LABELS for instance in ("1.2.3.4.1", "1.2.3.4.2")
    ]
    for made in (capture_of(drawn[1], stamp, films), map_of(drawn[1], stamp)):
        assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.2"


# what a report says


def test_a_report_read_back_gives_every_number_to_its_last_digit(said: ScoredCase, tmp_path: Path) -> None:
    limits = Limits(present_from=0.1234567890123456, absent_to=0.7654321098765432, error=0.1)
    findings = tuple(replace(f, probability=f.probability / 3, limits=limits) for f in said.prediction.findings)
    said = replace(said, prediction=replace(said.prediction, findings=findings))

    again = srread(written(tmp_path, report_of(said, AT)))

    report: Any = again.content
    groups = report.get_image_measurement_groups()
    assert [numbers(group) for group in groups] == [expected(finding) for finding in findings]


def numbers(group: Any) -> dict[str, float]:
    return {measurement.name.value: measurement.value for measurement in group.get_measurements()}


def expected(finding: Finding) -> dict[str, float]:
    """What a report must say of a finding, by code value."""
    assert finding.limits is not None
    return {
        "122157": finding.probability,
        "122411": finding.threshold,
        "PRESENT_FROM": finding.limits.present_from,
        "ABSENT_TO": finding.limits.absent_to,
        "BASE": BASE,
        **{f"FROM_{part.modality.upper()}": part.log_odds for part in finding.contributions},
        "INTERACTION": finding.interaction,
    }


@pytest.mark.parametrize(
    ("probability", "value"), [(0.9, "FLAGGED"), (0.1, "NOT_FLAGGED"), (0.5, "UNCERTAIN"), (0.35, "UNCERTAIN")]
)
def test_a_report_says_one_of_three_words(said: ScoredCase, probability: float, value: str) -> None:
    limits = Limits(present_from=0.3, absent_to=0.6, error=0.1)
    findings = tuple(replace(f, probability=probability, limits=limits) for f in said.prediction.findings)

    made = report_of(replace(said, prediction=replace(said.prediction, findings=findings)), AT)

    calls = [item.ConceptCodeSequence[0] for item in content(made, "CALL")]
    assert [(call.CodeValue, call.CodingSchemeDesignator) for call in calls] == [(value, "99MEDMM")] * 3


def test_a_report_names_the_algorithm_its_version_and_the_model(said: ScoredCase) -> None:
    made = report_of(said, AT)

    algorithm = [{item.TextValue for item in content(made, code)} for code in ("111001", "111003", "111002")]
    assert algorithm == [{"medmm"}, {made.SoftwareVersions[0]}, {f"model {said.prediction.model_id}"}]
    assert made.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_labels_that_snomed_knows_have_its_codes(said: ScoredCase) -> None:
    found = [item.ConceptCodeSequence[0] for item in content(report_of(said, AT), "121071")]

    assert [(code.CodeValue, code.CodingSchemeDesignator) for code in found] == [
        ("233604007", "SCT"),
        ("84114007", "SCT"),
        ("93880001", "SCT"),
    ]


def test_doubts_remarks_and_what_was_not_given_are_said_and_that_it_is_not_for_diagnosis(said: ScoredCase) -> None:
    prediction = replace(said.prediction, doubts=("unlike: darker",), remarks=("one", "two"), absent=("record",))

    made = report_of(replace(said, prediction=prediction), AT)

    texts = {item.TextValue for item in content(made, "DOUBT", "REMARK", "NOT_GIVEN", "121106")}
    assert {"unlike: darker", "one", "two", "record"} < texts
    assert any("not a diagnosis" in text for text in texts)
    assert "not for diagnosis" in made.SeriesDescription


def test_the_note_is_in_no_object(said: ScoredCase, films: Path) -> None:
    for kind, made in objects(said, films).items():
        raw = as_bytes(made)
        assert not any(part.encode() in raw for part in (NOTE, "weight loss", "Haemoptysis")), kind


def as_bytes(made: Dataset) -> bytes:
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


# people


def test_a_report_is_verified_only_when_a_person_judged_every_finding(said: ScoredCase) -> None:
    def flags(*words: Review) -> tuple[str, str, str]:
        made = report_of(said, AT, words)
        return made.CompletionFlag, made.VerificationFlag, made.PreliminaryFlag

    everything = [word(label) for label in LABELS]
    assert flags() == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    assert flags(*everything[:2]) == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    assert flags(*everything) == ("COMPLETE", "VERIFIED", "FINAL")
    assert flags(*everything, word(LABELS[0], 9, verdict="cannot judge")) == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")


def test_whoever_verified_is_named_with_the_time_of_the_last_word(said: ScoredCase) -> None:
    words = [word(LABELS[0], 3), word(LABELS[1], 7), word(LABELS[2], 5, reviewer="Ödön^Two")]

    made = report_of(said, AT, words)

    people = {str(one.VerifyingObserverName): str(one.VerificationDateTime) for one in made.VerifyingObserverSequence}
    assert people == {"reader one^": "20250304023715+0000", "Ödön Two^": "20250304023515+0000"}


def test_the_newest_word_of_each_person_is_in_with_its_comment_and_none_from_before_the_scoring(
    said: ScoredCase, tmp_path: Path
) -> None:
    words = [
        word("pneumonia", -5, comment="of an earlier scoring"),
        word("pneumonia", 1, comment="taken for another"),
        word("pneumonia", 2, verdict="override", present=True, comment="infiltrate at the left base"),
        word("pneumonia", 3, reviewer="reader two", reading="second reader", present=False),
    ]

    again = pydicom.dcmread(written(tmp_path, report_of(said, AT, words)))

    said_of = [
        (
            [str(item.PersonName) for item in content(group, "121008")],
            [item.ConceptCodeSequence[0].CodeMeaning for item in content(group, "VERDICT", "READING", "HOLDS")],
            [item.TextValue for item in content(group, "121106")],
        )
        for group in content(again, "125007")
        if content(group, "121008")
    ]
    assert said_of == [
        (["reader one^"], ["override", "first reader", "Present"], ["infiltrate at the left base"]),
        (["reader two^"], ["accept", "second reader", "Absent"], []),
    ]


# the same again


def test_the_same_prediction_gives_the_same_bytes(said: ScoredCase, films: Path) -> None:
    first = {kind: as_bytes(made) for kind, made in objects(said, films).items()}

    again = {
        kind: as_bytes(made) for kind, made in objects(said, films).items()
    }  # to the microsecond: no clock is left

    assert again == first


def test_every_date_is_that_of_the_study_of_the_scoring_or_of_the_last_word(said: ScoredCase, films: Path) -> None:
    for kind, made in objects(said, films).items():
        days = {str(element.value)[:8] for element in made.iterall() if element.VR in ("DA", "DT")}
        times = {made.ContentTime, made.InstanceCreationTime}
        assert days == {"19010203", "20261101", "20250304"}, kind
        assert times == {"023515" if "word" in kind or "verified" in kind else "023015"}


def test_another_prediction_or_another_word_is_another_instance_of_the_same_series(said: ScoredCase) -> None:
    reports = [
        report_of(said, AT),
        report_of(replace(said, content="d" * 64), AT),
        report_of(said, AT, [word("pneumonia")]),
        report_of(said, AT, [word("pneumonia", comment="with a comment")]),
    ]

    assert len({made.SOPInstanceUID for made in reports}) == 4
    assert len({made.SeriesInstanceUID for made in reports}) == 1


def test_no_two_overlays_share_a_uid(said: ScoredCase, films: Path) -> None:
    stamp = Stamp(said, AT)

    made = [one for drawn in drawn_on(stamp) for one in (capture_of(drawn, stamp, films), map_of(drawn, stamp))]

    assert len({one.SOPInstanceUID for one in made}) == len(made) == 12
    assert len({one.SeriesInstanceUID for one in made}) == 2


# pixels


def strongest(drawn: Drawn, sign: int) -> tuple[int, int]:
    """The pixel that speaks most for the finding, or most against it."""
    heatmap = np.nan_to_num(sign * drawn.overlay.heatmap(), nan=-np.inf)
    row, column = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    return int(row), int(column)


def test_a_capture_shows_the_overlay_where_it_lies_above_a_legend(said: ScoredCase, films: Path) -> None:
    stamp = Stamp(said, AT)
    drawn = drawn_on(stamp)[0]

    made = capture_of(drawn, stamp, films)

    pixels = made.pixel_array.astype(int)
    rows, columns = ramp().shape
    (up, left), (down, right) = strongest(drawn, 1), strongest(drawn, -1)
    warm, cool = pixels[up, left], pixels[down, right]
    assert warm[0] - warm[2] > (WARM[0] - WARM[2]) / 4
    assert cool[2] - cool[0] > (COOL[2] - COOL[0]) / 8
    assert pixels[rows:].max() > 200  # letters
    assert pixels[:rows, columns:].max() == 0
    assert made.ImageType == ["DERIVED", "SECONDARY"]
    assert made.BurnedInAnnotation == "YES"
    assert "not for diagnosis" in made.ImageComments


def test_a_capture_leaves_the_film_as_it_is_where_the_model_did_not_look(said: ScoredCase, films: Path) -> None:
    from PIL import Image

    stamp = Stamp(said, AT)
    drawn = drawn_on(stamp)[0]
    blind = replace(drawn, overlay=replace(drawn.overlay, cells=np.full_like(drawn.overlay.cells, np.nan)))

    made = capture_of(blind, stamp, films)

    film = np.asarray(Image.open(picture_path(films, drawn.film.digest)).convert("RGB"))
    np.testing.assert_array_equal(made.pixel_array[: film.shape[0], : film.shape[1]], film)


def test_a_capture_fits_a_picture_that_was_read_at_half_its_resolution(said: ScoredCase, films: Path) -> None:
    stamp = Stamp(said, AT)
    drawn = drawn_on(stamp)[0]
    place = replace(drawn.overlay.placement, rows=96, columns=80)

    half = capture_of(replace(drawn, overlay=replace(drawn.overlay, placement=place)), stamp, films)

    np.testing.assert_array_equal(half.pixel_array, capture_of(drawn, stamp, films).pixel_array)


def test_a_map_holds_the_log_odds_of_every_pixel_in_the_grid_of_its_film(said: ScoredCase, tmp_path: Path) -> None:
    stamp = Stamp(said, AT)
    drawn = drawn_on(stamp)[0]
    cells = drawn.overlay.cells.copy()
    cells[:, :3] = np.nan
    drawn = replace(drawn, overlay=replace(drawn.overlay, cells=cells))

    again = ParametricMap.from_file(written(tmp_path, map_of(drawn, stamp)))

    stored, heatmap = again.pixel_array, drawn.overlay.heatmap()
    looked = np.isfinite(heatmap)
    assert 0 < looked.sum() < looked.size
    np.testing.assert_array_equal(stored[looked], heatmap[looked])
    assert set(stored[~looked].tolist()) == {NOT_LOOKED} == {again.FloatPixelPaddingValue}
    mapping = again.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "{log-odds}"
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert mapping.DoubleFloatRealWorldValueLastValueMapped >= np.abs(heatmap[looked]).max() - 1e-6
    assert again.ContentQualification == "RESEARCH"


@pytest.mark.parametrize("end", [1e-4, 0.05, 40.0])
def test_a_map_of_any_strength_is_valid(said: ScoredCase, tmp_path: Path, end: float) -> None:
    stamp = Stamp(said, AT)

    made = map_of(replace(drawn_on(stamp)[0], end=end), stamp)

    assert complaints(written(tmp_path, made)) == []
    assert made.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0].WindowWidth == pytest.approx(2 * end)


# what cannot be


def test_a_case_without_a_dicom_study_is_refused_with_a_remedy(said: ScoredCase, films: Path) -> None:
    bare = replace(said, evidence=replace(said.evidence, study=None))
    assert said.evidence.study is not None
    photograph = replace(said, evidence=replace(said.evidence, study=replace(said.evidence.study, header="")))
    nameless = replace(said, evidence=replace(said.evidence, study=replace(said.evidence.study, header="{}")))

    for case, code in ((bare, "missing-study"), (photograph, "not-dicom"), (nameless, "corrupt")):
        for attempt in (lambda case=case: report_of(case, AT), lambda case=case: drawn_on(Stamp(case, AT))):
            with pytest.raises(DataError) as caught:
                attempt()
            assert (caught.value.case_id, caught.value.code) == ("c1", code)
            assert caught.value.remedy


def test_a_case_that_does_not_name_its_instances_is_refused(said: ScoredCase) -> None:
    unnamed = tuple(replace(film, instance_uid="") for film in said.evidence.films)

    with pytest.raises(DataError, match="does not say of which DICOM images") as caught:
        report_of(replace(said, evidence=replace(said.evidence, films=unnamed)), AT)

    assert caught.value.code == Reason.NO_PIXELS


def test_a_capture_without_the_picture_and_a_map_of_a_slice_are_refused(said: ScoredCase, films: Path) -> None:
    stamp = Stamp(said, AT)
    drawn = drawn_on(stamp)[0]
    picture_path(films, drawn.film.digest).unlink()

    with pytest.raises(DataError, match="picture of a film") as caught:
        capture_of(drawn, stamp, films)
    assert caught.value.code == Reason.NO_PIXELS
    with pytest.raises(DataError, match="place in the patient") as caught:
        map_of(replace(drawn, film=replace(drawn.film, part="slice 2 of 5")), stamp)
    assert caught.value.code == Reason.UNSUPPORTED


def test_nothing_of_a_patient_is_logged_warned_of_or_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    odd: dict[str, Any] = {
        "PatientName": "CANARYNAME",
        "PatientBirthDate": "1901020X",
        "AccessionNumber": "CANARYACCESSION" * 3,
    }
    write(tmp_path / "study" / "a.dcm", ramp(), **odd)
    said = read_case("c1", tmp_path / "study", tmp_path / "films")

    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for made in objects(said, tmp_path / "films").values():
            write_dicom(tmp_path / "made.dcm", made)
        described = repr(study_of("c1", said.evidence.study).StudyInstanceUID)

    told = "".join([caplog.text, described, *capfd.readouterr(), *(str(one.message) for one in warned)])
    assert not any(canary in told for canary in (*CANARIES, "1901020X", "Haemoptysis"))
