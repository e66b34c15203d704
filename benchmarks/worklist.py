"""How long the review screen takes to show a worklist, and to open a case, in a real browser without a GPU.

python -m benchmarks.worklist --cases 10000 --seed 0

First paint: from asking for the address to the first row. Opening: from the click to the case's name, and to its film
(a picture of 8 bits, as scoring keeps it). Each is repeated in a browser context of its own; the first one, which also
fills the server's caches, is given apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page

from medmm.store.store import Store
from tests.browser import launched
from tests.scored import LABELS, scored_case, write_scored
from ui.serve import start, stop

_AT_ONCE = 500
_PATIENCE_MS = 60_000
_DRAWN = "document.querySelector('.mm-rows tbody tr') !== null"
_FILM = """
() => [...document.querySelectorAll("*")].some((host) =>
  [...(host.shadowRoot ?? host).querySelectorAll("canvas")].some(
    (c) => c.width > 9 && c.getContext("2d")?.getImageData(c.width >> 1, c.height >> 1, 1, 1).data[0] > 0,
  ),
)
"""


def main() -> int:
    """Fill a store, show it, print seconds as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worklist", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the probabilities")
    parser.add_argument("--times", type=int, default=5, help="visits after the first one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        fill(out, arguments.cases, arguments.seed)
        process, address = start(out)
        try:
            with launched() as browser:
                visits = [visit(browser, address, n) for n in range(arguments.times + 1)]
        finally:
            stop(process)
    named = [{"first row": a, "case": b, "film": c, "next case": d} for a, b, c, d in visits]
    print(json.dumps({"cases": arguments.cases, "first visit": named[0], "median": _medians(named[1:])}, indent=2))
    return 0


def fill(out: Path, cases: int, seed: int) -> None:
    """Write a scored folder with made-up films and random probabilities."""
    rng = np.random.default_rng(seed)
    write_scored(out, [scored_case("case-000000")])
    with Store(out / "store.sqlite") as store:
        for begin in range(1, cases, _AT_ONCE):
            chosen = range(begin, min(begin + _AT_ONCE, cases))
            store.keep([scored_case(f"case-{n:06d}", rng.uniform(0.01, 0.99, len(LABELS)).tolist()) for n in chosen])


def visit(browser: Browser, address: str, place: int) -> tuple[float, float, float, float]:
    """Seconds to the first row; from a click to the case and to its film; from the next click to the next case."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(_PATIENCE_MS)
    begin = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_function(_DRAWN)
    first = time.perf_counter() - begin
    page.wait_for_timeout(1000)
    row = page.locator(".mm-rows tbody tr button").nth(place)
    name = row.inner_text()
    begin = time.perf_counter()
    row.click()
    page.get_by_role("heading", name=name).wait_for()
    case = time.perf_counter() - begin
    page.wait_for_function(_FILM)
    film = time.perf_counter() - begin
    page.wait_for_timeout(1000)
    following = _next(page, name)
    page.context.close()
    return first, case, film, following


def _next(page: Page, name: str) -> float:
    begin = time.perf_counter()
    page.locator(".st-key-next button").first.click()
    page.get_by_role("heading", name=name).wait_for(state="detached")
    page.get_by_role("heading", name="case-").first.wait_for()
    return time.perf_counter() - begin


def _medians(visits: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(one[name] for one in visits), 3) for name in visits[0]}


if __name__ == "__main__":
    raise SystemExit(main())
