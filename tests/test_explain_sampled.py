"""Shares of single pictures and values: they sum to what their modality brought, with the others held in place."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medmm.explain.hiding import Questions
from medmm.explain.sampled import picture_shares, record_shares
from medmm.model.batch import PLACE, PRIOR, Batch, Features, ImageLayout, Layout
from medmm.model.folder import Model
from medmm.placement import Placement
from medmm.slices import Picture
from tests.models import LABELS, fusion, model_without_encoders, random_case, random_network


def films(count: int, prior: int = 0) -> Features:
    """A case of several films of two patches each; the last ones are of a prior study."""
    case = random_case(4, patches=2 * count, prior=2 * prior)
    placed = Placement.fit(10, 20, 20)
    layouts = [ImageLayout((0, 1), (1, 2), placed, Picture(number)) for number in range(count)]
    layout = Layout(tuple(layouts[: count - prior]), prior=tuple(layouts[count - prior :]))
    return replace(case, layout=layout)


class Pair(nn.Module):
    """A model that answers 6 if the first two patches of channel 0 are both seen, and adds the third."""

    body = None

    def forward(self, batch: Batch) -> Tensor:
        seen = batch.image[..., 0] * batch.image_mask
        answer = 6 * seen[:, 0] * seen[:, 1] + seen[:, 2:].sum(dim=1)
        return torch.stack([answer, answer, answer], dim=1).double()


class Brightest(nn.Module):
    """A model that adds up channel 0, and squares it for the second label."""

    body = None

    def forward(self, batch: Batch) -> Tensor:
        seen = (batch.image[..., 0] * batch.image_mask).sum(dim=1)
        return torch.stack([seen, seen**2, torch.zeros_like(seen)], dim=1).double()


def one_patch_each(values: list[float]) -> Features:
    case = random_case(1, patches=len(values))
    image = torch.zeros(len(values), case.image.shape[1])
    image[:, 0] = torch.tensor(values)
    placed = Placement.fit(10, 10, 10)
    layouts = tuple(ImageLayout((0,), (1, 1), placed, Picture(number)) for number in range(len(values)))
    return replace(case, image=image, layout=Layout(layouts))


def without_image(case: Features) -> Features:
    return replace(case, image=case.image[:0], place=torch.zeros(0, PLACE), layout=Layout())


@pytest.fixture
def model() -> Model:
    return model_without_encoders(random_network(fusion()))


def test_two_films_share_what_they_bring_together() -> None:
    shares = picture_shares(Questions(model_without_encoders(Pair()), one_patch_each([1, 1, 2])))[0]

    assert [one.share.log_odds for one in shares] == pytest.approx([3, 3, 2])
    assert [one.picture for one in shares] == [Picture(0), Picture(1), Picture(2)]
    assert {one.share.error for one in shares} == {0}


@pytest.mark.parametrize("count", [1, 3, 8, 12])
def test_shares_of_films_sum_to_what_the_image_brings_on_top_of_the_rest(model: Model, count: int) -> None:
    case = films(count)

    brought = model.log_odds([case])[0] - model.log_odds([without_image(case)])[0]

    for label, shares in enumerate(picture_shares(Questions(model, case))):
        assert len(shares) == count
        assert sum(one.share.log_odds for one in shares) == pytest.approx(float(brought[label]), abs=1e-4)


def test_a_prior_study_shares_and_is_told_apart(model: Model) -> None:
    case = films(4, prior=1)
    assert int(case.place[:, PRIOR].sum()) == 2

    brought = model.log_odds([case])[0] - model.log_odds([without_image(case)])[0]

    shares = picture_shares(Questions(model, case))[0]
    assert [one.prior for one in shares] == [False, False, False, True]
    assert sum(one.share.log_odds for one in shares) == pytest.approx(float(brought[0]), abs=1e-4)


def test_shares_of_values_sum_to_what_the_record_brings_on_top_of_the_rest(model: Model) -> None:
    case = random_case(3)

    brought = model.log_odds([case])[0] - model.log_odds([replace(case, taken=case.taken & False)])[0]

    for label, shares in enumerate(record_shares(Questions(model, case))):
        assert set(shares) == {"age_years", "crp_mg_l"}
        assert sum(share.log_odds for share in shares.values()) == pytest.approx(float(brought[label]), abs=1e-4)


def test_drawn_shares_are_within_their_errors_of_the_exact_ones() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 9)
    model, case = model_without_encoders(Brightest()), one_patch_each(values.tolist())
    exact = values * values.sum()  # of a squared sum each brings its square and half of what it makes with the others

    shares = picture_shares(Questions(model, case), pairs=64)[1]

    for one, expected in zip(shares, exact, strict=True):
        assert abs(one.share.log_odds - expected) <= 5 * one.share.error + 1e-3


def test_who_adds_the_same_in_every_order_gets_that_and_has_no_error() -> None:
    adds = [0.1 * number for number in range(10)]

    shares = picture_shares(Questions(model_without_encoders(Brightest()), one_patch_each(adds)))[0]

    assert [one.share.log_odds for one in shares] == pytest.approx(adds, abs=1e-6)
    assert [one.share.error for one in shares] == pytest.approx([0] * 10, abs=1e-6)


def test_errors_shrink_with_more_orders(model: Model) -> None:
    case = films(10)

    few, many = (picture_shares(Questions(model, case), pairs=pairs)[0] for pairs in (8, 128))

    assert sum(one.share.error for one in many) < 0.5 * sum(one.share.error for one in few)


def test_the_same_seed_gives_the_same_shares_and_another_seed_others(model: Model) -> None:
    case = films(10)

    assert picture_shares(Questions(model, case), seed=1) == picture_shares(Questions(model, case), seed=1)
    assert picture_shares(Questions(model, case), seed=1) != picture_shares(Questions(model, case), seed=2)


def with_films(case: Features, kept: frozenset[int]) -> Features:
    """The same case with some of its films of two patches."""
    patches = [patch for number in sorted(kept) for patch in (2 * number, 2 * number + 1)]
    return replace(case, image=case.image[patches], place=case.place[patches])


def test_exact_shares_are_the_mean_over_all_orders(model: Model) -> None:
    case, expected = films(3), np.zeros(3)
    for order in permutations(range(3)):
        for place, player in enumerate(order):
            shown = [with_films(case, frozenset(order[:end])) for end in (place, place + 1)]
            before, after = (float(model.log_odds([one])[0, 0]) for one in shown)
            expected[player] += (after - before) / 6

    shares = picture_shares(Questions(model, case))[0]

    assert [one.share.log_odds for one in shares] == pytest.approx(expected.tolist(), abs=1e-4)


def test_what_a_case_does_not_have_has_no_shares(model: Model) -> None:
    nothing = without_image(random_case(1, record=False))

    assert picture_shares(Questions(model, nothing)) == ((),) * len(LABELS)
    assert record_shares(Questions(model, nothing)) == ({},) * len(LABELS)
