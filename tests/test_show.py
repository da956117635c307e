import errno
import html
import os
import re
import stat
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from graphs import chain, neuron
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chainrule import Node, Tensor, Value, inputs_first, no_grad, show
from chainrule.errors import GraphError, InputError, MissingDependencyError
from chainrule.show import graphviz, picture, wording
from chainrule.show.drawing import escaped

needs_graphviz = pytest.mark.skipif(graphviz.find() is None, reason="Graphviz is not installed")

NASTY = [
    'say "hi"',
    "{a|b}",
    "<port>",
    "back\\slash",
    "\\N \\G \\L \\n",
    "ends with \\",
    'x"]; evil [label="owned',
    "two\nlines",
    "&amp; &lt;",
    "Δw 🙂 é",
    "</text><script>alert(1)</script>",
    "; } digraph {",
]


def boxes(source):
    return dict(re.findall(r'^  (n\d+) \[label="(.*)"(?:, style=dashed)?\];$', source, re.M))


def operations(source):
    return dict(re.findall(r'^  (n\d+op) \[label="(.*)", shape=ellipse', source, re.M))


def arrows(source):
    return re.findall(r"^  (\w+) -> (\w+);$", source, re.M)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def no_packages(monkeypatch):
    """As after `pip install chainrule` alone: pictures need Graphviz."""
    for name in ("py_mini_racer", "resvg_py"):
        monkeypatch.setitem(sys.modules, name, None)
    picture._drawn.cache_clear()


@pytest.fixture
def nothing_installed(no_packages, monkeypatch, tmp_path):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


