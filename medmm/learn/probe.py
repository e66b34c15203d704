"""A modality's head, fitted exactly: L2 logistic regression whose ridge is chosen on held-out folds.

N cases, F features, L labels. Each fold's model answers for the cases that it has not seen, which is what fusion
learns from; the head that is used is the mean of the folds' models. Cases that are held back from every fold are
answered by the mean of such models, none of which has seen any of them: as new cases will be, so that what is chosen
on them holds for new cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse
import torch

from medmm.learn.fit import losses_of

_STRENGTHS = (0.5, 1.5, 5.0, 15.0)
"""Inverse ridge: scikit-learn's C times the number of features, which have unit spread."""
_TERM_STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
"""scikit-learn's C, for notes of length 1."""

Matrix: TypeAlias = np.ndarray | scipy.sparse.csr_matrix
_Line: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Weight (L, K) and bias (L,)."""
Size: TypeAlias = Callable[[Matrix, np.ndarray], np.ndarray]
"""Features (N, K) and answers (N, C), one column each -> how large each feature is made before it is weighed (K,)."""


@dataclass(frozen=True, slots=True, eq=False)
class FittedProbe:
    """A linear model of standardised features, and what its folds said of the cases that they had not seen."""

    centre: np.ndarray
    """(F,)."""
    spread: np.ndarray
    """(F,), at least a little above 0."""
    weight: np.ndarray
    """(L, F)."""
    bias: np.ndarray
    """(L,)."""
    held_out: np.ndarray
    """(N, L) logits, each from the fold that did not have the case; of a case held back from models without any."""

    def on(
        self, made: scipy.sparse.csr_matrix, centre: np.ndarray, spread: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same model of the features that its own were made from: weight (L, G) and bias (L,).

        Args:
            made: from those to its own (G, F).
            centre: by which those are standardised (G,).
            spread: likewise.
        """
        slope = (self.weight / self.spread).T  # (F, L)
        return np.asarray(made @ slope).T * spread, self.bias + (centre @ made - self.centre) @ slope


def fit_probe(
    features: np.ndarray,
    targets: np.ndarray,
    fold_of: np.ndarray,
    *,
    multi_class: bool,
    held_back: np.ndarray | None = None,
) -> FittedProbe:
    """Fit one model a fold for each strength, and keep the strength with the lowest held-out loss.

    A ridge does not see a rotation, so the features are first turned into at most N coordinates.

    Args:
        features: (N, F).
        targets: (N, L), NaN where not stated.
        fold_of: (N,) fold of each case.
        multi_class: one softmax over the labels instead of a sigmoid for each.
        held_back: (N,) bool, the cases that are answered by models which saw none of them; none if None. The head that
            is used learns from them all the same.
    """
    centre, spread = features.mean(axis=0), features.std(axis=0) + 1e-4
    standard = ((features - centre) / spread).astype(np.float64)
    turned, turn = _turn(standard)  # (N, K), (K, F)
    strengths = [strength / features.shape[1] for strength in _STRENGTHS]
    weight, bias, held_out = _choose(turned, targets, fold_of, strengths, multi_class, held_back)
    return FittedProbe(centre, spread, weight @ turn, bias, held_out)


