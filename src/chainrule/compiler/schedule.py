"""In which order the nodes of a program are computed, and which of them in one go: `schedule`.

Elementwise nodes and reductions over the same elements are put into one group where they can be: its rows then run block
by block, and what only they use never reaches memory. A node is first put as late as possible, next to what uses it; then
whole groups are drawn together. Imports layout, lowered and lines.
"""

from dataclasses import dataclass, field
from typing import Any

from chainrule.compiler.layout import bounds, refined, restride, size_of
from chainrule.compiler.lines import contiguous
from chainrule.compiler.lowered import Lowering, covered
from chainrule.compiler.nodes import Access, Node, Part

Shape = tuple[int, ...]

MOST_UNITS = 1000  # of a group
_FAR = 40  # how many steps away a group is looked for; so that planning stays linear
_ELEMENTWISE = ("row", "load")


@dataclass(eq=False, slots=True)
class Unit:
    """A piece of work.

    what: "node", to make a node; or of a "sums" node its "zeros", its "base" (written where parts are added), or a "part".
    after, before: the units that it needs, and that need it.
    cuts: of an elementwise unit or a reduction, where its loops must end (see layout.refined).
    """

    what: str
    node: Node
    part: Part | None = None
    cuts: set[int] | None = None
    after: "list[Unit]" = field(default_factory=list)
    before: "list[Unit]" = field(default_factory=list)
    step: "Step" = None  # type: ignore[assignment]

    @property
    def inputs(self) -> list[Access]:
        """What it reads."""
        if self.part is not None:
            return [self.part.source, *([] if self.part.index is None else [self.part.index])]
        return [] if self.what == "zeros" else self.node.inputs

    @property
    def size(self) -> int:
        """Over how many elements its loops go."""
        reduces = self.what == "node" and self.node.kind == "reduce"
        return size_of(self.node.inputs[0].shape) if reduces else self.node.size

    def sees(self, maker: "Unit") -> bool:
        """Whether, in one group, this unit can take what another makes block by block."""
        if maker.what != "node" or maker.node.kind not in _ELEMENTWISE:
            return False
        read = [x for x in self.inputs if x.node is maker.node]
        return bool(read) and all(x.whole for x in read)


@dataclass(eq=False, slots=True)
class Step:
    """What runs at one point of the order: a group of units over `size` elements, or (size 0) a single unit."""

    number: int
    units: list[Unit]
    size: int = 0
    cuts: set[int] = field(default_factory=set)


class Schedule:
    """The order of work.

    steps: what is run, in order. done: by the id of a node, the units after which it can be read.
    """

    def __init__(self, lowered: Lowering) -> None:
        self.done: dict[int, list[Unit]] = {}
        self._starts: dict[int, Unit] = {}
        units = self._units(lowered)
        self._link(units)
        self.steps: list[Step] = []  # at first from the last to the first
        for unit in reversed(_in_order(units)):
            self._place(unit)
        self.steps.reverse()
        self._number()
        _draw_together(self.steps)
        self.steps = [step for step in self.steps if step.units]
        self._number()

    def _number(self) -> None:
        for i, step in enumerate(self.steps):
            step.number = i

    # -- units

    def _units(self, lowered: Lowering) -> list[Unit]:
        units = []
        for node in lowered.nodes:
            if node.kind in ("input", "constant") or node.size == 0:
                continue
            if node.kind != "sums":
                units.append(Unit("node", node, cuts=_cuts(node)))
                self.done[id(node)] = units[-1:]
                continue
            mine: list[Unit] = []
            based = node.inputs and node.inputs[0].node.target is not None and node.inputs[0].node.target.node is node
            if node.inputs and not based:
                x = node.inputs[0]
                mine.append(Unit("base", node, cuts=bounds(x.shape, x.strides) | {node.size}))
            elif not node.inputs and not covered(node):
                mine.append(Unit("zeros", node))
            if mine:
                self._starts[id(node)] = mine[0]
            elif based:
                self._starts[id(node)] = self.done[id(node.inputs[0].node)][0]
            direct = {id(part): part.source.node for part in node.parts if _writes_into(part.source.node, node)}
            mine += [Unit("part", node, part) for part in node.parts if id(part) not in direct]
            units += mine
            start = [self._starts[id(node)]] if id(node) in self._starts else []
            self.done[id(node)] = list(dict.fromkeys(start + mine + [u for n in direct.values() for u in self.done[id(n)]]))
        return units

    def _link(self, units: list[Unit]) -> None:
        for unit in units:
            needed = [u for x in unit.inputs for u in self.done.get(id(x.node), [])]
            into = unit.node.target.node if unit.what == "node" and unit.node.target else unit.node
            if unit.what in ("node", "part") and id(into) in self._starts:
                needed.append(self._starts[id(into)])
            unit.after = [u for u in dict.fromkeys(needed) if u is not unit]
            for u in unit.after:
                u.before.append(unit)

    # -- placing, from the last unit to the first

    def _place(self, unit: Unit) -> None:
        """At the latest point before all that need it."""
        latest = max((user.step.number for user in unit.before), default=-1)
        if unit.cuts is not None and not (unit.what == "node" and unit.node.kind == "reduce"):
            if latest >= 0 and _fits(unit, self.steps[latest]):
                here = [user for user in unit.before if user.step.number == latest]
                if all(user.sees(unit) for user in here):
                    _join(unit, self.steps[latest])
                    return
            for step in self.steps[latest + 1 : latest + 1 + _FAR]:
                if _fits(unit, step):
                    _join(unit, step)
                    return
        unit.step = Step(len(self.steps), [unit], 0 if unit.cuts is None else unit.size, set(unit.cuts or ()))
        self.steps.append(unit.step)


