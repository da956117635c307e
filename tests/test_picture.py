import asyncio
import json
import multiprocessing
import os
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, pairwise
from types import SimpleNamespace

import pytest
from graphs import chain, neuron, passed
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chainrule import Tensor, Value, inputs_first, no_grad, show
from chainrule.errors import GraphError, InputError, MissingDependencyError
from chainrule.show import javascript, picture, raster

SVG = "{http://www.w3.org/2000/svg}"
DIRECTIONS = ("LR", "TB", "RL", "BT")


def cross_entropy():
    x, W = Tensor([[0.5, -1.0, 2.0]] * 4, label="x"), Tensor([[0.1] * 5] * 3, label="W", requires_grad=True)
    e = (x @ W).exp()
    loss = -(e / e.sum(axis=1, keepdims=True))[[0, 1, 2, 3], [1, 0, 4, 2]].log().mean()
    loss.label = "loss"
    loss.backward(retain_grad=True)
    return loss


def boxes(svg):
    """The texts of each box, by the identity of its node."""
    groups = [g for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if "data-id" in g.attrib]
    return {g.attrib["data-id"]: [text.text for text in g.iter(f"{SVG}text")] for g in groups}


def layout(view):
    return json.loads(
        javascript.evaluate(("dagre.min.js", "draw.js"), f"JSON.stringify(chainruleDraw.layout({json.dumps(view)}))")
    )


def edges_of(view):
    """(start, end, points) of each edge."""
    return [
        (edge["from"], edge["to"], placed["points"]) for edge, placed in zip(view["edges"], layout(view)["edges"], strict=True)
    ]


def graphs(most=25):
    """Random graphs of differences, where the order of operands matters, with values used many times."""

    @st.composite
    def built(draw):
        nodes = [Value(float(i), label=f"x{i}") for i in range(draw(st.integers(1, 4)))]
        for _ in range(draw(st.integers(1, most))):
            pick = st.integers(max(0, len(nodes) - draw(st.sampled_from((3, 30)))), len(nodes) - 1)
            a, b = nodes[draw(pick)], nodes[draw(pick)]
            nodes.append(draw(st.sampled_from((lambda a, b: a - b, lambda a, b: a.tanh(), lambda a, b: a * 2.0)))(a, b))
        return nodes[-1]

    return built()


# ---- facts ----------------------------------------------------------------------------------------------------------


def test_the_neuron_as_the_lecture_draws_it():
    found = boxes(picture.svg(passed(neuron())))
    assert sorted(found.values()) == sorted(
        [
            ["x1", "data 2.0000", "grad -1.5000"],
            ["w1", "data -3.0000", "grad 1.0000"],
            ["*"],
            ["data -6.0000", "grad 0.5000"],
            ["x2", "data 0.0000", "grad 0.5000"],
            ["w2", "data 1.0000", "grad 0.0000"],
            ["*"],
            ["data 0.0000", "grad 0.5000"],
            ["+"],
            ["data -6.0000", "grad 0.5000"],
            ["b", "data 6.8814", "grad 0.5000"],
            ["+"],
            ["n", "data 0.8814", "grad 0.5000"],
            ["tanh"],
            ["o", "data 0.7071", "grad 1.0000"],
        ]
    )


def test_a_graph_of_tensors():
    loss = cross_entropy()
    found = list(boxes(picture.svg(loss)).values())
    assert ["W", "data 3x5 float64", "grad 3x5 float64"] in found
    assert ["x", "data 4x3 float64", "constant"] in found
    assert ["loss", "data scalar float64", "grad scalar float64"] in found
    assert {"@", "exp", "sum", "/", "log", "mean"} <= {texts[0] for texts in found if len(texts) == 1}
    assert len(found) == sum(1 + (node.op is not None) for node in inputs_first(loss))


def test_no_backward_yet_and_constants():
    with no_grad():
        c = Value(2.0) * 2
    svg = picture.svg(Value(0.0, label="x") * c)
    assert ["x", "data 0.0000", "no backward yet"] in boxes(svg).values()
    assert ["data 4.0000", "constant"] in boxes(svg).values()
    assert [g.attrib["class"] for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if "stroke-dasharray" in g.attrib] == [
        "node constant"
    ]


def test_a_view_is_plain_data_inputs_first():
    a, b = Value(5.0, label="a"), Value(2.0, label="b")
    view = picture.view(a - b)
    assert json.loads(json.dumps(view)) == view
    assert [node["id"] for node in view["nodes"]] == ["n0", "n1", "n2op", "n2"]
    titles = {node["id"]: node["title"] for node in view["nodes"]}
    assert [(titles[edge["from"]], edge["to"]) for edge in view["edges"]] == [("a", "n2op"), ("b", "n2op"), ("-", "n2")]


