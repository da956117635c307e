"""What a run does: `Config`, every choice in one record, and `configure`, which fills in what was not chosen.

The defaults of each data set are one row of RECIPES. Those of the moons are the micrograd demo's, so `moons` with
nothing chosen gives its net, its points and its losses. Imports data, nn, errors, and compiling, objectives beside it.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

from chainrule import data as datasets
from chainrule.data.misspelled import did_you_mean
from chainrule.data.setting import Setting, SettingError, listed
from chainrule.errors import InputError
from chainrule.nn.perceptron import ACTIVATIONS
from chainrule.train.compiling import why_not
from chainrule.train.names.config import CHOICES, NAMES, NamesConfig, configure_names
from chainrule.train.objectives import OBJECTIVES, SHORT_NAMES, fitting
from chainrule.train.settings import from_dict, not_negative, positive, whole, yes_or_no

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 0.1},
    "adam": {"lr": 0.02},
    "adamw": {"lr": 0.02, "weight_decay": 0.01},
}
"""The optimisers, and the defaults that go with one where it is not the data set's own."""

NETS = ("scalar", "tensor")

FULL_BATCH_UP_TO = 64  # files this small are trained whole; larger ones in batches of BATCH
BATCH = 32


@dataclass(frozen=True)
class Config:
    """Every choice of a run; `configure` makes one, config.json holds one.

    data: the name of a set, or the path of a CSV file.
    target, columns, task: what to learn from the file; see `chainrule.data.read_csv`.
    samples, noise: of a named set; None for its own.
    seed: of the data, the split, the weights and the batches.
    test_fraction: the share of the samples held out of training.
    standardize: whether features (and targets of a regression) are given mean 0 and deviation 1, as in the training part.
    net: what it is made of: "scalar" takes each sample by itself, one Value at a time; "tensor" takes a batch as arrays.
    hidden: the sizes of the hidden layers. activation, output_activation: as in `chainrule.nn.MLP`.
    loss: a key of OBJECTIVES. l2: the factor of the sum of all squared parameters that is added to it.
    optimizer, momentum, weight_decay: as in `chainrule.optim`; momentum is for sgd alone.
    lr: the learning rate of the first step; it falls in a straight line, over all steps, to a tenth of that.
    steps: how many. batch_size: samples per step; None for all.
    compile: whether steps are taken by a program that is made of the net and its loss; `configure` decides by `why_not`.

    Raises InputError for what cannot be.
    """

    data: str
    target: str | None = None
    columns: tuple[str, ...] | None = None
    task: str | None = None
    samples: int | None = None
    noise: float | None = None
    seed: int = 1337
    test_fraction: float = 0.2
    standardize: bool = True
    hidden: tuple[int, ...] = (16, 16)
    activation: str = "relu"
    output_activation: str = "linear"
    loss: str | None = None
    l2: float = 1e-4
    optimizer: str = "adam"
    lr: float = 0.02
    momentum: float = 0.0
    weight_decay: float = 0.0
    steps: int = 300
    batch_size: int | None = None
    net: str = "scalar"
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("columns", "hidden"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, known in _CHOICES.items():
            _one_of(name, getattr(self, name), known)
        for name, least in _WHOLE.items():
            whole(name, getattr(self, name), least)
        for size in self.hidden:
            whole("hidden", size, 1)
        for name in ("l2", "momentum", "weight_decay"):
            not_negative(name, getattr(self, name))
        positive("lr", self.lr)
        yes_or_no("compile", self.compile)
        if self.momentum >= 1:
            raise SettingError(Setting("momentum"), f" must be below 1, not {self.momentum!r}")
        if self.momentum and self.optimizer != "sgd":
            raise SettingError(Setting("momentum"), f" belongs to sgd; {self.optimizer} has its own")
        if not 0 <= self.test_fraction < 1:
            raise SettingError(Setting("test_fraction"), f" must be 0 or more and below 1, not {self.test_fraction!r}")

    def load(self) -> datasets.Dataset:
        """The data set, read or drawn anew. Raises InputError or DataError."""
        if self.data in datasets.NAMES:
            if self.target is not None or self.columns is not None or self.task is not None:
                of_files = listed(["target", "columns", "task"])
                raise SettingError(f"{self.data!r} is a named data set: ", *of_files, " are for CSV files")
            return datasets.load(self.data, samples=self.samples, noise=self.noise, seed=self.seed)
        if self.samples is not None or self.noise is not None:
            known = ", ".join(datasets.NAMES)
            raise SettingError(*listed(["samples", "noise"]), f" are for the named data sets ({known}), not for a file")
        return datasets.read_csv(self.data, self.target, columns=self.columns, task=self.task)

    @property
    def name(self) -> str:
        """The data set's name, or the file's without its ending."""
        return self.data if self.data in datasets.NAMES else Path(self.data).stem

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON; `net` and `compile` where they are not as they were before there was a choice."""
        fields = {name: list(x) if isinstance(x, tuple) else x for name, x in dataclasses.asdict(self).items()}
        return {name: x for name, x in fields.items() if name not in ("net", "compile") or x != getattr(Config, name)}

    @classmethod
    def from_dict(cls, fields: Any) -> "Config":
        """The Config of `as_dict`; ModelFileError for anything else."""
        return from_dict(cls, fields)


RECIPES: dict[str, dict[str, Any]] = {
    "moons": {"optimizer": "sgd", "lr": 1.0, "steps": 100, "test_fraction": 0.0, "standardize": False},
    "circles": {"optimizer": "sgd", "lr": 1.0, "steps": 100, "test_fraction": 0.0, "standardize": False},
    "blobs": {"steps": 100, "test_fraction": 0.0},
    "iris": {"steps": 200},
    "digits": {"net": "tensor", "hidden": (64,), "lr": 0.01, "steps": 1500},
    "lecture": {
        "hidden": (4, 4),
        "activation": "tanh",
        "output_activation": "tanh",
        "loss": "mse",
        "l2": 0.0,
        "optimizer": "sgd",
        "lr": 0.2,
        "steps": 50,
        "test_fraction": 0.0,
        "standardize": False,
    },
}
"""Where a data set's defaults differ from those of Config."""

SCALAR_RECIPES: dict[str, dict[str, Any]] = {"digits": {"hidden": (16,), "steps": 600}}
"""The same for sets that a net of tensors is the default for, when a net of scalars was chosen: a step takes it longer."""

WHOLE = ("moons", "circles", "blobs", "lecture")
"""The sets that are trained whole by default. A batch asked for there is a noisier guide, so by default it gets
BATCH_STEPS times as many steps and, with sgd, BATCH_LR times the learning rate: that brings moons to 100 % as well."""
BATCH_STEPS, BATCH_LR = 3, 0.5


@overload
def configure(source: Literal["names"], **chosen: Any) -> tuple[NamesConfig, datasets.Words]: ...
@overload
def configure(source: str, **chosen: Any) -> tuple[Config, datasets.Dataset]: ...
def configure(source: str, **chosen: Any) -> Any:
    """The settings of a run on `source`, and its data.

    source: the name of a data set, the path of a CSV file, or "names".
    chosen: fields of Config, or for names of NamesConfig; those left out, or None, are filled in from RECIPES, from the data,
        or by Config.

    Raises InputError or DataError in one sentence.

    >>> config, points = configure("lecture", steps=20)
    >>> config.steps, config.hidden, config.loss, len(points)
    (20, (4, 4), 'mse', 4)
    """
    known = [field.name for field in dataclasses.fields(Config)]
    for name in chosen:
        if name not in known and name not in CHOICES:
            raise InputError(f"unknown setting {name!r}{did_you_mean(name, known)}")
    chosen = {name: x for name, x in chosen.items() if x is not None}
    if source == NAMES:
        return configure_names(chosen)
    of_names = next((name for name in chosen if name not in known), None)
    if of_names is not None:
        what = " (a list of words)" if of_names == "file" else ""
        raise SettingError(Setting(of_names), f"{what} is for runs on names (chainrule train names), not for {source}")
    if "loss" in chosen:
        chosen["loss"] = SHORT_NAMES.get(chosen["loss"], chosen["loss"])
    recipe = {**_recipe(source, chosen), **chosen}
    config = Config(data=_located(source), **recipe)
    if source.endswith(".txt") and config.target is None and Path(source).is_file():
        raise InputError(
            f"say which column is to be learned (--target NAME), or for a list of words: chainrule train names --data {source}"
        )
    points = config.load()
    return _fitted(config, points, chosen), points


def _recipe(source: str, chosen: dict[str, Any]) -> dict[str, Any]:
    """The defaults for a source, with the learning rate that fits the optimiser, when that was chosen."""
    recipe = dict(RECIPES.get(source, {}))
    if chosen.get("net", recipe.get("net")) == "scalar":
        recipe = dict(SCALAR_RECIPES.get(source, recipe))
    if chosen.get("optimizer", recipe.get("optimizer", Config.optimizer)) != recipe.get("optimizer", Config.optimizer):
        recipe |= OPTIMIZERS.get(chosen["optimizer"], {})
    if isinstance(chosen.get("momentum"), float) and 0 < chosen["momentum"] < 1:
        # Momentum m repeats each step 1 / (1 - m) times over; this keeps the sum.
        recipe["lr"] = recipe.get("lr", Config.lr) * (1 - chosen["momentum"])
    return recipe


def _located(source: str) -> str:
    """The source as it is kept: a file by its full path, so that a run can be resumed from elsewhere."""
    if source in datasets.NAMES:
        return source
    path = Path(source)
    if source == "-":
        raise InputError("a run needs a file that can be read again to resume it, so not standard input: save it first")
    if not path.exists() and not path.suffix and len(path.parts) == 1:
        hint, known = did_you_mean(source, (*datasets.NAMES, NAMES)), ", ".join((*datasets.NAMES, NAMES))
        raise InputError(f"there is no data set and no file {source!r}{hint} (data sets: {known})")
    return str(path.absolute())


def _fitted(config: Config, points: datasets.Dataset, chosen: dict[str, Any]) -> Config:
    """The same settings with the choices that depend on the data made."""
    losses = fitting(points.task)
    loss = config.loss or losses[0]
    if loss not in losses:
        raise InputError(f"the loss {loss} does not fit {points.name}, which is a {points.task} task; use {' or '.join(losses)}")
    train, _ = datasets.split(points, config.test_fraction, config.seed)
    size = config.batch_size
    if size is None and config.data not in WHOLE and len(train) > FULL_BATCH_UP_TO:
        size = BATCH
    if size is not None and size > len(train):
        most = f"{len(train)}, the number of training samples"
        raise SettingError(Setting("batch_size"), f" must be from 1 to {most}, not {size}")
    steps, lr = config.steps, config.lr
    if config.data in WHOLE and size is not None and size < len(train):
        steps = steps if "steps" in chosen else steps * BATCH_STEPS
        lr = lr if "lr" in chosen or config.optimizer != "sgd" else lr * BATCH_LR
    compiled = chosen.get("compile", not why_not(steps, config.net))
    return dataclasses.replace(config, loss=loss, batch_size=size, steps=steps, lr=lr, compile=compiled)


_CHOICES: dict[str, tuple[Any, ...]] = {
    "activation": ACTIVATIONS,
    "output_activation": ACTIVATIONS,
    "optimizer": tuple(OPTIMIZERS),
    "loss": (*OBJECTIVES, None),
    "net": NETS,
}
_WHOLE = {"steps": 1, "seed": 0, "batch_size": 1, "samples": 1}


def _one_of(name: str, x: Any, known: tuple[Any, ...]) -> None:
    if x not in known:
        words = [word for word in known if word]
        raise InputError(f"unknown {name} {x!r}{did_you_mean(x, words)} (known: {', '.join(words)})")
