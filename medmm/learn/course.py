"""A course of teaching encoders: a plain loop that stops early and goes on after kill -9. What is learnt, others say.

Its folder holds the last epoch (weights, optimizer, history) and the best one, each written whole; when the course is
over, `best.safetensors` and `done.json`. Safetensors and JSON, never pickle.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from medmm.errors import CohortError, ConfigError
from medmm.files import write_whole
from medmm.learn.fit import Epoch
from medmm.learn.processes import accelerator, is_main, wait
from medmm.learn.split import folds_by_patient
from medmm.learn.state import keep, keep_weights, restore, resume

_DONE = "done.json"
_HELD_OUT = 10
"""One patient in so many is held out, to say when to stop."""
_FRESH = 10.0
"""How many times faster than the rest learns what begins at nothing."""


@dataclass(frozen=True, slots=True)
class Course:
    """How long and how hard to learn."""

    epochs: int
    learning_rate: float
    """Reached evenly over the first epoch, then constant, so that it does not depend on how many epochs there are."""
    batch_size: int = 64
    patience: int = 2
    """Epochs without a better held-out loss before the course stops."""
    seed: int = 0
    decays: bool = False
    """Whether the learning rate falls to 0 as a cosine instead, from the second epoch to the last. Such a course holds
    nobody out: every epoch is run, and the last weights stay."""
    fresh: tuple[str, ...] = ()
    """Parts of the network that begin at nothing: they learn ten times as fast."""
    budget_s: float = math.inf
    """Seconds of learning, over all interruptions; no epoch begins after them, and there is always a first one."""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What is learnt from: N examples that become batches on demand."""

    owners: tuple[str, ...]
    """(N,) the patient of each example: what is held out is held out by patient. Never written."""
    batch: Callable[[Sequence[int]], Mapping[str, Tensor]]
    """Indices -> the arguments of the network's forward; random views and masks are drawn from torch's generator."""
    digest: str = ""
    """SHA-256 over the content, for `claim`; '' where somebody else has claimed the folder."""


class Listener(Protocol):
    """Who is told how far a course has come."""

    def step(self, done: int, total: int) -> None:
        """After each batch: batches done, and batches in all if it does not stop early."""

    def epoch(self, epoch: Epoch) -> None:
        """After each epoch."""


def digest_of(*parts: object) -> str:
    """SHA-256 over values whose repr says all of them, and over bytes."""
    digest = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def claim(out: Path, method: str, encoders: tuple[object, ...], course: Course, material: Material) -> None:
    """Write OUT/run.json, or check that the folder holds the same pretraining, cut short or finished.

    Raises:
        ConfigError: if it holds another one.
    """
    dials = asdict(course) | {"budget_s": None if math.isinf(course.budget_s) else course.budget_s}
    made_of = {"method": method, "encoders": digest_of(*encoders), "course": dials, "material": material.digest}
    path, content = out / "run.json", json.dumps(made_of, indent=2) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") != content:
        raise ConfigError(f"{out} holds another run: other dials or other data", "Name another --out folder")
    write_whole(path, lambda target: target.write_text(content, encoding="utf-8"))


def is_over(folder: Path) -> bool:
    """Whether the course of a folder is done, so that `pursue` teaches nothing more."""
    return (folder / _DONE).exists()


def pursue(
    network: nn.Module, material: Material, course: Course, folder: Path, listener: Listener
) -> tuple[Epoch, ...]:
    """Leave in `network` the weights of the epoch with the lowest held-out loss, on the CPU; give back every epoch.

    Only parameters that require a gradient are trained, kept and restored. The order of examples, the views, the masks
    and every dropout of an epoch follow from the seed and the epoch's number.

    Args:
        network: a batch's arguments -> its mean loss.
        material: what is learnt from.
        course: how long and how hard.
        folder: where its state is; a course that is done there is not done again.
        listener: told of progress.

    Raises:
        CohortError: if there are fewer than two patients.
        ConfigError: if no epoch had a finite held-out loss.
    """
    if len(set(material.owners)) < 2:
        raise CohortError("teaching needs examples of two patients at least", "Give more of them")
    best, done = folder / "best.safetensors", folder / _DONE
    if not is_over(folder):
        _learn(network, material, course, folder, listener)
    restore(network.cpu().eval(), load_file(best))
    return tuple(Epoch(**epoch) for epoch in json.loads(done.read_text()))


