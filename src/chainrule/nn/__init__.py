"""Networks of scalars and of tensors: `Module`, perceptrons, layers, and the losses that train them.

Of scalars, with the names of micrograd:

>>> import random
>>> random.seed(1337)
>>> model = MLP(2, [16, 16, 1])
>>> len(model.parameters())
337
>>> loss = max_margin([model([0.5, -1.0]), model([1.0, 2.0])], [1, -1])
>>> loss.backward()
>>> round(loss.data, 4)
0.8331

Of tensors, with the names of PyTorch; their losses are in `chainrule.nn.functional`:

>>> net = Sequential(Linear(2, 8, generator=0), Tanh(), Linear(8, 1, generator=1))
>>> net([[0.5, -1.0], [1.0, 2.0]]).shape
(2, 1)

Read module.py (what every network can do), perceptron.py and losses.py (scalars), layers.py, functional.py and init.py
(tensors), modelfile.py (how weights lie in a file). Optimisers are in `chainrule.optim`, which takes `model.parameters()`
and knows nothing of this package. Imports the core only.
"""

from chainrule.nn import functional, init
from chainrule.nn.init import manual_seed
from chainrule.nn.layers import (
    BatchNorm1d,
    Dropout,
    Embedding,
    Flatten,
    LayerNorm,
    Linear,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
    calibrate,
)
from chainrule.nn.losses import binary_cross_entropy, cross_entropy, l2, log_softmax, max_margin, mse, nll, softmax
from chainrule.nn.module import KeyMismatch, Module
from chainrule.nn.perceptron import MLP, Layer, Neuron
from chainrule.nn.summary import ModelSummary, summary

__all__ = [
    "MLP",
    "BatchNorm1d",
    "Dropout",
    "Embedding",
    "Flatten",
    "KeyMismatch",
    "Layer",
    "LayerNorm",
    "Linear",
    "ModelSummary",
    "Module",
    "Neuron",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "binary_cross_entropy",
    "calibrate",
    "cross_entropy",
    "functional",
    "init",
    "l2",
    "log_softmax",
    "manual_seed",
    "max_margin",
    "mse",
    "nll",
    "softmax",
    "summary",
]
