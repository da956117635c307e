"""Optimisers and schedules against torch.optim in float64; resuming; every hyper-parameter; bad arguments."""

import json
import math
import operator
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from chainrule import Value, optim
from chainrule.errors import InputError, ModelFileError, NonFiniteError
from chainrule.nn import MLP
from chainrule.optim import (
    SGD,
    Adam,
    AdamW,
    CosineAnnealingLR,
    LinearLR,
    SequentialLR,
    StepLR,
    clip_grad_norm,
    clip_grad_value,
)
from chainrule.tensor import Tensor

START = [1.0, -2.0, 0.5, 3.0]
STEPS = 20

OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.05, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.02, "momentum": 0.8, "nesterov": True, "weight_decay": 0.05}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3}),
    ("Adam", {"lr": 0.3, "betas": (0.9, 0.5), "amsgrad": True}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.2}),
    ("Adam", {"lr": 0.1, "betas": (0.0, 0.5)}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.5}),
    ("AdamW", {"lr": 0.3, "betas": (0.8, 0.5), "amsgrad": True, "eps": 1e-4}),
]

# A maker of the schedule, from a module (ours or torch's) and its optimiser.
SCHEDULES = {
    "linear": lambda m, o: m.LinearLR(o),
    "linear decay": lambda m, o: m.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=12),
    "step": lambda m, o: m.StepLR(o, step_size=3),
    "step with gamma": lambda m, o: m.StepLR(o, 4, gamma=0.7),
    "cosine": lambda m, o: m.CosineAnnealingLR(o, T_max=20),
    "cosine beyond its period": lambda m, o: m.CosineAnnealingLR(o, 7, eta_min=0.01),
    "warm-up": lambda m, o: m.LinearLR(o, start_factor=0.1, total_iters=8),
    "warm-up, then cosine": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, start_factor=0.1, total_iters=5), m.CosineAnnealingLR(o, T_max=10)], milestones=[5]
    ),
    "three in a row": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, start_factor=0.25, total_iters=3), m.StepLR(o, 2, gamma=0.5), m.CosineAnnealingLR(o, 8)], [4, 11]
    ),
}


def loss_of(xs, k):
    """A function whose slopes change from step to step; in operators that Values and tensors share."""
    a, b, c, d = xs
    return (a * b - c) ** 2 + (d - a * c) ** 2 * 0.1 + a * (k % 3 - 1) + d**2 * 0.05


def train(optimizer, xs, steps, schedule=None, first=0):
    """Train our Values; the parameters after each step."""
    history = []
    for k in range(first, first + steps):
        optimizer.zero_grad()
        loss_of(xs, k).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        history.append([x.data for x in xs])
    return history


def train_torch(optimizer, xs, steps, schedule=None):
    history = []
    for k in range(steps):
        optimizer.zero_grad()
        loss_of(xs, k).backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        history.append([x.item() for x in xs])
    return history


def values():
    return [Value(x) for x in START]


def tensors():
    return [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in START]


# ---- against torch --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "hyper"), OPTIMIZERS)
def test_optimizers_step_as_in_torch(name, hyper):
    ours, theirs = values(), tensors()
    found = train(getattr(optim, name)(ours, **hyper), ours, STEPS)
    expected = train_torch(getattr(torch.optim, name)(theirs, **hyper), theirs, STEPS)
    assert np.allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert found[-1] != START


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("base", [0.05, 0.3])
def test_schedules_as_in_torch(make, base):
    ours, theirs = values(), tensors()
    our_optimizer, their_optimizer = Adam(ours, lr=base), torch.optim.Adam(theirs, lr=base)
    our_schedule, their_schedule = make(optim, our_optimizer), make(torch.optim.lr_scheduler, their_optimizer)
    assert our_schedule.get_last_lr() == pytest.approx(their_schedule.get_last_lr(), rel=1e-12)
    for k in range(STEPS):
        train(our_optimizer, ours, 1, our_schedule, first=k)
        their_optimizer.zero_grad()
        loss_of(theirs, k).backward()
        their_optimizer.step()
        their_schedule.step()
        assert our_schedule.get_last_lr() == [our_optimizer.lr]
        assert our_optimizer.lr == pytest.approx(their_optimizer.param_groups[0]["lr"], rel=1e-12, abs=1e-16)
        assert [x.data for x in ours] == pytest.approx([x.item() for x in theirs], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("name", "hyper"), OPTIMIZERS)
