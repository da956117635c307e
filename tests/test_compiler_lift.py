"""The parts of the compiler: loops found in places, lines made once, views of views, derivatives of programs, how they print.

And that lifting finds the loops: programs are as short for a thousand samples as for ten.
"""

import math
import random
from operator import neg

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule
from chainrule import Value, ops, tensor
from chainrule.compiler.affine import Nest, nest
from chainrule.compiler.builder import Builder
from chainrule.compiler.lines import NumberMath, contiguous, inputs_first
from chainrule.compiler.program import Program, differentiate
from chainrule.compiler.reference import Executable
from chainrule.nn import MLP

drawing = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
shapes = st.lists(st.integers(1, 4), min_size=0, max_size=4).map(tuple)


def run(outputs, **given_numbers):
    """What a program of these lines gives."""
    return Executable(Program(outputs)).run(given_numbers)


# ---- loops in places ------------------------------------------------------------------------------------------------


def walked(found, k):
    """The places that operand k of a nest walks through."""
    at = np.full(found.shape, found.offsets[k])
    for axis, (length, stride) in enumerate(zip(found.shape, found.strides[k], strict=True)):
        at = at + (np.arange(length) * stride).reshape((-1,) + (1,) * (len(found.shape) - axis - 1))
    return at.reshape(-1)


@settings(max_examples=300, **drawing)
@given(shapes, st.integers(1, 3), st.data())
def test_nest_finds_loops_that_are_there(shape, operands, data):
    strides = [tuple(data.draw(st.integers(-4, 9)) for _ in shape) for _ in range(operands)]
    offsets = tuple(data.draw(st.integers(0, 50)) for _ in range(operands))
    places = [walked(Nest(shape, offsets, tuple(strides)), k) for k in range(operands)]
    found = nest(places)
    assert found is not None
    assert math.prod(found.shape) == math.prod(shape)
    assert len(found.shape) <= len([n for n in shape if n > 1])
    for k in range(operands):
        assert np.array_equal(walked(found, k), places[k])


@settings(max_examples=500, **drawing)
@given(st.lists(st.lists(st.integers(0, 3), min_size=12, max_size=12), min_size=1, max_size=2))
def test_nest_never_finds_loops_that_are_not_there(operands):
    found = nest([np.array(xs) for xs in operands])
    if found is not None:
        for k, xs in enumerate(operands):
            assert walked(found, k).tolist() == xs


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_nest_of_irregular_places(n):
    triangle = np.array([j for i in range(n) for j in range(i + 1)])
    assert nest([triangle]) is None or np.array_equal(walked(nest([triangle]), 0), triangle)
    window = np.array([i + j for i in range(n) for j in range(3)])
    assert nest([window]).strides in (((1, 1),), ((1,),))
    assert nest([np.array([5])]) == Nest((), (5,), ((),))
    assert nest([np.array([4] * n)]) == Nest((n,), (4,), ((0,),))
    assert nest([np.arange(n)[::-1]]) == Nest((n,), (n - 1,), ((-1,),))


# ---- lines ----------------------------------------------------------------------------------------------------------


def test_equal_lines_are_one():
    b = Builder()
    x, y = b.input("x", (3,)), b.input("y", (3,))
    assert x * y + 1.0 is x * y + 1.0
    assert b.sum(x, (0,)) is b.sum(x, (0,))
    assert b.math.tanh(x) is not b.math.tanh(y)
    assert x - y is not y - x
    assert b.constant([1.0, 2.0]) is b.constant(np.array([1.0, 2.0]))
    assert b.constant(0.0) is not b.constant(-0.0)
    assert b.constant(1.0) is not b.constant([1.0])
    assert b.constant(1.0) is not b.constant(1)


def test_what_does_nothing_is_left_out():
    b = Builder()
    x = b.input("x", (2, 3))
    for same in (x * 1.0, 1.0 * x, x / 1.0, x + 0.0, 0.0 + x, x - 0.0, x**1.0, neg(neg(x))):
        assert same is x
    assert b.reshape(b.reshape(x, (6,)), (2, 3)) is x
    assert b.transpose(b.transpose(x, (1, 0)), (1, 0)) is x
    assert b.broadcast_to(x, (2, 3)) is x
    assert b.sum(b.reshape(x, (2, 1, 3)), (1,)) is x
    assert x**2.0 is x * x
    assert (x * -1.0) is -x
    assert (x * 1.5) is not x


