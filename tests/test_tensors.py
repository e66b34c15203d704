"""A case becomes tensors: the square that an encoder sees, the view, the bins of a record."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from medmm.case import Image
from medmm.config import CategoryColumn, NumberColumn, RecordColumn
from medmm.tensors import BINS, RecordBins, image_tensor, view_index

MEAN, DEVIATION = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)
COLUMNS: dict[str, RecordColumn] = {
    "age": NumberColumn(unit="a"),
    "sex": CategoryColumn(categories=("female", "male", "other")),
}


def film(pixels: np.ndarray, view: str = "") -> Image:
    return Image(pixels.astype(np.float32), "0" * 64, view=view)


def bins_of(values: list[float]) -> RecordBins:
    return RecordBins.learn(COLUMNS, [{"age": value} for value in values])


def shown(square: torch.Tensor) -> np.ndarray:
    """Undo the normalisation."""
    return np.asarray(square.numpy() * np.reshape(DEVIATION, (3, 1, 1)) + np.reshape(MEAN, (3, 1, 1)))


@pytest.fixture
def no_metadata() -> Iterator[None]:
    """MONAI's global switch, as another library may have left it."""
    from monai.data import get_track_meta, set_track_meta

    before = get_track_meta()
    set_track_meta(False)
    yield
    set_track_meta(before)


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (61, 67), (1000, 1), (90, 40, 3), (1, 1)])
@pytest.mark.parametrize("size", [64, 97])
def test_an_image_of_any_shape_becomes_a_square_of_three_channels(shape: tuple[int, ...], size: int) -> None:
    square, placed = image_tensor(film(np.full(shape, 0.5)), size, MEAN, DEVIATION)

    assert square.shape == (3, size, size)
    assert square.dtype == torch.float32
    assert type(square) is torch.Tensor
    assert (placed.rows, placed.columns) == shape[:2]


def test_each_channel_is_normalised_by_its_own_mean_and_deviation() -> None:
    square, _ = image_tensor(film(np.full((40, 40), 0.75)), 64, MEAN, DEVIATION)

    for channel in range(3):
        expected = (0.75 - MEAN[channel]) / DEVIATION[channel]
        torch.testing.assert_close(square[channel], torch.full((64, 64), expected))


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (337, 211), (61, 67)])
def test_the_image_lies_where_its_placement_says_and_the_rest_is_black(shape: tuple[int, int]) -> None:
    square, placed = image_tensor(film(np.ones(shape)), 96, MEAN, DEVIATION)

    expected = np.zeros((96, 96))
    expected[placed.top : placed.top + placed.height, placed.left : placed.left + placed.width] = 1
    np.testing.assert_allclose(shown(square), np.broadcast_to(expected, (3, 96, 96)), atol=1e-6)


def test_an_image_is_neither_turned_nor_mirrored() -> None:
    pixels = np.zeros((100, 60))
    pixels[:50, :30] = 1

    square, placed = image_tensor(film(pixels), 100, MEAN, DEVIATION)

    upper_left = shown(square)[0, placed.top : placed.top + 48, placed.left : placed.left + 28]
    np.testing.assert_allclose(upper_left, 1, atol=1e-6)
    assert shown(square)[0].sum() == pytest.approx(50 * 30, rel=0.01)


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (337, 211), (401, 399)])
@pytest.mark.parametrize("spot", [(0.35, 0.6), (0.5, 0.5), (0.65, 0.4)])
def test_a_spot_seen_by_the_encoder_comes_back_to_its_own_pixels(
    shape: tuple[int, int], spot: tuple[float, float]
) -> None:
    planted = np.array([round(share * length) for share, length in zip(spot, shape, strict=True)])
    down, across = np.indices(shape)
    pixels = np.exp(-((down - planted[0]) ** 2 + (across - planted[1]) ** 2) / 2 / (0.06 * max(shape)) ** 2)

    square, placed = image_tensor(film(pixels), 320, MEAN, DEVIATION)
    cells = shown(square)[0].reshape(10, 32, 10, 32).mean(axis=(1, 3))  # an encoder that sees brightness
    heat = placed.to_original(cells.astype(np.float32))

    found = np.array([(down * heat).sum(), (across * heat).sum()]) / heat.sum()
    assert np.abs(found - planted).max() <= 0.02 * max(shape)


def test_colours_stay_in_their_channels() -> None:
    pixels = np.zeros((32, 32, 3))
    pixels[..., 1] = 1

    square, _ = image_tensor(film(pixels), 32, MEAN, DEVIATION)

    np.testing.assert_allclose(shown(square).mean(axis=(1, 2)), [0, 1, 0], atol=1e-6)


def test_making_tensors_leaves_the_image_as_it_was() -> None:
    pixels = np.random.default_rng(0).random((50, 40))
    image = film(pixels)

    image_tensor(image, 64, MEAN, DEVIATION)

    np.testing.assert_array_equal(image.pixels, pixels.astype(np.float32))


