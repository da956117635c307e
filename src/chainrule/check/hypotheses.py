"""Why a gradient is wrong: a bank of mistakes people make, each tried on the numbers.

A hypothesis predicts the wrong numbers from the right ones: "if the sign were lost, mine would be minus the true
gradient". The first that fits to rounding is reported, the plainest first: shapes, one factor for all, a path left out,
a wrong local slope, and last the same beyond the next named tensor. None is guessed from a resemblance.
Imports nothing of ours but recordings and pullbacks.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from chainrule.arrays import Array, one_hot_rows
from chainrule.check.pullbacks import over_channels, softmax_of, weights_of
from chainrule.check.recording import Edge

CAUSES = (
    "axis lost", "axis added", "transposed", "missing sum", "extra sum", "wrong axis", "sign", "times n", "divided by n",
    "times n-1", "divided by n-1", "n for n-1", "n-1 for n", "constant factor", "missing path", "= for +=", "x for y",
    "upstream forgotten", "slope forgotten", "index forgotten", "elementwise for matmul", "wrong factor", "wrong power",
    "wrong upstream", "term forgotten", "wrong place",
)  # fmt: skip
"""Every cause the bank can name."""


MANY = 64  # rows of an index, each of which may have been left out


class Cause(NamedTuple):
    """A cause and the evidence for it, in a clause."""

    name: str
    evidence: str


@dataclass(frozen=True)
class Case:
    """Mine, the true gradient, the uses of the tensor, and how far numbers may differ by rounding; around it, by name, other
    gradients and the numbers of the forward pass."""

    mine: Array
    true: Array
    edges: Sequence[Edge]
    tolerance: float
    others: dict[str, Array]
    numbers: dict[str, Array] = field(default_factory=dict)

    def fits(self, predicted: Any) -> bool:
        """Whether mine is what a mistake would give, and not what is right."""
        predicted = np.asarray(predicted)
        if predicted.shape != self.mine.shape or not np.isfinite(predicted).all():  # the slack of an infinity has no end
            return False
        if not _within(self.mine, predicted, self._slack(predicted)):
            return False
        return predicted.shape != self.true.shape or not _within(predicted, self.true, 4 * self._slack(predicted))

    def _slack(self, predicted: Array) -> float:
        true = _largest(self.true)
        if true <= self.tolerance:  # zero, as far as one can see: then it says nothing about the size of the prediction
            return self.tolerance
        return self.tolerance * max(1.0, _largest(predicted) / true / 100)


def likely_causes(case: Case) -> Iterator[Cause]:
    """The causes that fit, the plainest first."""
    with np.errstate(all="ignore"):
        if case.mine.shape != case.true.shape:
            yield from _of_shape(case)
            return
        if _within(case.mine, case.true, case.tolerance):
            return  # wrong in small elements only: any prediction near the true gradient would seem to fit
        for family in (_whole, _left_out, _near_slopes, _summed, _far, _any_factor, _displaced, _mistaken_names):
            yield from family(case)


def _within(a: Array, b: Array, tolerance: float) -> bool:
    return bool(np.all(np.abs(a - b) <= tolerance))


def _largest(x: Array) -> float:
    return float(np.abs(x).max(initial=0))


# ---- shapes ----------------------------------------------------------------------------------------------------------


def _of_shape(case: Case) -> Iterator[Cause]:
    mine, true = case.mine, case.true
    if np.squeeze(mine).shape == np.squeeze(true).shape and case.fits(true.reshape(mine.shape)):
        if mine.ndim < true.ndim:
            yield Cause("axis lost", "the numbers are right, an axis of length 1 is missing: keepdims=True, or a reshape")
        else:
            yield Cause("axis added", "the numbers are right, an axis of length 1 is too many: keepdims=True, or a reshape")
    if case.fits(true.T):
        yield Cause("transposed", "its transpose is right")
    for edge in case.edges:
        if edge.op is not None and edge.near and edge.direct and (raw := edge.pull(edge.g)) is not None:
            yield from _sums_of(case, np.asarray(raw), f" on {edge.text}")
    yield from _sums_of(case, true, "")
    yield from _sums_left_out(case)


def _sums_of(case: Case, raw: Array, where: str) -> Iterator[Cause]:
    if raw.shape != case.true.shape and case.fits(raw):
        axes = _repeated(raw.shape, case.true.shape)
        yield Cause("missing sum", f"summed over {_axes(axes)}, which broadcasting had repeated{where}, it is right")
    for axes, keep in itertools.product(_subsets(raw.ndim), (True, False)):
        if case.fits(raw.sum(axis=axes, keepdims=keep)):
            name = "extra sum" if set(_repeated(raw.shape, case.true.shape)) < set(axes) else "wrong axis"
            yield Cause(name, f"it is summed over {_axes(axes)}{where}")


def _sums_left_out(case: Case) -> Iterator[Cause]:
    """By the numbers alone: mine has axes too many, the sum over which is right."""
    repeated = _repeated(case.mine.shape, case.true.shape)
    for axes, keep in itertools.product(_subsets(case.mine.ndim), (True, False)):
        summed = case.mine.sum(axis=axes, keepdims=keep)
        if summed.size < case.mine.size and summed.shape == case.true.shape and _within(summed, case.true, case.tolerance):
            why = ", which broadcasting had repeated" if axes == repeated else ""
            yield Cause("missing sum", f"summed over {_axes(axes)}{why}, it is right")
            return


def _repeated(wide: tuple[int, ...], narrow: tuple[int, ...]) -> tuple[int, ...]:
    lead = len(wide) - len(narrow)
    return tuple(i for i, n in enumerate(wide) if i < lead or narrow[i - lead] != n)


def _subsets(ndim: int) -> list[tuple[int, ...]]:
    return [axes for count in range(1, ndim + 1) for axes in itertools.combinations(range(ndim), count)]


def _axes(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {' and '.join(map(str, axes))}"


# ---- one factor for all ----------------------------------------------------------------------------------------------


def _whole(case: Case) -> Iterator[Cause]:
    if not case.mine.any():
        yield Cause("missing path", "all of it is zero: nothing was passed on")
        return
    if case.true.ndim > 1 and case.true.T.shape == case.mine.shape and case.fits(case.true.T):
        yield Cause("transposed", "its transpose is right")
    if case.fits(-case.true):
        yield Cause("sign", "mine is minus the true gradient")
    c = _factor(case.mine, case.true)
    if case.fits(c * case.true) and (named := _named_factor(c, _lengths(case), known=bool(case.edges))):
        yield Cause(named[0], f"mine is {named[1]} the true gradient{named[2]}")


def _any_factor(case: Case) -> Iterator[Cause]:
    c = _factor(case.mine, case.true)
    if case.true.size > 1 and case.fits(c * case.true):
        shown = f"1 {'+' if c > 1 else '-'} {abs(c - 1):.1e}" if abs(c - 1) < 1e-4 else f"{c:.6g}"
        yield Cause("constant factor", f"mine is {shown} times the true gradient")


def _displaced(case: Case) -> Iterator[Cause]:
    order = np.sort(case.true, axis=None)
    in_order = Case(np.sort(case.mine, axis=None), order[::-1], (), case.tolerance, {})
    if in_order.fits(order):
        yield Cause("wrong place", "the numbers are right, but stand in other places: look at the index or the order of the axes")


def _factor(a: Array, b: Array) -> float:
    """The number c that brings c * b nearest to a."""
    size = _largest(b)
    if not size:
        return math.nan
    a, b = a / size, b / size  # the square of 1e-200 would be 0, that of 1e200 infinite
    return float(np.vdot(b, a)) / float(np.vdot(b, b))


def _lengths(case: Case) -> list[int]:
    near = [np.shape(edge.g) for edge in case.edges if edge.near] + [edge.shape for edge in case.edges if edge.near]
    shapes = [*near, case.true.shape, *(np.shape(edge.g) for edge in case.edges)]
    lengths = [n for shape in shapes for n in shape] + [math.prod(shape) for shape in shapes]
    return [n for n in dict.fromkeys(lengths) if n > 1]


def _named_factor(c: float, lengths: Sequence[int], known: bool = True) -> tuple[str, str, str] | None:
    """A cause for a factor, how to say it, and what else it may be. known: whether the lengths are those of a graph."""

    def is_near(x: float) -> bool:
        return math.isclose(c, x, rel_tol=1e-7)

    if is_near(-1):
        return "sign", "minus", ""
    for n in lengths:
        ways = {"times n": n, "divided by n": 1 / n, "n for n-1": (n - 1) / n, "n-1 for n": n / (n - 1)}
        if n > 3:  # else n - 1 is a 2 of another origin, or 1
            ways |= {"times n-1": n - 1, "divided by n-1": 1 / (n - 1)}
        for name, x in ways.items():
            if not is_near(x):
                continue
            exchanged = f"{name.replace('for', 'in place of')}, with n = {n},"
            if "for" in name and n <= 3 and not known:  # 3/2 or 1/2 may be anything
                return "constant factor", f"{c:.6g} times", f", as {exchanged} would make it"
            return name, f"{exchanged} for" if "for" in name else _times(name, n), ""
    for x, text in ((2, "2 times"), (0.5, "half of"), (-2, "-2 times"), (-0.5, "minus half of")):
        if is_near(x):
            return "constant factor", text, ""
    return next((("sign", f"minus {n} times", "") for n in lengths if is_near(-n) or is_near(-1 / n)), None)


def _times(name: str, n: int) -> str:
    count = f"{n - 1} (n-1, n = {n})" if name.endswith("n-1") else f"{n} (n, the length of an axis or of all)"
    return f"{count} times" if name.startswith("times") else f"one part in {count} of"


# ---- paths -----------------------------------------------------------------------------------------------------------


def _left_out(case: Case) -> Iterator[Cause]:
    near = [edge for edge in case.edges if edge.near and edge.direct]
    if len(near) < 2:
        return
    if case.fits(near[-1].total):  # the nearest come in the order in which a backward pass meets them
        others = _listed(near[:-1])
        yield Cause("= for +=", f"only {near[-1].text}, written last, is left; {others} is overwritten, or was left out")
    for count in range(1, len(near)):
        for dropped in itertools.combinations(near, count):
            if case.fits(case.true - sum(edge.total for edge in dropped)):
                yield Cause("missing path", f"all but {_listed(dropped)} is there")


def _listed(edges: Sequence[Edge]) -> str:
    """Edges by their texts; those that read alike are counted."""
    counts = Counter(edge.text for edge in edges)
    return " and ".join(text if n == 1 else f"{text} ({n} times)" for text, n in counts.items())


def _far(case: Case) -> Iterator[Cause]:
    far = [edge for edge in case.edges if not edge.near]
    for edge in far:
        yield from _scaled_edge(case, edge)
    for one, two in itertools.combinations(case.edges, 2):
        if case.fits(case.true - one.total - two.total):
            yield Cause("missing path", f"all but the paths {_listed((one, two))} is there")
    for edge in far:
        yield from _slopes(case, edge)


def _scaled_edge(case: Case, edge: Edge) -> Iterator[Cause]:
    c = 1 + _factor(case.mine - case.true, edge.total)
    if not math.isfinite(c) or not case.fits(case.true + (c - 1) * edge.total):
        return
    if abs(c) < 1e-9:
        yield Cause("missing path", f"all but the path {edge.text} is there")
    elif named := _named_factor(c, _lengths(case)):
        text = f"the path {edge.text} is {named[1]} what it should be{named[2]}, the rest is right"
        yield Cause(named[0], text)


# ---- local slopes ----------------------------------------------------------------------------------------------------


def _near_slopes(case: Case) -> Iterator[Cause]:
    near = [edge for edge in case.edges if edge.near]
    for edge in near:
        yield from _scaled_edge(case, edge)
    for edge in near:
        yield from _slopes(case, edge)
    for edge in near:
        if edge.op is not None:
            for name, g in case.others.items():
                if g.shape == np.shape(edge.g) and case.fits(case.true - edge.total + edge.lift(np.asarray(edge.pull(g)))):
                    yield Cause("wrong upstream", f"with the gradient of {name} as upstream gradient on {edge.text} it fits")


def _mistaken_names(case: Case) -> Iterator[Cause]:
    """Another array of the forward pass stands in the line."""
    for edge in (edge for edge in case.edges if edge.near and edge.op is not None):
        for k, x in enumerate(edge.xs):
            for name, other in case.numbers.items():
                if np.shape(x) == other.shape and other.shape:
                    dx = edge.pull(edge.g, None, (*edge.xs[:k], other, *edge.xs[k + 1 :]))
                    if case.fits(case.true - edge.total + edge.lift(np.asarray(dx))):
                        yield Cause("wrong factor", f"on {edge.text} it fits with {name} in place of another array")
    for name, other in case.numbers.items():
        if other.shape == case.true.shape and (case.fits(case.true * other) or case.fits(case.true / other)):
            how = "times" if case.fits(case.true * other) else "divided by"
            yield Cause("wrong factor", f"mine is the true gradient {how} {name}")


def _slopes(case: Case, edge: Edge) -> Iterator[Cause]:
    for name, text, dx in _mistaken(edge):
        try:
            predicted = case.true - edge.total + edge.lift(np.asarray(dx, np.float64))
        except ValueError:  # shapes that do not fit: nobody got numbers this way
            continue
        if case.fits(predicted):
            yield Cause(name, f"on {edge.text}: {text}")


def _mistaken(edge: Edge) -> Iterator[tuple[str, str, Any]]:
    """What a mistaken operation gives to its input: (cause, clause, numbers)."""
    g, xs, i = edge.g, edge.xs, edge.i
    if edge.op is None:
        yield from _unknown_slope(edge)
        return
    yield "upstream forgotten", "the local slope stands alone: the upstream gradient is not in it", edge.pull(np.ones_like(g))
    for axes in _subsets(np.ndim(g)):
        summed = np.broadcast_to(g.sum(axis=axes, keepdims=True), g.shape)
        yield "extra sum", f"the upstream gradient was summed over {_axes(axes)}", edge.pull(summed)
    if edge.before is not None and np.shape(edge.before) == np.shape(xs[i]):
        inputs = (*xs[:i], edge.before, *xs[i + 1 :])
        yield "term forgotten", "the slope is taken before the last operation, a term is missing", edge.pull(g, None, inputs)
    if edge.op.name in _MISTAKEN:
        yield from _MISTAKEN[edge.op.name](edge)
    elif hasattr(edge.op, "derivatives"):
        yield from _elementwise(edge)
    yield from _single_rows(edge)


def _single_rows(edge: Edge) -> Iterator[tuple[str, str, Any]]:
    """One sample where broadcasting asks for the sum over all, dlogits[0] for dlogits.sum(0)."""
    raw = np.asarray(edge.pull(edge.g))
    if edge.op.name == "linear" and edge.i == 2:
        raw = edge.g.reshape(-1, edge.g.shape[-1])
    lead = raw.ndim - len(edge.shape)
    for axis in _repeated(raw.shape, edge.shape) if lead >= 0 else ():
        for k in (0, -1) if raw.shape[axis] else ():
            one = np.take(raw, [k], axis=axis)
            text = f"element {k} of axis {axis} stands for the sum over it"
            yield "missing sum", text, one.reshape(one.shape[1:]) if axis < lead == 1 else one


def _elementwise(edge: Edge) -> Iterator[tuple[str, str, Any]]:
    g, y, xs, i = edge.g, edge.y, edge.xs, edge.i
    inputs = (*xs[:i], y, *xs[i + 1 :])
    formula = {"tanh": "1 - x^2 stands for 1 - y^2", "sigmoid": "x (1 - x) stands for y (1 - y)"}
    yield "x for y", formula.get(edge.op.name, "the input stands where the output belongs"), edge.pull(g, xs[i])
    yield "x for y", "the output stands where the input belongs", edge.pull(g, None, inputs)
    yield "slope forgotten", "the upstream gradient is passed on as it came", g
    slope = edge.pull(np.ones_like(g))
    yield "wrong factor", "it is divided by the slope, not multiplied", g / slope
    yield "wrong factor", f"it is multiplied by its own input{', not by the other' if len(xs) == 2 else ''}", g * xs[i]
    yield "wrong factor", "it is multiplied by the output", g * y
    if edge.op.name == "pow" and i == 0:
        a, b = xs
        yield "wrong power", "the exponent is not lowered by one", g * b * a**b
        yield "constant factor", f"the factor {np.asarray(b).item() if np.size(b) == 1 else 'b'} is missing", g * a ** (b - 1)
        yield "wrong power", "the factor of the square root is taken for a square", g * b * a ** (b + 1)
    if edge.op.name in ("tanh", "sigmoid"):
        yield "wrong power", "y stands where y^2 belongs", g * (1 - y if edge.op.name == "tanh" else y)
        yield "sign", "1 + y^2 stands for 1 - y^2", g * (1 + y * y)
        yield "missing path", "the 1 of the slope is missing", -g * y * y
        yield "term forgotten", "the 1 - of the slope is missing", g * y * y


def _matmul(edge: Edge) -> Iterator[tuple[str, str, Any]]:
    g, other, own = edge.g, edge.xs[1 - edge.i], edge.xs[edge.i]
    swapped = np.swapaxes(other, -1, -2)

    def way(a: Any, b: Any) -> Any:
        return a @ b if edge.i == 0 else b @ a

    yield from _tried("elementwise for matmul", "* stands for @", lambda: g * other)
    yield from _tried("elementwise for matmul", "* stands for @", lambda: g * swapped)
    yield from _tried("transposed", "the other matrix is not transposed", lambda: way(g, other))
    yield from _tried("transposed", "the two matrices are exchanged", lambda: way(swapped, g))
    yield from _tried("transposed", "the two matrices are exchanged, and not transposed", lambda: way(other, g))
    yield from _tried("transposed", "the upstream gradient is transposed", lambda: way(np.swapaxes(g, -1, -2), swapped))
    yield from _tried("wrong factor", "the matrix itself stands for the other", lambda: way(g, np.swapaxes(own, -1, -2)))
    yield from _tried("wrong factor", "the matrix itself stands for the other", lambda: way(g, own))


def _tried(name: str, text: str, product: Any) -> Iterator[tuple[str, str, Any]]:
    try:
        found = product()
    except ValueError:
        return
    yield name, text, found


def _getitem(edge: Edge) -> Iterator[tuple[str, str, Any]]:
    index, last = edge.options["index"], np.zeros(edge.shape)  # a tuple, or the rows of an embedding
    last[index] = edge.g
    yield "= for +=", "elements that were taken several times keep the last gradient only", last
    if np.size(edge.g) == 1 or np.all(edge.g == np.ravel(edge.g)[0]):
        yield (
            "index forgotten",
            "every element gets the gradient, not only those at the index",
            np.full(edge.shape, np.ravel(edge.g)[0]),
        )
    counted = np.zeros(edge.shape)
    np.add.at(counted, index, 1.0)
    yield "divided by n", "the gradients of repeated elements are averaged", edge.pull(edge.g) / np.maximum(counted, 1.0)
    yield from _part_of_index(edge)


def _part_of_index(edge: Edge) -> Iterator[tuple[str, str, Any]]:
    """Only some of what was looked up is added: one column of the index, or all but one."""
    index = edge.options["index"]
    index = index[0] if isinstance(index, tuple) and len(index) == 1 else index
    if not isinstance(index, np.ndarray) or index.dtype.kind not in "iu":
        return
    whole = np.zeros(edge.shape)
    np.add.at(whole, index, edge.g)
    for axis, length in enumerate(index.shape):
        for k in range(length if length <= MANY else 0):
            part, at = np.zeros(edge.shape), (slice(None),) * axis + (k,)
            np.add.at(part, index[at], edge.g[at])
            spelled = f"[{':, ' * axis}{k}]"
            yield "missing path", f"only {spelled} of the index is added, of {length}", part
            yield "missing path", f"all of the index but {spelled} is added", whole - part


def _to_all(edge: Edge) -> Iterator[tuple[str, str, Any]]:
    axes = edge.options["axis"]
    g = edge.g if edge.options["keepdims"] else np.expand_dims(edge.g, axes)
    yield "index forgotten", "every element gets the gradient, not only the winner", np.broadcast_to(g, edge.shape)


def _cross_entropy(edge: Edge) -> Iterator[tuple[str, str, Any]]:
    x, labels = edge.xs[0], edge.options["labels"]
    weight, p = weights_of(edge.g, len(x), edge.options["reduction"]), softmax_of(x, 1)
    ones = one_hot_rows(labels, x.shape[1], x.dtype)
    yield "term forgotten", "the one-hot of the labels is not subtracted from the softmax", weight * p
    yield "term forgotten", "the softmax is missing, minus the one-hot of the labels stands alone", -weight * ones
    yield "sign", "the one-hot of the labels is added to the softmax, not subtracted", weight * (p + ones)
    yield "index forgotten", "1 is subtracted everywhere, not only at the label", weight * (p - 1)
    yield "wrong axis", "the softmax is taken over axis 0", weight * (softmax_of(x, 0) - ones)


def _softmax(edge: Edge) -> Iterator[tuple[str, str, Any]]:
    g, y, axis = edge.g, edge.y, edge.options["axis"]
    if edge.op.name == "softmax":
        yield "term forgotten", "the sum of g * y is not subtracted: each output depends on the whole row", g * y
        yield "elementwise for matmul", "y (1 - y) stands for the whole matrix of slopes", g * y * (1 - y)
    else:
        yield "term forgotten", "the softmax times the sum of g is not subtracted", g
        yield "term forgotten", "g itself is missing: it is minus the softmax alone", -np.exp(y) * g.sum(axis=axis, keepdims=True)


def _var(edge: Edge) -> Iterator[tuple[str, str, Any]]:
    x, axes = edge.xs[0], edge.options["axis"]
    slope = over_channels(edge.g, x, axes) * 2 / (x.size / max(np.size(edge.y), 1) - edge.options["correction"])
    yield "term forgotten", "the mean is not subtracted", slope * x


def _batch_norm(edge: Edge) -> Iterator[tuple[str, str, Any]]:
    g, x, axes, correction = edge.g, edge.xs[0], edge.options["axis"], edge.options["correction"]
    d, s = np.asarray(edge.options["kept"][0], np.float64), over_channels(edge.options["kept"][1], x, axes)
    w, n = over_channels(edge.xs[1], x, axes), x.size / s.size
    if edge.i == 1:
        yield "x for y", "the output stands for the normalized input", (g * edge.y).sum(axis=axes)
        yield "wrong factor", "the deviations are not divided by the standard deviation", (g * d).sum(axis=axes)
    if edge.i == 0:
        mean, along = g.mean(axis=axes, keepdims=True), d * s * s * (g * d).sum(axis=axes, keepdims=True)
        name, other = ("n for n-1", n) if correction else ("n-1 for n", n - 1)
        yield name, f"{name.replace('for', 'stands for')} in the variance", w * s * (g - mean - along / other)
        along = along / (n - correction)
        yield "missing path", "all but the paths through the mean and the variance is there", w * s * g
        yield "missing path", "all but the path through the variance is there", w * s * (g - mean)
        yield "missing path", "all but the path through the mean is there", w * s * (g - along)
        yield "slope forgotten", "the gain is missing", s * (g - mean - along)


_MISTAKEN = {
    "matmul": _matmul,
    "getitem": _getitem,
    "embedding": _getitem,
    "amax": _to_all,
    "amin": _to_all,
    "cross_entropy": _cross_entropy,
    "softmax": _softmax,
    "log_softmax": _softmax,
    "var": _var,
    "batch_norm": _batch_norm,
}


def _unknown_slope(edge: Edge) -> Iterator[tuple[str, str, Any]]:
    """From arrays that were passed by keyword: the operation is not known, its true slope is total / g."""
    g, y = edge.g, edge.y
    if np.shape(g) == edge.total.shape:
        yield "upstream forgotten", "the local slope stands alone: times the upstream gradient it is right", edge.total / g
        yield "slope forgotten", "the upstream gradient is passed on as it came", g
    for x in edge.xs:
        if y is not None and np.shape(x) == np.shape(y) == np.shape(g):
            yield "x for y", "1 - x^2 stands for 1 - y^2", g * (1 - x * x)
            yield "x for y", "x stands for y", g * x
            yield "x for y", "x (1 - x) stands for y (1 - y)", g * x * (1 - x)
        yield from _tried("elementwise for matmul", "* stands for @", lambda x=x: g * x)
        yield from _tried("elementwise for matmul", "* stands for @", lambda x=x: g * x.T)


def _summed(case: Case) -> Iterator[Cause]:
    for axes in _subsets(case.true.ndim):
        if case.fits(np.broadcast_to(case.true.sum(axis=axes, keepdims=True), case.true.shape)):
            yield Cause("extra sum", f"every element holds the sum over {_axes(axes)}")
