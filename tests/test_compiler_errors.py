"""What cannot be compiled is told in one sentence with the line, and no failure leaves anything behind."""

import builtins
import math
import random
import re
import threading
import traceback

import numpy as np
import pytest

import chainrule
from chainrule import ChainruleError, Value, engine, ops, optim
from chainrule.errors import CompileError, InputError, NonFiniteError

HERE = "test_compiler_errors.py"


def watched():
    """Everything that a trace puts itself in the place of."""
    names = {op.method for op in ops.BUILT_IN} | {f"__{name}__" for name in ("lt", "le", "gt", "ge", "eq", "ne", "bool", "data")}
    names |= {name.replace("__", "__r", 1) for name in names if name.startswith("__")} | {"data", "grad"}
    found = {name: vars(Value)[name] for name in names if name in vars(Value)}
    return found | {"max": builtins.max, "min": builtins.min, "sum": builtins.sum, "apply": engine._apply, "hash": Value.__hash__}


ORIGINAL = watched()


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """After every test the operators are the original ones, recording is on, and the next function compiles."""
    yield
    now = watched()
    assert [name for name in ORIGINAL if now[name] is not ORIGINAL[name]] == []
    assert engine._is_recording()
    w = Value(3.0)
    assert chainrule.compile(lambda: w * w, [w])() == 9.0


def expect(function, params, *args, at=None, error=CompileError, match=None):
    """Compiling fails with one sentence that names the line `at` lines below the first of the function."""
    with pytest.raises(error, match=match) as caught:
        chainrule.compile(function, params)(*args)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 330
    if at is not None:
        assert f"{HERE}:{function.__code__.co_firstlineno + at}:" in text
    return text


@pytest.fixture
def w():
    return Value(2.0, label="w")


# ---- what a program cannot follow -----------------------------------------------------------------------------------


def test_a_branch_on_a_value(w):
    def loss():
        y = w * 2
        if y > 1:
            return y
        return -y

    expect(loss, [w], at=2, match="branches")


@pytest.mark.parametrize(
    "take_out",
    [
        lambda v: 1.0 if v.data > 0 else 2.0,
        lambda v: 1.0 if v else 2.0,
        lambda v: v and 1.0,
        lambda v: sorted([v * 2, v])[0],
        lambda v: len([x for x in [v] if x == 4.0]),
        lambda v: (v > 1.0) and (v < 3.0),
        lambda v: not v.data,
        lambda v: any(x > 0 for x in [v]),
        lambda v: [v * 1.0, v].index(v * 3),
        lambda v: 1.0 if 0 < v < 3 else 2.0,
        lambda v: max([v, v * 2], key=lambda x: x.data),
    ],
    ids=range(11),
)
def test_branches_of_all_kinds(w, take_out):
    def loss():
        return w * take_out(w * 1.5)

    text = expect(loss, [w], match="branches")
    assert f"{HERE}:{take_out.__code__.co_firstlineno}" in text


@pytest.mark.parametrize(
    "take_out",
    [
        lambda v: float(v.data),
        lambda v: int(v.data),
        lambda v: math.exp(v.data),
        lambda v: range(3)[v.data],
        lambda v: np.float64(v.data),
        lambda v: "%f" % v.data,  # noqa: UP031
        lambda v: int(v > 1),
    ],
    ids=range(7),
)
def test_numbers_taken_out_of_the_program(w, take_out):
    def loss():
        return w * take_out(w * 1.5)

    text = expect(loss, [w], match="out of the program")
    assert f"{HERE}:{take_out.__code__.co_firstlineno}" in text


def test_math_on_a_value_says_what_the_plain_engine_says(w):
    expect(lambda: w * math.exp(w), [w], error=ChainruleError, match=r"chainrule's own function")


def test_a_random_choice(w):
    def loss():
        return w * random.random()

    expect(loss, [w], at=1, match="not do the same twice")


def test_a_counter(w):
    calls = []

    def loss():
        calls.append(1)
        y = w * 1.5
        for _ in calls:
            y = y + w
        return y

    expect(loss, [w], match="not do the same twice")


def test_data_that_moves_on(w):
    batches = iter([1.0, 2.0, 3.0])

    def loss():
        x = next(batches)
        return w * x

    expect(loss, [w], at=2, match="pass what was drawn as an argument")


def test_a_gradient_taken_inside(w):
    def loss():
        y = w * w
        y.backward()
        return y * w.grad

    expect(loss, [w])


def test_an_index_that_is_computed(w):
    def loss(i):
        return [w, w * 2][int(i[0].data)]

    expect(loss, [w], np.array([1]), at=1)


# ---- numbers that a trace may read ----------------------------------------------------------------------------------


