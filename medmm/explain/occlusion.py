"""Where the model looked: each patch and each word is hidden in turn, and the change of log-odds is what it was worth.

Token occlusion (after Zeiler & Fergus 2014, on encoded patches and whole words): the encoders run once, and the
same fused model that gave the answer is asked again with one token masked. What is measured is what the model
loses, not where its attention lies. It is an honest first answer: a patch's features also know their surroundings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from medmm.model.batch import Batch, Features, ImageLayout, collate
from medmm.model.folder import Model
from medmm.result import Explanation, Overlay, WordWeight

METHOD = "token occlusion"
_WORK = 2**18
"""Tokens that the model looks at for the explanation of one side, over all questions: some seconds of one core."""
_FEWEST = 32
"""Questions that are asked of one side in any case."""
_TOKENS = 16_384
"""Patches or word pieces that the model looks at at once."""


@torch.inference_mode()
def explain(model: Model, case: Features) -> tuple[Explanation, ...]:
    """Overlay and words for every label of one encoded case, in the model's order of labels.

    Where a case has so many patches and words that asking for each would take minutes, square blocks of patches are
    hidden together, and each patch bears what its block was worth; likewise runs of words.
    """
    batch = collate([case])
    most = max(_FEWEST, _WORK // (len(case.image) + len(case.note) + 1))
    whole = model.network(batch)[0]  # (L,)
    block = _blocks(case.layout.pictures, most)  # (P,)
    patches = (whole - _without(model, batch, "image_mask", _members(block)))[block]  # (P, L)
    runs = _runs(sorted(set(case.layout.word_of) - {-1}), most)
    words = whole - _without(model, batch, "note_mask", _run_tokens(case, runs))  # (runs, L)
    return tuple(
        Explanation(label, METHOD, _overlays(case, patches[:, i].numpy()), _weights(case, runs, words[:, i].numpy()))
        for i, label in enumerate(model.labels)
    )


def _without(model: Model, batch: Batch, mask: str, hidden: Tensor) -> Tensor:
    """Log-odds (K, L) with the tokens of each row of `hidden` (K, tokens) masked."""
    if not len(hidden):
        return torch.zeros(0, len(model.labels), dtype=torch.float64)
    answers = []
    for rows in torch.split(hidden, max(1, min(64, _TOKENS // (batch.image.shape[1] + batch.note.shape[1])))):
        shown: Tensor = getattr(batch, mask) & ~rows
        answers.append(model.network(replace(batch.repeat(len(rows)), **{mask: shown})))
    return torch.cat(answers)


def _blocks(pictures: Sequence[ImageLayout], most: int) -> Tensor:
    """The block that each patch is hidden in: (P,) from 0; the smallest square blocks of which there are few enough."""
    largest = max((max(picture.grid) for picture in pictures), default=1)
    for side in range(1, largest + 1):
        names = [
            (number, cell // picture.grid[1] // side, cell % picture.grid[1] // side)
            for number, picture in enumerate(pictures)
            for cell in picture.cells
        ]
        number_of = {name: number for number, name in enumerate(dict.fromkeys(names))}
        if len(number_of) <= most:
            break
    return torch.tensor([number_of[name] for name in names], dtype=torch.long)


def _members(block: Tensor) -> Tensor:
    """(P,) -> which patches are in each block: (blocks, P) bool."""
    blocks = int(block.max()) + 1 if len(block) else 0
    return torch.arange(blocks)[:, None] == block[None, :]


def _runs(read: list[int], most: int) -> list[list[int]]:
    """The words read, each alone, or in runs that are few enough; none reaches over words that were not read."""
    length = max(1, -(-len(read) // most))
    runs: list[list[int]] = []
    for word in read:
        if runs and len(runs[-1]) < length and runs[-1][-1] == word - 1:
            runs[-1].append(word)
        else:
            runs.append([word])
    return runs


def _run_tokens(case: Features, runs: list[list[int]]) -> Tensor:
    """Which word pieces make up each run of words: (runs, T) bool."""
    run_of = {word: number for number, run in enumerate(runs) for word in run}
    owner = torch.tensor([run_of.get(word, -1) for word in case.layout.word_of], dtype=torch.long)
    return owner[None, :] == torch.arange(len(runs))[:, None]


def _overlays(case: Features, worth: np.ndarray) -> tuple[Overlay, ...]:
    """Worth of all patches (P,) -> one overlay for each picture."""
    overlays = []
    start = 0
    for image in case.layout.pictures:
        cells = np.full(image.grid[0] * image.grid[1], np.nan, dtype=np.float32)
        cells[list(image.cells)] = worth[start : start + len(image.cells)]
        start += len(image.cells)
        overlays.append(Overlay(cells.reshape(image.grid), image.placement))
    return tuple(overlays)


def _weights(case: Features, runs: list[list[int]], worth: np.ndarray) -> tuple[WordWeight, ...]:
    """Worth of the runs of words -> with their places in the note."""
    spans = case.layout.spans
    return tuple(WordWeight(spans[run[0]][0], spans[run[-1]][1], float(worth[i])) for i, run in enumerate(runs))
