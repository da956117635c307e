"""Explanations of gradients: against every path listed one by one, and against the engine."""

import inspect
import itertools
import math
import random
from collections import defaultdict

import numpy as np
import pytest
from graphs import ROWS, drawn
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import chainrule
from chainrule import Value, gradients, inputs_first, ops
from chainrule.errors import GraphError, InputError
from chainrule.nn import MLP
from chainrule.nn import functional as F
from chainrule.origins import record
from chainrule.show.explain import Explanation, explain
from chainrule.show.flow import Flow, called, factor, opened_sums
from chainrule.show.page import page
from chainrule.tensor import Tensor

BOUNDS = {"labels": ["", "", "p", "q"], "constants": 0.1, "largest": 1e4, "steepest": 1e5}  # of drawn graphs


def every_path(node, root):
    """All paths from the node to the root, each a list of edges (node, position) and the product of its slopes."""
    found = []

    def walk(v, edges, product):
        if v is node:
            found.append((edges, product))
        if v.op is None:
            return
        numbers = [v.data, *(x.data for x in v.inputs)]
        for i, (x, rule) in enumerate(zip(v.inputs, v.op.derivatives, strict=True)):
            if rule is not None and x.requires_grad:
                walk(x, [(v, i), *edges], product * rule(ops.FloatMath, *numbers))

    walk(root, [], 1.0)
    return found


def close(a, b, scale=1.0):
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9 * max(1.0, scale))


def sums_up(e):
    """What is listed and the rest are the gradient, the paths are all of them, and the largest come first."""
    parts = [*e.shares, *([e.others] if e.others else [])]
    total = sum(np.asarray(part.contribution, float) for part in parts)
    scale = max((float(np.abs(part.contribution).max()) for part in parts), default=1.0)
    np.testing.assert_allclose(total, e.gradient, rtol=1e-9, atol=1e-9 * max(1.0, scale))
    assert sum(part.paths for part in parts) == e.paths or not any(part.paths for part in parts)
    if all(part.share is not None for part in parts):
        assert math.isclose(sum(part.share for part in parts), 1.0, rel_tol=1e-7, abs_tol=1e-7 * max(abs(p.share) for p in parts))
        assert [abs(s.share) for s in e.shares] == sorted((abs(s.share) for s in e.shares), reverse=True)
    return e


leaves = st.lists(st.floats(-2, 2, allow_nan=False).map(lambda x: round(x, 2)), min_size=1, max_size=3)
steps = st.lists(st.tuples(st.sampled_from(sorted(ROWS)), st.integers(0, 10**6)), min_size=1, max_size=9)
often = settings(max_examples=150, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))


@often
@given(leaves, steps, st.integers(0, 10**6))
def test_paths_are_those_listed_one_by_one(data, moves, seed):
    values = drawn(data, moves, **BOUNDS)
    root, node = values[-1], random.Random(seed).choice(values)
    assume(node in gradients(root))
    every = every_path(node, root)
    assume(len(every) < 3000)
    largest = sorted((abs(product) for _, product in every), reverse=True)
    for top in (1, 4, 10_000):
        e = sums_up(explain(node, root, top=top))
        assert e.paths == len(every)
        assert len(e.shares) == min(top, len(every))
        for mine, size in zip(e.shares, largest, strict=False):
            assert close(abs(mine.contribution), size, largest[0])
    listed = {tuple(v for v, _ in edges): product for edges, product in every}
    for share in e.shares:
        assert share.nodes[0] is node
        assert share.nodes[-1] is root
        assert all(any(x is a for x in b.inputs) for a, b in itertools.pairwise(share.nodes))
        assert share.nodes[1:] in listed
    assert len({share.nodes for share in e.shares}) <= len(e.shares)


def brute(every, label, skip=()):
    """Contributions and numbers of paths by the first label that counts."""
    found = defaultdict(lambda: [0.0, 0])
    for edges, product in every:
        name = next((n for v, i in edges if (n := label(v, i)) is not None and n not in skip), None)
        found[name][0] += product
        found[name][1] += 1
    return found


