"""Recording a run for report.html against the same run without: what it adds to the time of the training.

    python -m benchmarks watch            takes some minutes
    python -m benchmarks watch --quick    half a minute, to see that it works

Both are whole runs of `chainrule.train.train`, in turn, from the call to the last checkpoint: compiling, steps, checkpoints and
all that is recorded, but no drawing; how long the report takes to draw is told beside it. They run in a process that has one
processor. What recording takes is too little to be seen between two runs on a machine that does other things as well, so the
figure is timed from within: the time of the whole run over that of all that is not recording, which only this can tell to a
tenth of a percent. The ratio of the runs with and without, in processor time, is told beside it, and should agree with it where
nothing else runs.
"""

import contextlib
import functools
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.contenders import Contender, row, say, spread, summary
from benchmarks.report import Row

TARGET = 1.03
RUNS = {
    "moons_compiled": ("moons, compiled, 100 steps", {"steps": 100, "compile": True}),
    "moons_plain": ("moons, plain engine, 100 steps", {"steps": 100, "compile": False}),
    "moons_long": ("moons, compiled, 20,000 steps", {"steps": 20_000, "compile": True}),
    "digits": ("digits, tensors, compiled, 1,500 steps", {"steps": 1500, "compile": True}),
    "names": ("names, compiled, 20,000 steps", {"steps": 20_000, "compile": True}),
}
QUICK = {"steps": 30}

# ---- the asking side -------------------------------------------------------------------------------------------------


def measure(quick: bool) -> list[Row]:
    """A row for each of RUNS; quick: one turn of a few steps."""
    return [
        row(
            functools.partial(_ratio, name, {**chosen, **(QUICK if quick else {})}, 1 if quick else 15),
            name=f"watch_{name}",
            what=f"training with recording: {what}",
            unit="times without",
            goal="at most",
            target=TARGET,
        )
        for name, (what, chosen) in RUNS.items()
    ]


def _ratio(name: str, chosen: dict[str, Any], rounds: int) -> dict[str, Any]:
    say(RUNS[name][0])
    times: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    with Contender(name, "benchmarks.watch", threads="pinned") as worker:
        worker.ask("train", chosen=chosen, report=True)  # what is imported and cached is there for both
        for turn in range(rounds):
            # Who goes first changes: the second finds the processor warm.
            for report in (False, True) if turn % 2 else (True, False):
                times[report].append(worker.ask("train", chosen=chosen, report=report))
        drawing = worker.ask("draw", chosen=chosen)
    plain, watched = (summary((each["processor"] for each in times[report]), 1e3) for report in (False, True))
    pairs = summary(b["processor"] / a["processor"] for a, b in zip(times[False], times[True], strict=True))
    return {
        "figure": statistics.median(each["wall"] / (each["wall"] - each["recording"]) for each in times[True]),
        "note": f"timed from within, median of {rounds} runs; processor time of {rounds} pairs of runs, with over without: "
        f"{spread(pairs)}; ms with {spread(watched)}, without {spread(plain)}; afterwards the report is drawn in {drawing:.1f} s",
        "details": {"times": {"with": times[True], "without": times[False]}, "pairs": pairs, "drawing_seconds": drawing},
    }


# ---- the worker ------------------------------------------------------------------------------------------------------


class _TrainedError(Exception):
    """Raised when a run is trained, so that it draws nothing."""


class Worker:
    """Answers requests about one of RUNS."""

    def __init__(self, name: str) -> None:
        self.source = name.partition("_")[0]

    def train(self, chosen: dict[str, Any], report: bool) -> dict[str, float]:
        """The seconds that a training takes, by the clock and of the processor, and those of them that are recording."""
        from chainrule.train import configure, progress, train

        ended: list[float] = []

        class Clock(progress.Silent):
            def close(self) -> None:
                ended[:] = [time.perf_counter(), time.process_time()]
                raise _TrainedError

        config, points = configure(self.source, **chosen)
        spent: list[float] = []
        with tempfile.TemporaryDirectory() as folder, _timed(spent), contextlib.suppress(_TrainedError):
            begun = time.perf_counter(), time.process_time()
            train(config, points, Path(folder) / "run", report=report, show=Clock)
        return {"wall": ended[0] - begun[0], "processor": ended[1] - begun[1], "recording": sum(spent)}

    def draw(self, chosen: dict[str, Any]) -> float:
        """The seconds that it takes to draw the report of such a run, of fewer steps."""
        from chainrule.train import configure, train
        from chainrule.train.page import page
        from chainrule.train.report import read

        config, points = configure(self.source, **{**chosen, "steps": min(chosen["steps"], 500)})
        with tempfile.TemporaryDirectory() as folder:
            train(config, points, Path(folder) / "run")
            run = read(Path(folder) / "run")
        begun = time.perf_counter()
        page(run)
        return time.perf_counter() - begun


@contextlib.contextmanager
def _timed(spent: list[float]) -> Iterator[None]:
    """Within it the seconds that recording takes are noted."""
    from chainrule.train.run import _Run
    from chainrule.train.watch import Watch

    methods = [(Watch, "_data"), (Watch, "_gradients"), (Watch, "_digest"), (_Run, "watch"), (_Run, "_save_recording")]
    inside = False  # what one of them takes that another calls is the other's

    def clocked(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            if inside:
                return method(*args, **kwargs)
            inside, begun = True, time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                inside = False
                spent.append(time.perf_counter() - begun)

        return call

    with contextlib.ExitStack() as patches:
        for owner, name in methods:
            patches.enter_context(mock.patch.object(owner, name, clocked(getattr(owner, name))))
        yield


def _introduce(name: str) -> dict[str, Any]:
    for package in (
        "matplotlib",
        "safetensors",
        *(["faker"] if name == "names" else []),
        *(["sklearn"] if name == "digits" else []),
    ):
        if importlib.util.find_spec(package) is None:
            return {"missing": f"a run needs {package}; install it with: pip install -e '.[all]'"}
    return {"version": ""}


def main(name: str) -> None:
    """Introduce the worker, then answer requests until the input ends."""
    greeting = _introduce(name)
    print(json.dumps(greeting), flush=True)
    if "missing" in greeting:
        return
    worker = Worker(name)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps({"answer": getattr(worker, request.pop("do"))(**request)}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
