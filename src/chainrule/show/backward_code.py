"""The backward pass of a graph written out by hand: `backward_code`.

>>> from chainrule import Value
>>> x, w, b = Value(2.0, label="x"), Value(-3.0, label="w"), Value(6.5, label="b")
>>> o = (x * w + b).tanh()
>>> o.label = "o"
>>> print(backward_code(o))
import math
<BLANKLINE>
# forward
x = 2.0
w = -3.0
b = 6.5
v5 = x * w + b
o = math.tanh(v5)
<BLANKLINE>
# backward
do = 1.0
dv5 = (1 - o**2) * do
db = dv5
dx = w * dv5
dw = x * dv5
<BLANKLINE>

Each line is a rule of the table, run on names instead of numbers (algebra.py) and printed in a language (languages.py);
there is no second table. Imports engine, errors and wording; the writer, which needs NumPy, when it is used.
"""

from collections.abc import Mapping
from typing import Any

from chainrule.engine import Node, Value
from chainrule.errors import GraphError, InputError, did_you_mean
from chainrule.show.wording import count, expect_node

STYLES = ("python", "numpy", "torch", "latex")
MAX_NODES = 2000  # longer programs are not read


class BackwardCode(str):
    """A program as text, and what belongs to it.

    style: its language.
    inputs: the arrays that it needs by name, those too large to be written out: `exec(code, dict(code.inputs))` runs it.
    names: what its nodes are called; the gradient of a node called x is dx.

    Notebooks show formulas as such.
    """

    __slots__ = ("inputs", "names", "style")

    style: str
    inputs: Mapping[str, Any]
    names: Mapping[Node, str]

    def _repr_latex_(self) -> str | None:
        return f"$$\n{self}$$" if self.style == "latex" else None


def backward_code(root: Node, style: str = "python", *, forward: bool = True, max_nodes: int = MAX_NODES) -> BackwardCode:
    """The manual backward pass from `root` as a program, with the names that labels give.

    root: the output, one number.
    style: "python" (numbers, with math), "numpy" (arrays; of Values, numbers or arrays of them), "torch" or "latex".
    forward: whether the forward pass comes first (default), so that the program runs alone. Without it only the gradients
        are there; they need the values by their names.
    max_nodes: larger graphs are refused; nobody reads their programs.

    The gradient of x is dx. Each has a line, with its shape as a comment; += adds up where something is used more than once.
    What has no label stands within the expression that uses it, where that is short and its gradient needs no line of its
    own; else it is called v3, say, as by the page and by `steps`.
    The numbers are the engine's, but for rounding; comparisons are written as if no number were NaN.

    Raises InputError for what is no node and an unknown style, GraphError when there is nothing to differentiate or too
    much to read, OperationError for a registered operation whose rules do not run on names.

    >>> from chainrule.tensor import Tensor
    >>> h, W = Tensor([[1.0, 2.0]], label="h"), Tensor([[3.0], [4.0]], requires_grad=True, label="W")
    >>> print(backward_code((h @ W).sum(), "numpy", forward=False))
    import numpy as np
    <BLANKLINE>
    # backward
    dL = 1.0
    dW = h.T @ np.broadcast_to(dL, (1, 1))  # (2, 1)
    <BLANKLINE>
    """
    _check(root, style, max_nodes)
    from chainrule.show import languages, writer  # here, so that who shows scalars does not wait for NumPy

    written = writer.Writer(root, languages.LANGUAGES[style])
    code = BackwardCode(written.text(forward))
    code.style, code.inputs, code.names = style, written.inputs, written.names
    return code


def _check(root: Any, style: str, max_nodes: int) -> None:
    expect_node(root)
    if style not in STYLES:
        raise InputError(f"unknown style {style!r}; choose one of {', '.join(STYLES)}{did_you_mean(style, STYLES)}")
    if isinstance(max_nodes, bool) or not isinstance(max_nodes, int) or max_nodes < 1:
        raise InputError(f"max_nodes must be a whole number from 1 up, not {max_nodes!r}")
    if not root.requires_grad:
        raise GraphError("this node was made from constants or under no_grad(), so it has no backward pass to write out")
    if style == "python" and not isinstance(root, Value):
        raise InputError("style 'python' writes numbers, and this is a graph of tensors; choose 'numpy', 'torch' or 'latex'")
    if getattr(root, "size", 1) != 1:
        raise InputError(
            f"a backward pass begins at one number, but this tensor has shape {tuple(root.shape)}; reduce it, say with .sum()"
        )
    if count(root, max_nodes) > max_nodes:
        raise GraphError(
            f"this graph has more than {max_nodes:,} nodes, and its backward pass as many lines: write out a part of it, such "
            "as one neuron or the loss of one sample, or ask for it with a larger max_nodes"
        )