def test_parameters_that_no_backward_pass_reached_stay(name, hyper):
    """Gradients come and go; a parameter without one keeps its number and its memory, as in torch."""
    ours, theirs = values(), tensors()
    our_optimizer, their_optimizer = getattr(optim, name)(ours, **hyper), getattr(torch.optim, name)(theirs, **hyper)
    for k in range(12):
        used = [i for i in range(4) if (k + i) % 3]
        for xs, optimizer in ((ours, our_optimizer), (theirs, their_optimizer)):
            optimizer.zero_grad()
            sum((xs[i] - i) ** 2 for i in used).backward()
            optimizer.step()
        assert [x.data for x in ours] == pytest.approx([x.item() for x in theirs], rel=1e-12, abs=1e-12)


def test_defaults_are_those_of_torch():
    theirs = tensors()
    for name in ("SGD", "Adam", "AdamW"):
        group = getattr(torch.optim, name)(theirs).param_groups[0]
        optimizer = getattr(optim, name)(values())
        assert {h: getattr(optimizer, h) for h in optimizer.HYPER} == {h: group[h] for h in optimizer.HYPER}


def test_linear_decay_is_that_of_micrograds_demo():
    optimizer = SGD(values(), lr=1.0)
    schedule = LinearLR(optimizer, start_factor=1.0, end_factor=0.1, total_iters=100)
    for k in range(100):
        assert optimizer.lr == 1.0 - 0.9 * k / 100  # to the last digit
        schedule.step()


# ---- every hyper-parameter ------------------------------------------------------------------------------------------

CHANGES = {
    SGD: [
        ({"momentum": 0.5}, "lr", 0.02),
        ({"lr": 0.01}, "momentum", 0.9),
        ({"lr": 0.01, "momentum": 0.9}, "dampening", 0.5),
        ({"lr": 0.01}, "weight_decay", 0.1),
        ({"lr": 0.01, "momentum": 0.9}, "nesterov", True),
    ],
    Adam: [
        ({}, "lr", 0.02),
        ({}, "betas", (0.8, 0.999)),
        ({}, "betas", (0.9, 0.99)),
        ({}, "eps", 1e-2),
        ({}, "weight_decay", 0.1),
        ({"betas": (0.9, 0.3)}, "amsgrad", True),
    ],
    LinearLR: [({}, "start_factor", 0.5), ({}, "end_factor", 0.9), ({}, "total_iters", 7)],
    StepLR: [({"step_size": 3}, "step_size", 2), ({"step_size": 3}, "gamma", 0.5)],
    CosineAnnealingLR: [({"T_max": 8}, "T_max", 9), ({"T_max": 8}, "eta_min", 0.01)],
    SequentialLR: [({"milestones": [3]}, "milestones", [4])],
}
CHANGES[AdamW] = CHANGES[Adam]


def final(kind, hyper):
    xs = values()
    if issubclass(kind, optim.Optimizer):
        return train(kind(xs, **hyper), xs, 8)[-1]
    optimizer = SGD(xs, lr=0.05)
    if kind is SequentialLR:
        hyper = {"schedulers": [LinearLR(optimizer), StepLR(optimizer, 2)], **hyper}
    return train(optimizer, xs, 8, kind(optimizer, **hyper))[-1]


@pytest.mark.parametrize(
    ("kind", "hyper", "name", "value"), [(kind, *change) for kind, changes in CHANGES.items() for change in changes]
)
def test_every_hyper_parameter_changes_a_step(kind, hyper, name, value):
    assert final(kind, hyper) == final(kind, hyper)
    assert final(kind, hyper) != final(kind, {**hyper, name: value})


def test_no_hyper_parameter_is_forgotten_above():
    kinds = [kind for name in optim.__all__ if getattr(kind := getattr(optim, name), "HYPER", None)]
    assert {kind: set(kind.HYPER) for kind in kinds} == {
        kind: {name for _, name, _ in changes} for kind, changes in CHANGES.items()
    }


# ---- resuming -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(("name", "hyper"), OPTIMIZERS)
def test_resumed_training_gives_the_same_numbers(name, hyper, make):
    xs = values()
    optimizer = getattr(optim, name)(xs, **hyper)
    expected = train(optimizer, xs, STEPS, make(optim, optimizer))

    xs = values()
    optimizer = getattr(optim, name)(xs, **hyper)
    schedule = make(optim, optimizer)
    train(optimizer, xs, 7, schedule)
    saved = json.dumps([[x.data for x in xs], optimizer.state_dict(), schedule.state_dict()], allow_nan=False)

    data, optimizer_state, schedule_state = json.loads(saved)
    xs = [Value(x) for x in data]
    optimizer = getattr(optim, name)(xs, lr=123.0)
    schedule = make(optim, optimizer)
    optimizer.load_state_dict(optimizer_state)
    schedule.load_state_dict(schedule_state)
    assert train(optimizer, xs, STEPS - 7, schedule, first=7) == expected[7:]  # to the last digit


