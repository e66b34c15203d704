"""The film viewer in a browser: what is drawn is what the file holds, and the server is not asked for what it can do.

The viewer stands alone on a page of its own, over real files; the canvas is read back, pixel by pixel.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from playwright.sync_api import Locator, Page, expect

from medmm.case import Image
from medmm.config import ImageRule
from medmm.placement import Placement
from medmm.read.dicom.study import read_study
from medmm.result import Evidence, Film, Outline, Overlay, ScoredCase
from medmm.slices import Picture, part_of, pictures_of
from medmm.store.store import Store
from medmm.write.picture import picture_path, write_picture
from tests.browser import launched
from tests.dicom_files import ramp, slices, write, write_stack
from tests.exported import read_case
from tests.scored import MODEL, ORIGIN, scored_case, write_scored
from tests.viewer_page import LOG, serving
from ui import viewer
from ui.shelf import kept, shelve

PATIENCE_MS = 45_000
CANARY = "canary-patient-4711"
ROWS, COLUMNS = 48, 40
TITLES = {
    "film": "Film 1, PA",
    "flipped": "Film 1, AP",
    "oblong": "Film 1, LL",
    "changed": "Film 1, RL",
    "gone": "Film 1, CC",
    "photograph": "Film 1",
    "ct": "CT, 5 slices",
}
"""Case -> what its first picture is called, which no other one's is."""
expect.set_options(timeout=PATIENCE_MS)


def seen_by_model(path: Path, out: Path, *, prior: bool = False) -> list[tuple[Film, Overlay]]:
    """Every film and three slices of every volume, as scoring keeps them, each with a warm spot at its upper left."""
    study = read_study(path, "c")
    pictures = [Picture(place) for place in range(len(study.images))]
    pictures += [Picture(place, volume) for volume in range(len(study.volumes)) for place in (0, 2, 4)]
    kept = []
    for picture, image in zip(pictures, pictures_of(study, pictures), strict=True):
        write_picture(out / "films", image)
        uids = (image.series_uid, image.instance_uid, image.sop_class)
        film = Film(image.digest, image.modality, image.view, image.remarks, prior, part_of(study, picture), *uids)
        cells = np.zeros((8, 8), np.float32)
        cells[:3, :3] = 0.9 - 0.1 * picture.index
        kept.append((film, Overlay(cells, Placement.fit(image.rows, image.columns, 256))))
    return kept


def case_of(case_id: str, out: Path, now: Path, prior: Path | None = None) -> ScoredCase:
    given = seen_by_model(now, out) + (seen_by_model(prior, out, prior=True) if prior else [])
    case = scored_case(case_id)
    overlays = tuple(overlay for _, overlay in given)
    evidence: Evidence = replace(
        case.evidence,
        films=tuple(film for film, _ in given),
        explanations=tuple(replace(one, overlays=overlays, deletion=None) for one in case.evidence.explanations),
        study=replace(ORIGIN, path=str(now)),
        prior=replace(ORIGIN, path=str(prior)) if prior else None,
    )
    return replace(case, evidence=evidence)


