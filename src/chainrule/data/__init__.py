"""Data to learn from: named sets, CSV files, lists of words, held-out splits, standardisation and batches.

>>> from chainrule import data
>>> points = data.load("lecture")
>>> points.X[0], points.classes[points.y[0]]
([2.0, 3.0, -1.0], '1')

A `Dataset` is a plain record of Python lists, checked where it is made: every number finite, every row as long as the
first. Everything random takes a seed and draws from a generator of its own, so the global `random` state, from which
nets draw their weights, stays as it was.

Words to learn spelling from are in words.py: `read_words`, a `Vocabulary`, `split_words` and `context_windows`.

Left out on purpose: pictures, running text, missing values, categories as features. Imports errors only; scikit-learn, which
makes the named sets, and Faker, which carries names, are imported when asked for.
"""

from chainrule.data.dataset import Dataset
from chainrule.data.files import read_csv, read_rows
from chainrule.data.named import NAMES, blobs, circles, default_noise, digits, iris, lecture, load, moons
from chainrule.data.prepare import Standardizer, batch, drawn_batch, split
from chainrule.data.words import (
    Vocabulary,
    Words,
    context_windows,
    english_names,
    read_words,
    split_words,
    unsplit_words,
)

__all__ = [
    "NAMES",
    "Dataset",
    "Standardizer",
    "Vocabulary",
    "Words",
    "batch",
    "blobs",
    "circles",
    "context_windows",
    "default_noise",
    "digits",
    "drawn_batch",
    "english_names",
    "iris",
    "lecture",
    "load",
    "moons",
    "read_csv",
    "read_rows",
    "read_words",
    "split",
    "split_words",
    "unsplit_words",
]
