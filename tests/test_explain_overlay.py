"""Overlays point at what the answer rests on, in the pixels of the original, whatever was done to fit it in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medmm.case import Case, Image, Study, Volume
from medmm.config import RunConfig
from medmm.explain.explanation import explain
from medmm.explain.gradient import gradient_maps
from medmm.explain.hiding import Questions
from medmm.explain.overlay import ATTENTION, GRADIENT, METHODS, PATCHES, RELEVANCE, WINDOWS, overlays
from medmm.judge.faithfulness import peak
from medmm.model.batch import Batch, Features
from medmm.model.folder import Model
from medmm.model.fusion import Network
from medmm.model.typical import Typical
from medmm.read.dicom.study import read_study
from tests.dicom_files import write
from tests.models import random_model

SHAPES = [(640, 640), (480, 640), (700, 300), (97, 331), (2048, 1600)]
"""Square, landscape, portrait, narrow and small, large."""


class Reader(nn.Module):
    """A network that answers how much of one direction of the patches' features there is: the same for every label."""

    body = None

    def __init__(self, direction: Tensor, labels: int) -> None:
        super().__init__()
        self.direction, self.labels = direction, labels
        self.keep = [True, True, True]

    def forward(self, batch: Batch) -> Tensor:
        seen = ((batch.image @ self.direction) * batch.image_mask).sum(dim=1)
        return seen[:, None].expand(-1, self.labels).double()


def film(shape: tuple[int, int], spot: tuple[float, float] | None = None, radius: float = 0.04, seed: int = 0) -> Image:
    """A dull picture, with a bright round spot at this share of its height and width."""
    rows, columns = shape
    pixels = np.random.default_rng(seed).normal(0.3, 0.02, size=shape).astype(np.float32)
    if spot is not None:
        y, x = np.mgrid[:rows, :columns]
        near = np.hypot(y - spot[0] * rows, x - spot[1] * columns) < radius * max(shape)
        pixels[near] = 0.95
    return Image(pixels=np.clip(pixels, 0, 1), digest=f"{shape}{spot}{seed}", modality="DX", view="PA")


@pytest.fixture(scope="module")
def plain() -> Model:
    return random_model(RunConfig())


@pytest.fixture(scope="module")
def typical(plain: Model) -> Model:
    """A model that has seen dull films."""
    encoder = plain.encoders.image
    seen = [(1, encoder.views(film((300, 300), seed=seed), 0, "none")[0]) for seed in range(12)]
    return replace(plain, typical=Typical.of(seen))


@pytest.fixture(scope="module")
def spotter(plain: Model) -> Model:
    """A model that reads, from real features, what a bright spot adds to a dull picture."""
    spots = [(0.3, 0.3), (0.5, 0.6), (0.7, 0.4), (0.4, 0.7)]
    encoder = plain.encoders.image
    with_spot = torch.cat([encoder.encode(film((640, 640), spot)).tokens.float() for spot in spots])
    dull = encoder.encode(film((640, 640))).tokens.float().repeat(len(spots), 1)
    added = (with_spot - dull).relu().mean(dim=0)
    return replace(plain, network=cast("Network", Reader(added / added.norm(), len(plain.labels))))


