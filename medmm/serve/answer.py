"""A scored case as JSON: pydantic models, so that OpenAPI says what every field is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, Field

from medmm.result import Explanation, Finding, Overlay, Refusal, ScoredCase

MOST_WORDS = 20
"""Words of the note that are named for one finding, those that moved it most."""


class Word(BaseModel):
    """One word of the note, or a phrase of it."""

    text: str
    log_odds: float = Field(description="What the finding's log-odds lose when the model may not look at it.")


class Map(BaseModel):
    """What each cell of a grid was worth to a finding, and where the grid lies on the picture."""

    picture: int = Field(description="Number of the picture, from 0, in `pictures`.")
    rows: int = Field(description="Of the original, in pixels.")
    columns: int
    box: tuple[float, float, float, float] = Field(
        description="Top, left, bottom and right of the grid in pixels of the original; it may reach beyond it."
    )
    cells: list[list[float | None]] = Field(
        description="Log-odds that the finding owes to each cell, row by row; null where the model did not look."
    )


class Reasons(BaseModel):
    """Why the model says what it says of one finding."""

    method: str = Field(description="Of the maps.")
    maps: list[Map]
    words: list[Word] = Field(description=f"The {MOST_WORDS} that moved the finding most, the strongest first.")
    record: dict[str, float] = Field(description="Record column -> what the log-odds lose without its value.")


class Called(BaseModel):
    """One finding. Not flagged does not mean ruled out."""

    label: str
    probability: float = Field(ge=0, le=1, description="Calibrated.")
    threshold: float = Field(ge=0, le=1)
    call: str = Field(description="flagged, not flagged or uncertain.")
    base_log_odds: float = Field(description="Of a case of which nothing is known.")
    contributions: dict[str, float] = Field(
        description="Modality -> log-odds that it added (Shapley); with the base they sum to the probability's."
    )
    interaction_log_odds: float = Field(description="Part of the log-odds that no modality brings alone.")
    reasons: Reasons | None = Field(description="Given with explain=true.")


class Picture(BaseModel):
    """A film or slice that the model was given."""

    instance_uid: str = Field(description="SOP Instance UID; empty for PNG and JPEG.")
    modality: str
    view: str
    part: str = Field(description="Which part of a volume it is; empty for a film.")
    prior: bool = Field(description="Whether it is of the prior study.")


class Said(BaseModel):
    """What the model says of one case. Decision support for research, not a medical device."""

    model_id: str
    findings: list[Called]
    present: list[str] = Field(description="Modalities that the model was given.")
    absent: list[str] = Field(description="Modalities that the model can use and was not given.")
    doubts: list[str] = Field(description="Why this case may be unlike what the model learnt from.")
    remarks: list[str] = Field(description="What the reader did or left out.")
    pictures: list[Picture]


class Answer(Said):
    """What the model says of the case that was sent."""

    request_id: str


class Refused(BaseModel):
    """Why a case has no answer."""

    code: str = Field(description="As in quarantine.csv.")
    problem: str
    remedy: str


class BundleCase(BaseModel):
    """One case of a bundle: what the model says of it, or why it says nothing."""

    case_id: str = Field(description="Of the table; without one, the folder's, archive's or file's name.")
    said: Said | None
    refused: Refused | None


class BundleAnswer(BaseModel):
    """What the model says of each case of a bundle, in the order of its table, or of its files."""

    request_id: str
    cases: list[BundleCase]
    remarks: list[str] = Field(description="How files became cases, and what was left out.")


def answer_of(scored: ScoredCase, explain: bool) -> Answer:
    """Dress a scored case for JSON.

    Args:
        scored: its case id is the request's.
        explain: whether maps, words and record values come with each finding.
    """
    return Answer(request_id=scored.prediction.case_id, **dict(_said(scored, explain)))


def bundle_answer_of(
    request_id: str, answers: Sequence[ScoredCase | Refusal], remarks: Sequence[str], explain: bool
) -> BundleAnswer:
    """Dress a bundle's answers for JSON, in their order."""
    return BundleAnswer(
        request_id=request_id, cases=[_bundle_case(one, explain) for one in answers], remarks=list(remarks)
    )


def _bundle_case(answer: ScoredCase | Refusal, explain: bool) -> BundleCase:
    if isinstance(answer, ScoredCase):
        return BundleCase(case_id=answer.prediction.case_id, said=_said(answer, explain), refused=None)
    refused = Refused(code=answer.code.value, problem=answer.problem, remedy=answer.remedy)
    return BundleCase(case_id=answer.case_id, said=None, refused=refused)


def _said(scored: ScoredCase, explain: bool) -> Said:
    said, evidence = scored.prediction, scored.evidence
    reasons = {one.label: _reasons(one, evidence.note) for one in evidence.explanations} if explain else {}
    return Said(
        model_id=said.model_id,
        findings=[_called(finding, reasons) for finding in said.findings],
        present=list(said.present),
        absent=list(said.absent),
        doubts=list(said.doubts),
        remarks=list(said.remarks),
        pictures=[
            Picture(
                instance_uid=film.instance_uid, modality=film.modality, view=film.view, part=film.part, prior=film.prior
            )
            for film in evidence.films
        ],
    )


def _called(finding: Finding, reasons: Mapping[str, Reasons]) -> Called:
    return Called(
        label=finding.label,
        probability=finding.probability,
        threshold=finding.threshold,
        call=finding.call,
        base_log_odds=finding.base_log_odds,
        contributions={part.modality: part.log_odds for part in finding.contributions},
        interaction_log_odds=finding.interaction,
        reasons=reasons.get(finding.label),
    )


def _reasons(explanation: Explanation, note: str) -> Reasons:
    strongest = sorted(explanation.words, key=lambda word: -abs(word.log_odds))[:MOST_WORDS]
    return Reasons(
        method=explanation.method,
        maps=[_map(number, overlay) for number, overlay in enumerate(explanation.overlays)],
        words=[Word(text=note[word.start : word.end], log_odds=word.log_odds) for word in strongest],
        record=dict(explanation.record),
    )


def _map(number: int, overlay: Overlay) -> Map:
    place = overlay.placement
    down, across = place.rows / place.height, place.columns / place.width
    top, left = -place.top * down, -place.left * across
    cells = overlay.cells.astype(object)
    cells[~np.isfinite(overlay.cells)] = None
    return Map(
        picture=number,
        rows=place.rows,
        columns=place.columns,
        box=(top, left, top + place.size * down, left + place.size * across),
        cells=cells.tolist(),
    )
