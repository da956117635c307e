"""The part of a graph of numbers that lies between a node and the root: its paths, and what flows along them.

>>> from chainrule import Value
>>> x = Value(3.0)
>>> flow = Flow(x, x * x * 2 + x)
>>> flow.gradient, flow.count
(13.0, 3)
>>> [contribution for _, contribution in flow.best_paths(2)]
[6.0, 6.0]

A path contributes the product of the local derivatives along it, and the gradient is the sum over all paths; there may be
more of them than atoms. So nothing here goes through paths one by one: each question is answered by one pass over the edges,
which sums or compares what comes together at a node. Imports engine and ops.
"""

import decimal
import functools
import heapq
import itertools
import math
import re
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from chainrule import symbols
from chainrule.engine import gradients
from chainrule.errors import GraphError
from chainrule.ops import BUILT_IN, FloatMath, Op
from chainrule.show.wording import name_of, printable, short

Label = Callable[[Any, int], Hashable]
"""What an edge is filed under, given the node that it leads to and which of its inputs it comes from; None for nothing."""


Wide = decimal.Decimal
WIDE = decimal.Context(prec=40, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX, traps=[])
"""Where a gradient is finite, the product of its first slopes need not be; 40 digits are more than a float has."""
wide = WIDE.create_decimal_from_float
_ZERO, _ONE = Wide(0), Wide(1)


class Part(NamedTuple):
    """What a set of paths contributes. paths: how many; nodes: the path, or the nodes at which they are told apart."""

    contribution: Any
    paths: int
    nodes: tuple[Any, ...]


