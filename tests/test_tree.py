"""The text tree with local derivatives, folds and colours; how it is otherwise is in test_show.py."""

import re

import numpy as np
import pytest
from graphs import neuron, passed
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import Tensor, Value, inputs_first
from chainrule.engine import _slopes
from chainrule.nn import MLP
from chainrule.show import colors, text
from chainrule.show.folding import Folding
from chainrule.tensor import stack


def moons(samples=100, hidden=16):
    model = MLP(2, [hidden, hidden, 1])
    points = [(i / samples, 1 - i / samples) for i in range(samples)]
    return sum((1 - model(list(point))).relu() for point in points) / samples


# ---- local derivatives ----------------------------------------------------------------------------------------------


def test_each_line_has_the_local_derivative_of_the_node_above():
    assert text(passed(neuron()), slopes=True).splitlines() == [
        "o = tanh  data 0.7071  grad 1.0000",
        "└─ n = +  data 0.8814  grad 0.5000  local 0.5000",
        "   ├─ +  data -6.0000  grad 0.5000  local 1.0000",
        "   │  ├─ *  data -6.0000  grad 0.5000  local 1.0000",
        "   │  │  ├─ x1  data 2.0000  grad -1.5000  local -3.0000",
        "   │  │  └─ w1  data -3.0000  grad 1.0000  local 2.0000",
        "   │  └─ *  data 0.0000  grad 0.5000  local 1.0000",
        "   │     ├─ x2  data 0.0000  grad 0.5000  local 1.0000",
        "   │     └─ w2  data 1.0000  grad 0.0000  local 0.0000",
        "   └─ b  data 6.8814  grad 0.5000  local 1.0000",
    ]


def test_each_edge_has_its_own():
    x = Value(3.0, label="x")
    assert text(x - x, slopes=True).splitlines()[1:] == [
        "├─ #1 x  data 3.0000  no backward yet  local 1.0000",
        "└─ #1 x, as above  local -1.0000",
    ]


def test_constants_choices_and_missing_slopes():
    x = Value(0.0, label="x")
    assert text(x.sqrt() * 2, slopes=True).splitlines() == [
        "*  data 0.0000  no backward yet",
        "├─ sqrt  data 0.0000  no backward yet  local 2.0000",
        "│  └─ x  data 0.0000  no backward yet  local undefined",
        "└─ value  data 2.0000  constant",
    ]


def test_tensors_have_numbers_where_they_are_numbers():
    x = Tensor([1.0, 2.0], requires_grad=True, label="x")
    loss = (x.tanh() * 2).sum()
    loss.backward()
    assert text(loss, slopes=True).splitlines() == [
        "sum  data 3.4512  no backward yet",  # a tensor keeps the gradients of its leaves alone
        "└─ *  data 2 float64  no backward yet",
        "   ├─ tanh  data 2 float64  no backward yet  local 2.0000",
        "   │  └─ x  data 2 float64  grad 2 float64  local 2 float64",
        "   └─ value  data 2.0000  constant",
    ]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_every_local_derivative_is_the_engines(data):
    nodes = [Value(float(i + 1), label=f"x{i}") for i in range(3)]
    for _ in range(data.draw(st.integers(1, 12))):
        a, b = (nodes[data.draw(st.integers(0, len(nodes) - 1))] for _ in range(2))
        nodes.append(data.draw(st.sampled_from([a + b, a - b, a / 7, a.tanh(), -a])))
    root = nodes[-1]
    printed = re.findall(r"local (\S+)", text(root, slopes=True, max_nodes=1000, max_depth=1000))
    edges = [slope for node in inputs_first(root) for slope in _slopes(node) if slope is not None]
    assert sorted(printed) == sorted(f"{slope:.4f}" if slope == 0 or abs(slope) >= 5e-5 else f"{slope:.3e}" for slope in edges)


# ---- folds ----------------------------------------------------------------------------------------------------------


def test_a_hundred_samples_are_one_line():
    loss = moons()
    loss.backward()
    tree = text(loss, fold=True, max_depth=40)
    assert "100 × [ReLU(constant - sum of 17)]" in tree or "100 × [ReLU(difference)]" in tree
    assert "16 × [value * ReLU(sum of a value and 16 products)]" in tree
    assert "16 × [value * ReLU(sum of a value and 2 products)]" in tree
    lines = tree.splitlines()
    assert len(lines) < 40
    assert re.fullmatch(r"\.\.\. 6\d,\d{3} more nodes \(max_nodes=100, max_depth=40, fold=True\)", lines[-1])


