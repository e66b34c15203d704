"""What the FHIR bundle promises: valid R4 and R5, the numbers of the case, a person's word, nothing of the note."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from fhir.resources.bundle import Bundle as BundleR5
from fhir.resources.R4B.bundle import Bundle as BundleR4B

from medmm.case import MODALITIES
from medmm.result import Limits, Origin, Review, ScoredCase, Verdict
from medmm.write.fhir import CODES, LABELS, Release, bundle_of
from tests.scored import HEADER, MODEL, NOTE, scored_case
from tests.scored import LABELS as NAMES

AT = datetime(2026, 11, 2, 3, 4, 5, 678000, tzinfo=UTC)
RELEASES: tuple[Release, ...] = get_args(Release)
VALIDATORS: dict[Release, Any] = {"R4": BundleR4B, "R5": BundleR5}
CASES = {
    "all sides": scored_case("c1"),
    "no film": scored_case("c1", views=()),
    "a film alone": scored_case("c1", note="", record={}),
}


def word(label: str, verdict: Verdict, hours: float, reviewer: str = "Dr Okafor", comment: str = "") -> Review:
    return Review("c1", MODEL, label, verdict, comment, reviewer, AT + timedelta(hours=hours))


def with_header(changed: Mapping[str, object]) -> ScoredCase:
    """The case with other elements in its study's header."""
    said = scored_case("c1")
    header = json.loads(HEADER) | dict(changed)
    return replace(said, evidence=replace(said.evidence, study=Origin("/nowhere", (), json.dumps(header))))


