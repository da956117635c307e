"""Where a NaN or an infinity came from: the first node of a graph, inputs first, whose number is not finite.

Imports the engine.
"""

import math
from collections.abc import Iterable
from typing import Any

from chainrule.engine import Node, inputs_first


def first_non_finite(root: Node) -> Node | None:
    """The first node, inputs before what is made of them, that is NaN or infinite; None when there is none.

    >>> from chainrule import Value
    >>> x = Value(1000.0, label="x")
    >>> describe(first_non_finite(1 - x.exp()))
    'exp(x=1000.0) = inf'
    """
    return next((node for node in inputs_first(root) if not math.isfinite(node.data)), None)


def describe(node: Node) -> str:
    """A node in words: its operation, its label, its inputs and its number."""
    name = f"{node.label!r}: " if node.label and node.op else ""
    if node.op is None:
        return f"the {'parameter' if node.requires_grad else 'number'} {node.label or '(without a label)'} = {node.data}"
    return f"{name}{node.op.name}({', '.join(map(_short, node.inputs))}) = {node.data}"


def _short(node: Node) -> str:
    return f"{node.label}={node.data}" if node.label else str(node.data)


def first_bad_gradient(parameters: Iterable[tuple[str, Any]]) -> str | None:
    """The first parameter whose gradient is not finite, in words; None when all are."""
    return next((f"the gradient of {name} = {p.grad}" for name, p in parameters if not math.isfinite(p.grad)), None)
