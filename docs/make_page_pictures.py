"""Writes docs/pictures/page.png and page_groups.png, pages in a browser: `python docs/make_page_pictures.py`.

It needs Playwright and Chromium (`pip install playwright`, `apt-get install chromium`).
"""

import math
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from chainrule import Value
from chainrule.nn import MLP
from chainrule.show import page

PICTURES = Path(__file__).with_name("pictures")


def twice() -> Any:
    """The lecture's example of a node that is used more than once."""
    a, b = Value(-2.0, label="a"), Value(3.0, label="b")
    d, e = a * b, a + b
    f = d * e
    d.label, e.label, f.label = "d", "e", "f"
    return f


def loss() -> Any:
    """The loss of a small net over 20 samples."""
    random.seed(1)
    model = MLP(2, [3, 1], activation="tanh")
    return sum((model([math.sin(i), math.cos(3 * i)]) - 1) ** 2 for i in range(20)) / 20


VIEWS = {
    "page": (twice, "#step=7&wrong=assign&panel=mistakes"),
    "page_groups": (loss, "#step=830&open=layer1"),
}


def main() -> None:
    """Write the pages, open them, take the pictures."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (root, address) in VIEWS.items():
            tab = browser.new_page(viewport={"width": 1400, "height": 760}, reduced_motion="reduce")
            page(root, Path(folder, f"{name}.html"))
            tab.goto(Path(folder, f"{name}.html").as_uri() + address)
            tab.wait_for_selector("html[data-ready]")
            tab.screenshot(path=PICTURES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
