"""Mistake: a step that is too large kills ReLU units, and they never come back.

What goes wrong: a ReLU that is negative for every example has output zero and gradient zero for all of them. Its weights
get no gradient, so nothing can ever move it into the data again. One step that is too large pushes many there at once.
How one notices: count the units whose output is zero for the whole training set; a few may be dead, a third may not.
The cure: a smaller learning rate (and clipped gradients, Kaiming's weights, biases at zero, so that none starts dead).

Run me: python examples/mistakes/dead_relu.py
"""

import numpy as np

from chainrule.nn import Linear
from chainrule.nn.functional import mse_loss
from chainrule.optim import SGD
from chainrule.tensor import Tensor

rng = np.random.default_rng(0)
X = rng.normal(size=(200, 2))
Y = np.sin(2 * X[:, :1]) * X[:, 1:]
UNITS = 100


def train(lr, steps=300, seed=1):
    """Fit a net of one hidden layer; the share of dead units before and after, and the loss reached."""
    generator = np.random.default_rng(seed)
    hidden = Linear(2, UNITS, dtype="float64", generator=generator)
    out = Linear(UNITS, 1, dtype="float64", generator=generator)
    optimizer = SGD([*hidden.parameters(), *out.parameters()], lr=lr)
    dead = []
    for _ in range(steps + 1):
        h = hidden(X).relu()
        loss = mse_loss(out(h), Tensor(Y))
        dead.append(float((h.data == 0).all(0).mean()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return dead[0], dead[-1], loss.item(), hidden


if __name__ == "__main__":
    for lr in (0.3, 0.1):
        before, after, loss, hidden = train(lr)
        still = (abs(hidden.weight.grad).sum(1) == 0).mean()
        print(f"learning rate {lr}: dead units {before:.0%} at first, {after:.0%} after 300 steps", end="; ")
        print(f"{still:.0%} have no gradient at all; loss {loss:.4f}")
