"""The whole state of a run in one file: `encode` and `restore`.

The file holds weights, optimiser, settings, the history that metrics.csv shows, and a fingerprint of the data. There is
no generator to save: batches and the learning rate are functions of the step. It is the same for every kind of run (kinds.py).
Imports nn, errors, and kinds, model, tensorfile beside it.
"""

from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, ModelFileError
from chainrule.nn import modelfile
from chainrule.train import tensorfile
from chainrule.train.kinds import Trainer, kind_of
from chainrule.train.model import load_weights

WEIGHTS, HISTORY, MEMORY = "weights/", "history/", "memory/"


def encode(trainer: Trainer, *, diverged: bool = False) -> bytes:
    """The content of checkpoint.safetensors. diverged: whether the next step cannot be done, as numbers run away."""
    weights, fields = modelfile.fold(trainer.net.state_dict()), trainer.record_type._fields
    columns = zip(*trainer.history, strict=True) if trainer.history else [()] * len(fields)
    tensors = {WEIGHTS + name: tensor for name, tensor in weights.items()}
    for name, column in zip(fields, columns, strict=True):
        tensors[HISTORY + name] = np.array(column, dtype=np.float64)
    facts = {
        **trainer.progress(),
        "config": trainer.config.as_dict(),
        "optimizer": _without_arrays(trainer.optimizer.state_dict(), tensors),
        "fingerprint": trainer.fingerprint,
        "engine": trainer.engine,
    }
    if diverged:
        facts[tensorfile.DIVERGED] = trainer.step
    if trainer.compiled is not None and trainer.compiled.executor is not None:
        facts["executor"] = trainer.compiled.executor
    return tensorfile.encode("checkpoint", facts, tensors)


def _without_arrays(state: dict[str, Any], tensors: tensorfile.Tensors) -> dict[str, Any]:
    """An optimiser's state whose arrays are among the tensors instead, each with its name in its place."""
    memory: dict[str, list[Any]] = {}
    for name, entries in state["memory"].items():
        memory[name] = list(entries)
        for i, entry in enumerate(entries):
            if isinstance(entry, (list, np.ndarray)):
                memory[name][i] = f"{MEMORY}{name}/{i}"
                tensors[memory[name][i]] = np.array(entry, dtype=np.float64)
    return {**state, "memory": memory}


def _with_arrays(state: dict[str, Any], tensors: tensorfile.Tensors) -> dict[str, Any]:
    memory = {
        name: [tensors[entry] if isinstance(entry, str) else entry for entry in entries]
        for name, entries in state["memory"].items()
    }
    return {**state, "memory": memory}


class Checkpoint:
    """A checkpoint that was read: its settings, and `restore`, which makes a Trainer of it.

    Raises ModelFileError for a file that is missing, truncated or foreign.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts, self.tensors = tensorfile.read(path, "checkpoint")
        self.kind = kind_of(self.facts.get("config"))
        self.config: Any = self.kind.settings.from_dict(self.facts.get("config"))
        self.engine = self.facts.get("engine")
        self.executor = self.facts.get("executor")

    def load(self, config: Any, folder: Path) -> Any:
        """The data to go on with. config: the settings; folder: of the run."""
        return self.kind.load(config, folder, self.facts.get("fingerprint"))

    def restore(self, config: Any, points: Any) -> Trainer:
        """A trainer in the state of the checkpoint.

        config: the settings to go on with; equal to those of the checkpoint but for `steps`. points: their data.

        Raises ModelFileError when the data changed since, or the parts of the file do not fit each other.
        """
        if points.fingerprint != self.facts.get("fingerprint"):
            raise ModelFileError(f"{self.path}: the data of {points.name} are not those that the run began with")
        trainer = self.kind.trainer(config, points)
        load_weights(self.path, trainer.net, self._part(WEIGHTS))
        try:
            trainer.optimizer.load_state_dict(_with_arrays(self.facts["optimizer"], self.tensors))
            trainer.restore_progress(self.facts, self._history(trainer.record_type))
        except ChainruleError as error:
            raise ModelFileError(f"{self.path}: the state of the run does not hold together: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            raise ModelFileError(f"{self.path}: the state of the run does not hold together: a part is malformed") from None
        return trainer

    def _part(self, prefix: str) -> tensorfile.Tensors:
        return {name.removeprefix(prefix): x for name, x in self.tensors.items() if name.startswith(prefix)}

    def _history(self, record: Any) -> list[Any]:
        columns: list[list[Any]] = [self._part(HISTORY)[name].tolist() for name in record._fields]
        return [record(int(step), *numbers) for step, *numbers in zip(*columns, strict=True)]
