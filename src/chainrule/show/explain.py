"""Where a gradient comes from: `explain`.

>>> from chainrule import Value
>>> a, b = Value(2.0, label="a"), Value(-3.0, label="b")
>>> loss = a * b + a**2
>>> loss.label = "loss"
>>> print(explain(a, loss))
dloss/da = 1.0000, the sum over 2 paths
     share  contribution  path
 +400.00 %        4.0000  a -> ** -> loss
 -300.00 %       -3.0000  a -> * -> loss

A gradient is a sum over all paths from the root down to the node; a path contributes the product of the local derivatives
along it. `explain` sorts that sum: path by path, or by the source lines, modules, parameters or samples that paths go
through. It never lists the paths, of which there may be more than there are atoms. Imports engine, errors and wording.
"""

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from chainrule.engine import Node, Value, gradients
from chainrule.errors import GraphError, InputError, did_you_mean
from chainrule.origins import Place
from chainrule.show.flow import Flow, Part, called, factor, largest, size
from chainrule.show.wording import expect_node, number, printable

WAYS = ("paths", "lines", "modules", "parameters", "samples")
LARGEST = "1.8e308"  # as one says what no float is larger than
TOO_LARGE = (
    f"there are no shares: parts of this gradient, or their ratio to it, are beyond the largest float ({LARGEST}), and "
    "cancel out in it"
)
SHOWN = 10  # nodes of a path that are printed, runs of one operation as one


class Share(NamedTuple):
    """One line of an explanation.

    name: what it is, in words. contribution: what it adds to the gradient; of a tensor an array of its shape. share: the
    part of the gradient that this is, negative when it works against it; None when the gradient is 0. All sum to 1.
    paths: how many paths it stands for; 0 where they are not counted. nodes: the path, or the nodes at which its paths are
    told from others.
    """

    name: str
    contribution: Any
    share: float | None
    paths: int
    nodes: tuple[Node, ...]


class Cut(NamedTuple):
    """What if an edge were cut: the gradient as it is, without what flows over the edge, and what that is."""

    before: Any
    after: Any
    difference: Any


@dataclass(frozen=True, eq=False)
class Explanation:
    """What `explain` returns; printing it shows a table.

    node, root, by: what was asked. gradient: d(root)/d(node); without a node the squared length of the gradient by all
        leaves, inf where no float holds it. paths: how many there are in all.
    shares: the largest, the largest first. others: the sum of the rest, None when there is no rest. Together they are the
        gradient.
    cut: what was asked by `cut`.
    trouble: where a gradient that is not finite comes in, and its edge, (input, result); or that parts of a gradient are
        beyond the floats. Then there are no shares.
    """

    node: Node | None
    root: Node
    by: str
    gradient: Any
    paths: int
    shares: tuple[Share, ...]
    others: Share | None = None
    cut: Cut | None = None
    trouble: str = ""
    edge: tuple[Node, Node] | None = None

    def __str__(self) -> str:
        return "\n".join([self._head(), *self._rows(), *self._foot()])

    __repr__ = __str__

    def _head(self) -> str:
        whole = printable(self.root.label) or "L"
        if self.node is None:
            return f"what makes {whole} move: a small step down the gradient takes lr × {self._square()} off it"
        by = f"({called(self.node)})" if " " in called(self.node) else called(self.node)
        return f"d{whole}/d{by} = {_amount(self.gradient)}, the sum over {_count(self.paths, 'path')}"

    def _square(self) -> str:
        if self.gradient == math.inf and all(math.isfinite(size(share.contribution)) for share in self.shares):
            return f"more than {LARGEST}"
        if self.gradient == 0 and any(share.share for share in self.shares):
            return "less than 4.9e-324"
        return number(self.gradient)

    def _rows(self) -> list[str]:
        if self.trouble:
            return [self.trouble]
        head = ("share", "grad" if self.node is None else "contribution", self.by.removesuffix("s"))
        rows = [head, *[self._row(share) for share in (*self.shares, *([self.others] if self.others else []))]]
        widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
        return [f"{a:>{widths[0] + 1}}  {b:>{widths[1]}}  {c}" for a, b, c in rows]

    def _row(self, share: Share) -> tuple[str, str, str]:
        percent = "" if share.share is None else f"{share.share:+.2%}".replace("%", " %")
        percent = percent.replace("-0.00", "0.00").replace("+0.00", "0.00")
        return percent, "" if share.contribution is None else _amount(share.contribution), share.name

    def _foot(self) -> list[str]:
        if self.cut is None:
            return []
        if math.isfinite(size(self.cut.before)) and not math.isfinite(size(self.cut.difference)):
            return [f"what flows over the edge is larger than any float ({LARGEST})"]
        before, after, difference = map(_amount, self.cut)
        return [f"without the edge: {before} would be {after} ({difference} flows over it)"]


