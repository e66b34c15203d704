"""Who is at the screen: a name that is typed on this machine, or a person whom an OpenID Connect provider vouches for.

Without an AUTH file the screen answers this machine alone, and whoever sits at it is the lead of a store of their own:
they could open its file with any tool, so a lesser role would protect nothing and leave nobody to adjudicate.
With one, nothing is shown before login, and a role comes from the file's lists. The login itself is Streamlit's.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import streamlit as st

from medmm.config import read_toml
from medmm.errors import ConfigError
from medmm.store.events import Reader
from ui import words
from ui.access import Access, Auth
from ui.say import literal


def reader() -> Reader | None:
    """The person at the screen, drawn in the sidebar; None, with what to do about it, where nothing may be shown.

    Ask before anything is read from the store.
    """
    file = _file()
    if file is None:
        return _typed()
    try:
        access = read_toml(file, Auth).access
    except ConfigError:  # it says what is in the file, which is for whoever started the screen
        st.error(words.LOGIN_BROKEN)
        return None
    return _logged_in(access)


def asked() -> Callable[[], Reader | None]:
    """What says, whenever it is called, in which role the person at the screen is there: by the lists as they are then.

    Returns:
        None for somebody who may see nothing any more. It can be called where there is no page, as for a download.
    """
    file = _file()
    if file is None:
        name = str(st.session_state["reviewer"]).strip()
        return lambda: Reader(name, "lead")
    claims = st.user.to_dict()

    def now() -> Reader | None:
        try:
            return _vouched(read_toml(file, Auth).access, claims)
        except ConfigError:
            return None

    return now


def _vouched(access: Access, claims: Mapping[str, Any]) -> Reader | None:
    """The person of a login that has not ended, if they are on a list."""
    if not claims.get("is_logged_in") or _left(access, claims) <= timedelta():
        return None
    name, role = access.named(claims), access.role(claims)
    return Reader(name, role) if name and role else None


def _file() -> Path | None:
    """The AUTH file with which the screen was started: streamlit run ui/app.py -- OUT AUTH."""
    return Path(sys.argv[2]) if len(sys.argv) > 2 else None


def _typed() -> Reader | None:
    """Whoever sits at this machine."""
    if isinstance(st.context.ip_address, str):  # None from this machine
        st.error(words.LOGIN_MISSING)
        return None
    name = str(st.session_state.setdefault("reviewer", _account())).strip()
    if not name:
        st.info(words.READER_MISSING)
    with st.sidebar if name else st.container():
        st.text_input(words.READER, key="reviewer", max_chars=100, help=words.READER_HELP)
    return Reader(name, "lead") if name else None


def _account() -> str:
    """Who runs the screen, as a first guess; a container may not know."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


def _logged_in(access: Access) -> Reader | None:
    """Whoever the provider vouched for, for as long as that holds."""
    claims = st.user.to_dict()
    left = _left(access, claims)
    if not claims.get("is_logged_in") or left <= timedelta():
        _door(words.LOGIN_ENDED if claims.get("is_logged_in") else words.LOGIN_FIRST)
        return None
    reader = _vouched(access, claims)
    if reader is None:
        name = access.named(claims)
        st.error(words.LOGIN_REFUSED.format(literal(name)) if name else words.LOGIN_NAMELESS)
        st.button(words.LOG_OUT, on_click=st.logout)
        return None
    with st.sidebar:
        st.text(f"{reader.name}\n{words.ROLES[reader.role]}")
        st.button(words.LOG_OUT, on_click=st.logout)
        st.fragment(_watch, run_every=left)(access, claims)
    return reader


def _door(word: str) -> None:
    """All that is shown before login."""
    st.title(words.TITLE)
    st.write(word)
    st.button(words.LOG_IN, on_click=st.login, type="primary")


def _watch(access: Access, claims: Mapping[str, Any]) -> None:
    """Clear a page that nobody touches once its login has ended."""
    if _left(access, claims) <= timedelta():
        st.rerun()


def _left(access: Access, claims: Mapping[str, Any]) -> timedelta:
    """How much longer a login lasts."""
    until = access.until(claims)
    return timedelta() if until is None else until - datetime.now(UTC)
