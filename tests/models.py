"""Small networks, cases and encoders with random weights: all that a test of the model needs, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torchvision import models as torchvision_models

from medmm.case import MODALITIES
from medmm.config import CategoryColumn, CohortConfig, FusionConfig, LabelColumns, NumberColumn, RunConfig
from medmm.model.batch import PLACE, PRIOR, VIEW, Features, Layout
from medmm.model.card import Card
from medmm.model.encode import Encoders
from medmm.model.folder import Model, build_network
from medmm.model.fusion import PATTERNS, Network, modalities_of
from medmm.model.heads import Widths
from medmm.tensors import BINS, RecordBins

torch.set_num_threads(1)  # small networks on a busy machine: threads would wait for one another

LABELS = ("effusion", "nodule", "oedema")
WIDTHS = Widths(image=6, note=8, layer=4, columns=3, bins=BINS)
RECORD = {
    "age_years": NumberColumn(unit="a", low=0, high=120),
    "sex": CategoryColumn(categories=("female", "male")),
    "crp_mg_l": NumberColumn(unit="mg/L"),
}
WORDS = ("no", "fever", "cough", "since", "3", "days", "ha", "##emo", "##pty", "##sis", "f", "##e", ",", ".")
"""Word pieces that the BERT of `write_bert` knows, besides its special ones."""


def fusion(kind: str = "cross_attention", **dials: Any) -> FusionConfig:
    """A narrow fusion of two heads."""
    return FusionConfig.model_validate({"kind": kind, "width": 16, "heads": 2} | dials)


def random_network(config: FusionConfig, *, multi_class: bool = False, widths: Widths = WIDTHS) -> Network:
    """A network for LABELS in which nothing is zero, one or the same by chance; in eval mode."""
    torch.manual_seed(0)
    return randomise(Network(widths, len(LABELS), multi_class, config))


@torch.no_grad()
def randomise(network: Network, seed: int = 0) -> Network:
    """Random heads, stack, shares, gates and calibration, and a correction that speaks; in eval mode."""
    draw = torch.Generator().manual_seed(seed)
    for name, buffer in network.named_buffers():
        if name.endswith("share"):  # stays 0 for what is absent, and sums to one
            drawn = buffer * torch.rand(buffer.shape, generator=draw)
            buffer.copy_(drawn / drawn.sum(dim=1, keepdim=True).clamp(min=1e-9))
        elif name.endswith("bounds"):
            low, width = 0.1 * torch.rand(buffer.shape, generator=draw), 0.9
            buffer.copy_(torch.stack([low[:, 0], low[:, 1] + width], dim=1))
        elif name.endswith(("scale", "gate", "spread")):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=draw))
        elif name.endswith("pays"):  # a conjunction of two sides at least, of labels that may hold together
            few = torch.tensor([int(modalities_of(pattern).sum()) < 2 for pattern in range(PATTERNS)])
            buffer.copy_((torch.rand(buffer.shape, generator=draw) < 0.5) & ~few[:, None] & (not network.multi_class))
        elif not name.endswith(("frequencies", "there")):
            wide = buffer.shape[-1] ** 0.5 if name.endswith(".weight") and buffer.numel() else 1
            buffer.copy_(torch.randn(buffer.shape, generator=draw) / wide)
    for name, parameter in network.named_parameters():
        if {"classify", "decide"} & set(name.split(".")):  # these begin at zero and have to learn before they speak
            parameter.normal_(std=0.3, generator=draw)
    return network.eval()


def random_case(
    seed: int = 0, *, patches: int = 5, words: int = 7, record: bool = True, widths: Widths = WIDTHS, prior: int = 0
) -> Features:
    """One encoded case; 0 patches, 0 words or no record is a modality that it does not have.

    The last `prior` of its patches are of a prior study.
    """
    draw = torch.Generator().manual_seed(seed)
    place = torch.zeros(patches, PLACE)
    place[:, :VIEW] = torch.rand(patches, 3, generator=draw)[:, :VIEW]
    place[:, VIEW] = torch.arange(patches) % 3
    place[patches - prior :, PRIOR] = 1
    taken = torch.tensor([record and i != 1 for i in range(widths.columns)], dtype=torch.bool)
    vectors = torch.rand(widths.columns, widths.bins, generator=draw)
    return Features(
        case_id=f"c{seed}",
        image=torch.randn(patches, widths.image, generator=draw).half(),
        place=place,
        note=torch.randn(words, widths.note, generator=draw).half(),
        terms=torch.randint(0, 40, (words,), generator=draw).short(),
        record=vectors * taken[:, None],
        taken=taken,
        layout=Layout(),
    )


def cases_of_every_pattern(seed: int = 0) -> list[Features]:
    """Eight cases: every subset of the modalities, in the order of patterns."""
    return [random_case(seed + p, patches=4 * bool(p & 1), words=6 * bool(p & 2), record=bool(p & 4)) for p in range(8)]


def cohort(*, multi_class: bool = False, record: bool = True) -> CohortConfig:
    """A cohort with LABELS and, unless told otherwise, three record columns."""
    labels = LabelColumns(class_column="answer", classes=LABELS) if multi_class else LabelColumns(columns=LABELS)
    return CohortConfig(labels=labels, record=RECORD if record else {})


def card(run: RunConfig, cohort: CohortConfig, encoders: str = "") -> Card:
    """What a model folder says of its numbers."""
    seen = [{"age_years": float(20 + 7 * i), "crp_mg_l": float(i * i)} for i in range(12)]
    bins = RecordBins.learn(cohort.record, seen if cohort.record else [])
    return Card(
        medmm="0",
        cohort=cohort,
        run=run,
        thresholds={name: 0.2 + 0.1 * i for i, name in enumerate(LABELS)},
        prevalence=dict.fromkeys(LABELS, 0.25),
        record_edges=dict(bins.edges),
        encoders=encoders,
        trained_on="",
    )


def random_model(run: RunConfig, *, multi_class: bool = False, record: bool = True, seed: int = 0) -> Model:
    """A model with the encoders that `run` names and a random network; its answers depend on every modality."""
    encoders = Encoders(run.encoders)
    described = cohort(multi_class=multi_class, record=record)
    torch.manual_seed(seed)
    network = randomise(build_network(described, run, encoders, RecordBins(described.record, {})), seed)
    return Model(card(run, described, encoders.digest), network, encoders, "0" * 64)


def model_without_encoders(network: nn.Module, **dials: Any) -> Model:
    """A model for what needs encoded cases only; whoever asks its encoders fails."""
    run = RunConfig(fusion=FusionConfig.model_validate({"modalities": MODALITIES} | dials))
    return Model(card(run, cohort()), cast("Network", network), cast("Encoders", None), "0" * 64)


def write_bert(folder: Path, *, hidden: int = 32, layers: int = 2, positions: int = 64, seed: int = 0) -> Path:
    """A random BERT that knows WORDS, as a Hugging Face folder."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder.mkdir(parents=True)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}).save_pretrained(folder)
    return folder


def write_torchvision(path: Path, name: str = "resnet18", seed: int = 0) -> Path:
    """Random weights of a torchvision network, as .safetensors or .pth."""
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    state = torchvision_models.get_model(name, weights=None).state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path
