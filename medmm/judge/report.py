"""The report of a training run: report.html, one page that needs nothing else, and metrics.json, its numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from medmm.files import write_whole
from medmm.judge import plots, words
from medmm.judge.comparison import Comparison, Report
from medmm.judge.metrics import placements
from medmm.judge.page import render
from medmm.judge.summary import FEW, TOO_FEW, Summary, summarise

__all__ = ["Comparison", "Report", "write_report"]

MOST_PLOTS = 24
"""Labels that get plots; the tables have all of them."""


def write_report(folder: Path, report: Report) -> None:
    """Write report.html and metrics.json; the same report gives the same bytes.

    Args:
        folder: made if it is not there.
        report: what to tell.
    """
    summary = summarise(report)
    numbers = json.dumps(_plain(asdict(summary)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    page = _page(report, summary)
    write_whole(folder / "metrics.json", lambda path: path.write_text(numbers, encoding="utf-8"))
    write_whole(folder / "report.html", lambda path: path.write_text(page, encoding="utf-8"))


def _page(report: Report, summary: Summary) -> str:
    """The page; whatever is not a drawing of ours is escaped."""
    return render(
        "report.html",
        summary=summary,
        made_on=report.made_on.isoformat(),
        multi_class=report.multi_class,
        few=FEW,
        too_few=TOO_FEW,
        most_plots=MOST_PLOTS,
        single_sides=words.single_sides(report),
        **_drawings(report, summary),
    )


def _drawings(report: Report, summary: Summary) -> dict[str, Any]:
    """The drawings, marked as safe: they hold text only where matplotlib has escaped it."""
    from markupsafe import Markup

    def safe(svg: str | None) -> Markup | None:
        return None if svg is None else Markup(svg)  # noqa: S704  # our own drawing

    shown = (report.comparison.reference, *words.single_sides(report))
    rows = summary.labels[:MOST_PLOTS]
    return {
        "forest": safe(plots.forest(report.scores, report.ceilings)),
        "rocs": [safe(plots.roc(f"roc-{i}", *_ranked(report.comparison, shown, i))) for i in range(len(rows))],
        "diagrams": [
            safe(plots.reliability_diagram(f"reliability-{i}", row.reliability)) for i, row in enumerate(rows)
        ],
    }


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
