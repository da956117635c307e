"""The scalar engine: micrograd's demo step against micrograd, memory per node, a long chain, the time of the import.

    python -m benchmarks engine            takes about two minutes
    python -m benchmarks engine --quick    a few seconds, to see that it works

Each of the five lines of the speed table is one function below.
"""

import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

from benchmarks.contenders import ROOT, Contender, MeasurementError, environment, row, say, spread, summary, times_as_long
from benchmarks.report import Row

MOONS_NODES = 65_818
"""What micrograd builds for one loss of the demo."""
LINEAR_WITHIN = 3.0
"""A node of the longest chain may cost so many times one of the shortest; work that grows with the square would cost 100.

It is not 1, because a backward pass needs scratch memory: what one long pass asks for is new to the process, page by page.
"""


def measure(quick: bool) -> list[Row]:
    """All rows, in the order of the table."""
    return [*moons(quick), bytes_per_node(quick), long_chain(quick), import_time(quick)]


# ---- the moons step -------------------------------------------------------------------------------------------------

STEPS = {"micrograd": 1, "pure": 5, "native": 40}
"""Steps per turn, so that turns take about as long; a turn includes the garbage collections that its steps cause."""


def moons(quick: bool) -> list[Row]:
    """The demo step with both of our engines against micrograd: three open processes, asked in turn."""
    with ExitStack() as running:
        there, missing = _start_moons(running)
        seconds = _interleave(there, rounds=1 if quick else 9, quick=quick)
        return [
            _moons_row("native", 100, there, missing, seconds),
            _moons_row("pure", 10, there, missing, seconds),
        ]


def _start_moons(running: ExitStack) -> tuple[dict[str, tuple[Contender, int, list[float]]], dict[str, str]]:
    """Each contender that is there, with its node count and first losses; and what is missing."""
    there, missing = {}, {}
    for name in STEPS:
        say(f"moons, starting {name}")
        try:
            contender = running.enter_context(Contender(name))
            there[name] = contender, contender.ask("moons"), contender.ask("steps", count=2)["losses"]
        except MeasurementError as problem:
            missing[name] = str(problem)
    return there, missing


def _interleave(there: dict[str, tuple[Contender, int, list[float]]], rounds: int, quick: bool) -> dict[str, list[float]]:
    """Seconds per step of each contender, one entry per round."""
    seconds: dict[str, list[float]] = {name: [] for name in there}
    for i in range(rounds):
        say(f"moons, round {i + 1} of {rounds}")
        for name, (contender, *_) in there.items():
            count = 1 if quick else STEPS[name]
            seconds[name].append(contender.ask("steps", count=count)["seconds"] / count)
    return seconds


def _moons_row(
    engine: str, target: float, there: dict[str, Any], missing: dict[str, str], seconds: dict[str, list[float]]
) -> Row:
    def measurement() -> dict[str, Any]:
        for name in (engine, "micrograd"):
            if name in missing:
                raise MeasurementError(missing[name])
        return _compared(engine, there, seconds)

    what = f"moons step of micrograd's demo, {engine} engine"
    return row(measurement, name=f"moons_{engine}", what=what, unit="times micrograd", goal="at least", target=target)


def _compared(engine: str, there: dict[str, Any], seconds: dict[str, list[float]]) -> dict[str, Any]:
    times = {name: summary(seconds[name], 1e3) for name in ("micrograd", engine)}
    nodes = {name: there[name][1] for name in times}
    losses = {name: there[name][2] for name in times}
    for ours, theirs in zip(losses[engine], losses["micrograd"], strict=True):
        if abs(ours - theirs) > 1e-9 * abs(theirs):
            raise MeasurementError(f"the two compute different things: the first losses are {losses}")
    as_expected = all(count == MOONS_NODES for count in nodes.values())
    return {
        "figure": times_as_long(seconds["micrograd"], seconds[engine]),
        "note": f"ms a step, median (min to max): micrograd {spread(times['micrograd'])}, {engine} {spread(times[engine])}; "
        + (
            f"same losses, {MOONS_NODES:,} nodes each" if as_expected else f"same losses; {MOONS_NODES:,} nodes expected: {nodes}"
        ),
        "details": {"milliseconds": times, "nodes": nodes, "first_losses": losses},
    }


