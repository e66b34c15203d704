"""A model card says what the run knows, says plainly what nobody has stated, and is one text in two places."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medmm.judge.evaluation import find
from medmm.judge.model_card import UNKNOWN, Field
from medmm.judge.report import write_evaluation
from medmm.result import Limits
from tests.test_judge_report import LABELS, Reader
from tests.test_judge_report_evaluation import evaluation


@pytest.fixture(scope="module")
def fields() -> dict[str, Field]:
    return {field.name: field for part in find(evaluation()).card for field in part.fields}


def test_what_the_run_knows_is_filled_in(fields: dict[str, Field]) -> None:
    assert "0123456789ab" in fields["Name"].value
    assert "9.8.7" in fields["Version"].value
    assert "500 cases (train)" in fields["Size, by part, apart by patient"].value
    assert "crp (mg/L)" in fields["Predictors"].value
    assert all(label in fields["Outcomes"].value for label in LABELS)
    assert fields[LABELS[0]].value.startswith("AUROC 0.")
    assert "equalized odds difference" in fields["By group"].value
    assert "Not a medical device" in fields["Intended use"].value


def test_what_the_run_cannot_know_says_so(fields: dict[str, Field]) -> None:
    for name in ("Dates", "Intended users", "Ethical approval", "Funding", "How outcomes were assessed"):
        assert fields[name].value == UNKNOWN
        assert not fields[name].known


def test_every_field_says_who_asks_for_it(fields: dict[str, Field]) -> None:
    asked = "; ".join(field.asked_by for field in fields.values())

    assert all("TRIPOD+AI" in field.asked_by or "CHAI" in field.asked_by for field in fields.values())
    numbers = {int(item) for item in re.findall(r"(\d+)[a-f]?", re.sub(r"CHAI[^;]*", "", asked))}
    assert set(range(3, 28)) - numbers <= {21, 25}  # steps of a study, and its interpretation, are no field of a card


def test_a_model_that_may_say_nothing_says_so_in_its_output() -> None:
    said = {
        field.name: field.value for part in find(evaluation(limits=Limits(0.3, 0.7, 0.1))).card for field in part.fields
    }

    assert "‘uncertain’ where an error of 0.1 cannot be kept" in said["Output"]


def test_the_card_of_the_page_and_the_card_beside_it_are_one(tmp_path: Path) -> None:
    write_evaluation(tmp_path, evaluation())
    page, card = ((tmp_path / name).read_text(encoding="utf-8") for name in ("report.html", "model_card.html"))

    lists = [re.findall(r'<dl class="card">.*?</dl>', text, flags=re.DOTALL) for text in (page, card)]

    assert lists[0] == lists[1] != []
    assert UNKNOWN in Reader(card).text
