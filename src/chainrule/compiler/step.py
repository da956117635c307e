"""`compile` for losses of parameters: trace once, then compute loss and gradients by a program, in every call.

    step = Step(loss, model.parameters())
    value = step()

What a step needs of a traced function, be it of scalars or of tensors, is a `Traced`; scalars.py and tensors.py make them.
Imports program, update, executors, explain, graphs, rounding, scalars, tensors, and of the core engine, tensor and errors.
"""

import contextlib
import gc
import inspect
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from chainrule.compiler.builder import Builder
from chainrule.compiler.executors import Runner, as_numbers, expect_known
from chainrule.compiler.explain import Counts, Explanation
from chainrule.compiler.graphs import graph
from chainrule.compiler.lines import Array
from chainrule.compiler.program import Program, gradients
from chainrule.compiler.rounding import bounds
from chainrule.compiler.scalars import TracedScalars
from chainrule.compiler.tensors import TracedTensors
from chainrule.compiler.update import Update
from chainrule.engine import Node
from chainrule.errors import CompileError, InputError
from chainrule.tensor import Tensor

Numbers = npt.NDArray[Any]


class Traced(Protocol):
    """A function as lines, and how its parameters are read and written.

    builder: made the lines. loss: the line of the loss. extras: those of what else the function returns. expected: what they
    were when it was traced.
    params: the lines of the parameters, one array of them all or one array each. counts, notes: see Explanation.
    reached: of scalar parameters, which of them a gradient can reach.
    """

    builder: Builder
    loss: Array
    extras: list[Array]
    expected: list[Numbers]
    params: list[Array]
    single: bool
    counts: Mapping[Array, int]
    notes: Iterable[str]
    reached: Any

    def attach(self, runner: Runner) -> None:
        """Know the program's buffers."""

    def load(self, arrays: Sequence[Numbers]) -> None:
        """Before a run: fill the buffers. Raises InputError for indices out of range."""

    def about_to_write(self) -> None:
        """Before a run that updates the parameters, which may be interrupted."""

    def deposit(self, names: list[str], updated: bool) -> None:
        """After a run: put into the parameters the gradients, outputs of these names, and, if updated, their new data."""

    def fits(self) -> bool:
        """Whether what the function takes from outside, without being given it, still has its shapes."""

    def plain(self, arrays: Sequence[Numbers]) -> list[Any]:
        """What the function returns when it is not compiled: the loss and the extras, as arrays."""

    def explain_failure(self, arrays: Sequence[Numbers]) -> None:
        """After a run with a loss or gradient that is not finite: raise what the plain engine raises, if it does."""


class Step:
    """A compiled loss; see `chainrule.compile`."""

    def __init__(
        self, function: Callable[..., Any], params: Iterable[Any], optimizer: Any = None, dtype: Any = None, executor: str = ""
    ) -> None:
        self.function = function
        self.params = _checked(params, optimizer)
        self.optimizer = optimizer
        self.of_tensors = isinstance(self.params[0], Tensor)
        self.dtype = np.dtype(dtype or (self.params[0].dtype if self.of_tensors else "float64"))
        expect_known(executor)
        self.executor = executor
        self._lock = threading.RLock()
        self._plans: dict[Any, Plan] = {}
        self._latest: Plan | None = None

    def __repr__(self) -> str:
        return f"<compiled {getattr(self.function, '__name__', 'function')} of {len(self.params)} parameters>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The loss at these arguments, as a float, with what else the function returns; gradients are in `grad`."""
        if kwargs:
            args = self._positional(args, kwargs)
        arrays = [as_numbers(f"argument {k + 1}", x) for k, x in enumerate(args)]
        key = tuple([(x.shape, x.dtype.str) for x in arrays])
        with self._lock:  # parameters are shared, and looked at with other numbers while a function of tensors is traced
            plan = self._plans.get(key)
            if plan is None or not plan.is_current:
                plan = self._plans[key] = Plan(self, arrays)
            self._latest = plan
            return plan.run(arrays)

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        name = getattr(self.function, "__name__", "the function")
        try:
            bound = inspect.signature(self.function).bind(*args, **kwargs)
        except TypeError as error:
            raise InputError(f"{name}: {error}") from None
        kinds, given = bound.signature.parameters, [*bound.arguments]
        for only in given:
            if kinds[only].kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD):
                raise InputError(f"{name}: {only} can only be given by name, which a compiled loss has not")
        bound.apply_defaults()  # for what lies between; what comes after the last one given stays the function's own
        many = kinds[given[-1]].kind is inspect.Parameter.VAR_POSITIONAL
        return bound.args if many else bound.args[: [*kinds].index(given[-1]) + 1]

    def explain(self) -> str:
        """What the program does, and which lines of the function each array operation came from."""
        return str(self._compiled().explanation)

    @property
    def counts(self) -> Counts:
        """How many operations of the function became how many on arrays, in the program of the latest call."""
        return self._compiled().explanation.totals

    @property
    def program(self) -> Program:
        """The program of the latest call."""
        return self._compiled().program

    def graph(self) -> Tensor:
        """The forward part of the program of the latest call as a graph of Tensors, to be shown, explained or differentiated.

        Its leaves are labelled as the program names its inputs (`print(step.program)`) and hold their numbers of now.

        >>> import chainrule
        >>> w = chainrule.Value(2.0)
        >>> step = chainrule.compile(lambda: sum((w * x - 1) ** 2 for x in (1.0, 2.0, 3.0)), [w])
        >>> step()
        35.0
        >>> step.graph().item()
        35.0
        """
        plan = self._compiled()
        with self._lock:
            plan.traced.load(plan.latest)
            names = {line.name for line in plan.traced.params}
            return graph(plan.explanation.forward, plan.runner.inputs, names)

    def _compiled(self) -> "Plan":
        if self._latest is None:
            raise CompileError("nothing has been compiled yet: call the compiled function once, then ask what it is")
        return self._latest


