"""The manual backward pass of a graph, line by line: what is computed, in which order, and under which name.

Rules of both tables run on names (algebra.py), and a language (languages.py) prints what they give. What is decided here is
what a person would decide who writes it down: a label is a variable; what has none gets a line only where it is long, or
used more than once; a gradient that is another one needs no line. Imports engine, tensor, ops and the two.
"""

import functools
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule import tensor
from chainrule.engine import Value, inputs_first
from chainrule.errors import OperationError
from chainrule.ops import ArrayOp
from chainrule.show.algebra import Algebra, Constant, Expr
from chainrule.show.identifiers import Names, latex
from chainrule.show.languages import FEW, LATEX, WIDE, Scope, is_range
from chainrule.show.steps import as_written, names
from chainrule.symbols import Text

LONGEST = 64  # characters of an expression without a name that stands within another
_METHODS = ("swap", "transpose", "getitem", "sum", "astype")
_JOINED = "\u00a0"  # a space at which no line is broken
SHORT = 16  # characters of one that may stand in several places, such as (b - a)


class Variable:
    """Something with a name: the value of a node, its gradient, or what is computed on the way.

    kind: "value", "gradient" or "part". node: whose. name: "" until it is first written.
    """

    __slots__ = ("kind", "name", "node")

    def __init__(self, kind: str, node: Any = None) -> None:
        self.kind, self.node, self.name = kind, node, ""


class Line(NamedTuple):
    """An assignment. again: by +=. more: whether += will follow."""

    variable: Variable
    expr: Any
    again: bool = False
    more: bool = False


