"""What the other sides say of the cases that teach an encoder, so that it learns what they leave open.

A network that must answer from its own side alone is taught much that is noise to it: where a diagnosis needs a finding
and a history, a film that shows the finding and lacks the history is called healthy. What it says and what the other
sides say are therefore joined, and the answer of both is what is taught: a film without the history teaches little of
the finding. Of classes that exclude each other log-odds are added (Clark et al. 2019, "Don't Take the Easy Way Out",
the bias product; there to unlearn a shortcut, here to share the work).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from medmm.case import MODALITIES
from medmm.config import CohortConfig, RunConfig
from medmm.learn.encode import EncodedRow
from medmm.learn.examples import examples_of
from medmm.learn.fuse import fit_stack
from medmm.learn.heads import fit_heads
from medmm.model.encode import Encoders
from medmm.model.folder import build_network
from medmm.model.fusion import Fusion, of_two, pattern_of
from medmm.tensors import RecordBins

_BOTH = (-3.0, -2.5, -2.5, 1.0)
"""Log-odds of a label with neither, the copy's cause, the company's, both: where a conjunction begins."""
_WEIGHT = 2.0
_PACE = 10.0
"""How many times faster a few numbers for all cases learn than a head of many."""
_LEAST_SPREAD = 1e-3


def company(side: str, rows: Sequence[EncodedRow], cohort: CohortConfig, run: RunConfig, encoders: Encoders) -> Tensor:
    """What the stack of the other sides' heads says of each case, the heads not having seen its patient.

    Heads, stack and bins learn from these cases and no others, so that a patient who is kept from an encoder is kept
    from its company.

    Args:
        side: the modality whose encoder is taught.
        rows: the N cases that teach it.
        cohort: what their columns mean.
        run: its modalities, and the folds and the seed of its training.
        encoders: those that the cases have been through.

    Returns:
        (N, L) log-odds, of classes up to a constant; of a case without any other side those of how often a label is
        present, and zeros if the run uses no other side.
    """
    labels = cohort.labels.names if cohort.labels else ()
    others = tuple(name for name in run.fusion.modalities if name != side)
    if not others:
        return torch.zeros(len(rows), len(labels))
    bins = RecordBins.learn(cohort.record, (row.case.record for row in rows))
    cases = examples_of(rows, labels, encoders, bins)
    fusion = run.fusion.model_copy(update={"kind": "product", "modalities": others})
    body = cast("Fusion", build_network(cohort, run.model_copy(update={"fusion": fusion}), encoders, bins).body)
    heard = fit_heads(body, cases, run.training)
    fit_stack(body, heard, cases)
    present = cases.present & torch.tensor([name in others for name in MODALITIES])
    return body.rule.stacked(heard, pattern_of(present))


class Joined(nn.Module):
    """The answer of a copy and its company: a conjunction of what each tells of, learnt with the copy.

    See `medmm.model.fusion.Conjunction`. It begins at a label that needs both, and ends at whatever the label needs.
    B cases, L labels.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, company: Tensor) -> None:
        """All that `company` says of the cases that teach (N, L)."""
        super().__init__()
        labels = company.shape[1]
        self.register_buffer("centre", company.mean(dim=0), persistent=False)
        self.register_buffer("spread", company.std(dim=0, correction=0) + _LEAST_SPREAD, persistent=False)
        self.weight = nn.Parameter(torch.full((labels,), _WEIGHT) / _PACE)
        self.bias = nn.Parameter(torch.zeros(labels))
        self.table = nn.Parameter(torch.tensor(_BOTH)[:, None].repeat(1, labels) / _PACE)

    def forward(self, said: Tensor, company: Tensor) -> Tensor:
        """Log-odds of the copy (B, L) and of its company (B, L) -> of the label (B, L)."""
        others = _PACE * (self.weight * (company - self.centre) / self.spread + self.bias)
        return of_two(torch.stack([said, others], dim=1), _PACE * self.table[None])
