"""Every exception that chainrule raises on purpose, as one tree.

    ChainruleError
    |-- NotANumberError        (TypeError)          a Value was asked to hold something that is no real number
    |-- DomainError            (ValueError)         an operation left its domain: log of a negative number, ...
    |   `-- DivisionByZeroError (ZeroDivisionError)
    |-- GraphError             (RuntimeError)       the graph cannot answer: nothing recorded, wrong kind of node, ...
    |-- OperationError         (ValueError)         a row of the operation table does not hold together
    |-- GradientError          (AssertionError)     a gradient check found a gradient that is wrong
    |-- InputError             (ValueError)         a wrong argument, option or hyper-parameter
    |-- DataError              (ValueError)         a data file or data set that cannot be used
    |-- ModelFileError         (ValueError)         a model or checkpoint that is truncated, foreign or of another shape
    |-- RunError               (RuntimeError)       a run folder that exists, is missing or cannot be written
    |-- NonFiniteError         (ArithmeticError)    NaN or infinity met while training
    |-- CompileError           (RuntimeError)       a function that cannot be compiled as it is written
    `-- MissingDependencyError (ImportError)        an optional package is not installed; carries the command that installs it

Each also derives from the built-in exception that Python would use, so `except ValueError` keeps working. The
command line turns any of them into one sentence and exit code 2. `did_you_mean` ends a sentence about an unknown word.
"""

from collections.abc import Iterable


class ChainruleError(Exception):
    """The root: `except ChainruleError` catches everything that chainrule raises on purpose."""


class NotANumberError(ChainruleError, TypeError):
    """Something that is not a real number was put where a number belongs."""


class DomainError(ChainruleError, ValueError):
    """An operation, or its derivative, was asked for outside the set where it is defined."""


class DivisionByZeroError(DomainError, ZeroDivisionError):
    """The operation divides by zero."""


class GraphError(ChainruleError, RuntimeError):
    """The expression graph cannot give what was asked."""


class OperationError(ChainruleError, ValueError):
    """A row of the operation table is malformed, or its derivative disagrees with its forward."""


class GradientError(ChainruleError, AssertionError):
    """A gradient differs from its numerical estimate."""


class InputError(ChainruleError, ValueError):
    """An argument, option or hyper-parameter is out of range or unknown."""


class DataError(ChainruleError, ValueError):
    """A data file or data set cannot be used as it is."""


class ModelFileError(ChainruleError, ValueError):
    """A model file or checkpoint cannot be read, or belongs to another model."""


class RunError(ChainruleError, RuntimeError):
    """A run folder cannot be created, found or written."""


class NonFiniteError(ChainruleError, ArithmeticError):
    """NaN or infinity appeared where training needs finite numbers."""


class CompileError(ChainruleError, RuntimeError):
    """A function cannot be compiled as it is written."""


class MissingDependencyError(ChainruleError, ImportError):
    """An optional package is missing; the message holds the command that installs it."""


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """The clause `; did you mean 'moons'?` where a known word is near to the one that came, or else the empty string.

    >>> did_you_mean("Mons", ["moons", "iris"])
    "; did you mean 'moons'?"
    >>> did_you_mean("x", ["moons", "iris"])
    ''
    """
    import difflib  # here, because most programs never ask

    lowered = {name.lower(): name for name in known}
    found = difflib.get_close_matches(str(word).lower(), lowered, n=1, cutoff=0.5)
    return f"; did you mean {lowered[found[0]]!r}?" if found else ""
