"""The backward pass of a graph, step by step and in words: `dL/da = dL/de × de/da = -2 × -3 = 6`.

>>> from chainrule import Value
>>> a, b, f = Value(2.0, label="a"), Value(-3.0, label="b"), Value(-2.0, label="f")
>>> e = a * b
>>> e.label = "e"
>>> for step in steps(e * f):
...     for line in step.lines:
...         print(line)
dL/dL = 1
dL/de = dL/dL × dL/de = 1 × -2 = -2
dL/df = dL/dL × dL/df = 1 × -6 = -6
dL/da = dL/de × de/da = -2 × -3 = 6
dL/db = dL/de × de/db = -2 × 2 = -4

The steps come in the order in which the engine takes them, and their sums are the engine's gradients. Nothing is
computed before it is asked for but the gradients themselves, and no node is changed. Shared by the page, the terminal
and the tests. Imports engine, tensor, formulas and wording.
"""

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

from chainrule import engine
from chainrule.engine import Node, gradients, inputs_first
from chainrule.show import arrays, formulas
from chainrule.show.wording import expect_node, name_of, printable, short


class Contribution(NamedTuple):
    """What one node passes on to one of its inputs: one product of the chain rule.

    node, position, input: the edge, from the node to its input at that position.
    slope: the local derivative, d(node)/d(input); None for rows of arrays, which have none.
    amount: the gradient of the node times the slope, as it is added to the gradient of the input.
    before, after: the gradient of the input without it and with it, in the order of the pass.
    uses: how many such edges lead to the input; from 2 up the gradient is a running sum.
    words: "dL/da = dL/de × de/da = -2 × -3 = 6".
    running: "4 + 6 = 10", where the sum had begun already; else "".
    formula: that of the row in the table, "d tanh(x)/dx = 1 - y²", or the pullback of an array row.
    here: the same at this node, "do/dn = 1 - o² = 1 - 0.7071² = 0.5".
    """

    node: Any
    position: int
    input: Any
    slope: Any
    amount: Any
    before: Any
    after: Any
    uses: int
    words: str
    running: str
    formula: str
    here: str


class Step(NamedTuple):
    """One node passes its gradient on; the first step of a pass only gives the root its gradient of 1.

    number: of the step, from 0.
    node, name: whose gradient is passed on, and what it is called.
    grad: its gradient, complete by now.
    contributions: what its inputs get; empty in step 0. Constants get nothing and are left out.
    value: how its number came about, "e = a × b = 2 × -3 = -6".
    place: the source line that made it, "demo.py:12", with the modules around it; "" when not recorded.
    lines: the words of the step, running sums included.
    """

    number: int
    node: Any
    name: str
    grad: Any
    contributions: tuple[Contribution, ...]
    value: str
    place: str
    lines: tuple[str, ...]


def as_written(root: Node) -> list[Any]:
    """Every node below `root`, each after its inputs and the first input first: the order in which nodes are mostly made.

    >>> from chainrule import Value
    >>> [node.data for node in as_written(Value(1.0) * 2 + Value(3.0) * 4)]
    [1.0, 2.0, 2.0, 3.0, 4.0, 12.0, 14.0]
    """
    done: dict[Any, None] = {}
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        if node is None:  # the mark below a node whose inputs are finished
            done[stack.pop()] = None
        elif node not in done:
            stack += (node, None, *reversed(node.inputs))
    return list(done)


def names(root: Node) -> dict[Any, str]:
    """What each node below `root` is called: its label, a constant its number, the root L, others v1, v2, ...

    The numbers count as `as_written` does. No two nodes but constants have the same name: labels that come again get a
    number, as in x#2.

    >>> from chainrule import Value
    >>> x = Value(3.0, label="x")
    >>> list(names((x * 2 + 1) * x).values())
    ['x', '2', 'v3', '1', 'v5', 'L']
    """
    nodes = as_written(root)
    taken: Counter[str] = Counter()
    found: dict[Any, str] = {}
    for node in nodes:  # labels first, so that they stay what they are
        if name := name_of(node):
            found[node] = _numbered(printable(name), taken)
    for i, node in enumerate(nodes, 1):
        if node not in found:
            free = "L" if node is root and not taken["L"] else f"v{i}"
            found[node] = _constant(node) or _numbered(free, taken)
    return {node: found[node] for node in nodes}


