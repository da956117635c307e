"""Making the lines of an array program: equal ones once, constant ones at once, and what does nothing not at all.

>>> builder = Builder()
>>> x = builder.input("x", (2, 3))
>>> y = builder.transpose(x * 1.0 + 0.0, (1, 0))
>>> y.op.name, y.shape, y is builder.transpose(x, (1, 0))
('view', (3, 2), True)

`Builder.math` is the namespace `m` on which the rules and pullbacks of both tables run to give lines; so a gradient is
more lines. Imports ops, lines and rules.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np

from chainrule import ops
from chainrule.compiler.layout import window
from chainrule.compiler.lines import (
    COMPARISONS,
    GATHER,
    SCATTER,
    STRUCTURAL,
    UNVIEW,
    VIEW,
    Array,
    NumberMath,
    Row,
    Shape,
    contiguous,
)
from chainrule.compiler.rules import ProgramMath
from chainrule.errors import CompileError
from chainrule.ops import ARRAY_TABLE, Op

LARGEST_CONSTANT = 1_000_000  # elements; what is larger is computed in every run instead of being kept

# ---- making lines ---------------------------------------------------------------------------------------------------


class Builder:
    """Makes lines. What has been made once is made once; what is constant is computed; what does nothing is left out.

    dtype: of the numbers ("float64" or "float32"), where the inputs do not say.
    """

    def __init__(self, dtype: Any = "float64") -> None:
        self.dtype = np.dtype(dtype)
        self.math: Any = ProgramMath(self)
        self._made: dict[Any, Array] = {}
        self.sources: frozenset[str] = frozenset()

    # -- leaves

    def input(self, name: str, shape: Shape, dtype: Any = None) -> Array:
        """An array that is given when the program runs."""
        line = Array(self, None, (), tuple(shape), np.dtype(dtype or self.dtype))
        line.name = name
        return line

    def constant(self, data: Any, dtype: Any = None) -> Array:
        """An array that never changes."""
        array = np.asarray(data, dtype=dtype or (self.dtype if np.asarray(data).dtype.kind == "f" else None))
        key = ("constant", array.shape, array.dtype.str, array.tobytes())
        if key not in self._made:
            line = self._made[key] = Array(self, None, (), array.shape, array.dtype)
            line.data = array
        return self._made[key]

    def _as_array(self, x: Any, dtype: Any) -> Array:
        if isinstance(x, Array):
            return x
        return self.constant(np.asarray(x, dtype=dtype if not isinstance(x, np.ndarray) or x.dtype.kind == "f" else None))

    # -- results

    def make(self, op: Row, inputs: tuple[Array, ...], shape: Shape, dtype: Any, options: dict[str, Any] | None = None) -> Array:
        """The line for a row of either table; the shape and dtype of what it makes must be told."""
        options = options or {}
        key = (op, *map(id, inputs), _frozen(options))
        line = self._made.get(key)
        if line is None:
            line = Array(self, op, inputs, tuple(shape), np.dtype(dtype))
            line.options = options
            if inputs and all(x.data is not None for x in inputs) and op in _KNOWN and not _grows(line):
                line = self.constant(_fold(line))
            self._made[key] = line
        line.sources |= self.sources
        return line

    def apply(self, op: Op, *xs: Any) -> Array:
        """An elementwise row on Arrays and numbers, which broadcast."""
        floats = [x.dtype for x in xs if isinstance(x, Array) and x.dtype.kind == "f"]
        dtype = np.result_type(*floats) if floats else self.dtype
        inputs = tuple(self._as_array(x, dtype) for x in xs)
        if op not in COMPARISONS:  # to NumPy, true plus true is true
            inputs = tuple(
                self.astype(x, dtype) if x.dtype.kind == "b" and op.derivatives[i] is not None else x
                for i, x in enumerate(inputs)
            )
        simple = _simplified(op, inputs)
        if simple is not None:
            return simple
        shape = inputs[0].shape
        if any(x.shape != shape for x in inputs):
            shape = np.broadcast_shapes(*(x.shape for x in inputs))
        if shape:
            inputs = self._without_repeats(inputs, shape)
            if all(x.shape == () for x in inputs):
                return self.broadcast_to(self.apply(op, *inputs), shape)
        return self.make(op, inputs, shape, np.dtype(bool) if op in COMPARISONS else dtype)

    def _without_repeats(self, inputs: tuple[Array, ...], shape: Shape) -> tuple[Array, ...]:
        """One number that was repeated to the shape of the others need not be: operands broadcast."""
        plain = tuple(self._single(x) for x in inputs)
        return plain if any(x.shape == shape for x in plain) or all(x.shape == () for x in plain) else inputs

    def _single(self, x: Array) -> Array:
        if x.op is VIEW and not any(x.options["strides"]):
            return self.view(x.inputs[0], x.options["offset"], (), ())
        return x

    def sum(self, x: Array, axis: int | Iterable[int], keepdims: bool = False, row: str = "sum") -> Array:
        """The sum (or amax, amin) over axes; those of length 1 are only dropped."""
        x = self.astype(x, self.dtype) if x.dtype.kind == "b" else x
        axes = (axis,) if isinstance(axis, int) else tuple(axis)
        shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        long = tuple(i for i in axes if x.shape[i] != 1)
        y = x
        if long:
            kept = tuple(n for i, n in enumerate(x.shape) if i not in long)
            y = self.make(ARRAY_TABLE[row], (x,), kept, x.dtype, {"axis": long, "keepdims": False})
        return self.reshape(y, shape if keepdims else tuple(n for i, n in enumerate(x.shape) if i not in axes))

    def matmul(self, a: Array, b: Array) -> Array:
        """The matrix product of the last two axes; vectors as NumPy takes them."""
        if a.ndim == 1 or b.ndim == 1:
            left = self.reshape(a, (1, *a.shape)) if a.ndim == 1 else a
            right = self.reshape(b, (*b.shape, 1)) if b.ndim == 1 else b
            y = self.matmul(left, right)
            shape = y.shape[:-2] + ((y.shape[-2],) if a.ndim > 1 else ()) + ((y.shape[-1],) if b.ndim > 1 else ())
            return self.reshape(y, shape)
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        a, b = (self.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (a, b))
        return self.make(ARRAY_TABLE["matmul"], (a, b), (*lead, a.shape[-2], b.shape[-1]), np.result_type(a.dtype, b.dtype))

    def view(self, x: Array, offset: int, shape: Shape, strides: Shape) -> Array:
        """The elements offset + i * strides[0] + ... of x in C order; a view of a view becomes one where that can be."""
        strides = tuple(0 if n == 1 else s for n, s in zip(shape, strides, strict=True))
        if x.op is VIEW:
            whole = _composed(x, offset, shape, strides)
            if whole is not None:
                return self.view(x.inputs[0], *whole)
        plain = tuple(0 if n == 1 else s for n, s in zip(shape, contiguous(shape), strict=True))
        if offset == 0 and shape == x.shape and strides == plain:
            return x
        return self.make(VIEW, (x,), shape, x.dtype, {"offset": offset, "shape": tuple(shape), "strides": strides})

    def unview(self, g: Array, offset: int, strides: Shape, size: int) -> Array:
        """Zeros of a size with g added where a view reads."""
        repeated = [i for i, (n, s) in enumerate(zip(g.shape, strides, strict=True)) if s == 0]
        if repeated:
            g = self.sum(g, repeated)
            strides = tuple(s for s in strides if s != 0)
        axes = sorted(range(g.ndim), key=lambda i: -strides[i])
        shape = tuple(g.shape[i] for i in axes)
        if offset == 0 and g.size == size and tuple(strides[i] for i in axes) == contiguous(shape):
            return self.reshape(self.transpose(g, axes), (size,))
        return self.make(UNVIEW, (g,), (size,), g.dtype, {"offset": offset, "strides": strides, "size": size})

    def gather(self, x: Array, index: Array) -> Array:
        """The rows of x at the places in `index` (integers from 0)."""
        return self.make(GATHER, (x, index), (*index.shape, *x.shape[1:]), x.dtype)

    def scatter(self, g: Array, index: Array, size: int) -> Array:
        """Zeros of `size` rows, with the rows of g added at the places in `index`."""
        return self.make(SCATTER, (g, index), (size, *g.shape[index.ndim :]), g.dtype, {"size": size})

    def concatenate(self, xs: Sequence[Array], axis: int) -> Array:
        """Arrays joined along an axis."""
        if len(xs) == 1:
            return xs[0]
        shape = list(xs[0].shape)
        shape[axis] = sum(x.shape[axis] for x in xs)
        dtype = np.result_type(*(x.dtype for x in xs))
        return self.make(ARRAY_TABLE["concatenate"], tuple(xs), tuple(shape), dtype, {"axis": axis})

    def astype(self, x: Array, dtype: Any) -> Array:
        """The same elements in another dtype."""
        if x.dtype == dtype:
            return x
        return self.make(ARRAY_TABLE["astype"], (x,), x.shape, dtype, {"dtype": np.dtype(dtype)})

    # -- views by their usual names

    def reshape(self, x: Array, shape: Shape) -> Array:
        """The same elements in another shape."""
        return self.view(x, 0, tuple(shape), contiguous(tuple(shape)))

    def broadcast_to(self, x: Array, shape: Shape) -> Array:
        """The elements repeated to a larger shape."""
        if x.shape == tuple(shape):
            return x
        lead = len(shape) - x.ndim
        if lead < 0 or any(n not in (1, m) for n, m in zip(x.shape, tuple(shape)[lead:], strict=True)):
            raise CompileError(f"an array of shape {x.shape} does not broadcast to {tuple(shape)}")
        own = contiguous(x.shape)
        strides = tuple(0 if i < lead or x.shape[i - lead] == 1 else own[i - lead] for i in range(len(shape)))
        return self.view(x, 0, tuple(shape), strides)

    def transpose(self, x: Array, axes: Sequence[int]) -> Array:
        """The axes in another order."""
        own = contiguous(x.shape)
        return self.view(x, 0, tuple(x.shape[i] for i in axes), tuple(own[i] for i in axes))

    def getitem(self, x: Array, index: tuple[Any, ...]) -> Array:
        """Integers, slices, None and Ellipsis become a view; one array of integers, in front, a gather."""
        if len(index) == 1 and isinstance(index[0], (np.ndarray, Array)):
            return self.gather(x, self.places(index[0], x.shape[0]))
        if any(isinstance(i, Array) for i in index):
            return self.sum(x * self.chosen(x.shape, index, x.dtype), (1,))
        places = np.arange(x.size).reshape(x.shape)[index]
        if any(isinstance(i, (np.ndarray, list)) for i in index):
            return self.gather(self.reshape(x, (x.size,)), self.constant(np.asarray(places)))
        strides = tuple(s // places.itemsize for s in places.strides)
        return self.view(x, int(places.flat[0]) if places.size else 0, places.shape, strides)

    def chosen(self, shape: Shape, index: tuple[Any, ...], dtype: Any) -> Array:
        """For x[range(n), labels]: 1 where a row of a matrix is read, else 0."""
        rows, labels = index if len(index) == 2 else ((), None)
        if len(shape) != 2 or not isinstance(labels, Array) or list(np.ravel(rows)) != list(range(shape[0])):
            raise CompileError(
                "a tensor is indexed by an argument in a way that a program has not; it has x[index] and x[range(n), index]"
            )
        column = self.reshape(self.astype(labels, dtype), (shape[0], 1))
        return cast(Array, self.math.where(column == self.constant(np.arange(shape[1]), dtype), 1.0, 0.0))

    def places(self, index: Any, size: int) -> Array:
        """Places in an axis of that size, counted from 0; a mask selects its places."""
        if isinstance(index, np.ndarray) and index.dtype.kind == "b":
            (index,) = index.nonzero()
        return index if isinstance(index, Array) else self.constant(np.asarray(index) % max(size, 1))

    # -- other rows

    def expand(self, line: Array, inputs: tuple[Array, ...]) -> Array:
        """What a line does, in rows that every executor knows."""
        if line.op is None or line.op in _KNOWN:
            return self.make(line.op, inputs, line.shape, line.dtype, line.options) if line.op else line
        y = line.op.forward(self.math, *inputs, **line.options)
        return y if isinstance(y, Array) else self.constant(np.full(line.shape, y, line.dtype))


_KNOWN = {*ops.BUILT_IN, *COMPARISONS, *STRUCTURAL}


def _grows(line: Array) -> bool:
    """Whether a constant would be more to keep than to make again."""
    return line.size > LARGEST_CONSTANT or (line.op is VIEW and line.size > line.inputs[0].size)


def _frozen(x: Any) -> Any:
    """Options as part of a key."""
    if isinstance(x, dict):
        return tuple((k, _frozen(v)) for k, v in x.items())
    if isinstance(x, (list, tuple)):
        return tuple(map(_frozen, x))
    if isinstance(x, slice):
        return (slice, x.start, x.stop, x.step)
    if isinstance(x, np.ndarray):
        return (x.shape, x.dtype.str, x.tobytes())
    return x


def _fold(line: Array) -> Any:
    assert line.op is not None
    with np.errstate(all="ignore"):  # what a constant leaves its domain with shows when the program is run
        y = line.op.forward(NumberMath, *(x.data for x in line.inputs), **line.options)
    return np.asarray(y, dtype=line.dtype)


def _is(x: Array, number: float) -> bool:
    return x.data is not None and x.shape == () and bool(x.data == number)


def _simplified(op: Op, xs: tuple[Array, ...]) -> Array | None:
    """The operand that an operation only repeats; None when it does something."""
    if op.name in ("mul", "div") and _is(xs[1], 1.0):
        return xs[0]
    if op.name == "mul" and _is(xs[0], 1.0):
        return xs[1]
    if op.name in ("add", "sub") and _is(xs[1], 0.0):
        return xs[0]
    if op.name == "add" and _is(xs[0], 0.0):
        return xs[1]
    if op.name == "pow" and _is(xs[1], 1.0):
        return xs[0]
    if op.name == "pow" and _is(xs[1], 2.0):
        return xs[0] * xs[0]
    if op.name == "mul" and _is(xs[1], -1.0):
        return -xs[0]
    if op.name == "neg" and xs[0].op is op:
        return xs[0].inputs[0]
    if op.name == "where" and xs[0].data is not None and xs[0].shape == ():
        chosen, other = (xs[1], xs[2]) if xs[0].data else (xs[2], xs[1])
        if np.broadcast_shapes(chosen.shape, other.shape) == chosen.shape and chosen.dtype == other.dtype:
            return chosen
    return None


def _composed(inner: Array, offset: int, shape: Shape, strides: Shape) -> tuple[int, Shape, Shape] | None:
    """A view of a view as one view of what is below; None where its elements do not lie that regularly."""
    found = window(inner.shape, contiguous(inner.shape), inner.options["strides"], offset, shape, strides)
    if found is None:
        return _along_one_step(inner, offset, shape, strides)
    return inner.options["offset"] + found[0], shape, found[1]


def _along_one_step(inner: Array, offset: int, shape: Shape, strides: Shape) -> tuple[int, Shape, Shape] | None:
    """The same for an inner view whose elements follow each other at one distance."""
    steps = inner.options["strides"]
    step = next((s for n, s in zip(inner.shape[::-1], steps[::-1], strict=True) if n > 1), 1)
    wanted = tuple(0 if n == 1 else w * step for n, w in zip(inner.shape, contiguous(inner.shape), strict=True))
    if wanted != steps:
        return None
    return inner.options["offset"] + offset * step, shape, tuple(s * step for s in strides)
