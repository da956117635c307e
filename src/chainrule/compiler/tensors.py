"""Functions of Tensors as lines of a program: their graph is one of array operations already.

Imports builder, executors, lines, watching, and of the core engine, errors, ops and tensor.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from sys import getrefcount
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import engine, tensor
from chainrule.compiler.builder import Builder
from chainrule.compiler.emit import aligned
from chainrule.compiler.executors import Runner, expect_in_range
from chainrule.compiler.lines import Array, places
from chainrule.compiler.watching import FIRST, watching
from chainrule.engine import inputs_first
from chainrule.errors import CompileError, InputError
from chainrule.ops import Op
from chainrule.tensor import Tensor

Numbers = npt.NDArray[Any]

WHOLE = {"linear", "softmax", "log_softmax", "logsumexp", "cross_entropy", "batch_norm", *(op.name for op in FIRST.values())}
"""Rows that stay one line until gradients are known, because their pullbacks are not those of what they are made of."""


class TracedTensors:
    """A function of Tensors, as lines; see `step.Traced`."""

    def __init__(self, function: Callable[..., Any], params: list[Any], arrays: Sequence[Numbers], dtype: Any) -> None:
        self.function, self.tensors = function, params
        self.first = first = Recorded(function, params, arrays)
        if not _same(first, Recorded(function, params, arrays)):
            raise CompileError(
                "the function does not do the same twice (dropout, a random choice, a counter?); draw before the call and pass "
                "what was drawn as an argument"
            )
        self.single = first.single
        self.expected = [np.array(x._data) for x in first.outputs]
        self.builder = Builder(dtype)
        self.params = [self.builder.input(f"p{i}", p.shape, p.dtype) for i, p in enumerate(params)]
        self.lines: dict[Any, Array] = dict(zip(params, self.params, strict=True))
        self.captured = [x for x in dict.fromkeys((*first.leaves, *first.indices)) if first.is_captured(x)]
        self.sources = [(f"x{k}", x) for k, x in enumerate(first.given)] + [
            (f"captured{k}", x) for k, x in enumerate(self.captured)
        ]
        for name, x in self.sources:
            self.lines[x] = self.builder.input(name, x.shape, self._dtype(x))
        self.bounds: list[tuple[str, Any, str, int]] = []  # (source, places in it, operation, length of what it indexes)
        for node in first.order:
            if node not in self.lines:
                self.lines[node] = self._line(node) if node in first.places else self.builder.constant(node._data)
        self.builder.sources = frozenset()
        self.loss, *self.extras = [self.lines[t] for t in first.outputs]
        self.loss = self.builder.reshape(self.loss, ())
        self.notes: list[str] = []
        self.reached: Any = None
        self.counts: Mapping[Array, int] = Counter(self.lines[node] for node in first.order if node in first.places)

    def _dtype(self, x: Tensor) -> Any:
        """That of the program, for numbers that are widened to it wherever they are used."""
        users = [node for node in self.first.order if node in self.first.places and x in {*node.inputs}]
        widened = x.dtype.kind == "f" and users and all(node.dtype == self.builder.dtype for node in users)
        return self.builder.dtype if widened else x.dtype

    def _line(self, node: Any) -> Array:
        b, op = self.builder, node.op
        b.sources = frozenset({str(self.first.places[node])})
        xs = tuple(self.lines[x] for x in node.inputs)
        if isinstance(op, Op):
            line = b.apply(op, *xs)
        else:
            options = {name: self._option(node, name, x) for name, x in (node.options or {}).items()}
            whole = op.name in WHOLE
            line = b.make(op, xs, node.shape, node.dtype, options) if whole else op.forward(b.math, *xs, **options)
        return b.broadcast_to(b.astype(line, node.dtype), node.shape)

    def _option(self, node: Any, name: str, x: Any) -> Any:
        """An option of a row; where it is an array of indices that came from outside, the line of that."""
        if name == "kept":
            return []
        shape = node.inputs[0].shape
        if name == "index" and isinstance(x, tuple):
            found: list[Any] = []
            for i in x:
                axis = sum(each is not None for each in found)
                if isinstance(i, np.ndarray) and i.dtype.kind == "b":
                    found += i.nonzero()
                else:
                    found.append(self._index(i, node.op.name, shape[min(axis, len(shape) - 1)]))
            return tuple(found)
        return self._index(x, node.op.name, shape[-1] if name == "labels" else shape[0]) if isinstance(x, np.ndarray) else x

    def _index(self, x: Any, operation: str, length: int) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        for name, source in self.sources:
            whole = source._data
            if whole.dtype == x.dtype and np.shares_memory(x, whole):
                offset = (x.__array_interface__["data"][0] - whole.__array_interface__["data"][0]) // whole.itemsize
                strides = tuple(s // whole.itemsize for s in x.strides)
                self.bounds.append((name, None if x.size == whole.size else places(offset, x.shape, strides), operation, length))
                return self.builder.view(self.lines[source], offset, x.shape, strides)
        return x

    def attach(self, runner: Runner) -> None:
        """Know the program's buffers."""
        self.runner = runner
        self.held = [_Held(p, name, runner) for i, p in enumerate(self.tensors) if (name := f"p{i}") in runner.inputs]

    def load(self, arrays: Sequence[Numbers]) -> None:
        """Before a run: fill the buffers. Parameters live in them, so that nothing is copied."""
        inputs = self.runner.inputs
        for held in self.held:
            held.load()
        numbers = {f"x{k}": x for k, x in enumerate(arrays)}
        for k, leaf in enumerate(self.captured):
            numbers[f"captured{k}"] = leaf._data
        for name, at, operation, length in self.bounds:
            x = numbers[name]
            expect_in_range(x if at is None else x.reshape(-1)[at], operation, length)
        for name, x in numbers.items():
            if name in inputs:  # an argument may go unused
                self.runner.feed(name, x)

    def about_to_write(self) -> None:
        """Before a run that updates: graphs that used the parameters are out of date, even if it is interrupted."""
        tensor.written([held.p for held in self.held])

    def deposit(self, names: list[str], updated: bool) -> None:
        """After a run: put the gradients into the parameters. Graphs that used those, if updated, are out of date."""
        for p, name in zip(self.tensors, names, strict=True):
            if name:
                tensor.lend(p, self.runner.outputs[name])
        if updated:
            tensor.written([held.p for held in self.held])

    def fits(self) -> bool:
        """Whether the Tensors from outside of the function have the shapes that they had."""
        return all(leaf._data.shape == self.lines[leaf].shape for leaf in self.captured)

    def plain(self, arrays: Sequence[Numbers]) -> list[Any]:
        """What the function returns when it is not compiled."""
        before = engine._set_recording(True)  # the function may take gradients as nodes
        try:
            returned = self.function(*[Tensor(x) for x in arrays])
        finally:
            engine._set_recording(before)
        return [
            np.asarray(x._data if isinstance(x, Tensor) else x)
            for x in (returned if isinstance(returned, tuple) else (returned,))
        ]

    def explain_failure(self, arrays: Sequence[Numbers]) -> None:
        """Nothing: tensors compute with NaN and infinity as NumPy does."""


