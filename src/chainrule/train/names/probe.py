"""Looking into the network that spells, without touching it: `NamesProbe`. Imports probe beside the package, and trainer beside
it."""

import copy
import dataclasses
from typing import Any

import numpy as np

from chainrule.train.names.trainer import NamesTrainer
from chainrule.train.probe import ROWS, Array, Probe, some, tensor_cost

SPELLED, LONGEST = 6, 15  # words, and characters of one


class NamesProbe(Probe):
    """The probe of a run on names; trainer: what is trained.

    BatchNorm takes its statistics from the samples at every look: those that the trained net keeps lag behind.
    """

    spells = True

    def __init__(self, trainer: NamesTrainer) -> None:
        model, config = trainer.model, trainer.config
        net = copy.deepcopy(model.net)
        X, _ = trainer.rows["training"]
        super().__init__(net, X[some(len(X), ROWS)])
        self.model = dataclasses.replace(model, net=net, losses={})
        self.seed = config.seed
        self.cost = tensor_cost(int(self.sizes.sum()) * config.batch_size, config.compile)

    def load(self, flat: Array) -> None:
        """Have these numbers from now on, and the statistics that go with them."""
        super().load(flat)
        self.model.calibrate(self.samples, self.piece)

    def words(self) -> list[str]:
        """SPELLED words, drawn by the same numbers each time, so that only the net makes them differ; of LONGEST characters."""
        return self.model.spell(1.0, np.random.default_rng(self.seed), SPELLED, LONGEST)

    def facts(self) -> dict[str, Any]:
        """The name of the list, and how many tokens there are to guess among."""
        about: dict[str, Any] = {
            "data": self.model.data,
            "measure": "loss",
            "columns": [],
            "target": "the next character",
            "classes": None,
        }
        return super().facts() | about | {"batches": True, "tokens": len(self.model.vocabulary)}
