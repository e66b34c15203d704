"""The film viewer: `show` draws it, `drawn` says which region the reader has drawn for a finding.

The page is told what there is to see and asks for pixels and overlays when it needs them; windowing, zooming, and
scrolling through what is there happen in the page. What it asks for is numbered, and every time it is drawn it is told
which number was answered last: an answer that a redraw of the page swallowed is missed at once, and asked for again.
The whole page is drawn for an answer: Streamlit would send a press of the instant in which a fragment asks along with
the asking, and draw nothing else; and a page that is drawn right after a fragment can fail in the browser.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import count
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import streamlit as st

from medmm.read.dicom.voi import PRESETS, Window
from medmm.read.guard import RefusedError
from medmm.read.view import Pixels
from medmm.result import Explanation, Outline, ScoredCase
from medmm.write.paint import overlay_png, reach
from medmm.write.words import film_name
from ui.heard import hear_every_press
from ui.say import name
from ui.shelf import Shown, kept, shelve

T = TypeVar("T")
_MOST_BYTES = 2**23
"""Size of what the page is sent at once, but for one frame that is larger."""
_MEASURED = "what was measured of the finding's log-odds"
_MEANING = {
    "integrated gradients": "log-odds that the finding owes to each place where the film is unlike a typical one",
    "hidden patches": "log-odds that the finding loses where a patch is hidden",
}
"""Method of an overlay -> what its colours are."""
_WORDS = {
    "detector": "imager",
    "inverted": "inverted",
    "loading": "Loading …",
    "own": "Own window",
    "padding": "padding",
    "patient": "patient",
    "unseen": "not given to the model",
}
"""What the page says by itself."""
_UNSEEN: dict[str, Any] = {"windows": [], "window": 0, "inverted": False, "colour": False, "least": 1.0}
"""How a display set is to be shown whose pixels were not decoded yet."""
_MOMENT_S = 0.2
"""How long reading may keep the page waiting before it is told to ask again: a press is heard in between."""
_READERS = 4
"""How many studies are read at the same time, for all readers together."""
_MOST_POINTS = 10_000
"""Corners of an outline; one with more is not taken."""
_STUDY = "study"
"""What the page asks for to have the files read, once it shows the pictures that were kept."""
_HELD = "viewer"
"""Where the session holds the case that is open."""
hear_every_press()
_SCRIPTS = ("pixels.js", "pane.js", "viewer.js", "controls.js")
SCRIPT = "\n".join(files("ui").joinpath(script).read_text(encoding="utf-8") for script in _SCRIPTS)
"""The module that the page runs."""
_component = st.components.v2.component(
    "medmm_viewer",
    html=files("ui").joinpath("viewer.html").read_text(encoding="utf-8"),
    css=files("ui").joinpath("viewer.css").read_text(encoding="utf-8"),
    js=SCRIPT,
)


def show(
    scored: ScoredCase,
    explanation: Explanation,
    films: Path,
    outline: Outline | None = None,
    *,
    overlay: bool = True,
) -> None:
    """Draw all films and volumes of a case, those of the prior study too.

    Args:
        scored: the case.
        explanation: of the finding whose overlay is drawn.
        films: the folder of the pictures that were kept when the case was scored.
        outline: a region that was kept for this finding, to be shown again.
        overlay: False while the reader is not to see what the model says.
    """
    held = st.session_state.get(_HELD)
    if held is None or held.key != _key(scored):
        held = st.session_state[_HELD] = _Held(_key(scored), kept(scored.evidence, films))
    key = f"viewer-{held.key[1]}"

    def take(said: str, put: Callable[[Any], None]) -> Callable[[], None]:
        return lambda: put(st.session_state.get(key, {}).get(said))  # it may be of a case that was just left

    asked = held.asked
    _component(
        key=key,
        data=_answer(held, scored, explanation, films, outline, overlay),
        on_want_change=take("want", lambda said: setattr(held, "asked", _asked(said, held))),
        on_outlines_change=take("outlines", lambda said: setattr(held, "drawn", _sound(said))),
    )
    if held.is_whole and not held.shelf:
        st.warning("The pictures of this case are not in the folder. The prediction was made with them.")
    held.answered = asked.number  # not where a press stopped this run before the answer was on its way


def drawn(scored: ScoredCase, label: str) -> Outline | None:
    """The region that the reader has drawn for a finding of this case in this session; None if there is none.

    Its points are in the pixels of the file, whatever the zoom.
    """
    held = st.session_state.get(_HELD)
    if held is None or held.key != _key(scored) or label not in held.drawn:
        return None
    said, films = held.drawn[label], scored.evidence.films
    if not 0 <= said["film"] < len(films):
        return None
    return Outline(films[said["film"]].digest, tuple((float(x), float(y)) for x, y in said["points"]))


def _key(scored: ScoredCase) -> tuple[str, str, str]:
    return scored.prediction.model_id, scored.prediction.case_id, scored.content


class _Asked(NamedTuple):
    """What the page asks for; the number of asking rises, 0 is before the first one."""

    number: int = 0
    parts: Sequence[str] = ()
    """Set and frame, or label and place, or `_STUDY`."""


@dataclass(slots=True)
class _Held:
    """What a session holds of the case that is open."""

    key: tuple[str, str, str]
    """Model, case, and digest of the case's content."""
    shelf: tuple[Shown, ...]
    opened: int = field(default_factory=count(1).__next__)
    """Rises from one to the next, by which the page knows that an answer is for the case that it shows."""
    is_whole: bool = False
    """Whether the files of its studies were read, so that there is no more to come."""
    asked: _Asked = field(default_factory=_Asked)
    """What the page asked for last."""
    answered: int = 0
    """The last number of asking that was answered."""
    tasks: dict[str, Future[Any]] = field(default_factory=dict)
    """Display set, or `_STUDY` -> the reading of it, which goes on."""
    drawn: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Label -> the region that was drawn for it, as the page says it: number of the film, from 0, and points."""
    looks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Display set -> how its pixels are to be shown, once they were decoded."""
    failures: dict[str, str] = field(default_factory=dict)
    """Display set -> why it cannot be shown."""

    def soon(self, name: str, read: Callable[[], T]) -> T | None:
        """What reading gives if it takes a moment; None if it takes longer, and goes on. Raises what it raises."""
        if name not in self.tasks:
            self.tasks[name] = _readers().submit(read)
        wait([self.tasks[name]], _MOMENT_S)
        return self.tasks.pop(name).result() if self.tasks[name].done() else None


