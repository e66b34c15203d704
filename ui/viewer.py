"""The film with the overlay of one finding; opacity and zoom work in the page, without asking the server."""

from __future__ import annotations

import base64
import io
from importlib.resources import files
from pathlib import Path

import PIL.Image
import streamlit as st

from medmm.result import Explanation
from ui.colour import overlay_png, reach
from ui.say import name

_LONGEST = 1600
"""Longer side of the film on the screen in pixels; a larger one is sent reduced."""
_MEASURED = "what was measured of the finding's log-odds"
_MEANING = {
    "integrated gradients": "log-odds that the finding owes to each place where the film is unlike a typical one",
    "hidden patches": "log-odds that the finding loses where a patch is hidden",
}
"""Method of an overlay -> what its colours are."""
_HTML = """
<div class="film" tabindex="0" aria-label="Film; scrolls when enlarged">
  <div class="sheet"><img class="picture" draggable="false"><img class="overlay" alt="" draggable="false"></div>
</div>
<div class="controls">
  <label>Overlay <input class="opacity" type="range" min="0" max="100" value="55" aria-label="Overlay opacity"></label>
  <label>Zoom <input class="zoom" type="range" min="1" max="4" step="0.1" value="1" aria-label="Zoom"></label>
</div>
<div class="legend">
  <span class="low"></span><span class="gradient" aria-hidden="true"></span><span class="high"></span>
</div>
<p class="method"></p>
"""
_component = st.components.v2.component(
    "medmm_viewer",
    html=_HTML,
    css=files("ui").joinpath("viewer.css").read_text(encoding="utf-8"),
    js=files("ui").joinpath("viewer.js").read_text(encoding="utf-8"),
)


def show(path: Path, title: str, explanation: Explanation, place: int) -> None:
    """Draw film number `place` (from 0) under the overlay of the explanation, with a legend that names the method."""
    try:
        film, size = _film(str(path))
    except OSError:
        st.warning("The picture of this film is not in the folder. The prediction below was made with it.")
        return
    end = reach(explanation)
    finding = name(explanation.label)
    _component(
        key="viewer",
        data={
            "film": film,
            "title": title,
            "overlay": data_url(overlay_png(explanation.overlays[place], end)),
            "low": f"−{end:.2f} against",
            "high": f"for +{end:.2f}",
            "method": f"{explanation.method.capitalize()}: {_MEANING.get(explanation.method, _MEASURED)} ({finding}); "
            f"not a segmentation. No colour: nothing, or the model did not look.{size}",
        },
    )


def data_url(png: bytes) -> str:
    """A PNG that needs no address of its own."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


@st.cache_data(max_entries=32, show_spinner=False)
def _film(path: str) -> tuple[str, str]:
    """The film as a data URL, and a remark if it had to be reduced."""
    with PIL.Image.open(path) as picture:
        picture.load()
        whole = picture.size
        picture.thumbnail((_LONGEST, _LONGEST))
        stream = io.BytesIO()
        picture.save(stream, format="PNG", compress_level=1)
    reduced = picture.size != whole
    return data_url(
        stream.getvalue()
    ), f" Reduced for the screen from {whole[0]} × {whole[1]} pixels." if reduced else ""