@often
@given(leaves, steps, st.integers(0, 10**6))
def test_paths_are_filed_under_the_first_label_they_meet(data, moves, seed):
    values = drawn(data, moves, **BOUNDS)
    rng = random.Random(seed)
    root, node = values[-1], rng.choice(values)
    assume(node in gradients(root))
    every = every_path(node, root)
    assume(len(every) < 3000)
    names = {v: rng.choice([None, None, "one", "two", "three"]) for v in values}
    scale = sum(abs(product) for _, product in every)
    for label, skip in [
        (lambda v, i: names.get(v), ()),
        (lambda v, i: names.get(v), ("one",)),
        (lambda v, i: factor(v, i, but=node), ()),
        (lambda v, i: (names.get(v), i) if i else None, ()),
    ]:
        mine, theirs = Flow(node, root).filed(label, skip), brute(every, label, skip)
        assert set(mine) == set(theirs)
        for name, part in mine.items():
            assert close(part.contribution, theirs[name][0], scale)
            assert part.paths == theirs[name][1]


@often
@given(leaves, steps, st.integers(0, 10**6))
def test_terms_are_where_paths_enter_the_sum_for_the_last_time(data, moves, seed):
    values = drawn(data, moves, **BOUNDS)
    root, node = sum(values) * 0.5 + values[-1], random.Random(seed).choice(values)
    every = every_path(node, root)
    assume(0 < len(every) < 3000)
    opened, _ = opened_sums(root, node)
    theirs = defaultdict(lambda: [0.0, 0])
    for edges, product in every:
        nodes = [node, *(v for v, _ in edges)]
        last = next(v for v in reversed(nodes) if v not in opened)
        theirs[last][0] += product
        theirs[last][1] += 1
    e = sums_up(explain(node, root, by="samples", top=100))
    assert {share.nodes[0]: share.paths for share in e.shares} == {v: count for v, (_, count) in theirs.items()}
    scale = sum(abs(product) for _, product in every)
    assert all(close(share.contribution, theirs[share.nodes[0]][0], scale) for share in e.shares)


@often
@given(leaves, steps, st.integers(0, 10**6))
def test_an_edge_that_is_cut(data, moves, seed):
    values = drawn(data, moves, **BOUNDS)
    rng = random.Random(seed)
    root, node = values[-1], rng.choice(values)
    assume(node in gradients(root))
    every = every_path(node, root)
    assume(len(every) < 3000)
    b = rng.choice([v for v in values if v.op is not None] or [None])
    assume(b is not None)
    a = rng.choice(b.inputs)
    kept = sum(product for edges, product in every if not uses(node, edges, a, b))
    cut = explain(node, root, cut=(a, b)).cut
    scale = sum(abs(product) for _, product in every)
    assert close(cut.after, kept, scale)
    assert close(cut.before - cut.after, cut.difference, scale)
    assert cut.before == gradients(root, node)[node]


def uses(node, edges, a, b):
    return any(v is b and v.inputs[i] is a for v, i in edges)


# ---- what a person sees ----------------------------------------------------------------------------------------------


def moons_loss(samples=6, reg=1e-2):
    random.seed(7)
    model = MLP(2, [3, 2, 1])
    for name, p in model.named_parameters():
        p.label = name
    points = [([random.gauss(0, 1), random.gauss(0, 1)], random.choice([-1, 1])) for _ in range(samples)]
    losses = [(1 - y * model(x)).relu() for x, y in points]
    data = sum(losses) * (1 / samples)
    penalty = reg * sum(p * p for p in model.parameters())
    data.label, penalty.label = "data_loss", "reg_loss"
    total = data + penalty
    total.label = "total"
    return model, losses, data, penalty, total


def test_samples_are_the_terms_of_the_loss():
    model, losses, _, _, total = moons_loss()
    w = model.parameters()[0]
    e = sums_up(explain(w, total, by="samples", top=50))
    for share in e.shares:
        (term,) = share.nodes
        if any(term is loss for loss in losses):
            i = next(i for i, loss in enumerate(losses) if loss is term)
            assert share.name == f"term {i + 1} of 6 of data_loss"
            assert close(share.contribution, gradients(term, w)[w] / 6)
        else:
            assert share.name.startswith("term ")
            assert share.name.endswith(" of reg_loss")
            assert close(share.contribution, 1e-2 * 2 * w.data)
    assert len(e.shares) == sum(gradients(loss, w)[w] != 0 or w in gradients(loss) for loss in losses) + 1


