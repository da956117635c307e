"""The part of a graph of tensors that lies between a node and the root, and what flows through it.

>>> from chainrule.tensor import Tensor
>>> x = Tensor([1.0, 2.0], requires_grad=True)
>>> flow = ArrayFlow(x, (x * x).sum() + x.sum())
>>> flow.gradient.tolist(), flow.count
([3.0, 5.0], 3)
>>> [(path.paths, path.contribution.tolist()) for path in flow.roads(3)]
[(1, [1.0, 2.0]), (1, [1.0, 2.0]), (1, [1.0, 1.0])]

Here a contribution is an array of the shape of the node. What a set of paths contributes is found by running the pullbacks
of the table along those paths alone. Imports engine, tensor, arrays and flow.
"""

import functools
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np

from chainrule import tensor
from chainrule.arrays import ArrayMath
from chainrule.engine import gradients, inputs_first
from chainrule.show.flow import Label, Part, called, expect_dependence, largest, size
from chainrule.tensor import Tensor, TensorMath

Edge = tuple[int, int, int]  # from node number tail to node number head, as its input at a position


class ArrayFlow:
    """What lies between `node` and `root`; the same as Flow, on tensors."""

    def __init__(self, node: Any, root: Any) -> None:
        self.grads = gradients(root)
        expect_dependence(node, root, self.grads)
        self.node, self.root, self.gradient = node, root, self.grads[node]
        self.nodes: list[Any] = [node]
        self.edges: list[list[Edge]] = [[]]  # those that lead to each node
        index = {node: 0}
        for v in inputs_first(root):
            found = [(index[x], len(self.nodes), i) for i, x in enumerate(v.inputs) if x in index and _passes(v, i)]
            if found and v in self.grads and v is not node:
                index[v] = len(self.nodes)
                self.nodes.append(v)
                self.edges.append(found)
        self.index = index
        self.leaving: list[list[Edge]] = [[] for _ in self.nodes]
        for edge in (edge for edges in self.edges for edge in edges):
            self.leaving[edge[0]].append(edge)

    @functools.cached_property
    def _counts(self) -> list[int]:
        """The number of paths from the node to each node."""
        counts = [1]
        for edges in self.edges[1:]:
            counts.append(sum(counts[tail] for tail, _, _ in edges))
        return counts

    @property
    def count(self) -> int:
        """The number of paths from the node to the root."""
        return self._counts[-1]

    @functools.cached_property
    def _counts_to_root(self) -> list[int]:
        counts = [*[0] * (len(self.nodes) - 1), 1]
        for k in range(len(self.nodes) - 1, 0, -1):
            for tail, _, _ in self.edges[k]:
                counts[tail] += counts[k]
        return counts

    def _over(self, edge: Edge, g: Any) -> Any:
        """What the node at the end of an edge, with the gradient g, passes on along it."""
        tail, head, i = edge
        v = self.nodes[head]
        pulled = tensor._pull(v, ArrayMath, g, v._data, [x._data for x in v.inputs])
        return tensor._fit(ArrayMath, pulled[i], self.nodes[tail]._data)

    def _back(self, seeds: dict[int, Any], closed: set[Edge]) -> Any:
        """The gradient of the first node, for gradients given at some nodes; nothing flows over closed edges."""
        grads = dict(seeds)
        for k in range(max(seeds, default=0), 0, -1):
            if k in grads:
                for edge in self.edges[k]:
                    if edge not in closed:
                        _add(grads, edge[0], self._over(edge, grads[k]))
        return grads.get(0, np.zeros_like(self.node._data))

    # ---- paths

    def roads(self, top: int) -> list[Part]:
        """The gradient in at most `top` parts, the largest first: each is all paths that begin in the same way.

        One begins with all paths in one part, and parts the largest at the place where its paths part, as long as there
        are not more parts than asked for. So the parts make up the gradient, and where there are few paths each has its own.
        """
        open_ = [self._followed([], self.gradient)]
        done: list[tuple[list[Edge], Any]] = []
        while open_:
            open_.sort(key=lambda road: size(road[1]))
            edges, contribution = open_.pop()
            choices = self.leaving[self._end(edges)]
            if not choices or len(open_) + len(done) + len(choices) > top:
                done.append((edges, contribution))
            else:
                open_ += [self._followed([*edges, choice], self._down([*edges, choice])) for choice in choices]
        parts = [self._part(edges, contribution) for edges, contribution in done]
        return sorted(parts, key=lambda part: -size(part.contribution))

    def _end(self, edges: list[Edge]) -> int:
        return edges[-1][1] if edges else 0

    def _followed(self, edges: list[Edge], contribution: Any) -> tuple[list[Edge], Any]:
        """The road up to where it parts."""
        while len(choices := self.leaving[self._end(edges)]) == 1:
            edges = [*edges, *choices]
        return edges, contribution

    def _down(self, edges: list[Edge]) -> Any:
        g = self.grads[self.nodes[self._end(edges)]]
        for edge in reversed(edges):
            g = self._over(edge, g)
        return g

    def _part(self, edges: list[Edge], contribution: Any) -> Part:
        nodes = (self.node, *(self.nodes[head] for _, head, _ in edges))
        return Part(contribution, self._counts_to_root[self._end(edges)], nodes)

    # ---- cuts

    def filed(self, label: Label, skip: Iterable[Hashable] = ()) -> dict[Hashable, Part]:
        """Each path filed under the first label that it meets on its way to the root; None when it meets none."""
        passed = set(skip)
        counts = [1]
        closed: set[Edge] = set()
        found: dict[Hashable, list[Edge]] = {}
        for k in range(1, len(self.nodes)):
            count = 0
            for edge in self.edges[k]:
                tail, _, i = edge
                name = label(self.nodes[k], i) if counts[tail] else None
                if name is None or name in passed:
                    count += counts[tail]
                else:
                    closed.add(edge)
                    found.setdefault(name, []).append(edge)
            counts.append(count)
        parts = {name: self._through(edges, counts, closed) for name, edges in found.items()}
        if counts[-1]:
            last = len(self.nodes) - 1
            parts[None] = Part(self._back({last: self.grads[self.root]}, closed), counts[-1], (self.root,))
        return parts

    def _through(self, edges: list[Edge], counts: list[int], closed: set[Edge]) -> Part:
        seeds: dict[int, Any] = {}
        for edge in edges:
            _add(seeds, edge[0], self._over(edge, self.grads[self.nodes[edge[1]]]))
        paths = sum(counts[tail] * self._counts_to_root[head] for tail, head, _ in edges)
        return Part(self._back(seeds, closed), paths, tuple(dict.fromkeys(self.nodes[head] for _, head, _ in edges)))

    def samples(self, top: int) -> tuple[list[tuple[str, Part]], int]:
        """The rows of the arrays that the root reduces to one number, those with the `top` largest shares; and their number.

        A path is filed under the last such array that it meets. The shares of all rows take one more differentiation: what
        a row contributes, multiplied by the gradient and summed, is the derivative of that by a factor of the row.
        """
        seeds = self._where_it_becomes_one_number()
        rows = [(k, row, share) for k, g in seeds.items() for row, share in enumerate(self._shares(k, g))]
        ranked = sorted(rows, key=lambda found: -abs(found[2]))
        return [(self._row(k, row), self._row_part(k, row, seeds[k])) for k, row, _ in ranked[:top]], len(rows)

    def _where_it_becomes_one_number(self) -> dict[int, Any]:
        """For arrays of several elements the gradient that comes to them from single numbers, which lead to the root."""
        last = len(self.nodes) - 1
        grads: dict[int, Any] = {last: self.grads[self.root]}
        seeds: dict[int, Any] = {}
        for k in range(last, 0, -1):
            if k in grads:
                for edge in self.edges[k]:
                    single = self.nodes[edge[0]].size == 1 and edge[0]
                    _add(grads if single else seeds, edge[0], self._over(edge, grads[k]))
        return seeds

    def _shares(self, k: int, g: Any) -> list[float]:
        """The share of each row of a node's array, for its gradient g."""
        array = np.asarray(g)
        length = array.shape[0] if array.ndim else 1
        factors = Tensor(np.ones(length, array.dtype), requires_grad=True)
        seed = factors.reshape(length, *[1] * (array.ndim - 1)) * array if array.ndim else factors.sum() * array
        constant = functools.lru_cache(None)(lambda v: tensor._make(v._data))
        grads = tensor._backpropagate(self.nodes[k], seed, TensorMath, constant)
        if self.node not in grads:
            return [0.0] * length
        unit = largest(self.gradient) or 1.0  # so that squares do not overflow
        scaled = self.gradient / unit
        square = float(np.vdot(scaled, scaled)) or 1.0
        found = gradients((grads[self.node] * (scaled / unit)).sum(), factors)[factors]
        return [float(x) / square for x in found]

    def _row(self, k: int, row: int) -> str:
        v = self.nodes[k]
        return f"row {row} of {called(v)}" if v.shape else called(v)

    def _row_part(self, k: int, row: int, g: Any) -> Part:
        array = np.asarray(g)
        alone = np.zeros_like(array)
        place = row if array.ndim else ()
        alone[place] = array[place]
        return Part(self._back({k: alone}, set()), 0, (self.nodes[k],))  # rows share the paths of their array

    # ---- edges

    def along(self, a: Any, b: Any) -> Any:
        """What flows along the edges from a to b."""
        if a not in self.index or b not in self.index:
            return np.zeros_like(self.node._data)
        seeds: dict[int, Any] = {}
        for edge in self.edges[self.index[b]]:
            if edge[0] == self.index[a]:
                _add(seeds, edge[0], self._over(edge, self.grads[b]))
        return self._back(seeds, set())

    def is_finite(self, x: Any) -> bool:
        """Whether no element is NaN or infinite."""
        return bool(np.isfinite(x).all())

    def culprit(self) -> tuple[Any, Any, str]:
        """Where a gradient that is not finite comes in: the edge (input, result) and what happens there."""
        for k in range(len(self.nodes) - 1, 0, -1):
            if np.isfinite(self.grads[self.nodes[k]]).all():
                for edge in self.edges[k]:
                    passed = np.asarray(self._over(edge, self.grads[self.nodes[k]]))
                    wrong = ~np.isfinite(passed)
                    if wrong.any():
                        place = tuple(int(i[0]) for i in np.nonzero(wrong)) if passed.ndim else ()
                        where = f"element {list(place)} of it is " if place else "it is "
                        return self.nodes[edge[0]], self.nodes[k], f"{where}{passed[place]:g}"
        return self.node, self.root, "finite contributions add up to it"


def _passes(v: Any, i: int) -> bool:
    rules = getattr(v.op, "derivatives", None)
    return v.inputs[i].requires_grad and (rules is None or rules[i] is not None)


def _add(grads: dict[int, Any], k: int, g: Any) -> None:
    grads[k] = grads[k] + g if k in grads else g
