"""Text that was burned into a picture: found by optical character recognition, then masked in the stored values.

PP-OCRv4 (DBNet for detection, SVTR for recognition) comes with the wheel of rapidocr-onnxruntime and runs offline.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from medmm.errors import ConfigError, Reason
from medmm.privacy.codestream import NotPlainError, without_comments
from medmm.read.dicom.codecs import NATIVE
from medmm.read.dicom.header import is_encoded_in
from medmm.read.dicom.instance import EXPORT
from medmm.read.dicom.pixels import check_header, decode, frames_in
from medmm.read.guard import RefusedError, guarded

BurnedIn = Literal["mask", "refuse"]
"""What becomes of a picture with text in it."""
MARKERS = frozenset(
    """
    AP PA LAT LL RL LAO RAO LPO RPO CC MLO LCC RCC LMLO RMLO SUPINE PRONE ERECT SEMIERECT UPRIGHT PORTABLE MOBILE
    SITTING STANDING INSP EXP LEFT RIGHT LIEGEND BETTAUFNAHME
    """.split()  # noqa: SIM905  # a list of so many strings would not be read
)
"""Words of radiographers that say how a film was taken; they stay, as single letters do."""
_WHOLE = 1024
"""Longest side in pixels at which a picture is searched as a whole; a larger one is searched in tiles besides."""
_OVERLAP = 192
_MARGIN = 3
_SURE, _LIKELY = 0.6, 0.3
"""Confidence from which two letters, and from which three characters or a digit, count as text."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels, ends excluded."""

    top: int
    left: int
    bottom: int
    right: int


def clean_pixels(dataset: Dataset, burned_in: BurnedIn) -> tuple[UID, int]:
    """Mask the text in the pixels of a dataset, in place, and remove what stands beside them.

    A picture without text keeps its encoding and every value; one with text is stored as Explicit VR Little Endian.

    Args:
        dataset: with its original file meta, which is not changed.
        burned_in: mask, or refuse the picture.

    Returns:
        The transfer syntax in which the pixels are now, and how many regions were masked.

    Raises:
        RefusedError: CORRUPT, TOO_LARGE or UNSUPPORTED if the pixels do not decode; UNSUPPORTED if there is text and it
            is to be refused, or some is left after masking.
        ConfigError: if the recogniser cannot be loaded.
    """
    with guarded("has a header that does not make sense", EXPORT):
        check_header(dataset)
    with guarded("does not decode", EXPORT):
        values = np.stack([frame for frame, _ in decode(dataset, range(frames_in(dataset)))])
        photometric = "RGB" if values.ndim == 4 else str(dataset.PhotometricInterpretation)
    boxes = find_in_frames(dataset, values, photometric)
    if boxes and burned_in == "refuse":
        raise RefusedError(Reason.UNSUPPORTED, "has text burned into its pixels", "Mask it with --burned-in mask")
    if boxes:
        values = _masked(dataset, values, boxes, photometric)
        _store(dataset, values, photometric)
        return ExplicitVRLittleEndian, len(boxes)
    with guarded("cannot be encoded again", "Convert it to Explicit VR Little Endian"):
        return _bare(dataset, values, photometric), 0


def find_in_frames(dataset: Dataset, values: np.ndarray, photometric: str) -> list[Box]:
    """Find text in every frame; what is found in one is masked in all.

    Args:
        dataset: for a palette.
        values: (frames, rows, columns) or (frames, rows, columns, 3), as stored.
        photometric: of `values`.
    """
    found: dict[Box, None] = {}
    for frame in values:
        found.update(dict.fromkeys(find_text(_shown(dataset, frame, photometric))))
    return list(found)


def paint(values: np.ndarray, boxes: Iterable[Box], black: Any) -> np.ndarray:
    """Return (frames, rows, columns, ...) with the boxes of every frame filled with one value."""
    values = values.copy()
    for box in boxes:
        values[:, box.top : box.bottom, box.left : box.right] = black
    return values


def find_text(picture: np.ndarray) -> list[Box]:
    """Find text longer than a letter that is no radiographer's marker.

    Args:
        picture: (rows, columns, 3) uint8.
    """
    found: dict[Box, None] = {}
    for top, left, tile in _tiles(picture):
        for corners, text, score in _recogniser()(tile, text_score=0.0)[0] or ():
            if _is_text(text, float(score)):
                found[_box(corners, top, left, picture.shape)] = None
    return list(found)


