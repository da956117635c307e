"""Writes the picture of README: `python docs/make_pictures.py`. It needs Graphviz; the .dot text beside it does not.

The graph is the neuron of lesson 5 after its backward pass. A test compares the committed .dot text with `drawing()`.
"""

from pathlib import Path

from chainrule import Value
from chainrule.show import Dot, draw_dot

PICTURE = Path(__file__).with_name("pictures") / "neuron.svg"


def drawing() -> Dot:
    """The two-input neuron tanh(x1*w1 + x2*w2 + b) with its gradients."""
    x1, x2 = Value(2.0, label="x1"), Value(0.0, label="x2")
    w1, w2 = Value(-3.0, label="w1"), Value(1.0, label="w2")
    o = (x1 * w1 + x2 * w2 + Value(6.8813735870195432, label="b")).tanh()
    o.label = "o"
    o.backward()
    return draw_dot(o)


if __name__ == "__main__":
    drawing().save(PICTURE.with_suffix(".dot"))
    drawing().render(PICTURE)
