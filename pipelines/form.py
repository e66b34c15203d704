"""In which forms `medmm export` writes what was said of a case."""

from enum import StrEnum


class Form(StrEnum):
    """A value is the word of the command, and the name of the folder."""

    SR = "sr"
    """DICOM SR."""
    CAPTURE = "capture"
    """Overlays as Secondary Capture."""
    MAP = "map"
    """Overlays as Parametric Map."""
    FHIR = "fhir"
    """A Bundle, as R4 and as R5."""
    PDF = "pdf"
