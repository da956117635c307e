"""Neurons that are sums of scalars: `Neuron`, `Layer`, `MLP`, with the names, the weights and the graphs of micrograd.

>>> import random
>>> random.seed(1337)
>>> model = MLP(3, [4, 4, 1], activation="tanh", output_activation="tanh")
>>> len(model.parameters())
41
>>> round(model([2.0, 3.0, -1.0]).data, 4)
0.2769

Weights are drawn from Python's `random`, uniformly from (-1, 1), neuron by neuron; biases start at 0. So
`random.seed(n)` gives the net that the same line gives with micrograd, and the same program trains it to the same losses.

Left out on purpose: other initialisations (assign to `w[i].data`) and layers of tensors. Imports engine and errors.
"""

import operator
import random
from collections.abc import Sequence
from typing import Any

from chainrule.engine import Node, Value, as_number
from chainrule.errors import InputError, NotANumberError, did_you_mean
from chainrule.nn.module import Module

_NAMES = {"relu": "ReLU", "tanh": "Tanh", "sigmoid": "Sigmoid", "linear": "Linear"}  # as repr shows them

ACTIVATIONS = tuple(_NAMES)
"""The functions that a neuron may apply to its sum; "linear" applies none."""


class Neuron(Module):
    """The activation of w[0] * x[0] + w[1] * x[1] + ... + b.

    nin: how many inputs, at least 1.
    nonlin: False leaves the sum as it is (default True).
    activation: "relu" (default), "tanh", "sigmoid" or "linear"; "linear" is the same as nonlin=False.

    Called with a list of `nin` Values or numbers (with one input also with just that), it returns a Value.
    Raises InputError for another number of inputs or an unknown activation, NotANumberError for an input that is neither.

    >>> neuron = Neuron(2, activation="tanh")
    >>> neuron.w[0].data, neuron.w[1].data, neuron.b.data = -3.0, 1.0, 6.8813735870195432
    >>> round(neuron([2.0, 0.0]).data, 4)
    0.7071
    >>> neuron
    TanhNeuron(2)
    """

    def __init__(self, nin: int, nonlin: bool = True, activation: str = "relu") -> None:
        _check_size("nin", nin)
        _check_activation("activation", activation)
        self.w: list[Any] = [Value(random.uniform(-1, 1)) for _ in range(nin)]
        self.b: Any = Value(0)
        self.nonlin = bool(nonlin) and activation != "linear"
        self.activation = activation

    def __call__(self, x: Sequence[Any]) -> Any:
        """The output for one sample."""
        # This is the innermost line of a training step, hence no generator, no named steps and no call that can be spared:
        # measured, map with operator.mul takes 30 % less than sum(wi * xi for ...), and the length costs 30 ns.
        w = self.w
        try:
            if len(x) != len(w):
                raise InputError(f"{self!r} takes {_count(len(w), 'input')}, not {len(x)}")
        except TypeError:
            return self(_as_list(x))
        try:
            total = sum(map(operator.mul, w, x), self.b)
            if not self.nonlin:
                return total
            return total.relu() if self.activation == "relu" else getattr(total, self.activation)()
        except (TypeError, AttributeError):
            _expect_numbers(self, x)
            raise

    def __repr__(self) -> str:
        return f"{_NAMES[self.activation] if self.nonlin else 'Linear'}Neuron({len(self.w)})"


class Layer(Module):
    """Several neurons that read the same inputs.

    nin, nout: how many inputs and neurons. The other arguments are those of Neuron.

    Called with a list of inputs, it returns the list of outputs; of a single neuron, its output itself.

    >>> Layer(2, 3, nonlin=False)
    Layer of [LinearNeuron(2), LinearNeuron(2), LinearNeuron(2)]
    """

    def __init__(self, nin: int, nout: int, **kwargs: Any) -> None:
        _check_size("nout", nout)
        self.neurons = [Neuron(nin, **kwargs) for _ in range(nout)]

    def __call__(self, x: Sequence[Any]) -> Any:
        """The outputs for one sample."""
        if not hasattr(x, "__len__"):  # an iterator would be used up by the first neuron
            x = _as_list(x)
        outputs = [neuron(x) for neuron in self.neurons]
        return outputs[0] if len(outputs) == 1 else outputs

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(map(str, self.neurons))}]"


class MLP(Module):
    """A multi-layer perceptron: each layer reads the outputs of the one before.

    nin: how many inputs.
    nouts: how many neurons each layer has; the last is the number of outputs.
    activation: of all layers but the last (default "relu").
    output_activation: of the last layer (default "linear").

    Called with a list of inputs, it returns the list of outputs; of a single output, the Value itself.

    >>> MLP(3, [2, 1], activation="tanh")
    MLP of [Layer of [TanhNeuron(3), TanhNeuron(3)], Layer of [LinearNeuron(2)]]
    """

    def __init__(self, nin: int, nouts: Sequence[int], activation: str = "relu", output_activation: str = "linear") -> None:
        if not isinstance(nouts, Sequence) or isinstance(nouts, str) or not nouts:
            raise InputError(f"nouts is the list of the layers' sizes, as in MLP(2, [16, 16, 1]), not {nouts!r}")
        _check_activation("activation", activation)
        _check_activation("output_activation", output_activation)
        activations = [activation] * (len(nouts) - 1) + [output_activation]
        sizes = [nin, *nouts]
        self.layers = [
            Layer(sizes[i], sizes[i + 1], nonlin=activations[i] != "linear", activation=activations[i]) for i in range(len(nouts))
        ]

    def __call__(self, x: Any) -> Any:
        """The outputs for one sample."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(map(str, self.layers))}]"


def _as_list(x: Any) -> list[Any]:
    """Inputs that have no length: one number stands for a list of one, and an iterator is read."""
    try:
        return [x] if isinstance(x, Node) else list(x)
    except TypeError:
        if hasattr(x, "__float__"):
            return [x]
        raise InputError(f"the inputs of a neuron are a list of numbers or Values, not {type(x).__name__}") from None


def _expect_numbers(neuron: Neuron, x: Any) -> None:
    """Raise NotANumberError for the first input that is neither a Value nor a number."""
    for i, number in enumerate(x):
        try:
            if not isinstance(number, Node):
                as_number(number)
        except NotANumberError as error:
            raise NotANumberError(f"input {i} of {neuron!r}: {error}") from None


def _check_size(name: str, size: Any) -> None:
    try:
        fits = operator.index(size) >= 1
    except TypeError:
        fits = False
    if not fits:
        raise InputError(f"{name} must be a whole number of at least 1, not {size!r}")


def _check_activation(name: str, activation: Any) -> None:
    if activation in ACTIVATIONS:
        return
    hint = did_you_mean(activation, ACTIVATIONS)
    raise InputError(f"{name} must be one of {', '.join(ACTIVATIONS)}, not {activation!r}{hint}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
