import math
import random

import numpy
import pytest

from chainrule import Value, engine, gradients, maximum, minimum, no_grad, ops, where
from chainrule.check import GradientReport, check_gradients, slopes
from chainrule.errors import ChainruleError, DomainError, GradientError, InputError, NonFiniteError, NotANumberError
from chainrule.ops import Op
from chainrule.tensor import Tensor


def off_by(row, factor):
    """The row with its derivatives wrong by a factor; made without the check that registering does."""

    def wrong(derivative):
        return derivative and (lambda m, y, *xs: factor * derivative(m, y, *xs))

    # The arity of a rule is read from its signature, so *xs must be spelled out.
    spelled = {
        1: lambda d: lambda m, y, a: d(m, y, a),
        2: lambda d: lambda m, y, a, b: d(m, y, a, b),
        3: lambda d: lambda m, y, a, b, c: d(m, y, a, b, c),
    }[row.arity]
    derivatives = [d and spelled(wrong(d)) for d in row.derivatives]
    return Op(row.name, row.symbol, row.forward, derivatives, row.domain, row.doc)


def error_of(f, *inputs, **options):
    with pytest.raises(GradientError) as caught:
        check_gradients(f, *inputs, **options)
    return str(caught.value)


# ---- every row of the table -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ops.TABLE.values(), ids=lambda row: row.name)
def test_every_row_is_right_on_its_domain(row):
    rng = random.Random(row.name)
    checked = 0
    for _ in range(10):
        xs = row.sample(rng)
        report = check_gradients(lambda *xs: engine.apply(row, *xs), *xs, rng=rng)
        assert report.worst < 1e-7
        assert report.checked + report.inconclusive == row.arity
        checked += report.checked
        if row.name != "where":  # its condition 0 jumps when it moves
            assert report.inconclusive == 0, report
    assert checked >= 10 * (row.arity - 1)


@pytest.mark.parametrize("row", ops.BUILT_IN, ids=lambda row: row.name)
@pytest.mark.parametrize("factor", [1.001, 0.999, -1.0, 0.0])
def test_a_row_off_by_a_thousandth_fails_and_is_named(row, factor):
    wrong = off_by(row, factor)
    xs = [1.0, 2.5, 1.5][: row.arity] if row.name == "where" else [1.3, 0.7][: row.arity]

    def f(*xs):
        if row.name == "minimum":
            xs = xs[::-1]
        return (engine.apply(wrong, *xs) * 0.5 + 1.0) ** 2

    message = error_of(f, *xs)
    assert f": the row of {row.name} gives" in message
    assert f"likely step: {row.name}(" in message


def test_the_condition_of_where_is_a_choice():
    assert check_gradients(where, 1.0, 2.0, 3.0).checked == 3
    report = check_gradients(where, 0.0, 2.0, 3.0)
    assert (report.checked, report.inconclusive) == (2, 1)
    assert report.reasons[0].startswith("xs[0]=0.0: a kink")


def test_a_wrong_operation_put_into_the_table_by_hand(monkeypatch):
    cube = Op("cube", "³", lambda m, x: x * x * x, (lambda m, y, x: 3.003 * x * x,), ((-2.0, 2.0),), "x cubed")
    monkeypatch.setitem(ops.TABLE, "cube", cube)
    message = error_of(lambda x, w: engine.apply(ops.TABLE["cube"], x * w).tanh(), 0.5, 1.4)
    assert "the derivative by x at x=0.5 is wrong" in message or "the derivative by w at w=1.4 is wrong" in message
    assert "2 of 2 derivatives are wrong" in message
    assert "relative error 1.0e-03" in message
    assert "likely step: cube(0.7) = 0.34" in message
    assert "gives 1.47147 for its derivative by input 0, centred differences of its forward give 1.47\n" in message + "\n"


# ---- what the report says -------------------------------------------------------------------------------------------


def test_the_report():
    report = check_gradients(lambda x, y: x * y + y.exp(), 2.0, -1.0)
    assert isinstance(report, GradientReport)
    assert (report.checked, report.inconclusive, report.reasons) == (2, 0, ())
    assert report.worst < 1e-9
    assert report.worst_at in ("x=2.0", "y=-1.0")
    assert repr(report).startswith("GradientReport(2 of 2 derivatives right, worst relative error ")


def test_the_report_of_kinks():
    report = check_gradients(lambda x: [v.relu() for v in x], [0.0, 1.0, 0.0, 0.0, 0.0])
    assert (report.checked, report.inconclusive) == (1, 4)
    assert "4 inconclusive: x[0]=0.0: a kink: relu changes sides; x[2]=0.0: " in repr(report)
    assert repr(report).endswith(" and 1 more)")


