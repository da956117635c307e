"""The chain rule in words: its steps, their sums and their formulas, against the engine and the table."""

import math
import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import Tensor, Value, gradients, inputs_first, no_grad, register
from chainrule.engine import _slopes, apply
from chainrule.errors import DomainError, GraphError, InputError
from chainrule.nn import MLP
from chainrule.nn import functional as F
from chainrule.ops import ARRAY_TABLE, BUILT_IN, TABLE, FloatMath
from chainrule.origins import record
from chainrule.show import arrays, formulas
from chainrule.show.steps import as_written, names, place, steps, value


def lecture():
    a, b, c, f = (Value(d, label=n) for d, n in ((2.0, "a"), (-3.0, "b"), (10.0, "c"), (-2.0, "f")))
    e = a * b
    e.label = "e"
    d = e + c
    d.label = "d"
    loss = d * f
    loss.label = "L"
    return loss


def lines(root):
    return [line for step in steps(root) for line in step.lines]


# ---- words ----------------------------------------------------------------------------------------------------------


def test_the_lectures_expression():
    assert lines(lecture()) == [
        "dL/dL = 1",
        "dL/dd = dL/dL × dL/dd = 1 × -2 = -2",
        "dL/df = dL/dL × dL/df = 1 × 4 = 4",
        "dL/de = dL/dd × dd/de = -2 × 1 = -2",
        "dL/dc = dL/dd × dd/dc = -2 × 1 = -2",
        "dL/da = dL/de × de/da = -2 × -3 = 6",
        "dL/db = dL/de × de/db = -2 × 2 = -4",
    ]


def test_a_step_has_everything_that_is_known_of_it():
    root = lecture()
    step = steps(root)[3]
    assert (step.number, step.name, step.grad, step.value) == (3, "e", -2.0, "e = a × b = 2 × -3 = -6")
    a, b = step.contributions
    assert (a.slope, a.amount, a.before, a.after, a.uses, a.position) == (-3.0, 6.0, 0.0, 6.0, 1, 0)
    assert (a.formula, a.here, a.running) == ("d (a × b)/da = b", "de/da = b = -3", "")
    assert (b.formula, b.here) == ("d (a × b)/db = a", "de/db = a = 2")
    assert steps(root).of(step.node) == step


def test_the_formula_of_the_table_and_what_it_is_at_the_node():
    n = Value(0.8814, label="n")
    o = n.tanh()
    o.label = "o"
    (c,) = steps(o)[1].contributions
    assert c.formula == "d tanh(x)/dx = 1 - y²"
    assert c.here == "do/dn = 1 - o² = 1 - 0.7071² = 0.5"
    assert c.words == "do/dn = do/do × do/dn = 1 × 0.5 = 0.5"


def test_sums_run_where_a_node_is_used_more_than_once():
    a = Value(1.0, label="a")
    b = a + a
    b.label = "b"
    assert lines(b * b) == [
        "dL/dL = 1",
        "dL/db = dL/dL × dL/db = 1 × 2 = 2",
        "dL/db = dL/dL × dL/db = 1 × 2 = 2",
        "dL/db so far 2, now 2 + 2 = 4",
        "dL/da = dL/db × db/da = 4 × 1 = 4",
        "dL/da = dL/db × db/da = 4 × 1 = 4",
        "dL/da so far 4, now 4 + 4 = 8",
    ]


def test_both_edges_have_their_own_slope_and_sums_have_signs():
    x = Value(3.0, label="x")
    first, second = steps(x - x)[1].contributions
    assert (first.slope, second.slope) == (1.0, -1.0)
    assert (second.before, second.after, second.running) == (1.0, 0.0, "1 + (-1) = 0")


def test_constants_and_choices_get_nothing():
    x, c = Value(3.0, label="x"), Value(1.0, label="c")
    y = apply(TABLE["where"], c, x * 2, 5.0)
    taken = steps(y)
    assert [[e.position for e in step.contributions] for step in taken] == [[], [1], [0]]
    assert c not in taken.uses


def test_what_cannot_be_stepped_through():
    with pytest.raises(InputError, match="give the Value at its output, not float"):
        steps(3.0)
    with pytest.raises(GraphError, match="nothing to differentiate"):
        steps(Value(3.0, requires_grad=False))
    with no_grad(), pytest.raises(GraphError):
        steps(Value(3.0) * 2)
    with pytest.raises(DomainError, match="derivative of sqrt"):
        steps(Value(0.0).sqrt())


