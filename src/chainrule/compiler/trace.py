"""Running a function once to see what it does: `Tracing` notes every Value that is made, and where.

While it is active, in its own thread only, the operators of Value pass through here. Each result is noted with the line of
the user's code that asked for it. And numbers that depend on what the program computes do not get lost: `v.data`, and a
comparison of Values, give a `Reading`, which computes on like a number and is a part of the program, without gradient. What
cannot be a part of it, a branch on such a number or its way into foreign code, is a CompileError that names the line.

    with Tracing(parameters) as tracing:
        loss = function()

Left out on purpose: operators that a subclass of Value defines itself. Imports engine, ops and errors.
"""

import builtins
import contextlib
import operator
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Self

from chainrule import engine, ops
from chainrule.compiler.lines import EQUAL, LESS, LESS_EQUAL, NOT_EQUAL
from chainrule.engine import Node, Value
from chainrule.errors import CompileError, InputError
from chainrule.ops import Op

PACKAGE = str(Path(__file__).resolve().parents[1])
TAKE = Op("take", "take", lambda m, i, x: x, (None, lambda m, y, i, x: 1.0), (ops.REAL, ops.REAL), "The element at an index.")
DETACH = Op("detach", "detach", lambda m, x: x, (None,), (ops.REAL,), "The number itself, without gradient.")

_COMPARE = {
    "__lt__": lambda a, b: _compared(LESS, a, b),
    "__le__": lambda a, b: _compared(LESS_EQUAL, a, b),
    "__gt__": lambda a, b: _compared(LESS, b, a),
    "__ge__": lambda a, b: _compared(LESS_EQUAL, b, a),
    "__eq__": lambda a, b: _compared(EQUAL, a, b),
    "__ne__": lambda a, b: _compared(NOT_EQUAL, a, b),
}


