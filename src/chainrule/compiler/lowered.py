"""From lines of a program to what the native executor does: `lower`.

A view is nothing to be done: every operand is a strided window on what a node makes. Sums of arrays that are zero outside a
window (`unview`, `scatter`: what gradients of parts of a parameter vector are) and `concatenate` become one node into which
its parts are written or added. Imports nodes, turning, layout, lines, program, ops and errors.
"""

from collections import Counter
from typing import Any

import numpy as np

from chainrule.compiler.layout import broadcast, distinct, plain, restride, size_of
from chainrule.compiler.lines import Array, contiguous
from chainrule.compiler.nodes import Access, Node, Part, Target, everything, for_blas, reads
from chainrule.compiler.program import Program
from chainrule.compiler.turning import turn, turn_products
from chainrule.errors import CompileError
from chainrule.ops import Op

Shape = tuple[int, ...]

LARGE_PRODUCT = 200_000
"""Multiplications from which a matrix product goes to BLAS."""


class Lowering:
    """The nodes of a program.

    nodes: all that outputs need, inputs first. outputs: by name.
    """

    def __init__(self, program: Program) -> None:
        self.dtype = _dtype(program)
        self.made: list[Node] = []
        self._access: dict[Array, Access] = {}
        self._uses = Counter(x for line in program.lines for x in line.inputs)
        self._uses.update(program.outputs.values())
        for line in program.lines:
            self._access[line] = self._lowered(line)
        self.outputs: dict[str, Access] = {}
        for name, line in program.outputs.items():
            self.outputs[name] = self._output(line)
        self._finish()

    def _add(self, node: Node) -> Access:
        self.made.append(node)
        return everything(node)

    # -- lines

    def _lowered(self, line: Array) -> Access:
        if line.op is None:
            return self._leaf(line)
        xs = [self._access[x] for x in line.inputs]
        if isinstance(line.op, Op):
            return self._row(line, xs)
        make = getattr(self, f"_{line.op.name}", None)
        if make is None:
            raise CompileError(f"the native executor has no {line.op.name}; expand the program first")
        access: Access = make(line, *xs)
        return access

    def _leaf(self, line: Array) -> Access:
        if line.data is None:
            return self._add(Node("input", line.shape, name=line.name, type=_type(line)))
        return self._add(Node("constant", line.shape, type=_type(line), data=line.data))

    def _row(self, line: Array, xs: list[Access]) -> Access:
        assert line.op is not None
        if line.op.name == "add":
            merged = self._merged(line, xs)
            if merged is not None:
                return merged
        return self._elementwise(line.op.name, line.shape, xs)

    def _elementwise(self, name: str, shape: Shape, xs: list[Access]) -> Access:
        inputs = [Access(x.node, x.offset, shape, broadcast(x.shape, x.strides, shape)) for x in map(self._numbers, xs)]
        return self._add(Node("row", shape, inputs, name))

    def _numbers(self, x: Access) -> Access:
        """A constant of integers, as numbers; other arrays of integers are converted where they are loaded."""
        if x.node.kind == "constant" and x.node.type != "n":
            assert x.node.data is not None
            node = Node("constant", x.node.shape, data=x.node.data.astype(self.dtype))
            self.made.append(node)
            return Access(node, x.offset, x.shape, x.strides)
        return x

    def _loaded(self, x: Access) -> Access:
        """The same elements as numbers in C order."""
        if x.node.type == "n" and x.whole:
            return x
        return self._add(Node("load", x.shape, [self._numbers(x)]))

    def _view(self, line: Array, x: Access) -> Access:
        if size_of(line.shape) == 0:
            return Access(x.node, 0, line.shape, contiguous(line.shape))
        if not plain(x.shape, x.strides):
            x = self._integers(x) if x.node.type == "i" else self._loaded(x)
        return Access(x.node, x.offset + line.options["offset"], line.shape, line.options["strides"])

    def _integers(self, x: Access) -> Access:
        """The same elements as integers in C order."""
        if x.node.type == "i" and plain(x.shape, x.strides):
            return x
        if x.node.type == "b":
            x = self._loaded(x)
        return self._add(Node("ints", x.shape, [x], type="i"))

    def _astype(self, line: Array, x: Access) -> Access:
        kind = line.dtype.kind
        if kind == "b":
            zero = Node("constant", (), data=np.zeros((), self.dtype))
            self.made.append(zero)
            return self._elementwise("not_equal", line.shape, [x, everything(zero)])
        if kind in "iu":
            return self._integers(x)
        return x if x.node.type == "n" else self._loaded(x)

    def _reduced(self, line: Array, x: Access) -> Access:
        assert line.op is not None
        axes = line.options["axis"]
        axes = tuple(a % len(x.shape) for a in (axes if isinstance(axes, tuple) else (axes,)))
        if line.op.name != "sum" and size_of(x.shape) == 0 and line.size > 0:
            raise CompileError(f"{line.op.name} of an array without elements, of shape {x.shape}, has no value")
        return self._add(Node("reduce", line.shape, [self._numbers(x)], line.op.name, axes=axes))

    _sum = _amax = _amin = _reduced

    def _matmul(self, line: Array, a: Access, b: Access) -> Access:
        lead, (m, k), n = line.shape[:-2], a.shape[-2:], b.shape[-1]
        a, b = (Access(x.node, x.offset, (*lead, *x.shape[-2:]), broadcast(x.shape, x.strides, (*lead, *x.shape[-2:])))
                for x in (a, b))  # fmt: skip
        if k == 1:  # every element is one product
            return self._elementwise("mul", line.shape, [a, b])
        if m * n * k >= LARGE_PRODUCT:
            a, b = (x if for_blas(x.shape[-2:], x.strides[-2:]) else self._copied(x) for x in (a, b))
        a, b = (x if x.node.type == "n" else self._loaded(self._numbers(x)) for x in (a, b))
        return self._add(Node("matmul", line.shape, [a, b]))

    def _copied(self, x: Access) -> Access:
        return self._add(Node("load", x.shape, [self._numbers(x)]))

    def _gather(self, line: Array, x: Access, index: Access) -> Access:
        x = self._with_plain_rows(x)
        if x.shape[0] == 0 and line.size > 0:
            raise CompileError("rows are taken from an array that has none")
        return self._add(Node("gather", line.shape, [x, self._index(index, x.shape[0])]))

    def _with_plain_rows(self, x: Access) -> Access:
        x = self._numbers(x)
        return x if x.node.type == "n" and plain(x.shape[1:], x.strides[1:]) else self._copied(x)

    def _index(self, index: Access, rows: int) -> Access:
        data = index.node.data
        if data is not None and data.size and not (-rows <= data.min() and data.max() < rows):
            worst = data.max() if data.max() >= rows else data.min()
            raise CompileError(f"the constant index {worst} is out of range for {rows} rows")
        return self._integers(index)

    # -- sums of windows

    def _unview(self, line: Array, g: Access) -> Access:
        part = Part(self._as_numbers(g), line.options["offset"], line.options["strides"], True)
        return self._sums(line.shape, [part])

    def _scatter_rows(self, line: Array, g: Access, index: Access) -> Access:
        rows = line.options["size"]
        index = self._index(index, rows)
        flat = (size_of(index.shape), *g.shape[len(index.shape) :])
        strides = restride(g.shape, g.strides, flat) if g.node.type == "n" else None
        source = self._copied(g) if strides is None else Access(g.node, g.offset, flat, strides)
        source = Access(source.node, source.offset, flat, strides or contiguous(flat))
        return self._sums(line.shape, [Part(self._with_plain_rows(source), 0, (), True, index, rows)])

    def _concatenate(self, line: Array, *xs: Access) -> Access:
        if any(x.node.type != "n" for x in xs) and line.dtype.kind != "f":
            raise CompileError("the native executor does not join arrays of integers")
        own, axis = contiguous(line.shape), line.options["axis"] % len(line.shape)
        parts, at = [], 0
        for x in xs:
            if size_of(x.shape):
                parts.append(Part(self._as_numbers(x), at * own[axis], own, False))
            at += x.shape[axis]
        return self._sums(line.shape, parts)

    def _as_numbers(self, x: Access) -> Access:
        x = self._numbers(x)
        return x if x.node.type == "n" else self._loaded(x)

    def _sums(self, shape: Shape, parts: list[Part], base: Access | None = None) -> Access:
        parts = [part for part in parts if size_of(part.source.shape)]
        return self._add(Node("sums", shape, [] if base is None else [base], parts=parts))

    def _merged(self, line: Array, xs: list[Access]) -> Access | None:
        """A sum of which an operand is such a node, wanted by nobody else: its parts are added to the other operand."""
        mine = [self._is_open(x, access) and size_of(access.shape) == line.size
                for x, access in zip(line.inputs, xs, strict=True)]  # fmt: skip
        if not any(mine):
            return None
        sums = [x.node for x, own in zip(xs, mine, strict=True) if own]
        bases = []
        for base in (base for node in sums for base in node.inputs):
            strides = restride(base.shape, base.strides, line.shape)
            if strides is None:
                return None
            bases.append(Access(base.node, base.offset, line.shape, strides))
        parts = [part for node in sums for part in node.parts]
        bases += [x for x, own in zip(xs, mine, strict=True) if not own]
        if len(bases) == 2:
            bases = [self._elementwise("add", line.shape, bases)]
        if not bases:
            return self._sums(line.shape, parts)
        x = self._numbers(bases[0])
        return self._sums(line.shape, parts, Access(x.node, x.offset, line.shape, broadcast(x.shape, x.strides, line.shape)))

    def _is_open(self, line: Array, access: Access) -> bool:
        """Whether a line is all of a "sums" node of additions, and is used once."""
        node = access.node
        if node.kind != "sums" or not access.whole or not all(part.adds for part in node.parts):
            return False
        while self._uses[line] == 1 and line.op is not None and line.op.name == "view":
            line = line.inputs[0]
        return self._uses[line] == 1

    # -- the end

    def _output(self, line: Array) -> Access:
        x = self._access[line]
        if line.dtype.kind == "b":
            return self._add(Node("bools", line.shape, [self._loaded(x)], type="b"))
        taken = any(x.node is y.node for y in self.outputs.values())
        own = x.whole and not taken and x.node.kind not in ("input", "constant")
        if line.dtype.kind in "iu" and x.node.type == "i":
            return x if own else self._add(Node("ints", x.shape, [x], type="i"))
        return Access(x.node, 0, line.shape, contiguous(line.shape)) if own and x.node.type == "n" else self._copied(x)

    def _finish(self) -> None:
        """Keep what is needed, count uses, and let parts be written where they belong."""
        self._keep()
        turn(self.nodes, [x.node for x in self.outputs.values()])
        turn_products(self.nodes, [x.node for x in self.outputs.values()])
        self._without_copies()
        self._keep()
        for node in self.nodes:
            if node.kind == "sums":
                self._direct(node)

    def _keep(self) -> None:
        seen: set[int] = set()
        stack = [access.node for access in self.outputs.values()]
        while stack:
            node = stack.pop()
            if id(node) not in seen:
                seen.add(id(node))
                stack += [x.node for x in reads(node)]
        self.nodes = [node for node in self.made if id(node) in seen]
        for node in self.nodes:
            node.uses = 0
        for access in (*(x for node in self.nodes for x in reads(node)), *self.outputs.values()):
            access.node.uses += 1

    def _without_copies(self) -> None:
        """An output that now is all of what another node makes needs no copy of it."""
        for name, access in self.outputs.items():
            inner = access.node.inputs[0] if access.node.kind == "load" else None
            if inner is None or not inner.whole or inner.node.kind != "matmul":
                continue
            if not any(x.node is inner.node for x in self.outputs.values()) and access.node.uses == 1:
                self.outputs[name] = Access(inner.node, 0, access.shape, contiguous(access.shape))

    def _direct(self, node: Node) -> None:
        assigned = not node.inputs and any(part.adds for part in node.parts) and _disjoint(node)
        for base in node.inputs:
            maker = base.node
            if maker.kind in ("row", "load") and maker.uses == 1 and maker.target is None and base.whole:
                maker.target = Target(node, 0, contiguous(maker.shape), False)
        for part in node.parts:
            maker, target = part.source.node, None
            if part.index is None:
                part.adds = part.adds and not assigned
                target = _target(node, part)
            if target is not None:
                maker.target = target


