"""The networks that names.py and tensor.py time: one text for chainrule and PyTorch, in names that both have.

The names network is Embedding(27, 10) on windows of 3, Linear(30, 200), BatchNorm, tanh, Linear(200, 27), cross-entropy:
12,297 parameters, batch 32. Its spellings:

    names      nn.functional, PyTorch's fused functions: the fastest spelling it has here; HIPS autograd has a text of its own
    lecture    BatchNorm in atoms, as the lecture "Building makemore" writes it
    modules    modules and optim.SGD
    hand       no engine: the backward pass is written out, with the closed forms of cross-entropy and BatchNorm that
               docs/by_hand.md derives; on arrays here, on torch tensors under no_grad there
    tensors    the same text on our Tensors, under no_grad

`mlp` is 784-1024-1024-10 with relu, batch 256. All numbers are float32. The update is the lecture's, p += -lr * grad,
but for `modules`. Peers and NumPy are imported where a contender needs them.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

LR = 0.1
EPS = 1e-5
BATCHES = 64
"""How many batches are drawn; steps go around."""

Step = Callable[[Any, Any], Any]
Batches = Sequence[tuple[Any, Any]]


class Program(NamedTuple):
    """A training step `step(x, y)` that returns the loss; its batches; and its parameters, which it changes."""

    step: Step
    batches: Batches
    parameters: list[Any]


# ---- the numbers that all start from ---------------------------------------------------------------------------------


def names_numbers() -> tuple[list[Any], Batches]:
    """C, W1 (out, in), b1, gain, bias, W2 (out, in), b2; and batches of windows and labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    normal = lambda scale, *shape: (scale * rng.normal(size=shape)).astype(np.float32)  # noqa: E731
    weights = [normal(1, 27, 10), normal(0.3, 200, 30), normal(0.01, 200), 1 + normal(0.01, 200), normal(0.01, 200)]
    weights += [normal(0.01, 27, 200), normal(0.01, 27)]
    assert sum(w.size for w in weights) == 12_297
    return weights, [(rng.integers(0, 27, (32, 3)), rng.integers(0, 27, 32)) for _ in range(BATCHES)]


def lecture_numbers() -> tuple[list[Any], Batches]:
    """The same with weights of shape (in, out)."""
    (C, W1, b1, gain, bias, W2, b2), batches = names_numbers()
    return [C, W1.T.copy(), b1, gain, bias, W2.T.copy(), b2], batches


