"""The page of a graph, without a browser: what is in the file, and that its scripts compute and say what Python does."""

import base64
import contextlib
import hashlib
import html
import json
import math
import random
import re
from array import array

import numpy as np
import pytest
from graphs import neuron
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import Tensor, Value, engine, gradients, no_grad, ops, show
from chainrule.errors import ChainruleError, GraphError, InputError
from chainrule.nn import MLP
from chainrule.show import javascript
from chainrule.show.expression import read
from chainrule.show.facts import MAX_NODES, facts
from chainrule.show.mistakes import KINDS, mistaken
from chainrule.show.page import SCRIPTS, WEB, page
from chainrule.show.steps import as_written, names, steps
from chainrule.show.wording import number, short

PURE = ("graph.js", "passes.js", "words.js", "timeline.js", "groups.js")
HOSTILE = [
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "]]><!--",
    "\"'`${window.pwned=1}",
    "{{script}} {{facts}}",
    "two\nlines\r\x00\x1b[31m\u2028\u2029\u202e",
    "\ud800 half a pair",
    "🙂" * 3000,
    "javascript:window.pwned=1",
    "__proto__",
    "&lt;b&gt; &amp;",
]


def twice():
    """Two leaves that are used twice each."""
    a, b = Value(-2.0, label="a"), Value(3.0, label="b")
    d, e = a * b, a + b
    d.label, e.label = "d", "e"
    f = d * e
    f.label = "f"
    return f


def interior():
    """A result that is used at two distances from the output."""
    x = Value(3.0, label="x")
    b = x * 2
    y = b * (b + 1)
    b.label, y.label = "b", "y"
    return y


def net():
    """A small net of tensors."""
    X, W = Tensor([[0.0, 1.0], [2.0, 3.0]], label="X"), Tensor([[1.0, -1.0], [0.5, 2.0]], label="W", requires_grad=True)
    h = (X @ W).tanh()
    loss = (h * h + h).sum()
    h.label, loss.label = "h", "loss"
    return loss


def samples(count=100):
    """The loss of an MLP over as many samples, a sum of alike terms."""
    random.seed(1)
    model = MLP(2, [3, 1], activation="tanh", output_activation="tanh")
    xs = [[math.sin(i), math.cos(3 * i)] for i in range(count)]
    return sum((model(x) - 1.0) ** 2 for x in xs) * (1.0 / count)


def drawn(seed):
    """A random graph of elementwise rows, with labels that come again and results that are used again."""
    rng = random.Random(seed)
    nodes = [Value(rng.uniform(-3, 3), label=rng.choice(["a", "b", "x", "", "w 1", "-q"])) for _ in range(3)]
    while len(nodes) < 4 + seed % 12:
        op = rng.choice(ops.BUILT_IN)
        xs = [rng.choice(nodes) if rng.random() < 0.8 else rng.choice([2.0, -1.5, 0.5, 3.0]) for _ in range(op.arity)]
        with contextlib.suppress(ChainruleError):
            y = engine.apply(op, *xs)
            if abs(y.data) < 1e6:
                nodes.append(y)
    return nodes[-1]


def embedded(made):
    """The graph in a page, as its script reads it."""
    text = re.search(r'<script type="application/json" id="facts">(.*?)</script>', made.html, re.S)[1]
    return json.loads(text)


def column(text):
    return array(text[0], base64.b64decode(text[1:])).tolist()


def asked(root, expression):
    """What an expression of the page's scripts gives for a graph `g`."""
    pytest.importorskip("py_mini_racer", reason="the scripts run in mini-racer: pip install 'chainrule[show]'")
    found = json.dumps(json.dumps(facts(root)))
    return json.loads(
        javascript.evaluate(
            PURE, f"(() => {{ const g = chainruleGraph.read(JSON.parse({found})); return JSON.stringify({expression}); }})()"
        )
    )


# ---- the file --------------------------------------------------------------------------------------------------------


