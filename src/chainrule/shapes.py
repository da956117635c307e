"""What users say about axes, lengths and dtypes, checked and put into one form; and what does not fit, in words.

>>> axes_of(-1, 3, "sum"), wholes(((2, 3),), "reshape", "a length")
((2,), (2, 3))
>>> first_difference((2, 3), (2, 4))
'axis 1 has lengths 3 and 4'

Every refusal is an InputError that names the operation. Imports errors and NumPy.
"""

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.errors import InputError


def whole(n: Any, name: str, what: str) -> int:
    """`n` as a whole number; name: of the operation; what: the thing counted."""
    try:
        return operator.index(n)
    except TypeError:
        raise InputError(f"{name}: {what} is a whole number, not {type(n).__name__} {n!r}") from None


def axis_of(axis: Any, ndim: int, name: str) -> int:
    """An axis counted from 0; InputError naming the operation when there is no such axis."""
    i = whole(axis, name, "an axis")
    if not -ndim <= i < ndim:
        raise InputError(f"{name}: axis {i} is out of range for a tensor of {ndim} axes")
    return i % ndim


REVERSED = ((), (0,), (1, 0), (2, 1, 0))
_ALL: tuple[tuple[int, ...], ...] = ((), (0,), (0, 1), (0, 1, 2))


def one_of(dim: Any, axis: Any, name: str) -> Any:
    """The axis, which has two names; InputError when both are given."""
    if dim is not None and axis is not None:
        raise InputError(f"{name}: dim={dim} and axis={axis} are given, and both name the axis; leave one out")
    return dim if axis is None else axis


def axes_of(axis: Any, ndim: int, name: str) -> tuple[int, ...]:
    """All axes for None, else the ones given, counted from 0."""
    if axis is None:
        return _ALL[ndim] if ndim < 4 else tuple(range(ndim))
    if type(axis) is int and -ndim <= axis < ndim:
        return (axis % ndim,)
    if type(axis) is tuple and len(axis) == 2 and type(axis[0]) is type(axis[1]) is int and 0 <= axis[0] < axis[1] < ndim:
        return axis  # what most are, without the questions below
    axes = tuple(axis_of(a, ndim, name) for a in (axis if isinstance(axis, (tuple, list)) else (axis,)))
    if len(set(axes)) < len(axes):
        raise InputError(f"{name}: an axis is named twice in {axis}")
    return axes


DTYPES = {name: np.dtype(name) for name in ("float32", "float64", "int64", "int32", "uint8", "bool")}


def dtype_of(dtype: Any) -> Any:
    """A NumPy dtype that tensors may have; PyTorch's are known by their text."""
    try:
        found = np.dtype(str(dtype).removeprefix("torch.") if type(dtype).__module__ == "torch" else dtype)
    except TypeError:
        found = None
    if found is None or dtype is None or found.kind not in "fiub" or found == np.float16:
        raise InputError(f"a tensor's dtype is float32, float64, int64, int32, uint8 or bool, not {dtype!r}")
    return found


def correction_of(name: str, unbiased: Any, correction: int | None, ddof: int | None = None) -> int:
    """What is taken off the number of elements, which divides a variance."""
    if ddof is not None:
        if correction is not None or unbiased is not True:
            raise InputError(f"{name}: ddof, correction and unbiased say the same; give one of them")
        correction = ddof
    return int(unbiased) if correction is None else whole(correction, name, "the correction")


@functools.lru_cache(maxsize=64)
def places_of(shape: tuple[int, ...]) -> tuple[npt.NDArray[Any], ...]:
    """For each axis its indices, in a shape that broadcasts: np.ogrid."""
    return tuple([np.arange(n).reshape((1,) * i + (n,) + (1,) * (len(shape) - 1 - i)) for i, n in enumerate(shape)])


def wholes(given: tuple[Any, ...], name: str, what: str) -> tuple[int, ...]:
    """reshape(2, 3) and reshape((2, 3)) alike."""
    numbers = given[0] if len(given) == 1 and isinstance(given[0], (tuple, list)) else given
    try:
        return tuple(map(operator.index, numbers))
    except TypeError:
        return tuple([whole(n, name, what) for n in numbers])


def shape_error(name: str, inputs: Sequence[Any], error: Exception | None = None, **options: Any) -> InputError:
    """What a row that failed says: the shapes, and which axis does not fit."""
    first, *others = shapes = [x.shape for x in inputs]
    given, axis = " and ".join(map(str, shapes)), options.get("axis")
    shape = options.get("shape", ())
    if name == "reshape" and [n for n in shape if n < 0] not in ([], [-1]):
        return InputError(f"reshape: lengths are whole numbers from 0, and one of them may be -1, not {shape}")
    if name == "reshape":
        return InputError(f"reshape: the {math.prod(first)} elements of shape {first} do not fit into shape {shape}")
    if name == "broadcast_to":
        pairs = enumerate(zip((1,) * (len(shape) - len(first)) + first, shape, strict=True))
        how = next((f"axis {i} has length {m}, not {n}" for i, (m, n) in pairs if n < 0 or m not in (1, n)), error)
        return InputError(f"expand: shape {first} does not expand to {shape}: {how}")
    if name in ("concatenate", "stack"):
        for shape in others:
            if how := first_difference(first, shape, but=axis if name == "concatenate" else None):
                return InputError(f"{name}: shapes {first} and {shape} do not fit: {how}")
    if clash := _first_clash([shape[:-2] for shape in shapes] if name == "matmul" else shapes):
        return InputError(f"{name}: shapes {given} do not broadcast: {clash}")
    empty = [i for i in (axis if isinstance(axis, tuple) else (axis,)) if i is not None and first[i] == 0]
    return InputError(f"{name} of shape {given}: {f'axis {empty[0]} has no elements' if empty else error}")


def _first_clash(shapes: Sequence[tuple[int, ...]]) -> str:
    ndim = max(map(len, shapes))
    for i in range(1, ndim + 1):
        lengths = {shape[-i] for shape in shapes if len(shape) >= i} - {1}
        if len(lengths) > 1:
            return f"axis {ndim - i} has lengths {' and '.join(map(str, sorted(lengths)))}"
    return ""


def first_difference(a: tuple[int, ...], b: tuple[int, ...], but: int | None = None) -> str:
    """How two shapes differ that should be alike, if need be but for one axis; "" when they do not."""
    if len(a) != len(b):
        return f"they have {len(a)} and {len(b)} axes"
    pairs = enumerate(zip(a, b, strict=True))
    return next((f"axis {i} has lengths {m} and {n}" for i, (m, n) in pairs if m != n and i != but), "")
