"""An empty picture, a negative and a note cut short are named; what is whole is not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from medmm.case import Case, Image, Note, Study
from medmm.model.quality import quality_doubts
from sample_data.film import make_film

_CHEST = {"BodyPartExamined": "CHEST"}


def _film(pixels: np.ndarray, modality: str = "DX", acquisition: Mapping[str, str] = _CHEST) -> Case:
    image = Image(pixels.astype(np.float32), "0" * 64, modality=modality, acquisition=acquisition)
    return Case("c1", "p1", study=Study((image,)))


def _note(text: str) -> Case:
    return Case("c1", "p1", note=Note(text))


def _chest(seed: int) -> np.ndarray:
    film = make_film(np.random.default_rng(seed), ())
    low = film.window[0] - film.window[1] / 2
    return np.clip((film.pixels - low) / film.window[1], 0, 1)


@pytest.fixture(scope="module")
def films() -> list[np.ndarray]:
    return [_chest(seed) for seed in range(3)]


@pytest.mark.parametrize("brightness", [0.0, 0.5, 1.0])
def test_an_empty_picture_is_named(brightness: float) -> None:
    rng = np.random.default_rng(0)
    pixels = np.clip(brightness + 0.005 * rng.standard_normal((64, 64)), 0, 1)
    assert any("empty" in doubt for doubt in quality_doubts(_film(pixels)))


def test_a_negative_of_a_chest_film_is_named_and_the_film_is_not(films: list[np.ndarray]) -> None:
    for pixels in films:
        assert quality_doubts(_film(pixels)) == ()
        assert any("inverted" in doubt for doubt in quality_doubts(_film(1 - pixels)))


def test_only_films_that_say_they_show_a_chest_are_asked_for_their_polarity(films: list[np.ndarray]) -> None:
    negative = 1 - films[0]
    assert quality_doubts(_film(negative, acquisition={"BodyPartExamined": "HAND"})) == ()
    assert quality_doubts(_film(negative, acquisition={})) == ()
    assert quality_doubts(_film(negative, modality="CT")) == ()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 5), (33, 31)])
def test_a_picture_of_any_shape_is_looked_at(shape: tuple[int, int]) -> None:
    quality_doubts(_film(np.random.default_rng(0).random(shape)))


def test_a_photograph_in_colour_is_no_reason_to_fail() -> None:
    assert quality_doubts(_film(np.random.default_rng(0).random((20, 20, 3)), modality="XC")) == ()


def test_a_note_that_a_form_cut_within_a_sentence_is_named() -> None:
    cut = ("Cough for two weeks. " * 20)[:255]
    assert any("255 letters" in doubt for doubt in quality_doubts(_note(cut)))


def test_a_note_that_ends_as_notes_do_is_not_named() -> None:
    assert quality_doubts(_note("Cough for two weeks")) == ()
    assert quality_doubts(_note("a" * 254 + ".")) == ()


def test_the_words_of_a_note_are_in_no_doubt() -> None:
    assert all("Cough" not in doubt for doubt in quality_doubts(_note(("Cough " * 100)[:255])))
