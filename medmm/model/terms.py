"""The words of a note as they stand: which words and which pairs of neighbours, beside what a BERT makes of them.

On a few thousand notes a logistic regression of TF-IDF often ranks better than a probe of a frozen BERT; a model that
reads both does not have to lose to either. A word is known by its bucket alone, of which there are fewer than words
in any language: neither the cache nor a model folder spells what a note said. B cases, T word pieces.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medmm.model.batch import Batch

BUCKETS = 2**14
"""Words share them (Weinberger et al. 2009, "Feature hashing for large scale multitask learning")."""
_PAIR = 8191
_FEWEST = 2
"""Notes that a word or a pair stands in, or it counts for nothing."""


def terms_of(text: str, word_of: Sequence[int], spans: Sequence[tuple[int, int]]) -> Tensor:
    """The bucket, from 1, of the whole word that begins with each word piece (T,), 0 for all other pieces: int16."""
    from sklearn.utils import murmurhash3_32

    terms = torch.zeros(len(word_of), dtype=torch.int16)
    last = -1
    for place, word in enumerate(word_of):
        if word not in (-1, last):
            start, end = spans[word]
            terms[place] = 1 + murmurhash3_32(text[start:end].casefold(), positive=True) % BUCKETS
            last = word
    return terms


class TermProbe(nn.Module):
    """A linear probe of a note's words and pairs of neighbours; fitted by learn, never by gradient."""

    counted: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.register_buffer("counted", torch.zeros(BUCKETS))
        self.register_buffer("weight", torch.zeros(labels, BUCKETS))
        self.register_buffer("bias", torch.zeros(labels))

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, L)."""
        return torch.as_tensor(self.shares(batch) @ self.weight.T + self.bias)

    def shares(self, batch: Batch) -> Tensor:
        """What stands in each note and counts, as a vector of length 1: (B, BUCKETS)."""
        return nn.functional.normalize(self.stand(batch) * self.counted)

    def stand(self, batch: Batch) -> Tensor:
        """Which words and pairs stand in each note: (B, BUCKETS), 1 or 0. A pair is there if both its words are."""
        begins = batch.terms > 0
        shown = begins & batch.note_mask
        place = torch.arange(begins.shape[1], device=begins.device).expand_as(begins)
        latest = place.masked_fill(~begins, -1).cummax(dim=1).values
        before = nn.functional.pad(latest[:, :-1], (1, 0), value=-1)  # where the word before this one begins
        neighbour = before.clamp(min=0)
        paired = shown & (before >= 0) & shown.gather(1, neighbour)
        pairs = (batch.terms.gather(1, neighbour) * _PAIR + batch.terms) % BUCKETS
        bag = torch.zeros(len(begins), BUCKETS + 1, device=begins.device)  # the last is for what is not there
        for buckets, there in ((batch.terms - 1, shown), (pairs, paired)):
            bag.scatter_(1, buckets.masked_fill(~there, BUCKETS), 1.0)
        return bag[:, :BUCKETS]

    def learn(self, standing: Tensor) -> None:
        """Count what stands in several of some notes, given how many of them each bucket stands in (BUCKETS,)."""
        self.counted.copy_(standing >= _FEWEST)
