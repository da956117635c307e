"""The compiler: scalar loops, Tensor code and functions over arrays, compiled, against micrograd, PyTorch and JAX.

    python -m benchmarks compile            takes about ten minutes
    python -m benchmarks compile --quick    about a minute, to see that it works

compiled.py holds the programs. Contenders run on one processor, the same for all, except where a row says otherwise. Before two
are compared they start afresh from the same numbers and must report the same first losses, and have moved every parameter by
as much. Turns are as many steps as take a tenth of a second.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from benchmarks.contenders import Contender, MeasurementError, row, say, spread, summary, times_as_long
from benchmarks.engine import MOONS_NODES
from benchmarks.report import Row
from benchmarks.training import running

TITLES = {"torch": "PyTorch eager", "jax": "JAX jit", "numpy": "NumPy"}
DOUBLE, SINGLE = 1e-9, 1e-3
"""By how much losses and changes of two contenders may differ, relative to the largest: computed in float64, in float32."""
LINEAR_WITHIN = 1.5
"""A node of the large graph may take so many times the processor time of one of the small: larger graphs miss more caches."""
TURN = 0.1  # seconds
RUN = 200_000
"""Steps of a run on names."""
JUDGED = 20
"""How often such a run judges the validation part."""

There = dict[str, Contender | MeasurementError]


class Side(NamedTuple):
    """A program of a contender."""

    contender: str
    program: str


OURS = "chainrule"


def measure(quick: bool) -> list[Row]:
    """All rows, in the order of the table."""
    with ExitStack() as open_processes:
        there = start(open_processes, "pinned", OURS, "micrograd", "torch", "jax", "numpy")
        everywhere = start(open_processes, "all", OURS, "jax")
        rounds = 1 if quick else 15
        return [
            *moons(there, quick),
            *compile_times(there, quick),
            *names(there, quick),
            *scalar_names(there, quick),
            training(there, rounds),
            mlp(there, rounds),
            gpt(there, rounds),
            options(there, everywhere, rounds),
            overhead(there, quick),
        ]


def start(running: ExitStack, threads: str, *names: str) -> There:
    """The contenders by name, each with the reason in its place when it is not there; they end with `running`."""
    there: There = {}
    for name in names:
        say(f"starting {name}, threads: {threads}")
        try:
            there[name] = running.enter_context(Contender(name, "benchmarks.compiled", threads))
        except MeasurementError as problem:
            there[name] = problem
    return there


# ---- side by side ----------------------------------------------------------------------------------------------------


class Times:
    """What several sides took, asked in turn; the first is ours.

    rounds: how many turns each side has; in a single one it makes one step. within: see DOUBLE. unlike: sides that need not
    agree with ours.
    Raises MeasurementError, from `of`, for a side that is missing or computes something else.
    """

    def __init__(self, there: There, sides: Sequence[Side], rounds: int, within: float, unlike: Sequence[Side] = ()) -> None:
        say(", ".join(" ".join(side) for side in sides))
        self.sides, self.there = sides, there
        self.problems: dict[Side, MeasurementError] = {}
        self.first: dict[Side, dict[str, list[float]]] = {}
        for side in sides:
            self._begin(side, within, side in unlike)
        counts = {side: 1 if rounds == 1 else self._count(side) for side in self.first}
        self.seconds: dict[Side, list[float]] = {side: [] for side in counts}
        for _ in range(rounds):
            for side, count in counts.items():
                self.seconds[side].append(self._ask(side, "steps", count=count) / count)

    def _ask(self, side: Side, do: str, **more: Any) -> Any:
        return running(self.there, side.contender).ask(do, program=side.program, **more)

    def _begin(self, side: Side, within: float, unlike: bool) -> None:
        try:
            first = self._ask(side, "first_steps")
            if self.sides[0] in self.first and not unlike:
                expect_the_same(first, self.first[self.sides[0]], within)
            self.first[side] = first
        except MeasurementError as problem:
            self.problems[side] = problem

    def _count(self, side: Side) -> int:
        """Steps that take about as long as a turn; the first ones are slow at times."""
        return max(1, int(TURN / min(self._ask(side, "steps", count=1) for _ in range(3))))

    def of(self, side: Side) -> dict[str, float]:
        """Microseconds a step."""
        for each in (self.sides[0], side):
            if each in self.problems:
                raise self.problems[each]
        return summary(self.seconds[side], 1e6)

    def fastest(self, sides: Iterable[Side]) -> Side:
        """The side with the smallest median."""
        return min(sides, key=lambda side: self.of(side)["median"])

    def told(self, sides: Sequence[Side]) -> str:
        """Microseconds of these sides, in words."""
        each = ", ".join(f"{self.title(side)} {spread(self.of(side))}" for side in sides)
        return f"us a step, median (min to max) of {len(self.seconds[sides[0]])} turns: {each}"

    def title(self, side: Side) -> str:
        """A side in words."""
        contender = running(self.there, side.contender)
        return f"{side.contender} {contender.version} ({side.program})"

    def compared(self, theirs: Sequence[Side], *, at_most: bool = False) -> dict[str, Any]:
        """How many times as fast as the fastest of theirs ours is; at_most: how many times as long it takes."""
        ours = self.sides[0]
        fastest = self.fastest(theirs)
        ratio = times_as_long(self.seconds[fastest], self.seconds[ours])
        sides = [*theirs, ours]
        return {
            "figure": 1 / ratio if at_most else ratio,
            "note": f"{self.told(sides)}; same losses and changes in the first steps",
            "details": {
                "microseconds": {" ".join(side): self.of(side) for side in sides},
                "fastest": " ".join(fastest),
                "first_steps": {" ".join(side): self.first[side] for side in sides},
            },
        }


def expect_the_same(mine: dict[str, list[float]], yours: dict[str, list[float]], within: float) -> None:
    """MeasurementError when two answers of `first_steps` differ by more than rounding explains."""
    for what in ("losses", "moved"):
        tolerance = within * max(map(abs, yours[what]))
        if len(mine[what]) != len(yours[what]) or any(
            not abs(a - b) <= tolerance for a, b in zip(mine[what], yours[what], strict=True)
        ):
            raise MeasurementError(f"the two compute different things: {what} in the first steps are {mine[what]}, {yours[what]}")


# ---- the rows --------------------------------------------------------------------------------------------------------


def against(times: Times, peer: str, theirs: Sequence[Side], name: str, what: str, target: float) -> Row:
    """The row of a ratio that should be large."""
    unit = f"times {TITLES.get(peer, peer)}"
    return row(lambda: times.compared(theirs), name=name, what=what, unit=unit, goal="at least", target=target)


def moons(there: There, quick: bool) -> list[Row]:
    """The unchanged loops of micrograd's demo, compiled with the update."""
    peers = {
        "micrograd": (50_000, [Side("micrograd", "moons")]),
        "torch": (12, [Side("torch", "moons")]),
        "jax": (2, [Side("jax", "moons"), Side("jax", "moons_kept")]),
    }
    sides = [Side(OURS, "moons"), *(side for _, theirs in peers.values() for side in theirs)]
    times = Times(there, sides, 1 if quick else 9, DOUBLE)
    what = "moons step from scalar loops: loss, gradients, update; float64, one thread"
    return [against(times, peer, theirs, f"moons_{peer}", what, target) for peer, (target, theirs) in peers.items()]