def test_given_nodes_are_data_and_regulariser():
    model, _, data, penalty, total = moons_loss()
    w = model.parameters()[0]
    e = sums_up(explain(w, total, by={"data": data, "weights": penalty}))
    found = {share.name: share.contribution for share in e.shares}
    assert close(found["data"], gradients(data, w)[w])
    assert close(found["weights"], gradients(penalty, w)[w])
    assert {s.name for s in explain(w, total, by=[data]).shares} == {"data_loss", "not through any of them"}
    assert {s.name for s in explain(w, total, by=data).shares} == {"data_loss", "not through any of them"}
    assert explain(w, total, by=[total]).shares[0].share == 1.0
    several = explain(w, total, by={"both": [data, penalty]})
    assert [(s.name, s.share) for s in several.shares] == [("both", pytest.approx(1.0))]
    unnamed = Value(2.0) * w
    assert explain(w, unnamed * 2, by=[unnamed]).shares[0].name == "* #1"


def test_a_sum_inside_of_a_function():
    w = Value(0.5, label="w")
    losses = [(w * x) ** 2 for x in (1.0, 2.0, 3.0)]
    root = (sum(losses) / 3).sqrt().log()
    e = sums_up(explain(w, root, by="samples"))
    assert [s.name for s in e.shares] == ["term 3 of 3", "term 2 of 3", "term 1 of 3"]
    assert [round(s.share, 6) for s in e.shares] == [round(x / 14, 6) for x in (9, 4, 1)]
    assert explain(w, w.exp(), by="samples").shares[0].name == "exp"


def test_a_parameter_of_zero_is_a_parameter():
    x, zero, w = Value(2.0, label="x"), Value(0.0, label="zero"), Value(3.0, label="w")
    e = sums_up(explain(x, x * zero + x * w + x, by="parameters"))
    assert {s.name: s.contribution for s in e.shares} == {"zero": 0.0, "w": 3.0, "not through any of them": 1.0}


def test_a_bias_that_is_only_added_is_no_factor():
    x, w, b = Value(2.0, label="x"), Value(3.0, label="w"), Value(1.0, label="b")
    assert factor((x + b), 0) is None
    assert factor((x * w), 0) is w
    assert factor((x * w), 1) is x
    assert factor(x * w, 1, but=x) is None
    assert factor(x / b, 0) is b
    square = x * x
    assert factor(square, 0) is x
    assert factor(square, 0, but=x) is None
    X, W, B = (Tensor(np.ones(shape), requires_grad=True) for shape in [(2, 3), (4, 3), (4,)])
    assert factor(F.linear(X, W, B), 0) is W
    assert factor(chainrule.tensor.concatenate([X, W]), 0) is None


def test_lines_and_modules():
    with record():
        model, _, _, penalty, total = moons_loss()
    here = inspect.getsourcelines(moons_loss)
    line = {text.strip(): here[1] + i for i, text in enumerate(here[0])}
    w = model.layers[0].neurons[1].w[0]
    e = sums_up(explain(w, total, by="lines"))
    places = {share.nodes[0].origin.line for share in e.shares}
    assert places == {
        line["losses = [(1 - y * model(x)).relu() for x, y in points]"],
        line["penalty = reg * sum(p * p for p in model.parameters())"],
    }
    assert all(share.name.startswith("test_explain.py:") for share in e.shares)
    shares = {share.name: share.contribution for share in e.shares}
    assert any(close(x, gradients(penalty, w)[w]) for x in shares.values())
    e = sums_up(explain(w, total, by="modules"))  # its own neuron tells nothing; those of the next layer do
    names = {share.name for share in e.shares}
    assert names == {"MLP > Layer 2 > Neuron 1", "MLP > Layer 2 > Neuron 2", "not through any of them"}
    path = next(s.name for s in explain(w, total, top=100).shares if "data_loss" in s.name)
    assert path.startswith("layers.0.neurons.1.w.0 -> Layer 1 > Neuron 2 (call ")
    assert path.count("(call ") == 1
    assert " -> Layer 2 > Neuron " in path
    assert path.endswith(" -> data_loss -> total")
    x = Value(1.0)
    with record():
        y = x * 2
        z = y + 1
    assert [s.name for s in explain(x, z, by="lines").shares] == [f"test_explain.py:{z.origin.line}"]


def test_without_origins():
    x = Value(1.0)
    with pytest.raises(GraphError, match=r"no source lines.*with chainrule.show.record\(\)"):
        explain(x, x * 2, by="lines")
    with record():
        y = x * 2
    with pytest.raises(GraphError, match="no modules"):
        explain(x, y, by="modules")
    assert explain(x, y * 3, by="lines").shares[0].name == f"test_explain.py:{y.origin.line}"


