"""Functions of Values as lines of a program: traced, taken down, lifted. Imports trace, tape, lift, builder and engine."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import engine
from chainrule.compiler.builder import Builder
from chainrule.compiler.lift import Lifter
from chainrule.compiler.tape import Leaf, Tape
from chainrule.compiler.trace import Place, Reading, Tracing
from chainrule.engine import Node, Value
from chainrule.errors import CompileError, InputError

PARAMS, CAPTURED = "params", "captured"

Numbers = npt.NDArray[Any]


class TracedScalars:
    """A function of Values, as lines; see `step.Traced`."""

    def __init__(self, function: Callable[..., Any], params: list[Any], arrays: Sequence[Numbers], dtype: Any) -> None:
        self.function, self.values = function, params
        recorded, again = Recorded(function, params, arrays), Recorded(function, params, arrays)
        _expect_same(recorded, again)
        self.captured = _shared_leaves(recorded, again)
        for i, node in enumerate(self.captured):
            recorded.tape.leaves[recorded.tape.number[node]] = Leaf(CAPTURED, i)
        self.single = recorded.single
        self.builder = b = Builder(dtype)
        self.params = [b.input(PARAMS, (len(params),))]
        inputs = {PARAMS: self.params[0]}
        if self.captured:
            inputs[CAPTURED] = b.input(CAPTURED, (len(self.captured),))
        lifter = Lifter(recorded.tape, b, inputs, recorded.tracing.place, recorded.made())
        for k, x in enumerate(arrays):
            given = b.input(f"x{k}", x.shape, np.int64 if x.dtype.kind in "iu" else dtype)
            inputs[f"x{k}"] = b.astype(given, dtype)
            if given.dtype.kind == "i":
                lifter.indices[f"x{k}"] = given
        number = recorded.tape.number
        lines = lifter.lift([[number[node] for node in output.nodes] for output in recorded.outputs])
        shaped = [b.reshape(line, output.shape) for line, output in zip(lines, recorded.outputs, strict=True)]
        self.loss, *self.extras = shaped
        self.counts = lifter.counted()
        self.lengths = lifter.lengths
        self.buffers = {PARAMS: np.zeros(len(params)), CAPTURED: np.zeros(len(self.captured))}

    def inputs(self, arrays: Sequence[Numbers]) -> dict[str, Any]:
        """What the program is given in a call with these arguments."""
        engine.read_data(self.values, self.buffers[PARAMS])
        if self.captured:
            engine.read_data(self.captured, self.buffers[CAPTURED])
        given = dict(self.buffers)
        for k, x in enumerate(arrays):
            given[f"x{k}"] = x
        for name, length in self.lengths.items():
            _expect_in_range(given[name], length)
        return given

    def set_grads(self, grads: list[Any]) -> None:
        """Put gradients into the parameters."""
        engine.write_grads(self.values, np.ascontiguousarray(grads[0], np.float64))

    def set_data(self, data: list[Any]) -> None:
        """Put new numbers into the parameters."""
        engine.write_data(self.values, np.ascontiguousarray(data[0], np.float64))

    def plain(self, arrays: Sequence[Numbers]) -> list[Any]:
        """What the function returns when it is not compiled."""
        with engine.no_grad():
            returned = self.function(*[_nested(x.tolist(), x.dtype.kind) for x in arrays])
        return [_numbers(x) for x in (returned if isinstance(returned, tuple) else (returned,))]


def _nested(x: Any, kind: str) -> Any:
    if isinstance(x, list):
        return [_nested(each, kind) for each in x]
    return x if kind in "iu" else Value(x, requires_grad=False)


def _numbers(x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return np.array([_numbers(each) for each in x])
    return x.data if isinstance(x, Node) else x


def _expect_in_range(index: Numbers, length: int) -> None:
    if index.size and not (index.min() >= 0 and index.max() < length):
        wrong = index[(index < 0) | (index >= length)][0]
        raise InputError(f"take: index {wrong} is out of range for a table of {length}")


class Recorded:
    """One run of the function: the leaves it was given, and the nodes it returned."""

    def __init__(self, function: Callable[..., Any], params: list[Any], arrays: Sequence[Numbers]) -> None:
        self.known: dict[Any, Leaf] = {p: Leaf(PARAMS, i) for i, p in enumerate(params)}
        given = [self._leaves(k, x) for k, x in enumerate(arrays)]
        self.tracing = Tracing(self.known)
        with self.tracing:
            returned = function(*given)
        loss, *extras = returned if isinstance(returned, tuple) else (returned,)
        if not isinstance(loss, Node):
            raise CompileError(
                f"the function returned {type(loss).__name__} and not a Value; it returns the loss, or a tuple of the loss "
                "and other outputs"
            )
        self.single = not isinstance(returned, tuple)
        self.outputs = [Output(loss), *map(Output, extras)]
        nodes = [node for output in self.outputs for node in output.nodes]
        self.tape = Tape(nodes, self.known, self.tracing.taken)

    def made(self) -> Numbers:
        """For each node of the tape, when it was made."""
        when = {node: i for i, node in enumerate(self.tracing.places)}
        return np.array([when.get(node, -1) for node in self.tape.number])

    def _leaves(self, k: int, array: Numbers) -> Any:
        if array.dtype.kind not in "fiub":
            raise InputError(f"argument {k + 1} holds {array.dtype}, not numbers")
        count = iter(range(array.size))

        def nested(x: Any) -> Any:
            if isinstance(x, list):
                return [nested(each) for each in x]
            leaf = Value(x)  # with requires_grad, or what is computed from it alone would not be recorded
            self.known[leaf] = Leaf(f"x{k}", next(count))
            return leaf

        return nested(array.tolist())


class Output:
    """What the function returned, as nodes and the shape they are in."""

    def __init__(self, returned: Any) -> None:
        self.nodes: list[Any] = []
        self.shape = self._collect(returned)

    def _collect(self, x: Any) -> tuple[int, ...]:
        if isinstance(x, (list, tuple)):
            shapes = {self._collect(each) for each in x}
            if len(shapes) != 1:
                raise CompileError("an output of the function is a list whose parts are not alike, or an empty one")
            return (len(x), *shapes.pop())
        if isinstance(x, Reading):
            x = x.node
        self.nodes.append(x if isinstance(x, Node) else Value(x, requires_grad=False))
        return ()


def _expect_same(one: Recorded, two: Recorded) -> None:
    """CompileError where the function did something else the second time."""
    a, b = one.tape, two.tape
    for at, (op, other) in enumerate(itertools.zip_longest(a.ops, b.ops, fillvalue=False)):
        if op is not other or a.inputs[at] != b.inputs[at] or not _same_leaf(a.leaves.get(at), b.leaves.get(at)):
            raise CompileError(
                f"{_place_near(one, at) or 'the function'}: it does not do the same twice (a random choice, a counter, or data "
                "that changed?); draw before the call and pass what was drawn as an argument"
            )


def _same_leaf(a: Any, b: Any) -> bool:
    return bool(a == b or (a != a and b != b))


def _place_near(recorded: Recorded, at: int) -> Place | None:
    """Where node number `at` was made or, when it is a leaf, used."""
    nodes = list(recorded.tape.number)
    for i in range(at, len(nodes)):
        if i == at or at in recorded.tape.inputs[i]:
            place = recorded.tracing.place(nodes[i])
            if place is not None:
                return place
    return None


def _shared_leaves(one: Recorded, two: Recorded) -> list[Any]:
    """The constants that were there before the function ran: leaves that both runs met."""
    leaves = one.tape.leaves
    return [
        node
        for node, at in one.tape.number.items()
        if at in leaves and not isinstance(leaves[at], Leaf) and node in two.tape.number
    ]
