"""What is odd about a run, in a sentence each: `remarks` on its data, told before training, and `worse_than_a_guess` after.

Imports loop, settings.
"""

from collections import Counter

from chainrule.train.loop import Trainer
from chainrule.train.settings import Settings

WORSE = 1.05  # times the loss of the net as drawn: by less than that it has hardly moved
FEW = 20  # steps, in which a net may go up before it goes down


def remarks(trainer: Trainer) -> list[str]:
    """One sentence for each oddity: columns that say nothing, classes that are rows, nothing to judge the result by."""
    return [*_constant_columns(trainer), *_lonely_classes(trainer), *_nothing_held_out(trainer)]


def _constant_columns(trainer: Trainer) -> list[str]:
    constant = [name for name, *xs in zip(trainer.train.columns, *trainer.train.X, strict=True) if min(xs) == max(xs)]
    if not constant:
        return []
    if len(constant) == 1:
        return [f"the column {constant[0]!r} is the same in every training row: nothing can be learned from it"]
    shown = ", ".join(map(repr, constant[:5])) + (", ..." if len(constant) > 5 else "")
    return [f"{len(constant)} columns are the same in every training row, and nothing can be learned from them: {shown}"]


def _lonely_classes(trainer: Trainer) -> list[str]:
    part, test = trainer.train, trainer.test
    if part.classes is None:
        return []
    counts = Counter([*part.y, *(test.y if test else ())])
    single = sum(count == 1 for count in counts.values())
    if not single:
        return []
    if single == len(part.classes):
        return [f"each of the {single} classes has a single row: if they are numbers to predict, pass --task regression"]
    which = "one class has" if single == 1 else f"{single} of the {len(part.classes)} classes have"
    return [f"{which} a single row, which is not held out"]


def _nothing_held_out(trainer: Trainer) -> list[str]:
    if trainer.test is not None or trainer.config.test_fraction == 0:
        return []
    return ["nothing is held out to judge the result by: there are too few rows"]


def worse_than_a_guess(loss: float, guess: float, drawn: float, config: Settings) -> list[str]:
    """A sentence when the loss of a net, on the very data that it learned from, is worse than that of a guess.

    loss: of the finished net. guess: of a fair guess. drawn: of the net as it was drawn, which tells whether the steps led away.
    config: the settings.
    """
    if loss <= guess:
        return []
    away = config.steps > FEW and loss > WORSE * max(guess, drawn)
    cure = f"the steps were too large, so begin a new run with a smaller --lr than {config.lr:g}"
    hint = cure if away else f"more --steps may help, or another --lr than {config.lr:g}"
    return [f"the training loss is worse than that of a guess ({guess:.4g}): {hint}"]