def test_a_line_that_does_nothing_keeps_its_shape_and_type():
    b = Builder()
    x, one = b.input("x", ()), np.ones((2, 2))
    y = x * b.constant(one)
    assert y.shape == (2, 2)
    hit = x > 0.5
    for counted in (
        hit * 1.0,
        hit + 0.0,
        hit + hit,
        neg(neg(hit)),
        hit - (x > 0.1),
        hit / 2.0,
        b.sum(b.broadcast_to(hit, (3,)), (0,)),
    ):
        assert counted.dtype == np.float64
    found = run({"a": hit + hit, "b": -hit, "c": hit - 0.25, "d": b.math.where(hit, 2.0, 3.0)}, x=np.array(1.0))
    assert [float(found[k]) for k in "abcd"] == [2.0, -1.0, 0.75, 2.0]


def test_constants_are_folded():
    b = Builder()
    y = b.math.exp(b.constant([0.0, 1.0])) * 2.0 + 1.0
    assert y.op is None
    assert y.data == pytest.approx([3.0, 1 + 2 * math.e])
    assert np.isnan(b.math.log(b.constant(-1.0)).data)  # what leaves its domain shows in the program's numbers
    assert Program({"y": y}).operations == []


def test_large_constants_are_not_folded():
    b = Builder()
    repeated = b.broadcast_to(b.constant(2.0), (2000, 2000))
    assert repeated.op is not None  # sixteen megabytes of the same number


def test_dead_lines_are_left_out():
    b = Builder()
    x = b.input("x", (3,))
    _ = b.math.exp(x)
    assert [line.op.name for line in Program({"y": b.math.tanh(x)}).operations] == ["tanh"]


def drawn_view(draw, size):
    """A view into an array of `size` elements that stays inside it: offset, shape, strides."""
    offset = draw(st.integers(0, size - 1))
    shape, strides = [], []
    low = high = offset
    for _ in range(draw(st.integers(0, 3))):
        stride = draw(st.integers(-5, 7))
        room = (size - 1 - high) // stride if stride > 0 else low // -stride if stride else 3
        n = draw(st.integers(1, min(room + 1, 4)))
        low, high = (low, high + stride * (n - 1)) if stride > 0 else (low + stride * (n - 1), high)
        shape.append(n)
        strides.append(stride)
    return offset, tuple(shape), tuple(strides)


@settings(max_examples=600, **drawing)
@given(shapes.filter(lambda s: math.prod(s) > 0), st.data())
def test_views_of_views_are_views(shape, data):
    """Whatever is composed reads what the views read one after the other, and stays inside of the array."""
    b = Builder()
    x = b.input("x", shape)
    numbers = np.arange(float(math.prod(shape))).reshape(shape)
    line, expected = x, numbers
    for _ in range(data.draw(st.integers(1, 4))):
        offset, to, strides = drawn_view(data.draw, expected.size)
        line = b.view(line, offset, to, strides)
        expected = NumberMath.view(expected, offset, to, strides).copy()
        assert line.shape == expected.shape
    assert np.array_equal(run({"y": line}, x=numbers)["y"], expected)
    for each in inputs_first([line]):
        if each.op is not None:
            places = NumberMath.view(np.arange(each.inputs[0].size), *(each.options[k] for k in ("offset", "shape", "strides")))
            reach = [s * (n - 1) for n, s in zip(each.options["shape"], each.options["strides"], strict=True)]
            assert each.options["offset"] + sum(min(r, 0) for r in reach) >= 0
            assert each.options["offset"] + sum(max(r, 0) for r in reach) < each.inputs[0].size
            assert places.shape == each.shape


