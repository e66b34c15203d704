"""What a training keeps of itself between epochs, so that it goes on after kill -9: weights, optimizer, a few words.

Only parameters that require a gradient are kept and put back. Safetensors, never pickle, each file written whole.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medmm.files import write_whole

log = logging.getLogger(__name__)


def keep(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, said: Mapping[str, str]) -> None:
    """Write weights and optimizer, and beside them a few words."""
    state = {f"network.{name}": value for name, value in trained(network).items()}
    for index, values in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{index}.{name}": value.cpu().contiguous() for name, value in values.items()}
    write_whole(path, lambda target: save_file(state, target, metadata=dict(said)))


def resume(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, name: str) -> dict[str, str] | None:
    """Put back what `keep` wrote, and give back its words; None if there is nothing whole.

    Args:
        path: where it was written.
        network: the same as when it was written.
        optimizer: likewise.
        name: of what goes on, for the log.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            said = dict(file.metadata())
        state = load_file(path)
    except SafetensorError:  # the machine went down before its disk had it all
        log.warning("%s begins again: what it left of itself is damaged", name)
        return None
    restore(network, {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")})
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        if key.startswith("optimizer."):
            _, index, part = key.split(".", 2)
            moments.setdefault(int(index), {})[part] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    log.info("%s goes on where it was", name)
    return said


def keep_weights(path: Path, network: nn.Module) -> None:
    """Write what was trained, and nothing else."""
    weights = trained(network)
    write_whole(path, lambda target: save_file(weights, target))


def trained(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters that learn, on the CPU."""
    return {name: p.detach().cpu().clone().contiguous() for name, p in network.named_parameters() if p.requires_grad}


def restore(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put back the parameters that learn."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(weights[name])
