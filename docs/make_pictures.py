"""Writes the pictures of README and docs: `python docs/make_pictures.py`.

neuron: the neuron of lesson 5 after its backward pass. It needs mini-racer; the .dot text beside it does not, and a test
compares that with `drawing()`. dlogits, rbm, two_towers: what the lessons of examples/by_hand draw. They need matplotlib
and scikit-learn, and are drawn by `by_hand()`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chainrule import Value
from chainrule.show import Dot, draw_dot

PICTURE = Path(__file__).with_name("pictures") / "neuron.svg"
LESSONS = Path(__file__).parents[1] / "examples" / "by_hand"


def drawing() -> Dot:
    """The two-input neuron tanh(x1*w1 + x2*w2 + b) with its gradients."""
    x1, x2 = Value(2.0, label="x1"), Value(0.0, label="x2")
    w1, w2 = Value(-3.0, label="w1"), Value(1.0, label="w2")
    o = (x1 * w1 + x2 * w2 + Value(6.8813735870195432, label="b")).tanh()
    o.label = "o"
    o.backward()
    return draw_dot(o)


def by_hand() -> Iterator[tuple[str, Any]]:
    """The names of files, and the figures that the lessons draw for them."""
    import numpy as np

    sys.path.insert(0, str(LESSONS))
    try:
        import network
        import rbm
        import step2_cross_entropy as step2
        import two_towers
    finally:
        sys.path.remove(str(LESSONS))

    made_up = network.MADE_UP.split()  # so that the picture does not depend on a list of names being there
    p, X, Y = network.batch(chosen=made_up)
    dlogits = step2.cross_entropy_gradient(network.forward(p, X, Y).logits, Y)
    yield "dlogits", step2.picture(dlogits, X, Y, network.examples(made_up)[2])
    rng = np.random.default_rng(0)
    before, trained, V, labels, _ = rbm.learn_digits(rng)
    yield "rbm", rbm.picture(before, trained, V, labels, rng)
    before, trained, _, held_out = two_towers.learn_scenes(np.random.default_rng(0))
    yield "two_towers", two_towers.picture(*(two_towers.forward(each, held_out) for each in (before, trained)), held_out)


if __name__ == "__main__":
    for name, figure in by_hand():
        figure.savefig(PICTURE.with_name(f"{name}.png"), dpi=130, metadata={"Software": None})
    drawing().save(PICTURE.with_suffix(".dot"))
    drawing().render(PICTURE)
