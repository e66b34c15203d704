"""What the numbers of a report allow to be said, in words. Nothing is called better unless its interval says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medmm.case import MODALITIES
from medmm.judge.comparison import Report
from medmm.judge.metrics import Estimate, Score

BETTER = "better"
WORSE = "worse"
NOT_SHOWN = "not shown to be better"
TOO_FEW = "too few patients to tell"

_HEADLINE = {
    BETTER: "ranks better than {name}, {role} (by {gain})",
    WORSE: "ranks worse than {name}, {role} (difference {gain})",
    NOT_SHOWN: "is not shown to rank better than {name}, {role} (difference {gain})",
    TOO_FEW: "cannot be told apart from {name}, {role}, by so few patients",
}


def verdict(gain: Estimate) -> str:
    """What the interval of a difference says of the model: better, worse, not shown to be better, or nothing."""
    if not np.isfinite([gain.value, gain.low, gain.high]).all():
        return TOO_FEW
    if gain.low > 0:
        return BETTER
    return WORSE if gain.high < 0 else NOT_SHOWN


def headline(report: Report) -> str:
    """One sentence: how the model ranks, and whether that beats its best single side and its best rival."""
    comparison = report.comparison
    own, *rivals = report.scores
    start = (
        f"On {counted(len(set(comparison.case_ids)), 'test case')} of "
        f"{counted(len(set(comparison.patients)), 'patient')} "
        + ("of another cohort than the one it learnt from, " if report.external else "that training never saw, ")
    )
    if report.folds is not None:
        start = start.removesuffix(", ") + f" ({report.folds} folds, each with a model of its own), "
    if np.isnan(own.macro.value):
        return start + "no label has both answers, so how well the model ranks cases cannot be judged."
    model = f"the {own.system} model (macro AUROC {interval(own.macro)})"
    alone = [score for score in rivals if score.system in single_sides(report)]
    others = [score for score in rivals if score.system not in single_sides(report)]
    said = [
        _against(_strongest(group), role)
        for group, role in ((alone, "the strongest single modality"), (others, "the strongest of the other systems"))
        if group
    ]
    return start + model + " " + (", and ".join(said) or "was compared with nothing") + "."


def tally(scores: Sequence[Score]) -> Mapping[str, int]:
    """Over how many of its rivals the model, which comes first, has which verdict."""
    words = [verdict(score.gain) for score in scores[1:]]
    return {word: words.count(word) for word in (BETTER, NOT_SHOWN, WORSE, TOO_FEW)}


def single_sides(report: Report) -> tuple[str, ...]:
    """The systems that were given one modality, in the order of MODALITIES."""
    return tuple(name for m in MODALITIES if (name := f"{m} only") in report.comparison.systems)


def kept(gate: float) -> str:
    """A gate in [0, 1] in words."""
    if gate <= 0:
        return "none: validation patients did not pay for it"
    if gate < 1:
        return f"{100 * gate:.0f} % of it"
    return "all of it"


def joined(present: Sequence[str]) -> str:
    """A pattern of present modalities in words."""
    return " + ".join(present) or "nothing"


def counted(number: int, noun: str) -> str:
    """'1 patient', '2 patients', '12,000 patients'."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def interval(estimate: Estimate) -> str:
    """'0.861, 95 % interval 0.840 to 0.880'."""
    if np.isnan(estimate.low):
        return f"{minus(estimate.value)}, no interval"
    return f"{minus(estimate.value)}, 95 % interval {minus(estimate.low)} to {minus(estimate.high)}"


def minus(value: float, digits: int = 3) -> str:
    """A number with a true minus sign, and never minus nothing; n/a for NaN."""
    text = "n/a" if np.isnan(value) else f"{value:.{digits}f}"
    return text.lstrip("-") if float(text.replace("n/a", "1")) == 0 else text.replace("-", "−")


def _strongest(scores: Sequence[Score]) -> Score:
    """The hardest to beat: highest macro AUROC; judging against it makes choosing it no advantage."""
    return max(scores, key=lambda score: score.macro.value)


def _against(rival: Score, role: str) -> str:
    words = _HEADLINE[verdict(rival.gain)]
    return words.format(name=rival.system, role=role, gain=interval(rival.gain))
