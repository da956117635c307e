"""What every network can do: find its parameters, forget their gradients, give out and take in their numbers.

A module is any class derived from `Module` that keeps nodes in its attributes (or `__slots__`), directly or inside lists,
tuples, dicts and other modules. Nothing is registered: the attributes are walked when asked, in the order in which they
were set. Sets have no order that a file could rely on, so a leaf that is in a set (a deque, an array of objects) and
nowhere else is an InputError, and is never overlooked. Objects of other classes are not looked into.

>>> from chainrule import Value
>>> class Line(Module):
...     def __init__(self):
...         self.slope, self.offset = Value(2.0), [Value(1.0), Value(0.5, requires_grad=False)]
>>> line = Line()
>>> [name for name, _ in line.named_parameters()]
['slope', 'offset.0']
>>> line.state_dict()
{'slope': 2.0, 'offset.0': 1.0, 'offset.1': 0.5}

A leaf node with `requires_grad` is a parameter; a leaf without it is a buffer: saved and loaded, never trained. So a
parameter is frozen by `p.requires_grad = False`. Results of operations are neither. A node kept in two places counts
once, under its first name. Left out on purpose: hooks, devices, and moving a class into the file (a file holds
weights; the program holds the architecture). Imports engine, errors, origins and modelfile.
"""

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from types import MemberDescriptorType
from typing import Any, NamedTuple, Self

import numpy as np

from chainrule import origins
from chainrule.engine import Node
from chainrule.errors import InputError, ModelFileError
from chainrule.nn import modelfile

# The attributes, indices and keys that lead from a module to a leaf, last one first: a pair is cheaper to make for every
# leaf than a copy of the path so far, and names are rarely asked for.
Path = tuple["Path", Any] | None


