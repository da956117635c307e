"""What the native executor has to make, `Node`, and how it is read, `Access`. Imports layout and lines."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from chainrule.compiler.layout import plain, size_of
from chainrule.compiler.lines import contiguous

Shape = tuple[int, ...]


@dataclass(eq=False, slots=True, repr=False)  # a graph prints every path through it
class Node:
    """Something that fills a buffer, in C order.

    kind: "input", "constant", "row" (elementwise, `name` says which), "load" (a copy as numbers), "reduce" (`name`: sum,
        amax or amin; `axes`), "matmul", "gather", "sums" (`parts` written or added into it, over `inputs[0]`, if there is
        one, or zeros), "ints", "bools" (conversions; "ints" also of ints).
    type: "n" numbers of the program's dtype, "i" int64, "b" bool.
    """

    kind: str
    shape: Shape
    inputs: "list[Access]" = field(default_factory=list)
    name: str = ""
    type: str = "n"
    axes: Shape = ()
    parts: "list[Part]" = field(default_factory=list)
    data: npt.NDArray[Any] | None = None
    uses: int = 0
    target: "Target | None" = None

    @property
    def size(self) -> int:
        """The number of elements."""
        return size_of(self.shape)


@dataclass(slots=True)
class Access:
    """The elements offset + i * strides[0] + ... of what a node makes."""

    node: Node
    offset: int
    shape: Shape
    strides: Shape

    @property
    def whole(self) -> bool:
        """Whether these are all elements of the node, in order."""
        return self.offset == 0 and size_of(self.shape) == self.node.size and plain(self.shape, self.strides)


@dataclass(slots=True)
class Part:
    """What is written into a "sums" node at a window, or, where there is an index, added to its rows at those places.

    rows: how many rows there are to add to. The node itself may have been given another shape since.
    """

    source: Access
    offset: int
    strides: Shape
    adds: bool
    index: Access | None = None
    rows: int = 0


@dataclass(slots=True)
class Target:
    """Where a node writes instead of into a buffer of its own: a window on a "sums" node, for loops over its own shape."""

    node: Node
    offset: int
    strides: Shape
    adds: bool


def everything(node: Node) -> Access:
    """All of a node."""
    return Access(node, 0, node.shape, contiguous(node.shape))


def reads(node: Node) -> list[Access]:
    """All that a node reads."""
    return [*node.inputs, *(x for part in node.parts for x in (part.source, part.index) if x is not None)]


def read_otherwise(node: Node, new: Callable[[Access], Access]) -> None:
    """Let a node read `new` of what it reads; indices stay."""
    node.inputs = [new(x) for x in node.inputs]
    for part in node.parts:
        part.source = new(part.source)


def for_blas(shape: Shape, strides: Shape) -> bool:
    """Whether BLAS can walk through this matrix: its rows or its columns must be contiguous."""
    (m, n), (rs, cs) = shape, strides
    return (cs == 1 and (rs >= n or m == 1)) or (rs == 1 and (cs >= m or n == 1))
