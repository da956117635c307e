"""A function run to see what it does: `recorded`, which gives its nodes as a tape, and the Values it reads from outside.

It is run twice, because what differs then is no program: a random choice, a counter. And a leaf that both runs meet was
there before: such *captured* Values are inputs of the program, read anew in every call. Where the function looks at the
number of one (`.data`, a comparison), it is run again with those known, so that looking at them is a part of the program.

Imports trace, tape, engine, origins and errors.
"""

import contextlib
import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import engine
from chainrule.compiler.tape import Leaf, Tape
from chainrule.compiler.trace import Reading, Tracing
from chainrule.engine import Node, Value
from chainrule.errors import CompileError
from chainrule.origins import Place

CAPTURED = "captured"
DRAWS = 12  # a choice between two would agree with the first run on all of them once in 4,096 times


class Recorded:
    """One run of a function.

    run: calls it. known: the leaves that are given to it, parameters and arguments.
    whole: the names of arguments of whole numbers, the only ones that may be indices.
    tolerant: whether a number may leave the domain of an operation, as it may in arrays.

    outputs: what it returned. single: whether that was no tuple. tape: the nodes below.
    """

    def __init__(
        self, run: Callable[[], Any], known: Mapping[Any, Leaf], whole: frozenset[str] = frozenset(), tolerant: bool = False
    ) -> None:
        self.known = known
        self.tracing = Tracing(known, whole, tolerant)
        with self.tracing.active():
            returned = run()
        self.single = not isinstance(returned, tuple)
        self.outputs = [Output(k, x) for k, x in enumerate(returned if isinstance(returned, tuple) else (returned,))]
        nodes = [node for output in self.outputs for node in output.nodes]
        self.tape = Tape(nodes, known, self.tracing.taken)

    def made(self) -> npt.NDArray[Any]:
        """For each node of the tape, when it was made."""
        when = {node: i for i, node in enumerate(self.tracing.places)}
        return np.array([when.get(node, -1) for node in self.tape.number])

    def leaves(self) -> dict[Any, None]:
        """The leaves that were met and not given: constants, and Values from outside."""
        tape = self.tape
        below = (node for node, at in tape.number.items() if at in tape.leaves and not isinstance(tape.leaves[at], Leaf))
        return dict.fromkeys([*below, *self.tracing.met])


class Output:
    """What a function returned as output number `k`, as nodes and the shape they are in.

    Raises CompileError for what is neither a number nor a regular list of them.
    """

    def __init__(self, k: int, returned: Any) -> None:
        self.nodes: list[Any] = []
        self.name = "the result" if k == 0 else f"output {k + 1}"
        self.shape = self._collect(returned)

    def _collect(self, x: Any) -> tuple[int, ...]:
        if isinstance(x, np.ndarray):
            x = x.tolist()
        if isinstance(x, (list, tuple)):
            shapes = {self._collect(each) for each in x}
            if len(shapes) != 1:
                raise CompileError(f"{self.name} of the function is a list whose parts are not alike, or an empty one")
            return (len(x), *shapes.pop())
        if isinstance(x, Reading):
            x = x.node
        if not isinstance(x, Node):
            if not engine._is_number(x):
                raise CompileError(
                    f"{self.name} of the function is {type(x).__name__}; a program gives numbers and lists of them"
                )
            x = Value(x, requires_grad=False)
        self.nodes.append(x)
        return ()


def recorded(
    run: Callable[[], Any], known: Mapping[Any, Leaf], whole: frozenset[str] = frozenset(), tolerant: bool = False
) -> tuple[Recorded, list[Any]]:
    """What a function does, and the Values it captures. Raises CompileError when that is not the same twice."""
    before = _random_state()
    one = Recorded(run, known, whole, tolerant)
    draws = _random_state() != before
    two = Recorded(run, known, whole, tolerant)
    if draws:  # the function, or another thread: what the function draws shows when it is run on other draws
        for seed in range(DRAWS):
            with _seeded(seed):
                _expect_same(one, Recorded(run, known, whole, tolerant))
    again = two.leaves()
    captured = [leaf for leaf in one.leaves() if leaf in again]
    places = {leaf: Leaf(CAPTURED, i) for i, leaf in enumerate(captured)}
    if any(leaf in one.tracing.met for leaf in captured):
        one, two = (Recorded(run, {**known, **places}, whole, tolerant) for _ in range(2))
    else:
        for recording in (one, two):
            recording.tape.leaves |= {recording.tape.number[leaf]: place for leaf, place in places.items()}
    _expect_same(one, two)
    return one, captured


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The global generators of random numbers at another place, put back afterwards."""
    before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def _random_state() -> tuple[Any, ...]:
    name, keys, *rest = np.random.get_state(legacy=True)
    return random.getstate(), name, np.asarray(keys).tobytes(), tuple(rest)


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


def _place_near(recording: Recorded, at: int) -> Place | None:
    """Where node number `at` was made or, when it is a leaf, used."""
    nodes = list(recording.tape.number)
    for i in range(at, len(nodes)):
        if i == at or at in recording.tape.inputs[i]:
            place = recording.tracing.place(nodes[i])
            if place is not None:
                return place
    return None
