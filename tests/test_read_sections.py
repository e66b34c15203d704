"""Sections that state the answer are left out, in the languages and forms in which they are written; the rest stays."""

import pytest

from medmm.config import ANSWER_SECTIONS
from medmm.read.chart.note import read_note
from medmm.read.chart.sections import SECTIONS, find_headings, leave_out


def left(text: str) -> str:
    return leave_out(text, ANSWER_SECTIONS)[0]


def found(text: str) -> tuple[str, ...]:
    return leave_out(text, ANSWER_SECTIONS)[1]


REPORT = """EXAM: Chest radiograph
INDICATION: Cough since Monday.
COMPARISON: None.

FINDINGS:
HEART: enlarged.
LUNGS: ANSWER in the right lower lobe.

IMPRESSION:
1. ANSWER.
2. Cardiomegaly."""


def test_a_report_keeps_what_was_known_before_and_nothing_else() -> None:
    text, names = leave_out(REPORT, ANSWER_SECTIONS)

    assert text == "EXAM: Chest radiograph\nINDICATION: Cough since Monday.\nCOMPARISON: None."
    assert names == ("findings", "impression")


@pytest.mark.parametrize(
    "heading",
    [
        "FINDINGS:",
        "Findings:",
        "findings:",
        "FINDINGS",
        "Findings",
        "FINDINGS :",
        "FINDINGS：",
        "  FINDINGS: ",
        "**FINDINGS**",
        "**Findings** 2 mm: ",
        "**Findings:**",
        "## Findings",
        "__FINDINGS__:",
        "=== FINDINGS ===",
        "2. FINDINGS:",
        "II. Findings:",
        "(2) Findings:",
        "B. FINDINGS",
        "b) Findings",
        "+ Findings",
        "/FINDINGS/",
        "- Findings:",
        "FINDINGS -",
        "FINDINGS — ",
        "FINDINGS\t",
        "FINDINGS (preliminary):",
        "CT CHEST FINDINGS:",
        "Chest X-ray findings:",
        "Mammographic findings:",
        "FINDINGS/IMPRESSION:",
        "Findings and impression:",
        "FINDINGS & CONCLUSION",
        "MR OF BOTH KNEES, FINDINGS TODAY:",
    ],
)
@pytest.mark.parametrize("end", ["\n", " "])
def test_a_heading_is_known_in_every_form(heading: str, end: str) -> None:
    if end == " " and heading[-1] not in ":：-\t*— ":
        end = "\n"  # without any sign a heading needs its own line

    text, names = leave_out(f"History: cough.\n{heading}{end}ANSWER.", ANSWER_SECTIONS)

    assert text == "History: cough."
    assert "findings" in names


@pytest.mark.parametrize(
    ("before", "heading", "name"),
    [
        ("INDICATION", "INTERPRETATION", "interpretation"),
        ("Clinical history", "Assessment and plan", "assessment"),
        ("HPI", "A/P", "assessment"),
        ("Reason for exam", "Final diagnosis", "diagnosis"),
        ("Fragestellung", "Befund", "findings"),
        ("KLINISCHE ANGABEN", "BEURTEILUNG", "assessment"),
        ("Klinische Angaben", "Vorläufige Diagnose", "diagnosis"),
        ("Rechtfertigende Indikation", "Zusammenfassung", "impression"),
        ("Indication clinique", "Résultats", "findings"),
        ("RENSEIGNEMENTS CLINIQUES", "CONCLUSION", "conclusion"),
        ("Antécédents", "Interprétation", "interpretation"),
        ("Motivo de consulta", "Hallazgos", "findings"),
        ("DATOS CLÍNICOS", "IMPRESIÓN DIAGNÓSTICA", "impression"),
        ("Información clínica", "Conclusión", "conclusion"),
        ("Quesito diagnostico", "Referto", "findings"),
        ("Notizie cliniche", "Conclusioni", "conclusion"),
        ("Indicação clínica", "Achados", "findings"),
        ("Dados clínicos", "Impressão", "impression"),
        ("Klinische gegevens", "Bevindingen", "findings"),
        ("Vraagstelling", "Conclusie", "conclusion"),
    ],
)
def test_headings_are_known_in_seven_languages(before: str, heading: str, name: str) -> None:
    text, names = leave_out(f"{before} : 61 a.\n\n{heading} : ANSWER.\nANSWER", ANSWER_SECTIONS)

    assert text == f"{before} : 61 a."
    assert name in names


