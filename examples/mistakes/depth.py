"""Mistake: a deep stack whose layers all shrink, or all stretch, what passes through: gradients vanish or explode.

What goes wrong: signals are multiplied by one matrix per layer on the way up, gradients by its transpose on the way down.
A factor s per layer becomes s to the power of the depth: 20 layers of one half leave a millionth. (In a recurrent network it is
the same matrix each time, and its largest eigenvalue decides.)
How one notices: print the spread of the activations and the norm of the gradient layer by layer; both should stay level.
The cure: weights of standard deviation gain / sqrt(inputs), with the gain sqrt(2) of ReLU (Kaiming); then BatchNorm or paths
around layers, and `clip_grad_norm` where gradients still explode now and then.

Run me: python examples/mistakes/depth.py
"""

import numpy as np

from chainrule.nn.functional import linear
from chainrule.nn.init import kaiming_normal_
from chainrule.tensor import Tensor

DEPTH, WIDTH = 20, 100


def weights(factor):
    """Kaiming's weights for ReLU, times a factor; 1 is right."""
    rng = np.random.default_rng(0)
    drawn = [kaiming_normal_(Tensor(np.zeros((WIDTH, WIDTH))), nonlinearity="relu", generator=rng) for _ in range(DEPTH)]
    return [Tensor(w.data * factor, requires_grad=True) for w in drawn]


def signals(ws):
    """Layer by layer, the root of the mean square of the activations and the norm of the gradient that arrives there."""
    rng = np.random.default_rng(1)
    h = Tensor(rng.normal(size=(64, WIDTH)))
    layers = []
    for w in ws:
        h = linear(h, w).relu()
        layers.append(h)
    g = rng.normal(size=h.shape)  # what a loss would send, of norm 1
    h.backward(g / np.linalg.norm(g), retain_grad=True)
    return [(float((h.data**2).mean() ** 0.5), float(np.linalg.norm(h.grad))) for h in layers]


if __name__ == "__main__":
    for factor, what in ((0.5, "vanishing"), (2.0, "exploding"), (1.0, "cured")):
        rows = signals(weights(factor))
        print(f"{what} (Kaiming times {factor}):")
        for layer in (1, 5, 10, 15, 20):
            activation, gradient = rows[layer - 1]
            print(f"  layer {layer}: activations {activation:.1e}, gradient {gradient:.1e}")