def names(there: There, quick: bool) -> list[Row]:
    """The names network as Tensor code."""
    peers = {"torch": (5, [Side("torch", "names")]), "jax": (1.3, [Side("jax", "names"), Side("jax", "names_kept")])}
    sides = [Side(OURS, "names"), *(side for _, theirs in peers.values() for side in theirs)]
    times = Times(there, sides, 1 if quick else 31, SINGLE)
    what = "step of the names network as Tensor code, batch 32, float32, one thread"
    return [against(times, peer, theirs, f"names_{peer}", what, target) for peer, (target, theirs) in peers.items()]


def scalar_names(there: There, quick: bool) -> list[Row]:
    """The same network in scalar loops: how many array operations the loops become, and how their step compares."""
    small = "_4" if quick else ""
    loops, plain, tensors = (Side(OURS, f"names{kind}{small}") for kind in ("_scalars", "_plain", ""))
    # The loops divide by n - 1 in the variance, so they must agree with Tensors that do too, and not with the network of `names`.
    times = Times(there, [loops, plain, tensors], 1 if quick else 31, SINGLE, unlike=[tensors])
    what = f"the names network as scalar loops, batch {4 if quick else 32}, float32"

    def lifted() -> dict[str, Any]:
        times.of(plain)
        size = running(there, OURS).ask("size", program=loops.program)
        note = "{scalar:,} scalar operations; with gradients and update {all} array operations".format(**size)
        return {"figure": size["forward"], "note": note, "details": size}

    def compared() -> dict[str, Any]:
        times.of(plain)
        return times.compared([tensors], at_most=True)

    about = {"goal": "at most"}
    return [
        row(lifted, name="names_lifted", what=f"{what}: the loss", unit="array operations", target=80, **about),
        row(compared, name="names_scalars", what=f"{what}: a step", unit="times that of Tensor code", target=2, **about),
    ]


