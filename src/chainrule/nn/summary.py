"""What a model of tensor layers is made of: `summary`.

>>> from chainrule.nn import Linear, ReLU, Sequential
>>> print(summary(Sequential(Linear(2, 16), ReLU(), Linear(16, 1)), (32, 2)))
   layer          output   parameters
0  Linear(2, 16)  (32,16)          48
1  ReLU()         (32,16)           0
2  Linear(16, 1)  (32,1)           17
65 parameters

Imports engine, errors, tensor, module and layers.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.engine import Node, no_grad
from chainrule.errors import InputError
from chainrule.nn.layers import Embedding
from chainrule.nn.module import Module
from chainrule.tensor import Tensor

__all__ = ["ModelSummary", "summary"]


@dataclass(frozen=True)
class ModelSummary:
    """What `summary` returns; printing it shows the table.

    rows: in the order in which calls ended, for each layer, and each module that has parameters beside its layers: its name,
    its text, the shape of its output and how many numbers its own parameters have. What several calls share is counted in
    the first. parameters: how many numbers all parameters of the model have. buffers: the same of its buffers.
    """

    rows: tuple[tuple[str, str, tuple[int, ...], int], ...]
    parameters: int
    buffers: int

    def __str__(self) -> str:
        cells = [("", "layer", "output", "parameters")]
        cells += [(name, text, str(shape).replace(" ", ""), f"{count:,}") for name, text, shape, count in self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(4)]
        lines = [f"{a:{widths[0]}}  {b:{widths[1]}}  {c:{widths[2]}}  {d:>{widths[3]}}" for a, b, c, d in cells]
        buffers = f" and {self.buffers:,} in buffers" if self.buffers else ""
        return "\n".join([*lines, f"{self.parameters:,} parameters{buffers}"])


def summary(model: Module, inputs: Any, *, dtype: Any = None) -> ModelSummary:
    """The layers of a model with the shapes of their outputs and their parameter counts.

    inputs: the shape of a whole batch, as in (32, 3), or a batch: an array or a tensor. dtype: of the zeros of that shape
    that run through it (default: int64 when the first layer is an Embedding, else float32).

    The model runs once in evaluation mode, without recording, and is left as it was. Raises InputError for another `inputs`,
    or when the model calls no tensor layers; and whatever its layers raise.
    """
    modules = model.modules()
    own = {id(module): _own_parameters(module) for module in modules}
    layers = [module for module in modules if own[id(module)] or len(module.modules()) == 1]
    batch = _batch(inputs, dtype or ("int64" if any(isinstance(layer, Embedding) for layer in layers[:1]) else "float32"))
    names = {id(module): name for name, module in _named_modules(model, "", set())}
    rows: list[tuple[str, str, tuple[int, ...], int]] = []
    counted: set[Any] = set()

    def watched(layer: Module, forward: Any) -> Any:
        def record(*xs: Any, **options: Any) -> Any:
            y = forward(*xs, **options)
            new = [p for p in own[id(layer)] if p not in counted]
            counted.update(new)
            text = repr(layer) if len(layer.modules()) == 1 else type(layer).__name__
            rows.append((names[id(layer)], text, np.shape(getattr(y, "data", y)), sum(np.size(p.data) for p in new)))
            return y

        return record

    with _evaluating(model), contextlib.ExitStack() as after:
        for layer in layers:
            if layer.forward is not None:
                vars(layer)["forward"] = watched(layer, layer.forward)
                after.callback(vars(layer).pop, "forward")
        model(batch)
    if not rows:
        raise InputError(f"summary takes a model of tensor layers; {type(model).__name__} has none that were called")
    sizes = [np.size(x) for x in model.state_dict().values()]
    parameters = sum(np.size(p.data) for p in model.parameters())
    return ModelSummary(tuple(rows), parameters, sum(sizes) - parameters)


def _batch(inputs: Any, dtype: Any) -> Tensor:
    if isinstance(inputs, (np.ndarray, Tensor)):
        return inputs if isinstance(inputs, Tensor) else Tensor(inputs)
    if not isinstance(inputs, (tuple, list)) or not all(type(n) is int and n >= 0 for n in inputs):
        raise InputError(f"summary takes the shape of a batch, as in (32, 3), or a batch as an array, not {inputs!r:.60}")
    return Tensor(np.zeros(tuple(inputs)), dtype=dtype)


def _own_parameters(module: Module) -> list[Any]:
    """The parameters that a module keeps itself, not within another module."""
    within = {p for child in module.modules()[1:] for p in child.parameters()}
    return [p for p in module.parameters() if p not in within]


@contextlib.contextmanager
def _evaluating(model: Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _named_modules(model: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
    """Modules with the attributes, indices and keys that lead to them, each by the first way there is."""
    if id(model) in seen or isinstance(model, Node):
        return
    seen.add(id(model))
    if isinstance(model, Module):
        yield path, model
        children: Any = [(k, v) for k, v in vars(model).items() if not k.startswith("_")]
    elif isinstance(model, dict):
        children = model.items()
    else:
        children = enumerate(model) if isinstance(model, (list, tuple)) else ()
    for key, child in children:
        yield from _named_modules(child, f"{path}.{key}" if path else str(key), seen)
