"""The door of the screen: a press counts from whom it was drawn for alone, and no error takes a patient's data out.

Streamlit does what was pressed before it draws the page anew, and so before the page has asked who is there.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import streamlit as st

from medmm.errors import MedmmError, StoreError
from medmm.store.events import Reader
from ui import login, words
from ui.say import literal
from ui.sitting import Sitting

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def told() -> Iterator[None]:
    """Whatever goes wrong is one line on the page."""
    try:
        yield
    except MedmmError as problem:
        st.error(literal(str(problem)))
    except Exception as thrown:
        st.error(words.BROKEN.format(_logged(thrown)))


def press(reader: Reader, act: Callable[P, object]) -> Callable[P, None]:
    """What a press does: `act`, if whoever presses is that reader, in that role, yet; if not, the page says why."""
    now = login.asked()

    def pressed(*given: P.args, **named: P.kwargs) -> None:
        with told():
            if now() == reader:
                act(*given, **named)

    return pressed


def press_at(sitting: Sitting, act: Callable[P, object]) -> Callable[P, None]:
    """As `press`, for what belongs to a case: nothing once the reader has left it, by a press a moment before."""

    def pressed(*given: P.args, **named: P.kwargs) -> None:
        if not sitting.is_left:
            act(*given, **named)

    return press(sitting.reader, pressed)


def take(reader: Reader, make: Callable[[], T]) -> Callable[[], T]:
    """What a download is made by: `make`, for that reader yet. Streamlit writes down what it raises."""
    now = login.asked()

    def taken() -> T:
        try:
            if now() != reader:
                raise StoreError("whoever asked may not see this any more", "Load the page again")
            return make()
        except Exception as thrown:
            raise RuntimeError(_logged(thrown)) from None

    return taken


def _logged(thrown: Exception) -> str:
    """The kind of an error; that and its place are kept, since its message may quote a note."""
    kind = type(thrown).__name__
    _log.error("%s\n%s", kind, "".join(traceback.format_tb(thrown.__traceback__)))
    return kind
