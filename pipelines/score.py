"""Score studies: predictions as tables and in the store, what was refused in quarantine.csv.

medmm score STUDIES --model RUN --out OUT
medmm score https://pacs.example.org/dicom-web --model RUN --out OUT --date 20261101-20261124 --modality CR
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medmm.config import CohortConfig
from medmm.errors import ConfigError
from medmm.model.folder import Model
from medmm.read.cohort import Cohort, read_cohort
from medmm.read.sources.dicomweb import read_server
from medmm.read.sources.folder import read_folder
from medmm.score.cohort import Scored, score_cohort
from pipelines import terminal

RETRIEVED = "retrieved"
"""Below OUT: the studies that came from a server."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which studies of a DICOMweb server are scored; all that is stated must hold."""

    patient: str = field(default="", repr=False)
    date: str = ""
    modality: str = ""


def is_server(studies: str) -> bool:
    """Whether studies are named by the URL of a DICOMweb server."""
    return studies.lower().startswith(("http://", "https://"))


def score_studies(studies: str, model: Path, out: Path, query: Query, *, workers: int | None = None) -> Scored:
    """Score what a path or the URL of a DICOMweb server names.

    Raises:
        ConfigError: if a folder is asked for a patient, a date or a modality; otherwise as the reader of each.
    """
    if is_server(studies):
        return score_server(studies, model, out, query, workers=workers)
    if query != Query():
        raise ConfigError("only a server can be asked for a patient, a date or a modality", "Give its URL")
    return score_folder(Path(studies), model, out, workers=workers)


def score_folder(studies: Path, model: Path, out: Path, *, workers: int | None = None) -> Scored:
    """Score a cohort with a table, or a bare folder, archive or medium of studies, with a trained model."""
    loaded = _load(model)
    if (studies / "cases.csv").is_file():
        cohort = read_cohort(studies, loaded.card.cohort.model_copy(update={"labels": None}))
    else:
        cohort = read_folder(studies, _without_table(loaded), workers)
    return score_cases(loaded, cohort, out, workers=workers)


def score_server(url: str, model: Path, out: Path, query: Query, *, workers: int | None = None) -> Scored:
    """Retrieve studies from a DICOMweb server into OUT/retrieved and score them; a rerun retrieves what is missing."""
    loaded = _load(model)
    with terminal.counting("Retrieving") as progress:
        cohort = read_server(
            url,
            out / RETRIEVED,
            _without_table(loaded),
            patient=query.patient,
            date=query.date,
            modality=query.modality,
            progress=progress,
            workers=workers,
        )
    return score_cases(loaded, cohort, out, workers=workers)


def _load(model: Path) -> Model:
    """Load the model of a run, or a model folder."""
    return Model.load(model / "model" if (model / "model").is_dir() else model)


def _without_table(model: Model) -> CohortConfig:
    """How the model was taught to read images and notes, for studies that no table describes."""
    known = model.card.cohort
    return CohortConfig(study="", note="", images=known.images, sections_left_out=known.sections_left_out)


def score_cases(model: Model, cohort: Cohort, out: Path, *, workers: int | None = None) -> Scored:
    """Score the cases of a cohort and say what came of it."""
    terminal.remarks(cohort.remarks)
    with terminal.counting("Scoring") as progress:
        done = score_cohort(model, cohort, out, progress, workers)
    terminal.refusals(done.refused, f"{out / 'quarantine.csv'}")
    known = f", {done.known} known from an earlier run" if done.known else ""
    terminal.console.print(f"{done.scored} cases scored{known}, {len(done.refused)} refused; results in {out}")
    return done
