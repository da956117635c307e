"""The whole state of a run in one file: `encode` and `restore`.

The file holds weights, optimiser, settings, the history that metrics.csv shows, and a fingerprint of the data. There is
no generator to save: batches and the learning rate are functions of the step (loop.py). Imports data,
nn, native, errors, and config, loop, model, tensorfile beside it.
"""

from pathlib import Path
from typing import Any

import numpy as np

from chainrule import native
from chainrule.data import Dataset
from chainrule.errors import ChainruleError, ModelFileError
from chainrule.nn import modelfile
from chainrule.train import tensorfile
from chainrule.train.config import Config
from chainrule.train.loop import Record, Trainer
from chainrule.train.model import load_weights

WEIGHTS, HISTORY = "weights/", "history/"


def encode(trainer: Trainer) -> bytes:
    """The content of checkpoint.safetensors."""
    weights = modelfile.fold(trainer.model.net.state_dict())
    columns = zip(*trainer.history, strict=True) if trainer.history else [()] * len(Record._fields)
    tensors = {WEIGHTS + name: tensor for name, tensor in weights.items()}
    for name, column in zip(Record._fields, columns, strict=True):
        tensors[HISTORY + name] = np.array(column, dtype=np.float64)
    facts = {
        "step": trainer.step,
        "config": trainer.config.as_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "fingerprint": trainer.fingerprint,
        "engine": native.status()["engine"],  # the last digits of a run may depend on it
    }
    return tensorfile.encode("checkpoint", facts, tensors)


class Checkpoint:
    """A checkpoint that was read: its settings, and `restore`, which makes a Trainer of it.

    Raises ModelFileError for a file that is missing, truncated or foreign.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts, self.tensors = tensorfile.read(path, "checkpoint")
        self.config = Config.from_dict(self.facts.get("config"))
        self.engine = self.facts.get("engine")

    def restore(self, config: Config, points: Dataset) -> Trainer:
        """A Trainer in the state of the checkpoint.

        config: the settings to go on with; equal to those of the checkpoint but for `steps`. points: their data.

        Raises ModelFileError when the data changed since, or the parts of the file do not fit each other.
        """
        if points.fingerprint != self.facts.get("fingerprint"):
            raise ModelFileError(f"{self.path}: the data of {points.name} are not those that the run began with")
        trainer = Trainer(config, points)
        load_weights(self.path, trainer.model.net, self._part(WEIGHTS))
        try:
            trainer.optimizer.load_state_dict(self.facts["optimizer"])
            trainer.history = self._history()
        except ChainruleError as error:
            raise ModelFileError(f"{self.path}: the state of the run does not hold together: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ModelFileError(f"{self.path}: the state of the run does not hold together: a part is malformed") from None
        return trainer

    def _part(self, prefix: str) -> tensorfile.Tensors:
        return {name.removeprefix(prefix): x for name, x in self.tensors.items() if name.startswith(prefix)}

    def _history(self) -> list[Record]:
        columns: list[list[Any]] = [self._part(HISTORY)[name].tolist() for name in Record._fields]
        history = [Record(int(step), *numbers) for step, *numbers in zip(*columns, strict=True)]
        if [record.step for record in history] != list(range(self.facts["step"])):
            raise ModelFileError("its history has gaps")
        return history
