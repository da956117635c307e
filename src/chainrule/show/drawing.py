"""A graph as a drawing: `trace` and `draw_dot` under the lecture's names, with DOT text that needs nothing installed.

>>> from chainrule import Value
>>> x = Value(3.0, label="x")
>>> print(draw_dot(x * x).source)
digraph {
  rankdir=LR; node [shape=record];
  n0 [label="{ x | data 3.0000 | no backward yet }"];
  n1 [label="{ data 9.0000 | no backward yet }"];
  n1op [label="*", shape=ellipse, ordering=in];
  n1op -> n1;
  n0 -> n1op;
  n0 -> n1op;
}
<BLANKLINE>

SVG and PNG are drawn by picture.py, and by Graphviz where that lacks its package; PDF by Graphviz. Left out on purpose:
collapsed groups of nodes, which the page has. Imports engine, errors and files.
"""

import contextlib
import html
import os
import re
from collections.abc import Iterator
from pathlib import Path

from chainrule.engine import Node, inputs_first
from chainrule.errors import GraphError, InputError, MissingDependencyError
from chainrule.files import write_atomically
from chainrule.show import graphviz, picture, raster
from chainrule.show.picture import DIRECTIONS, MAX_NODES, View
from chainrule.show.wording import LONGEST_LABEL, expect_node, gradient, number


def trace(root: Node) -> tuple[set[Node], set[tuple[Node, Node]]]:
    """All nodes below `root`, with `root`, and all `(input, result)` pairs, as the lecture's sets.

    A set holds an edge once, so x * x has one pair here; `draw_dot` draws one edge per input, and both of x * x. Walks
    without recursion. Raises InputError when `root` is not a node.

    >>> from chainrule import Value
    >>> a = Value(2.0)
    >>> nodes, edges = trace(a * 3 + a)
    >>> len(nodes), len(edges)
    (4, 4)
    """
    nodes = inputs_first(expect_node(root))
    return set(nodes), {(x, node) for node in nodes for x in node.inputs}


def draw_dot(root: Node, format: str = "svg", rankdir: str = "LR", *, max_nodes: int = MAX_NODES) -> "Dot":
    """The drawing of the graph below `root`: record boxes `label | data | grad`, an operation before each result.

    format: what `render` writes and `pipe` gives by default: svg, png or pdf.
    rankdir: where the drawing grows: "LR" (left to right), "TB", "RL" or "BT".
    max_nodes: pictures of larger graphs are refused; the DOT text never is.

    The picture is of this moment: later backward passes do not change it. The same graph gives the same text. Raises
    InputError when `root` is not a node, or for an unknown format or direction.
    """
    if rankdir not in DIRECTIONS:
        raise InputError(f"unknown rankdir {rankdir!r}; choose one of {', '.join(DIRECTIONS)}")
    nodes = inputs_first(expect_node(root))
    chosen = graphviz.checked_format(format)
    view = picture.view_of(nodes, rankdir) if len(nodes) <= max_nodes else None
    return Dot("\n".join(_lines(nodes, rankdir)) + "\n", len(nodes), chosen, max_nodes, view)


def _lines(nodes: list[Node], rankdir: str) -> Iterator[str]:
    names = {node: f"n{i}" for i, node in enumerate(nodes)}
    # A record turns with the drawing: braces put its fields side by side again.
    opening, closing = ("{ ", " }") if rankdir in ("LR", "RL") else ("", "")
    yield "digraph {"
    yield f"  rankdir={rankdir}; node [shape=record];"
    for node, name in names.items():
        style = "" if node.requires_grad else ", style=dashed"
        yield f'  {name} [label="{opening}{_fields(node)}{closing}"{style}];'
        if node.op is not None:
            # ordering=in keeps the inputs in their order, the first on top: else a - b and b - a would look the same.
            yield f'  {name}op [label="{escaped(node.op.symbol)}", shape=ellipse, ordering=in];'
            yield f"  {name}op -> {name};"
            for x in node.inputs:
                yield f"  {names[x]} -> {name}op;"
    yield "}"


def _fields(node: Node) -> str:
    label = [escaped(node.label)] if node.label else []
    return " | ".join([*label, f"data {escaped(number(node.data))}", gradient(node)])