def _target(node: Node, part: Part) -> Target | None:
    """Where the maker of a part can write it at once; None where it cannot."""
    maker = part.source.node
    if maker.uses != 1 or maker.target is not None or not part.source.whole or maker.size == 0:
        return None
    strides = restride(part.source.shape, part.strides, maker.shape)
    if strides is None or not distinct(maker.shape, strides):
        return None
    if maker.kind == "matmul":
        (m, k), n = maker.inputs[0].shape[-2:], maker.shape[-1]
        if 1 not in (m, n) and 1 not in strides[-2:]:
            return None
        if m * n * k >= LARGE_PRODUCT and not for_blas(maker.shape[-2:], strides[-2:]):
            return None
    elif maker.kind in ("row", "load") and not part.adds:
        if not plain(maker.shape, strides):
            return None
    elif maker.kind != "reduce" or maker.name != "sum":
        return None
    if maker.kind == "reduce":
        part.adds = True  # a reduction adds to what is there
    return Target(node, part.offset, strides, part.adds)


def _disjoint(node: Node) -> bool:
    """Whether no element gets two parts, so that they can be written instead of added."""
    if not all(part.index is None and distinct(part.source.shape, part.strides) for part in node.parts):
        return False
    hit = np.zeros(node.size, np.uint8)
    for part in node.parts:
        places = np.full(part.source.shape, part.offset)
        for axis, (n, s) in enumerate(zip(part.source.shape, part.strides, strict=True)):
            places += (np.arange(n) * s).reshape((-1,) + (1,) * (len(part.source.shape) - axis - 1))
        if hit[places].any():
            return False
        hit[places] = 1
    return True


def covered(node: Node) -> bool:
    """Whether the parts of a "sums" node write every element, so that it needs no zeros first."""
    return not any(part.adds for part in node.parts) and sum(size_of(part.source.shape) for part in node.parts) == node.size


def _dtype(program: Program) -> np.dtype[Any]:
    found = {line.dtype for line in program.lines if line.dtype.kind == "f"}
    if found - {np.dtype("float64"), np.dtype("float32")} or len(found) > 1:
        names = " and ".join(sorted(str(dtype) for dtype in found))
        raise CompileError(f"the native executor computes in float64 or in float32, not in {names}")
    return found.pop() if found else np.dtype("float64")


def _type(line: Array) -> str:
    kind = line.dtype.kind
    if kind not in "fiub":
        raise CompileError(f"the native executor has no arrays of {line.dtype}")
    return {"f": "n", "b": "b"}.get(kind, "i")