def test_what_is_printed_while_tracing_does_no_harm(w, capsys):
    def loss():
        y = w * 2
        print(y, f"{y.data:.3f}", repr(y.data), f"{y}")  # noqa: T201 - as a user would
        return y

    assert chainrule.compile(loss, [w])() == 4.0
    assert capsys.readouterr().out


def test_comparisons_are_numbers(w):
    def loss(x):
        hits = sum(a > w for a in x)
        return w * w, hits, hits / len(x), [a.data >= 2.0 for a in x], [a == 2.0 for a in x], [(a < 3) + (a == 1) for a in x]

    step = chainrule.compile(loss, [w])
    for x in ([1.0, 2.0, 3.0, 4.0], [5.0, 1.0, 2.0, 0.0]):
        _, hits, rate, large, equal, both = step(np.array(x))
        assert float(hits) == sum(a > 2 for a in x)
        assert float(rate) == sum(a > 2 for a in x) / 4
        assert np.array_equal(large, [a >= 2 for a in x])
        assert np.array_equal(equal, [a == 2 for a in x])
        assert np.array_equal(both, [(a < 3) + (a == 1) for a in x])


# ---- wrong arguments ------------------------------------------------------------------------------------------------


def test_wrong_params(w):
    for params, match in (
        ([], "empty"),
        ([1.0], "parameter 0 is float"),
        ([w, "x"], "parameter 1 is str"),
        ([w, w], "twice"),
        ([w * 2], "the result of an operation"),
        ([[w]], "parameter 0 is list"),
        ("w", "parameter 0 is str"),
    ):
        with pytest.raises(InputError, match=match):
            chainrule.compile(lambda: w, params)


def test_wrong_functions_and_options(w):
    with pytest.raises(InputError, match="takes a function, not int"):
        chainrule.compile(3)
    with pytest.raises(InputError, match="needs params"):
        chainrule.compile(lambda: w, optimizer=optim.SGD([w]))
    with pytest.raises(InputError, match="same parameters"):
        chainrule.compile(lambda: w, [w], optimizer=optim.SGD([Value(1.0)]))
    with pytest.raises(InputError, match="unknown executor 'numpyy'; did you mean 'numpy'"):
        chainrule.compile(lambda: w, [w], executor="numpyy")()


@pytest.mark.parametrize("returned", [None, 3.0, "a", [1], {"loss": 1}], ids=repr)
def test_wrong_results(returned, w):
    kind = type(returned).__name__
    match = "must return its loss, a Value" if kind in ("float", "list") else f"the result of the function is {kind}; a program"
    expect(lambda: returned, [w], match=match)


def test_results_of_unequal_parts(w):
    expect(lambda: (w * w, [[w], [w, w]]), [w], match="not alike")
    expect(lambda: (w * w, []), [w], match="empty")
    for other in (None, "a", {"a": 1}):
        expect(lambda other=other: (w * w, other), [w], error=ChainruleError)


@pytest.mark.parametrize("wrong", ["abc", None, [None], {"a": 1}, [1 + 2j], ["1"]], ids=repr)
def test_arguments_that_are_no_numbers(wrong, w):
    expect(lambda x: w * 2, [w], wrong, error=InputError, match="argument 1 must be a number or an array of numbers, not ")


def test_the_wrong_number_of_arguments(w):
    expect(lambda x: w * x, [w], error=TypeError)
    expect(lambda x: w * x, [w], 1.0, 2.0, error=TypeError)


def test_asking_before_calling(w):
    step = chainrule.compile(lambda: w * w, [w])
    with pytest.raises(CompileError, match="nothing has been compiled yet"):
        step.explain()
    with pytest.raises(CompileError, match="nothing has been compiled yet"):
        _ = step.program


# ---- take -----------------------------------------------------------------------------------------------------------


def test_take_out_of_range(w):
    table = [w, Value(1.0), Value(5.0)]

    def loss(i):
        return chainrule.take(table, i[0]) * 2

    step = chainrule.compile(loss, table)
    assert step(np.array([2])) == 10.0
    for wrong in (3, -1, 10**9):
        with pytest.raises(InputError, match=f"index {wrong} is out of range for a table of 3"):
            step(np.array([wrong]))
    assert step(np.array([0])) == 4.0
    expect(loss, table, np.array([7]), at=1, error=InputError, match="index 7 is out of range")


def test_take_outside_of_a_compiled_function(w):
    with pytest.raises(InputError, match="whole number"):
        chainrule.take([w], Value(0.0))
    with pytest.raises(IndexError):
        chainrule.take([w], 1)
    assert chainrule.take([w, 5], True) == 5
    assert chainrule.take([[w, 1], [2, 3]], 1) == [2, 3]


def test_rows_of_unequal_length(w):
    def loss(i):
        return chainrule.take([[w], [w, w]], i)[0]

    expect(loss, [w], np.array(0), at=1, match="differ in length")


