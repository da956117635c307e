"""Compiled steps with an optimiser follow the plain loop: parameters, memory, schedules; with loads and pauses in between."""

import copy
import json
import math
import pickle
import random
import threading

import numpy as np
import pytest

import chainrule
from chainrule import Value, engine, optim
from chainrule.compiler.executors import EXECUTORS
from chainrule.errors import DomainError, InputError
from chainrule.nn import MLP

OPTIMIZERS = {
    "sgd": lambda ps: optim.SGD(ps, lr=0.05),
    "decay": lambda ps: optim.SGD(ps, lr=0.05, weight_decay=0.1),
    "momentum": lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda ps: optim.Adam(ps, lr=0.05),
    "adam_decay": lambda ps: optim.Adam(ps, lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
    "adamw": lambda ps: optim.AdamW(ps, lr=0.05, weight_decay=0.1),
}
REMEMBERING = [name for name in OPTIMIZERS if name not in ("sgd", "decay")]
DATA = np.random.default_rng(3).normal(size=(20, 6, 2))


class Training:
    """A small net, its optimiser, and steps of both kinds; two of them start alike."""

    def __init__(self, name, executor="numpy", make=None):
        random.seed(7)
        self.model = MLP(2, [3, 1], activation="tanh")
        self.params = self.model.parameters()
        self.optimizer = (make or OPTIMIZERS[name])(self.params)
        self.compiled = chainrule.compile(self.loss, self.params, optimizer=self.optimizer, executor=executor)

    def loss(self, X):
        return sum((self.model(x) - x[0] * x[1]) ** 2 for x in X) / len(X)

    def plain(self, X):
        self.optimizer.zero_grad()
        loss = self.loss(X.tolist())
        loss.backward()
        self.optimizer.step()
        return loss.data

    def numbers(self):
        return [p.data for p in self.params]


def same_memory(a, b):
    """Equal states: numbers to 1e-12, and numbers of steps exactly."""
    a, b = a.state_dict(), b.state_dict()
    assert a["type"] == b["type"]
    assert a["hyper"] == b["hyper"]
    assert list(a["memory"]) == list(b["memory"])
    for name, column in b["memory"].items():
        if name == "step":
            assert a["memory"][name] == column
            assert [type(x) for x in a["memory"][name]] == [type(x) for x in column]
        else:
            assert a["memory"][name] == pytest.approx(column, rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_same_trajectory_as_the_plain_loop(name, executor):
    one, two = Training(name, executor), Training(name)
    for X in DATA:
        assert one.compiled(X) == pytest.approx(two.plain(X), rel=1e-12)
        assert one.numbers() == pytest.approx(two.numbers(), rel=1e-12, abs=1e-13)
        assert [p.grad for p in one.params] == pytest.approx([p.grad for p in two.params], rel=1e-11, abs=1e-13)
    assert one.numbers() != Training(name).numbers()
    if name in REMEMBERING:
        same_memory(one.optimizer, two.optimizer)
    json.dumps(one.optimizer.state_dict())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_compiled_and_plain_steps_take_turns(name):
    one, two = Training(name), Training(name)
    for k, X in enumerate(DATA):
        one.compiled(X) if k % 3 else one.plain(X)
        two.plain(X)
        assert one.numbers() == pytest.approx(two.numbers(), rel=1e-12, abs=1e-13)
    if name in REMEMBERING:
        same_memory(one.optimizer, two.optimizer)


@pytest.mark.parametrize("name", REMEMBERING)
def test_training_resumes_from_a_state(name):
    one, two = Training(name), Training(name)
    for X in DATA[:8]:
        one.compiled(X)
        two.compiled(X)
    state = json.loads(json.dumps(one.optimizer.state_dict()))
    numbers = one.numbers()
    for X in DATA[8:12]:
        one.compiled(X)
    one.optimizer.load_state_dict(state)
    for p, x in zip(one.params, numbers, strict=True):
        p.data = x
    for X in DATA[8:]:
        one.compiled(X)
        two.compiled(X)
    assert one.numbers() == two.numbers()


SCHEDULES = {
    "linear": lambda o: optim.LinearLR(o, start_factor=0.2, total_iters=6),
    "cosine": lambda o: optim.CosineAnnealingLR(o, T_max=20),
    "steps": lambda o: optim.StepLR(o, step_size=4),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_schedules_of_the_learning_rate(name, optimizer):
    one, two = Training(optimizer), Training(optimizer)
    schedules = [SCHEDULES[name](t.optimizer) for t in (one, two)]
    for X in DATA:
        one.compiled(X)
        two.plain(X)
        for schedule in schedules:
            schedule.step()
        assert one.numbers() == pytest.approx(two.numbers(), rel=1e-12, abs=1e-13)
    assert len(one.compiled._plans) == 1
    assert one.optimizer.lr == two.optimizer.lr


@pytest.mark.parametrize(
    ("optimizer", "name", "x"),
    [("momentum", "momentum", 0.5), ("decay", "weight_decay", 0.5), ("adam", "betas", (0.5, 0.9)), ("adam", "eps", 0.1)],
)
def test_a_setting_that_is_changed_takes_effect(optimizer, name, x):
    one, two = Training(optimizer), Training(optimizer)
    for k, X in enumerate(DATA[:10]):
        if k == 4:
            setattr(one.optimizer, name, x)
            setattr(two.optimizer, name, x)
        one.compiled(X)
        two.plain(X)
        assert one.numbers() == pytest.approx(two.numbers(), rel=1e-12, abs=1e-13)


def test_parameters_may_be_set_from_outside():
    one, two = Training("adam"), Training("adam")
    for k, X in enumerate(DATA[:6]):
        if k == 3:
            for t in (one, two):
                t.params[0].data = 0.25
                t.params[-1].data = -0.5
        one.compiled(X)
        two.plain(X)
    assert one.numbers() == pytest.approx(two.numbers(), rel=1e-12)


# A step reads the data of Values only when some has been assigned since; here is every way to assign.


def by_load(params):
    model = MLP(2, [3, 1], activation="tanh")
    model.load_state_dict(dict.fromkeys(model.state_dict(), 0.1))
    for p, q in zip(params, model.parameters(), strict=True):
        p.data = q.data


def by_backward_of_others(params):
    optimizer = optim.SGD(params, lr=0.1)
    sum(p * p for p in params).backward()
    optimizer.step()


def by_another_step(params):
    chainrule.compile(lambda: sum(p * p for p in params), params, optimizer=optim.Adam(params, lr=0.1))()


class Named(Value):
    """A subclass."""


ASSIGNING = {
    "data": lambda params: setattr(params[0], "data", 0.25),
    "setattr": lambda params: object.__setattr__(params[-1], "data", -0.5),
    "init": lambda params: params[1].__init__(0.5, label="again"),
    "descriptor": lambda params: Value.data.__set__(params[2], 0.75),
    "a plain step": by_backward_of_others,
    "another compiled step": by_another_step,
    "load": by_load,
    "a thread": lambda params: in_a_thread(lambda: setattr(params[3], "data", 1.5)),
    "nothing": lambda params: None,
    "new nodes": lambda params: [copy.deepcopy(params), pickle.loads(pickle.dumps(params)), Value(3.0), Named(2.0)],
    "a gradient": lambda params: setattr(params[0], "grad", 7.0),
}


def in_a_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


@pytest.mark.parametrize("how", ASSIGNING)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_data_that_is_assigned_between_steps_is_seen(how, executor):
    one, two = Training("sgd", executor), Training("sgd")
    for k, X in enumerate(DATA[:6]):
        if k % 2:
            for t in (one, two):
                ASSIGNING[how](t.params)
        one.compiled(X)
        two.plain(X)
        assert one.numbers() == pytest.approx(two.numbers(), rel=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("trained", [False, True])
def test_captured_data_and_subclasses_too(dtype, trained):
    w, c = Named(2.0), Named(3.0, requires_grad=False)
    optimizer = optim.SGD([w], lr=0.5) if trained else None
    step = chainrule.compile(lambda: w * c, [w], optimizer=optimizer, dtype=dtype)
    assert step() == 6.0
    assert (w.data, w.grad) == (0.5 if trained else 2.0, 3.0)
    c.data = 5.0
    assert step() == w.grad * (0.5 if trained else 2.0) == 5.0 * (0.5 if trained else 2.0)
    c.__init__(7.0, requires_grad=False)
    w.data = 1.0
    assert step() == w.grad == 7.0


def test_a_run_that_fails_leaves_no_numbers_behind():
    """log(0) raises after the program has run with its update: the next step must start from what the Value still holds."""
    w = Value(2.0)
    step = chainrule.compile(lambda x: w + x.log(), [w], optimizer=optim.SGD([w], lr=0.5))
    assert step(1.0) == 2.0
    assert step(1.0) == 1.5
    with pytest.raises(DomainError):
        step(0.0)
    assert w.data == 1.0
    assert step(1.0) == 1.0
    assert w.data == 0.5


def test_programs_of_two_shapes_take_turns():
    one, two = Training("sgd"), Training("sgd")
    for k, X in enumerate(DATA[:8]):
        X = X[: 3 + 3 * (k // 2 % 2)]
        one.compiled(X)
        two.plain(X)
    assert one.numbers() == pytest.approx(two.numbers(), rel=1e-12)


def test_data_is_read_only_when_it_was_assigned(monkeypatch):
    """In the native engine; the pure one does not count, and reads in every step."""
    training, calls = Training("sgd"), []
    training.compiled(DATA[0])
    training.compiled(DATA[1])  # the first with other numbers, which is checked by the plain function
    read_data = engine.read_data
    monkeypatch.setattr(engine, "read_data", lambda *args: (calls.append(1), read_data(*args)))
    for X in DATA[2:5]:
        training.compiled(X)
    counted = engine.data_writes() == engine.data_writes()
    assert len(calls) == (0 if counted else 3)
    training.params[0].data = 1.0
    training.compiled(DATA[5])
    assert len(calls) == (1 if counted else 4)


def test_a_parameter_that_no_gradient_reaches_keeps_its_data():
    w, idle = Value(2.0), Value(0.1)
    step = chainrule.compile(lambda: w * w, [idle, w], optimizer=optim.SGD([idle, w], lr=0.25, weight_decay=0.1), dtype="float32")
    assert (step(), w.grad, idle.data, idle.has_grad) == (4.0, 4.0, 0.1, False)
    assert w.data == pytest.approx(0.95, rel=1e-6)


def test_extra_outputs_are_those_before_the_update():
    w = Value(2.0)
    optimizer = optim.SGD([w], lr=0.5)
    step = chainrule.compile(lambda x: (w * x, w * 10, w * x > 1), [w], optimizer=optimizer)
    loss, ten, above = step(1.0)
    assert (loss, float(ten), float(above), w.data, w.grad) == (2.0, 20.0, 1.0, 1.5, 1.0)


def test_dampening_needs_a_first_step_of_its_own():
    one, two = (Training("sgd", make=lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9, dampening=0.5)) for _ in range(2))
    with pytest.raises(chainrule.ChainruleError, match="first step of SGD with dampening"):
        one.compiled(DATA[0])
    one.plain(DATA[0])
    two.plain(DATA[0])
    for X in DATA[1:6]:
        one.compiled(X)
        two.plain(X)
    assert one.numbers() == pytest.approx(two.numbers(), rel=1e-12, abs=1e-13)


def test_the_loss_falls():
    training = Training("adam")
    first = training.compiled(DATA[0])
    for _ in range(100):
        last = training.compiled(DATA[0])
    assert math.isfinite(last)
    assert last < first / 5


@pytest.mark.parametrize("optimizer", [False, True])
def test_a_value_that_was_frozen_is_not_updated(optimizer):
    values = [Value(1.0), Value(2.0)]
    step = chainrule.compile(
        lambda: sum(v * v for v in values), values, optimizer=optim.SGD(values, lr=0.1) if optimizer else None
    )
    step()
    values[1].requires_grad = False
    before = [v.data for v in values]
    for _ in range(2):
        with pytest.raises(InputError, match="parameter 1 has requires_grad=False by now"):
            step()
    assert [v.data for v in values] == before
