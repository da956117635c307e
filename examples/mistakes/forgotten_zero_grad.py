"""Mistake: zero_grad is forgotten, so every step repeats all steps before it.

What goes wrong: `backward()` adds to the gradients that parameters have. Without `zero_grad()` the sum of all gradients so far
is used: momentum that nothing damps, as in SGD(momentum=1). The net rolls through the valley and up the other side.
How one notices: the loss swings instead of falling, and the gradient that is used is many times the fresh one.
The cure: `optimizer.zero_grad()` before every `backward()`.
../11_forgotten_zero_grad.py shows the same on single numbers, step by step.

Run me: python examples/mistakes/forgotten_zero_grad.py
"""

import math

import numpy as np

from chainrule.nn import Linear, Sequential, Tanh
from chainrule.nn.functional import mse_loss
from chainrule.optim import SGD, clip_grad_norm

X = np.linspace(-2, 2, 100)[:, None]
Y = np.sin(2 * X)


def network():
    """Two layers, from one seed."""
    rng = np.random.default_rng(1)
    first, second = (Linear(*sizes, dtype="float64", generator=rng) for sizes in ((1, 16), (16, 1)))
    return Sequential(first, Tanh(), second)


def train(zeroing, steps=300, lr=0.1):
    """The losses, and the norms of the gradients that were used."""
    net = network()
    optimizer = SGD(net.parameters(), lr=lr)
    losses, norms = [], []
    for _ in range(steps):
        loss = mse_loss(net(X), Y)
        if zeroing:
            optimizer.zero_grad()
        loss.backward()
        norms.append(clip_grad_norm(net.parameters(), math.inf))  # measures, and clips nothing
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


if __name__ == "__main__":
    for zeroing in (False, True):
        losses, norms = train(zeroing)
        low, high = min(losses[-100:]), max(losses[-100:])
        print(f"zero_grad {'called' if zeroing else 'forgotten'}: loss {losses[0]:.3f} at first, in the last 100 steps", end=" ")
        print(f"{low:.3f} to {high:.3f}; mean norm of the gradient used {sum(norms) / len(norms):.3f}")
