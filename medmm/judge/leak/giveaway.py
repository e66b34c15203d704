"""Words of a note that give a label away: its own name, and words with which it is almost always or never stated.

What is printed: a word of a note is printed only if at least 5 patients' notes have it, and never a token with a digit;
a label's own name is printed as the label spells it. So no patient's name is, unless five patients share it as a word.
Negations are not understood: 'no melanoma' says 'melanoma'.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medmm.judge.leak.duplicate import Verdict, patients_of
from medmm.read.survey import Surveyed

LEAST_PATIENTS = 5
"""A word that fewer patients' notes have is neither tried nor printed."""
MOST_WORDS = 10
"""For one label; of more, the ones that tell most."""
_PURE = 0.95
_TELLS = 0.75
"""What holds for more of the cohort than this is not tried: that it does is nothing that a word gives away."""
_LETTERS = r"(?u)[^\W\d_]{2,}"
_STEM = 6
"""A word of the label's name so long also stands for those that begin as it does: 'intubated' for 'intubation'."""


@dataclass(frozen=True, slots=True, eq=False)
class Giveaway:
    """One word, or pair of words, and what it says of a label."""

    word: str
    own_name: bool
    """It is the label's name."""
    has: np.ndarray
    """(N,) bool: the cases whose note has it."""
    means: bool
    """True if cases with it have the label, False if they do not."""
    patients: int
    """With it, of those for whom the label is stated."""
    agreeing: int
    """Of them, those whose cases with it are all as it says."""
    verdict: Verdict


def words_of(cases: Sequence[Surveyed], longest: int) -> tuple[Any, np.ndarray] | None:
    """Which note has which word: (N, words) sparse of 0 and 1, and the words; None if no word is in enough notes."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(
        binary=True, ngram_range=(1, longest), min_df=LEAST_PATIENTS, token_pattern=_LETTERS, dtype=np.float64
    )
    try:
        words = counter.fit_transform([case.note for case in cases]).tocsr()
    except ValueError:  # sklearn's way to say that no word is left
        return None
    enough = np.flatnonzero(_sum(_having(_by_patient(cases), words, np.ones(len(cases), dtype=bool))) >= LEAST_PATIENTS)
    return (words[:, enough], counter.get_feature_names_out()[enough]) if len(enough) else None


def _by_patient(cases: Sequence[Surveyed]) -> Any:
    """(patients, N) sparse of 0 and 1: whose case it is."""
    from scipy.sparse import csr_matrix

    patient_of = np.unique(np.array(patients_of(cases)), return_inverse=True)[1]
    return csr_matrix((np.ones(len(cases)), (patient_of, np.arange(len(cases)))))


def giveaways(cases: Sequence[Surveyed], labels: Sequence[str], targets: np.ndarray) -> list[list[Giveaway]]:
    """For each label its own name, if a note has it, and the words that give it away, the most frequent first.

    A word says that a label is there, or that it is not, whichever is more than the cohort's share. It is a *leak* if
    at least 95 % of the patients with it are as it says, if fewer than a fifth of what the cohort lets expect are not
    (upper 95 % bound, Clopper and Pearson 1934), and if that is no chance (binomial, 5 % over all words tried); it is
    *suspicious* if the same holds with a half in place of a fifth. What holds for more than three quarters of the
    cohort anyway is not tried: that a common symptom rules a rare label out is honest. The label's own name is
    suspicious as soon as those who have it in the note have the label more often than the cohort, and a leak if that is
    four of five of them and no chance.

    Args:
        cases: N.
        labels: L.
        targets: (N, L) 1, 0 or NaN.
    """
    found = words_of(cases, longest=2)
    by_patient = _by_patient(cases)
    answers = []
    for number, label in enumerate(labels):
        own = _own_name(cases, label, by_patient, targets[:, number])
        others = [] if found is None else _telling(by_patient, *found, targets[:, number])
        answers.append([*own, *others])
    return answers


def _telling(by_patient: Any, words: Any, names: np.ndarray, target: np.ndarray) -> list[Giveaway]:
    """Words that almost determine one label, without the pairs of which one already does."""
    counted = _count(by_patient, words, target, tries=len(names))
    told = np.flatnonzero(counted.leak | counted.suspicious)
    single = np.array([" " not in names[place] for place in told], dtype=bool)
    said: dict[str, Giveaway] = {}
    for place in told[np.lexsort((-counted.agreeing[told], ~single))]:
        name = str(names[place])
        if len(said) < MOST_WORDS and not any(word in said for word in name.split()):
            has = np.asarray(words[:, [place]].toarray()[:, 0] > 0)
            verdict: Verdict = "leak" if counted.leak[place] else "suspicious"
            said[name] = counted.giveaway(place, name, has, verdict)
    return sorted(said.values(), key=lambda word: -word.agreeing)


def _own_name(cases: Sequence[Surveyed], label: str, by_patient: Any, target: np.ndarray) -> list[Giveaway]:
    """The label's own name: all of its words, or their beginnings, in one note."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    parts = [part for part in re.findall(_LETTERS, label.casefold().replace("_", " ")) if len(part) > 2]
    parts = [part for part in parts if part not in ENGLISH_STOP_WORDS]
    if not parts:
        return []
    patterns = [re.compile(rf"\b{part[:-2]}" if len(part) >= _STEM else rf"\b{part}\b") for part in parts]
    notes = [case.note.casefold() for case in cases]
    has = np.array([all(pattern.search(note) for pattern in patterns) for note in notes], dtype=bool)
    counted = _count(by_patient, csr_matrix(has[:, None].astype(float)), target, tries=1)
    if not counted.patients[0]:
        return []
    mostly = counted.agreeing[0] >= 0.8 * counted.patients[0] and counted.chance[0] < 0.05
    verdict: Verdict = "quiet"
    if counted.means[0] and counted.present[0]:
        verdict = "leak" if mostly else "suspicious"
    return [counted.giveaway(0, label, has, verdict, own_name=True)]


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    """What W words say of one label, in patients; each array is (W,)."""

    patients: np.ndarray
    present: np.ndarray
    """Patients with the word in a case with the label."""
    means: np.ndarray
    agreeing: np.ndarray
    """Patients whose cases with the word are all as it says."""
    chance: np.ndarray
    """Of so many agreeing or more, over all words tried, both ways."""
    leak: np.ndarray
    suspicious: np.ndarray

    def giveaway(self, place: int, word: str, has: np.ndarray, verdict: Verdict, own_name: bool = False) -> Giveaway:
        """One of the words."""
        numbers = int(self.patients[place]), int(self.agreeing[place])
        return Giveaway(word, own_name, has, bool(self.means[place]), *numbers, verdict)