def test_any_node_with_the_public_facts_can_be_drawn():
    found = boxes(javascript.evaluate(("dagre.min.js", "draw.js"), "chainruleDraw.svg({nodes: [{id: 'a'}], edges: []})"))
    assert found == {"a": []}
    x = Value(1.0)
    assert picture.view_of([x], "TB")["direction"] == "TB"


@pytest.mark.parametrize("function", [picture.svg, picture.png, picture.view])
def test_only_nodes_can_be_drawn(function):
    with pytest.raises(InputError, match=r"give the Value at its output, not float 3\.0"):
        function(3.0)
    with pytest.raises(InputError, match="unknown rankdir 'left'; choose one of LR, TB, RL, BT"):
        function(Value(1.0), direction="left")


def test_large_graphs_are_refused_with_a_way_out():
    with pytest.raises(GraphError, match=r"has 1,001 nodes and pictures are drawn up to 1,000: .*svg\(root, max_nodes=1001\)"):
        picture.svg(chain(1_001))
    assert len(boxes(picture.svg(chain(3_000), max_nodes=3_000))) == 2 * 3_000 - 1


def test_a_thousand_nodes_are_less_than_a_megabyte():
    assert len(picture.svg(chain(1_000))) < 1_000_000
    parameters = [Value(float(i)) for i in range(30)]
    loss = sum((p * p - q) * 0.5 for p in parameters for q in parameters[::6])
    assert 700 < len(inputs_first(loss)) <= 1_000
    assert len(picture.svg(loss)) < 1_000_000


# ---- where things lie -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("first", ["a", "b"])
def test_operands_enter_in_their_order(direction, first):
    a, b = Value(5.0, label="a"), Value(2.0, label="b")
    view = picture.view(a - b if first == "a" else b - a, direction)
    titles = {node["id"]: node["title"] for node in view["nodes"]}
    across = 1 if direction in ("LR", "RL") else 0
    ends = {titles[start]: points[-1][across] for start, end, points in edges_of(view) if end == "n2op"}
    assert sorted(ends, key=ends.get) == sorted("ab", reverse=first == "b")
    starts = {titles[start]: points[0][across] for start, end, points in edges_of(view) if end == "n2op"}
    assert sorted(starts, key=starts.get) == sorted("ab", reverse=first == "b")  # and so they do not cross


def test_both_edges_of_x_times_x_are_seen():
    x = Value(3.0)
    svg = picture.svg(x * x)
    curves = [path.attrib["d"] for path in ElementTree.fromstring(svg).iter(f"{SVG}path") if path.attrib.get("fill") == "none"]
    assert len(curves) == len(set(curves)) == 3
    (_, _, one), (_, _, other), _ = edges_of(picture.view(x * x))
    assert other[-1][1] - one[-1][1] >= 6


@settings(max_examples=30, deadline=None)
@given(graphs(), st.sampled_from(DIRECTIONS))
def test_in_any_graph_boxes_keep_apart_and_edges_keep_their_places(root, direction):
    view = picture.view(root, direction)
    placed = layout(view)
    places = {name: SimpleNamespace(**box) for name, box in placed["nodes"].items()}
    for a, b in combinations(places.values(), 2):
        assert abs(a.x - b.x) >= (a.width + b.width) / 2 - 0.2 or abs(a.y - b.y) >= (a.height + b.height) / 2 - 0.2
    for box in places.values():
        assert box.width / 2 <= box.x <= placed["width"] - box.width / 2
        assert box.height / 2 <= box.y <= placed["height"] - box.height / 2
    along, sign = (0 if direction in ("LR", "RL") else 1), (1 if direction in ("LR", "TB") else -1)
    entered = {}
    for start, end, points in edges_of(view):
        assert on_border(points[0], places[start])
        assert on_border(points[-1], places[end])
        assert all(sign * (q[along] - p[along]) > 0 for p, q in pairwise(points)), "an edge turns back"
        for p, q in pairwise(points):
            if p[1 - along] == q[1 - along]:  # a straight stretch, which passes a layer
                others = [box for name, box in places.items() if name not in (start, end)]
                assert not any(meets(p, q, box) for box in others)
        entered.setdefault(end, []).append(points[-1][1 - along])
    for name, ends in entered.items():
        assert ends == sorted(ends), f"the operands of {name} enter in another order"
        assert len(set(ends)) == len(ends)


