"""The scalar engine: a `Value` is one number that remembers how it was made, and `backward()` applies the chain rule.

>>> a, b = Value(2.0, label="a"), Value(-3.0, label="b")
>>> loss = (a * b + 10).tanh()
>>> loss.backward()
>>> round(a.grad, 4), round(b.grad, 4)
(-0.004, 0.0027)

Read it in this order: `inputs_first` walks a graph, `_node_gradients` is backpropagation in eight lines, `Node.backward`
deposits what it finds, `apply` makes a node, and `Value` gives numbers the operators of the table in ops.py. The rest of
the pure Value is those things once more, written out for speed.

A graph is made of plain records: no closures, no reference cycles, no recursion. So memory returns the moment the last
reference goes, and a chain of a million nodes builds, differentiates, copies and pickles like a short one.

When the native engine is built, the names at the end of this file are replaced by their twins in C; everything else
here serves both. `CHAINRULE_PURE=1` in the environment keeps the engine pure. Imports ops and errors.
"""

import contextlib
import copy
import importlib
import numbers
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

from chainrule import native, ops
from chainrule.errors import ChainruleError, DomainError, GraphError, InputError, NotANumberError, OperationError
from chainrule.ops import FloatMath, Op


class Node:
    """What every node of a graph can do, whoever owns its numbers.

    A node keeps `data`, `grad`, `op` (its row of the table; None for a leaf), `inputs` (a tuple: x * x has two),
    `label` and `requires_grad`. `has_grad` tells whether a backward pass, or an assignment, has set `grad`.
    """

    __slots__ = ()

    # NumPy scalars give way to our operators; arrays do not, and map them over their elements (dtype object).
    __array_priority__ = -1.0

    if TYPE_CHECKING:  # kept by the classes below, as properties or as fields in C
        data: Any
        grad: Any
        requires_grad: Any

        @property
        def inputs(self) -> tuple[Any, ...]: ...  # noqa: D102

        @property
        def op(self) -> Op | None: ...  # noqa: D102

    # Of the classes in Python, which keep `_grad` and `_label` in slots that stay unset until they are given; the native
    # Value has fields of its own.

    @property
    def has_grad(self) -> bool:
        """Whether a backward pass or an assignment has set `grad`."""
        return hasattr(self, "_grad")

    @property
    def label(self) -> str:
        """The name that pictures and error messages show; "" for none."""
        return getattr(self, "_label", "")

    @label.setter
    def label(self, label: str) -> None:
        self._label = _checked_label(label)  # type: ignore[misc]  # a slot of the subclass

    @property
    def origin(self) -> Any:
        """Where an operation made this node: an Origin, within `chainrule.show.record()`; else None."""
        return getattr(self, "_origin", None)

    def backward(self) -> None:
        """Set `grad` of every node below this one to the derivative of this one by it.

        Leaves add to the gradient they have, so that several losses accumulate; call `zero_grad()` in between to start
        anew. Interior nodes show this pass alone. Nothing is changed when an error is raised.

        Raises GraphError when nothing was recorded (no_grad, constants only), DomainError where a slope does not exist.

        >>> x = Value(3.0)
        >>> (x * x).backward()
        >>> x.grad
        6.0
        """
        _check_root(self)
        _deposit(self)

    def zero_grad(self) -> None:
        """Forget the gradient: `grad` reads 0.0, of a Tensor None, and `has_grad` is False again."""
        del self.grad

    def _gradients(self, create_graph: bool) -> dict[Any, Any]:
        return _node_gradients(self) if create_graph else _number_gradients(self)

    def _zero(self, create_graph: bool) -> Any:
        """The gradient of something that does not depend on this node."""
        return Value(0.0, requires_grad=False) if create_graph else 0.0

    def abs(self) -> Self:
        """The absolute value, as abs(self)."""
        return cast(Self, abs(cast(Any, self)))

    def _backward(self) -> None:
        """One step of the chain rule: add this node's gradient, times the local derivatives, to its inputs. micrograd's name."""
        for x, slope in zip(self.inputs, _slopes(self), strict=False):
            if slope is not None:
                x.grad += self.grad * slope

    def __float__(self) -> float:
        raise NotANumberError(
            "float() and the functions of math would lose the gradient; take chainrule's own function, or .data"
        )

    @property
    def _prev(self) -> frozenset[Self]:  # micrograd's name, for programs written for it
        return frozenset(self.inputs)

    @property
    def _op(self) -> str:  # micrograd's name, for programs written for it
        return self.op.symbol if self.op else ""

    def __repr__(self) -> str:
        grad = f", grad={self.grad}" if self.has_grad else ""
        label = f", label={self.label!r}" if self.label else ""
        return f"{type(self).__name__}(data={self.data}{grad}{label})"

    def __format__(self, spec: str) -> str:
        return format(self.data, spec) if spec else repr(self)

    def __copy__(self) -> Self:
        twin = _restore(None, self._fields(), self.inputs)
        getattr(twin, "__dict__", {}).update(getattr(self, "__dict__", {}))
        return cast(Self, twin)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        for node in inputs_first(self, lambda node: id(node) in memo):
            twin = memo[id(node)] = _restore(None, node._fields(), tuple(memo[id(x)] for x in node.inputs))
            if own := getattr(node, "__dict__", None):  # of a subclass
                twin.__dict__.update(copy.deepcopy(own, memo))
        return cast(Self, memo[id(self)])

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickle would recurse from a node into its inputs. So a node sends its ancestors ahead, inputs first; when their
        # turn comes, the inputs of each are known to the pickler already.
        return _restore, (_ancestors(self), self._fields(), self.inputs), getattr(self, "__dict__", None) or None

    def _fields(self) -> tuple[Any, ...]:
        """What a copy needs besides the inputs, the class first; `_restored` takes it."""
        op = self.op.name if self.op else None
        return type(self), op, self.data, self.grad if self.has_grad else None, self.label, self.requires_grad

    @staticmethod
    def _restored(fields: tuple[Any, ...], inputs: Sequence[Any]) -> Any:
        return _restored_value(fields, inputs)

    def _repr_html_(self) -> str | None:
        return _picture(self, "html")

    def _repr_svg_(self) -> str | None:
        return _picture(self, "svg")


