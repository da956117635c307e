"""The tensor engine: a `Tensor` is an array that remembers how it was made; the same table, the same chain rule.

>>> w = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True, label="w")
>>> loss = ((w @ Tensor([1.0, -1.0])).tanh() ** 2).sum()
>>> loss.backward()
>>> w.grad.round(4)
array([[-0.6397,  0.6397],
       [-0.6397,  0.6397]])

Elementwise operations run the rows of ops.TABLE on arrays; operations that mix elements or change shapes are the rows of
ops.ARRAY_TABLE, whose pullbacks stand beside them. `backpropagate` is the loop of engine.py with one more line, which
undoes broadcasting. A tensor is spelled as in PyTorch, and NumPy's names (`axis`, `keepdims`) are taken beside them.

Left out on purpose: devices, complex numbers, views that share memory for writing. Imports engine, ops, arrays, shapes, errors
and NumPy.
"""

import copy
import functools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from sys import getrefcount
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from chainrule import engine, ops
from chainrule.arrays import Array, ArrayMath, forward_of, mean, one_hot_like, one_hot_rows, reduce
from chainrule.engine import Node
from chainrule.errors import GraphError, InputError, NotANumberError
from chainrule.ops import ArrayOp, Op
from chainrule.shapes import (
    DTYPES,
    REVERSED,
    axes_of,
    axis_of,
    correction_of,
    dtype_of,
    one_of,
    places_of,
    shape_error,
    whole,
    wholes,
)

__all__ = ["MaxMin", "Tensor", "apply", "concatenate", "matmul", "one_hot", "stack"]  # the rest is for the package itself

_WHERE = ops.TABLE["where"]

# ---- what `data` hands out -------------------------------------------------------------------------------------------

# Graphs, views and other tensors share memory, so an array of a tensor is not written to but replaced. Only who changes all
# of it by `x.data -= g` while nobody else holds it, which is what optimisers do, writes into it, and leaves a stamp.
_LOCKED = "the array of a tensor is read-only; change a copy of it and assign that: x.data = changed"


class _Data(np.ndarray[Any, Any]):
    """An array that is not written to: after `d -= g` d is a new one, as with numbers, and `d[0] = 1` is refused.

    whole: the tensor's array; unset in views and copies of this one.
    written: the count of `_writes` when that array was changed in place; unset until then.

    What is computed from it is a plain array; a copy of it may be written to.
    """

    __slots__ = ("whole", "written")
    whole: Array
    written: int
    __array_priority__ = -1.0  # whatever it meets decides on the type of the result

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array[()] if return_scalar or array.ndim == 0 else array

    def __setitem__(self, index: Any, x: Any) -> None:
        if not self.flags.writeable:
            raise InputError(_LOCKED)
        super().__setitem__(index, x)

    def fill(self, x: Any) -> None:
        """Refused, as every other change of elements."""
        self[...] = x

    def copy(self, order: Any = "C") -> Any:
        """A plain array that may be written to."""
        return np.array(self, order=order)

    def __copy__(self) -> Any:
        return np.array(self)

    def __dlpack__(self, **options: Any) -> Any:
        return np.array(self).__dlpack__(**options)  # who imports may write

    def __deepcopy__(self, memo: Any) -> Any:
        return np.array(self)

    def __reduce__(self) -> Any:
        return np.array(self).__reduce__()

    def __repr__(self) -> str:
        return repr(self.view(np.ndarray))


def owned(array: Array) -> _Data:
    """An array that nobody else will write to, as `data` hands it out: as data, operand or index it is not copied."""
    view = array.view(_Data)
    view.setflags(write=False)
    view.whole = array
    return view


def _own(array: Any) -> Any:
    """The array, or a copy of one that somebody may write to."""
    if type(array) is not _Data or array.flags.writeable:
        return np.array(array)
    return array.whole if hasattr(array, "whole") else array.view(np.ndarray)


def _in_place(ufunc: Any) -> Callable[[_Data, Any], Any]:
    """`d += x`: d with the sum; in a new array, of d's shape and dtype, unless d is a copy that may be written to."""

    def changed(d: _Data, x: Any) -> Any:
        if d.flags.writeable:
            return ufunc(d, x, out=d)
        array = _own(d)
        return owned(ufunc(array, x, out=np.empty(array.shape, array.dtype)))  # NumPy's casting, or its refusal

    def at_once(d: _Data, x: Any) -> Any:  # what nearly every step of an optimiser is
        global _writes, _changes
        try:
            array = d.whole
        except AttributeError:
            return changed(d, x)
        # As NumPy does with temporaries: if all references are those of the tensor and of this call, nobody sees the change.
        if (getrefcount(d), getrefcount(array)) == _alone and array.base is None:
            try:
                ufunc(array, x, out=array)
            except (TypeError, ValueError):  # operands that do not fit: nothing has been written
                raise
            except BaseException:  # an overflow, say, that is an error here: by then it has
                d.written = _changes = _writes = _writes + 1
                raise
            d.written = _changes = _writes = _writes + 1
            return d
        return changed(d, x)

    return at_once


for _name, _ufunc in {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "floordiv": np.floor_divide,
    "mod": np.remainder, "pow": np.power, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "lshift": np.left_shift, "rshift": np.right_shift, "matmul": np.matmul,
}.items():  # fmt: skip
    setattr(_Data, f"__i{_name}__", _in_place(_ufunc))


# ---- the tensor ------------------------------------------------------------------------------------------------------

_writes = 0  # how many times any tensor's data was assigned or changed; a node remembers the count at which it was made
_someone_retains = False  # whether retain_grad() has ever been called; backward passes are a little faster before
_changes = 0  # what that was when an array was last changed in place
_alone: Any = None  # how many references there are to a tensor's `data`, and to its array, when nobody else holds them


class MaxMin(NamedTuple):
    """What `max(dim)` and `min(dim)` return, as in PyTorch."""

    values: Any
    indices: Any


