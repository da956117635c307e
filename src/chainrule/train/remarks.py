"""What is odd about the data of a run, in a sentence each, told before training: `remarks`. Imports loop."""

from collections import Counter

from chainrule.train.loop import Trainer


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
