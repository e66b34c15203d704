"""What the model says of a case, and exactly how much each modality added to it.

With three modalities there are eight subsets, so the Shapley value (Shapley 1953) is a sum and not an estimate. The
encoders and the heads run once; only the fusion is asked again, with modalities masked as if the case had come without
them. What it says without each side that is there is one of these answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial

import numpy as np
import torch
from torch import Tensor

from medmm.case import MODALITIES
from medmm.model.batch import Features, collate
from medmm.model.folder import Model
from medmm.model.fusion import modalities_of, pattern_of
from medmm.result import Contribution, Finding, Prediction, Without, call_of

Subset = frozenset[int]


@torch.inference_mode()
def predict(model: Model, cases: Sequence[Features]) -> tuple[Prediction, ...]:
    """Answer for encoded cases, with the contribution of each modality to each finding."""
    if not cases:
        return ()
    batch = collate(cases)
    return predictions(model, cases, model.network.each(batch))


def predictions(model: Model, cases: Sequence[Features], logits: Tensor) -> tuple[Prediction, ...]:
    """Dress what the network says of cases in names.

    Args:
        model: the one that answered.
        cases: B of them.
        logits: (PATTERNS, B, L), see `Network.each`.
    """
    network = model.network
    present = torch.tensor([case.present for case in cases]) & torch.tensor(network.keep)
    worth = {
        _subset(shown): network.calibrated(said, pattern_of(present & modalities_of(shown))).numpy()  # (B, L)
        for shown, said in enumerate(logits)
    }
    known = [name in model.card.run.fusion.modalities for name in MODALITIES]
    return tuple(
        _prediction(model, case, {subset: values[row] for subset, values in worth.items()}, known)
        for row, case in enumerate(cases)
    )


def _subset(pattern: int) -> Subset:
    return frozenset(m for m, there in enumerate(modalities_of(pattern).tolist()) if there)


def shapley(worth: dict[Subset, np.ndarray]) -> np.ndarray:
    """Exact Shapley values from the worth of every subset of players: (players, L).

    They sum to the worth of all players less the worth of none; a player who never changes anything gets exactly 0.
    """
    players = max(worth, key=len)
    values = np.zeros((len(players), *np.shape(worth[frozenset()])))
    for player in players:
        for subset in worth:
            if player not in subset:
                share = factorial(len(subset)) * factorial(len(players) - len(subset) - 1) / factorial(len(players))
                values[player] += share * (worth[subset | {player}] - worth[subset])
    return values


def _prediction(model: Model, case: Features, worth: dict[Subset, np.ndarray], known: list[bool]) -> Prediction:
    """Dress one case's numbers in names."""
    values = shapley(worth)
    base, whole = worth[frozenset()], worth[frozenset(range(len(MODALITIES)))]
    present = [m for m, there in enumerate(case.present) if there and known[m]]
    given = tuple(MODALITIES[m] for m in present)
    alone = sum((worth[frozenset({m})] - base for m in present), np.zeros_like(base))
    interaction = whole - base - alone
    without = {side: _without(model, worth, [m for m in present if m != side]) for side in present}
    findings = tuple(
        Finding(
            label=label,
            probability=_probability(whole[i]),
            threshold=model.card.thresholds[label],
            base_log_odds=float(base[i]),
            contributions=tuple(
                Contribution(name, float(values[m, i]), without[m][i] if m in present else None)
                for m, name in enumerate(MODALITIES)
                if known[m]
            ),
            interaction=float(interaction[i]),
            limits=model.limits(label, given),
        )
        for i, label in enumerate(model.labels)
    )
    return Prediction(
        case_id=case.case_id,
        model_id=model.model_id,
        findings=findings,
        present=given,
        absent=tuple(name for m, name in enumerate(MODALITIES) if known[m] and m not in present),
        remarks=case.remarks,
        doubts=model.likeness.doubts(case) if model.likeness else (),
    )


def _without(model: Model, worth: dict[Subset, np.ndarray], rest: Sequence[int]) -> list[Without]:
    """What is said of each label when only the rest of the sides is there."""
    given = tuple(MODALITIES[m] for m in rest)
    said = [(label, _probability(one)) for label, one in zip(model.labels, worth[frozenset(rest)], strict=True)]
    return [
        Without(probability, call_of(probability, model.card.thresholds[label], model.limits(label, given)))
        for label, probability in said
    ]


def _probability(log_odds: float) -> float:
    return float(np.exp(-np.logaddexp(0, -log_odds)))
