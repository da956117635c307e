"""The programs that compile.py times, each contender in a process of its own: `python -m benchmarks.compiled NAME`.

    moons           the loss of micrograd's demo in scalar loops, as it stands in moons_step.py; with PyTorch and JAX the same
                    on arrays
    names           the network of networks.py, batch 32, float32, as Tensor code
    names_scalars   the same network in scalar loops, as they stand in names_scalars.py
    training        steps of `chainrule train names`, batches drawn as there; with PyTorch the lecture's loop
    mlp             784-1024-1024-10 with relu, batch 256, float32
    gpt             steps of examples/gpt.py; gpt_plain those of the same file without the compiler
    options         Black-Scholes prices and their five first derivatives, one formula for all contenders

Where a contender has several good spellings it has several programs, and the fastest counts: JAX's that end in `_kept` do not
donate their parameters. Its step number is a part of its state, because passing a number costs it more. PyTorch updates in
place, `add_` with a factor, which is its fastest way.
"""

import importlib
import importlib.metadata
import importlib.util
import itertools
import json
import os
import random
import sys
import time
import timeit
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from benchmarks import names_scalars, networks, worker

LAYERS = ((2, 16), (16, 16), (16, 1))
"""Of the moons network: inputs and neurons."""
OPTIONS = 1_000_000
GPT = Path(__file__).parent.parent / "examples" / "gpt.py"

Arrays = list[Any]
Makers = dict[str, Callable[[], "Program"]]


class Program(NamedTuple):
    """A step to be timed.

    step: does one and returns its loss, when it is done. batches: its arguments, in turn. parameters: what it changes, as arrays.
    first: the arguments of the steps that are compared with a peer's (default: the first three batches). compiled: what
    `chainrule.compile` gave.
    """

    step: Callable[..., Any]
    batches: Sequence[tuple[Any, ...]]
    parameters: Callable[[], Arrays]
    first: Sequence[tuple[Any, ...]] = ()
    compiled: Any = None


def sgd_programs(loss: Callable[..., Any], batches: Any, parameters: list[Any]) -> Program:
    """A compiled step of SGD, on Tensors."""
    import chainrule
    from chainrule.optim import SGD

    step = chainrule.compile(lambda x, y: loss(x, y, *parameters), parameters, optimizer=SGD(parameters, lr=networks.LR))
    return Program(step, batches, lambda: [p.data for p in parameters], compiled=step)


# ---- moons -----------------------------------------------------------------------------------------------------------


def moons_names(samples: int = 100) -> dict[str, Any]:
    """The names of moons_step.py, run with our imports; the same model whatever the number of samples."""
    text = worker.MOONS.read_text(encoding="utf-8").replace("micrograd", "chainrule")
    changed = text.replace("n_samples=100", f"n_samples={samples}")
    assert samples == 100 or changed != text
    names: dict[str, Any] = {"__name__": "moons"}
    exec(compile(changed, str(worker.MOONS), "exec"), names)
    return names


def rate(k: int) -> float:
    """The learning rate of the demo."""
    return 1.0 - 0.9 * k / 100


STEPS = [(k,) for k in range(100)]


def layered(model: Any) -> Arrays:
    """The parameters of a scalar MLP, for each layer an array with a row (weights, bias) per neuron."""
    import numpy as np

    flat = iter([p.data for p in model.parameters()])
    return [np.array(list(itertools.islice(flat, nout * (nin + 1)))).reshape(nout, nin + 1) for nin, nout in LAYERS]


def moons_numbers() -> tuple[Any, Any, list[tuple[Any, Any]]]:
    """X, y, and (weights (out, in), biases) of each layer."""
    names = moons_names()
    return (
        names["X"],
        names["y"].astype(float),
        [(layer[:, :-1].copy(), layer[:, -1].copy()) for layer in layered(names["model"])],
    )