def test_a_page_is_one_file_that_may_load_nothing_and_run_only_its_own_script(tmp_path):
    made = show.page(neuron(), tmp_path / "graph.html")
    assert (tmp_path / "graph.html").read_text(encoding="utf-8") == made.html
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', made.html)[1]
    scripts = re.findall(r"<script>(.*?)</script>", made.html, re.S)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}'; ")
    assert "http" not in policy
    assert policy.endswith("; base-uri 'none'; form-action 'none'")
    assert "eval" not in policy
    assert "Permission is hereby granted, free of charge" in scripts[0]  # dagre's licence
    assert set(re.findall(r"https?://[\w./-]+", made.html)) <= {"http://www.w3.org/2000/svg", "https://github.com/dagrejs/dagre"}
    assert not re.search(r"<(link|iframe|object|embed|base)\b", made.html)
    assert not re.search(r"\b(src|href)=", made.html.replace(scripts[0], ""))


def test_no_script_writes_markup():
    for name in SCRIPTS[2:]:  # dagre, and draw.js, which escapes what it writes
        text = (WEB / f"{name}.js").read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|fetch\(|XMLHttp", text
        ), name


ON = {
    "paper": ("ink", "soft", "accent", "bad", "result", "local"),
    "sheet": ("ink", "soft", "accent", "bad", "result", "local", "upstream"),
    "ink": ("paper",),
    "accent": ("paper",),
    "upstream": ("paper",),
    "box": ("text", "soft"),
    "op": ("text",),
    "now": ("ink", "text", "soft"),
    "now-op": ("text",),
    "done": ("text", "soft"),
    "done-op": ("text",),
    "waiting": ("waiting-text",),
    "waiting-op": ("waiting-text",),
    "bad-fill": ("bad", "text", "soft"),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ground", ON)
def test_text_can_be_read_on_what_it_stands_on(scheme, ground):
    """The contrast of WCAG 2.1, level AA."""
    style = (WEB / "page.css").read_text(encoding="utf-8").partition("* {")[0]
    light, _, dark = style.partition("@media")
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark if scheme == "dark" else light))

    def luminance(color):
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for ink in ON[ground]:
        low, high = sorted(luminance(colors[name]) for name in (ink, ground))
        assert (high + 0.05) / (low + 0.05) >= 4.5, ink


def test_every_script_of_the_folder_is_in_the_page():
    assert {path.stem for path in WEB.glob("*.js")} == set(SCRIPTS)


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_labels_stay_text(label):
    root = Value(1.0, label=label) * 2
    root.label = label
    made = show.page(root, title=label)
    made.html.encode()  # no halves of surrogate pairs
    assert len(re.findall("<script", made.html)) == 2
    for bad in ("<img", "window.pwned=1>"):
        assert bad not in re.sub(r"<script>.*?</script>", "", made.html, flags=re.S)
    assert embedded(made)["names"]["0"] == steps(root).names[root.inputs[0]]
    assert len(max(embedded(made)["names"].values(), key=len)) < 80


def test_a_page_of_a_thousand_nodes_is_under_a_megabyte(tmp_path):
    x = Value(0.5, label="x")
    y = x
    for _ in range(250):
        y = (y * x + 1.0).tanh()
    made = show.page(y)
    assert 990 <= made.nodes <= 1010
    assert len(made.html.encode()) < 1_000_000


def test_the_page_shows_this_moment_and_changes_no_node():
    root = twice()
    before = [(node.data, node.has_grad) for node in as_written(root)]
    first = show.page(root).html
    assert [(node.data, node.has_grad) for node in as_written(root)] == before
    assert show.page(root).html == first  # the same graph gives the same page


def test_a_function_is_run_and_its_lines_and_modules_recorded():
    model = MLP(2, [2, 1])
    found = embedded(show.page(lambda: model([1.0, 2.0]) * 2))
    assert [line[0] for line in found["lines"]] == ["test_page.py"]
    assert "model([1.0, 2.0]) * 2" in found["lines"][0][2]
    assert ["MLP", "Layer 2", "Neuron 1"] in found["modules"]
    assert embedded(show.page(neuron()))["lines"] == []


