"""THE TABLE: every elementwise operation, declared once.

A row is a record: a name, a symbol for pictures, the forward rule, one local derivative per input, and the domain on
which tests and documentation sample it. Rules are ordinary Python over infix operators and a small namespace `m`
(`INTRINSICS` below); whoever owns the numbers supplies `m`. So the same row runs on floats (`Value`), on nodes
(higher-order gradients) and on text (the C code of the native engine, LaTeX in the reference page).

How to read a row: `x a b c` are the inputs, `y` is the output (given, never recomputed), and each derivative answers
"by how much does y change when this input changes a little?":

    "mul", "*", lambda m, a, b: a * b, (lambda m, y, a, b: b, lambda m, y, a, b: a)

What is left out on purpose: rules have no `if` (use `m.where`, which evaluates both sides), and they do not multiply by
the incoming gradient, add up contributions or cut shapes: the engine's loop does that, once, for all rows.

Imports nothing of ours but the exceptions.
"""

import inspect
import keyword
import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from chainrule.errors import DivisionByZeroError, DomainError, OperationError

INTRINSICS = (
    "abs", "cos", "exp", "log", "log1p", "maximum", "minimum", "pow", "sigmoid", "sin", "sqrt", "tanh", "where",
)  # fmt: skip
"""The names every namespace `m` supplies."""

Rule = Callable[..., Any]
Interval = tuple[float, float] | frozenset[float]


@dataclass(frozen=True, eq=False)
class Op:
    """One row of the table; it validates itself when it is made.

    name: an identifier; also the name of the method and of the function.
    symbol: what pictures show.
    forward: `(m, *inputs) -> y`.
    derivatives: one `(m, y, *inputs) -> dy/dinput` per input; None where the input is a choice, not a quantity.
    domain: for each input the open interval `(low, high)` to sample, or a frozenset of its only values.
    doc: one sentence, with the source of the formula where it is not common knowledge.
    method: the Python method when it is not the name (`__add__`).

    Raises OperationError when the parts do not fit together.
    """

    name: str
    symbol: str
    forward: Rule
    derivatives: tuple[Rule | None, ...]
    domain: tuple[Interval, ...]
    doc: str
    method: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "derivatives", tuple(self.derivatives))
        object.__setattr__(self, "domain", tuple(self.domain))
        object.__setattr__(self, "method", self.method or self.name)
        if not (isinstance(self.name, str) and self.name.isidentifier() and not keyword.iskeyword(self.name)):
            raise OperationError(f"an operation's name must be an identifier, not {self.name!r}")
        if not self.derivatives:
            raise OperationError(f"operation {self.name!r} needs at least one input")
        self._expect_parameters("forward", self.forward, 1 + self.arity)
        for i, derivative in enumerate(self.derivatives):
            if derivative is not None:
                self._expect_parameters(f"derivative {i}", derivative, 2 + self.arity)
        if len(self.domain) != self.arity:
            raise OperationError(
                f"operation {self.name!r} has {self.arity} derivatives but a domain for {len(self.domain)} inputs"
            )
        for interval in self.domain:
            if not _is_interval(interval):
                raise OperationError(f"operation {self.name!r}: {interval!r} is not a (low, high) interval or a frozenset")

    def _expect_parameters(self, what: str, rule: Rule, count: int) -> None:
        if not callable(rule):
            raise OperationError(f"operation {self.name!r}: {what} is not callable")
        found = _count_parameters(rule)
        if found != count:
            raise OperationError(
                f"operation {self.name!r} has {self.arity} inputs, so its {what} takes {count} parameters, not {found}"
            )

    @property
    def arity(self) -> int:
        """The number of inputs."""
        return len(self.derivatives)

    def sample(self, rng: random.Random) -> list[float]:
        """One input vector drawn from the domain."""
        return [
            rng.choice(sorted(interval)) if isinstance(interval, frozenset) else rng.uniform(*interval)
            for interval in self.domain
        ]

    def __repr__(self) -> str:
        return f"<Op {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:  # a row is pickled by name: lambdas stay where they were written
        return lookup, (self.name,)


