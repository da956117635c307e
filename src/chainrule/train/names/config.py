"""What a run on names does: `NamesConfig`, and `configure_names`, which fills in what was not chosen.

Imports data and errors, and compiling, settings beside the package.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chainrule import data as datasets
from chainrule.data import Words
from chainrule.data.setting import Setting, SettingError, listed
from chainrule.errors import InputError
from chainrule.train.compiling import why_not
from chainrule.train.settings import from_dict, positive, seed, whole, yes_or_no

NAMES = "names"
"""What such a run is called where others are called by their data set."""

MOST_STEPS, PASSES = 200_000, 36
"""The lecture's 200,000 batches of 32 are 35 passes over its rows. A shorter list is learned by heart with so many steps, so by
default it gets no more than PASSES passes."""
ROWS = 1000  # of metrics.csv, about
LR_FALLS = 10  # times, in the second half of the steps


@dataclass(frozen=True)
class NamesConfig:
    """Every choice of a run on names; `configure_names` makes one, config.json holds one.

    data: "names". file: the path of the list; None for the English first names of Faker.
    context: how many characters the net sees before the one it is to tell (default 3).
    embedding: how many numbers stand for a character (default 10). hidden: the size of the hidden layer (default 200).
    batch_size: rows per step, drawn with replacement, at least 2 for BatchNorm (default 32).
    lr: the learning rate of the first half of the steps; that of the second is a tenth (default 0.1).
    steps: how many (default 200,000, and for a short list 36 passes over it).
    seed: of the split, the weights and the batches (default 42, the lecture's).
    window: how many steps a row of metrics.csv is the mean of (default a thousandth of the steps).
    compile: whether steps are taken by a program that is made of the network; `configure` decides by `why_not`.
    optimizer, loss: "sgd" and "cross_entropy"; there is no choice.

    Raises InputError for what cannot be.
    """

    data: str = NAMES
    file: str | None = None
    context: int = 3
    embedding: int = 10
    hidden: int = 200
    batch_size: int = 32
    lr: float = 0.1
    steps: int = MOST_STEPS
    seed: int = 42
    window: int = 1
    optimizer: str = "sgd"
    loss: str = "cross_entropy"
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("context", "embedding", "hidden", "steps", "window"):
            whole(name, getattr(self, name), 1)
        if self.batch_size == 1:
            why = "BatchNorm takes the variance over the batch, and one row has none"
            raise SettingError(Setting("batch_size"), f" must be at least 2: {why}")
        whole("batch_size", self.batch_size, 2)
        seed(self.seed)
        positive("lr", self.lr)
        yes_or_no("compile", self.compile)
        if (self.data, self.optimizer, self.loss) != (NAMES, "sgd", "cross_entropy"):
            raise InputError("a run on names is trained with sgd on the cross_entropy loss")

    def load(self) -> Words:
        """The list, read anew. Raises DataError, MissingDependencyError without Faker."""
        return datasets.english_names() if self.file is None else datasets.read_words(self.file)

    @property
    def name(self) -> str:
        """Names, or the file's name without its ending."""
        return NAMES if self.file is None else Path(self.file).stem

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON; `compile` where it is True, so that files from before there was a choice are read."""
        return {name: x for name, x in dataclasses.asdict(self).items() if name != "compile" or x}

    @classmethod
    def from_dict(cls, fields: Any) -> "NamesConfig":
        """The NamesConfig of `as_dict`; ModelFileError for anything else."""
        return from_dict(cls, fields)


CHOICES = tuple(f.name for f in dataclasses.fields(NamesConfig) if f.name not in ("data", "optimizer", "loss"))
"""What can be chosen."""


def configure_names(chosen: dict[str, Any]) -> tuple[NamesConfig, Words]:
    """The settings of a run on names, and its words; `configure` calls this.

    chosen: fields of NamesConfig, none of them None; hidden may be a tuple of one size.
    """
    for name in chosen:
        if name not in CHOICES:
            given = [name for name in CHOICES if name not in ("file", "window", "compile")]
            takes = (Setting("file"), " (a list of words), ", *listed(given))
            raise SettingError(Setting(name), " does not belong to names, which takes ", *takes)
    if isinstance(chosen.get("hidden"), tuple):
        if len(chosen["hidden"]) != 1:
            count = len(chosen["hidden"])
            raise SettingError("the names network has one hidden layer, so ", Setting("hidden"), f" is one size, not {count}")
        chosen = {**chosen, "hidden": chosen["hidden"][0]}
    if "file" in chosen:
        # By its full path, so that a run can be resumed from elsewhere.
        chosen = {**chosen, "file": str(_located(str(chosen["file"])).absolute())}
    config = NamesConfig(**chosen)
    words = config.load()
    steps = config.steps if "steps" in chosen else _fitting_steps(config, words)
    window = config.window if "window" in chosen else max(1, steps // ROWS)
    compiled = chosen.get("compile", not why_not(steps, "tensor"))
    return dataclasses.replace(config, steps=steps, window=window, compile=compiled), words


def _located(path: str) -> Path:
    if path == "-":
        raise InputError("a run needs a file that can be read again to resume it, so not standard input: save it first")
    if not path.strip():
        raise InputError("the list of words has an empty name")
    return Path(path)


def _fitting_steps(config: NamesConfig, words: Words) -> int:
    training, _, _ = datasets.split_words(words.words, config.seed)
    rows = sum(len(word) + 1 for word in training)
    return min(MOST_STEPS, math.ceil(PASSES * rows / config.batch_size))