def _count(by_patient: Any, words: Any, target: np.ndarray, tries: int) -> _Counted:
    """Count patients with each word, with and without the label: words (N, W) sparse."""
    from scipy.stats import beta, binom

    with_label, without = (_having(by_patient, words, target == answer) for answer in (1.0, 0.0))
    present, absent, both = _sum(with_label), _sum(without), _sum(with_label.multiply(without))
    base = _share(by_patient, target)
    patients = present + absent - both
    means = present * (1 - base) >= absent * base
    agreeing = np.where(means, present, absent) - both
    expected = np.where(means, base, 1 - base)
    chance = np.minimum(binom.sf(agreeing - 1, patients, expected) * 2 * tries, 1.0)
    failing = beta.ppf(0.95, patients - agreeing + 1, np.maximum(agreeing, 1e-9))  # at most, as a share
    pure = (agreeing >= _PURE * patients) & (chance < 0.05) & (expected <= _TELLS)
    leak, suspicious = (pure & (failing < (1 - expected) / most) for most in (5, 2))
    return _Counted(patients, present, means, agreeing, chance, leak, suspicious & ~leak)


def _share(by_patient: Any, target: np.ndarray) -> float:
    """Share of the label among the cases for which it is stated, each patient counted once."""
    positive, stated = by_patient @ (target == 1), by_patient @ np.isfinite(target)
    return float((positive[stated > 0] / stated[stated > 0]).mean()) if stated.any() else 0.5


def _having(by_patient: Any, words: Any, among: np.ndarray) -> Any:
    """Which patient has which word in one of the cases `among` (N,) bool: (patients, W) sparse of bool."""
    return (by_patient[:, among] @ words[among]) > 0


def _sum(having: Any) -> np.ndarray:
    """How many patients have each word: (W,) int."""
    return np.asarray(having.sum(axis=0)).reshape(-1).astype(np.int64)
