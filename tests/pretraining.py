"""Notes, pictures and encoders small enough to be taught in a test."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch

from medmm.case import Note
from medmm.config import EncoderConfig
from medmm.learn.fit import Epoch
from medmm.learn.pretrain.images import Square
from medmm.model.image_encoder import ImageEncoder
from medmm.model.image_networks import load_image_encoder
from medmm.model.text_encoder import TextEncoder, load_text_encoder
from tests.models import write_bert, write_torchvision

SIZE = 32


@dataclass
class Diary:
    """A listener that remembers."""

    steps: list[tuple[int, int]] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)

    def step(self, done: int, total: int) -> None:
        """Remember a batch."""
        self.steps.append((done, total))

    def epoch(self, epoch: Epoch) -> None:
        """Remember an epoch."""
        self.epochs.append(epoch)


def dials(folder: Path) -> EncoderConfig:
    """Encoders of a few random weights, written to a new folder."""
    bert = write_bert(folder / "bert")
    weights = write_torchvision(folder / "mobilenet.safetensors", "mobilenet_v3_small")
    return EncoderConfig(
        image="torchvision:mobilenet_v3_small",
        image_weights=str(weights),
        image_size=SIZE,
        text=str(bert),
        max_words=16,
    )


def write_run(path: Path, config: EncoderConfig, rest: str = "") -> Path:
    """A run.toml that names these encoders; `rest` stands below them."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in config.model_dump(exclude_defaults=True).items()]
    path.write_text("\n".join(["[encoders]", *lines]) + "\n" + rest)
    return path


def encoders(config: EncoderConfig) -> tuple[ImageEncoder, TextEncoder]:
    """Both, fresh from their files."""
    return load_image_encoder(config), load_text_encoder(config)


def notes(patients: int = 20) -> list[tuple[str, Note]]:
    """Notes in which each word says the next one, so that hidden words can be told."""
    texts = ("no fever since 3 days", "cough since 3 days , no fever", "no cough , haemoptysis")
    return [(f"patient-{i}", Note(texts[i % len(texts)])) for i in range(patients)]


def squares(patients: int = 20) -> list[Square]:
    """Two pictures of each patient."""
    draw = torch.Generator().manual_seed(0)
    return [
        Square(f"patient-{i // 2}", torch.randint(256, (1, SIZE, SIZE), generator=draw).to(torch.uint8), mirrored=False)
        for i in range(2 * patients)
    ]