def fit_terms(
    terms: scipy.sparse.csr_matrix,
    targets: np.ndarray,
    fold_of: np.ndarray,
    *,
    multi_class: bool,
    held_back: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `fit_probe`, of words that stand in a note (N, F): weight (L, F), bias (L,) and held_out (N, L).

    The ridge is lighter on a word the more it tells by itself, of the cases that a model learns from (Wang and Manning
    2012, "Baselines and Bigrams"): most words tell nothing, and with one ridge for all they would drown the few.
    """
    stand = np.flatnonzero(terms.getnnz(axis=0))
    if not len(stand):
        stand = np.arange(1)  # a word that is nowhere says nothing
    weight = np.zeros((targets.shape[1], terms.shape[1]))
    weight[:, stand], bias, held_out = _choose(
        terms[:, stand], targets, fold_of, _TERM_STRENGTHS, multi_class, held_back, telling
    )
    return weight, bias, held_out


def telling(terms: scipy.sparse.csr_matrix, answers: np.ndarray) -> np.ndarray:
    """How much each word tells of the answers (N, C) by itself: (F,), at least 0.

    The log-ratio of how often it stands in notes of cases with and without an answer, one case of each kind added
    (naive Bayes); of several answers the largest.
    """
    there = (terms != 0).astype(np.float64).T
    with_it, without = ((there @ one + 1) / (one.sum(axis=0) + 2) for one in (answers == 1, answers == 0))
    return np.asarray(np.abs(np.log(with_it / without)).max(axis=1))


def _choose(
    x: Matrix,
    targets: np.ndarray,
    fold_of: np.ndarray,
    strengths: Sequence[float],
    multi_class: bool,
    held_back: np.ndarray | None,
    size: Size | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean weight (L, K) and bias (L,) of the folds' models at the best strength, and what they held out (N, L)."""
    best: tuple[float, float, list[_Line], np.ndarray] | None = None
    for strength in strengths:
        held_out = np.zeros(targets.shape)
        lines = []
        for fold in np.unique(fold_of):
            outside = fold_of == fold
            lines.append(_fit(x[~outside], targets[~outside], strength, multi_class, size))
            held_out[outside] = _say(lines[-1], x[outside])
        loss = float(losses_of(torch.from_numpy(held_out), torch.from_numpy(targets), multi_class).sum())
        if best is None or loss < best[0]:
            best = loss, strength, lines, held_out
    if best is None:
        raise ValueError("a probe needs cases")
    _, strength, lines, held_out = best
    if held_back is not None and held_back.any() and not held_back.all():
        seen = [~held_back & (fold_of != fold) for fold in np.unique(fold_of[~held_back])]
        known = [rows for rows in seen if rows.any()] or seen[:1]
        without = [_fit(x[rows], targets[rows], strength, multi_class, size) for rows in known]
        held_out[held_back] = _say(_mean(without), x[held_back])
    return *_mean(lines), held_out


def _mean(lines: Sequence[_Line]) -> _Line:
    """The mean of models is the model of their mean logits."""
    return np.mean([line[0] for line in lines], axis=0), np.mean([line[1] for line in lines], axis=0)


def _say(line: _Line, x: Matrix) -> np.ndarray:
    """Logits (N, L)."""
    weight, bias = line
    return np.asarray(x @ weight.T + bias)


def _turn(standard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (N, K) and the rotation (K, F) that brings them back, K at most N."""
    if standard.shape[0] >= standard.shape[1]:
        return standard, np.eye(standard.shape[1])
    left, size, right = np.linalg.svd(standard, full_matrices=False)
    return left * size, right


def _fit(x: Matrix, y: np.ndarray, strength: float, multi_class: bool, size: Size | None = None) -> _Line:
    """One model; a label of which only one answer is stated gets its share."""
    labels = y.shape[1]
    weight, bias = np.zeros((labels, x.shape[1])), np.zeros(labels)
    if multi_class:
        stated = np.isfinite(y).all(axis=1)
        _fit_classes(x[stated], y[stated], strength, size, weight, bias)
        return weight, bias
    for label in range(labels):
        stated = np.isfinite(y[:, label])
        answers = y[stated, label] == 1
        if answers.any() and not answers.all():
            coef, bias[[label]] = _regression(x[stated], answers, strength, size, answers[:, None])
            weight[label] = coef[0]
        else:
            share = (answers.sum() + 0.5) / (len(answers) + 1)
            bias[label] = np.log(share / (1 - share))
    return weight, bias


def _fit_classes(
    x: Matrix, y: np.ndarray, strength: float, size: Size | None, weight: np.ndarray, bias: np.ndarray
) -> None:
    """Fill in the classes that the cases have; one that none of them has is made unlikely."""
    answer = y.argmax(axis=1)
    seen = np.unique(answer)
    bias[:] = np.log(0.5 / (len(answer) + 1))
    if len(seen) < 2:
        bias[seen] = 0
        return
    coef, intercept = _regression(x, answer, strength, size, y[:, seen])
    if len(seen) == 2:  # scikit-learn keeps one row for two classes
        weight[seen] = np.stack([-coef[0], coef[0]]) / 2
        bias[seen] = np.array([-intercept[0], intercept[0]]) / 2
    else:
        weight[seen], bias[seen] = coef, intercept


def _regression(x: Matrix, answer: np.ndarray, strength: float, size: Size | None, answers: np.ndarray) -> _Line:
    """scikit-learn's model of each case's answer (N,), of features that are first made as large as `answers` ask."""
    from sklearn.linear_model import LogisticRegression

    scale = None if size is None else size(x, answers)
    scaled = x if scale is None else (x @ scipy.sparse.diags(scale)).tocsr()
    model = LogisticRegression(C=strength, solver="newton-cg", max_iter=500).fit(scaled, answer)
    return model.coef_ if scale is None else model.coef_ * scale, model.intercept_
