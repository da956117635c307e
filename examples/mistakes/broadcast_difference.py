"""Mistake: predictions of shape (N, 1) minus targets of shape (N,), which is a table of N by N differences.

What goes wrong: broadcasting pairs every prediction with every target, without a word. The mean of all squares is lowest where
every prediction is the mean of the targets, so a net learns to answer always the same.
How one notices: print the shape of the difference. The loss falls at first and then stands at the variance of the targets.
The cure: one shape for both (`targets[:, None]`, or `prediction.reshape(-1)`), or `mse_loss`, which refuses two shapes.

Run me: python examples/mistakes/broadcast_difference.py
"""

import numpy as np

from chainrule.errors import InputError
from chainrule.nn import Linear
from chainrule.nn.functional import mse_loss
from chainrule.optim import SGD
from chainrule.tensor import Tensor

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, size=(50, 1))
Y = 3.0 * X[:, 0] + 1.0 + 0.1 * rng.normal(size=50)


def train(targets, steps=500, lr=0.1):
    """Fit a line to targets of shape (N,) or (N, 1): the shape of the difference, the slope found, and the loss."""
    line = Linear(1, 1, dtype="float64", generator=0)
    optimizer = SGD(line.parameters(), lr=lr)
    for _ in range(steps):
        difference = line(X) - targets
        loss = (difference * difference).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return difference.shape, line.weight.item(), loss.item()


if __name__ == "__main__":
    print(f"The slope is 3, the variance of the targets {Y.var():.4f}.")
    for what, targets in (("(N, 1) minus (N,)", Y), ("(N, 1) minus (N, 1)", Y[:, None])):
        shape, slope, loss = train(targets)
        print(f"{what}: difference of shape {shape}, slope {slope:.4f}, loss {loss:.4f}")
    try:
        mse_loss(Tensor(X), Y)
    except InputError as error:
        print(f"mse_loss: {error}")