def on_border(point, box):
    x, y = abs(point[0] - box.x), abs(point[1] - box.y)
    outside = x > box.width / 2 + 0.2 or y > box.height / 2 + 0.2
    radius = min(box.width, box.height) / 2  # of an operation; a point on its round end is within the rectangle
    inside = x < box.width / 2 - radius and y < box.height / 2 - radius
    return not outside and not inside


def meets(p, q, box):
    return (
        min(p[0], q[0]) < box.x + box.width / 2 - 0.2
        and max(p[0], q[0]) > box.x - box.width / 2 + 0.2
        and min(p[1], q[1]) < box.y + box.height / 2 - 0.2
        and max(p[1], q[1]) > box.y - box.height / 2 + 0.2
    )


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_an_operation_stands_right_before_its_result(direction):
    view = picture.view(passed(neuron()), direction)
    placed = layout(view)["nodes"]
    along = "x" if direction in ("LR", "RL") else "y"
    sign = 1 if direction in ("LR", "TB") else -1
    for edge in view["edges"]:
        start, end = placed[edge["from"]], placed[edge["to"]]
        assert sign * (end[along] - start[along]) > 0
        if edge["from"].endswith("op"):
            across = "y" if along == "x" else "x"
            assert start[across] == end[across]


def test_the_way_of_a_chain_is_straight_and_its_constants_stand_beside():
    y = Value(1.0, label="x")
    for i in range(15):
        y = (y * 1.1).tanh() if i % 2 else (2.0 - y).tanh()
    view = picture.view(y)
    placed = layout(view)["nodes"]
    way = {placed[node["id"]]["y"] for node in view["nodes"] if node["kind"] != "constant" and node["title"] != "x"}
    assert max(way) - min(way) < 1
    beside = {abs(placed[node["id"]]["y"] - max(way)) for node in view["nodes"] if node["kind"] == "constant"}
    assert max(beside) < 60


def test_the_same_graph_gives_the_same_picture():
    svg = picture.svg(passed(neuron()))
    picture.svg(cross_entropy())
    assert picture.svg(passed(neuron())) == svg
    code = "import sys; sys.path.insert(0, 'tests'); import test_picture as t; print(t.picture.svg(t.passed(t.neuron())), end='')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == svg


def places(root):
    """Where the middle of each node lies."""
    placed = layout(picture.view(root))["nodes"]
    return {node: (placed[f"n{i}"]["x"], placed[f"n{i}"]["y"]) for i, node in enumerate(inputs_first(root))}


def distortion(before, after):
    """How much more some nodes have moved than others."""
    shifts = [[after[node][k] - place[k] for node, place in before.items()] for k in (0, 1)]
    return max(max(shift) - min(shift) for shift in shifts)


@settings(max_examples=25, deadline=None)
@given(graphs())
def test_a_node_more_at_the_end_leaves_the_others_where_they_are(root):
    assert distortion(places(root), places(root.tanh())) <= 1.0


def test_a_constant_factor_at_the_end_moves_the_neuron_as_a_whole():
    o = passed(neuron())
    assert distortion(places(o), places(o * 2.0)) <= 1.0


def test_new_numbers_of_everyday_size_move_nothing():
    o = passed(neuron())
    before = layout(picture.view(o))
    for node in inputs_first(o):
        node.grad = 0.25
    assert layout(picture.view(o)) == before


# ---- views that the page makes --------------------------------------------------------------------------------------


def node(name, kind="value", title="", *lines, state=""):
    return {"id": name, "kind": kind, "title": title, "lines": list(lines), "state": state}


def edge(start, end, label="", state=""):
    return {"from": start, "to": end, "label": label, "state": state}


def test_groups_states_and_labels_of_edges():
    nodes = [node("a", "value", "a", state="current"), node("g", "group", "Layer 2", "100 x [tanh]"), node("b", state="wrong")]
    svg = picture.drawn({"direction": "LR", "nodes": nodes, "edges": [edge("a", "g", "2 × 3 = 6", "done"), edge("g", "b")]})
    assert boxes(svg) == {"a": ["a"], "g": ["Layer 2", "100 x [tanh]"], "b": []}
    classes = [g.attrib["class"] for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if "class" in g.attrib]
    assert classes == ["edge", "edge done", "label", "node value current", "node group", "node value wrong"]
    assert "2 × 3 = 6" in svg


def test_labels_of_edges_keep_apart():
    nodes = [node("x"), node("op", "op", "*"), node("y")]
    view = {"direction": "LR", "nodes": nodes, "edges": [edge("x", "op", "+ 3"), edge("x", "op", "+ 3"), edge("op", "y")]}
    one, other, _ = (placed["label"] for placed in layout(view)["edges"])
    assert other[1] - one[1] >= 13


