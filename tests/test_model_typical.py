"""The typical picture is a mean of the training cases' pictures, by view, and shows nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medmm.config import Flips
from medmm.model.typical import Typical


def seen(view: int, count: int, value: float) -> list[tuple[int, torch.Tensor]]:
    return [(view, torch.full((2, 4, 4), value + number)) for number in range(count)]


def test_a_view_with_enough_pictures_has_a_mean_of_its_own() -> None:
    typical = Typical.of([*seen(1, 11, 0), *seen(2, 11, 100)])

    assert typical is not None
    assert torch.equal(typical.maps[1], torch.full((2, 4, 4), 5.0))
    assert torch.equal(typical.maps[2], torch.full((2, 4, 4), 105.0))


def test_a_view_with_few_pictures_is_taken_for_one_of_all() -> None:
    typical = Typical.of([*seen(1, 18, 0), *seen(2, 2, 100)])

    assert typical is not None
    assert torch.equal(typical.maps[2], typical.maps[0])
    assert float(typical.maps[2, 0, 0, 0]) == pytest.approx((sum(range(18)) + 201) / 20)


def test_of_no_picture_nothing_is_typical() -> None:
    assert Typical.of([]) is None


def test_it_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    typical = Typical.of(seen(0, 12, 0))
    assert typical is not None

    typical.save(tmp_path / "typical.safetensors")

    assert torch.equal(Typical.load(tmp_path / "typical.safetensors").maps, typical.maps)


@pytest.mark.parametrize(("flips", "turnings"), [("none", 1), ("horizontal", 2), ("both", 8)])
def test_where_a_picture_may_be_turned_the_typical_one_looks_the_same_any_way_round(
    flips: Flips, turnings: int
) -> None:
    drawn = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0))
    typical = Typical.of([(0, drawn)])
    assert typical is not None

    laid = typical.laid(0, flips)

    assert laid.shape == (turnings, 2, 4, 4)
    if flips == "none":
        assert torch.equal(laid[0], drawn)
    else:
        torch.testing.assert_close(laid[0].flip(-1), laid[0])
        assert all(torch.equal(one, laid[0]) for one in laid)
    if flips == "both":
        torch.testing.assert_close(laid[0].rot90(1, (-2, -1)), laid[0])
