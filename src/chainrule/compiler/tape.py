"""A recorded graph of scalars as flat lists: `Tape`.

Nodes are numbered so that inputs come first. A leaf is one of a named array (the parameters, an argument of the compiled
function), or a constant. Imports engine, ops and errors.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from chainrule.compiler.trace import TAKE
from chainrule.engine import Node
from chainrule.ops import Op


class Leaf(NamedTuple):
    """An element of a named array."""

    array: str
    place: int


class Tape:
    """The nodes below some roots.

    known: nodes that are elements of a named array, whatever they were computed from. taken: what `take` gave, with its
        index and table.
    ops: the row of each node; None for a leaf. inputs: their numbers. leaves: for each leaf a Leaf, or the number of a
    constant. number: from node to its number here.
    """

    def __init__(self, roots: Iterable[Node], known: Mapping[Node, Leaf], taken: Mapping[Node, tuple[Any, ...]]) -> None:
        self.ops: list[Op | None] = []
        self.inputs: list[tuple[int, ...]] = []
        self.leaves: dict[int, Leaf | float] = {}
        self.number: dict[Any, int] = {}
        for root in roots:
            self._walk(root, known, taken)

    def _walk(self, root: Any, known: Mapping[Node, Leaf], taken: Mapping[Node, tuple[Any, ...]]) -> None:
        number, ops, inputs = self.number, self.ops, self.inputs
        stack = [root]
        while stack:
            node = stack.pop()
            if node is None:
                node = stack.pop()
                if node in number:
                    continue
                number[node] = len(ops)
                ops.append(node.op or TAKE)
                inputs.append(tuple([number[x] for x in node.inputs or taken[node]]))
            elif node not in number:
                if node in taken:
                    stack.append(node)
                    stack.append(None)
                    stack.extend(taken[node][::-1])
                elif node.op is None or node in known:
                    number[node] = at = len(ops)
                    self.leaves[at] = known.get(node, node.data)
                    ops.append(None)
                    inputs.append(())
                else:
                    stack.append(node)
                    stack.append(None)
                    stack.extend(node.inputs[::-1])
