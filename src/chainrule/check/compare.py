"""`compare`: a gradient written by hand against the true one, and why it is wrong.

>>> from chainrule.tensor import Tensor
>>> x = Tensor([[0.5, -1.0], [2.0, 0.1]], requires_grad=True, label="x")
>>> h = x.tanh()
>>> loss = (h * h).sum()
>>> dh = 2 * h.data
>>> print(compare((1 - x.data**2) * dh, x, root=loss))
x: wrong (x for y): on x -> tanh: 1 - x^2 stands for 1 - y^2; largest difference 5.9e+00 at [1, 0]
>>> print(compare((1 - h.data**2) * dh, x, root=loss))
x: exact: 4 numbers

Shape and dtype are judged first and nothing is broadcast. Then the numbers, in float64: what rounding explains is
measured by the sizes of the summands, which the recorded graph below `root` knows. Without it nobody can tell the rounding
of large summands from a mistake in small elements, and the verdict says so. A gradient that is zero by nature (that of a
bias before BatchNorm, say) proves nothing where it stands; `again` tries its line on drawn numbers. What is wrong is tried
against a bank of mistakes, hypotheses.py. Imports errors, tensor and the rest of check.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule.arrays import Array
from chainrule.check.hypotheses import Case, Cause, likely_causes
from chainrule.check.recording import Edge, Recording, fitted, number
from chainrule.errors import InputError, did_you_mean
from chainrule.tensor import Tensor, as_array

Again = Callable[..., Any]
ROUNDINGS = 32.0  # how many roundings of every summand are still rounding
RIGHT = ("exact", "approximate", "rounding")
OPEN = ("follows", "proves nothing", "cannot tell")  # these accuse nobody


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; true when mine is right.

    name: of the tensor. verdict: "exact", "approximate" or "rounding" (right); "proves nothing" (zero by nature and not
    tried again, or empty); "cannot tell" (a mistake or rounding); "wrong shape", "wrong dtype" (the evidence says what the
    numbers are), "not finite", "no truth" (the true gradient is not finite), "wrong", "follows" (right for the wrong
    gradients it was made from). cause: what was done wrong, in a word or two, "" when nothing is known to be and "unknown"
    when no known mistake fits. evidence: how one sees it. difference, at: the largest, and its index. alternatives: other
    causes that fit as well.
    """

    name: str
    verdict: str
    cause: str = ""
    evidence: str = ""
    difference: float = 0.0
    at: tuple[int, ...] = ()
    alternatives: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.verdict in RIGHT

    def __str__(self) -> str:
        cause = f" ({self.cause})" if self.cause and self.cause != self.verdict else ""
        text = f"{self.name or 'gradient'}: {self.verdict}{cause}{': ' if self.evidence else ''}{self.evidence}"
        if self or not self.difference > 0:  # nor NaN
            return text
        return f"{text}; largest difference {self.difference:.1e} at {list(self.at)}"


class Comparisons(dict[str, Comparison]):
    """Comparisons by name; true when all are right. `cause` and `evidence` are those of the gradient that is to blame:
    the first of the backward pass that is wrong by itself. Printed, it is a table."""

    @property
    def culprit(self) -> Comparison | None:
        """The comparison to look at first; None when all are right."""
        # A dtype is handed on by every line, so wrong numbers come before it.
        order = {"wrong dtype": 1, "cannot tell": 2, "follows": 3, "proves nothing": 3}
        found = [each for each in self.values() if not each]
        return min(found, key=lambda each: order.get(each.cause or each.verdict, 0), default=None)

    @property
    def verdict(self) -> str:
        """ "right", or that of the culprit."""
        return "right" if self.culprit is None else self.culprit.verdict

    @property
    def cause(self) -> str:
        """The cause of the culprit; "" when all are right."""
        return "" if self.culprit is None else self.culprit.cause

    @property
    def evidence(self) -> str:
        """The evidence of the culprit."""
        return "" if self.culprit is None else self.culprit.evidence

    def __bool__(self) -> bool:
        return all(self.values())

    def __str__(self) -> str:
        width = max(map(len, self), default=0)
        lines = [f"{'ok' if each else '--'}  {name:<{width}}  {str(each).partition(': ')[2]}" for name, each in self.items()]
        right = f"{sum(map(bool, self.values()))} of {len(self)} gradients right"
        return "\n".join([*lines, right if self.culprit is None else f"{right}; look at {self.culprit.name} first"])


