"""What the model would say without one side of a case: its own answer to the same case without that side."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from medmm.case import MODALITIES
from medmm.explain.contribution import predict
from medmm.model.batch import Features
from medmm.model.folder import Model, named
from medmm.result import call_of
from tests.models import cases_of_every_pattern, fusion, model_without_encoders, random_case, random_network

SIDES = {"image": ("image", "place"), "note": ("note", "terms"), "record": ("record", "taken")}
ALWAYS, NEVER = (0.0, 1.0), (1.0, 0.0)
"""Limits within which a label is always uncertain, and never."""


def bare(case: Features, side: str) -> Features:
    """The same case, had it come without one side."""
    nothing = random_case(1, patches=0, words=0, record=False)
    return replace(case, **{name: getattr(nothing, name) for name in SIDES[side]})


def promising(model: Model) -> Model:
    """A model that is uncertain of a case without a note, and of no other."""
    given = [present for count in range(4) for present in combinations(MODALITIES, count)]
    limits = {named(present): NEVER if "note" in present else ALWAYS for present in given}
    card = model.card.model_copy(update={"limits": dict.fromkeys(model.labels, limits)})
    return replace(model, card=card)


@pytest.mark.parametrize("multi_class", [False, True])
def test_it_is_what_the_model_says_of_the_case_without_that_side(multi_class: bool) -> None:
    model = model_without_encoders(random_network(fusion(), multi_class=multi_class))

    for case in cases_of_every_pattern():
        (whole,) = predict(model, [case])
        for side in whole.present:
            (rest,) = predict(model, [bare(case, side)])
            assert side in rest.absent
            for finding, expected in zip(whole.findings, rest.findings, strict=True):
                (brought,) = [one for one in finding.contributions if one.modality == side]
                assert brought.without is not None
                assert brought.without.probability == pytest.approx(expected.probability, abs=1e-6)
                assert brought.without.call == expected.call


def test_a_side_that_a_case_does_not_have_cannot_be_taken_away() -> None:
    model = model_without_encoders(random_network(fusion()))

    for prediction in predict(model, cases_of_every_pattern()):
        for finding in prediction.findings:
            assert {one.modality for one in finding.contributions if one.without is None} == set(prediction.absent)
            assert [one.modality for one in finding.contributions] == list(MODALITIES)


def test_its_word_keeps_the_promises_for_what_is_left() -> None:
    model = promising(model_without_encoders(random_network(fusion())))

    (prediction,) = predict(model, [cases_of_every_pattern()[-1]])

    for finding in prediction.findings:
        said = {one.modality: one.without.call for one in finding.contributions if one.without}
        assert said["note"] == "uncertain"
        assert "uncertain" not in {finding.call, said["image"], said["record"]}


def test_without_limits_the_threshold_alone_decides() -> None:
    assert (call_of(0.4, 0.4, None), call_of(0.39, 0.4, None)) == ("flagged", "not flagged")
