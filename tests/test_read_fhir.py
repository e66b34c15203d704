"""FHIR resources, R4 and R5, become charts; a case takes from its chart what was there before its study."""

import base64
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from medmm.case import Note, Record
from medmm.config import CategoryColumn, CohortConfig, FhirConfig, NumberColumn, RecordColumn
from medmm.errors import CohortError, DataError, Reason
from medmm.read.chart import fhir
from medmm.read.chart.extract import Chart, add_readings
from medmm.read.chart.fhir import read_charts
from medmm.read.chart.units import UnitError, convert
from medmm.read.cohort import CaseRow, Cohort, join_sides, read_cohort
from tests.dicom_files import CANARIES

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
STUDY = datetime(2024, 5, 31, 14, 30)
BEFORE, AFTER = "2024-05-31T12:00:00+02:00", "2024-05-31T16:00:00+02:00"
COLUMNS: dict[str, RecordColumn] = {
    "crp": NumberColumn(unit="mg/L", low=0, high=500, code="1988-5"),
    "temperature": NumberColumn(unit="Cel", low=20, high=45, code="8310-5"),
    "systolic": NumberColumn(unit="mm[Hg]", low=20, high=350, code="8480-6"),
    "diastolic": NumberColumn(unit="mm[Hg]", low=10, high=250, code="http://loinc.org|8462-4"),
    "smoker": CategoryColumn(categories=("never", "current"), code="72166-2"),
    "age": NumberColumn(unit="a", low=0, high=120, code="Patient.age"),
    "sex": CategoryColumn(categories=("F", "M"), code="Patient.gender"),
}
CONFIG = CohortConfig(
    timezone="Europe/Vienna",  # two hours ahead in May
    record=COLUMNS,
    fhir=FhirConfig(note_types=("34117-2", "urn:house|anamnesis", "18748-4"), conditions=True),
)
PATIENT = {
    "resourceType": "Patient",
    "id": "p-1",
    "identifier": [{"system": "urn:mrn", "value": "CANARYID"}],
    "name": [{"family": "CANARYNAME"}],
    "gender": "female",
    "birthDate": "1964-05-31",
}


def concept(code: str, system: str = LOINC, **more: Any) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, **more}]}


def observation(code: str, value: float | None = None, unit: str = "", **more: Any) -> dict[str, Any]:
    quantity = {"valueQuantity": {"value": value, "unit": unit, "system": UCUM, "code": unit}} if unit else {}
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": concept(code),
        "subject": {"reference": "Patient/p-1"},
        "effectiveDateTime": BEFORE,
        **quantity,
        **more,
    }


def attached(text: str, media: str = "text/plain", **more: Any) -> dict[str, Any]:
    return {"contentType": media, "data": base64.b64encode(text.encode()).decode(), **more}


def document(text: str = "Cough.", media: str = "text/plain", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "DocumentReference",
        "status": "current",
        "type": concept("34117-2"),
        "subject": {"reference": "Patient/p-1"},
        "date": BEFORE,
        "content": [{"attachment": attached(text, media)}],
        **more,
    }


def report(text: str = "Old film: clear.", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "code": concept("18748-4"),
        "subject": {"reference": "Patient/p-1"},
        "effectiveDateTime": "2023-01-01T09:00:00+01:00",
        "issued": "2023-01-01T11:00:00+01:00",
        "conclusion": "CANARYNOTE",
        "presentedForm": [attached(text)],
        **more,
    }


def condition(name: str = "asthma", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Condition",
        "clinicalStatus": concept("active", "http://terminology.hl7.org/CodeSystem/condition-clinical"),
        "code": {"text": name},
        "subject": {"reference": "Patient/p-1"},
        "recordedDate": "2019-03-01",
        **more,
    }


def bundle(*resources: dict[str, Any]) -> dict[str, Any]:
    entries = [{"fullUrl": f"https://example.org/fhir/x/{n}", "resource": one} for n, one in enumerate(resources)]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def charts(folder: Path, *resources: dict[str, Any], config: CohortConfig = CONFIG) -> dict[str, Chart]:
    folder.mkdir(exist_ok=True)
    (folder / "all.json").write_text(json.dumps(bundle(PATIENT, *resources)))
    return read_charts(folder, ["CANARYID"], config)[0]


def sides(
    folder: Path, *resources: dict[str, Any], time: datetime | None = STUDY, config: CohortConfig = CONFIG
) -> tuple[Note | None, Record | None, tuple[str, ...]]:
    row = CaseRow("c1", "CANARYID", None, chart=charts(folder, *resources, config=config).get("CANARYID"))
    found = join_sides(Cohort(folder, config, ()), row, time)
    assert not any(canary in repr((row, found)) for canary in CANARIES)
    return found


def values(folder: Path, *resources: dict[str, Any], time: datetime | None = STUDY) -> dict[str, Any]:
    record = sides(folder, *resources, time=time)[1]
    return {name: value for name, value in record.values.items() if name not in ("age", "sex")} if record else {}