def test_the_table():
    a, b = Value(2.0, label="a"), Value(-3.0, label="b")
    loss = a * b + a**2
    loss.label = "loss"
    e = explain(a, loss, top=1, cut=(a, loss.inputs[0]))
    assert (
        str(e)
        == repr(e)
        == (
            "dloss/da = 1.0000, the sum over 2 paths\n"
            "     share  contribution  path\n"
            " +400.00 %        4.0000  a -> ** -> loss\n"
            " -300.00 %       -3.0000  1 other\n"
            "without the edge: 1.0000 would be 4.0000 (-3.0000 flows over it)"
        )
    )
    assert isinstance(e, Explanation)
    assert e.by == "paths"
    assert e.node is a
    assert e.root is loss


def test_long_paths_and_hostile_names_stay_on_their_line():
    x = Value(1.0, label="x\n</script>\x1b[31m" + "a" * 1000)
    y = x
    for _ in range(500):
        y = (y + 1).tanh()
    text = str(explain(x, y))
    assert len(text.splitlines()) == 3
    assert max(map(len, text.splitlines())) < 300
    assert "\x1b" not in text
    assert "(991 more)" in text
    total = Value(0.0)
    for _ in range(100):
        total = total + 1
    assert "+ x100" in str(explain(next(n for n in inputs_first(total) if n.op is None and n.requires_grad), total))


def test_a_gradient_of_zero_has_no_shares():
    x = Value(2.0, label="x")
    e = explain(x, x * 3 - 3 * x)
    assert e.gradient == 0
    assert [s.share for s in e.shares] == [None, None]
    assert sorted(s.contribution for s in e.shares) == [-3.0, 3.0]
    assert "%" not in str(e)


def test_the_root_itself():
    x = Value(2.0, label="x")
    e = sums_up(explain(x, x))
    assert (e.gradient, e.paths, e.shares[0].nodes) == (1.0, 1, (x,))
    for by in ("samples", "parameters"):
        assert explain(x, x, by=by).shares[0].share == 1.0


def test_the_leaves_of_a_loss():
    model, _, _, _, total = moons_loss()
    e = explain(total, top=5)
    grads = gradients(total)
    squares = {x: grads[x] ** 2 for x in model.parameters()}
    assert e.gradient == pytest.approx(sum(squares.values()))
    assert e.node is None
    assert e.by == "parameters"
    assert e.shares[0].nodes[0] is max(squares, key=squares.get)
    assert sum(s.share for s in e.shares) + e.others.share == pytest.approx(1.0)
    assert all(s.contribution == grads[s.nodes[0]] for s in e.shares)
    assert str(e).splitlines()[0].startswith("what makes total move: a small step down the gradient takes lr × ")
    before, lr = total.data, 1e-6
    assert e.gradient * lr == pytest.approx(lr * sum(squares.values()))
    assert before == total.data
    W = Tensor(np.ones((2, 2)), requires_grad=True, label="W")
    b = Tensor(np.ones(2), requires_grad=True, label="b")
    e = explain((W * 2 + b).sum())
    assert [(s.name, s.share) for s in e.shares] == [("W", 16 / 24), ("b", 8 / 24)]
    assert "|4.0000|" in str(e)


# ---- tensors ---------------------------------------------------------------------------------------------------------


def network(n=5):
    rng = np.random.default_rng(1)
    X, y = Tensor(rng.normal(size=(n, 3)), label="X"), rng.integers(0, 3, n)
    W1 = Tensor(rng.normal(size=(3, 4)), requires_grad=True, label="W1")
    W2 = Tensor(rng.normal(size=(4, 3)), requires_grad=True, label="W2")
    h = X @ W1
    h.label = "h"
    d = h - h.mean(0, keepdim=True)
    normal = d * ((d * d).mean(0, keepdim=True) + 1e-5) ** -0.5
    logits = normal.tanh() @ W2
    logits.label = "logits"
    data = F.cross_entropy(logits, y)
    data.label = "data"
    reg = 0.1 * (W1 * W1).sum()
    reg.label = "reg"
    return W1, W2, h, logits, data, reg, data + reg, y


