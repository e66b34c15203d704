"""What each word and each value was worth: whole words, a denial as one, and the same model asked again."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from medmm.explain.hiding import Questions
from medmm.explain.words import record_values, words
from medmm.model.batch import Batch, Features, Layout, collate
from medmm.model.folder import Model
from tests.models import LABELS, RECORD, fusion, model_without_encoders, random_case, random_network

NOTE = "No fever, coughs haemoptysis."
SPANS = ((0, 2), (3, 8), (10, 16), (17, 28))
WORD_OF = (-1, 0, 1, -1, 2, 3, 3, 3, -1, -1)
"""The beginning, 'no', 'fever', a comma, 'coughs', a word of three pieces, a full stop and the end."""


class Reader(nn.Module):
    """A model that sees nothing but channel 0 of word pieces for the first label, and values taken for the second."""

    body = None

    def forward(self, batch: Batch) -> Tensor:
        read = (batch.note[..., 0] * batch.note_mask).sum(dim=1)
        taken = (batch.record_mask * torch.tensor([1.0, 10.0, -4.0])).sum(dim=1)
        return torch.stack([read, taken, torch.zeros_like(read)], dim=1).double()


@pytest.fixture
def case() -> Features:
    return replace(random_case(1, words=len(WORD_OF)), layout=Layout(word_of=WORD_OF, spans=SPANS))


@pytest.fixture
def read(case: Features) -> Features:
    note = torch.zeros_like(case.note)
    note[:, 0] = torch.tensor([9.0, -1.5, 2.0, 9.0, 0.5, 1.0, 1.0, 1.0, 9.0, 9.0])
    return replace(case, note=note)


@pytest.fixture
def model() -> Model:
    return model_without_encoders(random_network(fusion()))


def long_note(count: int) -> tuple[Features, str]:
    """A case with a note of many words, each of one piece; every tenth is denied."""
    text = " ".join("no fever." if word % 10 == 0 else "cough" for word in range(count))
    spans: list[tuple[int, int]] = []
    for word in text.replace(".", " ").split():
        start = text.index(word, spans[-1][1] if spans else 0)
        spans.append((start, start + len(word)))
    layout = Layout(word_of=(-1, *range(len(spans)), -1), spans=tuple(spans))
    return replace(random_case(2, words=len(spans) + 2), layout=layout), text


def test_what_is_denied_has_one_worth_from_its_cue_to_its_end(read: Features) -> None:
    weights = words(Questions(model_without_encoders(Reader()), read), NOTE)[0]

    assert [NOTE[word.start : word.end] for word in weights] == ["No fever", "coughs", "haemoptysis"]
    assert [word.log_odds for word in weights] == pytest.approx([0.5, 0.5, 3.0])


def test_no_word_is_shown_by_its_pieces(model: Model, case: Features) -> None:
    for weights in words(Questions(model, case), NOTE):
        assert [(word.start, word.end) for word in weights] == [(0, 8), (10, 16), (17, 28)]


def test_a_words_worth_is_what_the_label_loses_without_it(model: Model, case: Features) -> None:
    keep = torch.tensor(WORD_OF) != 3
    case = replace(case, terms=case.terms * keep)
    shorter = replace(case, note=case.note[keep], terms=case.terms[keep])

    lost = model.log_odds([case])[0] - model.log_odds([shorter])[0]

    for label, weights in enumerate(words(Questions(model, case), NOTE)):
        assert weights[2].log_odds == pytest.approx(float(lost[label]), abs=1e-5)


def test_words_that_were_not_read_are_left_out_and_a_denial_keeps_its_whole_place(model: Model, case: Features) -> None:
    half_read = replace(case, layout=Layout(word_of=(-1, -1, 1, *[-1] * 7), spans=SPANS))

    (weight,) = words(Questions(model, half_read), NOTE)[0]

    assert NOTE[weight.start : weight.end] == "No fever"


def test_a_case_without_a_note_has_no_words(model: Model) -> None:
    assert words(Questions(model, random_case(1, words=0)), "") == ((), (), ())


def test_a_very_long_note_is_explained_with_few_questions_and_no_denial_is_torn() -> None:
    asked: list[int] = []
    network = random_network(fusion())
    network.register_forward_hook(lambda _, given, answer: asked.append(len(answer)))
    case, text = long_note(3000)

    weights = words(Questions(model_without_encoders(network), case), text)[0]

    assert sum(asked) < 100
    assert weights[0].start == 0
    assert weights[-1].end == len(text.rstrip("."))
    assert not any(text[word.start : word.end].startswith("fever") for word in weights)


def test_a_value_is_worth_what_the_label_loses_without_it(case: Features) -> None:
    taken = replace(case, taken=torch.tensor([True, False, True]))

    worth = record_values(Questions(model_without_encoders(Reader()), taken))

    assert worth[1] == {"age_years": pytest.approx(1.0), "crp_mg_l": pytest.approx(-4.0)}
    assert worth[0] == {"age_years": 0, "crp_mg_l": 0}


def test_values_that_were_not_taken_are_not_named(model: Model) -> None:
    assert [set(worth) for worth in record_values(Questions(model, random_case(1)))] == [
        {"age_years", "crp_mg_l"}
    ] * len(LABELS)
    assert record_values(Questions(model, random_case(1, record=False))) == ({}, {}, {})


def test_hiding_a_value_is_not_having_taken_it(model: Model) -> None:
    case = random_case(1)
    names = list(RECORD)
    taken = case.taken.clone()
    taken[names.index("crp_mg_l")] = False

    lost = model.log_odds([case])[0] - model.log_odds([replace(case, taken=taken)])[0]

    for label, worth in enumerate(record_values(Questions(model, case))):
        assert worth["crp_mg_l"] == pytest.approx(float(lost[label]), abs=1e-5)


def test_sides_may_be_hidden_together_and_more_often_than_goes_at_once(model: Model) -> None:
    case = random_case(1)
    image, note = torch.rand(150, 5) < 0.5, torch.rand(150, 7) < 0.5

    answers = Questions(model, case).without(image=image, note=note)

    assert answers.shape == (150, len(LABELS))
    batch = collate([case])
    shown = replace(batch, image_mask=~image[140:141], note_mask=~note[140:141])
    torch.testing.assert_close(answers[140:141], model.network(shown), atol=1e-5, rtol=1e-5)
