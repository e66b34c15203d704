"""Debian's chromium, as tests of the screen drive it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

_QUIET = "--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
ARGUMENTS = [*_QUIET.split(), "--disable-sync", "--no-first-run"]


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser that asks nothing of its maker."""
    chromium = shutil.which("chromium")
    assert chromium, "these tests need chromium on the path: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()
