"""Which frames of a study belong together: films by themselves, slices in stacks, the frames of a cine.

Nothing here goes by the names of files, and nothing in a stack by the number of its instances.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np

from medmm.read.dicom.frame import Frame, frames_of, is_reconstructed
from medmm.read.dicom.geometry import SAME_PLACE_MM, Plane, offsets_of
from medmm.read.dicom.header import codes, number, sop_class
from medmm.read.dicom.instance import EXPORT, SENSELESS, Instance
from medmm.read.guard import RefusedError, guarded
from medmm.read.remark import concern

SLICED = ("CT", "MR", "PT")
"""Modalities (0008,0060) whose single frames are slices even if they do not say where."""
PROJECTED = ("CR", "DX", "MG", "PX", "IO", "RG", "RF", "XA", "XC", "ES", "GM", "OP", "RTIMAGE")
"""Modalities whose single frames are pictures by themselves, wherever they say that they lie."""
Key = tuple[tuple[float, str], ...]
"""Values of some elements, numbers as numbers and before text, so that keys can be sorted."""
APART: dict[str, tuple[str, ...]] = {
    "acquisition": ("AcquisitionNumber", "FrameAcquisitionNumber"),
    "time position": ("TemporalPositionIdentifier", "TemporalPositionIndex"),
    "echo": ("EchoNumbers", "EffectiveEchoTime"),
    "b-value": ("DiffusionBValue",),
    "diffusion direction": ("DiffusionGradientOrientation", "DiffusionDirectionality"),
    "inversion time": ("InversionTime", "InversionTimes"),
    "cardiac phase": ("NominalPercentageOfCardiacPhase",),
    "kind of image": ("ImageType", "FrameType", "ComplexImageComponent"),
}
"""What may differ between slices at one position, in the order in which it is tried: its name, and its elements."""
_NO_PLACE = concern("reconstructed slices do not say where they lie: read as frames, without affine")
_CLOCKS = ("TriggerTime", "FrameAcquisitionDateTime", "AcquisitionTime", "ContentTime")
_BESIDE_MM = 5.0
"""Slices that lie farther apart in their own plane lie beside one another."""
_STEEPEST = 0.6
"""So many mm in the plane for each along the normal may be a gantry's tilt, of 31 degrees."""
_NAMED = 3
"""So many doubled positions are named one by one; of the others their number."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What becomes one Image, if it has one frame, or one Volume."""

    frames: tuple[Frame, ...]
    """In the order of slices or of time."""
    remarks: tuple[str, ...] = ()
    """What was found when they were put in order."""
    is_localizer: bool = False
    """Whether it is a scout, taken to plan the stack: ImageType (0008,0008) value 3."""

    @property
    def is_stack(self) -> bool:
        """Whether it is several slices that lie somewhere in the patient."""
        return len(self.frames) > 1 and self.frames[0].plane is not None


def parts_of(instances: Sequence[Instance]) -> list[Part]:
    """Sort the images of one series into parts: stacks by where they lie first, then films by number.

    Slices make a stack if they are turned alike, have pixels of one size in a grid of one size, and share their frame
    of reference. Several at each position are told apart by what differs between them there: acquisition, time, echo,
    diffusion, kind of image.

    Raises:
        RefusedError: as frames_of.
    """
    slices: list[Frame] = []
    others: list[Part] = []
    for instance in sorted(instances, key=lambda instance: instance.place):
        try:
            with guarded(SENSELESS, EXPORT):
                frames = frames_of(instance)
                if _are_slices(frames):
                    slices += frames
                else:
                    remarks = (_NO_PLACE,) if len(frames) > 1 and is_reconstructed(instance.dataset) else ()
                    others.append(Part(tuple(frames), remarks, is_localizer=_is_localizer(frames[0])))
        except RefusedError as refused:
            raise refused.of_file(instance.where) from None
    try:
        with guarded(SENSELESS, EXPORT):
            return [*_parts_of_slices(slices), *others]
    except RefusedError as refused:
        raise refused.of_file("a series of its study") from None


def _are_slices(frames: list[Frame]) -> bool:
    """Whether frames are to be put into stacks: they say where they lie, or are a slice of a kind that should."""
    placed = all(frame.plane is not None for frame in frames)
    if len(frames) > 1:
        return placed
    modality = frames[0].instance.modality
    if modality in PROJECTED or "MOSAIC" in codes(frames[0].header, "ImageType"):
        return False
    kind = sop_class(frames[0].instance.dataset).name
    return placed or (modality in SLICED and "Secondary Capture" not in kind and frames[0].is_grey)


def _parts_of_slices(slices: list[Frame]) -> list[Part]:
    """Return scouts one by one, placed slices in stacks, and slices without a place in the order of their numbers."""
    scouts = [frame for frame in slices if _is_localizer(frame)]
    real = [frame for frame in slices if not _is_localizer(frame)]
    placed = [part for stack in _stacks(real) for part in _phases(stack)]
    lost = [_unplaced(group) for group in _alike([frame for frame in real if frame.plane is None])]
    return [*placed, *lost, *(Part((frame,), is_localizer=True) for frame in scouts)]


