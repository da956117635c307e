"""The named data sets: `load("moons")`, or `moons()` and its sisters for their options.

moons, circles and blobs are drawn at random from their seed; digits and iris are scikit-learn's copies of the two
classics; `lecture` is the four examples on which the lecture trains MLP(3, [4, 4, 1]).

Imports dataset, misspelled, prepare, setting and errors; scikit-learn at use.
"""

import importlib
import inspect
import math
from collections.abc import Callable
from typing import Any

from chainrule.data.dataset import Dataset
from chainrule.data.misspelled import did_you_mean
from chainrule.data.prepare import shuffled
from chainrule.data.setting import Setting, SettingError
from chainrule.errors import InputError, MissingDependencyError

XY = ("x1", "x2")


def moons(samples: int = 100, noise: float = 0.1, seed: int = 1337) -> Dataset:
    """Two interleaving half circles in the plane, classes 'upper' and 'lower'.

    samples: how many points (default 100). noise: standard deviation added to both coordinates. seed: of the draw;
    1337 gives the points of the micrograd demo.
    """
    X, y = _sklearn().make_moons(n_samples=_count(samples, 2), noise=_noise(noise), random_state=_seed(seed))
    return _dataset("moons", X, y, XY, ("upper", "lower"))


def circles(samples: int = 100, noise: float = 0.1, seed: int = 1337) -> Dataset:
    """A circle inside another (half its radius), classes 'outer' and 'inner'; the options are those of `moons`."""
    draw = _sklearn().make_circles
    X, y = draw(n_samples=_count(samples, 2), noise=_noise(noise), factor=0.5, random_state=_seed(seed))
    return _dataset("circles", X, y, XY, ("outer", "inner"))


def blobs(samples: int = 100, noise: float = 1.0, seed: int = 1337) -> Dataset:
    """Three round clouds in the plane, classes 'a', 'b' and 'c'; noise is their standard deviation (default 1.0)."""
    draw = _sklearn().make_blobs
    X, y = draw(n_samples=_count(samples, 3), centers=3, cluster_std=_noise(noise), random_state=_seed(seed))
    return _dataset("blobs", X, y, XY, ("a", "b", "c"))


def digits(samples: int | None = None, seed: int = 1337) -> Dataset:
    """1,797 handwritten digits of 8 x 8 grey levels from 0 to 16, ten classes.

    samples: take that many, drawn with `seed`; default all.
    """
    bunch = _sklearn().load_digits()
    columns = tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8))
    whole = _dataset("digits", bunch.data, bunch.target, columns, tuple("0123456789"), "digit")
    return _some(whole, samples, seed)


def iris(samples: int | None = None, seed: int = 1337) -> Dataset:
    """150 flowers of three species, measured in four lengths in centimetres; `samples` as for `digits`."""
    bunch = _sklearn().load_iris()
    columns = ("sepal_length", "sepal_width", "petal_length", "petal_width")
    whole = _dataset("iris", bunch.data, bunch.target, columns, ("setosa", "versicolor", "virginica"), "species")
    return _some(whole, samples, seed)


def lecture() -> Dataset:
    """The lecture's four examples: three numbers each, targets 1, -1, -1, 1. Needs nothing installed.

    >>> lecture().y
    [1, 0, 0, 1]
    """
    X = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
    return Dataset("lecture", X, [1, 0, 0, 1], ("x1", "x2", "x3"), "y", ("-1", "1"))


_MAKERS: dict[str, tuple[Callable[..., Dataset], tuple[str, ...]]] = {
    "blobs": (blobs, ("samples", "noise", "seed")),
    "circles": (circles, ("samples", "noise", "seed")),
    "digits": (digits, ("samples", "seed")),
    "iris": (iris, ("samples", "seed")),
    "lecture": (lecture, ()),
    "moons": (moons, ("samples", "noise", "seed")),
}
NAMES = tuple(_MAKERS)
"""The names that `load` knows."""


def load(name: str, *, samples: int | None = None, noise: float | None = None, seed: int = 1337) -> Dataset:
    """The data set of that name.

    samples, noise: None for the set's own default; InputError where the set has no such option.

    Raises InputError for an unknown name, MissingDependencyError without scikit-learn.

    >>> len(load("lecture"))
    4
    """
    if name not in _MAKERS:
        raise InputError(f"unknown data set {name!r}{did_you_mean(name, NAMES)} (known: {', '.join(NAMES)})")
    make, known = _MAKERS[name]
    options = {"samples": samples, "noise": noise}
    for option, x in options.items():
        if x is not None and option not in known:
            raise SettingError(f"the data set {name!r} is what it is: it takes no ", Setting(option))
    if "seed" in known:
        options["seed"] = seed
    return make(**{option: x for option, x in options.items() if x is not None})


def default_noise(name: str) -> float | None:
    """The noise that `load(name)` draws with; None for data that are not drawn.

    >>> default_noise("blobs"), default_noise("iris")
    (1.0, None)
    """
    make, known = _MAKERS.get(name, (None, ()))
    return inspect.signature(make).parameters["noise"].default if make is not None and "noise" in known else None


def _dataset(name: str, X: Any, y: Any, columns: tuple[str, ...], classes: tuple[str, ...], target: str = "label") -> Dataset:
    return Dataset(name, X.tolist(), [int(k) for k in y], columns, target, classes)


def _some(whole: Dataset, samples: int | None, seed: int) -> Dataset:
    if samples is None:
        return whole
    least = len(whole.classes or ())
    if not least <= _count(samples, least) <= len(whole):
        limits = f" goes from {least} to {len(whole)}, not {samples}"
        raise SettingError(f"{whole.name} has {len(whole)} samples, so ", Setting("samples"), limits)
    return _stratified(whole, samples, _seed(seed))


def _stratified(whole: Dataset, samples: int, seed: int) -> Dataset:
    queues = [[i for i in shuffled(len(whole), seed, "subset") if whole.y[i] == k] for k in range(len(whole.classes or ()))]
    # Taken in turn, class by class, until there are enough: so every class stays in.
    turns = sorted((turn, k, i) for k, queue in enumerate(queues) for turn, i in enumerate(queue))
    return whole.pick(sorted(i for _, _, i in turns[:samples]))


def _sklearn() -> Any:
    try:
        return importlib.import_module("sklearn.datasets")
    except ImportError:
        raise MissingDependencyError(
            "this data set comes with scikit-learn; install it with: pip install 'chainrule[train]'"
        ) from None


def _count(samples: int, least: int) -> int:
    if not isinstance(samples, int) or samples < least:
        raise SettingError(Setting("samples"), f" must be a whole number of at least {least}, not {samples!r}")
    return samples


def _noise(noise: float) -> float:
    if not (math.isfinite(noise) and noise >= 0):
        raise SettingError(Setting("noise"), f" is a standard deviation, so it must be 0 or more, not {noise!r}")
    return noise


def _seed(seed: int) -> int:
    if not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InputError(f"a seed is a whole number from 0 to 4294967295, not {seed!r}")
    return seed
