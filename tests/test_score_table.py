"""A table is scored as the model was taught: its own cohort.toml names the columns, and never what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from medmm.config import CohortConfig, FhirConfig, ImageRule, LabelColumns, NumberColumn
from medmm.errors import ConfigError
from medmm.model.card import Card
from medmm.model.folder import Model
from medmm.read.cohort import read_cohort
from pipelines.score import as_taught
from tests.models import model_without_encoders

TAUGHT: dict[str, Any] = {
    "labels": LabelColumns(columns=("y",)),
    "record": {"crp": NumberColumn(unit="mg/L", low=0, high=1000)},
    "images": (ImageRule(modality=("CT",)),),
}


def taught(**more: Any) -> Model:
    """A model that was trained on such a cohort, as its folder gives it back."""
    model = model_without_encoders(nn.Identity())
    card = model.card.model_copy(update={"cohort": CohortConfig.model_validate(TAUGHT | more)})
    return Model(Card.model_validate_json(card.model_dump_json()), model.network, model.encoders, model.digest)


def test_a_cohort_without_studies_and_notes_is_scored_as_it_was_trained(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("case_id,patient_id,crp\nc1,p1,12\n", encoding="utf-8")

    cohort = read_cohort(tmp_path, as_taught(taught().card, tmp_path / "cohort.toml"))

    assert [row.cells["crp"] for row in cohort.rows] == ["12"]
    assert cohort.labels == ()


def test_a_column_in_another_unit_is_refused_and_not_read_as_the_models(tmp_path: Path) -> None:
    (tmp_path / "cohort.toml").write_text('[record]\ncrp = { unit = "mg/dL" }\n', encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        as_taught(taught().card, tmp_path / "cohort.toml")

    assert "'crp' is in 'mg/dL' in cohort.toml, and the model knows it as in 'mg/L'" in str(caught.value)


def test_the_table_says_where_things_are_and_the_model_what_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "cohort.toml"
    path.write_text(
        'case_id = "nr"\ntime = "made"\nsections_left_out = []\n[labels]\ncolumns = ["crp"]\n'
        '[[images]]\nmodality = ["MR"]\n'
        '[record]\ncrp = { unit = "mg/L", taken = "at" }\n[fhir]\nfolder = "elsewhere"\nnote_types = ["18748-4"]\n',
        encoding="utf-8",
    )

    config = as_taught(taught(fhir=FhirConfig(note_types=("34117-2",))).card, path)

    assert (config.case_id, config.time, config.record["crp"].taken) == ("nr", "made", "at")
    assert config.labels is None
    assert config.images == (ImageRule(modality=("CT",)),)
    assert config.sections_left_out == CohortConfig().sections_left_out
    assert config.fhir == FhirConfig(folder="elsewhere", note_types=("34117-2",))