def explain(
    node: Node,
    root: Node | None = None,
    *,
    by: str | Iterable[Node] | Mapping[str, Any] | None = None,
    top: int = 10,
    cut: tuple[Node, Node] | None = None,
) -> Explanation:
    """Which paths, lines, modules, parameters or samples make up the gradient of `root` by `node`, with signed shares.

    node: what the gradient is taken by. A node does not know what is computed from it, so the root is needed as well;
        `explain(loss)` alone explains the loss by its leaves: how much of what a small step of gradient descent takes off
        the loss is due to each, g² of the sum of all g².
    by: "paths" (default) or what paths are sorted by. Each path counts once, so the shares make up the gradient:
        "lines": the source line of the first operation on the way from node to root; lines that all paths have in common
            at their beginning are skipped, as they tell nothing apart. Needs a graph made within record().
        "modules": in the same way the first module, as ("MLP", "Layer 2", "Neuron 7").
        "parameters": the first parameter (a leaf that wants a gradient) that a local derivative on the way depends on,
            such as w in w * x.
        "samples": the last term of the sum that the root is (of a loss, its samples), through additions, products with
            constants and a function around it; of tensors, the row (from 0) of the last array before the root becomes one
            number.
        nodes, or a dict from names to nodes: the first of these on the way, such as {"data": data_loss, "reg": reg_loss}.
    top: how many to list; the others are added up in one line.
    cut: an edge (input, result): also tell what the gradient would be if nothing flowed back over it.

    Of numbers a share is contribution / gradient. Of tensors contributions are arrays, and a share is the inner product
    with the gradient divided by that of the gradient with itself; paths that begin in the same way are told apart only as
    far as `top` allows.

    No node is changed. It takes a few passes over what lies between the two, and never goes through paths one by one.
    Raises GraphError when the root does not depend on the node or origins are missing, InputError for wrong arguments,
    and what a backward pass raises.

    >>> from chainrule import Value
    >>> w = Value(0.5, label="w")
    >>> losses = [(w * x - y) ** 2 for x, y in [(1.0, 1.0), (2.0, 0.0), (3.0, 1.0)]]
    >>> print(explain(w, sum(losses) / 3, by="samples", top=2))
    dL/dw = 2.0000, the sum over 3 paths
        share  contribution  sample
     +66.67 %        1.3333  term 2 of 3
     +50.00 %        1.0000  term 3 of 3
     -16.67 %       -0.3333  1 other
    """
    _check(node, root, by, top)
    if root is None:
        return _leaves(node, top)
    flow = _flow(node, root)
    removed = _cut(flow, cut) if cut is not None else None
    way = by if isinstance(by, str) else "paths" if by is None else "nodes"
    if not flow.is_finite(flow.gradient):
        return _trouble(flow, way)
    try:
        shares, others = _sorted(flow, way, by, top)
    except OverflowError:
        return Explanation(node, root, way, flow.gradient, flow.count, (), None, removed, TOO_LARGE)
    return Explanation(node, root, way, flow.gradient, flow.count, tuple(shares), others, removed)


