"""The worklist: cases of the newest model, the most urgent first, a page at a time, with filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pandas as pd
import streamlit as st

from medmm.errors import StoreError
from medmm.result import Call, Finding, Refusal
from medmm.store.events import Reader
from medmm.store.store import Store
from medmm.store.worklist import Counts, Filters, Order, WorklistRow
from ui import door, export, findings, keys, words
from ui.folder import priorities
from ui.keys import Key
from ui.say import ago, escape, literal, moment, name, percents, side

_FILTERS = ("status", "label", "only", "search", "order")
"""Names of the filters in the session."""
PAGE = 50
"""Rows that are read and drawn at once."""
_UNCERTAIN, _UNLIKE = "uncertain", "unlike"
_KEYS = (
    Key("j", words.NEXT_ROW),
    Key("k", words.ROW_BEFORE),
    Key("Enter", words.OPEN_ROW),
    Key("c", words.CLAIM_ROW),
    Key("s", words.START, "start"),
    Key("/", "Search", "search", writes=True),
    Key("PageDown", words.LATER, "later", shown=words.TURN_KEYS[0]),
    Key("PageUp", words.EARLIER, "earlier", shown=words.TURN_KEYS[1]),
    Key("r", words.REFRESH, "refresh"),
)
_rows = st.components.v2.component(
    "medmm_rows",
    html='<div class="mm-rows"></div>',
    js=files("ui").joinpath("rows.js").read_text(encoding="utf-8"),
    isolate_styles=False,
)

_HEADS = (
    words.WAITS,
    words.CASE,
    words.FINDING,
    words.PROBABILITY,
    words.ALSO,
    words.NOT_THERE,
    words.MARKS,
    words.DECIDED,
    words.HELD,
)
_BLIND_HEADS = (words.WAITS, words.CASE, words.NOT_THERE, words.DECIDED, words.HELD)
"""What a reader sees who is not to see what the model says."""

Open = Callable[[Sequence[WorklistRow], int], None]
"""Opens a case: the list in which it was chosen, and its place there."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which part of the worklist is looked at."""

    model_id: str
    filters: Filters
    order: Order
    page: int
    """From 0."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The worklist as it was read from the store; it is read again when a person asks for it or for something else."""

    asked: Asked
    rows: tuple[WorklistRow, ...]
    """Of one page."""
    matching: int
    """On all pages."""
    counts: Counts
    refusals: tuple[Refusal, ...]
    at: datetime
    """UTC."""


def load(store: Store, out: Path, asked: Asked) -> Loaded:
    """Read one page and every count."""
    model_id, filters = asked.model_id, asked.filters
    rows = store.worklist(
        model_id, filters, asked.order, priorities=priorities(out), limit=PAGE, offset=PAGE * asked.page
    )
    counts = store.counts(model_id, filters.who)
    return Loaded(asked, rows, store.matching(model_id, filters), counts, store.refusals(model_id), datetime.now(UTC))


def forget() -> None:
    """Have the list read again when it is shown next."""
    st.session_state.pop("list", None)


def keep() -> None:
    """Have the filters outlive a look at something else, where their fields are not drawn."""
    for key in _FILTERS:
        if key in st.session_state:
            st.session_state[key] = st.session_state[key]


def clear() -> None:
    """Show every case."""
    for key in _FILTERS:
        st.session_state.pop(key, None)
    _first_page()


def show(store: Store, out: Path, reader: Reader, open_case: Open, *, blind: bool) -> None:
    """Draw the list.

    Args:
        store: where the cases are.
        out: the scored folder.
        reader: whose list it is.
        open_case: what opens a case.
        blind: whether what the model says is left out.
    """
    loaded = _loaded(store, out, reader)
    open_case = door.press(reader, open_case)
    keys.listen(_KEYS, words.WORKLIST)
    _head(store, reader, loaded, open_case)
    _filters(loaded, blind=blind)
    if loaded.rows:
        _table(store, reader, loaded, open_case, blind=blind)
    else:
        _nothing(loaded)
    _refused(loaded.refusals)


