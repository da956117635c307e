"""A recorded graph of tensors, seen by a judge: all gradients in float64, how large the summands were, and each edge alone.

>>> from chainrule.tensor import Tensor
>>> x = Tensor([1.0, 2.0], requires_grad=True, label="x")
>>> loss = (x * x).sum()
>>> [edge.total.tolist() for edge in Recording(loss).edges(x)]
[[2.0, 4.0], [1.0, 2.0], [1.0, 2.0]]

The first edge carries everything, x is used twice by the others. `names` are the tensors whose gradients somebody wrote
down; what lies between two of them is one step. Data are those of the recorded forward pass: only the backward pass is
run again, in float64, from the rows of the table. GraphError when data have been assigned since.
Imports engine, errors, tensor and pullbacks.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.arrays import Array
from chainrule.check.pullbacks import pulled, sizes
from chainrule.engine import inputs_first
from chainrule.errors import InputError
from chainrule.tensor import expect_up_to_date


@dataclass(frozen=True)
class Edge:
    """One use of a tensor: input `i` of `user`; `g` is the gradient that arrives at the user, `total` what goes on from
    this edge to the tensor that is judged. `lift` takes another gradient of the edge's input there. `near` says that no
    named tensor lies between. Without a user (`op` None) the slope is not known, only the arrays are."""

    op: Any
    i: int
    g: Array
    y: Any
    xs: tuple[Any, ...]
    options: dict[str, Any]
    shape: tuple[int, ...]
    total: Array
    lift: Callable[[Array], Array]
    text: str
    near: bool = True
    direct: bool = True
    before: Any = None
    user: Any = None

    def pull(self, g: Any, y: Any = None, xs: tuple[Any, ...] | None = None) -> Any:
        """The gradient of the input before broadcasting is undone; for another g, output or inputs where given."""
        return pulled(self.op, self.i, g, self.y if y is None else y, self.xs if xs is None else xs, self.options)


class Recording:
    """The graph below `root`; names: what to call its tensors (default: their labels)."""

    def __init__(self, root: Any, names: Mapping[Any, str] | None = None) -> None:
        if not getattr(root, "requires_grad", False) or root.size != 1:
            raise InputError("root is the tensor of one element that was differentiated, with its recorded graph: the loss")
        self.root, self.order = root, inputs_first(root, lambda node: not node.requires_grad)
        for node in self.order:
            if node.op is not None:
                expect_up_to_date(node)
        labels = {node: node.label for node in self.order if node.label}
        self.names = dict(labels if names is None else names) | {root: root.label or "loss"}
        self.users: dict[Any, list[tuple[Any, int]]] = {node: [] for node in self.order}
        for node in self.order:
            for i, x in enumerate(node.inputs):
                if x in self.users:
                    self.users[x].append((node, i))
        self.grads = self.flow({root: np.ones(root.shape)}, self.order)

    def flow(self, seeds: Mapping[Any, Any], region: Iterable[Any], stop: Iterable[Any] = (), size: bool = False) -> Any:
        """Gradients of the region for the gradients in `seeds`; what arrives at a tensor of `stop` goes no further.

        size: True adds the sizes of the summands instead of the summands.
        """
        region, stopped, grads = set(region), set(stop) - set(seeds), {}
        pull = sizes if size else pulled
        with np.errstate(all="ignore"):  # infinities are judged, not warned of
            for node in reversed(self.order):
                grads.update({node: seeds[node]} if node in seeds else {})
                if node not in grads or node in stopped or node.op is None:
                    continue
                for i, x in enumerate(node.inputs):
                    if x in region and x in self.users:
                        dx = pull(node.op, i, grads[node], number(node), tuple(map(number, node.inputs)), node.options or {})
                        if dx is not None:
                            dx = fitted(dx, x.shape)
                            grads[x] = grads[x] + dx if x in grads else dx
        return grads

    def above(self, x: Any) -> set[Any]:
        """x and every tensor that depends on it."""
        found = {x}
        for node in self.order:
            if any(each in found for each in node.inputs):
                found.add(node)
        return found

    def near(self, x: Any) -> tuple[list[Any], set[Any]]:
        """The named tensors that are made from x in one step, first made first; and the unnamed ones between, with x."""
        between, ends = {x}, []
        for node in self.order:
            if any(each in between for each in node.inputs):
                if node in self.names:
                    ends.append(node)
                else:
                    between.add(node)
        return ends, between

    def step(self, x: Any, given: Mapping[Any, Any]) -> dict[Any, Any]:
        """Gradients of x, and between, for given gradients of the named tensors that are made from it."""
        ends, between = self.near(x)
        seeds = {end: np.asarray(given[end], np.float64) for end in ends}
        found: dict[Any, Any] = self.flow(seeds, between, self._stop(x))
        return found

    def sizes(self, x: Any) -> Array:
        """For each element of the gradient of x the sum of the sizes of all that was added up for it."""
        found = self.flow({self.root: np.ones(self.root.shape)}, self.above(x), size=True)
        return np.asarray(found.get(x, np.zeros(x.shape)))

    def coarsest(self, x: Any) -> np.finfo[Any]:
        """The coarsest floats that the gradient of x is made of."""
        return max((np.finfo(node.dtype) for node in self.above(x)), key=lambda floats: floats.eps)

    def origin(self) -> str:
        """The first edge of the backward pass with a gradient that is not finite."""
        for node in reversed(self.order):
            if node in self.grads and not np.isfinite(self.grads[node]).all():
                users = [user for user, _ in self.users[node]]
                return " and ".join(dict.fromkeys(f"{self.called(node)} -> {self.called(user)}" for user in users))
        return ""

    def edges(self, x: Any, grads: Mapping[Any, Any] | None = None, far: bool = True, without: Iterable[Any] = ()) -> list[Edge]:
        """Every edge on the way from x to the root, the nearest first and among those the last of the forward pass.

        grads: gradients to judge by (default: the true ones). far: False leaves out what lies beyond named tensors.
        without: tensors that the way must not touch.
        """
        grads = self.grads if grads is None else grads
        _, between = self.near(x)
        without = set(without)
        region = self.above(x) - without
        found = [
            self._edge(x, user, i, grads, region if far else between, node in between)
            for node in self.order
            for user, i in self.users[node]
            if node in (region if far else between) and user in grads and user not in without
        ]
        found.reverse()
        return sorted(found, key=lambda edge: not edge.near)

    def _edge(self, x: Any, user: Any, i: int, grads: Mapping[Any, Any], region: set[Any], near: bool) -> Edge:
        node, stop = user.inputs[i], self._stop(x) if near else set()

        def lift(dx: Array) -> Array:
            dx = fitted(dx, node.shape)
            return dx if node is x else np.asarray(self.flow({node: dx}, region, stop).get(x, np.zeros(x.shape)))

        xs, options = tuple(map(number, user.inputs)), user.options or {}
        raw = pulled(user.op, i, grads[user], number(user), xs, options)
        total = np.zeros(x.shape) if raw is None else lift(raw)
        text = f"{self.called(node)} -> {self.called(user)}"
        before = next((number(each) for each in node.inputs if each.requires_grad), None) if node is not x else None
        return Edge(
            user.op, i, grads[user], number(user), xs, options, node.shape, total, lift, text, near, node is x, before, user
        )

    def called(self, node: Any) -> str:
        """The name of a tensor, or its operation and the named tensor that it goes into."""
        if node in self.names:
            return str(self.names[node])
        if node not in self.names and len(self.users[node]) == 1:
            return f"{node.op.name} in {self.called(self.users[node][0][0])}"
        return str(node.op.name) if node.op else "a tensor"

    def _stop(self, x: Any) -> set[Any]:
        return set(self.names) - {x}


def number(node: Any) -> Any:
    """The data of a tensor, in float64 where they are floats."""
    data = np.asarray(node.data)
    return data.astype(np.float64) if data.dtype.kind == "f" else data


def fitted(dx: Any, shape: tuple[int, ...]) -> Any:
    """A gradient summed over what broadcasting had repeated."""
    lead = dx.ndim - len(shape)
    if lead < 0 or dx.shape == shape:
        return dx if dx.shape == shape else np.broadcast_to(dx, shape)
    axes = (*range(lead), *(k + lead for k, n in enumerate(shape) if n == 1 and dx.shape[k + lead] != 1))
    summed = dx.sum(axis=axes, keepdims=True)
    return np.broadcast_to(summed.reshape(summed.shape[lead:]), shape)
