"""Training steps of the networks in networks.py, side by side: the worker process, and the comparison that asks it.

Every contender is a process of its own (`python -m benchmarks.training NAME`) with one thread, and is asked in turn. Before a
comparison both start afresh from the same numbers, and must report the same first losses and have moved every parameter by as
much; so neither leaves out a gradient.
"""

import importlib.metadata
import importlib.util
import json
import os
import sys
import time
from contextlib import ExitStack
from typing import Any

from benchmarks.contenders import Contender, MeasurementError, say, spread, summary, times_as_long
from benchmarks.contenders import row as row_of
from benchmarks.networks import PROGRAMS, Program
from benchmarks.report import Row

TITLES = {"torch": "PyTorch, eager", "autograd": "HIPS autograd"}

# ---- the asking side -------------------------------------------------------------------------------------------------


def start(running: ExitStack, *names: str) -> dict[str, Contender | MeasurementError]:
    """The contenders by name, each with the reason in its place when it is not there; they end with `running`."""
    there: dict[str, Contender | MeasurementError] = {}
    for name in names:
        say(f"starting {name}")
        try:
            there[name] = running.enter_context(Contender(name, "benchmarks.training"))
        except MeasurementError as problem:
            there[name] = problem
    return there


def running(there: dict[str, Contender | MeasurementError], name: str) -> Contender:
    """That contender; MeasurementError when it is not there."""
    contender = there[name]
    if isinstance(contender, MeasurementError):
        raise contender
    return contender


def compared(
    there: dict[str, Contender | MeasurementError],
    what: str,
    *,
    ours: str,
    theirs: tuple[str, str],
    target: float,
    steps: int,
    rounds: int,
) -> Row:
    """How many times faster our program is than a peer's.

    ours: our program. theirs: the peer and its program. steps: how many make one turn; rounds: how many turns each has.
    """
    peer, program = theirs
    say(f"{ours} against {peer}")
    return row_of(
        lambda: _ratio(running(there, "chainrule"), running(there, peer), ours, program, steps, rounds),
        name=f"{ours}_{peer}",
        what=f"{what}, float32, one thread",
        unit=f"times {TITLES[peer]}",
        goal="at least",
        target=target,
    )


def _ratio(ours: Contender, theirs: Contender, mine: str, yours: str, steps: int, rounds: int) -> dict[str, Any]:
    contenders = {ours: mine, theirs: yours}
    first = [contender.ask("first_steps", program=program) for contender, program in contenders.items()]
    expect_the_same(*first)
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender, program in contenders.items():
            seconds[contender.name].append(contender.ask("steps", program=program, count=steps) / steps)
    times = {name: summary(samples, 1e6) for name, samples in seconds.items()}
    return {
        "figure": times_as_long(seconds[theirs.name], seconds[ours.name]),
        "note": f"us a step, median (min to max) of {rounds} turns of {steps}: {theirs.name} {theirs.version} "
        f"{spread(times[theirs.name])}, chainrule {spread(times[ours.name])}; same losses and changes in the first steps",
        "details": {"microseconds": times, "first_steps": first, "version": theirs.version},
    }


def expect_the_same(mine: dict[str, list[float]], yours: dict[str, list[float]]) -> None:
    """MeasurementError when two answers of `first_steps` differ by more than float32 explains."""
    for what in ("losses", "moved"):
        tolerance = 1e-3 * max(map(abs, yours[what]))
        if len(mine[what]) != len(yours[what]) or any(
            not abs(a - b) <= tolerance for a, b in zip(mine[what], yours[what], strict=True)
        ):
            raise MeasurementError(f"the two compute different things: {what} in the first steps are {mine[what]}, {yours[what]}")


# ---- the worker ------------------------------------------------------------------------------------------------------


class Worker:
    """Answers requests; programs are made when they are first asked for."""

    def __init__(self, contender: str) -> None:
        self._makers = PROGRAMS[contender]()
        self._started: dict[str, Program] = {}
        self._next = 0

    def first_steps(self, program: str) -> dict[str, list[float]]:
        """Start afresh and make three steps: the losses, and by how much each parameter moved, summed over its elements."""
        made = self._started[program] = self._makers[program]()
        before = [array_of(p).copy() for p in made.parameters]
        losses = [made.step(*batch) for batch in made.batches[:3]]
        moved = [float(abs(array_of(p) - b).sum()) for p, b in zip(made.parameters, before, strict=True)]
        return {"losses": [float(loss.item()) for loss in losses], "moved": moved}

    def steps(self, program: str, count: int) -> float:
        """Go on for so many steps: the seconds they took together."""
        if program not in self._started:
            self._started[program] = self._makers[program]()
        step, batches, _ = self._started[program]
        start = time.perf_counter()
        for k in range(self._next, self._next + count):
            step(*batches[k % len(batches)])
        seconds = time.perf_counter() - start
        self._next += count
        return seconds

    def overhead(self, number: int, rounds: int) -> dict[str, tuple[float, float]]:
        """Microseconds of an operation on tensors that require a gradient, and of its NumPy call; see tensor.py."""
        from benchmarks.tensor import overheads

        return overheads(number, rounds)

    def memory(self, steps: int) -> dict[str, int]:
        """By how much the process and the number of tensors grow over so many steps, after as many as settle it."""
        import gc

        from benchmarks.worker import resident_bytes
        from chainrule.tensor import Tensor

        def state() -> tuple[int, int]:
            gc.collect()
            return resident_bytes(), sum(isinstance(x, Tensor) for x in gc.get_objects())

        self.steps("names", 500)
        before = state()
        for _ in range(steps // 100):
            self.steps("names", 100)
        after = state()
        return {"bytes": after[0] - before[0], "tensors": after[1] - before[1], "resident": after[0]}


def array_of(p: Any) -> Any:
    """The numbers of a parameter, whoever's it is, as a NumPy array."""
    import numpy as np

    return p if isinstance(p, np.ndarray) else np.asarray(p.detach().numpy())


def _introduce(contender: str) -> dict[str, Any]:
    remedy = {"chainrule": "-e .", "torch": "torch==2.13.0"}.get(contender, contender)
    if importlib.util.find_spec(contender) is None:
        return {"missing": f"{contender} is not installed; install it with: pip install {remedy}"}
    return {"version": importlib.metadata.version(contender)}


def main(contender: str) -> None:
    """Introduce the contender, then answer requests until the input ends."""
    greeting = _introduce(contender)
    print(json.dumps(greeting), flush=True)
    if "missing" in greeting:
        return
    if contender == "torch":
        import torch

        torch.set_num_threads(1)
    worker = Worker(contender)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps({"answer": getattr(worker, request.pop("do"))(**request)}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
