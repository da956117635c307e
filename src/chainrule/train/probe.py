"""Looking into a net without touching it: `Probe`, and `TableProbe` for runs on tables.

A probe has a net of its own, of tensors in any case, and puts into it the numbers that the trained one had at some step. So
what a probe does changes nothing of a run, and a net of scalars is looked into at the speed of arrays. It looks at `ROWS` of the
training samples, and for two features at a grid around them.

An activation is **saturated** when |tanh| exceeds SATURATED (of a sigmoid, |2y - 1|): its gradient is below 6 % of the largest. A
unit is **dead** when no sample moves it: a ReLU that never fires, a tanh that is saturated on every row.

Imports data, nn, engine, and model, pictures beside it.
"""

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule import nn
from chainrule.data import Dataset
from chainrule.engine import no_grad
from chainrule.train.model import Model, decisions, make_tensor_net
from chainrule.train.pictures import spread

Array = npt.NDArray[Any]

BINS = 40
SATURATED = 0.97
ROWS, SIDE = 128, 32  # samples, and points along an edge of the grid, that are looked at; of large nets fewer
LEAST_ROWS, LEAST_SIDE = 32, 20
PRODUCTS = 2e7  # multiplications that a look may take, about
POINTS = 500  # of the data, in pictures
JUDGED = 10_000  # rows of the confusion matrix

MODULES = {nn.Linear: "layer", nn.Embedding: "embedding", nn.BatchNorm1d: "norm"}
ACTIVATIONS = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}


class Cost(NamedTuple):
    """Microseconds, about, on a machine of 2024: of a step of the run, and of all that is done once before the first."""

    step: float
    start: float = 0.0


class Probe:
    """A net to look into.

    net: a Sequential of the architecture of the trained one, with any numbers.
    samples: what it is shown. rows: how many rows a look takes, those of a grid included.
    order: of a net of scalars, where the numbers of each group are in the list of its parameters, one group after the other.
    """

    spells = False
    """Whether `words` has any."""

    def __init__(self, net: Any, samples: Any, order: Array | None = None) -> None:
        self.net, self.samples, self.order = net.eval(), samples, order
        self.parameters = [(name, p.shape) for name, p in named(net)]
        self.targets = [p for _, p in named(net)]
        self.sizes = np.array([p.size for p in self.targets])
        self.begins = np.cumsum([0, *self.sizes[:-1]])
        self.layers = _layers(net)
        self.cost = Cost(1000.0)
        self.rows = len(samples)
        self.piece = _piece(net)

    def flat(self, numbers: list[Any]) -> Array:
        """What a net has in its parameters, data or gradients, as one float64 array, group after group."""
        if self.order is not None:
            return np.array(numbers, np.float64)[self.order]
        pairs = zip(numbers, self.parameters, strict=True)
        return np.concatenate([np.broadcast_to(x, shape).ravel() for x, (_, shape) in pairs], dtype=np.float64)

    def load(self, flat: Array) -> None:
        """Have these numbers from now on."""
        for p, begin in zip(self.targets, self.begins, strict=True):
            p.data = flat[begin : begin + p.size].reshape(p.shape)

    def through(self, x: Any) -> list[Array]:
        """What each layer says about these rows, after its activation function: shape (rows, units)."""
        pieces = []
        with no_grad():
            for begin in range(0, len(x), self.piece):
                y, found = x[begin : begin + self.piece], []
                for module in self.net:
                    y = module(y)
                    if isinstance(module, nn.Linear):
                        found.append(y.data)
                    elif found:
                        found[-1] = y.data
                pieces.append(found)
        return [np.concatenate(layer) for layer in zip(*pieces, strict=True)]

    def activations(self) -> list[Array]:
        """The same of the samples."""
        return self.through(self.samples)

    def field(self) -> Array:
        """What the net says about the points of a grid; see recording.py."""
        return np.zeros((0, 0, 0), np.float32)

    def confusion(self) -> Array:
        """How often each class is taken for each, as far as there are classes."""
        return np.zeros((0, 0), np.int64)

    def words(self) -> list[str]:
        """What the net spells, if it does."""
        return []

    def facts(self) -> dict[str, Any]:
        """What there is to say of the data and the net, for `Recording.facts`."""
        return {"parameters": [[name, list(shape)] for name, shape in self.parameters], "layers": self.layers}

    def arrays(self) -> dict[str, Array]:
        """The axes of the grid, and points of the data."""
        return {"axes": np.zeros((2, 0)), "training": np.zeros((0, 3)), "held_out": np.zeros((0, 3))}


