"""Training nets of scalars on data, from the first step to a folder of results; the command line calls this.

    from chainrule.train import Model, configure, train

    config, points = configure("moons", steps=50)
    outcome = train(config, points, out="runs/mine")
    Model.load(outcome.folder).predict([[0.5, 0.2]])

Read config.py (what a run does), loop.py (one step), run.py (the whole run), and then checkpoint.py, model.py, folder.py,
progress.py, pictures.py as needed; commands.py holds the commands of the
command line. This package sits on top: it may import every leaf, and none imports it.
"""

from chainrule.train.config import Config, configure
from chainrule.train.loop import Record, Trainer
from chainrule.train.model import Model
from chainrule.train.run import Outcome, resume, train

__all__ = ["Config", "Model", "Outcome", "Record", "Trainer", "configure", "resume", "train"]
