"""Score studies: predictions as tables and in the store, what was refused in quarantine.csv.

medmm score STUDIES --model RUN --out OUT
medmm score https://pacs.example.org/dicom-web --model RUN --out OUT --date 20261101-20261124 --modality CR
medmm score STUDIES --model RUN --out OUT --engine ray --ray-address auto
medmm score STUDIES --model RUN --out OUT/2 --shard 2/4 --store postgresql://medmm@db.example.org/medmm
medmm score STUDIES --model OTHER --out OTHER_OUT --cache CACHE
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medmm.config import CohortConfig, LabelColumns, NumberColumn, RecordColumn, read_toml
from medmm.errors import CohortError, ConfigError
from medmm.files import remove_unfinished
from medmm.model.card import SIMILAR, Card, ModelInfo
from medmm.read.cohort import Cohort, read_cohort
from medmm.read.sources.dicomweb import COMPLETE, read_server
from medmm.read.sources.folder import check_apart, check_there, read_folder
from medmm.score.cohort import Scored, score_cohort
from medmm.score.content import Beside
from medmm.score.cores import on_cores
from medmm.score.engine import Engine
from medmm.score.lock import alone_in
from medmm.score.ray import on_ray
from medmm.score.shard import Shard
from pipelines import terminal

if TYPE_CHECKING:
    from medmm.explain.similar import Memory
    from medmm.model.folder import Model

_OF_THE_TABLE = {"case_id", "patient_id", "study", "note", "prior", "time", "timezone"}
"""Settings that say how a table is laid out, and not what a model was taught."""
_GPU_DEVICES = ("nvidiactl", "kfd", "dxg")
"""Of the drivers of NVIDIA, AMD, and Windows for its Linux."""
RETRIEVED = "retrieved"
"""Below OUT: the studies that came from a server."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which studies of a DICOMweb server are scored; all that is stated must hold."""

    patient: str = field(default="", repr=False)
    date: str = ""
    modality: str = ""


@dataclass(frozen=True, slots=True)
class Manner:
    """How cases are scored, wherever they come from."""

    workers: int | None = None
    """Processes that read and answer; one a core if None."""
    deletions: bool = False
    """See Beside."""
    shard: Shard | None = None
    """The part that is scored here; all if None."""
    cluster: str | None = None
    """As in engine_on."""
    store: str | None = None
    """URL of a database instead of the store in OUT."""
    cache: Path | None = None
    """Folder of encoded cases, see score_cohort."""


_PLAIN = Manner()


def is_server(studies: str) -> bool:
    """Whether studies are named by the URL of a DICOMweb server."""
    return studies.lower().startswith(("http://", "https://"))


def score_studies(
    studies: str,
    model: Path,
    out: Path,
    query: Query,
    manner: Manner = _PLAIN,
) -> Scored:
    """Score what a path or the URL of a DICOMweb server names.

    Raises:
        ConfigError: as check_asked; otherwise as the reader of each.
    """
    check_asked(studies, query)
    score = partial(score_server, studies, query=query) if is_server(studies) else partial(score_folder, Path(studies))
    return score(model, out, manner=manner)


def check_asked(studies: str, query: Query) -> None:
    """Check that studies are asked for in a way that suits where they are.

    Raises:
        ConfigError: if a folder is asked for a patient, a date or a modality.
    """
    if query != Query() and not is_server(studies):
        raise ConfigError("only a server can be asked for a patient, a date or a modality", "Give its URL")


def score_folder(
    studies: Path,
    model: Path,
    out: Path,
    manner: Manner = _PLAIN,
) -> Scored:
    """Score a cohort with a table, or a bare folder, archive or medium of studies, with a trained model."""
    info, beside = known_of(model, manner)
    check_there(studies)
    with engine_on(manner.cluster, model) as engine:
        cohort = find_cases(studies, info.card, out, manner.workers)
        part = manner.shard.part(cohort) if manner.shard else cohort
        return score_cases(info, part, out, engine, beside, manner)


def find_cases(studies: Path, card: Card, out: Path, workers: int | None) -> Cohort:
    """The cases of a folder with a table, or of a bare folder, archive or medium, read as a model was taught."""
    if (studies / "cases.csv").is_file():
        return read_cohort(studies, as_taught(card, studies / "cohort.toml"))
    check_apart(studies, out)
    return read_folder(studies, without_table(card), workers)


def score_server(
    url: str,
    model: Path,
    out: Path,
    query: Query,
    manner: Manner = _PLAIN,
) -> Scored:
    """Retrieve studies from a DICOMweb server into OUT/retrieved and score them; a rerun retrieves what is missing.

    The part that a shard has is told by Study Instance UID, and no other study is retrieved.
    """
    info, beside = known_of(model, manner)
    with alone_in(out), engine_on(manner.cluster, model) as engine:
        sweep_retrieved(out)
        with terminal.counting("Retrieving") as progress:
            cohort = read_server(
                url,
                out / RETRIEVED,
                without_table(info.card),
                patient=query.patient,
                date=query.date,
                modality=query.modality,
                wanted=manner.shard.has if manner.shard else lambda uid: True,
                progress=progress,
                workers=manner.workers,
            )
        return score_cases(info, cohort, out, engine, beside, manner)


def sweep_retrieved(out: Path) -> None:
    """Remove what a killed run left of files that it was retrieving."""
    for folder in (out / RETRIEVED).glob("*"):
        for names in ("*.dcm", COMPLETE):
            remove_unfinished(folder, names)