def test_a_folded_line_has_the_range_of_its_numbers():
    xs = [Value(float(i), label=f"x{i}") for i in range(5)]
    loss = sum(x * x for x in xs)
    loss.backward()
    assert text(loss, fold=True, slopes=True).splitlines() == [
        "sum of 6  data 30.0000  grad 1.0000",
        "├─ value  data 0.0000  constant",
        "└─ 5 × [value * value]  data 0.0000 to 16.0000  grad 1.0000  local 1.0000",
        "   └─ the first: *  data 0.0000  grad 1.0000  local 1.0000",
        "      ├─ #1 x0  data 0.0000  grad 0.0000  local 0.0000",
        "      └─ #1 x0, as above  local 0.0000",
        "... 12 more nodes (max_nodes=100, max_depth=20, fold=True)",
    ]


def test_labelled_members_are_named_by_the_first_and_the_last():
    xs = [Value(float(i), label=f"x{i}") for i in range(20)]
    loss = sum(xs[1:], xs[0])
    assert text(loss, fold=True).splitlines()[1] == "└─ 20 × [value] x0 … x19  data 0.0000 to 19.0000  no backward yet"


def test_folds_in_ascii():
    xs = [Value(float(i), label=f"x{i}") for i in range(20)]
    assert (
        text(sum(xs[1:], xs[0]), fold=True, ascii=True).splitlines()[1].startswith("`- 20 x [value] x0 ... x19  data 0.0000 to")
    )


def test_what_has_a_name_or_another_use_is_not_folded_away():
    a, b, c, d = (Value(float(i), label=n) for i, n in enumerate("abcd"))
    part = a + b
    part.label = "part"
    total = part + c + d
    assert text(total, fold=True).splitlines()[0].startswith("sum of 3")
    assert "part = +" in text(total, fold=True)
    used_twice = a + b
    assert "sum of" not in text((used_twice + c) * used_twice, fold=True)


def test_a_few_alike_stay_as_they_are():
    a, b = Value(1.0, label="a"), Value(2.0, label="b")
    assert text(a * b, fold=True) == text(a * b)
    assert text(passed(neuron()), fold=True).splitlines()[1].strip() == "└─ n = sum of 3  data 0.8814  grad 0.5000"


def test_powers_are_alike_when_their_exponents_are():
    xs = [Value(float(i)) for i in range(1, 4)]
    tree = text(sum(x**2 for x in xs) + sum(x**3 for x in xs), fold=True)
    assert tree.count("3 × [value ** constant]") == 2


def test_tensors_fold_too():
    xs = [Tensor([float(i), 1.0], requires_grad=True) for i in range(4)]
    tree = text(stack([x.tanh() for x in xs]).sum(), fold=True)
    assert "4 × [tanh(value)]  data 2 float64" in tree


def test_long_chains_fold_without_recursion_and_in_linear_time():
    root = Value(0.0)
    for i in range(50_000):
        root = root + Value(float(i)) * 2
    folding = Folding(root)
    assert folding.name(root) == "sum of 50,001"
    assert [len(part.nodes) for part in folding.parts(root)] == [1, 50_000]
    deep = Value(0.5)
    for _ in range(50_000):
        deep = deep.tanh()
    assert text(deep, fold=True).endswith("... 49,980 more nodes (max_nodes=100, max_depth=20, fold=True)")


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_what_is_folded_and_what_is_left_out_is_counted(data):
    nodes = [Value(float(i)) for i in range(3)]
    for _ in range(data.draw(st.integers(1, 30))):
        a, b = (nodes[data.draw(st.integers(0, len(nodes) - 1))] for _ in range(2))
        nodes.append(data.draw(st.sampled_from([a + b, a * b, a.tanh()])))
    lines = text(nodes[-1], fold=True, max_nodes=1000, max_depth=100).splitlines()
    printed = sum("data" in line and " × [" not in line for line in lines)
    total = len(inputs_first(nodes[-1]))
    left_out = int(re.match(r"\.\.\. ([\d,]+) more", lines[-1])[1]) if "more node" in lines[-1] else 0
    assert printed + left_out == total


# ---- colours --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"slopes": True}, {"fold": True}, {"max_nodes": 3}, {"ascii": True}])
def test_colours_change_nothing_but_the_colours(options):
    painted = text(passed(neuron()), color=True, **options)
    assert "\x1b[" in painted
    assert colors.unpainted(painted) == text(passed(neuron()), **options) == text(passed(neuron()), color=False, **options)
    assert painted.count("\x1b[0m") * 2 == painted.count("\x1b[")  # each colour ends


def test_labels_cannot_paint():
    x = Value(1.0, label="\x1b[31mred")
    assert "\\x1b[31mred" in text(x, color=True)


def test_colours_are_for_terminals(monkeypatch):
    class Terminal:
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colors.wanted(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colors.wanted(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not colors.wanted(Terminal())
    assert not colors.wanted(None)


def test_numpy_scalars_are_numbers():
    assert text(Tensor(np.float32(0.5), label="x")) == "x  data 0.5000  constant"