@pytest.fixture
def fake_graphviz(no_packages, monkeypatch, tmp_path):
    """A program called dot, alone on PATH, which does what a test writes into it; nothing else can draw."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(body):
        program = folder / "dot"
        program.write_text(f"#!{sys.executable}\nimport sys, time\nsource = sys.stdin.read()\n{body}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    install("print('<?xml version=\"1.0\"?>\\n<svg>drawn ' + sys.argv[1] + ' ' + str(len(source)) + '</svg>')")
    return install


# ---- trace ----------------------------------------------------------------------------------------------------------


def test_trace_gives_the_lectures_sets():
    a, b = Value(2.0), Value(-3.0)
    product = a * b
    nodes, edges = show.trace(product + a)
    assert len(nodes) == 4
    assert len(edges) == 4
    assert {(a, product), (b, product)} < edges
    assert isinstance(nodes, set)
    assert isinstance(edges, set)


def test_trace_walks_a_million_nodes():
    nodes, edges = show.trace(chain(1_000_000))
    assert (len(nodes), len(edges)) == (1_000_000, 999_999)


@pytest.mark.parametrize("function", [show.trace, show.draw_dot, show.text, show.svg, show.html])
def test_only_nodes_can_be_shown(function, fake_graphviz):
    with pytest.raises(InputError, match=r"give the Value at its output, not float 3\.0"):
        function(3.0)


# ---- DOT text -------------------------------------------------------------------------------------------------------


def test_the_neuron_as_the_lecture_draws_it():
    o = neuron()
    o.backward()
    source = show.draw_dot(o).source
    assert set(boxes(source).values()) == {
        "{ x1 | data 2.0000 | grad -1.5000 }",
        "{ w1 | data -3.0000 | grad 1.0000 }",
        "{ x2 | data 0.0000 | grad 0.5000 }",
        "{ w2 | data 1.0000 | grad 0.0000 }",
        "{ data -6.0000 | grad 0.5000 }",
        "{ data 0.0000 | grad 0.5000 }",
        "{ b | data 6.8814 | grad 0.5000 }",
        "{ n | data 0.8814 | grad 0.5000 }",
        "{ o | data 0.7071 | grad 1.0000 }",
    }
    assert sorted(operations(source).values()) == ["*", "*", "+", "+", "tanh"]
    assert "rankdir=LR" in source
    assert "shape=record" in source


def test_an_operation_stands_before_each_result_and_inputs_keep_their_order():
    a, b = Value(5.0, label="a"), Value(2.0, label="b")
    source = show.draw_dot(a - b).source
    name = {label.split()[1]: node for node, label in boxes(source).items()}
    result = name["data"]  # the only box without a label
    assert arrows(source) == [(f"{result}op", result), (name["a"], f"{result}op"), (name["b"], f"{result}op")]
    assert "ordering=in" in source  # or Graphviz draws them in any order, and a - b looks like b - a


def test_both_edges_of_x_times_x_are_drawn():
    x = Value(3.0)
    assert arrows(show.draw_dot(x * x).source) == [("n1op", "n1"), ("n0", "n1op"), ("n0", "n1op")]


def test_names_go_inputs_first_and_the_text_is_the_same_each_time():
    sources = {show.draw_dot(neuron()).source for _ in range(3)}
    assert len(sources) == 1
    o = neuron()
    datas = [box.split("data ")[1].split()[0] for box in boxes(show.draw_dot(o).source).values()]
    assert datas == [f"{node.data:.4f}" for node in inputs_first(o)]


def test_no_backward_yet_is_not_a_grad_of_zero():
    x = Value(2.0, label="x")
    y = x * Value(0.0, label="zero")
    assert set(boxes(show.draw_dot(y).source).values()) == {
        "{ x | data 2.0000 | no backward yet }",
        "{ zero | data 0.0000 | no backward yet }",
        "{ data 0.0000 | no backward yet }",
    }
    y.backward()
    assert "{ x | data 2.0000 | grad 0.0000 }" in boxes(show.draw_dot(y).source).values()
    x.zero_grad()
    assert "{ x | data 2.0000 | no backward yet }" in boxes(show.draw_dot(y).source).values()


def test_constants_say_so():
    source = show.draw_dot(Value(2.0) + 3).source
    assert '[label="{ data 3.0000 | constant }", style=dashed];' in source
    with no_grad():
        y = Value(2.0) * 2
    assert list(boxes(show.draw_dot(y).source).values()) == ["{ data 4.0000 | constant }"]


def test_a_drawing_shows_its_moment():
    x = Value(3.0)
    y = x * 2
    dot = show.draw_dot(y)
    y.backward()
    assert "grad" not in dot.source
    assert "grad 2.0000" in show.draw_dot(y).source


@pytest.mark.parametrize("rankdir", ["LR", "TB", "RL", "BT"])
def test_records_lie_flat_in_every_direction(rankdir):
    box = boxes(show.draw_dot(Value(1.0), rankdir=rankdir).source)["n0"]
    assert box.startswith("{") == (rankdir in ("LR", "RL"))


def test_unknown_direction_and_format():
    with pytest.raises(InputError, match="unknown rankdir 'left'; choose one of LR, TB, RL, BT"):
        show.draw_dot(Value(1.0), rankdir="left")
    with pytest.raises(InputError, match="unknown picture format 'gif'; choose one of svg, png, pdf"):
        show.draw_dot(Value(1.0), format="gif")


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (0.0, "0.0000"),
        (-0.70710678, "-0.7071"),
        (5e-5, "0.0001"),
        (4e-5, "4.000e-05"),
        (1e300, "1.000e+300"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (SimpleNamespace(shape=(32, 4), dtype="float64"), "32x4 float64"),
        (SimpleNamespace(shape=(), dtype="float32"), "scalar float32"),
        ("text", "str"),
    ],
)
def test_numbers(data, shown):
    assert wording.number(data) == shown


def test_any_node_can_be_drawn():
    class Array(Node):
        __slots__ = ("data", "grad", "has_grad", "inputs", "label", "op", "requires_grad")

    a = Array()
    a.data = a.grad = SimpleNamespace(shape=(2, 3), dtype="float64")
    a.has_grad, a.inputs, a.label, a.op, a.requires_grad = True, (), "W", None, True
    assert boxes(show.draw_dot(a).source)["n0"] == "{ W | data 2x3 float64 | grad 2x3 float64 }"
    assert show.text(a) == "W  data 2x3 float64  grad 2x3 float64"


@settings(max_examples=200, deadline=None)
@given(st.text())
@example("\ud800 \x00 \x1b[31m \ufffe")
def test_no_label_can_leave_its_place(label):
    source = show.draw_dot(Value(1.0, label=label)).source
    source.encode()
    match = re.fullmatch(r'digraph \{\n.*\n  n0 \[label="\{ (.*)data 1\.0000 \| no backward yet \}"\];\n\}\n', source)
    assert match, source
    inside = re.sub(r" \| $", "", match[1])
    assert not re.search(r'["{}|<>]', inside)
    assert re.fullmatch(r"(?:[^\\]|\\\\|\\n)*", inside)


@pytest.mark.parametrize("label", NASTY)
def test_escapes_mean_what_was_written(label):
    text = re.sub(r"\\(.)", lambda found: {"n": "\n", "\\": "\\"}[found[1]], escaped(label))
    assert html.unescape(text) == label


def test_a_long_label_is_cut():
    assert escaped("x" * 1000) == "x" * wording.LONGEST_LABEL + "…"


class Counted(Value):
    """Counts how often it is looked up, compared or read."""

    __slots__ = ()
    looks = 0

    def _counted(name):
        def look(self, *args):
            Counted.looks += 1
            return getattr(Value, name)(self, *args)

        return look

    __hash__, __eq__, __getattribute__ = _counted("__hash__"), _counted("__eq__"), _counted("__getattribute__")


@pytest.mark.parametrize("show_it", [show.draw_dot, show.trace, show.text], ids=lambda f: f.__name__)
def test_the_work_grows_with_the_graph_and_not_with_its_square(show_it):
    def looks(count):
        root = sum([Counted(1.0) for _ in range(count)], Value(0.0))
        Counted.looks = 0
        show_it(root)
        return Counted.looks

    assert looks(2_000) < 60 * 2_000
    assert looks(2_000) <= 2.1 * looks(1_000)


def test_dot_text_of_a_large_graph():
    assert len(boxes(show.draw_dot(chain(65_818)).source)) == 65_818


def draw_dot_of_somebody_else(root):
    """As notebooks written for micrograd do it: with nothing but _prev, _op, data and grad."""
    seen, lines = set(), []

    def visit(v):
        if v in seen:
            return
        seen.add(v)
        uid = str(id(v))
        lines.append(f"{uid} {{ data {v.data:.4f} | grad {v.grad:.4f} }}")
        if v._op:
            lines.append(f"{uid}{v._op} -> {uid}")
        for child in v._prev:
            lines.append(f"{id(child)} -> {uid}{v._op}")
            visit(child)

    visit(root)
    return lines


def test_a_third_party_draw_dot_works():
    o = neuron()
    o.backward()
    lines = draw_dot_of_somebody_else(o)
    assert sum("data" in line for line in lines) == 10
    assert sum("->" in line for line in lines) == 5 + 9
    assert any(line.endswith("{ data 2.0000 | grad -1.5000 }") for line in lines)
    assert any("tanh -> " in line for line in lines)


# ---- pictures -------------------------------------------------------------------------------------------------------


def test_with_nothing_installed_the_text_works_and_pictures_name_the_remedy(nothing_installed, tmp_path):
    dot = show.draw_dot(neuron())
    assert dot.source.startswith("digraph {")
    assert dot.save(tmp_path / "g.dot") == str(tmp_path / "g.dot")
    assert (tmp_path / "g.dot").read_text() == dot.source == str(dot)
    for draw in (dot.pipe, lambda: dot.render(tmp_path / "g")):
        with pytest.raises(MissingDependencyError, match=r"pip install 'chainrule\[show\]' \(Graphviz serves as well"):
            draw()
    with pytest.raises(MissingDependencyError, match=r"apt-get install graphviz .*brew install graphviz"):
        dot.pipe("pdf")
    assert names_in(tmp_path) == ["empty", "g.dot"]
    assert dot._repr_svg_() is None
    assert "pip install &#x27;chainrule[show]&#x27;" in dot._repr_html_()


def test_without_graphviz_pictures_are_drawn_and_only_pdf_names_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    dot = show.draw_dot(neuron())
    assert dot.pipe().startswith(b"<svg")
    assert dot.pipe("png").startswith(b"\x89PNG\r\n\x1a\n")
    assert dot._repr_html_() == dot._repr_svg_() == dot.pipe().decode()
    with pytest.raises(MissingDependencyError, match=r"drawing pdf needs Graphviz; install it with: apt-get install graphviz"):
        dot.render(tmp_path / "g.pdf")


def test_where_only_resvg_is_missing_graphviz_draws_the_png(fake_graphviz, monkeypatch):
    monkeypatch.delitem(sys.modules, "py_mini_racer")
    dot = show.draw_dot(neuron())
    assert b"drawn -Tpng" in dot.pipe("png")
    assert b"drawn" not in dot.pipe("svg")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        MissingDependencyError, match=r"drawing png needs resvg-py; install it with: pip install 'chainrule\[show\]'"
    ):
        dot.pipe("png")


def test_pdf_is_drawn_by_graphviz_also_where_the_packages_are(fake_graphviz, monkeypatch):
    for name in ("py_mini_racer", "resvg_py"):
        monkeypatch.delitem(sys.modules, name)
    assert b"drawn -Tpdf" in show.draw_dot(neuron()).pipe("pdf")


def test_render_pipe_and_notebooks_hand_the_text_to_graphviz(fake_graphviz, tmp_path):
    dot = show.draw_dot(Value(1.0, label="é"))
    size = len(dot.source)
    assert dot.pipe().endswith(f"<svg>drawn -Tsvg {size}</svg>\n".encode())
    assert b"-Tpng" in dot.pipe("PNG")
    assert dot._repr_svg_() == dot._repr_html_() == f"<svg>drawn -Tsvg {size}</svg>\n"


@pytest.mark.parametrize(
    ("filename", "format", "path", "drawn"),
    [
        ("gout", None, "gout.svg", "-Tsvg"),
        ("gout", "png", "gout.png", "-Tpng"),
        ("gout.png", None, "gout.png", "-Tpng"),
        ("gout.svg", None, "gout.svg", "-Tsvg"),
        ("gout.svg", "png", "gout.svg.png", "-Tpng"),
        ("step.1", None, "step.1.svg", "-Tsvg"),
    ],
)
def test_where_render_writes(fake_graphviz, tmp_path, filename, format, path, drawn):
    assert show.draw_dot(Value(1.0)).render(tmp_path / filename, format) == str(tmp_path / path)
    assert drawn in (tmp_path / path).read_text()
    assert names_in(tmp_path) == sorted(["bin", path])


def test_the_format_of_the_drawing_is_the_default(fake_graphviz, tmp_path):
    assert show.draw_dot(Value(1.0), format="png").render(tmp_path / "g").endswith("g.png")


def test_files_that_cannot_be_written(fake_graphviz, tmp_path):
    dot = show.draw_dot(Value(1.0))
    with pytest.raises(InputError, match=r"cannot write .*gout.svg: No such file or directory"):
        dot.render(tmp_path / "absent" / "gout")
    (tmp_path / "taken.svg").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*taken.svg: "):
        dot.render(tmp_path / "taken")
    with pytest.raises(InputError, match="a file name is needed, not ''"):
        dot.save("")
    assert names_in(tmp_path) == ["bin", "taken.svg"]  # no temporary file stays


def test_a_full_disk_keeps_the_file_that_was_there(monkeypatch, tmp_path):
    path = tmp_path / "g.dot"
    path.write_text("before")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*g\.dot: No space left on device"):
        show.draw_dot(Value(1.0)).save(path)
    assert path.read_text() == "before"
    assert names_in(tmp_path) == ["g.dot"]


def test_a_failed_drawing_keeps_the_file_that_was_there(fake_graphviz, tmp_path):
    dot = show.draw_dot(Value(1.0))
    path = dot.render(tmp_path / "g")
    before = (tmp_path / "g.svg").read_bytes()
    fake_graphviz("print('half a pict'); sys.stderr.write('Error: out of\\nmemory'); sys.exit(3)")
    with pytest.raises(GraphError, match="Graphviz could not draw this graph as svg: Error: out of memory"):
        dot.render(path)
    assert (tmp_path / "g.svg").read_bytes() == before


def test_graphviz_that_hangs_or_says_nothing(fake_graphviz, monkeypatch):
    fake_graphviz("sys.exit(7)")
    with pytest.raises(GraphError, match="exit code 7"):
        show.draw_dot(Value(1.0)).pipe()
    monkeypatch.setattr(graphviz, "TIMEOUT", 0.3)
    fake_graphviz("time.sleep(20)")
    with pytest.raises(GraphError, match=r"did not finish in 0\.3 s; draw a smaller part"):
        show.draw_dot(Value(1.0)).pipe()


def test_graphviz_that_cannot_be_started(fake_graphviz, tmp_path):
    (tmp_path / "bin" / "dot").write_text("#!/no/such/program\n")
    with pytest.raises(GraphError, match="could not be started"):
        show.draw_dot(Value(1.0)).pipe()


def test_large_graphs_are_refused_with_a_way_out(fake_graphviz):
    root = chain(1_001)
    with pytest.raises(GraphError, match=r"has 1,001 nodes and pictures are drawn up to 1,000: .*one neuron.*max_nodes=1001"):
        show.draw_dot(root).pipe()
    assert b"drawn" in show.draw_dot(root, max_nodes=1_001).pipe()
    with pytest.raises(GraphError, match="up to 2"):
        show.draw_dot(chain(3), max_nodes=2).pipe()
    assert show.draw_dot(root)._repr_svg_() is None
    assert "1,001 nodes" in show.draw_dot(root)._repr_html_()


def words_in(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture(params=["draw.js", pytest.param("graphviz", marks=needs_graphviz)])
def drawn_by(request):
    """Real pictures, by our own script and, without the packages, by Graphviz."""
    if request.param == "graphviz":
        request.getfixturevalue("no_packages")
    return request.param


def test_real_pictures(drawn_by, tmp_path):
    o = neuron()
    path = show.draw_dot(o, format="png").render(tmp_path / "neuron")
    assert Path(path).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    svg = show.draw_dot(o).pipe("svg")
    assert words_in(svg).count("no backward yet") == 10
    assert words_in(svg).count("tanh") == 1
    size = ElementTree.fromstring(svg).attrib
    assert float(size["width"].removesuffix("pt")) > 2 * float(size["height"].removesuffix("pt"))


@pytest.mark.parametrize("label", NASTY)
def test_real_pictures_show_any_label_as_it_is(drawn_by, label):
    assert words_in(show.draw_dot(Value(1.0, label=label)).pipe()) == [*label.split("\n"), "data 1.0000", "no backward yet"]


def test_a_real_picture_has_both_edges_of_x_times_x(drawn_by):
    x = Value(3.0)
    assert show.svg(x * x).count('class="edge"') == 3


# ---- the text tree --------------------------------------------------------------------------------------------------


def test_the_tree_of_the_lectures_expression():
    a, b, c, f = (Value(d, label=n) for d, n in ((2.0, "a"), (-3.0, "b"), (10.0, "c"), (-2.0, "f")))
    loss = (a * b + c) * f
    loss.label = "L"
    loss.backward()
    assert show.text(loss).splitlines() == [
        "L = *  data -8.0000  grad 1.0000",
        "├─ +  data 4.0000  grad -2.0000",
        "│  ├─ *  data -6.0000  grad -2.0000",
        "│  │  ├─ a  data 2.0000  grad 6.0000",
        "│  │  └─ b  data -3.0000  grad -4.0000",
        "│  └─ c  data 10.0000  grad -2.0000",
        "└─ f  data -2.0000  grad 4.0000",
    ]


def test_shared_nodes_are_printed_once():
    a = Value(1.0, label="a")
    b = a + a
    assert show.text(b * b, ascii=True).splitlines() == [
        "*  data 4.0000  no backward yet",
        "|- #1 +  data 2.0000  no backward yet",
        "|  |- #2 a  data 1.0000  no backward yet",
        "|  `- #2 a, as above",
        "`- #1 +, as above",
    ]


def test_a_graph_of_two_to_the_hundred_paths_is_short():
    x = Value(1.0)
    for _ in range(100):
        x = x + x
    assert len(show.text(x, max_nodes=1000, max_depth=1000).splitlines()) == 201


def test_the_tree_says_how_much_it_leaves_out():
    root = chain(1_334)
    lines = show.text(root).splitlines()
    assert len(lines) == 23  # 21 nodes, the mark, the sentence
    assert lines[-2].strip() == "└─ …"
    assert lines[-1] == "... 1,313 more nodes (max_nodes=100, max_depth=20)"
    assert show.text(chain(3), max_depth=1).splitlines()[-1] == "... 1 more node (max_nodes=100, max_depth=1)"
    assert "more" not in show.text(chain(3), max_depth=2)


def test_the_nearest_nodes_are_printed_first():
    lines = show.text(chain(50) * chain(50), max_nodes=5).splitlines()
    assert [line[:8].rstrip() for line in lines] == [
        "*  data",
        "├─ neg",
        "│  └─ ne",
        "│     └─",
        "└─ neg",
        "   └─ ne",
        "      └─",
        "... 96 m",
    ]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_every_node_is_printed_or_counted(data):
    nodes = [Value(float(i)) for i in range(3)]
    for _ in range(data.draw(st.integers(1, 30))):
        a, b = data.draw(st.sampled_from(range(len(nodes)))), data.draw(st.sampled_from(range(len(nodes))))
        nodes.append(nodes[a] + nodes[b])
    limits = {"max_nodes": data.draw(st.integers(1, 20)), "max_depth": data.draw(st.integers(1, 8))}
    lines = show.text(nodes[-1], **limits).splitlines()
    printed = sum("data" in line for line in lines)
    total = len(inputs_first(nodes[-1]))
    assert printed <= limits["max_nodes"]
    assert ("more" in lines[-1]) == (printed < total)
    if printed < total:
        assert lines[-1].startswith(f"... {total - printed} more node")
    assert len(show.text(nodes[-1], max_nodes=1000, max_depth=1000).splitlines()) >= total


def test_labels_cannot_command_the_terminal_and_ascii_is_ascii():
    x = Value(1.0, label="\x1b[2Jé\n🙂")
    assert show.text(x) == "\\x1b[2Jé\\n🙂  data 1.0000  no backward yet"
    assert show.text(x, ascii=True) == "\\x1b[2J\\xe9\\n\\U0001f642  data 1.0000  no backward yet"


def test_bad_limits():
    for limits in ({"max_nodes": 0}, {"max_depth": 1.5}, {"max_nodes": True}):
        with pytest.raises(InputError, match="must be a whole number from 1 up"):
            show.text(Value(1.0), **limits)


def test_the_tree_of_a_million_nodes():
    assert show.text(chain(1_000_000)).endswith("... 999,979 more nodes (max_nodes=100, max_depth=20)")


# ---- notebooks ------------------------------------------------------------------------------------------------------


def test_notebooks_show_the_drawing():
    x = Value(1.0)
    assert x._repr_svg_() == show.svg(x) == show.draw_dot(x).pipe().decode()
    assert x._repr_html_() == show.html(x)


def test_notebooks_show_the_drawing_of_graphviz(fake_graphviz):
    x = Value(1.0)
    assert x._repr_svg_() == show.svg(x)
    assert show.svg(x).startswith("<svg>drawn -Tsvg")


def test_a_notebook_that_asks_for_html_and_svg_draws_once(fake_graphviz, tmp_path):
    log = tmp_path / "log"
    fake_graphviz(f"open({str(log)!r}, 'a').write('x'); print('<svg>' + str(len(source)) + '</svg>')")
    x = Value(1.0, label="once")
    for shown in (x, show.draw_dot(x)):
        log.write_text("")
        assert shown._repr_html_()
        assert shown._repr_svg_()
        assert len(log.read_text()) <= 1
    x.data = 12345.0
    assert x._repr_svg_() != show.draw_dot(Value(1.0))._repr_svg_()


def test_notebooks_show_the_page_and_the_tree_with_nothing_installed(nothing_installed):
    x = Value(1.0, label="<b>&")
    assert x._repr_svg_() is show.svg(x) is None
    assert x._repr_html_() == show.html(x)
    assert show.html(x).startswith("<iframe ")
    assert show.html(x).endswith(f"<pre>{html.escape(show.text(x))}</pre></iframe>")
    assert "<b>" not in show.html(x)


def test_notebooks_show_no_drawing_of_large_graphs(fake_graphviz):
    assert show.svg(chain(200)) is not None
    root = chain(201)
    assert show.svg(root) is None
    assert show.html(root).endswith("... 180 more nodes (max_nodes=100, max_depth=20)</pre></iframe>")


def test_notebooks_say_why_graphviz_failed(fake_graphviz):
    fake_graphviz("sys.stderr.write('no <layout>'); sys.exit(1)")
    with pytest.raises(GraphError, match="no <layout>"):
        show.svg(Value(1.0, label="x"))


def test_pictures_and_text_show_tensors():
    x = Tensor(np.ones((2, 3)), requires_grad=True, label="x")
    y = (x.tanh() @ x.T).sum()
    y.backward()
    assert "tanh" in show.text(y)
    assert "x | data 2x3 float64 | grad 2x3 float64" in show.draw_dot(y).source