@st.cache_resource(show_spinner=False)
def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_READERS, "films")


def _answer(
    held: _Held,
    scored: ScoredCase,
    explanation: Explanation,
    films: Path,
    outline: Outline | None,
    overlay: bool,
) -> bytes:
    """What the page is sent: all words and sets each time, and of pixels what it asked for since the last answer."""
    asked = held.asked
    wanted = asked.parts if asked.number > held.answered else ()
    if _STUDY in wanted and not held.is_whole:
        _read(held, scored, films)
        wanted = _opening(held.shelf, explanation if overlay else None) if held.is_whole else ()
    parts = _parts(held, wanted, explanation)
    said = {
        "opened": held.opened,
        "answered": asked.number,
        "words": _WORDS,
        "sets": [
            _set(shown, title, explanation if overlay else None) | held.looks.get(shown.id, _UNSEEN)
            for shown, title in zip(held.shelf, _titles(held.shelf, scored), strict=True)
        ],
        "begin": _beginning(held.shelf, explanation if overlay else None),
        "label": explanation.label,
        "legend": _legend(explanation),
        "overlays": len(explanation.overlays) if overlay else 0,
        "kept": _placed(scored, outline) if outline else None,
        "own": held.drawn,
        "whole": held.is_whole,
        "failures": held.failures,
    }
    return _message(said, parts)


