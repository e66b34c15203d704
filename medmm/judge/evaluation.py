"""What a saved model did on cases that it never saw: its report, and for whom, how surely and at what price.

N cases, L labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medmm.case import MODALITIES
from medmm.config import CohortConfig, RunConfig
from medmm.judge import model_card
from medmm.judge.calibration import Reliability, reliability, wilson
from medmm.judge.comparison import Report
from medmm.judge.conformal import coverage, missed_of_new, risk_coverage, triage
from medmm.judge.metrics import Estimate, Score, brier, log_loss, resample_patients, share
from medmm.judge.statistics import decision_curve
from medmm.judge.subgroups import FairnessRow, GroupRow, RiskRow, by_group, fairness, within_risk
from medmm.judge.summary import Summary, bins_for, patients_among, present_of, scores_among, summarise
from medmm.result import Finding, Prediction

RECORD = "record only"
_THRESHOLDS = np.arange(1, 100) / 100
_EXAMPLES = 6
_POINTS = 100
"""Of a risk-coverage curve."""
_SUREST = (0.25, 0.5, 0.75, 1.0)
_MISSED = (0.0, 0.01, 0.02, 0.05)
ANY = "any label"
_SAID = {"flagged": 1.0, "not flagged": 0.0, "uncertain": np.nan}


_UNHEARD = 0.02
"""Share of all contributions below which a modality is called unheard."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What the answers took on this machine; it differs from run to run, and is in no file of numbers."""

    reading_s: float
    """Reading and encoding, a case; what was in the cache cost a file read."""
    answering_s: float
    """All systems and explanations, a case."""
    peak_mib: float
    """Largest memory of this process."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What a saved model said of cases that it never saw, and what is known of both."""

    report: Report
    predictions: tuple[Prediction, ...]
    """Of the saved model, in the order of the cases."""
    uncalibrated: np.ndarray
    """(N, L) probabilities of the saved model before calibration."""
    groups: Mapping[str, Sequence[str]]
    """Attribute -> the group of each case, '' where it is not known."""
    cohort: CohortConfig
    """That the model learnt from."""
    run: RunConfig
    """That trained the model."""
    prevalence: Mapping[str, float]
    """Label -> share among the training cases."""
    left_out: int
    """Cases of the cohort that were not judged, since the model learnt from their patients."""
    unlabelled: int
    """Cases that were not judged, since no label of theirs is stated."""
    audit: str
    """What a leak audit of the run said, in one sentence; empty if none was made."""
    cost: Cost


@dataclass(frozen=True, slots=True)
class Uncalibrated:
    """One label before calibration."""

    label: str
    brier: float
    log_loss: float
    reliability: Reliability


@dataclass(frozen=True, slots=True)
class Benefit:
    """The decision curve of one label, see medmm.judge.statistics.DecisionCurve."""

    label: str
    thresholds: tuple[float, ...]
    model: tuple[float, ...]
    treat_all: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ablation:
    """The same cases with and without one modality."""

    hidden: str
    cases: int
    """Cases that have it and at least one other."""
    patients: int
    judged: tuple[str, ...]
    """Labels with enough cases of both answers; empty leaves the figures out."""
    whole: Estimate | None
    """Macro AUROC with everything that the case has."""
    without: Estimate | None
    loss: Estimate | None
    """`whole` less `without`, paired by patient."""


@dataclass(frozen=True, slots=True)
class Voice:
    """How much one modality has to say, in the mean over the cases that have it."""

    modality: str
    cases: int
    size: tuple[float, ...]
    """Mean size of its contribution to each label, log-odds; NaN without cases."""
    apart: tuple[float, ...]
    """Its mean contribution to cases that have the label, less that to cases that have not; NaN without both."""
    share: float
    """Of the sizes of all modalities, in the mean over cases and labels."""
    loss: Estimate | None
    """What is lost of macro AUROC without it, see Ablation."""

    @property
    def unheard(self) -> bool:
        """Whether the model has all but stopped listening to it."""
        return self.cases > 0 and self.share < _UNHEARD


@dataclass(frozen=True, slots=True)
class CoverageRow:
    """How often the model kept its promise for one answer of one label."""

    label: str
    answer: str
    """present or absent."""
    present: str
    """What the cases have; 'all' for all of them."""
    cases: int
    covered: int
    """Those not called the opposite."""
    share: Estimate
    """`covered` by `cases`, with the interval of Wilson: cases are taken for independent."""
    uncertain: int
    promised: float
    """Share that should be covered, in the mean."""