def compare(
    mine: Any,
    true: Any,
    name: str = "",
    *,
    root: Any = None,
    again: Any = None,
    upstream: Any = None,
    inputs: Sequence[Any] = (),
    output: Any = None,
    paths: Sequence[Any] = (),
    rng: int | np.random.Generator = 0,
) -> Any:
    """Judge a gradient written by hand, and say why it is wrong.

    mine: the gradient, an array; or a mapping of gradients by name, which is judged as a whole.
    true: the tensor it belongs to, or the true gradient; for a mapping, a mapping of those.
    name: for the report (default: the label of the tensor).
    root: the loss whose recorded graph `true` is in. With it all that follows is known; without it a tensor's own `grad`
        is taken, and causes are found by the numbers alone. Then what may be rounding is "cannot tell": gradients that
        are nearly zero, and small elements whose relative error is large.
    again: the line that computed mine, as a function of the gradients it was made from (`lambda dh: ...`; the parameters
        are named d and the label, or stand in the order of the forward pass). It is tried on drawn numbers, which proves
        what zeros and special gradients do not, and tells rounding from mistakes. For a mapping, by name.
    upstream, inputs, output, paths: for a gradient without a recorded graph, what is known: the gradient of the
        operation's output, its inputs, its output, and the true contributions of several paths, in the order in which a
        backward pass adds them. With root, `upstream` maps names to the gradients that mine was made from.
    rng: a seed or generator for the drawn numbers.

    Returns a Comparison, or Comparisons for a mapping; its truth value is the verdict. Raises InputError when `true` has
    no gradient or is not in the graph of `root`, or a name is missing in either mapping; NotANumberError for what is no
    array of real numbers.

    >>> print(compare([3.0, 6.0, 9.0], [1.0, 2.0, 3.0], name="w"))
    w: wrong (times n): mine is 3 (n, the length of an axis or of all) times the true gradient; largest difference 6.0e+00 at [2]
    """
    generator = np.random.default_rng(rng)
    if isinstance(mine, Mapping):
        return _table(mine, true, root, again or {}, generator)
    if root is None:
        known = _Known(upstream, tuple(inputs), output, tuple(paths))
        return _without_graph(_mine(mine), true, name or getattr(true, "label", ""), known)
    if not isinstance(true, Tensor):
        raise InputError("with root, the second argument is the tensor that the gradient belongs to")
    recording = Recording(root)
    label = name or recording.names.get(true, "")
    recording.names[true] = label
    given = _by_node(recording, upstream or {})
    return _Judge(recording, given, generator).judged(_mine(mine), true, label, again)


def _table(mine: Mapping[str, Any], true: Any, root: Any, again: Mapping[str, Any], rng: np.random.Generator) -> Comparisons:
    if not isinstance(true, Mapping):
        raise InputError(f"for a mapping of gradients the true ones must be a mapping too, not {type(true).__name__}")
    for name in mine:
        if name not in true:
            raise InputError(f"there is no true gradient for {name!r}{did_you_mean(name, true)}")
    if missing := [name for name in true if name not in mine]:
        raise InputError(f"mine has no gradient for {missing[0]!r}; leave it out of the true ones as well, or pass both")
    if unknown := [name for name in again if name not in mine]:
        raise InputError(f"again has {unknown[0]!r}, which is no gradient of mine{did_you_mean(unknown[0], mine)}")
    if root is None:
        return Comparisons({name: compare(g, true[name], name) for name, g in mine.items()})
    recording = Recording(root, {true[name]: name for name in mine})
    place = {node: i for i, node in enumerate(recording.order)}
    if strange := [name for name in mine if true[name] not in place]:
        raise InputError(f"{strange[0]} is not in the recorded graph of root")
    judge = _Judge(recording, {true[name]: _mine(g) for name, g in mine.items()}, rng)
    names = sorted(mine, key=lambda name: -place[true[name]])  # outputs first, as a backward pass goes
    return Comparisons({name: judge.judged(_mine(mine[name]), true[name], name, again.get(name)) for name in names})


