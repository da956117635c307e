"""From scalars to arrays: find the operations that are the same, and the loops they came from.

The idea, on the loss of a small net: every `w[j][i] * x[s][i]` is a product of a parameter and a datum, so they are one
class; every sum of three such products and a parameter is the next; and so on, up to the single number at the end. A
class becomes one array, its members in the order in which the user's loops made them. Where a class reads its operands is
then a list of places, and `affine.nest` tells the loops that walk through it: here samples, neurons, inputs. With them the
operand is a view. A sum of products over loops of which some move one operand and some the other is a matrix product.

1. Sums are flattened: `a + b - c` is one node of three terms, where nobody else wants `a + b`.
2. Nodes are classed from the leaves up: by operation and the classes of their inputs. The elements of the parameters, of an
   argument, and all constants are a class each, so two nodes of one class differ only in which elements they read.
3. From the root down, members are put in the order in which they were made, and it is noted what they read.
4. Classes are written as lines of a program from the leaves up.

Where places follow no loops, a gather reads them; that is right for every graph, only slower. Imports builder, lines,
affine, tape and ops.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule import ops
from chainrule.compiler.affine import Places, nest
from chainrule.compiler.builder import Builder
from chainrule.compiler.lines import Array, Shape, contiguous, places
from chainrule.compiler.tape import Leaf, Tape
from chainrule.compiler.trace import DETACH, TAKE
from chainrule.ops import Op

ADD, SUB, NEG, MUL, POW = (ops.TABLE[name] for name in ("add", "sub", "neg", "mul", "pow"))
EXTREMES = {ops.TABLE["maximum"]: "amax", ops.TABLE["minimum"]: "amin"}
LENGTHS = 3  # so many different lengths of sums of the same make them one class
MANY_SINGLE = 16  # so many operations that found no others like them want a reason
NONE = -1  # no node: what fills up the rows of shorter sums
NEUTRAL = {"sum": 0.0, "amax": -math.inf, "amin": math.inf}
CONSTANT = "constant"  # the class of constants; those of named arrays are called by their names


class Term:
    """The terms of a sum that are of one class and sign: `count` per member, or 0 where their number differs."""

    def __init__(self, child: int, sign: int, count: int) -> None:
        self.child, self.sign, self.count = child, sign, count
        self.ids: Any = None  # when the members are in order: (members, count), or (members, most) filled up with NONE


class Class:
    """Nodes that compute the same of different elements.

    op: their row; None for leaves. name: of leaves, the array they are elements of.
    children: of an operation, the class of each input. terms: of a sum.
    """

    def __init__(self, op: Op | None, name: str = "", children: tuple[int, ...] = (), terms: Sequence[Term] = ()) -> None:
        self.op, self.name, self.children, self.terms = op, name, children, list(terms)
        self.streams: list[Any] = []  # the numbers of members, as their consumers ask for them
        self.members: Any = None
        self.columns: list[Any] = []  # for each input, the numbers of the nodes that the members read
        self.line: Array | None = None
        self.is_read = False  # as it is; a product that is only summed up may never be made


class Lifter:
    """One graph on its way to a program; `lift` runs the four steps."""

    def __init__(
        self,
        tape: Tape,
        builder: Builder,
        arrays: dict[str, Array],
        place: Callable[[Any], Any] = lambda node: None,
        made: Any = None,
    ) -> None:
        self.tape, self.builder, self.arrays, self.place = tape, builder, arrays, place
        self.nodes = list(tape.number)
        self.indices: dict[str, Array] = {}  # of arguments of whole numbers, the array as it is given
        self.bounds: list[tuple[int, str, Any, int]] = []  # (argument, line of code, places in it, length of the table)
        self.notes: dict[str, None] = {}  # where places follow no loops, and what stays single operations, in words
        self.made = np.arange(len(tape.ops)) if made is None else made  # the order in which the nodes came to be
        self.classes: list[Class] = []
        self.of = np.zeros(len(tape.ops), np.int64)  # from node to class
        self.position = np.zeros(len(tape.ops), np.int64)  # of a node in the array of its class
        self.terms: dict[int, list[tuple[int, int]]] = {}
        self.value = np.zeros(len(tape.ops))
        for at, leaf in tape.leaves.items():
            if isinstance(leaf, Leaf):
                self.position[at] = leaf.place
            else:
                self.value[at] = leaf

    def lift(self, wanted: Sequence[Sequence[int]]) -> list[Array]:
        """For each list of nodes an array of one axis with what they compute."""
        self.flatten(wanted)
        self.classify()
        self.order(wanted)
        for kind in self.classes:
            # Products that are only summed wait: a sum asks for them if it cannot do without. Constants are written where
            # they are read.
            if kind.members is not None and kind.is_read and kind.name != CONSTANT:
                self.write(kind)
        lines = [self.picked(np.asarray(nodes, np.int64)) for nodes in wanted]
        self.notes.update(dict.fromkeys(self.unlifted()))
        return lines

    # ---- 1. sums

    def flatten(self, wanted: Sequence[Sequence[int]]) -> None:
        """Find the terms of every sum; nodes that are only a part of one disappear into it."""
        tape = self.tape
        uses = Counter(x for xs in tape.inputs for x in xs)
        uses.update(x for nodes in wanted for x in nodes)
        self.inside: set[int] = set()
        self.read = self.without_gradient()
        for at in range(len(tape.ops) - 1, -1, -1):
            op = tape.ops[at]
            if op is ADD or op is SUB or (op is NEG and at in self.inside):
                self.inside.update(x for x in tape.inputs[at] if uses[x] == 1 and tape.ops[x] in (ADD, SUB, NEG))
            if op in EXTREMES and self.read[at]:
                self.inside.update(x for x in tape.inputs[at] if uses[x] == 1 and tape.ops[x] is op)
        for wish in wanted:
            self.inside.difference_update(wish)
        for at, op in enumerate(tape.ops):
            if at in self.inside:
                continue
            if op is ADD or op is SUB or (op in EXTREMES and self.read[at]):
                self.terms[at] = self.terms_of(at)

    def without_gradient(self) -> list[bool]:
        """For each node whether it is a number that was read, or the largest or smallest of such: then ties are no matter."""
        read: list[bool] = []
        for op, inputs in zip(self.tape.ops, self.tape.inputs, strict=True):
            read.append(op is DETACH or (op in EXTREMES and all(read[x] for x in inputs)))
        return read

    def terms_of(self, root: int) -> list[tuple[int, int]]:
        """(node, sign) of each term, from left to right."""
        terms = []
        stack = [(root, 1)]
        while stack:
            at, sign = stack.pop()
            op = self.tape.ops[at]
            if at != root and at not in self.inside:
                terms.append((at, sign))
            elif op is NEG:
                stack.append((self.tape.inputs[at][0], -sign))
            else:
                left, right = self.tape.inputs[at]
                stack += ((right, -sign if op is SUB else sign), (left, sign))
        return terms

    # ---- 2. classes

    def classify(self) -> None:
        """Give every node its class, from the leaves up; sums that differ only in how many terms they have are one."""
        self.ragged: set[int] = set()
        while True:
            self.classes = []
            known = self.classified()
            more = self.of_many_lengths(known)
            if not more:
                return
            self.ragged |= more

    def of_many_lengths(self, known: Mapping[Any, int]) -> set[int]:
        """The sums of terms of the same classes, where there are LENGTHS or more numbers of terms."""
        alike: dict[Any, list[int]] = {}
        for key, i in known.items():
            if self.classes[i].terms and all(term.count for term in self.classes[i].terms):
                alike.setdefault((key[0], *[pair for pair, _ in key[1:]]), []).append(i)
        chosen: set[int] = set()
        for group in alike.values():
            if len(group) >= LENGTHS and self.fills_well(group):
                chosen |= set(group)
        if not chosen:
            return set()
        return {at for at in self.terms if at not in self.inside and int(self.of[at]) in chosen}

    def fills_well(self, group: list[int]) -> bool:
        """Whether rows as long as the longest of these sums would be filled to a third."""
        counts = np.bincount(self.of[[at for at in self.terms if at not in self.inside]], minlength=len(self.classes))[group]
        lengths = np.array([sum(term.count for term in self.classes[i].terms) for i in group])
        return bool(counts.sum() * lengths.max() <= 3 * (counts * lengths).sum())

    def classified(self) -> dict[Any, int]:
        """The classes by key, with what is ragged known."""
        known: dict[Any, int] = {}
        of = self.of.tolist()
        for at, op in enumerate(self.tape.ops):
            if at in self.inside:
                continue
            key = self.key(at, op, of)
            number = known.get(key)
            if number is None:
                number = known[key] = len(self.classes)
                self.classes.append(self.make_class(at, op, key, of))
            of[at] = number
        self.of = np.array(of, np.int64)
        return known

    def key(self, at: int, op: Op | None, of: list[int]) -> Any:
        """What nodes of one class have in common."""
        if op is None:
            leaf = self.tape.leaves[at]
            return leaf.array if isinstance(leaf, Leaf) else CONSTANT
        if at in self.terms:
            counts = Counter((of[x], sign) for x, sign in self.terms[at])
            if at in self.ragged:
                counts = Counter(dict.fromkeys(counts, 0))
            return (op if op in EXTREMES else ADD, *sorted(counts.items()))
        inputs = self.tape.inputs[at]
        if op is TAKE:
            of_table = {of[x] for x in inputs[1:]}
            return (op, of[inputs[0]], len(inputs) - 1, *(of_table if len(of_table) == 1 else [of[x] for x in inputs[1:]]))
        if op is POW and self.classes[of[inputs[1]]].name == CONSTANT:
            return (op, of[inputs[0]], (CONSTANT, float(self.value[inputs[1]])))  # a square is not computed like a cube
        return (op, *[of[x] for x in inputs])

    def make_class(self, at: int, op: Op | None, key: Any, of: list[int]) -> Class:
        """The class for a key, from its first member."""
        if op is None:
            return Class(None, key)
        if at in self.terms:
            return Class(op, terms=[Term(child, sign, count) for (child, sign), count in key[1:]])
        children = tuple(of[x] for x in self.tape.inputs[at])
        if op is TAKE and len(set(children[1:])) == 1:
            children = children[:2]
        return Class(op, children=children)

    # ---- 3. order

    def order(self, wanted: Sequence[Sequence[int]]) -> None:
        """From the root down: put the members of every class in order, and note what they read."""
        for nodes in wanted:
            for at in nodes:
                self.classes[self.of[at]].streams.append(np.array([at], np.int64))
                self.classes[self.of[at]].is_read = True
        for kind in reversed(self.classes):
            if not kind.streams:
                continue
            asked = np.concatenate(kind.streams) if len(kind.streams) > 1 else kind.streams[0]
            kind.streams = []
            kind.members = asked if len(asked) == 1 else np.unique(asked)
            if kind.op is not None:
                if len(asked) > 1:
                    kind.members = kind.members[np.argsort(self.made[kind.members], kind="stable")]
                self.position[kind.members] = np.arange(len(kind.members))
                self.ask(kind)

    def ask(self, kind: Class) -> None:
        """Find what the members of a class read, and tell the classes of those."""
        members = kind.members.tolist()
        if kind.terms:
            rows = [self.grouped(at) for at in members]
            for term in kind.terms:
                ids = [row[term.child, term.sign] for row in rows]
                if not term.count:
                    longest = max(map(len, ids))
                    ids = [each + [NONE] * (longest - len(each)) for each in ids]
                term.ids = np.array(ids, np.int64)
                child = self.classes[term.child]
                child.streams.append(term.ids[term.ids != NONE])
                child.is_read |= not self.is_product(term)
            return
        inputs = [self.tape.inputs[at] for at in members]
        if kind.op is TAKE and len(kind.children) == 2:
            kind.columns = [np.array([xs[0] for xs in inputs]), np.array([xs[1:] for xs in inputs])]
            self.tell(kind)
            return
        kind.columns = [np.array([xs[k] for xs in inputs], np.int64) for k in range(len(kind.children))]
        self.tell(kind)

    def tell(self, kind: Class) -> None:
        """Tell the classes of its inputs what a class reads."""
        for number, column in zip(kind.children, kind.columns, strict=True):
            child = self.classes[number]
            child.streams.append(column.reshape(-1))
            child.is_read = True

    def grouped(self, at: int) -> dict[tuple[int, int], list[int]]:
        """The terms of a sum by class and sign."""
        groups: dict[tuple[int, int], list[int]] = {}
        for x, sign in self.terms[at]:
            groups.setdefault((int(self.of[x]), sign), []).append(x)
        return groups

    # ---- 4. lines

    def write(self, kind: Class) -> Array:
        """The line of a class."""
        if kind.line is None:
            before, self.builder.sources = self.builder.sources, self.sources(kind)
            kind.line = self.arrays[kind.name] if kind.op is None else self.written(kind)
            self.builder.sources = before
        return kind.line

    def sources(self, kind: Class) -> frozenset[str]:
        """The lines of the user's code that a class came from."""
        if kind.op is None:
            return frozenset()
        lines = {self.place(self.nodes[at]) for at in kind.members.tolist()}
        return frozenset(str(place) for place in lines if place is not None)

    def where(self, kind: Class) -> str:
        """Those lines in words."""
        return ", ".join(sorted(self.sources(kind))) or "the function"

    def unlifted(self) -> Iterator[str]:
        """Why operations stayed single ones, in words, where that is so of more than a few."""
        single = [i for i, kind in enumerate(self.classes) if self.is_single(kind)]
        before, after = dict.fromkeys(single, 1), dict.fromkeys(single, 1)  # the longest chains up to each, and from it on
        reads = {i: [x for x in self.children(self.classes[i]) if x in before] for i in single}
        for i in single:
            before[i] += max((before[x] for x in reads[i]), default=0)
        for i in reversed(single):
            for x in reads[i]:
                after[x] = max(after[x], after[i] + 1)
        chained = [i for i in single if before[i] + after[i] > MANY_SINGLE]
        others = [i for i in single if before[i] + after[i] <= MANY_SINGLE]
        if chained:
            yield (
                f"{self.places_of(chained)}: {len(chained):,} operations stay single ones, for each needs the result of one "
                f"before it, in chains of up to {max(before.values()):,}"
            )
        if len(others) >= MANY_SINGLE:
            yield (
                f"{self.places_of(others)}: {len(others):,} operations stay single ones, for no others compute the same from the "
                "same kind of operands"
            )

    def is_single(self, kind: Class) -> bool:
        """Whether a class is one operation on two numbers or less."""
        if kind.op is None or kind.op is TAKE or kind.members is None or len(kind.members) != 1:
            return False
        return not kind.terms or len(self.terms[int(kind.members[0])]) == 2

    def children(self, kind: Class) -> list[int]:
        """The classes that a class reads."""
        return [*kind.children, *(term.child for term in kind.terms)]

    def places_of(self, classes: Sequence[int]) -> str:
        """The lines of the user's code that most of these classes came from."""
        counts = Counter(place for i in classes for place in sorted(self.sources(self.classes[i])))
        lines = [place for place, _ in counts.most_common(3)]
        more = len(counts) - len(lines)
        return (", ".join(sorted(lines)) or "the function") + (f" and {more} more lines" if more else "")

    def counted(self) -> Mapping[Array, int]:
        """How many nodes each line stands for."""
        counts: Counter[Array] = Counter()
        for kind in self.classes:
            if kind.line is not None and kind.op is not None:
                inside = sum(len(self.terms[at]) - 1 for at in kind.members.tolist()) if kind.terms else len(kind.members)
                products = sum(term.ids.size for term in kind.terms if self.is_product(term))
                counts[kind.line] += inside + products
        return counts

    def written(self, kind: Class) -> Array:
        """The line of a class of operations."""
        if kind.op is TAKE:
            return self.taken(kind)
        return self.summed(kind) if kind.terms else self.mapped(kind)

    def mapped(self, kind: Class) -> Array:
        """An elementwise operation on what its members read."""
        assert kind.op is not None
        if len(kind.members) == 1:  # nothing to find
            return self.builder.apply(kind.op, *(self.single(int(column[0])) for column in kind.columns))
        loops = self.loops(kind.columns)
        if loops is not None:
            loops = self.in_the_shape_of_an_operand(kind, loops)
        if loops is None:
            xs = [self.picked(column) for column in kind.columns]
        else:
            xs = [self.operand(column, loops).view(self.builder, loops) for column in kind.columns]
        y = self.builder.apply(kind.op, *xs)
        shape = (len(kind.members),) if loops is None else loops
        return y if y.shape == shape else self.builder.broadcast_to(y, shape)

    def in_the_shape_of_an_operand(self, kind: Class, loops: Shape) -> Shape:
        """The loops split like an operand that is read as a whole, so that it need not be reshaped."""
        for child, column in zip(kind.children, kind.columns, strict=True):
            line = self.classes[child].line
            if line is not None and line.ndim > len(loops) and line.size == len(column):
                whole = np.array_equal(self.position[column], np.arange(line.size))
                if whole and all(self.walks(other, line.shape) for other in kind.columns):
                    return line.shape
        return loops

    def walks(self, column: Places, shape: Shape) -> bool:
        """Whether a column follows loops of this shape."""
        if self.is_constant(column):
            return True
        walk = self.operand(column, shape)
        return np.array_equal(places(walk.offset, shape, walk.strides), self.position[column].reshape(shape))

    # -- choices by an index

    def taken(self, kind: Class) -> Array:
        """Elements of tables at indices that are given to the program."""
        index, *tables = kind.columns
        name = self.classes[kind.children[0]].name
        length = len(tables) if len(tables) > 1 else tables[0].shape[1]
        self.bounds.append((int(name[1:]), self.where(kind), np.unique(self.position[index]), length))
        if len(tables) > 1:
            return self.chosen(index, tables)
        (table,) = tables
        outer, inner = self.loops([index, table[:, 0]]), self.loops([table[0]])
        if outer is None or inner is None or not self.repeats(table) or name not in self.indices:
            return self.chosen(index, list(table.T))
        b, n, full = self.builder, len(outer), outer + inner
        entries = self.operand(table.reshape(-1), full)
        at = self.operand(index, outer)._replace(line=self.indices[name])
        rows = [i for i in range(n) if not entries.strides[i]]
        columns = [i for i in range(n) if entries.strides[i]]
        if any(at.strides[i] for i in columns):  # each index has a table of its own
            place = b.reshape(b.broadcast_to(self.operand(index, outer).view(b, outer), outer), (*outer, 1))
            own = b.reshape(b.view(entries.line, entries.offset, full, entries.strides), (*outer, length))
            return b.sum(b.math.where(place == b.constant(np.arange(float(length))), own, 0.0), (n,))
        wide = tuple(outer[i] for i in columns)
        whole = b.reshape(entries.moved(b, full, (*range(n, len(full)), *columns)), (length, *wide))
        chosen = b.gather(whole, at.moved(b, outer, rows))
        made = [*rows, *columns]
        return b.transpose(chosen, [made.index(i) for i in range(n)])

    def chosen(self, index: Places, tables: Sequence[Places]) -> Array:
        """The same where the tables follow no loops: each entry in turn, kept where the index is its own."""
        at, y = self.picked(index), self.picked(tables[0])
        for i, column in enumerate(tables[1:], 1):
            y = self.builder.math.where(at == float(i), self.picked(column), y)
        return y

    # -- what a class reads

    def is_constant(self, column: Places) -> bool:
        """Whether a column is of constants."""
        return bool(self.classes[self.of[column.flat[0]]].name == CONSTANT)

    def single(self, at: int) -> Array:
        """What one node computes."""
        kind = self.classes[self.of[at]]
        if kind.name == CONSTANT:
            return self.builder.constant(self.value[at])
        line = self.write(kind)
        return line if line.shape == () else self.builder.view(line, int(self.position[at]), (), ())

    def loops(self, columns: Sequence[Places]) -> Shape | None:
        """The lengths of the loops that walk through all columns; constants have no place, and follow any."""
        read = [self.position[column] for column in columns if not self.is_constant(column)]
        if not read:
            return (len(columns[0]),)
        walk = nest(read)
        return None if walk is None else walk.shape

    def operand(self, column: Places, loops: Shape) -> "Operand":
        """What a column reads, which follows these loops."""
        if self.is_constant(column):
            return self.constants(self.value[column].reshape(loops))
        read = self.position[column].reshape(loops)
        first = (0,) * read.ndim
        second = [(*first[:i], min(1, n - 1), *first[i + 1 :]) for i, n in enumerate(loops)]
        line = self.write(self.classes[self.of[column.flat[0]]])
        return Operand(line, int(read[first]), tuple(int(read[at] - read[first]) for at in second))

    def constants(self, values: npt.NDArray[np.float64]) -> "Operand":
        """Constants, kept once along every axis in which they do not change: loops read the same data again and again."""
        moves = []
        for axis in range(values.ndim):
            once = values[(slice(None),) * axis + (slice(0, 1),)]
            moves.append(not np.array_equal(np.broadcast_to(once, values.shape), values, equal_nan=True))
            if not moves[-1]:
                values = once
        steps = contiguous(values.shape)
        return Operand(self.builder.constant(values), 0, tuple(s if move else 0 for s, move in zip(steps, moves, strict=True)))

    def picked(self, column: Places) -> Array:
        """What a column of nodes reads, in one axis, whether or not there are loops in it."""
        size = (len(column),)
        classes = self.of[column]
        if (classes != classes[0]).any():
            return self.builder.concatenate([self.picked(column[i : i + 1]) for i in range(len(column))], 0)
        loops = self.loops([column])
        if loops is not None:
            elements = self.operand(column, loops).view(self.builder, loops)
            return self.builder.reshape(self.builder.broadcast_to(elements, loops), size)
        line = self.write(self.classes[classes[0]])
        read = ", ".join(sorted(self.builder.sources)) or "an output"
        self.notes[f"{read}: {len(column):,} numbers are read in an order that follows no loops, one by one"] = None
        return self.builder.gather(self.builder.reshape(line, (line.size,)), self.builder.constant(self.position[column]))

    # -- sums

    def summed(self, kind: Class) -> Array:
        """The line of a sum, or of a chain of maxima: each group of its terms reduced, then put together."""
        outer = self.loops([column[:, 0] for term in kind.terms for column in self.factors(term)])
        total: Any = None
        for term in kind.terms:
            part = self.reduced(term, outer, EXTREMES.get(kind.op or ADD, "sum"))
            if total is None:
                total = part if term.sign > 0 else -part
            elif kind.op in EXTREMES:
                total = self.builder.apply(kind.op, total, part)
            else:
                total = total + part if term.sign > 0 else total - part
        shape = outer if outer is not None else (len(kind.members),)
        return total if total.shape == shape else self.builder.broadcast_to(total, shape)

    def is_product(self, term: Term) -> bool:
        """Whether a group of terms is a sum of products."""
        return term.count > 1 and self.classes[term.child].op is MUL

    def factors(self, term: Term) -> list[Places]:
        """The columns that a group of terms reads, (members, count) each: itself, or of a sum of products the two factors."""
        if not self.is_product(term):
            return [term.ids]
        at = self.position[term.ids]
        return [column[at] for column in self.classes[term.child].columns]

    def reduced(self, term: Term, outer: Shape | None, row: str) -> Array:
        """The sum (or amax, amin) of a group of terms for each member."""
        b = self.builder
        if not term.count:
            x = b.sum(self.filled(term, NEUTRAL[row]), (1,), row=row)
            return x if outer is None else b.reshape(x, outer)
        columns = self.factors(term)
        inner = self.loops([column[0] for column in columns])
        if outer is None or inner is None or not all(map(self.repeats, columns)):
            x = b.sum(b.reshape(self.picked(term.ids.reshape(-1)), term.ids.shape), (1,), row=row)
            return x if outer is None else b.reshape(x, outer)
        loops = outer + inner
        xs = [self.operand(column.reshape(-1), loops) for column in columns]
        axes = range(len(outer), len(loops))
        if len(xs) == 1:
            return self.total(xs[0], loops, axes, row)
        fixed = next((k for k in (0, 1) if not any(xs[k].strides)), None)
        if fixed is not None:  # one number times a plain sum
            return self.total(xs[1 - fixed], loops, axes, row) * xs[fixed].view(b, loops)
        return self.product(xs, outer, inner)

    def filled(self, term: Term, neutral: float) -> Array:
        """The terms of sums of different lengths as rows, (members, longest), filled up with a number that changes nothing."""
        b, there = self.builder, term.ids != NONE
        kind = self.classes[term.child]
        if kind.name == CONSTANT:
            return b.constant(np.where(there, self.value[term.ids], neutral))
        line = self.write(kind)
        elements = b.concatenate([b.reshape(line, (line.size,)), b.constant(np.array([neutral], line.dtype))], 0)
        return b.gather(elements, b.constant(np.where(there, self.position[term.ids], line.size)))

    def repeats(self, column: Places) -> bool:
        """Whether all rows of a column walk as the first one does."""
        if self.is_constant(column):
            return True
        read = self.position[column]
        return bool((read - read[:, :1] == read[:1] - read[0, 0]).all())

    def total(self, x: "Operand", shape: Shape, axes: range, row: str) -> Array:
        """The sum over some axes; of one number, its multiple."""
        view = x.view(self.builder, shape)
        if view.shape == shape:
            return self.builder.sum(view, axes, row=row)
        if row != "sum":
            return view
        count = math.prod(shape[i] for i in axes)
        return view * float(count) if count > 1 else view

    def product(self, xs: list["Operand"], outer: Shape, inner: Shape) -> Array:
        """A sum of products: a matrix product where some outer loops move one factor only, and some the other."""
        b = self.builder
        n = len(outer)
        left = [i for i in range(n) if xs[0].strides[i] and not xs[1].strides[i]]
        right = [i for i in range(n) if xs[1].strides[i] and not xs[0].strides[i]]
        both = [i for i in range(n) if xs[0].strides[i] and xs[1].strides[i]]
        if len(left) + len(right) + len(both) < n or not (left or right):
            loops = outer + inner
            return b.sum(xs[0].view(b, loops) * xs[1].view(b, loops), range(n, len(loops)))
        if not left or (right and right[0] < left[0]):  # the factor that the outer loop moves comes first
            left, right, xs = right, left, xs[::-1]
        sizes = [tuple(outer[i] for i in group) for group in (both, left, right)]
        lead = (math.prod(sizes[0]),) if both else ()
        axes = range(n, n + len(inner))
        full = outer + inner
        x = b.reshape(xs[0].moved(b, full, (*both, *left, *axes)), (*lead, math.prod(sizes[1]), math.prod(inner)))
        y = b.reshape(xs[1].moved(b, full, (*both, *axes, *right)), (*lead, math.prod(inner), math.prod(sizes[2])))
        product = b.reshape(b.matmul(x, y), sizes[0] + sizes[1] + sizes[2])
        made = [*both, *left, *right]
        return b.transpose(product, [made.index(i) for i in range(n)])


class Operand(NamedTuple):
    """Where loops read: an array, an offset into its elements, and a stride for each loop."""

    line: Array
    offset: int
    strides: Shape

    def view(self, b: Builder, shape: Shape) -> Array:
        """The elements as an array; a single one, where no loop moves, as a number that broadcasts."""
        if not any(self.strides):
            return b.view(self.line, self.offset, (), ())
        return b.view(self.line, self.offset, shape, self.strides)

    def moved(self, b: Builder, shape: Shape, axes: Sequence[int]) -> Array:
        """The elements with these loops as axes, in this order."""
        return b.view(self.line, self.offset, tuple(shape[i] for i in axes), tuple(self.strides[i] for i in axes))