class Recorded:
    """One run of the function: the Tensors it was given and returned, and all that is below those.

    order: nodes, inputs first. leaves: those that the function has not computed. places, inside, indices: see Watching.
    """

    def __init__(self, function: Callable[..., Any], params: Sequence[Tensor], arrays: Sequence[Numbers]) -> None:
        self.given = [_tensor(k, x) for k, x in enumerate(arrays)]
        self.params = params
        writes = tensor._writes
        with watching(params, self.given) as notes:
            returned = function(*self.given)
        self.places, self.inside, self.indices = notes.places, notes.inside, notes.indices
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
        self.order = _made_here(self.outputs, self.places)
        self.leaves = [node for node in self.order if node not in self.places]
        for leaf in self.leaves:
            self._expect_no_results_of_parameters(leaf)

    def _expect_no_results_of_parameters(self, leaf: Any) -> None:
        params = {id(p) for p in self.params}
        if leaf.op is not None and any(id(x) in params for x in inputs_first(leaf)):
            user = next(node for node in self.order if any(x is leaf for x in node.inputs))
            raise CompileError(
                f"{self.places[user]}: {leaf.label or 'a Tensor'} was computed from a parameter before the call, and would stay "
                "as it is when the parameter changes; compute it inside of the function"
            )

    def is_captured(self, leaf: Any) -> bool:
        """Whether a leaf comes from outside of the function without being given to it."""
        known = {*self.params, *self.given}  # a list would compare elements
        return leaf not in self.inside and leaf not in known and isinstance(leaf._data, np.ndarray)


