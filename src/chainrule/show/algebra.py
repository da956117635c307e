"""Rules of the table run on names: expressions that simplify themselves while they are made, for any language to print.

>>> m = Algebra()
>>> x, dy = m.name("x"), m.name("dy")
>>> (1.0 * x * x / 1.0).structure
('**', 'x', 2)
>>> (m.pow(x, 3.0) + 0.0).structure, (-x * dy).structure
(('**', 'x', 3.0), ('neg', ('*', 'x', 'dy')))

An `Expr` is a function with its operands; an `Algebra` is the namespace `m` of the rules, of both tables. Equal expressions
are one object, so that what comes twice can be seen, and what has a name already is called by it (`rename`). Every expression
knows the shape and dtype of its value, which ArrayMath tells: it computes with zeros that take no memory.

Simplifying follows the laws of real numbers, as a person would who writes the result on a board: rounding may differ in
the last digit, and a comparison is turned round as if no number were NaN. Imports ops, arrays and NumPy.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from chainrule.arrays import ArrayMath, one_hot_like
from chainrule.ops import INTRINSICS, FloatMath

OPPOSITE = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "!=", "!=": "=="}
_OPERATORS: dict[str, Callable[..., Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow, "neg": operator.neg,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_ELEMENTWISE = {*_OPERATORS, *INTRINSICS}
_LIGHT = {*_ELEMENTWISE, "name", "broadcast_to", "reshape", "transpose", "getitem", "swap", "astype"}


class Shape(tuple[int, ...]):
    """A shape that knows whose it is, if that has a name which a program can ask for its shape."""

    of: Any = None


class _Count(int):
    """A number of elements; its quotients stay fractions, so that a mean over 32 is no product with 0.03125."""

    def __truediv__(self, other: Any) -> Any:
        if not isinstance(other, int) or not other:
            return int(self) / other
        shared = math.gcd(self, other)
        return _Ratio(self // shared, other // shared)


class Constant(float):
    """A number of the graph; what is divided by it stays a fraction, too."""

    def __rtruediv__(self, other: Any) -> Any:
        return _Ratio(other, float(self)) if self else math.copysign(math.inf, self)


class _Ratio(float):
    """A fraction."""

    above: float
    below: float

    def __new__(cls, above: float, below: float) -> "_Ratio":
        ratio = super().__new__(cls, above / below)
        ratio.above, ratio.below = above, below
        return ratio


class Expr:
    """A function and its operands.

    name: an infix operator, "neg", "name", an intrinsic of elementwise rules or an array row.
    args: expressions and Python numbers. options: axis, shape, index and what else belongs to this use of an array row; of
        a "name", what it is the name of.
    like: an array of the shape and dtype of its value, of zeros.
    """

    __slots__ = ("algebra", "args", "heavy", "like", "name", "options")
    __hash__ = object.__hash__

    def __init__(self, algebra: "Algebra", name: str, args: tuple[Any, ...], options: dict[str, Any], like: Any) -> None:
        self.algebra, self.name, self.args, self.options, self.like = algebra, name, args, options, like
        self.heavy: bool = name not in _LIGHT or any(isinstance(x, Expr) and x.heavy for x in args)

    @property
    def structure(self) -> Any:
        """The tree as nested tuples."""
        if self.name == "name":
            return str(self.options["of"])
        return (self.name, *(x.structure if isinstance(x, Expr) else x for x in self.args))

    @property
    def operands(self) -> list["Expr"]:
        """The arguments that are no numbers."""
        return [x for x in self.args if isinstance(x, Expr)]

    def parts(self) -> Iterator["Expr"]:
        """This expression and those in it, one that stands in two places twice."""
        stack = [self]
        while stack:
            part = stack.pop()
            yield part
            stack += reversed(part.operands)

    @property
    def shape(self) -> Shape:
        """The shape of its value."""
        shape = Shape(self.like.shape)
        if self.name == "name" and self.options["lasting"]:
            shape.of = self
        return shape

    @property
    def dtype(self) -> Any:
        """The dtype of its value."""
        return self.like.dtype

    @property
    def size(self) -> int:
        """The number of elements."""
        return _Count(self.like.size)

    def __neg__(self) -> Any:
        return self.algebra.neg(self)

    def __add__(self, b: Any) -> Any:
        return self.algebra.add(self, b)

    def __radd__(self, a: Any) -> Any:
        return self.algebra.add(a, self)

    def __sub__(self, b: Any) -> Any:
        return self.algebra.sub(self, b)

    def __rsub__(self, a: Any) -> Any:
        return self.algebra.sub(a, self)

    def __mul__(self, b: Any) -> Any:
        return self.algebra.mul(self, b)

    def __rmul__(self, a: Any) -> Any:
        return self.algebra.mul(a, self)

    def __truediv__(self, b: Any) -> Any:
        return self.algebra.div(self, b)

    def __rtruediv__(self, a: Any) -> Any:
        return self.algebra.div(a, self)

    def __pow__(self, b: Any) -> Any:
        return self.algebra.pow(self, b)

    def __rpow__(self, a: Any) -> Any:
        return self.algebra.pow(a, self)

    def __lt__(self, b: Any) -> Any:
        return self.algebra.infix("<", self, b)

    def __le__(self, b: Any) -> Any:
        return self.algebra.infix("<=", self, b)

    def __gt__(self, b: Any) -> Any:
        return self.algebra.infix(">", self, b)

    def __ge__(self, b: Any) -> Any:
        return self.algebra.infix(">=", self, b)

    def __eq__(self, b: Any) -> Any:
        return self.algebra.infix("==", self, b)

    def __ne__(self, b: Any) -> Any:
        return self.algebra.infix("!=", self, b)

    def __bool__(self) -> bool:
        raise TypeError("a rule has no `if`: use m.where")


class Algebra:
    """`m` for expressions: the intrinsics, and every array row under its name.

    lazy: whether the language computes only the branch of a choice that counts. Then what a rule guards against in the
        other branch is left out: `b * a**(b - 1) if b != 0 else 0`.
    unit: a name for the number 1, which products and quotients leave out.
    """

    def __init__(self, lazy: bool = False) -> None:
        self.lazy = lazy
        self.unit: Any = None
        self._made: dict[Any, Expr] = {}
        self._called: dict[Expr, Expr] = {}

    def name(self, of: Any, like: Any = 0.0, *, lasting: bool = False) -> Expr:
        """The name of something.

        like: a value of its shape and dtype. lasting: whether programs have it as a variable from the beginning.
        """
        return Expr(self, "name", (), {"of": of, "lasting": lasting}, _zeros(like))

    def rename(self, expr: Expr, name: Expr) -> None:
        """Let what is made from now on say `name` for `expr`."""
        if expr.name != "name":
            self._called[expr] = name

    def make(self, name: str, *args: Any, **options: Any) -> Expr:
        """A function of these operands as it stands."""
        key = name, tuple(map(_key, args)), tuple(sorted((k, _key(x)) for k, x in options.items()))
        expr = self._made.get(key)
        if expr is None:
            likes = [x.like if isinstance(x, Expr) else x for x in args]
            function = _OPERATORS.get(name) or _FUNCTIONS.get(name) or getattr(ArrayMath, name)
            expr = self._made[key] = Expr(self, name, args, options, _zeros(function(*likes, **options)))
        found: Expr = self._called.get(expr, expr)
        return found

    # -- operators

    def infix(self, symbol: str, a: Any, b: Any) -> Expr:
        """An infix operator; what is repeated to the shape of the other operand need not be repeated before."""
        a = _unrepeated(a, b)
        return self.make(symbol, a, _unrepeated(b, a))

    def add(self, a: Any, b: Any) -> Any:
        """a + b."""
        if not _is_number(a) and not _is_number(b):
            if _is(b, "neg"):
                return self.sub(a, b.args[0])
            return self.sub(b, a.args[0]) if _is(a, "neg") else self.infix("+", a, b)
        a, b = (b, a) if _is_number(a) and a == 0 else (a, b)
        if _is_number(b):
            if b == 0:
                return a
            if b < 0 or _is_number(a):
                return a + b if _is_number(a) else self.infix("-", a, -b)
        return self.infix("+", a, b)

    def sub(self, a: Any, b: Any) -> Any:
        """a - b."""
        if _is_number(b):
            return self.add(a, -b)
        if _is_number(a) and a == 0:
            return self.neg(b)
        return self.add(a, b.args[0]) if _is(b, "neg") else self.infix("-", a, b)

    def neg(self, x: Any) -> Any:
        """-x."""
        if _is_number(x):
            return -x
        if x.name == "neg":
            return x.args[0]
        if x.dtype == np.bool_:
            return self.infix("*", -1, x)
        if x.name in ("*", "/") and (_is_number(x.args[0]) or _leads_with_comparison(x)):
            first, second = x.args
            if x.name == "*" and _is_comparison(first):  # of which there is no opposite
                first, second = second, first
            return self.infix(x.name, self.neg(first), second)
        return self.make("neg", x)

    def mul(self, a: Any, b: Any) -> Any:
        """a * b, with a number first, and quotients last."""
        if _is_number(b):
            a, b = b, a
        if _is_number(a):
            return self._scaled(a, b)
        if a is self.unit or b is self.unit:
            return b if a is self.unit else a
        a, b = self._indicator(a), self._indicator(b)
        a = _unrepeated(a, b)
        b = _unrepeated(b, a)
        for x, y in ((a, b), (b, a)):
            if _is(x, "neg"):
                return self.neg(self.mul(x.args[0], b) if x is a else self.mul(a, x.args[0]))
            if _is(x, "/") and _is_one(x.args[0]):
                return self.div(y, x.args[1])
        if b.name in ("*", "/"):
            return self.infix(b.name, self.mul(a, b.args[0]), b.args[1])
        if a is b:
            return a if _is_comparison(a) else self.infix("**", a, 2)
        return self.infix("*", a, b)

    def _scaled(self, a: Any, b: Any) -> Any:
        if isinstance(a, _Ratio):
            return self.div(self.mul(a.above, b), a.below)
        if _is_number(b) or a == 1:
            return a * b if _is_number(b) else b
        if b.name == "neg":
            return self._scaled(-a, b.args[0])
        if a == -1:
            return self.neg(b)
        if b.name in ("*", "/"):
            first = b.args[0]
            inner = self._folded(a, first) if _is_number(first) else self._scaled(a, first)
            if b.name == "*":
                return self.mul(inner, b.args[1])
            return self.infix("/", inner, b.args[1]) if _is_number(inner) else self.div(inner, b.args[1])
        return self.infix("*", a, b)

    def _folded(self, a: Any, b: Any) -> Any:
        """The product of two numbers; but 3 * 0.1 stays, as 0.30000000000000004 says less."""
        return a * b if len(repr(a * b)) <= len(repr(a)) + len(repr(b)) else self.make("*", a, b)

    def _indicator(self, x: Expr) -> Expr:
        """The comparison itself for 1 where it holds, else 0: in a product it counts as that number."""
        if x.name != "where" or any(map(_is_expr, x.args[1:])) or sorted(x.args[1:]) != [0.0, 1.0]:
            return x
        condition: Expr = x.args[0]
        if condition.dtype != np.bool_:
            return self.infix("!=" if x.args[1] else "==", condition, 0)
        if x.args[1]:
            return condition
        return self.infix(OPPOSITE[condition.name], *condition.args) if condition.name in OPPOSITE else x

    def div(self, a: Any, b: Any) -> Any:
        """a / b."""
        if _is_number(a) and _is_number(b):
            return a / b
        if _is_one(b):
            return a
        if _is(b, "neg") or (_is_number(b) and b < 0):
            return self.neg(self.div(a, b.args[0] if _is(b, "neg") else -b))
        if _is(a, "neg"):
            return self.neg(self.div(a.args[0], b))
        if _is(a, "/") and a.args[1] is b:
            return self.infix("/", a.args[0], self.pow(b, 2))
        return self.infix("/", 1 if a is self.unit else a, b)

    def pow(self, a: Any, b: Any) -> Any:
        """a ** b."""
        if _is_number(a) and _is_number(b):
            return FloatMath.pow(a, b)
        return a if _is_one(b) else self.infix("**", a, b)

    # -- choices

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        """a where the condition holds, else b."""
        if _is_number(condition):
            return a if condition else b
        if condition.name in ("<", ">") and condition.args[0] is a and _same(condition.args[1], b):
            return self.make("minimum" if condition.name == "<" else "maximum", a, b)
        if condition.name in ("<", ">") and condition.args[0] is b and _same(condition.args[1], a):
            return self.make("maximum" if condition.name == "<" else "minimum", b, a)
        if self.lazy:
            a, b = self._knowing(condition, True, a), self._knowing(condition, False, b)
        return self.make("where", condition, a, b)

    def _knowing(self, condition: Expr, holds: bool, x: Any) -> Any:
        """x, where the same choice has been made already, element by element."""
        if _is_number(x) or x.name not in _ELEMENTWISE:
            return x
        if x.name == "where" and x.args[0] is condition:
            return self._knowing(condition, holds, x.args[1 if holds else 2])
        args = [self._knowing(condition, holds, y) for y in x.args]
        if all(map(_same, args, x.args)):
            return x
        again: dict[str, Any] = {"+": self.add, "-": self.sub, "*": self.mul, "/": self.div, "**": self.pow, "neg": self.neg}
        return (again.get(x.name) or functools.partial(self.make, x.name))(*args, **x.options)

    # -- arrays

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in INTRINSICS and not hasattr(ArrayMath, name):
            raise AttributeError(f"m has no {name!r}")
        return functools.partial(self.make, name)

    def reshape(self, x: Any, shape: tuple[int, ...]) -> Any:
        """The same elements in another shape."""
        if x.shape == shape:
            return x
        return self.reshape(x.args[0], shape) if x.name == "reshape" else self.make("reshape", x, shape=shape)

    def broadcast_to(self, x: Any, shape: tuple[int, ...]) -> Any:
        """Repeated to a larger shape."""
        if x.name == "reshape" and x.args[0].shape == ():
            x = x.args[0]
        if x.name == "neg":
            return self.neg(self.broadcast_to(x.args[0], shape))
        return x if x.shape == shape else self.make("broadcast_to", x, shape=shape)

    def sum(self, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
        """The sum over axes; of 1 where something holds, else 0, it counts how often it does."""
        if x.name == "neg":
            return self.neg(self.sum(x.args[0], axis, keepdims))
        counted = self._indicator(x)
        return self.make("sum", counted if counted.dtype == np.bool_ else x, axis=axis, keepdims=keepdims)

    def swap(self, x: Any) -> Any:
        """The last two axes exchanged; of a product of matrices the product of the exchanged ones, the other way round."""
        if x.name == "swap":
            return x.args[0]
        if x.name == "matmul" and all(len(y.shape) >= 2 for y in x.args):
            return self.make("matmul", self.swap(x.args[1]), self.swap(x.args[0]))
        return self.make("swap", x)

    def transpose(self, x: Any, axes: tuple[int, ...]) -> Any:
        """The axes in another order."""
        return self.swap(x) if axes == (1, 0) else self.make("transpose", x, axes=axes)

    def kept(self, kept: list[Any], make: Callable[[], Any]) -> Any:
        """What the forward rule has made, or else what `make` makes."""
        return kept or make()

    def one_hot(self, labels: Any, logits: Any) -> Any:
        """A row for each label, with a one at its place."""
        return self.make("one_hot", labels=labels, classes=logits.shape[1], dtype=logits.dtype)

    def embedding(self, w: Any, index: Any) -> Any:
        """Rows of a table."""
        return self.make("getitem", w, index=(index,))

    def linear(self, x: Any, w: Any, *b: Any) -> Any:
        """x @ w.T + b."""
        y = self.make("matmul", x, self.swap(w))
        return y + b[0] if b else y

    def cross_entropy(self, logits: Any, labels: Any, reduction: str, kept: Any) -> Any:
        """Minus the logarithm of softmax at the label of each row."""
        rows = np.arange(logits.shape[0])
        right = self.make("getitem", self.make("log_softmax", logits, axis=1), index=(rows, labels))
        return -(right if reduction == "none" else self.make(reduction, right, axis=(0,), keepdims=False))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "one_hot": lambda labels, classes, dtype: one_hot_like(labels, np.zeros((1, classes), dtype)),
}


def _zeros(like: Any) -> Any:
    array = np.asarray(like)
    return np.broadcast_to(np.zeros((), array.dtype), array.shape)


def _key(x: Any) -> Any:
    if isinstance(x, (Expr, np.ndarray)):
        return id(x)
    if isinstance(x, slice):
        return "slice", x.start, x.stop, x.step
    if isinstance(x, tuple):
        return (id(x.of) if isinstance(x, Shape) else None, *map(_key, x))
    return type(x), repr(x)  # which tells NaN, and 0.0 from -0.0


def _is_expr(x: Any) -> bool:
    return isinstance(x, Expr)


def _is_number(x: Any) -> bool:
    return not isinstance(x, Expr)


def _is_comparison(x: Any) -> bool:
    return isinstance(x, Expr) and x.dtype == np.bool_


def _leads_with_comparison(x: Any) -> bool:
    while _is(x, "*") or _is(x, "/"):
        x = x.args[0]
    return _is_comparison(x)


def _is_one(x: Any) -> bool:
    return _is_number(x) and x == 1


def _is(x: Any, name: str) -> bool:
    return isinstance(x, Expr) and x.name == name


def _same(a: Any, b: Any) -> bool:
    return a is b or (_is_number(a) and _is_number(b) and bool(a == b))


def _unrepeated(x: Any, other: Any) -> Any:
    """x without a repetition or an axis of length 1 that comes of itself when it meets the other operand."""
    if _is_number(x) or _is_number(other) or x.name not in ("broadcast_to", "reshape"):
        return x
    inner = x.args[0]
    if x.name == "reshape" and inner.shape != ():
        return x
    alone = np.broadcast_shapes(inner.shape, other.shape) == np.broadcast_shapes(x.shape, other.shape)
    return inner if alone else x
