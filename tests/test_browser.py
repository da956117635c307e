"""The page of a graph in a real browser, Debian's chromium driven by Playwright: what a reader sees, presses and shares."""

import json
import math
import os
import random
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from test_page import HOSTILE, interior, net, neuron, samples, twice

from chainrule import Tensor, Value, gradients, show
from chainrule.nn import MLP
from chainrule.show.backward_code import backward_code
from chainrule.show.expression import read
from chainrule.show.page import page
from chainrule.show.steps import as_written, names, steps
from chainrule.show.wording import number

ROOT = Path(__file__).parent.parent
INSTALL = "the pages are tested in chromium: apt-get install chromium && pip install 'chainrule[dev]'"


def lecture():
    a, b, c, f = (Value(x, label=name) for x, name in ((2.0, "a"), (-3.0, "b"), (10.0, "c"), (-2.0, "f")))
    e = a * b
    d = e + c
    loss = d * f
    e.label, d.label, loss.label = "e", "d", "L"
    return loss


def moons():
    """A loss of the same 65,818 nodes as micrograd's demo has."""
    random.seed(1337)
    model = MLP(2, [16, 16, 1])
    points = [(math.sin(i), math.cos(2 * i), 2 * (i % 2) - 1) for i in range(100)]
    scores = [(y, model([Value(x1), Value(x2)])) for x1, x2, y in points]
    losses = sum((1 + -y * score).relu() for y, score in scores) * (1.0 / len(points))
    return losses + 1e-4 * sum(p * p for p in model.parameters())


LECTURE = {"neuron": neuron, "L": lecture, "twice": twice, "interior": interior}


@pytest.fixture(scope="module")
def chromium():
    path = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(INSTALL)
        pytest.skip(INSTALL)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


class Reader:
    """Somebody who looks at a page."""

    def __init__(self, tab, folder):
        self.tab, self.folder, self.said, self.asked = tab, folder, [], []
        tab.on("console", lambda message: self.said.append(message.text))
        tab.on("pageerror", lambda error: self.said.append(str(error)))
        tab.on("request", lambda request: self.asked.append(request.url))

    def open(self, root, address="", **options):
        path = self.folder / "graph.html"
        page(root, path, **options)
        self.url = path.as_uri()
        self.go(address)
        return self

    def go(self, address):
        self.tab.goto("about:blank")
        self.tab.goto(self.url + address)
        self.tab.wait_for_selector("html[data-ready]")

    def press(self, *keys):
        for key in keys:
            self.tab.keyboard.press(key)

    def text(self, selector):
        return " ".join(self.tab.inner_text(selector).split())

    def count(self, selector):
        return self.tab.locator(selector).count()

    @property
    def address(self):
        return self.tab.evaluate("location.hash")

    @property
    def moment(self):
        return int(self.tab.input_value("#scrub"))

    @property
    def total(self):
        return int(self.tab.get_attribute("#scrub", "max"))

    def wait(self, moment):
        """Until the page has come to a moment; a page whose policy forbids eval cannot be asked to wait for an expression."""
        for _ in range(200):
            if self.moment == moment:
                return
            self.tab.wait_for_timeout(50)
        pytest.fail(f"the page is at {self.moment}, not at {moment}")

    def boxes(self):
        """What the boxes say, by the name in their first row."""
        rows = self.tab.evaluate(
            "[...document.querySelectorAll('#stage .node.value, #stage .node.constant')]"
            ".map(box => [...box.querySelectorAll('text')].map(text => text.textContent))"
        )
        return {row[0]: row[1:] for row in rows}

    def groups(self):
        return self.tab.evaluate(
            "[...document.querySelectorAll('#stage .node.group')].map(box => "
            "[...box.querySelectorAll('.title')].map(text => text.textContent).join(' '))"
        )

    def toggle(self, name):
        """Open or close the group of that name, by the keyboard."""
        self.tab.locator(f'#stage [aria-label^="{name},"]').first.focus()
        self.press("Enter")


@pytest.fixture
def reader(chromium, tmp_path):
    """A reader of a page; at the end the page must have been silent, and have asked nothing of any network."""
    context = chromium.new_context(viewport={"width": 1600, "height": 900}, accept_downloads=True)
    each = Reader(context.new_page(), tmp_path)
    yield each
    context.close()
    assert each.said == []
    assert {url.split(":")[0] for url in each.asked} <= {"file", "blob", "data", "about"}


