"""The overlay of one finding as numbers: a Parametric Map (PS3.3 A.75) in the grid of its film, through highdicom."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from medmm.errors import DataError, Reason
from medmm.write.dicom.study import (
    LOG_ODDS,
    NAME,
    RESEARCH,
    Drawn,
    Stamp,
    described,
    finish,
    own_code,
    source_of,
    study_of,
    uid,
)

if TYPE_CHECKING:
    from highdicom.pm import ParametricMap
    from pydicom import Dataset

SERIES = 9903
"""Series Number (0020,0011) of maps."""
NOT_LOOKED = float(np.finfo(np.float32).min)
"""Stored where the model did not look: Float Pixel Padding Value (0028,0122), outside of the mapped range."""


def map_of(drawn: Drawn, stamp: Stamp) -> ParametricMap:
    """Make the map of one overlay: (rows, columns) float32, log-odds that the finding owes to each pixel.

    Of a film, which lies nowhere in space: the map fits it pixel by pixel, in a frame of reference of its own. A slice
    would need its place in the patient, which a prediction does not keep.

    Args:
        drawn: the overlay and its film.
        stamp: of which prediction.

    Raises:
        DataError: if the case was not read from a DICOM study, or the film is a slice or a frame.
    """
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from pydicom.sr.coding import Code

    case_id = stamp.said.prediction.case_id
    study = study_of(case_id, stamp.said.evidence.study)
    if drawn.film.part:
        problem, remedy = "a map of a slice needs its place in the patient, which is not kept", "Use --as capture"
        raise DataError(case_id, Reason.UNSUPPORTED, problem, remedy)
    heatmap = drawn.overlay.heatmap()
    mapping = RealWorldValueMapping(
        lut_label="LOG_ODDS",
        lut_explanation="Log-odds that the finding owes to the pixel",
        unit=Code(*LOG_ODDS),
        value_range=(-drawn.end, drawn.end),
        slope=1.0,
        intercept=0.0,
        quantity_definition=own_code("PIXEL_LOG_ODDS", "Log-odds that a finding owes to a pixel"),
    )
    made = ParametricMap(
        source_images=[
            _placed(
                source_of(drawn.film, study.StudyInstanceUID, *heatmap.shape), stamp.uid("frame", drawn.film.digest)
            )
        ],
        pixel_array=np.nan_to_num(heatmap, nan=NOT_LOOKED),
        series_instance_uid=uid(study.StudyInstanceUID, stamp.said.prediction.model_id, "map"),
        series_number=SERIES,
        sop_instance_uid=stamp.uid("map", drawn.film.digest, drawn.finding.label),
        instance_number=drawn.number,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=version(NAME),
        device_serial_number=stamp.said.prediction.model_id,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[VOILUTTransformation(0.0, 2 * drawn.end, voi_lut_function="LINEAR_EXACT")],
        content_label="LOG_ODDS",
        content_description=described(drawn.title),
        series_description=described(f"{NAME} maps. {RESEARCH}"),
        specific_character_set="ISO_IR 192",
    )
    finish(made, study, stamp)
    made.Laterality = ""
    made.FloatPixelPaddingValue = made.FloatPixelPaddingRangeLimit = NOT_LOOKED
    made.ImageComments = f"{drawn.title}. {RESEARCH}"
    dimensions = stamp.uid("dimensions", drawn.film.digest, drawn.finding.label)
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    return made


def _placed(source: Dataset, frame: str) -> Dataset:
    """The film in a frame of reference of its own, which a map must have (PS3.3 A.75.3): steps of 1 are pixels."""
    source.FrameOfReferenceUID = frame
    source.ImagePositionPatient, source.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    source.PixelSpacing, source.SliceThickness = [1, 1], 1
    return source
