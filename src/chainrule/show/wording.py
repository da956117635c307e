"""What a picture says about one node: its number, its gradient, and its name where labels may hold any text.

Shared by the drawing and the tree, so that both say the same. Imports engine and errors.
"""

import numbers
from typing import Any

from chainrule.engine import Node
from chainrule.errors import InputError

LONGEST_LABEL = 60  # characters; a longer one would hide the numbers beside it


def expect_node(root: Any) -> Node:
    """`root`, when it is a node; InputError naming what came when it is not."""
    if not isinstance(root, Node):
        raise InputError(f"only a graph can be shown: give the Value at its output, not {type(root).__name__} {root!r:.40}")
    return root


def count(root: Any, limit: int) -> int:
    """How many nodes a graph has; of one with more than `limit` a few more than that are looked at, however large it is."""
    seen, stack = {root}, [root]
    while stack and len(seen) <= limit:
        new = {x for x in stack.pop().inputs if x not in seen}
        seen |= new
        stack += new
    return len(seen)


def number(x: Any) -> str:
    """A float with four decimals; the shape and type of anything larger.

    Where four decimals would show a number other than 0 as 0.0000, or hundreds of digits, there is an exponent instead.

    >>> number(0.5), number(3e-7), number(-1e300)
    ('0.5000', '3.000e-07', '-1.000e+300')
    """
    if isinstance(x, numbers.Real):
        size = abs(float(x))
        plain = size == 0 or 5e-5 <= size < 1e9 or not size < float("inf")
        return f"{float(x):.4f}" if plain else f"{float(x):.3e}"
    if hasattr(x, "shape"):
        return f"{'x'.join(str(n) for n in x.shape) or 'scalar'} {getattr(x, 'dtype', type(x).__name__)}"
    return type(x).__name__


def short(x: float) -> str:
    """A float for a formula: four decimals or four digits, whichever tells more, and no zeros at the end.

    >>> short(-6.0), short(0.70710678), short(0.00123456), short(3e-7), short(1e300)
    ('-6', '0.7071', '0.001235', '3e-07', '1e+300')
    """
    size = abs(float(x))
    if not size < float("inf"):
        return f"{float(x):g}"
    if size == 0:
        return "0"
    shown = f"{float(x):.4f}" if 0.1 <= size < 1e9 else f"{float(x):.4g}"
    return shown.rstrip("0").rstrip(".") if "." in shown and "e" not in shown else shown


def gradient(node: Node) -> str:
    """What is known of a node's gradient, in words: a grad of zero and no grad at all are different things."""
    if not node.requires_grad:
        return "constant"
    return f"grad {number(node.grad)}" if node.has_grad else "no backward yet"


def name_of(node: Node) -> str:
    """A node's label; of a parameter without one the name it has in the model, where that was recorded; else ""."""
    return node.label or (node.origin.name if node.origin and node.op is None else "")


def printable(label: str) -> str:
    """The label on one line: control characters, which a terminal would obey, are spelled out; the end of a long one is cut.

    >>> printable("two\\nlines")
    'two\\\\nlines'
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in label[: LONGEST_LABEL + 1])
    return shown if len(label) <= LONGEST_LABEL else shown[:LONGEST_LABEL] + "…"