def test_roads_of_tensors():
    W1, _, h, _, data, _, total, _ = network()
    for node in (W1, h):
        for top in (1, 2, 5, 100):
            e = sums_up(explain(node, total, top=top))
            assert len(e.shares) <= top
            assert e.others is None
            np.testing.assert_allclose(e.gradient, gradients(total)[node])
            assert all(np.shape(s.contribution) == node.shape for s in e.shares)
    e = explain(h, data, top=100)
    assert e.paths == len(e.shares) == 6  # d: straight and through the mean; each: straight, and twice into d * d
    assert all(s.nodes[-1] is data and s.paths == 1 for s in e.shares)
    assert explain(h, data, top=2).shares[0].name.endswith(" paths)")
    assert "|" in str(e)


def test_roads_are_the_paths_of_numbers():
    x, t = Value(0.7), Tensor(0.7, requires_grad=True)

    def f(x):
        y = x * x
        return (y.tanh() + x * y) * (x + y)

    values, tensors = explain(x, f(x), top=100), explain(t, f(t), top=100)
    assert values.paths == tensors.paths
    np.testing.assert_allclose(
        sorted(s.contribution for s in values.shares), sorted(float(s.contribution) for s in tensors.shares), rtol=1e-12
    )


def test_rows_of_a_batch():
    W1, W2, _, _, data, _, total, y = network()
    logits = data.inputs[0]
    for node in (W1, W2):
        e = sums_up(explain(node, data, by="samples", top=3))
        whole = sums_up(explain(node, data, by="samples", top=50))
        assert [s.name for s in e.shares] == [s.name for s in whole.shares[:3]]
        assert e.others.name == "2 others"
        for share in whole.shares:
            row = int(share.name.split()[1])
            assert share.name == f"row {row} of logits"
            alone = F.cross_entropy(logits, y, reduction="none")[row] / 5
            np.testing.assert_allclose(share.contribution, gradients(alone)[node], rtol=1e-9, atol=1e-12)
    e = sums_up(explain(W1, total, by="samples", top=50))
    assert {s.name.split(" of ")[1] for s in e.shares} == {"logits", "*"}  # the rows of W1 * W1 are the regulariser's


def test_rows_where_the_node_itself_is_reduced():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True, label="x")
    e = sums_up(explain(x, (x * x).sum() + 5 * x.sum(), by="samples"))
    assert {s.name for s in e.shares} == {"row 0 of *", "row 1 of *", "row 0 of x", "row 1 of x"}
    scale = Tensor(2.0, requires_grad=True, label="scale")
    e = sums_up(explain(scale, (scale * Tensor([1.0, 2.0])).sum(), by="samples"))
    assert [(s.name, round(s.share, 4)) for s in e.shares] == [("row 1 of *", 0.6667), ("row 0 of *", 0.3333)]
    e = explain(scale, scale * scale, by="samples")
    assert e.shares[0].name == "scale"
    assert e.shares[0].share == 1.0


def test_labels_of_tensors():
    W1, _, h, _, data, reg, total, _ = network()
    e = sums_up(explain(W1, total, by={"data": data, "reg": reg}))
    found = {s.name: s.contribution for s in e.shares}
    np.testing.assert_allclose(found["data"], gradients(data)[W1])
    np.testing.assert_allclose(found["reg"], gradients(reg)[W1])
    e = sums_up(explain(h, total, by="parameters"))
    assert [s.name for s in e.shares] == ["W2"]
    with record():
        W1, _, h, _, data, reg, total, _ = network()
    e = sums_up(explain(W1, total, by="lines"))
    assert len(e.shares) == 2
    cut = explain(W1, total, cut=(reg, total)).cut
    np.testing.assert_allclose(cut.after, gradients(data)[W1], atol=1e-12)
    a, b = Tensor(2.0, requires_grad=True), Tensor(3.0, requires_grad=True)
    y = a * b
    assert float(explain(a, y * 2 + a, cut=(b, y)).cut.difference) == 0.0


def test_no_node_is_changed():
    W1, *_, total, _ = network()
    total.backward()
    before = [(np.array(v.data), None if v.grad is None else v.grad.copy()) for v in inputs_first(total)]
    for by in ("paths", "samples", "parameters"):
        explain(W1, total, by=by)
    for (data, grad), v in zip(before, inputs_first(total), strict=True):
        assert (data == v.data).all()
        assert (grad is None) == (v.grad is None)
        assert grad is None or (grad == v.grad).all()


