"""Do decisions get lost or doubled when many people read at once? Real pages, one screen, one store.

python -m benchmarks.sessions --sessions 20 [--postgresql]

Each session has a browser context and a name of its own. First everybody decides every finding of a case of their own,
all clicking in the same moment. Then everybody decides the same finding of one case, again in the same moment: whoever
was not first must be told so, and nothing of theirs be stored. In the end the audit trail must hold one word for each
that a page said was stored, and no other.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from playwright.sync_api import Page

from medmm.store.store import STORE, Store
from tests.browser import launched
from tests.postgres import running
from tests.scored import LABELS, scored_case, write_scored
from ui import words
from ui.say import name
from ui.serve import LOG, Place, start, stop

SHARED = ("shared-1", "shared-2", "shared-3")
Word = tuple[str, str, str]
"""Reader, case, label."""
_LEADING = name(LABELS[-1]).capitalize()
"""The finding that a case opens with, as the page writes it."""
_PATIENCE_MS = 120_000


def main() -> int:
    """1 if a decision is lost or doubled, the trail has a fault, or the log speaks of a lock."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sessions", description=__doc__)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--postgresql", action="store_true", help="start one and use it; SQLite if not given")
    arguments = parser.parse_args()
    readers = [f"reader-{n:02d}" for n in range(arguments.sessions)]
    with tempfile.TemporaryDirectory() as folder, running() if arguments.postgresql else nullcontext() as url:
        out = Path(folder)
        cases = [scored_case(case, views=()) for case in (*SHARED, *(f"own-{who}" for who in readers))]
        write_scored(out, cases)
        if url:
            with Store(url) as store:
                store.keep(cases)
        process, address = start(out, place=Place(store=url))
        begin = time.perf_counter()
        try:
            with launched() as browser:
                pages = [browser.new_context(viewport={"width": 1440, "height": 900}).new_page() for _ in readers]
                stored = read(pages, readers, address)
        finally:
            stop(process)
        seconds = time.perf_counter() - begin
        with Store(url or out / STORE) as store:
            found = checked(store, stored)
        found |= {"locked": "locked" in (out / LOG).read_text()}
    told = {
        "store": "PostgreSQL" if url else "SQLite",
        "sessions": len(readers),
        "said to be stored": len(stored),
        "seconds": round(seconds),
        **found,
    }
    print(json.dumps(told, indent=2))
    return int(bool(found["lost"] or found["doubled"] or found["faults"] or found["locked"]))


def read(pages: Sequence[Page], readers: Sequence[str], address: str) -> list[Word]:
    """Let everybody decide; returns what the pages said was stored."""
    for page in pages:
        page.set_default_timeout(_PATIENCE_MS)
        page.goto(address)
    for page, who in zip(pages, readers, strict=True):
        _name(page, who)
    own = [f"own-{who}" for who in readers]
    _open_each(pages, own)
    for place in range(len(LABELS)):
        _accept_each(pages)
        for page in pages:
            page.locator(".mm-done:not(:empty)").nth(place).wait_for()
    stored = [(who, case, label) for who, case in zip(readers, own, strict=True) for label in LABELS]
    for case in SHARED:
        for page in pages:
            page.get_by_role("button", name=words.BACK).first.click()
        _open_each(pages, [case] * len(pages))
        _accept_each(pages)
        first = [who for page, who in zip(pages, readers, strict=True) if _stored(page)]
        stored += [(who, case, LABELS[-1]) for who in first]
    return stored


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
    told, gone_on = (
        page.get_by_text(words.CONFLICT.rpartition("} ")[2]),
        page.locator(".mm-sentence", has_not_text=_LEADING),
    )
    told.or_(gone_on).first.wait_for()
    return gone_on.count() > 0


def checked(store: Store, stored: Sequence[Word]) -> dict[str, object]:
    """Which words the trail lacks, and which it holds more than once or nobody was told of."""
    decided = [event for event in store.trail.events() if event.kind == "decided"]
    held = Counter((event.who, event.shown.case_id, str(event.payload["label"])) for event in decided)
    return {
        "decisions": len(decided),
        "lost": sorted(set(stored) - set(held)),
        "doubled": sorted(one for one, times in held.items() if times > 1 or one not in stored),
        "faults": list(store.trail.verify().faults),
    }


if __name__ == "__main__":
    raise SystemExit(main())
