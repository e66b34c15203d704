"""The screen without a browser: routing, filters, decisions, and what is said of a folder that is not a scored one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import ui.app
from medmm.errors import Reason
from medmm.result import Refusal, Review
from medmm.store.store import Store
from tests.scored import MODEL, NOTE, scored_case, write_scored
from ui import worklist


@pytest.fixture
def out(tmp_path: Path) -> Path:
    cases = [
        scored_case("mild", (0.45, 0.05, 0.1), note=""),
        scored_case("urgent", views=("PA", "LL")),
        scored_case("quiet", (0.1, 0.1, 0.1), views=(), record={}),
    ]
    write_scored(tmp_path / "out", cases)
    return tmp_path / "out"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


def page(out: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The page as it is first shown."""
    monkeypatch.setattr(sys, "argv", ["app.py", str(out)])
    return AppTest.from_file(str(ui.app.__file__), default_timeout=30).run()


def press(shown: AppTest, label: str) -> AppTest:
    """Press the button with this label."""
    (button,) = [button for button in shown.button if button.label == label]
    return button.click().run()


def cases(shown: AppTest) -> list[str]:
    """The case ids of the worklist, in its order."""
    return list(shown.dataframe[0].value["case"])


def words(shown: AppTest) -> str:
    """All that the page says in HTML and in Markdown."""
    return "\n".join([str(block.proto.body) for block in shown.get("html")] + [block.value for block in shown.markdown])