def mlp_numbers() -> tuple[list[Any], Batches]:
    """Three weights (out, in) and biases; batches of images and labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    weights = []
    for nin, nout in ((784, 1024), (1024, 1024), (1024, 10)):
        weights += [(rng.normal(size=(nout, nin)) * (2 / nin) ** 0.5).astype(np.float32), np.zeros(nout, np.float32)]
    return weights, [(rng.random((256, 784), dtype=np.float32), rng.integers(0, 10, 256)) for _ in range(4)]


# ---- with an engine --------------------------------------------------------------------------------------------------


def eager(
    nn: Any, optim: Any, parameter: Callable[[Any], Any], constant: Callable[[Any], Any], norm: dict[str, Any]
) -> dict[str, Callable[[], Program]]:
    """The programs that call backward().

    norm: what makes our BatchNorm the mixture of variances that PyTorch's is.
    """
    F = nn.functional

    def program(numbers: tuple[list[Any], Batches], loss_of: Callable[..., Any]) -> Program:
        weights, batches = numbers
        parameters = [parameter(w) for w in weights]

        def step(x: Any, y: Any) -> Any:
            loss = loss_of(x, y, *parameters)
            for p in parameters:
                p.grad = None
            loss.backward()
            for p in parameters:
                p.data += -LR * p.grad
            return loss

        return Program(step, [(constant(x), constant(y)) for x, y in batches], parameters)

    def names() -> Program:
        numbers = names_numbers()
        zero = numbers[0][3] * 0
        mean, var = constant(zero), constant(zero + 1)

        def loss(x: Any, y: Any, C: Any, W1: Any, b1: Any, gain: Any, bias: Any, W2: Any, b2: Any) -> Any:
            h = F.linear(F.embedding(x, C).view(32, 30), W1, b1)
            h = F.batch_norm(h, mean, var, gain, bias, training=True, **norm).tanh()
            return F.cross_entropy(F.linear(h, W2, b2), y)

        return program(numbers, loss)

    def lecture() -> Program:
        def loss(x: Any, y: Any, C: Any, W1: Any, b1: Any, gain: Any, bias: Any, W2: Any, b2: Any) -> Any:
            h = C[x].view(32, 30) @ W1 + b1
            h = (gain * (h - h.mean(0, keepdim=True)) / h.std(0, keepdim=True) + bias).tanh()
            return F.cross_entropy(h @ W2 + b2, y)

        return program(lecture_numbers(), loss)

    def modules() -> Program:
        weights, batches = names_numbers()
        norm_layer = nn.BatchNorm1d(200, **norm)
        model = nn.Sequential(nn.Embedding(27, 10), nn.Flatten(), nn.Linear(30, 200), norm_layer, nn.Tanh(), nn.Linear(200, 27))
        parameters = list(model.parameters())
        for p, w in zip(parameters, weights, strict=True):
            p.data = constant(w).data
        optimizer = optim.SGD(parameters, lr=LR)

        def step(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return Program(step, [(constant(x), constant(y)) for x, y in batches], parameters)

    def mlp() -> Program:
        def loss(x: Any, y: Any, W1: Any, b1: Any, W2: Any, b2: Any, W3: Any, b3: Any) -> Any:
            h = F.linear(F.linear(x, W1, b1).relu(), W2, b2).relu()
            return F.cross_entropy(F.linear(h, W3, b3), y)

        return program(mlp_numbers(), loss)

    return {"names": names, "lecture": lecture, "modules": modules, "mlp": mlp}


# ---- by hand ---------------------------------------------------------------------------------------------------------


def by_hand(m: Any) -> Program:
    """The lecture's network, whose gradients are written out in the fewest lines, as in examples/by_hand/step4_training.py.

    m: what a side spells in its own way, each in the fastest one found: `constant`, `tanh`, `total` (the sum over the batch),
    `cross_entropy(logits, y)` with its gradient, `add_rows(C, x, rows)` (zeros like C with each row added where x says),
    `update(p, g)`, which is p += -lr * g, and `without_recording(step)`.
    """
    weights, batches = lecture_numbers()
    parameters = [m.constant(w) for w in weights]
    total = m.total

    def step(x: Any, y: Any) -> Any:
        n = len(x)
        C, W1, b1, gain, bias, W2, b2 = parameters
        # forward
        embcat = C[x].reshape(n, -1)
        hprebn = embcat @ W1 + b1
        bndiff = hprebn - total(hprebn) / n
        bnvar_inv = (total(bndiff * bndiff) / (n - 1) + EPS) ** -0.5
        bnraw = bndiff * bnvar_inv
        h = m.tanh(gain * bnraw + bias)
        loss, dlogits = m.cross_entropy(h @ W2 + b2, y)
        # backward
        dhpreact = (1.0 - h * h) * (dlogits @ W2.T)
        dgain, dbias = total(bnraw * dhpreact), total(dhpreact)
        dhprebn = gain * bnvar_inv * (dhpreact - dbias / n - bnraw * (dgain / (n - 1)))
        dC = m.add_rows(C, x, (dhprebn @ W1.T).reshape(-1, C.shape[1]))
        gradients = (dC, embcat.T @ dhprebn, total(dhprebn), dgain, dbias, h.T @ dlogits, total(dlogits))
        for p, g in zip(parameters, gradients, strict=True):
            m.update(p, g)
        return loss

    return Program(m.without_recording(step), [(m.constant(x), m.constant(y)) for x, y in batches], parameters)


def _on_arrays() -> SimpleNamespace:
    import numpy as np

    ones, places, identity = np.ones(32, np.float32), np.arange(0, 32 * 27, 27), np.eye(27, dtype=np.float32)

    def cross_entropy(logits: Any, y: Any) -> tuple[Any, Any]:
        n, at = len(y), places + y
        d = logits - np.maximum.reduce(logits, axis=1, keepdims=True)
        flat = d.reshape(-1)
        right = flat[at]
        np.exp(d, out=d)
        sums = np.add.reduce(d, axis=1)
        d /= sums[:, None]
        flat[at] -= 1.0
        d /= n
        return np.add.reduce(np.log(sums) - right) / n, d

    def add_to(p: Any, g: Any) -> None:
        p += -LR * g

    return SimpleNamespace(
        constant=np.array,
        tanh=np.tanh,
        total=ones.dot,
        cross_entropy=cross_entropy,
        add_rows=lambda C, x, rows: identity.take(x.reshape(-1), 1) @ rows,
        update=add_to,
        without_recording=lambda step: step,
    )


def _on_tensors() -> SimpleNamespace:
    """Our Tensors: the formulas of the lecture, each operation a node that is forgotten at once."""
    import numpy as np

    from chainrule import no_grad
    from chainrule.tensor import Tensor

    identity, rows = Tensor(np.eye(27, dtype=np.float32)), np.arange(32)

    def cross_entropy(logits: Any, y: Any) -> tuple[Any, Any]:
        logprobs = logits.log_softmax(1)
        return -logprobs[rows, y].mean(), (logprobs.exp() - identity[y]) / len(y)

    def update(p: Any, g: Any) -> None:
        p.data += -LR * g.data

    return SimpleNamespace(
        constant=Tensor,
        tanh=Tensor.tanh,
        total=lambda t: t.sum(0),
        cross_entropy=cross_entropy,
        add_rows=lambda C, x, rows: identity[x.reshape(-1)].T @ rows,
        update=update,
        without_recording=no_grad(),
    )


def _on_torch() -> SimpleNamespace:
    import torch

    F, minus_one = torch.nn.functional, torch.full((32, 1), -1.0)

    def cross_entropy(logits: Any, y: Any) -> tuple[Any, Any]:
        logprobs = F.log_softmax(logits, 1)
        loss = F.nll_loss(logprobs, y)
        d = logprobs.exp_().scatter_add_(1, y[:, None], minus_one)  # two thirds of the time of d[rows, y] -= 1
        return loss, d.div_(len(y))

    return SimpleNamespace(
        constant=torch.tensor,
        tanh=torch.tanh,
        total=lambda t: t.sum(0),
        cross_entropy=cross_entropy,
        add_rows=lambda C, x, rows: torch.zeros_like(C).index_add_(0, x.reshape(-1), rows),
        update=lambda p, g: p.add_(g, alpha=-LR),
        without_recording=torch.no_grad(),
    )


# ---- the contenders --------------------------------------------------------------------------------------------------


def chainrule_programs() -> dict[str, Callable[[], Program]]:
    """Ours."""
    from chainrule import nn, optim
    from chainrule.tensor import Tensor

    programs = eager(nn, optim, lambda w: Tensor(w, requires_grad=True), Tensor, {"unbiased": False})
    return programs | {"hand": lambda: by_hand(_on_arrays()), "tensors": lambda: by_hand(_on_tensors())}


def torch_programs() -> dict[str, Callable[[], Program]]:
    """PyTorch's; `zero_grad` of its optimiser sets gradients to None by default."""
    import torch

    programs = eager(torch.nn, torch.optim, lambda w: torch.tensor(w, requires_grad=True), torch.tensor, {})
    return programs | {"hand": lambda: by_hand(_on_torch())}