def encoded(model: Model, *images: Image) -> Features:
    return model.encode(Case("c1", "p1", Study(images)), keep_trunks=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spot", [(0.25, 0.3), (0.6, 0.7)])
def test_a_lesion_at_known_pixels_is_pointed_at_within_a_fiftieth_of_the_picture(
    spotter: Model, shape: tuple[int, int], spot: tuple[float, float]
) -> None:
    case = encoded(spotter, film(shape, spot))

    row, column = peak(overlays(Questions(spotter, case))[0][0].heatmap())

    within = 0.04 * max(shape) + 0.02 * max(shape)  # anywhere on the lesion, and a fiftieth beyond
    assert np.hypot(row - spot[0] * shape[0], column - spot[1] * shape[1]) <= within


@pytest.mark.parametrize("elements", [{}, {"PhotometricInterpretation": "MONOCHROME1"}, {"PixelAspectRatio": [2, 1]}])
def test_a_lesion_in_a_file_is_pointed_at_in_the_film_that_is_shown(
    spotter: Model, tmp_path: Path, elements: dict[str, Any]
) -> None:
    """Inverted or with pixels that are not square, the map lies on the film as a person sees it."""
    shape, spot = (400, 500), (0.3, 0.65)
    stored = np.round(4000 * film(shape, spot).pixels).astype(np.uint16)
    if "PhotometricInterpretation" in elements:
        stored = 4000 - stored
    study = read_study(write(tmp_path / "film.dcm", stored, WindowCenter=2000, WindowWidth=4000, **elements), "c1")
    (shown,) = study.images

    row, column = peak(
        overlays(Questions(spotter, spotter.encode(Case("c1", "p1", study), keep_trunks=True)))[0][0].heatmap()
    )

    rows, columns = shown.pixels.shape[:2]
    stretch = rows / shape[0]
    away = ((row - spot[0] * rows) / stretch, column - spot[1] * columns)
    assert shown.pixels[row, column] > 0.8
    assert np.hypot(*away) <= 0.06 * max(shape)


def test_a_lesion_in_a_volume_is_pointed_at_on_its_own_slice(spotter: Model) -> None:
    """Eight slices go through the image encoder; one of them has the spot."""
    dull = np.stack([film((240, 240), seed=slice_number).pixels for slice_number in range(8)])
    dull[5] = film((240, 240), (0.6, 0.35), seed=5).pixels
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    offsets = tuple(5.0 * n for n in range(8))
    volume = Volume(dull, "v" * 64, affine, offsets, window=(0.5, 1.0), modality="MR")
    case = spotter.encode(Case("c1", "p1", Study((), volumes=(volume,))), keep_trunks=True)

    found = overlays(Questions(spotter, case))[0]

    tops = [float(np.nanmax(one.cells)) for one in found]
    picture = int(np.argmax(tops))
    assert case.layout.pictures[picture].picture.index == 5
    row, column = peak(found[picture].heatmap())
    assert np.hypot(row - 0.6 * 240, column - 0.35 * 240) <= 0.06 * 240


def test_the_cells_of_a_map_sum_to_what_the_picture_has_beyond_the_typical_one(typical: Model) -> None:
    case = encoded(typical, film((300, 300), (0.4, 0.4)))
    (trunk,) = case.trunks
    assert trunk is not None
    assert typical.typical is not None

    def answer(maps: Tensor) -> Tensor:
        with torch.inference_mode():
            top = typical.encoders.image.top(replace(trunk, maps=maps))[0].flatten(1).T
            return typical.log_odds([replace(case, image=top[list(case.layout.images[0].cells)])])[0]

    summed = gradient_maps(Questions(typical, case), steps=64)[0].sum(dim=(1, 2)).double()

    beyond = answer(trunk.maps) - answer(typical.typical.laid(1, "none"))
    # The largest patch of a channel changes on the way, and a sum over steps sees a bend only between two of them.
    torch.testing.assert_close(summed, beyond, rtol=0.15, atol=0.05)


def test_a_typical_picture_owes_nothing_to_any_place(typical: Model) -> None:
    case = encoded(typical, film((300, 300)))
    (trunk,) = case.trunks
    assert trunk is not None
    alike = replace(typical, typical=Typical(trunk.maps.repeat(3, 1, 1, 1)))

    assert all(bool((one == 0).all()) for one in gradient_maps(Questions(alike, case)))


def test_each_label_and_each_picture_has_its_own_map(plain: Model) -> None:
    case = encoded(plain, film((300, 300), (0.3, 0.3)), film((300, 200), (0.7, 0.6), seed=1))

    found = overlays(Questions(plain, case))

    assert len(found) == len(plain.labels)
    assert [one.heatmap().shape for one in found[0]] == [(300, 300), (300, 200)]
    assert not np.allclose(found[0][0].cells, found[1][0].cells, equal_nan=True)


def test_the_same_case_has_the_same_map_twice(plain: Model) -> None:
    image = film((300, 200), (0.3, 0.3))

    first, again = (overlays(Questions(plain, encoded(plain, image)))[0][0].cells for _ in range(2))

    np.testing.assert_array_equal(first, again)


def test_a_photograph_that_has_no_up_is_mapped_in_place_whichever_way_it_lies(spotter: Model) -> None:
    """A colour photograph is read in eight turnings; the map lies where the spot is, and turns with the picture."""
    grey = film((320, 320), (0.25, 0.3)).pixels
    upright = Image(pixels=np.repeat(grey[..., None], 3, axis=2), digest="u", modality="XC")
    turned = Image(pixels=np.rot90(upright.pixels).copy(), digest="t", modality="XC")

    first, other = (overlays(Questions(spotter, encoded(spotter, one)))[0][0].cells for one in (upright, turned))

    np.testing.assert_allclose(np.rot90(first), other, atol=0.05 * float(np.abs(first).max()))


def test_the_padding_beside_a_narrow_film_has_no_colour(plain: Model) -> None:
    for method in (GRADIENT, PATCHES, ATTENTION, RELEVANCE):
        cells = overlays(Questions(plain, encoded(plain, film((300, 100)))), method)[0][0].cells
        columns = np.isfinite(cells).all(axis=0)
        assert 0 < columns.sum() <= np.ceil(len(columns) / 3) + 1


def test_hidden_windows_find_the_spot_by_asking_again(spotter: Model) -> None:
    image = film((320, 240), (0.3, 0.3), radius=0.08)
    case = encoded(spotter, image)

    row, column = peak(overlays(Questions(spotter, case), WINDOWS, (image,))[0][0].heatmap())

    assert np.hypot(row - 0.3 * 320, column - 0.3 * 240) < 0.16 * 320


def test_hidden_windows_of_a_picture_that_was_read_at_half_its_resolution_lie_where_they_do_in_the_whole(
    spotter: Model,
) -> None:
    whole = film((320, 240), (0.6, 0.7), radius=0.08)
    half = replace(whole, pixels=np.ascontiguousarray(whole.pixels[::2, ::2]))

    row, column = peak(overlays(Questions(spotter, encoded(spotter, half)), WINDOWS, (half,))[0][0].heatmap())

    assert half.grid == (320, 240)
    assert np.hypot(row - 0.6 * 320, column - 0.7 * 240) < 0.16 * 320


def test_every_method_has_a_name_that_says_what_it_is() -> None:
    assert set(METHODS) == {GRADIENT, PATCHES, WINDOWS, RELEVANCE, ATTENTION}
    assert METHODS["attention"] is METHODS[ATTENTION]


def test_without_its_trunk_a_case_has_no_gradient_weighted_map(plain: Model) -> None:
    case = plain.encode(Case("c1", "p1", Study((film((300, 300)),))))

    with pytest.raises(ValueError, match="trunk"):
        overlays(Questions(plain, case), GRADIENT)


def test_asking_for_a_map_leaves_no_trace_in_the_model(plain: Model) -> None:
    case = encoded(plain, film((300, 300), (0.4, 0.4)))
    before = plain.log_odds([case])

    overlays(Questions(plain, case))

    assert torch.equal(plain.log_odds([case]), before)
    assert all(p.grad is None for p in [*plain.network.parameters(), *plain.encoders.image.parameters()])


def test_what_nobody_looks_at_closely_has_a_coarser_map_that_says_so(plain: Model) -> None:
    case = encoded(plain, film((300, 300), (0.4, 0.4)))

    first, *others = explain(plain, case, "", closely=plain.labels[:1])

    assert (first.method, {one.method for one in others}) == (GRADIENT, {PATCHES})
    assert first.overlays[0].cells.size > others[0].overlays[0].cells.size
    np.testing.assert_array_equal(first.overlays[0].cells, explain(plain, case, "")[0].overlays[0].cells)
