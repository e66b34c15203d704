"""Plots as inline SVG: text stays text, colours are the page's, and the same numbers give the same bytes.

Every colour that matplotlib draws with is a placeholder that is replaced by a variable of the page's style sheet, so
one drawing serves a light page, a dark page and paper. Series also differ by line and marker, not by colour alone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medmm.judge.calibration import Reliability, wilson
from medmm.judge.metrics import Estimate, Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID, FUSED, CEILING = "#010101", "#020202", "#030303", "#040404", "#050505"
"""Placeholders of text, of what is there to compare with, of lines behind, of the model and of a ceiling."""
SERIES = ("#040404", "#060606", "#070707", "#080808")
"""Placeholders of what is drawn side by side; the first is the model."""
_VARIABLES = {
    INK: "--ink",
    FAINT: "--muted",
    GRID: "--line",
    FUSED: "--series-0",
    CEILING: "--ceiling",
    SERIES[1]: "--series-1",
    SERIES[2]: "--series-2",
    SERIES[3]: "--series-3",
}
_DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
"""Line styles in the order of the series; the legend in report.html draws the same."""
_GRAIN = 250
"""Steps of an ROC curve along each axis that are drawn apart: a plot is about as many pixels wide."""
_REACH = (0.1, 0.25, 0.5, 1.0)
"""Where axes of shares may end."""


def forest(scores: Sequence[Score], ceilings: Mapping[str, float]) -> str:
    """Macro AUROC of each system, and what the first one gains over it, with 95 % intervals; ceilings as lines."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    names = [score.system for score in scores] + [f"ceiling: {name}" for name in ceilings]
    layout = ConstrainedLayoutEngine(wspace=0.06)
    figure = Figure(figsize=(8.6, 0.3 * len(names) + 0.85), layout=layout)
    left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [3, 2]})
    for row, score in enumerate(scores):
        colour = FUSED if row == 0 else INK
        _interval(left, row, score.macro, colour, "D" if row == 0 else "o")
        if row:
            _interval(right, row, score.gain, colour, "o")
    for row, ceiling in enumerate(ceilings.values(), start=len(scores)):
        left.axvline(ceiling, color=CEILING, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
        left.plot([ceiling], [row], marker="|", markersize=10, markeredgewidth=2, color=CEILING, linestyle="none")
    right.axvline(0, color=INK, linewidth=0.8)
    left.set_yticks(range(len(names)), labels=names, parse_math=False)
    left.set_ylim(len(names) - 0.4, -0.6)
    left.set_xlabel("macro AUROC, 95 % interval")
    right.set_xlabel(f"gain of {scores[0].system} over it", parse_math=False)
    for axes in (left, right):
        calm(axes)
        axes.margins(x=0.08)
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    return svg(figure, "forest", "Forest plot of the macro AUROC of every system; the table above has the numbers")


def roc(name: str, targets: np.ndarray, systems: Sequence[np.ndarray]) -> str | None:
    """ROC curves of one label (N,) for up to four systems, each (N,); None unless both answers are there."""
    from matplotlib.figure import Figure
    from sklearn.metrics import roc_curve

    known = np.isfinite(targets)
    if len(np.unique(targets[known])) < 2:
        return None
    figure = Figure(figsize=(2.7, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GRID, linewidth=1)
    for i in reversed(range(len(systems))):  # the model is drawn last, on top
        false_alarms, found, _ = roc_curve(targets[known], systems[i][known])
        x, y = np.unique(np.round(np.stack([false_alarms, found]) * _GRAIN), axis=1) / _GRAIN  # both only rise
        axes.plot(x, y, color=SERIES[i], linestyle=_DASHES[i], linewidth=2 if i == 0 else 1.3)
    _square(axes, 1.0, "1 − specificity", "sensitivity")
    return svg(figure, name, "ROC curves; the table of AUROC by label has the areas")


def reliability_diagram(name: str, found: Reliability, before: Reliability | None = None) -> str | None:
    """Stated probability against what happened, with Wilson intervals; None without a stated case.

    Args:
        name: of the drawing.
        found: what is stated now.
        before: what was stated before calibration, drawn beside it.
    """
    from matplotlib.figure import Figure

    if not found.cases:
        return None
    drawn = [found] if before is None else [found, before]
    reach = next(end for end in _REACH if max(max(*one.stated, *one.happened) for one in drawn) <= end)
    figure = Figure(figsize=(2.7, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (3, 3)))
    bars = [wilson(share, cases) for share, cases in zip(found.happened, found.cases, strict=True)]
    axes.vlines(found.stated, [low for low, _ in bars], [high for _, high in bars], color=FUSED, linewidth=1)
    if before is not None:
        axes.plot(before.stated, before.happened, color=SERIES[1], linestyle=_DASHES[1], linewidth=1.3, clip_on=False)
    axes.plot(found.stated, found.happened, color=FUSED, linewidth=1.3, marker="o", markersize=4, clip_on=False)
    _square(axes, reach, "stated probability", "share that has it")
    return svg(figure, name, "Reliability diagram; the caption has the calibration error")


def decision_curve(name: str, thresholds: np.ndarray, model: np.ndarray, treat_all: np.ndarray) -> str | None:
    """Net benefit of the model, of acting on everybody and of acting on nobody (K,); None if no case is stated."""
    from matplotlib.figure import Figure

    if not np.isfinite(model).all():
        return None
    most = float(max(model.max(), treat_all.max(), 0.01))
    reach = next(end for end in _REACH if end >= min(2.5 * most, 1.0))
    figure = Figure(figsize=(2.7, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=SERIES[2], linestyle=_DASHES[2], linewidth=1.3)
    axes.plot(thresholds, treat_all, color=SERIES[1], linestyle=_DASHES[1], linewidth=1.3)
    axes.plot(thresholds, model, color=FUSED, linewidth=2)
    axes.set_xlim(0, reach)
    axes.set_ylim(-0.3 * most, 1.1 * most)
    axes.set_xticks([0, reach / 2, reach], labels=["0", f"{reach / 2:g}", f"{reach:g}"])
    axes.locator_params(axis="y", nbins=4)
    axes.set_xlabel("threshold probability")
    axes.set_ylabel("net benefit a case")
    calm(axes)
    return svg(figure, name, "Decision curve; metrics.json has the numbers")


def risk_coverage(
    name: str, spoken: np.ndarray, wrong: Sequence[Estimate], commoner: float, called: tuple[float, float] | None = None
) -> str | None:
    """Share of the cases that is answered, the surest first, against the error of the calls; None without a point.

    Args:
        name: of the drawing.
        spoken: (K,) shares that are answered, rising.
        wrong: K shares of these that are wrong, with intervals.
        commoner: share that is wrong if every case is called the commoner answer.
        called: share that the model answers at its limits, and share of these that is wrong; a diamond.
    """
    from matplotlib.figure import Figure

    if not wrong:
        return None
    most = max(*(one.value for one in wrong), commoner, called[1] if called else 0, wrong[-1].high)
    reach = next(end for end in _REACH if end >= most)
    figure = Figure(figsize=(2.7, 2.4), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(spoken, [one.low for one in wrong], [one.high for one in wrong], facecolor=GRID, linewidth=0)
    axes.axhline(commoner, color=SERIES[1], linestyle=_DASHES[1], linewidth=1.3)
    axes.plot(spoken, [one.value for one in wrong], color=FUSED, linewidth=2)
    if called:
        axes.plot(*([value] for value in called), marker="D", color=INK, markersize=5, linestyle="none", clip_on=False)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, reach)
    axes.set_xticks([0, 0.5, 1], labels=["0", "0.5", "1"])
    axes.set_yticks([0, reach / 2, reach], labels=["0", f"{reach / 2:g}", f"{reach:g}"])
    axes.set_xlabel("share of cases answered")
    axes.set_ylabel("error of the calls")
    calm(axes)
    return svg(figure, name, "Risk-coverage curve; the table below has the numbers")


def _interval(axes: Axes, row: int, found: Estimate, colour: str, marker: str) -> None:
    if np.isnan(found.value):
        return
    axes.plot([found.low, found.high], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot([found.value], [row], color=colour, marker=marker, markersize=6, linestyle="none")


def _square(axes: Axes, end: float, below: str, beside: str) -> None:
    axes.set_xlim(0, end)
    axes.set_ylim(0, end)
    axes.set_aspect("equal")
    ticks = [0, end / 2, end]
    axes.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axes.set_yticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axes.set_xlabel(below)
    axes.set_ylabel(beside)
    calm(axes)


def calm(axes: Axes) -> None:
    """No box, no background, thin ink."""
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, color=FAINT)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
    axes.set_axisbelow(True)


def svg(figure: Figure, name: str, description: str) -> str:
    """The drawing as an element of a page; `name` keeps its ids apart from those of other drawings."""
    import matplotlib

    figure.patch.set_visible(False)
    target = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):  # both are read only from there
        figure.savefig(target, format="svg", metadata=nothing)
    text = target.getvalue()
    text = re.sub(r"\s*<(metadata|style)\b.*?</\1>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf'<svg \1 role="img" aria-label="{description}">', text)
    return re.sub(r"<[^>]+>", lambda tag: _dressed(tag[0], name), text)


def _dressed(tag: str, name: str) -> str:
    """One tag as the page needs it: ids of its own, the page's font, the page's colours. Text is never touched."""
    tag = re.sub(r'(\bid="|url\(#)', rf"\1{name}-", tag)
    tag = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", tag)
    tag = re.sub(r'xlink:href="#', f'href="#{name}-', tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    return re.sub(r"#0[1-8]0[1-8]0[1-8]\b", lambda colour: f"var({_VARIABLES[colour[0]]})", tag)