# ---- numbers that are not finite ------------------------------------------------------------------------------------


def test_nan_and_infinity_come_through(w):
    step = chainrule.compile(lambda x: w * x[0] + w * x[1], [w])
    assert math.isnan(step(np.array([math.nan, 1.0])))
    assert math.isnan(w.grad)
    assert step(np.array([math.inf, 1.0])) == math.inf
    assert w.grad == math.inf
    assert step(np.array([1.0, 1.0])) == 4.0
    assert w.grad == 2.0


def test_what_the_plain_engine_refuses_is_refused_in_its_words(w):
    step = chainrule.compile(lambda x: (w * x).log(), [w])
    assert step(2.0) == math.log(4)
    with pytest.raises(ChainruleError, match=r"log\(-2.0\).* is outside the domain of log"):
        step(-1.0)
    with pytest.raises(ChainruleError, match="divides by zero"):
        chainrule.compile(lambda x: w / x, [w])(0.0)
    assert step(2.0) == math.log(4)


def test_an_update_that_is_not_finite_changes_nothing(w):
    optimizer = optim.SGD([w], lr=0.1, momentum=0.9)
    step = chainrule.compile(lambda x: w * x, [w], optimizer=optimizer)
    step(1.0)
    before, memory = w.data, optimizer.state_dict()
    for wrong in (math.nan, math.inf):
        with pytest.raises(NonFiniteError, match="no parameter was changed"):
            step(wrong)
        assert w.data == before
        assert optimizer.state_dict() == memory
    step(1.0)
    assert w.data != before


# ---- nothing is left behind -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError, GeneratorExit, RecursionError])
@pytest.mark.parametrize("when", [1, 2])
def test_an_exception_of_the_function_passes_through(error, when, w):
    calls = []

    def loss():
        y = w * w
        calls.append(1)
        if len(calls) == when:
            raise error("mine")
        return y

    step = chainrule.compile(loss, [w])
    with pytest.raises(error, match="mine"):
        step()
    assert (w + 1).data == 3.0
    assert step() == 4.0  # a failure is not remembered


def test_an_exception_shows_the_line_of_the_user(w):
    def loss():
        return w * undefined  # noqa: F821

    with pytest.raises(NameError) as caught:
        chainrule.compile(loss, [w])()
    assert traceback.extract_tb(caught.value.__traceback__)[-1].lineno == loss.__code__.co_firstlineno + 1


def test_no_grad_is_left_as_it_was(w):
    def loss():
        engine.no_grad().__enter__()
        raise ValueError("inside")

    before = engine._is_recording()
    with pytest.raises(ValueError, match="inside"):
        chainrule.compile(loss, [w])()
    engine._set_recording(before)
    with engine.no_grad():
        assert chainrule.compile(lambda: w * w, [w])() == 4.0
        assert not engine._is_recording()


def test_other_threads_are_undisturbed(w):
    """While a function is traced, another thread branches, compares, reads data and takes max of Values."""
    tracing, done, found = threading.Event(), threading.Event(), []

    def other():
        tracing.wait(10)
        try:
            v = Value(3.0)
            y = v * 2 if v > 1 else v
            y.backward()
            found.append(
                (y.data, type(y.data), v.grad, max(v, y) is y, max([1, 5, 2]), min(2, 1), bool(v), v == 3.0, float(v.data))
            )
        except BaseException as failure:
            found.append(failure)
        done.set()

    def loss():
        y = w * w
        tracing.set()
        assert done.wait(10)
        return y

    thread = threading.Thread(target=other)
    thread.start()
    assert chainrule.compile(loss, [w])() == 4.0
    thread.join(10)
    assert found == [(6.0, float, 2.0, True, 5, 1, True, True, 3.0)]


def test_threads_may_compile_at_the_same_time():
    found, failures = {}, []

    def work(k):
        try:
            v = Value(float(k))
            step = chainrule.compile(lambda x: sum((v * a).tanh() for a in x), [v])
            for n in range(1, 6):
                x = np.linspace(0, 1, n)
                found[k, n] = step(x) - sum(math.tanh(k * a) for a in x), v.grad
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures
    assert len(found) == 20
    assert all(abs(difference) < 1e-14 for difference, _ in found.values())


def test_errors_name_the_nearest_line_of_the_user_not_of_the_library(w):
    layer = chainrule.nn.MLP(1, [2, 1]) if hasattr(chainrule, "nn") else __import__("chainrule.nn").nn.MLP(1, [2, 1])

    def loss():
        y = layer([w])
        return y if y > 0 else -y

    text = expect(loss, layer.parameters(), at=2, match="branches")
    assert re.match(rf"{HERE}:\d+: ", text)
