"""The array program: what a compiled function does, as a short list of lines, each an operation on whole arrays.

>>> from chainrule.compiler.builder import Builder
>>> builder = Builder()
>>> x = builder.input("x", (3,))
>>> program = Program({"y": builder.math.tanh(x) * 2.0})
>>> print(program)
x: float64 (3,)
v1 = tanh(x)
y = v1 * 2
>>> slopes = differentiate(builder.sum(program.outputs["y"], (0,)), [x])
>>> print(Program({"dx": slopes[0]}))
x: float64 (3,)
v1 = tanh(x)
v2 = v1 * v1
v3 = 1 - v2
dx = 2 * v3

`differentiate` is backpropagation over lines, by the same rows; `expanded` writes every row in terms of those that an
executor must know. Imports lines, builder, listing and ops.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.compiler.builder import Builder
from chainrule.compiler.lines import VIEW, Array, Maker, inputs_first
from chainrule.compiler.listing import listing
from chainrule.ops import ArrayOp, Op


class Program:
    """Lines that compute named outputs.

    outputs: what is wanted, by name. Everything that no output needs is left out.
    """

    def __init__(self, outputs: Mapping[str, Array]) -> None:
        self.outputs = dict(outputs)
        self.lines = inputs_first(self.outputs.values())

    @property
    def inputs(self) -> list[Array]:
        """The arrays that must be given, in the order of their first use."""
        return [line for line in self.lines if line.op is None and line.data is None]

    @property
    def operations(self) -> list[Array]:
        """The lines that compute; a view only says where elements are."""
        return [line for line in self.lines if line.op is not None and line.op is not VIEW]

    def expanded(self, builder: Builder) -> "Program":
        """The same program in the rows that every executor knows."""
        new: dict[Array, Array] = {}
        for line in self.lines:
            builder.sources = line.sources
            new[line] = builder.expand(line, tuple(new[x] for x in line.inputs))
        builder.sources = frozenset()
        return Program({name: new[line] for name, line in self.outputs.items()})

    def __str__(self) -> str:
        return "\n".join(row.text for row in listing(self))


def differentiate(root: Array, wrt: Sequence[Array], one: Any = None, *, per_element: bool = False) -> list[Array]:
    """The gradients of `root` by lines, as lines; those it does not depend on get zeros.

    See `gradients`, which gives None for those.
    """
    found = gradients(root, wrt, one, per_element=per_element)
    b = root.builder
    return [b.constant(np.zeros(x.shape, x.dtype)) if g is None else g for x, g in zip(wrt, found, strict=True)]


def gradients(root: Array, wrt: Sequence[Array], one: Any = None, *, per_element: bool = False) -> list[Array | None]:
    """The gradients of `root` by lines, as lines; None for those it does not depend on.

    one: the gradient of root itself; default 1, for a root of one element.
    per_element: of a program that is elementwise throughout: the derivative of each element of root by what went into
        it, so that a number that was broadcast has as many derivatives as there are elements.
    """
    b = root.builder
    order = inputs_first([root])
    reaches = _depending(order, wrt)
    grads: dict[Array, Array] = {root: b.constant(np.ones(root.shape, root.dtype)) if one is None else one}
    for line in reversed(order):
        g = grads.get(line)
        if g is None or line.op is None or line not in reaches:
            continue
        b.sources = line.sources
        for x, dx in zip(line.inputs, _pull(line, g, [x in reaches for x in line.inputs]), strict=True):
            if dx is not None and x in reaches:
                dx = b.astype(dx, x.dtype) if per_element else _fit(b, dx, x)
                grads[x] = grads[x] + dx if x in grads else dx
    b.sources = frozenset()
    return [grads.get(x) for x in wrt]


def _depending(order: list[Array], wrt: Sequence[Array]) -> set[Array]:
    found = set(wrt)
    for line in order:
        if line not in found and any(x in found for x in line.inputs):
            found.add(line)
    return found


def _pull(line: Array, g: Array, wanted: Sequence[bool]) -> Sequence[Any]:
    m, xs = line.builder.math, line.inputs
    op = line.op
    if isinstance(op, ArrayOp):
        return op.pull(m, wanted, g, line, xs, line.options)
    assert isinstance(op, Op)
    return [
        g * rule(m, line, *xs) if rule is not None and wish else None for rule, wish in zip(op.derivatives, wanted, strict=True)
    ]


def _fit(b: Maker, dx: Array, x: Array) -> Array:
    """Undo broadcasting, and return to the dtype of x."""
    if dx.shape != x.shape:
        lead = dx.ndim - x.ndim
        repeated = [i + lead for i, n in enumerate(x.shape) if n == 1 and dx.shape[i + lead] != 1]
        dx = b.reshape(b.sum(dx, (*range(lead), *repeated)), x.shape)
    return b.astype(dx, x.dtype)
