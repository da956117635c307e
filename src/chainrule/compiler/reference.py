"""The reference executor: every line of a program by NumPy, one after the other; plain, and what all others must agree with.

Imports lines, program and errors.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.compiler.lines import Array, NumberMath
from chainrule.compiler.program import Program
from chainrule.errors import InputError


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
        """Read an input from this array from now on. InputError when the array is not of its shape and dtype."""
        self._expect_fits(name, array)
        self.inputs[name] = array

    def _expect_fits(self, name: str, array: Any) -> None:
        old = self.inputs.get(name)
        if old is None:
            raise InputError(f"the program has no input {name!r}; it has {', '.join(self.inputs) or 'none'}")
        if array.shape != old.shape or array.dtype != old.dtype:
            raise InputError(f"input {name!r} is {old.dtype} of shape {old.shape}, not {array.dtype} of shape {array.shape}")

    def execute(self) -> None:
        """Compute the outputs of these inputs; InputError for an index that lies outside of what it points into.

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
        """Copies of the outputs for these inputs, by name. InputError when one is missing or has another shape."""
        for name, old in self.inputs.items():
            if name not in given:
                raise InputError(f"the input {name!r} is missing")
            array = np.asarray(given[name], dtype=old.dtype)
            self._expect_fits(name, array)
            self.inputs[name] = array
        self.execute()
        return {name: array.copy() for name, array in self.outputs.items()}

    def _computed(self, line: Array, numbers: dict[Array, Any]) -> Any:
        if line.data is not None:
            return line.data
        if line.op is None:
            return self.inputs[line.name]
        try:
            y = line.op.forward(NumberMath, *(numbers[x] for x in line.inputs), **line.options)
        except IndexError as error:
            raise InputError(f"{line.op.name}: {error}") from None
        return y if getattr(y, "dtype", None) == line.dtype else np.asarray(y, line.dtype)
