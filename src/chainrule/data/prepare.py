"""Making data ready: a held-out split, standardisation, and the batch of a step.

What is random here is a pure function of its seed (and step): there is no generator whose state could be lost, so a
training run that is interrupted goes on with the same batches.

Imports dataset and errors.
"""

import functools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data.dataset import Dataset
from chainrule.errors import DataError, InputError

Array = npt.NDArray[Any]


def shuffled(count: int, seed: int, purpose: str) -> list[int]:
    """The numbers 0 to count - 1 in an order that depends on the seed and on what it is for.

    >>> sorted(shuffled(4, 1337, "doc"))
    [0, 1, 2, 3]
    """
    order = list(range(count))
    # A text seed goes through SHA-512, so streams for different purposes have nothing to do with each other.
    random.Random(f"chainrule {purpose} {seed}").shuffle(order)
    return order


def split(dataset: Dataset, fraction: float = 0.2, seed: int = 1337) -> tuple[Dataset, Dataset | None]:
    """A training part and a held-out part (None when it would be empty), the same for the same seed.

    fraction: the share that is held out, 0 or more and below 1. Classes keep their shares in both parts (rounded), and at
        least one sample of each class stays in training.

    Raises InputError for a fraction out of range.

    >>> from chainrule.data import lecture
    >>> train, test = split(lecture(), 0.5)
    >>> sorted(train.y), sorted(test.y)
    ([0, 1], [0, 1])
    """
    if not 0 <= fraction < 1:
        raise InputError(f"the test fraction must be 0 or more and below 1, not {fraction!r}")
    order = shuffled(len(dataset), seed, "split")
    groups: dict[float, list[int]] = {}
    for i in order:
        groups.setdefault(dataset.y[i] if dataset.classes else 0.0, []).append(i)
    held_out = {i for group in groups.values() for i in group[: min(round(fraction * len(group)), len(group) - 1)]}
    if not held_out:
        return dataset, None
    everyone = range(len(dataset))
    return dataset.pick(i for i in everyone if i not in held_out), dataset.pick(sorted(held_out))


@dataclass(frozen=True)
class Standardizer:
    """Per column a mean and a scale: `(x - mean) / scale` has mean 0 and standard deviation 1 on what it was fitted to.

    A column that never changes gets scale 1. `as_dict()` and the constructor (`Standardizer(**d)`) are its way to a file.

    >>> unit = Standardizer.fit([[1.0, 5.0], [3.0, 5.0]], ("a", "b"))
    >>> unit([[5.0, 5.0]])
    [[3.0, 0.0]]
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "scale", tuple(self.scale))
        if len(self.mean) != len(self.scale) or not all(map(math.isfinite, self.mean)):
            raise DataError("a standardisation needs one finite mean and one scale per column")
        if not all(math.isfinite(scale) and scale > 0 for scale in self.scale):
            raise DataError("a standardisation needs scales above 0")

    @classmethod
    def fit(cls, X: Sequence[Sequence[float]], columns: Sequence[str]) -> "Standardizer":
        """Mean and (population) standard deviation of each column; DataError, naming it, when one overflows."""
        fitted = [_mean_and_scale(column, name) for column, name in zip(zip(*X, strict=True), columns, strict=True)]
        return cls(tuple(mean for mean, _ in fitted), tuple(scale for _, scale in fitted))

    @classmethod
    def identity(cls, columns: Sequence[str]) -> "Standardizer":
        """The one that changes nothing."""
        return cls((0.0,) * len(columns), (1.0,) * len(columns))

    def __call__(self, X: Sequence[Sequence[float]]) -> list[list[float]]:
        """The rows of X, standardised."""
        return [[(x - m) / s for x, m, s in zip(row, self.mean, self.scale, strict=True)] for row in X]

    def inverse(self, X: Sequence[Sequence[float]]) -> list[list[float]]:
        """The rows that would be standardised to X."""
        return [[x * s + m for x, m, s in zip(row, self.mean, self.scale, strict=True)] for row in X]

    def as_dict(self) -> dict[str, list[float]]:
        """Mean and scale as lists, for JSON."""
        return {"mean": list(self.mean), "scale": list(self.scale)}


def _mean_and_scale(column: Sequence[float], name: str) -> tuple[float, float]:
    largest = max(map(abs, column)) or 1.0
    parts = [x / largest for x in column]  # so that neither sums nor squares overflow or vanish
    mean = math.fsum(parts) / len(parts)
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in parts) / len(parts))
    if deviation < 1e-12:  # a column that only differs by rounding holds nothing to learn from
        return mean * largest, 1.0
    if not math.isfinite(deviation * largest * 2) or deviation * largest < 1e-300:
        raise DataError(f"column {name!r}: numbers of the size {largest:g} cannot be standardised; rescale them")
    return mean * largest, deviation * largest


def batch(step: int, size: int, count: int, seed: int) -> list[int]:
    """The sample numbers of a step: the next `size` of an endless row of shuffled epochs, each sample once per epoch.

    step: counted from 0. size: the batch; as large as `count` means every sample, in order.

    Raises InputError for a size out of range.

    >>> sorted(batch(0, 2, 4, 1337) + batch(1, 2, 4, 1337))
    [0, 1, 2, 3]
    """
    if not 1 <= size <= count:
        raise InputError(f"the batch size must be from 1 to {count}, the number of training samples, not {size!r}")
    if size == count:
        return list(range(count))
    return [_epoch(count, seed, k // count)[k % count] for k in range(step * size, (step + 1) * size)]


def drawn_batch(step: int, size: int, count: int, seed: int) -> Array:
    """The sample numbers of a step, each drawn from all `count`, so that one may come twice; shape (size,), int64.

    step: counted from 0. Like `batch` a pure function: the draws of a step depend on nothing that came before.

    >>> drawn_batch(5, 4, 1000, 42).tolist() == drawn_batch(5, 4, 1000, 42).tolist()
    True
    """
    if size < 1 or count < 1:
        raise InputError(f"a batch needs a size of at least 1 and something to draw from, not {size!r} of {count!r}")
    # Drawn in blocks, because starting a generator takes longer than a block of draws.
    steps = max(1, DRAWS_PER_BLOCK // size)
    rows: Array = _draws(step // steps, steps, size, count, seed)[step % steps]
    return rows


DRAWS_PER_BLOCK = 8192


@functools.lru_cache(maxsize=2)
def _draws(block: int, steps: int, size: int, count: int, seed: int) -> Array:
    return np.random.default_rng([seed, block]).integers(0, count, (steps, size))


@functools.lru_cache(maxsize=2)  # a batch touches at most two epochs
def _epoch(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    return tuple(shuffled(count, seed, f"epoch {epoch}"))
