"""Running a function once to see what it does: `Tracing` notes every Value that is made, and where.

While it is active, in its own thread only, the operators of Value pass through here. Each result is noted with the line of
the user's code that asked for it. And numbers that depend on what the program computes do not get lost: `v.data`, and a
comparison of Values, give a `Reading`, which computes on like a number and is a part of the program, without gradient. What
cannot be a part of it, a branch on such a number or its way into foreign code, is a CompileError that names the line.

    tracing = Tracing(parameters)
    with tracing.active():
        loss = function()

Left out on purpose: operators that a subclass of Value defines itself. Imports engine, ops, origins and errors.
"""

import builtins
import contextlib
import math
import numbers
import operator
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule import engine, ops
from chainrule.compiler.lines import EQUAL, LESS, LESS_EQUAL, NOT_EQUAL
from chainrule.engine import Node, Value
from chainrule.errors import CompileError, DomainError, InputError
from chainrule.ops import Op
from chainrule.origins import NOT_THE_USER_S, Place, operators, patched, place_of

TAKE = Op("take", "take", lambda m, i, x: x, (None, lambda m, y, i, x: 1.0), (ops.REAL, ops.REAL), "The element at an index.")
WHERE = ops.TABLE["where"]
DETACH = Op("detach", "detach", lambda m, x: x, (None,), (ops.REAL,), "The number itself, without gradient.")

_COMPARE = {
    "__lt__": lambda a, b: _compared(LESS, a, b),
    "__le__": lambda a, b: _compared(LESS_EQUAL, a, b),
    "__gt__": lambda a, b: _compared(LESS, b, a),
    "__ge__": lambda a, b: _compared(LESS_EQUAL, b, a),
    "__eq__": lambda a, b: _compared(EQUAL, a, b),
    "__ne__": lambda a, b: _compared(NOT_EQUAL, a, b),
}


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
            "the operations of Values, or return it as another output"
        )

    __int__ = __index__ = __trunc__ = __float__

    def __round__(self, digits: int | None = None) -> float:
        return float(self)

    def __neg__(self) -> "Reading":
        return Reading(-self.node)

    def __pos__(self) -> "Reading":
        return self

    def __abs__(self) -> "Reading":
        return Reading(abs(self.node))

    def __format__(self, spec: str) -> str:
        return "?"  # what a print in a traced function shows

    __repr__ = __str__ = lambda self: "?"


numbers.Real.register(Reading)  # so that Value(reading) and the like ask for float(), and get the sentence


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
for _name in ("floordiv", "mod", "and", "or", "xor", "matmul"):
    setattr(Reading, f"__{_name}__", lambda a, b: float(a))
    setattr(Reading, f"__r{_name}__", lambda a, b: float(a))
for _name, _compare in _COMPARE.items():
    setattr(Reading, _name, _compare)


def _without_gradient(op: Op, xs: Sequence[Any], data: float) -> Any:
    """A result that was not recorded, as a node; no gradient flows through it."""
    inputs = [x if isinstance(x, Node) else Value(x, requires_grad=False) for x in xs]
    return engine._make(DETACH, [engine._make(op, inputs, data, None, "", True)], data, None, "", True)


def _compared(op: Op, a: Any, b: Any) -> Any:
    xs = [x.node if isinstance(x, Reading) else x for x in (a, b)]
    if not all(isinstance(x, Node) or engine._is_number(x) for x in xs):
        return NotImplemented
    return Reading(engine.apply(op, *xs))


def _outside(op: Op, xs: Sequence[Any]) -> Any:
    """The result of an operation outside of its domain: NaN."""
    return engine._make(op, [x if isinstance(x, Node) else Value(x, requires_grad=False) for x in xs], math.nan, None, "", True)


def _parts(op: Op | None, xs: Sequence[Any], swapped: bool) -> tuple[Op, Sequence[Any]]:
    """The row and the operands of a call: of a function the row comes first, of `number + Value` the operands are swapped."""
    if op is None:
        return xs[0], xs[1:]
    return op, xs[::-1] if swapped else xs


def _gradient_inside() -> CompileError:
    return CompileError(
        f"{place_of(sys._getframe(2))}: the function asks for gradients (.grad, backward(), gradients()), which would stay as "
        "they are now; a compiled function only computes, and its gradients come from outside"
    )


def _no_index(x: Any) -> int:
    raise CompileError(
        f"{place_of(sys._getframe(1))}: a list is indexed by a number of the program; use chainrule.take(table, i)"
    )


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
        raise InputError(_NO_INDEX)
    at = operator.index(i)
    if at < 0:
        raise InputError(f"take: an index counts from 0, so it cannot be {at}")
    return table[at]


_NO_INDEX = "take: an index is a whole number, or in a compiled function an element of an argument of whole numbers"


