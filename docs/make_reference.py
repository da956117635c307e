"""Writes docs/reference.md from both tables of operations and from docstrings: `python docs/make_reference.py`.

Every formula on the page is a rule of the table, run on text; every number is a rule run on floats; every line of NumPy is
what `backward_code` writes for a row; every other sentence is the first of a docstring. So the page cannot disagree with the
code, and a test compares the committed page with what `page()` returns.
"""

import inspect
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from chainrule import nn, ops, optim, symbols, tensor
from chainrule.nn import functional
from chainrule.ops import ArrayOp, FloatMath, Op
from chainrule.show import backward_code
from chainrule.tensor import Tensor

PAGE = Path(__file__).with_name("reference.md")

HEAD = """\
# Reference of operations

<!-- Written by docs/make_reference.py from the tables in src/chainrule/ops.py and from docstrings; change those, then run
the script. -->

Every operation of chainrule is one row of a table. This page is both tables in another notation: operations on numbers, and
[on arrays](#operations-on-arrays). Behind them are the lists of [what a tensor can do](#what-a-tensor-has-and-can-do), of
[layers](#layers-and-functions) and of [optimisers](#optimisers-and-schedules).

## Operations on numbers

A row has a forward rule and one local derivative per input. The local derivatives are what `backward()` multiplies on its way
from the output to the inputs. On a tensor such a row computes element by element.

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


# ---- the array table -------------------------------------------------------------------------------------------------

ARRAYS = """\
## Operations on arrays

What mixes elements or changes shapes has no local derivative. Such a row carries its pullback: from the gradient of the output
it makes that of each input. Pictures show the symbol of a row.

