"""The worklist: every case of the newest model, the most urgent first, with filters and a way into a case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import get_args

import pandas as pd
import streamlit as st

from medmm.case import MODALITIES
from medmm.result import Call, Refusal
from medmm.store.store import Store, WorklistRow
from ui.say import call, literal, moment, name

FILTERS = ("flag", "state", "missing", "search")
"""Names of the filters in the session; they outlive a look at a case."""
_STATES = ("All", "Not reviewed", "Reviewed")
_WORDS = [one.capitalize() for one in get_args(Call)]
_COLUMNS = {
    "open": None,
    "case": st.column_config.TextColumn("Case"),
    "leading": st.column_config.TextColumn("Leading finding", help="Furthest above its threshold, or least below it."),
    "word": st.column_config.MultiselectColumn("Word", options=_WORDS, color=["#b3470b", "gray"], width=100),
    "probability": st.column_config.NumberColumn("Probability", format="%.1f %%", help="Calibrated."),
    "threshold": st.column_config.NumberColumn("Threshold", format="%.1f %%"),
    "also": st.column_config.TextColumn("Also flagged", width="medium"),
    "missing": st.column_config.TextColumn("Not given", width="medium"),
    "reviewed": st.column_config.TextColumn("Reviewed", help="Findings with a decision since the case was scored."),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """The worklist as it was read from the store; reading it again is a person's choice or follows a case."""

    model_id: str
    rows: tuple[WorklistRow, ...]
    refusals: tuple[Refusal, ...]
    at: datetime


def load(store: Store) -> Loaded:
    """Read the list of the newest model."""
    model_id = store.models()[0]
    return Loaded(model_id, store.worklist(model_id), store.refusals(model_id), datetime.now(UTC))


def show(loaded: Loaded, open_case: Callable[[str, Sequence[WorklistRow]], None], reload: Callable[[], None]) -> None:
    """Draw the list; `open_case` gets the case and the rows among which it was chosen."""
    st.html(_head(loaded))
    _filters(loaded.rows)
    shown = filtered(loaded.rows)
    with st.container(horizontal=True, vertical_alignment="center"):
        if shown:
            first, picked = shown[0].prediction.case_id, _picked(shown)
            st.button("Open most urgent", type="primary", on_click=open_case, args=(first, shown))
            text = f"Open {literal(picked)}" if picked else "Open chosen"
            st.button(text, key="open_chosen", disabled=not picked, on_click=open_case, args=(picked, shown))
        st.button("Refresh", on_click=reload, help="Cases scored and decisions made since the list was read.")
        st.html(
            f'<p class="mm-support">{len(shown)} of {len(loaded.rows)} cases shown, the most urgent '
            f"first. Read at {moment(loaded.at)}.</p>"
        )
    if shown:
        _table(shown, open_case)
    else:
        st.info("No case fits these filters.")
    _refused(loaded.refusals)


def _head(loaded: Loaded) -> str:
    flagged = sum(bool(row.prediction.flagged) for row in loaded.rows)
    waiting = sum(row.reviewed == 0 for row in loaded.rows)
    return (
        '<div class="mm-head"><h1>Worklist</h1>'
        f"<span>{len(loaded.rows)} cases</span><span>{flagged} with a finding flagged</span>"
        f"<span>{waiting} not reviewed</span></div>"
    )


def _filters(rows: Sequence[WorklistRow]) -> None:
    labels = sorted({finding.label for row in rows[:1] for finding in row.prediction.findings})
    st.session_state.setdefault("state", _STATES[0])
    flag, state, missing, search = st.columns([3, 4, 3, 3])
    flag.selectbox("Flagged for", labels, index=None, key="flag", placeholder="All cases", format_func=name)
    state.segmented_control("Review", _STATES, key="state", required=True)
    missing.multiselect("Not given", MODALITIES, key="missing", placeholder="All cases")
    search.text_input("Case id", key="search", placeholder="Part of an id")


def filtered(rows: Sequence[WorklistRow]) -> list[WorklistRow]:
    """The rows that fit the filters in the session, in their order."""
    flag, state, missing, search = (st.session_state.get(key) for key in FILTERS)
    return [
        row
        for row in rows
        if (not flag or flag in {finding.label for finding in row.prediction.flagged})
        and (state == _STATES[0] or (row.reviewed > 0) == (state == _STATES[2]))
        and (not missing or set(missing) <= set(row.prediction.absent))
        and (not search or search.strip().lower() in row.prediction.case_id.lower())
    ]


def table(rows: Sequence[WorklistRow]) -> pd.DataFrame:
    """What the list says of each case."""
    return pd.DataFrame([_line(row) for row in rows], columns=list(_COLUMNS))


def _line(row: WorklistRow) -> dict[str, object]:
    leading = row.prediction.leading
    return {
        "open": "Open",
        "case": row.prediction.case_id,
        "leading": name(leading.label),
        "word": [call(leading)],
        "probability": 100 * leading.probability,
        "threshold": 100 * leading.threshold,
        "also": ", ".join(name(finding.label) for finding in row.prediction.flagged if finding is not leading),
        "missing": ", ".join(f"no {modality}" for modality in row.prediction.absent),
        "reviewed": f"{row.reviewed} of {len(row.prediction.findings)}",
    }


def _picked(rows: Sequence[WorklistRow]) -> str:
    """The case of the cell that was chosen, which the arrow keys do as well as the mouse; empty if there is none."""
    cells = st.session_state.get("cell", {}).get("selection", {}).get("cells", [])
    return rows[cells[0][0]].prediction.case_id if cells and cells[0][0] < len(rows) else ""


def _table(rows: Sequence[WorklistRow], open_case: Callable[[str, Sequence[WorklistRow]], None]) -> None:
    def clicked() -> None:
        open_case(rows[st.session_state["opened"]["row"]].prediction.case_id, rows)

    button = st.column_config.ButtonColumn("", width="small", on_click=clicked, key="opened")
    st.dataframe(
        table(rows),
        hide_index=True,
        height=min(38 + 35 * len(rows), 560),
        column_config=_COLUMNS | {"open": button},
        alt="Cases",
        key="cell",
        on_select="rerun",
        selection_mode="single-cell",
    )


def _refused(refusals: Sequence[Refusal]) -> None:
    """Say what is not in the list, and why."""
    if not refusals:
        return
    with st.expander(f"{len(refusals)} not scored, and therefore not in this list"):
        rows = [(r.case_id, r.code.value, r.problem, r.remedy) for r in refusals]
        st.dataframe(pd.DataFrame(rows, columns=["Case", "Code", "Problem", "Remedy"]), hide_index=True)
