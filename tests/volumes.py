"""Volumes made by hand: a ball of a known size in mm, however it was sliced; random weights of MONAI networks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medmm.case import Volume

AIR, BALL = -1000, 40
EVEN = [2.5 * i for i in range(24)]
AXES = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
"""For columns, rows and slices, the axis of LPS along which they run."""


def ball(
    offsets_mm: Sequence[float] = EVEN,
    shape: tuple[int, int] = (60, 40),
    spacing_mm: tuple[float, float] = (1.0, 1.5),
    *,
    radius_mm: float = 20.0,
    centre_mm: tuple[float, float, float] | None = None,
    plane: str = "axial",
    **parts: Any,
) -> Volume:
    """A bright ball in air: `centre_mm` and spacing along slices, rows, columns; by default in the middle."""
    at = [np.array(offsets_mm), np.arange(shape[0]) * spacing_mm[0], np.arange(shape[1]) * spacing_mm[1]]
    centre = centre_mm or tuple((axis[0] + axis[-1]) / 2 for axis in at)
    far = sum((axis - middle) ** 2 for axis, middle in zip(np.ix_(*at), centre, strict=True))
    step = float(np.median(np.diff(offsets_mm))) if len(offsets_mm) > 1 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (axis, length) in enumerate(zip(AXES[plane], (spacing_mm[1], spacing_mm[0], step), strict=True)):
        affine[axis, column] = length
    voxels = np.where(far <= radius_mm**2, BALL, AIR).astype(np.int16)
    known: dict[str, Any] = {"window": (40.0, 400.0), "modality": "CT"}
    return Volume(voxels, digest(voxels), affine, tuple(float(o) for o in offsets_mm), **known | parts)


def cine(frames: int = 6, *, colour: bool = False, seed: int = 0) -> Volume:
    """Noise in time."""
    draw = np.random.default_rng(seed)
    voxels = draw.random((frames, 24, 32, 3) if colour else (frames, 24, 32)).astype(np.float32)
    return Volume(voxels, digest(voxels), modality="US")


def digest(voxels: np.ndarray) -> str:
    return hashlib.sha256(voxels.tobytes()).hexdigest()


def write_monai(path: Path, name: str = "resnet10", seed: int = 0, **dials: Any) -> Path:
    """Random weights of a MONAI network for volumes, as .safetensors or .pth."""
    from monai.networks import nets
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    known: dict[str, Any] = {"spatial_dims": 3}
    if name.startswith("resnet"):
        known |= {"n_input_channels": 1, "num_classes": 2}
    elif name.startswith("densenet"):
        known |= {"in_channels": 1, "out_channels": 2}
    else:
        known |= {"in_channels": 1, "num_classes": 2}
    state = getattr(nets, name)(**known | dials).state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path