def _mine(g: Any) -> Array:
    if isinstance(g, Tensor):
        return g.data
    if isinstance(g, (int, float, list, tuple)):
        return as_array(g, np.float64)
    return g if isinstance(g, np.ndarray) and g.dtype.kind in "fiub" else as_array(g)


def _by_node(recording: Recording, given: Mapping[str, Any]) -> dict[Any, Array]:
    nodes = {name: node for node, name in recording.names.items()}
    if unknown := [name for name in given if name not in nodes]:
        raise InputError(f"upstream has {unknown[0]!r}, which is no label in the graph{did_you_mean(unknown[0], nodes)}")
    counts = Counter(recording.names.values())
    if shared := [name for name in given if counts[name] > 1]:
        raise InputError(
            f"upstream has {shared[0]!r}, which names {counts[shared[0]]} tensors of the graph; give each its own label"
        )
    return {nodes[name]: _mine(g) for name, g in given.items()}


# ---- with a recorded graph -------------------------------------------------------------------------------------------


class _Judge:
    """Compares gradients of one recorded graph; `given` are those that the hand-written backward pass went on with."""

    def __init__(self, recording: Recording, given: Mapping[Any, Array], rng: np.random.Generator) -> None:
        self.recording, self.given, self.rng = recording, given, rng

    def judged(self, mine: Array, x: Any, name: str, again: Again | None) -> Comparison:
        """The comparison of one gradient."""
        if x not in self.recording.grads:
            raise InputError(f"{name or 'the tensor'} is not in the recorded graph of root")
        true, scale = np.asarray(self.recording.grads[x]), self.recording.sizes(x)
        with np.errstate(all="ignore"):  # what is not finite is said, not warned of
            if (found := _before_numbers(name, mine, true, scale, self.recording.origin)) is not None:
                return found
            return _with_dtype(self._numbers(_wide(mine), true, scale, x, name, again), mine.dtype, x.dtype)

    def _numbers(self, mine: Array, true: Array, scale: Array, x: Any, name: str, again: Again | None) -> Comparison:
        allowed = self._rounding(x, scale)
        if not _agree(mine, true, allowed):
            return self._wrong(mine, true, x, name, allowed, again)
        if again is not None and (other := self._tried(again, x, name)) is not None:
            return other
        if again is None and float(np.abs(true).max(initial=0)) <= 2 * float(allowed.max(initial=0)):
            return Comparison(name, "proves nothing", "", "this gradient is zero by nature; pass the line that made it as again=")
        return _right(name, mine, true, self._unproved(x, again))

    def _rounding(self, x: Any, scale: Array) -> Array:
        """What rounding can do to each element, for summands of these sizes; and underflow, to a softmax of float32."""
        floats = self.recording.coarsest(x)
        underflow = float(floats.tiny) * (1 + scale.max(initial=0))
        return np.asarray(ROUNDINGS * (float(floats.eps) * scale + underflow))

    def _unproved(self, x: Any, again: Again | None) -> str:
        """The paths whose contribution is zero by nature, so that nobody can see whether it was added."""
        if again is not None:
            return "; and right for drawn numbers"
        edges = [edge for edge in self.recording.edges(x, far=False) if edge.direct]
        zero = [edge.text for edge in edges if self._carries_zero(x, edge.user)]
        return f"; the path {zero[0]} carries zero and is not proved (pass again=)" if zero and len(edges) > 1 else ""

    def _wrong(self, mine: Array, true: Array, x: Any, name: str, allowed: Array, again: Again | None) -> Comparison:
        step = self._step(x)
        if step is not None and _agree(mine, step[x], 4 * allowed):
            wrong = ", ".join(sorted(self.recording.names[end] for end in self._wrong_ends(x)))
            return Comparison(name, "follows", "follows", f"right for the {wrong} it was made from", *_difference(mine, true))
        if again is not None and mine.shape == x.shape and (found := self._rounded(again, mine, true, x, name)) is not None:
            return found
        if _agree(mine, true, allowed.max(initial=0)):
            if again is not None and (other := self._tried(again, x, name)) is not None:
                return other
            return Comparison(name, "cannot tell", "", _in_small_elements(mine, true, allowed), *_difference(mine, true))
        # Judged by what mine was made from; else, and beyond the next named tensor, by the true gradients.
        edges = [] if step is None else [(step[x], self.recording.edges(x, {**self._ends(x), **step}, far=False))]
        edges += [(true, self.recording.edges(x)), (true, self._without_zero_paths(x))]
        found = _explained(name, mine, true, [self._case(mine, g, each, allowed) for g, each in edges])
        if again is None or (found.cause != "unknown" and not found.alternatives):
            return found
        # Drawn numbers decide between causes that fit alike.
        drawn = self._tried(again, x, name)
        if drawn is None or drawn.cause == "unknown":
            return found
        return Comparison(name, drawn.verdict, drawn.cause, drawn.evidence, *_difference(mine, true), drawn.alternatives)

    def _without_zero_paths(self, x: Any) -> list[Edge]:
        """The edges as a closed form sees them, that has left out what adds up to zero (the maximum in a softmax, say)."""
        zero = {user for user, _ in self.recording.users[x] if self._carries_zero(x, user)}
        return self.recording.edges(x, without=zero) if zero else []

    def _carries_zero(self, x: Any, user: Any) -> bool:
        allowed = self._rounding(x, self.recording.sizes(x))
        total = sum(edge.total for edge in self.recording.edges(x, far=False) if edge.direct and edge.user is user)
        return float(np.abs(total).max(initial=0)) <= float(allowed.max(initial=0))

    def _case(self, mine: Array, true: Array, edges: Sequence[Edge], allowed: Array) -> Case:
        others = {name: self.given.get(node, self.recording.grads[node]) for node, name in self.recording.names.items()}
        numbers = {name: data for node, name in self.recording.names.items() if (data := number(node)).dtype.kind == "f"}
        return Case(_float64(mine), np.asarray(true), edges, _tolerance(mine, allowed), others, numbers)

    def _ends(self, x: Any) -> dict[Any, Array]:
        """The gradients of the named tensors made from x, as mine has them, or true where it has none."""
        grads, ends = self.recording.grads, self.recording.near(x)[0]
        fits = {end: end in self.given and self.given[end].shape == end.shape for end in ends}
        return {end: np.asarray(self.given[end] if fits[end] else grads[end], np.float64) for end in ends}

    def _wrong_ends(self, x: Any) -> list[Any]:
        rounding = {end: self._rounding(end, self.recording.sizes(end)) for end in self._ends(x)}
        return [end for end, g in self._ends(x).items() if not _agree(g, self.recording.grads[end], rounding[end])]

    def _step(self, x: Any) -> dict[Any, Any] | None:
        """The gradient of x for the gradients mine was made from, where some of those are wrong."""
        return self.recording.step(x, self._ends(x)) if self._wrong_ends(x) else None

    def _tried(self, again: Again, x: Any, name: str) -> Comparison | None:
        """What is wrong with the line when it gets drawn numbers instead of gradients; None when nothing is."""
        grads = self.recording.grads
        ends = {
            end: self.rng.normal(size=end.shape) if end is not self.recording.root else grads[end]
            for end in self.recording.near(x)[0]
        }
        mine, step = _wide(_mine(_called(again, ends, self.recording))), self.recording.step(x, ends)
        true = np.asarray(step[x])
        eps = float(self.recording.coarsest(x).eps)  # the line meets data of this dtype, whatever it is given
        allowed = ROUNDINGS * 8 * eps * np.full(x.shape, _step_size(self.recording, x, ends))
        if _agree(mine, true, allowed):
            return None
        if mine.shape == true.shape and not np.isfinite(mine).all():
            return _not_finite(name, mine, " when the line runs on drawn numbers")
        edges = self.recording.edges(x, {**ends, **step}, far=False)
        others = {self.recording.names[end]: g for end, g in ends.items()}
        case = Case(_float64(mine), true, edges, _tolerance(mine, allowed), others)
        found = _explained(name, mine, true, [case])
        text = f"{found.evidence} (seen with drawn numbers as gradients)"
        return Comparison(name, found.verdict, found.cause, text, found.difference, found.at, found.alternatives)

    def _rounded(self, again: Again, mine: Array, true: Array, x: Any, name: str) -> Comparison | None:
        """Whether the difference goes when the line runs again on float64 gradients."""
        if mine.dtype == np.float64:
            return None
        ends = {end: np.asarray(g, np.float64) for end, g in self._ends(x).items()}
        wanted = np.asarray(self.recording.step(x, ends)[x])
        before, after = _difference(mine, true)[0], _difference(_mine(_called(again, ends, self.recording)), wanted)[0]
        if after > before / 10:
            return None
        text = f"the difference of {before:.1e} is {after:.1e} when the line runs in float64"
        return Comparison(name, "rounding", "", text, before)


