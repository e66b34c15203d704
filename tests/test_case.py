"""A case that exists is valid, cannot be changed, and tells nothing of its patient."""

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

from medmm.case import MODALITIES, Case, Image, Note, Record, Study
from medmm.errors import DataError, Reason

STUDY = Study(images=(Image(np.zeros((2, 3), np.float32), "0" * 64),))
NOTE = Note("CANARYNOTE")
RECORD = Record({"age": 61.0})


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3)])
def test_an_image_is_grey_or_rgb(shape: tuple[int, ...]) -> None:
    image = Image(np.zeros(shape, np.float32), "0" * 64)

    assert (image.rows, image.columns) == (2, 3)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4), (2, 3, 1), (0, 3), (1, 2, 3, 3)])
def test_any_other_shape_is_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="pixels must be"):
        Image(np.zeros(shape, np.float32), "0" * 64)


@pytest.mark.parametrize("dtype", [np.float64, np.uint8])
def test_pixels_are_of_one_type(dtype: Any) -> None:
    with pytest.raises(ValueError, match="float32"):
        Image(np.zeros((2, 3), dtype), "0" * 64)


def test_pixels_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        STUDY.images[0].pixels[0, 0] = 1


def test_a_study_without_images_does_not_exist() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        Study(images=())


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_a_note_without_words_does_not_exist(text: str) -> None:
    with pytest.raises(ValueError, match="a note has text"):
        Note(text)


def test_a_record_without_values_does_not_exist() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        Record({})


def test_a_record_does_not_change_with_what_it_was_made_from() -> None:
    values: dict[str, float | str] = {"age": 61.0}
    record = Record(values)

    values["age"] = 16.0

    assert record.values["age"] == 61
    with pytest.raises(TypeError):
        record.values["age"] = 16.0  # type: ignore[index]  # that is the point


@pytest.mark.parametrize(
    ("sides", "present"),
    [
        ({"study": STUDY, "note": NOTE, "record": RECORD}, MODALITIES),
        ({"record": RECORD, "study": STUDY}, ("image", "record")),
        ({"note": NOTE}, ("note",)),
    ],
)
def test_a_case_knows_its_sides_in_one_order(sides: dict[str, Any], present: tuple[str, ...]) -> None:
    assert Case("c1", "p1", **sides).present == present


def test_a_case_of_nothing_does_not_exist() -> None:
    with pytest.raises(DataError, match="case c1: has no image, no note and no record value") as caught:
        Case("c1", "CANARYID")

    assert caught.value.code == Reason.NOTHING_TO_READ


def test_a_case_cannot_be_changed() -> None:
    case = Case("c1", "p1", note=NOTE)

    with pytest.raises(dataclasses.FrozenInstanceError):
        case.note = None  # type: ignore[misc]  # that is the point


def test_a_case_is_as_frozen_after_the_way_between_processes() -> None:
    again = pickle.loads(pickle.dumps(Case("c1", "p1", STUDY, NOTE, RECORD)))

    assert (again.note, dict(again.record.values), again.study.images[0].digest) == (NOTE, {"age": 61.0}, "0" * 64)
    with pytest.raises(ValueError, match="read-only"):
        again.study.images[0].pixels[0, 0] = 1


def test_what_is_printed_of_a_case_tells_nothing_of_its_patient() -> None:
    told = repr(Case("c1", "CANARYID", STUDY, NOTE, Record({"job": "CANARYNAME"})))

    assert "c1" in told
    assert "CANARY" not in told
