"""The model: a head for each modality, a rule that makes one answer of theirs, and the calibration of that answer.

    logits = rule(what the heads say)        then, by pattern of present modalities, calibration

Every rule has the same shape, `rule(batch, said, pattern) -> logits`, and carries the stack of its heads, the floor
that it is set beside:

    stack              bias + sum of weight x said         weights by pattern, from label to label among classes
    weighted_sum       sum of share x probability          shares by pattern and label, chosen on held-out answers
    product            prior + sum of (said - prior)       a product of experts; nothing to choose
    gated              stack, reweighed case by case       a small network that looks at what is present
    cross_attention    stack + gate x interaction          attention between the tokens of all sides

A pattern is the set of modalities that a case has, as a number from 0 to 7; each has its own weights, gate and
calibration, so a missing side is not a special case of a complete one. What a head says of a side that is absent is 0
and weighs nothing. B cases, M modalities, L labels, D width, F pooled features.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from medmm.case import MODALITIES
from medmm.config import FusionConfig
from medmm.model.batch import Batch
from medmm.model.dropout import Dropout, chance
from medmm.model.heads import Head, Pool, Textbook, Widths
from medmm.model.interaction import Interaction

PATTERNS = 2 ** len(MODALITIES)


def pattern_of(present: Tensor) -> Tensor:
    """(B, M) bool -> (B,) from 0 (nothing) to 7 (image, note and record)."""
    return (present.long() * torch.tensor([1, 2, 4], device=present.device)).sum(dim=1)


def modalities_of(pattern: int) -> Tensor:
    """The inverse: (M,) bool."""
    return torch.tensor([bool(pattern & bit) for bit in (1, 2, 4)])


class Stack(nn.Module):
    """Late fusion in log-odds: a product of experts with weights (Wolpert 1992). Every rule carries one.

    What a side says of one class may speak for or against another; labels that do not exclude each other are weighed
    one by one, and their weights are diagonal.
    """

    stack_weight: Tensor
    stack_bias: Tensor
    there: Tensor

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.register_buffer("stack_weight", torch.eye(labels).repeat(PATTERNS, len(MODALITIES), 1, 1))
        self.register_buffer("stack_bias", torch.zeros(PATTERNS, labels))
        there = torch.stack([modalities_of(pattern) for pattern in range(PATTERNS)])
        self.register_buffer("there", there, persistent=False)

    def forward(self, batch: Batch, said: Tensor, pattern: Tensor) -> Tensor:
        """Cases, what their heads say (B, M, L) and their patterns (B,) -> (B, L) logits."""
        return self.stacked(said, pattern)

    def stacked(self, said: Tensor, pattern: Tensor) -> Tensor:
        """The stack alone: (B, M, L) and (B,) -> (B, L)."""
        return self.stack_bias[pattern] + self.weighed(said, pattern).sum(dim=1)

    def weighed(self, said: Tensor, pattern: Tensor) -> Tensor:
        """What each side adds to the stack: (B, M, L) and (B,) -> (B, M, L)."""
        return torch.einsum("bml,bmlk->bmk", said, self.stack_weight[pattern])

    @property
    def prior(self) -> Tensor:
        """(L,) what is said of a case with nothing."""
        return self.stack_bias[0]


class WeightedSum(Stack):
    """The textbook's late fusion: probabilities, averaged with shares that sum to one for each pattern."""

    share: Tensor

    def __init__(self, labels: int, multi_class: bool) -> None:
        super().__init__(labels)
        self.multi_class = multi_class
        even = self.there / self.there.sum(dim=1, keepdim=True).clamp(min=1)
        self.register_buffer("share", even[:, :, None].repeat(1, 1, labels))

    def forward(self, batch: Batch, said: Tensor, pattern: Tensor) -> Tensor:
        """-> (B, L)."""
        share = self.share[pattern].log()  # (B, M, L), -inf for what is absent
        if self.multi_class:
            mixed = (share + said.log_softmax(dim=-1)).logsumexp(dim=1)
        else:
            yes, no = (nn.functional.logsigmoid(sign * said) for sign in (1, -1))
            mixed = (share + yes).logsumexp(dim=1) - (share + no).logsumexp(dim=1)
        return torch.where(pattern[:, None] > 0, mixed, self.prior)


