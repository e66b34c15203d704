"""MONAI's Transchex, from scratch: the same pixels and words, a BERT and a patch transformer that cross-attend.

Its `from_pretrained` wants BERT weights from a hub; it is given random ones in a file, so everything begins at random.
Known of it, and left as it is: it has no attention mask, so padding is read as words; it answers from the note's
[CLS] alone; a missing image is a grey square and a missing note is empty.
"""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.accuracy.fold import Fold, Said, is_multi_class, targets_of, thresholds_of
from benchmarks.accuracy.inputs import squares, texts
from medmm.learn.fit import loss_of
from medmm.learn.train import Prepared

_SIZE, _PATCH, _WORDS = 128, 16, 64
_WIDTH, _LAYERS, _HEADS = 192, 2, 4
_EPOCHS, _PATIENCE, _BATCH, _RATE = 40, 8, 32, 3e-4


def transchex(prepared: Prepared, fold: Fold, work: Path) -> Said:
    """Train with AdamW until the validation loss has not fallen for 8 epochs; keep the best."""
    torch.manual_seed(fold.seed)
    multi_class = is_multi_class(prepared)
    pixels = _pixels(prepared)
    words, vocabulary = _words(prepared)
    targets = torch.from_numpy(targets_of(prepared)).float()
    network = build(targets.shape[1], vocabulary, work)
    rows = {part: [i for i, p in enumerate(fold.parts) if p == part] for part in ("train", "validation", "test")}

    def said(part: str) -> Tensor:
        network.eval()
        with torch.inference_mode():
            batches = torch.split(torch.tensor(rows[part]), 128)
            return torch.cat([network(words[batch], vision_feats=pixels[batch].float()) for batch in batches])

    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.05)
    best, waited, kept = float("inf"), 0, copy.deepcopy(network.state_dict())
    for epoch in range(_EPOCHS):
        network.train()
        order = np.random.default_rng([fold.seed, epoch]).permutation(rows["train"])
        for batch in torch.split(torch.from_numpy(order), _BATCH):
            loss = loss_of(network(words[batch], vision_feats=_flipped(pixels[batch])), targets[batch], multi_class)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        held_out = float(loss_of(said("validation"), targets[rows["validation"]], multi_class))
        waited = 0 if held_out < best else waited + 1
        if held_out < best:
            best, kept = held_out, copy.deepcopy(network.state_dict())
        if waited == _PATIENCE:
            break
    network.load_state_dict(kept)
    answers = {part: _probabilities(said(part), multi_class) for part in ("validation", "test")}
    return Said(answers["test"], thresholds_of(targets[rows["validation"]].numpy(), answers["validation"]))


def build(labels: int, vocabulary: int, work: Path) -> Any:
    """A Transchex of a width that some hundred cases can teach on a CPU."""
    from monai.networks.nets import Transchex

    torch.save({}, work / "no_weights.bin")
    return Transchex(
        in_channels=3,
        img_size=(_SIZE, _SIZE),
        patch_size=(_PATCH, _PATCH),
        num_classes=labels,
        num_language_layers=_LAYERS,
        num_vision_layers=_LAYERS,
        num_mixed_layers=_LAYERS,
        hidden_size=_WIDTH,
        intermediate_size=2 * _WIDTH,
        num_attention_heads=_HEADS,
        max_position_embeddings=_WORDS,
        vocab_size=vocabulary,
        drop_out=0.1,
        path_or_repo_id=str(work),
        filename="no_weights.bin",
    )


def _words(prepared: Prepared) -> tuple[Tensor, int]:
    """The notes in medmm's word pieces, padded: (N, T), and how many pieces there are."""
    tokenizer = prepared.encoders.text.tokenizer
    pieces = tokenizer(texts(prepared), truncation=True, max_length=_WORDS, padding="longest", return_tensors="pt")
    return cast("Tensor", pieces["input_ids"]), len(tokenizer)


@cache
def _pixels(prepared: Prepared) -> Tensor:
    """What all folds see: (N, 3, size, size) float16."""
    return torch.from_numpy(squares(prepared, _SIZE))


def _flipped(pixels: Tensor) -> Tensor:
    """Half of the pictures mirrored."""
    mirrored = torch.rand(len(pixels)) < 0.5
    return torch.where(mirrored[:, None, None, None], pixels.flip(-1), pixels).float()


def _probabilities(logits: Tensor, multi_class: bool) -> np.ndarray:
    return (logits.softmax(-1) if multi_class else logits.sigmoid()).numpy().astype(np.float64)