class Writer:
    """Writes one program.

    root: the output. language: one of languages.py. names: what nodes are called, filled while lines are written. inputs:
    the arrays that are too large to be written out, by name.
    """

    def __init__(self, root: Any, language: Any) -> None:
        self.root, self.language = root, language
        self.of_tensors = not isinstance(root, Value)
        self.m = Algebra(language.lazy)
        self.nodes: list[Any] = as_written(root)
        self._known_as = names(root)
        self.inputs: dict[str, Any] = {}
        self._claim = Names(getattr(language, "reserved", ())).claim
        self._variables: dict[Any, Variable] = {}
        self._gradients: dict[Any, Any] = {}
        self._values: dict[Any, Any] = {}
        self._forward: dict[Any, Any] = {}
        self._options: dict[Any, dict[str, Any]] = {}
        self._inlined: dict[Variable, Any] = {}
        self._parts: dict[Expr, Variable] = {}
        self._arrays: dict[int, str] = {}
        self._given: list[str] = []
        self._seed: Any = None
        self._scope = Scope(self._called, self._array)

    @property
    def names(self) -> dict[Any, str]:
        """What the nodes with a line of their own are called."""
        return {node: v.name for node, v in self._variables.items() if v.name and v not in self._inlined}

    # ---- what is computed

    def _value(self, node: Any) -> Any:
        """The name of a node's value; of a constant without a label the number itself."""
        if node in self._values:
            return self._values[node]
        number = _number(node)
        if number is None:
            return self._variable(node)
        self._values[node] = number
        return number

    def _variable(self, node: Any) -> Expr:
        v = self._variables[node] = Variable("value", node)
        lasting = bool(node.label) or node.op is None
        expr = self._values[node] = self.m.name(v, node._data if self.of_tensors else 0.0, lasting=lasting)
        return expr

    def _operands(self, node: Any) -> list[Any]:
        """What the inputs of a node are called; rows of arrays ask them for their shape, so there a number has a name."""
        values = [self._value(x) for x in node.inputs]
        if isinstance(node.op, ArrayOp):
            pairs = zip(values, node.inputs, strict=True)
            return [x if isinstance(x, Expr) else self._variable(each) for x, each in pairs]
        if any(isinstance(x, Expr) and x.dtype.kind == "f" for x in values):  # then a whole number counts as a float
            return [x if isinstance(x, Expr) else Constant(x) for x in values]
        return values

    def _computed(self) -> None:
        """The forward pass: an expression for each result."""
        self._name_labels()
        for node in self.nodes:
            if node.op is not None:
                self._name_arrays(node)
                self._forward[node] = expr = self._run(
                    node, node.op.forward, self.m, *self._operands(node), **self._options[node]
                )
                self._stand_for(node, expr)

    def _name_labels(self) -> None:
        """Who has a label gets to keep it, so these come first."""
        for label in (True, False):
            for node in self.nodes:
                if bool(node.label) is label and isinstance(value := self._value(node), Expr) and label:
                    value.options["of"].name = self._claim(node.label, "v")

    def _name_arrays(self, node: Any) -> None:
        """The options of a node, with names for the arrays among them."""
        options = self._options[node] = dict(getattr(node, "options", None) or {})
        if "kept" in options:
            options["kept"] = []  # that of the node holds its arrays
        for key in ("index", "labels"):
            given = options.get(key, ())
            for x in given if isinstance(given, tuple) else (given,):
                if isinstance(x, np.ndarray):
                    self._array(x, key)

    def _stand_for(self, node: Any, expr: Any) -> None:
        """Let later rules that compute the same say the name of the node; but x.T is as good as a name for it."""
        if not isinstance(expr, Expr):
            return
        if expr.name == "swap" and not node.label and node is not self.root:
            self._values[node] = expr
        elif node.label or expr.heavy:
            self.m.rename(expr, self._values[node])

    def _run(self, node: Any, rule: Any, *args: Any, **options: Any) -> Any:
        try:
            return rule(*args, **options)
        except (TypeError, AttributeError, ValueError) as error:
            raise OperationError(
                f"operation {node.op.name!r} cannot be written out, because its rules do not run on names ({error}); write "
                "them with operators and the functions of m"
            ) from error

    # ---- the backward pass

    def _differentiated(self) -> list[Line]:
        """The backward pass: lines in the order of the engine, each as soon as the gradient is complete."""
        order = [node for node in reversed(inputs_first(self.root)) if node.requires_grad]
        missing = self._edges(order)
        found: dict[Any, list[Any]] = {}
        self._begin()
        lines: list[Line] = []
        for node in order:
            if node.op is None or (node is not self.root and node not in found):
                continue
            contributions = self._passed_on(node, found, lines)
            complete = []
            for x, c in contributions:
                found.setdefault(x, []).append(c)
                missing[x] -= 1
                if not missing[x] and (x.label or x.op is None):
                    complete.append(x)
            for x in _dependent_last(complete, found):
                self._named_gradient(x, found[x], lines)
        return lines

    def _begin(self) -> None:
        """The gradient of the root, which is 1; in a formula it is left out."""
        self._seed = self._gradients[self.root] = self._gradient(self.root)
        if self.language is LATEX and not getattr(self.root, "shape", ()):
            if self.of_tensors:
                self.m.unit = self._seed
            else:
                self._gradients[self.root] = 1.0

    def _edges(self, order: Sequence[Any]) -> Counter[Any]:
        """How many contributions each gradient has."""
        reached, edges = {self.root}, Counter[Any]()
        for node in order:
            if node in reached:
                wanted = [x for x, wish in zip(node.inputs, _wanted(node), strict=True) if wish]
                reached.update(wanted)
                edges.update(wanted)
        return edges

    def _gradient(self, node: Any) -> Expr:
        return self.m.name(Variable("gradient", node), node._data if self.of_tensors else 0.0)

    def _named_gradient(self, node: Any, contributions: list[Any], lines: list[Line]) -> Expr:
        g = self._gradients[node] = self._gradient(node)
        v = g.options["of"]
        if self.language is LATEX:
            lines.append(Line(v, functools.reduce(self.m.add, contributions)))
        else:
            last = len(contributions) - 1
            lines += [Line(v, c, again=i > 0, more=i < last) for i, c in enumerate(contributions)]
        return g

    def _passed_on(self, node: Any, found: dict[Any, list[Any]], lines: list[Line]) -> list[tuple[Any, Any]]:
        """What a node passes on to its inputs. Its own gradient gets a line if it must have a name."""
        if node in self._gradients:
            return self._pulled(node, self._gradients[node])
        contributions = found[node]
        if len(contributions) == 1 and not _is_statement(contributions[0]):
            c = contributions[0]
            if not isinstance(c, Expr) or c.name == "name":
                self._gradients[node] = c
                return self._pulled(node, c)
            name = self._gradient(node)
            uses = sum(v is name.options["of"] for v in _variables(passed for _, passed in self._pulled(node, name)))
            if uses <= 1:
                passed = self._pulled(node, c)
                if all(self._length(each) <= LONGEST for _, each in passed):
                    return passed
        return self._pulled(node, self._named_gradient(node, contributions, lines))

    def _pulled(self, node: Any, g: Expr) -> list[tuple[Any, Any]]:
        """The contributions of a node to its inputs, for its gradient g; broadcasting undone, as in the engine's loop."""
        y, xs, wanted = self._values[node], self._operands(node), _wanted(node)
        if isinstance(node.op, ArrayOp):
            pulled = self._run(node, node.op.pull, self.m, wanted, g, y, xs, self._options[node])
        else:
            pulled = [
                self.m.mul(self._run(node, rule, self.m, y, *xs), g) if wish else None
                for rule, wish in zip(node.op.derivatives, wanted, strict=True)
            ]
        triples = zip(node.inputs, pulled, wanted, strict=False)
        return [(x, self._fitted(dx, x)) for x, dx, wish in triples if wish]

    def _fitted(self, dx: Any, x: Any) -> Any:
        if not self.of_tensors or (dx.shape == x.shape and dx.dtype == x.dtype):
            return dx
        return tensor._fit(self.m, dx, x._data)

    # ---- what gets a line

    def _lines(self) -> tuple[list[Line], list[Line]]:
        """The lines of both passes; of the forward pass only what is used, and what is used once within what uses it."""
        self._computed()
        backward = self._differentiated()
        uses: Counter[Variable] = Counter(_variables(line.expr for line in backward))
        needed, named = set(uses), {self._variables[line.variable.node] for line in backward}  # where there is a dv is a v
        live = []
        for node in reversed(self.nodes):
            v = self._variables.get(node)
            if v is None or not (uses[v] or node.label or node is self.root or v in named):
                continue
            live.append(node)
            if node.op is not None:
                uses.update(_variables([self._forward[node]]))
        lines = []
        for node in reversed(live):
            v, expr = self._variables[node], self._forward.get(node)
            if node.op is None:
                lines.append(Line(v, None))
            elif v not in named and self._stands_within(node, expr, uses[v], v in needed):
                self._inlined[v] = expr
            else:
                lines.append(Line(v, expr))
        return lines, backward

    def _stands_within(self, node: Any, expr: Any, uses: int, needed: bool) -> bool:
        if node.label or node is self.root or _is_statement(expr):
            return False
        if uses == 1 and not needed:
            return self._length(expr) <= LONGEST
        return _is_short(expr) and self._length(expr) <= SHORT

    def _length(self, x: Any) -> int:
        if _is_statement(x):
            return 0
        text = self.language.write(x, self._scope, anew=True).text
        return len(re.sub(r"\\[a-zA-Z]+|[{}]", "", text))  # of what is seen of it

    # ---- names

    def _called(self, x: Expr) -> str | Text | None:
        if x.name != "name":
            return self._symbol(self._parts[x]) if x in self._parts else None
        if x is self.m.unit:
            return "1"
        v = x.options["of"]
        if v in self._inlined:
            text: Text = self.language.write(self._inlined[v], self._scope, anew=True)
            return text
        return self._symbol(v)

    def _symbol(self, v: Variable) -> str:
        """How a variable is written; one that has no name yet as v0, for the sake of its length."""
        if v.kind == "gradient":
            of = self._variables[v.node].name or "v0"
            if self.language is not LATEX:
                return "d" + of
            return rf"\frac{{\partial {latex(self._variables[self.root].name or 'L')}}}{{\partial {latex(of)}}}"
        return latex(v.name or "v0") if self.language is LATEX else v.name or "v0"

    def _name(self, v: Variable) -> str:
        """The same, once and for all."""
        whose = v if v.kind != "gradient" else self._variables[v.node]
        if not whose.name:
            if whose.node is self.root:
                whose.name = self._claim("", "L")
            else:
                # As the page and the steps call it; what is computed on the way has no name there.
                known = self._known_as.get(whose.node)
                whose.name = self._claim(known, "v") if known else self._claim("", "t", numbered=True)
        return self._symbol(v)

    def _array(self, array: Any, what: str) -> str:
        """An array of an option: a range as it is made, others under a name."""
        if is_range(array):
            return "i" if self.language is LATEX else str(self.language.array(array))
        if id(array) not in self._arrays:
            name = self._arrays[id(array)] = self._claim("", what)
            if self.language is not LATEX:
                self._leaf(name, array, lambda: self.language.array(array))
        name = self._arrays[id(array)]
        return latex(name) if self.language is LATEX else name

    def _leaf(self, name: str, array: Any, written: Any) -> None:
        """The line that gives a small array its name; a large one is an input of the program."""
        text = f"{name} = {written()}{_comment(array.shape)}" if array.size <= FEW else ""
        if 0 < len(text) <= WIDE:
            self._given.append(text)
        else:
            self.inputs[name] = np.asarray(array).view(np.ndarray)

    # ---- text

    def text(self, forward: bool) -> str:
        """The program."""
        with np.errstate(all="ignore"):  # shapes are computed with zeros
            before, after = self._lines()
        if not forward:
            for line in before:
                self._name(line.variable)
            before = []
        if self.language is LATEX:
            after.insert(0, Line(self._seed.options["of"], None))
        shared = self._shared(before, after)
        blocks = [[text for line in lines for text in self._written(line, shared)] for lines in (before, after)]
        if self.language is LATEX:
            return self._latex(*blocks)
        blocks[1].insert(0, self._one(after))
        return self._program(forward, *blocks)

    def _shared(self, *blocks: list[Line]) -> set[Expr]:
        """Expressions worth a name: work over whole arrays that stands in two places."""
        uses, seen = Counter[Expr](), set[Expr]()
        for line in (line for lines in blocks for line in lines):
            stack = [line.expr] if isinstance(line.expr, Expr) else []
            uses.update(stack)
            while stack:
                part = stack.pop()
                if part not in seen:
                    seen.add(part)
                    uses.update(part.operands)
                    stack += part.operands
        return {x for x, count in uses.items() if count > 1 and x.heavy and x.name not in ("name", "scatter")}

    def _written(self, line: Line, shared: set[Expr]) -> Iterator[str]:
        """The text of a line, after those of the expressions it shares with others."""
        v, expr = line.variable, line.expr
        if isinstance(expr, Expr):
            for part in _innermost_first(expr):
                if part in shared and part is not expr and part not in self._parts:
                    yield from self._written(Line(Variable("part"), part), shared)
        name = self._name(v)
        if expr is None:
            yield from self._first(v, name)
        elif self.language is LATEX:
            yield f"{name} &= {self.language.write(expr, self._scope, anew=True).text}"
        elif _is_statement(expr):
            yield from self._put(line, name)
        else:
            yield self._assigned(line, name)
        if isinstance(expr, Expr) and expr.heavy and not line.again and not line.more:
            self._parts.setdefault(expr, v)

    def _first(self, v: Variable, name: str) -> Iterator[str]:
        """Where numbers come from: a leaf, or the gradient of the root."""
        node = v.node
        if v.kind == "gradient":
            yield f"{name} &= 1"
        elif self.language is LATEX:
            yield self._in_latex(name, node)
        elif self.of_tensors:
            self._leaf(name, np.asarray(node.data), lambda: self.language.leaf(node))
        else:
            self._given.append(f"{name} = {self.language.leaf(node)}")

    def _one(self, lines: list[Line]) -> str:
        """The line with the gradient of the root; an array where something is asked of it that a Python number has not."""
        name, shape = self._symbol(self._seed.options["of"]), getattr(self.root, "shape", ())
        parts = (part for line in lines for part in line.expr.parts())
        array = bool(shape) or any(part.name in _METHODS and any(x.shape == () for x in part.operands) for part in parts)
        return f"{name} = {self.language.seed(self._symbol(self._variables[self.root]), array=array)}{_comment(shape)}"

    def _in_latex(self, name: str, node: Any) -> str:
        if not getattr(node, "shape", ()):
            return f"{name} &= {self.language.write(float(node.data), self._scope).text}"
        lengths = r" \times ".join(map(str, node.shape))
        return rf"{name} &\in \mathbb{{R}}^{{{lengths}}}"

    def _assigned(self, line: Line, name: str) -> str:
        text = self.language.write(line.expr, self._scope, anew=True)
        shape = line.expr.shape if isinstance(line.expr, Expr) else ()
        if line.more and _is_view(line.expr):
            text = self.language.copied(text, shape)
        return f"{name} {'+=' if line.again else '='} {text.text}{'' if line.again else _comment(shape)}"

    def _put(self, line: Line, name: str) -> Iterator[str]:
        """What a scatter does: zeros, and the statement that adds to them."""
        expr, v = line.expr, line.variable
        while expr.name == "astype":  # zeros have the right dtype
            expr = expr.args[0]
        if not line.again:
            like = getattr(expr.options["shape"], "of", None)
            zeros = self.language.zeros("" if like is None else self._called(like), v.node)
            yield f"{name} = {zeros}{_comment(expr.shape)}"
        added: str = self.language.put(name, expr, self._scope, line.again)
        yield added

    def _program(self, forward: bool, before: list[str], after: list[str]) -> str:
        body = [*self._given, *before, *after]
        used = "\n".join(body)
        helpers = [text for name, text in self.language.helpers.items() if re.search(rf"(?<![\w.]){name}\(", used)]
        used += "\n".join(helpers)
        imports = [line for line in dict.fromkeys(("import math", self.language.imports)) if _uses(used, line.split()[-1])]
        given = textwrap.wrap(f"# given: {_listed(self.inputs)}", WIDE, subsequent_indent="#        ") if self.inputs else []
        given = [line.replace(_JOINED, " ") for line in given]
        blocks = [imports, *[helper.splitlines() for helper in helpers], given]
        blocks += [["# forward", *self._given, *before], ["# backward", *after]] if forward else [["# backward", *body]]
        return "\n".join("\n".join(block) + "\n" for block in blocks if block)

    def _latex(self, before: list[str], after: list[str]) -> str:
        breaks = " \\\\\n  "
        parts = [breaks.join(lines) for lines in (before, after) if lines]
        return "\\begin{aligned}\n  " + " \\\\[1ex]\n  ".join(parts) + "\n\\end{aligned}\n"