@dataclass(frozen=True, slots=True)
class UncertainRow:
    """How often the model does not say, for one label, over its stated cases."""

    label: str
    uncertain: Estimate
    wrong: Estimate
    """Share of the called cases in which the call is wrong."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The surest cases of one label, called by the side of the threshold; see medmm.judge.conformal.RiskCoverage."""

    cases: int
    missed: int
    """Cases with the label, called not flagged."""
    alarms: int
    """Cases without it, called flagged."""
    wrong: Estimate
    """`missed` and `alarms` by `cases`, with the interval of Wilson: cases are taken for independent."""


@dataclass(frozen=True, slots=True)
class SureRow:
    """Whether the surest calls of one label are the right ones."""

    label: str
    cases: int
    """That state the label."""
    commoner: float
    """Share of them that is wrong if each is called the commoner answer; NaN without any."""
    surest: tuple[Answered, ...]
    """Of the surest quarter, half, three quarters and of all; with few cases, or ties, some more than that."""
    curve: tuple[Answered, ...]
    """From the surest case on, in about a hundred steps."""


@dataclass(frozen=True, slots=True)
class NotFlagged:
    """The cases that the model calls not flagged, at limits that validation cases chose."""

    label: str
    """ANY for the cases in which no label that the cohort states is flagged or uncertain; the answer is any of them."""
    cases: int
    """That state the label."""
    present: int
    patients: int
    """With the label."""
    unflagged: Estimate
    """Share of `cases` that is called not flagged."""
    unread: int
    """Cases that are called not flagged."""
    missed: int
    """Those of them that have the label."""
    of_present: Estimate
    """`missed` by `present`."""
    of_unread: Estimate
    """`missed` by `unread`."""
    promised: float
    """Share of `present` that may be missed, in the mean; NaN where nothing was promised."""


@dataclass(frozen=True, slots=True)
class TriageRow:
    """What could have been left unread of one label; the limit is read off the cases that it is judged on."""

    label: str
    """ANY for cases in the order of the finding that leads each of them; the answer is any of these labels."""
    at_most: float
    """Share of the cases with the label that may be missed."""
    allowed: int
    """The same as a number of cases, rounded down."""
    cases: int
    present: int
    patients: int
    """With the label."""
    below: float
    """Cases with a lower probability are left unread; NaN for ANY, where labels have thresholds of their own."""
    unread: int
    share: float
    """`unread` by `cases`; NaN where no case has the label."""
    missed: int
    of_new: Estimate
    """Share of new cases with the label that this limit would miss: mean and 95 % interval, see missed_of_new."""


@dataclass(frozen=True, slots=True)
class Doubts:
    """Cases that may be unlike what the model learnt from."""

    cases: int
    share: float
    reasons: Mapping[str, int]
    """Reason -> cases, the most frequent first."""
    with_doubts: Estimate | None
    """Macro AUROC; None with too few cases."""
    without: Estimate | None


@dataclass(frozen=True, slots=True)
class Example:
    """One label of one case, named by its case id and nothing else."""

    kind: str
    """right, wrong or uncertain."""
    case_id: str
    present: tuple[str, ...]
    finding: Finding
    answer: float
    """1 present, 0 absent."""

    def contribution(self, modality: str) -> float:
        """Signed log-odds of one of the modalities that are present."""
        return next(one.log_odds for one in self.finding.contributions if one.modality == modality)


@dataclass(frozen=True, slots=True)
class Found:
    """Every number of an evaluation; metrics.json is this."""

    summary: Summary
    external: bool
    left_out: int
    unlabelled: int
    uncalibrated: tuple[Uncalibrated, ...]
    benefits: tuple[Benefit, ...]
    ablations: tuple[Ablation, ...]
    voices: tuple[Voice, ...]
    complete_cases: int
    complete: tuple[Score, ...]
    """Every set of modalities on the cases that have all of them; empty if they are too few."""
    groups: tuple[GroupRow, ...]
    fairness: tuple[FairnessRow, ...]
    risk: tuple[RiskRow, ...]
    """Empty for a model that has no record, or nothing else."""
    coverage: tuple[CoverageRow, ...]
    """Empty for a model that promises nothing."""
    uncertain: tuple[UncertainRow, ...]
    sure: tuple[SureRow, ...]
    not_flagged: tuple[NotFlagged, ...]
    triage: tuple[TriageRow, ...]
    doubts: Doubts
    audit: str
    card: tuple[model_card.Section, ...]


