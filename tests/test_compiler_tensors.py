"""Tensor code, compiled: every method gives what the plain engine gives, and what a program cannot follow is refused."""

import inspect
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import chainrule
from chainrule import Tensor, gradients, no_grad, optim, tensor, where
from chainrule.compiler.executors import EXECUTORS, Runner
from chainrule.errors import CompileError, GraphError, InputError
from chainrule.nn import functional as F
from chainrule.origins import Patches
from chainrule.tensor import concatenate, stack

C = np.random.default_rng(5).normal(size=(3, 4))
V = np.random.default_rng(6).normal(size=4)
MASK = np.array([True, False, True])

# Each of w, of shape (3, 4), and gives any shape.
METHODS = {
    "max of rows": lambda w: w.max(1).values,
    "max kept": lambda w: w.max(0, keepdim=True).values * 2.0,
    "max of three axes": lambda w: w.reshape(2, 3, 2).max(2, keepdim=True).values,
    "min of rows": lambda w: w.min(1).values * np.arange(3.0),
    "max of all": lambda w: w.max() * w.min(),
    "amax": lambda w: w.amax(1) + w.amin(1, keepdim=True),
    "softmax": lambda w: w.softmax(1) * C,
    "softmax of columns": lambda w: w.softmax(0) * C,
    "log_softmax": lambda w: w.log_softmax(1) * C,
    "logsumexp": lambda w: w.logsumexp(1, keepdim=True),
    "mask of rows": lambda w: (w * w)[MASK],
    "mask of elements": lambda w: w[C > 0] * 3.0,
    "mask and slice": lambda w: w[MASK, 1:3],
    "rows": lambda w: w[np.array([2, 0, 2])],
    "negative rows": lambda w: w[[-1, -3]] * w[-1],
    "steps": lambda w: w[::-1, ::2],
    "new axes": lambda w: w[:, None, ..., None] * C[:, None, :, None],
    "where": lambda w: where(w > 0.1, w * w, -w),
    "where of both": lambda w: where((w > -0.5) & (w < 0.5) | ~(w <= 1.0), w, 0.0),
    "where unequal": lambda w: where((w != 0.0) ^ (w >= 0.3), w, 2.0 * w),
    "clamp": lambda w: w.clamp(-0.5, 0.5) + w.clip(0.1, None),
    "detach": lambda w: w * w.detach(),
    "var": lambda w: w.var(1) + w.var(1, unbiased=False),
    "std": lambda w: w.std(1) + w.std(),
    "std of what is alike": lambda w: (w * 0.0 + 1.0).std(1) + w.sum(),
    "mean": lambda w: w.mean() + w.mean(0, keepdim=True),
    "matrix by vector": lambda w: (w @ V, V @ w.T)[0] + V @ w.T,
    "vector by vector": lambda w: w[0] @ w[1] * w[2],
    "stacks": lambda w: w.reshape(3, 2, 2) @ w.reshape(3, 2, 2),
    "transposes": lambda w: w.T @ w + w.transpose(0, 1) @ w.permute(0, 1),
    "joined": lambda w: concatenate([w, w * 2.0], dim=1) + stack([w, w], dim=1).reshape(3, 8),
    "flattened": lambda w: w.flatten() * w.ravel() + w.view(12) + w.unsqueeze(0).squeeze(0).reshape(-1),
    "expanded": lambda w: w[:, :1].expand(3, 4) * w,
    "powers": lambda w: (w.square() + 1.0) ** 0.5 + (w.abs() + 0.1).pow(1.5),
    "reflected": lambda w: 2.0 - 1.0 / (w * w + 1.0) + 2.0**w,
    "iterated": lambda w: sum(row.sum() * i for i, row in enumerate(w)),
    "without gradient": lambda w: w * within_no_grad(w),
    "linear": lambda w: F.linear(w, C[:2], V[:2]).tanh(),
    "layer_norm": lambda w: F.layer_norm(w, 4) * C,
    "batch_norm": lambda w: F.batch_norm(w, None, None, training=True) * C,
    "mse_loss": lambda w: F.mse_loss(w, C),
    "cross_entropy": lambda w: F.cross_entropy(w, [1, 0, 3], reduction="none"),
    "embedding": lambda w: F.embedding([[0, 2], [1, 1]], w),
    "gradient as nodes": lambda w: gradients((w**3).sum(), w, create_graph=True)[w] ** 2,
    "functions": lambda w: w.exp() + (w * w + 0.1).log() + w.sigmoid() * w.relu() + w.softplus() + w.sin() * w.cos(),
}


