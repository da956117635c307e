"""Where a compiled function could differ from the plain one, case by case; each was a bug once."""

import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import chainrule
from chainrule import ChainruleError, Value, engine, optim
from chainrule.compiler import native
from chainrule.compiler.builder import Builder
from chainrule.compiler.executors import EXECUTORS
from chainrule.errors import CompileError, InputError
from chainrule.nn import functional
from chainrule.tensor import Tensor


def plain(loss, params, *args):
    for p in params:
        p.zero_grad()
    y = loss(*args)
    y.backward()
    return y.data, [p.grad for p in params]


def compiled(step, params, *args):
    y = step(*args)
    return y, [p.grad for p in params]


def test_a_view_does_not_read_outside_of_its_array():
    """lift: `Nest(line.shape)` taken over from one operand without looking whether the others follow these loops."""
    W = [[Value(0.1 * (i + 1) + 0.01 * j) for j in range(3)] for i in range(6)]
    c = [Value(1.1), Value(0.7)]
    params = [p for row in W for p in row]

    def loss():
        return sum(sum(-W[j][i % 3] * c[(i * 3 + j) % 2] for j in range(3)) ** 2 for i in range(6))

    step = chainrule.compile(loss, params)
    found, (expected, gradients) = compiled(step, params), plain(loss, params)
    assert found[0] == pytest.approx(expected)
    assert found[1] == pytest.approx(gradients)


