"""Functions of Values as lines of a program: recorded, and lifted. Imports recording, tape, lift, builder and engine."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import engine
from chainrule.compiler.builder import Builder
from chainrule.compiler.executors import Runner, expect_in_range
from chainrule.compiler.lift import Lifter
from chainrule.compiler.recording import CAPTURED, recorded
from chainrule.compiler.tape import Leaf, Tape
from chainrule.engine import Node, Value
from chainrule.errors import CompileError, GraphError, InputError

PARAMS = "params"

Numbers = npt.NDArray[Any]


class TracedScalars:
    """A function of Values, as lines; see `step.Traced`."""

    def __init__(self, function: Callable[..., Any], params: list[Any], arrays: Sequence[Numbers], dtype: Any) -> None:
        self.function, self.values = function, params
        known = {p: Leaf(PARAMS, i) for i, p in enumerate(params)}
        given = [_leaves(k, x, known) for k, x in enumerate(arrays)]
        whole = frozenset(f"x{k}" for k, x in enumerate(arrays) if _is_whole(x))
        recording, captured = recorded(lambda: function(*given), known, whole)
        loss = recording.outputs[0] if recording.outputs else None
        if loss is None or loss.shape != () or not loss.nodes[0].requires_grad:
            empty = next((k for k, x in enumerate(arrays) if not x.size), None)
            if empty is not None:
                raise InputError(
                    f"argument {empty + 1} has no elements (its shape is {arrays[empty].shape}), and without them the loss does "
                    "not depend on the parameters"
                )
            raise CompileError(
                "the function must return its loss, a Value computed from the parameters, or a tuple of that and other outputs"
            )
        self.single, self.read = recording.single, {PARAMS: params, CAPTURED: captured}
        self.builder = b = Builder(dtype)
        self.params = [b.input(PARAMS, (len(params),))]
        inputs = {PARAMS: self.params[0]}
        if captured:
            inputs[CAPTURED] = b.input(CAPTURED, (len(captured),))
        lifter = Lifter(recording.tape, b, inputs, recording.tracing.place, recording.made())
        for k, x in enumerate(arrays):
            argument = b.input(f"x{k}", x.shape, np.int64 if _is_whole(x) else dtype)
            inputs[f"x{k}"] = b.astype(argument, dtype)
            if argument.dtype.kind == "i":
                lifter.indices[f"x{k}"] = argument
        number = recording.tape.number
        self.expected = [np.reshape([node.data for node in output.nodes], output.shape) for output in recording.outputs]
        lines = lifter.lift([[number[node] for node in output.nodes] for output in recording.outputs])
        shaped = [b.reshape(line, output.shape) for line, output in zip(lines, recording.outputs, strict=True)]
        self.loss, *self.extras = shaped
        self.counts, self.notes = lifter.counted(), lifter.notes
        self.bounds = lifter.bounds
        self.reached = _reached(recording.tape, number[loss.nodes[0]], len(params))

    def attach(self, runner: Runner) -> None:
        """Know the program's buffers."""
        self.runner = runner
        self.lists = [(nodes, runner.inputs[name]) for name, nodes in self.read.items() if name in runner.inputs]
        self.writes_held = self.writes = math.nan  # engine.data_writes() when the buffers held what the Values do; in this run
        self.places: Any = slice(None) if self.reached.all() else np.flatnonzero(self.reached)
        self.reached_values = [p for p, reached in zip(self.values, self.reached, strict=True) if reached]
        self.unreached_values = [p for p, reached in zip(self.values, self.reached, strict=True) if not reached]

    def load(self, arrays: Sequence[Numbers]) -> None:
        """Before a run: fill the buffers."""
        self.writes = engine.data_writes()
        if self.writes != self.writes_held:
            for nodes, buffer in self.lists:
                if not engine.read_data(nodes, buffer) and nodes is self.values:
                    k = next(k for k, p in enumerate(nodes) if not p.requires_grad)
                    raise InputError(f"parameter {k} has requires_grad=False by now; compile again without it")
        self.writes_held = math.nan  # until the run has ended well
        for k, name, places, length in self.bounds:
            expect_in_range(arrays[k].reshape(-1)[places], f"{name}: take", length)
        for k, x in enumerate(arrays):
            if f"x{k}" in self.runner.inputs:  # an argument may go unused
                self.runner.feed(f"x{k}", x)

    def about_to_write(self) -> None:
        """Nothing: Values have numbers of their own until `deposit`."""

    def deposit(self, names: list[str], updated: bool) -> None:
        """After a run: fill the parameters that a gradient reaches, which the others are not; these have no gradient."""
        grads, data = self.runner.outputs[names[0]], self.runner.inputs[PARAMS]
        engine.write(self.reached_values, data[self.places] if updated else None, grads[self.places])
        if engine.data_writes() == self.writes + updated:  # nobody else has written meanwhile
            self.writes_held = self.writes + updated
        for p in self.unreached_values:
            p.zero_grad()

    def fits(self) -> bool:
        """Always: a number has no shape that could change."""
        return True

    def plain(self, arrays: Sequence[Numbers]) -> list[Any]:
        """What the function returns when it is not compiled."""
        with _recording():
            returned = self.function(*[_nested(x.tolist(), x.dtype.kind, True) for x in arrays])
        return [_numbers(x) for x in (returned if isinstance(returned, tuple) else (returned,))]

    def explain_failure(self, arrays: Sequence[Numbers]) -> None:
        """A number was not finite: raise what the plain engine raises, if it does, for it names the place."""
        with _recording():
            try:
                returned = self.function(*[_nested(x.tolist(), x.dtype.kind, False) for x in arrays])
            except GraphError:  # it asks for gradients by its arguments
                returned = self.function(*[_nested(x.tolist(), x.dtype.kind, True) for x in arrays])
            engine.gradients(returned[0] if isinstance(returned, tuple) else returned)