# ---- stepping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", LECTURE.values(), ids=LECTURE)
def test_at_the_end_the_boxes_have_the_engines_numbers(reader, build):
    root = build()
    reader.open(root)
    while reader.moment < reader.total:
        before = reader.moment
        reader.press("ArrowRight")
        assert reader.moment == before + 1
    grads = gradients(root)
    boxes = reader.boxes()
    for node, name in names(root).items():
        if node in grads:
            assert boxes[name][:2] == [f"data {number(node.data)}", f"grad {number(grads[node])}"]


@pytest.mark.parametrize("build", LECTURE.values(), ids=LECTURE)
def test_each_step_shows_the_chain_rule_in_the_words_of_python(reader, build):
    root = build()
    reader.open(root)
    taken = list(steps(root))[1:]
    for k, step in enumerate(taken):
        moment = reader.total - len(taken) + k + 1
        reader.tab.evaluate(f"location.hash = '#step={moment}'")
        reader.wait(moment)
        lines = [" ".join(line.split()) for line in reader.tab.locator("#right .line").all_inner_texts()]
        assert lines == [c.words for c in step.contributions]
        for c in step.contributions:
            assert c.formula in reader.text("#rule")
            assert c.running in reader.text("#right")


def test_the_lectures_numbers(reader):
    reader.open(lecture(), "#step=7")
    assert reader.text("#phase") == "Backward 3 of 3"
    assert "dL/da = dL/de × de/da = -2 × -3 = 6" in reader.text("#right")
    assert "d (a × b)/da = b" in reader.text("#rule")
    assert reader.text("#said") == (
        "Backward 3 of 3: e passes its gradient on. dL/da = dL/de × de/da = -2 × -3 = 6. dL/db = dL/de × de/db = -2 × 2 = -4."
    )
    assert reader.text("#expression") == "L = (a * b + c) * f"
    assert reader.tab.locator("#expression .current").inner_text() == "a * b"


def test_forward_the_nodes_get_their_data_one_by_one(reader):
    reader.open(lecture())
    assert reader.boxes()["a"] == ["data 2.0000", "grad ·"]
    assert reader.boxes()["e"] == ["data ·", "grad ·"]
    reader.press("ArrowRight")
    assert reader.boxes()["e"] == ["data -6.0000", "grad ·"]
    assert reader.text("#right") == "e = a × b = 2 × -3 = -6"
    assert reader.count("#stage .value.current") == 1
    reader.press("ArrowRight", "ArrowRight", "ArrowRight")
    assert reader.text("#phase") == "Backward begins"
    assert reader.boxes()["L"] == ["data -8.0000", "grad 1.0000"]
    reader.press("ArrowLeft")
    assert reader.boxes()["L"] == ["data -8.0000", "grad ·"]


def test_running_sums_are_in_the_box_and_in_the_words(reader):
    reader.open(twice(), "#step=6")
    assert reader.boxes()["a"][1:] == ["grad 3.0000", "3 + …"]
    reader.press("ArrowRight")
    assert reader.boxes()["a"][1:] == ["grad -3.0000", "3 + (-6)"]
    assert "grad of a, use 2 of 2: 3 + (-6) = -3" in reader.text("#right")
    reader.tab.get_by_role("button", name="why +=?").first.click()
    assert reader.address == "#step=7&wrong=assign&panel=mistakes"


def test_play_pause_and_the_ends(reader):
    reader.open(lecture())
    reader.tab.select_option("#speed", label="very fast")
    reader.tab.locator("#stage").click(position={"x": 5, "y": 5})
    reader.press("Space")
    reader.wait(7)
    reader.tab.wait_for_selector("#play[aria-label=Play]")
    reader.press("Home")
    assert reader.moment == 0
    reader.press("End")
    assert reader.moment == reader.total == 7
    reader.tab.select_option("#speed", label="slow")
    reader.tab.click("#play")  # from the end it begins anew
    assert reader.moment == 0
    assert reader.tab.get_attribute("#play", "aria-label") == "Pause"
    assert reader.tab.get_attribute("#said", "aria-live") == "off"
    reader.press("Escape")
    assert reader.tab.get_attribute("#play", "aria-label") == "Play"
    assert reader.tab.get_attribute("#said", "aria-live") == "polite"