def _uses(text: str, module: str) -> bool:
    """Whether a program asks a module for something; no variable is called like one, but the end of a name may be."""
    return re.search(rf"(?<![\w.]){module}\.", text) is not None


def _number(node: Any) -> Any:
    """The number of a constant that has no name; None for other nodes."""
    if node.op is not None or node.requires_grad or node.label or getattr(node, "shape", ()):
        return None
    data = node.data if isinstance(node, Value) else node._data
    number = data if isinstance(data, (int, float)) else data.item()
    return None if isinstance(number, bool) else number  # a mask, which may have decided otherwise


def _wanted(node: Any) -> list[bool]:
    rules: Any = (True,) * len(node.inputs) if isinstance(node.op, ArrayOp) else getattr(node.op, "derivatives", ())
    return [x.requires_grad and rule is not None for x, rule in zip(node.inputs, rules, strict=True)]


def _variables(exprs: Any) -> Iterator[Variable]:
    """The variables in expressions, once for each place."""
    for expr in exprs:
        if isinstance(expr, Expr):
            yield from (part.options["of"] for part in expr.parts() if part.name == "name")


def _dependent_last(nodes: list[Any], found: dict[Any, list[Any]]) -> list[Any]:
    """Gradients in which another one stands come after it."""
    exprs = {x: {id(c) for c in found[x]} for x in nodes}

    def depends(x: Any) -> bool:
        inner = {id(part) for c in found[x] if isinstance(c, Expr) for part in c.parts() if part.heavy and part is not c}
        return any(inner & others for other, others in exprs.items() if other is not x)

    return sorted(dict.fromkeys(nodes), key=depends)


