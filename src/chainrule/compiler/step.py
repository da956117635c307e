"""`compile` for losses of parameters: trace once, then compute loss and gradients by a program, in every call.

    step = Step(loss, model.parameters())
    value = step()

What a step needs of a traced function, be it of scalars or of tensors, is a `Traced`; scalars.py and tensors.py make them.
Imports program, update, reference, explain, scalars, tensors, and of the core engine, tensor and errors.
"""

import contextlib
import gc
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from chainrule.compiler import executors
from chainrule.compiler.builder import Builder
from chainrule.compiler.explain import Explanation
from chainrule.compiler.lines import Array
from chainrule.compiler.program import Program, differentiate
from chainrule.compiler.scalars import TracedScalars
from chainrule.compiler.tensors import TracedTensors
from chainrule.compiler.update import Update
from chainrule.engine import Node
from chainrule.errors import CompileError, InputError
from chainrule.tensor import Tensor

Numbers = npt.NDArray[Any]


class Traced(Protocol):
    """A function as lines, and how its parameters are read and written.

    builder: made the lines. loss: the line of the loss. extras: those of what else the function returns.
    params: the lines of the parameters, one array of them all or one array each. counts: see Explanation.
    """

    builder: Builder
    loss: Array
    extras: list[Array]
    params: list[Array]
    single: bool
    counts: Mapping[Array, int]

    def inputs(self, arrays: Sequence[Numbers]) -> dict[str, Any]:
        """What the program is given in a call with these arguments. Raises InputError for indices out of range."""

    def set_grads(self, grads: list[Any]) -> None:
        """Put gradients into the parameters."""

    def set_data(self, data: list[Any]) -> None:
        """Put new numbers into the parameters."""

    def plain(self, arrays: Sequence[Numbers]) -> list[Any]:
        """What the function returns when it is not compiled: the loss and the extras, as arrays."""


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
        self.executor = executor
        self._plans: dict[Any, Plan] = {}
        self._latest: Plan | None = None

    def __call__(self, *args: Any) -> Any:
        """The loss at these arguments, as a float, with what else the function returns; gradients are in `grad`."""
        arrays = [x if type(x) is np.ndarray else np.asarray(x) for x in args]
        key = tuple([(x.shape, x.dtype.kind) for x in arrays])
        plan = self._plans.get(key)
        if plan is None or not plan.is_current:
            plan = self._plans[key] = Plan(self, arrays)
        self._latest = plan
        return plan.run(arrays)

    def explain(self) -> str:
        """What the program does, and which lines of the function each array operation came from."""
        return str(self._compiled().explanation)

    @property
    def program(self) -> Program:
        """The program of the latest call."""
        return self._compiled().program

    def _compiled(self) -> "Plan":
        if self._latest is None:
            raise CompileError("nothing has been compiled yet: call the compiled function once, then ask what it is")
        return self._latest


def _checked(params: Iterable[Any], optimizer: Any) -> list[Any]:
    found = list(params)
    if not found:
        raise InputError("compile: params is empty, so there is nothing to differentiate by")
    for i, p in enumerate(found):
        if not isinstance(p, Node) or p.op is not None:
            what = "the result of an operation" if isinstance(p, Node) else type(p).__name__
            raise InputError(f"compile: parameter {i} is {what}; params takes leaves, as model.parameters() gives them")
        if isinstance(p, Tensor) is not isinstance(found[0], Tensor):
            raise InputError("compile: params are all Values or all Tensors")
    if len(set(found)) < len(found):
        raise InputError("compile: a parameter is there twice")
    if optimizer is not None and list(optimizer.params) != found and [*map(id, optimizer.params)] != [*map(id, found)]:
        raise InputError("compile: the optimizer must have the same parameters as params, in the same order")
    return found


class Plan:
    """A program for arguments of given shapes."""

    def __init__(self, step: Step, arrays: Sequence[Numbers]) -> None:
        self.step = step
        with _without_collector():
            trace = TracedTensors if step.of_tensors else TracedScalars
            self.traced: Traced = trace(step.function, step.params, arrays, step.dtype)
            self._build()
        self.traced_with = self._state(arrays)
        self.is_checked = False

    def _build(self) -> None:
        traced, b = self.traced, self.traced.builder
        outputs = {"loss": traced.loss} | {f"y{k}": line for k, line in enumerate(traced.extras)}
        forward = Program(outputs)
        self.extras = [*outputs][1:]
        grads = differentiate(traced.loss, traced.params)
        self.grads = [f"grad{i}" for i in range(len(grads))]
        outputs |= dict(zip(self.grads, grads, strict=True))
        self.update = None
        if self.step.optimizer is not None:
            self.update = Update(self.step.optimizer, b, traced.params, grads)
            outputs |= self.update.outputs
        self.program = Program(outputs)
        self.explanation = Explanation(traced.counts, forward, self.program, self.step.of_tensors)
        self.executable = executors.make(self.program.expanded(b), self.step.executor)

    @property
    def is_current(self) -> bool:
        """Whether the optimiser still has the settings that are constants of the program."""
        return self.update is None or self.update.is_current

    def run(self, arrays: Sequence[Numbers]) -> Any:
        """One step."""
        traced = self.traced
        given = traced.inputs(arrays)
        if self.update is not None:
            given |= self.update.inputs()
        if not self.is_checked:
            expected = self._expected(arrays)
        found = self.executable.run(given)
        loss = float(found["loss"])
        if not math.isfinite(loss):
            traced.plain(arrays)  # where the plain engine has an error to raise, it names the place
        if not self.is_checked:
            self._check(expected, [loss, *(found[name] for name in self.extras)])
        traced.set_grads([found[name] for name in self.grads])
        if self.update is not None:
            traced.set_data(self.update.taken(found))
        return loss if traced.single else (loss, *[found[name] for name in self.extras])

    # A program knows what the function did in the trace. What it may have missed (an index computed from an argument in
    # NumPy, a number taken out of a tensor) shows when it is first run with other numbers: then, once, the function is too.

    def _state(self, arrays: Sequence[Numbers]) -> tuple[Any, ...]:
        return (*[x.copy() for x in arrays], *[np.array(p.data) for p in self.step.params])

    def _expected(self, arrays: Sequence[Numbers]) -> list[Any] | None:
        """What the plain function gives, unless all numbers are those of the trace."""
        same = all(map(np.array_equal, self._state(arrays), self.traced_with))
        return None if same else self.traced.plain(arrays)

    def _check(self, expected: list[Any] | None, found: list[Any]) -> None:
        if expected is None:
            return
        self.is_checked = True
        self.traced_with = ()
        rtol = 1e-9 if self.step.dtype == np.float64 else 1e-3
        for name, x, y in zip(["loss", *self.extras], expected, found, strict=True):
            if not np.allclose(x, y, rtol=rtol, atol=rtol, equal_nan=True):
                what = "loss" if name == "loss" else f"output {int(name[1:]) + 2}"
                raise CompileError(
                    f"the {what} does not follow: with new numbers the program gives {_shown(y)} and the function {_shown(x)}; "
                    "it takes numbers out of the program (.data, .item(), a comparison) or computes indices from an argument"
                )


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
