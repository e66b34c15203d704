"""What the screen draws: colours, marked words, bars and words, each from one frozen value."""

from __future__ import annotations

import html
import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import PIL.Image
import pytest

from medmm.result import Contribution, Deletion, Outline, Region, Review, Standing, Without, WordWeight
from medmm.store.events import Shown
from medmm.store.worklist import WorklistRow
from medmm.write.paint import COOL, FULL, WARM, overlay_png, paint, reach
from tests.scored import LABELS, NOTE, SCRIPT, finding, scored_case
from ui import decision, findings, given, reasons, say, worklist
from ui.note import marked_note

TAGS = re.compile(r"<[^>]*>")


def text_of(markup: str) -> str:
    """What a reader sees of HTML."""
    return html.unescape(TAGS.sub("", markup))


# colours


def test_what_speaks_for_a_finding_is_warm_and_what_speaks_against_it_is_cool() -> None:
    painted = paint(np.array([[0.5, -0.5]], dtype=np.float32), 1.0)

    assert tuple(painted[0, 0, :3]) == WARM
    assert tuple(painted[0, 1, :3]) == COOL
    assert painted[0, 0, 3] == painted[0, 1, 3]


def test_where_the_model_did_not_look_nothing_is_drawn() -> None:
    painted = paint(np.array([[np.nan, 0.0]], dtype=np.float32), 1.0)

    assert painted[..., 3].tolist() == [[0, 0]]


def test_opacity_grows_with_the_log_odds_up_to_the_end_of_the_scale() -> None:
    painted = paint(np.array([[0.0, 0.25, -0.5, 1.0, 7.0]], dtype=np.float32), 1.0)

    assert painted[0, :, 3].tolist() == [0, 64, 128, 255, 255]


def test_the_scale_ends_at_the_strongest_cell_of_all_films_and_never_makes_noise_glow() -> None:
    explanation = scored_case("c1", views=("PA", "LL")).evidence.explanations[0]
    faint = [replace(o, cells=np.where(np.isnan(o.cells), o.cells, 0.01)) for o in explanation.overlays]
    loud = replace(explanation.overlays[1], cells=explanation.overlays[1].cells * 3)

    assert reach(replace(explanation, overlays=tuple(faint))) == FULL * 49 / 100  # a hundred cells share what 49 bear
    assert reach(replace(explanation, overlays=())) == FULL
    assert reach(replace(explanation, overlays=(faint[0], loud))) == pytest.approx(np.nanmax(np.abs(loud.cells)))


def test_an_overlay_has_the_proportions_of_its_film() -> None:
    overlay = scored_case("c1").evidence.explanations[0].overlays[0]
    wide = replace(overlay, placement=replace(overlay.placement, rows=1500, columns=3000))

    picture = PIL.Image.open(io.BytesIO(overlay_png(wide, 1.0)))

    assert (picture.mode, picture.size) == ("RGBA", (640, 320))


# the note


@pytest.mark.parametrize("note", [NOTE, SCRIPT, "a\n\n  b & c < d", "</div><mark>", "ünïcode 肺炎 “quote” 'x'"])
def test_a_marked_note_keeps_every_character_and_adds_no_tag_of_its_own(note: str) -> None:
    words = [WordWeight(m.start(), m.end(), (-1) ** n * 0.9) for n, m in enumerate(re.finditer(r"\w+", note))]

    marked = marked_note(note, words)

    assert text_of(marked) == note
    assert set(re.findall(r"</?(\w+)", marked)) <= {"div", "mark"}


def test_a_word_is_marked_by_its_sign_and_its_strength() -> None:
    words = [WordWeight(0, 4, 1.0), WordWeight(5, 10, -0.5), WordWeight(11, 16, 0.01)]

    marked = marked_note("weak cough today", words)

    assert '<mark class="mm-for"' in marked
    assert 'title="+1.00 log-odds">weak</mark>' in marked
    assert 'title="−0.50 log-odds">cough</mark> today' in marked


def test_a_word_that_lies_outside_the_note_or_across_another_is_left_plain() -> None:
    words = [WordWeight(0, 6, 1.0), WordWeight(3, 9, 1.0), WordWeight(90, 99, 1.0)]

    marked = marked_note("fever, cough", words)

    assert text_of(marked) == "fever, cough"
    assert marked.count("<mark") == 1


def test_what_the_model_did_not_read_of_a_long_note_is_set_apart() -> None:
    assert "mm-unread" in marked_note("read this, not that", [WordWeight(0, 4, 0.1), WordWeight(5, 9, 0.1)])
    assert "mm-unread" not in marked_note("read it all.", [WordWeight(5, 11, 0.1)])
    assert "mm-unread" not in marked_note("nothing was explained", [])


# findings


def test_a_case_with_nothing_flagged_says_that_this_rules_nothing_out() -> None:
    quiet = scored_case("c1", (0.1, 0.1, 0.1)).prediction

    assert text_of(findings.summary(quiet)) == "No finding reached its threshold. This does not rule anything out."


def test_what_is_flagged_is_named() -> None:
    assert "lung cancer" in text_of(findings.summary(scored_case("c1").prediction))


