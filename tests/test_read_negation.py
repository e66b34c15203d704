"""What is denied stays together with what denies it; every other word stands alone."""

import re

import numpy as np
import pytest

from medmm.read.chart.negation import phrases
from sample_data import notes, truth
from sample_data.facts import FACTS

WORD = re.compile(r"\w+(?:['’.,/-]\w+)*")
DENIES = re.compile(r"no|not|never|nil|neg|nothing|none|nobody|denies", re.IGNORECASE)
FILLED = {"{day}": r"\d+", "{week}": r"\d+", "{year}": r"\d+", "{side}": "(?:left|right)"}


def words_of(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in WORD.finditer(text)]


def denied(text: str) -> list[str]:
    """The groups of more than one word, as they stand in the note."""
    words = words_of(text)
    return [text[words[group[0]][0] : words[group[-1]][1]] for group in phrases(text, words) if len(group) > 1]


@pytest.mark.parametrize(
    ("note", "groups"),
    [
        ("No fever.", ["No fever"]),
        ("Denies chest pain. Cough.", ["Denies chest pain"]),
        ("Cough without effusion.", ["without effusion"]),
        ("Negative for pneumothorax or effusion.", ["Negative for pneumothorax or effusion"]),
        ("CT negative for embolism.", ["negative for embolism"]),
        ("neg. for fever/cough", ["neg. for fever/cough"]),
        ("He doesn't smoke.", ["He doesn't smoke"]),
        ("No evidence of acute focal airspace consolidation.", ["No evidence of acute focal airspace consolidation"]),
        ("Er hat kein Fieber.", ["kein Fieber"]),
        ("Kein\nFieber", ["Kein\nFieber"]),
        ("Kein Anhalt für Pneumonie, Stauung deutlich", ["Kein Anhalt für Pneumonie"]),
        ("Weder Fieber noch Husten.", ["Weder Fieber noch Husten"]),
        ("Verneint Fieber und Husten, jedoch Atemnot", ["Verneint Fieber und Husten"]),
        ("Le patient ne présente pas de fièvre.", ["pas de fièvre"]),
        ("Sans fièvre ni toux.", ["Sans fièvre ni toux"]),
        ("Pas d’épanchement pleural", ["Pas d’épanchement pleural"]),
        ("Aucun signe d'épanchement.", ["Aucun signe d'épanchement"]),
    ],
)
def test_a_denial_reaches_from_its_cue_to_the_end_of_what_it_denies(note: str, groups: list[str]) -> None:
    assert denied(note) == groups


@pytest.mark.parametrize(
    ("note", "groups"),
    [
        ("Pneumothorax: absent. Cough.", ["Pneumothorax: absent"]),
        ("Pneumonia was ruled out by CT.", ["Pneumonia was ruled out"]),
        ("Effusion is not seen on today's film", ["Effusion is not seen"]),
        ("Pneumothorax absent on the film", ["Pneumothorax absent"]),
        ("fever: no; ankle swelling: no.", ["fever: no", "ankle swelling: no"]),
        ("Fever? No. Cough? Yes.", ["Fever? No"]),
        ("JVP not raised", ["JVP not raised"]),
        ("Ein Erguss ist nicht nachweisbar.", ["Ein Erguss ist nicht nachweisbar"]),
        ("Fieber wird verneint.", ["Fieber wird verneint"]),
        ("Pneumothorax exclu.", ["Pneumothorax exclu"]),
    ],
)
def test_a_denial_may_stand_behind_what_it_denies(note: str, groups: list[str]) -> None:
    assert denied(note) == groups


@pytest.mark.parametrize(
    "note", ["no increase in effusion", "not only fever", "gram negative rods", "nicht nur Fieber"]
)
def test_what_only_looks_like_a_denial_is_none(note: str) -> None:
    assert denied(note) == []