def test_a_node_is_reached_by_a_click_and_by_its_label(reader):
    reader.open(lecture())
    reader.tab.locator('#stage [data-id="n2"]').click()
    assert reader.text("#right") == "e = a × b = 2 × -3 = -6"
    reader.press("End")
    reader.tab.locator('#stage [data-id="n4"]').click()
    assert reader.text("#phase") == "Backward 2 of 3"
    reader.press("/")
    reader.tab.keyboard.type("e")
    reader.press("Enter")
    assert reader.text("#phase") == "Backward 3 of 3"
    reader.press("Escape", "/")
    reader.tab.fill("#find", "nobody")
    reader.press("Enter")
    assert reader.tab.get_attribute("#find", "aria-invalid") == "true"


def test_tensors_step_in_words(reader):
    root = net()
    reader.open(root)
    reader.press("End")
    assert reader.boxes()["W"][0] == "data 2x2"
    assert reader.boxes()["W"][1:3] == ["1\u2002-1", "0.5\u20022"]
    last = steps(root)[-1]
    assert reader.text("#right").startswith(last.contributions[0].words)
    reader.go("#wrong=assign&panel=mistakes")
    assert reader.text("#panel .verdict") == "3 of 6 gradients are wrong."


def test_what_cannot_be_differentiated_shows_the_forward_pass_and_says_why(reader):
    reader.open(Value(0.0, label="x").sqrt())
    assert "There is no backward pass: the derivative of sqrt(x=0.0) does not exist at this point" in reader.text("#right")
    reader.press("End")
    assert reader.boxes() == {"x": ["data 0.0000"], "L": ["data 0.0000"]}


# ---- mistakes --------------------------------------------------------------------------------------------------------


def test_a_mistake_is_shown_beside_the_right_pass_and_counted(reader):
    reader.open(interior(), "#step=7")
    reader.tab.get_by_role("tab", name="What goes wrong").click()
    reader.tab.get_by_label("No topological order").check()
    assert reader.text("#panel .verdict") == "1 of 4 gradients is wrong."
    assert "b passed its gradient on before v5 had sent its part" in reader.text("#panel")
    assert reader.boxes()["x"] == ["data 3.0000", "grad 26.0000", "✗ too early: 14.0000"]
    assert reader.count("#stage .value.wrong") == 1
    assert "dy/dx = dy/db × db/dx = 13 × 2 = 26" in reader.text("#right")
    assert "Wrong:" in reader.text("#other")
    assert reader.address == "#step=7&wrong=order&panel=mistakes"
    reader.press("Escape", "Escape")
    assert reader.address == "#step=7"


def test_a_graph_that_comes_out_right_says_why(reader):
    reader.open(neuron(), "#step=11&wrong=assign&panel=mistakes")
    assert reader.text("#panel .verdict") == "All gradients come out right all the same."
    assert "No node here is used more than once" in reader.text("#panel")
    reader.tab.get_by_label("No topological order").check()
    assert "no result is used at two distances from the output" in reader.text("#panel")


# ---- groups ----------------------------------------------------------------------------------------------------------


def test_a_large_graph_begins_closed_and_opens_group_by_group(reader):
    root = samples(100)
    reader.open(root)
    assert "100 × [square of (tanh(" in " ".join(reader.groups())
    assert reader.count("#stage .node") < 40
    few = reader.count("#stage .node")
    name = next(group for group in reader.groups() if "square of (tanh" in group)
    reader.toggle(name)
    assert reader.count("#stage .frame") == 1
    assert few < reader.count("#stage .node") < 100
    reader.toggle("no. 1 to 34")
    reader.toggle("no. 3")
    assert reader.count("#stage .frame") == 3
    assert reader.text("#crumbs").startswith("Graph 100 × [")
    assert len(reader.address) < 40
    reader.press("Escape")
    assert reader.count("#stage .frame") == 2
    reader.tab.get_by_role("button", name="Graph", exact=True).click()
    assert reader.count("#stage .frame") == 0
    assert reader.count("#stage .node") == few


def test_steps_stop_where_something_that_is_shown_is_finished(reader):
    reader.open(samples(100))
    pressed = 0
    while reader.moment < reader.total:
        reader.press("ArrowRight")
        pressed += 1
    assert 5 < pressed < 60
    assert reader.boxes()["L"][1] == "grad 1.0000"


def test_the_reader_chooses_how_to_group(reader):
    reader.open(lambda: samples(20))
    assert reader.tab.input_value("#by") == "module"
    assert "MLP" in reader.groups()
    reader.tab.select_option("#by", "line")
    assert any(group.startswith("test_page.py:") for group in reader.groups())
    reader.tab.select_option("#by", "structure")
    assert any(group.startswith("20 × [") for group in reader.groups())
    assert reader.address == "#by=structure"
    reader.open(neuron())
    assert [option.get_attribute("title") for option in reader.tab.locator("#by option:disabled").all()] == [
        "needs the graph to be built within: with chainrule.show.record():"
    ] * 2


