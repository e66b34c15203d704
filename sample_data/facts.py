"""What a note may state about a history, how often it does, and in which words.

A fact is affirmed, denied or not mentioned, with a chance that depends on one history alone. `affirmed` and `denied`
hold (chance without the history, chance with it). No wording names a label or a finding.
"""

from dataclasses import dataclass

import numpy as np

from sample_data.record import HISTORIES, STATES


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a note may affirm, deny or pass over."""

    history: str
    """The one history that decides how often it is stated."""
    affirmed: tuple[float, float]
    """Chance of being affirmed without and with the history."""
    denied: tuple[float, float]
    """Chance of being denied without and with the history."""
    yes: tuple[str, ...]
    """Wordings that affirm; {week}, {day}, {year} and {side} are filled in."""
    no: tuple[str, ...]
    """Wordings that deny, also by pointing at another time or another person."""
    noun: str
    """What stands in a list of denials: 'denies X, Y and Z'."""


_STRONG = ((0.06, 0.52), (0.46, 0.07))
_USUAL = ((0.08, 0.42), (0.40, 0.10))
_WEAK = ((0.12, 0.34), (0.30, 0.14))

FACTS = (
    Fact(
        "infection",
        *_STRONG,
        (
            "fever at home for {day} days",
            "feverish since the weekend, 38.9 on the home thermometer",
            "documented temps >38.5 x{day}/7",
            "running a temperature every evening",
            "hot and flushed, spiking at home",
        ),
        ("no fever", "afebrile throughout", "has not felt feverish", "a fever last winter, long settled, none now"),
        "fever",
    ),
    Fact(
        "infection",
        *_STRONG,
        (
            "cough productive of green sputum",
            "bringing up rusty phlegm",
            "purulent sputum for {day} days",
            "thick yellow sputum, more each day",
        ),
        ("no sputum", "dry tickle only, nothing comes up", "cough without phlegm", "sputum cup empty"),
        "sputum",
    ),
    Fact(
        "infection",
        *_USUAL,
        (
            "two rigors last night",
            "shaking chills",
            "woke with teeth chattering",
            "shivering and drenched since {day}/7",
        ),
        ("no rigors", "has had no shivers", "no chills at any time"),
        "rigors",
    ),
    Fact(
        "infection",
        *_WEAK,
        (
            "grandchild at home with a nasty cold",
            "several colleagues off with the same bug",
            "care home has an outbreak of coughs",
        ),
        ("nobody else unwell at home", "no sick contacts", "household all well"),
        "sick contacts",
    ),
    Fact(
        "infection",
        *_USUAL,
        ("aching all over after a head cold", "off food with myalgia for {day} days", "wiped out, muscles sore"),
        ("eating normally, no aches", "no myalgia", "no coryzal prodrome"),
        "myalgia",
    ),
    Fact(
        "infection",
        *_WEAK,
        ("GP started amoxicillin {day} days ago", "on day {day} of doxycycline", "had clarithromycin from the walk-in"),
        ("no recent antibiotics", "last antibiotics in {year}", "has not been given antibiotics"),
        "antibiotics this year",
    ),
    Fact(
        "congestion",
        *_STRONG,
        (
            "sleeps on four pillows",
            "orthopnoea, props up in a chair",
            "cannot lie flat any more",
            "breathless as soon as the bed is lowered",
        ),
        ("lies flat comfortably", "no orthopnoea", "sleeps on one pillow as ever", "flat in bed without trouble"),
        "orthopnoea",
    ),
    Fact(
        "congestion",
        *_STRONG,
        (
            "both ankles swollen for {week} weeks",
            "bilateral pitting oedema to the knees",
            "shoes tight, legs puffy by evening",
            "SOA ++ both sides",
        ),
        ("no ankle swelling", "ankles slim", "no SOA", "ankles swelled on a flight in {year}, not since"),
        "ankle swelling",
    ),
    Fact(
        "congestion",
        *_USUAL,
        (
            "known ischaemic heart disease",
            "MI in {year}, two stents",
            "CABG {year}",
            "old anterior infarct, under cardiology",
        ),
        ("no cardiac history", "no IHD", "heart checked in {year}, nothing found", "father had an MI, patient has not"),
        "cardiac history",
    ),
    Fact(
        "congestion",
        *_USUAL,
        ("wakes gasping at night", "PND most nights", "up at 3 am at the open window to breathe"),
        ("sleeps through", "no PND", "nights undisturbed"),
        "PND",
    ),
    Fact(
        "congestion",
        *_WEAK,
        ("furosemide doubled last month", "on bumetanide, dose going up", "water tablets no longer enough"),
        ("no diuretics", "takes no water tablets", "never on furosemide"),
        "diuretic use",
    ),
    Fact(
        "congestion",
        *_WEAK,
        ("JVP raised to the jaw", "neck veins distended", "JVP +6 cm"),
        ("JVP not raised", "JVP flat", "neck veins not distended"),
        "raised JVP",
    ),
    Fact(
        "malignancy_risk",
        *_STRONG,
        (
            "smoker, 45 pack-years",
            "smokes 20 a day since school",
            "ex-smoker, 50 pack-yrs, stopped {year}",
            "40 roll-ups/d",
        ),
        ("never smoked", "lifelong non-smoker", "non-smoker; partner smokes outdoors", "nil tobacco ever"),
        "tobacco use",
    ),
    Fact(
        "malignancy_risk",
        *_STRONG,
        (
            "lost 8 kg without trying",
            "unintended weight loss, a stone since {week} weeks",
            "clothes hang loose, weight falling",
            "down two belt holes",
        ),
        (
            "no weight loss",
            "weight steady",
            "lost weight on a diet in {year}, stable since",
            "appetite and weight as always",
        ),
        "weight loss",
    ),
    Fact(
        "malignancy_risk",
        *_STRONG,
        (
            "streaks of blood when coughing",
            "haemoptysis on and off for {week} weeks",
            "coughed up blood twice",
            "blood-stained tissue shown",
        ),
        ("no haemoptysis", "never coughed blood", "a nosebleed, but no blood on coughing"),
        "haemoptysis",
    ),
    Fact(
        "malignancy_risk",
        *_WEAK,
        ("lagger in the shipyards, asbestos", "fifteen years with asbestos cement", "worked in a uranium mine"),
        ("office work, no asbestos", "no dusty jobs", "no asbestos exposure known"),
        "asbestos exposure",
    ),
    Fact(
        "malignancy_risk",
        *_USUAL,
        ("hoarse for {week} weeks", "voice has gone husky since {week}/52", "voice weak, not recovering"),
        ("voice unchanged", "no hoarseness", "hoarse with a cold in {year}, recovered fully"),
        "hoarseness",
    ),
    Fact(
        "malignancy_risk",
        *_WEAK,
        ("finger clubbing", "clubbed nails, new", "drumstick fingers noted"),
        ("no clubbing", "nails normal", "fingers not clubbed"),
        "clubbing",
    ),
    Fact(
        "embolism_risk",
        *_STRONG,
        (
            "hip replacement {day} days ago",
            "day {day} after knee surgery",
            "hernia repair {week} weeks ago",
            "laparotomy {week}/52 ago",
        ),
        (
            "no recent surgery",
            "last operation in {year}",
            "not operated on recently",
            "partner had a hip done, not the patient",
        ),
        "recent surgery",
    ),
    Fact(
        "embolism_risk",
        *_STRONG,
        (
            "{side} calf painful and swollen",
            "{side} calf tender, 4 cm wider than the other",
            "{side} lower leg tight and sore since {day}/7",
        ),
        ("calves soft and equal", "no calf pain", "calves SNT", "cramp in the calf years ago, not now"),
        "calf pain",
    ),
    Fact(
        "embolism_risk",
        *_USUAL,
        (
            "in plaster for {week} weeks",
            "bed-bound for {day} days",
            "flew back from Sydney {day} days ago",
            "leg in a brace",
        ),
        ("fully mobile", "no recent immobility", "up and about daily", "no long journeys"),
        "immobility",
    ),
    Fact(
        "embolism_risk",
        *_USUAL,
        ("came on within seconds", "sudden onset at rest", "out of the blue while reading"),
        ("crept up slowly", "onset gradual", "no sudden start"),
        "sudden onset",
    ),
    Fact(
        "embolism_risk",
        *_WEAK,
        ("nearly fainted on the stairs", "presyncope {day} days ago", "light-headed with it, went grey"),
        ("no faintness", "no syncope", "never light-headed"),
        "syncope",
    ),
    Fact(
        "embolism_risk",
        *_WEAK,
        ("pulse 118 at triage", "tachycardic, sinus on ECG", "heart racing, HR 124"),
        ("pulse 72 regular", "HR normal", "not tachycardic"),
        "tachycardia",
    ),
)
"""Every fact, six for each history."""

_HISTORY = np.array([HISTORIES.index(fact.history) for fact in FACTS])
_AFFIRMED = np.array([fact.affirmed for fact in FACTS])  # (facts, without or with)
_DENIED = np.array([fact.denied for fact in FACTS])


def draw_statements(rng: np.random.Generator, histories: np.ndarray) -> np.ndarray:
    """Draw what notes state: (cases, 4) bool -> (cases, facts) int8, 1 affirmed, -1 denied, 0 not mentioned."""
    state = histories[:, _HISTORY].astype(int)  # (cases, facts)
    fact = np.arange(len(FACTS))
    affirmed, denied = _AFFIRMED[fact, state], _DENIED[fact, state]
    chance = rng.random(state.shape)
    return np.where(chance < affirmed, 1, np.where(chance < affirmed + denied, -1, 0)).astype(np.int8)


def log_likelihood(statements: np.ndarray) -> np.ndarray:
    """Log-likelihood of each of STATES given what a note states: (cases, facts) -> (cases, 16)."""
    table = np.log(np.stack([_DENIED, 1 - _AFFIRMED - _DENIED, _AFFIRMED]))  # (statement, fact, state)
    each = table[statements + 1, np.arange(len(FACTS))]  # (cases, facts, without or with)
    total = np.zeros((len(statements), len(STATES)))
    for k in range(len(HISTORIES)):
        both = each[:, k == _HISTORY].sum(axis=1)  # (cases, 2)
        total += both[:, STATES[:, k].astype(int)]
    return total