class Place(NamedTuple):
    """A line of the user's code."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}"


def place_of(frame: FrameType | None) -> Place:
    """The nearest line outside of this package, from a frame on."""
    inner = frame
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    frame = frame or inner
    return Place(frame.f_code.co_filename, frame.f_lineno) if frame else Place("?", 0)


class Reading:
    """A number read from the program while it is traced: it can be computed with, not branched on. It has no gradient."""

    __slots__ = ("node",)
    __array_ufunc__ = None  # NumPy scalars give way to our operators
    __hash__ = object.__hash__

    def __init__(self, node: Any) -> None:
        self.node = node

    def __bool__(self) -> bool:
        place = place_of(sys._getframe(1))
        raise CompileError(
            f"{place}: the function branches on a number that it computes, which a compiled program cannot follow; use "
            "where(condition, a, b), maximum or relu instead"
        )

    def __float__(self) -> float:
        place = place_of(sys._getframe(1))
        raise CompileError(
            f"{place}: the function takes a number that it computes out of the program (float(), math, .data); compute with "
            "Values and chainrule's functions, or return it as another output"
        )

    __int__ = __index__ = __float__

    def __neg__(self) -> "Reading":
        return Reading(-self.node)

    def __pos__(self) -> "Reading":
        return self

    def __abs__(self) -> "Reading":
        return Reading(abs(self.node))

    def __format__(self, spec: str) -> str:
        return "?"  # what a print in a traced function shows

    __repr__ = __str__ = lambda self: "?"


def _between(name: str) -> Callable[[Any, Any], Any]:
    compute = getattr(operator, name)

    def method(a: Reading, b: Any) -> Any:
        if isinstance(b, Node):
            return compute(a.node, b)  # with a Value it is a Value again
        y = compute(a.node, b.node if isinstance(b, Reading) else b)
        return Reading(y)

    return method


def _reflected(name: str) -> Callable[[Any, Any], Any]:
    compute = getattr(operator, name)
    return lambda b, a: Reading(compute(a, b.node))


for _name in ("add", "sub", "mul", "truediv", "pow"):
    setattr(Reading, f"__{_name}__", _between(_name))
    setattr(Reading, f"__r{_name}__", _reflected(_name))
for _name, _compare in _COMPARE.items():
    setattr(Reading, _name, _compare)


def _without_gradient(original: Callable[..., Any], xs: Sequence[Any]) -> Any:
    before = engine._set_recording(True)
    try:
        return engine.apply(DETACH, original(*xs))
    finally:
        engine._set_recording(before)


def _compared(op: Op, a: Any, b: Any) -> Any:
    xs = [x.node if isinstance(x, Reading) else x for x in (a, b)]
    if not all(isinstance(x, Node) or engine._is_number(x) for x in xs):
        return NotImplemented
    return Reading(engine.apply(op, *xs))


class _Active(threading.local):
    tracing: "Tracing | None" = None


_active = _Active()


def take(table: Any, i: Any) -> Any:
    """The i-th element, or row, of a list of Values.

    table: a list of Values, or of rows of them. i: a whole number from 0.

    With a plain number it is `table[i]`. In a function that is compiled, `i` may be an element of an argument of whole
    numbers; then the choice is made anew in every call, and gradients add up in what was chosen.

    >>> from chainrule import Value
    >>> take([Value(1.0), Value(2.0)], 1).data
    2.0
    """
    tracing = _active.tracing
    if isinstance(i, Node) and tracing is not None:
        return tracing.take(table, i)
    if isinstance(i, (Node, Reading)):
        raise InputError("take: an index is a whole number, or in a compiled function an element of an argument of whole numbers")
    return table[operator.index(i)]


def _number(x: Any) -> float:
    """The number of a node, past the watch over reading it."""
    before, _active.tracing = _active.tracing, None
    try:
        return float(x.data)
    finally:
        _active.tracing = before


class Tracing:
    """Notes the Values that are made while it is active.

    known: nodes that are not constants although no operation made them: parameters and arguments.
    """

    _only_one = threading.Lock()

    def __init__(self, known: Collection[Node]) -> None:
        self.known = known
        self.places: dict[Any, tuple[str, int]] = {}
        self.taken: dict[Any, tuple[Any, ...]] = {}  # for what `take` gave, the index and all it could have given

    def place(self, node: Node) -> Place | None:
        """Where a node was made."""
        found = self.places.get(node)
        return Place(*found) if found else None

    def take(self, table: Any, i: Any) -> Any:
        """The element of a table at an index that is given to the program."""
        return self._chosen(list(table), i)

    def _chosen(self, entries: list[Any], i: Any) -> Any:
        if isinstance(entries[0], (list, tuple)):
            if len({len(row) for row in entries}) != 1:
                raise CompileError(f"{place_of(sys._getframe(2))}: take: the rows of the table differ in length")
            return [self._chosen([row[c] for row in entries], i) for c in range(len(entries[0]))]
        nodes = [x.node if isinstance(x, Reading) else x if isinstance(x, Node) else Value(x) for x in entries]
        place = place_of(sys._getframe(2))
        at = int(_number(i))
        if not 0 <= at < len(nodes):
            raise InputError(f"{place}: take: index {at} is out of range for a table of {len(nodes)}")
        node = Value(_number(nodes[at]))
        self.taken[node] = (i, *nodes)
        self.places[node] = place
        return node

    def __enter__(self) -> Self:
        self._only_one.acquire()
        _active.tracing = self
        self._patches = contextlib.ExitStack()
        try:
            for owner, name, patched in self._patched():
                self._put(owner, name, patched)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        _active.tracing = None
        self._patches.close()
        self._only_one.release()

    def _put(self, owner: Any, name: str, patched: Any) -> None:
        original = vars(owner)[name]
        setattr(owner, name, patched)
        self._patches.callback(setattr, owner, name, original)

    def _patched(self) -> Iterator[tuple[Any, str, Any]]:
        """(owner, name, what takes the place of it) for everything that makes or reads Values."""
        kind = engine.Value
        for op in ops.BUILT_IN:
            names = [op.method] if op.method.startswith("__") or hasattr(kind, op.method) else []
            if op.method.startswith("__") and op.arity == 2:
                names.append(op.method.replace("__", "__r", 1))
            for name in names:
                if name in vars(kind):
                    yield kind, name, self._noting(vars(kind)[name])
        for name, compare in _COMPARE.items():
            if name in vars(kind):
                yield kind, name, self._comparing(vars(kind)[name], compare)
        yield kind, "__bool__", self._truth(vars(kind)["__bool__"])
        yield kind, "data", self._reading(vars(kind)["data"])
        yield engine, "_apply", self._noting(engine._apply)
        yield builtins, "max", self._extreme(max, "maximum")
        yield builtins, "min", self._extreme(min, "minimum")

    def _mine(self) -> bool:
        return _active.tracing is self  # other threads go on as ever

    def _noting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        places, active, frame_of = self.places, _active, sys._getframe

        def method(*xs: Any) -> Any:
            if active.tracing is not self:
                return original(*xs)
            for x in xs:
                if type(x) is Reading:
                    xs = tuple([x.node if type(x) is Reading else x for x in xs])
                    break
            node = original(*xs)
            if node is NotImplemented:
                return node
            if node.op is None and any(map(self._computed, xs)):  # under no_grad(): a number of the program without gradient
                node = _without_gradient(original, xs)
            frame: Any = frame_of(1)
            while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
                frame = frame.f_back
            places[node] = frame.f_code.co_filename, frame.f_lineno
            return node

        return method

    def _comparing(self, original: Any, compare: Any) -> Any:
        def method(a: Any, b: Any) -> Any:
            if not self._mine() or a is b or not (self._computed(a) or self._computed(b)):
                return original(a, b)
            return compare(a, b)

        return method

    def _computed(self, x: Any) -> bool:
        """Whether a number depends on what is given to the program."""
        return isinstance(x, Reading) or (isinstance(x, Node) and (x.op is not None or x in self.known or x in self.taken))

    def _truth(self, original: Any) -> Any:
        def method(x: Any) -> bool:
            if self._mine() and self._computed(x):
                bool(Reading(x))
            return bool(original(x))

        return method

    def _reading(self, original: Any) -> property:
        def get(x: Any) -> Any:
            inside = sys._getframe(1).f_globals.get("__name__") == "chainrule.engine"  # which evaluates results by it
            if _active.tracing is not self or inside or not self._computed(x):
                return original.__get__(x)
            return Reading(engine.apply(DETACH, x))

        return property(get, original.__set__)

    def _extreme(self, original: Any, name: str) -> Any:
        row = ops.TABLE[name]

        def function(*xs: Any, **options: Any) -> Any:
            if not self._mine() or options:
                return original(*xs, **options)
            items = list(xs[0]) if len(xs) == 1 else list(xs)
            if not any(self._computed(x) for x in items):
                return original(items)
            only_read = not any(isinstance(x, Node) for x in items)
            total = items[0]
            for x in items[1:]:
                pair = [y.node if isinstance(y, Reading) else y for y in (total, x)]
                total = Reading(engine.apply(row, *pair)) if only_read else engine.apply(row, *pair)
            return total

        return function