def studies(folder: Path) -> Mapping[str, tuple[Path, Path | None]]:
    """Case -> its study and its prior one."""
    windows: dict[str, Any] = {"WindowCenter": [2048, 1000], "WindowWidth": [4096, 1001]}
    whole = windows | {"PatientOrientation": ["L", "F"], "ImagerPixelSpacing": [0.5, 0.5], "ViewPosition": "PA"}
    write(folder / "film" / "f.dcm", ramp(), **whole)
    flipped: dict[str, Any] = {"PhotometricInterpretation": "MONOCHROME1", "ViewPosition": "AP"}
    write(folder / "flipped" / "f.dcm", np.uint16(4095) - ramp(), **flipped, **windows)
    write(folder / "oblong" / "f.dcm", ramp(), PixelAspectRatio=[2, 1], ViewPosition="LL", **windows)
    write(folder / "changed" / "f.dcm", ramp(), ViewPosition="RL", **windows)
    write(folder / "gone" / "f.dcm", ramp(), ViewPosition="CC", **windows)
    hounsfield: dict[str, Any] = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400}
    write_stack(folder / "ct", slices(), **hounsfield)
    write_stack(folder / "ct-prior", slices(), series="1.2.8", StudyInstanceUID="1.2.2", **hounsfield)
    (folder / "photograph").mkdir()
    colours = np.zeros((30, 60, 3), np.uint8) + np.array([200, 100, 50], np.uint8)
    PIL.Image.fromarray(colours).save(folder / "photograph" / "skin.png")
    names = ("film", "flipped", "oblong", "changed", "gone", "photograph")
    return {name: (folder / name, None) for name in names} | {"ct": (folder / "ct", folder / "ct-prior")}


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The viewer on a page of its own."""
    out = tmp_path_factory.mktemp("viewer") / CANARY
    out.mkdir()
    cases = [case_of(name, out, *paths) for name, paths in studies(out / "studies").items()]
    write_scored(out, [])
    with Store(out / "store.sqlite") as store:
        store.keep(cases)
    (out / "studies" / "gone" / "f.dcm").unlink()
    uid = next(case.evidence.films[0].instance_uid for case in cases if case.prediction.case_id == "changed")
    write(out / "studies" / "changed" / "f.dcm", ramp() + np.uint16(1), SOPInstanceUID=uid)
    with serving(out) as address:
        yield out, address


@pytest.fixture(scope="module")
def tab(screen: tuple[Path, str]) -> Iterator[tuple[Page, list[str]]]:
    """One page for all tests, and what failed in it."""
    failures: list[str] = []
    with launched() as browser:
        shown = browser.new_page(viewport={"width": 1000, "height": 800})
        shown.set_default_timeout(PATIENCE_MS)
        shown.on("pageerror", lambda failure: failures.append(str(failure)))
        shown.goto(screen[1])
        yield shown, failures


@pytest.fixture
def page(tab: tuple[Page, list[str]]) -> Iterator[Page]:
    """The page; a script that fails in it fails the test."""
    shown, failures = tab
    yield shown
    assert failures == []
    shown.mouse.move(0, 0)


def open_case(page: Page, name: str, *, overlay: bool = False) -> Locator:
    """The canvas of a case that is opened afresh, once its files are shown or it is said that they are not."""
    other = "photograph" if name != "photograph" else "film"
    for chosen in (other, name):
        page.get_by_test_id("stRadio").first.get_by_text(chosen, exact=True).click()
        expect(page.locator(".pane .title").first).to_have_text(TITLES[chosen])
        expect(page.locator(".viewer")).to_have_count(1)
    expect(page.locator(".note")).not_to_have_text(re.compile("while the study is read"))
    expect(page.locator(".pane .value").first).not_to_have_text("Loading …")
    page.locator(".panes").press("w")
    if (page.locator("[data-key=o]").get_attribute("aria-pressed") == "true") != overlay:
        page.keyboard.press("o")
        page.wait_for_timeout(50)
    return page.locator(".pane canvas").first


def point(page: Page, column: float, row: float, frame: tuple[int, int] = (ROWS, COLUMNS)) -> tuple[float, float]:
    """Where a pixel of the first pane's picture lies on the page, when it fits the pane."""
    box = page.locator(".pane canvas").first.bounding_box()
    assert box is not None
    rows, columns = frame
    scale = min(box["width"] / columns, box["height"] / rows)
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    return middle[0] + (column - columns / 2) * scale, middle[1] + (row - rows / 2) * scale


def brightness(canvas: Locator, x: float, y: float) -> list[int]:
    """Red, green and blue of the canvas at a place of the page."""
    box = canvas.bounding_box()
    assert box is not None
    at = [x - box["x"], y - box["y"]]
    read = "(c, [x, y]) => [...c.getContext('2d').getImageData(Math.round(x), Math.round(y), 1, 1).data].slice(0, 3)"
    return list(canvas.evaluate(read, at))


