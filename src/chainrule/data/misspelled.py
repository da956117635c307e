"""What may have been meant by an unknown word or file: `did_you_mean` of errors, for near misses alone. Imports errors."""

from collections.abc import Iterable
from pathlib import Path

from chainrule import errors

ALIKE = 0.65  # the share of letters in common: one wrong in three, or two that changed places
LEAST = 3  # letters of a beginning that tells something


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """The clause of `errors.did_you_mean` where a known word differs by a slip, or one is the beginning of the other.

    >>> did_you_mean("adamm", ["sgd", "adam"])
    "; did you mean 'adam'?"
    >>> did_you_mean("adagrad", ["sgd", "adam"])
    ''
    >>> did_you_mean("--rate", ["--data"])  # the dashes of an option are no letters
    ''
    """
    return errors.did_you_mean(word, [name for name in known if _is_near(str(word), name)])


def did_you_mean_file(path: Path, names: Iterable[str]) -> str:
    """The same for the name of a file; that two of them have the same ending makes them no more alike.

    >>> did_you_mean_file(Path("nams.txt"), ["names.txt"]), did_you_mean_file(Path("nofile.txt"), ["one.txt"])
    ("; did you mean 'names.txt'?", '')
    """
    return errors.did_you_mean(path.name, [name for name in names if _is_near(path.stem, Path(name).stem)])


def _is_near(word: str, other: str) -> bool:
    import difflib  # here, because most programs never ask

    shorter, longer = sorted((word.lower().lstrip("-"), other.lower().lstrip("-")), key=len)
    begins = len(shorter) >= LEAST and longer.startswith(shorter)
    return begins or difflib.SequenceMatcher(None, shorter, longer).ratio() >= ALIKE
