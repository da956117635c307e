"""A group of elementwise rows and reductions over one nest of loops, as one instruction: `GroupWriter`.

What a group does is a list of `Work`, tuples of one of three forms, in which an operand is ("place", its number in
`Group.at`) or ("value", anything), which only exists block by block:

    ("row", name, y, operands)   y = a row of them
    ("load", y, operand)         y = a copy, as numbers
    ("reduce", code, place, operand)

Rows are first joined in pairs where there is a kernel for both. Then the writer chooses blocks and gives values registers.
Imports layout, lines and native.
"""

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chainrule.compiler.layout import collapsed, plain, size_of
from chainrule.compiler.lines import contiguous
from chainrule.native.kernels import COMMUTE, JOINED, VARIANTS, joined_name

Shape = tuple[int, ...]
Work = tuple[Any, ...]

REDUCTIONS = {"sum": 0, "amax": 1, "amin": 2}
KINDS = {"n": 0, "i": 1, "b": 2}
_ROW, _LOAD, _REDUCE = range(3)
_ALONE, _TOGETHER, _APART = range(3)

CACHE = 24 * 1024  # bytes that the registers of a group may fill: most of the nearest cache
SMALLEST = 256  # elements of a block; with fewer, calling the loops costs more than the nearest cache saves
PARALLEL = 65536  # elements from which a group is split over threads


@dataclass(slots=True)
class Group:
    """A group being put together: its loops, and its operands in memory (buffer, offset, strides and type)."""

    dims: Shape
    places: dict[Any, int] = field(default_factory=dict)
    strides: list[Shape] = field(default_factory=list)
    at: list[tuple[int, int]] = field(default_factory=list)
    types: list[str] = field(default_factory=list)

    def place(self, buffer: int, offset: int, strides: Shape, type: str = "n") -> int:
        """The number of an operand in memory."""
        key = (buffer, offset, strides)
        if key not in self.places:
            self.places[key] = len(self.at)
            self.at.append((buffer, offset))
            self.strides.append(strides)
            self.types.append(type)
        return self.places[key]


