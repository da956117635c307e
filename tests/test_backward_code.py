"""The backward pass written out: executed, in every language, it gives the engine's gradients."""

import ast
import keyword
import math
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from graphs import ROWS, drawn, neuron
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import chainrule
from chainrule import Value, gradients, inputs_first, no_grad, ops, tensor
from chainrule.errors import GraphError, InputError, OperationError
from chainrule.nn import MLP
from chainrule.nn import functional as F
from chainrule.show.backward_code import BackwardCode, backward_code
from chainrule.show.languages import apart, is_range
from chainrule.tensor import Tensor, concatenate, stack

torch = pytest.importorskip("torch", reason="one of the languages is PyTorch: pip install 'chainrule[dev]'")

BY_HAND = Path(__file__).parent.parent / "examples" / "by_hand"
with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, "path", [str(BY_HAND), *sys.path])
    import network

OF_VALUES, OF_TENSORS = ("python", "numpy", "torch"), ("numpy", "torch")


def run(root, style, **options):
    """The names that the program leaves behind."""
    code = backward_code(root, style, **options)
    as_input = torch.tensor if style == "torch" else lambda x: x
    names = {name: as_input(x) for name, x in code.inputs.items()}
    exec(compile(code, "backward code", "exec"), names)
    return code, names


def agree(root, *styles, rtol=1e-9, atol=1e-12):
    """Every gradient that has a name is the engine's, and leaves and labels all have one."""
    true = gradients(root)
    for style in styles or (OF_VALUES if isinstance(root, Value) else OF_TENSORS):
        code, names = run(root, style)
        compared = 0
        for node, g in true.items():
            name = code.names.get(node)
            if name is None or "d" + name not in names:
                assert node.op is not None, (style, node, str(code))
                assert not node.label, (style, node, str(code))
                continue
            mine = names["d" + name]
            np.testing.assert_allclose(np.asarray(mine), g, rtol, atol, err_msg=f"{style}: d{name}\n{code}")
            assert np.shape(mine) == np.shape(g), f"{style}: d{name}\n{code}"
            if name in names:
                np.testing.assert_allclose(np.asarray(names[name]), node.data, rtol, atol, err_msg=f"{style}: {name}\n{code}")
            compared += 1
        assert compared >= sum(node.op is None for node in true)
        balanced(backward_code(root, "latex"))


def balanced(text):
    """Braces, and \\left with \\right, pair up."""
    depth = 0
    for sign in text.replace(r"\{", "").replace(r"\}", ""):
        depth += (sign == "{") - (sign == "}")
        assert depth >= 0, text
    assert depth == 0, text
    assert text.count(r"\left") == text.count(r"\right"), text
    assert text.count(r"\begin") == text.count(r"\end")


# ---- the lecture -----------------------------------------------------------------------------------------------------


def demo():
    """The expression of micrograd's README."""
    a, b = Value(-4.0, label="a"), Value(2.0, label="b")
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    g.label = "g"
    return g


def test_the_neuron_of_the_lecture():
    assert backward_code(neuron()) == (
        "import math\n\n# forward\nx1 = 2.0\nw1 = -3.0\nx2 = 0.0\nw2 = 1.0\nb = 6.881373587019543\n"
        "n = x1 * w1 + x2 * w2 + b\no = math.tanh(n)\n\n"
        "# backward\ndo = 1.0\ndn = (1 - o**2) * do\ndb = dn\ndx1 = w1 * dn\ndw1 = x1 * dn\ndx2 = w2 * dn\ndw2 = x2 * dn\n"
    )
    agree(neuron())


def test_the_numbers_of_micrograds_readme():
    agree(demo())
    code, names = run(demo(), "python")
    assert (round(names["g"], 4), round(names["da"], 4), round(names["db"], 4)) == (24.7041, 138.8338, 645.5773)
    assert "import" not in code


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_an_mlp_on_a_few_samples(activation):
    random.seed(3)
    model = MLP(2, [3, 2, 1], activation=activation)
    losses = [(model([x, y]) - z) ** 2 for x, y, z in [(0.5, -1.0, 1.0), (2.0, 0.3, -1.0), (-0.7, 0.1, 0.5)]]
    agree(sum(losses) / 3 + 1e-3 * sum(p * p for p in model.parameters()))
    for name, p in model.named_parameters():
        p.label = name
    agree(sum(losses) / 3)
    assert "dlayers_0_neurons_1_w_0 += " in backward_code(sum(losses))


