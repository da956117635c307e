"""Compiled functions of numbers: mapped over arrays, with derivatives, against the plain engine's grad and hessian."""

import math
import random
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule
from chainrule import Value, engine, ops
from chainrule.compiler.executors import EXECUTORS
from chainrule.errors import ChainruleError, CompileError, DomainError, InputError

drawing = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


def price(S, K, r=0.01, *, sigma=0.2, T=1.0):
    """A formula in the manner of Black and Scholes, with tanh in the place of the error function."""
    spread = sigma * chainrule.sqrt(T)
    d1 = (chainrule.log(S / K) + (r + sigma * sigma / 2) * T) / spread
    return S * normal(d1) - K * chainrule.exp(-r * T) * normal(d1 - spread)


def normal(x):
    return 0.5 * (1 + chainrule.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))


@pytest.fixture(params=EXECUTORS)
def f(request):
    return chainrule.compile(price, executor=request.param)


def test_arguments_by_position_by_name_and_by_default(f):
    S = np.linspace(80, 120, 5)
    expected = [price(Value(s), 100.0, 0.01, sigma=0.2, T=1.0).data for s in S]
    for found in (
        f(S, 100.0),
        f(S, K=100),
        f(S=S, K=100.0, r=0.01, sigma=0.2, T=1),
        f(K=100.0, S=S),
        f(S, np.full(5, 100), T=True),
    ):
        assert found == pytest.approx(expected, rel=1e-13)
    other = price(Value(80.0), 90.0, 0.03, sigma=0.1, T=2.0).data
    assert f(80.0, 90.0, 0.03, sigma=0.1, T=2.0) == pytest.approx(other, rel=1e-13)
    assert type(f(80.0, 90)) is float


def test_shapes_broadcast(f):
    S, K, T = np.linspace(80, 120, 4)[:, None], np.linspace(90, 110, 3), np.array([[[0.5]], [[1.0]]])
    found = f(S, K, T=T)
    value, slopes = f.value_and_grad(S, K, T=T)
    curves = f.hessian_diagonal(S, K, T=T)
    assert found.shape == value.shape == (2, 4, 3)
    assert sorted(slopes) == sorted(curves) == ["K", "S", "T", "r", "sigma"]
    assert all(x.shape == (2, 4, 3) for x in (*slopes.values(), *curves.values()))
    names = ["S", "K", "r", "sigma", "T"]
    for t, i, j in np.ndindex(2, 4, 3):
        point = [float(S[i, 0]), float(K[j]), 0.01, 0.2, float(T[t, 0, 0])]
        plain = lambda S, K, r, sigma, T: price(S, K, r, sigma=sigma, T=T)  # noqa: E731
        expected, gradient = chainrule.value_and_grad(plain, argnums=(0, 1, 2, 3, 4))(*point)
        hessian = chainrule.hessian(plain)(*point)
        assert found[t, i, j] == pytest.approx(expected, rel=1e-12)
        for k, name in enumerate(names):
            assert slopes[name][t, i, j] == pytest.approx(gradient[k], rel=1e-10, abs=1e-12)
            assert curves[name][t, i, j] == pytest.approx(hessian[k][k], rel=1e-9, abs=1e-10)


def test_numbers_give_numbers(f):
    value, slopes = f.value_and_grad(100.0, 100.0)
    assert type(value) is float
    assert all(type(x) is float for x in (*slopes.values(), *f.hessian_diagonal(100.0, 100.0).values()))


def test_a_new_shape_and_new_numbers_are_not_the_old_ones(f):
    for n in (1, 3, 1, 4, 3):
        S = np.random.default_rng(n).uniform(80, 120, n)
        assert f(S, 100.0) == pytest.approx([price(Value(s), 100.0).data for s in S], rel=1e-12)
        assert f.value_and_grad(S, 90.0)[1]["S"] == pytest.approx([chainrule.grad(price)(s, 90.0) for s in S], rel=1e-11)


