"""What the audit trail promises, on SQLite and on PostgreSQL: every act is kept, no word is lost, no touch unseen."""

from __future__ import annotations

import multiprocessing
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from medmm.errors import StoreError
from medmm.result import Limits, Outline, Review, Verdict
from medmm.store import desk, events
from medmm.store.decisions import ConflictError, Decision
from medmm.store.events import Head, Reader, Shown
from medmm.store.store import Store
from tests import postgres
from tests.scored import LABELS, MODEL, NOTE, scored_case

ADA, BO, CY = Reader("Ada"), Reader("Bo"), Reader("Cy", "lead")
FLAGGED, QUIET = LABELS[2], LABELS[1]
"""Of scored_case: probability 0.87 and 0.05."""
CANARY = "case-that-no-error-may-name"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.running() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | str]:
    """An empty database of either kind."""
    if request.param == "sqlite":
        yield tmp_path / "store.sqlite"
        return
    with postgres.database(request.getfixturevalue("server")) as url:
        yield url


@pytest.fixture
def store(where: Path | str) -> Iterator[Store]:
    """A store with one case, c1."""
    with Store(where) as opened:
        opened.keep([scored_case("c1")])
        yield opened


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """What time the store takes it to be: the last one of the list, UTC."""
    times = [datetime(2026, 3, 2, 8)]
    monkeypatch.setattr("medmm.store.trail.now", lambda: times[-1])
    monkeypatch.setattr("medmm.store.store._now", lambda: times[-1])
    return times


def say(store: Store, who: Reader, verdict: Verdict = "accept", label: str = FLAGGED, case_id: str = "c1") -> int:
    return store.trail.decide(who, store.trail.desk(MODEL, case_id), Decision(label, verdict))


def state(store: Store, label: str = FLAGGED) -> tuple[str, bool | None]:
    standing = store.trail.desk(MODEL, "c1").standings[label]
    return standing.state, standing.present


def test_a_decision_comes_back_with_all_that_was_said_and_what_the_model_had_said(store: Store) -> None:
    film = scored_case("c1").evidence.films[0].digest
    outline = Outline(film, ((10.5, 20.0), (30.0, 20.0), (30.0, 44.25)))

    number = store.trail.decide(
        CY, store.trail.desk(MODEL, "c1"), Decision(FLAGGED, "override", "A nipple shadow.", outline, blind=True)
    )
    (review,) = store.reviews(MODEL, "c1")
    (event,) = store.trail.events()

    assert replace(review, at=datetime.min) == Review(
        *("c1", MODEL, FLAGGED, "override", "A nipple shadow.", "Cy", datetime.min, "lead", "first reader"),
        present=False,
        blind=True,
        outline=outline,
    )
    assert (review.event, event.number, event.kind) == (number, number, "decided")
    assert event.payload["model"] == {"call": "flagged", "probability": 0.87, "threshold": 0.4}
    assert event.shown == store.trail.desk(MODEL, "c1").shown
    assert event.shown.content == "c" * 64


@pytest.mark.parametrize(
    ("label", "verdict", "present"),
    [
        (FLAGGED, "accept", True),
        (FLAGGED, "override", False),
        (QUIET, "accept", False),
        (QUIET, "override", True),
        (QUIET, "cannot judge", None),
    ],
)
def test_what_a_word_says_of_the_label_follows_from_what_the_model_called_it(
    store: Store, label: str, verdict: Verdict, present: bool | None
) -> None:
    say(store, ADA, verdict, label)

    assert state(store, label) == ("decided", present)


@pytest.mark.parametrize("present", [True, False, None])
def test_of_a_label_that_the_model_calls_uncertain_the_reader_says_outright_whether_it_holds(
    where: Path | str, present: bool | None
) -> None:
    case = scored_case("c1")
    findings = tuple(replace(f, limits=Limits(0.01, 0.99, 0.05)) for f in case.prediction.findings)
    with Store(where) as store:
        store.keep([replace(case, prediction=replace(case.prediction, findings=findings))])
        store.trail.decide(ADA, store.trail.desk(MODEL, "c1"), Decision(FLAGGED, "override", present=present))

        assert state(store) == ("decided", present)