def test_the_names_network():
    p, X, Y = network.batch(n=8, hidden=6, embedding=4)
    loss = network.on_tensors(p, X, Y).loss
    agree(loss)
    code = backward_code(loss, "numpy")
    for line in (
        "dlogprobs[np.arange(8), index_2] = -dloss / 8",
        "dnorm_logits = counts * dcounts  # (8, 27)",
        "dlogits = dnorm_logits.copy()  # (8, 27)",
        "dh = dlogits @ W2.T  # (8, 6)",
        "dW2 = h.T @ dlogits  # (6, 27)",
        "dhpreact = (1 - h**2) * dh  # (8, 6)",
        "dbnbias = dhpreact.sum(0, keepdims=True)  # (1, 6)",
        "dbnvar = -0.5 * (bnvar + 1e-5)**-1.5 * dbnvar_inv  # (1, 6)",
        "dbndiff2 = np.ones_like(bndiff2) * dbnvar / 7  # (8, 6)",
        "np.add.at(dC, index, demb)",
    ):
        assert line in code.splitlines(), line
    assert "dC.index_put_((index,), demb, accumulate=True)" in backward_code(loss, "torch")


def test_the_same_network_in_fused_rows():
    p, X, Y = network.batch(n=8, hidden=6, embedding=4)
    t = {name: Tensor(x, requires_grad=True, label=name) for name, x in p.items()}
    z = F.linear(F.embedding(X, t["C"]).reshape(8, -1), t["W1"].T, t["b1"])
    h = F.batch_norm(z, None, None, t["bngain"].reshape(6), t["bnbias"].reshape(6), training=True).tanh()
    logits = F.linear(h, t["W2"].T, t["b2"])
    logits.label = "logits"
    loss = F.cross_entropy(logits, Y)
    agree(loss)
    assert "dlogits = (softmax(logits, 1) - np.eye(27)[labels]) * dL / 8  # (8, 27)" in backward_code(loss, "numpy")


# ---- every row -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ops.BUILT_IN, ids=lambda op: op.name)
def test_every_elementwise_row_on_numbers(op):
    rng = random.Random(op.name)
    for _ in range(5):
        xs = [Value(x, label=name) for x, name in zip(op.sample(rng), "abc", strict=False)]
        agree(chainrule.engine.apply(op, *xs) * 3)
        for i in range(op.arity):  # one of them a constant
            mixed = [x.data if k == i else x for k, x in enumerate(xs)]
            y = chainrule.engine.apply(op, *mixed) * 3
            if y.requires_grad and len(gradients(y)) > 2:
                agree(y)
        if op.arity == 2:
            agree(chainrule.engine.apply(op, xs[0], xs[0]) + xs[0])


@pytest.mark.parametrize("op", ops.BUILT_IN, ids=lambda op: op.name)
@pytest.mark.parametrize("shapes", [((2, 3), (2, 3), (2, 3)), ((2, 1), (3,), (4, 1, 3)), ((), (2,), (1, 2))])
def test_every_elementwise_row_on_arrays(op, shapes):
    rng = random.Random(op.name)
    xs = []
    for i, (shape, name) in enumerate(zip(shapes[: op.arity], "abc", strict=False)):
        array = np.array([op.sample(rng)[i] for _ in range(math.prod(shape))]).reshape(shape)
        xs.append(Tensor(array, requires_grad=True, label=name))
    y = tensor.apply(op, *xs)
    agree((y * Tensor(np.arange(float(y.numel())).reshape(y.shape))).sum())


def draw(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape)