def find(evaluation: Evaluation) -> Found:
    """Compute everything that the page of an evaluation shows."""
    report, comparison = evaluation.report, evaluation.report.comparison
    summary, said = summarise(report), comparison.systems[comparison.reference]
    draws = resample_patients(comparison.patients, report.resamples, report.seed)
    thresholds = np.array([[one.threshold for one in case.findings] for case in evaluation.predictions])
    groups = by_group(
        comparison.targets, said, thresholds, report.labels, comparison.patients, evaluation.groups, draws
    )
    record = comparison.systems.get(RECORD)
    unused = np.array([m not in report.modalities for m in MODALITIES])
    everything: np.ndarray = np.logical_or(present_of(report), unused).all(axis=1)
    gaps, kept = fairness(comparison.targets, said, thresholds, groups, evaluation.groups), tuple(_coverage(evaluation))
    ablations = tuple(_ablations(report))
    return Found(
        summary=summary,
        external=report.external,
        left_out=evaluation.left_out,
        unlabelled=evaluation.unlabelled,
        uncalibrated=tuple(_before(evaluation, i) for i in range(len(report.labels))),
        benefits=tuple(_benefit(report, i) for i in range(len(report.labels))),
        ablations=ablations,
        voices=tuple(_voices(evaluation, ablations)),
        complete_cases=int(everything.sum()),
        complete=scores_among(report, everything, _subsets(report)),
        groups=groups,
        fairness=gaps,
        risk=() if record is None else within_risk(comparison.targets, said, record, report.labels, draws),
        coverage=kept,
        uncertain=tuple(_uncertain(evaluation, i, draws) for i in range(len(report.labels))) if kept else (),
        sure=tuple(_sure(evaluation, i) for i in range(len(report.labels))),
        not_flagged=tuple(_not_flagged(evaluation)),
        triage=tuple(_triage(evaluation)),
        doubts=_doubts(evaluation),
        audit=evaluation.audit,
        card=model_card.model_card(
            model_card.Facts(
                evaluation.cohort, evaluation.run, evaluation.prevalence, summary, report.external, bool(kept), gaps
            )
        ),
    )


def _before(evaluation: Evaluation, i: int) -> Uncalibrated:
    y, p = evaluation.report.comparison.targets[:, i], evaluation.uncalibrated[:, i]
    bins = bins_for(int(np.isfinite(y).sum()))
    return Uncalibrated(evaluation.report.labels[i], brier(y, p), log_loss(y, p), reliability(y, p, bins))


def _benefit(report: Report, i: int) -> Benefit:
    comparison = report.comparison
    curve = decision_curve(comparison.targets[:, i], comparison.systems[comparison.reference][:, i], _THRESHOLDS)
    model, everybody = (tuple(values.tolist()) for values in (curve.model, curve.treat_all))
    return Benefit(report.labels[i], tuple(_THRESHOLDS.tolist()), model, everybody)


def _subsets(report: Report) -> list[str]:
    """The saved model and the same model with some of its modalities hidden."""
    systems = report.comparison.systems
    return [report.comparison.reference, *(name for name in systems if name.endswith(" only"))]


def _ablations(report: Report) -> list[Ablation]:
    """What each modality is worth to the cases that have it and another."""
    present = dict(zip(MODALITIES, present_of(report).T, strict=True))
    found = []
    for hidden in report.modalities:
        without = " + ".join(m for m in report.modalities if m != hidden) + " only"
        if without not in report.comparison.systems:
            continue
        rows = present[hidden] & (present_of(report).sum(axis=1) > 1)
        scores = scores_among(report, rows, [report.comparison.reference, without])
        judged = tuple(scores[0].by_label) if scores else ()
        figures = (scores[0].macro, scores[1].macro, scores[1].gain) if scores else (None, None, None)
        found.append(Ablation(hidden, int(rows.sum()), patients_among(report, rows), judged, *figures))
    return found