def test_a_row_says_the_word_the_probability_and_the_threshold() -> None:
    row = findings.row(finding("pneumonia", 0.87), Standing("undecided"))

    assert text_of(row) == "Flagged87%"
    assert 'aria-label="Probability 87%, threshold 40%"' in row
    assert "left:40.00%" in row
    assert "width:87.00%" in row


@pytest.mark.parametrize(
    ("probability", "shown"),
    [(0.87, ("87%", "40%")), (0.398, ("39.8%", "40.0%")), (0.4, ("40.000%", "40.000%")), (0.0004, ("<1%", "40%"))],
)
def test_probability_and_threshold_are_never_rounded_into_each_other(
    probability: float, shown: tuple[str, str]
) -> None:
    assert say.percents(finding("pneumonia", probability)) == shown


def test_bars_grow_to_the_right_for_a_finding_and_to_the_left_against_it() -> None:
    assert '"mm-for " style="left:50.0%' in findings.bars(finding("pneumonia", 0.9), (), 4.0)
    assert re.search(r'"mm-against " style="left:[34]\d\.\d%', findings.bars(finding("pneumonia", 0.05), (), 4.0))


def test_bars_say_what_was_not_given_and_name_what_the_modalities_do_together() -> None:
    bars = findings.bars(finding("pneumonia", 0.9, ("image", "record")), ("note",), 4.0)

    assert "notenot given" in text_of(bars)
    assert "together+0.74" in text_of(bars)
    assert "Starts at −1.50" in text_of(bars)


def test_beside_each_bar_stands_what_would_be_said_without_it_and_another_word_stands_out() -> None:
    flagged = finding("pneumonia", 0.6)
    changed = Contribution("note", 1.2, Without(0.31, "not flagged"))
    kept = Contribution("image", 0.1, Without(0.58, "flagged"))

    drawn = findings.bars(replace(flagged, contributions=(kept, changed)), (), 4.0)

    assert 'class="mm-strong" title="Without the note: 31% (not flagged)">31% (not flagged)<' in drawn
    assert 'class="" title="Without the image: 58% (flagged)">58% (flagged)<' in drawn
    assert "BroughtWithout it" in text_of(drawn)


def test_bars_of_an_answer_that_does_not_say_it_have_no_empty_column() -> None:
    earlier = replace(finding("pneumonia", 0.6), contributions=(Contribution("note", 1.2),))

    assert "Without" not in text_of(findings.bars(earlier, (), 4.0))


@pytest.mark.parametrize(
    ("value", "said", "stands_out"),
    [
        (5.1, "↑ above 3.5 to 5", True),
        (3.4, "↓ below 3.5 to 5", True),
        (5.0, "3.5 to 5", False),
        (3.5, "3.5 to 5", False),
    ],
)
def test_a_value_out_of_its_usual_range_is_marked_in_words_and_by_an_arrow(
    value: float, said: str, stands_out: bool
) -> None:
    case = scored_case("c1", record={"potassium": value})
    evidence = replace(case.evidence, usual={"potassium": (3.5, 5.0)}, units={"potassium": "mmol/L"})

    drawn = given.record_table(evidence, None)

    assert text_of(drawn).endswith(f"potassium{value:g}mmol/L{said}")
    assert ("mm-strong" in drawn) == stands_out


def test_a_record_without_usual_ranges_has_no_column_for_them_and_a_word_has_no_range() -> None:
    case = scored_case("c1", record={"age_years": 74.0, "sex": "female"})

    assert "Usual range" not in given.record_table(case.evidence, None)
    assert "Usual range" not in given.record_table(replace(case.evidence, usual={"other": (0.0, 1.0)}), None)
    with_word = given.record_table(replace(case.evidence, usual={"sex": (0.0, 1.0)}), None)
    assert "↑" not in with_word
    assert "↓" not in with_word


def test_the_bars_of_a_case_share_one_scale() -> None:
    prediction = scored_case("c1").prediction

    end = findings.reach(prediction)

    assert end == max(abs(c.log_odds) for f in prediction.findings for c in f.contributions)


def test_labels_units_remarks_and_record_values_are_escaped() -> None:
    case = scored_case("c1", record={"<b>": SCRIPT})
    hostile = replace(finding("<b>", 0.9), contributions=())
    prediction = replace(case.prediction, findings=(hostile,), remarks=(SCRIPT,), absent=("<b>",))
    evidence = replace(case.evidence, units={"<b>": "<b>"})

    drawn = "".join(
        (
            findings.summary(prediction),
            findings.bars(hostile, (), 1.0),
            given.given(prediction, evidence),
            given.record_table(evidence, evidence.explanations[0]),
            given.remarks(prediction, evidence),
        )
    )

    assert not re.search(r"<(b|script|img)\b", drawn)


