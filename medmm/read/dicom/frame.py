"""Frames: an object with one is a frame, an object with many is as many, and each has a header of its own."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from pydicom import Dataset

from medmm.errors import Reason
from medmm.read.dicom.geometry import Plane, make_plane
from medmm.read.dicom.header import codes, numbers
from medmm.read.dicom.instance import EXPORT, SENSELESS, Instance
from medmm.read.dicom.pixels import GREY, check_header, frames_in
from medmm.read.guard import RefusedError, guarded

_OF_THE_OBJECT = (
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "FloatPixelPaddingValue",
    "FrameOfReferenceUID",
    "ImageOrientationPatient",
    "ImageType",
    "ModalityLUTSequence",
    "PhotometricInterpretation",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PixelSpacing",
    "PresentationLUTShape",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SamplesPerPixel",
    "VOILUTFunction",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
)
"""What the header of one frame takes from its object, unless a functional group says otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame and what is known of it before it is decoded."""

    instance: Instance
    index: int
    """Its place in the object, counted from 0."""
    header: Dataset = field(repr=False)
    """What holds for this frame, as in an object with one: functional groups are laid flat."""
    plane: Plane | None
    """Where it lies in the patient; None where the header does not say."""

    @property
    def siblings(self) -> int:
        """How many frames its object has, itself included."""
        return frames_in(self.instance.dataset)

    @property
    def identity(self) -> str:
        """The file's digest, with the frame if the file has several."""
        return self.instance.digest if self.siblings == 1 else f"{self.instance.digest}:{self.index}"

    @property
    def is_grey(self) -> bool:
        """Whether it has one value a pixel, and no palette."""
        return self.header.PhotometricInterpretation in GREY


def frames_of(instance: Instance) -> list[Frame]:
    """Return the frames of an image object, in its own order.

    Raises:
        RefusedError: as check_header; CORRUPT if a functional group makes no sense.
    """
    with guarded(SENSELESS, EXPORT):
        dataset = instance.dataset
        check_header(dataset)
        if "PerFrameFunctionalGroupsSequence" in dataset or "SharedFunctionalGroupsSequence" in dataset:
            headers = list(_functional_groups(dataset))
        elif frames_in(dataset) > 1:
            headers = list(_legacy_headers(dataset))
        elif "DoseGridScaling" in dataset:
            headers = [_of_the_object(dataset)]
        else:
            headers = [dataset]
        return [Frame(instance, index, header, _plane(header)) for index, header in enumerate(headers)]


def _functional_groups(dataset: Dataset) -> Iterator[Dataset]:
    """Lay shared and per-frame functional groups flat (PS3.3 C.7.6.16): of each macro, the elements of its one item."""
    shared = _of_the_object(dataset)
    for group in dataset.get("SharedFunctionalGroupsSequence") or ():
        _lay_flat(group, shared)
    groups, frames = dataset.get("PerFrameFunctionalGroupsSequence") or (), frames_in(dataset)
    if groups and len(groups) < frames:
        raise RefusedError(Reason.CORRUPT, f"describes {len(groups)} of {frames} frames", EXPORT)
    for index in range(frames):
        header = Dataset()
        header.update(shared)
        if groups:
            _lay_flat(groups[index], header)
        yield header


def _lay_flat(group: Dataset, header: Dataset) -> None:
    """Write the elements of each macro into the header; private ones are no macros, whatever they repeat.

    A diffusion's direction is in an item of its macro (PS3.3 C.8.13.5.9).
    """
    for macro in group:
        if macro.VR == "SQ" and macro.value and not macro.tag.is_private:
            header.update(macro.value[0])
            for direction in macro.value[0].get("DiffusionGradientDirectionSequence") or ():
                header.update(direction)


