"""A frozen convolutional network of MONAI: voxels to patch features, plane by plane."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medmm.case import Volume
from medmm.config import EncoderConfig
from medmm.errors import ModelError
from medmm.model.half import to_half
from medmm.model.image_encoder import Patches
from medmm.model.weights import read_state, state_digest
from medmm.slices import nearest_slice
from medmm.tensors import volume_network, volume_tensor


@dataclass(frozen=True, slots=True)
class Plane:
    """What the volume encoder made of one plane of its cube, across the slices of a volume."""

    patches: Patches
    index: int
    """The slice nearest to the plane's centre."""
    depth: float
    """Where the centre lies along the volume, 0 at its first face and 1 at its last."""


class VolumeEncoder(nn.Module):
    """A convolutional network for volumes without its classifier; frozen."""

    def __init__(self, network: nn.Module, width: int, size: int, digest: str) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.width, self.size, self.digest = width, size, digest

    @torch.inference_mode()
    def encode(self, volume: Volume) -> tuple[Plane, ...]:
        """One volume with affine, not in colour -> the planes that lie on it, in the order of its slices."""
        cube, placement = volume_tensor(volume, self.size)
        device = next(self.network.parameters()).device
        features = placement.from_cube(self.network(cube[None].to(device))[0].float().cpu().numpy())  # (C, s, r, c)
        depths, flat = placement.depths(features.shape[1]), placement.plane()
        off = np.abs(depths - 0.5)
        grid = (features.shape[2], features.shape[3])
        cells = np.flatnonzero(flat.covered(grid))
        planes = []
        for plane in np.flatnonzero(off <= max(0.5, off.min())):
            tokens = torch.from_numpy(np.ascontiguousarray(features[:, plane].reshape(self.width, -1).T[cells]))
            depth = float(np.clip(depths[plane], 0, 1))
            patches = Patches(to_half(tokens), cells, grid, flat)
            planes.append(Plane(patches, nearest_slice(volume, depth), depth))
        return tuple(planes)

    def save(self, path: Path) -> None:
        """Write the weights of what is used of the network, so that a model folder needs no other file."""
        from safetensors.torch import save_file

        save_file({name: value.cpu().contiguous() for name, value in self.network.state_dict().items()}, path)


def load_volume_encoder(config: EncoderConfig, saved: Path | None = None) -> VolumeEncoder | None:
    """Build the volume encoder that `config` names; None if volumes go slice by slice through the image encoder.

    Args:
        config: `volume` is slices or monai:NAME.
        saved: weights kept in a model folder, instead of those that the configuration names.

    Raises:
        ModelError: unknown name, missing or unfitting weights.
    """
    family, _, name = config.volume.partition(":")
    if config.volume == "slices":
        return None
    if family != "monai":
        raise ModelError(f"no volume encoder is called '{config.volume}'", "Use slices or monai:NAME")
    if not config.volume_weights and saved is None:
        remedy = "Set volume_weights to a .safetensors or .pth file; random features would be noise"
        raise ModelError(f"{config.volume} needs weights", remedy)
    path = saved or Path(config.volume_weights)
    if not path.is_file():
        raise ModelError(f"the weights of {config.volume} are not at '{config.volume_weights}'", "Check volume_weights")
    state = _plain_state(read_state(path))
    network = volume_network(name, state)
    wanted = set(network.state_dict())
    try:
        network.load_state_dict({key: value for key, value in state.items() if key in wanted})
    except (RuntimeError, TypeError, AttributeError):
        raise ModelError(
            f"{path.name} does not fit {config.volume} with one channel", "Give the weights of that network"
        ) from None
    with torch.inference_mode():
        cube = torch.zeros(1, 1, *[config.volume_size] * 3)
        width = int(network.eval()(cube).shape[1])
    return VolumeEncoder(network, width, config.volume_size, state_digest(network))


def _plain_state(state: dict[str, Any]) -> dict[str, Tensor]:
    """The names as the network has them: out of a training checkpoint, and without the prefix of DataParallel."""
    inner = state.get("state_dict", state)
    return {str(name).removeprefix("module."): value for name, value in inner.items() if isinstance(value, Tensor)}