def test_two_people_who_say_the_same_agree(store: Store) -> None:
    assert state(store) == ("undecided", None)
    say(store, ADA)
    assert state(store) == ("decided", True)
    say(store, BO)

    assert state(store) == ("agreed", True)
    readings = [word.reading for word in store.trail.desk(MODEL, "c1").standings[FLAGGED].words]
    assert readings == ["first reader", "second reader"]


def test_a_disagreement_is_open_until_a_lead_adjudicates_it(store: Store) -> None:
    say(store, ADA)
    say(store, BO, "override")
    assert state(store) == ("disagreed", None)
    assert [row.disagreed for row in store.worklist(MODEL)] == [1]

    store.trail.read_as(CY, store.trail.desk(MODEL, "c1").shown, "adjudicator")
    say(store, CY, "override")

    assert state(store) == ("adjudicated", False)
    assert [row.disagreed for row in store.worklist(MODEL)] == [0]
    say(store, ADA)
    assert state(store) == ("adjudicated", False)


def test_a_reader_does_not_adjudicate(store: Store) -> None:
    with pytest.raises(StoreError, match="does not adjudicate"):
        store.trail.read_as(ADA, store.trail.desk(MODEL, "c1").shown, "adjudicator")

    assert store.trail.events() == ()


def test_a_lead_who_is_one_no_more_does_not_adjudicate(store: Store) -> None:
    store.trail.read_as(CY, store.trail.desk(MODEL, "c1").shown, "adjudicator")

    with pytest.raises(StoreError, match="does not adjudicate"):
        say(store, Reader("Cy"))


def test_who_cannot_judge_neither_agrees_nor_disagrees(store: Store) -> None:
    say(store, ADA, "cannot judge")
    assert state(store) == ("decided", None)
    say(store, BO)

    assert state(store) == ("decided", True)


def test_a_person_who_decides_again_has_one_word_and_it_is_the_newest(store: Store) -> None:
    say(store, ADA)
    say(store, BO, "override")
    say(store, ADA, "override")

    assert state(store) == ("agreed", False)
    assert len(store.reviews(MODEL, "c1")) == 3


def test_who_decides_a_label_that_somebody_decided_meanwhile_is_told_by_whom_and_loses_nothing(store: Store) -> None:
    seen = store.trail.desk(MODEL, "c1")
    say(store, ADA)
    mine = Decision(FLAGGED, "override", "Too round.")

    with pytest.raises(ConflictError, match=r"decided by Ada \(accept, \d\d:\d\d UTC\)") as caught:
        store.trail.decide(BO, seen, mine)

    assert [word.reviewer for word in caught.value.words] == ["Ada"]
    assert [word.reviewer for word in store.reviews(MODEL, "c1")] == ["Ada"]
    store.trail.decide(BO, store.trail.desk(MODEL, "c1"), mine)
    assert [word.comment for word in store.reviews(MODEL, "c1")] == ["", "Too round."]
    assert state(store) == ("disagreed", None)


def test_only_another_persons_word_on_the_same_label_is_a_conflict(store: Store) -> None:
    seen = store.trail.desk(MODEL, "c1")
    say(store, ADA, label=QUIET)
    store.trail.decide(BO, seen, Decision(FLAGGED, "accept"))

    store.trail.decide(BO, seen, Decision(FLAGGED, "override"))

    assert len(store.reviews(MODEL, "c1")) == 3


def test_what_was_taken_back_does_not_count_and_is_still_in_the_trail(store: Store) -> None:
    say(store, ADA)
    second = say(store, ADA, "override")

    store.trail.retract(ADA, second, "Wrong case.")

    assert state(store) == ("decided", True)
    assert [event.kind for event in store.trail.desk(MODEL, "c1").events] == ["decided", "decided", "retracted"]
    assert store.trail.events()[-1].payload["event"] == second
    assert [row.reviewed for row in store.worklist(MODEL)] == [1]
    with pytest.raises(StoreError, match="taken back before"):
        store.trail.retract(ADA, second)


def test_a_case_of_which_every_word_was_taken_back_is_not_reviewed(store: Store) -> None:
    store.trail.retract(ADA, say(store, ADA))

    assert [row.reviewed for row in store.worklist(MODEL)] == [0]


