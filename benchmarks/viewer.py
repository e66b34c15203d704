"""How long the film viewer takes to draw a frame while window and level, zoom or slice change, in the page itself.

python -m benchmarks.viewer

A film of 2048 x 2496 pixels of 16 bits and a stack of 40 slices of 512 x 512 are shown in chromium without a GPU and
dragged through with the window, zoom and pan tools (w, z, p); the stack is scrolled through too. Measured are the
script that draws an animation frame, and the time from one frame that was drawn to the next.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, expect

from medmm.read.dicom.study import read_study
from medmm.result import Film, ScoredCase
from medmm.slices import slice_images
from tests.browser import launched
from tests.dicom_files import write, write_stack
from tests.scored import ORIGIN, scored_case, write_scored
from tests.viewer_page import serving

UID = "1.2.3.4.1"
FILM, SLICE, SLICES = (2496, 2048), 512, 40
FRAMES = 120
WINDOWS = {"film": "C 30000 W 30000", "stack": "C 40 W 400"}
"""Case -> the window of its file, which the page shows once the file was read."""
_PROBE = """
() => {
  window.drawn = [];
  const put = CanvasRenderingContext2D.prototype.putImageData;
  CanvasRenderingContext2D.prototype.putImageData = function (...given) {
    put.apply(this, given);
    window.put = true;
  };
  const later = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (work) =>
    later((now) => {
      const began = performance.now();
      window.put = false;
      work(now);
      if (window.put) window.drawn.push([began, performance.now() - began]);
    });
}
"""


def main() -> int:
    """Measure three gestures on each picture and print percentiles as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.viewer", description=__doc__)
    parser.add_argument("--width", type=int, default=1600, help="of the page, pixels")
    parser.add_argument("--height", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        write_scored(out, [_film(out / "film"), _stack(out / "stack")])
        with serving(out) as address, launched() as browser:
            page = browser.new_page(viewport={"width": arguments.width, "height": arguments.height})
            print(json.dumps(_measure(page, address), indent=2))
    return 0


def _measure(page: Page, address: str) -> dict[str, dict[str, float]]:
    times = {}
    page.goto(address)
    page.evaluate(_PROBE)
    for case_id, window in WINDOWS.items():
        page.get_by_text(case_id, exact=True).click()
        expect(page.locator(".pane .window").first).to_have_text(window, timeout=60_000)
        page.wait_for_timeout(3000)  # for slices that are fetched ahead
        page.locator(".panes").scroll_into_view_if_needed()
        for tool in ("w", "z", "p"):
            times[f"{case_id} {tool}"] = _drag(page, tool)
        if case_id == "stack":
            times["stack scroll"] = _scroll(page)
    return times


def _drag(page: Page, tool: str) -> dict[str, float]:
    """Drag over the film with the tool of a key."""
    box = page.locator(".pane canvas").first.bounding_box()
    assert box is not None
    page.locator(".panes").press(tool)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.evaluate("() => { window.drawn = []; }")
    page.mouse.down()
    for step in range(FRAMES):
        page.mouse.move(x + 60 * np.sin(step / 9), y + 60 * np.sin(step / 13))
    page.mouse.up()
    return _percentiles(page)


def _scroll(page: Page) -> dict[str, float]:
    page.evaluate("() => { window.drawn = []; }")
    for step in range(FRAMES):
        page.locator(".panes").press("ArrowUp" if step // 20 % 2 else "ArrowDown")
    return _percentiles(page)


def _percentiles(page: Page) -> dict[str, float]:
    """Of the script that draws, and from frame to frame, in milliseconds."""
    page.wait_for_timeout(200)
    drawn = np.array(page.evaluate("() => window.drawn"))
    between = np.diff(drawn[:, 0])
    said = {"frames": float(len(drawn))}
    for name, values in (("draw", drawn[:, 1]), ("frame to frame", between)):
        for share in (50, 95):
            said[f"{name} p{share} ms"] = round(float(np.percentile(values, share)), 1)
    return said


def _film(folder: Path) -> ScoredCase:
    pixels = np.random.default_rng(0).normal(30000, 5000, FILM).clip(0, 65535).astype("<u2")
    window: dict[str, Any] = {"WindowCenter": 30000, "WindowWidth": 30000}
    path = write(folder / "film.dcm", pixels, SOPInstanceUID=UID, BitsStored=16, HighBit=15, **window)
    return _case("film", folder, hashlib.sha256(path.read_bytes()).hexdigest())


def _stack(folder: Path) -> ScoredCase:
    noise = np.random.default_rng(0).normal(1024, 300, (SLICES, SLICE, SLICE)).clip(0, 4095).astype("<u2")
    write_stack(folder, noise, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)
    (image,) = slice_images(read_study(folder, "stack").volumes[0], [0])
    return _case("stack", folder, image.digest, image.instance_uid)


def _case(case_id: str, folder: Path, digest: str, instance_uid: str = UID) -> ScoredCase:
    """A case whose only film is in the folder."""
    case = scored_case(case_id)
    films = (Film(digest, "CR", "", instance_uid=instance_uid),)
    return replace(case, evidence=replace(case.evidence, films=films, study=replace(ORIGIN, path=str(folder))))


if __name__ == "__main__":
    raise SystemExit(main())
