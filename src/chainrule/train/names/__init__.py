"""A run that learns to spell: from a list of words to a model that makes up new ones.

    from chainrule.train import configure, train
    from chainrule.train.names import NamesModel

    config, words = configure("names", file="names.txt", steps=20000)
    outcome = train(config, words)
    NamesModel.load(outcome.folder).sample(20, seed=1)

Read config.py (what it does), model.py (the network, and how it spells), trainer.py (one step), report.py (what it says and
leaves). The run itself, with its folder, checkpoints and interrupts, is that of all kinds: run.py in the folder above.
"""

from chainrule.train.names.config import NamesConfig
from chainrule.train.names.model import NamesModel
from chainrule.train.names.trainer import NamesRecord, NamesTrainer

__all__ = ["NamesConfig", "NamesModel", "NamesRecord", "NamesTrainer"]