@settings(max_examples=300, **drawing)
@given(shapes, st.data())
def test_reshape_transpose_and_broadcast_are_those_of_numpy(shape, data):
    b = Builder()
    line, expected = b.input("x", shape), np.arange(float(math.prod(shape))).reshape(shape)
    numbers = expected
    for _ in range(data.draw(st.integers(1, 5))):
        kind = data.draw(st.sampled_from(["reshape", "transpose", "broadcast", "slice", "flip", "pick"]))
        if kind == "reshape":
            to = data.draw(st.sampled_from([(expected.size,), (1, expected.size), expected.shape[::-1], (*expected.shape, 1)]))
            line, expected = b.reshape(line, to), expected.reshape(to)
        elif kind == "transpose":
            axes = tuple(data.draw(st.permutations(range(expected.ndim))))
            line, expected = b.transpose(line, axes), expected.transpose(axes)
        elif kind == "broadcast" and expected.size < 200:
            to = (data.draw(st.integers(1, 3)), *(3 if n == 1 else n for n in expected.shape))
            line, expected = b.broadcast_to(line, to), np.broadcast_to(expected, to)
        elif expected.ndim and kind in ("slice", "flip", "pick"):
            n = expected.shape[0]
            at = {"slice": slice(data.draw(st.integers(0, n - 1)), None, 2), "flip": slice(None, None, -1), "pick": n - 1}[kind]
            line, expected = b.getitem(line, (at,)), expected[at]
    assert line.shape == expected.shape
    assert np.array_equal(run({"y": line}, x=numbers)["y"], expected)


@settings(max_examples=200, **drawing)
@given(st.data())
def test_unview_and_scatter_pull_back_view_and_gather(data):
    """sum(view(x) * g) == sum(x * unview(g)), for views that read an element several times, too."""
    size = data.draw(st.integers(1, 20))
    offset, shape, strides = drawn_view(data.draw, size)
    b = Builder()
    x, g = b.input("x", (size,)), b.input("g", shape)
    rng = np.random.default_rng(0)
    numbers = {"x": rng.normal(size=size), "g": rng.normal(size=shape)}
    index = b.constant(rng.integers(0, size, (2, 3)))
    h = b.constant(rng.normal(size=(2, 3)))
    found = run(
        {
            "forth": b.sum(b.view(x, offset, shape, strides) * g, range(len(shape))),
            "back": b.sum(
                x * b.unview(g, offset, tuple(0 if n == 1 else s for n, s in zip(shape, strides, strict=True)), size), (0,)
            ),
            "taken": b.sum(b.gather(x, index) * h, (0, 1)),
            "given": b.sum(x * b.scatter(h, index, size), (0,)),
        },
        **numbers,
    )
    assert found["forth"] == pytest.approx(float(found["back"]), rel=1e-12, abs=1e-12)
    assert found["taken"] == pytest.approx(float(found["given"]), rel=1e-12, abs=1e-12)


def test_strides_of_an_array():
    assert contiguous((2, 3, 4)) == (12, 4, 1)
    assert contiguous(()) == ()


# ---- derivatives of programs ----------------------------------------------------------------------------------------

UNARY = ["exp", "sin", "cos", "tanh", "sigmoid", "softplus", "relu", "abs"]


