"""Who may see the screen: nothing before login, a role by lists, nothing once a login has ended.

The provider is a small one of our own on this machine; the browser, the screen and the login are real.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from playwright.sync_api import Browser, Page, expect
from streamlit.testing.v1 import AppTest

from medmm.config import read_toml
from medmm.errors import ConfigError
from medmm.store.store import Store
from tests.browser import launched
from tests.ports import free_port
from tests.postgres import database, running
from tests.provider import Provider, auth_file, provider
from tests.scored import scored_case, write_scored
from ui import serve
from ui.access import Access, Auth

CANARY = "canary-patient-4711"
ACCESS = """
groups = "groups"
hours = 8
reader = ["ada@hospital.example"]
lead = ["radiology-leads"]
admin = ["Grace@Hospital.example"]
"""
ADA = {"email": "ada@hospital.example", "email_verified": True}
NOW = datetime.now(UTC).timestamp()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def idp() -> Iterator[Provider]:
    with provider() as one:
        yield one


@pytest.fixture(scope="module")
def screen(idp: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a screen behind a login."""
    out = tmp_path_factory.mktemp("scored")
    write_scored(out, [scored_case(CANARY)])
    port = free_port()
    file = auth_file(out, idp, port, ACCESS)
    process, address = serve.start(out, port, serve.Place(auth=file))
    yield address
    serve.stop(process)