def moons_compiled() -> Program:
    """The unchanged loops, compiled."""
    import chainrule
    from chainrule.optim import SGD

    names = moons_names()
    parameters = names["model"].parameters()
    optimizer = SGD(parameters, lr=1.0)
    compiled = chainrule.compile(names["loss"], parameters, optimizer=optimizer)

    def step(k: int) -> float:
        optimizer.lr = rate(k)
        loss: float = compiled()
        return loss

    return Program(step, STEPS, lambda: layered(names["model"]), compiled=compiled)


def moons_micrograd() -> Program:
    """The same text with micrograd."""
    names = worker.Moons("micrograd").names
    return Program(names["step"], STEPS, lambda: layered(names["model"]))


def moons_torch() -> Program:
    """Eager tensors."""
    import numpy as np
    import torch

    X, y, layers = moons_numbers()
    X, y = torch.tensor(X), torch.tensor(y)
    layers = [(torch.tensor(W, requires_grad=True), torch.tensor(b, requires_grad=True)) for W, b in layers]
    parameters = [p for layer in layers for p in layer]
    linear = torch.nn.functional.linear

    def step(k: int) -> float:
        h = X
        for W, b in layers[:-1]:
            h = linear(h, W, b).relu()
        scores = linear(h, *layers[-1])[:, 0]
        loss = (1 - y * scores).relu().mean() + 1e-4 * sum((p * p).sum() for p in parameters)
        for p in parameters:
            p.grad = None
        loss.backward()
        for p in parameters:
            p.data.add_(p.grad, alpha=-rate(k))
        return loss.item()

    return Program(step, STEPS, lambda: [np.hstack([W.detach().numpy(), b.detach().numpy()[:, None]]) for W, b in layers])


def moons_jax(donate: bool) -> Program:
    """One jit for loss, gradients and update."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    X, y, layers = moons_numbers()
    X, y = jnp.asarray(X), jnp.asarray(y)

    def loss(layers: Any) -> Any:
        h = X
        for W, b in layers[:-1]:
            h = jax.nn.relu(h @ W.T + b)
        W, b = layers[-1]
        scores = (h @ W.T + b)[:, 0]
        return jax.nn.relu(1 - y * scores).mean() + 1e-4 * sum((p * p).sum() for layer in layers for p in layer)

    def update(layers: Any, k: Any) -> Any:
        value, slopes = jax.value_and_grad(loss)(layers)
        lr = 1.0 - 0.9 * k / 100
        return value, jax.tree.map(lambda p, g: p - lr * g, layers, slopes), (k + 1) % 100

    jitted = jax.jit(update, donate_argnums=(0, 1) if donate else ())
    state = [jax.tree.map(jnp.asarray, layers), jnp.asarray(0)]

    def step(k: int) -> Any:
        value, *state[:] = jitted(*state)
        return value.block_until_ready()

    return Program(step, STEPS, lambda: [np.hstack([W, b[:, None]]) for W, b in state[0]])


def compile_time(samples: int) -> dict[str, float]:
    """Compile the moons loss once: seconds of the first call, and of this process; the number of nodes."""
    import chainrule

    names = moons_names(samples)
    nodes = len(chainrule.inputs_first(names["loss"]()))
    step = chainrule.compile(names["loss"], names["model"].parameters())
    cpu, start = time.process_time(), time.perf_counter()
    step()
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu, "nodes": nodes}


# ---- names and mlp ---------------------------------------------------------------------------------------------------


def names_loss(nn: Any, norm: dict[str, Any]) -> Callable[..., Any]:
    """The names network; norm: what makes our BatchNorm PyTorch's. Without running statistics, which no gradient needs."""
    F = nn.functional

    def loss(x: Any, y: Any, C: Any, W1: Any, b1: Any, gain: Any, bias: Any, W2: Any, b2: Any) -> Any:
        h = F.linear(F.embedding(x, C).view(-1, 30), W1, b1)
        h = F.batch_norm(h, None, None, gain, bias, training=True, **norm).tanh()
        return F.cross_entropy(F.linear(h, W2, b2), y)

    return loss