def test_nested_inputs_and_outputs():
    def f(w, b, x):
        return [[sum((wi * xi for wi, xi in zip(row, x, strict=True)), b).tanh() for row in w], b * 2]

    report = check_gradients(f, [[0.1, 0.2], [0.3, -0.4], [0.5, 0.6]], 0.1, (1.0, -2.0))
    assert report.checked == 9
    assert check_gradients(f, numpy.full((3, 2), 0.25), numpy.float64(0.1), numpy.ones(2)).checked == 9


def test_f_gets_values_in_the_shape_of_its_inputs():
    seen = []

    def f(a, b):
        seen.append((a, b))
        return a[0] * a[1][0] * b

    check_gradients(f, [1, [2]], True)
    a, b = seen[0]
    assert isinstance(a[0], Value)
    assert isinstance(a[1][0], Value)
    assert (a[0].data, a[1][0].data, b.data) == (1.0, 2.0, 1.0)


def test_values_are_accepted_and_left_alone():
    w = Value(2.0, label="weight")
    y = w * 3
    y.backward()
    report = check_gradients(lambda x: x * x, w)
    assert report.worst_at == "weight=2.0"
    assert (w.data, w.grad, w.label) == (2.0, 3.0, "weight")


def test_more_points():
    seen = set()

    def f(x):
        seen.add(x.data)
        return x.log()

    report = check_gradients(f, 0.05, points=6, rng=3)
    assert report.checked == 6
    near = {x for x in seen if x > 0}
    assert max(near) - min(near) > 0.05
    assert repr(report) == repr(check_gradients(f, 0.05, points=6, rng=3))
    assert repr(report) == repr(check_gradients(f, 0.05, points=6, rng=random.Random(3)))
    assert repr(report) != repr(check_gradients(f, 0.05, points=6, rng=4))


def test_a_mistake_that_the_given_point_cannot_show():
    def f(x):
        return x * x + (x - 1.0) * Value(x.data - 1.0)  # the forgotten factor is 0 at 1

    assert check_gradients(lambda x: (x - 1.0) ** 2 * Value(x.data), 1.0).checked == 1
    with pytest.raises(GradientError):
        check_gradients(lambda x: (x - 1.0) ** 2 * Value(x.data), 1.0, points=3)
    assert check_gradients(f, 1.0).checked == 1
    with pytest.raises(GradientError):
        check_gradients(f, 1.0, points=2)


def test_a_point_with_no_neighbours():
    def f(x):
        if x.data != 0.0:
            raise ValueError("only 0")
        return x * 2

    report = check_gradients(f, 0.0)
    assert report.reasons == ("x=0.0: the function is not defined on both sides",)
    with pytest.raises(InputError, match="not defined at other points near"):
        check_gradients(f, 0.0, points=2)


# ---- wrong gradients and the likely step ----------------------------------------------------------------------------


def test_the_message_names_input_element_numbers_and_step():
    def f(w, x):
        h = w[0][1] * x
        h.label = "h"
        return [x * x, engine.apply(off_by(ops.TABLE["tanh"], 1.001), h)]

    message = error_of(f, [[1.0, 0.5]], 0.6)
    assert message.startswith("the derivative of output [1] by w[0][1] at w[0][1]=0.5 is wrong: backward gives 0.549")
    assert "centred differences give 0.549" in message
    assert "relative error 1.0e-03 (above 1e-2 is wrong, 1e-7 is good)" in message
    assert "likely step: tanh(h=0.3) = 0.29131" in message
    numbers = message.split("backward gives ")[1].split(" (h=")[0].split(", centred differences give ")
    exact, numeric = map(float, numbers)
    assert math.isclose(numeric, 0.6 * (1 - math.tanh(0.3) ** 2), rel_tol=1e-7)
    assert math.isclose(exact, 1.001 * numeric, rel_tol=1e-7)


@pytest.mark.parametrize(
    ("f", "clue"),
    [
        (lambda x: x * Value(x.data, label="copy"), "the constant copy=3.0 in mul(x=3.0, copy=3.0) = 9.0 moves with x but has"),
        (lambda x: x * x.data, "the constant 3.0 in mul(x=3.0, 3.0) = 9.0 moves with x"),
        (lambda x: x + Value(math.sin(x.data)), "in add(x=3.0, 0.1411200080598672) = 3.141"),
        (lambda x: Value(x.data**2), "the output 9.0 moves with x but has forgotten how"),
        (lambda x: [x * 2, Value(x.data, requires_grad=False)], "the output 3.0 moves with x"),
        (lambda x: x * 0 + (x.data > 0) * x.data, "the constant 3.0 in add(0.0, 3.0) = 3.0 moves with x"),
    ],
)
def test_a_detached_number_is_found(f, clue):
    assert clue in error_of(f, 3.0).split("likely step: ")[1]


