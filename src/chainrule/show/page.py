"""One self-contained page of a graph: the forward pass plays, the backward pass steps, large graphs open group by group.

>>> from chainrule import Value
>>> a, b = Value(2.0, label="a"), Value(-3.0, label="b")
>>> found = page(a * b)
>>> found
<Page of 3 nodes: .html is its text, .save('graph.html') writes it>
>>> "Content-Security-Policy" in found.html
True

A page needs no server, no network and nothing installed: styles, scripts and the graph are in the one file, and its policy
forbids it to load anything else, or to run any script but its own. What comes from a graph (labels, names of files and
modules) is text in it, never markup. The scripts are in the folder web, one idea in each. Imports engine, errors, files,
origins and the rest of this room.
"""

import base64
import hashlib
import html as markup
import inspect
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chainrule.engine import Node
from chainrule.errors import InputError
from chainrule.files import write_atomically
from chainrule.origins import record
from chainrule.show.expression import Expression
from chainrule.show.facts import facts, written
from chainrule.show.tree import text
from chainrule.show.wording import expect_node, printable

WEB = Path(__file__).with_name("web")
SCRIPTS = (
    "dagre.min", "draw", "graph", "passes", "words", "timeline", "groups", "boxes", "scene", "address", "dom", "camera",
    "stage", "moment", "explain", "panels", "keyboard", "player", "controls", "export", "page",
)  # fmt: skip
"""The files of web, each after those that it uses."""


def page(
    root: Node | Callable[[], Any],
    path: str | os.PathLike[str] | None = None,
    *,
    title: str | None = None,
    expression: Expression | None = None,
) -> "Page":
    """The page of the graph below `root`.

    root: the output; or a function without arguments that returns it, which is called with the lines and modules of its nodes
        recorded, so that the page can group by them.
    path: where to write the page; default nowhere.
    title: its heading; default the label of the output.
    expression: what the graph was read from, if it was (chainrule.show.expression.read), to be shown as it was written.

    Gradients are those of one backward pass from `root`, made on the side: no node is changed. Raises InputError when there
    is no node, or when the file cannot be written; GraphError when the graph is too large for a page.
    """
    node = _called(root) if callable(root) and not isinstance(root, Node) else expect_node(root)
    made = Page(node, title, expression)
    if path is not None:
        made.save(path)
    return made


def _called(function: Callable[[], Any]) -> Node:
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise InputError(f"page takes a node, or a function without arguments that returns one: {error}") from None
    except ValueError:  # a built-in function without a signature
        pass
    with record():
        return expect_node(function())


class Page:
    """The page of a graph, as it is at this moment; later changes of the graph do not change it.

    html: the whole file. nodes: how many nodes it has.
    """

    def __init__(self, root: Node, title: str | None = None, expression: Expression | None = None) -> None:
        if title is not None and not isinstance(title, str):
            raise InputError(f"a title is a string, not {type(title).__name__} {title!r:.40}")
        found = facts(root)
        if expression is not None:
            found |= written(root, expression)
        found["titled"] = title is not None
        self.nodes: int = found["count"]
        named = title or (root.label if expression is None else expression.text) or "graph"
        self.html = _filled(found, printable(named), text(root, max_nodes=100))

    def save(self, path: str | os.PathLike[str]) -> str:
        """Write the page to `path`, whole or not at all, and return that path; InputError where that is impossible."""
        if not isinstance(path, (str, os.PathLike)):
            raise InputError(f"a page is written to a path, not to {type(path).__name__} {path!r:.40}")
        target = Path(path)
        if target.suffix.lower() in (".svg", ".png", ".pdf", ".dot"):
            raise InputError(f"a page is HTML, which {target} should not hold; pictures are made by draw_dot(root).render(...)")
        if not target.name:
            raise InputError(f"a file name is needed, not {str(path)!r}")
        try:
            write_atomically(target, self.html.encode())
        except OSError as error:
            raise InputError(f"cannot write {target}: {error.strerror}") from error
        return str(target)

    def _repr_html_(self) -> str:
        return self.frame()

    def frame(self, fallback: str = "", height: int = 640) -> str:
        """The page as an element of another page, in a frame that can neither see nor change what is around it.

        fallback: what programs show that have no frames, as HTML. height: in pixels.
        """
        source = markup.escape(self.html)
        style = f"width: 100%; height: {height}px; border: 0"
        return f'<iframe sandbox="allow-scripts allow-downloads" style="{style}" srcdoc="{source}">{fallback}</iframe>'

    def __repr__(self) -> str:
        return f"<Page of {self.nodes:,} node{'s' * (self.nodes != 1)}: .html is its text, .save('graph.html') writes it>"


def _filled(found: dict[str, Any], title: str, tree: str) -> str:
    # Dagre comes with its licence wherever it goes.
    licence = f"/*\n{(WEB / 'dagre.LICENSE.txt').read_text(encoding='utf-8')}*/"
    script = "\n".join([licence, *((WEB / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)])
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "policy": f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src blob: data:; "
        "base-uri 'none'; form-action 'none'",
        "title": markup.escape(_encodable(title)),
        "style": (WEB / "page.css").read_text(encoding="utf-8"),
        "text": markup.escape(_encodable(tree)),
        "facts": _in_a_script(found),
        "script": script,
    }
    template = (WEB / "page.html").read_text(encoding="utf-8")
    return _PLACE.sub(lambda place: parts[place[1]], template)  # in one go: what is put in is not looked at again


_PLACE = re.compile(r"\{\{(\w+)\}\}")


def _encodable(text: str) -> str:
    """Without halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-8", "replace").decode()


def _in_a_script(found: Any) -> str:
    """JSON that ends no script element and begins no comment, whatever the labels are; ASCII only."""
    return (
        json.dumps(found, separators=(",", ":"), allow_nan=False)
        .replace("<", r"\u003c")
        .replace(">", r"\u003e")
        .replace("&", r"\u0026")
    )