def _number(x: Any) -> float:
    """The number of a node, past the watch over reading it."""
    before, _active.tracing = _active.tracing, None
    try:
        return float(x.data)
    finally:
        _active.tracing = before


def _columns(entries: list[Any], place: Place) -> Any:
    """The entries of a table of elements, as nodes; of a table of rows, a list of those for each column."""
    if not entries:
        raise InputError(f"{place}: take: the table is empty")
    if isinstance(entries[0], (list, tuple, np.ndarray)):
        if len({len(row) for row in entries}) != 1:
            raise CompileError(f"{place}: take: the rows of the table differ in length")
        return [_columns([row[c] for row in entries], place) for c in range(len(entries[0]))]
    return tuple(x.node if isinstance(x, Reading) else x if isinstance(x, Node) else Value(x) for x in entries)


class _Entries:
    """What a table held when it was looked at, to be compared by identity: a list may have changed in place since."""

    __slots__ = ("items", "rows")

    def __init__(self, table: Any) -> None:
        self.items: Any = table.copy() if isinstance(table, np.ndarray) else list(table)
        nested = not isinstance(table, np.ndarray) and self.items and isinstance(self.items[0], (list, tuple, np.ndarray))
        self.rows = [_Entries(row) for row in self.items] if nested else []

    def same_as(self, table: Any) -> bool:
        """Whether a table holds the very same objects still; an array of numbers, the same numbers."""
        if isinstance(table, np.ndarray):
            if table.shape != self.items.shape:
                return False
            if table.dtype != object:
                return bool(table.tobytes() == self.items.tobytes())
            return all(map(operator.is_, table.ravel().tolist(), self.items.ravel().tolist()))
        if len(table) != len(self.items) or not all(map(operator.is_, table, self.items)):
            return False
        return all(row.same_as(now) for row, now in zip(self.rows, table, strict=True)) if self.rows else True


class _Table(NamedTuple):
    """A table that `take` was given: kept alive, for it is known by its id, with what it held and the nodes of that."""

    table: Any
    entries: _Entries
    columns: Any


