"""Derivatives of functions of scalars: `grad`, `value_and_grad`, `jacobian`, `hessian`.

>>> grad(lambda x: 3 * x**2 - 4 * x + 5)(3.0)
14.0

The functions differentiated take numbers and return numbers; while they are differentiated their arguments are Values.
Each helper evaluates the function once per call. Imports engine and errors.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from chainrule import engine
from chainrule.errors import InputError, NotANumberError

Argnums = int | Sequence[int]


def value_and_grad(f: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., tuple[Any, Any]]:
    """The function that returns `(f(*args), gradient)` in one evaluation.

    f: a function of scalars that returns one scalar.
    argnums: which positional argument to differentiate by (default 0), or a sequence of several; then the gradient is a
        tuple in that order. Other arguments are passed on as they are.

    On numbers the results are floats. On Values they are Values that can be differentiated again, so `grad(grad(f))` is
    the second derivative. Raises NotANumberError when f does not return one number, InputError for a bad argnum.

    >>> value_and_grad(lambda a, b: a * b, argnums=(0, 1))(2.0, -3.0)
    (-6.0, (-3.0, 2.0))
    """

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        indices = _indices(argnums, len(args))
        again = any(isinstance(args[i], engine.Value) for i in indices)
        full = list(args)
        for i in indices:
            # A Value argument belongs to somebody else's graph: "+ 0" gives this call a node of its own on top of it.
            full[i] = args[i] + 0.0 if isinstance(args[i], engine.Value) else engine.Value(args[i])
        y = _one_number(f(*full, **kwargs))
        inputs = [full[i] for i in indices]
        if y.requires_grad:
            found = engine.gradients(y, inputs, create_graph=again)
        else:  # f does not depend on them
            found = {x: engine.Value(0.0, requires_grad=False) if again else 0.0 for x in inputs}
        slopes = tuple(found[x] for x in inputs)
        return (y if again else y.data), (slopes[0] if isinstance(argnums, int) else slopes)

    return wrapped


def grad(f: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """The function that computes the derivative of `f`; see `value_and_grad` for the arguments.

    >>> grad(grad(lambda x: x**4))(2.0)
    48.0
    """
    both = value_and_grad(f, argnums)

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    return wrapped


def jacobian(f: Callable[..., Any]) -> Callable[..., list[list[float]]]:
    """The function that computes all first derivatives of a function with several outputs.

    f: a function of n scalars that returns a sequence of m scalars (or one).
    The result is a list of m rows with n floats each: row i holds the derivatives of output i.

    >>> jacobian(lambda x, y: (x * y, x + y))(2.0, 3.0)
    [[3.0, 2.0], [1.0, 1.0]]
    """

    @functools.wraps(f)
    def wrapped(*args: Any) -> list[list[float]]:
        xs = [engine.Value(x) for x in args]
        ys = f(*xs)
        rows = [_one_number(y) for y in (ys if isinstance(ys, Iterable) else [ys])]
        return [_row_of(y, xs) for y in rows]

    return wrapped


def hessian(f: Callable[..., Any]) -> Callable[..., list[list[float]]]:
    """The function that computes all second derivatives of a function of n scalars, as n rows of n floats.

    >>> hessian(lambda x, y: x**2 * y)(3.0, 5.0)
    [[10.0, 6.0], [6.0, 0.0]]
    """

    @functools.wraps(f)
    def wrapped(*args: Any) -> list[list[float]]:
        xs = [engine.Value(x) for x in args]
        y = _one_number(f(*xs))
        if not y.requires_grad:
            return [[0.0] * len(xs) for _ in xs]
        first = engine.gradients(y, xs, create_graph=True)
        return [_row_of(first[x], xs) for x in xs]

    return wrapped


def _row_of(y: Any, xs: Sequence[Any]) -> list[float]:
    """The derivatives of y by each x; all zero where y depends on none of them."""
    found = engine.gradients(y, xs) if y.requires_grad else dict.fromkeys(xs, 0.0)
    return [found[x] for x in xs]


def _one_number(y: Any) -> Any:
    if isinstance(y, engine.Value):
        return y
    try:
        return engine.Value(y, requires_grad=False)
    except NotANumberError:
        raise NotANumberError(
            f"the function to differentiate returned {type(y).__name__}; it must return one number (jacobian takes several)"
        ) from None


def _indices(argnums: Argnums, count: int) -> list[int]:
    indices = [argnums] if isinstance(argnums, int) else list(argnums)
    for i in indices:
        if not 0 <= i < count:
            raise InputError(f"argnums names argument {i}, but the function was called with {count} positional arguments")
    return indices
