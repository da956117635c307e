"""Derivatives of functions of scalars: `grad`, `value_and_grad`, `jacobian`, `hessian`.

>>> grad(lambda x: 3 * x**2 - 4 * x + 5)(3.0)
14.0

The functions differentiated take numbers and return numbers; while they are differentiated their arguments are Values.
Each helper evaluates the function once per call, and records it even inside no_grad().

Results are floats. They are Values, which can be differentiated again, when an argument is a Value or the function
involves Values of its own (parameters, the variable of a derivative around this one): so no dependence gets lost, and
`grad(grad(f))` is the second derivative. Imports engine and errors.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from chainrule import engine
from chainrule.errors import InputError, NotANumberError

Argnums = int | Sequence[int]


def value_and_grad(f: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., tuple[Any, Any]]:
    """The function that returns `(f(*args), gradient)` in one evaluation.

    f: a function of scalars that returns one scalar.
    argnums: which positional argument to differentiate by (default 0), or a sequence of several; then the gradient is a
        tuple in that order. Other arguments are passed on as they are.

    Raises NotANumberError when f does not return one number, InputError for a bad argnum.

    >>> value_and_grad(lambda a, b: a * b, argnums=(0, 1))(2.0, -3.0)
    (-6.0, (-3.0, 2.0))
    """

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        full = list(args)
        indices = _indices(argnums, len(args))
        with _recording():
            xs = [_variable(args[i]) for i in indices]
            for i, x in zip(indices, xs, strict=True):
                full[i] = x
            y = _one_number(f(*full, **kwargs))
            again = _is_open([y], xs)
            slopes = _slopes(y, xs, again)
        return (y if again else y.data), (slopes[0] if isinstance(argnums, int) else tuple(slopes))

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


def jacobian(f: Callable[..., Any]) -> Callable[..., list[list[Any]]]:
    """The function that computes all first derivatives of a function with several outputs.

    f: a function of n scalars that returns a sequence of m scalars (or one).
    The result is a list of m rows with n numbers each: row i holds the derivatives of output i.

    >>> jacobian(lambda x, y: (x * y, x + y))(2.0, 3.0)
    [[3.0, 2.0], [1.0, 1.0]]
    """

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> list[list[Any]]:
        with _recording():
            xs = [_variable(x) for x in args]
            outputs = f(*xs, **kwargs)
            ys = [_one_number(y) for y in (outputs if isinstance(outputs, Iterable) else [outputs])]
            again = _is_open(ys, xs)
            return [_slopes(y, xs, again) for y in ys]

    return wrapped


def hessian(f: Callable[..., Any]) -> Callable[..., list[list[Any]]]:
    """The function that computes all second derivatives of a function of n scalars, as n rows of n numbers.

    >>> hessian(lambda x, y: x**2 * y)(3.0, 5.0)
    [[10.0, 6.0], [6.0, 0.0]]
    """

    @functools.wraps(f)
    def wrapped(*args: Any, **kwargs: Any) -> list[list[Any]]:
        with _recording():
            xs = [_variable(x) for x in args]
            y = _one_number(f(*xs, **kwargs))
            again = _is_open([y], xs)
            return [_slopes(first, xs, again) for first in _slopes(y, xs, create_graph=True)]

    return wrapped


@contextlib.contextmanager
def _recording() -> Iterator[None]:
    """A derivative is asked for, so the function is recorded even inside somebody's no_grad()."""
    before = engine._set_recording(True)
    try:
        yield
    finally:
        engine._set_recording(before)


def _variable(x: Any) -> Any:
    """A node of this call's own, of the same number and name; on top of a Value that belongs to somebody else's graph."""
    if not isinstance(x, engine.Value):
        return engine.Value(x)
    if x.requires_grad:
        opposite = -x
        own = -opposite  # an identity that keeps the sign of a zero, unlike x + 0
    else:
        own = engine.Value(x.data)
    own.label = x.label
    return own


def _is_open(ys: Sequence[Any], xs: Sequence[Any]) -> bool:
    """Whether the outputs depend on Values that are not this call's own, through an argument or from around the function."""
    if any(x.inputs for x in xs):
        return True
    own = set(xs)
    leaves = (node for y in ys for node in engine.inputs_first(y) if node.op is None)
    return any(leaf.requires_grad and leaf not in own for leaf in leaves)


def _slopes(y: Any, xs: Sequence[Any], create_graph: bool) -> list[Any]:
    """The derivatives of y by each x; zero where y depends on none of them."""
    if not y.requires_grad:
        return [engine.Value(0.0, requires_grad=False) if create_graph else 0.0 for _ in xs]
    found = engine.gradients(y, xs, create_graph=create_graph)
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
    indices: list[Any] = list(argnums) if isinstance(argnums, (tuple, list)) else [argnums]
    for i in indices:
        if type(i) is not int:
            raise InputError(f"argnums is the position of an argument, or a tuple of positions, not {argnums!r}")
        if not 0 <= i < count:
            raise InputError(f"argnums names argument {i}, but the function was called with {count} positional arguments")
    if len(set(indices)) < len(indices):
        raise InputError(f"argnums names an argument twice: {argnums!r}")
    return indices
