"""Strides: the same elements walked in another shape.

>>> restride((2, 3), (3, 1), (6,))
(1,)
>>> restride((2, 3), (1, 2), (6,)) is None
True
>>> refined({3}, 12)
(4, 3)

All strides count elements. Imports nothing of ours.
"""

import math
from collections.abc import Iterable, Sequence

Shape = tuple[int, ...]


def runs(shape: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """(length, stride) of the fewest loops that walk through a strided array, the outermost first."""
    found: list[tuple[int, int]] = []
    for n, stride in zip(shape, strides, strict=True):
        if n == 1:
            continue
        if found and found[-1][1] == stride * n:
            found[-1] = (found[-1][0] * n, stride)
        else:
            found.append((n, stride))
    return found


def restride(shape: Sequence[int], strides: Sequence[int], to: Sequence[int]) -> Shape | None:
    """The strides by which loops of another shape walk through the same elements; None where there are none."""
    left = runs(shape, strides)
    found = []
    for n in reversed(to):
        if n == 1:
            found.append(0)
            continue
        if not left or left[-1][0] % n:
            return None
        length, stride = left.pop()
        found.append(stride)
        if length > n:
            left.append((length // n, stride * n))
    return tuple(reversed(found))


def bounds(shape: Sequence[int], strides: Sequence[int]) -> set[int]:
    """After how many elements a strided array, walked in order, leaves its innermost loops: what `refined` takes."""
    found, inside = set(), 1
    for n, _ in reversed(runs(shape, strides)):
        inside *= n
        found.add(inside)
    return found


def refined(cuts: Iterable[int], size: int) -> Shape | None:
    """The shape of `size` elements that has a loop end at each of `cuts`; None where these do not divide each other."""
    shape, inside = [], 1
    for cut in sorted({*cuts, size} - {1}):
        if cut % inside:
            return None
        shape.append(cut // inside)
        inside = cut
    return tuple(reversed(shape)) or (1,)


def plain(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the elements follow each other in C order."""
    found = runs(shape, strides)
    return not found or (len(found) == 1 and found[0][1] == 1)


def distinct(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """True only if no place is visited twice (False may also mean: not seen at a glance)."""
    reach = 0
    for stride, n in sorted((abs(s), n) for n, s in zip(shape, strides, strict=True) if n != 1):
        if stride <= reach:
            return False
        reach += stride * (n - 1)
    return True


def broadcast(shape: Sequence[int], strides: Sequence[int], to: Sequence[int]) -> Shape:
    """Strides that repeat an array to a larger shape."""
    lead = len(to) - len(shape)
    return tuple(0 if i < lead or shape[i - lead] == 1 else strides[i - lead] for i in range(len(to)))


def collapsed(shape: Sequence[int], places: Sequence[Sequence[int]]) -> tuple[Shape, list[Shape]]:
    """The same loops, as few as can be, for several operands at once."""
    axes: list[int] = []
    loops: list[list[int]] = []
    for i, n in enumerate(shape):
        if n == 1:
            continue
        if loops and all(s[axes[-1]] == s[i] * n for s in places):
            loops[-1][0] *= n
            axes[-1] = i
        else:
            loops.append([n])
            axes.append(i)
    if not axes:
        return (1,), [(0,) for _ in places]
    return tuple(n for (n,) in loops), [tuple(s[i] for i in axes) for s in places]


def window(
    inner: Shape, weights: Shape, steps: Shape, offset: int, shape: Sequence[int], strides: Sequence[int]
) -> tuple[int, Shape] | None:
    """Offset and strides of a window on an array in C order, of shape `inner`, when its elements lie `steps` apart instead.

    weights: how far they lie apart in C order. None where a stride carries from one axis into the next.
    """
    starts = _digits(offset, inner, weights)
    hops = [_digits(stride, inner, weights) for stride in strides]
    for axis, length in enumerate(inner):
        reach = [hop[axis] * (n - 1) for hop, n in zip(hops, shape, strict=True)]
        low, high = sum(min(r, 0) for r in reach), sum(max(r, 0) for r in reach)
        if starts[axis] + low < 0 or starts[axis] + high >= length:
            return None
    strides = tuple(sum(k * s for k, s in zip(hop, steps, strict=True)) for hop in hops)
    return sum(k * s for k, s in zip(starts, steps, strict=True)), strides


def _digits(number: int, shape: Shape, weights: Shape) -> list[int]:
    digits = []
    for axis, weight in enumerate(weights):
        digit = abs(number) // weight if weight else 0
        if axis:
            digit %= max(shape[axis], 1)
        digits.append(digit if number >= 0 else -digit)
    return digits


def size_of(shape: Sequence[int]) -> int:
    """The number of elements."""
    return math.prod(shape)
