"""The screen in a real browser: a reader opens a case, looks, decides, and finds the decision after a reload.

And what must never happen: a note that runs, a patient in an address or a log, a request to another machine.
"""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from medmm.store.store import Store
from tests.scored import MODEL, SCRIPT, scored_case, write_scored
from ui import serve

CANARY = "canary-patient-4711"
DECIDED = "decided"
"""The least urgent case, so that a decision on it moves no other."""
NOTE = "Canaryword in the note of a smoker."
QUIET = "--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
ARGUMENTS = [*QUIET.split(), "--disable-sync", "--no-first-run"]
ROW = 35
"""Height of a row of the worklist, pixels; its head is one pixel higher."""
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
    chromium = shutil.which("chromium")
    assert chromium, "these tests need chromium on the path: apt-get install chromium"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    out = tmp_path_factory.mktemp("scored")
    cases = [
        scored_case(CANARY, note=NOTE, views=("PA", "LL")),
        scored_case("script", (0.1, 0.6, 0.1), note=SCRIPT),
        scored_case("quiet", (0.1, 0.1, 0.1), views=(), record={}),
        scored_case(DECIDED, (0.05, 0.05, 0.05)),
    ]
    write_scored(out, cases)
    process, address = serve.start(out, 18_800)
    yield Screen(out, address)
    serve.stop(process)


@pytest.fixture
def page(browser: Browser, screen: Screen) -> Iterator[Page]:
    """The worklist, freshly loaded; a script that fails in the page fails the test."""
    shown = browser.new_page(viewport={"width": 1440, "height": 900})
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
    search = page.get_by_label("Case id")
    search.fill(case_id)
    search.press("Enter")
    page.get_by_text("1 of 4 cases shown").wait_for()
    page.get_by_role("button", name="Open most urgent").click()
    page.get_by_role("heading", name=case_id).wait_for()


def slide(slider: Locator, value: int) -> None:
    """Move a slider as the mouse does: the page is told of it, and the server is not."""
    slider.evaluate("(e, value) => { e.value = value; e.dispatchEvent(new Event('input')); }", value)


def drawn_grid(page: Page) -> Locator:
    """The worklist once its rows are there; they are drawn on a canvas, beside which they are kept as a table."""
    grid = page.get_by_test_id("stDataFrame")
    grid.locator("canvas td", has_text="quiet").wait_for(state="attached")
    return grid


def test_the_overlay_fades_in_the_page_without_asking_the_server(page: Page) -> None:
    open_case(page, CANARY)
    overlay = page.locator("img.overlay")
    expect(overlay).to_have_css("opacity", "0.55")
    sent: list[object] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.webSocketFrameSent", lambda frame: sent.append(frame))

    slide(page.get_by_label("Overlay opacity"), 20)

    expect(overlay).to_have_css("opacity", "0.2")
    page.wait_for_timeout(500)
    assert sent == []
    page.get_by_role("button", name="pneumonia").click()  # which does ask, so the ear is good
    page.get_by_role("button", name="Accept: not flagged").wait_for()
    assert sent != []


def test_the_overlay_lies_exactly_on_the_film_which_keeps_its_proportions(page: Page) -> None:
    open_case(page, CANARY)
    film, overlay = page.locator("img.picture"), page.locator("img.overlay")
    expect(overlay).to_have_css("opacity", "0.55")

    def sides() -> list[float]:
        box = film.bounding_box()
        assert box == overlay.bounding_box()
        assert box is not None
        natural = film.evaluate("e => e.naturalWidth / e.naturalHeight")
        assert box["width"] / box["height"] == pytest.approx(natural, rel=0.01)
        return [box["width"], box["height"]]

    whole = sides()
    slide(page.get_by_label("Zoom"), 2)

    assert sides() == pytest.approx([2 * side for side in whole], rel=0.01)


def test_another_finding_has_another_overlay_and_leaves_the_opacity_alone(page: Page) -> None:
    open_case(page, CANARY)
    overlay = page.locator("img.overlay")
    slide(page.get_by_label("Overlay opacity"), 30)
    before = str(overlay.get_attribute("src"))

    page.get_by_role("button", name="heart failure").click()

    expect(overlay).not_to_have_attribute("src", before)
    expect(overlay).to_have_css("opacity", "0.3")
    expect(page.get_by_text("(heart failure); not a segmentation")).to_be_visible()


def test_another_film_of_the_case_can_be_looked_at(page: Page) -> None:
    open_case(page, CANARY)
    frontal = str(page.get_by_alt_text("Film 1, PA").get_attribute("src"))

    page.get_by_role("radio", name="Film 2, LL").click()

    lateral = page.get_by_alt_text("Film 2, LL")
    expect(lateral).to_be_visible()
    expect(lateral).not_to_have_attribute("src", frontal)


def test_a_decision_is_there_after_a_reload_and_in_the_database(page: Page, screen: Screen) -> None:
    reviewer = page.get_by_role("textbox", name="Reviewer")
    reviewer.fill("Dr Ada")
    reviewer.press("Enter")
    open_case(page, DECIDED)
    page.get_by_role("button", name="pneumonia").click()
    page.get_by_label("Comment").fill("Seen on the old film: <b>clear</b>")

    page.get_by_role("button", name="Override: flagged").click()
    page.get_by_text("It stands as flagged").wait_for()
    page.reload()
    page.get_by_role("heading", name="Worklist").wait_for()
    open_case(page, DECIDED)
    page.get_by_role("button", name="pneumonia").click()

    expect(page.get_by_text("It stands as flagged")).to_contain_text("Overridden by Dr Ada")
    page.get_by_text("History of this case").click()
    said = page.get_by_text("Seen on the old film: <b>clear</b>").last  # two for as long as the page is drawn anew
    expect(said).to_be_visible()
    with Store(screen.out / "store.sqlite") as store:
        (review,) = store.reviews(MODEL, DECIDED)
    assert (review.label, review.verdict, review.reviewer) == ("pneumonia", "override", "Dr Ada")


def test_a_row_is_opened_by_its_own_button(page: Page) -> None:
    grid = drawn_grid(page)

    grid.click(position={"x": 45, "y": 1 + 3.5 * ROW})

    expect(page.get_by_role("heading", level=1)).to_have_text("quiet")


def test_a_row_is_opened_with_the_keyboard_alone(page: Page) -> None:
    drawn_grid(page).locator("canvas").first.focus()
    page.keyboard.press("ArrowDown")
    button = page.get_by_role("button", name="Open script")
    button.wait_for()

    button.focus()
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("script")


def test_a_note_that_is_a_script_is_shown_as_text(page: Page) -> None:
    open_case(page, "script")

    expect(page.locator(".mm-note")).to_have_text(SCRIPT)
    assert page.locator(".mm-note script, .mm-note img, .mm-note b").count() == 0
    assert page.title() == "medmm review"


def test_nothing_of_a_patient_is_in_an_address_a_title_or_the_log(page: Page, screen: Screen) -> None:
    open_case(page, CANARY)
    expect(page.locator(".mm-note")).to_have_text(NOTE)

    addresses = [url for url in screen.asked if not url.startswith("data:")]

    assert page.title() == "medmm review"
    assert page.url.rstrip("/") == screen.address
    for canary in (CANARY, "Canaryword"):
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
