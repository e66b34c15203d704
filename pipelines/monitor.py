"""Say whether what is scored, what the model says of it and what people make of that have drifted.

medmm monitor OUT
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from markupsafe import Markup
from rich.table import Table

from medmm.errors import StoreError
from medmm.files import write_whole
from medmm.judge import drift as rules
from medmm.judge import drift_plots
from medmm.judge.drift import Drift, Item, judge_drift, percent, plain, scorings
from medmm.judge.page import render
from medmm.store.store import Store
from pipelines import terminal

PAGE, NUMBERS = "monitor.html", "monitor.json"
MOST_PLOTS = 12
"""Items of one group that are drawn: the worst, then the first ones; one that never changes is not."""


def monitor_folder(out: Path, report: Path | None = None, store: str | None = None) -> tuple[Drift, ...]:
    """Judge the history of every model that scored in `out`, the latest first; leave monitor.html and monitor.json.

    Args:
        out: folder that `medmm score` left.
        report: where the two files go; `out` if None.
        store: URL of the database that holds what was scored; the store in `out` if None.

    Raises:
        StoreError: if nothing was scored there, or the store cannot be used.
    """
    with Store.existing(store or out) as kept:
        found = tuple(judge_drift(model, scorings(kept.history(model))) for model in kept.models())
    if not found:
        raise StoreError("nothing was scored in the folder yet", "Score studies into it with 'medmm score'")
    where = report or out
    numbers = json.dumps({"medmm": version("medmm"), "models": [plain(drift) for drift in found]}, indent=1)
    write_whole(where / NUMBERS, lambda path: path.write_text(numbers + "\n", encoding="utf-8"))
    page = render(
        PAGE,
        pages=[_drawn(number, drift) for number, drift in enumerate(found)],
        rules=rules,
        percent=percent,
        version=version("medmm"),
    )
    write_whole(where / PAGE, lambda path: path.write_text(page, encoding="utf-8"))
    for drift in found:
        _say(drift)
    terminal.console.print(f"Report in {where / PAGE}; every number in {where / NUMBERS}")
    return found


def _drawn(number: int, drift: Drift) -> dict[str, object]:
    """One model as the page shows it; `number` keeps its plots apart from those of the others."""
    plots: dict[str, list[tuple[Item, Markup]]] = {}
    for place, item in sorted(enumerate(drift.items), key=lambda one: rules.RANK[one[1].judgement]):
        drawn = plots.setdefault(item.group, [])
        if len(drawn) < MOST_PLOTS and not item.constant:
            drawn.append((item, _svg(drift_plots.over_time(f"item-{number}-{place}", drift, item))))
    return {"drift": drift, "cases": _svg(drift_plots.cases(f"cases-{number}", drift)), "plots": plots}


def _svg(drawing: str) -> Markup:
    return Markup(drawing)  # noqa: S704  # our own drawing


def _say(drift: Drift) -> None:
    """Print what a person should look at."""
    terminal.console.print(f"Model {drift.model_id}: {drift.headline}")
    if not drift.attention:
        return
    table = Table("item", "verdict", "rule")
    for item in drift.attention:
        table.add_row(item.name, item.judgement, drift.reason(item))
    terminal.console.print(table)