def test_no_grad_is_found():
    def f(x):
        with no_grad():
            return x * x

    assert "likely step: the output 9.0 moves with x but has forgotten how: it was made from a plain number" in error_of(f, 3.0)


def test_assigned_data_is_found():
    def result(x):
        y = x * 2
        y.data = y.data * 5
        return y

    def argument(x):
        x.data = x.data + 1
        return x * x * x.data

    assert "mul(x=3.0, 2.0) = 30.0 is not what mul gives: the .data of it, or of an input, was assigned" in error_of(result, 3.0)
    assert "the function assigned to x.data, which was 3.0 and is 4.0 now" in error_of(argument, 3.0)


def test_a_special_case_for_one_number_is_found():
    message = error_of(lambda x: x * 2 if x.data != 3.0 else x * 3 - 3, 3.0)
    assert "backward gives 3, centred differences give 2 " in message
    assert message.endswith("the function makes another graph when x moves a little: it branches on its numbers")


def test_a_fault_of_the_engine_itself_is_called_so(monkeypatch):
    def forgetful(root, wrt=None, **options):
        found = gradients(root, wrt, **options)
        return found if len(engine.inputs_first(root)) <= 3 else {x: 0.5 * g for x, g in found.items()}

    monkeypatch.setattr(engine, "gradients", forgetful)
    message = error_of(lambda x: x.exp(), 1.0)
    assert message.endswith("the backward pass of the engine itself is at fault")


def test_the_gradient_handed_to_an_operation_matters(monkeypatch):
    def ignores_the_incoming_gradient(root, wrt=None, **options):
        return {x: math.exp(x.data) for x in ([wrt] if isinstance(wrt, Value) else wrt)}

    monkeypatch.setattr(engine, "gradients", ignores_the_incoming_gradient)
    assert "is wrong" in error_of(lambda x: x.exp(), 1.0)  # with the weight 1 this would pass


def test_a_mistake_among_many_kinks_is_found():
    tanh = off_by(ops.TABLE["tanh"], 1.001)

    def f(w):
        parts = [(w[0] * (0.1 * i) + w[1] * (i * 7 % 5 - 2) - 0.01 * i).relu() * (0.1 + i % 3) for i in range(40)]
        return engine.apply(tanh, sum(parts) * 0.01)

    assert "likely step: tanh(" in error_of(f, [0.3, -0.2], points=3)


def test_a_kink_between_x_minus_h_and_x_plus_h_does_not_hide_the_slope():
    for distance in (1e-3, 1e-4, 5e-5, 1e-5, 1e-6):
        report = check_gradients(lambda x: x.relu(), distance)
        assert (report.checked, report.worst < 1e-7) == (1, True)
        message = error_of(lambda x: engine.apply(off_by(ops.TABLE["relu"], 1.001), x), distance)
        assert "likely step: relu(" in message


def test_operations_off_the_path_are_not_blamed():
    bad = off_by(ops.TABLE["exp"], 1.5)
    message = error_of(lambda x, y: engine.apply(bad, x) + y * y.data, 0.0, 2.0, rng=1)
    assert "by y" in message
    assert "exp" not in message.split("likely step: ")[1]


def test_derivatives_by_other_inputs_are_not_blamed():
    mul = ops.TABLE["mul"]
    bad = Op("mul", "*", mul.forward, (mul.derivatives[0], lambda m, y, a, b: 1.001 * a), mul.domain, "wrong by b alone")

    def f(x, y):
        return engine.apply(bad, x, y) + x * x.data  # x is wrong by far more than y

    assert "likely step: the constant 2.0 in mul(x=2.0, 2.0)" in error_of(f, 2.0, 3.0)


