"""The clinician's review screen: `streamlit run ui/app.py -- OUT`, started by `ui.serve`.

Nothing of a patient is in the address: which case is open lives in the session, and a reload shows the worklist.
"""

from __future__ import annotations

import getpass
import logging
import sys
import traceback
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import streamlit as st

from medmm.errors import MedmmError
from medmm.store.store import Store, WorklistRow
from ui import case, worklist
from ui.colour import COOL, WARM
from ui.folder import open_store
from ui.say import SUPPORT, escape, literal

_log = logging.getLogger(__name__)
# Fields that keep what was typed while another screen is shown. (Streamlit would draw a string that stands alone here.)
_KEPT = ("reviewer", *worklist.FILTERS)


def main(out: Path) -> None:
    """Draw one run of the page; whatever goes wrong is one line on it, and holds no patient's data in the log."""
    st.set_page_config("medmm review", layout="wide", initial_sidebar_state=230, menu_items={"About": SUPPORT})
    st.html(f"<style>{_style()}</style>")
    try:
        _page(out)
    except MedmmError as problem:
        st.error(literal(str(problem)))
    except Exception as thrown:  # the last door: a message may quote a note, so only its kind and place are kept
        kind = type(thrown).__name__
        _log.error("%s\n%s", kind, "".join(traceback.format_tb(thrown.__traceback__)))
        st.error(f"The screen cannot show this ({kind}). Decisions that were stored are safe. Reload the page.")


def _page(out: Path) -> None:
    store = _store(str(out))
    for key in _KEPT:
        if key in st.session_state:
            st.session_state[key] = st.session_state[key]
    if "list" not in st.session_state:
        st.session_state["list"] = worklist.load(store)
    with st.sidebar:
        st.session_state.setdefault("reviewer", _user())
        st.text_input("Reviewer", key="reviewer", max_chars=100, help="Stored with every decision.")
    _screen(store, out)
    model_id = st.session_state["list"].model_id
    st.sidebar.html(f'<p class="mm-support">{SUPPORT}</p><p class="mm-support">Model {escape(model_id)}</p>')


def _screen(store: Store, out: Path) -> None:
    """The case that is open, or the worklist."""
    opened: tuple[Sequence[WorklistRow], int] | None = st.session_state.get("opened_from")
    if opened is None:
        worklist.show(st.session_state["list"], _open, _forget)
        return
    rows, at = opened
    case.show(store, out, rows[at], (at, len(rows)), _go)


def _user() -> str:
    """Who runs the screen, as a first guess; a container may not know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def _open(case_id: str, rows: Sequence[WorklistRow]) -> None:
    """Show a case; Previous and Next go through `rows`."""
    at = next(n for n, row in enumerate(rows) if row.prediction.case_id == case_id)
    st.session_state["opened_from"] = (rows, at)


def _go(at: int | None) -> None:
    """Show another case of the same rows, or the worklist with what has changed."""
    if at is None:
        del st.session_state["opened_from"]
        _forget()
    else:
        st.session_state["opened_from"] = (st.session_state["opened_from"][0], at)


def _forget() -> None:
    """Have the worklist read again."""
    st.session_state.pop("list", None)


@st.cache_resource(show_spinner=False)
def _store(out: str) -> Store:
    return open_store(Path(out))


@st.cache_data(show_spinner=False)
def _style() -> str:
    warm, cool = (f"rgb({','.join(map(str, colour))})" for colour in (WARM, COOL))
    return f":root {{ --mm-warm: {warm}; --mm-cool: {cool}; }}\n" + files("ui").joinpath("page.css").read_text("utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
