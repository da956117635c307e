"""A program as a graph of Tensors, for everything that shows graphs: `graph`.

>>> from chainrule.compiler.builder import Builder
>>> from chainrule.compiler.program import Program
>>> builder = Builder()
>>> w = builder.input("w", (2,))
>>> program = Program({"loss": builder.sum(w * w, (0,))})
>>> loss = graph(program, {"w": np.array([1.0, 2.0])}, {"w"})
>>> loss.item(), loss.op.name, loss.inputs[0].inputs[0].label
(5.0, 'sum', 'w')

Left out on purpose: the lines that compute gradients, for a graph finds those itself. Imports lines, listing, program, and of
the core ops, origins and tensor.
"""

import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from chainrule import tensor
from chainrule.compiler.lines import EQUAL, GATHER, LESS, LESS_EQUAL, NOT_EQUAL, VIEW, Array, Shape, inputs_first, places
from chainrule.compiler.listing import block
from chainrule.compiler.program import Program
from chainrule.ops import Op
from chainrule.origins import Origin
from chainrule.tensor import Tensor, TensorMath

_COMPARE = {LESS: operator.lt, LESS_EQUAL: operator.le, EQUAL: operator.eq, NOT_EQUAL: operator.ne}


def graph(program: Program, numbers: Mapping[str, Any], wrt: Collection[str], output: str = "loss") -> Tensor:
    """The output of a program as a Tensor that remembers the lines as its graph; labels are the names of inputs and outputs.

    numbers: the inputs by name. wrt: the inputs that require a gradient. Nodes know one of the lines of source they come
    from, as their origin.
    """
    made: dict[Array, Tensor] = {}
    options = [x for line in program.lines for x in line.options.values() if isinstance(x, Array)]
    for line in [*inputs_first(options), *program.lines]:
        if line in made:
            continue
        if line.op is None:
            given = np.array(numbers[line.name] if line.data is None else line.data)
            made[line] = Tensor(given, requires_grad=line.name in wrt and line.data is None, label=line.name)
        else:
            made[line] = _computed(line, made)
            _name_origin(made[line], line)
    for name, line in program.outputs.items():
        made[line].label = made[line].label or name
    return made[program.outputs[output]]


def _name_origin(y: Any, line: Array) -> None:
    if y.op is not None and y.origin is None and line.sources:
        file, _, number = min(line.sources).rpartition(":")
        y._origin = Origin(file, int(number))


def _computed(line: Array, made: Mapping[Array, Tensor]) -> Tensor:
    op: Any
    op, xs = line.op, [made[x] for x in line.inputs]
    if op in _COMPARE:
        compare: Callable[[Any, Any], Any] = _COMPARE[op]
        return Tensor(compare(*[x.data for x in xs]))
    if op is VIEW:
        options = line.options
        return _view(xs[0], options["offset"], line.shape, options["strides"])
    if op is GATHER:
        return xs[0][xs[1]]
    if isinstance(op, Op):
        return tensor.apply(op, *xs)
    options = {name: made[x].data if isinstance(x, Array) else x for name, x in line.options.items()}
    y: Tensor = getattr(TensorMath, op.name)(*xs, **options | ({"kept": []} if "kept" in options else {}))
    return y


def _view(x: Tensor, offset: int, shape: Shape, strides: Shape) -> Tensor:
    """A view by the words that tensors have: slices, reshape, permute and expand; by an index where these do not do."""
    moving = sorted((i for i, n in enumerate(shape) if n > 1 and strides[i]), key=lambda i: -abs(strides[i]))
    lengths, steps = [shape[i] for i in moving], [strides[i] for i in moving]
    found = block(x.size, offset, lengths, steps) if moving else None
    if not moving:
        y = x if x.size == 1 else _shaped(x, (x.size,))[offset : offset + 1]
    elif found is None:
        y = _shaped(x, (x.size,))[places(offset, tuple(lengths), tuple(steps))]
    else:
        y = x if found.cut is None and found.rows is not None else _shaped(x, (x.size,))
        y = y if found.cut is None else y[found.cut]
        y = y if found.rows is None else _shaped(y, found.rows)
        y = y[found.cuts] if found.cuts else y
    order = sorted(range(len(moving)), key=moving.__getitem__)
    if order != sorted(order):
        y = y.permute(*order)
    kept = tuple(n if i in moving else 1 for i, n in enumerate(shape))
    y = _shaped(y, kept)
    return y if kept == shape else y.expand(*shape)


def _shaped(x: Tensor, shape: Shape) -> Tensor:
    return x if x.shape == tuple(shape) else x.reshape(*shape)