def test_steps_are_a_sequence():
    taken = steps(lecture())
    assert len(taken) == 4
    assert [step.number for step in taken] == [0, 1, 2, 3]
    assert taken[-1] == taken[3]
    assert [step.number for step in taken[1:3]] == [1, 2]
    with pytest.raises(IndexError):
        taken[4]


def test_a_leaf_alone_has_one_step():
    taken = steps(Value(3.0, label="x"))
    assert [step.lines for step in taken] == [("dx/dx = 1",)]
    assert taken[0].value == "x = 3"


def test_nothing_of_the_graph_changes():
    root = lecture()
    before = [(node.data, node.has_grad, node.grad, node.label) for node in inputs_first(root)]
    list(steps(root))
    assert [(node.data, node.has_grad, node.grad, node.label) for node in inputs_first(root)] == before


# ---- names ----------------------------------------------------------------------------------------------------------


def test_nodes_are_numbered_as_they_were_written():
    x1, w1, x2, w2, b = (Value(1.0, label=name) for name in ("x1", "w1", "x2", "w2", "b"))
    root = (x1 * w1 + x2 * w2 + b).tanh()
    assert list(names(root).values()) == ["x1", "w1", "v3", "x2", "w2", "v6", "v7", "b", "v9", "L"]
    assert list(names(root)) == as_written(root)


def test_no_two_nodes_have_one_name():
    xs = [Value(1.0, label=label) for label in ("x", "x", "x#2", "v4", "L")]
    root = sum((x.tanh() for x in xs), Value(0.0))
    found = names(root)
    assert len(set(found.values())) == len(found)
    assert [found[x] for x in xs] == ["x", "x#2", "x#2#2", "v4", "L"]
    assert found[root] != "L"


def test_constants_are_called_as_their_number():
    root = Value(3.0, label="x") * 2 + 0.5
    assert list(names(root).values()) == ["x", "2", "v3", "0.5", "L"]
    tensor = Tensor([1.0, 2.0], requires_grad=True, label="x")
    assert "2" in names((tensor * 2).sum()).values()
    assert "e = a × -2" not in lines(Value(1.0, label="a") * -2)


@pytest.mark.parametrize("label", ["\x1b[2J", "two\nlines", "</script>", "🙂", "\ud800", "x" * 10_000, "de/dx", "⟦1⟧", "-3"])
def test_any_label_is_a_name_on_one_line(label):
    x = Value(2.0, label=label)
    for line in [*lines(x * x), steps(x * x)[1].value, steps(x * x)[1].contributions[0].here]:
        assert line.isprintable()
        assert len(line) < 700
        line.encode()


# ---- the engine's numbers -------------------------------------------------------------------------------------------


def drawn_graph(data):
    nodes = [Value(data.draw(st.floats(-2, 2)), label=f"x{i}", requires_grad=i != 1) for i in range(3)]
    for _ in range(data.draw(st.integers(1, 25))):
        op = data.draw(st.sampled_from(BUILT_IN))
        places = [data.draw(st.integers(0, len(nodes) - 1)) for _ in range(op.arity)]
        try:
            y = apply(op, *[nodes[i] for i in places])
            if y.requires_grad:
                gradients(y)
        except DomainError:
            continue
        nodes.append(y)
    return nodes


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_running_sums_end_at_the_engines_gradients(data):
    root = next((node for node in reversed(drawn_graph(data)) if node.op is not None), Value(1.0) * 2)
    taken, last, parts = steps(root), {}, {}
    for step in taken:
        assert same(step.grad, taken.grads[step.node])
        for c in step.contributions:
            assert same(c.before, last.get(c.input, 0.0))
            assert same(c.amount, taken.grads[step.node] * c.slope)
            last[c.input] = c.after
            parts[c.input] = parts.get(c.input, 0) + 1
    assert parts == taken.uses
    for node, gradient in gradients(root).items():
        if node is not root:
            assert same(last[node], gradient)


def same(a, b):
    return a == b or (math.isnan(a) and math.isnan(b))


def test_a_node_passes_its_gradient_on_only_when_it_is_complete():
    xs = [Value(float(i)) for i in range(4)]
    rng = random.Random(3)
    for _ in range(60):
        xs.append(rng.choice(xs) * rng.choice(xs) + rng.choice(xs))
    taken = steps(xs[-1])
    for step in taken:
        for c in step.contributions:
            assert taken.numbers.get(c.input, len(taken)) > step.number


