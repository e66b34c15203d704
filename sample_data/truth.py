"""The truth of the cohort: priors, tables, exact posteriors and the ceilings that no model can beat.

A case is drawn in this order: findings and histories, all independent; the labels from the tables below; the film from
the findings; the note and the record from the histories. The posteriors turn this round by Bayes' rule. They take the
film as read without error, so `image` and `all` are ceilings for a perfect reader of films.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from scipy.stats import rankdata

from sample_data import facts, record
from sample_data.findings import FINDINGS
from sample_data.record import HISTORIES, STATES

FINDING_PRIOR = {"consolidation": 0.35, "effusion": 0.30, "cardiomegaly": 0.35, "pneumothorax": 0.25, "nodule": 0.35}
"""Chance of each finding."""

HISTORY_PRIOR = {"infection": 0.35, "congestion": 0.35, "malignancy_risk": 0.35, "embolism_risk": 0.30}
"""Chance of each history."""

NO_NOTE, NO_IMAGE, NO_RECORD = 0.08, 0.06, 0.05
"""Chance that a case lacks a side, independent of everything; a case that would lack all three keeps its film."""

NOT_STATED = 0.08
"""Chance that a label is left empty, independent of everything."""


@dataclass(frozen=True, slots=True)
class Table:
    """P(label | findings, histories), written out."""

    findings: tuple[str, ...]
    """The findings that count, in the order of the first digits of a row."""
    histories: tuple[str, ...]
    """The histories that count, in the order of the last digits of a row."""
    rows: Mapping[str, float]
    """Chance by row: '10' is the first yes, the second no."""

    def full(self) -> np.ndarray:
        """(32, 16) chance for each of PICTURES and each of STATES."""
        seen = PICTURES[:, [FINDINGS.index(name) for name in self.findings]]
        told = STATES[:, [HISTORIES.index(name) for name in self.histories]]
        chances = [[self.rows["".join(str(int(yes)) for yes in (*f, *h))] for h in told] for f in seen]
        return np.array(chances)


PICTURES = np.array(list(product((False, True), repeat=len(FINDINGS))))
"""(32, 5) bool: every combination of findings."""

TABLES = {
    "pneumonia": Table(("consolidation",), ("infection",), {"00": 0.005, "10": 0.03, "01": 0.03, "11": 0.95}),
    "heart_failure": Table(
        ("cardiomegaly", "effusion"),
        ("congestion",),
        {
            "000": 0.005,
            "010": 0.010,
            "100": 0.030,
            "110": 0.040,
            "001": 0.030,
            "011": 0.080,
            "101": 0.920,
            "111": 0.980,
        },
    ),
    "lung_cancer": Table(("nodule",), ("malignancy_risk",), {"00": 0.005, "10": 0.03, "01": 0.03, "11": 0.95}),
    "pneumothorax": Table(("pneumothorax",), (), {"0": 0.02, "1": 0.97}),
    "pulmonary_embolism": Table((), ("embolism_risk",), {"0": 0.01, "1": 0.95}),
}
"""The written tables: pneumonia, heart failure and lung cancer need a finding and a history; effusion makes heart
failure a little likelier; pneumothorax is in the film alone, pulmonary embolism in the history alone."""

LABELS = tuple(TABLES)
"""Every label, in the order of cases.csv."""

SIDES = ("image", "note_record", "all")
"""What a posterior was given."""

_CHANCE = np.stack([table.full() for table in TABLES.values()])  # (labels, 32, 16)


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """Many cases without pixels or words."""

    findings: np.ndarray
    """(cases, 5) bool."""
    histories: np.ndarray
    """(cases, 4) bool."""
    labels: np.ndarray
    """(cases, labels) bool: the whole truth, also where the cohort does not state it."""
    statements: np.ndarray
    """(cases, facts) int8: 1 affirmed, -1 denied, 0 not mentioned."""
    values: np.ndarray
    """(cases, measures), NaN where not taken."""
    present: np.ndarray
    """(cases, 3) bool: film, note, record."""


def draw_cases(rng: np.random.Generator, cases: int, earlier: np.ndarray | None = None) -> Draw:
    """Draw cases with the cohort's missing sides and gaps.

    Args:
        rng: decides everything.
        cases: how many.
        earlier: (cases, 9) bool, findings and histories of an earlier study of the same patients; what lasts
            (cardiomegaly, congestion, malignancy risk) is taken over, the rest is drawn anew.
    """
    findings = rng.random((cases, len(FINDINGS))) < np.array([FINDING_PRIOR[name] for name in FINDINGS])
    histories = rng.random((cases, len(HISTORIES))) < np.array([HISTORY_PRIOR[name] for name in HISTORIES])
    if earlier is not None:
        heart = FINDINGS.index("cardiomegaly")
        findings[:, heart] = earlier[:, heart]
        for name in ("congestion", "malignancy_risk"):
            k = HISTORIES.index(name)
            histories[:, k] = earlier[:, len(FINDINGS) + k]
    chance = _CHANCE[:, _index(findings, PICTURES), _index(histories, STATES)].T
    labels = rng.random(chance.shape) < chance
    statements = facts.draw_statements(rng, histories)
    values = record.draw_values(rng, histories)
    present = rng.random((cases, 3)) >= np.array([NO_IMAGE, NO_NOTE, NO_RECORD])
    present[~present.any(axis=1), 0] = True
    return Draw(findings, histories, labels, statements, values, present)


def _index(rows: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Position of each row of booleans in `table`."""
    weight = 1 << np.arange(rows.shape[1])
    place = np.empty(len(table), dtype=np.intp)
    place[table @ weight] = np.arange(len(table))
    return np.asarray(place[rows @ weight])