def _checked(params: Iterable[Any], optimizer: Any) -> list[Any]:
    try:
        found = [] if isinstance(params, Node) else list(params)
    except TypeError:
        raise InputError(f"compile: params is a list of Values or Tensors, not {type(params).__name__}") from None
    if isinstance(params, Node):
        raise InputError("compile: params is a list; write params=[p] for a single parameter")
    if not found:
        raise InputError("compile: params is empty, so there is nothing to differentiate by")
    for i, p in enumerate(found):
        if not isinstance(p, Node) or p.op is not None:
            what = "the result of an operation" if isinstance(p, Node) else type(p).__name__
            raise InputError(f"compile: parameter {i} is {what}; params takes leaves, as model.parameters() gives them")
        if not p.requires_grad:
            raise InputError(f"compile: parameter {i} has requires_grad=False, so it is none; leave it away")
        if isinstance(p, Tensor) is not isinstance(found[0], Tensor):
            raise InputError("compile: params are all Values or all Tensors")
    if len(set(found)) < len(found):
        raise InputError("compile: a parameter is there twice")
    if optimizer is not None and not hasattr(optimizer, "params"):
        raise InputError(f"compile: an optimizer is one of chainrule.optim, not {type(optimizer).__name__}")
    if optimizer is not None and [*map(id, optimizer.params)] != [*map(id, found)]:
        raise InputError("compile: the optimizer must have the same parameters as params, in the same order")
    return found


