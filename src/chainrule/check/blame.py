"""Why a gradient is wrong: the step of the graph that is to blame.

In this order: a number that was overwritten after it was computed; an operation whose derivative disagrees with its own
forward, checked alone; a constant that moves with the input, so that its past was forgotten. Imports engine and errors.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from chainrule import engine
from chainrule.check.choices import same_shape, steps_of
from chainrule.check.nodes import described
from chainrule.check.slopes import slope_of, verdict
from chainrule.engine import Value
from chainrule.errors import ChainruleError


class Run(NamedTuple):
    """One run of a function: its inputs, the numbers they were given, its outputs, and their weighted sum."""

    inputs: Sequence[Value]
    point: Sequence[float]
    outputs: Sequence[Value]
    root: Value


def likely_step(run: Run, moved: Run, element: int, tolerance: float) -> str:
    """The step that makes the gradient by one input wrong, in a sentence.

    run: the run whose gradient is wrong.
    moved: another, with only that input moved a little.
    element: the index of that input.
    """
    return (
        _overwritten(run)
        or _wrong_row(run, element, tolerance)
        or _forgotten(run, moved, element)
        or "every operation of the graph is right on its own, and no constant of it moves with this input; "
        "if the function only computes, the backward pass of the engine itself is at fault"
    )


def _overwritten(run: Run) -> str:
    for x, given in zip(run.inputs, run.point, strict=True):
        if x.data != given:
            return f"the function assigned to {x.label}.data, which was {given!r} and is {x.data!r} now"
    for node in engine.inputs_first(run.root):
        if node.op is not None and not _same(node.data, _forward(node.op, [x.data for x in node.inputs])):
            return f"{described(node)} is not what {node.op.name} gives: the .data of it, or of an input, was assigned to later"
    return ""


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _forward(op: Any, xs: Sequence[float]) -> float:
    try:
        return engine.apply(op, *xs).data
    except ChainruleError:
        return math.nan


def _wrong_row(run: Run, element: int, tolerance: float) -> str:
    """The first operation on the way from the input whose derivative disagrees with differences of its forward."""
    reached = {run.inputs[element]}
    for node in engine.inputs_first(run.root):
        if node.op is None or reached.isdisjoint(node.inputs) or not node.requires_grad:
            continue
        for i, x in enumerate(node.inputs):
            if x in reached and (numbers := _wrong_derivative(node, i, tolerance)):
                return (
                    f"{described(node)}: the row of {node.op.name} gives {numbers[0]:.9g} for its derivative by input {i}, "
                    f"centred differences of its forward give {numbers[1]:.9g}"
                )
        reached.add(node)
    return ""


def _wrong_derivative(node: Any, i: int, tolerance: float) -> tuple[float, float] | None:
    """The exact and the numeric derivative of one operation by input i, where they disagree.

    The operation runs alone, on the engine that ran the graph, so that a fault of that engine shows as well.
    """
    op, xs, leaf = node.op, [x.data for x in node.inputs], Value(node.inputs[i].data)

    def forward(x: Any) -> Value:
        return engine.apply(op, *xs[:i], x, *xs[i + 1 :])

    y = forward(leaf)
    if op.derivatives[i] is None:
        return None
    exact = engine.gradients(y, leaf)[leaf]
    slope = slope_of(lambda x: forward(x).data, leaf.data, y.data)
    if slope is None or verdict(exact, slope, tolerance) != "wrong":
        return None
    return exact, slope.value


def _forgotten(run: Run, moved: Run, element: int) -> str:
    """The first leaf that is not an input and yet changes with it."""
    name = run.inputs[element].label
    forgotten = f"moves with {name} but has forgotten how: it was made from a plain number (.data, math.*) or under no_grad()"
    inputs = set(run.inputs)

    def forgets(node: Value, other: Value) -> bool:
        return node.op is None and node not in inputs and node.data != other.data

    if not same_shape(steps_of(run.root, run.inputs), steps_of(moved.root, moved.inputs)):
        return f"the function makes another graph when {name} moves a little: it branches on its numbers"
    for y, other in zip(run.outputs, moved.outputs, strict=True):
        if forgets(y, other):
            return f"the output {y.data!r} {forgotten}"
    nodes = engine.inputs_first(run.root)
    for node, other in zip(nodes, engine.inputs_first(moved.root), strict=True):
        if forgets(node, other):
            user = next(user for user in nodes if any(x is node for x in user.inputs))
            return f"the constant {described(node)} in {described(user)} {forgotten}"
    return ""