def inputs_first(root: Node, skip: Callable[[Node], bool] | None = None) -> list[Any]:
    """Every node below `root`, and `root` itself, each once and each after all of its inputs.

    Nodes for which `skip` is true are left out, with what only they reach.

    >>> a = Value(1.0, label="a")
    >>> b = a + a
    >>> [node.data for node in inputs_first(b * b)]
    [1.0, 2.0, 4.0]
    """
    done: dict[Any, None] = {}  # a dict keeps the order in which nodes were finished
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        if node is None:  # the mark below a node whose inputs are finished
            done[stack.pop()] = None
        elif node not in done and not (skip and skip(node)):
            stack += (node, None, *node.inputs)
    return list(done)


def gradients(root: Node, wrt: "Node | Iterable[Node] | None" = None, *, create_graph: bool = False) -> dict[Any, Any]:
    """The derivative of `root` by every node below it, as a dict from node to number; no node is changed.

    root: the output, one number.
    wrt: the nodes asked for, one or several (default: all that `root` depends on). Those it does not depend on get 0.0.
    create_graph: give the gradients as nodes, made by the same rules, so that they can be differentiated again.

    Raises GraphError when `root` is not a recorded node, DomainError where a slope does not exist.

    >>> x = Value(2.0)
    >>> y = x**3
    >>> first = gradients(y, x, create_graph=True)[x]
    >>> first.data, gradients(first, x)[x]
    (12.0, 12.0)
    """
    _check_root(root)
    found = root._gradients(create_graph)
    if wrt is None:
        return found
    nodes = list(wrt) if isinstance(wrt, Iterable) and not isinstance(wrt, Node) else [wrt]
    for node in nodes:
        if not isinstance(node, Node):
            raise NotANumberError(f"gradients by a {type(node).__name__}: wrt takes Values")
    return {node: found[node] if node in found else node._zero(create_graph) for node in nodes}