def test_no_elements_give_no_elements(f):
    value, slopes = f.value_and_grad(np.zeros(0) + 1, 100.0)
    assert value.shape == slopes["S"].shape == slopes["K"].shape == (0,)


def test_arrays_of_any_layout(f):
    S = np.linspace(80, 120, 24).reshape(4, 6)
    expected = f(S, 100.0)
    for same in (
        np.asfortranarray(S),
        S[::-1][::-1],
        np.repeat(S, 2, axis=1)[:, ::2],
        S.astype(np.float32).astype(float),
        S.tolist(),
    ):
        assert f(same, 100.0) == pytest.approx(expected, rel=1e-6)
    assert f(S.T, 100.0).shape == (6, 4)
    assert np.array_equal(f(np.asfortranarray(S), 100.0), expected)


# ---- leaving a domain -----------------------------------------------------------------------------------------------


def test_an_element_outside_of_the_domain_is_nan_and_a_single_number_raises(f):
    f(np.array([100.0, 100.0]), 100.0)
    found = f(np.array([100.0, -100.0]), 100.0)
    assert math.isfinite(found[0])
    assert math.isnan(found[1])
    value, slopes = f.value_and_grad(np.array([100.0, -100.0]), 100.0)
    assert math.isfinite(slopes["S"][0])
    assert math.isnan(value[1])
    with pytest.raises(DomainError, match=r"is outside the domain of log"):
        f(-100.0, 100.0)
    assert math.isfinite(f(100.0, 100.0))


def test_division_by_zero():
    f = chainrule.compile(lambda a, b: a / b)
    assert f(np.array([1.0, 1.0]), np.array([2.0, 0.0])).tolist() == [0.5, math.inf]
    with pytest.raises(ZeroDivisionError, match="divides by zero"):
        f(1.0, 0.0)


def test_nan_in_arrays(f):
    value, slopes = f.value_and_grad(np.array([100.0, math.nan]), 100.0)
    assert np.isnan(value).tolist() == np.isnan(slopes["S"]).tolist() == [False, True]


# ---- drawn functions ------------------------------------------------------------------------------------------------

ROWS = [op for op in ops.BUILT_IN if op.name not in ("where", "maximum", "minimum", "abs", "relu")]


def drawn(rng):
    """A smooth function of three numbers."""
    plan = [(rng.choice(ROWS), rng.randrange(100), rng.randrange(100), rng.uniform(-1, 1)) for _ in range(rng.randint(1, 5))]

    def function(x, y, z=0.5):
        made = [x, y, z, x * y, 2.0]
        for op, i, j, c in plan:
            inputs = [made[i % len(made)], made[j % len(made)]][: op.arity]
            inputs = [squeezed(v, *interval) for v, interval in zip(inputs, op.domain, strict=True)]
            made.append(engine.apply(op, *inputs) * c + made[i % len(made)] * 0.1)
        return made[-1] + made[-2] * x

    return function


def squeezed(x, low, high):
    return (low + high) / 2 + (high - low) * 0.4 * chainrule.tanh(x)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_drawn_functions_have_the_derivatives_of_the_plain_engine(executor):
    @settings(max_examples=60, **drawing)
    @given(st.integers(0, 10**6))
    def compare(seed):
        rng = random.Random(seed)
        function = drawn(rng)
        f = chainrule.compile(function, executor=executor)
        for _ in range(2):  # the second time with the numbers of no trace
            x, y = np.random.default_rng(rng.randint(0, 999)).uniform(-1.5, 1.5, (2, 4))
            value, slopes = f.value_and_grad(x, y[:1])
            curves = f.hessian_diagonal(x, y[:1])
            for k in range(4):
                point = (float(x[k]), float(y[0]), 0.5)
                expected, gradient = chainrule.value_and_grad(function, argnums=(0, 1, 2))(*point)
                hessian = chainrule.hessian(function)(*point)
                assert value[k] == pytest.approx(expected, rel=1e-12, abs=1e-13)
                size = 1 + max(map(abs, gradient))
                curved = 1 + max(abs(h) for row in hessian for h in row)
                for i, name in enumerate("xyz"):
                    assert abs(slopes[name][k] - gradient[i]) <= 1e-11 * size
                    assert abs(curves[name][k] - hessian[i][i]) <= 1e-10 * curved

    compare()


