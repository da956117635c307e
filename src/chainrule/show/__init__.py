"""Pictures of an expression graph: DOT text, SVG and PNG, a text tree for the terminal, and notebooks.

>>> from chainrule import Value
>>> from chainrule.show import draw_dot, text
>>> a, b = Value(2.0, label="a"), Value(-3.0, label="b")
>>> loss = a * b
>>> loss.backward()
>>> print(text(loss))
*  data -6.0000  grad 1.0000
├─ a  data 2.0000  grad -3.0000
└─ b  data -3.0000  grad 2.0000
>>> print(draw_dot(loss).source.splitlines()[0])
digraph {

`draw_dot(loss).render("loss")` writes loss.svg and returns that path; it needs `pip install 'chainrule[show]'`, the text forms
need nothing.

Every function here is a pure function of a graph: it reads the public facts of nodes (`data`, `grad`, `has_grad`, `op`,
`inputs`, `label`, `requires_grad`) and changes none. Left out on purpose: collapsing large graphs, and stepping through
a backward pass. Imports engine, errors and files.
"""

from chainrule.origins import record
from chainrule.show.backward_code import BackwardCode, backward_code
from chainrule.show.drawing import Dot, draw_dot, trace
from chainrule.show.explain import Explanation, explain
from chainrule.show.notebook import html, svg
from chainrule.show.page import Page, page
from chainrule.show.tree import text

__all__ = [
    "BackwardCode",
    "Dot",
    "Explanation",
    "Page",
    "backward_code",
    "draw_dot",
    "explain",
    "html",
    "page",
    "record",
    "svg",
    "text",
    "trace",
]
