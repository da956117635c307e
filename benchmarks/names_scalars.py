"""The names network in scalars: the loops that a compiler has to see through, some 800,000 operations a step.

It is the network of examples/by_hand/network.py, atom for atom: three letters as vectors of ten numbers, two hundred hidden
neurons with BatchNorm and tanh, scores for 27 letters, cross-entropy over a batch of 32. `network(parameters)` gives the loss
function, to be called with rows of letters and labels: plain whole numbers, or what `chainrule.compile` puts in their place.
"""

from collections.abc import Callable, Sequence
from typing import Any

from chainrule import Value, take

EPS = 1e-5
SHAPES = ("C", "W1", "b1", "W2", "b2", "bngain", "bnbias")
"""The names of the parameters, in the order in which `values` lists them."""


def values(arrays: dict[str, Any]) -> dict[str, list[Any]]:
    """Parameters as lists of Values, from the arrays of examples/by_hand/network.py; gain and bias of one axis only."""

    def nested(x: Any) -> Any:
        return [nested(each) for each in x] if isinstance(x, list) else Value(x)

    flat = {name: array[0] if name in ("bngain", "bnbias") else array for name, array in arrays.items()}
    return {name: nested(flat[name].tolist()) for name in SHAPES}


def parameters(p: dict[str, list[Any]]) -> list[Any]:
    """Every Value of `values`, array after array, each in C order."""
    return [w for name in SHAPES for row in p[name] for w in (row if isinstance(row, list) else [row])]


def network(p: dict[str, list[Any]]) -> Callable[[Sequence[Any], Sequence[Any]], Any]:
    """The loss of a batch: X of shape (n, 3), Y of shape (n,), both of whole numbers."""
    into_hidden, into_scores = list(zip(*p["W1"], strict=True)), list(zip(*p["W2"], strict=True))

    def loss(X: Sequence[Any], Y: Sequence[Any]) -> Any:
        n = len(X)
        inputs = [[x for letter in row for x in take(p["C"], letter)] for row in X]
        before = [layer(into_hidden, p["b1"], row) for row in inputs]
        columns = [norm(column, g, b) for column, g, b in zip(zip(*before, strict=True), p["bngain"], p["bnbias"], strict=True)]
        hidden = [[a.tanh() for a in row] for row in zip(*columns, strict=True)]
        losses = [surprise(layer(into_scores, p["b2"], row), y) for row, y in zip(hidden, Y, strict=True)]
        return sum(losses) / n

    return loss


def layer(weights: Sequence[Sequence[Any]], biases: Sequence[Any], xs: Sequence[Any]) -> list[Any]:
    """One sum of products and a bias for each neuron."""
    return [sum(w * x for w, x in zip(row, xs, strict=True)) + b for row, b in zip(weights, biases, strict=True)]


def norm(xs: Sequence[Any], gain: Any, bias: Any) -> list[Any]:
    """BatchNorm of one neuron over the batch."""
    n = len(xs)
    mean = sum(xs) / n
    away = [x - mean for x in xs]
    scale = (sum(d * d for d in away) / (n - 1) + EPS) ** -0.5
    return [gain * (d * scale) + bias for d in away]


def surprise(scores: Sequence[Any], label: Any) -> Any:
    """Cross-entropy: minus the log of the share of the right letter."""
    largest = max(s.data for s in scores)
    counts = [(s - largest).exp() for s in scores]
    total = sum(counts)
    return -(take(counts, label) / total).log()
