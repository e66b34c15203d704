"""The clinician's review screen: `streamlit run ui/app.py -- OUT`, started by `ui.serve`.

Nothing of a patient is in the address: which case is open lives in the session, and a reload shows the worklist.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path

import streamlit as st

from medmm.store.events import Reader
from medmm.store.store import Store
from medmm.store.worklist import WorklistRow
from medmm.write.paint import COOL, WARM
from ui import case, door, login, progress, words, worklist
from ui.folder import open_store
from ui.say import SUPPORT, escape
from ui.sitting import Sitting, sit


def main(out: Path) -> None:
    """Draw one run of the page; whatever goes wrong is one line on it, and holds no patient's data in the log."""
    st.set_page_config(words.TITLE, layout="wide", initial_sidebar_state="collapsed", menu_items={"About": SUPPORT})
    st.html(f"<style>{_style()}</style>")
    with door.told():
        _page(out)


def _page(out: Path) -> None:
    reader = login.reader()
    if reader is None:
        return
    st.sidebar.toggle(words.BLIND, key="blind", help=words.BLIND_HELP, on_change=worklist.clear)
    store = _store(str(out))
    st.sidebar.button(words.MODELS, key="models", on_click=_at_models, args=(True,))
    if st.session_state.get("at_models"):
        worklist.keep()
        _show_models(store, out)
        return
    sitting: Sitting | None = st.session_state.get("sitting")
    if sitting is not None and sitting.reader != reader:
        _go(sitting, None)
        sitting = None
    if sitting is not None:
        worklist.keep()
        case.show(sitting, out, partial(_go, sitting))
        return

    worklist.show(store, out, reader, partial(_open, store, reader), blind=_is_blind())
    model_id = st.session_state["list"].asked.model_id
    with st.container(key="foot", horizontal=True, vertical_alignment="center", gap="small"):
        foot = f'<p class="mm-support mm-foot">{escape(words.MODEL.format(model_id))}. {escape(SUPPORT)}</p>'
        st.html(foot, width="content")
        progress.show(out)


def _at_models(here: bool) -> None:
    """Go to the page of the model, or back to where the reader was."""
    st.session_state["at_models"] = here


def _show_models(store: Store, out: Path) -> None:
    from ui import models

    models.show(store, out, partial(_at_models, False))


def _is_blind() -> bool:
    return bool(st.session_state.get("blind"))


def _open(store: Store, reader: Reader, rows: Sequence[WorklistRow], at: int) -> None:
    """Show a case, unless one is open; the next and the previous one are those beside it in `rows`."""
    if "sitting" in st.session_state:
        return
    st.session_state["sitting"] = sit(store, reader, rows, at, blind=_is_blind())
    st.session_state["last"] = rows[at].prediction.case_id


def _go(sitting: Sitting, at: int | None) -> None:
    """Leave the case that is open, for another one of its list or for the list with what has changed."""
    del st.session_state["sitting"]
    worklist.forget()
    sitting.leave()
    if at is not None:
        _open(sitting.store, sitting.reader, sitting.rows, at)


@st.cache_resource(show_spinner=False)
def _store(out: str) -> Store:
    return open_store(Path(out))


@st.cache_data(show_spinner=False)
def _style() -> str:
    warm, cool = (f"rgb({','.join(map(str, colour))})" for colour in (WARM, COOL))
    return f":root {{ --mm-warm: {warm}; --mm-cool: {cool}; }}\n" + files("ui").joinpath("page.css").read_text("utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
