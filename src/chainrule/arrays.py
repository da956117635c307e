"""NumPy's side of the table: `ArrayMath`, the `m` on which the rows of ops.py compute with arrays.

>>> ArrayMath.sum(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=(0,), keepdims=False)
array([4., 6.])

Each function is the shortest way that NumPy has to what its row says; a comment tells where that is not the obvious one. What
rows may rely on, dtypes that are not widened, is tested for all of them. Imports ops and NumPy.
"""

import functools
import math
import operator
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import ops
from chainrule.ops import Op

Array = npt.NDArray[Any]
_MANY = 4096  # elements or rows; what is as small as this costs less to compute than to be clever about


def _where(condition: Any, a: Any, b: Any) -> Any:
    if type(condition) is bool and type(a) is type(b) is float:  # of Python numbers
        return a if condition else b
    # np.where branches at every element, which on a random mask costs thirty times as much as making numbers of the mask.
    if type(a) is float and type(b) is float and type(condition) is np.ndarray and condition.dtype == np.bool_:
        if (a, b) == (0.0, 1.0):
            return np.logical_not(condition).astype(np.float32)
        if (a, b) == (1.0, 0.0):
            return condition.astype(np.float32)
    # Of two Python numbers NumPy would make float64, which would widen a float32 gradient. Those of the rules (0, 1, 0.5)
    # are exact in float32, which widens nothing.
    if type(a) is float and type(b) is float and np.float32(a) == a and np.float32(b) == b:
        return np.where(condition, np.float32(a), np.float32(b))
    return np.where(condition, a, b)


reduce: Any = np.add.reduce


@functools.lru_cache(maxsize=64)
def _ones(n: int, dtype: Any) -> Array:
    return np.ones(n, dtype)


@functools.lru_cache(maxsize=64)
def _row_starts(n: int, length: int) -> Array:
    return np.arange(0, n * length, length)


def _sum(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    # The rows of a matrix are what a batch sums over; BLAS adds them up in less than half the time of NumPy's reduce.
    if axis == (0,) and len(shape := x.shape) == 2 and shape[1] > 1 and x.dtype.kind == "f" and shape[0] <= _MANY:
        total = _ones(shape[0], x.dtype).dot(x)
        return total[None] if keepdims else total
    return reduce(x, axis=axis, keepdims=keepdims)


def mean(x: Any, axis: tuple[int, ...], keepdims: bool, total: Any = _sum) -> Any:
    """The mean over axes; total: what adds up."""
    shape = x.shape
    count = shape[axis[0]] if len(axis) == 1 else math.prod([shape[i] for i in axis])
    if not count:
        return np.mean(x, axis=axis, keepdims=keepdims)  # NumPy's NaN and warning for nothing
    return total(x, axis=axis, keepdims=keepdims) / count


def _broadcast_to(x: Any, shape: tuple[int, ...]) -> Any:
    if math.prod(shape) > _MANY:
        return np.broadcast_to(x, shape)
    filled = np.empty(shape, x.dtype)
    filled[...] = x  # of a few elements a copy is made sooner than a view
    return filled


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))  # of a number that is not positive, so nothing overflows
    return np.where(x >= 0, np.ones_like(e), e) / (1 + e)


def _shifted(x: Any, axis: Any) -> Any:
    return x - np.maximum.reduce(x, axis=axis, keepdims=True) if x.size else x + 0.0


def _logsumexp(x: Any, axis: Any, keepdims: bool) -> Any:
    largest = np.maximum.reduce(x, axis=axis, keepdims=True) if x.size else np.float64(-np.inf)
    if np.isfinite(largest).all():
        total = np.log(np.add.reduce(np.exp(x - largest), axis=axis, keepdims=True)) + largest
    else:  # infinities, and sums of nothing, are what they are without a warning
        with np.errstate(all="ignore"):
            largest = np.where(np.isfinite(largest), largest, x.dtype.type(0) if x.dtype.kind == "f" else 0.0)
            total = np.log(np.add.reduce(np.exp(x - largest), axis=axis, keepdims=True)) + largest
    return total if keepdims else np.squeeze(total, axis=axis)


def _softmax(x: Any, axis: Any) -> Any:
    e = np.exp(_shifted(x, axis))
    return e / np.add.reduce(e, axis=axis, keepdims=True)


def _log_softmax(x: Any, axis: Any) -> Any:
    z = _shifted(x, axis)
    return z - np.log(np.add.reduce(np.exp(z), axis=axis, keepdims=True)) if x.size else z


def _matmul(a: Any, b: Any) -> Any:
    return a.dot(b) if a.ndim <= 2 >= b.ndim else np.matmul(a, b)  # the same BLAS call, reached sooner


def _linear(x: Any, w: Any, *b: Any) -> Any:
    lead = x.shape[:-1]
    # One product of two matrices is faster than as many as the leading axes say.
    y = (x if len(lead) == 1 else x.reshape(math.prod(lead), x.shape[-1])).dot(w.T)
    if b and b[0].dtype is y.dtype:
        y += b[0]
    elif b:
        y = y + b[0]
    return y if len(lead) == 1 else y.reshape(*lead, w.shape[0])