def test_a_node_in_a_closed_group_is_found(reader):
    root = samples(100)
    leaf = as_written(root)[0]
    leaf.label = "w0"
    reader.open(root)
    assert "w0" not in reader.boxes()
    reader.tab.fill("#find", "w0")
    reader.press("Enter")
    assert "w0" in reader.boxes()
    assert reader.count("#stage .frame") > 0


def test_the_demo_of_65_818_nodes_opens(reader):
    root = moons()
    assert len(as_written(root)) == 65_818
    reader.open(lambda: moons())
    assert reader.groups().count("MLP") == 1
    assert reader.count("#stage .node") < 60
    reader.go("#step=90000&open=layer2.neuron3.call7")
    assert reader.count("#stage .frame") == 5
    assert reader.moment == 90_000
    assert reader.text("#crumbs") == "Graph MLP Layer 2 Neuron 3 call 1 to 34 call 7"


def long_sum():
    w = Value(0.5, label="w")
    return sum(w * float(i) for i in range(20_000))


def long_chain():
    y = Value(0.5, label="y")
    for _ in range(30_000):
        y = y * 0.99 + 0.01
    return y


@pytest.mark.parametrize("build", [long_sum, long_chain])
def test_a_graph_that_is_deep_opens(reader, build):
    reader.open(build())
    assert 0 < reader.count("#stage .node") < 400
    reader.press("End")
    assert reader.moment == reader.total


def test_a_long_expression_opens(reader):
    found = read(" + ".join(["x*2"] * 3000), {"x": 1.5})
    reader.open(found.root, expression=found)
    assert reader.count("#stage .node") > 0


def test_a_page_that_cannot_be_built_shows_the_graph_as_text(chromium, tmp_path):
    path = tmp_path / "broken.html"
    broken = page(lecture()).html.replace('id="facts">', 'id="facts">!')
    assert broken != page(lecture()).html
    path.write_text(broken, encoding="utf-8")
    tab = chromium.new_page()
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-failed]")
    assert "could not be built" in tab.inner_text("body")
    assert "L = *" in tab.inner_text("body")
    tab.close()


# ---- addresses -------------------------------------------------------------------------------------------------------


def test_a_shared_address_shows_the_same_moment(reader, chromium):
    reader.open(lambda: samples(20), "#step=17&open=layer1.neuron2&wrong=assign&panel=mistakes")
    for _ in range(3):
        reader.press("ArrowRight")
    reader.tab.get_by_role("tab", name="Nodes").click()
    address, boxes, moment = reader.address, reader.boxes(), reader.moment
    assert address == f"#step={moment}&open=neuron2&wrong=assign&panel=nodes"
    context = chromium.new_context(viewport={"width": 1600, "height": 900})
    other = Reader(context.new_page(), reader.folder)
    other.url = reader.url
    other.go(address)
    assert (other.boxes(), other.moment, other.address) == (boxes, moment, address)
    assert other.said == []
    context.close()


def test_an_address_is_followed_while_the_page_is_open(reader):
    reader.open(lecture())
    reader.tab.evaluate("location.hash = '#step=5'")
    reader.wait(5)
    assert reader.text("#phase") == "Backward 1 of 3"
    reader.tab.evaluate("location.hash = '#step=999&open=nowhere&by=module&wrong=%3Cb%3E'")
    reader.wait(7)
    assert reader.text("#remark") == "There is no group nowhere in this graph."


# ---- explanations and code -------------------------------------------------------------------------------------------


def test_a_gradient_is_explained_and_an_edge_cut(reader):
    reader.open(twice(), "#step=7&node=0&panel=explain")
    assert reader.text("#panel .verdict") == "df/da = -3"
    assert reader.tab.locator("#panel .amount").all_inner_texts() == ["-6 (200 %)", "3 (-100 %)"]
    reader.tab.get_by_role("button", name="cut it").first.click()
    assert "1 of 5 gradients would be different" in reader.text("#panel")
    assert reader.boxes()["a"][-1] == "✗ cut: 3.0000"
    assert reader.count("#stage .edge.cut .there") == 1
    reader.tab.get_by_role("button", name="Join it again").click()
    assert reader.boxes()["a"] == ["data -2.0000", "grad -3.0000", "3 + (-6)"]
    reader.tab.get_by_label("Shares by").select_option("path")
    reader.tab.get_by_role("button", name="a → e → f").click()
    assert reader.count("#stage .trail") == 3