class Tracing:
    """Notes the Values that are made while it is active.

    known: nodes that are not constants although no operation made them, with the Leaf each stands for.
    whole: the names of the arrays of whole numbers, whose elements may be indices.
    tolerant: whether a result outside of the domain is NaN, and no error.

    places: for each node where it was made, in order. taken: for what `take` gave, the index and all it could have given.
    met: other leaves whose numbers were looked at.
    """

    _only_one = threading.Lock()

    def __init__(self, known: Mapping[Any, Any], whole: Collection[str] = (), tolerant: bool = False) -> None:
        self.known, self.whole, self.tolerant = known, whole, tolerant
        self.places: dict[Any, tuple[str, int]] = {}
        self.taken: dict[Any, tuple[Any, ...]] = {}
        self.met: dict[Any, None] = {}
        self._tables: dict[int, _Table] = {}

    def place(self, node: Node) -> Place | None:
        """Where a node was made."""
        found = self.places.get(node)
        return Place(*found) if found else None

    def take(self, table: Any, i: Any) -> Any:
        """The element of a table at an index that is given to the program."""
        leaf = self.known.get(i)
        if leaf is None or leaf.array not in self.whole:
            raise InputError(f"{place_of(sys._getframe(1))}: {_NO_INDEX}")
        place = place_of(sys._getframe(1))
        kept = self._tables.get(id(table))
        if kept is None or not kept.entries.same_as(table):
            kept = self._tables[id(table)] = _Table(table, _Entries(table), _columns(list(table), place))
        at = int(_number(i))
        if not 0 <= at < len(table):
            raise InputError(f"{place}: take: index {at} is out of range for a table of {len(table)}")
        return self._chosen(kept.columns, i, at, place)

    def _chosen(self, columns: Any, i: Any, at: int, place: Place) -> Any:
        if isinstance(columns, list):
            return [self._chosen(column, i, at, place) for column in columns]
        node = Value(_number(columns[at]))
        self.taken[node] = (i, *columns)
        self.places[node] = place
        return node

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Within it, this thread is traced. Not the object's own `with`, for the sake of `patched`."""
        if _active.tracing is not None:
            raise CompileError(
                f"{place_of(sys._getframe(1))}: a compiled function is called inside of one that is being compiled; call the "
                "plain function there"
            )
        with self._only_one:
            before = engine._set_recording(True)  # also for a call within no_grad()
            try:
                with patched(self._changes()):
                    _active.tracing = self
                    yield
            finally:
                _active.tracing = None
                engine._set_recording(before)

    def _changes(self) -> Iterator[tuple[Any, str, Any]]:
        """(owner, name, what takes the place of it) for everything that makes or reads Values."""
        kind = engine.Value
        for name, op, swapped in operators():
            yield kind, name, self._noting(vars(kind)[name], op, swapped)
        for name, compare in _COMPARE.items():
            yield kind, name, self._comparing(getattr(kind, name), compare)
        yield kind, "__bool__", self._truth(vars(kind)["__bool__"])
        yield kind, "__index__", _no_index
        yield kind, "data", self._reading(vars(kind)["data"])
        yield kind, "grad", self._no_grad(vars(kind)["grad"])
        yield Node, "backward", self._no_backward(Node.backward)
        yield Node, "_gradients", self._no_numbers(Node._gradients)
        yield engine, "_apply", self._noting(engine._apply)
        yield builtins, "max", self._extreme(max, "maximum")
        yield builtins, "min", self._extreme(min, "minimum")

    def _mine(self) -> bool:
        return _active.tracing is self  # other threads go on as ever

    def _noting(self, original: Callable[..., Any], op: Op | None = None, swapped: bool = False) -> Callable[..., Any]:
        places, active, frame_of = self.places, _active, sys._getframe

        def method(*xs: Any) -> Any:
            if active.tracing is not self:
                return original(*xs)
            for x in xs:
                if type(x) is Reading:
                    xs = tuple([x.node if type(x) is Reading else x for x in xs])
                    break
            try:
                node = original(*xs)
            except DomainError:
                if not self.tolerant:
                    raise
                node = _outside(*_parts(op, xs, swapped))
            if node is NotImplemented:
                return node
            if node.op is None:  # under no_grad(), or of constants
                node = self._unrecorded(node, *_parts(op, xs, swapped))
            frame: Any = frame_of(1)
            while frame.f_back is not None and frame.f_code.co_filename.startswith(NOT_THE_USER_S):
                frame = frame.f_back
            places[node] = frame.f_code.co_filename, frame.f_lineno
            return node

        return method

    def _unrecorded(self, node: Any, op: Op, xs: Sequence[Any]) -> Any:
        if any(map(self._computed, xs)):
            return _without_gradient(op, xs, _number(node))
        self._meet(*xs)
        return node

    def _meet(self, *xs: Any) -> None:
        self.met.update(dict.fromkeys(x for x in xs if isinstance(x, Node)))

    def _comparing(self, original: Any, compare: Any) -> Any:
        def method(a: Any, b: Any) -> Any:
            if not self._mine() or a is b:
                return original(a, b)
            if self._computed(a) or self._computed(b):
                return compare(a, b)
            self._meet(a, b)
            return original(a, b)

        return method

    def _computed(self, x: Any) -> bool:
        """Whether a number depends on what is given to the program."""
        return isinstance(x, Reading) or (isinstance(x, Node) and (x.op is not None or x in self.known or x in self.taken))

    def _truth(self, original: Any) -> Any:
        def method(x: Any) -> bool:
            if self._mine():
                if self._computed(x):
                    bool(Reading(x))
                self._meet(x)
            return bool(original(x))

        return method

    def _reading(self, original: Any) -> property:
        def get(x: Any) -> Any:
            inside = sys._getframe(1).f_globals.get("__name__") == "chainrule.engine"  # which evaluates results by it
            if _active.tracing is not self or inside:
                return original.__get__(x)
            if not self._computed(x):
                self._meet(x)
                return original.__get__(x)
            return Reading(engine.apply(DETACH, x))

        return property(get, original.__set__)

    def _no_grad(self, original: Any) -> property:
        def get(x: Any) -> Any:
            if self._mine() and sys._getframe(1).f_globals.get("__name__") != "chainrule.engine":
                raise _gradient_inside()
            return original.__get__(x)

        return property(get, original.__set__, original.__delete__)

    def _no_backward(self, original: Any) -> Any:
        def backward(x: Any) -> None:
            if self._mine():
                raise _gradient_inside()
            original(x)

        return backward

    def _no_numbers(self, original: Any) -> Any:
        def gradients(x: Any, create_graph: bool) -> Any:
            if self._mine() and not create_graph:
                raise _gradient_inside()
            return original(x, create_graph)

        return gradients

    def _extreme(self, original: Any, name: str) -> Any:
        row = ops.TABLE[name]

        def function(*xs: Any, **options: Any) -> Any:
            if not self._mine() or options:
                return original(*xs, **options)
            items = list(xs[0]) if len(xs) == 1 else list(xs)
            if not any(self._computed(x) for x in items):
                return original(items)
            if not any(isinstance(x, Node) for x in items):
                total = items[0]
                for x in items[1:] or items:  # of one number too, or the rows of a triangle would not be alike
                    total = Reading(engine.apply(row, *(y.node if isinstance(y, Reading) else y for y in (total, x))))
                return total
            first, *others = (x.node if isinstance(x, Reading) else x for x in items)
            total = first
            for x in others:  # as Python's max, which keeps the first of equals
                total = engine.apply(WHERE, engine.apply(LESS, *((total, x) if name == "maximum" else (x, total))), x, total)
            return total

        return function
