"""The optimiser's update as lines of the program: its own formula, run on Arrays.

An optimiser says what a parameter becomes in infix operators (`Optimizer._update`), so given Arrays instead of numbers it
writes its own program. What changes from step to step without being a parameter (the learning rate, the count of steps,
the memory) is an input. Imports builder, lines and errors.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.compiler.builder import Builder
from chainrule.compiler.lines import Array
from chainrule.errors import CompileError, NonFiniteError

LR = "optimizer.lr"


class Memory(Sequence[dict[str, Any]]):
    """What an optimiser remembers of scalar parameters, kept in arrays; reads like the list of dicts that it keeps itself."""

    def __init__(self, columns: dict[str, npt.NDArray[Any]]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, i: Any) -> Any:
        return {name: int(column[i]) if name == "step" else column[i].item() for name, column in self.columns.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))


class Update:
    """The lines of one update.

    optimizer: of chainrule.optim. params, grads: the lines of the parameters and of their gradients: of one array with all
        of them, or of one array each.
    """

    def __init__(self, optimizer: Any, builder: Builder, params: Sequence[Array], grads: Sequence[Array]) -> None:
        self.optimizer, self.dtype = optimizer, params[0].dtype
        self.count = len(params)
        self.flat = len(params) == 1 and len(optimizer.params) != 1
        self.names: list[str] = []  # of what the optimiser remembers and changes
        self.hyper = self._hyper()
        twin = copy.copy(optimizer)
        twin.__dict__["lr"] = builder.input(LR, ())
        self.outputs: dict[str, Array] = {}
        finite: Any = 0.0
        for i, (x, g) in enumerate(zip(params, grads, strict=True)):
            memory = {name: builder.input(f"{name}{i}", () if name == "step" else x.shape) for name in optimizer.MEMORY}
            new, after = self._formula(twin, x, g, memory)
            self.names = [name for name in memory if after[name] is not memory[name]]
            self.outputs |= {f"updated{i}": new} | {f"new.{name}{i}": after[name] for name in self.names}
            # NaN and infinity times 0 are NaN: one number tells whether all are finite.
            finite = finite + builder.sum(new * 0.0, range(new.ndim))
        self.outputs["finite"] = finite

    def _formula(self, twin: Any, x: Array, g: Array, memory: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        try:
            new: tuple[Array, dict[str, Array]] = twin._update(x, g, memory)
        except TypeError as error:
            raise CompileError(
                f"the update of {type(self.optimizer).__name__} cannot be a part of the program ({error}); leave optimizer= away "
                "and call optimizer.step() after each call"
            ) from None
        return new

    def _hyper(self) -> dict[str, Any]:
        """The hyper-parameters that are constants of the program."""
        return {name: getattr(self.optimizer, name) for name in self.optimizer.HYPER if name != "lr"}

    @property
    def is_current(self) -> bool:
        """Whether the optimiser's hyper-parameters are those that the program was made with."""
        return self._hyper() == self.hyper

    def inputs(self) -> dict[str, Any]:
        """What the update needs besides parameters and gradients."""
        given: dict[str, Any] = {LR: np.array(self.optimizer.lr, self.dtype)}
        if self.names and self.flat:
            memory = self.optimizer.memory
            if not isinstance(memory, Memory):
                memory = self.optimizer.memory = self._in_arrays(memory)
            for name, column in memory.columns.items():
                given[f"{name}0"] = column[0] if name == "step" else column
        elif self.names:
            for i, (p, entries) in enumerate(zip(self.optimizer.params, self.optimizer.memory, strict=True)):
                for name in self.names:
                    x = entries[name]
                    self._expect_known(x)
                    wanted = () if name == "step" else np.shape(p.data)
                    given[f"{name}{i}"] = np.broadcast_to(np.asarray(0.0 if x is None else x, self.dtype), wanted)
        return given

    def _expect_known(self, x: Any) -> None:
        if x is None and self.hyper.get("dampening"):
            raise CompileError(
                "the first step of SGD with dampening cannot be a part of the program; take it by optimizer.step()"
            )

    def _in_arrays(self, memory: Sequence[Mapping[str, Any]]) -> Memory:
        columns = {}
        for name in self.optimizer.MEMORY:
            column = [each[name] for each in memory]
            for x in column:
                self._expect_known(x)
            columns[name] = np.array([0.0 if x is None else x for x in column], self.dtype)
        if "step" in columns and (columns["step"] != columns["step"][0]).any():
            raise CompileError("the parameters have taken different numbers of steps; a compiled update takes one for all")
        return Memory(columns)

    def taken(self, found: Mapping[str, Any]) -> list[Any]:
        """The new parameters, when all are finite; the optimiser remembers the step. NonFiniteError otherwise."""
        if not np.isfinite(found["finite"]):
            raise NonFiniteError("a gradient or an updated parameter is NaN or infinite; no parameter was changed")
        if self.names and self.flat:
            size = (len(self.optimizer.params),)
            new = {name: np.broadcast_to(np.array(found[f"new.{name}0"]), size) for name in self.names}
            self.optimizer.memory = Memory(self.optimizer.memory.columns | new)
        elif self.names:
            self.optimizer.memory = [
                before | {name: _entry(name, found[f"new.{name}{i}"]) for name in self.names}
                for i, before in enumerate(self.optimizer.memory)
            ]
        return [found[f"updated{i}"] for i in range(self.count)]


def _entry(name: str, x: Any) -> Any:
    return int(x) if name == "step" else x.item() if np.ndim(x) == 0 else np.array(x)