def training(there: There, rounds: int) -> Row:
    """A whole run on names, from the time of its steps."""
    ours, theirs = Side(OURS, "training"), Side("torch", "training")
    times = Times(there, [ours, theirs], rounds, SINGLE)
    what = f"training of {RUN:,} steps as `chainrule train names`, EXTRAPOLATED from the time of a step"
    return row(
        lambda: _extrapolated(times, running(there, OURS), ours, theirs),
        name="training",
        what=what,
        unit="times PyTorch eager",
        goal="at least",
        target=5,
    )


def _extrapolated(times: Times, contender: Contender, ours: Side, theirs: Side) -> dict[str, Any]:
    extras = contender.ask("training_extras")
    besides = extras["first"] + JUDGED * extras["judged"] + extras["final"]
    seconds = {side.contender: times.of(side)["median"] * 1e-6 * RUN for side in (ours, theirs)}
    seconds[OURS] += besides
    return {
        "figure": times_as_long(times.seconds[theirs], [step + besides / RUN for step in times.seconds[ours]]),
        "note": f"{times.told([theirs, ours])}; the medians extrapolated to {RUN:,} steps: {seconds['torch']:.4g} s, and ours "
        f"{seconds[OURS]:.4g} s, in which are the {besides:.3g} s to compile, to judge the validation part {JUDGED} times and to "
        "calibrate at the end; PyTorch's loop does no such thing",
        "details": {
            "microseconds": {side.contender: times.of(side) for side in (ours, theirs)},
            "seconds": seconds,
            "extras": extras,
        },
    }


def mlp(there: There, rounds: int) -> Row:
    """A network that is bound by its matrix products."""
    theirs = [Side("torch", "mlp"), Side("numpy", "mlp")]
    times = Times(there, [Side(OURS, "mlp"), *theirs], rounds, SINGLE)
    return row(
        lambda: times.compared(theirs, at_most=True),
        name="mlp",
        what="step of an MLP 784-1024-1024-10 as Tensor code, batch 256, float32, one thread",
        unit="times the faster of PyTorch and NumPy",
        goal="at most",
        target=1.05,
    )


def gpt(there: There, rounds: int) -> Row:
    """examples/gpt.py, compiled and as it stands."""
    ours, plain = Side(OURS, "gpt"), Side(OURS, "gpt_plain")
    times = Times(there, [ours, plain], rounds, DOUBLE)

    def compared() -> dict[str, Any]:
        if running(there, OURS).ask("engine") != "native":
            raise MeasurementError("the native engine does not run here; with a C compiler installed, build it: pip install -e .")
        return times.compared([plain])

    return row(
        compared,
        name="gpt",
        what="step of the scalar GPT, examples/gpt.py, one thread",
        unit="times the plain native engine",
        goal="at least",
        target=20,
    )