def test_the_worklist_is_shown_first_and_the_most_urgent_case_on_top(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = page(out, monkeypatch)

    assert not shown.exception
    assert cases(shown) == ["urgent", "mild", "quiet"]
    first = shown.dataframe[0].value.iloc[0]
    assert (first["leading"], list(first["word"]), first["reviewed"]) == ("lung cancer", ["Flagged"], "0 of 3")
    assert "2 with a finding flagged" in words(shown)


@pytest.mark.parametrize(
    ("widget", "key", "value", "left"),
    [
        ("selectbox", "flag", "pneumonia", ["mild"]),
        ("multiselect", "missing", ["note"], ["mild"]),
        ("multiselect", "missing", ["image", "record"], ["quiet"]),
        ("text_input", "search", "UIE", ["quiet"]),
    ],
)
def test_filters_narrow_the_worklist(
    out: Path, monkeypatch: pytest.MonkeyPatch, widget: str, key: str, value: Any, left: list[str]
) -> None:
    shown = page(out, monkeypatch)

    getattr(shown, widget)(key=key).set_value(value).run()

    assert cases(shown) == left


def test_reviewed_cases_can_be_told_from_the_others(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(out / "store.sqlite") as store:
        store.add_review(Review("urgent", MODEL, "lung_cancer", "accept", "", "ada", datetime.now(UTC)))
    shown = page(out, monkeypatch)

    shown.session_state["state"] = "Not reviewed"
    assert cases(shown.run()) == ["mild", "quiet"]
    shown.session_state["state"] = "Reviewed"
    assert cases(shown.run()) == ["urgent"]


def test_a_filter_that_nothing_fits_says_so(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(out, monkeypatch)

    shown.text_input(key="search").set_value("no such case").run()

    assert [info.value for info in shown.info] == ["No case fits these filters."]


def test_what_could_not_be_scored_is_said_below_the_list(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(out / "store.sqlite") as store:
        store.refuse(MODEL, Refusal("broken", Reason.CRASH, "the reading process died", "Send it again"))

    shown = page(out, monkeypatch)

    assert shown.expander[0].label.startswith("1 not scored")
    assert list(shown.dataframe[1].value["Code"]) == ["crash"]


def test_next_and_previous_go_through_the_list_and_filters_outlive_the_visit(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = page(out, monkeypatch)
    shown.text_input(key="search").set_value("i").run()

    press(shown, "Open most urgent")
    assert "<h1>mild</h1>" in words(shown)
    press(shown, "Next case")
    assert "<h1>quiet</h1>" in words(shown)
    press(shown, "Previous case")
    press(shown, "Back to worklist")

    assert cases(shown) == ["mild", "quiet"]


def test_choosing_a_finding_shows_who_spoke_for_it(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = press(page(out, monkeypatch), "Open most urgent")
    assert "Calibrated probability 87%" in words(shown)

    press(shown, "heart failure")

    assert "Calibrated probability 5%" in words(shown)
    assert "Accept: not flagged" in [button.label for button in shown.button]


def test_a_case_says_what_the_model_saw_and_who_the_model_is(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(out, monkeypatch)
    shown.text_input(key="search").set_value("quiet").run()

    drawn = words(press(shown, "Open most urgent"))

    assert "image not given" in drawn
    assert "This does not rule anything out." in drawn
    assert f"Model {MODEL}" in drawn
    assert "Decision support for research." in drawn


def test_a_decision_is_stored_and_a_further_one_is_a_new_row(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = press(page(out, monkeypatch), "Open most urgent")
    shown.text_input(key="reviewer").set_value("ada").run()

    shown.text_area[0].set_value("seen on the old film")
    press(shown, "Accept: flagged")
    press(shown, "Override: not flagged")

    with Store(out / "store.sqlite") as store:
        reviews = store.reviews(MODEL, "urgent")
    assert [(r.verdict, r.comment, r.reviewer) for r in reviews] == [
        ("accept", "seen on the old film", "ada"),
        ("override", "", "ada"),
    ]
    assert "stands as not flagged" in shown.success[0].value
    assert shown.expander[0].label == "History of this case (2)"
    press(shown, "Back to worklist")
    assert cases(shown)[-1] == "urgent"


def test_nothing_is_stored_without_a_name(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = press(page(out, monkeypatch), "Open most urgent")
    shown.text_input(key="reviewer").set_value("  ").run()

    press(shown, "Accept: flagged")

    assert "type your name" in shown.error[0].value
    with Store(out / "store.sqlite") as store:
        assert store.reviews(MODEL, "urgent") == ()


def test_a_case_that_was_scored_again_meanwhile_is_not_decided_on_old_numbers(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = page(out, monkeypatch)
    with Store(out / "store.sqlite") as store:
        store.keep([scored_case("urgent", (0.5, 0.1, 0.1), content="d" * 64)])

    press(shown, "Open most urgent")

    assert "scored again" in shown.warning[0].value
    assert not shown.text_area


def test_a_film_whose_picture_is_gone_is_said_and_the_rest_is_shown(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for picture in (out / "films").iterdir():
        picture.unlink()
    st.cache_data.clear()

    shown = press(page(out, monkeypatch), "Open most urgent")

    assert "picture of this film is not in the folder" in shown.warning[0].value
    assert "Calibrated probability 87%" in words(shown)


@pytest.mark.parametrize("kind", ["absent", "empty", "unscored", "no database"])
def test_a_folder_that_is_not_a_scored_one_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = tmp_path / kind
    if kind != "absent":
        folder.mkdir()
    if kind == "unscored":
        Store(folder / "store.sqlite").close()
    if kind == "no database":
        (folder / "store.sqlite").write_text(NOTE * 40)
    before = sorted(folder.rglob("*"))

    shown = page(folder, monkeypatch)

    assert len(shown.error) == 1
    assert "\n" not in shown.error[0].value
    assert not shown.exception
    assert kind == "unscored" or sorted(folder.rglob("*")) == before


def test_a_mistake_of_ours_is_one_line_and_quotes_no_patient(
    out: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise KeyError(NOTE)

    monkeypatch.setattr(worklist, "load", fail)
    shown = page(out, monkeypatch)

    assert "KeyError" in shown.error[0].value
    assert NOTE not in shown.error[0].value
    assert "KeyError" in caplog.text
    assert NOTE not in caplog.text


def test_many_slices_and_the_prior_study_are_chosen_with_a_slider(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = scored_case("ct", (0.45, 0.05, 0.99), views=("PA",) * 9)
    first = case.evidence.films[0]
    slices = [replace(first, modality="CT", view="", part=f"slice {n} of 300") for n in range(8)]
    films = (*slices, replace(first, prior=True))
    with Store(out / "store.sqlite") as store:
        store.keep([replace(case, evidence=replace(case.evidence, films=films))])

    shown = press(page(out, monkeypatch), "Open most urgent")

    (slider,) = shown.select_slider
    assert slider.options[4] == "CT slice 4 of 300"
    assert slider.options[8] == "Film 9, PA, prior"
    assert "image (8 slices, prior study)" in words(shown)
    assert not slider.set_value(8).run().exception
