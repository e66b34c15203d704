"""What must stay inside: no patient in an address, a title, a log or what a browser keeps; no door for other sites."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from medmm.result import Origin, ScoredCase
from tests.browser import launched
from tests.ports import free_port
from tests.scored import HEADER, scored_case, write_scored
from ui import serve, words

CASE = "canary-case-4711"
NOTE = "Canarynote of a smoker."
COMMENT = "Canarycomment, seen on the old film."
PERSON = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Canaryname^Ada"}]}}
PERSON |= {"00100020": {"vr": "LO", "Value": ["canary-id-0815"]}}
CANARIES = (CASE, "Canarynote", "Canarycomment", "Canaryname", "canary-id-0815")
_KEPT = """async () => JSON.stringify([
  { ...localStorage }, { ...sessionStorage }, document.cookie, await indexedDB.databases(), await caches.keys(),
  (await navigator.serviceWorker.getRegistrations()).length,
])"""


@dataclass
class Visit:
    """One reader's way through a case, and all that it left behind."""

    out: Path
    address: str
    asked: list[str] = field(default_factory=list)
    """Every address that the page asked for."""
    titles: set[str] = field(default_factory=set)
    shown: str = ""
    """All that stood on the page of the case."""
    kept: str = ""
    """What the page has kept in the browser."""
    cookies: str = ""
    log: str = ""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def visit(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    out = tmp_path_factory.mktemp("scored")
    write_scored(out, [_identified()])
    process, address = serve.start(out, free_port())
    found = Visit(out, address)
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    _walk(context, found)
    context.close()
    found.log = (out / serve.LOG).read_text()
    yield found
    serve.stop(process)


def _identified() -> ScoredCase:
    """A case whose files, note and name are all canaries."""
    scored = scored_case(CASE, note=NOTE)
    origin = Origin("/nowhere/Canaryname", (), json.dumps(json.loads(HEADER) | PERSON))
    evidence = replace(scored.evidence, study=origin)
    return replace(scored, evidence=evidence)


def _walk(context: BrowserContext, found: Visit) -> None:
    """Open the case, read the note, write a comment, decide, go back, look for the case."""
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.on("request", lambda request: found.asked.append(request.url))
    page.on("websocket", lambda socket: found.asked.append(socket.url))
    page.goto(found.address)
    page.get_by_role("heading", name=words.WORKLIST).wait_for()
    page.get_by_role("button", name=words.START).click()
    page.get_by_role("heading", name=CASE).wait_for()
    page.locator(".st-key-kinds button", has_text=words.EVIDENCE["note"]).click()
    page.locator(".mm-note").wait_for()
    _look(page, found)
    page.get_by_label(words.COMMENT).fill(COMMENT)
    page.get_by_role("button", name="Accept").click()
    page.get_by_text("accepted").first.wait_for()
    _look(page, found)
    page.get_by_role("button", name=words.BACK).first.click()
    search = page.get_by_label(words.SEARCH)
    search.fill(CASE)
    search.press("Enter")
    page.wait_for_timeout(1000)
    _look(page, found)
    found.kept = page.evaluate(_KEPT)
    found.cookies = json.dumps([dict(cookie) for cookie in context.cookies()])


def _look(page: Page, found: Visit) -> None:
    page.wait_for_timeout(300)
    found.titles.add(page.title())
    found.asked.append(page.url)
    found.shown += page.content()


def test_the_canaries_were_on_the_page_so_that_they_could_have_leaked(visit: Visit) -> None:
    assert CASE in visit.shown
    assert "Canarynote" in visit.shown


@pytest.mark.parametrize("canary", CANARIES)
def test_no_patient_is_in_an_address_a_title_the_log_or_what_the_browser_keeps(visit: Visit, canary: str) -> None:
    places = {
        "addresses": "\n".join(address for address in visit.asked if not address.startswith("data:")),
        "titles": "\n".join(visit.titles),
        "log": visit.log,
        "browser": visit.kept,
        "cookies": visit.cookies,
    }

    assert [place for place, text in places.items() if canary.lower() in text.lower()] == []


def test_the_page_keeps_nothing_in_the_browser_but_how_it_looks(visit: Visit) -> None:
    local, session, _, databases, caches, workers = json.loads(visit.kept)

    assert not [key for key in (*local, *session) if not key.startswith(("stActiveTheme", "sidebar", "streamlit"))]
    assert (databases, caches, workers) == ([], [], 0)


def test_the_page_asks_nothing_of_any_other_machine(visit: Visit) -> None:
    local = (visit.address, visit.address.replace("http", "ws", 1), "blob:" + visit.address, "data:")

    assert visit.asked
    assert [url for url in visit.asked if not url.startswith(local)] == []


def test_the_title_says_nothing_of_the_case(visit: Visit) -> None:
    assert visit.titles == {words.TITLE}


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("{own}", "http://{own}", http.HTTPStatus.SWITCHING_PROTOCOLS),
        ("{own}", "http://evil.example", http.HTTPStatus.FORBIDDEN),
        ("{own}", "http://127.0.0.1.evil.example", http.HTTPStatus.FORBIDDEN),
        ("{own}", "null", http.HTTPStatus.FORBIDDEN),
        ("evil.example", "http://evil.example", http.HTTPStatus.FORBIDDEN),
        ("evil.example", "http://{own}", http.HTTPStatus.FORBIDDEN),
    ],
)
def test_only_the_screens_own_page_gets_a_session(visit: Visit, host: str, origin: str, status: int) -> None:
    own = visit.address.removeprefix("http://")
    connection = http.client.HTTPConnection(serve.HOST, int(own.rsplit(":", 1)[1]), timeout=10)
    upgrade = {"Host": host.format(own=own), "Origin": origin.format(own=own), "Upgrade": "websocket"}
    key = {"Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}

    connection.request("GET", "/_stcore/stream", headers=upgrade | key)
    answer = connection.getresponse()
    connection.close()

    assert answer.status == status


def test_no_program_can_drive_the_screen_and_no_header_says_who_somebody_is(visit: Visit) -> None:
    connection = http.client.HTTPConnection(serve.HOST, int(visit.address.rsplit(":", 1)[1]), timeout=10)

    connection.request("POST", "/_stcore/agent/interact", "{}", {"Content-Type": "application/json"})

    assert connection.getresponse().status >= http.HTTPStatus.BAD_REQUEST
    assert {"--server.enableAgentApi=false", "--server.trustedUserHeaders={}"} <= set(serve.command(visit.out, 1))


def test_an_error_on_the_page_names_no_patient_in_the_log(browser: Browser, tmp_path: Path) -> None:
    """The store loses its evidence behind the screen's back: what is thrown may quote anything."""
    import sqlite3

    write_scored(tmp_path, [_identified()])
    database = sqlite3.connect(tmp_path / "store.sqlite")
    with database:
        database.execute("UPDATE prediction SET evidence = replace(evidence, '\"films\"', '\"flims\"')")
    database.close()
    process, address = serve.start(tmp_path, free_port())
    page = browser.new_page()
    page.goto(address)
    page.get_by_role("button", name=words.START).click(timeout=30_000)

    expect(page.get_by_role("alert").first).to_be_visible(timeout=30_000)
    serve.stop(process)

    log = (tmp_path / serve.LOG).read_text()
    assert log
    assert [canary for canary in CANARIES if canary.lower() in log.lower()] == []
