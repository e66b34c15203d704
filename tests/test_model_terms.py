"""A note's words count as they stand, beside what BERT makes of them; what is hidden of a note is hidden from both."""

import re

import numpy as np
import pytest
import torch

from medmm.judge.metrics import auroc
from medmm.learn.fit import Examples, infer
from medmm.learn.heads import fit_head
from medmm.model.batch import Batch, Features, collate
from medmm.model.heads import Head
from medmm.model.terms import BUCKETS, TermProbe, terms_of
from tests.models import WIDTHS, random_case

WORD = re.compile(r"\w+")


def noted(text: str, seed: int = 0) -> Features:
    """A case of which only the words mean something: what stands for BERT is noise. A piece a character."""
    spans = tuple(match.span() for match in WORD.finditer(text))
    word_of = [next((n for n, (a, b) in enumerate(spans) if a <= at < b), -1) for at in range(len(text))]
    case = random_case(seed, patches=0, words=len(text), record=False)
    return Features(
        **{name: getattr(case, name) for name in case.__slots__} | {"terms": terms_of(text, word_of, spans)}
    )


def standing(text: str, hidden: str = "") -> set[int]:
    """Buckets of a note, with one of its words hidden."""
    batch = collate([noted(text)])
    if hidden:
        at = text.index(hidden)
        batch.note_mask[:, at : at + len(hidden)] = False
    return set(torch.nonzero(TermProbe(1).stand(batch)[0]).flatten().tolist())


def test_each_word_and_each_pair_of_neighbours_stands_once() -> None:
    assert len(standing("no fever, no cough")) == 3 + 3


def test_order_matters_and_capitals_and_stops_do_not() -> None:
    assert standing("No fever. Cough") == standing("no fever cough") != standing("fever no cough")


def test_a_hidden_word_takes_its_pairs_with_it() -> None:
    assert standing("no fever cough", hidden="fever") == standing("no") | standing("cough")


def test_a_note_says_the_same_alone_and_beside_a_longer_one() -> None:
    terms = TermProbe(1)
    terms.counted.fill_(1)
    alone, beside = (
        terms.shares(collate([noted("no fever")])),
        terms.shares(collate([noted("no fever"), noted("cough " * 30)])),
    )
    assert torch.equal(alone[0], beside[0])


def test_a_case_without_note_has_no_terms() -> None:
    terms = TermProbe(1)
    terms.counted.fill_(1)
    assert not terms.shares(collate([random_case(0, words=0), noted("fever")]))[0].any()


def test_a_word_that_stands_in_one_note_only_counts_for_nothing() -> None:
    terms, batch = TermProbe(1), collate([noted("fever today"), noted("fever yesterday")])
    terms.learn(terms.stand(batch).sum(dim=0))
    assert torch.count_nonzero(terms.shares(batch)[0]) == 1


def test_a_bucket_does_not_spell_its_word() -> None:
    buckets = [int(terms_of(f"word{n}", [0], [(0, 10)])[0]) for n in range(4 * BUCKETS)]
    assert min(buckets) >= 1
    assert max(buckets) <= BUCKETS
    assert np.median(np.bincount(buckets)) >= 3


@pytest.mark.parametrize("multi_class", [False, True])
def test_a_note_head_ranks_by_words_that_bert_does_not_tell_apart(multi_class: bool) -> None:
    rng = np.random.default_rng(0)
    answer = rng.random(240) < 0.5
    fillers = ["seen today", "lives alone", "works nights", "no allergies"]
    texts = [f"{rng.choice(fillers)} {'has' if yes else 'denies'} fever {rng.choice(fillers)}" for yes in answer]
    columns = [answer, ~answer, np.zeros(240)] if multi_class else [answer, rng.random(240) < 0.5, answer]
    cases = Examples(
        tuple(noted(text, seed) for seed, text in enumerate(texts)),
        tuple(str(n) for n in range(240)),
        torch.tensor(np.stack(columns, axis=1), dtype=torch.float32),
    )
    learnt, asked = cases.take(range(160)), cases.take(range(160, 240))
    head = Head("note", WIDTHS, 3)
    held_out = fit_head(head, learnt, np.arange(160) % 4, np.zeros(160, dtype=bool), multi_class)
    assert auroc(answer[:160], held_out[:, 0].numpy()) > 0.97
    assert auroc(answer[160:], infer(head, asked)[:, 0].numpy()) > 0.97


def test_a_batch_keeps_terms_beside_their_pieces() -> None:
    batch: Batch = collate([noted("no fever"), noted("cough")])
    assert batch.terms.shape == batch.note_mask.shape
    assert not batch.terms[~batch.note_mask].any()
