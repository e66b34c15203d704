"""The picture in the README: the most urgent case of a scored folder, as a browser shows it.

python -m benchmarks.screenshot .demo/scored docs/review.png --finding "lung cancer"
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from ui.serve import start, stop


def main() -> int:
    """Open the folder, a case, a finding; write the page as PNG."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.screenshot", description=__doc__)
    parser.add_argument("scored", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--case", default="", help="part of a case id; the most urgent one if not given")
    parser.add_argument("--finding", default="", help="the finding to choose")
    arguments = parser.parse_args()
    process, address = start(arguments.scored)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 1010})
            page.goto(address)
            if arguments.case:
                page.get_by_label("Case id").fill(arguments.case)
                page.get_by_label("Case id").press("Enter")
                page.wait_for_timeout(1500)
            page.get_by_role("button", name="Open most urgent").click()
            if arguments.finding:
                page.get_by_role("button", name=arguments.finding, exact=True).click()
            page.wait_for_timeout(3000)
            page.screenshot(path=str(arguments.picture))
            browser.close()
    finally:
        stop(process)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