def note(folder: Path, *resources: dict[str, Any], time: datetime | None = STUDY) -> str:
    found = sides(folder, *resources, time=time)[0]
    return found.text if found else ""


def remarks(folder: Path, *resources: dict[str, Any], time: datetime | None = STUDY) -> tuple[str, ...]:
    text, record, told = sides(folder, *resources, time=time)
    return (*told, *(text.remarks if text else ()), *(record.remarks if record else ()))


def refusal(folder: Path, *resources: dict[str, Any]) -> str:
    with pytest.raises(DataError) as caught:
        sides(folder, *resources)
    assert caught.value.code == Reason.BAD_RECORD
    assert not any(canary in str(caught.value) for canary in CANARIES)
    return str(caught.value)


# Whose it is


@pytest.mark.parametrize("patient_id", ["p-1", "CANARYID"])
def test_a_patient_is_known_by_id_or_identifier(tmp_path: Path, patient_id: str) -> None:
    (tmp_path / "all.json").write_text(json.dumps(bundle(PATIENT, observation("1988-5", 12, "mg/L"))))

    found, told = read_charts(tmp_path, [patient_id, "nobody"], CONFIG)

    assert [reading.number for reading in found[patient_id].readings] == [12.0]
    assert told == ("FHIR: 1 files read; nothing in them for 1 of 2 patients",)


@pytest.mark.parametrize(
    "subject",
    [
        {"reference": "Patient/p-1"},
        {"reference": "Patient/p-1/_history/3"},
        {"reference": "https://example.org/fhir/Patient/p-1"},
        {"reference": "urn:uuid:5b0c1d1e-0000-4000-8000-000000000001"},
        {"identifier": {"value": "CANARYID"}},
    ],
)
def test_a_reference_is_followed_in_every_form(tmp_path: Path, subject: dict[str, Any]) -> None:
    content = bundle(PATIENT, observation("1988-5", 12, "mg/L", subject=subject))
    content["entry"][0]["fullUrl"] = "urn:uuid:5b0c1d1e-0000-4000-8000-000000000001"
    (tmp_path / "all.json").write_text(json.dumps(content))

    assert len(read_charts(tmp_path, ["CANARYID"], CONFIG)[0]["CANARYID"].readings) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"subject": {"reference": "Patient/p-2"}},
        {"subject": {"reference": "Group/p-1"}},
        {"subject": {"reference": "Device/CANARYID"}},
        {"focus": [{"reference": "RelatedPerson/p-1"}]},
        {"status": "entered-in-error"},
        {"status": "cancelled"},
    ],
)
def test_what_is_about_somebody_else_or_was_an_error_does_not_count(tmp_path: Path, more: dict[str, Any]) -> None:
    assert values(tmp_path, observation("1988-5", 12, "mg/L", **more)) == {}


def test_two_patients_that_go_by_one_id_are_not_mixed(tmp_path: Path) -> None:
    other = PATIENT | {"id": "p-2", "birthDate": "1990-01-01"}

    record, told = sides(tmp_path, other, observation("1988-5", 12, "mg/L"))[1:]

    assert record is None
    assert "FHIR: not used, since several patients go by this id" in told


def numbers(folder: Path, ids: list[str], *resources: dict[str, Any]) -> dict[str, list[float | None]]:
    (folder / "all.ndjson").write_text("\n".join(json.dumps(one) for one in resources))
    found = read_charts(folder, ids, CONFIG)[0]
    unused = "FHIR: not used, since several patients go by this id"
    assert all((unused in chart.remarks) is (not chart.readings) for chart in found.values())
    return {name: [reading.number for reading in chart.readings] for name, chart in found.items()}


def crp(value: float, reference: str) -> dict[str, Any]:
    return observation("1988-5", value, "mg/L", subject={"reference": reference})


def test_a_patient_of_two_ids_of_the_cohort_is_not_used(tmp_path: Path) -> None:
    one = {"resourceType": "Patient", "id": "1001", "identifier": [{"value": "1002"}]}

    assert numbers(tmp_path, ["1001", "1002"], one, crp(300, "Patient/1001")) == {"1001": [], "1002": []}


def test_one_id_on_two_servers_is_two_patients(tmp_path: Path) -> None:
    here, there = crp(300, "https://a.org/fhir/Patient/9"), crp(5, "https://b.org/fhir/Patient/9")

    assert numbers(tmp_path, ["9"], here, there) == {"9": []}
    assert numbers(tmp_path, ["9"], here, crp(7, "https://a.org/fhir/Patient/9")) == {"9": [300.0, 7.0]}
    assert numbers(tmp_path, ["9"], here, crp(5, "https://b.org/fhir/Patient/8")) == {"9": [300.0]}