def _is_localizer(frame: Frame) -> bool:
    kinds = codes(frame.header, "ImageType") + codes(frame.header, "FrameType")
    return any("LOCALIZER" in kind.upper() for kind in kinds)


def _shape(frame: Frame) -> tuple[object, ...]:
    """What the slices of a stack have in common, besides where they lie."""
    header = frame.header
    words = ("FrameOfReferenceUID", "StackID")
    colour = frame.header.PhotometricInterpretation if frame.is_grey else "colour"
    return (
        int(header.Rows),
        int(header.Columns),
        str(colour),
        frame.instance.modality,
        *("\\".join(codes(header, word)) for word in words),
    )


def _alike(frames: list[Frame]) -> list[list[Frame]]:
    """Group frames by their shape."""
    groups: dict[tuple[object, ...], list[Frame]] = {}
    for frame in frames:
        groups.setdefault(_shape(frame), []).append(frame)
    return [groups[shape] for shape in sorted(groups, key=str)]


def _unplaced(frames: list[Frame]) -> Part:
    """Return slices that do not say where they lie, in the order of their instances."""
    order = concern("slices do not say where they lie: ordered by instance number, without affine")
    return Part(tuple(frames), (order,) if len(frames) > 1 else ())


def _stacks(frames: list[Frame]) -> list[list[Frame]]:
    """Group placed slices that are parallel; each stack ascends along its normal."""
    stacks: list[list[Frame]] = []
    for group in _alike([frame for frame in frames if frame.plane is not None]):
        own: list[list[Frame]] = []
        for frame in sorted(group, key=_place_key):
            home = next((stack for stack in own if _plane(stack[0]).is_parallel(_plane(frame))), None)
            if home is None:
                own.append([frame])
            else:
                home.append(frame)
        stacks += [_ascending(stack) for stack in own]
    return stacks


def _plane(frame: Frame) -> Plane:
    """Where a placed frame lies."""
    if frame.plane is None:
        raise ValueError("the frame does not say where it lies")
    return frame.plane


def _place_key(frame: Frame) -> tuple[object, ...]:
    """Sort by where a slice lies, and by its identity where two lie at one place: by nothing that says nothing."""
    plane = _plane(frame)
    return (
        tuple(np.round(plane.orientation, 3).ravel() + 0.0),
        tuple(plane.position),
        *_first(frame),
    )


def _ascending(stack: list[Frame]) -> list[Frame]:
    offsets = offsets_of([_plane(frame) for frame in stack])
    return [stack[place] for place in np.argsort(offsets, kind="stable")]


def _phases(stack: list[Frame]) -> list[Part]:
    """Split a stack with several slices at a position, so that each phase has one there."""
    groups = _by_position(stack)
    if len(groups) == len(stack):
        return [Part(tuple(stack), _alternation(stack))]
    sides = _sides(stack)
    if len(sides) > 1 and _is_even(sides):
        return [part for side in sides for part in _phases(side)]
    if len(groups) == 1:
        return [_in_time(stack)]
    telling = [way for way in APART if any(len({_key(frame, [way]) for frame in group}) > 1 for group in groups)]
    telling = [way for way in telling if _overlap(_split(stack, lambda frame, way=way: _key(frame, [way])))]  # type: ignore[misc]
    for ways in (*([way] for way in telling), telling):
        phases = _split(stack, lambda frame, ways=ways: _key(frame, ways))  # type: ignore[misc]
        if _are_phases(phases) and all(len(_by_position(phase)) == len(phase) for phase in phases):
            return _named(phases, " and ".join(ways))
    if (by_clock := _by_clock(groups)) is not None:
        return _named(by_clock, "time")
    phases = _split(stack, lambda frame: _key(frame, telling))
    if not _are_phases(phases):
        return [_without_doubles(stack)]
    doubles = [_without_doubles(phase) for phase in phases]
    named = _named(phases, " and ".join(telling))
    return [Part(part.frames, (*name.remarks, *part.remarks)) for part, name in zip(doubles, named, strict=True)]


def _sides(stack: list[Frame]) -> list[list[Frame]]:
    """Split what lies beside one another in the plane of the slices: two hands do, two echoes do not.

    Each side is followed from slice to slice, since slices of a tilted gantry lie ever farther aslant.
    """
    offsets = offsets_of([_plane(frame) for frame in stack])
    sides: list[list[Frame]] = []
    last: list[np.ndarray] = []
    for frame, offset in zip(stack, offsets, strict=True):
        at = np.array([*(_plane(frame).orientation @ _plane(frame).position), offset])
        steps = np.abs(np.array(last).reshape(-1, 3) - at)
        away = steps[:, :2].max(axis=1)
        nearest = int(away.argmin()) if last else -1
        if last and away[nearest] < _BESIDE_MM + _STEEPEST * steps[nearest, 2]:
            sides[nearest].append(frame)
            last[nearest] = at
        else:
            sides.append([frame])
            last.append(at)
    return sides


