"""Weights of networks: read without running code, and known by their digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from medmm.errors import ModelError


def checked(path: Path, expected: str) -> str:
    """The file's SHA-256, if it is the expected one."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != expected:
        raise ModelError(
            f"{path.name} is not the file that medmm was built with", "Install the packages from the lock file"
        )
    return digest


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict from safetensors, or from a .pth in which only tensors are accepted."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (OSError, SafetensorError) as problem:
            raise ModelError(f"{path.name} is damaged ({type(problem).__name__})", "Copy it again") from None
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # torch raises several kinds; none of them may run code
        raise ModelError(
            f"{path.name} is not a plain state dict ({type(problem).__name__})",
            "Save it again with torch.save(network.state_dict())",
        ) from None
    return state


def state_digest(network: nn.Module) -> str:
    """SHA-256 over names and values of a network's parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