@pytest.mark.parametrize("reference", ["Patient/9", "https://b.org/fhir/Patient/9"])
def test_patients_of_two_servers_are_told_apart_by_their_address(tmp_path: Path, reference: str) -> None:
    content = bundle(
        {"resourceType": "Patient", "id": "9", "identifier": [{"value": "A"}]},
        {"resourceType": "Patient", "id": "9", "identifier": [{"value": "B"}]},
        crp(5, reference),
    )
    places = ("https://a.org/fhir/Patient/9", "https://b.org/fhir/Patient/9", "https://b.org/fhir/Observation/1")
    for entry, url in zip(content["entry"], places, strict=True):
        entry["fullUrl"] = url
    (tmp_path / "all.json").write_text(json.dumps(content))

    found = read_charts(tmp_path, ["A", "B"], CONFIG)[0]

    assert {name: [one.number for one in chart.readings] for name, chart in found.items()} == {"B": [5.0]}


def test_a_reference_that_could_be_to_the_patients_of_two_servers_is_not_used(tmp_path: Path) -> None:
    content = bundle(
        {"resourceType": "Patient", "id": "9", "identifier": [{"value": "A"}]},
        {"resourceType": "Patient", "id": "9", "identifier": [{"value": "B"}]},
        crp(5, "Patient/9"),
    )
    for entry, server in zip(content["entry"], "ab", strict=False):
        entry["fullUrl"] = f"https://{server}.org/fhir/Patient/9"
    (tmp_path / "all.json").write_text(json.dumps(content))

    found = read_charts(tmp_path, ["A", "B"], CONFIG)[0]

    assert [chart.readings for chart in found.values()] == [(), ()]


def test_copies_and_versions_of_a_patient_are_one(tmp_path: Path) -> None:
    newer = PATIENT | {"identifier": [{"value": "other"}]}

    assert values(tmp_path, PATIENT, newer, observation("1988-5", 12, "mg/L")) == {"crp": 12.0}


def version(resource: dict[str, Any], number: int, updated: str = "") -> dict[str, Any]:
    meta = {"versionId": str(number)} | ({"lastUpdated": updated} if updated else {})
    return resource | {"id": resource.get("id", "o-1"), "meta": meta}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("updated", [("", ""), ("2024-05-01T11:00:00Z", "2024-05-01T12:00:00Z")])
def test_of_the_versions_of_a_resource_the_newest_counts_wherever_it_stands(
    tmp_path: Path, updated: tuple[str, str], *, turned: bool
) -> None:
    first = version(observation("1988-5", 300, "mg/L"), 9, updated[0])
    corrected = version(observation("1988-5", 3, "mg/L"), 10, updated[1])

    assert values(tmp_path, *([corrected, first] if turned else [first, corrected])) == {"crp": 3.0}


@pytest.mark.parametrize("turned", [False, True])
def test_what_was_taken_back_does_not_count_though_its_first_version_is_there(tmp_path: Path, *, turned: bool) -> None:
    first = version(observation("1988-5", 300, "mg/L"), 1)
    void = version(observation("1988-5", 300, "mg/L") | {"status": "entered-in-error"}, 2)

    assert values(tmp_path, *([void, first] if turned else [first, void])) == {}


def test_a_patient_whose_birth_date_was_corrected_is_one(tmp_path: Path) -> None:
    before = version(PATIENT | {"birthDate": "1950-01-01"}, 1)
    after = version(PATIENT | {"birthDate": "1951-01-01"}, 2)

    assert values(tmp_path, after, before, observation("1988-5", 12, "mg/L")) == {"crp": 12.0}


def test_references_are_enough_where_there_is_no_patient_resource(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(observation("1988-5", 12, "mg/L")))

    assert len(read_charts(tmp_path, ["p-1"], CONFIG)[0]["p-1"].readings) == 1


# Values


@pytest.mark.parametrize(
    ("code", "value", "unit", "name", "expected"),
    [
        ("1988-5", 1.2, "mg/dL", "crp", 12.0),
        ("1988-5", 0.012, "g/L", "crp", 12.0),
        ("1988-5", 12, "mg/L", "crp", 12.0),
        ("1988-5", 12, "ug/mL", "crp", 12.0),
        ("8310-5", 101.3, "[degF]", "temperature", 38.5),
        ("8310-5", 311.65, "K", "temperature", 38.5),
        ("8480-6", 16, "kPa", "systolic", 120.009849872894),
    ],
)
def test_a_value_is_converted_to_the_unit_of_its_column(
    tmp_path: Path, code: str, value: float, unit: str, name: str, expected: float
) -> None:
    assert values(tmp_path, observation(code, value, unit)) == {name: pytest.approx(expected)}