def told(said: ScoredCase, reviews: Sequence[Review] = (), release: Release = "R4") -> dict[str, list[dict[str, Any]]]:
    """The resources of the bundle by their kind."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for entry in bundle_of(said, AT, reviews, release)["entry"]:
        kinds.setdefault(entry["resource"]["resourceType"], []).append(entry["resource"])
    return kinds


def observation(label: str, said: ScoredCase, reviews: Sequence[Review] = ()) -> dict[str, Any]:
    (found,) = [one for one in told(said, reviews)["Observation"] if one["code"]["coding"][0]["code"] == label]
    return found


def components(one: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["code"]["coding"][0]["code"]: part for part in one["component"]}


def codes(concept: dict[str, Any]) -> list[str]:
    return [coding["code"] for coding in concept["coding"]]


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys included."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from (key, *strings(one))
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("reviewed", [False, True])
def test_every_bundle_is_valid_and_every_reference_in_it_leads_somewhere(
    release: Release, case: str, reviewed: bool
) -> None:
    reviews = [word("lung_cancer", "override", 1, comment="Old scar."), word("pneumonia", "cannot judge", 2)]

    bundle = bundle_of(CASES[case], AT, reviews if reviewed else [], release)

    VALIDATORS[release].model_validate_json(json.dumps(bundle))
    urls = {entry["fullUrl"] for entry in bundle["entry"]}
    assert urls == {f"urn:uuid:{entry['resource']['id']}" for entry in bundle["entry"]}
    assert len(urls) == len(bundle["entry"])
    referred = {text for text in strings(bundle["entry"]) if text.startswith("urn:uuid:")} - {CODES, LABELS}
    assert referred == urls


def test_a_bundle_of_one_release_is_refused_by_the_other() -> None:
    for release, validator, field in (("R4", BundleR5, "imagingStudy"), ("R5", BundleR4B, "study")):
        with pytest.raises(ValueError, match=f"resource.{field}\n"):
            validator.model_validate_json(json.dumps(bundle_of(CASES["all sides"], AT, [], release)))  # type: ignore[arg-type]


def test_an_observation_has_the_numbers_of_its_finding_to_the_last_digit() -> None:
    said = scored_case("c1")
    for finding in said.prediction.findings:
        one = observation(finding.label, said)
        parts = components(one)

        assert one["valueQuantity"] == {
            "value": finding.probability,
            "unit": "1",
            "system": "http://unitsofmeasure.org",
            "code": "1",
        }
        assert parts["122411"]["valueQuantity"]["value"] == finding.threshold
        added = [parts[f"FROM_{part.upper()}"]["valueQuantity"]["value"] for part in MODALITIES]
        assert added == [part.log_odds for part in finding.contributions]
        assert parts["BASE"]["valueQuantity"]["value"] == finding.base_log_odds
        assert parts["INTERACTION"]["valueQuantity"]["value"] == finding.interaction
        assert parts["BASE"]["valueQuantity"]["code"] == "{log-odds}"


def test_the_limits_of_a_model_that_promises_something_are_there() -> None:
    said = scored_case("c1")
    findings = tuple(replace(f, limits=Limits(0.1, 0.95, 0.1)) for f in said.prediction.findings)
    parts = components(
        observation("lung_cancer", replace(said, prediction=replace(said.prediction, findings=findings)))
    )

    assert parts["PRESENT_FROM"]["valueQuantity"]["value"] == 0.1
    assert parts["ABSENT_TO"]["valueQuantity"]["value"] == 0.95
    assert codes(parts["CALL"]["valueCodeableConcept"]) == ["UNCERTAIN", "IND"]


def test_flagged_is_positive_and_not_flagged_negative_in_hl7s_words() -> None:
    said = scored_case("c1")

    assert codes(observation("lung_cancer", said)["interpretation"][0]) == ["FLAGGED", "POS"]
    assert codes(observation("pneumonia", said)["interpretation"][0]) == ["NOT_FLAGGED", "NEG"]


def test_a_side_that_was_not_given_has_a_reason_in_place_of_a_number() -> None:
    parts = components(observation("lung_cancer", CASES["a film alone"]))

    assert codes(parts["FROM_NOTE"]["dataAbsentReason"]) == ["not-performed"]
    assert "valueQuantity" not in parts["FROM_NOTE"]
    assert "dataAbsentReason" not in parts["FROM_IMAGE"]


def test_a_word_makes_an_observation_final_and_another_one_amends_it() -> None:
    said = scored_case("c1")
    first = word("lung_cancer", "override", 1, comment="Old scar.")
    second = word("lung_cancer", "accept", 2, "Dr Sato")

    alone, once, twice = (observation("lung_cancer", said, words) for words in ([], [first], [first, second]))

    assert [one["status"] for one in (alone, once, twice)] == ["preliminary", "final", "amended"]
    assert "performer" not in alone
    assert once["performer"] == [{"type": "Practitioner", "display": "Dr Okafor"}]
    assert once["note"] == [
        {
            "authorString": "Dr Okafor",
            "time": "2026-11-02T04:04:05.678000+00:00",
            "text": "Overridden: not flagged. Old scar.",
        }
    ]
    assert codes(once["interpretation"][0]) == ["NOT_FLAGGED", "NEG"]
    assert codes(components(once)["CALL"]["valueCodeableConcept"]) == ["FLAGGED", "POS"]
    assert codes(twice["interpretation"][0]) == ["UNCERTAIN", "IND"]
    assert [one["issued"][:13] for one in (alone, once, twice)] == ["2026-11-02T03", "2026-11-02T04", "2026-11-02T05"]
    assert observation("pneumonia", said, [first])["status"] == "preliminary"


def test_who_cannot_judge_settles_nothing_and_an_adjudicator_settles_it() -> None:
    said = scored_case("c1")
    unable = word("lung_cancer", "cannot judge", 1)
    against = word("lung_cancer", "override", 2, "Dr Sato")
    for_it = word("lung_cancer", "accept", 3, "Dr Lind")
    last = replace(word("lung_cancer", "accept", 4, "Prof Roy"), reading="adjudicator")

    assert observation("lung_cancer", said, [unable])["status"] == "preliminary"
    ended = observation("lung_cancer", said, [unable, against, for_it, last])
    assert ended["status"] == "amended"
    assert codes(ended["interpretation"][0]) == ["FLAGGED", "POS"]
    assert len(ended["note"]) == 4
    unsure = replace(last, verdict="cannot judge")
    assert observation("lung_cancer", said, [unsure])["status"] == "preliminary"


def test_the_report_is_final_once_every_label_is() -> None:
    said = scored_case("c1")
    words = [word(label, "accept", n + 1) for n, label in enumerate(NAMES)]
    more = word(NAMES[0], "override", 9)

    said_of = [told(said, heard)["DiagnosticReport"][0]["status"] for heard in ([], words[:1], words, [*words, more])]

    assert said_of == ["partial", "preliminary", "final", "amended"]


def test_what_was_said_of_an_earlier_scoring_does_not_count() -> None:
    assert bundle_of(scored_case("c1"), AT, [word("lung_cancer", "override", -1)], "R5") == bundle_of(
        scored_case("c1"), AT, [], "R5"
    )


def test_the_report_says_what_was_found_and_points_at_the_study_by_its_uid() -> None:
    for release, field in (("R4", "imagingStudy"), ("R5", "study")):
        report = told(scored_case("c1"), release=release)["DiagnosticReport"][0]  # type: ignore[arg-type]

        assert report["conclusion"].startswith("Flagged: lung cancer. Not flagged: pneumonia, heart failure.")
        assert "not a diagnosis" in report["conclusion"]
        assert report["effectiveDateTime"] == "2026-11-01"
        (study,) = report[field]
        assert study["identifier"]["system"] == "urn:dicom:uid"
        assert study["identifier"]["value"] == "urn:oid:1.2.3"
        assert codes(study["identifier"]["type"]) == ["110180"]
    assert observation("pneumonia", scored_case("c1"))["partOf"] == [study]


def test_the_accession_number_names_the_order() -> None:
    said = with_header({"00080050": {"vr": "SH", "Value": ["A-77"]}})

    (order,) = observation("pneumonia", said)["basedOn"]
    assert order["type"] == "ServiceRequest"
    assert order["identifier"]["value"] == "A-77"


def test_the_patient_is_whom_the_files_name() -> None:
    groups = {"Alphabetic": "Yamada^Tarō^^Dr", "Ideographic": "山田^太郎"}
    said = with_header(
        {
            "00100010": {"vr": "PN", "Value": [groups]},
            "00100021": {"vr": "LO", "Value": ["St. Agnes"]},
            "00100040": {"vr": "CS"},
        }
    )

    (patient,) = told(said)["Patient"]

    assert patient["identifier"][0]["value"] == "P-0001"
    assert patient["identifier"][0]["assigner"] == {"display": "St. Agnes"}
    assert patient["birthDate"] == "1952-03-04"
    assert "gender" not in patient
    latin, kanji = patient["name"]
    assert (latin["family"], latin["given"], latin["prefix"]) == ("Yamada", ["Tarō"], ["Dr"])
    assert (kanji["family"], kanji["given"], kanji["extension"][0]["valueCode"]) == ("山田", ["太郎"], "IDE")
    BundleR4B.model_validate_json(json.dumps(bundle_of(said, AT, [], "R4")))


@pytest.mark.parametrize("header", ["", "{}", json.dumps({"00100030": {"vr": "DA", "Value": ["unknown"]}})])
def test_files_that_name_nobody_give_a_bundle_without_a_patient(header: str) -> None:
    said = scored_case("c1")
    said = replace(said, evidence=replace(said.evidence, study=Origin("/nowhere", (), header)))

    assert "Patient" not in told(said)
    assert not [one for one in told(said)["Observation"] if "subject" in one or "partOf" in one]


def test_the_device_says_which_model_and_which_medmm_spoke() -> None:
    (old,), (new,) = (told(scored_case("c1"), release=release)["Device"] for release in RELEASES)

    assert [version["value"] for version in old["version"]][1] == MODEL
    assert old["deviceName"][0]["name"] == new["displayName"] == "medmm"
    assert {one["device"]["reference"] for one in told(scored_case("c1"))["Observation"]} == {f"urn:uuid:{old['id']}"}


def test_the_same_prediction_gives_the_same_bytes_and_another_one_other_ids() -> None:
    def dumped(said: ScoredCase) -> str:
        return json.dumps(bundle_of(said, AT, [word("pneumonia", "accept", 1)], "R4"), sort_keys=True)

    assert dumped(scored_case("c1")) == dumped(scored_case("c1"))
    others = (scored_case("c1", content="d" * 64), scored_case("c2"))
    ids = [{entry["fullUrl"] for entry in json.loads(dumped(said))["entry"]} for said in (scored_case("c1"), *others)]
    device = set.intersection(*ids)
    assert len(device) == 1
    assert not (ids[0] - device) & (ids[1] | ids[2])


@pytest.mark.parametrize("release", RELEASES)
def test_nothing_of_the_note_is_in_it(release: Literal["R4", "R5"]) -> None:
    told = json.dumps(bundle_of(scored_case("c1"), AT, [word("pneumonia", "accept", 1)], release))

    assert not [part for part in ("smoker", "Haemoptysis", "fever", NOTE[:20]) if part in told]


def test_odd_characters_and_empty_values_do_not_make_it_invalid() -> None:
    said = with_header(
        {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "^\x00\ud800Ü^^"}]}, "00100020": {"vr": "LO"}}
    )
    odd = replace(said, prediction=replace(said.prediction, doubts=("\x07odd",)))

    bundle = bundle_of(odd, AT, [word("pneumonia", "accept", 1, " ", "\x0b line\nnext ")], "R5")

    BundleR5.model_validate_json(json.dumps(bundle, ensure_ascii=False).encode())
    assert not [text for text in strings(bundle) if not text.strip()]


def test_the_document_names_the_code_systems_and_every_code() -> None:
    page = (Path(__file__).parent.parent / "docs" / "fhir.md").read_text(encoding="utf-8")
    said = scored_case("c1")
    findings = tuple(replace(f, limits=Limits(0.1, 0.95, 0.1)) for f in said.prediction.findings)
    bundle = bundle_of(replace(said, prediction=replace(said.prediction, findings=findings)), AT, [], "R4")
    own = {one["code"] for one in codings(bundle) if one["system"] == CODES}

    assert CODES in page
    assert LABELS in page
    assert {"CALL", "FROM_RECORD", "UNCERTAIN", "PRESENT_FROM"} <= own
    assert not [code for code in own if f"`{code}`" not in page]


def codings(value: Any) -> Iterator[dict[str, str]]:
    """Every Coding in a JSON value."""
    if isinstance(value, dict):
        if {"system", "code", "display"} <= set(value):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from codings(one)