@contextlib.contextmanager
def _recording() -> Iterator[None]:
    """What the function computes is recorded, as in the trace, whatever the caller has chosen: it may ask for gradients."""
    before = engine._set_recording(True)
    try:
        yield
    finally:
        engine._set_recording(before)


def _is_whole(x: Numbers) -> bool:
    return x.dtype.kind in "iu" and np.can_cast(x.dtype, np.int64)


def _leaves(k: int, array: Numbers, known: dict[Any, Leaf]) -> Any:
    """An argument as Values, in lists, which are noted in `known`."""
    count = iter(range(array.size))

    def nested(x: Any) -> Any:
        if isinstance(x, list):
            return [nested(each) for each in x]
        leaf = Value(x)  # with requires_grad, or what is computed from it alone would not be recorded
        known[leaf] = Leaf(f"x{k}", next(count))
        return leaf

    return nested(array.tolist())


def _reached(tape: Tape, loss: int, count: int) -> npt.NDArray[np.bool_]:
    """Which parameters a gradient can reach, whatever the numbers are."""
    reached = np.zeros(count, np.bool_)
    wanted = bytearray(len(tape.ops))
    wanted[loss] = True
    for at in range(loss, -1, -1):
        if not wanted[at]:
            continue
        leaf, op = tape.leaves.get(at), tape.ops[at]
        if isinstance(leaf, Leaf) and leaf.array == PARAMS:
            reached[leaf.place] = True
        if op is not None:
            slopes = [*op.derivatives, *[op.derivatives[-1]] * (len(tape.inputs[at]) - op.arity)]  # of `take`, the last for all
            for x, slope in zip(tape.inputs[at], slopes, strict=True):
                wanted[x] |= slope is not None
    return reached


def _nested(x: Any, kind: str, requires_grad: bool) -> Any:
    if isinstance(x, list):
        return [_nested(each, kind, requires_grad) for each in x]
    return x if kind in "iu" else Value(x, requires_grad=requires_grad)


def _numbers(x: Any) -> Any:
    if isinstance(x, (list, tuple, np.ndarray)):
        return np.array([_numbers(each) for each in x])
    return x.data if isinstance(x, Node) else x