def drawn_steps(rng, shapes):
    """A program of array operations as a list of (name, places of its inputs, options)."""
    steps, shapes = [], list(shapes)
    for _ in range(rng.randint(2, 8)):
        k = rng.randrange(len(shapes))
        kind = rng.choice(
            ["unary", "binary", "binary", "sum", "transpose", "reshape", "matmul", "broadcast", "getitem", "join", "amax"]
        )
        s = shapes[k]
        if kind == "unary":
            steps.append((rng.choice(UNARY), (k,), {}))
            shapes.append(s)
        elif kind == "binary":
            other = [i for i, t in enumerate(shapes) if broadcasts(s, t)]
            j = rng.choice(other)
            steps.append((rng.choice(["+", "-", "*", "/", "maximum"]), (k, j), {}))
            shapes.append(np.broadcast_shapes(s, shapes[j]))
        elif kind in ("sum", "amax") and s:
            axis = tuple(sorted(rng.sample(range(len(s)), rng.randint(1, len(s)))))
            keepdims = rng.random() < 0.5
            steps.append((kind, (k,), {"axis": axis, "keepdims": keepdims}))
            shapes.append(np.empty(s).sum(axis=axis, keepdims=keepdims).shape)
        elif kind == "transpose":
            axes = tuple(rng.sample(range(len(s)), len(s)))
            steps.append(("transpose", (k,), {"axes": axes}))
            shapes.append(tuple(s[i] for i in axes))
        elif kind == "reshape":
            to = rng.choice([(math.prod(s),), s[::-1], (1, *s)])
            steps.append(("reshape", (k,), {"shape": to}))
            shapes.append(to)
        elif kind == "matmul" and len(s) == 2:
            other = [i for i, t in enumerate(shapes) if len(t) == 2 and t[0] == s[1]]
            if other:
                j = rng.choice(other)
                steps.append(("matmul", (k, j), {}))
                shapes.append((s[0], shapes[j][1]))
        elif kind == "broadcast" and math.prod(s) < 50:
            to = (2, *(3 if n == 1 else n for n in s))
            steps.append(("broadcast_to", (k,), {"shape": to}))
            shapes.append(to)
        elif kind == "getitem" and s:
            index = rng.choice([(slice(None, None, -1),), (-1,), (slice(0, None, 2),), (np.array([0, s[0] - 1, 0]),)])
            steps.append(("getitem", (k,), {"index": index}))
            shapes.append(np.empty(s)[index].shape)
        elif kind == "join":
            steps.append(("stack", (k, k, k), {"axis": 0}))
            shapes.append((3, *s))
    return steps


def broadcasts(s, t):
    return all(a == b or 1 in (a, b) for a, b in zip(s[::-1], t[::-1], strict=False)) and math.prod(s) * math.prod(t) < 500


def performed(m, steps, xs):
    """The sum over everything that the steps make of xs, on the namespace m."""
    made = list(xs)
    for name, places, options in steps:
        inputs = [made[i] for i in places]
        if name == "/":
            y = inputs[0] / (1.5 + m.tanh(inputs[1]))
        elif name in "+-*":
            y = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}[name](*inputs)
        elif name == "exp":
            y = m.exp(m.tanh(inputs[0]))
        elif name in ("softplus", "relu"):
            y = ops.TABLE[name].forward(m, *inputs)
        else:
            y = getattr(m, name)(*inputs, **options)
        made.append(m.tanh(y) if name in ("*", "matmul") else y)
    total = None
    for y in made:
        one = m.sum(y, axis=tuple(range(len(y.shape))), keepdims=False) if y.shape else y
        total = one if total is None else total + one * 0.5
    return total


@settings(max_examples=200, **drawing)
@given(st.randoms(use_true_random=False))
def test_programs_are_differentiated_as_tensors_are(rng):
    shapes = [(2, 3), (3, 2), (3,), (), (1, 3)]
    numbers = [np.random.default_rng(rng.randint(0, 999)).normal(size=s) for s in shapes]
    steps = drawn_steps(rng, shapes)
    tensors = [tensor.Tensor(x, requires_grad=True) for x in numbers]
    expected = performed(tensor.TensorMath, steps, tensors)
    expected.backward()
    b = Builder()
    lines = [b.input(f"x{i}", s) for i, s in enumerate(shapes)]
    root = performed(b.math, steps, lines)
    outputs = {"y": root} | {f"g{i}": g for i, g in enumerate(differentiate(root, lines))}
    given_numbers = {f"x{i}": x for i, x in enumerate(numbers)}
    for program in (Program(outputs), Program(outputs).expanded(b)):
        found = Executable(program).run(given_numbers)
        assert found["y"] == pytest.approx(expected.item(), rel=1e-12)
        for i, t in enumerate(tensors):
            assert found[f"g{i}"].shape == t.shape
            size = np.abs(t.grad).max() + 1
            assert np.abs(found[f"g{i}"] - t.grad).max() <= 1e-11 * size, steps


def test_what_does_not_matter_has_gradient_zero():
    b = Builder()
    x, y = b.input("x", (2, 3)), b.input("y", (4,))
    root = b.sum(x * x, (0, 1))
    dx, dy = differentiate(root, [x, y])
    assert dy.shape == (4,)
    assert not dy.data.any()
    assert np.array_equal(run({"dx": dx}, x=np.ones((2, 3)))["dx"], 2 * np.ones((2, 3)))


