"""Read a cohort, train nothing: what is there case by case, a contact sheet, a leak audit, a first cohort.toml.

medmm check COHORT --out FOLDER
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from medmm.config import CohortConfig, SplitConfig, read_toml
from medmm.errors import DataError, Reason
from medmm.judge.check import PAGE, TABLE, Check, check_cases, write_check
from medmm.judge.leak.audit import audit
from medmm.learn.split import split_patients
from medmm.read.cohort import CaseRow, Cohort, read_cohort
from medmm.read.guess import write_config
from medmm.read.sources.folder import check_apart, read_folder
from medmm.read.survey import Surveyed, of_table, survey
from pipelines import terminal

CONFIG = "cohort.toml"


def check_cohort(
    folder: Path, out: Path, *, columns: Path | None = None, seed: int = 0, workers: int | None = None
) -> Check:
    """Leave in `out` what was found of a cohort with a table, or of a bare folder or archive of studies.

    Nothing is written anywhere else. The audit judges the split that `medmm train` makes with this seed.
    """
    table = (folder / "cases.csv").is_file()
    config = read_toml(columns, CohortConfig) if columns else None
    if not table:
        check_apart(folder, out)
    cohort = read_cohort(folder, config) if table else read_folder(folder, config, workers)
    terminal.remarks(cohort.remarks)
    with terminal.counting("Reading") as progress:
        answers = list(survey(cohort, workers, progress))
    surveyed = tuple(answer for _, answer in answers if isinstance(answer, Surveyed))
    parts = _parts(cohort, surveyed, seed)
    with terminal.waiting("Looking for leaks"):
        inputs = {*cohort.config.record, cohort.config.prior} - {""}
        found = audit([*surveyed, *_empty(cohort, answers)], inputs, cohort.labels, parts or None, seed)
    check = Check(
        cohort=cohort,
        cases=check_cases(answers),
        surveyed=surveyed,
        audit=found,
        parts=parts,
        seed=seed,
        made_on=datetime.now(UTC).date(),
        version=version("medmm"),
    )
    write_check(out, check)
    _say(check, out, [answer for _, answer in answers if isinstance(answer, DataError)])
    if table and config is None and not (folder / CONFIG).exists():
        _first_config(cohort.config, out / CONFIG)
    return check


def _empty(cohort: Cohort, answers: Sequence[tuple[CaseRow, Surveyed | DataError]]) -> Iterator[Surveyed]:
    """The rows with nothing in them: no case can be made of them, and that itself may tell the answer."""
    for row, answer in answers:
        if isinstance(answer, DataError) and answer.code is Reason.NOTHING_TO_READ:
            yield of_table(cohort, row)


def _parts(cohort: Cohort, surveyed: Sequence[Surveyed], seed: int) -> dict[str, str]:
    """The part of each readable case, as training makes it; nothing where there is nothing to train on."""
    patients = [case.patient_id for case in surveyed]
    if not cohort.labels or not all(patients):
        return {}
    return dict(zip((case.case_id for case in surveyed), split_patients(patients, SplitConfig(), seed), strict=True))


def _say(check: Check, out: Path, refused: Sequence[DataError]) -> None:
    """Print what came of it."""
    terminal.refusals(refused, f"{out / TABLE}")
    terminal.findings(check.findings, f"{out / PAGE}")
    terminal.console.print(f"{check.headline} Report in {out / PAGE}; every case in {out / TABLE}")


def _first_config(config: CohortConfig, path: Path) -> None:
    """Write what was guessed of the columns, for the user to correct; what is there already is left alone."""
    if path.exists():
        terminal.console.print(f"{path} is there already and was left alone; --columns reads it")
        return
    write_config(config, path)
    terminal.console.print(f"A first cohort.toml is in {path}: correct it, then put it beside cases.csv")
