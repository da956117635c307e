"""chainrule: write the math one number at a time, see every gradient, run it at the speed of tensors.

>>> from chainrule import Value
>>> a, b = Value(2.0), Value(-3.0)
>>> loss = (a * b + 10).tanh()
>>> loss.backward()
>>> round(a.grad, 4)
-0.004

This package imports its core only. The leaves `chainrule.nn`, `chainrule.optim`, `chainrule.data`, `chainrule.check`,
`chainrule.show`, `chainrule.train` are imported when they are first used; so are `chainrule.compile` and `chainrule.take`, which
belong to the leaf `chainrule.compiler`, and `chainrule.Tensor`, because it needs NumPy.
"""

import importlib as _importlib

from chainrule.calculus import grad, hessian, jacobian, value_and_grad
from chainrule.engine import (
    Node,
    Value,
    cos,
    exp,
    gradients,
    inputs_first,
    log,
    log1p,
    maximum,
    minimum,
    no_grad,
    register,
    relu,
    sigmoid,
    sin,
    softplus,
    sqrt,
    tanh,
    where,
)
from chainrule.errors import ChainruleError

__version__ = "0.1.0"

__all__ = [
    "ChainruleError",
    "Node",
    "Tensor",
    "Value",
    "compile",
    "cos",
    "exp",
    "grad",
    "gradients",
    "hessian",
    "inputs_first",
    "jacobian",
    "log",
    "log1p",
    "maximum",
    "minimum",
    "no_grad",
    "register",
    "relu",
    "sigmoid",
    "sin",
    "softplus",
    "sqrt",
    "take",
    "tanh",
    "value_and_grad",
    "where",
]


def __getattr__(name: str) -> object:
    if name in ("compile", "take"):
        from chainrule import compiler

        return getattr(compiler, name)
    if name == "Tensor":
        from chainrule.tensor import Tensor

        return Tensor
    if name in ("check", "compiler", "data", "nn", "optim", "show", "train"):
        return _importlib.import_module(f"chainrule.{name}")
    raise AttributeError(f"module 'chainrule' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
