"""One row of the table alone: the gradient it gives to an input, and how large the summands of that gradient are.

A gradient may be off by a few roundings of whatever was added up for it. `sizes` tells how much that was, for a gradient
whose own summands have the sizes g: the absolute values of all terms, those included that a rule adds up by itself and that
cancel. Softmax minus one-hot, 1 - y^2, x minus its mean: there the difference is small, what was rounded is not. Numbers
that a fused row keeps to itself (deviations, probabilities) are computed again by whoever writes the gradient by hand, so
their rounding counts too. Imports ops and tensor.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.arrays import ArrayMath
from chainrule.ops import ArrayOp


def pulled(op: Any, i: int, g: Any, y: Any, xs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The gradient that one operation gives to its i-th input, before broadcasting is undone; None for none."""
    if isinstance(op, ArrayOp):
        return op.pull(ArrayMath, [k == i for k in range(len(xs))], g, y, xs, options)[i]
    derivative = op.derivatives[i]
    return None if derivative is None else g * derivative(ArrayMath, y, *xs)


def sizes(op: Any, i: int, g: Any, y: Any, xs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The sizes of the summands of `pulled`, where g holds the sizes of those of the upstream gradient."""
    if op.name in _CANCELLING:
        return _CANCELLING[op.name](i, g, y, xs, options)
    if op.name in ("matmul", "linear"):
        xs = tuple(np.abs(x) for x in xs)
    raw = pulled(op, i, g, y, xs, options)
    return None if raw is None else np.abs(raw)


def over_channels(numbers: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """A number per channel in a shape that broadcasts with x, from which `axes` were reduced; in float64."""
    wide = np.asarray(numbers, np.float64)
    return wide.reshape([1 if k in axes else n for k, n in enumerate(x.shape)])


def softmax_of(x: Any, axis: int) -> Any:
    """exp(x) divided by its sum along the axis, without overflow."""
    return ArrayMath.softmax(x, axis)


def weights_of(g: Any, rows: int, reduction: str) -> Any:
    """The gradient of the loss of each row of a cross-entropy, as a column."""
    return np.reshape(g, (-1, 1)) / (rows if reduction == "mean" else 1)


def _tanh(i: int, g: Any, y: Any, xs: Any, options: Any) -> Any:
    return g * (1 + y * y)


def _sigmoid(i: int, g: Any, y: Any, xs: Any, options: Any) -> Any:
    return g * y * (1 + y)


def _heights(x: Any, axis: int | tuple[int, ...]) -> Any:
    """1 + what is rounded in the exponent of a softmax: x and the largest x, for the difference of both."""
    size = np.where(x == -np.inf, 0.0, np.abs(x))  # -inf, of a mask, is exact, and stays so whatever is taken from it
    return 1 + size + np.abs(np.max(x, axis=axis, keepdims=True, initial=0))


def _softmax(i: int, g: Any, y: Any, xs: Any, options: Any) -> Any:
    axis = options["axis"]
    return y * _heights(xs[0], axis) * (g + np.sum(g * y, axis=axis, keepdims=True))


def _log_softmax(i: int, g: Any, y: Any, xs: Any, options: Any) -> Any:
    axis = options["axis"]
    return g + np.exp(y) * _heights(xs[0], axis) * np.sum(g, axis=axis, keepdims=True)


def _logsumexp(i: int, g: Any, y: Any, xs: Any, options: Any) -> Any:
    x, axes = xs[0], options["axis"]
    return over_channels(g, x, axes) * np.exp(x - over_channels(y, x, axes)) * _heights(x, axes)


def _cross_entropy(i: int, g: Any, y: Any, xs: Any, options: Any) -> Any:
    x, rows = xs[0], np.arange(len(xs[0]))
    total = softmax_of(x, 1) * _heights(x, 1)
    total[rows, options["labels"]] += 1
    return weights_of(g, len(x), options["reduction"]) * total


def _offsets(x: Any, axes: tuple[int, ...]) -> Any:
    """What is rounded when the mean is taken from x: it shifts every deviation."""
    return np.abs(x) + np.mean(np.abs(x), axis=axes, keepdims=True)


def _var(i: int, g: Any, y: Any, xs: Any, options: Any) -> Any:
    x, axes = xs[0], options["axis"]
    n = x.size / max(np.size(y), 1)
    return over_channels(g, x, axes) * 2 / (n - options["correction"]) * _offsets(x, axes)


def _batch_norm(i: int, g: Any, y: Any, xs: Any, options: Any) -> Any:
    x, axes = xs[0], options["axis"]
    if i == 2:
        return np.sum(g, axis=axes)
    d, off = np.abs(options["kept"][0]), _offsets(x, axes)
    s, w = (over_channels(each, x, axes) for each in (options["kept"][1], np.abs(xs[1])))
    rounded = np.sum(g * (d + off), axis=axes, keepdims=True)
    if i == 1:
        return np.sum(rounded * s, axis=axes)
    # d * sum(g * d), of which either d is rounded.
    along = d * rounded + off * np.sum(g * d, axis=axes, keepdims=True)
    n = x.size / s.size
    return w * s * (g + np.mean(g, axis=axes, keepdims=True) + s * s * along / (n - options["correction"]))


_CANCELLING: dict[str, Callable[[int, Any, Any, Any, Any], Any]] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "cross_entropy": _cross_entropy,
    "var": _var,
    "batch_norm": _batch_norm,
}
"""Rows whose rules subtract, or whose exponents do; all others multiply only."""