def test_a_width_that_is_asked_for():
    view = {"direction": "LR", "nodes": [node("a", "group", "a") | {"width": 321}], "edges": []}
    assert layout(view)["nodes"]["a"]["width"] == 321


def test_circles_of_groups_are_drawn():
    nodes = [node("a", "group", "a"), node("b", "group", "b"), node("c", "group", "c")]
    links = [edge("a", "b"), edge("b", "c"), edge("c", "a"), edge("b", "b")]
    view = {"direction": "LR", "nodes": nodes, "edges": links}
    placed = layout(view)
    assert placed["nodes"]["a"]["x"] < placed["nodes"]["b"]["x"] < placed["nodes"]["c"]["x"]
    back = placed["edges"][2]["points"]
    assert back[0][0] > back[-1][0]
    assert placed["edges"][3]["points"] == []
    ElementTree.fromstring(picture.drawn(view))


def test_an_empty_view_and_an_edge_to_nowhere():
    ElementTree.fromstring(picture.drawn({"direction": "LR", "nodes": [], "edges": []}))
    with pytest.raises(GraphError, match="edge 0 of the view names a node that is not in it"):
        picture.drawn({"direction": "LR", "nodes": [node("a")], "edges": [edge("a", "b")]})


def test_names_that_javascript_knows_are_names_like_others():
    nodes = [node("__proto__", "value", "toString"), node("1", "constructor", "x", state="constructor"), node("0")]
    svg = picture.drawn({"direction": "LR", "nodes": nodes, "edges": [edge("__proto__", "1", "", "__proto__"), edge("1", "0")]})
    assert boxes(svg) == {"__proto__": ["toString"], "1": ["x"], "0": []}


# ---- safety ---------------------------------------------------------------------------------------------------------

NASTY = [
    "</text></svg><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>",
    "]]>&amp;&#60;",
    "`${alert(1)}` \\u003c \\",
    "\u2028\u2029\u202e",
    "two\nlines",
    "🙂👩‍👩‍👧 漢字 é",
]
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@pytest.mark.parametrize("label", NASTY)
def test_labels_are_shown_as_they_are_and_nothing_else(label):
    svg = picture.svg(Value(1.0, label=label) * 2)
    assert [*label.split("\n"), "data 1.0000", "no backward yet"] in boxes(svg).values()
    assert {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(svg).iter()} == {
        "svg",
        "g",
        "rect",
        "path",
        "text",
    }


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40), st.text(max_size=20), st.text(max_size=20))
@example("\ud800 \x00 \x1b[31m \ufffe", "\udfff", "\r")
@example("x" * 10_000, "y" * 10_000, "z" * 10_000)
@example("\n" * 10_000, "\t", "")
def test_no_text_can_leave_its_place(label, line, name):
    nodes = [node(name, "value", label, line, state=line), node(name + "1", line, label)]
    links = [edge(name, name + "1", label, label)]
    svg = picture.drawn({"direction": "LR", "nodes": nodes, "edges": links})
    tree = ElementTree.fromstring(svg.encode())
    assert {element.tag.removeprefix(SVG) for element in tree.iter()} <= {"svg", "g", "rect", "path", "text"}
    assert not any(key.startswith("on") or "href" in key or key == "style" for e in tree.iter() for key in e.attrib)
    assert len(svg) < 20_000
    cleaned = CONTROLS.sub("\ufffd", label[:60].replace("\r\n", "\n").replace("\r", "\n").replace("\t", " "))
    if cleaned.strip() and "\n" not in cleaned and len(label) < 60:
        assert boxes(svg)[CONTROLS.sub("\ufffd", re.sub("\r\n?|\n", " ", name).replace("\t", " "))][0] == cleaned


def test_a_long_label_is_cut():
    assert boxes(picture.svg(Value(1.0, label="x" * 10_000)))["n0"][0] == "x" * 60 + "…"


def test_the_script_knows_no_document_and_no_network():
    code = javascript.web("draw.js")
    assert not re.search(r"\b(document|window|fetch|XMLHttpRequest|eval|Function|import|require)\b\s*[.(]", code)
    assert "http" not in code.replace("http://www.w3.org/2000/svg", "")


# ---- PNG ------------------------------------------------------------------------------------------------------------


def size_of(png):
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


def test_a_png_has_two_pixels_for_each_unit():
    o = passed(neuron())
    width, height = (float(n) for n in re.findall(r'(?:width|height)="([\d.]+)"', picture.svg(o))[:2])
    assert size_of(picture.png(o)) == pytest.approx((2 * width, 2 * height), abs=1)
    assert size_of(picture.png(o, scale=1, direction="TB"))[1] > 400
    assert picture.png(o) == picture.png(passed(neuron()))


