"""What a trained network says of cases, beside its own sides alone and the late ensembles of its heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medmm.case import MODALITIES
from medmm.config import FusionConfig
from medmm.learn.fit import Examples
from medmm.learn.fuse import stacked_ensemble
from medmm.model.fusion import Fusion, Network, pattern_of

FUSED = "fused"
LATE = "late ensemble (mean)"
STACK = "late ensemble (stack)"


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What a network says of cases with each set of modalities shown, so that nobody asks it again."""

    network: Network
    present: Tensor
    """(N, M) bool: what each case has and the network knows."""
    logits: Tensor
    """(PATTERNS, N, L) before calibration, see `Network.each`."""

    @classmethod
    def of(cls, network: Network, cases: Examples, at_once: int = 64) -> Heard:
        """Ask about every case, a batch at a time."""
        with torch.inference_mode():
            firsts = range(0, len(cases), at_once)
            batches = [cases.batch(range(first, min(first + at_once, len(cases))))[0] for first in firsts]
            logits = torch.cat([network.each(batch) for batch in batches], dim=1)
        return cls(network, cases.present & torch.tensor(network.keep), logits)

    def shown(self, sides: Sequence[str] = MODALITIES) -> Tensor:
        """Logits of the cases with these modalities at most: (N, L)."""
        return self.logits[int(pattern_of(_among(sides)[None]))]

    def answers(self, sides: Sequence[str] = MODALITIES) -> Tensor:
        """The same, calibrated: log-odds (N, L)."""
        return self.network.calibrated(self.shown(sides), pattern_of(self.present & _among(sides))).float()


def systems_of(
    network: Network, cases: Examples, fusion: FusionConfig, heard: Heard | None = None
) -> dict[str, Tensor]:
    """Name of the system -> probabilities (N, L); the network itself comes first, and alone if it has no heads.

    Args:
        network: calibrated.
        cases: N of them.
        fusion: which modalities the network uses.
        heard: what it said of the same cases; None asks it.
    """
    said = Heard.of(network, cases) if heard is None else heard

    def shown(sides: Sequence[str]) -> Tensor:
        return said.answers(sides).sigmoid()

    systems = {FUSED: shown(MODALITIES)}
    if isinstance(network.body, Fusion):
        alone: dict[str, Tensor] = {side: shown([side]) for side in MODALITIES if side in fusion.modalities}
        pairs = _pairs(tuple(alone))
        if len(alone) > 1:
            systems |= {f"{side} only": one for side, one in alone.items()}
        systems |= {" + ".join(pair) + " only": shown(pair) for pair in pairs}
        systems[LATE] = _mean(alone, cases.present)
        stack = stacked_ensemble(network.body, cases)
        systems[STACK] = stack.softmax(-1) if network.multi_class else stack.sigmoid()
    return systems


def _among(sides: Sequence[str]) -> Tensor:
    """(M,) bool."""
    return torch.tensor([m in sides for m in MODALITIES])


def _pairs(sides: Sequence[str]) -> list[tuple[str, str]]:
    """Those that are not the whole."""
    return [(a, b) for i, a in enumerate(sides) for b in sides[i + 1 :]] if len(sides) > 2 else []


def _mean(alone: Mapping[str, Tensor], present: Tensor) -> Tensor:
    """Mean probability of the sides that each case has, said alone: (N, L); 0 where it has none. The usual floor."""
    has = present[:, [MODALITIES.index(side) for side in alone], None].float()  # (N, S, 1)
    return (torch.stack(list(alone.values()), dim=1) * has).sum(dim=1) / has.sum(dim=1).clamp(min=1)
