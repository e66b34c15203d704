"""Reports of a training run and of an evaluation: report.html, one page that needs nothing else, and metrics.json.

An evaluation has its model card beside it, which is also the last section of its page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medmm.files import write_whole
from medmm.judge import plots, words
from medmm.judge.calibration import Reliability
from medmm.judge.comparison import Comparison, Report
from medmm.judge.evaluation import ANY, Benefit, Evaluation, Found, examples, find
from medmm.judge.metrics import placements
from medmm.judge.page import render
from medmm.judge.summary import FEW, TOO_FEW, Summary, summarise

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["Comparison", "Evaluation", "Report", "write_evaluation", "write_report"]

CONTENTS = (
    ("comparison", "Comparison of the systems"),
    ("limits", "Limits and intended use"),
    ("labels", "Label by label"),
    ("roc", "ROC curves"),
    ("calibration", "Calibration"),
    ("patterns", "Missing modalities"),
    ("gates", "Interaction"),
    ("refused", "What was refused"),
)
"""Of the report of a training run: id of the section, and what it is about; what is asked first comes first."""
EVALUATION_CONTENTS = (
    *CONTENTS[:5],
    ("decisions", "Decision curves"),
    ("coverage", "When it does not say"),
    ("sure", "Right when sure?"),
    ("triage", "Left unread"),
    ("groups", "Subgroups"),
    ("risk", "Beyond prior risk"),
    ("patterns", "Missing modalities"),
    ("ablation", "Ablation"),
    ("doubts", "Doubts"),
    ("examples", "Examples"),
    ("gates", "Interaction"),
    ("refused", "What was refused"),
    ("audit", "Leak audit"),
    ("cost", "Cost"),
    ("card", "Model card"),
)
MOST_PLOTS = 24
"""Labels that get plots; the tables have all of them."""
_FEWEST = 20
"""Cases that a point of a risk-coverage curve must have to be drawn."""


def write_report(folder: Path, report: Report) -> None:
    """Write report.html and metrics.json; the same report gives the same bytes.

    Args:
        folder: made if it is not there.
        report: what to tell.
    """
    summary = summarise(report)
    page = render("report.html", contents=CONTENTS, **_page(report, summary, [None] * len(summary.labels)))
    _write(folder, {"metrics.json": numbers_of(summary), "report.html": page})


def write_evaluation(folder: Path, evaluation: Evaluation) -> Found:
    """Write report.html, model_card.html and metrics.json; the same answers give the same metrics.json.

    Args:
        folder: made if it is not there.
        evaluation: what to tell.
    """
    found, report = find(evaluation), evaluation.report
    page = render(
        "evaluation.html",
        found=found,
        contents=_contents(found),
        examples=examples(evaluation),
        cost=evaluation.cost,
        card=found.card,
        curves=[_curve(f"decision-{i}", row) for i, row in enumerate(found.benefits[:MOST_PLOTS])],
        risks=[_risk(f"risk-{i}", found, i) for i in range(len(found.sure[:MOST_PLOTS]))],
        any_label=ANY,
        fewest=_FEWEST,
        **_page(report, found.summary, [row.reliability for row in found.uncalibrated]),
    )
    card = render("model_card.html", model_id=report.model_id, made_on=report.made_on.isoformat(), card=found.card)
    _write(folder, {"metrics.json": numbers_of(found), "model_card.html": card, "report.html": page})
    return found


def numbers_of(found: Any) -> str:
    """A dataclass as the text of a JSON file, exactly the same on every run."""
    return json.dumps(_plain(asdict(found)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        write_whole(folder / name, lambda path, text=text: path.write_text(text, encoding="utf-8"))  # type: ignore[misc]


def _contents(found: Found) -> list[tuple[str, str]]:
    """Sections of the page of an evaluation; what a reader asks first comes first, wherever it stands."""
    lacking = {name for name, rows in (("coverage", found.coverage), ("risk", found.risk)) if not rows}
    return [(id_, title) for id_, title in EVALUATION_CONTENTS if id_ not in lacking]


def _page(report: Report, summary: Summary, before: Sequence[Reliability | None]) -> dict[str, Any]:
    """What report.html asks for; whatever is not a drawing of ours is escaped.

    Args:
        report: of a training run or an evaluation.
        summary: its numbers.
        before: of each label its reliability before calibration, if it is to be drawn.
    """
    shown = (report.comparison.reference, *words.single_sides(report))
    rows = summary.labels[:MOST_PLOTS]
    return {
        "summary": summary,
        "external": report.external,
        "made_on": report.made_on.isoformat(),
        "multi_class": report.multi_class,
        "few": FEW,
        "too_few": TOO_FEW,
        "most_plots": MOST_PLOTS,
        "single_sides": words.single_sides(report),
        "forest": _safe(plots.forest(report.scores, report.ceilings)),
        "rocs": [_safe(plots.roc(f"roc-{i}", *_ranked(report.comparison, shown, i))) for i in range(len(rows))],
        "diagrams": [
            _safe(plots.reliability_diagram(f"reliability-{i}", row.reliability, before[i]))
            for i, row in enumerate(rows)
        ],
    }


def _curve(name: str, row: Benefit) -> Markup | None:
    return _safe(plots.decision_curve(name, *(np.array(each) for each in (row.thresholds, row.model, row.treat_all))))


def _risk(name: str, found: Found, i: int) -> Markup | None:
    """The risk-coverage curve of a label, where enough cases are answered for an error to mean something."""
    row = found.sure[i]
    drawn = [one for one in row.curve if one.cases >= _FEWEST]
    called = None
    if found.uncertain and np.isfinite(found.uncertain[i].wrong.value):
        called = (1 - found.uncertain[i].uncertain.value, found.uncertain[i].wrong.value)
    spoken = np.array([one.cases / row.cases for one in drawn])
    return _safe(plots.risk_coverage(name, spoken, [one.wrong for one in drawn], row.commoner, called))


def _safe(svg: str | None) -> Markup | None:
    """A drawing, marked as safe: it holds text only where matplotlib has escaped it."""
    from markupsafe import Markup

    return None if svg is None else Markup(svg)  # noqa: S704  # our own drawing


def _ranked(comparison: Comparison, shown: Sequence[str], label: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Targets of a label (N,), and of each system scores (N,) that can be ranked together."""
    targets, strata = comparison.targets[:, label], comparison.strata
    scores = [comparison.systems[name][:, label] for name in shown]
    if strata is None:
        return targets, scores
    placed = [placements(targets, score, strata) for score in scores]
    return np.where(np.isfinite(placed[0]), targets, np.nan), placed


def _plain(value: Any) -> Any:
    """What JSON can say, exactly the same on every run: six decimals, and null for what cannot be computed."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 6) + 0.0 if np.isfinite(value) else None
    return value