def _check(node: Any, root: Any, by: Any, top: Any) -> None:
    expect_node(node)
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise InputError(f"top must be a whole number from 1 up, not {top!r}")
    if isinstance(by, str) and by not in WAYS:
        raise InputError(f"unknown by {by!r}; choose one of {', '.join(WAYS)}, or give nodes{did_you_mean(by, WAYS)}")
    if root is None:
        if by not in (None, "parameters"):
            raise InputError("explain(node, root, by=...) needs the root too: a node does not know what is computed from it")
        return
    expect_node(root)
    if not node.requires_grad:
        raise GraphError(f"{called(node)} is a constant, which has no gradient; leave out requires_grad=False")


def _flow(node: Any, root: Any) -> Any:
    if isinstance(root, Value):
        return Flow(node, root)
    from chainrule.show.array_flow import ArrayFlow  # here, so that who shows scalars does not wait for NumPy

    return ArrayFlow(node, root)


def _sorted(flow: Any, way: str, by: Any, top: int) -> tuple[list[Share], Share | None]:
    if way == "paths":
        return _by_paths(flow, top)
    return _by_samples(flow, top) if way == "samples" else _by_labels(flow, way, by, top)


# ---- the ways --------------------------------------------------------------------------------------------------------


def _by_paths(flow: Any, top: int) -> tuple[list[Share], Share | None]:
    if isinstance(flow, Flow):
        parts = [Part(contribution, 1, nodes) for nodes, contribution in flow.best_paths(top)]
    else:
        parts = flow.roads(top)
    shared = set.intersection(*(set(part.nodes[1:-1]) for part in parts)) if len(parts) > 1 else set()
    named = [(_path(part, flow.root, shared), part) for part in parts]
    return _ranked(flow, named, flow.count - sum(part.paths for part in parts) + len(parts), top)


def _by_samples(flow: Any, top: int) -> tuple[list[Share], Share | None]:
    if isinstance(flow, Flow):
        terms = flow.terms()
        return _ranked(flow, terms, len(terms), top)
    rows, count = flow.samples(top)
    return _ranked(flow, rows, count, top)


def _by_labels(flow: Any, way: str, by: Any, top: int) -> tuple[list[Share], Share | None]:
    label, name = _labels(way, by, flow.node)
    common = way in ("lines", "modules")
    parts = _without_common_beginning(flow, label, way) if common else flow.filed(label)
    named = [("not through any of them" if key is None else name(key), part) for key, part in parts.items()]
    return _ranked(flow, named, len(named), top)


def _labels(way: str, by: Any, node: Any) -> tuple[Callable[[Any, int], Hashable], Callable[[Any], str]]:
    """What edges are filed under, and how that is said."""
    if way == "lines":
        return (lambda v, i: v.origin and (v.origin.file, v.origin.line)), lambda place: printable(str(Place(*place)))
    if way == "modules":
        return (lambda v, i: (v.origin and v.origin.modules) or None), lambda path: " > ".join(map(printable, path))
    if way == "parameters":
        return (lambda v, i: factor(v, i, but=node)), called
    groups, names = _groups(by)
    return (lambda v, i: groups.get(v)), names.__getitem__


def _groups(by: Any) -> tuple[dict[Any, int], dict[int, str]]:
    """The group of each node, and what groups are called, each by a name of its own."""
    if isinstance(by, Node):
        by = [by]
    pairs: Any = by.items() if isinstance(by, Mapping) else [("", x) for x in by] if isinstance(by, Iterable) else ()
    groups: dict[Any, int] = {}
    names: dict[int, str] = {}
    for i, (name, nodes) in enumerate(pairs, 1):
        for x in nodes if isinstance(nodes, (list, tuple, set)) else [nodes]:
            expect_node(x)
            if x.op is None:
                raise InputError(
                    f"by: {called(x)} is a leaf, which no path goes through; give results, or by='parameters' for the "
                    "leaves that local derivatives depend on"
                )
            if isinstance(by, Mapping) or x not in groups:
                groups[x] = i
                names.setdefault(i, printable(str(name)) or (called(x) if x.label else f"{called(x)} #{i}"))
    if not groups:
        raise InputError(
            f"by is one of the words {', '.join(WAYS)}, a list of nodes, or a dict from names to nodes, not {by!r:.40}"
        )
    return groups, dict(zip(names, _told_apart(names.values()), strict=True))