@pytest.mark.parametrize(
    ("value", "unit", "to", "expected"),
    [
        (140, "g/L", "g/dL", 14),
        (80, "{beats}/min", "/min", 80),
        (1.5, "Hz", "/min", 90),
        (7000, "/uL", "10*9/L", 7),
        (7, "1000/uL", "10*9/L", 7),
        (7, "10*3/uL{cells}", "10*9/L", 7),
        (0.95, "1", "%", 95),
        (15, "{score}", "", 15),
        (18, "mo", "a", 1.5),
        (60, "[in_i]", "cm", 152.4),
        (3, "points", "points", 3),
    ],
)
def test_units_are_converted_as_ucum_says(value: float, unit: str, to: str, expected: float) -> None:
    assert convert(value, unit, to) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("unit", "to"),
    [
        ("mg/dL", "mmol/L"),
        ("mmol/mol", "%"),
        ("meq/L", "mmol/L"),
        ("[iU]/L", "U/L"),
        ("mmHg", "mm[Hg]"),
        ("MG/DL", "mg/L"),
        ("10*999999999", "1"),
        ("m99999999999", "1"),
        ("(" * 10000, "1"),
        ("\x00", "1"),
    ],
)
def test_what_cannot_be_converted_rightly_is_refused(unit: str, to: str) -> None:
    with pytest.raises(UnitError):
        convert(1, unit, to)


@pytest.mark.parametrize(
    "quantity",
    [
        {"value": 1, "system": UCUM, "code": "mmol/L"},
        {"value": 1, "system": UCUM, "code": "CANARYNAME"},
        {"value": 1, "unit": "mg/dL"},
        {"value": 1, "code": "mg/dL"},
        {"value": 1},
    ],
)
def test_a_value_in_a_unit_that_cannot_be_converted_refuses_the_case(tmp_path: Path, quantity: dict[str, Any]) -> None:
    told = refusal(tmp_path, observation("1988-5", valueQuantity=quantity))

    assert told.startswith("case c1: 'crp' has a unit that cannot be converted to 'mg/L'. Correct the resource, or ")


def test_a_unit_without_its_system_counts_if_it_is_the_columns_own(tmp_path: Path) -> None:
    assert values(tmp_path, observation("1988-5", valueQuantity={"value": 12, "unit": "mg/L"})) == {"crp": 12.0}


def test_bounds_hold_after_conversion(tmp_path: Path) -> None:
    assert refusal(tmp_path, observation("8310-5", 120, "[degF]")).startswith(
        "case c1: 'temperature' is not a number from 20 to 45 Cel. Correct the resource"
    )


def test_words_where_a_number_is_due_refuse_the_case(tmp_path: Path) -> None:
    assert "'crp' has a value that is not a number" in refusal(
        tmp_path, observation("1988-5", valueString="CANARYNAME")
    )


def test_an_observation_without_a_value_is_none(tmp_path: Path) -> None:
    absent = observation(
        "1988-5", dataAbsentReason={"text": "haemolysed"}, effectiveDateTime="2024-05-31T13:00:00+02:00"
    )

    assert values(tmp_path, observation("1988-5", 12, "mg/L"), absent) == {"crp": 12.0}


def test_a_bound_counts_as_the_limit_that_it_names_and_that_is_said(tmp_path: Path) -> None:
    below = observation("1988-5", valueQuantity={"value": 5, "comparator": "<", "system": UCUM, "code": "mg/L"})

    assert values(tmp_path, below) == {"crp": 5.0}
    assert "crp: a bound (<) counts as the limit that it names" in remarks(tmp_path, below)


def test_components_are_values_of_their_own(tmp_path: Path) -> None:
    parts = [
        {"code": concept(code), "valueQuantity": {"value": value, "system": UCUM, "code": "mm[Hg]"}}
        for code, value in (("8480-6", 121), ("8462-4", 79))
    ]

    assert values(tmp_path, observation("85354-9", component=parts)) == {"systolic": 121.0, "diastolic": 79.0}


@pytest.mark.parametrize(
    "value",
    [
        {"valueCodeableConcept": {"text": "Never"}},
        {"valueCodeableConcept": concept("266919005", "http://snomed.info/sct", display="never")},
        {"valueCodeableConcept": concept("NEVER", "urn:house")},
        {"valueString": " never "},
    ],
)
def test_a_category_is_known_by_text_name_or_code(tmp_path: Path, value: dict[str, Any]) -> None:
    assert values(tmp_path, observation("72166-2", **value)) == {"smoker": "never"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [({"valueBoolean": True}, "yes"), ({"valueBoolean": False}, "no"), ({"valueInteger": 3}, "3")],
)
def test_truth_and_whole_numbers_are_categories_too(tmp_path: Path, value: dict[str, Any], expected: str) -> None:
    column = CategoryColumn(categories=("yes", "no", "3"), code="urn:house|x")
    config = CohortConfig(timezone="Europe/Vienna", record={"x": column}, fhir=FhirConfig())
    resource = observation("") | {"code": concept("x", "urn:house")} | value

    assert charts(tmp_path, resource, config=config)["CANARYID"].readings[0].words
    record = sides(tmp_path, resource, config=config)[1]
    assert record is not None
    assert dict(record.values) == {"x": expected}


def test_a_word_that_is_no_category_refuses_the_case(tmp_path: Path) -> None:
    told = refusal(tmp_path, observation("72166-2", valueString="CANARYNAME"))

    assert "'smoker' is not one of never, current" in told


def test_a_code_of_another_system_is_another_code(tmp_path: Path) -> None:
    assert values(tmp_path, observation("1988-5", 12, "mg/L") | {"code": concept("1988-5", "urn:house")}) == {}