class Plan:
    """A program for arguments of given shapes."""

    def __init__(self, step: Step, arrays: Sequence[Numbers]) -> None:
        self.step = step
        with _without_collector():
            trace: Any = TracedTensors if step.of_tensors else TracedScalars
            self.traced: Traced = trace(step.function, step.params, arrays, step.dtype)
            self._build()
        self.traced_with: dict[str, Numbers] = {}
        self.is_new = True
        self.is_checked = False
        self.refusal = ""
        self.latest: Sequence[Numbers] = arrays

    def _build(self) -> None:
        traced, b = self.traced, self.traced.builder
        outputs = {"loss": traced.loss} | {f"y{k}": line for k, line in enumerate(traced.extras)}
        forward = Program(outputs)
        self.extras = [*outputs][1:]
        grads = gradients(traced.loss, traced.params)
        found = {f"grad{i}": g for i, g in enumerate(grads) if g is not None}
        if not found:
            raise CompileError("the loss does not depend on any of the parameters, so there is nothing to differentiate")
        outputs |= found
        self.grads = [f"grad{i}" if g is not None else "" for i, g in enumerate(grads)]
        self.update = None
        if self.step.optimizer is not None:
            flat = not self.step.of_tensors
            reached = traced.reached if flat else np.array([g is not None for g in grads])
            self.update = Update(self.step.optimizer, b, traced.params, grads, flat=flat, reached=reached)
            outputs |= self.update.outputs
        elif not self.step.of_tensors:
            outputs["failing"] = b.sum(found["grad0"] * 0.0, (0,))
        self.program = Program(outputs)
        carry = self.update.carry if self.update else {}
        self.carried = list(carry.values())
        self.runner = Runner(self.program, b, self.step.executor, carry)
        self.explanation = Explanation(traced.counts, forward, self.program, self.step.of_tensors, self.runner, traced.notes)
        traced.attach(self.runner)
        if self.update is not None:
            self.update.attach(self.runner)
        self.execute, self.outputs = self.runner.execute, self.runner.outputs
        self.loss = self.outputs["loss"].item
        self.failing = self.outputs["failing"].item if "failing" in self.outputs else lambda: 0.0

    @property
    def is_current(self) -> bool:
        """Whether the optimiser still has the settings that are constants of the program, and the rest its shapes."""
        return (self.update is None or self.update.is_current) and self.traced.fits()

    def run(self, arrays: Sequence[Numbers]) -> Any:
        """One step."""
        if self.refusal:
            raise CompileError(self.refusal)
        is_new, self.is_new = self.is_new, False
        traced, outputs = self.traced, self.outputs
        self.latest = arrays
        traced.load(arrays)
        if self.update is not None:
            self.update.load()
        expected = None if self.is_checked else self._expected(arrays, is_new)
        before = None if expected is None else {name: self.runner.inputs[name].copy() for name in self.carried}
        if self.update is not None:
            traced.about_to_write()
        self.execute()
        loss = self.loss()
        if not (math.isfinite(loss) and self.failing() == 0.0):
            traced.explain_failure(arrays)
        if expected is not None and before is not None:
            self._check(expected, [loss, *(outputs[name] for name in self.extras)], before)
        traced.deposit(self.grads, self.update is not None)
        if self.update is not None:
            self.update.judge()
        return loss if traced.single else (loss, *[_result(outputs[name]) for name in self.extras])

    # A program knows what the function did in the trace. What it may have missed (something that changes outside of it
    # without being a Value, a Tensor or an argument) shows when it is first run with other numbers: then, once, so is the
    # function. And the first run must give what the trace gave.

    def _expected(self, arrays: Sequence[Numbers], is_new: bool) -> list[Any] | None:
        """What the plain function gives, unless all numbers are those of an earlier run."""
        numbers = self.runner.inputs
        if not self.traced_with:
            self.traced_with = {name: x.copy() for name, x in numbers.items()}
            return self.traced.expected if is_new else self.traced.plain(arrays)
        if all(np.array_equal(x, numbers[name]) for name, x in self.traced_with.items()):
            return None
        self.is_checked = True
        return self.traced.plain(arrays)

    def _check(self, expected: list[Any], found: list[Any], before: Mapping[str, Numbers]) -> None:
        """CompileError, now and in every later call, when the program gives something else.

        What it has updated is then as it was before.
        """
        rtol = 1e-9 if self.step.dtype == np.float64 else 1e-3
        lines = [self.traced.loss, *self.traced.extras]
        for i, (x, y) in enumerate(zip(expected, found, strict=True)):
            if np.allclose(x, y, rtol=rtol, atol=rtol, equal_nan=True):
                continue
            given = self.runner.inputs | dict(before)
            if not np.all(np.isfinite(x) & np.isfinite(y)):  # overflow comes sooner or later by another order of operations
                continue
            if lines[i].dtype.kind == "f" and np.max(np.abs(x - y)) <= bounds([lines[i]], given)[0]:
                continue
            for updated, old in before.items():
                self.runner.inputs[updated][...] = old
            what = f"output {i + 1}" if i else "loss"
            self.refusal = (
                f"the {what} does not follow: with other numbers the program gives {_shown(y)} and the function {_shown(x)}; the "
                "function uses something from outside that changes without being an argument, a Value or a Tensor"
            )
            raise CompileError(self.refusal)


def _result(x: Numbers) -> Any:
    return x.copy() if x.shape else x.item()  # the next run writes over the program's own


def _shown(x: Any) -> str:
    return f"{x:.6g}" if np.ndim(x) == 0 else f"an array that differs, {np.ravel(x)[:3]}..."


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Tracing makes millions of objects and no garbage: the cyclic collector would walk them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
