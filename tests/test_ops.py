"""The table, row by row: a new row costs no test code here. And the tester is tested."""

import dataclasses
import itertools
import math
import pickle
import random

import numpy as np
import pytest

from chainrule import ops
from chainrule.errors import DomainError, OperationError
from chainrule.ops import BUILT_IN, Op

rows = pytest.mark.parametrize("op", BUILT_IN, ids=lambda op: op.name)


def run(engine, op, xs):
    """The row on Values, through the method or function a user types."""
    if op.method.startswith("__"):
        return getattr(xs[0], op.method)(*xs[1:])
    return getattr(xs[0], op.name)(*xs[1:]) if op.arity <= 2 else getattr(engine, op.name)(*xs)


def draws(op, count=20):
    rng = random.Random(f"{op.name} in the tests")
    return [op.sample(rng) for _ in range(count)]


def test_the_issue_lists_these_rows():
    wanted = "add sub mul div neg pow exp log sqrt sin cos tanh sigmoid relu softplus abs maximum minimum where"
    assert set(wanted.split()) <= {op.name for op in BUILT_IN}
    assert set(ops.INTRINSICS) <= {op.name for op in BUILT_IN}


@rows
def test_derivatives_agree_with_centred_differences(op):
    ops.check_derivatives(op, samples=200)


@rows
@pytest.mark.parametrize("factor", [1.001, 1.00001], ids=["thousandth", "hundred-thousandth"])
def test_a_derivative_slightly_off_is_found(op, factor):
    for i, rule in enumerate(op.derivatives):
        if rule is not None:
            wrong = [*op.derivatives]
            wrong[i] = lambda m, y, *xs, rule=rule: factor * rule(m, y, *xs)
            spoilt = dataclasses.replace(op)
            object.__setattr__(spoilt, "derivatives", tuple(wrong))
            with pytest.raises(OperationError, match=f"by input {i}"):
                ops.check_derivatives(spoilt)


@rows
def test_values_at_the_edges_are_those_of_pytorch(engine, op):
    torch = pytest.importorskip("torch")
    numbers = [0.0, -0.0, 1.0, -1.0, 2.0, -2.5, 1e-300, 1e300, math.inf, -math.inf, math.nan]
    theirs = {
        "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "neg": torch.neg, "pow": torch.pow,
        "where": lambda c, a, b: torch.where(c != 0, a, b), "softplus": lambda x: torch.logaddexp(x, x * 0),
    }  # fmt: skip
    if op.name in ("softplus", "where"):
        numbers = numbers[:-3]  # logaddexp of an infinite number has no slope; a NaN condition is a matter of taste
    for point in itertools.product(numbers, repeat=op.arity):
        xs = [engine.Value(x) for x in point]
        ts = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in point]
        try:
            y = run(engine, op, xs)
            found = engine.gradients(y, xs)
        except DomainError:
            continue
        t = theirs.get(op.name, getattr(torch, op.name, None))(*ts)
        t.backward()
        expected = [t.item(), *(0.0 if u.grad is None else u.grad.item() for u in ts)]
        if op.name == "pow" and point[1] == -math.inf:
            continue  # by the exponent, at a base of 0: -inf there, NaN here
        np.testing.assert_allclose([y.data, *found.values()], expected, rtol=1e-12, atol=1e-300, err_msg=str(point))


@rows
def test_value_and_gradient_on_the_domain(engine, op):
    for point in draws(op):
        xs = [engine.Value(x) for x in point]
        y = run(engine, op, xs)
        assert y.data == op.forward(ops.FloatMath, *point)
        assert y.op is op
        found = engine.gradients(y, xs)
        for x, derivative in zip(xs, op.derivatives, strict=True):
            expected = 0.0 if derivative is None else derivative(ops.FloatMath, y.data, *point)
            assert found[x] == expected


@rows
def test_native_equals_pure_to_the_last_digit(both, op):
    pure, native = both
    for point in draws(op, 200):
        mine, theirs = [pure.Value(x) for x in point], [native.Value(x) for x in point]
        y, z = run(pure, op, mine), run(native, op, theirs)
        assert y.data == z.data
        assert list(pure.gradients(y, mine).values()) == list(native.gradients(z, theirs).values())


SPECIAL = (0.0, -0.0, 1.0, -1.0, 2.0, -2.5, 1e-310, 1e300, -1e300, 710.0, -745.0, math.inf, -math.inf, math.nan)


@rows
def test_native_equals_pure_at_special_values(both, op):
    rng = random.Random(op.name)
    points = [[x] * op.arity for x in SPECIAL] + [[rng.choice(SPECIAL) for _ in range(op.arity)] for _ in range(300)]
    for point in points:
        outcomes = []
        for engine in both:
            xs = [engine.Value(x, label="abc"[i]) for i, x in enumerate(point)]
            try:
                y = run(engine, op, xs)
                outcomes.append([y.data, *engine.gradients(y, xs).values()])
            except ValueError as error:
                outcomes.append([type(error), str(error)])
        assert str(outcomes[0]) == str(outcomes[1]), point


@rows
def test_second_derivatives_agree_with_differences_of_the_first(engine, op):
    h = 1e-5
    for point in draws(op, 5):
        for i, derivative in enumerate(op.derivatives):
            if derivative is None or op.name in ("relu", "abs", "maximum", "minimum"):
                continue
            xs = [engine.Value(x) for x in point]
            first = engine.gradients(run(engine, op, xs), xs, create_graph=True)[xs[i]]
            exact = engine.gradients(first, xs)[xs[i]] if first.requires_grad else 0.0
            moved = []
            for step in (-h, h):
                ys = [engine.Value(x + step * (j == i)) for j, x in enumerate(point)]
                moved.append(engine.gradients(run(engine, op, ys), ys)[ys[i]])
            assert exact == pytest.approx((moved[1] - moved[0]) / (2 * h), rel=1e-5, abs=1e-5)


