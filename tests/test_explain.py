"""Why: contributions that add up exactly, and maps and words that name what the model would lose."""

from dataclasses import replace
from itertools import combinations, permutations
from math import log

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medmm.case import MODALITIES
from medmm.explain.contribution import Subset, predict, shapley
from medmm.explain.counterfactual import deletion
from medmm.explain.explanation import explain, worth_a_look
from medmm.explain.hiding import Questions
from medmm.explain.overlay import PATCHES
from medmm.model.batch import Batch, Features, ImageLayout, Layout, collate
from medmm.model.folder import Model
from medmm.model.fusion import PATTERNS, modalities_of
from medmm.placement import Placement
from medmm.result import Finding, Limits
from medmm.slices import Picture
from tests.models import (
    LABELS,
    cases_of_every_pattern,
    fusion,
    model_without_encoders,
    random_case,
    random_network,
)
from tests.scored import scored_case

GRID = (5, 5)
NOTE_SPANS = ((0, 2), (3, 8), (10, 21), (22, 27), (28, 29))
NOTE = "On cough, haemoptysis since 3"
WORD_OF = (-1, 0, 1, -1, 2, 2, 2, -1)
"""Two words, a comma, a word of three pieces, the end; the last two words were not read."""


def worth(values: dict[str, float]) -> dict[Subset, np.ndarray]:
    """Worth of sets of players, written as '', '0', '01'."""
    return {frozenset(int(player) for player in name): np.array([value]) for name, value in values.items()}


def log_odds(finding: Finding) -> float:
    return log(finding.probability / (1 - finding.probability))


def layout(shapes: tuple[tuple[int, int], ...]) -> Layout:
    images: list[ImageLayout] = []
    for rows, columns in shapes:
        placed = Placement.fit(rows, columns, 160)
        cells = tuple(int(cell) for cell in np.flatnonzero(placed.covered(GRID)))
        images.append(ImageLayout(cells, GRID, placed, Picture(len(images))))
    return Layout(tuple(images), WORD_OF, NOTE_SPANS)


def shown_case(*shapes: tuple[int, int]) -> Features:
    """A case with one film for each shape, a note of five words of which three were read, and a record."""
    lie = layout(shapes or ((160, 160),))
    patches = sum(len(image.cells) for image in lie.images)
    return replace(random_case(1, patches=patches, words=len(WORD_OF)), layout=lie)


class Brightest(nn.Module):
    """A model that sees nothing but channel 0: of patches for the first label, of word pieces for the second."""

    body = None

    keep = (True, True, True)

    def each(self, batch: Batch) -> Tensor:
        return torch.stack([self(batch.only(modalities_of(pattern))) for pattern in range(PATTERNS)])

    def calibrated(self, logits: Tensor, pattern: Tensor) -> Tensor:
        return logits

    def forward(self, batch: Batch) -> Tensor:
        seen = (batch.image[..., 0] * batch.image_mask).sum(dim=1)
        read = (batch.note[..., 0] * batch.note_mask).sum(dim=1)
        return torch.stack([seen, read, torch.zeros_like(seen)], dim=1).double()


@pytest.fixture(params=["cross_attention", "concat"])
def model(request: pytest.FixtureRequest) -> Model:
    return model_without_encoders(random_network(fusion(request.param)))


@pytest.fixture
def brightest() -> Model:
    return model_without_encoders(Brightest())


@pytest.fixture
def planted() -> Features:
    """One patch and one word that matter; everything else is dark."""
    case = shown_case()
    image, note = torch.zeros_like(case.image), torch.zeros_like(case.note)
    image[13, 0], note[5, 0] = 2.0, -1.5
    return replace(case, image=image, note=note)


def test_two_players_share_what_they_bring_together() -> None:
    values = shapley(worth({"": 1, "0": 3, "1": 2, "01": 10}))

    # Player 0 brings 2 as the first and 8 as the second; player 1 brings 1 and 7.
    np.testing.assert_allclose(values[:, 0], [5, 4])


def test_three_players_worked_out_by_hand() -> None:
    values = shapley(worth({"": 0, "0": 6, "1": 0, "2": 0, "01": 12, "02": 6, "12": 6, "012": 18}))

    # Over the six orders player 0 brings 6, 6, 12, 12, 6, 12; player 1 brings 6, 12, 0, 0, 12, 6; player 2 the rest.
    np.testing.assert_allclose(values[:, 0], [9, 6, 3])