def test_accents_may_be_missing_or_apart() -> None:
    assert found("RESULTATS: x") == found("Re\u0301sultats: x") == found("R\u00e9sultats: x") == ("findings",)


@pytest.mark.parametrize(
    "text",
    [
        "HISTORY: Cough. FINDINGS: ANSWER. IMPRESSION: ANSWER.",
        "HISTORY: Cough. Findings: ANSWER. Impression: ANSWER.",
        "HISTORY: Cough. findings: ANSWER. impression: ANSWER.",
        "HISTORY: Cough.\nIMPRESSION   Nodule of the right lower lobe: ANSWER.",
        "HISTORY: Cough.\nIMPRESSION - Nodule of the right lower lobe: ANSWER.",
        "HISTORY: Cough. FINDINGS/IMPRESSION: ANSWER. RECOMMENDATION: ANSWER.",
    ],
)
def test_headings_inside_one_line_are_known(text: str) -> None:
    assert left(text) == "HISTORY: Cough."


@pytest.mark.parametrize(
    "text",
    [
        "Cough for two weeks. GP notes the findings: normal at rest.",
        "Known history of asthma,\nand the diagnosis: unclear since 2019.",
        "No evidence of a diagnosis so far.",
        "Findings at the last visit were normal, fever since.",
        "Referred for\ndiagnosis\nof a cough.",
        "He has the impression that it is worse: more cough at night.",
        "DIAGNOSIS OF ASTHMA IN 2019 NOW WITH COUGH AND FEVER",
        "Since Monday: cough. At rest: nothing. Temperature: 38.4",
        "Known diagnoses: asthma, diabetes.",
        "Vordiagnosen: Asthma.",
        "11:30 fever; ratio 1:2; http://impression.example",
    ],
)
def test_such_a_word_in_a_sentence_is_no_heading(text: str) -> None:
    assert leave_out(text, ANSWER_SECTIONS) == (text, ())


@pytest.mark.parametrize(
    "heading",
    [
        "R\u00f6ntgenbefund:",
        "Thoraxbefund:",
        "Hauptdiagnose:",
        "Entlassungsdiagnosen:",
        "Verdachtsdiagnose:",
        "Gesamtbeurteilung:",
        "Hoofddiagnose:",
        "Werkdiagnose:",
        "Epikrise:",
        "Zusammenfassend:",
        "WET READ:",
        "Preliminary read:",
        "A&P:",
        "Opini\u00e3o:",
        "Hip\u00f3tese diagn\u00f3stica:",
        "DIAGN\u00d3STICO.-",
        "12:45 Findings:",
        "(12:45) Findings:",
        "2024-05-01 12:45 Impression:",
        "2024-05-01T12:45:10 - Impression:",
        "12.05.2024 10:30 Befund:",
        "05/12/2024 3:45 pm IMPRESSION:",
        "impression\n",
        "impression -",
        "Impression =",
        "Impression\t",
        "| Impression |",
        "IMPRESSION-",
        "IMPRESSION",
        "FINAL REPORT",
        "[Impression]",
    ],
)
def test_a_heading_is_known_by_its_compound_its_sign_or_its_capitals(heading: str) -> None:
    assert left(f"History: cough.\n{heading} ANSWER right.") == "History: cough."


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("cough, fever, impression: ANSWER", "cough, fever,"),
        ("fever 3 days - impression: ANSWER", "fever 3 days -"),
        ("cough, dx: ANSWER", "cough,"),
        ("History: cough Impression : ANSWER", "History: cough"),
        (
            "Known Diagnoses: asthma. cough since may Final Diagnosis: ANSWER",
            "Known Diagnoses: asthma. cough since may",
        ),
        ("HISTORY cough 3 days IMPRESSION right ANSWER", "HISTORY cough 3 days"),
    ],
)
def test_a_heading_after_a_part_of_a_sentence_is_known(text: str, kept: str) -> None:
    assert left(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "Vorbefund: COPD.",
        "Vordiagnosen: Asthma.",
        "Altbefunde: keine.",
        "Laborbefunde: CRP 120.",
        "AP: film made lying down.",
        "Diagnosis-related group 12.",
        "FINDINGS at the last visit were normal.",
        "12:45 cough, history: smoker",
        "Observations: HR 110",
        "Description: 63 y male",
        "Summary: 63 y male with cough",
        "Plan: CXR",
        "Evaluation: pneumonia?",
        "Cough. Results: CRP 120, PCR negative.",
    ],
)
def test_such_a_heading_states_no_answer_by_itself(text: str) -> None:
    assert leave_out(text, ANSWER_SECTIONS) == (text, ())