def test_the_backward_pass_as_code(reader):
    root = lecture()
    reader.open(root, "#panel=code")
    assert reader.tab.inner_text("#panel pre").rstrip("\n") == str(backward_code(root)).rstrip("\n")
    reader.tab.get_by_label("The backward pass in").select_option("numpy")
    assert reader.tab.inner_text("#panel pre").rstrip("\n") == str(backward_code(root, "numpy")).rstrip("\n")


# ---- files -----------------------------------------------------------------------------------------------------------


def test_the_picture_is_saved_as_it_is_shown(reader):
    reader.open(lecture(), "#step=6", title="A loss")
    with reader.tab.expect_download() as download:
        reader.tab.click("#svg")
    assert download.value.suggested_filename == "A-loss.svg"
    download.value.save_as(reader.folder / "a.svg")
    picture = ElementTree.parse(reader.folder / "a.svg").getroot()
    texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"data -6.0000", "grad -2.0000", "L"} <= set(texts)
    assert "class=" not in (reader.folder / "a.svg").read_text(encoding="utf-8")
    with reader.tab.expect_download() as download:
        reader.tab.click("#png")
    download.value.save_as(reader.folder / "a.png")
    assert (reader.folder / "a.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_labels_inject_nothing(reader, label):
    a = Value(2.0, label=label)
    root = (a * 3 + a).tanh()
    root.label = label
    reader.open(root, "#step=5&panel=nodes&wrong=assign", title=label)
    for panel in ("mistakes", "explain", "code", "nodes"):
        reader.go(f"#step=4&panel={panel}&wrong=assign&node=0")
    reader.press("End")
    with reader.tab.expect_download() as download:
        reader.tab.click("#svg")
    download.value.save_as(reader.folder / "a.svg")
    ElementTree.parse(reader.folder / "a.svg")
    assert reader.tab.evaluate("window.pwned") is None
    assert reader.count("#app img") == 0
    assert names(root)[a] in reader.boxes()


def test_hostile_module_and_file_names_inject_nothing(reader):
    from chainrule.nn import Module

    kind = type("<img src=x onerror=window.pwned=1>", (Module,), {"__call__": lambda self, x: x * x + x})
    code = compile("y = kind()(x)", "</script><script>window.pwned=1.py", "exec")
    space = {"kind": kind, "x": Value(1.0)}
    with show.record():
        exec(code, space)
    for by in ("module", "line"):
        reader.open(space["y"], f"#by={by}")
        reader.press("ArrowRight")
        assert reader.tab.evaluate("window.pwned") is None
        assert reader.count("#app img") == 0


def test_a_notebook_frame_works_without_an_origin_of_its_own(reader):
    path = reader.folder / "notebook.html"
    path.write_text(f"<!DOCTYPE html><meta charset=utf-8>{show.html(lecture())}", encoding="utf-8")
    reader.tab.goto(path.as_uri())
    frame = reader.tab.frame_locator("iframe")
    frame.locator("html[data-ready]").wait_for()
    frame.locator("#next").click()
    assert frame.locator("#right").inner_text() == "e = a × b = 2 × -3 = -6"
    with reader.tab.expect_download() as download:
        frame.locator("#svg").click()
    assert download.value.suggested_filename == "L.svg"


# ---- for everybody ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [360, 820, 1100, 1600])
def test_nothing_is_wider_than_the_window(reader, width):
    reader.tab.set_viewport_size({"width": width, "height": 740})
    for address in ("#step=6", "#step=6&wrong=assign&panel=mistakes", "#panel=explain&node=0", "#panel=code", "#panel=keys"):
        reader.open(twice(), address)
        assert reader.tab.evaluate("document.documentElement.scrollWidth") <= width


def test_everything_can_be_reached_and_has_a_name(reader):
    reader.open(lambda: samples(20), "#open=layer1&panel=mistakes")
    unnamed = reader.tab.evaluate(
        """[...document.querySelectorAll('button, select, input, [role=button], [role=tab], [tabindex]')].filter(each => {
            const labels = each.labels ? [...each.labels].map(label => label.textContent).join('') : '';
            const referred = document.getElementById(each.getAttribute('aria-labelledby'))?.textContent;
            return !(each.getAttribute('aria-label') || referred || labels.trim() || each.textContent.trim());
        }).map(each => each.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []
    assert reader.count("[tabindex]:not([tabindex='0']):not([tabindex='-1'])") == 0
    assert reader.tab.evaluate("document.documentElement.lang") == "en"
    assert reader.tab.get_attribute("#stage", "aria-label").startswith("Graph: ")
    reached = []
    for _ in range(40):
        reader.press("Tab")
        reached.append(reader.tab.evaluate("document.activeElement.id || document.activeElement.dataset.key || ''"))
    for wanted in ("by", "find", "svg", "stage", "tab-mistakes", "panel", "play", "next", "scrub", "speed"):
        assert wanted in reached, wanted
    assert reached.index("by") < reached.index("stage") < reached.index("play")


def test_the_picture_is_walked_with_the_arrows(reader):
    reader.open(lecture())
    reader.tab.focus("#stage")
    reader.press("ArrowDown")
    first = reader.tab.evaluate("document.activeElement.getAttribute('aria-label')")
    assert first == "a, data 2.0000, grad not yet known"
    reader.press("ArrowDown", "ArrowDown")
    assert reader.tab.evaluate("document.activeElement.getAttribute('aria-label')").startswith("e, data not yet known")
    reader.press("Enter")
    assert reader.text("#right") == "e = a × b = 2 × -3 = -6"
    assert reader.tab.evaluate("document.activeElement.getAttribute('aria-label')").endswith("now")
    outline = reader.tab.evaluate("getComputedStyle(document.activeElement.querySelector('.outline')).strokeWidth")
    assert outline == "4px"  # the focus can be seen


def test_calm_where_motion_is_not_wanted(chromium, tmp_path):
    context = chromium.new_context(reduced_motion="reduce")
    reader = Reader(context.new_page(), tmp_path)
    reader.open(lecture(), "#step=6")
    assert reader.tab.evaluate("getComputedStyle(document.querySelector('.edge.active .wire')).animationName") == "none"
    assert reader.count(".gliding") == 0
    context.close()


VIEWS = {
    "start": (neuron, ""),
    "forward": (neuron, "#step=3"),
    "backward": (twice, "#step=7"),
    "order": (interior, "#step=6&wrong=order&panel=mistakes"),
    "assign": (twice, "#step=7&wrong=assign&panel=mistakes"),
    "explain": (twice, "#step=7&node=0&panel=explain"),
    "code": (lecture, "#step=7&panel=code"),
    "nodes": (lecture, "#step=7&panel=nodes"),
    "keys": (lecture, "#panel=keys"),
    "tensors": (net, "#step=9"),
    "modules": (lambda: samples(20), "#step=1500&open=layer1"),
    "lines": (lambda: samples(20), "#step=1500&by=line"),
    "structure": (lambda: samples(100), "#step=3000&by=structure"),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_every_view_can_be_photographed(chromium, tmp_path, scheme, width):
    """The pictures are left in pytest's folder, to be looked at."""
    context = chromium.new_context(viewport={"width": width, "height": 740 if width < 800 else 900}, color_scheme=scheme)
    reader = Reader(context.new_page(), tmp_path)
    for name, (build, address) in VIEWS.items():
        recorded = build if name in ("modules", "lines", "structure") else build()
        reader.open(recorded, address)
        reader.tab.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png")
    assert len(list(tmp_path.glob("*.png"))) == len(VIEWS)
    assert reader.said == []
    context.close()


@pytest.mark.usefixtures("chromium")
def test_the_benchmark_measures_what_it_says():
    command = [sys.executable, "-m", "benchmarks", "show", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    rows = {row["name"]: row for row in json.loads(done.stdout.splitlines()[-1])["rows"]}
    assert {name: (row["target"], row["goal"]) for name, row in rows.items()} == {
        "show_write": (5, "at most"),
        "show_open": (2, "at most"),
        "show_size": (1, "at most"),
    }
    assert all(row["figure"] > 0 for row in rows.values())
    assert rows["show_write"]["details"]["nodes"] == 65_818


def test_the_page_of_one_tensor_and_of_one_number(reader):
    for root in (Value(3.0, label="x"), Tensor(2.0, requires_grad=True, label="x")):
        reader.open(root)
        reader.press("End")
        assert reader.boxes()["x"][0].startswith("data ")
    assert json.loads(reader.tab.inner_text("#facts"))["count"] == 1
