"""The page of a graph: how long the moons loss takes to be written and to be opened in headless Chromium, and its size.

    python -m benchmarks show            takes half a minute
    python -m benchmarks show --quick    one turn of each, to see that it works

Opening is timed by the page itself, from the start of the navigation until its picture stands and it answers to keys. Each
turn has a browser context of its own, so nothing is kept from the one before.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.contenders import MeasurementError, row, say, spread, summary
from benchmarks.report import Row
from benchmarks.worker import Moons

NODES = 65_818
CHROMIUM = "chromium is not installed; install it with: apt-get install chromium && pip install playwright"


def measure(quick: bool) -> list[Row]:
    """All rows, in the order of the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "moons.html")
        what = f"the page of the moons loss ({NODES:,} nodes)"
        return [
            row(
                lambda: _writing(path, 1 if quick else 5),
                name="show_write",
                what=f"{what}, written",
                unit="s",
                goal="at most",
                target=5,
            ),
            row(
                lambda: _opening(path, 1 if quick else 9),
                name="show_open",
                what=f"{what}, opened in Chromium",
                unit="s",
                goal="at most",
                target=2,
            ),
            row(_size, name="show_size", what="the page of 1,000 nodes", unit="MB", goal="at most", target=1),
        ]


def _writing(path: Path, rounds: int) -> dict[str, Any]:
    from chainrule.show import page

    try:
        loss = Moons("chainrule").names["loss"]
    except ImportError as missing:
        raise MeasurementError(f"{missing.name} is not installed; install it with: pip install 'chainrule[train]'") from None
    seconds = []
    for i in range(rounds):
        say(f"writing, round {i + 1} of {rounds}")
        start = time.perf_counter()
        made = page(loss, path)
        seconds.append(time.perf_counter() - start)
    times = summary(seconds)
    nodes = "" if made.nodes == NODES else f"; it has {made.nodes:,} nodes"
    return {
        "figure": times["median"],
        "note": f"building the graph with its origins included: {spread(times)} s; {path.stat().st_size / 1e6:.1f} MB{nodes}",
        "details": {"seconds": times, "nodes": made.nodes, "bytes": path.stat().st_size},
    }


def _opening(path: Path, rounds: int) -> dict[str, Any]:
    if not path.exists():
        raise MeasurementError("the page could not be written")
    ready, steps = [], []
    with _chromium() as browser:
        for i in range(rounds):
            say(f"opening, round {i + 1} of {rounds}")
            context = browser.new_context(viewport={"width": 1600, "height": 900})
            tab = context.new_page()
            tab.goto(path.as_uri())
            tab.wait_for_selector("html[data-ready]")
            ready.append(float(tab.get_attribute("html", "data-ready")) / 1e3)
            steps.append(tab.evaluate(_STEP))
            context.close()
    times, step = summary(ready), summary(steps)
    return {
        "figure": times["median"],
        "note": f"{spread(times)} s; a step then takes {spread(step)} ms",
        "details": {"seconds": times, "step_milliseconds": step},
    }


_STEP = """() => {
    const next = document.getElementById("next");
    const start = performance.now();
    for (let k = 0; k < 10; k++) next.click();
    return (performance.now() - start) / 10;
}"""


@contextmanager
def _chromium() -> Iterator[Any]:
    path = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        raise MeasurementError(CHROMIUM)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


def _size() -> dict[str, Any]:
    from chainrule import Value
    from chainrule.show import page

    w = [Value(0.01 * i, label=f"w{i}") for i in range(10)]
    y = w[0]
    while (made := page(y)).nodes < 1000:
        for _ in range(25):
            y = (y * w[made.nodes % 10] + w[(made.nodes + 1) % 10]).tanh() + w[made.nodes % 7]
    size = len(made.html.encode())
    return {"figure": size / 1e6, "note": f"{made.nodes:,} nodes", "details": {"bytes": size, "nodes": made.nodes}}
