"""Scored cases with real DICOM files behind them, and what dciodvfy says of the objects that are made of them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from medmm.case import Study
from medmm.placement import Placement
from medmm.read.dicom.study import read_study
from medmm.read.sources.source import Source
from medmm.result import Film, Origin, Overlay, Review, ScoredCase
from medmm.write.dicom.study import write_dicom
from medmm.write.picture import write_picture
from tests.scored import MODEL, scored_case

AT = datetime(2025, 3, 4, 2, 30, 15, 250000, tzinfo=UTC)
"""When the cases were scored."""
KNOWN_WARNINGS = (
    "Unrecognized defined term = <99MEDMM>",  # a private scheme, as PS3.16 8.2 wants it
    "Unrecognized defined term = <QUANTITY>",  # in PS3.3 C.8.32.2 since 2017, unknown to this dciodvfy
    "Missing attribute or value that would be needed to build DICOMDIR",  # the study does not state it either
    "</Laterality(0020,0060)> - is only permitted to be empty when actually unknown",
)
"""What dciodvfy warns of and is right as it is."""


def read_case(case_id: str, folder: Path, films: Path, prior: Path | None = None) -> ScoredCase:
    """A case with the images of a folder, and of a prior study; their pictures are written to `films`."""
    study = read_study(Source(folder), case_id)
    earlier = None if prior is None else read_study(Source(prior), case_id)
    shown = _films(study, films, False) + ([] if earlier is None else _films(earlier, films, True))
    made = scored_case(case_id, views=["PA"] * len(shown))
    places = [placement for _, placement in shown]
    explanations = tuple(
        replace(one, overlays=tuple(map(_laid, one.overlays, places))) for one in made.evidence.explanations
    )
    evidence = replace(
        made.evidence,
        films=tuple(film for film, _ in shown),
        explanations=explanations,
        study=Origin(str(folder), (), study.header),
        prior=None if earlier is None else Origin(str(prior), (), earlier.header),
    )
    return replace(made, evidence=evidence)


def _films(study: Study, films: Path, prior: bool) -> list[tuple[Film, Placement]]:
    """The films of a study, and where each lies in the square of 320."""
    shown = []
    for image in study.images:
        write_picture(films, image)
        uids = image.series_uid, image.instance_uid, image.sop_class
        film = Film(image.digest, image.modality, image.view, (), prior, "", *uids)
        shown.append((film, Placement.fit(*image.grid, 320)))
    return shown


def _laid(overlay: Overlay, placement: Placement) -> Overlay:
    """The overlay on another film; beside it the model did not look."""
    known = placement.covered((10, 10)).reshape(10, 10)
    cells = np.where(known, np.nan_to_num(overlay.cells), np.nan).astype(np.float32)
    return Overlay(cells, placement)


def word(label: str, minutes: int = 5, **said: object) -> Review:
    """A person's word, minutes after the case was scored."""
    review = Review("c1", MODEL, label, "accept", "", "reader one", AT)
    at = AT.replace(minute=AT.minute + minutes)
    return replace(review, **{"at": at, **said})  # type: ignore[arg-type]


def complaints(path: Path) -> list[str]:
    """What dciodvfy says against a file, but for what is known and right; fails where it is not installed."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.fail("dciodvfy is not installed, without which validity is not known: apt-get install dicom3tools")
    said = subprocess.run([program, "-new", str(path)], capture_output=True, text=True, errors="replace", check=False)
    lines = [line for line in said.stderr.splitlines() if line.startswith(("Error", "Warning"))]
    assert said.stderr.strip(), "dciodvfy did not say what it looked at"
    return [line for line in lines if not any(known in line for known in KNOWN_WARNINGS)]


def written(folder: Path, made: Dataset) -> Path:
    """The object as a file."""
    path = folder / f"{made.SOPInstanceUID}.dcm"
    write_dicom(path, made)
    return path


def content(made: Dataset, *names: str) -> list[Dataset]:
    """Every content item of an SR document, however deep, whose concept has one of these code values."""
    items: Sequence[Dataset] = made.get("ContentSequence", ())
    found = [item for item in items if item.ConceptNameCodeSequence[0].CodeValue in names]
    return found + [deeper for item in items for deeper in content(item, *names)]
