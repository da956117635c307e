"""Writes docs/pictures/report.png, the upper part of a report.html in a browser: `python docs/make_report_picture.py`.

It trains on moons, with default settings, and needs Playwright and Chromium (`pip install playwright`, `apt install chromium`).
"""

import shutil
import tempfile
from pathlib import Path

from chainrule.train import configure, train

PICTURE = Path(__file__).with_name("pictures") / "report.png"


def main() -> None:
    """Train, open, take the picture."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        outcome = train(*configure("moons"), Path(folder) / "run")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1600})
        page.goto((outcome.folder / "report.html").as_uri())
        bottoms = [figure.bounding_box() for figure in page.locator("figure").all()[:6]]
        height = max(box["y"] + box["height"] for box in bottoms if box is not None)
        page.screenshot(path=PICTURE, clip={"x": 0, "y": 0, "width": 1400, "height": height + 16})
        browser.close()


if __name__ == "__main__":
    main()