def test_nobody_takes_back_what_another_person_said_or_what_is_no_decision(store: Store) -> None:
    said = say(store, ADA)
    opened = store.trail.open(BO, store.trail.desk(MODEL, "c1").shown)

    for number in (said, opened, 99):
        with pytest.raises(StoreError, match="nothing that Bo decided"):
            store.trail.retract(BO, number)

    assert state(store) == ("decided", True)


def test_a_case_is_held_by_one_person_until_they_let_go(store: Store) -> None:
    shown = store.worklist(MODEL)[0].shown

    assert store.trail.claim(ADA, shown).who == "Ada"
    assert store.trail.claim(BO, shown).who == "Ada"
    assert [row.claimed_by for row in store.worklist(MODEL)] == ["Ada"]
    with pytest.raises(StoreError, match="claimed by Ada"):
        store.trail.release(BO, shown)
    store.trail.release(ADA, shown)
    assert store.trail.release(ADA, shown) is None
    assert [row.claimed_by for row in store.worklist(MODEL)] == [""]
    assert store.trail.claim(BO, shown).who == "Bo"


def test_a_lead_takes_a_claim_away(store: Store) -> None:
    shown = store.worklist(MODEL)[0].shown
    store.trail.claim(ADA, shown)

    store.trail.release(CY, shown)

    assert store.trail.desk(MODEL, "c1").claim is None
    assert store.trail.events()[-1].payload == {"held": "Ada"}


def test_a_claim_is_stale_after_its_time_and_anybody_may_claim_the_case(
    where: Path | str, clock: list[datetime]
) -> None:
    with Store(where, claim_lasts=timedelta(minutes=10)) as store:
        store.keep([scored_case("c1")])
        shown = store.worklist(MODEL)[0].shown
        store.trail.claim(ADA, shown)
        clock.append(clock[-1] + timedelta(minutes=9, seconds=59))
        assert store.trail.claim(BO, shown).who == "Ada"
        assert store.worklist(MODEL)[0].claimed_by == "Ada"

        clock.append(clock[-1] + timedelta(seconds=1))

        assert store.worklist(MODEL)[0].claimed_by == ""
        assert store.trail.desk(MODEL, "c1").claim is None
        assert store.trail.claim(BO, shown).who == "Bo"


def test_a_word_on_an_earlier_prediction_does_not_count_and_cannot_be_given(store: Store) -> None:
    seen = store.trail.desk(MODEL, "c1")
    say(store, ADA)
    store.keep([scored_case("c1", (0.9, 0.9, 0.1), content="d" * 64)])

    with pytest.raises(StoreError, match="scored again"):
        store.trail.decide(BO, seen, Decision(FLAGGED, "accept"))

    assert state(store) == ("undecided", None)
    assert [row.reviewed for row in store.worklist(MODEL)] == [0]
    assert [word.reviewer for word in store.reviews(MODEL, "c1")] == ["Ada"]


def test_what_is_done_to_an_earlier_prediction_hides_no_word_on_the_newest(store: Store) -> None:
    stale = store.worklist(MODEL)[0].shown
    said = say(store, ADA)
    store.keep([scored_case("c1", content="d" * 64)])
    say(store, ADA)

    store.trail.claim(BO, stale)
    store.trail.retract(ADA, said)

    assert state(store) == ("decided", True)
    assert [row.reviewed for row in store.worklist(MODEL)] == [1]
    assert store.trail.verify().faults == ()


def test_time_on_task_is_from_opening_to_closing(store: Store, clock: list[datetime]) -> None:
    shown = store.trail.desk(MODEL, "c1").shown
    opened = store.trail.open(ADA, shown)
    clock.append(clock[-1] + timedelta(seconds=75))

    store.trail.close(ADA, opened)
    store.trail.close(ADA, opened, seconds=12.3456)

    assert [event.payload["seconds"] for event in store.trail.events() if event.kind == "closed"] == [75.0, 12.346]
    with pytest.raises(StoreError, match="nothing that Bo opened"):
        store.trail.close(BO, opened)


def test_a_label_that_the_model_does_not_have_and_a_person_without_a_name_decide_nothing(store: Store) -> None:
    with pytest.raises(StoreError, match="no such finding"):
        say(store, ADA, label="gout")
    with pytest.raises(StoreError, match="nobody is named"):
        say(store, Reader("  "))

    assert store.trail.events() == ()