def test_compiling_inside_of_a_traced_function_does_not_hang():
    """In a process of its own: Tracing._only_one is a Lock that its own thread takes twice, and it stays taken."""
    code = """
import chainrule
from chainrule import Value
w, inner = Value(2.0), chainrule.compile(lambda x: x * x)
try:
    assert chainrule.compile(lambda: w * inner(3.0), [w])() == 18.0
except chainrule.ChainruleError:
    pass
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


@pytest.mark.parametrize("k", range(4))
def test_captured_values_are_read_anew(k):
    """.data and comparisons of captured Values, captured ones without gradient, captured ones under no_grad."""
    w, c = Value(2.0), Value(3.0, requires_grad=k != 2)

    def still():
        with engine.no_grad():
            d = c * 2
        return d * w

    loss = [lambda: c.data * w, lambda: w * (c > 4), lambda: c * 2 * w, still][k]
    step = chainrule.compile(loss, [w])
    step()
    w.data = 1.5
    step()
    c.data = 5.0
    assert compiled(step, [w]) == plain(loss, [w])


def test_functions_read_captured_values_anew():
    k = Value(2.0)
    f = chainrule.compile(lambda x: k * x)
    assert f(1.0) == 2.0
    k.data = 3.0
    assert f(1.0) == 3.0


def test_what_was_computed_from_a_parameter_before_the_call_is_refused():
    """The program computed it anew from the parameter, where the function reads what it was: 75 instead of 30."""
    w = Value(2.0)
    w2, kept = w * 3.0, []

    def remembering(x):
        kept.append(w * x[0])
        return kept[0] * w

    table = [w2, w2 + 1.0]
    losses = [
        (lambda x: w2 * w * x[0], 0),
        (lambda x: w * chainrule.take(table, 0), 0),
        (lambda x: w2.data * w, 0),
        (remembering, 2),
        (lambda x: w2, None),
    ]
    for loss, at in losses:
        with pytest.raises(CompileError, match=r"before the call.*compute it inside of the function") as caught:
            chainrule.compile(loss, [w])(np.array([1.0]))
        line = "the function" if at is None else f"test_compiler_semantics.py:{loss.__code__.co_firstlineno + at}"
        assert f"{line}: a Value is used" in str(caught.value)


def test_what_was_computed_from_others_before_the_call_is_a_captured_number():
    w, c = Value(2.0), Value(5.0)
    c2 = (c * 3.0).tanh() + c

    def loss(x):
        return w * c2 * x[0] + c * w + w * (c2.data > 4)

    step = chainrule.compile(loss, [w])
    step(np.array([1.0]))
    w.data, c.data = 5.0, 7.0  # c2 is as it was, for the function too
    assert compiled(step, [w], np.array([1.0])) == plain(loss, [w], [1.0])
    c2 = c * 1.5
    f = chainrule.compile(lambda x: c2 * x)
    assert f(2.0) == 21.0
    c.data = 1.0
    assert f(2.0) == 21.0


def test_extra_outputs_are_the_caller_s_own():
    w, u = Value(1.0), Value(2.0)
    step = chainrule.compile(lambda x: (w * u, [w, u], x), [w, u])
    X = np.array([1.0, 2.0])
    _, a, x = step(X)
    before = a.copy(), x.copy()
    w.data, X[0] = 7.0, 9.0
    step(X)
    assert np.array_equal(a, before[0])
    assert np.array_equal(x, before[1])


def test_results_of_functions_are_the_caller_s_own():
    f, x = chainrule.compile(lambda x, k: x), np.ones(3)
    value, slopes = f.value_and_grad(x, 2.0)
    assert f(x, 2.0) is not x
    value += 1
    slopes["k"] += 1
    assert x.tolist() == [1.0, 1.0, 1.0]


def test_a_parameter_that_no_gradient_reaches_is_left_alone():
    """optim: "A parameter that no backward pass has reached is left alone, momentum and decay included"."""

    def go(use):
        w, u = Value(1.0), Value(2.0)
        optimizer = optim.SGD([w, u], lr=0.1, weight_decay=0.1, momentum=0.9)

        def loss():
            return w * w

        step = chainrule.compile(loss, [w, u], optimizer=optimizer)
        for _ in range(3):
            if use:
                step()
            else:
                optimizer.zero_grad()
                loss().backward()
                optimizer.step()
        return w.data, u.data, u.has_grad, optimizer.state_dict()["memory"]

    one, two = go(True), go(False)
    assert one[1:3] == two[1:3]
    assert one[3]["momentum_buffer"][1] is None


def test_amsgrad_can_be_compiled():
    w = Value(1.0)
    u = Value(2.0)
    step = chainrule.compile(lambda: w * w * u, [w, u], optimizer=optim.Adam([w, u], amsgrad=True))
    step()
    step()


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_an_optimiser_with_memory_steps_a_single_scalar_as_ever(name):
    make = {"momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9), "adam": lambda p: optim.Adam(p, lr=0.1)}[name]
    a, b = Value(0.7), Value(0.7)
    one, two = make([a]), make([b])
    step = chainrule.compile(lambda x: (a * x).sin(), [a], optimizer=one)
    for x in (0.5, 1.0, 2.0):
        step(x)
        two.zero_grad()
        (b * x).sin().backward()
        two.step()
    assert a.data == pytest.approx(b.data, rel=1e-13)
    assert np.shape(one.state_dict()["memory"][[*one.MEMORY][-1]][0]) == ()


def test_take_at_a_computed_index_is_refused():
    w = [Value(float(i)) for i in range(6)]
    step = chainrule.compile(lambda i: chainrule.take(w, i + 1) * 2, w)
    with pytest.raises(InputError, match="take: an index is a whole number"):
        step(np.array(1))


def test_each_index_is_held_against_its_own_table():
    a, b = [Value(float(i)) for i in range(3)], [Value(float(i)) for i in range(50)]

    def loss(X):
        return sum(chainrule.take(a, r[0]) * chainrule.take(b, r[1]) for r in X)

    X = np.array([[0, 1], [2, 40]])
    assert chainrule.compile(loss, a + b)(X) == loss(X.tolist()).data
    with pytest.raises(InputError, match="index 3 is out of range for a table of 3"):
        chainrule.compile(loss, a + b)(np.array([[3, 1]]))


def test_numbers_that_are_no_index_are_not_held_against_a_table():
    w = [Value(float(i)) for i in range(3)]

    def loss(X):
        return sum(chainrule.take(w, r[0]) * r[1] for r in X)

    X = np.array([[0, 100], [2, -40]])
    assert chainrule.compile(loss, w)(X) == loss(X.tolist()).data


def test_take_of_an_array_of_numbers_follows_the_index():
    w, table = Value(2.0), np.arange(6.0).reshape(3, 2)

    def loss(i):
        return w * chainrule.take(table, i)[1]

    assert chainrule.compile(loss, [w])(np.array(1)) == loss(1).data


def test_take_of_an_empty_table_is_refused():
    w = Value(2.0)
    with pytest.raises(ChainruleError):
        chainrule.compile(lambda i: w * chainrule.take([], i), [w])(np.array(1))


@pytest.mark.parametrize("kind", ["list", "rows", "array"])
def test_take_reads_a_table_as_it_is_at_the_time(kind):
    """trace: tables were known by their id and length, and a list that changes in place has both of before."""
    w = [Value(1.0), Value(2.0), Value(3.0)]
    T = np.array([[1.0], [2.0], [3.0]])

    def loss(i):
        table = {"list": list(w), "rows": [[p] for p in w], "array": T.copy()}[kind]

        def chosen():
            entry = chainrule.take(table, i)
            return entry if kind == "list" else entry[0]

        before = chosen()
        if kind == "list":
            table[0] = table[0] * 10.0
        else:
            table[0][0] = table[0][0] * 10.0
        return w[0] * (before + chosen())

    step = chainrule.compile(loss, w)
    for i in range(3):
        assert compiled(step, w, np.array(i)) == plain(loss, w, i)


def test_a_table_that_stays_is_read_once():
    """800,000 nodes take thousands of times from the same rows: they are compared by identity, not read again."""
    w = [[Value(0.01 * (i + j)) for j in range(10)] for i in range(27)]
    params = [p for row in w for p in row]
    step = chainrule.compile(lambda x: sum(sum(chainrule.take(w, i)) for i in x) ** 2, params)
    step(np.arange(200) % 27)
    assert [line.op.name for line in step.program.operations].count("gather") == 1


@pytest.mark.parametrize("index", ["float", "value"])
def test_an_index_is_a_whole_number_at_once(index):
    """A float argument (1.5, read as 1), or a Value that is no argument: refused outside of a trace, so inside too."""
    w = [Value(float(i)) for i in range(6)]
    k = Value(2.0)
    with pytest.raises(InputError, match="whole number"):
        chainrule.compile(lambda i: chainrule.take(w, i if index == "float" else k) * 2, w)(np.array(1.5))


def test_max_of_values_has_the_gradient_of_python_s_max():
    w = Value(0.0)

    def loss():
        return max(w, w * 1.0) * 2 + max(0.0, w)

    step = chainrule.compile(loss, [w])
    assert compiled(step, [w]) == plain(loss, [w])


def test_max_of_arguments_has_the_slope_of_python_s_max():
    f = chainrule.compile(lambda x, y: max(x, y))
    _, slopes = f.value_and_grad(1.0, 1.0)
    assert (slopes["x"], slopes["y"]) == chainrule.grad(lambda x, y: max(x, y), (0, 1))(1.0, 1.0)


def test_a_slope_that_does_not_exist_is_refused_for_single_numbers():
    w = Value(0.0)
    with pytest.raises(ChainruleError, match="does not exist"):
        chainrule.compile(lambda: w.sqrt(), [w])()
    with pytest.raises(ChainruleError, match="does not exist"):
        chainrule.compile(lambda x: chainrule.sqrt(x)).value_and_grad(0.0)


def test_a_random_choice_of_two_is_noticed_each_time():
    w, found = Value(2.0), []
    for seed in range(12):
        random.seed(seed)
        try:
            chainrule.compile(lambda: w * random.choice([1.0, 2.0]), [w])()
            found.append(seed)
        except CompileError:
            pass
    assert found == []


def test_functions_draw_no_random_numbers_either():
    with pytest.raises(CompileError, match="random"):
        chainrule.compile(lambda x: x * random.random())(1.0)


def test_a_gradient_read_inside_is_noticed():
    w = Value(2.0)
    w.grad = 1.0
    with pytest.raises(CompileError):
        chainrule.compile(lambda: w * w.grad, [w])()
    with pytest.raises(ChainruleError):
        chainrule.compile(lambda: w * engine.gradients(w * w, w)[w], [w])()


def test_the_first_element_of_an_array_may_be_outside_of_the_domain():
    f = chainrule.compile(lambda x: chainrule.log(x))
    found = f(np.array([-1.0, 1.0]))
    assert np.isnan(found[0])
    assert found[1] == 0.0
    assert chainrule.compile(lambda x: chainrule.log(x - 2))(np.zeros(0)).shape == (0,)


@pytest.mark.parametrize("k", range(4))
def test_functions_are_called_as_their_signature_asks(k):
    def positional(a, b, /):
        return a * b

    function = [lambda *xs: xs[0] * xs[1], positional, lambda a, *others: a * others[0], chainrule.maximum][k]
    if k == 1:
        assert chainrule.compile(function)(2.0, 2.0) == 4.0
        return
    with pytest.raises(InputError, match="any number of arguments"):
        chainrule.compile(function)


def test_a_function_without_signature_is_refused_with_what_to_write():
    with pytest.raises(InputError, match=r"lambda x: exp\(x\)"):
        chainrule.compile(chainrule.exp)
    assert chainrule.compile(abs)(-1.0) == 1.0


@pytest.mark.parametrize("k", range(12))
def test_wrong_arguments_are_told_in_one_sentence_of_ours(k):
    w = Value(2.0)
    calls = [
        lambda: chainrule.compile(lambda: (), [w])(),
        lambda: chainrule.compile(lambda x: w * 2, [w])([[1.0], [1.0, 2.0]]),
        lambda: chainrule.compile(lambda: w, 5),
        lambda: chainrule.compile(lambda: w, w),
        lambda: chainrule.compile(lambda: w, [w], optimizer=5),
        lambda: chainrule.compile(lambda: w * w, [w], dtype="int32"),
        lambda: chainrule.compile(lambda: w * w, [w], dtype="foo"),
        lambda: chainrule.compile(lambda a, b: a * b)(np.zeros(3), np.zeros(4)),
        lambda: chainrule.compile(lambda a: a)([[1.0], [1.0, 2.0]]),
        lambda: chainrule.compile(lambda i: w * [1.0, 2.0][i], [w])(np.array(0)),
        lambda: chainrule.compile(lambda i: w * [1.0, 2.0][int(i)], [w])(np.array(0)),
        lambda: chainrule.compile(lambda: w * round((w * 1).data, 2), [w])(),
    ]
    with pytest.raises(ChainruleError) as caught:
        calls[k]()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("op", ["//", "%", "&"])
def test_operators_that_numbers_of_a_program_lack_are_refused_with_the_line(op):
    w = Value(2.0)
    scope = {"w": w}
    with pytest.raises(CompileError, match=r"py:|<string>:"):
        chainrule.compile(eval(f"lambda: w * (((w * 1).data > 0) {op} 2)", scope), [w])()


def test_errors_do_not_name_our_own_classes():
    w = Value(2.0)
    with pytest.raises(CompileError) as caught:
        chainrule.compile(lambda: (w * 1).data, [w])()
    assert "Reading" not in str(caught.value)


def test_errors_name_the_user_s_line_not_numpy_s():
    w = Value(2.0)
    with pytest.raises(CompileError, match=r"test_compiler_semantics\.py"):
        chainrule.compile(lambda: [w, w * 2][np.argmax([w.data, (w * 2).data])], [w])()


def test_other_outputs_that_are_no_numbers_are_a_compile_error():
    w = Value(2.0)
    for other in (None, "a", {"a": 1}):
        with pytest.raises(CompileError, match="output"):
            chainrule.compile(lambda other=other: (w * w, other), [w])()
    assert chainrule.compile(lambda: (w * w, np.array([1.0, 2.0])), [w])()[1].tolist() == [1.0, 2.0]
    assert chainrule.compile(lambda: (w * w, np.array([w, w])), [w])()[1].tolist() == [2.0, 2.0]


def test_large_unsigned_integers_keep_their_value():
    w = Value(1.0)
    assert chainrule.compile(lambda x: w * x, [w])(np.uint64(2**63 + 10)) == float(2**63 + 10)


def test_program_math_concatenates_as_the_row_does():
    """rules: __init__ puts Builder.concatenate (xs, axis) over the method concatenate(*xs, axis)."""
    b = Builder()
    x = b.input("x", (2,))
    assert b.math.concatenate(x, x, axis=0).shape == (4,)


def test_names_of_printed_lines_do_not_clash():
    f = chainrule.compile(lambda v1, v2: (v1 * v2).exp())
    f(1.0, 2.0)
    (mapped,) = f._programs.values()
    names = [line.split("=")[0].split(":")[0].strip() for line in str(mapped.program).splitlines() if line.strip()]
    assert len(set(names)) == len(names)


def test_a_chain_of_3000_products_is_right():
    w = Value(1.0001)

    def loss():
        y = w
        for _ in range(3000):
            y = y * w
        return y

    step = chainrule.compile(loss, [w])
    found, (expected, gradients) = compiled(step, [w]), plain(loss, [w])
    assert found[0] == pytest.approx(expected, rel=1e-11)
    assert found[1] == pytest.approx(gradients, rel=1e-11)


def test_a_square_is_a_product_wherever_its_constant_was_met():
    """lift.constant_classes looks at the first 8 classes only."""
    xs = [Value(0.1 * i + 0.5) for i in range(9)]
    f = ["sin", "cos", "exp", "tanh", "sigmoid", "softplus", "log1p", "sqrt", "relu"]

    def loss():
        return sum(getattr(x, name)() for x, name in zip(xs, f, strict=True)).sin() ** 2

    step = chainrule.compile(loss, xs)
    step()
    assert "pow" not in [line.op.name for line in step.program.operations]


def test_native_gathers_rows_of_a_reshaped_gather():
    """lowered: the rows of v1.reshape(6), where v1 is (3, 2), are taken for 3."""
    W = [Value(i + 0.5) for i in range(4)]
    places = [3, 0, 4, 1, 5, 2]

    def loss(k):
        v0 = [chainrule.take(W, k[i % 2]) for i in range(6)]
        return sum(sum(v0[places[i]] * 0.5 for _ in range(i + 1)) for i in range(6)) + v0[0]

    for executor in EXECUTORS:
        assert chainrule.compile(loss, W, executor=executor)(np.array([1, 2])) == loss([1, 2]).data


def test_unequal_is_a_number_on_the_pure_engine_too():
    """trace: the pure Value has no __ne__ of its own, so it is not patched; run with CHAINRULE_PURE=1 to see it fail."""
    w = Value(2.0)
    found = chainrule.compile(lambda x: (w * w, [a != 1.0 for a in x]), [w])(np.array([1.0, 2.0]))[1]
    assert np.array_equal(found, [0, 1])


def test_a_power_of_zero_is_no_power_of_the_first_parameter():
    w = [Value(v) for v in (0.9, 0.4, 0.7, 0.3, 0.6)]

    def loss():
        return w[3] ** w[4] + w[0] ** 0

    step = chainrule.compile(loss, w)
    found, (expected, gradients) = compiled(step, w), plain(loss, w)
    assert found[0] == pytest.approx(expected)
    assert found[1] == pytest.approx(gradients)


def test_labels_of_tensors_are_checked_in_every_call():
    W, X = Tensor(np.ones((2, 3)), requires_grad=True), np.ones((3, 2))
    step = chainrule.compile(lambda X, y: functional.cross_entropy(X @ W, y), [W])
    for _ in range(3):
        step(X, np.array([0, 1, 2]))
        for wrong in ([0, 1, 9], [0, -1, 2]):
            with pytest.raises(InputError, match="out of range"):
                step(X, np.array(wrong))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_threads_may_share_what_is_compiled(executor):
    w = Value(2.0)
    step = chainrule.compile(lambda x: (w * x).tanh() * x, [w], executor=executor)
    f = chainrule.compile(lambda x: x * x, executor=executor)
    xs = [0.1 * k for k in range(50)]
    wanted = [(x * np.tanh(2.0 * x), x * x) for x in xs]

    def work(_):
        return [(step(x), f(x)) for x in xs]

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(work, range(8)):
            np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_another_thread_may_draw_random_numbers():
    w, done = Value(2.0), threading.Event()

    def draw():
        while not done.is_set():
            random.random()

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        for _ in range(10):
            assert chainrule.compile(lambda: sum(w * k for k in range(30)), [w])() == 870.0
    finally:
        done.set()
        thread.join()


def test_a_value_made_of_a_number_that_was_read_is_refused():
    w = Value(2.0)
    with pytest.raises(CompileError, match=r"test_compiler_semantics\.py:\d+: the function takes a number"):
        chainrule.compile(lambda: Value((w * 1).data) * w, [w])()


def test_arguments_of_a_loss_may_be_given_by_name():
    w = Value(2.0)
    step = chainrule.compile(lambda x, k=1.0: w * x * k, [w])
    assert step(x=3.0) == step(3.0) == 6.0
    assert step(3.0, k=2.0) == 12.0
    with pytest.raises(InputError, match="missing a required argument"):
        step(y=1.0)


def test_defaults_between_arguments_that_are_given_are_filled_in():
    w = Value(2.0)
    step = chainrule.compile(lambda x, scale=2.0, shift=0.0, how=None: w * x * scale + shift, [w])
    assert step(3.0, shift=3.0) == 15.0
    assert step(x=3.0) == 12.0
    assert step(shift=1.0, x=3.0) == 13.0
    many = chainrule.compile(lambda x, *others, scale=1.0: w * x * scale + sum(others), [w])
    assert many(1.0, 2.0, 3.0) == 7.0
    assert many(x=1.0) == 2.0
    with pytest.raises(InputError, match="scale can only be given by name"):
        many(1.0, scale=3.0)


def test_masked_arrays_are_refused():
    """Their mask was lost on the way, and what it hides was computed with."""
    w, x = Value(2.0), np.ma.masked_array([1.0, 2.0, 1e6], [False, False, True])
    for call in (
        lambda: chainrule.compile(lambda x: sum(w * a for a in x), [w])(x),
        lambda: chainrule.compile(lambda x: x * x)(x),
    ):
        with pytest.raises(InputError, match=r"is a masked array.*x\.filled"):
            call()


def test_empty_data_are_refused_in_a_sentence_about_them():
    w = Value(2.0)
    step = chainrule.compile(lambda X, y: sum((w * x - t) ** 2 for x, t in zip(X, y, strict=True)), [w])
    with pytest.raises(
        InputError, match=r"argument 1 has no elements \(its shape is \(0,\)\), and without them the loss does not"
    ):
        step(np.zeros(0), np.zeros(0))
    assert step(np.ones(2), np.zeros(2)) == 8.0
    regularised = chainrule.compile(lambda X: sum(w * x for x in X) + w * w, [w])
    assert regularised(np.zeros(0)) == 4.0


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_program_that_does_not_follow_leaves_the_parameters(executor):
    W, factor = Tensor(np.ones(3), requires_grad=True), [1.0]
    optimizer = optim.Adam([W], lr=0.1)
    step = chainrule.compile(lambda: (W * W).sum() * factor[0], [W], optimizer=optimizer, executor=executor)
    step()
    before, memory, factor[0] = W.data.copy(), optimizer.state_dict(), 2.0
    with pytest.raises(CompileError, match="the loss does not follow"):
        step()
    np.testing.assert_array_equal(W.data, before)
    assert optimizer.state_dict() == memory


def test_gradients_inside_of_a_loss_follow_in_every_call():
    """The check of the second call ran the function without recording, where there are no gradients to ask for."""
    w, c = Value(2.0), Value(3.0)

    def loss(x):
        y = w * w * x[0] * c
        return y + engine.gradients(y, w, create_graph=True)[w] ** 2

    def by_argument(x):
        y = (w * x[0]).tanh()
        return engine.gradients(y, x[0], create_graph=True)[x[0]] ** 2

    for each in (loss, by_argument):
        step = chainrule.compile(each, [w])
        for x in (1.0, 2.0, 0.5):
            found, expected = compiled(step, [w], np.array([x])), plain(each, [w], [Value(x)])
            assert [found[0], *found[1]] == pytest.approx([expected[0], *expected[1]])


@pytest.mark.parametrize("inside", [False, True])
def test_a_failure_is_explained_under_no_grad_too(inside):
    w = Value(2.0)

    def loss(x):
        y = w * w * x[0]
        return (y * engine.gradients(y, w, create_graph=True)[w] if inside else y).sqrt()

    step = chainrule.compile(loss, [w])
    step(np.array([1.0]))
    with engine.no_grad():
        with pytest.raises(ChainruleError, match="does not exist"):
            step(np.array([0.0]))
        assert not engine._is_recording()


@pytest.mark.skipif(not native.available(), reason="NumPy is what there is")
def test_a_warning_says_why_numpy_runs_a_program_of_the_default_executor():
    W, X = Tensor(np.ones((3, 2), np.float32), requires_grad=True), Tensor(np.ones((2, 3)))
    step = chainrule.compile(lambda: (X @ W).sum(), [W])
    with pytest.warns(RuntimeWarning, match="run by NumPy, slowly, .* not in float32 and float64") as caught:
        step()
    assert [each.filename for each in caught] == [__file__]
    step()  # once for a plan: warnings are errors here
    assert "run by NumPy, slowly" in step.explain()
    chainrule.compile(lambda: (X @ W).sum(), [W], executor="numpy")()  # who asks for NumPy is not warned
