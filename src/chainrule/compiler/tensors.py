"""Functions of Tensors as lines of a program: their graph is one of array operations already.

Imports builder, lines, engine, tensor and errors.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import engine, tensor
from chainrule.compiler.builder import Builder
from chainrule.compiler.executors import Runner, expect_in_range
from chainrule.compiler.lines import Array, places
from chainrule.engine import inputs_first
from chainrule.errors import CompileError, InputError
from chainrule.ops import Op
from chainrule.tensor import Tensor

Numbers = npt.NDArray[Any]

WHOLE = {"linear", "softmax", "log_softmax", "logsumexp", "cross_entropy", "batch_norm"}
"""Rows that stay one line until gradients are known: their pullbacks are shorter than those of what they are made of."""


class TracedTensors:
    """A function of Tensors, as lines; see `step.Traced`."""

    def __init__(self, function: Callable[..., Any], params: list[Any], arrays: Sequence[Numbers], dtype: Any) -> None:
        self.function, self.tensors = function, params
        first = Recorded(function, arrays)
        second = _with_other_numbers(function, params, arrays)
        if not _same(first, second):
            raise CompileError(_why(_same(first, Recorded(function, arrays))))
        self.single = first.single
        self.builder = Builder(dtype)
        self.params = [self.builder.input(f"p{i}", p.shape, p.dtype) for i, p in enumerate(params)]
        self.given = [self.builder.input(f"x{k}", t.shape, t.dtype) for k, t in enumerate(first.given)]
        self.first = first
        self.captured: list[Any] = []
        self.bounds: list[tuple[int, Any, str, int]] = []  # (argument, places in it, operation, length of what it indexes)
        self.lines: dict[Any, Array] = dict(zip(params, self.params, strict=True))
        self.lines |= dict(zip(first.given, self.given, strict=True))
        before = set(second.leaves)
        for leaf in first.leaves:
            if leaf not in self.lines:
                self.lines[leaf] = self._leaf(leaf, leaf in before)
        for node in first.order:
            if node.op is not None:
                self.lines[node] = self._line(node)
        self.loss, *self.extras = [self.lines[t] for t in first.outputs]
        self.loss = self.builder.reshape(self.loss, ())
        self.notes: list[str] = []
        self.reached: Any = None
        self.counts: Mapping[Array, int] = Counter(line for node, line in self.lines.items() if node.op is not None)

    def _leaf(self, leaf: Any, captured: bool) -> Array:
        data = leaf._data
        if not isinstance(data, np.ndarray) or not captured:
            return self.builder.constant(data)
        self.captured.append(leaf)
        return self.builder.input(f"captured{len(self.captured) - 1}", leaf.shape, leaf.dtype)

    def _line(self, node: Any) -> Array:
        b, op = self.builder, node.op
        xs = tuple(self.lines[x] for x in node.inputs)
        if node in self.first.extremes:
            row, axis = self.first.extremes[node]
            line = b.sum(xs[0], (axis,), True, row)
        elif isinstance(op, Op):
            line = b.apply(op, *xs)
        else:
            options = {name: self._option(node, name, x) for name, x in (node.options or {}).items()}
            whole = op.name in WHOLE
            line = b.make(op, xs, node.shape, node.dtype, options) if whole else op.forward(b.math, *xs, **options)
        return b.broadcast_to(b.astype(line, node.dtype), node.shape)

    def _option(self, node: Any, name: str, x: Any) -> Any:
        """An option of a row; where it is an array of indices that came as an argument, the line of that."""
        if name == "kept":
            return []
        shape = node.inputs[0].shape
        if name == "index" and isinstance(x, tuple):
            return tuple(self._index(i, node.op.name, shape[min(k, len(shape) - 1)]) for k, i in enumerate(x))
        return self._index(x, node.op.name, shape[-1] if name == "labels" else shape[0]) if isinstance(x, np.ndarray) else x

    def _index(self, x: Any, name: str, length: int) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        for k, (line, given) in enumerate(zip(self.given, self.first.given, strict=True)):
            whole = given._data
            if whole.dtype == x.dtype and np.shares_memory(x, whole):
                offset = (x.__array_interface__["data"][0] - whole.__array_interface__["data"][0]) // whole.itemsize
                strides = tuple(s // whole.itemsize for s in x.strides)
                self.bounds.append((k, None if x.size == whole.size else places(offset, x.shape, strides), name, length))
                return self.builder.view(line, offset, x.shape, strides)
        return x

    def attach(self, runner: Runner) -> None:
        """Know the program's buffers."""
        self.runner = runner
        self.held = [(p, name) for i, p in enumerate(self.tensors) if (name := f"p{i}") in runner.inputs]

    def load(self, arrays: Sequence[Numbers]) -> None:
        """Before a run: fill the buffers. Parameters live in them, so that nothing is copied."""
        inputs = self.runner.inputs
        for p, name in self.held:
            if p._data is not inputs[name]:
                inputs[name][...] = p._data
                tensor.adopt(p, inputs[name])
        for k, at, name, length in self.bounds:
            expect_in_range(arrays[k] if at is None else arrays[k].reshape(-1)[at], name, length)
        for k, x in enumerate(arrays):
            if f"x{k}" in inputs:  # an argument may go unused
                self.runner.feed(f"x{k}", x)
        for i, leaf in enumerate(self.captured):
            self.runner.feed(f"captured{i}", leaf._data)

    def deposit(self, names: list[str]) -> None:
        """After a run: put the gradients into the parameters."""
        for p, name in zip(self.tensors, names, strict=True):
            if name:
                p._grad = self.runner.outputs[name]

    def store(self) -> None:
        """After a run that updated the parameters in the buffers: graphs that used them are out of date."""
        for p, name in self.held:
            tensor.adopt(p, self.runner.inputs[name])

    def plain(self, arrays: Sequence[Numbers]) -> list[Any]:
        """What the function returns when it is not compiled."""
        with engine.no_grad():
            returned = self.function(*[Tensor(x) for x in arrays])
        return [
            np.asarray(x._data if isinstance(x, Tensor) else x)
            for x in (returned if isinstance(returned, tuple) else (returned,))
        ]

    def explain_failure(self, arrays: Sequence[Numbers]) -> None:
        """Nothing: tensors compute with NaN and infinity as NumPy does."""


