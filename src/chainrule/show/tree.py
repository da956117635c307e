"""A graph as text, for terminals, logs, tests and screen readers: the output on top, its inputs below it.

>>> from chainrule import Value
>>> x = Value(3.0, label="x")
>>> y = (x * x).tanh()
>>> print(text(y))
tanh  data 1.0000  no backward yet
└─ *  data 9.0000  no backward yet
   ├─ #1 x  data 3.0000  no backward yet
   └─ #1 x, as above

With the local derivative of every edge, and repeated structure as one line:

>>> loss = sum((x * w).tanh() for w in [Value(0.1), Value(0.2), Value(0.3)])
>>> loss.backward()
>>> print(text(loss, fold=True, slopes=True))
sum of 4  data 1.5447  grad 1.0000
├─ value  data 0.0000  constant
└─ 3 × [tanh(product)]  data 0.2913 to 0.7163  grad 1.0000  local 1.0000
   └─ the first: tanh  data 0.2913  grad 1.0000  local 1.0000
      └─ *  data 0.3000  grad 0.9151  local 0.9151
         ├─ x  data 3.0000  grad 0.3799  local 0.1000
         └─ value  data 0.1000  grad 2.7454  local 3.0000
... 8 more nodes (max_nodes=100, max_depth=20, fold=True)

Imports engine, errors, arrays, colors, folding and wording.
"""

import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from chainrule import engine
from chainrule.engine import Node, inputs_first
from chainrule.errors import ChainruleError, InputError
from chainrule.show import arrays
from chainrule.show.colors import UNPAINTED, Paint
from chainrule.show.folding import Folding, Part
from chainrule.show.wording import expect_node, gradient, number, printable


class Signs(NamedTuple):
    """What the branches of a tree are drawn with."""

    branch: str
    last: str
    through: str
    blank: str
    more: str


_SPELLED = str.maketrans({"×": "x", "…": "..."})
UNICODE = Signs("├─ ", "└─ ", "│  ", "   ", "…")
ASCII = Signs("|- ", "`- ", "|  ", "   ", "...")


def text(
    root: Node,
    *,
    max_nodes: int = 100,
    max_depth: int = 20,
    ascii: bool = False,
    slopes: bool = False,
    fold: bool = False,
    color: bool | None = None,
) -> str:
    """The graph below `root` as a tree of lines: label or operation, data, and grad or "no backward yet".

    max_nodes: how many nodes to print, the nearest to the root first.
    max_depth: how many steps down to go.
    ascii: use ASCII only.
    slopes: show on each line the local derivative too: of the node above by this one.
    fold: print structure that repeats once, with a count; long chains of additions become one sum.
    color: True paints it for a terminal; False and None do not.

    A node that is used several times is numbered and printed once; later lines refer to it. When nodes are left out, the
    last line says how many. Walks without recursion. Raises InputError when `root` is not a node or a limit is below 1.
    """
    for name, limit in (("max_nodes", max_nodes), ("max_depth", max_depth)):
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise InputError(f"{name} must be a whole number from 1 up, not {limit!r}")
    look = Look(paint=Paint(bool(color)), slopes=all_nodes if slopes else no_nodes, signs=ASCII if ascii else UNICODE)
    tree = Tree(root, look, fold=fold, max_nodes=max_nodes, max_depth=max_depth)
    whole = "\n".join(line.words for line in tree.lines())
    if not ascii:
        return whole
    return whole.translate(_SPELLED).encode("ascii", "backslashreplace").decode()


def name(node: Node) -> tuple[str, str]:
    """A node's label and the symbol of its operation; "value" for what has neither."""
    operation = "" if node.op is None else printable(node.op.symbol)
    label = printable(node.label)
    return (label, operation) if label or operation else ("value", "")


def all_nodes(node: Any) -> bool:
    """Every node."""
    return True


def no_nodes(node: Any) -> bool:
    """No node."""
    return False