class Product(Stack):
    """Experts that are independent given the answer: each adds its log-odds, less the prior's (Hinton 2002)."""

    def forward(self, batch: Batch, said: Tensor, pattern: Tensor) -> Tensor:
        """-> (B, L)."""
        evidence = (said - self.prior) * self.there[pattern][..., None]
        return self.prior + evidence.sum(dim=1)


class Conjunction(nn.Module):
    """What a label needs of two parties of sides together, where a stack can only add up what each of them says.

    Each party tells how likely something is that nobody has labelled, a finding on the film or a history in the note
    and the record, and a table holds the chance of the label with neither, one or both: a Bayesian network of two
    hidden causes (Pearl 1988). Where pneumonia needs both, the surest film of a patient without any history leaves it
    unlikely.
    """

    party_weight: Tensor
    party_bias: Tensor
    table: Tensor
    pays: Tensor

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.register_buffer("party_weight", torch.zeros(PATTERNS, 2, len(MODALITIES), labels))
        self.register_buffer("party_bias", torch.zeros(PATTERNS, 2, labels))
        self.register_buffer("table", torch.zeros(PATTERNS, 4, labels))
        self.register_buffer("pays", torch.zeros(PATTERNS, labels, dtype=torch.bool))

    def forward(self, said: Tensor, pattern: Tensor) -> Tensor:
        """What heads say (B, M, L) and patterns (B,) -> (B, L) log-odds; means something where `pays` is set."""
        each = self.party_bias[pattern] + torch.einsum("bml,bpml->bpl", said, self.party_weight[pattern])
        first, second = nn.functional.logsigmoid(torch.stack([-each, each], dim=1)).unbind(dim=2)  # (B, no or yes, L)
        state = (second[:, :, None] + first[:, None]).flatten(1, 2)  # (B, 4, L): neither, first, second, both
        yes, no = (nn.functional.logsigmoid(sign * self.table[pattern]) for sign in (1, -1))
        return (state + yes).logsumexp(dim=1) - (state + no).logsumexp(dim=1)


class Corrected(Stack):
    """The stack, or a conjunction where that pays, and a correction that is learnt by gradient behind a gate.

    Both are let in only as far as held-out cases pay for it.
    """

    gate: Tensor

    def __init__(self, labels: int) -> None:
        super().__init__(labels)
        self.conjunction = Conjunction(labels)
        self.register_buffer("gate", torch.ones(PATTERNS, labels))

    def forward(self, batch: Batch, said: Tensor, pattern: Tensor) -> Tensor:
        """-> (B, L); what no gate lets in is not computed once learning is over."""
        joined, gate = self.joined(said, pattern), self.gate[pattern]
        if not self.training and not bool(gate.any()):
            return joined
        return joined + gate * self.correction(batch, said, pattern)

    def joined(self, said: Tensor, pattern: Tensor) -> Tensor:
        """What the correction starts from: (B, M, L) and (B,) -> (B, L)."""
        stacked, pays = self.stacked(said, pattern), self.conjunction.pays[pattern]
        return torch.where(pays, self.conjunction(said, pattern), stacked) if bool(pays.any()) else stacked

    def correction(self, batch: Batch, said: Tensor, pattern: Tensor) -> Tensor:
        """What is added to it in full: (B, L); exactly 0 for a case with fewer than two modalities."""
        raise NotImplementedError