CASES = {
    "matmul": (lambda a, b: a @ b, [(3, 4), (4, 2)]),
    "matmul_vector_right": (lambda a, b: a @ b, [(3, 4), (4,)]),
    "matmul_vector_left": (lambda a, b: a @ b, [(4,), (4, 2)]),
    "matmul_dot": (lambda a, b: a @ b, [(4,), (4,)]),
    "matmul_batched": (lambda a, b: a @ b, [(5, 3, 4), (5, 4, 2)]),
    "matmul_broadcast": (lambda a, b: a @ b, [(5, 1, 3, 4), (2, 4, 2)]),
    "sum": (lambda x: x.sum(), [(3, 4)]),
    "sum_axis": (lambda x: x.sum(1), [(3, 4)]),
    "sum_keepdim": (lambda x: x.sum(0, keepdim=True) * x, [(3, 4)]),
    "sum_axes": (lambda x: x.sum((0, -1)), [(3, 4, 2)]),
    "sum_of_one": (lambda x: x.sum(), [(1, 1)]),
    "mean": (lambda x: x.mean(), [(3, 4)]),
    "mean_axis": (lambda x: x.mean(0, keepdim=True) * x, [(3, 4)]),
    "var": (lambda x: x.var(0), [(5, 3)]),
    "var_keepdim": (lambda x: x.var(1, keepdim=True) * x, [(5, 3)]),
    "var_biased": (lambda x: x.var(0, unbiased=False), [(5, 3)]),
    "std": (lambda x: x.std(0), [(5, 3)]),
    "amax": (lambda x: x.amax(1), [(3, 4)]),
    "amax_all": (lambda x: x.max() * x, [(3, 4)]),
    "amin_keepdim": (lambda x: x.amin(0, keepdim=True) * x, [(3, 4)]),
    "max_dim": (lambda x: x.max(1)[0], [(3, 4)]),
    "max_dim_keepdim": (lambda x: x - x.max(1, keepdim=True)[0], [(3, 4)]),
    "logsumexp": (lambda x: x.logsumexp(1), [(3, 4)]),
    "logsumexp_keepdim": (lambda x: x.logsumexp((0, 1), keepdim=True) * x, [(3, 4)]),
    "softmax": (lambda x: x.softmax(1), [(3, 4)]),
    "softmax_first": (lambda x: x.softmax(0) * x, [(3, 4)]),
    "log_softmax": (lambda x: x.log_softmax(-1), [(2, 3, 4)]),
    "reshape": (lambda x: x.reshape(4, 3) * 2, [(3, 4)]),
    "reshape_to_nothing": (lambda x: x.reshape(()) * 2, [(1, 1)]),
    "reshape_from_nothing": (lambda x: x.reshape(1, 1) * 2, [()]),
    "transpose": (lambda x: x.transpose(0, 2), [(3, 4, 2)]),
    "transpose_T": (lambda x: x.T @ x, [(3, 4)]),
    "permute": (lambda x: x.permute(2, 0, 1), [(3, 4, 2)]),
    "broadcast_to": (lambda x: x.expand(4, -1), [(1, 3)]),
    "getitem_slice": (lambda x: x[1:, ::2], [(3, 4)]),
    "getitem_integer": (lambda x: x[-1, -2], [(3, 4)]),
    "getitem_new_axis": (lambda x: x[..., None, 1], [(3, 4)]),
    "getitem_repeated_rows": (lambda x: x[np.array([0, 2, 2])], [(3, 4)]),
    "getitem_many_rows": (lambda x: x[np.array([[0, 2, 2] * 5] * 2)], [(3, 4)]),
    "getitem_pairs": (lambda x: x[np.array([0, 2, 2]), np.array([1, 3, 3])], [(3, 4)]),
    "getitem_range_and_repeats": (lambda x: x[np.arange(3)[:, None], np.array([[0, 0], [1, 2], [3, 3]])], [(3, 4)]),
    "getitem_array_and_slice": (lambda x: x[:, np.array([0, 0, 3])], [(3, 4)]),
    "getitem_array_and_integer": (lambda x: x[np.array([0, 2, 2]), 1], [(3, 4)]),
    "getitem_mask": (lambda x: x[np.array([True, False, True])], [(3, 4)]),
    "getitem_twice": (lambda x: x[1:] * x[:-1], [(3, 4)]),
    "getitem_one_row_of_all": (lambda x: x[np.array([0])], [(1, 4)]),
    "concatenate": (lambda a, b: concatenate([a, b, a], 1), [(2, 3), (2, 1)]),
    "stack": (lambda a, b: stack([a, b, b], 1), [(2, 3), (2, 3)]),
    "astype": (lambda x: x.to("float32").to("float64") * x, [(2, 3)]),
    "linear": (lambda x, w, b: F.linear(x, w, b), [(3, 4), (2, 4), (2,)]),
    "linear_no_bias": (lambda x, w: F.linear(x, w), [(3, 4), (2, 4)]),
    "linear_3d": (lambda x, w, b: F.linear(x, w, b), [(2, 3, 4), (2, 4), (2,)]),
    "embedding": (lambda w: F.embedding([[0, 1], [2, 2]], w), [(3, 4)]),
    "cross_entropy": (lambda x: F.cross_entropy(x, [0, 3, 3]), [(3, 4)]),
    "cross_entropy_sum": (lambda x: F.cross_entropy(x, [0, 3, 3], reduction="sum"), [(3, 4)]),
    "cross_entropy_none": (lambda x: F.cross_entropy(x, [0, 3, 3], reduction="none"), [(3, 4)]),
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), [(5, 3), (3,), (3,)]),
    "batch_norm_3d": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), [(5, 3, 2), (3,), (3,)]),
    "batch_norm_bare": (lambda x: F.batch_norm(x, None, None, training=True, unbiased=False), [(5, 3)]),
    "batch_norm_shared": (lambda x, w: F.batch_norm(x, None, None, w, w, training=True) * w, [(5, 3), (3,)]),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, 3, w, b), [(5, 3), (3,), (3,)]),
    "mse": (lambda x, y: F.mse_loss(x, y), [(5, 3), (5, 3)]),
}  # fmt: skip


