"""The film viewer on a page of its own, over a scored folder: for its tests and for measurements."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port
from ui import serve

LOG = "viewer.log"


@contextmanager
def serving(out: Path) -> Iterator[str]:
    """Run the page with the options of the real screen; yields its address."""
    port = free_port()
    command = serve.command(out, port)
    real = next(part for part in command if part.endswith("app.py"))
    with (out / LOG).open("wb") as log:
        process = subprocess.Popen([__file__ if part == real else part for part in command], stdout=log, stderr=log)
    try:
        serve.wait_until_ready(port, process)
        yield serve.address(port)
    finally:
        serve.stop(process)


def main(out: Path) -> None:
    """Any case and finding of the folder, and what was drawn."""
    import streamlit as st

    def press(name: str) -> None:
        st.session_state["pressed"] += (name,)

    from medmm.store.store import Store
    from tests.scored import MODEL
    from ui import viewer

    st.set_page_config("films", layout="wide")
    with Store(out / "store.sqlite") as store:
        case_id = st.radio("Case", sorted(store.contents(MODEL)), horizontal=True)
        scored = store.case(MODEL, case_id)
    explanations = {explanation.label: explanation for explanation in scored.evidence.explanations}
    label = st.radio("Finding", list(explanations), horizontal=True)
    blind = st.checkbox("Blind")
    st.button("What was drawn", on_click=lambda: st.session_state.update(asked=viewer.drawn(scored, label)))
    if "asked" in st.session_state:
        drawn = st.session_state["asked"]
        st.code(json.dumps([drawn.film, drawn.points]) if drawn else "nothing")
    st.button("Keep what was drawn", on_click=lambda: st.session_state.update(kept=viewer.drawn(scored, label)))
    st.session_state.setdefault("pressed", ())
    for name in ("One", "Two", "Three"):
        st.button(name, on_click=press, args=(name,))
    st.text(f"Pressed: {', '.join(st.session_state['pressed'])}")
    kept = st.session_state.get("kept")
    if kept:
        st.text("Kept")
    viewer.show(scored, explanations[label], out / "films", kept, overlay=not blind)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
