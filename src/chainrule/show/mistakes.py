"""Two backward passes that go wrong, to be shown beside the right one: without topological order, and with = for +=.

>>> from chainrule import Value
>>> from chainrule.show.steps import steps
>>> x = Value(3.0, label="x")
>>> taken = steps(x * x + x)
>>> taken.grads[x], mistaken(taken, "assign").grads[x]
(7.0, 3.0)
>>> b = x * 2
>>> taken = steps(b * (b + 1))
>>> taken.grads[x], mistaken(taken, "order").grads[x]
(26.0, 14.0)

The page computes the same for scalars, where it may be asked for edges to be cut as well; a test compares them. Imports
engine, arrays and steps.
"""

from typing import Any, NamedTuple

from chainrule import engine
from chainrule.show import arrays
from chainrule.show.steps import Steps

KINDS = ("order", "assign")


class Mistaken(NamedTuple):
    """What came out.

    order: the nodes in the order in which they passed their gradients on.
    after: the gradient of an input after a node has passed on to it, by node and position of the input.
    grads: the gradients at the end.
    """

    order: list[Any]
    after: dict[tuple[Any, int], Any]
    grads: dict[Any, Any]


def mistaken(taken: Steps, kind: str) -> Mistaken:
    """The pass that makes one mistake, on the graph of a right one.

    kind: "order", where each node passes its gradient on as soon as it is reached, depth first, whether or not all of its
        gradient has arrived; or "assign", where the last amount to arrive takes the place of the others.
    """
    order = _as_reached(taken.root) if kind == "order" else taken.nodes[1:]
    grads: dict[Any, Any] = {taken.root: taken.grads[taken.root]}
    after: dict[tuple[Any, int], Any] = {}
    for node in order:
        for i, amount in _passed_on(node, grads[node]):
            x = node.inputs[i]
            grads[x] = grads[x] + amount if kind == "order" and x in grads else amount
            after[node, i] = grads[x]
    return Mistaken(order, after, grads)


def _as_reached(root: Any) -> list[Any]:
    """The results of operations, each before its inputs, the first input first."""
    order: dict[Any, None] = {}
    stack = [root]
    while stack:
        node = stack.pop()
        if node.op is not None and node not in order:
            order[node] = None
            stack += [node.inputs[i] for i in reversed(_receiving(node))]
    return list(order)


def _receiving(node: Any) -> list[int]:
    """The positions of the inputs that a gradient flows to."""
    rules = getattr(node.op, "derivatives", None) or (True,) * len(node.inputs)
    return [i for i, x in enumerate(node.inputs) if x.requires_grad and rules[i] is not None]


def _passed_on(node: Any, g: Any) -> list[tuple[int, Any]]:
    """What the inputs get when the gradient of a node is g."""
    if isinstance(node, engine.Value):
        slopes: Any = engine._slopes(node)
        return [(i, g * slopes[i]) for i in _receiving(node)]
    return [(i, amount) for i, _, amount in arrays.amounts(node, g, _receiving(node))]