def _read(held: _Held, scored: ScoredCase, films: Path) -> None:
    """Put what the files hold on the shelf, once they were read."""
    shelf = held.soon(_STUDY, lambda: shelve(scored.evidence, films))
    if shelf is not None:
        held.shelf, held.is_whole = shelf, True


def _parts(held: _Held, wanted: Sequence[str], explanation: Explanation) -> list[tuple[str, str, bytes]]:
    """As much of what the page asked for as is there and is sent at once: name, type and bytes."""
    parts, size = list[tuple[str, str, bytes]](), 0
    sets = {shown.id: shown for shown in held.shelf}
    end = reach(explanation)
    for asked in wanted:
        of, _, place = asked.rpartition("/")
        if size > _MOST_BYTES or not place.isdecimal():
            continue
        if of in sets and int(place) < len(sets[of].display.frames):
            pixels = _pixels(held, sets[of])
            if pixels is None:
                continue
            held.looks.setdefault(of, _look(sets[of].display.modality, pixels))
            parts.append((asked, str(pixels.values.dtype), pixels.values[int(place)].tobytes()))
        elif of == explanation.label and int(place) < len(explanation.overlays):
            parts.append((asked, "png", overlay_png(explanation.overlays[int(place)], end)))
        else:
            continue
        size += len(parts[-1][2])
    return parts


def _pixels(held: _Held, shown: Shown) -> Pixels | None:
    """The pixels of a display set; None if they are not there yet, or never will."""
    if shown.id in held.failures:
        return None
    try:
        return held.soon(shown.id, shown.pixels)
    except RefusedError as refused:
        held.failures[shown.id] = f"It {refused.problem}. {refused.remedy}."
    except OSError:
        held.failures[shown.id] = "Its file cannot be read any more. Reload the page."
    return None


def _message(said: dict[str, Any], parts: Sequence[tuple[str, str, bytes]]) -> bytes:
    """Length of the JSON (uint32, little endian), the JSON, and the parts one after another, where it says."""
    at, listed = 0, []
    for identity, kind, content in parts:
        listed.append({"id": identity, "type": kind, "at": at, "length": len(content)})
        at += len(content)
    head = json.dumps(said | {"parts": listed}).encode()
    return b"".join([len(head).to_bytes(4, "little"), head, *(content for _, _, content in parts)])


def _set(shown: Shown, title: str, explanation: Explanation | None) -> dict[str, Any]:
    """What the page must know of a display set before its pixels come."""
    display = shown.display
    return {
        "id": shown.id,
        "title": title,
        "kind": "slice" if display.is_stack else "frame",
        "frames": len(display.frames),
        "first": _first(shown, explanation),
        "rows": display.rows,
        "columns": display.columns,
        "ratio": display.ratio,
        "spacing": display.spacing_mm,
        "detector": display.at_detector,
        "step": display.step_mm,
        "edges": display.edges,
        "unit": display.unit,
        "modality": display.modality,
        "view": display.view,
        "prior": shown.prior,
        "seen": shown.seen,
        "note": shown.note,
        "outlined": shown.is_original,
    }


def _look(modality: str, pixels: Pixels) -> dict[str, Any]:
    """What the page must know to show pixels; the windows that readers know by name come first, as their keys do."""
    presets = PRESETS.get(modality, ())
    windows = sorted(pixels.windows, key=lambda window: window not in presets)
    exact = pixels.values.dtype.kind in "iu"
    spread = max((window.high - window.low for window in windows), default=1.0)
    return {
        "windows": [_window(window) for window in windows],
        "window": windows.index(pixels.windows[0]) if windows else 0,
        "inverted": pixels.inverted,
        "colour": pixels.values.ndim == 4,
        "least": 1.0 if exact else spread / 1000,
    }


def _window(window: Window) -> dict[str, Any]:
    curve = base64.b64encode(window.curve).decode("ascii")
    return {"name": window.name, "low": window.low, "high": window.high, "curve": curve, "exact": window.exact}


