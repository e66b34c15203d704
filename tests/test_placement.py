"""Where an image lies in the encoder's square, and the way back: what a heat map is drawn with."""

import numpy as np
import pytest

from medmm.placement import Placement

SHAPES = [(300, 200), (200, 300), (256, 256), (337, 211), (95, 401), (61, 67)]
"""Portrait, landscape, square, odd, wide, and smaller than the square."""


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
@pytest.mark.parametrize("size", [224, 225, 320])
def test_an_image_keeps_its_shape_in_the_square(rows: int, columns: int, size: int) -> None:
    placed = Placement.fit(rows, columns, size)

    assert max(placed.height, placed.width) == size
    assert placed.height / placed.width == pytest.approx(rows / columns, rel=0.02)


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_an_image_lies_in_the_middle_of_the_square(rows: int, columns: int) -> None:
    placed = Placement.fit(rows, columns, 224)

    below, right = 224 - placed.top - placed.height, 224 - placed.left - placed.width
    assert 0 <= placed.top <= below <= placed.top + 1
    assert 0 <= placed.left <= right <= placed.left + 1


def test_cells_on_the_padding_are_not_covered() -> None:
    covered = Placement.fit(100, 200, 224).covered((7, 7)).reshape(7, 7)

    # The image fills rows 56 to 168 of the square, and cells are 32 high: all of rows 2 to 4, a quarter of 1 and 5.
    assert covered[2:5].all()
    assert not covered[[0, 1, 5, 6]].any()


def test_every_cell_of_a_square_image_is_covered() -> None:
    assert Placement.fit(500, 500, 224).covered((7, 7)).all()


@pytest.mark.parametrize(("rows", "columns"), [(1000, 20), (20, 1000), (1000, 1), (1, 1)])
@pytest.mark.parametrize("grid", [(7, 7), (10, 10)])
def test_even_the_narrowest_image_is_looked_at_from_end_to_end(rows: int, columns: int, grid: tuple[int, int]) -> None:
    covered = Placement.fit(rows, columns, 32 * grid[0]).covered(grid).reshape(grid)

    along = covered.any(axis=1) if rows >= columns else covered.any(axis=0)
    assert along.all()


def test_cell_centres_run_from_edge_to_edge_of_the_image() -> None:
    placed = Placement.fit(300, 300, 320)

    centres = placed.cell_centres((10, 10)).reshape(10, 10, 2)

    np.testing.assert_allclose(centres[:, 0, 0], np.arange(0.05, 1, 0.1), atol=1e-6)
    np.testing.assert_allclose(centres[0, :, 1], np.arange(0.05, 1, 0.1), atol=1e-6)


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
@pytest.mark.parametrize("grid", [7, 10, 14])
@pytest.mark.parametrize("axis", [0, 1])
def test_what_is_known_of_a_place_comes_back_to_that_place(rows: int, columns: int, grid: int, axis: int) -> None:
    placed = Placement.fit(rows, columns, 32 * grid)
    where = placed.cell_centres((grid, grid))[:, axis]  # each cell says where it lies, from 0 to 1

    heat = placed.to_original(where.reshape(grid, grid))

    own = (np.arange(heat.shape[axis]) + 0.5) / heat.shape[axis]
    found = heat.mean(axis=1 - axis)
    inner = (own > where.min()) & (own < where.max())  # outside the outermost centres the edge is repeated
    assert inner.mean() > 0.7
    assert np.abs(found - own)[inner].max() <= 0.02


def test_a_map_has_the_shape_of_the_original() -> None:
    heat = Placement.fit(337, 211, 224).to_original(np.ones((7, 7), dtype=np.float32))

    assert heat.shape == (337, 211)
    assert heat.dtype == np.float32
    np.testing.assert_allclose(heat, 1, atol=1e-6)


def test_where_the_model_did_not_look_stays_unknown() -> None:
    cells = np.ones((7, 7), dtype=np.float32)
    cells[3, 3] = np.nan

    heat = Placement.fit(224, 224, 224).to_original(cells)

    assert np.isnan(heat[100:124, 100:124]).all()
    assert np.isfinite(heat[:94]).all()
    assert np.isnan(heat).sum() == pytest.approx(32 * 32, rel=0.1)


def test_an_unknown_cell_does_not_dim_its_neighbours() -> None:
    cells = np.full((7, 7), 5, dtype=np.float32)
    cells[0] = np.nan

    heat = Placement.fit(224, 224, 224).to_original(cells)

    np.testing.assert_allclose(heat[np.isfinite(heat)], 5, atol=1e-5)


def test_a_map_of_nothing_known_is_nothing_known() -> None:
    heat = Placement.fit(20, 30, 224).to_original(np.full((7, 7), np.nan, dtype=np.float32))

    assert np.isnan(heat).all()
