"""A made-up patient whose every identifying attribute is unique, so that each is recognised wherever it turns up."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont, PngImagePlugin
from pydicom import DataElement, Dataset, Sequence
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import FileDataset
from pydicom.tag import Tag
from pydicom.uid import UID, BasicTextSRStorage

from medmm.privacy.header import profile
from tests.dicom_files import make_dicom

MARK = "QXCNRY"
"""In every canary that has room for it, in one spelling or another."""
BORN = "19010203"
BURNED_IN = "DOE JANE 12.03.1901"


def film(rows: int = 200, columns: int = 240, text: str = "", size: int = 24) -> np.ndarray:
    """(rows, columns) uint16 of 12 bits: a soft shade, with words burned in where asked."""
    down, across = np.mgrid[:rows, :columns]
    shade = 900 + 500 * np.sin(down / rows * 3) * np.cos(across / columns * 2)
    picture = PIL.Image.fromarray(shade.astype(np.int32), "I")
    if text:
        ImageDraw.Draw(picture).text((8, 8), text, fill=4000, font=ImageFont.load_default(size))
    return np.asarray(picture).astype("<u2")


def canary(kind: str, number: int) -> Any:
    """A value of a value representation (PS3.5 6.2) that no other element has."""
    day = date(1911, 1, 1) + timedelta(days=number)
    values: dict[str, Any] = {
        "PN": f"{MARK}{number:04d}^{MARK}{number:04d}G",
        "UI": f"1.2.826.9.{7_000_000 + number}.5",
        "DA": day.strftime("%Y%m%d"),
        "DT": day.strftime("%Y%m%d101112"),
        "TM": f"101112.{700_000 + number}",
        "AS": f"{number % 900 + 100:03d}D",
        "UR": f"http://{MARK}{number:04d}.example",
        "DS": str(81_000_000 + number),
        "IS": str(81_000_000 + number),
        "US": 40_000 + number,
        "AT": Tag(0x0010, 0x0010),
        "SQ": [item(number)],
    }
    if kind in ("OB", "UN", "OW"):
        return f"{MARK}{number:04d}XX".encode()
    if kind in ("SS", "SL", "UL", "FL", "FD"):
        return 30_000 + number
    return values.get(kind, f"{MARK}{number:04d}")


def item(number: int) -> Dataset:
    """An item of a sequence: a name, a comment and a private element."""
    inner = Dataset()
    inner.PatientName, inner.ImageComments = f"{MARK}N{number:04d}", f"{MARK}C{number:04d}"
    inner.private_block(0x0011, f"{MARK}P{number:04d}", create=True).add_new(1, "LO", f"{MARK}Q{number:04d}")
    return inner


def identifying(dataset: Dataset, first: int = 0) -> dict[int, str]:
    """Put a canary into every attribute of Table E.1-1 and return tag -> VR; what makes the file an image stays."""
    kinds: dict[int, str] = {}
    for number, tag in enumerate(sorted(profile()), start=first):
        if tag >> 16 < 8 or tag >> 16 == 0xFFFC:
            continue
        kind = dictionary_VR(tag).split(" ")[0] if dictionary_has_tag(tag) else "LO"
        dataset.add(DataElement(tag, kind, canary(kind, number)))
        kinds[tag] = kind
    for tag, kind in ((0x50000010, "US"), (0x50003000, "OW"), (0x60003000, "OW"), (0x60004000, "LT")):
        dataset.add(DataElement(tag, kind, canary(kind, first + 900)))
    block = dataset.private_block(0x0009, f"{MARK} INC", create=True)
    block.add_new(1, "LO", f"{MARK}PRIVATE")
    block.add_new(2, "SQ", [item(first + 901)])
    block.add_new(3, "UN", f"{MARK}UNKNOWN!".encode())
    return kinds


def identified_film(pixels: np.ndarray, first: int = 0, **elements: Any) -> FileDataset:
    """A film with a canary everywhere: all attributes, nested ones, file meta group and preamble."""
    dataset = make_dicom(pixels, ViewPosition="PA", **elements)
    kept = {name: dataset.get(name) for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", *elements)}
    identifying(dataset, first)
    nested = Dataset()
    identifying(nested, first + 1000)
    dataset.AnatomicRegionSequence = Sequence([nested])
    for keyword, value in kept.items():
        setattr(dataset, keyword, value)
    dataset.PatientBirthDate = BORN
    dataset.preamble = f"{MARK}PREAMBLE".encode().ljust(128, b"\0")
    dataset.file_meta.SourceApplicationEntityTitle = f"{MARK}AE"
    dataset.file_meta.ImplementationVersionName = f"{MARK}IMPL"
    dataset.file_meta.PrivateInformationCreatorUID = UID("1.2.826.9.1")
    dataset.file_meta.PrivateInformation = f"{MARK}META".encode()
    return dataset


def report(**elements: Any) -> FileDataset:
    """A structured report that says a name."""
    dataset = make_dicom(None, SOPClassUID=BasicTextSRStorage, Modality="SR", **elements)
    line = Dataset()
    line.ValueType, line.TextValue = "TEXT", f"seen with {MARK}SR"
    dataset.ContentSequence = Sequence([line])
    return dataset


def write_photograph(path: Path, text: str = "") -> Path:
    """A colour PNG with a name in a text chunk, and words in its pixels where asked."""
    grey = (film(text=text, size=28) // 16).astype(np.uint8)
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", f"{MARK} photographed", zip=False)
    PIL.Image.fromarray(np.stack([grey, grey // 2, 255 - grey], axis=2)).save(path, pnginfo=notes)
    return path