@pytest.mark.parametrize("name", ["Ada\0", "Ada\ud800"])
def test_a_name_that_no_database_keeps_is_a_plain_error(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="cannot be kept"):
        say(store, Reader(name))


def test_a_comment_with_any_character_comes_back(store: Store) -> None:
    comment = '„Ödem?" \\ \0 \U0001f914\n'

    store.trail.decide(ADA, store.trail.desk(MODEL, "c1"), Decision(FLAGGED, "accept", comment))

    assert store.reviews(MODEL, "c1")[0].comment == comment
    assert store.trail.verify().faults == ()


def conflict(store: Store) -> None:
    seen = store.trail.desk(MODEL, CANARY)
    store.trail.decide(ADA, seen, Decision(FLAGGED, "accept", NOTE))
    store.trail.decide(BO, seen, Decision(FLAGGED, "accept", NOTE))


def ask_another_model(store: Store) -> None:
    store.trail.desk("f" * 12, CANARY)


def write_without_a_table(store: Store) -> None:
    with store._database.transaction(writes=True) as connection:
        connection.exec_driver_sql("DROP TABLE trail_head")
    store.trail.decide(ADA, store.trail.desk(MODEL, CANARY), Decision(FLAGGED, "accept", NOTE))


@pytest.mark.parametrize("wrong", [conflict, ask_another_model, write_without_a_table])
def test_no_error_of_the_trail_names_a_case_or_quotes_a_comment(
    where: Path | str, wrong: Callable[[Store], None]
) -> None:
    with Store(where) as store:
        store.keep([scored_case(CANARY)])
        with pytest.raises(StoreError) as caught:
            wrong(store)

    shown = "".join(traceback.format_exception(caught.value))
    assert CANARY not in shown
    assert NOTE not in shown


def at_once(where: Path | str, act: Callable[[Store, int], None], people: int = 4) -> None:
    """Let several people act at the same time, each in a process of their own."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(people)

    def run(person: int) -> None:
        with Store(where) as store:
            start.wait()
            act(store, person)

    crowd = [context.Process(target=run, args=(person,)) for person in range(people)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert [one.exitcode for one in crowd] == [0] * people


def test_of_people_who_claim_a_case_at_once_one_holds_it(where: Path | str) -> None:
    with Store(where) as store:
        store.keep([scored_case(f"c{n}") for n in range(20)])

    def claim_all(store: Store, person: int) -> None:
        for row in store.worklist(MODEL):
            store.trail.claim(Reader(f"reader {person}"), row.shown)

    at_once(where, claim_all)
    with Store(where) as store:
        claimed = [event.shown.case_id for event in store.trail.events()]
        assert sorted(claimed) == sorted(f"c{n}" for n in range(20))
        assert all(row.claimed_by for row in store.worklist(MODEL))


def test_four_people_who_decide_at_once_lose_nothing_and_double_nothing(where: Path | str) -> None:
    """Fifty words each on a few cases; who meets a conflict reads the case again and decides again."""
    with Store(where) as store:
        store.keep([scored_case(f"c{n}") for n in range(5)])

    def decide_all(store: Store, person: int) -> None:
        for n in range(50):
            decision = Decision(LABELS[n % 3], "accept", f"{person}-{n}")
            if n % 20 == 10:
                assert store.trail.verify().faults == ()
            while True:
                try:
                    store.trail.decide(Reader(f"reader {person}"), store.trail.desk(MODEL, f"c{n % 5}"), decision)
                    break
                except ConflictError:
                    continue

    at_once(where, decide_all)
    with Store(where) as store:
        events = store.trail.events()
        assert sorted(event.payload["comment"] for event in events) == sorted(
            f"{person}-{n}" for person in range(4) for n in range(50)
        )
        assert [event.number for event in events] == list(range(1, 201))
        assert store.trail.verify().faults == ()
        assert [row.reviewed for row in store.worklist(MODEL)] == [3] * 5


ROWS = 1000


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a thousand events; nobody may write into it."""
    path = tmp_path_factory.mktemp("trail") / "store.sqlite"
    with Store(path) as store:
        store.keep([scored_case(f"c{n}") for n in range(50)])
        with store._database.transaction(writes=True) as connection:  # one, since a thousand take seconds
            for n in range(ROWS):
                shown, reader = Shown(MODEL, f"c{n % 50}", n % 50 + 1, "c" * 64), Reader(f"r{n % 7}")
                if n % 50 < 10:
                    decision = Decision(LABELS[n % 3], "accept", f"word {n}")
                    desk.decide(connection, datetime(2026, 3, 2), reader, shown, decision, [])
                else:
                    events.append(connection, datetime(2026, 3, 2), reader, "opened", shown, {"word": "accept"})
    return path


