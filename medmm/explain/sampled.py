"""Shares of single pictures and single record values in what their modality brought: Shapley values, on demand.

The other modalities are held in place, so the shares sum to what the modality brings on top of the rest. Few players
are weighed exactly. More are drawn: orders of the players, each with its reverse (Strumbelj & Kononenko 2014,
"Explaining prediction models and individual predictions with feature contributions"; antithetic orders: Mitchell et
al. 2022, "Sampling permutations for Shapley value estimation"). Each order's shares sum to the whole, so those of the
mean do too, and each share has its standard error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from medmm.explain.contribution import Subset, shapley
from medmm.explain.hiding import Questions, members
from medmm.slices import Picture

Worth = Callable[[np.ndarray], np.ndarray]
"""Which players are there (K, players) bool -> log-odds (K, L)."""

_EXACT = 8
"""Players up to which every subset is asked for: 256 questions."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one part of a modality brought to one label."""

    log_odds: float
    """Signed."""
    error: float
    """Standard error of `log_odds`; 0 where it is exact."""


@dataclass(frozen=True, slots=True)
class PictureShare:
    """What one picture brought to one label."""

    picture: Picture
    prior: bool
    """Whether it is of the prior study, where the same `picture` is another one."""
    share: Share


def picture_shares(asked: Questions, *, pairs: int = 16, seed: int = 0) -> tuple[tuple[PictureShare, ...], ...]:
    """The share of each picture of a case, by label and in the order of Layout.pictures.

    A prior study is hidden where no picture of now is left.

    Args:
        asked: about an encoded case.
        pairs: orders that are drawn, each with its reverse, at least two. Of N pictures, more than eight, that is
            2 x pairs x (N - 1) questions, each as costly as one answer of the fusion head.
        seed: of the orders.
    """
    pictures = asked.case.layout.pictures
    owner = [number for number, picture in enumerate(pictures) for _ in picture.cells]
    parts = members(torch.tensor(owner, dtype=torch.long))
    shares = _shares(asked, "image", parts, pairs, seed)
    now = len(asked.case.layout.images)
    return tuple(
        tuple(
            PictureShare(layout.picture, number >= now, share)
            for number, (layout, share) in enumerate(zip(pictures, column, strict=True))
        )
        for column in shares
    )


def record_shares(asked: Questions, *, pairs: int = 16, seed: int = 0) -> tuple[dict[str, Share], ...]:
    """The share of each record value that was taken, by label: column name -> share.

    Args:
        asked: about an encoded case.
        pairs: see `picture_shares`.
        seed: of the orders.
    """
    held = asked.case.taken
    taken = held.nonzero()[:, 0].tolist()
    parts = torch.eye(len(held), dtype=torch.bool)[taken]
    shares = _shares(asked, "record", parts, pairs, seed)
    names = list(asked.model.card.cohort.record)
    return tuple({names[k]: share for k, share in zip(taken, column, strict=True)} for column in shares)


def _shares(asked: Questions, side: str, parts: Tensor, pairs: int, seed: int) -> list[list[Share]]:
    """Shares of the players of one side, by label; `parts` is the tokens of each (players, tokens) bool."""
    if not len(parts):
        return [[] for _ in asked.model.labels]

    def worth(shown: np.ndarray) -> np.ndarray:
        """Which players are there (K, players) bool -> (K, L)."""
        hidden = torch.from_numpy(~shown).float() @ parts.float() > 0
        return asked.without(**{side: hidden}).numpy()

    values, errors = _exact(worth, len(parts)) if len(parts) <= _EXACT else _drawn(worth, len(parts), pairs, seed)
    return [
        [Share(float(value), float(error)) for value, error in zip(*of_label, strict=True)]
        for of_label in zip(values.T, errors.T, strict=True)
    ]


def _exact(worth: Worth, players: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares and their errors, which are 0: (players, L) each."""
    every = range(players)
    subsets: list[Subset] = [frozenset(s) for size in range(players + 1) for s in combinations(every, size)]
    answers = worth(np.array([[player in subset for player in every] for subset in subsets]))
    values = shapley(dict(zip(subsets, answers, strict=True)))
    return values, np.zeros_like(values)


def _drawn(worth: Worth, players: int, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares from drawn orders and their standard errors: (players, L) each."""
    draw = np.random.default_rng(seed)
    forth = np.stack([draw.permutation(players) for _ in range(pairs)])
    orders = np.concatenate([forth, forth[:, ::-1]])  # (2 pairs, players)
    rank = orders.argsort(axis=1)  # when each player comes
    shown = rank[:, None, :] < np.arange(1, players)[:, None]  # (2 pairs, players - 1, players)
    ends = worth(np.array([[False] * players, [True] * players]))  # (2, L)
    between = worth(shown.reshape(-1, players)).reshape(len(orders), players - 1, -1)
    none, all_of_them = (np.broadcast_to(end, (len(orders), 1, len(end))) for end in ends)
    path = np.concatenate([none, between, all_of_them], axis=1)  # (2 pairs, players + 1, L)
    brought = np.take_along_axis(np.diff(path, axis=1), rank[:, :, None], axis=1)  # (2 pairs, players, L)
    shares = (brought[:pairs] + brought[pairs:]) / 2
    return shares.mean(axis=0), shares.std(axis=0, ddof=1) / np.sqrt(pairs)