def test_who_never_changes_anything_gets_exactly_nothing() -> None:
    values = shapley(worth({"": 0.1, "0": 0.7, "1": 0.1, "01": 0.7, "2": 0.3, "02": -4, "12": 0.3, "012": -4}))

    assert values[1, 0] == 0


def test_the_order_of_the_players_does_not_matter() -> None:
    draw = np.random.default_rng(0)
    subsets = [frozenset(s) for size in range(4) for s in combinations(range(3), size)]
    values = {subset: draw.normal(size=2) for subset in subsets}
    expected = shapley(values)

    for order in permutations(range(3)):
        renamed = {frozenset(order[player] for player in subset): value for subset, value in values.items()}
        np.testing.assert_allclose(shapley(renamed)[list(order)], expected)


def test_players_who_bring_the_same_get_the_same() -> None:
    values = shapley(worth({"": 0, "0": 1, "1": 1, "2": 5, "01": 4, "02": 7, "12": 7, "012": 9}))

    assert values[0, 0] == pytest.approx(values[1, 0])


def test_base_and_contributions_sum_to_the_log_odds(model: Model) -> None:
    cases = cases_of_every_pattern()

    expected = model.log_odds(cases)

    for row, prediction in enumerate(predict(model, cases)):
        for label, finding in enumerate(prediction.findings):
            total = finding.base_log_odds + sum(c.log_odds for c in finding.contributions)
            assert total == pytest.approx(float(expected[row, label]), abs=1e-6)
            assert total == pytest.approx(log_odds(finding), abs=1e-6)


def test_base_and_contributions_sum_for_classes_too() -> None:
    model = model_without_encoders(random_network(fusion(), multi_class=True))

    for prediction in predict(model, cases_of_every_pattern()):
        assert sum(finding.probability for finding in prediction.findings) == pytest.approx(1, abs=1e-6)
        for finding in prediction.findings:
            total = finding.base_log_odds + sum(c.log_odds for c in finding.contributions)
            assert total == pytest.approx(log_odds(finding), abs=1e-6)


def test_a_modality_that_is_absent_contributes_exactly_nothing(model: Model) -> None:
    for prediction in predict(model, cases_of_every_pattern()):
        assert set(prediction.present) | set(prediction.absent) == set(MODALITIES)
        for finding in prediction.findings:
            shares = {c.modality: c.log_odds for c in finding.contributions}
            assert all(shares[name] == 0 for name in prediction.absent)
            assert all(shares[name] != 0 for name in prediction.present)


def test_every_case_without_anything_gets_the_base(model: Model) -> None:
    nothing = predict(model, cases_of_every_pattern())[0]

    for finding in nothing.findings:
        assert finding.base_log_odds == pytest.approx(log_odds(finding), abs=1e-9)
        assert finding.interaction == 0


def test_the_interaction_is_what_no_modality_brings_alone(model: Model) -> None:
    cases = cases_of_every_pattern()
    alone = [model.log_odds([cases[pattern]])[0] for pattern in (0, 1, 2, 4)]

    whole = replace(
        cases[7],
        image=cases[1].image,
        place=cases[1].place,
        note=cases[2].note,
        terms=cases[2].terms,
        record=cases[4].record,
        taken=cases[4].taken,
    )
    expected = model.log_odds([whole])[0] - sum(part - alone[0] for part in alone[1:]) - alone[0]

    (prediction,) = predict(model, [whole])
    for label, finding in enumerate(prediction.findings):
        assert finding.interaction == pytest.approx(float(expected[label]), abs=1e-5)


def test_one_modality_has_nothing_to_interact_with(model: Model) -> None:
    predictions = predict(model, cases_of_every_pattern())

    for pattern in (1, 2, 4):
        for finding in predictions[pattern].findings:
            assert finding.interaction == pytest.approx(0, abs=1e-9)


def test_a_modality_that_the_model_does_not_know_is_not_named() -> None:
    kept = ("image", "record")
    model = model_without_encoders(random_network(fusion(modalities=kept)), modalities=kept)

    (prediction,) = predict(model, [random_case(1)])

    assert (prediction.present, prediction.absent) == (kept, ())
    for finding in prediction.findings:
        assert [c.modality for c in finding.contributions] == list(kept)
        total = finding.base_log_odds + sum(c.log_odds for c in finding.contributions)
        assert total == pytest.approx(log_odds(finding), abs=1e-6)