SOME = [1, 2, 500, 999, 1000]


def changes() -> Iterator[tuple[str, str]]:
    """What somebody might do to a row, as a name and SQL."""
    for number in SOME:
        for column, value in {
            "at": "'2020-01-01T00:00:00.000000Z'",
            "who": "'somebody else'",
            "role": "'admin'",
            "kind": "'exported'",
            "case_id": "'c999'",
            "model_id": "'ffffffffffff'",
            "prediction_id": "NULL",
            "content": "''",
            "payload": "replace(payload, 'accept', 'override')",
            "previous": "'ff'",
            "digest": "'ff'",
        }.items():
            yield f"change {column} of {number}", f"UPDATE event SET {column} = {value} WHERE number = {number}"
        yield f"delete {number}", f"DELETE FROM event WHERE number = {number}"
        other = number % ROWS + 1
        swap = (
            f"UPDATE event SET number = -1 WHERE number = {number};"
            f"UPDATE event SET number = {number} WHERE number = {other};"
            f"UPDATE event SET number = {other} WHERE number = -1;"
        )
        yield f"swap {number} and {other}", swap
    yield "cut off the last ten", f"DELETE FROM event WHERE number > {ROWS - 10}"
    yield "delete all", "DELETE FROM event"
    yield "delete all and the head", "DELETE FROM event; DELETE FROM trail_head; DELETE FROM desk WHERE case_id <> 'c1'"
    columns = "at, who, role, kind, case_id, model_id, prediction_id, content, payload, previous, digest"
    yield "insert", f"INSERT INTO event SELECT {ROWS + 1}, {columns} FROM event WHERE number = 5"
    yield "no text for a payload", "UPDATE event SET payload = x'00ff' WHERE number = 3"
    yield "change what the worklist says", "UPDATE desk SET decided = 0 WHERE case_id = 'c7'"
    yield "let the worklist look elsewhere", "UPDATE desk SET decided = 0, prediction_id = NULL WHERE case_id = 'c7'"
    yield "let it look at another case", "UPDATE desk SET decided = 0, prediction_id = 50 WHERE case_id = 'c7'"
    yield "hide a case from the worklist", "DELETE FROM desk WHERE case_id = 'c7'"


def test_a_trail_that_nobody_touched_is_whole_and_says_where_it_ends(trail: Path) -> None:
    with Store(trail) as store:
        found = store.trail.verify()
        assert (found.events, found.faults) == (ROWS, ())
        assert found.head == Head(ROWS, store.trail.events()[-1].digest)
        assert store.trail.verify(found.head) == found