def _numbered(name: str, taken: Counter[str]) -> str:
    while taken[name]:
        taken[name] += 1
        name = f"{name}#{taken[name]}"
    taken[name] = 1
    return name


def _constant(node: Any) -> str:
    if node.op is not None or node.requires_grad or getattr(node.data, "ndim", 0):
        return ""
    return short(float(node.data))


def steps(root: Node) -> "Steps":
    """The backward pass from `root` as a sequence of steps, each worded when it is asked for.

    Raises InputError when `root` is not a node; GraphError and DomainError as a backward pass does.
    """
    return Steps(root)


class Steps(Sequence[Step]):
    """The backward pass of a graph: step 0 is the seed, each later one is a node that passes its gradient on.

    root: the output.
    grads: the gradients of all nodes, as the engine computes them.
    names: what the nodes are called.
    nodes: whose gradient is passed on, by step.
    """

    def __init__(self, root: Node) -> None:
        self.root: Any = expect_node(root)
        self.grads = gradients(root)
        self.names = names(root)
        passing = [node for node in reversed(_in_order(root, self.grads)) if node.op is not None]
        self.nodes: list[Any] = [root, *passing]
        self.uses = Counter(x for node in passing for _, x in _wanted(node))

    @functools.cached_property
    def numbers(self) -> dict[Any, int]:
        """The step in which each node passes its gradient on; leaves pass nothing on and are not in it."""
        return {node: i for i, node in enumerate(self.nodes) if i or node.op is None}

    def __len__(self) -> int:
        return len(self.nodes)

    @overload
    def __getitem__(self, i: int) -> Step: ...
    @overload
    def __getitem__(self, i: slice) -> list[Step]: ...
    def __getitem__(self, i: int | slice) -> Step | list[Step]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        number = range(len(self))[i]
        node = self.nodes[number]
        contributions = tuple(self._contributions(node)) if number else ()
        lines = [line for c in contributions for line in _lines(self._d(c.input), c)]
        return Step(
            number,
            node,
            self.names[node],
            self.grads[node],
            contributions,
            value(node, self.names),
            place(node),
            tuple(lines) or (f"{self._d(self.root)} = 1",),
        )

    def __iter__(self) -> Iterator[Step]:
        return (self[i] for i in range(len(self)))

    def of(self, node: Node) -> Step:
        """The step in which a node passes its gradient on."""
        return self[self.numbers[node]]

    def amounts(self, node: Any) -> list[tuple[int, Any, Any]]:
        """What a node passes on, in numbers alone: (position, slope, amount) for each input that gets a gradient."""
        g = self.grads[node]
        if isinstance(node, engine.Value):
            slopes = engine._slopes(node)
            return [(i, slopes[i], g * slopes[i]) for i, _ in _wanted(node)]
        return arrays.amounts(node, g, [i for i, _ in _wanted(node)])

    def _d(self, node: Any) -> str:
        return f"d{self.names[self.root]}/d{self.names[node]}"

    @functools.cached_property
    def _sums(self) -> dict[tuple[Any, int], Any]:
        """The gradient of an input before each contribution but the first, for inputs that get several."""
        totals: dict[Any, Any] = {}
        before: dict[tuple[Any, int], Any] = {}
        for node in self.nodes[1:]:
            if any(self.uses[x] > 1 for x in node.inputs):
                for i, _, amount in self.amounts(node):
                    x = node.inputs[i]
                    if x in totals:
                        before[node, i] = totals[x]
                    if self.uses[x] > 1:
                        totals[x] = totals[x] + amount if x in totals else amount
        return before

    def _contributions(self, node: Any) -> Iterator[Contribution]:
        called = [self.names[x] for x in node.inputs]
        for i, slope, amount in self.amounts(node):
            x = node.inputs[i]
            before = self._sums.get((node, i)) if self.uses[x] > 1 else None
            after = amount if before is None else before + amount
            words, here, formula = self._words(node, i, slope, amount, called)
            running = "" if before is None else f"{_shown(before)} + {_bracketed(amount)} = {_shown(after)}"
            zero = arrays.zero_like(amount) if before is None else before
            yield Contribution(node, i, x, slope, amount, zero, after, self.uses[x], words, running, formula, here)

    def _words(self, node: Any, i: int, slope: Any, amount: Any, called: list[str]) -> tuple[str, str, str]:
        """The product in words and numbers, the local derivative at this node, and the formula of the table."""
        if not isinstance(node, engine.Value):
            return self._words_of_arrays(node, i, slope, amount, called)
        op: Any = node.op
        g, x, y = self.grads[node], node.inputs[i], self.names[node]
        local = f"d{y}/d{self.names[x]}"
        data = [x.data for x in node.inputs]
        words = f"{self._d(x)} = {self._d(node)} × {local} = {short(g)} × {short(slope)} = {short(amount)}"
        spelled = formulas.at_point(op, i, y, called, node.data, data)
        here = _chain([local, *spelled, short(slope)])
        return words, here, formulas.derivative_for(op, i, node.data, data)

    def _words_of_arrays(self, node: Any, i: int, slope: Any, amount: Any, called: list[str]) -> tuple[str, str, str]:
        x, local = node.inputs[i], f"d{self.names[node]}/d{self.names[node.inputs[i]]}"
        rule, formula = arrays.in_words(node, i, self._d(node), self.names[node], called)
        product, here = [rule], ""
        if slope is not None:
            product = [f"{self._d(node)} × {local}", f"{_shown(self.grads[node])} × {_shown(slope)}"]
            here = _chain([local, rule, _shown(slope)])
        if axes := arrays.repeated(node, x):
            product = [f"sum({part}, axis={arrays.option(axes)})" for part in product]
        return _chain([self._d(x), *product, _shown(amount)]), here, formula


