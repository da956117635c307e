"""`compile` for functions of numbers: traced once on numbers, then mapped over arrays, with derivatives.

>>> from chainrule import exp
>>> f = Function(lambda x, k: k * exp(-x * x))
>>> import numpy as np
>>> f(x=np.array([0.0, 1.0]), k=2.0).round(4)
array([2.    , 0.7358])
>>> value, slopes = f.value_and_grad(x=np.array([0.0, 1.0]), k=2.0)
>>> slopes["k"].round(4)
array([1.    , 0.3679])

Imports builder, program, recording, tape, trace, executors and engine.
"""

import inspect
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule import engine
from chainrule.compiler.builder import Builder
from chainrule.compiler.executors import Runner, as_numbers, expect_known
from chainrule.compiler.lines import Array
from chainrule.compiler.program import Program, differentiate
from chainrule.compiler.recording import CAPTURED, recorded
from chainrule.compiler.tape import Leaf, Tape
from chainrule.compiler.trace import TAKE
from chainrule.engine import Node, Value
from chainrule.errors import CompileError, InputError

Numbers = npt.NDArray[Any]

_SINGLE = frozenset((float, int, np.float64, np.float32, np.int64, np.int32))  # what is written into a program as it is


class Function:
    """A compiled function of numbers; see `chainrule.compile`.

    Arguments are numbers or arrays, by position or by name; arrays map and broadcast as in NumPy. A result has the shape of
    all arguments together, and so has each derivative: entry i is the derivative of result i by what went into it. Where a
    number leaves the domain of an operation, an array gets NaN or infinity, as in NumPy; a single number raises what the
    plain function raises.
    """

    def __init__(self, function: Callable[..., Any], dtype: Any = "float64", executor: str = "") -> None:
        self.function, self.executor = function, executor
        expect_known(executor)
        self.dtype = np.dtype(dtype)
        self.signature, self.name = _signature(function), getattr(function, "__name__", "the function")
        self._programs: dict[Any, Any] = {}
        self._lock = threading.RLock()  # a program has one set of buffers
        self._single: Mapped | None = None  # of single numbers: the call that must cost next to nothing
        self._ways: dict[Any, tuple[list[Any], tuple[Any, ...]]] = {}  # how such calls were bound before

    def __repr__(self) -> str:
        return f"<compiled {self.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result, or a tuple of them."""
        way = self._ways.get((len(args), *kwargs) if kwargs else len(args))
        if way is not None:
            puts, defaults = way
            values: Iterable[Any] = args
            if kwargs:
                values = (*args, *kwargs.values()) if args else kwargs.values()
            y = self._at_once(puts, (*values, *defaults) if defaults else values)
            if y is not None:
                return y
        return self._run("value", args, kwargs)[0]

    def _at_once(self, puts: list[Any], values: Iterable[Any]) -> Any:
        """The result for single numbers; None where it wants a closer look."""
        single = self._single
        assert single is not None
        try:
            with self._lock:
                for put, x in zip(puts, values, strict=True):
                    if type(x) not in _SINGLE:
                        return None
                    put((), x)
                single.execute()
                y = single.get()
        except OverflowError:  # a whole number that no float holds
            return None
        return y if y - y == 0.0 else None  # finite

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
        with self._lock:
            found = self._mapped(what, given)
            if self._single is not None and not any(x.shape for x in given.values()):
                self._remember(args, kwargs, given)
        return found

    def _remember(self, args: tuple[Any, ...], kwargs: dict[str, Any], given: dict[str, Numbers]) -> None:
        """Which argument goes where in a call of so many by position and these by name; the others are the defaults."""
        assert self._single is not None
        put = dict(zip(given, self._single.put, strict=True))
        names = [*[*given][: len(args)], *kwargs]
        others = [name for name in given if name not in names]
        way = [put[name] for name in (*names, *others)], tuple([given[name].item() for name in others])
        self._ways[(len(args), *kwargs) if kwargs else len(args)] = way

    def _mapped(self, what: str, given: dict[str, Numbers]) -> tuple[Any, list[dict[str, Any]]]:
        key = (what, *((name, x.shape) for name, x in given.items()))
        mapped = self._programs.get(key)
        if mapped is None:
            mapped = self._programs[key] = Mapped(self, what, given)
            if what == "value" and mapped.single and mapped.shape == () and not mapped.captured:
                self._single = mapped
        found = mapped.run(given)
        value = tuple(_number(found[name]) for name in mapped.values)
        derived = [{name: _number(found[line]) for name, line in names.items()} for names in mapped.derived]
        if mapped.shape == () and not all(map(np.isfinite, (*value, *(x for each in derived for x in each.values())))):
            self._explain_failure(given)
        return (value[0] if mapped.single else value), derived

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Numbers]:
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InputError(f"{self.name}: {error}") from None
        bound.apply_defaults()
        given = {
            name: as_numbers(f"{self.name}: {name}", x).astype(self.dtype, copy=False) for name, x in bound.arguments.items()
        }
        shapes = [x.shape for x in given.values()]
        try:
            np.broadcast_shapes(*shapes)
        except ValueError:
            raise InputError(f"{self.name}: the shapes {', '.join(map(str, shapes))} of the arguments do not broadcast") from None
        return given

    def call(self, values: Mapping[str, Any]) -> Any:
        """The plain function with these arguments, each in the way its signature asks for."""
        kinds = self.signature.parameters
        by_name = {name: x for name, x in values.items() if kinds[name].kind is inspect.Parameter.KEYWORD_ONLY}
        return self.function(*(x for name, x in values.items() if name not in by_name), **by_name)

    def _explain_failure(self, given: Mapping[str, Numbers]) -> None:
        """A single number was not finite: raise what the plain engine raises, if it does."""
        returned = self.call({name: Value(x.item()) for name, x in given.items()})
        if isinstance(returned, Node) and returned.requires_grad:
            engine.gradients(returned)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    name = getattr(function, "__name__", "the function")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise InputError(f"compile: {name} does not tell its arguments; write lambda x: {name}(x)") from None
    for parameter in signature.parameters.values():
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise InputError(f"compile: {name} takes any number of arguments; name them, as in lambda x: {name}(x)")
    return signature