@pytest.mark.parametrize("op", ops.BUILT_IN, ids=lambda op: op.name)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_row_is_a_function_over_arrays(op, executor):
    names = ["a", "b", "c"][: op.arity]
    scope = {"apply": engine.apply, "op": op}
    f = chainrule.compile(eval(f"lambda {', '.join(names)}: apply(op, {', '.join(names)})", scope), executor=executor)
    rng = random.Random(op.name)
    points = np.array([op.sample(rng) for _ in range(8)]).T
    value, slopes = f.value_and_grad(*points)
    for k in range(8):
        xs = [Value(column[k]) for column in points]
        y = engine.apply(op, *xs)
        y.backward()
        assert value[k] == pytest.approx(y.data, rel=1e-13)
        for name, x in zip(names, xs, strict=True):
            assert slopes[name][k] == pytest.approx(x.grad, rel=1e-12, abs=1e-15)


def test_a_registered_operation_maps_and_differentiates():
    cube = engine.register("cubed", lambda m, x: x * x * x, [lambda m, y, x: 3.0 * x * x], [(-2, 2)])
    try:
        f = chainrule.compile(lambda x: cube(x) + x)
        x = np.array([-1.0, 0.5])
        assert f(x).tolist() == [-2.0, 0.625]
        assert f.value_and_grad(x)[1]["x"].tolist() == [4.0, 1.75]
        assert f.hessian_diagonal(x)["x"].tolist() == [-6.0, 3.0]
    finally:
        del ops.TABLE["cubed"]


def test_kinks_are_where_the_plain_engine_has_them():
    f = chainrule.compile(lambda x: chainrule.relu(x) + abs(x) + chainrule.maximum(x, 0.0) + chainrule.minimum(x, 0.0) * 3)
    x = np.array([-1.0, -0.0, 0.0, 1.0, math.nan])
    value, slopes = f.value_and_grad(x)
    for k in range(5):
        v = Value(x[k])
        y = chainrule.relu(v) + abs(v) + chainrule.maximum(v, 0.0) + chainrule.minimum(v, 0.0) * 3
        y.backward()
        assert np.array_equal([value[k], slopes["x"][k]], [y.data, v.grad], equal_nan=True)


# ---- several results, other results, wrong ones ---------------------------------------------------------------------


def test_several_results():
    f = chainrule.compile(lambda x, y: (x * y, x > y, 7.0))
    product, larger, seven = f(np.array([1.0, 2.0, 3.0]), 2.0)
    assert product.tolist() == [2.0, 4.0, 6.0]
    assert np.array_equal(larger, [0, 0, 1])
    assert seven.tolist() == [7.0, 7.0, 7.0]
    with pytest.raises(CompileError, match="this function returns several"):
        f.value_and_grad(1.0, 2.0)


def test_constants_and_identities():
    f = chainrule.compile(lambda x, y: 3.0)
    value, slopes = f.value_and_grad(np.ones(3), 2.0)
    assert value.tolist() == [3.0, 3.0, 3.0]
    assert slopes["x"].tolist() == slopes["y"].tolist() == [0.0, 0.0, 0.0]
    g = chainrule.compile(lambda x, y: x)
    value, slopes = g.value_and_grad(np.arange(3.0), 2.0)
    assert value.tolist() == [0.0, 1.0, 2.0]
    assert slopes["x"].tolist() == [1.0, 1.0, 1.0]
    assert slopes["y"].tolist() == [0.0, 0.0, 0.0]
    assert g.hessian_diagonal(np.arange(3.0), 2.0)["x"].tolist() == [0.0, 0.0, 0.0]
    assert chainrule.compile(lambda: 3.0)() == 3.0