def autograd_programs() -> dict[str, Callable[[], Program]]:
    """HIPS autograd's: the names network on its NumPy."""
    import autograd.numpy as anp
    import numpy as np
    from autograd import value_and_grad

    def names() -> Program:
        weights, batches = names_numbers()
        rows = np.arange(32)

        def loss(parameters: Any, x: Any, y: Any) -> Any:
            C, W1, b1, gain, bias, W2, b2 = parameters
            h = anp.dot(anp.reshape(C[x], (32, 30)), W1.T) + b1
            d = h - anp.mean(h, axis=0)
            h = anp.tanh(d * (gain / anp.sqrt(anp.mean(d * d, axis=0) + EPS)) + bias)
            logits = anp.dot(h, W2.T) + b2
            z = logits - np.max(logits._value, axis=1, keepdims=True)  # a constant: whatever is taken off drops out
            return anp.mean(anp.log(anp.sum(anp.exp(z), axis=1)) - z[rows, y])

        slope = value_and_grad(loss)

        def step(x: Any, y: Any) -> Any:
            value, gradients = slope(weights, x, y)
            for p, g in zip(weights, gradients, strict=True):
                p += np.float32(-LR) * g
            return value

        return Program(step, batches, weights)

    return {"names": names}


PROGRAMS = {"chainrule": chainrule_programs, "torch": torch_programs, "autograd": autograd_programs}