def _in_time(frames: list[Frame]) -> Part:
    """Return slices that all lie at one place as a cine: it has no extent, so it has no affine."""
    ordered = sorted(frames, key=lambda frame: (_key(frame, list(APART)), _times(frame), *_first(frame)))
    remark = f"{len(frames)} images at one position, read as frames in time"
    return Part(tuple(replace(frame, plane=None) for frame in ordered), (remark,))


def _times(frame: Frame) -> tuple[float, ...]:
    """When a frame was taken, by every clock there is."""
    return tuple(number(frame.header, clock) for clock in _CLOCKS)


def _by_position(stack: list[Frame]) -> list[list[Frame]]:
    """Group ascending slices that lie at one place along the normal."""
    offsets = offsets_of([_plane(frame) for frame in stack])
    jumps = np.flatnonzero(np.diff(offsets) > SAME_PLACE_MM) + 1
    return [[stack[place] for place in group] for group in np.split(np.arange(len(stack)), jumps)]


def _split(stack: list[Frame], key: Callable[[Frame], Key]) -> list[list[Frame]]:
    """Split by a key, sorted by it; the order within stays."""
    ordered = sorted(((key(frame), place, frame) for place, frame in enumerate(stack)), key=lambda row: row[:2])
    return [[frame for _, _, frame in group] for _, group in groupby(ordered, key=lambda row: row[0])]


def _is_even(phases: list[list[Frame]]) -> bool:
    """Whether phases, or sides, are as large as one another or at least several slices: one taken twice is none."""
    sizes = {len(phase) for phase in phases}
    return len(sizes) == 1 or min(sizes) > 1


def _are_phases(phases: list[list[Frame]]) -> bool:
    """Whether a split made phases: several, none of them a slice that was taken twice, and one over the other."""
    return len(phases) > 1 and _is_even(phases) and _overlap(phases)


def _overlap(phases: list[list[Frame]]) -> bool:
    """Whether each phase has another over most of the shorter one's length; stretches of one scan share their ends."""
    normal = _plane(phases[0][0]).normal
    ends = [(min(places), max(places)) for places in ([_plane(one).position @ normal for one in own] for own in phases)]
    return all(
        any(
            2 * (min(high, other_high) - max(low, other_low)) > min(high - low, other_high - other_low)
            for other, (other_low, other_high) in enumerate(ends)
            if other != place
        )
        for place, (low, high) in enumerate(ends)
    )


def _alternation(stack: list[Frame]) -> tuple[str, ...]:
    """Say that slices of few acquisitions, times or echoes take turns, rather than follow one another."""
    for way in ("acquisition", "time position", "echo"):
        keys = [_key(frame, [way]) for frame in stack]
        turns = sum(one != other for one, other in pairwise(keys))
        if 1 < len(set(keys)) <= len(keys) / 2 and turns > len(set(keys)) - 1 and 2 * turns >= len(keys) - 1:
            return (concern("slices of several acquisitions, times or echoes alternate in one stack"),)
    return ()


def _key(frame: Frame, ways: Sequence[str]) -> Key:
    """Values of all elements by which the ways tell slices apart."""
    return tuple(
        (number(frame.header, keyword), "\\".join(codes(frame.header, keyword)))
        for way in ways
        for keyword in APART[way]
    )


def _by_clock(groups: list[list[Frame]]) -> list[list[Frame]] | None:
    """Phases by the order in time at each position; None unless every position was taken equally often, at times."""
    if len({len(group) for group in groups}) > 1:
        return None
    ranked = []
    for group in groups:
        times = [_times(frame) for frame in group]
        if len(set(times)) < len(times):
            return None
        ranked.append([group[place] for place in sorted(range(len(group)), key=lambda place: times[place])])
    return [list(phase) for phase in zip(*ranked, strict=True)]


def _named(phases: list[list[Frame]], way: str) -> list[Part]:
    """Parts that say which phase they are."""
    return [
        Part(tuple(phase), (f"phase {place} of {len(phases)} at the same positions, told apart by {way}",))
        for place, phase in enumerate(phases, start=1)
    ]


def _without_doubles(stack: list[Frame]) -> Part:
    """Keep one slice at each position, by a rule that does not hang on names or numbers, and say so."""
    groups = _by_position(stack)
    doubled = [place for place, group in enumerate(groups) if len(group) > 1]
    remarks = []
    for place in doubled[:_NAMED]:
        times = {number(frame.header, "AcquisitionTime") for frame in groups[place]}
        why = "the one acquired first" if len(times) == len(groups[place]) else "the one with the lowest UID"
        count = len(groups[place])
        remarks.append(concern(f"{count} images at the position of slice {place + 1} of {len(groups)}: {why} was kept"))
    if len(doubled) > _NAMED:
        remarks.append(concern(f"several images at {len(doubled) - _NAMED} more positions: one of each was kept"))
    kept = [min(group, key=_first) for group in groups]
    return Part(tuple(kept), (*remarks, *_alternation(kept)))


def _first(frame: Frame) -> tuple[float, str, int]:
    return number(frame.header, "AcquisitionTime"), frame.instance.uid, frame.index