def _called(again: Again, ends: Mapping[Any, Array], recording: Recording) -> Any:
    """The user's line on these gradients: by the names of its parameters where they are labels, else in order."""
    named = {}
    for end, g in ends.items():
        named["d" + recording.names[end]] = named[recording.names[end]] = g
    shared = [name for name, count in Counter(recording.names[end] for end in ends).items() if count > 1]
    parameters = list(inspect.signature(again).parameters.values())
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        _expect_own_labels(shared)
        return again(**{name: g for name, g in named.items() if name.startswith("d") and name[1:] in named})
    # What has a default is no gradient, as in lambda dz, n=n: dz / n.
    parameters = [p for p in parameters if p.default is p.empty]
    if all(p.name in named for p in parameters):
        _expect_own_labels([name for name in shared if any(p.name in (name, "d" + name) for p in parameters)])
        return again(**{p.name: named[p.name] for p in parameters})
    if len(parameters) != len(ends):
        takes = ", ".join("d" + recording.names[end] for end in ends)
        raise InputError(f"again takes the gradients it is made from, here {takes}; not {', '.join(p.name for p in parameters)}")
    return again(*ends.values())


def _expect_own_labels(shared: Sequence[str]) -> None:
    if shared:
        raise InputError(f"again takes the gradient of {shared[0]!r}, which names several tensors; give each its own label")