def test_what_a_person_should_look_at_comes_first_and_stands_out() -> None:
    case = scored_case("c1", views=("PA",))
    said = ("VOI window 40/400", "check: gap of 5 mm after slice 5 of 11")

    drawn = given.remarks(replace(case.prediction, remarks=said), replace(case.evidence, films=()))

    first, second = re.findall(r"<li.*?</li>", drawn)
    assert first == '<li class="mm-concern">gap of 5 mm after slice 5 of 11</li>'
    assert text_of(second) == "VOI window 40/400"


def test_what_the_model_saw_and_did_not_see_is_said_together() -> None:
    case = scored_case("c1", note="", views=("PA", "LL"))

    assert (
        text_of(given.given(case.prediction, case.evidence)) == "The model saw✓ image (2 films)✓ recordnote not given"
    )


def test_a_word_says_who_when_and_what_holds_by_it() -> None:
    at = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
    review = Review("c1", "m", LABELS[0], "override", "", "ada", at)
    drawn = Outline("f" * 64, ((1.0, 1.0), (9.0, 1.0), (5.0, 9.0)))

    assert say.said(finding(LABELS[0], 0.9), review) == (
        "ada (first reader), 2026-03-04 05:06 UTC: Overridden: not flagged."
    )
    accepted = replace(review, verdict="accept", blind=True, outline=drawn)
    assert say.said(finding(LABELS[0], 0.9), accepted).endswith(
        "Accepted: flagged. Said before the model’s answer was shown. With a region on the film."
    )
    assert say.said(finding(LABELS[0], 0.9), replace(review, verdict="cannot judge")).endswith("Could not be judged.")


@pytest.mark.parametrize(
    ("minutes", "shown"), [(-3, "0 min"), (59, "59 min"), (60, "1 h"), (47 * 60, "47 h"), (72 * 60 + 1, "3 d")]
)
def test_how_long_a_case_waits_is_said_in_its_largest_unit(minutes: int, shown: str) -> None:
    assert say.ago(timedelta(minutes=minutes)) == shown


def test_the_list_escapes_a_case_id_and_tells_a_blind_reader_nothing_of_the_answer() -> None:
    now = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
    said = scored_case(SCRIPT).prediction
    row = WorklistRow(said, now, 1, 0, None, Shown("m", SCRIPT))

    seen, hidden = worklist.table([row], now, blind=False), worklist.table([row], now, blind=True)

    assert SCRIPT in text_of(seen)
    assert not re.search(r"<(script|img|b)\b", seen)
    assert "lung cancer" in seen
    assert "lung cancer" not in hidden
    assert "87%" not in hidden


@pytest.mark.parametrize(
    ("probability", "hidden", "offered"),
    [
        (0.9, False, [("a", "accept", None), ("o", "override", None), ("c", "cannot judge", None)]),
        (0.9, True, [("y", "accept", True), ("n", "override", False), ("c", "cannot judge", None)]),
        (0.1, True, [("y", "override", True), ("n", "accept", False), ("c", "cannot judge", None)]),
    ],
)
def test_a_blind_word_accepts_the_answer_that_says_the_same(
    probability: float, hidden: bool, offered: list[tuple[str, str, bool | None]]
) -> None:
    choices = decision.choices(finding("pneumonia", probability), hidden=hidden)

    assert [(choice.key, choice.verdict, choice.present) for choice in choices] == offered


def test_text_for_markdown_is_drawn_as_it_stands() -> None:
    assert say.literal("*a* ![x](http://y) :red[z]") == r"\*a\* \!\[x\]\(http\://y\) \:red\[z\]"


def test_similar_cases_say_what_is_known_of_the_finding_and_of_the_others() -> None:
    cases = scored_case("c1").evidence.similar

    text = text_of(reasons.similar_cases(cases, "lung_cancer"))

    assert "Lung cancer" in text
    assert re.search(r"t-017\s*yes\s*pneumonia\s*0\.21", text)
    assert re.search(r"t-204\s*not stated\s*heart failure\s*0\.43", text)


def test_of_many_words_the_first_are_quoted_and_the_rest_counted() -> None:
    spans = tuple((n, n + 1) for n in range(8))

    text = text_of(reasons.flipped(Deletion("flu", True, 1.0, -1.0, (), spans, ()), "abcdefgh", films=1))

    assert text.startswith("Without “a”, “b”, “c”, “d”, “e”, “f” and 2 more words flu would not be flagged.")


def test_a_deletion_is_one_sentence_that_quotes_the_words_and_promises_nothing() -> None:
    deletion = Deletion(
        "lung_cancer", True, 1.2, -0.3, (Region(1, (4, 5)), Region(1, (9,))), ((0, 8), (9, 15)), ("crp",)
    )

    text = text_of(reasons.flipped(deletion, "smoker<b cough", films=2))

    quoted = "“smoker<b”, “cough”"
    assert text.startswith(f"Without 2 regions of film 2; {quoted}; the value of crp lung cancer would not be flagged")
    assert "not what the patient has" in text


def test_what_a_note_says_is_quoted_and_not_drawn() -> None:
    deletion = Deletion("lung_cancer", False, -1.2, 0.3, (), ((0, 8),), ())

    html = reasons.flipped(deletion, "<script>", films=0)

    assert "<script>" not in html
    assert "would be flagged" in text_of(html)
