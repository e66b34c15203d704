"""Files that are broken on purpose: seeded mutations of real files, and bombs. Each must be answered, quickly.

python -m benchmarks.robustness --mutations 2000 --seed 0
"""

from __future__ import annotations

import argparse
import io
import random
import resource
import struct
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid

from benchmarks.real_files import packages
from medmm.errors import DataError, Reason
from medmm.read.dicom.study import read_study
from medmm.read.pool import in_children
from medmm.read.sources.source import Source

MOST_SECONDS = 5.0
MOST_GROWTH = 200 << 20
_LARGEST = 2 << 20
"""Real files larger than this are not mutated: 2,000 of them would take an hour to write."""
_SHAPE = ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "BitsAllocated", "BitsStored", "PixelRepresentation")


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of one file."""

    name: str
    code: str
    seconds: float
    child_bytes: int
    """The most memory that the child had taken by then."""


def mutations(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of files that were real once; the same seed gives the same bytes."""
    files = [
        path
        for folder in packages().values()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".py", ".pyc") and 132 < path.stat().st_size <= _LARGEST
    ]
    rng = random.Random(seed)
    kinds: tuple[Callable[[bytes, random.Random], bytes], ...] = (_flipped, _cut, _zeroed, _repeated, _reshaped)
    for number in range(count):
        path, mutate = rng.choice(files), rng.choice(kinds)
        yield f"{number:05d}{mutate.__name__}-{path.name}", mutate(path.read_bytes(), rng)


def _flipped(content: bytes, rng: random.Random) -> bytes:
    """A few bytes anywhere are something else."""
    broken = bytearray(content)
    for _ in range(rng.choice((1, 4, 32))):
        broken[rng.randrange(len(broken))] = rng.randrange(256)
    return bytes(broken)


def _cut(content: bytes, rng: random.Random) -> bytes:
    """The end is missing."""
    return content[: rng.randrange(len(content))]


def _zeroed(content: bytes, rng: random.Random) -> bytes:
    """A block is zeros."""
    start = rng.randrange(len(content))
    size = min(rng.randrange(1, 4096), len(content) - start)
    return content[:start] + bytes(size) + content[start + size :]


def _repeated(content: bytes, rng: random.Random) -> bytes:
    """A block is there twice."""
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.randrange(1, 4096))
    return content[:end] + content[start:]


def _reshaped(content: bytes, rng: random.Random) -> bytes:
    """An element that says what shape the pixels have says something else."""
    try:
        dataset = pydicom.dcmread(io.BytesIO(content), force=True)
        with pydicom.config.disable_value_validation():
            setattr(dataset, rng.choice(_SHAPE), rng.choice((0, 1, 3, 7, 8, 16, 255, 4096, 65535)))
            out = io.BytesIO()
            dataset.save_as(out, enforce_file_format=False)
        return out.getvalue()
    except Exception:  # some real files are malformed already, and cannot be written again
        return _flipped(content, rng)


def bombs() -> dict[str, bytes]:
    """Name -> content of files that are made to do harm."""
    return {
        "wide.dcm": _dicom(bytes(100), Rows=65535, Columns=65535),
        "frames.dcm": _dicom(bytes(100), Rows=64, Columns=64, NumberOfFrames=str(2**31)),
        "wide-compressed.dcm": _compressed_bomb(),
        "deflate.dcm": _deflate_bomb(),
        "nested.dcm": _nested(5_000),
        "uid.dcm": _dicom(bytes(64 * 64 * 2), Rows=64, Columns=64, traversing=True),
        "outside.zip": _zip({"../../outside.dcm": _dicom(bytes(64 * 64 * 2), Rows=64, Columns=64)}),
        "giant.zip": _giant_zip(),
        "length.dcm": _dicom(bytes(100), Rows=8, Columns=8)[:-104] + struct.pack("<L", 0xFFFFFFF0) + bytes(100),
        "nothing.dcm": b"",
        "noise.dcm": random.Random(0).randbytes(100_000),
    }


