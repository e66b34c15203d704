"""A model as one folder: weights, names, thresholds, preprocessing, calibration and digests travel together.

    model.json                  what the numbers mean
    network.safetensors         heads, stack, interaction, gates, calibration
    image_encoder.safetensors   only if the encoder is not one that pip installs
    volume_encoder.safetensors  only if there is one
    text_encoder/               likewise, with its tokenizer
    taught.safetensors          only if the encoders were adapted: their taught tails and upper layers
    likeness.safetensors        what cases like the training cases look like
    typical.safetensors         what their pictures look like in the mean

Nothing in it can run code: safetensors and JSON, and no remote code from a hub.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from medmm.case import MODALITIES, Case
from medmm.config import CohortConfig, RunConfig
from medmm.errors import ModelError
from medmm.files import write_whole
from medmm.model.batch import Features, collate
from medmm.model.card import CARD, LIKENESS, NETWORK, TYPICAL, Card, ModelInfo, digest_of
from medmm.model.encode import TAUGHT, EncodedCase, Encoders
from medmm.model.fusion import PATTERNS, Network, modalities_of
from medmm.model.heads import Widths
from medmm.model.likeness import Likeness
from medmm.model.typical import Typical
from medmm.result import Limits
from medmm.tensors import RecordBins

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A trained model, ready to answer. Made by training or by `Model.load`."""

    card: Card
    network: Network
    encoders: Encoders
    digest: str
    """See ModelInfo.digest."""
    likeness: Likeness | None = None
    """What cases like the training cases look like; None of a model that never learnt it."""
    typical: Typical | None = None
    """What their pictures look like in the mean, which overlays are held against; None of a model without pictures."""

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Load a model folder.

        Raises:
            ModelError: if the folder is not one, its files do not fit together, or its encoders are not the same.
        """
        info = ModelInfo.read(folder)
        card = info.card
        encoders = Encoders(card.run.encoders, folder)
        if encoders.digest != card.encoders:
            raise ModelError(
                "the encoders here are not those that the model was trained with", "Install the same packages"
            )
        network = build_network(card.cohort, card.run, encoders, RecordBins(card.cohort.record, card.record_edges))
        try:
            network.load_state_dict(load_file(folder / NETWORK))
        except RuntimeError:
            raise ModelError(f"{folder} holds weights of another shape", "Copy the whole folder again") from None
        likeness, typical = _kept(Likeness.load, folder / LIKENESS), _kept(Typical.load, folder / TYPICAL)
        return cls(card, network.eval(), encoders, info.digest, likeness, typical)

    @classmethod
    def save(
        cls,
        folder: Path,
        card: Card,
        network: Network,
        encoders: Encoders,
        likeness: Likeness | None = None,
        typical: Typical | None = None,
    ) -> Model:
        """Write the folder, without what of an earlier one would pass for its own, and give back what it holds."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in (TAUGHT, LIKENESS, TYPICAL):
            (folder / name).unlink(missing_ok=True)
        weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
        write_whole(folder / NETWORK, lambda path: save_file(weights, path))
        if not card.run.encoders.image.startswith("embedded:"):
            write_whole(folder / "image_encoder.safetensors", encoders.image.save)
        if encoders.volume is not None:
            write_whole(folder / "volume_encoder.safetensors", encoders.volume.save)
        if not card.run.encoders.text.startswith("embedded:"):
            encoders.text.save(folder / "text_encoder")
        if encoders.image.taught or encoders.text.taught:
            write_whole(folder / TAUGHT, encoders.save_taught)
        if likeness is not None:
            write_whole(folder / LIKENESS, likeness.save)
        if typical is not None:
            write_whole(folder / TYPICAL, typical.save)
        content = card.model_dump_json(indent=2) + "\n"
        write_whole(folder / CARD, lambda path: path.write_text(content, encoding="utf-8"))
        return cls(card, network.eval(), encoders, digest_of(folder), likeness, typical)

    @property
    def info(self) -> ModelInfo:
        """The model without its weights."""
        return ModelInfo(self.card, self.digest)

    @property
    def model_id(self) -> str:
        """See ModelInfo.model_id."""
        return self.info.model_id

    @property
    def labels(self) -> tuple[str, ...]:
        """See Card.labels."""
        return self.card.labels

    @property
    def bins(self) -> RecordBins:
        """How record values become numbers."""
        return RecordBins(self.card.cohort.record, self.card.record_edges)

    def encode(self, case: Case, *, keep_trunks: bool = False) -> Features:
        """The case through the encoders; the costly part of an answer. To be explained it needs its trunks."""
        return self.features(self.encoded(case, keep_trunks=keep_trunks))

    def encoded(self, case: Case, *, keep_trunks: bool = False) -> EncodedCase:
        """What the encoders make of the case, the record as it was read."""
        return self.encoders.encode(case, prior=self.knows_prior, keep_trunks=keep_trunks)

    def features(self, case: EncodedCase) -> Features:
        """What the network takes of an encoded case."""
        return self.encoders.features(case, self.bins)

    @property
    def knows_prior(self) -> bool:
        """Whether it knows what to do with an earlier study."""
        return bool(self.card.cohort.prior)

    def limits(self, label: str, present: Sequence[str]) -> Limits | None:
        """How sure the model must be of a label for a case that has these of its modalities."""
        found = self.card.limits.get(label, {}).get(named(present))
        return None if found is None else Limits(*found, self.card.run.decision.error)

    @torch.inference_mode()
    def log_odds(self, cases: Sequence[Features]) -> Tensor:
        """Calibrated log-odds of each label: (B, L) float64."""
        answer: Tensor = self.network(collate(cases))
        return answer


def build_network(cohort: CohortConfig, run: RunConfig, encoders: Encoders, bins: RecordBins) -> Network:
    """A network of the sizes that the cohort and the encoders dictate, with fresh weights."""
    if cohort.labels is None:
        raise ModelError("the cohort names no labels", "Name them in [labels] of cohort.toml")
    image, text = encoders.image, encoders.text
    widths = Widths(
        encoders.image_width,
        text.width,
        text.frozen_width // 2,
        len(cohort.record),
        bins.width,
        prior=bool(cohort.prior),
        image_copies=(image.frozen_width, image.width) if image.taught else (0, 0),
        note_copies=(text.frozen_width, text.width) if text.taught else (0, 0),
        steps=bins.steps,
    )
    return Network(widths, len(cohort.labels.names), cohort.labels.multi_class, run.fusion)


def _kept(load: Callable[[Path], T], path: Path) -> T | None:
    """What was kept in a file, if there is one.

    Raises:
        ModelError: if it is damaged.
    """
    if not path.exists():
        return None
    try:
        return load(path)
    except Exception as problem:  # safetensors has an error class of its own that is not exported in every version
        raise ModelError(f"{path.name} is damaged ({type(problem).__name__})", "Copy the folder again") from None


def named(present: Sequence[str]) -> str:
    """A pattern of present modalities as a key."""
    return "+".join(present) or "nothing"


def limits_by_name(labels: Sequence[str], limits: np.ndarray) -> dict[str, dict[str, tuple[float, float]]]:
    """Limits (PATTERNS, L, 2) as `Card.limits`."""
    sides = [[m for m, there in zip(MODALITIES, modalities_of(p), strict=True) if there] for p in range(PATTERNS)]
    return {
        label: {
            named(present): (float(low), float(high)) for present, (low, high) in zip(sides, limits[:, i], strict=True)
        }
        for i, label in enumerate(labels)
    }