class GroupWriter:
    """Chooses the blocks and registers of a group, and writes it."""

    def __init__(self, group: Group, work: list[Work], rows: Mapping[str, int], itemsize: int) -> None:
        self.group, self.work, self.rows, self.itemsize = group, work, rows, itemsize
        self.dims, self.strides = collapsed(group.dims, group.strides)
        self.split, self.chunk = 0, self.dims[0]
        self.size = size_of(self.dims)
        self.cost = (1 + len(work)) * (self.size * 0.15 + 20)

    def numbers(self) -> list[int]:
        """The instruction, as native/executor.c reads it."""
        registers = 3
        for _ in range(3):  # the size of a block depends on how many registers there are, and a little the other way round
            self._choose_blocks(CACHE // self.itemsize // registers)
            steps, count = self._steps()
            if count <= registers:
                break
            registers = count
        places = [n for (buffer, offset), s in zip(self.group.at, self.strides, strict=True) for n in (buffer, offset, *s)]
        sizes = (len(self.dims), self.split, self.chunk, self._parallel(), count, len(self.strides), len(steps))
        return [*sizes, *self.dims, *places, *(n for step in steps for n in step)]

    def _parallel(self) -> int:
        if self.size < PARALLEL:
            return _ALONE
        return _TOGETHER if self._independent() else _APART if self._in_line() else _ALONE

    def _choose_blocks(self, most: int) -> None:
        """The largest block, of all inner axes and a piece of the next, that has at most so many elements."""
        most = max(most // 64 * 64, SMALLEST)
        reductions = [self.strides[item[2]] for item in self.work if item[0] == "reduce"]
        best = len(self.dims) - 1
        inside = 1
        for split in range(len(self.dims) - 1, -1, -1):
            if inside > most:
                break
            if all(_reducible(self.dims[split:], strides[split:]) for strides in reductions):
                best = split
            inside *= self.dims[split]
        self.split = best
        inside = size_of(self.dims[best + 1 :])
        pieces = -(-self.dims[best] // max(most // inside, 1))
        self.chunk = -(-self.dims[best] // pieces)
        if inside == 1 and pieces > 1:  # whole cache lines
            self.chunk = min(-(-self.chunk // 16) * 16, self.dims[best])

    def _block(self) -> Shape:
        return (self.chunk, *self.dims[self.split + 1 :])

    def _how(self, place: int) -> str:
        block, strides = self._block(), self.strides[place][self.split :]
        if self.group.types[place] != "n":
            return "scattered"
        if plain(block, strides):
            return "line"
        return "one" if not any(s for n, s in zip(block, strides, strict=True) if n != 1) else "scattered"

    def _once(self, place: int) -> bool:
        """Whether a place gives every block the same numbers."""
        strides = self.strides[place]
        return not any(s for n, s in zip(self.dims[: self.split], strides, strict=False) if n != 1) and (
            self.chunk == self.dims[self.split] or strides[self.split] == 0
        )

    def _independent(self) -> bool:
        """Whether no two blocks add to the same number."""
        for item in self.work:
            if item[0] == "reduce":
                strides = self.strides[item[2]]
                outer = range(self.split + (self.chunk < self.dims[self.split]))
                if any(strides[i] == 0 and self.dims[i] != 1 for i in outer):
                    return False
        return True

    def _is_single(self, x: Any) -> bool:
        return bool(x[0] == "place" and self._how(x[1]) == "one")

    def _has_kernel(self, xs: list[Any]) -> bool:
        return "".join("s" if self._is_single(x) else "v" for x in xs) in VARIANTS[len(xs)]

    def _in_line(self) -> bool:
        """Whether each thread can have the reductions to itself: their results are few, and lie in line."""
        for item in self.work:
            if item[0] == "reduce":
                kept = [(n, s) for n, s in zip(self.dims, self.strides[item[2]], strict=True) if s]
                shape = tuple(n for n, _ in kept)
                if size_of(shape) * 16 > self.size or not plain(shape, tuple(s for _, s in kept)):
                    return False
        return True

    def _steps(self) -> tuple[list[list[int]], int]:
        """The work with registers, and how many of those."""
        hoisted: list[Work] = []
        steps: list[Work] = []
        loaded: dict[int, Any] = {}
        blocks = size_of(self.dims[: self.split]) > 1 or self.chunk < self.dims[self.split]

        def load(place: int) -> Any:
            if place not in loaded:
                once = blocks and self._once(place)
                loaded[place] = ("loaded", place)
                (hoisted if once else steps).append((_LOAD, loaded[place], place, KINDS[self.group.types[place]], int(once)))
            return loaded[place]

        for item in self.work:
            if item[0] == "row":
                _, name, y, operands = item
                xs = [load(x[1]) if x[0] == "place" and self._how(x[1]) == "scattered" else x for x in operands]
                while not self._has_kernel(xs):
                    at = next(i for i, x in enumerate(xs) if self._is_single(x))
                    xs[at] = load(xs[at][1])
                steps.append((_ROW, self.rows[name], y, xs))
            elif item[0] == "load":
                _, y, x = item
                if x[0] == "place":
                    steps.append((_LOAD, y, x[1], KINDS[self.group.types[x[1]]], 0))
                else:  # a copy of what a register holds: the larger of it and itself, NaN too
                    steps.append((_ROW, self.rows["maximum"], y, [x, x]))
            else:
                _, code, place, x = item
                if x[0] == "place" and self._how(x[1]) != "line":
                    x = load(x[1])
                steps.append((_REDUCE, code, place, x))
        return self._registered(hoisted, steps)

    def _registered(self, hoisted: list[Work], steps: list[Work]) -> tuple[list[list[int]], int]:
        last: dict[Any, int] = {}
        for i, step in enumerate(steps):
            for x in _reads(step):
                last[x] = i
        names: dict[Any, int] = {}
        free: list[int] = []
        count = 0
        base = len(self.strides)

        def slot(x: Any) -> int:
            nonlocal count
            if x[0] == "place":
                return int(x[1])
            if x not in names:
                if free:
                    names[x] = free.pop()
                else:
                    names[x] = count
                    count += 1
            return base + names[x]

        written = []
        for _, y, place, kind, once in hoisted:
            written.append([_LOAD, slot(y), place, kind, once])
        kept = set(names)
        for i, step in enumerate(steps):
            read = [slot(x) for x in _reads(step)]
            if step[0] == _LOAD and step[1][0] == "place":
                read = []
            for x in dict.fromkeys(_reads(step)):
                if x[0] != "place" and last[x] == i and x not in kept:
                    free.append(names[x])
            if step[0] == _ROW:
                written.append([_ROW, step[1], slot(step[2]), *read])
            elif step[0] == _LOAD:
                written.append([_LOAD, slot(step[1]), *step[2:]])
            else:
                written.append([_REDUCE, step[1], step[2], *read])
            y = step[2] if step[0] == _ROW else step[1] if step[0] == _LOAD else None
            if y is not None and y[0] != "place" and y not in last:  # nobody reads it
                free.append(names[y])
        return written, count


def _reads(step: tuple[Any, ...]) -> list[Any]:
    if step[0] == _ROW:
        return list(step[3])
    return [step[3]] if step[0] == _REDUCE else []


def over(work: list[Work], group: Group, old: int, new: int, gone: set[int]) -> list[Work] | None:
    """The work, where what goes to buffer `old` goes to `new` instead, once that has been read; None where it still is.

    gone: buffers that have been written over; what is computed from those must not move.
    """
    at = next(i for i, item in enumerate(work) if item[0] == "row" and item[2][0] == "place" and group.at[item[2][1]] == (old, 0))
    _, name, y, operands = work[at]
    to = ("place", group.place(new, 0, contiguous(group.dims)))
    if any(buffer == new and place != to[1] for place, (buffer, _) in enumerate(group.at)) or group.types[to[1]] != "n":
        return None
    before, after = work[:at], work[at + 1 :]
    if any(to in _operands(item) for item in after):
        if any(y in _operands(item) for item in after) or any(x[0] == "place" and group.at[x[1]][0] in gone for x in operands):
            return None
        before, after = before + after, []  # first what reads the old numbers
    return [*before, ("row", name, to, operands), *(_with(item, y, to) for item in after)]


def _operands(item: Work) -> list[Any]:
    return list(item[3]) if item[0] == "row" else list(item[2:])


def _with(item: Work, old: Any, new: Any) -> Work:
    """The same work on another operand."""
    if item[0] == "row":
        return (*item[:3], [new if x == old else x for x in item[3]])
    return (*item[:2], *(new if x == old else x for x in item[2:]))


def joined(work: list[Work]) -> list[Work]:
    """The same work, where a row takes over one that only it uses, if there is a kernel for both."""
    uses = Counter(x for item in work for x in _operands(item) if isinstance(x, tuple) and x[0] == "value")
    made: dict[Any, tuple[Any, ...]] = {}
    gone: set[Any] = set()
    found = []
    for item in work:
        if item[0] == "row":
            item = _taking_over(item, made, uses, gone)
            if item[2][0] == "value":
                made[item[2]] = item
        found.append(item)
    return [item for item in found if not (item[0] == "row" and item[2] in gone)]


def _taking_over(item: tuple[Any, ...], made: dict[Any, Any], uses: Counter[Any], gone: set[Any]) -> tuple[Any, ...]:
    _, name, y, xs = item
    for i, x in enumerate(xs):
        if x not in made or uses[x] != 1:
            continue
        _, inner, _, own = made[x]
        slot = 0 if name in COMMUTE else i
        if (inner, name, slot) in JOINED:
            gone.add(x)
            if inner in COMMUTE:  # a single number goes last
                own = sorted(own, key=lambda x: x[0] == "place")
            return ("row", joined_name(inner, name, slot), y, [*own, *(x for j, x in enumerate(xs) if j != i)])
    return item


def _reducible(block: Shape, strides: Shape) -> bool:
    """Whether a block can be reduced: its kept axes are all in front or all behind, with a single stride."""
    kept = [(n, s) for n, s in zip(block, strides, strict=True) if n != 1]
    changes = sum((s == 0) != (t == 0) for (_, s), (_, t) in itertools.pairwise(kept))
    axes, _ = collapsed(tuple(n for n, s in kept if s), [tuple(s for _, s in kept if s)])
    return changes <= 1 and len(axes) <= 1
