"""What one side says on its own: of the parts of a head those are heard that tell of cases they have not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from medmm.config import NumberColumn
from medmm.learn import heads
from medmm.learn.fit import Examples, infer, loss_of
from medmm.learn.heads import fit_copies, fit_head
from medmm.model.batch import collate
from medmm.model.heads import Copies, Head, Widths
from medmm.tensors import RecordBins
from tests.cohorts import planted_cases
from tests.models import LABELS, WIDTHS


def spoken(cases: Examples, loud: float, seed: int, noise: float = 0.3) -> Examples:
    """The same cases, with what taught copies say of each label behind the channels of every patch."""
    draw = torch.Generator().manual_seed(seed)
    said = [
        loud * (2 * answers.nan_to_num(0.5) - 1) + noise * torch.randn(answers.shape, generator=draw)
        for answers in cases.targets
    ]
    features = tuple(
        replace(case, image=torch.cat([case.image, one.half().expand(len(case.image), -1)], dim=1))
        for case, one in zip(cases.features, said, strict=True)
    )
    return replace(cases, features=features)


def head_of_copies() -> Head:
    widths = replace(WIDTHS, image=WIDTHS.image + len(LABELS), image_copies=(WIDTHS.image, WIDTHS.image + len(LABELS)))
    return Head("image", widths, len(LABELS))


@pytest.mark.parametrize(("loud", "trusted"), [(2.0, True), (0.0, False)])
def test_what_taught_copies_say_is_trusted_as_far_as_held_out_cases_say(loud: float, trusted: bool) -> None:
    cases = spoken(planted_cases(80, seed=1, loudness=(0.3, 0.3, 0.3)), loud, seed=3)
    head = head_of_copies()
    fold_of = np.arange(len(cases)) % 4

    held_out = fit_head(head, cases, fold_of, np.zeros(len(cases), dtype=bool), multi_class=False)

    copies = infer(Copies("image", head.probe.pool.without, len(LABELS)), cases)
    assert (head.trust >= 0.5).all() if trusted else (head.trust <= 0.25).all()
    if trusted:
        assert loss_of(held_out, cases.targets, False) < 0.7 * loss_of(0 * copies, cases.targets, False)


def test_taught_copies_that_rank_well_are_trusted_though_they_say_too_much() -> None:
    cases = spoken(planted_cases(80, seed=1, loudness=(0.3, 0.3, 0.3)), loud=200, seed=3, noise=200)
    head = head_of_copies()
    said = infer(Copies("image", head.probe.pool.without, len(LABELS)), cases)
    assert loss_of(said, cases.targets, False) > 1  # worse than nothing, as they are

    held_out = fit_head(head, cases, np.arange(len(cases)) % 4, np.zeros(len(cases), dtype=bool), multi_class=False)

    for label, answers in enumerate(cases.targets.T):
        told = answers.isfinite()
        alone, mixed = (roc_auc_score(answers[told], part[told, label]) for part in (said, held_out))
        assert mixed > alone - 0.02


def test_the_probe_of_a_taught_encoder_reads_the_frozen_channels_alone() -> None:
    cases = planted_cases(80, seed=1)
    fold_of, nobody = np.arange(len(cases)) % 4, np.zeros(len(cases), dtype=bool)
    frozen, taught = Head("image", WIDTHS, len(LABELS)), head_of_copies()

    fit_head(frozen, cases, fold_of, nobody, multi_class=False)
    fit_head(taught, spoken(cases, 2.0, seed=3), fold_of, nobody, multi_class=False)

    torch.testing.assert_close(taught.probe.weight, frozen.probe.weight)


@pytest.mark.parametrize("modality", ["image", "note"])
def test_what_is_plain_of_tokens_is_their_mean(modality: str) -> None:
    cases = planted_cases(6, seed=1)
    head = Head(modality, WIDTHS, len(LABELS))
    tokens = [getattr(case, modality).float().mean(dim=0) for case in cases.features]

    plain = infer(head.probe.pool, cases).numpy() @ head.probe.plain

    np.testing.assert_allclose(plain, torch.stack(tokens).numpy(), atol=1e-6)


def aged(count: int, *, even: bool) -> tuple[Examples, Widths]:
    """Cases of an age, which the answers follow evenly or in waves."""
    columns = {"age": NumberColumn(unit="a")}
    rng = np.random.default_rng(6)
    ages = np.round(rng.gamma(2, 15, count), 2)
    bins = RecordBins.learn(columns, [{"age": age} for age in ages])
    slope = (ages - 30) / 10 if even else 3 * np.sin(np.searchsorted(bins.edges["age"], ages) * np.pi / 2)
    targets = torch.from_numpy(rng.random((count, len(LABELS))) < 1 / (1 + np.exp(-slope))[:, None]).float()
    features = []
    for case, age in zip(planted_cases(count).features, ages, strict=True):
        record, taken = (torch.from_numpy(one) for one in bins.encode({"age": float(age)}))
        features.append(replace(case, record=record, taken=taken))
    widths = replace(WIDTHS, columns=1, bins=bins.width, steps=bins.steps)
    return Examples(tuple(features), tuple(f"p{n}" for n in range(count)), targets), widths


@pytest.mark.parametrize(("even", "count"), [(True, 60), (False, 600)])
def test_a_number_is_read_as_a_number_where_cases_are_few_and_in_bins_where_they_show_more(
    even: bool, count: int
) -> None:
    cases, widths = aged(count, even=even)
    fold_of, nobody = np.arange(count) % 4, np.zeros(count, dtype=bool)
    head, binned = (Head("record", one, len(LABELS)) for one in (widths, replace(widths, steps=())))

    said = [fit_head(one, cases, fold_of, nobody, multi_class=False) for one in (head, binned)]
    losses = [float(loss_of(one, cases.targets, False)) for one in said]

    assert losses[0] < losses[1] if even else losses[0] == pytest.approx(losses[1], rel=0.01)


@pytest.mark.parametrize("multi_class", [False, True])
def test_of_two_probes_that_rank_alike_the_quieter_is_not_heard_for_saying_less(multi_class: bool) -> None:
    rng = np.random.default_rng(3)
    truth = torch.from_numpy(rng.normal(size=(200, 3))).float()
    answers = torch.from_numpy(rng.random((200, 3))).float() < truth.sigmoid()
    if multi_class:
        answers = nn.functional.one_hot(torch.from_numpy(rng.integers(3, size=200)), 3) > 0

    share = heads._worth(0.3 * truth, 4 * truth, answers.float(), multi_class)

    assert (share == 1).all()


def test_a_plane_of_which_no_copy_speaks_does_not_count() -> None:
    cases = spoken(planted_cases(4, seed=1), 2.0, seed=3)
    (case, *_) = cases.features
    silent_plane = case.image[:1].clone()
    silent_plane[:, WIDTHS.image :] = 0
    longer = replace(case, image=torch.cat([case.image, silent_plane]), place=torch.cat([case.place, case.place[:1]]))
    copies = Copies("image", (WIDTHS.image, WIDTHS.image + len(LABELS)), len(LABELS))

    torch.testing.assert_close(copies(collate([longer])), copies(collate([case])))


def spotted(cases: Examples, seed: int, *, patches: int = 25) -> Examples:
    """The same cases, of whose cells one alone is where a copy says that a label holds, if it does."""
    rng = np.random.default_rng(seed)
    features = []
    for case, answers in zip(cases.features, cases.targets, strict=True):
        said = torch.from_numpy(rng.normal(size=(patches, len(LABELS)))).float()
        said[rng.integers(patches)] += 4 * (answers == 1)
        image = case.image[:1].expand(patches, -1)
        place = case.place[:1].expand(patches, -1)
        features.append(replace(case, image=torch.cat([image, said.half()], dim=1), place=place))
    return replace(cases, features=tuple(features))


@pytest.mark.parametrize("multi_class", [False, True])
def test_what_shows_in_one_cell_is_found_by_the_largest_that_copies_say(multi_class: bool) -> None:
    learnt, asked = (
        spotted(planted_cases(150, seed=seed, loudness=(0, 0, 0), multi_class=multi_class), seed) for seed in (1, 2)
    )
    copies = Copies("image", (WIDTHS.image, WIDTHS.image + len(LABELS)), len(LABELS))
    mean = infer(copies, asked)

    fit_copies(copies, learnt, multi_class)

    for label, answers in enumerate(asked.targets.T):
        before, after = (roc_auc_score(answers, said[:, label]) for said in (mean, infer(copies, asked)))
        assert after > before + 0.05
        assert after > 0.9


def test_the_largest_counts_for_little_where_the_mean_says_it_all() -> None:
    cases = spoken(planted_cases(150, seed=1, loudness=(0, 0, 0)), 1.0, seed=3)
    rng = np.random.default_rng(0)
    features = []
    for case in cases.features:  # one cell shouts of no matter what, and another takes it back
        image = case.image.clone()
        loud = torch.from_numpy(rng.normal(0, 5, size=len(LABELS))).half()
        image[0, WIDTHS.image :] += loud
        image[1, WIDTHS.image :] -= loud
        features.append(replace(case, image=image))
    copies = Copies("image", (WIDTHS.image, WIDTHS.image + len(LABELS)), len(LABELS))

    fit_copies(copies, replace(cases, features=tuple(features)), multi_class=False)

    assert (copies.weight[1] < 0.2 * copies.weight[0]).all()