def _legacy_headers(dataset: Dataset) -> Iterator[Dataset]:
    """Headers of frames without functional groups; NM and RT Dose say where each lies, other cines do not."""
    shared = _of_the_object(dataset)
    positions, times = _positions(dataset, shared), _time_slots(dataset)
    for index in range(frames_in(dataset)):
        header = Dataset()
        header.update(shared)
        if times:
            header.add_new("TemporalPositionIndex", "UL", times[index])
        if positions is not None:
            header.add_new("ImagePositionPatient", "DS", [float(number) for number in positions[index]])
        yield header


def _of_the_object(dataset: Dataset) -> Dataset:
    """Return what every frame of an object has in common, its dose scaling as a rescale (PS3.3 C.8.8.3)."""
    header = Dataset()
    for keyword in _OF_THE_OBJECT:
        if keyword in dataset:
            header[keyword] = dataset[keyword]
    if "DoseGridScaling" in dataset:
        header.add_new("RescaleSlope", "DS", dataset.DoseGridScaling)
        header.add_new("RescaleIntercept", "DS", 0)
        if "ImagePositionPatient" in dataset:
            header["ImagePositionPatient"] = dataset["ImagePositionPatient"]
    return header


def _positions(dataset: Dataset, header: Dataset) -> np.ndarray | None:
    """Where the frames of a dose grid or of reconstructed NM slices lie: (frames, 3) float64, or None.

    Dose (PS3.3 C.8.8.3.2): Grid Frame Offset Vector is along the normal if it begins with 0, else it is z itself.
    NM (PS3.3 C.8.4.15): the first slice has a position, the others follow along the normal; gated ones several times.
    """
    frames = frames_in(dataset)
    first, offsets, along_z = dataset, numbers(dataset, "GridFrameOffsetVector"), False
    if offsets:
        along_z = offsets[0] != 0
        offsets = [offset - offsets[0] for offset in offsets]
    elif dataset.get("DetectorInformationSequence") and is_reconstructed(dataset):
        first = dataset.DetectorInformationSequence[0]
        step = (numbers(dataset, "SpacingBetweenSlices") or numbers(dataset, "SliceThickness") or [0.0])[0]
        slices = numbers(dataset, "SliceVector")
        if not slices and "RECON TOMO" in codes(dataset, "ImageType"):
            slices = [float(index + 1) for index in range(frames)]
        offsets = [step * (number - 1) for number in slices]
    origin = numbers(first, "ImagePositionPatient")
    plane = make_plane(origin, numbers(first, "ImageOrientationPatient"), numbers(dataset, "PixelSpacing"))
    if plane is None or len(offsets) != frames:
        return None
    header["ImageOrientationPatient"] = first["ImageOrientationPatient"]
    direction = np.array([0.0, 0.0, 1.0]) if along_z else plane.normal
    return plane.position + np.outer(offsets, direction)


def _time_slots(dataset: Dataset) -> list[int] | None:
    """Number the times of gated NM slices, heartbeat by heartbeat (PS3.3 C.8.4.8); None of others."""
    slots, beats = numbers(dataset, "TimeSlotVector"), numbers(dataset, "RRIntervalVector")
    if not is_reconstructed(dataset) or len(slots) != frames_in(dataset):
        return None
    beats = beats if len(beats) == len(slots) else [1.0] * len(slots)
    return [int((beat - 1) * max(slots) + slot) for beat, slot in zip(beats, slots, strict=True)]


def is_reconstructed(dataset: Dataset) -> bool:
    """Whether an NM object holds slices, and not projections: Image Type (0008,0008) value 3, PS3.3 C.8.4.9."""
    return any(kind in ("RECON TOMO", "RECON GATED TOMO") for kind in codes(dataset, "ImageType"))


def _plane(header: Dataset) -> Plane | None:
    """Return where a frame lies, if it says so."""
    try:
        position, orientation = numbers(header, "ImagePositionPatient"), numbers(header, "ImageOrientationPatient")
        return make_plane(position, orientation, numbers(header, "PixelSpacing"))
    except ValueError:
        return None
