"""Optimisers and learning-rate schedules, spelled as in PyTorch; they work on anything that has `data` and `grad`.

>>> from chainrule import Value
>>> x = Value(3.0)
>>> optimizer = SGD([x], lr=0.1, momentum=0.9)
>>> schedule = CosineAnnealingLR(optimizer, T_max=50)
>>> for _ in range(50):
...     optimizer.zero_grad()
...     ((x - 1) ** 2).backward()
...     optimizer.step()
...     schedule.step()
>>> round(x.data, 2)
1.0

`clip_grad_norm` and `clip_grad_value`, called between `backward()` and `step()`, limit the gradients before they are used.

A parameter that no backward pass has reached is left alone, momentum and decay included, as in PyTorch. Unlike PyTorch, a
step that meets NaN or infinity, in a gradient or in what a parameter or the memory of it would become, raises
NonFiniteError before anything has changed: one such step would make every weight NaN for good. Warm-up is a LinearLR before
another schedule:

>>> warm_up, then = LinearLR(optimizer, start_factor=0.25, total_iters=3), StepLR(optimizer, step_size=10)
>>> schedule = SequentialLR(optimizer, [warm_up, then], milestones=[3])

`state_dict()` of either holds numbers, strings, lists and dicts only, so it can be written as JSON; Python writes and reads
its floats exactly, and training resumed from it gives the same numbers to the last digit. Left out on purpose: groups
of parameters (make one optimiser per group), closures, `maximize` (negate the loss). Imports tensor and errors.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from chainrule.errors import InputError, ModelFileError, NonFiniteError
from chainrule.tensor import Tensor, replace

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "LRScheduler",
    "LinearLR",
    "Optimizer",
    "SequentialLR",
    "StepLR",
    "clip_grad_norm",
    "clip_grad_value",
]

_PLAIN = {float, int, type(None)}

Checks = Mapping[str, Callable[[str, Any], Any]]  # for each hyper-parameter, what turns (name, argument) into its value


class Parameter(Protocol):
    """What an optimiser needs: a number (or an array of them) and its gradient."""

    data: Any
    grad: Any


# ---- hyper-parameters -----------------------------------------------------------------------------------------------


class _Configured:
    """Something with hyper-parameters: `HYPER` says their names and, for each, how a value is checked."""

    HYPER: ClassVar[Checks] = {}

    def _configure(self, **hyper: Any) -> None:
        """Set all hyper-parameters as attributes, or none: InputError names the one that is out of range."""
        checked = {name: check(name, hyper[name]) for name, check in self.HYPER.items()}
        self._check_together(checked)
        self.__dict__.update(checked)

    def __setattr__(self, name: str, x: Any) -> None:
        if name in self.HYPER:
            x = self.HYPER[name](name, x)
            self._check_together({**self.__dict__, name: x})
        super().__setattr__(name, x)

    def _check_together(self, hyper: Mapping[str, Any]) -> None:
        """Raise InputError for values that do not go together."""

    def _restore_hyper(self, state: Mapping[str, Any]) -> None:
        try:
            self._configure(**_part(state, "hyper", self.HYPER))
        except InputError as error:
            raise ModelFileError(f"the state of {type(self).__name__} is damaged: {error}") from error

    def _hyper(self) -> dict[str, Any]:
        return {name: _plain(getattr(self, name)) for name in self.HYPER}


def _finite(name: str, x: Any, accepts: Callable[[float], bool] = math.isfinite, wanted: str = "a finite number") -> float:
    try:
        number = float(x)
        fits = not isinstance(x, str) and math.isfinite(number) and accepts(number)
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise InputError(f"{name} must be {wanted}, not {x!r}")
    return number


def _non_negative(name: str, x: Any) -> float:
    return _finite(name, x, lambda number: number >= 0, "a finite number of at least 0")


def _positive(name: str, x: Any) -> float:
    return _finite(name, x, lambda number: number > 0, "a finite number above 0")


def _factor(name: str, x: Any) -> float:
    return _finite(name, x, lambda number: 0 <= number <= 1, "a number from 0 to 1")


def _first_factor(name: str, x: Any) -> float:
    return _finite(name, x, lambda number: 0 < number <= 1, "a number above 0 and at most 1")


def _below_one(name: str, x: Any) -> float:
    return _finite(name, x, lambda number: 0 <= number < 1, "a number from 0 to below 1")


def _whole(name: str, x: Any) -> int:
    return int(_finite(name, x, lambda number: number >= 1 and number.is_integer(), "a whole number of at least 1"))


def _flag(name: str, x: Any) -> bool:
    if not isinstance(x, (bool, np.bool_)):
        raise InputError(f"{name} must be True or False, not {x!r}")
    return bool(x)


def _betas(name: str, x: Any) -> tuple[float, float]:
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        raise InputError(f"{name} must be two numbers, as in (0.9, 0.999), not {x!r}")
    return _below_one(f"the first of {name}", x[0]), _below_one(f"the second of {name}", x[1])


def _steps(name: str, x: Any) -> list[int]:
    if not isinstance(x, (tuple, list)) or not x:
        raise InputError(f"{name} must be a list of steps, not {x!r}")
    steps = [_whole(f"each of {name}", step) for step in x]
    if steps != sorted(set(steps)):
        raise InputError(f"{name} must ascend, not {steps}")
    return steps


# ---- optimisers -----------------------------------------------------------------------------------------------------


class Optimizer(_Configured):
    """The base of all optimisers: parameters, hyper-parameters, and what is remembered of each parameter.

    A subclass names its hyper-parameters in `HYPER` and its memory in `MEMORY`, and defines `_update`. Each
    hyper-parameter is an attribute of its own name; `lr` may be assigned between steps, and InputError refuses what the
    constructor would.
    """

    MEMORY: ClassVar[dict[str, Any]] = {}  # a name, and what a parameter starts with; a number fits arrays too

    lr: float

    def __init__(self, params: Iterable[Parameter]) -> None:
        self.params: list[Any] = _checked_params(params)
        self.memory: list[dict[str, Any]] = [dict(self.MEMORY) for _ in self.params]

    def step(self) -> None:
        """Change every parameter that has a gradient.

        Raises NonFiniteError, before any is changed, when a gradient, or what a parameter or the memory of it would become,
        is NaN or infinite.
        """
        found = [_gradient(p) for p in self.params]
        with np.errstate(over="ignore", invalid="ignore"):  # arrays that overflow are refused, as numbers are
            if type(self)._update not in _REVEALING:
                self._expect_finite("gradient", found)
            updates = [
                (None, memory) if g is None else self._update(p.data, g, memory)
                for p, g, memory in zip(self.params, found, self.memory, strict=True)
            ]
            try:
                self._expect_finite("updated value", [x for x, _ in updates])
                for name in self.MEMORY:
                    self._expect_finite(f"updated {name}", [memory[name] for _, memory in updates])
            except NonFiniteError:
                self._expect_finite("gradient", found)  # which is then to blame
                raise
        self.memory = [memory for _, memory in updates]
        for p, (x, _) in zip(self.params, updates, strict=True):
            if x is not None:
                old = p._data if type(p) is Tensor else None
                if type(x) is type(old) is np.ndarray and x.base is None and x.shape == old.shape and x.dtype is old.dtype:
                    replace(p, x)  # a new array, so it need not be copied
                else:
                    p.data = x

    def _update(self, x: Any, g: Any, memory: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """What a parameter of value x and gradient g becomes, and its memory after that; changes nothing."""
        raise NotImplementedError

    def _expect_finite(self, what: str, xs: list[Any]) -> None:
        """NonFiniteError for the first entry that is NaN or infinite; there is one per parameter, or None."""
        # Nearly always, and at the speed of C; filter drops None, and zeros, which are finite.
        if set(map(type, xs)) <= _PLAIN and all(map(math.isfinite, filter(None, xs))):
            return
        for i, (p, x) in enumerate(zip(self.params, xs, strict=True)):
            if x is not None and not _all_finite(x):
                name = f"{i} ({p.label})" if getattr(p, "label", "") else f"{i}"
                found = f"is {x}" if np.ndim(x) == 0 else "holds NaN or infinity"
                raise NonFiniteError(f"the {what} of parameter {name} {found}; no parameter was changed")

    def zero_grad(self) -> None:
        """Forget the gradients, so that the next backward pass starts anew."""
        for p in self.params:
            if hasattr(p, "zero_grad"):
                p.zero_grad()
            else:
                p.grad = 0.0

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, but the parameters; JSON can hold it.

        >>> from chainrule import Value
        >>> SGD([Value(1.0)], lr=0.5).state_dict()["hyper"]["lr"]
        0.5
        """
        memory = {name: [_plain(memory[name]) for memory in self.memory] for name in self.MEMORY}
        return {"type": type(self).__name__, "hyper": self._hyper(), "memory": memory}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state; its hyper-parameters replace those given here.

        Raises ModelFileError when it is of another optimiser or of other parameters; then nothing has been changed.
        """
        _expect_type(self, state_dict)
        columns = _part(state_dict, "memory", self.MEMORY)
        for column in columns.values():
            if not isinstance(column, list) or len(column) != len(self.params):
                count = f"{len(column)} parameters" if isinstance(column, list) else "no list of parameters"
                raise ModelFileError(f"the state is of {count}, but this optimiser has {len(self.params)}")
        memory = [
            {name: _entry(name, columns[name][i], start, p) for name, start in self.MEMORY.items()}
            for i, p in enumerate(self.params)
        ]
        self._restore_hyper(state_dict)
        self.memory = memory

    def __repr__(self) -> str:
        hyper = ", ".join(f"{name}={getattr(self, name)}" for name in self.HYPER)
        return f"{type(self).__name__}({len(self.params)} parameters, {hyper})"


class SGD(Optimizer):
    """Gradient descent: p -= lr * g, where g may first gather momentum.

    params: the parameters, as `model.parameters()` gives them.
    lr: the step size (default 1e-3).
    momentum: how much of the last direction is kept, b = momentum * b + (1 - dampening) * g (default 0).
    dampening: how much of the gradient is held back from the second step on (default 0).
    weight_decay: added to the gradient, times the parameter (default 0).
    nesterov: step along g + momentum * b instead of b.

    Raises InputError for hyper-parameters out of range and for empty or unfit `params`.

    >>> from chainrule import Value
    >>> x = Value(3.0)
    >>> (x * x).backward()
    >>> SGD([x], lr=0.1).step()
    >>> round(x.data, 4)
    2.4
    """

    HYPER: ClassVar[Checks] = {
        "lr": _non_negative,
        "momentum": _non_negative,
        "dampening": _finite,
        "weight_decay": _non_negative,
        "nesterov": _flag,
    }
    MEMORY: ClassVar[dict[str, Any]] = {"momentum_buffer": None}

    momentum: float
    dampening: float
    weight_decay: float
    nesterov: bool

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(params)
        self._configure(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov)

    def _check_together(self, hyper: Mapping[str, Any]) -> None:
        if hyper["nesterov"] and (hyper["momentum"] == 0 or hyper["dampening"] != 0):
            raise InputError("nesterov needs a momentum above 0 and no dampening, as in SGD(params, momentum=0.9, nesterov=True)")

    def _update(self, x: Any, g: Any, memory: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if self.weight_decay:
            g = g + self.weight_decay * x
        if self.momentum:
            last = memory["momentum_buffer"]
            b = _copied(g) if last is None else self.momentum * last + (1.0 - self.dampening) * g
            memory = {"momentum_buffer": b}
            g = g + self.momentum * b if self.nesterov else b
        return x - self.lr * g, memory


class Adam(Optimizer):
    """Steps scaled by running means of the gradient and of its square (Kingma and Ba 2015, algorithm 1).

    params: the parameters, as `model.parameters()` gives them.
    lr: the step size (default 1e-3).
    betas: how much of the mean of g and of the mean of g * g is kept at each step (default 0.9, 0.999).
    eps: added to the root of the latter, above 0 (default 1e-8).
    weight_decay: added to the gradient, times the parameter (default 0).
    amsgrad: divide by the largest mean of squares so far (Reddi, Kale and Kumar 2018).

    Raises InputError for hyper-parameters out of range and for empty or unfit `params`.

    >>> from chainrule import Value
    >>> x = Value(3.0)
    >>> (x * x).backward()
    >>> Adam([x], lr=0.1).step()
    >>> round(x.data, 4)
    2.9
    """

    HYPER: ClassVar[Checks] = {
        "lr": _non_negative,
        "betas": _betas,
        "eps": _positive,
        "weight_decay": _non_negative,
        "amsgrad": _flag,
    }
    MEMORY: ClassVar[dict[str, Any]] = {"step": 0, "exp_avg": 0.0, "exp_avg_sq": 0.0, "max_exp_avg_sq": 0.0}

    betas: tuple[float, float]
    eps: float
    weight_decay: float
    amsgrad: bool

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params)
        self._configure(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)

    def _update(self, x: Any, g: Any, memory: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if self.weight_decay:
            g = g + self.weight_decay * x
        return self._adapt(x, g, memory)

    def _adapt(self, x: Any, g: Any, memory: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        beta1, beta2 = self.betas
        t = memory["step"] + 1
        m = beta1 * memory["exp_avg"] + (1.0 - beta1) * g
        v = beta2 * memory["exp_avg_sq"] + (1.0 - beta2) * g * g
        largest = _maximum(memory["max_exp_avg_sq"], v) if self.amsgrad else memory["max_exp_avg_sq"]
        # Both means start at 0; dividing by 1 - beta ** t takes that bias away (ibid., section 3).
        root = (largest if self.amsgrad else v) ** 0.5 / (1.0 - beta2**t) ** 0.5 + self.eps
        after = {"step": t, "exp_avg": m, "exp_avg_sq": v, "max_exp_avg_sq": largest}
        return x - self.lr / (1.0 - beta1**t) * m / root, after


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters directly, by lr * weight_decay (Loshchilov and Hutter 2019).

    The arguments are those of Adam; weight_decay is 1e-2 by default.

    >>> from chainrule import Value
    >>> x = Value(3.0)
    >>> (x * x).backward()
    >>> AdamW([x], lr=0.1).step()
    >>> round(x.data, 4)
    2.897
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)

    def _update(self, x: Any, g: Any, memory: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return self._adapt(x * (1.0 - self.lr * self.weight_decay), g, memory)


# NaN or infinity in a gradient always comes into what these rules return, so that only that is looked at.
_REVEALING = {SGD._update, Adam._update, AdamW._update}


# ---- schedules ------------------------------------------------------------------------------------------------------


class LRScheduler(_Configured):
    """The base of all schedules: sets the optimiser's `lr`, at once and after each `step()`.

    The rate is a function of the number of steps alone (`rate`), so a schedule resumes exactly. All schedules of one
    optimiser start from the `lr` it had when the first of them was made. A subclass names its arguments in `HYPER`.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise InputError(f"a schedule needs an optimiser of chainrule.optim, not {type(optimizer).__name__}")
        self.optimizer = optimizer
        self.base_lr: float = optimizer.__dict__.setdefault("initial_lr", float(optimizer.lr))
        self.last_epoch = 0
        optimizer.lr = self.rate(0)

    def rate(self, step: int) -> float:
        """The learning rate after that many steps."""
        raise NotImplementedError

    def step(self) -> None:
        """Count one step, and set the optimiser's rate for the next; call it after `optimizer.step()`."""
        self.last_epoch += 1
        self.optimizer.lr = self.rate(self.last_epoch)

    def get_last_lr(self) -> list[float]:
        """The rate that was set last, in a list, as in PyTorch."""
        return [self.rate(self.last_epoch)]

    def state_dict(self) -> dict[str, Any]:
        """All that the coming rates depend on; JSON can hold it."""
        return {"type": type(self).__name__, "hyper": self._hyper(), "base_lr": self.base_lr, "last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state, and set the optimiser's rate; ModelFileError when it is of another schedule."""
        _expect_type(self, state_dict)
        base_lr, last_epoch = state_dict.get("base_lr"), state_dict.get("last_epoch")
        if not isinstance(base_lr, (int, float)) or not isinstance(last_epoch, int):
            raise ModelFileError(f"the state of {type(self).__name__} needs base_lr and last_epoch; this one is damaged")
        self._restore_hyper(state_dict)
        self.base_lr, self.last_epoch = base_lr, last_epoch
        self.optimizer.__dict__["initial_lr"] = base_lr
        self.optimizer.lr = self.rate(last_epoch)


class LinearLR(LRScheduler):
    """A straight line from lr * start_factor to lr * end_factor, constant afterwards: decay, or warm-up.

    optimizer: whose `lr` it sets.
    start_factor: above 0 and at most 1 (default 1/3).
    end_factor: from 0 to 1 (default 1).
    total_iters: the number of steps to the end of the line (default 5).

    The decay of micrograd's demo, 1.0 - 0.9 * k / 100, to the last digit:

    >>> from chainrule import Value
    >>> schedule = LinearLR(SGD([Value(0.0)], lr=1.0), start_factor=1.0, end_factor=0.1, total_iters=100)
    >>> [schedule.rate(k) == 1.0 - 0.9 * k / 100 for k in (0, 33, 99)]
    [True, True, True]
    """

    HYPER: ClassVar[Checks] = {"start_factor": _first_factor, "end_factor": _factor, "total_iters": _whole}
    start_factor: float
    end_factor: float
    total_iters: int

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3.0, end_factor: float = 1.0, total_iters: int = 5
    ) -> None:
        self._configure(start_factor=start_factor, end_factor=end_factor, total_iters=total_iters)
        super().__init__(optimizer)

    def rate(self, step: int) -> float:
        """The learning rate after that many steps."""
        slope = (self.end_factor - self.start_factor) * min(step, self.total_iters)
        return self.base_lr * (self.start_factor + slope / self.total_iters)