def _voices(evaluation: Evaluation, ablations: Sequence[Ablation]) -> list[Voice]:
    """Contributions in the mean, beside what each modality is worth to AUROC."""
    report = evaluation.report
    said = {
        modality: np.array(
            [
                [sum(part.log_odds for part in one.contributions if part.modality == modality) for one in case.findings]
                for case in evaluation.predictions
            ]
        )
        for modality in report.modalities
    }  # (N, L) each
    whole = sum(np.abs(one).sum() for one in said.values())
    there = dict(zip(MODALITIES, present_of(report).T, strict=True))
    lost = {one.hidden: one.loss for one in ablations}
    targets = report.comparison.targets
    return [
        Voice(
            modality=modality,
            cases=int(there[modality].sum()),
            size=tuple(_mean(np.abs(one[there[modality], i])) for i in range(len(report.labels))),
            apart=tuple(
                _mean(one[there[modality] & (targets[:, i] == 1), i])
                - _mean(one[there[modality] & (targets[:, i] == 0), i])
                for i in range(len(report.labels))
            ),
            share=float(np.abs(one).sum() / whole) if whole else float("nan"),
            loss=lost.get(modality),
        )
        for modality, one in said.items()
    ]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _calls(evaluation: Evaluation) -> np.ndarray:
    """(N, L): 1 flagged, 0 not flagged, NaN uncertain."""
    return np.array([[_SAID[one.call] for one in case.findings] for case in evaluation.predictions])


def _coverage(evaluation: Evaluation) -> list[CoverageRow]:
    """By label, answer and pattern, of the cases for which something was promised."""
    report, said = evaluation.report, _calls(evaluation)
    patterns = np.array([" + ".join(case.present) or "nothing" for case in evaluation.predictions])
    rows = []
    for i, label in enumerate(report.labels):
        limits = [case.findings[i].limits for case in evaluation.predictions]
        error = next((one.error for one in limits if one is not None), None)
        promised = np.array([one is not None for one in limits])
        if error is None:
            continue
        for pattern in ("all", *sorted(set(patterns[promised].tolist()), key=lambda name: (-name.count("+"), name))):
            of = promised & ((patterns == pattern) | (pattern == "all"))
            for name, answer in (("present", 1), ("absent", 0)):
                kept = coverage(report.comparison.targets[of, i], said[of, i], answer)
                rows.append(
                    CoverageRow(
                        label,
                        name,
                        pattern,
                        kept.cases,
                        kept.covered,
                        _of(kept.covered, kept.cases),
                        kept.uncertain,
                        1 - error,
                    )
                )
    return rows


def _of(some: int, cases: int) -> Estimate:
    """Share of cases with the interval of Wilson."""
    if not cases:
        return Estimate(float("nan"), float("nan"), float("nan"))
    return Estimate(some / cases, *wilson(some / cases, cases))


def _uncertain(evaluation: Evaluation, i: int, draws: np.ndarray) -> UncertainRow:
    y, said = evaluation.report.comparison.targets[:, i], _calls(evaluation)[:, i]
    stated, silent = np.isfinite(y), np.isnan(said)
    return UncertainRow(
        evaluation.report.labels[i],
        uncertain=share(silent, stated, draws),
        wrong=share(said != y, stated & ~silent, draws),
    )


def _sure(evaluation: Evaluation, i: int) -> SureRow:
    comparison, label = evaluation.report.comparison, evaluation.report.labels[i]
    y, p = comparison.targets[:, i], comparison.systems[comparison.reference][:, i]
    stated = int(np.isfinite(y).sum())
    if not stated:
        return SureRow(label, 0, float("nan"), (), ())
    found = risk_coverage(y, p, np.array([case.findings[i].threshold for case in evaluation.predictions]))

    def answered(k: int) -> Answered:
        cases, missed, alarms = (int(counts[k]) for counts in (found.cases, found.missed, found.alarms))
        return Answered(cases, missed, alarms, _of(missed + alarms, cases))

    steps = sorted({found.at((step + 1) / _POINTS) for step in range(_POINTS)})
    rarer = min(int((y == 1).sum()), int((y == 0).sum()))
    return SureRow(
        label,
        stated,
        rarer / stated,
        tuple(answered(found.at(share)) for share in _SUREST),
        tuple(answered(k) for k in steps),
    )


def _asked(report: Report) -> np.ndarray:
    """(L,) which labels the cohort states of any case at all."""
    return np.asarray(np.isfinite(report.comparison.targets).any(axis=0))


def _any(report: Report) -> np.ndarray:
    """(N,) 1 where a case has any of the labels that are asked, 0 where it has none, NaN where that is not stated."""
    targets = report.comparison.targets[:, _asked(report)]
    none = np.where((targets == 0).all(axis=1), 0.0, np.nan)
    return np.where((targets == 1).any(axis=1), 1.0, none)


def _many(report: Report) -> bool:
    """Whether it is a question of its own if a case has any of the labels: one of several classes always holds."""
    return int(_asked(report).sum()) > 1 and not report.multi_class