class _Size(int):
    """The number of elements, which can be asked for the shape."""

    shape: tuple[int, ...]

    def __call__(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[axis_of(dim, len(self.shape), "size")]


class Tensor(Node):
    """An array in an expression graph.

    data: a number, nested lists of them, a NumPy array, or anything that offers the array protocol (a torch tensor on the
        CPU, say); it is copied. Python floats become float64, as in NumPy.
    requires_grad: True makes a parameter, whose `grad` a backward pass fills (default False, as in PyTorch).
    dtype: float32, float64, int64, int32, uint8 or bool, as a name or a NumPy dtype (default: that of the data).
    label: the name that pictures and error messages show.

    `grad` is None until a backward pass reaches the tensor, then an array of its shape. Comparisons are elementwise;
    hashing goes by identity. Raises NotANumberError for what is no array of real numbers, InputError when a tensor of
    integers shall require a gradient.

    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([[2., 4.],
           [6., 8.]])
    """

    __slots__ = (
        "_buffer", "_data", "_grad", "_label", "_lent", "_made", "_origin", "_requires_grad", "_retained", "_view", "_written",
        "inputs", "op", "options",
    )  # fmt: skip
    __array_priority__ = 100.0  # NumPy arrays and scalars give way to our operators
    __hash__ = object.__hash__

    if TYPE_CHECKING:  # slots, and what `_add_methods` puts here from the table, for type checkers and editors
        op: Any
        inputs: Any
        options: dict[str, Any] | None
        _grad: Array
        _lent: Array
        _retained: bool
        _view: _Data
        _buffer: Array

        def _one(self) -> "Tensor": ...
        def _two(self, other: Any) -> "Tensor": ...

        __neg__ = __abs__ = exp = log = log1p = sqrt = sin = cos = tanh = sigmoid = relu = softplus = _one
        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _two
        __pow__ = __rpow__ = maximum = minimum = _two

        def _over(self, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False) -> "Tensor": ...

        sum = mean = amax = amin = logsumexp = _over

    def __init__(self, data: Any, *, requires_grad: bool = False, dtype: Any = None, label: str = "") -> None:
        self._data = as_array(data, dtype)
        self.op, self.inputs, self.options = None, (), None
        self._made = self._written = 0
        self.requires_grad = requires_grad
        if label != "":
            self.label = label

    @property
    def data(self) -> Array:
        """The array, which is read and replaced, but not written to: `x.data = x.data - g`, or `x.data -= g`.

        Assigning one of the same shape (it is copied) changes this tensor and no other: rows, transposes and other views of
        it keep their numbers, and whoever took `data` before keeps what it was. A graph in which the tensor was used, or of
        which it is a result, is then out of date: its backward pass raises GraphError. Elements cannot be assigned, neither
        here nor through views, ufuncs with `out=` or `numpy()`: InputError, or NumPy's ValueError. So nothing that a
        backward pass needs changes unnoticed; arrays that come into a graph as operands or indices are copied. Only what
        goes past the lock of NumPy's arrays goes past this one, too: `np.add.at`, `.base`, `flags`, torch.from_numpy. And assign
        where you compute: what another thread assigns while an operation runs is not noticed.
        """
        array = self._data
        try:
            if self._view.whole is array:
                return self._view
        except AttributeError:  # asked for the first time
            pass
        if getattr(self, "_buffer", None) is array:  # its owner writes to it
            return owned(array.copy())
        view = owned(array if type(array) is np.ndarray else np.asarray(array))
        if view.whole is array:
            self._view = view
        return view

    @data.setter
    def data(self, x: Any) -> None:
        mine, array = self._data, getattr(x, "whole", None)
        if array is mine:  # as after `x.data += 1`, which leaves a stamp
            return
        if array is not None and type(mine) is np.ndarray and array.shape == mine.shape and array.dtype is mine.dtype:
            self._view = x
        elif type(x) is type(mine) is np.ndarray and x.shape == mine.shape and x.dtype is mine.dtype:
            array = x.copy()
        else:
            array = _own(x) if type(x) is _Data else as_array(x)
            if array.shape != self.shape:
                raise InputError(f"data of shape {array.shape} cannot replace data of shape {self.shape}")
            array = array if array.dtype is self.dtype else array.astype(self.dtype)
        replace(self, array)

    @property
    def grad(self) -> Array | None:
        """d(root)/d(this), of the shape of the data; None until a backward pass reaches it."""
        try:
            g = self._grad
        except AttributeError:
            return None
        if g is getattr(self, "_lent", None):
            g = self._grad = g.copy()
        return g

    @grad.setter
    def grad(self, x: Any) -> None:
        if x is None:
            if hasattr(self, "_grad"):
                del self._grad
            return
        array = np.asarray(x, dtype=self.dtype)
        if array.shape != self.shape:
            raise InputError(f"a gradient of shape {array.shape} does not fit a tensor of shape {self.shape}")
        self._grad = array

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        try:
            shape: tuple[int, ...] = self._data.shape
            return shape
        except AttributeError:  # a constant that is a Python number
            return ()

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> "_Size":
        """The number of elements, as in NumPy; called, as in PyTorch, the shape or the length of an axis.

        >>> x = Tensor([[1.0, 2.0, 3.0]])
        >>> x.size, x.size(), x.size(1)
        (3, (1, 3), 3)
        """
        size = _Size(math.prod(self.shape))
        size.shape = self.shape
        return size

    @property
    def requires_grad(self) -> Any:
        """Whether a backward pass sets `grad`; may be set on what is no result of an operation."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, wanted: Any) -> None:
        if wanted and self.dtype.kind != "f":
            raise InputError(f"only floating-point tensors can require a gradient, not {self.dtype}")
        if self.op is not None and not wanted:
            raise InputError(f"this tensor is the result of {self._op}, which requires a gradient; take .detach()")
        self._requires_grad = bool(wanted)

    @property
    def is_leaf(self) -> "bool":
        """Whether this is no result of a recorded operation."""
        return self.op is None

    def requires_grad_(self, requires_grad: Any = True) -> "Tensor":
        """Set `requires_grad`; returns this tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def dtype(self) -> Any:
        """The type of the elements, as a NumPy dtype."""
        try:
            return self._data.dtype
        except AttributeError:
            return np.asarray(self._data).dtype

    # ---- backward

    def backward(self, gradient: Any = None, *, retain_grad: bool = False) -> None:
        """Set `grad` of every parameter below this tensor; leaves add to what they have.

        gradient: d(loss)/d(this), of this tensor's shape; needed unless the tensor has one element (default 1).
        retain_grad: True also keeps the gradient of every intermediate tensor, `t.retain_grad()` before that of one.

        Raises GraphError when nothing was recorded or data has been assigned since, InputError without a needed gradient.
        """
        engine._check_root(self)
        one = _seed(self, gradient)
        lent = {id(one)}  # arrays that somebody holds already: rules hand on views, and one array to several inputs
        for node, g in _backpropagate(self, one, ArrayMath, _array_of, forget=not retain_grad).items():
            node._grad = node._grad + g if node.op is None and hasattr(node, "_grad") else _its_own(g, lent)

    def retain_grad(self) -> "Tensor":
        """Let backward passes set the `grad` of this tensor, though it is the result of an operation; returns it.

        >>> x = Tensor(3.0, requires_grad=True)
        >>> y = (x * x).retain_grad()
        >>> (2.0 * y).backward()
        >>> float(y.grad)
        2.0
        """
        global _someone_retains
        if not self.requires_grad:
            raise InputError("retain_grad: this tensor requires no gradient")
        self._retained = _someone_retains = True
        return self

    def _gradients(self, create_graph: bool) -> dict[Any, Any]:
        one = _seed(self, None)
        if create_graph:
            return _backpropagate(self, Tensor(one), TensorMath, lambda node: node)
        lent = {id(one)}
        found = _backpropagate(self, one, ArrayMath, _array_of)
        return {node: g if isinstance(g, np.generic) else _its_own(g, lent) for node, g in found.items()}

    def _zero(self, create_graph: bool) -> Any:
        zeros = np.zeros(self.shape, self.dtype)
        return Tensor(zeros) if create_graph else zeros

    # ---- shapes

    def __getitem__(self, index: Any) -> "Tensor":
        if type(index) is tuple:
            index = tuple([i if type(i) in _BASIC else _index(i) for i in index])
        else:
            index = (index if type(index) in _BASIC else _index(index),)
        try:
            data = self._data[index]
        except (ValueError, IndexError) as error:
            raise shape_error("getitem", (self,), error, index=index) from None
        return _node(data, _GETITEM, (self,), {"index": index})

    def reshape(self, *shape: Any) -> "Tensor":
        """The same elements in another shape; one length may be -1."""
        wanted = wholes(shape, "reshape", "a length")
        if -1 in wanted and wanted.count(-1) == 1 and min(wanted) == -1:
            try:
                data = self._data.reshape(wanted)
            except ValueError:
                data = None
            if data is not None:
                return _node(data, _RESHAPE, (self,), {"shape": data.shape})
        return _reshaped(self, wanted)

    view = reshape

    def permute(self, *axes: Any) -> "Tensor":
        """The axes in the order given."""
        n = len(self.shape)
        if {*map(type, axes)} == {int} and {*axes} == {*range(n)} and len(axes) == n:
            return _node(self._data.transpose(axes), _TRANSPOSE, (self,), {"axes": axes})
        given = wholes(axes, "permute", "an axis")
        order = tuple([axis_of(a, n, "permute") for a in given])
        if len(order) != n or len({*order}) != n:
            raise InputError(f"permute: {given} is not an order of the {n} axes of shape {self.shape}")
        return _node(self._data.transpose(order), _TRANSPOSE, (self,), {"axes": order})

    def transpose(self, *axes: int) -> "Tensor":
        """Two axes exchanged, as in PyTorch; without arguments all axes reversed, as in NumPy."""
        n = len(self.shape)
        if not axes:
            return self.T
        if len(axes) != 2:
            given = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
            if len(given) != n:
                raise InputError(f"transpose takes two axes, or all {n}, not {len(given)}")
            return self.permute(*given)
        i, j = axis_of(axes[0], n, "transpose"), axis_of(axes[1], n, "transpose")
        order = [*range(n)]
        order[i], order[j] = j, i
        return _node(self._data.transpose(order), _TRANSPOSE, (self,), {"axes": tuple(order)})

    @property
    def T(self) -> "Tensor":  # noqa: N802 - the field's name
        """All axes reversed."""
        n = len(self.shape)
        return _node(self._data.T, _TRANSPOSE, (self,), {"axes": REVERSED[n] if n < 4 else tuple(range(n))[::-1]})

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> "Tensor":
        """The axes from `start_dim` to `end_dim`, by default all, as one."""
        shape = self.shape or (1,)
        if start_dim == 0 and end_dim == -1:
            return _reshaped(self, (math.prod(shape),))
        first, last = axis_of(start_dim, len(shape), "flatten"), axis_of(end_dim, len(shape), "flatten")
        if first > last:
            raise InputError(f"flatten: axis {first} comes after axis {last}")
        return _reshaped(self, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))

    def squeeze(self, dim: int | None = None, *, axis: int | None = None) -> "Tensor":
        """Without the axes of length 1, or without one of them."""
        dim, shape = one_of(dim, axis, "squeeze"), self.shape
        if dim is None:
            return _reshaped(self, tuple([n for n in shape if n != 1]))
        at = axis_of(dim, len(shape), "squeeze")
        return _reshaped(self, shape[:at] + shape[at + (shape[at] == 1) :])

    def unsqueeze(self, dim: int) -> "Tensor":
        """With a new axis of length 1 at `dim`."""
        shape = self.shape
        at = axis_of(dim, len(shape) + 1, "unsqueeze")
        return _reshaped(self, (*shape[:at], 1, *shape[at:]))

    def expand(self, *shape: Any) -> "Tensor":
        """Repeated to a larger shape, by the rules of broadcasting; -1 keeps a length."""
        wanted, mine = wholes(shape, "expand", "a length"), self.shape
        lead = len(wanted) - len(mine)
        if lead < 0:
            raise InputError(f"expand: shape {mine} does not expand to {wanted}, which has fewer axes")
        kept = wanted[:lead] + tuple([m if n == -1 else n for m, n in zip(mine, wanted[lead:], strict=True)])
        return _apply_array("broadcast_to", (self,), shape=kept)

    def t(self) -> "Tensor":
        """The transpose of a matrix."""
        if self.ndim > 2:
            raise InputError(f"t takes a matrix, not shape {self.shape}; transpose takes two axes")
        return self.transpose()

    def ravel(self) -> "Tensor":
        """All elements in one axis."""
        return self.reshape(-1)

    def swapaxes(self, axis0: int, axis1: int) -> "Tensor":
        """Two axes exchanged."""
        return self.transpose(axis0, axis1)

    def clone(self) -> "Tensor":
        """The same elements as a node of their own; gradients go through it."""
        return self.reshape(self.shape)

    def dim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a tensor without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    # ---- reductions, and sum mean amax amin logsumexp; `dim` and `keepdim` are PyTorch's names for `axis` and `keepdims`

    def var(
        self,
        dim: Any = None,
        unbiased: bool = True,
        keepdim: bool = False,
        *,
        correction: int | None = None,
        ddof: int | None = None,
        axis: Any = None,
        keepdims: bool = False,
        dtype: Any = None,
        out: None = None,
    ) -> "Tensor":
        """The variance: the sum of squared deviations over n - 1, as in PyTorch; unbiased=False or correction=0 divides by n.

        ddof: NumPy's name of the correction, which np.var(x) sets to 0.
        """
        x = self if dtype is None is out else _as_numpy_asks("var", self, dtype, out)
        axes = axes_of(one_of(dim, axis, "var"), self.ndim, "var")
        less = correction_of("var", unbiased, correction, ddof)
        return _apply_array("var", (x,), axis=axes, keepdims=keepdim or keepdims, correction=less)

    def std(
        self,
        dim: Any = None,
        unbiased: bool = True,
        keepdim: bool = False,
        *,
        correction: int | None = None,
        ddof: int | None = None,
        axis: Any = None,
        keepdims: bool = False,
        dtype: Any = None,
        out: None = None,
    ) -> "Tensor":
        """The square root of `var`."""
        x = self if dtype is None is out else _as_numpy_asks("std", self, dtype, out)
        axes = axes_of(one_of(dim, axis, "std"), self.ndim, "std")
        less = correction_of("std", unbiased, correction, ddof)
        var = _apply_array("var", (x,), axis=axes, keepdims=keepdim or keepdims, correction=less)
        if not var._has_zeros():
            return var.sqrt()
        some = cast(Any, var) > 0  # where nothing varies there is no slope; as in PyTorch, it is taken as 0
        return apply(_WHERE, some, apply(_WHERE, some, var, 1.0).sqrt(), 0.0)

    def max(
        self, dim: int | None = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False, out: None = None
    ) -> Any:
        """The largest element; with `dim`, PyTorch's pair (values, indices); with `axis`, NumPy's values."""
        if dim is axis is None and 0 not in (shape := self.shape):
            return _apply_array("amax", (self,), axis=axes_of(None, len(shape), "max"), keepdims=keepdim or keepdims)
        return self._extreme("amax", np.argmax, dim, keepdim, axis, keepdims)

    def min(
        self, dim: int | None = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False, out: None = None
    ) -> Any:
        """The smallest element; with `dim`, PyTorch's pair (values, indices); with `axis`, NumPy's values."""
        if dim is axis is None and 0 not in (shape := self.shape):
            return _apply_array("amin", (self,), axis=axes_of(None, len(shape), "min"), keepdims=keepdim or keepdims)
        return self._extreme("amin", np.argmin, dim, keepdim, axis, keepdims)

    def argmax(
        self, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False, out: None = None
    ) -> "Tensor":
        """The index of the largest element (the first of several), an integer tensor."""
        return self._place("argmax", one_of(dim, axis, "argmax"), keepdim or keepdims)

    def argmin(
        self, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: bool = False, out: None = None
    ) -> "Tensor":
        """The index of the smallest element (the first of several), an integer tensor."""
        return self._place("argmin", one_of(dim, axis, "argmin"), keepdim or keepdims)

    def softmax(self, dim: int | None = None, *, axis: int | None = None) -> "Tensor":
        """exp(x) divided by its sum along `dim`, by default the last axis."""
        return self._along("softmax", one_of(dim, axis, "softmax"))

    def log_softmax(self, dim: int | None = None, *, axis: int | None = None) -> "Tensor":
        """The logarithm of `softmax`, without overflow."""
        return self._along("log_softmax", one_of(dim, axis, "log_softmax"))

    def _along(self, name: str, given: int | None) -> "Tensor":
        dim, n = -1 if given is None else given, len(self.shape)
        if not n:  # a number is a row of one, as in PyTorch
            return self.reshape(1)._along(name, dim).reshape(())
        return _apply_array(name, (self,), axis=dim if type(dim) is int and 0 <= dim < n else axis_of(dim, n, name))

    def _place(self, name: str, dim: Any, keepdim: bool) -> "Tensor":
        at = None if dim is None else axis_of(dim, self.ndim, name)
        try:
            return _make(np.asarray(getattr(np, name)(self._read(), axis=at, keepdims=keepdim)))
        except ValueError as error:
            raise shape_error(name, (self,), error, axis=axes_of(at, self.ndim, name)) from None

    def _extreme(self, name: str, where: Any, dim: Any, keepdim: bool, axis: Any, keepdims: bool) -> Any:
        said, keep, shape = name[1:], keepdim or keepdims, self.shape
        one_of(dim, axis, said)
        axes = axes_of(axis, len(shape), said) if dim is None else (axis_of(dim, len(shape), said),)
        if 0 in shape and any(shape[i] == 0 for i in axes):
            raise shape_error(said, (self,), axis=axes)
        if dim is None:
            return _apply_array(name, (self,), axis=axes, keepdims=keep)
        at = axes[0]
        places = where(self._data, at)
        # PyTorch's gradient: all of it goes to the element at the index.
        index = list(places_of(places.shape))
        index.insert(at, places)
        if keep:
            index = [np.expand_dims(i, at) for i in index]
        chosen = tuple(index)
        return MaxMin(_node(self._data[chosen], _GETITEM, (self,), {"index": chosen}), _make(index[at]))

    # ---- casts, masks and signs

    def to(self, dtype: Any) -> "Tensor":
        """The same elements in another dtype, a name or NumPy's or PyTorch's type; this tensor when it has that already.

        >>> Tensor([1.5, 2.0], requires_grad=True).to("float32").dtype
        dtype('float32')
        """
        wanted = DTYPES[dtype] if type(dtype) is str and dtype in DTYPES else dtype_of(dtype)
        array = self._data
        if wanted == (array.dtype if type(array) is np.ndarray else self.dtype):
            return self
        if wanted.kind != "f":  # whole numbers have no gradient
            return _make(np.asarray(self._read()).astype(wanted))
        return _apply_array("astype", (self,), dtype=wanted)

    astype = to

    def any(self, dim: Any = None, keepdim: Any = False, *, axis: Any = None, keepdims: Any = False) -> "Tensor":
        """Whether some element is not 0."""
        axes = axes_of(one_of(dim, axis, "any"), self.ndim, "any")
        return _make(np.logical_or.reduce(np.asarray(self._read()), axis=axes, keepdims=keepdim or keepdims))

    def all(self, dim: Any = None, keepdim: Any = False, *, axis: Any = None, keepdims: Any = False) -> "Tensor":
        """Whether every element is not 0."""
        axes = axes_of(one_of(dim, axis, "all"), self.ndim, "all")
        return _make(np.logical_and.reduce(np.asarray(self._read()), axis=axes, keepdims=keepdim or keepdims))

    def __pos__(self) -> "Tensor":
        return self

    def square(self) -> "Tensor":
        """Every element times itself."""
        return self * self

    def clamp(self, min: Any = None, max: Any = None) -> "Tensor":
        """What is below `min` is `min`, what is above `max` is `max`; what is at a bound keeps its gradient, as in PyTorch.

        >>> Tensor([-2.0, 0.5, 2.0]).clamp(-1.0, 1.0).tolist()
        [-1.0, 0.5, 1.0]
        """
        y = self if min is None else apply(_WHERE, self < min, min, self)
        return y if max is None else apply(_WHERE, y > max, max, y)

    clip = clamp

    # ---- products

    def __matmul__(self, other: Any) -> "Tensor":
        b = other if type(other) is Tensor else _operand(other)
        return cast(Tensor, NotImplemented) if b is None else matmul(self, b)

    def __rmatmul__(self, other: Any) -> "Tensor":
        a = _operand(other)
        return cast(Tensor, NotImplemented) if a is None else matmul(a, self)

    def matmul(self, other: Any) -> "Tensor":
        """The matrix product: self @ other."""
        return matmul(self, other)

    mm = dot = matmul

    # ---- out of the graph

    def _read(self) -> Any:
        """The numbers, for what is not differentiated: the door out of the graph, at which a compiler can stand."""
        return self._data

    def _as_index(self) -> Any:
        """The same, for an index or labels."""
        return self._data

    def _has_zeros(self) -> bool:
        return bool(np.count_nonzero(self._data) < self._data.size)

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self.size != 1:
            raise InputError(f"item() takes a tensor of one element, not one of shape {self.shape}")
        return np.asarray(self._read()).item()

    def numpy(self) -> Array:
        """The array, to read; the same as `data`."""
        return self.data

    def detach(self) -> "Tensor":
        """A tensor of the same data that is outside of the graph."""
        return Tensor(self._read())

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        return np.asarray(self._read()).tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if self.requires_grad and _is_recording():
            raise GraphError("this tensor requires a gradient, which NumPy would lose; take .numpy() or .detach()")
        if copy is False:
            if dtype is not None and np.dtype(dtype) != self.dtype:
                raise ValueError(f"a tensor of {self.dtype} is not an array of {np.dtype(dtype)} without a copy")
            return self.numpy()
        return np.array(self._read(), dtype=dtype)

    def __dlpack__(self, *, copy: bool | None = None, **request: Any) -> Any:
        if copy is False:  # who imports may write, even where the protocol says that it may not
            raise BufferError("a tensor gives its numbers away as a copy only; take .numpy() for a view to read")
        if self.requires_grad and _is_recording():
            raise BufferError("this tensor requires a gradient, which would be lost; export .detach()")
        return np.array(self._read()).__dlpack__()

    def __dlpack_device__(self) -> Any:
        return (1, 0)  # kDLCPU

    @staticmethod
    def _applied(op: Op, *xs: Any) -> "Tensor":
        if op is _WHERE:
            condition, a, b = xs
            if type(condition) is type(a) is type(b) is Tensor:
                p, q = a._data, b._data
                choose = np.where if type(p) is type(q) is np.ndarray else ArrayMath.where
                try:
                    return _node(choose(condition._data, p, q), op, xs, None)
                except (ValueError, TypeError) as error:
                    raise _operand_error(op, xs, error) from None
            if type(a) is type(b) is float:
                b = np.float64(b)  # of two Python numbers NumPy makes float64
            xs = condition if isinstance(condition, Tensor) else np.asarray(condition), a, b
        return apply(op, *xs)

    def _fields(self) -> tuple[Any, ...]:
        name = self.op.name if self.op else None
        fresh = self.op is None or _outdated(self) is None
        return type(self), name, self.options, self._read(), self.grad, self.label, self.requires_grad, fresh

    @staticmethod
    def _restored(fields: tuple[Any, ...], inputs: Sequence[Any]) -> Any:
        kind, name, options, data, grad, label, requires_grad, fresh = fields
        node = cast(Tensor, kind.__new__(kind))
        node._data, node.options, node.inputs, node._requires_grad = copy.deepcopy(data), options, tuple(inputs), requires_grad
        node.op = (ops.ARRAY_TABLE.get(name) or ops.lookup(name)) if name else None
        node._made, node._written = (_writes if fresh else -1), 0  # the copy of what is out of date is that, too
        if grad is not None:
            node._grad = grad.copy()
        if label:
            node._label = label
        return node

    def __float__(self) -> Any:
        if self.requires_grad and _is_recording():
            return super().__float__()  # says what is lost
        return float(self.item())

    def __int__(self) -> Any:
        return int(float(self)) if self.requires_grad else int(self.item())

    def __index__(self) -> Any:
        if self.dtype.kind not in "iu" or self.size != 1:
            raise TypeError(f"a tensor of {self.dtype} and shape {self.shape} is not one whole number")
        return int(self.item())

    def __bool__(self) -> Any:
        if self.size != 1:
            raise InputError(f"the truth of a tensor of shape {self.shape} is ambiguous; use .numpy().any() or .all()")
        return bool(np.asarray(self._read()).item())

    def __repr__(self) -> str:
        body = np.array2string(np.asarray(self._data), separator=", ", prefix="Tensor(", threshold=100)
        dtype = "" if self.dtype in (np.float64, np.int64, np.bool_) else f", dtype={self.dtype}"
        grad = ", requires_grad=True" if self.requires_grad and self.op is None else f", op={self._op}" if self.op else ""
        return f"Tensor({body}{dtype}{grad}{f', label={self.label!r}' if self.label else ''})"