def posteriors(draw: Draw, present: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """P(label | side) of every case, exact, with what the case really has.

    Args:
        draw: the cases; their labels are not looked at.
        present: (cases, 3) bool to be used instead of the cases' own.

    Returns:
        By side (image, note_record, all): (cases, labels).
    """
    present = draw.present if present is None else present
    picture_prior = _prior(PICTURES, FINDINGS, FINDING_PRIOR)
    state_prior = _prior(STATES, HISTORIES, HISTORY_PRIOR)
    exact = np.eye(len(PICTURES))[_index(draw.findings, PICTURES)]
    picture = np.where(present[:, :1], exact, picture_prior)  # (cases, 32)
    weight = np.log(state_prior) + present[:, 1:2] * facts.log_likelihood(draw.statements)
    weight = weight + present[:, 2:] * record.log_likelihood(draw.values)
    weight = np.exp(weight - weight.max(axis=1, keepdims=True))
    state = weight / weight.sum(axis=1, keepdims=True)  # (cases, 16)
    return {
        "image": np.einsum("np,lps,s->nl", picture, _CHANCE, state_prior, optimize=True),
        "note_record": np.einsum("p,lps,ns->nl", picture_prior, _CHANCE, state, optimize=True),
        "all": np.einsum("np,lps,ns->nl", picture, _CHANCE, state, optimize=True),
    }


def _prior(rows: np.ndarray, names: tuple[str, ...], chance: Mapping[str, float]) -> np.ndarray:
    """Chance of each row of a table of independent yes-or-no states."""
    yes = np.array([chance[name] for name in names])
    return np.asarray(np.where(rows, yes, 1 - yes).prod(axis=1))


def auroc(truth: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve, ties counted half."""
    ranks = rankdata(score)
    positive = int(truth.sum())
    excess = ranks[truth].sum() - positive * (positive + 1) / 2
    return float(excess / (positive * (len(truth) - positive)))


@cache
def ceilings(seed: int = 0, cases: int = 200_000) -> dict[str, dict[str, dict[str, float]]]:
    """Bayes-optimal AUROC by Monte Carlo, without pixels or words. They belong to the tables, not to one cohort.

    Returns:
        By population (complete: all three sides present; cohort: sides missing as in the cohort), by side, by label
        and 'macro', rounded to four places. The gaps among the values of a record are in both.
    """
    draw = draw_cases(np.random.default_rng([seed, 2]), cases)
    populations = {"complete": np.ones_like(draw.present), "cohort": draw.present}
    result: dict[str, dict[str, dict[str, float]]] = {}
    for population, present in populations.items():
        result[population] = {}
        for side, chance in posteriors(draw, present).items():
            areas = {label: auroc(draw.labels[:, k], chance[:, k]) for k, label in enumerate(LABELS)}
            areas["macro"] = float(np.mean(list(areas.values())))
            result[population][side] = {label: round(area, 4) for label, area in areas.items()}
    return result
