"""What the store promises: nothing is lost, nothing is changed, the newest counts, and no error quotes a patient."""

from __future__ import annotations

import multiprocessing
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from medmm.errors import Reason, StoreError
from medmm.result import Explanation, Limits, Refusal, Review, ScoredCase
from medmm.store.store import STORE, Store
from tests.scored import MODEL, NOTE, scored_case

CANARY = "case-that-no-error-may-name"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite") as opened:
        yield opened


def review(case_id: str = "c1", label: str = "lung_cancer", comment: str = "", reviewer: str = "ada") -> Review:
    return Review(case_id, MODEL, label, "override", comment, reviewer, datetime.now(UTC))


def refusal(problem: str = "the pixel data do not decode", case_id: str = "c1") -> Refusal:
    return Refusal(case_id, Reason.CORRUPT, problem, "Send the study again")


def assert_same_explanation(kept: Explanation, given: Explanation) -> None:
    assert (kept.label, kept.method, kept.words) == (given.label, given.method, given.words)
    assert (kept.record, kept.deletion) == (given.record, given.deletion)
    for one, other in zip(kept.overlays, given.overlays, strict=True):
        assert one.placement == other.placement
        assert one.cells.dtype == np.float32
        np.testing.assert_allclose(one.cells, other.cells, rtol=5e-4, equal_nan=True)


def test_a_scored_case_comes_back_as_it_was_kept(store: Store) -> None:
    given = scored_case("c1", views=("PA", "LL"))

    store.keep([given])
    kept = store.case(MODEL, "c1")

    assert (kept.prediction, kept.content) == (given.prediction, given.content)
    assert kept.evidence.films == given.evidence.films
    assert (kept.evidence.note, kept.evidence.record) == (given.evidence.note, given.evidence.record)
    assert kept.evidence.units == given.evidence.units
    assert kept.evidence.similar == given.evidence.similar != ()
    assert kept.evidence.study == given.evidence.study is not None
    for one, other in zip(kept.evidence.explanations, given.evidence.explanations, strict=True):
        assert_same_explanation(one, other)


def test_a_case_with_one_modality_only_comes_back_with_nothing_made_up(store: Store) -> None:
    store.keep([scored_case("c1", note="", record={}, views=("PA",)), scored_case("c2", record={}, views=())])

    image, note = store.case(MODEL, "c1"), store.case(MODEL, "c2")

    assert image.prediction.present == ("image",)
    assert (image.evidence.note, image.evidence.record) == ("", {})
    assert note.prediction.absent == ("image", "record")
    assert (note.evidence.films, note.evidence.explanations[0].overlays) == ((), ())


def test_cells_keep_four_significant_digits_and_where_the_model_did_not_look(store: Store) -> None:
    given = scored_case("c1")
    cells = np.full((10, 10), np.nan, dtype=np.float32)
    cells[0, :3] = 1.23456789, -0.000123456789, 0.0
    first = given.evidence.explanations[0]
    first = replace(first, overlays=(replace(first.overlays[0], cells=cells),))
    given = replace(given, evidence=replace(given.evidence, explanations=(first,)))

    store.keep([given])
    kept = store.case(MODEL, "c1").evidence.explanations[0].overlays[0].cells

    np.testing.assert_array_equal(np.isnan(kept), np.isnan(cells))
    np.testing.assert_array_equal(kept[0, :3], np.array([1.235, -0.0001235, 0.0], dtype=np.float32))


def test_the_newest_prediction_of_a_case_counts(store: Store) -> None:
    store.keep([scored_case("c1", (0.1, 0.1, 0.1), content="a" * 64), scored_case("c2")])
    store.keep([scored_case("c1", (0.9, 0.1, 0.1), content="b" * 64)])

    assert store.case(MODEL, "c1").prediction.findings[0].probability == 0.9
    assert store.contents(MODEL) == {"c1": "b" * 64, "c2": "c" * 64}
    assert len(store.worklist(MODEL)) == 2


def test_models_do_not_see_each_others_cases_and_the_latest_is_named_first(store: Store) -> None:
    other = scored_case("c1", (0.9, 0.1, 0.1))
    other = replace(other, prediction=replace(other.prediction, model_id="b" * 12))

    store.keep([scored_case("c1", (0.2, 0.1, 0.1))])
    store.keep([other])

    assert store.models() == ("b" * 12, MODEL)
    assert store.case(MODEL, "c1").prediction.findings[0].probability == 0.2
    assert [row.prediction.model_id for row in store.worklist("b" * 12)] == ["b" * 12]