class Gated(Corrected):
    """A mixture of experts: how much each present side counts for this case, seen from its tokens (Jacobs 1991).

    Counts are positive and their mean over the sides that are there is 1, which is the stack.
    """

    def __init__(self, widths: Widths, labels: int, config: FusionConfig) -> None:
        super().__init__(labels)
        self.pools = nn.ModuleDict({m: Pool(m, widths.prior) for m in config.modalities})
        self.look = nn.ModuleDict(
            {
                m: nn.Sequential(nn.LayerNorm(widths.pooled(m)), nn.Linear(widths.pooled(m), config.width))
                for m in config.modalities
                if widths.pooled(m)
            }
        )
        self.hear = nn.Linear(len(MODALITIES) * labels, config.width)
        self.think = nn.Sequential(nn.GELU(), Dropout(config.dropout))
        self.decide = nn.Linear(config.width, len(MODALITIES), bias=False)
        nn.init.zeros_(self.decide.weight)

    def correction(self, batch: Batch, said: Tensor, pattern: Tensor) -> Tensor:
        """-> (B, L)."""
        there = self.there[pattern]  # (B, M)
        seen = self.hear(said.flatten(1))
        for i, m in enumerate(MODALITIES):
            if m in self.look:
                seen = seen + self.look[m](self.pools[m](batch)) * there[:, i : i + 1]
        weight = self.decide(self.think(seen)).masked_fill(~there, torch.finfo(seen.dtype).min).softmax(dim=-1)
        counts = weight * there.sum(dim=1, keepdim=True) - 1
        return torch.as_tensor((counts[..., None] * self.weighed(said, pattern)).sum(dim=1))


class CrossAttention(Corrected):
    """What the sides say together and none says alone."""

    def __init__(self, widths: Widths, labels: int, config: FusionConfig) -> None:
        super().__init__(labels)
        self.interaction = Interaction(widths, labels, config)

    def correction(self, batch: Batch, said: Tensor, pattern: Tensor) -> Tensor:
        """-> (B, L)."""
        return torch.as_tensor(self.interaction(batch, said))


def make_rule(widths: Widths, labels: int, multi_class: bool, config: FusionConfig) -> Stack:
    """The rule that `config.kind` names."""
    match config.kind:
        case "weighted_sum":
            return WeightedSum(labels, multi_class)
        case "product":
            return Product(labels)
        case "gated":
            return Gated(widths, labels, config)
        case _:
            return CrossAttention(widths, labels, config)