def test_age_and_gender_come_from_the_patient(tmp_path: Path) -> None:
    record = sides(tmp_path)[1]

    assert record is not None
    assert record.values["age"] == pytest.approx(60, abs=0.01)
    assert record.values["sex"] == "F"


@pytest.mark.parametrize(("gender", "sex"), [("unknown", None), (None, None), ("male", "M")])
def test_an_unknown_gender_is_no_value(tmp_path: Path, gender: str | None, sex: str | None) -> None:
    patient = {key: value for key, value in (PATIENT | {"gender": gender}).items() if value}
    (tmp_path / "all.json").write_text(json.dumps(patient))
    row = CaseRow("c1", "CANARYID", None, chart=read_charts(tmp_path, ["CANARYID"], CONFIG)[0]["CANARYID"])

    record = join_sides(Cohort(tmp_path, CONFIG, ()), row, STUDY)[1]

    assert record is not None
    assert record.values.get("sex") == sex


def test_an_age_needs_a_birth_to_the_day_and_a_study_with_a_date(tmp_path: Path) -> None:
    assert "age left out: the date of the study, is not known" in remarks(tmp_path, time=None)
    (tmp_path / "all.json").write_text(json.dumps(PATIENT | {"birthDate": "1964"}))
    chart = read_charts(tmp_path, ["CANARYID"], CONFIG)[0]["CANARYID"]
    row = CaseRow("c1", "CANARYID", None, chart=chart)

    record = join_sides(Cohort(tmp_path, CONFIG, ()), row, STUDY)[1]

    assert record is not None
    assert record.remarks == ("age left out: the date of birth, to the day, is not known",)


# Times


def test_the_last_value_before_the_study_counts_and_later_ones_are_told(tmp_path: Path) -> None:
    taken = ["2024-05-30T10:00:00+02:00", BEFORE, "2024-05-29", AFTER, "2024-06-01T00:00:00+02:00"]
    resources = [observation("1988-5", n, "mg/L", effectiveDateTime=time) for n, time in enumerate(taken)]

    record = sides(tmp_path, *resources)[1]

    assert record is not None
    assert record.values["crp"] == 1.0
    assert record.times["crp"] == datetime(2024, 5, 31, 12)
    assert "1 value of crp left out: taken after the study" in record.remarks
    assert "1 value of crp left out: not shown to be taken before the study" in record.remarks


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({"effectiveDateTime": "2024-05-31T14:30:00+02:00"}, True),
        ({"effectiveDateTime": "2024-05-31T14:30:01+02:00"}, False),
        ({"effectiveDateTime": "2024-05-31"}, False),
        ({"effectiveDateTime": "2024-05-30"}, True),
        ({"effectiveDateTime": "2024"}, False),
        ({"effectiveDateTime": "2023"}, True),
        ({"effectiveInstant": BEFORE}, True),
        ({"effectiveInstant": AFTER}, False),
        ({"effectivePeriod": {"start": BEFORE, "end": BEFORE}}, True),
        ({"effectivePeriod": {"start": BEFORE, "end": AFTER}}, False),
        ({"effectivePeriod": {"start": BEFORE}}, False),
        ({"issued": BEFORE}, True),
        ({"issued": AFTER}, False),
        ({}, False),
    ],
)
def test_a_value_counts_if_it_is_shown_to_be_earlier(tmp_path: Path, more: dict[str, Any], kept: bool) -> None:
    resource = observation("1988-5", 12, "mg/L")
    del resource["effectiveDateTime"]

    assert values(tmp_path, resource | more) == ({"crp": 12.0} if kept else {})


def test_without_the_time_of_the_study_nothing_dated_counts(tmp_path: Path) -> None:
    resources = (observation("1988-5", 12, "mg/L"), document(), condition())

    assert values(tmp_path, *resources, time=None) == {}
    assert note(tmp_path, *resources, time=None) == ""
    assert "1 value of crp left out: the study has no date to compare with" in remarks(tmp_path, *resources, time=None)


def test_a_bad_value_that_does_not_count_refuses_nothing(tmp_path: Path) -> None:
    early = observation("1988-5", 9, "mmol/L", effectiveDateTime="2024-05-01")
    late = observation("1988-5", 9, "mmol/L", effectiveDateTime=AFTER)

    assert values(tmp_path, early, observation("1988-5", 12, "mg/L"), late) == {"crp": 12.0}


def test_of_two_values_of_one_time_the_later_released_counts(tmp_path: Path) -> None:
    first = observation("1988-5", 1, "mg/L", issued="2024-05-31T13:00:00+02:00", status="corrected")
    second = observation("1988-5", 2, "mg/L", issued="2024-05-31T12:30:00+02:00")

    assert values(tmp_path, first, second) == {"crp": 1.0}
    alike = [observation("1988-5", number, "mg/L") for number in (1, 2)]
    assert "crp: of 2 values of one time, the last in the files is used" in remarks(tmp_path, *alike)


