"""Pictures of every page of the review screen, light and dark, as a browser shows them.

python -m benchmarks.screenshot .demo/scored docs/screens --finding pneumothorax

Into the folder go worklist.png, case.png, note.png, keys.png, conflict.png, print.png, model.png and login.png, each a
second time with -dark. What is done on the way is done to a copy of the scored folder.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.browser import launched
from tests.provider import auth_file, provider
from ui import words
from ui.serve import Place, free_port, start, stop

_PATIENCE_MS = 120_000
_A4: ViewportSize = {"width": 794, "height": 1123}
"""A sheet of paper in pixels of CSS."""
_UNREADY = ("while the study is read", "Loading …")
"""What the viewer says until the film's own pixels are there."""
_SETTLED_MS = 3_000
"""How long a page has to finish drawing."""


def main() -> int:
    """Open the folder and write every page as PNG."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.screenshot", description=__doc__)
    parser.add_argument("scored", type=Path, help="the folder that medmm score wrote")
    parser.add_argument("pictures", type=Path, help="the folder for the pictures")
    parser.add_argument("--case", default="", help="part of a case id; the most urgent one if not given")
    parser.add_argument("--finding", default="", help="the finding to choose in the case")
    parser.add_argument("--width", type=int, default=1440, help="of the page, pixels")
    parser.add_argument("--height", type=int, default=1010)
    arguments = parser.parse_args()
    chosen = {"part": arguments.case, "finding": arguments.finding}
    pages: dict[str, Callable[[Page], None]] = {
        "worklist": lambda page: None,
        "case": partial(case, **chosen),
        "note": partial(note, **chosen),
        "keys": lambda page: press(page, words.KEYS),
        "conflict": partial(conflict, **chosen),
        "print": partial(printed, **chosen),
        "model": model,
    }
    size = (arguments.width, arguments.height)
    arguments.pictures.mkdir(parents=True, exist_ok=True)
    with launched() as browser, tempfile.TemporaryDirectory() as folder:
        scored = shutil.copytree(arguments.scored, Path(folder) / "scored", ignore=shutil.ignore_patterns("export"))
        for other in arguments.scored.resolve().parent.iterdir():  # whose reports the page of the model shows
            if other.name != arguments.scored.name:
                (Path(folder) / other.name).symlink_to(other)
        process, address = start(scored)
        try:
            for name, go in pages.items():
                take(browser, address, arguments.pictures / name, size, go)
        finally:
            stop(process)
        take_login(browser, scored, arguments.pictures / "login", size)
    return 0


def take(browser: Browser, address: str, picture: Path, size: tuple[int, int], go: Callable[[Page], None]) -> None:
    """Open the screen, go to a page and keep what it looks like, light and dark."""
    schemes: dict[str, Literal["light", "dark"]] = {"": "light", "-dark": "dark"}
    for mark, scheme in schemes.items():
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        page = context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.goto(address)
        page.get_by_role("heading").first.wait_for()
        go(page)
        page.wait_for_timeout(_SETTLED_MS)
        for text in _UNREADY:
            page.get_by_text(text).wait_for(state="hidden")
        page.screenshot(path=picture.with_name(f"{picture.name}{mark}.png"))
        context.close()


def take_login(browser: Browser, scored: Path, picture: Path, size: tuple[int, int]) -> None:
    """The same of what stands there before login."""
    with provider() as running:
        port = free_port(8600)
        file = auth_file(scored, running, port, "")
        process, address = start(scored, port, Place(auth=file))
        try:
            take(browser, address, picture, size, lambda page: page.get_by_role("button", name=words.LOG_IN).wait_for())
        finally:
            stop(process)
            file.unlink()


def press(page: Page, name: str) -> None:
    """Press a button."""
    page.get_by_role("button", name=name).first.click()


def case(page: Page, part: str, finding: str) -> None:
    """Open a case, the most urgent one or the one that is searched for, and choose a finding."""
    if part:
        search = page.get_by_label(words.SEARCH)
        search.fill(part)
        search.press("Enter")
        page.wait_for_timeout(_SETTLED_MS)
    press(page, words.START)
    page.get_by_role("button", name=words.BACK).first.wait_for()
    if finding:
        press(page, finding)
        page.locator(".mm-sentence b", has_text=finding).wait_for()


def note(page: Page, part: str, finding: str) -> None:
    """The note of a case beside its film."""
    case(page, part, finding)
    page.locator(".st-key-kinds button", has_text=words.EVIDENCE["note"]).click()


def conflict(page: Page, part: str, finding: str) -> None:
    """The same case in two browsers: the other reader has decided what this one decides now."""
    case(page, part, finding)
    browser = page.context.browser
    assert browser
    other = browser.new_context(viewport=page.viewport_size).new_page()
    other.set_default_timeout(_PATIENCE_MS)
    other.goto(page.url)
    press(other, "Expand sidebar")
    reader = other.get_by_label(words.READER, exact=True)
    reader.fill("Dr Grace")
    reader.press("Enter")
    press(other, "Collapse sidebar")
    case(other, page.locator("h1").inner_text(), finding)
    decide(other, 1)
    other.context.close()
    page.locator(".st-key-choices button").first.click()
    page.get_by_text(words.CONFLICT.rpartition("} ")[2]).wait_for()


def decide(page: Page, choice: int) -> None:
    """Say something of the chosen finding, with a comment."""
    comment = page.get_by_label(words.COMMENT)
    expect(comment).to_have_count(1)  # that of the finding before has gone
    comment.fill("Seen on the film of last year already.")
    page.locator(".st-key-choices button").nth(choice).click()
    page.locator(".mm-done:not(:empty)").first.wait_for()


def printed(page: Page, part: str, finding: str) -> None:
    """A case as it comes out on paper, a finding of it decided."""
    case(page, part, finding)
    page.locator(".pane .title").first.wait_for()
    decide(page, 0)
    page.emulate_media(media="print")
    page.set_viewport_size(_A4)


def model(page: Page) -> None:
    """The page of the model and the cohort."""
    press(page, "Expand sidebar")
    press(page, words.MODELS)
    page.get_by_role("heading", name=words.SUBGROUPS).wait_for()
    press(page, "Collapse sidebar")


if __name__ == "__main__":
    raise SystemExit(main())