class Fusion(nn.Module):
    """Heads and the rule that makes one answer of what they say."""

    def __init__(self, widths: Widths, labels: int, multi_class: bool, config: FusionConfig) -> None:
        super().__init__()
        self.labels = labels
        self.multi_class = multi_class
        self.keep = [name in config.modalities for name in MODALITIES]
        self.modality_dropout = config.modality_dropout
        self.heads = nn.ModuleDict({m: Head(m, widths, labels) for m in config.modalities})
        self.rule = make_rule(widths, labels, multi_class, config)

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, L) logits before calibration."""
        batch = self.shown(batch)
        return torch.as_tensor(self.rule(batch, self.said(batch), pattern_of(batch.present)))

    def shown(self, batch: Batch) -> Batch:
        """The same cases with the modalities that are used, and while learning only some of them by chance."""
        keep = torch.tensor(self.keep, device=batch.image.device).expand(len(batch.image), -1)
        if self.training:
            keep = keep & (chance(keep.shape, keep.device) >= self.modality_dropout)
        return batch.only(keep)

    def said(self, batch: Batch) -> Tensor:
        """What each head says: (B, M, L); 0 where the modality is absent."""
        if batch.heard is not None:
            return batch.heard * batch.present[..., None]
        return torch.stack([self.said_of(m, batch) for m in MODALITIES], dim=1) * batch.present[..., None]

    def said_of(self, modality: str, batch: Batch) -> Tensor:
        """What one head says (B, L), 0 of a modality that is not used; finite, and for nobody, where it is absent."""
        if modality not in self.heads:
            return torch.zeros(len(batch.image), self.labels, device=batch.image.device)
        said: Tensor = self.heads[modality](batch)
        return centred(said) if self.multi_class else said

    @property
    def gate(self) -> Tensor | None:
        """(PATTERNS, L) share of the correction that held-out cases paid for; None for a rule without one."""
        return self.rule.gate if isinstance(self.rule, Corrected) else None


def centred(logits: Tensor) -> Tensor:
    """Logits of classes with mean 0, since a softmax does not see their mean and a stack would."""
    return logits - logits.mean(dim=-1, keepdim=True)


class Network(nn.Module):
    """A body that gives logits, and the calibration that turns them into log-odds that mean what they say."""

    scale: Tensor
    shift: Tensor
    bounds: Tensor
    moved: Tensor

    def __init__(self, widths: Widths, labels: int, multi_class: bool, config: FusionConfig) -> None:
        super().__init__()
        self.multi_class = multi_class
        self.body: Fusion | Textbook = (
            Textbook(widths, labels, config) if config.kind == "concat" else Fusion(widths, labels, multi_class, config)
        )
        self.keep = [name in config.modalities for name in MODALITIES]
        self.register_buffer("scale", torch.ones(PATTERNS, 2, labels))
        self.register_buffer("shift", torch.zeros(PATTERNS, labels))
        self.register_buffer("bounds", torch.tensor([0.0, 1.0])[:, None].repeat(PATTERNS, 1, labels))
        self.register_buffer("moved", torch.zeros(labels))

    def forward(self, batch: Batch) -> Tensor:
        """-> (B, L) calibrated log-odds of each label."""
        batch = batch.only(torch.tensor(self.keep, device=batch.image.device))
        return self.calibrated(self.body(batch), pattern_of(batch.present))

    def each(self, batch: Batch) -> Tensor:
        """Logits before calibration of the same cases with each set of modalities shown: (PATTERNS, B, L).

        What a head says does not depend on the other sides, so that each is asked once.
        """
        batch = batch.only(torch.tensor(self.keep, device=batch.image.device))
        if isinstance(self.body, Fusion):
            batch = replace(batch, heard=self.body.said(batch))
        shown = [batch.only(modalities_of(pattern).to(batch.image.device)) for pattern in range(PATTERNS)]
        return torch.stack([self.body(one) for one in shown])

    def uncalibrated(self) -> Network:
        """A copy that gives its logits as they are."""
        bare = copy.deepcopy(self)
        bare.scale.fill_(1)
        bare.shift.fill_(0)
        bare.bounds[:, 0], bare.bounds[:, 1] = 0, 1
        bare.moved.fill_(0)
        return bare

    def calibrated(self, logits: Tensor, pattern: Tensor) -> Tensor:
        """Logits (B, L) of cases with these patterns (B,) -> log-odds (B, L); of classes the first scale counts.

        `moved` is what another prevalence adds.
        """
        scale, shift = self.scale[pattern].double(), self.shift[pattern].double()
        if not self.multi_class:
            bounds = self.bounds[pattern].double().transpose(0, 1)
            return bent(logits.double(), scale.transpose(0, 1), shift, bounds) + self.moved
        logits = scale[:, 0] * logits.double() + shift + self.moved
        log_p = logits.log_softmax(dim=-1)
        others = torch.stack(
            [
                logits.masked_fill(torch.eye(logits.shape[1], device=logits.device)[c].bool(), -torch.inf).logsumexp(-1)
                for c in range(logits.shape[1])
            ],
            dim=1,
        ) - logits.logsumexp(dim=-1, keepdim=True)
        return log_p - others


def bent(logits: Tensor, scale: Tensor, shift: Tensor, bounds: Tensor | None = None) -> Tensor:
    """Logits (B, L) on a curve that never falls, as log-odds.

    Args:
        logits: (B, L).
        scale: (2, ..., L) of ln p and of -ln(1 - p). With both the same it is Platt's line, otherwise beta calibration
            (Kull 2017).
        shift: (..., L), added.
        bounds: (2, ..., L) between which all probabilities lie, as where a side can say no more than that one of two
            things that are needed is there; none if None.
    """
    yes, no = nn.functional.logsigmoid(logits), nn.functional.softplus(logits)
    log_odds = torch.as_tensor(scale[0] * yes + scale[1] * no + shift)
    if bounds is None:
        return log_odds
    width = (bounds[1] - bounds[0]).log()
    sure = torch.logaddexp(bounds[0].log(), width + nn.functional.logsigmoid(log_odds))
    not_sure = torch.logaddexp((1 - bounds[1]).log(), width + nn.functional.logsigmoid(-log_odds))
    return sure - not_sure
