"""What a notebook shows for a node: the page of its graph; as a picture the drawing, where it can be made and is small.

The engine's nodes call `html` and `svg` by name, when a notebook asks for them. Imports engine, errors and page.
"""

import contextlib
import html as markup

from chainrule.engine import Node
from chainrule.errors import GraphError, MissingDependencyError
from chainrule.show.drawing import draw_dot
from chainrule.show.page import Page
from chainrule.show.tree import text
from chainrule.show.wording import count, expect_node

LARGEST = 200  # nodes; a larger drawing does not fit a page, and slows the notebook down


def svg(node: Node) -> str | None:
    """The drawing of a node's graph as an <svg> element; None above LARGEST nodes, or where nothing is installed to draw it.

    Raises GraphError, with what was said, when drawing fails.
    """
    if count(expect_node(node), LARGEST) > LARGEST:
        return None
    with contextlib.suppress(MissingDependencyError):
        return draw_dot(node).element()
    return None


def html(node: Node) -> str:
    """The page of a node's graph in a frame of its own; the text tree where there are no frames.

    A graph that is too large for a page is a sentence that says so, and the text tree.
    """
    tree = f"<pre>{markup.escape(text(expect_node(node)))}</pre>"
    try:
        return Page(node).frame(tree)
    except GraphError as error:
        return f"<p>{markup.escape(str(error))}</p>{tree}"
