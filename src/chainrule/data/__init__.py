"""Data to learn from: named sets, CSV files, a held-out split, standardisation and batches.

>>> from chainrule import data
>>> points = data.load("lecture")
>>> points.X[0], points.classes[points.y[0]]
([2.0, 3.0, -1.0], '1')

A `Dataset` is a plain record of Python lists, checked where it is made: every number finite, every row as long as the
first. Everything random takes a seed and draws from a generator of its own, so the global `random` state, from which
nets draw their weights, stays as it was.

Left out on purpose: pictures, text, missing values, categories as features. Imports errors only; scikit-learn, which
makes the named sets, is imported when one of them is asked for.
"""

from chainrule.data.dataset import Dataset
from chainrule.data.files import read_csv, read_rows
from chainrule.data.named import NAMES, blobs, circles, default_noise, digits, iris, lecture, load, moons
from chainrule.data.prepare import Standardizer, batch, split

__all__ = [
    "NAMES",
    "Dataset",
    "Standardizer",
    "batch",
    "blobs",
    "circles",
    "default_noise",
    "digits",
    "iris",
    "lecture",
    "load",
    "moons",
    "read_csv",
    "read_rows",
    "split",
]
