"""Fit what a label needs of two parties of sides together, see `medmm.model.fusion.Conjunction`.

Twelve numbers at most, by penalised maximum likelihood. Weights of sides are never negative and are drawn towards 1, as
those of a stack; the table is drawn towards even chances. N cases, S sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from medmm.learn.pays import by_patient, shown

_RIDGE = 2.0
_TABLE = 0.05
_BIAS = 0.05
"""Penalties on (weight - 1)^2, and on the square of log-odds in the table and of a bias, in cases."""
_BOTH = np.array([-3.0, -2.5, -2.5, 1.0])
"""The table to begin with: log-odds of a label that needs both."""
_SUREST = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """One label's conjunction."""

    parties: np.ndarray
    """(2, S): 1 where a side belongs to the party."""
    weight: np.ndarray
    """(S,), at least 0."""
    bias: np.ndarray
    """(2,)."""
    table: np.ndarray
    """(4,) log-odds of the label with neither, the first, the second, both."""

    @property
    def party_weight(self) -> np.ndarray:
        """(2, S)."""
        return np.asarray(self.parties * self.weight)

    def say(self, sources: np.ndarray) -> np.ndarray:
        """Sides' logits (N, S) -> chance of the label (N,)."""
        first, second = expit(self.bias + sources @ self.party_weight.T).T
        return np.asarray(np.clip(_states(first, second) @ expit(self.table), _SUREST, 1 - _SUREST))


def fit_joint(sources: np.ndarray, answers: np.ndarray, first: Sequence[bool]) -> Joint:
    """Fit one label (L-BFGS-B).

    Args:
        sources: (N, S) logits.
        answers: (N,), 0 or 1.
        first: (S,) the sides of the first party; the others are the second, which may have none.
    """
    parties = np.stack([np.array(first), ~np.array(first)]).astype(np.float64)  # (2, S)
    sides = sources.shape[1]

    def unpacked(flat: np.ndarray) -> Joint:
        return Joint(parties, flat[:sides], flat[sides : sides + 2], flat[sides + 2 :])

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        joint = unpacked(flat)
        likely = expit(joint.bias + sources @ joint.party_weight.T)  # (N, 2)
        states, chances = _states(*likely.T), expit(joint.table)  # (N, 4), (4,)
        chance = np.clip(states @ chances, _SUREST, 1 - _SUREST)
        value = -(answers * np.log(chance) + (1 - answers) * np.log1p(-chance)).sum()
        value += _RIDGE * ((joint.weight - 1) ** 2).sum() + _BIAS * (joint.bias**2).sum()
        value += _TABLE * (joint.table**2).sum()
        slope = (chance - answers) / (chance * (1 - chance))
        table = chances.reshape(2, 2)  # second, first
        by_first = (table[:, 1] - table[:, 0]) @ np.stack([1 - likely[:, 1], likely[:, 1]])
        by_second = (table[1] - table[0]) @ np.stack([1 - likely[:, 0], likely[:, 0]])
        by_party = slope[:, None] * np.stack([by_first, by_second], axis=1) * likely * (1 - likely)  # (N, 2)
        return value, np.concatenate(
            [
                (parties * (by_party.T @ sources)).sum(axis=0) + 2 * _RIDGE * (joint.weight - 1),
                by_party.sum(axis=0) + 2 * _BIAS * joint.bias,
                states.T @ slope * chances * (1 - chances) + 2 * _TABLE * joint.table,
            ]
        )

    start = np.concatenate([np.ones(sides), np.zeros(2), _BOTH])
    bounds = [(0.0, None)] * sides + [(None, None)] * 6
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    return unpacked(found.x)


def choose_joint(
    sources: np.ndarray, answers: np.ndarray, fold_of: np.ndarray, patients: Sequence[str], labels: int = 1
) -> Joint | None:
    """The conjunction of the two parties that fit best; None unless held-out patients show that it pays.

    It is compared with all sides in one party, which is a stack whose chances end at two bounds, as calibration may
    give it anyway. What gains nothing on the cases that it was fitted to is not asked on others.

    Args:
        sources: (N, S) logits, S at least 2.
        answers: (N,), NaN where not stated.
        fold_of: (N,) fold of each case.
        patients: (N,) whose it is.
        labels: how many labels are asked this; the more, and the more ways to make two parties, the more a gain by luck
            is to be expected.
    """
    told = np.isfinite(answers)
    sources, answers, fold_of = sources[told], answers[told], fold_of[told]
    who = [patient for patient, yes in zip(patients, told, strict=True) if yes]
    if not len(answers) or answers.min() == answers.max():
        return None
    one_party, ways = (True,) * sources.shape[1], list(_ways(sources.shape[1]))
    fitted = {first: fit_joint(sources, answers, first) for first in (one_party, *ways)}
    losses = {first: _losses(joint.say(sources), answers) for first, joint in fitted.items()}
    best = min(ways, key=lambda first: float(losses[first].sum()))
    tries = len(ways) * labels
    if not shown(by_patient(losses[one_party] - losses[best], who), tries):
        return None
    before, after = (_held_out(sources, answers, fold_of, first) for first in (one_party, best))
    return fitted[best] if shown(by_patient(before - after, who), tries) else None


def _held_out(sources: np.ndarray, answers: np.ndarray, fold_of: np.ndarray, first: Sequence[bool]) -> np.ndarray:
    """The loss of each case under a model of the other folds: (N,)."""
    chance = np.empty(len(answers))
    for fold in np.unique(fold_of):
        outside = fold_of == fold
        chance[outside] = fit_joint(sources[~outside], answers[~outside], first).say(sources[outside])
    return _losses(chance, answers)


def _losses(chance: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Log loss of each case (N,)."""
    return np.asarray(-np.log(np.where(answers == 1, chance, 1 - chance)))


def _ways(sides: int) -> Iterator[tuple[bool, ...]]:
    """Every way to make two parties of some sides: those of the first."""
    for number in range(1, 2 ** (sides - 1)):
        yield tuple(bool(number >> side & 1) for side in range(sides))


def _states(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Chance of each row of a table (N, 4), given that of each party's cause (N,)."""
    return np.stack([(1 - first) * (1 - second), first * (1 - second), (1 - first) * second, first * second], axis=1)
