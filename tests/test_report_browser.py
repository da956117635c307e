"""report.html in a real browser: the slider, the keyboard, a telephone, text that would like to be code.

It needs Playwright and Debian's Chromium: `pip install playwright` and `apt install chromium`.
"""

import io
import os
import shutil

import pytest

from chainrule.train import configure, report, train

HOW = "install it with: pip install playwright, and: apt install chromium"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"


def without(what):
    reason = f"{what} is missing; {HOW}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        without("Playwright")
    if not os.path.exists(CHROMIUM):  # noqa: PTH110
        without("Chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chainrule.train.table.TableReport.last_files", lambda *args: iter([]))
        train(*configure("moons", samples=30, hidden=(6,), steps=12, test_fraction=0.2), folder)
    return folder


@pytest.fixture
def opened(browser):
    """Opens pages, and wants them to say nothing and to ask for nothing."""
    said, pages = [], []

    def open_page(path, width=1200, height=900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        page = context.new_page()
        pages.append(context)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in pages:
        context.close()
    assert said == []


def differing(one, other):
    """The share of the pixels that differ visibly."""
    from matplotlib.image import imread

    return (abs(imread(io.BytesIO(one)) - imread(io.BytesIO(other))).max(axis=2) > 0.1).mean()


SHOWN = """() => [...new Set([...document.querySelectorAll("[data-frame]")]
    .filter(part => getComputedStyle(part).display !== "none").map(part => Number(part.dataset.frame)))]"""


def test_the_slider_shows_one_step_at_a_time(opened, run):
    steps = [view.step for view in report.read(run).recording.views]
    page = opened(run / "report.html")
    slider, said = page.locator("#frame"), page.locator("#frame-step")
    last = len(steps) - 1
    assert (page.evaluate(SHOWN), said.inner_text()) == ([last], str(steps[-1]))
    figure = page.locator("figure", has=slider)
    pictures = {last: figure.locator("svg").screenshot()}
    slider.focus()
    for key, expected in (("ArrowLeft", last - 1), ("Home", 0), ("ArrowRight", 1), ("End", last)):
        page.keyboard.press(key)
        assert (page.evaluate(SHOWN), said.inner_text()) == ([expected], str(steps[expected]))
        assert slider.get_attribute("aria-valuetext") == f"after {steps[expected]} steps"
        pictures.setdefault(expected, figure.locator("svg").screenshot())
    assert differing(figure.locator("svg").screenshot(), pictures[last]) < 0.001
    assert differing(pictures[0], pictures[last]) > 0.03
    slider.fill("3")
    assert page.evaluate(SHOWN) == [3]


def test_without_scripts_the_last_step_is_shown(opened, run):
    shots = []
    for allowed in (True, False):
        page = opened(run / "report.html", java_script_enabled=allowed)
        shots.append(page.locator("figure", has=page.locator("#frame")).locator("svg").screenshot())
    assert differing(*shots) < 0.005


def test_the_numbers_can_be_read(opened, run):
    found = report.read(run)
    page = opened(run / "report.html")
    assert f"loss {found.curves['loss'][-1]:.4g}, accuracy " in page.locator(".lead").inner_text()
    note, view = found.recording.notes[-1], found.recording.views[-1]
    row = page.get_by_role("row", name="layer 1 weight").inner_text().split("\t")
    assert row[:3] == ["layer 1 weight", "6 × 2", f"{note.gradient[0, 0]:.3g}"]
    assert row[5] == f"{note.ratio[0]:.3g}"
    assert page.get_by_role("row", name="layer 1, relu").inner_text().split("\t")[-1] == f"{100 * view.shares[0, 1]:.1f} %"
    matrix = page.get_by_role("img", name="Confusion matrix").text_content()
    for count in found.recording.arrays["confusion"].ravel():
        assert str(count) in matrix
    assert "accuracy (%)" in page.get_by_role("img", name="Loss").text_content()


@pytest.mark.parametrize("width", [360, 1600])
def test_it_fits_a_telephone_and_a_desk(opened, run, width):
    page = opened(run / "report.html", width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = page.evaluate(
        """() => [...document.querySelectorAll("figure svg")].flatMap(svg => {
            const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
            return [...svg.querySelectorAll("text")].map(text => scale * parseFloat(getComputedStyle(text).fontSize));
        })"""
    )
    assert len(sizes) > 50
    assert min(sizes) >= 8
    assert page.evaluate("Math.min(...[...document.querySelectorAll('figcaption')].map(x => x.clientWidth))") >= 280


def test_no_text_becomes_code(opened, tmp_path):
    script, image = "</script><script>alert(1)</script>", "<img src=x onerror=alert(2)>"
    rows = "".join(f'{i % 6},{i // 6},"{(script, image, "😀</svg>")[i % 3]}"\n' for i in range(36))
    path = tmp_path / "a<b>&'.csv"
    path.write_text(f'"{image}","--><!--",t\n{rows}', encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chainrule.train.table.TableReport.last_files", lambda *args: iter([]))
        train(*configure(str(path), target="t", hidden=(3,), steps=3), tmp_path / "run")
    page = opened(tmp_path / "run/report.html")
    assert page.locator("h1").inner_text() == "Training on a<b>&'.csv"
    assert page.locator("img, figure b, script").count() == 1
    assert "😀</svg>" in page.get_by_role("img", name="Confusion matrix").text_content()
    page.wait_for_timeout(100)  # for what an onerror would say