def _number(x: Any) -> Any:
    return x.copy() if x.shape else x.item()


class Mapped:
    """The program of a function for arguments of given shapes."""

    def __init__(self, owner: Function, what: str, given: Mapping[str, Numbers]) -> None:
        self.shape = np.broadcast_shapes(*(x.shape for x in given.values()))
        leaves = {name: Value(float(x.flat[0]) if x.size else 1.0, label=name) for name, x in given.items()}
        known = {leaf: Leaf(name, 0) for name, leaf in leaves.items()}
        recording, self.captured = recorded(lambda: owner.call(leaves), known, tolerant=self.shape != ())
        results, self.single = recording.outputs, recording.single and recording.outputs[0].shape == ()
        nodes = [node for output in results for node in output.nodes]
        b = Builder(owner.dtype)
        inputs = {name: b.input(name, x.shape) for name, x in given.items()}
        outside = b.input(CAPTURED, (len(self.captured),))
        roots = _mapped(recording.tape, b, inputs | {CAPTURED: outside}, nodes)
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
        self.runner = Runner(self.program, b, owner.executor)
        unused = np.zeros(())
        self.put = [self.runner.inputs.get(name, unused).__setitem__ for name in given]
        self.get, self.execute = self.runner.outputs[self.values[0]].item, self.runner.execute

    def run(self, given: Mapping[str, Numbers]) -> Mapping[str, Any]:
        """The outputs for these arguments; they are overwritten by the next run."""
        for name in self.runner.inputs:
            self.runner.feed(name, given[name] if name != CAPTURED else np.array([x.data for x in self.captured]))
        self.runner.execute()
        return self.runner.outputs

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
        if op is TAKE:
            raise CompileError("take belongs to compiled losses; a function of numbers has no tables")
        if op is not None:
            lines.append(b.apply(op, *(lines[x] for x in tape.inputs[at])))
        elif isinstance(leaf, Leaf):
            whole = inputs[leaf.array]
            lines.append(b.view(whole, leaf.place, (), ()) if leaf.array == CAPTURED else whole)
        else:
            lines.append(b.constant(leaf))
    return [lines[tape.number[node]] for node in nodes]
