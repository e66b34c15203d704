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
from medmm.read.dicom.display import modality_values, show_grey
from medmm.read.dicom.header import is_encoded_in, numbers
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
_NEARLY_ALL = 0.8
"""Share of the range of a frame from which a window shows nothing that the whole range does not."""
_MOST = 4
"""Windows in which a frame is searched, so that a header cannot make it last for ever."""
_DISPLAY = frozenset({
    "ModalityLUTSequence", "PhotometricInterpretation", "PixelRepresentation", "RescaleIntercept", "RescaleSlope",
    "VOILUTFunction", "VOILUTSequence", "WindowCenter", "WindowWidth",
})  # fmt: skip
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
    values, boxes = without_text(dataset, values, photometric, burned_in)
    if boxes:
        _store(dataset, values, photometric)
        return ExplicitVRLittleEndian, boxes
    with guarded("cannot be encoded again", "Convert it to Explicit VR Little Endian"):
        return _bare(dataset, values, photometric), 0


def without_text(dataset: Dataset, values: np.ndarray, photometric: str, burned_in: BurnedIn) -> tuple[np.ndarray, int]:
    """Mask the text in every frame.

    Args:
        dataset: as for `find_in_frames`; empty for a photograph.
        values: as for `find_in_frames`.
        photometric: of `values`.
        burned_in: mask, or refuse the picture.

    Returns:
        The values, and how many regions were masked.

    Raises:
        RefusedError: as `clean_pixels`.
    """
    boxes = find_in_frames(dataset, values, photometric)
    if boxes and burned_in == "refuse":
        raise RefusedError(Reason.UNSUPPORTED, "has text burned into its pixels", "Mask it with --burned-in mask")
    return (_masked(dataset, values, boxes, photometric), len(boxes)) if boxes else (values, 0)


def find_in_frames(dataset: Dataset, values: np.ndarray, photometric: str) -> list[Box]:
    """Find text in every frame, over the whole range of its values and in the file's own windows; all boxes together.

    Args:
        dataset: for a palette, windows and the rescale to which they belong.
        values: (frames, rows, columns) or (frames, rows, columns, 3), as stored.
        photometric: of `values`.
    """
    found: dict[Box, None] = {}
    for index, frame in enumerate(values):
        for picture in _shown(dataset, frame, photometric, index):
            found.update(dict.fromkeys(find_text(picture)))
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


def _shown(dataset: Dataset, frame: np.ndarray, photometric: str, index: int) -> Iterator[np.ndarray]:
    """A frame as (rows, columns, 3) uint8: over its whole range, then in every window that shows something else."""
    if photometric == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        frame = apply_color_lut(frame, dataset)
    if frame.dtype == np.uint8 and frame.ndim == 3:
        yield frame
        return
    low, high = np.nanpercentile(frame, (0.1, 99.9))
    if high <= low:
        low, high = float(np.nanmin(frame)), float(np.nanmax(frame))
    yield _grey(frame, low, high)
    if frame.ndim == 3:
        return
    header = _header_of(dataset, index)
    if header.get("VOILUTSequence"):
        yield _grey(show_grey(header, frame)[0], 0.0, 1.0)
    values = modality_values(header, frame, [])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    for bottom, top in _windows(header):
        if min(top, high) - max(bottom, low) < _NEARLY_ALL * (high - low):
            yield _grey(values, bottom, top)


def _grey(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Bring values between low and high to (rows, columns, 3) uint8."""
    scaled = (np.nan_to_num(values).astype(np.float32) - np.float32(low)) * np.float32(255 / max(high - low, 1e-6))
    grey = scaled.clip(0, 255).astype(np.uint8)
    return grey if grey.ndim == 3 else np.repeat(grey[..., None], 3, axis=2)


def _windows(header: Dataset) -> list[tuple[float, float]]:
    """Return bottom and top of the first windows of a frame (PS3.3 C.11.2), each once."""
    pairs = zip(numbers(header, "WindowCenter"), numbers(header, "WindowWidth"), strict=False)
    return list(dict.fromkeys((centre - width / 2, centre + width / 2) for centre, width in pairs if width > 0))[:_MOST]


def _header_of(dataset: Dataset, index: int) -> Dataset:
    """Return how a frame is to be shown; functional groups (PS3.3 C.7.6.16), if there are any, are laid flat."""
    header = Dataset()
    header.update({element.tag: element for element in dataset if element.keyword in _DISPLAY})
    header.set_original_encoding(*dataset.original_encoding)
    groups = list(dataset.get("SharedFunctionalGroupsSequence") or ())
    groups += list(dataset.get("PerFrameFunctionalGroupsSequence") or ())[index : index + 1]
    for macro in (macro for group in groups for macro in group if macro.VR == "SQ" and not macro.tag.is_private):
        for item in macro.value or ():
            header.update({element.tag: element for element in item if element.keyword in _DISPLAY})
    return header


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
    stored = values.astype(values.dtype.newbyteorder("<")).tobytes()
    if values.dtype.kind == "f":
        setattr(dataset, "FloatPixelData" if values.dtype.itemsize == 4 else "DoubleFloatPixelData", stored)
        return
    dataset.PixelData = stored + b"\0" * (len(stored) % 2)
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