def _count_parameters(rule: Rule) -> int:
    code = getattr(rule, "__code__", None)
    if code is None or inspect.ismethod(rule) or code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        return len(inspect.signature(rule).parameters)
    return int(code.co_argcount)  # what signature says, in a hundredth of its time: the table has a hundred rules


def _is_interval(interval: Any) -> bool:
    if not isinstance(interval, (frozenset, tuple, list)) or not all(isinstance(x, (int, float)) for x in interval):
        return False
    if isinstance(interval, frozenset):
        return len(interval) > 0
    return len(interval) == 2 and math.isfinite(interval[0]) and math.isfinite(interval[1]) and interval[0] < interval[1]


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _pow(a: float, b: float) -> float:
    if a == 0 and b < 0 and math.isfinite(b):
        raise ZeroDivisionError
    # math.pow, unlike a ** b, never answers with a complex number.
    try:
        return math.pow(a, b)
    except OverflowError:
        return -math.inf if a < 0 and b % 2 == 1 else math.inf


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + _exp(-x))


# NaN wins, as in IEEE 754-2019 maximum and in PyTorch; Python's max would depend on the order.
def _maximum(a: float, b: float) -> float:
    return a if a >= b or a != a else b


def _minimum(a: float, b: float) -> float:
    return a if a <= b or a != a else b


def _where(condition: float, a: float, b: float) -> float:
    return a if condition else b


class _FloatMath:
    """`m` for Python floats: the math module, with IEEE infinities for overflow and errors for leaving a domain."""

    abs = staticmethod(abs)
    cos = staticmethod(math.cos)
    exp = staticmethod(_exp)
    log = staticmethod(math.log)
    log1p = staticmethod(math.log1p)
    maximum = staticmethod(_maximum)
    minimum = staticmethod(_minimum)
    pow = staticmethod(_pow)
    sigmoid = staticmethod(_sigmoid)
    sin = staticmethod(math.sin)
    sqrt = staticmethod(math.sqrt)
    tanh = staticmethod(math.tanh)
    where = staticmethod(_where)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"m has no {name!r}; it has {', '.join(INTRINSICS)}")


FloatMath = _FloatMath()


def _row(
    name: str,
    symbol: str,
    forward: Rule,
    derivatives: Sequence[Rule | None],
    domain: Sequence[Interval],
    doc: str,
    method: str = "",
) -> Op:
    op = Op(name, symbol, forward, tuple(derivatives), tuple(domain), doc, method)
    if name in TABLE:
        raise OperationError(f"operation {name!r} is in the table already")
    TABLE[name] = op
    return op


TABLE: dict[str, Op] = {}
REAL = (-3.0, 3.0)
POSITIVE = (0.1, 5.0)

# fmt: off
_row("add", "+", lambda m, a, b: a + b,
     (lambda m, y, a, b: 1.0, lambda m, y, a, b: 1.0), (REAL, REAL), "The sum a + b.", "__add__")
_row("sub", "-", lambda m, a, b: a - b,
     (lambda m, y, a, b: 1.0, lambda m, y, a, b: -1.0), (REAL, REAL), "The difference a - b.", "__sub__")
_row("mul", "*", lambda m, a, b: a * b,
     (lambda m, y, a, b: b, lambda m, y, a, b: a), (REAL, REAL), "The product a * b.", "__mul__")
_row("div", "/", lambda m, a, b: a / b,
     (lambda m, y, a, b: 1.0 / b, lambda m, y, a, b: -y / b), (REAL, POSITIVE), "The quotient a / b.", "__truediv__")
_row("neg", "neg", lambda m, x: -x,
     (lambda m, y, x: -1.0,), (REAL,), "The opposite number, -x.", "__neg__")
_row("pow", "**", lambda m, a, b: m.pow(a, b),
     # a ** 0 is the constant 1, also at a = 0, where b * a ** (b - 1) would divide by zero.
     (lambda m, y, a, b: m.where(b == 0, 0.0, b * m.pow(a, m.where(b == 0, 1.0, b - 1.0))),
      # By the exponent there is a slope only for a positive base; at a = 0 it is the limit 0, below it is NaN.
      lambda m, y, a, b: m.where(a > 0, y * m.log(m.where(a > 0, a, 1.0)),
                                     m.where(a == 0, m.where(b >= 0, 0.0, math.nan), math.nan))),
     (POSITIVE, REAL), "The real power a ** b; a negative base needs an integer exponent.", "__pow__")
