"""A film with the overlay of one finding burned in, as a Secondary Capture that any viewer shows (PS3.3 A.8.1)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from medmm.errors import DataError, Reason
from medmm.write.dicom.study import NAME, RESEARCH, Drawn, Stamp, described, finish, reference_to, study_of, uid
from medmm.write.paint import COOL, WARM, burned_in
from medmm.write.picture import picture_path
from medmm.write.words import name, percents

if TYPE_CHECKING:
    from highdicom.sc import SCImage

SERIES = 9902
"""Series Number (0020,0011) of captures."""
_TEXT, _GROUND = (235, 235, 235), (0, 0, 0)
_SMALLEST, _SHARE = 12, 45
"""Height of the legend's letters in pixels: at least, and how many times the film is as wide."""


def capture_of(drawn: Drawn, stamp: Stamp, films: Path) -> SCImage:
    """Make the capture of one overlay: RGB of 8 bits, the film's picture above a legend that says what this is.

    Burned In Annotation (0028,0301) is YES: the legend is text in pixels, and the film may have some of its own.

    Args:
        drawn: the overlay and its film.
        stamp: of which prediction.
        films: folder of the films' pictures.

    Raises:
        DataError: if the case was not read from a DICOM study, or the film's picture is not there.
    """
    from highdicom.sc import SCImage

    study = study_of(stamp.said.prediction.case_id, stamp.said.evidence.study)
    film = burned_in(_picture(drawn, stamp, films), drawn.overlay, drawn.end)
    pixels = _with_legend(film, _legend(drawn, stamp))
    made = SCImage(
        pixel_array=np.asarray(pixels),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=study.StudyInstanceUID,
        series_instance_uid=uid(study.StudyInstanceUID, stamp.said.prediction.model_id, "capture"),
        series_number=SERIES,
        sop_instance_uid=stamp.uid("capture", drawn.film.digest, drawn.finding.label),
        instance_number=drawn.number,
        manufacturer=NAME,
        series_description=described(f"{NAME} overlays. {RESEARCH}"),
        specific_character_set="ISO_IR 192",
    )
    finish(made, study, stamp)
    made.DateOfSecondaryCapture, made.TimeOfSecondaryCapture = made.ContentDate, made.ContentTime
    made.ConversionType = "WSD"
    made.PatientOrientation = []  # as the film lies, which is not known here
    made.Laterality = ""
    made.BurnedInAnnotation = "YES"
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.ImageComments = f"{drawn.title}. {RESEARCH}"
    made.DerivationDescription = f"Overlay of {drawn.title}"
    made.SourceImageSequence = [reference_to(drawn.film)]
    return made


def _picture(drawn: Drawn, stamp: Stamp, films: Path) -> PIL.Image.Image:
    """The film as it was shown beside the prediction."""
    path = picture_path(films, drawn.film.digest)
    if not path.is_file():
        problem, remedy = "the picture of a film is not in the folder", "Score the case again into an empty folder"
        raise DataError(stamp.said.prediction.case_id, Reason.NO_PIXELS, problem, remedy)
    with PIL.Image.open(path) as film:
        return film.convert("RGB")


Line = Sequence[tuple[str, tuple[int, int, int]]]
"""Pieces of text, each with its colour as red, green and blue."""


def _legend(drawn: Drawn, stamp: Stamp) -> list[Line]:
    """What is seen, how it was found, who made it and what it is not for."""
    probability, threshold = percents(drawn.finding)
    label, call = name(drawn.finding.label), drawn.finding.call
    part = f"{drawn.film.part}; " if drawn.film.part else ""
    return [
        [(f"{label}: {call}, probability {probability}, flagged from {threshold}", _TEXT)],
        [(f"{drawn.method}: ", _TEXT), ("for", WARM), (" and ", _TEXT), ("against", COOL), (f" {label}", _TEXT)],
        [(f"{part}full colour at {drawn.end:.2g} log-odds; not a segmentation", _TEXT)],
        [(f"derived by {NAME} {version(NAME)}, model {stamp.said.prediction.model_id}", _TEXT)],
        [(RESEARCH, _TEXT)],
    ]


def _with_legend(film: PIL.Image.Image, lines: Sequence[Line]) -> PIL.Image.Image:
    """The film with lines of text below it; a film that is narrower than they are gets a margin at its right."""
    font = PIL.ImageFont.load_default(max(_SMALLEST, film.width // _SHARE))
    step = round(1.4 * font.size) if isinstance(font, PIL.ImageFont.FreeTypeFont) else 2 * _SMALLEST
    widest = max(font.getlength("".join(text for text, _ in line)) for line in lines)
    size = max(film.width, int(widest) + step), film.height + step * (len(lines) + 1)
    page = PIL.Image.new("RGB", size, _GROUND)
    page.paste(film)
    draw = PIL.ImageDraw.Draw(page)
    for place, line in enumerate(lines):
        across = step / 2
        for text, colour in line:
            draw.text((across, film.height + step * (place + 0.5)), text, fill=colour, font=font)
            across += font.getlength(text)
    return page
