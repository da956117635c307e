"""Layers of tensors under PyTorch's names, and the calibration of BatchNorm.

>>> import numpy as np
>>> model = Sequential(Embedding(27, 10), Flatten(), Linear(30, 200), BatchNorm1d(200), Tanh(), Linear(200, 27))
>>> model(np.zeros((32, 3), int)).shape
(32, 27)
>>> sum(p.size for p in model.parameters())
12297
>>> [name for name, _ in model.named_parameters()]
['0.weight', '2.weight', '2.bias', '3.weight', '3.bias', '5.weight', '5.bias']

Weights are float32 unless `dtype` says otherwise, of PyTorch's shapes, and start as PyTorch's do; `generator` is a NumPy
generator, a seed, or None for the one that `nn.manual_seed` starts. What a layer computes is in functional.py. `train()`
and `eval()` switch Dropout and BatchNorm. Left out on purpose: convolutions, recurrent layers, hooks. Imports the
core, module, functional and init.
"""

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from chainrule.engine import no_grad
from chainrule.errors import InputError
from chainrule.nn import functional, init
from chainrule.nn.init import GeneratorLike
from chainrule.nn.module import Module
from chainrule.tensor import Tensor, replace

__all__ = [
    "BatchNorm1d",
    "Dropout",
    "Embedding",
    "Flatten",
    "LayerNorm",
    "Linear",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "calibrate",
]


class Linear(Module):
    """x @ weight.T + bias, over the last axis of x.

    in_features, out_features: the lengths of the last axis before and after.
    bias: False leaves it out (default True).

    `weight` has shape (out_features, in_features), as in PyTorch; it and `bias` start uniformly in
    +-1 / sqrt(in_features).

    >>> Linear(2, 3)([[1.0, 2.0]]).shape
    (1, 3)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, dtype: Any = "float32", generator: GeneratorLike = None
    ) -> None:
        self.in_features, self.out_features = _length("in_features", in_features), _length("out_features", out_features)
        rng, bound = init.generator_of(generator), 1.0 / math.sqrt(self.in_features)
        self.weight = init.uniform_(_parameter((out_features, in_features), dtype), -bound, bound, generator=rng)
        self.bias = init.uniform_(_parameter((out_features,), dtype), -bound, bound, generator=rng) if bias else None

    def forward(self, x: Any) -> Tensor:
        """Shape (..., in_features) to (..., out_features)."""
        return functional.linear(x, self.weight, self.bias)

    def __repr__(self) -> str:
        return f"Linear({self.in_features}, {self.out_features}{', bias=False' if self.bias is None else ''})"


class Embedding(Module):
    """A row of numbers for each index, drawn from the normal distribution.

    num_embeddings: how many rows. embedding_dim: their length.

    >>> Embedding(27, 10)([[0, 5, 13]]).shape
    (1, 3, 10)
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, *, dtype: Any = "float32", generator: GeneratorLike = None
    ) -> None:
        shape = _length("num_embeddings", num_embeddings), _length("embedding_dim", embedding_dim)
        self.num_embeddings, self.embedding_dim = shape
        self.weight = init.normal_(_parameter(shape, dtype), generator=generator)

    def forward(self, indices: Any) -> Tensor:
        """Shape (...) of whole numbers to (..., embedding_dim)."""
        return functional.embedding(indices, self.weight)

    def __repr__(self) -> str:
        return f"Embedding({self.num_embeddings}, {self.embedding_dim})"