# ---- memory ---------------------------------------------------------------------------------------------------------


def bytes_per_node(quick: bool) -> Row:
    """By how much a process grows per node of a chain that is alive, from two sizes, in fresh processes."""
    say("bytes per node")
    return row(
        lambda: _memory(*((100_000, 200_000, 1) if quick else (250_000, 1_000_000, 3))),
        name="bytes_per_node",
        what="memory of a graph that is alive, native engine",
        unit="bytes per node",
        goal="at most",
        target=100,
    )


def _memory(small: int, large: int, rounds: int) -> dict[str, Any]:
    peers = [name for name in ("pure", "micrograd") if _is_there(name)]
    growth: dict[str, list[float]] = {name: [] for name in ("native", "native_after_backward", "native_where", *peers)}
    for _ in range(rounds):
        low, high = _grown("native", small, True), _grown("native", large, True)
        growth["native"].append((high["built"] - low["built"]) / (large - small))
        growth["native_after_backward"].append((high["after_backward"] - low["after_backward"]) / (large - small))
        low, high = _grown("native", small, True, choices=True), _grown("native", large, True, choices=True)
        growth["native_where"].append((high["after_backward"] - low["after_backward"]) / (large - small))
        for peer in peers:  # they need more memory and less precision
            few, many = small // 5, large // 5
            growth[peer].append((_grown(peer, many, False)["built"] - _grown(peer, few, False)["built"]) / (many - few))
    bytes_each = {name: summary(samples) for name, samples in growth.items()}
    # After backward the gradients are there too, and `where` has three inputs; a figure without them would flatter.
    figure = max(each["median"] for name, each in bytes_each.items() if name.startswith("native"))
    return {
        "figure": figure,
        "note": f"growth of resident memory from {small:,} to {large:,} nodes: built {spread(bytes_each['native'])}, "
        f"after backward {spread(bytes_each['native_after_backward'])}, of where() {spread(bytes_each['native_where'])}; "
        f"sys.getsizeof {high['sizeof']}; peers built: " + ", ".join(f"{peer} {spread(bytes_each[peer])}" for peer in peers),
        "details": {"bytes": bytes_each, "sizeof": high["sizeof"], "nodes": [small, large]},
    }


def _is_there(name: str) -> bool:
    try:
        Contender(name).close()
    except MeasurementError:
        return False
    return True


def _grown(name: str, nodes: int, backward: bool, **more: bool) -> dict[str, int]:
    with Contender(name) as contender:
        answer: dict[str, int] = contender.ask("memory", nodes=nodes, backward=backward, **more)
    return answer


# ---- a long chain ---------------------------------------------------------------------------------------------------


def long_chain(quick: bool) -> Row:
    """Build and differentiate chains of growing length; the cost per node must not grow with them."""
    say("long chain")
    return row(
        lambda: _chains(*(((100, 1_000, 10_000), 1) if quick else ((10_000, 100_000, 1_000_000), 7))),
        name="long_chain",
        what="chain of 1,000,000 nodes, build + backward, native engine; linear from 10,000"
        if not quick
        else "chain of 10,000 nodes, build + backward, native engine; linear from 100",
        unit="s",
        goal="at most",
        target=1,
    )


