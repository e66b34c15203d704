"""What becomes of the film where an answer is lost or late, and of a press where the film asks in the same instant.

The viewer is on a page of its own. The connection between page and server drops what a test says, and what otherwise
takes a busy machine and bad luck, two messages in one instant, is done on purpose.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from medmm.read.dicom.study import read_study
from medmm.result import Film, ScoredCase
from medmm.store.store import Store
from medmm.write.picture import write_picture
from tests.browser import launched
from tests.dicom_files import write
from tests.scored import MODEL, ORIGIN, scored_case, write_scored
from tests.viewer_page import serving
from ui import viewer

PATIENCE_MS = 20_000
FILMS = {"dark": ("PA", "LL"), "light": ("AP", "RL")}
"""Case -> the views of its films, which tell whose they are."""
STORED = 1000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored folder of two cases of two films."""
    folder = tmp_path_factory.mktemp("lost")
    write_scored(folder, [])
    with Store(folder / "store.sqlite") as store:
        store.keep([case_of(case_id, folder) for case_id in FILMS])
    return folder


def case_of(case_id: str, out: Path) -> ScoredCase:
    for place, view in enumerate(FILMS[case_id]):
        pixels = np.full((20, 20 + len(case_id) + place), STORED, np.uint16)
        header: dict[str, Any] = {"SOPInstanceUID": f"1.2.{len(case_id)}.{place + 1}", "ViewPosition": view}
        write(out / case_id / f"{view}.dcm", pixels, WindowCenter=1000, WindowWidth=2000, **header)
    films = []
    for image in read_study(out / case_id, case_id).images:
        write_picture(out / "films", image)
        films.append(Film(image.digest, image.modality, image.view, instance_uid=image.instance_uid))
    case = scored_case(case_id, views=("PA", "LL"))
    study = replace(ORIGIN, path=str(out / case_id))
    return replace(case, evidence=replace(case.evidence, films=tuple(films), study=study))


@pytest.fixture(scope="module")
def address(out: Path) -> Iterator[str]:
    """The viewer's page over these cases."""
    with serving(out) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as chromium:
        yield chromium


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page; a script that fails in it fails the test."""
    shown = browser.new_page(viewport={"width": 1000, "height": 1200})
    shown.set_default_timeout(PATIENCE_MS)
    failures: list[str] = []
    shown.on("pageerror", lambda failure: failures.append(str(failure)))
    yield shown
    shown.close()
    assert failures == []


def lose(page: Page, lost: Callable[[bytes], bool]) -> list[bytes]:
    """From now on pixels that are to be lost do not reach the page, as if it was drawn anew before they were sent.

    Returns the names of what was lost, which grows.
    """
    gone: list[bytes] = []

    def connected(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def passed(message: str | bytes) -> None:
            parts = _PARTS.search(message) if isinstance(message, bytes) else None
            if isinstance(message, bytes) and parts and lost(parts[1]):
                gone.append(parts[1])
                message = message.replace(parts[1], b" " * len(parts[1]))
            socket.send(message)

        server.on_message(passed)

    page.route_web_socket("**/_stcore/stream*", connected)
    return gone


_PARTS = re.compile(rb'"parts": \[(\{"id": "now-[^\]]*)\]')
"""In what the viewer is sent: which pixels come with it."""


def happens(page: Page, seen: Callable[[], object]) -> None:
    """Wait until something is seen of what goes between page and server."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not seen():
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)


def of_files(parts: bytes) -> bool:
    """Whether these are pixels of files, not of the pictures that were kept."""
    return b"now-picture" not in parts


def film_is_shown(page: Page, title: str) -> None:
    """Wait until a film is drawn with its stored values."""
    expect(page.locator(".pane .title").first).to_have_text(title)
    value_is(page, STORED)


def value_is(page: Page, value: int) -> None:
    """Wait until the film has this value in its middle, and look whether it is drawn there."""
    canvas = page.locator(".pane canvas").first
    canvas.hover()
    expect(page.locator(".pane .value").first).to_have_text(re.compile(f": {value}$"))
    assert canvas.evaluate("c => c.getContext('2d').getImageData(c.width >> 1, c.height >> 1, 1, 1).data[0]") > 0


def at_once(page: Page, press: str) -> None:
    """Go to the next film, which is asked for, and press a button or a choice in the very same instant."""
    page.evaluate(
        """(text) => {
          const viewer = document.querySelector("[data-testid=stBidiComponentIsolated]").shadowRoot;
          const next = new KeyboardEvent("keydown", { key: "PageDown", bubbles: true });
          viewer.querySelector(".panes").dispatchEvent(next);
          [...document.querySelectorAll("button, label")].find((one) => one.innerText.trim() === text).click();
        }""",
        press,
    )


def test_an_answer_that_is_lost_is_asked_for_again(page: Page, address: str) -> None:
    gone = lose(page, lambda parts: len(gone) < (4 if of_files(parts) else 2))

    page.goto(address)

    film_is_shown(page, "Film 1, PA")
    assert [of_files(parts) for parts in gone] == [False, False, True, True]


