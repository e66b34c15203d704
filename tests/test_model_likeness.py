"""A case like the training cases is seldom doubted, a strange one is; what is kept is no case."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
import torch
from torch import Tensor

from medmm.errors import ModelError
from medmm.model.batch import COLUMN, ROW, Features
from medmm.model.likeness import Likeness
from tests.models import random_case

_SIDE = 7


def _case(seed: int, *, fits: bool = True, sides: tuple[bool, bool, bool] = (True, True, True)) -> Features:
    """A picture of 7 x 7 patches that is bright above and on the left, a note and a record of the same patient."""
    draw = torch.Generator().manual_seed(seed)
    case = random_case(seed, patches=_SIDE**2 * sides[0], words=12 * sides[1], record=sides[2])
    patient, other = torch.randn(2, generator=draw)
    at = (torch.arange(_SIDE) + 0.5) / _SIDE
    place, image, note = case.place.clone(), case.image.clone(), case.note.clone()
    if sides[0]:
        place[:, ROW], place[:, COLUMN] = at.repeat_interleave(_SIDE), at.repeat(_SIDE)
        image[:, 0] += 2 * (place[:, ROW] < 0.5)
        image[:, 1] += 2 * (place[:, COLUMN] < 0.5)
        image[:, 2] += 3 * patient
    note[:, 0] += 3 * (patient if fits else other)
    return replace(case, place=place, image=image, note=note)


def _turned(case: Features, axis: int) -> Features:
    place = case.place.clone()
    place[:, axis] = 1 - place[:, axis]
    return replace(case, place=place)


def _noise(like: Tensor, seed: int) -> Tensor:
    return (8 * torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))).half()


@pytest.fixture(scope="module")
def likeness() -> Likeness:
    return Likeness.fit([_case(i) for i in range(300)], [_case(i) for i in range(300, 500)])


def _doubted(likeness: Likeness, cases: list[Features], word: str = "") -> float:
    found = [[doubt for doubt in likeness.doubts(case) if word in doubt] for case in cases]
    return sum(map(bool, found)) / len(cases)


def test_a_case_of_the_training_kind_is_doubted_about_one_time_in_twenty(likeness: Likeness) -> None:
    assert 0.01 <= _doubted(likeness, [_case(i) for i in range(500, 750)]) <= 0.1


def test_noise_in_place_of_an_image_or_a_note_is_doubted(likeness: Likeness) -> None:
    cases = [_case(i) for i in range(900, 920)]
    noise = [replace(case, image=_noise(case.image, i)) for i, case in enumerate(cases)]
    assert _doubted(likeness, noise, "the image is unlike") == 1
    noise = [replace(case, note=_noise(case.note, i)) for i, case in enumerate(cases)]
    assert _doubted(likeness, noise, "the note is unlike") == 1


def test_an_image_upside_down_or_mirrored_is_called_so(likeness: Likeness) -> None:
    cases = [_case(i) for i in range(900, 920)]
    for axis, name, other in ((ROW, "upside down", "mirrored"), (COLUMN, "mirrored", "upside down")):
        turned = [_turned(case, axis) for case in cases]
        assert _doubted(likeness, turned, f"may be {name}") >= 0.95
        assert _doubted(likeness, turned, f"may be {other}") <= 0.1


def test_a_note_of_another_patient_is_doubted_more_often_than_the_own(likeness: Likeness) -> None:
    own, others = ([_case(i, fits=fits) for i in range(900, 1000)] for fits in (True, False))
    assert _doubted(likeness, others, "image and note fit") >= 0.3
    assert _doubted(likeness, own, "image and note fit") <= 0.05


def test_sides_that_say_nothing_of_each_other_are_not_compared() -> None:
    learnt = Likeness.fit([_case(i, fits=False) for i in range(300)], [_case(i) for i in range(300, 340)])
    assert "image and note" not in learnt.checks


def test_a_modality_that_is_absent_is_not_doubted(likeness: Likeness) -> None:
    scores = likeness.scores(_case(1, sides=(False, True, False)))
    assert set(scores) == {"note"}


def test_a_modality_that_the_model_does_not_use_is_not_doubted() -> None:
    learnt = Likeness.fit([_case(i) for i in range(60)], [_case(i) for i in range(60, 100)], ("note",))
    case = replace(_case(101), image=_noise(_case(101).image, 0))
    assert set(learnt.scores(case)) == {"note"}


def test_a_prior_study_changes_no_doubt(likeness: Likeness) -> None:
    case = _case(901)
    prior = random_case(3, patches=4, prior=4)
    both = replace(case, image=torch.cat([case.image, prior.image]), place=torch.cat([case.place, prior.place]))
    assert likeness.scores(both) == pytest.approx(likeness.scores(case), abs=1e-4)


def test_channels_that_are_not_looked_at_change_nothing() -> None:
    looked = {"image": 4, "note": 3}
    learnt = Likeness.fit([_case(i) for i in range(60)], [_case(i) for i in range(60, 100)], channels=looked)
    case = _case(101)
    image, note = case.image.clone(), case.note.clone()
    image[:, 4:], note[:, 3:] = 99, 99
    assert learnt.scores(replace(case, image=image, note=note)) == learnt.scores(case)


def test_saved_and_loaded_says_the_same(likeness: Likeness, tmp_path: Path) -> None:
    likeness.save(tmp_path / "likeness.safetensors")
    loaded = Likeness.load(tmp_path / "likeness.safetensors")
    strange = _turned(_case(901), ROW)
    assert loaded.limit == likeness.limit
    assert loaded.scores(strange) == pytest.approx(likeness.scores(strange), abs=1e-6)
    assert loaded.doubts(strange) == likeness.doubts(strange) != ()


def test_the_same_cases_and_seed_give_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Likeness.fit([_case(i) for i in range(40)], [_case(i) for i in range(40, 80)], seed=3).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_damaged_file_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "likeness.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ModelError, match=r"likeness\.safetensors is damaged"):
        Likeness.load(tmp_path / "likeness.safetensors")


def test_what_is_kept_does_not_grow_with_the_cases(likeness: Likeness, tmp_path: Path) -> None:
    more = Likeness.fit([_case(i) for i in range(400)], [_case(i) for i in range(400, 450)])
    for name, learnt in (("few", likeness), ("more", more)):
        learnt.save(tmp_path / name)
    assert (tmp_path / "more").stat().st_size == pytest.approx((tmp_path / "few").stat().st_size, rel=0.02)


@pytest.mark.parametrize("count", [0, 1, 5, 19, 24, 40])
def test_few_training_cases_are_no_reason_to_fail_or_to_doubt_everything(count: int) -> None:
    learnt = Likeness.fit([_case(i) for i in range(count)], [_case(i) for i in range(100, 100 + count // 4)])
    assert _doubted(learnt, [_case(i) for i in range(200, 240)]) <= 0.3


def test_without_enough_cases_for_the_quantile_nothing_is_doubted() -> None:
    learnt = Likeness.fit([], [_case(i) for i in range(3)])
    assert learnt.limit == inf
    assert learnt.doubts(_case(1)) == ()


def test_equal_training_cases_are_no_reason_to_fail() -> None:
    learnt = Likeness.fit([_case(0)] * 30, [_case(0)] * 30)
    assert learnt.doubts(_case(0)) == ()