def _not_flagged(evaluation: Evaluation) -> list[NotFlagged]:
    """By label, and of cases of which nothing is flagged or uncertain."""
    report, unread = evaluation.report, _calls(evaluation) == 0
    rows = []
    for i, label in enumerate(report.labels):
        limits = [case.findings[i].limits for case in evaluation.predictions]
        error = next((one.error for one in limits if one is not None), float("nan"))
        rows.append(_unread(report, label, report.comparison.targets[:, i], unread[:, i], error))
    if _many(report):
        rows.append(_unread(report, ANY, _any(report), unread[:, _asked(report)].all(axis=1), float("nan")))
    return rows


def _unread(report: Report, label: str, y: np.ndarray, unread: np.ndarray, promised: float) -> NotFlagged:
    cases, present = int(np.isfinite(y).sum()), int((y == 1).sum())
    left, missed = int((unread & np.isfinite(y)).sum()), int((unread & (y == 1)).sum())
    return NotFlagged(
        label,
        cases,
        present,
        patients_among(report, y == 1),
        unflagged=_of(left, cases),
        unread=left,
        missed=missed,
        of_present=_of(missed, present),
        of_unread=_of(missed, left),
        promised=promised,
    )


def _triage(evaluation: Evaluation) -> list[TriageRow]:
    """By label and rate of missed cases; then of any label."""
    report = evaluation.report
    comparison = report.comparison
    rows = []
    for i, label in enumerate(report.labels):
        rows += _left(report, label, comparison.targets[:, i], comparison.systems[comparison.reference][:, i])
    if _many(report):
        margins = np.array([[one.margin for one in case.findings] for case in evaluation.predictions])
        leading = margins[:, _asked(report)].max(axis=1)
        rows += _left(report, ANY, _any(report), 1 / (1 + np.exp(-leading)))
    return rows


def _left(report: Report, label: str, y: np.ndarray, p: np.ndarray) -> list[TriageRow]:
    rows, patients = [], patients_among(report, y == 1)
    for at_most in _MISSED:
        one = triage(y, p, at_most)
        new = missed_of_new(one.present, one.allowed) if one.present else (float("nan"),) * 3
        rows.append(
            TriageRow(
                label,
                at_most,
                one.allowed,
                one.cases,
                one.present,
                patients,
                below=float("nan") if label == ANY else one.below,
                unread=one.unread,
                share=one.unread / one.cases if one.present else float("nan"),
                missed=one.missed,
                of_new=Estimate(*new),
            )
        )
    return rows


def _doubts(evaluation: Evaluation) -> Doubts:
    doubted = np.array([bool(case.doubts) for case in evaluation.predictions], dtype=bool)
    reasons = Counter(doubt for case in evaluation.predictions for doubt in dict.fromkeys(case.doubts))
    own = [evaluation.report.comparison.reference]
    macro = [
        scores[0].macro if (scores := scores_among(evaluation.report, rows, own)) else None
        for rows in (doubted, ~doubted)
    ]
    ordered = dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
    return Doubts(int(doubted.sum()), float(doubted.mean()), ordered, *macro)


def examples(evaluation: Evaluation) -> tuple[Example, ...]:
    """The surest right and wrong calls, and those that were not made or lie nearest to their threshold; one a case."""
    targets = evaluation.report.comparison.targets
    told = [
        Example("", case.case_id, case.present, one, float(targets[n, i]))
        for n, case in enumerate(evaluation.predictions)
        for i, one in enumerate(case.findings)
        if np.isfinite(targets[n, i])
    ]
    surest = sorted(told, key=lambda one: (-abs(one.finding.margin), one.case_id, one.finding.label))
    called = [one for one in surest if one.finding.call != "uncertain"]
    right = [one for one in called if one.finding.flagged and one.answer == 1]
    wrong = [one for one in called if one.finding.flagged != (one.answer == 1)]
    unsure = [one for one in reversed(surest) if one.finding.call == "uncertain"] or surest[::-1]
    return tuple(
        Example(kind, one.case_id, one.present, one.finding, one.answer)
        for kind, chosen in (("right", right), ("wrong", wrong), ("uncertain", unsure))
        for one in _one_a_case(chosen)
    )


def _one_a_case(chosen: Sequence[Example]) -> list[Example]:
    first: dict[str, Example] = {}
    for one in chosen:
        first.setdefault(one.case_id, one)
    return list(first.values())[:_EXAMPLES]
