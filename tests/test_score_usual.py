"""Usual ranges of record values: those of the cohort that is scored, else those that the model was taught with."""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from medmm.config import CohortConfig, NumberColumn
from medmm.model.folder import Model
from medmm.read import READING
from medmm.read.cohort import CaseRow, Cohort, read_case, read_cohort
from medmm.result import Evidence
from medmm.score.case import answer_case, encode_case
from medmm.score.content import Beside, content_of, settings_of
from pipelines.score import as_taught
from tests.cohorts import Run, copy_cohort

CRP = "crp_mg_l"
SPARE = Beside(explained=False)
OTHERS = {"crp": NumberColumn(unit="mg/L", low=0, taken="at"), "age": NumberColumn(unit="a")}
BEFORE = (
    '{"timezone":"","sections_left_out":["impression"],"images":[],"record":{'
    '"crp":{"unit":"mg/L","low":0.0,"high":null,"taken":"at","code":""},'
    '"age":{"unit":"a","low":null,"high":null,"taken":"","code":""}},"fhir":null}'
)
"""What the settings of OTHERS were written as before a column could state a usual range."""


def table(sample: Path, folder: Path, model: Model, usual: str) -> Cohort:
    """The sample cohort, whose own cohort.toml states this of CRP, to be scored with a model."""
    studies = copy_cohort(sample, folder, lambda rows: rows)
    said = (studies / "cohort.toml").read_text()
    changed, count = re.subn(rf"(\[record.{CRP}\][^\[]*)usual = \[.*\]", rf"\1{usual}", said)
    assert count == 1
    (studies / "cohort.toml").write_text(changed)
    return read_cohort(studies, as_taught(model.card, studies / "cohort.toml"))


def evidence(model: Model, cohort: Cohort) -> Evidence:
    """What is kept of the first case that has a record and nothing else."""
    row = next(row for row in cohort.rows if row.cells.get(CRP))
    bare: CaseRow = replace(row, study=None)
    content = content_of(bare, cohort.config, SPARE)
    waiting = encode_case(model, bare, read_case(cohort, bare), content, None, cohort.config)
    return answer_case(model, None, waiting, SPARE).evidence


@pytest.mark.parametrize(("stated", "known"), [("usual = [0, 10]", (0.0, 10.0)), ("", (0.0, 5.0))])
def test_a_cohort_states_its_own_range_and_else_the_one_of_the_model_holds(
    sample: Path, run: Run, tmp_path: Path, stated: str, known: tuple[float, float]
) -> None:
    cohort = table(sample, tmp_path / "cohort", run.trained.model, stated)

    assert evidence(run.trained.model, cohort).usual[CRP] == known


def test_a_model_that_was_trained_before_shows_the_ranges_of_the_cohort(sample: Path, run: Run, tmp_path: Path) -> None:
    model = run.trained.model
    record = {name: column.model_copy(update={"usual": None}) for name, column in model.card.cohort.record.items()}
    taught = model.card.cohort.model_copy(update={"record": record})
    before = replace(model, card=model.card.model_copy(update={"cohort": taught}))
    cohort = table(sample, tmp_path / "cohort", before, "usual = [0, 10]")

    assert evidence(before, cohort).usual[CRP] == (0.0, 10.0)


def test_settings_that_state_no_range_have_the_digest_that_they_always_had_and_a_new_range_is_scored_anew() -> None:
    plain = CohortConfig(record=OTHERS, sections_left_out=("impression",))
    ranged = plain.model_copy(update={"record": {"crp": OTHERS["crp"].model_copy(update={"usual": (0.0, 5.0)})}})

    assert settings_of(plain) == sha256(repr((READING, BEFORE)).encode()).hexdigest()
    other = plain.model_copy(update={"record": {"crp": OTHERS["crp"]}})
    assert settings_of(ranged) != settings_of(other)
