"""Values of result.py as the store keeps them, there and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import numpy as np

from medmm.placement import Placement
from medmm.result import (
    Contribution,
    Deletion,
    Evidence,
    Explanation,
    Film,
    Finding,
    Limits,
    Origin,
    Overlay,
    Prediction,
    Region,
    SimilarCase,
    Without,
    WordWeight,
)


def now() -> datetime:
    """UTC without a zone, as databases keep it."""
    return datetime.now(UTC).replace(tzinfo=None)


def utc(at: datetime) -> datetime:
    """The way back: with its zone."""
    return at.replace(tzinfo=UTC)


def absent_out(prediction: Prediction) -> str:
    """The modalities that a case does not have, each between commas, so that one can be looked for."""
    return "".join(f",{modality}," for modality in prediction.absent)


def finding_out(prediction_id: int | None, place: int, finding: Finding) -> dict[str, object]:
    """A finding as a row of its table."""
    values = _by_name(finding) | {
        "contributions": json.dumps(finding.contributions, default=_by_name),
        "limits": None if finding.limits is None else json.dumps(finding.limits, default=_by_name),
        "called": finding.call,
    }
    return {"prediction_id": prediction_id, "place": place, **values}


def _by_name(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, as JSON wants them; what it holds itself JSON asks for in turn."""
    return {one.name: getattr(value, one.name) for one in fields(value)}


def finding_in(row: Any) -> Finding:
    """A row as a finding."""
    contributions = tuple(_contribution_in(item) for item in json.loads(row.contributions))
    limits = None if row.limits is None else Limits(**json.loads(row.limits))
    return Finding(row.label, row.probability, row.threshold, row.base_log_odds, contributions, row.interaction, limits)


def _contribution_in(kept: dict[str, Any]) -> Contribution:
    without = kept.get("without")  # older predictions did not say
    return Contribution(**kept | {"without": None if without is None else Without(**without)})


def prediction_in(row: Any, model_id: str, findings: Sequence[Finding]) -> Prediction:
    """A row and its findings as a prediction."""
    said = {name: tuple(value) for name, value in json.loads(row.said).items()}
    return Prediction(row.case_id, model_id, tuple(findings), **said)


def evidence_out(evidence: Evidence) -> str:
    """As JSON; a cell where the model did not look is null."""
    explanations = [
        {
            "label": e.label,
            "method": e.method,
            "overlays": [{"cells": _cells_out(o.cells), "placement": o.placement} for o in e.overlays],
            "words": [[w.start, w.end, w.log_odds] for w in e.words],
            "record": dict(e.record),
            "deletion": e.deletion,
        }
        for e in evidence.explanations
    ]
    kept = {
        "films": evidence.films,
        "note": evidence.note,
        "record": dict(evidence.record),
        "units": dict(evidence.units),
        "explanations": explanations,
        "similar": evidence.similar,
        "study": evidence.study,
        "prior": evidence.prior,
        "usual": dict(evidence.usual),
    }
    return json.dumps(kept, default=_by_name, allow_nan=False)


def _cells_out(cells: np.ndarray) -> list[list[float | None]]:
    """To four digits, which is more than a colour shows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 10.0 ** (3 - np.floor(np.log10(np.abs(cells, dtype=np.float64))))
        short = np.where(cells == 0, 0, np.rint(cells * scale) / scale).astype(object)
    short[np.isnan(cells)] = None
    said: list[list[float | None]] = short.tolist()
    return said


def evidence_in(kept: dict[str, Any]) -> Evidence:
    """The way back; older predictions say less."""
    explanations = tuple(
        Explanation(
            e["label"],
            e["method"],
            tuple(Overlay(np.array(o["cells"], dtype=np.float32), Placement(**o["placement"])) for o in e["overlays"]),
            tuple(WordWeight(start, end, worth) for start, end, worth in e["words"]),
            e.get("record", {}),  # older predictions did not say, and likewise below
            _deletion_in(e.get("deletion")),
        )
        for e in kept["explanations"]
    )
    films = tuple(Film(**film | {"remarks": tuple(film["remarks"])}) for film in kept["films"])
    similar = tuple(SimilarCase(**one) for one in kept.get("similar", ()))
    study, prior = _origin_in(kept.get("study")), _origin_in(kept.get("prior"))
    usual = {column: (low, high) for column, (low, high) in kept.get("usual", {}).items()}
    return Evidence(films, kept["note"], kept["record"], kept["units"], explanations, similar, study, prior, usual)


def _origin_in(kept: dict[str, Any] | None) -> Origin | None:
    if kept is None:
        return None
    windows = tuple((centre, width) for centre, width in kept.get("windows", ()))
    return Origin(**kept | {"members": tuple(kept["members"]), "windows": windows})


def _deletion_in(kept: dict[str, Any] | None) -> Deletion | None:
    if kept is None:
        return None
    regions = tuple(Region(one["picture"], tuple(one["cells"])) for one in kept["regions"])
    words = tuple((start, end) for start, end in kept["words"])
    return Deletion(**kept | {"regions": regions, "words": words, "columns": tuple(kept["columns"])})
