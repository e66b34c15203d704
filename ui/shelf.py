"""What the viewer of one case can show: the display sets of its studies, or the pictures kept beside the prediction."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import streamlit as st

from medmm.errors import Reason
from medmm.read.dicom.voi import Window, asked_first
from medmm.read.guard import RefusedError
from medmm.read.sources.source import Source
from medmm.read.view import DisplaySet, FrameOrigin, Pixels, frame_of, open_study, read_pixels
from medmm.result import Evidence, Film, Origin
from medmm.write.picture import picture_path

MAX_KEPT_BYTES = 2**30
"""Size of the decoded pixels that the server keeps at hand, for all readers together."""
READING = "8-bit picture, while the study is read …"
GONE = "8-bit picture: the files are not where they were when this case was scored."
CHANGED = "8-bit picture: the file has changed since it was scored, so it is not shown as what was scored."
TOO_LARGE = "8-bit picture: the study is too large to be looked at in full."
_RESAMPLED = ("shown stretched", "of its resolution")
"""In the remarks of a film whose picture has other pixels than its file."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One display set on the shelf."""

    id: str
    display: DisplaySet
    seen: Mapping[int, int]
    """Frame, from 0 -> number, from 0, of the film of the evidence that it is."""
    prior: bool
    source: Source | None = field(default=None, repr=False)
    """Where its files lie; None of pictures that were kept when the case was scored."""
    pictures: tuple[Path, ...] = field(default=(), repr=False)
    note: str = ""
    """Why it is not what it should be."""
    is_original: bool = True
    """Whether its pixels are those of the file, so that a region on it has coordinates there."""
    asked: tuple[float, float] | None = None
    """Centre and width in which the model was given it, where the cohort asked for others than its files state."""

    def pixels(self) -> Pixels:
        """Its pixels, from memory if they are there. Raises as read_pixels."""
        if self.source is None:
            return _kept_pictures(self.pictures)
        pixels = _remembered(self.display, partial(read_pixels, self.source, self.display))
        return replace(pixels, windows=asked_first(pixels.windows, self.asked)) if self.asked else pixels


def shelve(evidence: Evidence, films: Path) -> tuple[Shown, ...]:
    """Everything that can be shown of a case: the study of now, then the prior one. Reads their files.

    A film whose file is gone or has changed is there as the 8-bit picture that was kept in the folder `films`.
    """
    now, prior = (_side(evidence, films, prior) for prior in (False, True))
    return (*now, *prior)


def kept(evidence: Evidence, films: Path) -> tuple[Shown, ...]:
    """The 8-bit pictures that were kept of the films, which are there at once."""
    now, prior = (_pictures(_films(evidence, prior), films, prior, READING) for prior in (False, True))
    return (*now, *prior)


def _films(evidence: Evidence, prior: bool) -> dict[int, Film]:
    """The films of one study, by their number in the evidence."""
    return {place: film for place, film in enumerate(evidence.films) if film.prior == prior}


def _side(evidence: Evidence, films: Path, prior: bool) -> Iterator[Shown]:
    """The display sets of one study, and pictures for the films that are none of theirs."""
    lost = _films(evidence, prior)
    if not lost:
        return
    why = GONE
    origin = evidence.prior if prior else evidence.study
    if origin is not None:
        try:
            for number, (display, decode) in enumerate(open_study(_source(origin))):
                shown = _identified(f"{'prior' if prior else 'now'}-{number}", origin, display, decode, lost, prior)
                if shown is None:
                    why = CHANGED
                else:
                    lost = {place: film for place, film in lost.items() if place not in shown.seen.values()}
                    yield shown
        except RefusedError as refused:
            why = {Reason.MISSING_STUDY: GONE, Reason.TOO_LARGE: TOO_LARGE}.get(refused.code, CHANGED)
        except OSError:
            why = GONE
    yield from _pictures(lost, films, prior, why)


def _source(origin: Origin) -> Source:
    """The files of a study."""
    return Source(Path(origin.path), origin.members)


def _identified(
    identity: str,
    origin: Origin,
    display: DisplaySet,
    decode: Callable[[], Pixels],
    films: Mapping[int, Film],
    prior: bool,
) -> Shown | None:
    """A display set and which of its frames are films: their digests prove it; None if it only claims to have some."""
    uids = {frame.instance_uid for frame in display.frames}
    claimed = {place: film for place, film in films.items() if film.instance_uid in uids}
    if not claimed:
        return Shown(identity, display, {}, prior, _source(origin))
    pixels = _remembered(display, decode)
    for asked in (None, *origin.windows):
        pairs = (
            (frame_of(display, pixels, film.digest, film.instance_uid, [asked] if asked else []), place)
            for place, film in claimed.items()
        )
        if seen := {frame: place for frame, place in pairs if frame is not None}:
            return Shown(identity, display, seen, prior, _source(origin), asked=asked)
    return None


def _pictures(lost: Mapping[int, Film], films: Path, prior: bool, why: str) -> Iterator[Shown]:
    """Films by themselves, and the slices of one series and size together; what has no picture is left out."""
    groups: dict[tuple[str, int, int], list[int]] = {}
    for place, film in lost.items():
        with suppress(OSError), PIL.Image.open(picture_path(films, film.digest)) as picture:
            groups.setdefault((film.series_uid if film.part else f"film {place}", *picture.size), []).append(place)
    for (_, columns, rows), places in groups.items():
        paths = tuple(picture_path(films, lost[place].digest) for place in places)
        first = lost[places[0]]
        frames = tuple(FrameOrigin("", lost[place].digest, lost[place].instance_uid, 1, 1) for place in places)
        display = DisplaySet(
            frames, rows, columns, first.modality, first.series_uid, first.view, is_stack=bool(first.part)
        )
        seen = dict(enumerate(places))
        original = not any(word in remark for remark in first.remarks for word in _RESAMPLED)
        identity = f"{'prior' if prior else 'now'}-picture-{places[0]}"
        yield Shown(identity, display, seen, prior, pictures=paths, note=why, is_original=original)


def _kept_pictures(paths: Sequence[Path]) -> Pixels:
    """Pictures as they were written: 8 bits, already shown as they were given to the model."""
    pictures = []
    for path in paths:
        with PIL.Image.open(path) as picture:
            pictures.append(np.asarray(picture.convert("RGB" if picture.mode == "RGB" else "L")))
    values = np.stack(pictures)
    return Pixels(values, () if values.ndim == 4 else (Window("As it was scored", 0, 255, exact=True),), False)


def _remembered(display: DisplaySet, decode: Callable[[], Pixels]) -> Pixels:
    """Decode a display set, or take it from memory."""
    memory, key = _memory(), tuple(frame.identity for frame in display.frames)
    pixels = memory.get(key)
    if pixels is None:
        pixels = decode()
        memory.put(key, pixels)
    return pixels


class _Memory:
    """Pixels that were decoded, the last ones used; no more than MAX_KEPT_BYTES of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, ...], Pixels] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> Pixels | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple[str, ...], pixels: Pixels) -> None:
        with self._lock:
            self._kept[key] = pixels
            while len(self._kept) > 1 and sum(one.values.nbytes for one in self._kept.values()) > MAX_KEPT_BYTES:
                self._kept.popitem(last=False)


@st.cache_resource(show_spinner=False)
def _memory() -> _Memory:
    return _Memory()
