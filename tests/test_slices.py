"""A study as pictures: which slices are shown, and how."""

import numpy as np
import pytest

from medmm.case import Image, Study, Volume
from medmm.slices import Picture, depths, nearest_slice, part_of, pictures_of, slice_images, spread_slices
from tests.volumes import AIR, BALL, ball, cine


def slice_image(volume: Volume, index: int) -> Image:
    (image,) = slice_images(volume, [index])
    return image


def test_a_slice_is_shown_in_the_window_of_its_file() -> None:
    volume = ball(window=(0.5, 2001.0))  # LINEAR: black at -1000, white at 1000

    shown = slice_image(volume, 12).pixels

    np.testing.assert_allclose(shown, (volume.voxels[12] + 1000) / 2000, atol=1e-6)


@pytest.mark.parametrize(("voxels", "expected"), [(-160.0, 0.0), (40.0, 0.5), (240.0, 1.0)])
def test_ct_without_a_window_is_shown_for_soft_tissue_and_says_so(voxels: float, expected: float) -> None:
    volume = Volume(np.full((3, 4, 4), voxels, np.float32), "0" * 64, np.eye(4), (0, 1, 2), modality="CT")

    image = slice_image(volume, 1)

    np.testing.assert_allclose(image.pixels, expected, atol=0.002)
    assert image.remarks == ("slice 2 of 3", "no window stated: 40/400")


def test_other_volumes_without_a_window_are_shown_without_their_outliers() -> None:
    voxels = np.linspace(0, 1000, 10_000, dtype=np.float32).reshape(4, 50, 50).copy()
    voxels[0, 0, 0] = -1e9
    volume = Volume(voxels, "0" * 64, np.eye(4), (0, 1, 2, 3), modality="MR")

    image = slice_image(volume, 2)

    np.testing.assert_allclose(image.pixels, (voxels[2] - 5) / 990, atol=0.002)
    assert image.remarks[1] == "no window stated: 0.5 to 99.5 percentile of the volume"


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_volume_of_one_value_is_shown_and_finite(value: float) -> None:
    volume = Volume(np.full((2, 3, 3), value, np.float32), "0" * 64, modality="MR")

    assert np.isfinite(slice_image(volume, 0).pixels).all()


def test_a_window_of_a_width_below_one_is_not_turned_round() -> None:
    voxels = np.linspace(0, 1, 27, dtype=np.float32).reshape(3, 3, 3)

    image = slice_image(Volume(voxels, "0" * 64, window=(0.5, 0.5), modality="MR"), 1)

    np.testing.assert_allclose(image.pixels, np.clip((voxels[1] - 0.25) / 0.5, 0, 1), atol=1e-6)


def test_low_values_are_white_where_the_file_says_so() -> None:
    straight, inverted = ball(), ball(inverted=True)

    np.testing.assert_allclose(slice_image(inverted, 3).pixels, 1 - slice_image(straight, 3).pixels, atol=1e-6)


def test_a_colour_cine_is_shown_as_it_is() -> None:
    film = cine(colour=True)

    image = slice_image(film, 4)

    np.testing.assert_array_equal(image.pixels, film.voxels[4])
    assert image.remarks == ("frame 5 of 6",)
    assert image.spacing_mm is None


def test_a_slice_knows_the_distance_of_its_rows_and_columns() -> None:
    assert slice_image(ball(spacing_mm=(0.7, 0.9)), 0).spacing_mm == pytest.approx((0.7, 0.9))


def test_every_slice_and_every_window_has_a_name_of_its_own() -> None:
    volumes = [ball(), ball(window=(0.0, 100.0)), ball(inverted=True), ball(radius_mm=10)]

    names = {slice_image(volume, index).digest for volume in volumes for index in range(24)}

    assert len(names) == 4 * 24
    assert all(len(name) == 64 and int(name, 16) >= 0 for name in names)
    assert slice_image(ball(), 7).digest == slice_image(ball(), 7).digest


@pytest.mark.parametrize(
    ("most", "expected"), [(1, (5,)), (2, (2, 7)), (5, (0, 2, 4, 6, 8)), (10, tuple(range(10))), (16, tuple(range(10)))]
)
def test_slices_are_spread_over_the_whole(most: int, expected: tuple[int, ...]) -> None:
    chosen = spread_slices(ball(offsets_mm=range(10)), most)

    assert len(chosen) == len(expected)
    assert np.abs(np.array(chosen) - expected).max() <= 1  # a middle between two slices may take either
    assert sorted(set(chosen)) == list(chosen)


def test_slices_are_spread_by_millimetres_and_not_by_number() -> None:
    volume = ball(offsets_mm=[*range(10), *range(10, 100, 10)])  # nine tenths of the length in half of the slices

    chosen = np.array(volume.offsets_mm)[list(spread_slices(volume, 5))]

    assert np.abs(chosen - [9, 27, 45, 63, 81]).max() <= 5.5


def test_frames_are_spread_by_number() -> None:
    assert spread_slices(cine(frames=9), 3) == (1, 4, 7)


def test_depth_goes_from_face_to_face() -> None:
    np.testing.assert_allclose(depths(ball(offsets_mm=(0, 5, 10, 15))), [1 / 8, 3 / 8, 5 / 8, 7 / 8])
    np.testing.assert_allclose(depths(ball(offsets_mm=(0, 5, 10, 25))), [1 / 12, 3 / 12, 5 / 12, 11 / 12])
    np.testing.assert_allclose(depths(cine(frames=2)), [0.25, 0.75])
    np.testing.assert_allclose(depths(ball(offsets_mm=(0,))), [0.5])


@pytest.mark.parametrize(("share", "index"), [(0, 0), (0.49, 1), (0.51, 2), (0.7, 2), (1, 3)])
def test_the_slice_nearest_to_a_share_of_the_length_is_found(share: float, index: int) -> None:
    assert nearest_slice(ball(offsets_mm=(0, 5, 10, 15)), share) == index


def test_pictures_come_in_the_order_in_which_they_are_asked_for() -> None:
    film = Image(np.full((4, 5), 0.25, np.float32), "f" * 64)
    study = Study((film,), volumes=(ball(), cine()))
    wanted = [Picture(0), Picture(3, 0), Picture(9, 0), Picture(1, 1)]

    images = list(pictures_of(study, wanted))

    assert images[0] is film
    assert [image.digest for image in images[1:3]] == [slice_image(study.volumes[0], i).digest for i in (3, 9)]
    assert [part_of(study, one) for one in wanted] == ["", "slice 4 of 24", "slice 10 of 24", "frame 2 of 6"]
    assert {AIR, BALL} == set(np.unique(study.volumes[0].voxels).tolist())