def test_state_is_a_copy():
    xs = values()
    optimizer = SGD(xs, lr=0.1, momentum=0.9)
    train(optimizer, xs, 2)
    state = optimizer.state_dict()
    before = json.dumps(state)
    train(optimizer, xs, 2)
    assert json.dumps(state) == before != json.dumps(optimizer.state_dict())


DAMAGES = [
    (lambda s: {}, "is not that of Adam"),
    (lambda s: None, "is not that of Adam"),
    (lambda s: SGD(values()).state_dict(), "is not that of Adam but of SGD"),
    (lambda s: {**s, "hyper": {}}, "needs hyper: lr, betas, eps, weight_decay, amsgrad; this one is damaged"),
    (lambda s: {**s, "hyper": {**s["hyper"], "lr": -1.0}}, "damaged: lr must be a finite number of at least 0, not -1.0"),
    (lambda s: {**s, "memory": {**s["memory"], "extra": []}}, "needs memory: step, "),
    (lambda s: {**s, "memory": {**s["memory"], "step": [1, 2]}}, "is of 2 parameters, but this optimiser has 4"),
    (lambda s: {**s, "memory": {**s["memory"], "step": 3}}, "is of no list of parameters"),
    (lambda s: {**s, "memory": {**s["memory"], "exp_avg": [0.0, "x", 0.0, 0.0]}}, "exp_avg does not fit"),
    (lambda s: {**s, "memory": {**s["memory"], "exp_avg": [0.0, None, 0.0, 0.0]}}, "exp_avg does not fit"),
    (lambda s: {**s, "memory": {**s["memory"], "exp_avg": [0.0, [1.0, 2.0], 0.0, 0.0]}}, "exp_avg does not fit"),
    (lambda s: {**s, "memory": {**s["memory"], "exp_avg": [0.0, [[1.0], 2.0], 0.0, 0.0]}}, "exp_avg does not fit"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damaged_states_change_nothing(damage, message):
    xs = values()
    optimizer = Adam(xs, lr=0.1)
    train(optimizer, xs, 3)
    before = optimizer.state_dict()
    with pytest.raises(ModelFileError, match=message):
        optimizer.load_state_dict(damage(before))
    assert optimizer.state_dict() == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: {**s, "type": "StepLR"}, "is not that of LinearLR but of StepLR"),
        (lambda s: {**s, "last_epoch": "7"}, "needs base_lr and last_epoch"),
        (lambda s: {**s, "hyper": {**s["hyper"], "total_iters": 0}}, "total_iters must be a whole number of at least 1, not 0"),
    ],
)
def test_damaged_schedules(damage, message):
    schedule = LinearLR(SGD(values()))
    before = schedule.state_dict()
    with pytest.raises(ModelFileError, match=message):
        schedule.load_state_dict(damage(before))
    assert schedule.state_dict() == before


def test_damaged_sequences():
    optimizer = SGD(values())
    schedule = SequentialLR(optimizer, [LinearLR(optimizer), StepLR(optimizer, 2)], [3])
    state = schedule.state_dict()
    with pytest.raises(ModelFileError, match="not that of SequentialLR with 2 schedules"):
        schedule.load_state_dict({**state, "schedulers": []})
    with pytest.raises(ModelFileError, match="not that of LinearLR but of StepLR"):
        schedule.load_state_dict({**state, "schedulers": state["schedulers"][::-1]})
    with pytest.raises(ModelFileError, match="2 schedules need 1 milestones between them, not 2"):
        schedule.load_state_dict({**state, "hyper": {"milestones": [1, 2]}})


# ---- anything with data and grad ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "hyper"), OPTIMIZERS)
def test_arrays_step_as_their_elements(name, hyper):
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(2, 3)), rng.normal(size=(10, 2, 3))
    whole = SimpleNamespace(data=start.copy(), grad=None)
    parts = [SimpleNamespace(data=float(x), grad=None) for x in start.ravel()]
    optimizers = [getattr(optim, name)(xs, **hyper) for xs in ([whole], parts)]
    for i, g in enumerate(gradients):
        whole.grad = g
        for p, number in zip(parts, g.ravel(), strict=True):
            p.grad = float(number)
        for optimizer in optimizers:
            optimizer.step()
        if i == 4:  # resumes with arrays too
            state = json.loads(json.dumps(optimizers[0].state_dict()))
            optimizers[0] = getattr(optim, name)([whole])
            optimizers[0].load_state_dict(state)
    assert np.allclose(whole.data.ravel(), [p.data for p in parts], rtol=1e-14, atol=0)
    optimizers[0].zero_grad()
    assert whole.grad == 0.0


