"""Lesson 9: the neuron of lesson 5 in PyTorch.

PyTorch works on tensors, arrays of numbers; a tensor that holds a single number is a Value by another name. The names
are the same too: `data`, `grad`, `backward()`, `requires_grad`.

Run me: python examples/09_neuron_in_pytorch.py
"""

import sys

from chainrule import Value

try:
    import torch
except ImportError:
    sys.exit("This lesson compares with PyTorch, which is not installed; install it with: pip install torch")

NUMBERS = {"x1": 2.0, "x2": 0.0, "w1": -3.0, "w2": 1.0, "b": 6.8813735870195432}


def neuron(x1, x2, w1, w2, b):
    """One neuron; it runs on whatever kind of number it is given."""
    return (x1 * w1 + x2 * w2 + b).tanh()


# In chainrule.
ours = {name: Value(number) for name, number in NUMBERS.items()}
o = neuron(**ours)
o.backward()
print(f"chainrule: output {o.data:.4f}, slopes", *[f"{name} {x.grad:.4f}" for name, x in ours.items()])

# In PyTorch. Leaves need no gradient unless asked, and numbers have 32 bits unless asked: double() gives the 64 bits
# that Python's floats, and so Values, have.
theirs = {name: torch.tensor(number).double() for name, number in NUMBERS.items()}
for x in theirs.values():
    x.requires_grad = True
o = neuron(**theirs)
o.backward()
print(f"PyTorch:   output {o.item():.4f}, slopes", *[f"{name} {x.grad.item():.4f}" for name, x in theirs.items()])
