"""The tensor engine: a step of a large MLP against PyTorch, the cost of recording one operation, the memory of 10,000 steps.

    python -m benchmarks tensor            takes about a minute
    python -m benchmarks tensor --quick    a few seconds, to see that it works

The MLP is bound by its matrix products, of which both sides make the same eight; recording is measured beside the bare NumPy
call, in turn. The steps whose memory is watched are those of the names network (names.py times them), in a process that has
done nothing else.
"""

import timeit
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from benchmarks.contenders import Contender, row, say
from benchmarks.report import Row
from benchmarks.training import compared, running, start


def measure(quick: bool) -> list[Row]:
    """All rows, in the order of the table."""
    steps = 500 if quick else 10_000
    with ExitStack() as open_processes:
        fresh = start(open_processes, "chainrule")
        memory = row(
            lambda: _growth(running(fresh, "chainrule"), steps),
            name="memory",
            what=f"growth of resident memory over {steps:,} training steps of the names network",
            unit="MiB",
            goal="at most",
            target=1.0,
        )
    with ExitStack() as open_processes:
        there = start(open_processes, "chainrule", "torch")
        what = "training step of an MLP 784-1024-1024-10, batch 256"
        mlp = compared(there, what, ours="mlp", theirs=("torch", "mlp"), target=1.0, steps=2, rounds=3 if quick else 61)
        overhead = row(
            lambda: _overhead(running(there, "chainrule"), quick),
            name="overhead",
            what="a tensor operation with recording, beyond its NumPy call",
            unit="us",
            goal="at most",
            target=1.2,
        )
    return [mlp, overhead, memory]


def _growth(ours: Contender, steps: int) -> dict[str, Any]:
    say("memory")
    answer = ours.ask("memory", steps=steps)
    return {
        "figure": answer["bytes"] / 2**20,
        "note": f"resident {answer['resident'] / 2**20:.1f} MiB; {answer['tensors']:+d} tensors alive after {steps:,} steps",
        "holds": answer["tensors"] <= 0,
        "details": answer,
    }


def _overhead(ours: Contender, quick: bool) -> dict[str, Any]:
    say("overhead")
    times = ours.ask("overhead", number=200 if quick else 500, rounds=3 if quick else 150)
    beyond = {name: with_recording - numpy for name, (with_recording, numpy) in times.items()}
    worst = max(beyond, key=lambda name: beyond[name])
    each = ", ".join(f"{name} {us:.3g}" for name, us in beyond.items())
    return {
        "figure": beyond[worst],
        "note": f"the worst, {worst}, of: {each}; us, smallest of the rounds, arrays of 32 x 32 float32",
        "details": {"microseconds": times},
    }


def overheads(number: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Microseconds of an operation on tensors that require a gradient, and of its NumPy call: the smallest of each.

    Every way to one node is here. What makes several, such as clamp, or has no gradient, such as argmax, is not; of softmax
    and sigmoid the NumPy call would be the row's own formula.
    """
    import numpy as np

    from chainrule import where
    from chainrule.nn import functional
    from chainrule.tensor import Tensor, concatenate, stack

    a, b = (np.random.default_rng(i).random((32, 32), dtype=np.float32) + 1 for i in range(2))
    v, one, index = a[0].copy(), a[:1].copy(), np.arange(0, 32, 2)
    mask, c = a > 1.5, a.reshape(1, 32, 32).copy()
    x, y, u, row, z = (Tensor(each, requires_grad=True) for each in (a, b, v, one, c))
    at, at_least = Tensor(index), Tensor(mask)

    def log_softmax(array: Any) -> Any:
        shifted = array - array.max(1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))

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
        "by an array": (lambda: x * b, lambda: a * b.copy()),  # which is copied, for its owner may write to it
        "power": (lambda: x**2, lambda: a**2),
        "relu": (lambda: x.relu(), lambda: np.maximum(a, 0)),
        "matmul by a vector": (lambda: x @ u, lambda: a @ v),
        "mean": (lambda: x.mean(0), lambda: a.mean(0)),
        "var": (lambda: x.var(0), lambda: a.var(0, ddof=1)),
        "std": (lambda: x.std(0), lambda: a.std(0, ddof=1)),
        "amax": (lambda: x.amax(1), lambda: a.max(1)),
        "max with indices": (lambda: x.max(1), lambda: (a.max(1), a.argmax(1))),
        "T": (lambda: x.T, lambda: a.T),
        "unsqueeze": (lambda: x.unsqueeze(0), lambda: a[None]),
        "expand": (lambda: row.expand(32, 32), lambda: np.broadcast_to(one, (32, 32))),
        "rows": (lambda: x[at], lambda: a[index]),
        "embedding": (lambda: functional.embedding(at, x), lambda: a.take(index, 0)),
        "linear": (lambda: functional.linear(x, y, u), lambda: a @ b.T + v),
        "concatenate": (lambda: concatenate([x, y]), lambda: np.concatenate([a, b])),
        "stack": (lambda: stack([x, y]), lambda: np.stack([a, b])),
        "cast": (lambda: x.to("float64"), lambda: a.astype("float64")),
        "subtract": (lambda: x - y, lambda: a - b),
        "divide": (lambda: x / y, lambda: a / b),
        "negative": (lambda: -x, lambda: -a),
        "sqrt": (lambda: x.sqrt(), lambda: np.sqrt(a)),
        "log": (lambda: x.log(), lambda: np.log(a)),
        "abs": (lambda: x.abs(), lambda: np.abs(a)),
        "maximum": (lambda: x.maximum(y), lambda: np.maximum(a, b)),
        "where": (lambda: where(at_least, x, y), lambda: np.where(mask, a, b)),
        "sum of two axes": (lambda: z.sum((0, 1)), lambda: c.sum((0, 1))),
        "max of all": (lambda: x.max(), lambda: a.max()),
        "log_softmax": (lambda: x.log_softmax(1), lambda: log_softmax(a)),
        "reshape to -1": (lambda: x.reshape(-1, 64), lambda: a.reshape(-1, 64)),
        "flatten": (lambda: x.flatten(), lambda: a.reshape(-1)),
        "squeeze": (lambda: z.squeeze(0), lambda: c.squeeze(0)),
        "transpose": (lambda: x.transpose(0, 1), lambda: a.transpose(1, 0)),
        "permute": (lambda: x.permute(1, 0), lambda: a.transpose(1, 0)),
        "swapaxes": (lambda: x.swapaxes(0, 1), lambda: a.swapaxes(0, 1)),
        "a row": (lambda: x[3], lambda: a[3]),
        "columns": (lambda: x[:, 1:3], lambda: a[:, 1:3]),
        "by a mask": (lambda: x[mask], lambda: a[mask.copy()]),  # copied, as above
        "embedding by an array": (lambda: functional.embedding(index, x), lambda: a.take(index.copy(), 0)),
        "clone": (lambda: x.clone(), lambda: a.view()),
    }
    # In turn, so that a busy moment hits both; the smallest is the one that nothing disturbed.
    times: dict[str, list[tuple[float, ...]]] = {name: [] for name in pairs}
    for _ in range(rounds):
        for name, pair in pairs.items():
            times[name].append(tuple(timeit.timeit(f, number=number) / number * 1e6 for f in pair))
    return {name: (min(t[0] for t in each), min(t[1] for t in each)) for name, each in times.items()}