def facts(node: Node) -> tuple[Any, Any]:
    """A node's data and its gradient, or in words why there is none."""
    return node.data, node.grad if node.has_grad and node.requires_grad else gradient(node)


@dataclass(frozen=True)
class Look:
    """What a tree says about nodes, and how.

    name: of a node, its label and its operation; what is empty is left out.
    facts: of a node, its data and its gradient; words in the place of either are shown as they are.
    slopes: of which nodes the local derivatives by their inputs are shown. now: the nodes painted as the present ones.
    """

    name: Callable[[Any], tuple[str, str]] = name
    facts: Callable[[Any], tuple[Any, Any]] = facts
    paint: Paint = UNPAINTED
    slopes: Callable[[Any], bool] = no_nodes
    signs: Signs = UNICODE
    now: frozenset[Any] = frozenset()


class Line(NamedTuple):
    """One line of a tree; node is None where it is about several or none."""

    node: Any
    words: str


class _Branch(NamedTuple):
    part: Part
    above: Any  # the node that the part is an input of
    prefix: str  # of its own line
    indent: str  # of the lines below it
    depth: int
    first: bool = False  # of several that are alike

    @property
    def node(self) -> Any:
        return self.part.nodes[0]


class Tree:
    """The lines of a graph as text; see `text` for the arguments."""

    def __init__(self, root: Node, look: Look, *, fold: bool = False, max_nodes: int = 100, max_depth: int = 20) -> None:
        self.root = expect_node(root)
        self.look = look
        self.limits = f"max_nodes={max_nodes}, max_depth={max_depth}{', fold=True' * fold}"
        self.max_depth = max_depth
        self._known_slopes: dict[Any, Sequence[Any]] = {}
        self.folding = Folding(root) if fold else None
        nodes = inputs_first(root)
        self.count = len(nodes)
        self.allowed = self._nearest(max_nodes)
        if fold:
            met = Counter(branch.node for branch, _ in self._branches() if not branch.part.words)
        else:
            met = Counter(x for node in nodes for x in node.inputs)
        self.shared = {x for x, count in met.items() if count > 1}

    def lines(self) -> Iterator[Line]:
        """The lines, and at the end one that says how many nodes are left out."""
        paint, more = self.look.paint, self.look.signs.more
        printed: dict[Any, str] = {}  # each with the number that later lines refer to
        numbers = itertools.count(1)
        for branch, state in self._branches():
            node, prefix = branch.node, paint("faint", branch.prefix)
            if state == "left out":
                yield Line(None, f"{prefix}{more}")
            elif branch.part.words:
                yield Line(None, prefix + self._alike(branch))
            elif state == "again":
                again = f"{paint('faint', printed[node])}{self._name(node)}, as above"
                yield Line(node, "  ".join([prefix + again, *self._slope(branch)]))
            else:
                printed[node] = f"#{next(numbers)} " if node in self.shared else ""
                lead = prefix + "the first: " * branch.first + paint("faint", printed[node])
                yield Line(node, lead + self._line(branch))
        left_out = self.count - len(printed)
        if left_out:
            yield Line(None, paint("faint", f"... {left_out:,} more node{'s' * (left_out > 1)} ({self.limits})"))

    def _parts(self, node: Any) -> list[Part]:
        return self.folding.parts(node) if self.folding else [Part((x,), i) for i, x in enumerate(node.inputs)]

    def _nearest(self, count: int) -> set[Any]:
        """The `count` nodes with the fewest steps to the root."""
        found, queue = {self.root}, deque([self.root])
        while queue and len(found) < count:
            for x in (part.nodes[0] for part in self._parts(queue.popleft())):
                if x not in found and len(found) < count:
                    found.add(x)
                    queue.append(x)
        return found

    def _branches(self) -> Iterator[tuple[_Branch, str]]:
        """The branches from top to bottom, each "new", "again" or "left out"."""
        done: set[Any] = set()
        stack = [_Branch(Part((self.root,)), None, "", "", 0)]
        while stack:
            branch = stack.pop()
            node = branch.node
            if node in done and not branch.part.words:
                yield branch, "again"
            elif node not in self.allowed or branch.depth > self.max_depth:
                yield branch, "left out"
            else:
                yield branch, "new"
                if not branch.part.words:
                    done.add(node)
                stack += reversed(self._below(branch))

    def _below(self, above: _Branch) -> list[_Branch]:
        """The branches to come below one."""
        signs, depth = self.look.signs, above.depth + 1
        if above.part.words:
            parts, node = [Part(above.part.nodes[:1], above.part.position)] if above.node.op else [], above.above
        else:
            parts, node = self._parts(above.node), above.node
        first = bool(above.part.words)
        inner = [_Branch(part, node, above.indent + signs.branch, above.indent + signs.through, depth, first) for part in parts]
        return inner[:-1] + [x._replace(prefix=above.indent + signs.last, indent=above.indent + signs.blank) for x in inner[-1:]]

    # ---- words

    def _name(self, node: Any) -> str:
        label, operation = self.look.name(node)
        if operation and self.folding:
            operation = self.folding.name(node)
        paint = self.look.paint
        painted = [paint("now" if node in self.look.now else "name", label), paint("op", operation)]
        return " = ".join(part for part in painted if part)

    def _line(self, branch: _Branch) -> str:
        data, grad = self.look.facts(branch.node)
        said = [_said("data", data), _said("grad", grad)]
        return "  ".join([self._name(branch.node), *self._painted(said), *self._slope(branch)])

    def _alike(self, branch: _Branch) -> str:
        """Several nodes on one line: how many of what, and between which numbers theirs are."""
        datas, grads = zip(*map(self.look.facts, branch.part.nodes), strict=True)
        said = [_range("data", datas), _range("grad", grads)]
        return "  ".join([self.look.paint("name", branch.part.words), *self._painted(said), *self._slope(branch)])

    def _painted(self, said: list[str]) -> list[str]:
        data, grad = said
        kinds = {data: "data", grad: "grad" if grad.startswith("grad") and not grad.endswith("?") else "faint"}
        return [self.look.paint(kind, words) for words, kind in kinds.items() if words]

    def _slope(self, branch: _Branch) -> list[str]:
        """The local derivative of the node above by this one, where there is one."""
        if branch.above is None or not branch.node.requires_grad or not self.look.slopes(branch.above):
            return []
        if branch.part.position is None:  # a term of a sum
            slope: Any = 1.0
        else:
            slope = self._slopes(branch.above)[branch.part.position]
        return [] if slope is None else [self.look.paint("local", _said("local", slope))]

    def _slopes(self, node: Any) -> Sequence[Any]:
        if node not in self._known_slopes:
            self._known_slopes[node] = slopes(node)
        return self._known_slopes[node]


def slopes(node: Any) -> Sequence[Any]:
    """The local derivatives of a node by its inputs: numbers, arrays, "local undefined", or None where no gradient flows."""
    try:
        return engine._slopes(node) if isinstance(node, engine.Value) else arrays.slopes(node)
    except ChainruleError:  # the derivative does not exist there
        return ["local undefined"] * len(node.inputs)


def _said(what: str, x: Any) -> str:
    if isinstance(x, str):
        return x
    return f"{what} {number(x.item() if getattr(x, 'shape', None) == () and hasattr(x, 'item') else x)}"


def _range(what: str, xs: Sequence[Any]) -> str:
    """What several nodes have: the smallest and the largest number; the words of the first where they are no numbers."""
    if not all(isinstance(x, float) for x in xs):
        return _said(what, xs[0])
    low, high = number(min(xs)), number(max(xs))
    return f"{what} {low}" if low == high else f"{what} {low} to {high}"