def mlp_loss(nn: Any) -> Callable[..., Any]:
    """The MLP."""
    F = nn.functional

    def loss(x: Any, y: Any, W1: Any, b1: Any, W2: Any, b2: Any, W3: Any, b3: Any) -> Any:
        h = F.linear(F.linear(x, W1, b1).relu(), W2, b2).relu()
        return F.cross_entropy(F.linear(h, W3, b3), y)

    return loss


def names_compiled(rows: int = 32) -> Program:
    """Tensor code, compiled; rows: of a batch."""
    from chainrule import nn
    from chainrule.tensor import Tensor

    weights, batches = networks.names_numbers()
    parameters = [Tensor(w, requires_grad=True) for w in weights]
    return sgd_programs(names_loss(nn, {"unbiased": False}), [(x[:rows], y[:rows]) for x, y in batches], parameters)


def names_scalars_compiled(rows: int = 32) -> Program:
    """Scalar loops, compiled to float32."""
    import numpy as np

    import chainrule
    from chainrule.optim import SGD

    weights = networks.lecture_numbers()[0]
    order = ("C", "W1", "b1", "bngain", "bnbias", "W2", "b2")
    arrays = dict(zip(order, weights, strict=True))
    arrays |= {name: arrays[name][None] for name in ("bngain", "bnbias")}
    lists = names_scalars.values(arrays)
    parameters = names_scalars.parameters(lists)
    optimizer = SGD(parameters, lr=networks.LR)
    step = chainrule.compile(names_scalars.network(lists), parameters, optimizer=optimizer, dtype="float32")

    def state() -> Arrays:
        flat = np.array([p.data for p in parameters])
        parts = np.split(flat, np.cumsum([arrays[name].size for name in names_scalars.SHAPES])[:-1])
        found = dict(zip(names_scalars.SHAPES, parts, strict=True))
        return [found[name].reshape(array.shape) for name, array in zip(order, weights, strict=True)]

    return Program(step, [(x[:rows], y[:rows]) for x, y in networks.names_numbers()[1]], state, compiled=step)


def names_plain(rows: int = 32) -> Program:
    """The network of the scalar loops on Tensors, not compiled: what the loops must agree with; not to be timed."""
    from chainrule.nn import functional as F
    from chainrule.tensor import Tensor

    weights, batches = networks.lecture_numbers()
    parameters = [Tensor(w, requires_grad=True) for w in weights]
    C, W1, b1, gain, bias, W2, b2 = parameters

    def step(x: Any, y: Any) -> float:
        h = C[x].view(rows, 30) @ W1 + b1
        d = h - h.mean(0)
        h = (gain * (d * ((d * d).sum(0) / (rows - 1) + networks.EPS) ** -0.5) + bias).tanh()
        loss = F.cross_entropy(h @ W2 + b2, y)
        for p in parameters:
            p.grad = None
        loss.backward()
        for p in parameters:
            p.data = p.data - networks.LR * p.grad
        return loss.item()

    return Program(step, [(x[:rows], y[:rows]) for x, y in batches], lambda: [p.data for p in parameters])


def eager_torch(loss: Callable[..., Any], numbers: Any) -> Program:
    """A step of eager PyTorch."""
    import torch

    weights, batches = numbers
    parameters = [torch.tensor(w, requires_grad=True) for w in weights]

    def step(x: Any, y: Any) -> float:
        value = loss(x, y, *parameters)
        for p in parameters:
            p.grad = None
        value.backward()
        for p in parameters:
            p.data.add_(p.grad, alpha=-networks.LR)
        return value.item()

    return Program(
        step, [(torch.tensor(x), torch.tensor(y)) for x, y in batches], lambda: [p.detach().numpy() for p in parameters]
    )