def test_cases_are_kept_all_or_none(store: Store) -> None:
    broken = scored_case("c2")
    findings = (*broken.prediction.findings[:2], replace(broken.prediction.findings[2], probability=float("nan")))

    with pytest.raises(StoreError):
        store.keep([scored_case("c1"), replace(broken, prediction=replace(broken.prediction, findings=findings))])

    assert store.contents(MODEL) == {}


def test_a_case_that_was_never_scored_is_a_plain_error(store: Store) -> None:
    with pytest.raises(StoreError, match="has not scored this case"):
        store.case(MODEL, "c1")


def test_a_newer_reason_takes_the_place_of_an_older_one_and_a_score_takes_it_away(store: Store) -> None:
    store.refuse(MODEL, refusal("an old problem"))
    store.refuse(MODEL, refusal("a new problem"))
    store.refuse(MODEL, refusal(case_id="a0"))

    assert [(r.case_id, r.problem) for r in store.refusals(MODEL)] == [
        ("a0", "the pixel data do not decode"),
        ("c1", "a new problem"),
    ]
    store.keep([scored_case("c1")])
    assert [r.case_id for r in store.refusals(MODEL)] == ["a0"]


def test_a_case_that_was_refused_since_its_prediction_is_on_no_list_until_it_is_scored_again(store: Store) -> None:
    store.keep([scored_case("c1"), scored_case("c2")])

    store.refuse(MODEL, refusal(case_id="c1"))

    assert [row.prediction.case_id for row in store.worklist(MODEL)] == ["c2"]
    assert set(store.contents(MODEL)) == {"c2"}
    store.keep([scored_case("c1")])
    assert {row.prediction.case_id for row in store.worklist(MODEL)} == {"c1", "c2"}


def test_a_refusal_of_another_model_stays(store: Store) -> None:
    store.refuse("b" * 12, refusal())

    store.keep([scored_case("c1")])

    assert [r.code for r in store.refusals("b" * 12)] == [Reason.CORRUPT]


def test_every_word_on_a_case_is_kept_in_the_order_it_was_said(store: Store) -> None:
    store.keep([scored_case("c1")])
    words = [review(comment="first"), replace(review(comment="second"), verdict="accept"), review(comment="third")]

    for said in words:
        store.trail.add(said)

    assert list(store.reviews(MODEL, "c1")) == [replace(w, present=w.verdict == "accept") for w in words]
    assert store.reviews(MODEL, "c2") == ()


def test_a_review_changes_no_prediction(store: Store) -> None:
    given = scored_case("c1")
    store.keep([given])

    store.trail.add(review())

    assert store.case(MODEL, "c1").prediction == given.prediction


def test_a_time_from_another_zone_is_kept_as_the_same_moment(store: Store) -> None:
    said = replace(review(), at=datetime.now(UTC).astimezone().replace(microsecond=5))

    store.trail.add(said)

    assert store.reviews(MODEL, "c1")[0].at == said.at
    assert store.reviews(MODEL, "c1")[0].at.utcoffset() == timedelta(0)