NOWHERE = CONFIG.model_copy(update={"timezone": ""})


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("2024-05-31T08:40:00Z", ""),
        ("2024-05-31T00:40:00+14:00", ""),
        ("2024-05-30T10:00:00Z", ""),
        ("2024-05-30T09:00:00Z", "Cough."),
    ],
)
def test_without_a_time_zone_a_time_with_an_offset_is_known_to_its_day_only(
    tmp_path: Path, written: str, kept: str
) -> None:
    found = sides(tmp_path, document(date=written), config=NOWHERE)[0]

    assert (found.text if found else "") == kept


@pytest.mark.parametrize(("hour", "taken"), [("12:00", {"crp": 1.0}), ("13:00", {})])
def test_times_in_utc_are_brought_to_the_hospitals_clock(tmp_path: Path, hour: str, taken: dict[str, float]) -> None:
    value = observation("1988-5", 1, "mg/L", effectiveDateTime=f"2024-05-31T{hour}:00Z")

    record = sides(tmp_path, value)[1]

    assert (dict(record.values) if record else {}).get("crp") == taken.get("crp")


def test_a_zone_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="is no time zone"):
        CohortConfig(timezone="Vienna")


# Texts


R5_DOCUMENT = {"context": [{"reference": "Encounter/1"}], "content": [{"attachment": attached("Cough.")}]}
R4_DOCUMENT = {
    "context": {"period": {"start": "2024-05-31"}},
    "content": [{"attachment": attached("Cough."), "format": {"system": "urn:x", "code": "y"}}],
}


@pytest.mark.parametrize("more", [R5_DOCUMENT, R4_DOCUMENT], ids=["R5", "R4"])
def test_a_document_of_either_release_is_a_note(tmp_path: Path, more: dict[str, Any]) -> None:
    assert note(tmp_path, document(**more)) == "Cough."


@pytest.mark.parametrize(
    "more",
    [{"imagingStudy": [{"reference": "ImagingStudy/1"}]}, {"study": [{"reference": "ImagingStudy/1"}]}],
    ids=["R4", "R5"],
)
def test_a_report_of_either_release_is_a_note_without_its_conclusion(tmp_path: Path, more: dict[str, Any]) -> None:
    assert note(tmp_path, report(**more)) == "Old film: clear."


@pytest.mark.parametrize("release", ["R4", "R5"])
def test_a_condition_of_either_release_is_a_line(tmp_path: Path, release: str) -> None:
    resource = condition()
    if release == "R4":
        del resource["clinicalStatus"]

    assert note(tmp_path, resource) == "Known condition: asthma"


def test_texts_stand_in_order_of_time_before_the_tables_note(tmp_path: Path) -> None:
    resources = [document("Third."), report("Second."), condition("first"), condition("first")]
    row = CaseRow("c1", "CANARYID", None, note="Fourth.", chart=charts(tmp_path, *resources)["CANARYID"])

    found = join_sides(Cohort(tmp_path, CONFIG, ()), row, STUDY)[0]

    assert found is not None
    assert found.text == "Known condition: first\n\nSecond.\n\nThird.\n\nFourth."


@pytest.mark.parametrize(
    "resource",
    [
        document(date=AFTER),
        document(date=None),
        document(content=[{"attachment": attached("x", creation=AFTER)}]),
        document(status="superseded"),
        document(docStatus="entered-in-error"),
        document(docStatus="deprecated"),
        document(type=concept("other")),
        report(issued=AFTER),
        report(issued="2024-05-31T14:30:00+02:00"),
        report(issued=None, effectiveDateTime="2024-05-31T14:20:00+02:00"),
        report(effectiveDateTime=AFTER),
        report(presentedForm=None),
        condition(recordedDate=None, onsetDateTime="2019"),
        condition(recordedDate="2024-05-31"),
        condition(recordedDate=AFTER),
        condition(verificationStatus=concept("refuted", "urn:x")),
        condition(verificationStatus=concept("provisional", "urn:x")),
    ],
)
def test_what_was_not_known_before_the_study_is_no_note(tmp_path: Path, resource: dict[str, Any]) -> None:
    assert note(tmp_path, {key: value for key, value in resource.items() if value is not None}) == ""


def test_what_was_written_too_late_is_told(tmp_path: Path) -> None:
    told = remarks(tmp_path, document(date=AFTER), report(issued="2025-01-01T00:00:00Z"), condition(recordedDate=AFTER))

    assert "no note: 1 note left out: not shown to be written before the study" in told
    assert "no note: 1 report left out: written after the study" in told
    assert "no note: 1 condition left out: not shown to be written before the study" in told


def test_sections_that_state_the_answer_are_left_out_of_fhir_texts_too(tmp_path: Path) -> None:
    text = "History: cough.\nFINDINGS: CANARYNOTE"

    assert note(tmp_path, document(text)) == "History: cough."
    assert "sections left out, since they state the answer: FINDINGS" in remarks(tmp_path, document(text))