def named(net: Any) -> list[tuple[str, Any]]:
    """The parameters of a Sequential, with names such as "layer 2 weight".

    >>> [name for name, _ in named(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))]
    ['layer 1 weight', 'layer 1 bias', 'layer 2 weight', 'layer 2 bias']
    """
    found, counts = [], dict.fromkeys(MODULES.values(), 0)
    for module in net:
        kind = MODULES.get(type(module))
        if kind is not None:
            counts[kind] += 1
            number = f" {counts[kind]}" if kind == "layer" else ""
            found += [(f"{kind}{number} {name}", p) for name, p in module.named_parameters()]
    return found


def _layers(net: Any) -> list[list[str]]:
    """The name and the activation function of each layer."""
    found: list[list[str]] = []
    for module in net:
        if isinstance(module, nn.Linear):
            found.append([f"layer {len(found) + 1}", "linear"])
        elif found and type(module) in ACTIVATIONS:
            found[-1][1] = ACTIVATIONS[type(module)]
    return found


def _piece(net: Any) -> int:
    """How many rows go through the net together: so few that OpenBLAS takes no second thread for a product with them. On a busy
    machine it would wait for that a hundred times longer than the product takes. Large nets are trained by threads, too."""
    shapes = [(module.in_features, module.out_features) for module in net if isinstance(module, nn.Linear)]
    rows = min(min(250_000 // (n * m), 9_000 // n) for n, m in shapes)
    return rows if rows >= 8 else ROWS


def counted(x: Array, activation: str) -> tuple[Array, tuple[float, float]]:
    """How many of the activations of a layer fall into each of BINS bins, and from where to where these go.

    >>> counts, bounds = counted(np.array([[-1.0, 0.0, 1.0]]), "tanh")
    >>> counts.sum(), counts[[0, BINS // 2, -1]].tolist(), bounds
    (np.int64(3), [1, 1, 1], (-1.0, 1.0))
    """
    if not np.isfinite(x).all():
        return np.zeros(BINS, np.int64), (math.nan, math.nan)
    low, high = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0)}.get(activation) or (float(x.min()), float(x.max()))
    places = ((x - low) * (BINS / ((high - low) or 1.0))).astype(np.int64)
    return np.bincount(np.minimum(places.ravel(), BINS - 1), minlength=BINS), (low, high)


def shares(x: Array, activation: str) -> tuple[float, float]:
    """The share of a layer's activations that are saturated, and that of its units that are dead; NaN for what cannot be.

    x: shape (rows, units).

    >>> shares(np.array([[0.99, 0.2], [-1.0, 0.98]]), "tanh")
    (0.75, 0.5)
    >>> shares(np.array([[0.0, 2.0], [0.0, 0.0]]), "relu")
    (nan, 0.5)
    """
    if activation == "relu":
        return math.nan, float((x <= 0).all(axis=0).mean())
    if activation not in ("tanh", "sigmoid"):
        return math.nan, math.nan
    extreme = np.abs(x if activation == "tanh" else 2 * x - 1) > SATURATED
    return float(extreme.mean()), float(extreme.all(axis=0).mean())


