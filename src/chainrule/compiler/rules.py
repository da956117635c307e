"""`m` for programs: the namespace on which the rules and pullbacks of both tables run to give lines.

What needs no more than one line is a method of the Builder; here is what is written in terms of those. Imports ops and lines.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.compiler.lines import Array, Maker, Shape

Axes = tuple[int, ...]
_AS_THE_BUILDER_HAS_IT = (
    "astype", "broadcast_to", "gather", "getitem", "matmul", "reshape", "transpose", "unview", "view",
)  # fmt: skip


class ProgramMath:
    """The intrinsics of elementwise rules, and every array row under its name, on the Arrays of a Builder."""

    def __init__(self, builder: Maker) -> None:
        self.b = builder
        for name in ops.INTRINSICS:
            setattr(self, name, self._elementwise(ops.TABLE[name]))
        for name in _AS_THE_BUILDER_HAS_IT:
            setattr(self, name, getattr(builder, name))

    exp: Callable[..., Array]  # and the other intrinsics
    log: Callable[..., Array]
    where: Callable[..., Array]

    def __getattr__(self, name: str) -> Any:  # what __init__ has set is found before
        raise AttributeError(f"m has no {name!r} for programs")

    def _elementwise(self, op: ops.Op) -> Callable[..., Array]:
        return lambda *xs: self.b.apply(op, *xs)

    # -- reductions

    def sum(self, x: Array, axis: Axes, keepdims: bool) -> Array:
        """The sum over axes."""
        return self.b.sum(x, axis, keepdims)

    def amax(self, x: Array, axis: Axes, keepdims: bool) -> Array:
        """The largest element over axes."""
        return self.b.sum(x, axis, keepdims, "amax")

    def amin(self, x: Array, axis: Axes, keepdims: bool) -> Array:
        """The smallest element over axes."""
        return self.b.sum(x, axis, keepdims, "amin")

    def mean(self, x: Array, axis: Axes, keepdims: bool) -> Array:
        """The mean over axes."""
        return self.b.sum(x, axis, keepdims) / float(math.prod(x.shape[i] for i in axis))

    def place(self, x: Array, axis: int, keepdims: bool, row: str) -> Array:
        """The place of the first amax or amin along an axis, as a number; NaN counts as both, as in NumPy."""
        n, count = x.ndim, x.shape[axis]
        at = self.b.reshape(self.b.constant(np.arange(count), self.b.dtype), (count,) + (1,) * (n - 1 - axis))
        here = self.where(x == self.b.sum(x, (axis,), True, row), at, self.where(x == x, float(count), at))
        return self.b.sum(here, (axis,), keepdims, "amin")

    def first(self, g: Array, x: Array, axis: int, keepdims: bool, row: str) -> Array:
        """The gradient g of the amax or amin along an axis, at the first such element, and zeros elsewhere."""
        count = x.shape[axis]
        at = self.b.reshape(self.b.constant(np.arange(count), self.b.dtype), (count,) + (1,) * (x.ndim - 1 - axis))
        beside = g if keepdims else self.b.reshape(g, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))
        return self.where(at == self.place(x, axis, True, row), beside, 0.0)

    # -- softmax and its kin

    def _shifted(self, x: Array, axis: Any) -> Array:
        axes = axis if isinstance(axis, tuple) else (axis,)
        return x - self.amax(x, axes, True)

    def softmax(self, x: Array, axis: int) -> Array:
        """exp(x) divided by its sum over the axis."""
        e = self.exp(self._shifted(x, axis))
        return e / self.sum(e, (axis,), True)

    def log_softmax(self, x: Array, axis: int) -> Array:
        """The logarithm of softmax."""
        z = self._shifted(x, axis)
        return z - self.log(self.sum(self.exp(z), (axis,), True))

    def logsumexp(self, x: Array, axis: Axes, keepdims: bool) -> Array:
        """The logarithm of the sum of exponentials."""
        largest = self.amax(x, axis, True)
        total = self.log(self.sum(self.exp(x - largest), axis, True)) + largest
        return total if keepdims else self.b.reshape(total, tuple(n for i, n in enumerate(x.shape) if i not in axis))

    def one_hot(self, labels: Any, logits: Array) -> Array:
        """1 where a column of logits is the label of its row, else 0."""
        b = self.b
        given = labels if isinstance(labels, Array) else b.constant(np.asarray(labels))
        column = b.reshape(b.astype(given, logits.dtype), (*given.shape, 1))
        return self.where(column == b.constant(np.arange(logits.shape[-1]), logits.dtype), 1.0, 0.0)

    def cross_entropy(self, logits: Array, labels: Any, reduction: str, kept: Any = None) -> Array:
        """Minus the logarithm of softmax at the label of each row."""
        losses = -self.sum(self.log_softmax(logits, 1) * self.one_hot(labels, logits), (1,), False)
        if reduction == "none":
            return losses
        return self.mean(losses, (0,), False) if reduction == "mean" else self.sum(losses, (0,), False)

    # -- matrices and rows

    def linear(self, x: Array, w: Array, *bias: Array) -> Array:
        """x @ w.T + b over the last axis."""
        b = self.b
        rows = b.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
        y = b.matmul(rows, b.transpose(w, (1, 0)))
        return b.reshape(y + bias[0] if bias else y, (*x.shape[:-1], w.shape[0]))

    def swap(self, x: Array) -> Array:
        """The last two axes exchanged."""
        return self.b.transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))

    def concatenate(self, *xs: Array, axis: int) -> Array:
        """Arrays joined along an axis."""
        return self.b.concatenate(xs, axis)

    def stack(self, *xs: Array, axis: int) -> Array:
        """Arrays along a new axis."""
        return self.b.concatenate([self.b.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:])) for x in xs], axis)

    def embedding(self, w: Array, index: Any) -> Array:
        """Rows of a table."""
        return self.b.gather(w, self.b.places(index, w.shape[0]))

    def scatter(self, g: Array, index: Any, shape: Shape) -> Array:
        """Zeros of a shape with g added at an index; what getitem and embedding pull back."""
        b = self.b
        if len(index) == 1 and isinstance(index[0], (np.ndarray, Array)):
            return b.scatter(g, b.places(index[0], shape[0]), shape[0])
        if any(isinstance(i, Array) for i in index):
            return b.reshape(g, (shape[0], 1)) * b.chosen(shape, index, g.dtype)
        places = np.arange(math.prod(shape)).reshape(shape)[index]
        if any(isinstance(i, (np.ndarray, list)) for i in index):
            flat = b.scatter(b.reshape(g, (g.size,)), b.constant(places.reshape(-1)), math.prod(shape))
            return b.reshape(flat, shape)
        strides = tuple(s // places.itemsize for s in places.strides)
        return b.reshape(b.unview(g, int(places.flat[0]) if places.size else 0, strides, math.prod(shape)), shape)

    def scatter_rows(self, g: Array, index: Array, size: int) -> Array:
        """Zeros of `size` rows with rows of g added at places."""
        return self.b.scatter(g, index, size)

    def kept(self, kept: Any, make: Callable[[], Any]) -> Any:
        """Programs keep nothing aside: equal lines are made once."""
        return make()