def _chains(sizes: tuple[int, ...], rounds: int) -> dict[str, Any]:
    longest = sizes[-1]
    # Per size: one chain on its own, and as many as hold the nodes of the longest, which makes the sizes comparable.
    runs: dict[tuple[int, int], list[dict[str, Any]]] = {
        (nodes, chains): [] for nodes in sizes for chains in (1, longest // nodes)
    }
    pure = []
    with Contender("native") as native, Contender("pure") as peer:
        for _ in range(rounds):
            for (nodes, chains), answers in runs.items():
                answers.append(native.ask("chain", nodes=nodes, chains=chains))
            pure.append(peer.ask("chain", nodes=sizes[1], chains=1))
    if not all(answer["right"] for answers in [*runs.values(), pure] for answer in answers):
        raise MeasurementError("an engine gives wrong slopes on the chain, so its time says nothing")
    return _chain_figures(sizes, runs, pure)


def _chain_figures(
    sizes: tuple[int, ...], runs: dict[tuple[int, int], list[dict[str, Any]]], pure: list[dict[str, Any]]
) -> dict[str, Any]:
    first, last = sizes[0], sizes[-1]
    alone = {nodes: summary(answer["seconds"] for answer in runs[nodes, 1]) for nodes in sizes}
    together = {nodes: summary(answer["seconds"] for answer in runs[nodes, last // nodes]) for nodes in sizes}
    per_node_alone = {nodes: times["median"] / nodes * 1e9 for nodes, times in alone.items()}
    per_node = {nodes: times["median"] / last * 1e9 for nodes, times in together.items()}
    growth = per_node[last] / per_node[first]
    free = summary(answer["free"] for answer in runs[last, 1])
    pure_seconds = summary(answer["seconds"] for answer in pure)
    times_pure = pure_seconds["median"] / alone[sizes[1]]["median"]
    return {
        "figure": alone[last]["median"],
        "holds": growth <= LINEAR_WITHIN,
        "note": f"s, median (min to max): {spread(alone[last])}, and {free['median']:.3g} to free it; ns a node of {last:,} "
        f"alive: {_sizes(per_node)}, growth {growth:.3g} (linear: at most {LINEAR_WITHIN:g}); one chain on its own: "
        f"{_sizes(per_node_alone)}; {times_pure:.3g} times pure at {sizes[1]:,}",
        "details": {
            "seconds": alone,
            "seconds_together": together,
            "nanoseconds_per_node": per_node,
            "nanoseconds_per_node_alone": per_node_alone,
            "growth": growth,
            "growth_limit": LINEAR_WITHIN,
            "free_seconds": free,
            "pure_seconds": pure_seconds,
            "times_pure": times_pure,
        },
    }


def _sizes(nanoseconds: dict[int, float]) -> str:
    return ", ".join(f"{ns:.4g} at {nodes:,}" for nodes, ns in nanoseconds.items())


# ---- the import -----------------------------------------------------------------------------------------------------


def import_time(quick: bool) -> Row:
    """Fresh interpreters that import NumPy, and NumPy and chainrule, in turn."""
    say("import")
    return row(
        lambda: _imports(3 if quick else 31),
        name="import",
        what="import chainrule beyond import numpy",
        unit="ms",
        goal="at most",
        target=50,
    )


def _imports(rounds: int) -> dict[str, Any]:
    programs = {"numpy": "import numpy", "numpy_and_chainrule": "import numpy, chainrule"}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():  # once for nothing: byte code gets written, files get cached
        _timed_process(program)
    for _ in range(rounds):
        for name, program in programs.items():
            seconds[name].append(_timed_process(program))
    times = {name: summary(samples, 1e3) for name, samples in seconds.items()}
    return {
        "figure": times["numpy_and_chainrule"]["median"] - times["numpy"]["median"],
        "note": f"ms a process, median (min to max): numpy {spread(times['numpy'])}, with chainrule "
        f"{spread(times['numpy_and_chainrule'])}, {rounds} runs each",
        "details": {"milliseconds": times},
    }


def _timed_process(program: str) -> float:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment("default"), capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise MeasurementError(f"{program!r} fails: {done.stderr.strip().splitlines()[-1]}")
    return seconds