def test_unset_gradients_of_any_kind_are_skipped():
    x, y = SimpleNamespace(data=1.0, grad=None), Value(1.0)
    SGD([x, y], lr=0.1, weight_decay=0.5).step()
    assert (x.data, y.data) == (1.0, 1.0)
    y.grad = 0.0  # set, and zero: now the decay applies
    SGD([x, y], lr=0.1, weight_decay=0.5).step()
    assert (x.data, y.data) == (1.0, 0.95)


def test_zero_grad_forgets():
    xs = values()
    optimizer = SGD(xs)
    loss_of(xs, 0).backward()
    assert all(x.has_grad for x in xs)
    optimizer.zero_grad()
    assert not any(x.has_grad for x in xs)


def test_lr_may_be_assigned():
    x = Value(1.0)
    x.grad = 1.0
    optimizer = SGD([x], lr=0.1)
    optimizer.lr = 0.5
    optimizer.step()
    assert x.data == 0.5
    assert repr(optimizer) == "SGD(1 parameters, lr=0.5, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False)"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_gradients_that_are_not_finite_change_nothing(kind, bad):
    xs = [Value(1.0), Value(2.0, label="w")]
    xs[0].grad, xs[1].grad = 1.0, bad
    optimizer = kind(xs, lr=0.1)
    before = optimizer.state_dict()
    with pytest.raises(NonFiniteError, match=rf"^the gradient of parameter 1 \(w\) is {bad}; no parameter was changed$"):
        optimizer.step()
    assert [x.data for x in xs] == [1.0, 2.0]
    assert optimizer.state_dict() == before
    array = SimpleNamespace(data=np.ones(3), grad=np.array([1.0, bad, 1.0]))
    with pytest.raises(NonFiniteError, match="the gradient of parameter 0 holds NaN or infinity"):
        kind([array]).step()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "make",
    [
        lambda ps: SGD(ps, lr=0.0),
        lambda ps: SGD(ps, lr=0.0, momentum=0.9, dampening=1.0, weight_decay=0.1),
        lambda ps: SGD(ps, lr=0.1, momentum=0.9, nesterov=True),
        lambda ps: Adam(ps, lr=0.0, betas=(0.0, 0.0)),
        lambda ps: Adam(ps, lr=0.1, amsgrad=True, weight_decay=0.1),
        lambda ps: AdamW(ps, lr=0.0, weight_decay=0.0),
    ],
)
def test_what_hands_on_its_gradients_has_them_looked_at_in_what_comes_of_them(make, bad):
    x = Value(1.0, label="w")
    optimizer = make([x])
    for g in (0.0, 1.0):  # from the second step on there is a memory
        x.grad = bad
        with pytest.raises(NonFiniteError, match=rf"^the gradient of parameter 0 \(w\) is {bad}; no parameter was changed$"):
            optimizer.step()
        x.grad = g
        optimizer.step()


@pytest.mark.parametrize("base", [optim.Optimizer, SGD, Adam, AdamW])
def test_the_gradients_of_a_rule_that_hides_them_are_looked_at(base):
    class Signs(base):
        def _update(self, x, g, memory):
            return x - 0.1 * math.copysign(1.0, g), memory

    x = Value(1.0)
    x.grad = math.inf
    with pytest.raises(NonFiniteError, match="the gradient of parameter 0 is inf"):
        Signs([x]).step()
    assert x.data == 1.0


@pytest.mark.parametrize("writes", [lambda g: g.fill(0), lambda g: operator.imul(g, 5.0), lambda g: operator.setitem(g, 0, 7.0)])
@pytest.mark.parametrize(
    "make",
    [
        lambda ps: SGD(ps, lr=0.1, momentum=0.9),
        lambda ps: SGD(ps, lr=0.1, momentum=0.9, nesterov=True),
        lambda ps: SGD(ps, lr=0.1, momentum=0.9, weight_decay=0.1),
        lambda ps: Adam(ps, lr=0.1, amsgrad=True),
        lambda ps: AdamW(ps, lr=0.1),
    ],
)
def test_a_gradient_may_be_written_to_after_a_step(make, writes):
    def trained(between):
        w = Tensor([1.0, -2.0], requires_grad=True)
        optimizer = make([w])
        for _ in range(4):
            w.zero_grad()
            (w * w * w).sum().backward()
            optimizer.step()
            between(w.grad)
        return w.tolist()

    assert trained(writes) == trained(lambda g: None)


