"""Which executor runs a program, and how it is fed: `Runner`.

Imports program, builder, reference, native, origins and errors.
"""

import sys
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.compiler import native, reference
from chainrule.compiler.builder import Builder
from chainrule.compiler.program import Program
from chainrule.errors import CompileError, InputError, did_you_mean
from chainrule.origins import NOT_THE_USER_S

NAMES = ("native", "numpy")
EXECUTORS = NAMES if native.available() else NAMES[1:]  # those that this machine has
LARGE = 8192  # elements, from which an argument is read where it is; smaller ones are copied faster


class Runner:
    """A program, ready to run.

    program: as it was built; it is expanded here. carry: from the name of an output to that of the input that takes its
        value at the end of every run.
    executor: "native", "numpy", or "" for the best there is. A RuntimeWarning says why that is not the native one.

    name: the executor that runs it. why: when that is not the native one, and it was not asked for, the reason.
    inputs, outputs: the arrays that a run reads and writes, by name. execute: runs once.
    """

    def __init__(self, program: Program, builder: Builder, executor: str = "", carry: Mapping[str, str] | None = None) -> None:
        expanded = program.expanded(builder)
        self.name, self.why = executor or "native", ""
        made: Any = None
        if self.name == "native":
            try:
                made = native.Executable(expanded, carry=carry)
            except CompileError as error:
                if executor:
                    raise
                self.name, self.why = "numpy", str(error)
                if native.available():  # on a machine without, that is told when it is installed, and by `chainrule info`
                    warn(f"a compiled function is run by NumPy, slowly, for the native executor refuses it: {error}")
        self._made = made or reference.Executable(expanded, carry=carry)
        self._bound: set[str] = set()
        self.inputs: dict[str, npt.NDArray[Any]] = self._made.inputs
        self.outputs: dict[str, npt.NDArray[Any]] = self._made.outputs
        self.execute = self._made.execute

    def bind(self, name: str, array: npt.NDArray[Any]) -> None:
        """Use another array, of the same shape and dtype, as an input's buffer."""
        self._made.bind(name, array)

    def feed(self, name: str, x: npt.NDArray[Any]) -> None:
        """Give an input its numbers: a large array is read in place, from now on and in later runs."""
        own = self.inputs[name]
        if x.size >= LARGE and x.dtype == own.dtype and x.flags.c_contiguous and x.flags.writeable and x.flags.aligned:
            if x is not own:
                self._made.bind(name, x)
                self._bound.add(name)
            return
        if name in self._bound:  # never write into an array of the user's
            self._made.bind(name, np.empty(own.shape, own.dtype))
            self._bound.discard(name)
        self.inputs[name][...] = x


def warn(sentence: str) -> None:
    """A RuntimeWarning at the line of the user's code that is running."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(NOT_THE_USER_S):
        frame, level = frame.f_back, level + 1
    warnings.warn(sentence, RuntimeWarning, stacklevel=level)


def as_numbers(name: str, x: Any) -> npt.NDArray[Any]:
    """An argument as an array of numbers; InputError, naming it, for anything else."""
    if type(x) is np.ndarray and x.dtype.kind in "fiub":
        return x
    if isinstance(x, np.ma.MaskedArray):
        raise InputError(
            f"{name} is a masked array, and a program has no masks: give x.filled(...), and the mask as another argument"
        )
    try:
        array = np.asarray(x)
    except ValueError:
        raise InputError(f"{name} is a list whose rows differ in length; a program takes arrays") from None
    if array.dtype.kind not in "fiub":
        shown = repr(x) if len(repr(x)) <= 40 else f"{type(x).__name__} of {array.dtype}"
        raise InputError(f"{name} must be a number or an array of numbers, not {shown}")
    return array


def expect_known(name: str) -> None:
    """InputError for an executor that there is not."""
    if name and name not in NAMES:
        raise InputError(f"unknown executor {name!r}{did_you_mean(name, NAMES)} (known: {', '.join(NAMES)})")


def expect_in_range(index: npt.NDArray[Any], name: str, length: int) -> None:
    """InputError, naming the first, for indices that are not from 0 to length - 1."""
    # argmin and argmax, unlike min and max, are no ufuncs, and many times as fast on a batch.
    if index.size and (index.item(index.argmin()) < 0 or index.item(index.argmax()) >= length):
        wrong = index[(index < 0) | (index >= length)].flat[0]
        raise InputError(f"{name}: index {wrong} is out of range for a table of {length}")
