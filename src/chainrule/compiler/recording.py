"""A function run to see what it does: `recorded`, which gives its nodes as a tape, and the Values it reads from outside.

It is run twice, because what differs then is no program: a random choice, a counter. And a leaf that both runs meet was
there before: such *captured* Values are inputs of the program, read anew in every call. So are results that both runs meet:
they were computed before the call, and a program computes them no more than the function does. Where the function looks at
the number of a leaf (`.data`, a comparison), it is run again with those known, so that looking is a part of the program.

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
        self.write({})

    def write(self, outside: Mapping[Any, Leaf]) -> None:
        """Make the tape, on which these other nodes are leaves too."""
        nodes = [node for output in self.outputs for node in output.nodes]
        self.tape = Tape(nodes, {**self.known, **outside}, self.tracing.taken)

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
    before_it = _made_before(one, two)
    places = {node: Leaf(CAPTURED, i) for i, node in enumerate(before_it)}
    if before_it:
        one.write(places)
        two.write(places)
    again = two.leaves()
    captured = before_it + [leaf for leaf in one.leaves() if leaf in again]
    places |= {leaf: Leaf(CAPTURED, i) for i, leaf in enumerate(captured)}
    if any(leaf in one.tracing.met for leaf in captured):
        one, two = (Recorded(run, {**known, **places}, whole, tolerant) for _ in range(2))
    else:
        for recording in (one, two):
            recording.tape.leaves |= {recording.tape.number[leaf]: places[leaf] for leaf in captured}
    _expect_same(one, two)
    return one, captured


def _made_before(one: Recorded, two: Recorded) -> list[Any]:
    """The results that both runs met, and so neither made; of those, the ones that the function uses.

    Raises CompileError, naming the line, where such a result depends on a parameter: the gradient would have to pass through
    what is computed no more.
    """
    tape = two.tape
    unnoted = tape.number.keys() - two.tracing.places.keys()
    found = {node for node in unnoted if node.op is not None and node in one.tape.number}
    if not found:
        return []
    number, inputs = one.tape.number, one.tape.inputs
    nodes = list(number)
    read = {x for node, at in number.items() if node not in found for x in inputs[at]}
    read |= {number[node] for output in one.outputs for node in output.nodes}
    used = [at for at in sorted(read) if nodes[at] in found]
    for at in used:
        if _depends(nodes[at], one.known):
            raise CompileError(
                f"{_place_of_use(one, at) or 'the function'}: a Value is used that was computed from a parameter before the "
                "call; a program would not follow the parameter through it: compute it inside of the function"
            )
    return [nodes[at] for at in used]


def _depends(node: Any, known: Mapping[Any, Leaf]) -> bool:
    """Whether a node is computed from one of these."""
    seen, stack = {node}, [node]
    while stack:
        for x in stack.pop().inputs:
            if x in known:
                return True
            if x not in seen:
                seen.add(x)
                stack.append(x)
    return False


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
    nodes = list(recording.tape.number)  # which may be fewer, where another run made more
    return (recording.tracing.place(nodes[at]) if at < len(nodes) else None) or _place_of_use(recording, at)


def _place_of_use(recording: Recorded, at: int) -> Place | None:
    """Where node number `at` is first used."""
    nodes = list(recording.tape.number)
    places = (recording.tracing.place(nodes[i]) for i in range(at + 1, len(nodes)) if at in recording.tape.inputs[i])
    return next((place for place in places if place is not None), None)
