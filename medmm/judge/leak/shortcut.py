"""How well a label can be told from something that is no evidence of it: held-out AUROC, its interval, a verdict.

A suspect is scored on cases whose patients its scorer has not seen (five folds by patient), so that a column of ids,
or one of many tags, does not look telling by learning by heart.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from medmm.judge.leak.duplicate import RANK, Verdict, patients_of
from medmm.judge.leak.giveaway import Giveaway, giveaways
from medmm.judge.leak.suspect import Suspect, SuspectKind, suspects
from medmm.judge.metrics import Estimate, Ranking, estimate, resample_patients, with_sample
from medmm.judge.words import counted
from medmm.read.survey import Surveyed

ShortcutKind = Literal["missing", "acquisition", "value", "note", "word"]

LINES: dict[SuspectKind, tuple[float, float]] = {
    "missing": (0.60, 0.75),
    "acquisition": (0.60, 0.75),
    "value": (0.95, 0.98),
    "note": (0.95, 0.98),
}
"""What the lower end of the interval must pass to be suspicious, and to be a leak. What is missing and how a picture
was taken should tell nothing; what a column or a note says is meant to tell something, but not the answer."""
LEAST_PATIENTS = 5
"""Of each answer, for a label to be tried."""
_ALARM = 0.05
"""Chance that an audit of a cohort without any relation calls anything real."""
_FOLDS = 5
_RESAMPLES = 300
_SMOOTH = 10.0
"""A category's share is drawn to the cohort's as if by so many more cases."""

_REMEDY: dict[str, str] = {
    "missing": "Leave the column out, or find out why it is empty",
    "acquisition": "A model can read this off the pixels: compare within one device or technique, or find out why",
    "value": "It restates the label, or was written after it: leave it out",
    "note": "The notes restate the label, or were written after it: leave such sentences out",
    "word": "Leave such sentences out (sections_left_out), or find out when the note was written",
}


@dataclass(frozen=True, slots=True)
class Shortcut:
    """One label against one suspect."""

    label: str
    kind: ShortcutKind
    suspect: str
    """Column, modality, DICOM keyword or word. Of words only the label's own name, and those of at least 5 patients."""
    auroc: float
    """Of held-out cases; of a word, of its presence alone."""
    low: float
    """Lower end of the 95 % interval by patient; NaN where there is none."""
    high: float
    cases: int
    """That were asked."""
    is_input: bool
    """Whether a model would see it. A column that is not an input is never a leak, at most suspicious."""
    verdict: Verdict
    sentence: str


@dataclass(frozen=True, slots=True, eq=False)
class _Tried:
    suspect: Suspect
    area: Estimate
    cases: int
    z: float
    """Distance from 0.5, in standard errors of a ranking that knows nothing, counted in patients."""


def find_shortcuts(
    cases: Sequence[Surveyed], inputs: Collection[str], labels: Sequence[str], seed: int
) -> tuple[tuple[Shortcut, ...], tuple[str, ...]]:
    """Try every label against every suspect, the worst first; and say what was not tried, and why.

    A suspect is *real* if its AUROC is further above 0.5 than chance lets any of the tries come, in 19 of 20 audits
    (Mann-Whitney in patients, one-sided, Bonferroni over every look at every suspect for every label). What is real is
    *suspicious* or a *leak* if the lower end of its 95 % interval passes the LINES of its kind; all else is *quiet*.
    Words have a rule of their own, see `giveaways`.
    """
    if not cases:
        return (), ("no case could be read",)
    patients = np.unique(np.array(patients_of(cases)), return_inverse=True)[1]
    targets = np.array([[case.targets.get(label, np.nan) for label in labels] for case in cases], dtype=float)
    targets = targets.reshape(len(cases), len(labels))
    draws = resample_patients(patients_of(cases), _RESAMPLES, seed)
    tried: list[tuple[str, _Tried]] = []
    not_tested: list[str] = []
    few: dict[str, list[str]] = {}
    asked = suspects(cases, inputs)
    testable = []
    for number, label in enumerate(labels):
        target = targets[:, number]
        if _least(target, patients) < LEAST_PATIENTS:
            not_tested.append(_too_few(label, target, patients))
            continue
        testable.append(number)
        fold_of = _folds(target, patients, seed)
        for suspect in asked:
            within = np.where(suspect.among, target, np.nan)
            if _least(within, patients) < LEAST_PATIENTS:
                few.setdefault(suspect.says, []).append(label)
            else:
                tried.append((label, _try(suspect, within, patients, fold_of, draws)))
    tries = sum(len(one.suspect.views) for _, one in tried)
    shortcuts = [_shortcut(label, one, tries) for label, one in tried]
    for number, words in zip(
        testable, giveaways(cases, [labels[n] for n in testable], targets[:, testable]), strict=True
    ):
        shortcuts += [_said(labels[number], word, targets[:, number], draws) for word in words]
    not_tested += [
        f"{says} against {', '.join(those)}: stated for fewer than {LEAST_PATIENTS} patients of one answer"
        for says, those in few.items()
    ]
    shortcuts.sort(key=lambda one: (RANK[one.verdict], -np.nan_to_num(one.low), one.label, one.suspect))
    return tuple(shortcuts), tuple(not_tested)


