"""Eyes: a graph as a page that steps through the chain rule, as pictures and text, explained, and written out as code.

>>> from chainrule import Value
>>> from chainrule.show import backward_code, draw_dot, explain, text
>>> a, b = Value(2.0, label="a"), Value(-3.0, label="b")
>>> loss = a * b
>>> loss.backward()
>>> print(text(loss))
*  data -6.0000  grad 1.0000
├─ a  data 2.0000  grad -3.0000
└─ b  data -3.0000  grad 2.0000
>>> print(draw_dot(loss).source.splitlines()[0])
digraph {

`page(loss, "graph.html")` writes one HTML file in which a person plays both passes; `draw_dot(loss).render("loss.svg")` the
picture alone, for which `pip install 'chainrule[show]'` brings what is needed; `explain` says what makes up a gradient, and
`backward_code` is the backward pass as a program. Within `record()` nodes keep the line and the module they were made in,
by which large graphs fold. `chainrule.show.steps` has the chain rule in words, `chainrule.show.expression` reads expressions.

Everything here is a pure function of a graph: it reads the public facts of nodes (`data`, `grad`, `has_grad`, `op`,
`inputs`, `label`, `origin`, `requires_grad`) and changes none. Imports the core only.
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