def drawn_at(page: Page, column: int, row: int) -> int:
    """Grey in the middle of a pixel of the film."""
    red, green, blue = brightness(page.locator(".pane canvas").first, *point(page, column + 0.5, row + 0.5))
    assert red == green == blue
    return red


def test_a_film_is_drawn_in_its_window_and_the_value_under_the_cursor_is_the_stored_one(page: Page) -> None:
    open_case(page, "film")

    for column, row in ((3, 5), (20, 30), (39, 47)):
        page.mouse.move(*point(page, column + 0.5, row + 0.5))
        stored = int(ramp()[row, column])
        expect(page.locator(".pane .value").first).to_have_text(f"x {column}, y {row}: {stored}")
        assert drawn_at(page, column, row) == pytest.approx(255 * stored / 4095, abs=3)


def test_a_monochrome1_film_looks_like_the_same_film_stored_the_other_way_round(page: Page) -> None:
    open_case(page, "flipped")

    assert drawn_at(page, 20, 30) == pytest.approx(255 * int(ramp()[30, 20]) / 4095, abs=3)


def test_pixels_that_are_not_square_are_drawn_so(page: Page) -> None:
    open_case(page, "oblong")

    page.mouse.move(*point(page, 3.5, 2 * 40.5, (2 * ROWS, COLUMNS)))

    expect(page.locator(".pane .value").first).to_have_text(f"x 3, y 40: {ramp()[40, 3]}")


def test_a_drag_changes_window_and_level_without_asking_the_server(page: Page) -> None:
    open_case(page, "film")
    window = page.locator(".pane .window").first
    expect(window).to_have_text("C 2048 W 4096")
    before = drawn_at(page, 20, 30)
    sent: list[object] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.webSocketFrameSent", lambda frame: sent.append(frame))

    x, y = point(page, 20, 20)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y + 40, steps=4)
    page.mouse.up()

    expect(window).not_to_have_text("C 2048 W 4096")
    width = int((window.text_content() or "").split()[-1])
    assert width < 4096
    page.wait_for_timeout(300)
    assert drawn_at(page, 20, 30) != before
    assert sent == []


def test_keys_do_what_readers_expect_of_them(page: Page) -> None:
    open_case(page, "film")
    window, zoom = page.locator(".pane .window").first, page.locator(".pane .zoom").first
    page.keyboard.press("o")
    before = drawn_at(page, 20, 30)

    page.keyboard.press("2")
    expect(window).to_have_text("C 1000 W 1001")
    page.keyboard.press("i")
    expect(zoom).to_contain_text("inverted")
    page.keyboard.press("+")
    page.keyboard.press("+")
    zoomed = zoom.text_content()
    page.keyboard.press("=")
    expect(zoom).not_to_have_text(str(zoomed))
    page.keyboard.press("0")
    expect(zoom).to_contain_text("100 %")
    page.keyboard.press(" ")

    expect(window).to_have_text("C 2048 W 4096")
    expect(zoom).not_to_contain_text("inverted")
    page.wait_for_timeout(100)
    assert drawn_at(page, 20, 30) == before
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys of the viewer")).to_be_visible()
    page.keyboard.press("Escape")


def test_the_wheel_zooms_a_film_around_the_cursor(page: Page) -> None:
    open_case(page, "film")
    x, y = point(page, 10.5, 12.5)
    page.mouse.move(x, y)
    value = page.locator(".pane .value").first
    expect(value).to_have_text(re.compile("^x 10, y 12:"))
    before = page.locator(".pane .zoom").first.text_content()

    page.mouse.wheel(0, -400)

    expect(page.locator(".pane .zoom").first).not_to_have_text(str(before))
    expect(value).to_have_text(re.compile("^x 10, y 12:"))


