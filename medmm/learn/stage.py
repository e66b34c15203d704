"""One stage of training: run the loop, stop early, and be able to go on after kill -9.

A stage's folder holds the last epoch (weights, optimizer, history) and the best one, each written whole. When the
stage is over only `best.safetensors` and `done.json` are left. Safetensors and JSON, never pickle. Of several
processes the main one writes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medmm.config import TrainingConfig
from medmm.errors import ConfigError
from medmm.files import write_whole
from medmm.learn.fit import Epoch, Examples, fit
from medmm.learn.processes import accelerator, is_main, wait

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage's name, where it keeps its state, and who is told of each epoch."""

    name: str
    folder: Path
    tell: Callable[[str, Epoch], None]

    def run(
        self, network: nn.Module, train: Examples, held_out: Examples, config: TrainingConfig, multi_class: bool
    ) -> None:
        """Leave in `network` the weights of the epoch with the lowest held-out loss, on the CPU: what follows is small.

        Only parameters that require a gradient are trained, kept and restored.

        Raises:
            ConfigError: if no epoch had a finite held-out loss.
        """
        best = self.folder / "best.safetensors"
        if (self.folder / "done.json").exists():
            _restore(network, load_file(best))
            return
        network.to(accelerator().device)
        parameters = [p for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        history = self._resume(network, optimizer)
        epochs = fit(network, optimizer, train, held_out, config, multi_class=multi_class, first_epoch=len(history))
        while not _over(history, config):
            epoch = next(epochs, None)
            if epoch is None:
                break
            history.append(epoch)
            self.tell(self.name, epoch)
            if is_main() and epoch.held_out_loss <= min(e.held_out_loss for e in history):
                weights = _trained(network)
                write_whole(best, lambda path, kept=weights: save_file(kept, path))  # type: ignore[misc]  # default binds
            if is_main():
                self._keep(network, optimizer, history)
        wait()
        if not best.exists():
            raise ConfigError(f"stage '{self.name}' never had a finite held-out loss", "Lower learning_rate")
        _restore(network.cpu(), load_file(best))
        if is_main():
            report = json.dumps([asdict(epoch) for epoch in history])
            write_whole(self.folder / "done.json", lambda path: path.write_text(report))
            (self.folder / "last.safetensors").unlink(missing_ok=True)

    def _keep(self, network: nn.Module, optimizer: torch.optim.Optimizer, history: list[Epoch]) -> None:
        state = {f"network.{name}": value for name, value in _trained(network).items()}
        for index, values in optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{index}.{name}": value.contiguous() for name, value in values.items()}
        metadata = {"history": json.dumps([asdict(epoch) for epoch in history])}
        write_whole(self.folder / "last.safetensors", lambda path: save_file(state, path, metadata=metadata))

    def _resume(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> list[Epoch]:
        last = self.folder / "last.safetensors"
        if not last.exists():
            return []
        try:
            with safe_open(last, framework="pt") as file:
                history = [Epoch(**epoch) for epoch in json.loads(file.metadata()["history"])]
            state = load_file(last)
        except SafetensorError:  # the machine went down before its disk had it all
            log.warning("%s begins again: what it left of itself is damaged", self.name)
            return []
        _restore(network, {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")})
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".", 2)
                moments.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        log.info("%s goes on after epoch %d", self.name, history[-1].number)
        return history


def _over(history: list[Epoch], config: TrainingConfig) -> bool:
    """True if the last `patience` epochs brought nothing better."""
    if len(history) <= config.patience:
        return False
    losses = [epoch.held_out_loss for epoch in history]
    return min(losses[-config.patience :]) >= min(losses[: -config.patience])


def _trained(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().cpu().clone() for name, p in network.named_parameters() if p.requires_grad}


def _restore(network: nn.Module, weights: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(weights[name])
