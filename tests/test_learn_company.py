"""What an encoder's company promises: others answer, from patients they have not met, and the copy learns the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from medmm.case import RecordValue
from medmm.config import AdaptConfig, CohortConfig, EncoderConfig, FusionConfig, LabelColumns, NumberColumn, RunConfig
from medmm.learn.adapt import adapt
from medmm.learn.company import company
from medmm.learn.encode import EncodedRow
from medmm.learn.train import Prepared, prepare
from medmm.model.encode import EncodedCase, Encoders
from medmm.read.cohort import CaseRow, read_cohort
from tests.cohorts import Diary, dials

CASES = 400
COHORT = CohortConfig(
    labels=LabelColumns(columns=("told", "tossed")),
    record={"crp": NumberColumn(unit="mg/L"), "age": NumberColumn(unit="a")},
)

TAUGHT = AdaptConfig(image="last_blocks", in_company=True, folds=2, views=1, epochs=1, batch_size=8)


@pytest.fixture(scope="module")
def encoders() -> Encoders:
    return Encoders(EncoderConfig(image_size=96, max_words=128))


def rows_of(records: Sequence[Mapping[str, RecordValue]], answers: np.ndarray, letter: str = "C") -> list[EncodedRow]:
    """Cases that have a record and nothing else, a patient each."""
    return [
        EncodedRow(
            CaseRow(
                f"{letter}{n}",
                f"P{letter}{n}",
                None,
                targets=dict(zip(("told", "tossed"), map(float, answer), strict=True)),
            ),
            EncodedCase(f"{letter}{n}", None, None, None, record),
        )
        for n, (record, answer) in enumerate(zip(records, answers, strict=True))
    ]


def drawn() -> tuple[list[EncodedRow], np.ndarray]:
    """One label that the record tells of, and one of which nothing does."""
    rng = np.random.default_rng(0)
    crp, age = rng.normal(50, 20, CASES).clip(1), rng.normal(60, 10, CASES)
    answers = np.stack([crp + rng.normal(0, 10, CASES) > 50, rng.random(CASES) < 0.5], axis=1)
    return rows_of([{"crp": float(c), "age": float(a)} for c, a in zip(crp, age, strict=True)], answers), answers


def test_the_other_sides_answer_what_they_know_and_not_what_they_were_told(encoders: Encoders) -> None:
    rows, answers = drawn()

    said = company("image", rows, COHORT, RunConfig(), encoders)

    assert said.shape == (CASES, 2)
    assert roc_auc_score(answers[:, 0], said[:, 0]) > 0.9
    assert roc_auc_score(answers[:, 1], said[:, 1]) < 0.55  # heads that had met the patient would rank a toss too


def test_a_case_without_another_side_is_said_to_be_like_the_others(encoders: Encoders) -> None:
    rows, _ = drawn()
    rng = np.random.default_rng(1)
    answers = np.stack([rng.random(100) < 0.2, rng.random(100) < 0.9], axis=1)
    both = rows + rows_of([{}] * 100, answers, letter="B")
    share = np.mean([list(row.row.targets.values()) for row in both], axis=0)

    said = company("image", both, COHORT, RunConfig(), encoders)[-100:].sigmoid()

    torch.testing.assert_close(said, torch.tensor(share).float().expand(100, 2), rtol=0, atol=0.01)


def test_who_is_alone_is_taught_the_answers_themselves(encoders: Encoders) -> None:
    rows, _ = drawn()
    alone = RunConfig(fusion=FusionConfig(modalities=("image",)))

    assert torch.equal(company("image", rows, COHORT, alone, encoders), torch.zeros(CASES, 2))


@pytest.fixture(scope="module")
def prepared(sample: Path, features: Path) -> Prepared:
    run = dials().model_copy(update={"adapt": TAUGHT})
    return prepare(read_cohort(sample), run, features, Diary(), workers=1)


def test_a_copy_begins_where_the_other_sides_end(prepared: Prepared, tmp_path: Path) -> None:
    labels = LabelColumns(columns=("pneumonia",))
    cohort = prepared.cohort.config.model_copy(update={"labels": labels})
    run = dials().model_copy(update={"adapt": TAUGHT})

    def first_loss(rows: list[EncodedRow], name: str) -> float:
        losses: list[float] = []
        adapt(
            prepared.encoders,
            prepared.cache,
            {"train": rows},
            cohort,
            run,
            work=tmp_path / name,
            tell=lambda stage, epoch: losses.append(epoch.train_loss),
        )
        return losses[0]

    rows = [row for row in prepared.cases if row.row.targets["pneumonia"] in (0, 1)]
    known = [_with_record(row, {"crp_mg_l": 5.0 + 300 * row.row.targets["pneumonia"]}) for row in rows]
    unknown = [_with_record(row, {"crp_mg_l": 5.0}) for row in rows]

    assert first_loss(known, "known") < 0.7 * first_loss(unknown, "unknown")


def _with_record(row: EncodedRow, record: Mapping[str, RecordValue]) -> EncodedRow:
    """The case with its image and this record, no note, and one label."""
    targets = {"pneumonia": row.row.targets["pneumonia"]}
    return EncodedRow(replace(row.row, targets=targets), replace(row.case, note=None, record=record))
