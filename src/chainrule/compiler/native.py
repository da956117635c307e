"""The native executor: plans an array program once and runs it many times.

>>> from chainrule.compiler.builder import Builder
>>> from chainrule.compiler.program import Program
>>> builder = Builder()
>>> x = builder.input("x", (3,))
>>> program = Program({"y": builder.sum(x * x, (0,))})
>>> if available():
...     executable = Executable(program)
...     executable.inputs["x"][:] = [1.0, 2.0, 3.0]
...     executable.execute()
...     assert executable.outputs["y"] == 14.0

The arrays in `inputs` and `outputs` belong to the executable: write into the one, run, read the other; nothing is copied
or allocated by a run. The plan is made by lowered.py (what is to be done), schedule.py (in which order, what in one go) and
emit.py (memory and instructions), and run by native/executor.c.

Where the C part is missing, `available()` is False and `reason()` says why; reference.py runs every program. Imports
lowered, schedule, emit, program, native and errors.
"""

import contextlib
import ctypes
import importlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.compiler.emit import Emitter
from chainrule.compiler.lowered import Lowering
from chainrule.compiler.program import Program
from chainrule.compiler.schedule import Schedule
from chainrule.errors import CompileError, InputError
from chainrule.native import status
from chainrule.native.sources import executor_hash

HEAVY = 30_000.0
"""Nanoseconds of estimated work from which a run lets other Python threads go on."""


class Executable:
    """A program, planned for one shape of its inputs.

    program: expanded (`Program.expanded`), in float64 or float32 throughout; integers serve as indices.
    threads: how many may share the work of a run (default: the processors this process may use). 1 also keeps BLAS to one.
    carry: from the name of an output to that of an input of the same shape and dtype, which takes its value at the end of
        every run: how parameters are updated in place. Where it can be, both are one array.
    isa: "avx512", "avx2" or "base" (default: the best of this machine).

    inputs, outputs: by name, the arrays that a run reads and writes. execute: runs once, in place, and raises InputError when an
    index lies outside of what it points into; what depends on it is then not computed, and nothing is carried.

    Raises CompileError when there is no native executor, or for a program that it cannot run.
    """

    def __init__(
        self, program: Program, *, threads: int | None = None, carry: Mapping[str, str] | None = None, isa: str = ""
    ) -> None:
        if _executor is None:
            raise CompileError(f"there is no native executor: {_reason}")
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise InputError(f"threads must be a positive integer, not {threads!r}")
        lowered = Lowering(program)
        plan = Emitter(lowered, Schedule(lowered), _executor.ROWS).emit(carry or {})
        self.threads = processors() if threads is None else threads
        self.work = plan.work
        self._plan = _executor.Plan(
            plan.code, plan.buffers, plan.names, InputError, lowered.dtype == np.float32, self.threads,
            threads is not None, plan.work > HEAVY, isa,
        )  # fmt: skip
        self._numbers, self._outputs, self._buffers = plan.inputs, plan.outputs, plan.buffers
        self.inputs = {line.name: plan.buffers[plan.inputs[line.name]] for line in program.inputs}
        self.outputs = {name: plan.buffers[i] for name, i in plan.outputs.items()}
        self.execute = self._plan.run

    def bind(self, name: str, array: npt.NDArray[Any]) -> None:
        """Read an input from this array from now on: C-contiguous, writable, of its shape and dtype; nothing is copied.

        Raises InputError when the array does not fit.
        """
        old = self.inputs.get(name)
        if old is None:
            raise InputError(f"the program has no input {name!r}; it has {', '.join(self.inputs) or 'none'}")
        if array.shape != old.shape or array.dtype != old.dtype:
            raise InputError(f"input {name!r} is {old.dtype} of shape {old.shape}, not {array.dtype} of shape {array.shape}")
        try:
            self._plan.bind(self._numbers[name], array)
        except (ValueError, BufferError) as error:
            raise InputError(f"input {name!r} cannot be read in place: {error}") from None
        self.inputs[name] = self._buffers[self._numbers[name]] = array
        for output, number in self._outputs.items():  # a carried one may be written over its input
            if number == self._numbers[name]:
                self.outputs[output] = array

    def run(self, given: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """Copies of the outputs for these inputs, by name: plain use, where every call may copy.

        Raises InputError when an input is missing or has another shape.
        """
        for name, array in self.inputs.items():
            if name not in given:
                raise InputError(f"the input {name!r} is missing")
            if np.shape(given[name]) != array.shape:
                raise InputError(f"input {name!r} has shape {np.shape(given[name])}, not {array.shape}")
            array[...] = given[name]
        self.execute()
        return {name: array.copy() for name, array in self.outputs.items()}


def available() -> bool:
    """Whether programs can be run natively here."""
    return _executor is not None


def reason() -> str:
    """Why not, or "built for this machine"."""
    return _reason


def blas() -> str:
    """The file of the BLAS that large matrix products use; "" when they use chainrule's own loops."""
    return _blas


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ---- finding the C part and a BLAS ----------------------------------------------------------------------------------


def _load() -> tuple[Any, str]:
    if status()["reason"] == "CHAINRULE_PURE is set":
        return None, "CHAINRULE_PURE is set"
    try:
        executor: Any = importlib.import_module("chainrule.native._executor")
    except ImportError as error:
        told = status()["reason"] if status()["engine"] == "pure" else ""
        return None, told or f"the native executor cannot be loaded: {error}"
    if executor_hash() not in ("", executor.SOURCE_HASH):
        return None, "the native executor was built from other sources; build it again: pip install -e ."
    return executor, "built for this machine"


def _libraries() -> Iterator[Path]:
    """The OpenBLAS libraries that NumPy's and SciPy's wheels bring."""
    for package in ("numpy", "scipy"):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin:
            root = Path(spec.origin).parent
            for folder in (root.parent / f"{package}.libs", root / ".dylibs", root / ".libs"):
                yield from sorted(folder.glob("*openblas*")) if folder.is_dir() else ()


def _address(library: ctypes.CDLL, name: str) -> int:
    try:
        return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
    except AttributeError:
        return 0


def _find_blas() -> tuple[str, tuple[int, int, bool, int, int]]:
    for path in _libraries():
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(str(path))
            for prefix in ("scipy_", ""):
                for suffix in ("64_", ""):
                    dgemm, sgemm = (_address(library, f"{prefix}cblas_{x}gemm{suffix}") for x in "ds")
                    if dgemm and sgemm:
                        get, put = (_address(library, f"{prefix}openblas_{x}_num_threads{suffix}") for x in ("get", "set"))
                        return str(path), (dgemm, sgemm, suffix == "64_", get if put else 0, put if get else 0)
    return "", (0, 0, False, 0, 0)


_executor, _reason = _load()
_blas = ""
if _executor is not None:
    _blas, _addresses = _find_blas()
    _executor.set_blas(*_addresses)