# ---- kinks and rough places -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "xs", "reason"),
    [
        (lambda x: x.relu(), [0.0], "a kink: relu changes sides"),
        (abs, [0.0], "a kink: abs changes sides"),
        (lambda x: x.relu() - (-x).relu(), [0.0], "a kink: relu changes sides"),  # smooth, yet each part has a kink
        (lambda x: maximum(x, 1.0), [1.0], "a kink: maximum changes sides"),
        (lambda x: minimum(x * 1, x * 2), [0.0], "a kink: minimum changes sides"),
        (lambda x: max(x, -x) * 3, [0.0], "a kink: the function takes another path"),
        (lambda x: x if x.data > 0.0 else x * 2, [0.0], "a kink: the function takes another path"),
        (lambda x: x * 0 + Value(abs(x.data)), [0.0], "a kink: the slopes on both sides differ"),
        (lambda x: x**5, [0.0], "too rough or too curved"),
        (lambda x: 1e10 + x, [3.0], "too small beside the rounding of the function"),
    ],
)
def test_what_cannot_be_judged_is_neither_right_nor_wrong(f, xs, reason):
    report = check_gradients(f, *xs)
    assert (report.checked, report.inconclusive) == (0, 1)
    assert reason in report.reasons[0]


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: x.log(), 1e-6),
        (lambda x: x.log(), 1e-12),
        (lambda x: x.sqrt(), 1e-4),
        (lambda x: 1 / x, 1e-3),
        (lambda x: x.sin(), 1e6),
        (lambda x: (x * 1e5).sin(), 0.3),
        (lambda x: x * x, 1e20),
        (lambda x: x * 1e-30, 3.0),
        (lambda x: x * 1e30, 3.0),
        (lambda x: x**3, 0.0),
        (lambda x: x**2, 0.0),
        (lambda x: (x - 0.3) ** 2, 0.3),
        (lambda x: x.softplus(), 0.0),
        (lambda x: x.exp(), 700.0),
        (lambda x: x.tanh(), 30.0),
        (lambda x: (x + 1000.0) - 1000.0, 0.123),
        (lambda x: x - x, 5.0),
        (lambda x: Value(2.0), 5.0),
        (lambda x: x, 0.0),
    ],
)
def test_the_step_suits_the_place(f, x):
    report = check_gradients(f, x)
    assert (report.checked, report.worst < 1e-6) == (1, True), report


def test_random_smooth_functions_are_never_accused():
    rng = random.Random(5)
    unary = ["exp", "sin", "cos", "tanh", "sigmoid", "softplus", "neg"]
    for _ in range(150):
        plan = [(rng.choice([*unary, "add", "mul", "sub"]), rng.random(), rng.random()) for _ in range(rng.randint(1, 12))]

        def f(*xs, plan=plan):
            nodes = list(xs)
            for name, i, j in plan:
                a, b = nodes[int(i * len(nodes))], nodes[int(j * len(nodes))]
                row = ops.TABLE[name]
                nodes.append(engine.apply(row, *(a, b)[: row.arity]).tanh() * 2)
            return nodes[-3:]

        report = check_gradients(f, *[rng.gauss() for _ in range(3)], rng=rng)
        assert report.checked >= 2, report


def test_the_end_of_least_squares_is_never_accused():
    rng = random.Random(1)  # there the slope is 0, and what is left is rounding
    for _ in range(300):
        x, k = rng.uniform(0.1, 3), rng.choice([3, 7, 0.1])
        report = check_gradients(lambda v, x=x, k=k: (v * k + 1 - (x * k + 1)) ** 2, x)
        assert report.checked == 1, report


def test_a_slope_tells_its_roughness():
    slope = slopes.slope_of(math.sin, 1.0, math.sin(1.0))
    assert math.isclose(slope.value, math.cos(1.0), rel_tol=1e-10)
    assert abs(slope.value - math.cos(1.0)) < slope.roughness + slope.rounding
    assert slopes.slope_of(math.sin, 1.0, math.sin(1.0), below=1e-6).h < 1e-6
    assert slopes.slope_of(math.log, 0.0, 0.0) is None
    assert slopes.relative_error(0.0, 0.0) == 0.0


# ---- functions and arguments that cannot be checked -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "said"),
    [
        (lambda x: x.data * 2, "the function returned float 6.0; it must return a Value"),
        (lambda x: None, "the function returned NoneType None"),
        (lambda x: [x, [x, "y"]], r"returned str 'y' at \[1\]\[1\] of its result"),
        (lambda x: [], "the function returned an empty list"),
    ],
)
def test_f_must_return_values(f, said):
    with pytest.raises(NotANumberError, match=said):
        check_gradients(f, 3.0)


