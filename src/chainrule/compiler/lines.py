"""The lines of an array program: `Array`, and the rows that only programs have.

An `Array` is one line: a row of the table (ops.py), or one of the four rows below, with its inputs and the shape and dtype
of what it makes. builder.py makes lines.

`view` is the one row for all that only moves elements: an offset, and a length and a stride for every axis, over the
elements of an array in C order. Reshaping, transposing, slicing, repeating and reversing are its special cases, and
`unview` is what it pulls back. `gather` reads rows at any places, and `scatter` is what that pulls back.

Left out on purpose: devices, control flow, and shapes that depend on data. Imports ops, arrays and errors.
"""

import math
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from chainrule import ops
from chainrule.arrays import ArrayMath
from chainrule.errors import CompileError
from chainrule.ops import ARRAY_TABLE, ArrayOp, Op

Shape = tuple[int, ...]
Row = Op | ArrayOp

# ---- the rows that only programs have -------------------------------------------------------------------------------


def places(offset: int, shape: Shape, strides: Shape) -> npt.NDArray[np.int64]:
    """Where a view reads: an index into the elements of its input for each of its own."""
    at = np.full(shape, offset, np.int64)
    for axis, (length, stride) in enumerate(zip(shape, strides, strict=True)):
        at += (np.arange(length) * stride).reshape((-1,) + (1,) * (len(shape) - axis - 1))
    return at


def reach(offset: int, shape: Shape, strides: Shape) -> tuple[int, int]:
    """The first and the last element that a view of at least one element reads."""
    moves = [(length - 1) * stride for length, stride in zip(shape, strides, strict=True)]
    return offset + sum(min(move, 0) for move in moves), offset + sum(max(move, 0) for move in moves)


def _view(x: Any, offset: int, shape: Shape, strides: Shape) -> Any:
    flat = np.ascontiguousarray(x).reshape(-1)
    if 0 in shape:
        return np.zeros(shape, flat.dtype)
    low, high = reach(offset, shape, strides)
    if low < 0 or high >= flat.size:  # as_strided would read whatever memory holds
        raise CompileError(f"a view reads elements {low} to {high} of an array of {flat.size}")
    steps = tuple(stride * flat.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)


def _unview(g: Any, offset: int, strides: Shape, size: int) -> Any:
    total = np.bincount(places(offset, g.shape, strides).reshape(-1), np.asarray(g).reshape(-1), size)
    return total.astype(g.dtype)


def _scatter(g: Any, index: Any, size: int) -> Any:
    total = np.zeros((size, *g.shape[index.ndim :]), g.dtype)
    np.add.at(total, index, g)
    return total


# fmt: off
VIEW = ArrayOp("view", "view", lambda m, x, *, offset, shape, strides: m.view(x, offset, shape, strides),
               (lambda m, g, y, x, *, offset, shape, strides:
                m.reshape(m.unview(g, offset, strides, math.prod(x.shape)), shape=x.shape),),
               "The elements offset + i * strides[0] + j * strides[1] + ... of an array in C order.")
UNVIEW = ArrayOp("unview", "unview", lambda m, g, *, offset, strides, size: m.unview(g, offset, strides, size),
                 (lambda m, h, y, g, *, offset, strides, size: m.view(h, offset, g.shape, strides),),
                 "Zeros, with g added where a view reads.")
GATHER = ArrayOp("gather", "gather", lambda m, x, index: m.gather(x, index),
                 (lambda m, g, y, x, index: m.scatter_rows(g, index, x.shape[0]), lambda m, g, y, x, index: None),
                 "The rows of an array at an array of places.")
SCATTER = ArrayOp("scatter_rows", "scatter", lambda m, g, index, *, size: m.scatter_rows(g, index, size),
                  (lambda m, h, y, g, index, *, size: m.gather(h, index), lambda m, h, y, g, index, *, size: None),
                  "Zeros, with rows of g added at an array of places; repeated ones add up.")
# fmt: on


def _comparison(name: str, symbol: str, forward: ops.Rule) -> Op:
    doc = f"1 where a {symbol} b, else 0."
    return Op(name, symbol, forward, (None, None), (ops.REAL, ops.REAL), doc, "__compare__")


LESS = _comparison("less", "<", lambda m, a, b: a < b)
LESS_EQUAL = _comparison("less_equal", "<=", lambda m, a, b: a <= b)
EQUAL = _comparison("equal", "==", lambda m, a, b: a == b)
NOT_EQUAL = _comparison("not_equal", "!=", lambda m, a, b: a != b)
COMPARISONS = (LESS, LESS_EQUAL, EQUAL, NOT_EQUAL)

STRUCTURAL = (
    *(ARRAY_TABLE[name] for name in ("sum", "amax", "amin", "matmul", "concatenate", "astype")),
    VIEW, UNVIEW, GATHER, SCATTER,
)  # fmt: skip
"""The array rows an executor must know; `Builder.expand` writes all others in terms of them."""

NumberMath = SimpleNamespace(
    **{
        **vars(ArrayMath),
        "view": _view,
        "unview": _unview,
        "gather": lambda x, index: x.take(index, 0),
        "scatter_rows": _scatter,
    }
)
"""`m` for NumPy arrays, with the rows of programs: what the reference executor and constant folding run on."""


