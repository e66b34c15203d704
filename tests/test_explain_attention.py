"""Attention is called attention, and relevance is what the interaction rests on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medmm.case import MODALITIES
from medmm.explain import attention
from medmm.explain.attention import attention_to, looks, relevance_to
from medmm.model.folder import Model
from tests.models import LABELS, fusion, model_without_encoders, random_case, random_network


@pytest.fixture(params=[1, 2], ids=["one block", "two blocks"])
def model(request: pytest.FixtureRequest) -> Model:
    return model_without_encoders(random_network(fusion(blocks=request.param)))


def test_attention_of_the_summaries_is_shared_out_among_all_that_they_look_at(model: Model) -> None:
    patches, words = attention_to(model, random_case(1))

    assert patches.shape == (5,)
    assert words.shape == (7,)
    assert (patches >= 0).all()
    # Three summaries look across and within, with a whole attention each; some of it goes to summaries and the record.
    assert 0 < float(patches.sum() + words.sum()) < 2 * len(MODALITIES)


def test_relevance_is_of_each_label_and_never_negative(model: Model) -> None:
    patches, words = relevance_to(model, random_case(1))

    assert patches.shape == (len(LABELS), 5)
    assert words.shape == (len(LABELS), 7)
    assert (patches >= 0).all()
    assert not torch.allclose(patches[0], patches[1])


def test_gradients_with_respect_to_attention_are_those_of_its_own_softmax(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `slope` gives is how the label moves if one attention weight were larger: checked on the layer's own sum."""
    seen = []
    watch = attention._watch

    def spy(*given: object) -> object:
        seen.append(watch(*given))  # type: ignore[arg-type]  # passes on what it was given
        return seen[-1]

    monkeypatch.setattr(attention, "_watch", spy)
    relevance_to(model, random_case(1))
    call = seen[0].within[-1]["image"]
    of_out = torch.randn(call.out.shape, generator=torch.Generator().manual_seed(0))

    slope, weights = call.slope(of_out), call.attention()

    # The layer is linear in its attention: out = W concat(A V) + b, so <of_out, out - b> = sum(slope * A).
    whole = float((of_out * (call.out - call.layer.out_proj.bias)).detach().sum())
    torch.testing.assert_close(float((slope * weights).detach().sum()), whole, rtol=1e-4, atol=1e-4)


def test_each_patch_shares_a_whole_attention_among_words_record_and_summaries(model: Model) -> None:
    found = looks(model, random_case(1))

    assert found.shape == (5, 7)
    assert (found >= 0).all()
    assert ((found.sum(dim=1) > 0) & (found.sum(dim=1) < 1)).all()
    assert not torch.allclose(found, looks(model, random_case(2)))
    assert float(looks(model, random_case(1, words=0)).sum()) == 0


def test_a_side_that_is_hidden_is_attended_to_by_nobody(model: Model) -> None:
    alone = random_case(1, patches=0)

    patches, words = attention_to(model, alone)

    assert float(patches.sum()) == 0
    assert float(words.sum()) > 0


def test_one_side_alone_has_no_relevance_together(model: Model) -> None:
    patches, _ = relevance_to(model, random_case(1, words=0, record=False))

    assert float(patches.sum()) == 0


def test_the_same_case_has_the_same_relevance_twice(model: Model) -> None:
    first, again = (relevance_to(model, random_case(1))[0] for _ in range(2))

    assert torch.equal(first, again)


@pytest.mark.parametrize("kind", ["concat", "gated", "product"])
@pytest.mark.parametrize("ask", [attention_to, relevance_to])
def test_a_model_without_cross_modal_attention_says_so(kind: str, ask: object) -> None:
    plain = model_without_encoders(random_network(fusion(kind)))

    with pytest.raises(ValueError, match="no cross-modal attention"):
        ask(plain, random_case(1))  # type: ignore[operator]  # one of the two functions


def test_relevance_leaves_no_trace_in_the_model(model: Model) -> None:
    before = model.log_odds([random_case(1)])

    relevance_to(model, random_case(1))

    after: Tensor = model.log_odds([random_case(1)])
    assert torch.equal(before, after)
    assert all(parameter.grad is None for parameter in model.network.parameters())