def engine_on(cluster: str | None, model: Path) -> AbstractContextManager[Engine]:
    """Who reads and answers.

    Args:
        cluster: as the address of medmm.score.ray.on_ray; None for this machine, without Ray: all its cores, or if it
            has a GPU, one process.
        model: a run or a model folder, where every process finds it.

    Raises:
        ConfigError: as on_ray.
    """
    folder, memory = model_folder(model), model / SIMILAR if has_memory(model) else None
    if cluster is not None:
        return on_ray(folder, memory, cluster)
    return nullcontext(_on_gpu(model) if _has_gpu() else on_cores(folder, memory))


def _has_gpu() -> bool:
    """Whether torch finds a GPU; it is not asked, nor loaded, where the system has no driver of one."""
    if sys.platform == "linux" and not any(Path("/dev", name).exists() for name in _GPU_DEVICES):
        return False
    import torch

    return torch.cuda.is_available()


def _on_gpu(model: Path) -> Engine:
    from medmm.score.here import in_process

    return in_process(load(model), memory_of(model))


def load(model: Path) -> Model:
    """Load the model of a run, or a model folder."""
    from medmm.model.folder import Model

    return Model.load(model_folder(model))


def model_folder(model: Path) -> Path:
    """Where the model of a run is; a model folder is its own."""
    return model / "model" if (model / "model").is_dir() else model


def has_memory(model: Path) -> bool:
    """Whether this is a run with training cases to compare others with; a model folder alone has none."""
    return (model / SIMILAR).is_file()


def memory_of(model: Path) -> Memory | None:
    """The training cases of a run, to compare others with, if it has them."""
    from medmm.explain.similar import Memory

    return Memory.load(model / SIMILAR) if has_memory(model) else None


def as_taught(card: Card, path: Path) -> CohortConfig:
    """How a table is read for a model: its columns as its own cohort.toml names them, all else as the model was taught.

    Raises:
        ConfigError: if a record column is in another unit, or has other categories, than the model's.
    """
    known = card.cohort
    taught = known.model_dump(exclude_defaults=True, exclude={"labels"})  # what was not named may be absent here too
    if not path.is_file():
        return CohortConfig.model_validate(taught)
    theirs = read_toml(path, CohortConfig)
    for name, column in known.record.items():
        other = theirs.record.get(name)
        if other is not None and _meaning(other) != _meaning(column):
            problem = f"'{name}' is {_meaning(other)} in cohort.toml, and the model knows it as {_meaning(column)}"
            raise ConfigError(problem, "Bring the column to the model's unit or categories")
    named = theirs.model_dump(exclude_defaults=True, include=_OF_THE_TABLE)
    columns = {name: theirs.record.get(name, column).model_dump() for name, column in known.record.items()}
    fhir = None
    if theirs.fhir is not None and known.fhir is not None:
        fhir = known.fhir.model_copy(update={"folder": theirs.fhir.folder}).model_dump()
    kept = {name: value for name, value in taught.items() if name not in {*_OF_THE_TABLE, "record", "fhir"}}
    return CohortConfig.model_validate({**kept, **named, "record": columns, "fhir": fhir})


def labelled(card: Card, folder: Path) -> Cohort:
    """Read a cohort as a model was taught, with the answers that its own cohort.toml names, or else the model's.

    Raises:
        CohortError: if they have no label in common.
    """
    config = as_taught(card, folder / "cohort.toml")
    return read_cohort(folder, config.model_copy(update={"labels": _labels(card, folder / "cohort.toml")}))


def _labels(card: Card, path: Path) -> LabelColumns | None:
    """Where the answers of a cohort are, of labels that the model knows; all its classes, if one holds for a case."""
    known = card.cohort.labels
    theirs = read_toml(path, CohortConfig).labels if path.is_file() else known
    if known is None or theirs is None:
        raise CohortError("the cohort has no labels", "Name them in [labels] of cohort.toml")
    common = [name for name in known.names if name in theirs.names]
    if not common or known.multi_class != theirs.multi_class:
        raise CohortError("the cohort states no label that the model knows", f"It knows: {', '.join(known.names)}")
    if known.multi_class:
        return LabelColumns(class_column=theirs.class_column, classes=known.classes)
    return LabelColumns(columns=tuple(common))


def _meaning(column: RecordColumn) -> str:
    """What the cells of a record column are, in words."""
    return f"in '{column.unit}'" if isinstance(column, NumberColumn) else f"one of {', '.join(column.categories)}"


def without_table(card: Card) -> CohortConfig:
    """How the model was taught to read images and notes, for studies that no table describes."""
    known = card.cohort
    return CohortConfig(study="", note="", images=known.images, sections_left_out=known.sections_left_out)


def known_of(model: Path, manner: Manner = _PLAIN) -> tuple[ModelInfo, Beside]:
    """What is known of the model of a run, or of a model folder, before it is loaded, and what it gives beside answers.

    Raises:
        ModelError: as ModelInfo.read.
    """
    return ModelInfo.read(model_folder(model)), Beside(has_memory(model), manner.deletions)


def score_cases(
    model: ModelInfo,
    cohort: Cohort,
    out: Path,
    engine: Engine,
    beside: Beside = Beside(),  # noqa: B008  # frozen
    manner: Manner = _PLAIN,
    stop: Callable[[], bool] = lambda: False,
) -> Scored:
    """Score the cases of a cohort, all that there are, and say what came of it; arguments as in score_cohort."""
    terminal.remarks(cohort.remarks)
    with terminal.counting("Scoring") as progress:
        done = score_cohort(
            model, cohort, out, progress, engine, manner.workers, beside, stop, manner.store, manner.cache
        )
    terminal.refusals(done.refused, f"{out / 'quarantine.csv'}")
    known = f", {done.known} known from an earlier run" if done.known else ""
    terminal.console.print(f"{done.scored} cases scored{known}, {len(done.refused)} refused; results in {out}")
    return done
