"""Networks of scalars: `Module`, the perceptrons `Neuron`, `Layer`, `MLP`, and the losses that train them.

>>> import random
>>> random.seed(1337)
>>> model = MLP(2, [16, 16, 1])
>>> len(model.parameters())
337
>>> loss = max_margin([model([0.5, -1.0]), model([1.0, 2.0])], [1, -1])
>>> loss.backward()
>>> round(loss.data, 4)
0.8331

Read module.py (what every network can do), perceptron.py (the networks), losses.py, modelfile.py (how weights lie in a
file). Optimisers are in `chainrule.optim`, which takes `model.parameters()` and knows nothing of this package.
Imports the core only.
"""

from chainrule.nn.losses import binary_cross_entropy, cross_entropy, l2, log_softmax, max_margin, mse, nll, softmax
from chainrule.nn.module import KeyMismatch, Module
from chainrule.nn.perceptron import MLP, Layer, Neuron

__all__ = [
    "MLP",
    "KeyMismatch",
    "Layer",
    "Module",
    "Neuron",
    "binary_cross_entropy",
    "cross_entropy",
    "l2",
    "log_softmax",
    "max_margin",
    "mse",
    "nll",
    "softmax",
]