Below, each row is used once and written out as NumPy by [`backward_code`](show.md#the-backward-pass-as-code). *x* has the shape
(4, 3), *y* is the output, and *dy*, *dx* are the gradients of the loss by them.
"""

SHAPES = {"x": (4, 3), "a": (4, 2), "w": (3, 5), "u": (5, 3), "weight": (3,), "bias": (3,), "b": (5,)}

USES = {
    "sum": "x.sum(1)",
    "mean": "x.mean(1)",
    "var": "x.var(1)",
    "amax": "x.amax(1)",
    "amin": "x.amin(1)",
    "logsumexp": "x.logsumexp(1)",
    "softmax": "x.softmax(1)",
    "log_softmax": "x.log_softmax(1)",
    "matmul": "x @ w",
    "reshape": "x.reshape(2, 6)",
    "transpose": "x.T",
    "broadcast_to": "x.expand(2, 4, 3)",
    "getitem": "x[[0, 0, 2]]",
    "concatenate": "concatenate([x, a], dim=1)",
    "stack": "stack([x, x])",
    "astype": "x.to('float32')",
    "linear": "F.linear(x, u, b)",
    "embedding": "F.embedding([0, 0, 2], x)",
    "cross_entropy": "F.cross_entropy(x, [0, 1, 2, 2])",
    "batch_norm": "F.batch_norm(x, None, None, weight, bias, training=True)",
}
"""How a program writes a row, on tensors of these shapes."""


def array_overview() -> str:
    """One line per row of the array table."""
    lines = ["| operation | symbol | write | what it is |", "|---|---|---|---|"]
    lines += [f"| {link(op)} | {code(op.symbol)} | {code(USES.get(op.name, ''))} | {op.doc} |" for op in ops.ARRAY_TABLE.values()]
    return "\n".join(lines) + "\n"


def link(op: ArrayOp) -> str:
    """The name, and where there is a section about it the way to it."""
    return f"[`{op.name}`](#{op.name})" if op.name in USES else f"`{op.name}`"


def array_section(op: ArrayOp) -> str:
    """A row in NumPy, forward and backward."""
    y = used(op)
    shape = ", ".join(map(str, y.shape)) + "," * (y.ndim == 1)
    head = f"{op.doc} Write `{USES[op.name]}`; *y* has " + (f"the shape ({shape})." if y.ndim else "no axes.")
    return f"### {op.name}\n\n{head}\n\n```text\n{in_numpy(y)}\n```\n"


def used(op: ArrayOp) -> Tensor:
    """The result of the row's use, labelled y; the use is of this row, or the table above is wrong."""
    rng = np.random.default_rng(0)
    inputs = {name: Tensor(rng.normal(size=shape), requires_grad=True, label=name) for name, shape in SHAPES.items()}
    y: Tensor = eval(USES[op.name], {"F": functional, "concatenate": tensor.concatenate, "stack": tensor.stack, **inputs})
    if y.op is not op:
        raise ValueError(f"{USES[op.name]} is not the row {op.name}")
    y.label = "y"
    return y


def in_numpy(y: Tensor) -> str:
    """Both passes through y as `backward_code` writes them, without the loss above it and the numbers of its inputs."""
    loss = (y * Tensor(np.ones(y.shape), dtype=y.dtype, label="g")).sum() * Tensor(1.0, label="h")
    loss.label = "loss"
    forward, backward = str(backward_code(loss, "numpy")).split("# backward\n")
    _, _, forward = forward.rpartition("# forward\n")
    kept = [line for line in (forward + backward).splitlines() if line and not line.startswith(LEFT_OUT)]
    return "\n".join(kept)


LEFT_OUT = ("loss = ", "dloss = ", "dy = ", "g = ", "h = ", *(f"{name} = " for name in SHAPES))


# ---- tensors, layers, optimisers -------------------------------------------------------------------------------------

TENSORS = """\
## What a tensor has and can do

`Tensor(data, requires_grad=False, dtype=None, label="")` makes one. Beside `+ - * / ** @`, comparisons, `& | ^ ~` and indexing it
has these; [the page on tensors](tensors.md) shows them at work. What takes `dim` and `keepdim` takes NumPy's `axis` and
`keepdims` as well.
"""

TOPICS = """\
The array: data dtype shape ndim size dim numel item tolist numpy label
Gradients: requires_grad requires_grad_ grad has_grad zero_grad backward retain_grad is_leaf detach clone
The graph: op inputs options origin
Element by element: exp log log1p sqrt square pow sin cos tanh sigmoid relu softplus abs maximum minimum clamp clip
Over axes: sum mean var std max min amax amin argmax argmin any all logsumexp softmax log_softmax
Products: matmul mm dot
Shapes: reshape view flatten ravel squeeze unsqueeze expand permute transpose swapaxes T t
Dtypes: to astype float double long bool
"""

SAID = {
    "zero_grad": "Forget the gradient: `grad` is None again.",
    "op": "The row that made it; None for a leaf.",
    "inputs": "The tensors it was made from.",
    "options": "What else the row was given: axes, a shape, an index.",
}
"""What is a slot and has no docstring, or has one that is about Values."""


def tensor_lists() -> str:
    """Every public name of a tensor, by topic; what has none yet stands at the end."""
    names = [name for name in dir(Tensor) if not name.startswith("_")]
    topics = {title: text.split() for title, _, text in (line.partition(":") for line in TOPICS.splitlines())}
    topics["More"] = [name for name in names if not any(name in topic for topic in topics.values())]
    parts = []
    for title, topic in topics.items():
        lines = [f"| {code(name + signature(getattr(Tensor, name)))} | {said(Tensor, name)} |" for name in topic if name in names]
        parts += [f"### {title}\n\n| | |\n|---|---|\n" + "\n".join(lines) + "\n"] if lines else []
    joining = [name for name in ("concatenate", "stack", "one_hot", "matmul") if hasattr(tensor, name)]
    return "\n".join([TENSORS, *parts, "### Functions of chainrule.tensor\n", listed(tensor, joining)])


def said(owner: Any, name: str) -> str:
    """The first paragraph of a docstring, ready for a cell of a table."""
    text = SAID.get(name) or inspect.getdoc(getattr(owner, name)) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def signature(x: Any) -> str:
    """The arguments with their defaults, but for those that the page mentions once; nothing for an attribute."""
    if not callable(x):
        return ""
    given = list(inspect.signature(x).parameters.values())
    given = given[1:] if inspect.isfunction(x) and given[:1] and f".{x.__name__}" in x.__qualname__ else given
    shown = [p.replace(annotation=p.empty) for p in given if p.kind is not p.KEYWORD_ONLY or p.name not in SHARED]
    return str(inspect.Signature(shown))


SHARED = ("axis", "keepdims", "dtype", "out", "generator")


def code(text: str) -> str:
    """As code, ready for a cell of a table."""
    return f"`{text}`".replace("|", "\\|") if text else ""


def listed(module: ModuleType, names: list[str]) -> str:
    """A table of what a module offers."""
    lines = [f"| {code(name + signature(getattr(module, name)))} | {said(module, name)} |" for name in names]
    return "| | |\n|---|---|\n" + "\n".join(lines) + "\n"


LAYERS = """\
## Layers and functions

Layers are in `chainrule.nn`. What has weights also takes `dtype`, and what draws numbers takes `generator`.
"""


def layers_and_functions() -> str:
    """What `chainrule.nn` has for tensors."""
    layers = [name for name in nn.layers.__all__ if name in nn.__all__]
    return "\n".join(
        [
            LAYERS,
            listed(nn, [*layers, "manual_seed", "summary"]),
            "### chainrule.nn.functional\n",
            listed(functional, functional.__all__),
            "### chainrule.nn.init\n",
            listed(nn.init, [name for name in nn.init.__all__ if name == "calculate_gain" or name.endswith("_")]),
        ]
    )


def optimisers() -> str:
    """What `chainrule.optim` has."""
    names = [name for name in optim.__all__ if name not in ("Optimizer", "LRScheduler")]
    return "## Optimisers and schedules\n\nThey are in `chainrule.optim`, for Values and tensors alike.\n\n" + listed(
        optim, names
    )


def page() -> str:
    """The whole page."""
    numbers = [HEAD, overview(), *(section(op) for op in ops.BUILT_IN), intrinsics()]
    arrays = [ARRAYS, array_overview(), *(array_section(op) for op in ops.ARRAY_TABLE.values() if op.name in USES)]
    return "\n".join([*numbers, *arrays, tensor_lists(), layers_and_functions(), optimisers()])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name}: {len(ops.BUILT_IN)} operations on numbers, {len(ops.ARRAY_TABLE)} on arrays\n")