def _is_text(text: str, score: float) -> bool:
    """Whether what was recognised may be more than a marker or a rib."""
    words = re.findall(r"[^\W_]+", text)
    if all(word.upper() in MARKERS or (len(word) == 1 and word.isalpha()) for word in words):
        return False
    letters = "".join(words)
    longer = len(letters) >= 3 or (len(letters) == 2 and not letters.isalpha())
    return score >= (_LIKELY if longer else _SURE)


def _tiles(picture: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """The picture as a whole, which the recogniser reduces if it is large; then its parts at full size."""
    yield 0, 0, picture
    if max(picture.shape[:2]) > _WHOLE:
        for down in _parts(picture.shape[0]):
            for across in _parts(picture.shape[1]):
                yield down.start, across.start, picture[down, across]


def _parts(length: int) -> list[slice]:
    """Cover a length evenly by parts that overlap, none longer than _WHOLE."""
    count = max(1, math.ceil((length - _OVERLAP) / (_WHOLE - _OVERLAP)))
    size = math.ceil((length + (count - 1) * _OVERLAP) / count)
    starts = (number * (size - _OVERLAP) for number in range(count))
    return [slice(start, start + size) for start in starts]


def _box(corners: Any, top: int, left: int, shape: tuple[int, ...]) -> Box:
    """The upright rectangle around four corners, a little wider, within the picture."""
    across = [float(corner[0]) + left for corner in corners]
    down = [float(corner[1]) + top for corner in corners]
    margin = _MARGIN + (max(down) - min(down)) / 8
    return Box(
        max(0, int(min(down) - margin)),
        max(0, int(min(across) - margin)),
        min(shape[0], int(max(down) + margin) + 1),
        min(shape[1], int(max(across) + margin) + 1),
    )


@cache
def _recogniser() -> Any:
    """Load the networks once a process, on one thread."""
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError:
        remedy = "Install libgl1 and libglib2.0-0 with apt, or replace opencv-python by opencv-python-headless"
        raise ConfigError("the text recogniser cannot be loaded", remedy) from None
    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1, max_side_len=_WHOLE)


def _shown(dataset: Dataset, frame: np.ndarray, photometric: str) -> np.ndarray:
    """A frame as (rows, columns, 3) uint8 in which text of any brightness can be seen, whatever the window."""
    if photometric == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        frame = apply_color_lut(frame, dataset)
    if frame.dtype == np.uint8 and frame.ndim == 3:
        return frame
    low, high = np.percentile(frame, (0.1, 99.9))
    if high <= low:
        low, high = float(frame.min()), float(frame.max())
    scaled = (frame.astype(np.float32) - np.float32(low)) * np.float32(255 / max(high - low, 1e-6))
    grey = scaled.clip(0, 255).astype(np.uint8)
    return grey if grey.ndim == 3 else np.repeat(grey[..., None], 3, axis=2)


def _masked(dataset: Dataset, values: np.ndarray, boxes: list[Box], photometric: str) -> np.ndarray:
    """Paint the boxes black in every frame, and look again."""
    black = values.max() if photometric == "MONOCHROME1" else values.min() if photometric != "RGB" else 0
    for _ in range(3):
        values = paint(values, boxes, black)
        boxes = find_in_frames(dataset, values, photometric)
        if not boxes:
            return values
    raise RefusedError(Reason.UNSUPPORTED, "has text in its pixels that masking does not remove", "Mask it by hand")


def _store(dataset: Dataset, values: np.ndarray, photometric: str) -> None:
    """Put values back as Explicit VR Little Endian; what lossy compression did is still said (0028,2110)."""
    dataset.PixelData = values.astype(values.dtype.newbyteorder("<")).tobytes()
    if len(dataset.PixelData) % 2:
        dataset.PixelData += b"\0"
    dataset["PixelData"].VR = "OB" if values.dtype.itemsize == 1 else "OW"
    dataset["PixelData"].is_undefined_length = False
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = 8 * values.dtype.itemsize
    if values.ndim == 4:
        dataset.PlanarConfiguration = 0


def _bare(dataset: Dataset, values: np.ndarray, photometric: str) -> UID:
    """Keep the encoding, less comments, padding and bits that are no picture; else store the values."""
    syntax = is_encoded_in(dataset)
    if syntax not in NATIVE and syntax != RLELossless:
        frames = generate_frames(dataset.PixelData, number_of_frames=len(values))
        try:
            dataset.PixelData = encapsulate([without_comments(frame) for frame in frames])
        except NotPlainError:
            pass
        else:
            return syntax
    _store(dataset, values, photometric)
    return ExplicitVRLittleEndian