OVERFLOWS = [
    (lambda ps: SGD(ps, lr=1e308), 1e10, "updated value"),
    (lambda ps: SGD(ps, lr=1e100, momentum=0.5), 1e250, "updated value"),
    (lambda ps: SGD(ps, weight_decay=1e308), 1.0, "updated value"),
    (lambda ps: Adam(ps), 1e200, "updated exp_avg_sq"),  # else it would stand still from then on
    (lambda ps: AdamW(ps, lr=1e154, weight_decay=1e153), 1.0, "updated value"),
]


@pytest.mark.parametrize(("make", "g", "what"), OVERFLOWS)
def test_updates_that_overflow_change_nothing(make, g, what):
    xs = [Value(1.0), Value(1e3, label="w"), Value(7.0)]
    xs[0].grad, xs[1].grad = 0.0, g
    optimizer = make(xs)
    before = optimizer.state_dict()
    with pytest.raises(NonFiniteError, match=rf"^the {what} of parameter 1 \(w\) is -?inf; no parameter was changed$"):
        optimizer.step()
    assert [x.data for x in xs] == [1.0, 1e3, 7.0]
    assert optimizer.state_dict() == before


@pytest.mark.parametrize(("make", "g", "what"), OVERFLOWS)
def test_arrays_that_overflow_change_nothing(make, g, what):
    array = SimpleNamespace(data=np.array([1.0, 1e3]), grad=np.array([0.0, g]))
    optimizer = make([array])
    before = optimizer.state_dict()
    with pytest.raises(NonFiniteError, match=f"^the {what} of parameter 0 holds NaN or infinity; no parameter was changed$"):
        optimizer.step()
    assert array.data.tolist() == [1.0, 1e3]
    assert optimizer.state_dict() == before


def test_a_parameter_that_is_not_finite_already_is_named():
    x = Value(math.nan, label="w")
    x.grad = 1.0
    with pytest.raises(NonFiniteError, match=r"the updated value of parameter 0 \(w\) is nan"):
        SGD([x]).step()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, "0.1", None])
@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_a_bad_rate_cannot_be_assigned(kind, bad):
    optimizer = kind(values(), lr=0.25)
    with pytest.raises(InputError, match="lr must be a finite number of at least 0, not"):
        optimizer.lr = bad
    assert optimizer.lr == 0.25
    optimizer.lr = np.float64(0.5)
    assert json.dumps(optimizer.state_dict()["hyper"]["lr"]) == "0.5"


def test_other_hyper_parameters_are_checked_when_assigned_too():
    optimizer = sgd()
    with pytest.raises(InputError, match="nesterov needs a momentum above 0"):
        optimizer.nesterov = True
    optimizer.momentum = 0.9
    optimizer.nesterov = True
    with pytest.raises(InputError, match="nesterov needs a momentum above 0"):
        optimizer.momentum = 0
    with pytest.raises(InputError, match="gamma must be"):
        StepLR(sgd(), 2).gamma = math.nan


def test_it_trains():
    random.seed(0)
    xs = values()
    first = loss_of(xs, 1).data
    for kind in (SGD, Adam, AdamW):
        xs = values()
        optimizer = kind(xs, lr=0.02)
        for _ in range(100):
            optimizer.zero_grad()
            loss_of(xs, 1).backward()
            optimizer.step()
        assert loss_of(xs, 1).data < first / 3


# ---- bad arguments --------------------------------------------------------------------------------------------------


