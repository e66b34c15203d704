"""Do decisions get lost or doubled when many people read at once? Real pages, one screen, one store.

python -m benchmarks.sessions --sessions 20 [--postgresql URL]

Each session has a browser context and a name of its own. First everybody decides every finding of a case of their own,
all clicking in the same moment; then everybody decides the same finding of one case, and whoever is told that somebody
else was first decides again. In the end the audit trail must hold one word of each reader on each of these findings.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Page

from medmm.store.store import STORE, Store
from tests.browser import launched
from tests.scored import LABELS, MODEL, scored_case, write_scored
from ui import words
from ui.say import name
from ui.serve import LOG, Place, start, stop

SHARED = "shared"
_LEADING = name(LABELS[-1]).capitalize()
"""The finding that a case opens with, as the page writes it."""
_PATIENCE_MS = 120_000
_ROUNDS = 40


def main() -> int:
    """1 if a decision is lost or doubled, the trail has a fault, or the log speaks of a lock."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sessions", description=__doc__)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--postgresql", default="", help="URL of an empty database; SQLite if not given")
    arguments = parser.parse_args()
    readers = [f"reader-{n:02d}" for n in range(arguments.sessions)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        cases = [scored_case(SHARED, views=()), *(scored_case(f"own-{who}", views=()) for who in readers)]
        write_scored(out, cases)
        if arguments.postgresql:
            with Store(arguments.postgresql) as store:
                store.keep(cases)
        process, address = start(out, place=Place(store=arguments.postgresql or None))
        begin = time.perf_counter()
        try:
            with launched() as browser:
                pages = [browser.new_context(viewport={"width": 1440, "height": 900}).new_page() for _ in readers]
                conflicts = read(pages, readers, address)
        finally:
            stop(process)
        seconds = time.perf_counter() - begin
        with Store(arguments.postgresql or out / STORE) as store:
            found = checked(store, readers)
        found |= {"locked": "locked" in (out / LOG).read_text()}
    told = {"sessions": len(readers), "conflicts told": conflicts, "seconds": round(seconds), **found}
    print(json.dumps(told, indent=2))
    return int(bool(found["lost"] or found["doubled"] or found["faults"] or found["locked"]))


def read(pages: Sequence[Page], readers: Sequence[str], address: str) -> int:
    """Let everybody decide; returns how often somebody was told that another one was first."""
    for page in pages:
        page.set_default_timeout(_PATIENCE_MS)
        page.goto(address)
    for page, who in zip(pages, readers, strict=True):
        _name(page, who)
    _open_each(pages, [f"own-{who}" for who in readers])
    for place in range(len(LABELS)):
        _accept_each(pages)
        for page in pages:
            page.locator(".mm-done:not(:empty)").nth(place).wait_for()
    for page in pages:
        page.get_by_role("button", name=words.BACK).first.click()
    _open_each(pages, [SHARED] * len(pages))
    return _decide_the_same(pages)


def _decide_the_same(pages: Sequence[Page]) -> int:
    """Everybody clicks; those who were not first do so again, until nobody is left."""
    conflicts = 0
    for _ in range(_ROUNDS):
        _accept_each(pages)
        pages = [page for page in pages if not _stored(page)]
        conflicts += len(pages)
        if not pages:
            break
    return conflicts


def _name(page: Page, who: str) -> None:
    page.get_by_role("button", name="Expand sidebar").click()
    field = page.get_by_label(words.READER, exact=True)
    field.fill(who)
    field.press("Enter")
    page.get_by_role("button", name="Collapse sidebar").click()


def _open_each(pages: Sequence[Page], cases: Sequence[str]) -> None:
    for page, case in zip(pages, cases, strict=True):
        field = page.get_by_label(words.SEARCH)
        field.fill(case)
        field.press("Enter")
    for page, case in zip(pages, cases, strict=True):
        page.locator(f".mm-rows tbody tr:only-child button:text-is('{case}')").click()
    for page, case in zip(pages, cases, strict=True):
        page.get_by_role("heading", name=case).wait_for()
        page.get_by_role("button", name="Accept").wait_for()


def _accept_each(pages: Sequence[Page]) -> None:
    """Click on every page without waiting for what comes of it."""
    for page in pages:
        page.get_by_role("button", name="Accept").evaluate("button => button.click()")


def _stored(page: Page) -> bool:
    """Whether the word was stored, so that the page went on to another finding; or another reader was first."""
    told, gone_on = page.get_by_text(words.CONFLICT.split(",")[0]), page.locator(".mm-sentence", has_not_text=_LEADING)
    told.or_(gone_on).first.wait_for()
    return gone_on.count() > 0


def checked(store: Store, readers: Sequence[str]) -> dict[str, object]:
    """Which decisions the trail lacks, and which it holds more than once."""
    decided = [event for event in store.trail.events() if event.kind == "decided"]
    held = Counter((event.who, event.shown.case_id, event.payload["label"]) for event in decided)
    due = {(who, f"own-{who}", label) for who in readers for label in LABELS}
    due |= {(who, SHARED, LABELS[-1]) for who in readers}
    return {
        "model": MODEL,
        "decisions": len(decided),
        "lost": sorted(due - set(held)),
        "doubled": sorted(one for one, times in held.items() if times > 1 or one not in due),
        "faults": list(store.trail.verify().faults),
    }


if __name__ == "__main__":
    raise SystemExit(main())