@pytest.mark.parametrize("other", ["FINDINGS: ANSWER.", "TECHNIQUE: PA.", "Comparison: none."])
def test_a_summary_beside_a_heading_of_a_report_states_the_answer(other: str) -> None:
    assert "ANSWER" not in left(f"{other}\nSummary: ANSWER.")


def test_words_before_the_first_heading_stay() -> None:
    assert left("61-year-old with cough.\nFindings: ANSWER") == "61-year-old with cough."


def test_a_section_is_left_out_until_one_that_states_no_answer() -> None:
    answers = "FINDINGS: ANSWER.\nCOMPARISON: none.\nThe heart is ANSWER.\nTechnique: PA.\nANSWER\n"

    assert left(f"{answers}ALLERGIES: none\nHistory: cough") == "ALLERGIES: none\nHistory: cough"


def test_a_comparison_or_history_among_the_findings_does_not_bring_the_answer_back() -> None:
    assert left("FINDINGS: Clear. Comparison: 2019. History: ANSWER. ANSWER") == ""


def test_a_history_in_capitals_inside_a_line_is_read_again() -> None:
    assert left("FINDINGS: ANSWER. HISTORY: Cough.") == "HISTORY: Cough."


def test_only_what_is_asked_for_is_left_out() -> None:
    text = "Findings: clear.\nImpression: normal.\nTechnique: PA."

    assert leave_out(text, ()) == (text, ())
    assert leave_out(text, ("technique",)) == ("Findings: clear.\nImpression: normal.", ("technique",))
    assert leave_out(text, ("impression",)) == ("Findings: clear.", ("impression",))


def test_every_section_of_the_configuration_is_one_that_can_be_found() -> None:
    assert set(ANSWER_SECTIONS) <= set(SECTIONS)
    assert all(found(f"{name.upper()}: x") == (name,) for name in ANSWER_SECTIONS)


def test_headings_are_told_with_their_places() -> None:
    text = "History: a\nFINDINGS: b. IMPRESSION: c"

    places = {heading.start: heading.names for heading in find_headings(text)}

    assert places == {0: ("history",), 11: ("findings",), 24: ("impression",)}


def test_a_note_says_which_sections_are_left_out_and_nothing_of_what_they_say() -> None:
    note = read_note("c1", REPORT, ANSWER_SECTIONS)

    assert note is not None
    assert "ANSWER" not in note.text
    assert note.remarks == ("sections left out, since they state the answer: FINDINGS, IMPRESSION",)


def test_a_note_that_is_nothing_but_the_answer_is_none() -> None:
    assert read_note("c1", "FINDINGS: ANSWER.\nIMPRESSION: ANSWER.", ANSWER_SECTIONS) is None


@pytest.mark.parametrize(
    "text",
    [
        "FINDINGS:" * 2000,
        "A b: " * 2000,
        "** " * 5000,
        "a:" * 5000,
        "((" * 5000 + ":",
        "-\t" * 5000,
        ":\n" * 5000,
        "\u5b57 " * 200_000,
        "AB cd " * 50_000,
    ],
)
def test_no_text_is_too_odd(text: str) -> None:
    assert len(left(text)) <= len(text)
