"""The function under test, seen as one of flat lists: numbers in, Values out, and names for both.

Imports engine and errors.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from chainrule import engine
from chainrule.check.nodes import described, first_non_finite
from chainrule.engine import Node, Value
from chainrule.errors import ChainruleError, InputError, NonFiniteError, NotANumberError


class Recorded(NamedTuple):
    """One run of the function: the Values it was given, and those it returned, with the index of each."""

    inputs: list[Value]
    outputs: list[Value]
    indices: list[str]


class Subject:
    """A function and a point.

    f: takes one Value per input, or a nested list of Values where the input is a nested list of numbers.
    names: the name of each number, such as "w[0][2]": the parameter of f, or the label of a Value.
    point: the numbers.

    Raises InputError when there is no input, a number is not finite, or f wants arrays; NotANumberError for what is no number.
    """

    def __init__(self, f: Callable[..., Any], inputs: Sequence[Any]) -> None:
        if not callable(f):
            raise InputError(f"check_gradients(f, *inputs) takes a function first, not {type(f).__name__}")
        self.f = f
        self._inputs = [x.tolist() if hasattr(x, "tolist") else x for x in inputs]  # arrays, tensors and NumPy's scalars
        self._from_arrays = any(hasattr(x, "tolist") for x in inputs)
        self.names: list[str] = []
        self.point: list[float] = []
        for name, x in zip(_parameter_names(f, len(inputs)), self._inputs, strict=True):
            for index, leaf in flattened(x):
                self.names.append(_leaf_name(leaf, name, index))
                self.point.append(leaf.data if isinstance(leaf, Value) else engine.as_number(leaf))
        if not self.point:
            raise InputError("check_gradients(f, *inputs) needs at least one number to differentiate by")
        for name, number in zip(self.names, self.point, strict=True):
            if not math.isfinite(number):
                raise InputError(f"input {name} is {number}; a gradient can be checked at finite numbers only")

    def record(self, point: Sequence[float]) -> Recorded:
        """Run f on new Values of these numbers."""
        leaves = [Value(number, label=name) for name, number in zip(self.names, point, strict=True)]
        returned = self._called(iter(leaves))
        indices, outputs = zip(*_checked_outputs(returned), strict=True)
        return Recorded(leaves, list(outputs), list(indices))

    def _called(self, leaves: Iterator[Value]) -> Any:
        try:
            return self.f(*[_with_values(x, leaves) for x in self._inputs])
        except (TypeError, AttributeError) as error:
            if isinstance(error, ChainruleError) or not self._from_arrays:
                raise
            raise InputError(
                f"check_gradients hands f the numbers of an array or tensor as nested lists of Values, and with those f fails "
                f"({error}); write f over numbers, or judge gradients of tensors by compare(mine, x, root=loss)"
            ) from error

    def numbers(self, point: Sequence[float]) -> list[float]:
        """The outputs of f as numbers."""
        return [y.data for y in self.record(point).outputs]


def flattened(x: Any, index: str = "") -> Iterator[tuple[str, Any]]:
    """Each element of a nested list with its index, written as in Python.

    >>> list(flattened([5, [6, 7]]))
    [('[0]', 5), ('[1][0]', 6), ('[1][1]', 7)]
    """
    if isinstance(x, (list, tuple)):
        for i, element in enumerate(x):
            yield from flattened(element, f"{index}[{i}]")
    else:
        yield index, x


def _with_values(x: Any, remaining: Iterator[Value]) -> Any:
    return [_with_values(element, remaining) for element in x] if isinstance(x, (list, tuple)) else next(remaining)


def _leaf_name(leaf: Any, name: str, index: str) -> str:
    return leaf.label if isinstance(leaf, Node) and leaf.label else name + index


def _parameter_names(f: Callable[..., Any], count: int) -> list[str]:
    names: list[str] = []
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):  # built-in functions need not have one
        parameters = {}.values()
    for p in parameters:
        if p.kind is p.VAR_POSITIONAL:
            names += [f"{p.name}[{i}]" for i in range(count - len(names))]
        elif p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            names.append(p.name)
    return (names + [f"input {i}" for i in range(len(names), count)])[:count]


def _checked_outputs(returned: Any) -> list[tuple[str, Value]]:
    outputs = list(flattened(returned))
    if not outputs:
        raise NotANumberError("the function returned an empty list; it must return a Value or a list of Values")
    for index, y in outputs:
        if not isinstance(y, Value):
            where = f" at {index} of its result" if index else ""
            raise NotANumberError(
                f"the function returned {type(y).__name__} {y!r:.40}{where}; it must return a Value or a list of Values "
                "(a plain number has forgotten how it was made: look for .data, float() or math.*)"
            )
        if not math.isfinite(y.data):
            first = f"the first number that is not finite is {described(first_non_finite(y))}"
            raise NonFiniteError(f"the function gives {y.data}{f' at {index}' if index else ''}; {first}")
    return outputs
