"""How long does it take to find 10,000 small studies in a flat folder, and how much memory?

python -m benchmarks.scan --studies 10000 --workers 2
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from medmm.read.sources.scan import scan

_MOST_S, _MOST_MIB = 60, 1024


def main() -> int:
    """Print the figures; 1 if it takes longer than a minute, or more than 1 GiB."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scan", description=__doc__)
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        size = _make(Path(made), arguments.studies)
        begin = time.perf_counter()
        with _peak() as peak:
            found = scan(Path(made), arguments.workers)
        seconds = time.perf_counter() - begin
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(
        f"{len(found.studies)} studies in {arguments.studies} files of {size >> 20} MiB, {arguments.workers} children"
    )
    print(f"time: {seconds:.1f} s, {1000 * seconds / arguments.studies:.2f} ms a study")
    print(f"memory at most, this process and its children together: {peak[0]:.0f} MiB")
    right = len(found.studies) == arguments.studies and seconds < _MOST_S and peak[0] < _MOST_MIB
    return 0 if right else 1


def _make(folder: Path, studies: int) -> int:
    """Write one film a study, 20 to 100 kB; return their size in bytes."""
    rng = np.random.default_rng(0)
    size = 0
    for number in range(studies):
        side = int(rng.integers(100, 224))
        path = folder / f"IM{number:06d}"
        _film(number, rng.integers(0, 4096, (side, side), dtype=np.uint16)).save_as(path, enforce_file_format=True)
        size += path.stat().st_size
    return size


def _film(number: int, pixels: np.ndarray) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    film.SOPClassUID = ComputedRadiographyImageStorage
    film.SOPInstanceUID = f"1.2.826.{number}.1.1"
    film.SeriesInstanceUID = f"1.2.826.{number}.1"
    film.StudyInstanceUID = f"1.2.826.{number}"
    film.PatientID = f"{number // 2}"
    film.StudyDate = "20260102"
    film.Modality = "CR"
    film.Rows, film.Columns = pixels.shape
    film.SamplesPerPixel = 1
    film.PhotometricInterpretation = "MONOCHROME2"
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 16, 12, 11, 0
    film.PixelData = pixels.tobytes()
    film["PixelData"].VR = "OW"
    return film


@contextmanager
def _peak() -> Iterator[list[float]]:
    """Watch the memory of this process and its children, in MiB, while the body runs; the list's only item."""
    most, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most[0] = max(most[0], sum(map(_resident, _family())))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()


def _family() -> list[int]:
    """This process and its children, from /proc (Linux)."""
    this = os.getpid()
    tasks = Path(f"/proc/{this}/task")
    children = [child for task in tasks.iterdir() for child in (task / "children").read_text().split()]
    return [this, *map(int, children)]


def _resident(process: int) -> float:
    """Resident memory in MiB; pages that processes share count for each."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
    except OSError:  # it has just ended
        return 0.0


if __name__ == "__main__":
    raise SystemExit(main())