class Recorded:
    """One run of the function: the tensors it was given and returned, and all that is below those.

    extremes: the nodes by which `max(dim)` and `min(dim)` picked their values, with the row that does that in a program, and
        the axis. (Where several elements are the largest, the gradient goes to the first, and in a program to all of them.)
    """

    def __init__(self, function: Callable[..., Any], arrays: Sequence[Numbers]) -> None:
        self.given = [_tensor(k, x) for k, x in enumerate(arrays)]
        self.extremes: dict[Any, tuple[str, int]] = {}
        writes = tensor._writes
        with self._watching_extremes():
            returned = function(*self.given)
        if tensor._writes != writes:
            raise CompileError(
                "the function assigns the data of a tensor (running statistics of a BatchNorm1d in training?), which a program "
                "cannot do; take batch_norm without running statistics, and calibrate() after training"
            )
        results = returned if isinstance(returned, tuple) else (returned,)
        self.single = not isinstance(returned, tuple)
        if not isinstance(results[0], Tensor) or results[0].size != 1:
            raise CompileError("the function must return its loss, a Tensor of one element, or a tuple of that and other outputs")
        self.outputs = [x if isinstance(x, Tensor) else Tensor(x) for x in results]
        self.order: list[Any] = list(dict.fromkeys(node for root in self.outputs for node in inputs_first(root)))
        self.leaves = [node for node in self.order if node.op is None]

    @contextlib.contextmanager
    def _watching_extremes(self) -> Iterator[None]:
        original, thread = Tensor._extreme, threading.get_ident()

        def extreme(x: Any, name: str, where: Any, dim: Any, *options: Any) -> Any:
            found = original(x, name, where, dim, *options)
            if dim is not None and threading.get_ident() == thread:
                node = found.values
                while node.op is not None and node.op.name != "getitem":  # what squeezed the axis away
                    (node,) = node.inputs
                self.extremes[node] = name, dim % x.ndim
            return found

        with _LOCK:
            Tensor._extreme = extreme  # type: ignore[assignment, method-assign]
            try:
                yield
            finally:
                Tensor._extreme = original  # type: ignore[method-assign]


_LOCK = threading.RLock()


def _tensor(k: int, x: Numbers) -> Tensor:
    if x.dtype.kind not in "fiub":
        raise InputError(f"argument {k + 1} holds {x.dtype}, not numbers")
    return Tensor(x, requires_grad=x.dtype.kind == "f")


def _with_other_numbers(function: Callable[..., Any], params: list[Any], arrays: Sequence[Numbers]) -> Recorded:
    """The function run on the same numbers in another order: what it takes out of tensors, and shapes do not tell, differs."""
    rng = np.random.default_rng(0)
    before = [p._data for p in params]
    try:
        for p in params:
            p._data = _shuffled(rng, p._data)
        with np.errstate(all="ignore"):
            return Recorded(function, [_shuffled(rng, x) for x in arrays])
    finally:
        for p, data in zip(params, before, strict=True):
            p._data = data


def _shuffled(rng: np.random.Generator, x: Numbers) -> Numbers:
    mixed = rng.permutation(x.reshape(-1)).reshape(x.shape)
    return mixed * mixed.dtype.type(1.01) if x.dtype.kind == "f" else mixed  # a single number has no other order


def _same(one: Recorded, two: Recorded) -> bool:
    """Whether two runs did the same but for the numbers of parameters and arguments."""
    if len(one.order) != len(two.order):
        return False
    given = {*one.given, *two.given}
    return all(
        a.op is b.op and a.shape == b.shape and (_same_options(one, a, two, b) if a.op else a in given or a is b or _equal(a, b))
        for a, b in zip(one.order, two.order, strict=True)
    )


def _equal(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a._data, b._data, equal_nan=a.dtype.kind == "f"))


def _same_options(one: Recorded, a: Any, two: Recorded, b: Any) -> bool:
    """Whether the indices of two nodes are equal, or come from an argument."""
    if a in one.extremes:
        return b in two.extremes
    for name, x in (a.options or {}).items():
        y = b.options[name]
        for i, j in zip(*(each if isinstance(each, tuple) else (each,) for each in (x, y)), strict=False):
            if isinstance(i, np.ndarray) and not (np.array_equal(i, j) or any(np.shares_memory(i, t._data) for t in one.given)):
                return False
    return True


def _why(repeats: bool) -> str:
    if repeats:
        return (
            "the function takes numbers out of the program (.data, .item(), a comparison, argmax, no_grad()) or computes indices "
            "from an argument, which would stay as they are now; compute with Tensors, or pass those as another argument"
        )
    return (
        "the function does not do the same twice (dropout, a random choice, a counter, or data that changed?); draw before the "
        "call and pass what was drawn as an argument"
    )