@pytest.mark.parametrize("labelled", [True, False], ids=["labels", "no_labels"])
@pytest.mark.parametrize("name", CASES)
def test_every_array_row(name, labelled):
    f, shapes = CASES[name]
    xs = [Tensor(draw(*shape), requires_grad=True, label=label * labelled) for shape, label in zip(shapes, "abc", strict=False)]
    y = f(*xs)
    if labelled:
        y.label = "y"
    agree((y * Tensor(draw(*y.shape), label="weights" * labelled)).sum())
    if y.numel() == 1:
        agree(y)


def test_every_array_row_is_tried():
    tried = set()
    for f, shapes in CASES.values():
        y = f(*[Tensor(draw(*shape), requires_grad=True) for shape in shapes])
        tried |= {node.op.name for node in inputs_first(y) if isinstance(node.op, ops.ArrayOp)}
    assert tried | {"scatter"} == set(ops.ARRAY_TABLE)  # scatter: second derivatives, below


def test_the_gradient_of_a_gradient():
    x = Tensor(draw(3, 4), requires_grad=True, label="x")
    first = gradients((x[np.array([0, 2, 2])] ** 3).sum(), x, create_graph=True)[x]
    assert any(node.op and node.op.name == "scatter" for node in inputs_first(first))
    agree((first * first).sum())
    v = Value(0.7, label="v")
    agree(gradients((v * v).tanh() * v, v, create_graph=True)[v])


def test_a_matrix_of_one_number_as_root():
    x = Tensor([[2.0]], requires_grad=True, label="x")
    agree((x * x).reshape(1, 1))
    agree(x.T @ x)
    agree(x)
    agree(Value(3.0, label="x"))


BACKWARDS = [
    lambda x: x[::-1],
    lambda x: x[:, ::-1],
    lambda x: x.T[::-1],
    lambda x: x[::-2],
    lambda x: x[::-1, ::-2],
    lambda x: x[2:0:-1, 1],
    lambda x: x[1, ::-1],
    lambda x: x[0:2:-1],
    lambda x: x[..., None, ::-3],
    lambda x: x[None, ::-1, ..., 2:],
    lambda x: x[::-1, np.array([0, 0, 3])],
    lambda x: x[np.array([True, False, True]), ::-1],
    lambda x: x[::-1] * x,
    lambda x: x[::-1].exp()[:, ::-1] + x[:1],
    lambda x: (x + 0.0)[::-1].mean(0, keepdim=True) * x,
    lambda x: -x[::-1],
]


@pytest.mark.parametrize("f", BACKWARDS)
def test_slices_that_go_backwards(f):
    x = Tensor(draw(3, 4), requires_grad=True, label="x")
    y = f(x)
    weights = Tensor(draw(*y.shape), label="weights")
    agree(y.sum())
    agree((y * weights).sum())
    named = x.T  # whose zeros are as little contiguous as itself
    named.label = "named"
    agree((f(named.T) * weights).sum())
    turned = x.T[:, ::-1]
    turned.label = "turned"
    agree((turned[np.array([0, 0, 3]), ::-1] ** 2).sum())


def test_they_are_flipped_as_a_person_would():
    x = Tensor(draw(3), requires_grad=True, label="x")
    assert lines((x[::-1] * Tensor(draw(3), label="w")).sum(), "torch")[-2:] == [
        "dx = torch.zeros_like(x)  # (3,)",
        "dx[:] = (w * dL).flip(-1)",
    ]
    assert "x.flip(0)[::2]" in backward_code((x[::-2] ** 2).sum(), "torch")


