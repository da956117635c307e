"""The tensor engine: training steps against PyTorch and HIPS autograd, the cost of recording, the memory of 10,000 steps.

    python -m benchmarks tensor            takes about two minutes
    python -m benchmarks tensor --quick    a few seconds, to see that it works

Every contender is a process of its own (`python -m benchmarks.tensor NAME`) with one thread for matrix products, and is asked
in turn. All start from the same float32 numbers, see the same batches, and must report the same first losses.

The names network is Embedding(27, 10) on windows of 3, Linear(30, 200), BatchNorm, tanh, Linear(200, 27), cross-entropy:
12,297 parameters, batch 32. It is run in three spellings, each the same for both: with nn.functional (PyTorch's fused
functions, the fastest it has here), as the lecture writes it (BatchNorm in atoms), and with modules and optim.SGD. The
update of the first two is the lecture's, `p.data += -lr * p.grad`.
"""

import json
import os
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.contenders import ROOT, Contender, MeasurementError, environment, summary
from benchmarks.report import Row

ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")}
LR = 0.1
BATCHES = 64
"""How many batches are drawn; steps go around."""


def measure(quick: bool) -> list[Row]:
    """All rows, in the order of the table."""
    with ExitStack() as running:
        there: dict[str, Any] = {}
        for name in ("chainrule", "torch", "autograd"):
            _say(f"starting {name}")
            try:
                there[name] = running.enter_context(_Peer(name))
            except MeasurementError as problem:
                there[name] = problem
        return [
            _compared(there, "torch", "names", 1.7, 100, quick, "training step of the names network, batch 32"),
            _compared(there, "autograd", "names", 4.0, 20, quick, "training step of the names network, batch 32"),
            _compared(there, "torch", "lecture", 1.7, 100, quick, "the same as the lecture writes it, BatchNorm in atoms"),
            _compared(there, "torch", "modules", 1.7, 100, quick, "the same with modules and optim.SGD"),
            _compared(there, "torch", "mlp", 1.0, 2, quick, "training step of an MLP 784-1024-1024-10, batch 256"),
            _row(
                lambda: _overhead(_running(there, "chainrule"), quick),
                name="overhead",
                what="a tensor operation with recording, beyond its NumPy call",
                unit="us",
                goal="at most",
                target=1.2,
            ),
            _row(
                lambda: _growth(_running(there, "chainrule"), 500 if quick else 10_000),
                name="memory",
                what=f"growth of resident memory over {500 if quick else 10_000:,} training steps of the names network",
                unit="MiB",
                goal="at most",
                target=1.0,
            ),
        ]


def _say(what: str) -> None:
    print(f"measuring: {what}", file=sys.stderr, flush=True)


def _row(measurement: Callable[[], dict[str, Any]], **about: Any) -> Row:
    try:
        return Row(**about, **measurement())
    except MeasurementError as problem:
        return Row(**about, problem=str(problem))


