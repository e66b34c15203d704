"""Where the model looked: each patch and each word is hidden in turn, and the change of log-odds is what it was worth.

Token occlusion (after Zeiler & Fergus 2014, on encoded patches and whole words): the encoders run once, and the
same fused model that gave the answer is asked again with one token masked. What is measured is what the model
loses, not where its attention lies. It is an honest first answer: a patch's features also know their surroundings.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from medmm.model.batch import Batch, Features, collate
from medmm.model.folder import Model
from medmm.result import Explanation, Overlay, WordWeight

METHOD = "token occlusion"
_AT_ONCE = 64


@torch.inference_mode()
def explain(model: Model, case: Features) -> tuple[Explanation, ...]:
    """Overlay and words for every label of one encoded case, in the model's order of labels."""
    batch = collate([case])
    whole = model.network(batch)[0]  # (L,)
    patches = whole - _without(model, batch, "image_mask", torch.eye(len(case.image), dtype=torch.bool))  # (P, L)
    read = sorted(set(case.layout.word_of) - {-1})
    words = whole - _without(model, batch, "note_mask", _word_tokens(case, read))  # (words read, L)
    return tuple(
        Explanation(label, METHOD, _overlays(case, patches[:, i].numpy()), _weights(case, read, words[:, i].numpy()))
        for i, label in enumerate(model.labels)
    )


def _without(model: Model, batch: Batch, mask: str, hidden: Tensor) -> Tensor:
    """Log-odds (K, L) with the tokens of each row of `hidden` (K, tokens) masked."""
    if not len(hidden):
        return torch.zeros(0, len(model.labels), dtype=torch.float64)
    answers = []
    for rows in torch.split(hidden, _AT_ONCE):
        shown: Tensor = getattr(batch, mask) & ~rows
        answers.append(model.network(replace(batch.repeat(len(rows)), **{mask: shown})))
    return torch.cat(answers)


def _word_tokens(case: Features, read: list[int]) -> Tensor:
    """Which word pieces make up each of the words `read`, named by their index: (words read, T) bool."""
    owner = torch.tensor(case.layout.word_of, dtype=torch.long)
    return owner[None, :] == torch.tensor(read, dtype=torch.long)[:, None]


def _overlays(case: Features, worth: np.ndarray) -> tuple[Overlay, ...]:
    """Worth of all patches (P,) -> one overlay for each image."""
    overlays = []
    start = 0
    for image in case.layout.images:
        cells = np.full(image.grid[0] * image.grid[1], np.nan, dtype=np.float32)
        cells[list(image.cells)] = worth[start : start + len(image.cells)]
        start += len(image.cells)
        overlays.append(Overlay(cells.reshape(image.grid), image.placement))
    return tuple(overlays)


def _weights(case: Features, read: list[int], worth: np.ndarray) -> tuple[WordWeight, ...]:
    """Worth of the words read -> with their places in the note; words behind a cut were not read."""
    return tuple(WordWeight(*case.layout.spans[word], float(worth[i])) for i, word in enumerate(read))