class Flow:
    """What lies between `node` and `root`.

    nodes: those on a path, inputs first, so that node is the first and root the last. gradient: d(root)/d(node).
    count: the number of paths.

    Raises GraphError when the root does not depend on the node.
    """

    def __init__(self, node: Any, root: Any) -> None:
        self.grads = gradients(root)
        expect_dependence(node, root, self.grads)
        self.node, self.root, self.gradient = node, root, self.grads[node]
        self.nodes: list[Any] = [node]
        # Edge e leads from node tails[e] to the node k with starts[k] <= e < starts[k + 1], as input positions[e] of it.
        self.tails: list[int] = []
        self.positions: list[int] = []
        self.slopes: list[float] = []
        self.starts = [0, 0]
        self._find_edges()

    def _find_edges(self) -> None:
        index = {self.node: 0}
        order = itertools.dropwhile(lambda v: v is not self.node, self.grads)  # inputs first
        for v in itertools.islice(order, 1, None):
            inputs = v.inputs
            found = [(i, index[x]) for i, x in enumerate(inputs) if x in index and v.op.derivatives[i] is not None]
            if not found:
                continue
            numbers = [v.data, *(x.data for x in inputs)]
            for i, tail in found:
                self.tails.append(tail)
                self.positions.append(i)
                self.slopes.append(float(v.op.derivatives[i](FloatMath, *numbers)))
            index[v] = len(self.nodes)
            self.nodes.append(v)
            self.starts.append(len(self.tails))

    def edges_to(self, k: int) -> range:
        """The edges that lead to a node."""
        return range(self.starts[k], self.starts[k + 1])

    @functools.cached_property
    def count(self) -> int:
        """The number of paths from the node to the root."""
        return self._counts({len(self.nodes) - 1})[len(self.nodes) - 1]

    # Numbers of paths can have as many digits as there are nodes, so only those that are asked for are kept.

    def _counts(self, wanted: set[int], closed: Collection[int] = ()) -> dict[int, int]:
        """The number of paths from the first node to each of these, without those over closed edges."""
        tails = self.tails
        waiting = [0] * len(self.nodes)
        for tail in tails:
            waiting[tail] += 1
        counts = {0: 1}
        for k in range(1, len(self.nodes)):
            edges = self.edges_to(k)
            counts[k] = sum([counts[tails[e]] for e in edges if e not in closed])
            for e in edges:
                tail = tails[e]
                waiting[tail] -= 1
                if not waiting[tail] and tail not in wanted:
                    del counts[tail]
        return counts

    def _ways(self, wanted: set[int]) -> dict[int, int]:
        """The number of paths from each of these to the root."""
        last = len(self.nodes) - 1
        ways = dict.fromkeys(wanted, 0) | {last: 1}
        for k in range(last, 0, -1):
            for e in self.edges_to(k):
                tail = self.tails[e]
                ways[tail] = ways.get(tail, 0) + ways[k]
            if k not in wanted:
                del ways[k]
        return ways

    @functools.cached_property
    def tangents(self) -> list[Wide]:
        """The derivative of each node by the first."""
        found, slopes = [_ONE], self.wide_slopes
        with decimal.localcontext(WIDE):
            for k in range(1, len(self.nodes)):
                found.append(sum([found[self.tails[e]] * slopes[e] for e in self.edges_to(k)], _ZERO))
        return found

    @functools.cached_property
    def wide_slopes(self) -> list[Wide]:
        """The local derivatives, as numbers whose products do not overflow."""
        return list(map(wide, self.slopes))

    # ---- paths

    def best_paths(self, top: int) -> list[tuple[tuple[Any, ...], float]]:
        """The paths with the largest contributions, with those: at most `top`, the largest first."""
        search = _Search(self)
        while len(search.of(len(self.nodes) - 1)) < top and search.find_one_more():
            pass
        return [search.path(rank) for rank in range(len(search.of(len(self.nodes) - 1)))][:top]

    # ---- cuts

    def filed(self, label: Label, skip: Iterable[Hashable] = ()) -> dict[Hashable, Part]:
        """Each path filed under the first label that it meets on its way from the node to the root; None when it meets none.

        label: of an edge; skip: labels that do not count.
        """
        passed = set(skip)
        tails, slopes = self.tails, self.wide_slopes
        flows: list[Wide | None] = [_ONE]  # None where no path comes that has not been filed
        found: dict[Hashable, list[tuple[int, int, Wide]]] = {}
        for k in range(1, len(self.nodes)):
            v = self.nodes[k]
            flow: Wide | None = None
            for e in self.edges_to(k):
                before = flows[tails[e]]
                if before is None:
                    continue
                name = label(v, self.positions[e])
                with decimal.localcontext(WIDE):
                    amount = before * slopes[e]
                    if name is None or name in passed:
                        flow = amount if flow is None else flow + amount
                    else:
                        found.setdefault(name, []).append((e, k, amount * wide(self.grads[v])))
            flows.append(flow)
        parts = self._parts(found)
        if flows[-1] is not None:
            parts[None] = Part(float(flows[-1]), self.count - sum(part.paths for part in parts.values()), (self.root,))
        return parts

    def _parts(self, found: dict[Hashable, list[tuple[int, int, Wide]]]) -> dict[Hashable, Part]:
        """What flows over sets of edges, each (edge, head, amount), by paths that have met none of the others before."""
        closed = {e for edges in found.values() for e, _, _ in edges}
        ways = self._ways({head for edges in found.values() for _, head, _ in edges})
        counts = self._counts({self.tails[e] for e in closed}, closed)
        parts: dict[Hashable, Part] = {}
        for name, edges in found.items():
            paths = sum(counts[self.tails[e]] * ways[head] for e, head, _ in edges)
            nodes = tuple(dict.fromkeys(self.nodes[head] for _, head, _ in edges))
            with decimal.localcontext(WIDE):
                parts[name] = Part(float(sum([amount for _, _, amount in edges], _ZERO)), paths, nodes)
        return parts

    def terms(self) -> list[tuple[str, Part]]:
        """The terms of the sum that the root is, each with what flows through it: a path is filed under the last it meets.

        The sum is followed through additions, subtractions, and products with constants. Where the root is a function of a
        sum, such as its square root, it is that one.
        """
        last = len(self.nodes) - 1
        while last and not _is_sum(self.nodes[last]) and len({self.tails[e] for e in self.edges_to(last)}) == 1:
            last = self.tails[self.starts[last]]
        if not last:  # a single road, without any sum
            return [(called(self.root), Part(self.gradient, self.count, (self.root,)))]
        total = self.nodes[last]
        opened, found = opened_sums(total, self.node)
        weights: dict[int, Wide] = {last: wide(self.grads[total])}
        ways = {last: self._ways({last})[last]}
        for k in range(last, 0, -1):
            if k in weights and self.nodes[k] in opened:
                weight, count = weights.pop(k), ways.pop(k)
                for e in self.edges_to(k):
                    tail = self.tails[e]
                    with decimal.localcontext(WIDE):
                        weights[tail] = weights.get(tail, _ZERO) + weight * self.wide_slopes[e]
                    ways[tail] = ways.get(tail, 0) + count
        index = {v: k for k, v in enumerate(self.nodes)}
        reached = [(name, x, index[x]) for name, x in found if index.get(x) in weights]
        counts = self._counts({k for _, _, k in reached})
        tangents = self.tangents
        with decimal.localcontext(WIDE):
            return [(name, Part(float(tangents[k] * weights[k]), counts[k] * ways[k], (x,))) for name, x, k in reached]

    # ---- edges

    def along(self, a: Any, b: Any) -> Any:
        """What flows along the edges from a to b."""
        index = {v: k for k, v in enumerate(self.nodes)}
        if a not in index or b not in index:
            return 0.0
        tail, tangents, slopes = index[a], self.tangents, self.wide_slopes
        with decimal.localcontext(WIDE):
            slope = sum([slopes[e] for e in self.edges_to(index[b]) if self.tails[e] == tail], _ZERO)
            return float(tangents[tail] * slope * wide(self.grads[b]))

    def is_finite(self, x: float) -> bool:
        """Whether a number is neither NaN nor infinite."""
        return math.isfinite(x)

    def culprit(self) -> tuple[Any, Any, str]:
        """Where a gradient that is not finite comes in: the edge (input, result) and what happens there."""
        for k in range(len(self.nodes) - 1, 0, -1):
            v = self.nodes[k]
            for e in self.edges_to(k):
                g, slope = self.grads[v], self.slopes[e]
                if math.isfinite(g) and not math.isfinite(g * slope):
                    return self.nodes[self.tails[e]], v, f"{g:g} × {slope:g} = {g * slope:g}"
        return self.node, self.root, "finite contributions add up to it"


