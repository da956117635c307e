"""A node in one phrase, and the first node of a graph that went wrong; training names its culprits with them too.

Imports the engine.
"""

import math
from typing import Any

from chainrule import engine


def described(node: Any) -> str:
    """A node in one phrase: its label, operation and inputs with their values.

    >>> described(engine.Value(2.0, label="a") * 3)
    'mul(a=2.0, 3.0) = 6.0'
    """
    name = f"{node.label} = " if node.label and node.op else ""
    if node.op is None:
        return f"{node.label}={node.data!r}" if node.label else repr(node.data)
    inputs = ", ".join(f"{x.label}={x.data!r}" if x.label else repr(x.data) for x in node.inputs)
    return f"{name}{node.op.name}({inputs}) = {node.data!r}"


def first_non_finite(root: Any) -> Any:
    """The first node, inputs before what is made of them, that is NaN or infinite; `root` itself when there is none.

    >>> x = engine.Value(1000.0, label="x")
    >>> described(first_non_finite(1 - x.exp()))
    'exp(x=1000.0) = inf'
    """
    return next((node for node in engine.inputs_first(root) if not math.isfinite(node.data)), root)