def test_wrong_arguments(f):
    for args, kwargs, match in (
        ((1.0,), {}, "price: missing a required argument: 'K'"),
        ((1.0, 2.0, 3.0, 4.0), {}, "too many positional"),
        ((1.0, 2.0), {"Q": 1}, "unexpected keyword argument 'Q'"),
        (("a", 2.0), {}, "S must be a number or an array of numbers"),
        ((None, 2.0), {}, "S must be a number"),
        ((1.0, [1j]), {}, "K must be a number"),
    ):
        with pytest.raises(InputError, match=match):
            f(*args, **kwargs)


def test_a_branch_names_the_line():
    def absolute(x):
        if x > 0:
            return x
        return -x

    with pytest.raises(CompileError, match=rf"test_compiler_functions.py:{absolute.__code__.co_firstlineno + 1}: .*branches"):
        chainrule.compile(absolute)(1.0)
    with pytest.raises(ChainruleError):
        chainrule.compile(lambda x: None)(1.0)


def test_a_function_in_float32():
    f = chainrule.compile(lambda x, k: chainrule.exp(-x) * k, dtype="float32")
    x = np.linspace(0, 1, 5)
    value, slopes = f.value_and_grad(x, 2.0)
    assert value.dtype == slopes["x"].dtype == np.float32
    assert value == pytest.approx(2 * np.exp(-x), rel=1e-6)
    assert value.tolist() != (2 * np.exp(-x)).tolist()


# ---- calls with single numbers ---------------------------------------------------------------------------------------


def test_single_numbers_of_every_kind_by_position_and_by_name():
    """The calls that must cost next to nothing take a short way, which may not be another."""
    f = chainrule.compile(lambda S, K, *, r=0.5, T=2: S * 10 + K / T - r)
    calls = (
        (lambda a, b, c, d: f(a, b), 31.5),
        (lambda a, b, c, d: f(K=b, S=a), 31.5),
        (lambda a, b, c, d: f(a, K=b, r=c), 31.0),
        (lambda a, b, c, d: f(a, b, T=d), 30.0),
        (lambda a, b, c, d: f(a, b, T=d, r=c), 29.5),
        (lambda a, b, c, d: f(T=d, r=c, K=b, S=a), 29.5),
    )
    for _ in range(3):  # the first call of a kind goes the long way
        for kind in (float, int, np.float64, np.float32, np.int64, np.int8, np.array):
            found = [call(*map(kind, (3, 4, 1, 8))) for call, _ in calls]
            assert found == [expected for _, expected in calls]
            assert {*map(type, found)} == {float}
        assert f(True, 4) == 11.5
    for wrong in (lambda: f(1.0), lambda: f(1.0, 2.0, 3.0), lambda: f(1.0, 2.0, S=1.0), lambda: f(1.0, 2.0, s=1.0)):
        with pytest.raises(InputError):
            wrong()
    for wrong in ("a", None, 10**400, Decimal(3)):
        with pytest.raises(InputError, match="K must be a number"):
            f(1.0, wrong)
        with pytest.raises(InputError, match="K must be a number"):
            f(S=1.0, K=wrong)
    assert f(np.ones(2), 4).tolist() == [11.5, 11.5]
    assert f(3, 4) == 31.5


def test_a_call_that_was_bound_before_is_not_bound_again(monkeypatch):
    f = chainrule.compile(lambda S, K, r=0.5: S * K + r)
    calls = [lambda: f(2.0, 3.0), lambda: f(S=2, K=3), lambda: f(np.float64(2), r=0.5, K=3), lambda: f(2, 3, 0.5)]
    assert [call() for call in calls] == [6.5] * 4
    monkeypatch.setattr(type(f), "_bound", None)
    assert [call() for call in calls] == [6.5] * 4