def test_a_stack_is_scrolled_by_keys_wheel_and_slider_and_each_slice_is_its_own(page: Page) -> None:
    canvas = open_case(page, "ct")
    which, value = page.locator(".pane .which").first, page.locator(".pane .value").first
    expect(which).to_have_text("slice 1 / 5")  # the one that moved the finding most

    page.keyboard.press("ArrowDown")
    expect(which).to_have_text("slice 2 / 5 · not given to the model")
    x, y = point(page, 4.5, 6.5, (12, 10))
    page.mouse.move(x, y)
    expect(value).to_have_text(f"x 4, y 6: {int(slices()[1, 6, 4]) - 1024} HU")
    page.mouse.wheel(0, 100)
    expect(which).to_have_text("slice 3 / 5")
    expect(value).to_have_text(f"x 4, y 6: {int(slices()[2, 6, 4]) - 1024} HU")
    page.keyboard.press("n")
    expect(which).to_have_text("slice 5 / 5")
    page.get_by_label("Slice or frame").press("ArrowLeft")
    expect(which).to_contain_text("slice 4 / 5")
    expect(canvas).to_have_attribute("aria-label", re.compile("slice 4 / 5, .*C 40 W 400"))
    page.locator(".panes").press("2")
    expect(page.locator(".pane .window").first).to_have_text("C -600 W 1500")
    expect(page.get_by_label("Window preset")).to_have_value("1")


def test_a_stack_plays(page: Page) -> None:
    open_case(page, "ct")
    which = page.locator(".pane .which").first

    page.keyboard.press("c")

    for number in (3, 5, 2):
        expect(which).to_contain_text(f"slice {number} / 5")
    expect(page.get_by_role("button", name="Play")).to_have_attribute("aria-pressed", "true")


def test_the_prior_study_stands_beside_and_scrolls_along_until_it_is_let_go(page: Page) -> None:
    open_case(page, "ct")
    page.keyboard.press("s")
    now, prior = page.locator(".pane .which").first, page.locator(".pane .which").last
    expect(page.locator(".pane .title").last).to_contain_text("prior")

    page.keyboard.press("ArrowDown")
    expect(now).to_contain_text("slice 2 / 5")
    expect(prior).to_contain_text("slice 2 / 5")
    page.keyboard.press("y")
    page.keyboard.press("ArrowDown")

    expect(now).to_contain_text("slice 3 / 5")
    expect(prior).to_contain_text("slice 2 / 5")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(prior).to_contain_text("slice 3 / 5")


def test_which_way_the_patient_lies_and_how_large_things_are_stands_at_the_edges(page: Page) -> None:
    open_case(page, "film")

    for side, letter in (("left", "R"), ("right", "L"), ("top", "H"), ("bottom", "F")):
        expect(page.locator(f".pane .edge-{side}").first).to_have_text(letter)
    expect(page.locator(".pane .scale").first).to_have_text(re.compile(r"^\d+ mm imager$"))
    open_case(page, "flipped")  # whose file says neither
    expect(page.locator(".pane .edge-left").first).to_have_text("")
    expect(page.locator(".pane .scale").first).to_be_hidden()


def test_the_overlay_is_drawn_faded_and_taken_away_by_keys(page: Page) -> None:
    canvas = open_case(page, "film", overlay=True)
    at = point(page, 6, 6)

    def warmth() -> int:
        page.wait_for_timeout(150)
        red, _, blue = brightness(canvas, *at)
        return red - blue

    page.wait_for_timeout(300)
    full = warmth()
    assert full > 30
    page.keyboard.press("[")
    page.keyboard.press("[")
    assert 0 < warmth() < full
    page.keyboard.press("]")
    page.keyboard.press("]")
    page.keyboard.press("o")
    assert warmth() == 0
    expect(page.get_by_text("(pneumonia); not a segmentation")).to_be_visible()
    expect(page.locator(".legend .high")).to_have_text(re.compile(r"^for \+\d"))


def test_a_reader_who_is_to_be_blind_sees_no_overlay(page: Page) -> None:
    canvas = open_case(page, "film", overlay=True)
    blind = page.get_by_test_id("stCheckbox")
    blind.click()
    expect(page.locator(".shade")).to_be_hidden()
    page.wait_for_timeout(100)

    red, green, blue = brightness(canvas, *point(page, 6, 6))

    assert red == green == blue
    blind.click()
    expect(page.locator(".shade")).to_be_visible()