_row("exp", "exp", lambda m, x: m.exp(x),
     (lambda m, y, x: y,), (REAL,), "The exponential function.")
_row("log", "log", lambda m, x: m.log(x),
     (lambda m, y, x: 1.0 / x,), (POSITIVE,), "The natural logarithm, for x > 0.")
_row("log1p", "log1p", lambda m, x: m.log1p(x),
     (lambda m, y, x: 1.0 / (1.0 + x),), ((-0.9, 5.0),), "log(1 + x), exact for small x; for x > -1.")
_row("sqrt", "sqrt", lambda m, x: m.sqrt(x),
     (lambda m, y, x: 0.5 / y,), (POSITIVE,), "The square root, for x >= 0; it has no slope at 0.")
_row("sin", "sin", lambda m, x: m.sin(x),
     (lambda m, y, x: m.cos(x),), (REAL,), "The sine of x in radians.")
_row("cos", "cos", lambda m, x: m.cos(x),
     (lambda m, y, x: -m.sin(x),), (REAL,), "The cosine of x in radians.")
_row("tanh", "tanh", lambda m, x: m.tanh(x),
     (lambda m, y, x: 1.0 - y * y,), (REAL,), "The hyperbolic tangent.")
_row("sigmoid", "sigmoid", lambda m, x: m.sigmoid(x),
     (lambda m, y, x: y * (1.0 - y),), (REAL,), "The logistic function 1 / (1 + exp(-x)).")
_row("relu", "ReLU", lambda m, x: m.where(x < 0, 0.0, x),  # this way round a NaN stays a NaN
     (lambda m, y, x: m.where(x <= 0, 0.0, 1.0),), (REAL,), "The rectifier max(x, 0); its slope at 0 is taken as 0.")
_row("softplus", "softplus", lambda m, x: m.maximum(x, 0.0) + m.log1p(m.exp(-m.abs(x))),
     (lambda m, y, x: m.sigmoid(x),), (REAL,), "log(1 + exp(x)), without overflow.")
_row("abs", "abs", lambda m, x: m.abs(x),
     (lambda m, y, x: m.where(x > 0, 1.0, m.where(x < 0, -1.0, 0.0)),), (REAL,),
     "The absolute value; its slope at 0 is taken as 0.", "__abs__")
_row("maximum", "max", lambda m, a, b: m.maximum(a, b),
     (lambda m, y, a, b: m.where(a < b, 0.0, m.where(a == b, 0.5, 1.0)),
      lambda m, y, a, b: m.where(b < a, 0.0, m.where(a == b, 0.5, 1.0))), (REAL, REAL),
     "The larger of a and b; a tie gives half of the gradient to each, as in PyTorch.")
_row("minimum", "min", lambda m, a, b: m.minimum(a, b),
     (lambda m, y, a, b: m.where(a > b, 0.0, m.where(a == b, 0.5, 1.0)),
      lambda m, y, a, b: m.where(b > a, 0.0, m.where(a == b, 0.5, 1.0))), (REAL, REAL),
     "The smaller of a and b; a tie gives half of the gradient to each, as in PyTorch.")
_row("where", "where", lambda m, c, a, b: m.where(c, a, b),
     (None, lambda m, y, c, a, b: m.where(c, 1.0, 0.0), lambda m, y, c, a, b: m.where(c, 0.0, 1.0)),
     (frozenset({0.0, 1.0}), REAL, REAL), "a where the condition c is not 0, else b; c gets no gradient.")
# fmt: on

BUILT_IN = tuple(TABLE.values())
"""The elementwise rows of this file, in order; the native engine numbers its code by them."""


