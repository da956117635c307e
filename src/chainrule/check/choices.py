"""Which sides the operations of a graph take, so that two runs of a function can be compared: the winner of a max.

A derivative rule chooses through `where`, `maximum`, `minimum` and `abs` of its namespace `m`. Running it with an `m`
that takes notes tells every choice, for built-in rows and registered ones alike. Imports ops and engine.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from chainrule.engine import Node, inputs_first
from chainrule.ops import FloatMath


class Step(NamedTuple):
    """One operation of a run: its name, which nodes it works on, and the choices of its derivatives."""

    name: str
    inputs: tuple[int, ...]
    choices: tuple[Any, ...]


class _Noting:
    """`m` for floats that remembers each choice."""

    def __init__(self) -> None:
        self.choices: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(FloatMath, name)

    def _note(self, choice: bool) -> bool:
        self.choices.append(choice)
        return choice

    def where(self, condition: float, a: float, b: float) -> float:
        return a if self._note(bool(condition)) else b

    def maximum(self, a: float, b: float) -> float:
        self._note(a >= b)
        return FloatMath.maximum(a, b)

    def minimum(self, a: float, b: float) -> float:
        self._note(a <= b)
        return FloatMath.minimum(a, b)

    def abs(self, x: float) -> float:
        self._note(x >= 0)
        return abs(x)


def steps_of(root: Node, inputs: Sequence[Node]) -> list[Step]:
    """The operations below `root`, inputs first. Runs that take the same path give equal lists."""
    numbers = {x: i for i, x in enumerate(inputs)}
    steps = []
    for node in inputs_first(root):
        numbers.setdefault(node, len(numbers))
        if node.op is not None:
            steps.append(Step(node.op.name, tuple(numbers[x] for x in node.inputs), _choices(node)))
    return steps


def _choices(node: Any) -> tuple[Any, ...]:
    m = _Noting()
    for derivative, x in zip(node.op.derivatives, node.inputs, strict=True):
        if derivative is not None and x.requires_grad:
            try:
                derivative(m, node.data, *[x.data for x in node.inputs])
            except (ArithmeticError, ValueError):
                m.choices.append("no slope")
    return tuple(m.choices)


def difference(before: Sequence[Step], after: Sequence[Step]) -> str:
    """What one run does otherwise than the other, in words; empty when they take the same path."""
    if same_shape(before, after):
        changed = (a for a, b in zip(before, after, strict=True) if a != b)
        return next((f"{step.name} changes sides" for step in changed), "")
    return "the function takes another path, since it branches on its numbers"


def same_shape(before: Sequence[Step], after: Sequence[Step]) -> bool:
    """Whether two runs make the same operations on the same nodes, whatever sides they choose."""
    return [step[:2] for step in before] == [step[:2] for step in after]