def _writes_into(maker: Node, node: Node) -> bool:
    return maker.target is not None and maker.target.node is node


def _cuts(node: Node) -> set[int] | None:
    if node.kind in _ELEMENTWISE:
        return {node.size}.union(*(bounds(x.shape, x.strides) for x in node.inputs))
    if node.kind == "reduce" and size_of(node.inputs[0].shape):
        x = node.inputs[0]
        return bounds(x.shape, x.strides) | bounds(x.shape, reduced_strides(node)) | {size_of(x.shape)}
    return None


def reduced_strides(node: Node) -> Shape:
    """Where a reduction writes, for loops over its input."""
    shape = node.inputs[0].shape
    kept = tuple(n for i, n in enumerate(shape) if i not in node.axes)
    to: Shape | None = contiguous(kept)
    if node.target is not None:
        to = restride(node.shape, node.target.strides, kept)
        assert to is not None
    steps = iter(to or ())
    return tuple(0 if i in node.axes else next(steps) for i in range(len(shape)))


def _in_order(units: list[Unit]) -> list[Unit]:
    """Each after what it needs."""
    done: dict[Unit, None] = {}
    stack: list[Any] = units[::-1]
    while stack:
        unit = stack.pop()
        if unit is None:
            done[stack.pop()] = None
        elif unit not in done:
            stack += (unit, None, *[u for u in reversed(unit.after) if u not in done])
    return list(done)


def _fits(unit: Unit, step: Step) -> bool:
    if step.size != unit.size or unit.cuts is None or len(step.units) >= MOST_UNITS:
        return False
    return unit.cuts <= step.cuts or refined(unit.cuts | step.cuts, step.size) is not None


def _join(unit: Unit, step: Step) -> None:
    assert unit.cuts is not None
    step.units.insert(0, unit)
    step.cuts |= unit.cuts
    unit.step = step


# ---- drawing groups together ----------------------------------------------------------------------------------------


def _draw_together(steps: list[Step]) -> None:
    """Join groups over the same elements, at the place of either, where nothing that stands between them forbids it."""
    latest: dict[int, list[Step]] = {}  # by size: the groups so far
    for later in steps:
        if not later.size:
            continue
        groups = latest.setdefault(later.size, [])
        for earlier in reversed(groups[-_FAR:]):
            if len(earlier.units) + len(later.units) > MOST_UNITS or refined(earlier.cuts | later.cuts, later.size) is None:
                continue
            if _can_rise(later, earlier):
                _unite(earlier, later, earlier)
                break
            if _can_sink(earlier, later):
                _unite(earlier, later, later)
                groups.remove(earlier)
        if later.units:
            groups.append(later)


def _can_rise(later: Step, to: Step) -> bool:
    return all(
        u.step is later or u.step.number < to.number or (u.step is to and unit.sees(u))
        for unit in later.units
        for u in unit.after
    )


def _can_sink(earlier: Step, to: Step) -> bool:
    return all(
        u.step is earlier or u.step.number > to.number or (u.step is to and u.sees(unit))
        for unit in earlier.units
        for u in unit.before
    )


def _unite(earlier: Step, later: Step, at: Step) -> None:
    units, cuts = earlier.units + later.units, earlier.cuts | later.cuts
    earlier.units, later.units = [], []
    at.units, at.cuts = units, cuts
    for unit in units:
        unit.step = at
