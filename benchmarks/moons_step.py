# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""The program that is timed: the training step of micrograd's demo notebook, as its users write it.

It is run with these imports, and again with `chainrule` in the place of the other name and nothing else changed.
`loss` builds the graph of 65,818 nodes; `step` builds it, goes backward through it, updates the weights and lets it go.
"""

import random

import numpy as np
from micrograd.engine import Value
from micrograd.nn import MLP
from sklearn.datasets import make_moons

np.random.seed(1337)
random.seed(1337)
X, y = make_moons(n_samples=100, noise=0.1)
y = y * 2 - 1
model = MLP(2, [16, 16, 1])


def loss():
    """Max-margin loss over all samples, plus L2 regularisation."""
    inputs = [list(map(Value, xrow)) for xrow in X]
    scores = list(map(model, inputs))
    losses = [(1 + -yi * scorei).relu() for yi, scorei in zip(y, scores, strict=True)]
    data_loss = sum(losses) * (1.0 / len(losses))
    reg_loss = 1e-4 * sum(p * p for p in model.parameters())
    return data_loss + reg_loss


def step(k):
    """Train once, with a learning rate that decays over steps 0 to 99; the loss before the update."""
    total_loss = loss()
    model.zero_grad()
    total_loss.backward()
    learning_rate = 1.0 - 0.9 * k / 100
    for p in model.parameters():
        p.data -= learning_rate * p.grad
    return total_loss.data