def options(there: There, everywhere: There, rounds: int) -> Row:
    """Prices and slopes of a million options, on one thread and on all, of one market and of as many."""
    measured = {
        f"{threads}, {program}": Times(here, [Side(OURS, program), Side("jax", program)], rounds, DOUBLE)
        for threads, here in (("one thread", there), ("all threads", everywhere))
        for program in ("options", "options_one_market")
    }
    return row(
        lambda: _worst(measured),
        name="options",
        what="Black-Scholes value and five first derivatives of 1,000,000 options, float64, same threads",
        unit="times JAX jit(vmap(value_and_grad))",
        goal="at least",
        target=1,
    )


def _worst(measured: dict[str, Times]) -> dict[str, Any]:
    each = {name: times.compared([Side("jax", times.sides[0].program)]) for name, times in measured.items()}
    worst = min(each, key=lambda name: each[name]["figure"])
    ratios = ", ".join(f"{name} {found['figure']:.3g}" for name, found in each.items())
    return {**each[worst], "note": f"the worst of: {ratios}; its {each[worst]['note']}", "details": each}


# ---- seconds ---------------------------------------------------------------------------------------------------------


def compile_times(there: There, quick: bool) -> list[Row]:
    """The first call of the compiled moons loss, with the demo's samples and with more."""
    rounds = 1 if quick else 5
    many = 200 if quick else 1520
    say("compile time")
    found: list[dict[int, list[dict[str, float]]]] = []

    def times() -> dict[int, list[dict[str, float]]]:
        if not found:
            ours = running(there, OURS)
            found.append(
                {n: [ours.ask("compile_time", samples=n) for _ in range(rounds if n == 100 else 1)] for n in (100, many)}
            )
        return found[0]

    about = {"unit": "s", "goal": "at most"}
    what = "compile time of the moons loss"
    return [
        row(lambda: _seconds(times()[100]), name="compile_moons", what=f"{what}, {MOONS_NODES:,} nodes", target=1.5, **about),
        row(
            lambda: _seconds(times()[many]) | _linear(times()[100], times()[many]),
            name="compile_large",
            what=f"{what} with {many:,} samples, {'' if quick else 'about 1,000,000 nodes, '}linear",
            target=25,
            **about,
        ),
    ]


def _seconds(runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    wall, cpu = (summary(each[clock] for each in runs) for clock in ("seconds", "cpu"))
    return {
        "figure": wall["median"],
        "note": f"median (min to max): {spread(wall)}; processor time {spread(cpu)}; {runs[0]['nodes']:,} nodes",
        "details": {"seconds": wall, "cpu": cpu, "nodes": runs[0]["nodes"]},
    }


def _linear(few: Sequence[dict[str, float]], many: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Whether the time grows with the number of nodes and no faster; in processor time, which others disturb less."""
    each = [summary(run["cpu"] / run["nodes"] for run in runs)["median"] * 1e6 for runs in (few, many)]
    growth = each[1] / each[0]
    return {
        "holds": growth <= LINEAR_WITHIN,
        "note": f"{_seconds(many)['note']}; us of processor time a node {each[0]:.3g} and {each[1]:.3g}, growth {growth:.3g} "
        f"(linear: at most {LINEAR_WITHIN:g})",
        "details": {**_seconds(many)["details"], "growth": growth, "growth_limit": LINEAR_WITHIN},
    }


def overhead(there: There, quick: bool) -> Row:
    """What a call costs when there is next to nothing to compute."""

    def measured() -> dict[str, Any]:
        say("call overhead")
        found = running(there, OURS).ask("call_overhead", number=1000 if quick else 20_000, rounds=3 if quick else 15)
        times = {way: summary(each) for way, each in found.items()}
        return {
            "figure": max(each["median"] for each in times.values()),  # the slowest way has to be fast enough, too
            "note": f"us a call, median (min to max) of {times['floats']['runs']} rounds: "
            + ", ".join(f"{way} {spread(each)}" for way, each in times.items()),
            "details": {"microseconds": times},
        }

    what = "call of a compiled function of three scalars, S * K + r, in the slowest way to write it"
    return row(measured, name="call", what=what, unit="us", goal="at most", target=3)