class TableProbe(Probe):
    """The probe of a run on a table; trainer: what is trained."""

    def __init__(self, trainer: Any) -> None:
        model: Model = trainer.model
        self.model, self.train, self.test = model, trainer.train, trainer.test
        scalar = model.kind == "scalar"
        dtype = np.float64 if scalar else np.float32
        architecture = model.sizes, model.activation, model.output_activation
        net = make_tensor_net(*architecture, dtype=dtype) if scalar else copy.deepcopy(model.net)
        size = sum(p.size for p in net.parameters())
        rows = some(len(self.train), min(ROWS, max(LEAST_ROWS, int(PRODUCTS / size))))
        samples = self._prepared(self.train, rows, dtype) if scalar else trainer.samples[rows]
        super().__init__(net, samples, _order(model.sizes) if scalar else None)
        self.axes: list[Array] = []
        if len(model.columns) == 2:
            finest = SIDE if model.sizes[-1] <= 4 else LEAST_SIDE  # each output is kept
            side = min(finest, max(LEAST_SIDE, math.isqrt(int(PRODUCTS / size))))
            self.axes = [np.array(spread(column, side)) for column in zip(*self.train.X, strict=True)]
            self.grid = self._standardised(np.stack(np.meshgrid(*self.axes), axis=-1).reshape(-1, 2), dtype)
            self.rows += len(self.grid)
        judged = self.train if self.test is None else self.test
        chosen = some(len(judged), min(JUDGED, max(100, int(PRODUCTS / size))))
        self.judged = self._prepared(judged, chosen, dtype)
        self.truth = np.array([judged.y[i] for i in chosen])
        self.cost = _cost(trainer, size)
        self.batches = (trainer.config.batch_size or len(self.train)) < len(self.train)

    def _prepared(self, part: Dataset, rows: list[int], dtype: Any) -> Array:
        return self._standardised(np.array([part.X[i] for i in rows]), dtype)

    def _standardised(self, x: Array, dtype: Any) -> Array:
        inputs = self.model.inputs
        return ((x - inputs.mean) / inputs.scale).astype(dtype)

    def field(self) -> Array:
        """The outputs at each point of the grid; of a regression in the target's unit."""
        if not self.axes:
            return super().field()
        scores = self.through(self.grid)[-1].astype(np.float64)
        if self.model.classes is None:
            scores = np.array(self.model.outputs.inverse(scores.tolist()))
        most = np.finfo(np.float32).max
        # Laid out as a file gives it back: products of arrays laid out otherwise differ in their last digits.
        field = np.ascontiguousarray(np.clip(scores.T, -most, most), np.float32)
        return field.reshape(-1, len(self.axes[1]), len(self.axes[0]))

    def confusion(self) -> Array:
        """Of the held-out part, or where there is none of the training part; JUDGED rows of it at most."""
        if self.model.classes is None:
            return super().confusion()
        count = len(self.model.classes)
        taken = decisions(self.through(self.judged)[-1]).astype(np.int64)
        return np.bincount(count * self.truth.astype(np.int64) + taken, minlength=count**2).reshape(count, count)

    def facts(self) -> dict[str, Any]:
        """The names that the data have."""
        model = self.model
        judged, rows = ("training", len(self.train)) if self.test is None else ("held-out", len(self.test))
        return super().facts() | {
            "data": model.data,
            "batches": self.batches,
            "measure": "rmse" if model.classes is None else "accuracy",
            "columns": list(model.columns),
            "target": model.target,
            "classes": None if model.classes is None else list(model.classes),
            "judged": [judged, len(self.truth), rows],
        }

    def arrays(self) -> dict[str, Array]:
        """The grid, and POINTS of each part of the data, where there are two features."""
        if not self.axes:
            return super().arrays()
        return {"axes": np.stack(self.axes), "training": _points(self.train), "held_out": _points(self.test)}


def _order(sizes: Sequence[int]) -> Array:
    """Where the numbers of each matrix and vector are among the parameters of an MLP of scalars: neuron by neuron, bias last.

    >>> _order((2, 2, 1)).tolist()
    [0, 1, 3, 4, 2, 5, 6, 7, 8]
    """
    places, begin = [], 0
    for n, m in itertools.pairwise(sizes):
        neurons = begin + np.arange(m * (n + 1)).reshape(m, n + 1)
        places += [neurons[:, :n].ravel(), neurons[:, n]]
        begin += neurons.size
    return np.concatenate(places)


def some(count: int, most: int) -> list[int]:
    """At most so many of `count` numbers, evenly from first to last.

    >>> some(3, 5), some(9, 3)
    ([0, 1, 2], [0, 4, 8])
    """
    return list(range(count)) if count <= most else [round(i * (count - 1) / (most - 1)) for i in range(most)]


def _points(part: Dataset | None) -> Array:
    if part is None:
        return np.zeros((0, 3))
    return np.array([[*part.X[i], part.y[i]] for i in some(len(part), POINTS)], np.float64)


def _cost(trainer: Any, size: int) -> Cost:
    """What steps cost, measured for nets of scalars of 41 and 337 parameters, and of tensors of 337 to 12,297."""
    products = size * min(trainer.config.batch_size or trainer.train_size, trainer.train_size)
    if trainer.model.kind == "tensor":
        return tensor_cost(products, trainer.config.compile)
    plain = 50.0 + 0.2 * products
    return Cost(30.0, 100 * plain) if trainer.config.compile else Cost(plain)


def tensor_cost(products: int, compiled: bool) -> Cost:
    """The same of a net of tensors; products: parameters times samples of a step."""
    return Cost(30.0 + 2e-4 * products, 2e4) if compiled else Cost(300.0 + 4e-4 * products)
