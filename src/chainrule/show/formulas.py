"""The rows of the table as formulas in plain text: `d tanh(x)/dx = 1 - y²`, and what they are at one node.

>>> from chainrule import ops
>>> derivative(ops.TABLE["tanh"], 0)
'd tanh(x)/dx = 1 - y²'
>>> at_point(ops.TABLE["pow"], 0, "y", ["x", "2"], 9.0, [3.0, 2.0])
('2 × x**(2 - 1)', '2 × 3**(2 - 1)')

A row is printed by running it on text, as symbols.py does; at a node the text knows its number as well, so that the
choices of a rule (`where`) are decided, and only the branch that counts is shown. Rows of arrays, which have no local
derivative, show their pullback: what they do to the gradient of the output. Imports ops, symbols and wording.
"""

import functools
import inspect
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from chainrule.ops import BUILT_IN, INTRINSICS, FloatMath, Op
from chainrule.show.wording import short
from chainrule.symbols import ATOM, COMPARE, POWER, PRODUCT, SIGN, SUM, Style, Text

CHOICE = -1  # how tightly `a if c else b` holds: less than anything

PLAIN = Style(
    {
        "+": ("{0} + {1}", SUM, SUM, SUM),
        "-": ("{0} - {1}", SUM, SUM, PRODUCT),
        "*": ("{0} × {1}", PRODUCT, PRODUCT, PRODUCT),
        "/": ("{0} / {1}", PRODUCT, PRODUCT, SIGN),
        "**": ("{0}**{1}", POWER, ATOM, ATOM),
        "<": ("{0} < {1}", COMPARE, SUM, SUM),
        ">": ("{0} > {1}", COMPARE, SUM, SUM),
        "<=": ("{0} ≤ {1}", COMPARE, SUM, SUM),
        ">=": ("{0} ≥ {1}", COMPARE, SUM, SUM),
        "==": ("{0} = {1}", COMPARE, SUM, SUM),
        "!=": ("{0} ≠ {1}", COMPARE, SUM, SUM),
    },
    {
        **{name: (f"{name}({{0}})", ATOM) for name in INTRINSICS},
        "abs": ("|{0}|", ATOM),
        "maximum": ("max({0}, {1})", ATOM),
        "minimum": ("min({0}, {1})", ATOM),
        "where": ("{1} if {0} else {2}", CHOICE),
    },
    short,
)
"""Formulas as a person writes them on one line."""

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": FloatMath.pow,
    "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


class Term(Text):
    """Text that may know its number; a comparison of known numbers is as true as they make it."""

    __slots__ = ("value",)
    __hash__ = None

    def __init__(self, text: str, level: int = ATOM, value: Any = None) -> None:
        super().__init__(text, level, PLAIN)
        self.value = value

    def _infix(self, symbol: str, a: Any, b: Any) -> "Term":
        a, b = term(a), term(b)
        known = a.value is not None and b.value is not None
        value = _OPERATORS[symbol](a.value, b.value) if known else None
        if symbol == "*" and a is b:  # y * y in a rule; not the product of two inputs of one name
            return Term(f"{a._in(ATOM)}²", POWER, value)
        template, level, left, right = PLAIN.infix[symbol]
        right = ATOM if symbol in "+-" and b.text.startswith("-") else right  # 2 + (-6)
        return Term(template.format(a._in(left), b._in(right)), level, value)

    def __neg__(self) -> "Term":
        return Term("-" + self._in(POWER), SIGN, None if self.value is None else -self.value)

    def __bool__(self) -> bool:
        if self.value is None:
            raise TypeError("the truth of text is not known")
        return bool(self.value)


def term(x: Any) -> Term:
    """A number, or what is a term already."""
    if isinstance(x, Term):
        return x
    return _named(short(x), x)


def _named(name: str, x: Any) -> Term:
    """What is called `name`, if need be a number itself, and is x."""
    return Term(name, SIGN if name[:1] == "-" or _EXPONENT.search(name) else ATOM, x)


_EXPONENT = re.compile(r"^[\d.]+e[+-]\d+$")


class _TermMath:
    """`m` for terms."""

    def __getattr__(self, name: str) -> Callable[..., Term]:
        if name not in INTRINSICS:
            raise AttributeError(f"m has no {name!r}; it has {', '.join(INTRINSICS)}")
        return functools.partial(intrinsic, name)