def draw(page: Page, corners: Sequence[tuple[float, float]]) -> None:
    page.locator(".panes").press("d")
    page.mouse.move(*point(page, *corners[0]))
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*point(page, *corner), steps=2)
    page.mouse.up()


def test_a_region_comes_back_in_pixels_of_the_original_and_is_shown_again(page: Page, screen: tuple[Path, str]) -> None:
    canvas = open_case(page, "film")
    draw(page, [(10, 10), (30, 10), (30, 40), (10, 40)])

    page.get_by_role("button", name="What was drawn", exact=True).click()

    said = page.get_by_test_id("stCode")
    said.wait_for()
    film, points = json.loads(said.inner_text())
    with Store(screen[0] / "store.sqlite") as store:
        assert film == store.case(MODEL, "film").evidence.films[0].digest
    np.testing.assert_allclose([points[0], points[-1]], [(10, 10), (10, 40)], atol=0.2)
    assert min(x for x, _ in points) == pytest.approx(10, abs=0.2)
    assert max(x for x, _ in points) == pytest.approx(30, abs=0.2)

    page.get_by_role("button", name="Keep what was drawn").click()
    page.get_by_text("Kept", exact=True).wait_for()
    page.locator(".panes").press("Backspace")
    page.wait_for_timeout(300)
    x, y = point(page, 10, 25)
    line = [brightness(canvas, x + beside, y) for beside in range(-3, 4)]
    assert max(blue - red for red, _, blue in line) > 40


def test_a_region_belongs_to_the_finding_that_it_was_drawn_for(page: Page) -> None:
    open_case(page, "film")
    draw(page, [(10, 10), (30, 10), (30, 40)])
    page.get_by_text("lung_cancer", exact=True).click()
    expect(page.get_by_text("(lung cancer); not a segmentation")).to_be_visible()

    page.get_by_role("button", name="What was drawn", exact=True).click()

    expect(page.get_by_test_id("stCode")).to_have_text("nothing")
    page.get_by_text("pneumonia", exact=True).click()


def test_a_photograph_is_shown_in_its_colours(page: Page) -> None:
    canvas = open_case(page, "photograph")
    at = point(page, 45, 20, (30, 60))
    page.mouse.move(*at)

    expect(page.locator(".pane .value").first).to_have_text("x 45, y 20: 200 100 50")
    assert brightness(canvas, *at) == [200, 100, 50]


@pytest.mark.parametrize(
    ("name", "said"), [("gone", "files are not where they were"), ("changed", "has changed since it was scored")]
)
def test_a_film_that_is_not_there_as_it_was_scored_is_the_kept_picture_and_says_so(
    page: Page, name: str, said: str
) -> None:
    open_case(page, name)

    expect(page.locator(".note")).to_contain_text(said)
    assert drawn_at(page, 20, 30) == pytest.approx(255 * int(ramp()[30, 20]) / 4095, abs=3)


def test_a_stack_is_first_shown_in_the_window_that_the_cohort_asked_for(tmp_path: Path) -> None:
    asked = (300.0, 900.0)
    write_stack(tmp_path / "ct", slices(), WindowCenter=40, WindowWidth=400)
    study = read_study(tmp_path / "ct", "ct", [ImageRule(window=asked)])
    (image,) = pictures_of(study, [Picture(1, volume=0)])
    film = Film(image.digest, image.modality, "", part="slice 2 of 5", instance_uid=image.instance_uid)
    origin = replace(ORIGIN, path=str(tmp_path / "ct"), windows=(asked,))

    (shown,) = shelve(replace(scored_case("ct").evidence, films=(film,), study=origin), tmp_path)

    assert shown.seen == {1: 0}
    names = [window.name for window in shown.pixels().windows]
    assert names[0] == "As cohort.toml says"
    assert "Soft tissue" in names[1:]


