"""Words for what a note states: varied clinical English that names no label and no finding.

The facts that a note states are drawn in `sample_data.facts`; here they are put in order, grouped, abbreviated and
mixed with sentences that mean nothing for the answer.
"""

import numpy as np

from sample_data.facts import FACTS

COMPLAINTS = (
    "breathless for {day} days",
    "SOB x{day}/7",
    "cough and chest discomfort",
    "short of breath on exertion",
    "feels unwell, chest tight",
    "coughing since {day} days",
    "chest pain, worse on moving",
    "reduced exercise tolerance over {week} weeks",
    "dyspnoea on one flight of stairs",
    "referred by GP with chest symptoms",
)
OPENINGS = (
    "{who} presents: {complaint}.",
    "{who}, {complaint}.",
    "Thank you for seeing this patient ({who}) who reports: {complaint}.",
    "{who}. PC: {complaint}.",
    "Hx: {who}, {complaint}.",
    "ED attendance, {who}; {complaint}.",
    "Ward referral. {who}. {complaint}.",
)
FILLERS = (
    "NKDA.",
    "Allergic to trimethoprim (rash).",
    "Takes metformin and amlodipine.",
    "On levothyroxine, nil else.",
    "Medication list reviewed, unchanged.",
    "Lives alone, independent with shopping.",
    "Lives with family on the third floor, no lift.",
    "Retired teacher.",
    "Works night shifts as a driver.",
    "Drinks a glass of wine at weekends.",
    "Appendicectomy as a child.",
    "Cholecystectomy {year}.",
    "Hay fever in spring.",
    "Type 2 diabetes, diet controlled.",
    "Holiday in Portugal last summer.",
    "Osteoarthritis of both hands.",
    "Wears hearing aids, history through daughter.",
    "Interpreter present.",
    "Vaccinations up to date.",
    "Migraine, rarely.",
    "Father smoked heavily and died at 80.",
    "Brother had swollen ankles for years.",
    "Neighbour is in hospital with a fever and rigors.",
    "Sister had surgery on her calf last week.",
    "Mother used to sleep on three pillows.",
    "Cousin lost weight after dental work.",
    "Abdomen soft, bowels as usual.",
    "BP 132/78.",
    "Glucose 6.1.",
    "Previous film elsewhere, not available.",
)
CLOSINGS = (
    "CXR please.",
    "Please image.",
    "Film requested.",
    "?cause.",
    "Kindly assess.",
    "Request chest film, thanks.",
    "Cause? Thanks.",
    "",
    "",
)
LISTS = ("Denies {0} and {1}.", "No {0} or {1}.", "Nil {0}, nil {1}.", "{0}: no; {1}: no.", "Neg for {0}/{1}.")
CUES = ("", "", "", "", "O/E and history: ", "Reports ", "States: ", "Says ")


def write_note(rng: np.random.Generator, statements: np.ndarray, age: int, female: bool) -> str:
    """Put one case into words.

    Args:
        rng: decides wording and order.
        statements: (facts,) 1 affirmed, -1 denied, 0 not mentioned, in the order of FACTS.
        age: years; given in about two of three notes.
        female: the sex; given in most notes.
    """
    opening = _capital(_pick(rng, OPENINGS).format(who=_who(rng, age, female), complaint=_pick(rng, COMPLAINTS)))
    sentences = _affirmed(rng, np.flatnonzero(statements == 1)) + _denied(rng, np.flatnonzero(statements == -1))
    fillers = rng.choice(len(FILLERS), rng.integers(1, 5), replace=False)
    sentences += [FILLERS[k] for k in fillers]
    order = rng.permutation(len(sentences))
    body = " ".join(sentences[k] for k in order)
    text = f"{opening} {body} {_pick(rng, CLOSINGS)}".strip()
    return _fill(rng, text)


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _who(rng: np.random.Generator, age: int, female: bool) -> str:
    """Age and sex as a referrer writes them, sometimes less."""
    sex = ("woman", "lady", "F", "female") if female else ("man", "gentleman", "M", "male")
    form = rng.random()
    if form < 0.30:
        return f"{age}{sex[2]}"
    if form < 0.55:
        return f"{age} year old {_pick(rng, sex[:2])}"
    if form < 0.68:
        return f"{age} yo {sex[3]}"
    return f"{_pick(rng, ('elderly' if age > 74 else 'adult', 'this'))} {_pick(rng, sex[:2])}"


def _affirmed(rng: np.random.Generator, which: np.ndarray) -> list[str]:
    """Sentences for affirmed facts, sometimes two in one."""
    phrases = [_pick(rng, FACTS[k].yes) for k in rng.permutation(which)]
    return _sentences(rng, phrases)


def _denied(rng: np.random.Generator, which: np.ndarray) -> list[str]:
    """Sentences for denied facts: about half of them in lists of two."""
    order = list(rng.permutation(which))
    sentences = []
    while len(order) >= 2 and rng.random() < 0.62:
        pair = FACTS[order.pop()].noun, FACTS[order.pop()].noun
        sentences.append(_capital(_pick(rng, LISTS).format(*pair)))
    return sentences + _sentences(rng, [_pick(rng, FACTS[k].no) for k in order])


def _sentences(rng: np.random.Generator, phrases: list[str]) -> list[str]:
    """Join some phrases, give some a cue, and end each with a full stop."""
    sentences = []
    while phrases:
        phrase = phrases.pop()
        if phrases and rng.random() < 0.45:
            phrase += _pick(rng, (", ", "; ", " and ", ". Also ")) + phrases.pop()
        sentences.append(_capital(_pick(rng, CUES) + phrase) + ".")
    return sentences


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _fill(rng: np.random.Generator, text: str) -> str:
    """Give every {day}, {week}, {year} and {side} a value of its own."""
    while "{" in text:
        name = text[text.index("{") + 1 : text.index("}")]
        values = {
            "day": str(rng.integers(2, 15)),
            "week": str(rng.integers(2, 11)),
            "year": str(rng.integers(1998, 2023)),
            "side": _pick(rng, ("left", "right")),
        }
        text = text.replace("{" + name + "}", values[name], 1)
    return text
