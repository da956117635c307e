"""The optimiser's update as lines of the program: its own formula, run on Arrays.

An optimiser says what a parameter becomes in infix operators (`Optimizer._update`), so given Arrays instead of numbers it
writes its own program. What changes from step to step without being a parameter (the learning rate, the count of steps,
the memory) is an input; parameters and memory are carried from each run to the next. Imports builder, executors, lines and
errors.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.compiler.builder import Builder
from chainrule.compiler.executors import Runner
from chainrule.compiler.lines import Array
from chainrule.errors import CompileError, NonFiniteError

LR = "optimizer.lr"

Numbers = npt.NDArray[Any]


class Memory(Sequence[dict[str, Any]]):
    """What an optimiser remembers of each parameter, in the arrays of a program; reads like the list that it keeps itself.

    Of scalar parameters all are in one array; of tensors there is one array each.
    """

    def __init__(self, columns: Mapping[str, Mapping[int, Numbers]], reached: Numbers, flat: bool, rest: dict[str, Any]) -> None:
        self.columns, self.reached, self.flat, self.rest = columns, reached, flat, rest

    def __len__(self) -> int:
        return len(self.reached)

    def __getitem__(self, i: Any) -> Any:
        if not self.reached[i]:
            return dict(self.rest)
        return self.rest | {name: self._entry(name, column, i) for name, column in self.columns.items()}

    def _entry(self, name: str, column: Mapping[int, Numbers], i: int) -> Any:
        if name == "step":
            return int(column[0 if self.flat else i])
        x = column[0][i] if self.flat else column[i]
        return x.item() if np.ndim(x) == 0 else np.array(x)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def copy_from(self, other: "Memory") -> None:
        """Take the numbers of the same memory in another program."""
        for name, column in self.columns.items():
            for k, x in column.items():
                x[...] = other.columns[name][k]


class Update:
    """The lines of one update.

    optimizer: of chainrule.optim. params, grads: the lines of the parameters and of their gradients: of one array with all
        of them (`flat`), or of one array each; None for a gradient that does not exist.
    reached: for each parameter of the optimiser whether a gradient reaches it; the others are left alone.
    """

    def __init__(
        self,
        optimizer: Any,
        b: Builder,
        params: Sequence[Array],
        grads: Sequence[Array | None],
        *,
        flat: bool,
        reached: npt.NDArray[np.bool_],
    ) -> None:
        self.optimizer, self.flat, self.reached = optimizer, flat, reached
        self.hyper = self._hyper()
        twin = copy.copy(optimizer)
        twin.__dict__["lr"] = b.input(LR, ())
        self.outputs: dict[str, Array] = {}
        self.carry: dict[str, str] = {}
        self.names: list[str] = []  # of what the optimiser remembers and changes
        self.slots = [i for i, g in enumerate(grads) if g is not None]
        # NaN and infinity times 0 are NaN: one number tells whether all are finite.
        failing: Any = 0.0
        for i in self.slots:
            g: Any = grads[i]
            failing = failing + b.sum(g * 0.0, range(g.ndim))
        moves = failing == 0.0
        if flat and not reached.all():
            moves = b.math.where(b.constant(reached), moves, 0.0) != 0.0
        lost: Any = failing
        for i in self.slots:
            x = params[i]
            memory = {name: b.input(f"{name}{i}", () if name == "step" else x.shape) for name in optimizer.MEMORY}
            new, after = self._formula(twin, x, grads[i], memory)
            self.names = [name for name in memory if after[name] is not memory[name]]
            kept = b.math.where(moves, new, x)
            self._carry(f"updated{i}", kept, x)
            for name in self.names:
                goes_on = failing == 0.0 if name == "step" else moves
                self._carry(f"new.{name}{i}", b.math.where(goes_on, after[name], memory[name]), memory[name])
            lost = lost + b.sum(kept * 0.0, range(x.ndim))
        self.outputs |= {"failing": failing, "lost": lost}

    def _carry(self, output: str, line: Array, to: Array) -> None:
        self.outputs[output], self.carry[output] = line, to.name

    def _formula(self, twin: Any, x: Array, g: Any, memory: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        try:
            new: tuple[Array, dict[str, Array]] = twin._update(x, g, memory)
        except (TypeError, AttributeError) as error:
            raise CompileError(
                f"the update of {type(self.optimizer).__name__} cannot be a part of the program ({error}); leave optimizer= away "
                "and call optimizer.step() after each call"
            ) from None
        return new

    def _hyper(self) -> dict[str, Any]:
        """The hyper-parameters that are constants of the program."""
        known = vars(self.optimizer)
        return {name: known[name] for name in self.optimizer.HYPER if name != "lr"}

    @property
    def is_current(self) -> bool:
        """Whether the optimiser's hyper-parameters are those that the program was made with."""
        return self._hyper() == self.hyper

    def attach(self, runner: Runner) -> None:
        """Keep the optimiser's memory in the inputs of this program from the first run on."""
        self.failing = runner.outputs["failing"].item
        self.lost, self.set_lr = runner.outputs["lost"].item, runner.inputs[LR].__setitem__
        columns = {name: {i: runner.inputs[f"{name}{i}"] for i in self.slots} for name in self.names}
        self.memory = Memory(columns, self.reached, self.flat, dict(self.optimizer.MEMORY))

    def load(self) -> None:
        """Before a run: the learning rate, and the memory when it was kept elsewhere."""
        self.set_lr((), self.optimizer.lr)
        kept = self.optimizer.memory
        if kept is self.memory or not self.names:
            return
        if (
            isinstance(kept, Memory)
            and kept.columns.keys() == self.memory.columns.keys()
            and (kept.reached == self.reached).all()
        ):
            self.memory.copy_from(kept)
        else:
            self._take_over(list(kept))
        self.optimizer.memory = self.memory

    def _take_over(self, memory: Sequence[Mapping[str, Any]]) -> None:
        for name, column in self.memory.columns.items():
            found = [self._known(each[name]) for each in memory]
            moved = [x for x, reached in zip(found, self.reached, strict=True) if reached]
            if name == "step" and len(set(moved)) > 1:
                raise CompileError("the parameters have taken different numbers of steps; a compiled update takes one for all")
            for i, buffer in column.items():
                buffer[...] = found[i] if not self.flat else moved[0] if name == "step" else found

    def _known(self, x: Any) -> Any:
        if x is None and self.hyper.get("dampening"):
            raise CompileError(
                "the first step of SGD with dampening cannot be a part of the program; take it by optimizer.step()"
            )
        return 0.0 if x is None else x

    def judge(self) -> None:
        """After a run: NonFiniteError when a gradient, or an updated parameter, was NaN or infinite."""
        if self.lost() == 0.0:
            return
        if self.failing() != 0.0:
            raise NonFiniteError("a gradient is NaN or infinite; no parameter was changed")
        raise NonFiniteError("an updated parameter has become NaN or infinite; take a smaller learning rate")
