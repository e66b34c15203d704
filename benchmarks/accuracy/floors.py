"""What any method has to pass: words counted, frozen features in linear probes, and their late ensembles.

Plain numpy and scikit-learn. Every strength of a ridge is chosen on inner folds by patient of the cases outside the
test fold, and everything is then fitted again on all of them. N cases, F features, L labels.

Missing sides: a probe answers with the shares of its training cases; mean and product leave the side out; the stack
gets zeros and a column that says so; the concatenation gets the training cases' mean and the same column.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import scipy.sparse
from scipy.special import expit, log_softmax, logit, softmax

from medmm.learn.split import folds_by_patient

INNER_FOLDS = 5
_FEATURE_STRENGTHS = (0.05, 0.15, 0.5, 1.5, 5.0, 15.0)
"""Inverse ridge of a probe: scikit-learn's C times the number of features, which have unit spread."""
_WORD_STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_STACK_STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

Matrix: TypeAlias = np.ndarray | scipy.sparse.csr_matrix


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Whose answers are known, and which are to be given."""

    targets: np.ndarray
    """(N, L) 1, 0 or NaN."""
    learn: np.ndarray
    """(N,) bool, the cases outside the test fold."""
    inner: np.ndarray
    """(N,) inner fold of each case that teaches, -1 for a test case."""
    multi_class: bool

    @classmethod
    def of(
        cls, targets: np.ndarray, patients: Sequence[str], learn: np.ndarray, multi_class: bool, seed: int
    ) -> Problem:
        """Deal the cases that teach into inner folds by patient."""
        inner = np.full(len(targets), -1)
        inner[learn] = folds_by_patient(
            [p for p, taught in zip(patients, learn, strict=True) if taught], INNER_FOLDS, seed
        )
        return cls(targets, learn, inner, multi_class)


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What a model says of every case; of one that taught, from the inner fold that did not have it."""

    logits: np.ndarray
    """(N, L), log-probabilities of classes; the shares of the training cases where the side is missing."""
    has: np.ndarray
    """(N,) bool, whether the case has what the model reads."""


def words(texts: Sequence[str], problem: Problem) -> Said:
    """Logistic regression of TF-IDF over single words and pairs."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    has = np.array([bool(text.strip()) for text in texts])
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    vectorizer.fit([text for text, taught in zip(texts, problem.learn & has, strict=True) if taught])
    return regression(vectorizer.transform(texts).tocsr(), has, problem, _WORD_STRENGTHS)


def probe(features: np.ndarray, problem: Problem) -> Said:
    """Logistic regression of features (N, F); a row of NaN is a case without them."""
    has = np.isfinite(features).any(axis=1)
    x = _described(features, problem.learn)
    return regression(_turned(x, problem.learn & has), has, problem, _per(x.shape[1]))


def concatenation(sides: Sequence[np.ndarray], problem: Problem) -> Said:
    """One logistic regression of all sides' features, one behind the other; a missing side is its mean."""
    missing = ~np.stack([np.isfinite(side).any(axis=1) for side in sides], axis=1)
    flags = missing[:, missing[problem.learn].any(axis=0)]
    x = np.concatenate([*(_described(side, problem.learn) for side in sides), flags], axis=1)
    everyone = np.ones(len(x), dtype=bool)
    return regression(_turned(x, problem.learn), everyone, problem, _per(x.shape[1]))


def late_mean(sides: Sequence[Said], problem: Problem) -> Said:
    """Mean probability of the sides that a case has."""
    heard = np.stack([side.has for side in sides], axis=1)
    said = np.stack([probabilities(side.logits, problem.multi_class) for side in sides], axis=1)  # (N, sides, L)
    weights = np.where(heard.any(axis=1, keepdims=True), heard, 1.0)  # where there is nothing, all say the same
    mean = (weights[..., None] * said).sum(axis=1) / weights.sum(axis=1, keepdims=True)
    return Said(np.log(mean) if problem.multi_class else logit(mean), np.asarray(heard.any(axis=1)))


def late_product(sides: Sequence[Said], problem: Problem) -> Said:
    """Product of the probabilities of the sides that a case has, brought back to a sum of 1."""
    heard = np.stack([side.has for side in sides], axis=1)
    total = np.sum([side.logits * side.has[:, None] for side in sides], axis=0)
    logits = np.where(heard.any(axis=1, keepdims=True), total, sides[0].logits)
    return Said(log_softmax(logits, axis=1) if problem.multi_class else logits, np.asarray(heard.any(axis=1)))


def late_stack(sides: Sequence[Said], problem: Problem) -> Said:
    """Log-linear stack: L2 logistic regression of what the sides say of cases not seen before (Wolpert 1992)."""
    missing = ~np.stack([side.has for side in sides], axis=1)
    flags = missing[:, missing[problem.learn].any(axis=0)].astype(np.float64)
    everyone = np.ones(len(missing), dtype=bool)
    said = np.stack([side.logits * side.has[:, None] for side in sides], axis=1)  # (N, sides, L)
    if problem.multi_class:
        said = (said - said.mean(axis=2, keepdims=True)).reshape(len(said), -1)
        return regression(np.concatenate([said, flags], axis=1), everyone, problem, _STACK_STRENGTHS)
    labels = [
        regression(
            np.concatenate([said[:, :, i], flags], axis=1),
            everyone,
            replace(problem, targets=problem.targets[:, i : i + 1]),
            _STACK_STRENGTHS,
        ).logits
        for i in range(said.shape[2])
    ]
    return Said(np.concatenate(labels, axis=1), everyone)


