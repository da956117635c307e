"""How far rounding may carry the outputs of a program: `bounds`.

>>> from chainrule.compiler.builder import Builder
>>> builder = Builder()
>>> x = builder.input("x", (2,))
>>> y = builder.sum(x * x, (0,)) - 1e10
>>> 1e-6 < bounds([y], {"x": np.array([1e5, 1.0])})[0] < 1e-3
True

To first order, an error in a line reaches an output multiplied by the derivative of the output by that line. So the bound is
the sum over all lines of |derivative| times what the line may be off by, which is a few units in the last place of the
numbers that were added up in it (running error analysis: Higham, Accuracy and Stability of Numerical Algorithms, section 3.3).
Imports lines, program and reference.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.compiler import reference
from chainrule.compiler.lines import Array, inputs_first
from chainrule.compiler.program import Program, gradients

UNITS = 64.0  # in the last place, that a line may be off by: functions by a few, a long sum, added up in pieces, by some more


def bounds(outputs: Sequence[Array], numbers: Mapping[str, Any]) -> list[float]:
    """For each output how far it may be from the exact result, for these inputs; infinite where derivatives are not finite."""
    return [_bound(output, numbers) for output in outputs]


def _bound(output: Array, numbers: Mapping[str, Any]) -> float:
    b = output.builder
    lines = [line for line in inputs_first([output]) if line.op is not None and line.dtype.kind == "f"]
    pairs = [(line, g) for line, g in zip(lines, gradients(output, lines), strict=True) if g is not None]
    total = b.constant(0.0, output.dtype)
    for line, g in pairs:
        off = b.math.abs(g * _size(line))
        total = total + b.sum(off, range(off.ndim))
    program = Program({"bound": total}).expanded(b)  # type: ignore[arg-type]  # a line is made by a Builder
    executable = reference.Executable(program)
    given = {line.name: numbers[line.name] for line in program.inputs}
    with np.errstate(all="ignore"):
        found = float(executable.run(given)["bound"])
    return UNITS * float(np.finfo(output.dtype).eps) * found if np.isfinite(found) else float("inf")


def _size(line: Array) -> Any:
    """The size of what was added up to a line."""
    m = line.builder.math
    if getattr(line.op, "name", "") == "matmul":
        a, b = line.inputs
        return line.builder.matmul(m.abs(a), m.abs(b))
    if getattr(line.op, "name", "") == "sum":
        return line.builder.math.sum(m.abs(line.inputs[0]), **line.options)
    return line