def _told_apart(names: Iterable[str]) -> list[str]:
    """The names, with a number where one comes again.

    >>> _told_apart(["h", "h", "v", "h"])
    ['h', 'h #2', 'v', 'h #3']
    """
    names = list(names)
    taken, found = set(names), dict.fromkeys(names, 0)
    told: list[str] = []
    for name in names:
        found[name] += 1
        if found[name] > 1:
            k = found[name]
            while f"{name} #{k}" in taken:
                k += 1
            found[name], name = k, f"{name} #{k}"
            taken.add(name)
        told.append(name)
    return told


def _without_common_beginning(flow: Any, label: Any, way: str) -> dict[Any, Part]:
    """Paths filed by the first label on which they differ."""
    skipped: list[Any] = []
    while True:
        parts: dict[Any, Part] = flow.filed(label, skipped)
        names = [name for name in parts if name is not None]
        if len(names) != 1:
            break
        skipped += names
    if names:
        return parts
    if not skipped:
        what = "source lines" if way == "lines" else "modules"
        raise GraphError(
            f"between these nodes there are no {what}, which are kept only when asked for: make the graph within "
            "`with chainrule.show.record():`"
        )
    return dict(flow.filed(label, skipped[:-1]))


# ---- words -----------------------------------------------------------------------------------------------------------


def _ranked(flow: Any, named: list[tuple[str, Part]], count: int, top: int) -> tuple[list[Share], Share | None]:
    """The shares, the largest first, and what is left of the gradient; count: of how many these are some."""
    shares = sorted((_share(flow, name, part) for name, part in named), key=_rank)[:top]
    if not all(_is_finite(share) for share in shares):
        raise OverflowError(TOO_LARGE)
    left = count - len(shares)
    if not left:
        return shares, None
    paths = sum(x.paths for x in shares)
    rest = Part(flow.gradient - _total([x.contribution for x in shares]), flow.count - paths if paths else 0, ())
    others = _share(flow, _count(left, "other"), rest)
    if not _is_finite(others):
        raise OverflowError(TOO_LARGE)
    return shares, others


def _is_finite(share: Share) -> bool:
    return math.isfinite(largest(share.contribution)) and math.isfinite(share.share or 0.0)


def _rank(share: Share) -> float:
    return -size(share.contribution) if share.share is None else -abs(share.share)


def _share(flow: Any, name: str, part: Part) -> Share:
    return Share(name, part.contribution, _ratio(part.contribution, flow.gradient), part.paths, part.nodes)


def _ratio(contribution: Any, gradient: Any) -> float | None:
    if isinstance(gradient, float):
        return contribution / gradient if gradient else None
    unit = largest(gradient)
    if not unit:
        return None
    direction = gradient.astype(float) / unit  # so that squares do not overflow
    return float((contribution.astype(float) / unit * direction).sum()) / float((direction * direction).sum())


def _total(xs: list[Any]) -> Any:
    return math.fsum(xs) if all(isinstance(x, float) for x in xs) else sum(xs)


def _amount(x: Any) -> str:
    if getattr(x, "ndim", 0) == 0:
        return number(float(x))
    return f"|{number(size(x))}|"


def _count(n: int, noun: str) -> str:
    """A number of things; one that may have thousands of digits is not written out.

    >>> _count(1, "path"), _count(12000, "path"), _count(2**1000, "path")
    ('1 path', '12,000 paths', 'about 10^301 paths')
    """
    digits = f"{n:,}" if n < 10**15 else f"about 10^{int((n.bit_length() - 1) * math.log10(2))}"
    return f"{digits} {noun}{'s' * (n != 1)}"


