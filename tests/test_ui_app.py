"""The screen without a browser: routing, filters, decisions, and what is said of a folder that is not a scored one."""

from __future__ import annotations

import csv
import html
import json
import re
import sqlite3
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
from medmm.result import Limits, Refusal, Review
from medmm.store.decisions import Decision, has_seen
from medmm.store.events import Reader
from medmm.store.store import Store
from tests.scored import LABELS, MODEL, NOTE, scored_case, write_scored
from ui import door, export, viewer, worklist

GRACE = Reader("grace")


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


@pytest.fixture
def store(out: Path) -> Iterator[Store]:
    with Store(out / "store.sqlite") as opened:
        yield opened


def page(out: Path, monkeypatch: pytest.MonkeyPatch, reviewer: str = "ada") -> AppTest:
    """The page as it is first shown to a person."""
    monkeypatch.setattr(sys, "argv", ["app.py", str(out)])
    shown = AppTest.from_file(str(ui.app.__file__), default_timeout=30)
    shown.session_state["reviewer"] = reviewer
    return shown.run()


def labels(shown: AppTest) -> list[str]:
    """What is written on buttons, without their keys."""
    return [re.sub(r"`.*?`|\\", "", button.label).strip() for button in shown.button]


def press(shown: AppTest, label: str) -> AppTest:
    """Press the button with this label."""
    return shown.button[labels(shown).index(label)].click().run()


def turn(shown: AppTest, key: str) -> AppTest:
    """Press the button that is a picture only."""
    return shown.button(key=key).click().run()


def listed(shown: AppTest) -> str:
    """The worklist as HTML; empty if there is no case in it."""
    said = [json.loads(block.proto.json) for block in shown.get("bidi_component")]
    return next((one["html"] for one in said if "html" in one), "")


def cases(shown: AppTest) -> list[str]:
    """The case ids of the worklist, in its order."""
    return re.findall(r"<button[^>]*>(.*?)</button>", listed(shown))


def words(shown: AppTest) -> str:
    """All that the page says in HTML and in Markdown."""
    return "\n".join([str(block.proto.body) for block in shown.get("html")] + [block.value for block in shown.markdown])


