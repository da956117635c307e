"""The chain rule where nodes hold arrays: what is passed on in numbers, and the rules of array rows in words.

>>> from chainrule import Tensor, gradients
>>> a, b = Tensor([[1.0, 2.0]], requires_grad=True, label="a"), Tensor([[3.0], [4.0]], label="b")
>>> y = a @ b
>>> in_words(y, 0, "dL/dy", "y", ["a", "b"])
('dL/dy @ b.T', 'pullback of a @ b by a: g @ b.T')
>>> [(i, slope, shown(amount)) for i, slope, amount in amounts(y, gradients(y)[y], [0])]
[(0, None, '[[3, 4]]')]

A row of arrays has no local derivative but a pullback; run on text, it prints itself. Left out on purpose: simplifying
what it prints. Imports engine, tensor, formulas and wording.
"""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

from chainrule.ops import INTRINSICS, ArrayOp
from chainrule.show import formulas
from chainrule.show.formulas import Term, term
from chainrule.show.wording import number, short
from chainrule.symbols import ATOM, POWER, PRODUCT

FEW = 6  # elements that are shown one by one
LONGEST = 120  # characters of a rule in words; a longer one hides the numbers beside it


def amounts(node: Any, g: Any, positions: Sequence[int]) -> list[tuple[int, Any, Any]]:
    """What a tensor passes on to its inputs at these positions: (position, local derivative or None, amount).

    g: the gradient of the node. The amounts have the shapes of the inputs, broadcasting undone, as in the engine's loop.
    """
    from chainrule import tensor  # here, so that who shows scalars does not wait for NumPy
    from chainrule.arrays import ArrayMath

    xs = [x._data for x in node.inputs]
    pulled, local = tensor._pull(node, ArrayMath, g, node._data, xs), slopes(node)
    return [(i, local[i], tensor._fit(ArrayMath, pulled[i], xs[i])) for i in positions]


def slopes(node: Any) -> list[Any]:
    """The local derivatives of a tensor by its inputs; None for rows of arrays, which have none, and for choices."""
    from chainrule.arrays import ArrayMath

    if isinstance(node.op, ArrayOp):
        return [None] * len(node.inputs)
    xs = [x._data for x in node.inputs]
    return [rule and rule(ArrayMath, node._data, *xs) for rule in node.op.derivatives]


def repeated(node: Any, x: Any) -> tuple[int, ...]:
    """The axes of a result along which broadcasting has repeated an input; its gradient is summed over them."""
    if isinstance(node.op, ArrayOp) and node.op.name != "matmul":
        return ()
    given, shape = node.shape, x.shape
    lead = len(given) - len(shape)
    if isinstance(node.op, ArrayOp):  # the last two axes are those of the matrices
        given, shape = given[:-2], shape[:-2]
    return (*range(lead), *(i for i, n in enumerate(shape, lead) if n == 1 and given[i] != 1))


def zero_like(amount: Any) -> Any:
    """Zeros of the shape of an amount; 0.0 for a number."""
    return 0.0 if isinstance(amount, float) else amount * 0


def shown(x: Any) -> str:
    """An array in a formula: its numbers where they are few, else its shape and its norm.

    >>> import numpy
    >>> shown(numpy.array([1.0, 0.5])), shown(numpy.ones((3, 4)))
    ('[1, 0.5]', '(3x4, norm 3.4641)')
    """
    if getattr(x, "ndim", 0) == 0:
        return short(float(x))
    if x.size <= FEW:
        return _listed(x.tolist())
    size = math.sqrt(float((x.astype("float64") ** 2).sum()))
    return f"({number(x).split()[0]}, norm {short(size)})"


def _listed(x: Any) -> str:
    return f"[{', '.join(map(_listed, x))}]" if isinstance(x, list) else short(x)


# ---- rules in words --------------------------------------------------------------------------------------------------


def in_words(node: Any, i: int, gradient: str, name: str, called: Sequence[str]) -> tuple[str, str]:
    """What the i-th input of a tensor gets, in words: at this node, and as the row of the table has it.

    gradient, name, called: what the node's gradient, the node and its inputs are called.

    Of an array row that is its pullback, with the gradient in it; of any other row the local derivative.
    """
    row = inputs(node)
    if not isinstance(node.op, ArrayOp):
        known = [float(x._data) if isinstance(x._data, (int, float)) else None for x in node.inputs]  # as 2 in x ** 2
        here, _ = formulas.at_point(node.op, i, name, called, None, known)
        return here, formulas.derivative_for(node.op, i, None, known)
    here = _pulled(node, i, gradient, name, called)
    general = _pulled(node, i, "g", "y", row)
    return (
        here or f"pullback of {value_in_words(node, called)} at {gradient}",
        f"pullback of {value_in_words(node, row)} by {row[i]}{f': {general}' if general else ''}",
    )


def inputs(node: Any) -> list[str]:
    """What a row calls its inputs; those of any number are called x1, x2, ..."""
    found: list[str] = []
    for parameter in list(inspect.signature(node.op.forward).parameters.values())[1:]:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            more = len(node.inputs) - len(found)
            found += [parameter.name] if more == 1 else [f"{parameter.name.rstrip('s')}{k}" for k in range(1, more + 1)]
        elif parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            found.append(parameter.name)
    return found


