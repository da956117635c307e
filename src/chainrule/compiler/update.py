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

    columns: by name the arrays: number 0 for all parameters when they are scalars (`flat`), else one for each.
    touched: for each parameter whether a step has reached it. fresh: the memory of one that none has.
    """

    def __init__(self, columns: Mapping[str, Mapping[int, Numbers]], size: int, flat: bool, fresh: dict[str, Any]) -> None:
        self.columns, self.flat, self.fresh = columns, flat, fresh
        self.touched = np.zeros(size, np.bool_)

    def __len__(self) -> int:
        return len(self.touched)

    def __getitem__(self, i: Any) -> Any:
        if not self.touched[i]:
            return dict(self.fresh)
        return self.fresh | {name: self._entry(name, column, i) for name, column in self.columns.items()}

    def _entry(self, name: str, column: Mapping[int, Numbers], i: int) -> Any:
        x = column[0] if self.flat else column[i]
        if self.flat and x.ndim:
            x = x[i]
        return int(x) if name == "step" else x.item() if np.ndim(x) == 0 else np.array(x)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def fits(self, other: Any) -> bool:
        """Whether another memory is that of the same parameters, in a program of other shapes."""
        return isinstance(other, Memory) and {name: [*x] for name, x in self.columns.items()} == {
            name: [*x] for name, x in other.columns.items()
        }

    def copy_from(self, other: "Memory") -> None:
        """Take the numbers of such a memory."""
        self.touched[...] = other.touched
        for name, column in self.columns.items():
            for k, x in column.items():
                given = other.columns[name][k]
                x[...] = given if x.ndim or not given.ndim else given[0]


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
        # Where a gradient does not reach all parameters, or once did not, each has a count of steps of its own.
        self.counts_each = flat and (not reached.all() or not _steps_agree(optimizer.memory))
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
            memory = {name: b.input(f"{name}{i}", self._shape(name, x)) for name in optimizer.MEMORY}
            new, after = self._formula(twin, x, grads[i], memory)
            self.names = [name for name in memory if after[name] is not memory[name]]
            kept = b.math.where(moves, new, x)
            self._carry(f"updated{i}", kept, x)
            for name in self.names:
                goes_on = moves if self.counts_each or name != "step" else failing == 0.0
                remembered = b.math.where(goes_on, after[name], memory[name])
                self._carry(f"new.{name}{i}", remembered, memory[name])
                lost = lost + b.sum(remembered * 0.0, range(remembered.ndim))
            lost = lost + b.sum(kept * 0.0, range(x.ndim))
        self.outputs |= {"failing": failing, "lost": lost}

    def _shape(self, name: str, x: Array) -> Any:
        return () if name == "step" and not self.counts_each else x.shape

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
        """Whether the program still fits the optimiser: its settings, and one count of steps for all parameters."""
        if self._hyper() != self.hyper:
            return False
        kept = self.optimizer.memory
        return kept is self.memory or not self.flat or self.counts_each or "step" not in self.names or _steps_agree(kept)

    def attach(self, runner: Runner) -> None:
        """Keep the optimiser's memory in the inputs of this program from the first run on."""
        self.failing = runner.outputs["failing"].item
        self.lost, self.set_lr = runner.outputs["lost"].item, runner.inputs[LR].__setitem__
        columns = {name: {i: runner.inputs[f"{name}{i}"] for i in self.slots} for name in self.names}
        self.memory = Memory(columns, len(self.optimizer.params), self.flat, dict(self.optimizer.MEMORY))

    def load(self) -> None:
        """Before a run: the learning rate, and the memory when it was kept elsewhere."""
        self.set_lr((), self.optimizer.lr)
        kept = self.optimizer.memory
        if kept is self.memory or not self.names:
            return
        if self.memory.fits(kept):
            self.memory.copy_from(kept)
        else:
            self._take_over(list(kept))
        self.memory.touched |= self.reached
        self.optimizer.memory = self.memory

    def _take_over(self, memory: Sequence[Mapping[str, Any]]) -> None:
        known = self.memory.fresh
        self.memory.touched[...] = [any(each[name] is not known[name] for name in self.names) for each in memory]
        for name, column in self.memory.columns.items():
            found = [self._known(each[name]) for each in memory]
            for i, buffer in column.items():
                buffer[...] = found[i] if not self.flat else found if buffer.ndim else found[0]

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


def _steps_agree(memory: Any) -> bool:
    """Whether all parameters have taken the same number of steps."""
    if isinstance(memory, Memory) and memory.flat and "step" in memory.columns:
        steps = memory.columns["step"][0]
        return bool((steps == steps.flat[0]).all())
    return len({each.get("step") for each in memory}) <= 1