def within_no_grad(w):
    with no_grad():
        return (w * 3.0).sum()


def compare(step, function, params, *arrays, rel=1e-10):
    """The compiled step against the plain engine: outputs and gradients."""
    found = step(*arrays)
    grads = [None if p.grad is None else p.grad.copy() for p in params]
    for p in params:
        p.grad = None
    wanted = function(*map(Tensor, arrays))
    slopes = gradients(wanted[0] if isinstance(wanted, tuple) else wanted, params)
    pairs = zip(found, wanted, strict=True) if isinstance(found, tuple) else [(found, wanted)]
    for x, y in pairs:
        np.testing.assert_allclose(x, y.data, rtol=rel, atol=rel)
    for p, g in zip(params, grads, strict=True):
        np.testing.assert_allclose(np.zeros(p.shape) if g is None else g, slopes[p], rtol=rel, atol=rel)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", METHODS)
def test_every_method(name, executor):
    rng = np.random.default_rng(len(name))
    w = Tensor(rng.normal(size=(3, 4)), requires_grad=True)

    def loss():
        y = METHODS[name](w)
        return (y * np.linspace(1.0, 2.0, y.size).reshape(y.shape)).sum() + 0.1 * (w * w).sum()

    step = chainrule.compile(loss, [w], executor=executor)
    for _ in range(3):
        compare(step, loss, [w])
        w.data = rng.normal(size=(3, 4))


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("keepdim", [True, False])
def test_of_equal_elements_the_first_gets_the_gradient(keepdim, executor):
    w = Tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 1.0]], requires_grad=True)

    def loss():
        return (w.max(1, keepdim).values * 2.0).sum() - w.min(0, keepdim).values.sum()

    compare(chainrule.compile(loss, [w], executor=executor), loss, [w])


@pytest.mark.parametrize("executor", EXECUTORS)
def test_places_and_accuracy_are_outputs(executor):
    w = Tensor(C, requires_grad=True)

    def loss(y):
        return F.cross_entropy(w, y), w.argmax(1), (w.argmax(1) == y), w.argmin(0, keepdim=True), w.max(1).indices

    step = chainrule.compile(loss, [w], executor=executor)
    for y in ([1, 2, 3], [0, 0, 1]):
        compare(step, loss, [w], np.array(y))
        w.data = -w.data


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_indices_and_labels_are_arguments(dtype, executor):
    w = Tensor(C, requires_grad=True)

    def loss(i, y):
        return w[i[:, 0]].sum() * 2.0 + (w[i[:, 1]] ** 2).mean() + F.cross_entropy(w, y) + w[np.arange(3), y].sum()

    step = chainrule.compile(loss, [w], executor=executor)
    for i, y in (([[0, 1], [2, 2]], [3, 2, 1]), ([[1, 1], [0, 2]], [0, 0, 3])):
        compare(step, loss, [w], np.array(i, dtype), np.array(y, dtype))


def test_what_was_captured_is_read_anew():
    w = Tensor(np.arange(10.0), requires_grad=True)
    index, labels, scale = Tensor([1, 2]), Tensor([0, 3]), Tensor(2.0)

    def loss():
        return (w[index] * scale).sum() + F.cross_entropy(w.reshape(2, 5), labels)

    step = chainrule.compile(loss, [w])
    compare(step, loss, [w])
    index.data, labels.data, scale.data = [5, 6], [4, 1], 3.0
    compare(step, loss, [w])
    index.data = [5, 12]
    with pytest.raises(InputError, match="index 12 is out of range for a table of 10"):
        step()