def test_f_must_be_repeatable():
    rng = random.Random(0)
    with pytest.raises(InputError, match=r"not repeatable: for the same inputs it gave 1\.\d+ and then 1\.\d+; draw random"):
        check_gradients(lambda x: x * rng.uniform(1, 2), 1.0)
    counts = iter(range(1, 100))
    with pytest.raises(InputError, match="it gave 1 and then 2 outputs"):
        check_gradients(lambda x: [x] * next(counts), 1.0)


def test_nan_and_infinity_are_traced_to_their_origin():
    with pytest.raises(NonFiniteError, match=r"gives nan; the first number that is not finite is mul\(x=3.0, 1e\+308\) = inf"):
        check_gradients(lambda x: (x * 1e308) * 0.0, 3.0)
    with pytest.raises(NonFiniteError, match=r"gives nan at \[1\]; the first number that is not finite is bad=nan"):
        check_gradients(lambda x: [x, x + Value(math.nan, label="bad")], 3.0)
    with pytest.raises(InputError, match=r"input w\[1\] is nan; a gradient can be checked at finite numbers only"):
        check_gradients(lambda w: w[0], [1.0, math.nan])


def test_a_gradient_of_nan_is_wrong():
    nan = Op("nanny", "nanny", lambda m, x: x * 2, (lambda m, y, x: math.nan,), ((-1.0, 1.0),), "")
    message = error_of(lambda x: engine.apply(nan, x), 1.0)
    assert "backward gives nan, centred differences give 2" in message
    assert "the row of nanny gives nan" in message
    at_a_kink = Op("nanny", "nanny", lambda m, x: m.abs(x), (lambda m, y, x: m.where(x == 0, math.nan, 1.0),), ((-1.0, 1.0),), "")
    assert "backward gives nan" in error_of(lambda x: engine.apply(at_a_kink, x), 0.0)


def test_errors_of_the_function_come_through():
    with pytest.raises(DomainError, match=r"log\(x=-3\.0\) is outside the domain"):
        check_gradients(lambda x: x.log(), -3.0)
    with pytest.raises(DomainError, match=r"the derivative of sqrt\(x=0\.0\) does not exist"):
        check_gradients(lambda x: x.sqrt(), 0.0)
    with pytest.raises(KeyError):
        check_gradients(lambda x: {}["absent"], 1.0)


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((3.0, 4.0), {}, "takes a function first, not float"),
        ((lambda: Value(1.0),), {}, "needs at least one number"),
        ((lambda x: x, []), {}, "needs at least one number"),
        ((lambda x: x, "3"), {}, "a Value holds one real number, not str '3'"),
        ((lambda x: x, 3.0), {"points": 0}, "points must be a whole number from 1 up, not 0"),
        ((lambda x: x, 3.0), {"points": True}, "points must be a whole number"),
        ((lambda x: x, 3.0), {"tolerance": 0.0}, "tolerance must be between 0 and 1"),
    ],
)
def test_bad_arguments(arguments, options, said):
    with pytest.raises(ChainruleError, match=said):
        check_gradients(*arguments, **options)


@pytest.mark.parametrize("x", [numpy.array([1.0, 2.0]), Tensor([1.0, 2.0]), Tensor(2.0)])
def test_a_function_of_arrays_is_refused_in_one_sentence(x):
    said = "nested lists of Values, and with those f fails .*; write f over numbers, or judge .* by compare"
    with pytest.raises(InputError, match=said):
        check_gradients(lambda x: (x * x).sum(), x)
    assert check_gradients(lambda x: x * 2 if isinstance(x, Value) else [v * v for v in x], x).worst < 1e-8
    with pytest.raises(TypeError, match="can't multiply sequence"):  # a list is what was given: Python says enough
        check_gradients(lambda x: x * x, [1.0, 2.0])
    with pytest.raises(NotANumberError):  # ours come through
        check_gradients(lambda x: Value("1"), x)


def test_names_of_inputs():
    def named(a, *rest):
        return a * rest[0] * rest[1][0] * rest[1][1].data

    assert "by rest[1][1] at rest[1][1]=5.0 is wrong" in error_of(named, 2.0, 3.0, [4.0, 5.0])
    assert "by x is" not in error_of(lambda x: Value(x.data), Value(1.0, label="width"))
    assert "by width at width=1.0" in error_of(lambda x: Value(x.data), Value(1.0, label="width"))
    assert check_gradients(max, 1.0, 2.0).worst_at.startswith("input ")  # a built-in function without a signature


def test_second_derivatives_can_be_checked():
    def slope(x):
        return gradients(x**3 * x.exp(), x, create_graph=True)[x]

    assert check_gradients(slope, 0.7).worst < 1e-8
