"""The image encoder taught on images that nobody labelled: SimCLR.

Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations": two views of one image are
to be alike, and unlike the views of all others. Here only the encoder's tail learns, its batch norm keeps the
statistics that it came with, and images of one patient are not told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medmm.case import Image, Study
from medmm.learn.course import Course, Listener, Material, claim, digest_of, pursue
from medmm.learn.fit import Epoch
from medmm.model.image_encoder import ImageEncoder
from medmm.model.image_networks import write_image_folder
from medmm.slices import slice_images, spread_slices
from medmm.tensors import image_tensor

METHOD = "SimCLR (Chen et al. 2020)"
PROJECTED = 128
"""Width in which examples are compared."""
TEMPERATURE = 0.1
_PHOTOGRAPHS = frozenset({"XC", "ES", "GM", "OT"})
"""Modality (0008,0060) of pictures that may be mirrored if they are in colour: on a radiograph left is not right."""
_MOVED = {"degrees": 10.0, "translate": (0.1, 0.1), "scale": (1.0, 1.5)}
"""A view is turned by at most 10 degrees, and shows 44 % of the square or more."""


@dataclass(frozen=True, slots=True, eq=False)
class Square:
    """One picture as the encoder sees it, small enough to keep thousands."""

    owner: str
    """The patient; never written."""
    pixels: Tensor
    """(1, S, S), or (3, S, S) in colour; uint8."""
    mirrored: bool
    """Whether a view may be mirrored left to right."""


def squares_of(study: Study, owner: str, size: int, slices: int) -> Iterator[Square]:
    """The films of a study and at most `slices` slices of each volume, each in a square of `size` pixels."""
    for image in study.images:
        yield _square(image, owner, size)
    for volume in study.volumes:
        for image in slice_images(volume, spread_slices(volume, slices)):
            yield Square(owner, _square(image, owner, size).pixels, mirrored=False)


def _square(image: Image, owner: str, size: int) -> Square:
    colour = image.pixels.ndim == 3
    square, _ = image_tensor(image, size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    pixels = (square[: 3 if colour else 1].clamp(0, 1) * 255).round().to(torch.uint8)
    return Square(owner, pixels, mirrored=colour and image.modality in _PHOTOGRAPHS)


def pretrain_images(
    encoder: ImageEncoder, squares: Sequence[Square], course: Course, out: Path, listener: Listener
) -> tuple[Epoch, ...]:
    """Teach the encoder's tail, and leave a folder that `[encoders] image` takes.

    Args:
        encoder: changed in place.
        squares: of the encoder's size, of two patients at least.
        course: how long and how hard.
        out: for weights.safetensors, encoder.json, run.json and the state of the course.
        listener: told of progress.

    Raises:
        CohortError: if all squares are of one patient.
        ConfigError: if `out` holds another pretraining.
    """
    made_from, material = encoder.digest, _material(squares)
    claim(out, METHOD, (made_from, encoder.size), course, material)
    torch.manual_seed(course.seed)
    epochs = pursue(SimCLR(encoder), material, course, out / "work", listener)
    write_image_folder(out, encoder, METHOD, made_from, len(squares))
    return epochs


def _material(squares: Sequence[Square]) -> Material:
    vary, owners = views(), tuple(square.owner for square in squares)
    numbers = np.unique(owners, return_inverse=True)[1]

    def batch(which: Sequence[int]) -> dict[str, Tensor]:
        both = [torch.stack([vary(squares[i]) for i in which]) for _ in range(2)]
        return {"views": torch.cat(both), "owners": torch.from_numpy(numbers[list(which)])}

    content = (part for square in squares for part in (square.pixels.numpy().tobytes(), square.mirrored))
    return Material(owners, batch, digest_of(numbers.tolist(), *content))


def views() -> Callable[[Square], Tensor]:
    """What makes a view of a square, (3, S, S) uint8: moved, turned, cut, brighter or darker, by torch's generator."""
    from torchvision.transforms import v2

    bilinear = v2.InterpolationMode.BILINEAR
    vary = v2.Compose([v2.RandomAffine(**_MOVED, interpolation=bilinear), v2.ColorJitter(brightness=0.3, contrast=0.3)])
    mirror = v2.RandomHorizontalFlip()

    def view(square: Square) -> Tensor:
        made: Tensor = vary(mirror(square.pixels) if square.mirrored else square.pixels)
        return made.expand(3, -1, -1)

    return view


class ImageTower(nn.Module):
    """An image encoder whose tail may learn, and what it makes of a picture as a whole."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.trunk, self.tail = encoder.trunk, encoder.own_tail().requires_grad_(True)
        self.register_buffer("mean", torch.tensor(encoder.mean)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(encoder.deviation)[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) uint8 -> the mean patch (B, C)."""
        normal = (pixels.float() / 255 - self.mean) / self.deviation
        features: Tensor = self.tail(self.trunk(normal.contiguous(memory_format=torch.channels_last)))
        return features.float().mean(dim=(2, 3))

    def train(self, mode: bool = True) -> ImageTower:
        """Learning changes weights only: batch norm keeps its statistics, which a few pictures would spoil."""
        return super().train(False)


class SimCLR(nn.Module):
    """The loss of SimCLR, with a projection that is thrown away afterwards."""

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.tower, self.project = ImageTower(encoder), projection(encoder.width)

    def forward(self, views: Tensor, owners: Tensor) -> Tensor:
        """Views (2B, 3, S, S) uint8, the second ones behind the first; owners (B,) -> the mean loss."""
        said = functional.normalize(self.project(self.tower(views)), dim=1)
        count = len(owners)
        answer = torch.arange(2 * count, device=said.device).roll(count)
        alike = owners.repeat(2)[:, None] == owners.repeat(2)
        return contrast(said @ said.T, answer, alike)


def projection(width: int) -> nn.Module:
    """Two layers to the space in which examples are compared."""
    return nn.Sequential(nn.Linear(width, 512), nn.ReLU(), nn.Linear(512, PROJECTED))


def contrast(similarity: Tensor, answer: Tensor, alike: Tensor) -> Tensor:
    """Cross-entropy of finding one's counterpart among all that are not alike (InfoNCE; van den Oord et al. 2018).

    Args:
        similarity: (A, B) cosines.
        answer: (A,) column of each row's counterpart.
        alike: (A, B) bool, columns that are no wrong answers to a row, itself among them; they are not compared.
    """
    kept = alike.scatter(1, answer[:, None], False)
    return functional.cross_entropy((similarity / TEMPERATURE).masked_fill(kept, -torch.inf), answer)