def _step_size(recording: Recording, x: Any, ends: Mapping[Any, Array]) -> float:
    seeds = {end: np.abs(g) for end, g in ends.items()}
    found = recording.flow(seeds, recording.near(x)[1], set(recording.names) - {x}, size=True)
    return float(np.max(found[x], initial=0))


# ---- without a graph -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Known:
    upstream: Any
    inputs: tuple[Any, ...]
    output: Any
    paths: tuple[Any, ...]

    def edges(self, true: Array) -> list[Edge]:
        """The paths, or the one operation, as edges whose local slope is not known."""
        if self.paths:
            return [self._edge(_mine(p).astype(np.float64), np.ones(true.shape), f"path {i}") for i, p in enumerate(self.paths)]
        if self.upstream is None and not self.inputs:
            return []
        g = np.ones(true.shape) if self.upstream is None else _mine(self.upstream).astype(np.float64)
        return [self._edge(true, g, "the operation")]

    def _edge(self, total: Array, g: Array, text: str) -> Edge:
        xs = tuple(_mine(x) for x in self.inputs)
        y = None if self.output is None else _mine(self.output)
        return Edge(None, 0, g, y, xs, {}, total.shape, total, lambda dx: np.asarray(fitted(dx, total.shape)), text)


def _without_graph(mine: Array, true: Any, name: str, known: _Known) -> Comparison:
    if isinstance(true, Tensor) and true.grad is None and true.requires_grad:
        raise InputError(f"{name or 'the tensor'} has no gradient yet: pass root=loss, or run backward(retain_grad=True) first")
    exact = _mine(true.grad if isinstance(true, Tensor) and true.grad is not None else true)
    summands = sum((np.abs(_mine(p)) for p in known.paths), np.abs(_float64(exact)))
    with np.errstate(all="ignore"):
        if (found := _before_numbers(name, mine, exact, summands, str)) is not None:
            return found
        return _with_dtype(_by_numbers(_wide(mine), _wide(exact), summands, name, known), mine.dtype, exact.dtype)