# ---- lines ----------------------------------------------------------------------------------------------------------


class Maker(Protocol):
    """What makes lines, as far as lines and rules ask for it; builder.py has it."""

    math: Any
    dtype: np.dtype[Any]
    sources: frozenset[str]

    def apply(self, op: Op, *xs: Any) -> "Array": ...  # noqa: D102
    def constant(self, data: Any, dtype: Any = None) -> "Array": ...  # noqa: D102
    def sum(self, x: "Array", axis: Iterable[int], keepdims: bool = False, row: str = "sum") -> "Array": ...  # noqa: D102
    def matmul(self, a: "Array", b: "Array") -> "Array": ...  # noqa: D102
    def unview(self, g: "Array", offset: int, strides: Shape, size: int) -> "Array": ...  # noqa: D102
    def gather(self, x: "Array", index: "Array") -> "Array": ...  # noqa: D102
    def scatter(self, g: "Array", index: "Array", size: int) -> "Array": ...  # noqa: D102
    def concatenate(self, xs: Sequence["Array"], axis: int) -> "Array": ...  # noqa: D102
    def astype(self, x: "Array", dtype: Any) -> "Array": ...  # noqa: D102
    def reshape(self, x: "Array", shape: Shape) -> "Array": ...  # noqa: D102
    def transpose(self, x: "Array", axes: Sequence[int]) -> "Array": ...  # noqa: D102
    def places(self, index: Any, size: int) -> "Array": ...  # noqa: D102
    def chosen(self, shape: Shape, index: tuple[Any, ...], dtype: Any) -> "Array": ...  # noqa: D102


class Array:
    """One line of a program.

    op: its row; None for an input or a constant. inputs: Arrays. options: as its row takes them.
    shape, dtype: of what it makes. data: of a constant. name: of an input.
    sources: where the user's code asked for it, as "file:line".
    """

    __slots__ = ("builder", "data", "dtype", "inputs", "name", "op", "options", "shape", "sources")
    __array_ufunc__ = None  # NumPy numbers and arrays give way to our operators
    __hash__ = object.__hash__

    def __init__(self, builder: Maker, op: Row | None, inputs: tuple["Array", ...], shape: Shape, dtype: Any) -> None:
        self.builder, self.op, self.inputs, self.shape, self.dtype = builder, op, inputs, shape, dtype
        self.options: dict[str, Any] = {}
        self.data: npt.NDArray[Any] | None = None
        self.name = ""
        self.sources: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def _with(self, name: str, other: Any, swap: bool = False) -> "Array":
        return self.builder.apply(ops.TABLE[name], *((other, self) if swap else (self, other)))

    def __add__(self, b: Any) -> "Array":
        return self._with("add", b)

    def __radd__(self, a: Any) -> "Array":
        return self._with("add", a, True)

    def __sub__(self, b: Any) -> "Array":
        return self._with("sub", b)

    def __rsub__(self, a: Any) -> "Array":
        return self._with("sub", a, True)

    def __mul__(self, b: Any) -> "Array":
        return self._with("mul", b)

    def __rmul__(self, a: Any) -> "Array":
        return self._with("mul", a, True)

    def __truediv__(self, b: Any) -> "Array":
        return self._with("div", b)

    def __rtruediv__(self, a: Any) -> "Array":
        return self._with("div", a, True)

    def __pow__(self, b: Any) -> "Array":
        return self._with("pow", b)

    def __rpow__(self, a: Any) -> "Array":
        return self._with("pow", a, True)

    def maximum(self, b: Any) -> "Array":
        """The larger of the two, elementwise."""
        return self._with("maximum", b)

    def __neg__(self) -> "Array":
        return self.builder.apply(ops.TABLE["neg"], self)

    def __lt__(self, b: Any) -> "Array":
        return self.builder.apply(LESS, self, b)

    def __gt__(self, b: Any) -> "Array":
        return self.builder.apply(LESS, b, self)

    def __le__(self, b: Any) -> "Array":
        return self.builder.apply(LESS_EQUAL, self, b)

    def __ge__(self, b: Any) -> "Array":
        return self.builder.apply(LESS_EQUAL, b, self)

    def __eq__(self, b: Any) -> "Array":  # type: ignore[override]
        return self.builder.apply(EQUAL, self, b)

    def __ne__(self, b: Any) -> "Array":  # type: ignore[override]
        return self.builder.apply(NOT_EQUAL, self, b)

    def __repr__(self) -> str:
        what = self.op.name if self.op else self.name or "constant"
        return f"<Array {what} {self.dtype} {self.shape}>"


def contiguous(shape: Shape) -> Shape:
    """The strides of an array in C order."""
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * shape[i + 1]
    return tuple(strides)


def inputs_first(roots: Iterable[Array]) -> list[Array]:
    """Every line that `roots` need, each once and each after its inputs."""
    done: dict[Array, None] = {}
    stack: list[Any] = list(roots)[::-1]
    while stack:
        line = stack.pop()
        if line is None:
            done[stack.pop()] = None
        elif line not in done:
            stack += (line, None, *reversed(line.inputs))
    return list(done)
