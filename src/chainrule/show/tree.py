"""A graph as text, for terminals, logs, tests and screen readers: the output on top, its inputs below it.

>>> from chainrule import Value
>>> x = Value(3.0, label="x")
>>> y = (x * x).tanh()
>>> print(text(y))
tanh  data 1.0000  no backward yet
└─ *  data 9.0000  no backward yet
   ├─ #1 x  data 3.0000  no backward yet
   └─ #1 x, as above

Imports engine and errors.
"""

import itertools
from collections import Counter, deque
from typing import NamedTuple

from chainrule.engine import Node, inputs_first
from chainrule.errors import InputError
from chainrule.show.wording import expect_node, gradient, number, printable


class _Signs(NamedTuple):
    branch: str
    last: str
    through: str
    blank: str
    more: str


class _Branch(NamedTuple):
    node: Node
    prefix: str  # of its own line
    indent: str  # of the lines below it
    depth: int


_UNICODE = _Signs("├─ ", "└─ ", "│  ", "   ", "…")
_ASCII = _Signs("|- ", "`- ", "|  ", "   ", "...")


def text(root: Node, *, max_nodes: int = 100, max_depth: int = 20, ascii: bool = False) -> str:
    """The graph below `root` as a tree of lines: label or operation, data, and grad or "no backward yet".

    max_nodes: how many nodes to print, the nearest to the root first.
    max_depth: how many steps down to go.
    ascii: use ASCII only.

    A node that is used several times is numbered and printed once; later lines refer to it. When nodes are left out, the
    last line says how many. Walks without recursion. Raises InputError when `root` is not a node or a limit is below 1.
    """
    for name, limit in (("max_nodes", max_nodes), ("max_depth", max_depth)):
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise InputError(f"{name} must be a whole number from 1 up, not {limit!r}")
    nodes = inputs_first(expect_node(root))
    uses = Counter(x for node in nodes for x in node.inputs)
    shared = {x for x, count in uses.items() if count > 1}
    lines, printed = _tree(root, _nearest(root, max_nodes), shared, max_depth, _ASCII if ascii else _UNICODE)
    if len(nodes) > printed:
        left_out = len(nodes) - printed
        lines.append(f"... {left_out:,} more node{'s' if left_out > 1 else ''} (max_nodes={max_nodes}, max_depth={max_depth})")
    whole = "\n".join(lines)
    return whole.encode("ascii", "backslashreplace").decode() if ascii else whole


def _nearest(root: Node, count: int) -> set[Node]:
    """The `count` nodes with the fewest steps to the root."""
    found, queue = {root}, deque([root])
    while queue and len(found) < count:
        for x in queue.popleft().inputs:
            if x not in found and len(found) < count:
                found.add(x)
                queue.append(x)
    return found


def _tree(root: Node, allowed: set[Node], shared: set[Node], max_depth: int, signs: _Signs) -> tuple[list[str], int]:
    """The lines, and how many different nodes are printed in full."""
    lines: list[str] = []
    printed: dict[Node, str] = {}  # each with the number that later lines refer to
    numbers = itertools.count(1)
    stack = [_Branch(root, "", "", 0)]
    while stack:
        branch = stack.pop()
        node = branch.node
        if node in printed:
            lines.append(f"{branch.prefix}{printed[node]}{_name(node)}, as above")
        elif node not in allowed or branch.depth > max_depth:
            lines.append(f"{branch.prefix}{signs.more}")
        else:
            printed[node] = f"#{next(numbers)} " if node in shared else ""
            lines.append(f"{branch.prefix}{printed[node]}{_line(node)}")
            stack += reversed(_branches(branch, signs))
    return lines, len(printed)


def _branches(above: _Branch, signs: _Signs) -> list[_Branch]:
    """The lines to come below a node."""
    inner = [_Branch(x, above.indent + signs.branch, above.indent + signs.through, above.depth + 1) for x in above.node.inputs]
    return inner[:-1] + [x._replace(prefix=above.indent + signs.last, indent=above.indent + signs.blank) for x in inner[-1:]]


def _name(node: Node) -> str:
    operation = "" if node.op is None else printable(node.op.symbol)
    label = printable(node.label)
    return f"{label} = {operation}" if label and operation else label or operation or "value"


def _line(node: Node) -> str:
    return f"{_name(node)}  data {number(node.data)}  {gradient(node)}"