def _loaded(store: Store, out: Path, reader: Reader) -> Loaded:
    """The list as it was read last, unless something else is asked for now."""
    asked = _asked(store.models()[0], reader)
    loaded = st.session_state.get("list")
    if loaded is None or loaded.asked != asked:
        loaded = load(store, out, asked)
        if not loaded.rows and loaded.matching:  # cases have left the list since this page of it was shown
            _turn((loaded.matching - 1) // PAGE)
            loaded = load(store, out, _asked(asked.model_id, reader))
        st.session_state["list"] = loaded
    return loaded


def _asked(model_id: str, reader: Reader) -> Asked:
    """What the widgets say."""
    said = st.session_state
    only = set(said.get("only") or ())
    filters = Filters(
        said.get("status") or "all",
        reader.name,
        uncertain=_UNCERTAIN in only,
        unlike=_UNLIKE in only,
        missing=tuple(sorted(only - {_UNCERTAIN, _UNLIKE})),
        flagged=said.get("label") or "",
        search=said.get("search") or "",
    )
    return Asked(model_id, filters, said.get("order") or "urgent", said.get("page", 0))


def _head(store: Store, reader: Reader, loaded: Loaded, open_case: Open) -> None:
    status = loaded.counts.status
    with st.container(key="bar", horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.html(
            f'<div class="mm-head"><h1>{words.WORKLIST}</h1><span>{words.CASES.format(status["all"])}</span>'
            f"<span>{words.WAITING.format(status['not reviewed'])}</span>"
            f'<span class="mm-support">{escape(words.READING_AS.format(reader.name))}</span></div>',
            width="stretch",
        )
        if loaded.rows:
            st.button(f"{words.START} `S`", key="start", type="primary", on_click=open_case, args=(loaded.rows, 0))
        at = moment(loaded.at)
        st.button("", key="refresh", icon=":material/refresh:", help=words.REFRESH_HELP.format(at), on_click=forget)
        export.decisions_button(store, reader, loaded.asked.model_id)
        keys.button(_KEYS)


def _first_page() -> None:
    st.session_state["page"] = 0


def _filters(loaded: Loaded, *, blind: bool) -> None:
    """Each with how many cases it leaves by itself; a blind reader is not told of the model's answer."""
    counts = loaded.counts
    st.session_state.setdefault("status", "all")
    st.session_state.setdefault("order", "urgent")

    def labelled(label: str) -> str:
        return f"{name(label)} ({counts.flagged[label]:,})"

    marks = {} if blind else {_UNCERTAIN: (words.UNCERTAIN, counts.uncertain)}
    marks |= {_UNLIKE: (words.UNLIKE, counts.unlike)}
    marks |= {modality: (words.MISSING.format(side(modality)), count) for modality, count in counts.missing.items()}
    with st.container(key="filters", horizontal=True, vertical_alignment="bottom", gap="small"):
        st.segmented_control(
            words.STATUS,
            list(words.STATUSES),
            key="status",
            required=True,
            format_func=lambda one: f"{words.STATUSES[one]} :small[{counts.status[one]:,}]",
            on_change=_first_page,
            label_visibility="collapsed",
        )
        st.pills(
            words.ONLY,
            list(marks),
            selection_mode="multi",
            key="only",
            format_func=lambda one: f"{marks[one][0]} :small[{marks[one][1]:,}]",
            on_change=_first_page,
            label_visibility="collapsed",
        )
        if not blind:
            st.selectbox(
                words.FLAGGED_FOR,
                list(counts.flagged),
                index=None,
                key="label",
                placeholder=words.ANY_LABEL,
                format_func=labelled,
                on_change=_first_page,
                label_visibility="collapsed",
                width=200,
            )
        st.text_input(
            words.SEARCH,
            key="search",
            placeholder=words.SEARCH_HINT,
            icon=":material/search:",
            on_change=_first_page,
            label_visibility="collapsed",
            width=190,
        )
        st.selectbox(
            words.ORDER,
            list(words.ORDERS),
            key="order",
            format_func=lambda one: words.ORDERS[one],
            on_change=_first_page,
            label_visibility="collapsed",
            width=150,
        )
        if loaded.rows:
            _pages(loaded)


def _table(store: Store, reader: Reader, loaded: Loaded, open_case: Open, *, blind: bool) -> None:
    def opened() -> None:
        at = _place(loaded.rows, st.session_state["rows"].get("open"))
        if at is not None:
            open_case(loaded.rows, at)

    def claimed() -> None:
        at = _place(loaded.rows, st.session_state["rows"].get("claim"))
        if at is not None:
            claim(store, reader, loaded.rows[at])

    claim = door.press(reader, _claim)
    at = _place(loaded.rows, st.session_state.get("last")) or 0
    if problem := st.session_state.pop("claim_problem", ""):
        st.warning(literal(problem), icon=":material/front_hand:")
    _rows(
        key="rows",
        data={"html": table(loaded.rows, loaded.at, blind=blind), "at": at},
        on_open_change=opened,
        on_claim_change=claimed,
    )


def _place(rows: Sequence[WorklistRow], case_id: object) -> int | None:
    """Where a case is in the list, if it is."""
    return next((n for n, row in enumerate(rows) if row.prediction.case_id == case_id), None)


def _claim(store: Store, reader: Reader, row: WorklistRow) -> None:
    """Claim a case, or release what the reader holds."""
    try:
        if row.claimed_by == reader.name:
            store.trail.release(reader, row.shown)
        else:
            held = store.trail.claim(reader, row.shown)
            if held.who != reader.name:
                st.session_state["claim_problem"] = words.HELD_BY.format(held.who)
    except StoreError as problem:
        st.session_state["claim_problem"] = str(problem)
    st.session_state["last"] = row.prediction.case_id
    forget()


def _pages(loaded: Loaded) -> None:
    page, count = loaded.asked.page, len(loaded.rows)
    first = PAGE * page + 1
    last = first + count - 1
    with st.container(key="pages", horizontal=True, vertical_alignment="center", gap="xsmall", width="content"):
        st.html(f'<p class="mm-support">{words.SHOWN.format(first, last, loaded.matching)}</p>', width="content")
        for key, text, by, off in (
            ("earlier", words.EARLIER, -1, page == 0),
            ("later", words.LATER, 1, last >= loaded.matching),
        ):
            icon = ":material/chevron_left:" if by < 0 else ":material/chevron_right:"
            st.button("", key=key, icon=icon, help=text, disabled=off, on_click=_turn, args=(page + by,))


def _turn(page: int) -> None:
    st.session_state["page"] = page


def _nothing(loaded: Loaded) -> None:
    """Say why the list is empty, and the way out."""
    done = loaded.asked.filters.status == "not reviewed" and loaded.counts.status["not reviewed"] == 0
    st.info(words.ALL_DONE if done else words.NONE_FITS)
    st.button(words.CLEAR, key="clear", on_click=clear)


def table(rows: Sequence[WorklistRow], now: datetime, *, blind: bool) -> str:
    """HTML of the list; a blind reader is not told what the model says.

    Args:
        rows: of one page, in order.
        now: to say how long each waits.
        blind: whether what the model says is left out.
    """
    heads = _BLIND_HEADS if blind else _HEADS
    cells = [_cells(row, now) for row in rows]
    body = "".join(f"<tr>{''.join(f'<td>{line[head]}</td>' for head in heads)}</tr>" for line in cells)
    head = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return f'<table class="mm-list"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _cells(row: WorklistRow, now: datetime) -> Mapping[str, str]:
    """HTML of each cell of a row, by its head."""
    prediction, leading = row.prediction, row.prediction.leading
    others = [one for one in prediction.findings if one is not leading]
    unsure = _listed(others, "uncertain")
    marks = [words.UNLIKE_MARK] if prediction.doubts else []
    marks += [words.UNCERTAIN_MARK.format(unsure)] if unsure else []
    return {
        words.WAITS: ago(now - row.scored_at),
        words.CASE: f'<button type="button">{escape(prediction.case_id)}</button>',
        words.FINDING: f"{findings.chip(leading)} {escape(name(leading.label))}",
        words.PROBABILITY: _probability(leading),
        words.ALSO: _cut(_listed(others, "flagged")),
        words.NOT_THERE: escape(", ".join(side(one) for one in prediction.absent)),
        words.MARKS: _cut("; ".join(marks)),
        words.DECIDED: _decided(row),
        words.HELD: escape(row.claimed_by),
    }


def _listed(some: Sequence[Finding], said: Call) -> str:
    """The labels of which one thing is said."""
    return ", ".join(name(one.label) for one in some if one.call == said)


def _cut(text: str) -> str:
    """On one line, as much as there is room for; all of it where the mouse rests."""
    return f'<span class="mm-cut" title="{escape(text)}">{escape(text)}</span>'


def _decided(row: WorklistRow) -> str:
    """How many findings people decided, or that they disagree."""
    if row.disagreed:
        return f'<span class="mm-disagreed">{words.DISAGREED}</span>'
    return words.PLACE.format(row.reviewed, len(row.prediction.findings)) if row.reviewed else words.NOTHING


def _probability(finding: Finding) -> str:
    return f'<span class="mm-chance">{escape(percents(finding)[0])}{findings.scale(finding)}</span>'


def _refused(refusals: Sequence[Refusal]) -> None:
    """Say what is not in the list, and why."""
    if not refusals:
        return
    with st.expander(words.REFUSED.format(len(refusals))):
        rows = [(r.case_id, r.code.value, r.problem, r.remedy) for r in refusals]
        st.dataframe(pd.DataFrame(rows, columns=list(words.REFUSED_HEADS)), hide_index=True)