def names_jax(donate: bool) -> Program:
    """One jit for loss, gradients and update; the batches are on its device."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    weights, batches = networks.names_numbers()

    def loss(weights: Any, x: Any, y: Any) -> Any:
        C, W1, b1, gain, bias, W2, b2 = weights
        h = C[x].reshape(-1, 30) @ W1.T + b1
        d = h - h.mean(0)
        h = jnp.tanh(gain * d * jax.lax.rsqrt((d * d).mean(0) + networks.EPS) + bias)
        logprobs = jax.nn.log_softmax(h @ W2.T + b2)
        return -jnp.take_along_axis(logprobs, y[:, None], 1).mean()

    def update(weights: Any, x: Any, y: Any) -> Any:
        value, slopes = jax.value_and_grad(loss)(weights, x, y)
        return value, [w - np.float32(networks.LR) * g for w, g in zip(weights, slopes, strict=True)]

    jitted = jax.jit(update, donate_argnums=(0,) if donate else ())
    state = [[jnp.array(w) for w in weights]]

    def step(x: Any, y: Any) -> Any:
        value, state[0] = jitted(state[0], x, y)
        return value.block_until_ready()

    there = [(jnp.asarray(x.astype(np.int32)), jnp.asarray(y.astype(np.int32))) for x, y in batches]
    return Program(step, there, lambda: [np.asarray(w) for w in state[0]])


def mlp_compiled() -> Program:
    """Tensor code, compiled."""
    from chainrule import nn
    from chainrule.tensor import Tensor

    weights, batches = networks.mlp_numbers()
    return sgd_programs(mlp_loss(nn), batches, [Tensor(w, requires_grad=True) for w in weights])


def mlp_numpy() -> Program:
    """The eight products and what lies between them, by hand, in place where that is faster."""
    import numpy as np

    weights, batches = networks.mlp_numbers()
    W1, b1, W2, b2, W3, b3 = weights
    rows, one = np.arange(256), np.ones(256, np.float32)

    def hidden(x: Any, W: Any, b: Any) -> Any:
        h = x @ W.T
        h += b
        return np.maximum(h, 0, out=h)

    def step(x: Any, y: Any) -> Any:
        h1 = hidden(x, W1, b1)
        h2 = hidden(h1, W2, b2)
        d = h2 @ W3.T + b3
        d -= d.max(1, keepdims=True)
        right = d[rows, y]
        np.exp(d, out=d)
        sums = d.sum(1)
        d /= sums[:, None]
        d[rows, y] -= 1
        d /= len(y)
        d2 = d @ W3
        d2 *= h2 > 0
        d1 = d2 @ W2
        d1 *= h1 > 0
        for p, g in ((W1, d1.T @ x), (b1, one @ d1), (W2, d2.T @ h1), (b2, one @ d2), (W3, d.T @ h2), (b3, one @ d)):
            g *= networks.LR
            p -= g
        return (np.log(sums) - right).mean()

    return Program(step, batches, lambda: weights)


# ---- the training of chainrule train names ---------------------------------------------------------------------------


def names_trainer() -> Any:
    """What `chainrule train names` trains by default, but for the variance: that of PyTorch, so that both compute the same."""
    from chainrule.train import configure
    from chainrule.train.names import NamesTrainer

    config, words = configure("names", steps=200_000)
    trainer = NamesTrainer(config, words)
    trainer.net[3].unbiased = False
    return trainer


def training_compiled() -> Program:
    """Its steps, with all that a run does in one; the loss is the smoothed one that it shows."""
    trainer = names_trainer()
    parameters = trainer.net.parameters()
    return Program(lambda: trainer.advance().loss, [()] * 3, lambda: [p.data for p in parameters])


def training_extras() -> dict[str, float]:
    """Seconds of what a run does besides its steps: making the program, judging once, and the end."""
    trainer = names_trainer()
    start = time.perf_counter()
    trainer.advance()
    first = time.perf_counter()
    trainer._judged(0)
    judged = time.perf_counter()
    trainer.final_record()
    return {"first": first - start, "judged": judged - first, "final": time.perf_counter() - judged}


def training_torch() -> Program:
    """The lecture's loop with modules: a batch drawn, a step, its loss smoothed as ours is."""
    import torch

    from chainrule import data

    trainer = names_trainer()
    X, y = map(torch.tensor, trainer.rows["training"])
    nn, F = torch.nn, torch.nn.functional
    norm = nn.BatchNorm1d(200, momentum=0.01)
    net = nn.Sequential(nn.Embedding(len(trainer.model.vocabulary), 10), nn.Flatten(), nn.Linear(30, 200), norm, nn.Tanh())
    net.append(nn.Linear(200, len(trainer.model.vocabulary)))
    parameters = list(net.parameters())
    for p, ours in zip(parameters, trainer.net.parameters(), strict=True):
        p.data = torch.tensor(ours.data)

    taken, shown = 0, 0.0

    def step(rows: Any = None) -> float:
        nonlocal taken, shown
        if rows is None:
            rows = torch.randint(0, len(X), (32,))
        loss = F.cross_entropy(net(X[rows]), y[rows])
        for p in parameters:
            p.grad = None
        loss.backward()
        for p in parameters:
            p.data.add_(p.grad, alpha=-trainer.config.lr)
        taken += 1
        shown += (loss.item() - shown) / min(taken, 100)
        return shown

    first = [(torch.tensor(data.drawn_batch(k, 32, len(X), trainer.config.seed)),) for k in range(3)]
    return Program(step, [()], lambda: [p.detach().numpy() for p in parameters], first)


