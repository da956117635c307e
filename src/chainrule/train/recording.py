"""What was recorded of a run on its way: `Recording`, and the file that keeps it, recording.safetensors.

It lies beside the checkpoint and holds all that report.py draws, but for the curves of metrics.csv; it is never pickle. A run
does not need it: without it, or with one that does not fit, the run goes on and records from there on. Imports errors, and
tensorfile beside it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from chainrule.errors import ModelFileError
from chainrule.train import tensorfile

Array = npt.NDArray[Any]

FILE = "recording.safetensors"
FARTHEST = 1e30  # what is beyond, of a run that runs away, is shown there: axes up to 1e300 overflow in matplotlib


class Note(NamedTuple):
    """What a step did to the parameters, one row per group of them (a matrix, a vector of biases).

    gradient: shape (groups, 3): mean, standard deviation and largest size; the deviation of a single number is NaN.
    ratio: shape (groups,): the standard deviation of the update over that of the weights before it; NaN where those are alike.
    """

    step: int
    lr: float
    gradient: Array
    ratio: Array


class View(NamedTuple):
    """What the net showed after so many steps.

    counts: shape (layers, bins): how many activations fall into each of the bins between `bounds`, shape (layers, 2).
    shares: shape (layers, 2): of the activations that are saturated, and of the units that are dead; NaN where there is no
        such thing. probe.py says what these are.
    field: the k outputs at each point of the grid, shape (k, side, side); k is 0 where the data have no two features.
    """

    step: int
    counts: Array
    bounds: Array
    shares: Array
    field: Array


STATIC = ("axes", "training", "held_out")
"""What a recording has of the data: the grid's two axes, shape (2, side), and points, shape (n, 3): x, y and the target."""


@dataclass
class Recording:
    """Everything that was recorded of a run.

    facts: for JSON: names, sizes and sentences, those that KNOWN lists among them.
    arrays: those of STATIC, and `confusion`, shape (classes, classes): how often a class (the row) was taken for each; empty
        where there are no classes.
    words: what the net spelled after so many steps; of names alone.
    """

    facts: dict[str, Any]
    arrays: dict[str, Array]
    notes: list[Note] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    words: list[tuple[int, list[str]]] = field(default_factory=list)

    @property
    def parameters(self) -> list[str]:
        """The names of the groups of parameters."""
        return [str(name) for name, _ in self.facts["parameters"]]

    @property
    def layers(self) -> list[tuple[str, str]]:
        """The names of the layers, each with its activation function."""
        return [(str(name), str(activation)) for name, activation in self.facts["layers"]]

    def before(self, step: int) -> "Recording":
        """What was recorded before that step, for a run that goes on from there."""
        return Recording(
            self.facts,
            self.arrays,
            [note for note in self.notes if note.step < step],
            [view for view in self.views if view.step < step],
            [(at, words) for at, words in self.words if at < step],
        )

    def encode(self) -> bytes:
        """The content of the file."""
        tensors = dict(self.arrays)
        for name, rows, kind in (("note", self.notes, Note), ("view", self.views, View)):
            for key, column in zip(kind._fields, zip(*rows, strict=True), strict=bool(rows)):
                tensors[f"{name}/{key}"] = np.stack([np.asarray(x) for x in column])
        return tensorfile.encode("recording", {"facts": self.facts, "words": self.words}, tensors)


KNOWN: dict[str, Any] = {
    "run": dict,
    "data": str,
    "step": int,
    "steps": int,
    "about": list,
    "batches": bool,
    "measure": str,
    "columns": list,
    "target": str,
    "classes": (list, type(None)),
    "parameters": list,
    "layers": list,
}
"""The facts that every recording has, and their types. `run` tells which run it is of; see watch.py."""


def read(run: str | Path) -> Recording:
    """The recording of a run.

    run: its folder, or the file. ModelFileError in one sentence when there is none, or it does not hold together.
    """
    path = Path(run)
    path = path / FILE if path.is_dir() else path
    if not path.exists():
        raise ModelFileError(
            f"there is no {path}, so nothing to draw: a run records itself from its first step on, unless with --no-report"
        )
    facts, tensors = tensorfile.read(path, "recording")
    try:
        found = Recording(
            facts["facts"],
            {name: x for name, x in tensors.items() if "/" not in name},
            _rows(Note, "note", tensors),
            _rows(View, "view", tensors),
            [(int(step), [str(word) for word in words]) for step, words in facts["words"]],
        )
        _expect_whole(found)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        raise ModelFileError(f"{path}: the recording does not hold together: a part is missing or malformed") from None
    return found


def _rows(kind: Any, name: str, tensors: tensorfile.Tensors) -> list[Any]:
    if f"{name}/step" not in tensors:
        return []
    columns = [tensors[f"{name}/{key}"] for key in kind._fields]
    return [kind(int(step), *rest) for step, *rest in zip(*columns, strict=True)]


def _expect_whole(found: Recording) -> None:
    """Raise what `read` turns into a sentence when the parts do not fit each other."""
    groups, layers, facts, arrays = len(found.parameters), len(found.layers), found.facts, found.arrays
    fits = [isinstance(facts[name], kind) for name, kind in KNOWN.items()]
    fits += [arrays["axes"].shape[0] == 2, arrays["training"].shape[1:] == arrays["held_out"].shape[1:] == (3,)]
    fits += [arrays["confusion"].shape in [(n, n) for n in (0, len(facts["classes"] or ()))], len(found.views) > 0]
    fits += [note.gradient.shape == (groups, 3) and note.ratio.shape == (groups,) for note in found.notes]
    fits += [view.counts.shape[0] == layers and view.bounds.shape == view.shares.shape == (layers, 2) for view in found.views]
    fits += [view.field.shape[1:] == 2 * arrays["axes"].shape[1:] for view in found.views]
    if not all(fits):
        raise ValueError