def _check_root(root: Node) -> None:
    if not isinstance(root, Node):
        raise NotANumberError(f"gradients of a {type(root).__name__}: a Value is needed; return the Value, not its .data")
    if not root.requires_grad:
        raise GraphError(
            f"{root!r} was made from constants or under no_grad(), so there is nothing to differentiate; "
            "build it outside of no_grad() from Values, or from Tensors with requires_grad=True"
        )


def _node_gradients(root: Node) -> dict[Any, Any]:
    """The chain rule on nodes, outputs first: each gradient is a new node, made by the rules of the table."""
    grads: dict[Any, Any] = {root: Value(1.0, requires_grad=False)}
    for node in reversed(inputs_first(root, lambda node: not node.requires_grad)):
        if node.op is None or node not in grads:
            continue
        for x, derivative in _edges(node):
            dx = grads[node] * _derivative_node(node, derivative)
            grads[x] = grads[x] + dx if x in grads else dx
    return grads


def _derivative_node(node: Any, derivative: ops.Rule) -> Any:
    try:
        return derivative(NodeMath, node, *node.inputs)
    except (TypeError, AttributeError) as error:
        raise OperationError(
            f"a derivative of {node.op.name} does not run on nodes ({error}); write it with operators and the functions of m"
        ) from error


def _domain_error(op: Op, inputs: Sequence[Node], error: Exception | None = None, backward: bool = False) -> DomainError:
    # A result without a label is spelled by what made it, one level deep: enough to find the place.
    nameless = [x for x in inputs if x.op and not x.label]
    origins = "".join(f", where {x.data!r} is {_spelled(x.op, x.inputs)}" for x in nameless if x.op) + "," * bool(nameless)
    return ops.domain_error(op, _spelled(op, inputs) + origins, [x.data for x in inputs], error, backward=bool(backward))


def _spelled(op: Op, inputs: Sequence[Node]) -> str:
    return ops.spell(op, [x.data for x in inputs], [x.label for x in inputs])


# ---- recording ------------------------------------------------------------------------------------------------------


class _Recording(threading.local):
    active = True


_recording = _Recording()


def _set_recording(active: bool) -> bool:
    """Switch recording in this thread; returns what it was."""
    before, _recording.active = _recording.active, active
    return before