def test_any_touch_of_any_row_is_found(trail: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    missed = []
    for what, sql in changes():
        with sqlite3.connect(trail) as whole, sqlite3.connect(copy) as touched:
            whole.backup(touched)
            touched.executescript(sql)
        with Store(copy) as store:
            if not store.trail.verify().faults:
                missed.append(what)
    assert missed == []


def test_a_fault_says_which_event_and_what_is_wrong(trail: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    with sqlite3.connect(trail) as whole, sqlite3.connect(copy) as touched:
        whole.backup(touched)
        touched.executescript(
            "UPDATE event SET who = 'somebody' WHERE number = 10; DELETE FROM event WHERE number IN (20, 30, 31)"
        )
    with Store(copy) as store:
        assert store.trail.verify().faults == (
            "event 10 was changed: it does not have its own hash",
            "event 20 is missing before event 21",
            "event 21 does not follow on the event that stands before it",
            "events 30 to 31 are missing before event 32",
            "event 32 does not follow on the event that stands before it",
        )


def forge(path: Path, keep: int) -> None:
    """Cut the end off as somebody would who knows how the trail is made."""
    with sqlite3.connect(path) as raw:
        raw.execute("DELETE FROM event WHERE number > ?", (keep,))
        raw.execute(
            "UPDATE trail_head SET number = ?, digest = (SELECT digest FROM event WHERE number = ?)", (keep, keep)
        )


def test_a_head_that_was_noted_shows_an_end_that_was_cut_off_and_forged(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        store.keep([scored_case("c1")])
        for _ in range(3):
            store.trail.open(ADA, store.trail.desk(MODEL, "c1").shown)
        noted = store.trail.verify().head
        store.trail.open(BO, store.trail.desk(MODEL, "c1").shown)
        assert store.trail.verify(noted).faults == ()
    forge(path, keep=2)

    with Store(path) as store:
        assert store.trail.verify().faults == ()  # without the note nobody would know
        assert store.trail.verify(noted).faults == ("event 3, whose hash was noted, is missing",)
        store.trail.open(BO, store.trail.desk(MODEL, "c1").shown)
        assert store.trail.verify(noted).faults == ("event 3 is not the one whose hash was noted",)


@pytest.mark.parametrize("text", ["", "7", "x:" + "0" * 64, "7:" + "0" * 63, "-7:" + "0" * 64])
def test_what_is_no_head_is_a_plain_error(text: str) -> None:
    with pytest.raises(StoreError, match="no head"):
        Head.parse(text)


def test_a_head_that_was_written_down_reads_back(store: Store) -> None:
    say(store, ADA)
    head = store.trail.verify().head

    assert Head.parse(f" {head}\n") == head


def as_of_version_2(path: Path, words: list[Review]) -> None:
    """Turn a store back into one with a table of reviews and without events."""
    with sqlite3.connect(path) as raw:
        for table in ("event", "trail_head", "desk"):
            raw.execute(f"DROP TABLE {table}")
        for index in ("ix_prediction_newest", "ix_finding_called"):
            raw.execute(f"DROP INDEX {index}")
        for table, column in (("prediction", "absent"), ("prediction", "doubts"), ("finding", "called")):
            raw.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        raw.execute(
            "CREATE TABLE review (id INTEGER PRIMARY KEY, case_id VARCHAR(255), model_id VARCHAR(12),"
            " label VARCHAR(255), verdict VARCHAR(20), comment TEXT, reviewer VARCHAR(255), at DATETIME)"
        )
        for word in words:
            values = (word.case_id, word.model_id, word.label, word.verdict, word.comment, word.reviewer)
            raw.execute(
                "INSERT INTO review (case_id, model_id, label, verdict, comment, reviewer, at) VALUES (?,?,?,?,?,?,?)",
                (*values, f"{word.at.replace(tzinfo=None)}"),
            )
        raw.execute("UPDATE schema_version SET version = 2")


def test_the_reviews_of_an_older_store_are_events_and_nothing_else_any_more(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        store.keep([scored_case("c1", note=""), scored_case("c2")])
    at = datetime.now(UTC)
    older = at - timedelta(days=900)
    words = [
        Review("c1", MODEL, FLAGGED, "accept", "before it was scored", "Ada", older),
        Review("c1", MODEL, FLAGGED, "override", "first", "Ada", at, present=False),
        Review("c1", MODEL, "gout", "accept", "of no finding", "", at),
        Review("c1", MODEL, FLAGGED, "accept", "second", "Bo", at, present=True),
    ]
    as_of_version_2(path, words)

    with Store(path) as store:
        kept = list(store.reviews(MODEL, "c1"))
        assert [(w.label, w.verdict, w.comment, w.at, w.present) for w in kept] == [
            (w.label, w.verdict, w.comment, w.at, w.present) for w in words
        ]
        assert [w.reviewer for w in kept] == ["Ada", "Ada", "unknown", "Bo"]
        assert state(store) == ("disagreed", None)
        assert store.trail.verify().faults == ()
        assert [row.prediction.absent for row in store.worklist(MODEL, order="case")] == [("note",), ()]
        assert store.counts(MODEL).missing["note"] == 1
        assert store.counts(MODEL).status["disagreed"] == 1
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT count(*) FROM sqlite_master WHERE name = 'review'").fetchone() == (0,)
