"""A model card: what the model is, what it is for, on whom it was taught and judged, and what nobody has stated yet.

Its fields are those that TRIPOD+AI (Collins et al. 2024, BMJ 385:e078378) asks of a report and that the Applied Model
Card of the Coalition for Health AI (CHAI) asks of a developer. What the run knows is filled in; the rest says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medmm.config import CohortConfig, NumberColumn, RunConfig
from medmm.judge import words
from medmm.judge.subgroups import FairnessRow
from medmm.judge.summary import LabelRow, Summary

UNKNOWN = "unknown - to be filled by the maintainers"
USE = "Decision support for research. Not a medical device. ‘Not flagged’ does not rule anything out."
_AIMS = {
    "youden": "where sensitivity + specificity was highest on validation patients",
    "sensitivity": "so that validation patients with the label were flagged at least as often as was asked for",
    "net_benefit": "at the probability at which a miss and the false alarms that avoid it weigh the same",
}
_RULES = {
    "concat": "the textbook’s concatenation: a linear layer over the note’s CLS, pooled image features and the record",
    "weighted_sum": "a head for each modality; their probabilities averaged with shares for each pattern",
    "product": "a head for each modality; a product of experts",
    "gated": "a head for each modality, stacked or in conjunction, and a gate that reweighs them case by case",
    "cross_attention": "a head for each modality, stacked or in conjunction, and cross-attention, as far as it pays",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One line of a card."""

    name: str
    value: str
    asked_by: str
    """TRIPOD+AI item, CHAI section, or both."""

    @property
    def known(self) -> bool:
        """Whether the run could fill it."""
        return self.value != UNKNOWN


