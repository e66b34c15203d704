"""What a note is about is found without any answer, and a wording is understood by the company it keeps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from medmm.judge.metrics import auroc
from medmm.learn.fit import Examples, infer
from medmm.learn.fuse import fit_words
from medmm.learn.themes import themes_of
from medmm.model.terms import BUCKETS, TermProbe
from tests.test_model_terms import noted

GROUPS = (
    ("wheeze", "inhaler", "peakflow", "asthma", "tight", "hayfever"),
    ("calf", "flight", "swollen", "clots", "plaster", "bedbound"),
)
FILLERS = [f"filler{n}" for n in range(60)]
NEVER_ANSWERED = 3
"""The words of each group from here on stand in no note that has an answer."""


def written(topic: int, words: tuple[str, ...], draw: np.random.Generator) -> str:
    """Three words of one topic, far from each other among words that mean nothing."""
    said = draw.choice(words, 3, replace=False)
    return " ".join(f"{word} {' '.join(draw.choice(FILLERS, 7))}" for word in said)


def cohort(answered: int, unanswered: int) -> Examples:
    """Notes on two topics; those with an answer use only the first words of a topic."""
    draw = np.random.default_rng(0)
    topics = draw.integers(2, size=answered + unanswered)
    texts = [
        written(topic, GROUPS[topic] if n >= answered else GROUPS[topic][:NEVER_ANSWERED], draw)
        for n, topic in enumerate(topics.tolist())
    ]
    targets = torch.tensor(topics, dtype=torch.float32)[:, None]
    targets[answered:] = torch.nan
    features = tuple(noted(text, seed=n) for n, text in enumerate(texts))
    return Examples(features, tuple(str(n) for n in range(len(texts))), targets)


def fitted(cases: Examples) -> TermProbe:
    terms = TermProbe(1)
    fit_words(terms, cases, np.arange(len(cases)) % 4, np.zeros(len(cases), dtype=bool), multi_class=False)
    return terms


def test_a_wording_that_no_answered_note_has_is_understood_by_the_company_it_keeps() -> None:
    draw = np.random.default_rng(1)
    topics = np.arange(60) % 2
    new = tuple(noted(written(t, GROUPS[t][NEVER_ANSWERED:], draw)) for t in topics.tolist())
    asked = Examples(new, tuple(str(n) for n in range(60)), torch.zeros(60, 1))

    with_company = infer(fitted(cohort(60, 240)), asked)[:, 0].numpy()
    without = infer(fitted(cohort(60, 0)), asked)[:, 0].numpy()

    assert auroc(topics.astype(float), with_company) > 0.85
    assert auroc(topics.astype(float), without) < 0.8


def test_words_of_one_topic_lie_on_one_side_of_its_theme() -> None:
    cases = cohort(0, 300)
    terms = TermProbe(1)
    terms.learn(300, torch.stack([terms.stand(cases.batch([n])[0])[0] for n in range(300)]).sum(dim=0))

    themes = themes_of(terms, cases)

    strongest = themes[:, 0]
    sides = [[strongest[int(noted(word).terms.max()) - 1] for word in group] for group in GROUPS]
    assert np.sign(sides).sum(axis=1).prod() == -len(GROUPS[0]) * len(GROUPS[1])


def test_the_same_notes_have_the_same_themes_to_the_last_bit() -> None:
    cases = cohort(0, 60)
    one, other = (fitted(replace(cases, targets=torch.ones(60, 1))) for _ in range(2))
    assert np.array_equal(themes_of(one, cases), themes_of(other, cases))
    assert themes_of(one, cases).shape[1] > 1


@pytest.mark.parametrize("text", ["fever", "no fever today " * 12])
def test_notes_that_are_all_alike_or_short_have_no_theme_and_their_words_count_as_before(text: str) -> None:
    notes = tuple(noted(f"{text} {'cough' if n % 2 else 'rash'}", seed=n) for n in range(20))
    cases = Examples(notes, tuple(map(str, range(20))), torch.tensor([[float(n % 2)] for n in range(20)]))

    terms = fitted(cases)

    assert terms.weight.shape == (1, BUCKETS)
    assert auroc(cases.targets[:, 0].numpy(), infer(terms, cases)[:, 0].numpy()) == 1
    assert terms.weight.abs().max() < 100
