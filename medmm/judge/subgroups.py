"""For whom the model holds: every figure by sex, age, device and what a case has, and within strata of prior risk.

N cases, L labels, K resamples. Few patients are marked, not hidden. Intervals are by patient, on resamples of all of
them. Measures of fairness are over the groups whose patients are not few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from medmm.judge.metrics import Estimate, Ranking, estimate, share, weighted_means, with_sample

FEW = 10
"""A group with fewer patients of either answer is marked: its figures are not to be relied on."""
UNKNOWN = "not known"
_CASES_A_BIN, _MOST_BINS = 20, 10
_STRATA = 4
_NONE = (float("nan"),) * 3


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One label of the model among the cases of one group, at the threshold of the label."""

    attribute: str
    """sex, age, view, modalities, or a column of the table."""
    group: str
    """Its value."""
    label: str
    cases: int
    """Cases of the group in which the label is stated."""
    patients: int
    present: int
    absent: int
    few: bool
    """Fewer than FEW patients with one of the answers."""
    auroc: Estimate
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    """Share of the flagged that have the label."""
    flagged: Estimate
    """Share that is flagged."""
    ece: Estimate
    brier: Estimate


@dataclass(frozen=True, slots=True)
class FairnessRow:
    """How far the groups of one attribute differ in what is flagged; NaN with fewer than two that can be compared."""

    attribute: str
    label: str
    groups: tuple[str, ...]
    """Those compared: at least FEW patients of each answer."""
    demographic_parity_difference: float
    """Largest share flagged less the smallest."""
    demographic_parity_ratio: float
    """Smallest share flagged by the largest."""
    equalized_odds_difference: float
    """The larger of the differences in sensitivity and in the rate of false alarms."""

    @property
    def comparable(self) -> bool:
        """Whether there are two groups to compare."""
        return len(self.groups) > 1


@dataclass(frozen=True, slots=True)
class RiskRow:
    """One label among cases that the record alone takes for equally likely."""

    label: str
    stratum: str
    """'all' for pairs of cases within any stratum, together; else the range of the record's probability."""
    cases: int
    present: int
    auroc: Estimate
    """Of the model; 0.5 where it adds nothing to the record."""
    record: Estimate
    """Of the record alone, for what is left of it within the stratum."""


def by_group(
    targets: np.ndarray,
    probabilities: np.ndarray,
    thresholds: np.ndarray,
    labels: Sequence[str],
    patients: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    draws: np.ndarray,
) -> tuple[GroupRow, ...]:
    """Every figure of every label in every group.

    Args:
        targets: (N, L).
        probabilities: (N, L).
        thresholds: (N, L), each case's own.
        labels: names of the L columns.
        patients: the patient of each case.
        groups: attribute -> the group of each case, '' where it is not known.
        draws: (K, N) from `resample_patients`.
    """
    people = np.asarray(patients, dtype=str)
    rows = []
    for attribute, values in groups.items():
        named = np.array([value or UNKNOWN for value in values], dtype=str)
        names = sorted(set(named.tolist()), key=lambda name: (name == UNKNOWN, name))
        for (i, label), group in product(enumerate(labels), names):
            of = (named == group) & np.isfinite(targets[:, i])
            y, p = targets[of, i], probabilities[of, i]
            flagged = p >= thresholds[of, i]
            rows.append(_group((attribute, group, label), y, p, flagged, people[of], draws[:, of]))
    return tuple(rows)


def _group(
    name: tuple[str, str, str],
    y: np.ndarray,
    p: np.ndarray,
    flagged: np.ndarray,
    patients: np.ndarray,
    draws: np.ndarray,
) -> GroupRow:
    """One row from the stated cases of a group; each argument is theirs only."""
    weights, everybody = with_sample(draws), np.ones(len(y), dtype=bool)
    return GroupRow(
        *name,
        cases=len(y),
        patients=len(set(patients.tolist())),
        present=int((y == 1).sum()),
        absent=int((y == 0).sum()),
        few=min(len(set(patients[y == answer].tolist())) for answer in (0, 1)) < FEW,
        auroc=estimate(Ranking(y, p).auroc(weights)),
        sensitivity=share(flagged, y == 1, draws),
        specificity=share(~flagged, y == 0, draws),
        ppv=share(y == 1, flagged, draws),
        flagged=share(flagged, everybody, draws),
        ece=estimate(_ece(y, p, weights)),
        brier=estimate(weighted_means((p - y) ** 2, weights)),
    )


