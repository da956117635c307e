"""Mistake: weights that are too large at the start press tanh against its limits, where it passes no gradient on.

What goes wrong: the slope of tanh is 1 - tanh^2. A sum of 30 inputs with weights of standard deviation 1 has one of
sqrt(30) = 5.5, so most units answer nearly -1 or +1, and their slope is nearly zero: what lies below learns slowly or not.
How one notices: the share of activations beyond 0.97 (picture them: a histogram with two towers at the ends), and the mean
slope, which is how much of a gradient gets through.
The cure: Kaiming's weights, gain / sqrt(inputs) with the gain 5/3 of tanh; or BatchNorm before tanh, which sets the
standard deviation to 1 whatever the weights are.

Run me: python examples/mistakes/saturated_tanh.py
"""

import numpy as np

from chainrule.nn import BatchNorm1d, Linear, Sequential, Tanh
from chainrule.nn.functional import mse_loss
from chainrule.nn.init import kaiming_normal_, normal_
from chainrule.optim import SGD

INPUTS, UNITS = 30, 100
rng = np.random.default_rng(0)
X = rng.normal(size=(300, INPUTS))
Y = np.tanh(X @ rng.normal(size=(INPUTS, 1)) / INPUTS**0.5)


def layers(cure):
    """The part up to tanh, with weights of standard deviation 1 or with one of the cures, and the part above."""
    linear = Linear(INPUTS, UNITS, bias=False, dtype="float64", generator=1)
    if cure == "Kaiming":
        kaiming_normal_(linear.weight, nonlinearity="tanh", generator=1)
    else:
        normal_(linear.weight, generator=1)
    norm = [BatchNorm1d(UNITS, dtype="float64")] if cure == "BatchNorm" else []
    return Sequential(linear, *norm, Tanh()), Linear(UNITS, 1, dtype="float64", generator=2)


def train(cure, steps=300, lr=0.1):
    """At the start the share of activations beyond 0.97 and the mean slope of tanh; and the loss reached."""
    below, above = layers(cure)
    h = below(X).data
    optimizer = SGD([*below.parameters(), *above.parameters()], lr=lr)
    for _ in range(steps):
        loss = mse_loss(above(below(X)), Y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float((abs(h) > 0.97).mean()), float((1 - h**2).mean()), loss.item()


if __name__ == "__main__":
    for cure in ("none", "Kaiming", "BatchNorm"):
        saturated, slope, loss = train(cure)
        print(f"cure {cure}: {saturated:.1%} of the activations beyond 0.97, mean slope {slope:.3f}, loss reached {loss:.4f}")
