"""The one place where a case becomes tensors: MONAI transforms for pixels, bins for record values.

Words become tensors in the text encoder, which owns its tokenizer.
"""

from __future__ import annotations

import re
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from medmm.case import Image, RecordValue, Volume
from medmm.config import CategoryColumn, Flips, RecordColumn
from medmm.errors import ModelError
from medmm.placement import Placement, VolumePlacement
from medmm.slices import Shown, slice_step_mm

if TYPE_CHECKING:
    from torch import Tensor, nn

BINS = 8
"""Bins of a numeric record column."""
_FINER = 4
"""Pixels to which each side of a square's pixel is interpolated in an image that was read reduced."""

_FRONTAL = frozenset({"PA", "AP"})
_LATERAL = frozenset({"LL", "RL", "LATERAL", "LAT", "LLO", "RLO"})


def view_index(image: Image) -> int:
    """0 where the view is not stated, 1 for a frontal film, 2 for a lateral one; see View Position (0018,5101)."""
    view = image.view.upper()
    return 1 if view in _FRONTAL else 2 if view in _LATERAL else 0


def pixels_for(size: int) -> int:
    """Pixels of an image's shorter side that are enough for a square of `size`: each of its own is of 4 or more."""
    return 2 * size


def image_tensor(
    image: Image, size: int, mean: Sequence[float], deviation: Sequence[float]
) -> tuple[Tensor, Placement]:
    """Fit an image into a square of `size`, its shape kept: (3, size, size) float32, normalised by channel."""
    from monai.utils import convert_to_tensor

    channels = 3 if image.pixels.ndim == 3 else 1
    placement = Placement.fit(image.rows, image.columns, size)
    chain = _square(placement, channels, tuple(mean), tuple(deviation), image.pixels.shape[:2] != image.grid)
    square = chain(np.array(image.pixels))
    return cast("Tensor", convert_to_tensor(square, track_meta=False)), placement


