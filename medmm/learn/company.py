"""What the other sides say of the cases that teach an encoder, so that it learns what they leave open.

A network that must answer from its own side alone is taught much that is noise to it: where a diagnosis needs a finding
and a history, a film that shows the finding and lacks the history is called healthy. Its answer is therefore added to
the log-odds of the other sides, which stay as they are, and their sum is what is taught (Clark et al. 2019, "Don't Take
the Easy Way Out", the bias product; there to unlearn a shortcut, here to share the work).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from medmm.case import MODALITIES
from medmm.config import CohortConfig, RunConfig
from medmm.learn.encode import EncodedRow
from medmm.learn.examples import examples_of
from medmm.learn.fuse import fit_stack
from medmm.learn.heads import fit_heads
from medmm.model.encode import Encoders
from medmm.model.folder import build_network
from medmm.model.fusion import Fusion, pattern_of
from medmm.tensors import RecordBins


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