def test_a_title(tmp_path):
    assert "<title>o</title>" in show.page(neuron()).html
    assert "<title>A neuron</title>" in show.page(neuron(), title="A neuron").html
    assert "<title>graph</title>" in show.page(Value(1.0) + 1).html


@pytest.mark.parametrize("root", [3.0, None, "x", lambda: 3.0], ids=repr)
def test_what_is_no_graph(root):
    with pytest.raises(InputError, match="only a graph can be shown: give the Value at its output, not "):
        show.page(root)


def test_files_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*graph.html: No such file or directory"):
        show.page(neuron(), tmp_path / "absent" / "graph.html")
    with pytest.raises(InputError, match="a file name is needed, not ''"):
        show.page(neuron(), "")
    assert not list(tmp_path.iterdir())


def test_a_graph_that_is_too_large_is_refused_in_one_sentence():
    x = Value(1.0)
    for _ in range(MAX_NODES):
        x = -x
    with pytest.raises(GraphError, match=r"this graph has 250,001 nodes and a page holds 250,000 of numbers: show a part of it"):
        show.page(x)
    assert "a page holds 250,000 of numbers" in show.html(x)
    assert "<pre>neg  data" in show.html(x)


def test_what_cannot_be_differentiated_says_why():
    with no_grad():
        constant = Value(2.0) * 3
    assert "made from constants or under no_grad()" in facts(constant)["problem"]
    root = Value(0.0, label="x").sqrt()
    found = facts(root)
    assert "the derivative of sqrt(x=0.0) does not exist at this point" in found["problem"]
    assert "grad" not in found
    assert asked(root, "[chainruleTimeline.of(g).total, g.backward.length]") == [1, 0]


def test_gradients_that_are_kept_but_not_of_this_pass_are_remarked():
    root = twice()
    root.backward()
    assert facts(root)["stored"] == ""
    root.backward()
    assert facts(root)["stored"].startswith("The gradients kept in 2 of 2 leaves are not those of this pass (a.grad is -6, and")


def test_the_expression_that_was_read_is_shown_as_it_was_written():
    expression = read("tanh(x*w  + b)", {"x": 2.0, "w": -3.0, "b": 6.0})
    found = embedded(page(expression.root, expression=expression))
    assert found["expression"] == "tanh(x*w  + b)"
    pieces = [found["expression"][slice(*span)] for span in found["spans"].values()]
    assert sorted(pieces) == ["tanh(x*w  + b)", "x*w", "x*w  + b"]


# ---- notebooks -------------------------------------------------------------------------------------------------------


def test_a_notebook_shows_the_page_in_a_frame_with_the_tree_inside():
    root = neuron()
    shown = root._repr_html_()
    assert shown == show.html(root)
    assert shown.startswith('<iframe sandbox="allow-scripts allow-downloads" ')
    assert "allow-same-origin" not in shown
    inner = html.unescape(re.search(r'srcdoc="([^"]*)"', shown)[1])
    assert inner == show.page(root).html
    assert f"<pre>{html.escape(show.text(root))}</pre></iframe>" in shown
    assert show.page(root)._repr_html_().startswith("<iframe ")


# ---- facts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", [neuron(), twice(), interior(), samples(3)], ids=["neuron", "twice", "interior", "samples"])
def test_columns_hold_the_engines_numbers(root):
    found, nodes, grads = facts(root), as_written(root), gradients(root)
    index = {node: i for i, node in enumerate(nodes)}
    assert column(found["data"]) == [node.data for node in nodes]
    assert column(found["inputs"]) == [index[x] for node in nodes for x in node.inputs]
    assert column(found["arity"]) == [len(node.inputs) for node in nodes]
    assert column(found["grad"]) == [grads.get(node, 0.0) for node in nodes]
    slopes = [slope for node in nodes for slope in engine._slopes(node)]
    assert column(found["slope"]) == [0.0 if slope is None else slope for slope in slopes]
    rows = [found["ops"][k]["name"] if k >= 0 else None for k in column(found["op"])]
    assert rows == [node.op and node.op.name for node in nodes]


