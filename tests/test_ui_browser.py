"""The screen in a real browser: a reader works by keyboard alone, and finds all that they said after a reload.

And what must never happen: a note that runs, a patient in an address, a log or the browser's memory, a request to
another machine.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from medmm.store.store import Store
from tests.browser import launched
from tests.exported import complaints
from tests.ports import free_port
from tests.scored import MODEL, SCRIPT, scored_case, write_scored
from ui import serve

CANARY = "canary-patient-4711"
CONTESTED = "contested"
TEN = [f"read-{n}" for n in range(10)]
VERDICTS = ("accepted", "overridden", "cannot judge")
"""What a reader says of the three findings of each of the ten cases, as the history of a case calls it."""
NOTE = "Canaryword in the note of a smoker."
PATIENCE_MS = 20_000
expect.set_options(timeout=PATIENCE_MS)


@dataclass(frozen=True)
class Screen:
    """A running screen over a scored folder, and every address that the browser asked for."""

    out: Path
    address: str
    asked: list[str] = field(default_factory=list)

    def log(self) -> str:
        return (self.out / serve.LOG).read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    out = tmp_path_factory.mktemp("scored")
    cases = [
        scored_case(CANARY, note=NOTE, views=("PA", "LL")),
        scored_case("script", (0.1, 0.6, 0.1), note=SCRIPT),
        scored_case("quiet", (0.1, 0.1, 0.1), views=(), record={}),
        scored_case(CONTESTED, (0.05, 0.05, 0.05)),
        *(scored_case(case_id, (0.3 - n / 100, 0.05, 0.05)) for n, case_id in enumerate(TEN)),
        scored_case("pressed-1", (0.02, 0.02, 0.02), views=("PA", "LL")),
        scored_case("pressed-2", (0.01, 0.01, 0.01)),
    ]
    write_scored(out, cases)
    process, address = serve.start(out, free_port())
    yield Screen(out, address)
    serve.stop(process)


@pytest.fixture
def page(browser: Browser, screen: Screen) -> Iterator[Page]:
    """The worklist, freshly loaded; a script that fails in the page fails the test."""
    shown = browser.new_page(viewport={"width": 1280, "height": 800})
    shown.set_default_timeout(PATIENCE_MS)
    failures: list[str] = []
    shown.on("pageerror", lambda failure: failures.append(str(failure)))
    shown.on("request", lambda request: screen.asked.append(request.url))
    shown.on("websocket", lambda socket: screen.asked.append(socket.url))
    shown.goto(screen.address)
    shown.get_by_role("heading", name="Worklist").wait_for()
    yield shown
    shown.close()
    assert failures == []


def open_case(page: Page, case_id: str) -> None:
    """Search for a case and open it, by keyboard."""
    search(page, case_id)
    expect(page.locator(".mm-list tbody tr")).to_have_count(1)
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    heading(page, case_id)
    page.locator(".mm-sentence").wait_for()


def search(page: Page, text: str) -> None:
    page.locator(".mm-list tr[data-at]").wait_for()
    field = page.get_by_label("Case id")
    for _ in range(20):  # keys are heard as soon as the page listens, which is a moment after its rows are there
        page.keyboard.press("/")
        with suppress(AssertionError):
            expect(field).to_be_focused(timeout=1000)
            break
    expect(field).to_be_focused()
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def heading(page: Page, text: str) -> None:
    """Wait for the screen of this name."""
    expect(page.locator("h1")).to_have_text([text])


def name_reader(page: Page, name: str) -> None:
    """Type a name into the sidebar, which the browser may have left open."""
    expand = page.get_by_test_id("stExpandSidebarButton")
    if expand.is_visible():
        expand.click()
    reader = page.get_by_role("textbox", name="Your name")
    reader.fill(name)
    reader.press("Enter")
    expect(page.get_by_text(f"Reading as {name}")).to_be_visible()
    reader.press("Escape")


def look_at(page: Page, key: str, finding: str) -> None:
    page.keyboard.press(key)
    expect(page.locator(".mm-sentence")).to_contain_text(finding)


def decide(page: Page, key: str, finding: str) -> None:
    """Press a key while a finding is looked at, and wait until the screen has gone on."""
    sentence = page.locator(".mm-sentence")
    expect(sentence).to_contain_text(finding)
    page.keyboard.press(key)
    expect(sentence).not_to_contain_text(finding)


def test_a_reader_works_through_ten_cases_by_keyboard_alone_and_finds_all_after_a_reload(
    page: Page, screen: Screen
) -> None:
    search(page, "read-")
    expect(page.locator(".mm-list tbody tr")).to_have_count(len(TEN))
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.locator(".mm-list tr[data-at]")).to_contain_text(TEN[1])
    page.keyboard.press("k")
    page.keyboard.press("Enter")

    for case_id in TEN:
        heading(page, case_id)
        decide(page, "a", "Pneumonia")
        expect(page.locator(".mm-sentence")).to_contain_text("Heart failure")
        page.keyboard.press("m")
        page.keyboard.type(f"jaoc: wide heart of {case_id}")
        page.keyboard.press("Escape")
        decide(page, "o", "Heart failure")
        expect(page.locator(".mm-sentence")).to_contain_text("Lung cancer")
        page.keyboard.press("c")
        page.get_by_text("You have decided every finding").wait_for()
        page.keyboard.press("j")
    heading(page, "Worklist")

    with Store(screen.out / "store.sqlite") as store:
        said = {case_id: store.reviews(MODEL, case_id) for case_id in TEN}
    for case_id, reviews in said.items():
        assert [word.verdict for word in reviews] == ["accept", "override", "cannot judge"]
        assert [word.comment for word in reviews] == ["", f"jaoc: wide heart of {case_id}", ""]
    page.reload()
    heading(page, "Worklist")
    search(page, "read-")
    expect(page.locator(".mm-list tbody tr")).to_have_count(len(TEN))
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    heading(page, TEN[0])
    page.locator(".mm-sentence").wait_for()
    page.keyboard.press("h")
    for case_id in TEN:
        heading(page, case_id)
        events = page.locator(".st-key-shown .mm-remarks li")
        expect(events.filter(has_text="wide heart")).to_contain_text(f"jaoc: wide heart of {case_id}")
        expect(events).to_have_count(len(VERDICTS))
        for event, verdict in zip(reversed(events.all()), VERDICTS, strict=True):
            expect(event).to_contain_text(verdict)
        page.keyboard.press("j")
    heading(page, "Worklist")


def test_what_is_pressed_while_the_film_asks_and_right_before_another_press_is_stored(
    page: Page, screen: Screen
) -> None:
    """The film is asked for, a decision is made in the same instant, and the next case wanted before it is answered."""
    search(page, "pressed-")
    expect(page.locator(".mm-list tbody tr")).to_have_count(2)
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    heading(page, "pressed-1")
    expect(page.locator(".viewer")).to_be_visible()
    page.locator(".st-key-choices button").first.wait_for()

    page.evaluate(
        """async () => {
          const film = document.querySelector(".st-key-desk [data-testid=stBidiComponentIsolated]").shadowRoot;
          const key = new KeyboardEvent("keydown", { key: "PageDown", bubbles: true });
          film.querySelector(".panes").dispatchEvent(key);
          document.querySelector(".st-key-choices button").click();
          await new Promise((later) => setTimeout(later, 5));
          document.querySelector(".st-key-next button").click();
        }"""
    )

    heading(page, "pressed-2")
    expect(page.locator(".pane .title").first).to_have_text("Film 1, PA")
    expect(page.locator(".pane .value").first).not_to_have_text("Loading …")
    with Store(screen.out / "store.sqlite") as store:
        assert [word.verdict for word in store.reviews(MODEL, "pressed-1")] == ["accept"]


def test_what_was_said_and_drawn_is_there_after_a_reload(page: Page, screen: Screen) -> None:
    name_reader(page, "Dr Ada")
    open_case(page, CANARY)
    look_at(page, "2", "Heart failure")
    draw(page)
    page.keyboard.press("m")
    page.keyboard.type("Seen on the old film: <b>clear</b>")
    page.keyboard.press("Escape")
    decide(page, "o", "Heart failure")

    page.reload()
    heading(page, "Worklist")
    name_reader(page, "Dr Ada")
    open_case(page, CANARY)
    look_at(page, "2", "Heart failure")

    expect(page.locator(".mm-words")).to_contain_text("Dr Ada (first reader)")
    expect(page.locator(".mm-words")).to_contain_text("Overridden: flagged. With a region on the film.")
    expect(page.locator(".mm-words")).to_contain_text("Seen on the old film: <b>clear</b>")
    look_at(page, "1", "Pneumonia")
    expect(page.locator(".mm-paper")).to_have_count(1)  # the one of before is gone
    expect(page.locator(".mm-paper")).to_be_hidden()
    page.emulate_media(media="print")
    expect(page.locator(".mm-paper")).to_be_visible()
    expect(page.locator(".mm-paper")).to_contain_text("heart failure")
    expect(page.locator(".mm-paper")).to_contain_text("Seen on the old film: <b>clear</b>")
    with Store(screen.out / "store.sqlite") as store:
        (review,) = store.reviews(MODEL, CANARY)
        film = store.case(MODEL, CANARY).evidence.films[0]
    assert (review.label, review.verdict, review.reviewer) == ("heart_failure", "override", "Dr Ada")
    assert review.outline is not None
    assert review.outline.film == film.digest


def draw(page: Page) -> None:
    """Draw a triangle on the film with the mouse, and leave the film."""
    canvas = page.locator("canvas").first
    expect(page.locator(".pane .value, .pane .zoom").first).not_to_be_empty()
    box = canvas.bounding_box()
    assert box is not None
    canvas.click()
    page.keyboard.press("d")
    points = [(0.4, 0.4), (0.6, 0.4), (0.5, 0.6), (0.41, 0.42)]
    for n, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)
        if not n:
            page.mouse.down()
    page.mouse.up()
    expect(page.get_by_role("button", name="Remove region")).to_be_visible()
    page.keyboard.press("Escape")


def test_a_second_browser_on_the_same_case_is_told_of_the_conflict(
    page: Page, browser: Browser, screen: Screen
) -> None:
    open_case(page, CONTESTED)
    other = browser.new_page(viewport={"width": 1280, "height": 800})
    other.goto(screen.address)
    heading(other, "Worklist")
    name_reader(other, "grace")
    open_case(other, CONTESTED)
    for shown in (page, other):
        look_at(shown, "1", "Pneumonia")
    decide(other, "o", "Pneumonia")
    other.close()

    page.keyboard.press("m")
    page.keyboard.type("no consolidation")
    page.keyboard.press("Escape")
    page.keyboard.press("a")

    expect(page.get_by_role("alert")).to_contain_text("Said of pneumonia while you were reading: grace")
    expect(page.get_by_label("Comment")).to_have_value("no consolidation")
    decide(page, "a", "Pneumonia")
    look_at(page, "1", "Pneumonia")
    expect(page.locator(".mm-words")).to_contain_text("grace (first reader)")
    expect(page.locator(".mm-words")).to_contain_text("no consolidation")


def test_keys_of_the_film_and_of_the_page_do_not_meet(page: Page, screen: Screen) -> None:
    open_case(page, "script")
    page.locator("canvas").first.click()
    overlay = page.get_by_role("button", name="Overlay", exact=True)
    expect(overlay).to_have_attribute("aria-pressed", "true")

    page.keyboard.press("o")
    expect(overlay).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Escape")
    page.keyboard.press("t")

    expect(page.locator(".mm-note")).to_be_visible()
    with Store(screen.out / "store.sqlite") as store:
        assert store.reviews(MODEL, "script") == ()


def test_the_keys_are_behind_a_question_mark_and_none_acts_while_they_are_shown(page: Page) -> None:
    open_case(page, "script")

    page.keyboard.press("?")
    expect(page.get_by_text("Choose a finding")).to_be_visible()
    page.keyboard.press("b")
    page.keyboard.press("Escape")

    expect(page.get_by_test_id("stPopoverBody")).to_have_count(0)
    heading(page, "script")
    page.keyboard.press("b")
    heading(page, "Worklist")


def test_a_case_leaves_as_a_pdf_and_a_structured_report_under_a_name_without_the_patient(
    page: Page, screen: Screen
) -> None:
    name_reader(page, "Dr Bea")
    open_case(page, CANARY)
    expect(page.locator(".note")).to_contain_text("not where they were")  # after which the film asks for nothing
    look_at(page, "3", "Lung cancer")
    decide(page, "c", "Lung cancer")
    page.keyboard.press("x")

    taken_as = {}
    for name in ("Report (PDF)", "Structured report (DICOM SR)"):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=name).click()
        taken_as[name] = waiting.value.path()
        assert CANARY not in waiting.value.suggested_filename
        assert CANARY not in waiting.value.url
    assert taken_as["Report (PDF)"].read_bytes().startswith(b"%PDF")
    report = taken_as["Structured report (DICOM SR)"]
    assert complaints(report) == []
    assert b"Dr Bea" in report.read_bytes()

    with Store(screen.out / "store.sqlite") as store:
        taken = [event for event in store.trail.events() if event.kind == "exported"]
    assert [event.payload["as"] for event in taken] == ["pdf", "sr"]


def test_a_row_is_opened_with_a_click(page: Page) -> None:
    page.locator(".mm-list tbody tr", has_text="quiet").click()

    heading(page, "quiet")


def test_the_case_needs_no_scrolling_on_a_small_screen(page: Page) -> None:
    open_case(page, "script")

    page.wait_for_function(
        "() => [...document.querySelectorAll('[data-testid=stMain]')].every(e => e.scrollHeight <= e.clientHeight)"
    )


def test_a_note_that_is_a_script_is_shown_as_text(page: Page) -> None:
    open_case(page, "script")
    page.keyboard.press("t")

    expect(page.locator(".mm-note")).to_have_text(SCRIPT)
    assert page.locator(".mm-note script, .mm-note img, .mm-note b").count() == 0
    assert page.title() == "medmm review"


def test_nothing_of_a_patient_is_in_an_address_a_title_the_browser_or_the_log(page: Page, screen: Screen) -> None:
    open_case(page, CANARY)
    page.keyboard.press("t")
    expect(page.locator(".mm-note")).to_have_text(NOTE)

    addresses = [url for url in screen.asked if not url.startswith("data:")]

    assert page.title() == "medmm review"
    assert page.url.rstrip("/") == screen.address
    stored = page.evaluate(
        "async () => JSON.stringify([localStorage, sessionStorage, document.cookie, "
        "await indexedDB.databases(), await caches.keys()])"
    )
    for canary in (CANARY, "Canaryword"):
        assert canary not in stored
        assert not [url for url in addresses if canary in url]
        assert canary not in screen.log()


def test_the_page_asks_nothing_of_any_other_machine(page: Page, screen: Screen) -> None:
    open_case(page, CANARY)

    local = (screen.address, screen.address.replace("http", "ws", 1), "blob:" + screen.address, "data:")

    assert screen.asked
    assert [url for url in screen.asked if not url.startswith(local)] == []


def test_a_page_of_another_site_cannot_reach_the_screen_through_a_name_of_its_own(screen: Screen) -> None:
    """DNS rebinding: a host name that someone else owns and points at 127.0.0.1 gets no session."""
    connection = http.client.HTTPConnection(serve.HOST, int(screen.address.rsplit(":", 1)[1]), timeout=10)
    upgrade = {"Host": "evil.example", "Origin": "http://evil.example", "Upgrade": "websocket"}
    key = {"Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}

    connection.request("GET", "/_stcore/stream", headers=upgrade | key)

    assert connection.getresponse().status == http.HTTPStatus.FORBIDDEN
