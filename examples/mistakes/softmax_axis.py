"""Mistake: softmax over the wrong axis, so the examples of a batch compete instead of the classes.

What goes wrong: logits have shape (N, C). Over axis 0 the columns sum to one, over the examples; the loss of one example
then depends on all others. It still falls, and nothing fails.
How one notices: the loss at the start should be log(C), and is log(N); and the gradient of one example's loss reaches other
rows. That second look finds everything that mixes examples.
The cure: dim=1 (or -1), or `cross_entropy(logits, labels)`, which cannot be told a wrong axis.

Run me: python examples/mistakes/softmax_axis.py
"""

import math

import numpy as np

from chainrule.nn import Linear
from chainrule.nn.init import zeros_
from chainrule.optim import SGD
from chainrule.tensor import Tensor

CLASSES, ROWS = 3, 100
rng = np.random.default_rng(0)
Y = np.repeat(np.arange(CLASSES), [70, 20, 10])  # most are of class 0
X = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])[Y] + 0.4 * rng.normal(size=(ROWS, 2))


def losses(logits, dim):
    """Minus the logarithm of the probability of the right class, for every example."""
    return -logits.log_softmax(dim)[np.arange(ROWS), Y]


def touched(dim):
    """How many of the other rows the loss of the first example sends a gradient to."""
    logits = Tensor(np.zeros((ROWS, CLASSES)), requires_grad=True)
    losses(logits, dim)[0].backward()
    return int((logits.grad[1:] != 0).any(1).sum())


def train(dim, steps=300, lr=1.0):
    """The loss at first, and the share of examples that are recognised at the end."""
    net = Linear(2, CLASSES, dtype="float64", generator=0)
    net.weight, net.bias = zeros_(net.weight), zeros_(net.bias)
    optimizer = SGD(net.parameters(), lr=lr)
    history = []
    for _ in range(steps):
        loss = losses(net(X), dim).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history[0], float((net(X).data.argmax(1) == Y).mean())


if __name__ == "__main__":
    print(f"log of the number of classes {math.log(CLASSES):.4f}, of rows {math.log(ROWS):.4f}")
    for dim in (0, 1):
        first, right = train(dim)
        print(f"dim={dim}: loss at first {first:.4f}, one loss reaches {touched(dim)} other rows, right in the end {right:.0%}")
