"""Every file of the pydicom and pydicom-data wheels: read to pydicom's own values, or refused with a code.

python -m benchmarks.real_files [--write docs/dicom_files.md]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.uid import ImplicitVRLittleEndian

from medmm.case import Image, Study, Volume
from medmm.errors import DataError
from medmm.read.pool import read_studies
from medmm.read.sources.source import Source

_TOLERANCE = 1e-5
"""Of a grey value in [0, 1], which is kept in float32."""


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one file."""

    package: str
    name: str
    kind: str
    """Transfer syntax and photometric interpretation, where pydicom can tell."""
    answer: str
    """'equal', 'DIFFERENT: ...', or a reason code."""
    why: str


def packages() -> dict[str, Path]:
    """Folder of the data files of each wheel that is installed."""
    folders = {"pydicom": Path(pydicom.__file__).parent / "data"}
    found = importlib.util.find_spec("data_store")
    if found is not None and found.submodule_search_locations:
        folders["pydicom-data"] = Path(next(iter(found.submodule_search_locations))) / "data"
    return folders


def rows(workers: int | None = None) -> Iterator[Row]:
    """Read every file of the packages, each as a study of its own, in the order of their names."""
    files = [
        (package, folder, path)
        for package, folder in packages().items()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".py", ".pyc") and path.name.upper() != "README.MD"
    ]
    jobs = ((path.name, Source(path)) for _, _, path in files)
    for (package, folder, path), (_, answer) in zip(files, read_studies(jobs, workers=workers), strict=True):
        name = path.relative_to(folder).as_posix()
        kind = _kind(path)
        if isinstance(answer, DataError):
            yield Row(package, name, kind, answer.code.value, answer.problem)
        else:
            yield Row(package, name, kind, _compared(path, answer), "")


def _kind(path: Path) -> str:
    """Say what a file is in the words of its header; empty if pydicom cannot tell."""
    try:
        header = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        syntax = header.file_meta.get("TransferSyntaxUID")
        photometric = str(header.get("PhotometricInterpretation", ""))
    except Exception:  # whatever a malformed file throws, it has no kind
        return ""
    return ", ".join(part for part in (syntax.name if syntax else "", photometric) if part)


def _compared(path: Path, study: Study) -> str:
    """Compare what medmm read of a file with pydicom's own decode of it."""
    if path.suffix.lower() in (".png", ".jpg"):
        return "equal"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, force=True)
            frames = _frames(dataset)
            if study.volumes:
                expected = [_modality(dataset, frame, number) for number, frame in enumerate(frames)]
                same = sorted(map(_print, expected)) == sorted(map(_print, _voxels(study.volumes)))
                return "equal" if same else "DIFFERENT: voxels"
            shown = [_shown(dataset, frame) for frame in frames]
        except Exception as problem:
            return f"DIFFERENT: pydicom itself fails with {type(problem).__name__}"
    return _same_images(shown, study.images)


def _frames(dataset: Dataset) -> list[np.ndarray]:
    """Decode with pydicom's defaults: each frame (rows, columns) integers, or (rows, columns, 3) RGB in [0, 1]."""
    if "TransferSyntaxUID" not in dataset.file_meta:  # a file without preamble, in the default of PS3.5 10.1
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    array = dataset.pixel_array
    frames = list(array) if int(dataset.get("NumberOfFrames") or 1) > 1 else [array]
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        top = 2 ** int(dataset.RedPaletteColorLookupTableDescriptor[2]) - 1
        return [np.asarray(apply_color_lut(frame, dataset)[..., :3] / np.float32(top)) for frame in frames]
    if dataset.SamplesPerPixel == 3:
        return [np.asarray(frame / np.float32(2 ** int(dataset.BitsStored) - 1)) for frame in frames]
    return frames


def _modality(dataset: Dataset, frame: np.ndarray, number: int) -> np.ndarray:
    """Stored values to modality values, by the frame's own functional group if it has one."""
    if frame.ndim == 3:
        return frame
    groups = [*dataset.get("SharedFunctionalGroupsSequence", [])]
    groups += [*dataset.get("PerFrameFunctionalGroupsSequence", [])][number : number + 1]
    for group in groups:
        for item in group.get("PixelValueTransformationSequence", []):
            return np.asarray(frame * np.float64(item.RescaleSlope) + np.float64(item.RescaleIntercept))
    if "DoseGridScaling" in dataset:
        return np.asarray(frame * float(dataset.DoseGridScaling))
    return np.asarray(apply_modality_lut(frame, dataset))


def _print(frame: np.ndarray) -> str:
    """A digest of the values, whatever type they are kept in."""
    return hashlib.sha256(np.ascontiguousarray(frame, dtype=np.float32).tobytes()).hexdigest()


def _voxels(volumes: tuple[Volume, ...]) -> list[np.ndarray]:
    """All slices of all volumes."""
    return [slice_ for volume in volumes for slice_ in volume.voxels]