def test_the_worklist_is_shown_first_and_the_most_urgent_case_on_top(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = page(out, monkeypatch)

    assert not shown.exception
    assert cases(shown) == ["urgent", "mild", "quiet"]
    first = html.unescape(re.sub(r"<[^>]+>", "|", listed(shown).split("</tr>")[1]))
    assert [part.strip() for part in first.split("|") if part.strip()] == [
        *("0 min", "urgent", "Flagged", "lung cancer", "87%", "–"),
    ]
    assert "3 to review" in words(shown)


def test_what_somebody_calls_more_urgent_comes_first(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (out / "priorities.toml").write_text("pneumonia = 10\n")

    assert cases(page(out, monkeypatch))[0] == "mild"


def test_priorities_that_are_no_numbers_are_one_line_with_a_remedy(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (out / "priorities.toml").write_text("pneumonia = 'high'\n")

    assert "number above 0" in page(out, monkeypatch).error[0].value


@pytest.mark.parametrize(
    ("key", "value", "left"),
    [
        ("label", "pneumonia", ["mild"]),
        ("only", ["note"], ["mild"]),
        ("only", ["image", "record"], ["quiet"]),
        ("search", "UIE", ["quiet"]),
        ("status", "reviewed", []),
        ("order", "case", ["mild", "quiet", "urgent"]),
    ],
)
def test_filters_narrow_the_worklist(
    out: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: Any, left: list[str]
) -> None:
    shown = page(out, monkeypatch)

    shown.session_state[key] = value

    assert cases(shown.run()) == left


def test_each_filter_says_how_many_cases_it_leaves(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(out, monkeypatch)

    written = [option.content for group in shown.get("button_group") for option in group.proto.options]

    assert "To review :small[3]" in written
    assert "No note :small[1]" in written
    assert list(shown.selectbox(key="label").options) == ["heart failure (0)", "lung cancer (1)", "pneumonia (1)"]


def test_only_a_page_of_many_cases_is_shown_and_the_next_one_is_a_button_away(
    out: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    store.keep([scored_case(f"case-{n:03}", (0.2, 0.1, 0.1)) for n in range(worklist.PAGE)])
    shown = page(out, monkeypatch)
    assert len(cases(shown)) == worklist.PAGE

    turn(shown, "later")

    assert len(cases(shown)) == 3
    assert "51–53 of 53" in words(shown)


def test_a_page_that_was_worked_through_makes_room_for_what_still_waits(
    out: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    store.keep([scored_case(f"case-{n:03}", (0.2, 0.1, 0.1)) for n in range(worklist.PAGE)])
    shown = page(out, monkeypatch)
    shown.session_state["status"] = "not reviewed"
    last = cases(turn(shown.run(), "later"))
    for case_id in last:
        store.trail.decide(GRACE, store.trail.desk(MODEL, case_id), Decision("pneumonia", "accept"))

    turn(shown, "refresh")

    assert len(last) == 3
    assert len(cases(shown)) == worklist.PAGE
    assert "1–50 of 50" in words(shown)


def test_what_is_pressed_after_a_case_was_left_does_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    shown = press(page(out, monkeypatch), "Start reading")

    shown.button[labels(shown).index("Worklist")].click()
    shown.button[labels(shown).index("Accept: flagged")].click()
    turn(shown, "next")

    assert not shown.exception
    assert len(cases(shown)) == 3
    assert store.reviews(MODEL, "urgent") == ()
    assert [event.kind for event in store.trail.events()] == ["opened", "closed"]


def test_reviewed_cases_can_be_told_from_the_others(out: Path, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    store.trail.add(Review("urgent", MODEL, "lung_cancer", "accept", "", "ada", datetime.now(UTC)))
    shown = page(out, monkeypatch)

    shown.session_state["status"] = "not reviewed"
    assert cases(shown.run()) == ["mild", "quiet"]
    shown.session_state["status"] = "mine"
    assert cases(shown.run()) == ["urgent"]


def test_a_filter_that_nothing_fits_says_so_and_offers_the_way_out(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(out, monkeypatch)

    shown.text_input(key="search").set_value("no such case").run()

    assert [info.value for info in shown.info] == ["No case fits these filters."]
    assert len(cases(press(shown, "Clear the filters"))) == 3


def test_what_could_not_be_scored_is_said_below_the_list(
    out: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    store.refuse(MODEL, Refusal("broken", Reason.CRASH, "the reading process died", "Send it again"))

    shown = page(out, monkeypatch)

    assert shown.expander[0].label.startswith("1 not scored")
    assert list(shown.dataframe[0].value["Code"]) == ["crash"]


def test_next_and_previous_go_through_the_list_and_filters_outlive_the_visit(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = page(out, monkeypatch)
    shown.text_input(key="search").set_value("i").run()

    press(shown, "Start reading")
    assert "<h1>mild</h1>" in words(shown)
    turn(shown, "next")
    assert "<h1>quiet</h1>" in words(shown)
    turn(shown, "before")
    press(shown, "Worklist")

    assert cases(shown) == ["mild", "quiet"]


def test_how_long_a_case_was_open_is_in_the_trail(out: Path, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    shown = press(page(out, monkeypatch), "Start reading")
    press(shown, "heart failure")
    press(shown, "Worklist")

    opened, closed = store.trail.events()
    assert (opened.kind, opened.shown.case_id, opened.who) == ("opened", "urgent", "ada")
    assert (closed.kind, closed.payload["event"]) == ("closed", opened.number)
    assert closed.payload["seconds"] > 0


def test_choosing_a_finding_shows_who_spoke_for_it(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = press(page(out, monkeypatch), "Start reading")
    assert "Calibrated probability 87%" in words(shown)

    press(shown, "heart failure")

    assert "Calibrated probability 5%" in words(shown)
    assert "Accept: not flagged" in labels(shown)


def test_a_case_says_what_the_model_saw_and_who_the_model_is(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(out, monkeypatch)
    shown.text_input(key="search").set_value("quiet").run()

    drawn = words(press(shown, "Start reading"))

    assert "image not given" in drawn
    assert "This does not rule anything out." in drawn
    assert f"Model {MODEL}, scored " in drawn
    assert "Decision support for research" in drawn


def test_what_would_be_said_without_each_side_and_which_values_are_unusual_stands_in_the_evidence(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = press(page(out, monkeypatch), "Start reading")
    assert "Without the note: " in words(shown)

    press(shown, "Record")

    assert "↑ above 0 to 5" in words(shown)


def test_a_blind_reader_is_told_of_unusual_values_and_not_of_what_would_be_said_without_a_side(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = page(out, monkeypatch)
    shown.session_state["blind"] = True
    press(shown.run(), "Start reading")
    assert "Without the note: " not in words(shown)

    press(shown, "Record")

    assert "↑ above 0 to 5" in words(shown)


def test_a_store_of_an_earlier_medmm_opens_and_is_silent_of_what_it_does_not_know(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(out / "store.sqlite") as kept:
        for number, place, said in kept.execute("SELECT prediction_id, place, contributions FROM finding").fetchall():
            older = [{name: side[name] for name in ("modality", "log_odds")} for side in json.loads(said)]
            where = "WHERE prediction_id = ? AND place = ?"
            kept.execute(f"UPDATE finding SET contributions = ? {where}", (json.dumps(older), number, place))
        kept.execute("UPDATE prediction SET evidence = json_remove(evidence, '$.usual')")

    shown = press(page(out, monkeypatch), "Start reading")
    why = words(shown)
    press(shown, "Record")

    assert not shown.exception
    assert "knows nothing of" in why
    assert "Without" not in why
    assert "crp mg l" in words(shown)
    assert "above" not in words(shown)


def test_one_kind_of_evidence_is_open_at_a_time_and_stays_so_from_case_to_case(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = press(page(out, monkeypatch), "Start reading")
    assert "knows nothing of" in words(shown)

    press(shown, "Record")
    assert "knows nothing of" not in words(shown)
    turn(shown, "next")
    assert "crp mg l" in words(shown)
    press(shown, "Record")

    assert "crp mg l" not in words(shown)


def test_a_decision_is_stored_with_its_comment_and_the_next_finding_is_asked_for(
    out: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    shown = press(page(out, monkeypatch), "Start reading")

    shown.text_area[0].set_value("seen on the old film")
    press(shown, "Override: not flagged")

    (review,) = store.reviews(MODEL, "urgent")
    assert (review.label, review.verdict, review.comment, review.reviewer) == (
        *("lung_cancer", "override", "seen on the old film", "ada"),
    )
    assert "<b>Pneumonia.</b>" in words(shown)
    assert shown.text_area[0].value == ""
    press(shown, "lung cancer")
    assert "Overridden: not flagged." in words(shown)
    press(shown, "Worklist")
    assert cases(shown)[-1] == "urgent"


def test_once_every_finding_is_decided_the_next_case_is_offered(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = press(page(out, monkeypatch), "Start reading")

    press(press(press(shown, "Accept: flagged"), "Accept: not flagged"), "Cannot judge")

    assert "decided every finding" in words(shown)
    assert "<h1>mild</h1>" in words(press(shown, "Next case"))


def test_a_word_is_taken_back_by_a_further_event(out: Path, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    shown = press(page(out, monkeypatch), "Start reading")
    press(shown, "Accept: flagged")
    press(shown, "lung cancer")

    press(shown, "Undo")

    assert store.reviews(MODEL, "urgent") == ()
    assert [event.kind for event in store.trail.events()] == ["opened", "decided", "retracted"]
    assert "took back what was said of lung cancer" in words(press(shown, "History"))


def test_what_the_model_calls_uncertain_is_said_to_be_present_or_absent(
    out: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    case = scored_case("urgent", content="d" * 64)
    unsure = tuple(replace(one, limits=Limits(0.01, 0.99, 0.1)) for one in case.prediction.findings)
    store.keep([replace(case, prediction=replace(case.prediction, findings=unsure))])
    shown = press(page(out, monkeypatch), "Start reading")
    assert "Accept: uncertain" in labels(shown)

    press(shown, "Present")

    (review,) = store.reviews(MODEL, "urgent")
    assert (review.verdict, review.present, review.blind) == ("override", True, False)


def test_whoever_reads_blind_sees_the_answer_only_after_a_word_on_every_finding(
    out: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    store.trail.decide(GRACE, store.trail.desk(MODEL, "urgent"), Decision("lung_cancer", "accept", "a nodule"))
    shown = page(out, monkeypatch)
    shown.sidebar.toggle[0].set_value(True).run()
    assert "lung cancer" not in listed(shown)
    shown.session_state["order"] = "newest"
    shown.text_input(key="search").set_value("urgent").run()

    press(shown, "Start reading")
    press(press(shown, "Note"), "Absent")
    hidden = words(shown)
    press(press(shown, "Absent"), "Present")

    for told in ("87%", "lung cancer</span>", "Flagged", "a nodule", "log-odds"):
        assert told not in hidden
    assert "87%" in words(shown)
    assert "a nodule" in words(press(shown, "lung cancer"))
    mine = [word for word in store.reviews(MODEL, "urgent") if word.reviewer == "ada"]
    assert [(word.label, word.verdict, word.present, word.blind) for word in mine] == [
        ("pneumonia", "accept", False, True),
        ("heart_failure", "accept", False, True),
        ("lung_cancer", "accept", True, True),
    ]


def test_a_blind_reader_is_not_told_the_answer_by_their_own_words(
    out: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    shown = page(out, monkeypatch)
    shown.sidebar.toggle[0].set_value(True).run()
    press(press(press(shown, "Start reading"), "History"), "Present")

    press(shown, "pneumonia")

    said = words(shown)
    assert "first reader" in said
    assert "Present." in said
    for told in ("Overridden", "overridden", "Accepted", "accepted", "not flagged"):
        assert told not in said


def test_a_blind_reader_is_told_that_somebody_decided_meanwhile_and_not_what(
    out: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    shown = page(out, monkeypatch)
    shown.sidebar.toggle[0].set_value(True).run()
    press(shown, "Start reading")
    case_id = next(event.shown.case_id for event in store.trail.events())
    store.trail.decide(GRACE, store.trail.desk(MODEL, case_id), Decision("pneumonia", "accept", "a shadow"))

    press(shown, "Present")

    assert "Somebody else said something of pneumonia" in shown.warning[0].value.replace("\\", "")
    assert "shadow" not in shown.warning[0].value
    assert "grace" not in shown.warning[0].value


def test_what_was_seen_in_another_session_cannot_be_read_blind_either(
    out: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    press(press(page(out, monkeypatch), "Start reading"), "Worklist")

    again = page(out, monkeypatch)
    again.sidebar.toggle[0].set_value(True).run()
    again.session_state["order"] = "urgent"
    press(press(again.run(), "Start reading"), "Accept: flagged")

    assert [word.blind for word in store.reviews(MODEL, "urgent")] == [False]


def test_whoever_has_once_said_something_of_every_finding_does_not_read_it_blind_again(
    out: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    ada = Reader("ada", "lead")
    store.trail.open(ada, store.trail.desk(MODEL, "urgent").shown, blind=True)
    for label in LABELS:
        said = Decision(label, "override", blind=True)
        number = store.trail.decide(ada, store.trail.desk(MODEL, "urgent"), said)
    assert has_seen(store.trail.desk(MODEL, "urgent"), "ada")

    store.trail.retract(ada, number)

    assert has_seen(store.trail.desk(MODEL, "urgent"), "ada")
    assert not has_seen(store.trail.desk(MODEL, "urgent"), "grace")
    assert not has_seen(store.trail.desk(MODEL, "mild"), "ada")


def test_what_was_seen_cannot_be_read_blind_afterwards(
    out: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    shown = press(press(page(out, monkeypatch), "Start reading"), "Worklist")

    shown.sidebar.toggle[0].set_value(True).run()
    press(press(shown, "Start reading"), "Accept: flagged")

    assert [word.blind for word in store.reviews(MODEL, "urgent")] == [False]


def test_a_conflict_shows_what_the_other_said_and_loses_nothing_that_was_typed(
    out: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    shown = press(page(out, monkeypatch), "Start reading")
    store.trail.decide(GRACE, store.trail.desk(MODEL, "urgent"), Decision("lung_cancer", "accept", "a nodule"))

    shown.text_area[0].set_value("a nipple shadow")
    press(shown, "Override: not flagged")

    assert "Said of lung cancer while you were reading: grace" in shown.warning[0].value.replace("\\", "")
    assert "a nodule" in shown.warning[0].value
    assert shown.text_area[0].value == "a nipple shadow"
    assert [word.reviewer for word in store.reviews(MODEL, "urgent")] == ["grace"]

    press(shown, "Override: not flagged")

    assert [(w.reviewer, w.reading, w.comment) for w in store.reviews(MODEL, "urgent")] == [
        ("grace", "first reader", "a nodule"),
        ("ada", "second reader", "a nipple shadow"),
    ]
    assert "disagreed" in words(shown)


def test_a_lead_ends_a_disagreement(out: Path, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    for who, verdict in ((GRACE, "accept"), (Reader("edith"), "override")):
        store.trail.decide(who, store.trail.desk(MODEL, "urgent"), Decision("lung_cancer", verdict))  # type: ignore[arg-type]
    shown = press(page(out, monkeypatch), "Start reading")
    shown.session_state["status"] = "disagreed"

    shown = press(shown, "Worklist")
    press(press(shown, "Start reading"), "Adjudicate")
    press(shown, "Accept: flagged")

    assert store.trail.desk(MODEL, "urgent").standings["lung_cancer"].state == "adjudicated"
    assert "ada reads as adjudicator" in words(shown)


def test_a_case_is_claimed_and_released_and_the_list_says_who_has_it(
    out: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    shown = press(press(page(out, monkeypatch), "Start reading"), "Claim")
    press(shown, "Worklist")

    assert "<td>ada</td>" in listed(shown)
    press(press(shown, "Start reading"), "Release")
    assert store.trail.desk(MODEL, "urgent").claim is None


def test_nothing_is_shown_without_a_name(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(out, monkeypatch, reviewer="  ")

    assert "Give your name first" in shown.info[0].value
    assert cases(shown) == []


def test_whoever_comes_to_the_screen_does_not_go_on_in_the_name_of_another(
    out: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    shown = press(page(out, monkeypatch), "Start reading")

    shown.sidebar.text_input[0].set_value("grace").run()

    assert len(cases(shown)) == 3
    assert [(event.kind, event.who) for event in store.trail.events()] == [("opened", "ada"), ("closed", "ada")]


def test_a_case_that_was_scored_again_meanwhile_is_not_decided_on_old_numbers(
    out: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    shown = press(page(out, monkeypatch), "Start reading")
    store.keep([scored_case("urgent", (0.5, 0.1, 0.1), content="d" * 64)])

    press(shown, "Accept: flagged")

    assert "scored again" in shown.error[0].value
    assert store.reviews(MODEL, "urgent") == ()
    assert "Calibrated probability 10%" in words(shown)


def test_decisions_leave_as_csv_one_row_a_word(store: Store) -> None:
    desk = store.trail.desk(MODEL, "urgent")
    store.trail.decide(GRACE, desk, Decision("lung_cancer", "override", 'so "be" it,\nsays grace'))

    (row,) = csv.DictReader(export.decisions(store, MODEL).splitlines(keepends=True))

    assert (row["case_id"], row["label"], row["verdict"], row["holds"]) == ("urgent", LABELS[2], "override", "False")
    assert row["comment"] == 'so "be" it,\nsays grace'


def test_a_film_whose_picture_is_gone_is_said_and_the_rest_is_shown(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for picture in (out / "films").iterdir():
        picture.unlink()

    shown = press(page(out, monkeypatch), "Start reading")

    assert not shown.exception
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


def fail(*_: object) -> bytes:
    """A mistake of ours that would quote a note."""
    raise KeyError(NOTE)


def test_a_mistake_of_ours_is_one_line_and_quotes_no_patient(
    out: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worklist, "load", fail)
    shown = page(out, monkeypatch)

    assert "KeyError" in shown.error[0].value
    assert NOTE not in shown.error[0].value
    assert "KeyError" in caplog.text
    assert NOTE not in caplog.text


def test_many_slices_and_the_prior_study_are_counted(out: Path, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    case = scored_case("ct", (0.45, 0.05, 0.99), views=("PA",) * 9)
    first = case.evidence.films[0]
    slices = [replace(first, modality="CT", view="", part=f"slice {n} of 300") for n in range(8)]
    films = (*slices, replace(first, prior=True))
    store.keep([replace(case, evidence=replace(case.evidence, films=films))])

    shown = press(page(out, monkeypatch), "Start reading")

    assert not shown.exception
    assert "image (8 slices, prior study)" in words(shown)


def test_a_mistake_of_ours_in_what_a_press_does_is_one_line_and_quotes_no_patient(
    out: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(viewer, "drawn", fail)
    shown = press(press(page(out, monkeypatch), "Start reading"), "Accept: flagged")

    assert "KeyError" in shown.error[0].value
    assert not shown.exception
    assert "KeyError" in caplog.text
    assert NOTE not in caplog.text


def test_what_goes_wrong_in_a_download_quotes_no_patient(
    out: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py", str(out)])
    monkeypatch.setitem(st.session_state, "reviewer", "ada")
    with pytest.raises(RuntimeError, match=r"^KeyError$"):
        door.take(Reader("ada", "lead"), fail)()

    assert NOTE not in caplog.text
