"""What every answer of the network keeps, whatever it has learnt: peers break each of these."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from medmm.case import MODALITIES
from medmm.config import TrainingConfig
from medmm.learn.fit import Examples, fit
from medmm.model.batch import VIEW, Batch, Features, collate
from medmm.model.fusion import PATTERNS, Corrected, Fusion, Network, Product, WeightedSum, modalities_of, pattern_of
from medmm.model.heads import Probe, Widths
from medmm.model.terms import TermProbe
from medmm.tensors import BINS
from tests.models import LABELS, WIDTHS, cases_of_every_pattern, fusion, random_case, random_network

KINDS = ("concat", "weighted_sum", "product", "gated", "cross_attention")
LEARNT = ("gated", "cross_attention")
DIALS = [*((kind, 1) for kind in KINDS), ("cross_attention", 2)]


@pytest.fixture(params=[(*dials, multi) for dials in DIALS for multi in (False, True)], ids=str)
def network(request: pytest.FixtureRequest) -> Network:
    kind, blocks, multi_class = request.param
    return random_network(fusion(kind, blocks=blocks), multi_class=multi_class)


@torch.inference_mode()
def answer(network: Network, batch: Batch | list[Features]) -> Tensor:
    out: Tensor = network(batch if isinstance(batch, Batch) else collate(batch))
    return out


def same(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def garbage(batch: Batch) -> Batch:
    """The same batch with large numbers in every place that a mask hides."""
    return replace(
        batch,
        image=batch.image.masked_fill(~batch.image_mask[..., None], 1e4),
        place=batch.place.masked_fill(~batch.image_mask[..., None], 2),
        note=batch.note.masked_fill(~batch.note_mask[..., None], -1e4),
        record=batch.record.masked_fill(~batch.record_mask[..., None], 1e4),
    )


def test_a_case_is_scored_the_same_alone_or_in_a_batch(network: Network) -> None:
    cases = cases_of_every_pattern()

    together = answer(network, cases)

    for row, case in enumerate(cases):
        same(together[row : row + 1], answer(network, [case]))


def test_longer_notes_and_more_films_of_others_do_not_matter(network: Network) -> None:
    case, other = random_case(1), random_case(2, patches=60, words=90)

    same(answer(network, [case, other])[:1], answer(network, [case]))


def test_what_a_batch_mate_holds_does_not_matter(network: Network) -> None:
    case = random_case(1)

    same(answer(network, [case, random_case(2)])[:1], answer(network, [case, random_case(3)])[:1])


def test_the_order_of_the_cases_does_not_matter(network: Network) -> None:
    cases = cases_of_every_pattern()
    order = [5, 2, 7, 0, 3, 6, 1, 4]

    same(answer(network, [cases[i] for i in order]), answer(network, cases)[order])


def test_padding_a_note_by_64_word_pieces_changes_nothing(network: Network) -> None:
    batch = collate([random_case(1)])
    padded = replace(
        batch,
        note=torch.nn.functional.pad(batch.note, (0, 0, 0, 64), value=3.0),
        note_mask=torch.nn.functional.pad(batch.note_mask, (0, 64), value=False),
        terms=torch.nn.functional.pad(batch.terms, (0, 64), value=1),
    )

    same(answer(network, padded), answer(network, batch))


def test_padding_a_study_by_64_patches_changes_nothing(network: Network) -> None:
    batch = collate([random_case(1)])
    padded = replace(
        batch,
        image=torch.nn.functional.pad(batch.image, (0, 0, 0, 64), value=3.0),
        place=torch.nn.functional.pad(batch.place, (0, 0, 0, 64), value=1.0),
        image_mask=torch.nn.functional.pad(batch.image_mask, (0, 64), value=False),
    )

    same(answer(network, padded), answer(network, batch))


@pytest.mark.parametrize("pattern", range(PATTERNS))
def test_every_set_of_modalities_gets_a_finite_answer_of_its_own(network: Network, pattern: int) -> None:
    cases = cases_of_every_pattern()

    answers = answer(network, cases)

    assert pattern_of(collate(cases).present).tolist() == list(range(PATTERNS))
    assert answers[pattern].isfinite().all()
    assert ((answers - answers[pattern]).abs().amax(dim=1) > 1e-3).sum() == PATTERNS - 1


def test_hiding_a_modality_is_the_same_as_never_having_had_it(network: Network) -> None:
    for pattern in range(PATTERNS):
        keep = modalities_of(pattern)
        full = random_case(4)
        lacking = replace(
            full,
            image=full.image[: len(full.image) * int(keep[0])],
            place=full.place[: len(full.place) * int(keep[0])],
            note=full.note[: len(full.note) * int(keep[1])],
            record=full.record * keep[2],
            taken=full.taken & keep[2],
        )

        same(answer(network, collate([full]).only(keep)), answer(network, [lacking]))


def test_what_stands_in_masked_places_is_never_heard(network: Network) -> None:
    batch = collate(cases_of_every_pattern())

    same(answer(network, garbage(batch)), answer(network, batch))


@pytest.mark.parametrize("modality", range(len(MODALITIES)))
def test_every_modality_is_heard(network: Network, modality: int) -> None:
    batch = collate([random_case(1)])
    name = MODALITIES[modality]

    moved = replace(batch, **{name: getattr(batch, name) + 1})

    assert (answer(network, moved) - answer(network, batch)).abs().max() > 1e-3


def test_nothing_is_left_to_chance_in_use(network: Network) -> None:
    cases = cases_of_every_pattern()

    torch.manual_seed(1)
    first = answer(network, cases)
    torch.manual_seed(2)

    assert torch.equal(answer(network, cases), first)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left_out", range(len(MODALITIES)))
def test_a_modality_that_the_configuration_leaves_out_is_never_heard(kind: str, left_out: int) -> None:
    kept = tuple(name for name in MODALITIES if name != MODALITIES[left_out])
    network = random_network(fusion(kind, modalities=kept))
    keep = torch.ones(len(MODALITIES), dtype=torch.bool)
    keep[left_out] = False
    batch = collate(cases_of_every_pattern())
    name = MODALITIES[left_out]

    same(answer(network, batch), answer(network, batch.only(keep)))
    same(answer(network, replace(batch, **{name: getattr(batch, name) + 1})), answer(network, batch))


@pytest.mark.parametrize("kind", KINDS)
def test_the_probabilities_of_classes_sum_to_one(kind: str) -> None:
    network = random_network(fusion(kind), multi_class=True)
    network.scale *= 20  # sure of itself, where rounding would show

    odds = answer(network, cases_of_every_pattern())

    assert odds.dtype == torch.float64
    assert odds.isfinite().all()
    torch.testing.assert_close(odds.sigmoid().sum(dim=1), torch.ones(8, dtype=torch.float64), rtol=0, atol=1e-6)


def test_the_log_odds_of_classes_are_those_of_the_softmax() -> None:
    network = random_network(fusion(), multi_class=True)
    logits = torch.tensor([[1.0, -2.0, 0.5], [300.0, 0.0, -300.0]])
    pattern = torch.tensor([3, 7])

    odds = network.calibrated(logits, pattern)

    calibrated = (network.scale[pattern, 0] * logits + network.shift[pattern] + network.moved).double()
    torch.testing.assert_close(odds.sigmoid(), calibrated.softmax(dim=-1))
    assert odds.isfinite().all()


def body_of(network: Network) -> Fusion:
    assert isinstance(network.body, Fusion)
    return network.body


@pytest.mark.parametrize("kind", LEARNT)
@pytest.mark.parametrize("multi_class", [False, True])
def test_fewer_than_two_modalities_do_not_interact(kind: str, multi_class: bool) -> None:
    body = body_of(random_network(fusion(kind), multi_class=multi_class))
    assert isinstance(body.rule, Corrected)
    batch = collate(cases_of_every_pattern())

    with torch.inference_mode():
        added = body(batch) - body.rule.joined(body.said(batch), pattern_of(batch.present))

    few = batch.present.sum(dim=1) < 2
    assert few.sum() == 4
    assert (added[few] == 0).all()
    assert (added[~few].abs() > 1e-4).all()


@pytest.mark.parametrize("kind", LEARNT)
def test_without_its_gate_the_model_is_its_stack_or_what_is_needed_together(kind: str) -> None:
    body = body_of(random_network(fusion(kind)))
    assert body.gate is not None
    assert isinstance(body.rule, Corrected)
    body.gate.zero_()
    batch = collate(cases_of_every_pattern())

    with torch.inference_mode():
        said = body.said(batch)
        got = body(batch)

    pattern = pattern_of(batch.present)
    together = body.rule.conjunction.pays[pattern]
    assert 0 < together.sum() < together.numel()
    same(got[~together], body.rule.stacked(said, pattern)[~together])
    same(got[together], body.rule.conjunction(said, pattern)[together])
    assert (said[~batch.present] == 0).all()


@pytest.mark.parametrize("kind", LEARNT)
def test_a_rule_that_has_learnt_nothing_is_its_stack(kind: str) -> None:
    body = Network(WIDTHS, len(LABELS), False, fusion(kind)).eval().body
    assert isinstance(body, Fusion)
    batch = collate(cases_of_every_pattern(), torch.randn(8, 3, 3, generator=torch.Generator().manual_seed(0)))

    with torch.inference_mode():
        same(body(batch), body.rule.stacked(body.said(batch), pattern_of(batch.present)))


@pytest.mark.parametrize("multi_class", [False, True])
def test_a_weighted_sum_is_the_mean_of_the_probabilities_of_the_sides_that_are_there(multi_class: bool) -> None:
    body = body_of(random_network(fusion("weighted_sum"), multi_class=multi_class))
    assert isinstance(body.rule, WeightedSum)
    if multi_class:  # one set of shares for all classes, as training gives them
        body.rule.share.copy_(body.rule.share[..., :1].expand(-1, -1, len(LABELS)))
    batch = collate(cases_of_every_pattern())

    with torch.inference_mode():
        said, got = body.said(batch), body(batch)

    chance = said.softmax(-1) if multi_class else said.sigmoid()
    expected = (chance * body.rule.share[pattern_of(batch.present)]).sum(dim=1)
    torch.testing.assert_close((got.softmax(-1) if multi_class else got.sigmoid())[1:], expected[1:])
    torch.testing.assert_close(got[0], body.rule.prior)


def test_a_product_counts_what_is_known_beforehand_once() -> None:
    body = body_of(random_network(fusion("product")))
    batch = collate(cases_of_every_pattern())

    with torch.inference_mode():
        said, got = body.said(batch), body(batch)

    assert isinstance(body.rule, Product)
    sides = batch.present.sum(dim=1, keepdim=True)
    same(got, said.sum(dim=1) - (sides - 1) * body.rule.prior)


def test_a_gate_weighs_two_cases_differently_and_a_side_that_is_absent_never() -> None:
    body = body_of(random_network(fusion("gated")))
    heard = torch.ones(2, len(MODALITIES), len(LABELS))
    one, other = random_case(1, words=0), random_case(2, words=0)

    with torch.inference_mode():
        answers = body(collate([one, other], heard))
        heard[:, MODALITIES.index("note")] = 50
        same(body(collate([one, other], heard)), answers)

    assert (answers[0] - answers[1]).abs().max() > 1e-3


def test_a_stack_does_not_hear_the_mean_of_class_logits() -> None:
    network = random_network(fusion(), multi_class=True)
    case = [random_case(3)]
    before = answer(network, case)

    for probe in (p for p in body_of(network).modules() if isinstance(p, Probe | TermProbe)):
        probe.bias.add_(5)

    same(answer(network, case), before)


def test_a_cohort_without_a_record_is_answered_from_the_other_two() -> None:
    widths = replace(WIDTHS, columns=0)
    for kind in KINDS:
        network = random_network(fusion(kind), widths=widths)

        answers = answer(network, [random_case(1, widths=widths), random_case(2, words=0, widths=widths)])

        assert answers.isfinite().all()


def test_several_films_of_a_case_are_told_apart_by_their_view() -> None:
    network = random_network(fusion())
    batch = collate([random_case(1)])
    turned = replace(batch, place=batch.place.clone())
    turned.place[..., VIEW] = 2 - turned.place[..., VIEW]

    assert (answer(network, turned) - answer(network, batch)).abs().max() > 1e-4


def test_what_was_heard_from_other_folds_stands_for_the_heads() -> None:
    body = body_of(random_network(fusion()))
    cases = cases_of_every_pattern()
    heard = torch.randn(len(cases), len(MODALITIES), len(LABELS), generator=torch.Generator().manual_seed(3))

    said = body.said(collate(cases, heard))

    present = collate(cases).present[..., None]
    assert torch.equal(said, heard * present)


def test_patterns_and_modalities_name_each_other() -> None:
    for pattern in range(PATTERNS):
        assert int(pattern_of(modalities_of(pattern)[None])) == pattern


@pytest.mark.parametrize("multi_class", [False, True])
@pytest.mark.parametrize("kind", ["cross_attention", "concat"])
def test_four_cases_can_be_learnt_by_heart(kind: str, multi_class: bool) -> None:
    config = fusion(kind, dropout=0, modality_dropout=0)
    widths = Widths(image=6, note=8, layer=4, columns=3, bins=BINS)
    torch.manual_seed(0)
    body = Network(widths, len(LABELS), multi_class, config).body
    truth = (
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]] if multi_class else [[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0]]
    )
    cases = tuple(random_case(seed) for seed in range(4))
    examples = Examples(cases, ("a", "b", "c", "d"), torch.tensor(truth, dtype=torch.float32))
    training = TrainingConfig(epochs=60, batch_size=4, weight_decay=1e-4)
    optimizer = torch.optim.AdamW([p for p in body.parameters() if p.requires_grad], lr=0.02)

    losses = [
        epoch.held_out_loss for epoch in fit(body, optimizer, examples, examples, training, multi_class=multi_class)
    ]

    assert losses[0] > 0.3
    assert losses[-1] < 0.05