def test_kept_slices_of_one_series_in_two_sizes_are_two_sets(tmp_path: Path) -> None:
    films = []
    for place, side in enumerate((30, 30, 40)):
        image = Image(np.zeros((side, side), np.float32), digest=f"{place}" * 64)
        write_picture(tmp_path, image)
        films.append(Film(image.digest, "MR", "", part=f"slice {place + 1} of 3", series_uid="1.2.3"))

    shelf = kept(replace(scored_case("mr").evidence, films=tuple(films), study=None), tmp_path)

    assert [shown.pixels().values.shape for shown in shelf] == [(2, 30, 30), (1, 40, 40)]
    assert [dict(shown.seen) for shown in shelf] == [{0: 0, 1: 1}, {0: 2}]


def test_buttons_do_the_same_as_keys_and_everything_can_be_reached(page: Page) -> None:
    open_case(page, "ct")
    page.get_by_role("button", name="Invert").click()
    expect(page.locator(".pane .zoom").first).to_contain_text("inverted")
    page.get_by_role("button", name="CT, 5 slices, prior").click()
    expect(page.locator(".pane .title").first).to_have_text("CT, 5 slices, prior")
    page.get_by_label("Window preset").select_option(label="Bone (3)")
    expect(page.locator(".pane .window").first).to_have_text("C 480 W 2500")

    page.locator(".panes").focus()
    page.keyboard.press("Tab")

    focused = page.evaluate("() => document.activeElement.shadowRoot?.activeElement?.tagName")
    assert focused in ("BUTTON", "INPUT")


def test_nothing_of_a_patient_is_in_an_address_the_storage_or_the_log(page: Page, screen: tuple[Path, str]) -> None:
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    open_case(page, "ct")

    stored = page.evaluate("() => JSON.stringify([{...localStorage}, {...sessionStorage}])")

    names = (CANARY, "1.2.3.4", "CANARYNAME")
    for text in (*addresses, page.url, page.title(), stored, (screen[0] / LOG).read_text()):
        assert not [word for word in names if word in text]


@pytest.mark.parametrize("shape", [(600, 1), (600, 2), (1, 1), (3, 700), (450, 2, 3)])
def test_a_picture_of_any_shape_is_kept(shape: tuple[int, ...], tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    image = Image(noise.astype(np.float32) / np.float32(255), digest="a" * 64)

    write_picture(tmp_path, image)

    np.testing.assert_array_equal(np.asarray(PIL.Image.open(picture_path(tmp_path, image.digest))), noise)


def test_a_region_is_not_drawn_over_two_slices(page: Page) -> None:
    open_case(page, "ct")
    which = page.locator(".pane .which").first
    page.locator(".panes").press("d")
    corners = [(2.0, 2.0), (8.0, 2.0), (8.0, 9.0)]
    page.mouse.move(*point(page, *corners[0], (12, 10)))
    page.mouse.down()
    page.mouse.move(*point(page, *corners[1], (12, 10)), steps=2)
    page.mouse.wheel(0, 100)
    expect(which).to_contain_text("slice 2 / 5")
    page.mouse.move(*point(page, *corners[2], (12, 10)), steps=2)
    page.mouse.up()

    page.get_by_role("button", name="What was drawn", exact=True).click()

    expect(page.get_by_test_id("stCode")).to_have_text("nothing")


def test_what_was_drawn_on_a_kept_picture_is_there_when_the_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "study" / "film.dcm", ramp(40, 30))
    scored = read_case("c1", tmp_path / "study", tmp_path / "films")
    kept_first, whole = kept(scored.evidence, tmp_path / "films"), shelve(scored.evidence, tmp_path / "films")
    key = (scored.prediction.model_id, scored.prediction.case_id, scored.content)
    points = [[1, 1], [9, 1], [9, 9]]
    held = viewer._Held(key, kept_first, drawn=viewer._sound({"pneumonia": {"film": 0, "points": points}}))
    monkeypatch.setattr("streamlit.session_state", {"viewer": held})

    held.shelf = whole

    assert [one.id for one in kept_first] != [one.id for one in whole]
    assert viewer.drawn(scored, "pneumonia") == Outline(
        scored.evidence.films[0].digest, ((1.0, 1.0), (9.0, 1.0), (9.0, 9.0))
    )
