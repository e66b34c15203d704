"""Presses that wait for a drawing to end are done in turn, after what was typed before them."""

from __future__ import annotations

from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.runtime.scriptrunner import RerunData
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequests

from ui.heard import hear_every_press


def test_presses_that_wait_together_are_done_in_turn_after_what_was_typed() -> None:
    hear_every_press()
    waiting = ScriptRequests()

    for pressed in ("finding-1", "finding-2", "overridden"):
        waiting.request_rerun(RerunData(widget_states=_widgets(pressed, comment=f"before {pressed}")))

    done = waiting.on_scriptrunner_ready().rerun_data.widget_states
    assert done is not None
    assert [state.id for state in done.widgets] == ["comment", "finding-1", "finding-2", "overridden"]
    assert done.widgets[0].string_value == "before overridden"


def _widgets(pressed: str, comment: str) -> WidgetStates:
    button = WidgetState(id=pressed, trigger_value=True)
    return WidgetStates(widgets=[WidgetState(id="comment", string_value=comment), button])
