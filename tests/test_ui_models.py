"""The page of the model and the cohort: what people's words say of a model, and which reports are shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import streamlit as st
from playwright.sync_api import Request, expect
from streamlit.testing.v1 import AppTest

import ui.app
from medmm.config import RunConfig
from medmm.model.card import ModelInfo
from medmm.result import Limits, Reading, Review, Verdict
from medmm.score.content import Beside
from medmm.score.manifest import write_manifest
from medmm.store.decisions import Decision
from medmm.store.events import Reader
from medmm.store.store import Store
from medmm.write.tables import CSV, PARQUET, QUARANTINE
from tests.browser import launched
from tests.models import card, cohort
from tests.ports import free_port
from tests.scored import LABELS, MODEL, scored_case, write_scored
from ui import serve, words
from ui.agreement import Row, by_groups, groups, told
from ui.reports import reports

START = datetime(2026, 11, 1, tzinfo=UTC)
HOSTILE = (
    f"<!DOCTYPE html><html><head><title>Training report of model {MODEL}</title></head><body><h1>Hostile</h1>"
    "<script>parent.document.title='owned'; document.body.append('ran')</script>"
    "<img src='http://192.0.2.1/leak.png'><form action='http://192.0.2.1/'></form></body></html>"
)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


def word(present: bool | None, who: str = "ada", reading: Reading = "first reader") -> Review:
    verdict: Verdict = "cannot judge" if present is None else "accept" if present else "override"
    return Review("c", MODEL, LABELS[0], verdict, "", who, START, "reader", reading, present)


def row(probability: float, *said: Review, sex: str = "female", age: float = 50.0) -> Row:
    prediction = scored_case("c", (probability, 0.1, 0.1), views=()).prediction
    return prediction, START, {"sex": sex, "age": age}, said


def test_where_readers_differ_there_is_no_answer_until_somebody_adjudicates() -> None:
    open_, closed = (word(True), word(False, "bob")), (word(True), word(False, "bob"), word(True, "eva", "adjudicator"))

    assert (told([row(0.9, *open_)])[0].answered, told([row(0.9, *closed)])[0].answered) == (0, 1)
    assert (told([row(0.9, *open_)])[0].twice, told([row(0.9, *open_)])[0].alike) == (1, 0)


def test_a_word_that_somebody_could_not_judge_is_read_but_is_no_answer() -> None:
    (first, *_) = told([row(0.9, word(None)), row(0.9, word(True))])

    assert (first.read, first.answered, first.agreed) == (2, 1, 1)


def test_of_what_is_uncertain_the_model_called_nothing_that_people_could_agree_with() -> None:
    unsure, answers = Limits(0.01, 0.99, 0.1), []
    for prediction, *rest in (row(0.9, word(True)), row(0.9, word(False))):
        findings = tuple(replace(one, limits=unsure) for one in prediction.findings)
        answers.append((replace(prediction, findings=findings), *rest))

    (first, *_) = told([*answers, row(0.9, word(True))])  # type: ignore[list-item]

    assert (first.read, first.answered, first.called, first.agreed) == (3, 3, 1, 1)


def test_the_newest_word_of_a_person_counts() -> None:
    (first, *_) = told([row(0.9, word(False), word(True))])

    assert (first.answered, first.agreed, first.twice) == (1, 1, 0)


def test_calibration_is_split_into_halves_only_where_each_holds_enough_answers() -> None:
    few, many = [row(0.8, word(True))] * 49, [row(0.8, word(False))] * 25 + [row(0.8, word(True))] * 25

    assert told(few)[0].older is None
    (first, *_) = told(many)
    assert first.older is not None
    assert (first.older.ece, first.newer.ece) == pytest.approx((0.8, 0.2))


def test_groups_come_from_words_and_ages_of_the_record_and_what_was_given() -> None:
    history = [row(0.5, age=64.0), row(0.5, sex="male", age=65.0)]

    assert groups(history) == {"age": ("under 65", "65 and over"), "sex": ("female", "male")}


def test_every_group_is_judged_on_its_own_answers() -> None:
    history = [row(0.9, word(True)), row(0.1, word(True), sex="male"), row(0.9)]

    found = {line.group: line for line in by_groups(history) if line.label == LABELS[0]}

    assert (found["female"].sensitivity.value, found["male"].sensitivity.value) == (1.0, 0.0)
    assert (found["female"].cases, found["male"].cases, found["male"].few) == (1, 1, True)


def test_only_reports_on_this_model_are_offered(tmp_path: Path) -> None:
    for folder, model in (("run", MODEL), ("other", "f" * 12), ("scored", "")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "report.html").write_text(f"<title>Training report of model {model} &amp; co</title>")

    assert [report.title for report in reports(tmp_path / "scored", MODEL)] == [
        f"Training report of model {MODEL} & co (run)"
    ]


def test_too_little_to_say_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scored(tmp_path / "out", [scored_case("c1", views=())])
    monkeypatch.setattr(sys, "argv", ["app.py", str(tmp_path / "out")])
    shown = AppTest.from_file(str(ui.app.__file__), default_timeout=60).run()

    shown.button(key="models").click().run()

    assert not shown.exception
    said = "\n".join(str(block.proto.body) for block in shown.get("html"))
    for text in (words.REPORTS_NONE, words.DRIFT_NOBODY, words.SUBGROUPS_NONE, words.CALIBRATION_FEW.format(25, 0)):
        assert text in said
    assert "too few to say whether anything changed" in said


def test_what_scoring_wrote_of_its_model_is_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scored(tmp_path, [scored_case("c1", views=())])
    for table in (PARQUET, CSV, QUARANTINE):
        (tmp_path / table).touch()
    model = ModelInfo(card(RunConfig(), cohort(), encoders="e" * 64), MODEL.ljust(64, "0"))
    write_manifest(tmp_path, model, model.card.cohort, Beside(), scored=1, refused=0)
    monkeypatch.setattr(sys, "argv", ["app.py", str(tmp_path)])
    shown = AppTest.from_file(str(ui.app.__file__), default_timeout=60).run()

    shown.button(key="models").click().run()

    said = "\n".join(str(block.proto.body) for block in shown.get("html"))
    assert model.digest in said
    assert model.card.encoders in said
    assert words.MODEL_UNKNOWN not in said


def test_what_people_said_is_on_the_page_and_the_way_back_leads_to_the_worklist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [scored_case(f"c{n}", (0.6, 0.1, 0.2), views=(), content=f"{n:064d}") for n in range(30)]
    times = [START + timedelta(hours=n) for n in range(2)]
    monkeypatch.setattr("medmm.store.store._now", lambda: times[-1].replace(tzinfo=None))
    write_scored(tmp_path, cases)
    with Store(tmp_path / "store.sqlite") as store:
        for case in cases:
            desk = store.trail.desk(MODEL, case.prediction.case_id)
            store.trail.decide(Reader("ada"), desk, Decision(LABELS[0], "accept"))
    monkeypatch.setattr(sys, "argv", ["app.py", str(tmp_path)])
    shown = AppTest.from_file(str(ui.app.__file__), default_timeout=60).run()

    shown.button(key="models").click().run()
    said = "\n".join(str(block.proto.body) for block in shown.get("html"))
    (back,) = [button for button in shown.button if button.label == words.BACK]
    back.click().run()

    assert "<td>30</td><td>100 % (89 % to 100 %)</td>" in said
    assert words.CALIBRATION_FEW.format(25, 30) not in said
    assert words.WORKLIST in "\n".join(str(block.proto.body) for block in shown.get("html"))


def test_a_report_runs_nothing_and_asks_for_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_scored(out, [scored_case("c1", views=())])
    (out / "report.html").write_text(HOSTILE)
    process, address = serve.start(out, free_port())
    with launched() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(30_000)
        asked: list[Request] = []
        page.on("request", lambda request: asked.append(request))
        page.goto(address)
        page.get_by_role("button", name="Expand sidebar").click()
        page.get_by_role("button", name=words.MODELS).click()
        page.get_by_role("combobox", name=words.REPORTS_CHOICE).click()
        page.get_by_role("option", name="Training report").click()

        expect(page.frame_locator("iframe").get_by_role("heading", name="Hostile")).to_be_visible()
        page.wait_for_timeout(500)

        assert page.frame_locator("iframe").get_by_text("ran", exact=True).count() == 0
        assert page.title() == words.TITLE
        assert [
            one.url for one in asked if "192.0.2.1" in one.url and one.failure != "csp"
        ] == []  # stopped in the page
        page.close()
    serve.stop(process)
