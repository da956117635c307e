"""The reference executor: every line of a program by NumPy, one after the other; plain, and what all others must agree with.

Imports lines and program.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.compiler.lines import Array, NumberMath
from chainrule.compiler.program import Program


class Executable:
    """A program that can be run; used like native.Executable.

    carry: from the name of an output to that of an input of the same shape, which takes its value at the end of every run.

    inputs, outputs: by name, the arrays that a run reads and writes. execute: runs once.
    """

    def __init__(self, program: Program, *, carry: Mapping[str, str] | None = None) -> None:
        self.program, self.carry = program, dict(carry or {})
        self.inputs: dict[str, Any] = {line.name: np.zeros(line.shape, line.dtype) for line in program.inputs}
        self.outputs: dict[str, Any] = {name: np.zeros(x.shape, x.dtype) for name, x in program.outputs.items()}

    def bind(self, name: str, array: Any) -> None:
        """Read an input from this array from now on."""
        self.inputs[name] = array

    def execute(self) -> None:
        """Compute the outputs of these inputs.

        A number that leaves the domain of an operation becomes NaN or infinity, as in every executor; the caller judges.
        """
        numbers: dict[Array, Any] = {}
        with np.errstate(all="ignore"):
            for line in self.program.lines:
                numbers[line] = self._computed(line, numbers)
        for name, line in self.program.outputs.items():
            self.outputs[name][...] = numbers[line]
        for output, name in self.carry.items():
            self.inputs[name][...] = self.outputs[output]

    def run(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Copies of the outputs for these inputs, by name."""
        for name in self.inputs:
            self.inputs[name] = np.asarray(given[name], dtype=self.inputs[name].dtype)
        self.execute()
        return {name: array.copy() for name, array in self.outputs.items()}

    def _computed(self, line: Array, numbers: dict[Array, Any]) -> Any:
        if line.data is not None:
            return line.data
        if line.op is None:
            return self.inputs[line.name]
        y = line.op.forward(NumberMath, *(numbers[x] for x in line.inputs), **line.options)
        return y if getattr(y, "dtype", None) == line.dtype else np.asarray(y, line.dtype)