# ---- the scalar GPT --------------------------------------------------------------------------------------------------


def gpt(plain: bool) -> Program:
    """Steps of examples/gpt.py on eight names; it takes three turns until each length has its program, and that is checked."""
    import numpy as np

    example = _loaded(GPT)
    from chainrule.optim import Adam

    words = example.NAMES.split()[:8]
    letters = [".", *sorted(set("".join(example.NAMES.split())))]
    model = example.GPT(len(letters), random.Random(1337))
    optimizer = Adam(model.parameters(), lr=0.01, betas=(0.9, 0.99))
    tokens = [[0, *map(letters.index, word), 0] for word in words]
    batches = [(each[:-1], range(len(each) - 1), each[1:]) for each in tokens]
    step = example.learner(model, optimizer, plain)
    return Program(step, batches, lambda: [np.array([p.data for p in model.parameters()])], batches * 3)


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- Black-Scholes ---------------------------------------------------------------------------------------------------


def black_scholes(m: Any) -> Callable[..., Any]:
    """The price of a call, in the functions of `m`: chainrule or jax.numpy.

    The normal distribution is the polynomial of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.2.17 (to 7.5e-8).
    """

    def below(x: Any) -> Any:
        t = 1 / (1 + 0.2316419 * abs(x))
        series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
        beyond = 0.3989422804014327 * m.exp(-0.5 * x * x) * series
        return m.where(x < 0, beyond, 1 - beyond)

    def price(S: Any, K: Any, r: Any, sigma: Any, T: Any) -> Any:
        spread = sigma * m.sqrt(T)
        d = (m.log(S / K) + (r + sigma * sigma / 2) * T) / spread
        return S * below(d) - K * m.exp(-r * T) * below(d - spread)

    return price


ARGUMENTS = ("S", "K", "r", "sigma", "T")


def options(count: int = OPTIONS) -> Arrays:
    """Spot, strike, rate, volatility and years of as many different options."""
    import numpy as np

    rng = np.random.default_rng(0)
    low, high = np.array([[80, 80, 0.0, 0.1, 0.1], [120, 120, 0.05, 0.5, 2.0]])
    return [rng.uniform(a, b, count) for a, b in zip(low, high, strict=True)]


