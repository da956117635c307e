"""The asking side of the workers: start contenders, put questions to them in turn, sum up what they say."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.report import Row

ROOT = Path(__file__).parent.parent
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")}
ONE_THREAD["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


class MeasurementError(Exception):
    """Something that the measurement needs is missing; the message says what helps."""


def environment(contender: str) -> dict[str, str]:
    """This process's environment, with the engine that the contender names."""
    inherited = {name: text for name, text in os.environ.items() if name != "CHAINRULE_PURE"}
    return inherited | ({"CHAINRULE_PURE": "1"} if contender == "pure" else {})


@contextlib.contextmanager
def _on_one_processor(wanted: bool) -> Iterator[None]:
    """What is started meanwhile stays on one processor, where the system can do that (macOS cannot)."""
    before = os.sched_getaffinity(0) if wanted and hasattr(os, "sched_setaffinity") else set()
    if before:
        os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        if before:
            os.sched_setaffinity(0, before)


class Contender:
    """A running worker; a context manager, so that it ends with the measurement.

    name: for worker.py "micrograd", "native" or "pure"; for training.py "chainrule", "torch" or "autograd"; for compiled.py
    those of its PROGRAMS. worker: the module that answers. threads: "one" asks libraries for one thread, "pinned" also gives the
    process one processor only, "all" leaves them alone (default: "all" for worker.py, else "one").
    Raises MeasurementError when it is not there.
    """

    def __init__(self, name: str, worker: str = "benchmarks.worker", threads: str = "") -> None:
        self.name = name
        threads = threads or ("all" if worker == "benchmarks.worker" else "one")
        with _on_one_processor(threads == "pinned"):
            self._process = subprocess.Popen(
                [sys.executable, "-m", worker, name],
                cwd=ROOT,
                env=environment(name) | ({} if threads == "all" else ONE_THREAD),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self.version: str = self._read()["version"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise MeasurementError(
                f"the {self.name} worker ended with exit code {self._process.returncode}; see its message above"
            )
        answer: dict[str, Any] = json.loads(line)
        if "missing" in answer:
            raise MeasurementError(answer["missing"])
        return answer

    def ask(self, do: str, **arguments: Any) -> Any:
        """Put one question and wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._read()["answer"]

    def close(self) -> None:
        """End the worker."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def summary(samples: Iterable[float], scale: float = 1.0) -> dict[str, float]:
    """The median, the extremes and the number of samples; `scale` changes the unit, 1e3 makes milliseconds."""
    scaled = [scale * x for x in samples]
    return {"median": statistics.median(scaled), "min": min(scaled), "max": max(scaled), "runs": len(scaled)}


def times_as_long(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """By what factor their turns are longer than ours: the median over turns made one after the other."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def say(what: str) -> None:
    """Tell whoever waits what is being measured."""
    print(f"measuring: {what}", file=sys.stderr, flush=True)


def row(measurement: Callable[[], dict[str, Any]], **about: Any) -> Row:
    """The row with what the measurement gives, or with the reason why there is nothing."""
    try:
        return Row(**about, **measurement())
    except MeasurementError as problem:
        return Row(**about, problem=str(problem))


def spread(times: dict[str, float]) -> str:
    """A summary in words."""
    return f"{times['median']:.4g} ({times['min']:.4g} to {times['max']:.4g})"