@pytest.mark.parametrize(
    ("note", "groups"),
    [
        ("No fever but cough.", ["No fever"]),
        ("No fever; cough.", ["No fever"]),
        ("Kein Fieber, aber Husten.", ["Kein Fieber"]),
        ("Pas de fièvre mais une toux", ["Pas de fièvre"]),
        ("No fever, sleeps on four pillows", ["No fever"]),
        ("No fever and cough productive of green sputum", ["No fever"]),
        ("No fever since Monday", ["No fever"]),
        ("Keine Dyspnoe\nHusten seit 3 Tagen", ["Keine Dyspnoe"]),
        ("No one two three four five six seven", ["No one two three four five six"]),
    ],
)
def test_a_denial_ends_where_the_sentence_turns_and_after_a_few_words(note: str, groups: list[str]) -> None:
    assert denied(note) == groups


@pytest.mark.parametrize(
    "note",
    [
        "No fever, chills or chest pain",
        "Denies fever, chills, chest pain and cough",
        "No fever, chills, rigors",
        "no fever and chills",
        "a fever last winter, long settled, none now",
    ],
)
def test_a_list_is_denied_as_a_whole(note: str) -> None:
    assert denied(note) == [note]


@pytest.mark.parametrize(
    "note", ["", "cough", "No", "no no no", "No. 5", "not\n\nnot, none: no", ", ".join(["nil"] * 40), "\n".join("abcd")]
)
def test_every_word_is_in_exactly_one_group_in_order(note: str) -> None:
    words = words_of(note)

    assert [word for group in phrases(note, words) for word in group] == list(range(len(words)))


@pytest.mark.parametrize(
    "wording",
    [
        "a fever last winter, long settled, none now",
        "ankles swelled on a flight in 2012, not since",
        "heart checked in 2012, nothing found",
        "father had an MI, patient has not",
        "partner had a hip done, not the patient",
        "cramp in the calf years ago, not now",
    ],
)
@pytest.mark.parametrize("after", [".", " and household all well.", ", sleeps through.", " and no PND."])
def test_a_clause_that_says_nothing_but_not_denies_the_clause_before_it(wording: str, after: str) -> None:
    assert wording in denied(f"Cough for 3 days. {wording}{after}")


def pattern(wording: str) -> str:
    """A wording of the sample cohort as it stands in a note."""
    wording = re.escape(wording)
    for name, filled in FILLED.items():
        wording = wording.replace(re.escape(name), filled)
    return rf"(?<!\w){wording}(?!\w)"


def in_lists(noun: str) -> list[str]:
    """The lists that may deny a noun, the other one unknown."""
    wild = "[^.;:,]+?"
    patterns = []
    for form in notes.LISTS:
        for mine, other in (("{0}", "{1}"), ("{1}", "{0}")):
            mark = re.escape(form).replace(re.escape(mine), f"(?P<fact>{re.escape(noun)})")
            patterns.append(mark.replace(re.escape(other), wild))
    return patterns


def stated_denials(note: str, statements: np.ndarray) -> list[tuple[int, int]]:
    """Where a note denies a fact in so many words: its noun in a list, or a wording from its 'no' or 'never' on.

    Not where it says the opposite, as in 'ankles slim'.
    """
    places = []
    for k in np.flatnonzero(statements == -1):
        said = [match for wording in FACTS[k].no for match in re.finditer(pattern(wording), note, re.IGNORECASE)]
        cues = [(match, cue) for match in said for cue in WORD.finditer(match[0]) if DENIES.fullmatch(cue[0])]
        found = [(match.start() + cue.start(), match.end()) for match, cue in cues]
        for form in in_lists(FACTS[k].noun):
            found += [match.span("fact") for match in re.finditer(form, note, re.IGNORECASE)]
        places += found[:1]
    return places


def is_caught(note: str, place: tuple[int, int]) -> bool:
    """Whether no word of a denied fact stands without a word that denies."""
    words = words_of(note)
    for group in phrases(note, words):
        start, end = words[group[0]][0], words[group[-1]][1]
        spoken = WORD.findall(note[start:end])
        inside = start < place[1] and place[0] < end
        if inside and (len(group) == 1 or not any(map(DENIES.fullmatch, spoken))):
            return False
    return True


def test_the_denials_of_the_sample_cohort_are_caught() -> None:
    caught = []
    for number, stated in enumerate(truth.draw_cases(np.random.default_rng(5), 200).statements):
        note = notes.write_note(np.random.default_rng(number), stated, 50, female=True)
        caught += [is_caught(note, place) for place in stated_denials(note, stated)]

    assert len(caught) > 1000
    assert np.mean(caught) > 0.99
