"""A graph as data for the page: columns of numbers, not one object per node, so that a large graph is written fast.

>>> from chainrule import Value
>>> a, b = Value(2.0, label="a"), Value(-3.0, label="b")
>>> found = facts(a * b)
>>> found["count"], found["names"], [row["name"] for row in found["ops"]]
(3, {'0': 'a', '1': 'b', '2': 'L'}, ['mul'])
>>> found["templates"][0]
'-⟦1⟧'

Nodes are numbered as they were written, inputs first; edges by the node they lead to, operands in order. A column is the
bytes of an array of float64 or integers in base64, after a letter for their kind: exact, and NaN and infinity need no words.
What is text (names, lines of source, modules, rows of the table) is there once and referred to by number; it is made
printable here, and escaped for the page in page.py. Rules of the table become templates: "-⟦1⟧" is the second input, "-⟦y⟧"
the result, and the minus asks for parentheses where a negative number would need them. Graphs of tensors have the words of
their steps instead of local derivatives. Imports engine, errors, ops and the rest of this room.
"""

import base64
import itertools
import linecache
import math
import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from chainrule import engine
from chainrule.engine import Node, Value
from chainrule.errors import ChainruleError, GraphError
from chainrule.ops import FloatMath, Op
from chainrule.show import arrays, asides, formulas
from chainrule.show.expression import Expression
from chainrule.show.mistakes import mistaken
from chainrule.show.steps import Steps, as_written, names, steps
from chainrule.show.wording import expect_node, printable, short

MAX_NODES = 250_000  # a page of as many has 15 MB and opens in a few seconds
MAX_TENSORS = 5_000  # each brings a paragraph of words
LONGEST_LINE = 160  # characters of a line of source


def facts(root: Node) -> dict[str, Any]:
    """Everything that the page knows of the graph below `root`, as what JSON can hold.

    Gradients are those of one pass from `root`, computed on the side; where there are none, "problem" says why. Raises
    InputError when `root` is not a node, GraphError when the graph is too large for a page.
    """
    nodes = as_written(expect_node(root))
    scalar = isinstance(root, Value)
    check_size(len(nodes), scalar)
    index = {node: i for i, node in enumerate(nodes)}
    found: dict[str, Any] = {"kind": "value" if scalar else "tensor", "count": len(nodes), "problem": "", "stored": ""}
    found |= _structure(nodes, index) | _origins(nodes) | {"names": _names(root, nodes)}
    try:
        taken = steps(root)
    except ChainruleError as error:
        taken = None
        found["problem"] = str(error)
    found |= _numbers(nodes, taken) if scalar else _arrays(nodes, taken)
    if taken is not None:
        found["stored"] = _stored(nodes, taken)
        found |= {"explained": asides.explanations(root, nodes), "code": asides.programs(root)}
        if not scalar:
            found |= {"steps": _worded(taken, index), "mistakes": _mistakes(taken, index)}
    return found


def written(root: Node, expression: Expression) -> dict[str, Any]:
    """An expression as it was written, and the piece of it that made each node: from where to where, as JavaScript counts."""
    index = {node: i for i, node in enumerate(as_written(root))}
    shown = "".join(c if c.isprintable() or c == "\n" else " " for c in expression.text)
    place = [0, *itertools.accumulate(1 + (c > "\uffff") for c in shown)]
    spans = {str(index[node]): [place[span.start], place[span.end]] for node, span in expression.spans.items() if node in index}
    return {"expression": shown, "spans": spans}


def check_size(count: int, scalar: bool) -> None:
    """Raise GraphError for a graph that is too large for a page."""
    most = MAX_NODES if scalar else MAX_TENSORS
    if count > most:
        raise GraphError(
            f"this graph has {count:,} nodes and a page holds {most:,} of {'numbers' if scalar else 'tensors'}: show a part of "
            "it, such as the loss of one sample, or ask chainrule.show.explain(node), which takes graphs of any size"
        )


# ---- structure -------------------------------------------------------------------------------------------------------


def _structure(nodes: Sequence[Any], index: dict[Any, int]) -> dict[str, Any]:
    """Who was computed from whom by which row; the rows as text."""
    rows = {op: k for k, op in enumerate(dict.fromkeys(node.op for node in nodes if node.op is not None))}
    return {
        "op": _wholes([-1 if node.op is None else rows[node.op] for node in nodes]),
        "arity": _wholes([len(node.inputs) for node in nodes]),
        "inputs": _wholes([index[x] for node in nodes for x in node.inputs]),
        "wanted": _wholes([bool(node.requires_grad) for node in nodes]),
        "ops": [_row(op) for op in rows],
    }