class BatchNorm1d(Module):
    """Each channel with mean 0 and variance 1 over the batch, then times `weight` plus `bias`.

    num_features: the number of channels, axis 1 of the input.
    eps: added to the variance (default 1e-5).
    momentum: by how much of the way a batch moves the running statistics (default 0.1); None averages all batches.
    affine: False leaves out weight and bias.
    unbiased: True (default) divides by n - 1 for every variance; False is PyTorch's mixture, n in training and n - 1 for
        `running_var`.

    In evaluation mode the running statistics are used; `calibrate` sets them to those of a whole training set. The buffers
    `running_mean`, `running_var`, `num_batches_tracked` are saved with the parameters.

    >>> BatchNorm1d(1)([[1.0], [3.0]]).data.round(3)
    array([[-0.707],
           [ 0.707]])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        *,
        unbiased: bool = True,
        dtype: Any = "float32",
    ) -> None:
        self.num_features = _length("num_features", num_features)
        self.eps, self.momentum, self.unbiased = eps, momentum, unbiased
        self.weight = init.ones_(_parameter((num_features,), dtype)) if affine else None
        self.bias = init.zeros_(_parameter((num_features,), dtype)) if affine else None
        self.running_mean = Tensor(np.zeros(num_features), dtype=dtype)
        self.running_var = Tensor(np.ones(num_features), dtype=dtype)
        self.num_batches_tracked = Tensor(0)

    def forward(self, x: Any) -> Tensor:
        """Shape (N, C) or (N, C, ...), unchanged."""
        share = self.momentum
        if self.training and share is None:
            share = 1.0 / (self.num_batches_tracked.item() + 1)
        y = functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            0.0 if share is None else share,
            self.eps,
            unbiased=self.unbiased,
        )
        if self.training:
            replace(self.num_batches_tracked, self.num_batches_tracked._data + 1)
        return y

    def __repr__(self) -> str:
        return f"BatchNorm1d({self.num_features})"


class LayerNorm(Module):
    """Each sample with mean 0 and variance 1 over its last axes, then times `weight` plus `bias`.

    normalized_shape: the lengths of those axes, or one whole number. eps: added to the variance (default 1e-5).
    elementwise_affine: False leaves out weight and bias.

    >>> LayerNorm(2)([[1.0, 3.0]]).data.round(3).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(
        self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, *, dtype: Any = "float32"
    ) -> None:
        given = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape = tuple(_length("each of normalized_shape", n) for n in given)
        self.eps = eps
        self.weight = init.ones_(_parameter(self.normalized_shape, dtype)) if elementwise_affine else None
        self.bias = init.zeros_(_parameter(self.normalized_shape, dtype)) if elementwise_affine else None

    def forward(self, x: Any) -> Tensor:
        """Shape (..., *normalized_shape), unchanged."""
        return functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def __repr__(self) -> str:
        return f"LayerNorm({', '.join(map(str, self.normalized_shape))})"


class Dropout(Module):
    """In training zeros instead of a share p of the elements, and the others times 1 / (1 - p); else nothing.

    p: from 0 to 1 (default 0.5).

    >>> Dropout(0.5, generator=0)([1.0, 1.0, 1.0, 1.0]).tolist()
    [2.0, 0.0, 0.0, 0.0]
    """

    def __init__(self, p: float = 0.5, *, generator: GeneratorLike = None) -> None:
        if not 0 <= p <= 1:
            raise InputError(f"Dropout: p is a probability from 0 to 1, not {p!r}")
        self.p = p
        self._generator = None if generator is None else init.generator_of(generator)  # one stream, drawn on at each call

    def forward(self, x: Any) -> Tensor:
        """Any shape, unchanged."""
        return functional.dropout(x, self.p, self.training, generator=self._generator)

    def __repr__(self) -> str:
        return f"Dropout({self.p})"


class _Activation(Module):
    """A layer without parameters or settings."""

    _function: Callable[[Any], Tensor]

    def forward(self, x: Any) -> Tensor:
        """Any shape, unchanged."""
        return type(self)._function(x)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Tanh(_Activation):
    """The hyperbolic tangent.

    >>> Tanh()([0.0]).tolist()
    [0.0]
    """

    _function = staticmethod(functional.tanh)


class ReLU(_Activation):
    """max(x, 0).

    >>> ReLU()([-1.0, 1.0]).tolist()
    [0.0, 1.0]
    """

    _function = staticmethod(functional.relu)


class Sigmoid(_Activation):
    """1 / (1 + exp(-x)).

    >>> Sigmoid()([0.0]).tolist()
    [0.5]
    """

    _function = staticmethod(functional.sigmoid)