def _cross_entropy(logits: Any, labels: Any, reduction: str, kept: list[Any]) -> Any:
    n, classes = logits.shape
    rows = _row_starts(n, classes) if n <= _MANY else np.arange(0, n * classes, classes)
    # argmax, which is no ufunc, takes half of the time of a maximum of short rows, and about as much of long ones.
    largest = logits.reshape(-1).take(rows + logits.argmax(1))
    z = np.subtract(logits, largest[:, None], order="C")
    flat = z.reshape(-1)  # a view, because z is in C order, where one index per row finds its label
    at = rows + labels
    right = flat[at]
    slope = np.exp(z, out=z)  # becomes softmax minus one-hot, the gradient of each row's loss
    total = slope.dot(_ones(classes, slope.dtype))
    slope /= total[:, None]
    flat[at] -= 1
    kept[:] = [slope]
    losses = np.log(total) - right
    if reduction == "none":
        return losses
    loss = losses.dot(_ones(n, losses.dtype)) if n <= _MANY else reduce(losses)
    return loss / n if reduction == "mean" else loss


def one_hot_rows(labels: Array, count: int, dtype: Any) -> Array:
    """For each label a row of `count` zeros with a one at its place."""
    rows = np.zeros((labels.size, count), dtype)
    rows[np.arange(labels.size), labels.reshape(-1)] = 1
    return rows.reshape(*labels.shape, count)


def one_hot_like(labels: Any, logits: Any) -> Any:
    """Such rows, of the width and dtype of the logits."""
    return one_hot_rows(labels, logits.shape[1], logits.dtype)


def _scatter(x: Any, index: Any, shape: tuple[int, ...]) -> Any:
    rows = index[0] if len(index) == 1 and isinstance(index[0], np.ndarray) and index[0].dtype.kind in "iu" else None
    if rows is not None and x.dtype.kind == "f" and math.prod(shape) <= 16 * x.size:
        return _scatter_rows(x, rows, shape)
    out = np.zeros(shape, np.asarray(x).dtype)
    if all(isinstance(i, (int, slice, type(None), type(Ellipsis))) for i in index):
        out[index] = x  # slices meet every element once
    else:
        np.add.at(out, index, x)  # an array of indices may repeat: those add up
    return out


def _scatter_rows(x: Any, index: Any, shape: tuple[int, ...]) -> Any:
    size = math.prod(shape)
    # bincount adds up in float64 and takes half of the time of np.add.at, unless the table is much larger than what is added
    # to it. It wants the place of every element.
    places = np.arange(size).reshape(shape).take(index, 0)
    return np.bincount(places.reshape(-1), x.reshape(-1), size).reshape(shape).astype(x.dtype)


def _relu(m: Any, x: Any) -> Any:
    # `where` branches at every element. np.clip takes a third of the time of this maximum per element, and three times as
    # long to begin.
    return np.clip(x, 0.0, np.inf) if x.size > 8 * _MANY and x.dtype.kind == "f" else np.maximum(x, 0)


def forward_of(op: Op) -> Any:
    """The forward rule of an elementwise row, or a faster word that NumPy has for it."""
    return _relu if op is _RELU else op.forward


_RELU = ops.TABLE["relu"]
ArrayMath = SimpleNamespace(
    abs=np.absolute,
    amax=np.maximum.reduce,
    amin=np.minimum.reduce,
    astype=lambda x, dtype: x.astype(dtype),
    broadcast_to=_broadcast_to,
    concatenate=lambda *xs, axis: np.concatenate(xs, axis=axis),
    cos=np.cos,
    cross_entropy=_cross_entropy,
    embedding=lambda w, index: w.take(index, 0),
    exp=np.exp,
    getitem=lambda x, index: x[index],
    kept=lambda kept, make: kept,
    linear=_linear,
    log=np.log,
    log1p=np.log1p,
    log_softmax=_log_softmax,
    logsumexp=_logsumexp,
    matmul=_matmul,
    maximum=np.maximum,
    mean=mean,
    minimum=np.minimum,
    pow=operator.pow,  # unlike np.power it has short ways for the exponents 2, 1, 0.5 and -1
    reshape=lambda x, shape: x.reshape(shape),
    scatter=_scatter,
    sigmoid=_sigmoid,
    sin=np.sin,
    softmax=_softmax,
    sqrt=np.sqrt,
    stack=lambda *xs, axis: np.stack(xs, axis=axis),
    sum=_sum,
    swap=lambda x: x.swapaxes(-1, -2),
    tanh=np.tanh,
    transpose=lambda x, axes: np.transpose(x, axes),
    where=_where,
)
"""`m` for NumPy arrays: the intrinsics of elementwise rules, and every array row under its name."""
