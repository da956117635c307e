"""Which way round nodes are stored: `turn`, `turn_products`.

Loops over neurons and loops over samples make the same numbers as (200, 32) and as (32, 200). Where one reads the other, each
number comes from another cache line, and the two cannot run block by block in one group. So elementwise nodes that read each
other number by number, a patch, are stored with their axes in the order in which most of what they read, and of what reads
them, is in order. A product takes its operands either way, and is itself turned the way it is read; reductions, and parts
that are written into a window, walk as suits them. Imports nodes, layout and lines.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from chainrule.compiler.layout import size_of, window
from chainrule.compiler.lines import contiguous
from chainrule.compiler.nodes import Access, Node, for_blas, read_otherwise, reads

Shape = tuple[int, ...]
Cost = tuple[int, int]
"""How many numbers are read out of order, and how many by repeating each of a few: the second only decides between equals."""

_ELEMENTWISE = ("row", "load")


def turn(nodes: Sequence[Node], fixed: Iterable[Node]) -> None:
    """Turn patches where that puts more in order; fixed: the nodes that must stay as they are."""
    for node in nodes:
        for part in node.parts:
            if part.index is None and part.source.node.kind in _ELEMENTWISE:  # walk in the order of the window
                order = _falling(part.source.shape, part.strides)
                part.source, part.strides = _walked(part.source, order), _permuted(part.strides, order)
    readers = _readers(nodes)
    found = []
    for patch in _patches(nodes, fixed):
        gains = [(gain, order) for order in _orders(patch, readers) if (gain := _gain(patch, order, readers))[0] > 0]
        if gains:
            found.append((*max(gains), patch))
    for _, order, patch in sorted(found, key=lambda item: item[0], reverse=True):
        if _gain(patch, order, readers)[0] > 0:  # still, after others have been turned
            _turn(patch, order, readers)
    for node in nodes:
        if node.kind == "reduce":
            _walk_in_order(node)


def turn_products(nodes: Sequence[Node], fixed: Iterable[Node]) -> None:
    """Compute the transposed product instead, where that is how it is read."""
    found: dict[int, dict[int, Access]] = {id(node): {} for node in nodes}
    for x in (x for node in nodes for x in reads(node)):
        found[id(x.node)][id(x)] = x
    stay = set(map(id, fixed))
    for node in nodes:
        if node.kind != "matmul" or len(node.shape) != 2 or id(node) in stay:
            continue
        accesses = found[id(node)].values()
        turned = [_stored(x, (1, 0)) for x in accesses]
        if any(x is None for x in turned) or sum(x.whole for x in accesses) >= sum(x.whole for x in turned if x):
            continue
        for x, new in zip(accesses, turned, strict=True):
            assert new is not None
            x.offset, x.strides = new.offset, new.strides
        node.shape = node.shape[::-1]
        node.inputs = [_walked(x, (1, 0)) for x in reversed(node.inputs)]


def _readers(nodes: Sequence[Node]) -> dict[int, list[Node]]:
    """By the id of a node, those that read it."""
    found: dict[int, dict[int, Node]] = {id(node): {} for node in nodes}
    for node in nodes:
        for x in reads(node):
            found[id(x.node)][id(node)] = node
    return {key: list(each.values()) for key, each in found.items()}


def _patches(nodes: Sequence[Node], fixed: Iterable[Node]) -> list[list[Node]]:
    """Elementwise nodes of one shape, joined where one reads all of another in order."""
    stay = set(map(id, fixed))
    of: dict[int, list[Node]] = {}
    for node in nodes:
        if node.kind not in _ELEMENTWISE or id(node) in stay or sum(n > 1 for n in node.shape) < 2 or node.size == 0:
            continue
        mine = of[id(node)] = [node]
        for x in node.inputs:
            other = of.get(id(x.node), mine)
            if other is not mine and x.whole and x.node.shape == node.shape:
                mine, other = (mine, other) if len(mine) > len(other) else (other, mine)
                mine += other
                of.update((id(each), mine) for each in other)
    return list({id(patch): patch for patch in of.values()}.values())


# ---- orders of axes --------------------------------------------------------------------------------------------------


def _falling(shape: Shape, strides: Shape) -> Shape:
    """The order of axes in which the larger strides come first; axes without a stride stay where they are."""
    moving = [i for i, (n, s) in enumerate(zip(shape, strides, strict=True)) if n != 1 and s]
    order = list(range(len(shape)))
    for i, axis in zip(moving, sorted(moving, key=lambda axis: -strides[axis]), strict=True):
        order[i] = axis
    return tuple(order)


def _permuted(x: Shape, order: Shape) -> Shape:
    return tuple(x[i] for i in order)


def _walked(x: Access, order: Shape) -> Access:
    """The same elements by loops in another order."""
    return replace(x, shape=_permuted(x.shape, order), strides=_permuted(x.strides, order))


def _stored(x: Access, order: Shape) -> Access | None:
    """The same elements when the node is stored with its axes in another order; None where a stride leads across an axis."""
    shape = x.node.shape
    steps = dict(zip(order, contiguous(_permuted(shape, order)), strict=True))
    found = window(shape, contiguous(shape), tuple(steps[i] for i in range(len(shape))), x.offset, x.shape, x.strides)
    return None if found is None else replace(x, offset=found[0], strides=found[1])


def _walk_in_order(node: Node) -> None:
    """Let a reduction walk through memory in order, unless its results would change places."""
    x = node.inputs[0]
    order = _falling(x.shape, x.strides)
    kept = [axis for axis in order if axis not in node.axes and x.shape[axis] != 1]
    if kept == sorted(kept) and size_of(x.shape):
        node.inputs = [_walked(x, order)]
        node.axes = tuple(i for i, axis in enumerate(order) if axis in node.axes)


# ---- turning a patch -------------------------------------------------------------------------------------------------


def _orders(patch: list[Node], readers: dict[int, list[Node]]) -> list[Shape]:
    """Those that would put something in order."""
    found: dict[Shape, None] = {}
    for node in patch:
        for x in node.inputs:
            found[_falling(x.shape, x.strides)] = None
        own = contiguous(node.shape)
        for reader in readers[id(node)]:
            for x in reads(reader) if reader.kind in _ELEMENTWISE else ():
                if x.node is node and sorted(x.strides) == sorted(own) and len(set(own)) == len(own):
                    found[tuple(own.index(s) for s in x.strides)] = None
    found.pop(tuple(range(len(patch[0].shape))), None)
    return list(found)


def _otherwise(reader: Node, x: Access, members: set[int], order: Shape) -> Access | None:
    """What a node reads when a patch is turned."""
    if id(reader) in members:
        x = _walked(x, order)
    return _stored(x, order) if id(x.node) in members else x


def _gain(patch: list[Node], order: Shape, readers: dict[int, list[Node]]) -> Cost:
    """What turning a patch saves; nothing where it cannot be turned."""
    members = {id(node) for node in patch}
    out_of_order = repeated = 0
    for reader in _around(patch, readers):
        for x in reads(reader):
            if id(reader) not in members and id(x.node) not in members:
                continue
            new = _otherwise(reader, x, members, order)
            if new is None or not _may_read(reader, x, new):
                return 0, 0
            if reader.kind in (*_ELEMENTWISE, "sums") and x.node.kind != "matmul":
                before, after = _cost(x), _cost(new)
                out_of_order += before[0] - after[0]
                repeated += before[1] - after[1]
    return out_of_order, repeated


def _around(patch: list[Node], readers: dict[int, list[Node]]) -> list[Node]:
    """The nodes of a patch, and those that read them."""
    found = {id(node): node for node in patch}
    found.update((id(reader), reader) for node in patch for reader in readers[id(node)])
    return list(found.values())


def _cost(x: Access) -> Cost:
    """Of reading this, element by element."""
    loops = [s for n, s in zip(x.shape, x.strides, strict=True) if n != 1]
    moving = [s for s in loops if s]
    if moving != sorted(moving, reverse=True):
        return size_of(x.shape), 0
    return 0, size_of(x.shape) if moving and not loops[-1] else 0


def _may_read(reader: Node, old: Access, new: Access) -> bool:
    """Whether a node takes an operand that lies otherwise."""
    if reader.kind == "matmul":
        return for_blas(new.shape[-2:], new.strides[-2:]) or not for_blas(old.shape[-2:], old.strides[-2:])
    scattered = any(part.index is not None and part.source is old for part in reader.parts)
    return reader.kind in (*_ELEMENTWISE, "reduce", "bools", "sums") and not scattered


def _turn(patch: list[Node], order: Shape, readers: dict[int, list[Node]]) -> None:
    members = {id(node) for node in patch}
    for reader in _around(patch, readers):
        read_otherwise(reader, lambda x, reader=reader: _otherwise(reader, x, members, order) or x)  # type: ignore[misc]
    for node in patch:
        node.shape = _permuted(node.shape, order)