def _learn(network: nn.Module, material: Material, course: Course, folder: Path, listener: Listener) -> None:
    """Run the epochs that are left. Of several processes each does all of it, and the main one writes."""
    best, last = folder / "best.safetensors", folder / "last.safetensors"
    device = accelerator().device
    fold_of = folds_by_patient(material.owners, _HELD_OUT, course.seed)
    held_out = np.flatnonzero(fold_of == 0) if not course.decays else np.zeros(0, dtype=np.int64)
    train = np.setdiff1d(np.arange(len(fold_of)), held_out)
    network.to(device)
    optimizer = torch.optim.AdamW(_groups(network, course.fresh))
    said = resume(last, network, optimizer, "a course")
    history = [Epoch(**epoch) for epoch in json.loads(said["history"])] if said else []
    spent = float(said["spent"]) if said else 0.0
    while not _over(history, spent, course):
        started = time.monotonic()
        train_loss = _pass(network, optimizer, device, material, course, train, len(history), listener)
        torch.manual_seed(course.seed)  # the same views and masks after every epoch
        held_out_loss = _loss(network, material, held_out, course.batch_size, device)
        history.append(Epoch(len(history), train_loss, held_out_loss))
        spent += time.monotonic() - started
        if is_main() and _is_best(history, course):
            keep_weights(best, network)
        if is_main():
            story = json.dumps([asdict(epoch) for epoch in history])
            keep(last, network, optimizer, {"history": story, "spent": repr(spent)})
        listener.epoch(history[-1])
    wait()
    if not best.exists():
        raise ConfigError("a course never had a finite loss", "Lower learning_rate, or check the encoder's weights")
    if is_main():
        story = json.dumps([asdict(epoch) for epoch in history])
        write_whole(folder / _DONE, lambda path: path.write_text(story))
        last.unlink(missing_ok=True)
    wait()


def _groups(network: nn.Module, fresh: Sequence[str]) -> list[dict[str, Any]]:
    """Parameters that learn, by how many times faster than the course they do so."""
    learns = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    new = [p for name, p in learns if name.split(".")[0] in fresh]
    groups = [([p for name, p in learns if name.split(".")[0] not in fresh], 1.0), (new, _FRESH)]
    return [{"params": parameters, "factor": factor} for parameters, factor in groups if parameters]


def _is_best(history: Sequence[Epoch], course: Course) -> bool:
    """Whether the last epoch's weights are the best so far; of a course whose learning rate decays they always are."""
    last = history[-1].train_loss if course.decays else history[-1].held_out_loss
    before = [] if course.decays else [e.held_out_loss for e in history if math.isfinite(e.held_out_loss)]
    return math.isfinite(last) and last <= min(before, default=math.inf)


def _pass(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    material: Material,
    course: Course,
    train: np.ndarray,
    number: int,
    listener: Listener,
) -> float:
    """One epoch over the examples `train`: its mean loss."""
    torch.manual_seed(course.seed * 100_003 + number)
    order = np.random.default_rng([course.seed, number]).permutation(train)
    batches = math.ceil(len(order) / course.batch_size)
    half = device.type == "cuda" and torch.cuda.is_bf16_supported()
    network.train()
    total = 0.0
    for step in range(batches):
        which = order[step * course.batch_size : (step + 1) * course.batch_size].tolist()
        for group in optimizer.param_groups:
            group["lr"] = group["factor"] * course.learning_rate * _share(course, number + (step + 1) / batches)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = network(**_on(device, material.batch(which)))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        total += float(loss.detach()) * len(which)
        listener.step(number * batches + step + 1, course.epochs * batches)
    return total / len(order)


def _share(course: Course, passed: float) -> float:
    """Share of the learning rate after some epochs."""
    if passed <= 1 or not course.decays:
        return min(passed, 1.0)
    return 0.5 * (1 + math.cos(math.pi * (passed - 1) / max(course.epochs - 1, 1)))


@torch.inference_mode()
def _loss(network: nn.Module, material: Material, which: np.ndarray, batch_size: int, device: torch.device) -> float:
    """Mean loss of some examples, in eval mode; NaN of none."""
    network.eval()
    total = 0.0
    for start in range(0, len(which), batch_size):
        part = which[start : start + batch_size].tolist()
        total += float(network(**_on(device, material.batch(part)))) * len(part)
    return total / len(which) if len(which) else math.nan


def _on(device: torch.device, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in batch.items()}


def _over(history: Sequence[Epoch], spent: float, course: Course) -> bool:
    """True after the last epoch, after the time, or if the last `patience` epochs brought nothing better."""
    losses = [epoch.held_out_loss for epoch in history]
    if (
        not course.decays
        and len(losses) > course.patience
        and min(losses[-course.patience :]) >= min(losses[: -course.patience])
    ):
        return True
    return len(losses) >= course.epochs or (len(losses) > 0 and spent >= course.budget_s)