# ---- trouble ---------------------------------------------------------------------------------------------------------


def test_where_an_infinity_comes_in():
    x, big = Value(1e-200, label="x"), Value(1e200, label="big")
    with record():
        y = x * big
        loss = (y * big).exp() + x
    e = explain(x, loss)
    assert e.shares == ()
    assert not math.isfinite(e.gradient)
    assert e.edge is not None
    assert e.trouble in str(e)
    assert "test_explain.py:" in e.trouble
    assert "inf" in e.trouble
    t = Tensor([1.0, 0.0, 2.0], requires_grad=True, label="t")
    with np.errstate(divide="ignore"):
        e = explain(t, t.log().sum())
    assert str(e).splitlines()[1] == "it comes in on the edge t -> log: element [1] of it is inf"


def test_a_number_that_was_wrong_before():
    x = Value(0.5, label="x")
    y = x * math.inf
    e = explain(x, (y - y) * x)
    assert "the forward pass has a number that is not finite" in e.trouble


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda x, y: explain(3, y), InputError, "only a graph can be shown"),
        (lambda x, y: explain(x, 3), InputError, "only a graph can be shown"),
        (lambda x, y: explain(x, y, by="path"), InputError, "unknown by 'path'.*did you mean 'paths'"),
        (lambda x, y: explain(x, y, by=7), InputError, "by is one of the words.*not 7"),
        (lambda x, y: explain(x, y, by=[]), InputError, "by is one of the words"),
        (lambda x, y: explain(x, y, by=[x]), InputError, "x is a leaf, which no path goes through"),
        (lambda x, y: explain(x, y, by=[3]), InputError, "only a graph can be shown"),
        (lambda x, y: explain(x, y, top=0), InputError, "top must be a whole number from 1 up, not 0"),
        (lambda x, y: explain(x, y, top=2.5), InputError, "top must be"),
        (lambda x, y: explain(y, by="paths"), InputError, "needs the root too: a node does not know"),
        (lambda x, y: explain(y, x), GraphError, r"x does not depend on \*"),
        (
            lambda x, y: explain(Value(1.0, label="c", requires_grad=False), y),
            GraphError,
            "c is a constant, which has no gradient",
        ),
        (lambda x, y: explain(x, Value(1.0, requires_grad=False)), GraphError, "nothing to differentiate"),
        (lambda x, y: explain(x, y, cut=x), InputError, "cut is an edge"),
        (lambda x, y: explain(x, y, cut=(x, 3)), InputError, "cut is an edge"),
        (lambda x, y: explain(x, y, cut=(y, x)), InputError, r"no edge to cut: \* is no input of x"),
        (lambda x, y: explain(Tensor([1.0], requires_grad=True), y), GraphError, "does not depend on tensor"),
        (lambda x, y: explain(t := Tensor([1.0, 2.0], requires_grad=True), t * 2), InputError, r"shape \(2,\)"),
    ],
)
def test_one_sentence_for_what_cannot_be_explained(make, error, words):
    x = Value(2.0, label="x")
    with pytest.raises(error, match=words) as caught:
        make(x, x * 2)
    assert "\n" not in str(caught.value)


def test_squares_of_gradients_may_overflow():
    a, b = Value(1.0, label="a"), Value(1.0, label="b")
    for scale in (1.2e154, 1e200, 1e-200):
        e = explain(a * scale + b * (3 * scale))
        assert [s.share for s in e.shares] == pytest.approx([0.9, 0.1])
        page(a * scale + b * scale)
    assert "takes lr × less than 4.9e-324 off it" in str(e)
    assert "takes lr × more than 1.8e308 off it" in str(explain(a * 1e200 + b))
    wrong = explain(a * math.inf + b * 1e200)
    assert [s.share for s in wrong.shares] == [None, None]
    assert wrong.gradient == math.inf
    assert explain(a * 1e150 + b * math.nan).shares[0].share is None
    W = Tensor(np.ones((2, 2), np.float32), requires_grad=True, label="W")
    for root in ((W * np.float32(1e30)).sum(), (W * np.float32(1e30) * np.float32(2.0)).sum()):
        assert explain(root).shares[0].share == 1.0
        for by in ("paths", "samples", "parameters"):
            assert sum(s.share for s in explain(W, root, by=by).shares) == pytest.approx(1.0)