def test_dtypes_are_those_of_the_graph():
    x = Tensor(draw(3, 4), requires_grad=True, dtype="float32", label="x")
    w = Tensor(draw(4, 2), requires_grad=True, label="w")
    y = ((x @ w).tanh().to("float32") * Tensor([1, 2])).sum()
    _, names = run(y, "numpy")
    assert (names["dx"].dtype, names["dw"].dtype) == (np.float32, np.float64)
    agree(y, rtol=1e-5, atol=1e-6)
    z = (Tensor([1, 2, 3]) * 2 ** Tensor([0.5, 1.0, 2.0], requires_grad=True, label="e") / 7).mean()
    agree(z)


def test_whole_numbers_keep_their_point_where_it_counts():
    x = Tensor([1.0, 2.0], requires_grad=True, label="x")
    agree((Tensor([2, 4]) ** -1.0 * x).sum())


# ---- drawn graphs ----------------------------------------------------------------------------------------------------

leaves = st.lists(st.floats(-3, 3, allow_nan=False).map(lambda x: round(x, 3)), min_size=1, max_size=4)
steps = st.lists(st.tuples(st.sampled_from(sorted(ROWS)), st.integers(0, 10**6)), min_size=1, max_size=14)


@settings(max_examples=300, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(leaves, steps)
def test_drawn_graphs(data, moves):
    labels = ["", "", "", "y", "dy", "x1", "v1", "del", "n"]
    y = drawn(data, moves, labels=labels, constants=0.15, smallest=1e-6, largest=1e6, steepest=1e8)[-1]
    assume(y.op is not None)
    agree(y, rtol=1e-7, atol=1e-7)


SHAPES = [(3, 4), (4,), (3, 1), (1, 4), (), (1, 1)]
MOVES = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / (b * b + 1),
    "neg": lambda a, b: -a,
    "square": lambda a, b: a**2,
    "power": lambda a, b: (a * a + 1) ** -0.5,
    "tanh": lambda a, b: a.tanh(),
    "relu": lambda a, b: a.relu(),
    "exp": lambda a, b: (-(a * a)).exp(),
    "sum": lambda a, b: a.sum(),
    "mean": lambda a, b: a.mean(),
    "sum0": lambda a, b: a.sum(0, keepdim=True) if a.ndim else a,
    "var": lambda a, b: a.var(-1) if a.ndim and a.shape[-1] > 1 else a,
    "max": lambda a, b: a.max(-1, keepdim=True)[0] if a.ndim else a,
    "amax": lambda a, b: a.amax(-1) if a.ndim else a,
    "T": lambda a, b: a.T,
    "matmul": lambda a, b: a @ b.T if a.ndim == b.ndim == 2 and a.shape[1] == b.shape[1] else a * b.sum(),
    "rows": lambda a, b: a[np.array([0, 0, -1])] if a.ndim else a,
    "half": lambda a, b: a[..., ::2] if a.ndim else a,
    "flat": lambda a, b: a.reshape(-1),
    "softmax": lambda a, b: a.softmax(-1),
    "clamp": lambda a, b: a.clamp(-1.0, 1.0),
    "where": lambda a, b: chainrule.where(a > b, a, b * 2),
    "scale": lambda a, b: a * 0.5 + 1,
    "third": lambda a, b: 2 / 3 * a / 7,
}
tensor_moves = st.lists(st.tuples(st.sampled_from(sorted(MOVES)), st.integers(0, 10**6)), min_size=2, max_size=12)


