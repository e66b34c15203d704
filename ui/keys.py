"""Keys of the page: `listen` ties them to buttons and fields, `table` says what they do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

import streamlit as st

from ui.say import escape
from ui.words import KEYS, KEYS_OF_FILM

_component = st.components.v2.component("medmm_keys", js=files("ui").joinpath("keys.js").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Key:
    """One key, and what it presses."""

    name: str
    """KeyboardEvent.key; a letter is in lower case."""
    does: str
    """For people."""
    widget: str = ""
    """Key of the Streamlit button that it presses or of the field that it goes to; empty: somebody else listens."""
    shown: str = ""
    """How it is written in the table, where it is not as its name; a key with `does` '' is not in the table."""


def listen(keys: Iterable[Key]) -> None:
    """Tie the keys to widgets of this run, and put the table of them behind '?'."""
    keys = list(keys)
    with st.container(key="keys"):
        _component(key="listener", data={one.name: one.widget for one in keys if one.widget} | {"?": "help"})


def button(keys: Iterable[Key]) -> None:
    """The button that shows the table."""
    with st.popover(KEYS, key="help", icon=":material/keyboard:"):
        st.html(table(keys))


def table(keys: Iterable[Key]) -> str:
    """HTML: one row a key."""
    rows = [
        f"<tr><th scope='row'><kbd>{escape(k.shown or _written(k.name))}</kbd></th><td>{escape(k.does)}</td></tr>"
        for k in keys
        if k.does
    ]
    return f'<table class="mm-keys"><tbody>{"".join(rows)}</tbody></table><p class="mm-support">{KEYS_OF_FILM}</p>'


def _written(name: str) -> str:
    return name.upper() if len(name) == 1 else name