def one_market(count: int = OPTIONS) -> Arrays:
    """The same spots, and one number for each other argument."""
    return [options(count)[0], 100.0, 0.01, 0.2, 1.0]


def priced(arguments: Arrays, value_and_slopes: Callable[..., tuple[Any, Sequence[Any]]]) -> Program:
    """Prices and slopes; the slopes take the place of parameters that began at 0."""
    import numpy as np

    slopes: list[Any] = [[np.zeros(1)] * len(ARGUMENTS)]

    def step() -> Any:
        value, slopes[0] = value_and_slopes(*arguments)
        return value

    return Program(step, [()], lambda: [np.asarray(x) for x in slopes[0]])


def options_compiled(arguments: Arrays) -> Program:
    """Our Function."""
    import chainrule

    price = chainrule.compile(black_scholes(chainrule))

    def value_and_slopes(*xs: Any) -> tuple[Any, Sequence[Any]]:
        value, slopes = price.value_and_grad(*xs)
        return value, list(slopes.values())

    return priced(arguments, value_and_slopes)


def options_jax(arguments: Arrays) -> Program:
    """jit(vmap(value_and_grad)); numbers are not mapped."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    slopes = jax.value_and_grad(black_scholes(jnp), argnums=(0, 1, 2, 3, 4))
    mapped = jax.jit(jax.vmap(slopes, in_axes=[0 if np.ndim(x) else None for x in arguments]))
    return priced([jnp.asarray(x) for x in arguments], lambda *xs: jax.block_until_ready(mapped(*xs)))


def call_overhead(number: int, rounds: int) -> dict[str, list[float]]:
    """Microseconds of a call of a compiled function of three numbers, in every way to write it: the mean of each round."""
    import numpy as np

    import chainrule

    f = chainrule.compile(lambda S, K, r: S * K + r)
    x, y, z = np.float64(2.0), np.float64(3.0), np.float64(4.0)
    calls: dict[str, Callable[[], Any]] = {
        "floats": lambda: f(2.0, 3.0, 4.0),
        "floats by name": lambda: f(S=2.0, K=3.0, r=4.0),
        "ints": lambda: f(2, 3, 4),
        "ints by name": lambda: f(S=2, K=3, r=4),
        "np.float64": lambda: f(x, y, z),
        "np.float64 by name": lambda: f(S=x, K=y, r=z),
    }
    if [call() for call in calls.values()] != [10.0] * len(calls):
        raise AssertionError("2 * 3 + 4 is 10")
    return {
        name: [seconds / number * 1e6 for seconds in timeit.repeat(call, number=number, repeat=rounds)]
        for name, call in calls.items()
    }


# ---- the contenders --------------------------------------------------------------------------------------------------


def chainrule_programs() -> Makers:
    """Ours; names_scalars_4 is a small one, for a quick run."""
    return {
        "moons": moons_compiled,
        "names": names_compiled,
        "names_4": lambda: names_compiled(4),
        "names_scalars": names_scalars_compiled,
        "names_scalars_4": lambda: names_scalars_compiled(4),
        "names_plain": names_plain,
        "names_plain_4": lambda: names_plain(4),
        "training": training_compiled,
        "mlp": mlp_compiled,
        "gpt": lambda: gpt(plain=False),
        "gpt_plain": lambda: gpt(plain=True),
        "options": lambda: options_compiled(options()),
        "options_one_market": lambda: options_compiled(one_market()),
    }


def torch_programs() -> Makers:
    """PyTorch's, eager."""
    import torch

    return {
        "moons": moons_torch,
        "names": lambda: eager_torch(names_loss(torch.nn, {}), networks.names_numbers()),
        "mlp": lambda: eager_torch(mlp_loss(torch.nn), networks.mlp_numbers()),
        "training": training_torch,
    }


