"""What a trained network says of cases, beside its own sides alone and the late ensembles of its heads."""

from __future__ import annotations

import torch
from torch import Tensor

from medmm.case import MODALITIES
from medmm.config import FusionConfig
from medmm.learn.fit import Examples, infer
from medmm.learn.fuse import late_ensemble, stacked_ensemble
from medmm.model.fusion import Fusion, Network

FUSED = "fused"
LATE = "late ensemble (mean)"
STACK = "late ensemble (stack)"


def systems_of(network: Network, cases: Examples, fusion: FusionConfig) -> dict[str, Tensor]:
    """Name of the system -> probabilities (N, L); the network itself comes first, and alone if it has no heads."""
    systems = {FUSED: infer(network, cases).sigmoid()}
    if isinstance(network.body, Fusion):
        for sides in _subsets(fusion):
            keep = torch.tensor([m in sides for m in MODALITIES])
            systems[" + ".join(sides) + " only"] = infer(network, cases, keep=keep).sigmoid()
        systems[LATE] = late_ensemble(network, cases)
        stack = stacked_ensemble(network.body, cases)
        systems[STACK] = stack.softmax(-1) if network.multi_class else stack.sigmoid()
    return systems


def _subsets(fusion: FusionConfig) -> list[tuple[str, ...]]:
    """The single sides, then the pairs; none of them is the whole."""
    sides = [m for m in MODALITIES if m in fusion.modalities]
    pairs = [(a, b) for i, a in enumerate(sides) for b in sides[i + 1 :]]
    return [(side,) for side in sides if len(sides) > 1] + [pair for pair in pairs if len(sides) > 2]
