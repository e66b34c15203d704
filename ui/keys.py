"""Keys of the page: `listen` ties them to buttons and fields, `table` says what they do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import streamlit as st

from ui.say import escape
from ui.words import KEYS, KEYS_OF_FILM, THESE_KEYS

_component = st.components.v2.component("medmm_keys", js=files("ui").joinpath("keys.js").read_text(encoding="utf-8"))


_HELP = "?"


@dataclass(frozen=True, slots=True)
class Key:
    """One key, and what it presses."""

    name: str
    """KeyboardEvent.key; a letter is in lower case."""
    does: str
    """For people."""
    widget: str = ""
    """Key of the Streamlit button that it presses or of the field that it goes to; empty: somebody else listens."""
    writes: bool = False
    """Whether it goes to a field, where what is struck after it is written."""
    shown: str = ""
    """How it is written in the table, where it is not as its name; a key with `does` '' is not in the table."""


def listen(keys: Sequence[Key], *seen: str) -> None:
    """Tie the keys to widgets of this run, and the table of them to '?'.

    Args:
        keys: of this screen.
        seen: what the screen is called in its heading and, of a case, the finding that is looked at: a key that was
            pressed before that was drawn, or while something else was, does nothing.
    """
    with st.container(key="keys"):
        tied = {one.name: one.widget for one in keys if one.widget} | {_HELP: "help"}
        fields = [one.name for one in keys if one.writes]
        _component(key="listener", data={"keys": tied, "fields": fields, "seen": "\n".join(seen)})


def button(keys: Iterable[Key]) -> None:
    """The button that shows the table."""
    with st.popover(KEYS, key="help", icon=":material/keyboard:"):
        st.html(table(keys))


def table(keys: Iterable[Key]) -> str:
    """HTML: one row a key."""
    rows = [
        f"<tr><th scope='row'><kbd>{escape(k.shown or _written(k.name))}</kbd></th><td>{escape(k.does)}</td></tr>"
        for k in (*keys, Key(_HELP, THESE_KEYS))
        if k.does
    ]
    return f'<table class="mm-keys"><tbody>{"".join(rows)}</tbody></table><p class="mm-support">{KEYS_OF_FILM}</p>'


def _written(name: str) -> str:
    return name.upper() if len(name) == 1 else name