def test_products_from_the_leaf_may_overflow_where_the_gradient_is_finite():
    for up, down in ((1e200, 1e-300), (1e-200, 1e200)):
        x = Value(1.0 / up, label="x")
        h = x * up
        h2 = h * up
        y = h2 * down + h2 * down
        for by in ("paths", "samples", "parameters", "nodes"):
            e = explain(x, y, by=[h2] if by == "nodes" else by, cut=(h, h2))
            assert math.fsum(s.share for s in e.shares) == pytest.approx(1.0)
            assert math.fsum(s.contribution for s in e.shares) == pytest.approx(2 * up * up * down if up < 1 else 2e100)
            assert e.cut.difference == pytest.approx(e.gradient)
            assert "inf" not in str(e)


def test_parts_beyond_the_floats_are_told_in_a_sentence():
    x = Value(1e-200, label="x")
    h = x * 1e200
    y, z = h * 1e200, h * 1e200
    for by in ("paths", [y, z]):
        e = explain(x, y - z + x, by=by, cut=(h, y))
        assert (e.gradient, e.shares) == (1.0, ())
        assert "beyond the largest float" in str(e)
        assert "what flows over the edge is larger than any float" in str(e)
        assert "inf" not in str(e)


def test_the_page_stands_without_its_explanations(monkeypatch):
    def fail(*args, **options):
        raise ZeroDivisionError("no luck")

    def refuse(*args, **options):
        raise GraphError("not today")

    monkeypatch.setattr("chainrule.show.asides.explain", fail)
    monkeypatch.setattr("chainrule.show.asides.backward_code", refuse)
    made = page(Value(2.0) * 3).html
    assert "no luck" in made
    assert "not today" in made


def test_nodes_of_one_name_are_kept_apart():
    x = Value(2.0, label="x")
    h1, h2 = x * 3, x * 4
    h1.label = h2.label = "h"
    e = sums_up(explain(x, h1 + h2, by=[h1, h2]))
    assert [(s.name, s.contribution) for s in e.shares] == [("h #2", 4.0), ("h", 3.0)]
    e = explain(x, h1 + h2, by={"k" * 60 + "1": h1, "k" * 60 + "2": h2})
    assert [s.name for s in e.shares] == ["k" * 60 + "… #2", "k" * 60 + "…"]
    assert [s.name for s in explain(x, h1 + h2, by=[h1, h1]).shares] == ["not through any of them", "h"]


def test_names_of_nodes():
    assert called(Value(0.25)) == "value 0.25"
    assert called(Tensor(np.ones((2, 3)))) == "tensor (2, 3)"


# ---- size ------------------------------------------------------------------------------------------------------------


def test_the_number_of_paths_is_exact_however_large():
    x = Value(1.0)
    y = x
    for _ in range(400):
        y = y + y
    e = explain(x, y, top=3)
    assert e.paths == 2**400
    assert e.gradient == 2.0**400
    assert e.others.paths == 2**400 - 3
    assert "about 10^120 others" in str(e)
    assert explain(x, y, by=[y.inputs[0]]).shares[0].paths == 2**400


@pytest.mark.parametrize("by", ["paths", "parameters", "samples"])
def test_work_grows_with_the_edges_and_not_with_the_paths(by):
    calls = [0]

    def slope(m, y, x):
        calls[0] += 1
        return 0.5

    half = chainrule.register("explain_half", lambda m, x: 0.5 * x, [slope], [(-1, 1)], replace=True)
    counted = []
    for length in (100, 200, 400):
        x = Value(0.5)
        y = x
        for _ in range(length):
            y = half(y) + half(y)
        calls[0] = 0
        assert explain(x, y, by=by).paths == 2**length
        counted.append(calls[0])
    assert counted[2] - counted[1] == 2 * (counted[1] - counted[0])


def test_a_graph_of_many_nodes():
    w = Value(0.5, label="w")
    losses = [(w * (i % 7) - 1).tanh() for i in range(40_000)]
    total = sum(losses) / 40_000
    assert len(inputs_first(total)) > 200_000
    e = sums_up(explain(w, total, by="samples", top=3))
    assert e.paths == 40_000
    assert e.others.name == "39,997 others"
    e = sums_up(explain(w, total, top=3))
    assert e.shares[0].contribution == pytest.approx(max(abs(i * (1 - math.tanh(0.5 * i - 1) ** 2)) for i in range(7)) / 40_000)