def _is_recording() -> bool:
    return _recording.active


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Within it, results are plain numbers that remember nothing: cheaper, and no graph grows. Also a decorator.

    >>> with no_grad():
    ...     y = Value(2.0) * 3
    >>> y.inputs, y.requires_grad
    ((), False)
    """
    before = _set_recording(False)
    try:
        yield
    finally:
        _set_recording(before)


# ---- the pure Value -------------------------------------------------------------------------------------------------


def as_number(x: Any) -> float:
    """The float that a Value stores for `x`: an int, a float, a bool, a NumPy scalar or another real number.

    Raises NotANumberError, naming what came, for anything else.
    """
    if _is_number(x):
        try:
            return float(x)
        except OverflowError:
            raise NotANumberError(f"the integer {str(x)[:12]}... is too large for a float") from None
    if isinstance(x, Node):
        kind = "another Value" if isinstance(x, Value) else f"a {type(x).__name__}"
        raise NotANumberError(f"a Value holds a number, not {kind}; use it as it is, or take its .data")
    hint = ""
    if hasattr(x, "__array__"):
        hint = "; make one Value of each of its numbers, or a Tensor of all" if getattr(x, "ndim", 1) else "; take its .item()"
    if getattr(x, "ndim", 0) and hasattr(x, "shape"):
        shown = f"of shape {tuple(x.shape)}"  # to write out an array would take longer than to compute with it
    else:
        shown = repr(x) if len(repr(x)) <= 40 else repr(x)[:37] + "..."
    raise NotANumberError(f"a Value holds one real number, not {type(x).__name__} {shown}{hint}")


def _is_number(x: Any) -> bool:
    return isinstance(x, numbers.Real) or type(x).__name__ in ("bool", "bool_")  # NumPy's bool is no numbers.Real


class Value(Node):
    """One real number in an expression graph.

    data: the number; int, float, bool or a NumPy scalar, stored as a float.
    label: the name that pictures and error messages show.
    requires_grad: False makes a constant, which backward passes skip.

    The operators + - * / ** and abs(), and a method for every row of the table (`exp`, `tanh`, `relu`, ...), make new
    Values. Comparisons compare the data; hashing goes by identity, so that nodes can be kept in sets and dicts.
    Raises NotANumberError for what is no real number.

    A subclass may add attributes; results of operations are plain Values. Do not keep a result in an attribute of a node it
    was computed from: nodes are not visited by the cyclic garbage collector, so that memory would never return.

    >>> x = Value(0.5, label="x")
    >>> y = 2 * x + x**2
    >>> y.backward()
    >>> y.data, x.grad
    (1.25, 3.0)
    """

    # Two slots for the inputs, not a tuple: half as many objects for the garbage collector to visit. The first input is
    # in `_a`; `_b` is None, the second input, or a tuple of all the others. `_grad` and `_label` stay unset until they are
    # given: most nodes never have a label, and "no gradient yet" is not the same as 0. `_row` is the op, `_wanted` says
    # whether a gradient is, and `_origin` is set by origins.py alone.
    __slots__ = ("_a", "_b", "_data", "_grad", "_label", "_origin", "_row", "_wanted")

    def __init__(self, data: Any, *, label: str = "", requires_grad: bool = True) -> None:
        self._data: float = data if type(data) is float else as_number(data)
        self._row: Op | None = None
        self._a: Any = None
        self._b: Any = None
        if label != "":
            self.label = label
        self._wanted = bool(requires_grad)

    @property
    def data(self) -> float:
        """The number. Assigning one, as optimisers do, changes this node and no other: results keep the number they were
        computed with, so run the forward pass again before the next backward().
        """
        return self._data

    @data.setter
    def data(self, x: Any) -> None:
        self._data = x if type(x) is float else as_number(x)

    @property
    def grad(self) -> float:
        """d(root)/d(this), from the last backward pass; 0.0 as long as there was none."""
        return getattr(self, "_grad", 0.0)

    @grad.setter
    def grad(self, x: Any) -> None:
        self._grad = x if type(x) is float else as_number(x)

    @grad.deleter
    def grad(self) -> None:
        with contextlib.suppress(AttributeError):
            del self._grad

    @property
    def op(self) -> Op | None:
        """The row of the table that made this node; None for a leaf."""
        return self._row

    @property
    def requires_grad(self) -> bool:
        """False for a constant, which backward passes skip."""
        return self._wanted

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self._wanted = bool(wanted)

    @property
    def inputs(self) -> tuple["Value", ...]:
        """The nodes this one was computed from, in the order of the operation; x * x has two."""
        if self._a is None:
            return ()
        if self._b is None:
            return (self._a,)
        return (self._a, *self._b) if type(self._b) is tuple else (self._a, self._b)

    if TYPE_CHECKING:  # what `_add_methods` puts here from the table, for type checkers and editors

        def _one(self) -> "Value": ...
        def _two(self, other: Any) -> "Value": ...

        __neg__ = __abs__ = exp = log = log1p = sqrt = sin = cos = tanh = sigmoid = relu = softplus = _one
        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _two
        __pow__ = __rpow__ = maximum = minimum = _two

    def __pos__(self) -> Self:
        return self

    def __bool__(self) -> bool:
        return self._data != 0.0

    # Comparisons are by data. Equal numbers are not one node, so the hash stays that of the object.
    def __lt__(self, other: Any) -> bool:
        return NotImplemented if (x := _operand(other)) is None else self._data < x._data

    def __le__(self, other: Any) -> bool:
        return NotImplemented if (x := _operand(other)) is None else self._data <= x._data

    def __gt__(self, other: Any) -> bool:
        return NotImplemented if (x := _operand(other)) is None else self._data > x._data

    def __ge__(self, other: Any) -> bool:
        return NotImplemented if (x := _operand(other)) is None else self._data >= x._data

    def __eq__(self, other: Any) -> bool:
        return NotImplemented if (x := _operand(other)) is None else self._data == x._data

    __hash__ = object.__hash__


def _number_or_none(x: Any) -> float | None:
    return as_number(x) if _is_number(x) else None


def _checked_label(label: Any) -> str:
    if not isinstance(label, str):
        raise NotANumberError(f"a label is a string, not {type(label).__name__}; write Value(data, label='x')")
    return label


def _operand(x: Any) -> Value | None:
    """`x` as a node: itself, or a constant for a number; None for anything else, for Python to try the other side."""
    if isinstance(x, Value):
        return x
    number = x if type(x) is float else _number_or_none(x)
    return None if number is None else Value(number, requires_grad=False)


def apply(op: Op, *xs: Any) -> Value:
    """The Value of an operation at these Values or numbers, remembering both; a Tensor when one of them is a Tensor.

    Raises DomainError, naming the operation, the numbers and their labels, outside the domain; NotANumberError for
    operands that are neither.

    >>> apply(ops.TABLE["maximum"], Value(2.0), 5).data
    5.0
    """
    if len(xs) != op.arity:
        raise InputError(f"{op.name} takes {op.arity} input{'s' * (op.arity != 1)}, not {len(xs)}")
    if len(xs) == 3:  # `where` mostly, which is no method: a Tensor need not wait for the error
        for x in xs:
            if isinstance(x, Node) and not isinstance(x, Value):
                return cast(Value, cast(Any, x)._applied(op, *xs))
    try:
        return _apply(op, *xs)
    except NotANumberError:  # asked afterwards, so that Values do not pay for it
        tensor: Any = next((x for x in xs if isinstance(x, Node) and not isinstance(x, Value)), None)
        if tensor is None:
            raise
    return cast(Value, tensor._applied(op, *xs))


def _apply(op: Op, *xs: Any) -> Value:
    inputs = [x if isinstance(x, Value) else Value(x, requires_grad=False) for x in xs]
    node = Value(_evaluate(op, inputs), requires_grad=False)
    if _recording.active and any(x.requires_grad for x in inputs):
        _connect(node, op, inputs)
    return node


def _evaluate(op: Op, inputs: Sequence[Node]) -> float:
    return _run(op, op.forward, inputs, [x.data for x in inputs])


def _run(op: Op, rule: ops.Rule, inputs: Sequence[Node], numbers: Sequence[float], backward: bool = False) -> float:
    """What a rule gives for these numbers, as a float; its failures are worded, its own exceptions kept as the cause."""
    try:
        y = rule(FloatMath, *numbers)
    except ChainruleError:
        raise
    except (ArithmeticError, ValueError) as error:
        raise _domain_error(op, inputs, error, backward) from (None if op in ops.BUILT_IN else error)
    if not _is_number(y):
        what = f"gives {type(y).__name__} {y!r}, not a real number"
        raise (
            _domain_error(op, inputs, DomainError(what), backward)
            if isinstance(y, complex)
            else OperationError(f"a rule of operation {op.name!r} {what}")
        )
    return as_number(y)


_PLAIN = {op for op in ops.BUILT_IN if op.arity <= 2}


def _connect(node: Value, op: Op, inputs: Sequence[Any]) -> None:
    node._row, node._wanted = op, True
    node._a, *others = inputs
    # Registered rows keep a tuple, which sends them past the fast branches below: their rules may give any number, or None.
    node._b = tuple(others) if op not in _PLAIN else others[0] if others else None


# The methods do what `apply` does, for one and two inputs and with nothing to look up: a training step makes tens of
# thousands of nodes, and most of its time is spent in these two functions and in `_number_gradients`.


def _unary(op: Op) -> Callable[[Value], Value]:
    forward, new = op.forward, Value.__new__

    def method(x: Value) -> Value:
        try:
            data = forward(FloatMath, x._data)
        except (ArithmeticError, ValueError) as error:
            raise _domain_error(op, (x,), error) from None
        node = new(Value)
        node._data = data
        if x._wanted and _recording.active:
            node._row = op
            node._a = x
            node._b = None
            node._wanted = True
        else:
            node._row = node._a = node._b = None
            node._wanted = False
        return node

    return method


def _binary(op: Op) -> Callable[[Value, Any], Value]:
    forward, new = op.forward, Value.__new__

    def method(a: Value, b: Any) -> Value:
        if type(b) is not Value and (b := _operand(b)) is None:
            return cast(Value, NotImplemented)
        try:
            data = forward(FloatMath, a._data, b._data)
        except (ArithmeticError, ValueError) as error:
            raise _domain_error(op, (a, b), error) from None
        node = new(Value)
        node._data = data
        if (a._wanted or b._wanted) and _recording.active:
            node._row = op
            node._a = a
            node._b = b
            node._wanted = True
        else:
            node._row = node._a = node._b = None
            node._wanted = False
        return node

    return method


def _swapped(method: Callable[[Value, Any], Value]) -> Callable[[Value, Any], Value]:
    """What Python calls for `number + Value`."""

    def swapped(b: Value, a: Any) -> Value:
        return cast(Value, NotImplemented) if (node := _operand(a)) is None else method(node, b)

    return swapped


def _named(op: Op) -> Callable[[Value, Any], Value]:
    return lambda a, b: apply(op, a, b)  # unlike an operator it has no other side to ask: a wrong operand is an error


def _add_methods() -> None:
    for op in ops.BUILT_IN:
        if op.arity == 1:
            _add_method(op.method, _unary(op), op)
        if op.arity == 2 and op.method.startswith("__"):
            _add_method(op.method, _binary(op), op)
            _add_method(op.method.replace("__", "__r", 1), _swapped(_binary(op)), op)
        elif op.arity == 2:
            _add_method(op.method, _named(op), op)


def _add_method(name: str, method: Any, op: Op) -> None:
    method.__name__, method.__qualname__, method.__doc__ = name, f"Value.{name}", op.doc
    setattr(Value, name, method)


_add_methods()
_ADD, _MUL = ops.TABLE["add"], ops.TABLE["mul"]


def _number_gradients(root: Any) -> dict[Any, float]:
    """The chain rule on numbers: each node passes its gradient, times the local derivative, to each of its inputs."""
    grads = _differentiable(root)
    grads[root] = 1.0
    try:
        for node in reversed(grads):
            op, a, b = node._row, node._a, node._b
            if op is None:
                continue
            g = grads[node]
            if op is _ADD and a._wanted and b._wanted:  # nearly all nodes of a net are sums and products,
                grads[a] += g
                grads[b] += g
            elif op is _MUL and a._wanted and b._wanted:  # so their two rows are written out
                grads[a] += g * b._data
                grads[b] += g * a._data
            elif b is None:
                if a._wanted:
                    grads[a] += g * op.derivatives[0](FloatMath, node._data, a._data)
            elif type(b) is not tuple:
                by_a, by_b = op.derivatives
                if a._wanted:
                    grads[a] += g * by_a(FloatMath, node._data, a._data, b._data)
                if b._wanted:
                    grads[b] += g * by_b(FloatMath, node._data, a._data, b._data)
            else:
                for x, slope in zip(node.inputs, _slopes(node), strict=True):
                    if slope is not None and x in grads:
                        grads[x] += g * slope
    except (ArithmeticError, ValueError) as error:
        raise error if isinstance(error, ChainruleError) else _domain_error(op, node.inputs, backward=True) from None
    except KeyError as error:
        if not isinstance(error.args[0], Node):
            raise
        raise GraphError("requires_grad was changed while a backward pass was running") from None
    return grads


def _slopes(node: Any) -> list[float | None]:
    """The local derivative by each input; None where no gradient flows."""
    if node.op is None:
        return []
    numbers = [node.data, *(x.data for x in node.inputs)]
    return [
        _run(node.op, derivative, node.inputs, numbers, backward=True) if derivative and x.requires_grad else None
        for x, derivative in zip(node.inputs, node.op.derivatives, strict=True)
    ]


def _deposit(root: Any) -> None:
    for node, gradient in _number_gradients(root).items():
        if node._row is None and node.has_grad:
            node._grad += gradient
        else:
            node._grad = gradient


def _edges(node: Any) -> list[tuple[Any, ops.Rule]]:
    """The inputs that a gradient flows to, each with its local derivative."""
    pairs = zip(node.inputs, node.op.derivatives, strict=True)
    return [(x, derivative) for x, derivative in pairs if derivative is not None and x.requires_grad]


def _differentiable(root: Any) -> dict[Any, float]:
    """`inputs_first` along the edges that a gradient flows through, each node with 0.0; written out because it is hot."""
    done: dict[Any, float] = {}
    stack = [root]
    pop = stack.pop
    while stack:
        node = pop()
        if node is None:
            done[pop()] = 0.0
        elif node not in done:
            a, b = node._a, node._b
            if a is None or (a in done and b in done):  # nothing below to wait for
                done[node] = 0.0
            elif type(b) is tuple:
                stack += (node, None, *(x for x, _ in _edges(node)))
            elif b is not None and b._wanted:
                stack += (node, None, a, b) if a._wanted else (node, None, b)
            else:
                stack += (node, None, a) if a._wanted else (node, None)
    return done


def _make(op: Op | None, inputs: Sequence[Node], data: float, grad: float | None, label: str, requires_grad: bool) -> Value:
    """A node with exactly these parts; copying and unpickling need it, since no operation is run again."""
    node = Value(data, label=label)
    if op:
        _connect(node, op, inputs)
    node.requires_grad = requires_grad
    if grad is not None:
        node.grad = grad
    return node


# ---- numbers in bulk, for compiled programs: between a list of Values and arrays of as many float64 or float32 ------


def read_data(values: list[Any], numbers: Any) -> bool:
    """Copy the data of Values into an array; returns whether all of them require a gradient."""
    numbers[:] = [x.data for x in values]
    return all(x.requires_grad for x in values)


def write(values: list[Any], data: Any, grads: Any) -> None:
    """Set the data and the gradients of Values from arrays; None in the place of either leaves those alone."""
    for name, array in (("data", data), ("grad", grads)):
        if array is not None:
            for x, number in zip(values, array.tolist(), strict=True):
                setattr(x, name, number)


def data_writes() -> float:
    """A number that changes whenever data or requires_grad of a Value is assigned; here NaN, for nobody counts: never equal."""
    return float("nan")


# ---- copying and pickling -------------------------------------------------------------------------------------------


def _restore(_sent_ahead: Any, fields: tuple[Any, ...], inputs: Sequence[Any]) -> Any:
    return fields[0]._restored(fields, inputs)


def _restored_value(fields: tuple[Any, ...], inputs: Sequence[Any]) -> Node:
    kind, name, data, grad, label, requires_grad = fields
    op = ops.lookup(name) if name else None
    if len(inputs) != (op.arity if op else 0):
        raise GraphError(f"a stored {name or 'leaf'} has {len(inputs)} inputs; operation {name!r} is not what it was")
    if op or kind is Value:
        return _make(op, inputs, data, grad, label, requires_grad)
    leaf = kind.__new__(kind)
    Value.__init__(leaf, data, label=label, requires_grad=requires_grad)
    if grad is not None:
        leaf.grad = grad
    return cast(Node, leaf)


class _Ancestors:
    """Pickled as a list of nodes, inputs first; while it is being written, the nodes in it need not send theirs.

    The pickler keeps it alive as long as it remembers what it has written. So `sent` tells the next node of the same dump
    what need not be sent again, and pickling many nodes of one graph takes linear time.
    """

    def __init__(self, nodes: list[Any], sent: set[Any]) -> None:
        self.nodes, self.sent = nodes, sent

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (), None, self._emit()

    def _emit(self) -> Iterator[Node]:
        _emitting.active = True
        try:
            yield from self.nodes
        finally:
            _emitting.active = False


class _Emitting(threading.local):
    active = False
    latest: Callable[[], _Ancestors | None] = staticmethod(lambda: None)


_emitting = _Emitting()


def _ancestors(root: Node) -> _Ancestors | None:
    if _emitting.active or not root.inputs:
        return None
    latest = _emitting.latest()
    sent = set() if latest is None else latest.sent
    nodes = inputs_first(root, sent.__contains__)[:-1]
    sent.update(nodes, [root])
    if not nodes:
        return None
    ancestors = _Ancestors(nodes, sent)
    _emitting.latest = weakref.ref(ancestors)
    return ancestors


# ---- functions of the table -----------------------------------------------------------------------------------------


def _function(op: Op) -> Callable[..., Value]:
    def function(*xs: Any) -> Value:
        return apply(op, *xs)

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.doc
    return function


def register(
    name: str,
    forward: ops.Rule,
    derivatives: Sequence[ops.Rule | None],
    domain: Sequence[Any],
    *,
    symbol: str = "",
    doc: str = "",
    replace: bool = False,
) -> Callable[..., Value]:
    """Add an operation of your own to the table and return the function that applies it.

    name: an identifier that no operation has yet.
    forward: `lambda m, x: ...`, in infix operators and the intrinsics of `m` (ops.INTRINSICS).
    derivatives: one `lambda m, y, x: ...` per input; y is the output. None for an input that is a choice.
    domain: one `(low, high)` per input; the derivatives are checked there against centred differences, now.
    symbol, doc: what pictures show (default: the name), and one sentence.
    replace: True takes the place of an earlier registration of that name, as running a notebook cell again does.

    Raises OperationError when a derivative is wrong or the parts do not fit. The third Legendre polynomial:

    >>> p3 = register("doc_p3", lambda m, x: (5 * x**3 - 3 * x) / 2, [lambda m, y, x: (15 * x**2 - 3) / 2], [(-1, 1)])
    >>> x = Value(0.5)
    >>> p3(x).backward()
    >>> x.grad
    0.375
    """
    return _function(ops.add_row(name, forward, derivatives, domain, symbol=symbol, doc=doc, replace=replace))


class NodeMath:
    """`m` for nodes: each intrinsic makes a node, so that a gradient computed with it can be differentiated again."""


FUNCTIONS = {op.name: _function(op) for op in ops.BUILT_IN}
for _name in ops.INTRINSICS:
    setattr(NodeMath, _name, staticmethod(FUNCTIONS[_name]))

# In the order of the table; a row without an operator shows up here, or the unpacking fails.
exp, log, log1p, sqrt, sin, cos, tanh, sigmoid, relu, softplus, maximum, minimum, where = (
    FUNCTIONS[op.name] for op in ops.BUILT_IN if not op.method.startswith("__")
)


def _picture(node: Node, format: str) -> str | None:
    # Pictures are a leaf that may be absent, so the core finds it by name, and only when a notebook asks.
    with contextlib.suppress(ModuleNotFoundError):
        return cast(str | None, getattr(importlib.import_module("chainrule.show"), format)(node))
    return None


# ---- the native engine ----------------------------------------------------------------------------------------------


def _use(twin: Any) -> None:
    """Put the twins in C in the place of the pure Value, its walk and its backward pass."""
    kind = twin.create(Node, ops.BUILT_IN, as_number, _number_or_none, _evaluate, _slopes, _domain_error, _checked_label)
    kind.__doc__ = Value.__doc__
    pure_walk = inputs_first

    def walk(root: Node, skip: Callable[[Node], bool] | None = None) -> list[Any]:
        return pure_walk(root, skip) if skip or not isinstance(root, kind) else twin.inputs_first(root)

    walk.__name__, walk.__qualname__, walk.__doc__ = "inputs_first", "inputs_first", inputs_first.__doc__
    globals().update(
        Value=kind,
        inputs_first=walk,
        _apply=twin.apply,
        _make=twin.make,
        _deposit=twin.backward,
        _number_gradients=twin.number_gradients,
        _set_recording=twin.set_recording,
        _is_recording=twin.is_recording,
        read_data=twin.read_data,
        write=twin.write,
        data_writes=twin.data_writes,
    )


if native.engine is not None:
    _use(native.engine)
