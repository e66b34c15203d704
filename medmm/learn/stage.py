"""One stage of training: run the loop, stop early, and be able to go on after kill -9.

A stage's folder holds the last epoch (weights, optimizer, history) and the best one, each written whole. When the
stage is over only `best.safetensors` and `done.json` are left. Safetensors and JSON, never pickle. Of several
processes the main one writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from medmm.config import TrainingConfig
from medmm.errors import ConfigError
from medmm.files import write_whole
from medmm.learn.fit import Epoch, Examples, fit
from medmm.learn.processes import accelerator, is_main, wait
from medmm.learn.state import keep, keep_weights, restore, resume


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
        best, last = self.folder / "best.safetensors", self.folder / "last.safetensors"
        if (self.folder / "done.json").exists():
            restore(network, load_file(best))
            return
        network.to(accelerator().device)
        parameters = [p for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        said = resume(last, network, optimizer, self.name)
        history = [Epoch(**epoch) for epoch in json.loads(said["history"])] if said else []
        epochs = fit(network, optimizer, train, held_out, config, multi_class=multi_class, first_epoch=len(history))
        while not _over(history, config):
            epoch = next(epochs, None)
            if epoch is None:
                break
            history.append(epoch)
            self.tell(self.name, epoch)
            if is_main() and epoch.held_out_loss <= min(e.held_out_loss for e in history):
                keep_weights(best, network)
            if is_main():
                keep(last, network, optimizer, {"history": json.dumps([asdict(epoch) for epoch in history])})
        wait()
        if not best.exists():
            raise ConfigError(f"stage '{self.name}' never had a finite held-out loss", "Lower learning_rate")
        restore(network.cpu(), load_file(best))
        if is_main():
            report = json.dumps([asdict(epoch) for epoch in history])
            write_whole(self.folder / "done.json", lambda path: path.write_text(report))
            last.unlink(missing_ok=True)


def _over(history: list[Epoch], config: TrainingConfig) -> bool:
    """True if the last `patience` epochs brought nothing better."""
    if len(history) <= config.patience:
        return False
    losses = [epoch.held_out_loss for epoch in history]
    return min(losses[-config.patience :]) >= min(losses[: -config.patience])