def _row(op: Any) -> dict[str, Any]:
    row = {"name": op.name, "symbol": printable(op.symbol), "doc": op.doc, "value": ""}
    if isinstance(op, Op):
        row["value"] = formulas.value_in_names(op, [f"-⟦{i}⟧" for i in range(op.arity)])
    return row


def _floats(numbers: Iterable[float]) -> str:
    return _column("d", numbers)


def _wholes(numbers: Sequence[int]) -> str:
    """Whole numbers in as few bytes each as the largest needs."""
    kind = next(kind for kind, most in (("b", 2**7), ("h", 2**15), ("i", 2**31)) if max(numbers, default=0) < most)
    return _column(kind, numbers)


def _column(kind: str, numbers: Iterable[Any]) -> str:
    """The kind of the numbers, and their bytes in base64, the lowest first."""
    column = array(kind, numbers)
    if sys.byteorder == "big":
        column.byteswap()
    return f"{kind}{base64.b64encode(column).decode()}"


def _names(root: Node, nodes: Sequence[Any]) -> dict[str, str]:
    """The names that do not follow from the number of a node: v7 is the seventh, and a constant Value is called as its data."""
    called = names(root)
    return {str(i): called[node] for i, node in enumerate(nodes) if called[node] != _following(node, i)}


def _following(node: Any, i: int) -> str:
    constant = isinstance(node, Value) and node.op is None and not node.requires_grad
    return short(node.data) if constant else f"v{i + 1}"


class _Places(NamedTuple):
    """The lines and the modules that origins name, each once."""

    lines: dict[tuple[str, int], int]
    modules: dict[tuple[str, ...], int]


def _origins(nodes: Sequence[Any]) -> dict[str, Any]:
    """Where nodes were made: columns of line, modules and call, and what those numbers stand for."""
    origins = [node.origin if node.op is not None else None for node in nodes]  # a parameter's is only for its name
    if not any(origins):
        return {"lines": [], "modules": []}
    places = _Places({}, {})
    line = [-1 if o is None else places.lines.setdefault((o.file, o.line), len(places.lines)) for o in origins]
    module = [-1 if o is None else places.modules.setdefault(o.modules, len(places.modules)) for o in origins]
    return {
        "line": _wholes(line),
        "module": _wholes(module),
        "call": _wholes([0 if o is None else o.call for o in origins]),
        "lines": [[printable(Path(file).name), at, source_line(file, at)] for file, at in places.lines],
        "modules": [[printable(name) for name in path] for path in places.modules],
    }


def source_line(file: str, line: int) -> str:
    """The text of a line of source, where it can be read."""
    text = linecache.getline(file, line).strip()
    shown = "".join(c if c.isprintable() else " " for c in text[: LONGEST_LINE + 1])
    return shown if len(text) <= LONGEST_LINE else shown[:LONGEST_LINE] + "…"


# ---- numbers ---------------------------------------------------------------------------------------------------------


def _numbers(nodes: Sequence[Any], taken: Steps | None) -> dict[str, Any]:
    """Data, gradients and local derivatives; without a backward pass the data alone."""
    found: dict[str, Any] = {"data": _floats([node.data for node in nodes])}
    if taken is None:
        return found
    words = _Templates()
    slopes: list[float | None] = []
    template: list[int] = []
    for node in nodes:
        of_node = engine._slopes(node) if node in taken.grads else [None] * len(node.inputs)
        slopes += of_node
        template += [-1 if slope is None else words.number(node, i) for i, slope in enumerate(of_node)]
    return found | {
        "grad": _floats([taken.grads.get(node, 0.0) for node in nodes]),
        "reached": _wholes([node in taken.grads for node in nodes]),
        "slope": _floats([0.0 if slope is None else slope for slope in slopes]),
        "template": _wholes(template),
        "templates": words.here,
        "formulas": words.formulas,
    }


class _Templates:
    """The local derivatives as text, one template for each row, input and choice of branches.

    here: with places for the names or the numbers of a node; formulas: as the table has it.
    """

    def __init__(self) -> None:
        self.here: list[str] = []
        self.formulas: list[str] = []
        self._known: dict[Any, int] = {}
        self._choosing: dict[tuple[Op, int], bool] = {}

    def number(self, node: Any, i: int) -> int:
        """Which template the edge from a node to its i-th input has."""
        op = node.op
        key = (op, i, self._branches(node, i)) if self._chooses(node, i) else (op, i)
        if key not in self._known:
            xs = [x.data for x in node.inputs]
            here, _ = formulas.at_point(op, i, "-⟦y⟧", [f"-⟦{k}⟧" for k in range(len(xs))], node.data, xs)
            self._known[key] = len(self.here)
            self.here.append(here)
            self.formulas.append(formulas.derivative_for(op, i, node.data, xs))
        return self._known[key]

    def _chooses(self, node: Any, i: int) -> bool:
        """Whether a rule has branches; it meets them at every node, or at none."""
        op = node.op
        if (op, i) not in self._choosing:
            self._choosing[op, i] = bool(self._branches(node, i))
        return self._choosing[op, i]

    def _branches(self, node: Any, i: int) -> tuple[bool, ...]:
        """What the conditions of a rule come to at a node."""
        taken: list[bool] = []
        math = _Deciding(taken)
        node.op.derivatives[i](math, node.data, *(x.data for x in node.inputs))
        return tuple(taken)


