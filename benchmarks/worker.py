"""One contender in a process of its own: `python -m benchmarks.worker micrograd|native|pure`.

It reads one request per line, as JSON, and answers with one line of JSON. The first line it writes says which engine
runs, or what is missing. Python's garbage collector is left as it is by default: it is part of what users wait for.
"""

import gc
import importlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOONS = Path(__file__).with_name("moons_step.py")
CHAIN_W, CHAIN_X = 0.999, 0.5


def _package(contender: str) -> str:
    return "micrograd" if contender == "micrograd" else "chainrule"


def introduce(contender: str) -> dict[str, Any]:
    """Who runs here, with its version; or `missing`: one sentence with the command that helps."""
    if contender == "micrograd":
        try:
            return {"engine": "micrograd", "version": importlib.metadata.version("micrograd")}
        except importlib.metadata.PackageNotFoundError:
            return {"missing": "micrograd is not installed; install it with: pip install micrograd==0.1.0"}
    from chainrule import __version__, native

    status = native.status()
    if status["engine"] != contender:
        remedy = "with a C compiler installed, build it with: pip install -e ."
        return {"missing": f"the {contender} engine does not run here ({status['reason']}); {remedy}"}
    return {"engine": contender, "version": __version__}


class Moons:
    """The training program, run with the contender's imports."""

    def __init__(self, contender: str) -> None:
        source = MOONS.read_text(encoding="utf-8").replace("micrograd", _package(contender))
        self.names: dict[str, Any] = {"__name__": f"moons_{contender}"}
        exec(compile(source, str(MOONS), "exec"), self.names)
        self.k = 0

    def steps(self, count: int) -> dict[str, Any]:
        """Run so many steps: the seconds they took together, and the loss of each."""
        step, losses = self.names["step"], []
        start = time.perf_counter()
        for k in range(self.k, self.k + count):
            losses.append(step(k % 100))
        seconds = time.perf_counter() - start
        self.k += count
        return {"seconds": seconds, "losses": losses}

    def nodes(self) -> int:
        """The number of nodes of one loss, counted through `_prev`, which both libraries have."""
        root = self.names["loss"]()
        seen, stack = {id(root)}, [root]
        while stack:
            for x in stack.pop()._prev:
                if id(x) not in seen:
                    seen.add(id(x))
                    stack.append(x)
        return len(seen)


def build_chain(value: Callable[[float], Any], nodes: int) -> tuple[Any, Any, Any]:
    """y = y * w + x, again and again: each node needs the one before it. The root has `nodes` operations below it."""
    w, x = value(CHAIN_W), value(CHAIN_X)
    y = x
    for _ in range(nodes // 2):
        y = y * w + x
    return y, w, x


def expected_slopes(nodes: int) -> tuple[float, float]:
    """d(root)/dw and d(root)/dx of the chain, by forward accumulation on plain floats."""
    y, by_w, by_x = CHAIN_X, 0.0, 1.0
    for _ in range(nodes // 2):
        y, by_w, by_x = y * CHAIN_W + CHAIN_X, by_w * CHAIN_W + y, by_x * CHAIN_W + 1.0
    return by_w, by_x


def chain(value: Callable[[float], Any], nodes: int, chains: int = 1) -> dict[str, Any]:
    """Build chains, differentiate all of them, free all of them: the seconds of each part, and of the first two together.

    `right` tells whether the slopes are. Many short chains pass through as much memory as one long chain does, so what
    differs in time between the two is due to length alone.
    """
    start = time.perf_counter()
    alive = [build_chain(value, nodes) for _ in range(chains)]
    built = time.perf_counter()
    for y, _, _ in alive:
        y.backward()
    done = time.perf_counter()
    slopes = [(w.grad, x.grad) for _, w, x in alive]
    del y
    freeing = time.perf_counter()
    alive.clear()
    freed = time.perf_counter()
    right = all(_close(found, true) for pair in slopes for found, true in zip(pair, expected_slopes(nodes), strict=True))
    return {
        "build": built - start,
        "backward": done - built,
        "seconds": done - start,
        "free": freed - freeing,
        "right": right,
    }


def _close(found: float, true: float) -> bool:
    return abs(found - true) <= 1e-9 * abs(true)


def resident_bytes() -> int:
    """The physical memory this process holds now."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def build_choices(value: Callable[[float], Any], nodes: int) -> tuple[Any, Any, Any]:
    """y = where(x, y, x), again and again: the operation with most inputs, whose nodes are the largest."""
    from chainrule import where

    w, x = value(CHAIN_W), value(CHAIN_X)
    y = x
    for _ in range(nodes):
        y = where(x, y, x)
    return y, w, x


def memory(value: Callable[[float], Any], nodes: int, backward: bool, choices: bool = False) -> dict[str, Any]:
    """By how many bytes this process grows while a chain is alive, before and (where asked) after `backward()`.

    choices: a chain of `where`, not of products and sums.

    Run it once per process: memory that an earlier graph gave back would be used again and hide the growth.
    """
    build = build_choices if choices else build_chain
    build(value, 1000)
    gc.collect()
    before = resident_bytes()
    y, _, x = build(value, nodes)
    answer = {"built": resident_bytes() - before, "sizeof": sys.getsizeof(y)}
    if backward:
        y.backward()
        answer["after_backward"] = resident_bytes() - before
    # Nothing may free the chain before the answer is out; then the process ends without taking it apart.
    _alive.extend([y, x])
    return answer


_alive: list[Any] = []


def _tasks(contender: str) -> dict[str, Callable[..., Any]]:
    value = importlib.import_module(f"{_package(contender)}.engine").Value
    moons: list[Moons] = []

    def start() -> int:
        moons.append(Moons(contender))
        return moons[0].nodes()

    return {
        "moons": start,
        "steps": lambda count: moons[0].steps(count),
        "chain": lambda nodes, chains: chain(value, nodes, chains),
        "memory": lambda **request: memory(value, **request),
    }


def main(contender: str) -> None:
    """Introduce the contender, then answer requests until the input ends."""
    greeting = introduce(contender)
    print(json.dumps(greeting), flush=True)
    if "missing" in greeting:
        return
    tasks = _tasks(contender)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"answer": tasks[request.pop("do")](**request)}
        except ImportError as error:
            answer = {"missing": f"{error.name} is not installed; install it with: pip install 'chainrule[dev]'"}
        print(json.dumps(answer), flush=True)
    os._exit(0)  # frees nothing: a deep graph of a peer may not survive being taken apart


if __name__ == "__main__":
    main(sys.argv[1])
