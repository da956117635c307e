"""What a compiler found, in words and numbers: `Explanation`, `Counts`. Imports lines, listing and program."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from chainrule.compiler.executors import Runner
from chainrule.compiler.lines import VIEW, Array
from chainrule.compiler.listing import Printed, listing
from chainrule.compiler.program import Program


class Counts(NamedTuple):
    """How many operations of the function became how many on arrays.

    operations: of the function, each of which is `of` "scalar" or "tensor". forward: operations on arrays that do the same.
    whole: those with gradients, and update.

    >>> print(Counts(136, "scalar", 8, 24))
    136 scalar operations are 8 array operations; with the gradients they are 24
    """

    operations: int
    of: str
    forward: int
    whole: int

    def __str__(self) -> str:
        found = f"{self.operations:,} {self.of} operations are {self.forward} array operations"
        return f"{found}; with the gradients they are {self.whole}"


class Explanation:
    """How many scalar operations became which array operations, and from which lines of the function.

    counts: for lines of the program the number of operations of the function they stand for.
    forward, whole: the program without and with gradients. totals: all of them together.
    """

    def __init__(
        self,
        counts: Mapping[Array, int],
        forward: Program,
        whole: Program,
        of_tensors: bool,
        runner: Runner,
        notes: Iterable[str] = (),
    ) -> None:
        self.counts, self.forward, self.whole, self.of_tensors = counts, forward, whole, of_tensors
        self.runner, self.notes = runner, list(notes)
        kind = "tensor" if of_tensors else "scalar"
        self.totals = Counts(sum(counts.values()), kind, len(forward.operations), len(whole.operations))

    def __str__(self) -> str:
        mine = set(self.forward.lines)
        found = listing(self.whole)
        forward = [p for p in found if p.line in mine]
        rest = [p for p in found if p.line not in mine]
        lines = [
            f"{self.totals}.",
            "",
            *self._rows(forward),
            "",
            "gradients" + (" and update:" if "lost" in self.whole.outputs else ":"),
            *self._rows(rest),
            *([""] if self.notes else []),
            *self.notes,
            *([f"\nrun by NumPy, slowly: {self.runner.why}"] if self.runner.why else []),
        ]
        return "\n".join(lines)

    def _rows(self, printed: list[Printed]) -> list[str]:
        """Text, shape, how many operations it stands for, and source lines, in columns."""
        cells = [
            (
                p.text,
                "" if p.line.op is None or p.line.op is VIEW else _shape(p.line),
                self._count(p),
                ", ".join(sorted(p.line.sources)),
            )
            for p in printed
        ]
        widths = [min(max((len(row[k]) for row in cells), default=0), 76) for k in range(4)]
        return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]

    def _count(self, p: Printed) -> str:
        count = self.counts.get(p.line, 0)
        return "" if self.of_tensors or not count else f"{count:,} operations" if count > 1 else "1 operation"


def _shape(line: Array) -> str:
    return "x".join(map(str, line.shape)) or "number"
