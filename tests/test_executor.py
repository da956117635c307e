"""The native executor agrees with the reference executor, on drawn programs, and its vector functions with exact values."""

import contextlib
import gc
import importlib
import itertools
import os
import resource
import threading
import warnings
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainrule import ops
from chainrule.compiler import native
from chainrule.compiler.builder import Builder
from chainrule.compiler.lines import COMPARISONS
from chainrule.compiler.native import Executable
from chainrule.compiler.program import Program, differentiate
from chainrule.compiler.reference import Executable as Reference
from chainrule.errors import CompileError, InputError
from chainrule.native import sources
from chainrule.native.kernels import VARIANTS, rows

pytestmark = pytest.mark.skipif(not native.available(), reason=f"no native executor: {native.reason()}")
ISAS = importlib.import_module("chainrule.native._executor").ISAS if native.available() else []
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


def reference(program, inputs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        slow = Reference(program)
        for name, array in slow.inputs.items():
            array[...] = inputs[name]
        slow.execute()
        return slow.outputs


def agree(program, inputs, tolerance=None, **options):
    """Run a program on both, twice natively; compare relative to the largest element of each output."""
    expected = reference(program, inputs)
    executable = Executable(program, **options)
    for _ in range(2):
        found = executable.run(inputs)
        for name, want in expected.items():
            got, want = np.asarray(found[name]), np.asarray(want)
            assert got.shape == want.shape
            finite = np.isfinite(want)
            np.testing.assert_array_equal(np.isnan(got), np.isnan(want), err_msg=name)
            np.testing.assert_array_equal(got[~finite], want[~finite], err_msg=name)
            scale = max(np.abs(want[finite]).max(initial=0), 1e-3)
            error = np.abs(got[finite].astype(float) - want[finite]).max(initial=0)
            assert error <= (tolerance or TOLERANCE[str(want.dtype)] if want.dtype.kind == "f" else 0) * scale, name
    return executable


# ---- drawn programs --------------------------------------------------------------------------------------------------

LENGTHS = st.sampled_from([1, 2, 3, 5, 8, 17, 40])
SAFE = {  # rows whose operands are first brought into their domain
    "log": lambda m, x: (m.abs(x) + 0.1,),
    "sqrt": lambda m, x: (m.abs(x) + 0.01,),
    "log1p": lambda m, x: (m.abs(x),),
    "exp": lambda m, x: (m.tanh(x),),
    "div": lambda m, a, b: (a, m.abs(b) + 0.5),
    "pow": lambda m, a, b: (m.abs(a) + 0.1, m.tanh(b)),
    "where": lambda m, c, a, b: (c < a, a, b),
}


class Drawn:
    """A program grown line by line from drawn choices."""

    def __init__(self, draw, dtype):
        self.draw, self.b, self.dtype = draw, Builder(dtype), dtype
        self.m, self.rng = self.b.math, np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.inputs, self.lines = {}, []
        for _ in range(draw(st.integers(1, 3))):
            self.lines.append(self.leaf(tuple(draw(st.lists(LENGTHS, max_size=3)))))

    def leaf(self, shape):
        if self.draw(st.integers(0, 3)) == 0:
            return self.b.constant(self.rng.normal(size=shape).astype(self.dtype))
        name = f"x{len(self.inputs)}"
        self.inputs[name] = self.rng.normal(size=shape).astype(self.dtype)
        return self.b.input(name, shape)

    def some(self):
        return self.draw(st.sampled_from(self.lines[-6:]))

    def partner(self, x):
        """An operand that broadcasts with x: another line, or a leaf with some axes of length 1 or left out."""
        others = [y for y in self.lines[-8:] if _broadcasts(x.shape, y.shape)]
        if others and self.draw(st.booleans()):
            return self.draw(st.sampled_from(others))
        shape = tuple(n if self.draw(st.booleans()) else 1 for n in x.shape)
        return self.leaf(shape[self.draw(st.integers(0, len(shape))) :])

    def grow(self):
        kind = self.draw(
            st.sampled_from(
                ["row", "row", "row", "row", "view", "view", "reduce", "matmul", "gather", "scatter", "sums", "concatenate"]
            )
        )
        y = getattr(self, kind)()
        if y is not None and y.size <= 20_000:
            self.lines.append(y)

    def row(self):
        op = self.draw(st.sampled_from([*ops.BUILT_IN, *COMPARISONS]))
        xs = [self.some()]
        while len(xs) < op.arity:
            xs.append(self.partner(xs[0]))
        if not _broadcasts(*(x.shape for x in xs)):
            return None
        y = self.b.apply(op, *SAFE.get(op.name, lambda m, *xs: xs)(self.m, *xs))
        return self.b.astype(y, self.dtype) if op in COMPARISONS else y

    def view(self):
        x = self.some()
        kind = self.draw(st.sampled_from(["reshape", "transpose", "slice", "broadcast", "any"]))
        if kind == "reshape":
            factors = [d for d in range(1, x.size + 1) if x.size % d == 0]
            d = self.draw(st.sampled_from(factors))
            return self.b.reshape(x, (d, x.size // d))
        if kind == "transpose":
            return self.b.transpose(x, self.draw(st.permutations(range(x.ndim))))
        if kind == "slice" and x.ndim:
            step = self.draw(st.sampled_from([1, 2, -1]))
            return self.b.getitem(x, (*[slice(None)] * self.draw(st.integers(0, x.ndim - 1)), slice(None, None, step)))
        if kind == "broadcast":
            return self.b.broadcast_to(x, (self.draw(LENGTHS), *x.shape))
        shape, strides, room = [], [], x.size - 1
        for _ in range(self.draw(st.integers(0, 3))):
            n, s = self.draw(LENGTHS), self.draw(st.integers(0, 4))
            if (n - 1) * s <= room:
                shape.append(n), strides.append(s)
                room -= (n - 1) * s
        return self.b.view(x, self.draw(st.integers(0, room)), tuple(shape), tuple(strides))

    def reduce(self):
        x = self.some()
        axes = [i for i in range(x.ndim) if self.draw(st.booleans())]
        return self.b.sum(x, axes, self.draw(st.booleans()), self.draw(st.sampled_from(["sum", "sum", "amax", "amin"])))

    def matmul(self):
        a = self.some()
        if a.ndim < 2:
            a = self.b.reshape(a, (1, a.size))
        n = self.draw(LENGTHS)
        b = self.leaf((*a.shape[:-2], a.shape[-1], n) if self.draw(st.booleans()) else (a.shape[-1], n))
        if self.draw(st.booleans()):
            b = self.b.transpose(self.leaf((n, a.shape[-1])), (1, 0))
        return self.b.matmul(a, b) * 0.3 if np.prod(a.shape[:-1]) * n < 20_000 else None

    def index(self, rows, shape):
        name = f"i{len(self.inputs)}"
        self.inputs[name] = self.rng.integers(-rows if self.draw(st.booleans()) else 0, rows, shape)
        return self.b.input(name, shape, "int64")

    def gather(self):
        x = self.some()
        return self.b.gather(x, self.index(x.shape[0], tuple(self.draw(st.lists(LENGTHS, max_size=2))))) if x.ndim else None

    def scatter(self):
        g = self.some()
        return self.b.scatter(g, self.index(7, g.shape[:1]), 7) if g.ndim else None

    def sums(self):
        """What the gradient of a parameter vector is: windows added up, perhaps over something."""
        size = self.draw(st.sampled_from([40, 48, 60]))
        total = self.leaf((size,)) * 1.5 if self.draw(st.booleans()) else None
        for _ in range(self.draw(st.integers(1, 3))):
            window = self.window(size)
            shape = self.draw(st.sampled_from([(size,), (size // 4, 4), (2, size // 2)]))
            window = self.b.reshape(window, shape)
            total = window if total is None else self.b.reshape(total, shape) + window
        return total

    def window(self, size):
        if self.draw(st.booleans()):
            g = self.leaf((9,)) * 2.0
            return self.b.scatter(g, self.index(size, (9,)), size)
        step = self.draw(st.integers(1, 3))
        g = self.leaf((4, 3)) * 2.0
        if self.draw(st.booleans()):
            g = self.b.matmul(self.leaf((4, 5)), self.leaf((5, 3)))
        elif self.draw(st.booleans()):
            g = self.b.sum(self.leaf((6, 4, 3)) * self.leaf((6, 1, 3)), (0,))
        strides = self.draw(st.sampled_from([(3, 1), (1, 4), (1, 1), (2, 1), (step * 3, step)]))
        return self.b.unview(g, self.draw(st.integers(0, 2)), strides, size)

    def concatenate(self):
        x = self.some()
        if not x.ndim:
            return None
        axis = self.draw(st.integers(0, x.ndim - 1))
        shape = tuple(self.draw(LENGTHS) if i == axis else n for i, n in enumerate(x.shape))
        return self.b.concatenate([x, self.leaf(shape), x * 2.0], axis)


def _broadcasts(*shapes):
    try:
        return np.prod(np.broadcast_shapes(*shapes)) <= 20_000
    except ValueError:
        return False


@st.composite
def drawn_program(draw, dtype):
    drawn = Drawn(draw, dtype)
    for _ in range(draw(st.integers(1, 14))):
        drawn.grow()
    kept = draw(st.lists(st.sampled_from(drawn.lines), min_size=1, max_size=4))
    outputs = {f"y{i}": line for i, line in enumerate([drawn.lines[-1], *kept])}
    program = Program(outputs)
    return program, {line.name: drawn.inputs[line.name] for line in program.inputs}


COUNT = int(os.environ.get("CHAINRULE_DRAWN", "150"))


@settings(max_examples=COUNT, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=drawn_program("float64"))
def test_drawn_programs_agree_in_float64(case):
    agree(*case, tolerance=1e-11)


@settings(max_examples=COUNT // 2, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=drawn_program("float32"))
def test_drawn_programs_agree_in_float32(case):
    agree(*case, tolerance=2e-4)


@settings(max_examples=COUNT // 3, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=drawn_program("float64"), isa=st.sampled_from(ISAS or [""]), threads=st.integers(1, 4))
def test_drawn_programs_agree_on_every_instruction_set(case, isa, threads):
    agree(*case, tolerance=1e-11, isa=isa, threads=threads)


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_every_row_has_a_kernel():
    names = [kernel.name for kernel in rows()]
    assert names[: len(ops.BUILT_IN) + 4] == [op.name for op in (*ops.BUILT_IN, *COMPARISONS)]
    assert names == native._executor.ROWS


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("op", [*ops.BUILT_IN, *COMPARISONS], ids=lambda op: op.name)
def test_every_row_in_every_variant(op, dtype, isa):
    rng = np.random.default_rng(7)
    for size in (1, 3, 64, 1027):
        for singles in {tuple(v == "s" for v in variant) for variant in VARIANTS[op.arity]} | {(True,) * op.arity}:
            b = Builder(dtype)
            shapes = [() if single else (size,) for single in singles]
            xs = [b.input(f"x{i}", shape) for i, shape in enumerate(shapes)]
            given = {
                f"x{i}": np.asarray([_sample(interval, rng) for _ in range(max(1, int(np.prod(shape))))], dtype).reshape(shape)
                for i, (interval, shape) in enumerate(zip(op.domain, shapes, strict=True))
            }
            y = b.broadcast_to(b.apply(op, *xs), (size,)) * 1.0
            agree(Program({"y": y, "plain": b.apply(op, *xs)}), given, isa=isa, tolerance=1e-14 if dtype == "float64" else 1e-6)


def _sample(interval, rng):
    return rng.choice(sorted(interval)) if isinstance(interval, frozenset) else rng.uniform(*interval)


SPECIAL = [
    0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan, 1e-320, -1e-310, 5e-324, 1e300, -1e300, 710.0, -745.2, -746.0,
    1e-30, 1e-17, 2.0, -3.0, 1e7, 1e22, np.pi, 1.7976931348623157e308,
]  # fmt: skip


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "name", ["exp", "log", "log1p", "tanh", "sigmoid", "sin", "cos", "sqrt", "relu", "softplus", "abs", "neg"]
)
def test_special_values(name, dtype, isa):
    with np.errstate(all="ignore"):
        x = np.array(SPECIAL, dtype)
    b = Builder(dtype)
    program = Program({"y": b.apply(ops.TABLE[name], b.input("x", x.shape))})
    expected = np.asarray(reference(program, {"x": x})["y"])
    found = Executable(program, isa=isa).run({"x": x})["y"]
    np.testing.assert_allclose(
        found, expected, rtol=1e-14 if dtype == "float64" else 3e-7, atol=5e-324 if dtype == "float64" else 2e-45
    )
    keep = expected == 0
    np.testing.assert_array_equal(np.signbit(found[keep]), np.signbit(expected[keep]))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["pow", "maximum", "minimum", "div", "less", "equal", "where"])
def test_special_pairs(name, dtype, isa):
    with np.errstate(all="ignore"):
        values = np.array(SPECIAL, dtype)
    b = Builder(dtype)
    x, y = (b.input(k, (len(values),) * 2) for k in "xy")
    op = next(op for op in (*ops.BUILT_IN, *COMPARISONS) if op.name == name)
    given = {"x": np.repeat(values[:, None], len(values), 1), "y": np.repeat(values[None], len(values), 0)}
    program = Program({"z": b.astype(b.apply(op, *((x < y, x, y) if name == "where" else (x, y))), dtype)})
    expected = np.asarray(reference(program, given)["z"])
    found = Executable(program, isa=isa).run(given)["z"]
    np.testing.assert_allclose(
        found, expected, rtol=1e-13 if dtype == "float64" else 1e-6, atol=1e-323 if dtype == "float64" else 3e-45
    )


# ---- units in the last place -----------------------------------------------------------------------------------------

ULPS = {  # row: largest error in double, in float, as vectormath.h and docs/compiler.md state them
    "exp": (1.1, 1.1),
    "log": (1.0, 1.0),
    "log1p": (1.0, 1.0),
    "tanh": (1.8, 1.6),
    "sigmoid": (2.6, 2.6),
    "sin": (0.85, 0.51),
    "cos": (0.85, 0.51),
    "sqrt": (0.5, 0.5),
    "pow": (2.0, 0.51),
}
SAMPLES = 200_000
EXTENDED = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long double is no longer than double here")


@pytest.mark.parametrize(("k", "dtype", "kind"), [(0, "float64", "double"), (1, "float32", "float")])
def test_the_stated_bounds_are_the_tested_ones(k, dtype, kind):
    page = Path(__file__).parents[1].joinpath("docs/compiler.md").read_text(encoding="utf-8")
    header = Path(sources.HERE, "vectormath.h").read_text(encoding="utf-8")
    (row,) = (line.split("|")[2:-1] for line in page.splitlines() if line.startswith(f"| {dtype} |"))
    assert [float(x) for x in row] == [ULPS[x][k] for x in ("exp", "log", "log1p", "tanh", "sigmoid", "sin", "pow", "sqrt")]
    (row,) = (line.split()[1:] for line in header.splitlines() if line.startswith(f"     {kind} "))
    assert [float(x) for x in row] == [
        ULPS[x][k] for x in ("exp", "log", "log1p", "tanh", "sigmoid", "sin", "cos", "pow", "sqrt")
    ]


def _regions(name, dtype, rng):
    """Where a function may be at its worst, each region sampled densely: lists of (inputs of the row)."""
    double, n = dtype == "float64", SAMPLES
    signs, small = rng.choice([-1.0, 1.0], n), 10.0 ** rng.uniform(-20, 0, n)
    spans = {
        "exp": [(-745, -708), (-708, 709.7), (-1, 1)] if double else [(-103, -87), (-87, 88.7), (-1, 1)],
        "tanh": [(-25, 25), (-3, 3), (-1, 1), (0.15, 0.21)] if double else [(-12, 12), (-3, 3), (-1, 1), (0.15, 0.21)],
        "sigmoid": [(-745, -36), (-40, 40), (-37.5, -36), (-6, 6)] if double else [(-103, -15), (-20, 20), (-17.5, -15), (-6, 6)],
        "log1p": [(-0.999999, 5), (-0.5, 0.5)],
        "sin": [(-1e6, 1e6), (-100, 100), (-4, 4)],
        "cos": [(-1e6, 1e6), (-100, 100), (-4, 4)],
    }
    found = [(rng.uniform(low, high, n),) for low, high in spans.get(name, [])]
    if name in ("exp", "tanh", "log1p", "sin", "cos", "sigmoid"):
        found.append((0.9 * signs * small,))
    top = 300 if double else 37
    if name in ("log", "sqrt"):
        wide = 10.0 ** rng.uniform(-top, top, n)
        found += [(wide,), (rng.uniform(0.5, 2, n),), (rng.uniform(0.7, 1.45, n),), (1 + signs * small * 1e-2,)]
    if name == "pow":
        bases = [10.0 ** rng.uniform(-top, top, n), rng.uniform(0.01, 5, n), rng.uniform(0.7, 1.42, n), 1 + signs * small * 1e-2]
        most = 708 if double else 87
        for a in bases:
            with np.errstate(all="ignore"):
                reach = np.minimum(most / np.abs(np.log(a)), 1e15)
            found += [
                (a, rng.uniform(-1, 1, n) * reach),
                (a, signs * rng.uniform(0.9, 1, n) * reach),
                (a, rng.integers(-40, 41, n) / 2.0),
            ]
    return [tuple(x.astype(dtype) for x in each) for each in found]


def _long(name, *xs):
    """The value in 64 bits of mantissa."""
    x = xs[0].astype(np.longdouble)
    with np.errstate(all="ignore"):
        if name == "sigmoid":
            return 1 / (1 + np.exp(-x))
        return np.power(x, xs[1].astype(np.longdouble)) if name == "pow" else getattr(np, name)(x)


def _worst(found, exact, dtype):
    """The largest error in units in the last place, of what is in the range of the type, and where it is."""
    limits, size = np.finfo(dtype), np.abs(exact)
    with np.errstate(all="ignore"):
        error = np.abs(found.astype(np.longdouble) - exact) / np.spacing(size.astype(dtype)).astype(np.longdouble)
    error[(size > limits.max) | (exact == 0)] = 0.0
    at = int(error.argmax())  # NaN counts as the largest
    return float(error[at]), at


def _native(name, xs, dtype, isa):
    b = Builder(dtype)
    names = "xy"[: len(xs)]
    program = Program({"z": b.apply(ops.TABLE[name], *(b.input(k, x.shape) for k, x in zip(names, xs, strict=True)))})
    return Executable(program, isa=isa).run(dict(zip(names, xs, strict=True)))["z"]


@EXTENDED
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ULPS)
def test_no_error_beyond_the_stated_ulps_is_found(name, dtype):
    """Dense samples of every region, then more of them around the worst of each, on every instruction set."""
    rng = np.random.default_rng(3)
    bound = ULPS[name][dtype == "float32"] + 0.001  # the reference errs, too
    for xs in _regions(name, dtype, rng):
        exact, around = _long(name, *xs), []
        for isa in ISAS:
            error, at = _worst(_native(name, xs, dtype, isa), exact, dtype)
            assert error <= bound, (isa, *(x[at] for x in xs))
            around.append([x[at] * (1 + rng.normal(size=2000) * 1e-3) for x in xs])
        near = [np.concatenate([each[k] for each in around]).astype(dtype) for k in range(len(xs))]
        exact = _long(name, *near)
        for isa in ISAS:
            error, at = _worst(_native(name, near, dtype, isa), exact, dtype)
            assert error <= bound, (isa, *(x[at] for x in near))


@EXTENDED
@pytest.mark.parametrize("name", [name for name in ULPS if name != "pow"])
def test_the_reference_of_that_search_is_right(name):
    for xs in _regions(name, "float64", np.random.default_rng(4)):
        x = xs[0][:40]
        with localcontext() as context:
            context.prec = 80
            for xi, yi in zip(x, _long(name, x), strict=True):
                exact, high = _exact(name, xi), float(yi)
                if abs(high) < 1e-290:  # where the two doubles below do not hold it
                    continue
                unit = Decimal(float(np.spacing(abs(float(exact)))))
                assert abs(Decimal(high) + Decimal(float(yi - np.longdouble(high))) - exact) <= unit / 500


def _exact(name, x):
    """The value to 40 digits."""
    x = Decimal(float(x))
    if name == "exp":
        return x.exp()
    if name == "log":
        return x.ln()
    if name == "log1p":
        return (1 + x).ln()
    if name == "sqrt":
        return x.sqrt()
    if name == "tanh":
        return 1 - 2 / ((2 * x).exp() + 1)
    if name == "sigmoid":
        return 1 / (1 + (-x).exp())
    return _turned(name, x)


_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")


def _turned(name, x):
    quarter = (x / (_PI / 2)).to_integral_value()
    r, turn = x - quarter * _PI / 2, (int(quarter) + (name == "cos")) % 4
    even = turn % 2 == 1
    term = total = Decimal(1) if even else r
    k = 0 if even else 1
    while abs(term) > Decimal(10) ** -60:
        k += 2
        term = -term * r * r / (k * (k - 1))
        total += term
    return -total if turn >= 2 else total


# ---- gradients and updates -------------------------------------------------------------------------------------------


def network(sizes, batch, dtype="float64"):
    """A loss of a flat parameter vector, as the lifter makes it, with its gradient and an update."""
    rng = np.random.default_rng(1)
    b = Builder(dtype)
    count = sum((m + 1) * n for m, n in itertools.pairwise(sizes))
    p, at = b.input("p", (count,)), 0
    h = b.constant(rng.normal(size=(batch, sizes[0])), dtype)
    for m, n in itertools.pairwise(sizes):
        h = b.matmul(h, b.view(p, at, (m, n), (1, m + 1))) + b.view(p, at + m, (batch, n), (0, m + 1))
        h = b.math.tanh(h)
        at += (m + 1) * n
    loss = b.sum(h * h, (0, 1)) * (1.0 / batch) + 1e-4 * b.sum(p * p, (0,))
    gradient = differentiate(loss, [p])[0]
    outputs = {"loss": loss, "gradient": gradient, "new": p - 0.1 * gradient}
    return Program(outputs).expanded(b), rng.normal(size=count).astype(dtype) * 0.3


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("sizes", "batch"), [((2, 16, 16, 1), 100), ((3, 5, 2), 7), ((30, 64, 27), 33), ((1, 1), 1), ((70, 90, 40), 64)]
)
def test_a_network_with_its_gradient(sizes, batch, dtype, isa):
    program, p = network(sizes, batch, dtype)
    agree(program, {"p": p}, tolerance=1e-12 if dtype == "float64" else 1e-5, isa=isa)


def test_a_carried_output_trains_in_place():
    program, p = network((2, 8, 1), 50)
    executable = Executable(program, carry={"new": "p"})
    executable.inputs["p"][:] = p
    for _ in range(20):
        expected = reference(program, {"p": p})
        executable.execute()
        assert executable.outputs["loss"] == pytest.approx(expected["loss"], rel=1e-12)
        p = expected["new"]
        np.testing.assert_allclose(executable.inputs["p"], p, rtol=1e-11)


def moments(order):
    """Adam-like updates of two parameters that read each other: old numbers must be read before they are written over."""
    b = Builder()
    p, q, m = (b.input(k, (700,)) for k in "pqm")
    total = b.sum(p * q, (0,))
    new = {"m2": m * 0.9 + q * 0.1}
    new["p2"] = p * 0.99 - new["m2"] * b.math.sqrt(b.math.abs(q) + 1e-3) + total * 1e-4
    new["q2"] = (q + p * m) * 0.5
    new["old"] = b.reshape(p, (7, 100))
    return Program({name: new[name] for name in order} | {"total": total, "late": b.sum(q * new["p2"], (0,))})


@pytest.mark.parametrize("order", list(itertools.permutations(["m2", "p2", "q2", "old"])))
def test_carried_outputs_that_read_each_other(order):
    program, rng = moments(order), np.random.default_rng(0)
    given = {k: rng.normal(size=700) for k in "pqm"}
    executable = Executable(program, carry={"m2": "m", "p2": "p", "q2": "q"})
    for name, array in executable.inputs.items():
        array[...] = given[name]
    for _ in range(3):
        expected = {name: np.array(x) for name, x in reference(program, given).items()}
        executable.execute()
        for name, x in expected.items():
            np.testing.assert_allclose(executable.outputs[name], x, rtol=1e-11, atol=1e-13, err_msg=name)
        given = {"m": expected["m2"], "p": expected["p2"], "q": expected["q2"]}
        for name, x in given.items():
            np.testing.assert_allclose(executable.inputs[name], x, rtol=1e-11, err_msg=name)


@pytest.mark.parametrize("late", [False, True])
def test_what_is_carried_is_written_over_though_the_new_numbers_are_read(late):
    """An update sums its new numbers to see whether they are finite. late: the old ones are read after that."""
    b = Builder()
    p, g = b.input("p", (7000,)), b.input("g", (7000,))
    new = p - 0.1 * g
    out = {"new": new, "lost": b.sum(new * 0.0, (0,)), "twice": new * 2.0}
    if late:
        out["moved"] = b.math.tanh(out["twice"]) + p
    given = {name: np.random.default_rng(1).normal(size=7000) for name in "pg"}
    executable = Executable(Program(out), carry={"new": "p"})
    for name, array in executable.inputs.items():
        array[...] = given[name]
    for _ in range(3):
        expected = reference(Program(out), given)
        executable.execute()
        for name, x in expected.items():
            np.testing.assert_allclose(executable.outputs[name], x, rtol=1e-12, atol=1e-13, err_msg=name)
        np.testing.assert_array_equal(executable.inputs["p"], executable.outputs["new"])
        given["p"] = np.array(expected["new"])
    assert (executable.outputs["new"] is executable.inputs["p"]) is not late


def carries(outputs, carry, given):
    program = Program(outputs)
    executable = Executable(program, carry=carry)
    for name, array in executable.inputs.items():
        array[...] = given[name]
    expected = {name: np.array(x) for name, x in reference(program, given).items()}
    executable.execute()
    for name, x in expected.items():
        np.testing.assert_allclose(executable.outputs[name], x, rtol=1e-11, err_msg=name)
    for output, name in carry.items():
        np.testing.assert_allclose(executable.inputs[name], expected[output], rtol=1e-11, err_msg=name)


def test_old_numbers_that_are_needed_later_are_kept():
    b = Builder()
    p = b.input("p", (600,))
    new = p * 0.5
    later = b.matmul(b.reshape(new, (20, 30)), b.reshape(p, (30, 20)))
    carries({"new": new, "later": later}, {"new": "p"}, {"p": np.linspace(1, 2, 600)})


def test_two_parameters_that_swap():
    b = Builder()
    p, q = b.input("p", (600,)), b.input("q", (600,))
    given = {"p": np.linspace(1, 2, 600), "q": np.linspace(3, 5, 600)}
    carries({"p2": p - 0.1 * q, "q2": q + p}, {"p2": "p", "q2": "q"}, given)
    carries({"p2": q * 1.0, "q2": p * 1.0, "both": p / q}, {"p2": "p", "q2": "q"}, given)


def test_nothing_is_written_over_when_an_index_can_stop_the_run():
    b = Builder()
    p = b.input("p", (4,))
    new = p + 1.0
    executable = Executable(Program({"new": new, "y": b.gather(b.input("t", (4,)), b.astype(new, "int64"))}), carry={"new": "p"})
    executable.inputs["p"][:] = [0.0, 1.0, 9.0, 0.0]
    with pytest.raises(InputError, match="rows to take from"):
        executable.execute()
    assert executable.inputs["p"].tolist() == [0, 1, 9, 0]


def test_a_sum_over_as_many_elements_as_what_it_is_added_to():
    b = Builder()
    p, x = b.input("p", (60_000,)), b.input("x", (5, 4000, 3))
    total = p * 1.5 + b.unview(b.sum(x * 2.0, (0,)), 1, (3, 1), 60_000)
    agree(Program({"y": total}), {"p": np.arange(60_000.0), "x": np.random.default_rng(0).normal(size=(5, 4000, 3))})


def test_products_that_are_read_transposed_and_otherwise():
    rng = np.random.default_rng(0)
    b = Builder()
    y = b.matmul(b.input("a", (4, 5)), b.input("b", (5, 6)))
    t = b.transpose(y, (1, 0))
    for out in (
        {"t": t},
        {"t": t, "again": t * 2.0, "sum": b.sum(y, (0,))},
        {"t": t, "part": b.view(y, 2, (6, 3), (1, 6)) * 2.0},
        {"t": t, "back": b.view(y, 23, (24,), (-1,)) * 2.0},
        {"t": t * 3.0, "plain": y},
        {"t": b.getitem(t, (slice(1, 5, 2),)), "u": b.reshape(t, (24,)), "v": b.broadcast_to(t, (2, 6, 4))},
    ):
        agree(Program(out), {"a": rng.normal(size=(4, 5)), "b": rng.normal(size=(5, 6))})


def test_a_simple_update_is_written_over_its_input():
    b = Builder()
    p, g = b.input("p", (5,)), b.input("g", (5,))
    executable = Executable(Program({"loss": b.sum(p * g, (0,)), "new": p - 0.5 * g}), carry={"new": "p"})
    assert executable.outputs["new"] is executable.inputs["p"]
    mine = np.ones(5)
    executable.bind("p", mine)
    executable.inputs["g"][:] = 1.0
    executable.execute()
    assert executable.outputs["new"] is mine
    assert mine.tolist() == [0.5] * 5
    assert executable.outputs["loss"] == 5


@pytest.mark.parametrize("carry", [{"no": "p"}, {"new": "no"}, {"loss": "p"}])
def test_what_cannot_be_carried(carry):
    with pytest.raises(InputError, match=r"not an output and an input|cannot be carried"):
        Executable(network((2, 3, 1), 5)[0], carry=carry)


# ---- matrix products -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("m", [1, 2, 3, 7, 16, 33, 70])
def test_products_of_all_layouts(m, dtype, isa):
    rng = np.random.default_rng(m)
    for k in (2, 5, 16, 70, 300):
        for n in (1, 2, 3, 8, 15, 16, 27, 64, 65, 130):
            b = Builder(dtype)
            a, c = b.input("a", (m, k)), b.input("c", (k, n))
            at, ct = b.transpose(b.input("at", (k, m)), (1, 0)), b.transpose(b.input("ct", (n, k)), (1, 0))
            odd = b.view(b.input("odd", (3 * m * k,)), 1, (m, k), (2, 2 * m))
            out = {f"y{i}": b.matmul(x, y) for i, (x, y) in enumerate([(a, c), (at, c), (a, ct), (at, ct), (odd, c)])}
            out["flat"] = b.unview(b.matmul(a, ct), 3, (1, m + 1), (m + 1) * n + 3)
            out["more"] = b.input("base", (m * n + 2,)) + b.unview(b.matmul(at, c), 1, (n, 1), m * n + 2)
            program = Program(out)
            given = {line.name: rng.normal(size=line.shape).astype(dtype) for line in program.inputs}
            agree(program, given, tolerance=1e-13 if dtype == "float64" else 2e-5, isa=isa, threads=1)


def test_batched_products():
    rng = np.random.default_rng(0)
    b = Builder()
    a, c = b.input("a", (3, 4, 5, 6)), b.input("c", (4, 6, 7))
    big = b.matmul(b.input("x", (2, 80, 70)), b.transpose(b.input("y", (2, 60, 70)), (0, 2, 1)))
    out = {"y": b.matmul(a, c), "t": b.matmul(b.transpose(a, (1, 0, 2, 3)), b.reshape(c, (4, 1, 6, 7))), "big": big}
    program = Program(out)
    agree(program, {line.name: rng.normal(size=line.shape) for line in program.inputs})


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_large_products_with_and_without_blas(dtype):
    rng = np.random.default_rng(0)
    b = Builder(dtype)
    x, w = b.input("x", (130, 257)), b.input("w", (190, 257))
    flat = b.unview(b.matmul(b.transpose(x, (1, 0)), b.input("g", (130, 190))), 5, (1, 258), 258 * 190 + 5)
    out = {
        "y": b.matmul(x, b.transpose(w, (1, 0))),
        "flat": flat,
        "odd": b.matmul(b.view(x, 0, (120, 120), (257, 2)), b.input("z", (120, 120))),
    }
    program = Program(out)
    given = {line.name: rng.normal(size=line.shape).astype(dtype) for line in program.inputs}
    tolerance = 1e-13 if dtype == "float64" else 1e-5
    agree(program, given, tolerance=tolerance)
    if native.blas():
        native._executor.set_blas(0, 0, False, 0, 0)
        try:
            agree(program, given, tolerance=tolerance, threads=3)
            agree(program, given, tolerance=tolerance, threads=1)
        finally:
            native._executor.set_blas(*native._addresses)


# ---- indices, empty arrays, integers ---------------------------------------------------------------------------------


def lookups():
    b = Builder()
    table, i = b.input("table", (5, 3)), b.input("i", (4,), "int64")
    return Program({"rows": b.gather(table, i), "back": b.scatter(b.input("g", (4, 3)), i, 5), "sum": b.sum(table, (0, 1))})


@pytest.mark.parametrize("bad", [5, -6, 2**62, -(2**63)])
def test_an_index_outside_is_an_error_that_names_it_and_changes_nothing(bad):
    executable = Executable(lookups())
    given = {"table": np.ones((5, 3)), "i": np.array([0, 4, -5, -1]), "g": np.ones((4, 3))}
    before = executable.run(given)
    assert before["rows"].sum() == 12
    with pytest.raises(InputError, match=rf"i holds {bad} at place 2, but there are 5 rows to take from"):
        executable.run({**given, "i": np.array([0, 1, bad, 9]), "table": np.zeros((5, 3))})
    assert executable.outputs["sum"] == 15
    again = executable.run(given)
    assert all(np.array_equal(before[name], again[name]) for name in before)


def test_rows_that_are_added_to_an_array_of_another_shape():
    b = Builder()
    added = b.scatter(b.input("g", (8,)), b.constant(np.array([3, 0, 4, 1, 5, 2, 5, 5])), 6)
    more = b.scatter(b.input("h", (2, 2)), b.input("i", (2,), "int64"), 3)
    out = {"y": b.reshape(added, (3, 2)) + b.input("p", (3, 2)) + more, "z": b.reshape(added * 2.0, (2, 3))}
    agree(Program(out), {"g": np.arange(8.0), "h": np.ones((2, 2)), "i": np.array([2, 0]), "p": np.full((3, 2), 0.5)})
    out = {"y": b.reshape(added, (3, 2)) + b.input("p", (3, 2)) + more}
    agree(Program(out), {"g": np.arange(8.0), "h": np.ones((2, 2)), "i": np.array([2, 0]), "p": np.full((3, 2), 0.5)})


def test_a_computed_index_outside_is_an_error():
    b = Builder()
    i = b.astype(b.input("x", (3,)) * 2.0, "int64")
    executable = Executable(Program({"y": b.gather(b.input("t", (4,)), i)}))
    assert executable.run({"x": [0.0, 1.0, 1.5], "t": [5.0, 6.0, 7.0, 8.0]})["y"].tolist() == [5, 7, 8]
    for bad in (2.0, 1e300, np.nan):
        with pytest.raises(InputError, match="rows to take from"):
            executable.run({"x": [0.0, 1.0, bad], "t": [0.0] * 4})


def test_a_constant_index_outside_is_refused():
    b = Builder()
    with pytest.raises(CompileError, match="constant index 7 is out of range for 4 rows"):
        Executable(Program({"y": b.gather(b.input("t", (4,)), b.constant(np.array([1, 7])))}))


@pytest.mark.parametrize("n", [0, 1])
def test_empty_arrays(n):
    b = Builder()
    x, i = b.input("x", (n, 3)), b.input("i", (n,), "int64")
    w = b.input("w", (3, 4))
    y = b.matmul(x, w)
    t = b.input("t", (2, 3))
    out = {
        "y": b.math.tanh(y), "s": b.sum(y, (0,)), "all": b.sum(x * x, (0, 1)), "k": b.matmul(b.transpose(x, (1, 0)), x),
        "g": b.gather(t, i), "b": b.scatter(x, i, 2), "c": b.concatenate([x, t], 0), "v": b.view(x, 0, (n, 1), (3, 1)),
        "u": b.unview(x, 0, (3, 1), 9) + b.input("p", (9,)), "w": w * 2.0,
    }  # fmt: skip
    program = Program(out)
    rng = np.random.default_rng(0)
    given = {
        line.name: rng.normal(size=line.shape) if line.dtype.kind == "f" else np.zeros(line.shape, int) for line in program.inputs
    }
    agree(program, given)


def test_the_largest_of_nothing_is_refused():
    b = Builder()
    with pytest.raises(CompileError, match=r"amax of an array without elements, of shape \(0, 3\), has no value"):
        Executable(Program({"y": b.sum(b.input("x", (0, 3)), (0,), row="amax")}))


def test_nan_wins_in_reductions():
    b = Builder()
    x = b.input("x", (3, 50))
    data = np.random.default_rng(0).normal(size=(3, 50))
    data[1, 30] = np.nan
    out = {f"{row}{axis}": b.sum(x, axis, row=row) for row in ("sum", "amax", "amin") for axis in ((0,), (1,), (0, 1))}
    agree(Program(out), {"x": data})


def test_integers_and_truth_values():
    b = Builder()
    labels, mask, x = b.input("labels", (6,), "int64"), b.input("mask", (6,), "bool"), b.input("x", (6, 4))
    hot = b.reshape(b.astype(labels, "float64"), (6, 1)) == b.constant(np.arange(4.0))
    out = {
        "hot": b.math.where(hot, x, 0.0), "truth": hot, "masked": b.math.where(mask, labels, x.builder.constant(0.5)),
        "cast": b.astype(x * 3.0, "int64"), "number": b.astype(mask, "float64"), "labels": labels, "mask": mask,
        "every": b.view(labels, 0, (3,), (2,)), "nonzero": b.astype(x, "bool"),
    }  # fmt: skip
    rng = np.random.default_rng(2)
    given = {"labels": rng.integers(0, 4, 6), "mask": rng.random(6) < 0.5, "x": rng.normal(size=(6, 4))}
    program = Program(out)
    found = Executable(program).run(given)
    for name, want in reference(program, given).items():
        np.testing.assert_array_equal(found[name], want, err_msg=name)
        assert found[name].dtype == program.outputs[name].dtype, name


def test_two_kinds_of_numbers_are_refused():
    b = Builder()
    with pytest.raises(CompileError, match="in float64 or in float32, not in float32 and float64"):
        Executable(Program({"y": b.astype(b.input("x", (2,)), "float32")}))


def test_a_row_that_is_not_expanded_is_refused():
    b = Builder()
    y = b.make(ops.ARRAY_TABLE["softmax"], (b.input("x", (2, 3)),), (2, 3), "float64", {"axis": 1})
    with pytest.raises(CompileError, match="no softmax; expand the program first"):
        Executable(Program({"y": y}))


# ---- outputs and inputs ----------------------------------------------------------------------------------------------


def test_outputs_that_are_inputs_constants_views_or_each_other():
    b = Builder()
    x = b.input("x", (2, 3))
    y = x * 2.0
    out = {
        "x": x, "again": x, "c": b.constant([1.0, 2.0]), "t": b.transpose(x, (1, 0)), "y": y, "same": y,
        "flat": b.reshape(y, (6,)), "part": b.view(y, 1, (2,), (2,)), "one": b.broadcast_to(b.constant(3.0), (4,)),
        "sum": b.sum(y, (0,)),
    }  # fmt: skip
    agree(Program(out), {"x": np.arange(6.0).reshape(2, 3)})


def test_inputs_are_checked():
    b = Builder()
    executable = Executable(Program({"y": b.input("x", (2, 3)) * 2.0}))
    with pytest.raises(InputError, match="the input 'x' is missing"):
        executable.run({})
    with pytest.raises(InputError, match=r"input 'x' has shape \(6,\), not \(2, 3\)"):
        executable.run({"x": np.zeros(6)})


def test_an_array_can_be_read_in_place():
    b = Builder()
    executable = Executable(Program({"y": b.math.exp(b.input("x", (4,))) + 1.0}))
    mine = np.zeros(4)
    executable.bind("x", mine)
    executable.execute()
    assert executable.outputs["y"].tolist() == [2.0] * 4
    mine[:] = np.inf
    executable.execute()
    assert executable.outputs["y"].tolist() == [np.inf] * 4
    for bad in (np.zeros(5), np.zeros(4, "f4"), np.zeros(8)[::2], np.frombuffer(bytes(32))):
        with pytest.raises(InputError, match="input 'x' "):
            executable.bind("x", bad)
    with pytest.raises(InputError, match="no input 'z'; it has x"):
        executable.bind("z", mine)


@pytest.mark.parametrize("threads", [0, -1, 1.5])
def test_threads_are_checked(threads):
    b = Builder()
    with pytest.raises(InputError, match="threads must be a positive integer"):
        Executable(Program({"y": b.input("x", ()) * 2.0}), threads=threads)


# ---- threads, memory -------------------------------------------------------------------------------------------------


def wide(n=300_000):
    b = Builder()
    x, s = b.input("x", (n,)), b.input("s", (3, n // 3))
    y = b.math.exp(b.math.tanh(x) * 2.0)
    rows = b.math.log(s * s + 1.0)
    out = {
        "y": y,
        "sum": b.sum(y, (0,)),
        "rows": b.sum(rows, (1,)),
        "columns": b.sum(rows, (0,)),
        "max": b.sum(s, (0, 1), row="amax"),
    }
    rng = np.random.default_rng(0)
    return Program(out), {"x": rng.normal(size=n), "s": rng.normal(size=(3, n // 3))}


def test_threads_give_the_same():
    program, given = wide()
    one = agree(program, given, threads=1).outputs
    for threads in (2, 3, 7):
        many = agree(program, given, threads=threads).outputs
        for name in one:
            np.testing.assert_allclose(many[name], one[name], rtol=1e-12)


def test_two_executables_at_once_from_two_threads():
    program, given = wide(150_000)
    expected = reference(program, given)
    executables = [Executable(program, threads=2) for _ in range(3)]
    failures = []

    def work(executable):
        for _ in range(10):
            found = executable.run(given)
            if not np.allclose(found["y"], expected["y"], rtol=1e-12) or not np.isclose(found["sum"], expected["sum"]):
                failures.append(executable)

    threads = [threading.Thread(target=work, args=(e,)) for e in executables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_one_executable_from_two_threads_is_an_error_or_waits_its_turn():
    program, given = wide(400_000)
    executable = Executable(program, threads=1)
    executable.run(given)
    told = []

    def work():
        for _ in range(30):
            try:
                executable.execute()
            except RuntimeError as error:
                told.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("running in another thread" in text for text in told)
    executable.execute()
    np.testing.assert_allclose(executable.outputs["y"], reference(program, given)["y"], rtol=1e-12)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_runs_on():
    program, given = wide(200_000)
    executable = Executable(program, threads=2)
    expected = executable.run(given)["sum"]
    child = os.fork()
    if child == 0:
        same = executable.run(given)["sum"] == expected
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_many_runs_do_not_grow_memory():
    program, p = network((2, 16, 16, 1), 100)
    executable = Executable(program)
    executable.run({"p": p})
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(5000):
        executable.execute()
    for _ in range(100):
        Executable(program).run({"p": p})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8_000


def test_a_long_program_is_planned_in_linear_time_and_little_memory():
    b = Builder()
    x = y = b.input("x", (10,))
    for i in range(3000):
        y = b.math.tanh(y * (1.0 + i * 1e-4)) + x if i % 7 else b.matmul(b.reshape(y, (2, 5)), b.constant(np.eye(5) * 0.5))
        y = b.reshape(y, (10,))
    executable = agree(Program({"y": y}), {"x": np.linspace(-1, 1, 10)}, tolerance=1e-9)
    assert sum(array.nbytes for array in executable._buffers) < 500_000


# ---- a plan that is not one ------------------------------------------------------------------------------------------


def _plan(code, buffers):
    return native._executor.Plan(np.array(code, np.int64), buffers, [""] * len(buffers), InputError, False, 2, False, False)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_plan_is_refused_or_harmless(data):
    """Every place is checked when a plan is read: no change of a number can make a run touch other memory."""
    program, _ = network((2, 4, 1), 9)
    b = Builder()
    i = b.input("i", (4,), "int64")
    other = Program({"y": b.gather(b.input("t", (5, 3)), i), "z": b.scatter(b.input("g", (4, 3)), i, 5)})
    for source in (program, other):
        lowered = native.Lowering(source)
        plan = native.Emitter(lowered, native.Schedule(lowered), native._executor.ROWS).emit({})
        code = plan.code.copy()
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(code) - 1))
            code[at] = data.draw(st.one_of(st.integers(-3, 40), st.sampled_from([2**31, 2**40, -(2**62), 2**62])))
        try:
            made = _plan(code, plan.buffers)
        except (ValueError, MemoryError):
            continue
        with contextlib.suppress(InputError):
            made.run()


def test_a_plan_that_ends_too_early():
    with pytest.raises(ValueError, match="it ends too early"):
        _plan([2], [np.zeros(4)])
    with pytest.raises(ValueError, match="goes on behind its end"):
        _plan([0, 1], [np.zeros(4)])


def test_an_executor_from_other_sources_is_refused(monkeypatch):
    class Stale:
        SOURCE_HASH = "0"

    monkeypatch.setattr(native.importlib, "import_module", lambda name: Stale)
    assert native._load() == (None, "the native executor was built from other sources; build it again: pip install -e .")


def test_every_source_of_the_executor_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "HERE", str(tmp_path / "native"))
    (tmp_path / "native").mkdir()
    assert sources.executor_hash() == ""
    hashes = set()
    for changed in (None, *sources.EXECUTOR_FILES):
        for name in sources.EXECUTOR_FILES:
            content = (Path(native.__file__).parents[1] / "native" / name).read_bytes()
            (tmp_path / "native" / name).write_bytes(content + b" " * (name == changed))
        hashes.add(sources.executor_hash())
    assert len(hashes) == 1 + len(sources.EXECUTOR_FILES)


def test_pure_python_has_no_executor(monkeypatch):
    monkeypatch.setattr(native, "_executor", None)
    monkeypatch.setattr(native, "_reason", "CHAINRULE_PURE is set")
    b = Builder()
    assert not native.available()
    with pytest.raises(CompileError, match="no native executor: CHAINRULE_PURE is set"):
        Executable(Program({"y": b.input("x", ()) * 2.0}))