def _pulled(node: Any, i: int, gradient: str, name: str, called: Sequence[str]) -> str:
    """The pullback of an array row, run on text; "" where it does not run on text, or is longer than LONGEST."""
    xs = [Shaped(text, x.shape, x.dtype) for text, x in zip(called, node.inputs, strict=True)]
    g, y = Shaped(gradient, node.shape, node.dtype), Shaped(name, node.shape, node.dtype)
    try:
        wanted = [k == i for k in range(len(xs))]
        rule = term(node.op.pull(_m, wanted, g, y, xs, node.options or {})[i]).text
    except Exception:  # a rule may do what text cannot
        return ""
    return rule if len(rule) <= LONGEST else ""


def value_in_words(node: Any, called: Sequence[str]) -> str:
    """What a tensor's operation computes, as "x @ w" or "sum(x, axis=0)"."""
    if not isinstance(node.op, ArrayOp):
        return formulas.value_in_names(node.op, called)
    options = dict(node.options or {})
    if node.op.name == "matmul":
        return f"{called[0]} @ {called[1]}"
    if node.op.name == "getitem":
        return f"{called[0]}[{', '.join(map(_index, options['index']))}]"
    said = [f"{name}={option(x)}" for name, x in options.items() if _matters(node, name, x)]
    return f"{node.op.name}({', '.join([*called, *said])})"


def _matters(node: Any, name: str, x: Any) -> bool:
    """Whether an option says something: reductions go over all axes, and keep none, unless they say so."""
    if name == "axis" and isinstance(x, tuple) and node.inputs:
        return x != tuple(range(len(node.inputs[0].shape)))
    return name not in ("kept", "keepdims", "correction", "eps")


def option(x: Any) -> str:
    """An option of a row, as a reader writes it: 0 for the axes (0,)."""
    if hasattr(x, "ndim") and hasattr(x, "size"):
        return shown(x) if x.size <= FEW else number(x)
    return option(x[0]) if isinstance(x, tuple) and len(x) == 1 else str(x)


def _index(i: Any) -> str:
    if isinstance(i, slice):
        ends = ["" if part is None else str(part) for part in (i.start, i.stop, i.step)]
        return ":".join(ends if ends[2] else ends[:2])
    return "..." if i is Ellipsis else option(i)


class Shaped(Term):
    """Text of an array, of which the rules of array rows ask the shape."""

    __slots__ = ("dtype", "shape")
    __hash__ = None

    def __init__(self, text: str, shape: tuple[int, ...] = (), dtype: Any = None, level: int = ATOM) -> None:
        super().__init__(text, level)
        self.shape, self.dtype = shape, dtype

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


class _ShapedMath:
    """`m` for text of arrays: the names of elementwise and of array rows."""

    def __getattr__(self, name: str) -> Callable[..., Term]:
        if name in INTRINSICS:
            return functools.partial(formulas.intrinsic, name)
        return functools.partial(_called, name)

    @staticmethod
    def matmul(a: Any, b: Any) -> Term:
        return Term(f"{term(a)._in(PRODUCT)} @ {term(b)._in(POWER)}", PRODUCT)

    @staticmethod
    def swap(x: Any) -> Term:
        return Term(f"{term(x)._in(ATOM)}.{'T' if len(getattr(x, 'shape', (0, 0))) == 2 else 'mT'}")

    @staticmethod
    def kept(kept: Any, make: Callable[[], Any]) -> Any:
        return make()

    @staticmethod
    def one_hot(labels: Any, logits: Any) -> Term:
        return Term("one_hot(labels)")

    @staticmethod
    def softmax(x: Any, axis: int) -> Term:
        return Term(f"softmax({term(x).text})")

    @staticmethod
    def reshape(x: Any, shape: tuple[int, ...]) -> Term:
        old = term(x)
        if math.prod(shape) == 1 or getattr(x, "shape", None) == shape:  # of a single number the shape says nothing
            return Shaped(old.text, shape, level=old.level)
        return Shaped(f"{old._in(ATOM)}.reshape({', '.join(map(str, shape))})", shape)

    @staticmethod
    def broadcast_to(x: Any, shape: tuple[int, ...]) -> Term:
        return Shaped(f"spread({term(x).text}, {_tuple(shape)})", shape)

    @staticmethod
    def getitem(x: Any, index: tuple[Any, ...]) -> Term:
        return Term(f"{term(x)._in(ATOM)}[{', '.join(map(_index, index))}]")

    @staticmethod
    def scatter(x: Any, index: tuple[Any, ...], shape: tuple[int, ...]) -> Term:
        return Term(f"zeros{_tuple(shape)} with {term(x).text} added at [{', '.join(map(_index, index))}]")

    @staticmethod
    def sum(x: Any, axis: tuple[int, ...], keepdims: bool) -> Term:
        return Term(f"sum({term(x).text}, axis={option(axis)})")

    mean = staticmethod(functools.partial(lambda x, axis, keepdims: Term(f"mean({term(x).text}, axis={option(axis)})")))

    @staticmethod
    def transpose(x: Any, axes: tuple[int, ...]) -> Term:
        backwards = axes == tuple(range(len(axes)))[::-1]
        return Term(f"{term(x)._in(ATOM)}.{'T' if backwards else f'permute{_tuple(axes)}'}")

    @staticmethod
    def astype(x: Any, dtype: Any) -> Term:
        return Term(f"{term(x)._in(ATOM)}.to({dtype})")


def _tuple(numbers: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, numbers))}{',' * (len(numbers) == 1)})"


def _called(name: str, *xs: Any, **options: Any) -> Term:
    said = [f"{key}={option(x)}" for key, x in options.items()]
    return Term(f"{name}({', '.join([term(x).text for x in xs] + said)})")


_m = _ShapedMath()