@settings(max_examples=150, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(tensor_moves, st.integers(0, 10**6))
def test_drawn_graphs_of_tensors(moves, seed):
    rng = random.Random(seed)
    arrays = np.random.default_rng(seed)
    values = [Tensor(arrays.normal(size=shape), requires_grad=rng.random() < 0.7) for shape in SHAPES]
    for name, start in moves:
        pick = random.Random(start)
        a, b = pick.choice(values[-6:]), pick.choice(values)
        try:
            y = MOVES[name](a, b)
        except InputError:  # shapes that do not fit
            continue
        if pick.random() < 0.4 and y.op is not None:
            y.label = pick.choice(["h", "logits", "dh", "T"])
        values.append(y)
    y = values[-1].sum() if values[-1].size != 1 else values[-1]
    assume(y.requires_grad and y.op is not None and np.isfinite(y.item()) and abs(y.item()) < 1e6)
    agree(y, rtol=1e-7, atol=1e-7)


# ---- names -----------------------------------------------------------------------------------------------------------

HOSTILE = [
    "x'); import os; os.system('true'); ('", "a\nimport os", "__builtins__", "__import__('os')", "lambda", "el", "ef",
    "np", "math", "torch", "max", "sigmoid", "dx", "x", "x", "dL", "L", "🙂", "", " ", "½", "x₁", "x1", "ﬁ", "fi",
    "1.weight", "Δw", "日本", "\ud800", "\u202e\u2066evil", "</script><img onerror=alert(1)>", "}$$\\input{x}",
    "a" * 10_000, "_", "__", "None", "²", "match", "{0}", "%s", "v1", "dv1", "x2", "\x00", "d", "print",
]  # fmt: skip


@pytest.mark.parametrize("style", OF_VALUES)
def test_any_label_is_a_name_and_nothing_else(style):
    xs = [Value(0.1 + i / 100, label=label) for i, label in enumerate(HOSTILE)]
    y = sum(x * x for x in xs)
    y.label = "y"
    agree(y, style)
    code = backward_code(y, style)
    names = list(code.names.values())
    assert len(set(names)) == len(names)
    assert not {"d" + name for name in names} & {*names, *keyword.kwlist}
    assert all(name.isidentifier() and not keyword.iskeyword(name) and len(name) < 60 for name in names)
    calls = {ast.unparse(call.func) for call in ast.walk(ast.parse(code)) if isinstance(call, ast.Call)}
    assert calls <= {"torch.tensor", "torch.ones_like", "np.copy"}
    assert all(line.isprintable() for line in code.splitlines())


@pytest.mark.parametrize("style", OF_TENSORS)
def test_modules_keep_their_names(style):
    labels = ("math", "np", "torch", "xmath", "tnp")
    xs = [Tensor(draw(2, 3), requires_grad=True, label=label) for label in labels]
    y = sum((x.T @ x).tanh().sum() for x in xs)
    agree(y, style)
    code = backward_code(y, style)
    assert "import math" not in code
    assert [code.names[x] for x in xs] == ["math_2", "np_2", "torch_2", "xmath", "tnp"]
    value = Value(2.0, label="np")
    assert backward_code(value * value).names[value] == "np_2"


def test_labels_in_formulas():
    xs = [Value(0.5, label=label) for label in HOSTILE]
    text = backward_code(sum(x * x for x in xs), "latex")
    balanced(text)
    assert "$" not in text
    assert "input{" not in text


def test_labels_that_come_twice_get_a_number():
    a, b = Value(1.0, label="w"), Value(2.0, label="w")
    assert list(backward_code(a * b).names.values())[:2] == ["w", "w_2"]


# ---- how it reads ----------------------------------------------------------------------------------------------------


def lines(root, style="python", **options):
    return backward_code(root, style, forward=False, **options).splitlines()


def test_whatever_has_a_gradient_has_a_value_of_its_own():
    for root in (demo(), sum(Value(i / 5).tanh() * Value(0.5) for i in range(20)).exp()):
        for style in OF_VALUES:
            _, names = run(root, style)
            gradients_ = {name[1:] for name in names if name[0] == "d"}
            assert gradients_ <= set(names)


def test_what_is_used_twice_is_added_up():
    x = Value(3.0, label="x")
    assert lines(x * x)[-2:] == ["dx = x * dL", "dx += x * dL"]
    y = Tensor([3.0], requires_grad=True, label="y")
    assert lines((y + y).sum(), "numpy")[-2:] == ["dy = dv2.copy()  # (1,)", "dy += dv2"]


@pytest.mark.parametrize(
    ("f", "line"),
    [
        (lambda x: x**2, "dx = 2 * x * dL"),
        (lambda x: x**3, "dx = 3 * x**2 * dL"),
        (lambda x: 2**x, "dx = L * math.log(2) * dL"),
        (lambda x: x / 3, "dx = dL / 3"),
        (lambda x: 1 / x, "dx = -L / x * dL"),
        (lambda x: -x, "dx = -dL"),
        (lambda x: 2 - x, "dx = -dL"),
        (lambda x: x - 2, "dx = dL"),
        (lambda x: x * -1, "dx = -dL"),
        (lambda x: x * 1, "dx = dL"),
        (lambda x: x.exp(), "dx = L * dL"),
        (lambda x: x.log(), "dx = dL / x"),
        (lambda x: x.sqrt(), "dx = 0.5 / L * dL"),
        (lambda x: x.tanh(), "dx = (1 - L**2) * dL"),
        (lambda x: x.sigmoid(), "dx = L * (1 - L) * dL"),
        (lambda x: x.relu(), "dx = (x > 0) * dL"),
        (lambda x: x.cos(), "dx = -math.sin(x) * dL"),
        (lambda x: abs(x), "dx = (1 if x > 0 else -1 if x < 0 else 0) * dL"),
        (lambda x: (-x).exp(), "dx = -L * dL"),
        (lambda x: x.maximum(1), "dx = (0 if x < 1 else 0.5 if x == 1 else 1) * dL"),
    ],
)
def test_derivatives_as_a_person_writes_them(f, line):
    assert lines(f(Value(3.0, label="x")))[-1] == line


def test_a_power_of_two_variables():
    a, b = Value(2.0, label="a"), Value(3.0, label="b")
    assert "da = (0 if b == 0 else b * a**(b - 1)) * dL" in lines(a**b)


def test_formulas():
    text = backward_code(neuron(), "latex")
    assert text.splitlines()[6:10] == [
        r"  n &= x_{1} \, w_{1} + x_{2} \, w_{2} + b \\",
        r"  o &= \tanh\left(n\right) \\[1ex]",
        r"  \frac{\partial o}{\partial o} &= 1 \\",
        r"  \frac{\partial o}{\partial n} &= 1 - o^{2} \\",
    ]
    assert r"\frac{\partial g}{\partial v_{30}} &= 0.5 - \frac{v_{34}}{v_{30}}" in backward_code(demo(), "latex")
    W, x = Tensor(draw(3, 2), requires_grad=True, label="W"), Tensor(draw(4, 3), label="x")
    h = (x @ W).tanh()
    h.label = "h"
    text = backward_code((h * h).sum(), "latex")
    assert (
        r"\frac{\partial L}{\partial W} &= x^{\top} \, \left(\left(1 - h^{2}\right) \odot \frac{\partial L}{\partial h}\right)"
        in text
    )
    assert backward_code(neuron(), "latex")._repr_latex_().startswith("$$\n\\begin{aligned}")
    assert backward_code(neuron())._repr_latex_() is None


def test_formulas_can_be_drawn(tmp_path):
    matplotlib = pytest.importorskip("matplotlib", reason="draws formulas: pip install 'chainrule[train]'")
    matplotlib.use("Agg")
    from matplotlib import mathtext

    for line in [*backward_code(neuron(), "latex").splitlines(), *backward_code(demo(), "latex").splitlines()]:
        formula = line.replace("&", "").removesuffix(r"\\[1ex]").removesuffix(r"\\").strip()
        if "aligned" not in formula:
            mathtext.math_to_image(f"${formula}$", tmp_path / "formula.png")
    assert (tmp_path / "formula.png").stat().st_size > 500


# ---- arguments, and what cannot be written ---------------------------------------------------------------------------


def test_it_is_text_with_its_inputs():
    code = backward_code(neuron())
    assert isinstance(code, str)
    assert isinstance(code, BackwardCode)
    assert code.inputs == {}
    assert [code.names[node] for node in inputs_first(neuron()) if node in code.names] == []
    x = Tensor(draw(5, 5), requires_grad=True, label="x")
    code = backward_code((x[np.array([0, 1, 1, 0] * 4)] * 2).sum(), "numpy")
    assert sorted(code.inputs) == ["index", "x"]
    assert "# given: index (16,) of int64, x (5, 5)" in code
    assert not code.inputs["x"].flags.writeable
    assert type(code.inputs["x"]) is np.ndarray


def test_without_the_forward_pass():
    o = neuron()
    code = backward_code(o, forward=False)
    assert "# forward" not in code
    assert "\nx1 =" not in code
    names = {name: node.data for node, name in code.names.items()}
    exec(code, names)
    assert names["dx1"] == pytest.approx(gradients(o)[next(n for n in inputs_first(o) if n.label == "x1")])
    y = (Tensor(draw(3, 4), requires_grad=True, label="x")[np.array([0, 1, 1])] ** 2).sum()
    assert "index = np.array([0, 1, 1])  # (3,)" in backward_code(y, "numpy", forward=False)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: backward_code(3.0), InputError, "only a graph can be shown"),
        (lambda: backward_code(Value(2.0) * 2, "pyton"), InputError, "unknown style 'pyton'.*did you mean 'python'"),
        (lambda: backward_code(Value(2.0) * 2, None), InputError, "unknown style None"),
        (lambda: backward_code(Value(2.0, requires_grad=False)), GraphError, "no backward pass to write out"),
        (lambda: backward_code(Tensor([2.0], requires_grad=True).sum()), InputError, "this is a graph of tensors"),
        (lambda: backward_code(Tensor([2.0, 1.0], requires_grad=True) * 2, "numpy"), InputError, r"shape \(2,\); reduce it"),
        (lambda: backward_code(sum(Value(i) for i in range(2000))), GraphError, "more than 2,000 nodes"),
        (lambda: backward_code(Value(2.0) * 2, max_nodes=0), InputError, "max_nodes must be a whole number from 1 up, not 0"),
        (lambda: backward_code(Value(2.0) * 2, max_nodes=True), InputError, "max_nodes"),
    ],
)
def test_one_sentence_for_what_cannot_be_written(make, error, words):
    with pytest.raises(error, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_under_no_grad():
    with no_grad():
        y = Value(2.0) * 3
    with pytest.raises(GraphError, match="under no_grad"):
        backward_code(y)


def test_a_large_graph_is_refused_without_walking_it(monkeypatch):
    y = Value(1.0)
    for _ in range(5000):
        y = y + 1
    assert len(backward_code(y, max_nodes=20_000)) > 1000
    with pytest.raises(GraphError, match="larger max_nodes"):
        backward_code(y)


def test_a_registered_operation():
    p3 = chainrule.register(
        "code_p3", lambda m, x: (5 * x**3 - 3 * x) / 2, [lambda m, y, x: (15 * x**2 - 3) / 2], [(-1, 1)], replace=True
    )
    x = Value(0.5, label="x")
    agree(p3(x) * 2)
    assert lines(p3(x))[-1] == "dx = (15 * x**2 - 3) / 2 * dL"
    odd = chainrule.register("code_odd", lambda m, x: math.floor(x) + x, [lambda m, y, x: 1.0], [(0.1, 0.9)], replace=True)
    with pytest.raises(OperationError, match="operation 'code_odd' cannot be written out, because its rules do not run on names"):
        backward_code(odd(x))
    branches = chainrule.register(
        "code_if", lambda m, x: x if x > 0 else -x, [lambda m, y, x: 1.0 if x > 0 else -1.0], [(0.1, 0.9)], replace=True
    )
    with pytest.raises(OperationError, match=r"use m\.where"):
        backward_code(branches(x))


def test_the_graph_is_left_as_it_was():
    o = neuron()
    o.backward()
    before = [(node.data, node.grad, node.label) for node in inputs_first(o)]
    for style in ("python", "numpy", "torch", "latex"):
        backward_code(o, style)
    assert before == [(node.data, node.grad, node.label) for node in inputs_first(o)]
    x = Tensor(draw(5, 3), requires_grad=True)
    y = F.batch_norm(x, None, None, training=True)
    kept = [array.copy() for array in y.options["kept"]]
    backward_code((y * y).sum(), "numpy")
    assert all((a == b).all() for a, b in zip(kept, y.options["kept"], strict=True))


def test_the_same_graph_gives_the_same_text():
    assert backward_code(demo(), "numpy") == backward_code(demo(), "numpy")


@pytest.mark.parametrize(
    ("places", "distinct"),
    [
        ((slice(None), 1), True),
        ((np.array([0, 0]),), False),
        ((np.arange(3), np.array([0, 0, 0])), True),
        ((np.arange(2)[:, None], np.array([[0, 0], [1, 1]])), False),
        ((np.arange(2)[:, None], np.arange(3)[None]), True),
        ((np.arange(2)[:, None], np.array([[0], [0]])), True),
        ((np.array([True, False]),), True),
        ((np.array([True, True]), np.array([0, 0])), False),
    ],
)
def test_which_indices_repeat(places, distinct):
    assert apart(places) is distinct
    zeros = np.zeros((3, 3))
    index = tuple(np.concatenate([i, [False]]) if getattr(i, "dtype", np.intp) == np.bool_ else i for i in places)
    np.add.at(zeros, index, 1)
    assert not distinct or zeros.max() == 1
    assert is_range(np.arange(3))
    assert not is_range(np.array([1, 0]))
    assert not is_range(np.array([0]))
