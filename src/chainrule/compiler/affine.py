"""Which loops walk through a list of places: `nest`.

Loops over samples, neurons and inputs read their operands at places that grow by a fixed stride in each loop. Given the
places alone, `nest` finds the loops again:

>>> import numpy as np
>>> nest([np.array([0, 1, 2, 0, 1, 2]), np.array([5, 5, 5, 7, 7, 7])])
Nest(shape=(2, 3), offsets=(0, 5), strides=((0, 1), (2, 0)))

Imports nothing of ours.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]


class Nest(NamedTuple):
    """Loops, outermost first, and for each operand where it starts and its stride in each loop."""

    shape: tuple[int, ...]
    offsets: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]


def nest(operands: Sequence[Places]) -> Nest | None:
    """The loops that walk through all operands at once, as few as can be; None where there is no such regularity.

    operands: index arrays of one length, of one axis.

    The innermost loop is as long as all operands go on by the strides of their first step; if every block of that length
    does, the starts of the blocks are such lists again.
    """
    now = np.stack(operands)
    offsets = tuple(int(x) for x in now[:, 0])
    shape: list[int] = []
    strides: list[Places] = []
    while now.shape[1] > 1:
        steps = now[:, 1] - now[:, 0]
        goes_on = (np.diff(now, axis=1) == steps[:, None]).all(axis=0)
        length = now.shape[1] if goes_on.all() else int(goes_on.argmin()) + 1
        if now.shape[1] % length:
            return None
        blocks = now.reshape(len(now), -1, length)
        if not (blocks == blocks[:, :, :1] + steps[:, None, None] * np.arange(length)).all():
            return None
        shape.append(length)
        strides.append(steps)
        now = blocks[:, :, 0]
    return Nest(tuple(shape[::-1]), offsets, tuple(tuple(int(s[k]) for s in strides[::-1]) for k in range(len(operands))))