def test_infinities_and_nan_need_no_words():
    x = Value(math.inf, label="x")
    found = facts(x * 2.0 + math.nan)
    json.dumps(found, allow_nan=False)
    assert math.inf in column(found["data"])
    assert any(y != y for y in column(found["data"]))


def test_small_tensors_are_shown_in_full_and_large_ones_by_shape_and_norm():
    found = facts(net())
    assert found["kind"] == "tensor"
    x = found["arrays"][0]
    assert (x["shape"], x["rows"], x["shown"]) == ("2x2", ["0\u20021", "2\u20023"], "[[0, 1], [2, 3]]")
    large = facts((Tensor(np.ones((30, 40)), requires_grad=True) * 2).sum())
    assert large["arrays"][0] == {"shape": "30x40", "shown": "(30x40, norm 34.641)", "rows": ["norm 34.641"]}


def test_the_steps_of_tensors_come_in_words():
    root = net()
    found = facts(root)
    assert [step["node"] for step in found["steps"][1:]] == asked(root, "g.backward")
    words = [edge["words"] for step in found["steps"] for edge in step["edges"]]
    assert words == [c.words for step in steps(root) for c in step.contributions]
    h = next(i for i, name in found["names"].items() if name == "h")
    assert int(h) in found["mistakes"]["assign"]["wrong"]


# ---- the scripts say and compute what Python does --------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_scripts_and_python_tell_the_same_steps(seed):
    root = drawn(seed)
    found = facts(root)
    if found["problem"]:
        return
    told = asked(
        root,
        "(p => g.backward.map(n => [chainruleWords.name(g, n), chainruleWords.origin(g, n), chainruleWords.contributions(g, p, n)"
        ".map(c => [c.words, c.running, c.formula, c.here])]))(chainrulePasses.run(g))",
    )
    expected = [
        [step.name, step.value, [[c.words, c.running, c.formula, c.here] for c in step.contributions]]
        for step in list(steps(root))[1:]
    ]
    assert told == expected


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_passes_give_the_engines_gradients_and_make_the_same_mistakes(seed):
    root = drawn(seed)
    if facts(root)["problem"]:
        return
    taken, nodes = steps(root), as_written(root)
    kinds = ["", *KINDS]
    found = asked(root, f"{json.dumps(kinds)}.map(mistake => Array.from(chainrulePasses.run(g, {{mistake}}).grad))")
    expected = [taken.grads, *(mistaken(taken, kind).grads for kind in KINDS)]
    assert found == [[grads.get(node, 0.0) for node in nodes] for grads in expected]


@pytest.mark.parametrize("recorded", [False, True])
def test_names_are_those_of_the_steps(recorded):
    with show.record() if recorded else contextlib.nullcontext():
        root = samples(2)
    assert ("layers.0.neurons.2.w.1" in names(root).values()) == recorded
    assert asked(root, "Array.from({length: g.count}, (_, n) => chainruleWords.name(g, n))") == list(names(root).values())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_numbers_read_as_in_python(xs):
    pytest.importorskip("py_mini_racer", reason="the scripts run in mini-racer: pip install 'chainrule[show]'")
    xs += [0.03125, -0.03125, 0.09999999, 5e-5, 999999999.99996, 0.00009999999, -0.0, 12345.00005, 0.5]
    told = javascript.evaluate(
        PURE[:3], f"JSON.stringify({json.dumps(xs)}.map(x => [chainruleWords.number(x), chainruleWords.short(x)]))"
    )
    assert json.loads(told) == [[number(x), short(x)] for x in xs]


@pytest.mark.parametrize(
    ("root", "mistake", "wrong", "of"),
    [
        (twice(), "assign", 2, 5),
        (twice(), "order", 0, 5),
        (interior(), "order", 1, 4),
        (interior(), "assign", 2, 4),
        (neuron(), "assign", 0, 10),
    ],
)
def test_wrong_gradients_are_counted(root, mistake, wrong, of):
    other = f"chainrulePasses.run(g, {{mistake: '{mistake}'}})"
    found = asked(root, f"(v => [v.nodes.length, v.of])(chainrulePasses.wrong(g, chainrulePasses.run(g), {other}))")
    assert found == [wrong, of]


