"""The command `chainrule show`: an expression and its numbers in, its graph, its gradients and the chain rule out.

It reads its options, calls the room that does the work, and words the answer. What goes wrong is raised; cli.py makes it one
sentence, with the place in the expression marked. Imports click, the engine, errors, files and the rest of this room.
"""

import itertools
import os
import re
import sys
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from chainrule import engine
from chainrule.errors import DomainError, GraphError, InputError, did_you_mean
from chainrule.files import write_atomically
from chainrule.show import colors, drawing, stepping
from chainrule.show.backward_code import STYLES, backward_code
from chainrule.show.expression import Expression, marked, read
from chainrule.show.tree import text

PAGE = "graph.html"
LARGE = 100  # nodes; above, the tree folds
EPILOG = """\b
Examples:
  chainrule show "tanh(x1*w1 + x2*w2 + b)" x1=2 x2=0 w1=-3 w2=1 b=6.88
  chainrule show "a=2; b=-3; c=10; e = a*b; d = e + c; f=-2; L = d*f" --step
  chainrule show "log(1 + exp(-y*s))" y=1 s=0.3 -o loss.svg
  chainrule show "sigmoid(w*x) ** 2" w=0.5 x=3 --code latex
  chainrule show "x*y + x" x=3 y=4 --explain x"""


class _Command(click.Command):
    """A command whose first argument may begin with a minus, as "-x**2" does, without being an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments, with a blank before an expression that looks like an option."""
        known = {word for option in self.params for word in option.opts} | {"-h", "--help"}
        shown = [f" {arg}" if _NEGATIVE.match(arg) and arg[:2] not in known else arg for arg in args]
        return super().parse_args(ctx, args if "--" in args else shown)


_NEGATIVE = re.compile(r"-\s*[\w(.]")


def _style(ctx: click.Context, option: click.Parameter, word: str | None) -> str | None:
    if word is None or word in STYLES:
        return word
    raise click.BadParameter(f"{word!r} is none of {', '.join(STYLES)}{did_you_mean(word, STYLES)}", ctx, option)


@click.command(cls=_Command, epilog=EPILOG)
@click.argument("expression")
@click.argument("values", nargs=-1, metavar="[NAME=NUMBER]...")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="What to write: a page (.html), a picture (.svg, .png), the text of Graphviz (.dot) or the tree (.txt). A single - is "
    "the page on standard output.  [default: graph.html, graph-2.html, ...]",
)
@click.option("--open", "browse", is_flag=True, help="Open the page in a browser.")
@click.option("--step", is_flag=True, help="Step through both passes here in the terminal; in a pipe, print every step.")
@click.option("--explain", metavar="NAME", help="Print what makes up the gradient of NAME, by paths.")
@click.option("--code", callback=_style, metavar="STYLE", help=f"Print the backward pass as code: {', '.join(STYLES)}.")
@click.option(
    "--color/--no-color", default=None, help="Paint what is printed, or do not.  [default: in a terminal, unless NO_COLOR is set]"
)
@click.option("--force", is_flag=True, help="Replace the file that is in --output, or graph.html.")
def show(
    expression: str,
    values: tuple[str, ...],
    output: str | None,
    browse: bool,
    step: bool,
    explain: str | None,
    code: str | None,
    color: bool | None,
    force: bool,
) -> None:
    """Show the graph of an EXPRESSION: its numbers, its gradients, and the chain rule step by step.

    EXPRESSION stands in quotes: + - * / ** and parentheses, the functions of the table (exp, log, tanh, relu, ...), and names.
    Each name gets its number as NAME=NUMBER, or in the expression, in which results can have names too:
    "a=2; b=-3; e = a*b; L = e + 10".

    Printed are the nodes as a tree, the output on top, each with its number, its gradient and the local derivative of the node
    above by it. Written is a page for any browser, without a network, that plays the forward pass and steps through the backward
    pass. With --step, --explain or --code that is printed instead, and a page written only for --output or --open.
    """
    read_expression = read(expression.strip(), _numbers(values))
    printing = step or bool(explain or code)
    if output == "-" and (printing or browse):
        raise InputError(
            "-o - puts the page on standard output, where nothing else fits; leave out --step, --explain, --code, --open"
        )
    target = _target(output, browse, printing, force)
    write = None if target is None else _content(target)  # an unknown ending is refused before anything is shown
    root = read_expression.root
    _differentiate(read_expression)
    painted = colors.wanted(sys.stdout) if color is None else color
    if explain:
        _say(_explained(read_expression, explain), painted)
    if code:
        _say(backward_code(root, style=code).rstrip("\n"), painted)
    if step:
        stepping.play(root, expression=read_expression, color=painted)
    if not (explain or code or step or output == "-"):
        _say(_tree(root, ascii=not _holds("├", sys.stdout), color=painted), painted)
    if write is not None and target is not None:
        _write(target, write(read_expression))
        if browse:
            _open(target)


