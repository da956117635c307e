"""Print the loops of the native executor from the table: `_kernels.h`.

Run by setup.py when the package is built: `python -m chainrule.native.kernels` prints it to look at. Every row becomes a
loop over numbers, and some pairs of rows one loop. Imports ops and symbols.
"""

import sys
from typing import Any, NamedTuple

from chainrule import ops, symbols
from chainrule.native.sources import executor_hash
from chainrule.ops import Op

_PAIR = (ops.REAL, ops.REAL)
COMPARISONS = (
    Op("less", "<", lambda m, a, b: a < b, (None, None), _PAIR, "1 where a < b."),
    Op("less_equal", "<=", lambda m, a, b: a <= b, (None, None), _PAIR, "1 where a <= b."),
    Op("equal", "==", lambda m, a, b: a == b, (None, None), _PAIR, "1 where a == b."),
    Op("not_equal", "!=", lambda m, a, b: a != b, (None, None), _PAIR, "1 where a != b."),
)
"""Rows that only programs have."""

JOINED = (
    *((inner, outer, slot) for inner in ("add", "mul", "sub")
      for outer, slot in (("add", 0), ("mul", 0), ("sub", 0), ("sub", 1))),
    ("mul", "neg", 0), ("neg", "mul", 0), ("neg", "exp", 0),
    *((name, "where", 0) for name in ("less", "less_equal", "equal")),
)  # fmt: skip
"""Two rows in one kernel: what the first gives is input `slot` of the second, and never leaves the processor's registers."""

COMMUTE = ("add", "mul")

VARIANTS = {
    1: ("v",),
    2: ("vv", "vs", "sv"),
    3: ("vvv", "vvs", "vsv", "vss", "svv", "svs"),
    4: ("vvvv", "vsvv", "vsvs", "vssv", "vsss", "vvss"),
}
"""By the number of inputs: for which of them there are kernels, where `v` is a vector and `s` a single number."""

_ASKING = ("VM(sin)", "VM(cos)", "VM(pow)")  # those answer NaN where libm must be asked


def joined_name(inner: str, outer: str, slot: int) -> str:
    """The name of the kernel of two rows; its inputs are those of the first, then the others of the second."""
    return f"{inner}_{outer}{slot}"


class Kernel(NamedTuple):
    """A row as kernels.h takes it."""

    name: str
    inputs: tuple[str, ...]
    fast: str
    slow: str

    @property
    def entry(self) -> str:
        """Its line in `_kernels.h`."""
        asks = int(any(name in self.fast for name in _ASKING))
        slow = self.slow if asks else self.fast
        return f"ROW{len(self.inputs)}({self.name}, {', '.join(self.inputs)}, {asks}, {self.fast}, {slow})"

    @property
    def by_mask(self) -> str:
        """Its functions; bit i of the place is set where input i is a single number."""
        of = {sum((v == "s") << i for i, v in enumerate(variant)): variant for variant in VARIANTS[len(self.inputs)]}
        return "{" + ", ".join(f"K({self.name}_{of[mask]})" if mask in of else "0" for mask in range(max(of) + 1)) + "}"


def rows() -> list[Kernel]:
    """The kernels, in the order of their codes."""
    alone = {op.name: op for op in (*ops.BUILT_IN, *COMPARISONS)}
    return [*map(_kernel, alone.values()), *(_kernel(_joined(alone[inner], alone[outer], slot)) for inner, outer, slot in JOINED)]


def _kernel(op: Op) -> Kernel:
    fast = symbols.formula(op, symbols.VECTOR)
    return Kernel(op.name, fast.inputs, fast.forward, symbols.formula(op, symbols.LIBM).forward)


def _joined(inner: Op, outer: Op, slot: int) -> Op:
    def forward(m: Any, *xs: Any) -> Any:
        own, others = xs[: inner.arity], xs[inner.arity :]
        return outer.forward(m, *others[:slot], inner.forward(m, *own), *others[slot:])

    count = inner.arity + outer.arity - 1
    rule = (
        lambda m, a: forward(m, a),
        lambda m, a, b: forward(m, a, b),
        lambda m, a, b, c: forward(m, a, b, c),
        lambda m, a, b, c, d: forward(m, a, b, c, d),
    )[count - 1]
    name = joined_name(inner.name, outer.name, slot)
    return Op(name, name, rule, (None,) * count, (ops.REAL,) * count, f"{outer.name} of {inner.name}.")


def kernels() -> str:
    """The text of `_kernels.h`: a ROW entry for each row, and the table of the functions that these become."""
    all_rows = rows()
    table = ", ".join(k.by_mask for k in all_rows)
    names = ", ".join(f'"{k.name}"' for k in all_rows)
    return "\n".join(
        [
            "/* Generated from src/chainrule/ops.py by chainrule.native.generate; do not edit. */",
            "#ifdef ROW1",
            *(k.entry for k in all_rows),
            "#else",
            f'#define KERNEL_HASH "{executor_hash()}"',
            f"#define ROW_COUNT {len(all_rows)}",
            f"static const uint8_t ROW_ARITY[ROW_COUNT] = {{{', '.join(str(len(k.inputs)) for k in all_rows)}}};",
            f"#define ROW_NAMES {names}",
            f'#define ROW_FORMAT "{"s" * len(all_rows)}"',
            f"#define ROW_TABLE(K) {table}",
            "#endif",
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(kernels())