def test_a_captured_tensor_of_another_shape_compiles_anew():
    w, x = Tensor(np.arange(3.0), requires_grad=True), Tensor(np.ones((2, 3)))

    def loss():
        return (x * w).sum()

    step = chainrule.compile(loss, [w])
    compare(step, loss, [w])
    x = Tensor(np.full((4, 3), 2.0))
    step = chainrule.compile(loss, [w])
    compare(step, loss, [w])
    tensor.replace(x, np.ones((5, 3)))
    compare(step, loss, [w])


def out(take):
    """A loss that takes a number out of the program, and the line where."""

    def loss(x):
        y = x * W
        return y.sum() * (2.0 if take(y) else 3.0)

    return loss, inspect.getsourcelines(loss)[1] + 2


W = Tensor([1.0, 2.0], requires_grad=True)


@pytest.mark.parametrize(
    "take",
    [
        lambda y: y.sum().item() > 0,
        lambda y: y.sum() > 0,
        lambda y: y.data[0] > 0,
        lambda y: y.numpy()[0] > 0,
        lambda y: y.tolist()[0] > 0,
        lambda y: float(y.detach().sum()) > 0,
        lambda y: y.sum(),
        lambda y: (y > 0).any(),
        lambda y: (y > 0).all(),
        lambda y: y.argmax().item(),
        lambda y: np.asarray(y.detach()).sum(),
        lambda y: Tensor(y).sum().item(),
        lambda y: y.long()[0].item(),
        lambda y: W.data[0] > 0,
        lambda y: W.grad is None,
    ],
)
def test_numbers_that_leave_the_program_are_refused_with_the_line(take):
    loss, line = out(take)
    with pytest.raises(CompileError, match=r"test_compiler_tensors.py:\d+: the function takes") as caught:
        chainrule.compile(loss, [W])(np.array([1.0, 2.0]))
    place = int(str(caught.value).split(":")[1])
    assert place in (line, inspect.getsourcelines(take)[1])


@pytest.mark.parametrize(
    ("loss", "arrays", "words"),
    [
        (lambda i: W[i + 1].sum(), [[0]], "an index is computed in the function"),
        (lambda m: W[m].sum(), [[True, False]], "write where"),
        (lambda: W[W > 0].sum(), [], "write where"),
        (lambda: F.dropout(W.expand(99, *W.shape), 0.5).sum(), [], "does not do the same twice"),
        (lambda: W.sum().backward(), [], "takes a gradient inside"),
        (lambda: gradients(W.sum())[W].sum(), [], "takes a gradient inside"),
        (lambda: (EARLIER * W).sum(), [], "was computed from a parameter before the call"),
    ],
)
def test_what_a_program_cannot_follow(loss, arrays, words):
    with pytest.raises(CompileError, match=words):
        chainrule.compile(loss, [W])(*map(np.array, arrays))


EARLIER = (W * 2.0).sum()


def test_constants_may_be_looked_at():
    def loss(x):
        scale = Tensor([1.0, 2.0]) * 2.0
        return (x * W * (scale if scale.sum().item() > 0 else -scale)).sum()

    compare(chainrule.compile(loss, [W]), loss, [W], np.array([1.0, 3.0]))