# ---- rows that mix elements or change shapes -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ArrayOp:
    """A row for arrays: what mixes elements or changes shapes has no local derivative, so it carries its pullback.

    name, symbol, doc: as in Op.
    forward: `(m, *inputs, **options) -> y`. Options (axis, shape, index, ...) belong to one use of the row; they are kept
        by its node and have no gradient.
    pullbacks: one `(m, g, y, *inputs, **options) -> gradient of that input` per input, the last of which may be left out
        in a use of the row; or, for any number of inputs, one `(m, g, y, i, *inputs, **options)`, asked for the i-th.
    joint: True for a row whose gradients share their work: then `pullbacks` is one `(m, g, y, *inputs, **options)` that
        returns those of all inputs.

    A forward that has made what its pullback needs puts it in the list that comes as the option `kept`; the pullback asks
    for it by `m.kept(kept, make)`, which on arrays is that list, and on tensors what `make()` computes from the inputs, for
    only that can be differentiated.

    `m` supplies every row of the table under its name, so a pullback can be differentiated again. Broadcasting is undone
    by the engine's loop: a pullback may return a gradient of the shape of y.
    """

    name: str
    symbol: str
    forward: Rule
    pullbacks: tuple[Rule, ...] | Rule
    doc: str
    joint: bool = False

    def __post_init__(self) -> None:
        rules = (self.pullbacks,) if callable(self.pullbacks) else tuple(self.pullbacks)
        if not self.name.isidentifier() or not rules or not all(callable(rule) for rule in (self.forward, *rules)):
            raise OperationError(f"array row {self.name!r} needs an identifier, a forward rule and its pullbacks")
        if self.joint and not callable(self.pullbacks):
            raise OperationError(f"array row {self.name!r} is joint, so it has a single pullback for all inputs")

    def pull(self, m: Any, wanted: Sequence[bool], g: Any, y: Any, xs: Sequence[Any], options: dict[str, Any]) -> Sequence[Any]:
        """The gradients of all inputs, for the gradient g of the output; None, or anything, for what is not wanted."""
        rules: Any = self.pullbacks
        if self.joint:
            gradients: Sequence[Any] = rules(m, g, y, *xs, **options)
            return gradients
        if len(xs) == 1 and not callable(rules):
            return (rules[0](m, g, y, xs[0], **options),)
        if callable(rules):
            return [rules(m, g, y, i, *xs, **options) if wish else None for i, wish in enumerate(wanted)]
        return [rule(m, g, y, *xs, **options) if wish else None for rule, wish in zip(rules, wanted, strict=False)]

    def __repr__(self) -> str:
        return f"<ArrayOp {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return array_lookup, (self.name,)


ARRAY_TABLE: dict[str, ArrayOp] = {}


def array_lookup(name: str) -> ArrayOp:
    """The array row of that name; OperationError when there is none."""
    if name not in ARRAY_TABLE:
        raise OperationError(f"operation {name!r} is not in the array table")
    return ARRAY_TABLE[name]


def _array_row(
    name: str, symbol: str, forward: Rule, pullbacks: tuple[Rule, ...] | Rule, doc: str, *, joint: bool = False
) -> None:
    ARRAY_TABLE[name] = ArrayOp(name, symbol, forward, pullbacks, doc, joint)