@contextmanager
def visitor(browser: Browser, address: str) -> Iterator[tuple[Page, list[bytes | str]]]:
    """Somebody with a browser of their own, and all that the screen sent to it."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(20_000)
    heard: list[bytes | str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: heard.append(frame)))
    page.goto(address)
    yield page, heard
    context.close()


def enter(page: Page) -> None:
    page.get_by_role("button", name="Log in").click()


def test_a_visitor_who_is_not_logged_in_sees_nothing_but_the_button(browser: Browser, screen: str) -> None:
    with visitor(browser, screen) as (page, heard):
        page.get_by_role("button", name="Log in").wait_for()
        page.wait_for_timeout(500)

        main = page.get_by_test_id("stMain").inner_text().split("\n")
        assert [line for line in main if line.strip()] == ["medmm review", "Log in to see the worklist.", "Log in"]
        assert heard
        assert not [frame for frame in heard if CANARY.encode() in _bytes(frame) or b"pneumonia" in _bytes(frame)]


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        (ADA, "Reader"),
        ({"email": "eva@hospital.example", "groups": ["staff", "radiology-leads"]}, "Lead reader"),
        ({"email": "grace@hospital.example", "groups": "radiology-leads"}, "Administrator"),
    ],
)
def test_a_person_on_a_list_sees_the_worklist_in_their_role(
    browser: Browser, screen: str, idp: Provider, claims: dict[str, Any], role: str
) -> None:
    idp.claims = claims
    with visitor(browser, screen) as (page, _):
        enter(page)

        page.get_by_role("heading", name="Worklist").wait_for()
        expect(page.get_by_test_id("stSidebar").get_by_text(claims["email"])).to_contain_text(role)
        assert claims["email"] not in page.url


@pytest.mark.parametrize(
    "claims",
    [
        {"email": "mallory@elsewhere.example"},
        {"email": "ada@hospital.example", "email_verified": False},
        {"sub": "ada@hospital.example", "name": "Ada"},
    ],
)
def test_a_person_on_no_list_is_refused_and_can_log_out(
    browser: Browser, screen: str, idp: Provider, claims: dict[str, Any]
) -> None:
    idp.claims = claims
    with visitor(browser, screen) as (page, heard):
        enter(page)

        page.get_by_text("Ask whoever runs it").wait_for()
        assert page.get_by_role("heading", name="Worklist").count() == 0
        assert not [frame for frame in heard if CANARY.encode() in _bytes(frame)]
        page.get_by_role("button", name="Log out").click()
        page.get_by_role("button", name="Log in").wait_for()


def test_after_logout_a_reload_shows_nothing(browser: Browser, screen: str, idp: Provider) -> None:
    idp.claims = ADA
    with visitor(browser, screen) as (page, _):
        enter(page)
        page.get_by_role("heading", name="Worklist").wait_for()

        page.get_by_role("button", name="Expand sidebar").click()
        page.get_by_role("button", name="Log out").click()
        page.get_by_role("button", name="Log in").wait_for()
        page.reload()

        page.get_by_role("button", name="Log in").wait_for()
        assert page.get_by_role("heading", name="Worklist").count() == 0


def test_a_page_that_nobody_touches_is_cleared_when_its_login_ends(
    browser: Browser, screen: str, idp: Provider
) -> None:
    idp.claims = ADA | {"iat": int(time.time()) - 8 * 3600 + 15}
    with visitor(browser, screen) as (page, _):
        enter(page)
        page.get_by_role("heading", name="Worklist").wait_for()

        page.get_by_text("Your login has ended").wait_for()

        expect(page.get_by_role("heading", name="Worklist")).to_have_count(0)


def test_whoever_was_taken_off_the_lists_changes_nothing_more(browser: Browser, idp: Provider, tmp_path: Path) -> None:
    write_scored(tmp_path, [scored_case(CANARY, views=())])  # without a film, which would ask for the page by itself
    port = free_port()
    file = auth_file(tmp_path, idp, port, ACCESS)
    process, address = serve.start(tmp_path, port, serve.Place(auth=file))
    idp.claims = ADA
    try:
        with visitor(browser, address) as (page, _):
            enter(page)
            page.get_by_role("button", name="Start reading").click()
            page.get_by_role("button", name="Accept").wait_for()
            file.write_text(file.read_text("utf-8").replace("ada@", "eve@"), encoding="utf-8")

            page.get_by_role("button", name="Accept").click()

            page.get_by_text("Ask whoever runs it").wait_for()
    finally:
        serve.stop(process)
    with Store(tmp_path / "store.sqlite") as store:
        assert [event.kind for event in store.trail.events()] == ["opened"]


def test_a_cookie_of_ones_own_making_is_no_login(browser: Browser, screen: str) -> None:
    context = browser.new_context()
    made = "2|1:0|10:1764140000|15:_streamlit_user|20:eyJpc19sb2dnZWRfaW4iOnRydWV9|" + "0" * 64
    context.add_cookies([{"name": "_streamlit_user", "value": made, "url": screen}])
    page = context.new_page()

    page.goto(screen)

    page.get_by_role("button", name="Log in").wait_for(timeout=20_000)
    assert page.get_by_role("heading", name="Worklist").count() == 0
    context.close()


def test_a_login_for_another_address_is_not_taken(screen: str) -> None:
    """DNS rebinding, now behind a login: only the host of redirect_uri gets a session."""
    connection = http.client.HTTPConnection(serve.HOST, int(screen.rsplit(":", 1)[1]), timeout=10)
    upgrade = {"Host": "evil.example", "Origin": "http://evil.example", "Upgrade": "websocket"}
    key = {"Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}

    connection.request("GET", "/_stcore/stream", headers=upgrade | key)

    assert connection.getresponse().status == http.HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "review.hospital.example"])
def test_beyond_this_machine_nothing_listens_without_a_login(tmp_path: Path, host: str) -> None:
    write_scored(tmp_path, [scored_case("c1", views=())])

    with pytest.raises(ConfigError, match="without a login"):
        serve.start(tmp_path, free_port(), serve.Place(host=host))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"https://review.example/oauth2callback": "http://review.example/oauth2callback"}, "https://"),
        ({"/oauth2callback": "/elsewhere"}, "oauth2callback"),
        ({"reader =": "readers ="}, "Did you mean 'reader'"),
        ({"x" * 32: "short"}, "cookie_secret"),
    ],
)
def test_an_auth_file_that_is_wrong_is_said_before_anything_listens(
    tmp_path: Path, wrong: dict[str, str], said: str
) -> None:
    text = (
        f'[auth]\nredirect_uri = "https://review.example/oauth2callback"\ncookie_secret = "{"x" * 32}"\n'
        'client_id = "c"\nclient_secret = "very-secret"\nserver_metadata_url = "https://idp.example/m"\n'
        '[access]\nreader = ["ada"]\n'
    )
    file = tmp_path / "auth.toml"
    file.write_text(text)
    assert read_toml(file, Auth).host == "review.example"
    for old, new in wrong.items():
        text = text.replace(old, new)
    file.write_text(text)
    write_scored(tmp_path, [scored_case("c1", views=())])

    with pytest.raises(ConfigError, match=said) as problem:
        serve.start(tmp_path, free_port(), serve.Place(auth=file))

    assert "very-secret" not in str(problem.value)


@pytest.mark.parametrize(
    "began", [None, True, "now", float("nan"), NOW + 3600], ids=["none", "true", "word", "nan", "later"]
)
def test_a_login_that_does_not_say_when_it_began_has_ended(began: object) -> None:
    assert Access().until({"iat": began}) is None


def test_a_login_lasts_as_long_as_the_file_says() -> None:
    until = Access(hours=1.5).until({"iat": NOW})

    assert until == datetime.fromtimestamp(NOW, UTC) + timedelta(hours=1.5)


def test_an_empty_name_is_on_no_list_even_if_a_list_holds_one() -> None:
    assert Access(reader=("",), groups="groups").role({"email": " ", "groups": ["", None, 3]}) is None


NAMED = """
import streamlit as st
from ui import login