def as_array(data: Any, dtype: Any = None) -> Array:
    """A copy of `data` as an array of real numbers; NotANumberError, naming what came, when it is none."""
    if isinstance(data, Tensor):
        data = data._read()
    elif isinstance(data, Node):
        raise NotANumberError("a Tensor holds numbers, not Values; take their .data")
    elif hasattr(data, "detach"):  # a torch tensor
        data = _from_torch(data)
    try:
        # Python asks lists and arrays for what they hold; what speaks DLPack alone is imported.
        foreign = hasattr(data, "__dlpack__") and not hasattr(data, "__array__")
        array = np.array(np.from_dlpack(data) if foreign else data)
        array = array if dtype is None else array.astype(dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(data, (list, tuple)) and any(isinstance(x, Tensor) for x in _flat(data)):
            raise NotANumberError(
                "a Tensor holds numbers, not Tensors; stack([...]) joins those and keeps their gradients"
            ) from None
        raise NotANumberError(f"a Tensor holds an array of numbers, not {type(data).__name__}: {error}") from None
    if array.dtype.char == "e":  # half precision
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiub":
        raise NotANumberError(f"a Tensor holds real numbers, not {_first_stranger(data)} (dtype {array.dtype})")
    return array


def _from_torch(data: Any) -> Array:
    data = data.detach().cpu()
    try:
        array: Array = data.numpy()
    except TypeError:  # bfloat16, which NumPy has not
        array = data.float().numpy()
    return array


def _flat(xs: Any) -> Iterator[Any]:
    for x in xs:
        if isinstance(x, (list, tuple)):
            yield from _flat(x)
        else:
            yield x


def _first_stranger(data: Any) -> str:
    for x in np.array(data, dtype=object).flat:
        if not isinstance(x, (int, float, np.number, np.bool_)):
            return f"{type(x).__name__} {x!r}"
    return type(data).__name__


def _operand(x: Any) -> Tensor | None:
    """`x` as a tensor: itself, or a constant; None for anything else, for Python to try the other side.

    A Python number stays one, so that it takes the dtype of what it meets.
    """
    kind = type(x)
    if kind is np.ndarray and x.dtype.kind in "fiub":  # what most operands are, without the questions below
        return _make(x.copy() if _is_recording() else x)
    if kind is float or isinstance(x, (int, float)):
        return _make(x)
    if isinstance(x, Tensor):
        return x
    if isinstance(x, (np.generic, np.ndarray)) and x.dtype.kind in "fiub":
        return _make(_own(x) if isinstance(x, np.ndarray) and _is_recording() else x)
    return Tensor(x) if type(x).__module__ == "torch" and hasattr(x, "detach") else None


def replace(tensor: Tensor, array: Array) -> None:
    """Assign to `data` what nobody else holds and is of the same shape and dtype: nothing is looked at or copied."""
    global _writes
    _writes += 1
    tensor._data, tensor._written = array, _writes


def lend(tensor: Tensor, buffer: Array) -> None:
    """Make an array that its owner will write to again the gradient of a tensor; who asks for `grad` gets a copy."""
    tensor._grad = tensor._lent = buffer


def adopt(tensor: Tensor, buffer: Array) -> None:
    """Let a tensor live in an array that has its numbers: the door of compiled programs, which write there.

    Meanwhile `data` hands out copies. After it has written, the owner of the array calls `written`.
    """
    tensor._data = tensor._buffer = buffer


def written(tensors: Iterable[Tensor]) -> None:
    """Note that their arrays have changed: graphs that used them are out of date."""
    global _writes
    _writes += 1
    for tensor in tensors:
        tensor._written = _writes


_new = object.__new__
_is_recording = engine._is_recording


def _make(data: Any) -> Tensor:
    node = _new(Tensor)
    node._data, node.op, node.inputs = data, None, ()
    node.options, node._requires_grad = None, False
    node._made = node._written = _writes
    return node


def _node(data: Any, op: Any, inputs: tuple[Tensor, ...], options: dict[str, Any] | None) -> Tensor:
    node = _new(Tensor)
    node._data = data
    node._written = 0
    node._made = _writes
    for x in inputs:
        if x._requires_grad:
            if not _is_recording():
                break
            node.op = op
            node.inputs = inputs
            node.options = options
            node._requires_grad = True
            return node
    node.op = node.options = None
    node.inputs = ()
    node._requires_grad = False
    return node


# Most rows say `m.name(inputs, options)` and no more; then that function is called without the detour. Rules may sum as is
# fastest, but who asks for a sum or a mean gets NumPy's, to the last bit.
_NUMPYS = {"sum": reduce, "mean": functools.partial(mean, total=reduce)}
_ROWS: dict[str, tuple[ArrayOp, Any]] = {
    name: (op, _NUMPYS.get(name) or getattr(ArrayMath, name, None) or functools.partial(op.forward, ArrayMath))
    for name, op in ops.ARRAY_TABLE.items()
}
"""Array rows, each with its forward rule on arrays."""


# ---- making nodes ----------------------------------------------------------------------------------------------------


def _apply_array(name: str, inputs: tuple[Tensor, ...], **options: Any) -> Tensor:
    """The result of a row of the array table."""
    op, forward = _ROWS[name]
    try:
        # Most have one input, two or three; to unpack them from a list would be a seventh of what recording costs.
        if len(inputs) == 1:
            data = forward(inputs[0]._data, **options)
        elif len(inputs) == 2:
            data = forward(inputs[0]._data, inputs[1]._data, **options)
        elif len(inputs) == 3:
            data = forward(inputs[0]._data, inputs[1]._data, inputs[2]._data, **options)
        else:
            data = forward(*[x._data for x in inputs], **options)
    except AttributeError:  # a constant that is a Python number
        if all(isinstance(x._data, (np.ndarray, np.generic)) for x in inputs):
            raise
        return _apply_array(name, tuple([Tensor(x) if isinstance(x._data, (int, float)) else x for x in inputs]), **options)
    except (ValueError, IndexError) as error:
        raise shape_error(name, inputs, error, **options) from None
    return _node(data, op, inputs, options)


# What only moves elements takes less time than finding its row; these few reach theirs at once.
_RESHAPE, _TRANSPOSE, _GETITEM, _EMBEDDING = (ops.ARRAY_TABLE[name] for name in ("reshape", "transpose", "getitem", "embedding"))


def _reshaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    try:
        data = x._data.reshape(shape)
    except ValueError:
        data = None
    if data is None or data.shape != shape:  # NumPy takes any negative length for a -1
        raise shape_error("reshape", (x,), shape=shape)
    return _node(data, _RESHAPE, (x,), {"shape": shape})


def looked_up(table: Tensor, index: Array) -> Tensor:
    """Rows of a table, as the row "embedding" has them; IndexError for an index past its end. A negative one wraps."""
    return _node(table._data.take(index, 0), _EMBEDDING, (table,), {"index": index})


def apply(op: Op, *xs: Any) -> Tensor:
    """The result of an elementwise row at these tensors, arrays or numbers, broadcast together.

    Raises InputError naming the operation and the shapes when they do not broadcast, NotANumberError for other operands.
    """
    if len(xs) != op.arity:
        raise InputError(f"{op.name} takes {op.arity} inputs, not {len(xs)}")
    inputs = tuple([Tensor(x) if (node := _operand(x)) is None else node for x in xs])
    try:
        data = forward_of(op)(ArrayMath, *[x._data for x in inputs])
    except (ValueError, TypeError, OverflowError) as error:
        raise _operand_error(op, inputs, error) from None
    return _node(data, op, inputs, None)


def _operand_error(op: Op, inputs: Sequence[Tensor], error: Exception) -> InputError:
    if isinstance(error, ValueError):
        return shape_error(op.name, inputs, error)
    if isinstance(error, OverflowError):
        return InputError(f"{op.name}: {error}; cast with .to()")
    return InputError(
        f"{op.name} of {' and '.join(str(x.dtype) for x in inputs)}: {str(error).partition(',')[0]}; cast with .to()"
    )


def matmul(a: Any, b: Any) -> Tensor:
    """The matrix product; vectors are rows on the left and columns on the right, axes before the last two broadcast.

    >>> matmul([[1.0, 2.0]], [3.0, 4.0]).tolist()
    [11.0]
    """
    if type(a) is not Tensor or type(b) is not Tensor:
        a, b = (x if isinstance(x, Tensor) else Tensor(x) for x in (a, b))
    p, q = a.shape, b.shape
    if 0 < len(p) <= 2 and 0 < len(q) <= 2 and p[-1] == q[0]:
        return _apply_array("matmul", (a, b))  # what nearly every product is, without the questions below
    if not p or not q:
        raise InputError(f"matmul takes tensors with axes, not shapes {p} and {q}; use * for a number")
    left, right = (a.unsqueeze(0) if len(p) == 1 else a), (b.unsqueeze(1) if len(q) == 1 else b)
    if left.shape[-1] != right.shape[-2]:
        raise InputError(
            f"matmul: shapes {p} and {q} do not fit: axis {len(p) - 1} of the first has length {left.shape[-1]}, "
            f"axis {max(len(q) - 2, 0)} of the second {right.shape[-2]}"
        )
    y = _apply_array("matmul", (left, right))  # of stacks, where vectors become matrices
    if len(p) == 1:
        y = y.squeeze(-2)
    return y.squeeze(-1) if len(q) == 1 else y


def concatenate(tensors: Iterable[Any], dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """Tensors joined along an axis they have, by default the first; PyTorch's cat.

    >>> concatenate([Tensor([1.0]), Tensor([2.0, 3.0])]).tolist()
    [1.0, 2.0, 3.0]
    """
    return _joined("concatenate", tensors, dim if axis is None else one_of(dim, axis, "concatenate"), 0)


def stack(tensors: Iterable[Any], dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """Tensors of one shape along a new axis, by default the first.

    >>> stack([Tensor([1.0, 2.0]), Tensor([3.0, 4.0])], dim=1).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    return _joined("stack", tensors, dim if axis is None else one_of(dim, axis, "stack"), 1)


def _joined(name: str, tensors: Iterable[Any], given: int | None, more: int) -> Tensor:
    dim = 0 if given is None else given
    parts, arrays = [], []
    for x in tensors:  # one loop: each comprehension would cost as much as an element
        part = x if type(x) is Tensor else Tensor(x)
        parts.append(part)
        arrays.append(part._data)
    if not parts:
        raise InputError(f"{name} needs at least one tensor")
    ndim = parts[0].ndim + more
    axis = dim if type(dim) is int and 0 <= dim < ndim else axis_of(dim, ndim, name)
    try:
        data = getattr(np, name)(arrays, axis)
    except ValueError as error:
        raise shape_error(name, parts, error, axis=axis) from None
    return _node(data, ops.ARRAY_TABLE[name], tuple(parts), {"axis": axis})


def one_hot(labels: Any, num_classes: int | None = None) -> Tensor:
    """For each label a row of zeros with a one at its place, float64.

    labels: integers from 0, of any shape; num_classes: the length of the new last axis (default, and -1: the largest label + 1).

    >>> one_hot([0, 2]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    index = as_array(labels)
    if index.dtype.kind not in "iu":
        raise InputError(f"one_hot takes integer labels, not {index.dtype}")
    largest = int(index.max()) if index.size else -1
    count = largest + 1 if num_classes in (None, -1) else whole(num_classes, "one_hot", "num_classes")
    if count < 0:
        raise InputError(f"one_hot: num_classes is a whole number from 0, not {count}")
    if index.size and (index.min() < 0 or index.max() >= count):
        wrong = index.min() if index.min() < 0 else index.max()
        classes = f"{count} classes are 0 to {count - 1}" if count else "there are no classes"
        raise InputError(f"one_hot: label {wrong} is out of range; {classes}")
    return Tensor(one_hot_rows(index, count, np.float64))


_BASIC = {int, slice, type(None), type(Ellipsis)}


def _index(i: Any) -> Any:
    if isinstance(i, Tensor):
        i = i._as_index()
        if type(i) is np.ndarray and i.dtype.kind == "i" and i.size:
            return i
    elif isinstance(i, np.ndarray):
        i = _own(i)
        if i.dtype.kind in "iub" and i.size and i.ndim:
            return i
    if isinstance(i, (int, np.integer, slice, type(None), type(Ellipsis))) and not isinstance(i, (bool, np.bool_)):
        return i
    array = np.asarray(i)
    if array.dtype.kind not in "iub" and array.size:
        raise InputError(f"an index is made of integers, slices or booleans, not {array.dtype}")
    return array if array.size else array.astype(np.int64)


# ---- the backward pass -----------------------------------------------------------------------------------------------


_array_of, _wanted = operator.attrgetter("_data"), operator.attrgetter("_requires_grad")


def _seed(root: Tensor, gradient: Any) -> Array:
    if gradient is None:
        if root._data.size != 1:
            raise InputError(
                f"backward from a tensor of shape {root.shape} needs a gradient of that shape; reduce it first, say with .sum()"
            )
        # A scalar for a scalar: NumPy computes with it ten times as fast as with an array without axes.
        return root._data.dtype.type(1) if root._data.shape == () else np.ones(root._data.shape, root._data.dtype)
    array = np.asarray(gradient._data if isinstance(gradient, Tensor) else gradient, dtype=root.dtype)
    if array.shape != root.shape:
        raise InputError(f"the gradient has shape {array.shape}, but the tensor {root.shape}")
    return array


def _backpropagate(root: Tensor, one: Any, m: Any, number: Callable[[Tensor], Any], forget: bool = False) -> dict[Any, Any]:
    """The chain rule, outputs first, on arrays or on tensors: what `number` gives for a node, in the namespace `m`.

    forget: whether the gradients of results may go as soon as they have been handed on.
    """
    grads: dict[Any, Any] = {root: one}
    take = grads.pop if forget else grads.get
    retained: dict[Any, Any] = {}
    for node in reversed(_operations(root)):
        g = take(node, None)
        if g is None:
            continue
        if _someone_retains and getattr(node, "_retained", False):
            retained[node] = g
        if node._made != _writes:  # something has been assigned since
            expect_up_to_date(node)
        inputs = node.inputs
        for x, dx in zip(inputs, _pull(node, m, g, number(node), list(map(number, inputs))), strict=True):
            if dx is not None and x._requires_grad:
                data = x._data  # an array: what requires a gradient is never a Python number
                if dx.shape != data.shape or dx.dtype is not data.dtype:
                    dx = _fit(m, dx, data)
                grads[x] = grads[x] + dx if x in grads else dx
    return grads | retained if retained else grads


def _operations(root: Tensor) -> list[Any]:
    """The results of operations below `root`, as `engine.inputs_first` would list them; leaves have nothing to pull back."""
    done: dict[Any, None] = {}
    stack: list[Any] = [root] if root.op is not None else []
    while stack:
        node = stack.pop()
        if node is None:
            done[stack.pop()] = None
        elif node not in done:
            stack += (node, None)
            stack += [x for x in node.inputs if x.op is not None]
    return list(done)


def _its_own(g: Any, lent: set[int]) -> Array:
    """A gradient as an array that nobody else has: rules hand on views, and one array to several inputs. lent: the ids so far."""
    if type(g) is not np.ndarray or g.base is not None or id(g) in lent:
        return np.array(g)
    lent.add(id(g))
    return g


def _pull(node: Tensor, m: Any, g: Any, y: Any, xs: Sequence[Any]) -> Sequence[Any]:
    """The gradients of a node's inputs, before broadcasting is undone; None where there is none."""
    op = node.op
    if type(op) is ArrayOp:
        return op.pull(m, list(map(_wanted, node.inputs)), g, y, xs, node.options or {})
    if len(xs) == 1:
        return (_times(g, op.derivatives[0](m, y, xs[0])),)
    try:
        return [
            _times(g, rule(m, y, *xs)) if rule is not None and x._requires_grad else None
            for rule, x in zip(op.derivatives, node.inputs, strict=True)
        ]
    except (ZeroDivisionError, OverflowError):  # of a Python number, where an array has infinity
        arrays = [_as_an_array(x, y.dtype) for x in xs]
        if all(a is x for a, x in zip(arrays, xs, strict=True)):
            raise
        return _pull(node, m, g, y, arrays)


def _as_an_array(x: Any, dtype: Any) -> Any:
    """A constant, or a tensor of one, that is a Python number as an array, or a tensor of one; else what came."""
    number = x._data if isinstance(x, Tensor) else x
    if isinstance(number, (np.ndarray, np.generic)):
        return x
    return Tensor(number, dtype=dtype) if isinstance(x, Tensor) else np.asarray(number, dtype)


def _times(g: Any, slope: Any) -> Any:
    return g if type(slope) is float and slope == 1.0 else g * slope


def _fit(m: Any, dx: Any, data: Array) -> Any:
    """Undo broadcasting: sum over what was repeated; and return to the dtype of the data."""
    shape, given = data.shape, dx.shape
    if given != shape:
        lead = len(given) - len(shape)
        repeated = [i for i, n in enumerate(shape, lead) if n == 1 and given[i] != 1]
        dx = m.sum(dx, axis=(*range(lead), *repeated), keepdims=not lead)
        if dx.shape != shape:
            dx = m.reshape(dx, shape=shape)
    return dx if dx.dtype == data.dtype else m.astype(dx, dtype=data.dtype)


def expect_up_to_date(node: Tensor) -> None:
    """GraphError for a result when its data, or that of an input, has been assigned since."""
    x = _outdated(node)
    if x is not None:
        raise GraphError(
            f"the data of {x.label or 'a tensor'} {x.shape} was assigned after {node._op} had used it, so this graph is "
            "out of date; run the forward pass again before backward()"
        )


def _outdated(node: Tensor) -> Any:
    """Of a result and its inputs the first whose data has been assigned since it was made."""
    made = node._made
    for x in (node, *node.inputs):
        if x._written > made or (_changes > made and getattr(getattr(x, "_view", None), "written", 0) > made):
            return x
    return None


# ---- the methods and functions of the table --------------------------------------------------------------------------


def _unary(op: Op) -> Callable[[Tensor], Tensor]:
    forward = forward_of(op)

    def method(x: Tensor) -> Tensor:
        try:
            return _node(forward(ArrayMath, x._data), op, (x,), None)
        except (TypeError, OverflowError) as error:
            raise _operand_error(op, (x,), error) from None

    return method


def _binary(op: Op) -> Callable[[Tensor, Any], Tensor]:
    forward = op.forward

    def method(a: Tensor, b: Any) -> Tensor:
        if type(b) is not Tensor and (b := _operand(b)) is None:
            return cast(Tensor, NotImplemented)
        try:
            return _node(forward(ArrayMath, a._data, b._data), op, (a, b), None)
        except (ValueError, TypeError, OverflowError) as error:
            raise _operand_error(op, (a, b), error) from None

    return method


def _swapped(method: Callable[[Tensor, Any], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    def swapped(b: Tensor, a: Any) -> Tensor:
        return cast(Tensor, NotImplemented) if (node := _operand(a)) is None else method(node, b)

    return swapped


def _reduction(name: str) -> Callable[..., Tensor]:
    def method(
        x: Tensor,
        dim: Any = None,
        keepdim: Any = False,
        *,
        axis: Any = None,
        keepdims: Any = False,
        dtype: Any = None,
        out: Any = None,
    ) -> Tensor:
        if dtype is not None or out is not None:
            x = _as_numpy_asks(name, x, dtype, out)
        axes = axes_of(dim if axis is None else one_of(dim, axis, name), len(x.shape), name)
        return _apply_array(name, (x,), axis=axes, keepdims=keepdim or keepdims)

    return method


def _as_numpy_asks(name: str, x: Tensor, dtype: Any, out: Any) -> Tensor:
    """For np.sum(x) and its like, which pass `dtype` and `out` on."""
    if out is not None:
        raise InputError(f"{name}: a tensor's result is a new tensor; leave out `out`")
    return x if dtype is None else x.to(dtype)


def _comparison(name: str) -> Callable[[Tensor, Any], Tensor]:
    compare = getattr(operator, name)

    def method(a: Tensor, b: Any) -> Tensor:
        if (x := _operand(b)) is None:
            return cast(Tensor, NotImplemented)
        try:
            return _make(compare(a._data, x._data))
        except ValueError as error:
            raise shape_error(name.strip("_"), (a, x), error) from None
        except TypeError:
            raise InputError(f"{name.strip('_')} takes bools or whole numbers, not {a.dtype} and {x.dtype}") from None

    return method


def _inverted(x: Tensor) -> Tensor:
    kind = x.dtype.kind
    if kind == "f":
        raise InputError(f"~ takes bools or whole numbers, not {x.dtype}")
    return -1 - x if kind == "i" else _make(np.invert(np.asarray(x._read())))


def _cast(dtype: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: x.to(dtype)


def _add_methods() -> None:
    for op in ops.BUILT_IN:
        if op.arity == 1:
            _add_method(op.method, _unary(op), op.doc)
        elif op.arity == 2:
            _add_method(op.method, _binary(op), op.doc)
            if op.method.startswith("__"):
                _add_method(op.method.replace("__", "__r", 1), _swapped(_binary(op)), op.doc)
    for name in ("sum", "mean", "amax", "amin", "logsumexp"):
        _add_method(name, _reduction(name), f"{ops.ARRAY_TABLE[name].doc} All of them, one, or several.")
    for name in ("lt", "le", "gt", "ge", "eq", "ne"):
        _add_method(f"__{name}__", _comparison(name), f"Elementwise, as operator.{name}.")
    for name in ("and", "or", "xor"):
        method = _comparison(f"__{name}__")
        _add_method(f"__{name}__", method, f"Elementwise, of bools or whole numbers, as operator.__{name}__.")
        _add_method(f"__r{name}__", _swapped(method), f"Elementwise, as operator.__{name}__.")
    _add_method("__invert__", _inverted, "Not, of bools; all bits, of whole numbers.")
    for name, dtype in {"float": np.float32, "double": np.float64, "long": np.int64, "bool": np.bool_}.items():
        _add_method(name, _cast(dtype), f"In {np.dtype(dtype)}.")
    _add_method("pow", Tensor.__pow__, "The power: self ** other.")


def _add_method(name: str, method: Any, doc: str) -> None:
    method.__name__, method.__qualname__, method.__doc__ = name, f"Tensor.{name}", doc
    setattr(Tensor, name, method)


def _tensor_math() -> SimpleNamespace:
    """`m` for tensors: the rows of both tables as functions, so that a gradient computed with it can be differentiated."""

    def array(name: str) -> Callable[..., Tensor]:
        return lambda x, *others, **options: _apply_array(name, (x, *others), **options)

    names: dict[str, Any] = {name: functools.partial(apply, ops.TABLE[name]) for name in ops.INTRINSICS}
    names |= {name: array(name) for name in ops.ARRAY_TABLE}
    names |= {"swap": lambda x: x.transpose(-1, -2), "kept": lambda kept, make: make(), "one_hot": one_hot_like}
    return SimpleNamespace(**names)


class _Counts:
    """In the place of `_alone`: remembers what it is compared with."""

    __hash__ = None  # type: ignore[assignment]
    seen: Any = None

    def __eq__(self, counts: object) -> bool:
        self.seen = counts
        return False


def _count_references() -> Any:
    """What `_alone` is, which is for each Python to say."""
    global _alone
    _alone = counts = _Counts()
    x = Tensor([0.0])
    x.data += 0.0
    return counts.seen


_alone = _count_references()
_add_methods()
TensorMath = _tensor_math()
