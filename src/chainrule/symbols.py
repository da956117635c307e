r"""Text as a number type: run a rule of the table on symbols instead of numbers, and it prints itself.

>>> from chainrule import ops
>>> python(ops.TABLE["tanh"]).derivatives
('1 - y * y',)
>>> latex(ops.TABLE["div"]).forward
'\\frac{a}{b}'
>>> c(ops.TABLE["log"]).derivatives
('cr_div(1.0, x)',)

`c` gives the code of the native engine, `VECTOR` and `LIBM` that of the compiler's kernels, `latex` the formulas of the
reference page, `python` readable and runnable text.
A `Style` says how one language writes infix operators, numbers and intrinsics; nothing else differs. Imports ops.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from chainrule.ops import INTRINSICS, Op

# How tightly an expression holds together; an operand that is looser than its place gets parentheses.
COMPARE, SUM, PRODUCT, SIGN, POWER, ATOM = range(6)


class Formula(NamedTuple):
    """A row as text: the forward rule, and one local derivative per input (None for an input that is a choice)."""

    forward: str
    derivatives: tuple[str | None, ...]
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Style:
    """One language: templates for `{0} + {1}` and for the intrinsics, and how it writes a number.

    infix: from operator to (template, how tightly it holds, what its left and right operands must hold).
    functions: from intrinsic to (template, how tightly it holds); operands of a function need no parentheses.
    """

    infix: Mapping[str, tuple[str, int, int, int]]
    functions: Mapping[str, tuple[str, int]]
    number: Callable[[float], str]


class Text:
    """A number that is the text of an expression. Comparisons give text as well, so it cannot be hashed."""

    __slots__ = ("level", "style", "text")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, text: str, level: int, style: Style) -> None:
        self.text, self.level, self.style = text, level, style

    def _in(self, place: int) -> str:
        return self.text if self.level >= place else f"({self.text})"

    def _infix(self, symbol: str, a: Any, b: Any) -> "Text":
        template, level, left, right = self.style.infix[symbol]
        return Text(template.format(_text(a, self.style)._in(left), _text(b, self.style)._in(right)), level, self.style)

    def __neg__(self) -> "Text":
        return Text("-" + self._in(SIGN), SIGN, self.style)

    def __add__(self, b: Any) -> "Text":
        return self._infix("+", self, b)

    def __radd__(self, a: Any) -> "Text":
        return self._infix("+", a, self)

    def __sub__(self, b: Any) -> "Text":
        return self._infix("-", self, b)

    def __rsub__(self, a: Any) -> "Text":
        return self._infix("-", a, self)

    def __mul__(self, b: Any) -> "Text":
        return self._infix("*", self, b)

    def __rmul__(self, a: Any) -> "Text":
        return self._infix("*", a, self)

    def __truediv__(self, b: Any) -> "Text":
        return self._infix("/", self, b)

    def __rtruediv__(self, a: Any) -> "Text":
        return self._infix("/", a, self)

    def __pow__(self, b: Any) -> "Text":
        return self._infix("**", self, b)

    def __rpow__(self, a: Any) -> "Text":
        return self._infix("**", a, self)

    def __lt__(self, b: Any) -> "Text":
        return self._infix("<", self, b)

    def __gt__(self, b: Any) -> "Text":
        return self._infix(">", self, b)

    def __le__(self, b: Any) -> "Text":
        return self._infix("<=", self, b)

    def __ge__(self, b: Any) -> "Text":
        return self._infix(">=", self, b)

    def __eq__(self, b: Any) -> "Text":  # type: ignore[override]
        return self._infix("==", self, b)

    def __ne__(self, b: Any) -> "Text":  # type: ignore[override]
        return self._infix("!=", self, b)


class TextMath:
    """`m` for text in one style."""

    def __init__(self, style: Style) -> None:
        for name in INTRINSICS:
            setattr(self, name, self._function(name, style))

    def __getattr__(self, name: str) -> Any:  # only for names that __init__ has not set
        raise AttributeError(f"m has no {name!r}; it has {', '.join(INTRINSICS)}")

    @staticmethod
    def _function(name: str, style: Style) -> Callable[..., Text]:
        template, level = style.functions[name]
        return lambda *xs: Text(template.format(*(_text(x, style).text for x in xs)), level, style)


def _text(x: Any, style: Style) -> Text:
    if isinstance(x, Text):
        return x
    return Text(style.number(x), SIGN if x < 0 else ATOM, style)


def formula(op: Op, style: Style) -> Formula:
    """The text of a row in one style; inputs are called what the forward rule calls them, the output is `y`."""
    names = tuple(inspect.signature(op.forward).parameters)[1:]
    m = TextMath(style)
    y, *xs = (Text(name, ATOM, style) for name in ("y", *names))
    slopes = [None if rule is None else _text(rule(m, y, *xs), style).text for rule in op.derivatives]
    return Formula(_text(op.forward(m, *xs), style).text, tuple(slopes), names)


def c(op: Op) -> Formula:
    """A row in C. Division, log, sqrt, pow, sin and cos go through guards (`cr_div`, ...) that notice a left domain."""
    return formula(op, C)


def latex(op: Op) -> Formula:
    """A row in LaTeX."""
    return formula(op, LATEX)


def python(op: Op) -> Formula:
    """A row in Python, with the intrinsics as bare names."""
    return formula(op, PYTHON)


def _c_number(x: float) -> str:
    return "NAN" if math.isnan(x) else "INFINITY" if x == math.inf else "-INFINITY" if x == -math.inf else repr(float(x))


def _plain_number(x: float) -> str:
    return "nan" if math.isnan(x) else repr(int(x)) if math.isfinite(x) and x == int(x) else repr(x)


def _latex_number(x: float) -> str:
    return r"\mathrm{nan}" if math.isnan(x) else _plain_number(x).replace("inf", r"\infty")


_COMPARISONS = {symbol: (f"{{0}} {symbol} {{1}}", COMPARE, SUM, SUM) for symbol in ("<", ">", "<=", ">=", "==", "!=")}
_ARITHMETIC = {
    "+": ("{0} + {1}", SUM, SUM, SUM),
    "-": ("{0} - {1}", SUM, SUM, PRODUCT),
    "*": ("{0} * {1}", PRODUCT, PRODUCT, SIGN),
    "/": ("{0} / {1}", PRODUCT, PRODUCT, SIGN),
    "**": ("{0} ** {1}", POWER, ATOM, SIGN),
    **_COMPARISONS,
}

# Sums and products keep the order of the rule, so that pure and native round alike.
C = Style(
    {
        **_ARITHMETIC,
        "+": ("{0} + {1}", SUM, SUM, PRODUCT),
        "/": ("cr_div({0}, {1})", ATOM, COMPARE, COMPARE),
        "**": ("cr_pow({0}, {1})", ATOM, COMPARE, COMPARE),
    },
    {
        **{name: (f"{name}({{0}})", ATOM) for name in ("exp", "tanh")},
        **{name: (f"cr_{name}({{0}})", ATOM) for name in ("cos", "log", "log1p", "sigmoid", "sin", "sqrt")},
        **{name: (f"cr_{name}({{0}}, {{1}})", ATOM) for name in ("maximum", "minimum", "pow")},
        "abs": ("fabs({0})", ATOM),
        "where": ("(({0}) ? ({1}) : ({2}))", ATOM),
    },
    _c_number,
)

# For loops over a type T that become vector code: no guards (what leaves a domain is NaN or infinity), and the functions
# of native/vectormath.h, or those of libm.
VECTOR = Style(
    {
        **_ARITHMETIC,
        "+": ("{0} + {1}", SUM, SUM, PRODUCT),
        "**": ("VM(pow)({0}, {1})", ATOM, COMPARE, COMPARE),
    },
    {
        **{name: (f"VM({name})({{0}})", ATOM) for name in ("cos", "exp", "log", "log1p", "sigmoid", "sin", "tanh")},
        **{name: (f"VM({name})({{0}}, {{1}})", ATOM) for name in ("maximum", "minimum", "pow")},
        "abs": ("VM(abs)({0})", ATOM),
        "sqrt": ("VM(sqrt)({0})", ATOM),
        "where": ("(({0}) ? ({1}) : ({2}))", ATOM),
    },
    lambda x: f"((T){_c_number(x)})",
)
LIBM = Style(
    {**VECTOR.infix, "**": ("((T)pow({0}, {1}))", ATOM, COMPARE, COMPARE)},
    {
        **VECTOR.functions,
        **{name: (f"((T){name}({{0}}))", ATOM) for name in ("cos", "exp", "log", "log1p", "sin", "tanh")},
        "pow": ("((T)pow({0}, {1}))", ATOM),
    },
    VECTOR.number,
)

PYTHON = Style(
    _ARITHMETIC,
    {
        **{name: (f"{name}({{0}})", ATOM) for name in INTRINSICS},
        **{name: (f"{name}({{0}}, {{1}})", ATOM) for name in ("maximum", "minimum", "pow")},
        "where": ("where({0}, {1}, {2})", ATOM),
    },
    _plain_number,
)

LATEX = Style(
    {
        **{symbol: _ARITHMETIC[symbol] for symbol in ("+", "-", "<", ">")},
        "*": (r"{0} \, {1}", PRODUCT, PRODUCT, PRODUCT),
        "/": (r"\frac{{{0}}}{{{1}}}", ATOM, COMPARE, COMPARE),
        "**": ("{0}^{{{1}}}", POWER, ATOM, COMPARE),
        "<=": (r"{0} \le {1}", COMPARE, SUM, SUM),
        ">=": (r"{0} \ge {1}", COMPARE, SUM, SUM),
        "==": ("{0} = {1}", COMPARE, SUM, SUM),
        "!=": (r"{0} \ne {1}", COMPARE, SUM, SUM),
    },
    {
        **{name: (rf"\{name}\left({{0}}\right)", ATOM) for name in ("cos", "log", "sin", "tanh")},
        "abs": (r"\left|{0}\right|", ATOM),
        "exp": ("e^{{{0}}}", POWER),
        "log1p": (r"\log\left(1 + {0}\right)", ATOM),
        "maximum": (r"\max\left({0}, {1}\right)", ATOM),
        "minimum": (r"\min\left({0}, {1}\right)", ATOM),
        "pow": (r"\left({0}\right)^{{{1}}}", POWER),
        "sigmoid": (r"\sigma\left({0}\right)", ATOM),
        "sqrt": (r"\sqrt{{{0}}}", ATOM),
        "where": (r"\begin{{cases}} {1} & \text{{if }} {0} \\ {2} & \text{{else}} \end{{cases}}", ATOM),
    },
    _latex_number,
)