class StepLR(LRScheduler):
    """Multiplies the rate by gamma every step_size steps.

    optimizer: whose `lr` it sets.
    step_size: a whole number of steps.
    gamma: the factor, at least 0 (default 0.1).

    >>> from chainrule import Value
    >>> schedule = StepLR(SGD([Value(0.0)], lr=1.0), step_size=2, gamma=0.5)
    >>> [schedule.rate(k) for k in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    HYPER: ClassVar[Checks] = {"step_size": _whole, "gamma": _non_negative}
    step_size: int
    gamma: float

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self._configure(step_size=step_size, gamma=gamma)
        super().__init__(optimizer)

    def rate(self, step: int) -> float:
        """The learning rate after that many steps."""
        return self.base_lr * self.gamma ** (step // self.step_size)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from lr down to eta_min in T_max steps, and up again in as many (Loshchilov and Hutter 2017).

    optimizer: whose `lr` it sets.
    T_max: a whole number of steps.
    eta_min: the lowest rate, at least 0 (default 0).

    >>> from chainrule import Value
    >>> schedule = CosineAnnealingLR(SGD([Value(0.0)], lr=1.0), T_max=4)
    >>> [round(schedule.rate(k), 4) for k in range(5)]
    [1.0, 0.8536, 0.5, 0.1464, 0.0]
    """

    HYPER: ClassVar[Checks] = {"T_max": _whole, "eta_min": _non_negative}
    T_max: int
    eta_min: float

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self._configure(T_max=T_max, eta_min=eta_min)
        super().__init__(optimizer)

    def rate(self, step: int) -> float:
        """The learning rate after that many steps."""
        return self.eta_min + (self.base_lr - self.eta_min) * (1.0 + math.cos(math.pi * step / self.T_max)) / 2.0


