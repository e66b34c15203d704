"""Where cross-modal attention lies, and what of it the answer rests on.

Attention alone is no explanation (Jain & Wallace 2019) and is called attention here. Relevance propagation weighs it by
the gradient of what the interaction adds (Chefer et al. 2021, "Generic attention-model explainability", equations 5 to
7, with the tokens of all sides in one index set). Both see the interaction only, in full, whether or not a gate lets it
into the answer. H heads, N tokens of all sides, L labels, P patches, T word pieces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from medmm.case import MODALITIES
from medmm.model.batch import Features, collate
from medmm.model.folder import Model
from medmm.model.fusion import CrossAttention, Fusion, pattern_of


@dataclass(slots=True, eq=False)
class _Heard:
    """One call of an attention layer: what asks, what is asked, what is hidden, and what came of it."""

    layer: nn.MultiheadAttention
    asks: Tensor
    asked: Tensor
    hidden: Tensor
    out: Tensor

    def attention(self) -> Tensor:
        """(H, asks, asked), rows sum to 1."""
        _, weights = functional.multi_head_attention_forward(
            self.asks.transpose(0, 1),
            self.asked.transpose(0, 1),
            self.asked.transpose(0, 1),
            self.layer.embed_dim,
            self.layer.num_heads,
            self.layer.in_proj_weight,
            self.layer.in_proj_bias,
            None,
            None,
            False,
            0.0,
            self.layer.out_proj.weight,
            self.layer.out_proj.bias,
            training=False,
            key_padding_mask=self.hidden,
            average_attn_weights=False,
        )
        if weights is None:
            raise ValueError("attention was not given back")
        return weights[0]

    def slope(self, of_out: Tensor) -> Tensor:
        """Gradient with respect to what the layer gave (1, asks, D) -> to its attention (H, asks, asked)."""
        width, heads = self.layer.embed_dim, self.layer.num_heads
        values = functional.linear(self.asked[0], self.layer.in_proj_weight[2 * width :], self._bias(width))
        mixed = of_out[0] @ self.layer.out_proj.weight  # with respect to the heads' values, side by side
        of_heads = [part.reshape(len(part), heads, width // heads) for part in (mixed, values)]
        return torch.einsum("ahd,khd->hak", *of_heads)

    def _bias(self, width: int) -> Tensor | None:
        bias: Tensor | None = self.layer.in_proj_bias
        return None if bias is None else bias[2 * width :]


@dataclass(frozen=True, slots=True, eq=False)
class _Watched:
    """What one case did to the attention layers: for each block and side the two calls, and what came of them."""

    correction: Tensor
    """(L,) what the interaction adds to the logits."""
    across: list[dict[str, _Heard]]
    within: list[dict[str, _Heard]]
    sizes: dict[str, int]
    """Tokens of each side, its summary counted."""

    def rows(self, side: str) -> slice:
        """Where the tokens of a side lie among all."""
        before = MODALITIES[: MODALITIES.index(side)]
        start = sum(self.sizes[other] for other in before)
        return slice(start, start + self.sizes[side])

    def spread(self, attention: Tensor, side: str, *, within: bool) -> Tensor:
        """Attention of a side's tokens, or of its first ones (asks, asked) -> in the index set of all: (N, N)."""
        size = sum(self.sizes.values())
        among = torch.zeros(size, size)
        rows = self.rows(side)
        asks = slice(rows.start, rows.start + len(attention))
        if within:
            among[asks, rows] = attention
            return among
        at = 0
        for other in MODALITIES:
            if other != side:
                among[asks, self.rows(other)] = attention[:, at : at + self.sizes[other]]
                at += self.sizes[other]
        return among


def attention_to(model: Model, case: Features) -> tuple[Tensor, Tensor]:
    """How much the summaries of the last block attend to each patch (P,) and word piece (T,): no label's in particular.

    Raises:
        ValueError: if the model has no cross-modal attention.
    """
    with torch.inference_mode(False), torch.no_grad():
        seen = _watch(model, case)
        total = torch.zeros(sum(seen.sizes.values()))
        for side in MODALITIES:
            for calls, within in ((seen.across[-1], False), (seen.within[-1], True)):
                spread = seen.spread(calls[side].attention().mean(dim=0), side, within=within)
                total += spread[seen.rows(side).start]
    return _of_tokens(seen, total)


