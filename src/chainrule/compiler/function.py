"""`compile` for functions of numbers: traced once on numbers, then mapped over arrays, with derivatives.

>>> from chainrule import exp
>>> f = Function(lambda x, k: k * exp(-x * x))
>>> import numpy as np
>>> f(x=np.array([0.0, 1.0]), k=2.0).round(4)
array([2.    , 0.7358])
>>> value, slopes = f.value_and_grad(x=np.array([0.0, 1.0]), k=2.0)
>>> slopes["k"].round(4)
array([1.    , 0.3679])

Imports builder, program, tape, trace, executors and engine.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import engine
from chainrule.compiler import executors
from chainrule.compiler.builder import Builder
from chainrule.compiler.lines import Array
from chainrule.compiler.program import Program, differentiate
from chainrule.compiler.tape import Leaf, Tape
from chainrule.compiler.trace import Reading, Tracing
from chainrule.engine import Node, Value
from chainrule.errors import CompileError, InputError

Numbers = npt.NDArray[Any]


class Function:
    """A compiled function of numbers; see `chainrule.compile`.

    Arguments are numbers or arrays, by position or by name; arrays map and broadcast as in NumPy. A result has the shape of
    all arguments together, and so has each derivative: entry i is the derivative of result i by what went into it. Where a
    number leaves the domain of an operation, an array gets NaN or infinity, as in NumPy; a single number raises what the
    plain function raises.
    """

    def __init__(self, function: Callable[..., Any], dtype: Any = "float64", executor: str = "") -> None:
        self.function, self.executor = function, executor
        self.dtype = np.dtype(dtype)
        self.signature = inspect.signature(function)
        self._programs: dict[Any, Any] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result, or a tuple of them."""
        return self._run("value", args, kwargs)[0]

    def value_and_grad(self, *args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """The result and, by the name of each argument, the derivative. Raises CompileError for more than one result."""
        value, (slopes,) = self._run("grad", args, kwargs)
        return value, slopes

    def hessian_diagonal(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """By the name of each argument, the second derivative by it."""
        _, (_, curves) = self._run("hessian", args, kwargs)
        return curves

    def _run(self, what: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, list[dict[str, Any]]]:
        given = self._bound(args, kwargs)
        key = (what, *((name, x.shape) for name, x in given.items()))
        mapped = self._programs.get(key)
        if mapped is None:
            mapped = self._programs[key] = Mapped(self, what, given)
        found = mapped.executable.run(given)
        value = tuple(_number(found[name]) for name in mapped.values)
        if mapped.shape == () and not all(map(np.isfinite, value)):
            self._explain_failure(given)
        derived = [{name: _number(found[line]) for name, line in names.items()} for names in mapped.derived]
        return (value[0] if mapped.single else value), derived

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Numbers]:
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InputError(f"{self.function.__name__}: {error}") from None
        bound.apply_defaults()
        given = {}
        for name, x in bound.arguments.items():
            array = np.asarray(x)
            if array.dtype.kind not in "fiub":
                raise InputError(f"{self.function.__name__}: {name} must be a number or an array of numbers, not {x!r}")
            given[name] = array.astype(self.dtype, copy=False)
        return given

    def _explain_failure(self, given: Mapping[str, Numbers]) -> None:
        with engine.no_grad():
            self.function(**{name: Value(x.item()) for name, x in given.items()})


def _number(x: Any) -> Any:
    return float(x) if np.ndim(x) == 0 else x


class Mapped:
    """The program of a function for arguments of given shapes."""

    def __init__(self, owner: Function, what: str, given: Mapping[str, Numbers]) -> None:
        self.shape = np.broadcast_shapes(*(x.shape for x in given.values()))
        known: dict[Any, Leaf] = {}
        # The numbers of a trace do not matter, but a function that raises outside of its domain must not.
        leaves = {name: Value(float(x.flat[0]) if x.size else 1.0, label=name) for name, x in given.items()}
        known = {leaf: Leaf(name, 0) for name, leaf in leaves.items()}
        with Tracing(known) as tracing:
            returned = owner.function(**leaves)
        results = list(returned) if isinstance(returned, (tuple, list)) else [returned]
        self.single = not isinstance(returned, (tuple, list))
        nodes = [x.node if isinstance(x, Reading) else x if isinstance(x, Node) else Value(x) for x in results]
        b = Builder(owner.dtype)
        inputs = {name: b.input(name, x.shape) for name, x in given.items()}
        roots = _mapped(Tape(nodes, known, tracing.taken), b, inputs, nodes)
        one = b.constant(1.0)
        self.values = [f"y{k}" for k in range(len(roots))]
        outputs = {name: b.broadcast_to(root, self.shape) for name, root in zip(self.values, roots, strict=True)}
        self.derived: list[dict[str, str]] = []
        if what != "value":
            if len(roots) != 1:
                raise CompileError("derivatives are those of one result; this function returns several")
            slopes = differentiate(roots[0], list(inputs.values()), one, per_element=True)
            self._add(outputs, "d", b, inputs, slopes)
            if what == "hessian":
                curves = [
                    differentiate(slope, [x], one, per_element=True)[0] for x, slope in zip(inputs.values(), slopes, strict=True)
                ]
                self._add(outputs, "dd", b, inputs, curves)
        self.program = Program(outputs)
        self.executable = executors.make(self.program.expanded(b), owner.executor)

    def _add(self, outputs: dict[str, Array], prefix: str, b: Builder, inputs: Mapping[str, Array], lines: list[Array]) -> None:
        names = {name: f"{prefix}_{name}" for name in inputs}
        self.derived.append(names)
        for name, line in zip(names.values(), lines, strict=True):
            outputs[name] = b.broadcast_to(line, self.shape)


def _mapped(tape: Tape, b: Builder, inputs: Mapping[str, Array], nodes: list[Any]) -> list[Array]:
    """A line for every node: the function has no loops over samples to find, its arguments are the arrays."""
    lines: list[Array] = []
    for at, op in enumerate(tape.ops):
        leaf = tape.leaves.get(at)
        if op is not None:
            lines.append(b.apply(op, *(lines[x] for x in tape.inputs[at])))
        elif isinstance(leaf, Leaf):
            lines.append(inputs[leaf.array])
        else:
            lines.append(b.constant(leaf))
    return [lines[tape.number[node]] for node in nodes]
