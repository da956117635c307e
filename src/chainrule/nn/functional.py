"""Functions of tensors that networks are made of, under PyTorch's names: `from chainrule.nn import functional as F`.

>>> logits = linear(Tensor([[1.0, 2.0]]), Tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], requires_grad=True))
>>> logits.tolist()
[[1.0, 2.0, 3.0]]
>>> round(cross_entropy(logits, [2]).item(), 4)
0.4076

Inputs are tensors, arrays or lists; labels and indices are whole numbers from 0. `linear`, `embedding`, `cross_entropy` and
`batch_norm` are rows of ops.ARRAY_TABLE of their own, with their pullbacks, because that is faster than the operations that
they are made of; every one can be differentiated again. Each function raises InputError in one sentence that names it and
the shapes. Left out on purpose: weights of classes, targets that are distributions, images. The same names for
scalars are in losses.py. Imports the core and nn.init.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import InputError
from chainrule.nn.init import GeneratorLike, generator_of
from chainrule.shapes import first_difference
from chainrule.tensor import Tensor, _apply_array, as_array, looked_up, one_hot, owned, replace

__all__ = [
    "batch_norm",
    "cross_entropy",
    "dropout",
    "embedding",
    "layer_norm",
    "linear",
    "log_softmax",
    "mse_loss",
    "one_hot",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]


# ---- elementwise, and along an axis ----------------------------------------------------------------------------------


def relu(x: Any) -> Tensor:
    """max(x, 0), elementwise.

    >>> relu([-1.0, 2.0]).tolist()
    [0.0, 2.0]
    """
    return _tensor(x).relu()


def tanh(x: Any) -> Tensor:
    """The hyperbolic tangent, elementwise.

    >>> tanh([0.0]).tolist()
    [0.0]
    """
    return _tensor(x).tanh()


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x)), elementwise.

    >>> sigmoid([0.0]).tolist()
    [0.5]
    """
    return _tensor(x).sigmoid()