def _in_order(root: Any, grads: dict[Any, Any]) -> list[Any]:
    """The nodes that a gradient reaches, inputs first, as the engine goes through them."""
    if isinstance(root, engine.Value):
        return list(grads)
    return [node for node in inputs_first(root, lambda node: not node.requires_grad) if node in grads]


def _wanted(node: Any) -> list[tuple[int, Any]]:
    """The inputs that get a gradient, each with its position."""
    rules = getattr(node.op, "derivatives", None) or (True,) * len(node.inputs)
    return [(i, x) for i, x in enumerate(node.inputs) if x.requires_grad and rules[i] is not None]


def _lines(gradient: str, c: Contribution) -> Iterator[str]:
    yield c.words
    if c.running:
        yield f"{gradient} so far {_shown(c.before)}, now {c.running}"


def value(node: Any, names: dict[Any, str]) -> str:
    """How a node got its number, as "e = a × b = 2 × -3 = -6"; of a leaf its name and number."""
    if node.op is None:
        return _chain([names[node], _shown(node.data)])
    called = [names[x] for x in node.inputs]
    if not isinstance(node, engine.Value):
        return f"{names[node]} = {arrays.value_in_words(node, called)} = {_shown(node.data)}"
    spelled = formulas.value_at_point(node.op, called, [x.data for x in node.inputs])
    return _chain([names[node], *spelled, short(node.data)])


def place(node: Any) -> str:
    """Where a node was made, as "demo.py:12, MLP > Layer 2 > Neuron 7"; "" when that was not recorded."""
    origin = getattr(node, "origin", None)
    if origin is None:
        return ""
    modules = " > ".join(printable(name) for name in origin.modules)
    return ", ".join([printable(str(origin)), *([modules] if modules else [])])


def _chain(parts: list[str]) -> str:
    """Equal things joined by equals signs, each once."""
    return " = ".join(dict.fromkeys(part for part in parts if part))


def _shown(x: Any) -> str:
    return short(x) if isinstance(x, float) else arrays.shown(x)


def _bracketed(x: Any) -> str:
    shown = _shown(x)
    return f"({shown})" if shown.startswith("-") else shown