def test_a_global_switch_of_monai_changes_nothing(request: pytest.FixtureRequest) -> None:
    image = film(np.random.default_rng(1).random((70, 50)))
    before, _ = image_tensor(image, 64, MEAN, DEVIATION)

    request.getfixturevalue("no_metadata")
    after, _ = image_tensor(image, 64, MEAN, DEVIATION)

    assert torch.equal(before, after)


@pytest.mark.parametrize(
    ("view", "index"),
    [("", 0), ("PA", 1), ("AP", 1), ("pa", 1), ("LL", 2), ("RL", 2), ("LATERAL", 2), ("LAT", 2), ("RLO", 2), ("XX", 0)],
)
def test_a_film_is_frontal_lateral_or_not_stated(view: str, index: int) -> None:
    assert view_index(film(np.zeros((2, 2)), view)) == index


def test_edges_are_the_quantiles_of_the_training_values() -> None:
    bins = bins_of([float(v) for v in range(81)])

    np.testing.assert_allclose(bins.edges["age"], np.arange(0, 81, 10))


def test_a_number_fills_the_bins_below_it_and_part_of_its_own() -> None:
    bins = bins_of([float(v) for v in range(81)])

    vectors, taken = bins.encode({"age": 25.0})

    np.testing.assert_allclose(vectors[0], [1, 1, 0.5, 0, 0, 0, 0, 0], atol=1e-6)
    assert taken.tolist() == [True, False]


@pytest.mark.parametrize(("value", "expected"), [(-1e9, 0.0), (1e9, 1.0)])
def test_values_beyond_the_edges_fill_nothing_or_everything(value: float, expected: float) -> None:
    vectors, taken = bins_of([float(v) for v in range(81)]).encode({"age": value})

    np.testing.assert_array_equal(vectors[0], np.full(BINS, expected))
    assert taken[0]


def test_a_category_has_a_place_of_its_own() -> None:
    bins = bins_of([1.0, 2.0])

    encoded = [bins.encode({"sex": word})[0][1] for word in ("female", "male", "other")]

    np.testing.assert_array_equal(encoded, np.eye(3, BINS))


def test_a_value_that_was_not_taken_is_not_zero_but_missing() -> None:
    vectors, taken = bins_of([0.0, 10.0]).encode({})

    assert not taken.any()
    assert not vectors.any()


def test_a_number_of_zero_is_taken() -> None:
    _, taken = bins_of([0.0, 10.0]).encode({"age": 0.0})

    assert taken[0]


@pytest.mark.parametrize("value", [0.0, 5.0, -3.5, 1e12, 1e17, -1e300])
def test_a_column_with_one_value_gives_finite_numbers(value: float) -> None:
    bins = bins_of([value] * 4)

    for asked in (value, value + 1, -value, 0.0):
        vectors, _ = bins.encode({"age": asked})

        assert np.isfinite(vectors).all()
        assert ((vectors >= 0) & (vectors <= 1)).all()


def test_a_column_that_no_training_case_has_gives_finite_numbers() -> None:
    vectors, _ = RecordBins.learn(COLUMNS, []).encode({"age": 44.0})

    assert np.isfinite(vectors).all()


def test_edges_rise_even_where_most_values_are_the_same() -> None:
    bins = bins_of([0.0] * 99 + [3.0])

    assert (np.diff(bins.edges["age"]) > 0).all()
    assert bins.encode({"age": 0.0})[0][0].sum() == 0
    assert bins.encode({"age": 3.0})[0][0].sum() == pytest.approx(BINS)


def test_the_steps_of_its_bins_bring_a_number_back() -> None:
    bins = bins_of([0.0, 1.0, 2.0, 4.0, 50.0, 90.0])

    steps, of_category = bins.steps
    for age in (0.0, 3.0, 45.0, 90.0):
        assert float(bins.encode({"age": age})[0][0, :BINS] @ np.array(steps)) == pytest.approx(age / 90, abs=1e-4)
    assert of_category == ()


def test_a_whole_number_is_learnt_from_like_any_other() -> None:
    whole = RecordBins.learn(COLUMNS, [{"age": value} for value in (10, 20, 30)])

    assert whole == bins_of([10.0, 20.0, 30.0])


def test_more_categories_than_bins_widen_every_vector() -> None:
    many = CategoryColumn(categories=tuple(f"ward {i}" for i in range(BINS + 4)))
    bins = RecordBins.learn({"ward": many, "age": NumberColumn(unit="a")}, [])

    vectors, _ = bins.encode({"ward": f"ward {BINS + 3}", "age": 1e9})

    assert vectors.shape == (2, BINS + 4)
    assert vectors[0].argmax() == BINS + 3
    assert vectors[1].sum() == BINS


def test_a_cohort_without_a_record_has_an_empty_one() -> None:
    vectors, taken = RecordBins.learn({}, []).encode({})

    assert vectors.shape == (0, BINS)
    assert taken.shape == (0,)
