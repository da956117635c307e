"""Training nets on data, from the first step to a folder of results; the command line calls this.

    from chainrule.train import Model, configure, train

    config, points = configure("moons", steps=50)
    outcome = train(config, points, out="runs/mine")
    Model.load(outcome.folder).predict([[0.5, 0.2]])

Read config.py (what a run on a table does), loop.py (one step), compiling.py (the same as a program), run.py (the whole
run), and then checkpoint.py, model.py, folder.py, progress.py, pictures.py as needed. kinds.py says what a run needs of what
it trains: a net of scalars or of tensors on a table (loop.py, table.py), or one that learns to spell (names/). commands.py
holds the commands of the command line. This package sits on top: it may import every leaf, and none imports it.
"""

from chainrule.train.config import Config, configure
from chainrule.train.loop import Record, TensorTrainer, Trainer
from chainrule.train.model import Model
from chainrule.train.names import NamesConfig, NamesModel, NamesTrainer
from chainrule.train.run import Outcome, resume, train

__all__ = [
    "Config",
    "Model",
    "NamesConfig",
    "NamesModel",
    "NamesTrainer",
    "Outcome",
    "Record",
    "TensorTrainer",
    "Trainer",
    "configure",
    "resume",
    "train",
]
