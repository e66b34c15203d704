"""Overlays as pictures: what speaks for a finding and what against, in colours that the colour-blind tell apart."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import PIL.Image

from medmm.result import Explanation, Overlay

WARM, COOL = (255, 140, 26), (64, 150, 255)
"""For and against, as red, green and blue: orange and blue, both clear on a dark film."""
FULL = 0.25
"""Log-odds that are drawn at full strength when nothing reaches further, so that noise does not glow: of a word, or of
a forty-ninth of the encoder's square."""
OPACITY = 0.6
"""Of an overlay that is burned into a film, where it is strongest, so that the film is seen beneath it."""
_LONGEST = 640
"""Longer side of an overlay in pixels; the cells are far coarser, and the page stretches it over the film."""


def reach(explanation: Explanation) -> float:
    """The log-odds that are drawn at full strength on every film of this finding; the scale runs to both sides."""
    cells = [np.abs(overlay.cells[np.isfinite(overlay.cells)]) for overlay in explanation.overlays]
    full = FULL * 49 / max((overlay.cells.size for overlay in explanation.overlays), default=49)
    return max([full, *(float(values.max()) for values in cells if values.size)])


def paint(heatmap: np.ndarray, end: float) -> np.ndarray:
    """Colour log-odds (rows, columns) as RGBA (rows, columns, 4) uint8: the sign is the hue, the size the opacity.

    NaN is transparent; `end` and anything beyond is opaque.
    """
    known = np.nan_to_num(heatmap, nan=0.0)
    colours = np.where((known > 0)[..., None], np.array(WARM, np.uint8), np.array(COOL, np.uint8))
    opacity = np.rint(255 * np.clip(np.abs(known) / end, 0, 1)).astype(np.uint8)
    return np.dstack([colours, opacity])


def overlay_png(overlay: Overlay, end: float) -> bytes:
    """The overlay as a PNG of the film's proportions."""
    place = overlay.placement
    share = min(1.0, _LONGEST / max(place.rows, place.columns))
    small = replace(place, rows=max(1, round(place.rows * share)), columns=max(1, round(place.columns * share)))
    stream = io.BytesIO()
    PIL.Image.fromarray(paint(replace(overlay, placement=small).heatmap(), end)).save(stream, format="PNG")
    return stream.getvalue()


def burned_in(film: PIL.Image.Image, overlay: Overlay, end: float) -> PIL.Image.Image:
    """A film's picture, of whatever size, under the colours of an overlay; `end` as of `paint`."""
    place = replace(overlay.placement, rows=film.height, columns=film.width)
    colours = paint(replace(overlay, placement=place).heatmap(), end)
    colours[..., 3] = np.rint(colours[..., 3] * OPACITY)
    return PIL.Image.alpha_composite(film.convert("RGBA"), PIL.Image.fromarray(colours)).convert("RGB")