def _innermost_first(expr: Expr) -> Iterator[Expr]:
    for x in expr.operands:
        yield from _innermost_first(x)
    yield expr


def _is_statement(x: Any) -> bool:
    """Whether a language needs a statement for it: zeros, and something added to them."""
    return isinstance(x, Expr) and (x.name == "scatter" or (x.name == "astype" and _is_statement(x.args[0])))


def _is_short(x: Any) -> bool:
    """Whether it is an operator and two names or numbers."""
    return (
        isinstance(x, Expr)
        and len(x.args) == 2
        and x.name in "+-*/"
        and all(not isinstance(y, Expr) or (y.name == "name" and y.options["lasting"]) for y in x.args)
    )


def _is_view(x: Any) -> bool:
    """Whether it may be another name, or a part, of an array that += must not change."""
    if not isinstance(x, Expr):
        return False
    if x.name == "broadcast_to":  # written as a product where the shape has a name
        return x.options["shape"].of is None if hasattr(x.options["shape"], "of") else True
    return x.name in ("name", "reshape", "transpose", "swap", "getitem", "astype")


def _comment(shape: tuple[int, ...]) -> str:
    return f"  # {tuple(shape)}" if shape else ""


def _listed(inputs: dict[str, Any]) -> str:
    whole = {name: "" if x.dtype.kind == "f" else f" of {x.dtype}" for name, x in inputs.items()}
    return ", ".join(f"{name} {x.shape}{whole[name]}".replace(" ", _JOINED) for name, x in inputs.items())
