"""Every page of the screen, light and dark, by the rules of WCAG 2.1 A and AA that axe-core can check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import launched
from tests.ports import free_port
from tests.provider import auth_file, provider
from tests.scored import LABELS, scored_case, write_scored
from ui import serve, words
from ui.shelf import GONE

PATIENCE_MS = 30_000
SEVERE = ("serious", "critical")
_CONTRAST = "axe.run({ exclude: ['[data-testid=stPopoverBody]'] }, { runOnly: ['color-contrast'] })"
"""A popover's frame lies over it, so that this cannot be decided there; its violations are found by the other run."""
_DRAWN = """() => document.querySelector("[data-test-script-state=notRunning]")
  && !document.querySelector("[data-stale=true]")
  && document.getAnimations().every((one) => one.playState !== "running" || one.effect.getTiming().iterations > 99)
"""
"""Whether the page stands as it is to be: nothing is being drawn, fades in or fades out."""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    out = tmp_path_factory.mktemp("scored")
    cases = [scored_case("urgent", views=("PA", "LL")), scored_case("quiet", (0.1, 0.1, 0.1), views=(), record={})]
    write_scored(out, cases)
    process, address = serve.start(out, free_port())
    yield address
    serve.stop(process)


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1440, "height": 900})
    shown = context.new_page()
    shown.set_default_timeout(PATIENCE_MS)
    yield shown
    context.close()


def the_worklist(page: Page) -> None:
    page.get_by_role("heading", name=words.WORKLIST).wait_for()
    page.get_by_role("button", name="urgent").first.wait_for()


def a_case(page: Page) -> None:
    the_worklist(page)
    page.get_by_role("button", name=words.START).click()
    page.get_by_role("heading", name="urgent").wait_for()
    page.get_by_role("button", name="Accept").first.wait_for()
    page.locator(".viewer canvas").first.wait_for()
    page.get_by_text(GONE).first.wait_for()  # the page is drawn once more when that is known


def the_keys(page: Page) -> None:
    the_worklist(page)
    page.get_by_role("button", name=words.KEYS).click()
    page.get_by_role("dialog").wait_for()


def the_model(page: Page) -> None:
    the_worklist(page)
    page.get_by_role("button", name="Expand sidebar").click()
    page.get_by_role("button", name=words.MODELS).click()
    page.get_by_role("heading", name=words.SUBGROUPS).wait_for()
    page.locator(".figures svg").first.wait_for()


@pytest.mark.parametrize("go", [the_worklist, the_keys, the_model])
def test_no_page_has_a_serious_fault(page: Page, screen: str, go: Callable[[Page], None]) -> None:
    page.goto(screen)

    go(page)

    assert faults(page) == []


def test_neither_a_case_nor_any_kind_of_evidence_has_a_serious_fault(page: Page, screen: str) -> None:
    page.goto(screen)

    a_case(page)
    found = {"case": faults(page)}
    for kind in words.EVIDENCE:
        page.locator(".st-key-kinds button", has_text=words.EVIDENCE[kind]).click()
        page.wait_for_timeout(500)
        found[kind] = faults(page)

    assert not any(found.values()), found


def test_neither_the_way_in_nor_the_refusal_has_a_serious_fault(page: Page, tmp_path: Path) -> None:
    write_scored(tmp_path, [scored_case("c1", views=())])
    with provider() as idp:
        idp.claims = {"email": "mallory@elsewhere.example"}
        port = free_port()
        process, address = serve.start(tmp_path, port, serve.Place(auth=auth_file(tmp_path, idp, port, "")))
        page.goto(address)
        page.get_by_role("button", name=words.LOG_IN).wait_for()
        before = faults(page)
        page.get_by_role("button", name=words.LOG_IN).click()
        page.get_by_role("button", name=words.LOG_OUT).wait_for()
        after = faults(page)
        serve.stop(process)

    assert (before, after) == ([], [])


def test_the_check_finds_a_fault_that_was_put_there(page: Page, screen: str) -> None:
    page.goto(screen)
    the_worklist(page)

    page.evaluate(
        "document.querySelector('h1').insertAdjacentHTML('afterend',"
        "'<input id=nameless><p style=\"color:#999;background:#aaa\">hard to read</p>')"
    )

    assert {fault.split(":")[0] for fault in faults(page)} == {"label", "color-contrast"}


def test_every_finding_is_named_to_those_who_cannot_see_it(page: Page, screen: str) -> None:
    page.goto(screen)

    a_case(page)

    for label in LABELS:
        expect(page.get_by_role("button", name=label.replace("_", " ")).first).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "en"


def faults(page: Page) -> list[str]:
    """What axe-core calls serious or critical, and text whose contrast it leaves open: rule and element."""
    page.wait_for_function(_DRAWN)
    if not page.evaluate("'axe' in window"):
        page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = page.evaluate(
        "async (rules) => (await axe.run({ runOnly: rules })).violations", RULES
    )
    severe = [fault for fault in found if fault["impact"] in SEVERE]
    page.add_style_tag(content='[data-testid="stHeader"] { visibility: hidden; }')  # clear, and lies over the top
    contrast: dict[str, list[dict[str, Any]]] = page.evaluate(_CONTRAST)
    unclear = [{**fault, "nodes": list(filter(_open, fault["nodes"]))} for fault in contrast["incomplete"]]
    return [
        f"{fault['id']}: {node['target']} {node['html'][:160]}"
        for fault in (*severe, *contrast["violations"], *unclear)
        for node in fault["nodes"]
    ]


def _open(node: dict[str, Any]) -> bool:
    """Whether it is text of which nothing is known; single signs and what lies on a film are left out."""
    return not any(part in node["any"][0]["message"] for part in ("too short", "image node"))
