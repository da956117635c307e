"""The plan of a program, as native/executor.c reads it: `emit`.

Gives every node a place in a buffer (those that are never needed at the same time share memory), and writes the steps of a
schedule as instructions. Imports groups, layout, lowered, schedule, lines and errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.compiler.groups import REDUCTIONS, Group, GroupWriter, Work, joined, over
from chainrule.compiler.layout import collapsed, refined, restride, size_of
from chainrule.compiler.lines import contiguous
from chainrule.compiler.lowered import LARGE_PRODUCT, Lowering
from chainrule.compiler.nodes import Access, Node
from chainrule.compiler.schedule import Schedule, Step, Unit, reduced_strides
from chainrule.errors import InputError

Shape = tuple[int, ...]

_GROUP, _MATMUL, _COPY, _FILL, _GATHER, _SCATTER, _CHECK = range(7)
_NUMBERS, _INTS, _NUMBERS_TO_INTS, _NUMBERS_TO_BOOLS = range(4)

LINE = 64  # bytes of a cache line; every buffer starts at one


@dataclass(slots=True)
class Plan:
    """What native.py hands to the executor.

    code: the instructions. buffers: NumPy arrays, with their `names`. inputs, outputs: which of the buffers, by name.
    work: roughly how many nanoseconds a run takes.
    """

    code: npt.NDArray[np.int64]
    buffers: list[npt.NDArray[Any]]
    names: list[str]
    inputs: dict[str, int]
    outputs: dict[str, int]
    work: float


def aligned(shape: Shape, dtype: Any) -> npt.NDArray[Any]:
    """An array that starts at a cache line; of zeros, unless it is large."""
    dtype = np.dtype(dtype)
    raw = np.empty(size_of(shape) * dtype.itemsize + LINE, np.uint8)  # which, unlike zeros, asks for large pages
    if raw.size < 1 << 20:
        raw[...] = 0
    start = -raw.ctypes.data % LINE
    array: npt.NDArray[Any] = raw[start : start + size_of(shape) * dtype.itemsize].view(dtype).reshape(shape)
    return array


class Emitter:
    """Writes the plan of one program."""

    def __init__(self, lowered: Lowering, schedule: Schedule, rows: list[str]) -> None:
        self.lowered, self.schedule, self.dtype = lowered, schedule, lowered.dtype
        self.rows = {name: i for i, name in enumerate(rows)}
        self.buffers: list[npt.NDArray[Any]] = [np.zeros(0), np.zeros(0)]  # 0: numbers that come and go, 1: integers
        self.names = ["", ""]
        self.inputs: dict[str, int] = {}
        self.outputs: dict[str, int] = {}
        self.where: dict[int, tuple[int, int]] = {}
        self.carry: dict[str, int] = {}  # from outputs to the buffers of inputs
        self._gone: set[int] = set()  # inputs that have been written over
        self.code: list[int] = []
        self.count = 0
        self.work = 0.0

    def emit(self, carry: Mapping[str, str]) -> Plan:
        """The plan; carry: from outputs to the inputs that take their values at the end."""
        self._buffers()
        self.carry = {output: self._expect_carried(output, name) for output, name in carry.items()}
        self._arenas()
        self._checks()
        for step in self.schedule.steps:
            if step.size:
                self._group(step)
            else:
                self._single(step.units[0])
        for output, number in self.carry.items():
            if self.outputs[output] != number:
                size = self.buffers[number].size
                self._write(_COPY, _NUMBERS, 0, 1, size, number, 0, 1, self.outputs[output], 0, 1)
        code = np.array([self.count, *self.code], np.int64)
        return Plan(code, self.buffers, self.names, self.inputs, self.outputs, self.work)

    def _write(self, kind: int, *numbers: int) -> None:
        self.count += 1
        self.code.append(kind)
        self.code.extend(numbers)

    # -- memory

    def _buffer(self, array: npt.NDArray[Any], name: str = "") -> int:
        self.buffers.append(array)
        self.names.append(name)
        return len(self.buffers) - 1

    def _dtype(self, node: Node) -> Any:
        return {"n": self.dtype, "i": np.int64, "b": np.bool_}[node.type]

    def _buffers(self) -> None:
        for node in self.lowered.nodes:
            if node.kind == "input":
                if node.name not in self.inputs:
                    self.inputs[node.name] = self._buffer(aligned(node.shape, self._dtype(node)), node.name)
                self.where[id(node)] = (self.inputs[node.name], 0)
            elif node.kind == "constant":
                array = aligned(node.shape, self._dtype(node))
                array[...] = node.data
                self.where[id(node)] = (self._buffer(array, "a constant"), 0)
        for name, access in self.lowered.outputs.items():
            self.outputs[name] = self._buffer(aligned(access.shape, self._dtype(access.node)), name)
            self.where[id(access.node)] = (self.outputs[name], 0)

    def _arenas(self) -> None:
        """Places for what lives within a run: from its first write to its last use."""
        for number, kind in enumerate("ni"):
            waiting: dict[int, list[tuple[int, Node]]] = {}
            for node in self.lowered.nodes:
                if node.type == kind and id(node) not in self.where and node.target is None and self._kept(node):
                    first, last = self._life(node)
                    waiting.setdefault(first, []).append((last, node))
            itemsize = 8 if kind == "i" else self.dtype.itemsize
            size = _shared(waiting, len(self.schedule.steps), LINE // itemsize, lambda node, at, n=number: self._put(node, n, at))
            self.buffers[number] = aligned((size,), np.int64 if kind == "i" else self.dtype)

    def _put(self, node: Node, buffer: int, at: int) -> None:
        self.where[id(node)] = (buffer, at)

    def _kept(self, node: Node) -> bool:
        """Whether a node needs memory: not what only its own group uses, element by element."""
        if id(node) in self.where or node.target is not None:
            return True
        units = self.schedule.done.get(id(node))
        if units is None:  # without elements
            return True
        maker = units[0]
        return node.kind not in ("row", "load") or not all(u.step is maker.step and u.sees(maker) for u in maker.before)

    def _life(self, node: Node) -> tuple[int, int]:
        units = self.schedule.done.get(id(node), [])
        times = [u.step.number for u in units] + [u.step.number for unit in units for u in unit.before]
        return (min(times), max(times)) if times else (0, 0)

    def _at(self, node: Node) -> tuple[int, int]:
        """The buffer of a node, and where it starts."""
        if node.target is not None:
            buffer, offset = self.where[id(node.target.node)]
            return buffer, offset + node.target.offset
        return self.where[id(node)]

    def _window(self, x: Access, shape: Shape, strides: Shape | None = None) -> tuple[int, ...]:
        """An operand: buffer, offset and strides."""
        buffer, offset = self._at(x.node)
        return (buffer, offset + x.offset, *(x.strides if strides is None else strides))

    def _expect_carried(self, output: str, name: str) -> int:
        if output not in self.outputs or name not in self.inputs:
            raise InputError(f"{output!r} and {name!r} are not an output and an input of the program")
        new, old = self.buffers[self.outputs[output]], self.buffers[self.inputs[name]]
        if new.shape != old.shape or new.dtype != old.dtype or new.dtype != self.dtype:
            raise InputError(
                f"{output!r}, {new.dtype} of shape {new.shape}, cannot be carried to {name!r}, {old.dtype} of shape {old.shape}"
            )
        return self.inputs[name]

    # An output that is carried can be written over the input at once, if by then nobody needs the old numbers.

    def _written_over(self, step: Step, group: Group, work: list[Work]) -> list[Work]:
        """The work of a group, with what is carried written where it belongs as far as that can be."""
        for output, number in self.carry.items():
            node = self.lowered.outputs[output].node
            done = self.schedule.done.get(id(node), [])
            if node.kind == "row" and done and done[0].step is step and self._is_last(step, number):
                changed = over(work, group, self._at(node)[0], number, self._gone)
                if changed is not None:
                    work = changed
                    self._gone.add(number)
                    self.where[id(node)] = (number, 0)
                    self.outputs[output] = number
        return work

    def _is_last(self, step: Step, number: int) -> bool:
        """Whether nobody reads a buffer after a step, and no run can stop between."""
        indices = (x for node in self.lowered.nodes for _, x in _indexed(node))
        if number in self._gone or any(x.node.kind not in ("input", "constant") for x in indices):
            return False
        for node in self.lowered.nodes:
            if self.where.get(id(node), (-1, 0))[0] == number and node.kind == "input":
                units = (unit for s in self.schedule.steps for unit in s.units)
                if any(x.node is node and unit.step.number > step.number for unit in units for x in unit.inputs):
                    return False
        return True

    # -- single units

    def _checks(self) -> None:
        """Indices that are given are looked at before anything is changed."""
        for node in self.lowered.nodes:
            for rows, index in _indexed(node):
                if index.node.kind == "input":
                    n = size_of(index.shape)
                    self._write(_CHECK, n, rows, 1, *self._window(index, (n,), (1,)))

    def _single(self, unit: Unit) -> None:
        node = unit.node
        if unit.what == "zeros":
            self._fill(node, 0)
        elif unit.what == "part":
            self._part(unit)
        elif node.kind == "matmul":
            self._matmul(node)
        elif node.kind == "gather":
            self._gather(node)
        elif node.kind in ("ints", "bools"):
            self._convert(node)
        else:  # a reduction of nothing
            self._fill(node, 0)

    def _fill(self, node: Node, value: int) -> None:
        self._write(_FILL, value, node.size, *self._at(node), 1)
        self.work += node.size * 0.1

    def _part(self, unit: Unit) -> None:
        part, node = unit.part, unit.node
        assert part is not None
        x, (buffer, offset) = part.source, self._at(node)
        self.work += size_of(x.shape)
        if part.index is not None:
            count, length = x.shape[0], size_of(x.shape[1:])
            step = x.strides[0] if count != 1 else length
            self._write(_SCATTER, count, part.rows, length, *self._window(part.index, (count,), (1,)),
                        buffer, offset, length, 1, *self._window(x, (), (step, 1)))  # fmt: skip
            return
        shape, (to, of) = collapsed(x.shape, [part.strides, x.strides])
        self._write(
            _COPY, _NUMBERS, int(part.adds), len(shape), *shape, buffer, offset + part.offset, *to, *self._window(x, shape, of)
        )

    def _convert(self, node: Node) -> None:
        x = node.inputs[0]
        code = _NUMBERS_TO_BOOLS if node.kind == "bools" else _INTS if x.node.type == "i" else _NUMBERS_TO_INTS
        self._write(_COPY, code, 0, len(x.shape), *x.shape, *self._at(node), *contiguous(x.shape), *self._window(x, x.shape))
        self.work += 3 * node.size

    def _gather(self, node: Node) -> None:
        x, index = node.inputs
        count, length = size_of(index.shape), size_of(x.shape[1:])
        step = x.strides[0] if x.shape[0] != 1 else length
        self._write(_GATHER, count, x.shape[0], length, *self._window(index, (count,), (1,)),
                    *self._at(node), length, 1, *self._window(x, (), (step, 1)))  # fmt: skip
        self.work += node.size + 3 * count

    def _matmul(self, node: Node) -> None:
        a, b = node.inputs
        (m, k), n = a.shape[-2:], b.shape[-1]
        lead = a.shape[:-2]
        out: Shape = contiguous(node.shape)
        adds = 0
        if node.target is not None:
            out, adds = node.target.strides, int(node.target.adds)
        loops, steps = collapsed(lead, [a.strides[:-2], b.strides[:-2], out[:-2]])
        if loops == (1,):
            loops, steps = (), [(), (), ()]
        work = m * n * k
        self._write(_MATMUL, m, n, k, adds, int(work >= LARGE_PRODUCT), len(loops), *loops,
                    *self._window(a, (), (*steps[0], *_sane(a.shape[-2:], a.strides[-2:]))),
                    *self._window(b, (), (*steps[1], *_sane(b.shape[-2:], b.strides[-2:]))),
                    *self._at(node), *steps[2], *_sane((m, n), out[-2:]))  # fmt: skip
        self.work += size_of(lead) * (work / 8 + 50)

    # -- groups

    def _group(self, step: Step) -> None:
        dims = refined(step.cuts, step.size)
        assert dims is not None
        group = Group(dims)
        made: dict[int, Any] = {}  # what units of this group have made: a place, or a value of its own
        work: list[Work] = []
        for unit in step.units:
            operands = [self._operand(group, made, x) for x in unit.inputs]
            node = unit.node
            if unit.what == "node" and node.kind == "reduce":
                place = self._reduction(group, node)
                work.append(("reduce", REDUCTIONS[node.name], place, operands[0]))
                continue
            y: Any = ("value", id(unit))
            if unit.what == "base" or self._kept(node):
                y = ("place", group.place(*self._at(node), contiguous(dims)))
            if unit.what == "node":
                made[id(node)] = y
            work.append(
                ("row", node.name, y, operands) if node.kind == "row" and unit.what == "node" else ("load", y, operands[0])
            )
        work = self._written_over(step, group, joined(work))
        writer = GroupWriter(group, work, self.rows, self.dtype.itemsize)
        self._write(_GROUP, *writer.numbers())
        self.work += writer.cost

    def _operand(self, group: Group, made: dict[int, Any], x: Access) -> Any:
        if id(x.node) in made:
            return made[id(x.node)]
        strides = restride(x.shape, x.strides, group.dims)
        assert strides is not None
        buffer, offset = self._at(x.node)
        return ("place", group.place(buffer, offset + x.offset, strides, x.node.type))

    def _reduction(self, group: Group, node: Node) -> int:
        """The place of what a reduction writes; before the group it is filled with what changes nothing."""
        if node.target is None:
            self._fill(node, REDUCTIONS[node.name])
        strides = restride(node.inputs[0].shape, reduced_strides(node), group.dims)
        assert strides is not None
        return group.place(*self._at(node), strides)


def _sane(shape: Shape, strides: Shape) -> Shape:
    """Strides of a matrix where those of axes of length 1 are what they would be in memory."""
    (m, n), (rs, cs) = shape, strides
    if n == 1 and m == 1:
        return (1, 1)
    if n == 1:
        return (rs, 1)
    return (max(n * cs, n), cs) if m == 1 else (rs, cs)


def _indexed(node: Node) -> list[tuple[int, Access]]:
    """(rows, index) of what a node looks up or adds at places."""
    if node.kind == "gather":
        return [(node.inputs[0].shape[0], node.inputs[1])]
    return [(part.rows, part.index) for part in node.parts if part.index is not None]


def _shared(waiting: dict[int, list[tuple[int, Node]]], steps: int, unit: int, put: Any) -> int:
    """Places for nodes by the time they live, as low as they fit; returns the size of the whole."""
    ends: dict[int, list[tuple[int, int]]] = {}
    free: list[tuple[int, int]] = []  # (start, length), in order
    size = 0
    for time in range(steps + 1):
        for last, node in sorted(waiting.get(time, []), key=lambda item: -item[1].size):
            need = -(-max(node.size, 1) // unit) * unit
            fits = [(length, start) for start, length in free if length >= need]
            if fits:
                length, start = min(fits)
                free.remove((start, length))
                if length > need:
                    free.append((start + need, length - need))
            elif free and (tail := max(free))[0] + tail[1] == size:
                free.remove(tail)
                start, size = tail[0], tail[0] + need
            else:
                start, size = size, size + need
            put(node, start)
            ends.setdefault(last, []).append((start, need))
        free = _coalesced(free + ends.pop(time, []))
    return size


def _coalesced(free: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, length in sorted(free):
        if found and found[-1][0] + found[-1][1] == start:
            found[-1] = (found[-1][0], found[-1][1] + length)
        else:
            found.append((start, length))
    return found