def test_a_moment_knows_its_running_sums():
    told = asked(
        twice(),
        "(p => [0, 1, 2, 3].map(k => chainrulePasses.gradient(g, p, 0, k)).map(s => [s.known, s.value]))(chainrulePasses.run(g))",
    )
    assert told == [[False, 0], [False, 0], [True, 3], [True, -3]]


def test_expressions_are_written_as_code():
    text = "const text = part => typeof part === 'string' ? part : part.parts.map(text).join('')"
    told = "chainruleWords.expression(g)?.map(line => line.name + ' = ' + line.parts.map(text).join('')) ?? null"
    lines = f"(() => {{ {text}; return {told}; }})()"
    assert asked(neuron(), lines) == ["o = tanh(x1 * w1 + x2 * w2 + b)"]
    assert asked(interior(), lines) == ["y = b * (b + 1)", "b = x * 2"]
    a, b = Value(2.0, label="a"), Value(3.0, label="b")
    assert asked((a - (b - a)) / (a * b) ** 2, lines) == ["L = (a - (b - a)) / (a * b) ** 2"]
    assert asked(-(a**2.0) * -b, lines) == ["L = -a ** 2 * -b"]
    assert asked(samples(), lines) is None


# ---- groups ----------------------------------------------------------------------------------------------------------


def tree_of(root, by):
    return asked(root, f"(t => ({{...t, order: Array.from(t.order)}}))(chainruleGroups.tree(g, '{by}'))")


@pytest.mark.parametrize("by", ["none", "module", "line", "structure"])
def test_every_node_is_in_one_group_and_no_group_shows_too_much(by):
    with show.record():
        root = samples(100)
    tree = tree_of(root, by)
    assert sorted(tree["order"]) == list(range(len(as_written(root))))
    assert sorted(n for group in tree["groups"] for n in group["nodes"]) == sorted(tree["order"])
    if by != "none":
        assert max(len(group["nodes"]) + len(group["children"]) for group in tree["groups"]) <= 50
    slugs = [group["slug"] for group in tree["groups"]]
    assert len(set(slugs)) == len(slugs)
    found_again = "chainruleGroups.find(t, chainruleGroups.shortSlug(t, each.id)) === each.id"
    assert asked(root, f"(t => t.groups.slice(1).every(each => {found_again}))(chainruleGroups.tree(g, '{by}'))")


def test_groups_by_module_follow_the_calls():
    with show.record():
        root = samples(3)
    groups = tree_of(root, "module")["groups"]
    slugs = {group["slug"] for group in groups}
    assert {"mlp", "mlp.layer1", "mlp.layer1.neuron3", "mlp.layer1.neuron3.call2", "mlp.layer2.neuron1.call3"} <= slugs
    neurons = {group["slug"]: group for group in groups}
    assert len(neurons["mlp.layer1.neuron3"]["nodes"]) == 3  # two weights and a bias, which all its calls share
    for slug, short_slug in (("mlp.layer1.neuron3", "neuron3"), ("mlp.layer1.neuron1", "layer1.neuron1")):
        told = f"chainruleGroups.shortSlug(chainruleGroups.tree(g, 'module'), {neurons[slug]['id']})"
        assert asked(root, told) == short_slug


def test_repeated_structure_is_counted_and_named_in_words():
    random.seed(3)
    w = [Value(random.random()) for _ in range(16)]
    xs = [[random.random() for _ in range(16)] for _ in range(100)]
    root = sum(sum(wi * xi for wi, xi in zip(w, x, strict=True)).tanh() for x in xs)
    names = [group["name"] for group in tree_of(root, "structure")["groups"]]
    assert "100 × [tanh(sum of 16 multiples and a constant)]" in names
    assert "16 values" in names
    assert "sum of 101 terms" in names
    values = sum(sum(wi * Value(xi) for wi, xi in zip(w, x, strict=True)).tanh() for x in xs)
    assert "100 × [tanh(sum of 16 products and a constant)]" in [
        group["name"] for group in tree_of(values, "structure")["groups"]
    ]