def test_a_film_that_is_shown_stays_while_its_file_does_not_come(page: Page, address: str) -> None:
    """That the files were read, the page learns from another redraw, which brings no pixels."""
    gone = lose(page, of_files)
    page.goto(address)
    value_is(page, 128)
    happens(page, lambda: gone)

    page.get_by_role("button", name="One").click()

    expect(page.get_by_text("Pressed: One")).to_be_visible()
    value_is(page, 128)


def test_a_press_in_the_instant_of_asking_is_heard_and_the_film_is_shown(page: Page, address: str) -> None:
    page.goto(address)
    film_is_shown(page, "Film 1, PA")

    at_once(page, "One")

    expect(page.get_by_text("Pressed: One")).to_be_visible()
    film_is_shown(page, "Film 2, LL")


def test_another_case_that_is_chosen_in_the_instant_of_asking_is_shown(page: Page, address: str) -> None:
    page.goto(address)
    film_is_shown(page, "Film 1, PA")

    at_once(page, "light")

    film_is_shown(page, "Film 1, AP")


def test_presses_that_reach_the_server_together_are_all_heard(page: Page, address: str) -> None:
    page.goto(address)
    film_is_shown(page, "Film 1, PA")

    page.evaluate(
        """async () => {
          for (const name of ["One", "Two", "Three"]) {
            [...document.querySelectorAll("button")].find((one) => one.innerText === name).click();
            await new Promise((later) => setTimeout(later, 5));
          }
        }"""
    )

    for name in ("One", "Two", "Three"):
        expect(page.get_by_text("Pressed:")).to_contain_text(name)


class Alone:
    """The viewer without Streamlit: an answer is made by `drawn`, and comes when `give` gives it."""

    def __init__(self, page: Page, out: Path, patch: pytest.MonkeyPatch) -> None:
        self._page, self._out, self._session = page, out, dict[str, Any]()
        patch.setattr("ui.viewer.st.session_state", self._session)
        patch.setattr(viewer, "_component", self._component)
        html, css = (files("ui").joinpath(f"viewer.{kind}").read_text(encoding="utf-8") for kind in ("html", "css"))
        page.set_content('<div style="width: 800px"></div>')
        page.evaluate(_ALONE, [html, css, viewer.SCRIPT])

    def drawn(self, case_id: str) -> bytes:
        """What the page would be sent now, were this case on it."""
        with Store(self._out / "store.sqlite") as store:
            scored = store.case(MODEL, case_id)
        viewer.show(scored, scored.evidence.explanations[0], self._out / "films")
        return self._data

    def asks(self) -> None:
        """Wait until the page has asked, and let the server hear it."""
        self._page.wait_for_function("asked.length > 0")
        self._session[self._key] = {"want": self._page.evaluate("asked.splice(0).at(-1)")}
        self._heard()

    def give(self, *answers: bytes) -> None:
        """Let answers come one at once after the other; what ends the first ones comes last, as it may."""
        self._page.evaluate("give", [base64.b64encode(answer).decode() for answer in answers])

    def _component(self, key: str, data: bytes, on_want_change: Callable[[], None], **_: object) -> None:
        self._key, self._data, self._heard = key, data, on_want_change


_ALONE = """
async ([html, css, script]) => {
  const root = document.querySelector("div").attachShadow({ mode: "open" });
  root.innerHTML = `${html}<style>${css}</style>`;
  const module = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  window.asked = [];
  window.give = (answers) => {
    const ends = answers.map((answer) =>
      module.default({
        data: Uint8Array.from(atob(answer), (letter) => letter.charCodeAt(0)),
        parentElement: root,
        setStateValue: (name, value) => window.asked.push(value),
      }),
    );
    ends.slice(0, -1).forEach((end) => end());
  };
}
"""


@pytest.fixture
def alone(page: Page, out: Path, monkeypatch: pytest.MonkeyPatch) -> Alone:
    return Alone(page, out, monkeypatch)


def test_an_answer_that_comes_late_for_another_case_is_not_drawn(page: Page, alone: Alone) -> None:
    alone.give(alone.drawn("dark"))
    alone.asks()
    late = alone.drawn("dark")
    alone.give(alone.drawn("light"))
    title = page.locator(".pane .title").first
    expect(title).to_have_text("Film 1, AP")

    alone.give(late)

    alone.asks()
    expect(title).to_have_text("Film 1, AP")
    expect(page.locator(".pane .value").first).to_have_text("Loading …")
    alone.give(alone.drawn("light"))
    value_is(page, 128)


def test_an_answer_that_was_overtaken_changes_nothing(page: Page, alone: Alone) -> None:
    before = alone.drawn("dark")
    alone.give(before)
    alone.asks()
    alone.give(alone.drawn("dark"))
    value_is(page, 128)
    alone.asks()
    alone.give(alone.drawn("dark"))
    film_is_shown(page, "Film 1, PA")

    alone.give(before)

    expect(page.locator(".note")).to_be_hidden()
    film_is_shown(page, "Film 1, PA")


def test_a_viewer_that_is_drawn_twice_at_once_still_asks_again(page: Page, alone: Alone) -> None:
    """Streamlit ends the first drawing after the second one has begun."""
    alone.give(alone.drawn("dark"), alone.drawn("dark"))
    alone.asks()
    alone.drawn("dark")  # which is lost

    alone.asks()

    alone.give(alone.drawn("dark"))
    value_is(page, 128)