def test_tracing_changes_no_parameter_and_leaves_nothing_behind():
    def loss(x):
        assert W._data is before
        return (x * W).sum()

    before, patched = W._data, (dict(vars(Tensor)), tensor._node, tensor._make)
    chainrule.compile(loss, [W])(np.array([1.0, 2.0]))

    def broken(x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        chainrule.compile(broken, [W])(np.array([1.0, 2.0]))
    assert patched == (dict(vars(Tensor)), tensor._node, tensor._make)
    assert not Patches._layers


def test_another_thread_goes_on_as_ever():
    inside, done, found = threading.Event(), threading.Event(), []

    def work():
        assert inside.wait(10)
        found.append((W.data.copy(), (W * 2.0).sum().item(), bool((W > 0).all())))
        done.set()

    thread = threading.Thread(target=work)
    thread.start()

    def loss():
        inside.set()
        assert done.wait(10)
        return W.sum()

    chainrule.compile(loss, [W])()
    thread.join()
    np.testing.assert_array_equal(found[0][0], W.data)
    assert found[0][1:] == (6.0, True)


INTERRUPTED = """
import gc, signal
import chainrule
from chainrule import Tensor, Value, engine

def interrupt(*_):
    raise KeyboardInterrupt

def both():
    chainrule.compile(lambda: sum(abs(p * p) for p in params), params)()
    chainrule.compile(lambda: (w * w).sum(), [w])()

w, params = Tensor([1.0, 2.0], requires_grad=True), [Value(1.0), Value(2.0)]
both()  # what is imported at the first use is not interrupted
original = dict(vars(engine.Value)), dict(vars(Tensor))
signal.signal(signal.SIGALRM, interrupt)
interrupted = 0
for k in range(150):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0002 + 0.00003 * k)
        both()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted += 1
signal.setitimer(signal.ITIMER_REAL, 0)
gc.collect()
assert interrupted > 20, interrupted
assert original == (dict(vars(engine.Value)), dict(vars(Tensor)))
both()
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals come at any time only on POSIX")
def test_an_interrupt_at_any_time_leaves_the_engine_whole():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_rounding_is_no_mistake():
    w, rng = Tensor(1.0, requires_grad=True), np.random.default_rng(0)

    def loss(x):
        return ((x * w) ** 2).mean() - (x * w).mean() ** 2

    step = chainrule.compile(loss, [w])
    for _ in range(3):
        x = 1e5 + rng.normal(size=50)
        assert step(x) == pytest.approx(loss(Tensor(x)).item(), abs=1e-3)


def test_what_was_refused_stays_refused():
    w, changes = Tensor(1.0, requires_grad=True), {"scale": 1.0}
    step = chainrule.compile(lambda x: (x * w).sum() * changes["scale"], [w])
    assert step(np.array([1.0])) == 1.0
    changes["scale"] = 5.0
    for _ in range(3):
        with pytest.raises(CompileError, match="does not follow"):
            step(np.array([2.0]))


def test_numbers_of_another_width_have_a_program_of_their_own():
    w = Tensor(np.array([1.0, 2.0]), requires_grad=True)

    def loss(x):
        return (x * w).tanh().sum()

    step = chainrule.compile(loss, [w])
    for dtype in ("float32", "float64", "int8"):
        compare(step, loss, [w], np.array([0.3, 0.7]).astype(dtype))


@pytest.mark.parametrize("optimizer", [False, True])
def test_a_parameter_that_was_frozen_is_not_updated(optimizer):
    w = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    step = chainrule.compile(lambda: (w * w).sum(), [w], optimizer=optim.SGD([w], lr=0.1) if optimizer else None)
    step()
    w.requires_grad = False
    with pytest.raises(InputError, match="parameter 0 has requires_grad=False by now"):
        step()


def test_the_lines_of_tensor_code_are_explained():
    w = Tensor(C, requires_grad=True)

    def loss():
        h = w.tanh()
        return (h * h).sum()

    step = chainrule.compile(loss, [w])
    step()
    first = inspect.getsourcelines(loss)[1]
    assert f"test_compiler_tensors.py:{first + 1}" in step.explain()
    assert f"test_compiler_tensors.py:{first + 2}" in step.explain()


HOLDERS = {
    "row": lambda w: w[0],
    "transpose": lambda w: w.T,
    "permuted": lambda w: w.permute(1, 0),
    "reshaped": lambda w: w.reshape(4, 3),
    "wide": lambda w: w.expand(3000, 3, 4),
    "clone": lambda w: w.clone(),
    "detached": lambda w: w.detach(),
    "data": lambda w: w.data,
    "numpy": lambda w: w.numpy(),
    "view of data": lambda w: w.data.reshape(-1)[1:],
    "state": lambda w: w.tolist(),
}


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", HOLDERS)
def test_what_others_hold_of_a_parameter_is_not_written_to(name, executor):
    def trained(hold):
        w = Tensor(C, requires_grad=True)
        optimizer = optim.SGD([w], lr=0.1, momentum=0.5)
        step = chainrule.compile(lambda x: ((w * x) ** 2).sum(), [w], optimizer=optimizer, executor=executor)
        step(2.0)
        with no_grad():
            held = hold(w)
        before = np.asarray(held.data if isinstance(held, Tensor) else held).copy()
        u = Tensor(np.ones(before.shape), requires_grad=True)
        pending = (u * held).sum() if isinstance(held, Tensor) else None
        step(1.0)
        w.data = w.data * 0.5
        step(1.5)
        assert np.array_equal(held.data if isinstance(held, Tensor) else held, before)
        if pending is not None:
            pending.backward()
            assert np.array_equal(u.grad, before)
        return w.data

    assert np.array_equal(trained(HOLDERS[name]), trained(lambda w: None))


def test_the_numbers_of_a_parameter_stay_where_they_are_while_nobody_holds_them():
    w = Tensor(C, requires_grad=True)
    step = chainrule.compile(lambda: (w * w).sum(), [w], optimizer=optim.SGD([w], lr=0.1))
    step()
    place = w._data.ctypes.data
    for _ in range(3):
        step()
        assert w._data.ctypes.data == place
    row = w[0]
    step()
    assert w._data.ctypes.data != place
    place = w._data.ctypes.data
    del row
    step()
    assert w._data.ctypes.data == place


def test_a_gradient_that_is_held_is_not_written_to():
    w = Tensor(C, requires_grad=True)
    step = chainrule.compile(lambda x: (w * w * x).sum(), [w])
    step(1.0)
    g = w.grad
    step(2.0)
    assert np.array_equal(g, 2 * C)
    assert np.array_equal(w.grad, 4 * C)


@pytest.mark.parametrize(
    "make", [lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9), lambda ps: optim.Adam(ps, lr=0.05, amsgrad=True)]
)
def test_gradients_of_a_program_serve_an_optimiser_of_the_engine(make):
    def trained(compiled):
        w = Tensor(C, requires_grad=True)
        loss = lambda: ((w * w - V) ** 2).sum()  # noqa: E731
        step, optimizer = chainrule.compile(loss, [w]), make([w])
        for _ in range(5):
            optimizer.zero_grad()
            step() if compiled else loss().backward()
            optimizer.step()
        return w.data

    np.testing.assert_allclose(trained(True), trained(False), rtol=1e-12)


def program_and_graph(executor=""):
    w = Tensor(C, requires_grad=True, label="w")
    step = chainrule.compile(lambda: (w * w).sum(), [w], optimizer=optim.SGD([w], lr=0.1), executor=executor)
    step()
    step()
    return w, step, (w * w).sum()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_after_a_step_that_was_interrupted_graphs_are_out_of_date(executor, monkeypatch):
    _, step, loss = program_and_graph(executor)
    plan = step._latest
    execute = plan.execute

    def interrupted():
        execute()
        raise KeyboardInterrupt

    monkeypatch.setattr(plan, "execute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        step()
    with pytest.raises(GraphError, match="the data of w"):
        loss.backward()


def test_a_step_interrupted_while_it_moves_goes_on_as_ever(monkeypatch):
    w, step, _ = program_and_graph()
    row = w[0:2]
    before = row.tolist()
    bind = Runner.bind
    for late in (False, True):

        def interrupted(runner, name, array, late=late):
            if late:
                bind(runner, name, array)
            raise KeyboardInterrupt

        monkeypatch.setattr(Runner, "bind", interrupted)
        with pytest.raises(KeyboardInterrupt):
            step()
        monkeypatch.setattr(Runner, "bind", bind)
        data = w.data
        for _ in range(3):
            step()
            data = data * 0.8
            np.testing.assert_allclose(w.data, data, rtol=1e-12)
        assert row.tolist() == before
        row = w[0:2]
        before = row.tolist()