def test_a_large_graph_is_worded_only_where_it_is_asked_for(monkeypatch):
    worded = []
    original = formulas.at_point
    monkeypatch.setattr(formulas, "at_point", lambda *args: worded.append(1) or original(*args))
    x = Value(1.0, label="x")
    root = x
    for _ in range(40_000):
        root = root + x
    taken = steps(root)
    assert len(taken) == 40_001
    assert not worded
    assert taken[40_000].lines[-1] == "dL/dx so far 40000, now 40000 + 1 = 40001"
    assert len(worded) == 2


def test_the_place_is_the_line_and_the_module():
    model = MLP(2, [3, 1])
    with record():
        y = model([1.0, 2.0])
        z = y * 2
    assert re.fullmatch(r"test_steps\.py:\d+, MLP > Layer 2 > Neuron 1", place(y))
    assert re.fullmatch(r"test_steps\.py:\d+", place(z))
    assert steps(z)[1].place == place(z)
    assert place(Value(1.0)) == ""


# ---- formulas -------------------------------------------------------------------------------------------------------

# The formulas are for readers; here they are read back into Python, and compared with the rules they came from.
_READ = [
    (r"\|([^|]*)\|", r"abs(\1)"), ("×", "*"), ("²", "**2"), ("≤", "<="), ("≥", ">="),
    (r" = ", " == "), (r"\bnan\b", "NAN"),
]  # fmt: skip
READERS = {name: getattr(FloatMath, name) for name in ("log", "log1p", "sqrt", "sin", "cos", "tanh", "sigmoid", "exp")}
READERS |= {"max": max, "min": min, "abs": abs, "NAN": math.nan}


def read_back(formula, **numbers):
    for pattern, by in _READ:
        formula = re.sub(pattern, by, formula)
    return eval(formula, {"__builtins__": {}}, {**READERS, **numbers})


@pytest.mark.parametrize("op", BUILT_IN, ids=lambda op: op.name)
def test_the_formulas_say_what_the_rules_compute(op):
    rng = random.Random(op.name)
    for _ in range(20):
        xs = op.sample(rng)
        y = op.forward(FloatMath, *xs)
        called = dict(zip(formulas.inputs(op), xs, strict=True))
        assert read_back(formulas.forward(op), **called) == pytest.approx(y)
        for i, rule in enumerate(op.derivatives):
            if rule is None:
                assert formulas.derivative(op, i) == ""
                continue
            slope = rule(FloatMath, y, *xs)
            for formula in (formulas.derivative(op, i), formulas.derivative_for(op, i, y, xs)):
                _, _, right = formula.partition(" = ")
                assert read_back(right, y=y, **called) == pytest.approx(slope), formula
            in_names, in_numbers = formulas.at_point(op, i, "y", formulas.inputs(op), y, xs)
            assert read_back(in_names, y=y, **called) == pytest.approx(slope), in_names
            assert read_back(in_numbers) == pytest.approx(slope, rel=0.05, abs=0.01), in_numbers
            assert " if " not in in_numbers


def test_numbers_stand_in_parentheses_where_they_must():
    cube = TABLE["pow"]
    assert formulas.at_point(cube, 0, "y", ["x", "3"], -27.0, [-3.0, 3.0]) == ("3 × x**(3 - 1)", "3 × (-3)**(3 - 1)")
    assert formulas.value_at_point(TABLE["sub"], ["a", "b"], [1.0, -2.0]) == ("a - b", "1 - (-2)")
    assert formulas.value_at_point(TABLE["mul"], ["x", "x"], [-2.0, -2.0]) == ("x × x", "-2 × -2")
    assert formulas.value_at_point(TABLE["relu"], ["x"], [-2.0]) == ("relu(x)", "relu(-2)")


def test_a_rule_that_does_not_run_on_text_has_no_formula():
    odd = register(
        "steps_odd",
        lambda m, x: math.fsum([x, x]),
        [lambda m, y, x: 2.0 * float(x) / float(x)],
        [(1.0, 2.0)],
    )
    try:
        root = odd(Value(1.5, label="x"))
        (c,) = steps(root)[1].contributions
        assert c.words == "dL/dx = dL/dL × dL/dx = 1 × 2 = 2"
        assert (c.formula, c.here) == ("", "dL/dx = 2")
        assert value(root, names(root)) == "L = steps_odd(x) = steps_odd(1.5) = 3"
        assert formulas.forward(root.op) == "steps_odd(x)"
    finally:
        del TABLE["steps_odd"]


# ---- arrays ---------------------------------------------------------------------------------------------------------


