"""Running a function of Tensors once to see what it does: `watching` notes every Tensor that is made, and where.

While it is active, in its own thread only, every operation on Tensors is recorded, also those that no gradient goes through.
What depends on the parameters, on the arguments or on other Tensors from outside of the function cannot leave the graph:
`.item()`, `.data`, a branch, an index that is computed are a CompileError that names the line, because a program would keep
the number of the first run for ever. Comparisons, `max(dim)`, `argmax(dim)` and `detach()` of such a Tensor are operations
of the program.

    with watching(parameters, arguments) as notes:
        loss = function(*arguments)

Imports lines, trace, and of the core engine, errors, ops, origins and tensor.
"""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import numpy as np

from chainrule import engine, ops, tensor
from chainrule.compiler.lines import EQUAL, LESS, LESS_EQUAL, NOT_EQUAL
from chainrule.compiler.trace import DETACH
from chainrule.engine import Node
from chainrule.errors import CompileError
from chainrule.ops import ArrayOp
from chainrule.origins import Place, patched, place_of
from chainrule.tensor import MaxMin, Tensor

# fmt: off
FIRST = {
    name: ArrayOp(f"first_{name}", word, lambda m, x, *, axis, keepdims, name=name: getattr(m, name)(x, (axis,), keepdims),
                  (lambda m, g, y, x, *, axis, keepdims, name=name: m.first(g, x, axis, keepdims, name),),
                  f"The {word} along an axis, whose gradient goes to the first of several such elements.")
    for name, word in (("amax", "max"), ("amin", "min"))
}
AT = {
    name: ArrayOp(f"arg{word}", f"arg{word}",
                  lambda m, x, *, axis, keepdims, name=name: m.place(x, axis, keepdims, name),
                  (lambda m, g, y, x, *, axis, keepdims: None,), f"The place of the first {word} along an axis.")
    for name, word in (("amax", "max"), ("amin", "min"))
}
# fmt: on
_COMPARE = {
    "__lt__": (LESS, False),
    "__le__": (LESS_EQUAL, False),
    "__gt__": (LESS, True),
    "__ge__": (LESS_EQUAL, True),
    "__eq__": (EQUAL, False),
    "__ne__": (NOT_EQUAL, False),
}  # fmt: skip
_WHERE = ops.TABLE["where"]


class _Active(threading.local):
    watching: Any = None


_active = _Active()


@contextlib.contextmanager
def watching(params: Iterable[Tensor], given: Iterable[Tensor]) -> Iterator["Watching"]:
    """Within it, what this thread does with Tensors is noted; see `Watching`. Not a class, for the sake of `patched`."""
    if _active.watching is not None:
        raise CompileError(
            f"{_here()}: a compiled function is called inside of one that is being compiled; call the plain function there"
        )
    notes = Watching(params, given)
    before = engine._set_recording(True)  # also for a call within no_grad()
    try:
        with patched(notes.changes()):
            _active.watching = notes
            yield notes
    finally:
        _active.watching = None
        engine._set_recording(before)