class SequentialLR(LRScheduler):
    """One schedule after another, each starting from its own beginning.

    optimizer: whose `lr` it sets; the schedules are of the same one.
    schedulers: two or more schedules.
    milestones: the steps at which the second, the third, ... take over, ascending.

    >>> from chainrule import Value
    >>> optimizer = SGD([Value(0.0)], lr=1.0)
    >>> warm_up, cosine = LinearLR(optimizer, start_factor=0.5, total_iters=2), CosineAnnealingLR(optimizer, T_max=4)
    >>> schedule = SequentialLR(optimizer, [warm_up, cosine], milestones=[2])
    >>> [round(schedule.rate(k), 4) for k in range(5)]
    [0.5, 0.75, 1.0, 0.8536, 0.5]
    """

    HYPER: ClassVar[Checks] = {"milestones": _steps}
    milestones: list[int]

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]) -> None:
        self.schedulers = list(schedulers)
        if any(getattr(schedule, "optimizer", None) is not optimizer for schedule in self.schedulers):
            raise InputError("the schedules of a SequentialLR must all be schedules of its optimiser")
        self._configure(milestones=milestones)
        super().__init__(optimizer)

    def _check_together(self, hyper: Mapping[str, Any]) -> None:
        count, needed = len(hyper["milestones"]), len(self.schedulers) - 1
        if count != needed:
            raise InputError(f"{needed + 1} schedules need {needed} milestones between them, not {count}")

    def rate(self, step: int) -> float:
        """The learning rate after that many steps."""
        current = sum(milestone <= step for milestone in self.milestones)
        begun = self.milestones[current - 1] if current else 0
        return self.schedulers[current].rate(step - begun)

    def state_dict(self) -> dict[str, Any]:
        """All that the coming rates depend on, the schedules included; JSON can hold it."""
        return {**super().state_dict(), "schedulers": [schedule.state_dict() for schedule in self.schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state, and set the optimiser's rate; ModelFileError when it is of other schedules."""
        states = state_dict.get("schedulers") if isinstance(state_dict, Mapping) else None
        if not isinstance(states, list) or len(states) != len(self.schedulers):
            raise ModelFileError(f"the state is not that of SequentialLR with {len(self.schedulers)} schedules")
        for schedule, state in zip(self.schedulers, states, strict=True):
            _expect_type(schedule, state)
        for schedule, state in zip(self.schedulers, states, strict=True):
            schedule.load_state_dict(state)
        super().load_state_dict(state_dict)


# ---- clipping: between backward() and step() ------------------------------------------------------------------------


def clip_grad_norm(
    parameters: Parameter | Iterable[Parameter],
    max_norm: float,
    norm_type: float | str = 2.0,
    error_if_nonfinite: bool = False,
) -> float:
    """Scale all gradients down together, so that their norm, taken as one vector, is at most max_norm.

    parameters: one parameter or several (Values, Tensors, or both), as `model.parameters()` gives them; those without a
        gradient are skipped.
    max_norm: at least 0; math.inf changes nothing, which measures the norm.
    norm_type: p of the p-norm (default 2, the length); math.inf or "inf" is the largest absolute value.
    error_if_nonfinite: True raises NonFiniteError, before any gradient is changed, when the norm is NaN or infinite; False
        (default) scales by it nevertheless, as PyTorch does: finite gradients become 0 or NaN.

    Returns the norm before clipping, as a float. The factor is max_norm / (norm + 1e-6) where that is below 1, as in
    torch.nn.utils.clip_grad_norm_. The direction of the step stays what it was (Pascanu, Mikolov and Bengio 2013,
    algorithm 1). Raises InputError for arguments out of range, and for what is no parameter.

    >>> from chainrule import Value
    >>> x, y = Value(3.0), Value(4.0)
    >>> (x * x / 2 + y * y / 2).backward()
    >>> clip_grad_norm([x, y], max_norm=1.0)
    5.0
    >>> round(x.grad, 4), round(y.grad, 4)
    (0.6, 0.8)
    """
    limit, order, strict = _limit("max_norm", max_norm), _order(norm_type), _flag("error_if_nonfinite", error_if_nonfinite)
    reached = _with_gradient("clip_grad_norm", parameters)
    with np.errstate(all="ignore"):  # whatever the arrays do, numbers do in silence
        # One number is its own norm: a net of Values has thousands of them. Tensors without elements have none.
        found = [p.grad for p in reached]
        norms = [_size(g, order) if type(g) is float else _norm(g, order) for g in found if type(g) is float or np.size(g)]
        total = _norm(norms, order) if norms else 0.0
        if strict and not math.isfinite(total):
            raise NonFiniteError(f"the norm of the gradients is {total}, so it cannot be clipped; no gradient was changed")
        factor = limit / (total + 1e-6)
        if not factor >= 1.0:  # NaN too
            for p in reached:
                p.grad = p.grad * factor
    return total


def clip_grad_value(parameters: Parameter | Iterable[Parameter], clip_value: float) -> None:
    """Move every number of the gradients that is outside of +-clip_value to that limit.

    parameters: one parameter or several (Values, Tensors, or both); those without a gradient are skipped.
    clip_value: at least 0.

    It may turn the step into another direction; `clip_grad_norm` does not. NaN stays NaN. Raises InputError for arguments out
    of range, and for what is no parameter.

    >>> from chainrule.tensor import Tensor
    >>> w = Tensor([1.0, -20.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> clip_grad_value(w, 10.0)
    >>> w.grad.tolist()
    [2.0, -10.0]
    """
    limit = _limit("clip_value", clip_value)
    with np.errstate(over="ignore"):  # a limit beyond float32 is none
        for p in _with_gradient("clip_grad_value", parameters):
            g = p.grad
            # This way round NaN stays NaN.
            p.grad = min(max(g, -limit), limit) if type(g) is float else np.clip(g, -limit, limit)


def _limit(name: str, x: Any) -> float:
    infinite = isinstance(x, (float, np.floating)) and x == math.inf
    return math.inf if infinite else _finite(name, x, lambda number: number >= 0, "a number of at least 0")


def _order(x: Any) -> float:
    infinite = isinstance(x, (float, np.floating, str)) and str(x) in ("inf", "-inf")
    return float(x) if infinite else _finite("norm_type", x, wanted="a number or 'inf'")


def _with_gradient(name: str, parameters: Any) -> list[Any]:
    """The parameters that a backward pass has reached; InputError, naming the function, for what is none or comes twice."""
    alone = hasattr(parameters, "data") and hasattr(parameters, "grad")
    if not alone and (not isinstance(parameters, Iterable) or isinstance(parameters, (str, Mapping))):
        raise InputError(f"{name} takes a list of parameters, as model.parameters() gives, not {type(parameters).__name__}")
    found = [parameters] if alone else list(parameters)
    for p in found:
        if not (hasattr(p, "data") and hasattr(p, "grad")):
            raise InputError(f"{name}: a parameter has .data and .grad, as a Value has; {type(p).__name__} has not")
        if getattr(p, "op", None) is not None:
            raise InputError(f"{name}: {p!r} is the result of an operation, whose gradient no step uses; clip the parameters'")
    if len({id(p) for p in found}) < len(found):
        raise InputError(f"{name}: a parameter is in the list twice, so its gradient would count twice; give each once")
    return [p for p in found if _gradient(p) is not None]


def _norm(g: Any, order: float) -> float:
    """The p-norm of an array or list that is not empty, in float64; divided by one of its numbers first, no power overflows."""
    x = np.abs(np.asarray(g, dtype=np.float64))
    if order == 0:
        return float(np.count_nonzero(x))
    pivot = x.max() if order > 0 else x.min()
    if math.isinf(order) or pivot == 0 or not np.isfinite(pivot):
        return float(pivot)
    return float(pivot * ((x / pivot) ** order).sum() ** (1.0 / order))


def _size(g: float, order: float) -> float:
    return abs(g) if order else float(g != 0)


# ---- parameters and states ------------------------------------------------------------------------------------------


def _checked_params(params: Any) -> list[Any]:
    if not isinstance(params, Iterable) or isinstance(params, (str, Mapping)):
        raise InputError(f"an optimiser takes a list of parameters, as model.parameters() gives, not {type(params).__name__}")
    if hasattr(params, "grad"):
        raise InputError("an optimiser takes a list of parameters; put a single one into a list: [w]")
    found = list(params)
    if not found:
        raise InputError("the list of parameters is empty, so there is nothing to optimise")
    for p in found:
        if not (hasattr(p, "data") and hasattr(p, "grad")):
            raise InputError(f"a parameter has .data and .grad, as a Value has; {type(p).__name__} has not")
        if getattr(p, "op", None) is not None:
            raise InputError(f"{p!r} is the result of an operation, so changing it would change nothing; optimise its inputs")
    if len({id(p) for p in found}) < len(found):
        raise InputError("a parameter is in the list twice, so each step would change it twice; give each once")
    return found


def _gradient(p: Any) -> Any:
    """The gradient, or None where no backward pass has set one."""
    return p.grad if getattr(p, "has_grad", True) else None


def _all_finite(x: Any) -> bool:
    if type(x) is np.ndarray and x.dtype.kind == "f":
        # NaN or infinity anywhere makes the sum of squares one; BLAS finds it in a quarter of the time of looking at each.
        flat = x.reshape(-1)
        if math.isfinite(flat.dot(flat)):
            return True
    return bool(np.all(np.isfinite(x)))  # squares may overflow where the numbers do not


def _copied(g: Any) -> Any:
    return g.copy() if isinstance(g, np.ndarray) else g  # whoever holds the gradient may write to it


def _maximum(a: Any, b: Any) -> Any:
    if type(b) is float:
        return max(a, b)
    return np.maximum(a, b) if isinstance(b, (np.ndarray, np.generic)) else b.maximum(a)  # a line of a program


def _plain(x: Any) -> Any:
    """A number, tuple or array as JSON would hold it."""
    return list(x) if isinstance(x, tuple) else x.tolist() if isinstance(x, (np.ndarray, np.generic)) else x


def _entry(name: str, x: Any, start: Any, p: Any) -> Any:
    """What was remembered of a parameter, from a state: what it starts with, or numbers of the parameter's shape."""
    if x is None and start is None:
        return None
    try:
        array = np.asarray(x)
    except ValueError:  # rows of different lengths
        array = np.asarray("")
    if array.dtype.kind not in "if" or array.shape not in ((), np.shape(p.data)):
        raise ModelFileError(f"the state's {name} does not fit parameters of shape {np.shape(p.data)}")
    return array.astype(np.asarray(p.data).dtype) if array.shape else x


def _expect_type(owner: Any, state: Any) -> None:
    kind = state.get("type") if isinstance(state, Mapping) else None
    if kind != type(owner).__name__:
        raise ModelFileError(f"the state is not that of {type(owner).__name__}" + (f" but of {kind}" if kind else ""))


def _part(state: Mapping[str, Any], part: str, names: Iterable[str]) -> dict[str, Any]:
    found = state.get(part)
    if not isinstance(found, Mapping) or set(found) != set(names):
        raise ModelFileError(f"the state of {state['type']} needs {part}: {', '.join(names)}; this one is damaged")
    return dict(found)
