"""What a model is, without its weights: enough to find and read cases for it, and to say whose answers they are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open

from medmm.config import CohortConfig, Dials, NumberColumn, RunConfig
from medmm.errors import ModelError
from medmm.tensors import BINS

CARD = "model.json"
NETWORK = "network.safetensors"
LIKENESS = "likeness.safetensors"
TYPICAL = "typical.safetensors"
"""Files of a model folder that say what was learnt; a model has the first two, and may lack the others."""
SIMILAR = "similar.safetensors"
"""File of a run, beside its model and not in it: it knows the training cases by their ids."""


class Card(Dials):
    """model.json."""

    format: Literal[4] = 4
    medmm: str
    """Version of medmm that trained the model."""
    cohort: CohortConfig
    run: RunConfig
    thresholds: dict[str, float]
    """For each label the probability at which it is flagged; chosen on validation cases."""
    limits: dict[str, dict[str, tuple[float, float]]] = Field(default_factory=dict)
    """For each label and pattern of present modalities, as image+note: present_from and absent_to of result.Limits,
    for the error of run.decision."""
    prevalence: dict[str, float]
    """Share of each label among the training cases in which it is stated."""
    record_edges: dict[str, tuple[float, ...]]
    """See RecordBins.edges."""
    encoders: str
    """Digest of all encoders and their settings."""
    trained_on: str
    """SHA-256 over the training cases' features and answers."""
    cases: dict[str, int] = Field(default_factory=dict)
    """Cases by part of the split."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels, in the order of every output."""
        return () if self.cohort.labels is None else self.cohort.labels.names


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model by what it says of itself."""

    card: Card = field(repr=False)
    digest: str
    """SHA-256 over model.json, network.safetensors, and what else was learnt, in hexadecimal."""

    @property
    def model_id(self) -> str:
        """The first 12 digits, by which a model is called everywhere."""
        return self.digest[:12]

    @classmethod
    def read(cls, folder: Path) -> ModelInfo:
        """Read what a model folder says of its model.

        Raises:
            ModelError: if the folder is not one, its files are damaged, or model.json does not fit together.
        """
        try:
            card = Card.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
            with safe_open(folder / NETWORK, framework="np"):
                digest = digest_of(folder)
        except (FileNotFoundError, NotADirectoryError):
            raise ModelError(f"{folder} is not a model folder", "Give the folder that 'medmm train' wrote") from None
        except (ValidationError, UnicodeDecodeError) as problem:
            reason = type(problem).__name__
            raise ModelError(
                f"{folder}/model.json cannot be read ({reason})", "Train again with this version"
            ) from None
        except SafetensorError:
            raise ModelError(f"{folder} holds damaged weights", "Copy the folder again") from None
        _check_names(folder, card)
        return cls(card, digest)


def digest_of(folder: Path) -> str:
    """See ModelInfo.digest."""
    digest = hashlib.sha256()
    for name in (CARD, NETWORK):
        digest.update((folder / name).read_bytes())
    for name in (LIKENESS, TYPICAL):
        if (folder / name).exists():
            digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _check_names(folder: Path, card: Card) -> None:
    """Every label has its threshold, every number of the record its edges."""
    labels = card.cohort.labels.names if card.cohort.labels else ()
    numbers = {name for name, column in card.cohort.record.items() if isinstance(column, NumberColumn)}
    whole = all(len(edges) == BINS + 1 for edges in card.record_edges.values())
    if set(card.thresholds) != set(labels) or set(card.record_edges) != numbers or not whole:
        raise ModelError(
            f"{folder}/model.json does not fit together: thresholds or record edges", "Copy the folder again"
        )
