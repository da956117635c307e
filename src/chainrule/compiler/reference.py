"""The reference executor: every line of a program by NumPy, one after the other; plain, and what all others must agree with.

Imports lines and program.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.compiler.lines import Array, NumberMath
from chainrule.compiler.program import Program


class Executable:
    """A program that can be run."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def run(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs for these inputs, by name.

        A number that leaves the domain of an operation becomes NaN or infinity, as in every executor; the caller judges.
        """
        numbers: dict[Array, Any] = {}
        with np.errstate(all="ignore"):
            for line in self.program.lines:
                numbers[line] = _computed(line, numbers, given)
        return {name: numbers[line] for name, line in self.program.outputs.items()}


def _computed(line: Array, numbers: dict[Array, Any], given: Mapping[str, Any]) -> Any:
    if line.data is not None:
        return line.data
    if line.op is None:
        return np.asarray(given[line.name], dtype=line.dtype)
    y = line.op.forward(NumberMath, *(numbers[x] for x in line.inputs), **line.options)
    return y if getattr(y, "dtype", None) == line.dtype else np.asarray(y, line.dtype)
