"""Slices in space, or frames in time, to Volume: values in the unit of the modality, nothing resampled."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from medmm.case import Volume
from medmm.errors import Reason
from medmm.read.dicom.display import modality_values, padding_in, show_colour, why_inverted, window_in
from medmm.read.dicom.film import UNDECODED, kept_oblong, ratio_of, remarks_on, spacing_of
from medmm.read.dicom.frame import Frame
from medmm.read.dicom.geometry import grid_of
from medmm.read.dicom.header import acquisition, sop_class
from medmm.read.dicom.instance import EXPORT, SENSELESS
from medmm.read.dicom.pixels import decode
from medmm.read.guard import MAX_PIXELS, RefusedError, guarded

_SHORT = np.iinfo(np.int16)
_LARGEST = float(np.finfo(np.float32).max)


def read_volume(
    frames: Sequence[Frame], remarks: Sequence[str] = (), window: tuple[float, float] | None = None
) -> Volume:
    """Decode frames of one size into a volume; files are let go as soon as no more of their frames are wanted.

    Args:
        frames: two or more, in the order of slices or of time; all of them have a plane, or it has no affine.
        remarks: what was found when they were put in order.
        window: centre and width in which it is shown, instead of what its files say.

    Raises:
        RefusedError: UNSUPPORTED, TOO_LARGE or CORRUPT.
    """
    first = frames[0]
    try:
        with guarded(SENSELESS, EXPORT):
            inverted = why_inverted(first.header) if first.is_grey else ""
            shown, window_remarks = _own_window(frames) if window is None else (window, (_asked(window),))
            facts = acquisition(first.instance.dataset)
            sides = ratio_of(first.instance.dataset, spacing_of(first.instance.dataset, first.header)[0])
            left_out = dict.fromkeys(remark for frame in frames for remark in remarks_on(frame.instance.dataset))
    except RefusedError as refused:
        raise refused.of_file("a series of its study") from None
    planes = [frame.plane for frame in frames if frame.plane is not None]
    grid = grid_of(planes) if len(planes) == len(frames) else None
    decoded = _decode(frames)
    return Volume(
        voxels=decoded.voxels,
        digest=hashlib.sha256("\n".join(frame.identity for frame in frames).encode()).hexdigest(),
        affine=grid.affine if grid else None,
        offsets_mm=grid.offsets_mm if grid else (),
        window=shown,
        inverted=bool(inverted),
        series_uid=first.instance.series_uid,
        instance_uids=tuple(frame.instance.uid for frame in frames),
        sop_class=str(sop_class(first.instance.dataset)),
        modality=first.instance.modality,
        remarks=(
            *remarks,
            *(grid.remarks if grid else kept_oblong(sides)),
            *decoded.remarks,
            *window_remarks,
            *((f"{inverted}: low values are shown white",) if inverted else ()),
            *left_out,
        ),
        acquisition=facts,
    )


@dataclass(slots=True)
class _Decoded:
    """Voxels as they come in."""

    voxels: np.ndarray
    remarks: list[str] = field(default_factory=list)
    rescales: set[str] = field(default_factory=set)
    padding: dict[int, np.ndarray] = field(default_factory=dict)
    """Slice -> where it is padding, packed to bits."""

    def put(self, place: int, values: np.ndarray) -> None:
        """Set one slice; the first one that int16 cannot hold makes all of it float32."""
        if self.voxels.dtype == np.int16 and not _fits(values):
            self.voxels = self.voxels.astype(np.float32)
        self.voxels[place] = values

    def pictured(self, place: int) -> np.ndarray:
        """Where a slice is no padding: (rows, columns) bool."""
        shape = self.voxels.shape[1:3]
        if place not in self.padding:
            return np.ones(shape, bool)
        return ~np.unpackbits(self.padding[place], count=shape[0] * shape[1]).astype(bool).reshape(shape)


def _decode(frames: Sequence[Frame]) -> _Decoded:
    """Decode all frames, file by file."""
    header, grey = frames[0].header, frames[0].is_grey
    shape = (len(frames), int(header.Rows), int(header.Columns), *(() if grey else (3,)))
    if np.prod(shape, dtype=np.int64) > MAX_PIXELS:
        problem = f"its study has a series of {len(frames)} slices of {shape[1]} x {shape[2]} pixels"
        remedy = f"At most {MAX_PIXELS} values make a volume: leave the series out with [[images]], or reduce it"
        raise RefusedError(Reason.TOO_LARGE, problem, remedy)
    decoded = _Decoded(np.empty(shape, np.int16 if grey else np.float32))
    for frame, place, array, bits in _arrays(frames):
        try:
            with guarded("has a rescale, LUT or palette that cannot be applied", EXPORT):
                if grey:
                    _put_grey(decoded, place, frame, array)
                else:
                    decoded.put(place, show_colour(frame.instance.dataset, array, bits)[0])
        except RefusedError as refused:
            raise refused.of_file(frame.instance.where) from None
    if decoded.padding:
        _fill_padding(decoded, inverted=bool(why_inverted(header)))
    if decoded.rescales:
        decoded.remarks.append("rescaled slice by slice" if len(decoded.rescales) > 1 else decoded.rescales.pop())
    return decoded


def _arrays(frames: Sequence[Frame]) -> Iterator[tuple[Frame, int, np.ndarray, int]]:
    """Yield frame, place in the volume, stored values, Bits Stored; a file is let go when no more of it is wanted."""
    of_file: dict[str, list[int]] = {}
    for place, frame in enumerate(frames):
        of_file.setdefault(frame.instance.digest, []).append(place)
    for places in of_file.values():
        places.sort(key=lambda place: frames[place].index)
        instance = frames[places[0]].instance
        indices = [frames[place].index for place in places]
        arrays = decode(instance.dataset, indices, instance.encoded)
        for place in places:
            try:
                with guarded(UNDECODED, EXPORT):
                    array, bits = next(arrays)
            except RefusedError as refused:
                raise refused.of_file(instance.where) from None
            yield frames[place], place, array, bits
        instance.done(indices)


def _put_grey(decoded: _Decoded, place: int, frame: Frame, stored: np.ndarray) -> None:
    """Set one slice in the unit of its modality, and note where it is padding."""
    padding = padding_in(frame.header, stored)
    remarks: list[str] = []
    values = modality_values(frame.header, stored, remarks)
    decoded.rescales.update(remarks)
    if padding is not None:
        decoded.padding[place] = np.packbits(padding)
        values = np.where(padding, 0 if padding.all() else values[~padding].min(), values)
    if not (values.min() > -_LARGEST and values.max() < _LARGEST):
        raise RefusedError(Reason.CORRUPT, "has a rescale that is not a number", EXPORT)
    decoded.put(place, values)


def _fill_padding(decoded: _Decoded, inverted: bool) -> None:
    """Set padding to the lowest value of the picture, or to the highest if that is shown black."""
    ends = []
    for place, voxels in enumerate(decoded.voxels):
        values = voxels[decoded.pictured(place)]
        if values.size:
            ends.append(values.max() if inverted else values.min())
    if not ends:
        problem = "its study has a series of pixel padding and nothing else"
        raise RefusedError(Reason.CORRUPT, problem, EXPORT)
    ground = max(ends) if inverted else min(ends)
    for place in decoded.padding:
        decoded.voxels[place][~decoded.pictured(place)] = ground
    end = "highest" if inverted else "lowest"
    decoded.remarks.append(f"pixel padding set to the {end} value of the rest ({ground:g})")


def _fits(values: np.ndarray) -> bool:
    """Whether int16 holds every value exactly."""
    if values.dtype.kind == "f" and not (np.rint(values) == values).all():
        return False
    return bool(values.min() >= _SHORT.min and values.max() <= _SHORT.max)


def _asked(window: tuple[float, float]) -> str:
    return f"window {window[0]:g}/{window[1]:g} as cohort.toml says"


def _own_window(frames: Sequence[Frame]) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Return the first window that the slices state, and remarks; where they differ, the median of each number."""
    if not frames[0].is_grey:
        return None, ()
    windows, said = list[tuple[float, float]](), list[str]()
    for frame in frames:
        remarks: list[str] = []
        window = window_in(frame.header, remarks)
        said += [remark for remark in remarks if not said]
        if window is not None:
            windows.append(window[:2])
    if "VOILUTSequence" in frames[0].header:
        said.append("VOI LUT of a volume left out")
    if len(set(windows)) > 1:
        centre, width = (float(number) for number in np.median(windows, axis=0))
        return (centre, width), (f"VOI window differs from slice to slice: median {centre:g}/{width:g}",)
    return (windows[0] if windows else None), tuple(said)