class _Deciding:
    """`m` for floats that notes which way `where` goes."""

    def __init__(self, taken: list[bool]) -> None:
        self._taken = taken

    def __getattr__(self, name: str) -> Callable[..., Any]:
        found: Callable[..., Any] = getattr(FloatMath, name)
        return found

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        self._taken.append(bool(condition))
        return a if condition else b


def _stored(nodes: Sequence[Any], taken: Steps) -> str:
    """A sentence where leaves keep another gradient than this pass gives them, as after two backward passes."""
    kept = [node for node in nodes if node.op is None and node.has_grad and node in taken.grads]
    differ = [node for node in kept if not _equal(node.grad, taken.grads[node])]
    if not differ:
        return ""
    first = differ[0]
    example = f"{taken.names[first]}.grad is {_told(first.grad)}, and this pass gives {_told(taken.grads[first])}"
    return (
        f"The gradients kept in {len(differ):,} of {len(kept):,} leaves are not those of this pass ({example}): leaves add up "
        "over backward passes until zero_grad()."
    )


def _equal(a: Any, b: Any) -> bool:
    same = (a == b) | ((a != a) & (b != b))  # NaN is what it is
    return bool(same.all()) if getattr(same, "shape", ()) else bool(same)


def _told(x: Any) -> str:
    return short(x) if isinstance(x, float) else arrays.shown(x)


# ---- arrays ----------------------------------------------------------------------------------------------------------

WIDEST, HIGHEST = 5, 3  # columns and rows of an array that a box shows in full


def _arrays(nodes: Sequence[Any], taken: Steps | None) -> dict[str, Any]:
    """Data and gradients of tensors, small ones in full."""
    found: dict[str, Any] = {"arrays": [_array(node.data) for node in nodes]}
    if taken is None:
        return found
    return found | {
        "grads": [_array(taken.grads[node]) if node in taken.grads else None for node in nodes],
        "reached": _wholes([node in taken.grads for node in nodes]),
    }


def _array(x: Any) -> dict[str, Any]:
    """An array in one line, and for a box: its shape, and its numbers in rows where they are few, else their norm."""
    shape: tuple[int, ...] = getattr(x, "shape", ())
    shown = arrays.shown(x)
    about: dict[str, Any] = {"shown": shown, "shape": "x".join(map(str, shape))}
    if len(shape) in (1, 2) and shape[-1] <= WIDEST and math.prod(shape[:-1]) <= HIGHEST:
        about["rows"] = ["\u2002".join(short(each) for each in row) for row in (x.tolist() if len(shape) == 2 else [x.tolist()])]
    elif shape:
        about["rows"] = [f"norm {short(math.sqrt(float((x.astype('float64') ** 2).sum())))}"]
    return about


def _worded(taken: Steps, index: dict[Any, int]) -> list[dict[str, Any]]:
    """The steps of a backward pass on tensors, in words."""
    return [
        {
            "node": index[step.node],
            "value": step.value,
            "place": step.place,
            "edges": [
                {
                    "position": c.position,
                    "words": c.words,
                    "running": c.running,
                    "formula": c.formula,
                    "here": c.here,
                    "after": arrays.shown(c.after),
                }
                for c in step.contributions
            ],
        }
        for step in taken
    ]


def _mistakes(taken: Steps, index: dict[Any, int]) -> dict[str, Any]:
    """What two mistaken backward passes give on tensors; the page finds that out itself for numbers."""
    return {
        kind: {
            "order": [index[node] for node in found.order],
            "after": [[index[node], i, arrays.shown(x)] for (node, i), x in found.after.items()],
            "grads": [[index[node], arrays.shown(x)] for node, x in found.grads.items()],
            "wrong": [index[node] for node in found.grads if not _equal(found.grads[node], taken.grads[node])],
        }
        for kind in ("order", "assign")
        for found in [mistaken(taken, kind)]
    }
