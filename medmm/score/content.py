"""What an answer is made from, as a digest: work that was done from the same is not done again. No torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from medmm.config import CohortConfig
from medmm.read import READING
from medmm.read.cohort import CaseRow
from medmm.score.reading import inputs_of


@dataclass(frozen=True, slots=True)
class Beside:
    """What is given beside every prediction."""

    similar: bool = False
    """Whether training cases are compared with it."""
    deletions: bool = False
    """Whether it is said of flagged findings without what they would not be."""
    explained: bool = True
    """Whether findings have overlays and the worth of words and record values."""


def content_of(row: CaseRow, config: CohortConfig, beside: Beside) -> str:
    """SHA-256 over everything that the prediction is made from but the model, and over what is asked of it.

    What cannot be read is refused later, by its reader.
    """
    return content_from(inputs_of(row), config, beside)


def content_from(inputs: str, config: CohortConfig, beside: Beside) -> str:
    """The same of a row whose `inputs_of` are known."""
    asked = {"deletions": beside.deletions, "similar": beside.similar}
    return hashlib.sha256(repr((inputs, settings_of(config), asked)).encode()).hexdigest()


def settings_of(config: CohortConfig) -> str:
    """SHA-256 over how files and cells are read; not over what the columns of a table are called."""
    read = config.model_dump_json(include={"images", "sections_left_out", "timezone", "record", "fhir"})
    return hashlib.sha256(repr((READING, read)).encode()).hexdigest()