def softmax(x: Any, dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """exp(x) divided by its sum along `dim` (default: the last axis).

    >>> softmax([[0.0, 0.0]], dim=1).tolist()
    [[0.5, 0.5]]
    """
    return _tensor(x).softmax(dim, axis=axis)


def log_softmax(x: Any, dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """The logarithm of `softmax`, without overflow.

    >>> log_softmax([[0.0, 1000.0]], dim=1).tolist()
    [[-1000.0, 0.0]]
    """
    return _tensor(x).log_softmax(dim, axis=axis)


def dropout(x: Any, p: float = 0.5, training: bool = True, *, generator: GeneratorLike = None) -> Tensor:
    """Zeros instead of a share p of the elements, drawn anew at each call, and the others times 1 / (1 - p).

    p: from 0 to 1 (default 0.5). training: False returns x as it is. generator: a NumPy generator or a seed (default:
    that of `nn.manual_seed`).

    >>> dropout([1.0, 1.0, 1.0, 1.0], 0.5, generator=0).tolist()
    [2.0, 0.0, 0.0, 0.0]
    """
    inputs = _tensor(x)
    if not 0 <= p <= 1:
        raise InputError(f"dropout: p is a probability from 0 to 1, not {p!r}")
    if not training or p == 0:
        return inputs
    keep = generator_of(generator).random(inputs.shape) >= p
    return inputs * owned(keep.astype(inputs.dtype) * (1.0 / (1.0 - p) if p < 1 else 0.0))


# ---- layers ----------------------------------------------------------------------------------------------------------


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """x @ weight.T + bias.

    x: shape (..., in). weight: shape (out, in), as in PyTorch, so that row i makes output i. bias: shape (out,) or None.
    Returns shape (..., out).

    >>> linear([1.0, 2.0], [[3.0, 4.0]], [0.5]).tolist()
    [11.5]
    """
    rows, table = (x if type(x) is Tensor else _tensor(x)), (weight if type(weight) is Tensor else _tensor(weight))
    offset = bias if bias is None or type(bias) is Tensor else _tensor(bias)
    shape, w = rows.shape, table.shape
    if len(w) != 2 or shape[-1:] != w[1:] or (offset is not None and offset.shape != w[:1]):
        raise _linear_error([each.shape for each in (rows, table, offset) if each is not None])
    return _apply_array("linear", (rows, table) if offset is None else (rows, table, offset))


def _linear_error(shapes: list[tuple[int, ...]]) -> InputError:
    x, w, *b = shapes
    how = ""
    if x and len(w) == 2 and x[-1] != w[1]:
        how = f": axis {len(x) - 1} of x has length {x[-1]}, axis 1 of weight {w[1]}"
    elif x and len(w) == 2 and len(b[0]) == 1:  # then it is the bias
        how = f": axis 0 of bias has length {b[0][0]}, axis 0 of weight {w[0]}"
    given = ", ".join(map(str, shapes))
    return InputError(f"linear takes x (..., in), weight (out, in) and bias (out,), not {given}{how}")


def embedding(indices: Any, weight: Any) -> Tensor:
    """The rows of a table: shape (*indices.shape, *weight.shape[1:]).

    indices: whole numbers from 0, of any shape. weight: one row per index.

    >>> embedding([[1, 0]], [[1.0, 2.0], [3.0, 4.0]]).tolist()
    [[[3.0, 4.0], [1.0, 2.0]]]
    """
    table = weight if type(weight) is Tensor else _tensor(weight)
    data, kind = table._data, type(indices)
    if not (data.shape if type(data) is np.ndarray else table.shape):
        raise InputError("embedding takes a weight with one row per index, not one number")
    index = indices._as_index() if kind is Tensor else indices.copy() if kind is np.ndarray else as_array(indices)
    # A negative index would count from the end. One that is too large NumPy finds: to look for both costs more than the rows.
    if index.dtype.kind == "i" and index.size and index.item(index.argmin()) >= 0:
        try:
            return looked_up(table, index)
        except IndexError:  # below it is named
            pass
    return looked_up(table, _indices("embedding", "index", index, table.shape[0], "rows"))


def batch_norm(
    x: Any,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    unbiased: bool = True,
) -> Tensor:
    """Each channel with mean 0 and variance 1, then times weight plus bias (Ioffe and Szegedy 2015).

    x: shape (N, C) or (N, C, ...). running_mean, running_var: buffers of shape (C,); both may be None in training.
    weight, bias: shape (C,), or None for 1 and 0.
    training: True takes mean and variance from the batch and moves the buffers by `momentum` towards them; False (default)
        takes the buffers.
    eps: added to the variance.
    unbiased: True (default) divides by n - 1 for every variance, so that both modes mean the same. False is PyTorch's
        mixture: n for the batch, n - 1 for the buffer.

    Raises InputError for a batch that has no variance: one value per channel.

    >>> batch_norm([[1.0], [3.0]], None, None, training=True, eps=0.0, unbiased=False).tolist()
    [[-1.0], [1.0]]
    """
    inputs = _tensor(x)
    shape = inputs.shape
    if len(shape) < 2:
        raise InputError(f"batch_norm takes x of shape (N, C) or (N, C, ...), not {shape}")
    channels = shape[1:2]
    for each in (running_mean, running_var, weight, bias):
        if each is not None and (each.shape if type(each) is Tensor else np.shape(each)) != channels:
            raise _channel_error(shape, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    w = _tensor(np.ones(shape[1], inputs.dtype) if weight is None else weight)
    b = _tensor(np.zeros(shape[1], inputs.dtype) if bias is None else bias)
    if not inputs._data.dtype is w._data.dtype is b._data.dtype:
        inputs, w, b = _promoted(inputs, w, b)
    if training:
        return _normalized_by_batch(inputs, shape, running_mean, running_var, w, b, momentum, eps, unbiased)
    if running_mean is None or running_var is None:
        raise InputError("batch_norm: without training=True it needs running_mean and running_var")
    wide = (-1,) + (1,) * (len(shape) - 2)
    mean, var = _tensor(running_mean).reshape(wide), _tensor(running_var).reshape(wide)
    return (inputs - mean) * (w.reshape(wide) / (var + eps).sqrt()) + b.reshape(wide)


def _normalized_by_batch(
    x: Tensor,
    shape: tuple[int, ...],
    running_mean: Any,
    running_var: Any,
    w: Tensor,
    b: Tensor,
    momentum: float,
    eps: float,
    unbiased: bool,
) -> Tensor:
    n = math.prod(shape) // max(shape[1], 1)
    if n < 2:
        raise InputError(
            f"batch_norm: in training it needs more than one value per channel to have a variance, not a batch "
            f"of shape {shape}; take a larger batch, or eval() mode"
        )
    axis = (0, *range(2, len(shape)))
    kept: list[Any] = []  # the row's forward leaves here: deviations, 1 / std, mean, variance
    y = _apply_array("batch_norm", (x, w, b), axis=axis, correction=int(unbiased), eps=eps, kept=kept)
    _, _, mean, var = kept
    share = momentum if unbiased else momentum * n / (n - 1)
    for buffer, fresh in ((running_mean, momentum * mean), (running_var, share * var)):
        if buffer is not None:
            moved = (1 - momentum) * buffer._data + fresh
            replace(buffer, moved if moved.dtype is buffer._data.dtype else moved.astype(buffer.dtype))
    return y


def _channel_error(shape: tuple[int, ...], **given: Any) -> InputError:
    shapes = {name: np.shape(x.data if isinstance(x, Tensor) else x) for name, x in given.items() if x is not None}
    name, has = next((name, has) for name, has in shapes.items() if has != shape[1:2])
    return InputError(f"batch_norm: {name} must have shape {shape[1:2]}, as axis 1 of x of shape {shape}, not {has}")


def _promoted(*tensors: Tensor) -> list[Tensor]:
    """All of them in the dtype that their sum would have."""
    dtype = np.result_type(*[each.dtype for each in tensors])
    return [each.to(dtype) for each in tensors]


def layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """Each sample with mean 0 and variance 1 over its last axes, then times weight plus bias (Ba et al. 2016).

    normalized_shape: the lengths of those axes, or one whole number. weight, bias: of that shape, or None for 1 and 0.
    The variance divides by n, as in PyTorch.

    >>> layer_norm([[1.0, 3.0]], 2, eps=0.0).tolist()
    [[-1.0, 1.0]]
    """
    inputs = _tensor(x)
    shape = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
    if not shape or inputs.shape[-len(shape) :] != shape:
        wanted, how = ", ".join(map(str, shape)), first_difference(inputs.shape, inputs.shape[: -len(shape)] + shape)
        raise InputError(f"layer_norm over {shape} takes x of shape (..., {wanted}), not {inputs.shape}: {how}")
    for name, given in (("weight", weight), ("bias", bias)):
        if given is not None and (has := np.shape(given)) != shape:
            raise InputError(f"layer_norm: {name} must have shape {shape}, not {has}: {first_difference(shape, has)}")
    axes = tuple(range(inputs.ndim - len(shape), inputs.ndim))
    deviation = inputs - inputs.mean(axes, keepdim=True)
    y = deviation / ((deviation * deviation).mean(axes, keepdim=True) + eps).sqrt()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


# ---- losses ----------------------------------------------------------------------------------------------------------


def cross_entropy(logits: Any, labels: Any, reduction: str = "mean") -> Tensor:
    """Minus the logarithm of softmax(logits) at the label of each row.

    logits: shape (N, C), no softmax applied. labels: N whole numbers from 0 to C - 1.
    reduction: "mean" over the rows (default), "sum", or "none", which returns N losses.

    >>> round(cross_entropy([[0.0, 0.0, 1000.0]], [0]).item(), 4)
    1000.0
    """
    scores = _tensor(logits)
    _expect_reduction("cross_entropy", reduction)
    shape = scores.shape
    if len(shape) != 2:
        raise InputError(f"cross_entropy takes logits of shape (N, C), not {shape}")
    index = _indices("cross_entropy", "label", labels, shape[1], "classes")
    if index.shape != shape[:1]:
        how = f"not labels of shape {index.shape}: {first_difference(shape[:1], index.shape)}"
        raise InputError(f"cross_entropy: logits of shape {shape} need {shape[0]} labels, {how}")
    if shape[1] == 0:
        raise InputError(f"cross_entropy: logits of shape {shape} have no classes to choose from")
    if shape[0] == 0 and reduction == "mean":
        raise InputError("cross_entropy: there are no samples to take the mean of")
    if scores._data.dtype.kind != "f":
        raise InputError(f"cross_entropy takes floating-point logits, not {scores.dtype}")
    return _apply_array("cross_entropy", (scores,), labels=index, reduction=reduction, kept=[])


def mse_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """The squared error of two tensors of one shape: its mean (default), its "sum", or with "none" every square.

    >>> mse_loss([1.0, 3.0], [1.0, 1.0]).item()
    2.0
    """
    output, wanted = _tensor(x), _tensor(target)
    _expect_reduction("mse_loss", reduction)
    if output.shape != wanted.shape:  # (N,) minus (N, 1) would be N by N
        how = f": {first_difference(output.shape, wanted.shape)}" if output.ndim == wanted.ndim else ""
        raise InputError(f"mse_loss takes two tensors of one shape, not {output.shape} and {wanted.shape}{how}")
    difference = output - wanted
    squares = difference * difference
    return squares if reduction == "none" else squares.mean() if reduction == "mean" else squares.sum()


# ---- arguments -------------------------------------------------------------------------------------------------------


def _tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(x)


def _indices(name: str, what: str, given: Any, count: int, things: str) -> npt.NDArray[Any]:
    """Whole numbers from 0 to count - 1, as an array; InputError naming the first that is not."""
    index: npt.NDArray[Any] = given._as_index() if type(given) is Tensor else as_array(given)
    # argmin and argmax, unlike min and max, are no ufuncs, and eight times as fast on a batch.
    if index.dtype.kind == "i" and index.size and index.item(index.argmin()) >= 0 and index.item(index.argmax()) < count:
        return index
    if index.dtype.kind not in "iu":
        if index.size:
            raise InputError(f"{name}: {what} must be a whole number, not {index.dtype}")
        return index.astype(np.int64)
    wrong = index[(index < 0) | (index >= count)]
    if wrong.size:
        raise InputError(f"{name}: {what} {wrong[0]} is out of range; {count} {things} are 0 to {count - 1}")
    return index.astype(np.int64)  # NumPy adds uint64 and int64 as floats


def _expect_reduction(name: str, reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise InputError(f"{name}: reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
