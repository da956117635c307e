"""`Dataset`: rows of numbers, what is to be learned from them, and their names; it validates itself where it is made.

Imports errors.
"""

import hashlib
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from chainrule.errors import DataError

LARGEST = 1e100
"""The largest size of a number that can be learned from: its square, and sums of such, are far from overflowing."""
TOO_LARGE = f"too large; numbers up to {LARGEST:g} can be learned from, so rescale the column"


@dataclass(frozen=True)
class Dataset:
    """Samples with targets.

    name: what messages call it; the file name for a file.
    X: one list of floats per sample, all of one length.
    y: per sample the number of its class, or the number to predict when `classes` is None (regression).
    columns: the names of the features.
    target: the name of what is to be learned.
    classes: the names of the classes in the order of their numbers, or None for regression.

    Raises DataError when the parts do not fit together, or a number is not finite or larger than LARGEST.

    >>> Dataset("two points", [[0.0], [1.0]], [0, 1], ("x",), "label", ("no", "yes")).task
    'binary'
    """

    name: str
    X: list[list[float]]
    y: list[float]
    columns: tuple[str, ...]
    target: str = "label"
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.X or not self.columns:
            raise DataError(f"{self.name}: there are no {'samples' if not self.X else 'feature columns'} to learn from")
        if len(self.y) != len(self.X):
            raise DataError(f"{self.name}: {len(self.X)} sample{'s' * (len(self.X) != 1)} but {len(self.y)} targets")
        for i, row in enumerate(self.X):
            if len(row) != len(self.columns):
                raise DataError(
                    f"{self.name}, sample {i}: {len(row)} numbers for {len(self.columns)} column{'s' * (len(self.columns) != 1)}"
                )
            for column, x in zip((*self.columns, self.target), (*row, self.y[i]), strict=True):
                if not math.isfinite(x):
                    raise DataError(f"{self.name}, sample {i}, column {column!r}: {x} is not a finite number")
                if abs(x) > LARGEST:
                    raise DataError(f"{self.name}, sample {i}, column {column!r}: {x:g} is {TOO_LARGE}")
        if self.classes is not None:
            self._expect_classes(self.classes)

    def _expect_classes(self, classes: tuple[str, ...]) -> None:
        found = set(self.y)
        if not found <= set(range(len(classes))):
            raise DataError(f"{self.name}: class numbers go from 0 to {len(classes) - 1}, not {sorted(found)}")
        if len(classes) < 2:
            raise DataError(f"{self.name}, column {self.target!r}: every sample is {classes[0]!r}; learning needs two classes")

    def __len__(self) -> int:
        return len(self.X)

    @property
    def task(self) -> str:
        """What learning it is called: 'binary', 'multiclass' or 'regression'."""
        if self.classes is None:
            return "regression"
        return "binary" if len(self.classes) == 2 else "multiclass"

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change when any number or name in it changes."""
        names = "\0".join((self.target, *self.columns, "", *(self.classes or ())))
        digest = hashlib.sha256(names.encode())
        for row, y in zip(self.X, self.y, strict=True):
            digest.update(struct.pack(f"<{len(row) + 1}d", *row, y))
        return digest.hexdigest()[:16]

    def pick(self, indices: Iterable[int]) -> "Dataset":
        """The samples of these numbers, in this order, as a Dataset."""
        chosen = list(indices)
        return Dataset(
            self.name, [self.X[i] for i in chosen], [self.y[i] for i in chosen], self.columns, self.target, self.classes
        )