def _weight(explanation: Explanation, place: int) -> float:
    """How much one picture moved the finding at most."""
    if place >= len(explanation.overlays):
        return 0.0
    return float(np.nanmax(np.abs(explanation.overlays[place].cells), initial=0))


def _first(shown: Shown, explanation: Explanation | None) -> int:
    """The frame that is shown first: the one that moved the finding most, or else the middle one of a stack."""
    if explanation is None or not shown.seen:
        return len(shown.display.frames) // 2 if shown.display.is_stack else 0
    return max(shown.seen, key=lambda frame: _weight(explanation, shown.seen[frame]))


def _beginning(shelf: Sequence[Shown], explanation: Explanation | None) -> int:
    """The display set that comes first: of the study of now, the one that moved the finding most, or came first."""

    def rank(place: int) -> tuple[bool, float]:
        films = shelf[place].seen.values()
        weights = [_weight(explanation, film) if explanation else -float(film) for film in films]
        return not shelf[place].prior, max(weights, default=-inf)

    return max(range(len(shelf)), key=rank, default=0)


def _opening(shelf: Sequence[Shown], explanation: Explanation | None) -> list[str]:
    """What the page asks for first, named as it would."""
    if not shelf:
        return []
    shown = shelf[_beginning(shelf, explanation)]
    return [f"{shown.id}/{_first(shown, explanation)}"]


def _titles(shelf: Sequence[Shown], scored: ScoredCase) -> list[str]:
    """How each display set is called; of several alike, with a number."""
    titles = []
    for shown in shelf:
        display = shown.display
        if len(shown.seen) == 1 and len(display.frames) == 1:
            place = next(iter(shown.seen.values()))
            titles.append(film_name(place + 1, scored.evidence.films[place]))
            continue
        count = f"{len(display.frames)} {'slices' if display.is_stack else 'frames'}" if len(display.frames) > 1 else ""
        parts = (display.modality, display.description or display.view, count, "prior" if shown.prior else "")
        titles.append(", ".join(part for part in parts if part))
    twice = {title for title in titles if titles.count(title) > 1}
    return [f"{title} ({titles[: n + 1].count(title)})" if title in twice else title for n, title in enumerate(titles)]


def _legend(explanation: Explanation) -> dict[str, str]:
    """What the colours are, on which scale, by which method."""
    end = reach(explanation)
    meaning = _MEANING.get(explanation.method, _MEASURED)
    return {
        "low": f"−{end:.2f} against",
        "high": f"for +{end:.2f}",
        "method": f"{explanation.method.capitalize()}: {meaning} ({name(explanation.label)}); not a segmentation. "
        "No colour: nothing, or the model did not look.",
    }


def _placed(scored: ScoredCase, outline: Outline) -> dict[str, Any] | None:
    """An outline as the page draws it, on whichever picture of its film it shows; None if the case has no such film."""
    digests = [film.digest for film in scored.evidence.films]
    return {"film": digests.index(outline.film), "points": outline.points} if outline.film in digests else None


def _asked(said: object, held: _Held) -> _Asked:
    """What the page asks for, which may say anything; as before if it asks for another case, or says it wrongly."""
    if not isinstance(said, dict) or said.get("opened") != held.opened:
        return held.asked
    number, parts = said.get("number"), said.get("parts")
    if not isinstance(number, int) or not isinstance(parts, list):
        return held.asked
    return _Asked(number, [part for part in parts if isinstance(part, str)])


def _sound(said: object) -> dict[str, dict[str, Any]]:
    """Regions from the page, by label, that are regions."""
    return {label: one for label, one in said.items() if _is_region(one)} if isinstance(said, dict) else {}


def _is_region(said: object) -> bool:
    if not isinstance(said, dict) or not isinstance(said.get("film"), int):
        return False
    points = said.get("points")
    return (
        isinstance(points, list)
        and 3 <= len(points) <= _MOST_POINTS
        and all(isinstance(p, list) and len(p) == 2 and all(isinstance(n, int | float) for n in p) for p in points)
    )