def test_what_cannot_be_grouped_says_why():
    told = {each["by"]: each["problem"] for each in asked(neuron(), "chainruleGroups.choices(g)")}
    assert told["none"] == told["structure"] == ""
    assert told["module"] == told["line"] == "needs the graph to be built within: with chainrule.show.record():"
    with show.record():
        recorded = neuron()
    told = {each["by"]: each["problem"] for each in asked(recorded, "chainruleGroups.choices(g)")}
    assert (told["line"], told["module"]) == ("", "no module was called in this graph")
    assert asked(samples(100), "chainruleGroups.usual(g)") == "structure"
    assert "are shown all at once up to 1,000" in asked(samples(100), "chainruleGroups.choices(g)")[0]["problem"]


def test_a_long_chain_is_shown_in_parts():
    x = Value(1.0)
    for _ in range(20_000):
        x = -x
    groups = tree_of(x, "structure")["groups"]
    assert max(len(group["nodes"]) + len(group["children"]) for group in groups) <= 50


# ---- moments and addresses -------------------------------------------------------------------------------------------


def test_moments_go_forward_and_then_backward():
    at = "(k => [chainruleTimeline.at(g, t, k).phase, chainruleTimeline.at(g, t, k).node])"
    moments = asked(twice(), f"(t => Array.from({{length: t.total + 1}}, (_, k) => {at}(k)))(chainruleTimeline.of(g))")
    phases = [phase for phase, _ in moments]
    assert phases == ["start", *["forward"] * 3, "seed", *["backward"] * 3]
    assert next(node for phase, node in moments if phase == "backward") == 4


def test_closed_groups_are_one_stop():
    shown = "[Array.from({length: g.count - 1}, (_, n) => n), [g.root]]"  # a group of all but the output, and the output
    stops = asked(samples(5), f"(t => Array.from(chainruleTimeline.stops(g, t, {shown})))(chainruleTimeline.of(g))")
    total = asked(samples(5), "chainruleTimeline.of(g).total")
    seed = asked(samples(5), "chainruleTimeline.of(g).seed")
    assert stops == [0, seed - 2, seed - 1, seed, seed + 1, total]


@pytest.mark.parametrize(
    ("address", "state"),
    [
        ("#step=17&open=layer2&wrong=order&by=module", {"step": 17, "open": ["layer2"], "wrong": "order", "by": "module"}),
        ("#open=a%20b,c.call7&node=3&panel=explain", {"open": ["a b", "c.call7"], "node": 3, "panel": "explain"}),
        ("#step=x&wrong=everything&by=__proto__&open=&panel=<b>&open=%E0%A4%A", {}),
        ("#constructor=1&step=99999999999&node=-1", {}),
        ("", {}),
    ],
)
def test_addresses(address, state):
    pytest.importorskip("py_mini_racer", reason="the scripts run in mini-racer: pip install 'chainrule[show]'")
    assert (
        json.loads(javascript.evaluate(("address.js",), f"JSON.stringify(chainruleAddress.read({json.dumps(address)}))")) == state
    )
    again = f"JSON.stringify(chainruleAddress.read(chainruleAddress.write({json.dumps(state)})))"
    assert json.loads(javascript.evaluate(("address.js",), again)) == state


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: page(lambda x: x), "a function without arguments that returns one: missing a required argument"),
        (lambda: page(Value(1.0) * 2, title=5), "a title is a string, not int 5"),
        (lambda: page(Value(1.0) * 2, 3), "a page is written to a path, not to int 3"),
        (lambda: page(Value(1.0) * 2, "picture.svg"), "a page is HTML"),
    ],
)
def test_what_no_page_can_be_made_of(call, words):
    with pytest.raises(InputError, match=words):
        call()