class _Peer(Contender):
    """A worker of this file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.tensor", name],
            cwd=ROOT,
            env=environment(name) | ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version: str = self._read()["version"]


def _running(there: dict[str, Any], name: str) -> Contender:
    contender = there[name]
    if not isinstance(contender, Contender):
        raise MeasurementError(str(contender))
    return contender


def _range(times: dict[str, float]) -> str:
    return f"{times['median']:.4g} ({times['min']:.4g} to {times['max']:.4g})"


# ---- training steps --------------------------------------------------------------------------------------------------


def _compared(there: dict[str, Any], peer: str, program: str, target: float, steps: int, quick: bool, what: str) -> Row:
    _say(f"{program} against {peer}")
    title = {"torch": "PyTorch, eager", "autograd": "HIPS autograd"}[peer]
    return _row(
        lambda: _ratio(_running(there, "chainrule"), _running(there, peer), program, steps, 3 if quick else 31),
        name=f"{program}_{peer}",
        what=f"{what}, float32, one thread",
        unit=f"times {title}",
        goal="at least",
        target=target,
    )


def _ratio(ours: Contender, theirs: Contender, program: str, steps: int, rounds: int) -> dict[str, Any]:
    first = [contender.ask("steps", program=program, count=3)["losses"] for contender in (ours, theirs)]
    if any(abs(a - b) > 1e-3 * abs(b) for a, b in zip(*first, strict=True)):
        raise MeasurementError(f"the two compute different things: the first losses are {first}")
    seconds: dict[str, list[float]] = {ours.name: [], theirs.name: []}
    for _ in range(rounds):
        for contender in (ours, theirs):
            seconds[contender.name].append(contender.ask("steps", program=program, count=steps)["seconds"] / steps)
    times = {name: summary(samples, 1e6) for name, samples in seconds.items()}
    return {
        "figure": times[theirs.name]["median"] / times[ours.name]["median"],
        "note": f"us a step, median (min to max) of {rounds} turns of {steps}: {theirs.name} {theirs.version} "
        f"{_range(times[theirs.name])}, chainrule {_range(times[ours.name])}; same first losses",
        "details": {"microseconds": times, "first_losses": first, "version": theirs.version},
    }


# ---- overhead and memory ---------------------------------------------------------------------------------------------


def _overhead(ours: Contender, quick: bool) -> dict[str, Any]:
    _say("overhead")
    times = ours.ask("overhead", number=200 if quick else 5000, rounds=3 if quick else 15)
    beyond = {name: with_recording - numpy for name, (with_recording, numpy) in times.items()}
    worst = max(beyond, key=lambda name: beyond[name])
    each = ", ".join(f"{name} {us:.3g}" for name, us in beyond.items())
    return {
        "figure": beyond[worst],
        "note": f"the worst of: {each}; us, smallest of the rounds, arrays of 32 x 32 float32",
        "details": {"microseconds": times},
    }


def _growth(ours: Contender, steps: int) -> dict[str, Any]:
    _say("memory")
    answer = ours.ask("memory", steps=steps)
    return {
        "figure": answer["bytes"] / 2**20,
        "note": f"resident {answer['resident'] / 2**20:.1f} MiB; {answer['tensors']:+d} tensors alive after {steps:,} steps",
        "holds": answer["tensors"] <= 0,
        "details": answer,
    }


# ---- the contenders --------------------------------------------------------------------------------------------------


def _names_numbers() -> tuple[list[Any], list[tuple[Any, Any]]]:
    """C, W1 (out, in), b1, gain, bias, W2 (out, in), b2; and batches of windows and labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    normal = lambda scale, *shape: (scale * rng.normal(size=shape)).astype(np.float32)  # noqa: E731
    weights = [normal(1, 27, 10), normal(0.3, 200, 30), normal(0.01, 200), 1 + normal(0.01, 200), normal(0.01, 200)]
    weights += [normal(0.01, 27, 200), normal(0.01, 27)]
    assert sum(w.size for w in weights) == 12_297
    return weights, [(rng.integers(0, 27, (32, 3)), rng.integers(0, 27, 32)) for _ in range(BATCHES)]


def _lecture_numbers() -> tuple[list[Any], list[tuple[Any, Any]]]:
    """The same with weights of shape (in, out)."""
    (C, W1, b1, gain, bias, W2, b2), batches = _names_numbers()
    return [C, W1.T.copy(), b1, gain, bias, W2.T.copy(), b2], batches


def _mlp_numbers() -> tuple[list[Any], list[tuple[Any, Any]]]:
    import numpy as np

    rng = np.random.default_rng(0)
    weights = []
    for nin, nout in ((784, 1024), (1024, 1024), (1024, 10)):
        weights += [(rng.normal(size=(nout, nin)) * (2 / nin) ** 0.5).astype(np.float32), np.zeros(nout, np.float32)]
    return weights, [(rng.random((256, 784), dtype=np.float32), rng.integers(0, 10, 256)) for _ in range(4)]


Step = Callable[[Any, Any], Any]
Program = tuple[Step, Sequence[tuple[Any, Any]]]