def test_html_is_read_without_its_tags(tmp_path: Path) -> None:
    page = (
        "<html><head><title>CANARYNOTE</title><style>p{}</style></head><body><p>Cough &amp; fever</p>since<br/>Monday"
    )

    assert note(tmp_path, document(page, "text/html; charset=UTF-8")) == "Cough & fever\nsince\nMonday"


@pytest.mark.parametrize(
    "page",
    [
        "<table><tr><td>Impression</td><td>ANSWER right</td></tr></table>",
        "<table><tr><th>Impression</th><td>ANSWER right</td></tr></table>",
        "<dl><dt>Impression</dt><dd>ANSWER</dd></dl>",
        "<p><b>Impression</b> ANSWER</p>",
        "<p>Since Monday <strong>Impression</strong> ANSWER</p>",
        "<section><strong><i>Impression</i></strong><span>ANSWER</span></section>",
        "<section>Impression: ANSWER</section>",
        "<label>impression</label><div>ANSWER</div>",
        "<header>Impression</header><main>ANSWER</main>",
    ],
)
def test_a_heading_of_a_page_is_known_by_its_place(tmp_path: Path, page: str) -> None:
    text = note(tmp_path, document(f"<article>History: cough</article>{page}", "text/html"))

    assert text.removesuffix("\nSince Monday") == "History: cough"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<dl><dt>Age</dt><dd>63</dd><dt>Fever</dt><dd>no</dd></dl>", "Age\n63\nFever\nno"),
        ("<table><tr><td>Temp</td><td>39</td></tr></table>", "Temp\n39"),
        ("<p>No <b>history</b> of <b>Cough</b> for 3<sup>rd</sup> day", "No history of Cough for 3rd day"),
        ("<html><head><meta charset=utf-8><body><p>Cough</p>", "Cough"),
        ("<head><title>CANARYNOTE</title><p>Cough</p>", "Cough"),
    ],
)
def test_words_of_a_page_do_not_run_together_and_none_is_lost(tmp_path: Path, page: str, text: str) -> None:
    assert note(tmp_path, document(page, "text/html")) == text


def test_no_page_is_too_odd(tmp_path: Path) -> None:
    page = "<b>x" * 6000 + "</b>" * 6000

    assert note(tmp_path, document(page, "text/html")) == "x" * 6000


@pytest.mark.parametrize("page", ["<p> </p>", "<script>Cough</script>", "<title>Cough"])
def test_a_document_without_words_is_told(tmp_path: Path, page: str) -> None:
    assert "FHIR: 1 notes left out: there is no text in them" in remarks(tmp_path, document(page, "text/html"))


@pytest.mark.parametrize(
    "media",
    ["text/plain; charset=utf-8; format=flowed", 'Text/Plain; Charset="UTF8"', "text/plain;charset=utf-8"],
)
def test_a_content_type_may_have_parameters_in_any_spelling(tmp_path: Path, media: str) -> None:
    assert note(tmp_path, document("Müdigkeit", media)) == "Müdigkeit"


@pytest.mark.parametrize(
    "attachment",
    [
        {"contentType": "application/pdf", "data": "Q291Z2g="},
        {"contentType": "text/plain", "url": "Binary/1"},
        {"contentType": "text/plain; charset=utf-16", "data": "Q291Z2g="},
        {"contentType": "text/plain", "data": base64.b64encode(b"\xff\xfe").decode()},
        {"contentType": "text/html", "data": base64.b64encode(b"<!--" * 10000).decode()},
        {"contentType": "text/plain", "data": base64.b64encode(bytes(2**21)).decode()},
    ],
)
def test_a_form_that_cannot_be_read_is_told(tmp_path: Path, attachment: dict[str, Any]) -> None:
    told = remarks(tmp_path, document(content=[{"attachment": attachment}]))

    assert "FHIR: 1 notes left out: not inline, or neither plain text nor HTML" in told


def test_plain_text_is_the_first_of_several_forms(tmp_path: Path) -> None:
    forms = [{"attachment": attached("<p>page</p>", "text/html")}, {"attachment": attached("plain")}]

    assert note(tmp_path, document(content=forms)) == "plain"


# Files


def test_bulk_export_is_read_line_by_line_and_a_bad_line_costs_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fhir, "MAX_LINE", 1000)
    good = json.dumps(observation("1988-5", 12, "mg/L"))
    lines = [json.dumps(PATIENT), "", "{nonsense", "[1]", '{"a": "' + "x" * 3000 + '"}', good]
    (tmp_path / "Observation.ndjson").write_text("\n".join(lines))

    found, told = read_charts(tmp_path, ["CANARYID"], CONFIG)

    assert [reading.number for reading in found["CANARYID"].readings] == [12.0]
    assert "FHIR: 3 lines left out: not a resource" in told