@pytest.mark.parametrize("op", ops.BUILT_IN, ids=lambda op: op.name)
def test_derivatives_per_element_for_every_row(op):
    """Each element of the result has the derivative by what went into it, by numbers that were broadcast too."""
    b = Builder()
    rng = random.Random(op.name)
    samples = np.array([op.sample(rng) for _ in range(6)]).T
    samples[-1] = samples[-1, 0]  # the last input is one number for all
    lines = [b.input(f"x{i}", (6,) if i < op.arity - 1 or op.arity == 1 else ()) for i in range(op.arity)]
    if op.arity == 1:
        samples = np.array([op.sample(rng) for _ in range(6)]).T
    root = b.apply(op, *lines)
    slopes = differentiate(root, lines, b.constant(1.0), per_element=True)
    outputs = {f"g{i}": b.broadcast_to(g, (6,)) for i, g in enumerate(slopes)} | {"y": root}
    numbers = {line.name: samples[i] if line.shape else samples[i][0] for i, line in enumerate(lines)}
    for program in (Program(outputs), Program(outputs).expanded(b)):
        found = Executable(program).run(numbers)
        for k in range(6):
            xs = [Value(samples[i][k]) for i in range(op.arity)]
            y = chainrule.engine.apply(op, *xs)
            y.backward()
            assert found["y"][k] == pytest.approx(y.data, rel=1e-14)
            for i, x in enumerate(xs):
                assert found[f"g{i}"][k] == pytest.approx(x.grad, rel=1e-13, abs=1e-15)


# ---- the printed program --------------------------------------------------------------------------------------------


def test_a_printed_program_reads_like_one():
    b = Builder()
    x, w = b.input("x", (5, 3)), b.input("w", (3, 2))
    text = str(Program({"y": b.math.tanh(b.matmul(x, w)) + 1.0}))
    assert text.count("\n") >= 3
    for part in ("x", "w", "@", "tanh(", "+ 1", "float64", "(5, 3)"):
        assert part in text
    lines = text.splitlines()
    assert lines.index(next(s for s in lines if "@" in s)) < lines.index(next(s for s in lines if "tanh" in s))


def test_a_line_is_printed_once_and_before_it_is_used():
    b = Builder()
    x = b.input("x", (3,))
    y = b.math.exp(x)
    lines = [s for s in str(Program({"a": y * y, "b": y + 1.0})).splitlines() if "=" in s]
    assert sum("exp(" in s for s in lines) == 1
    names = [s.split(" = ")[0].strip() for s in lines]
    assert len(set(names)) == len(names)
    assert {"a", "b"} <= set(names)


def test_an_output_that_is_an_input_or_equal_to_another_is_printed():
    b = Builder()
    x = b.input("x", (3,))
    text = str(Program({"same": x, "a": x * 2.0, "b": x * 2.0}))
    for name in ("same", "a", "b"):
        assert any(line.strip().startswith(name) for line in text.splitlines())


# ---- loops are found, whatever their length -------------------------------------------------------------------------


def network(samples, hidden):
    random.seed(1)
    model = MLP(2, [hidden, 1])
    X = np.random.default_rng(0).normal(size=(samples, 2)).tolist()

    def loss():
        total = sum((1 + -y * model(x)).relu() for x, y in zip(X, [1.0, -1.0] * samples, strict=False))
        return total / samples + 1e-4 * sum(p * p for p in model.parameters())

    return loss, model.parameters()


def compiled(loss, params, *args):
    step = chainrule.compile(loss, params, executor="numpy")
    step(*args)
    return step


def test_a_network_is_as_short_for_many_samples_and_neurons_as_for_few():
    lengths = {len(compiled(*network(n, h)).program.operations) for n, h in ((10, 4), (50, 4), (10, 12), (40, 16))}
    assert len(lengths) == 1
    assert lengths.pop() <= 40


def test_its_sums_of_products_are_matrix_products():
    step = compiled(*network(20, 6))
    names = [line.op.name for line in step.program.operations]
    assert names.count("matmul") >= 4  # two layers, forward and back
    assert "gather" not in names
    assert "scatter" not in names


