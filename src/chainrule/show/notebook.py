"""What a notebook shows for a node: the drawing where Graphviz is installed and the graph is small, else the text tree.

The engine's nodes call `html` and `svg` by name, when a notebook asks for them. Imports engine and errors.
"""

import html as markup

from chainrule.engine import Node
from chainrule.errors import GraphError
from chainrule.show import graphviz
from chainrule.show.drawing import draw_dot
from chainrule.show.tree import text
from chainrule.show.wording import expect_node

LARGEST = 200  # nodes; a larger drawing does not fit a page, and slows the notebook down


def svg(node: Node) -> str | None:
    """The drawing of a node's graph as an <svg> element; None without Graphviz, or above LARGEST nodes.

    Raises GraphError, with what Graphviz said, when it fails.
    """
    if graphviz.find() is None or not _is_small(expect_node(node)):
        return None
    return graphviz.element(draw_dot(node).source)


def html(node: Node) -> str:
    """The same as HTML; where there is no drawing, the text tree, and what Graphviz said if it failed."""
    failure = ""
    try:
        picture = svg(node)
    except GraphError as error:
        picture, failure = None, f"{error}\n\n"
    return picture or f"<pre>{markup.escape(failure + text(node))}</pre>"


def _is_small(root: Node) -> bool:
    """Whether a graph has at most LARGEST nodes; looks at few more, however large the graph is."""
    seen, stack = {root}, [root]
    while stack and len(seen) <= LARGEST:
        new = {x for x in stack.pop().inputs if x not in seen}
        seen |= new
        stack += new
    return len(seen) <= LARGEST