def _shown(dataset: Dataset, frame: np.ndarray) -> np.ndarray:
    """What pydicom's own pipeline shows of one frame, scaled to [0, 1], 0 black.

    Where there is no window, or one in which every pixel looks the same, smallest to largest value.
    """
    if frame.ndim == 3:
        return frame
    values = apply_modality_lut(frame, dataset)
    spread = float(values.max()) - float(values.min())
    shown = (values.astype(np.float64) - float(values.min())) / (spread or 1)
    if dataset.get("VOILUTSequence") or dataset.get("WindowCenter") is not None:
        low, high = _range(dataset)
        windowed = (apply_voi_lut(values, dataset).astype(np.float64) - low) / (high - low)
        shown = windowed if np.ptp(windowed) > 0 or spread == 0 else shown
    inverse = dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE"
    return 1 - shown if inverse else shown


def _range(dataset: Dataset) -> tuple[float, float]:
    """The range to which pydicom maps what is inside the window, or the one of the VOI LUT."""
    if dataset.get("VOILUTSequence"):
        return 0, 2 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1
    bits = int(dataset.BitsStored)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dataset.PixelRepresentation else (0, 2**bits - 1)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    return low * slope + intercept, high * slope + intercept


def _same_images(expected: list[np.ndarray], images: tuple[Image, ...]) -> str:
    """Compare shown pictures one by one."""
    if len(expected) != len(images):
        return f"DIFFERENT: {len(images)} images of {len(expected)} frames"
    for one, image in zip(expected, images, strict=True):
        if any("stretched" in remark for remark in image.remarks):
            one = _stretched(one, image.rows, image.columns)
        if one.shape != image.pixels.shape:
            return f"DIFFERENT: shape {image.pixels.shape}, not {one.shape}"
        worst = float(np.abs(np.clip(one, 0, 1) - image.pixels).max())
        if worst > _TOLERANCE:
            return f"DIFFERENT: by up to {worst:.4f}"
    return "equal"


def _stretched(frame: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Linear interpolation between the centres of the pixels, along each axis."""
    for axis, size in ((0, rows), (1, columns)):
        at = (np.arange(size) + 0.5) * frame.shape[axis] / size - 0.5
        known = np.arange(frame.shape[axis])
        lines = np.moveaxis(frame, axis, -1).reshape(-1, frame.shape[axis])
        drawn = np.stack([np.interp(at, known, line) for line in lines])
        frame = np.moveaxis(drawn.reshape(*np.moveaxis(frame, axis, -1).shape[:-1], size), -1, axis)
    return frame


_INTRODUCTION = """# Real DICOM files, one by one

Every file of the wheels `pydicom` and `pydicom-data`, each read as a study of its own and compared with pydicom's own
decode: shown pictures in [0, 1] to 1e-5, voxels exactly. Of JPEG Lossless and JPEG Extended pydicom has no decoder of
its own here: its pipeline runs on the codec that medmm gives it, so those 6 files check all but the codec. Made by
`python -m benchmarks.real_files --write docs/dicom_files.md`; `tests/test_real_files.py` makes it again and compares.

"""


def table(found: list[Row]) -> str:
    """The table of the documentation: what is refused file by file, what is read by kind."""
    lines = [
        f"pydicom {version('pydicom')}: {sum(r.package == 'pydicom' for r in found)} files; "
        f"pydicom-data {version('pydicom-data')}: {sum(r.package == 'pydicom-data' for r in found)} files.",
        "",
        "| answer | files | transfer syntax, photometric interpretation |",
        "|---|---|---|",
    ]
    read: dict[str, int] = defaultdict(int)
    for row in found:
        if row.answer == "equal":
            read[row.kind] += 1
    lines += [f"| read, equal | {count} | {kind} |" for kind, count in sorted(read.items())]
    lines += ["", "| refused with | why | files |", "|---|---|---|"]
    refused: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in found:
        if row.answer != "equal":
            refused[row.answer, row.why].append(row.name)
    for (answer, why), names in sorted(refused.items()):
        lines.append(f"| {answer} | {why} | {_shortened(names)} |")
    return "\n".join(lines) + "\n"


def _shortened(names: list[str]) -> str:
    """Names of files without their folders; a long list by its first ones."""
    short = sorted({Path(name).name for name in names})
    shown = ", ".join(f"`{name}`" for name in short[:8])
    return shown + (f" and {len(short) - 8} more" if len(short) > 8 else "")


def main() -> int:
    """Print or write the table; 1 if a file reads to other values than pydicom's."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_files", description=__doc__)
    parser.add_argument("--write", type=Path, help="file of the documentation to write the table to")
    arguments = parser.parse_args()
    found = list(rows())
    text = table(found)
    if arguments.write:
        arguments.write.write_text(_INTRODUCTION + text, encoding="utf-8")
    print(text)
    return int(any(row.answer.startswith("DIFFERENT") for row in found))


if __name__ == "__main__":
    raise SystemExit(main())