def probabilities(logits: np.ndarray, multi_class: bool) -> np.ndarray:
    """(N, L) -> (N, L)."""
    return np.asarray(softmax(logits, axis=1) if multi_class else expit(logits))


def _described(features: np.ndarray, learn: np.ndarray) -> np.ndarray:
    """Features in units of the training cases' spread around their mean, 0 where there is none: (N, F or more).

    Behind them stands, for each number that a training case lacks while it has others of that side, whether it does.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column that no training case has
        centre, spread = np.nanmean(features[learn], axis=0), np.nanstd(features[learn], axis=0)
    standard = np.nan_to_num((features - np.nan_to_num(centre)) / (np.nan_to_num(spread) + 1e-4))
    there = np.isfinite(features)
    gaps = ~there & there.any(axis=1, keepdims=True)
    return np.concatenate([standard, gaps[:, gaps[learn].any(axis=0)]], axis=1)


def regression(x: Matrix, has: np.ndarray, problem: Problem, strengths: Sequence[float]) -> Said:
    """L2 logistic regression of x (N, F); of the strengths, the one with the lowest loss on the inner folds."""
    logits = np.tile(_share_logits(problem), (len(has), 1))
    taught = problem.learn & has
    for columns, answers in _questions(problem):
        known = taught & np.isfinite(answers)
        held_out = np.tile(logits[:, columns], (len(strengths), 1, 1))  # (strengths, N, columns)
        for fold in range(INNER_FOLDS):
            outside = taught & (problem.inner == fold)
            if outside.any():
                path = _path(x, answers, known & ~outside, strengths, len(columns))
                held_out[:, outside] = [model(x[outside]) for model in path]
        best = int(np.argmin([_loss(said[known], answers[known]) for said in held_out]))
        logits[np.ix_(taught, columns)] = held_out[best, taught]
        asked = has & ~problem.learn
        if asked.any():
            *_, model = _path(x, answers, known, strengths[: best + 1], len(columns))
            logits[np.ix_(asked, columns)] = model(x[asked])
    return Said(logits, has)


def _questions(problem: Problem) -> list[tuple[list[int], np.ndarray]]:
    """Which columns of the answers are one regression's, and its answers (N,): a class, or 1 and 0; NaN not stated."""
    if not problem.multi_class:
        return [([label], problem.targets[:, label]) for label in range(problem.targets.shape[1])]
    stated = np.isfinite(problem.targets).all(axis=1)
    return [(list(range(problem.targets.shape[1])), np.where(stated, problem.targets.argmax(axis=1), np.nan))]


def _path(
    x: Matrix, answers: np.ndarray, rows: np.ndarray, strengths: Sequence[float], width: int
) -> Iterator[Callable[[Matrix], np.ndarray]]:
    """A model of some rows for each strength, each fitted from where the one before ended.

    A model is features -> log-probabilities of `width` classes (n, width), or log-odds of one label (n, 1).
    """
    from sklearn.linear_model import LogisticRegression

    seen = answers[rows].astype(int)
    counts = np.bincount(seen, minlength=max(width, 2))
    rest = np.log((counts + 0.5) / (counts + 0.5).sum())  # for a class that the rows do not have
    regression = LogisticRegression(max_iter=2000, warm_start=True)

    def said(of: Matrix) -> np.ndarray:
        if (counts > 0).sum() < 2:
            return np.tile(rest if width > 1 else rest[1:] - rest[:1], (of.shape[0], 1))
        if width == 1:
            return np.asarray(regression.decision_function(of))[:, None]
        logits = np.tile(rest, (of.shape[0], 1))
        logits[:, regression.classes_] = regression.predict_log_proba(of)
        return np.asarray(log_softmax(logits, axis=1))

    for strength in strengths:
        if (counts > 0).sum() > 1:
            regression.set_params(C=strength).fit(x[rows], seen)
        yield said


def _loss(logits: np.ndarray, answers: np.ndarray) -> float:
    """Mean cross-entropy of log-probabilities (n, L) of classes, or of log-odds (n, 1)."""
    if logits.shape[1] > 1:
        return float(-np.take_along_axis(logits, answers.astype(int)[:, None], axis=1).mean())
    return float(np.logaddexp(0, np.where(answers == 1, -1, 1) * logits[:, 0]).mean())


def _share_logits(problem: Problem) -> np.ndarray:
    """What is said of a case of which nothing is known: (L,)."""
    told = problem.targets[problem.learn]
    shares = (np.nansum(told, axis=0) + 0.5) / (np.isfinite(told).sum(axis=0) + 1)
    return np.asarray(np.log(shares / shares.sum()) if problem.multi_class else logit(shares))


def _per(features: int) -> list[float]:
    return [strength / features for strength in _FEATURE_STRENGTHS]


def _turned(standard: np.ndarray, learn: np.ndarray) -> np.ndarray:
    """The same features in as few coordinates as there are training cases: a ridge does not see a rotation."""
    if standard.shape[1] <= learn.sum():
        return standard
    _, _, turn = np.linalg.svd(standard[learn], full_matrices=False)
    return np.asarray(standard @ turn.T)