def _sides(target: np.ndarray, patients: np.ndarray) -> tuple[int, int]:
    """How many patients (N,) int have a case with the label, and one without."""
    return len(np.unique(patients[target == 1])), len(np.unique(patients[target == 0]))


def _least(target: np.ndarray, patients: np.ndarray) -> int:
    return min(_sides(target, patients))


def _too_few(label: str, target: np.ndarray, patients: np.ndarray) -> str:
    present, absent = _sides(target, patients)
    return (
        f"label '{label}': {counted(present, 'patient')} with it and {absent:,} without;"
        f" {LEAST_PATIENTS} of each are needed to try what could tell it"
    )


def _folds(target: np.ndarray, patients: np.ndarray, seed: int) -> np.ndarray:
    """The fold of each case (N,): patients with the label are dealt first, then those without, each at random."""
    has = np.bincount(patients, weights=target == 1) > 0
    stated = np.bincount(patients, weights=np.isfinite(target)) > 0
    order = np.lexsort((np.random.default_rng(seed).permutation(len(has)), ~has, ~stated))
    fold_of = np.empty(len(has), dtype=np.int64)
    fold_of[order] = np.arange(len(has)) % _FOLDS
    return np.asarray(fold_of[patients])


def _try(suspect: Suspect, target: np.ndarray, patients: np.ndarray, fold_of: np.ndarray, draws: np.ndarray) -> _Tried:
    """Score held-out cases by each view of a suspect; the better one counts."""
    stated = np.flatnonzero(np.isfinite(target))
    y, folds = target[stated], fold_of[stated]
    scored = [_held_out(view[stated], y, folds) for view in suspect.views]
    rankings = [Ranking(y, scores) for scores in scored]
    once = np.ones((1, len(y)))
    best = max(rankings, key=lambda ranking: float(ranking.auroc(once)[0]))
    area = estimate(best.auroc(with_sample(draws[:, stated])))
    present, absent = _sides(target, patients)
    null_error = np.sqrt((present + absent + 1) / (12 * present * absent))
    return _Tried(suspect, area, len(y), float((area.value - 0.5) / null_error))


def _held_out(view: Any, y: np.ndarray, fold_of: np.ndarray) -> np.ndarray:
    """Score each case by the others' folds: log-odds against the share of the label among them, (N,)."""
    ranked = view.ndim == 1 and view.dtype.kind == "f"
    if ranked:
        view = _ranked(view)
    scores = np.zeros(len(y))
    for fold in range(_FOLDS):
        held, rest = fold_of == fold, fold_of != fold
        if not held.any() or len(np.unique(y[rest])) < 2:
            continue
        if ranked:
            way = np.sign(view[rest][y[rest] == 1].mean() - view[rest][y[rest] == 0].mean())
            scores[held] = way * view[held]
        elif view.ndim == 1:
            scores[held] = _encoded(view, y, rest)[held]
        else:
            scores[held] = _linear(view[rest], y[rest], view[held])
    return scores