def looks(model: Model, case: Features) -> Tensor:
    """How much each patch attends to each word piece in the first block, in the mean over heads: (P, T).

    Which words made the model look where, as far as attention tells; rows also attend to the record and to summaries.

    Raises:
        ValueError: if the model has no cross-modal attention.
    """
    with torch.inference_mode(False), torch.no_grad():
        seen = _watch(model, case)
        heard = seen.spread(seen.across[0]["image"].attention().mean(dim=0), "image", within=False)
    image, note = seen.rows("image"), seen.rows("note")
    return heard[image.start + 1 : image.stop, note.start + 1 : note.stop]


def relevance_to(model: Model, case: Features) -> tuple[Tensor, Tensor]:
    """Relevance of each patch (L, P) and word piece (L, T) for each label, through cross-modal attention; not negative.

    Raises:
        ValueError: if the model has no cross-modal attention.
    """
    with torch.inference_mode(False), torch.enable_grad():
        seen = _watch(model, case)
        found = [_relevance(seen, label) for label in seen.correction]
    parts = [_of_tokens(seen, one) for one in found]
    return torch.stack([part[0] for part in parts]), torch.stack([part[1] for part in parts])


def _relevance(seen: _Watched, label: Tensor) -> Tensor:
    """Of each token of any side, for the summaries that are read at the end: (N,)."""
    size = sum(seen.sizes.values())
    relevance = torch.eye(size)
    for across, within in zip(seen.across, seen.within, strict=True):
        for calls, inside in ((across, False), (within, True)):
            outs = [calls[side].out for side in MODALITIES]
            slopes = torch.autograd.grad(label, outs, retain_graph=True, allow_unused=True)
            step = torch.zeros(size, size)
            for side, slope in zip(MODALITIES, slopes, strict=True):
                if slope is not None:
                    weighed = (calls[side].slope(slope) * calls[side].attention()).clamp(min=0).mean(dim=0)
                    step += seen.spread(weighed.detach(), side, within=inside)
            relevance = relevance + step @ relevance
    summaries = [seen.rows(side).start for side in MODALITIES]
    return relevance[summaries].sum(dim=0)


def _of_tokens(seen: _Watched, total: Tensor) -> tuple[Tensor, Tensor]:
    """All tokens (N,) -> the patches and the word pieces, without their summaries."""
    image, note = seen.rows("image"), seen.rows("note")
    return total[image.start + 1 : image.stop], total[note.start + 1 : note.stop]


def _watch(model: Model, case: Features) -> _Watched:
    """Let the interaction look at one case, and keep what went through its attention layers."""
    body = model.network.body
    if not isinstance(body, Fusion) or not isinstance(body.rule, CrossAttention):
        raise ValueError("the model has no cross-modal attention")
    heard: list[_Heard] = []

    def keep(layer: nn.Module, given: tuple[Tensor, ...], named: dict[str, Any], out: tuple[Tensor, ...]) -> None:
        heard.append(
            _Heard(cast("nn.MultiheadAttention", layer), given[0], given[1], named["key_padding_mask"], out[0])
        )

    batch = collate([case])
    batch = replace(batch, image=batch.image.requires_grad_(torch.is_grad_enabled())).only(torch.tensor(body.keep))
    layers = [module for module in body.rule.modules() if isinstance(module, nn.MultiheadAttention)]
    hooks = [layer.register_forward_hook(keep, with_kwargs=True) for layer in layers]
    try:
        correction = body.rule.correction(batch, body.said(batch), pattern_of(batch.present))[0]
    finally:
        for hook in hooks:
            hook.remove()
    calls = [heard[start : start + 2 * len(MODALITIES)] for start in range(0, len(heard), 2 * len(MODALITIES))]
    tokens = zip(MODALITIES, (batch.image, batch.note, batch.record), strict=True)
    return _Watched(
        correction,
        [dict(zip(MODALITIES, block[0::2], strict=True)) for block in calls],
        [dict(zip(MODALITIES, block[1::2], strict=True)) for block in calls],
        {side: 1 + one.shape[1] for side, one in tokens},
    )
