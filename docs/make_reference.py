"""Writes docs/reference.md from the table of operations: `python docs/make_reference.py`.

Every formula on the page is a rule of the table, run on text; every number is a rule run on floats. So the page cannot
disagree with the code, and a test compares the committed page with what `page()` returns.
"""

import math
import sys
from pathlib import Path

from chainrule import ops, symbols
from chainrule.ops import FloatMath, Op

PAGE = Path(__file__).with_name("reference.md")

HEAD = """\
# Reference of operations

<!-- Written by docs/make_reference.py from the table in src/chainrule/ops.py; change the table, then run the script. -->

Every operation of chainrule is one row of a table: a forward rule and one local derivative per input. This page is that
table in another notation. The local derivatives are what `backward()` multiplies on its way from the output to the inputs.

Letters: *x*, *a*, *b* and *c* are the inputs, *y* is the output, *m* is the namespace that supplies functions to a rule,
and σ is the logistic function. *nan* stands where there is no slope.
"""


def spelling(op: Op) -> str:
    """How a program writes the operation."""
    names = symbols.python(op).inputs
    if op.method.startswith("__"):
        return {"neg": "-x", "abs": "abs(x)"}.get(op.name) or f"{names[0]} {op.symbol} {names[1]}"
    return f"{op.name}({', '.join(names)})"


FRACTIONS = (2 / 3, 1 / 4, 5 / 6)


def sample_point(op: Op) -> list[float]:
    """A point inside the domain, to one decimal, with a different place in each interval; of a set, its largest member."""
    return [
        max(part) if isinstance(part, frozenset) else round(part[0] + fraction * (part[1] - part[0]), 1)
        for part, fraction in zip(op.domain, FRACTIONS, strict=False)
    ]


def number(x: float) -> str:
    """At most four decimals, for reading."""
    return "nan" if math.isnan(x) else f"{x:.4f}".rstrip("0").rstrip(".")


def overview() -> str:
    """One line per operation."""
    lines = ["| operation | write | what it is |", "|---|---|---|"]
    lines += [f"| [`{op.name}`](#{op.name}) | `{spelling(op)}` | {op.doc} |" for op in ops.BUILT_IN]
    return "\n".join(lines) + "\n"


def section(op: Op) -> str:
    """Everything the table knows about one operation."""
    formula, names = symbols.latex(op), symbols.python(op).inputs
    shown = [rf"y &= {formula.forward}"]
    shown += [
        rf"\frac{{\partial y}}{{\partial {name}}} &= {slope}"
        for name, slope in zip(names, formula.derivatives, strict=True)
        if slope is not None
    ]
    choices = [name for name, slope in zip(names, formula.derivatives, strict=True) if slope is None]
    parts = [
        f"## {op.name}",
        f"{op.doc} Write `{spelling(op)}`" + (f" or `{alternative(op)}`." if alternative(op) else "."),
        "```math\n\\begin{aligned}\n" + " \\\\\n".join(shown) + "\n\\end{aligned}\n```",
        *(f"`{name}` is a choice, not a quantity: it gets no gradient." for name in choices),
        f"Checked for {domain(op)}. {example(op)}",
    ]
    return "\n\n".join(parts) + "\n"


def alternative(op: Op) -> str:
    """The spelling as a method, where it is not an operator and the first input can be the object."""
    names = symbols.python(op).inputs
    return "" if op.method.startswith("__") or op.arity > 2 else f"{names[0]}.{op.name}({', '.join(names[1:])})"


def domain(op: Op) -> str:
    """Where the tests sample the operation."""
    names = symbols.python(op).inputs
    each = [
        f"{name} in {{{', '.join(number(x) for x in sorted(part))}}}"
        if isinstance(part, frozenset)
        else f"{name} from {number(part[0])} to {number(part[1])}"
        for name, part in zip(names, op.domain, strict=True)
    ]
    return ", ".join(each)


def example(op: Op) -> str:
    """The operation at one point, in numbers."""
    xs, names = sample_point(op), symbols.python(op).inputs
    y = op.forward(FloatMath, *xs)
    at = ", ".join(f"{name} = {number(x)}" for name, x in zip(names, xs, strict=True))
    slopes = [
        f"{number(rule(FloatMath, y, *xs))} by {name}"
        for name, rule in zip(names, op.derivatives, strict=True)
        if rule is not None
    ]
    return f"At {at}: y = {number(y)}, slope {', '.join(slopes)}."


def intrinsics() -> str:
    """What a rule may use."""
    names = ", ".join(f"`m.{name}`" for name in ops.INTRINSICS)
    return (
        "## Writing an operation\n\nA rule is a lambda over `m` and the inputs; a derivative also gets the output `y`, before "
        f"the inputs. Rules use infix operators and {names}.\n[Concepts](concepts.md#an-operation-of-your-own) shows one.\n"
    )


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, overview(), *(section(op) for op in ops.BUILT_IN), intrinsics()])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name}: {len(ops.BUILT_IN)} operations\n")
