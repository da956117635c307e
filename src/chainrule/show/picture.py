"""A graph as a picture: the view of it, which draw.js lays out, as SVG and PNG. Graphviz is not needed.

>>> from chainrule import Value
>>> x = Value(3.0, label="x")
>>> shown = view(x * x)
>>> shown["nodes"][0]
{'id': 'n0', 'kind': 'value', 'title': 'x', 'lines': ['data 3.0000', 'no backward yet'], 'state': ''}
>>> [(edge["from"], edge["to"]) for edge in shown["edges"]]
[('n0', 'n1op'), ('n0', 'n1op'), ('n1op', 'n1')]
>>> svg(x * x).count('class="edge"')
3

As in the lecture, a box `label | data | grad` stands for each number, and an operation before each result; x * x has two
edges, and the operands of a - b enter from top to bottom. The page draws with the same script, so that a picture is the
same from either. Left out on purpose: collapsed groups, which the page has. Imports engine and errors.
"""

import functools
import json
from collections.abc import Sequence
from typing import Any

from chainrule.engine import Node, inputs_first
from chainrule.errors import GraphError, InputError
from chainrule.show import javascript, raster
from chainrule.show.wording import LONGEST_LABEL, expect_node, gradient, number

MAX_NODES = 1000  # they are laid out in half a second, and nobody can read more
DIRECTIONS = ("LR", "TB", "RL", "BT")
View = dict[str, Any]  # what draw.js takes: "direction", "nodes" and "edges"


def svg(root: Node, *, direction: str = "LR", max_nodes: int = MAX_NODES) -> str:
    """The picture of the graph below `root` as an <svg> element that stands alone.

    direction: where the drawing grows: "LR" (left to right), "TB", "RL" or "BT".
    max_nodes: pictures of larger graphs are refused.

    The same graph gives the same picture. Raises InputError when `root` is not a node, GraphError when the graph is too
    large, MissingDependencyError where mini-racer is not installed.
    """
    nodes = inputs_first(expect_node(root))
    expect_drawable(len(nodes), max_nodes, "svg")
    return drawn(view_of(nodes, direction))


def png(root: Node, *, direction: str = "LR", max_nodes: int = MAX_NODES, scale: float = 2.0) -> bytes:
    """The same as the bytes of a PNG, `scale` pixels for each unit of the SVG; needs resvg-py as well."""
    return raster.png(svg(root, direction=direction, max_nodes=max_nodes), scale)


def view(root: Node, direction: str = "LR") -> View:
    """What a picture shows of the graph below `root`, as plain data.

    Each node has a title (its label), lines (data and grad) and a kind: "value", or "constant" where no gradient is wanted.
    Each operation is a node of kind "op" before its result. Edges into an operation come in the order of its operands.
    """
    return view_of(inputs_first(expect_node(root)), direction)


def view_of(nodes: Sequence[Node], direction: str) -> View:
    """The view of nodes that are given inputs first."""
    if direction not in DIRECTIONS:
        raise InputError(f"unknown rankdir {direction!r}; choose one of {', '.join(DIRECTIONS)}")
    names = {node: f"n{i}" for i, node in enumerate(nodes)}
    boxes: list[dict[str, Any]] = []
    edges: list[dict[str, str]] = []
    for node, name in names.items():
        if node.op is not None:
            boxes.append({"id": f"{name}op", "kind": "op", "title": node.op.symbol, "lines": [], "state": ""})
            edges += [_edge(names[x], f"{name}op") for x in node.inputs]
            edges.append(_edge(f"{name}op", name))
        kind = "value" if node.requires_grad else "constant"
        lines = [f"data {number(node.data)}", gradient(node)]
        boxes.append({"id": name, "kind": kind, "title": shortened(node.label), "lines": lines, "state": ""})
    return {"direction": direction, "nodes": boxes, "edges": edges}


def _edge(start: str, end: str) -> dict[str, str]:
    return {"from": start, "to": end, "label": "", "state": ""}


def shortened(label: str) -> str:
    """The label, whose end is cut where it would hide the numbers beside it."""
    return label if len(label) <= LONGEST_LABEL else label[:LONGEST_LABEL] + "…"


def drawn(view: View) -> str:
    """The SVG of any view, in which no text can leave its place."""
    return _drawn(json.dumps(view))


@functools.lru_cache(maxsize=1)  # a notebook asks for the same picture twice, as HTML and as SVG
def _drawn(view: str) -> str:
    return str(javascript.evaluate(("dagre.min.js", "draw.js"), f"chainruleDraw.svg({view})"))


def expect_drawable(count: int, max_nodes: int, asked: str) -> None:
    """Raise GraphError, with ways out, for a graph of more than `max_nodes` nodes; asked: the function that draws."""
    if count > max_nodes:
        raise GraphError(
            f"this graph has {count:,} nodes and pictures are drawn up to {max_nodes:,}: draw a part of it, such "
            "as one neuron or a loss of one sample, read chainrule.show.text(root), or ask for it with "
            f"{asked}(root, max_nodes={count})"
        )