# ---- values ----------------------------------------------------------------------------------------------------------


def _numbers(values: Sequence[str]) -> dict[str, float]:
    """x1=2 as {"x1": 2.0}."""
    found: dict[str, float] = {}
    for value in values:
        name, equals, number = (part.strip() for part in value.partition("="))
        if not equals:
            raise InputError(
                f"{value!r} is no value; values are written NAME=NUMBER, and the expression stands in quotes before them"
            )
        if not name.isidentifier():
            raise InputError(f"{value!r}: {name!r} cannot be a name; a name has letters, digits and _, and begins with no digit")
        if name in found:
            raise InputError(f"{name} is given twice, as {found[name]:g} and {number}")
        try:
            found[name] = float(number.replace("−", "-"))
        except ValueError:
            raise InputError(f"{value!r}: {number!r} is not a number, such as 2, -0.5 or 1e-3") from None
    return found


def _differentiate(expression: Expression) -> None:
    """The backward pass, whose errors get the place in the expression."""
    root = expression.root
    if not root.requires_grad:
        raise GraphError(
            f"{expression.text!r} has numbers alone, so there is nothing to differentiate; name one, as in x=2; x**2"
        )
    try:
        root.backward()
    except DomainError as error:
        for node, span in expression.spans.items():
            if _has_no_slope(node):
                error.add_note(marked(expression.text, span))
                break
        raise


def _has_no_slope(node: Any) -> bool:
    try:
        engine._slopes(node)
    except DomainError:
        return True
    return False


# ---- what is printed -------------------------------------------------------------------------------------------------


def _tree(root: Any, **look: Any) -> str:
    return text(root, slopes=True, fold=len(engine.inputs_first(root)) > LARGE, **look)


def _explained(expression: Expression, name: str) -> str:
    """What makes up the gradient of what has that name."""
    if name not in expression.nodes:
        known = sorted(expression.nodes)
        raise InputError(
            f"nothing in the expression is called {name!r}{did_you_mean(name, known) or '; it has ' + ', '.join(known)}"
        )
    from chainrule.show.explain import explain

    return str(explain(expression.nodes[name], expression.root))


def _say(words: str, painted: bool) -> None:
    click.echo(stepping.speakable(words, sys.stdout), color=painted)


def _holds(sign: str, stream: Any) -> bool:
    return stepping.speakable(sign, stream) == sign


# ---- what is written -------------------------------------------------------------------------------------------------


def _target(output: str | None, browse: bool, printing: bool, force: bool) -> Path | None:
    """The file to write, or - for standard output; None for none. Raises InputError for a file that is there already."""
    if output == "-":
        return Path("-")
    if output is None:
        if printing and not browse:
            return None
        return Path(PAGE) if force else next(path for path in _pages() if not os.path.lexists(path))
    path = Path(output)
    if not path.name:
        raise InputError(f"a file name is needed, not {output!r}")
    if path.is_file() and not force:
        raise InputError(f"{output} exists already; choose another file, or --force to replace it")
    return path


def _pages() -> "itertools.chain[Path]":
    stem, ending = PAGE.split(".")
    return itertools.chain([Path(PAGE)], (Path(f"{stem}-{i}.{ending}") for i in itertools.count(2)))


def _content(path: Path) -> Callable[[Expression], bytes]:
    """What makes the content of a file, by its ending."""
    ending = ".html" if path == Path("-") else path.suffix.lower()
    if ending not in _KINDS:
        *others, last = _KINDS
        wrong = (
            f"no file that ends with {ending} can be made" if ending else "the ending says what to write, and this name has none"
        )
        raise InputError(f"{path}: {wrong}; take {', '.join(others)} or {last}")
    return _KINDS[ending]


def _page(expression: Expression) -> bytes:
    from chainrule.show.page import page

    return page(expression.root, expression=expression).html.encode()


def _svg(expression: Expression) -> bytes:
    from chainrule.show import picture

    return picture.svg(expression.root).encode()


def _png(expression: Expression) -> bytes:
    from chainrule.show import picture

    return picture.png(expression.root)


_KINDS: dict[str, Callable[[Expression], bytes]] = {
    ".html": _page,
    ".svg": _svg,
    ".png": _png,
    ".dot": lambda expression: drawing.draw_dot(expression.root).source.encode(),
    ".txt": lambda expression: f"{_tree(expression.root)}\n".encode(),
}


def _write(path: Path, content: bytes) -> None:
    if path == Path("-"):
        click.echo(content, nl=False)  # UTF-8 like every file, whatever the terminal's encoding
        return
    try:
        write_atomically(path, content)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    kind = "a page to open in a browser" if path.suffix.lower() == ".html" else f"{len(content):,} bytes"
    click.echo(f"wrote {path}, {kind}", err=True)


def _open(path: Path) -> None:
    if not webbrowser.open(path.resolve().as_uri()):
        click.echo(f"no browser was found here; open {path} in one", err=True)
