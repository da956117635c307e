"""The steps of a run as an array program: `CompiledStep`, and the rule by which a run gets one, `why_not`.

A program is made in the first step, in the time of about a hundred steps of the native engine, and takes a fraction of the
time of each step after that. It computes what the plain engine computes, up to rounding. Where it cannot be made, the plain
engine goes on, and it is said why. Where it meets a number that is not finite, nothing has changed, and the plain engine
takes the step: it knows which node is at fault.

Imports compiler, native and errors.
"""

import copy
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from chainrule import native
from chainrule.compiler import compile as compile_function
from chainrule.compiler import executors
from chainrule.errors import CompileError, DomainError, NonFiniteError

PAYS_FROM = {"native": 100, "pure": 10}
"""The steps of the plain engine that take as long as making a program of one of them, about; measured: 117 to 143, and 6 to 11.
It is rounded down to a hundred, the default of moons and circles, for which it costs a tenth of a second."""

MOST_STEPS, MOST_BYTES = 256, 2**25
"""After so many steps, or arrays of so many bytes, the parameters are copied, to go back to should a step fail."""


def executor() -> str:
    """What runs a program: "native", or "numpy" where nothing better is there."""
    return "native" if "native" in executors.EXECUTORS else "numpy"


def why_not(steps: int, net: str) -> str:
    """Why a run of so many steps is not compiled unless asked; "" when it is.

    net: what it is made of, "scalar" or "tensor".
    """
    if net == "tensor" and executor() != "native":
        return "without the native executor a program is no faster than the tensors themselves"
    least = PAYS_FROM["native" if net == "tensor" else native.status()["engine"]]
    return f"making a program pays from about {least} steps on" if steps < least else ""


class CompiledStep:
    """A training step as a program: loss, gradients and update.

    function: from arrays to the loss and other outputs. params: its parameters. optimizer: theirs.

    `news` is what there is to say after the first step: what it was compiled to, in so many `seconds`, or why it was not; then
    `refused` is True.
    """

    def __init__(self, function: Callable[..., Any], params: Iterable[Any], optimizer: Any) -> None:
        self.params, self.optimizer = list(params), optimizer
        self.step = compile_function(function, params=self.params, optimizer=optimizer)
        self.refused = False
        self.news = ""
        self.seconds = 0.0
        self._is_made = False
        self._kept: tuple[list[Any], Any] | None = None  # parameters and memory of some steps ago
        self._since: list[tuple[float, tuple[Any, ...]]] = []  # what the steps since then were given
        self._size = 0  # of that, in bytes

    @property
    def executor(self) -> str | None:
        """What runs the program; None when there is none."""
        return None if self.refused else executor()

    def __call__(self, lr: float, *arrays: Any) -> Any:
        """Take a step at this learning rate; the loss, as a float, and the other outputs.

        None when the plain engine must take the step instead, because there is no program or a number is not finite; then
        parameters and optimiser are as they were.
        """
        if self.refused:
            return None
        if self._kept is None or len(self._since) == MOST_STEPS or self._size > MOST_BYTES:
            self._keep()
        before, begun = self.optimizer.lr, time.perf_counter()
        found = self._taken(lr, arrays)
        if found is None or not math.isfinite(found[0]):
            self._put_back()
            self.optimizer.lr = before
            return None
        self._since.append((lr, arrays))
        self._size += sum(x.nbytes for x in arrays)
        if not self._is_made:
            self._is_made, self.seconds = True, time.perf_counter() - begun
            self.news = self._in_words()
        return found

    def _taken(self, lr: float, arrays: tuple[Any, ...]) -> Any:
        if lr != self.optimizer.lr:
            self.optimizer.lr = lr
        try:
            return self.step(*arrays)
        except CompileError as error:
            self.refused, self.news = True, f"not compiled, the plain engine takes the steps: {error}"
        except (DomainError, NonFiniteError):
            pass
        return None

    # A program updates parameters in place and looks at them after. To be able to go back it would have to copy them in every
    # step; it is cheaper to do so now and then, and to repeat the steps since.

    def _keep(self) -> None:
        self._kept = [copy.copy(p.data) for p in self.params], copy.deepcopy(self.optimizer.memory)
        self._since, self._size = [], 0

    def _put_back(self) -> None:
        """Parameters and memory as they were before the step that failed."""
        assert self._kept is not None
        data, self.optimizer.memory = self._kept
        for p, x in zip(self.params, data, strict=True):
            p.data = x
        for lr, arrays in self._since:
            self._taken(lr, arrays)
        self._kept = None

    def _in_words(self) -> str:
        seconds = self.seconds
        return f"compiled in {f'{seconds:.1f} s' if seconds >= 0.95 else f'{1000 * seconds:.0f} ms'}: {self.step.counts}"
