"""Plots of a history, in the manner of medmm.judge.plots: what lies where in each window, and what is called of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from medmm.judge.drift import Drift, Item
from medmm.judge.plots import FAINT, FUSED, GRID, INK, SERIES, calm, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import FillStyleType

_ALERT = SERIES[1]
_REACH = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Where the axis of a share may end."""
_MOST_TICKS = 4
_LOOKS: Mapping[str, tuple[str, int, str, FillStyleType]] = {
    "reference": ("o", 4, INK, "full"),
    "not judged": ("o", 4, FAINT, "none"),
    "steady": ("o", 4, FUSED, "full"),
    "watch": ("s", 5, _ALERT, "full"),
    "drifted": ("D", 5, _ALERT, "full"),
}
"""Marker, its size, colour and filling; monitor.html has the same in its legend."""


def cases(name: str, drift: Drift) -> str:
    """Cases of each window; those of the reference dark, and too few hollow."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 1.7), layout="constrained")
    axes = figure.subplots()
    for place, window in enumerate(drift.windows):
        colour = INK if window.reference else FUSED
        axes.bar(place, window.cases, 0.7, facecolor="none" if window.small else colour, edgecolor=colour, linewidth=1)
    axes.set_ylabel("cases")
    axes.locator_params(axis="y", nbins=4, integer=True)
    _dates(axes, drift, most=10)
    calm(axes)
    return svg(figure, name, "Cases of each window; the table below has the numbers")


def over_time(name: str, drift: Drift, item: Item) -> str:
    """One item over the windows: a share with its interval, or a median with quartiles; the reference is a band.

    A window that drifted is a diamond, one to watch a square, a steady one a dot, one that was not judged a ring.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.7, 1.9), layout="constrained")
    axes = figure.subplots()
    places = [place for place, point in enumerate(item.points) if point.cases]
    if item.reference.cases:
        axes.axhspan(item.reference.low, item.reference.high, facecolor=GRID, linewidth=0)
    axes.plot(places, [item.points[place].value for place in places], color=FAINT, linewidth=1)
    for looks, (marker, size, colour, fill) in _LOOKS.items():
        alike = [place for place in places if _looks(item, place) == looks]
        if alike:
            points = [item.points[place] for place in alike]
            axes.vlines(alike, [point.low for point in points], [point.high for point in points], colour, linewidth=1)
            values = [point.value for point in points]
            axes.plot(alike, values, marker, color=colour, markersize=size, fillstyle=fill)
    if item.measure == "share" or item.group == "probability":
        top = max(point.high for point in (*item.points, item.reference) if point.cases)
        reach = next((end for end in _REACH if end >= top), 1.0)
        axes.set_ylim(0, reach)
        ticks = [0, reach / 2, reach]
        said = [f"{100 * tick:g} %" if item.measure == "share" else f"{tick:g}" for tick in ticks]
        axes.set_yticks(ticks, labels=said)
    else:
        axes.locator_params(axis="y", nbins=4)
    _dates(axes, drift, _MOST_TICKS)
    calm(axes)
    return svg(figure, name, "The item over the windows; the table above has the newest ones, monitor.json all")


def _looks(item: Item, place: int) -> str:
    return "reference" if place < item.of_reference else item.points[place].judgement


def _dates(axes: Axes, drift: Drift, most: int) -> None:
    """Name windows under the axis, so many that they can be read."""
    windows = len(drift.windows)
    axes.set_xlim(-0.6, windows - 0.4)
    shape = "%Y-%m" if drift.unit == "month" else "%m-%d"
    ticks = range(0, windows, -(-windows // most))
    axes.set_xticks(ticks, labels=[f"{drift.windows[tick].start:{shape}}" for tick in ticks])
