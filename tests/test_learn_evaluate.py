"""A model is judged on patients that it has not met, and what it says of them is what it said when it was trained."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch

from medmm.case import MODALITIES
from medmm.errors import CohortError
from medmm.judge.evaluation import Evaluation
from medmm.learn.encode import EncodedRow
from medmm.learn.evaluate import Answers, Unseen, answer, evaluate, unseen
from medmm.learn.examples import encode
from medmm.learn.fit import infer
from medmm.learn.groups import groups_of
from medmm.learn.systems import FUSED, Heard
from medmm.model.batch import PLACE, VIEW
from medmm.model.encode import EncodedCase, EncodedStudy
from medmm.model.folder import Model
from medmm.model.fusion import Fusion
from medmm.read.cohort import CaseRow, read_cohort
from tests.cohorts import Run, strangers, table
from tests.models import cohort as described


def part(run: Run, name: str) -> set[str]:
    return {row["case_id"] for row in table(run.out / "split.csv") if row["part"] == name}


def judged(found: Unseen) -> set[str]:
    return {row.case_id for row in found.cohort.rows}


@pytest.fixture(scope="module")
def done(run: Run, sample: Path, features: Path) -> Evaluation:
    model, found = Model.load(run.out / "model"), unseen(read_cohort(sample), run.out)
    encoded = encode(model, found.cohort, features, lambda done, total: None, workers=1)
    return evaluate(model, found, encoded, date(2031, 5, 4), resamples=50)


@pytest.fixture(scope="module")
def said(run: Run, sample: Path, features: Path) -> Answers:
    """What a model says of every case of its cohort."""
    model = Model.load(run.out / "model")
    return answer(model, encode(model, read_cohort(sample), features, lambda done, total: None, workers=1).cases)


def test_of_its_own_cohort_only_test_patients_are_judged(run: Run, sample: Path) -> None:
    found = unseen(read_cohort(sample), run.out)

    assert judged(found) == part(run, "test")
    assert not found.external
    assert found.left_out == len(part(run, "train") | part(run, "validation"))


def test_another_case_of_a_patient_who_taught_is_not_judged_although_the_split_does_not_name_it(
    run: Run, sample: Path
) -> None:
    cohort = read_cohort(sample)
    taught = next(row for row in cohort.rows if row.case_id in part(run, "train"))
    later = replace(taught, case_id="later")

    found = unseen(replace(cohort, rows=(*cohort.rows, later)), run.out)

    assert judged(found) == part(run, "test")


def test_another_cohort_is_judged_whole(run: Run, sample: Path, tmp_path: Path) -> None:
    elsewhere = strangers(sample, tmp_path / "elsewhere")

    found = unseen(read_cohort(elsewhere), run.out)

    assert found.external
    assert len(found.cohort.rows) == len(table(elsewhere / "cases.csv"))
    assert found.left_out == 0


def test_case_ids_that_are_the_same_by_chance_are_another_s_only_where_that_is_said(run: Run, sample: Path) -> None:
    cohort = read_cohort(sample)

    assert judged(unseen(cohort, run.out, external=True)) == {row.case_id for row in cohort.rows}
    assert unseen(cohort, run.out, external=True).external


def test_a_model_that_does_not_say_whom_it_learnt_from_is_not_judged_unasked(sample: Path, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="does not say which cases it learnt from"):
        unseen(read_cohort(sample), tmp_path)


def test_cases_without_an_answer_are_counted_and_not_judged(run: Run, sample: Path) -> None:
    cohort = read_cohort(sample)
    blank = next(row for row in cohort.rows if row.case_id in part(run, "test"))
    rows = [
        replace(row, targets=dict.fromkeys(row.targets, float("nan"))) if row is blank else row for row in cohort.rows
    ]

    found = unseen(replace(cohort, rows=tuple(rows)), run.out)

    assert found.unlabelled == 1
    assert judged(found) == part(run, "test") - {blank.case_id}


def test_a_cohort_of_nobody_new_cannot_be_judged(run: Run, sample: Path) -> None:
    cohort = read_cohort(sample)
    taught = [row for row in cohort.rows if row.case_id in part(run, "train")]

    with pytest.raises(CohortError, match="no labelled case is left"):
        unseen(replace(cohort, rows=tuple(taught)), run.out)


def test_every_system_says_what_it_said_when_training_judged_it(run: Run, done: Evaluation) -> None:
    then, now = run.trained.comparison, done.report.comparison
    order = [now.case_ids.index(case_id) for case_id in then.case_ids]

    assert set(now.systems) == set(then.systems) - {"textbook (concatenation)"}
    for name, said in now.systems.items():
        np.testing.assert_allclose(said[order], then.systems[name], atol=1e-5)


def test_what_a_network_says_of_each_set_of_modalities_is_what_it_says_when_the_others_are_hidden(
    run: Run, said: Answers
) -> None:
    model = Model.load(run.out / "model")
    network = model.network

    for sides in ([], ["image"], ["note", "record"], list(MODALITIES)):
        keep = torch.tensor([side in sides for side in MODALITIES])
        asked = infer(network, said.examples, keep=keep)
        torch.testing.assert_close(said.heard.answers(sides), asked, rtol=0, atol=1e-5)
    raw = infer(network.body, said.examples, keep=torch.tensor(network.keep))
    torch.testing.assert_close(said.heard.shown(), raw, rtol=0, atol=1e-5)


def test_cases_that_are_answered_in_several_batches_stay_in_their_own_rows(run: Run, said: Answers) -> None:
    again = Heard.of(Model.load(run.out / "model").network, said.examples, at_once=7)

    torch.testing.assert_close(again.logits, said.heard.logits, rtol=0, atol=1e-5)


def test_an_evaluation_asks_each_head_once(
    run: Run, sample: Path, features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, found = Model.load(run.out / "model"), unseen(read_cohort(sample), run.out)
    encoded = encode(model, found.cohort, features, lambda done, total: None, workers=1)
    asked: list[str] = []
    assert isinstance(model.network.body, Fusion)
    for name, head in model.network.body.heads.items():
        head.register_forward_hook(lambda head, batch, said, name=name: asked.append(name))

    answer(model, encoded.cases)

    assert len(encoded.cases) <= 64
    assert sorted(asked) == sorted(MODALITIES)


def test_the_model_s_figures_are_of_the_probabilities_that_a_person_is_shown(done: Evaluation) -> None:
    said = done.report.comparison.systems[FUSED]

    for row, prediction in zip(said, done.predictions, strict=True):
        assert row.tolist() == [one.probability for one in prediction.findings]


def test_before_calibration_is_another_probability(done: Evaluation) -> None:
    said = done.report.comparison.systems[FUSED]

    assert done.uncalibrated.shape == said.shape
    assert ((done.uncalibrated >= 0) & (done.uncalibrated <= 1)).all()
    assert not np.allclose(done.uncalibrated, said, atol=1e-3)


def encoded_row(views: list[int], record: dict[str, float | str], other: dict[str, str]) -> EncodedRow:
    place = torch.zeros(len(views), PLACE)
    place[:, VIEW] = torch.tensor(views)
    study = EncodedStudy(torch.zeros(len(views), 4).half(), place, (), ()) if views else None
    return EncodedRow(CaseRow("c", "p", None, other=other), EncodedCase("c", study, None, None, record))


def test_groups_come_from_the_record_from_columns_that_are_no_input_and_from_the_films() -> None:
    cases = [
        encoded_row([1, 1], {"sex": "female", "age_years": 17.0}, {"Site": "North"}),
        encoded_row([1, 2], {"sex": "male", "age_years": 40.0}, {"Site": "South"}),
        encoded_row([], {"age_years": 80.0}, {"gender": "female", "Site": ""}),
    ]

    found = groups_of(cases, described(), ("image", "record"))

    assert found["sex"] == ("female", "male", "female")
    assert found["age"] == ("under 18", "40 to 64", "80 and over")
    assert found["Site"] == ("North", "South", "")
    assert found["view"] == ("frontal", "frontal + lateral", "")
    assert found["modalities"] == ("image + record", "image + record", "record")


def test_an_attribute_that_everybody_shares_makes_no_groups() -> None:
    cases = [encoded_row([1], {"sex": "male"}, {}), encoded_row([1], {"sex": "male"}, {})]

    assert groups_of(cases, described(), ("image", "record")) == {}