class _Search:
    """The best paths, one after another (Jiménez and Marzal 1999): the next best path to a node is made of the best that its
    inputs have to offer; and those are asked for one more only when they have nothing left.

    A path to a node is a triple: the logarithm of its size, the edge it ends with, and the rank of the path before that edge.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.sizes = [math.log(abs(slope)) if slope else -math.inf for slope in flow.slopes]
        self.best: list[tuple[float, int, int]] = [(0.0, -1, 0)]
        for k in range(1, len(flow.nodes)):
            self.best.append(max((self.best[flow.tails[e]][0] + self.sizes[e], e, 0) for e in flow.edges_to(k)))
        self.found: dict[int, list[tuple[float, int, int]]] = {}
        self.waiting: dict[int, list[tuple[float, int, int]]] = {}

    def of(self, k: int) -> Sequence[tuple[float, int, int]]:
        """The paths found so far to a node."""
        return self.found.get(k) or [self.best[k]]

    def find_one_more(self) -> bool:
        """Find one more path to the root; False when there is none."""
        k, asked = len(self.flow.nodes) - 1, []
        before = len(self.of(k))
        while k:  # each node asks the one before it, along the last path found, until one has more to offer
            asked.append(k)
            _, e, rank = self.of(k)[-1]
            k = self.flow.tails[e]
            if len(self.of(k)) > rank + 1:
                break
        for k in reversed(asked):
            self._add_next(k)
        return len(self.of(len(self.flow.nodes) - 1)) > before

    def _add_next(self, k: int) -> None:
        tails, found = self.flow.tails, self.found.setdefault(k, [self.best[k]])
        _, e, rank = found[-1]
        if k not in self.waiting:
            others = (other for other in self.flow.edges_to(k) if other != e)
            self.waiting[k] = [(-self.best[tails[other]][0] - self.sizes[other], other, 0) for other in others]
            heapq.heapify(self.waiting[k])
        if len(self.of(tails[e])) > rank + 1:
            heapq.heappush(self.waiting[k], (-self.of(tails[e])[rank + 1][0] - self.sizes[e], e, rank + 1))
        if self.waiting[k]:
            size, e, rank = heapq.heappop(self.waiting[k])
            found.append((-size, e, rank))

    def path(self, rank: int) -> tuple[tuple[Any, ...], float]:
        """The nodes of a path to the root, and its contribution."""
        k, nodes, contribution = len(self.flow.nodes) - 1, [], _ONE
        while k:
            nodes.append(self.flow.nodes[k])
            _, e, rank = self.of(k)[rank]
            contribution = WIDE.multiply(contribution, self.flow.wide_slopes[e])
            k = self.flow.tails[e]
        return (self.flow.node, *reversed(nodes)), float(contribution)


def size(x: Any) -> float:
    """The length of a number or an array; squares do not overflow."""
    if isinstance(x, float):
        return abs(x)
    unit = largest(x)
    return unit * math.sqrt(float(((x.astype(float) / unit) ** 2).sum())) if 0 < unit < math.inf else unit


def largest(x: Any) -> float:
    """The largest absolute value in a number or an array."""
    return abs(x) if isinstance(x, float) else float(abs(x).max(initial=0.0))


def expect_dependence(node: Any, root: Any, grads: dict[Any, Any]) -> None:
    """GraphError, in words, when the root does not depend on the node."""
    if node not in grads:
        raise GraphError(
            f"{called(root)} does not depend on {called(node)}, so there is no path between them and the gradient is 0"
        )


def called(node: Any) -> str:
    """A node in a few words: its label, the operation that made it, or the number or shape of a leaf.

    >>> from chainrule import Value
    >>> called(Value(0.5)), called(Value(0.5) * 2), called(Value(0.5, label="w"))
    ('value 0.5', '*', 'w')
    """
    if (name := name_of(node)) or node.op:
        return printable(name or node.op.symbol)
    return f"value {short(node.data)}" if isinstance(node.data, float) else f"tensor {tuple(node.shape)}"


# ---- sums ------------------------------------------------------------------------------------------------------------


def opened_sums(root: Any, node: Any) -> tuple[set[Any], list[tuple[str, Any]]]:
    """The nodes that make a sum of the root, and its terms, each with a name such as "term 3 of 100"."""
    opened: set[Any] = set()
    terms: dict[Any, str] = {}  # each with the label of the sum that it is in
    stack: list[tuple[Any, str]] = [(root, "")]
    while stack:
        v, inside = stack.pop()
        if v in opened or v in terms or not v.requires_grad:
            continue
        if v is node or not _is_sum(v):
            terms[v] = inside
            continue
        opened.add(v)
        inside = v.label or inside
        stack += [(x, inside) for x in reversed(v.inputs)]
    sizes: dict[str, int] = {}
    for inside in terms.values():
        sizes[inside] = sizes.get(inside, 0) + 1
    numbers = {inside: itertools.count(1) for inside in sizes}
    return opened, [(_term(v, next(numbers[inside]), sizes[inside], inside), v) for v, inside in terms.items()]


def _term(v: Any, number: int, size: int, inside: str) -> str:
    if v.label or size == 1:
        return called(v)
    return f"term {number} of {size}" + (f" of {printable(inside)}" if inside else "")


def _is_sum(v: Any) -> bool:
    if v.op is None or v.op.name not in ("add", "sub", "neg", "mul", "div"):
        return False
    return (
        v.op.name in ("add", "sub", "neg")
        or sum(x.requires_grad for x in v.inputs) == 1 == v.inputs[0].requires_grad
        or (v.op.name == "mul" and not v.inputs[0].requires_grad)
    )


# ---- factors ---------------------------------------------------------------------------------------------------------


def factor(v: Any, i: int, but: Any = None) -> Any:
    """The first parameter among the other inputs of a node that the local derivative by input i depends on; None for none.

    but: a leaf that does not count.
    """
    for j, x in enumerate(v.inputs):
        if j != i and x.op is None and x.requires_grad and x is not but and _depends(v.op, i, j):
            return x
    return None


@functools.lru_cache(maxsize=1024)
def _depends(op: Any, i: int, j: int) -> bool:
    """Whether the derivative of a row by input i depends on input j; rows that join arrays do not mix them."""
    if not isinstance(op, Op):
        return op.joint or not callable(op.pullbacks)
    try:
        formula = symbols.python(op)
    except Exception:  # a rule of the user's may do anything; those of the table run on text
        if op in BUILT_IN:
            raise
        return True
    return re.search(rf"\b({formula.inputs[j]}|y)\b", formula.derivatives[i] or "") is not None
