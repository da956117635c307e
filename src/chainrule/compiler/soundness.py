"""Whether a line from elsewhere holds together: `expect_sound`.

A builder makes lines that do. One that is read from a file may ask for elements that are not there, and the executors, which
walk through memory as they are told, would read them. Imports lines, ops and errors.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.compiler.lines import COMPARISONS, Array, Row, Shape, reach
from chainrule.errors import CompileError
from chainrule.ops import Op

DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
MOST_AXES = 32  # as many as every NumPy has
MOST_ELEMENTS = 2**40  # of 8 bytes, more than any machine has memory for; and far from where products of lengths overflow


def expect_sound(op: Row, inputs: Sequence[Array], shape: Shape, dtype: np.dtype[Any], options: Mapping[str, Any]) -> None:
    """CompileError, in one sentence, for a line whose inputs, options, shape and dtype do not fit its row."""
    expect_size(shape)
    made = _elementwise(op, inputs, dtype, options) if isinstance(op, Op) else _ROWS[op.name](inputs, dtype, options)
    _expect(made == shape, f"it makes an array of shape {made}, not {shape}")


def expect_size(shape: Shape) -> None:
    """CompileError for a shape that is none."""
    _expect(all(_is_count(n) for n in shape), f"{list(shape)} is no shape")
    _expect(len(shape) <= MOST_AXES, f"{len(shape)} axes are more than {MOST_AXES}")
    _expect(math.prod(n or 1 for n in shape) <= MOST_ELEMENTS, f"an array of shape {shape} is too large")


def _expect(holds: bool, sentence: str) -> None:
    if not holds:
        raise CompileError(sentence)


def _is_whole(x: Any) -> bool:
    return type(x) is int and abs(x) <= MOST_ELEMENTS


def _is_count(x: Any) -> bool:
    return _is_whole(x) and x >= 0


def _expect_inputs(inputs: Sequence[Array], count: int) -> None:
    _expect(len(inputs) == count, f"it takes {count} input{'s' if count > 1 else ''}, not {len(inputs)}")


def _expect_options(options: Mapping[str, Any], *names: str) -> None:
    wanted = f"the option{'s' if len(names) > 1 else ''} {', '.join(names)}" if names else "no options"
    _expect(set(options) == set(names), f"it takes {wanted}, not {', '.join(sorted(map(str, options))) or 'none'}")


def _expect_dtype(dtype: np.dtype[Any], wanted: np.dtype[Any]) -> None:
    _expect(dtype == wanted, f"it makes {wanted}, not {dtype}")


def _expect_numbers(inputs: Sequence[Array], dtype: np.dtype[Any]) -> None:
    for x in (*(x.dtype for x in inputs), dtype):
        _expect(x.kind == "f", f"it works on float64 or float32, not on {x}")


def _broadcast(shapes: Sequence[Shape]) -> Shape:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise CompileError(f"its inputs, of shapes {', '.join(map(str, shapes))}, do not broadcast") from None


# ---- the rows: each gives the shape of what it makes -----------------------------------------------------------------


def _elementwise(op: Op, inputs: Sequence[Array], dtype: np.dtype[Any], options: Mapping[str, Any]) -> Shape:
    _expect_inputs(inputs, op.arity)
    _expect_options(options)
    if op in COMPARISONS:
        _expect(dtype == np.bool_, f"it makes bool, not {dtype}")
    else:
        _expect(dtype.kind == "f", f"it makes float64 or float32, not {dtype}")
        for x, slope in zip(inputs, op.derivatives, strict=True):
            _expect(x.dtype.kind != "b" or slope is None, "it takes numbers, not bool")
        if op.name == "pow":  # of integers alone NumPy knows no negative powers
            _expect(any(x.dtype.kind == "f" for x in inputs), "it takes float64 or float32")
    return _broadcast([x.shape for x in inputs])


def _reduced(inputs: Sequence[Array], dtype: np.dtype[Any], options: Mapping[str, Any]) -> Shape:
    _expect_inputs(inputs, 1)
    _expect_options(options, "axis", "keepdims")
    (x,), axes = inputs, options["axis"]
    _expect(type(options["keepdims"]) is bool, "keepdims is true or false")
    known = isinstance(axes, tuple) and all(_is_count(i) and i < x.ndim for i in axes) and len(set(axes)) == len(axes)
    _expect(known, f"axis {_shown(axes)} is no list of axes of an array of shape {x.shape}")
    _expect_numbers(inputs, dtype)
    _expect_dtype(dtype, x.dtype)
    if options["keepdims"]:
        return tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return tuple(n for i, n in enumerate(x.shape) if i not in axes)


def _extreme(inputs: Sequence[Array], dtype: np.dtype[Any], options: Mapping[str, Any]) -> Shape:
    shape = _reduced(inputs, dtype, options)
    _expect(inputs[0].size > 0 or 0 in shape, f"an array of shape {inputs[0].shape} has no elements to choose from")
    return shape


def _matmul(inputs: Sequence[Array], dtype: np.dtype[Any], options: Mapping[str, Any]) -> Shape:
    _expect_inputs(inputs, 2)
    _expect_options(options)
    _expect_numbers(inputs, dtype)
    a, b = (x.shape for x in inputs)
    _expect(len(a) >= 2 and len(b) >= 2 and a[-1] == b[-2], f"matrices of shapes {a} and {b} have no product")
    return (*_broadcast([a[:-2], b[:-2]]), a[-2], b[-1])


def _concatenate(inputs: Sequence[Array], dtype: np.dtype[Any], options: Mapping[str, Any]) -> Shape:
    _expect(len(inputs) > 0, "it takes an input at least")
    _expect_options(options, "axis")
    axis, shapes = options["axis"], [x.shape for x in inputs]
    _expect(_is_count(axis) and axis < len(shapes[0]), f"axis {_shown(axis)} is no axis of an array of shape {shapes[0]}")
    alike = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    _expect(len(alike) == 1 and len({*map(len, shapes)}) == 1, f"arrays of shapes {', '.join(map(str, shapes))} cannot be joined")
    _expect_dtype(dtype, np.result_type(*(x.dtype for x in inputs)))
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def _astype(inputs: Sequence[Array], dtype: np.dtype[Any], options: Mapping[str, Any]) -> Shape:
    _expect_inputs(inputs, 1)
    _expect_options(options, "dtype")
    _expect_dtype(dtype, options["dtype"])
    return inputs[0].shape


def _window(options: Mapping[str, Any], shape: Shape, size: int) -> None:
    """CompileError unless an offset and strides over a shape stay inside of so many elements."""
    offset, strides = options["offset"], options["strides"]
    _expect(_is_whole(offset), f"offset {_shown(offset)} is no whole number")
    known = isinstance(strides, tuple) and len(strides) == len(shape) and all(map(_is_whole, strides))
    _expect(known, f"strides {_shown(strides)} are not those of {len(shape)} axes")
    if 0 not in shape:
        low, high = reach(offset, shape, strides)
        _expect(low >= 0 and high < size, f"it reads elements {low} to {high} of an array of {size}")


def _view(inputs: Sequence[Array], dtype: np.dtype[Any], options: Mapping[str, Any]) -> Shape:
    _expect_inputs(inputs, 1)
    _expect_options(options, "offset", "shape", "strides")
    _expect_dtype(dtype, inputs[0].dtype)
    shape: Any = options["shape"]
    _expect(isinstance(shape, tuple), f"{_shown(shape)} is no shape")
    expect_size(shape)
    _window(options, shape, inputs[0].size)
    return tuple(shape)


def _unview(inputs: Sequence[Array], dtype: np.dtype[Any], options: Mapping[str, Any]) -> Shape:
    _expect_inputs(inputs, 1)
    _expect_options(options, "offset", "strides", "size")
    _expect_numbers(inputs, dtype)
    _expect_dtype(dtype, inputs[0].dtype)
    _expect(_is_count(options["size"]), f"{_shown(options['size'])} is no number of elements")
    _window(options, inputs[0].shape, options["size"])
    return (options["size"],)


def _expect_index(index: Array, rows: int) -> None:
    _expect(
        np.can_cast(index.dtype, np.int64) and index.dtype.kind in "iu", f"an index is of whole numbers, not of {index.dtype}"
    )
    _expect(rows > 0 or index.size == 0, "there are no rows to choose from")
    if index.data is not None and index.data.size:
        low, high = int(index.data.min()), int(index.data.max())
        _expect(-rows <= low and high < rows, f"index {high if high >= rows else low} is out of range for {rows} rows")


def _gather(inputs: Sequence[Array], dtype: np.dtype[Any], options: Mapping[str, Any]) -> Shape:
    _expect_inputs(inputs, 2)
    _expect_options(options)
    x, index = inputs
    _expect(x.ndim > 0, "a single number has no rows")
    _expect_dtype(dtype, x.dtype)
    _expect_index(index, x.shape[0])
    return index.shape + x.shape[1:]


def _scatter(inputs: Sequence[Array], dtype: np.dtype[Any], options: Mapping[str, Any]) -> Shape:
    _expect_inputs(inputs, 2)
    _expect_options(options, "size")
    g, index = inputs
    _expect_numbers([g], dtype)
    _expect_dtype(dtype, g.dtype)
    _expect(_is_count(options["size"]), f"{_shown(options['size'])} is no number of rows")
    _expect(g.shape[: index.ndim] == index.shape, f"rows of shape {g.shape} do not fit an index of shape {index.shape}")
    _expect_index(index, options["size"])
    return (options["size"], *g.shape[index.ndim :])


def _shown(x: Any) -> str:
    text = repr(list(x) if isinstance(x, tuple) else x)
    return text if len(text) <= 40 else f"{text[:37]}..."


_ROWS: dict[str, Callable[[Sequence[Array], np.dtype[Any], Mapping[str, Any]], Shape]] = {
    "sum": _reduced,
    "amax": _extreme,
    "amin": _extreme,
    "matmul": _matmul,
    "concatenate": _concatenate,
    "astype": _astype,
    "view": _view,
    "unview": _unview,
    "gather": _gather,
    "scatter_rows": _scatter,
}
