"""Text as a number type: what is printed computes what the row computes."""

import ast
import math
import random

import pytest

from chainrule import ops, symbols
from chainrule.ops import BUILT_IN, FloatMath, Op

rows = pytest.mark.parametrize("op", BUILT_IN, ids=lambda op: op.name)
NAMES = {name: getattr(FloatMath, name) for name in ops.INTRINSICS} | {"nan": math.nan}


@rows
def test_the_python_text_of_a_row_computes_it(op):
    text = symbols.python(op)
    rng = random.Random(op.name)
    for _ in range(50):
        xs = op.sample(rng)
        here = {**NAMES, **dict(zip(text.inputs, xs, strict=True))}
        y = eval(text.forward, here)
        assert y == op.forward(FloatMath, *xs)
        for derivative, formula in zip(op.derivatives, text.derivatives, strict=True):
            assert (derivative is None) == (formula is None)
            if derivative is not None:
                assert eval(formula, {**here, "y": y}) == derivative(FloatMath, y, *xs)


def formula_of(rule, symbol="f"):
    op = Op("made", symbol, rule, (lambda m, y, a, b: 1.0,) * 2, ((0.0, 1.0),) * 2, "Made for a test.")
    return symbols.python(op).forward, symbols.latex(op).forward, symbols.c(op).forward


@pytest.mark.parametrize(
    ("rule", "python"),
    [
        (lambda m, a, b: (a - b) - (a - b), "a - b - (a - b)"),
        (lambda m, a, b: (a + b) * (a - 2), "(a + b) * (a - 2)"),
        (lambda m, a, b: a / (b * a) / b, "a / (b * a) / b"),
        (lambda m, a, b: -((a + b) ** 2), "-(a + b) ** 2"),
        (lambda m, a, b: (-a) ** b, "(-a) ** b"),
        (lambda m, a, b: 2**a - 1 / b, "2 ** a - 1 / b"),
        (lambda m, a, b: a * -b, "a * -b"),
        (lambda m, a, b: a - -3, "a - -3"),
        (lambda m, a, b: m.where(a >= b, m.pow(a, 0.5), 3 - b), "where(a >= b, pow(a, 0.5), 3 - b)"),
    ],
)
def test_parentheses_stand_where_they_are_needed(rule, python):
    text, _, _ = formula_of(rule)
    assert text == python
    rng = random.Random(0)
    for _ in range(20):
        here = {"a": rng.uniform(0.5, 2), "b": rng.uniform(0.5, 2)}
        assert eval(text, {**NAMES, **here}) == rule(FloatMath, **here)


def test_c_keeps_the_order_of_sums_and_guards_what_can_fail():
    assert formula_of(lambda m, a, b: a + (b + a))[2] == "a + (b + a)"
    assert formula_of(lambda m, a, b: a / b + m.log(b) ** 2)[2] == "cr_div(a, b) + cr_pow(cr_log(b), 2.0)"
    assert formula_of(lambda m, a, b: m.where(a > 1, math.inf, -math.inf))[2] == "((a > 1.0) ? (INFINITY) : (-INFINITY))"


def test_latex_reads_well():
    assert formula_of(lambda m, a, b: m.exp(-a) / (1 + b))[1] == r"\frac{e^{-a}}{1 + b}"
    assert formula_of(lambda m, a, b: (a + b) ** 2)[1] == "(a + b)^{2}"


@rows
def test_latex_braces_balance(op):
    for formula in (symbols.latex(op).forward, *symbols.latex(op).derivatives):
        assert formula is None or formula.count("{") == formula.count("}")


def test_an_unknown_intrinsic_is_named():
    with pytest.raises(AttributeError, match="m has no 'gamma'"):
        formula_of(lambda m, a, b: m.gamma(a))


@rows
def test_python_text_parses(op):
    assert ast.parse(symbols.python(op).forward, mode="eval")