def test_text_is_seen_in_a_png():
    pictures = {picture.png(Value(float(i), label="x")) for i in range(3)}
    assert len(pictures) == 3


def test_a_wide_picture_is_drawn_smaller_and_a_far_wider_one_refused():
    assert size_of(picture.png(chain(80)))[0] == raster.LONGEST
    with pytest.raises(GraphError, match=r"of [\d,]+ x 53 units is too large for a PNG: draw an SVG"):
        picture.png(chain(800))


def test_what_is_no_svg_is_no_picture():
    with pytest.raises(GraphError, match="resvg could not draw this picture"):
        raster.png('<svg width="3" height="3" <')
    with pytest.raises(GraphError, match="not an SVG with a width"):
        raster.png("<p>")


@pytest.fixture
def fonts(monkeypatch):
    """Which options of resvg make text seen, as a test says."""
    raster._font.cache_clear()
    yield lambda seen: monkeypatch.setattr(raster, "_is_seen", seen)
    raster._font.cache_clear()


def test_a_font_is_looked_for(fonts):
    fonts(lambda options: "font_files" in options)
    assert raster._font()["font_files"][0].endswith("DejaVuSans.ttf")
    raster._font.cache_clear()
    fonts(lambda options: options.get("sans_serif_family") == "Noto Sans")
    assert raster._font() == {"sans_serif_family": "Noto Sans"}


def test_without_any_font_it_is_said(fonts):
    fonts(lambda options: False)
    with pytest.raises(MissingDependencyError, match=r"no font was found.*apt-get install fonts-dejavu-core, or: pip install"):
        picture.png(Value(1.0))
    assert picture.svg(Value(1.0)).startswith("<svg")


# ---- where it runs --------------------------------------------------------------------------------------------------


def test_missing_packages_are_named(monkeypatch):
    svg = picture.svg(Value(1.0))
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(
        MissingDependencyError, match=r"drawing png needs resvg-py; install it with: pip install 'chainrule\[show\]'"
    ):
        picture.png(Value(1.0))
    monkeypatch.setitem(sys.modules, "py_mini_racer", None)
    picture._drawn.cache_clear()
    with pytest.raises(
        MissingDependencyError, match=r"drawing needs mini-racer; install it with: pip install 'chainrule\[show\]'"
    ):
        picture.svg(Value(1.0))
    assert picture.view(Value(1.0))["nodes"][0]["lines"] == ["data 1.0000", "no backward yet"]
    monkeypatch.undo()
    assert picture.svg(Value(1.0)) == svg


def test_failures_of_javascript_are_sentences(monkeypatch):
    with pytest.raises(GraphError, match=r"the picture could not be drawn: .*ReferenceError: nothing is not defined"):
        javascript.evaluate((), "nothing")
    monkeypatch.setattr(javascript, "TIMEOUT", 0.2)
    with pytest.raises(GraphError, match=r"not finished in 0\.2 s; draw a smaller part"):
        javascript.evaluate((), "for (;;);")


def test_threads_draw_at_the_same_time():
    roots = [chain(n) for n in range(2, 10)]
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(picture.svg, roots))
    assert drawn == [picture.svg(root) for root in roots]


def test_pictures_in_an_event_loop_as_in_a_notebook():
    async def cell():
        return picture.svg(passed(neuron()))

    assert asyncio.run(cell()) == picture.svg(passed(neuron()))
    assert picture.svg(chain(3)).startswith("<svg")  # after that loop is gone


def drawn_length(length):
    return len(picture.svg(chain(length)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_process_that_has_drawn_can_fork():
    code = (
        "import os, sys; sys.path.insert(0, 'tests'); import test_picture as t; t.drawn_length(2)\n"
        "child = os.fork()\n"
        "if child == 0: print(t.drawn_length(3), flush=True); sys.exit(5)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), t.drawn_length(3))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    length = drawn_length(3)
    assert done.stdout.split() == [str(length), "5", str(length)]


def test_pictures_in_other_processes():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(drawn_length, (3,)) == drawn_length(3)


def test_show_has_the_same_pictures():
    o = passed(neuron())
    assert show.draw_dot(o).pipe().decode() == show.svg(o) == picture.svg(o)
    assert show.draw_dot(o).pipe("png") == picture.png(o)
    assert show.draw_dot(o, rankdir="TB").pipe().decode() == picture.svg(o, direction="TB")