def sgd():
    return SGD(values(), lr=1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD([]), "the list of parameters is empty"),
        (lambda: Adam(x for x in ()), "the list of parameters is empty"),
        (lambda: SGD(Value(1.0)), r"takes a list of parameters, as model.parameters\(\) gives, not Value"),
        (lambda: SGD(object()), "not object"),
        (lambda: SGD({"w": Value(1.0)}), "not dict"),
        (lambda: SGD([1.0]), "a parameter has .data and .grad, as a Value has; float has not"),
        (lambda: SGD([("w", Value(1.0))]), "tuple has not"),
        (lambda: SGD([Value(1.0) * 2]), "is the result of an operation"),
        (lambda: SGD([x := Value(1.0), x]), "a parameter is in the list twice"),
        (lambda: SGD(values(), lr=-0.1), "lr must be a finite number of at least 0, not -0.1"),
        (lambda: SGD(values(), lr=math.nan), "lr must be .* not nan"),
        (lambda: SGD(values(), lr=math.inf), "lr must be .* not inf"),
        (lambda: SGD(values(), lr="0.1"), "lr must be .* not '0.1'"),
        (lambda: SGD(values(), lr=None), "lr must be .* not None"),
        (lambda: SGD(values(), momentum=-1), "momentum must be"),
        (lambda: SGD(values(), dampening=math.nan), "dampening must be a finite number, not nan"),
        (lambda: SGD(values(), weight_decay=-1), "weight_decay must be"),
        (lambda: SGD(values(), nesterov="yes", momentum=0.9), "nesterov must be True or False, not 'yes'"),
        (lambda: SGD(values(), nesterov=True), "nesterov needs a momentum above 0 and no dampening"),
        (lambda: SGD(values(), nesterov=True, momentum=0.9, dampening=0.1), "nesterov needs a momentum"),
        (lambda: Adam(values(), lr=-1), "lr must be"),
        (lambda: Adam(values(), betas=(1.0, 0.9)), "the first of betas must be a number from 0 to below 1, not 1.0"),
        (lambda: Adam(values(), betas=(0.9, -0.1)), "the second of betas must be"),
        (lambda: Adam(values(), betas=0.9), "betas must be two numbers"),
        (lambda: AdamW(values(), betas=(0.9, 0.9, 0.9)), "betas must be two numbers"),
        (lambda: Adam(values(), eps=0), "eps must be a finite number above 0, not 0"),
        (lambda: AdamW(values(), weight_decay=-0.1), "weight_decay must be"),
        (lambda: Adam(values(), amsgrad=None), "amsgrad must be True or False"),
        (lambda: LinearLR(values()), "a schedule needs an optimiser of chainrule.optim, not list"),
        (lambda: LinearLR(sgd(), start_factor=0), "start_factor must be a number above 0 and at most 1, not 0"),
        (lambda: LinearLR(sgd(), end_factor=1.5), "end_factor must be a number from 0 to 1, not 1.5"),
        (lambda: LinearLR(sgd(), total_iters=0), "total_iters must be a whole number of at least 1, not 0"),
        (lambda: StepLR(sgd(), step_size=2.5), "step_size must be a whole number"),
        (lambda: StepLR(sgd(), 2, gamma=-1), "gamma must be"),
        (lambda: CosineAnnealingLR(sgd(), T_max="ten"), "T_max must be a whole number of at least 1, not 'ten'"),
        (lambda: CosineAnnealingLR(sgd(), 5, eta_min=-1), "eta_min must be"),
        (lambda: SequentialLR(o := sgd(), [LinearLR(o)], [3]), "1 schedules need 0 milestones between them, not 1"),
        (lambda: SequentialLR(o := sgd(), [LinearLR(o), LinearLR(o)], []), "milestones must be a list of steps"),
        (lambda: SequentialLR(o := sgd(), [LinearLR(o)] * 3, [3, 3]), r"milestones must ascend, not \[3, 3\]"),
        (lambda: SequentialLR(sgd(), [LinearLR(sgd()), LinearLR(sgd())], [3]), "must all be schedules of its optimiser"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("make", [lambda ps: SGD(ps, lr=0.1, momentum=0.9), lambda ps: Adam(ps, lr=0.1)], ids=["SGD", "Adam"])
def test_training_of_float32_tensors_resumes_to_the_last_digit(make):
    from chainrule.tensor import Tensor

    def train(w, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            ((w - 0.3) ** 2 * w).sum().backward()
            optimizer.step()

    start = np.array([0.1, -0.7, 1.3], dtype=np.float32)
    straight = Tensor(start, requires_grad=True)
    train(straight, make([straight]), 9)
    w = Tensor(start, requires_grad=True)
    first = make([w])
    train(w, first, 4)
    stored = json.loads(json.dumps(first.state_dict()))
    again = Tensor(w.data, requires_grad=True)
    second = make([again])
    second.load_state_dict(stored)
    train(again, second, 5)
    assert again.dtype == np.float32
    assert again.tolist() == straight.tolist()


# ---- clipping -------------------------------------------------------------------------------------------------------

NORMS = [2.0, 1, 3.5, 0.5, 0, math.inf, "inf", -math.inf, -1.0]


def clippable(draw, dtype=np.float64):
    """Drawn gradients as (ours, torch's): Values, Tensors of drawn shapes, and some that no backward pass has reached."""
    shapes = [None, (), (3,), (2, 1, 3), (0, 2), None, (1,)]
    ours, theirs = [], []
    for shape in draw.permutation(np.array(shapes, dtype=object))[: draw.integers(1, 8)]:
        scale = 10.0 ** draw.integers(-3, 4)
        g = draw.normal(size=shape or ()) * scale
        mine = Value(1.0) if shape is None else Tensor(np.ones(shape, dtype), requires_grad=True)
        kind = torch.float32 if dtype == np.float32 and shape is not None else torch.float64
        its = torch.ones(shape or (), dtype=kind, requires_grad=True)
        if draw.random() < 0.8:
            mine.grad, its.grad = float(g) if shape is None else g, torch.tensor(np.asarray(g), dtype=kind)
        ours.append(mine)
        theirs.append(its)
    return ours, theirs


def same_gradients(ours, theirs, rtol=1e-12):
    for mine, its in zip(ours, theirs, strict=True):
        g = mine.grad if not isinstance(mine, Value) or mine.has_grad else None
        assert (g is None) == (its.grad is None)
        if g is not None:
            assert np.shape(g) == tuple(its.grad.shape)
            np.testing.assert_allclose(g, its.grad.numpy(), rtol=rtol, atol=0)


@pytest.mark.parametrize("norm_type", NORMS, ids=str)
@pytest.mark.parametrize("max_norm", [0.0, 0.3, 5.0, 1e9, math.inf])
def test_clip_grad_norm_is_torchs(norm_type, max_norm):
    draw = np.random.default_rng([NORMS.index(norm_type), int(min(max_norm * 10, 1e6))])
    clipped = 0
    for _ in range(25):
        ours, theirs = clippable(draw)
        # torch refuses the infinity norm of a tensor without elements; to us it adds nothing to the others.
        expected = torch.nn.utils.clip_grad_norm_([p for p in theirs if p.numel()], max_norm, norm_type).item()
        found = clip_grad_norm(ours, max_norm, norm_type)
        assert type(found) is float
        assert found == pytest.approx(expected, rel=1e-12)
        same_gradients(ours, theirs)
        clipped += found > max_norm
    assert clipped or max_norm >= 5.0


def test_clip_grad_norm_of_float32_keeps_the_dtype():
    draw = np.random.default_rng(0)
    for _ in range(20):
        ours, theirs = clippable(draw, np.float32)
        expected = torch.nn.utils.clip_grad_norm_(theirs, 0.5).item()
        assert clip_grad_norm(ours, 0.5) == pytest.approx(expected, rel=1e-6)
        same_gradients(ours, theirs, rtol=1e-5)
        assert all(p.grad.dtype == np.float32 for p in ours if isinstance(p, Tensor) and p.grad is not None)


@pytest.mark.parametrize("clip_value", [0.0, 0.3, 5, math.inf])
def test_clip_grad_value_is_torchs(clip_value):
    draw = np.random.default_rng(5)
    for _ in range(25):
        ours, theirs = clippable(draw)
        if any(p.grad is not None for p in theirs):  # else torch fails
            torch.nn.utils.clip_grad_value_(theirs, clip_value)
        assert clip_grad_value(ours, clip_value) is None
        same_gradients(ours, theirs, rtol=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("norm_type", [2.0, 1.0, math.inf])
def test_clipping_of_what_is_not_finite_is_torchs(bad, norm_type):
    def pair():
        ours = [Value(1.0), Value(1.0), Tensor([1.0, 1.0], requires_grad=True)]
        theirs = [torch.ones(n, dtype=torch.float64, requires_grad=True) for n in ((), (), 2)]
        for mine, its, g in zip(ours, theirs, (3.0, bad, [1.0, bad]), strict=True):
            mine.grad, its.grad = g, torch.tensor(g, dtype=torch.float64)
        return ours, theirs

    ours, theirs = pair()
    with pytest.raises(NonFiniteError, match=r"^the norm of the gradients is (nan|inf), so it cannot be clipped; no gradient"):
        clip_grad_norm(ours, 1.0, norm_type, error_if_nonfinite=True)
    same_gradients(ours, theirs)
    expected = torch.nn.utils.clip_grad_norm_(theirs, 1.0, norm_type).item()
    assert clip_grad_norm(ours, 1.0, norm_type) == pytest.approx(expected, nan_ok=True)
    same_gradients(ours, theirs)
    ours, theirs = pair()
    clip_grad_value(ours, 2.0)
    torch.nn.utils.clip_grad_value_(theirs, 2.0)
    same_gradients(ours, theirs)


def test_one_parameter_or_any_iterable_may_be_clipped():
    w = Tensor([3.0, 4.0], requires_grad=True)
    for given in (w, [w], (w,), iter([w]), {w}):
        w.grad = np.array([3.0, 4.0])
        assert clip_grad_norm(given, 1.0) == 5.0
        np.testing.assert_allclose(w.grad, [0.6, 0.8], rtol=1e-6)
    x = Value(1.0)
    assert clip_grad_norm(x, 1.0) == clip_grad_norm([], 1.0) == 0.0
    assert not x.has_grad
    x.grad = -7.0
    clip_grad_value(x, 2)
    assert x.grad == -2.0


def test_norms_beyond_the_squares_of_floats():
    x, y = Value(1.0), Tensor([1.0], dtype="float32", requires_grad=True)
    x.grad, y.grad = 3e200, [4e30]
    assert clip_grad_norm([x, y], math.inf) == 3e200
    assert clip_grad_norm(y, math.inf) == pytest.approx(4e30, rel=1e-6)
    tiny = [Value(1.0), Value(1.0)]
    tiny[0].grad, tiny[1].grad = 3e-200, 4e-200
    assert clip_grad_norm(tiny, 1.0) == pytest.approx(5e-200, rel=1e-15)
    clip_grad_value(y, 1e300)
    assert y.grad.tolist() == [np.float32(4e30)]


def test_clipping_leaves_the_arrays_of_others_alone():
    w, g = Tensor([1.0, 1.0], requires_grad=True), np.array([30.0, 40.0])
    w.grad = g
    clip_grad_norm(w, 1.0)
    clip_grad_value(w, 0.1)
    assert g.tolist() == [30.0, 40.0]


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
def test_clipped_training_is_torchs(clip):
    """A step of 40 would be taken; the clipped one is torch's to the last digits."""
    theirs_of = {clip_grad_norm: torch.nn.utils.clip_grad_norm_, clip_grad_value: torch.nn.utils.clip_grad_value_}[clip]
    ours, theirs = values(), tensors()
    for k in range(STEPS):
        for xs, step, clipping in ((ours, SGD(ours, lr=0.1), clip), (theirs, torch.optim.SGD(theirs, lr=0.1), theirs_of)):
            step.zero_grad()
            loss_of(xs, k).backward()
            clipping(xs, 0.5)
            step.step()
    assert [x.data for x in ours] == pytest.approx([x.item() for x in theirs], rel=1e-12)
    assert [x.data for x in ours] != START


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: clip_grad_norm(values(), -1.0), "max_norm must be a number of at least 0, not -1.0"),
        (lambda: clip_grad_norm(values(), math.nan), "max_norm must be a number of at least 0, not nan"),
        (lambda: clip_grad_norm(values(), "1"), "max_norm must be a number of at least 0, not '1'"),
        (lambda: clip_grad_norm(values(), 1.0, "two"), "norm_type must be a number or 'inf', not 'two'"),
        (lambda: clip_grad_norm(values(), 1.0, math.nan), "norm_type must be a number or 'inf', not nan"),
        (lambda: clip_grad_norm(values(), 1.0, error_if_nonfinite=1), "error_if_nonfinite must be True or False, not 1"),
        (lambda: clip_grad_value(values(), -0.5), "clip_value must be a number of at least 0, not -0.5"),
        (lambda: clip_grad_value(values(), None), "clip_value must be a number of at least 0, not None"),
        (lambda: clip_grad_norm(MLP(1, [1]), 1.0), r"clip_grad_norm takes .* model.parameters\(\) gives, not MLP"),
        (lambda: clip_grad_value({"w": Value(1.0)}, 1.0), r"clip_grad_value takes .*, not dict"),
        (lambda: clip_grad_norm([1.0], 1.0), "clip_grad_norm: a parameter has .data and .grad, as a Value has; float has not"),
        (lambda: clip_grad_norm(Value(1.0) * 2, 1.0), "is the result of an operation, whose gradient no step uses"),
        (lambda: clip_grad_value([x := Value(1.0), x], 1.0), "a parameter is in the list twice"),
    ],
)
def test_wrong_arguments_of_clipping(wrong, message):
    with pytest.raises(InputError, match=message) as caught:
        wrong()
    assert "\n" not in str(caught.value)