def _path(part: Part, root: Any, shared: set[Any]) -> str:
    """The nodes of a path; of a long one those that it does not share with all the others, and of these the outer ones."""
    nodes = part.nodes
    runs = _runs(nodes, set(), SHOWN + 1)
    if len(runs) > SHOWN:
        runs = _runs(nodes, shared, SHOWN + 1)
    if len(runs) > SHOWN:
        first, last = runs[: SHOWN // 2], _runs(nodes[::-1], shared, SHOWN // 2)[::-1]
        left_out = len(nodes) - sum(length for _, length in (*first, *last))
        runs = [*first, (f"({left_out:,} more)", 1), *last]
    names = " -> ".join(name for name, _ in runs)
    return names + ("" if nodes[-1] is root else f" -> ... ({_count(part.paths, 'path')})")


def _runs(nodes: tuple[Any, ...], hidden: set[Any], count: int) -> list[tuple[str, int]]:
    """What the first nodes of a path are called, with their numbers: those of one call of a module go as one, and so do the
    many additions of a sum of many terms.
    """
    groups = ((kind, list(run)) for kind, run in itertools.groupby(nodes, key=lambda x: x in hidden or _kind(x)))
    found: list[tuple[str, int]] = []
    before = 0
    for kind, run in itertools.islice(groups, count):
        call = kind[1] if kind is not True and isinstance(kind[0], tuple) else before
        found.append((_called_together(kind, run) + (f" (call {call})" if call != before else ""), len(run)))
        before = call
    return found


def _kind(x: Any) -> Any:
    origin = None if x.label or x.op is None else x.origin
    return (origin.modules, origin.call) if origin and origin.modules else (x.label, x.op or id(x))


def _called_together(kind: Any, run: list[Any]) -> str:
    if kind is True:
        return "..."
    if isinstance(kind[0], tuple):
        return " > ".join(map(printable, kind[0][1:] or kind[0]))
    return called(run[0]) + (f" x{len(run):,}" if len(run) > 1 else "")


# ---- leaves, edges and trouble ---------------------------------------------------------------------------------------


def _leaves(root: Any, top: int) -> Explanation:
    """The squared gradient by each leaf."""
    grads = [(x, g) for x, g in gradients(root).items() if x.op is None and x.requires_grad]
    lengths = [size(g) for _, g in grads]
    longest = max(lengths, default=0.0)
    finite = all(map(math.isfinite, lengths))  # of what is not finite there are no shares
    squares = [_square(g, longest) if finite and longest else 0.0 for _, g in grads]
    total = math.fsum(squares)
    order = sorted(range(len(grads)), key=lambda i: -lengths[i] if lengths[i] == lengths[i] else -math.inf)
    shares = tuple(
        Share(called(grads[i][0]), grads[i][1], squares[i] / total if total else None, 0, (grads[i][0],)) for i in order[:top]
    )
    rest = order[top:]
    others = None
    if rest:
        share = math.fsum(squares[i] for i in rest) / total if total else None
        others = Share(_count(len(rest), "other"), None, share, 0, ())
    square = total * longest * longest if finite else math.hypot(*lengths)
    return Explanation(None, root, "parameters", square, 0, shares, others)


def _square(x: Any, unit: float) -> float:
    """The squared length of a number or an array, in squares of a unit, which do not overflow."""
    return (x / unit) ** 2 if isinstance(x, float) else float(((x.astype(float) / unit) ** 2).sum())


def _cut(flow: Any, cut: Any) -> Cut:
    if not isinstance(cut, (tuple, list)) or len(cut) != 2 or not all(isinstance(x, Node) for x in cut):
        raise InputError("cut is an edge: the pair (input, result) of two nodes")
    a, b = cut
    if not any(x is a for x in b.inputs):
        raise InputError(f"there is no edge to cut: {called(a)} is no input of {called(b)}")
    difference = flow.along(a, b)
    return Cut(flow.gradient, flow.gradient - difference, difference)


def _trouble(flow: Any, way: str) -> Explanation:
    """A gradient that is not finite has no shares; where it comes in is what there is to explain."""
    x, v, how = flow.culprit()
    place = f" ({printable(str(v.origin))})" if getattr(v, "origin", None) else ""
    trouble = f"it comes in on the edge {called(x)} -> {called(v)}{place}: {how}"
    first = next((u for u in flow.nodes if not flow.is_finite(u.data)), None)
    if first is not None and first is not v:
        trouble += f"; the forward pass has a number that is not finite at {called(first)} already"
    return Explanation(flow.node, flow.root, way, flow.gradient, flow.count, (), None, None, trouble, (x, v))