@dataclass(frozen=True, slots=True)
class Section:
    """Fields that belong together."""

    title: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run and its evaluation know."""

    cohort: CohortConfig
    run: RunConfig
    prevalence: Mapping[str, float]
    """Label -> share among the training cases."""
    summary: Summary
    external: bool
    promises: bool
    """Whether the model keeps limits outside of which it does not say."""
    fairness: Sequence[FairnessRow]


def model_card(facts: Facts) -> tuple[Section, ...]:
    """Fill every field that the run knows."""
    return (
        _identity(facts),
        _use(),
        _data(facts),
        _model(facts),
        _performance(facts),
        _warnings(facts),
        Section(
            "Responsibility",
            tuple(
                Field(name, UNKNOWN, asked_by)
                for name, asked_by in (
                    ("Ethical approval", "TRIPOD+AI 17"),
                    ("Funding", "TRIPOD+AI 18a; CHAI transparency"),
                    ("Conflicts of interest", "TRIPOD+AI 18b"),
                    ("Protocol and registration", "TRIPOD+AI 18c, 18d"),
                    ("Availability of data and code", "TRIPOD+AI 18e, 18f"),
                    ("Patients and public involved", "TRIPOD+AI 19; CHAI transparency"),
                    ("Monitoring and updating after deployment", "TRIPOD+AI 24; CHAI maintenance"),
                    ("Security and compliance", "CHAI trust ingredients"),
                )
            ),
        ),
    )


def _identity(facts: Facts) -> Section:
    summary = facts.summary
    return Section(
        "Identity",
        (
            Field("Name", f"medmm model {summary.model_id}", "TRIPOD+AI 1; CHAI basic information"),
            Field("Version", f"{summary.model_id}, made by medmm {summary.version}", "CHAI release version"),
            Field("Developer and contact", UNKNOWN, "CHAI basic information"),
            Field("Release stage and regulatory status", "research; not a medical device", "CHAI regulatory approval"),
        ),
    )


def _use() -> Section:
    return Section(
        "Use",
        (
            Field("Intended use", USE, "TRIPOD+AI 3a, 4; CHAI uses and directions"),
            Field("Intended users", UNKNOWN, "TRIPOD+AI 3b; CHAI uses and directions"),
            Field("Target population and care setting", UNKNOWN, "TRIPOD+AI 3b; CHAI uses and directions"),
            Field("Known health inequalities between groups", UNKNOWN, "TRIPOD+AI 3c"),
            Field(
                "Out of scope",
                "Ruling a finding out; acting without a person; patients, devices, languages or prevalences unlike "
                "those of the training cohort, unless an evaluation there says otherwise; findings not named below.",
                "CHAI cautioned out-of-scope settings",
            ),
        ),
    )


def _data(facts: Facts) -> Section:
    summary, cohort = facts.summary, facts.cohort
    classes = cohort.labels is not None and cohort.labels.multi_class
    kind = "one class a case" if classes else "any number of findings a case"
    prevalence = "; ".join(f"{label} {words.minus(share)}" for label, share in facts.prevalence.items())
    parts = ", ".join(f"{words.counted(count, 'case')} ({part})" for part, count in summary.parts.items())
    return Section(
        "Data",
        (
            Field("Source, setting and eligibility", UNKNOWN, "TRIPOD+AI 5a, 6a, 6b; CHAI development data"),
            Field("Dates", UNKNOWN, "TRIPOD+AI 5b"),
            Field("Treatments received", UNKNOWN, "TRIPOD+AI 6c"),
            Field("Size, by part, apart by patient", parts or UNKNOWN, "TRIPOD+AI 10, 20a; CHAI development data"),
            Field("Cases refused", _refused(summary), "TRIPOD+AI 7, 20a"),
            Field(
                "Outcomes",
                f"{', '.join(row.label for row in summary.labels)}; {kind}; 1, 0 or not stated, as given in the table",
                "TRIPOD+AI 8a; CHAI outcome and output",
            ),
            Field("How outcomes were assessed", UNKNOWN, "TRIPOD+AI 8a, 8b, 8c"),
            Field("Share of each outcome in training", prevalence or UNKNOWN, "TRIPOD+AI 13, 20a"),
            Field("Predictors", _predictors(facts), "TRIPOD+AI 9a, 9b; CHAI input data"),
        ),
    )


def _refused(summary: Summary) -> str:
    said = ", ".join(f"{code}: {count}" for code, count in summary.refused.items())
    return said or "none of the cohort that was judged"


def _predictors(facts: Facts) -> str:
    record = ", ".join(
        f"{name} ({column.unit})" if isinstance(column, NumberColumn) else f"{name} ({' / '.join(column.categories)})"
        for name, column in facts.cohort.record.items()
    )
    named = {"image": "the images of one study", "note": "the note before the study", "record": f"record: {record}"}
    said = [named[m] for m in facts.run.fusion.modalities if m != "record" or record]
    return "; ".join([*said, *(["a prior study"] if facts.cohort.prior else [])])


def _model(facts: Facts) -> Section:
    run, decision = facts.run, facts.run.decision
    encoders = f"image {run.encoders.image}; volumes {run.encoders.volume}; note {run.encoders.text}"
    return Section(
        "Model",
        (
            Field("Kind", _RULES[run.fusion.kind], "TRIPOD+AI 12b, 12c; CHAI model type"),
            Field("Foundation models", f"{encoders}; see [encoders] of run.json", "CHAI foundation models"),
            Field(
                "Training", f"seed {run.training.seed}, {run.training.folds} folds by patient", "TRIPOD+AI 12a, 12c, 22"
            ),
            Field(
                "Missing data",
                "A missing modality or value is told to the model as missing and never filled in; each pattern of "
                "present modalities has its own weights and calibration. A label that is not stated neither teaches "
                "nor scores.",
                "TRIPOD+AI 11",
            ),
            Field(
                "Class imbalance",
                "Nothing is resampled or weighted; thresholds and calibration are chosen on validation patients.",
                "TRIPOD+AI 13",
            ),
            Field(
                "Output",
                f"A calibrated probability of each label, flagged at a threshold chosen {_AIMS[decision.aim]}"
                + (f"; ‘uncertain’ where an error of {decision.error:g} cannot be kept" if facts.promises else "")
                + ".",
                "TRIPOD+AI 15; CHAI outcome and output",
            ),
            Field(
                "Calibration",
                "By label and pattern of present modalities, chosen on validation patients.",
                "TRIPOD+AI 12d, 12e",
            ),
        ),
    )


def _performance(facts: Facts) -> Section:
    summary = facts.summary
    judged = "another cohort than the one it learnt from" if facts.external else "test patients of its own cohort"
    where = (
        f"{words.counted(summary.test_cases, 'case')} of {words.counted(summary.test_patients, 'patient')}, {judged}"
    )
    return Section(
        "Performance",
        (
            Field("Judged on", where, "TRIPOD+AI 16, 20; CHAI key metrics"),
            Field("In short", summary.headline, "TRIPOD+AI 23a; CHAI key metrics: efficacy"),
            *(
                Field(
                    row.label,
                    _label(row),
                    "TRIPOD+AI 12e, 23a; CHAI key metrics: efficacy",
                )
                for row in summary.labels
            ),
            Field("By group", _groups(facts.fairness), "TRIPOD+AI 14, 23b; CHAI key metrics: fairness"),
            Field("Usefulness in practice", UNKNOWN, "CHAI key metrics: usefulness, usability"),
            Field("Safety in practice", UNKNOWN, "CHAI key metrics: safety"),
        ),
    )


def _label(row: LabelRow) -> str:
    figures = {"AUROC": row.auroc, "sensitivity": row.sensitivity, "specificity": row.specificity}
    said = "; ".join(f"{name} {words.interval(figure)}" for name, figure in figures.items())
    ece = f"ECE {words.minus(row.reliability.ece)} (by luck alone {words.minus(row.ece_by_luck)})"
    return f"{said}; {ece}; {row.present} present, {row.absent} absent" + ("; few patients" if row.few else "")


def _groups(rows: Sequence[FairnessRow]) -> str:
    """The widest difference between groups that have enough patients."""
    able = [row for row in rows if row.comparable]
    if not able:
        return "no attribute has two groups with enough patients of both answers"
    worst = max(able, key=lambda row: row.equalized_odds_difference)
    return (
        f"largest equalized odds difference {words.minus(worst.equalized_odds_difference)}: {worst.label} by "
        f"{worst.attribute} ({', '.join(worst.groups)})"
    )


def _warnings(facts: Facts) -> Section:
    limits = [
        "Intervals cover the choice of patients that judged, not that of patients that taught.",
        "Labels are taken as they were given; where they are wrong, so is everything here.",
    ]
    if not facts.external:
        limits.append("All patients come from one cohort: another hospital can give other numbers.")
    few = [row.label for row in facts.summary.labels if row.few]
    if few:
        limits.append(f"Too few patients to rely on: {', '.join(few)}.")
    return Section(
        "Warnings",
        (
            Field("Limitations", " ".join(limits), "TRIPOD+AI 26; CHAI known risks and limitations"),
            Field("Known biases and ethical considerations", UNKNOWN, "TRIPOD+AI 14; CHAI warnings"),
            Field("Clinical risk level", UNKNOWN, "CHAI warnings"),
            Field(
                "Poor or missing input when in use",
                "A study that cannot be read is refused with a reason; a missing modality is named beside the answer.",
                "TRIPOD+AI 27a",
            ),
            Field("Expertise and interaction required", UNKNOWN, "TRIPOD+AI 27b"),
        ),
    )