def _programs(
    nn: Any, optim: Any, parameter: Callable[[Any], Any], constant: Callable[[Any], Any], norm: dict[str, Any]
) -> dict[str, Callable[[], Program]]:
    """The programs in PyTorch's names, which are ours too: one text for both sides.

    norm: what makes our BatchNorm the mixture of variances that PyTorch's is.
    """
    F = nn.functional

    def tensors(weights: list[Any], batches: list[Any]) -> tuple[list[Any], list[tuple[Any, Any]]]:
        return [parameter(w) for w in weights], [(constant(x), constant(y)) for x, y in batches]

    def trained(parameters: list[Any], loss_of: Step) -> Step:
        def step(x: Any, y: Any) -> Any:
            loss = loss_of(x, y)
            for p in parameters:
                p.grad = None
            loss.backward()
            for p in parameters:
                p.data += -LR * p.grad
            return loss

        return step

    def names() -> Program:
        weights, numbers = _names_numbers()
        parameters, batches = tensors(weights, numbers)
        C, W1, b1, gain, bias, W2, b2 = parameters
        mean, var = constant(weights[3] * 0), constant(weights[3] * 0 + 1)

        def loss(x: Any, y: Any) -> Any:
            h = F.linear(F.embedding(x, C).view(32, 30), W1, b1)
            h = F.batch_norm(h, mean, var, gain, bias, training=True, **norm).tanh()
            return F.cross_entropy(F.linear(h, W2, b2), y)

        return trained(parameters, loss), batches

    def lecture() -> Program:
        parameters, batches = tensors(*_lecture_numbers())
        C, W1, b1, gain, bias, W2, b2 = parameters

        def loss(x: Any, y: Any) -> Any:
            h = C[x].view(32, 30) @ W1 + b1
            h = (gain * (h - h.mean(0, keepdim=True)) / h.std(0, keepdim=True) + bias).tanh()
            return F.cross_entropy(h @ W2 + b2, y)

        return trained(parameters, loss), batches

    def modules() -> Program:
        weights, numbers = _names_numbers()
        norm_layer = nn.BatchNorm1d(200, **norm)
        model = nn.Sequential(nn.Embedding(27, 10), nn.Flatten(), nn.Linear(30, 200), norm_layer, nn.Tanh(), nn.Linear(200, 27))
        for p, w in zip(model.parameters(), weights, strict=True):
            p.data = constant(w).data
        optimizer = optim.SGD(model.parameters(), lr=LR)

        def step(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return step, [(constant(x), constant(y)) for x, y in numbers]

    def mlp() -> Program:
        parameters, batches = tensors(*_mlp_numbers())
        W1, b1, W2, b2, W3, b3 = parameters

        def loss(x: Any, y: Any) -> Any:
            h = F.linear(F.linear(x, W1, b1).relu(), W2, b2).relu()
            return F.cross_entropy(F.linear(h, W3, b3), y)

        return trained(parameters, loss), batches

    return {"names": names, "lecture": lecture, "modules": modules, "mlp": mlp}


def _chainrule_programs() -> dict[str, Callable[[], Program]]:
    from chainrule import nn, optim
    from chainrule.tensor import Tensor

    return _programs(nn, optim, lambda w: Tensor(w, requires_grad=True), Tensor, {"unbiased": False})


def _torch_programs() -> dict[str, Callable[[], Program]]:
    import torch

    torch.set_num_threads(1)
    return _programs(torch.nn, torch.optim, lambda w: torch.tensor(w, requires_grad=True), torch.tensor, {})


def _autograd_programs() -> dict[str, Callable[[], Program]]:
    import autograd.numpy as anp
    import numpy as np
    from autograd import value_and_grad
    from autograd.scipy.special import logsumexp

    def names() -> Program:
        weights, batches = _names_numbers()
        rows = np.arange(32)

        def loss(parameters: Any, x: Any, y: Any) -> Any:
            C, W1, b1, gain, bias, W2, b2 = parameters
            h = anp.dot(anp.reshape(C[x], (32, 30)), W1.T) + b1
            d = h - anp.mean(h, axis=0)
            h = anp.tanh(gain * d / anp.sqrt(anp.mean(d * d, axis=0) + 1e-5) + bias)
            logits = anp.dot(h, W2.T) + b2
            return anp.mean(logsumexp(logits, axis=1) - logits[rows, y])

        slope = value_and_grad(loss)

        def step(x: Any, y: Any) -> Any:
            value, gradients = slope(weights, x, y)
            for i, g in enumerate(gradients):
                weights[i] = weights[i] - np.float32(LR) * g
            return value

        return step, batches

    return {"names": names}


PROGRAMS = {"chainrule": _chainrule_programs, "torch": _torch_programs, "autograd": _autograd_programs}


# ---- the worker ------------------------------------------------------------------------------------------------------


class _Worker:
    """Answers requests; programs are made when they are first asked for."""

    def __init__(self, contender: str) -> None:
        self.programs, self.started, self.k = PROGRAMS[contender](), dict[str, Program](), 0

    def steps(self, program: str, count: int) -> dict[str, Any]:
        """Run so many steps: the seconds they took together; the losses too, when they are few."""
        if program not in self.started:
            self.started[program] = self.programs[program]()
            self.k = 0
        step, batches = self.started[program]
        losses = []
        start = time.perf_counter()
        for k in range(self.k, self.k + count):
            losses.append(step(*batches[k % len(batches)]))
        seconds = time.perf_counter() - start
        self.k += count
        return {"seconds": seconds, "losses": [float(loss.item()) for loss in losses] if count < 10 else []}

    def overhead(self, number: int, rounds: int) -> dict[str, tuple[float, float]]:
        """Microseconds of an operation on tensors that require a gradient, and of its NumPy call: the smallest of each."""
        import numpy as np

        from chainrule.tensor import Tensor

        a, b = (np.random.default_rng(i).random((32, 32), dtype=np.float32) + 1 for i in range(2))
        x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
        pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "add": (lambda: x + y, lambda: a + b),
            "multiply": (lambda: x * y, lambda: a * b),
            "by a number": (lambda: x * 2.0, lambda: a * 2.0),
            "tanh": (lambda: x.tanh(), lambda: np.tanh(a)),
            "exp": (lambda: x.exp(), lambda: np.exp(a)),
            "matmul": (lambda: x @ y, lambda: a @ b),
            "sum": (lambda: x.sum(), lambda: a.sum()),
            "sum of an axis": (lambda: x.sum(1), lambda: a.sum(1)),
            "slice": (lambda: x[1:], lambda: a[1:]),
            "reshape": (lambda: x.reshape(16, 64), lambda: a.reshape(16, 64)),
        }
        # In turn, so that a busy moment hits both; the smallest is the one that nothing disturbed.
        times: dict[str, list[tuple[float, ...]]] = {name: [] for name in pairs}
        for _ in range(rounds):
            for name, pair in pairs.items():
                times[name].append(tuple(timeit.timeit(f, number=number) / number * 1e6 for f in pair))
        return {name: (min(t[0] for t in each), min(t[1] for t in each)) for name, each in times.items()}

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


def _introduce(contender: str) -> dict[str, Any]:
    import importlib.metadata
    import importlib.util

    remedy = {"torch": "torch==2.13.0", "autograd": "autograd"}
    if importlib.util.find_spec(contender) is None:
        return {"missing": f"{contender} is not installed; install it with: pip install {remedy.get(contender, '-e .')}"}
    return {"version": importlib.metadata.version(contender)}


def main(contender: str) -> None:
    """Introduce the contender, then answer requests until the input ends."""
    greeting = _introduce(contender)
    print(json.dumps(greeting), flush=True)
    if "missing" in greeting:
        return
    worker = _Worker(contender)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps({"answer": getattr(worker, request.pop("do"))(**request)}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
