"""What opens beside the picture of a page: explanations of gradients, and the backward pass as code, as plain data.

>>> from chainrule import Value
>>> a, b = Value(2.0, label="a"), Value(-3.0, label="b")
>>> loss = a * b + a**2
>>> found = explanations(loss, [b, a, loss])
>>> found["1"]["paths"]["rows"][0][:3]
['a -> ** -> +', '4.0000', 4.0]
>>> sorted(programs(loss))
['latex', 'numpy', 'python', 'torch']

What cannot be made says why, in one sentence. Imports engine, errors, arrays, wording, explain and backward_code.
"""

import math
from collections.abc import Sequence
from typing import Any

from chainrule.engine import Node, gradients
from chainrule.errors import ChainruleError
from chainrule.show import arrays
from chainrule.show.backward_code import STYLES, backward_code
from chainrule.show.explain import WAYS, Explanation, Share, explain
from chainrule.show.flow import size
from chainrule.show.wording import count, number

WORK = 350_000  # nodes that explanations may go through, all together
MOST = 40  # nodes that are explained
TOP = 8  # shares of each
LONGEST_CODE = 300  # nodes; the code of more is long, and there is the function


def explanations(root: Node, nodes: Sequence[Any]) -> dict[str, Any]:
    """By number of a node what its gradient is made up of, in each way that can tell something; "" has all leaves.

    nodes: those of the graph, in the order that numbers them.

    Leaves come first, those with labels before others and large gradients before small ones, as many as are done soon.
    """
    index = {node: i for i, node in enumerate(nodes)}
    found: dict[str, Any] = {"": {"leaves": _leaves(root, index)}}
    for node in _interesting(root, nodes)[: min(MOST, max(1, WORK // (len(WAYS) * len(nodes))))]:
        found[str(index[node])] = {by: told for by in WAYS if (told := _explained(node, root, by, index))}
    return found


def _interesting(root: Node, nodes: Sequence[Any]) -> list[Any]:
    grads = gradients(root)
    wanted = [node for node in nodes if node in grads and node is not root and (node.op is None or node.label)]
    sizes = {node: _size(grads[node]) for node in wanted}
    return sorted(wanted, key=lambda node: (node.op is not None, not node.label, -sizes[node]))


def _leaves(root: Node, index: dict[Any, int]) -> dict[str, Any]:
    try:
        return _told(explain(root, top=20), index)
    except (ChainruleError, ArithmeticError) as error:  # the picture is worth having without its explanations
        return {"head": "the leaves cannot be compared", "trouble": str(error), "rows": []}


def _size(x: Any) -> float:
    found = size(x)
    return found if found == found else math.inf


def _explained(node: Any, root: Node, by: str, index: dict[Any, int]) -> dict[str, Any] | None:
    try:
        explained = explain(node, root, by=by, top=TOP)
    except (ChainruleError, ArithmeticError):  # lines that were not recorded, for example
        return None
    if len(explained.shares) < 2 and by != "paths":
        return None  # one share is the gradient once more
    return _told(explained, index)


def _told(explained: Explanation, index: dict[Any, int]) -> dict[str, Any]:
    shares = [*explained.shares, *([explained.others] if explained.others else [])]
    head = str(explained).partition("\n")[0]
    return {
        "head": head,
        "trouble": explained.trouble,
        "rows": [
            [share.name, _amount(share), _finite(share.share), [index[x] for x in share.nodes if x in index]] for share in shares
        ],
    }


def _amount(share: Share) -> str:
    x = share.contribution
    return "" if x is None else number(float(x)) if getattr(x, "ndim", 0) == 0 else arrays.shown(x)


def _finite(x: float | None) -> float | None:
    return x if x is not None and math.isfinite(x) else None


def programs(root: Node) -> dict[str, dict[str, str]]:
    """The backward pass in each style, or why there is none."""
    found = {}
    for style in STYLES:
        if count(root, LONGEST_CODE) > LONGEST_CODE:
            found[style] = {
                "problem": f"the code of more than {LONGEST_CODE} nodes is not for a page: in Python, backward_code(root)"
            }
            continue
        try:
            found[style] = {"text": str(backward_code(root, style=style))}
        except ChainruleError as error:
            found[style] = {"problem": str(error)}
    return found
