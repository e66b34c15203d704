"""No press is dropped: `hear_every_press` mends a step of Streamlit, which forgets a press that another one overtakes.

Before Streamlit does what was pressed, and whenever that reads the session, it looks whether a newer request has come,
and if so drops what it is about: two keys struck quickly on a busy machine, or a key and a film that asks for its
pixels, and the first was never pressed. Here what was pressed is done to its end; then it looks.
"""

from __future__ import annotations

from typing import Any

from streamlit.runtime.state.safe_session_state import SafeSessionState

_will_rerun = SafeSessionState.on_script_will_rerun


def hear_every_press() -> None:
    """Mend it for this process; once more changes nothing."""
    SafeSessionState.on_script_will_rerun = _undisturbed  # type: ignore[method-assign]


def _undisturbed(self: SafeSessionState, *given: Any, **named: Any) -> None:
    """Do what was pressed, as Streamlit does, but without a look at newer requests meanwhile."""
    look = self._yield_callback
    object.__setattr__(self, "_yield_callback", lambda: None)
    try:
        _will_rerun(self, *given, **named)
    finally:
        object.__setattr__(self, "_yield_callback", look)