class Flatten(Module):
    """All axes from `start_dim` on as one (default 1: the samples stay apart).

    >>> import numpy as np
    >>> Flatten()(np.zeros((32, 3, 10))).shape
    (32, 30)
    """

    def __init__(self, start_dim: int = 1) -> None:
        self.start_dim = start_dim

    def forward(self, x: Any) -> Tensor:
        """Shape (N, a, b, ...) to (N, a * b * ...)."""
        x = x if isinstance(x, Tensor) else Tensor(x)
        if not 0 <= self.start_dim < x.ndim:
            raise InputError(f"Flatten from axis {self.start_dim} on does not fit a tensor of shape {x.shape}")
        kept = x.shape[: self.start_dim]
        flat: Tensor = x.reshape(*kept, math.prod(x.shape[self.start_dim :]))
        return flat

    def __repr__(self) -> str:
        return f"Flatten({'' if self.start_dim == 1 else self.start_dim})"


class Sequential(Module):
    """Layers one after another; each is an attribute named by its number, so parameters are named as in PyTorch.

    >>> Sequential(Linear(2, 3), Tanh())
    Sequential(
      0: Linear(2, 3)
      1: Tanh()
    )
    """

    def __init__(self, *layers: Any) -> None:
        for i, layer in enumerate(layers):
            if not callable(layer):
                raise InputError(f"Sequential takes layers, each as an argument of its own; argument {i} is {layer!r}")
            super().__setattr__(str(i), layer)
        self._layers = layers  # after them, for parameters are named by the first way to them

    def __setattr__(self, name: str, x: Any) -> None:
        if name.isdecimal():  # a layer is exchanged
            names = [str(i) for i in range(len(self._layers))]
            if name not in names or not callable(x):
                raise InputError(
                    f"Sequential takes a layer in place of one that it has ({', '.join(names)}), not {x!r} as {name!r}"
                )
            self._layers = tuple([x if i == name else layer for i, layer in zip(names, self._layers, strict=True)])
        super().__setattr__(name, x)

    def forward(self, x: Any) -> Any:
        """The output of the last layer."""
        for i, layer in enumerate(self._layers):
            try:
                x = layer(x)
            except InputError as error:
                if type(error) is not InputError:
                    raise
                raise InputError(f"layer {i}, {_in_short(layer)}: {error}") from None
        return x

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, i: int) -> Any:
        return self._layers[i]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._layers)

    def __repr__(self) -> str:
        lines = "".join(f"\n  {i}: " + repr(layer).replace("\n", "\n  ") for i, layer in enumerate(self._layers))
        return f"Sequential({lines}\n)" if lines else "Sequential()"


def _in_short(layer: Any) -> str:
    text = repr(layer)
    return text if len(text) <= 60 and "\n" not in text else type(layer).__name__


def _parameter(shape: tuple[int, ...], dtype: Any) -> Tensor:
    return Tensor(np.zeros(shape), dtype=dtype, requires_grad=True)


def _length(name: str, n: Any) -> int:
    try:
        length = operator.index(n)
    except TypeError:
        length = 0
    if length < 1:
        raise InputError(f"{name} must be a whole number of at least 1, not {n!r}")
    return length


# ---- what can be done with a model -----------------------------------------------------------------------------------


def calibrate(model: Module, *inputs: Any) -> None:
    """Set the running statistics of every BatchNorm1d to those of these inputs, usually the whole training set.

    The model runs once, without recording, all of it in evaluation mode but the BatchNorm layers, which normalise by the
    inputs' own statistics; so a layer above another sees what it will see in evaluation. Modes are restored.

    >>> layer = BatchNorm1d(1)
    >>> calibrate(layer, [[1.0], [3.0]])
    >>> layer.running_mean.item(), layer.running_var.item()
    (2.0, 2.0)
    """
    modes = [(module, module.training) for module in model.modules()]
    layers = [module for module, _ in modes if isinstance(module, BatchNorm1d)]
    if not layers:
        raise InputError(f"this {type(model).__name__} has no BatchNorm1d to calibrate")
    before = [(layer.momentum, layer.num_batches_tracked.data) for layer in layers]
    try:
        model.eval()
        for layer in layers:
            layer.training, layer.momentum = True, 1.0
        with no_grad():
            model(*inputs)
    finally:
        for module, mode in modes:
            module.training = mode
        for layer, (momentum, tracked) in zip(layers, before, strict=True):
            layer.momentum, layer.num_batches_tracked.data = momentum, tracked
