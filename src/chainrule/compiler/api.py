"""`compile`: from a function to something that computes the same, and its gradients, fast. Imports step and function."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from chainrule.compiler.function import Function
from chainrule.compiler.step import Step
from chainrule.errors import InputError


def compile(  # noqa: A001 - what it is called everywhere
    function: Callable[..., Any],
    params: Iterable[Any] | None = None,
    *,
    optimizer: Any = None,
    dtype: Any = None,
    executor: str = "",
) -> Any:
    """The same function as an array program.

    function: with `params`, a loss: it returns a Value (or a Tensor of one element), or a tuple of that and other outputs.
        Without, a function of numbers, to be mapped over arrays.
    params: the Values or Tensors that the loss is differentiated by; each call sets their `grad`, as `backward()` does after
        `zero_grad()`. The gradients of Tensors are the program's own arrays, and the next call writes over them.
    optimizer: of chainrule.optim, over the same parameters: then each call also updates them.
    dtype: "float64" or "float32", in which the program computes (default: float64; of Tensors, theirs).
    executor: what runs the program: "native", or "numpy", the slow one that the other must agree with (default: the best
        there is).

    Returns a Step, called with NumPy arrays (inside, their elements are Values in lists, or they are Tensors), or a Function.
    The function runs twice when new shapes come, to see what it does; what it reads from outside must stay as it is, but for
    Values and Tensors, which are read anew in every call. What is computed from parameters is computed inside. A RuntimeWarning
    says why, where the default executor cannot run the program and NumPy does, slowly.

    Raises CompileError, naming the line, for a function that branches on its numbers or draws random ones; InputError for
    what cannot be compiled at all.

    >>> from chainrule import Value, exp
    >>> w = Value(0.5)
    >>> step = compile(lambda X, y: sum((w * x - t) ** 2 for x, t in zip(X, y)), params=[w])
    >>> step([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]), w.grad
    (31.5, -42.0)
    >>> print(step.counts)
    12 scalar operations are 4 array operations; with the gradients they are 9
    >>> decay = compile(lambda t, rate: exp(-rate * t))
    >>> decay(t=np.array([0.0, 1.0, 2.0]), rate=0.5).round(4)
    array([1.    , 0.6065, 0.3679])
    >>> round(decay.value_and_grad(t=2.0, rate=0.5)[1]["t"], 4)
    -0.1839
    """
    if not callable(function):
        raise InputError(f"compile takes a function, not {type(function).__name__}")
    if dtype is not None and str(dtype) not in ("float64", "float32") and dtype not in (np.float64, np.float32):
        raise InputError(f"compile: dtype is float64 or float32, not {dtype!r}")
    if params is None:
        if optimizer is not None:
            raise InputError("compile: an optimizer needs params, the parameters it updates")
        return Function(function, dtype or "float64", executor)
    return Step(function, params, optimizer, dtype, executor)
