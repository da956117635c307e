"""A program in print, in the words of NumPy: `listing`.

Every line gets a name and a text; a view is written where it is used, as the slices, reshapes and transposes it is.
Imports lines and ops.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from chainrule.compiler.lines import UNVIEW, VIEW, Array, Shape, contiguous
from chainrule.ops import Op


class Printed(NamedTuple):
    """A line, its name, what it is, and both as the text of an assignment."""

    line: Array
    name: str
    right: str

    @property
    def text(self) -> str:
        """The line as it is printed."""
        return f"{self.name}: {self.right}" if self.line.op is None else f"{self.name} = {self.right}"


def listing(program: Any) -> list[Printed]:
    """The lines of a program in print, in the order in which they are computed; then outputs that are views or repeat."""
    names = {line: line.name for line in program.lines if line.op is None and line.data is None}
    names |= {line: name for name, line in program.outputs.items() if line not in names and line.data is None}
    taken = set(names.values())
    free = (name for k in itertools.count(1) if (name := f"v{k}") not in taken)
    texts: dict[Array, str] = {}
    found: list[Printed] = []
    for line in program.lines:
        if line.op is None:
            texts[line] = names.get(line) or _constant(line)
            if line.data is None:
                found.append(Printed(line, line.name, f"{line.dtype} {line.shape}"))
            continue
        right = _written(line, texts)
        if line.op is VIEW and line not in names:
            texts[line] = right
            continue
        texts[line] = names.get(line) or next(free)
        found.append(Printed(line, texts[line], right))
    return found + [Printed(line, name, texts[line]) for name, line in program.outputs.items() if texts[line] != name]


def _constant(line: Array) -> str:
    assert line.data is not None
    return f"{line.data.item():g}" if line.size == 1 else f"data{list(line.shape)}".replace(" ", "")


def _written(line: Array, texts: Mapping[Array, str]) -> str:
    op, xs = line.op, [texts[x] for x in line.inputs]
    assert op is not None
    if isinstance(op, Op) and op.method.startswith("__") and op.arity == 2:
        return f"{_held(xs[0])} {op.symbol} {_held(xs[1])}"
    if op is VIEW:
        x, options = line.inputs[0], line.options
        return view_text(_held(xs[0]), x.shape, options["offset"], line.shape, options["strides"])
    if op.name == "matmul":
        return f"{_held(xs[0])} @ {_held(xs[1])}"
    if op is UNVIEW:
        size, strides = line.options["size"], line.options["strides"]
        where = view_text("", (size,), line.options["offset"], line.inputs[0].shape, strides)
        return f"{_held(xs[0])} at {where} of zeros({size})"
    shown = {k: x.name if isinstance(x, Array) else x for k, x in line.options.items() if k not in ("keepdims", "kept")}
    texts_of = [f"{k}={x[0] if k == 'axis' and isinstance(x, tuple) and len(x) == 1 else x}" for k, x in shown.items()]
    return f"{op.name}({', '.join([*xs, *texts_of])})"


def _held(x: str) -> str:
    """An operand that holds together."""
    depth = 0
    for sign in x:
        depth += (sign in "([") - (sign in ")]")
        if sign == " " and depth == 0:
            return f"({x})"
    return x


def view_text(x: str, of: Shape, offset: int, shape: Shape, strides: Shape) -> str:
    """A view of an array of shape `of`, as NumPy would write it.

    >>> view_text("p", (337,), 48, (16, 16), (1, 17))
    'p[48:320].reshape(16, 17)[:, :16].T'
    >>> view_text("p", (337,), 2, (100, 16), (0, 3))
    'p[2:48:3]'
    """
    size = math.prod(of)
    if offset == 0 and math.prod(shape) == size and strides == _plain(shape):
        return f"{x}.reshape{shape}" if len(shape) != 1 else f"{x}.reshape({shape[0]})"
    moving = sorted((i for i, n in enumerate(shape) if n > 1 and strides[i]), key=lambda i: -abs(strides[i]))
    text = _block(
        x if len(of) == 1 else f"{x}.reshape({size})", size, offset, [shape[i] for i in moving], [strides[i] for i in moving]
    )
    if len(of) > 1 and text == f"{x}.reshape({size})":
        text = f"{x}.reshape({', '.join(str(shape[i]) for i in moving)})"
    if (
        len(of) > 1
        and of == tuple(shape[i] for i in moving)
        and offset == 0
        and [strides[i] for i in moving] == [*contiguous(of)]
    ):
        text = x
    if text == "":
        return f"{x}.view(offset={offset}, shape={shape}, strides={strides})"
    order = sorted(range(len(moving)), key=moving.__getitem__)
    if order != sorted(order):
        text += ".T" if len(order) == 2 else f".transpose{tuple(order)}"
    kept = [i for i in range(len(shape)) if i in moving]
    gaps = [i for i in range(len(shape)) if i not in moving and kept and i > kept[0]]
    if gaps:  # leading axes come by broadcasting; others must be told
        text += "[" + ", ".join(":" if i in moving else "None" for i in range(kept[0], len(shape))) + "]"
    return text


def _plain(shape: Shape) -> Shape:
    return tuple(0 if n == 1 else s for n, s in zip(shape, contiguous(shape), strict=True))


def _block(x: str, size: int, offset: int, lengths: Sequence[int], strides: Sequence[int]) -> str:
    """The moving axes, largest stride first; "" where they are no block that slices can cut."""
    if not lengths:
        return f"{x}[{offset}]" if size > 1 else x
    found = block(size, offset, lengths, strides)
    if found is None:
        return ""
    text = x if found.cut is None else f"{x}[{_slice(found.cut)}]"
    text += "" if found.rows is None else f".reshape({', '.join(map(str, found.rows))})"
    return text + (f"[{', '.join(map(_slice, found.cuts))}]" if found.cuts else "")


def _slice(cut: slice | int) -> str:
    if isinstance(cut, int):
        return str(cut)
    step = f":{cut.step}" if cut.step not in (None, 1) else ""
    return f"{cut.start or ''}:{'' if cut.stop is None else cut.stop}{step}"


class Block(NamedTuple):
    """What cuts a block out of a flat array: a slice, then a shape, then an index; None or () where there is nothing to do."""

    cut: slice | None
    rows: Shape | None
    cuts: tuple[slice | int, ...]


def block(size: int, offset: int, lengths: Sequence[int], strides: Sequence[int]) -> Block | None:
    """How slices cut these axes, largest stride first, out of `size` elements; None where they cannot.

    >>> block(12, 0, [3, 2], [4, 1])
    Block(cut=None, rows=(3, 4), cuts=(slice(None, None, None), slice(None, 2, None)))
    """
    if len(lengths) == 1:
        (n,), (s,) = lengths, strides
        end = offset + (n - 1) * s + 1
        if s < 0:
            return None
        return Block(None if (offset, end, s) == (0, size, 1) else slice(offset, end, s), None, ())
    widths = [a // b if b > 0 and a % b == 0 else 0 for a, b in zip(strides, [*strides[1:], 1], strict=True)]
    end = offset + lengths[0] * strides[0]
    if not all(w >= n for w, n in zip(widths, [*lengths[1:], 1], strict=True)) or end > size:
        return None
    rows = [lengths[0], *widths] if widths[-1] > 1 else [lengths[0], *widths[:-1]]
    cuts: list[slice | int] = [slice(None)]
    cuts += [slice(None) if w == n else slice(n) for w, n in zip(widths, lengths[1:], strict=False)]
    if widths[-1] > 1:
        cuts.append(0)
    while cuts and cuts[-1] == slice(None):
        cuts.pop()
    return Block(None if (offset, end) == (0, size) else slice(offset, end), tuple(rows), tuple(cuts))
