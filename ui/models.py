"""The pages of the model and of the cohort: what the model is, how it did on paper, and how it does since.

The figures come from the store's history by way of `medmm.judge` and `ui.agreement`; nothing is computed here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import streamlit as st

from medmm.judge import drift_plots
from medmm.judge.calibration import wilson
from medmm.judge.drift import ENOUGH_REVIEWED, RANK, Drift, judge_drift, percent, scorings
from medmm.judge.metrics import Estimate
from medmm.judge.plots import reliability_diagram
from medmm.judge.subgroups import FEW, GroupRow
from medmm.judge.words import minus
from medmm.store.store import Store
from ui import words
from ui.agreement import Row, Told, by_groups, groups, told
from ui.reports import reports
from ui.say import escape, moment, name

_MANIFEST = "manifest.json"
_MOST_FIGURES = 12
_CHOICE_PX = 420
_LASTS = timedelta(minutes=10)
"""How long a history that was read is taken for the present one."""
_component = st.components.v2.component(
    "medmm_models",
    html='<div class="place figures"></div>',
    css=files("ui").joinpath("models.css").read_text(encoding="utf-8"),
    js=files("ui").joinpath("models.js").read_text(encoding="utf-8"),
)


def show(store: Store, out: Path, leave: Callable[[], None]) -> None:
    """Draw the page.

    Args:
        store: with at least one model.
        out: the scored folder; reports are looked for in it and beside it.
        leave: what the way back does.
    """
    with st.container(horizontal=True, vertical_alignment="center", key="bar"):
        st.button(words.BACK, icon=":material/arrow_back:", on_click=leave)
        st.html(f'<div class="mm-head"><h1>{escape(words.MODELS)}</h1></div>', width="content")
        st.space("stretch")
        st.button(words.REFRESH, icon=":material/refresh:", on_click=_history.clear)
    models = store.models()
    model_id = models[0]
    if len(models) > 1:
        model_id = st.selectbox(words.MODEL_CHOICE, models, key="model", width=_CHOICE_PX)
    history = _history(store, str(out), model_id)
    _facts(store, out, model_id, history)
    _reports(out, model_id)
    _heading(words.OVER_TIME)
    chosen = _chosen(history)
    if not chosen:
        _empty(words.OVER_TIME_FEW)
        return
    _over_time(_drift(model_id, chosen))
    found = told(chosen)
    _people(found)
    _calibration(found)
    _groups(chosen)


@st.cache_resource(show_spinner=words.OPENING_HISTORY, ttl=_LASTS, max_entries=2)
def _history(_store: Store, out: str, model_id: str) -> Sequence[Row]:  # out keeps stores apart
    return _store.history(model_id)


def _drift(model_id: str, history: Sequence[Row]) -> Drift:
    return judge_drift(model_id, scorings(history))


def _facts(store: Store, out: Path, model_id: str, history: Sequence[Row]) -> None:
    """What is known of the model: from the manifest that scoring left, and from the store."""
    _heading(words.MODEL_FACTS)
    said, times = _manifest(out, model_id), [at for _, at, *_ in history]
    known = {
        "id": model_id,
        "trained_by": str(said.get("trained_by", words.MODEL_UNKNOWN)),
        "encoders": str(said.get("encoders", words.MODEL_UNKNOWN)),
        "sha256": str(said.get("sha256", words.MODEL_UNKNOWN)),
        "scored": f"{len({prediction.case_id for prediction, *_ in history}):,}",
        "span": words.RANGE.format(moment(min(times)), moment(max(times))) if times else words.NOTHING,
        "refused": f"{len(store.refusals(model_id)):,}",
    }
    st.html(_table((), [(title, known[key]) for key, title in words.MODEL_ROWS.items()]))
    if history:
        st.html(_table(words.LABEL_HEADS, [_label(place, history) for place in range(len(history[0][0].findings))]))


def _manifest(out: Path, model_id: str) -> dict[str, Any]:
    """What manifest.json says of the model; nothing if it is of another one, or is not there."""
    try:
        said = json.loads((out / _MANIFEST).read_text("utf-8"))["model"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return said if isinstance(said, dict) and said.get("id") == model_id else {}


def _label(place: int, history: Sequence[Row]) -> list[str]:
    found = [said.findings[place] for said, *_ in history]
    thresholds = sorted({f"{one.threshold:.3f}" for one in found})
    between = thresholds[0] if len(thresholds) == 1 else words.RANGE.format(thresholds[0], thresholds[-1])
    calls = [one.call for one in found]
    promised = any(one.limits for one in found)
    return [
        name(found[0].label),
        between,
        _share(calls.count("flagged"), len(calls)),
        _share(calls.count("uncertain"), len(calls)) if promised else words.NO_PROMISE,
    ]


def _reports(out: Path, model_id: str) -> None:
    """A report as it was written, in a frame that can do nothing."""
    _heading(words.REPORTS)
    found = reports(out, model_id)
    if not found:
        _empty(words.REPORTS_NONE)
        return
    titles = [report.title for report in found]
    chosen = st.selectbox(
        words.REPORTS_CHOICE, titles, index=None, key="report", placeholder=words.REPORTS_HINT, width=_CHOICE_PX
    )
    if chosen:
        page = found[titles.index(chosen)].page
        _component(key="report_page", data={"name": chosen, "report": page})


def _chosen(history: Sequence[Row]) -> Sequence[Row]:
    """The cases of a group that the reader chooses, or all of them."""
    named = {
        words.GROUP.format(name(attribute), group): (attribute, group)
        for attribute, values in groups(history).items()
        for group in sorted(set(values) - {""})
    }
    if not named:
        return history
    chosen = st.selectbox(words.OVER_TIME_GROUP, [words.OVER_TIME_ALL, *named], key="group", width=_CHOICE_PX)
    if chosen not in named:
        return history
    attribute, group = named[chosen]
    return [row for row, own in zip(history, groups(history)[attribute], strict=True) if own == group]


def _over_time(drift: Drift) -> None:
    st.html(f'<p class="mm-sentence">{escape(drift.headline)}</p>')
    if drift.attention:
        rows = [[name(item.name), item.judgement, drift.reason(item)] for item in drift.attention]
        st.html(_table(words.DRIFT_HEADS, rows))
    _figures("cases", [("", "", drift_plots.cases("cases", drift))], wide=True)
    for group, title in words.DRIFT_GROUPS.items():
        found = [item for item in drift.items if item.group == group and any(point.cases for point in item.points)]
        st.html(f"<h3>{escape(title)}</h3>")
        if not found:
            _empty(words.DRIFT_NOBODY)
            continue
        worst = sorted(found, key=lambda item: RANK[item.judgement])[:_MOST_FIGURES]
        drawn = [drift_plots.over_time(f"{group}-{place}", drift, item) for place, item in enumerate(worst)]
        _figures(group, [(name(item.name), item.judgement, svg) for item, svg in zip(worst, drawn, strict=True)])
    _note(words.DRIFT_NOTE)


def _people(found: Sequence[Told]) -> None:
    _heading(words.PEOPLE)
    if not any(one.read for one in found):
        _empty(words.DRIFT_NOBODY)
        return
    rows = [
        [
            name(one.label),
            f"{one.read:,}",
            _share(one.agreed, one.called),
            f"{one.twice:,}",
            _share(one.alike, one.twice),
        ]
        for one in found
    ]
    st.html(_table(words.PEOPLE_HEADS, rows))
    _note(words.PEOPLE_NOTE)


def _calibration(found: Sequence[Told]) -> None:
    _heading(words.CALIBRATION)
    enough = [one for one in found if one.answered >= ENOUGH_REVIEWED]
    if not enough:
        _empty(words.CALIBRATION_FEW.format(ENOUGH_REVIEWED, max((one.answered for one in found), default=0)))
        return
    drawn = [reliability_diagram(f"calibration-{one.label}", one.newer, one.older) or "" for one in enough]
    errors = [words.ECE.format(minus(one.newer.ece, 3), minus(one.by_luck, 3)) for one in enough]
    _figures("calibration", list(zip([name(one.label) for one in enough], errors, drawn, strict=True)))
    _note(words.CALIBRATION_NOTE.format(words.CALIBRATION_HALVES[any(one.older for one in enough)]))


def _groups(history: Sequence[Row]) -> None:
    _heading(words.SUBGROUPS)
    rows = by_groups(history)
    if not rows:
        _empty(words.SUBGROUPS_NONE)
        return
    st.html(_table(words.SUBGROUPS_HEADS, [_group(row) for row in rows]))
    _note(words.SUBGROUPS_NOTE.format(FEW))


def _group(row: GroupRow) -> list[str]:
    cases = words.FEW.format(row.cases) if row.few else f"{row.cases:,}"
    figures = [_estimate(one) for one in (row.flagged, row.sensitivity, row.specificity)]
    return [words.GROUP.format(name(row.attribute), row.group), name(row.label), cases, f"{row.present:,}", *figures]


def _estimate(found: Estimate) -> str:
    return words.INTERVAL.format(percent(found.value), percent(found.low), percent(found.high))


def _share(hits: int, cases: int) -> str:
    """A share with its Wilson interval."""
    if not cases:
        return words.NOTHING
    low, high = wilson(hits / cases, cases)
    return words.INTERVAL.format(percent(hits / cases), percent(low), percent(high))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """HTML: the first column names its row; without heads if there are none."""
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in heads)
    head = f"<thead><tr>{head}</tr></thead>" if heads else ""
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return f'<table class="mm-table">{head}<tbody>{body}</tbody></table>'


def _figures(key: str, drawn: Sequence[tuple[str, str, str]], wide: bool = False) -> None:
    """Drawings of our own with a title and a word on each; names of labels in them are escaped already."""
    kind = ' class="wide"' if wide else ""
    figures = [
        f"<figure{kind}><figcaption><b>{escape(title)}</b><span>{escape(said)}</span></figcaption>{svg}</figure>"
        for title, said, svg in drawn
    ]
    _component(key=f"figures_{key}", data={"figures": "".join(figures)})


def _heading(title: str) -> None:
    st.html(f"<h2>{escape(title)}</h2>")


def _note(text: str) -> None:
    st.html(f'<p class="mm-support">{escape(text)}</p>')


def _empty(text: str) -> None:
    st.html(f'<p class="mm-empty">{escape(text)}</p>')
