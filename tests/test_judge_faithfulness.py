"""The measures that overlays are held to, worked out by hand and beside references."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from medmm.judge.faithfulness import area_under, correlation, highest, mass_inside, peak, points_at

MASK = np.zeros((10, 20), dtype=bool)
MASK[2:4, 5:9] = True


def spot(row: int, column: int) -> np.ndarray:
    heat = np.full((10, 20), 0.1)
    heat[row, column] = 1.0
    return heat


@pytest.mark.parametrize(
    ("row", "column", "tolerance", "hit"),
    [(2, 5, 0, True), (3, 8, 0, True), (4, 8, 0, False), (4, 8, 0.05, True), (3, 10, 0.05, False), (3, 10, 0.1, True)],
)
def test_the_highest_pixel_hits_the_lesion_or_comes_as_near_as_is_allowed(
    row: int, column: int, tolerance: float, hit: bool
) -> None:
    assert points_at(spot(row, column), MASK, tolerance) is hit


def test_what_the_map_does_not_say_is_never_its_peak() -> None:
    heat = spot(2, 5)
    heat[7, 7] = np.nan

    assert peak(heat) == (2, 5)


def test_a_map_that_says_nothing_and_a_mask_of_another_picture_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing anywhere"):
        peak(np.full((3, 3), np.nan))
    with pytest.raises(ValueError, match="not of one picture"):
        points_at(spot(0, 0), MASK.T)


def test_mass_is_measured_in_chances() -> None:
    even = np.ones((10, 20))
    inside = np.where(MASK, 1.0, -5.0)

    assert mass_inside(even, MASK) == pytest.approx(1)
    assert mass_inside(inside, MASK) == pytest.approx(1 / MASK.mean())
    assert mass_inside(-even, MASK) == 0


def test_the_highest_share_of_pixels_comes_first_and_those_without_a_value_last() -> None:
    heat = np.arange(20, dtype=float).reshape(4, 5)
    heat[3, 4] = np.nan

    assert np.flatnonzero(highest(heat, 0.1)).tolist() == [17, 18]
    assert highest(heat, 1.0).all()
    assert not highest(heat, 0.95)[3, 4]
    assert not highest(heat, 0.0).any()


def test_the_height_of_a_curve_is_its_mean() -> None:
    assert area_under([0, 0.5, 1], [0, 1, 0]) == pytest.approx(0.5)
    assert area_under([0, 0.1, 0.5], [2, 2, 2]) == pytest.approx(2)


def test_rank_correlation_is_spearman_s_where_both_maps_speak() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(6, 7)), rng.normal(size=(6, 7))
    expected = spearmanr(first[first < 5].ravel()[1:], second.ravel()[1:]).statistic
    first[0, 0] = np.nan

    assert correlation(first, second) == pytest.approx(expected)
    assert correlation(first, np.ones((6, 7))) == 0
