"""What notes are about: directions in the space of words, found without any answer.

Two words belong to one theme if they stand in the same notes more often than chance would have it. Neighbours do not
count, or every phrase were a theme of its own; what far parts of a note share is what the patient has. A ridge that is
lighter along these directions lets a wording that few answered notes have borrow from the company that it keeps.

This is latent semantic analysis (Deerwester et al. 1990) of what stands together beyond neighbours. N notes, P parts,
S terms that count, K themes.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.linalg import LinearOperator, lobpcg

from medmm.learn.fit import Examples
from medmm.model.terms import TermProbe

_WORDS = 6
"""Of a part of a note; a part and the one behind it are neighbours."""
_THEMES = 8
_FEWEST = 5
"""Terms that count, for each theme."""
_WEAKEST = 100
"""Times weaker than the strongest theme, and it is none: chance, or the end of what few notes can show."""
_STEPS = 40
_DOUBT = 30.0
"""Added to how often a term stands far from others: what is rare may do so by chance."""


def themes_of(terms: TermProbe, notes: Examples) -> np.ndarray:
    """The themes of some notes, as weights of the terms: (BUCKETS, K); none where notes are few or short.

    Args:
        terms: knows how rare each term is, see `TermProbe.learn`; what counts for nothing there has no theme.
        notes: their cases.
    """
    counts = np.flatnonzero(terms.rarity.numpy())
    parts, note_of = _parts(terms, notes)
    parts = parts[:, counts]
    same = scipy.sparse.csr_matrix((np.ones(len(note_of)), (note_of, np.arange(len(note_of)))))
    next_one = (note_of[1:] == note_of[:-1]).astype(float)
    whole, beside = same @ parts, scipy.sparse.diags([next_one, np.ones(len(note_of)), next_one], [-1, 0, 1]) @ parts

    def far(x: np.ndarray) -> np.ndarray:
        """How often each term and each other stand in one note and are no neighbours (S, S), times x (S,)."""
        return np.asarray(whole.T @ (whole @ x) - parts.T @ (beside @ x))

    often = far(np.ones(len(counts)))
    found = np.zeros((len(terms.rarity), _THEMES))
    if len(counts) < _FEWEST * _THEMES or not often.any():
        return found[:, :0]
    scale = 1 / np.sqrt(often + _DOUBT)

    def beyond_chance(x: np.ndarray) -> np.ndarray:
        x = scale * x
        return np.asarray(scale * (far(x) - often * (often @ x) / often.sum()))

    operator = LinearOperator((len(counts),) * 2, matvec=lambda x: beyond_chance(x.ravel()), dtype=np.float64)
    start = np.random.default_rng(0).normal(size=(len(counts), _THEMES))
    with warnings.catch_warnings():  # directions that are not told apart to the last digit are as good
        warnings.filterwarnings("ignore", "(?s).*not reaching the requested tolerance", UserWarning)
        strength, directions = lobpcg(operator, start, maxiter=_STEPS)
    found[counts] = scale[:, None] * directions
    return found[:, strength > strength.max() / _WEAKEST]


@torch.inference_mode()
def _parts(terms: TermProbe, notes: Examples, batch_size: int = 64) -> tuple[scipy.sparse.csr_matrix, np.ndarray]:
    """What stands in each part of each note (P, BUCKETS), in order, and whose part it is (P,)."""
    stand, note_of, place = [], [], []
    for start in range(0, len(notes), batch_size):
        batch, _ = notes.batch(range(start, min(start + batch_size, len(notes))))
        part = ((batch.terms > 0).cumsum(dim=1) - 1).clamp(min=0) // _WORDS
        for one in range(int(part.max()) + 1):
            shown = batch.note_mask & (part == one)
            has = torch.nonzero(shown.any(dim=1)).flatten()
            stand.append(scipy.sparse.csr_matrix(terms.stand(replace(batch, note_mask=shown))[has].numpy()))
            note_of.append(start + has.numpy())
            place.append(np.full(len(has), one))
    order = np.lexsort([np.concatenate(place), np.concatenate(note_of)])
    return scipy.sparse.vstack(stand, format="csr")[order], np.concatenate(note_of)[order]
