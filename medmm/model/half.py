"""Features are kept in half precision."""

from __future__ import annotations

import torch
from torch import Tensor

from medmm.errors import ModelError

_HALF = float(torch.finfo(torch.half).max)


def to_half(features: Tensor) -> Tensor:
    """float32 -> float16, what is too large for it at its bound.

    Raises:
        ModelError: if a feature is not a number, which only damaged weights bring about.
    """
    if features.isnan().any():
        raise ModelError("an encoder gives features that are not numbers", "Check its weights")
    return features.clamp(-_HALF, _HALF).half().clone()
