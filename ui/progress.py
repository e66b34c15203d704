"""How far the scoring run is that writes into the folder, and what to do if it was cut short."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import streamlit as st

from medmm.score.progress import Tally, is_running, tally_of
from ui import words
from ui.say import ago, escape

_EVERY_S = 5.0
"""Between two looks at a run that is going on."""
_JUST_NOW = timedelta(minutes=1)


def show(out: Path) -> None:
    """Say it on one line, which follows a run that is going on by itself; nothing if all is done."""
    tally = tally_of(out)
    if tally is not None:
        running = is_running(out, tally)
        st.fragment(_line, run_every=_EVERY_S if running else None)(out, running)


def _line(out: Path, was_running: bool) -> None:
    """Draw the line; once the run has ended the page is drawn again, which ends the looking."""
    tally = tally_of(out)
    running = tally is not None and is_running(out, tally)
    if was_running and not running:
        st.rerun()
    if tally is not None:
        st.html(f'<p class="mm-support mm-foot">{escape(text(tally, running, datetime.now(UTC)))}</p>')


def text(tally: Tally, running: bool, now: datetime) -> str:
    """How far a run is, or how far it came and what does the rest."""
    refused = words.RUN_REFUSED.format(tally.refused) if tally.refused else ""
    said = words.RUNNING if running else words.CUT_SHORT
    since = now - tally.moved
    moved = words.MOVED_NOW if since < _JUST_NOW else words.MOVED.format(ago(since))
    return said.format(tally.done, tally.total, refused, moved)
