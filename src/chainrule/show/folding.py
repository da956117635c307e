"""Structure that repeats in a graph, found and put in words: "100 × [tanh(sum of 16 products)]".

>>> from chainrule import Value
>>> xs = [Value(float(i), label=f"x{i}") for i in range(5)]
>>> folding = Folding(sum((x * 2).tanh() for x in xs))
>>> folding.name(folding.root)
'sum of 6'
>>> [part.words for part in folding.parts(folding.root) if len(part.nodes) > 1]
['5 × [tanh(product)]']

A chain of additions whose results nobody else uses is one sum of many terms. Two nodes are alike when the same operations
made them of alike inputs; leaves are alike when both, or neither, take a gradient and they have one shape. So a hundred
samples that go through a net become one line. Left out on purpose: what repeats below each other, as layers do.
Imports engine and wording.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from chainrule.engine import Node, inputs_first
from chainrule.show.wording import printable

ALIKE = 3  # so many inputs of one node that are alike become one line
DEEPEST = 3  # levels of a structure that are put in words


class Part(NamedTuple):
    """One input of a node, or several that are alike.

    nodes: the inputs.
    position: which input of the node the first is; None for the terms of a sum.
    words: for several, how many of what; else "".
    """

    nodes: tuple[Any, ...]
    position: int | None = None
    words: str = ""


class Folding:
    """What repeats in the graph below a root.

    root: the output.
    kinds: a number for each node; alike nodes have the same. Sums inside of longer sums have none.
    """

    def __init__(self, root: Node) -> None:
        self.root: Any = root
        nodes = inputs_first(root)
        self._inner = _inner_sums(nodes)
        self._numbers: dict[Any, int] = {}
        self.kinds: dict[Any, int] = {}
        for node in nodes:
            if node not in self._inner:
                self.kinds[node] = self._numbers.setdefault(self._key(node), len(self._numbers))

    def terms(self, node: Any) -> list[Any]:
        """The inputs of a node; of a sum all its terms, in their order."""
        if node.op is None or node.op.name != "add":
            return list(node.inputs)
        found, stack = [], list(reversed(node.inputs))
        while stack:
            x = stack.pop()
            if x in self._inner:
                stack += reversed(x.inputs)
            else:
                found.append(x)
        return found

    def parts(self, node: Any) -> list[Part]:
        """The terms of a node, where ALIKE and more of one kind are one part, in the place of the first."""
        terms = self.terms(node)
        kinds: dict[int, list[int]] = {}
        for i, x in enumerate(terms):
            kinds.setdefault(self.kinds[x], []).append(i)
        sums = len(terms) > 2 and node.op.name == "add"
        parts = []
        for alike in kinds.values():
            if len(alike) >= ALIKE:
                nodes = tuple(terms[i] for i in alike)
                parts.append(Part(nodes, None if sums else alike[0], self._counted(nodes)))
            else:
                parts += [Part((terms[i],), None if sums else i) for i in alike]
        return parts

    def name(self, node: Any) -> str:
        """What an operation is called: its symbol, or "sum of 100"."""
        count = len(self.terms(node)) if node.op.name == "add" else 0
        return f"sum of {count:,}" if count > 2 else printable(node.op.symbol)

    def phrase(self, node: Any, depth: int = 0) -> str:
        """The structure of a node in words, DEEPEST levels of it, as "tanh(sum of 16 products)"."""
        if node.op is None:
            return "value" if node.requires_grad else "constant"
        symbol = printable(node.op.symbol)
        if node.op.name == "add" and len(self.terms(node)) > 2:
            return f"sum of {self._counts(node)}"
        if depth and node.op.name in _NOUNS:
            return _NOUNS[node.op.name]
        inner = ["…" if depth == DEEPEST else self.phrase(x, depth + 1) for x in node.inputs]
        infix = getattr(node.op, "method", "").startswith("__") and len(inner) == 2
        return f"{inner[0]} {symbol} {inner[1]}" if infix else f"{symbol}({', '.join(inner)})"

    def _counts(self, node: Any) -> str:
        """The terms of a sum by what made them: "16 products and a value"."""
        nouns = Counter(self._noun(x) for x in self.terms(node))
        said = [f"{count:,} {noun}s" if count > 1 else f"a {noun}" for noun, count in nouns.items()]
        return " and ".join([", ".join(said[:-1]), said[-1]] if said[1:] else said)

    def _noun(self, x: Any) -> str:
        if x.op is None:
            return "value" if x.requires_grad else "constant"
        return _NOUNS.get(x.op.name) or printable(x.op.symbol)

    def _counted(self, alike: Sequence[Any]) -> str:
        labels = [printable(x.label) for x in (alike[0], alike[-1])]
        named = f" {labels[0]} … {labels[1]}" if all(labels) else ""
        return f"{len(alike):,} × [{self.phrase(alike[0])}]{named}"

    def _key(self, node: Any) -> tuple[Any, ...]:
        shape = getattr(node.data, "shape", ())
        if node.op is None:
            return (node.requires_grad, shape)
        kinds = [self.kinds[x] for x in self.terms(node)]
        if node.op.name == "add":
            return ("add", shape, *sorted(Counter(kinds).items()))
        return (node.op, shape, _exponent(node), len(set(node.inputs)), *kinds)


def _exponent(node: Any) -> float | None:
    """A power's exponent, where it is a number: x**2 and x**3 are not alike."""
    if node.op.name != "pow":
        return None
    x = node.inputs[1]
    return None if x.requires_grad or getattr(x.data, "shape", ()) else float(x.data)


_NOUNS = {"mul": "product", "matmul": "product", "add": "sum", "sub": "difference", "div": "quotient", "pow": "power"}


def _inner_sums(nodes: list[Any]) -> set[Any]:
    """Additions without a name whose only use is in another addition."""
    uses = Counter(x for node in nodes for x in node.inputs)
    adding = [node for node in nodes if node.op is not None and node.op.name == "add"]
    return {x for node in adding for x in node.inputs if uses[x] == 1 and not x.label and x.op is not None and x.op.name == "add"}