def _made_here(roots: Iterable[Any], made: Mapping[Any, Any]) -> list[Any]:
    """`inputs_first`, which does not look below what was there before."""
    done: dict[Any, None] = {}
    stack: list[Any] = list(roots)[::-1]
    while stack:
        node = stack.pop()
        if node is None:
            done[stack.pop()] = None
        elif node not in done:
            stack += (node, None, *(node.inputs if node in made else ()))
    return list(done)


def _tensor(k: int, x: Numbers) -> Tensor:
    if x.dtype.kind not in "fiub":
        raise InputError(f"argument {k + 1} holds {x.dtype}, not numbers")
    return Tensor(x, dtype=np.int64 if x.dtype.kind in "iu" else None)


def _same(one: Recorded, two: Recorded) -> bool:
    """Whether two runs with the same numbers did the same."""
    if len(one.order) != len(two.order) or len(one.indices) != len(two.indices):
        return False
    return all(
        a.op is b.op and a.shape == b.shape and (_same_options(a, b) if a in one.places else a is b or _equal(a, b))
        for a, b in zip(one.order, two.order, strict=True)
    )


def _equal(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a._data, b._data, equal_nan=a.dtype.kind == "f"))


def _same_options(a: Any, b: Any) -> bool:
    for name, x in (a.options or {}).items():
        pairs = zip(*(each if isinstance(each, tuple) else (each,) for each in (x, b.options[name])), strict=False)
        if name != "kept" and any(isinstance(i, np.ndarray) and not np.array_equal(i, j) for i, j in pairs):
            return False
    return True


class _Held:
    """A parameter that lives in a buffer of the program, which reads and writes it there.

    Views share memory: of W.T, or of a clone, nobody knows where it went. But each holds on to its array, so that the
    number of references tells whether there is one; then the program goes on with a buffer of its own, and leaves that.
    A view that another thread takes while the program runs is not seen.
    """

    def __init__(self, p: Tensor, name: str, runner: Runner) -> None:
        self.p, self.name, self.runner = p, name, runner
        self.buffer: Numbers | None = None
        self.memory: Any = None  # of the buffer: what its views refer to
        self.alone = (0, 0)  # references to both when nobody else has any, counted at the first look, when all is in place

    def _move(self) -> None:
        old, self.buffer, self.alone = self.runner.inputs[self.name], None, (0, 0)  # None until it is done: Ctrl-C may come
        buffer = aligned(old.shape, old.dtype)
        self.memory = buffer.base
        self.runner.bind(self.name, buffer)
        self.buffer = buffer

    def load(self) -> None:
        """See to it that the buffer has the parameter's numbers, and that nobody else sees it."""
        p = self.p
        if not p._requires_grad:
            raise InputError(f"parameter {self.name[1:]} has requires_grad=False by now; compile again without it")
        if self.buffer is None:
            self._move()
        own, more = self.alone
        lives_here = p._data is self.buffer  # then the tensor has two references
        if lives_here and getrefcount(self.buffer) == own + 2 and getrefcount(self.memory) == more:
            return
        tensors = lives_here + (getattr(p, "_buffer", None) is self.buffer)
        if own and (getrefcount(self.buffer) > own + tensors or getrefcount(self.memory) > more):
            self._move()
            own = tensors = 0
        if not own:
            self.alone = getrefcount(self.buffer) - tensors, getrefcount(self.memory)
        if self.buffer is not None and p._data is not self.buffer:
            self.buffer[...] = p._data
            tensor.adopt(p, self.buffer)