def jax_programs() -> Makers:
    """JAX's, on the processor. What it computes is awaited at once, so it need not hand it to another thread."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    return {
        "moons": lambda: moons_jax(donate=True),
        "moons_kept": lambda: moons_jax(donate=False),
        "names": lambda: names_jax(donate=True),
        "names_kept": lambda: names_jax(donate=False),
        "options": lambda: options_jax(options()),
        "options_one_market": lambda: options_jax(one_market()),
    }


PROGRAMS: dict[str, Callable[[], Makers]] = {
    "chainrule": chainrule_programs,
    "torch": torch_programs,
    "jax": jax_programs,
    "numpy": lambda: {"mlp": mlp_numpy},
    "micrograd": lambda: {"moons": moons_micrograd},
}
"""For each contender its programs."""
REMEDIES = {"chainrule": "-e .", "torch": "torch==2.13.0", "micrograd": "micrograd==0.1.0"}


# ---- the worker ------------------------------------------------------------------------------------------------------


class Worker:
    """Answers requests; programs are made when they are first asked for."""

    def __init__(self, contender: str) -> None:
        self._makers = PROGRAMS[contender]()
        self._made: dict[str, tuple[Program, Iterator[tuple[Any, ...]]]] = {}

    def first_steps(self, program: str) -> dict[str, list[float]]:
        """Start afresh: the losses of the first steps, and by how much each parameter moved, summed over its elements."""
        import numpy as np

        made = self._makers[program]()
        self._made[program] = made, itertools.cycle(made.batches)
        before = [np.array(p) for p in made.parameters()]
        losses = [float(np.mean(made.step(*batch))) for batch in made.first or made.batches[:3]]
        moved = [float(np.abs(p - b).sum()) for p, b in zip(made.parameters(), before, strict=True)]
        return {"losses": losses, "moved": moved}

    def steps(self, program: str, count: int) -> float:
        """Go on for so many steps: the seconds they took together."""
        made, batches = self._made[program]
        step = made.step
        start = time.perf_counter()
        for batch in itertools.islice(batches, count):
            step(*batch)
        return time.perf_counter() - start

    def size(self, program: str) -> dict[str, int]:
        """How many scalar operations a compiled program stands for, and how many array operations it has without and with
        gradients and update."""
        counts = self._made[program][0].compiled.counts
        return {"scalar": counts.operations, "forward": counts.forward, "all": counts.whole}

    def engine(self) -> str:
        """Which engine runs what is not compiled."""
        from chainrule import native

        return native.status()["engine"]

    def compile_time(self, samples: int) -> dict[str, float]:
        """See the function."""
        return compile_time(samples)

    def call_overhead(self, number: int, rounds: int) -> dict[str, list[float]]:
        """See the function."""
        return call_overhead(number, rounds)

    def training_extras(self) -> dict[str, float]:
        """See the function."""
        return training_extras()


def introduce(contender: str) -> dict[str, Any]:
    """Who runs here, with its version; or `missing`: one sentence with the command that helps."""
    if importlib.util.find_spec(contender) is None:
        return {"missing": f"{contender} is not installed; install it with: pip install {REMEDIES.get(contender, contender)}"}
    return {"version": importlib.metadata.version(contender)}


def main(contender: str) -> None:
    """Introduce the contender, then answer requests until the input ends."""
    greeting = introduce(contender)
    print(json.dumps(greeting), flush=True)
    if "missing" in greeting:
        return
    if contender == "torch":
        import torch

        torch.set_num_threads(1)
    made = Worker(contender)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"answer": getattr(made, request.pop("do"))(**request)}
        except ImportError as error:
            answer = {"missing": f"{error.name} is not installed; install it with: pip install 'chainrule[dev]'"}
        except Exception as error:  # whatever a contender raises costs its own row, not those after it
            traceback.print_exc()
            answer = {"missing": f"{contender} fails: {type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
