"""No press is dropped or done out of turn: `hear_every_press` mends two steps of Streamlit.

Before Streamlit does what was pressed, and whenever that reads the session, it looks whether a newer request has come,
and if so drops what it is about: two keys struck quickly on a busy machine, or a key and a film that asks for its
pixels, and the first was never pressed. Here what was pressed is done to its end; then it looks.

Presses that wait together are done in one go, the newest first: a finding decided a moment after it was chosen was
chosen once more after it. Here they are done in the order in which they were pressed, after what was typed is kept.
"""

from __future__ import annotations

from typing import Any

from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.runtime.scriptrunner_utils import script_requests
from streamlit.runtime.state.safe_session_state import SafeSessionState

_will_rerun = SafeSessionState.on_script_will_rerun
_coalesce = script_requests._coalesce_widget_states


def hear_every_press() -> None:
    """Mend them for this process; once more changes nothing."""
    SafeSessionState.on_script_will_rerun = _undisturbed  # type: ignore[method-assign]
    script_requests._coalesce_widget_states = _in_turn


def _undisturbed(self: SafeSessionState, *given: Any, **named: Any) -> None:
    """Do what was pressed, as Streamlit does, but without a look at newer requests meanwhile."""
    look = self._yield_callback
    object.__setattr__(self, "_yield_callback", lambda: None)
    try:
        _will_rerun(self, *given, **named)
    finally:
        object.__setattr__(self, "_yield_callback", look)


def _in_turn(old_states: WidgetStates | None, new_states: WidgetStates | None) -> WidgetStates | None:
    """What two requests say together, as Streamlit has it: what was typed, then the older presses, then the newer."""
    both = _coalesce(old_states, new_states)
    if both is None or new_states is None:
        return both
    newer = {state.id for state in new_states.widgets}
    return WidgetStates(widgets=sorted(both.widgets, key=lambda state: (_is_press(state), state.id in newer)))


def _is_press(state: WidgetState) -> bool:
    return "trigger" in (state.WhichOneof("value") or "")