def escaped(text: str) -> str:
    """`text` such that Graphviz shows it as it is, within the quotes of a label, in a record or outside of one.

    What ends a string, a field or a record becomes an HTML character reference, a backslash is doubled, a line break
    stays one, and what cannot stand in an SVG file (control characters, halves of surrogate pairs) becomes U+FFFD.

    >>> print(escaped('a|b "c"'))
    a&#124;b &quot;c&quot;
    """
    text = text if len(text) <= LONGEST_LABEL else text[:LONGEST_LABEL] + "…"
    return _SPECIAL.sub(lambda found: _ESCAPES.get(found[0], "\ufffd"), text.replace("\r\n", "\n"))


_SPECIAL = re.compile(r'[\\{}|&<>"\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]')
_ESCAPES = {"\\": r"\\", "\n": r"\n", "\r": r"\n", "\t": " ", "{": "&#123;", "}": "&#125;", "|": "&#124;"}
_ESCAPES |= {c: html.escape(c) for c in '&<>"'}


class Dot:
    """A drawing as DOT text, and the ways to make a picture of it.

    source: the DOT text.
    nodes: how many nodes of the graph it shows.
    format: svg, png or pdf.
    view: what the picture shows, as `chainrule.show.picture.view` gives it; without one Graphviz draws the DOT text.

    Notebooks show the picture. Methods that draw raise MissingDependencyError where neither mini-racer (for PNG also
    resvg-py) nor Graphviz is installed, and GraphError when the graph is too large or drawing fails; `source` and `save`
    always work.
    """

    def __init__(
        self, source: str, nodes: int, format: str = "svg", max_nodes: int = MAX_NODES, view: View | None = None
    ) -> None:
        self.source = source
        self.nodes = nodes
        self.format = format
        self.max_nodes = max_nodes
        self.view = view

    def pipe(self, format: str | None = None) -> bytes:
        """The bytes of the picture, in `format` or that of the drawing."""
        chosen = self.format if format is None else graphviz.checked_format(format)
        picture.expect_drawable(self.nodes, self.max_nodes, "draw_dot")
        if self.view is not None and chosen != "pdf":
            with self._graphviz_may_serve():
                svg = picture.drawn(self.view)
                return svg.encode() if chosen == "svg" else raster.png(svg)
        return graphviz.draw(self.source, chosen)

    def element(self) -> str:
        """The picture as an <svg> element, as it stands in a page."""
        picture.expect_drawable(self.nodes, self.max_nodes, "draw_dot")
        if self.view is not None:
            with self._graphviz_may_serve():
                return picture.drawn(self.view)
        return graphviz.element(self.source)

    @contextlib.contextmanager
    def _graphviz_may_serve(self) -> Iterator[None]:
        """Let the lines after this one draw with Graphviz, if it is there, where a package is missing."""
        try:
            yield
        except MissingDependencyError:
            if graphviz.find() is None:
                raise

    def render(self, filename: str | os.PathLike[str], format: str | None = None) -> str:
        """Write the picture to `filename`, with the format's ending unless it has it, and return that path.

        filename: `render("gout")` writes gout.svg; `render("gout.png")` writes a PNG.
        format: svg, png or pdf; by default what the filename ends with, or else the drawing's.
        """
        path = _checked_path(filename)
        ending = path.suffix[1:].lower()
        known = ending if ending in graphviz.FORMATS else self.format
        chosen = known if format is None else graphviz.checked_format(format)
        if ending != chosen:
            path = path.with_name(f"{path.name}.{chosen}")
        return _write(path, self.pipe(chosen))

    def save(self, path: str | os.PathLike[str]) -> str:
        """Write the DOT text to `path` and return it; needs nothing installed."""
        return _write(_checked_path(path), self.source.encode())

    def _repr_svg_(self) -> str | None:
        with contextlib.suppress(GraphError, MissingDependencyError):  # _repr_html_ tells why
            return self.element()
        return None

    def _repr_html_(self) -> str:
        try:
            return self.element()
        except (GraphError, MissingDependencyError) as error:
            return f"<pre>{html.escape(str(error))}</pre>"

    def __str__(self) -> str:
        return self.source

    def __repr__(self) -> str:
        return f"<Dot of {self.nodes:,} nodes: .source is its text, .render('name') writes name.{self.format}>"


def _checked_path(filename: str | os.PathLike[str]) -> Path:
    path = Path(filename)
    if not path.name:
        raise InputError(f"a file name is needed, not {str(filename)!r}")
    return path


def _write(path: Path, content: bytes) -> str:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    return str(path)