class KeyMismatch(NamedTuple):
    """The names on which a model and a state dict differ."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """The base of all networks; see the module's docstring for what it walks.

    A subclass needs no `super().__init__()`; programs that override `parameters()`, as micrograd's do, work too. It defines
    `forward`, which calling the module calls, or `__call__` itself.
    """

    training: bool = True
    """Whether Dropout drops and BatchNorm takes its statistics from the batch; set by `train()` and `eval()`."""

    forward: Any = None

    def __call__(self, *xs: Any, **options: Any) -> Any:
        """What `forward` returns."""
        if self.forward is None:
            raise InputError(f"{type(self).__name__} defines neither forward nor __call__, so it cannot be called")
        return self.forward(*xs, **options)

    def modules(self) -> list["Module"]:
        """This module and all modules in it, each once, in the order in which the attributes were set."""
        found: dict[int, Module] = {}
        _collect_modules(self, found, set())
        return list(found.values())

    def child_names(self) -> dict[int, str]:
        """What to call the modules that this one keeps, by their `id`: a list's by class and place, others by attribute.

        >>> from chainrule.nn import MLP
        >>> list(MLP(2, [16, 1]).child_names().values())
        ['Layer 1', 'Layer 2']
        """
        names: dict[int, str] = {}
        for key, child in _slots(self) if hasattr(type(self), "__slots__") else vars(self).items():
            kept = child.items() if isinstance(child, dict) else enumerate(child, 1) if isinstance(child, (list, tuple)) else ()
            if isinstance(child, Module):
                names.setdefault(id(child), f"{type(child).__name__} {int(key) + 1}" if key.isdecimal() else key)  # Sequential
            for at, inner in kept:
                if isinstance(inner, Module):
                    names.setdefault(id(inner), f"{type(inner).__name__} {at}")
        return names

    def train(self, mode: bool = True) -> Self:
        """Set the training mode (with mode=False: the evaluation mode) here and in all modules below; returns this module.

        >>> from chainrule.nn import MLP
        >>> MLP(2, [1]).train(False).layers[0].training
        False
        """
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Self:
        """Set the evaluation mode: `train(False)`."""
        return self.train(False)

    def parameters(self) -> list[Any]:
        """The nodes to train, each once, in the order in which the attributes were set."""
        return [leaf for leaf in _leaves(self) if leaf.requires_grad]

    def named_parameters(self) -> list[tuple[str, Any]]:
        """Pairs of name and parameter; names join attributes, indices and keys by dots.

        Raises InputError when a dict key makes no name, or two keys make the same.

        >>> from chainrule.nn import MLP
        >>> MLP(2, [4, 1]).named_parameters()[10][0]
        'layers.0.neurons.3.w.1'
        """
        return [(name, leaf) for name, leaf in _named_leaves(self).items() if leaf.requires_grad]

    def zero_grad(self) -> None:
        """Forget all gradients: `grad` reads 0.0, of a Tensor None, and pictures show "no backward yet"."""
        for p in self.parameters():
            p.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """The numbers of all parameters and buffers by name; a copy, so training on does not change it.

        >>> from chainrule.nn import Neuron
        >>> sorted(Neuron(2).state_dict())
        ['b', 'w.0', 'w.1']
        """
        return {name: copy.copy(leaf.data) for name, leaf in _named_leaves(self).items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> KeyMismatch:
        """Take the numbers of `state_dict`; gradients stay as they are.

        state_dict: numbers by name, as `state_dict()` gives them.
        strict: whether every name must match (default). If not, the names that do are loaded.

        Returns the names that did not match. Raises ModelFileError naming the missing and unexpected keys, a shape that
        differs or an entry that is no number, InputError for what is no dict; then nothing has been loaded.

        >>> from chainrule.nn import Neuron
        >>> neuron = Neuron(1)
        >>> neuron.load_state_dict({"w.0": 0.5}, strict=False)
        KeyMismatch(missing_keys=['b'], unexpected_keys=[])
        """
        if not isinstance(state_dict, Mapping):
            raise InputError(f"a state is a dict of numbers by name, as state_dict() gives it, not {type(state_dict).__name__}")
        leaves = _named_leaves(self)
        found = {name: _as_array(name, state_dict[name]) for name in state_dict if name in leaves}
        mismatch = KeyMismatch([k for k in leaves if k not in found], [k for k in state_dict if k not in leaves])
        shapes = _shape_clauses({name: leaf.data for name, leaf in leaves.items()}, found)
        clauses = [*_key_clauses(mismatch), *shapes] if strict else shapes
        if clauses:
            raise ModelFileError(f"the state does not fit this {type(self).__name__}: {'; '.join(clauses)}")
        for name, array in found.items():
            leaves[name].data = array if array.shape else array.item()
        return mismatch

    def save(self, path: str | PathLike[str]) -> None:
        """Write all parameters and buffers to a safetensors file (float64), whole or not at all.

        path: the file; one that exists is replaced in a single step, so that it is readable at every moment.

        A list becomes an axis of a tensor: "layers.0.neurons.*.w.*" of an MLP(2, [16, 1]) has shape (16, 2). Raises
        ModelFileError when the file cannot be written (an old one is kept then), MissingDependencyError without safetensors.
        """
        modelfile.write(path, modelfile.fold(self.state_dict()))

    def load(self, path: str | PathLike[str]) -> Self:
        """Take the weights of a file that `save` wrote, and return this module.

        The file holds weights, not an architecture, so first make the model: `MLP(2, [16, 16, 1]).load(path)`. Raises
        ModelFileError when the file is missing, truncated, foreign or of another architecture; then nothing has been
        loaded. MissingDependencyError without safetensors.
        """
        tensors, mine = modelfile.read(path), modelfile.fold(self.state_dict())
        mismatch = KeyMismatch([k for k in mine if k not in tensors], [k for k in sorted(tensors) if k not in mine])
        clauses = [*_key_clauses(mismatch), *_shape_clauses(mine, tensors)]
        if clauses:
            raise ModelFileError(f"{path} does not fit this {type(self).__name__}: {'; '.join(clauses)}")
        self.load_state_dict(modelfile.unfold(tensors))
        return self


origins.watched.append(Module)


def _leaves(module: Module) -> dict[Any, Path]:
    """Every leaf node below a module, with the first path that leads to it."""
    leaves: dict[Any, Path] = {}
    unordered: list[Any] = []
    _collect(module, None, leaves, set(), unordered)
    for container in unordered:
        inside: dict[Any, Path] = {}
        _collect(list(container), None, inside, set(), [])
        if not inside.keys() <= leaves.keys():
            kind = "array" if isinstance(container, np.flatiter) else type(container).__name__
            raise InputError(f"this {type(module).__name__} keeps parameters in a {kind}; keep them in a list, tuple or dict")
    return leaves


def _collect(x: Any, path: Path, leaves: dict[Any, Path], seen: set[int], unordered: list[Any]) -> None:
    children: Iterable[tuple[Any, Any]]
    if isinstance(x, (list, tuple)):
        children = enumerate(x)
    elif isinstance(x, Module):
        children = vars(x).items() if not hasattr(type(x), "__slots__") else _slots(x)
    elif isinstance(x, dict):
        children = x.items()
    else:
        if isinstance(x, (set, frozenset, deque)) or (isinstance(x, np.ndarray) and x.dtype == object):
            unordered.append(x.flat if isinstance(x, np.ndarray) else x)
        return
    if id(x) in seen:  # a module may hold its parent
        return
    seen.add(id(x))
    for key, child in children:
        if isinstance(child, Node):
            if child.op is None:
                leaves.setdefault(child, (path, key))
        elif not isinstance(child, (str, int, float)):  # a training step walks three times: spare the calls
            _collect(child, (path, key), leaves, seen, unordered)


def _collect_modules(x: Any, found: dict[int, Module], seen: set[int]) -> None:
    if id(x) in seen or not isinstance(x, (Module, list, tuple, dict)):
        return
    seen.add(id(x))
    if isinstance(x, Module):
        found[id(x)] = x
        children: Iterable[Any] = [child for _, child in (_slots(x) if hasattr(type(x), "__slots__") else vars(x).items())]
    else:
        children = x.values() if isinstance(x, dict) else x
    for child in children:
        if not isinstance(child, Node):
            _collect_modules(child, found, seen)


def _slots(module: Module) -> Iterator[tuple[str, Any]]:
    """The attributes of a module of a class with `__slots__`, those of the slots first, base classes before derived ones."""
    for kind in reversed(type(module).__mro__):
        for name, slot in vars(kind).items():
            if isinstance(slot, MemberDescriptorType) and hasattr(module, slot.__name__):
                yield name, getattr(module, slot.__name__)
    yield from vars(module).items()


def _named_leaves(module: Module) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for leaf, path in _leaves(module).items():
        name = ".".join(reversed(list(_name_parts(path))))
        if name in named:
            raise InputError(f"two parameters have the name {name!r}: a dict has a number and its text as keys")
        named[name] = leaf
    return named


def _name_parts(path: Path) -> Iterator[str]:
    while path is not None:
        path, key = path
        part = str(key)
        # Dots separate, and a star is an axis of a stored tensor: a key with them could not be told apart.
        if type(key) is not int and (type(key) is not str or not part or "." in part or "*" in part):
            raise InputError(f"the dict key {key!r} cannot be part of a parameter's name: use a word without '.' and '*'")
        yield part


def _as_array(name: str, x: Any) -> Any:
    array = np.array(x)
    if array.dtype.kind not in "biuf":
        raise ModelFileError(f"the state's entry {name!r} is not a number but {type(x).__name__}")
    return array.astype(np.float64)


def _key_clauses(mismatch: KeyMismatch) -> list[str]:
    missing, unexpected = mismatch
    return [f"missing {_shorten(missing)}"] * bool(missing) + [f"unexpected {_shorten(unexpected)}"] * bool(unexpected)


def _shape_clauses(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    shapes = [(name, np.shape(x), np.shape(theirs[name])) for name, x in mine.items() if name in theirs]
    wrong = [f"{name} has shape {its} and not {own}" for name, own, its in shapes if own != its]
    return [_shorten(wrong)] * bool(wrong)


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