def _by_numbers(mine: Array, exact: Array, summands: Array, name: str, known: _Known) -> Comparison:
    """The verdict by the numbers alone. The summands of a gradient are as large as its largest element, or larger: so much
    is known, and no more."""
    true, eps = _float64(exact), max(float(np.finfo(each.dtype).eps) for each in (mine, exact))
    allowed = np.full(true.shape, 8 * ROUNDINGS * eps * float(np.max(summands, initial=0)))
    if not _agree(mine, true, allowed):
        case = Case(_float64(mine), true, known.edges(true), _tolerance(mine, allowed), {})
        found = _explained(name, mine, true, [case])
        return _nearly_zero(found, mine, true, eps) if mine.shape == true.shape else found
    if true.size and not true.any():
        return Comparison(name, "proves nothing", "", "the true gradient is zero everywhere; try another loss, or pass root=")
    proved = np.maximum(ROUNDINGS * np.sqrt(eps) * np.abs(true), 8 * ROUNDINGS * eps * summands if known.paths else 0.0)
    if not _agree(mine, true, proved):
        text = f"{_in_small_elements(mine, true, proved)}: cannot tell rounding from a mistake; pass root="
        return Comparison(name, "cannot tell", "", text, *_difference(mine, true))
    return _right(name, mine, true, f", largest relative error {float(_relative(mine, true).max()):.1e}")


def _nearly_zero(found: Comparison, mine: Array, true: Array, eps: float) -> Comparison:
    """The same, unless all may be the rounding of summands that cancel, as for a bias before BatchNorm."""
    small = float(np.sqrt(eps))
    sure = found.cause != "unknown" and mine.any() and np.count_nonzero(true) > 3  # numbers that follow a rule are no rounding
    if sure or not (_agree(mine, 0 * true, small) and _agree(true, 0 * true, small)):
        return found
    text = f"all numbers are below {small:.0e}, which rounding can make: cannot tell rounding from a mistake; pass root="
    return Comparison(found.name, "cannot tell", "", text, found.difference, found.at)


# ---- numbers ---------------------------------------------------------------------------------------------------------


def _before_numbers(name: str, mine: Array, true: Array, scale: Array, origin: Callable[[], str]) -> Comparison | None:
    """What can be said where numbers are none, or there are none."""
    unknown = next((each for each in (true, scale) if not np.isfinite(each).all()), None)
    if mine.shape != true.shape:
        text = f"mine has shape {mine.shape}, the tensor {true.shape}"
        return None if unknown is None else Comparison(name, "wrong shape", "unknown", text)
    if unknown is not None:
        at, where = _first(~np.isfinite(unknown)), origin()
        what = f"the true gradient is {true[at]}" if unknown is true else "the summands of the true gradient overflow"
        text = f"{what} at {list(at)}{where and f'; it starts with {where}'}: nothing can be compared with it"
        return Comparison(name, "no truth", "no truth", text, float("nan"), at)
    if not np.isfinite(mine).all():
        return _not_finite(name, mine)
    return None if mine.size else Comparison(name, "proves nothing", "", f"a gradient of shape {mine.shape} has no elements")


def _not_finite(name: str, mine: Array, when: str = "") -> Comparison:
    at = _first(~np.isfinite(mine))
    return Comparison(name, "not finite", "not finite", f"{mine[at]} at {list(at)}{when}", float("nan"), at)


def _first(which: Any) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(which)[0])


def _with_dtype(found: Comparison, given: Any, wanted: Any) -> Comparison:
    """The same when the dtype is right; else that it is not, and what the numbers are."""
    if given == wanted or found.verdict == "wrong shape":
        return found
    said = ": ".join(filter(None, (found.verdict, found.evidence)))
    text = f"the tensor is {wanted}, its gradient came as {given}; the numbers are {'right, ' if found else ''}{said}"
    cause = "wrong dtype" if found or found.verdict in OPEN else found.cause
    return replace(found, verdict="wrong dtype", cause=cause, evidence=text)