def image_views(
    image: Image, size: int, mean: Sequence[float], deviation: Sequence[float], count: int, flips: Flips
) -> Iterator[Tensor]:
    """An image in its square, then `count` views of it: turned, moved, scaled, brighter or darker; each (3, S, S).

    What is drawn depends on the pixels alone, so the same image has the same views. A film is turned by 10 degrees at
    most; an image that may be mirrored up and down has no up and is turned all the way.
    """
    from monai.transforms import (
        Compose,
        NormalizeIntensity,
        RandAdjustContrast,
        RandAffine,
        RandFlip,
        RandScaleIntensity,
    )
    from monai.utils import convert_to_tensor

    black, _ = image_tensor(image, size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    turn = np.pi if flips == "both" else np.pi / 18
    mirrored = {"none": [], "horizontal": [1], "both": [0, 1]}[flips]
    vary = Compose(
        [
            *(RandFlip(prob=0.5, spatial_axis=axis) for axis in mirrored),
            RandAffine(
                prob=1,
                rotate_range=turn,
                translate_range=size / 20,
                scale_range=0.18,
                padding_mode="zeros",
                mode="bilinear",
            ),
            RandScaleIntensity(factors=0.2, prob=1),
            RandScaleIntensity(factors=0.1, prob=1, channel_wise=True),
            RandAdjustContrast(prob=1, gamma=(0.8, 1.25)),
        ]
    )
    vary.set_random_state(seed=zlib.crc32(image.pixels.tobytes()))
    normalise = NormalizeIntensity(subtrahend=tuple(mean), divisor=tuple(deviation), channel_wise=True)
    for number in range(1 + count):
        view = vary(black) if number else black
        yield cast("Tensor", convert_to_tensor(normalise(view), track_meta=False))


@dataclass(frozen=True, slots=True)
class Turning:
    """One of the eight ways to lay a square: mirrored or not, then turned by quarters."""

    mirrored: bool = False
    quarters: int = 0

    def there(self, square: Tensor) -> Tensor:
        """Turn (..., N, N)."""
        square = square.flip(-1) if self.mirrored else square
        return square.rot90(self.quarters, (-2, -1))

    def back(self, square: Tensor) -> Tensor:
        """Undo `there` (..., N, N)."""
        square = square.rot90(-self.quarters, (-2, -1))
        return square.flip(-1) if self.mirrored else square


def turnings(flips: Flips) -> tuple[Turning, ...]:
    """The ways to lay an image that are as likely as the one it has, which comes first."""
    if flips == "both":
        return tuple(Turning(mirrored, quarters) for mirrored in (False, True) for quarters in range(4))
    return (Turning(), Turning(mirrored=True)) if flips == "horizontal" else (Turning(),)


@lru_cache(maxsize=64)
def _square(
    placement: Placement, channels: int, mean: tuple[float, ...], deviation: tuple[float, ...], reduced: bool
) -> Callable[..., Any]:
    """MONAI's chain for one kind and shape of image; padding is black before it is normalised.

    An image that was read reduced has a few pixels for one of the square, of which the area mean would take one more
    at each edge: it is interpolated to a multiple first.
    """
    from monai.transforms import (
        Compose,
        EnsureChannelFirst,
        NormalizeIntensity,
        RepeatChannel,
        Resize,
        SpatialPad,
    )

    multiple = (_FINER * placement.height, _FINER * placement.width)
    chain: Callable[..., Any] = Compose(
        [
            EnsureChannelFirst(channel_dim=-1 if channels == 3 else "no_channel"),
            *([Resize(multiple, mode="bilinear", align_corners=False)] if reduced else []),
            Resize((placement.height, placement.width), mode="area"),
            SpatialPad((placement.size, placement.size), method="symmetric"),
            RepeatChannel(3 // channels),
            NormalizeIntensity(subtrahend=mean, divisor=deviation, channel_wise=True),
        ]
    )
    return chain


def volume_tensor(volume: Volume, size: int) -> tuple[Tensor, VolumePlacement]:
    """Fit a volume into a cube of `size`, its shape in mm kept: (1, size, size, size) float32 in [0, 1], RAS.

    Slices are first brought to even steps; then a side that shrinks is averaged, so that nothing is skipped, and one
    that grows is interpolated.

    Args:
        volume: with affine, and not in colour.
        size: side of the cube in voxels.
    """
    from monai.transforms import Compose, Resize, SpatialPad
    from monai.utils import convert_to_tensor

    if volume.affine is None:
        raise ValueError("a volume without affine has no shape in millimetres")
    voxels, affine = _even_steps(Shown.of(volume).apply(volume.voxels), volume)
    placement = VolumePlacement.fit(voxels.shape, affine, size)
    turned = np.ascontiguousarray(placement.to_cube(voxels))[None]
    filled = tuple(placement.filled)
    less = tuple(min(pair) for pair in zip(filled, turned.shape[1:], strict=True))
    chain = Compose(
        [
            Resize(less, mode="area"),
            Resize(filled, mode="trilinear", align_corners=False),
            SpatialPad((size, size, size), method="symmetric"),
        ]
    )
    return cast("Tensor", convert_to_tensor(chain(turned), track_meta=False)), placement


def _even_steps(shown: np.ndarray, volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Slices interpolated to even steps along the normal where theirs differ by more than 1 %, and their affine."""
    at, affine = np.array(volume.offsets_mm), np.array(volume.affine)
    step = slice_step_mm(volume)
    affine[:3, 2] *= step / (float(np.linalg.norm(affine[:3, 2])) or 1.0)
    if len(at) < 3 or np.abs(np.diff(at) - step).max() <= 0.01 * step:
        return shown, affine
    wanted = at[0] + step * np.arange(round((at[-1] - at[0]) / step) + 1)
    above = np.clip(np.searchsorted(at, wanted), 1, len(at) - 1)
    reach = np.maximum(at[above] - at[above - 1], 1e-6)
    share = ((wanted - at[above - 1]) / reach).clip(0, 1).astype(np.float32)[:, None, None]
    return shown[above - 1] * (1 - share) + shown[above] * share, affine


def volume_network(name: str, state: Mapping[str, Tensor]) -> nn.Module:
    """A MONAI network for volumes of one channel, from voxels to its last feature map, with random weights.

    A ResNet is built as MONAI builds it for MedicalNet's weights (monai.networks.nets.ResNetFeatures): the first
    convolution has a stride of 2, and how blocks are shortened is seen from the weights.

    Args:
        name: resnet10 to resnet200, densenet121 to densenet264, senet154, seresnet50 to seresnext101.
        state: the weights that it is to take.

    Raises:
        ModelError: if MONAI has no such network with a feature map.
    """
    from monai.networks import nets
    from torch import nn

    build = getattr(nets, name, None)
    family = re.fullmatch(r"(resnet|densenet|senet|seresnet|seresnext)\d+", name)
    if build is None or family is None:
        raise ModelError(
            f"MONAI has no network for volumes called '{name}' that medmm can read",
            "Use a resnet, densenet, senet, seresnet or seresnext of monai.networks.nets",
        )
    if family[1] == "resnet":
        shortened = [key for key in state if ".downsample." in key]
        network = build(
            spatial_dims=3,
            n_input_channels=1,
            conv1_t_stride=2,
            feed_forward=False,
            shortcut_type="B" if shortened else "A",
            bias_downsample=any(key.endswith(".bias") and ".downsample.0." in key for key in shortened),
        )
    elif family[1] == "densenet":
        network = build(spatial_dims=3, in_channels=1, out_channels=1)
        return nn.Sequential(OrderedDict(features=network.features, relu=nn.ReLU()))
    else:
        network = build(spatial_dims=3, in_channels=1, num_classes=1)
    head = ("avgpool", "fc", "adaptive_avg_pool", "dropout", "last_linear")
    return nn.Sequential(OrderedDict((key, part) for key, part in network.named_children() if key not in head))


@dataclass(frozen=True, slots=True)
class RecordBins:
    """How record values become vectors: piecewise-linear bins for numbers, one place a category.

    The encoding is that of Gorishniy et al. 2022, "On Embeddings for Numerical Features in Tabular Deep Learning":
    entry q of a number is how far it has come through bin q, from 0 to 1.
    """

    columns: Mapping[str, RecordColumn]
    edges: Mapping[str, tuple[float, ...]]
    """For a numeric column, BINS + 1 ascending edges: quantiles of the training cases."""

    @classmethod
    def learn(cls, columns: Mapping[str, RecordColumn], records: Iterable[Mapping[str, RecordValue]]) -> RecordBins:
        """Take the edges from training records; a column without two different values gets one wide bin."""
        numbers = {name for name, column in columns.items() if not isinstance(column, CategoryColumn)}
        taken: dict[str, list[float]] = {name: [] for name in columns}
        for values in records:
            for name in numbers & values.keys():
                taken[name].append(float(values[name]))
        edges = {name: _edges(taken[name]) for name in columns if name in numbers}
        return cls(dict(columns), edges)

    @property
    def width(self) -> int:
        """Length of the vector of one column."""
        categories = (len(c.categories) for c in self.columns.values() if isinstance(c, CategoryColumn))
        return max(BINS, *categories, 0) if self.columns else BINS

    @property
    def steps(self) -> tuple[tuple[float, ...], ...]:
        """How far each bin of each numeric column reaches, in shares of all of them; nothing for a category.

        With these weights the sum over its bins is the number itself, from 0 at its lowest edge to 1 at its highest.
        """
        found = []
        for name, column in self.columns.items():
            edges = np.array(self.edges.get(name, range(BINS + 1)), dtype=np.float64)
            whole = () if isinstance(column, CategoryColumn) else np.diff(edges) / (edges[-1] - edges[0])
            found.append(tuple(float(step) for step in whole))
        return tuple(found)

    def encode(self, values: Mapping[str, RecordValue]) -> tuple[np.ndarray, np.ndarray]:
        """Record values -> ((columns, width) float32 in [0, 1], (columns,) bool True where a value was taken)."""
        vectors = np.zeros((len(self.columns), self.width), dtype=np.float32)
        taken = np.zeros(len(self.columns), dtype=bool)
        for row, (name, column) in enumerate(self.columns.items()):
            if name not in values:
                continue
            taken[row] = True
            if isinstance(column, CategoryColumn):
                vectors[row, column.categories.index(str(values[name]))] = 1
            else:
                low, high = np.array(self.edges[name][:-1]), np.array(self.edges[name][1:])
                vectors[row, :BINS] = np.clip((float(values[name]) - low) / (high - low), 0, 1)
        return vectors, taken


def _edges(values: list[float]) -> tuple[float, ...]:
    """BINS + 1 strictly ascending edges at the quantiles of `values`."""
    if len(set(values)) < 2:
        middle = values[0] if values else 0.0
        reach = max(1.0, abs(middle) * 1e-6)  # one that a float can still tell apart
        values = [middle - reach, middle + reach]
    edges = np.quantile(values, np.linspace(0, 1, BINS + 1))
    step = max((edges[-1] - edges[0]) * 1e-6, np.abs(edges).max() * 1e-12, 1e-9)
    for i in range(1, len(edges)):
        edges[i] = max(edges[i], edges[i - 1] + step)
    return tuple(float(edge) for edge in edges)