def _ece(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error in the bins of equal count of the sample itself: (K,)."""
    bins = np.array_split(np.argsort(p, kind="stable"), int(np.clip(len(y) // _CASES_A_BIN, 2, _MOST_BINS)))
    gaps = [np.abs(weights[:, part] @ (p - y)[part]) for part in bins]
    total = weights.sum(axis=1, dtype=np.float64)
    return np.where(total > 0, np.sum(gaps, axis=0) / np.maximum(total, 1e-12), np.nan)


def fairness(
    targets: np.ndarray,
    probabilities: np.ndarray,
    thresholds: np.ndarray,
    rows: Sequence[GroupRow],
    groups: Mapping[str, Sequence[str]],
) -> tuple[FairnessRow, ...]:
    """Demographic parity (Dwork 2012) and equalized odds (Hardt 2016) of each attribute and label, by Fairlearn.

    Args:
        targets: (N, L).
        probabilities: (N, L).
        thresholds: (N, L).
        rows: what `by_group` made of the same cases.
        groups: as for `by_group`.
    """
    labels = list(dict.fromkeys(row.label for row in rows))
    found = []
    for attribute, values in groups.items():
        for i, label in enumerate(labels):
            own = [row for row in rows if (row.attribute, row.label) == (attribute, label)]
            able = tuple(row.group for row in own if not row.few and row.group != UNKNOWN)
            of = np.isin(np.asarray(values, dtype=str), able) & np.isfinite(targets[:, i])
            flagged = probabilities[of, i] >= thresholds[of, i]
            measures = _measures(targets[of, i], flagged, np.asarray(values, dtype=str)[of]) if len(able) > 1 else _NONE
            found.append(FairnessRow(attribute, label, able, *measures))
    return tuple(found)


def _measures(y: np.ndarray, flagged: np.ndarray, group: np.ndarray) -> tuple[float, float, float]:
    """Demographic parity difference and ratio, equalized odds difference."""
    from fairlearn.metrics import (
        demographic_parity_difference,
        demographic_parity_ratio,
        equalized_odds_difference,
    )

    y, said = y.astype(int), flagged.astype(int)
    ratio = demographic_parity_ratio(y, said, sensitive_features=group) if said.any() else np.nan
    difference = demographic_parity_difference(y, said, sensitive_features=group)
    return float(difference), float(ratio), float(equalized_odds_difference(y, said, sensitive_features=group))


def within_risk(
    targets: np.ndarray,
    probabilities: np.ndarray,
    record: np.ndarray,
    labels: Sequence[str],
    draws: np.ndarray,
) -> tuple[RiskRow, ...]:
    """Whether the model adds anything to what the record already says: AUROC within quantiles of the record's risk.

    A picture can rank well only because it shows who is old and ill; among cases of equal prior risk it then ranks no
    better than chance.

    Args:
        targets: (N, L).
        probabilities: (N, L) of the model.
        record: (N, L) of the record alone.
        labels: names of the L columns.
        draws: (K, N) from `resample_patients`.
    """
    rows = []
    for i, label in enumerate(labels):
        known = np.flatnonzero(np.isfinite(targets[:, i]))
        y, p, risk = targets[known, i], probabilities[known, i], record[known, i]
        weights = with_sample(draws[:, known])
        if not len(known):
            continue
        edges = np.unique(np.quantile(risk, np.linspace(0, 1, _STRATA + 1)[1:-1]))
        stratum = np.searchsorted(edges, risk, side="right")
        rows.append(_risk(label, "all", y, p, risk, weights, stratum))
        for one in np.unique(stratum):
            of = stratum == one
            name = f"{risk[of].min():.3f} to {risk[of].max():.3f}"
            rows.append(_risk(label, name, y[of], p[of], risk[of], weights[:, of]))
    return tuple(rows)


def _risk(
    label: str,
    name: str,
    y: np.ndarray,
    p: np.ndarray,
    risk: np.ndarray,
    weights: np.ndarray,
    strata: np.ndarray | None = None,
) -> RiskRow:
    model, record = (estimate(Ranking(y, score, strata).auroc(weights)) for score in (p, risk))
    return RiskRow(label, name, len(y), int((y == 1).sum()), model, record)