def intrinsic(name: str, *xs: Any) -> Term:
    """What `m.name` gives for terms."""
    terms = [term(x) for x in xs]
    if name == "where" and terms[0].value is not None:
        return terms[1] if terms[0].value else terms[2]
    if name == "pow":
        return terms[0]._infix("**", *terms)
    known = all(x.value is not None for x in terms)
    value = getattr(FloatMath, name)(*(x.value for x in terms)) if known else None
    template, level = PLAIN.functions[name]
    # What comes before the last branch of a choice is held together by parentheses.
    places = (COMPARE, COMPARE, CHOICE) if name == "where" else (CHOICE,) * len(terms)
    inner = [x._in(place) for x, place in zip(terms, places, strict=True)]
    return Term(template.format(*inner), level, value)


_m = _TermMath()


# ---- a row as it stands in the table ---------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def forward(op: Op) -> str:
    """A row as a formula of its own names, as "a × b"; its doc for rows that do not run on text."""
    try:
        return term(op.forward(_m, *(Term(name) for name in inputs(op)))).text
    except Exception:  # a rule of the user's may do anything; those of the table run on text
        if op in BUILT_IN:
            raise
        return f"{op.name}({', '.join(inputs(op))})"


@functools.lru_cache(maxsize=1024)
def derivative(op: Op, i: int) -> str:
    """The local derivative by the i-th input, as "d tanh(x)/dx = 1 - y²"; "" where there is none or it does not run on text.

    The output is called y.
    """
    return _derivative(op, i, [None] * op.arity, None)


def derivative_for(op: Op, i: int, y: float | None, xs: Sequence[float | None]) -> str:
    """The same; where choices stand inside of the formula, only the branch that counts for these numbers (None: not known).

    >>> from chainrule import ops
    >>> derivative_for(ops.TABLE["pow"], 0, 9.0, [3.0, 2.0])
    'd (a**b)/da = b × a**(b - 1)'
    """
    general = derivative(op, i)
    return _derivative(op, i, xs, y) if _INNER_CHOICE.search(general.partition(" = ")[2]) else general


_INNER_CHOICE = re.compile(r"\(.* if ")


def _derivative(op: Op, i: int, xs: Sequence[Any], y: Any) -> str:
    rule, names = op.derivatives[i], inputs(op)
    if rule is None:
        return ""
    try:
        slope = term(rule(_m, Term("y", ATOM, y), *(Term(name, ATOM, x) for name, x in zip(names, xs, strict=True)))).text
    except Exception:  # a rule of the user's may do anything; those of the table run on text
        if op in BUILT_IN:
            raise
        return ""
    return f"d {_called(op, names)}/d{names[i]} = {slope}"


def inputs(op: Op) -> tuple[str, ...]:
    """What a row calls its inputs."""
    return tuple(inspect.signature(op.forward).parameters)[1:]


def _called(op: Op, names: Sequence[str]) -> str:
    """What is differentiated: `tanh(x)`, and for operators `(a × b)`."""
    if op.method.startswith("__") and op.name != "abs":
        return f"({forward(op)})"
    return f"{op.name}({', '.join(names)})"


# ---- a row at a node -------------------------------------------------------------------------------------------------


def value_at_point(op: Op, names: Sequence[str], xs: Sequence[float]) -> tuple[str, str]:
    """What an operation computes, in the names of its inputs and in their numbers, as ("a × b", "2 × -3").

    Functions keep their name, `relu(x)`, since what they are written with says less.
    """
    return value_in_names(op, names), value_in_names(op, [short(x) for x in xs])


def value_in_names(op: Op, names: Sequence[str]) -> str:
    """The first of the two."""
    if op.method.startswith("__"):
        return term(op.forward(_m, *(_named(name, None) for name in names))).text
    return f"{op.name}({', '.join(names)})"


def at_point(op: Op, i: int, y_name: str, names: Sequence[str], y: float | None, xs: Sequence[float | None]) -> tuple[str, str]:
    """The local derivative by the i-th input at a node, in names and in numbers, as ("1 - o²", "1 - 0.7071²").

    y_name, names: what the output and the inputs are called; y, xs: their numbers, None for those that are not known.

    Empty strings where there is none, the rule does not run on text, or the numbers are not known.
    """
    rule = op.derivatives[i]
    if rule is None:
        return "", ""
    numbers = [y, *xs]
    try:
        in_names = term(rule(_m, *map(_named, [y_name, *names], numbers))).text
        known = None not in numbers
        return in_names, term(rule(_m, *map(term, numbers))).text if known else ""
    except Exception:  # a rule of the user's may do anything; those of the table run on text
        if op in BUILT_IN:
            raise
        return "", ""