who = login.reader()
st.write(str(who))
"""


def test_at_this_machine_a_name_is_typed_and_nobody_is_shown_a_case_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py", str(tmp_path)])
    shown = AppTest.from_string(NAMED, default_timeout=30).run()

    shown.text_input[0].set_value(" Dr Ada ").run()
    assert shown.markdown[0].value == "Reader(name='Dr Ada', role='lead')"
    shown.text_input[0].set_value(" ").run()
    assert shown.markdown[0].value == "None"
    assert shown.info[0].value.startswith("Give your name first")


def test_another_machine_sees_nothing_of_a_screen_that_somebody_started_by_hand_without_a_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["app.py", str(tmp_path)])
    monkeypatch.setattr(type(st.context), "ip_address", property(lambda _: "10.1.2.3"))

    shown = AppTest.from_string(NAMED, default_timeout=30).run()

    assert shown.markdown[0].value == "None"
    assert len(shown.text_input) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no /proc")
def test_a_store_by_url_is_opened_and_its_password_is_on_no_command_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from medmm.store.store import Store

    with running() as server, database(server) as url:
        url = url.replace("medmm@", "medmm:canary-password@")
        with Store(url) as store:
            store.keep([scored_case("c1", views=())])

        process, _ = serve.start(tmp_path, free_port(), serve.Place(store=url))
        told = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        serve.stop(process)

    assert b"canary-password" not in told
    assert "canary-password" not in (tmp_path / serve.LOG).read_text() + "".join(capfd.readouterr())


def test_a_store_that_cannot_be_reached_is_one_line_without_its_password(tmp_path: Path) -> None:
    url = "postgresql+psycopg://ada:canary-password@127.0.0.1:1/medmm"

    said = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "review", str(tmp_path), "--no-browser", "--store", url],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (said.returncode, said.stdout) == (3, "")
    assert said.stderr.startswith("medmm: the store cannot be used")
    assert said.stderr.count("\n") == 1
    assert "canary-password" not in said.stderr


def _bytes(frame: bytes | str) -> bytes:
    return frame.encode() if isinstance(frame, str) else frame
