"""What would have to be missing for the opposite call: a small set, each part of it needed, verified by the model."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medmm.explain.counterfactual import deletion
from medmm.explain.hiding import Questions
from medmm.model.batch import Batch, Features, ImageLayout, Layout, collate
from medmm.model.folder import Model
from medmm.placement import Placement
from medmm.result import Deletion, Region
from medmm.slices import Picture
from tests.models import LABELS, fusion, model_without_encoders, random_case, random_network

NOTE = "No fever, coughs blood daily"
SPANS = ((0, 2), (3, 8), (10, 16), (17, 22), (23, 28))
WORD_OF = (-1, 0, 1, -1, 2, 3, 4, -1)
GRID = (5, 5)


class Sum(nn.Module):
    """A model whose first label adds up channel 0 of patches and word pieces, and 1 for each value taken."""

    body = None

    def forward(self, batch: Batch) -> Tensor:
        seen = (batch.image[..., 0] * batch.image_mask).sum(dim=1) + (batch.note[..., 0] * batch.note_mask).sum(dim=1)
        answer = seen + batch.record_mask.sum(dim=1)
        return torch.stack([answer, torch.full_like(answer, -9), answer], dim=1).double()


class Either(nn.Module):
    """A model that flags where a bright patch is seen, and two are as good as one."""

    body = None

    def forward(self, batch: Batch) -> Tensor:
        answer = (batch.image[..., 0] * batch.image_mask).amax(dim=1) - 5
        return torch.stack([answer, answer, answer], dim=1).double()


class Late(nn.Module):
    """A model to which 'coughs' alone is worth most, but that flags as long as 'blood' or 'daily' is there."""

    body = None

    def forward(self, batch: Batch) -> Tensor:
        coughs, blood, daily = (batch.note_mask[:, place].float() for place in (4, 5, 6))
        answer = coughs + 10 * torch.maximum(blood, daily) + 0.1 * (blood + daily) - 5
        return torch.stack([answer, answer, answer], dim=1).double()


def dark_case(pictures: int = 1) -> Features:
    """A case of films of 5 by 5 patches, a note of five words and two values; no token says anything."""
    case = random_case(1, patches=25 * pictures, words=len(WORD_OF))
    placed = Placement.fit(100, 100, 100)
    images = tuple(ImageLayout(tuple(range(25)), GRID, placed, Picture(number)) for number in range(pictures))
    dark = replace(case, image=torch.zeros_like(case.image), note=torch.zeros_like(case.note))
    return replace(dark, layout=Layout(images, WORD_OF, SPANS))


def planted(*, patches: dict[int, float] | None = None, pieces: dict[int, float] | None = None) -> Features:
    case = dark_case(2)
    for tokens, values in ((case.image, patches), (case.note, pieces)):
        for place, value in (values or {}).items():
            tokens[place, 0] = value
    return case


def hidden(case: Features, found: Deletion) -> Batch:
    """The case without what was found, put together by hand."""
    batch = collate([case])
    image, note, record = batch.image_mask.clone(), batch.note_mask.clone(), batch.record_mask.clone()
    for region in found.regions:
        image[0, [25 * region.picture + cell for cell in region.cells]] = False
    for start, end in found.words:
        gone = [number for number, (first, last) in enumerate(SPANS) if start <= first and last <= end]
        note[0, [place for place, word in enumerate(WORD_OF) if word in gone]] = False
    record[0, [["age_years", "sex", "crp_mg_l"].index(column) for column in found.columns]] = False
    return replace(batch, image_mask=image, note_mask=note, record_mask=record)


@pytest.fixture
def adds_up() -> Model:
    return model_without_encoders(Sum())


def test_the_word_that_decides_is_what_would_have_to_be_missing(adds_up: Model) -> None:
    found = deletion(Questions(adds_up, planted(pieces={5: 9.0, 0: -9.0})), NOTE, 0)

    assert found == Deletion("effusion", True, 2.0, -7.0, (), ((17, 22),), ())


def test_the_place_that_decides_is_named_by_picture_and_cells(adds_up: Model) -> None:
    found = deletion(Questions(adds_up, planted(patches={25 + 13: 9.0}, pieces={0: -9.0})), NOTE, 0)

    assert found is not None
    assert (found.words, found.columns) == ((), ())
    (region,) = found.regions
    assert region.picture == 1
    assert 13 in region.cells


def test_a_value_may_be_what_would_have_to_be_missing(adds_up: Model) -> None:
    just_flagged = planted(pieces={0: -2.0 + log(0.2 / 0.8) + 0.5})

    found = deletion(Questions(adds_up, just_flagged), NOTE, 0)

    assert found is not None
    assert (found.regions, found.words, len(found.columns)) == ((), (), 1)
    assert found.columns[0] in ("age_years", "crp_mg_l")


def test_what_is_denied_goes_as_a_whole(adds_up: Model) -> None:
    found = deletion(Questions(adds_up, planted(pieces={2: 9.0, 0: -9.0})), NOTE, 0)

    assert found is not None
    assert [NOTE[start:end] for start, end in found.words] == ["No fever"]


def test_what_speaks_against_is_removed_where_the_label_is_not_flagged(adds_up: Model) -> None:
    found = deletion(Questions(adds_up, planted(pieces={5: -9.0})), NOTE, 0)

    assert found is not None
    assert not found.flagged
    assert found.after > log(0.2 / 0.8) > found.before
    assert found.words == ((17, 22),)


def test_several_parts_are_found_where_one_does_not_do(adds_up: Model) -> None:
    found = deletion(Questions(adds_up, planted(patches={0: 4.0}, pieces={4: 3.0, 5: 2.5, 0: -4.0})), NOTE, 0)

    assert found is not None
    assert len(found.regions) + len(found.words) + len(found.columns) == 3
    assert found.regions[0].picture == 0


def test_a_part_that_turned_out_not_to_be_needed_is_given_back() -> None:
    found = deletion(Questions(model_without_encoders(Late()), dark_case()), NOTE, 0)

    assert found is not None
    assert found.words == ((17, 22), (23, 28))


def test_two_places_that_each_suffice_are_both_named_and_nothing_else() -> None:
    case = dark_case()
    case.image[[7, 18], 0] = 9.0

    found = deletion(Questions(model_without_encoders(Either()), case), NOTE, 0)

    assert found == Deletion("effusion", True, 4.0, -5.0, (Region(0, (7, 18)),), (), ())


def test_of_many_words_the_one_that_decides_is_found(adds_up: Model) -> None:
    spans = tuple((6 * word, 6 * word + 5) for word in range(100))
    case = random_case(2, patches=0, words=102, record=False)
    note = torch.zeros_like(case.note)
    note[[0, 81], 0] = torch.tensor([-4.0, 9.0]).half()
    case = replace(case, note=note, layout=Layout(word_of=(-1, *range(100), -1), spans=spans))

    found = deletion(Questions(adds_up, case), "words " * 100, 0)

    assert found is not None
    assert found.words == (spans[80],)


def test_nothing_is_said_where_nothing_flips(adds_up: Model) -> None:
    assert deletion(Questions(adds_up, planted(pieces={5: 9.0})), NOTE, 1) is None


def test_a_case_with_nothing_has_nothing_to_delete() -> None:
    model = model_without_encoders(random_network(fusion()))

    assert deletion(Questions(model, random_case(1, patches=0, words=0, record=False)), "", 0) is None


@pytest.mark.parametrize("kind", ["cross_attention", "gated", "concat"])
def test_what_is_found_flips_the_call_and_no_part_of_it_can_be_left_out(kind: str) -> None:
    model = model_without_encoders(random_network(fusion(kind)))
    flipped = 0
    for seed in range(4):
        case = replace(random_case(seed, patches=50, words=len(WORD_OF)), layout=dark_case(2).layout)
        for label, name in enumerate(LABELS):
            found = deletion(Questions(model, case), NOTE, label)
            if found is None:
                continue
            flipped += 1
            level = log(model.card.thresholds[name] / (1 - model.card.thresholds[name]))
            after = float(model.network(hidden(case, found))[0, label].detach())
            assert after == pytest.approx(found.after, abs=1e-5)
            assert (found.before >= level) == found.flagged != (after >= level)
            for fewer in one_less(found):
                again = float(model.network(hidden(case, fewer))[0, label].detach())
                assert (again >= level) == found.flagged

    assert flipped >= 3


def one_less(found: Deletion) -> list[Deletion]:
    """The same without one word unit or value, where something is left."""
    words = [replace(found, words=tuple(w for w in found.words if w != one)) for one in found.words]
    columns = [replace(found, columns=tuple(c for c in found.columns if c != one)) for one in found.columns]
    return words + columns


def test_the_number_of_questions_is_bounded() -> None:
    asked: list[int] = []

    class Stubborn(Sum):
        def forward(self, batch: Batch) -> Tensor:
            asked.append(len(batch.image))
            return super().forward(batch) * 0 + 5

    spans = tuple((6 * word, 6 * word + 5) for word in range(3000))
    case = random_case(2, patches=0, words=3002)
    case = replace(case, layout=Layout(word_of=(-1, *range(3000), -1), spans=spans))

    assert deletion(Questions(model_without_encoders(Stubborn()), case), "words " * 3000, 0) is None
    assert sum(asked) < 200


def test_regions_are_cells_of_the_grid_and_each_picture_is_named_once(adds_up: Model) -> None:
    found = deletion(Questions(adds_up, planted(patches={0: 4.0, 24: 4.0, 30: 4.0}, pieces={0: -4.0})), NOTE, 0)

    assert found is not None
    assert [region.picture for region in found.regions] == [0, 1]
    assert all(region == Region(region.picture, tuple(sorted(set(region.cells)))) for region in found.regions)
    assert np.max([cell for region in found.regions for cell in region.cells]) < 25