def tensors():
    rng = np.random.default_rng(0)
    x = Tensor(rng.normal(size=(4, 3)), label="x")
    w = Tensor(rng.normal(size=(3, 2)), requires_grad=True, label="w")
    b = Tensor([0.1, 0.2], requires_grad=True, label="b")
    return x, w, b


def check_sums(root):
    taken, last = steps(root), {}
    for step in taken:
        for c in step.contributions:
            assert c.amount.shape == c.input.shape
            last[c.input] = c.after
            assert c.words.isprintable()
    for node, gradient in gradients(root).items():
        if node is not root:
            np.testing.assert_array_equal(last[node], gradient)
    return taken


def test_the_words_of_a_layer():
    x, w, b = tensors()
    h = (x @ w + b).tanh()
    h.label = "h"
    taken = check_sums((h * h).sum())
    words = {names(taken.root)[c.input]: c for step in taken for c in step.contributions}
    assert words["w"].words.startswith("dL/dw = x.T @ dL/dv3 = [[")
    assert words["w"].formula == "pullback of a @ b by b: a.T @ g"
    assert words["b"].words.startswith("dL/db = sum(dL/dv5 × dv5/db, axis=0) = sum((4x2, norm ")
    assert words["v5"].here == "dh/dv5 = 1 - h² = (4x2, norm 1.8434)" or words["v5"].here.startswith(
        "dh/dv5 = 1 - h² = (4x2, norm"
    )
    assert words["h"].uses == 2
    assert words["h"].running.startswith("(4x2, norm ")


def test_numbers_of_tensors_are_read_off():
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True, label="x")
    taken = check_sums((x**2).sum())
    assert taken[1].lines == ("dL/dv3 = spread(dL/dL, (3,)) = [1, 1, 1]",)
    assert taken[2].lines == ("dL/dx = dL/dv3 × dv3/dx = [1, 1, 1] × [2, 4, 6] = [2, 4, 6]",)
    assert taken[2].contributions[0].here == "dv3/dx = 2 × x**(2 - 1) = [2, 4, 6]"


def uses_of_array_rows():
    rng = np.random.default_rng(1)
    x, w, b = (
        Tensor(rng.normal(size=shape), requires_grad=True, label=name)
        for shape, name in (((4, 3), "x"), ((2, 3), "w"), ((2,), "b"))
    )
    wide = Tensor(rng.normal(size=(5, 4, 3)), requires_grad=True, label="u")
    index = Tensor([0, 2, 2])
    gain, shift = Tensor(np.ones(3), requires_grad=True, label="g"), Tensor(np.zeros(3), requires_grad=True, label="s")
    yield from (x.sum(0), x.mean(1, keepdim=True), x.var(0), x.amax(1), x.amin(), x.logsumexp(1), x.softmax(1), x.log_softmax(1))
    yield from (
        x @ w.T,
        wide @ w.T,
        x.reshape(3, 4),
        wide.permute(2, 0, 1),
        b.expand(4, 2),
        x[1:, [0, 2]],
        x[index],
        x.to("float32"),
    )
    yield from (F.linear(x, w, b), F.linear(wide, w), F.cross_entropy(x, Tensor([0, 1, 2, 0])), F.embedding(index, x))
    yield from (F.batch_norm(x, None, None, gain, shift, training=True),)
    from chainrule.tensor import concatenate, stack

    yield from (concatenate([x, x * 2], 1), stack([b, b + 1, b]))


def test_every_array_row_is_put_in_words():
    met = set()
    for y in uses_of_array_rows():
        taken = check_sums(y.float().sum() if y.dtype != np.float64 else (y * y).sum())
        for step in taken:
            met.add(step.node.op.name)
            for c in step.contributions:
                assert "Term" not in c.words + c.formula
                assert "object at" not in c.words + c.formula
                assert c.formula
    assert met >= set(ARRAY_TABLE) - {"scatter"}


def test_axes_that_broadcasting_repeated():
    x, w, _ = tensors()
    assert arrays.repeated(x * w.sum(1), w.sum(1)) == (0,)
    assert arrays.repeated(x * x.mean(1, keepdim=True), x.mean(1, keepdim=True)) == (1,)
    assert arrays.repeated((x * 2.0), x) == ()


def test_local_derivatives_of_tensors_are_those_of_the_table():
    x = Tensor([0.5, -1.0], requires_grad=True)
    y = x.tanh()
    np.testing.assert_allclose(arrays.slopes(y)[0], 1 - y.numpy() ** 2)
    assert arrays.slopes(x.sum()) == [None]
    assert _slopes(Value(0.5).tanh())[0] == pytest.approx(1 - math.tanh(0.5) ** 2)