def test_the_worklist_names_unreviewed_cases_first_and_then_the_most_urgent(store: Store) -> None:
    urgency = {"mild": 0.45, "seen": 0.95, "urgent": 0.9, "quiet": 0.05}
    store.keep([scored_case(case_id, (p, 0.01, 0.01)) for case_id, p in urgency.items()])

    store.trail.add(review("seen"))
    rows = store.worklist(MODEL)

    assert [row.prediction.case_id for row in rows] == ["urgent", "mild", "quiet", "seen"]
    assert rows[0].prediction == scored_case("urgent", (0.9, 0.01, 0.01)).prediction
    assert abs(rows[0].scored_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_finding_counts_as_reviewed_once_however_often_it_was_decided(store: Store) -> None:
    store.keep([scored_case("c1")])

    for label in ("lung_cancer", "lung_cancer", "pneumonia"):
        store.trail.add(review(label=label))

    assert [row.reviewed for row in store.worklist(MODEL)] == [2]


def test_a_case_that_was_scored_again_waits_for_a_new_review(store: Store) -> None:
    store.keep([scored_case("c1", content="a" * 64)])
    store.trail.add(review())

    store.keep([scored_case("c1", content="b" * 64)])

    assert [row.reviewed for row in store.worklist(MODEL)] == [0]
    assert len(store.reviews(MODEL, "c1")) == 1


def test_what_was_kept_is_there_when_the_store_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "odd name? #1.sqlite"
    with Store(path) as store:
        store.keep([scored_case("c1")])

    with Store(path) as store:
        assert store.models() == (MODEL,)
    assert path.is_file()


def test_a_store_by_url_is_the_same_store(tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path / 'store.sqlite'}") as store:
        store.keep([scored_case("c1")])

    with Store(tmp_path / "store.sqlite") as store:
        assert set(store.contents(MODEL)) == {"c1"}


def test_a_file_that_is_no_database_is_one_line_that_quotes_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_text(NOTE * 50)

    with pytest.raises(StoreError) as caught:
        Store(path)

    assert "\n" not in str(caught.value)
    assert "store.sqlite cannot be used" in str(caught.value)
    assert_quotes_nothing(caught.value)


@pytest.mark.parametrize(
    "url", ["no url at all", "nosuch://reader:hunter2@db/medmm", "postgresql+nosuch://a:hunter2@b/c"]
)
def test_an_address_that_leads_nowhere_is_one_line_without_its_password(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store(url)

    assert "\n" not in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_store_of_a_newer_medmm_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    Store(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE schema_version SET version = 99")

    with pytest.raises(StoreError, match="newer medmm"):
        Store(path)

    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT version FROM schema_version").fetchall() == [(99,)]


def keep_a_case(store: Store) -> None:
    store.keep([scored_case(CANARY)])


def add_a_word(store: Store) -> None:
    store.trail.add(review(CANARY, comment=NOTE))


@pytest.mark.parametrize("write", [keep_a_case, add_a_word])
def test_an_error_while_writing_names_no_case_and_quotes_no_note(
    tmp_path: Path, write: Callable[[Store], None]
) -> None:
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        with sqlite3.connect(path) as raw:
            raw.executescript("DROP TABLE finding; DROP TABLE event;")

        with pytest.raises(StoreError) as caught:
            write(store)

    assert_quotes_nothing(caught.value)


def assert_quotes_nothing(error: StoreError) -> None:
    """Neither in the line nor in the traceback that a careless caller prints."""
    shown = "".join(traceback.format_exception(error))
    assert CANARY not in shown
    assert NOTE not in shown
    assert "[SQL:" not in shown


def write_fifty(path: Path, who: str) -> None:
    with Store(path) as store:
        for n in range(50):
            case: ScoredCase = scored_case(f"{who}{n}", views=())
            store.keep([case])
            store.trail.add(review(case.prediction.case_id, reviewer=who))


def test_two_processes_that_open_and_write_a_new_store_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    context = multiprocessing.get_context("fork")

    writers = [context.Process(target=write_fifty, args=(path, who)) for who in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert [writer.exitcode for writer in writers] == [0, 0]
    with Store(path) as store:
        assert set(store.contents(MODEL)) == {f"{who}{n}" for who in "ab" for n in range(50)}
        assert [row.reviewed for row in store.worklist(MODEL)] == [1] * 100


def test_the_worklist_can_be_read_while_cases_are_written(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    Store(path).close()
    writer = multiprocessing.get_context("fork").Process(target=write_fifty, args=(path, "a"))

    writer.start()
    counts = []
    with Store(path) as store:
        while writer.is_alive():
            counts.append(len(store.worklist(MODEL)))
        writer.join()
        counts.append(len(store.worklist(MODEL)))

    assert writer.exitcode == 0
    assert counts == sorted(counts)
    assert counts[-1] == 50


def test_a_slice_and_a_film_of_the_prior_study_are_kept_as_such(tmp_path: Path) -> None:
    case = scored_case("c1", views=("PA", "LL"))
    first, second = case.evidence.films
    films = (replace(first, part="slice 12 of 300"), replace(second, prior=True))
    with Store(tmp_path / "store.sqlite") as store:
        store.keep([replace(case, evidence=replace(case.evidence, films=films))])

        assert store.case(case.prediction.model_id, "c1").evidence.films == films


def test_limits_and_doubts_come_back_as_they_were_kept(tmp_path: Path) -> None:
    case = scored_case("c1")
    findings = tuple(replace(f, limits=Limits(0.1, 0.8, 0.05)) for f in case.prediction.findings)
    kept = replace(case, prediction=replace(case.prediction, findings=findings, doubts=("unlike the others",)))
    with Store(tmp_path / STORE) as store:
        store.keep([kept])
        assert store.case(kept.prediction.model_id, "c1").prediction == kept.prediction


def test_a_store_from_before_limits_is_opened_and_its_findings_have_none(tmp_path: Path) -> None:
    path = tmp_path / STORE
    with Store(path) as store:
        store.keep([scored_case("c1")])
    with sqlite3.connect(path) as old:
        old.execute("ALTER TABLE finding DROP COLUMN limits")
        old.execute("UPDATE schema_version SET version = 1")
    old.close()
    with Store(path) as store:
        assert {f.limits for f in store.case(MODEL, "c1").prediction.findings} == {None}