def _ranked(numbers: np.ndarray) -> np.ndarray:
    """Ranks from -0.5 to 0.5; 0, the middle, for NaN."""
    from scipy.stats import rankdata

    ranks, known = np.zeros(len(numbers)), np.isfinite(numbers)
    ranks[known] = (rankdata(numbers[known]) - 0.5) / max(known.sum(), 1) - 0.5
    return ranks


def _encoded(codes: np.ndarray, y: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Log-odds of the label for each code, learnt from `rest`, drawn to the share of all; 0 for a code not seen."""
    size, share = int(codes.max()) + 1, float(y[rest].mean())
    seen = np.bincount(codes[rest], minlength=size)
    positive = np.bincount(codes[rest], weights=y[rest], minlength=size)
    chance = (positive + _SMOOTH * share) / (seen + _SMOOTH)
    odds = np.log(chance / (1 - chance)) - np.log(share / (1 - share))
    return np.asarray(odds[codes])


def _linear(rest: Any, y: np.ndarray, held: Any) -> np.ndarray:
    """Logistic regression with a ridge, less the log-odds of the share of the label in `rest`."""
    from sklearn.linear_model import LogisticRegression

    share = float(y.mean())
    model = LogisticRegression(C=0.1, solver="liblinear", max_iter=200).fit(rest, y)
    return np.asarray(model.decision_function(held) - np.log(share / (1 - share)))


def _shortcut(label: str, tried: _Tried, tries: int) -> Shortcut:
    """Judge one try, knowing how many there were."""
    from scipy.stats import norm

    suspect, area = tried.suspect, tried.area
    real = tried.z > norm.isf(_ALARM / tries)
    doubtful, sure = LINES[suspect.kind]
    verdict: Verdict = "quiet"
    if real and area.low > doubtful:
        verdict = "leak" if area.low > sure and suspect.is_input else "suspicious"
    return Shortcut(
        label, suspect.kind, suspect.name, area.value, area.low, area.high, tried.cases, suspect.is_input, verdict,
        _sentence(label, tried, verdict, bool(real)),
    )  # fmt: skip


def _sentence(label: str, tried: _Tried, verdict: Verdict, real: bool) -> str:
    suspect = tried.suspect
    figure = f"{_figure(tried.area)} in {counted(tried.cases, 'case')}"
    if verdict != "quiet":
        remedy = _REMEDY[suspect.kind] if suspect.is_input else "It is not an input: leave it so"
        return f"'{label}' can be told from {suspect.says} alone: {figure}. {remedy}."
    if not real:
        return f"'{label}' is not shown to be told from {suspect.says}: {figure}."
    if suspect.kind in ("value", "note"):
        return f"'{label}' is told in part from {suspect.says}: {figure}. Honest strength, far from the answer itself."
    return f"'{label}' is told a little from {suspect.says}: {figure}."


def _said(label: str, word: Giveaway, target: np.ndarray, draws: np.ndarray) -> Shortcut:
    """What one word says of a label, beside the AUROC of its presence."""
    scores = word.has.astype(float) if word.means else -word.has.astype(float)
    area = estimate(Ranking(target, scores).auroc(with_sample(draws)))
    name = f"'{word.word}', the label's own name" if word.own_name else f"'{word.word}'"
    having = "have" if word.means else "do not have"
    share = f"{word.agreeing:,} of {counted(word.patients, 'patient')} whose notes say {name}, {having} '{label}'"
    remedy = "" if word.verdict == "quiet" else f" {_REMEDY['word']}."
    return Shortcut(
        label, "word", word.word, area.value, area.low, area.high, int(np.isfinite(target).sum()), True, word.verdict,
        f"{share}; the word's presence alone has {_figure(area)}.{remedy}",
    )  # fmt: skip


def _figure(area: Estimate) -> str:
    if np.isnan(area.low):
        return f"AUROC {area.value:.2f}"
    return f"AUROC {area.value:.2f} ({area.low:.2f} to {area.high:.2f})"