@rows
def test_rows_run_on_arrays_too(op):
    """The rules are written for any owner of numbers: the same row, with NumPy for `m`."""

    class ArrayMath:
        abs, cos, exp, log, log1p = np.abs, np.cos, np.exp, np.log, np.log1p
        maximum, minimum, pow, sin, sqrt, tanh, where = (
            np.maximum, np.minimum, np.power, np.sin, np.sqrt, np.tanh, np.where,
        )  # fmt: skip

        @staticmethod
        def sigmoid(x):
            return 1 / (1 + np.exp(-x))

    points = draws(op)
    columns = [np.array(column) for column in zip(*points, strict=True)]
    y = op.forward(ArrayMath, *columns)
    np.testing.assert_allclose(y, [op.forward(ops.FloatMath, *p) for p in points], rtol=1e-14)
    for derivative in op.derivatives:
        if derivative is not None:
            expected = [derivative(ops.FloatMath, op.forward(ops.FloatMath, *p), *p) for p in points]
            np.testing.assert_allclose(np.broadcast_to(derivative(ArrayMath, y, *columns), y.shape), expected, rtol=1e-13)


@rows
def test_a_row_is_pickled_by_name(op):
    assert pickle.loads(pickle.dumps(op)) is op
    assert op.doc.endswith(".")


def double(**changes):
    parts = {
        "name": "double", "symbol": "2x", "forward": lambda m, x: 2 * x,
        "derivatives": (lambda m, y, x: 2.0,), "domain": ((-1.0, 1.0),), "doc": "Twice x.",
    }  # fmt: skip
    return Op(**{**parts, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "2x"}, "must be an identifier, not '2x'"),
        ({"derivatives": ()}, "at least one input"),
        ({"derivatives": (lambda m, y, x: 2.0,) * 2}, "forward takes 3 parameters, not 2"),
        ({"derivatives": (lambda m, x: 2.0,)}, "derivative 0 takes 3 parameters, not 2"),
        ({"derivatives": (2.0,)}, "derivative 0 is not callable"),
        ({"forward": None}, "forward is not callable"),
        ({"domain": ()}, "a domain for 0 inputs"),
        ({"domain": ((1.0, -1.0),)}, "not a .low, high. interval"),
        ({"domain": ((0.0, math.inf),)}, "not a .low, high. interval"),
        ({"domain": (frozenset(),)}, "not a .low, high. interval"),
    ],
)
def test_a_record_validates_itself(changes, message):
    assert double().arity == 1
    with pytest.raises(OperationError, match=message):
        double(**changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tanh", lambda m, x: x, [lambda m, y, x: 1.0], [(0, 1)]), "'tanh' is built in; choose another name"),
        (("new", lambda m, x: m.log(x), [lambda m, y, x: 1 / x], [(-1, 1)]), "fails on its own domain"),
        (("new", lambda m, x: m.gamma(x), [lambda m, y, x: 1 / x], [(1, 2)]), "fails on its own domain.*gamma"),
        (("new", lambda m, x: x * math.inf, [lambda m, y, x: math.inf], [(1, 2)]), "not finite"),
        (("new", lambda m, x: x, lambda m, y, x: 1.0, [(0, 1)]), "derivatives must be a list"),
        (("new", lambda m, x: x, [lambda m, y, x: 1.0], {0: 1}), "domain must be a list"),
        (("new", lambda m, x: m.sin(1e5 * x), [lambda m, y, x: 1e5 * m.cos(1e5 * x)], [(0, 1)]), "no slope by input 0 at most"),
        (("new", lambda m, x: 1e-9 * x * x, [lambda m, y, x: 5e-9 * x], [(0, 1)]), "centred differences"),
        (("new", lambda m, x: 1e9 * x * x, [lambda m, y, x: 2.001e9 * x], [(0, 1)]), "centred differences"),
        (("class", lambda m, x: x, [lambda m, y, x: 1.0], [(0, 1)]), "must be an identifier"),
        (("new", lambda m, x: x, [lambda m, y, x: 1.0], [frozenset("ab")]), "not a .low, high. interval"),
    ],
)
def test_a_bad_row_is_refused(arguments, message):
    before = dict(ops.TABLE)
    with pytest.raises(OperationError, match=message):
        ops.add_row(*arguments)
    assert before == ops.TABLE


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e12])
def test_small_and_large_right_rows_pass(scale):
    ops.check_derivatives(double(forward=lambda m, x: scale * x * x, derivatives=(lambda m, y, x: 2 * scale * x,)))


def test_at_least_half_of_the_points_must_have_a_slope():
    # sign(sin) jumps at multiples of pi / frequency: within 1e-5 of a jump there is no slope.
    def saw(frequency):
        return double(
            forward=lambda m, x: m.where(m.sin(frequency * x) > 0, 1.0, -1.0),
            derivatives=(lambda m, y, x: 0.0,),
        )

    ops.check_derivatives(saw(2e4))  # about one point in eight is at a jump
    with pytest.raises(OperationError, match="no slope by input 0 at most points"):
        ops.check_derivatives(saw(2.5e5))