def _wide(numbers: Array) -> Array:
    """Integers and booleans as floats, that can be subtracted."""
    return numbers if numbers.dtype.kind == "f" else _float64(numbers)


def _float64(numbers: Array) -> Array:
    return numbers.astype(np.float64)


def _relative(mine: Array, true: Array) -> Array:
    """For each element the difference in parts of the true number."""
    apart, size = np.abs(_float64(mine) - true), np.abs(_float64(true))
    return np.asarray(np.divide(apart, size, out=np.where(apart == 0, 0.0, np.inf), where=size > 0))


def _in_small_elements(mine: Array, true: Array, allowed: Array) -> str:
    """Where the numbers differ by more than is allowed there, although all of it is little beside the largest."""
    doubtful = np.abs(_float64(mine) - true) > allowed
    relative = np.where(doubtful, _relative(mine, true), 0.0)
    at = np.unravel_index(int(np.argmax(relative)), relative.shape)
    return (
        f"beside the largest number every difference is rounding, but {int(doubtful.sum())} of {true.size} elements, small "
        f"ones, differ by more than their own (relative error {float(relative[at]):.1e} at {[int(i) for i in at]}), by another "
        "formula or by a mistake"
    )


def _agree(mine: Array, true: Array, allowed: Array | float) -> bool:
    return mine.shape == true.shape and bool(np.all(np.abs(mine - true) <= allowed))


def _tolerance(mine: Array, allowed: Array) -> float:
    """How far a prediction may be from mine, for all elements: what is allowed by rounding, and a margin."""
    eps = float(np.finfo(mine.dtype if mine.dtype.kind == "f" else np.float64).eps)
    return 4 * float(np.max(allowed, initial=0)) + 256 * eps * float(np.abs(mine).max(initial=0))


def _difference(mine: Array, true: Array) -> tuple[float, tuple[int, ...]]:
    if mine.shape != true.shape or not mine.size:
        return 0.0, ()
    apart = np.abs(np.asarray(mine, np.float64) - true)
    at = np.unravel_index(int(np.argmax(apart)), apart.shape)
    return float(apart[at]), tuple(int(i) for i in at)


def _right(name: str, mine: Array, true: Array, note: str) -> Comparison:
    difference, at = _difference(mine, true)
    if difference == 0:
        return Comparison(name, "exact", "", f"{mine.size} numbers{note if note.startswith(';') else ''}")
    largest = float(np.abs(true).max(initial=0))
    text = f"largest difference {difference:.1e}, largest number {largest:.1e}{note}"
    return Comparison(name, "approximate", "", text, difference, at)


def _explained(name: str, mine: Array, true: Array, cases: Sequence[Case]) -> Comparison:
    """The verdict on what is wrong, with the first cause that fits."""
    found = list(_distinct(cause for case in cases for cause in likely_causes(case)))
    verdict = "wrong" if mine.shape == true.shape else "wrong shape"
    text = "" if verdict == "wrong" else f"mine has shape {mine.shape}, the tensor {true.shape}"
    best = found[0] if found else Cause("unknown", "" if text else _seen(mine, true))
    evidence = "; ".join(filter(None, (text, best.evidence)))
    others = tuple(f"{cause.name}: {cause.evidence}" for cause in found[1:])
    return Comparison(name, verdict, best.name, evidence, *_difference(mine, true), others)


def _distinct(causes: Iterator[Cause]) -> Iterator[Cause]:
    seen = set()
    for cause in causes:
        if cause.name not in seen:
            seen.add(cause.name)
            yield cause


def _seen(mine: Array, true: Array) -> str:
    """What can be said when no known mistake fits."""
    apart = np.abs(_float64(mine) - true)
    if float(apart.max()) <= 1e-9 * float(np.abs(true).max()):
        return "the difference is small, but more than rounding explains"
    wrong = apart > 1e-6 * float(apart.max())
    if wrong.all():
        return "no known mistake fits; every element differs"
    return f"no known mistake fits; {int(wrong.sum())} of {wrong.size} elements differ, the first at {list(_first(wrong))}"