class Watching:
    """Notes the Tensors that are made while it is active.

    params, given: Tensors whose numbers change from run to run.

    places: for each result where it was made, in order. inside: Tensors that depend on nothing from outside of the function.
    indices: Tensors from outside, and arguments, that served as an index or as labels.
    """

    def __init__(self, params: Iterable[Tensor], given: Iterable[Tensor]) -> None:
        self.given = list(given)
        self.outside = {*params, *self.given}
        self.places: dict[Any, Place] = {}
        self.inside: set[Any] = set()
        self.indices: dict[Any, None] = {}

    def _mine(self, *xs: Any) -> bool:
        """Whether this thread is watched, and some of these Tensors depend on what comes from outside."""
        return _active.watching is self and any(isinstance(x, Tensor) and x not in self.inside for x in xs)

    # ---- results

    def changes(self) -> Iterator[tuple[Any, str, Any]]:
        """What takes the place of what, for `patched`."""
        yield tensor, "_make", self._making(tensor._make)
        yield tensor, "_node", self._noting(tensor._node)
        yield Tensor, "__init__", self._starting(vars(Tensor)["__init__"])
        for name, (row, swapped) in _COMPARE.items():
            yield Tensor, name, self._comparing(vars(Tensor)[name], row, swapped)
        for name in ("and", "or", "xor"):
            for method in (f"__{name}__", f"__r{name}__"):
                yield Tensor, method, self._combining(vars(Tensor)[method], name)
        yield Tensor, "__invert__", self._inverting(vars(Tensor)["__invert__"])
        yield Tensor, "detach", self._detaching(vars(Tensor)["detach"])
        yield Tensor, "_extreme", self._extreme(vars(Tensor)["_extreme"])
        yield Tensor, "_place", self._place(vars(Tensor)["_place"])
        yield Tensor, "_has_zeros", self._has_zeros(vars(Tensor)["_has_zeros"])
        yield Tensor, "_read", self._refusing(vars(Tensor)["_read"])
        yield Tensor, "_as_index", self._indexing(vars(Tensor)["_as_index"])
        yield Tensor, "data", self._property(vars(Tensor)["data"], self._refuse)
        yield Tensor, "grad", self._property(vars(Tensor)["grad"], _refuse_gradient)
        yield Tensor, "backward", self._no_gradient(vars(Tensor)["backward"])
        yield Tensor, "_gradients", self._no_gradient(vars(Tensor)["_gradients"])

    def _making(self, original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def make(data: Any) -> Any:
            x = original(data)
            if _active.watching is self:  # from what depends on anything, this is not reached
                self.inside.add(x)
            return x

        return make

    def _starting(self, original: Callable[..., None]) -> Callable[..., None]:
        def start(x: Any, *args: Any, **options: Any) -> None:
            original(x, *args, **options)
            if _active.watching is self:
                self.inside.add(x)

        return start

    def _noting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def node(data: Any, op: Any, inputs: tuple[Any, ...], options: Any) -> Any:
            y = original(data, op, inputs, options)
            if _active.watching is not self:
                return y
            if engine._is_recording():
                y.op, y.inputs, y.options = op, inputs, options
            else:  # within no_grad(): the same numbers, and no way back
                y.op, y.inputs, y.options = DETACH, (self._result(op, inputs, data, options),), None
            return self._noted(y)

        return node

    def _result(self, op: Any, inputs: tuple[Any, ...], data: Any, options: Any = None) -> Any:
        """A Tensor that an operation of the program makes, without gradient."""
        y = Tensor.__new__(Tensor)
        y._data, y.op, y.inputs, y.options = data, op, inputs, options
        y._requires_grad, y._made, y._written = False, tensor._writes, 0
        return self._noted(y)

    def _noted(self, y: Any) -> Any:
        self.places[y] = _here()
        if all(x in self.inside for x in y.inputs):
            self.inside.add(y)
        return y

    # ---- what is an operation only here

    def _comparing(self, original: Any, row: Any, swapped: bool) -> Any:
        def compare(a: Any, b: Any) -> Any:
            if not self._mine(a, b) or (b := tensor._operand(b)) is None:
                return original(a, b)
            with _unwatched():
                data = original(a, b)._data
            return self._result(row, (b, a) if swapped else (a, b), data)

        return compare

    def _combining(self, original: Any, name: str) -> Any:
        def combine(a: Any, b: Any) -> Any:
            if not self._mine(a, b):
                return original(a, b)
            x, y = (each if isinstance(each, Tensor) else Tensor(each) for each in (a, b))
            if x.dtype != np.bool_ or y.dtype != np.bool_:
                raise CompileError(f"{_here()}: & | ^ of whole numbers are no operations of a program; of bools they are")
            if name == "xor":
                return x != y
            return cast(Any, tensor.apply(_WHERE, x, *((y, 0.0) if name == "and" else (1.0, y)))) != 0.0

        return combine

    def _inverting(self, original: Any) -> Any:
        def invert(x: Any) -> Any:
            return x == 0 if self._mine(x) and x.dtype == np.bool_ else original(x)

        return invert

    def _detaching(self, original: Any) -> Any:
        return lambda x: self._result(DETACH, (x,), x._data) if self._mine(x) else original(x)

    def _extreme(self, original: Any) -> Any:
        def extreme(x: Any, name: str, where: Any, dim: Any, keepdim: bool, axis: Any, keepdims: bool) -> Any:
            if dim is None or not self._mine(x):
                return original(x, name, where, dim, keepdim, axis, keepdims)
            with _unwatched():
                found = original(x, name, where, dim, keepdim, axis, keepdims)
            options = {"axis": dim % x.ndim, "keepdims": keepdim or keepdims}
            values = tensor._node(found.values._data, FIRST[name], (x,), options)
            return MaxMin(values, self._result(AT[name], (x,), found.indices._data, options))

        return extreme

    def _place(self, original: Any) -> Any:
        def place(x: Any, name: str, dim: Any, keepdim: bool) -> Any:
            if not self._mine(x):
                return original(x, name, dim, keepdim)
            if dim is None and keepdim:
                raise CompileError(f"{_here()}: {name} over all axes with keepdim is no operation of a program; name an axis")
            x, dim = (x.reshape(-1), 0) if dim is None else (x, dim)
            with _unwatched():
                data = original(x, name, dim, keepdim)._data
            row = AT["amax" if name == "argmax" else "amin"]
            return self._result(row, (x,), data, {"axis": dim % x.ndim, "keepdims": keepdim})

        return place

    def _has_zeros(self, original: Any) -> Any:
        return lambda x: True if self._mine(x) else original(x)  # whatever the numbers are in later runs

    # ---- what cannot be

    def _refuse(self, x: Any) -> None:
        if self._mine(x):
            raise CompileError(
                f"{_here()}: the function takes numbers out of the program (.item(), .data, a branch, whole numbers made of what "
                "it computes), which would stay as they are now; compute with Tensors, for instance by where() and detach(), or "
                "pass what can be computed before as an argument"
            )

    def _refusing(self, original: Any) -> Any:
        def read(x: Any) -> Any:
            self._refuse(x)
            return original(x)

        return read

    def _property(self, original: Any, refuse: Any) -> property:
        def get(x: Any) -> Any:
            if self._mine(x):
                refuse(x)
            return original.__get__(x)

        return property(get, original.__set__, original.__delete__ if original.fdel else None, original.__doc__)

    def _no_gradient(self, original: Any) -> Any:
        def method(x: Any, *args: Any, **options: Any) -> Any:
            if self._mine(x) and args != (True,):  # gradients as nodes are a part of the program
                _refuse_gradient(x)
            return original(x, *args, **options)

        return method

    def _indexing(self, original: Any) -> Any:
        def as_index(x: Any) -> Any:
            data = original(x)
            if not self._mine(x):
                return data
            if data.dtype.kind == "b":
                raise CompileError(
                    f"{_here()}: a mask that is computed or given selects elements, and how many would change from run to "
                    "run; write where(mask, x, 0), or make the mask a NumPy array, which stays as it is"
                )
            source = self._source(x)
            if source is None or not np.shares_memory(data, source._data):
                raise CompileError(
                    f"{_here()}: an index is computed in the function, and would stay as it is now; compute it before the call "
                    "and pass it as an argument"
                )
            self.indices[source] = None
            return data

        return as_index

    def _source(self, x: Any) -> Any:
        """What a Tensor of whole numbers is a view of."""
        while x in self.places:
            if len(x.inputs) != 1:
                return None
            (x,) = x.inputs
        return x


class _unwatched:  # noqa: N801 - reads like a function
    def __enter__(self) -> None:
        self.before, _active.watching = _active.watching, None

    def __exit__(self, *error: object) -> None:
        _active.watching = self.before


def _refuse_gradient(x: Node) -> None:
    raise CompileError(
        f"{_here()}: the function takes a gradient inside; a compiled function is differentiated from outside, or within by "
        "gradients(..., create_graph=True)"
    )


def _here() -> Place:
    return place_of(sys._getframe(1))
