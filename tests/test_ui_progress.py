"""How far the scoring run is, on the worklist: it follows by itself, says what to do if it stopped, or is silent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from medmm.score.progress import Tally
from tests.browser import launched
from tests.ports import free_port
from tests.scored import MODEL, scored_case, write_scored
from ui import progress, serve, words

RUNS = """
import sys
from pathlib import Path
from medmm.score.lock import alone_in
from medmm.score.progress import telling
out = Path(sys.argv[1])
with alone_in(out), telling(out, sys.argv[2], 1200) as tell:
    for line in sys.stdin:
        tell(*map(int, line.split()))
        print("told", flush=True)
"""
"""A scoring run of 1,200 cases that has done and refused as many as it is told."""
PATIENCE_MS = 30_000
NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
CUT_SHORT, RUNNING = words.CUT_SHORT.split(":")[0], words.RUNNING.split(":")[0] + ":"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with launched() as browser:
        shown = browser.new_page(viewport={"width": 1440, "height": 900})
        shown.set_default_timeout(PATIENCE_MS)
        yield shown


@contextmanager
def scoring(out: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that has begun."""
    command = [sys.executable, "-c", RUNS, str(out), MODEL]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        tell(run, 0, 0)
        yield run
        run.kill()


def tell(run: subprocess.Popen[str], done: int, refused: int) -> None:
    assert run.stdin
    assert run.stdout
    print(done, refused, file=run.stdin, flush=True)
    assert run.stdout.readline() == "told\n"


def test_the_worklist_follows_a_run_by_itself_and_the_row_that_a_reader_is_on_stays_where_it_is(
    page: Page, tmp_path: Path
) -> None:
    write_scored(tmp_path, [scored_case(f"case-{n}", (0.2, 0.1, 0.8), views=()) for n in range(30)])
    process, address = serve.start(tmp_path, free_port())
    try:
        with scoring(tmp_path) as run:
            tell(run, 30, 0)
            page.goto(address)
            expect(page.get_by_text(words.RUNNING.format(30, 1200, "", words.MOVED_NOW))).to_be_visible(
                timeout=PATIENCE_MS
            )
            twentieth = page.locator(".mm-list tbody tr").nth(20)
            for _ in range(200):  # what is pressed while the list is drawn for the first time is lost
                if twentieth.get_attribute("data-at") is not None:
                    break
                page.keyboard.press("j")
            row = page.locator("tr[data-at]")
            expect(twentieth).to_have_attribute("data-at", "")
            before = row.inner_text(), row.bounding_box()

            tell(run, 1100, 2)
            refused = words.RUN_REFUSED.format(2)
            expect(page.get_by_text(words.RUNNING.format(1100, 1200, refused, words.MOVED_NOW))).to_be_visible(
                timeout=PATIENCE_MS
            )
            followed = row.inner_text(), row.bounding_box()

            run.kill()
            run.wait()
            expect(page.get_by_text(CUT_SHORT)).to_be_visible(timeout=PATIENCE_MS)
            stopped = row.inner_text(), row.bounding_box()

        with scoring(tmp_path) as run:
            page.keyboard.press("r")
            expect(page.get_by_text(RUNNING)).to_be_visible(timeout=PATIENCE_MS)
            again = row.inner_text()
            tell(run, 1200, 2)
            assert run.stdin
            run.stdin.close()
            expect(page.get_by_text(RUNNING)).to_be_hidden(timeout=PATIENCE_MS)
            expect(page.get_by_text(CUT_SHORT)).to_be_hidden(timeout=PATIENCE_MS)
            silent = row.inner_text()
    finally:
        serve.stop(process)

    assert before[0].split("\t")[1:] == followed[0].split("\t")[1:] == stopped[0].split("\t")[1:]
    assert before[1] == followed[1] == stopped[1]
    assert again == silent


@pytest.mark.parametrize(
    ("running", "since", "said"),
    [
        (True, timedelta(seconds=3), "Scoring: 1,030 of 1,200 cases done, 4 of them refused; last moved just now."),
        (True, timedelta(hours=3), "Scoring: 1,030 of 1,200 cases done, 4 of them refused; last moved 3 h ago."),
        (
            False,
            timedelta(minutes=7),
            "Scoring was cut short: 1,030 of 1,200 cases done, 4 of them refused; last moved 7 min ago. "
            "The same medmm score again does the rest.",
        ),
    ],
)
def test_it_is_said_how_far_a_run_is_when_it_last_moved_and_what_does_the_rest(
    running: bool, since: timedelta, said: str
) -> None:
    tally = Tally(MODEL, 1, 1200, 1030, 4, NOW - timedelta(days=1), NOW - since)

    assert progress.text(tally, running, NOW) == said
