"""What a note says of who, when and where is replaced; what it says of the illness stays."""

from __future__ import annotations

import pytest

from medmm.privacy.note import Known, Replacement, clean_note, identifying_words, mentions, name_parts

NOBODY = Known()


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Dr. Jane van der Roe saw him", "Jane van der Roe"),
        ("Mrs O'Connor-Smith coughs", "O'Connor-Smith"),
        ("Herr Hans Meier hustet", "Hans Meier"),
        ("Patient name: John Q. Public", "John Q. Public"),
        ("Reported by: Alice Chen, MD", "Alice Chen"),
        ("Dear Amélie, thank you", "Amélie"),
        ("DR. JOHN SMITH signed", "JOHN SMITH"),
        ("admitted to St. Mary's Hospital", "St. Mary's Hospital"),
        ("kommt aus dem Klinikum Stuttgart", "Stuttgart"),
        ("she lives in New Orleans", "New Orleans"),
        ("of 12 Elm Street", "12 Elm Street"),
        ("Hauptstraße 12, 72070 Tübingen", "Tübingen"),
        ("Boston, MA 02139", "02139"),
        ("postcode SW1A 1AA", "SW1A 1AA"),
        ("call 617-555-0199", "617-555-0199"),
        ("call +49 30 1234567 now", "1234567"),
        ("Tel: 0711 123456", "123456"),
        ("write to a.b@example.org", "a.b@example.org"),
        ("see https://example.org/p/77", "example.org"),
        ("SSN 123-45-6789", "123-45-6789"),
        ("MRN: 4711", "4711"),
        ("accession no. A-2024-17", "A-2024-17"),
        ("number 84848484", "84848484"),
        ("study 1.2.840.113619.2.55", "1.2.840.113619.2.55"),
        ("a 93-year-old man", "93"),
        ("aged 101", "101"),
        ("101 J. alt", "101"),
        ("93F with cough", "93"),
        ("92 m with cough", "92"),
        ("95 anos", "95"),
        ("130 years", "130"),
        ("ninety-three years old", "ninety-three"),
        ("DOB 03/04/1931", "03/04/1931"),
        ("born on 13.04.1931", "13.04.1931"),
        ("since 3/14 he coughs", "3/14"),
        ("in June 2019", "June 2019"),
        ("am 3. März 2021", "März 2021"),
        ("le 4 août 2020", "août 2020"),
    ],
)
@pytest.mark.parametrize("shift", [None, -400])
def test_what_identifies_by_its_form_is_replaced(text: str, hidden: str, shift: int | None) -> None:
    cleaned, places = clean_note(text, NOBODY, shift)

    assert hidden not in cleaned
    assert places


@pytest.mark.parametrize(
    "text",
    [
        "BP 120/80, pulse 103, T 38.5, SpO2 98 %, CRP 123.4 mg/L, pO2 60/70, L4/5, T1-weighted, NYHA II, stage III.",
        "Walks 95 m. Fever since 3 days, COVID-19 PCR positive, PEEP 10, FiO2 0.6, 1000 mg, day 14, 40 pack-years.",
        "65-year-old patient with a lesion on the ear. The patient reports no symptoms from it.",
        "ETT, NGT and right jugular CVL are well positioned. Chest X-Ray from the ICU. May have pneumonia.",
    ],
)
def test_what_is_said_of_the_illness_stays(text: str) -> None:
    assert clean_note(text, NOBODY, -400) == (text, ())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2024-03-15", "2024-03-05"),
        ("20240315", "20240305"),
        ("15.03.2024", "05.03.2024"),
        ("15/03/2024", "05/03/2024"),
        ("3/15/2024", "3/5/2024"),
        ("March 15, 2024", "5 Mar 2024"),
        ("15 March 2024", "5 Mar 2024"),
    ],
)
def test_a_full_date_moves_and_keeps_its_form(before: str, after: str) -> None:
    assert clean_note(f"Film of {before}.", NOBODY, -10)[0] == f"Film of {after}."


@pytest.mark.parametrize("text", ["03/04/2024", "15.03.24", "March 2024", "15 March", "31.02.2024"])
def test_a_date_that_can_be_read_in_two_ways_or_is_not_full_is_taken_out(text: str) -> None:
    assert clean_note(f"Film of {text} shows", NOBODY, -10)[0] == "Film of [DATE] shows"


def test_a_birth_date_is_never_shifted() -> None:
    assert clean_note("Born on 1931-04-13, seen on 2024-03-15", NOBODY, -10)[0] == "Born on [DATE], seen on 2024-03-05"