def _dataset(*, traversing: bool = False, **elements: object) -> FileDataset:
    """A CT slice with the given shape."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=["bomb"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.PatientID = "CT", "bomb"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    with pydicom.config.disable_value_validation():
        outside = "../../outside"
        dataset.StudyInstanceUID = outside if traversing else generate_uid(entropy_srcs=["study"])
        dataset.SeriesInstanceUID = outside if traversing else generate_uid(entropy_srcs=["series"])
        if traversing:
            dataset.SOPInstanceUID = outside
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
    return dataset


def _written(dataset: FileDataset) -> bytes:
    """The bytes of a file."""
    out = io.BytesIO()
    with pydicom.config.disable_value_validation():
        dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _dicom(pixels: bytes, *, traversing: bool = False, **elements: object) -> bytes:
    """A file whose header may promise more than its pixels hold."""
    dataset = _dataset(traversing=traversing, **elements)
    dataset.PixelData = pixels
    dataset["PixelData"].VR = "OW"
    return _written(dataset)


def _compressed_bomb() -> bytes:
    """A JPEG 2000 codestream that declares 65535 x 65535, in 100 bytes."""
    size = struct.pack(">HHHLLLLLLLLH", 0xFF51, 41, 0, 65535, 65535, 0, 0, 65535, 65535, 0, 0, 1) + b"\x07\x01\x01"
    dataset = _dataset(Rows=65535, Columns=65535)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f" + size + bytes(50)])
    dataset["PixelData"].VR = "OB"
    return _written(dataset)


def _deflate_bomb() -> bytes:
    """A deflated file that inflates a thousandfold, to 2 GiB."""
    head = _written(_dataset(Rows=64, Columns=64))
    meta = pydicom.dcmread(io.BytesIO(head)).file_meta
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    out = DicomBytesIO()
    out.write(bytes(128) + b"DICM")
    pydicom.filewriter.write_file_meta_info(out, meta)
    out.write(_deflated_zeros(struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 2**31), 2**31))
    return out.getvalue()


def _deflated_zeros(head: bytes, count: int) -> bytes:
    """A raw deflate stream of `head` and `count` zeros, made of one block that is repeated."""
    start = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = start.compress(head) + start.flush(zlib.Z_FULL_FLUSH)
    block = start.compress(bytes(2**24)) + start.flush(zlib.Z_FULL_FLUSH)
    return first + block * (count >> 24) + start.flush()


def _nested(depth: int) -> bytes:
    """Sequences in sequences, with undefined lengths, `depth` levels down."""
    head = _written(_dataset(Rows=64, Columns=64))
    open_ = struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return head + open_ * depth


def _zip(members: dict[str, bytes]) -> bytes:
    """An archive with members of any name."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def _giant_zip() -> bytes:
    """An archive with one member that inflates to 4 GiB, and says so: its records by hand, PKWARE APPNOTE 4.3."""
    name, size = b"study/1.dcm", 2**32
    data = _deflated_zeros(b"", size)
    sizes = struct.pack("<HHQQ", 1, 16, size, len(data))  # ZIP64 extended information
    common = struct.pack("<HHHHHLLLHH", 45, 0, zipfile.ZIP_DEFLATED, 0, 33, 0, 2**32 - 1, 2**32 - 1, len(name), 20)
    local = b"PK\3\4" + common + name + sizes + data
    central = b"PK\1\2" + struct.pack("<H", 45) + common + struct.pack("<HHHLL", 0, 0, 0, 0, 0) + name + sizes
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + end


def read_and_measure(source: Source, case_id: str) -> tuple[str, float, int]:
    """Runs in the child: read one study; return its code, the seconds it took, and the most memory taken so far."""
    start = time.monotonic()
    try:
        read_study(source, case_id)
        code = "read"
    except DataError as problem:
        code = problem.code.value
    return code, time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def answered(folder: Path, workers: int | None = None) -> Iterator[Answered]:
    """Read every file of a folder as a study of its own."""
    paths = sorted(folder.iterdir())
    jobs = ((path.name, (Source(path), path.name)) for path in paths)
    for name, answer in in_children(read_and_measure, jobs, workers, timeout_s=MOST_SECONDS):
        if isinstance(answer, DataError):  # the child did not live to tell
            yield Answered(name, answer.code.value, float("nan"), 0)
        else:
            yield Answered(name, *answer)


def main() -> int:
    """Break files, read them, and report; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness", description=__doc__)
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in mutations(arguments.seed, arguments.mutations):
            (folder / file).write_bytes(content)
        for file, content in bombs().items():
            (folder / f"bomb-{file}").write_bytes(content)
        before = {path.name for path in folder.iterdir()}
        parent = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        found = list(answered(folder))
        growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - parent
        written = {path.name for path in folder.iterdir()} - before
    return _report(found, len(before), growth, written)


def _report(found: list[Answered], files: int, growth: int, written: set[str]) -> int:
    """Print what came of it."""
    for code, count in Counter(one.code for one in found).most_common():
        print(f"{code:15s} {count}")
    for one in found:
        if one.name.startswith("bomb-"):
            print(f"{one.name:24s} {one.code:12s} {one.seconds:.2f} s")
    slowest = max((one for one in found if one.child_bytes), key=lambda one: one.seconds)
    child = max(one.child_bytes for one in found) >> 20
    print(f"answered {len(found)} of {files}; slowest {slowest.seconds:.2f} s ({slowest.name})")
    print(f"parent grew by {growth >> 20} MB; largest child {child} MB; files written beside: {len(written)}")
    late = [one.name for one in found if one.code == Reason.TIMEOUT]
    print(f"not answered within {MOST_SECONDS:g} s: {len(late)} {late[:10]}")
    return 0 if len(found) == files and not late and growth < MOST_GROWTH and not written else 1


if __name__ == "__main__":
    raise SystemExit(main())