def _beside_input(m: Any, g: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """What a reduction returned, or its gradient, in a shape that broadcasts with its input."""
    return g if keepdims else m.reshape(g, shape=tuple([1 if i in axis else n for i, n in enumerate(x.shape)]))


def _spread(m: Any, g: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """The same in the shape of its input."""
    return m.broadcast_to(_beside_input(m, g, x, axis, keepdims), shape=x.shape)


def _share(m: Any, g: Any, y: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """The gradient of a largest or smallest element; ties share it evenly, as in PyTorch's amax."""
    hit = x == _beside_input(m, y, x, axis, keepdims)
    counted = m.sum(m.where(hit, 1.0, 0.0), axis=axis, keepdims=True)
    return m.where(hit, _beside_input(m, g, x, axis, keepdims) / counted, 0.0)


def _count(x: Any, axis: tuple[int, ...]) -> int:
    return math.prod([x.shape[i] for i in axis])


def _variance(m: Any, x: Any, *, axis: tuple[int, ...], keepdims: bool, correction: int) -> Any:
    d = x - m.mean(x, axis=axis, keepdims=True)
    return m.sum(d * d, axis=axis, keepdims=keepdims) / max(_count(x, axis) - correction, 0)


def _variance_pullback(m: Any, g: Any, y: Any, x: Any, *, axis: tuple[int, ...], keepdims: bool, correction: int) -> Any:
    # The mean depends on every x too, but the deviations add up to 0, so nothing comes of it.
    slope = g * 2.0 / (_count(x, axis) - correction)
    return (x - m.mean(x, axis=axis, keepdims=True)) * _beside_input(m, slope, x, axis, keepdims)


def _matmul_by_a(m: Any, g: Any, y: Any, a: Any, b: Any) -> Any:
    if len(b.shape) == 1:
        return b * (g if len(a.shape) == 1 else m.reshape(g, shape=(*g.shape, 1)))
    return m.matmul(b, g) if len(a.shape) == 1 else m.matmul(g, m.swap(b))


def _matmul_by_b(m: Any, g: Any, y: Any, a: Any, b: Any) -> Any:
    if len(a.shape) == 1:
        return (a if len(b.shape) == 1 else m.reshape(a, shape=(*a.shape, 1))) * g
    return m.matmul(m.swap(a), g)


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def _concatenated(m: Any, g: Any, y: Any, i: int, *xs: Any, axis: int) -> Any:
    start = sum(x.shape[axis] for x in xs[:i])
    return m.getitem(g, index=(slice(None),) * axis + (slice(start, start + xs[i].shape[axis]),))


# fmt: off
_array_row("sum", "sum", lambda m, x, *, axis, keepdims: m.sum(x, axis=axis, keepdims=keepdims),
           (lambda m, g, y, x, *, axis, keepdims: _spread(m, g, x, axis, keepdims),), "The sum over axes.")
_array_row("mean", "mean", lambda m, x, *, axis, keepdims: m.mean(x, axis=axis, keepdims=keepdims),
           (lambda m, g, y, x, *, axis, keepdims: _spread(m, g * (y.size / max(x.size, 1)), x, axis, keepdims),),
           "The mean over axes.")
_array_row("var", "var", _variance, (_variance_pullback,),
           "The sum of the squared deviations from the mean over axes, divided by their number minus the correction.")
_array_row("amax", "max", lambda m, x, *, axis, keepdims: m.amax(x, axis=axis, keepdims=keepdims),
           (lambda m, g, y, x, *, axis, keepdims: _share(m, g, y, x, axis, keepdims),),
           "The largest element over axes; ties share the gradient.")
_array_row("amin", "min", lambda m, x, *, axis, keepdims: m.amin(x, axis=axis, keepdims=keepdims),
           (lambda m, g, y, x, *, axis, keepdims: _share(m, g, y, x, axis, keepdims),),
           "The smallest element over axes; ties share the gradient.")
_array_row("logsumexp", "logsumexp", lambda m, x, *, axis, keepdims: m.logsumexp(x, axis=axis, keepdims=keepdims),
           (lambda m, g, y, x, *, axis, keepdims:
            _beside_input(m, g, x, axis, keepdims) * m.exp(x - _beside_input(m, y, x, axis, keepdims)),),
           "The logarithm of the sum of exponentials over axes, without overflow.")
_array_row("softmax", "softmax", lambda m, x, *, axis: m.softmax(x, axis=axis),
           (lambda m, g, y, x, *, axis: y * (g - m.sum(g * y, axis=axis, keepdims=True)),),
           "exp(x) divided by its sum over the axis.")
_array_row("log_softmax", "log_softmax", lambda m, x, *, axis: m.log_softmax(x, axis=axis),
           (lambda m, g, y, x, *, axis: g - m.exp(y) * m.sum(g, axis=axis, keepdims=True),),
           "The logarithm of softmax, without overflow.")
_array_row("matmul", "@", lambda m, a, b: m.matmul(a, b),
           (_matmul_by_a, _matmul_by_b),
           "The matrix product of the last two axes; a vector is a row on the left and a column on the right.")
_array_row("reshape", "reshape", lambda m, x, *, shape: m.reshape(x, shape=shape),
           (lambda m, g, y, x, *, shape: m.reshape(g, shape=x.shape),), "The same elements in another shape.")
_array_row("transpose", "permute", lambda m, x, *, axes: m.transpose(x, axes=axes),
           (lambda m, g, y, x, *, axes: m.transpose(g, axes=_inverse(axes)),), "The axes in another order.")
_array_row("broadcast_to", "broadcast", lambda m, x, *, shape: m.broadcast_to(x, shape=shape),
           (lambda m, g, y, x, *, shape: g,), "The elements repeated to a larger shape.")
_array_row("getitem", "[]", lambda m, x, *, index: m.getitem(x, index=index),
           (lambda m, g, y, x, *, index: m.scatter(g, index=index, shape=x.shape),),
           "The elements at an index; repeated ones add up their gradients.")
_array_row("scatter", "scatter", lambda m, x, *, index, shape: m.scatter(x, index=index, shape=shape),
           (lambda m, g, y, x, *, index, shape: m.getitem(g, index=index),),
           "Zeros of a shape with x added at an index; what getitem pulls back.")
_array_row("concatenate", "concat", lambda m, *xs, axis: m.concatenate(*xs, axis=axis), _concatenated,
           "Arrays joined along an axis.")
_array_row("stack", "stack", lambda m, *xs, axis: m.stack(*xs, axis=axis),
           lambda m, g, y, i, *xs, axis: m.getitem(g, index=(slice(None),) * axis + (i,)),
           "Arrays of one shape along a new axis.")
_array_row("astype", "cast", lambda m, x, *, dtype: m.astype(x, dtype=dtype),
           (lambda m, g, y, x, *, dtype: m.astype(g, dtype=x.dtype),), "The same elements in another dtype.")
# fmt: on


# ---- fused rows: what networks do at every step, in as few passes over memory as there can be ------------------------

# Where a rule below changes its own array by += or *=, that is done in place; of a tensor Python makes a new one.


def _linear_by_x(m: Any, g: Any, y: Any, x: Any, w: Any, *b: Any) -> Any:
    dx = m.matmul(_rows(m, g), w)
    return dx if len(x.shape) == 2 else m.reshape(dx, shape=x.shape)


def _rows(m: Any, x: Any) -> Any:
    """The samples of all leading axes as rows of one matrix."""
    if len(x.shape) == 2:
        return x
    return m.reshape(x, shape=(math.prod(x.shape[:-1]), x.shape[-1]))


def _cross_entropy_pullback(m: Any, g: Any, y: Any, logits: Any, *, labels: Any, reduction: str, kept: list[Any]) -> Any:
    slope = m.kept(kept, lambda: [m.softmax(logits, axis=1) - m.one_hot(labels, logits)])[0]
    if reduction == "none":
        return slope * m.reshape(g, shape=(len(labels), 1))
    return slope * (g / len(labels) if reduction == "mean" else g)


def _deviations(m: Any, x: Any, axis: tuple[int, ...], correction: int, eps: float) -> tuple[Any, ...]:
    """x minus its mean along axes; and per channel 1 / the standard deviation, the mean and the variance."""
    mean = m.mean(x, axis=axis, keepdims=False)
    d = x - _beside(m, mean, x, axis)
    var = m.sum(d * d, axis=axis, keepdims=False) / (_count(x, axis) - correction)
    return d, 1.0 / m.sqrt(var + eps), mean, var


def _beside(m: Any, w: Any, x: Any, axis: tuple[int, ...]) -> Any:
    """A number per channel, in a shape that broadcasts with x."""
    if len(x.shape) == 2:
        return w
    return m.reshape(w, shape=tuple(1 if i in axis else n for i, n in enumerate(x.shape)))


def _batch_norm(m: Any, x: Any, w: Any, b: Any, *, axis: tuple[int, ...], correction: int, eps: float, kept: list[Any]) -> Any:
    kept[:] = d, scale, _, _ = _deviations(m, x, axis, correction, eps)
    y = d * _beside(m, w * scale, x, axis)
    y += _beside(m, b, x, axis)
    return y


def _batch_norm_pullback(
    m: Any, g: Any, y: Any, x: Any, w: Any, b: Any, *, axis: tuple[int, ...], correction: int, eps: float, kept: list[Any]
) -> tuple[Any, Any, Any]:
    # With d = x - mean and s = 1 / std:  dx = w * s * (g - mean(g) - d * s * s * sum(g * d) / (n - correction)), for the mean
    # and the variance depend on every x (Ioffe and Szegedy 2015, section 3, where the correction is 0).
    d, s, _, _ = m.kept(kept, lambda: _deviations(m, x, axis, correction, eps))
    n = _count(x, axis)
    db, dw = m.sum(g, axis=axis, keepdims=False), m.sum(g * d, axis=axis, keepdims=False) * s
    dx = d * _beside(m, dw * s / (correction - n), x, axis)
    dx += g
    dx -= _beside(m, db / n, x, axis)
    dx *= _beside(m, w * s, x, axis)
    return dx, dw, db


# fmt: off
_array_row("linear", "linear", lambda m, x, w, *b: m.linear(x, w, *b),
           (_linear_by_x, lambda m, g, y, x, w, *b: m.matmul(m.swap(_rows(m, g)), _rows(m, x)),
            lambda m, g, y, x, w, b: m.sum(_rows(m, g), axis=(0,), keepdims=False)),
           "x @ w.T + b, for rows of features in the last axis of x; b may be left out.")
_array_row("embedding", "embedding", lambda m, w, *, index: m.embedding(w, index=index),
           (lambda m, g, y, w, *, index: m.scatter(g, index=(index,), shape=w.shape),),
           "Rows of a table; those that are looked up several times add up their gradients.")
_array_row("cross_entropy", "cross-entropy",
           lambda m, logits, *, labels, reduction, kept: m.cross_entropy(logits, labels, reduction, kept),
           (_cross_entropy_pullback,), "Minus the logarithm of softmax at the label of each row.")
_array_row("batch_norm", "batch norm", _batch_norm, _batch_norm_pullback,
           "Each channel with mean 0 and variance 1 over the batch, then scaled and shifted.", joint=True)
# fmt: on


def lookup(name: str) -> Op:
    """The row of that name; OperationError when no such operation is registered (any more)."""
    try:
        return TABLE[name]
    except KeyError:
        raise OperationError(
            f"operation {name!r} is not in the table; register it (chainrule.register) before it is used or unpickled"
        ) from None


def add_row(
    name: str,
    forward: Rule,
    derivatives: Sequence[Rule | None],
    domain: Sequence[Interval],
    *,
    symbol: str = "",
    doc: str = "",
    replace: bool = False,
) -> Op:
    """Check a new operation numerically on its domain, add it to the table and return it.

    The engine's `register` is the public door; it also makes the operation callable. Raises OperationError when the name
    is taken, the parts do not fit, or a derivative disagrees with the forward rule.
    """
    derivatives, domain = _as_tuple(derivatives, "derivatives", name), _as_tuple(domain, "domain", name)
    op = Op(name, symbol or name, forward, derivatives, domain, doc or f"The registered operation {name}.")
    if TABLE.get(name) in BUILT_IN:
        raise OperationError(f"operation {name!r} is built in; choose another name")
    if name in TABLE and not replace:
        raise OperationError(f"operation {name!r} is in the table already; replace=True takes its place")
    check_derivatives(op)
    TABLE[name] = op
    return op


def _as_tuple(parts: Any, what: str, name: str) -> tuple[Any, ...]:
    if not isinstance(parts, (tuple, list)):
        raise OperationError(f"operation {name!r}: {what} must be a list with one entry per input")
    return tuple(parts)


def check_derivatives(op: Op, samples: int = 25, tolerance: float = 1e-6) -> None:
    """Compare each local derivative with centred differences at points drawn from the domain.

    Points on a kink, where the two one-sided slopes differ, prove nothing and are passed over; at least half of the
    points must count. The relative error |d - n| / max(|d|, |n|, a hundredth of the largest slope) may reach
    `tolerance`, beyond what rounding leaves: a few eps * |y| / h (CS231n notes, "Gradient checks"). Raises OperationError
    naming the input, the point and both numbers.
    """
    rng = random.Random(op.name)  # the same points in every process
    for i, derivative in enumerate(op.derivatives):
        if derivative is not None:
            probes = [_probe(op, derivative, op.sample(rng), i) for _ in range(samples)]
            largest = max(max(abs(probe.low), abs(probe.high)) for probe in probes)
            smooth = [probe for probe in probes if abs(probe.high - probe.low) <= 1e-3 * largest + 4 * probe.rounding]
            if len(smooth) < samples / 2:
                raise OperationError(f"operation {op.name!r}: no slope by input {i} at most points of its domain; narrow it")
            for probe in smooth:
                _judge(op, i, probe, largest, tolerance)


class _Probe(NamedTuple):
    """At xs: the derivative rule, the slopes of the forward rule just below and above, and what rounding does to those."""

    xs: list[float]
    exact: float
    low: float
    high: float
    rounding: float


def _judge(op: Op, i: int, probe: _Probe, largest: float, tolerance: float) -> None:
    numeric = (probe.low + probe.high) / 2.0
    scale = max(abs(probe.exact), abs(numeric), largest / 100)
    if not abs(probe.exact - numeric) <= tolerance * scale + probe.rounding:
        raise OperationError(
            f"operation {op.name!r}: at {_point(probe.xs)} the derivative by input {i} is {probe.exact:.9g}, "
            f"but centred differences of its forward give {numeric:.9g}"
        )


def _probe(op: Op, derivative: Rule, xs: list[float], i: int) -> _Probe:
    h = 1e-5 * max(1.0, abs(xs[i]))
    try:
        below, here, above = (op.forward(FloatMath, *xs[:i], x, *xs[i + 1 :]) for x in (xs[i] - h, xs[i], xs[i] + h))
        slopes = derivative(FloatMath, here, *xs), (here - below) / h, (above - here) / h
        finite = all(math.isfinite(slope) for slope in slopes)
    except (ArithmeticError, ValueError, TypeError, AttributeError) as error:
        raise OperationError(f"operation {op.name!r} fails on its own domain at {_point(xs)}: {error}") from error
    if not finite:
        raise OperationError(f"operation {op.name!r} or its derivative by input {i} is not finite at {_point(xs)}")
    return _Probe(xs, *slopes, rounding=8 * sys.float_info.epsilon * max(abs(below), abs(above)) / h)


def _point(xs: Sequence[float]) -> str:
    return "(" + ", ".join(f"{x:.6g}" for x in xs) + ")"


def domain_error(op: Op, expression: str, xs: Sequence[float], error: Exception | None = None, *, backward: bool) -> DomainError:
    """The exception for a row that failed at these inputs.

    expression: the row with its inputs, as `spell` writes it.
    error: what the rule raised; None when only that it failed is known, and then it is run again to see.
    """
    if op not in BUILT_IN:
        kind = DivisionByZeroError if isinstance(error, ZeroDivisionError) else DomainError
        return kind(f"{'the derivative of ' * backward}{expression} fails: {error}")
    if backward:
        return DomainError(f"the derivative of {expression} does not exist at this point")
    if isinstance(error or _failure(op, xs), ZeroDivisionError):
        return DivisionByZeroError(f"{expression} divides by zero")
    return DomainError(f"{expression} is outside the domain of {op.name}: {op.doc[0].lower()}{op.doc[1:]}")


def spell(op: Op, xs: Sequence[float], labels: Sequence[str]) -> str:
    """A row with its inputs, as messages show it.

    >>> spell(TABLE["mul"], [2.0, 3.0], ["a", ""])
    'a=2.0 * 3.0'
    >>> spell(TABLE["log"], [-1.0], [""])
    'log(-1.0)'
    """
    shown = [f"{label}={x!r}" if label else f"{x!r}" for x, label in zip(xs, labels, strict=True)]
    if op.method.startswith("__") and op.arity == 2:
        return f"{shown[0]} {op.symbol} {shown[1]}"
    return f"{op.name}({', '.join(shown)})"


def _failure(op: Op, xs: Sequence[float]) -> Exception | None:
    try:
        op.forward(FloatMath, *xs)
    except (ArithmeticError, ValueError) as error:
        return error
    return None