@pytest.mark.parametrize(
    "more",
    [
        {"status": 5},
        {"valueQuantity": {"value": "much", "code": "mg/L"}},
        {"effectiveDateTime": "31.05.2024"},
        {"CANARYNAME": 1},
        {"component": [{"code": concept("1988-5"), "valueQuantity": 5}]},
    ],
)
def test_a_resource_that_is_not_valid_costs_itself(tmp_path: Path, more: dict[str, Any]) -> None:
    good, bad = observation("8310-5", 38, "Cel"), observation("1988-5", 12, "mg/L") | more

    assert values(tmp_path, bad, good) == {"temperature": 38.0}
    assert "FHIR: 1 Observation resources left out: neither valid R4 nor valid R5" in remarks(tmp_path, bad, good)


@pytest.mark.parametrize(
    "resource",
    [
        {"resourceType": 5},
        {"resourceType": "Observation", "code": [[]], "component": {"a": 1}},
        {"resourceType": "Observation", "code": {"coding": [5, None, {"code": {}}]}},
        {"resourceType": "Patient", "identifier": "x"},
        {"resourceType": "Bundle", "entry": [5]},
        {"resourceType": "OperationOutcome"},
        {"resourceType": "DocumentReference", "type": concept("34117-2"), "content": 7},
    ],
)
def test_nonsense_costs_itself(tmp_path: Path, resource: dict[str, Any]) -> None:
    assert values(tmp_path, resource, observation("8310-5", 38, "Cel")) == {"temperature": 38.0}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"CANARYNOTE", "is not a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"resourceType": "Observation", "valueInteger": NaN}', "is not a JSON object"),
        (b"\xff\xfe", "is not a JSON object"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not a JSON object"),
        (b'{"a": "' + b"x" * 4000 + b'"}', "has more than"),
    ],
)
def test_a_file_that_is_no_resource_is_told_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, words: str
) -> None:
    monkeypatch.setattr(fhir, "MAX_FILE", 1000 if b"xxx" in content else 2**20)
    (tmp_path / "A.json").write_text(json.dumps({"resourceType": "Basic"}))
    (tmp_path / "CANARYNAME.json").write_bytes(content)

    with pytest.raises(CohortError) as caught:
        read_charts(tmp_path, ["CANARYID"], CONFIG)

    assert words in str(caught.value)
    assert "file 2 of 2 of the FHIR resources" in str(caught.value)
    assert not any(canary in str(caught.value) for canary in CANARIES)


def test_other_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("x")

    assert read_charts(tmp_path, ["CANARYID"], CONFIG) == (
        {},
        ("FHIR: 0 files read; nothing in them for 1 of 1 patients",),
    )


# In a cohort


def test_a_cohort_takes_notes_and_records_from_fhir(tmp_path: Path) -> None:
    charts(tmp_path / "fhir", observation("1988-5", 12, "mg/L"), document())
    (tmp_path / "cases.csv").write_text("case_id,patient_id,at\nc1,CANARYID,2024-05-31T14:30\nc2,p9,2024-05-31\n")

    cohort = read_cohort(tmp_path, CONFIG.model_copy(update={"time": "at"}))
    first, second = (join_sides(cohort, row, row.time) for row in cohort.rows)

    assert first[0] is not None
    assert first[0].text == "Cough."
    assert first[1] is not None
    assert first[1].values["crp"] == 12.0
    assert second[:2] == (None, None)
    assert "FHIR: 1 files read; nothing in them for 1 of 2 patients" in cohort.remarks
    assert cohort.rows[0].digest() != cohort.rows[1].digest()


def test_a_value_of_the_table_comes_before_that_of_fhir(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"record": {"crp": COLUMNS["crp"]}})
    charts(tmp_path / "fhir", observation("1988-5", 12, "mg/L"))
    (tmp_path / "cases.csv").write_text("case_id,patient_id,crp\nc1,CANARYID,7\nc2,CANARYID,\n")

    records = [join_sides(cohort, row, STUDY)[1] for cohort in [read_cohort(tmp_path, config)] for row in cohort.rows]

    assert [record.values["crp"] if record else None for record in records] == [7.0, 12.0]


def test_a_cohort_whose_fhir_folder_is_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("case_id,patient_id\nc1,p1\n")

    with pytest.raises(CohortError, match="the folder of FHIR resources is not there"):
        read_cohort(tmp_path, CONFIG)


def test_without_fhir_a_record_column_must_be_in_the_table(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("case_id,patient_id\nc1,p1\n")

    with pytest.raises(CohortError, match="no column 'crp'"):
        read_cohort(tmp_path, CONFIG.model_copy(update={"fhir": None}))


def test_a_chart_tells_nothing_of_its_patient(tmp_path: Path) -> None:
    chart = charts(tmp_path, document("CANARYNOTE"), observation("72166-2", valueString="CANARYNAME"))["CANARYID"]

    assert not any(canary in repr(chart) for canary in (*CANARIES, "1964"))
    assert chart.digest() != Chart().digest()


def test_readings_do_not_replace_what_is_known() -> None:
    from medmm.read.chart.record import Values

    known = Values(values={"age": 1.0})
    add_readings("c1", Chart(), {"age": COLUMNS["age"]}, STUDY, known)

    assert known == Values(values={"age": 1.0})
