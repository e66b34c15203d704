"""What a trained network says of cases, beside its own sides alone and the late ensembles of its heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medmm.case import MODALITIES
from medmm.config import FusionConfig
from medmm.learn.fit import Examples, infer
from medmm.learn.fuse import stacked_ensemble
from medmm.model.fusion import PATTERNS, Fusion, Network, pattern_of

FUSED = "fused"
LATE = "late ensemble (mean)"
STACK = "late ensemble (stack)"


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What the body of a network said of cases while somebody else asked it, so that it is not asked again."""

    network: Network
    present: Tensor
    """(N, M) bool: what each case has and the network knows."""
    logits: Tensor
    """(N, PATTERNS, L) before calibration, by what was shown of the case; NaN where nobody asked."""

    @classmethod
    def nothing(cls, network: Network, cases: Examples) -> Heard:
        """Nothing yet, of these cases."""
        logits = torch.full((len(cases), PATTERNS, cases.targets.shape[1]), torch.nan)
        return cls(network, cases.present & torch.tensor(network.keep), logits)

    @contextmanager
    def listening(self, first: int) -> Iterator[None]:
        """Keep what is said of batches whose first case is this one."""

        def keep(_: nn.Module, shown: tuple[Any, ...], said: Tensor) -> None:
            there = shown[0].present.cpu()
            self.logits[torch.arange(first, first + len(there)), pattern_of(there)] = said.float().cpu()

        with self.network.body.register_forward_hook(keep):
            yield

    def shown(self, sides: Sequence[str] = MODALITIES) -> tuple[Tensor, Tensor]:
        """Logits (N, L) of the cases with these modalities at most, and their patterns (N,)."""
        pattern = pattern_of(self.present & _among(sides))
        return self.logits[torch.arange(len(pattern)), pattern], pattern

    def answers(self, sides: Sequence[str] = MODALITIES) -> Tensor:
        """The same, calibrated: log-odds (N, L)."""
        return self.network.calibrated(*self.shown(sides)).float()


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

    def shown(sides: Sequence[str]) -> Tensor:
        said = infer(network, cases, keep=_among(sides)) if heard is None else heard.answers(sides)
        return said.sigmoid()

    systems = {FUSED: shown(MODALITIES)}
    if isinstance(network.body, Fusion):
        alone: dict[str, Tensor] = {side: shown([side]) for side in MODALITIES if side in fusion.modalities}
        pairs = _pairs(tuple(alone))
        if len(alone) > 1:
            systems |= {f"{side} only": said for side, said in alone.items()}
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