def test_a_prediction_does_not_depend_on_its_batch_mates(model: Model) -> None:
    cases = cases_of_every_pattern()

    for together, case in zip(predict(model, cases), cases, strict=True):
        (alone,) = predict(model, [case])
        for one, other in zip(together.findings, alone.findings, strict=True):
            assert one.probability == pytest.approx(other.probability, abs=1e-6)


def test_a_model_that_is_very_sure_gives_a_probability_without_complaint(
    brightest: Model, planted: Features, recwarn: pytest.WarningsRecorder
) -> None:
    sure = replace(planted, image=planted.image.float() * -1000)

    (prediction,) = predict(brightest, [sure])

    assert prediction.findings[0].probability == 0
    assert not recwarn.list


def test_no_cases_have_no_predictions(model: Model) -> None:
    assert predict(model, []) == ()


def test_the_patch_that_the_model_depends_on_is_the_largest_cell(brightest: Model, planted: Features) -> None:
    explanation = explain(brightest, planted, NOTE)[0]

    cells = explanation.overlays[0].cells
    assert int(np.nanargmax(cells)) == 13
    assert cells[13 // 5, 13 % 5] == pytest.approx(2.0)
    assert np.count_nonzero(cells) == 1


def test_the_word_that_the_model_depends_on_has_its_weight_with_its_sign(brightest: Model, planted: Features) -> None:
    explanation = explain(brightest, planted, NOTE)[1]

    weights = {(word.start, word.end): word.log_odds for word in explanation.words}
    assert weights == {(0, 2): 0, (3, 8): 0, (10, 21): pytest.approx(-1.5)}


def test_words_that_were_not_read_are_left_out(model: Model) -> None:
    for explanation in explain(model, shown_case(), NOTE):
        assert [(word.start, word.end) for word in explanation.words] == list(NOTE_SPANS[:3])


def test_each_label_has_its_own_explanation_that_names_its_method(model: Model) -> None:
    explanations = explain(model, shown_case(), NOTE)

    assert [explanation.label for explanation in explanations] == list(LABELS)
    assert {explanation.method for explanation in explanations} == {PATCHES} == {"hidden patches"}
    assert not np.array_equal(explanations[0].overlays[0].cells, explanations[1].overlays[0].cells)


def test_cells_on_the_padding_are_unknown(model: Model) -> None:
    overlay = explain(model, shown_case((160, 60)), NOTE)[0].overlays[0]

    np.testing.assert_array_equal(np.isfinite(overlay.cells), np.tile([0, 0, 1, 0, 0], (5, 1)))


def test_a_map_has_the_shape_of_the_original_film(model: Model) -> None:
    overlays = explain(model, shown_case((337, 211), (90, 120)), NOTE)[0].overlays

    assert [overlay.heatmap().shape for overlay in overlays] == [(337, 211), (90, 120)]


def test_each_film_keeps_its_own_cells(brightest: Model) -> None:
    case = shown_case((160, 160), (160, 60))
    image = torch.zeros_like(case.image)
    image[25 + 3, 0] = 4.0  # the fourth cell of the second film

    first, second = explain(brightest, replace(case, image=image), NOTE)[0].overlays

    assert np.count_nonzero(first.cells) == 0
    assert second.cells[3, 2] == pytest.approx(4.0)


def test_hiding_a_patch_is_what_the_map_says_it_is(model: Model) -> None:
    case = shown_case()
    keep = [i for i in range(25) if i != 7]
    without = replace(case, image=case.image[keep], place=case.place[keep])

    lost = model.log_odds([case])[0] - model.log_odds([without])[0]

    for label, explanation in enumerate(explain(model, case, NOTE)):
        assert explanation.overlays[0].cells[1, 2] == pytest.approx(float(lost[label]), abs=1e-5)


def test_an_explanation_is_the_same_twice(model: Model) -> None:
    case = shown_case((160, 160), (300, 200))

    for one, other in zip(explain(model, case, NOTE), explain(model, case, NOTE), strict=True):
        assert one.words == other.words
        for a, b in zip(one.overlays, other.overlays, strict=True):
            np.testing.assert_array_equal(a.cells, b.cells)


def test_more_tokens_than_go_at_once_are_all_explained(brightest: Model) -> None:
    case = shown_case(*[(160, 160)] * 6)
    image = torch.zeros_like(case.image)
    image[:, 0] = torch.arange(150)

    overlays = explain(brightest, replace(case, image=image), NOTE)[0].overlays

    np.testing.assert_allclose(np.concatenate([overlay.cells.ravel() for overlay in overlays]), np.arange(150))


@pytest.mark.parametrize("pattern", range(8))
def test_what_a_case_does_not_have_is_not_explained(model: Model, pattern: int) -> None:
    full = shown_case()
    image, note, record = bool(pattern & 1), bool(pattern & 2), bool(pattern & 4)
    lie = full.layout
    case = replace(
        full,
        image=full.image if image else full.image[:0],
        place=full.place if image else full.place[:0],
        note=full.note if note else full.note[:0],
        taken=full.taken & record,
        layout=Layout(lie.images if image else (), lie.word_of if note else (), lie.spans if note else ()),
    )

    for explanation in explain(model, case, NOTE):
        assert len(explanation.overlays) == int(image)
        assert len(explanation.words) == 3 * int(note)
        assert len(explanation.record) == int(case.taken.sum())
        assert all(np.isfinite(overlay.cells).all() for overlay in explanation.overlays)


def many(pictures: int, words: int) -> Features:
    """A case of many pictures of 5 by 5 patches, and of a long note."""
    placed = Placement.fit(160, 160, 160)
    cells = tuple(range(GRID[0] * GRID[1]))
    images = tuple(ImageLayout(cells, GRID, placed, Picture(number)) for number in range(pictures))
    spans = tuple((6 * word, 6 * word + 5) for word in range(words))
    case = random_case(3, patches=pictures * len(cells), words=words + 2)
    return replace(case, layout=Layout(images, (-1, *range(words), -1), spans))


def test_a_case_of_many_pictures_and_words_is_explained_with_few_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    network = random_network(fusion())
    network.register_forward_hook(lambda _, given, answer: asked.append(len(answer)))
    case = many(pictures=20, words=3000)

    (explanation, *_) = explain(model_without_encoders(network), case, "cough " * 3000)

    assert sum(asked) < 200
    assert len(explanation.overlays) == 20
    assert all(np.isfinite(overlay.cells).all() for overlay in explanation.overlays)
    starts = [word.start for word in explanation.words]
    assert explanation.words[0].start == 0
    assert explanation.words[-1].end == 6 * 2999 + 5
    assert starts == sorted(set(starts))


def test_patches_that_were_hidden_together_bear_what_their_block_was_worth() -> None:
    network = random_network(fusion())
    case = many(pictures=20, words=3000)
    model = model_without_encoders(network)

    explanation = explain(model, case, "cough " * 3000)[1]

    cells = explanation.overlays[7].cells
    value = cells[0, 0]
    together = [7 * cells.size + int(cell) for cell in np.flatnonzero(cells == value)]
    shown = collate([case])
    whole = network(shown)[0, 1]
    shown.image_mask[0, together] = False
    assert len(together) > 1
    assert (whole - network(shown)[0, 1]).item() == pytest.approx(float(value), abs=1e-5)


def test_only_of_labels_that_are_asked_about_it_is_said_without_what_they_would_be_otherwise(model: Model) -> None:
    case = shown_case()

    found = explain(model, case, NOTE, deletions=LABELS[1:2])

    assert [one.label for one in found if one.deletion is not None] in ([], [LABELS[1]])
    assert found[1].deletion == deletion(Questions(model, case), NOTE, 1)
    assert all(one.deletion is None for one in explain(model, case, NOTE))


def test_a_person_looks_first_at_what_is_flagged_or_uncertain_and_at_the_leading_one() -> None:
    quiet = scored_case("c1", (0.2, 0.05, 0.1)).prediction
    flagged = scored_case("c1", (0.2, 0.6, 0.87)).prediction
    unsure = replace(quiet.findings[1], limits=Limits(0.01, 0.9, 0.1))

    assert worth_a_look(quiet) == (quiet.leading.label,)
    assert worth_a_look(flagged) == tuple(one.label for one in flagged.findings[1:])
    assert unsure.call == "uncertain"
    assert unsure.label in worth_a_look(replace(quiet, findings=(quiet.findings[0], unsure, quiet.findings[2])))