@pytest.mark.parametrize(
    "text",
    [
        "Geburtsdatum: 03.02.1961",
        "birthday 1961-02-03",
        "Meier, * 03.02.1961",
        "fecha de nacimiento 13.02.1961",
        "F. Nac.: 13.02.1961",
        "DDN 1961-02-03",
        "née le 13.02.1961",
        "1961-02-03 (DOB)",
    ],
)
def test_a_birth_date_is_taken_out_in_any_language(text: str) -> None:
    cleaned, _ = clean_note(f"{text}, cough. Film of 2024-03-15", NOBODY, -10)

    assert "[DATE]" in cleaned
    assert "Film of 2024-03-05" in cleaned


@pytest.mark.parametrize("date", ["03.02.1961", "1961-02-03", "2/3/1961", "3 Feb 1961", "19610203", "February 3, 1961"])
def test_a_date_that_may_be_the_headers_birth_date_is_taken_out(date: str) -> None:
    known = Known(values=frozenset({"19610203"}))

    assert clean_note(f"Seen {date} and 2024-03-15", known, -10)[0] == "Seen [DATE] and 2024-03-05"


def test_the_headers_own_names_and_places_are_found_in_any_spelling() -> None:
    known = Known(names=frozenset({"MÜLLER", "Anne-Marie"}), values=frozenset({"Elsewhere Radiology", "X-77/a"}))

    cleaned, _ = clean_note("muller came; ANNE-MARIE too. elsewhere  radiology, no x-77/A.", known, None)

    assert cleaned == "[NAME] came; [NAME] too. [PLACE], no [ID]."


def test_names_of_other_patients_are_found_when_they_are_written_as_names() -> None:
    known = Known(everyone=identifying_words(["Brown^Rose", "PAT-77"]))

    cleaned, _ = clean_note("Mixed up with Rose Brown (PAT-77): brown sputum rose.", known, None)

    assert cleaned == "Mixed up with [NAME] [NAME] ([ID]): brown sputum rose."


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Schmidt-Rottluff^Karl", "Rottluff coughs"),
        ("Schmidt-Rottluff^Karl", "Schmidt Rottluff coughs"),
        ("O'Brien^Kate", "O’Brien coughs"),
        ("O'Brien^Kate", "OBrien coughs"),
        ("MUELLER^JOERG", "Müller hustet"),
        ("Müller^Jörg", "Joerg hustet"),
        ("LUKASZ^X", "Łukasz hustet"),
        ("SORENSEN^X", "Sørensen hoste"),
        ("Schmidt^Anna", "Schmidts Husten"),
        ("Yamada^Tarou=山田^太郎", "山田は咳"),
        ("Yamada^Tarou=山田^太郎", "山田太郎さん"),
        ("Wang^XiaoMing=王^小明", "王小明咳嗽"),
        ("Wang^Xiao Ming", "XiaoMing coughs"),
    ],
)
def test_a_name_is_found_in_its_usual_spellings(name: str, text: str) -> None:
    known = Known(names=frozenset(name_parts(name)))

    assert clean_note(text, known, None)[0].startswith("[NAME]")
    assert any(mentions(text, part) for part in known.names)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("København East", "[Kobenhavn East]"),
        ("Clinic - West Wing", "[Clinic - West Wing]"),
        ("AB12345", "[AB 12345]"),
        ("AB 12345", "[ab-12345]"),
        ("1234567", "[123-45-67]"),
        ("123-45-67", "[1234567]"),
    ],
)
def test_an_id_or_a_place_is_found_with_other_separators(value: str, text: str) -> None:
    cleaned, _ = clean_note(f"seen {text[1:-1]} there", Known(values=frozenset({value})), None)

    assert cleaned in ("seen [ID] there", "seen [PLACE] there")
    assert mentions(text, value)


def test_short_names_are_not_found_across_words() -> None:
    text = "There is a nodule and/or an effusion."

    assert clean_note(text, Known(names=frozenset({"Isa", "Andor", "Ana"})), None) == (text, ())


def test_a_patient_named_like_a_month_does_not_come_back_by_a_shifted_date() -> None:
    assert clean_note("Film of 15 January 2024.", Known(names=frozenset({"Jan"})), -10)[0] == "Film of [DATE]."


def test_offsets_lead_from_the_old_note_to_the_new_one() -> None:
    text = "Call 617-555-0199 or Dr. Roe on 2024-03-15."

    cleaned, places = clean_note(text, NOBODY, -10)

    assert [(text[p.start : p.end], cleaned[p.new_start : p.new_end]) for p in places] == [
        ("617-555-0199", "[PHONE]"),
        ("Roe", "[NAME]"),
        ("2024-03-15", "2024-03-05"),
    ]
    assert all(isinstance(place, Replacement) for place in places)


def test_an_empty_note_stays_empty() -> None:
    assert clean_note("", NOBODY, None) == ("", ())
