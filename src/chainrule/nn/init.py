"""How weights start: PyTorch's `nn.init` on tensors, and the generator that random layers draw from.

>>> w = Tensor(np.zeros((200, 30)), requires_grad=True)
>>> round(float(kaiming_normal_(w, nonlinearity="tanh", generator=42).data.std()), 2)  # drawn around 5/3 / sqrt(30) = 0.304
0.31

Every function changes its tensor and returns it. It draws from `generator`: a NumPy generator, a seed, or None for the one
that all of chainrule.nn shares. That one starts from seed 0, so a program gives the same numbers at every run; `manual_seed`
starts it anew. Weights have shape (out, in, ...), as in PyTorch. Left out on purpose: sparse and orthogonal starts.
"""

import math
from typing import Any, TypeVar

import numpy as np

from chainrule.errors import InputError, did_you_mean
from chainrule.tensor import Tensor, owned

__all__ = [
    "calculate_gain",
    "constant_",
    "default_generator",
    "generator_of",
    "kaiming_normal_",
    "kaiming_uniform_",
    "manual_seed",
    "normal_",
    "ones_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

GeneratorLike = np.random.Generator | int | None
"""What random functions take as `generator`."""

T = TypeVar("T", bound=Tensor)

_default = np.random.default_rng(0)


def manual_seed(seed: int) -> np.random.Generator:
    """Start the generator that layers, initialisations and dropout share from a seed, and return it.

    >>> manual_seed(1) is default_generator()
    True
    """
    _default.bit_generator.state = generator_of(seed).bit_generator.state
    return _default


def default_generator() -> np.random.Generator:
    """The shared generator; a checkpoint keeps its `.bit_generator.state`."""
    return _default


def generator_of(generator: GeneratorLike) -> np.random.Generator:
    """A NumPy generator as it is, a fresh one for a seed, the shared one for None; InputError for anything else."""
    if generator is None:
        return _default
    if isinstance(generator, np.random.Generator):
        return generator
    if isinstance(generator, (int, np.integer)) and generator >= 0:
        return np.random.default_rng(int(generator))
    raise InputError(f"generator must be a numpy.random.Generator, a seed of at least 0 or None, not {generator!r}")


# ---- plain starts ----------------------------------------------------------------------------------------------------


def normal_(tensor: T, mean: float = 0.0, std: float = 1.0, *, generator: GeneratorLike = None) -> T:
    """Numbers from the normal distribution.

    >>> normal_(Tensor([0.0, 0.0]), generator=0).data.round(4)
    array([ 0.1257, -0.1321])
    """
    return _fill(tensor, generator_of(generator).normal(mean, std, tensor.shape))


def uniform_(tensor: T, a: float = 0.0, b: float = 1.0, *, generator: GeneratorLike = None) -> T:
    """Numbers from [a, b), all alike.

    >>> uniform_(Tensor([0.0]), generator=0).data.round(4)
    array([0.637])
    """
    return _fill(tensor, generator_of(generator).uniform(a, b, tensor.shape))


def constant_(tensor: T, val: float) -> T:
    """One number everywhere.

    >>> constant_(Tensor([0.0, 0.0]), 0.5).tolist()
    [0.5, 0.5]
    """
    return _fill(tensor, np.full(tensor.shape, val))


def zeros_(tensor: T) -> T:
    """Zeros.

    >>> zeros_(Tensor([1.0])).tolist()
    [0.0]
    """
    return constant_(tensor, 0.0)


def ones_(tensor: T) -> T:
    """Ones.

    >>> ones_(Tensor([0.0])).tolist()
    [1.0]
    """
    return constant_(tensor, 1.0)


# ---- starts that keep the variance -----------------------------------------------------------------------------------

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By what weights must grow to make up for a nonlinearity that contracts.

    nonlinearity: "linear", "sigmoid", "tanh", "relu", "leaky_relu" or "selu". param: the slope of leaky_relu below 0
    (default 0.01). Raises InputError for another name.

    >>> calculate_gain("tanh")
    1.6666666666666667
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        known = [*_GAINS, "leaky_relu"]
        raise InputError(f"there is no gain for {nonlinearity!r}, only for {', '.join(known)}{did_you_mean(nonlinearity, known)}")
    return _GAINS[nonlinearity]


def kaiming_normal_(
    tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", *, generator: GeneratorLike = None
) -> T:
    """Normal numbers of standard deviation gain / sqrt(fan) (He et al. 2015).

    a: the slope of leaky_relu below 0 (default 0, which is relu). mode: "fan_in" keeps the variance forward, "fan_out"
    backward.

    >>> kaiming_normal_(Tensor([[0.0, 0.0]]), generator=0).data.round(4)
    array([[ 0.1257, -0.1321]])
    """
    return normal_(tensor, 0.0, _kaiming(tensor, a, mode, nonlinearity), generator=generator)


def kaiming_uniform_(
    tensor: T, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", *, generator: GeneratorLike = None
) -> T:
    """Uniform numbers of standard deviation gain / sqrt(fan); the arguments are those of `kaiming_normal_`.

    >>> float(abs(kaiming_uniform_(Tensor([[0.0, 0.0]]), generator=0).data).max()) <= 3**0.5
    True
    """
    bound = math.sqrt(3.0) * _kaiming(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator=generator)


def xavier_normal_(tensor: T, gain: float = 1.0, *, generator: GeneratorLike = None) -> T:
    """Normal numbers of standard deviation gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010).

    >>> xavier_normal_(Tensor([[0.0]]), generator=0).data.round(4)
    array([[0.1257]])
    """
    return normal_(tensor, 0.0, _xavier(tensor, gain), generator=generator)


def xavier_uniform_(tensor: T, gain: float = 1.0, *, generator: GeneratorLike = None) -> T:
    """Uniform numbers of standard deviation gain * sqrt(2 / (fan_in + fan_out)).

    >>> float(abs(xavier_uniform_(Tensor([[0.0]]), generator=0).data).max()) <= 3**0.5
    True
    """
    bound = math.sqrt(3.0) * _xavier(tensor, gain)
    return uniform_(tensor, -bound, bound, generator=generator)


def _kaiming(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise InputError(f"mode must be 'fan_in' or 'fan_out', not {mode!r}")
    fan = _fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def _xavier(tensor: Tensor, gain: float) -> float:
    fans = sum(_fans(tensor))
    return gain * math.sqrt(2.0 / fans) if fans else 0.0


def _fans(tensor: Tensor) -> tuple[int, int]:
    """How many inputs an output has, and how many outputs an input has."""
    if tensor.ndim < 2:
        raise InputError(f"fans are defined for weights of shape (out, in, ...), not for shape {tensor.shape}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _fill(tensor: T, x: Any) -> T:
    tensor.data = owned(x)
    return tensor