def test_all_scalar_operations_are_counted():
    loss, params = network(20, 6)
    operations = sum(node.op is not None for node in chainrule.engine.inputs_first(loss()))
    assert f"{operations:,} scalar operations" in compiled(loss, params).explain()


LOOPS = {
    "convolution": lambda w, x: sum(sum(w[j] * x[i + j] for j in range(3)).tanh() for i in range(len(x) - 2)),
    "strided": lambda w, x: sum((x[2 * i] * w[0] - x[2 * i + 1]).tanh() for i in range(len(x) // 2)),
    "reversed": lambda w, x: sum(x[i] * x[-1 - i] * w[1] for i in range(len(x))),
    "accumulated": lambda w, x: _accumulated(w, x),
    "outer": lambda w, x: sum((a * b * w[2]).sin() for a in x for b in x),
    "columns": lambda w, x: sum(sum(x[i * 4 + j] * w[j] for i in range(len(x) // 4)).tanh() for j in range(4)),
    "softmax": lambda w, x: _softmax([w[0] * a for a in x]),
}


def _accumulated(w, x):
    total = 0.0
    for i, a in enumerate(x):
        total -= (a - w[i % 4]) ** 2
    return -total


def _softmax(z):
    top = max(v.data for v in z)
    e = [(v - top).exp() for v in z]
    return -(e[0] / sum(e)).log()


@pytest.mark.parametrize("name", LOOPS)
def test_the_program_of_a_loop_does_not_grow_with_it(name):
    w = [Value(0.1 * i + 0.2) for i in range(4)]

    def loss(x):
        return LOOPS[name](w, x)

    sizes = {len(compiled(loss, w, np.linspace(-1, 1, n)).program.operations) for n in (16, 32, 64)}
    assert len(sizes) == 1, sizes
    assert sizes.pop() < 30


def test_a_program_without_loops_grows_linearly():
    w = Value(0.3)

    def chain(n):
        def loss():
            y = w
            for _ in range(n):
                y = (y * w + 0.1).tanh()
            return y

        return len(compiled(loss, [w]).program.lines)

    short, middle, long = chain(50), chain(100), chain(200)
    assert long - middle <= 2 * (middle - short) + 4


# ---- what stopped it -------------------------------------------------------------------------------------------------


def test_a_recurrence_says_why_it_stays_single_operations():
    w = Value(0.9)

    def loss(x):
        y = x[0]
        for _ in range(50):
            y = y * w
            y = (y + 0.1).tanh()
        return y * y

    step = compiled(loss, [w], np.array([1.0]))
    assert step.counts.operations == step.counts.forward == 151
    first = loss.__code__.co_firstlineno
    lines = ", ".join(f"test_compiler_lift.py:{first + k}" for k in (3, 4, 5))
    assert step.explain().endswith(
        f"\n{lines}: 151 operations stay single ones, for each needs the result of one before it, in chains of up to 151"
    )


def test_operations_of_which_no_two_are_alike_say_so():
    a, b, c, d = params = [Value(0.3 * k + 0.2) for k in range(4)]

    def loss():
        y = (a * b).tanh() + (b * c * d).exp() - (a / c).sin() * (d**2 + b / 3).cos() + (a + b * c).sqrt()
        return y * (a * d).sigmoid() + ((c * d) ** 3).log() / (b + 2) + (a - 1) ** 4

    text = compiled(loss, params).explain()
    assert "operations stay single ones, for no others compute the same from the same kind of operands" in text
    assert "needs the result" not in text


def test_what_was_lifted_needs_no_reason():
    w, v = [Value(0.1 * k) for k in range(5)], Value(0.3)
    step = compiled(
        lambda X: sum((sum(a * x for a, x in zip(w, row, strict=True)) * v).tanh() ** 2 for row in X), [*w, v], np.ones((9, 5))
    )
    assert step.counts == (126, "scalar", step.counts.forward, step.counts.whole)
    assert step.counts.forward < 10 < step.counts.whole
    assert step.explain().startswith(f"{step.counts}.\n")
    assert "single" not in step.explain()
