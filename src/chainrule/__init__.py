"""chainrule: write the math one number at a time, see every gradient, run it at the speed of tensors.

>>> from chainrule import Value
>>> a, b = Value(2.0), Value(-3.0)
>>> loss = (a * b + 10).tanh()
>>> loss.backward()
>>> round(a.grad, 4)
-0.004

This package imports its core only. The leaves are imported by name: `chainrule.nn`, `chainrule.optim`,
`chainrule.data`, `chainrule.check`, `chainrule.show`, `chainrule.train`.
"""

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
    "Value",
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
    "tanh",
    "value_and_grad",
    "where",
]
